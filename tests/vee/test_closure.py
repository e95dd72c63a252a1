"""A month of a thousand meters closes with the registers to the watt-hour, and what was injected is found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pytest

from openami.mdm.vee.estimation import History
from openami.mdm.vee.kernel import ABSENT, UNLIMITED
from openami.mdm.vee.resolve import Resolution, good_values, resolve
from openami.mdm.vee.rule_pack import default_pack
from openami.mdm.vee.stretch import lay_out
from openami.mdm.vee.usage_history import empty_history, fill_own_days
from openami.quantities.civil_time import CivilDay, civil_days
from openami.quantities.obis import IMPORT_ENERGY, IMPORT_INTERVAL
from openami.quantities.status import MISSING, Quality, is_estimated, qualities
from openami.quantities.units import WH
from openami.readings.interval_block import IntervalBlock
from openami.readings.register_read import RegisterRead
from openami.registry.entities import Installation, Meter

Counts = npt.NDArray[np.int64]

METERS, DAYS, SPIKES, MISSING_SHARE = 1000, 31, 50, 0.004
FIRST = date(2024, 1, 1)
CAPTURED = datetime(2024, 3, 1, tzinfo=UTC)
PACK = default_pack()


@dataclass(frozen=True)
class Month:
    """What was true, what was injected, and what validation made of it."""

    true: Counts  # (meters, days, 96)
    missing: npt.NDArray[np.bool_]
    spikes: set[tuple[int, int, int]]
    results: list[Resolution]


def validated(meter: int, values: Counts, gaps: npt.NDArray[np.bool_], registers: Counts) -> Resolution:
    """Resolve one meter's month from blocks and midnight freezes."""
    name = f"M-{meter}"
    days = tuple(civil_days(FIRST, FIRST + timedelta(days=DAYS), "UTC"))
    blocks: dict[CivilDay, IntervalBlock] = {}
    for index, day in enumerate(days):
        status = np.where(gaps[index], MISSING, 0).astype(np.int32)
        blocks[day] = IntervalBlock(name, IMPORT_INTERVAL, day, 900, WH, values[index], CAPTURED, status)
    instants = [day.start for day in days] + [days[-1].end]
    reads = [
        RegisterRead(name, IMPORT_ENERGY, at, WH, int(count), CAPTURED, "freeze")
        for at, count in zip(instants, registers, strict=True)
    ]
    stretch = lay_out(
        Meter(name, "test", "", 0, 0, "UTC", 900, 8, 0, (IMPORT_INTERVAL,)),
        Installation(name, f"UP-{meter}", datetime(2020, 1, 1, tzinfo=UTC)),
        IMPORT_INTERVAL,
        days,
        blocks,
        reads,
        [],
        max_span_days=35,
    )
    assert stretch is not None
    packs = (PACK,) * DAYS
    history: History = empty_history(FIRST, DAYS, 900)
    fill_own_days(history, stretch, good_values(stretch, packs), 1.0)
    return resolve(stretch, history, 1.0, UNLIMITED, packs)


@pytest.fixture(scope="module")
def month() -> Month:
    """1,000 meters x 31 days x 96, 0.4 % missing, 50 spikes; the numbers of the project's reference 1.4."""
    rng = np.random.default_rng(1998)
    hours = np.arange(96) / 4
    shape = 45 + 70 * np.exp(-((hours - 7.5) ** 2) / 3) + 130 * np.exp(-((hours - 19) ** 2) / 6)
    level = rng.lognormal(0.0, 0.5, (METERS, 1, 1))
    true = (level * shape * rng.gamma(4, 0.25, (METERS, DAYS, 96))).astype(np.int64)
    true += (rng.random(true.shape) < 0.01) * rng.integers(200, 700, true.shape)
    missing = rng.random(true.shape) < MISSING_SHARE
    got = true.copy()
    spikes = set()
    while len(spikes) < SPIKES:
        place = int(rng.integers(METERS)), int(rng.integers(DAYS)), int(rng.integers(96))
        if not missing[place] and not any(place[:2] == other[:2] for other in spikes):
            got[place] = got[place] * 20 + 8000
            spikes.add(place)
    registers = np.zeros((METERS, DAYS + 1), np.int64)
    np.cumsum(true.sum(axis=2), axis=1, out=registers[:, 1:])
    registers += rng.integers(0, 10**6, (METERS, 1))
    results = [validated(meter, got[meter], missing[meter], registers[meter]) for meter in range(METERS)]
    return Month(true, missing, spikes, results)


def test_every_meter_closes_with_its_register_exactly(month: Month) -> None:
    finals = np.stack([result.values for result in month.results]).reshape(month.true.shape)
    assert np.array_equal(finals.sum(axis=2), month.true.sum(axis=2)), "to the watt-hour, every day"


def test_only_flagged_intervals_changed(month: Month) -> None:
    for meter, result in enumerate(month.results):
        changed = np.flatnonzero(result.values != month.true[meter].ravel())
        assert is_estimated(result.status[changed]).all()


def test_every_gap_is_filled(month: Month) -> None:
    for meter, result in enumerate(month.results):
        assert (qualities(result.status)[month.missing[meter].ravel()] == Quality.SUBSTITUTED).all()
        assert not (result.values == ABSENT).any()


def test_injected_spikes_are_found_and_nothing_else(month: Month) -> None:
    found = set()
    for meter, result in enumerate(month.results):
        extra = is_estimated(result.status) & ~month.missing[meter].ravel()
        found |= {(meter, int(index) // 96, int(index) % 96) for index in np.flatnonzero(extra)}
    recall = len(found & month.spikes) / SPIKES
    precision = len(found & month.spikes) / len(found)
    assert recall == 1.0
    assert precision >= 0.98
    reported = {
        (meter, finding.day)
        for meter, result in enumerate(month.results)
        for finding in result.findings
        if finding.kind == "spike"
    }
    assert reported >= {place[:2] for place in month.spikes}


def test_injected_gaps_are_reported_day_by_day(month: Month) -> None:
    injected = {(int(m), int(d)) for m, d in np.argwhere(month.missing.any(axis=2))}
    reported = {
        (meter, finding.day)
        for meter, result in enumerate(month.results)
        for finding in result.findings
        if finding.kind == "gap"
    }
    assert reported == injected
    assert {finding.kind for result in month.results for finding in result.findings} <= {"gap", "spike"}

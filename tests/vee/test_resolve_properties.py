"""Whatever is wrong: measured values stand, energy closes or is refused, and none is invented."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openami.mdm.vee.kernel import ABSENT, UNLIMITED
from openami.mdm.vee.resolve import good_values, resolve
from openami.mdm.vee.rule_pack import default_pack
from openami.mdm.vee.stretch import lay_out, off_times_of
from openami.mdm.vee.usage_history import empty_history, fill_own_days
from openami.quantities.civil_time import civil_days
from openami.quantities.obis import IMPORT_ENERGY, IMPORT_INTERVAL
from openami.quantities.status import MISSING, Quality, is_estimated, qualities
from openami.quantities.units import WH
from openami.readings.event import Event, EventCode
from openami.readings.interval_block import IntervalBlock
from openami.readings.register_read import RegisterRead
from openami.registry.entities import Installation, Meter

ZONE = "Europe/Berlin"
FIRST = date(2024, 3, 29)  # the third day has 23 hours
DAYS = tuple(civil_days(FIRST, FIRST + timedelta(days=4), ZONE))
COUNTS = [day.interval_count(900) for day in DAYS]
N = sum(COUNTS)
CAPTURED = datetime(2024, 5, 1, tzinfo=UTC)
PACK = default_pack()

places = st.integers(0, N - 1)


@example(
    seed=0, scale=1, gaps=[], spikes=[(1, 3)], negatives=[], lost_freezes=set(), wrong_freeze=None,
    outage=(0, 1783),
)  # fmt: skip
@given(
    seed=st.integers(0, 1000),
    scale=st.sampled_from([0, 1, 100, 30_000]),
    gaps=st.lists(st.tuples(places, st.integers(1, 150)), max_size=6),
    spikes=st.lists(st.tuples(places, st.integers(1, 50_000)), max_size=3),
    negatives=st.lists(places, max_size=2),
    lost_freezes=st.sets(st.integers(0, 4), max_size=3),
    wrong_freeze=st.one_of(st.none(), st.tuples(st.integers(0, 4), st.integers(-5000, 5000))),
    outage=st.one_of(st.none(), st.tuples(places, st.integers(60, 90_000))),
)
@settings(max_examples=250, deadline=None)
def test_resolution_keeps_its_promises(
    seed: int,
    scale: int,
    gaps: list[tuple[int, int]],
    spikes: list[tuple[int, int]],
    negatives: list[int],
    lost_freezes: set[int],
    wrong_freeze: tuple[int, int] | None,
    outage: tuple[int, int] | None,
) -> None:
    true = np.random.default_rng(seed).integers(0, scale + 1, N)
    got = true.copy()
    for place, extra in spikes:
        got[place] += extra
    got[negatives] = -7
    missing = np.zeros(N, bool)
    for place, length in gaps:
        missing[place : place + length] = True
    offsets = np.cumsum([0, *COUNTS])
    registers = 5000 + np.array([true[:offset].sum() for offset in offsets])
    if wrong_freeze is not None:
        registers[wrong_freeze[0]] += wrong_freeze[1]
    instants = [*(day.start for day in DAYS), DAYS[-1].end]
    reads = [
        RegisterRead("M", IMPORT_ENERGY, at, WH, int(count), CAPTURED, "freeze")
        for index, (at, count) in enumerate(zip(instants, registers, strict=True))
        if index not in lost_freezes
    ]
    blocks = {}
    for index, day in enumerate(DAYS):
        there = slice(offsets[index], offsets[index + 1])
        status = np.where(missing[there], MISSING, 0).astype(np.int32)
        blocks[day] = IntervalBlock("M", IMPORT_INTERVAL, day, 900, WH, got[there], CAPTURED, status)
    events = []
    if outage is not None:
        down = DAYS[0].start + timedelta(seconds=900 * outage[0] + 17)
        events = [
            Event("M", down, EventCode.POWER_DOWN, CAPTURED),
            Event("M", down + timedelta(seconds=outage[1]), EventCode.POWER_UP, CAPTURED),
        ]
    stretch = lay_out(
        Meter("M", "test", "", 0, 0, ZONE, 900, 8, 0, (IMPORT_INTERVAL,)),
        Installation("M", "UP", datetime(2020, 1, 1, tzinfo=UTC)),
        IMPORT_INTERVAL, DAYS, blocks, reads, off_times_of(events), max_span_days=35,
    )  # fmt: skip
    assert stretch is not None
    packs = (PACK,) * 4
    history = empty_history(FIRST - timedelta(days=35), 40, 900)
    fill_own_days(history, stretch, good_values(stretch, packs), 1.0)
    result = resolve(stretch, history, 1.0, UNLIMITED, packs)

    quality = qualities(result.status)
    present = stretch.values != ABSENT
    kept = (quality == Quality.ACTUAL) | (quality == Quality.SUSPECT)
    assert np.array_equal(result.values[kept], stretch.values[kept]), "measured values stand"
    assert present[kept].all()
    assert (result.values[is_estimated(result.status)] >= 0).all()
    assert (result.values[quality == Quality.NULL] == 0).all()
    assert (quality[missing] != Quality.ACTUAL).all(), "what never came is never called measured"
    assert (result.values[quality == Quality.ACTUAL] >= 0).all()

    refused = {
        finding.day for finding in result.findings if finding.kind in ("estimation_refused", "register_sum")
    }
    for span in stretch.spans:
        there = slice(span.start, span.end)
        touched = set(range(stretch.day_of(span.start), stretch.day_of(span.end - 1) + 1))
        if span.advance is None or touched & refused:
            continue
        error = int(result.values[there].sum()) - span.advance
        tolerance = PACK.register_sum_steps * span.step
        scaled = (quality[there] == Quality.SUBSTITUTED) & (result.status[there] >> 3 & 127 != 19)
        if scaled.any() and error <= 0:
            assert error == 0, "a gap closes to the count"
        assert abs(error) <= tolerance, "all else closes within the register's steps"
    again = resolve(stretch, history, 1.0, UNLIMITED, packs)
    assert np.array_equal(again.values, result.values)
    assert again.findings == result.findings

"""How good estimation and the spike rule are on real households (Low Carbon London, 2013, half-hourly).

    python tests/vee_accuracy.py lcl2013_halfhourly_Wh.parquet

prints the tables of docs/stations/vee.md. Nothing here is timed; all is seeded.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from openami.mdm.vee.estimation import estimate
from openami.mdm.vee.kernel import ABSENT, UNLIMITED, spike_limit
from openami.mdm.vee.resolve import good_values, resolve
from openami.mdm.vee.rule_pack import RulePack, default_pack
from openami.mdm.vee.stretch import Stretch, lay_out
from openami.mdm.vee.usage_history import empty_history, fill_own_days
from openami.quantities.civil_time import civil_days
from openami.quantities.obis import IMPORT_ENERGY, IMPORT_INTERVAL
from openami.quantities.status import MISSING, is_estimated
from openami.quantities.units import WH
from openami.readings.interval_block import IntervalBlock
from openami.readings.register_read import RegisterRead
from openami.registry.entities import Installation, Meter

Counts = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

FIRST, DAYS, SLOTS = date(2013, 1, 1), 365, 48
CAPTURED = datetime(2014, 1, 1, tzinfo=UTC)
HOURS = (0.5, 1, 2, 3, 4, 8, 24)
PACK = default_pack()
LINEAR_ONLY = replace(PACK, short_methods=("linear",), long_methods=(), linear_max_gap_s=86400)
LIKE_DAY_ONLY = replace(PACK, short_methods=("like_day_average",), long_methods=("like_day_average",))


@dataclass(frozen=True)
class GapError:
    """Mean absolute error in Wh per half-hour over masked gaps of one length."""

    hours: float
    trials: int
    linear: float
    like_day: float
    linear_scaled: float
    like_day_scaled: float


@dataclass(frozen=True)
class SpikeRates:
    """The spike rule on real days: how often it fires alone, and what remains with the register."""

    days: int
    triggered: int
    flagged_complete: int
    gap_days: int
    flagged_beside_gaps: int
    injected: int
    found: int
    false: int


def households(path: Path) -> Iterator[Counts]:
    """int64 (365, 48) of each household, `ABSENT` where the trial has no value."""
    table = pq.read_table(path).drop_columns(["t"])
    for column in table.columns:
        wh = column.to_numpy()
        yield np.where(np.isnan(wh), ABSENT, np.nan_to_num(np.rint(wh))).astype(np.int64).reshape(DAYS, SLOTS)


def year(values: Counts, registers: Counts | None = None) -> Stretch:
    """A household's year as a stretch, with midnight registers where given (int64 (366,))."""
    days = tuple(civil_days(FIRST, FIRST + timedelta(days=DAYS), "UTC"))
    blocks = {}
    for day, row in zip(days, values, strict=True):
        gaps = row == ABSENT
        status = np.where(gaps, MISSING, 0).astype(np.int32)
        blocks[day] = IntervalBlock(
            "LCL", IMPORT_INTERVAL, day, 1800, WH, np.where(gaps, 0, row), CAPTURED, status
        )
    instants = [day.start for day in days] + [days[-1].end]
    reads = [
        RegisterRead("LCL", IMPORT_ENERGY, at, WH, int(count), CAPTURED, "freeze")
        for at, count in zip(instants, registers if registers is not None else (), strict=False)
    ]
    meter = Meter("LCL", "trial", "", 0, 0, "UTC", 1800, 9, 0, (IMPORT_INTERVAL,))
    installation = Installation("LCL", "UP", datetime(2000, 1, 1, tzinfo=UTC))
    stretch = lay_out(meter, installation, IMPORT_INTERVAL, days, blocks, reads, [], max_span_days=35)
    assert stretch is not None
    return stretch


def gap_errors(homes: Sequence[Counts], *, per_home: int = 20, seed: int = 2013) -> list[GapError]:
    """Mask gaps where everything is known and estimate them both ways, by length."""
    rng = np.random.default_rng(seed)
    results = []
    for hours in HOURS:
        length = int(hours * 2)
        errors: list[tuple[float, float, float, float]] = []
        for values in homes:
            truth = values.ravel()
            mask = np.zeros(truth.size, bool)
            starts = []
            for start in rng.permutation(np.arange(36 * SLOTS, truth.size - 2 * SLOTS, 4 * SLOTS))[:per_home]:
                place = int(start + rng.integers(SLOTS))
                around = truth[place - 1 : place + length + 1]
                if (around != ABSENT).all():
                    mask[place : place + length] = True
                    starts.append(place)
            errors += _errors(values, mask, starts, length)
        mean = np.array(errors).mean(axis=0)
        results.append(GapError(hours, len(errors), *(float(item) for item in mean)))
    return results


def _errors(
    values: Counts, mask: Mask, starts: Sequence[int], length: int
) -> list[tuple[float, float, float, float]]:
    truth = values.ravel()
    stretch = year(np.where(mask, ABSENT, truth).reshape(values.shape))
    packs: dict[str, tuple[RulePack, ...]] = {
        "linear": (LINEAR_ONLY,) * DAYS,
        "like": (LIKE_DAY_ONLY,) * DAYS,
    }
    good = good_values(stretch, packs["linear"])
    history = empty_history(FIRST, DAYS, 1800)
    fill_own_days(history, stretch, good, 1.0)
    nowhere = np.full(truth.size, np.nan)
    estimates = {
        name: estimate(stretch, mask, good, history, 1.0, nowhere, ruling) for name, ruling in packs.items()
    }
    errors = []
    for start in starts:
        there = slice(start, start + length)
        if not all(item.methods[there].all() for item in estimates.values()):
            continue
        plain = [np.abs(item.values[there] - truth[there]).mean() for item in estimates.values()]
        scaled = [
            np.abs(_scaled(item.values[there], int(truth[there].sum())) - truth[there]).mean()
            for item in estimates.values()
        ]
        errors.append((plain[0], plain[1], scaled[0], scaled[1]))
    return errors


def _scaled(guess: npt.NDArray[np.float64], total: int) -> npt.NDArray[np.float64]:
    mass = guess.sum()
    return guess * (total / mass) if mass > 0 else np.full(guess.size, total / guess.size)


def spike_rates(homes: Sequence[Counts], *, seed: int = 180) -> SpikeRates:
    """Count what the trigger and the confirmed rule flag on days as they were, and with injected defects."""
    rng = np.random.default_rng(seed)
    counts = dict.fromkeys(SpikeRates.__dataclass_fields__, 0)
    for values in homes:
        whole = (values != ABSENT).all(axis=1)
        truth = np.where(values == ABSENT, 0, values)
        registers = np.concatenate(([0], np.cumsum(truth.sum(axis=1))))
        for day in np.flatnonzero(whole):
            counts["triggered"] += int(values[day].max() > spike_limit(values[day], PACK.spike_ratio))
        counts["days"] += int(whole.sum())
        counts["flagged_complete"] += len(_flagged(truth, registers) & set(np.flatnonzero(whole)))

        gaps = np.zeros(truth.shape, bool)
        for day in range(DAYS):
            start = int(rng.integers(SLOTS - 8))
            gaps[day, start : start + int(rng.integers(1, 9))] = True
        holed = np.where(gaps, ABSENT, truth)
        counts["gap_days"] += DAYS
        counts["flagged_beside_gaps"] += len(_flagged(holed, registers))

        spiked = holed.copy()
        injected = set()
        for day in range(2, DAYS, 5):
            place = int(rng.choice(np.flatnonzero(~gaps[day])))
            spiked[day, place] += int(rng.integers(2_000, 20_000))
            injected.add(day)
        found = _flagged(spiked, registers)
        counts["injected"] += len(injected)
        counts["found"] += len(found & injected)
        counts["false"] += len(found - injected)
    return SpikeRates(**counts)


def _flagged(values: Counts, registers: Counts) -> set[int]:
    """Days of which a measured value was replaced."""
    stretch = year(values, registers)
    packs = (PACK,) * DAYS
    history = empty_history(FIRST, DAYS, 1800)
    fill_own_days(history, stretch, good_values(stretch, packs), 1.0)
    result = resolve(stretch, history, 1.0, UNLIMITED, packs)
    replaced = is_estimated(result.status) & (stretch.values != ABSENT)
    return {int(index) // SLOTS for index in np.flatnonzero(replaced)}


def main(path: str) -> None:
    """Print the tables in Markdown."""
    homes = list(households(Path(path)))
    print("| gap | trials | linear | like day | linear, scaled | like day, scaled |")
    print("|---|---|---|---|---|---|")
    for row in gap_errors(homes):
        errors = (row.linear, row.like_day, row.linear_scaled, row.like_day_scaled)
        print(f"| {row.hours:g} h | {row.trials} | {' | '.join(f'{item:.1f}' for item in errors)} |")
    print(spike_rates(homes))


if __name__ == "__main__":
    main(sys.argv[1])

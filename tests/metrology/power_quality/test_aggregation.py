"""Aggregates: root of mean squares, overlaps at the UTC tick, flags, two hours, Plt."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from openami.metrology.power_quality.aggregation import (
    NO_TIME,
    TEN_MINUTES_US,
    Aggregates,
    Aggregator,
    QualityFlag,
)
from openami.metrology.power_quality.quantities import Layout
from openami.metrology.power_quality.sample_time import SampleTime
from openami.quantities.errors import MeteringError
from power_quality_world import RATE, TICK_US

F64 = npt.NDArray[np.float64]
LAYOUT = Layout(1, 1)
COLUMNS = LAYOUT.offsets[-1]
WINDOW = 0.2 * RATE


def values_of(u_v: F64) -> F64:
    """Rows whose first column is the square of a voltage, the others one."""
    values = np.ones((u_v.size, COLUMNS))
    values[:, 0] = u_v**2
    return values


def add(
    aggregator: Aggregator, start: F64, u_v: F64, time: SampleTime, flags: npt.NDArray[np.int64] | None = None
) -> Aggregates:
    given = np.zeros(start.size, np.int64) if flags is None else flags
    return aggregator.add(start, start + WINDOW, given, values_of(u_v), time)


def sequence(first: float, count: int) -> F64:
    return first + WINDOW * np.arange(count)


def test_the_recorded_check_of_150_cycles(shared_data: Path) -> None:
    rules = json.loads((shared_data / "metrology" / "pq_rules_and_checks.json").read_text("utf-8"))
    check = next(c for c in rules["exact_checks"] if c["name"] == "agg150")
    time = SampleTime(RATE, TICK_US)
    found = add(Aggregator(LAYOUT, 230.0), sequence(0.0, 15), np.array(check["Urms_basic"], float), time)
    assert found.cycles_150.quantities.u_v[0, 0] == pytest.approx(check["U150"], abs=1e-11)
    assert found.cycles_150.windows.tolist() == [15]
    assert found.cycles_150.tag_us.tolist() == [TICK_US + 3_000_000]  # the end of the interval


def test_at_the_tick_windows_overlap_once_and_150_cycles_twice() -> None:
    time = SampleTime(RATE, TICK_US - 10_000_000)
    tick = 10.0 * RATE
    aggregator = Aggregator(LAYOUT, 230.0)
    aggregator.begin(TICK_US)
    aggregator.tick(tick, TICK_US)
    before = sequence(100.0, 50)  # the last one starts before the tick and ends behind it
    assert before[-1] < tick < before[-1] + WINDOW
    behind = sequence(tick, 40)
    start = np.concatenate((before, behind))
    level = np.where(np.arange(90) < 50, 230.0, 100.0)
    found = add(aggregator, start, level, time)
    ten = found.ten_minutes
    assert ten.tag_us.tolist() == [TICK_US]
    assert ten.windows.tolist() == [50]  # all that start before the tick, the overlapping one too
    assert ten.quantities.u_v[0, 0] == pytest.approx(230.0)
    assert ten.flags.tolist() == [QualityFlag.PARTIAL]  # the stream began in it
    short = found.cycles_150
    # 45 windows are three intervals; five are over and go on with ten from behind the tick, while the next
    # interval begins with the very same ten
    assert short.windows.tolist() == [15] * 6
    assert short.start.tolist() == pytest.approx(
        [before[0], before[15], before[30], before[45], behind[0], behind[15]]
    )
    assert short.end[3] == pytest.approx(behind[9] + WINDOW)
    mixed = np.sqrt((5 * 230.0**2 + 10 * 100.0**2) / 15)
    assert short.quantities.u_v[:, 0] == pytest.approx([230.0, 230.0, 230.0, mixed, 100.0, 100.0])


def test_cuts_change_no_aggregate() -> None:
    rng = np.random.default_rng(1)
    start = np.concatenate((sequence(50.0, 70), sequence(14.0 * RATE, 100), sequence(33.5 * RATE, 77)))
    level = 230.0 + rng.standard_normal(start.size)
    flags = (rng.random(start.size) < 0.05).astype(np.int64)

    def run(cuts: list[int]) -> list[F64]:
        time = SampleTime(RATE, TICK_US - 14_000_000)
        aggregator = Aggregator(LAYOUT, 230.0)
        aggregator.begin(TICK_US)
        aggregator.tick(14.0 * RATE, TICK_US)
        aggregator.tick(33.5 * RATE, TICK_US + TEN_MINUTES_US)
        parts = [
            add(aggregator, start[a:b], level[a:b], time, flags[a:b])
            for a, b in zip([0, *cuts], [*cuts, start.size], strict=True)
        ]
        parts.append(aggregator.close())
        return [
            np.concatenate(
                [np.column_stack((k.start, k.end, k.flags, k.windows, k.quantities.u_v)) for k in kind]
            )
            for kind in zip(*((p.cycles_150, p.ten_minutes, p.two_hours) for p in parts), strict=True)
        ]

    once = run([])
    assert [len(rows) for rows in once] == [17, 3, 1]
    for cuts in ([1, 2, 3, 70, 71], [69, 70, 169, 170, 171], list(range(1, start.size))):
        for one, other in zip(once, run(cuts), strict=True):
            assert np.array_equal(one, other)


def test_a_flagged_window_flags_every_interval_it_is_in() -> None:
    time = SampleTime(RATE, TICK_US)
    aggregator = Aggregator(LAYOUT, 230.0)
    aggregator.begin(TICK_US + TEN_MINUTES_US)
    aggregator.tick(200 * WINDOW, TICK_US + TEN_MINUTES_US)
    flags = np.zeros(230, np.int64)
    flags[20] = QualityFlag.DIP
    flags[33] = QualityFlag.SATURATED
    found = add(aggregator, sequence(0.0, 230), np.full(230, 230.0), time, flags)
    assert found.cycles_150.flags[:4].tolist() == [0, QualityFlag.DIP, QualityFlag.SATURATED, 0]
    assert found.cycles_150.flagged.sum() == 2
    assert found.ten_minutes.flags.tolist() == [QualityFlag.DIP | QualityFlag.SATURATED | QualityFlag.PARTIAL]


def two_hours(first: int, count: int, *, pst: float = 1.0) -> tuple[Aggregates, Aggregator]:
    """Ten minutes of one window each, from tick number ``first`` after a UTC two hours."""
    begin_us = TICK_US // (12 * TEN_MINUTES_US) * 12 * TEN_MINUTES_US
    time = SampleTime(RATE, begin_us)
    aggregator = Aggregator(LAYOUT, 230.0)
    step = 600.0 * RATE
    aggregator.begin(begin_us + first * TEN_MINUTES_US)
    for k in range(first, first + count + 1):
        aggregator.tick(k * step, begin_us + k * TEN_MINUTES_US)
        aggregator.severity(begin_us + (k + 1) * TEN_MINUTES_US, np.array([2.0 if k == 11 else pst]))
    start = step * np.arange(first, first + count + 1)
    return add(aggregator, start, 200.0 + np.arange(count + 1.0), time), aggregator


def test_two_hours_are_twelve_ten_minutes_of_the_clock_with_the_recorded_plt(shared_data: Path) -> None:
    rules = json.loads((shared_data / "metrology" / "pq_rules_and_checks.json").read_text("utf-8"))
    check = next(c for c in rules["exact_checks"] if c["name"] == "Plt")
    found, _ = two_hours(0, 12)
    assert found.ten_minutes.pst[:, 0].tolist() == check["Pst12"]
    assert len(found.two_hours) == 1
    assert found.two_hours.plt[0, 0] == pytest.approx(check["Plt"], abs=1e-12)
    assert found.two_hours.windows.tolist() == [12]
    assert found.two_hours.flags.tolist() == [0]
    assert found.two_hours.tag_us[0] % (12 * TEN_MINUTES_US) == 0
    mean = np.sqrt(np.mean((200.0 + np.arange(12)) ** 2))
    assert found.two_hours.quantities.u_v[0, 0] == pytest.approx(mean)


def test_two_hours_that_were_not_seen_whole_say_so_and_have_no_plt() -> None:
    found, aggregator = two_hours(5, 9)
    assert found.two_hours.windows.tolist() == [7]
    assert found.two_hours.flags.tolist() == [QualityFlag.PARTIAL]
    assert np.isnan(found.two_hours.plt).all()
    rest = aggregator.close()
    assert rest.two_hours.windows.tolist() == [3]  # two whole ten minutes, and the one that was cut
    assert rest.two_hours.flags.tolist() == [QualityFlag.PARTIAL]


def test_a_gap_flags_ten_minutes_and_breaks_150_cycles() -> None:
    time = SampleTime(RATE, TICK_US)
    aggregator = Aggregator(LAYOUT, 230.0)
    aggregator.begin(TICK_US + TEN_MINUTES_US)
    add(aggregator, sequence(0.0, 10), np.full(10, 230.0), time)
    aggregator.gap()
    found = add(aggregator, sequence(20 * WINDOW, 15), np.full(15, 230.0), time)
    assert found.cycles_150.start.tolist() == [20 * WINDOW]
    assert found.cycles_150.flags.tolist() == [0]
    assert aggregator.close().ten_minutes.flags.tolist() == [QualityFlag.GAP | QualityFlag.PARTIAL]


def test_ten_minutes_whose_first_window_is_late_are_partial() -> None:
    time = SampleTime(RATE, TICK_US)
    aggregator = Aggregator(LAYOUT, 230.0)
    aggregator.tick(0.0, TICK_US)
    aggregator.tick(600.0 * RATE, TICK_US + TEN_MINUTES_US)
    start = np.concatenate((sequence(2.0, 3), sequence(600.0 * RATE, 1)))
    found = add(aggregator, start, np.full(4, 230.0), time)
    assert found.ten_minutes.flags.tolist() == [QualityFlag.PARTIAL]


def test_without_a_clock_there_are_150_cycles_and_nothing_longer() -> None:
    aggregator = Aggregator(LAYOUT, 230.0)
    found = add(aggregator, sequence(0.0, 31), np.full(31, 230.0), SampleTime(RATE, None))
    assert found.cycles_150.tag_us.tolist() == [NO_TIME, NO_TIME]
    assert len(found.ten_minutes) == len(aggregator.close().ten_minutes) == 0


def test_what_was_not_measured_in_some_windows_is_averaged_over_the_others() -> None:
    time = SampleTime(RATE, TICK_US)
    aggregator = Aggregator(LAYOUT, 230.0)
    values = values_of(np.full(15, 230.0))
    values[::2, 5] = np.nan
    values[1::2, 5] = 4.0
    values[:, 6] = np.nan
    start = sequence(0.0, 15)
    found = aggregator.add(start, start + WINDOW, np.zeros(15, np.int64), values, time)
    assert found.cycles_150.quantities.columns[0, 5] == 4.0
    assert np.isnan(found.cycles_150.quantities.columns[0, 6])


def test_ticks_ascend() -> None:
    aggregator = Aggregator(LAYOUT, 230.0)
    aggregator.tick(100.0, TICK_US)
    with pytest.raises(MeteringError, match="tick"):
        aggregator.tick(100.0, TICK_US + TEN_MINUTES_US)

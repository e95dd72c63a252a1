"""Frequency of ten seconds of UTC: whole cycles over their duration; what was not seen whole has none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from openami.metrology.power_quality.half_cycle_rms import HalfCycleStream
from openami.metrology.power_quality.sample_time import SampleTime
from openami.metrology.power_quality.ten_second_frequency import (
    FrequencyColumns,
    TenSecondFrequency,
    frequency_of_cycles,
)
from openami.quantities.errors import MeteringError
from power_quality_world import RATE, TICK_US, sines, times

F64 = npt.NDArray[np.float64]


def measured(
    u: F64, time: SampleTime, nominal_hz: float = 50.0, block: int = 10_000
) -> list[tuple[int, float, int, int]]:
    phases = u.shape[0]
    tracker = HalfCycleStream(RATE, nominal_hz, 230.0, np.ones(phases), np.ones(phases))
    frequency = TenSecondFrequency(phases)
    rows: list[tuple[int, float, int, int]] = []
    for first in range(0, u.shape[1], block):
        found: FrequencyColumns = frequency.feed(tracker.feed(u[:, first : first + block]), time)
        columns = (found.tag_us, found.f_hz, found.cycles, found.phase)
        rows += list(zip(*(column.tolist() for column in columns), strict=True))
    return rows


def test_the_recorded_check_of_493_cycles(shared_data: Path) -> None:
    rules = json.loads((shared_data / "metrology" / "pq_rules_and_checks.json").read_text("utf-8"))
    check = next(c for c in rules["exact_checks"] if c["name"] == "frequency10s")
    assert frequency_of_cycles(check["integer_cycles"], check["duration_s"]) == check["f"]


@pytest.mark.parametrize(
    ("f_hz", "nominal_hz"),
    [(42.5, 50.0), (49.3, 50.0), (50.0, 50.0), (50.017, 50.0), (57.5, 50.0), (59.97, 60.0)],
)
def test_a_steady_supply_is_measured_a_thousand_times_closer_than_class_a(
    f_hz: float, nominal_hz: float
) -> None:
    u = sines(times(26.0), f_hz, phases=1, harmonics=((5, 0.1, 0.3), (3, 0.05, 2.0)))
    rows = measured(u, SampleTime(RATE, TICK_US - 4_321_000), nominal_hz)
    assert [row[0] for row in rows] == [TICK_US + 10_000_000, TICK_US + 20_000_000]
    for _, f, cycles, phase in rows:
        assert abs(f - f_hz) < 10e-6  # class A: 10 mHz
        assert phase == 0
        assert cycles in (int(10 * f_hz), int(10 * f_hz) - 1)


def test_a_ramp_gives_the_mean_over_whole_cycles() -> None:
    t = times(14.0)
    u = (230.0 * np.sqrt(2) * np.sin(2 * np.pi * (50.0 * t + 0.005 * t**2)))[None]
    ((_, f, cycles, _),) = measured(u, SampleTime(RATE, TICK_US - 2_000_000))
    # phase 50 t + 0.005 t² passes whole numbers from 101 to 600 between 2 s and 12 s
    first, last = ((-50 + np.sqrt(2500 + 0.02 * n)) / 0.01 for n in (101, 600))
    assert cycles == 499
    assert f == pytest.approx(499 / (last - first), abs=20e-6)


def test_an_interval_that_was_not_seen_whole_is_not_told() -> None:
    u = sines(times(12.0), 50.0, phases=1)
    assert measured(u, SampleTime(RATE, TICK_US + 1_000)) == []
    assert len(measured(u, SampleTime(RATE, TICK_US))) == 1


def test_cuts_of_the_stream_change_nothing() -> None:
    u = sines(times(23.0), 49.9)
    once = measured(u, SampleTime(RATE, TICK_US - 1), block=u.shape[1])
    assert len(once) == 2
    for block in (777, 6400, 64_001):
        assert measured(u, SampleTime(RATE, TICK_US - 1), block=block) == once


def test_another_phase_stands_in_for_one_that_was_gone() -> None:
    u = sines(times(12.0), 50.02)
    u[0, 30_000:31_000] = 0.0
    ((_, f, _, phase),) = measured(u, SampleTime(RATE, TICK_US))
    assert phase == 1
    assert abs(f - 50.02) < 1e-5


def test_without_a_voltage_there_is_no_frequency() -> None:
    u = sines(times(12.0), 50.02)
    u[:, 30_000:40_000] = 0.0
    ((tag, f, cycles, phase),) = measured(u, SampleTime(RATE, TICK_US))
    assert tag == TICK_US + 10_000_000
    assert np.isnan(f)
    assert (cycles, phase) == (0, -1)


def test_a_sampling_clock_that_runs_fast_is_corrected_by_anchors() -> None:
    true_rate = RATE * (1 + 100e-6)
    t = np.arange(round(36 * true_rate)) / true_rate
    u = sines(t, 50.0, phases=1)
    blind = measured(u, SampleTime(RATE, TICK_US - 5_000_000))
    assert abs(blind[-1][1] - 50.0) == pytest.approx(50.0 * 100e-6, rel=0.01)
    anchored = SampleTime(RATE, TICK_US - 5_000_000)
    for second in range(1, 6):
        anchored.anchor(second * true_rate, TICK_US - 5_000_000 + second * 1_000_000)
    rows = measured(u, anchored)
    assert [row[0] for row in rows] == [TICK_US + 10_000_000 * k for k in (1, 2, 3)]
    assert all(abs(row[1] - 50.0) < 50e-6 for row in rows)


def test_a_clock_that_comes_late_begins_with_the_next_whole_interval() -> None:
    u = sines(times(40.0), 50.0, phases=1)
    tracker = HalfCycleStream(RATE, 50.0, 230.0, np.ones(1), np.ones(1))
    frequency, time = TenSecondFrequency(1), SampleTime(RATE, None)
    assert len(frequency.feed(tracker.feed(u[:, :100_000]), time)) == 0
    time.anchor(100_000, TICK_US + 3_000_000)
    found = frequency.feed(tracker.feed(u[:, 100_000:]), time)
    assert found.tag_us.tolist() == [TICK_US + 20_000_000]


@pytest.mark.parametrize(("cycles", "duration_s"), [(0, 1.0), (1, 0.0), (1, np.nan)])
def test_no_cycles_and_no_time_are_refused(cycles: int, duration_s: float) -> None:
    with pytest.raises(MeteringError):
        frequency_of_cycles(cycles, duration_s)

"""UTC of samples: anchors, drift, clocks that are set, and back from UTC to samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openami.metrology.power_quality.sample_time import SampleTime
from openami.quantities.errors import MeteringError
from power_quality_world import TICK_US


def at(time: SampleTime, position: float) -> int:
    return int(time.utc_us(np.array([position]))[0])


def test_time_runs_from_sample_0_by_the_nominal_rate() -> None:
    time = SampleTime(6400.0, TICK_US)
    assert at(time, 6400.0 * 3600) == TICK_US + 3_600_000_000
    assert time.position(TICK_US + 500_000) == 3200.0
    assert time.seconds_between(100.0, 6500.0) == pytest.approx(1.0)


def test_between_anchors_time_runs_by_the_rate_that_the_last_two_measured() -> None:
    time = SampleTime(6400.0, TICK_US)
    assert time.anchor(6401.0, TICK_US + 1_000_000) == pytest.approx(-156, abs=1)  # us
    assert at(time, 3200.0) == TICK_US + 500_000  # before the anchor time stays as it was
    assert at(time, 6401.0 + 6401.0) == TICK_US + 2_000_000
    assert time.position(TICK_US + 3_000_000) == pytest.approx(3 * 6401.0)
    assert time.seconds_between(0.0, 2 * 6401.0) == pytest.approx(6401 / 6400 + 1.0)


def test_a_clock_that_is_set_keeps_the_nominal_rate() -> None:
    time = SampleTime(6400.0, TICK_US)
    assert time.anchor(6400.0, TICK_US + 61_000_000) == 60_000_000
    assert at(time, 12_800.0) == TICK_US + 62_000_000
    # of the minute that was skipped there is no sample: it lies where the clock was set
    assert time.position(TICK_US + 30_000_000) == 6400.0


def test_a_free_clock_becomes_uncertain_when_20_ms_may_have_gathered() -> None:
    time = SampleTime(6400.0, TICK_US, drift_ppm=50.0)
    seconds = np.array([0.0, 399.0, 401.0])
    assert time.uncertain(seconds * 6400.0).tolist() == [False, False, True]
    time.anchor(6400.0 * 300, TICK_US + 300_000_000)
    assert time.uncertain(seconds * 6400.0).tolist() == [False, False, False]
    assert SampleTime(6400.0, TICK_US).uncertain(seconds * 1e9).tolist() == [False] * 3
    assert SampleTime(6400.0, None).uncertain(seconds).tolist() == [True] * 3


@given(
    offsets=st.lists(st.integers(-200, 200), min_size=1, max_size=8),
    position=st.floats(0, 60_000, allow_nan=False),
)
def test_position_and_time_are_each_others_inverse(offsets: list[int], position: float) -> None:
    time = SampleTime(6400.0, TICK_US)
    for k, offset in enumerate(offsets, 1):
        time.anchor(6400.0 * k, TICK_US + 1_000_000 * k + offset)
    back = time.position(at(time, position))
    step = max(abs(offset) for offset in offsets) * 2
    assert abs(back - position) <= (step + 1) * 6400.0 / 1e6  # at an anchor time may jump by its correction


def test_forgotten_anchors_leave_the_time_from_there_on() -> None:
    time = SampleTime(6400.0, TICK_US)
    for k in range(1, 100):
        time.anchor(6400.0 * k, TICK_US + 1_000_000 * k + 10 * k)
    expected = at(time, 6400.0 * 98.5)
    time.forget_before(6400.0 * 98.2)
    assert len(time._anchors) == 2
    assert at(time, 6400.0 * 98.5) == expected


@pytest.mark.parametrize(("sample", "utc_us"), [(6400.0, TICK_US + 2), (7000.0, TICK_US + 1_000_000)])
def test_anchors_go_forward_only(sample: float, utc_us: int) -> None:
    time = SampleTime(6400.0, TICK_US)
    time.anchor(6400.0, TICK_US + 1_000_000)
    with pytest.raises(MeteringError):
        time.anchor(sample, utc_us)


def test_without_an_anchor_there_is_no_time() -> None:
    time = SampleTime(6400.0, None)
    assert not time.known
    with pytest.raises(MeteringError, match="UTC"):
        time.position(TICK_US)
    with pytest.raises(MeteringError, match="UTC"):
        time.utc_us(np.zeros(1))
    assert time.anchor(5.0, TICK_US) == 0
    assert time.known

"""Edges follow the fundamental: from nothing, off nominal, through ramps and steps, from phase to phase."""

import numpy as np
import numpy.typing as npt
import pytest

from openami.metrology.windows.frequency import frequency
from openami.metrology.windows.window_analysis import WindowColumns, WindowStream
from openami.metrology.windows.window_edges import WindowFlag
from openami.quantities.errors import MeteringError
from windows_world import VOLTAGE, tones

F64 = npt.NDArray[np.float64]
RATE_HZ = 6400.0


def windows_of(u: F64, *, nominal_hz: float = 50.0, rate_hz: float = RATE_HZ) -> WindowColumns:
    return WindowStream(rate_hz, nominal_hz, u.shape[0]).feed(u, np.zeros_like(u))


def cycles_of(windows: WindowColumns, angle: F64) -> F64:
    """Cycles of the true phase between the edges of each window."""
    places = np.arange(angle.size)
    begin = np.interp(windows.start, places, angle)
    return np.asarray((np.interp(windows.end, places, angle) - begin) / (2 * np.pi))


@pytest.mark.parametrize("nominal_hz", [50.0, 60.0])
@pytest.mark.parametrize("f_hz", [40.0, 42.5, 45.1, 49.3, 50.0, 55.2, 60.0, 66.6, 70.0])
def test_every_fundamental_from_40_to_70_hz_is_found_from_nothing(f_hz: float, nominal_hz: float) -> None:
    """To 1 part in 10^9 with 10 % of fifth harmonic, by windows and over the recording."""
    u = tones(VOLTAGE, f_hz, RATE_HZ, 9600, 0.7)
    windows = windows_of(u[None], nominal_hz=nominal_hz)
    assert len(windows) >= 3
    assert np.abs(windows.f_hz / f_hz - 1).max() < 1e-9
    assert frequency(u, RATE_HZ, nominal_hz=nominal_hz) == pytest.approx(f_hz, rel=1e-9)
    assert (windows.reference == 0).all()
    assert (windows.flags == 0).all()


def test_windows_leave_no_gap() -> None:
    windows = windows_of(tones(VOLTAGE, 51.37, RATE_HZ, 40000)[None])
    assert len(windows) > 25
    assert np.abs(windows.end[:-1] - windows.start[1:]).max() < 1e-9


def test_a_window_of_a_ramp_holds_exactly_its_cycles() -> None:
    t = np.arange(60000) / RATE_HZ
    angle = 2 * np.pi * (47.0 * t + 0.5 * 1.0 * t * t)  # 47 Hz to 56 Hz at 1 Hz/s
    windows = windows_of((325.0 * np.sin(angle) + 32.0 * np.sin(5 * angle + 1))[None])
    assert len(windows) > 40
    # a probe is a little longer at one edge than at the other where its length changes by a step: 2e-6 cycles
    assert np.abs(cycles_of(windows, angle) - 10).max() < 3e-6
    assert np.abs(windows.start % 1.0).max() > 0.5  # real-valued edges


@pytest.mark.parametrize(("before_hz", "after_hz"), [(50.0, 51.0), (50.0, 45.0), (42.5, 57.5), (55.0, 41.0)])
def test_a_step_of_frequency_loses_no_cycle(before_hz: float, after_hz: float) -> None:
    samples = 40000
    rate = np.where(np.arange(samples) < 15000, before_hz, after_hz)
    angle = np.concatenate(([0.0], np.cumsum(2 * np.pi * rate / RATE_HZ)[:-1]))
    windows = windows_of((325.0 * np.sin(angle))[None])
    cycles = cycles_of(windows, angle)
    away = (windows.end < 15000 - 1000) | (windows.start > 15000 + 1000)
    assert np.abs(cycles[away] - 10).max() < 1e-6
    assert np.abs(cycles - 10).max() < 0.05
    assert (windows.flags == 0).all()


def test_noise_around_zero_crossings_moves_no_edge() -> None:
    """White noise of 1 % and 10 % of a tone at 2.61 kHz: many zero crossings a cycle, none counted."""
    rng = np.random.default_rng(7)
    u = tones([(1, 230.0, 0.0), (52.7, 23.0, 0.3)], 49.6, RATE_HZ, 64000) + rng.normal(0, 3.25, 64000)
    windows = windows_of(u[None])
    assert len(windows) >= 45
    assert np.abs(windows.f_hz - 49.6).max() < 3e-3
    assert windows.f_hz.mean() == pytest.approx(49.6, abs=1e-4)
    assert (windows.flags == 0).all()


def three_phases(samples: int, f_hz: float = 49.7) -> F64:
    return np.array([tones(VOLTAGE, f_hz, RATE_HZ, samples, -2 * np.pi / 3 * phase) for phase in range(3)])


def test_a_missing_first_phase_is_replaced_by_the_next_one() -> None:
    u = three_phases(12800)
    u[0] = 0.0
    windows = windows_of(u)
    assert len(windows) >= 7
    assert (windows.reference == 1).all()
    assert (windows.flags == 0).all()
    assert np.abs(windows.f_hz / 49.7 - 1).max() < 1e-9


def test_a_reference_that_goes_and_comes_back_is_not_noticed_in_the_edges() -> None:
    u = three_phases(48000)
    u[0, 16000:30000] = 0.0
    u[1, 22000:] = 0.0
    windows = windows_of(u)
    # 1 -> 2 at 16000, 2 -> 3 at 22000; 3 is there throughout, so no window is without one whole phase
    assert set(windows.reference) == {0, 1, 2}
    assert (windows.flags == 0).all()
    assert np.abs(windows.f_hz / 49.7 - 1).max() < 1e-6
    assert np.abs(windows.end[:-1] - windows.start[1:]).max() < 1e-9


def test_when_no_phase_is_there_throughout_the_count_goes_from_one_to_the_other() -> None:
    u = three_phases(30000)[:2]
    u[0, 15500:] = 0.0
    u[1, :15200] = 0.0
    windows = windows_of(u)
    changed = windows.flags & WindowFlag.REFERENCE_CHANGED != 0
    partly = windows.flags & WindowFlag.UNSYNCHRONISED != 0
    assert changed.sum() == 1
    assert not partly.any()
    assert np.abs(windows.f_hz / 49.7 - 1).max() < 2e-3
    assert [int(r) for r in windows.reference[windows.end < 15000]] == [0] * 11
    assert set(windows.reference[windows.start > 17500]) == {1}


def test_without_any_voltage_windows_are_nominal_and_say_so() -> None:
    for nominal_hz, length in ((50.0, 1280.0), (60.0, 1280.0)):
        windows = windows_of(np.zeros((3, 12800)), nominal_hz=nominal_hz)
        assert len(windows) >= 8
        assert (windows.end - windows.start == length).all()
        assert (windows.flags == WindowFlag.UNSYNCHRONISED).all()
        assert (windows.reference == -1).all()


def test_an_interruption_keeps_the_last_frequency_until_its_window_ends() -> None:
    u = three_phases(40000, 51.5)
    u[:, 13000:27000] = 0.0
    windows = windows_of(u)
    dark = (windows.start > 13250) & (windows.end < 26000)
    assert (windows.flags[dark] == WindowFlag.UNSYNCHRONISED).all()
    assert (windows.f_hz[dark] == 50.0).all()
    crossing = (windows.start < 13250) & (windows.end > 13000)
    assert windows.f_hz[crossing] == pytest.approx(51.5, abs=0.3)
    clear = (windows.end < 12000) | (windows.start > 28500)
    assert (windows.flags[clear] == 0).all()
    assert np.abs(windows.f_hz[clear] / 51.5 - 1).max() < 1e-9


def test_a_recording_without_a_fundamental_has_no_frequency() -> None:
    for x in (np.zeros(6400), tones([(1, 230.0, 0.0)], 20.0, RATE_HZ, 6400)):
        with pytest.raises(MeteringError, match="no fundamental"):
            frequency(x, RATE_HZ)
    with pytest.raises(MeteringError, match="no frequency"):
        frequency(np.zeros(100), RATE_HZ)


@pytest.mark.parametrize(("rate_hz", "nominal_hz"), [(6400.0, 55.0), (999.0, 50.0), (float("nan"), 50.0)])
def test_rates_and_nominal_frequencies_that_cannot_be_tracked_are_refused(
    rate_hz: float, nominal_hz: float
) -> None:
    with pytest.raises(MeteringError, match="expected"):
        WindowStream(rate_hz, nominal_hz, 1)

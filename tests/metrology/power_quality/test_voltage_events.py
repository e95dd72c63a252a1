"""Dips, swells, interruptions, rapid changes: rectangular events by closed form at every angle; the rules."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.metrology.power_quality.event_kernel import EventKind
from openami.metrology.power_quality.events import EventDetector, EventThresholds, VoltageEvent
from openami.metrology.power_quality.half_cycle_rms import HalfCycleRms, HalfCycleStream
from openami.quantities.errors import MeteringError
from power_quality_world import RATE, cut, half_cycles, sines, times

F64 = npt.NDArray[np.float64]
UDIN = 230.0
PLAIN = EventThresholds()
BEGIN = 0.8  # s, of every rectangular event


def events_of(u: F64, f_hz: float = 50.0, thresholds: EventThresholds = PLAIN) -> list[VoltageEvent]:
    phases = u.shape[0]
    tracker = HalfCycleStream(RATE, f_hz, UDIN, np.ones(phases), np.ones(phases))
    return list(EventDetector(phases, UDIN, f_hz, thresholds).feed(tracker.feed(u)).ended)


def rectangular(depth: float, cycles: float, angle_deg: float, f_hz: float = 50.0) -> F64:
    """One voltage that is ``depth`` of its rms from BEGIN on, for so many cycles."""
    t = times(1.6)
    factor = np.where((t >= BEGIN) & (t < BEGIN + cycles / f_hz), depth, 1.0)
    return sines(t, f_hz, phases=1, angle=np.radians(angle_deg)) * factor


def closed_form_extreme(depth: float, cycles: float, angle_deg: float, f_hz: float = 50.0) -> float:
    """Extreme Urms(1/2) of it in V: windows of a cycle at every zero crossing, sin² integrated by hand."""
    omega, angle = 2 * np.pi * f_hz, np.radians(angle_deg)

    def square(begin: float, end: float) -> float:  # integral of 2 sin²
        return (
            end
            - begin
            - (np.sin(2 * (omega * end + angle)) - np.sin(2 * (omega * begin + angle))) / (2 * omega)
        )

    values = []
    for k in range(int(2 * f_hz * 1.5)):
        start = (k * np.pi - angle) / omega
        end = start + 1 / f_hz
        low, high = max(start, BEGIN), min(end, BEGIN + cycles / f_hz)
        outside = square(start, end) - (square(low, high) if high > low else 0.0)
        inside = square(low, high) if high > low else 0.0
        values.append(UDIN * np.sqrt(max(0.0, outside + depth**2 * inside) * f_hz))
    return max(values) if depth > 1 else min(values)


@pytest.mark.parametrize("f_hz", [50.0, 49.3, 60.0])
@pytest.mark.parametrize("cycles", [1.5, 2.0, 5.0, 10.3])
@pytest.mark.parametrize("depth", [0.0, 0.03, 0.4, 0.7, 0.85, 0.88, 1.12, 1.3, 1.5])
def test_residual_within_a_fifth_of_a_percent_and_duration_within_a_cycle(
    depth: float, cycles: float, f_hz: float
) -> None:
    for angle in range(0, 360, 20):
        found = [
            event
            for event in events_of(rectangular(depth, cycles, angle, f_hz), 60.0 if f_hz == 60.0 else 50.0)
            if event.kind in (EventKind.DIP, EventKind.SWELL)
        ]
        assert len(found) == 1
        assert found[0].kind is (EventKind.SWELL if depth > 1 else EventKind.DIP)
        expected = closed_form_extreme(depth, cycles, angle, f_hz)
        assert abs(found[0].extreme_v - expected) < 0.002 * UDIN
        assert abs(found[0].duration_s(RATE) * f_hz - cycles) < 0.5  # class A: 1 cycle
        assert abs(found[0].start / RATE - BEGIN) * f_hz < 0.3
        # the windows that crossed the threshold, as instruments stamp them: one and a half cycles at most
        stamped = (found[0].last_window - found[0].first_window) / RATE * f_hz
        assert abs(stamped - cycles) < 1.5


@pytest.mark.parametrize("depth", [0.0, 0.5, 0.7])
def test_half_a_cycle_is_found_at_every_phase_angle_within_a_cycle(depth: float) -> None:
    for angle in range(0, 360, 15):
        (event,) = (e for e in events_of(rectangular(depth, 0.5, angle)) if e.kind is EventKind.DIP)
        assert abs(event.duration_s(RATE) * 50.0 - 0.5) < 1.0
        # the crossing next to so short an event is bent by it, and the window with it
        assert abs(event.extreme_v - closed_form_extreme(depth, 0.5, angle)) < 0.04 * UDIN


@pytest.mark.parametrize(("depth", "found"), [(0.8995, 1), (0.9005, 0), (1.0995, 0), (1.1005, 1)])
def test_thresholds_of_dip_and_swell_are_90_and_110_percent(depth: float, found: int) -> None:
    events = events_of(rectangular(depth, 20.0, 30.0))
    assert len([e for e in events if e.kind is not EventKind.RAPID_VOLTAGE_CHANGE]) == found


def detected(
    levels: list[F64] | list[list[float]],
    thresholds: EventThresholds = PLAIN,
    f_hz: float = 50.0,
    declared_v: float = UDIN,
) -> list[VoltageEvent]:
    """Events of Urms(1/2) given outright, in V, one list per channel, equally long."""
    columns = tuple(
        half_cycles(lambda s, v=volts: np.asarray(v), len(volts) / (2 * f_hz), f_hz=f_hz, shift=k / 3)
        for k, volts in enumerate(levels)
    )
    return list(EventDetector(len(levels), declared_v, f_hz, thresholds).feed(columns).ended)


def flat(level: float, count: int) -> list[float]:
    return [level * UDIN] * count


def test_a_dip_lasts_until_threshold_and_hysteresis_are_passed() -> None:
    volts = flat(1.0, 200) + flat(0.85, 20) + flat(0.915, 30) + flat(0.92, 1) + flat(1.0, 200)
    (event,) = detected([volts])
    assert event.kind is EventKind.DIP
    assert event.extreme_v == pytest.approx(0.85 * UDIN)
    assert event.first_window == pytest.approx(200 * 64)
    assert event.last_window == pytest.approx(250 * 64)
    assert event.reference_v == UDIN


def test_a_dip_of_several_channels_is_one_from_the_first_to_the_last() -> None:
    one = flat(1.0, 200) + flat(0.8, 30) + flat(1.0, 220)
    two = flat(1.0, 220) + flat(0.5, 40) + flat(1.0, 190)
    (event,) = detected([one, two, flat(1.0, 450)])
    assert (event.channel, event.end_channel) == (0, 1)
    assert (event.extreme_channel, event.extreme_v) == (1, pytest.approx(0.5 * UDIN))
    assert event.first_window == pytest.approx(200 * 64)
    assert event.last_window == pytest.approx(260 * 64 + 128 / 3)


def test_it_is_interrupted_only_when_every_channel_is() -> None:
    dead = flat(1.0, 200) + flat(0.01, 50) + flat(1.0, 200)
    assert [e.kind for e in detected([dead, dead, flat(1.0, 450)])] == [EventKind.DIP]
    both = detected([dead, dead, dead])
    assert sorted(e.kind for e in both) == [EventKind.DIP, EventKind.INTERRUPTION]
    interruption = next(e for e in both if e.kind is EventKind.INTERRUPTION)
    assert interruption.channel == 2  # the last to go
    assert interruption.end_channel == 0  # the first to come back
    assert interruption.extreme_v == pytest.approx(0.01 * UDIN)


def test_an_interruption_ends_at_five_and_two_percent() -> None:
    volts = flat(1.0, 200) + flat(0.04, 20) + flat(0.069, 20) + flat(0.07, 20) + flat(1.0, 200)
    interruption = next(e for e in detected([volts]) if e.kind is EventKind.INTERRUPTION)
    assert interruption.last_window == pytest.approx(240 * 64)


def test_a_swell_ends_below_110_less_2_percent() -> None:
    volts = flat(1.0, 200) + flat(1.2, 10) + flat(1.09, 10) + flat(1.08, 200)
    swell = next(e for e in detected([volts]) if e.kind is EventKind.SWELL)
    assert swell.last_window == pytest.approx(220 * 64)
    assert swell.extreme_v == pytest.approx(1.2 * UDIN)


def test_a_sliding_reference_follows_a_slow_supply_and_rests_during_an_event() -> None:
    sliding = EventThresholds(sliding_reference=0.0033, rapid_change_pct=50.0)
    fall = np.linspace(1.0, 0.86, 60_000) * UDIN  # ten minutes
    assert [e.kind for e in detected([fall], EventThresholds(rapid_change_pct=50.0))] == []  # not over yet
    assert detected([fall], sliding) == []
    dip = np.concatenate((fall, np.full(30_000, 0.6 * UDIN), np.full(200, 0.86 * UDIN)))
    (event,) = detected([dip], sliding)
    # one minute behind a fall of 0.14 in ten: 1.4 % above the last value
    assert event.reference_v == pytest.approx((0.86 + 0.14 / 10 * (0.2 / 0.0033 / 60)) * UDIN, rel=2e-3)
    assert event.last_window > event.first_window + 29_990 * 64  # the reference did not follow into the dip


def test_a_step_is_a_rapid_change_with_its_two_differences() -> None:
    volts = flat(1.0, 300) + flat(0.91, 1) + flat(0.94, 300)
    (event,) = detected([volts, flat(1.0, 601)])
    assert event.kind is EventKind.RAPID_VOLTAGE_CHANGE
    assert event.delta_ss_v == pytest.approx(0.06 * UDIN)
    assert event.extreme_v == pytest.approx(0.09 * UDIN)
    assert event.first_window == pytest.approx(300 * 64)
    assert event.last_window == pytest.approx(301 * 64)
    assert event.extreme_channel == -1


@pytest.mark.parametrize(("f_hz", "values"), [(50.0, 100), (60.0, 120)])
def test_a_change_is_over_a_second_after_it_began(f_hz: float, values: int) -> None:
    step = flat(1.0, 300) + flat(0.94, values)
    assert len(detected([step], f_hz=f_hz)) == 0
    assert len(detected([step + flat(0.94, 3)], f_hz=f_hz)) == 1


def test_a_small_step_and_a_slow_ramp_are_no_rapid_changes() -> None:
    assert detected([flat(1.0, 300) + flat(0.952, 300)]) == []
    assert detected([np.linspace(1.0, 0.92, 1000) * UDIN]) == []


def test_steady_again_only_within_half_of_the_threshold() -> None:
    ripple = [(1.0 + 0.04 * (-1) ** k) * UDIN for k in range(150)]  # within 5 %, not within 2.5 %
    volts = flat(1.0, 300) + flat(0.93, 5) + ripple + flat(1.0, 150)
    (event,) = detected([volts])
    assert event.last_window == pytest.approx((300 + 5 + 150) * 64)


def test_a_dip_is_no_rapid_change() -> None:
    volts = flat(1.0, 300) + flat(0.94, 20) + flat(0.80, 10) + flat(0.94, 300)
    assert [e.kind for e in detected([volts])] == [EventKind.DIP]


def test_a_change_of_any_channel_lasts_until_all_are_steady() -> None:
    one = flat(1.0, 300) + flat(0.94, 500)
    two = flat(1.0, 350) + flat(0.93, 450)
    (event,) = detected([one, two])
    assert event.first_window == pytest.approx(300 * 64)
    assert event.last_window == pytest.approx(350 * 64 + 128 / 3)
    assert event.delta_ss_v == pytest.approx(0.07 * UDIN)


def disturbed(seed: int) -> tuple[HalfCycleRms, ...]:
    rng = np.random.default_rng(seed)
    columns = []
    for channel in range(3):
        level = np.repeat(rng.choice([1.0, 1.0, 1.0, 0.95, 0.93, 0.85, 0.3, 0.01, 1.15], 60), 25)
        volts = UDIN * level * (1 + 0.004 * rng.standard_normal(level.size))
        columns.append(half_cycles(lambda s, v=volts: v, level.size / 100, shift=channel / 3))
    return tuple(columns)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 50), cuts=st.lists(st.integers(0, 1500), max_size=10))
def test_events_and_flags_are_the_same_however_the_values_arrive(seed: int, cuts: list[int]) -> None:
    columns = disturbed(seed)
    whole = EventDetector(3, UDIN, 50.0, PLAIN)
    expected = whole.feed(columns)
    pieces = EventDetector(3, UDIN, 50.0, PLAIN)
    begun, ended = [], []
    rng = np.random.default_rng(seed)
    at = [0, 0, 0]
    for edge in [*sorted(cuts), 1500]:
        to = [min(1500, edge + int(rng.integers(0, 40))) if edge < 1500 else 1500 for _ in range(3)]
        report = pieces.feed(tuple(cut(columns[c], at[c], max(at[c], to[c])) for c in range(3)))
        at = [max(a, b) for a, b in zip(at, to, strict=True)]
        begun += report.begun
        ended += report.ended
    assert len(ended) > 0
    assert tuple(begun) == expected.begun
    assert sorted(ended, key=repr) == sorted(expected.ended, key=repr)
    assert whole.close() == pieces.close()
    windows = np.arange(0.0, 1500 * 64.0, 1280.0)
    assert np.array_equal(whole.flags(windows, windows + 1280), pieces.flags(windows, windows + 1280))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 50), power=st.integers(-3, 3))
def test_events_scale_with_the_declared_voltage(seed: int, power: int) -> None:
    factor = 2.0**power
    volts = [columns.u_v for columns in disturbed(seed)]
    plain = detected(volts)
    scaled = detected([factor * v for v in volts], declared_v=factor * UDIN)
    assert [(e.kind, e.start, e.end, factor * e.extreme_v) for e in plain] == [
        (e.kind, e.start, e.end, e.extreme_v) for e in scaled
    ]


def test_quiet_values_are_passed_at_once_with_the_result_of_looking_at_each() -> None:
    rng = np.random.default_rng(3)
    volts = UDIN * (1 + 0.01 * rng.standard_normal(2000))
    volts[1500:1520] *= 0.7
    at_once = detected([volts, volts[::-1].copy()])
    one_by_one = EventDetector(2, UDIN, 50.0, PLAIN)
    columns = [half_cycles(lambda s, v=v: v, 20.0, shift=k / 3) for k, v in enumerate((volts, volts[::-1]))]
    found = []
    for k in range(2000):
        found += one_by_one.feed(tuple(cut(c, k, k + 1) for c in columns)).ended
    assert found == at_once
    assert len(found) == 2


def test_windows_are_flagged_from_the_first_to_the_last_window_of_an_event() -> None:
    volts = flat(1.0, 300) + flat(0.5, 40) + flat(1.0, 300)
    detector = EventDetector(1, UDIN, 50.0, PLAIN)
    detector.feed((half_cycles(lambda s: np.array(volts), 6.4),))
    start = np.array([17_919.0, 17_920.0, 19_200.0, 21_759.0, 21_760.0])
    assert detector.flags(start, start + 1280.0).tolist() == [0, 0, 1, 1, 0]
    assert detector.flags(start, start + 1281.0).tolist() == [0, 1, 1, 1, 0]
    detector.forget_before(22_000.0)
    assert detector.flags(start, start + 1280.0).tolist() == [0, 0, 0, 0, 0]


def test_an_event_that_is_on_flags_and_is_cut_by_the_end() -> None:
    volts = flat(1.0, 300) + flat(0.5, 100)
    detector = EventDetector(1, UDIN, 50.0, PLAIN)
    report = detector.feed((half_cycles(lambda s: np.array(volts), 4.0),))
    assert [b.kind for b in report.begun if b.kind is EventKind.DIP] == [EventKind.DIP]
    assert report.ended == ()
    assert detector.flags(np.array([20_000.0, 30_000.0]), np.array([21_280.0, 31_280.0])).tolist() == [1, 1]
    (event,) = detector.close()
    assert event.cut
    assert event.extreme_v == pytest.approx(0.5 * UDIN)
    assert event.end == pytest.approx(399 * 64)
    assert detector.close() == ()


@pytest.mark.parametrize(
    "settings_",
    [
        {"dip_pct": 109.0},
        {"interruption_pct": 89.0},
        {"hysteresis_pct": -1.0},
        {"rapid_change_pct": 0.0},
        {"rapid_change_hysteresis_pct": 100.0},
        {"sliding_reference": 1.0},
        {"dip_pct": np.nan},
    ],
)
def test_thresholds_that_contradict_each_other_are_refused(settings_: dict[str, float]) -> None:
    with pytest.raises(MeteringError):
        EventThresholds(**settings_)


def test_thresholds_say_where_they_come_from() -> None:
    assert "recalled" in PLAIN.source


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(MeteringError, match="channels"):
        EventDetector(3, UDIN, 50.0, PLAIN).feed((half_cycles(lambda s: s, 1.0),))

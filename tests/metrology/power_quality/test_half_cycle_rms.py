"""Urms(1/2): each channel by its own crossings, exact over a period, the same however the stream is cut."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.metrology.power_quality.half_cycle_rms import HalfCycleRms, HalfCycleStream
from openami.quantities.errors import MeteringError
from power_quality_world import I_A_PER_COUNT, RATE, U_V_PER_COUNT, counts, sines, times

F64 = npt.NDArray[np.float64]
HARMONICS = ((3, 0.05, 0.4), (5, 0.10, 2.0), (7, 0.04, -1.0), (15, 0.01, 0.3))
TRUE_SHARE = np.sqrt(1 + sum(share**2 for _, share, _ in HARMONICS))
ONES = np.ones(3)


def stream(rate_hz: float = RATE, nominal_hz: float = 50.0, phases: int = 3) -> HalfCycleStream:
    return HalfCycleStream(rate_hz, nominal_hz, 230.0, np.ones(phases), np.ones(phases))


def same_bits(one: HalfCycleRms, other: HalfCycleRms) -> bool:
    return all(np.array_equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(HalfCycleRms))


def joined(parts: list[tuple[HalfCycleRms, ...]], phase: int) -> HalfCycleRms:
    return HalfCycleRms(
        *(np.concatenate([getattr(part[phase], f.name) for part in parts]) for f in fields(HalfCycleRms))
    )


def fed_in_cuts(u: npt.NDArray[np.generic], i: npt.NDArray[np.generic], at: list[int]) -> list[HalfCycleRms]:
    tracker = stream()
    edges = [0, *sorted(at), u.shape[1]]
    parts = [
        tracker.feed(u[:, a:b], i[:, a:b])  # type: ignore[arg-type]
        for a, b in pairwise(edges)
    ]
    return [joined(parts, phase) for phase in range(3)]


@pytest.mark.parametrize("rate_hz", [6400.0, 12800.0])
@pytest.mark.parametrize(
    ("f_hz", "nominal_hz"),
    [
        (50.0, 50.0),
        (42.5, 50.0),
        (49.3, 50.0),
        (50.7, 50.0),
        (57.5, 50.0),
        (60.0, 60.0),
        (51.3, 60.0),
        (69.0, 60.0),
    ],
)
def test_rms_of_a_distorted_supply_off_nominal_is_exact_to_20_ppm_once_tracked(
    rate_hz: float, f_hz: float, nominal_hz: float
) -> None:
    u = sines(times(1.5, rate_hz), f_hz, harmonics=HARMONICS)
    for columns in stream(rate_hz, nominal_hz).feed(counts(u, U_V_PER_COUNT), None):
        settled = columns.start > 0.75 * rate_hz
        rms = columns.u_v[settled] * U_V_PER_COUNT
        assert np.abs(rms / (230.0 * TRUE_SHARE) - 1).max() < 20e-6
        assert np.abs(columns.period[settled] * f_hz / rate_hz - 1).max() < 20e-6


def test_windows_begin_at_the_crossings_of_the_fundamental_whatever_rides_on_it() -> None:
    t = times(1.0)
    plain = stream().feed(sines(t, 50.2))
    dirty = stream().feed(sines(t, 50.2, harmonics=HARMONICS) + 5.0)
    period = RATE / 50.2
    for phase in range(3):
        late = slice(30, 90)
        assert np.abs(plain[phase].start[late] - dirty[phase].start[late]).max() < 0.02
        crossing = (plain[phase].start[late] / period + (0.0, -1 / 3, 1 / 3)[phase]) * 2
        assert np.abs(crossing - np.round(crossing)).max() < 1e-4


def test_windows_come_every_half_cycle_and_alternate_in_direction() -> None:
    (columns,) = stream(phases=1).feed(sines(times(1.0), 50.0, phases=1))
    assert np.allclose(np.diff(columns.start), RATE / 100, atol=1e-6)
    assert (columns.rising[1:] != columns.rising[:-1]).all()
    assert np.sin(2 * np.pi * 50.0 * (columns.start[columns.rising][0] + 1) / RATE) > 0


def test_current_is_measured_over_the_windows_of_its_voltage() -> None:
    t = times(2.0)
    u, i = sines(t, 49.8), sines(t, 49.8, 10.0, angle=-1.1)
    i[:, round(RATE) :] *= 3.0
    for columns in stream().feed(u, i):
        before, behind = columns.end < RATE, columns.start > RATE
        settled = columns.start > 0.5 * RATE
        assert np.abs(columns.i_a[before & settled] / 10.0 - 1).max() < 3e-4
        assert np.abs(columns.i_a[behind] / 30.0 - 1).max() < 3e-4
        assert len(columns.i_a) == len(columns)


@settings(max_examples=25, deadline=None)
@given(at=st.lists(st.integers(0, 6400), max_size=12), whole=st.booleans())
def test_any_cut_of_the_stream_gives_the_same_bits(at: list[int], whole: bool) -> None:
    u = sines(times(1.0), 49.3, harmonics=HARMONICS)
    u[0, 3000:4100] *= 0.3
    u[1, 2500:3900] = 0.0
    i = sines(times(1.0), 49.3, 10.0, angle=-0.7)
    samples = (counts(u, U_V_PER_COUNT), counts(i, I_A_PER_COUNT)) if whole else (u, i)
    once = fed_in_cuts(*samples, [])
    for one, other in zip(once, fed_in_cuts(*samples, at), strict=True):
        assert same_bits(one, other)


def test_one_sample_at_a_time_gives_the_same_bits() -> None:
    u = counts(sines(times(0.4), 50.9), U_V_PER_COUNT)
    once = fed_in_cuts(u, u, [])
    for one, other in zip(once, fed_in_cuts(u, u, list(range(1, u.shape[1]))), strict=True):
        assert len(one) > 20
        assert same_bits(one, other)


def test_sign_and_scale_change_nothing_but_direction_and_size() -> None:
    u = sines(times(0.6), 49.3, harmonics=HARMONICS)
    plain, turned, doubled = stream().feed(u), stream().feed(-u), stream().feed(2.0 * u)
    for one, minus, two in zip(plain, turned, doubled, strict=True):
        assert np.array_equal(one.start, minus.start)
        assert np.array_equal(one.u_v, minus.u_v)
        assert np.array_equal(one.rising, ~minus.rising)
        assert np.array_equal(2.0 * one.u_v, two.u_v)


def test_a_channel_knows_nothing_of_the_others() -> None:
    u = sines(times(1.0), 49.3)
    disturbed = u.copy()
    disturbed[1] = 0.0
    disturbed[2] *= np.where(np.arange(u.shape[1]) % 700 < 300, 1.6, 0.2)
    assert same_bits(stream().feed(u)[0], stream().feed(disturbed)[0])


def test_an_interrupted_channel_goes_on_by_its_last_period_and_says_so() -> None:
    u = sines(times(3.0), 49.6)
    u[:, round(RATE) : 2 * round(RATE)] = 0.0
    for columns in stream().feed(u):
        inside = (columns.start > 1.03 * RATE) & (columns.end < 1.97 * RATE)
        assert columns.held[inside].all()
        assert columns.u_v[inside].max() == 0.0
        assert np.allclose(np.diff(columns.start[inside]), RATE / 49.6 / 2, rtol=1e-4)
        outside = (columns.start < 0.97 * RATE) | (columns.start > 2.03 * RATE)
        assert not columns.held[outside].any()
        assert np.abs(columns.u_v[columns.start > 2.1 * RATE] / 230.0 - 1).max() < 3e-4


def test_a_supply_that_comes_after_the_start_is_found() -> None:
    u = sines(times(2.0), 51.0)
    u[:, : round(0.8 * RATE)] = 0.0
    for columns in stream().feed(u):
        late = columns.start > 1.3 * RATE
        assert np.abs(columns.u_v[late] / 230.0 - 1).max() < 1e-4


@pytest.mark.parametrize("jump", [30.0, 70.0, 120.0, 180.0])
def test_a_phase_jump_costs_two_cycles_and_no_more(jump: float) -> None:
    t = times(2.0)
    theta = 2 * np.pi * 50.0 * t + np.radians(jump) * (t >= 1.0031)
    u = 230.0 * np.sqrt(2) * np.sin(theta)[None]
    (columns,) = stream(phases=1).feed(u)
    clear = (columns.end < 1.0031 * RATE) | (columns.start > (1.0031 + 0.04) * RATE)
    assert np.abs(columns.u_v[clear & (columns.start > 0.2 * RATE)] / 230.0 - 1).max() < 2e-4
    assert np.diff(columns.start).min() > 0.24 * RATE / 50.0


def test_frequency_that_steps_or_ramps_is_followed() -> None:
    t = times(6.0)
    f = np.where(t < 2.0, 50.0, np.where(t < 3.0, 50.0 + (t - 2.0), 51.0))
    theta = 2 * np.pi * np.cumsum(f) / RATE
    (columns,) = stream(phases=1).feed(230.0 * np.sqrt(2) * np.sin(theta)[None])
    settled = columns.start > 0.3 * RATE
    assert np.abs(columns.u_v[settled] / 230.0 - 1).max() < 1e-3  # class A: 0.1 %, at 1 Hz/s
    late = columns.start > 4.0 * RATE
    assert np.abs(columns.period[late] * 51.0 / RATE - 1).max() < 1e-5


def test_largest_counts_do_not_overflow() -> None:
    u = np.where(np.sin(2 * np.pi * 50.0 * times(0.6)) >= 0, 2**31 - 1, -(2**31) + 1)[None].astype(np.int32)
    (columns,) = HalfCycleStream(RATE, 50.0, 230.0, np.full(1, 1e-6), np.ones(1)).feed(u)
    assert np.allclose(columns.u_v, (2**31 - 1) * 1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("u", "i", "what"),
    [
        (np.zeros((2, 10)), None, "shape"),
        (np.zeros(10), None, "shape"),
        (np.zeros((3, 10)), np.zeros((3, 9)), "shape"),
        (np.zeros((3, 10), np.float32), None, "type"),
        (np.zeros((3, 10)), np.zeros((3, 10), np.int32), "type"),
    ],
)
def test_samples_that_cannot_be_taken_are_refused(u: F64, i: F64 | None, what: str) -> None:
    with pytest.raises(MeteringError, match=what):
        stream().feed(u, i)


def test_type_of_samples_and_currents_stay_as_they_began() -> None:
    tracker = stream()
    tracker.feed(np.zeros((3, 10)))
    with pytest.raises(MeteringError, match="another type"):
        tracker.feed(np.zeros((3, 10), np.int32))
    with pytest.raises(MeteringError, match="come or go"):
        tracker.feed(np.zeros((3, 10)), np.zeros((3, 10)))


@pytest.mark.parametrize(
    ("rate_hz", "nominal_hz", "declared_v"),
    [(900.0, 50.0, 230.0), (np.nan, 50.0, 230.0), (6400.0, 16.7, 230.0), (6400.0, 50.0, 0.0)],
)
def test_settings_that_cannot_be_measured_with_are_refused(
    rate_hz: float, nominal_hz: float, declared_v: float
) -> None:
    with pytest.raises(MeteringError):
        HalfCycleStream(rate_hz, nominal_hz, declared_v, ONES, ONES)

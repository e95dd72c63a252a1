"""Time division, Hall plate, digital: each multiplies, and errs where its parts err, by what is stated."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from openami.metrology.front_end.converter import ConverterModel
from openami.metrology.front_end.digital import DigitalMeter, DigitalParameters
from openami.metrology.front_end.hall import HallMeter, HallParameters
from openami.metrology.front_end.measuring_principle import MeasuringPrinciple
from openami.metrology.front_end.time_division import TimeDivisionMeter, TimeDivisionParameters
from openami.metrology.waveform.test_waveforms import Circuit, half_wave
from openami.quantities.errors import MeteringError

RATE = 6400.0
U, IB = 230.0, 5.0
Make = Callable[[], MeasuringPrinciple]
MAKES: dict[str, Make] = {
    "time division": lambda: TimeDivisionMeter(RATE),
    "hall": lambda: HallMeter(RATE),
    "digital": lambda: DigitalMeter(RATE),
}


def sine(rms: float, lag_deg: float = 0.0, f: float = 50.0, seconds: float = 4.0) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    return (math.sqrt(2) * rms * np.sin(2 * np.pi * f * t - math.radians(lag_deg)))[np.newaxis]


def error_percent(make: Make, u: np.ndarray, i: np.ndarray, temperature_c: float = 23.0) -> float:
    """Error over the last second."""
    meter = make()
    settled = u.shape[1] - round(RATE)
    meter.advance(u[:, :settled], i[:, :settled], temperature_c=temperature_c)
    shown = meter.advance(u[:, settled:], i[:, settled:], temperature_c=temperature_c)
    return (shown / (float(np.sum(u[:, settled:] * i[:, settled:])) / RATE) - 1) * 100


def at(make: Make, load: float = 1.0, pf: float = 1.0, temperature_c: float = 23.0, f: float = 50.0) -> float:
    return error_percent(make, sine(U, f=f), sine(load * IB, math.degrees(math.acos(pf)), f), temperature_c)


def half_wave_error(make: Make, i_a: float) -> float:
    waveform = half_wave(Circuit(U, i_a, phases=1))
    t = np.arange(round(4 * RATE)) / RATE
    return error_percent(make, waveform.u[0].sample(t)[np.newaxis], waveform.i[0].sample(t)[np.newaxis])


@pytest.mark.parametrize("name", MAKES)
def test_the_curve_is_that_of_a_class_1_meter(name: str) -> None:
    """IEC 62053-21 class 1, direct (recalled): 1.5 % at 0.05 Ib (0.1 at PF 0.5), 1 % from 0.1 Ib (0.2)."""
    make = MAKES[name]
    assert at(make) == pytest.approx(0.0, abs=2e-3)
    assert abs(at(make, 0.05)) < 1.5
    assert abs(at(make, 0.1, 0.5)) < 1.5
    assert max(abs(at(make, load)) for load in (0.1, 0.5, 4.0)) < 1.0
    assert max(abs(at(make, load, 0.5)) for load in (0.2, 1.0, 4.0)) < 1.0


@pytest.mark.parametrize("name", MAKES)
def test_it_holds_still_without_current_and_starts_at_0_4_percent(name: str) -> None:
    meter = MAKES[name]()
    still = meter.advance(sine(1.15 * U, seconds=20.0), 0.0 * sine(U, seconds=20.0))
    assert still == 0.0
    meter = MAKES[name]()
    shown = meter.advance(sine(U, seconds=20.0), sine(0.004 * IB, seconds=20.0))
    assert shown / (U * 0.004 * IB * 20.0) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("name", MAKES)
@pytest.mark.parametrize("cut", [1, 13, 3200])
def test_blocks_make_no_difference(name: str, cut: int) -> None:
    u, i = sine(U, seconds=1.0), sine(3 * IB, 20.0, seconds=1.0)
    whole, parts = MAKES[name](), MAKES[name]()
    energy = whole.advance(u, i)
    edges = sorted({0, cut, *range(cut, u.shape[1], max(cut, 97)), u.shape[1]})
    pieces = [parts.advance(u[:, a:b], i[:, a:b]) for a, b in pairwise(edges)]
    assert sum(pieces) == pytest.approx(energy, rel=1e-11)
    # the same state: what comes next is the same
    assert parts.advance(u[:, :100], i[:, :100]) == pytest.approx(
        whole.advance(u[:, :100], i[:, :100]), rel=1e-12
    )


@pytest.mark.parametrize("name", MAKES)
def test_three_phases_add_up(name: str) -> None:
    build = {
        "time division": lambda: TimeDivisionMeter(RATE, replace(TimeDivisionParameters(), phases=3)),
        "hall": lambda: HallMeter(RATE, replace(HallParameters(), phases=3)),
        "digital": lambda: DigitalMeter(RATE, replace(DigitalParameters(), phases=3)),
    }[name]
    t = np.arange(round(4 * RATE)) / RATE
    angles = 2 * np.pi * 50 * t - 2 * np.pi / 3 * np.arange(3)[:, np.newaxis]
    u, i = U * np.sqrt(2) * np.sin(angles), IB * np.sqrt(2) * np.sin(angles)
    assert error_percent(build, u, i) == pytest.approx(0.0, abs=0.01)
    only_first = i * np.array([[1.0], [0.0], [0.0]])
    assert error_percent(build, u, only_first) == pytest.approx(0.0, abs=0.4)


IDEAL_TDM = replace(
    TimeDivisionParameters(),
    transformer_minutes=1e-3,
    trim_minutes=0.0,
    core_saturation=1e6,
    bandwidth_hz=1e6,
    offset=0.0,
    duty_offset=0.0,
)


def test_a_time_division_multiplier_of_perfect_parts_multiplies() -> None:
    """Natural sampling has no base-band error: also for harmonics, and at every phase angle."""
    make = partial(TimeDivisionMeter, RATE, IDEAL_TDM)
    for pf in (1.0, 0.5, 0.1):
        assert at(make, 1.0, pf) == pytest.approx(0.0, abs=0.01 / pf)
    u = sine(U) + sine(0.1 * U, f=250.0) + sine(0.05 * U, f=650.0)
    i = sine(IB) + sine(0.4 * IB, f=250.0) + sine(0.2 * IB, f=650.0)
    assert error_percent(make, u, i) == pytest.approx(0.0, abs=0.02)


def test_the_bandwidth_of_a_time_division_multiplier_is_that_of_its_filters() -> None:
    make = partial(TimeDivisionMeter, RATE, replace(IDEAL_TDM, bandwidth_hz=1000.0))
    for harmonic in (3, 5, 7):
        f = 50.0 * harmonic
        u = sine(U) + sine(0.2 * U, f=f)
        share = 1 + error_percent(make, u, sine(IB, f=f)) / 100
        # both channels pass the pole; adjusted at 50 Hz
        expected = (1 + (50 / 1000) ** 2) / (1 + (f / 1000) ** 2)
        assert share == pytest.approx(expected, abs=0.004)


def test_what_beats_with_the_carrier_is_registered() -> None:
    """A current near twice the carrier meets the side bands of the switch; elsewhere it does not."""
    parameters = replace(IDEAL_TDM, carrier_hz=1000.0, no_load_threshold=0.0)
    meter = TimeDivisionMeter(RATE, parameters)
    beating = meter.advance(sine(U), sine(IB, f=2050.0)) / (U * IB * 4)
    meter = TimeDivisionMeter(RATE, parameters)
    quiet = meter.advance(sine(U), sine(IB, f=1730.0)) / (U * IB * 4)
    assert abs(quiet) < 2e-3
    assert abs(beating) > 10 * abs(quiet)


def test_a_duty_offset_counts_direct_current_only() -> None:
    offset = replace(IDEAL_TDM, duty_offset=1e-3)
    make = partial(TimeDivisionMeter, RATE, offset)
    assert at(make) == pytest.approx(0.0, abs=5e-3)
    meter = TimeDivisionMeter(RATE, replace(offset, transformer_minutes=1e-6, no_load_threshold=0.0))
    shown = meter.advance(sine(U, seconds=1.0), np.full((1, round(RATE)), IB)) / 1.0
    peak = TimeDivisionParameters().headroom * U * math.sqrt(2)
    assert shown == pytest.approx(1e-3 * peak * IB, rel=0.1)


def test_half_wave_current_saturates_the_transformer_of_a_time_division_meter() -> None:
    assert half_wave_error(MAKES["time division"], 14.0) < -15.0
    assert abs(half_wave_error(lambda: TimeDivisionMeter(RATE, IDEAL_TDM), 14.0)) < 0.2
    # small ones too: a core has no threshold for direct current, only time
    assert half_wave_error(MAKES["time division"], 2.0) < -0.3


IDEAL_HALL = replace(
    HallParameters(),
    offset=0.0,
    self_field=0.0,
    misalignment=0.0,
    planar=0.0,
    crosstalk=0.0,
    saturation=0.0,
    bandwidth_hz=1e6,
    angle_minutes=0.0,
)


def test_a_hall_plate_of_perfect_parts_multiplies() -> None:
    make = partial(HallMeter, RATE, IDEAL_HALL)
    for pf in (1.0, 0.5, 0.1):
        assert at(make, 1.0, pf) == pytest.approx(0.0, abs=1e-6 / pf)


def test_the_offset_of_a_hall_plate_errs_with_one_over_the_current() -> None:
    make = partial(HallMeter, RATE, replace(IDEAL_HALL, offset=4e-4, offset_per_k=4e-5))
    for load in (0.05, 0.1, 0.2, 0.5, 2.0):
        # adjusted at basic current, where the offset is part of what is shown
        assert at(make, load) == pytest.approx(100 * 4e-4 * (1 / load - 1), abs=1e-3)
    warm = at(make, 0.05, temperature_c=33.0) - at(make, 0.05)
    assert warm == pytest.approx(100 * 4e-5 * 10 / 0.05 + 100 * 3e-4 * 10, abs=5e-3)


def test_the_self_field_goes_with_the_square_of_the_voltage() -> None:
    make = partial(HallMeter, RATE, replace(IDEAL_HALL, self_field=1e-3))
    for share in (0.5, 1.2):
        shown = error_percent(make, sine(share * U), sine(0.1 * IB))
        assert shown == pytest.approx(100 * 1e-3 * (share / 0.1 - 1), abs=5e-3)


def test_the_planar_effect_is_seen_under_half_wave_current_only() -> None:
    make = partial(HallMeter, RATE, replace(IDEAL_HALL, planar=1e-2))
    assert at(make) == pytest.approx(0.0, abs=1e-6)
    # u i^2 over half a wave: mean(sin^3) / mean(sin^2) = (4 / 3 pi) * 2 of the peak
    peak = 5.0 * math.sqrt(2)
    expected = 100 * 1e-2 / IB * peak * 8 / (3 * math.pi)
    assert half_wave_error(make, 5.0) == pytest.approx(expected, rel=0.01)


def test_the_plate_sees_the_conductor_beside_it() -> None:
    """Field of the following phase, 120 degrees later: -c/2 under balanced load, adjusted away there."""
    parameters = replace(IDEAL_HALL, crosstalk=0.01, phases=3)
    t = np.arange(round(4 * RATE)) / RATE
    angles = 2 * np.pi * 50 * t - 2 * np.pi / 3 * np.arange(3)[:, np.newaxis]
    u, i = U * np.sqrt(2) * np.sin(angles), IB * np.sqrt(2) * np.sin(angles)
    make = partial(HallMeter, RATE, parameters)
    assert error_percent(make, u, i) == pytest.approx(0.0, abs=1e-6)
    # phase 1 alone is also seen by plate 3, whose voltage leads it by 120 degrees
    alone = error_percent(make, u, i * np.array([[1.0], [0.0], [0.0]]))
    assert alone == pytest.approx(((1 - 0.005) / (1 - 0.005) - 1) * 100, abs=1e-6)
    reversed_order = error_percent(make, u[::-1], i * 0.0 + i[::-1] * np.array([[1.0], [0.0], [0.0]]))
    assert reversed_order == pytest.approx(0.0, abs=1e-6)
    resistive = error_percent(make, u, np.roll(i, 1, axis=0))
    assert resistive != pytest.approx(0.0, abs=0.1)


def test_the_bandwidth_of_a_hall_plate_is_that_of_its_field() -> None:
    make = partial(HallMeter, RATE, replace(IDEAL_HALL, bandwidth_hz=1000.0))
    f = 350.0
    u = sine(U) + sine(0.2 * U, f=f)
    share = 1 + error_percent(make, u, sine(IB, f=f)) / 100
    # field and control current lag alike (trimmed at 50 Hz): both channels pass the pole, trapezoidal rule
    warped = [math.tan(math.pi * x / RATE) * RATE / math.pi for x in (50.0, f)]
    expected = (1 + (warped[0] / 1000) ** 2) / (1 + (warped[1] / 1000) ** 2)
    assert share == pytest.approx(expected, abs=1e-3)


def test_the_angle_left_between_field_and_control_current_errs_with_its_tangent() -> None:
    make = partial(HallMeter, RATE, replace(IDEAL_HALL, bandwidth_hz=2500.0, angle_minutes=-10.0))
    lag = 10 / 60 * math.pi / 180
    expected = (math.cos(math.radians(60) + lag) / (0.5 * math.cos(lag)) - 1) * 100
    assert at(make, 1.0, 0.5) == pytest.approx(expected, abs=2e-3)


IDEAL_DIGITAL = replace(
    DigitalParameters(),
    voltage=ConverterModel(24, 460.0),
    current=ConverterModel(24, 120.0),
    voltage_lag_s=0.0,
    current_lag_s=0.0,
    no_load_threshold=0.0,
)


def test_a_digital_multiplier_of_perfect_parts_multiplies() -> None:
    make = partial(DigitalMeter, RATE, IDEAL_DIGITAL)
    for load, pf in ((1.0, 1.0), (1.0, 0.5), (0.05, 1.0), (10.0, 0.1)):
        assert at(make, load, pf) == pytest.approx(0.0, abs=1e-3 / pf)


def test_the_register_is_an_integer_that_no_cut_and_no_full_scale_disturbs() -> None:
    parameters = replace(IDEAL_DIGITAL, phases=3)
    u = np.repeat(sine(320.0, seconds=20.0), 3, axis=0)
    i = np.repeat(sine(84.0, seconds=20.0), 3, axis=0)
    whole, parts = DigitalMeter(RATE, parameters), DigitalMeter(RATE, parameters)
    energy = whole.advance(u, i)
    pieces = [parts.advance(u[:, a : a + 7777], i[:, a : a + 7777]) for a in range(0, u.shape[1], 7777)]
    assert parts.register_counts == whole.register_counts > 2**63
    assert sum(pieces) == pytest.approx(energy, rel=1e-12)
    assert energy / (3 * 320.0 * 84.0 * 20.0) == pytest.approx(1.0, abs=2e-3)
    with pytest.raises(MeteringError, match="24"):
        replace(parameters, voltage=ConverterModel(25, 460.0))


def test_the_difference_of_the_input_filters_is_a_phase_error() -> None:
    lag_s = 3e-6
    filters = replace(IDEAL_DIGITAL, voltage_lag_s=1e-5, current_lag_s=1e-5 + lag_s)
    make = partial(DigitalMeter, RATE, filters)
    lag = 2 * math.pi * 50 * lag_s
    expected = (math.cos(math.radians(60) + lag) / 0.5 - 1) * 100
    assert at(make, 1.0, 0.5) == pytest.approx(expected, abs=1e-3)


def test_offsets_of_the_converters_do_not_reach_the_register() -> None:
    model = ConverterModel(24, 120.0, offset_counts=5000.0)
    volts = ConverterModel(24, 460.0, offset_counts=5000.0)
    make = partial(DigitalMeter, RATE, replace(IDEAL_DIGITAL, current=model, voltage=volts))
    u, i = sine(U, seconds=30.0), sine(0.05 * IB, seconds=30.0)
    assert error_percent(make, u, i) == pytest.approx(0.0, abs=0.01)


def test_few_bits_lose_small_currents() -> None:
    """A current below half a count is not there; noise of a count brings it back (dither)."""
    coarse = ConverterModel(8, 127.0)
    lost = DigitalMeter(RATE, replace(IDEAL_DIGITAL, current=coarse))
    assert lost.advance(sine(U), sine(0.3)) == 0.0
    dithered = DigitalMeter(RATE, replace(IDEAL_DIGITAL, current=replace(coarse, noise_counts_rms=1.0)))
    seconds = 60.0
    shown = dithered.advance(sine(U, seconds=seconds), sine(0.3, seconds=seconds))
    assert shown / (U * 0.3 * seconds) == pytest.approx(1.0, abs=0.05)


def test_gain_moves_with_temperature() -> None:
    make = MAKES["digital"]
    assert at(make, temperature_c=43.0) - at(make) == pytest.approx(100 * 4e-5 * 20, abs=1e-6)


@pytest.mark.parametrize("name", MAKES)
def test_half_wave_current_shows_which_meters_have_a_transformer(name: str) -> None:
    error = half_wave_error(MAKES[name], 10.0)
    assert (error < -10.0) == (name == "time division")
    if name != "time division":
        assert abs(error) < 3.0


def test_what_cannot_be_is_refused() -> None:
    for build in (TimeDivisionMeter, HallMeter, DigitalMeter):
        with pytest.raises(MeteringError, match="rate_hz"):
            build(1000.0)
    with pytest.raises(MeteringError, match="carrier"):
        TimeDivisionMeter(RATE, replace(TimeDivisionParameters(), carrier_hz=20000.0))
    with pytest.raises(MeteringError, match="headroom"):
        replace(TimeDivisionParameters(), headroom=0.9)
    with pytest.raises(MeteringError, match="trim"):
        replace(TimeDivisionParameters(), trim_minutes=50.0)
    with pytest.raises(MeteringError, match="angle_minutes"):
        replace(HallParameters(), angle_minutes=-500.0)
    with pytest.raises(MeteringError, match="phases"):
        replace(HallParameters(), phases=0)
    with pytest.raises(MeteringError, match="lag"):
        replace(DigitalParameters(), current_lag_s=-1.0)
    for name in MAKES:
        with pytest.raises(MeteringError, match="not a number"):
            MAKES[name]().advance(np.full((1, 3), np.nan), np.zeros((1, 3)))

"""What a front end is said to do wrong is what it does wrong: each modelled error against its closed form."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from openami.metrology.front_end.converter import ConverterModel
from openami.metrology.front_end.front_end import ChannelModel, FrontEnd, FrontEndParameters, worsened
from openami.metrology.front_end.sensor import ErrorCurve, Operation, SensorKind, SensorModel
from openami.metrology.waveform.polyphase import Waveform, balanced
from openami.metrology.waveform.signal import Signal, Stepped, Tone, Tones
from openami.metrology.waveform.test_waveforms import Circuit, half_wave, quadriform
from openami.quantities.errors import MeteringError

MINUTE = math.pi / 180 / 60
RATE = 12800.0
CT = SensorModel(SensorKind.CURRENT_TRANSFORMER, 5.0)
SHUNT = SensorModel(SensorKind.SHUNT, 5.0)
DIVIDER = SensorModel(SensorKind.RESISTIVE_DIVIDER, 230.0)


def parameters(current: SensorModel = CT, rate_hz: float = RATE, **converter: float) -> FrontEndParameters:
    """One phase, 31 bits so that rounding is far below what is asserted, 230 V and 5 A."""
    u = ChannelModel(DIVIDER, ConverterModel(31, 460.0))
    i = ChannelModel(current, ConverterModel(31, 60.0, **converter))
    return FrontEndParameters(rate_hz, (u,), (i,))


def shown(
    front_end: FrontEndParameters,
    current: Signal,
    seconds: float = 1.0,
    temperature_c: float = 23.0,
    first_sample: int = 0,
) -> np.ndarray:
    """What the current channel shows, in A."""
    waveform = Waveform((Tone(50.0, 230.0),), (current,))
    end = FrontEnd(front_end)
    count = round(seconds * front_end.rate_hz)
    samples = end.convert(waveform, first_sample, count, temperature_c=temperature_c)
    return samples.i[0] * end.i_a_per_count[0]


def phasor(values: np.ndarray, frequency_hz: float, rate_hz: float = RATE) -> complex:
    """Rms phasor relative to a sine, over whole cycles."""
    turn = np.exp(-2j * np.pi * frequency_hz * np.arange(values.size) / rate_hz)
    return complex(np.sqrt(2.0) * np.mean(values * turn)) * 1j


def power_w(
    front_end: FrontEndParameters,
    pf: float,
    frequency_hz: float = 50.0,
    i_a: float = 5.0,
    temperature_c: float = 23.0,
) -> float:
    """Mean of u·i over one second of a sine at a power factor, current lagging."""
    waveform = balanced(230.0, i_a, math.degrees(math.acos(pf)), frequency_hz, phases=1)
    end = FrontEnd(front_end)
    samples = end.convert(waveform, 0, int(RATE), temperature_c=temperature_c)
    product = samples.u[0].astype(np.float64) @ samples.i[0].astype(np.float64) / RATE
    return float(product * end.u_v_per_count[0] * end.i_a_per_count[0])


def ppm(worse: float, good: float) -> float:
    return (worse / good - 1.0) * 1e6


@pytest.mark.parametrize("pf", [1.0, 0.5, 0.01])
def test_a_perfect_front_end_measures_the_closed_form(pf: float) -> None:
    assert ppm(power_w(parameters(), pf), 230.0 * 5.0 * pf) == pytest.approx(0.0, abs=0.01 / pf)


@pytest.mark.parametrize("pf", [1.0, 0.5, 0.01])
def test_a_ratio_error_of_a_tenth_of_a_percent_is_a_thousand_ppm(pf: float) -> None:
    worse = worsened(parameters(), current_ratio_percent=0.1)
    assert ppm(power_w(worse, pf), power_w(parameters(), pf)) == pytest.approx(1000.0, abs=0.02 / pf)


def test_a_ratio_error_is_a_further_factor_on_an_imperfect_sensor() -> None:
    sensor = replace(CT, errors=ErrorCurve((0.01, 1.0), (-0.5, -0.2), (12.0, 6.0)))
    worse = worsened(parameters(sensor), current_ratio_percent=0.1, voltage_ratio_percent=-0.05)
    expected = (1.001 * 0.9995 - 1.0) * 1e6
    assert ppm(power_w(worse, 1.0), power_w(parameters(sensor), 1.0)) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("minutes", [1.0, -1.0, 10.0])
@pytest.mark.parametrize("pf", [1.0, 0.5, 0.01])
@pytest.mark.parametrize("sensor", [CT, SHUNT], ids=["corner", "inductance"])
def test_a_phase_displacement_is_the_error_of_its_angle(
    pf: float, minutes: float, sensor: SensorModel
) -> None:
    worse = worsened(parameters(sensor), current_phase_minutes=minutes)
    expected = ppm(math.cos(math.acos(pf) - minutes * MINUTE), pf)
    assert ppm(power_w(worse, pf), power_w(parameters(sensor), pf)) == pytest.approx(expected, abs=0.03 / pf)


def test_a_phase_displacement_of_the_voltage_counts_the_other_way() -> None:
    worse = worsened(parameters(), voltage_phase_minutes=1.0)
    expected = ppm(math.cos(math.acos(0.5) + MINUTE), 0.5)
    assert ppm(power_w(worse, 0.5), power_w(parameters(), 0.5)) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("delay_us", [3.0, -1.0])
def test_a_channel_skew_is_an_angle_that_grows_with_frequency(delay_us: float) -> None:
    for frequency_hz in (45.0, 50.0, 65.0):
        late = parameters(delay_s=delay_us * 1e-6)
        lag = 2 * math.pi * frequency_hz * delay_us * 1e-6
        expected = ppm(math.cos(math.acos(0.5) + lag), 0.5)
        assert ppm(power_w(late, 0.5, frequency_hz), 230 * 5 * 0.5) == pytest.approx(expected, abs=0.05)


def test_temperature_moves_ratio_and_phase_by_the_stated_coefficients() -> None:
    sensor = replace(CT, ratio_ppm_per_k=20.0, phase_minutes_per_k=0.05)
    cold, warm = (
        power_w(parameters(sensor), 1.0, temperature_c=t) / (230 * 5) for t in (23.0 - 30.0, 23.0 + 17.0)
    )
    lead_cold, lead_warm = -30.0 * 0.05 * MINUTE, 17.0 * 0.05 * MINUTE
    assert cold == pytest.approx((1 - 30 * 20e-6) * math.cos(lead_cold), abs=2e-9)
    assert warm == pytest.approx((1 + 17 * 20e-6) * math.cos(lead_warm), abs=2e-9)
    at_half = power_w(parameters(sensor), 0.5, temperature_c=40.0) / (230 * 5 * 0.5)
    expected = (1 + 17 * 20e-6) * math.cos(math.radians(60) - lead_warm) / 0.5
    assert at_half == pytest.approx(expected, abs=5e-9)


def test_gain_of_the_converter_moves_with_temperature() -> None:
    drifting = parameters(gain_error_percent=-0.3, gain_ppm_per_k=15.0)
    expected = 0.997 * (1 + 15e-6 * 10.0)
    assert power_w(drifting, 1.0, temperature_c=33.0) / 1150 == pytest.approx(expected, abs=2e-9)


@pytest.mark.parametrize("harmonic", [1, 3, 13, 40])
def test_a_transformer_is_a_lower_corner_at_every_frequency(harmonic: int) -> None:
    """H = jf/(jf + fc) with fc = f0 tan 10', scaled to the ratio error at f0."""
    sensor = replace(CT, errors=ErrorCurve((1.0,), (-0.1,), (10.0,)))
    f = 45.0 * harmonic
    value = phasor(shown(parameters(sensor), Tone(f, 5.0)), f)
    corner = 50.0 * math.tan(10.0 * MINUTE)
    expected = 0.999 / math.cos(10.0 * MINUTE) * 5.0 * (1j * f / (1j * f + corner))
    assert abs(value - expected) < 2e-8 * 5.0


@pytest.mark.parametrize("minutes", [2.0, -2.0])
def test_a_shunt_is_a_time_constant_at_every_frequency(minutes: float) -> None:
    sensor = replace(SHUNT, errors=ErrorCurve((1.0,), (0.0,), (minutes,)))
    tangent = math.tan(abs(minutes) * MINUTE)
    for harmonic in (1, 5, 40):
        f = 50.0 * harmonic
        value = phasor(shown(parameters(sensor), Tone(f, 5.0)), f) / 5.0
        stray = 1 + 1j * tangent * harmonic
        expected = (
            stray * math.cos(math.atan(tangent)) if minutes > 0 else 1 / stray / math.cos(math.atan(tangent))
        )
        assert abs(value - expected) < 2e-8


def test_the_anti_alias_filter_is_a_pole() -> None:
    for f in (50.0, 1000.0, 2500.0):
        value = phasor(shown(parameters(anti_alias_hz=10000.0), Tone(f, 5.0)), f) / 5.0
        assert abs(value - 1 / (1 + 1j * f / 10000.0)) < 2e-8


def test_every_tone_of_a_distorted_waveform_passes_with_its_own_response() -> None:
    """Quadriform current: the harmonics of the shown current are those applied times H(f)."""
    sensor = replace(
        SensorModel(SensorKind.DC_TOLERANT_TRANSFORMER, 5.0), errors=ErrorCurve((1.0,), (0.2,), (270.0,))
    )
    waveform = quadriform(Circuit(230.0, 5.0, phases=1))
    model = parameters(sensor, anti_alias_hz=8000.0, delay_s=4e-6)
    values = shown(model, waveform.i[0])
    applied = waveform.i[0].sample(np.arange(int(RATE)) / RATE)
    load = math.sqrt(float(np.mean(applied**2))) / 5.0
    response = model.current[0].response(Operation(load))
    for harmonic in (1, 3, 5, 7, 11, 13):
        f = 50.0 * harmonic
        expected = phasor(applied, f) * complex(response.at(np.array([f]))[0])
        assert abs(phasor(values, f) - expected) < 1e-7


def test_side_bands_of_a_modulation_pass_with_their_own_response() -> None:
    sensor = replace(CT, errors=ErrorCurve((1.0,), (0.0,), (30.0,)))
    tones = (Tone(50.0, 5.0), Tone(8.0, 0.05, 20.0), Tone(92.0, 0.05, 70.0))
    values = shown(parameters(sensor), Tones(0.0, tones))
    corner = 50.0 * math.tan(30.0 * MINUTE)
    for tone in tones:
        f = tone.frequency_hz
        turned = np.exp(1j * math.radians(tone.phase_deg)) * 1j * f / (1j * f + corner)
        expected = tone.rms * turned / math.cos(30.0 * MINUTE)
        assert abs(phasor(values, f) - expected) < 1e-7


def test_errors_follow_the_load_linearly_over_its_logarithm() -> None:
    curve = ErrorCurve((0.01, 0.1, 1.0), (-0.4, -0.2, 0.0), (20.0, 10.0, 4.0))
    assert curve.at(0.1 * math.sqrt(10.0)) == pytest.approx((-0.1, 7.0), abs=1e-12)
    assert curve.at(1e-6) == (-0.4, 20.0)
    assert curve.at(0.0) == (-0.4, 20.0)
    assert curve.at(7.0) == (0.0, 4.0)
    sensor = replace(CT, errors=curve)
    load = 0.03
    ratio, minutes = curve.at(load)
    value = phasor(shown(parameters(sensor), Tone(50.0, 5.0 * load)), 50.0) / (5.0 * load)
    assert abs(value) == pytest.approx(1 + ratio / 100, abs=1e-7)
    assert np.angle(value) == pytest.approx(minutes * MINUTE, abs=1e-7)


def test_two_tones_of_one_frequency_are_one_load() -> None:
    curve = ErrorCurve((0.5, 1.0), (-1.0, 0.0), (0.0, 0.0))
    halves = Tones(0.0, (Tone(50.0, 2.5), Tone(50.0, 2.5)))
    assert abs(phasor(shown(parameters(replace(CT, errors=curve)), halves), 50.0)) == pytest.approx(
        5.0, abs=1e-7
    )


def test_a_step_of_the_current_changes_the_error_from_the_next_block_on() -> None:
    curve = ErrorCurve((0.1, 1.0), (-1.0, 0.0), (0.0, 0.0))
    step = Stepped(Tone(50.0, 5.0), ((0.4, Tone(50.0, 0.5)),))
    values = shown(parameters(replace(CT, errors=curve)), step, seconds=1.0)
    block = int(0.2 * RATE)
    full, low = phasor(values[:block], 50.0), phasor(values[-block:], 50.0)
    assert abs(full) == pytest.approx(5.0, abs=1e-7)
    assert abs(low) == pytest.approx(0.5 * 0.99, abs=1e-7)


def test_self_heating_approaches_its_end_with_its_time_constant() -> None:
    sensor = replace(SHUNT, ratio_ppm_per_k=50.0, self_heating_k=2.0, self_heating_time_constant_s=300.0)
    for seconds in (0.0, 300.0, 3600.0):
        first = int(seconds * RATE)
        value = abs(phasor(shown(parameters(sensor), Tone(50.0, 10.0), 0.2, first_sample=first), 50.0)) / 10.0
        rise_k = 2.0 * 4.0 * (1 - math.exp(-seconds / 300.0))
        assert value == pytest.approx(1 + 50e-6 * rise_k, abs=5e-9)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (SensorKind.SHUNT, 1.0),
        (SensorKind.CURRENT_TRANSFORMER, 0.0),
        (SensorKind.DC_TOLERANT_TRANSFORMER, 0.0),
        (SensorKind.ROGOWSKI_COIL, 0.0),
    ],
)
def test_direct_current_passes_a_shunt_and_nothing_else(kind: SensorKind, expected: float) -> None:
    steady = shown(parameters(SensorModel(kind, 5.0)), Tones(2.0, (Tone(50.0, 5.0),)))
    assert float(np.mean(steady)) == pytest.approx(2.0 * expected, abs=1e-7)
    gated = half_wave(Circuit(230.0, 5.0, phases=1)).i[0]
    mean = float(np.mean(gated.sample(np.arange(int(RATE)) / RATE)))
    assert mean > 1.0
    values = shown(parameters(SensorModel(kind, 5.0)), gated)
    # the mean of a gated signal is taken from samples: right to the rectangle rule at its corners
    assert float(np.mean(values)) == pytest.approx(mean * expected, abs=1e-3)


def test_half_wave_current_collapses_a_plain_transformer_only() -> None:
    curve = ErrorCurve((1.0,), (0.0,), (5.0,))
    plain = SensorModel(SensorKind.CURRENT_TRANSFORMER, 5.0, curve, dc_saturation=0.02)
    tolerant = SensorModel(SensorKind.DC_TOLERANT_TRANSFORMER, 5.0, curve)
    waveform = half_wave(Circuit(230.0, 5.0, phases=1))
    power = []
    for sensor in (tolerant, plain):
        end = FrontEnd(parameters(sensor))
        samples = end.convert(waveform, 0, int(RATE))
        product = samples.u[0].astype(np.float64) @ samples.i[0] / RATE
        power.append(float(product * end.u_v_per_count[0] * end.i_a_per_count[0]))
    times = np.arange(int(RATE)) / RATE
    truth = float(np.mean(waveform.u[0].sample(times) * waveform.i[0].sample(times)))
    assert power[0] / truth == pytest.approx(math.cos(5.0 * MINUTE), abs=2e-6)
    # corner f0 tan 5' grown by 1 + (Idc / Isat)^2: gain and lead of the fundamental by jf/(jf + fc)
    bias = float(np.mean(waveform.i[0].sample(times))) / 5.0 / 0.02
    corner = 50.0 * math.tan(5.0 * MINUTE) * (1 + bias**2)
    expected = (1j * 50 / (1j * 50 + corner)).real / math.cos(5.0 * MINUTE)
    assert expected < 0.9
    assert power[1] / truth == pytest.approx(expected, abs=1e-3)


def test_a_fast_clock_takes_its_samples_early() -> None:
    fast = replace(parameters(), clock_error_ppm=100.0)
    end = FrontEnd(fast)
    assert end.instant_s(12800) == Fraction(1) / (1 + Fraction(1, 10000))
    values = shown(fast, Tone(50.0, 5.0), seconds=10.0)
    slow_hz = 50.0 / 1.0001
    last = values[-2560:]
    turn = 2 * np.pi * slow_hz * np.arange(values.size - 2560, values.size) / RATE
    assert np.max(np.abs(last - 5.0 * np.sqrt(2) * np.sin(turn))) < 1e-7


def test_jitter_is_noise_of_the_slope_and_common_to_all_channels() -> None:
    shaking = replace(parameters(SHUNT), jitter_s=1e-6, seed=5)
    waveform = Waveform((Tone(50.0, 230.0),), (Tone(50.0, 5.0),))
    end = FrontEnd(shaking)
    samples = end.convert(waveform, 0, 64000)
    u = samples.u[0] * end.u_v_per_count[0] / 230.0
    i = samples.i[0] * end.i_a_per_count[0] / 5.0
    assert np.max(np.abs(u - i)) < 1e-7
    clean = np.sqrt(2) * np.sin(2 * np.pi * 50 * np.arange(64000) / RATE)
    assert float(np.std(u - clean)) == pytest.approx(2 * np.pi * 50 * 1e-6, rel=0.02)


def test_what_cannot_be_is_refused() -> None:
    end = FrontEnd(parameters())
    three = balanced(230.0, 5.0)
    one = balanced(230.0, 5.0, phases=1)
    with pytest.raises(MeteringError, match="3 voltages"):
        end.convert(three, 0, 10)
    with pytest.raises(MeteringError, match="from sample -1"):
        end.convert(one, -1, 10)
    with pytest.raises(MeteringError, match="temperature"):
        end.convert(one, 0, 10, temperature_c=math.nan)
    with pytest.raises(MeteringError, match="increasing"):
        ErrorCurve((1.0, 0.5), (0.0, 0.0), (0.0, 0.0))
    with pytest.raises(MeteringError, match="one of each"):
        ErrorCurve((1.0, 2.0), (0.0,), (0.0,))
    with pytest.raises(MeteringError, match="does not saturate"):
        SensorModel(SensorKind.SHUNT, 5.0, dc_saturation=0.1)
    with pytest.raises(MeteringError, match="bits"):
        replace(parameters(), current=(ChannelModel(CT, ConverterModel(16, 60.0)),))
    with pytest.raises(MeteringError, match="rate_hz"):
        replace(parameters(), rate_hz=150.0)

"""Promises of sampling: exact far from zero, gates decided alike, sensors exact on tones."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest

from openami.metrology.waveform.gate import Gate
from openami.metrology.waveform.instants import Instants
from openami.metrology.waveform.noise import Noise
from openami.metrology.waveform.polyphase import PhaseOrder, Waveform, balanced, single_phase, unbalanced
from openami.metrology.waveform.ramps import AmplitudeRamp, FrequencyRamp, swept
from openami.metrology.waveform.signal import (
    Gated,
    Modulated,
    ModulationShape,
    Signal,
    Stepped,
    Sum,
    Tone,
    Tones,
)
from openami.quantities.errors import MeteringError

Long = np.longdouble
F64 = npt.NDArray[np.float64]
C128 = npt.NDArray[np.complex128]
TWO_PI = 8 * np.arctan(Long(1))

needs_long = pytest.mark.skipif(
    np.finfo(Long).eps > 2e-19, reason="long double is no longer than double here"
)


def exact_sine(turns: Fraction) -> np.longdouble:
    reduced = turns % 1
    high = float(reduced)
    return np.sin(TWO_PI * (Long(high) + Long(float(reduced - Fraction(high)))))


def test_quarter_and_half_turns_are_exact() -> None:
    u = Tone(50.0, 1.0).sample(np.array([0.0, 0.005, 0.015]))
    assert u[0] == 0.0
    assert u[1:] == pytest.approx([np.sqrt(2), -np.sqrt(2)], abs=4e-16)


@needs_long
@pytest.mark.parametrize("start_s", [0, 3600, 10**6, -(10**6)])
@pytest.mark.parametrize(("frequency", "rate"), [(50.0, 6400.0), (49.3, 12800.0), (2345.67, 6403.7)])
def test_samples_are_exact_to_1e_15_of_the_amplitude_at_any_time(
    start_s: int, frequency: float, rate: float
) -> None:
    first, delay = int(start_s * rate), 1.37e-6
    wave = Waveform((Tone(frequency, 1 / math.sqrt(2), 77.0),), (Tone(frequency, 1 / math.sqrt(2), 77.0),))
    u, i = wave.sample(rate, first, 500, 0.0, delay)
    clock = [Fraction(k) / Fraction(rate) for k in range(first, first + 500)]
    start = Fraction(77) / 360
    at = [exact_sine(Fraction(frequency) * t + start) for t in clock]
    late = [exact_sine(Fraction(frequency) * (t - Fraction(delay)) + start) for t in clock]
    assert float(np.abs(u[0] - np.array(at)).max()) < 5e-16
    assert float(np.abs(i[0] - np.array(late)).max()) < 5e-16


@needs_long
def test_swept_samples_are_exact_to_1e_15_of_the_amplitude_at_any_time() -> None:
    # 50 Hz that moves by 1 Hz/s for 1000 s from t = 10^6 s on: phase f d + d^2 / 2.
    ramp = FrequencyRamp(Tones(0.0, (Tone(50.0, 1 / math.sqrt(2)),)), ((1e6, 1.0), (1e6 + 1000, 21.0)))
    first = 6400 * (10**6 + 900) + 3
    u = ramp.at(Instants.of_samples(6400.0, first, 200))
    d = [Fraction(k, 6400) - 10**6 for k in range(first, first + 200)]
    exact = [exact_sine(50 * x + x * x / 2) for x in d]
    assert float(np.abs(u - np.array(exact)).max()) < 1e-15


def test_phases_are_continuous_through_a_frequency_ramp() -> None:
    ramp = FrequencyRamp(Tones(0.0, (Tone(50.0, 1.0, 30.0),)), ((1.0, 1.0), (2.0, 1.04), (3.0, 0.98)))
    for knot in (1.0, 2.0, 3.0):
        before, after = ramp.sample(np.array([np.nextafter(knot, 0), knot]))
        assert before == pytest.approx(after, abs=1e-12)
    # Two seconds with a mean of 51 and 50.5 Hz: 101.5 cycles, then 49 Hz.
    assert ramp.sample(np.array([3.0])) == pytest.approx(-Tone(50.0, 1.0, 30.0).sample(np.array([0.0])))
    assert ramp.pieces(3.0, 4.0).frequency_hz == pytest.approx([49.0], rel=1e-15)


def test_coherent_samples_repeat_to_the_bit_over_a_day() -> None:
    u, _ = balanced(230.0, 10.0, 12.3).sample(6400.0, 0, 128)
    later, _ = balanced(230.0, 10.0, 12.3).sample(6400.0, 6400 * 86400, 128)
    assert np.abs(u - later).max() <= 1e-13


@pytest.mark.parametrize("first_cycle", [0, 50 * 10**6])
@pytest.mark.parametrize("per_cycle", [128, 120])
def test_gate_opens_on_the_sample_that_falls_on_its_edge(first_cycle: int, per_cycle: int) -> None:
    current = Gated(Tones(2.0), Gate(50.0, ((90.0, 180.0), (270.0, 360.0))))
    instants = Instants.of_samples(50.0 * per_cycle, first_cycle * per_cycle, 10 * per_cycle)
    expected = np.zeros(per_cycle, dtype=bool)
    expected[per_cycle // 4 : per_cycle // 2] = True
    expected[3 * per_cycle // 4 :] = True
    assert ((current.at(instants) == 2.0) == np.tile(expected, 10)).all()


@pytest.mark.parametrize("start_s", [0, 7, 10**6])
@pytest.mark.parametrize("per_cycle", [36, 90, 120])
@pytest.mark.parametrize("phase_deg", [0.0, -120.0, 120.0])
@pytest.mark.parametrize("cycles", [1, 3])
def test_edges_that_no_double_holds_are_decided_alike_in_every_cycle(
    start_s: int, per_cycle: int, phase_deg: float, cycles: int
) -> None:
    # 60 degrees is a sixth of a turn; samples lie on every edge, for start_s holds whole periods of the gate.
    step, period = 360 // per_cycle, cycles * per_cycle
    spans = tuple((float(k * step), float((k + 2) * step)) for k in range(1, period - 2, 4))
    gate = Gate(50.0, spans, cycles, phase_deg)
    is_open = gate.open(Instants.of_samples(50.0 * per_cycle, start_s * 150 * per_cycle, 4 * period))
    position = (np.arange(period) + int(phase_deg) // step) % period
    expected = np.isin(position, [k + d for k in range(1, period - 2, 4) for d in (0, 1)])
    assert (is_open.reshape(4, period) == expected).all()


def test_burst_gate_counts_its_cycles_from_time_zero_for_ever() -> None:
    gate = Gate(50.0, ((0.0, 720.0),), 4)
    for cycle in (0, 4 * 12345678, -8):
        is_open = gate.open(Instants.of_samples(6000.0, cycle * 120, 480))
        assert is_open.tolist() == [True] * 240 + [False] * 240


@pytest.mark.parametrize(
    ("hz", "spans", "cycles"),
    [
        (0.0, ((0.0, 90.0),), 1),
        (math.nan, ((0.0, 90.0),), 1),
        (50.0, (), 1),
        (50.0, ((90.0, 90.0),), 1),
        (50.0, ((90.0, 200.0), (180.0, 270.0)), 1),
        (50.0, ((-1.0, 90.0),), 1),
        (50.0, ((0.0, 361.0),), 1),
        (50.0, ((0.0, 90.0),), 0),
    ],
)
def test_gates_that_cannot_be_are_refused(
    hz: float, spans: tuple[tuple[float, float], ...], cycles: int
) -> None:
    with pytest.raises(MeteringError, match="gate"):
        Gate(hz, spans, cycles)


def test_step_holds_from_its_instant_on() -> None:
    stepped = Stepped(Tones(1.0), ((0.1, Tones(2.0)), (0.2, Tones(3.0))))
    times = [0.0, np.nextafter(0.1, 0), 0.1, np.nextafter(0.2, 0), 0.2, 5.0]
    assert stepped.sample(np.array(times)).tolist() == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    with pytest.raises(MeteringError, match="rising order"):
        Stepped(Tones(1.0), ((0.2, Tones(2.0)), (0.1, Tones(3.0))))


def test_amplitude_ramp_is_constant_outside_of_its_knots() -> None:
    ramp = AmplitudeRamp(Tones(2.0), ((1.0, 1.0), (2.0, 3.0)))
    assert ramp.sample(np.array([0.0, 1.0, 1.5, 2.0, 9.0])).tolist() == [2.0, 2.0, 4.0, 6.0, 6.0]
    for knots in ((), ((1.0, 1.0), (1.0, 2.0)), ((math.nan, 1.0),)):
        with pytest.raises(MeteringError, match="knots"):
            AmplitudeRamp(Tones(2.0), knots)
    with pytest.raises(MeteringError, match="positive ratios"):
        FrequencyRamp(Tones(2.0), ((0.0, 0.0),))


def test_flicker_envelope_is_that_of_iec_61000_4_15() -> None:
    # u = (1 + d/2 m(t)): rectangular m = sign(sin), so 1.05 in the first half of the period.
    flat = Modulated(Tones(100.0), 8.8, 0.1, ModulationShape.RECTANGULAR)
    half = 0.5 / 8.8
    assert flat.sample(np.array([0.0, half * 0.999, half * 1.001, half * 1.999])).tolist() == [
        105,
        105,
        95,
        95,
    ]
    smooth = Modulated(Tones(100.0), 8.8, 0.1)
    assert smooth.sample(np.array([0.0, half / 2, half * 1.5])) == pytest.approx(
        [100.0, 105.0, 95.0], rel=1e-12
    )
    for hz, depth in ((0.0, 0.1), (8.8, math.inf)):
        with pytest.raises(MeteringError, match="modulation"):
            Modulated(Tones(1.0), hz, depth)


def low_pass(frequency: F64) -> C128:
    """A first-order low-pass of 1 kHz and 2 us of delay, inverted."""
    value: C128 = -np.exp(-2j * np.pi * frequency * 2e-6) / (1 + 1j * frequency / 1000.0)
    return value


def gain_and_delay(frequency: F64) -> C128:
    value: C128 = 0.98 * np.exp(-2j * np.pi * frequency * 3.7e-6)
    return value


@pytest.mark.parametrize("hz", [50.0, 49.3])
def test_filtered_tones_are_multiplied_by_the_response(hz: float) -> None:
    signal = Tones(2.0, (Tone(hz, 10.0, 20.0), Tone(5 * hz, 4.0, -30.0)))
    out = signal.filtered(low_pass)
    assert out.dc == -2.0
    for before, after in zip(signal.tones, out.tones, strict=True):
        expected = before.phasor * low_pass(np.array([before.frequency_hz]))[0]
        assert after.phasor == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    "signal",
    [
        Tones(0.5, (Tone(50.0, 10.0, 20.0), Tone(250.0, 4.0, -30.0))),
        Gated(Tone(50.0, 10.0, 20.0), Gate(50.0, ((90.0, 180.0), (270.0, 360.0)), phase_deg=20.0)),
        Sum((Tone(50.0, 10.0), Tone(82.0, 1.0, 5.0))),
        Modulated(Tones(0.5, (Tone(50.0, 10.0, 20.0),)), 8.8, 0.3, phase_deg=40.0),
        Modulated(Tone(5.0, 10.0, 20.0), 8.8, 0.3, phase_deg=40.0),
        Modulated(Tone(8.8, 10.0, 20.0), 8.8, 0.3, phase_deg=40.0),
        swept(1.0, 50.0, 60.0, 0.0, 0.05),
    ],
    ids=["tones", "gated", "sum", "modulated", "modulated below zero", "modulated to zero", "swept"],
)
def test_a_pure_gain_and_delay_filters_every_signal_exactly(signal: Signal) -> None:
    times = np.linspace(0.013, 0.093, 997)
    out = signal.filtered(gain_and_delay).sample(times)
    assert out == pytest.approx(0.98 * signal.sample(times - 3.7e-6), abs=2e-11)


@pytest.mark.parametrize(
    "signal",
    [
        Stepped(Tone(50.0, 10.0), ((0.05, Tone(50.0, 4.0)),)),
        AmplitudeRamp(Tone(50.0, 10.0), ((0.0, 1.0), (0.1, 0.5))),
        Modulated(Tone(50.0, 10.0), 8.8, 0.3, ModulationShape.RECTANGULAR),
    ],
)
def test_envelopes_stay_where_they_are_behind_a_sensor(signal: Signal) -> None:
    times = np.linspace(0.0, 0.1, 997)
    late = Tone(50.0, 1.0).filtered(low_pass).sample(times)
    now = Tone(50.0, 1.0).sample(times)
    out, envelope = signal.filtered(low_pass).sample(times), signal.sample(times)
    assert out * now == pytest.approx(envelope * late, abs=1e-11)


def test_an_inverting_sensor_is_a_negative_gain_for_a_gated_signal() -> None:
    gated = Gated(Tone(50.0, 10.0), Gate(50.0, ((90.0, 180.0),)))
    out = gated.filtered(low_pass)
    times = np.linspace(0.0, 0.02, 997)
    delay = 2e-6 + math.atan(0.05) / (2 * math.pi * 50)
    assert out.sample(times) == pytest.approx(-gated.sample(times - delay) / math.hypot(1, 0.05), abs=1e-11)
    # Nothing alternates: the gain of direct current.
    assert Gated(Tones(3.0), Gate(50.0, ((0.0, 90.0),))).filtered(low_pass).sample(np.array([0.001])) == -3.0


def test_a_response_of_the_wrong_shape_or_not_finite_is_refused() -> None:
    wrong: list[Callable[[F64], C128]] = [
        lambda f: np.ones(7, complex),
        lambda f: np.full(f.shape, np.nan + 0j),
    ]
    for response in wrong:
        with pytest.raises(MeteringError, match="frequency response"):
            Tone(50.0, 1.0).filtered(response)


def test_delays_are_per_channel() -> None:
    wave = balanced(230.0, 10.0, 60.0)
    u, i = wave.sample(6400.0, 0, 64, (0.0, 1e-6, 2e-6), (3e-6, 0.0, 1e-3))
    clock = np.arange(64) / 6400
    for phase, (u_late, i_late) in enumerate(zip((0.0, 1e-6, 2e-6), (3e-6, 0.0, 1e-3), strict=True)):
        assert u[phase] == pytest.approx(wave.u[phase].sample(clock - u_late), abs=1e-11)
        assert i[phase] == pytest.approx(wave.i[phase].sample(clock - i_late), abs=1e-12)
    for delay in ((0.0, 1.0), math.nan):
        with pytest.raises(MeteringError, match="u_delay_s"):
            wave.sample(6400.0, 0, 1, delay)


def test_phase_order_and_angles() -> None:
    times = np.array([0.005])
    forward, reversed_ = balanced(1.0, 1.0), balanced(1.0, 1.0, phase_order=PhaseOrder.REVERSED)
    # Phase 2 lags by 120 degrees: it peaks a third of a cycle after phase 1.
    peak = math.sqrt(2)
    assert forward.u[1].sample(times + 0.02 / 3)[0] == pytest.approx(peak)
    assert reversed_.u[2].sample(times + 0.02 / 3)[0] == pytest.approx(peak)
    # An inductive current peaks later than its voltage.
    lagging = single_phase(1.0, 1.0, 90.0)
    assert lagging.i[0].sample(times + 0.005)[0] == pytest.approx(peak)


def test_waveforms_that_cannot_be_are_refused() -> None:
    tone = Tone(50.0, 1.0)
    with pytest.raises(MeteringError, match="1 to 3 phases"):
        Waveform((tone,) * 4, (tone,) * 4)
    with pytest.raises(MeteringError, match="2 voltages and 1 currents"):
        Waveform((tone, tone), (tone,))
    with pytest.raises(MeteringError, match="one of each per phase"):
        unbalanced((1.0, 2.0), (0.0,), (1.0,), (0.0,))
    with pytest.raises(MeteringError, match="4 phases"):
        balanced(1.0, 1.0, phases=4)
    with pytest.raises(MeteringError, match="no neutral"):
        balanced(1.0, 1.0).sample_neutral(6400.0, 0, 1)


@pytest.mark.parametrize(
    ("rate", "first", "count"), [(0.0, 0, 1), (math.nan, 0, 1), (6400.0, 0, -1), (6400.0, 2**53, 1)]
)
def test_sample_clocks_that_cannot_be_are_refused(rate: float, first: int, count: int) -> None:
    with pytest.raises(MeteringError, match=r"rate|samples|2\^53"):
        balanced(1.0, 1.0).sample(rate, first, count)


def test_bad_numbers_are_refused_where_they_enter() -> None:
    for build in (
        lambda: Tone(-1.0, 1.0),
        lambda: Tone(50.0, math.nan),
        lambda: Tone(50.0, 1.0, math.inf),
        lambda: Tones(math.nan),
        lambda: Tone(50.0, 1.0).delayed(math.nan),
        lambda: Noise(-1.0, 0.0),
        lambda: Noise(0.0, 0.0, -1),
    ):
        with pytest.raises(MeteringError):
            build()
    with pytest.raises(MeteringError, match="sample 1"):
        Tone(50.0, 1.0).sample(np.array([0.0, np.nan]))
    with pytest.raises(MeteringError, match="dimensions"):
        Tone(50.0, 1.0).sample(np.zeros((2, 2)))


def test_neutral_and_scaled_currents() -> None:
    wave = balanced(230.0, 10.0)
    wave = Waveform(wave.u, wave.i, neutral=Sum(wave.i))
    assert np.abs(wave.sample_neutral(6400.0, 10**9, 128)).max() < 1e-13
    doubled = wave.with_currents_scaled(2.0)
    assert (doubled.sample(6400.0, 0, 64)[1] == 2 * wave.sample(6400.0, 0, 64)[1]).all()
    assert (doubled.sample(6400.0, 0, 64)[0] == wave.sample(6400.0, 0, 64)[0]).all()


def test_noise_is_white_gaussian_and_a_function_of_the_sample_alone() -> None:
    quiet = balanced(0.0, 0.0)
    noisy = Waveform(quiet.u, quiet.i, noise=Noise(2.0, 0.5, 7))
    u, i = noisy.sample(6400.0, 1000, 200_000)
    assert u.std(axis=1) == pytest.approx([2.0] * 3, rel=0.01)
    assert i.std(axis=1) == pytest.approx([0.5] * 3, rel=0.01)
    channels = np.concatenate((u / 2, i / 0.5))
    assert np.abs(channels.mean(axis=1)).max() < 0.01
    assert (channels**4).mean(axis=1) == pytest.approx([3.0] * 6, rel=0.05)
    assert np.abs(np.corrcoef(channels) - np.eye(6)).max() < 0.01
    assert np.abs((channels[:, 1:] * channels[:, :-1]).mean(axis=1)).max() < 0.01
    part, _ = noisy.sample(6400.0, 1000 + 777, 1000)
    assert (part == u[:, 777:1777]).all()
    other, _ = Waveform(quiet.u, quiet.i, noise=Noise(2.0, 0.5, 8)).sample(6400.0, 1000, 1000)
    assert abs(np.corrcoef(other[0], u[0, :1000])[0, 1]) < 0.15

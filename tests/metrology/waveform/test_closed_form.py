"""Promises of the reference: integrals to 1e-13, bounds that hold, the fundamental exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from openami.metrology.waveform.closed_form import integral_of_product, reference
from openami.metrology.waveform.fourier import fourier_series, fundamental
from openami.metrology.waveform.gate import Gate
from openami.metrology.waveform.pieces import joined
from openami.metrology.waveform.polyphase import Waveform, balanced, unbalanced
from openami.metrology.waveform.product_integrals import product_integral
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
LongArray = npt.NDArray[np.longdouble]
Function = Callable[[LongArray], LongArray]
TWO_PI = 8 * np.arctan(Long(1))

needs_long = pytest.mark.skipif(
    np.finfo(Long).eps > 2e-19, reason="long double is no longer than double here"
)


def gauss_legendre(order: int) -> tuple[LongArray, LongArray]:
    """Nodes and weights in long double: those of numpy, refined by Newton's method."""
    nodes = np.polynomial.legendre.leggauss(order)[0].astype(Long)
    for _ in range(3):
        before, value = np.ones_like(nodes), nodes
        for n in range(2, order + 1):
            before, value = value, ((2 * n - 1) * nodes * value - (n - 1) * before) / n
        slope = order * (nodes * value - before) / (nodes * nodes - 1)
        nodes = nodes - value / slope
    return nodes, 2 / ((1 - nodes**2) * slope**2)


NODES, WEIGHTS = gauss_legendre(20)


def integrated(f: Function, edges: list[float | Fraction], panels: int = 200) -> float:
    """Integral by composite quadrature in long double; the function is smooth between the edges."""
    total = Long(0)
    for begin, end in pairwise(edges):
        low, high = long(begin), long(end)
        width = (high - low) / panels
        starts = low + width * np.arange(panels).astype(Long)
        d = starts[:, None] + width / 2 * (NODES + 1)
        total += (f(d) * WEIGHTS).sum() * width / 2
    return float(total)


def long(value: float | Fraction) -> np.longdouble:
    exact = Fraction(value)
    high = float(exact)
    return Long(high) + Long(float(exact - Fraction(high)))


def sine(frequency: float, rms: float, degrees: float, origin: Fraction = Fraction(0)) -> Function:
    """A tone in long double, as a function of the time since an origin."""
    phase = long((Fraction(frequency) * origin + Fraction(degrees) / 360) % 1)
    return lambda d: np.sqrt(Long(2)) * Long(rms) * np.sin(TWO_PI * (Long(frequency) * d + phase))


def product(f: Function, g: Function) -> Function:
    return lambda d: f(d) * g(d)


def test_one_second_of_a_tone_is_its_power() -> None:
    # 230 V, 10 A, 60 degrees lagging: P = 1150 W, Q = 1991.8584287042088 var.
    result = reference(balanced(230.0, 10.0, 60.0), 0.0, 1.0, 50.0)
    assert result.active_ws == pytest.approx([1150.0] * 3, rel=1e-15)
    assert result.fundamental_reactive_ws == pytest.approx([1991.8584287042088] * 3, rel=1e-15)
    assert result.apparent_vas == pytest.approx([2300.0] * 3, rel=1e-15)
    assert result.power_factor == pytest.approx([0.5] * 3, rel=1e-15)
    assert (result.total_active_ws, result.duration_s) == pytest.approx((3450.0, 1.0), rel=1e-15)


def test_voltage_and_current_in_quadrature_have_no_active_energy_at_all() -> None:
    assert integral_of_product(Tone(50.0, 230.0), Tone(50.0, 10.0, -90.0), 0.0, 1.0) == 0.0


def test_uncertainty_grows_as_the_power_factor_falls() -> None:
    high = reference(balanced(230.0, 10.0, 0.0), 0.0, 1.0, 50.0).relative_uncertainty
    low = reference(balanced(230.0, 10.0, math.degrees(math.acos(0.01))), 0.0, 1.0, 50.0)
    assert high < 5e-15
    assert low.relative_uncertainty == pytest.approx(100 * high, rel=0.01)
    dead = reference(balanced(230.0, 0.0), 0.0, 1.0, 50.0)
    assert dead.relative_uncertainty == 0.0
    assert reference(balanced(230.0, 10.0), 0.0, 1.0, 50.0).reactive_relative_uncertainty == math.inf


@needs_long
@pytest.mark.parametrize("begin", [Fraction(0), Fraction(10**6) + Fraction(1, 6400), Fraction(-37, 10)])
@pytest.mark.parametrize("difference", [0.0, 1e-12, 1e-7, 1e-3, 0.3, 17.0])
def test_products_of_tones_are_exact_however_near_their_frequencies(
    begin: Fraction, difference: float
) -> None:
    # Length 1.2345678 s: no whole cycles of anything.
    length = Fraction(1.2345678)
    for f, degrees in ((50.0, -60.0), (49.3, 10.0), (57.5, 89.42706)):
        u, i = Tone(f, 230.0, 12.0), Tone(f + difference, 10.0, 12.0 + degrees)
        own = integral_of_product(u, i, begin, begin + length)
        a = sine(u.frequency_hz, u.rms, u.phase_deg, begin)
        b = sine(i.frequency_hz, i.rms, i.phase_deg, begin)
        exact = integrated(product(a, b), [0.0, length])
        bound = product_integral(u.pieces(begin, begin + length), i.pieces(begin, begin + length)).uncertainty
        assert abs(own - exact) <= bound
        assert bound <= 1e-13 * 2300 * float(length)
        if abs(math.cos(math.radians(degrees))) > 0.4 and difference < 0.1:
            assert own == pytest.approx(exact, rel=1e-13)


def gate_edges(gate: Gate, begin: Fraction, length: Fraction) -> list[float | Fraction]:
    """Edges of a gate after an origin, as exact rationals."""
    f, c = Fraction(gate.frequency_hz), gate.cycles
    first = math.floor((f * begin) / c) - 2
    edges = []
    for n in range(first, first + int(length * f / c) + 5):
        for span in gate.open_deg:
            edges += [(n * c + Fraction(e) / 360 - Fraction(gate.phase_deg) / 360) / f - begin for e in span]
    return [Fraction(0), *(e for e in sorted(set(edges)) if 0 < e < length), length]


@needs_long
@pytest.mark.parametrize("begin", [Fraction(0), Fraction(10**6) + Fraction(1, 6400)])
@pytest.mark.parametrize(
    "gate",
    [
        Gate(50.0, ((90.0, 180.0), (270.0, 360.0))),
        Gate(49.3, ((0.0, 180.0),), phase_deg=-120.0),
        Gate(50.0, ((0.0, 720.0),), 4, 33.0),
        Gate(50.0, ((10.0, 20.0), (20.0, 55.5), (700.0, 1080.0)), 3),
    ],
    ids=["phase-fired", "half-wave", "burst", "odd"],
)
def test_gated_currents_are_integrated_exactly(gate: Gate, begin: Fraction) -> None:
    length = Fraction(3, 10)
    current = Gated(Tones(0.5, (Tone(50.0, 10.0, 5.0), Tone(250.0, 3.0, 70.0))), gate)
    voltage = Tones(0.0, (Tone(50.0, 230.0), Tone(247.3, 5.0)))
    u = [sine(t.frequency_hz, t.rms, t.phase_deg, begin) for t in voltage.tones]
    i = [
        sine(t.frequency_hz, t.rms, t.phase_deg, begin)
        for t in (Tone(50.0, 10.0, 5.0), Tone(250.0, 3.0, 70.0))
    ]

    def is_open(middle: Fraction) -> bool:
        turns = Fraction(gate.frequency_hz) * (begin + middle) + Fraction(gate.phase_deg) / 360
        position = turns % gate.cycles * 360
        return any(Fraction(a) <= position < Fraction(b) for a, b in gate.open_deg)

    edges = gate_edges(gate, begin, length)
    energy, square = [], []
    for low, high in pairwise(edges):
        if is_open((Fraction(low) + Fraction(high)) / 2):
            energy.append(
                integrated(lambda d: (u[0](d) + u[1](d)) * (i[0](d) + i[1](d) + 0.5), [low, high], 8)
            )
            square.append(integrated(lambda d: (i[0](d) + i[1](d) + 0.5) ** 2, [low, high], 8))
    own = integral_of_product(voltage, current, begin, begin + length)
    assert own == pytest.approx(math.fsum(energy), rel=1e-13)
    own = integral_of_product(current, current, begin, begin + length)
    assert own == pytest.approx(math.fsum(square), rel=1e-13)


@needs_long
@pytest.mark.parametrize("begin", [Fraction(0), Fraction(10**6) + Fraction(1, 6400)])
def test_modulated_ramped_and_swept_signals_are_integrated_exactly(begin: Fraction) -> None:
    length = Fraction(3, 4)
    start = float(begin)
    tone, mate = Tone(50.0, 230.0, 20.0), Tone(50.0, 10.0, -40.0)
    u, i = sine(50.0, 230.0, 20.0, begin), sine(50.0, 10.0, -40.0, begin)
    m = sine(8.8, 0.1 / math.sqrt(2), 15.0, begin)
    cases: list[tuple[Signal, Function, list[float | Fraction]]] = [
        (Modulated(tone, 8.8, 0.2, phase_deg=15.0), lambda d: u(d) * (1 + m(d)), [0.0, length])
    ]
    # A ramp of the amplitude from 1 to 0.4 between two instants.
    t0, t1 = Fraction(start + 0.125), Fraction(start + 0.5)
    d0, d1 = t0 - begin, t1 - begin
    ramp = AmplitudeRamp(tone, ((float(t0), 1.0), (float(t1), 0.4)))
    slope = (long(0.4) - 1) / long(t1 - t0)

    def gain(d: LongArray) -> LongArray:
        return np.where(d < long(d0), Long(1), np.where(d < long(d1), 1 + slope * (d - long(d0)), long(0.4)))

    cases.append((ramp, lambda d: u(d) * gain(d), [Fraction(0), d0, d1, length]))
    # A ramp of the frequency from 50 to 55 Hz between the same instants.
    stretched = FrequencyRamp(Tones(0.0, (tone,)), ((float(t0), 1.0), (float(t1), 1.1)))
    at_t0 = long((50 * t0 + Fraction(20, 360)) % 1)
    c = 50 * (long(1.1) - 1) / long(t1 - t0)

    def chirp(d: LongArray) -> LongArray:
        x, rest = np.minimum(d - long(d0), long(d1 - d0)), np.maximum(d - long(d1), Long(0))
        bend = np.where(x > 0, c * x * x / 2, Long(0))
        return (
            np.sqrt(Long(2))
            * 230
            * np.sin(TWO_PI * (at_t0 + 50 * (x + rest) + bend + c * long(d1 - d0) * rest))
        )

    cases.append((stretched, chirp, [Fraction(0), d0, d1, length]))
    for signal, function, edges in cases:
        pieces = signal.pieces(begin, begin + length)
        for other, other_function in ((mate, i), (signal, function)):
            own = product_integral(pieces, other.pieces(begin, begin + length))
            exact = integrated(product(function, other_function), edges)
            assert own.value == pytest.approx(exact, rel=1e-13), type(signal).__name__
            assert abs(own.value - exact) <= own.uncertainty


def test_rectangular_flicker_has_the_energy_of_its_two_levels() -> None:
    # 10 Hz: five whole cycles of 50 Hz at 1.1, five at 0.9, over and over.
    tone = Tone(100.0, 230.0, 20.0)
    flickering = Modulated(tone, 10.0, 0.2, ModulationShape.RECTANGULAR)
    assert integral_of_product(flickering, flickering, 0.0, 1.0) == pytest.approx(230**2 * 1.01, rel=1e-13)
    assert integral_of_product(flickering, tone, 0.05, 0.1) == pytest.approx(230**2 * 0.9 * 0.05, rel=1e-13)


def test_sweep_has_the_rms_of_its_tone_and_hardly_any_energy_with_the_fundamental() -> None:
    tone = swept(1.0, 750.0, 2000.0, 0.0, 2.0)
    square = integral_of_product(tone, tone, 0.0, 2.0)
    assert square == pytest.approx(2.0, rel=1e-4)
    assert abs(integral_of_product(tone, Tone(50.0, 230.0), 0.0, 2.0)) < 0.2


def test_fundamental_energy_does_not_depend_on_where_the_interval_begins() -> None:
    wave = balanced(230.0, 10.0, 60.0, 49.3)
    for begin, end in ((0.0, 0.2), (0.0031, 7.7), (10**6 + 0.123, 10**6 + 1.0)):
        result = reference(wave, begin, end, 49.3)
        assert result.fundamental_active_ws == pytest.approx([1150 * result.duration_s] * 3, rel=1e-13)
        assert result.fundamental_reactive_ws == pytest.approx(
            [2300 * math.sin(math.pi / 3) * result.duration_s] * 3, rel=1e-13
        )


def test_quadrants_have_their_signs() -> None:
    # I +P+Q, II -P+Q, III -P-Q, IV +P-Q; current lags by 45, 135, 225, 315 degrees.
    signs = []
    for lag in (45.0, 135.0, 225.0, 315.0):
        result = reference(balanced(1.0, 1.0, lag), 0.0, 1.0, 50.0)
        signs.append((np.sign(result.total_active_ws), np.sign(result.total_fundamental_reactive_ws)))
    assert signs == [(1, 1), (-1, 1), (-1, -1), (1, -1)]


def test_ieee_1459_example_single_phase() -> None:
    # Values of the shared case single_phase_annexB_like: P, PH, S of V 100/8/15/5, I 100/20/15/10.
    u = Tones(0.0, tuple(Tone(50.0 * h, v) for h, v in zip((1, 3, 5, 7), (100, 8, 15, 5), strict=True)))
    i = Tones(
        0.0,
        tuple(
            Tone(50.0 * h, a, -angle)
            for h, a, angle in zip((1, 3, 5, 7), (100, 20, 15, 10), (30, 95, -93, 92), strict=True)
        ),
    )
    result = reference(Waveform((u,), (i,)), 0.0, 0.02, 50.0)
    assert result.active_ws[0] / 0.02 == pytest.approx(8632.788554014975, rel=1e-12)
    assert result.harmonic_active_ws[0] / 0.02 == pytest.approx(-27.465483829412733, rel=1e-10)
    assert result.fundamental_reactive_ws[0] / 0.02 == pytest.approx(4999.999999999999, rel=1e-12)
    assert result.apparent_vas[0] / 0.02 == pytest.approx(10517.492571901346, rel=1e-12)


def test_unbalanced_example() -> None:
    # Shared case unbalanced_sinusoidal: P = 5855.523040114749 W.
    wave = unbalanced((232.0, 226.0, 229.0), (0.0, -121.0, 119.0), (12.0, 7.0, 9.0), (25.0, 29.0, 19.0), 50.0)
    result = reference(wave, 0.0, 1.0, 50.0)
    assert result.total_active_ws == pytest.approx(5855.523040114749, rel=1e-14)


def test_fourier_series_of_a_half_wave_is_that_of_the_textbook() -> None:
    # |sin| over half a cycle, peak 1: 1/pi + sin/2 - 2/pi sum cos(2 k w t) / (4 k^2 - 1).
    half_wave = Gated(Tone(50.0, 1 / math.sqrt(2)), Gate(50.0, ((0.0, 180.0),)))
    series = fourier_series(half_wave, 50.0, 8)
    assert series.tones.dc == pytest.approx(1 / math.pi, rel=1e-13)
    assert series.tones.tones[0].phasor == pytest.approx(-0.5j / math.sqrt(2), abs=1e-15)
    for k in (1, 2, 3, 4):
        tone = series.tones.tones[2 * k - 1]
        assert tone.phasor == pytest.approx(-2 / math.pi / (4 * k * k - 1) / math.sqrt(2), abs=1e-14)
    assert [tone.rms for tone in series.tones.tones[2::2]] == [
        0.0,
        0.0,
        0.0,
    ]  # no odd harmonics but the first
    kept = series.tones.dc**2 + sum(tone.rms**2 for tone in series.tones.tones)
    assert kept + series.residual_rms**2 == pytest.approx(0.25, rel=1e-13)
    assert 1e-3 < series.residual_rms < 0.02


def test_fourier_series_of_burst_firing_has_subharmonics() -> None:
    burst = Gated(Tone(50.0, 10.0), Gate(50.0, ((0.0, 720.0),), 4))
    series = fourier_series(burst, 12.5, 16)
    assert series.tones.tones[3].rms == pytest.approx(5.0, rel=1e-13)
    # Interharmonic m at m/4 of the fundamental: 10 (8 / pi) / (16 - m^2) |sin(pi m / 2)| for odd m.
    assert series.tones.tones[2].rms == pytest.approx(10 * 8 / math.pi / 7, rel=1e-13)
    with pytest.raises(MeteringError, match=r"12\.5 Hz is not periodic"):
        fourier_series(burst, 50.0, 10)


def test_fundamental_of_what_has_none_is_refused() -> None:
    with pytest.raises(MeteringError, match="no fundamental of 60"):
        fundamental(Gated(Tone(60.0, 1.0), Gate(50.0, ((0.0, 180.0),))), 60.0)
    with pytest.raises(MeteringError, match=r"49\.3 Hz is not periodic"):
        fundamental(Gated(Tone(49.3, 1.0), Gate(50.0, ((0.0, 180.0),))), 50.0)
    stepped = Stepped(Tone(50.0, 1.0), ((1.0, Tone(50.0, 2.0)),))
    with pytest.raises(MeteringError, match="Stepped is not periodic"):
        fundamental(Gated(stepped, Gate(50.0, ((0.0, 180.0),))), 50.0)


def test_fundamental_keeps_envelopes_and_drops_harmonics() -> None:
    both = Tones(1.0, (Tone(50.0, 10.0, -30.0), Tone(150.0, 3.0)))
    alone = Tones(0.0, (Tone(50.0, 10.0, -30.0),))
    assert fundamental(Stepped(both, ((1.0, both),)), 50.0) == Stepped(alone, ((1.0, alone),))
    assert fundamental(AmplitudeRamp(both, ((0.0, 1.0),)), 50.0) == AmplitudeRamp(alone, ((0.0, 1.0),))
    assert fundamental(Sum((both, Tone(82.0, 1.0))), 50.0) == Sum((alone, Tones()))
    assert fundamental(both.delayed(1e-6), 50.0) == replace(both.delayed(1e-6), inner=alone)
    ramp = FrequencyRamp(both, ((0.0, 1.0), (1.0, 1.1)))
    assert fundamental(ramp, 50.0) == replace(ramp, inner=alone)


@pytest.mark.parametrize(("begin", "end"), [(1.0, 1.0), (1.0, 0.5), (0.0, math.inf), (math.nan, 1.0)])
def test_an_interval_that_is_none_is_refused(begin: float, end: float) -> None:
    with pytest.raises(MeteringError, match=r"empty|end_s|begin_s"):
        integral_of_product(Tone(50.0, 1.0), Tone(50.0, 1.0), begin, end)


def test_pieces_of_different_origins_are_not_multiplied() -> None:
    tone = Tone(50.0, 1.0)
    with pytest.raises(MeteringError, match="cannot join"):
        product_integral(tone.pieces(0.0, 1.0), tone.pieces(0.5, 1.0))
    with pytest.raises(MeteringError, match="cannot join"):
        joined(Fraction(0), [tone.pieces(0.5, 1.0)])


def test_a_ramp_of_a_ramp_is_refused_where_both_move() -> None:
    once = AmplitudeRamp(Tone(50.0, 1.0), ((0.0, 1.0), (1.0, 2.0)))
    twice = AmplitudeRamp(once, ((0.5, 1.0), (2.0, 2.0)))
    with pytest.raises(MeteringError, match="ramp of an amplitude ramp"):
        twice.pieces(0.0, 1.0)
    one_after_the_other = AmplitudeRamp(once, ((1.0, 1.0), (2.0, 2.0)))
    assert integral_of_product(one_after_the_other, Tone(50.0, 1.0), 0.0, 2.0) == pytest.approx(
        4.5, rel=1e-13
    )

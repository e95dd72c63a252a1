"""Fourier series of periodic signals, and the fundamental of any signal, from closed-form integrals.

The fundamental of a sum of tones is its declared tone; that of a gated signal is the coefficient of its
Fourier series over the period of the gate; steps, ramps and modulations keep their envelopes. Never to be
broken: a signal that has no fundamental at the frequency asked for (it is not periodic) is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from openami.metrology.waveform.product_integrals import product_integral
from openami.metrology.waveform.ramps import AmplitudeRamp, FrequencyRamp
from openami.metrology.waveform.signal import Gated, Modulated, Signal, Stepped, Sum, Tone, Tones, Transformed
from openami.quantities.errors import MeteringError

SAME_FREQUENCY = 1e-9
"""Relative difference below which two frequencies are taken as one (3 x 49.3 is not 147.9 in doubles)."""


@dataclass(frozen=True, slots=True)
class FourierSeries:
    """Tones of a periodic signal up to an order, and what was left out."""

    tones: Tones
    residual_rms: float
    """Rms of the part of the signal above the highest order."""


def fourier_series(signal: Signal, frequency_hz: float, orders: int) -> FourierSeries:
    """Fourier series of a periodic signal: constant part and the harmonics 1 to ``orders``.

    A harmonic that is zero within the bound of its own error is zero.

    Parameters
    ----------
    signal:
        Periodic in ``1 / frequency_hz`` (for burst firing: the frequency of the whole burst).
    frequency_hz:
        The basic frequency.
    orders:
        Highest order, 1 or more.

    Raises
    ------
    MeteringError
        When the signal is not known to be periodic at that frequency.

    Examples
    --------
    >>> from openami.metrology.waveform.gate import Gate
    >>> half_wave = Gated(Tone(50.0, 1.0), Gate(50.0, ((0.0, 180.0),)))
    >>> round(fourier_series(half_wave, 50.0, 10).tones.dc, 6)  # sqrt(2) / pi
    0.450158
    """
    if orders < 1:
        raise MeteringError(f"a Fourier series of {orders} orders", expected="1 or more")
    _check_periodic(signal, frequency_hz)
    period = 1 / Fraction(frequency_hz)
    pieces = signal.pieces(0, period)
    constant = product_integral(pieces, Tones(1.0).pieces(0, period)).value * frequency_hz
    tones = tuple(_coefficient(signal, frequency_hz, order * frequency_hz) for order in range(1, orders + 1))
    square = product_integral(pieces, pieces).value * frequency_hz
    kept = constant**2 + sum(tone.rms**2 for tone in tones)
    return FourierSeries(Tones(constant, tones), float(np.sqrt(max(0.0, square - kept))))


def fundamental(signal: Signal, frequency_hz: float) -> Signal:
    """The fundamental of a signal as a signal of its own.

    Raises
    ------
    MeteringError
        When the signal has no fundamental of that frequency: a gate of another frequency, a gated signal
        that is not periodic with its gate.
    """
    match signal:
        case Tone():
            return _tones_at(Tones(0.0, (signal,)), frequency_hz)
        case Tones():
            return _tones_at(signal, frequency_hz)
        case Sum():
            return Sum(tuple(fundamental(part, frequency_hz) for part in signal.signals))
        case Gated():
            basic = Fraction(signal.gate.frequency_hz) / signal.gate.cycles
            if not _multiple(frequency_hz, float(basic)):
                raise MeteringError(
                    f"a gate of {signal.gate.frequency_hz} Hz has no fundamental of {frequency_hz} Hz",
                    expected="the frequency of the gate",
                )
            _check_periodic(signal, float(basic))
            return Tones(0.0, (_coefficient(signal, float(basic), frequency_hz),))
        case Stepped():
            return Stepped(
                fundamental(signal.first, frequency_hz),
                tuple((at_s, fundamental(part, frequency_hz)) for at_s, part in signal.steps),
            )
        case FrequencyRamp():
            return replace(signal, inner=_tones_at(signal.inner, frequency_hz))
        case Modulated() | AmplitudeRamp() | Transformed():
            return replace(signal, inner=fundamental(signal.inner, frequency_hz))
        case _:
            raise MeteringError(f"the fundamental of {type(signal).__name__} is not known")


def _tones_at(signal: Tones, frequency_hz: float) -> Tones:
    return Tones(0.0, tuple(tone for tone in signal.tones if _same(tone.frequency_hz, frequency_hz)))


def _coefficient(signal: Signal, basic_hz: float, frequency_hz: float) -> Tone:
    """The tone of one frequency in a signal of period 1 / basic_hz."""
    period = 1 / Fraction(basic_hz)
    pieces = signal.pieces(0, period)
    # Over one period both projections have the rms of their part as value.
    sine, cosine = (
        product_integral(pieces, Tone(frequency_hz, 1.0, phase).pieces(0, period)) for phase in (0.0, 90.0)
    )
    rms = float(np.hypot(sine.value, cosine.value))
    if rms <= sine.uncertainty + cosine.uncertainty:
        return Tone(frequency_hz, 0.0)
    return Tone(frequency_hz, rms * basic_hz, float(np.degrees(np.arctan2(cosine.value, sine.value))))


def _check_periodic(signal: Signal, basic_hz: float) -> None:
    strangers = [hz for hz in _frequencies(signal) if not _multiple(hz, basic_hz)]
    if strangers:
        raise MeteringError(
            f"a part of {strangers[0]} Hz is not periodic in 1 / {basic_hz} Hz",
            expected=f"multiples of {basic_hz} Hz",
        )


def _frequencies(signal: Signal) -> Sequence[float]:
    """Frequencies of which the period of a signal is made."""
    match signal:
        case Tone():
            return [signal.frequency_hz]
        case Tones():
            return [tone.frequency_hz for tone in signal.tones]
        case Sum():
            return [hz for part in signal.signals for hz in _frequencies(part)]
        case Transformed():
            return _frequencies(signal.inner)
        case Gated():
            return [signal.gate.frequency_hz / signal.gate.cycles, *_frequencies(signal.inner)]
        case Modulated():
            return [signal.frequency_hz, *_frequencies(signal.inner)]
        case _:
            raise MeteringError(
                f"{type(signal).__name__} is not periodic", expected="tones, gated or modulated tones"
            )


def _multiple(frequency_hz: float, basic_hz: float) -> bool:
    order = round(frequency_hz / basic_hz)
    return abs(frequency_hz - order * basic_hz) <= SAME_FREQUENCY * max(frequency_hz, basic_hz)


def _same(a_hz: float, b_hz: float) -> bool:
    return abs(a_hz - b_hz) <= SAME_FREQUENCY * b_hz

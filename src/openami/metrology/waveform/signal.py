"""Signals: sums of tones, and what may be done to them (gate, modulate, switch), each known in closed form.

A signal can be sampled at any instant and written out as finitely many gated sinusoids (`Pieces`), which the
reference integrates. Phases are sine phases in degrees, values are rms. Never to be broken: sampling and
pieces describe the same function of time, and a sample depends on its instant alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from openami.metrology.waveform.gate import Gate
from openami.metrology.waveform.instants import Instants, add_sinusoid, turns_of_degrees
from openami.metrology.waveform.pieces import Pieces, interval, joined, sinusoids
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
C128 = npt.NDArray[np.complex128]
Response = Callable[[F64], C128]
"""Frequencies in Hz (n,) -> complex response (n,): output phasor over input phasor."""

_SQRT2 = float(np.sqrt(2.0))


class Signal(ABC):
    """A quantity as a function of time (V or A), defined for all times."""

    __slots__ = ()

    @abstractmethod
    def _values(self, instants: Instants) -> F64:
        """What `at` gives."""

    @abstractmethod
    def _rows(self, origin_s: Fraction, length_s: float) -> Pieces:
        """What `pieces` gives on ``[origin_s, origin_s + length_s)``, a checked interval."""

    @abstractmethod
    def carrier(self) -> Tone:
        """The strongest tone of the signal (of frequency 0 when it has no alternating part)."""

    def at(self, instants: Instants) -> F64:
        """Values at instants, float64 (n,); rounding is below 1e-15 of the amplitude at any time."""
        return self._values(instants)

    def sample(self, times_s: npt.ArrayLike) -> F64:
        """Values at times (n,) in seconds, each time taken as the exact value of the double.

        Raises
        ------
        MeteringError
            When a time is not finite.
        """
        return self._values(Instants.of_seconds(times_s))

    def pieces(self, begin_s: float | Fraction, end_s: float | Fraction) -> Pieces:
        """The signal on ``[begin_s, end_s)`` as gated sinusoids.

        Raises
        ------
        MeteringError
            When the interval is empty or not finite.
        """
        return self._rows(*interval(begin_s, end_s))

    def filtered(self, response: Response) -> Signal:
        """The signal behind a linear sensor of a given frequency response.

        Exact for `Tone`, `Tones`, their `Sum`, and tones under sinusoidal modulation. `Stepped`, `Modulated`
        and `AmplitudeRamp` filter what they switch or shape and keep the envelope (the sensor's settling is
        not modelled). Otherwise (`Gated`, `FrequencyRamp`) the sensor acts as its gain and delay at the
        `carrier`; where its response to the single harmonics of a gated signal matters, filter the
        `fourier_series` of it instead.

        Parameters
        ----------
        response:
            Complex response over frequencies in Hz, float64 (n,) -> complex128 (n,). At 0 Hz the real part
            is the gain.
        """
        frequency = self.carrier().frequency_hz
        value = _response_at(response, np.array([frequency]))[0]
        if frequency == 0:
            return Transformed(self, float(value.real), 0.0)
        # A sensor mounted backwards is a negative gain, not a delay of half a cycle.
        sign = -1.0 if value.real < 0 else 1.0
        delay_s = -float(np.angle(sign * value)) / (2 * np.pi * frequency)
        return Transformed(self, sign * float(abs(value)), delay_s)

    def scaled(self, gain: float) -> Signal:
        """The signal times a factor."""
        return Transformed(self, gain, 0.0)

    def delayed(self, delay_s: float) -> Signal:
        """The signal later by ``delay_s``: x(t - delay_s), exactly."""
        return Transformed(self, 1.0, delay_s)


@dataclass(frozen=True, slots=True)
class Tone(Signal):
    """A sinusoid sqrt(2) rms sin(2 pi f t + phase); at frequency 0 the constant ``rms``."""

    frequency_hz: float
    rms: float
    phase_deg: float = 0.0

    def __post_init__(self) -> None:
        for name in ("frequency_hz", "rms", "phase_deg"):
            if not np.isfinite(getattr(self, name)):
                raise MeteringError(f"{name} of a tone is {getattr(self, name)}", expected="a finite number")
        if self.frequency_hz < 0:
            raise MeteringError(f"a tone of {self.frequency_hz} Hz", expected="a frequency of 0 Hz or more")

    @property
    def phase_turn(self) -> Fraction:
        """Sine phase in turns within [0, 1), exact."""
        return turns_of_degrees(self.phase_deg)

    @property
    def peak(self) -> float:
        """Peak value (the value itself at frequency 0)."""
        return self.rms * _SQRT2 if self.frequency_hz else self.rms

    @property
    def phasor(self) -> complex:
        """Rms phasor in the cosine convention, x = sqrt(2) Re(X e^{j 2 pi f t})."""
        turns = float(self.phase_turn)
        return self.rms * complex(np.sin(2 * np.pi * turns), -np.cos(2 * np.pi * turns))

    def _values(self, instants: Instants) -> F64:
        return Tones(0.0, (self,))._values(instants)

    def _rows(self, origin_s: Fraction, length_s: float) -> Pieces:
        return Tones(0.0, (self,))._rows(origin_s, length_s)

    def carrier(self) -> Tone:
        """See `Signal.carrier`."""
        return self

    def filtered(self, response: Response) -> Tone:
        """See `Signal.filtered`."""
        value = complex(_response_at(response, np.array([self.frequency_hz]))[0])
        return _turned(self, value)

    def scaled(self, gain: float) -> Tone:
        """See `Signal.scaled`."""
        return replace(self, rms=self.rms * gain)


@dataclass(frozen=True, slots=True)
class Tones(Signal):
    """A constant and a sum of tones, of any frequencies (harmonics, interharmonics)."""

    dc: float = 0.0
    tones: tuple[Tone, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "tones", tuple(self.tones))
        if not np.isfinite(self.dc):
            raise MeteringError(f"a constant part of {self.dc}", expected="a finite number")

    def _values(self, instants: Instants) -> F64:
        out = np.full(len(instants), self.dc, dtype=np.float64)
        for tone in self.tones:
            if tone.frequency_hz == 0:
                out += tone.rms
            elif tone.rms != 0:
                add_sinusoid(out, instants, tone.frequency_hz, tone.peak, tone.phase_turn)
        return out

    def _rows(self, origin_s: Fraction, length_s: float) -> Pieces:
        constants = [self.dc] if self.dc else []
        constants += [tone.rms for tone in self.tones if tone.frequency_hz == 0]
        alternating = [tone for tone in self.tones if tone.frequency_hz and tone.rms]
        phases = [
            float((Fraction(tone.frequency_hz) * origin_s + tone.phase_turn) % 1) for tone in alternating
        ]
        return sinusoids(
            origin_s,
            length_s,
            [0.0] * len(constants) + [tone.frequency_hz for tone in alternating],
            constants + [tone.peak for tone in alternating],
            [0.25] * len(constants) + phases,
        )

    def carrier(self) -> Tone:
        """See `Signal.carrier`."""
        alternating = [tone for tone in self.tones if tone.frequency_hz]
        return max(alternating, key=lambda tone: abs(tone.rms), default=Tone(0.0, self.dc))

    def filtered(self, response: Response) -> Tones:
        """See `Signal.filtered`."""
        frequencies = np.array([0.0, *(tone.frequency_hz for tone in self.tones)])
        values = _response_at(response, frequencies)
        return Tones(
            self.dc * float(values[0].real),
            tuple(_turned(tone, complex(value)) for tone, value in zip(self.tones, values[1:], strict=True)),
        )

    def scaled(self, gain: float) -> Tones:
        """See `Signal.scaled`."""
        return Tones(self.dc * gain, tuple(tone.scaled(gain) for tone in self.tones))


@dataclass(frozen=True, slots=True)
class Sum(Signal):
    """Signals added."""

    signals: tuple[Signal, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "signals", tuple(self.signals))

    def _values(self, instants: Instants) -> F64:
        out = np.zeros(len(instants))
        for signal in self.signals:
            out += signal._values(instants)
        return out

    def _rows(self, origin_s: Fraction, length_s: float) -> Pieces:
        return joined(origin_s, [signal._rows(origin_s, length_s) for signal in self.signals])

    def carrier(self) -> Tone:
        """See `Signal.carrier`."""
        carriers = [signal.carrier() for signal in self.signals]
        return max(carriers, key=lambda tone: (tone.frequency_hz > 0, abs(tone.rms)), default=Tone(0.0, 0.0))

    def filtered(self, response: Response) -> Sum:
        """See `Signal.filtered`."""
        return Sum(tuple(signal.filtered(response) for signal in self.signals))


@dataclass(frozen=True, slots=True)
class Transformed(Signal):
    """A signal with a gain and a delay: gain x(t - delay_s)."""

    inner: Signal
    gain: float
    delay_s: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.gain) and np.isfinite(self.delay_s)):
            raise MeteringError(f"gain {self.gain}, delay {self.delay_s} s", expected="finite numbers")

    def _values(self, instants: Instants) -> F64:
        shifted = instants.minus(self.delay_s) if self.delay_s else instants
        return self.gain * self.inner._values(shifted)

    def _rows(self, origin_s: Fraction, length_s: float) -> Pieces:
        delay = Fraction(self.delay_s)
        inner = self.inner._rows(origin_s - delay, length_s)
        return inner.delayed(delay).scaled(self.gain)

    def carrier(self) -> Tone:
        """See `Signal.carrier`."""
        tone = self.inner.carrier()
        return replace(
            tone,
            rms=tone.rms * self.gain,
            phase_deg=tone.phase_deg
            - float(360 * (Fraction(tone.frequency_hz) * Fraction(self.delay_s) % 1)),
        )


@dataclass(frozen=True, slots=True)
class Gated(Signal):
    """A signal that flows while a gate is open: phase-fired, burst-fired, half-wave."""

    inner: Signal
    gate: Gate

    def _values(self, instants: Instants) -> F64:
        return np.where(self.gate.open(instants), self.inner._values(instants), 0.0)

    def _rows(self, origin_s: Fraction, length_s: float) -> Pieces:
        return self.inner._rows(origin_s, length_s).within(*self.gate.intervals(origin_s, length_s))[0]

    def carrier(self) -> Tone:
        """See `Signal.carrier`."""
        return self.inner.carrier()


class ModulationShape(Enum):
    """Course of an amplitude modulation m(t)."""

    SINUSOIDAL = "sinusoidal"
    """sin(2 pi f_m t + phase)"""
    RECTANGULAR = "rectangular"
    """Its sign: +1 in the first half of the period, -1 in the second."""


@dataclass(frozen=True, slots=True)
class Modulated(Signal):
    """A signal times ``1 + depth / 2 m(t)``: flicker.

    ``depth`` is the relative change d of IEC 61000-4-15, peak to peak of the envelope (0.01 for d = 1 %);
    with n changes a minute the modulation has n / 120 Hz.
    """

    inner: Signal
    frequency_hz: float
    depth: float
    shape: ModulationShape = ModulationShape.SINUSOIDAL
    phase_deg: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.frequency_hz) and self.frequency_hz > 0):
            raise MeteringError(f"a modulation of {self.frequency_hz} Hz", expected="a positive frequency")
        if not np.isfinite(self.depth):
            raise MeteringError(f"a modulation depth of {self.depth}", expected="a finite number")

    def _values(self, instants: Instants) -> F64:
        values = self.inner._values(instants)
        if self.shape is ModulationShape.RECTANGULAR:
            high, low = 1 + self.depth / 2, 1 - self.depth / 2
            return values * np.where(self._upper_half().open(instants), high, low)
        envelope = np.ones(len(instants))
        add_sinusoid(envelope, instants, self.frequency_hz, self.depth / 2, turns_of_degrees(self.phase_deg))
        return values * envelope

    def _rows(self, origin_s: Fraction, length_s: float) -> Pieces:
        inner = self.inner._rows(origin_s, length_s)
        if self.shape is ModulationShape.RECTANGULAR:
            upper, _ = inner.within(*self._upper_half().intervals(origin_s, length_s))
            lower, _ = inner.within(*self._upper_half().complement().intervals(origin_s, length_s))
            return joined(origin_s, [upper.scaled(1 + self.depth / 2), lower.scaled(1 - self.depth / 2)])
        at_origin = Fraction(self.frequency_hz) * origin_s + turns_of_degrees(self.phase_deg)
        return inner.modulated(self.frequency_hz, float(at_origin % 1), self.depth / 2)

    def carrier(self) -> Tone:
        """See `Signal.carrier`."""
        return self.inner.carrier()

    def filtered(self, response: Response) -> Signal:
        """See `Signal.filtered`."""
        inner = self.inner
        if self.shape is ModulationShape.SINUSOIDAL and isinstance(inner, Tone | Tones):
            return self._side_bands(inner if isinstance(inner, Tones) else Tones(0.0, (inner,))).filtered(
                response
            )
        return replace(self, inner=inner.filtered(response))

    def _upper_half(self) -> Gate:
        return Gate(self.frequency_hz, ((0.0, 180.0),), phase_deg=self.phase_deg)

    def _side_bands(self, inner: Tones) -> Tones:
        """The same signal as tones: sin a sin b = sin(a - b + 90 deg) / 2 + sin(a + b - 90 deg) / 2."""
        tones = list(inner.tones)
        constant = inner.dc + sum(tone.rms for tone in inner.tones if not tone.frequency_hz)
        if constant:
            tones.append(Tone(self.frequency_hz, constant * self.depth / 2 / _SQRT2, self.phase_deg))
        for tone in inner.tones:
            if not tone.frequency_hz:
                continue
            rms = tone.rms * self.depth / 4
            above, below = tone.phase_deg + self.phase_deg - 90, tone.phase_deg - self.phase_deg + 90
            tones.append(Tone(tone.frequency_hz + self.frequency_hz, rms, above))
            difference = tone.frequency_hz - self.frequency_hz
            if difference > 0:
                tones.append(Tone(difference, rms, below))
            elif difference < 0:
                tones.append(Tone(-difference, -rms, -below))
            else:
                tones.append(Tone(0.0, rms * _SQRT2 * float(np.sin(np.radians(below)))))
        return Tones(inner.dc, tuple(tones))


@dataclass(frozen=True, slots=True)
class Stepped(Signal):
    """Signals one after the other: dips, swells, interruptions, phase jumps, sections of a test.

    ``first`` holds until the first step; each step ``(at_s, signal)`` holds from ``at_s`` until the next.
    All count their time from the same zero.
    """

    first: Signal
    steps: tuple[tuple[float, Signal], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        times = [at_s for at_s, _ in self.steps]
        if not all(np.isfinite(times)) or any(b <= a for a, b in pairwise(times)):
            raise MeteringError(f"steps at {times} s", expected="finite times in rising order")

    def _values(self, instants: Instants) -> F64:
        section = np.zeros(len(instants), dtype=np.intp)
        for at_s, _ in self.steps:
            section += instants.reached(Fraction(at_s))
        out = np.empty(len(instants))
        for number, signal in enumerate((self.first, *(signal for _, signal in self.steps))):
            chosen = section == number
            if chosen.any():
                out[chosen] = signal._values(instants.where(chosen))
        return out

    def _rows(self, origin_s: Fraction, length_s: float) -> Pieces:
        edges = [-np.inf, *(float(Fraction(at_s) - origin_s) for at_s, _ in self.steps), np.inf]
        parts = []
        for signal, (begin, end) in zip(
            (self.first, *(signal for _, signal in self.steps)), pairwise(edges), strict=True
        ):
            if begin < length_s and end > 0:
                window = np.array([max(begin, 0.0)]), np.array([min(end, length_s)])
                parts.append(signal._rows(origin_s, length_s).within(*window)[0])
        return joined(origin_s, parts)

    def carrier(self) -> Tone:
        """See `Signal.carrier`."""
        return Sum((self.first, *(signal for _, signal in self.steps))).carrier()

    def filtered(self, response: Response) -> Stepped:
        """See `Signal.filtered`."""
        return Stepped(
            self.first.filtered(response),
            tuple((at_s, signal.filtered(response)) for at_s, signal in self.steps),
        )


def _response_at(response: Response, frequencies_hz: F64) -> C128:
    values = np.asarray(response(frequencies_hz), dtype=np.complex128)
    if values.shape != frequencies_hz.shape or not np.isfinite(values).all():
        raise MeteringError(
            f"a frequency response gives {values} at {frequencies_hz} Hz",
            expected=f"{frequencies_hz.shape[0]} finite complex numbers",
        )
    return values


def _turned(tone: Tone, value: complex) -> Tone:
    if tone.frequency_hz == 0:
        return replace(tone, rms=tone.rms * value.real)
    return Tone(tone.frequency_hz, tone.rms * abs(value), tone.phase_deg + float(np.degrees(np.angle(value))))

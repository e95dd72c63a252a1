"""Ramps: amplitudes and frequencies that move linearly between knots, and stay before and after them.

Slow changes of voltage and frequency, and the swept high-order harmonics of OIML R 46. A frequency ramp is a
stretching of time, so harmonics stay harmonics and phases never jump. Never to be broken: phases are exact
polynomials in time; nothing is summed up sample by sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from openami.metrology.waveform.instants import Instants
from openami.metrology.waveform.pieces import Pieces, joined
from openami.metrology.waveform.signal import Response, Signal, Tone, Tones
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
Knots = tuple[tuple[float, float], ...]
"""(time in s, value), in rising order of time; linear between, constant before and after."""


@dataclass(frozen=True, slots=True)
class AmplitudeRamp(Signal):
    """A signal times a gain that moves linearly between knots.

    Raises
    ------
    MeteringError
        When the knots are not in rising order, or (on `pieces`) when the signal is itself an amplitude ramp.
    """

    inner: Signal
    knots: Knots

    def __post_init__(self) -> None:
        object.__setattr__(self, "knots", _checked(self.knots, "gain"))

    def _values(self, instants: Instants) -> F64:
        gain = np.full(len(instants), self.knots[0][1])
        for (t0, g0), (t1, g1) in pairwise(self.knots):
            after = instants.reached(Fraction(t0))
            d = instants.where(after).minus(t0).seconds
            gain[after] = g0 + (g1 - g0) / (t1 - t0) * d
        gain[instants.reached(Fraction(self.knots[-1][0]))] = self.knots[-1][1]
        return gain * self.inner.at(instants)

    def _rows(self, origin_s: Fraction, length_s: float) -> Pieces:
        inner = self.inner._rows(origin_s, length_s)
        times = [float(Fraction(t) - origin_s) for t, _ in self.knots]
        gains = [gain for _, gain in self.knots]
        begin = np.array([-np.inf, *times])
        slopes = np.array([0.0, *((b - a) / (t - s) for (s, a), (t, b) in pairwise(self.knots)), 0.0])
        parts, section = inner.within(begin, np.array([*times, np.inf]))
        if (parts.slope_per_s[slopes[section] != 0] != 0).any():
            raise MeteringError(
                "an amplitude ramp of an amplitude ramp has no closed form here",
                expected="one ramp at a time",
            )
        start = np.array([times[0], *times])[section]
        slope = slopes[section]
        gain = np.array([gains[0], *gains])[section] + slope * (parts.begin_s - start)
        return replace(
            parts,
            amplitude=parts.amplitude * gain,
            slope_per_s=parts.slope_per_s * gain + parts.amplitude * slope,
        )

    def carrier(self) -> Tone:
        """See `Signal.carrier`."""
        return self.inner.carrier()

    def filtered(self, response: Response) -> AmplitudeRamp:
        """See `Signal.filtered`."""
        return AmplitudeRamp(self.inner.filtered(response), self.knots)


@dataclass(frozen=True, slots=True)
class FrequencyRamp(Signal):
    """Tones whose frequencies move together, linearly between knots; their phases are continuous.

    Parameters
    ----------
    inner:
        The tones at ratio 1; the constant part stays.
    knots:
        (time, ratio): at that time every frequency is ratio times that of ``inner``. Before the first knot
        phases are such that they pass the first knot as those of ``inner`` do.

    Raises
    ------
    MeteringError
        When the knots are not in rising order or a ratio is not positive.
    """

    inner: Tones
    knots: Knots

    def __post_init__(self) -> None:
        object.__setattr__(self, "knots", _checked(self.knots, "frequency ratio"))
        if any(ratio <= 0 for _, ratio in self.knots):
            raise MeteringError(f"frequency ratios {self.knots}", expected="positive ratios")

    def _values(self, instants: Instants) -> F64:
        section = np.zeros(len(instants), dtype=np.intp)
        for time, _ in self.knots:
            section += instants.reached(Fraction(time))
        out = np.empty(len(instants))
        for number, stretch in enumerate(self._stretches()):
            chosen = section == number
            if chosen.any():
                out[chosen] = self.inner.at(stretch.of(instants.where(chosen)))
        return out

    def _rows(self, origin_s: Fraction, length_s: float) -> Pieces:
        edges = [-np.inf, *(float(Fraction(t) - origin_s) for t, _ in self.knots), np.inf]
        parts = []
        for stretch, (begin, end) in zip(self._stretches(), pairwise(edges), strict=True):
            if begin >= length_s or end <= 0:
                continue
            first = max(begin, 0.0)
            # Phases are those of the tones at the stretched time of the section's beginning, exact.
            start = origin_s if begin == -np.inf else max(stretch.start_s, origin_s)
            d = start - stretch.start_s
            ratio = stretch.ratio + stretch.slope_per_s * d
            stretched = stretch.value_s + stretch.ratio * d + stretch.slope_per_s * d * d / 2
            rows = self.inner._rows(stretched, min(end, length_s) - first)
            parts.append(
                Pieces(
                    origin_s,
                    rows.begin_s + first,
                    np.full(len(rows), min(end, length_s)),
                    rows.frequency_hz * float(ratio),
                    rows.amplitude,
                    rows.phase_turn,
                    rows.slope_per_s,
                    rows.frequency_hz * float(stretch.slope_per_s),
                )
            )
        return joined(origin_s, parts)

    def carrier(self) -> Tone:
        """See `Signal.carrier`."""
        return self.inner.carrier()

    def _stretches(self) -> list[_Stretch]:
        """Stretched time, section by section: before the first knot, between knots, after the last."""
        time, ratio = (Fraction(value) for value in self.knots[0])
        value = time
        sections = [_Stretch(time, value, ratio, Fraction(0))]
        for (t0, r0), (t1, r1) in pairwise(self.knots):
            length = Fraction(t1) - Fraction(t0)
            slope = (Fraction(r1) - Fraction(r0)) / length
            sections.append(_Stretch(Fraction(t0), value, Fraction(r0), slope))
            value += Fraction(r0) * length + slope * length * length / 2
        last, ratio = (Fraction(part) for part in self.knots[-1])
        sections.append(_Stretch(last, value, ratio, Fraction(0)))
        return sections


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Stretched time ``value_s + ratio d + slope_per_s d^2 / 2`` with d = t - start_s, exact."""

    start_s: Fraction
    value_s: Fraction
    ratio: Fraction
    slope_per_s: Fraction

    def of(self, instants: Instants) -> Instants:
        d = instants.minus(self.start_s)
        stretched = d.scaled(self.ratio)
        if self.slope_per_s:
            stretched = stretched.plus(d.times(d).scaled(self.slope_per_s / 2))
        return stretched.minus(-self.value_s)


def swept(
    rms: float, from_hz: float, to_hz: float, begin_s: float, end_s: float, phase_deg: float = 0.0
) -> FrequencyRamp:
    """A tone that sweeps linearly from one frequency to another, and stays outside of the sweep."""
    return FrequencyRamp(
        Tones(0.0, (Tone(from_hz, rms, phase_deg),)), ((begin_s, 1.0), (end_s, to_hz / from_hz))
    )


def _checked(knots: Sequence[tuple[float, float]], what: str) -> Knots:
    values = tuple((float(time), float(value)) for time, value in knots)
    finite = all(np.isfinite(time) and np.isfinite(value) for time, value in values)
    if not values or not finite or any(b[0] <= a[0] for a, b in pairwise(values)):
        raise MeteringError(
            f"knots of a {what} ramp: {list(values)}", expected="one or more (time, value), times rising"
        )
    return values

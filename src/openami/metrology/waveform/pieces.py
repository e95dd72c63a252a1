"""A signal on an interval, written out as finitely many gated sinusoids: what the reference integrates.

Every row is one sinusoid that lives on ``[begin, end)``; amplitude and frequency may change linearly in it
(ramps, sweeps). Times are counted from an exact origin and phases from the row's own beginning, so nothing
loses digits far from time zero. Never to be broken: the rows are the signal itself, not an approximation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from openami.metrology.waveform.instants import two_product
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pieces:
    """Gated sinusoids (n,) on an interval.

    With d = t - origin_s - begin_s, row by row where 0 <= d < end_s - begin_s, and zero elsewhere::

        x(t) = sum (amplitude + slope d) sin(2 pi (phase_turn + frequency_hz d + chirp_hz_per_s d^2 / 2))

    A constant is a row of frequency 0 and phase 0.25 turn.
    """

    origin_s: Fraction
    """The instant from which ``begin_s`` and ``end_s`` count, exact."""
    begin_s: F64
    end_s: F64
    frequency_hz: F64
    """At the beginning of the row; may be negative (side bands)."""
    amplitude: F64
    """Peak value at the beginning of the row."""
    phase_turn: F64
    """Sine phase at the beginning of the row, in turns."""
    slope_per_s: F64
    chirp_hz_per_s: F64

    def __len__(self) -> int:
        return int(self.begin_s.shape[0])

    @property
    def phase_rad(self) -> F64:
        """Sine phase at the beginning of each row, in radians."""
        return 2 * np.pi * self.phase_turn

    def at(self, times_s: npt.ArrayLike) -> F64:
        """The sum of the rows at instants, pointwise: a plain evaluation, for comparison with sampling.

        Parameters
        ----------
        times_s:
            Instants in seconds, float64 (m,).

        Returns
        -------
        float64 (m,).
        """
        times = np.asarray(times_s, dtype=np.float64)
        high = float(self.origin_s)
        offset = (times - high) - float(self.origin_s - Fraction(high))
        out = np.zeros_like(offset)
        for begin, end, frequency, amplitude, phase, slope, chirp in zip(*self._columns(), strict=True):
            inside = (offset >= begin) & (offset < end)
            d = offset[inside] - begin
            angle = 2 * np.pi * np.remainder(phase + frequency * d + chirp * d * d / 2, 1.0)
            out[inside] += (amplitude + slope * d) * np.sin(angle)
        return out

    def scaled(self, gain: float) -> Pieces:
        """These rows, amplitudes multiplied by ``gain``."""
        return Pieces(
            self.origin_s,
            self.begin_s,
            self.end_s,
            self.frequency_hz,
            self.amplitude * gain,
            self.phase_turn,
            self.slope_per_s * gain,
            self.chirp_hz_per_s,
        )

    def delayed(self, delay_s: Fraction) -> Pieces:
        """These rows, later by ``delay_s`` (exact: only the origin moves)."""
        return Pieces(self.origin_s + delay_s, *self._columns())

    def modulated(self, frequency_hz: float, phase_turn: float, depth: float) -> Pieces:
        """These rows times ``1 + depth sin(2 pi (f (t - origin_s) + phase_turn))``: each and two side bands.

        sin a sin b = sin(a - b + 1/4 turn) / 2 + sin(a + b - 1/4 turn) / 2.
        """
        steady = np.full(len(self), phase_turn)
        modulation = turns_after(steady, np.full(len(self), frequency_hz), np.zeros(len(self)), self.begin_s)
        half = self.scaled(depth / 2)
        below = replace(
            half,
            frequency_hz=self.frequency_hz - frequency_hz,
            phase_turn=self.phase_turn - modulation + 0.25,
        )
        above = replace(
            half,
            frequency_hz=self.frequency_hz + frequency_hz,
            phase_turn=self.phase_turn + modulation - 0.25,
        )
        return joined(self.origin_s, [self, below, above])

    def rows(self, chosen: I64) -> Pieces:
        """Rows by index, in the order given (repeats allowed)."""
        return Pieces(self.origin_s, *(column[chosen] for column in self._columns()))

    def cut(self, row: I64, begin_s: F64, end_s: F64) -> Pieces:
        """Parts of rows: row ``row[k]`` on ``[begin_s[k], end_s[k])``, which must lie inside it.

        Parameters
        ----------
        row:
            int64 (m,), indices of rows.
        begin_s, end_s:
            float64 (m,), counted from the origin.
        """
        whole = self.rows(row)
        d = begin_s - whole.begin_s
        return Pieces(
            self.origin_s,
            begin_s,
            end_s,
            whole.frequency_hz + whole.chirp_hz_per_s * d,
            whole.amplitude + whole.slope_per_s * d,
            turns_after(whole.phase_turn, whole.frequency_hz, whole.chirp_hz_per_s, d),
            whole.slope_per_s,
            whole.chirp_hz_per_s,
        )

    def within(self, begin_s: F64, end_s: F64) -> tuple[Pieces, I64]:
        """The rows gated by intervals, and the interval of each row that is left.

        Parameters
        ----------
        begin_s, end_s:
            float64 (m,), the intervals, counted from the origin.
        """
        row, interval = overlaps(self.begin_s, self.end_s, begin_s, end_s)
        return (
            self.cut(
                row,
                np.maximum(self.begin_s[row], begin_s[interval]),
                np.minimum(self.end_s[row], end_s[interval]),
            ),
            interval,
        )

    def _columns(self) -> tuple[F64, F64, F64, F64, F64, F64, F64]:
        return (
            self.begin_s,
            self.end_s,
            self.frequency_hz,
            self.amplitude,
            self.phase_turn,
            self.slope_per_s,
            self.chirp_hz_per_s,
        )


def sinusoids(
    origin_s: Fraction,
    end_s: float,
    frequency_hz: Sequence[float],
    amplitude: Sequence[float],
    phase_turn: Sequence[float],
) -> Pieces:
    """Rows of steady sinusoids over all of ``[0, end_s)`` from an origin, with phases at the origin."""
    count = len(frequency_hz)
    return Pieces(
        origin_s,
        np.zeros(count),
        np.full(count, end_s),
        np.array(frequency_hz, dtype=np.float64),
        np.array(amplitude, dtype=np.float64),
        np.array(phase_turn, dtype=np.float64),
        np.zeros(count),
        np.zeros(count),
    )


def joined(origin_s: Fraction, parts: Sequence[Pieces]) -> Pieces:
    """The rows of several pieces of one origin, in order.

    Raises
    ------
    MeteringError
        When a part counts from another origin.
    """
    strangers = [part for part in parts if part.origin_s != origin_s]
    if strangers:
        raise MeteringError(
            f"pieces from {float(strangers[0].origin_s)} s cannot join pieces from {float(origin_s)} s",
            expected="one origin",
        )
    columns = list(zip(*(part._columns() for part in parts), strict=True))
    if not columns:
        return sinusoids(origin_s, 0.0, (), (), ())
    return Pieces(origin_s, *(np.concatenate(column) for column in columns))


def interval(begin_s: float | Fraction, end_s: float | Fraction) -> tuple[Fraction, float]:
    """Origin and length of an interval of time.

    Raises
    ------
    MeteringError
        When an end is not finite, or the interval is empty or runs backwards.
    """
    for name, value in (("begin_s", begin_s), ("end_s", end_s)):
        if not np.isfinite(float(value)):
            raise MeteringError(f"{name} is {value}", expected="finite seconds")
    if not begin_s < end_s:
        raise MeteringError(
            f"the interval from {float(begin_s)} s to {float(end_s)} s is empty", expected="end after begin"
        )
    return Fraction(begin_s), float(Fraction(end_s) - Fraction(begin_s))


def turns_after(phase_turn: F64, frequency_hz: F64, chirp_hz_per_s: F64, seconds: F64) -> F64:
    """Phase after some seconds, in turns within [-1, 1]; whole turns are taken off before rounding."""
    product, error = two_product(seconds, frequency_hz)
    square, square_error = two_product(seconds, seconds)
    bend, bend_error = two_product(square, chirp_hz_per_s / 2)
    part = (product - np.rint(product)) + (bend - np.rint(bend)) + phase_turn
    return np.asarray((part - np.rint(part)) + (error + bend_error + square_error * chirp_hz_per_s / 2))


def overlaps(a_begin: F64, a_end: F64, b_begin: F64, b_end: F64) -> tuple[I64, I64]:
    """All pairs (row of a, row of b) of half-open intervals that have a stretch of time in common.

    Works in O(n log n + pairs). A pair is found once: by the one of the two that begins within the other.
    """
    a_first, b_second = _beginning_within(a_begin, a_end, b_begin, b_end, "left")
    b_first, a_second = _beginning_within(b_begin, b_end, a_begin, a_end, "right")
    a, b = np.concatenate((a_first, a_second)), np.concatenate((b_second, b_first))
    shared = np.minimum(a_end[a], b_end[b]) > np.maximum(a_begin[a], b_begin[b])
    return a[shared], b[shared]


def _beginning_within(begin: F64, end: F64, other_begin: F64, other_end: F64, side: str) -> tuple[I64, I64]:
    """Pairs where the other begins within [begin, end) ("left"), or within (begin, end) ("right")."""
    order = np.argsort(other_begin, kind="stable")
    starts = other_begin[order]
    low = np.searchsorted(starts, begin, side="left" if side == "left" else "right")
    high = np.maximum(low, np.searchsorted(starts, end, side="left"))
    count = high - low
    first = np.repeat(np.arange(begin.shape[0], dtype=np.int64), count)
    ends = np.cumsum(count)
    position = np.arange(first.shape[0], dtype=np.int64) - np.repeat(ends - count, count)
    return first, order[np.repeat(low, count) + position].astype(np.int64)

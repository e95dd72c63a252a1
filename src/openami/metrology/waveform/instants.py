"""Instants of sampling, held so that a phase is as good after a million seconds as after one.

At t = 10^6 s a double resolves 0.1 ns, which is 0.04 urad of 50 Hz: too coarse for a reference. An instant
is therefore the sum of two doubles (T. J. Dekker, "A floating-point technique for extending the available
precision", Numer. Math. 18, 1971), and turns are reduced before they are rounded. Never to be broken: the
value of a signal at an instant depends on that instant alone, so a stream may be cut anywhere and gives the
same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

MAXIMUM_SAMPLE = 2**53
"""Sample indices are below this in magnitude, so that each is a double exactly."""

_SPLIT = 134217729.0  # 2^27 + 1 (Dekker)
_TWO_PI = 2 * np.pi


@dataclass(frozen=True, slots=True)
class Instants:
    """Instants ``seconds + rest`` (samples,), in seconds, exact to 2^-104 of their value."""

    seconds: F64
    rest: F64

    @classmethod
    def of_seconds(cls, times_s: npt.ArrayLike) -> Instants:
        """Instants that are doubles, taken as exact.

        Raises
        ------
        MeteringError
            When a time is not finite or the array is not one-dimensional.
        """
        seconds = np.ascontiguousarray(times_s, dtype=np.float64)
        if seconds.ndim != 1:
            raise MeteringError(f"times have {seconds.ndim} dimensions", expected="an array of shape (n,)")
        bad = np.flatnonzero(~np.isfinite(seconds))
        if bad.size:
            raise MeteringError(
                f"the time is {seconds[bad[0]]}", where=f"sample {bad[0]}", expected="finite seconds"
            )
        return cls(seconds, np.zeros_like(seconds))

    @classmethod
    def of_samples(cls, rate_hz: float, first_sample: int, count: int) -> Instants:
        """Instants ``k / rate_hz`` of the samples ``first_sample <= k < first_sample + count``.

        Raises
        ------
        MeteringError
            For a rate that is not positive, a negative count, or indices beyond 2^53.
        """
        if not (np.isfinite(rate_hz) and rate_hz > 0):
            raise MeteringError(f"a sampling rate of {rate_hz} Hz", expected="a positive, finite rate")
        if count < 0:
            raise MeteringError(f"{count} samples are asked for", expected="zero or more")
        if max(abs(first_sample), abs(first_sample + count)) > MAXIMUM_SAMPLE:
            raise MeteringError(
                "sample indices beyond 2^53 are not exact",
                where=f"sample {first_sample}",
                expected="indices within +-2^53",
            )
        index = np.arange(first_sample, first_sample + count, dtype=np.int64).astype(np.float64)
        seconds = index / rate_hz
        product, error = two_product(seconds, rate_hz)
        return cls(seconds, ((index - product) - error) / rate_hz)

    def minus(self, seconds: float | Fraction) -> Instants:
        """These instants, earlier by ``seconds`` (exact)."""
        high, low = split_fraction(Fraction(seconds))
        total, error = two_sum(self.seconds, -high)
        return _renormalised(total, error + (self.rest - low))

    def plus(self, other: Instants) -> Instants:
        """Sum of two arrays of instants, element by element."""
        total, error = two_sum(self.seconds, other.seconds)
        return _renormalised(total, error + (self.rest + other.rest))

    def times(self, other: Instants) -> Instants:
        """Product of two arrays, element by element (for phases that are polynomials in time)."""
        product, error = two_product(self.seconds, other.seconds)
        return _renormalised(product, error + (self.seconds * other.rest + self.rest * other.seconds))

    def scaled(self, factor: Fraction) -> Instants:
        """These instants times an exact factor."""
        high, low = split_fraction(factor)
        product, error = two_product(self.seconds, high)
        return _renormalised(product, error + (self.seconds * low + self.rest * high))

    def reached(self, seconds: Fraction) -> Mask:
        """True where the instant is at or after ``seconds``."""
        difference = self.minus(seconds)
        reached: Mask = (difference.seconds > 0) | ((difference.seconds == 0) & (difference.rest >= 0))
        return reached

    def where(self, chosen: Mask) -> Instants:
        """The instants chosen by a mask, in order."""
        return Instants(self.seconds[chosen], self.rest[chosen])

    def __len__(self) -> int:
        return int(self.seconds.shape[0])


def two_sum(a: F64, b: F64 | float) -> tuple[F64, F64]:
    """Sum and its rounding error, exactly (Knuth, TAOCP 2, 4.2.2, theorem B)."""
    total = a + b
    shadow = total - a
    return total, (a - (total - shadow)) + (b - shadow)


def two_product(a: F64, b: F64 | float) -> tuple[F64, F64]:
    """Product and its rounding error, exactly (Dekker 1971, by Veltkamp's splitting)."""
    product = a * b
    a_high = _SPLIT * a - (_SPLIT * a - a)
    a_low = a - a_high
    b_high = _SPLIT * b - (_SPLIT * b - b)
    b_low = b - b_high
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, np.asarray(error)


def split_fraction(value: Fraction) -> tuple[float, float]:
    """A rational number as the sum of two doubles, to 2^-106 of its value."""
    high = float(value)
    return high, float(value - Fraction(high))


def turns_of_degrees(angle_deg: float) -> Fraction:
    """An angle in turns within [0, 1), exactly."""
    return Fraction(angle_deg) / 360 % 1


def whole_and_part(instants: Instants, frequency_hz: float, phase: Fraction) -> tuple[F64, F64]:
    """Turns ``f t + phase`` as whole turns and a part within [-0.5, 0.5], each (samples,).

    The part is rounded once, after the whole turns were taken off exactly.
    """
    product, error = two_product(instants.seconds, frequency_hz)
    whole = np.rint(product)
    high, low = split_fraction(phase)
    part, carry = two_sum(product - whole, high)
    extra = np.rint(part)
    return whole + extra, (part - extra) + (carry + (error + (instants.rest * frequency_hz + low)))


def add_sinusoid(
    out: F64, instants: Instants, frequency_hz: float, amplitude: float, phase: Fraction
) -> None:
    """Add ``amplitude sin(2 pi (f t + phase))`` to ``out`` (samples,), to 3e-16 of the amplitude.

    Parameters
    ----------
    out:
        float64 (samples,), changed in place.
    instants:
        The instants, samples of them.
    frequency_hz, amplitude:
        Frequency in Hz and peak value.
    phase:
        Phase in turns.
    """
    high, low = split_fraction(phase % 1)
    _add_sinusoid(out, instants.seconds, instants.rest, frequency_hz, amplitude, high, low)


@njit(cache=True, nogil=True)
def _add_sinusoid(
    out: F64, seconds: F64, rest: F64, frequency: float, amplitude: float, phase: float, phase_rest: float
) -> None:
    # No fastmath: the error terms below would be optimised away.
    scaled = _SPLIT * frequency
    f_high = scaled - (scaled - frequency)
    f_low = frequency - f_high
    for k in range(out.shape[0]):
        t = seconds[k]
        product = frequency * t
        scaled_t = _SPLIT * t
        t_high = scaled_t - (scaled_t - t)
        t_low = t - t_high
        error = ((t_high * f_high - product) + t_high * f_low + t_low * f_high) + t_low * f_low
        turns = product - np.rint(product)
        total = turns + phase
        shadow = total - turns
        carry = (turns - (total - shadow)) + (phase - shadow)
        total -= np.rint(total)
        quarters = np.rint(4.0 * total)
        part = (total - 0.25 * quarters) + (carry + (error + (rest[k] * frequency + phase_rest)))
        x = _TWO_PI * part
        z = x * x
        # Taylor series on |x| <= pi/4: remainders 2e-20 (sine) and 2e-18 (cosine).
        sine = x + x * z * (
            -1 / 6
            + z
            * (
                1 / 120
                + z
                * (
                    -1 / 5040
                    + z
                    * (
                        1 / 362880
                        + z
                        * (
                            -1 / 39916800
                            + z * (1 / 6227020800 + z * (-1 / 1307674368000 + z / 355687428096000))
                        )
                    )
                )
            )
        )
        cosine = 1.0 + z * (
            -1 / 2
            + z
            * (
                1 / 24
                + z
                * (
                    -1 / 720
                    + z
                    * (
                        1 / 40320
                        + z
                        * (-1 / 3628800 + z * (1 / 479001600 + z * (-1 / 87178291200 + z / 20922789888000)))
                    )
                )
            )
        )
        quadrant = int(quarters) & 3
        value = cosine if quadrant & 1 else sine
        out[k] += -amplitude * value if quadrant & 2 else amplitude * value


def _renormalised(high: F64, low: F64) -> Instants:
    total = high + low
    return Instants(total, low - (total - high))

"""Fractional delay: the value of a sampled signal between its samples, as a filter.

A bandlimited signal is known between its samples (Shannon); the interpolating sinc is cut by a Kaiser window
(J. F. Kaiser, 1974; T. I. Laakso and others, "Splitting the unit delay", IEEE Signal Processing Magazine 13,
1996). With 48 taps either side gain and phase are right to 2e-7 up to 0.45 of the sampling rate, at every
fraction, so harmonics are moved by the same *time* as the fundamental.

`two_tap` is the trick of small meters (a straight line through two samples), kept for comparison: it has the
right phase at one frequency only and lifts the harmonics.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
C128 = npt.NDArray[np.complex128]

HALF_WIDTH = 48
"""Taps either side of the centre."""

FLAT_TO = 0.45
"""Share of the sampling rate up to which the response is flat."""

_STEP = 2.0**-12


def interpolator(fraction: float, half_width: int = HALF_WIDTH) -> F64:
    """Taps that give a signal ``fraction`` samples after its sample, normalised to gain 1 at 0 Hz.

    Parameters
    ----------
    fraction:
        -0.5 .. 0.5.
    half_width:
        Taps either side, 4 or more.

    Returns
    -------
    float64 (2·half_width + 1,): x(k + fraction) = Σ taps[j] · x[k + j - half_width].

    Raises
    ------
    MeteringError
        The fraction or the width is out of range.
    """
    _check(fraction, half_width)
    taps = _kernel(fraction, half_width)
    return np.asarray(taps / np.sum(taps))


def differentiator(fraction: float, half_width: int = HALF_WIDTH) -> F64:
    """Taps that give the slope of a signal, per sample interval, ``fraction`` samples after its sample.

    Parameters, return value and errors as those of `interpolator`; the gain at 0 Hz is exactly 0, elsewhere
    right to 6e-6 (images of the interpolator weigh more in the slope).
    """
    _check(fraction, half_width)
    after = _kernel(fraction + _STEP, half_width)
    before = _kernel(fraction - _STEP, half_width)
    slope = (after / np.sum(after) - before / np.sum(before)) / (2.0 * _STEP)
    return np.asarray(slope)


def taps_response(taps: F64, relative_frequency: F64) -> C128:
    """Complex gain of taps around their centre at frequencies given as shares of the sampling rate."""
    offset = np.arange(taps.size) - taps.size // 2
    turn = np.exp(2j * np.pi * np.multiply.outer(np.asarray(relative_frequency), offset))
    return np.asarray(turn @ taps)


def two_tap_weight(advance_deg: float, frequency_hz: float, rate_hz: float) -> float:
    """Weight p of `two_tap` that gives a sine of ``frequency_hz`` ``advance_deg`` after x[k - 1]."""
    step = 2.0 * math.pi * frequency_hz / rate_hz
    slope = math.tan(math.radians(advance_deg))
    return slope / (math.sin(step) + slope * (1.0 - math.cos(step)))


def two_tap(samples: F64, weight: float) -> F64:
    """y[k] = x[k - 1] + p (x[k] - x[k - 1]): the phase trick of small meters, for comparison only.

    Parameters
    ----------
    samples:
        float64 (n,).
    weight:
        p; above 1 it extrapolates.

    Returns
    -------
    float64 (n - 1,).
    """
    return np.asarray(samples[:-1] + weight * np.diff(samples))


def _check(fraction: float, half_width: int) -> None:
    if not abs(fraction) <= 0.5:
        raise MeteringError(f"a fraction of {fraction:g} samples", expected="-0.5 .. 0.5")
    if half_width < 4:
        raise MeteringError(f"{half_width} taps either side", expected="4 or more")


def _kernel(fraction: float, half_width: int) -> F64:
    taps = np.empty(2 * half_width + 1)
    _windowed_sinc(fraction, _kaiser_beta(half_width), taps)
    return taps


def _kaiser_beta(half_width: int) -> float:
    """Kaiser's parameter for the transition from `FLAT_TO` to its image in 2·half_width intervals."""
    transition = 2.0 * math.pi * (1.0 - 2.0 * FLAT_TO)
    attenuation_db = 2.285 * transition * 2 * half_width + 8.0
    return 0.1102 * max(attenuation_db - 8.7, 0.0)


@njit(cache=True, nogil=True)
def _windowed_sinc(fraction: float, beta: float, taps: F64) -> None:  # pragma: no cover - compiled
    half_width = taps.size // 2
    top = _bessel_i0(beta)
    for index in range(taps.size):
        distance = fraction - (index - half_width)
        inside = 1.0 - (distance / (half_width + 1.0)) ** 2
        window = _bessel_i0(beta * np.sqrt(max(inside, 0.0))) / top
        angle = np.pi * distance
        taps[index] = window * (np.sin(angle) / angle if angle != 0.0 else 1.0)


@njit(cache=True, nogil=True)
def _bessel_i0(x: float) -> float:  # pragma: no cover - compiled
    # I0(x) = Σ ((x/2)^n / n!)²: every term positive, so no digit is lost
    quarter = 0.25 * x * x
    term = total = 1.0
    n = 1
    while term > 1e-17 * total:
        term *= quarter / (n * n)
        total += term
        n += 1
    return total

"""A window of real-valued length as a fixed number of points, and what that does to each frequency.

The interpolator is a Kaiser-Bessel kernel of ten taps whose transform falls to its floor at 0.55 of the
sampling rate, where the images of the band 0 .. 0.45 begin. The kernel's own response is *not* flat; it is
known in closed form and divided out of the spectrum. So ten taps leave images below 0.1 ppm up to a fifth
of the sampling rate and below 30 ppm to 0.42 of it, where Lagrange's eight leave 30 % (Fessler and Sutton
2003 and Barnett, Magland and af Klinteberg 2019 use the pair for non-uniform Fourier transforms; the closed
form is Kaiser's).

The rule never to be broken here: points are never used without `inverse_response`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numba import njit

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Samples = npt.NDArray[np.float64 | np.int32]

TAPS = 10
"""Samples that make a point."""

BEFORE = TAPS // 2 - 1
"""Samples that a point needs at and before its own place, less one."""

PHASES = 256
"""Steps of a sampling interval for which weights are tabulated; between them they are linear."""

PASS_BAND = 0.45
"""Part of the sampling rate up to which a spectrum is given."""

_SHAPE = np.pi * TAPS * (1.0 - PASS_BAND)  # puts the kernel's cut-off at the first image of the pass band
_DEGREE = 23  # of four times whole coefficients


@lru_cache(maxsize=1)
def kernel_table() -> F64:
    """Weights of the samples -4 .. 5 around a point, float64 (257, 10), by its place in 1/256 of a sample."""
    phase = np.arange(PHASES + 1)[:, None] / PHASES
    x = (phase - np.arange(-BEFORE, TAPS - BEFORE)) / (TAPS / 2)
    weights = np.where(np.abs(x) <= 1.0, np.i0(_SHAPE * np.sqrt(np.clip(1.0 - x * x, 0.0, None))), 0.0)
    return np.ascontiguousarray(weights / _transform(np.zeros(1))[0])


def response(nu: F64) -> F64:
    """What interpolation leaves of a tone, by its frequency as part of the sampling rate, 0 .. 0.45.

    Closed form: transform of the Kaiser-Bessel kernel, times that of the linear interpolation between rows.
    """
    return np.asarray(_transform(nu) / _transform(np.zeros(1))[0] * np.sinc(nu / PHASES) ** 2)


def _transform(nu: F64) -> F64:
    root = np.sqrt(_SHAPE**2 - (np.pi * TAPS * nu) ** 2)
    return np.asarray(TAPS * np.sinh(root) / root)


@lru_cache(maxsize=1)
def _inverse_polynomial() -> F64:
    """Coefficients, highest first, of 1 / response as a polynomial in ``2 (nu / 0.45)**2 - 1``; to 1e-10."""
    nodes = np.cos(np.pi * (np.arange(256) + 0.5) / 256)
    nu = PASS_BAND * np.sqrt((nodes + 1.0) / 2.0)
    fit = np.polynomial.Chebyshev.fit(nodes, 1.0 / response(nu), _DEGREE, domain=[-1, 1])
    power = fit.convert(kind=np.polynomial.Polynomial, domain=[-1, 1], window=[-1, 1])
    return np.ascontiguousarray(power.coef[::-1])


def inverse_response(step: F64, bins: int) -> F64:
    """What bins are to be multiplied by: float64 (w, bins), zero from the pass band's end on.

    Parameters
    ----------
    step:
        (w,) distance of two bins as part of the sampling rate: 1 / (samples of the window).
    bins:
        How many.
    """
    result = np.empty((step.size, bins))
    _inverse_response(step, _inverse_polynomial(), result)
    return result


@njit(cache=True, nogil=True, fastmath=True)  # Horner's scheme with fused products: an error of 1e-12
def _inverse_response(step: F64, coefficients: F64, result: F64) -> None:  # pragma: no cover - compiled
    bins = result.shape[1]
    z = np.empty(bins)
    for window in range(step.size):
        row = result[window]
        scale = 2.0 * (step[window] / PASS_BAND) ** 2
        for k in range(bins):
            z[k] = scale * (float(k) * float(k)) - 1.0
            row[k] = 0.0
        for n in range(0, coefficients.size, 4):  # the inner loop runs over bins: vectors of them at once
            c3, c2, c1, c0 = coefficients[n], coefficients[n + 1], coefficients[n + 2], coefficients[n + 3]
            for k in range(bins):
                row[k] = (((row[k] * z[k] + c3) * z[k] + c2) * z[k] + c1) * z[k] + c0
        for k in range(bins):
            row[k] = row[k] if z[k] < 0.999999999 else 0.0


def valid_bins(step: F64, bins: int) -> I64:
    """How many bins, from 0 on, lie below 0.45 of the sampling rate: int64 (w,)."""
    return np.minimum(np.ceil(PASS_BAND / step - 1e-9).astype(np.int64), bins)


def resample(x: Samples, sample: I64, fraction: F64, length: F64, points: int) -> F64:
    """Windows as points, float64 (w, channels, points), with the kernel's response still in them.

    Parameters
    ----------
    x:
        (channels, samples); `TAPS` samples on either side of every window must be there.
    sample, fraction, length:
        (w,) whole sample (index into ``x``) and fraction of the start, length in samples.
    """
    result = np.empty((sample.size, x.shape[0], points))
    _resample(x, sample, fraction, length, kernel_table(), result)
    return result


@njit(cache=True, nogil=True)
def _resample(
    x: Samples, sample: I64, fraction: F64, length: F64, table: F64, result: F64
) -> None:  # pragma: no cover - compiled
    points = result.shape[2]
    weights = np.empty(TAPS)
    for window in range(sample.size):
        step = length[window] / points
        for point in range(points):
            place = fraction[window] + step * point
            whole = int(place)
            row = (place - whole) * PHASES
            upper = int(row)
            part = row - upper
            for tap in range(TAPS):
                weights[tap] = table[upper, tap] + part * (table[upper + 1, tap] - table[upper, tap])
            first = sample[window] + whole - BEFORE
            for channel in range(x.shape[0]):
                total = 0.0
                for tap in range(TAPS):
                    total += weights[tap] * x[channel, first + tap]
                result[window, channel, point] = total

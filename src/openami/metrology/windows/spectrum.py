"""Harmonics, interharmonics and their groups from the bins of a window (IEC 61000-4-7).

A bin is the rms phasor at a multiple of the reciprocal window length; a window of N cycles has N bins from
one harmonic to the next. Groups add powers of bins: the group of a harmonic reaches half way to its
neighbours, its subgroup takes the bins beside it, interharmonic groups and centred subgroups take what lies
between.

The rule never to be broken here: what lies beyond the pass band is NaN, never a small number that was not
measured.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
C128 = npt.NDArray[np.complex128]
Phasors = npt.NDArray[np.complex64] | npt.NDArray[np.complex128]

HARMONICS = 50
"""Highest harmonic of IEC 61000-4-30, class A."""

BAND_HZ = 200.0
"""Width of the bands above harmonics (IEC 61000-4-7, annex B; recalled, confirm against the standard)."""


class HighBands(NamedTuple):
    """Bands of 200 Hz from 2 kHz to 9 kHz."""

    centre_hz: F64
    """(b,) 2100, 2300 ... 8900."""
    rms: F64
    """(..., b); NaN where a band does not lie below 0.45 of the sampling rate."""


def highest_harmonic(valid_bins: I64, cycles: int) -> I64:
    """Highest harmonic whose bin lies below 0.45 of the sampling rate; those above it are missing."""
    return (valid_bins - 1) // cycles


def harmonics(bins: Phasors, cycles: int, valid_bins: I64 | None = None, *, highest: int = HARMONICS) -> C128:
    """Phasors of the harmonics 0 (mean) to ``highest``: complex (w, channels, highest + 1).

    Parameters
    ----------
    bins:
        complex (w, channels, bins), as in `WindowColumns`.
    cycles:
        Cycles of the window.
    valid_bins:
        (w,) bins that were measured; None: all. Harmonics beyond them are NaN.
    """
    count = _valid(bins, cycles, valid_bins)
    found = np.full((*bins.shape[:2], highest + 1), np.nan + 0j, np.complex128)
    there = bins[..., ::cycles][..., : highest + 1]
    found[..., : there.shape[-1]] = there
    found[np.broadcast_to((np.arange(highest + 1) * cycles >= count[:, None])[:, None], found.shape)] = np.nan
    return found


def referred(phasors: C128, u1: Phasors) -> C128:
    """Harmonics with their phase angles referred to the fundamental voltage of the first phase.

    Parameters
    ----------
    phasors:
        (w, channels, h) harmonics from 0 on.
    u1:
        (w,) phasor of the fundamental voltage of phase 1. Where it is zero nothing is turned.

    Notes
    -----
    The angle of harmonic h is ``arg X_h - h * arg U_1``: a shift of the window leaves it as it is.
    """
    order = np.arange(phasors.shape[-1])
    turned: C128 = phasors * np.exp(-1j * order * np.angle(u1)[:, None])[:, None, :]
    return turned


def groups(bins: Phasors, cycles: int, valid_bins: I64 | None = None, *, highest: int = HARMONICS) -> F64:
    """Rms of harmonic groups, half way to the neighbours (whose powers count half): (w, channels, h)."""
    return _powers(bins, cycles, valid_bins, highest, -(cycles // 2), cycles // 2, 0.5)


def subgroups(bins: Phasors, cycles: int, valid_bins: I64 | None = None, *, highest: int = HARMONICS) -> F64:
    """Rms of harmonic subgroups: a harmonic and the bins beside it; entry 0 is the mean alone."""
    return _powers(bins, cycles, valid_bins, highest, -1, 1, 1.0)


def interharmonic_groups(
    bins: Phasors, cycles: int, valid_bins: I64 | None = None, *, highest: int = HARMONICS
) -> F64:
    """Rms of interharmonic groups: all bins between harmonic h and h + 1, h from 0."""
    return _powers(bins, cycles, valid_bins, highest, 1, cycles - 1, 1.0)


def interharmonic_subgroups(
    bins: Phasors, cycles: int, valid_bins: I64 | None = None, *, highest: int = HARMONICS
) -> F64:
    """Rms of interharmonic centred subgroups: without the bins beside the harmonics (10 cycles: +2 .. +8)."""
    return _powers(bins, cycles, valid_bins, highest, 2, cycles - 2, 1.0)


def total_distortion(rms: F64, *, highest: int = HARMONICS) -> F64:
    """Root of the sum of squares of entries 2 to ``highest``, divided by entry 1: (w, channels).

    Of harmonics this is THD, of groups THDG, of subgroups THDS. Entries that were not measured (NaN) are
    left out; a fundamental of zero gives NaN.
    """
    squares = np.square(rms[..., : highest + 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.sqrt(np.nansum(squares[..., 2:], axis=-1) / squares[..., 1])
    return np.where(squares[..., 1] > 0.0, ratio, np.nan)


def high_bands(bins: Phasors, cycles: int, f_hz: F64, valid_bins: I64 | None = None) -> HighBands:
    """Rms in bands of 200 Hz from 2 kHz to 9 kHz; a bin counts from above b - 100 Hz to b + 100 Hz.

    Parameters
    ----------
    f_hz:
        (w,) fundamental frequency.
    """
    count = _valid(bins, cycles, valid_bins)
    centre = np.arange(2100.0, 9000.0, BAND_HZ)
    step = f_hz / cycles
    cumulative = np.zeros((*bins.shape[:2], bins.shape[2] + 1))
    np.cumsum(np.square(np.abs(bins)), axis=-1, out=cumulative[..., 1:])
    edge = np.floor((centre[None, :] - BAND_HZ / 2) / step[:, None]).astype(np.int64) + 1
    last = np.floor((centre[None, :] + BAND_HZ / 2) / step[:, None]).astype(np.int64) + 1
    limit = bins.shape[2]
    low = np.take_along_axis(cumulative, np.minimum(edge, limit)[:, None, :], axis=-1)
    high = np.take_along_axis(cumulative, np.minimum(last, limit)[:, None, :], axis=-1)
    rms = np.sqrt(np.maximum(high - low, 0.0))
    rms[np.broadcast_to((last > count[:, None])[:, None, :], rms.shape)] = np.nan
    return HighBands(centre, rms)


def _valid(bins: Phasors, cycles: int, valid_bins: I64 | None) -> I64:
    if bins.ndim != 3:
        raise MeteringError(f"bins of shape {bins.shape}", expected="(windows, channels, bins)")
    if cycles < 1:
        raise MeteringError(f"windows of {cycles} cycles", expected="1 or more")
    if valid_bins is None:
        return np.full(bins.shape[0], bins.shape[2], np.int64)
    if valid_bins.shape != bins.shape[:1]:
        raise MeteringError(f"valid_bins of shape {valid_bins.shape}", expected=f"({bins.shape[0]},)")
    return np.minimum(valid_bins, bins.shape[2])


def _powers(
    bins: Phasors, cycles: int, valid_bins: I64 | None, highest: int, low: int, high: int, outer: float
) -> F64:
    result = np.empty((*bins.shape[:2], highest + 1))
    _root_powers(bins, _valid(bins, cycles, valid_bins), cycles, low, high, outer, result)
    return result


@njit(cache=True, nogil=True)
def _root_powers(
    bins: Phasors, valid: I64, cycles: int, low: int, high: int, outer: float, result: F64
) -> None:  # pragma: no cover - compiled
    """Roots of sums of squares from bin ``cycles * h + low`` to ``+ high``, the outermost times ``outer``."""
    squares = np.empty(bins.shape[2])
    for window in range(bins.shape[0]):
        for channel in range(bins.shape[1]):
            for k in range(valid[window]):
                value = bins[window, channel, k]
                squares[k] = float(value.real) * float(value.real) + float(value.imag) * float(value.imag)
            for order in range(result.shape[2]):
                first = order * cycles + low
                last = order * cycles + high
                if last >= valid[window]:
                    result[window, channel, order] = np.nan
                elif first < 0:
                    result[window, channel, order] = np.sqrt(squares[0])
                else:
                    total = outer * (squares[first] + squares[last])
                    for k in range(first + 1, last):
                        total += squares[k]
                    result[window, channel, order] = np.sqrt(total)

"""Spectra of windows in single precision, all channels of two windows at once.

Interleave, resample, transform: the fast way of `resampling.py` followed by a Fourier transform; same
kernel, same response divided out. Samples are rounded to 24 bits, weights and transform to float32: that
costs 0.1 ppm of the fundamental, 0.3 ppm of a harmonic a twentieth of it, and leaves a floor below 2e-8 of
the fundamental in the lower third of the spectrum and below 2e-6 at its upper end, where the kernel's
response is small.

The rule never to be broken here: a window's spectrum does not depend on the window beside it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.metrology.windows.fourier import Complex, Transform, transform, transform_lanes
from openami.metrology.windows.lanes import (
    CHANNELS,
    LANES,
    Value,
    load,
    load_samples,
    splat,
    splat_two,
    spread,
    store,
    store_interleaved,
    store_sum_of_halves,
)
from openami.metrology.windows.resampling import BEFORE, PHASES, TAPS, inverse_response, kernel_table
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
C64 = npt.NDArray[np.complex64]
Samples = npt.NDArray[np.float64 | np.int32]

OVERREAD = LANES
"""Samples that are read, and not used, behind the last one that a window needs."""


_UNIT = 2.0**40
_PART = np.float32(2.0**-24)  # of a row: 256 of them, `PHASES`, make a sample


class LaneSpectra:
    """Spectra of windows of a given number of points.

    Invariant: the buffers are as long as the longest window needs. They are work space, not state: what was
    in them changes no result. One object serves one thread at a time.

    Parameters
    ----------
    points:
        Points of a window, a power of two from 16 on.
    longest:
        Samples of the longest window.
    u_scale, i_scale:
        (phases,) and (currents,), V and A a unit of the samples; at most three and four.
    """

    def __init__(self, points: int, longest: int, u_scale: F64, i_scale: F64) -> None:
        self._points = points
        self._longest = longest
        self._phases, self._currents = u_scale.size, i_scale.size
        self._scale = lane_scale(u_scale, i_scale, points)
        self._transform = transform(points)
        self._rows = aligned(rows_needed(longest) * CHANNELS)
        self._x = aligned(points * LANES)
        self._y = aligned(points * LANES)

    def __call__(self, u: Samples, i: Samples, sample: I64, fraction: F64, length: F64) -> tuple[C64, C64]:
        """Rms phasors, complex64 (w, phases, points / 2) and (w, currents, points / 2).

        Parameters
        ----------
        u, i:
            (phases, samples) and (currents, samples), C-contiguous, of one type.
        sample, fraction, length:
            (w,) whole sample (index into ``u``) and fraction of the start, length in samples.

        Raises
        ------
        MeteringError
            A window is longer than the longest one said.
        """
        if length.max(initial=0.0) > self._longest:
            raise MeteringError(f"a window of {length.max():.1f} samples", expected=f"up to {self._longest}")
        bins = self._points // 2
        inverse = inverse_response(1.0 / length, bins)
        inverse[:, 0] /= np.sqrt(2.0)
        u_bins = np.empty((sample.size, self._phases, bins), np.complex64)
        i_bins = np.empty((sample.size, self._currents, bins), np.complex64)
        _lane_spectra(
            u, i, sample, fraction, length, lane_table(), self._transform, inverse.astype(np.float32),
            self._scale, self._rows, self._x, self._y, u_bins.reshape(-1).view(np.float32),
            i_bins.reshape(-1).view(np.float32),
        )  # fmt: skip
        return u_bins, i_bins


@lru_cache(maxsize=1)
def lane_table() -> F32:
    """The kernel's weights, float32, a row of sixteen a phase (six of them zero), flat."""
    table = np.zeros((PHASES + 1, LANES), np.float32)
    table[:, :TAPS] = kernel_table()
    flat = aligned(table.size)
    flat[:] = table.ravel()
    return flat


def lane_scale(u_scale: F64, i_scale: F64, points: int) -> F32:
    """What takes twice a sum over points to rms V and A, float32 (16,), by lane."""
    scale = np.zeros(CHANNELS)
    scale[: u_scale.size + i_scale.size] = np.concatenate((u_scale, i_scale)) / (np.sqrt(2.0) * points)
    return np.tile(scale.astype(np.float32), LANES // CHANNELS)


def rows_needed(longest: int) -> int:
    """Rows that `interleave` writes for a window of so many samples, at most."""
    return longest + TAPS + 2 * LANES


def aligned(size: int) -> F32:
    """Float32 at a multiple of 64 bytes: no value of sixteen lies across two cache lines."""
    buffer = np.empty(size + LANES, np.float32)
    offset = (-buffer.ctypes.data // buffer.itemsize) % LANES
    return buffer[offset : offset + size]


@njit(cache=True, nogil=True)
def interleave(
    u: Samples, i: Samples, first: int, length: float, out: F32
) -> None:  # pragma: no cover - compiled
    """Rows of eight channels, voltages before currents, from ``first`` on; further lanes repeat a current."""
    rows = (int(length) + TAPS + LANES) // LANES * LANES
    phases, currents = u.shape[0], i.shape[0]
    a0 = u[0, first : first + rows]
    a1 = u[1, first : first + rows] if phases > 1 else i[0, first : first + rows]
    a2 = u[2, first : first + rows] if phases > 2 else i[min(2 - phases, currents - 1), first : first + rows]
    a3 = i[min(3 - phases, currents - 1), first : first + rows]
    a4 = i[min(4 - phases, currents - 1), first : first + rows]
    a5 = i[min(5 - phases, currents - 1), first : first + rows]
    a6 = i[min(6 - phases, currents - 1), first : first + rows]
    for k in range(0, rows, LANES):
        last = load_samples(a6, k)
        values = (
            load_samples(a0, k), load_samples(a1, k), load_samples(a2, k), load_samples(a3, k),
            load_samples(a4, k), load_samples(a5, k), last, last,
        )  # fmt: skip
        store_interleaved(out, CHANNELS * k, values)


@njit(cache=True, nogil=True)
def places(fraction: float, step: float, row: I64, at: I64, part: F32) -> None:  # pragma: no cover - compiled
    """Where each point lies: first sample's place in the lanes, row of the table, rest between rows.

    Counted in 2**-40 of a sample: a thousand steps are off by less than 1e-9 sample.
    """
    place = np.int64(fraction * _UNIT + 0.5)
    stride = np.int64(step * _UNIT + 0.5)
    for point in range(row.size):
        at[point] = (place >> 40) * CHANNELS
        row[point] = ((place >> 32) & (PHASES - 1)) * LANES
        part[point] = np.float32(np.int32((place >> 8) & 0xFFFFFF)) * _PART
        place += stride


@njit(cache=True, nogil=True)
def resample_lanes(
    x: F32, row: I64, at: I64, part: F32, table: F32, half: int, out: F32
) -> None:  # pragma: no cover - compiled
    """Points of one window from interleaved samples; a value holds two taps of eight channels."""
    for point in range(row.size):
        weights = load(table, row[point])
        weights = weights + splat(part[point]) * (load(table, row[point] + LANES) - weights)
        first = at[point]
        total = spread(weights, 0) * load(x, first)
        other = spread(weights, 1) * load(x, first + LANES)
        total = total + spread(weights, 2) * load(x, first + 2 * LANES)
        other = other + spread(weights, 3) * load(x, first + 3 * LANES)
        total = total + spread(weights, 4) * load(x, first + 4 * LANES)
        store_sum_of_halves(out, LANES * point + CHANNELS * half, total + other)


@njit(nogil=True, inline="always")
def _bin(z: F32, k: int, plan: Transform, factor: Value) -> Complex:  # pragma: no cover - compiled
    """Bin k of the real transform, times two and ``factor``: from the complex one's numbers k and n - k."""
    size = z.size // (2 * LANES)
    mirror = size - k if k > 0 else 0
    a, b = load(z, 2 * LANES * k), load(z, 2 * LANES * k + LANES)
    c, d = load(z, 2 * LANES * mirror), load(z, 2 * LANES * mirror + LANES)
    cosine, sine = splat(plan.split[2 * k]), splat(plan.split[2 * k + 1])
    odd_real, odd_imaginary = b + d, c - a
    real = a + c + cosine * odd_real + sine * odd_imaginary
    imaginary = b - d + cosine * odd_imaginary - sine * odd_real
    return real * factor, imaginary * factor


@njit(cache=True, nogil=True)
def bins_of_lanes(
    z: F32, plan: Transform, first: F32, second: F32, scale: F32, block: F32, window: int, both: int,
    phases: int, currents: int, u_bins: F32, i_bins: F32,
) -> None:  # pragma: no cover - compiled  # fmt: skip
    """Bins of one or two windows, eight at a time, turned from lanes into rows of complex numbers."""
    unit = load(scale, 0)
    for k in range(0, first.size, 8):
        b0 = _bin(z, k, plan, unit * splat_two(first[k], second[k]))
        b1 = _bin(z, k + 1, plan, unit * splat_two(first[k + 1], second[k + 1]))
        b2 = _bin(z, k + 2, plan, unit * splat_two(first[k + 2], second[k + 2]))
        b3 = _bin(z, k + 3, plan, unit * splat_two(first[k + 3], second[k + 3]))
        b4 = _bin(z, k + 4, plan, unit * splat_two(first[k + 4], second[k + 4]))
        b5 = _bin(z, k + 5, plan, unit * splat_two(first[k + 5], second[k + 5]))
        b6 = _bin(z, k + 6, plan, unit * splat_two(first[k + 6], second[k + 6]))
        b7 = _bin(z, k + 7, plan, unit * splat_two(first[k + 7], second[k + 7]))
        rows = (
            b0[0], b0[1], b1[0], b1[1], b2[0], b2[1], b3[0], b3[1],
            b4[0], b4[1], b5[0], b5[1], b6[0], b6[1], b7[0], b7[1],
        )  # fmt: skip
        store_interleaved(block, 0, rows)
        for half in range(both):
            row = LANES * CHANNELS * half
            for phase in range(phases):
                to = ((window + half) * phases + phase) * 2 * first.size + 2 * k
                store(u_bins, to, load(block, row + LANES * phase))
            row += LANES * phases
            for current in range(currents):
                to = ((window + half) * currents + current) * 2 * first.size + 2 * k
                store(i_bins, to, load(block, row + LANES * current))


@njit(cache=True, nogil=True)
def _lane_spectra(
    u: Samples, i: Samples, sample: I64, fraction: F64, length: F64, table: F32, plan: Transform,
    inverse: F32, scale: F32, rows: F32, x: F32, y: F32, u_bins: F32, i_bins: F32,
) -> None:  # pragma: no cover - compiled  # fmt: skip
    points = x.size // LANES
    block = np.empty(LANES * LANES, np.float32)
    row, at, part = np.empty(points, np.int64), np.empty(points, np.int64), np.empty(points, np.float32)
    for window in range(0, sample.size, 2):
        both = min(2, sample.size - window)
        for half in range(2):
            one = window + min(half, both - 1)
            interleave(u, i, sample[one] - BEFORE, fraction[one] + length[one], rows)
            places(fraction[one], length[one] / points, row, at, part)
            resample_lanes(rows, row, at, part, table, half, x)
        z = transform_lanes(x, y, plan)
        bins_of_lanes(
            z, plan, inverse[window], inverse[window + both - 1], scale, block, window, both, u.shape[0],
            i.shape[0], u_bins, i_bins,
        )  # fmt: skip

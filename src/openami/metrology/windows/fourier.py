"""Fourier transform of real points over lanes: sixteen transforms at once, of two windows of eight channels.

``2 n`` real points are ``n`` complex ones (even points real, odd ones imaginary), transformed by Stockham's
self-sorting scheme in passes of radix 8, 4 and 2, and taken apart into the ``n`` bins of the real
transform. Buffers are flat float32: row r holds lanes ``16 r .. 16 r + 15``; complex number k lies in rows
2k and 2k + 1.

The rule never to be broken here: twiddle factors are rounded from float64, never made by recurrence; the
error of a bin stays below 2e-8 of the greatest one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.metrology.windows.lanes import LANES, Value, load, splat, store

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

Complex = tuple[Value, Value]
"""Real and imaginary parts."""

_ROOT_HALF = np.float32(np.sqrt(0.5))


class Transform(NamedTuple):
    """What a transform of a given size needs."""

    radices: I64
    """(passes,), 8, 4 or 2."""
    twiddles: F32
    """Cosine and sine of each pass's factors, one pass after the other."""
    split: F32
    """(n, 2), cosine and sine of pi k / n, for taking the real transform apart."""


@lru_cache(maxsize=16)
def transform(points: int) -> Transform:
    """Tables for ``points`` real points, a power of two from 16 on."""
    size = points // 2
    left = size.bit_length() - 1
    radices = [8] * (left // 3) + ([1 << left % 3] if left % 3 else [])
    parts = []
    length = size
    for radix in radices:
        p = np.arange(length // radix)[:, None] * np.arange(1, radix)
        angle = -2.0 * np.pi * p / length
        parts.append(np.stack((np.cos(angle), np.sin(angle)), axis=-1).ravel())
        length //= radix
    k = np.pi * np.arange(size) / size
    split = np.stack((np.cos(k), np.sin(k)), axis=-1)
    return Transform(
        np.array(radices, np.int64),
        np.concatenate(parts).astype(np.float32),
        split.astype(np.float32).ravel(),
    )


@njit(nogil=True, inline="always")
def _read(x: F32, k: int) -> Complex:  # pragma: no cover - compiled
    return load(x, 2 * LANES * k), load(x, 2 * LANES * k + LANES)


@njit(nogil=True, inline="always")
def _write(y: F32, k: int, value: Complex) -> None:  # pragma: no cover - compiled
    store(y, 2 * LANES * k, value[0])
    store(y, 2 * LANES * k + LANES, value[1])


@njit(nogil=True, inline="always")
def _sum(a: Complex, b: Complex) -> Complex:  # pragma: no cover - compiled
    return a[0] + b[0], a[1] + b[1]


@njit(nogil=True, inline="always")
def _difference(a: Complex, b: Complex) -> Complex:  # pragma: no cover - compiled
    return a[0] - b[0], a[1] - b[1]


@njit(nogil=True, inline="always")
def _difference_turned(a: Complex, b: Complex) -> Complex:  # pragma: no cover - compiled
    """-j (a - b)."""
    return a[1] - b[1], b[0] - a[0]


@njit(nogil=True, inline="always")
def _twiddled(twiddles: F32, at: int, a: Complex) -> Complex:  # pragma: no cover - compiled
    cosine = splat(twiddles[at])
    sine = splat(twiddles[at + 1])
    return a[0] * cosine - a[1] * sine, a[1] * cosine + a[0] * sine


@njit(cache=True, nogil=True)
def _pass_2(x: F32, y: F32, stride: int, length: int, w: F32, at: int) -> None:  # pragma: no cover - compiled
    m = length // 2
    for p in range(m):
        t = at + 2 * p
        for q in range(stride):
            a = _read(x, q + stride * p)
            b = _read(x, q + stride * (p + m))
            _write(y, q + stride * 2 * p, _sum(a, b))
            _write(y, q + stride * (2 * p + 1), _twiddled(w, t, _difference(a, b)))


@njit(cache=True, nogil=True)
def _pass_4(x: F32, y: F32, stride: int, length: int, w: F32, at: int) -> None:  # pragma: no cover - compiled
    m = length // 4
    for p in range(m):
        t = at + 6 * p
        for q in range(stride):
            a = _read(x, q + stride * p)
            b = _read(x, q + stride * (p + m))
            c = _read(x, q + stride * (p + 2 * m))
            d = _read(x, q + stride * (p + 3 * m))
            ac, bd = _sum(a, c), _sum(b, d)
            a_c, b_d = _difference(a, c), _difference_turned(b, d)
            to = q + stride * 4 * p
            _write(y, to, _sum(ac, bd))
            _write(y, to + stride, _twiddled(w, t, _sum(a_c, b_d)))
            _write(y, to + 2 * stride, _twiddled(w, t + 2, _difference(ac, bd)))
            _write(y, to + 3 * stride, _twiddled(w, t + 4, _difference(a_c, b_d)))


@njit(cache=True, nogil=True)
def _pass_8(x: F32, y: F32, stride: int, length: int, w: F32, at: int) -> None:  # pragma: no cover - compiled
    m = length // 8
    root = splat(_ROOT_HALF)
    for p in range(m):
        t = at + 14 * p
        for q in range(stride):
            at_p = q + stride * p
            step = stride * m
            a0 = _read(x, at_p)
            a4 = _read(x, at_p + 4 * step)
            s0, d0 = _sum(a0, a4), _difference(a0, a4)
            a2 = _read(x, at_p + 2 * step)
            a6 = _read(x, at_p + 6 * step)
            s2, d2 = _sum(a2, a6), _difference_turned(a2, a6)
            a1 = _read(x, at_p + step)
            a5 = _read(x, at_p + 5 * step)
            s1, d1 = _sum(a1, a5), _difference(a1, a5)
            a3 = _read(x, at_p + 3 * step)
            a7 = _read(x, at_p + 7 * step)
            s3, d3 = _sum(a3, a7), _difference_turned(a3, a7)
            # even outputs: a transform of four over s0 s1 s2 s3; odd ones: over d0 d1 d2 d3 turned by eighths
            e0, e1 = _sum(s0, s2), _difference(s0, s2)
            f0, f1 = _sum(s1, s3), _difference_turned(s1, s3)
            to = q + stride * 8 * p
            _write(y, to, _sum(e0, f0))
            _write(y, to + 4 * stride, _twiddled(w, t + 6, _difference(e0, f0)))
            _write(y, to + 2 * stride, _twiddled(w, t + 2, _sum(e1, f1)))
            _write(y, to + 6 * stride, _twiddled(w, t + 10, _difference(e1, f1)))
            g0, g1 = _sum(d0, d2), _difference(d0, d2)
            h0, h1 = _sum(d1, d3), _difference(d1, d3)
            h0 = ((h0[0] + h0[1]) * root, (h0[1] - h0[0]) * root)
            h1 = ((h1[1] - h1[0]) * root, splat(np.float32(0.0)) - (h1[0] + h1[1]) * root)
            _write(y, to + stride, _twiddled(w, t, _sum(g0, h0)))
            _write(y, to + 5 * stride, _twiddled(w, t + 8, _difference(g0, h0)))
            _write(y, to + 3 * stride, _twiddled(w, t + 4, _sum(g1, h1)))
            _write(y, to + 7 * stride, _twiddled(w, t + 12, _difference(g1, h1)))


@njit(cache=True, nogil=True)
def transform_lanes(x: F32, y: F32, plan: Transform) -> F32:  # pragma: no cover - compiled
    """Complex transform of the rows of ``x``; overwrites both buffers, returns the one with the result."""
    length = x.size // (2 * LANES)
    stride = 1
    at = 0
    for radix in plan.radices:
        if radix == 8:
            _pass_8(x, y, stride, length, plan.twiddles, at)
        elif radix == 4:
            _pass_4(x, y, stride, length, plan.twiddles, at)
        else:
            _pass_2(x, y, stride, length, plan.twiddles, at)
        at += 2 * (radix - 1) * (length // radix)
        length //= radix
        stride *= radix
        x, y = y, x
    return x

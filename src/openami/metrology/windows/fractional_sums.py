"""Integrals over windows with real-valued edges: rms values and active power from the samples themselves.

A sum over whole samples plus, at either edge, a correction from the ten samples around it: the
Euler-Maclaurin formula with differences instead of derivatives (Gregory's formula, centred), taken at a
fractional place. It is exact for polynomials of degree nine, and for periodic signals in the limit where
the plain sum is. Because an edge's correction does not know on which side of it a window lies, windows that
share an edge share no energy and lose none: the integral over two windows is that over their union.

The rule never to be broken here: power is the mean of u * i, never a product of means.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numba import njit

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Samples = npt.NDArray[np.float64 | np.int32]

STENCIL = 10
"""Samples that correct an edge."""

STENCIL_BEFORE = STENCIL // 2 - 1
"""Of these, how many lie before the sample at or before the edge."""


@lru_cache(maxsize=1)
def edge_polynomials() -> F64:
    """Weights of an edge's samples as polynomials in its fraction, float64 (11, 10), lowest power first.

    With ``F(m + d) = sum of g[k] over k < m - 4, + sum over j of E_j(d) g[m + j]``, ``F(b) - F(a)`` is the
    integral of ``g`` from a to b for every polynomial of degree nine. E_j follows from Lagrange's basis
    polynomial of node j: its integral from 0 to d, less its sum over all k < -4 in the sense of Bernoulli's
    polynomials, ``sum of k**n over k < a = B_(n+1)(a) / (n + 1)``.
    """
    nodes = np.arange(-STENCIL_BEFORE, STENCIL - STENCIL_BEFORE)
    below = np.array([_bernoulli(n + 1, float(nodes[0])) / (n + 1) for n in range(STENCIL)])
    weights = np.zeros((STENCIL + 1, STENCIL))
    for column, node in enumerate(nodes):
        others = np.delete(nodes, column)
        basis = np.poly(others)[::-1] / np.prod((node - others).astype(float))
        weights[1:, column] = basis / np.arange(1, STENCIL + 1)
        weights[0, column] = -float(basis @ below)
    return weights


def _bernoulli(order: int, x: float) -> float:
    """Bernoulli's polynomial B_order(x)."""
    numbers = [1.0]
    for m in range(1, order + 1):
        row = 1.0
        total = 0.0
        for k in range(m):
            total += row * numbers[k]
            row = row * (m + 1 - k) / (k + 1)
        numbers.append(-total / (m + 1))
    result = 0.0
    binomial = 1.0
    for k in range(order + 1):
        result += binomial * numbers[k] * x ** (order - k)
        binomial = binomial * (order - k) / (k + 1)
    return result


def window_sums(
    u: Samples,
    i: Samples,
    sample: I64,
    fraction: F64,
    length: F64,
    u_square: F64,
    i_square: F64,
    product: F64,
) -> None:
    """Means of u*u, i*i and u*i over windows, in squares of the units of ``u`` and ``i``.

    Parameters
    ----------
    u, i:
        (phases, samples) and (currents, samples), currents >= phases; row p of both makes phase p.
    sample, fraction, length:
        (w,) whole sample (index into ``u``) and fraction of the start, length in samples.
    u_square, i_square, product:
        Results, float64 (w, phases), (w, currents), (w, phases).
    """
    _window_sums(u, i, sample, fraction, length, edge_polynomials(), u_square, i_square, product)


@njit(cache=True, nogil=True)
def _edge_weights(fraction: float, polynomials: F64, weights: F64) -> None:  # pragma: no cover - compiled
    degree = polynomials.shape[0] - 1
    for j in range(STENCIL):
        value = polynomials[degree, j]
        for n in range(degree - 1, -1, -1):
            value = value * fraction + polynomials[n, j]
        weights[j] = value


@njit(cache=True, nogil=True, fastmath=True)  # sums may be reordered: an error of 1e-13 of the sum
def _three_sums(a: Samples, b: Samples) -> tuple[float, float, float]:  # pragma: no cover - compiled
    aa = 0.0
    bb = 0.0
    ab = 0.0
    for k in range(a.size):
        x = float(a[k])
        y = float(b[k])
        aa += x * x
        bb += y * y
        ab += x * y
    return aa, bb, ab


@njit(cache=True, nogil=True)
def _edge_sums(
    a: Samples, b: Samples, weights: F64
) -> tuple[float, float, float]:  # pragma: no cover - compiled
    aa = 0.0
    bb = 0.0
    ab = 0.0
    for k in range(STENCIL):
        x = float(a[k])
        y = float(b[k])
        aa += weights[k] * x * x
        bb += weights[k] * y * y
        ab += weights[k] * x * y
    return aa, bb, ab


@njit(cache=True, nogil=True)
def _window_sums(
    u: Samples, i: Samples, sample: I64, fraction: F64, length: F64, polynomials: F64, u_square: F64,
    i_square: F64, product: F64,
) -> None:  # pragma: no cover - compiled  # fmt: skip
    left = np.empty(STENCIL)
    right = np.empty(STENCIL)
    phases = u.shape[0]
    for window in range(sample.size):
        end = fraction[window] + length[window]
        whole = int(np.floor(end))
        _edge_weights(fraction[window], polynomials, left)
        _edge_weights(end - whole, polynomials, right)
        first = sample[window] - STENCIL_BEFORE
        last = first + whole
        scale = 1.0 / length[window]
        for channel in range(i.shape[0]):
            a = u[min(channel, phases - 1)]
            b = i[channel]
            aa, bb, ab = _three_sums(a[first:last], b[first:last])
            left_aa, left_bb, left_ab = _edge_sums(
                a[first : first + STENCIL], b[first : first + STENCIL], left
            )
            right_aa, right_bb, right_ab = _edge_sums(
                a[last : last + STENCIL], b[last : last + STENCIL], right
            )
            i_square[window, channel] = scale * (bb - left_bb + right_bb)
            if channel < phases:
                u_square[window, channel] = scale * (aa - left_aa + right_aa)
                product[window, channel] = scale * (ab - left_ab + right_ab)

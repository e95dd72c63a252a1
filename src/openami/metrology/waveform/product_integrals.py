"""Integrals of products of gated sinusoids, in closed form.

The product of two sinusoids is half the difference of their beat at f_a - f_b and their beat at f_a + f_b;
about the middle of the common interval of length T each integrates to spherical Bessel functions of
z = pi F T (DLMF 10.49), which have no cancellation where frequencies meet. Beats of rows whose frequency
moves are integrated by Gauss-Legendre over panels of a few turns. Never to be broken: every number
comes with a bound of its error, and nothing here is shared with what measures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openami.metrology.waveform.instants import two_product
from openami.metrology.waveform.pieces import Pieces, joined, overlaps, turns_after

F64 = npt.NDArray[np.float64]
C128 = npt.NDArray[np.complex128]

ROUNDINGS = 16
"""Roundings of 2^-52 charged to each beat: about twice what amplitudes, phases, Bessel functions and the sum
add up to. (A rounding of F is divided by F again, for the beat is at most 1 / (pi F).)"""

PANEL_TURNS = 4
GAUSS_NODES = 26
"""Per panel of at most `PANEL_TURNS` turns. On the Bernstein ellipse of radius 4 the integrand is below
exp(2 pi (4^2 - 4^-2) / 4) = 8e10 amplitudes, and below twenty times that where both amplitudes move, so the
error is below 64/15 2e12 4^-52 / (1 - 4^-2) < 1e-18 of amplitude and panel (Trefethen, SIAM Review 50, 2008).
"""

_EPSILON = float(np.finfo(np.float64).eps)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(GAUSS_NODES)
_PANELS_AT_ONCE = 8192
_SERIES_BELOW = 1.0
_ORDERS = np.arange(12)
_FACTORIALS = np.array([math.factorial(n) for n in range(25)], dtype=np.float64)
_J1_SERIES = (-1.0) ** _ORDERS / (_FACTORIALS[2 * _ORDERS + 1] * (2 * _ORDERS + 3))
_SQUARE_SERIES = (-1.0) ** _ORDERS / (_FACTORIALS[2 * _ORDERS] * (2 * _ORDERS + 3))


@dataclass(frozen=True, slots=True)
class Integral:
    """A number and the bound of its error, both absolute."""

    value: float
    uncertainty: float


@dataclass(frozen=True, slots=True)
class SlowIntegral:
    """The slow part of a product as a complex number (active, reactive), and the bound of either's error."""

    value: complex
    uncertainty: float


def product_integral(a: Pieces, b: Pieces) -> Integral:
    """Integral of a(t) b(t) over the time in which both have rows.

    Raises
    ------
    MeteringError
        When the two count from different origins.
    """
    a, b = _in_common(a, b)
    difference, difference_bound = _beats(a, b, -1.0)
    total, total_bound = _beats(a, b, 1.0)
    value = math.fsum((difference.real / 2).tolist() + (-total.real / 2).tolist())
    return Integral(value, (difference_bound + total_bound) / 2 + _edges_bound(a, b))


def slow_product_integral(a: Pieces, b: Pieces) -> SlowIntegral:
    """Integral of A_a A_b / 2 exp(j (angle_a - angle_b)): the product without its beat at the sum.

    For voltage and current of one fundamental the real part is the active, the imaginary part the reactive
    energy (positive: current lags).

    Raises
    ------
    MeteringError
        When the two count from different origins.
    """
    a, b = _in_common(a, b)
    beats, bound = _beats(a, b, -1.0)
    value = complex(math.fsum((beats.real / 2).tolist()), math.fsum((beats.imag / 2).tolist()))
    return SlowIntegral(value, bound / 2 + _edges_bound(a, b))


def mean_integral(a: Pieces, end_s: float) -> Integral:
    """Integral of a(t) alone, over ``[0, end_s)`` from its origin."""
    return product_integral(a, _one(a, end_s))


def _one(a: Pieces, end_s: float) -> Pieces:
    column = np.zeros(1)
    return Pieces(a.origin_s, column, column + end_s, column, column + 1.0, column + 0.25, column, column)


def _in_common(a: Pieces, b: Pieces) -> tuple[Pieces, Pieces]:
    """Rows of a and of b, pair by pair, cut to the time they have in common."""
    joined(a.origin_s, [b])
    row_a, row_b = overlaps(a.begin_s, a.end_s, b.begin_s, b.end_s)
    begin = np.maximum(a.begin_s[row_a], b.begin_s[row_b])
    end = np.minimum(a.end_s[row_a], b.end_s[row_b])
    return a.cut(row_a, begin, end), b.cut(row_b, begin, end)


def _edges_bound(a: Pieces, b: Pieces) -> float:
    """What a rounding of the instants at which rows begin and end can do."""
    if not len(a):
        return 0.0
    length = a.end_s - a.begin_s
    peak = np.abs(a.amplitude) + np.abs(a.slope_per_s) * length
    peak *= np.abs(b.amplitude) + np.abs(b.slope_per_s) * length
    rounded = (a.begin_s > 0).astype(np.float64) + 1.0
    return float(_EPSILON * a.end_s.max() * np.sum(peak * rounded))


def _beats(a: Pieces, b: Pieces, sign: float) -> tuple[C128, float]:
    """Integrals of A_a A_b exp(j (angle_a + sign angle_b)) for each pair of rows, and their error bound."""
    chirped = (a.chirp_hz_per_s + sign * b.chirp_hz_per_s) != 0
    if not chirped.any():
        return _steady_beats(a, b, sign)
    steady, moving = np.flatnonzero(~chirped), np.flatnonzero(chirped)
    first, first_bound = _steady_beats(a.rows(steady), b.rows(steady), sign)
    second, second_bound = _moving_beats(a.rows(moving), b.rows(moving), sign)
    return np.concatenate((first, second)), first_bound + second_bound


def _steady_beats(a: Pieces, b: Pieces, sign: float) -> tuple[C128, float]:
    length = a.end_s - a.begin_s
    half = length / 2
    frequency = a.frequency_hz + sign * b.frequency_hz
    product, error = two_product(half, frequency)
    turns = (product - np.rint(product)) + error
    # Two equal chirps leave a steady beat: their bends cancel in the difference.
    phase = a.phase_turn + sign * b.phase_turn + turns
    z = 2 * np.pi * half * frequency
    level_a, level_b = a.amplitude + a.slope_per_s * half, b.amplitude + b.slope_per_s * half
    flat = level_a * level_b * length
    tilt = (level_a * b.slope_per_s + level_b * a.slope_per_s) * length * half
    bend = a.slope_per_s * b.slope_per_s * length * half * half
    j0, j1, square = _moments(z, turns)
    sine, cosine = _sine_and_cosine(phase)
    beats = (cosine + 1j * sine) * (flat * j0 + bend * square + 1j * tilt * j1)
    size = np.abs(flat) + np.abs(tilt) + np.abs(bend)
    weight = np.minimum(1.0, 1.0 / np.maximum(np.abs(z), 1e-300))
    return beats, float(ROUNDINGS * _EPSILON * np.sum(size * weight))


def _moving_beats(a: Pieces, b: Pieces, sign: float) -> tuple[C128, float]:
    out = np.empty(len(a), dtype=np.complex128)
    bound = 0.0
    for row in range(len(a)):
        length = float(a.end_s[row] - a.begin_s[row])
        frequency = float(a.frequency_hz[row] + sign * b.frequency_hz[row])
        chirp = float(a.chirp_hz_per_s[row] + sign * b.chirp_hz_per_s[row])
        phase = float(a.phase_turn[row] + sign * b.phase_turn[row])
        fastest = max(abs(frequency), abs(frequency + chirp * length))
        panels = math.ceil(fastest * length / PANEL_TURNS) + 1
        width = length / panels
        reals, imaginaries = [], []
        for first in range(0, panels, _PANELS_AT_ONCE):
            start = np.arange(first, min(first + _PANELS_AT_ONCE, panels)) * width
            column = np.ones(start.shape[0])
            at_start = turns_after(phase * column, frequency * column, chirp * column, start * column)
            d = width / 2 * (_NODES + 1)
            turns = at_start[:, None] + (frequency + chirp * start)[:, None] * d + chirp / 2 * d * d
            time = start[:, None] + d
            level = a.amplitude[row] + a.slope_per_s[row] * time
            level = level * (b.amplitude[row] + b.slope_per_s[row] * time) * (_WEIGHTS * width / 2)
            sine, cosine = _sine_and_cosine(turns)
            reals += (level * cosine).sum(axis=1).tolist()
            imaginaries += (level * sine).sum(axis=1).tolist()
        out[row] = complex(math.fsum(reals), math.fsum(imaginaries))
        peak_a = abs(a.amplitude[row]) + abs(a.slope_per_s[row]) * length
        peak_b = abs(b.amplitude[row]) + abs(b.slope_per_s[row]) * length
        bound += ROUNDINGS * _EPSILON * float(peak_a * peak_b) * length
    return out, bound


def _moments(z: F64, turns: F64) -> tuple[F64, F64, F64]:
    """Integrals over s in [0, 1] of cos(z s), s sin(z s), s^2 cos(z s); ``turns`` is z / 2 pi reduced."""
    sine, cosine = _sine_and_cosine(turns)
    small = np.abs(z) < _SERIES_BELOW
    safe = np.where(small, _SERIES_BELOW, z)
    near = np.where(small, z, 0.0)
    j1 = np.where(small, near * _series(_J1_SERIES, near), (sine / safe - cosine) / safe)
    j0 = np.where(small, 1.0 - near * near * _sinc_rest(near), sine / safe)
    square = np.where(small, _series(_SQUARE_SERIES, near), sine / safe - 2 * j1 / safe)
    return j0, j1, square


def _series(coefficients: F64, z: F64) -> F64:
    square = z * z
    total = np.zeros_like(z)
    for coefficient in coefficients[::-1]:
        total = total * square + coefficient
    return total


def _sinc_rest(z: F64) -> F64:
    """(1 - sin z / z) / z^2 for small z."""
    return _series((-1.0) ** _ORDERS[:11] / _FACTORIALS[2 * _ORDERS[:11] + 3], z)


def _sine_and_cosine(turns: F64) -> tuple[F64, F64]:
    """sin and cos of 2 pi turns, exact at quarter turns."""
    reduced = turns - np.rint(turns)
    quarters = np.rint(4 * reduced)
    angle = 2 * np.pi * (reduced - quarters / 4)
    quadrant = quarters.astype(np.int64)
    sine, cosine = np.sin(angle), np.cos(angle)
    odd = (quadrant & 1) != 0
    sine, cosine = np.where(odd, cosine, sine), np.where(odd, sine, cosine)
    return (
        np.where(quadrant & 2, -sine, sine),
        np.where((quadrant + 1) & 2, -cosine, cosine),
    )

"""Windows of short and slow recordings: the frequency by a least-squares fit of fundamental and harmonics.

A stream of windows needs some twenty cycles and 1 kHz to find its frequency. A recording of fewer cycles, or
of a slower recorder (relays take 12 to 20 samples a cycle), is fitted instead: the frequency that explains
the voltages best, then windows of whole cycles at it, one after the other. Before the first and behind the
last sample the fitted harmonics stand in for the few samples that the edges of windows reach out for.

The rule never to be broken: a window lies within the recorded samples, and below one cycle there is none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from openami.metrology.windows.window_analysis import EDGE_SAMPLES, WindowColumns, analyse
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]

LOWEST_HZ: Final = 40.0
HIGHEST_HZ: Final = 70.0
HIGHEST_ORDER: Final = 50
_FITTED_ORDER: Final = 25
"""Harmonics that take part in the search for the frequency."""
_STEPS: Final = 12
LEAST_SHARE: Final = 0.01
"""Share of the squared voltage that the fundamental has at least."""
_CONTINUED_CYCLES: Final = 2.2
"""Cycles at an end of a recording that are continued over it."""
_TELLING_CYCLES: Final = 1.15
"""Fewer cycles do not tell harmonics from another frequency: the fundamental alone is fitted."""
_ONE_CYCLE: Final = 0.03
"""So near to one cycle, a recording is taken for exactly one."""
_FEWEST_SAMPLES: Final = 16
"""Samples that a window has at least."""
_AT_THE_END: Final = 0.02
"""Samples by which a last cycle may end behind the last sample."""


def fitted_frequency(u: F64, rate_hz: float) -> float:
    """Frequency of the fundamental of a few cycles of voltage, in Hz.

    Parameters
    ----------
    u:
        float64 (phases, n) in V.
    rate_hz:
        Samples a second.

    Raises
    ------
    MeteringError
        No voltage, or no fundamental between 40 Hz and 70 Hz of which a whole cycle is there.

    Notes
    -----
    The fundamental alone is fitted on a grid, then fundamental, constant and harmonics by Gauss-Newton with
    the amplitudes projected out (variable projection: Golub and Pereyra 1973). The harmonics are as many as
    the cycles at hand can tell from another frequency.
    """
    level = np.sqrt((u**2).mean(axis=1))
    if not (level > 0).any():
        raise MeteringError("there is no voltage", expected="one whose frequency can be found")
    x = u[level > 0] / level[level > 0, None]
    seconds = x.shape[1] / rate_hz
    if seconds * HIGHEST_HZ < 1.0 or x.shape[1] < 8:
        raise MeteringError(
            f"{x.shape[1]} samples at {rate_hz:g} Hz are less than a cycle", expected="one cycle or more"
        )
    grid = np.arange(LOWEST_HZ, HIGHEST_HZ + 1e-9, min(1.0, 0.2 / seconds))
    left = [_residual(x, rate_hz, float(frequency), 1) for frequency in grid]
    found = _refined(x, rate_hz, float(grid[int(np.argmin(left))]), 1)
    cycles = found * seconds
    orders = 1 if cycles < _TELLING_CYCLES else _FITTED_ORDER
    orders = min(orders, int(0.45 * rate_hz / found), (x.shape[1] - 3) // 4)
    if orders > 1:
        found = _refined(x, rate_hz, found, orders)
    if cycles < _TELLING_CYCLES and abs(cycles - 1.0) < _ONE_CYCLE:
        found = 1.0 / seconds
    swing = x - x.mean(axis=1, keepdims=True)
    explained = float((swing**2).sum()) - _residual(swing, rate_hz, found, 1)
    if explained < LEAST_SHARE * float((x**2).sum()):
        raise MeteringError("the voltage holds no fundamental", expected="one between 40 Hz and 70 Hz")
    whole = found * (x.shape[1] + _AT_THE_END) / rate_hz
    if not LOWEST_HZ - 1.0 <= found <= HIGHEST_HZ + 1.0 or whole < 1.0:
        raise MeteringError(
            f"{seconds * 1000:.1f} ms hold no whole cycle of a fundamental",
            expected=f"a voltage of {LOWEST_HZ:g} to {HIGHEST_HZ:g} Hz, a cycle or more of it",
        )
    return found


def fitted_windows(u: F64, i: F64, rate_hz: float, cycles: int) -> WindowColumns:
    """Windows of a recording by fitted frequencies.

    Parameters
    ----------
    u, i:
        float64 (phases, n) in V and (phases, n) or (phases + 1, n) in A, all finite.
    rate_hz:
        Samples a second.
    cycles:
        Cycles of a window. A recording that holds fewer gives one window of the whole cycles there are.

    Raises
    ------
    MeteringError
        As of `fitted_frequency`.
    """
    count = u.shape[1]
    chunk = int(np.ceil((cycles + 2) * rate_hz / LOWEST_HZ))
    edges = [0.0]
    first_hz = last_hz = 0.0
    while True:
        begin = int(edges[-1])
        piece = u[:, begin : begin + chunk]
        if len(edges) > 1 and piece.shape[1] < cycles * rate_hz / HIGHEST_HZ:
            break
        frequency = fitted_frequency(piece, rate_hz)
        first_hz, last_hz = first_hz or frequency, frequency
        end = edges[-1] + cycles * rate_hz / frequency
        if end > count + _AT_THE_END:
            break
        edges.append(end)
    if len(edges) == 1:
        cycles = int((count + _AT_THE_END) * last_hz / rate_hz)
        edges.append(cycles * rate_hz / last_hz)
    if edges[1] < _FEWEST_SAMPLES:
        raise MeteringError(
            f"{cycles} cycles in {edges[1]:.1f} samples", expected=f"{_FEWEST_SAMPLES} samples or more"
        )
    near = [int(_CONTINUED_CYCLES * rate_hz / frequency) for frequency in (first_hz, last_hz)]
    head, tail = slice(0, min(count, near[0])), slice(max(count - near[1], 0), count)
    padded = []
    for x in (u, i):
        before = _continued(x[:, head], rate_hz, first_hz, np.arange(-EDGE_SAMPLES, 0))
        length = x[:, tail].shape[1]
        behind = _continued(x[:, tail], rate_hz, last_hz, np.arange(length, length + EDGE_SAMPLES + 1))
        padded.append(np.ascontiguousarray(np.concatenate((before, x, behind), axis=1)))
    longest = float(np.diff(edges).max())
    columns = analyse(
        padded[0],
        padded[1],
        rate_hz,
        np.asarray(edges) + EDGE_SAMPLES,
        cycles=cycles,
        points=window_points(longest, cycles),
    )
    return _moved(columns, -EDGE_SAMPLES)


def window_points(samples: float, cycles: int) -> int:
    """Points of a window that fold nothing down: a power of two, above its samples and 50 harmonics."""
    return 1 << int(max(samples, 2.0 * HIGHEST_ORDER * cycles + 2.0 * cycles, 64.0) - 1.0).bit_length()


def nominal_of(u: F64, rate_hz: float) -> float:
    """The nominal frequency, 50 or 60 Hz, nearest to the fundamental of the strongest fifth of a second.

    Parameters
    ----------
    u:
        float64 (phases, n) in V, finite. Without a voltage 50 Hz.
    rate_hz:
        Samples a second.
    """
    length = max(8, int(0.2 * rate_hz))
    starts = range(0, max(u.shape[1] - length // 2, 1), length)
    strongest = max(starts, key=lambda start: float((u[:, start : start + length] ** 2).sum()))
    piece = u[:, strongest : strongest + length]
    if not piece.any():
        return 50.0
    grid = np.arange(LOWEST_HZ, HIGHEST_HZ + 1e-9, 1.0)
    left = [_residual(piece, rate_hz, float(frequency), 1) for frequency in grid]
    return 50.0 if grid[int(np.argmin(left))] <= 55.0 else 60.0


def _moved(columns: WindowColumns, samples: int) -> WindowColumns:
    return replace(columns, start=columns.start + samples, end=columns.end + samples)


def _basis(count: int, rate_hz: float, frequency: float, orders: int) -> tuple[F64, F64]:
    """Constant, cosines and sines of the harmonics (n, 2 orders + 1), and their derivatives by omega."""
    t = (np.arange(count) - (count - 1) / 2.0) / rate_hz
    order = np.arange(1, orders + 1)
    angle = 2.0 * np.pi * frequency * t[:, None] * order
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = t[:, None] * order
    basis = np.concatenate((np.ones((count, 1)), cosine, sine), axis=1)
    slope = np.concatenate((np.zeros((count, 1)), -turn * sine, turn * cosine), axis=1)
    return basis, slope


def _residual(x: F64, rate_hz: float, frequency: float, orders: int) -> float:
    basis, _ = _basis(x.shape[1], rate_hz, frequency, orders)
    orthonormal, _ = np.linalg.qr(basis)
    return float((x**2).sum() - ((x @ orthonormal) ** 2).sum())


def _refined(x: F64, rate_hz: float, frequency: float, orders: int) -> float:
    """Gauss-Newton for the frequency, amplitudes projected out."""
    count = x.shape[1]
    for _ in range(_STEPS):
        basis, slope = _basis(count, rate_hz, frequency, orders)
        orthonormal, triangle = np.linalg.qr(basis)
        amplitudes = np.linalg.lstsq(triangle, (x @ orthonormal).T, rcond=None)[0]
        residual = x - (basis @ amplitudes).T
        turning = (slope @ amplitudes).T
        turning -= (turning @ orthonormal) @ orthonormal.T
        square = float((turning**2).sum())
        if square <= 0.0:
            break
        step = float((turning * residual).sum()) / square / (2.0 * np.pi)
        limit = 0.25 * rate_hz / count
        frequency += min(max(step, -limit), limit)
        if not LOWEST_HZ / 2.0 < frequency < 2.0 * HIGHEST_HZ:
            break
        if abs(step) < 1e-12 * frequency:
            break
    return frequency


def _continued(x: F64, rate_hz: float, frequency: float, places: npt.NDArray[np.int64]) -> F64:
    """The fitted constant, fundamental and harmonics of x (channels, n) at other sample positions."""
    count = x.shape[1]
    orders = max(1, min(HIGHEST_ORDER, int(0.45 * rate_hz / frequency), (count - 1) // 2 - 1))
    basis, _ = _basis(count, rate_hz, frequency, orders)
    orthonormal, triangle = np.linalg.qr(basis)
    amplitudes = np.linalg.lstsq(triangle, (x @ orthonormal).T, rcond=1e-10)[0]
    t = (places - (count - 1) / 2.0) / rate_hz
    angle = 2.0 * np.pi * frequency * t[:, None] * np.arange(1, orders + 1)
    there = np.concatenate((np.ones((places.size, 1)), np.cos(angle), np.sin(angle)), axis=1)
    continued: F64 = (there @ amplitudes).T
    return continued

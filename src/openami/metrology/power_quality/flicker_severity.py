"""Block 5 of the flickermeter: the classifier that makes the short-term severity Pst, and Plt of twelve.

IEC 61000-4-15:2010 clause 5.7 (statistics of Pinst over ten minutes, multipoint method) and IEC 61000-4-30
clause 5.3 (Plt over two hours of the clock). Classes are logarithmic steps that a float64 already carries in
its highest bits: 128 in every octave, so that a class is at most 0.8 % wide and a ten-minute interval takes
the same memory as a week.

Rule: only settled values are counted, and a severity of nothing is NaN, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.metrology.power_quality.flicker import PinstColumns
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

INTERVALS_OF_PLT: Final = 12
"""Ten-minute intervals of a long-term severity."""

EXCEEDED_PERCENT: Final = (0.1, 0.7, 1.0, 1.5, 2.2, 3.0, 4.0, 6.0, 8.0, 10.0, 13.0, 17.0, 30.0, 50.0, 80.0)
"""Parts of the interval whose levels are read from the classifier."""

_SMOOTHED: Final = (
    (0.0314, (0,)),
    (0.0525, (1, 2, 3)),
    (0.0657, (4, 5, 6)),
    (0.28, (7, 8, 9, 10, 11)),
    (0.08, (12, 13, 14)),
)
"""Weight of P0.1, P1s, P3s, P10s and P50s, and the percentiles whose mean each is."""

_SUBCLASS_BITS: Final = 7
_SHIFT: Final = 52 - _SUBCLASS_BITS
_LOWEST: Final = 2.0**-20
_HIGHEST: Final = 2.0**30
_FIRST: Final = int(np.float64(_LOWEST).view(np.int64)) >> _SHIFT
_CLASSES: Final = (int(np.float64(_HIGHEST).view(np.int64)) >> _SHIFT) - _FIRST + 1


@dataclass(frozen=True, slots=True)
class ShortTermSeverity:
    """Pst of one interval and what it was made of; a phase without settled values has NaN."""

    pst: F64
    """(phases,)."""
    percentiles: F64
    """(phases, 15) Pinst exceeded during `EXCEEDED_PERCENT` of the interval."""
    counted: I64
    """(phases,) values of Pinst that were classified."""
    largest: F64
    """(phases,) largest Pinst, zero when nothing was classified."""


class PstClassifier:
    """Histogram of Pinst, of each phase, over one interval (ten minutes in IEC 61000-4-30).

    Parameters
    ----------
    phases:
        Rows of the Pinst that will be added.

    Notes
    -----
    Invariant: the sum of a phase's classes is the number of its settled values since the last `close`.
    Bounded memory: 6401 counts a phase, from 1e-6 to 1e9; values beyond count in the outermost class.
    """

    __slots__ = ("_counts", "_largest")

    def __init__(self, phases: int = 1) -> None:
        if phases < 1:
            raise MeteringError(f"a classifier of {phases} phases", expected="one or more")
        self._counts = np.zeros((phases, _CLASSES), np.int64)
        self._largest = np.zeros(phases)

    def add(self, columns: PinstColumns, first: int = 0, last: int | None = None) -> None:
        """Classify the settled values ``first`` up to (not with) ``last`` of what a meter gave.

        Raises
        ------
        MeteringError
            Columns of another number of phases.
        """
        if columns.pinst.shape[0] != self._counts.shape[0]:
            raise MeteringError(
                f"Pinst of {columns.pinst.shape[0]} phases",
                expected=f"{self._counts.shape[0]} phases, as the classifier",
            )
        begin, end, _ = slice(first, last).indices(columns.pinst.shape[1])
        _classify(columns.pinst, columns.settled, begin, max(begin, end), self._counts, self._largest)

    def close(self) -> ShortTermSeverity:
        """The severity of the values since the last call; the next interval begins empty."""
        levels = percentiles_of_counts(self._counts)
        result = ShortTermSeverity(
            pst_of_percentiles(levels), levels, self._counts.sum(axis=1), self._largest.copy()
        )
        self._counts[:] = 0
        self._largest[:] = 0.0
        return result


def class_edges() -> F64:
    """Lower edges of the classes and the upper edge of the last, (classes + 1,)."""
    bits = (_FIRST + np.arange(_CLASSES + 1, dtype=np.int64)) << _SHIFT
    return bits.view(np.float64)


def percentiles_of_counts(counts: I64) -> F64:
    """Pinst exceeded during `EXCEEDED_PERCENT` of the time, (..., 15), of class counts (..., classes).

    Within a class the values are taken as evenly spread. NaN where nothing was counted.
    """
    edges = class_edges()
    flat = counts.reshape(-1, counts.shape[-1])
    levels = np.full((flat.shape[0], len(EXCEEDED_PERCENT)), np.nan)
    for row, classes in enumerate(flat):
        below = np.concatenate(([0], np.cumsum(classes)))
        total = int(below[-1])
        if total:
            rank = total * (1 - np.array(EXCEEDED_PERCENT) / 100)
            place = np.clip(np.searchsorted(below, rank, side="left") - 1, 0, classes.size - 1)
            part = (rank - below[place]) / classes[place]
            levels[row] = edges[place] + part * (edges[place + 1] - edges[place])
    return levels.reshape(*counts.shape[:-1], len(EXCEEDED_PERCENT))


def pst_of_percentiles(levels: F64) -> F64:
    """Short-term severity of levels (..., 15) as in `EXCEEDED_PERCENT`; NaN stays NaN.

    Pst = sqrt(0.0314 P0.1 + 0.0525 P1s + 0.0657 P3s + 0.28 P10s + 0.08 P50s), each Ps the mean of its
    neighbouring percentiles (IEC 61000-4-15 clause 5.7.2).
    """
    total = sum(weight * levels[..., list(places)].mean(axis=-1) for weight, places in _SMOOTHED)
    return np.asarray(np.sqrt(total))


def plt(pst: F64) -> F64:
    """Long-term severity of twelve short-term ones: the cube root of the mean of their cubes.

    Parameters
    ----------
    pst:
        (..., 12) consecutive intervals; NaN among them makes the result NaN.

    Raises
    ------
    MeteringError
        Another number of intervals, or a negative severity.
    """
    if pst.ndim == 0 or pst.shape[-1] != INTERVALS_OF_PLT:
        raise MeteringError(
            f"a long-term severity of Pst of shape {pst.shape}", expected=f"(..., {INTERVALS_OF_PLT})"
        )
    if (pst < 0).any():
        raise MeteringError(f"a short-term severity of {pst.min()}", expected="zero or more, or NaN")
    return np.asarray(np.cbrt((pst**3).mean(axis=-1)))


@njit(cache=True, nogil=True)
def _classify(
    pinst: F64, settled: Mask, begin: int, end: int, counts: I64, largest: F64
) -> None:  # pragma: no cover - compiled
    for phase in range(pinst.shape[0]):
        values = pinst[phase, begin:end]
        classes = values.view(np.int64)
        trusted = settled[phase, begin:end]
        row = counts[phase]
        peak = largest[phase]
        for index in range(values.size):
            if trusted[index]:
                row[min(max((classes[index] >> _SHIFT) - _FIRST, 0), _CLASSES - 1)] += 1
                peak = max(peak, values[index])
        largest[phase] = peak

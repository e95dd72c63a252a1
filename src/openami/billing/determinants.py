"""Billing determinants: what is counted over the intervals of a period before any price is asked.

Kernels over int64 counts, ``loads`` of shape ``(n, intervals)`` for n usage points on one grid. Sums are
exact as long as they stay below 2**63, which `check_counts` proves from the largest value before a kernel
runs. Never to be broken: a kernel returns integers, and the index of the interval where a maximum occurred.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.quantities.errors import TariffError

Counts = npt.NDArray[np.int64]
RateIndex = npt.NDArray[np.int16]


def check_counts(loads: Counts, factor: int = 1, terms: int | None = None) -> None:
    """Prove that counts can be summed: none is negative, and no sum leaves int64.

    Parameters
    ----------
    loads:
        Counts, shape ``(n, intervals)``; a channel counts one direction, so none may be below 0.
    factor:
        What each count is multiplied by.
    terms:
        How many are summed; None for all intervals.

    Raises
    ------
    TariffError
        A count is negative, or a sum could leave 64 bits.
    """
    if loads.size == 0:
        return
    largest, least = int(loads.max()), int(loads.min())
    if least < 0:
        row, index = (int(position) for position in np.argwhere(loads < 0)[0])
        raise TariffError(
            f"a negative count of {int(loads[row, index])}",
            where=f"row {row}, interval {index}",
            expected="export on a channel of its own",
        )
    count = loads.shape[1] if terms is None else terms
    if largest * abs(factor) * count >= 2**63:
        raise TariffError(
            f"a value of {largest} over {count} intervals does not fit 64 bits",
            expected="a coarser quantum",
        )


@njit(cache=True, nogil=True)
def sums_by_rate(loads: Counts, rate: RateIndex, cuts: Counts, rates: int) -> Counts:
    """Sum of each row by segment and rate, shape ``(n, len(cuts) - 1, rates)``.

    ``rate`` has shape ``(intervals,)``; segment ``s`` is the intervals ``[cuts[s], cuts[s + 1])``.
    """
    rows = loads.shape[0]
    segments = len(cuts) - 1
    sums = np.zeros((rows, segments, rates), np.int64)
    for row in range(rows):
        for segment in range(segments):
            for index in range(cuts[segment], cuts[segment + 1]):
                sums[row, segment, rate[index]] += loads[row, index]
    return sums


@njit(cache=True, nogil=True)
def largest_window(
    loads: Counts, rate: RateIndex, width: int, step: int, rates: int
) -> tuple[Counts, Counts]:
    """Largest sum over ``width`` intervals by rate, and the interval where its window begins.

    Windows begin at every ``step``-th interval (``step = width``: blocks; 1: sliding). A window counts for a
    rate when all its intervals have it. Without a window a rate has 0 and index -1. Equal maxima: the first.

    Returns
    -------
    largest, index : shape ``(n, rates)``
    """
    rows, intervals = loads.shape
    largest = np.zeros((rows, rates), np.int64)
    where = np.full((rows, rates), -1, np.int64)
    same = np.zeros(intervals, np.int64)
    for index in range(intervals):
        same[index] = same[index - 1] + 1 if index and rate[index] == rate[index - 1] else 1
    for row in range(rows):
        for last in range(width - 1, intervals, step):
            if same[last] < width:
                continue
            total = np.int64(0)
            for index in range(last - width + 1, last + 1):
                total += loads[row, index]
            code = rate[last]
            if where[row, code] < 0 or total > largest[row, code]:
                largest[row, code] = total
                where[row, code] = last - width + 1
    return largest, where


@njit(cache=True, nogil=True)
def largest_square(
    active: Counts, reactive: Counts, rate: RateIndex, width: int, step: int, rates: int
) -> tuple[Counts, Counts]:
    """As `largest_window`, of the square of the apparent energy, P**2 + Q**2, over each window."""
    rows, intervals = active.shape
    largest = np.zeros((rows, rates), np.int64)
    where = np.full((rows, rates), -1, np.int64)
    same = np.zeros(intervals, np.int64)
    for index in range(intervals):
        same[index] = same[index - 1] + 1 if index and rate[index] == rate[index - 1] else 1
    for row in range(rows):
        for last in range(width - 1, intervals, step):
            if same[last] < width:
                continue
            p = np.int64(0)
            q = np.int64(0)
            for index in range(last - width + 1, last + 1):
                p += active[row, index]
                q += reactive[row, index]
            square = p * p + q * q
            code = rate[last]
            if where[row, code] < 0 or square > largest[row, code]:
                largest[row, code] = square
                where[row, code] = last - width + 1
    return largest, where


@njit(cache=True, nogil=True)
def net_by_rate(
    imports: Counts, exports: Counts, rate: RateIndex, slot: Counts, rates: int
) -> tuple[Counts, Counts]:
    """Import and export left after they cancel within each slot and rate, shape ``(n, rates)`` each.

    ``slot`` numbers the netting interval of each interval and never falls.
    """
    rows, intervals = imports.shape
    taken = np.zeros((rows, rates), np.int64)
    given = np.zeros((rows, rates), np.int64)
    balance = np.zeros(rates, np.int64)
    for row in range(rows):
        balance[:] = 0
        for index in range(intervals):
            balance[rate[index]] += imports[row, index] - exports[row, index]
            if index == intervals - 1 or slot[index + 1] != slot[index]:
                for code in range(rates):
                    if balance[code] > 0:
                        taken[row, code] += balance[code]
                    else:
                        given[row, code] -= balance[code]
                    balance[code] = 0
    return taken, given


@njit(cache=True, nogil=True)
def crossing(loads: Counts, rate: RateIndex, threshold: Counts, rates: int) -> tuple[Counts, Counts]:
    """Where the running sum of each row passes its threshold, and the sums by rate before that interval.

    ``threshold`` has shape ``(n,)``. The index is ``intervals`` where the sum never passes.

    Returns
    -------
    index : shape ``(n,)``
    before : shape ``(n, rates)``
    """
    rows, intervals = loads.shape
    where = np.full(rows, intervals, np.int64)
    before = np.zeros((rows, rates), np.int64)
    for row in range(rows):
        total = np.int64(0)
        for index in range(intervals):
            total += loads[row, index]
            if total > threshold[row]:
                where[row] = index
                break
            before[row, rate[index]] += loads[row, index]
    return where, before


@njit(cache=True, nogil=True)
def squares_by_rate(loads: Counts, rate: RateIndex, rates: int) -> Counts:
    """Sum of squares of each row by rate, shape ``(n, rates)``."""
    rows, intervals = loads.shape
    sums = np.zeros((rows, rates), np.int64)
    for row in range(rows):
        for index in range(intervals):
            sums[row, rate[index]] += loads[row, index] * loads[row, index]
    return sums


@njit(cache=True, nogil=True)
def products(loads: Counts, prices: Counts) -> Counts:
    """Sum over intervals of count times price, shape ``(n,)``."""
    rows, intervals = loads.shape
    sums = np.zeros(rows, np.int64)
    for row in range(rows):
        for index in range(intervals):
            sums[row] += loads[row, index] * prices[index]
    return sums

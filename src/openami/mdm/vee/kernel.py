"""The kernel of validation: days of interval values as rows of one flat buffer, in compiled loops.

Row ``r`` is ``values[offsets[r]:offsets[r + 1]]``, so days of 92, 96 and 100 quarter-hours lie in one
buffer. A missing value is `ABSENT`. A row that is complete, not negative, below the connection's ceiling
and equal to its register is done after one vectorised pass (sum, minimum, maximum); only rows that fail
are looked at again. Integers only: no rounding anywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.mdm.vee.checks import Check
from openami.quantities.errors import ValidationError

Counts = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Reals = npt.NDArray[np.float64]

ABSENT = int(np.iinfo(np.int64).min)
"""Stands for a missing value inside the kernel (never stored)."""

UNKNOWN = int(np.iinfo(np.int64).min)
"""Stands for a register advance that is not known."""

UNLIMITED = int(np.iinfo(np.int64).max)
"""Ceiling of a connection without a known capacity."""

_GAP = int(Check.GAP)
_NEGATIVE = int(Check.NEGATIVE)
_SPIKE = int(Check.SPIKE)
_SUM = int(Check.REGISTER_SUM)
_CAPACITY = int(Check.CAPACITY)


class Screening(NamedTuple):
    """What `screen_days` saw in each row."""

    bits: Counts
    """`Check` bits, int64 (rows,)."""
    sums: Counts
    """Sum of the values that are there, int64 (rows,)."""
    absent: Counts
    """Number of missing values, int64 (rows,)."""


def screen_days(
    values: Counts, offsets: Counts, advance: Counts, tolerance: Counts, ceiling: Counts, spike_ratio: Reals
) -> Screening:
    """Screen rows of intervals: gap, negative, capacity, register sum, spike trigger.

    Parameters
    ----------
    values:
        int64 (n,), counts of the quantum; `ABSENT` where missing.
    offsets:
        int64 (rows + 1,), where rows begin.
    advance:
        int64 (rows,), register advance of the row in the same quantum; `UNKNOWN` without registers.
    tolerance:
        int64 (rows,), how far sum and advance may differ.
    ceiling:
        int64 (rows,), largest value the connection can carry; `UNLIMITED` when not known.
    spike_ratio:
        float64 (rows,), trigger of (maximum - third highest) / third highest.

    Notes
    -----
    With values missing, the register sum fails only when what is there already exceeds the advance. The
    spike bit is a *trigger*: it is looked for only in rows that their register does not confirm.
    """
    rows = offsets.size - 1
    result = Screening(np.zeros(rows, np.int64), np.zeros(rows, np.int64), np.zeros(rows, np.int64))
    _screen(values, offsets, advance, tolerance, ceiling, spike_ratio, *result)
    return result


@njit(cache=True, nogil=True)
def _screen(
    values: Counts,
    offsets: Counts,
    advance: Counts,
    tolerance: Counts,
    ceiling: Counts,
    spike_ratio: Reals,
    bits: Counts,
    sums: Counts,
    absent: Counts,
) -> None:  # pragma: no cover - compiled
    for row in range(offsets.size - 1):
        first, last = offsets[row], offsets[row + 1]
        total = np.int64(0)
        low = np.int64(0)
        high = np.int64(0)
        for index in range(first, last):
            value = values[index]
            total += value
            low = min(low, value)
            high = max(high, value)
        found = 0
        if low < 0:
            total = np.int64(0)
            for index in range(first, last):
                value = values[index]
                if value == ABSENT:
                    absent[row] += 1
                else:
                    total += value
                    if value < 0:
                        found |= _NEGATIVE
            if absent[row]:
                found |= _GAP
        sums[row] = total
        if high > ceiling[row]:
            found |= _CAPACITY
        if advance[row] != UNKNOWN:
            excess = total - advance[row]
            if excess > tolerance[row] or (absent[row] == 0 and -excess > tolerance[row]):
                found |= _SUM
        if found and high > 0:
            limit = spike_limit(values[first:last], spike_ratio[row])
            if limit < high:
                found |= _SPIKE
        bits[row] = found


@njit(cache=True, nogil=True)
def spike_limit(day: Counts, ratio: float) -> float:  # pragma: no cover - compiled
    """Value above which a value of the day triggers the spike rule: ``(1 + ratio) * third highest``.

    ``(max - third) / third > ratio`` is the same as ``max > (1 + ratio) * third``, without dividing by a
    third highest of zero. Infinite when fewer than three values are there. Source: Oracle D2-INTSPKCHK
    as read in the project's reference (mdms 1.1, row 9).
    """
    first = second = third = np.int64(-1)
    for value in day:
        if value > third:
            if value > second:
                third = second
                if value > first:
                    second = first
                    first = value
                else:
                    second = value
            else:
                third = value
    if third < 0:
        return np.inf
    return (1.0 + ratio) * third


@njit(cache=True, nogil=True)
def zero_run_lengths(values: Counts, countable: Mask) -> Counts:  # pragma: no cover - compiled
    """Length of the run of zeros that ends at each interval, int64 of the shape of ``values``.

    A run is broken by a value other than zero and by an interval that is not countable (missing, outage).
    """
    lengths = np.zeros(values.size, np.int64)
    run = 0
    for index in range(values.size):
        run = run + 1 if countable[index] and values[index] == 0 else 0
        lengths[index] = run
    return lengths


@njit(cache=True, nogil=True)
def linear_fill(
    values: Counts, anchor: Mask, starts: Counts, ends: Counts, estimate: Reals
) -> Mask:  # pragma: no cover - compiled
    """Fill runs ``[starts, ends)`` point to point from the good values beside them (AEMO method 17).

    With a good value on one side only the estimate is flat; without any the run is left and reported
    as False in the result, bool (runs,). Source: Oracle D2-INTINTEST (mdms 1.2).
    """
    done = np.zeros(starts.size, np.bool_)
    for run in range(starts.size):
        start, end = starts[run], ends[run]
        left = start > 0 and anchor[start - 1]
        right = end < values.size and anchor[end]
        if not (left or right):
            continue
        before = values[start - 1] if left else values[end]
        after = values[end] if right else values[start - 1]
        step = (after - before) / (end - start + 1)
        for index in range(start, end):
            estimate[index] = before + step * (index - start + 1)
        done[run] = True
    return done


def runs(mask: Mask) -> tuple[Counts, Counts]:
    """Starts and ends (exclusive) of the runs of True, each int64 (runs,)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return edges[0::2].astype(np.int64), edges[1::2].astype(np.int64)


def distribute(total: int, weights: Reals) -> Counts:
    """Whole numbers in proportion to ``weights`` whose sum is exactly ``total`` (largest remainder).

    Parameters
    ----------
    total:
        At least 0.
    weights:
        float64 (n,), at least 0, not all 0.

    Notes
    -----
    Weights are made whole at a scale at which ``weight * total`` fits 63 bits; quotients, remainders and
    the last units are whole-number arithmetic. Equal remainders go to the earlier interval.
    """
    bits = 61 - max(total, 1).bit_length() - weights.size.bit_length()
    if bits < 1:
        raise ValidationError(f"{total} quanta are too many to distribute over {weights.size} intervals")
    scale = 2.0 ** min(bits, 40) / float(weights.max())
    whole = np.rint(weights * scale).astype(np.int64)
    product = whole * total
    base = int(whole.sum())
    shares = product // base
    left = total - int(shares.sum())
    order = np.argsort(-(product % base), kind="stable")
    shares[order[:left]] += 1
    return shares

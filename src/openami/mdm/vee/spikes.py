"""Spikes: the textbook rule is a trigger, the register is the judge.

On real households (max - third) / third > 1.8 fires on every ninth day, so a triggered value counts as
false only where the register contradicts it: with the value the span's sum is too high, and taking it
away leaves a plausible rest. Rule order: values are flagged here *before* anything is scaled; scaling
first would press a spike's energy out of good estimates (project reference mdms 0.3 and 1.4).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from openami.mdm.vee.kernel import Counts, Mask, Reals, spike_limit
from openami.mdm.vee.rule_pack import RulePack
from openami.mdm.vee.stretch import Stretch


def triggered(stretch: Stretch, usable: Mask, span: slice, packs: Sequence[RulePack]) -> list[int]:
    """Intervals of a span that fire the trigger on their day, largest first.

    Parameters
    ----------
    usable:
        bool (n,), measured values that have not failed another check.
    """
    found: list[int] = []
    for day in range(stretch.day_of(span.start), stretch.day_of(span.stop - 1) + 1):
        there = stretch.day_slice(day)
        values = np.where(usable[there], stretch.values[there], -1)
        limit = spike_limit(values, packs[day].spike_ratio)
        found += (np.flatnonzero(values > limit) + there.start).tolist()
    return sorted(
        (index for index in found if span.start <= index < span.stop),
        key=lambda index: (-int(stretch.values[index]), index),
    )


def confirmed(
    values: Counts,
    candidates: Sequence[int],
    estimates: Reals,
    *,
    good_sum: int,
    gap_estimate: float,
    advance: int,
    tolerance: int,
    share: float,
) -> list[int]:
    """Candidates that the register confirms as spikes.

    Parameters
    ----------
    values, estimates:
        int64 and float64 (n,): what was measured, and what is estimated in its place.
    candidates:
        Triggered intervals, largest first.
    good_sum:
        Sum of all values of the span not flagged so far, candidates included.
    gap_estimate:
        Estimated energy of the span's intervals without a good value; 0 when there are none.
    advance, tolerance:
        Register advance over the span and its tolerance.
    share:
        With a gap in the span: how clearly the register must contradict (`RulePack.spike_gap_confirmation`).

    Notes
    -----
    What remains after taking a set of candidates away must be at least nothing (to the tolerance), and of
    the sets that allow it (each one alone, the largest two, three ...) that is taken whose rest is nearest
    to its estimate. While the sum is not too high by itself (a gap may hide a spike), the set is taken
    only if what the register leaves for the gap is below ``share`` of its estimate and the set explains
    most of the lack.
    """
    if not candidates:
        return []
    rest = advance - good_sum
    sets = [[candidate] for candidate in candidates]
    sets += [list(candidates[:size]) for size in range(2, len(candidates) + 1)]

    def mismatch(chosen: Sequence[int]) -> float:
        left = rest + int(values[list(chosen)].sum())
        if left < -tolerance:
            return np.inf
        return abs(left - gap_estimate - float(estimates[list(chosen)].sum()))

    costs = [mismatch(chosen) for chosen in sets]
    best = int(np.argmin(costs))
    if not np.isfinite(costs[best]):
        return []
    if rest < -tolerance:
        return sets[best]
    lack = gap_estimate - rest
    if rest < share * gap_estimate and costs[best] < share * lack:
        return sets[best]
    return []


def located(
    values: Counts, usable: Mask, estimates: Reals, span: slice, excess: int, tolerance: int, share: float
) -> list[int]:
    """The one value that explains an excess nobody triggered on; empty when none does.

    It must be at least as large as the excess, the excess at least ``share`` of it, and of such values it
    is the one whose rest comes nearest to its estimate.
    """
    there = values[span]
    possible = usable[span] & (there >= excess - tolerance) & (excess >= share * there)
    if not possible.any():
        return []
    rest = np.abs(there - excess - estimates[span])
    return [span.start + int(np.argmin(np.where(possible, rest, np.inf)))]

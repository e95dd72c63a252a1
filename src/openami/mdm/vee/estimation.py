"""Estimation: what an interval without a good value probably was.

Gap lengths are measured once, before anything is filled, so that a long gap never turns into short ones
while it is being filled. Flagged, missing and outage values are never used to estimate others. Estimates
here are real numbers without rounding; `openami.mdm.vee.resolve` scales them to the register.
Methods in AEMO numbering; their rules: project reference mdms 1.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from openami.mdm.vee.kernel import Counts, Mask, Reals, linear_fill, runs
from openami.mdm.vee.rule_pack import RulePack
from openami.mdm.vee.stretch import Stretch, local_slots

LINEAR = 17
LIKE_DAY = 14
AVERAGE_LIKE_DAY = 15
ZERO = 19
DATA_SCALING = 24


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Good measured values of one channel of a usage point, day by day on the wall clock.

    Parameters
    ----------
    first_day:
        Civil day of row 0.
    energy:
        float64 (days, slots): energy per interval in the channel's unit, NaN where there is no good
        measured value.
    """

    first_day: date
    energy: Reals

    def row(self, day: date) -> int:
        """Row of a day (it may lie outside)."""
        return (day - self.first_day).days

    def day(self, row: int) -> date:
        """Day of a row."""
        return date.fromordinal(self.first_day.toordinal() + row)

    @property
    def largest(self) -> float:
        """The largest energy of an interval; 0 without any."""
        good = self.energy[np.isfinite(self.energy)]
        return float(good.max()) if good.size else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """Estimates of the flagged intervals of a stretch.

    Parameters
    ----------
    values:
        float64 (n,) in quanta, part of the interval in which the meter was there and energised taken
        into account; 0 elsewhere.
    methods:
        int32 (n,): AEMO method; 0 where there is no estimate.
    notes:
        By index of the day: the days an estimate was taken from.
    """

    values: Reals
    methods: Counts
    notes: dict[int, str]


def estimate(
    stretch: Stretch,
    flagged: Mask,
    anchor: Mask,
    history: History,
    worth: float,
    flat: Reals,
    packs: Sequence[RulePack],
) -> Estimate:
    """Estimate the flagged intervals of a stretch by the packs' methods in the packs' order.

    Parameters
    ----------
    flagged:
        bool (n,), what to estimate.
    anchor:
        bool (n,), values good enough to interpolate from.
    history:
        Days to take like days from.
    worth:
        What a quantum of the stretch is worth in the unit of the history (multipliers included).
    flat:
        float64 (n,), average advance of the register per interval in quanta; NaN without a register.
    packs:
        The pack in force on each day of the stretch.
    """
    values = np.zeros(flagged.size)
    methods = np.zeros(flagged.size, np.int64)
    notes: dict[int, str] = {}
    starts, ends = runs(flagged)
    rulers = [packs[stretch.day_of(int(start))] for start in starts]
    short = [
        (int(end) - int(start)) * stretch.interval_s <= pack.linear_max_gap_s
        for start, end, pack in zip(starts, ends, rulers, strict=True)
    ]
    first_linear = np.array(
        [
            is_short and pack.short_methods[:1] == ("linear",)
            for is_short, pack in zip(short, rulers, strict=True)
        ],
        bool,
    )
    if first_linear.any():
        done = linear_fill(stretch.values, anchor, starts[first_linear], ends[first_linear], values)
        for start, end in zip(starts[first_linear][done], ends[first_linear][done], strict=True):
            methods[start:end] = LINEAR
        first_linear[first_linear] = done
    for place in np.flatnonzero(~first_linear):
        pack = rulers[place]
        order = pack.short_methods if short[place] else pack.long_methods
        start, end = int(starts[place]), int(ends[place])
        _fill_run(stretch, start, end, order, pack, anchor, history, worth, flat, values, methods, notes)
    values *= stretch.inside * stretch.energised
    return Estimate(np.maximum(values, 0.0), methods, notes)


def _fill_run(
    stretch: Stretch,
    start: int,
    end: int,
    order: Sequence[str],
    pack: RulePack,
    anchor: Mask,
    history: History,
    worth: float,
    flat: Reals,
    values: Reals,
    methods: Counts,
    notes: dict[int, str],
) -> None:
    for name in order:
        if name == "linear":
            bounds = np.array([[start], [end]], np.int64)
            if linear_fill(stretch.values, anchor, bounds[0], bounds[1], values)[0]:
                methods[start:end] = LINEAR
        else:
            for piece in _day_pieces(stretch, start, end, methods):
                _fill_piece(stretch, piece, name, pack, history, worth, flat, values, methods, notes)
        if methods[start:end].all():
            return


def _day_pieces(stretch: Stretch, start: int, end: int, methods: Counts) -> Iterator[tuple[int, int, int]]:
    """(day, start, end) of the parts of a run that lie in one day and have no estimate yet."""
    for day in range(stretch.day_of(start), stretch.day_of(end - 1) + 1):
        first = max(start, int(stretch.offsets[day]))
        last = min(end, int(stretch.offsets[day + 1]))
        if not methods[first:last].all():
            yield day, first, last


def _fill_piece(
    stretch: Stretch,
    piece: tuple[int, int, int],
    name: str,
    pack: RulePack,
    history: History,
    worth: float,
    flat: Reals,
    values: Reals,
    methods: Counts,
    notes: dict[int, str],
) -> None:
    day, first, last = piece
    if name == "register_flat":
        if np.isfinite(flat[first:last]).all():
            values[first:last] = flat[first:last]
            methods[first:last] = DATA_SCALING
        return
    civil_day = stretch.days[day]
    offset = int(stretch.offsets[day])
    slots = local_slots(civil_day, stretch.interval_s)[0][first - offset : last - offset]
    wanted = 1 if name == "nearest_equivalent_day" else pack.like_day_count
    taken = []
    for row in _candidates(name, civil_day.day, history, pack):
        energy = history.energy[row, slots]
        if np.isfinite(energy).all():
            taken.append(row)
            if len(taken) == wanted:
                break
    if not taken:
        return
    values[first:last] = history.energy[taken][:, slots].mean(axis=0) / worth
    methods[first:last] = AVERAGE_LIKE_DAY if len(taken) > 1 else LIKE_DAY
    days = ", ".join(history.day(row).isoformat() for row in taken)
    notes[day] = f"{name.replace('_', ' ')} of {days}"


def _candidates(name: str, day: date, history: History, pack: RulePack) -> Iterator[int]:
    """Rows of the history that a method may take for ``day``, best first."""
    target = history.row(day)
    rows = history.energy.shape[0]
    day_class = pack.day_class(day)
    if name == "following_days":
        later = range(max(target + 1, 0), min(target + pack.like_day_max_age_days + 1, rows))
        same = [row for row in later if _class_of(row, history, pack) == day_class]
        yield from same
        yield from (row for row in later if row not in same)
        return
    equivalent = name == "nearest_equivalent_day"
    age = pack.equivalent_days_max_age_days if equivalent else pack.like_day_max_age_days
    earlier = [row for row in range(target - 1, max(target - age, 0) - 1, -1) if row < rows]
    if name == "previous_days":
        yield from earlier
        return
    allowed = pack.equivalent_days[day_class] if equivalent else (day_class,)
    for stand_in in allowed:
        yield from (row for row in earlier if _class_of(row, history, pack) == stand_in)


def _class_of(row: int, history: History, pack: RulePack) -> int:
    return pack.day_class(history.day(row))

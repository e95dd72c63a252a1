"""Which value counts, where several were delivered for one interval: the Door's written rule.

For each interval, of all rows of one (series, channel, day):

1. the better quality wins: measured and valid, then measured but questionable, then estimated or
   substituted, then missing;
2. between equals the later ``captured_at`` wins (of content that was delivered several times: the latest);
3. between those the greater value, then the greater status id.

A row with ``rule = WITHDRAW`` takes back: in the intervals that *it* marks as missing, every value
captured at or before it no longer counts; its other intervals say nothing. Rows on different grids
(interval length, quantum or zone) do not mix: the grid that covers more of the day wins, then the later
capture, then the shorter interval. Rule of the file: the outcome is a function of the *set* of
deliveries; no order of arrival changes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import or_

import numpy as np
import numpy.typing as npt

from openami.quantities.civil_time import CivilDay
from openami.quantities.status import MISSING, DeviceFlag, Quality, is_missing, qualities
from openami.quantities.units import Quantum
from openami.readings.interval_block import Counts, IntervalBlock, StatusIds

WITHDRAW = "withdraw"
"""``rule`` of a raw block that takes back earlier values."""

_RANK = np.array(
    [
        {
            Quality.ACTUAL: 4,
            Quality.SUSPECT: 3,
            Quality.FINAL_SUBSTITUTE: 2,
            Quality.SUBSTITUTED: 2,
            Quality.ESTIMATED: 2,
        }.get(Quality(number) if number in list(Quality) else Quality.NULL, 0)
        for number in range(8)
    ],
    np.int8,
)
_QUESTIONABLE = (DeviceFlag.DATA_INVALID | DeviceFlag.OVERFLOW | DeviceFlag.TEST_MODE) << 18

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Grid = tuple[int, Quantum, str]


@dataclass(frozen=True, slots=True)
class Resolved:
    """The values that count on one (series, channel, day).

    Parameters
    ----------
    block:
        The outcome; ``sources`` are the rows it was made of.
    origin:
        For each interval the place in the rows given of the one that counts; -1 where none delivered.
    """

    block: IntervalBlock
    origin: npt.NDArray[np.int64]


def grid_of(block: IntervalBlock) -> Grid:
    """What two blocks must share to be compared interval by interval."""
    return block.interval_s, block.quantum, block.day.zone


def rank(status_ids: StatusIds) -> npt.NDArray[np.int8]:
    """How much a value counts by its status: 4 measured and valid .. 0 missing, same shape."""
    ranks = _RANK[qualities(status_ids)]
    return np.where((ranks == 4) & (status_ids & _QUESTIONABLE != 0), np.int8(3), ranks)


def is_measured(status_ids: StatusIds) -> npt.NDArray[np.bool_]:
    """True where a meter measured the value, valid or questionable, same shape."""
    measured: npt.NDArray[np.bool_] = rank(status_ids) >= 3
    return measured


def resolve(rows: Sequence[IntervalBlock], confirmed: Mapping[str, datetime]) -> Resolved:
    """The values that count, of all rows of one (series, channel, day).

    Parameters
    ----------
    rows:
        At least one, oldest first.
    confirmed:
        By block id: when the same content was captured again, later than the row itself.
    """
    captured = [max(row.captured_at, confirmed.get(row.block_id, row.captured_at)) for row in rows]
    if len(rows) == 1 and rows[0].rule != WITHDRAW:
        origin = np.where(rows[0].missing, -1, 0)
        return Resolved(replace(rows[0], captured_at=captured[0], sources=(rows[0].block_id,)), origin)
    grids: dict[Grid, list[int]] = {}
    for place, row in enumerate(rows):
        grids.setdefault(grid_of(row), []).append(place)
    outcomes = [_resolve_grid(rows, captured, places) for places in grids.values()]
    return max(outcomes, key=_grid_precedence)


def _grid_precedence(resolved: Resolved) -> tuple[int, datetime, int, str]:
    block = resolved.block
    covered = int(np.count_nonzero(~block.missing)) * block.interval_s
    return covered, block.captured_at, -block.interval_s, f"{block.quantum} {block.day.zone}"


def _resolve_grid(
    rows: Sequence[IntervalBlock], captured: Sequence[datetime], places: Sequence[int]
) -> Resolved:
    first = rows[places[0]]
    shape = first.values.shape
    instants = np.array([_microseconds(captured[place]) for place in places], np.int64)
    withdrawn, withdrawer = _withdrawals(rows, instants, places, shape)

    values: Counts = np.zeros(shape, np.int64)
    status: StatusIds = np.full(shape, MISSING, np.int32)
    best_rank = np.full(shape, -1, np.int8)
    best_instant = np.full(shape, np.iinfo(np.int64).min, np.int64)
    origin = np.full(shape, -1, np.int64)
    for place, instant in zip(places, instants, strict=True):
        row = rows[place]
        if row.rule == WITHDRAW:
            continue
        ids = row.status_ids
        ranks = rank(ids)
        later = (instant > best_instant) | (
            (instant == best_instant)
            & ((row.values > values) | ((row.values == values) & (ids > status)))
        )  # fmt: skip
        wins = ((ranks > best_rank) | ((ranks == best_rank) & later)) & (instant > withdrawn)
        values = np.where(wins, row.values, values)
        status = np.where(wins, ids, status)
        best_rank = np.where(wins, ranks, best_rank)
        best_instant = np.where(wins, instant, best_instant)
        origin = np.where(wins, place, origin)
    taken_back = (origin < 0) & (withdrawer >= 0)
    for place in {int(one) for one in withdrawer[taken_back]}:
        here = taken_back & (withdrawer == place)
        status = np.where(here, rows[place].status_ids, status)
        origin = np.where(here, place, origin)
    return Resolved(_outcome(rows, captured, places, values, status, origin), origin)


def _withdrawals(
    rows: Sequence[IntervalBlock],
    instants: npt.NDArray[np.int64],
    places: Sequence[int],
    shape: tuple[int, ...],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Per interval: the instant of the latest withdrawal (microseconds), and which row it is (or -1)."""
    withdrawn = np.full(shape, np.iinfo(np.int64).min, np.int64)
    withdrawer = np.full(shape, -1, np.int64)
    status = np.full(shape, -1, np.int32)
    for place, instant in zip(places, instants, strict=True):
        row = rows[place]
        if row.rule != WITHDRAW:
            continue
        ids = row.status_ids
        later = row.missing & ((instant > withdrawn) | ((instant == withdrawn) & (ids > status)))
        withdrawn = np.where(later, instant, withdrawn)
        withdrawer = np.where(later, place, withdrawer)
        status = np.where(later, ids, status)
    return withdrawn, withdrawer


def _outcome(
    rows: Sequence[IntervalBlock],
    captured: Sequence[datetime],
    places: Sequence[int],
    values: Counts,
    status: StatusIds,
    origin: npt.NDArray[np.int64],
) -> IntervalBlock:
    contributing = [int(place) for place in np.unique(origin) if place >= 0] or list(places)
    evidence = {rows[place].evidence_id for place in contributing}
    if len(places) == 1 and not is_missing(status).all():
        return replace(rows[places[0]], captured_at=captured[places[0]], sources=(rows[places[0]].block_id,))
    first = rows[places[0]]
    return IntervalBlock(
        series_id=first.series_id,
        channel=first.channel,
        day=CivilDay(first.day.day, first.day.zone),
        interval_s=first.interval_s,
        quantum=first.quantum,
        values=values,
        captured_at=max(captured[place] for place in places),
        status=status,
        anchor_start=_anchor([(captured[place], rows[place].anchor_start) for place in places]),
        anchor_end=_anchor([(captured[place], rows[place].anchor_end) for place in places]),
        failed_checks=reduce(or_, (rows[place].failed_checks for place in contributing)),
        evidence_id=evidence.pop() if len(evidence) == 1 else None,
        sources=tuple(rows[place].block_id for place in contributing),
        rule="overlay",
        version=max(row.version for row in rows),
        seq=max(row.seq for row in rows),
    )


def _anchor(candidates: Sequence[tuple[datetime, int | None]]) -> int | None:
    """The register count captured last; the greater of those captured at once."""
    there = [(captured, count) for captured, count in candidates if count is not None]
    return max(there)[1] if there else None


def _microseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)

"""What of a batch is new: the Door's rules for duplicates and conflicts.

- An interval block, register read or event whose content is stored already (whatever its evidence and
  capture time) is a duplicate: counted, not stored; when it was captured *later* than the stored one,
  that instant is kept as a confirmation, because the later capture decides conflicts.
- A block that differs from what counted so far in a measured interval (or in an anchor) is a conflict,
  as is a register read that differs at the same instant: both are kept, and `overlay` says which counts.
- Evidence is stored when something stored refers to it, or nothing in the batch does.

Rule: nothing is dropped that could ever change an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime

import numpy as np

from openami.mdm.stores.overlay import WITHDRAW, grid_of, is_measured, rank, resolve
from openami.mdm.stores.tables import utc_day
from openami.readings.door import Conflict
from openami.readings.event import Event
from openami.readings.evidence import Evidence
from openami.readings.interval_block import IntervalBlock
from openami.readings.register_read import RegisterRead

BlockKey = tuple[str, str, date]
"""series id, channel, day."""

ReadKey = tuple[str, str, datetime, str]
"""meter id, register, instant, kind."""


Item = IntervalBlock | RegisterRead | Event
"""What may refer to evidence."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Stored content (row ``item_id``) was captured again."""

    item_id: str
    series_id: str
    day: date
    captured_at: datetime


@dataclass(slots=True)
class Admission:
    """What of a batch goes into the store."""

    intervals: list[IntervalBlock] = field(default_factory=list)
    register_reads: list[RegisterRead] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    confirmations: list[Confirmation] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    duplicates: int = 0


def block_key(block: IntervalBlock) -> BlockKey:
    """What the rows of one day of one channel have in common."""
    return block.series_id, str(block.channel), block.day.day


def read_key(read: RegisterRead) -> ReadKey:
    """What deliveries of one register read have in common."""
    return read.meter_id, str(read.register), read.at, read.kind


def admit_blocks(
    admission: Admission,
    incoming: Iterable[IntervalBlock],
    stored: Mapping[BlockKey, Sequence[IntervalBlock]],
    confirmed: Mapping[str, datetime],
    seq: int,
) -> None:
    """Sort incoming raw blocks into new ones, duplicates and conflicts.

    Parameters
    ----------
    stored:
        Rows in the store by key, oldest first.
    confirmed:
        By block id: the latest instant at which its content was captured again.
    """
    known = {key: list(rows) for key, rows in stored.items()}
    again = dict(confirmed)
    for block in incoming:
        rows = known.setdefault(block_key(block), [])
        twin = next((row for row in rows if _says_no_more(block, row)), None)
        if twin is not None:
            admission.duplicates += 1
            if block.captured_at > max(twin.captured_at, again.get(twin.block_id, twin.captured_at)):
                again[twin.block_id] = block.captured_at
                admission.confirmations.append(
                    Confirmation(twin.block_id, twin.series_id, twin.day.day, block.captured_at)
                )
            continue
        version = max((row.version for row in rows), default=0) + 1
        new = replace(block, version=version, seq=seq)
        if rows:
            admission.conflicts += _block_conflicts(rows, new, again)
        rows.append(new)
        admission.intervals.append(new)


def admit_finals(
    admission: Admission,
    incoming: Iterable[IntervalBlock],
    current: Mapping[BlockKey, IntervalBlock],
    seq: int,
) -> None:
    """Give final blocks their version numbers; those identical to the current version are dropped."""
    known = dict(current)
    for block in incoming:
        key = block_key(block)
        standing = known.get(key)
        if standing is not None and _same_final(block, standing):
            admission.duplicates += 1
            continue
        known[key] = replace(block, version=1 if standing is None else standing.version + 1, seq=seq)
        admission.intervals.append(known[key])


def admit_reads(
    admission: Admission,
    incoming: Iterable[RegisterRead],
    stored: Mapping[ReadKey, Sequence[RegisterRead]],
    confirmed: Mapping[str, datetime],
    seq: int,
) -> None:
    """Sort incoming register reads into new ones, duplicates and conflicts."""
    known = {key: list(rows) for key, rows in stored.items()}
    again = dict(confirmed)
    for read in incoming:
        rows = known.setdefault(read_key(read), [])
        twin = next((row for row in rows if _same_read(read, row)), None)
        if twin is not None:
            admission.duplicates += 1
            if read.captured_at > max(twin.captured_at, again.get(twin.read_id, twin.captured_at)):
                again[twin.read_id] = read.captured_at
                admission.confirmations.append(
                    Confirmation(twin.read_id, twin.meter_id, utc_day(twin.at), read.captured_at)
                )
            continue
        new = replace(read, seq=seq)
        if rows:
            before = resolve_reads(rows, again)
            after = resolve_reads([*rows, new], again)
            if _measured(new) and _measured(before) and _counts(new) != _counts(before):
                other = before if after is new else new
                what = (
                    f"{new.register} at {new.at.isoformat()}: {before.value} != {new.value} ({new.quantum})"
                )
                admission.conflicts.append(Conflict(new.meter_id, what, after.read_id, other.read_id))
        rows.append(new)
        admission.register_reads.append(new)


def resolve_reads(rows: Sequence[RegisterRead], confirmed: Mapping[str, datetime]) -> RegisterRead:
    """The read that counts, of all of one key: better quality, later capture, greater value."""

    def precedence(read: RegisterRead) -> tuple[int, datetime, int, int, str, str]:
        captured = max(read.captured_at, confirmed.get(read.read_id, read.captured_at))
        status = int(rank(np.array([read.status], np.int32))[0])
        return status, captured, read.value, read.status, str(read.quantum), str(read.reached_at)

    return max(rows, key=precedence)


def admit_events(admission: Admission, incoming: Iterable[Event], stored: Iterable[Event], seq: int) -> None:
    """Sort incoming events into new ones and duplicates."""
    known = {_event_key(event) for event in stored}
    for event in incoming:
        key = _event_key(event)
        if key in known:
            admission.duplicates += 1
            continue
        known.add(key)
        admission.events.append(replace(event, seq=seq))


def evidence_to_keep(
    admission: Admission,
    referring: Iterable[Item],
    incoming: Iterable[Evidence],
) -> dict[str, Evidence]:
    """Evidence of a batch that must be in the store, by id.

    Parameters
    ----------
    referring:
        All items of the batch.
    """
    spoken_of = {item.evidence_id for item in referring}
    needed = {block.evidence_id for block in admission.intervals}
    needed |= {read.evidence_id for read in admission.register_reads}
    needed |= {event.evidence_id for event in admission.events}
    return {
        item.evidence_id: item
        for item in incoming
        if item.evidence_id in needed or item.evidence_id not in spoken_of
    }


def _says_no_more(block: IntervalBlock, row: IntervalBlock) -> bool:
    """True when a block adds nothing to a stored row: same values, status, rule and anchors."""
    return (
        block.rule == row.rule
        and grid_of(block) == grid_of(row)
        and np.array_equal(block.values, row.values)
        and _same_status(block, row)
        and (block.anchor_start, block.anchor_end) == (row.anchor_start, row.anchor_end)
        and block.failed_checks == row.failed_checks
    )


def _same_final(block: IntervalBlock, standing: IntervalBlock) -> bool:
    return (
        block.rule == standing.rule
        and grid_of(block) == grid_of(standing)
        and np.array_equal(block.values, standing.values)
        and _same_status(block, standing)
        and block.anchor_start == standing.anchor_start
        and block.anchor_end == standing.anchor_end
        and block.failed_checks == standing.failed_checks
        and block.sources == standing.sources
    )


def _same_status(one: IntervalBlock, other: IntervalBlock) -> bool:
    if one.status is None or other.status is None:
        return one.status is other.status
    return np.array_equal(one.status, other.status)


def _same_read(read: RegisterRead, row: RegisterRead) -> bool:
    return (_counts(read), read.reached_at, read.status) == (_counts(row), row.reached_at, row.status)


def _counts(read: RegisterRead) -> tuple[int, str]:
    return read.value, str(read.quantum)


def _measured(read: RegisterRead) -> bool:
    return bool(is_measured(np.array([read.status], np.int32))[0])


def _event_key(event: Event) -> tuple[str, datetime, int, str]:
    return event.meter_id, event.at, event.code, event.detail


def _block_conflicts(
    rows: Sequence[IntervalBlock], new: IntervalBlock, confirmed: Mapping[str, datetime]
) -> list[Conflict]:
    """Where a new block contradicts what counted before it: one conflict per row contradicted."""
    if new.rule == WITHDRAW:
        return []
    before = resolve(rows, confirmed)
    together = [*rows, new]
    after = resolve(together, confirmed)
    subject = f"{new.channel} {new.day.day.isoformat()}"
    if grid_of(before.block) != grid_of(new):
        loser = new if grid_of(after.block) != grid_of(new) else rows[0]
        kept = rows[0] if loser is new else new
        grids = (
            f"{before.block.interval_s} s of {before.block.quantum} != {new.interval_s} s of {new.quantum}"
        )
        return [Conflict(new.series_id, f"{subject}: {grids}", kept.block_id, loser.block_id)]
    conflicts = []
    differs = (
        is_measured(before.block.status_ids)
        & is_measured(new.status_ids)
        & (before.block.values != new.values)
    )
    for place in np.unique(before.origin[differs]):
        here = np.flatnonzero(differs & (before.origin == place))
        first = int(here[0])
        standing = rows[int(place)]
        wins = int(after.origin[first]) == len(rows)
        kept, other = (new, standing) if wins else (standing, new)
        at = new.day.interval_start(first, new.interval_s).isoformat()
        what = (
            f"{subject}: {len(here)} of {len(new.values)} intervals differ, first at {at}: "
            f"{before.block.values[first]} != {new.values[first]} ({new.quantum})"
        )
        conflicts.append(Conflict(new.series_id, what, kept.block_id, other.block_id))
    for name, old, fresh in (
        ("start", before.block.anchor_start, new.anchor_start),
        ("end", before.block.anchor_end, new.anchor_end),
    ):
        if old is not None and fresh is not None and old != fresh:
            standing = max(rows, key=lambda row: row.captured_at)
            wins = (after.block.anchor_start if name == "start" else after.block.anchor_end) == fresh
            kept, other = (new, standing) if wins else (standing, new)
            what = f"{subject}: register at the {name} of the day: {old} != {fresh} ({new.quantum})"
            conflicts.append(Conflict(new.series_id, what, kept.block_id, other.block_id))
    return conflicts

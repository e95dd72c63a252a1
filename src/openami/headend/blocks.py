"""From the rows a meter gave to what travels: interval blocks, register reads, events, evidence, one batch.

A load profile names the *end* of each interval by the meter's clock; a block names its *start*, on the grid
of the civil day in the meter's zone (92, 96 or 100 quarter-hours). A row is attributed to the interval in
which it ends, so the row of local midnight belongs to the day that ends; several rows of one interval (the
clock was set) are added. The rule never to be broken: the sum of the blocks is the sum of the rows, to
the count. Everything here is a pure function.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from openami.protocols.driver import ProfileRows, RecordedFrame, RegisterValue
from openami.quantities.civil_time import CivilDay, civil_day_of
from openami.quantities.errors import QuantityError, RemoteProtocolError
from openami.quantities.obis import REGISTER_OF_INTERVAL
from openami.quantities.status import MISSING, DeviceFlag, Status
from openami.readings.door import Batch
from openami.readings.event import Event
from openami.readings.evidence import Evidence, frames_content
from openami.readings.interval_block import IntervalBlock
from openami.readings.read_order import ReadOrder
from openami.readings.register_read import RegisterRead

Frames = Sequence[RecordedFrame]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DEVICE_SHIFT = 18
_DEVICE_MASK = 0x1FFF


@dataclass(frozen=True, slots=True, eq=False)
class Exchange:
    """All that one association with one meter gave.

    Parameters
    ----------
    order:
        What was asked.
    captured_at:
        Instant (UTC) by the head-end's clock.
    complete_until:
        Instant up to which intervals are over by the meter's *and* the head-end's clock. An interval that
        is not may still get a second row when the clock is set, so it is left for the next read.
    frames:
        Frames of both directions, in order.
    profile, freezes, registers, events:
        What the meter answered; None or empty where nothing was asked.
    notes:
        Events the head-end itself noticed in this exchange (clock difference, clock set).
    """

    order: ReadOrder
    captured_at: datetime
    complete_until: datetime
    frames: tuple[RecordedFrame, ...]
    profile: ProfileRows | None = None
    freezes: ProfileRows | None = None
    registers: tuple[RegisterValue, ...] = ()
    events: tuple[tuple[datetime, int], ...] = ()
    notes: tuple[Event, ...] = ()


def batch_of(exchange: Exchange) -> Batch:
    """The batch of one exchange: every reading in it refers to the one piece of evidence in it.

    Raises
    ------
    RemoteProtocolError
        The profile's capture period does not divide the day, or its columns do not fit together.
    """
    order = exchange.order
    evidence = frames_evidence(
        order, exchange.frames, exchange.captured_at, "load profile, freezes, registers, events"
    )
    freezes = (
        ()
        if exchange.freezes is None
        else freeze_reads(exchange.freezes, order.meter_id, exchange.captured_at, evidence.evidence_id)
    )
    blocks = (
        ()
        if exchange.profile is None
        else interval_blocks(
            exchange.profile,
            meter_id=order.meter_id,
            zone=order.zone,
            start=order.start,
            end=min(order.end, exchange.complete_until),
            captured_at=exchange.captured_at,
            evidence_id=evidence.evidence_id,
            anchors=freezes,
        )
    )
    current = tuple(
        RegisterRead(
            meter_id=order.meter_id,
            register=value.register,
            at=exchange.captured_at,
            quantum=value.quantum,
            value=value.value,
            captured_at=exchange.captured_at,
            kind="current",
            reached_at=value.reached_at,
            evidence_id=evidence.evidence_id,
        )
        for value in exchange.registers
    )
    events = tuple(
        Event(order.meter_id, at, code, exchange.captured_at, evidence_id=evidence.evidence_id)
        for at, code in exchange.events
    )
    notes = tuple(
        Event(note.meter_id, note.at, note.code, note.captured_at, note.detail, evidence.evidence_id)
        for note in exchange.notes
    )
    return Batch(
        source=source_of(order),
        intervals=blocks,
        register_reads=(*freezes, *current),
        events=(*events, *notes),
        evidence=(evidence,),
    )


def interval_blocks(
    rows: ProfileRows,
    *,
    meter_id: str,
    zone: str,
    start: datetime,
    end: datetime,
    captured_at: datetime,
    evidence_id: str | None = None,
    anchors: Sequence[RegisterRead] = (),
) -> tuple[IntervalBlock, ...]:
    """Blocks per channel and civil day of the intervals that lie wholly in ``[start, end)``.

    A row stamped ``at`` counts in the interval with ``interval start < at <= interval end``. Device flags of
    all rows of an interval are joined; an interval of several rows, or of a row that does not end on the
    grid, carries `DeviceFlag.CLOCK_SET` even if the meter forgot to say so. An interval without a row is
    missing. A day without a row gives no block.

    Parameters
    ----------
    rows:
        Load profile as the meter gave it, in any order.
    meter_id, zone:
        The series, and the IANA zone in which the meter counts civil days.
    start, end:
        Instants; intervals that reach beyond them are left out, because another row may belong to them.
    captured_at, evidence_id:
        When it was read, and what it came from.
    anchors:
        Midnight freezes of the meter; those that bound a day become the anchors of its blocks.

    Raises
    ------
    RemoteProtocolError
        The capture period does not divide the day, or columns have different lengths.

    Examples
    --------
    The row of 2024-03-31 00:00 local is the last interval of March 30, in Berlin as anywhere.
    """
    _check_shape(rows, meter_id)
    at = rows.at.astype("datetime64[us]").astype(np.int64)
    asked = (at > _microseconds(start)) & (at <= _microseconds(end))
    if not asked.any():
        return ()
    at, row_flags = at[asked], rows.status[asked].astype(np.int32) & _DEVICE_MASK
    days = _days_covering(at, zone)
    try:
        counts = np.array([day.interval_count(rows.period_s) for day in days], np.int64)
    except QuantityError as error:
        raise RemoteProtocolError(
            f"capture period of {rows.period_s} s: {error.message}", where=f"meter {meter_id}, load profile"
        ) from error
    starts = np.array([_microseconds(day.start) for day in days], np.int64)
    period = rows.period_s * 1_000_000
    day_index = np.searchsorted(starts, at, side="left") - 1
    interval_index = -(-(at - starts[day_index]) // period) - 1
    interval_start = starts[day_index] + interval_index * period
    inside = (interval_start >= _microseconds(start)) & (interval_start + period <= _microseconds(end))
    taken = np.flatnonzero(asked)[inside]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    slot = (offsets[day_index] + interval_index)[inside]
    slots = int(offsets[-1])
    row_count = np.bincount(slot, minlength=slots)
    flags = np.zeros(slots, np.int32)
    np.bitwise_or.at(flags, slot, row_flags[inside])
    off_grid = (interval_start + period != at)[inside]
    np.bitwise_or.at(flags, slot[off_grid], np.int32(DeviceFlag.CLOCK_SET))
    flags[row_count > 1] |= np.int32(DeviceFlag.CLOCK_SET)
    status = np.where(row_count == 0, np.int32(MISSING), flags << _DEVICE_SHIFT).astype(np.int32)
    frozen = {(read.register, read.quantum, read.at): read.value for read in anchors}
    blocks = []
    for channel, column in rows.columns.items():
        values = np.zeros(slots, np.int64)
        np.add.at(values, slot, column[taken])
        quantum = rows.quanta[channel]
        register = REGISTER_OF_INTERVAL.get(channel, channel)
        for index, day in enumerate(days):
            span = slice(offsets[index], offsets[index + 1])
            if not row_count[span].any():
                continue
            blocks.append(
                IntervalBlock(
                    series_id=meter_id,
                    channel=channel,
                    day=day,
                    interval_s=rows.period_s,
                    quantum=quantum,
                    values=values[span].copy(),
                    captured_at=captured_at,
                    status=status[span].copy(),
                    anchor_start=frozen.get((register, quantum, day.start)),
                    anchor_end=frozen.get((register, quantum, day.end)),
                    evidence_id=evidence_id,
                )
            )
    return tuple(blocks)


def freeze_reads(
    rows: ProfileRows, meter_id: str, captured_at: datetime, evidence_id: str | None = None
) -> tuple[RegisterRead, ...]:
    """Register reads of kind ``"freeze"``, one per row and register of a freeze profile.

    Raises
    ------
    RemoteProtocolError
        Columns have different lengths.
    """
    _check_shape(rows, meter_id)
    instants = [_EPOCH + int(at) * _MICROSECOND for at in rows.at.astype("datetime64[us]").astype(np.int64)]
    return tuple(
        RegisterRead(
            meter_id=meter_id,
            register=register,
            at=at,
            quantum=rows.quanta[register],
            value=value,
            captured_at=captured_at,
            kind="freeze",
            status=Status(device=DeviceFlag(flags & _DEVICE_MASK)).id,
            evidence_id=evidence_id,
        )
        for register, column in rows.columns.items()
        for at, value, flags in zip(instants, column.tolist(), rows.status.tolist(), strict=True)
    )


def frames_evidence(order: ReadOrder, frames: Frames, captured_at: datetime, locator: str) -> Evidence:
    """Evidence of the frames of one exchange; the hash is over all bytes of the wire in order."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(frame.wire)
    return Evidence(
        kind="frames",
        source=source_of(order),
        locator=locator,
        content=frames_content(frames),
        sha256=digest.hexdigest(),
        captured_at=captured_at,
    )


def source_of(order: ReadOrder) -> str:
    """Address of a meter as evidence names it: ``tcp://127.0.0.1:4059/17``."""
    return f"tcp://{order.host}:{order.port}/{order.logical_device}"


def merge_batches(batches: Sequence[Batch], source: str) -> Batch:
    """One batch of several, so that many meters share one durable commit."""
    return Batch(
        source=source,
        intervals=tuple(block for batch in batches for block in batch.intervals),
        register_reads=tuple(read for batch in batches for read in batch.register_reads),
        events=tuple(event for batch in batches for event in batch.events),
        evidence=tuple(item for batch in batches for item in batch.evidence),
    )


def measured_intervals(blocks: Sequence[IntervalBlock]) -> int:
    """How many intervals of the blocks have a value."""
    return sum(int(np.count_nonzero(~block.missing)) for block in blocks)


def _check_shape(rows: ProfileRows, meter_id: str) -> None:
    count = len(rows.at)
    lengths = {str(code): len(column) for code, column in rows.columns.items()}
    if len(rows.status) != count or any(length != count for length in lengths.values()):
        raise RemoteProtocolError(
            f"profile columns of different lengths: {count} instants, {lengths}", where=f"meter {meter_id}"
        )
    unnamed = [str(code) for code in rows.columns if code not in rows.quanta]
    if unnamed or rows.period_s <= 0:
        raise RemoteProtocolError(
            f"profile without unit of {unnamed} or with a period of {rows.period_s} s",
            where=f"meter {meter_id}",
        )


def _days_covering(at: npt.NDArray[np.int64], zone: str) -> list[CivilDay]:
    """Civil days of all rows, where a row at midnight belongs to the day that ends."""
    first = civil_day_of(_EPOCH + (int(at.min()) - 1) * _MICROSECOND, zone)
    last = civil_day_of(_EPOCH + (int(at.max()) - 1) * _MICROSECOND, zone)
    count = (last.day - first.day).days + 1
    return [CivilDay(first.day + timedelta(days=index), zone) for index in range(count)]


def _microseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND

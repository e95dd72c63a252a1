"""A stretch: one channel of one meter while it serves one usage point, over consecutive civil days.

Everything is laid on one time grid of the meter's intervals, so days of 92, 96 and 100 quarter-hours,
gaps over midnight and register spans of several days are plain index ranges. A meter that gives one value
a civil day has a grid of days, whether they have 23, 24 or 25 hours. Values are on the meter's
secondary side, in whole quanta no coarser than its registers. Nothing in a stretch is ever changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np

from openami.mdm.vee.kernel import ABSENT, Counts, Reals
from openami.mdm.vee.register_spans import Anchor, Span, find_anchors, spans_between
from openami.quantities.civil_time import CivilDay, civil_day_of, zone_of
from openami.quantities.errors import ValidationError
from openami.quantities.obis import REGISTER_OF_INTERVAL, ObisCode, lookup
from openami.quantities.status import MISSING
from openami.quantities.units import Quantum
from openami.readings.event import Event, EventCode
from openami.readings.interval_block import IntervalBlock, StatusIds
from openami.readings.register_read import RegisterRead
from openami.registry.entities import Installation, Meter

_ENDS = {EventCode.POWER_DOWN: EventCode.POWER_UP, EventCode.DISCONNECTED: EventCode.RECONNECTED}
DAY_S = 86_400
"""Interval length that stands for one value a civil day."""

OFF_EVENTS = (
    EventCode.POWER_DOWN,
    EventCode.POWER_UP,
    EventCode.DISCONNECTED,
    EventCode.RECONNECTED,
)
"""Events that say when no energy can flow."""


@dataclass(frozen=True, slots=True)
class OffTime:
    """Time ``[start, end)`` in which no energy could flow, and the events that say so."""

    start: datetime
    end: datetime
    cause: EventCode
    evidence_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """One channel of one meter at one usage point.

    Parameters
    ----------
    days, offsets:
        The civil days, and where each begins on the grid, int64 (days + 1,).
    values:
        int64 (n,), counts; `ABSENT` where the meter gave none.
    raw_status:
        int32 (n,), status ids as they came.
    inside:
        float64 (n,), the part of each interval in which the meter was there (1 but at an exchange).
    energised:
        float64 (n,), the part in which energy could flow (1 but in an outage).
    anchors, spans:
        Register reads on the grid, and what lies between them.
    blocks:
        The raw block of each day, None where there is none.
    """

    meter_id: str
    usage_point_id: str
    channel: ObisCode
    days: tuple[CivilDay, ...]
    interval_s: int
    quantum: Quantum
    offsets: Counts
    values: Counts
    raw_status: StatusIds
    inside: Reals
    energised: Reals
    anchors: tuple[Anchor, ...]
    spans: tuple[Span, ...]
    off_times: tuple[OffTime, ...]
    blocks: tuple[IntervalBlock | None, ...]

    def day_slice(self, index: int) -> slice:
        """Intervals of day ``index``."""
        return slice(int(self.offsets[index]), int(self.offsets[index + 1]))

    def day_of(self, position: int) -> int:
        """Index of the day in which interval ``position`` lies."""
        return int(np.searchsorted(self.offsets, position, side="right")) - 1


def lay_out(
    meter: Meter,
    installation: Installation,
    channel: ObisCode,
    days: Sequence[CivilDay],
    blocks: Mapping[CivilDay, IntervalBlock],
    reads: Iterable[RegisterRead],
    off_times: Sequence[OffTime],
    *,
    max_span_days: int,
) -> Stretch | None:
    """Lay the readings of one channel on the grid; None when the meter was not there on any of ``days``.

    Raises
    ------
    ValidationError
        Blocks of different interval lengths or units, or of another interval than the meter's registry
        entry says where there are none.
    """
    begin, end = installation.valid_from, installation.valid_to
    served = tuple(day for day in days if day.end > begin and (end is None or day.start < end))
    if not served:
        return None
    present = [blocks[day] for day in served if day in blocks]
    interval_s = _interval_of(meter, channel, present)
    reads = list(reads)
    quantum = _quantum_of(meter, channel, present, reads)
    offsets = np.zeros(len(served) + 1, np.int64)
    np.cumsum([interval_count(day, interval_s) for day in served], out=offsets[1:])
    values = np.full(offsets[-1], ABSENT, np.int64)
    raw_status = np.full(offsets[-1], MISSING, np.int32)
    for index, day in enumerate(served):
        block = blocks.get(day)
        if block is None:
            continue
        there = slice(int(offsets[index]), int(offsets[index + 1]))
        scaled = block.values * 10 ** (block.quantum.exponent - quantum.exponent)
        if block.status is None:
            values[there] = scaled
            raw_status[there] = 0
        else:
            values[there] = np.where(block.missing, ABSENT, scaled)
            raw_status[there] = block.status
    inside = _part_within(served, interval_s, values.size, begin, end)
    values[inside == 0] = ABSENT
    boundaries = {day.start: int(offset) for day, offset in zip(served, offsets, strict=False)}
    boundaries[served[-1].end] = int(offsets[-1])
    within = np.flatnonzero(inside)
    anchors = find_anchors(
        reads,
        boundaries,
        valid_from=begin,
        valid_to=end,
        first_position=int(within[0]),
        last_position=int(within[-1]) + 1,
        interval_s=interval_s,
        exponent=quantum.exponent,
        digits=meter.digits,
    )
    off_times = _while_installed(_closed_off_times(off_times, served, interval_s, values), begin, end)
    energised = np.ones(values.size)
    for off in off_times:
        energised -= _part_within(served, interval_s, values.size, off.start, off.end)
    return Stretch(
        meter_id=meter.meter_id,
        usage_point_id=installation.usage_point_id,
        channel=channel,
        days=served,
        interval_s=interval_s,
        quantum=quantum,
        offsets=offsets,
        values=values,
        raw_status=raw_status,
        inside=inside,
        energised=np.clip(energised, 0.0, 1.0),
        anchors=tuple(anchors),
        spans=tuple(spans_between(anchors, max_span_days * 86400 // interval_s)),
        off_times=tuple(off_times),
        blocks=tuple(blocks.get(day) for day in served),
    )


def split_by_interval(
    days: Sequence[CivilDay], blocks: Mapping[CivilDay, IntervalBlock]
) -> list[Sequence[CivilDay]]:
    """Consecutive days cut where the interval length of the blocks changes (a meter that was set anew).

    Days without a block go with the days before them.
    """
    cuts, length = [0], None
    for index, day in enumerate(days):
        block = blocks.get(day)
        if block is None:
            continue
        mine = _length_of(block)
        if length is not None and mine != length:
            cuts.append(index)
        length = mine
    return [days[first:last] for first, last in zip(cuts, [*cuts[1:], len(days)], strict=True)]


def interval_count(day: CivilDay, interval_s: int) -> int:
    """Number of intervals of a civil day; 1 for `DAY_S`."""
    return 1 if interval_s == DAY_S else day.interval_count(interval_s)


def position_of(instant: datetime, days: Sequence[CivilDay], interval_s: int) -> float:
    """Place of an instant on the grid of consecutive days, in intervals since the first day began."""
    start = days[0].start
    if interval_s != DAY_S:
        return (instant - start).total_seconds() / interval_s
    if instant <= start:
        return 0.0
    if instant >= days[-1].end:
        return float(len(days))
    day = civil_day_of(instant, days[0].zone)
    return (day.day - days[0].day).days + (instant - day.start).total_seconds() / day.seconds


def off_times_of(events: Iterable[Event]) -> list[OffTime]:
    """Outages and disconnections of one meter from its events.

    One without an end lasts to the end of time (`lay_out` ends it with the first energy measured); an end
    without a beginning says nothing.
    """
    found = []
    began: dict[EventCode, Event] = {}
    for event in sorted(events, key=lambda event: (event.at, event.event_id)):
        for code, end_code in _ENDS.items():
            if event.code == code:
                began.setdefault(code, event)
            elif event.code == end_code and code in began:
                found.append(_off_time(began.pop(code), event))
    return found + [_off_time(event, None) for event in began.values()]


def _off_time(began: Event, ended: Event | None) -> OffTime:
    evidence = [event.evidence_id for event in (began, ended) if event and event.evidence_id]
    end = ended.at if ended else datetime.max.replace(tzinfo=UTC)
    return OffTime(began.at, end, EventCode(began.code), tuple(dict.fromkeys(evidence)))


def _while_installed(off_times: Iterable[OffTime], begin: datetime, end: datetime | None) -> list[OffTime]:
    """What of the off-times lies in an installation: a meter that is taken down loses power, nobody else."""
    mine = []
    for off in off_times:
        first, last = max(off.start, begin), off.end if end is None else min(off.end, end)
        if first < last:
            mine.append(OffTime(first, last, off.cause, off.evidence_ids))
    return mine


def _closed_off_times(
    off_times: Sequence[OffTime], days: Sequence[CivilDay], interval_s: int, values: Counts
) -> list[OffTime]:
    start, grid_end = days[0].start, days[-1].end
    closed = []
    for off in off_times:
        if off.start >= grid_end or off.end <= start:
            continue
        if off.end > grid_end:
            first = max(0, math.ceil(position_of(off.start, days, interval_s)))
            energy = np.flatnonzero(values[first:] > 0)
            back = grid_end
            if energy.size:
                place = first + int(energy[0])
                step = timedelta(seconds=interval_s * place)
                back = days[place].start if interval_s == DAY_S else start + step
            off = OffTime(off.start, max(back, off.start), off.cause, off.evidence_ids)
        closed.append(off)
    return closed


@lru_cache(maxsize=4096)
def local_slots(day: CivilDay, interval_s: int) -> tuple[Counts, bool]:
    """Position of each interval on the wall clock, int64 (count,), and whether the day has 24 hours.

    On the day clocks go back two intervals have the same position; on the day they go forward some
    positions do not occur.
    """
    count = interval_count(day, interval_s)
    if day.seconds == 86400 or count == 1:
        return np.arange(count, dtype=np.int64), True
    zone = zone_of(day.zone)
    slots = []
    for index in range(count):
        local = day.interval_start(index, interval_s).astimezone(zone)
        slots.append((local.hour * 3600 + local.minute * 60 + local.second) // interval_s)
    return np.array(slots, np.int64), False


def _part_within(
    days: Sequence[CivilDay], interval_s: int, count: int, begin: datetime, end: datetime | None
) -> Reals:
    """Part of each interval that lies in ``[begin, end)``, float64 (count,)."""
    first = position_of(begin, days, interval_s)
    last = position_of(end, days, interval_s) if end is not None else float(count)
    grid = np.arange(count, dtype=np.float64)
    part: Reals = np.clip(np.minimum(grid + 1.0, last) - np.maximum(grid, first), 0.0, 1.0)
    return part


def _interval_of(meter: Meter, channel: ObisCode, blocks: Sequence[IntervalBlock]) -> int:
    lengths = {_length_of(block) for block in blocks}
    if len(lengths) > 1:
        days = ", ".join(f"{block.day.day}: {block.interval_s} s" for block in blocks[:60])
        raise ValidationError(
            f"intervals of {sorted(lengths)} s in one channel ({days})",
            where=f"meter {meter.meter_id}, {channel}",
            expected=f"{meter.interval_s} s throughout",
        )
    return lengths.pop() if lengths else meter.interval_s


def _length_of(block: IntervalBlock) -> int:
    return DAY_S if block.interval_s == block.day.seconds else block.interval_s


def _quantum_of(
    meter: Meter, channel: ObisCode, blocks: Sequence[IntervalBlock], reads: Sequence[RegisterRead]
) -> Quantum:
    quanta = [block.quantum for block in blocks] + [read.quantum for read in reads]
    if not quanta:
        return Quantum(lookup(channel).unit, meter.exponent)
    units = {quantum.unit for quantum in quanta}
    if len(units) > 1:
        raise ValidationError(
            f"units {sorted(unit.value for unit in units)} in one channel",
            where=f"meter {meter.meter_id}, {channel} and {REGISTER_OF_INTERVAL.get(channel)}",
            expected=lookup(channel).unit.value,
        )
    return Quantum(units.pop(), min(quantum.exponent for quantum in quanta))

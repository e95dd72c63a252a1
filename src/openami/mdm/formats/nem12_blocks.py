"""NEM12, from days to interval blocks: duplicates, channels, quanta, evidence.

The rule never to be broken: all the days of a channel in a file are counted in one quantum, the coarsest that
holds all of their values exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np

from openami.mdm.formats import mdff
from openami.mdm.formats.diagnostics import DiagnosticLog, Refused
from openami.mdm.formats.exact_numbers import scale_exact
from openami.mdm.formats.nem12_records import Numbers, Record
from openami.quantities.civil_time import CivilDay
from openami.quantities.obis import ObisCode
from openami.quantities.units import Quantum
from openami.readings.evidence import Evidence
from openami.readings.interval_block import IntervalBlock, StatusIds


@dataclass(frozen=True, slots=True)
class Origin:
    """The file that days come from; ``made_at`` is the time of its header."""

    data: bytes
    source: str
    sha256: str
    made_at: datetime


@dataclass(slots=True)
class Stream:
    """One 200 record; ``unit`` is None for streams that are known but not imported."""

    line: int
    nmi: str
    series_id: str
    suffix: str
    unit: Quantum | None
    interval_s: int
    count: int
    good: bool
    days: int = 0


@dataclass(slots=True)
class Day:
    """One 300 record with its 400 records; ``offset`` is where its numbers are."""

    stream: Stream
    record: Record
    day: date
    offset: int
    finest: int
    updated_at: datetime | None
    variable: bool
    status: StatusIds | int
    empty: tuple[int, ...] = ()
    negative: bool = False
    covered: int = 0
    end: int = 0
    last: int = 0
    good: bool = True


def without_duplicates(
    days: list[Day], numbers: Numbers, log: DiagnosticLog, refused: list[Refused]
) -> list[Day]:
    """Days without repetitions; versions with different update times stay, conflicts are refused."""
    kept: dict[tuple[str, str, date], list[Day]] = {}
    last_day: dict[int, date] = {}
    result = []
    for day in days:
        line = day.record.first
        if (before := last_day.get(day.stream.line)) is not None and day.day < before:
            log.warning(line, "date_order", f"{day.day} after {before}", "days in order")
        last_day[day.stream.line] = day.day
        key = (day.stream.series_id, day.stream.suffix, day.day)
        earlier = kept.setdefault(key, [])
        twin = next((other for other in earlier if _same(day, other, numbers)), None)
        if twin is not None:
            log.warning(line, "duplicate", f"the same as line {twin.record.first}", "each day once")
            continue
        for other in earlier:
            message = f"other values than line {other.record.first} for {key[0]} {key[1]} on {day.day}"
            if other.updated_at != day.updated_at:
                log.warning(line, "superseded", message, "one version of each day")
            elif log.deviation(line, "conflicting_duplicate", message, "another update time"):
                day.good = other.good = False
        earlier.append(day)
        result.append(day)
    for day in result:
        if not day.good:
            refused.append(Refused(day.record.first, day.last, "300 record"))
    return [day for day in result if day.good]


def blocks_of(
    days: list[Day],
    numbers: Numbers,
    origin: Origin,
    log: DiagnosticLog,
    refused: list[Refused],
    evidence: list[Evidence],
) -> Iterator[IntervalBlock]:
    """Blocks of days, counted in the quantum of their channel; appends one piece of evidence for each."""
    channels = _channels(days)
    finest = Counter[tuple[str, str]]()
    for day in days:
        key = (day.stream.series_id, day.stream.suffix)
        finest[key] = max(finest[key], day.finest)
    counts = np.empty_like(numbers.mantissas)
    civil: dict[date, CivilDay] = {}
    uniform: dict[tuple[int, int], StatusIds | None] = {}
    for day in days:
        stream = day.stream
        key = (stream.series_id, stream.suffix)
        assert stream.unit is not None
        quantum, places = mdff.quantum_for(stream.unit, finest[key])
        rows = slice(day.offset, day.offset + stream.count)
        values = counts[rows]
        if scale_exact(numbers.mantissas[rows], numbers.decimals[rows], places, values) >= 0:
            log.error(day.record.first, "interval_value", "a value is too large", f"int64 of {quantum}")
            refused.append(Refused(day.record.first, day.last, "300 record"))
            continue
        status: StatusIds | None
        if isinstance(day.status, int):
            status_key = (day.status, stream.count)
            if status_key not in uniform:
                uniform[status_key] = np.full(stream.count, day.status, np.int32) if day.status else None
            status = uniform[status_key]
        else:
            status = day.status
        first, last = day.record.first, day.last
        item = Evidence(
            "file",
            origin.source,
            f"line {first}" if first == last else f"lines {first}-{last}",
            origin.data[day.record.start : day.end],
            origin.sha256,
            origin.made_at,
        )
        evidence.append(item)
        if day.day not in civil:
            civil[day.day] = CivilDay(day.day, mdff.NEM_ZONE)
        yield IntervalBlock(
            series_id=stream.series_id,
            channel=channels[key],
            day=civil[day.day],
            interval_s=stream.interval_s,
            quantum=quantum,
            values=values,
            captured_at=day.updated_at or origin.made_at,
            status=status,
            evidence_id=item.evidence_id,
        )


def _same(day: Day, other: Day, numbers: Numbers) -> bool:
    count = day.stream.count
    if (
        count != other.stream.count
        or day.updated_at != other.updated_at
        or day.stream.unit != other.stream.unit
    ):
        return False
    one, two = slice(day.offset, day.offset + count), slice(other.offset, other.offset + count)
    return (
        np.array_equal(np.broadcast_to(day.status, count), np.broadcast_to(other.status, count))
        and np.array_equal(numbers.mantissas[one], numbers.mantissas[two])
        and np.array_equal(numbers.decimals[one], numbers.decimals[two])
    )


def _channels(days: list[Day]) -> dict[tuple[str, str], ObisCode]:
    """Channel of each (series, suffix): the plain code, and for further streams of a kind B = number."""
    kinds: dict[tuple[str, str], set[str]] = {}
    for day in days:
        kinds.setdefault((day.stream.series_id, day.stream.suffix[0]), set()).add(day.stream.suffix)
    channels = {}
    for (series_id, letter), suffixes in kinds.items():
        for suffix in suffixes:
            number = mdff.suffix_number(suffix)
            alone = len(suffixes) == 1 or number == 1
            channels[series_id, suffix] = mdff.stream_channel(letter, 0 if alone else number)
    return channels

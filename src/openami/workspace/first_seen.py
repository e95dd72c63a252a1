"""Meters of a file that the registry does not know, or knows otherwise: what is recorded before storing.

A file names a meter by its serial number and, in some formats, the usage point it hangs at (the NMI of
NEM12). From that and from the days it has readings of:

- a meter nobody knows gets a usage point of its own name, or the one the file says, from its first
  reading on;
- a second meter of one usage point that begins when the first has ended is an exchange; one whose days
  overlap measures something else and gets a usage point ``NMI/serial`` of its own, because a usage point
  has one meter at a time;
- a serial that hangs at another usage point already is another device of the same number: its readings go
  to a meter ``NMI/serial``, never to the first one's customer.

The rule never to be broken: readings never reach a usage point of which neither the file nor the registry
says that they belong there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from openami.mdm.formats import Diagnostic, ImportResult, Severity
from openami.mdm.stores.store import ReadingStore
from openami.quantities.civil_time import midnight
from openami.quantities.obis import ObisCode
from openami.readings.interval_block import IntervalBlock
from openami.registry.entities import Entity, Installation, Meter, UsagePoint
from openami.registry.records import kind_of
from openami.registry.registry import Registry

FILE_MODEL = "file"
"""``Meter.model`` of meters that were recorded because a file has readings of them."""

_INTERVAL_S = 1800
_LAST_READING = """
SELECT max(day), any_value(zone) FROM raw_intervals WHERE series_id = ?
"""


@dataclass(frozen=True, slots=True)
class SeenMeter:
    """One series of a file.

    Parameters
    ----------
    name, usage_point:
        Serial number, and where the file says it hangs (None: it does not say).
    zone:
        Zone its days are counted in; None when the file has register reads only.
    interval_s, exponent, channels:
        As most of its blocks have them, as the finest has it, and all of them.
    first, last:
        Instants between which there are readings, ``[first, last)``.
    """

    name: str
    usage_point: str | None
    zone: str | None
    interval_s: int
    exponent: int
    channels: tuple[ObisCode, ...]
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class MeterPlan:
    """What the registry has to say before the readings of a file are stored.

    Parameters
    ----------
    entities, withdraw:
        For `Registry.record`.
    new_meters:
        Meters among the entities that were not known.
    names:
        The meter of each series that goes by another name.
    refused:
        Series whose readings cannot be stored, each with a diagnostic of severity ERROR.
    diagnostics:
        What does not fit together.
    """

    entities: tuple[Entity, ...]
    withdraw: tuple[Entity, ...]
    new_meters: tuple[str, ...]
    names: Mapping[str, str]
    refused: frozenset[str]
    diagnostics: tuple[Diagnostic, ...]


def seen_meters(result: ImportResult) -> list[SeenMeter]:
    """The series of a file, in the order of their first readings."""
    blocks: dict[str, list[IntervalBlock]] = {}
    for block in result.intervals:
        blocks.setdefault(block.series_id, []).append(block)
    instants: dict[str, list[datetime]] = {}
    for read in result.register_reads:
        instants.setdefault(read.meter_id, []).append(read.at)
    found = [
        _seen(name, blocks.get(name, []), instants.get(name, []), result.usage_points.get(name))
        for name in blocks.keys() | instants.keys()
    ]
    return sorted(found, key=lambda meter: (meter.first, meter.name))


def plan_meters(
    registry: Registry, store: ReadingStore, seen: Iterable[SeenMeter], default_zone: str
) -> MeterPlan:
    """What to record so that the readings of these meters can be validated and billed.

    Parameters
    ----------
    default_zone:
        Zone of meters of which the file has register reads only.
    """
    planner = _Planner(registry, store, default_zone)
    for meter in seen:
        planner.add(meter)
    return planner.plan()


def _seen(
    name: str, blocks: list[IntervalBlock], reads: list[datetime], usage_point: str | None
) -> SeenMeter:
    lengths = Counter(_nominal_s(block) for block in blocks)
    starts = [block.day.start for block in blocks] + reads
    ends = [block.day.end for block in blocks] + reads
    return SeenMeter(
        name=name,
        usage_point=usage_point,
        zone=blocks[0].day.zone if blocks else None,
        interval_s=lengths.most_common(1)[0][0] if lengths else _INTERVAL_S,
        exponent=min((block.quantum.exponent for block in blocks), default=0),
        channels=tuple(sorted({block.channel for block in blocks})),
        first=min(starts),
        last=max(ends),
    )


def _nominal_s(block: IntervalBlock) -> int:
    """Interval length; 86,400 for one interval a civil day, also where the day has 23 or 25 hours."""
    return 86_400 if block.interval_s == block.day.seconds else block.interval_s


class _Planner:
    """Builds the plan, one meter of the file after the other.

    Invariant: ``_meters``, ``_points``, ``_at_point`` and ``_of_meter`` are the registry as it will be when
    what is planned so far is recorded.
    """

    def __init__(self, registry: Registry, store: ReadingStore, default_zone: str) -> None:
        revision = registry.revision
        self._store = store
        self._default_zone = default_zone
        self._meters = {meter.meter_id: meter for meter in registry.meters(revision=revision)}
        self._points = {point.usage_point_id: point for point in registry.usage_points(revision=revision)}
        self._at_point: dict[str, list[Installation]] = defaultdict(list)
        self._of_meter: dict[str, list[Installation]] = defaultdict(list)
        for row in registry.installations(revision=revision):
            self._at_point[row.usage_point_id].append(row)
            self._of_meter[row.meter_id].append(row)
        self._of_file: dict[str, SeenMeter] = {}
        self._recorded: dict[tuple[type, Hashable], Entity] = {}
        self._withdrawn: list[Entity] = []
        self._new: list[str] = []
        self._names: dict[str, str] = {}
        self._refused: set[str] = set()
        self._diagnostics: list[Diagnostic] = []

    def plan(self) -> MeterPlan:
        return MeterPlan(
            tuple(self._recorded.values()),
            tuple(self._withdrawn),
            tuple(self._new),
            self._names,
            frozenset(self._refused),
            tuple(self._diagnostics),
        )

    def add(self, seen: SeenMeter) -> None:
        name = self._name_of(seen)
        if name != seen.name:
            self._names[seen.name] = name
        self._of_file[name] = seen
        known = self._meters.get(name)
        if known is None:
            self._record_new(name, seen)
        else:
            self._compare(known, seen)

    def _name_of(self, seen: SeenMeter) -> str:
        """The serial number, or ``NMI/serial`` where a file's meter of that number hangs elsewhere."""
        known = self._meters.get(seen.name)
        if known is None or known.model != FILE_MODEL or seen.usage_point is None:
            return seen.name
        own = f"{seen.usage_point}/{seen.name}"
        where = {row.usage_point_id for row in self._of_meter[seen.name]}
        return own if where and not where & {seen.usage_point, own} else seen.name

    def _record_new(self, name: str, seen: SeenMeter) -> None:
        point_id = seen.usage_point or name
        zone = seen.zone or self._default_zone
        if self._other_zone(point_id, zone):
            self._refuse_zone(name, seen, point_id)
            return
        place = self._place_at(point_id, seen)
        if place is None:
            point_id = f"{point_id}/{seen.name}"
            place = Installation(name, point_id, seen.first)
        meter = Meter(
            meter_id=name,
            model=FILE_MODEL,
            host="",
            port=0,
            logical_device=0,
            zone=zone,
            interval_s=seen.interval_s,
            digits=9,
            exponent=seen.exponent,
            channels=seen.channels,
        )
        self._meters[name] = meter
        self._new.append(name)
        self._record(meter)
        self._hang(replace(place, meter_id=name))

    def _place_at(self, point_id: str, seen: SeenMeter) -> Installation | None:
        """When a new meter hangs at a usage point, ending what hangs there; None when there is no room."""
        there = sorted(self._at_point[point_id], key=lambda row: row.valid_from)
        later = [row for row in there if row.valid_from >= seen.last]
        earlier = [row for row in there if row.valid_from < seen.last]
        for row in earlier:
            if row.valid_to is not None and row.valid_to <= seen.first:
                continue
            ours = self._meters[row.meter_id].model == FILE_MODEL
            if row.valid_to is not None or not ours or self._last_reading(row.meter_id) > seen.first:
                return None
            self._rehang(row, replace(row, valid_to=seen.first))
        return Installation(seen.name, point_id, seen.first, later[0].valid_from if later else None)

    def _compare(self, known: Meter, seen: SeenMeter) -> None:
        """Check a known meter against the file, and complete what an earlier file did not show."""
        mine = sorted(self._of_meter[known.meter_id], key=lambda row: row.valid_from)
        for row in mine:
            if seen.zone is not None and self._other_zone(row.usage_point_id, seen.zone):
                self._refuse_zone(known.meter_id, seen, row.usage_point_id)
                return
        self._complete_channels(known, seen)
        if not mine and known.model == FILE_MODEL:
            self._hang(Installation(known.meter_id, seen.usage_point or known.meter_id, seen.first))
            return
        if mine and seen.first < mine[0].valid_from and known.model == FILE_MODEL:
            mine[0] = self._begin_earlier(mine[0], seen.first)
        self._warn_where_not_installed(known, seen, mine)
        places = sorted({row.usage_point_id for row in mine})
        expected = {seen.usage_point, f"{seen.usage_point}/{seen.name}"}
        if seen.usage_point is not None and places and not expected & set(places):
            self._warn(
                "usage_point",
                f"meter {known.meter_id} is at {', '.join(places)} in the registry and at "
                f"{seen.usage_point} in the file",
                "the registry is taken to be right",
            )

    def _complete_channels(self, known: Meter, seen: SeenMeter) -> None:
        unknown = [channel for channel in seen.channels if channel not in known.channels]
        if not unknown:
            return
        if known.model != FILE_MODEL:
            names = ", ".join(map(str, unknown))
            message = f"{names} of meter {known.meter_id} is stored, but not a channel of it in the registry"
            self._warn("channel", message, "a site file with all channels, for validation to see them")
            return
        interval_s = known.interval_s if known.channels else seen.interval_s
        fuller = replace(known, channels=(*known.channels, *unknown), interval_s=interval_s)
        self._meters[known.meter_id] = fuller
        self._record(fuller)

    def _begin_earlier(self, row: Installation, first: datetime) -> Installation:
        """Begin an installation when the first reading does, as far as nothing else hung there."""
        ends = [
            other.valid_to
            for other in self._at_point[row.usage_point_id]
            if other is not row and other.valid_from < row.valid_from and other.valid_to is not None
        ]
        begin = max([first, *ends])
        if begin >= row.valid_from:
            return row
        earlier = replace(row, valid_from=begin)
        self._rehang(row, earlier)
        return earlier

    def _warn_where_not_installed(self, known: Meter, seen: SeenMeter, mine: list[Installation]) -> None:
        covered = seen.first
        for row in mine:
            if row.valid_from <= covered and (row.valid_to is None or row.valid_to > covered):
                covered = seen.last if row.valid_to is None else row.valid_to
        if covered < seen.last:
            self._warn(
                "not_installed",
                f"meter {known.meter_id} has readings from {_text(covered)} on, where the registry has it "
                "at no usage point: stored, not validated",
                "an installation over all of its readings",
            )

    def _other_zone(self, point_id: str, zone: str) -> bool:
        point = self._points.get(point_id)
        return point is not None and point.zone != zone

    def _refuse_zone(self, name: str, seen: SeenMeter, point_id: str) -> None:
        self._refused.add(seen.name)
        message = f"days of meter {name} are counted in {seen.zone or self._default_zone}"
        expected = f"{self._points[point_id].zone}, as usage point {point_id}"
        self._diagnostics.append(Diagnostic(None, Severity.ERROR, "zone", message, expected))

    def _warn(self, code: str, message: str, expected: str) -> None:
        self._diagnostics.append(Diagnostic(None, Severity.WARNING, code, message, expected))

    def _record(self, entity: Entity) -> None:
        self._recorded[key_of(entity)] = entity

    def _hang(self, row: Installation) -> None:
        if row.usage_point_id not in self._points:
            zone = self._meters[row.meter_id].zone
            point = UsagePoint(row.usage_point_id, zone, None, "customer", None, "residential")
            self._points[row.usage_point_id] = point
            self._record(point)
        self._at_point[row.usage_point_id].append(row)
        self._of_meter[row.meter_id].append(row)
        self._record(row)

    def _rehang(self, old: Installation, new: Installation) -> None:
        """Let another validity stand instead of one that is recorded or planned."""
        for rows in (self._at_point[old.usage_point_id], self._of_meter[old.meter_id]):
            rows[rows.index(old)] = new
        if key_of(new) != key_of(old) and self._recorded.pop(key_of(old), None) is None:
            self._withdrawn.append(old)
        self._record(new)

    def _last_reading(self, meter_id: str) -> datetime:
        """End of the last reading of a meter, in this file and in the store."""
        seen = self._of_file.get(meter_id)
        ends = [] if seen is None else [seen.last]
        connection = self._store.sql()
        try:
            row = connection.execute(_LAST_READING, [meter_id]).fetchone()
        finally:
            connection.close()
        if row is not None and isinstance(row[0], date):
            ends.append(midnight(row[0] + timedelta(days=1), row[1]))
        reads = self._store.register_reads([meter_id], None, _EARLIEST, _LATEST)
        ends += [read.at for read in reads]
        return max(ends, default=_EARLIEST)


_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
_LATEST = datetime(2900, 1, 1, tzinfo=UTC)


def key_of(entity: Entity) -> tuple[type, Hashable]:
    """What identifies a row of the registry."""
    return type(entity), kind_of(type(entity)).key_of(entity)


def _text(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


def renamed(result: ImportResult, names: Mapping[str, str], refused: Iterable[str]) -> ImportResult:
    """The readings of a file under the names of their meters, without those of refused series."""
    out = set(refused)
    if not names and not out:
        return result
    intervals = tuple(
        replace(block, series_id=names[block.series_id], block_id="") if block.series_id in names else block
        for block in result.intervals
        if block.series_id not in out
    )
    reads = tuple(
        replace(read, meter_id=names[read.meter_id], read_id="") if read.meter_id in names else read
        for read in result.register_reads
        if read.meter_id not in out
    )
    needed = {block.evidence_id for block in intervals} | {read.evidence_id for read in reads}
    evidence = tuple(item for item in result.evidence if item.evidence_id in needed)
    return replace(result, intervals=intervals, register_reads=reads, evidence=evidence)

"""Profile generic, class 7 version 1, of whatever objects a client names (IEC 62056-6-2 clause 4.3.6).

`ProfileGeneric` shows rows that the metering core captured; this one captures rows itself: at every multiple
of its capture period (UTC; local midnight where that is a day) that the timeline comes to, and by its method.
Rows are kept encoded.

    FIFO, LIFO                        by capturing; the oldest row makes room
    largest, smallest, nearest to,    by the value of the sort object, which is one of the columns; the last
    farest from zero                  row makes room, or the new one is not retained where it would be last

Rule of this file: rows are of one list of capture objects; another list, period or order begins with an empty
buffer, and another size keeps the rows that still have a place.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import ClassVar

from openami.protocols.dlms.apdus.descriptors import BY_ENTRY, BY_RANGE, CaptureObject, Selector
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import NULL, Data, Tag, array, decode, encode, structure
from openami.protocols.dlms.encoding.date_time import UNSPECIFIED, CosemDateTime
from openami.protocols.dlms.encoding.octets import encode_length
from openami.protocols.dlms.interface_classes.interface_object import AttributeRule, type_unmatched
from openami.protocols.dlms.interface_classes.local_time import instant_of_local, local_days, moment
from openami.protocols.dlms.interface_classes.object_reference import Find, read_value, reference
from openami.protocols.dlms.interface_classes.profile_generic import SortMethod
from openami.protocols.dlms.interface_classes.stored_object import (
    NO_PRESET,
    State,
    StoredAttribute,
    StoredObject,
    items,
    number,
    octets,
    read_only,
)
from openami.protocols.dlms.interface_classes.value_types import (
    CAPTURE_OBJECT,
    DOUBLE_LONG_UNSIGNED,
    LONG_UNSIGNED,
    Anything,
    ListOf,
    Whole,
    enumeration,
    record,
)
from openami.quantities.errors import RemoteProtocolError
from openami.quantities.obis import ObisCode

_CLOCK_CLASS = 8
_CLOCK_TIME = 2
_BY_CAPTURING = (SortMethod.FIFO, SortMethod.LIFO)
_UNKNOWN = float("inf")
_DAY_S = 86_400
_MOST_COLUMNS = 32
_MOST_ROWS = 20_000
_NOTHING = Whole(Tag.INTEGER, 0, 0)
_RANGE = record(CAPTURE_OBJECT, Anything(64), Anything(64), ListOf(CAPTURE_OBJECT, _MOST_COLUMNS))
_ENTRY = record(DOUBLE_LONG_UNSIGNED, DOUBLE_LONG_UNSIGNED, LONG_UNSIGNED, LONG_UNSIGNED)


@dataclass(slots=True)
class RowMemory:
    """Rows of one profile, oldest first or as they are sorted: when each was captured, and its encoding."""

    rows: list[tuple[datetime, bytes]] = field(default_factory=list)


class RecordedProfile(StoredObject):
    """A profile that captures for itself.

    Parameters
    ----------
    find:
        The objects that can be captured.
    memory:
        Where the rows are kept.
    now, zone:
        The meter's clock.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_find", "_memory", "_now", "_zone")

    class_id: ClassVar[int] = 7
    version: ClassVar[int] = 1
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(
            2, "buffer", ListOf(Anything()), AttributeRule(2).access, selectors=(BY_RANGE, BY_ENTRY)
        ),
        StoredAttribute(3, "capture_objects", ListOf(CAPTURE_OBJECT, _MOST_COLUMNS)),
        StoredAttribute(4, "capture_period", DOUBLE_LONG_UNSIGNED),
        StoredAttribute(5, "sort_method", enumeration(len(SortMethod), 1)),
        StoredAttribute(6, "sort_object", CAPTURE_OBJECT),
        read_only(7, "entries_in_use", DOUBLE_LONG_UNSIGNED),
        StoredAttribute(8, "profile_entries", Whole(Tag.DOUBLE_LONG_UNSIGNED, 1, _MOST_ROWS)),
    )
    methods: ClassVar[tuple[int, ...]] = (1, 2)

    def __init__(
        self,
        logical_name: ObisCode,
        find: Find,
        memory: RowMemory,
        now: Callable[[], datetime],
        zone: tzinfo = UTC,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._find = find
        self._memory = memory
        self._now = now
        self._zone = zone

    def current(self, index: int) -> Data:
        """Attribute."""
        match index:
            case 2:
                return decode(self.value(2))
            case 6 if 6 not in self._state:
                sources = items(self.current(3))
                clocks = (entry for entry in sources if reference(entry).class_id == _CLOCK_CLASS)
                return next(clocks, super().current(6))
            case 7:
                return Data(Tag.DOUBLE_LONG_UNSIGNED, len(self._memory.rows))
        return super().current(index)

    def value(self, index: int) -> bytes:
        """Encoded attribute; the whole buffer for attribute 2."""
        if index == 2:
            return self._encoded(row for _, row in self._memory.rows)
        return super().value(index)

    def keep(self, index: int, value: Data) -> None:
        """Keep a value; what changes the rows or their order empties the buffer."""
        super().keep(index, value)
        if index in (3, 4, 5, 6):
            self._memory.rows.clear()
        elif index == 8:
            self._make_room()

    def admit(self, index: int, value: Data) -> None:
        """What the rows are sorted by is one of their columns; raises `AccessError`."""
        columns = items(self.current(3))
        by_value = index == 5 and number(value) not in _BY_CAPTURING
        nothing = index == 6 and reference(value).class_id == 0
        wanted = self.current(6) if by_value else value
        if (by_value or (index == 6 and not nothing)) and wanted not in columns:
            raise AccessError(
                AccessResult.SCOPE_OF_ACCESS_VIOLATED, where=f"{self.logical_name}: sort object"
            )

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``reset`` and ``capture``; raises `AccessError`."""
        if index not in self.methods:
            return super().invoke(index, parameter)
        self.parameter(parameter, _NOTHING, "reset or capture")
        if index == 1:
            self._memory.rows.clear()
        else:
            self.capture(self._now())
        return None

    def capture(self, at: datetime) -> None:
        """Capture a row; a value that cannot be read is null-data in it."""
        row = structure(*(self._captured(reference(entry)) for entry in items(self.current(3))))
        rows, captured = self._memory.rows, (at, encode(row))
        if self._sort_column is None:
            rows.append(captured)
        else:
            rows.insert(bisect_right(rows, self._rank(captured), key=self._rank), captured)
        self._make_room()

    def due(self, after: datetime, until: datetime) -> datetime | None:
        """The next end of a capture period that the buffer will still hold; see `timeline.Timed`."""
        period = number(self.current(4))
        if not period or not items(self.current(3)):
            return None
        held = until - timedelta(seconds=period * number(self.current(8)))
        if period == _DAY_S:
            days = local_days(max(after, held), until, self._zone)
            midnights = (instant_of_local(day, time(), self._zone) for day in days)
            return next((at for at in midnights if after < at <= until), None)
        ended = (int(max(after, held).timestamp()) // period + 1) * period
        return datetime.fromtimestamp(ended, UTC) if ended <= until.timestamp() else None

    def perform(self, at: datetime) -> None:
        """Capture the row of a period."""
        self.capture(at)

    def select(self, index: int, selector: Selector) -> bytes:
        """Rows and columns that a range or entry descriptor names; raises `AccessError`."""
        if selector.number == BY_RANGE:
            return self._by_range(*items(self.parameter(selector.parameters, _RANGE, "range")))
        first, last, left, right = map(number, items(self.parameter(selector.parameters, _ENTRY, "entry")))
        width = len(items(self.current(3)))
        right = right or width
        if first < 1 or not 1 <= left <= right <= width:
            raise AccessError(AccessResult.SCOPE_OF_ACCESS_VIOLATED, where=f"{self.logical_name}: entry")
        rows = [row for _, row in self._memory.rows]
        if self._lifo:
            rows.reverse()
        return self._cut(rows[first - 1 : last or None], range(left - 1, right))

    @property
    def _lifo(self) -> bool:
        return number(self.current(5)) == SortMethod.LIFO

    @property
    def _sort_column(self) -> int | None:
        """Column that the rows are sorted by; None where they are in the order of capturing."""
        if number(self.current(5)) in _BY_CAPTURING:
            return None
        columns = items(self.current(3))
        sorted_by = self.current(6)
        return columns.index(sorted_by) if sorted_by in columns else None

    def _rank(self, row: tuple[datetime, bytes]) -> float:
        """What the rows are sorted by, ascending; rows without a number come last."""
        at, content = row
        column = self._sort_column or 0
        if reference(items(self.current(3))[column]).class_id == _CLOCK_CLASS:
            value: float | None = at.timestamp()
        else:
            held = items(decode(content))[column].value
            value = held if isinstance(held, int | float) else None
        if value is None:
            return _UNKNOWN
        match SortMethod(number(self.current(5))):
            case SortMethod.LARGEST:
                return -value
            case SortMethod.NEAREST_TO_ZERO:
                return abs(value)
            case SortMethod.FAREST_FROM_ZERO:
                return -abs(value)
        return value

    def _make_room(self) -> None:
        """Drop the rows that have no place: the last of sorted ones, else the oldest."""
        rows, most = self._memory.rows, number(self.current(8))
        if self._sort_column is None:
            del rows[: max(0, len(rows) - most)]
        else:
            del rows[most:]

    def _captured(self, source: CaptureObject) -> Data:
        if source.class_id == self.class_id:  # a profile in a profile would hold itself in the end
            return NULL
        try:
            value = read_value(self._find, source)
        except AccessError:
            return NULL
        return value if Anything().admits(value) else NULL

    def _by_range(self, restricting: Data, start: Data, end: Data, wanted: Data) -> bytes:
        sources = [reference(entry) for entry in items(self.current(3))]
        columns = [self._column(sources, reference(entry)) for entry in items(wanted)] or range(len(sources))
        restricted = self._column(sources, reference(restricting))
        least, most = start.value, end.value
        if (sources[restricted].class_id, sources[restricted].attribute) == (_CLOCK_CLASS, _CLOCK_TIME):
            low, high = self._bound(start, 0), self._bound(end, 59)
            rows = [row for at, row in self._memory.rows if low <= at <= high]
        elif isinstance(least, int) and isinstance(most, int):
            rows = [
                row
                for _, row in self._memory.rows
                if isinstance(value := items(decode(row))[restricted].value, int) and least <= value <= most
            ]
        else:
            low, high = self._bound(start, 0), self._bound(end, 59)
            rows = [
                row
                for _, row in self._memory.rows
                if (at := self._instant_in(row, restricted)) is not None and low <= at <= high
            ]
        if self._lifo:
            rows.reverse()
        return self._cut(rows, columns)

    def _instant_in(self, row: bytes, column: int) -> datetime | None:
        """Instant in a column of times, such as those of maxima; None where there is none."""
        value = items(decode(row))[column].value
        return moment(value, self._zone) if isinstance(value, bytes) else None

    def _column(self, sources: list[CaptureObject], wanted: CaptureObject) -> int:
        if wanted not in sources:
            raise AccessError(AccessResult.OBJECT_UNDEFINED, where=f"{self.logical_name}: {wanted}")
        return sources.index(wanted)

    def _bound(self, value: Data, unspecified: int) -> datetime:
        if value.tag not in (Tag.OCTET_STRING, Tag.DATE_TIME):
            raise type_unmatched(self.logical_name, value)
        try:
            stamp = CosemDateTime.from_bytes(octets(value))
            second = unspecified if stamp.second == UNSPECIFIED else stamp.second
            return stamp.instant(self._zone).replace(second=second)
        except RemoteProtocolError:
            raise type_unmatched(self.logical_name, value) from None

    def _encoded(self, rows: Iterable[bytes]) -> bytes:
        chosen = list(rows)
        if self._lifo:
            chosen.reverse()
        return bytes((Tag.ARRAY,)) + encode_length(len(chosen)) + b"".join(chosen)

    @staticmethod
    def _cut(rows: list[bytes], columns: Iterable[int]) -> bytes:
        wanted = list(columns)
        cut = (items(decode(row)) for row in rows)
        return encode(array(structure(*(row[column] for column in wanted)) for row in cut))


class SnapshotProfile(RecordedProfile):
    """A profile of one row: the present one, captured at every reading (IS 15959 has such profiles)."""

    __slots__ = ()

    def value(self, index: int) -> bytes:
        """Encoded attribute."""
        if index in (2, 7):
            self._memory.rows.clear()
            self.capture(self._now())
        return super().value(index)

    def select(self, index: int, selector: Selector) -> bytes:
        """Of the present row; raises `AccessError`."""
        self._memory.rows.clear()
        self.capture(self._now())
        return super().select(index, selector)

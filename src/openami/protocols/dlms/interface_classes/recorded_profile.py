"""Profile generic, class 7 version 1, of whatever objects a client names (IEC 62056-6-2 clause 4.3.6).

`ProfileGeneric` shows rows that the metering core captured; this one captures rows itself: at every multiple
of its capture period (UTC; local midnight where that is a day) that the timeline comes to, and by its method.
Rows are kept encoded. Rule of this file: rows are of one list of capture objects; another list, period or
size begins with an empty buffer.
"""

from __future__ import annotations

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
from openami.protocols.dlms.interface_classes.local_time import instant_of_local, local_days
from openami.protocols.dlms.interface_classes.object_reference import Find, read_value, reference
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
_LIFO = 2
_DAY_S = 86_400
_MOST_COLUMNS = 32
_MOST_ROWS = 20_000
_NOTHING = Whole(Tag.INTEGER, 0, 0)
_RANGE = record(CAPTURE_OBJECT, Anything(64), Anything(64), ListOf(CAPTURE_OBJECT, _MOST_COLUMNS))
_ENTRY = record(DOUBLE_LONG_UNSIGNED, DOUBLE_LONG_UNSIGNED, LONG_UNSIGNED, LONG_UNSIGNED)


@dataclass(slots=True)
class RowMemory:
    """Rows of one profile, oldest first: when each was captured, and its encoding."""

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
        StoredAttribute(5, "sort_method", enumeration(_LIFO, 1)),
        read_only(6, "sort_object", CAPTURE_OBJECT),
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
            case 6:
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
        """Keep a value; what changes the rows empties the buffer."""
        super().keep(index, value)
        if index in (3, 4, 8):
            self._memory.rows.clear()

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
        rows = self._memory.rows
        rows.append((at, encode(row)))
        del rows[: max(0, len(rows) - number(self.current(8)))]

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
        return number(self.current(5)) == _LIFO

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
        if sources[restricted].class_id == _CLOCK_CLASS:
            low, high = self._bound(start, 0), self._bound(end, 59)
            rows = [row for at, row in self._memory.rows if low <= at <= high]
        else:
            least, most = start.value, end.value
            if not isinstance(least, int) or not isinstance(most, int):
                raise type_unmatched(self.logical_name, start)
            rows = [
                row
                for _, row in self._memory.rows
                if isinstance(value := items(decode(row))[restricted].value, int) and least <= value <= most
            ]
        if self._lifo:
            rows.reverse()
        return self._cut(rows, columns)

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

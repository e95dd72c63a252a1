"""Schedule, class 10 version 0 (IEC 62056-6-2 clause 4.5.3): scripts at times of day, by weekday and date.

    entries  array { index, enable, script_logical_name, script_selector, switch_time octet-string(4),
                     validity_window long-unsigned (minutes), exec_weekdays bit-string(7, Monday first),
                     exec_specdays bit-string (day_id 1 first), begin_date, end_date octet-string(5) }

On a special day an entry acts where ``exec_specdays`` names its day_id, on other days where ``exec_weekdays``
names its weekday. After a failure of the supply an entry missed is made up for within its validity window
(0xFFFF: for ever; 0: never). How the bits of special days are counted is recalled; confirm it against the
standard. Rule of this file: entries act in the order of their indices where their times are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta, tzinfo
from typing import ClassVar

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import BitString, Data, Tag, array
from openami.protocols.dlms.encoding.date_time import UNSPECIFIED, UNSPECIFIED_YEAR
from openami.protocols.dlms.interface_classes.activity_calendar import no_special_days
from openami.protocols.dlms.interface_classes.local_time import (
    DatePattern,
    instant_of_local,
    local_days,
    time_of_day,
)
from openami.protocols.dlms.interface_classes.object_reference import RunScript
from openami.protocols.dlms.interface_classes.stored_object import (
    NO_PRESET,
    State,
    StoredAttribute,
    StoredObject,
    items,
    number,
    octets,
)
from openami.protocols.dlms.interface_classes.value_types import (
    DATE,
    LOGICAL_NAME,
    LONG_UNSIGNED,
    MOST_ELEMENTS,
    TIME,
    Bits,
    ListOf,
    Truth,
    record,
)
from openami.quantities.obis import ObisCode

_ENTRY = record(
    LONG_UNSIGNED,
    Truth(),
    LOGICAL_NAME,
    LONG_UNSIGNED,
    TIME,
    LONG_UNSIGNED,
    Bits(7, 7),
    Bits(0, 256),
    DATE,
    DATE,
)
_ENABLE = record(*[LONG_UNSIGNED] * 4)
_RANGE = record(LONG_UNSIGNED, LONG_UNSIGNED)
FOR_EVER = 0xFFFF


class Schedule(StoredObject):
    """Entries by index.

    Parameters
    ----------
    zone:
        Of the meter's local time.
    run:
        Runs the scripts.
    special_day:
        Day profile of a special day.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_run", "_special_day", "_zone")

    class_id: ClassVar[int] = 10
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (StoredAttribute(2, "entries", ListOf(_ENTRY)),)
    methods: ClassVar[tuple[int, ...]] = (1, 2, 3)

    def __init__(
        self,
        logical_name: ObisCode,
        zone: tzinfo,
        run: RunScript,
        special_day: Callable[[date], int | None] = no_special_days,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._zone = zone
        self._run = run
        self._special_day = special_day

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``enable/disable``, ``insert`` (an entry of the same index is replaced), ``delete``."""
        entries = items(self.current(2))
        match index:
            case 1:
                wanted = self.parameter(parameter, _ENABLE, "enable/disable")
                off_first, off_last, on_first, on_last = map(number, items(wanted))
                entries = tuple(_switched(entry, off_first, off_last, on_first, on_last) for entry in entries)
            case 2:
                entry = self.parameter(parameter, _ENTRY, "insert")
                others = (known for known in entries if _index(known) != _index(entry))
                entries = tuple(sorted((*others, entry), key=_index))
                if len(entries) > MOST_ELEMENTS:
                    raise AccessError(AccessResult.TEMPORARY_FAILURE, where=f"{self.logical_name} is full")
            case 3:
                first, last = map(number, items(self.parameter(parameter, _RANGE, "delete")))
                entries = tuple(entry for entry in entries if not first <= _index(entry) <= last)
            case _:
                return super().invoke(index, parameter)
        self.keep(2, array(entries))
        return None

    def due(self, after: datetime, until: datetime) -> datetime | None:
        """The next switching time; see `timeline.Timed`."""
        for day in local_days(after, until, self._zone):
            found = [at for at, _ in self._acting(day) if after < at <= until]
            if found:
                return min(found)
        return None

    def perform(self, at: datetime) -> None:
        """Run the scripts of the entries whose time it is."""
        for day in local_days(at, at, self._zone):
            for instant, entry in self._acting(day):
                if instant == at:
                    self._execute(entry)

    def make_up(self, failed: datetime, restored: datetime) -> None:
        """After a failure of the supply: run what was missed and is still valid, in the order of time."""
        missed = [
            (at, entry)
            for day in local_days(failed, restored, self._zone)
            for at, entry in self._acting(day)
            if failed < at <= restored
        ]
        for at, entry in sorted(missed, key=_at):
            window = number(items(entry)[5])
            if window == FOR_EVER or restored - at <= timedelta(minutes=window):
                self._execute(entry)

    def _acting(self, day: date) -> list[tuple[datetime, Data]]:
        """Entries that act on a date with their instants, in the order of their indices."""
        special = self._special_day(day)
        found = []
        for entry in sorted(items(self.current(2)), key=_index):
            _, enable, _, _, switch_time, _, weekdays, special_days, begin, end = items(entry)
            if special is None:
                acts = _bit(weekdays, day.weekday())
            else:
                acts = special > 0 and _bit(special_days, special - 1)
            at = time_of_day(octets(switch_time))
            if enable.value is True and acts and at is not None and _within(day, octets(begin), octets(end)):
                found.append((instant_of_local(day, at, self._zone), entry))
        return found

    def _execute(self, entry: Data) -> None:
        _, _, script, selector, *_ = items(entry)
        self._run(ObisCode.from_bytes(octets(script)), number(selector))


def _index(entry: Data) -> int:
    return number(items(entry)[0])


def _at(missed: tuple[datetime, Data]) -> datetime:
    return missed[0]


def _switched(entry: Data, off_first: int, off_last: int, on_first: int, on_last: int) -> Data:
    parts = items(entry)
    enabled = parts[1]
    if off_first <= _index(entry) <= off_last:
        enabled = Data(Tag.BOOLEAN, False)
    if on_first <= _index(entry) <= on_last:
        enabled = Data(Tag.BOOLEAN, True)
    return Data(Tag.STRUCTURE, (parts[0], enabled, *parts[2:]))


def _bit(bits: Data, at: int) -> bool:
    held = bits.value
    return isinstance(held, BitString) and at < held.length and bool(held.octets[at // 8] & 0x80 >> at % 8)


def _within(day: date, begin: bytes, end: bytes) -> bool:
    """True where a date lies in a range whose years may be left open (the range comes again every year)."""
    first, last = DatePattern.from_bytes(begin), DatePattern.from_bytes(end)
    if first.month == UNSPECIFIED or last.month == UNSPECIFIED:
        begun = first.open or _place(first) <= _place_of(day)
        return begun and (last.open or _place_of(day) <= _place(last))
    if first.year == UNSPECIFIED_YEAR or last.year == UNSPECIFIED_YEAR:
        low, here, high = (first.month, first.day), (day.month, day.day), (last.month, last.day)
        return low <= here <= high if low <= high else here >= low or here <= high
    return _place(first) <= _place_of(day) <= _place(last)


def _place(pattern: DatePattern) -> tuple[int, int, int]:
    return pattern.year, pattern.month, pattern.day


def _place_of(day: date) -> tuple[int, int, int]:
    return day.year, day.month, day.day

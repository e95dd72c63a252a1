"""A clock whose zone and daylight saving a client may set (class 8 version 0, IEC 62056-6-2 clause 4.5.1).

    time_zone                   minutes from local standard time to UTC
    daylight_savings_begin, end date-time with open year, mostly "last Sunday of March, 02:00"
    daylight_savings_deviation  minutes, daylight_savings_enabled

Until one of them is set the clock shows the civil time of its zone, and these attributes describe it; from
then on it shows what they say. Rule of this file: rules that name no day are no daylight saving.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import ClassVar, Final

from openami.protocols.dlms.encoding.axdr import Data, Tag, decode, encode
from openami.protocols.dlms.interface_classes.clock import ClockObject, MeterClock
from openami.protocols.dlms.interface_classes.interface_object import Access, AttributeRule, type_unmatched
from openami.protocols.dlms.interface_classes.local_time import DatePattern, time_of_day
from openami.protocols.dlms.interface_classes.stored_object import State, number, octets
from openami.protocols.dlms.interface_classes.value_types import Moment, Truth, ValueType, Whole
from openami.quantities.obis import ObisCode

_TIME_ZONE: Final = 3
_PRESET: Final = 0
"""Bookkeeping: preset time and its validity interval, as a client sent them."""
_TYPES: Final[dict[int, ValueType]] = {
    3: Whole(Tag.LONG, -900, 900),
    5: Moment(),
    6: Moment(),
    7: Whole(Tag.INTEGER, -120, 120),
    8: Truth(),
}


class RuledZone(tzinfo):
    """A zone made of the rules of a clock.

    Parameters
    ----------
    standard_min:
        Minutes that standard time is ahead of UTC.
    begin, end:
        Twelve octets each: local standard time and local saving time at which daylight saving begins, ends.
    saving_min:
        Minutes of daylight saving; 0 for none.
    """

    def __init__(self, standard_min: int, begin: bytes, end: bytes, saving_min: int) -> None:
        self._standard = timedelta(minutes=standard_min)
        self._begin, self._end = begin, end
        self._saving = timedelta(minutes=saving_min)

    def utcoffset(self, moment: datetime | None) -> timedelta:
        """Offset from UTC of a local time."""
        return self._standard + self.dst(moment)

    def dst(self, moment: datetime | None) -> timedelta:
        """Daylight saving in force at a local time; of an hour that comes twice the fold decides."""
        if moment is None or not self._saving:
            return timedelta()
        local = moment.replace(tzinfo=None, fold=0)
        begin, end = _change(self._begin, local.year), _change(self._end, local.year)
        if begin is None or end is None:
            return timedelta()
        begin += self._saving  # on the clock as it shows then
        if end - self._saving <= local < end:
            return self._saving if not moment.fold else timedelta()
        inside = begin <= local < end if begin < end else local >= begin or local < end
        skipped = begin - self._saving <= local < begin
        return self._saving if inside or (skipped and moment.fold) else timedelta()

    def tzname(self, moment: datetime | None) -> str:
        """Name."""
        return "as the clock was set"

    def fromutc(self, moment: datetime) -> datetime:
        """Local time of a UTC instant."""
        standard = moment.replace(tzinfo=None) + self._standard
        begin, end = _change(self._begin, standard.year), _change(self._end, standard.year)
        if begin is None or end is None or not self._saving:
            return standard.replace(tzinfo=self)
        until = end - self._saving
        saving = begin <= standard < until if begin < until else standard >= begin or standard < until
        local = standard + self._saving if saving else standard
        return local.replace(tzinfo=self, fold=int(not saving and until <= standard < end))


@lru_cache(maxsize=256)
def _change(rule: bytes, year: int) -> datetime | None:
    """Local time of a change in a year; None where the rule names none."""
    pattern, at = DatePattern.from_bytes(rule[:5]), time_of_day(rule[5:9])
    if at is None or not 1 <= pattern.month <= 12 or pattern.day == 0xFF or not 2 <= year <= 9998:
        return None
    days = (date(year, pattern.month, 1) + timedelta(days=offset) for offset in range(31))
    found = (day for day in days if day.month == pattern.month and pattern.matches(day))
    first = next(found, None)
    return None if first is None else datetime.combine(first, at)


class RuledClock(ClockObject):
    """A clock whose rules are kept in the state of the meter.

    Parameters
    ----------
    state:
        Attributes that were set.
    others:
        As of `ClockObject`.
    """

    __slots__ = ("_civil", "_rules_state")

    rules: ClassVar[tuple[AttributeRule, ...]] = (
        AttributeRule(1),
        AttributeRule(2, Access.READ_WRITE),
        AttributeRule(3, Access.READ_WRITE),
        AttributeRule(4),
        *(AttributeRule(index, Access.READ_WRITE) for index in (5, 6, 7, 8)),
        AttributeRule(9),
    )

    def __init__(
        self,
        logical_name: ObisCode,
        clock: MeterClock,
        zone: tzinfo,
        state: State,
        status: Callable[[], int] = lambda: 0,
        measuring_period_s: int = 900,
    ) -> None:
        super().__init__(logical_name, clock, zone, status, measuring_period_s)
        self._civil = zone
        self._rules_state = state
        self._preset = state.get(_PRESET)
        if _TIME_ZONE in state:
            self._zone = self._ruled()

    @property
    def zone(self) -> tzinfo:
        """The zone of the time it shows."""
        return self._zone

    def value(self, index: int) -> bytes:
        """Encoded attribute."""
        kept = self._rules_state.get(index)
        return super().value(index) if kept is None else encode(kept)

    def write(self, index: int, value: Data) -> None:
        """Set the time or a rule; raises `AccessError`."""
        kind = _TYPES.get(index)
        if kind is None:
            return super().write(index, value)
        if not kind.admits(value):
            raise type_unmatched(self.logical_name, value)
        for known in _TYPES:  # what the civil zone says of itself stands until it is set, too
            if known not in self._rules_state:
                self._rules_state[known] = self._open_year(known)
        self._rules_state[index] = value
        self._zone = self._ruled()

    def _keep_preset(self, preset: Data | None) -> None:
        """Keep what the clock may be adjusted to, also for the next association."""
        super()._keep_preset(preset)
        if preset is not None:
            self._rules_state[_PRESET] = preset

    def _open_year(self, index: int) -> Data:
        value = decode(super().value(index))
        if index in (5, 6) and isinstance(value.value, bytes):
            return Data(Tag.OCTET_STRING, _every_year(value.value))
        return value

    def _ruled(self) -> tzinfo:
        kept = self._rules_state
        saving = number(kept[7]) if kept[8].value is True else 0
        return RuledZone(-number(kept[3]), octets(kept[5]), octets(kept[6]), saving)


def _every_year(rule: bytes) -> bytes:
    """A change on one day as the same weekday of its week of the month in every year: the last, mostly."""
    pattern = DatePattern.from_bytes(rule[:5])
    if pattern.open:
        return rule
    day = 0xFE if pattern.day > 24 else pattern.day
    weekday = date(pattern.year, pattern.month, pattern.day).isoweekday()
    return b"\xff\xff" + bytes((pattern.month, day, weekday if day == 0xFE else 0xFF)) + rule[5:]

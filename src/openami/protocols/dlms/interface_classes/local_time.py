"""Dates and times of day with wildcards, and the instants at which a local clock reaches them.

IEC 62056-6-2 clause 4.1.6.1: a date is year(2) month day-of-month day-of-week, a time is hour minute second
hundredths; 0xFF is "any", day 0xFE the last and 0xFD the second-last of the month. Rule of this file: on a
day whose clocks change, what is due in the hour that is left out is due when the clocks change, and what is
due in the hour that comes twice is due once, the first time.
"""

from __future__ import annotations

import calendar
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.encoding.date_time import UNSPECIFIED, UNSPECIFIED_YEAR, CosemDateTime
from openami.quantities.errors import RemoteProtocolError

_LAST, _SECOND_LAST = 0xFE, 0xFD
_DATE: Final = struct.Struct(">HBBB")
ANY_DATE: Final = bytes((0xFF,) * 5)


@dataclass(frozen=True, slots=True)
class DatePattern:
    """A date in which anything may be left open."""

    year: int
    month: int
    day: int
    weekday: int

    @classmethod
    def from_bytes(cls, octets: bytes) -> DatePattern:
        """Pattern of five octets."""
        return cls(*_DATE.unpack(octets))

    @property
    def open(self) -> bool:
        """True where it names more than one day."""
        return (
            self.year == UNSPECIFIED_YEAR
            or self.month == UNSPECIFIED
            or not 1 <= self.month <= 12
            or not 1 <= self.day <= 31
        )

    def matches(self, day: date) -> bool:
        """True where the pattern admits a day."""
        return (
            self.year in (UNSPECIFIED_YEAR, day.year)
            and self.month in (UNSPECIFIED, day.month)
            and self.weekday in (UNSPECIFIED, day.isoweekday())
            and self._matches_day(day)
        )

    def _matches_day(self, day: date) -> bool:
        if self.day in (_LAST, _SECOND_LAST) and self.weekday != UNSPECIFIED:
            left = calendar.monthrange(day.year, day.month)[1] - day.day
            return left < 7 if self.day == _LAST else 7 <= left < 14
        if self.day in (_LAST, _SECOND_LAST):
            last = calendar.monthrange(day.year, day.month)[1]
            return day.day == (last if self.day == _LAST else last - 1)
        return self.day in (UNSPECIFIED, day.day)


def time_of_day(octets: bytes) -> time | None:
    """Time of four octets; seconds and hundredths that are not specified are zero; None for no time."""
    hour, minute, second, hundredths = octets
    second = 0 if second == UNSPECIFIED else second
    hundredths = 0 if hundredths == UNSPECIFIED else hundredths
    try:
        return time(hour, minute, second, hundredths * 10_000)
    except ValueError:
        return None


def instant_of_local(day: date, at: time, zone: tzinfo) -> datetime:
    """The first UTC instant of a day at which the local clock shows ``at`` or later."""
    naive = datetime.combine(day, at)
    try:
        instant = naive.replace(tzinfo=zone).astimezone(UTC)
        if instant.astimezone(zone).replace(tzinfo=None) == naive:
            return instant
        low = naive.replace(tzinfo=zone, fold=1).astimezone(UTC)
    except OverflowError:
        return naive.replace(tzinfo=UTC)
    high, before = instant, low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high


def local_date(instant: datetime, zone: tzinfo) -> date:
    """The date that the local clock shows at an instant."""
    return instant.astimezone(zone).date()


def local_days(after: datetime, until: datetime, zone: tzinfo) -> Iterator[date]:
    """Local dates of ``[after, until]``, ascending."""
    day, last = local_date(after, zone), local_date(until, zone)
    while day <= last:
        yield day
        if day == date.max:
            return
        day += timedelta(days=1)


def stamp(instant: datetime, zone: tzinfo, tag: Tag = Tag.OCTET_STRING) -> Data:
    """An instant as date-time of local time with deviation."""
    return Data(tag, CosemDateTime.from_instant(instant, zone).to_bytes())


def moment(octets: bytes, zone: tzinfo) -> datetime | None:
    """Instant of a date-time; None where it names none."""
    try:
        return CosemDateTime.from_bytes(octets).instant(zone)
    except RemoteProtocolError:
        return None


def in_window(now: datetime, start: bytes, end: bytes, zone: tzinfo) -> bool:
    """True where the local clock lies in a window whose dates and times may be left open.

    A window with open dates comes again every day that they admit, from its start time up to its end time
    (over midnight where that is earlier); without times it is the whole day.
    """
    first, last = moment(start, zone), moment(end, zone)
    if first is not None and last is not None:
        return first <= now < last
    local = now.astimezone(zone)
    low, high = time_of_day(start[5:9]), time_of_day(end[5:9])
    clock, day = local.time(), local.date()
    if low is None or high is None:
        return _begun(start, day) and _not_over(end, day)
    if low <= high:
        return _begun(start, day) and _not_over(end, day) and low <= clock < high
    if clock >= low:
        return _begun(start, day)
    return clock < high and day > date.min and _begun(start, day - timedelta(days=1))


def _begun(start: bytes, day: date) -> bool:
    pattern = DatePattern.from_bytes(start[:5])
    return pattern.matches(day) if pattern.open else _day_of(pattern) <= day


def _not_over(end: bytes, day: date) -> bool:
    pattern = DatePattern.from_bytes(end[:5])
    return pattern.matches(day) if pattern.open else day <= _day_of(pattern)


def _day_of(pattern: DatePattern) -> date:
    try:
        return date(pattern.year, pattern.month, pattern.day)
    except ValueError:
        return date.max

"""Civil days: UTC instants inside, days of the usage point's IANA zone at the edges.

A civil day has 23, 24 or 25 hours, so 92, 96 or 100 quarter-hours. An interval is named by its start.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from openami.quantities.errors import QuantityError


@lru_cache(maxsize=256)
def zone_of(name: str) -> ZoneInfo:
    """Time zone by IANA name.

    Raises
    ------
    QuantityError
        There is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise QuantityError(f"unknown time zone {name!r}", expected="an IANA name as Europe/Berlin") from None


@lru_cache(maxsize=65536)
@lru_cache(maxsize=1024)
def standard_offset(zone: tzinfo, year: int) -> timedelta:
    """Offset from UTC without daylight saving: the lesser of those of January and July.

    Not ``utcoffset() - dst()``: tzdata has Irish *winter* time as a saving of minus one hour.
    """
    winter, summer = (datetime(year, month, 1, tzinfo=zone).utcoffset() for month in (1, 7))
    return min(winter or timedelta(), summer or timedelta())


def saves_daylight(local: datetime) -> bool:
    """True where an aware local time is ahead of the standard time of its zone.

    >>> [saves_daylight(datetime(2024, month, 15, tzinfo=zone_of("Europe/Dublin"))) for month in (1, 7)]
    [False, True]
    """
    offset, zone = local.utcoffset(), local.tzinfo
    return offset is not None and zone is not None and offset > standard_offset(zone, local.year)


def midnight(day: date, zone: str) -> datetime:
    """UTC instant at which the civil ``day`` begins in ``zone``.

    Where clocks skip midnight it is the instant of the change; where midnight comes twice, the first.

    Raises
    ------
    QuantityError
        The day lies at the edge of the calendar (years 1 and 9999).
    """
    try:
        return datetime.combine(day, time(), zone_of(zone)).astimezone(UTC)
    except OverflowError:
        raise QuantityError(f"{day} in {zone} has no instant in UTC", expected="years 2 .. 9998") from None


@dataclass(frozen=True, slots=True, order=True)
class CivilDay:
    """A day as people of a zone count it."""

    day: date
    zone: str

    @property
    def start(self) -> datetime:
        """First instant, in UTC."""
        return midnight(self.day, self.zone)

    @property
    def end(self) -> datetime:
        """First instant of the next day, in UTC."""
        if self.day == date.max:
            raise QuantityError(f"no day follows {self.day}", expected="years 2 .. 9998")
        return midnight(self.day + timedelta(days=1), self.zone)

    @property
    def seconds(self) -> int:
        """Length in seconds: 82,800, 86,400 or 90,000 where clocks change by an hour."""
        return int((self.end - self.start).total_seconds())

    def interval_count(self, interval_s: int) -> int:
        """Number of intervals: 92, 96 or 100 for ``interval_s`` = 900.

        Raises
        ------
        QuantityError
            The interval does not divide the day.
        """
        count, rest = divmod(self.seconds, interval_s) if interval_s > 0 else (0, 1)
        if rest:
            raise QuantityError(f"an interval of {interval_s} s does not divide {self.day} in {self.zone}")
        return count

    def interval_start(self, index: int, interval_s: int) -> datetime:
        """UTC instant at which interval ``index`` begins."""
        return self.start + timedelta(seconds=index * interval_s)


def civil_day_of(instant: datetime, zone: str) -> CivilDay:
    """The civil day in which an instant lies: ``day.start <= instant < day.end``.

    Raises
    ------
    QuantityError
        The instant is naive, or has no local time in the zone (years 1 and 9999).
    """
    if instant.tzinfo is None:
        raise QuantityError(f"naive instant {instant}", expected="a timezone-aware datetime")
    try:
        day = CivilDay(instant.astimezone(zone_of(zone)).date(), zone)
    except OverflowError:
        raise QuantityError(f"{instant} has no local time in {zone}", expected="years 2 .. 9998") from None
    # Clocks set back over midnight show the date of the day before once more, inside the day begun.
    return CivilDay(day.day + timedelta(days=1), zone) if instant >= day.end else day


def civil_days(first: date, last: date, zone: str) -> Iterator[CivilDay]:
    """Days from ``first`` up to, not including, ``last``."""
    day = first
    while day < last:
        yield CivilDay(day, zone)
        day += timedelta(days=1)

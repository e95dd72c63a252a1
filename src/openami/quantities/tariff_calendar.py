"""Tariff calendars: which rate is in force at an instant of a civil day.

Seasons (spans of the year), day types (sets of weekdays, and special days) and day profiles (times of day
at which the rate switches), as in the activity calendar of a meter (IEC 62056-6-2, class 20 [recalled]) and
on the paper of a tariff. Dated events lie over the calendar. Never to be broken: every minute of every day
type of every season has exactly one rate; what has none or two is refused, naming month, day type and time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from openami.quantities.civil_time import CivilDay, zone_of
from openami.quantities.errors import TariffError

RateIndex = npt.NDArray[np.int16]
MonthDay = tuple[int, int]
MINUTES = 1440
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LEAP_YEAR = tuple(
    ((date(2024, 1, 1) + timedelta(days=n)).month, (date(2024, 1, 1) + timedelta(days=n)).day)
    for n in range(366)
)


@dataclass(frozen=True, slots=True)
class Season:
    """Spans of the year, each from a (month, day) to a (month, day), both included; may wrap New Year."""

    name: str
    spans: tuple[tuple[MonthDay, MonthDay], ...] = (((1, 1), (12, 31)),)

    def covers(self, day: MonthDay) -> bool:
        """True when the day of the year lies in the season."""
        return any(
            first <= day <= last if first <= last else day >= first or day <= last
            for first, last in self.spans
        )


@dataclass(frozen=True, slots=True)
class DayType:
    """Weekdays (0 = Monday) that are alike; without weekdays it exists for special days only."""

    name: str
    weekdays: frozenset[int]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rate holds in these seasons, on these day types, in these spans of minutes ``[from, to)``."""

    rate: str
    seasons: tuple[str, ...]
    day_types: tuple[str, ...]
    spans: tuple[tuple[int, int], ...] = ((0, MINUTES),)


@dataclass(frozen=True, slots=True)
class CalendarEvent:
    """A rate that holds over the calendar from ``start`` to ``end`` (UTC instants, end not included)."""

    start: datetime
    end: datetime
    rate: str


@dataclass(frozen=True, slots=True)
class DayProfile:
    """Rates of a day: minute of the local clock at which each begins, the first at 0."""

    minutes: tuple[int, ...]
    rates: tuple[int, ...]

    def span_at(self, minute: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Number of the span between two switches in which minutes of the day lie, same shape."""
        return np.searchsorted(np.array(self.minutes), minute, side="right").astype(np.int64) - 1

    def rate_at(self, minute: npt.NDArray[np.int64]) -> RateIndex:
        """Index of the rate at minutes of the day, same shape."""
        return np.array(self.rates, np.int16)[self.span_at(minute)]


@dataclass(frozen=True, slots=True, eq=False)
class TariffCalendar:
    """A calendar without holes and overlaps; made by `tariff_calendar`.

    Invariant: each weekday has one day type, each day of the year one season, each (season, day type) one
    profile.
    """

    name: str
    zone: str
    rates: tuple[str, ...]
    seasons: tuple[Season, ...]
    day_types: tuple[DayType, ...]
    special_days: Mapping[date | MonthDay, str]
    profiles: Mapping[tuple[str, str], DayProfile]
    events: tuple[CalendarEvent, ...] = field(default=())

    def day_type_of(self, day: date) -> str:
        """Day type of a civil day: a dated special day first, then a yearly one, then its weekday."""
        special = self.special_days.get(day) or self.special_days.get((day.month, day.day))
        if special is not None:
            return special
        return next(kind.name for kind in self.day_types if day.weekday() in kind.weekdays)

    def season_of(self, day: date) -> str:
        """Season of a civil day."""
        return next(season.name for season in self.seasons if season.covers((day.month, day.day)))

    def profile_of(self, day: date) -> DayProfile:
        """Day profile of a civil day."""
        return self.profiles[self.season_of(day), self.day_type_of(day)]

    def rates_of_day(self, day: date, interval_s: int) -> RateIndex:
        """Index into `rates` of each interval of a civil day, shape ``(intervals,)``: 92, 96 or 100.

        Raises
        ------
        TariffError
            The rate switches inside an interval.
        """
        return _rates_of_day(self, day, interval_s)

    def rates_between(self, first: date, last: date, interval_s: int) -> RateIndex:
        """Index into `rates` of each interval of the days ``[first, last)``, shape ``(intervals,)``."""
        return _rates_between(self, first, last, interval_s)


@lru_cache(maxsize=4096)
def _rates_of_day(calendar: TariffCalendar, day: date, interval_s: int) -> RateIndex:
    civil = CivilDay(day, calendar.zone)
    count = civil.interval_count(interval_s)
    starts_s = np.arange(count, dtype=np.int64) * interval_s
    profile = calendar.profile_of(day)
    minute, odd = _local_minutes(civil, starts_s)
    rates = profile.rate_at(minute)
    # A switch inside an interval shows as another span at its last second, even where the rate is back.
    last_minute, _ = _local_minutes(civil, starts_s + interval_s - 1)
    split = (profile.span_at(last_minute) != profile.span_at(minute)) | odd
    if split.any():
        at = civil.interval_start(int(np.argmax(split)), interval_s).astimezone(zone_of(calendar.zone))
        raise TariffError(
            f"the rate switches inside the interval of {interval_s} s that begins {at:%Y-%m-%d %H:%M}",
            where=f"calendar {calendar.name!r}",
            expected="intervals that end where the rate switches",
        )
    for event in calendar.events:
        begin = (event.start - civil.start).total_seconds() / interval_s
        end = (event.end - civil.start).total_seconds() / interval_s
        if end <= 0 or begin >= count:
            continue
        if (begin > 0 and begin % 1) or (end < count and end % 1):
            raise TariffError(
                f"the event of {event.start:%Y-%m-%d %H:%M} UTC begins or ends inside an interval",
                where=f"calendar {calendar.name!r}",
                expected=f"an event on the grid of {interval_s} s",
            )
        rates[max(0, int(begin)) : min(count, int(end))] = calendar.rates.index(event.rate)
    rates.flags.writeable = False
    return rates


def _local_minutes(
    civil: CivilDay, starts_s: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Local minute of the day at seconds since midnight, and where it is not on a whole minute's grid."""
    if civil.seconds == 86_400:
        return starts_s // 60, np.zeros(len(starts_s), np.bool_)
    zone = zone_of(civil.zone)
    local = [(civil.start + timedelta(seconds=int(second))).astimezone(zone) for second in starts_s]
    minutes = np.array([moment.hour * 60 + moment.minute for moment in local], np.int64)
    return minutes, np.array([moment.date() != civil.day for moment in local], np.bool_)


@lru_cache(maxsize=512)
def _rates_between(calendar: TariffCalendar, first: date, last: date, interval_s: int) -> RateIndex:
    days = [calendar.rates_of_day(first + timedelta(days=n), interval_s) for n in range((last - first).days)]
    rates = np.concatenate(days) if days else np.empty(0, np.int16)
    rates.flags.writeable = False
    return rates


ALWAYS = Season("all year")
EVERY_DAY = DayType("every day", frozenset(range(7)))


def flat_calendar(zone: str, rate: str = "all", name: str = "flat") -> TariffCalendar:
    """A calendar with one rate."""
    return tariff_calendar(name, zone, rules=[Rule(rate, (ALWAYS.name,), (EVERY_DAY.name,))])


def tariff_calendar(
    name: str,
    zone: str,
    *,
    rules: Sequence[Rule],
    seasons: Sequence[Season] = (ALWAYS,),
    day_types: Sequence[DayType] = (EVERY_DAY,),
    special_days: Mapping[date | MonthDay, str] | None = None,
    events: Sequence[CalendarEvent] = (),
) -> TariffCalendar:
    """Calendar from rules.

    Raises
    ------
    TariffError
        Holes, overlaps, unknown names: all of them, one a line, each with its month, day type and time.
    """
    zone_of(zone)
    special = dict(special_days or {})
    faults = [
        *_season_faults(seasons),
        *_day_type_faults(day_types, special),
        *_name_faults(rules, seasons, day_types),
    ]
    rates = tuple(dict.fromkeys([rule.rate for rule in rules] + [event.rate for event in events]))
    profiles: dict[tuple[str, str], DayProfile] = {}
    used = set(special.values())
    for season in seasons:
        for kind in day_types:
            if not kind.weekdays and kind.name not in used:
                continue
            holders = [rule for rule in rules if season.name in rule.seasons and kind.name in rule.day_types]
            place = f"season {season.name!r} ({_months_of(season)}), day type {kind.name!r}"
            profile, found = _profile(holders, rates, place)
            faults += found
            profiles[season.name, kind.name] = profile
    if faults:
        raise TariffError("\n".join(faults), where=f"calendar {name!r}")
    for event in events:
        if event.start.tzinfo is None or event.end <= event.start:
            raise TariffError(
                f"event from {event.start} to {event.end}",
                where=f"calendar {name!r}",
                expected="timezone-aware instants, the end after the start",
            )
    utc_events = tuple(
        CalendarEvent(event.start.astimezone(UTC), event.end.astimezone(UTC), event.rate) for event in events
    )
    return TariffCalendar(name, zone, rates, tuple(seasons), tuple(day_types), special, profiles, utc_events)


def _profile(holders: Sequence[Rule], rates: tuple[str, ...], place: str) -> tuple[DayProfile, list[str]]:
    """Day profile of the rules that hold, and what is wrong with them."""
    spans = [(first, last, rule.rate) for rule in holders for first, last in rule.spans]
    edges = sorted({0, MINUTES, *(edge for first, last, _ in spans for edge in (first, last))})
    faults = []
    minutes: list[int] = []
    chosen: list[int] = []
    for begin, end in pairwise(edges):
        found = [rate for first, last, rate in spans if first <= begin and end <= last]
        if len(found) != 1:
            what = "no rate" if not found else f"{len(found)} rates ({', '.join(found)})"
            faults.append(f"{what} for {place}, {_clock(begin)}-{_clock(end)}")
            continue
        index = rates.index(found[0])
        if not chosen or chosen[-1] != index:
            minutes.append(begin)
            chosen.append(index)
    return DayProfile(tuple(minutes), tuple(chosen)), faults


def _season_faults(seasons: Sequence[Season]) -> list[str]:
    faults = []
    for count, wrong in ((0, "no season"), (2, "two seasons")):
        days = [
            day
            for day in _LEAP_YEAR
            if (found := sum(season.covers(day) for season in seasons)) != 1 and min(found, 2) == count
        ]
        if days:
            month, number = days[0]
            faults.append(f"{wrong} on {len(days)} days of the year, the first {number} {MONTHS[month - 1]}")
    return faults


def _day_type_faults(day_types: Sequence[DayType], special: Mapping[date | MonthDay, str]) -> list[str]:
    faults = []
    for weekday, label in enumerate(WEEKDAYS):
        found = [kind.name for kind in day_types if weekday in kind.weekdays]
        if len(found) != 1:
            faults.append(f"{label} has {' and '.join(found) if found else 'no'} day type")
    names = {kind.name for kind in day_types}
    faults += [
        f"special day {day} has unknown day type {kind!r}"
        for day, kind in special.items()
        if kind not in names
    ]
    return faults


def _name_faults(rules: Sequence[Rule], seasons: Sequence[Season], day_types: Sequence[DayType]) -> list[str]:
    faults = []
    known_seasons = {season.name for season in seasons}
    known_days = {kind.name for kind in day_types}
    for rule in rules:
        faults += [
            f"rate {rule.rate!r}: unknown season {name!r}"
            for name in rule.seasons
            if name not in known_seasons
        ]
        faults += [
            f"rate {rule.rate!r}: unknown day type {name!r}"
            for name in rule.day_types
            if name not in known_days
        ]
        faults += [
            f"rate {rule.rate!r}: span {_clock(first)}-{_clock(last)} is empty or leaves the day"
            for first, last in rule.spans
            if not 0 <= first < last <= MINUTES
        ]
    return faults


def _months_of(season: Season) -> str:
    months = sorted({day[0] for day in _LEAP_YEAR if season.covers(day)})
    return ", ".join(MONTHS[month - 1] for month in months) if len(months) < 12 else "all months"


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"

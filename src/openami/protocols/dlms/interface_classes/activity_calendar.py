"""Activity calendar, class 20 version 0 (IEC 62056-6-2 clause 4.5.5): seasons, weeks and days of a tariff.

    season_profile      array { season_profile_name, season_start date-time, week_name }
    week_profile_table  array { week_profile_name, monday .. sunday day_id }
    day_profile_table   array { day_id, array { start_time, script_logical_name, script_selector } }

The active calendar rules, the passive one is being prepared. An action's turn begins at the first instant of
its day at which the local clock shows its start time (`local_time`), and lasts until the next action's.
Rule of this file: the action of an instant is a function of the calendar, the special days and the instant,
so that a meter that was switched off knows it as well as one that lived through the switching times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import ClassVar

from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.interface_classes.local_time import (
    DatePattern,
    instant_of_local,
    local_date,
    local_days,
    moment,
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
    read_only,
)
from openami.protocols.dlms.interface_classes.value_types import (
    LOGICAL_NAME,
    LONG_UNSIGNED,
    TIME,
    UNSIGNED,
    ListOf,
    Moment,
    Octets,
    Whole,
    record,
)
from openami.quantities.obis import ObisCode

_NAME = Octets(0, 32)
_SEASONS = ListOf(record(_NAME, Moment(), _NAME), 32)
_WEEKS = ListOf(record(_NAME, *[UNSIGNED] * 7), 32)
_DAYS = ListOf(record(UNSIGNED, ListOf(record(TIME, LOGICAL_NAME, LONG_UNSIGNED), 48)), 32)
_ACTIVATE = Whole(Tag.INTEGER, 0, 0)
_PASSIVE, _ACTIVE = (6, 7, 8, 9), (2, 3, 4, 5)
_TIME = 10
_LOOK_BACK = 9
"""Days before which the action in force began at the latest: a calendar acts at least once a week."""


@dataclass(frozen=True, slots=True)
class DayAction:
    """A script in force, and since when (UTC)."""

    since: datetime
    script: ObisCode
    selector: int


def no_special_days(day: date) -> int | None:
    """No day is special."""
    return None


class ActivityCalendar(StoredObject):
    """The tariff calendar.

    Parameters
    ----------
    zone:
        Of the meter's local time.
    now:
        The meter's clock.
    run:
        Runs the scripts.
    special_day:
        Day profile of a special day.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_now", "_run", "_special_day", "_zone")

    class_id: ClassVar[int] = 20
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        read_only(2, "calendar_name_active", _NAME),
        read_only(3, "season_profile_active", _SEASONS),
        read_only(4, "week_profile_table_active", _WEEKS),
        read_only(5, "day_profile_table_active", _DAYS),
        StoredAttribute(6, "calendar_name_passive", _NAME),
        StoredAttribute(7, "season_profile_passive", _SEASONS),
        StoredAttribute(8, "week_profile_table_passive", _WEEKS),
        StoredAttribute(9, "day_profile_table_passive", _DAYS),
        StoredAttribute(10, "activate_passive_calendar_time", Moment()),
    )
    methods: ClassVar[tuple[int, ...]] = (1,)

    def __init__(
        self,
        logical_name: ObisCode,
        zone: tzinfo,
        now: Callable[[], datetime],
        run: RunScript,
        special_day: Callable[[date], int | None] = no_special_days,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._zone = zone
        self._now = now
        self._run = run
        self._special_day = special_day

    # --- what is in force -----------------------------------------------------------------------------

    def day_id(self, day: date) -> int | None:
        """Day profile of a date: the special day's, else of the weekday in the season's week."""
        special = self._special_day(day)
        if special is not None:
            return special
        season = self._season(day)
        if season is None:
            return None
        for week in items(self.current(4)):
            name, *days = items(week)
            if octets(name) == season:
                return number(days[day.weekday()])
        return None

    def actions(self, day: date) -> tuple[DayAction, ...]:
        """Actions of a date, in the order in which their turns begin."""
        wanted = self.day_id(day)
        for profile in items(self.current(5)):
            day_id, schedule = items(profile)
            if number(day_id) == wanted:
                found = [self._action(day, *items(action)) for action in items(schedule)]
                return tuple(sorted((action for action in found if action), key=_since))
        return ()

    def action(self, instant: datetime) -> DayAction | None:
        """The action in force at an instant; None where the calendar names none."""
        day = local_date(instant, self._zone)
        for back in range(_LOOK_BACK):
            if day.toordinal() - back < 2:
                return None
            begun = [action for action in self.actions(day - timedelta(days=back)) if action.since <= instant]
            if begun:
                return begun[-1]
        return None

    def _action(self, day: date, start: Data, script: Data, selector: Data) -> DayAction | None:
        at = time_of_day(octets(start))
        if at is None:
            return None
        since = instant_of_local(day, at, self._zone)
        return DayAction(since, ObisCode.from_bytes(octets(script)), number(selector))

    def _season(self, day: date) -> bytes | None:
        """Week of the season that a date lies in: the one that began last, last year's where none has."""
        best: tuple[date, bytes] | None = None
        for season in items(self.current(3)):
            _, start, week = items(season)
            began = _began(DatePattern.from_bytes(octets(start)[:5]), day)
            if began is not None and (best is None or began >= best[0]):
                best = (began, octets(week))
        return None if best is None else best[1]

    # --- what is done ---------------------------------------------------------------------------------

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``activate_passive_calendar``; raises `AccessError`."""
        if index != 1:
            return super().invoke(index, parameter)
        self.parameter(parameter, _ACTIVATE, "activate_passive_calendar")
        self._activate()
        return None

    def due(self, after: datetime, until: datetime) -> datetime | None:
        """The next switching time or activation; see `timeline.Timed`."""
        first = moment(octets(self.current(_TIME)), self._zone)
        if first is not None and not after < first <= until:
            first = None
        end = until if first is None else first
        for day in local_days(after, end, self._zone):
            for action in self.actions(day):
                if after < action.since <= end:
                    return action.since
        return first

    def perform(self, at: datetime) -> None:
        """Activate the passive calendar where it is time, and run the script whose turn begins."""
        if moment(octets(self.current(_TIME)), self._zone) == at:
            self._activate()
            return
        action = self.action(at)
        if action is not None:
            self._run(action.script, action.selector)

    def make_up(self, failed: datetime, restored: datetime) -> None:
        """After a failure of the supply: the action in force now, where it was another before."""
        activation = moment(octets(self.current(_TIME)), self._zone)
        if activation is not None and failed < activation <= restored:
            self._activate()
            return
        action = self.action(restored)
        if action is not None and action.since > failed:
            self._run(action.script, action.selector)

    def _activate(self) -> None:
        for passive, active in zip(_PASSIVE, _ACTIVE, strict=True):
            self.keep(active, self.current(passive))
        action = self.action(self._now())
        if action is not None:
            self._run(action.script, action.selector)


def _since(action: DayAction) -> datetime:
    return action.since


def _began(start: DatePattern, day: date) -> date | None:
    """When the season of a start date last began at or before a day; None where it never did."""
    if start.month == 0xFF or start.day == 0xFF:
        return date.min if start.year in (0xFFFF, day.year) else None
    for year in (day.year, day.year - 1):
        if start.year not in (0xFFFF, year) or year < 1:
            continue
        for candidate in _days_of_month(year, start):
            if candidate <= day:
                return candidate
    return None


def _days_of_month(year: int, start: DatePattern) -> list[date]:
    """The day that a pattern names in a year: none, or the first that matches."""
    try:
        first = date(year, start.month, 1)
    except ValueError:
        return []
    days = (first + timedelta(days=offset) for offset in range(31))
    return [day for day in days if day.month == start.month and start.matches(day)][:1]

"""Single action schedule, class 22 version 0 (IEC 62056-6-2 clause 4.5.7): one script at given times.

    executed_script  { script_logical_name, script_selector }
    type             1  one time, dates may be left open    2  n dates, one time of day, nothing open
                     3  as 2, dates may be left open        4  n dates and times, nothing open
                     5  as 4, dates may be left open
    execution_time   array { time octet-string(4), date octet-string(5) }

Times that fell into a failure of the supply are made up for by one execution afterwards (the standard does
not say). Rule of this file: times that do not fit the type are refused when they are set.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import ClassVar

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import Data
from openami.protocols.dlms.interface_classes.local_time import (
    DatePattern,
    instant_of_local,
    local_days,
    time_of_day,
)
from openami.protocols.dlms.interface_classes.object_reference import RunScript, script_of
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
    SCRIPT,
    TIME,
    ListOf,
    enumeration,
    record,
)
from openami.quantities.obis import ObisCode

_CLOSED_TYPES = (2, 4)
_ONE_TIME_TYPES = (2, 3)


class SingleActionSchedule(StoredObject):
    """A script and when it is run.

    Parameters
    ----------
    zone:
        Of the meter's local time.
    run:
        Runs the script.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_run", "_zone")

    class_id: ClassVar[int] = 22
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "executed_script", SCRIPT),
        StoredAttribute(3, "type", enumeration(5, 1)),
        StoredAttribute(4, "execution_time", ListOf(record(TIME, DATE), 64)),
    )

    def __init__(
        self,
        logical_name: ObisCode,
        zone: tzinfo,
        run: RunScript,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._zone = zone
        self._run = run

    def admit(self, index: int, value: Data) -> None:
        """Times fit the type, a type fits the times; raises `AccessError`."""
        if index == 3:
            self._fit(number(value), self.current(4))
        elif index == 4:
            self._fit(number(self.current(3)), value)

    def due(self, after: datetime, until: datetime) -> datetime | None:
        """The next execution; see `timeline.Timed`."""
        times = [
            (at, DatePattern.from_bytes(octets(day)))
            for at, day in (
                (time_of_day(octets(entry[0])), entry[1]) for entry in map(items, items(self.current(4)))
            )
            if at is not None
        ]
        if not times:
            return None
        for day in local_days(after, until, self._zone):
            instants = (instant_of_local(day, at, self._zone) for at, when in times if when.matches(day))
            if found := [instant for instant in instants if after < instant <= until]:
                return min(found)
        return None

    def perform(self, at: datetime) -> None:
        """Run the script."""
        self._run(*script_of(self.current(2)))

    def make_up(self, failed: datetime, restored: datetime) -> None:
        """After a failure of the supply: run the script once, where it should have been run."""
        if self.due(failed, restored) is not None:
            self._run(*script_of(self.current(2)))

    def _fit(self, kind: int, times: Data) -> None:
        entries = [items(entry) for entry in items(times)]
        fits = kind != 1 or len(entries) <= 1
        if kind in _ONE_TIME_TYPES:
            fits = len({octets(entry[0]) for entry in entries}) <= 1
        if kind in _CLOSED_TYPES:
            fits = fits and not any(DatePattern.from_bytes(octets(entry[1])).open for entry in entries)
        if not fits:
            raise AccessError(AccessResult.SCOPE_OF_ACCESS_VIOLATED, where=f"{self.logical_name} type {kind}")

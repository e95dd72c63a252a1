"""Limiter, class 71 version 0 (IEC 62056-6-2 clause 4.5.9): acts when a value stays over a threshold.

    normal threshold, or emergency threshold while an emergency profile is active
    over the threshold for min_over_threshold_duration  -> action_over_threshold
    back under it for min_under_threshold_duration      -> action_under_threshold

An emergency profile becomes active at its activation time where its id is in the group list, for its
duration. Rule of this file: an action is run once for each time that the value goes over or under.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import ClassVar

from openami.protocols.dlms.apdus.results import AccessError
from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.interface_classes.interface_object import type_unmatched
from openami.protocols.dlms.interface_classes.local_time import moment
from openami.protocols.dlms.interface_classes.object_reference import (
    Find,
    RunScript,
    read_value,
    reference,
    script_of,
)
from openami.protocols.dlms.interface_classes.register_monitor import NUMBER
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
    DOUBLE_LONG_UNSIGNED,
    LONG_UNSIGNED,
    SCRIPT,
    VALUE_DEFINITION,
    ListOf,
    Moment,
    Truth,
    record,
)
from openami.quantities.errors import OpenAmiError
from openami.quantities.obis import ObisCode

_OVER, _SINCE = 0, -1
"""Bookkeeping: whether the last action run was that of over; since when the value is on the other side."""


class Limiter(StoredObject):
    """Watches a value and disconnects, or whatever its scripts do.

    Parameters
    ----------
    find:
        The objects whose values can be monitored.
    run:
        Runs the scripts.
    now, zone:
        The meter's clock, and the zone of activation times without deviation.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_find", "_now", "_run", "_zone")

    class_id: ClassVar[int] = 71
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "monitored_value", VALUE_DEFINITION),
        read_only(3, "threshold_active", NUMBER),
        StoredAttribute(4, "threshold_normal", NUMBER),
        StoredAttribute(5, "threshold_emergency", NUMBER),
        StoredAttribute(6, "min_over_threshold_duration", DOUBLE_LONG_UNSIGNED),
        StoredAttribute(7, "min_under_threshold_duration", DOUBLE_LONG_UNSIGNED),
        StoredAttribute(8, "emergency_profile", record(LONG_UNSIGNED, Moment(), DOUBLE_LONG_UNSIGNED)),
        StoredAttribute(9, "emergency_profile_group_id_list", ListOf(LONG_UNSIGNED)),
        read_only(10, "emergency_profile_active", Truth()),
        StoredAttribute(11, "actions", record(SCRIPT, SCRIPT)),
    )

    def __init__(
        self,
        logical_name: ObisCode,
        find: Find,
        run: RunScript,
        now: Callable[[], datetime],
        zone: tzinfo = UTC,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._find = find
        self._run = run
        self._zone = zone
        self._now = now

    def current(self, index: int) -> Data:
        """Attribute; the active threshold is that of the present."""
        match index:
            case 3:
                return super().current(5 if self._emergency(self._now()) else 4)
            case 10:
                return Data(Tag.BOOLEAN, self._emergency(self._now()))
        return super().current(index)

    def admit(self, index: int, value: Data) -> None:
        """Thresholds are of the type of the monitored value, where that can be read; raises `AccessError`."""
        if index in (4, 5):
            try:
                monitored = read_value(self._find, reference(self.current(2)))
            except AccessError:
                return
            if monitored.tag is not value.tag:
                raise type_unmatched(self.logical_name, value)

    def look(self, at: datetime) -> None:
        """Hold the value against the threshold at ``at``; see `timeline.Watcher`."""
        try:
            value = number(read_value(self._find, reference(self.current(2))))
        except OpenAmiError:
            return
        acted_over = self._state.get(_OVER, Data(Tag.BOOLEAN, False)).value is True
        over = value > number(self.current(3))
        if over is acted_over:
            self._state.pop(_SINCE, None)
            return
        present = round(at.timestamp() * 1000)
        since = self._state.get(_SINCE)
        if since is None or number(since) > present:  # the clock was set back: it begins anew
            since = self._state[_SINCE] = Data(Tag.LONG64, present)
        lasted = present - number(since)
        if lasted >= 1000 * number(self.current(6 if over else 7)):
            self._state.pop(_SINCE, None)
            self._state[_OVER] = Data(Tag.BOOLEAN, over)
            action_over, action_under = items(self.current(11))
            self._run(*script_of(action_over if over else action_under))

    def _emergency(self, at: datetime) -> bool:
        profile, activation, duration = items(super().current(8))
        groups = {number(group) for group in items(super().current(9))}
        start = moment(octets(activation), self._zone)
        if start is None or number(profile) not in groups:
            return False
        return timedelta() <= at - start < timedelta(seconds=number(duration))

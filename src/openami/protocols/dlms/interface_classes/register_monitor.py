"""Register monitor, class 21, and sensor manager, class 67, version 0 (IEC 62056-6-2 clauses 4.5.6, 4.5.11).

    thresholds  array of numbers in the type of the monitored value
    actions     array { action_up, action_down }, one for each threshold

An action is run when the value crosses its threshold: up when it comes to lie above it, down when it comes
to lie at it or below. Rule of this file: a value that cannot be read at present crosses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import ClassVar, Final

from openami.protocols.dlms.encoding.axdr import NULL, Data, Tag, array
from openami.protocols.dlms.interface_classes.local_time import stamp
from openami.protocols.dlms.interface_classes.object_reference import (
    Find,
    RunScript,
    read_number,
    reference,
    script_of,
)
from openami.protocols.dlms.interface_classes.stored_object import (
    NO_PRESET,
    State,
    StoredAttribute,
    StoredObject,
    items,
    number,
    read_only,
)
from openami.protocols.dlms.interface_classes.value_types import (
    DOUBLE_LONG,
    DOUBLE_LONG_UNSIGNED,
    LONG,
    LONG_UNSIGNED,
    SCALER_UNIT,
    SCRIPT,
    UNSIGNED,
    VALUE_DEFINITION,
    Anything,
    ListOf,
    Moment,
    Octets,
    Whole,
    enumeration,
    one_of,
    record,
)
from openami.quantities.obis import ObisCode

_MOST_THRESHOLDS = 32
NUMBER: Final = one_of(
    LONG_UNSIGNED,
    DOUBLE_LONG_UNSIGNED,
    UNSIGNED,
    LONG,
    DOUBLE_LONG,
    Whole(Tag.INTEGER),
    Whole(Tag.LONG64),
    Whole(Tag.LONG64_UNSIGNED),
)
"""A value that can be held against a threshold."""
_THRESHOLDS = ListOf(NUMBER, _MOST_THRESHOLDS)
_ACTIONS = ListOf(record(SCRIPT, SCRIPT), _MOST_THRESHOLDS)


def _sides(value: int, thresholds: Data) -> tuple[bool, ...]:
    return tuple(value > number(threshold) for threshold in items(thresholds))


def _run_crossed(before: tuple[bool, ...], after: tuple[bool, ...], actions: Data, run: RunScript) -> None:
    """Run the action of every threshold that lies between two sides."""
    for was, now, pair in zip(before, after, items(actions), strict=False):
        if was is not now:
            up, down = items(pair)
            run(*script_of(up if now else down))


class RegisterMonitor(StoredObject):
    """A value under watch.

    Parameters
    ----------
    find:
        The objects whose values can be monitored.
    run:
        Runs the scripts.
    state, preset:
        As of `StoredObject`; below 1 it keeps on which side of the thresholds the value was seen last.
    """

    __slots__ = ("_find", "_run")

    class_id: ClassVar[int] = 21
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "thresholds", _THRESHOLDS),
        StoredAttribute(3, "monitored_value", VALUE_DEFINITION),
        StoredAttribute(4, "actions", _ACTIONS),
    )

    def __init__(
        self,
        logical_name: ObisCode,
        find: Find,
        run: RunScript,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._find = find
        self._run = run

    def keep(self, index: int, value: Data) -> None:
        """Keep a value; another threshold or monitored value forgets where the value was seen."""
        super().keep(index, value)
        if index in (2, 3):
            self._state.pop(0, None)

    def look(self, at: datetime) -> None:
        """Run the actions of the thresholds crossed since the last look; see `timeline.Watcher`."""
        value = read_number(self._find, reference(self.current(3)))
        if value is None:
            return
        after = _sides(value, self.current(2))
        before = _kept_sides(self._state.get(0))
        if before == after:
            return
        self._state[0] = array(Data(Tag.BOOLEAN, side) for side in after)
        if before is not None:
            _run_crossed(before, after, self.current(4), self._run)


def _kept_sides(kept: Data | None) -> tuple[bool, ...] | None:
    return None if kept is None else tuple(side.value is True for side in items(kept))


class SensorManager(StoredObject):
    """A sensor: its nameplate, its raw value under watch, and the value processed from it.

    Parameters
    ----------
    raw_value:
        Gives the sensor's value.
    now, zone:
        The meter's clock.
    find, run, state, preset:
        As of `RegisterMonitor`; adjustment and sealing are enumerations of the class.
    """

    __slots__ = ("_find", "_now", "_raw_value", "_run", "_zone")

    class_id: ClassVar[int] = 67
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        read_only(2, "serial_number", Octets()),
        read_only(3, "metrological_identification", Octets()),
        read_only(4, "output_type", enumeration(255)),
        read_only(5, "adjustment_method", Octets()),
        read_only(6, "sealing_method", enumeration(255)),
        read_only(7, "raw_value", NUMBER),
        StoredAttribute(8, "scaler_unit", SCALER_UNIT),
        read_only(9, "status", Anything()),
        read_only(10, "capture_time", Moment(Tag.DATE_TIME)),
        StoredAttribute(11, "raw_value_thresholds", _THRESHOLDS),
        StoredAttribute(12, "raw_value_actions", _ACTIONS),
        StoredAttribute(13, "processed_value", VALUE_DEFINITION),
        StoredAttribute(14, "processed_value_thresholds", _THRESHOLDS),
        StoredAttribute(15, "processed_value_actions", _ACTIONS),
    )
    methods: ClassVar[tuple[int, ...]] = (1,)

    def __init__(
        self,
        logical_name: ObisCode,
        raw_value: Callable[[], Data],
        find: Find,
        run: RunScript,
        now: Callable[[], datetime],
        zone: tzinfo = UTC,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._raw_value = raw_value
        self._find = find
        self._run = run
        self._now = now
        self._zone = zone

    def current(self, index: int) -> Data:
        """Attribute; the raw value and its time are the sensor's present ones."""
        if index == 7:
            return self._raw_value()
        if index == 10:
            return stamp(self._now(), self._zone, Tag.DATE_TIME)
        if index == 9:
            return self._state.get(9, self._preset.get(9, NULL))
        return super().current(index)

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``reset``: forget on which sides of the thresholds the values were seen."""
        if index != 1:
            return super().invoke(index, parameter)
        self.parameter(parameter, Whole(Tag.INTEGER, 0, 0), "reset")
        self._state.pop(0, None)
        self._state.pop(-1, None)
        return None

    def look(self, at: datetime) -> None:
        """Run the actions of the thresholds crossed since the last look; see `timeline.Watcher`."""
        raw = self._raw_value().value
        processed = read_number(self._find, reference(self.current(13)))
        for value, kept_at, thresholds, actions in ((raw, 0, 11, 12), (processed, -1, 14, 15)):
            if not isinstance(value, int):
                continue
            after = _sides(value, self.current(thresholds))
            before = _kept_sides(self._state.get(kept_at))
            self._state[kept_at] = array(Data(Tag.BOOLEAN, side) for side in after)
            if before is not None:
                _run_crossed(before, after, self.current(actions), self._run)

"""Auto answer (class 28 version 2) and auto connect (class 29 version 2): when a meter takes and makes calls.

IEC 62056-6-2 clauses 4.7.4 and 4.7.5.

    listening, calling window  array { start_time, end_time date-time with open parts }
    number_of_rings            { nr_rings_in_window, nr_rings_out_of_window }, 0: it does not answer

Rule of this file: nobody is called outside a calling window, and no more often than the repetitions say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import ClassVar

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.interface_classes.local_time import in_window
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
    LONG_UNSIGNED,
    UNSIGNED,
    WINDOW,
    ListOf,
    Octets,
    Whole,
    enumeration,
    record,
)
from openami.quantities.obis import ObisCode

_WINDOWS = ListOf(WINDOW, 16)
_LOCKED = 2


def window_open(windows: Data, now: datetime, zone: tzinfo) -> bool:
    """True where there is no window at all, or one of them is open."""
    listed = [items(window) for window in items(windows)]
    return not listed or any(in_window(now, octets(start), octets(end), zone) for start, end in listed)


class AutoAnswer(StoredObject):
    """Whether a call is answered.

    Parameters
    ----------
    now, zone:
        The meter's clock.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_now", "_zone")

    class_id: ClassVar[int] = 28
    version: ClassVar[int] = 2
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "mode", enumeration(255)),
        StoredAttribute(3, "listening_window", _WINDOWS),
        read_only(4, "status", enumeration(2)),
        StoredAttribute(5, "number_of_calls", UNSIGNED),
        StoredAttribute(6, "number_of_rings", record(UNSIGNED, UNSIGNED)),
        StoredAttribute(7, "list_of_allowed_callers", ListOf(record(Octets(0, 32), enumeration(2)), 32)),
    )

    def __init__(
        self,
        logical_name: ObisCode,
        now: Callable[[], datetime],
        zone: tzinfo = UTC,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._now = now
        self._zone = zone

    def current(self, index: int) -> Data:
        """Attribute; the status is active in a window, locked when the number of calls was reached."""
        if index == 4:
            if self._exhausted:
                return Data(Tag.ENUM, _LOCKED)
            return Data(Tag.ENUM, int(window_open(self.current(3), self._now(), self._zone)))
        return super().current(index)

    def answers(self, caller: bytes, rings: int) -> bool:
        """True where a call of ``caller`` is taken after ``rings`` rings; a call taken is counted."""
        callers = {octets(items(entry)[0]) for entry in items(self.current(7))}
        if self._exhausted or (callers and not any(caller.endswith(known) for known in callers)):
            return False
        in_rings, out_rings = map(number, items(self.current(6)))
        wanted = in_rings if window_open(self.current(3), self._now(), self._zone) else out_rings
        if not 0 < wanted <= rings:
            return False
        self._state[0] = Data(Tag.LONG64, self._taken + 1)
        return True

    def keep(self, index: int, value: Data) -> None:
        """Keep a value; another number of calls counts from the beginning."""
        super().keep(index, value)
        if index == 5:
            self._state.pop(0, None)

    @property
    def _taken(self) -> int:
        kept = self._state.get(0)
        return 0 if kept is None else number(kept)

    @property
    def _exhausted(self) -> bool:
        most = number(self.current(5))
        return 0 < most <= self._taken


class AutoConnect(StoredObject):
    """Calls the head-end.

    Parameters
    ----------
    dial:
        Calls a destination; True where it was reached.
    now, zone:
        The meter's clock.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_dial", "_now", "_zone")

    class_id: ClassVar[int] = 29
    version: ClassVar[int] = 2
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "mode", enumeration(255)),
        StoredAttribute(3, "repetitions", UNSIGNED),
        StoredAttribute(4, "repetition_delay", LONG_UNSIGNED),
        StoredAttribute(5, "calling_window", _WINDOWS),
        StoredAttribute(6, "destination_list", ListOf(Octets(0, 128), 16)),
    )
    methods: ClassVar[tuple[int, ...]] = (1,)

    def __init__(
        self,
        logical_name: ObisCode,
        dial: Callable[[bytes], bool],
        now: Callable[[], datetime],
        zone: tzinfo = UTC,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._dial = dial
        self._now = now
        self._zone = zone

    @property
    def repetition_delay_s(self) -> int:
        """Pause between two rounds of calls."""
        return number(self.current(4))

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``connect``: call the destinations in turn until one answers; raises `AccessError`."""
        if index != 1:
            return super().invoke(index, parameter)
        self.parameter(parameter, Whole(Tag.INTEGER, 0, 0), "connect")
        if not window_open(self.current(5), self._now(), self._zone):
            raise AccessError(AccessResult.TEMPORARY_FAILURE, where=f"{self.logical_name}: no window is open")
        destinations = [octets(entry) for entry in items(self.current(6))]
        for _ in range(1 + number(self.current(3))):
            if any(self._dial(destination) for destination in destinations):
                return None
        raise AccessError(AccessResult.TEMPORARY_FAILURE, where=f"{self.logical_name}: nobody answered")

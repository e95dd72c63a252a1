"""Disconnect control, class 70 version 0 (IEC 62056-6-2 clause 4.5.8): the supply relay and who may move it.

    a  remote_reconnect   disconnected -> connected       e  manual_reconnect   ready -> connected
    b  remote_disconnect  connected -> disconnected       f  manual_disconnect  connected -> ready
    c  remote_disconnect  ready -> disconnected           g  local_disconnect   connected -> ready
    d  remote_reconnect   disconnected -> ready           h  local_reconnect    ready -> connected

    mode 0  none, always connected    mode 2  a b c e f g      mode 4  a b c e g      mode 6  b c d e g h
                                      mode 1  b c d e f g      mode 3  b c d e g      mode 5  b c d e f g h

"Ready" is ready for reconnection: the relay is open, and the customer (manual) or the meter (local: a
limiter, credit) may close it. The table is that of public documentation of the class (docs/dlms.md). Rule of
this file: the relay moves along a transition of the mode in force, or not at all.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, Final, Protocol

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import Data, Tag, encode
from openami.protocols.dlms.interface_classes.interface_object import (
    Access,
    AttributeRule,
    InterfaceObject,
    type_unmatched,
)
from openami.protocols.dlms.interface_classes.stored_object import State, number
from openami.protocols.dlms.interface_classes.value_types import enumeration
from openami.quantities.obis import ObisCode


class ControlState(IntEnum):
    """State of the relay."""

    DISCONNECTED = 0
    CONNECTED = 1
    READY_FOR_RECONNECTION = 2


class Trigger(IntEnum):
    """Who asks for what; the first two are the methods of the class."""

    REMOTE_DISCONNECT = 1
    REMOTE_RECONNECT = 2
    MANUAL_DISCONNECT = 3
    MANUAL_RECONNECT = 4
    LOCAL_DISCONNECT = 5
    LOCAL_RECONNECT = 6


_OFF, _ON, _READY = ControlState
_TRANSITIONS: Final = {
    "a": (Trigger.REMOTE_RECONNECT, _OFF, _ON),
    "b": (Trigger.REMOTE_DISCONNECT, _ON, _OFF),
    "c": (Trigger.REMOTE_DISCONNECT, _READY, _OFF),
    "d": (Trigger.REMOTE_RECONNECT, _OFF, _READY),
    "e": (Trigger.MANUAL_RECONNECT, _READY, _ON),
    "f": (Trigger.MANUAL_DISCONNECT, _ON, _READY),
    "g": (Trigger.LOCAL_DISCONNECT, _ON, _READY),
    "h": (Trigger.LOCAL_RECONNECT, _READY, _ON),
}
_MODES: Final = ("", "bcdefg", "abcefg", "bcdeg", "abceg", "bcdefgh", "bcdegh")
_NEXT: Final = tuple(
    {(trigger, before): after for trigger, before, after in map(_TRANSITIONS.__getitem__, letters)}
    for letters in _MODES
)
_CONTROL_MODE: Final = enumeration(len(_MODES) - 1)
_WAITS = 0
"""Bookkeeping: the open relay is ready for reconnection."""


def next_state(mode: int, state: ControlState, trigger: Trigger) -> ControlState:
    """State after a trigger in control mode 0 .. 6; the same where the mode has no such transition."""
    return _NEXT[mode].get((trigger, state), state)


class Relay(Protocol):
    """The meter's relay."""

    def state(self) -> ControlState:
        """Its state; a relay that knows only open and closed says disconnected and connected."""
        ...

    def switch(self, state: ControlState) -> None:
        """Bring it into ``state``; asking for the state it is in changes nothing."""
        ...


class DisconnectControl(InterfaceObject):
    """The supply relay under remote, manual and local control.

    Parameters
    ----------
    relay:
        The meter's relay.
    mode:
        Control mode 0 .. 6 at the factory.
    kept:
        Where the control mode (4) is kept that a client sets; None where it cannot be set. Below 1 it has
        whether the open relay is ready for reconnection.
    """

    __slots__ = ("_kept", "_mode", "_relay", "_settable")

    class_id: ClassVar[int] = 70
    version: ClassVar[int] = 0
    rules: ClassVar[tuple[AttributeRule, ...]] = tuple(AttributeRule(index) for index in (1, 2, 3, 4))
    methods: ClassVar[tuple[int, ...]] = (1, 2)

    def __init__(
        self, logical_name: ObisCode, relay: Relay, mode: int = 2, kept: State | None = None
    ) -> None:
        super().__init__(logical_name)
        self._relay = relay
        self._mode = mode
        self._settable = kept is not None
        self._kept: State = {} if kept is None else kept

    def attribute_rules(self) -> tuple[AttributeRule, ...]:
        """Attributes; the control mode can be set where it is kept."""
        return (*self.rules[:3], AttributeRule(4, Access.READ_WRITE)) if self._settable else self.rules

    @property
    def mode(self) -> int:
        """Control mode in force."""
        kept = self._kept.get(4)
        return self._mode if kept is None else number(kept)

    @property
    def state(self) -> ControlState:
        """State of the relay."""
        state = self._relay.state()
        if state is ControlState.CONNECTED:
            self._kept.pop(_WAITS, None)  # also where others than this object closed it
        elif _WAITS in self._kept:
            return ControlState.READY_FOR_RECONNECTION
        return state

    def trigger(self, trigger: Trigger) -> None:
        """Move the relay where the mode in force has a transition for it."""
        before = self.state
        after = next_state(self.mode, before, trigger)
        if after is before:
            return
        if after is ControlState.READY_FOR_RECONNECTION:
            self._kept[_WAITS] = Data(Tag.BOOLEAN, True)
        else:
            self._kept.pop(_WAITS, None)
        self._relay.switch(after)

    def value(self, index: int) -> bytes:
        """Encoded output_state, control_state or control_mode."""
        if index == 4:
            return encode(Data(Tag.ENUM, self.mode))
        state = self.state
        if index == 2:
            return encode(Data(Tag.BOOLEAN, state is ControlState.CONNECTED))
        return encode(Data(Tag.ENUM, int(state)))

    def write(self, index: int, value: Data) -> None:
        """Set the control mode; raises `AccessError`."""
        if index != 4 or not self._settable:
            return super().write(index, value)
        if not _CONTROL_MODE.admits(value):
            raise type_unmatched(self.logical_name, value)
        self._kept[4] = value
        if self.mode == 0 and self.state is not ControlState.CONNECTED:
            self._kept.pop(_WAITS, None)
            self._relay.switch(ControlState.CONNECTED)

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``remote_disconnect`` and ``remote_reconnect``; raises `AccessError`."""
        if index not in self.methods:
            return super().invoke(index, parameter)
        if self.mode == 0:
            raise AccessError(AccessResult.READ_WRITE_DENIED, where=f"{self.logical_name} in mode 0")
        self.trigger(Trigger(index))
        return None

"""Disconnect control, class 70 version 0 (IEC 62056-6-2 clause 4.5.8): the supply relay.

The modes say what a remote reconnection does: in modes 2 and 4 it closes the relay, in modes 1, 3, 5 and 6
it only makes it ready for the customer to close. Source of the mode table: recalled; confirm against the
standard.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, Protocol

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import Data, Tag, encode
from openami.protocols.dlms.interface_classes.interface_object import AttributeRule, InterfaceObject
from openami.quantities.obis import ObisCode


class ControlState(IntEnum):
    """State of the relay."""

    DISCONNECTED = 0
    CONNECTED = 1
    READY_FOR_RECONNECTION = 2


class Relay(Protocol):
    """The meter's relay."""

    def state(self) -> ControlState:
        """Its state."""
        ...

    def switch(self, state: ControlState) -> None:
        """Bring it into ``state``; asking for the state it is in changes nothing."""
        ...


class DisconnectControl(InterfaceObject):
    """The supply relay under remote control.

    Parameters
    ----------
    relay:
        The meter's relay.
    mode:
        Control mode 0 .. 6.
    """

    __slots__ = ("_mode", "_relay")

    class_id: ClassVar[int] = 70
    version: ClassVar[int] = 0
    rules: ClassVar[tuple[AttributeRule, ...]] = tuple(AttributeRule(index) for index in (1, 2, 3, 4))
    methods: ClassVar[tuple[int, ...]] = (1, 2)

    def __init__(self, logical_name: ObisCode, relay: Relay, mode: int = 2) -> None:
        super().__init__(logical_name)
        self._relay = relay
        self._mode = mode

    def value(self, index: int) -> bytes:
        """Encoded output_state, control_state or control_mode."""
        if index == 4:
            return encode(Data(Tag.ENUM, self._mode))
        state = self._relay.state()
        if index == 2:
            return encode(Data(Tag.BOOLEAN, state is ControlState.CONNECTED))
        return encode(Data(Tag.ENUM, int(state)))

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``remote_disconnect`` and ``remote_reconnect``; raises `AccessError`."""
        if index not in self.methods:
            return super().invoke(index, parameter)
        if self._mode == 0:
            raise AccessError(AccessResult.READ_WRITE_DENIED, where=f"{self.logical_name} in mode 0")
        if index == 1:
            self._relay.switch(ControlState.DISCONNECTED)
        elif self._relay.state() is not ControlState.CONNECTED:
            closes = self._mode in (2, 4)
            self._relay.switch(ControlState.CONNECTED if closes else ControlState.READY_FOR_RECONNECTION)
        return None

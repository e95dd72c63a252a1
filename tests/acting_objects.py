"""A meter of interface objects that act on each other, and the shortest ways to write their values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import (
    Data,
    Tag,
    array,
    structure,
)
from openami.protocols.dlms.interface_classes.data import DataObject
from openami.protocols.dlms.interface_classes.disconnect_control import ControlState, DisconnectControl
from openami.protocols.dlms.interface_classes.interface_object import InterfaceObject
from openami.protocols.dlms.interface_classes.object_reference import script_runner
from openami.protocols.dlms.interface_classes.register import Register
from openami.protocols.dlms.interface_classes.script_table import ScriptTable
from openami.quantities.obis import ObisCode
from openami.quantities.units import WH, Quantum, Unit

BERLIN = ZoneInfo("Europe/Berlin")
NOTHING = Data(Tag.INTEGER, 0)
NOW = datetime(2025, 7, 1, 12, tzinfo=UTC)
ENERGY, POWER = ObisCode(1, 0, 1, 8, 0), ObisCode(1, 0, 1, 7, 0)
RELAY, SCRIPTS = ObisCode(0, 0, 96, 3, 10), ObisCode(0, 0, 10, 0, 106)
NOTE, SERIAL = ObisCode(0, 0, 96, 13, 0), ObisCode(0, 0, 96, 1, 0)


def octets(value: bytes) -> Data:
    return Data(Tag.OCTET_STRING, value)


def long_unsigned(value: int) -> Data:
    return Data(Tag.LONG_UNSIGNED, value)


def double(value: int) -> Data:
    return Data(Tag.DOUBLE_LONG_UNSIGNED, value)


def script(selector: int) -> Data:
    return structure(octets(SCRIPTS.to_bytes()), long_unsigned(selector))


def value_definition(class_id: int, name: ObisCode, attribute: int = 2) -> Data:
    return structure(long_unsigned(class_id), octets(name.to_bytes()), Data(Tag.INTEGER, attribute))


def capture(class_id: int, name: ObisCode, attribute: int = 2, element: int = 0) -> Data:
    return structure(
        long_unsigned(class_id), octets(name.to_bytes()), Data(Tag.INTEGER, attribute), long_unsigned(element)
    )


def refused(deed: Callable[..., object], *arguments: object) -> AccessResult:
    with pytest.raises(AccessError) as caught:
        deed(*arguments)
    return caught.value.result


class House:
    """A meter with an energy, a power, a relay, a note and scripts that open (1) and close (2) the relay."""

    def __init__(self) -> None:
        self.instant = NOW
        self.power = 0
        self.where = ControlState.CONNECTED
        self.switched = 0
        self.note = b"hello"
        self.objects: dict[ObisCode, InterfaceObject] = {}
        self.run = script_runner(self.objects.get)
        self.add(Register(ENERGY, Tag.DOUBLE_LONG_UNSIGNED, WH, lambda: 123_456))
        self.add(Register(POWER, Tag.LONG_UNSIGNED, Quantum(Unit.WATT), lambda: self.power))
        self.add(DataObject(NOTE, lambda: octets(self.note), self.store_note))
        self.add(DataObject(SERIAL, lambda: octets(b"M-7")))
        self.add(DisconnectControl(RELAY, self))
        scripts = ScriptTable(SCRIPTS, self.objects.get)
        actions = (
            structure(
                Data(Tag.ENUM, 2),
                long_unsigned(70),
                octets(RELAY.to_bytes()),
                Data(Tag.INTEGER, method),
                NOTHING,
            )
            for method in (1, 2)
        )
        scripts.write(
            2,
            array(
                structure(long_unsigned(number), array([action])) for number, action in enumerate(actions, 1)
            ),
        )
        self.add(scripts)

    def add(self, item: InterfaceObject) -> None:
        self.objects[item.logical_name] = item

    def find(self, name: ObisCode) -> InterfaceObject | None:
        return self.objects.get(name)

    def now(self) -> datetime:
        return self.instant

    def state(self) -> ControlState:
        return self.where

    def switch(self, state: ControlState) -> None:
        self.switched += state is not self.where
        self.where = state

    def store_note(self, value: Data) -> None:
        assert isinstance(value.value, bytes)
        self.note = value.value

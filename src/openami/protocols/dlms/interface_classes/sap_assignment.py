"""SAP assignment, class 17 version 0 (IEC 62056-6-2 clause 4.4.4): the logical device at each wPort."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

from openami.protocols.dlms.encoding.axdr import Data, Tag, array, encode, structure
from openami.protocols.dlms.interface_classes.interface_object import AttributeRule, InterfaceObject
from openami.quantities.obis import ObisCode


class SapAssignment(InterfaceObject):
    """The list of logical devices.

    Parameters
    ----------
    devices:
        Gives wPort and logical device name of each.
    """

    __slots__ = ("_devices",)

    class_id: ClassVar[int] = 17
    version: ClassVar[int] = 0
    rules: ClassVar[tuple[AttributeRule, ...]] = (AttributeRule(1), AttributeRule(2))

    def __init__(self, logical_name: ObisCode, devices: Callable[[], Iterable[tuple[int, bytes]]]) -> None:
        super().__init__(logical_name)
        self._devices = devices

    def value(self, index: int) -> bytes:
        """Encoded list."""
        return encode(
            array(
                structure(Data(Tag.LONG_UNSIGNED, port), Data(Tag.OCTET_STRING, name))
                for port, name in self._devices()
            )
        )

"""Data, class 1 version 0 (IEC 62056-6-2 clause 4.3.1): one value of any type."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from openami.protocols.dlms.encoding.axdr import Data, encode
from openami.protocols.dlms.interface_classes.interface_object import (
    Access,
    AttributeRule,
    InterfaceObject,
    type_unmatched,
)
from openami.quantities.obis import ObisCode

_READABLE = (AttributeRule(1), AttributeRule(2))
_WRITABLE = (AttributeRule(1), AttributeRule(2, Access.READ_WRITE))


class DataObject(InterfaceObject):
    """A value.

    Parameters
    ----------
    supply:
        Gives the value.
    store:
        Takes a new value of the same type; None where the value cannot be written.
    """

    __slots__ = ("_store", "_supply")

    class_id: ClassVar[int] = 1
    version: ClassVar[int] = 0
    rules: ClassVar[tuple[AttributeRule, ...]] = _READABLE

    def __init__(
        self,
        logical_name: ObisCode,
        supply: Callable[[], Data],
        store: Callable[[Data], None] | None = None,
    ) -> None:
        super().__init__(logical_name)
        self._supply = supply
        self._store = store

    def attribute_rules(self) -> tuple[AttributeRule, ...]:
        """Attributes; the value is writable where there is somebody to store it."""
        return _READABLE if self._store is None else _WRITABLE

    def value(self, index: int) -> bytes:
        """The encoded value."""
        return encode(self._supply())

    def write(self, index: int, value: Data) -> None:
        """Set the value; raises `AccessError`."""
        if index != 2 or self._store is None:
            return super().write(index, value)
        if value.tag is not self._supply().tag:
            raise type_unmatched(self.logical_name, value)
        self._store(value)

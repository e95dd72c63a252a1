"""Objects whose attributes are written down in a table and kept in a store.

Most interface classes are sets of parameters and a little behaviour: their tables say number, name, type and
access of every attribute, the store of the meter keeps what differs from the preset. An object made anew
over the same store is the same object, so that an idle meter needs none. Rule of this file: nothing is kept
that its table does not admit, and what is not kept is as the meter's model says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final, TypeAlias

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import Data, encode
from openami.protocols.dlms.interface_classes.interface_object import (
    Access,
    AttributeRule,
    InterfaceObject,
    type_unmatched,
)
from openami.protocols.dlms.interface_classes.value_types import ValueType
from openami.quantities.obis import ObisCode

State: TypeAlias = MutableMapping[int, Data]
"""What an object keeps, by attribute; numbers below 1 are its own bookkeeping and never on the wire."""

NO_PRESET: Final[Mapping[int, Data]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class StoredAttribute:
    """A row of the table of a class.

    Parameters
    ----------
    index, name:
        As in the class table of the standard.
    type:
        What it can be.
    access:
        At most; a secret is `Access.WRITE`.
    selectors:
        Selective access that it knows.
    """

    index: int
    name: str
    type: ValueType
    access: Access = Access.READ_WRITE
    selectors: tuple[int, ...] = ()


def read_only(index: int, name: str, kind: ValueType) -> StoredAttribute:
    """A row that no client writes."""
    return StoredAttribute(index, name, kind, Access.READ)


def secret(index: int, name: str, kind: ValueType) -> StoredAttribute:
    """A row that no client reads."""
    return StoredAttribute(index, name, kind, Access.WRITE)


def unheeded(index: int, value: Data) -> None:
    """Take notice of nothing."""


class StoredObject(InterfaceObject):
    """An object of a class with a table of attributes.

    Parameters
    ----------
    state:
        What differs from the preset; the meter's, or a dictionary of the object's own.
    preset:
        Attributes as the model of the meter has them; shared between meters. Attributes without one are
        blank.
    applied:
        Told of an attribute that was set: whoever works with the parameters.

    Raises
    ------
    LocalProtocolError
        Never here; a preset that its table does not admit is refused when a model is read.
    """

    __slots__ = ("_applied", "_preset", "_state")

    table: ClassVar[tuple[StoredAttribute, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls.rules = (
            AttributeRule(1),
            *(AttributeRule(row.index, row.access, row.selectors) for row in cls.table),
        )

    def __init__(
        self,
        logical_name: ObisCode,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
        applied: Callable[[int, Data], None] = unheeded,
    ) -> None:
        super().__init__(logical_name)
        self._state: State = {} if state is None else state
        self._preset = preset
        self._applied = applied

    def row(self, index: int) -> StoredAttribute:
        """The table's row of an attribute; raises `AccessError` where there is none."""
        for row in self.table:
            if row.index == index:
                return row
        raise AccessError(AccessResult.OBJECT_UNDEFINED, where=f"{self.logical_name} attribute {index}")

    def current(self, index: int) -> Data:
        """The value of an attribute: what was set, else the preset, else blank."""
        kept = self._state.get(index)
        if kept is None:
            kept = self._preset.get(index)
        return self.row(index).type.blank() if kept is None else kept

    def keep(self, index: int, value: Data) -> None:
        """Keep a value of an attribute (or, below 1, of the object's own) and tell who works with it."""
        self._state[index] = value
        if index > 0:
            self._applied(index, value)

    def value(self, index: int) -> bytes:
        """Encoded attribute."""
        return encode(self.current(index))

    def write(self, index: int, value: Data) -> None:
        """Set an attribute; raises `AccessError`."""
        rule = self.rule(index)
        if index == 1 or not rule.access & Access.WRITE:
            return super().write(index, value)
        if not self.row(index).type.admits(value):
            raise type_unmatched(f"{self.logical_name} attribute {index}", value)
        self.admit(index, value)
        self.keep(index, value)

    def admit(self, index: int, value: Data) -> None:
        """Hold a value of the right type against the other attributes; raises `AccessError`."""

    def parameter(self, value: Data | None, kind: ValueType, method: str) -> Data:
        """A method's parameter, checked; raises `AccessError`."""
        if value is None or not kind.admits(value):
            raise type_unmatched(f"{self.logical_name} {method}", value)
        return value


def number(value: Data) -> int:
    """The integer in a value that a table admitted as one."""
    if not isinstance(value.value, int):
        raise type_unmatched("number", value)
    return value.value


def octets(value: Data) -> bytes:
    """The octets in a value that a table admitted as such."""
    if not isinstance(value.value, bytes):
        raise type_unmatched("octets", value)
    return value.value


def items(value: Data) -> tuple[Data, ...]:
    """The elements of a value that a table admitted as array or structure."""
    if not isinstance(value.value, tuple):
        raise type_unmatched("elements", value)
    return value.value

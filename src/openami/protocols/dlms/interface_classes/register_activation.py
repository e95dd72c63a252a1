"""Register activation, class 6 version 0 (IEC 62056-6-2 clause 4.3.5): which registers count now.

    register_assignment  array { class_id, logical_name }
    mask_list            array { mask_name octet-string, array of unsigned (positions, from 1) }
    active_mask          octet-string

Rule of this file: the active mask is one of the list, or none, and then no register of the assignment counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import Data, Tag, array
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
    LOGICAL_NAME,
    LONG_UNSIGNED,
    MOST_ELEMENTS,
    UNSIGNED,
    ListOf,
    Octets,
    record,
)
from openami.quantities.obis import ObisCode

_OBJECT = record(LONG_UNSIGNED, LOGICAL_NAME)
_NAME = Octets(0, 32)
_MASK = record(_NAME, ListOf(UNSIGNED))


def all_registers(active: tuple[ObisCode, ...]) -> None:
    """Take no notice: for a meter whose registers always count."""


class RegisterActivation(StoredObject):
    """The registers of a tariff, and those that count at present.

    Parameters
    ----------
    select:
        Told of the registers that count from now on, in the order of the mask.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_select",)

    class_id: ClassVar[int] = 6
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "register_assignment", ListOf(_OBJECT)),
        StoredAttribute(3, "mask_list", ListOf(_MASK)),
        StoredAttribute(4, "active_mask", _NAME),
    )
    methods: ClassVar[tuple[int, ...]] = (1, 2, 3)

    def __init__(
        self,
        logical_name: ObisCode,
        select: Callable[[tuple[ObisCode, ...]], None] = all_registers,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._select = select

    def active(self) -> tuple[ObisCode, ...]:
        """The registers that count, in the order of the active mask."""
        assigned = items(self.current(2))
        positions = self._mask(octets(self.current(4)))
        return tuple(
            ObisCode.from_bytes(octets(items(assigned[at - 1])[1]))
            for at in positions or ()
            if 1 <= at <= len(assigned)
        )

    def admit(self, index: int, value: Data) -> None:
        """An active mask is one of the list; raises `AccessError`."""
        if index == 4 and octets(value) and self._mask(octets(value)) is None:
            raise AccessError(AccessResult.OBJECT_UNDEFINED, where=f"{self.logical_name}: no such mask")

    def keep(self, index: int, value: Data) -> None:
        """Keep a value, and select the registers anew."""
        super().keep(index, value)
        if index > 1:
            self._select(self.active())

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``add_register``, ``add_mask``, ``delete_mask``; raises `AccessError`."""
        match index:
            case 1:
                added = self.parameter(parameter, _OBJECT, "add_register")
                self._keep_list(2, (*items(self.current(2)), added))
            case 2:
                mask = self.parameter(parameter, _MASK, "add_mask")
                self._keep_list(3, (*self._masks_but(octets(items(mask)[0])), mask))
            case 3:
                name = octets(self.parameter(parameter, _NAME, "delete_mask"))
                if self._mask(name) is None:
                    raise AccessError(AccessResult.OBJECT_UNDEFINED, where=f"{self.logical_name}: no mask")
                self._keep_list(3, self._masks_but(name))
            case _:
                return super().invoke(index, parameter)
        return None

    def _keep_list(self, index: int, elements: tuple[Data, ...]) -> None:
        if len(elements) > MOST_ELEMENTS:
            raise AccessError(AccessResult.TEMPORARY_FAILURE, where=f"{self.logical_name} is full")
        self.keep(index, array(elements))

    def _mask(self, name: bytes) -> tuple[int, ...] | None:
        for mask in items(self.current(3)):
            known, positions = items(mask)
            if octets(known) == name:
                return tuple(number(position) for position in items(positions))
        return None

    def _masks_but(self, name: bytes) -> tuple[Data, ...]:
        return tuple(mask for mask in items(self.current(3)) if octets(items(mask)[0]) != name)


def mask(name: bytes, *positions: int) -> Data:
    """``register_act_mask`` of a name and positions counted from 1."""
    return Data(
        Tag.STRUCTURE,
        (Data(Tag.OCTET_STRING, name), array(Data(Tag.UNSIGNED, position) for position in positions)),
    )

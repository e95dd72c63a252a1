"""Registers that hold their value themselves (classes 3 and 4): settings, counters, values of other media.

A `Register` asks the metering core for a count of a quantum. These keep a value of any type in the meter's
state, so that thresholds can be set and values that were captured elsewhere shown (IEC 62056-6-2 clauses
4.3.2 and 4.3.3). Rule of this file: a value never changes its type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.interface_classes.interface_object import type_unmatched
from openami.protocols.dlms.interface_classes.stored_object import (
    NO_PRESET,
    State,
    StoredAttribute,
    StoredObject,
)
from openami.protocols.dlms.interface_classes.value_types import SCALER_UNIT, Anything, Moment, Whole
from openami.quantities.obis import ObisCode

_NOTHING = Whole(Tag.INTEGER, 0, 0)


class HeldRegister(StoredObject):
    """A value with its scaler and unit.

    Parameters
    ----------
    state, preset:
        As of `StoredObject`; the preset has the value (2), whose type it fixes, and scaler and unit (3).
    supply:
        Gives the value where it is measured; it cannot be set then.
    """

    __slots__ = ("_supply",)

    class_id: ClassVar[int] = 3
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "value", Anything()),
        StoredAttribute(3, "scaler_unit", SCALER_UNIT),
    )
    methods: ClassVar[tuple[int, ...]] = (1,)

    def __init__(
        self,
        logical_name: ObisCode,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
        supply: Callable[[], Data] | None = None,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._supply = supply

    def current(self, index: int) -> Data:
        """Attribute."""
        if index == 2 and self._supply is not None:
            return self._supply()
        return super().current(index)

    def admit(self, index: int, value: Data) -> None:
        """The type of the value stays; raises `AccessError`."""
        if index == 2 and (self._supply is not None or value.tag is not self.current(2).tag):
            raise type_unmatched(self.logical_name, value)

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``reset`` to the preset, where the value is not measured; raises `AccessError`."""
        if index != 1 or self._supply is not None:
            return super().invoke(index, parameter)
        self.parameter(parameter, _NOTHING, "reset")
        self._state.pop(2, None)
        return None


class HeldExtendedRegister(HeldRegister):
    """A value that also says its status and when it came about."""

    __slots__ = ()

    class_id: ClassVar[int] = 4
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        *HeldRegister.table,
        StoredAttribute(4, "status", Anything()),
        StoredAttribute(5, "capture_time", Moment()),
    )

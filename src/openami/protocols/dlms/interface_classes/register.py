"""Register (class 3) and extended register (class 4), version 0 (IEC 62056-6-2 clauses 4.3.2 and 4.3.3).

Values are integer counts of the register's quantum: ``scaler_unit`` is that quantum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from openami.protocols.dlms.encoding.axdr import Data, Tag, encode
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.encoding.units import scaler_unit
from openami.protocols.dlms.interface_classes.interface_object import AttributeRule, InterfaceObject
from openami.quantities.obis import ObisCode
from openami.quantities.units import Quantum


class Register(InterfaceObject):
    """A count of a quantum.

    Parameters
    ----------
    tag:
        Integer type on the wire.
    quantum:
        What one count is worth.
    supply:
        Gives the count.
    reset:
        Runs the method ``reset``; None where the register has none.
    """

    __slots__ = ("_quantum", "_reset", "_supply", "_tag")

    class_id: ClassVar[int] = 3
    version: ClassVar[int] = 0
    rules: ClassVar[tuple[AttributeRule, ...]] = (AttributeRule(1), AttributeRule(2), AttributeRule(3))

    def __init__(
        self,
        logical_name: ObisCode,
        tag: Tag,
        quantum: Quantum,
        supply: Callable[[], int],
        reset: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(logical_name)
        self._tag = tag
        self._quantum = quantum
        self._supply = supply
        self._reset = reset

    def method_rules(self) -> tuple[int, ...]:
        """``reset`` where the register has it."""
        return () if self._reset is None else (1,)

    def value(self, index: int) -> bytes:
        """Encoded value or scaler_unit."""
        if index == 2:
            return encode(Data(self._tag, self._supply()))
        return encode(scaler_unit(self._quantum))

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``reset``; raises `AccessError`."""
        if index != 1 or self._reset is None:
            return super().invoke(index, parameter)
        self._reset()
        return None


class ExtendedRegister(Register):
    """A register that also says when its value came about.

    Parameters
    ----------
    status:
        Gives the status of the value.
    capture_time:
        Gives when it was captured.
    """

    __slots__ = ("_capture_time", "_status")

    class_id: ClassVar[int] = 4
    rules: ClassVar[tuple[AttributeRule, ...]] = (*Register.rules, AttributeRule(4), AttributeRule(5))

    def __init__(
        self,
        logical_name: ObisCode,
        tag: Tag,
        quantum: Quantum,
        supply: Callable[[], int],
        status: Callable[[], Data],
        capture_time: Callable[[], CosemDateTime],
        reset: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(logical_name, tag, quantum, supply, reset)
        self._status = status
        self._capture_time = capture_time

    def value(self, index: int) -> bytes:
        """Encoded value, scaler_unit, status or capture_time."""
        if index == 4:
            return encode(self._status())
        if index == 5:
            return encode(Data(Tag.OCTET_STRING, self._capture_time().to_bytes()))
        return super().value(index)

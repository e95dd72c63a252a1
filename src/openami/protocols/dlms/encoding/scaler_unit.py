"""``scaler_unit`` of registers (IEC 62056-6-2 class 3): a count is worth ``10**scaler`` of a unit.

Unlike `units.quantum_of` this takes every unit of the table, those that the vocabulary of openami has no
quantum for included. Rule of this file: scaling is exact.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NamedTuple

from openami.protocols.dlms.encoding.axdr import Plain
from openami.protocols.dlms.encoding.units import cosem_units
from openami.quantities.errors import RemoteProtocolError

NO_UNIT: Final = 255
_MAX_SCALER: Final = 40


class ScalerUnit(NamedTuple):
    """Scaler, and code of the unit."""

    scaler: int
    unit: int

    @property
    def symbol(self) -> str:
        """Symbol of the unit; its number where the table does not have it, empty where it is a count."""
        row = cosem_units().get(self.unit)
        return "" if self.unit == NO_UNIT else row.symbol if row is not None else f"unit {self.unit}"

    def scaled(self, count: int | float) -> Decimal:
        """A count in the unit; a float counts as its shortest decimal."""
        return (Decimal(count) if isinstance(count, int) else Decimal(repr(count))).scaleb(self.scaler)


def scaler_unit_of(value: Plain) -> ScalerUnit:
    """Scaler and unit of a decoded ``scaler_unit``; raises `RemoteProtocolError` where it is none."""
    match value:
        case (int(scaler), int(unit)) if abs(scaler) <= _MAX_SCALER and not isinstance(scaler, bool):
            return ScalerUnit(scaler, unit)
    raise RemoteProtocolError(f"{value!r} is no scaler and unit", expected="(scaler, unit)")

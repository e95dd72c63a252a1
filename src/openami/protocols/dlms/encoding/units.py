"""COSEM units (``scaler_unit``) and quanta: the codes are data in ``units.toml``, with their source.

Rule of this file: a register whose unit the vocabulary does not have is an error, never a bare number.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from openami.protocols.dlms.encoding.axdr import Data, Plain, Tag, structure
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError
from openami.quantities.units import Quantum, Unit


@dataclass(frozen=True, slots=True)
class CosemUnit:
    """One row of the table: wire code, symbol, and the unit of the vocabulary with its power of ten."""

    code: int
    symbol: str
    unit: Unit | None
    exponent: int


@cache
def cosem_units() -> dict[int, CosemUnit]:
    """The table, by code."""
    text = resources.files(__package__).joinpath("units.toml").read_text("utf-8")
    return {
        row["code"]: CosemUnit(
            row["code"],
            row["symbol"],
            Unit.parse(row["unit"]) if "unit" in row else None,
            row.get("exponent", 0),
        )
        for row in tomllib.loads(text)["unit"]
    }


@cache
def _code_of(unit: Unit) -> int:
    for row in cosem_units().values():
        if row.unit is unit and row.exponent == 0:
            return row.code
    raise LocalProtocolError(f"COSEM has no unit {unit.value}")


def scaler_unit(quantum: Quantum) -> Data:
    """``scaler_unit`` of a quantum: structure of integer scaler and enum unit."""
    return structure(Data(Tag.INTEGER, quantum.exponent), Data(Tag.ENUM, _code_of(quantum.unit)))


def quantum_of(value: Plain) -> Quantum:
    """Quantum of a ``scaler_unit`` as `decode_plain` gives it.

    Raises
    ------
    RemoteProtocolError
        It is no scaler and unit, or the vocabulary does not have the unit.
    """
    match value:
        case (int(scaler), int(code)) if -12 <= scaler <= 12:
            row = cosem_units().get(code)
            if row is not None and row.unit is not None and -12 <= scaler + row.exponent <= 12:
                return Quantum(row.unit, scaler + row.exponent)
    raise RemoteProtocolError(
        f"{value!r} is no scaler and unit that openami knows", expected="(scaler, unit)"
    )

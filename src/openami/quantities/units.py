"""Units and quanta: a stored value is an integer count of a quantum (unit and decimal exponent).

1 Wh for a household is ``Quantum(Unit.WATT_HOUR, 0)``; the tenth of a volt is ``Quantum(Unit.VOLT, -1)``.
No value is kept as a float anywhere; watt-hours and volts appear at the edges as `Decimal`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from fractions import Fraction

from openami.quantities.errors import QuantityError


class Unit(Enum):
    """Unit of a measured quantity; the value is its symbol."""

    WATT_HOUR = "Wh"
    VAR_HOUR = "varh"
    VA_HOUR = "VAh"
    WATT = "W"
    VAR = "var"
    VA = "VA"
    VOLT = "V"
    AMPERE = "A"
    HERTZ = "Hz"
    SECOND = "s"
    VOLT_SQUARED_HOUR = "V2h"
    AMPERE_SQUARED_HOUR = "A2h"
    CUBIC_METRE = "m3"
    ONE = "1"

    @classmethod
    def parse(cls, symbol: str) -> Unit:
        """Unit of a symbol, ignoring case.

        Raises
        ------
        QuantityError
            The symbol is not in the vocabulary.
        """
        for unit in cls:
            if unit.value.lower() == symbol.strip().lower():
                return unit
        known = ", ".join(unit.value for unit in cls)
        raise QuantityError(f"unknown unit {symbol!r}", expected=f"one of {known}")


_DIGITS = 40
"""Digits before and after the point beyond which a number measures nothing, only costs memory."""

_PREFIX = {"": 0, "k": 3, "M": 6, "G": 9, "m": -3, "u": -6}
_PREFIXED = re.compile(r"([kKMGmu]?)([A-Za-z0-9]+)")


@dataclass(frozen=True, slots=True)
class Quantum:
    """The step a channel counts in: ``10**exponent`` of ``unit``."""

    unit: Unit
    exponent: int = 0

    def __post_init__(self) -> None:
        if not -12 <= self.exponent <= 12:
            raise QuantityError(f"exponent {self.exponent} out of range", expected="-12 .. 12")

    def decimal(self, count: int) -> Decimal:
        """Value of ``count`` quanta in the unit, exact."""
        return Decimal(count).scaleb(self.exponent)

    def count(self, value: Decimal) -> int:
        """Counts of ``value`` (in the unit).

        Raises
        ------
        QuantityError
            The value is not a whole number of quanta, not finite, or beyond 40 digits.
        """
        if not value.is_finite() or abs(value.adjusted()) > _DIGITS:
            raise QuantityError(f"{value} {self.unit.value} cannot be counted", expected="a number of size")
        scaled = Fraction(value) / Fraction(10) ** self.exponent
        if scaled.denominator != 1:
            raise QuantityError(f"{value} {self.unit.value} is not a whole number of {self}")
        return scaled.numerator

    def __str__(self) -> str:
        return f"1e{self.exponent} {self.unit.value}" if self.exponent else f"1 {self.unit.value}"


def parse_prefixed_unit(symbol: str) -> Quantum:
    """Quantum named by a symbol with an SI prefix: ``"kWh"`` is ``Quantum(WATT_HOUR, 3)``.

    Case is forgiven where it is unambiguous (``KWH``, ``kwh``).

    Raises
    ------
    QuantityError
        Neither the symbol nor the symbol without its prefix is a known unit.
    """
    text = symbol.strip()
    try:
        return Quantum(Unit.parse(text), 0)
    except QuantityError:
        match = _PREFIXED.fullmatch(text)
        if match is None:
            raise
    prefix = "k" if match[1] == "K" else match[1]
    return Quantum(Unit.parse(match[2]), _PREFIX[prefix])


WH = Quantum(Unit.WATT_HOUR, 0)
VARH = Quantum(Unit.VAR_HOUR, 0)

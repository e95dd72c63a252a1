"""Exact money: columns of rationals, rounded only where a tariff says so.

A price is a decimal number of currency per unit, a determinant an integer count of a quantum; their
product is an integer count of a finer quantum whose exponent follows from the two (0.0975 per kWh and 1 Wh
give 1e-7 of the currency). Counts here are Python integers in object arrays, so nothing can overflow and no
binary float ever takes part. Divisions (sharing a tier over rates, a month over days) stay fractions until
a `Rounding` is applied. Never to be broken: no operation in this file approximates, except `Rounding.apply`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from openami.quantities.errors import QuantityError

_DIGITS = 40

Integers = npt.NDArray[np.object_]
"""A column of Python integers."""


class RoundingRule(Enum):
    """How a fraction becomes a multiple of a power of ten."""

    HALF_UP = "half_up"
    HALF_EVEN = "half_even"
    DOWN = "down"
    UP = "up"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Exact:
    """A column of exact numbers ``numerator / denominator``, shape ``(n,)``.

    Invariant: every denominator is positive. It is one integer for all rows, or a column of them.
    """

    numerator: Integers
    denominator: int | Integers = 1

    @classmethod
    def of_counts(cls, counts: npt.NDArray[np.int64]) -> Exact:
        """Column of integer counts, shape ``(n,)``."""
        return cls(counts.astype(object))

    @classmethod
    def constant(cls, value: Fraction | Decimal | int, rows: int) -> Exact:
        """The same value in every one of ``rows`` rows."""
        fraction = Fraction(value)
        column = np.empty(rows, object)
        column[:] = fraction.numerator
        return cls(column, fraction.denominator)

    @classmethod
    def of(cls, values: Iterable[Fraction | Decimal | int]) -> Exact:
        """Column of the given values."""
        fractions = [Fraction(value) for value in values]
        common = math.lcm(*(fraction.denominator for fraction in fractions)) if fractions else 1
        column = np.empty(len(fractions), object)
        column[:] = [fraction.numerator * (common // fraction.denominator) for fraction in fractions]
        return cls(column, common)

    def __len__(self) -> int:
        return len(self.numerator)

    def __add__(self, other: Exact) -> Exact:
        left, right, denominator = _aligned(self, other)
        return Exact(left + right, denominator)

    def __sub__(self, other: Exact) -> Exact:
        left, right, denominator = _aligned(self, other)
        return Exact(left - right, denominator)

    def __mul__(self, other: Exact) -> Exact:
        return Exact(self.numerator * other.numerator, self.denominator * other.denominator)

    def __neg__(self) -> Exact:
        return Exact(-self.numerator, self.denominator)

    def scaled(self, factor: Fraction | Decimal | int) -> Exact:
        """Every row times ``factor``."""
        fraction = Fraction(factor)
        numerator = self.numerator if fraction.numerator == 1 else self.numerator * fraction.numerator
        return Exact(numerator, self.denominator * fraction.denominator)

    def over(self, other: Exact) -> Exact:
        """Row by row quotient; 0 where ``other`` is 0 (a share of nothing)."""
        empty = other.numerator == 0
        sign = np.where(other.numerator < 0, -1, 1)
        numerator = np.where(empty, 0, self.numerator * other.denominator * sign)
        denominator = np.where(empty, 1, self.denominator * other.numerator * sign)
        return Exact(numerator, denominator)

    def minimum(self, other: Exact) -> Exact:
        """Row by row the smaller."""
        left, right, denominator = _aligned(self, other)
        return Exact(np.minimum(left, right), denominator)

    def maximum(self, other: Exact) -> Exact:
        """Row by row the larger."""
        left, right, denominator = _aligned(self, other)
        return Exact(np.maximum(left, right), denominator)

    def between(self, low: Fraction, high: Fraction | None) -> Exact:
        """The part of each row that lies in ``[low, high]``: a tier of a use counted from 0."""
        rows = len(self)
        above = (self - Exact.constant(low, rows)).maximum(Exact.constant(0, rows))
        return above if high is None else above.minimum(Exact.constant(high - low, rows))

    def where(self, mask: npt.NDArray[np.bool_]) -> Exact:
        """The rows of ``mask``; 0 elsewhere."""
        return Exact(np.where(mask, self.numerator, 0), self.denominator)

    def fraction(self, row: int) -> Fraction:
        """One row."""
        denominator = self.denominator
        below = denominator if isinstance(denominator, int) else denominator[row]
        return Fraction(int(self.numerator[row]), int(below))

    def fractions(self) -> list[Fraction]:
        """All rows."""
        return [self.fraction(row) for row in range(len(self))]


def _aligned(left: Exact, right: Exact) -> tuple[Integers, Integers, int | Integers]:
    one, other = left.denominator, right.denominator
    if one is other:
        return left.numerator, right.numerator, one
    if isinstance(one, int) and isinstance(other, int):
        if one == other:
            return left.numerator, right.numerator, one
        common = math.lcm(one, other)
        return left.numerator * (common // one), right.numerator * (common // other), common
    return left.numerator * other, right.numerator * one, one * other


@dataclass(frozen=True, slots=True)
class Rounding:
    """A rounding rule and the decimal digits it leaves; ties of ``half_up`` go away from zero."""

    rule: RoundingRule = RoundingRule.NONE
    digits: int = 0

    def __post_init__(self) -> None:
        if not -6 <= self.digits <= 12:
            raise QuantityError(f"rounding to {self.digits} digits", expected="-6 .. 12")

    def apply(self, values: Exact) -> Exact:
        """Rounded column, exact multiples of ``10**-digits``; unchanged for ``none``."""
        if self.rule is RoundingRule.NONE:
            return values
        step = Fraction(10) ** -self.digits
        numerator = values.numerator * step.denominator
        denominator = values.denominator * step.numerator
        negative = numerator < 0
        size = np.where(negative, -numerator, numerator)
        whole, rest = size // denominator, size % denominator
        if self.rule is RoundingRule.UP:
            whole = whole + (rest > 0)
        elif self.rule is RoundingRule.HALF_UP:
            whole = whole + (2 * rest >= denominator)
        elif self.rule is RoundingRule.HALF_EVEN:
            whole = whole + ((2 * rest > denominator) | ((2 * rest == denominator) & (whole % 2 == 1)))
        signed = np.where(negative, -whole, whole)
        return Exact(signed * step.numerator, step.denominator)

    def __str__(self) -> str:
        return "none" if self.rule is RoundingRule.NONE else f"{self.rule.value} to {self.digits} digits"


UNROUNDED = Rounding()
"""Leaves every digit."""


def money_text(amount: Fraction) -> str:
    """Amount as plain decimal text when it terminates (``"12.30"``), else as ``"n/d"``; reversible.

    At least two digits are written, as money is.
    """
    digits = 2
    below = amount.denominator
    for prime in (2, 5):
        power = 0
        while below % prime == 0:
            below //= prime
            power += 1
        digits = max(digits, power)
    if below != 1:
        return f"{amount.numerator}/{amount.denominator}"
    units = abs(amount.numerator) * 10**digits // amount.denominator
    sign = "-" if amount < 0 else ""
    whole, part = divmod(units, 10**digits)
    return f"{sign}{whole}.{part:0{digits}d}"


def readable(amount: Fraction) -> str:
    """Amount for people: exact where it ends within six decimals, else ``"≈602.756"``."""
    text = money_text(amount)
    if "/" not in text and len(text.partition(".")[2]) <= 6:
        return text
    return f"≈{decimal_of(amount, 3)}"


def money_of_text(text: str) -> Fraction:
    """Amount back from `money_text`.

    Raises
    ------
    QuantityError
        The text is not an amount.
    """
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise QuantityError(f"{text!r} is not an amount", expected="12.30 or 37/3") from None


def decimal_of(amount: Fraction, digits: int) -> Decimal:
    """Amount as a Decimal with ``digits`` places, half up: for display and for amounts already rounded."""
    rounded = Rounding(RoundingRule.HALF_UP, digits).apply(Exact.of([amount])).fraction(0)
    return (Decimal(rounded.numerator) / Decimal(rounded.denominator)).quantize(Decimal(1).scaleb(-digits))


def parse_decimal(value: str | int | Decimal, where: str) -> Decimal:
    """A finite decimal number written as text or as an integer.

    Raises
    ------
    QuantityError
        It is not a number, not finite, or has more than 40 digits before or after its point: an exact
        fraction of 1e999999999 would fill the memory.
    """
    try:
        number = Decimal(value)
    except (InvalidOperation, ValueError):
        raise QuantityError(
            f"{value!r} is not a number", where=where, expected='a decimal as "0.0975"'
        ) from None
    if not number.is_finite():
        raise QuantityError(f"{value!r} is not finite", where=where, expected='a decimal as "0.0975"')
    if number.adjusted() > _DIGITS or int(number.as_tuple().exponent) < -_DIGITS:
        raise QuantityError(
            f"{number:.6e} has more than {_DIGITS} digits on one side of its point",
            where=where,
            expected='a decimal as "0.0975"',
        )
    return number

"""Lines of bills as columns (n bills at once) and as single values, with what each was computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from openami.billing.usage import Span
from openami.quantities.money import Exact
from openami.quantities.obis import ObisCode
from openami.quantities.units import Quantum


@dataclass(frozen=True, slots=True, eq=False)
class DeterminantColumn:
    """What was counted, for n bills.

    Parameters
    ----------
    definition:
        ``sum``, ``block_maximum``, ``sliding_maximum``, ``apparent_maximum``, ``net_import``, ``net_export``
        or ``previous`` (use or demand carried from earlier periods).
    channel, reactive:
        Where it was counted.
    calendar, rate:
        Calendar and rate; rate None means all intervals.
    quantum, counts:
        Exact counts of the quantum, shape ``(n,)``.
    window_s, at:
        For maxima: the window, and the index of the interval where it begins, shape ``(n,)``, from
        ``first_day``.
    """

    definition: str
    channel: ObisCode
    calendar: str
    rate: str | None
    first_day: date
    last_day: date
    quantum: Quantum
    counts: Exact
    reactive: ObisCode | None = None
    window_s: int = 0
    at: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LineColumn:
    """One line of n bills: ``amount = rounding(sign * quantity * price)``, shapes ``(n,)``."""

    charge: str
    kind: str
    text: str
    quantity: Exact
    unit: str
    price: Decimal | None
    amount: Exact
    formula: str
    span: Span
    determinants: tuple[DeterminantColumn, ...] = ()


@dataclass(frozen=True, slots=True)
class Determinant:
    """What was counted, for one bill; see `DeterminantColumn`. ``at`` is an index from ``first_day``."""

    definition: str
    channel: ObisCode
    calendar: str
    rate: str | None
    first_day: date
    last_day: date
    quantum: Quantum
    counts: Fraction
    reactive: ObisCode | None = None
    window_s: int = 0
    at: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of one bill."""

    charge: str
    kind: str
    text: str
    quantity: Fraction
    unit: str
    price: Decimal | None
    amount: Fraction
    formula: str
    first_day: date
    last_day: date
    determinants: tuple[Determinant, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """What earlier periods hand to this one, by charge name, then by rate name.

    ``tier_use``: use since the tiers' yearly reset (rate ``""``: all rates together), in the kilo-unit.
    ``peaks``: measured demand of earlier periods, newest last, each with the day its period began.
    ``bank``: export not yet used, in the kilo-unit.
    """

    tier_use: Mapping[str, Mapping[str, Exact]] = field(default_factory=dict)
    peaks: Mapping[str, tuple[tuple[date, Mapping[str, Exact]], ...]] = field(default_factory=dict)
    bank: Mapping[str, Mapping[str, Exact]] = field(default_factory=dict)


NOTHING = Carried()
"""Carried into the first period of a usage point."""


@dataclass(frozen=True, slots=True, eq=False)
class Rated:
    """Lines of n bills, their exact totals, and what is carried on."""

    lines: tuple[LineColumn, ...]
    total: Exact
    carried: Carried

    def bill(self, row: int) -> tuple[Line, ...]:
        """Lines of one bill; a line of no quantity and no amount is left out."""
        return tuple(single for line in self.lines if (single := _line(line, row)).quantity or single.amount)


def _line(line: LineColumn, row: int) -> Line:
    return Line(
        line.charge,
        line.kind,
        line.text,
        line.quantity.fraction(row),
        line.unit,
        line.price,
        line.amount.fraction(row),
        line.formula,
        line.span.first_day,
        line.span.last_day,
        tuple(_determinant(item, row) for item in line.determinants),
    )


def _determinant(item: DeterminantColumn, row: int) -> Determinant:
    return Determinant(
        item.definition,
        item.channel,
        item.calendar,
        item.rate,
        item.first_day,
        item.last_day,
        item.quantum,
        item.counts.fraction(row),
        item.reactive,
        item.window_s,
        None if item.at is None or item.at[row] < 0 else int(item.at[row]),
    )

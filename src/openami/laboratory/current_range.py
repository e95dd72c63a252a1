"""Test currents: what the names and multiples of a table mean for a meter, and which currents cover a range.

IEC 62053 counts in multiples of the reference current (Ib for direct connection, In through transformers),
OIML R 46 and EN 50470-3 in multiples of the transitional current Itr. Rule never to be broken: where two rows
of a table meet, the row that begins there rules, so a meter is held to the tighter of the two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final, Literal, Protocol, TypeVar

from openami.laboratory.accuracy_limits import CurrentBound, IntrinsicLimit, Load
from openami.meter.model import Rating

_SAME: Final = 1e-9
_MULTIPLES: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_TRANSITIONAL_MULTIPLES: Final = (1.0, 2.0, 5.0, 10.0)


class Size(Enum):
    """How closely a plan covers the ranges."""

    FULL = "full"
    QUICK = "quick"


class _Row(Protocol):
    @property
    def begin(self) -> CurrentBound: ...
    @property
    def end(self) -> CurrentBound: ...
    @property
    def load(self) -> Load: ...
    @property
    def factor(self) -> tuple[str, ...]: ...


R = TypeVar("R", bound=_Row)


def current_a(bound: CurrentBound, rating: Rating, base: Literal["reference", "transitional"]) -> float:
    """The current in A that a bound of a table means for a meter."""
    named = {
        "Ist": rating.ist_a,
        "Imin": rating.imin_a,
        "Itr": rating.itr_a,
        "reference": rating.reference_a,
        "Imax": rating.imax_a,
        "0.5 Imax": 0.5 * rating.imax_a,
    }
    if isinstance(bound, str):
        return named[bound]
    return bound * (rating.reference_a if base == "reference" else rating.itr_a)


def candidates_a(rating: Rating, base: Literal["reference", "transitional"], size: Size) -> tuple[float, ...]:
    """Test currents of a plan in A, ascending, each once; rows of a table pick theirs."""
    corners = [rating.imin_a, rating.itr_a, rating.reference_a, rating.imax_a]
    if size is Size.QUICK:
        return _distinct(corners)
    half = [0.5 * rating.imax_a] if rating.imax_a > 2.0 * rating.reference_a else []
    if base == "reference":
        return _distinct([*(m * rating.reference_a for m in _MULTIPLES), *half, rating.imax_a])
    below = [rating.ist_a, math.sqrt(rating.ist_a * rating.imin_a)]
    return _distinct([*below, *corners, *half, *(m * rating.itr_a for m in _TRANSITIONAL_MULTIPLES)])


def currents_of(
    row: _Row, rating: Rating, base: Literal["reference", "transitional"], size: Size
) -> tuple[float, ...]:
    """Test currents in A within a row's range: its two ends and what the plan has between them."""
    begin, end = current_a(row.begin, rating, base), current_a(row.end, rating, base)
    inner = [
        a for a in candidates_a(rating, base, size) if begin <= a * (1 + _SAME) and a <= end * (1 + _SAME)
    ]
    return _distinct([begin, *inner, end]) if begin <= end * (1 + _SAME) else ()


def ruling_row(
    rows: Sequence[R],
    load: Load,
    factor: str,
    amperes: float,
    rating: Rating,
    base: Literal["reference", "transitional"],
) -> R | None:
    """The row that rules at a current: of those that contain it, the one that begins highest."""
    found: R | None = None
    highest = -math.inf
    for row in rows:
        begin, end = current_a(row.begin, rating, base), current_a(row.end, rating, base)
        inside = begin * (1 - _SAME) <= amperes <= end * (1 + _SAME)
        if row.load is load and factor in row.factor and inside and begin > highest:
            found, highest = row, begin
    return found


def limit_at(row: IntrinsicLimit, amperes: float, rating: Rating) -> float:
    """Permissible error of a row at a current, percent."""
    return row.limit_pct * rating.imin_a / amperes if row.law == "Imin/I" else row.limit_pct


def _distinct(values: Iterable[float]) -> tuple[float, ...]:
    kept: list[float] = []
    for value in sorted(values):
        if not kept or value > kept[-1] * (1 + _SAME):
            kept.append(value)
    return tuple(kept)

"""Power factor: the mean factor of a period as whole hundredths, and the tables that price it.

The factor is P / sqrt(P**2 + Q**2) of the period's active and reactive energy. Rounding to hundredths (half
up) is done on integers, so no square root of a float decides a customer's percent.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from math import isqrt

from openami.billing.tariff import PowerFactorTable
from openami.quantities.errors import TariffError

_CHINA = (
    "recalled: method of charging by power factor, Ministry of Water Resources and Electric Power and State "
    "Price Bureau, 1983 no. 215"
)


def hundredths(active: int, reactive: int) -> int:
    """Power factor in hundredths, 0 .. 100, half up; 100 when there is neither energy.

    Parameters
    ----------
    active, reactive:
        Energy of the period in one quantum, both not negative.
    """
    square = active * active + reactive * reactive
    if square == 0:
        return 100
    # floor(100 P / S + 1/2) = floor((floor(200 P / S) + 1) / 2), and floor(sqrt(x)) = isqrt(floor(x)).
    return (isqrt(40_000 * active * active // square) + 1) // 2


def china_table(standard: str) -> PowerFactorTable:
    """Chinese adjustment table for the standard 0.90, 0.85 or 0.80, in percent of the bill's base.

    Raises
    ------
    TariffError
        There is no such standard.
    """
    if standard not in _STEPS:
        raise TariffError(f"no power factor table {standard!r}", expected=f"one of {', '.join(_STEPS)}")
    base, above = int(Decimal(standard) * 100), _STEPS[standard]
    percent = [Decimal(0)] * 101
    for factor, value in above.items():
        percent[factor] = Decimal(value)
    best = max(above)
    for factor in range(best, 101):
        percent[factor] = percent[best]
    # Below the standard: +0.5 a hundredth down to +10, then +1 for five more, then +2.
    steps = {factor: (base - factor) for factor in range(base)}
    for factor, step in steps.items():
        if step <= 20:
            percent[factor] = Decimal(step) / 2
        elif step <= 25:
            percent[factor] = Decimal(10 + step - 20)
        else:
            percent[factor] = Decimal(15 + 2 * (step - 25))
    return PowerFactorTable(f"cn-{standard}", _CHINA, tuple(percent))


_STEPS = {
    "0.90": {91: "-0.15", 92: "-0.30", 93: "-0.45", 94: "-0.60", 95: "-0.75"},
    "0.85": {
        86: "-0.1", 87: "-0.2", 88: "-0.3", 89: "-0.4", 90: "-0.5",
        91: "-0.65", 92: "-0.80", 93: "-0.95", 94: "-1.10",
    },
    "0.80": {
        81: "-0.1", 82: "-0.2", 83: "-0.3", 84: "-0.4", 85: "-0.5", 86: "-0.6", 87: "-0.7",
        88: "-0.8", 89: "-0.9", 90: "-1.0", 91: "-1.15", 92: "-1.30",
    },
}  # fmt: skip


def stepped_table(table_id: str, source: str, rows: list[tuple[Decimal, Decimal]]) -> PowerFactorTable:
    """Table of rows (power factor from, percent); each row holds up to the next one.

    Raises
    ------
    TariffError
        The rows do not begin at 0, do not rise, or are finer than hundredths.
    """
    marks = [factor * 100 for factor, _ in rows]
    if not rows or marks[0] != 0 or any(a >= b for a, b in pairwise(marks)):
        raise TariffError(f"power factor table {table_id!r} does not rise from 0")
    if any(mark != int(mark) or mark > 100 for mark in marks):
        raise TariffError(f"power factor table {table_id!r} has a row between hundredths or above 1")
    percent = [
        next(value for factor, value in reversed(rows) if factor * 100 <= hundredth)
        for hundredth in range(101)
    ]
    return PowerFactorTable(table_id, source, tuple(percent))

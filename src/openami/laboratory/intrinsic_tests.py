"""Intrinsic error over current and power factor: balanced load, one element at a time, and their difference.

IEC 62053-21/-22 clause 8.1 and -23/-24 for reactive energy; OIML R 46 base maximum permissible error. The
currents come from the rows of the limits. Rule never to be broken: every row of the class is tested at both
of its ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from openami.laboratory.accuracy_limits import ClassLimits, Load
from openami.laboratory.checks import NO_LIMIT, Check, Kind, Law
from openami.laboratory.conditions import ALL_ELEMENTS, Condition, Quantity, angle_of, angle_of_sine
from openami.laboratory.current_range import Size, current_a, currents_of, limit_at, ruling_row
from openami.meter.model import Rating


def measuring_seconds(amperes: float, share: float, rating: Rating) -> int:
    """How long a point is measured, s: longer where noise weighs more.

    Parameters
    ----------
    amperes:
        Test current, A.
    share:
        Measured power over apparent power: |cos phi| or |sin phi|.
    rating:
        Of the meter.
    """
    weight = amperes / rating.reference_a * max(share, 0.01)
    for least, seconds in ((0.05, 1), (0.01, 2), (0.002, 4)):
        if weight >= least * (1 - 1e-9):
            return seconds
    return 8


def condition_at(
    rating: Rating, amperes: float, factor: str, *, loaded: tuple[int, ...] = ALL_ELEMENTS
) -> Condition:
    """Reference conditions with a current and a cos phi."""
    angle = angle_of(factor)
    seconds = measuring_seconds(amperes, abs(math.cos(math.radians(angle))), rating)
    return Condition(amperes, angle, factor, rating.nominal_hz, loaded=loaded, measure_s=seconds)


def reactive_condition_at(rating: Rating, amperes: float, factor: str) -> Condition:
    """Reference conditions with a current and a sin phi."""
    angle = angle_of_sine(factor)
    seconds = measuring_seconds(amperes, abs(math.sin(math.radians(angle))), rating)
    return Condition(amperes, angle, f"sin {factor}", rating.nominal_hz, measure_s=seconds)


def intrinsic_checks(limits: ClassLimits, rating: Rating, size: Size) -> Iterator[Check]:
    """Errors under balanced load, over current and power factor."""
    rows = [
        row
        for row in limits.intrinsic
        if row.load is Load.BALANCED and row.connection in (None, rating.connection)
    ]
    seen: set[tuple[str, float]] = set()
    for row in rows:
        for factor in row.factor:
            for amperes in currents_of(row, rating, limits.base, size):
                ruling = ruling_row(rows, Load.BALANCED, factor, amperes, rating, limits.base)
                if (factor, amperes) in seen or ruling is None:
                    continue
                seen.add((factor, amperes))
                limit = limit_at(ruling, amperes, rating)
                if limits.quantity == "active":
                    condition = condition_at(rating, amperes, factor)
                    yield Check(
                        "intrinsic_error",
                        Quantity.ACTIVE,
                        Law.ERROR,
                        (condition,),
                        limit,
                        ruling.source,
                        note=ruling.note,
                    )
                    continue
                for side in ("L", "C"):
                    condition = reactive_condition_at(rating, amperes, f"{factor}{side}")
                    yield Check(
                        "reactive_error", Quantity.REACTIVE, Law.ERROR, (condition,), limit, ruling.source
                    )


def plain_error_checks(limits: ClassLimits, rating: Rating, size: Size) -> Iterator[Check]:
    """Errors at reference conditions of a class that limits only the composite error: for information."""
    seen: set[tuple[str, float]] = set()
    for row in limits.composite:
        if row.load is not Load.BALANCED:
            continue
        for factor in row.factor:
            for amperes in currents_of(row, rating, limits.base, size):
                if (factor, amperes) not in seen:
                    seen.add((factor, amperes))
                    yield Check(
                        "intrinsic_error",
                        Quantity.ACTIVE,
                        Law.ERROR,
                        (condition_at(rating, amperes, factor),),
                        math.inf,
                        NO_LIMIT,
                        Kind.INFORMATION,
                    )


def single_phase_checks(limits: ClassLimits, rating: Rating, size: Size) -> Iterator[Check]:
    """Errors with current in one element of a three-phase meter, and their difference to balanced load."""
    if rating.phases == 1:
        return
    rows = [row for row in limits.intrinsic if row.load is Load.SINGLE_PHASE]
    seen: set[tuple[str, float]] = set()
    for row in rows:
        for factor in row.factor:
            for amperes in currents_of(row, rating, limits.base, size):
                if (factor, amperes) in seen:
                    continue
                seen.add((factor, amperes))
                for element in range(rating.phases):
                    condition = condition_at(rating, amperes, factor, loaded=(element,))
                    yield Check(
                        "single_phase_load",
                        Quantity.ACTIVE,
                        Law.ERROR,
                        (condition,),
                        limit_at(row, amperes, rating),
                        row.source,
                    )
    if limits.single_difference_pct is None:
        return
    amperes = current_a("reference", rating, limits.base)
    balanced = condition_at(rating, amperes, "1")
    for element in range(rating.phases):
        yield Check(
            "single_phase_difference",
            Quantity.ACTIVE,
            Law.CHANGE,
            (replace(balanced, loaded=(element,)), balanced),
            limits.single_difference_pct,
            limits.source,
        )

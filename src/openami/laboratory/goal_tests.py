"""What openami asks of its own models beyond the standards: full-power accuracy, margins, linearity.

Full-power accuracy: active, reactive and apparent energy within one, two and three times the class index over
the whole range of current and power factor. Rule never to be broken: a goal is told apart from a standard's
limit everywhere, and never decides the verdict of a standard.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from openami.laboratory.accuracy_limits import Basis, ClassLimits, Source
from openami.laboratory.checks import NO_LIMIT, Check, Kind, Law
from openami.laboratory.conditions import Condition, Quantity, WaveformName
from openami.laboratory.current_range import Size, candidates_a
from openami.laboratory.intrinsic_tests import condition_at, reactive_condition_at
from openami.laboratory.limit_tables import goals
from openami.laboratory.register_tests import reference_current_a
from openami.meter.model import MeterModel, Principle

_ACTIVE: Final = {
    Size.FULL: ("1", "0.8C", "0.5L", "0.5C", "0.25L", "0.25C", "0.1L", "0.1C", "-1", "-0.5L", "-0.5C"),
    Size.QUICK: ("0.25L", "-1"),
}
_REACTIVE: Final = {
    Size.FULL: ("1L", "1C", "0.5L", "0.5C", "0.25L", "0.25C", "0.1L", "0.1C"),
    Size.QUICK: ("1L", "0.25C"),
}
_APPARENT: Final = {Size.FULL: ("1", "0.5L", "0.5C", "0.25L", "-1"), Size.QUICK: ("1", "0.25L")}
_PART_OF_TOTAL: Final = Source(Basis.OWN, "class index, as a part of the total active energy")
_UNLIMITED: Final = float("inf")
_VERY_LOW: Final = ("0.01L", "0.01C")
_VERY_LOW_S: Final = {Size.FULL: 20, Size.QUICK: 6}
_INTRINSIC: Final = frozenset({"intrinsic_error", "single_phase_load"})
_SMALLEST_CLASSES: Final = 0.2
"""Class index up to which very low power factor has a goal, percent."""


def goal_checks(limits: ClassLimits, model: MeterModel, size: Size) -> Iterator[Check]:
    """Full-power accuracy, linearity, harmonic energy and very low power factor."""
    rating, wanted, index = model.rating, goals(), limits.index_pct
    currents = [a for a in candidates_a(rating, limits.base, size) if a >= rating.imin_a * (1 - 1e-9)]
    linear = [condition_at(rating, a, "1") for a in currents if a >= rating.itr_a * (1 - 1e-9)]
    yield Check(
        "linearity",
        Quantity.ACTIVE,
        Law.HALF_SPREAD,
        tuple(linear),
        wanted.linearity * index,
        wanted.source,
        Kind.GOAL,
        low=0.0,
    )
    low = [
        replace(condition_at(rating, rating.reference_a, f), measure_s=_VERY_LOW_S[size]) for f in _VERY_LOW
    ]
    if index <= _SMALLEST_CLASSES:
        limit = wanted.very_low_power_factor_pct
        yield from _goals("very_low_power_factor", Quantity.ACTIVE, low, limit, wanted.source)
    else:
        for check in _goals("very_low_power_factor", Quantity.ACTIVE, low, _UNLIMITED, NO_LIMIT):
            yield replace(check, kind=Kind.INFORMATION)
    if model.principle is not Principle.DIGITAL:
        return
    active = [condition_at(rating, a, f) for a in currents for f in _ACTIVE[size]]
    limit = wanted.full_power_active * index
    yield from _goals("full_power_active", Quantity.ACTIVE, active, limit, wanted.source)
    if model.accuracy.reactive is not None:
        reactive = [reactive_condition_at(rating, a, f) for a in currents for f in _REACTIVE[size]]
        limit = wanted.full_power_reactive * index
        yield from _goals("full_power_reactive", Quantity.REACTIVE, reactive, limit, wanted.source)
    apparent = [condition_at(rating, a, f) for a in currents for f in _APPARENT[size]]
    limit = wanted.full_power_apparent * index
    yield from _goals("full_power_apparent", Quantity.APPARENT, apparent, limit, wanted.source)
    base = condition_at(rating, reference_current_a(limits, model), "1")
    distorted = [
        replace(base, waveform=shape)
        for shape in (WaveformName.FIFTH_HARMONIC, WaveformName.QUADRIFORM, WaveformName.PEAKED)
    ]
    for quantity in (Quantity.FUNDAMENTAL_ACTIVE, Quantity.HARMONIC_ACTIVE):
        yield from _goals("harmonic_energy", quantity, distorted, index, _PART_OF_TOTAL)


def margin_checks(checks: Sequence[Check], limits: ClassLimits) -> Iterator[Check]:
    """The margins asked of a model, at every point of a standard's plan."""
    wanted = goals()
    for check in checks:
        if check.kind is not Kind.STANDARD:
            continue
        if check.test in _INTRINSIC:
            limit, test = wanted.intrinsic * limits.index_pct, "margin_intrinsic"
        elif check.law in (Law.CHANGE, Law.PER_KELVIN) and check.low is None:
            limit, test = wanted.influence * check.limit, "margin_influence"
        else:
            continue
        yield replace(check, test=test, limit=limit, source=wanted.source, kind=Kind.GOAL)


def _goals(
    test: str, quantity: Quantity, conditions: Sequence[Condition], limit: float, source: Source
) -> Iterator[Check]:
    for condition in conditions:
        yield Check(test, quantity, Law.ERROR, (condition,), limit, source, Kind.GOAL)

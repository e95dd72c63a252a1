"""Starting, no load, meter constant, repeatability: the tests that look at registers and pulses themselves.

IEC 62053-21/-22 clause 8.3, JJG 596 for the reference formulas (recalled). Rule never to be broken: a test
that the bench shortens says how long the standard's would be and what was simulated of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from openami.laboratory.accuracy_limits import Basis, ClassLimits, CurrentBound, Load, NoLoadRule, Source
from openami.laboratory.checks import NO_LIMIT, Check, Kind, Law
from openami.laboratory.conditions import Condition, Quantity
from openami.laboratory.current_range import Size, current_a, limit_at, ruling_row
from openami.laboratory.intrinsic_tests import condition_at
from openami.meter.model import MeterModel

_NO_LOAD_S = {Size.FULL: 60, Size.QUICK: 10}
_STARTING_S = {Size.FULL: 20, Size.QUICK: 8}
_RUNS = {Size.FULL: 10, Size.QUICK: 4}
_CONSTANT_S = {Size.FULL: 20, Size.QUICK: 10}
_OWN_CURRENT = Source(Basis.OWN, "starting current the model is marked with")
_TENTH_OF_CLASS = Source(Basis.OWN, "pulses and register agree within a tenth of the class")


def no_load_minutes(rule: NoLoadRule, model: MeterModel) -> float:
    """Shortest duration of the test of no load, minutes: C 10^6 / (k m Un Imax), k in imp/kWh (recalled)."""
    rating = model.rating
    constant = model.registration.constant_imp_per_kwh
    return rule.pulse_factor * 1e6 / (constant * rating.phases * rating.un_v * rating.imax_a)


def starting_current_a(limits: ClassLimits, model: MeterModel) -> tuple[float, Source]:
    """Current at which the meter must start and go on registering, A, and where that comes from."""
    rating = model.rating
    if rating.connection in limits.starting:
        return limits.starting[rating.connection] * rating.reference_a, limits.source
    return rating.ist_a, _OWN_CURRENT


def register_checks(limits: ClassLimits, model: MeterModel, size: Size) -> Iterator[Check]:
    """Start, no load, constant and repeatability of active energy."""
    rating = model.rating
    amperes, source = starting_current_a(limits, model)
    start = replace(condition_at(rating, amperes, "1"), measure_s=_STARTING_S[size])
    yield Check("starting", Quantity.ACTIVE, Law.STARTS, (start,), 0.0, source, low=0.0)
    yield Check("starting_error", Quantity.ACTIVE, Law.ERROR, (start,), math.inf, NO_LIMIT, Kind.INFORMATION)
    if limits.no_load is not None:
        rule = limits.no_load
        idle = Condition(0.0, 0.0, "1", rating.nominal_hz, voltage=rule.voltage, measure_s=_NO_LOAD_S[size])
        yield Check(
            "no_load",
            Quantity.ACTIVE,
            Law.NO_LOAD,
            (idle,),
            float(rule.max_pulses),
            rule.pulse_factor_source,
            low=0.0,
            note=f"{no_load_minutes(rule, model):.1f}",
        )
    full_load = replace(condition_at(rating, rating.imax_a, "1"), measure_s=_CONSTANT_S[size])
    yield Check(
        "meter_constant",
        Quantity.ACTIVE,
        Law.CONSTANT,
        (full_load,),
        0.1 * limits.index_pct,
        _TENTH_OF_CLASS,
    )
    yield from repeatability_checks(limits, model, size)


def repeatability_checks(limits: ClassLimits, model: MeterModel, size: Size) -> Iterator[Check]:
    """Standard deviation of repeated runs, at the reference current and at the least full-limit current."""
    if limits.repeatability_fraction is None:
        return
    rating = model.rating
    rows = [row for row in limits.intrinsic if row.connection in (None, rating.connection)]
    for amperes, factor in ((rating.reference_a, "1"), (rating.reference_a, "0.5L"), (rating.itr_a, "1")):
        row = ruling_row(rows, Load.BALANCED, factor, amperes, rating, limits.base)
        limit = limits.index_pct if row is None else limit_at(row, amperes, rating)
        base = condition_at(rating, amperes, factor)
        runs = tuple(replace(base, run=number) for number in range(_RUNS[size]))
        yield Check(
            "repeatability",
            Quantity.ACTIVE,
            Law.DEVIATION,
            runs,
            limits.repeatability_fraction * limit,
            limits.repeatability_source,
            low=0.0,
        )


def reference_current_a(limits: ClassLimits, model: MeterModel) -> float:
    """The current at which influence quantities are tested unless a row says otherwise, A."""
    bound: CurrentBound = "reference" if limits.base == "reference" else 10.0
    return current_a(bound, model.rating, limits.base)

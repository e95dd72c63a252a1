"""Drift over the service life: how far a meter's errors move by a stated ageing budget.

The budget of a model is a list of components (a part, what of the front end it moves, how much by the end of
life, by which law of time, and where the figure comes from). A meter of an age has a front end that is worse
by the sum of the components at that age and the calibration of its first day. Rule never to be broken: all
components of one target act in the same direction, so the budget is a worst case and not an average.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from openami.laboratory.accuracy_limits import ClassLimits, Load
from openami.laboratory.checks import Check, Kind, Law
from openami.laboratory.conditions import Quantity
from openami.laboratory.current_range import Size, limit_at, ruling_row
from openami.laboratory.intrinsic_tests import condition_at
from openami.laboratory.limit_tables import goals, in_service_limit
from openami.meter.model import AgeingLaw, AgeingTarget, MeterModel

_AGES: Final = {Size.FULL: (1 / 3, 2 / 3, 1.0), Size.QUICK: (1.0,)}
"""Ages at which the drift is measured, in parts of the service life; at 0 it is the intrinsic error."""


def drift_at(model: MeterModel, age_years: float) -> dict[AgeingTarget, float]:
    """What the ageing budget of a model adds up to at an age.

    Parameters
    ----------
    model:
        The meter.
    age_years:
        Time in service, years, 0 or more.

    Returns
    -------
    Change by target: percent of ratio or energy, minutes of arc of phase.
    """
    part = age_years / model.service_life_years
    drift = dict.fromkeys(AgeingTarget, 0.0)
    for component in model.ageing:
        share = part if component.law is AgeingLaw.LINEAR else math.sqrt(part)
        drift[component.target] += component.at_end_of_life * share
    return drift


def service_life_checks(limits: ClassLimits, model: MeterModel, size: Size) -> Iterator[Check]:
    """Errors of the aged meter against its class; at the end of life also against the limit in service."""
    rating, wanted = model.rating, goals()
    if not model.ageing or not limits.intrinsic:
        return
    rows = [row for row in limits.intrinsic if row.connection in (None, rating.connection)]
    legal = in_service_limit(limits.name) if limits.base == "transitional" else None
    currents = (rating.itr_a, rating.reference_a, rating.imax_a)
    for part in _AGES[size]:
        for factor in ("1", "0.5L"):
            for amperes in currents:
                row = ruling_row(rows, Load.BALANCED, factor, amperes, rating, limits.base)
                if row is None:
                    continue
                age = part * model.service_life_years
                condition = replace(condition_at(rating, amperes, factor), age_years=age)
                limit = wanted.ageing * limit_at(row, amperes, rating)
                yield Check(
                    "service_life", Quantity.ACTIVE, Law.ERROR, (condition,), limit, wanted.source, Kind.GOAL
                )
                if legal is not None and part == 1.0:
                    yield Check(
                        "in_service_error",
                        Quantity.ACTIVE,
                        Law.ERROR,
                        (condition,),
                        legal[0],
                        legal[1],
                        Kind.GOAL,
                    )

"""The plan: which checks follow from a meter model, a class and a standard.

A plan is a list of checks; the bench measures each of their conditions once. The size decides how closely the
ranges are covered, never what is covered. Rule never to be broken: a test of the standard that is not in the
plan is named by it as not covered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from openami.laboratory.accuracy_limits import ClassLimits
from openami.laboratory.checks import Check
from openami.laboratory.combined_error import combined_checks
from openami.laboratory.conditions import Condition
from openami.laboratory.current_range import Size
from openami.laboratory.goal_tests import goal_checks, margin_checks
from openami.laboratory.influence_tests import NOT_COVERED, influence_checks, not_covered
from openami.laboratory.intrinsic_tests import intrinsic_checks, plain_error_checks, single_phase_checks
from openami.laboratory.limit_tables import class_limits, standard_named, standard_of_class
from openami.laboratory.register_tests import register_checks
from openami.laboratory.service_life import service_life_checks
from openami.meter.model import MeterModel


@dataclass(frozen=True, slots=True)
class Plan:
    """What is tested, and what is not.

    Parameters
    ----------
    model, limits, size:
        What the plan follows from.
    reactive_limits:
        Limits of reactive energy; None for a meter without.
    checks:
        In the order of the report.
    not_covered:
        Tests of the class's tables that act on hardware, with what they are.
    """

    model: MeterModel
    limits: ClassLimits
    reactive_limits: ClassLimits | None
    size: Size
    checks: tuple[Check, ...]
    not_covered: Mapping[str, str]

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Every condition of the checks, once, in order of age: a device ages in one direction."""
        every = dict.fromkeys(condition for check in self.checks for condition in check.conditions)
        return tuple(sorted(every, key=lambda condition: condition.age_years))


def plan_of(
    model: MeterModel,
    *,
    class_name: str | None = None,
    standard: str | None = None,
    size: Size = Size.FULL,
) -> Plan:
    """The plan of a model.

    Parameters
    ----------
    model:
        The meter.
    class_name:
        Class of active energy; the one the model is marked with when left out.
    standard:
        As the user writes it; by the class when left out.
    size:
        How closely ranges are covered.

    Raises
    ------
    MeteringError
        No such class or standard.
    """
    if standard is not None:
        named = standard_named(standard)
    elif class_name is not None:
        named = standard_of_class(class_name)
    else:
        named = model.accuracy.active_standard
    limits = class_limits(named, class_name or model.accuracy.active)
    reactive = None
    if model.accuracy.reactive is not None and model.accuracy.reactive_standard is not None:
        reactive = class_limits(model.accuracy.reactive_standard, model.accuracy.reactive)
    checks = [
        *intrinsic_checks(limits, model.rating, size),
        *plain_error_checks(limits, model.rating, size),
        *single_phase_checks(limits, model.rating, size),
        *(intrinsic_checks(reactive, model.rating, size) if reactive else ()),
        *register_checks(limits, model, size),
        *influence_checks(limits, model.rating, size),
        *combined_checks(limits, model, size),
    ]
    goals = [
        *goal_checks(limits, model, size),
        *service_life_checks(limits, model, size),
        *margin_checks(checks, limits),
    ]
    absent = {name: NOT_COVERED[name] for name in not_covered(limits)}
    return Plan(model, limits, reactive, size, (*checks, *goals), absent)

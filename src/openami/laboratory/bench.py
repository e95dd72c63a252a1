"""The bench: measures every condition of a plan once and judges every check.

Rule never to be broken: conditions are measured before anything is judged, so no verdict can decide what is
measured; and a run is a function of the plan, the device and the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from openami.laboratory.checks import Kind
from openami.laboratory.conditions import Condition
from openami.laboratory.device_under_test import DeviceSource, DeviceUnderTest
from openami.laboratory.evaluation import evaluate
from openami.laboratory.measurement import Reading, measure
from openami.laboratory.plan import Plan
from openami.laboratory.register_tests import no_load_minutes
from openami.laboratory.verdict import Result, Verdict, overall


@dataclass(frozen=True, slots=True)
class BenchRun:
    """What a run of the bench came to.

    Parameters
    ----------
    plan:
        What was tested.
    readings:
        Every condition with what was measured there.
    results:
        Every check with its figure and verdict, in the order of the plan.
    no_load_minutes:
        Duration that the standard gives the test of no load; 0 without one.
    """

    plan: Plan
    readings: Mapping[Condition, Reading]
    results: tuple[Result, ...]
    no_load_minutes: float

    def of_kind(self, kind: Kind) -> tuple[Result, ...]:
        """The results that belong to one part of the verdict."""
        return tuple(result for result in self.results if result.check.kind is kind)

    @property
    def verdict(self) -> Verdict:
        """Verdict on the standard's tests."""
        return overall(result.verdict for result in self.of_kind(Kind.STANDARD))

    @property
    def simulated_s(self) -> float:
        """Time measured, seconds of the device's life."""
        return sum(reading.seconds for reading in self.readings.values())


def run(
    plan: Plan, device_at: DeviceSource, *, progress: Callable[[int, int], None] | None = None
) -> BenchRun:
    """Measure and judge.

    Parameters
    ----------
    plan:
        What to test.
    device_at:
        The device by its age in years.
    progress:
        Called with conditions done and conditions in all.
    """
    rating = plan.model.rating
    conditions = plan.conditions
    readings: dict[Condition, Reading] = {}
    devices: dict[float, DeviceUnderTest] = {}
    for number, condition in enumerate(conditions, 1):
        if condition.age_years not in devices:
            devices = {condition.age_years: device_at(condition.age_years)}
        readings[condition] = measure(devices[condition.age_years], condition, rating)
        if progress is not None:
            progress(number, len(conditions))
    rule = plan.limits.no_load
    minutes = 0.0 if rule is None else no_load_minutes(rule, plan.model)
    results = tuple(evaluate(check, readings, minutes) for check in plan.checks)
    return BenchRun(plan, readings, results, minutes)

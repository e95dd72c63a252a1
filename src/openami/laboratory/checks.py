"""What is asked of the measured errors: one check compares one figure of some conditions with one limit.

The figure is an error, a change of error, a slope, a spread; the law says which. A check holds no result: the
same checks judge a meter at every age and with every device. Rule never to be broken: a check names the
source of its limit, and one without a limit says so and is never counted as passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from openami.laboratory.accuracy_limits import Basis, Source
from openami.laboratory.conditions import Condition, Quantity


class Law(StrEnum):
    """How the figure of a check follows from the errors at its conditions."""

    ERROR = "error"
    """Error at the one condition."""
    CHANGE = "change"
    """Error at the first condition less the error at the second."""
    PER_KELVIN = "per_kelvin"
    """Slope of the error between the temperatures of the two conditions."""
    HALF_SPREAD = "half_spread"
    """Half of largest less smallest error over all conditions."""
    DEVIATION = "deviation"
    """Standard deviation of the errors of all conditions."""
    COMBINED = "combined"
    """Root of the squares of the first error and of the largest change by each group of the others."""
    STARTS = "starts"
    """Share of the energy registered in the slower half of the run; it must be more than nothing."""
    NO_LOAD = "no_load"
    """Pulses in the time of the test, from what was registered in the simulated part of it."""
    CONSTANT = "constant"
    """Pulses against register, percent."""


class Kind(StrEnum):
    """Which part of the verdict a check belongs to."""

    STANDARD = "standard"
    GOAL = "goal"
    INFORMATION = "information"


NO_LIMIT = Source(Basis.OWN, "no limit; for information")
"""Source of what is measured without a limit."""


@dataclass(frozen=True, slots=True)
class Check:
    """One figure to be compared with one limit.

    Parameters
    ----------
    test:
        Name of the test.
    quantity:
        Which energy.
    law:
        How the figure follows from the errors.
    conditions:
        Where it is measured; the first is the one the figure is reported at.
    limit:
        Permissible figure, plus and minus, in the law's unit (percent, percent per kelvin, pulses);
        infinite when there is none.
    source:
        Where the limit comes from.
    kind:
        Whose limit it is.
    low:
        Lower limit where it is not the upper one's negative.
    groups:
        For `Law.COMBINED`: how many of the further conditions belong to each influence quantity, in order.
    note:
        For the report.
    """

    test: str
    quantity: Quantity
    law: Law
    conditions: tuple[Condition, ...]
    limit: float
    source: Source
    kind: Kind = Kind.STANDARD
    low: float | None = None
    groups: tuple[int, ...] = ()
    note: str = ""

    @property
    def floor(self) -> float:
        """The lower limit."""
        return -self.limit if self.low is None else self.low

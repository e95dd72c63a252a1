"""Verdicts: a measured figure, its uncertainty and a limit become pass, fail or undecided.

The rule is guarded acceptance in both directions (JCGM 106:2012, 8.3): pass when the figure and its whole
expanded uncertainty lie within the limits, fail when they lie outside, undecided in between; the guard band
is the expanded uncertainty, U (k = 2). Rule never to be broken: a device passes only when every check of the
standard is a pass; undecided is not a pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from openami.laboratory.checks import Check


class Verdict(StrEnum):
    """What is said of one figure, or of a whole test."""

    PASS = "pass"
    FAIL = "fail"
    UNDECIDED = "undecided"
    NO_LIMIT = "no_limit"


@dataclass(frozen=True, slots=True)
class Result:
    """What a check came to.

    Parameters
    ----------
    check:
        What was asked.
    value:
        The figure, in the unit of the check's limit.
    uncertainty:
        Its expanded uncertainty, k = 2.
    verdict:
        Against the check's limits.
    pulse_value:
        The same error by counting pulses; None where it was not counted.
    """

    check: Check
    value: float
    uncertainty: float
    verdict: Verdict
    pulse_value: float | None = None

    @property
    def share_of_limit(self) -> float:
        """|figure| over the limit on its side; 0 without a limit."""
        bound = self.check.limit if self.value >= 0 else -self.check.floor
        if math.isinf(bound):
            return 0.0
        return abs(self.value) / bound if bound > 0 else (0.0 if self.value == 0 else math.inf)


def judge(value: float, uncertainty: float, low: float, high: float) -> Verdict:
    """Verdict on a figure with an expanded uncertainty between two limits.

    A figure that is no number fails.
    """
    if math.isnan(value) or math.isnan(uncertainty):
        return Verdict.FAIL
    if math.isinf(high):
        return Verdict.NO_LIMIT
    if low <= value - uncertainty and value + uncertainty <= high:
        return Verdict.PASS
    if value + uncertainty < low or value - uncertainty > high:
        return Verdict.FAIL
    return Verdict.UNDECIDED


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """Verdict on a whole: fail with one fail, undecided with one undecided, otherwise pass."""
    found = set(verdicts)
    if Verdict.FAIL in found:
        return Verdict.FAIL
    return Verdict.UNDECIDED if Verdict.UNDECIDED in found else Verdict.PASS

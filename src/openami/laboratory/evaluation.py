"""From readings to results: the figure of each check, with its uncertainty, against its limit.

Pure functions over the readings of the bench. Figures that cannot be negative (a spread, a standard
deviation, a root of squares, pulses) have no lower limit to miss. Rule never to be broken: a check whose
quantity the device did not register, or whose samples it flagged, is never passed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import Final, NamedTuple

import numpy as np

from openami.laboratory.checks import Check, Law
from openami.laboratory.conditions import Condition
from openami.laboratory.measurement import Reading
from openami.laboratory.verdict import Result, Verdict, judge

Readings = Mapping[Condition, Reading]


class Figure(NamedTuple):
    """A figure and its expanded uncertainty, k = 2."""

    value: float
    uncertainty: float


_UNKNOWN: Final = Figure(math.nan, math.nan)


def evaluate(check: Check, readings: Readings, no_load_minutes: float) -> Result:
    """The result of one check.

    Parameters
    ----------
    check:
        What is asked.
    readings:
        Of all its conditions.
    no_load_minutes:
        Duration that the standard gives the test of no load.
    """
    figure = _figure(check, readings, no_load_minutes)
    if check.law is Law.STARTS:
        verdict = Verdict.PASS if figure.value - figure.uncertainty > 0 else Verdict.FAIL
    else:
        low = -math.inf if check.low == 0.0 else check.floor
        verdict = judge(figure.value, figure.uncertainty, low, check.limit)
    if any(readings[condition].flagged_parts for condition in check.conditions):
        verdict = Verdict.FAIL
    first = readings[check.conditions[0]].pulses
    by_pulses = first.error_pct if first is not None and check.law is Law.ERROR else None
    return Result(check, figure.value, figure.uncertainty, verdict, by_pulses)


def _figure(check: Check, readings: Readings, no_load_minutes: float) -> Figure:
    first = readings[check.conditions[0]]
    match check.law:
        case Law.STARTS:
            return _slower_half(check, first)
        case Law.NO_LOAD:
            return _pulses_without_load(check, first, no_load_minutes)
        case Law.CONSTANT:
            return _pulses_against_register(check, first)
        case _:
            errors = [_error(check, readings[condition]) for condition in check.conditions]
            return _of_errors(check, errors)


def _of_errors(check: Check, errors: list[Figure]) -> Figure:
    match check.law:
        case Law.ERROR:
            return errors[0]
        case Law.CHANGE:
            return _difference(errors[0], errors[1])
        case Law.PER_KELVIN:
            span_k = check.conditions[0].temperature_c - check.conditions[1].temperature_c
            change = _difference(errors[0], errors[1])
            return Figure(change.value / span_k, change.uncertainty / abs(span_k))
        case Law.HALF_SPREAD:
            highest = max(errors, key=lambda figure: figure.value)
            lowest = min(errors, key=lambda figure: figure.value)
            spread = _difference(highest, lowest)
            return Figure(spread.value / 2, spread.uncertainty / 2)
        case Law.DEVIATION:
            deviation = float(np.std([figure.value for figure in errors], ddof=1))
            return Figure(deviation, 2 * deviation / math.sqrt(2 * (len(errors) - 1)))
        case _:
            return _combined(errors, check.groups)


def _combined(errors: list[Figure], groups: tuple[int, ...]) -> Figure:
    """Root of the squares of the first error and of the largest change in each group of the others."""
    base, others = errors[0], errors[1:]
    ends = list(accumulate(groups))
    largest = [
        max((_difference(figure, base) for figure in others[end - count : end]), key=lambda f: abs(f.value))
        for end, count in zip(ends, groups, strict=True)
    ]
    value = math.hypot(base.value, *(change.value for change in largest))
    return Figure(value, math.hypot(base.uncertainty, *(change.uncertainty for change in largest)))


def _difference(first: Figure, second: Figure) -> Figure:
    return Figure(first.value - second.value, math.hypot(first.uncertainty, second.uncertainty))


def _error(check: Check, reading: Reading) -> Figure:
    measured = reading.errors.get(check.quantity)
    if measured is None:
        return _UNKNOWN
    return Figure(measured.error_pct, measured.budget.expanded_pct)


def _slower_half(check: Check, reading: Reading) -> Figure:
    """Energy registered in the half of the run that registered less, percent of the true energy of it."""
    measured, parts = reading.errors.get(check.quantity), reading.energy_ws.get(check.quantity)
    if measured is None or parts is None or parts.size < 2:
        return _UNKNOWN
    half = parts.size // 2
    slower = min(math.fsum(parts[:half]), math.fsum(parts[-half:]))
    true_ws = measured.true_ws * half / parts.size
    return Figure(100.0 * slower / true_ws, measured.budget.expanded_pct * math.sqrt(2.0))


def _pulses_without_load(check: Check, reading: Reading, minutes: float) -> Figure:
    """What was registered, with either sign, as pulses; the rest of the time as in the last fifth."""
    parts = reading.energy_ws.get(check.quantity)
    if parts is None or reading.pulse_ws <= 0:
        return _UNKNOWN
    magnitudes = np.abs(parts)
    last = magnitudes[parts.size * 4 // 5 :]
    rest_s = max(minutes * 60.0 - reading.seconds, 0.0)
    rate_w = math.fsum(last) / (reading.seconds * last.size / parts.size)
    return Figure((math.fsum(magnitudes) + rate_w * rest_s) / reading.pulse_ws, 0.0)


def _pulses_against_register(check: Check, reading: Reading) -> Figure:
    measured, pulses = reading.errors.get(check.quantity), reading.pulses
    if measured is None or pulses is None:
        return _UNKNOWN
    difference = pulses.error_pct - measured.error_pct
    return Figure(difference, math.hypot(pulses.uncertainty_pct, measured.budget.expanded_pct))

"""The figures of a report: error curves over current, changes by influence quantities, errors over the years.

Rule never to be broken: a figure shows what was measured and nothing between; limits are drawn as the steps
they are, by current and power factor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from openami.laboratory.bench import BenchRun
from openami.laboratory.checks import Check, Kind, Law
from openami.laboratory.conditions import Condition
from openami.laboratory.figure import Axis, Band, Bar, Curve, CurvePlot, bar_chart
from openami.laboratory.summary import summaries
from openami.laboratory.verdict import Result
from openami.laboratory.wording import Translate
from openami.meter.model import Rating

_UNITY = ("1", "sin 1L", "sin 1C")
_ENLARGED_BELOW = 0.4
"""Share of the tightest limit below which the curves are shown once more, enlarged."""
_FEWEST_CURRENTS = 2
"""With fewer there is no curve; the table has the figures."""
INFLUENCE_LAWS = frozenset({Law.CHANGE, Law.PER_KELVIN})


def error_curves(run: BenchRun, test: str, translate: Translate) -> list[CurvePlot]:
    """Error over current, one figure for unity factor limits and one for the others, of a test."""
    found = [result for result in run.results if result.check.test == test and _is_drawn(result)]
    if test == "combined_error":
        found = [result for result in found if not result.check.conditions[0].loaded]
    if len({_current(result) for result in found}) < _FEWEST_CURRENTS:
        return []
    plots = []
    for key, chosen in (
        ("unity", [r for r in found if r.check.conditions[0].factor in _UNITY]),
        ("other", [r for r in found if r.check.conditions[0].factor not in _UNITY]),
    ):
        if chosen:
            plots.append(_over_current(f"{test}-{key}", test, chosen, translate))
    limits = [result.check.limit for result in found if math.isfinite(result.check.limit)]
    errors = [abs(result.value) for result in found]
    if limits and max(errors) < _ENLARGED_BELOW * min(limits):
        plots.append(_enlarged(f"{test}-enlarged", found, translate))
    return plots


def influence_bars(run: BenchRun, translate: Translate) -> str:
    """The worst change of each influence quantity in parts of its limit; nothing without any."""
    bars = []
    for item in summaries(run.results, Kind.STANDARD):
        worst = item.worst
        if worst.check.law not in INFLUENCE_LAWS:
            continue
        unit = "%/K" if worst.check.law is Law.PER_KELVIN else "%"
        text = f"{_figure(worst.value)} {unit} ({_limit(worst.check)})"
        bars.append(Bar(translate(item.test), worst.share_of_limit, text))
    if not bars:
        return ""
    title = translate("Influence quantities: change of error in parts of the limit")
    return bar_chart("influence", title, title, bars, (0.0, 0.5, 1.0))


def service_life_curves(run: BenchRun, translate: Translate) -> CurvePlot | None:
    """Error over the years in service, one curve a load; None without an ageing budget."""
    aged = [result for result in run.results if result.check.test == "service_life"]
    if not aged:
        return None
    rating = run.plan.model.rating
    by_load: dict[tuple[float, str], list[tuple[float, Result]]] = {}
    for result in aged:
        condition = result.check.conditions[0]
        by_load.setdefault((condition.current_a, condition.factor), []).append((condition.age_years, result))
    new = {
        (r.check.conditions[0].current_a, r.check.conditions[0].factor): r.value
        for r in run.results
        if r.check.test == "intrinsic_error"
    }
    curves = []
    for (amperes, factor), points in by_load.items():
        start = [(0.0, new[amperes, factor])] if (amperes, factor) in new else []
        line = sorted([*start, *((age, result.value) for age, result in points)])
        name = f"{_multiple(amperes, rating)}, {_factor_text(factor)}"
        curves.append(Curve(name, [age for age, _ in line], [value for _, value in line]))
    limit = min(result.check.limit for result in aged)
    years = run.plan.model.service_life_years
    return CurvePlot(
        "service-life",
        translate("Errors over the service life by the ageing budget"),
        translate("Error of active energy over years in service, one curve a load; band: tightest limit."),
        Axis(translate("years in service")),
        Axis(translate("error / %")),
        curves,
        (Band(translate("limits"), (0.0, years), (-limit,), (limit,)),),
    )


def _over_current(key: str, test: str, results: Sequence[Result], translate: Translate) -> CurvePlot:
    groups = _by_factor(results)
    bands: tuple[Band, ...] = ()
    if all(math.isfinite(result.check.limit) for result in results):
        factor, widest = max(groups.items(), key=lambda group: len(group[1]))
        bands = (_limits(widest, translate("limits of {factor}", factor=factor)),)
    return CurvePlot(
        key,
        translate(test),
        translate("Error over current on a logarithmic axis, one curve a power factor, with the limits."),
        Axis(translate("current / A"), "log"),
        Axis(translate("error / %")),
        _curves(groups),
        bands,
    )


def _enlarged(key: str, results: Sequence[Result], translate: Translate) -> CurvePlot:
    return CurvePlot(
        key,
        translate("the same errors, enlarged"),
        translate("The same errors on an axis of their own, with their expanded uncertainties as bars."),
        Axis(translate("current / A"), "log"),
        Axis(translate("error / %, enlarged")),
        _curves(_by_factor(results)),
    )


def _by_factor(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Results by power factor and loaded element, each over ascending current."""
    groups: dict[str, list[Result]] = {}
    for result in sorted(results, key=_current):
        condition = result.check.conditions[0]
        name = _factor_text(condition.factor)
        if condition.loaded:
            name = f"{condition.elements}, {name}"
        if result.check.law is Law.COMBINED:
            name = f"{name}, {result.check.note}"
        groups.setdefault(name, []).append(result)
    return groups


def _curves(groups: dict[str, list[Result]]) -> list[Curve]:
    return [
        Curve(
            name,
            [_current(result) for result in found],
            [result.value for result in found],
            [result.uncertainty for result in found],
        )
        for name, found in groups.items()
    ]


def _limits(results: Sequence[Result], name: str) -> Band:
    """Steps of the limits: each holds from its current to the next."""
    xs = [_current(result) for result in results]
    limits = [result.check.limit for result in results]
    if len(xs) == 1:
        xs, limits = [xs[0], xs[0] * 1.0001], limits * 2
    return Band(name, xs, [-limit for limit in limits[:-1]], limits[:-1])


def _current(result: Result) -> float:
    condition: Condition = result.check.conditions[0]
    return condition.current_a


def _figure(value: float) -> str:
    """A change with its sign; none where no digit is worth showing."""
    text = f"{value:.4f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "\u2212")


def _limit(check: Check) -> str:
    if check.floor == -check.limit:
        return f"±{check.limit:g}"
    return f"{check.floor:g} .. +{check.limit:g}".replace("-", "\u2212")


def _is_drawn(result: Result) -> bool:
    return result.check.kind is not Kind.GOAL


def _multiple(amperes: float, rating: Rating) -> str:
    return "Imax" if amperes == rating.imax_a else f"{amperes:g} A"


def _factor_text(factor: str) -> str:
    return factor if factor.startswith("sin") else f"cos {factor}"

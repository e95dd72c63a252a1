"""The report of a run as one document of plain values: what `--json` prints, and what the page is made of.

Keys end in their unit. Rule never to be broken: every row says what was set, what was measured with which
uncertainty, against which limit from where, so that it can be measured again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from openami.laboratory.accuracy_limits import ClassLimits, Source
from openami.laboratory.bench import BenchRun
from openami.laboratory.checks import Check, Kind, Law
from openami.laboratory.conditions import Condition
from openami.laboratory.identification import software_identification
from openami.laboratory.limit_tables import goals, least_current_ratios
from openami.laboratory.summary import TestSummary, summaries
from openami.laboratory.verdict import Result, Verdict
from openami.meter.model import MeterModel, Rating

Document = dict[str, Any]

_UNITS: Mapping[Law, str] = {
    Law.PER_KELVIN: "%/K",
    Law.NO_LOAD: "imp",
    Law.STARTS: "% of the true energy",
}
STATEMENT = (
    "This is a verification of software. The meter is a model of sensors and converter in front of the very "
    "measuring program it names; currents, voltages and temperatures were computed, not applied. The result "
    "is traceable to the definition of energy as the integral of voltage times current, not to national "
    "standards, and says nothing of a device that was not tested."
)
GUARD_RULE = (
    "Guarded acceptance (JCGM 106:2012): pass when figure and expanded uncertainty U (k = 2) lie within the "
    "limits, fail when they lie outside, undecided in between. Undecided is not a pass."
)


def report_document(run: BenchRun, *, tested_at: datetime, seed: int) -> Document:
    """The document of a run.

    Parameters
    ----------
    run:
        Of the bench.
    tested_at:
        When, with a time zone.
    seed:
        Of the device's noise.
    """
    plan = run.plan
    standard, wanted = run.of_kind(Kind.STANDARD), run.of_kind(Kind.GOAL)
    return {
        "format": "openami-laboratory-report",
        "verdict": run.verdict.value,
        "goals_hold": _uncertainty_holds(run) and all(r.verdict is Verdict.PASS for r in wanted),
        "tested_at": tested_at.isoformat(timespec="seconds"),
        "seed": seed,
        "plan": plan.size.value,
        "software": software_identification(),
        "model": model_facts(plan.model),
        "class": plan.limits.name,
        "standard": plan.limits.standard,
        "standard_title": plan.limits.title,
        "reactive_class": None if plan.reactive_limits is None else plan.reactive_limits.name,
        "reactive_standard": None if plan.reactive_limits is None else plan.reactive_limits.standard,
        "class_index_pct": plan.limits.index_pct,
        "reference": {
            "method": "closed-form integral of voltage times current of the generated waveform",
            "uncertainty_pct": reference_uncertainty_pct(run),
        },
        "bench_uncertainty_pct": bench_uncertainty_pct(run),
        "bench_uncertainty_holds": _uncertainty_holds(run),
        "current_ratios": current_ratio_rows(plan.model.rating, plan.limits),
        "guard_rule": GUARD_RULE,
        "statement": STATEMENT,
        "conditions_measured": len(run.readings),
        "simulated_s": run.simulated_s,
        "no_load_required_minutes": run.no_load_minutes,
        "tests": [_summary_row(item) for item in summaries(run.results, Kind.STANDARD)],
        "goals": [_summary_row(item) for item in summaries(run.results, Kind.GOAL)],
        "information": [_summary_row(item) for item in summaries(run.results, Kind.INFORMATION)],
        "points": [point_row(result, plan.model.rating) for result in standard],
        "goal_points": [point_row(result, plan.model.rating) for result in wanted],
        "information_points": [
            point_row(result, plan.model.rating) for result in run.of_kind(Kind.INFORMATION)
        ],
        "ageing_budget": [
            {
                "name": part.name,
                "target": part.target.value,
                "at_end_of_life": part.at_end_of_life,
                "unit": "minutes of arc" if part.target.value.endswith("phase") else "%",
                "law": part.law.value,
                "source": part.source,
            }
            for part in plan.model.ageing
        ],
        "service_life_years": plan.model.service_life_years,
        "not_covered": dict(plan.not_covered),
        "sources": sources_of(plan.limits, plan.reactive_limits, run.results),
    }


def model_facts(model: MeterModel) -> Document:
    """What a model is, for headers and lists."""
    rating = model.rating
    return {
        "name": model.name,
        "title": model.title,
        "title_zh": model.title_zh,
        "generation": model.generation,
        "principle": model.principle.value,
        "identification": model.identification,
        "class": model.accuracy.active,
        "standard": model.accuracy.active_standard,
        "reactive_class": model.accuracy.reactive,
        "reactive_standard": model.accuracy.reactive_standard,
        "phases": rating.phases,
        "connection": rating.connection,
        "un_v": rating.un_v,
        "ist_a": rating.ist_a,
        "imin_a": rating.imin_a,
        "itr_a": rating.itr_a,
        "reference_a": rating.reference_a,
        "imax_a": rating.imax_a,
        "nominal_hz": rating.nominal_hz,
        "temperature_c": list(rating.temperature_c),
        "constant_imp_per_kwh": model.registration.constant_imp_per_kwh,
        "constant_imp_per_kvarh": model.registration.constant_imp_per_kvarh,
        "service_life_years": model.service_life_years,
        "provenance": model.provenance,
    }


def point_row(result: Result, rating: Rating) -> Document:
    """One figure with its conditions, limit and verdict."""
    check = result.check
    row: Document = {
        "test": check.test,
        "quantity": check.quantity.value,
        "law": check.law.value,
        **condition_row(check.conditions[0], rating),
        "value": _finite(result.value),
        "unit": _UNITS.get(check.law, "%"),
        "uncertainty": _finite(result.uncertainty),
        "limit": _finite(check.limit),
        "low_limit": _finite(check.floor),
        "share_of_limit": _finite(result.share_of_limit),
        "verdict": result.verdict.value,
        "source": check.source.statement,
        "basis": check.source.basis.value,
        "note": check.note,
    }
    if check.law is Law.ERROR:
        row["error_pct"] = row["value"]
        row["pulse_error_pct"] = result.pulse_value
    if changed := _against(check):
        row["against"] = changed
    return row


def condition_row(condition: Condition, rating: Rating) -> Document:
    """What the bench set."""
    voltage = condition.voltage
    return {
        "current_a": condition.current_a,
        "current_in_reference": condition.current_a / rating.reference_a,
        "factor": condition.factor,
        "angle_deg": condition.angle_deg,
        "voltage_in_un": list(voltage) if isinstance(voltage, tuple) else voltage,
        "f_hz": condition.frequency_hz,
        "temperature_c": condition.temperature_c,
        "waveform": condition.waveform.value,
        "elements": condition.elements,
        "phase_order": "reversed" if condition.reversed_order else "forward",
        "energised_s": condition.energised_s,
        "age_years": condition.age_years,
        "measure_s": condition.measure_s,
    }


def reference_uncertainty_pct(run: BenchRun) -> float:
    """Largest standard uncertainty of the reference over all errors of active energy, percent."""
    found = [
        reading.budget.reference_pct
        for measured in run.readings.values()
        for reading in measured.errors.values()
    ]
    return max(found, default=0.0)


def bench_uncertainty_pct(run: BenchRun) -> float:
    """Largest expanded uncertainty of an error that is compared with a limit of the standard, percent."""
    found = [
        result.uncertainty
        for result in run.of_kind(Kind.STANDARD)
        if result.check.law is Law.ERROR and math.isfinite(result.uncertainty)
    ]
    return max(found, default=0.0)


def current_ratio_rows(rating: Rating, limits: ClassLimits) -> list[Document]:
    """Ratios of a meter's currents beside the least that OIML R 46 asks for; none for other standards."""
    if limits.standard != "OIML R 46":
        return []
    least, source = least_current_ratios(rating.connection, limits.name)
    lows = {"Imax/Itr": rating.itr_a, "Imax/Imin": rating.imin_a, "Imax/Ist": rating.ist_a}
    return [
        {
            "name": name,
            "ratio": rating.imax_a / lows[name],
            "least": bound,
            "holds": rating.imax_a / lows[name] >= bound * (1 - 1e-9),
            "source": source.statement,
        }
        for name, bound in least.items()
    ]


def _uncertainty_holds(run: BenchRun) -> bool:
    return bench_uncertainty_pct(run) <= goals().uncertainty * run.plan.limits.index_pct


def sources_of(
    limits: ClassLimits, reactive: ClassLimits | None, results: Sequence[Result]
) -> list[Document]:
    """Every source of a limit in the report, each once."""
    used: dict[Source, None] = dict.fromkeys(result.check.source for result in results)
    used[limits.source] = None
    if reactive is not None:
        used[reactive.source] = None
    return [{"statement": source.statement, "basis": source.basis.value} for source in used]


def _summary_row(item: TestSummary) -> Document:
    worst = item.worst
    return {
        "test": item.test,
        "points": item.points,
        "verdict": item.verdict.value,
        "worst": _finite(worst.value),
        "limit": _finite(worst.check.limit),
        "low_limit": _finite(worst.check.floor),
        "unit": _UNITS.get(worst.check.law, "%"),
        "uncertainty": _finite(worst.uncertainty),
        "share_of_limit": _finite(worst.share_of_limit),
        "quantity": worst.check.quantity.value,
        "bases": [basis.value for basis in item.bases],
    }


def _against(check: Check) -> Document | None:
    """How the reference condition of a change differs from the changed one."""
    if check.law not in (Law.CHANGE, Law.PER_KELVIN):
        return None
    changed, base = check.conditions[0], check.conditions[1]
    names = ("voltage", "frequency_hz", "temperature_c", "energised_s")
    return {name: getattr(base, name) for name in names if getattr(base, name) != getattr(changed, name)} or {
        "waveform": base.waveform.value,
        "elements": base.elements,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

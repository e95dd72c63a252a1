"""The report as one HTML page a metrologist signs: self-contained, printable on A4, in English or Chinese.

Everything on it is in the document of `report_document`; the page adds figures and order. Rule never to be
broken: no verdict without the figure, its uncertainty, its limit and the limit's source beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import resources
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from openami.laboratory.bench import BenchRun
from openami.laboratory.checks import Law
from openami.laboratory.figure import number_text
from openami.laboratory.report_document import Document
from openami.laboratory.report_figures import error_curves, influence_bars, service_life_curves
from openami.laboratory.wording import LANGUAGES, Translate, translator

_CURVES: Final = (
    ("intrinsic_error", "Error curves, balanced load"),
    ("single_phase_load", "Error curves, single-phase load"),
    ("reactive_error", "Error curves of reactive energy"),
    ("combined_error", "Combined maximum error"),
)


def report_page(run: BenchRun, document: Document, language: str = "en") -> str:
    """The page of a run.

    Parameters
    ----------
    run:
        Of the bench.
    document:
        Of the run, by `report_document`.
    language:
        ``"en"`` or ``"zh"``.

    Raises
    ------
    MeteringError
        There is no such language.
    """
    translate = translator(language)
    environment = page_environment(translate)
    template = environment.get_template("report.html")
    macro = environment.get_template("summary_table.html").make_module({"t": translate})
    model_title = document["model"]["title_zh" if language == "zh" else "title"]
    sections = [(translate(title), error_curves(run, test, translate)) for test, title in _CURVES]
    return template.render(
        t=translate,
        tag=LANGUAGES[language],
        title=f"{document['model']['name']} {document['class']}: {translate(document['verdict'])}",
        model_title=model_title,
        style=Markup(style_sheet()),
        doc=document,
        header=_header(document, translate),
        summary_table=vars(macro)["summary_table"],
        curve_sections=[(heading, plots) for heading, plots in sections if plots],
        influence=influence_bars(run, translate),
        life=service_life_curves(run, translate),
        points=_points(document, translate),
        bench_uncertainty=_significant(document["bench_uncertainty_pct"]),
        uncertainty_part=_part(document["bench_uncertainty_pct"], document["class_index_pct"]),
        reference_uncertainty=_significant(document["reference"]["uncertainty_pct"]),
    )


def page_environment(translate: Translate) -> Environment:
    """The templates of the laboratory's pages with their filters; everything filled in is escaped."""
    environment = Environment(
        loader=PackageLoader("openami.laboratory"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["figure"] = figure_text
    environment.filters["limit_text"] = limit_text
    environment.filters["share"] = lambda share: "" if share is None else f"{100 * share:.0f} %"
    environment.globals["t"] = translate
    return environment


def style_sheet() -> str:
    """The style sheet that is written into every page."""
    return resources.files(__package__).joinpath("templates/report.css").read_text("utf-8")


def figure_text(value: float | None, unit: str, sign: str = "") -> str:
    """A figure with its unit; nothing for what is not there."""
    if value is None:
        return "\u2013"
    short = unit.split(" ")[0]
    text = f"{value:.5f}" if short.startswith("%") or not short else f"{value:.4g}"
    if sign:
        text = f"{sign}{value:.4g}"
    elif float(text) == 0:
        text = text.removeprefix("-")
    return f"{text} {short}".strip().replace("-", "\u2212")


def limit_text(row: Document) -> str:
    """The limits of a row of a document: both sides, one side, or unlike sides."""
    limit, low, unit = row["limit"], row["low_limit"], row["unit"]
    if row["test"] == "starting":
        return f"> 0 {unit.split(' ')[0]}"
    if limit is None or low is None:
        return "\u2013"
    sign = "±" if low == -limit and limit != 0 else "\u2264 " if low == 0 else f"{low:g} .. +"
    return figure_text(limit, unit, sign)


def _header(document: Document, translate: Translate) -> list[tuple[str, str]]:
    model = document["model"]
    currents = f"{model['reference_a']:g} ({model['imax_a']:g}) A"
    ladder = f"{model['ist_a']:g} / {model['imin_a']:g} / {model['itr_a']:g} A"
    constants = f"{model['constant_imp_per_kwh']:g} imp/kWh"
    if model["constant_imp_per_kvarh"]:
        constants += f", {model['constant_imp_per_kvarh']:g} imp/kvarh"
    classes = f"{document['class']} ({document['standard']})"
    if document["reactive_class"]:
        classes += f"; {document['reactive_class']} ({document['reactive_standard']})"
    low, high = model["temperature_c"]
    un = f"{model['phases']}×{model['un_v']:g} V, {model['nominal_hz']:g} Hz"
    ratios = [
        f"{row['name']} = {row['ratio']:g} {'≥' if row['holds'] else '<'} {row['least']:g}"
        for row in document["current_ratios"]
    ]
    return [
        ("model", model["name"]),
        ("identification of the model", model["identification"][:16]),
        ("software, version and hash", document["software"]),
        ("measuring principle", translate(model["principle"])),
        ("generation", model["generation"]),
        ("class (standard)", classes),
        ("voltage, frequency", un),
        ("current, connection", f"{currents}, {translate(model['connection'])}"),
        ("Ist / Imin / Itr", ladder),
        *([("current ratios (least by R 46, recalled)", ", ".join(ratios))] if ratios else []),
        ("meter constant", constants),
        ("operating range", f"{low:g} .. {high:g} °C".replace("-", "\u2212")),
        ("reference conditions", f"Un, {model['nominal_hz']:g} Hz, 23 °C, {translate('sine')}"),
        ("reference", translate(document["reference"]["method"])),
        (
            "uncertainty of the reference",
            f"≤ {_significant(document['reference']['uncertainty_pct'])} %",
        ),
        (
            "largest uncertainty of an error (k = 2)",
            f"{_significant(document['bench_uncertainty_pct'])} %",
        ),
        ("tested at", document["tested_at"]),
        (
            "plan, conditions, seed",
            f"{translate(document['plan'])}, {document['conditions_measured']}, {document['seed']}",
        ),
        ("simulated measuring time", f"{document['simulated_s']:.0f} s"),
    ]


def _points(document: Document, translate: Translate) -> list[tuple[str, list[Mapping[str, str]]]]:
    """Rows of the annex by test: standard, then information, then goals that are no margin of these."""
    groups: dict[str, list[Mapping[str, str]]] = {}
    every = [*document["points"], *document["information_points"], *document["goal_points"]]
    for row in every:
        if not row["test"].startswith("margin_"):
            groups.setdefault(row["test"], []).append(_point_texts(row, document, translate))
    return list(groups.items())


def _point_texts(row: Document, document: Document, translate: Translate) -> Mapping[str, str]:
    conditions = [f"{row['current_a']:.6g} A", _factor(row["factor"])]
    if row["test"] == "no_load":
        minutes = document["no_load_required_minutes"]
        conditions = [
            translate(
                "no current; {minutes:.1f} min required, {seconds} s simulated and extrapolated",
                minutes=minutes,
                seconds=row["measure_s"],
            )
        ]
    if row["elements"] != "all":
        conditions.append(row["elements"])
    if row["quantity"] not in ("active",):
        conditions.append(translate(row["quantity"]))
    if row["voltage_in_un"] != 1.0:
        voltage = row["voltage_in_un"]
        values = voltage if isinstance(voltage, list) else [voltage]
        conditions.append("/".join(f"{value:g}" for value in values) + " Un")
    if row["f_hz"] != document["model"]["nominal_hz"]:
        conditions.append(f"{row['f_hz']:g} Hz")
    if row["waveform"] != "sine":
        conditions.append(translate(row["waveform"]))
    if row["phase_order"] != "forward":
        conditions.append("L1-L3-L2")
    if row["law"] == Law.PER_KELVIN.value:
        conditions.append(f"{row['against']['temperature_c']:g} .. {row['temperature_c']:g} °C")
    elif row["temperature_c"] != 23.0:
        conditions.append(f"{row['temperature_c']:g} °C")
    if row["energised_s"]:
        conditions.append(translate("after {minutes:g} min", minutes=row["energised_s"] / 60))
    if row["age_years"]:
        conditions.append(translate("after {years:.3g} years", years=row["age_years"]))
    if row["note"] and row["test"] == "combined_error":
        conditions.append(row["note"])
    return {
        "conditions": ", ".join(conditions).replace("-", "\u2212"),
        "value": figure_text(row["value"], row["unit"]),
        "uncertainty": "" if row["uncertainty"] is None else _significant(row["uncertainty"]),
        "limit": limit_text(row),
        "verdict": row["verdict"],
        "source": row["source"],
    }


def _factor(factor: str) -> str:
    return factor if factor.startswith("sin") else f"cos {factor}"


def _significant(value: float) -> str:
    return "0" if value == 0 else number_text(float(f"{value:.2g}"))


def _part(value: float, whole: float) -> str:
    return f"{100.0 * value / whole:.1f} %" if math.isfinite(value) else "\u2013"

"""The evolution of the principle: error curves of four meters on one page, under sine and distorted load.

Ferraris disc, time-division multiplier, Hall multiplier and digital multiplier, alike in their ratings
(230 V, 5(20) A), each with the typical parameters of its simulation, measured on the same bench against the
same reference. Rule never to be broken: the four get the same conditions, and the page says that their
parameters are typical and recalled, not those of a product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from markupsafe import Markup

from openami.laboratory.conditions import Condition, Quantity, WaveformName, angle_of
from openami.laboratory.current_range import Size
from openami.laboratory.figure import NARROW, Axis, Band, Curve, CurvePlot
from openami.laboratory.identification import software_identification
from openami.laboratory.measurement import measure
from openami.laboratory.principle_meter import PrincipleMeter, typical_meter
from openami.laboratory.report import page_environment, style_sheet
from openami.laboratory.report_document import STATEMENT, Document
from openami.laboratory.wording import LANGUAGES, Translate, translator
from openami.meter.model import Principle, Rating
from openami.metrology.front_end.measuring_principle import SOURCE

RATING: Final = Rating(1, "direct", 230.0, 0.025, 0.25, 0.5, 5.0, 20.0)
"""Rating of all four."""

CURRENTS_A: Final = {
    Size.FULL: (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0),
    Size.QUICK: (0.5, 5.0, 20.0),
}

LOADS: Final = (
    ("sine", WaveformName.SINE, "1"),
    ("sine, cos 0.5L", WaveformName.SINE, "0.5L"),
    ("quadriform", WaveformName.QUADRIFORM, "1"),
    ("fifth_harmonic", WaveformName.FIFTH_HARMONIC, "1"),
    ("phase_fired_90", WaveformName.PHASE_FIRED_90, "1"),
    ("half_wave", WaveformName.HALF_WAVE, "1"),
)
"""Loads of the page: name, waveform, power factor."""

_LIMIT_PCT: Final = 2.0
_MOST_Y: Final = 6.0
"""A meter that fails altogether (a saturated transformer) leaves the axis."""

_ORDER: Final = (Principle.FERRARIS, Principle.TIME_DIVISION, Principle.HALL, Principle.DIGITAL)
_MEASURE_S: Final = 4
_SETTING_POINT: Final = Condition(5.0, 0.0, "1", 50.0, measure_s=_MEASURE_S)


@dataclass(frozen=True, slots=True)
class Line:
    """Errors of one principle under one load.

    Parameters
    ----------
    principle, load:
        Which.
    current_a, error_pct, uncertainty_pct:
        Points, (currents,).
    """

    principle: Principle
    load: str
    current_a: tuple[float, ...]
    error_pct: tuple[float, ...]
    uncertainty_pct: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Influence:
    """Change of the error of one principle at 5 A by one influence quantity, percent."""

    principle: Principle
    name: str
    change_pct: float


_INFLUENCES: Final = (
    ("voltage \u221210 %", replace(_SETTING_POINT, voltage=0.9)),
    ("voltage +10 %", replace(_SETTING_POINT, voltage=1.1)),
    ("frequency \u22122 %", replace(_SETTING_POINT, frequency_hz=49.0)),
    ("frequency +2 %", replace(_SETTING_POINT, frequency_hz=51.0)),
    ("40 °C", replace(_SETTING_POINT, temperature_c=40.0)),
)


@dataclass(frozen=True, slots=True)
class Evolution:
    """All that the page shows."""

    lines: tuple[Line, ...]
    influences: tuple[Influence, ...]


def evolution(size: Size = Size.FULL, progress: Callable[[int, int], None] | None = None) -> Evolution:
    """Measure the four principles.

    Parameters
    ----------
    size:
        How many currents.
    progress:
        Called with measurements done and measurements in all.
    """
    currents_a = CURRENTS_A[size]
    total = len(Principle) * (len(LOADS) * len(currents_a) + len(_INFLUENCES) + 1)
    done = 0
    lines: list[Line] = []
    influences: list[Influence] = []

    def error_of(meter: PrincipleMeter, condition: Condition) -> tuple[float, float]:
        nonlocal done
        measured = measure(meter, condition, RATING).errors[Quantity.ACTIVE]
        done += 1
        if progress is not None:
            progress(done, total)
        return measured.error_pct, measured.budget.expanded_pct

    for principle in _ORDER:
        meter = typical_meter(principle, RATING)
        for name, waveform, factor in LOADS:
            points = [
                error_of(
                    meter,
                    Condition(a, angle_of(factor), factor, 50.0, waveform=waveform, measure_s=_MEASURE_S),
                )
                for a in currents_a
            ]
            lines.append(
                Line(
                    principle,
                    name,
                    currents_a,
                    tuple(error for error, _ in points),
                    tuple(uncertainty for _, uncertainty in points),
                )
            )
        base, _ = error_of(meter, _SETTING_POINT)
        influences += [
            Influence(principle, name, error_of(meter, condition)[0] - base)
            for name, condition in _INFLUENCES
        ]
    return Evolution(tuple(lines), tuple(influences))


def evolution_document(measured: Evolution, *, tested_at: datetime) -> Document:
    """The measurements as one document of plain values."""
    return {
        "format": "openami-laboratory-evolution",
        "tested_at": tested_at.isoformat(timespec="seconds"),
        "software": software_identification(),
        "rating": {
            "un_v": RATING.un_v,
            "reference_a": RATING.reference_a,
            "imax_a": RATING.imax_a,
            "f_hz": RATING.nominal_hz,
        },
        "source": SOURCE,
        "curves": [
            {
                "principle": line.principle.value,
                "load": line.load,
                "current_a": list(line.current_a),
                "error_pct": list(line.error_pct),
                "uncertainty_pct": list(line.uncertainty_pct),
            }
            for line in measured.lines
        ],
        "influences": [
            {"principle": item.principle.value, "influence": item.name, "change_pct": item.change_pct}
            for item in measured.influences
        ],
    }


def evolution_page(measured: Evolution, document: Document, language: str = "en") -> str:
    """The page with the four error curves.

    Raises
    ------
    MeteringError
        There is no such language.
    """
    translate = translator(language)
    template = page_environment(translate).get_template("evolution.html")
    tables = [(name, [line for line in measured.lines if line.load == name]) for name, _, _ in LOADS]
    influences = [
        (name, [item.change_pct for item in measured.influences if item.name == name])
        for name, _ in _INFLUENCES
    ]
    return template.render(
        t=translate,
        tag=LANGUAGES[language],
        style=Markup(style_sheet()),
        doc=document,
        canvas=NARROW,
        plots=[_plot(name, lines, translate) for name, lines in tables],
        tables=tables,
        influences=influences,
        principles=[principle.value for principle in _ORDER],
        currents=measured.lines[0].current_a,
        statement=STATEMENT,
    )


def _plot(name: str, lines: list[Line], translate: Translate) -> CurvePlot:
    return CurvePlot(
        f"evolution-{name.replace(' ', '-').replace(',', '').replace('.', '')}",
        translate(name),
        translate("Error over current on a logarithmic axis, one curve a principle; band: ±2 %."),
        Axis(translate("current / A"), "log"),
        Axis(translate("error / %")),
        [Curve(translate(line.principle.value), line.current_a, line.error_pct) for line in lines],
        (Band("±2 %", (lines[0].current_a[0], lines[0].current_a[-1]), (-_LIMIT_PCT,), (_LIMIT_PCT,)),),
        most_y=_MOST_Y,
    )

"""The report: one page that needs nothing else, every verdict with its figures, in two languages."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from html.parser import HTMLParser
from importlib import resources
from xml.etree import ElementTree

import orjson
import pytest

from laboratory.stated_error_meter import StatedErrorMeter
from openami.cli.output import plain
from openami.laboratory.bench import BenchRun, run
from openami.laboratory.conditions import Quantity, WaveformName
from openami.laboratory.current_range import Size
from openami.laboratory.figure import NARROW, WIDE, Axis, Band, Bar, Canvas, Curve, CurvePlot, bar_chart
from openami.laboratory.identification import software_identification
from openami.laboratory.influence_tests import NOT_COVERED
from openami.laboratory.plan import plan_of
from openami.laboratory.report import figure_text, report_page
from openami.laboratory.report_document import GUARD_RULE, STATEMENT, Document, report_document
from openami.laboratory.wording import chinese, translator
from openami.meter.metering_core.identification import metering_identity
from openami.meter.model import AgeingLaw, AgeingTarget, MeterModel, Principle, meter_model, model_names
from openami.quantities.errors import MeteringError

TESTED_AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def _run(model: MeterModel) -> BenchRun:
    plan = plan_of(model, size=Size.QUICK)
    short = tuple(check for check in plan.checks if check.conditions[0].waveform is WaveformName.SINE)
    return run(replace(plan, checks=short), lambda age: StatedErrorMeter(0.013, noise_pct=0.002))


@cache
def reported(name: str = "ct_02s") -> tuple[BenchRun, Document]:
    done = _run(meter_model(name))
    return done, report_document(done, tested_at=TESTED_AT, seed=3)


class _Page(HTMLParser):
    """Tags with their attributes, and texts; void elements need no end."""

    VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_needs_nothing_besides_itself(language: str) -> None:
    done, document = reported()
    page = report_page(done, document, language)
    tags = _Page(page).tags
    for _, attributes in tags:
        assert not {"src", "href", "srcset"} & set(attributes)
    assert "@import" not in page
    assert "url(" not in page
    assert not [tag for tag, _ in tags if tag == "script"]
    assert f'<html lang="{"zh-CN" if language == "zh" else "en"}"' in page


def test_every_figure_is_drawn_well_formed_and_says_in_words_what_it_shows() -> None:
    done, document = reported()
    figures = re.findall(r'<svg viewBox="0 0 760.*?</svg>', report_page(done, document), re.S)
    assert len(figures) >= 6
    keys = set()
    for figure in figures:
        root = ElementTree.fromstring(figure)
        title, description = root[0], root[1]
        assert (title.tag, description.tag) == ("title", "desc")
        assert title.text
        assert description.text
        assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        keys.add(title.get("id"))
    assert len(keys) == len(figures)


def test_the_document_is_json_and_names_its_units() -> None:
    _, document = reported()
    again = orjson.loads(orjson.dumps(document, default=plain))
    assert again["verdict"] == "pass"
    assert again["tested_at"] == "2026-11-23T12:00:00+00:00"
    row = again["points"][0]
    assert row["error_pct"] == pytest.approx(0.013, abs=0.01)
    assert {"current_a", "f_hz", "temperature_c", "uncertainty", "limit", "source", "basis"} <= set(row)


def test_every_row_of_the_document_is_on_the_page() -> None:
    done, document = reported()
    text = " ".join(_Page(report_page(done, document)).text)
    for row in document["points"]:
        assert figure_text(row["value"], row["unit"]) in text
    for row in (*document["tests"], *document["goals"]):
        assert translator("en")(row["test"]) in text


def test_recalled_limits_are_shown_as_such() -> None:
    done, document = reported("gateway_01s")
    page = report_page(done, document)
    assert "half of 0.2 S: recalled, low confidence, confirm against the standard" in page
    assert '<span class="tag recalled">recalled</span>' in page
    assert "confirm them against the standard before signing" in page
    bases = {row["basis"] for row in document["points"]}
    assert bases == {"recalled", "own"}


def test_the_header_identifies_model_software_and_reference() -> None:
    done, document = reported()
    text = " ".join(_Page(report_page(done, document)).text)
    assert document["model"]["identification"][:16] in text
    assert document["software"] == software_identification()
    version, digits = document["software"].split("+")
    shown = metering_identity()  # what the meter answers as 1-0:0.2.8
    assert version == shown.version
    assert shown.sha256.hex().startswith(digits)
    assert len(digits) == 16
    assert document["software"] in text
    assert "closed-form integral" in text
    assert STATEMENT in text
    assert GUARD_RULE in text
    assert all(who in text for who in ("tested by", "checked by", "approved by"))


def test_a_name_with_markup_stays_text() -> None:
    model = replace(meter_model("ct_02s"), title="<script>alert(1)</script> & sons")
    done = _run(model)
    page = report_page(done, report_document(done, tested_at=TESTED_AT, seed=1))
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; sons" in page


def _phrases() -> Iterator[str]:
    """Every phrase that templates and code hand to the translator, and every code word they can."""
    package = resources.files("openami.laboratory")
    for file in package.joinpath("templates").iterdir():
        if file.name.endswith(".html"):
            for found in re.findall(r'\bt\("((?:[^"\\]|\\.)*)"', file.read_text("utf-8")):
                yield found.replace('\\"', '"')
    for file in package.iterdir():
        if file.name.endswith(".py"):
            yield from re.findall(r'translate\(\s*"([^"]+)"', file.read_text("utf-8"))
    yield from (STATEMENT, GUARD_RULE, *NOT_COVERED.values())
    yield from (
        member.value
        for kind in (Principle, AgeingTarget, AgeingLaw, Quantity)
        for member in kind
        if member is not Quantity.ACTIVE
    )
    yield from (
        "pass",
        "fail",
        "undecided",
        "no_limit",
        "read",
        "recalled",
        "own",
        "full",
        "quick",
        "ct",
        "direct",
    )
    for name in model_names():
        model = meter_model(name)
        for class_name, standard in ((None, None), ("B", "r46"), ("B", "mid")):
            yield from (
                check.test for check in plan_of(model, class_name=class_name, standard=standard).checks
            )


def test_every_phrase_of_a_report_is_said_in_chinese() -> None:
    missing = sorted({phrase for phrase in _phrases() if phrase not in chinese()})
    assert not missing


def test_fields_of_a_phrase_survive_translation() -> None:
    for phrase, text in chinese().items():
        assert set(re.findall(r"\{(\w+)", phrase)) == set(re.findall(r"\{(\w+)", text)), phrase


def test_the_chinese_page_has_no_english_headings() -> None:
    done, document = reported()
    page = report_page(done, document, "zh")
    same_in_both = {"U", "Ist / Imin / Itr"}
    for heading in re.findall(r"<(?:h1|h2|dt|caption|th scope=.col.)[^>]*>(.*?)<", page):
        assert heading in same_in_both or re.search("[\u4e00-\u9fff]", heading), heading


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(MeteringError, match=r"'fr'.*en, zh"):
        translator("fr")


def test_a_figure_without_digits_worth_showing_has_no_sign() -> None:
    assert figure_text(-1e-9, "%") == "0.00000 %"
    assert figure_text(-0.01234567, "%") == "\u22120.01235 %"
    assert figure_text(0.2, "%", "±") == "±0.2 %"
    assert figure_text(None, "%") == "\u2013"


def test_curves_that_leave_the_axis_are_drawn_at_its_end() -> None:
    plot = CurvePlot(
        "a", "title", "words", Axis("x", "log"), Axis("y"),
        [Curve("one", (1.0, 10.0), (0.5, -40.0))], (Band("b", (1.0, 10.0), (-2.0,), (2.0,)),), most_y=6.0,
    )  # fmt: skip
    for canvas, bottom in ((WIDE, 340 - 48), (NARROW, 250 - 48)):
        svg = ElementTree.fromstring(plot.svg(canvas))
        heights = [float(y) for path in svg.iter("circle") if (y := path.get("cy"))]
        assert max(heights) == pytest.approx(bottom)
    assert "one" in plot.legend()


def test_a_bar_beyond_its_limit_is_told_apart() -> None:
    chart = bar_chart("k", "title", "words", [Bar("a", 0.2, "x"), Bar("b", 1.4, "y")], (0.0, 1.0))
    looks = [rect.get("class") for rect in ElementTree.fromstring(f"<p>{chart}</p>").iter("rect")]
    assert looks == ["bar", "bar over"] * 2  # for wide and for narrow pages


@pytest.mark.parametrize("canvas", [WIDE, NARROW])
@pytest.mark.parametrize(("low", "high"), [(0.01, 2.0), (0.02, 120.0), (0.00015, 200.0)])
@pytest.mark.parametrize("error_pct", [0.0000213, 0.0042, 43.0])
def test_numbers_of_the_axes_touch_nothing(canvas: Canvas, low: float, high: float, error_pct: float) -> None:
    plot = CurvePlot(
        "a", "title", "words", Axis("x", "log"), Axis("y"), [Curve("one", (low, high), (error_pct, 0.0))]
    )
    svg = ElementTree.fromstring(plot.svg(canvas))
    ticks = [text for text in svg.iter("text") if text.get("class") == "tick"]
    widths = [7 * len(text.text or "") for text in ticks]  # pixels, of 12 pixel letters
    upright = [
        float(text.get("x", "")) - width
        for text, width in zip(ticks, widths, strict=True)
        if text.get("text-anchor") == "end"
    ]
    assert min(upright) > 14 + 6, "numbers stand on the label of their axis"
    places = [
        (float(text.get("x", "")), width / 2)
        for text, width in zip(ticks, widths, strict=True)
        if text.get("text-anchor") == "middle"
    ]
    assert len(places) >= 3
    assert all(b - half_b > a + half_a for (a, half_a), (b, half_b) in itertools.pairwise(places))


def test_a_narrow_page_has_figures_of_its_own() -> None:
    done, document = reported()
    page = report_page(done, document)
    wide, narrow = (page.count(f'class="plot {name}"') for name in ("wide", "narrow"))
    assert wide == narrow > 3
    names = re.findall(r' id="([^"]+)"', page)
    assert len(names) == len(set(names))

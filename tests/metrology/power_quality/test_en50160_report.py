"""The weekly report: what it says, in both languages; that it is one sound page which loads nothing."""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from openami.metrology.power_quality import en50160_html, en50160_sections
from openami.metrology.power_quality.en50160 import SupplyWeek, Verdict, evaluate
from openami.metrology.power_quality.en50160_aggregates import runs
from openami.metrology.power_quality.en50160_html import LANGUAGES, chinese, duration, share, utc_precise
from openami.metrology.power_quality.en50160_limits import en50160_limits
from openami.metrology.power_quality.en50160_plots import voltage_figure
from openami.metrology.power_quality.en50160_report import _NAMES, ReportSource, report_html
from openami.metrology.power_quality.en50160_svg import NARROW, WIDE, Axes, line, ticks
from openami.metrology.power_quality.event_kernel import EventKind
from openami.quantities.errors import MeteringError
from supply_week import quiet_week, spoilt_week, with_events

VOID = {"meta", "br"}
SPOILT = evaluate(spoilt_week())


class Soundness(HTMLParser):
    """Elements that are not closed in order, their attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.faults += self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        self.text.append(data.strip())


def rows_of(page: str) -> dict[str, list[str]]:
    """Texts of the cells of the table of verdicts, by the name of the row."""
    body = page.split("<table class=verdicts>")[1].split("</table>")[0].split("<tbody>")[1]
    found = {}
    for row in body.split("</tr>")[:-1]:
        cells = [re.sub(r"<[^>]*>", " ", cell).strip() for cell in re.findall(r"<t[dh].*?</t[dh]>", row)]
        found[cells[0]] = [re.sub(r"\s+", " ", cell) for cell in cells[1:]]
    return found


def weeks() -> dict[str, SupplyWeek]:
    day = quiet_week(30, phases=1)
    unmeasured = replace(
        quiet_week(3),
        u_v=np.full((3, 3), np.nan),
        thd_pct=np.full((3, 3), np.nan),
        harmonic_pct=np.full((3, 3, 39), np.nan),
        unbalance_pct=np.full(3, np.nan),
        pst=np.full((3, 3), np.nan),
        f_hz=np.full(180, np.nan),
    )
    lasting = with_events(quiet_week(12), (EventKind.SWELL, 70.0, np.nan, 130.0, 5))
    constant = replace(quiet_week(12), u_v=np.full((12, 3), 230.0), f_hz=np.full(720, 50.0))
    return {
        "spoilt": SPOILT,
        "quiet": evaluate(quiet_week()),
        "one phase, a day": evaluate(day),
        "nothing": evaluate(unmeasured),
        "an event without end": evaluate(lasting),
        "constant": evaluate(constant),
        "one interval": evaluate(quiet_week(1)),
        "60 Hz": evaluate(replace(quiet_week(40), nominal_hz=60, f_hz=quiet_week(40).f_hz + 10)),
    }


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("name", "week"), weeks().items())
def test_every_report_is_sound_and_loads_nothing(name: str, week: SupplyWeek, language: str) -> None:
    page = report_html(week, [ReportSource("<img src=x onerror=alert(1)>&.npz", "ab" * 32)], language)

    sound = Soundness(page)
    assert sound.faults == []
    tags = [tag for tag, _ in sound.elements]
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(tags)
    attributes = {key for _, found in sound.elements for key in found}
    assert not {"src", "href", "style", "srcset"} & attributes
    assert not [key for key in attributes if key.startswith("on")]
    assert tags.count("svg") - sum(
        "aria-hidden" in found for tag, found in sound.elements if tag == "svg"
    ) == (tags.count("title") - 1)
    assert "url(" not in page
    assert "nan" not in page.lower().replace("nanum", "")
    assert "inf" not in re.sub(r"<style>.*?</style>", "", page, flags=re.S).replace("information", "")
    numbers = re.findall(r'\b(?:x|y|x1|x2|y1|y2|cx|cy|width|height)="([^"]*)"', page)
    assert all(np.isfinite(float(number)) for number in numbers)


def test_the_verdicts_of_the_spoilt_week_stand_in_the_table() -> None:
    rows = rows_of(report_html(SPOILT))

    recalled = "recalled, confirm against the standard"
    assert rows["Frequency"] == [
        "49.5 … 50.5 Hz 99.5 % of a year counted over these data",
        "99.32 % 59342 / 59748",
        "broken",
        recalled,
    ]
    assert rows["Voltage"] == [
        "207 … 253 V 95 % of a week",
        "91.59 % 904 / 987", "99.89 % 986 / 987", "100.00 % 987 / 987",
        "broken", recalled,
    ]  # fmt: skip
    assert rows["Flicker Plt"][0:4] == [
        "≤ 1 95 % of a week",
        "100.00 % 77 / 77",
        "100.00 % 77 / 77",
        "88.31 % 68 / 77",
    ]
    assert rows["Harmonics"][1:4] == ["broken: 15", "broken: 5", "–"]
    assert {row[-1] for row in rows.values()} == {recalled}
    assert len(rows) == 8


def test_a_quiet_week_is_said_to_be_kept_and_a_day_to_be_an_indication() -> None:
    whole = report_html(evaluate(quiet_week()))
    day = report_html(evaluate(quiet_week(144)))

    assert "The limits that were measured are kept." in whole
    assert "A whole week was measured." in whole
    assert "this is an indication" not in whole
    assert "this is an indication" in day
    assert all("kept" in row for row in rows_of(whole).values())


def test_a_share_that_was_missed_by_little_is_not_shown_as_reached() -> None:
    week = quiet_week()
    f_hz = week.f_hz.copy()
    f_hz[:303] = 50.6  # of 60480: 99.499 %

    result = evaluate(replace(week, f_hz=f_hz))

    found = next(each for each in result.findings if each.limit.name == "frequency_usual")
    assert found.verdict is Verdict.BROKEN
    assert share(found) == "99.49 %"


def test_events_are_counted_and_listed() -> None:
    page = report_html(SPOILT)

    listed = page.split("All events</summary>")[1].split("</table>")[0]
    assert listed.count("<tr>") == 1 + SPOILT.aggregates.events.count
    assert "2026-03-03 01:00:00.000" in listed  # second 90,000 of the week
    assert ">80 ms<" in listed
    assert ">2 h<" in listed
    assert ">L1 L2 L3<" in listed
    assert page.count('<circle class="mark dip"') == 2 * 4 + 1  # wide, narrow, legend
    assert page.count('<path class="mark swell"') == 2 * 2 + 1
    assert page.count('<rect class="mark interruption"') == 2 * 2 + 1


def test_names_from_outside_cannot_become_markup() -> None:
    page = report_html(evaluate(quiet_week(6)), [ReportSource('"><script>alert(1)</script>', "00")])

    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_limits_lie_where_the_axis_says() -> None:
    axes = Axes(WIDE, 0.0, 1008.0, 200.0, 260.0)

    assert axes.up(200.0) == axes.bottom == 270.0
    assert axes.up(260.0) == axes.top == 14.0
    assert axes.up(230.0) == (270.0 + 14.0) / 2
    assert axes.up(500.0) == axes.top  # beyond the axis: at its end
    assert float(axes.across(504.0)) == (WIDE.left + WIDE.width - WIDE.right) / 2


def test_a_missing_value_is_a_gap_in_the_line() -> None:
    axes = Axes(NARROW, 0.0, 5.0, 0.0, 10.0)
    x, y = np.arange(6.0), np.array([1.0, 2.0, np.nan, np.nan, 3.0, np.nan])

    path = line(axes, x, y, "l1")

    assert path.count("M") == 2
    assert path.count("L") == 1
    assert line(axes, x, np.full(6, np.nan), "l1") == ""


def test_the_voltage_of_each_phase_and_each_limit_is_drawn() -> None:
    drawing = voltage_figure(SPOILT, WIDE, str)

    assert [drawing.count(f'class="line l{phase}"') for phase in (1, 2, 3)] == [1, 1, 1]
    assert drawing.count('<line class="limit"') == 3
    assert all(words in drawing for words in ("+10 %", "−10 %", "−15 %", "230 V"))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 9.7, [0.0, 2.0, 4.0, 6.0, 8.0]),
        (186.7, 256.0, [200.0, 220.0, 240.0]),
        (49.93, 50.06, [49.95, 50.0, 50.05]),
        (-3.0, 3.0, [-2.0, 0.0, 2.0]),
    ],
)
def test_ticks_are_round_numbers_within_the_axis(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high, 5) == pytest.approx(expected)


def test_runs_of_marked_intervals() -> None:
    assert runs(np.array([True, True, False, True])) == [(0, 2), (3, 4)]
    assert runs(np.zeros(3, np.bool_)) == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0104, "10 ms"),
        (0.2, "200 ms"),
        (1.0, "1 s"),
        (42.0, "42 s"),
        (119.996, "120 s"),
        (150.0, "2.5 min"),
        (7200.0, "2 h"),
    ],
)
def test_durations_are_said_in_their_unit(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_instants_are_said_to_the_millisecond() -> None:
    assert utc_precise(1_772_409_600_123_999) == "2026-03-02 00:00:00.123"


def test_other_languages_are_refused() -> None:
    with pytest.raises(MeteringError, match="'fr'"):
        report_html(evaluate(quiet_week(6)), language="fr")


def phrases() -> Iterator[str]:
    """Every phrase that the report's files say, and those that stand in tables of names."""
    for file in Path(en50160_html.__file__).parent.glob("en50160_*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
                yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant))
    yield from _NAMES.values()
    yield from en50160_sections._KINDS.values()
    yield from (verdict.value for verdict in Verdict)
    limits = en50160_limits()
    yield from (limit.source for limit in limits.limits)


def test_every_phrase_has_its_chinese_and_no_more() -> None:
    said = set(phrases())

    assert said - chinese().keys() == set()
    assert chinese().keys() - said == set()
    assert len(said) > 70


def test_the_chinese_report_holds_no_english_sentence() -> None:
    text = " ".join(Soundness(report_html(SPOILT, language="zh").split("</style>")[1]).text)

    words = set(re.findall(r"[A-Za-z]{3,}", text))
    assert words <= {"UTC", "Plt", "min", "SHA"}


def test_the_table_of_names_knows_every_limit() -> None:
    names = {limit.name for limit in en50160_limits().limits if limit.order is None}

    assert names == set(_NAMES)


@pytest.mark.browser
@pytest.mark.parametrize(("language", "width", "scheme"), [("en", 1280, "dark"), ("zh", 390, "light")])
def test_the_page_is_sound_in_a_browser(tmp_path: Path, language: str, width: int, scheme: str) -> None:
    """Wide, narrow and dark: nothing overflows, nothing is asked for, axe finds no serious fault."""
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no Chromium")
    axe = (resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
    file = tmp_path / "report.html"
    file.write_text(report_html(SPOILT, [ReportSource("week.npz", "ab" * 32)], language), "utf-8")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        # The page's policy forbids scripts; the tool that looks at it is let in beside it.
        page = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
        )
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        assert asked == [file.as_uri()]
        for fold in page.locator("summary").all():
            fold.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        shown = [svg.is_visible() for svg in page.locator("figure svg").all()]
        assert shown == [width == 1280, width == 390] * (len(shown) // 2)
        page.evaluate(axe)
        found = page.evaluate("async () => (await axe.run(document)).violations")
        serious = [fault for fault in found if fault["impact"] in ("serious", "critical")]
        assert [(fault["id"], json.dumps(fault["nodes"][0]["html"])[:200]) for fault in serious] == []
        browser.close()

"""Pieces of the weekly report's page: tables, verdicts, numbers and times as text.

Rule: every text is escaped where it becomes HTML (`cell`, `heading`, `table`); a share is rounded down, so
that nothing is shown as reached which was not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from functools import cache
from html import escape
from importlib import resources
from json import loads
from math import isfinite
from typing import Final

from openami.metrology.power_quality.en50160 import Finding, SupplyWeek, Verdict
from openami.metrology.power_quality.en50160_limits import Characteristic, Limit
from openami.metrology.power_quality.en50160_svg import NARROW, WIDE, Canvas
from openami.quantities.errors import MeteringError

Say = Callable[[str], str]
"""Turns a phrase into the language of the report."""

LANGUAGES: Final = ("en", "zh")
"""Languages of the report."""

NOTHING: Final = "–"
"""Stands where there is no number."""

_STYLES: Final = {Verdict.KEPT: "kept", Verdict.BROKEN: "broken", Verdict.NOT_MEASURED: "unmeasured"}


def speaker(language: str) -> Say:
    """The function that says a phrase in ``language``; a phrase that the catalogue lacks stays English.

    Raises
    ------
    MeteringError
        Not one of `LANGUAGES`.
    """
    if language not in LANGUAGES:
        raise MeteringError(f"a report in {language!r}", expected=" or ".join(LANGUAGES))
    catalogue = chinese() if language == "zh" else {}
    return lambda phrase: catalogue.get(phrase, phrase)


@cache
def chinese() -> dict[str, str]:
    """Chinese text by English phrase."""
    text = resources.files(__package__).joinpath("en50160_zh.json").read_text("utf-8")
    catalogue: dict[str, str] = loads(text)
    return catalogue


def style_of(verdict: Verdict) -> str:
    """Class of the style sheet."""
    return _STYLES[verdict]


def tag(verdict: Verdict, say: Say) -> str:
    """The verdict as a word in a frame."""
    return f'<span class="tag {style_of(verdict)}">{escape(say(verdict.value))}</span>'


def findings_of(week: SupplyWeek, characteristic: Characteristic) -> list[Finding]:
    """Findings of one characteristic."""
    return [finding for finding in week.findings if finding.limit.characteristic is characteristic]


def spoken_for(findings: Iterable[Finding]) -> Verdict:
    """One verdict for several findings: broken if one is, measured if one was."""
    verdicts = {finding.verdict for finding in findings}
    ranked = (Verdict.BROKEN, Verdict.KEPT, Verdict.NOT_MEASURED)
    return next((verdict for verdict in ranked if verdict in verdicts), Verdict.NOT_MEASURED)


def number(value: float, decimals: int) -> str:
    """A number with fixed decimals, or a dash."""
    return f"{value:.{decimals}f}" if isfinite(value) else NOTHING


def share(finding: Finding) -> str:
    """Share within the limit in percent, rounded down to two decimals."""
    if not finding.judged:
        return NOTHING
    hundredths = finding.within * 10_000 // finding.judged
    return f"{hundredths // 100}.{hundredths % 100:02d} %"


def percent(part: Fraction) -> str:
    """An exact share as percent."""
    return f"{float(part * 100):g} %"


def required_for(limit: Limit, say: Say) -> str:
    """How much of which time."""
    return f"{percent(limit.share)} {say('of a year') if limit.of == 'year' else say('of a week')}"


def utc(instant_us: int) -> str:
    """Date and minute."""
    return f"{datetime.fromtimestamp(instant_us / 1e6, UTC):%Y-%m-%d %H:%M}"


def utc_precise(instant_us: int) -> str:
    """Date and time to the millisecond."""
    at = datetime.fromtimestamp(instant_us // 1_000_000, UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}.{instant_us % 1_000_000 // 1000:03d}"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{round(seconds, 2):g} s"
    return f"{round(seconds / 60, 1):g} min" if seconds < 7200 else f"{round(seconds / 3600, 1):g} h"


def cell(words: str, style: str = "n") -> str:
    """A table cell of plain text."""
    return f'<td class="{style}">{escape(words)}</td>'


def heading(words: str) -> str:
    """The cell that names its row."""
    return f"<th scope=row>{escape(words)}</th>"


def table(head: Sequence[str], rows: Iterable[str], caption: str = "") -> str:
    """A table in a box of its own that scrolls; the first column names the rows, the others are numbers."""
    named = f"<caption>{escape(caption)}</caption>" if caption else ""
    cells = "".join(
        f"<th scope=col{' class=n' if place else ''}>{escape(words)}</th>" for place, words in enumerate(head)
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f'<div class=scroll tabindex=0 role=region aria-label="{escape(caption or head[0])}"><table>{named}'
        f"<thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def folded(summary: str, content: str) -> str:
    """Content that opens on demand."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def figure(
    draw: Callable[[SupplyWeek, Canvas, Say], str],
    week: SupplyWeek,
    legend: Sequence[tuple[str, str]],
    say: Say,
) -> str:
    """A figure for wide and narrow pages; ``legend`` holds marks (SVG) and what they mean."""
    entries = "".join(
        f'<li><svg viewBox="0 0 22 12" aria-hidden=true>{mark}</svg>{escape(words)}</li>'
        for mark, words in legend
    )
    return f"<figure>{draw(week, WIDE, say)}{draw(week, NARROW, say)}</figure><ul class=legend>{entries}</ul>"

"""The weekly report of EN 50160: one HTML file that needs nothing else, for the screen and for A4.

The answer first, then every limit with its source, then a figure for each characteristic with its numbers in
a table behind it. English and Chinese, light and dark.

Rule: whatever comes from outside (names of files, sources of limits) is escaped, and a limit never stands
without its source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import Final

from openami.metrology.power_quality.en50160 import Finding, SupplyWeek, Verdict
from openami.metrology.power_quality.en50160_html import (
    Say,
    findings_of,
    required_for,
    share,
    speaker,
    spoken_for,
    style_of,
    tag,
    utc,
)
from openami.metrology.power_quality.en50160_limits import Characteristic, Limit
from openami.metrology.power_quality.en50160_sections import (
    events_section,
    flicker_section,
    frequency_section,
    harmonics_section,
    unbalance_section,
    voltage_section,
)

_NAMES: Final = {
    "frequency_usual": "Frequency",
    "frequency_always": "Frequency, extreme",
    "voltage_usual": "Voltage",
    "voltage_always": "Voltage, extreme",
    "flicker": "Flicker Plt",
    "unbalance": "Unbalance",
    "thd": "Distortion THD",
}
_LANGUAGES: Final = {"en": "en", "zh": "zh-CN"}
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_UNITS: Final = {
    Characteristic.FREQUENCY: " Hz",
    Characteristic.VOLTAGE: " V",
    Characteristic.PLT: "",
    Characteristic.UNBALANCE: " %",
    Characteristic.THD: " %",
}


@dataclass(frozen=True, slots=True)
class ReportSource:
    """A file that the aggregates were made from."""

    name: str
    sha256: str


def report_html(week: SupplyWeek, sources: Sequence[ReportSource] = (), language: str = "en") -> str:
    """The report as the text of an HTML file.

    Parameters
    ----------
    week:
        What was evaluated.
    sources:
        Files the data came from, named at the end of the page.
    language:
        ``"en"`` or ``"zh"``.

    Raises
    ------
    MeteringError
        Another language.
    """
    say = speaker(language)
    style = resources.files(__package__).joinpath("en50160_report.css").read_text("utf-8")
    title = escape(say("Power quality of a week by EN 50160"))
    span = f"{utc(week.aggregates.start_us)} – {utc(week.aggregates.end_us)} UTC"
    standard = escape(f"{week.limits.standard}, {week.limits.edition}")
    parts = (
        f"<header><h1>{title}</h1><p class=lead>{span} · {standard}</p></header>",
        _answer(week, say),
        _verdicts(week, say),
        voltage_section(week, say),
        frequency_section(week, say),
        harmonics_section(week, say),
        flicker_section(week, say),
        unbalance_section(week, say),
        events_section(week, say),
        _footer(sources, say),
    )
    return (
        f'<!DOCTYPE html>\n<html lang="{_LANGUAGES[language]}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{title} · {span}</title><style>{style}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _answer(week: SupplyWeek, say: Say) -> str:
    sentence = {
        Verdict.KEPT: say("The limits that were measured are kept."),
        Verdict.BROKEN: say("Limits are broken."),
        Verdict.NOT_MEASURED: say("Nothing was measured that has a limit."),
    }[week.verdict]
    whole = say("Less than a whole week was measured: this is an indication, not a verdict on a week.")
    if week.whole:
        whole = say("A whole week was measured.")
    recalled = say(
        "The limits are recalled and not read from the text of the standard, as each row says. "
        "Confirm them before anybody relies on this page."
    )
    notice = f"<p class=notice>{escape(recalled)}</p>" if _recalled(week) else ""
    data = week.aggregates
    facts = {
        say("Declared voltage"): f"{data.nominal_v:g} V",
        say("Nominal frequency"): f"{data.nominal_hz} Hz",
        say("Phases"): f"{data.phases}",
        say("Intervals measured"): f"{week.measured} / {week.limits.week_intervals}",
        say("Intervals flagged"): f"{int((data.flagged & data.measured).sum())}",
        say("Dips"): f"{int(week.dips.counts.sum())}",
        say("Swells"): f"{int(week.swells.counts.sum())}",
        say("Interruptions"): f"{week.short_interruptions + week.long_interruptions}",
        say("Rapid voltage changes"): f"{week.rapid_changes}",
    }
    rows = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(fact)}</dd></div>" for name, fact in facts.items()
    )
    return (
        f'<section class="answer {style_of(week.verdict)}"><p><strong>{escape(sentence)}</strong><br>'
        f"{escape(whole)}</p><dl>{rows}</dl>{notice}</section>"
    )


def _recalled(week: SupplyWeek) -> bool:
    """True when a limit was not read from the text of the standard."""
    return any("recalled" in finding.limit.source for finding in week.findings)


def _verdicts(week: SupplyWeek, say: Say) -> str:
    """A row for every limit; the harmonics in one, their orders have a table of their own."""
    phases = [f"L{phase + 1}" for phase in range(week.aggregates.phases)]
    limits = {finding.limit.name: finding.limit for finding in week.findings}
    rows = [
        _row(limit, [finding for finding in week.findings if finding.limit.name == name], phases, say)
        for name, limit in limits.items()
        if limit.characteristic is not Characteristic.HARMONIC
    ]
    rows.append(_harmonics_row(week, phases, say))
    head = [say("Characteristic"), say("Required"), *phases, say("Verdict"), say("Source")]
    cells = "".join(
        f"<th scope=col{' class=n' if words in phases else ''}>{escape(words)}</th>" for words in head
    )
    return (
        f"<section><h2>{escape(say('Characteristics and their limits'))}</h2>"
        f"<p><small>{escape(say('Shares of the judged values that lie within the limits.'))} "
        f"{escape(say('Flagged intervals are excluded'))} ({escape(say(week.limits.flagged_source))}). "
        f"{escape(say('Not evaluated: interharmonics, mains signalling voltages.'))}</small></p>"
        f"<table class=verdicts><thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        "</section>"
    )


def _row(limit: Limit, found: Sequence[Finding], phases: Sequence[str], say: Say) -> str:
    first, unit = found[0], _UNITS[limit.characteristic]
    wanted = f"≤ {first.high:g}{unit}"
    if first.low is not None:
        wanted = f"{first.low:g} … {first.high:g}{unit}"
    judged = f"<small>{escape(required_for(limit, say))}</small>"
    if limit.of == "year":
        judged += f"<small>{escape(say('counted over these data'))}</small>"
    cells = [_within(finding, name) for finding, name in zip(found, phases, strict=False)]
    if first.phase is None:
        cells = [_within(first, say("all phases"), span=len(phases))]
    return _limit_row(
        say(_NAMES.get(limit.name, limit.name)),
        escape(wanted) + judged,
        cells,
        spoken_for(found),
        limit.source,
        say,
    )


def _harmonics_row(week: SupplyWeek, phases: Sequence[str], say: Say) -> str:
    found = findings_of(week, Characteristic.HARMONIC)
    orders = sorted({finding.limit.order for finding in found if finding.limit.order is not None})
    cells = []
    for number, name in enumerate(phases, start=1):
        broken = [
            str(finding.limit.order)
            for finding in found
            if finding.phase == number and finding.verdict is Verdict.BROKEN
        ]
        words = f"{say('broken:')} {', '.join(broken)}" if broken else "–"
        style = "n over" if broken else "n"
        cells.append(f'<td class="{style}" data-label="{name}">{escape(words)}</td>')
    limit = found[0].limit
    wanted = (
        f"{escape(say('orders'))} {orders[0]}–{orders[-1]}<small>{escape(required_for(limit, say))}</small>"
    )
    return _limit_row(say("Harmonics"), wanted, cells, spoken_for(found), limit.source, say)


def _within(finding: Finding, name: str, *, span: int = 1) -> str:
    style = "n over" if finding.verdict is Verdict.BROKEN else "n"
    if span > 1:
        style += " every"
    return (
        f'<td class="{style}" colspan={span} data-label="{escape(name)}"><span>{share(finding)}'
        f"<small>{finding.within} / {finding.judged}</small></span></td>"
    )


def _limit_row(
    name: str, required: str, cells: Sequence[str], verdict: Verdict, source: str, say: Say
) -> str:
    return (
        f"<tr><th scope=row>{escape(name)}</th><td>{required}</td>{''.join(cells)}"
        f'<td data-label="{escape(say("Verdict"))}">{tag(verdict, say)}</td>'
        f'<td data-label="{escape(say("Source"))}"><small>{escape(say(source))}</small></td></tr>'
    )


def _footer(sources: Sequence[ReportSource], say: Say) -> str:
    files = "".join(
        f"<li>{escape(source.name)} <code>SHA-256 {escape(source.sha256)}</code></li>" for source in sources
    )
    listed = f"{escape(say('Measured data'))}:<ul>{files}</ul>" if files else ""
    closing = escape(say("This page loads nothing and runs nothing."))
    return f"<footer>{listed}<p>{closing} {escape(say('Shares are rounded down.'))}</p></footer>"

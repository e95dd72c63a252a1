"""Sections of the weekly report: a figure for each characteristic, and its numbers in a table behind it.

Rule: a figure never says what its table does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from openami.metrology.power_quality.en50160 import EventTable, SupplyWeek, Verdict
from openami.metrology.power_quality.en50160_aggregates import FREQUENCIES, INTERVAL_US
from openami.metrology.power_quality.en50160_html import (
    NOTHING,
    Say,
    cell,
    duration,
    figure,
    findings_of,
    folded,
    heading,
    number,
    share,
    spoken_for,
    table,
    tag,
    utc,
    utc_precise,
)
from openami.metrology.power_quality.en50160_limits import Characteristic
from openami.metrology.power_quality.en50160_plots import (
    events_figure,
    flicker_figure,
    frequency_figure,
    harmonics_figure,
    thd_figure,
    unbalance_figure,
    voltage_figure,
)
from openami.metrology.power_quality.event_kernel import EventKind
from openami.metrology.power_quality.flicker_severity import INTERVALS_OF_PLT

F64 = npt.NDArray[np.float64]

_DAY: Final = 144
"""Intervals of a day."""
_LINE: Final = '<path class="line l{}" d="M1 6H21"/>'
_BAR: Final = '<rect class="bar l{}" x="4" y="1" width="14" height="10"/>'
_LIMIT: Final = '<path class="limit" d="M1 6H21"/>'
_FLAGGED: Final = '<rect class="flagged" x="1" width="20" height="12"/>'
_KINDS: Final = {
    EventKind.DIP: "dip",
    EventKind.SWELL: "swell",
    EventKind.INTERRUPTION: "interruption",
    EventKind.RAPID_VOLTAGE_CHANGE: "rapid change",
}


def voltage_section(week: SupplyWeek, say: Say) -> str:
    """Ten-minute voltages."""
    data = week.aggregates
    body = figure(voltage_figure, week, _legend(week, say), say)
    days = _daily(week, data.u_v, 1, say, "V")
    return _section(
        say("Voltage, ten-minute values"), _verdict(week, Characteristic.VOLTAGE, say), body + days
    )


def frequency_section(week: SupplyWeek, say: Say) -> str:
    """Ten-second frequencies."""
    legend = [
        (_LINE.format(1), say("mean of ten minutes")),
        ('<rect class="band l1" x="1" width="20" height="12"/>', say("range in ten minutes")),
        (_LIMIT, say("limit")),
        (_FLAGGED, say("flagged, not judged")),
    ]
    values = week.aggregates.f_hz[:, np.newaxis]
    days = _daily(week, values, 3, say, "Hz", per_interval=FREQUENCIES)
    body = figure(frequency_figure, week, legend, say) + days
    return _section(say("Frequency, ten-second values"), _verdict(week, Characteristic.FREQUENCY, say), body)


def harmonics_section(week: SupplyWeek, say: Say) -> str:
    """Single harmonics against their limits, and the distortion of all."""
    phases = range(1, week.aggregates.phases + 1)
    legend = [(_BAR.format(phase), f"L{phase}") for phase in phases]
    legend += [
        ('<rect class="bar beyond" x="4" y="1" width="14" height="10"/>', say("beyond its limit")),
        (_LIMIT, say("limit")),
    ]
    found = findings_of(week, Characteristic.HARMONIC)
    orders = sorted({finding.limit.order for finding in found if finding.limit.order is not None})
    rows = []
    for order in orders:
        mine = [finding for finding in found if finding.limit.order == order]
        cells = [heading(str(order)), cell(f"{mine[0].high:g} %")]
        for finding in mine:
            style = "n over" if finding.verdict is Verdict.BROKEN else "n"
            cells.append(cell(number(finding.high_at_share, 2), style) + cell(share(finding), style))
        rows.append("".join(cells) + f"<td>{tag(spoken_for(mine), say)}</td>")
    head = [say("Order"), say("Limit")]
    for phase in phases:
        head += [f"L{phase}, %", say("Within")]
    values = table([*head, say("Verdict")], rows, say("Value not exceeded for 95 % of the time"))
    body = figure(harmonics_figure, week, legend, say) + folded(say("Values of each order"), values)
    harmonics = _section(
        say("Harmonics against their limits"), _verdict(week, Characteristic.HARMONIC, say), body
    )
    days = _daily(week, week.aggregates.thd_pct, 2, say, "%")
    body = figure(thd_figure, week, _legend(week, say), say) + days
    return harmonics + _section(
        say("Total harmonic distortion"), _verdict(week, Characteristic.THD, say), body
    )


def flicker_section(week: SupplyWeek, say: Say) -> str:
    """Long-term severities."""
    long_term, flagged, first = week.aggregates.long_term_flicker()
    title, verdict = say("Flicker, long-term severity Plt"), _verdict(week, Characteristic.PLT, say)
    if not np.isfinite(long_term).any():
        return _section(title, verdict, _nothing(say))
    start_us = week.aggregates.start_us + first * INTERVAL_US
    rows = []
    for place, (values, mark) in enumerate(zip(long_term, flagged, strict=True)):
        cells = [heading(utc(start_us + place * INTERVALS_OF_PLT * INTERVAL_US))]
        cells += [cell(number(value, 2)) for value in values.tolist()]
        rows.append("".join(cells) + cell(say("flagged, not judged") if mark else ""))
    head = [say("Beginning (UTC)"), *(f"L{phase + 1}" for phase in range(long_term.shape[1])), ""]
    body = figure(flicker_figure, week, _legend(week, say), say)
    return _section(title, verdict, body + folded(say("Values of each two hours"), table(head, rows)))


def unbalance_section(week: SupplyWeek, say: Say) -> str:
    """Negative over positive sequence."""
    values = week.aggregates.unbalance_pct[:, np.newaxis]
    title, verdict = say("Unbalance of the voltage"), _verdict(week, Characteristic.UNBALANCE, say)
    if not np.isfinite(values).any():
        return _section(title, verdict, _nothing(say))
    legend = [
        (_LINE.format(1), say("negative over positive sequence")),
        (_LIMIT, say("limit")),
        (_FLAGGED, say("flagged, not judged")),
    ]
    days = _daily(week, values, 2, say, "%")
    return _section(title, verdict, figure(unbalance_figure, week, legend, say) + days)


def events_section(week: SupplyWeek, say: Say) -> str:
    """Events on the plane of duration and voltage, and counted in the classes of the standard."""
    events = week.aggregates.events
    legend = [
        ('<circle class="mark dip" cx="11" cy="6" r="5"/>', say("dip")),
        ('<path class="mark swell" d="M11 0l6 11h-12Z"/>', say("swell")),
        ('<rect class="mark interruption" x="6.5" y="1.5" width="9" height="9"/>', say("interruption")),
    ]
    dips, swells = week.limits.dips, week.limits.swells
    edges = dips.level_percent
    dip_rows = [f"{high:g} > u ≥ {low:g}" for high, low in pairwise(edges)]
    swell_rows = [f"{swells.level_percent[1]:g} > u > {swells.level_percent[0]:g}"]
    swell_rows += [f"u ≥ {edge:g}" for edge in swells.level_percent[1:]]
    other = table(
        [say("Interruptions"), say("Number")],
        [
            heading(say("up to 3 minutes")) + _count(week.short_interruptions),
            heading(say("longer than 3 minutes")) + _count(week.long_interruptions),
            heading(say("Events without an end")) + _count(week.unended),
        ],
        f"{say('Interruptions')} ({say(week.limits.interruption_source)})",
    )
    tables = (
        f"<div class=tables>{_classes(week.dips, say('Dips: residual voltage by duration'), dip_rows, say)}"
        f"{_classes(week.swells, say('Swells: largest voltage by duration'), swell_rows, say)}{other}</div>"
    )
    listed = table(
        [
            say("Beginning (UTC)"),
            say("Kind"),
            say("Phases"),
            say("Duration"),
            say("Voltage"),
            say("of declared"),
        ],
        _event_rows(week, say),
    )
    body = figure(events_figure, week, legend, say) if events.count else _nothing(say)
    body += tables + (folded(say("All events"), listed) if events.count else "")
    note = escape(say("Counted, not judged: the standard gives no limits."))
    return _section(say("Events by duration and voltage"), "", f"<p><small>{note}</small></p>{body}")


def _event_rows(week: SupplyWeek, say: Say) -> Iterator[str]:
    events = week.aggregates.events
    columns = (events.kind, events.start_us, events.duration_s, events.level_v, events.phases)
    for kind, start_us, seconds, level_v, phases in zip(*(c.tolist() for c in columns), strict=True):
        touched = " ".join(f"L{phase + 1}" for phase in range(3) if phases >> phase & 1)
        lasted = duration(seconds) if np.isfinite(seconds) else say("had not ended")
        yield (
            heading(utc_precise(start_us))
            + cell(say(_KINDS[EventKind(kind)]))
            + cell(touched)
            + cell(lasted)
            + cell(f"{level_v:.1f} V")
            + cell(f"{level_v / week.aggregates.nominal_v * 100:.1f} %")
        )


def _classes(counted: EventTable, title: str, names: list[str], say: Say) -> str:
    edges = counted.classes.duration_ms
    head = [say("u in % of declared"), f"< {duration(edges[0] / 1000)}"]
    head += [f"≤ {duration(edge / 1000)}" for edge in edges[1:]] + [f"> {duration(edges[-1] / 1000)}"]
    rows = (
        heading(name) + "".join(_count(count) for count in row)
        for name, row in zip(names, counted.counts.tolist(), strict=True)
    )
    return table(head, rows, f"{title} ({say(counted.classes.source)})")


def _count(count: int) -> str:
    return cell(str(count), "n" if count else "n zero")


def _section(title: str, verdict: str, body: str) -> str:
    return f"<section><h2>{escape(title)} {verdict}</h2>{body}</section>"


def _verdict(week: SupplyWeek, characteristic: Characteristic, say: Say) -> str:
    return tag(spoken_for(findings_of(week, characteristic)), say)


def _nothing(say: Say) -> str:
    return f"<p class=lead>{escape(say('No values.'))}</p>"


def _legend(week: SupplyWeek, say: Say) -> list[tuple[str, str]]:
    phases = [(_LINE.format(phase), f"L{phase}") for phase in range(1, week.aggregates.phases + 1)]
    return [*phases, (_LIMIT, say("limit")), (_FLAGGED, say("flagged, not judged"))]


def _daily(
    week: SupplyWeek, values: F64, decimals: int, say: Say, unit: str, *, per_interval: int = 1
) -> str:
    """Smallest, mean and largest value of each day of UTC, of every column; flagged ones count here too."""
    data = week.aggregates
    names = [f"L{phase + 1}" for phase in range(data.phases)] if values.shape[1] > 1 else [""]
    head = [say("Day (UTC)")]
    for name in names:
        head += [f"{name} {words}".strip() for words in (say("smallest"), say("mean"), say("largest"))]
    first = data.start_us // INTERVAL_US
    days = (first + np.arange(data.intervals)) // _DAY
    rows = []
    for day in np.unique(days).tolist():
        row = heading(utc(day * _DAY * INTERVAL_US)[:10])
        of_day = values[np.repeat(days == day, per_interval)]
        for column in of_day.T:
            known = column[np.isfinite(column)]
            facts = (known.min(), known.mean(), known.max()) if known.size else ()
            row += "".join(cell(number(float(fact), decimals)) for fact in facts) or cell(NOTHING) * 3
        rows.append(row)
    return folded(say("Values of each day"), table(head, rows, f"{say('Values of each day')}, {unit}"))

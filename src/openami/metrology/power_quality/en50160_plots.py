"""The figures of the weekly report: voltage, frequency, harmonics, distortion, flicker, unbalance, events.

Each function draws one figure for a canvas. Limits are drawn where the findings have them.

Rule: what was flagged is shaded, what is missing is a gap, and what is beyond an axis stands at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from openami.metrology.power_quality.en50160 import Finding, SupplyWeek
from openami.metrology.power_quality.en50160_aggregates import FREQUENCIES, INTERVAL_US
from openami.metrology.power_quality.en50160_limits import Characteristic
from openami.metrology.power_quality.en50160_svg import (
    WIDE,
    Axes,
    Canvas,
    band,
    base,
    columns,
    drawing,
    frame,
    line,
    rectangle,
    rule,
    segment,
    text,
    upright_ticks,
)
from openami.metrology.power_quality.event_kernel import EventKind
from openami.metrology.power_quality.flicker_severity import INTERVALS_OF_PLT

F64 = npt.NDArray[np.float64]
Say = Callable[[str], str]
"""Turns a phrase into the language of the report."""

_MARKS: Final = {
    EventKind.DIP: "dip",
    EventKind.SWELL: "swell",
    EventKind.INTERRUPTION: "interruption",
}


def voltage_figure(week: SupplyWeek, canvas: Canvas, say: Say) -> str:
    """Ten-minute voltages of the phases with the limits."""
    data = week.aggregates
    limits = _of(week, Characteristic.VOLTAGE)
    edges = [edge for each in limits for edge in (each.low, each.high) if edge is not None]
    low, high = _range(np.append(data.u_v.ravel(), edges), 0.04)
    axes = _weekly(week, canvas, max(low, 0.0), high)
    rules = {edge: _percent(edge, data.nominal_v) for edge in edges}
    return drawing(
        canvas,
        say("Voltage, ten-minute values"),
        [
            *_ground(week, axes, "V"),
            rule(axes, data.nominal_v, "nominal", f"{data.nominal_v:g} V" if canvas is WIDE else ""),
            *(rule(axes, edge, "limit", words) for edge, words in rules.items()),
            *(
                line(axes, _middles(week), data.u_v[:, phase], f"l{phase + 1}")
                for phase in range(data.phases)
            ),
        ],
    )


def frequency_figure(week: SupplyWeek, canvas: Canvas, say: Say) -> str:
    """Ten-second frequencies: their range and mean in each ten minutes, with the limits."""
    data = week.aggregates
    limits = _of(week, Characteristic.FREQUENCY)
    by_interval = data.f_hz.reshape(-1, FREQUENCIES)
    known = np.isfinite(by_interval)
    there = known.any(axis=1)
    lowest = np.where(there, np.where(known, by_interval, np.inf).min(axis=1), np.nan)
    highest = np.where(there, np.where(known, by_interval, -np.inf).max(axis=1), np.nan)
    total, count = np.where(known, by_interval, 0.0).sum(axis=1), known.sum(axis=1)
    mean = np.divide(total, count, out=np.full(total.size, np.nan), where=there)
    usual = limits[0]
    edges = [edge for edge in (usual.low, usual.high) if edge is not None]
    low, high = _range(np.concatenate((lowest, highest, edges)), 0.06)
    axes = _weekly(week, canvas, low, high)
    every = {edge for each in limits for edge in (each.low, each.high) if edge is not None}
    return drawing(
        canvas,
        say("Frequency, ten-second values"),
        [
            *_ground(week, axes, "Hz"),
            rule(axes, data.nominal_hz, "nominal"),
            *(rule(axes, edge, "limit", f"{edge:g} Hz") for edge in sorted(every)),
            band(axes, _middles(week), lowest, highest, "l1"),
            line(axes, _middles(week), mean, "l1"),
        ],
    )


def harmonics_figure(week: SupplyWeek, canvas: Canvas, say: Say) -> str:
    """Each harmonic at the share its limit asks for, beside the limit; on narrow pages the worst phase."""
    found = _of(week, Characteristic.HARMONIC)
    orders = sorted({finding.limit.order for finding in found if finding.limit.order is not None})
    phases = week.aggregates.phases
    top = max([finding.high for finding in found] + [_known(finding.high_at_share) for finding in found])
    axes = Axes(canvas, 0.0, float(len(orders)), 0.0, top * 1.08)
    step = float(axes.across(1.0) - axes.across(0.0))
    parts = [frame(axes, "%")]
    for place, order in enumerate(orders):
        mine = [finding for finding in found if finding.limit.order == order]
        left = float(axes.across(place))
        if canvas is WIDE:
            shown, width = mine, step * 0.76 / phases
        else:
            shown = [max(mine, key=lambda finding: _known(finding.high_at_share))]
            width = step * 0.66
        for number, finding in enumerate(shown):
            height = float(axes.up(_known(finding.high_at_share)))
            style = f"bar l{number + 1 if canvas is WIDE else finding.phase}"
            style += " beyond" if finding.outside and finding.verdict.value == "broken" else ""
            begin = left + step * 0.12 + number * width
            parts.append(rectangle(begin, height, width - 0.8, axes.bottom - height, style))
        limit = float(axes.up(mine[0].high))
        parts.append(segment("limit whole", left + 1, limit, left + step - 1, limit))
        if canvas is WIDE or order % 4 == 1:
            parts.append(text(left + step / 2, axes.bottom + 17, str(order), "tick middle"))
    parts.append(base(axes))
    return drawing(canvas, say("Harmonics against their limits"), parts)


def thd_figure(week: SupplyWeek, canvas: Canvas, say: Say) -> str:
    """Total harmonic distortion of the phases."""
    return _phases(
        week, canvas, Characteristic.THD, week.aggregates.thd_pct, "%", say("Total harmonic distortion")
    )


def flicker_figure(week: SupplyWeek, canvas: Canvas, say: Say) -> str:
    """Long-term flicker severity of the phases, a step for every two hours."""
    long_term, _, first = week.aggregates.long_term_flicker()
    limits = _of(week, Characteristic.PLT)
    _, high = _range(np.append(long_term.ravel(), [0.0, limits[0].high]), 0.06)
    axes = _weekly(week, canvas, 0.0, high)
    begin = first + INTERVALS_OF_PLT * np.arange(long_term.shape[0], dtype=np.float64)
    corners = np.stack((begin, begin + INTERVALS_OF_PLT), axis=1).ravel()
    return drawing(
        canvas,
        say("Flicker, long-term severity Plt"),
        [
            *_ground(week, axes, "Plt"),
            rule(axes, limits[0].high, "limit", f"{limits[0].high:g}"),
            *(
                line(axes, corners, np.repeat(long_term[:, phase], 2), f"l{phase + 1}")
                for phase in range(long_term.shape[1])
            ),
        ],
    )


def unbalance_figure(week: SupplyWeek, canvas: Canvas, say: Say) -> str:
    """Negative over positive sequence."""
    values = week.aggregates.unbalance_pct[:, np.newaxis]
    return _phases(week, canvas, Characteristic.UNBALANCE, values, "%", say("Unbalance of the voltage"))


def events_figure(week: SupplyWeek, canvas: Canvas, say: Say) -> str:
    """Events by duration (logarithmic) and by their residual or largest voltage."""
    data = week.aggregates
    ended = np.isfinite(data.events.duration_s) & (data.events.kind != EventKind.RAPID_VOLTAGE_CHANGE)
    events = data.events.chosen(ended)
    seconds = np.maximum(events.duration_s, 0.005)
    percent = events.level_v / data.nominal_v * 100
    longest = max(200.0, float(seconds.max(initial=0.0)) * 1.6)
    top = max(130.0, float(percent.max(initial=0.0)) * 1.06)
    axes = Axes(canvas, np.log10(0.005), float(np.log10(longest)), 0.0, top)
    dips = week.limits.dips
    shown = [
        (s, words) for s, words in _DURATIONS if s < longest and (canvas is WIDE or words not in _CROWDED)
    ]
    parts = [frame(axes, "%"), upright_ticks(axes, [(float(np.log10(s)), words) for s, words in shown])]
    floor = float(axes.up(dips.level_percent[0]))
    edges = axes.across(np.log10(np.array(dips.duration_ms) / 1000)).tolist()
    parts += [segment("class", edge, floor, edge, axes.bottom) for edge in edges]
    parts += [rule(axes, edge, "class") for edge in dips.level_percent[1:-1]]
    parts += [rule(axes, edge, "limit", f"{edge:g} %") for edge in (dips.level_percent[0],)]
    parts += [rule(axes, edge, "limit", f"{edge:g} %") for edge in (week.limits.swells.level_percent[0],)]
    for kind, second, level in zip(events.kind.tolist(), seconds.tolist(), percent.tolist(), strict=True):
        parts.append(_mark(EventKind(kind), float(axes.across(np.log10(second))), float(axes.up(level))))
    return drawing(canvas, say("Events by duration and voltage"), parts)


_DURATIONS: Final = (
    (0.01, "10 ms"),
    (0.1, "100 ms"),
    (1.0, "1 s"),
    (10.0, "10 s"),
    (60.0, "1 min"),
    (180.0, "3 min"),
    (3600.0, "1 h"),
    (86_400.0, "1 d"),
)
_CROWDED: Final = ("1 min", "100 ms", "10 s", "1 h")


def _mark(kind: EventKind, x: float, y: float) -> str:
    """Kinds differ by shape and not by colour alone."""
    style = _MARKS[kind]
    if kind is EventKind.DIP:
        return f'<circle class="mark {style}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
    if kind is EventKind.SWELL:
        return f'<path class="mark {style}" d="M{x:.1f} {y - 6:.1f}l6 10.5h-12Z"/>'
    return f'<rect class="mark {style}" x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"/>'


def _phases(
    week: SupplyWeek, canvas: Canvas, characteristic: Characteristic, values: F64, unit: str, title: str
) -> str:
    limits = _of(week, characteristic)
    _, high = _range(np.append(values.ravel(), [0.0, limits[0].high]), 0.06)
    axes = _weekly(week, canvas, 0.0, high)
    return drawing(
        canvas,
        title,
        [
            *_ground(week, axes, unit),
            rule(axes, limits[0].high, "limit", f"{limits[0].high:g} {unit}"),
            *(
                line(axes, _middles(week), values[:, phase], f"l{phase + 1}")
                for phase in range(values.shape[1])
            ),
        ],
    )


def _weekly(week: SupplyWeek, canvas: Canvas, low: float, high: float) -> Axes:
    return Axes(canvas, 0.0, float(week.aggregates.intervals), low, high)


def _ground(week: SupplyWeek, axes: Axes, unit: str) -> Sequence[str]:
    """Flagged intervals, grid and days below whatever is drawn."""
    starts = np.arange(week.aggregates.intervals, dtype=np.float64)
    return (
        columns(axes, starts, week.aggregates.flagged, 1.0, "flagged"),
        upright_ticks(axes, _dates(week, axes.canvas)),
        frame(axes, unit),
    )


def _middles(week: SupplyWeek) -> F64:
    """Middles of the intervals, in intervals from the first one's start."""
    return np.arange(week.aggregates.intervals, dtype=np.float64) + 0.5


def _dates(week: SupplyWeek, canvas: Canvas) -> list[tuple[float, str]]:
    """Places of round times, UTC: days of a week, hours of less."""
    data = week.aggregates
    hours = data.intervals / 6
    every = next(step for step in (1, 2, 3, 6, 12, 24, 48) if hours / step <= 8 or step == 48)
    if canvas is not WIDE and every < 48:
        every *= 2
    first = -(-data.start_us // (every * 6 * INTERVAL_US))
    places = []
    while (at_us := first * every * 6 * INTERVAL_US) <= data.end_us:
        at = datetime.fromtimestamp(at_us / 1e6, UTC)
        words = f"{at:%m-%d}" if every >= 24 or (at.hour == 0) else f"{at:%H:%M}"
        places.append(((at_us - data.start_us) / INTERVAL_US, words))
        first += 1
    return places


def _of(week: SupplyWeek, characteristic: Characteristic) -> list[Finding]:
    return [finding for finding in week.findings if finding.limit.characteristic is characteristic]


def _range(values: F64, margin: float) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    low, high = float(known.min()), float(known.max())
    spread = max(high - low, 1e-9)
    return low - margin * spread, high + margin * spread


def _known(value: float) -> float:
    return value if np.isfinite(value) else 0.0


def _percent(edge: float, nominal: float) -> str:
    return f"{(edge / nominal - 1) * 100:+.0f} %".replace("-", "−")

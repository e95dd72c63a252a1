"""Drawing by hand: axes, curves and bars as SVG text, for a page that needs nothing besides itself.

Colours come from the page's style sheet by class, so one figure serves light, dark and paper; curves differ
by dash and marker as well as by colour. Rule never to be broken: a figure has a title and a description that
say in words what it shows, and every number in it is also in a table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final, Literal

WIDTH: Final = 760
HEIGHT: Final = 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 18, 16, 48
SERIES: Final = 8
"""Number of distinct looks of a curve; further curves begin again."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A line with its points.

    Parameters
    ----------
    name:
        For the legend.
    x, y:
        Points, in the units of the axes.
    bars:
        Half lengths of the uncertainty bars; empty: none.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    bars: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Band:
    """Limits as steps: between ``x[k]`` and ``x[k + 1]`` the limits are ``low[k]`` and ``high[k]``."""

    name: str
    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: its label and whether it is logarithmic."""

    label: str
    scale: Literal["linear", "log"] = "linear"


@dataclass(frozen=True, slots=True)
class CurvePlot:
    """Curves over a common axis, with bands of limits behind them.

    Parameters
    ----------
    key:
        Unique in the page, for references.
    title, description:
        What it shows.
    x_axis, y_axis:
        Axes.
    curves, bands:
        What is drawn.
    most_y:
        The y axis reaches at most this far in both directions; what lies beyond is drawn at its end.
    """

    key: str
    title: str
    description: str
    x_axis: Axis
    y_axis: Axis
    curves: Sequence[Curve]
    bands: Sequence[Band] = field(default_factory=tuple)
    most_y: float = math.inf

    def svg(self) -> str:
        """The figure as an ``<svg>`` element."""
        xs = [x for curve in self.curves for x in curve.x] + [x for band in self.bands for x in band.x]
        if not xs:
            return ""
        low_x, high_x = min(xs), max(xs)
        if low_x == high_x:
            low_x, high_x = 0.5 * low_x, 2.0 * high_x + 1e-9
        reach = 1.12 * max(
            [abs(y) for curve in self.curves for y in curve.y if math.isfinite(y)]
            + [abs(y) + bar for c in self.curves if c.bars for y, bar in zip(c.y, c.bars, strict=True)]
            + [abs(v) for band in self.bands for v in (*band.low, *band.high) if math.isfinite(v)]
            + [0.0]
        )
        reach = min(reach, 1.12 * self.most_y) or 1.0
        frame = _Frame(low_x, high_x, -reach, reach, self.x_axis.scale == "log")
        parts = [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{self.key}-t {self.key}-d" '
            f'class="plot">',
            f'<title id="{self.key}-t">{escape(self.title)}</title>',
            f'<desc id="{self.key}-d">{escape(self.description)}</desc>',
            *(_filled(band, frame) for band in self.bands),
            *_grid(frame, self.x_axis, self.y_axis),
            *(_edges(band, frame) for band in self.bands),
            *(_curve(curve, number % SERIES, frame) for number, curve in enumerate(self.curves)),
            "</svg>",
        ]
        return "".join(parts)

    def legend(self) -> str:
        """The legend as a list, each entry with a sample of its line."""
        entries = [
            f'<li><svg viewBox="0 0 34 12" aria-hidden="true"><path class="line s{number % SERIES}" '
            f'd="M1 6H33"/>{_marker(17, 6, number % SERIES)}</svg>{escape(curve.name)}</li>'
            for number, curve in enumerate(self.curves)
        ]
        entries += [
            f'<li><svg viewBox="0 0 34 12" aria-hidden="true"><rect class="band" width="34" height="12"/>'
            f"</svg>{escape(name)}</li>"
            for name in dict.fromkeys(band.name for band in self.bands)
        ]
        return f'<ul class="legend">{"".join(entries)}</ul>'


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its name, length in parts of 1 (the limit), and what is written beside it."""

    name: str
    share: float
    text: str


def bar_chart(key: str, title: str, description: str, bars: Sequence[Bar], marks: Sequence[float]) -> str:
    """Horizontal bars in parts of their limits, the limit at 1, as an ``<svg>`` element.

    Parameters
    ----------
    key, title, description:
        As in `CurvePlot`.
    bars:
        From top to bottom.
    marks:
        Vertical lines, in parts of the limit.
    """
    row, left, right, top = 24, 230, 150, 24
    height = top + row * len(bars) + 8
    longest = max([1.0, *(min(bar.share, 2.0) for bar in bars)])
    scale = (WIDTH - left - right) / longest
    lines = [
        f'<line class="{"limit" if mark == 1 else "grid"}" x1="{left + mark * scale:.1f}" y1="{top - 6}" '
        f'x2="{left + mark * scale:.1f}" y2="{height - 6}"/><text class="tick" text-anchor="middle" '
        f'x="{left + mark * scale:.1f}" y="{top - 10}">{mark * 100:.0f} %</text>'
        for mark in marks
    ]
    rows = []
    for number, bar in enumerate(bars):
        y = top + number * row
        look = "bar over" if bar.share > 1 else "bar"
        length = max(min(bar.share, 2.0) * scale, 1.0)
        rows.append(
            f'<text class="name" x="{left - 10}" y="{y + 16}" text-anchor="end">{escape(bar.name)}</text>'
            f'<rect class="{look}" x="{left}" y="{y + 4}" width="{length:.1f}" height="{row - 8}"/>'
            f'<text class="value" x="{left + length + 8:.1f}" y="{y + 16}">{escape(bar.text)}</text>'
        )
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{key}-t {key}-d" class="plot">'
        f'<title id="{key}-t">{escape(title)}</title><desc id="{key}-d">{escape(description)}</desc>'
        f"{''.join(lines)}{''.join(rows)}</svg>"
    )


@dataclass(frozen=True, slots=True)
class _Frame:
    low_x: float
    high_x: float
    low_y: float
    high_y: float
    log: bool

    def x(self, value: float) -> float:
        if self.log:
            part = math.log(value / self.low_x) / math.log(self.high_x / self.low_x)
        else:
            part = (value - self.low_x) / (self.high_x - self.low_x)
        return _LEFT + part * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        clipped = min(max(value, self.low_y), self.high_y)
        part = (clipped - self.low_y) / (self.high_y - self.low_y)
        return HEIGHT - _BOTTOM - part * (HEIGHT - _TOP - _BOTTOM)


def number_text(value: float) -> str:
    """A number of an axis or a legend, without superfluous digits."""
    text = f"{value:.6g}"
    return "0" if text in ("-0", "0") else text.replace("-", "\u2212")


def _grid(frame: _Frame, x_axis: Axis, y_axis: Axis) -> list[str]:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = []
    for tick in _linear_ticks(frame.low_y, frame.high_y):
        y = frame.y(tick)
        look = "zero" if tick == 0 else "grid"
        parts.append(
            f'<line class="{look}" x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number_text(tick)}</text>'
        )
    ticks = _log_ticks(frame.low_x, frame.high_x) if frame.log else _linear_ticks(frame.low_x, frame.high_x)
    for tick in ticks:
        x = frame.x(tick)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}"/>'
            f'<text class="tick" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">'
            f"{number_text(tick)}</text>"
        )
    middle = (_LEFT + right) / 2
    centre = (_TOP + bottom) / 2
    parts.append(
        f'<text class="label" x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{escape(x_axis.label)}</text>"
        f'<text class="label" transform="translate(14 {centre:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_axis.label)}</text>"
    )
    return parts


def _filled(band: Band, frame: _Frame) -> str:
    upper, lower = _steps(band, frame)
    return f'<path class="band" d="M{"L".join([*upper, *reversed(lower)])}Z"/>'


def _edges(band: Band, frame: _Frame) -> str:
    upper, lower = _steps(band, frame)
    return f'<path class="limit" d="M{"L".join(upper)}M{"L".join(lower)}"/>'


def _steps(band: Band, frame: _Frame) -> tuple[list[str], list[str]]:
    upper, lower = [], []
    for number, (low, high) in enumerate(zip(band.low, band.high, strict=True)):
        for x in (band.x[number], band.x[number + 1]):
            upper.append(f"{frame.x(x):.1f} {frame.y(high):.1f}")
            lower.append(f"{frame.x(x):.1f} {frame.y(low):.1f}")
    return upper, lower


def _curve(curve: Curve, look: int, frame: _Frame) -> str:
    points = [(frame.x(x), frame.y(y)) for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(y)]
    if not points:
        return ""
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    bars = "".join(
        f'<path class="line s{look} bar-u" d="M{frame.x(x):.1f} {frame.y(y - half):.1f}'
        f'V{frame.y(y + half):.1f}"/>'
        for x, y, half in zip(curve.x, curve.y, curve.bars, strict=bool(curve.bars))
        if math.isfinite(y) and math.isfinite(half)
    )
    markers = "".join(_marker(x, y, look) for x, y in points)
    return f'{bars}<path class="line s{look}" d="{line}"/>{markers}'


def _marker(x: float, y: float, look: int) -> str:
    shapes = (
        f'<circle class="mark s{look}" cx="{x:.1f}" cy="{y:.1f}" r="3.4"/>',
        f'<rect class="mark s{look}" x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6"/>',
        f'<path class="mark s{look}" d="M{x:.1f} {y - 4:.1f}l4 7h-8z"/>',
        f'<path class="mark s{look}" d="M{x:.1f} {y - 4.4:.1f}l4 4.4l-4 4.4l-4 -4.4z"/>',
    )
    return shapes[look % len(shapes)]


def _linear_ticks(low: float, high: float) -> list[float]:
    raw = (high - low) / 6.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    ticks = []
    for power in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1):
        for factor in (1.0, 2.0, 5.0):
            tick = factor * 10.0**power
            if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9):
                ticks.append(tick)
    return ticks

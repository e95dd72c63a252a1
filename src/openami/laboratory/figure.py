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

_TOP, _BOTTOM, _LABEL = 16, 48, 24
_DIGIT: Final = 7.2
"""Width of a digit of an axis; the style sheet sets them at 12 pixels on either canvas."""
SERIES: Final = 8
"""Number of distinct looks of a curve; further curves begin again."""
_LONGEST_BAR: Final = 2.0
"""Bars end at twice the limit; their figure says how far they would reach."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """Size of a figure in CSS pixels, for pages of its width: letters are as large on both.

    Parameters
    ----------
    name:
        Class of the style sheet that shows it.
    width, height:
        Of a plot of curves.
    right:
        Free space beside a plot.
    """

    name: str
    width: int
    height: int
    right: int


WIDE: Final = Canvas("wide", 760, 340, right=18)
NARROW: Final = Canvas("narrow", 360, 250, right=12)


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

    def picture(self) -> str:
        """The figure for wide and for narrow pages; the style sheet shows one of them."""
        return self.svg(WIDE) + self.svg(NARROW)

    def svg(self, canvas: Canvas) -> str:
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
        frame = _Frame(canvas, low_x, high_x, -reach, reach, self.x_axis.scale == "log")
        parts = [
            *_head(self.key, canvas, canvas.height, self.title, self.description),
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
    """Horizontal bars in parts of their limits, the limit at 1: ``<svg>`` for wide and for narrow pages.

    Parameters
    ----------
    key, title, description:
        As in `CurvePlot`.
    bars:
        From top to bottom.
    marks:
        Vertical lines, in parts of the limit.
    """
    return _bars(key, WIDE, title, description, bars, marks) + _bars(
        key, NARROW, title, description, bars, marks
    )


def _bars(
    key: str, canvas: Canvas, title: str, description: str, bars: Sequence[Bar], marks: Sequence[float]
) -> str:
    """Names and figures stand over the bars, where no language is too long for them."""
    row, left, right, top = 40, 18, 24, 24
    height = top + row * len(bars) + 8
    longest = max([1.0, *(min(bar.share, _LONGEST_BAR) for bar in bars)])
    scale = (canvas.width - left - right) / longest
    parts = _head(key, canvas, height, title, description)
    for mark in marks:
        x = left + mark * scale
        parts.append(
            f'<line class="{"limit" if mark == 1 else "grid"}" x1="{x:.1f}" y1="{top - 6}" x2="{x:.1f}" '
            f'y2="{height - 6}"/><text class="tick" text-anchor="middle" x="{x:.1f}" y="{top - 10}">'
            f"{mark * 100:.0f} %</text>"
        )
    for number, bar in enumerate(bars):
        y = top + number * row
        look = "bar over" if bar.share > 1 else "bar"
        length = max(min(bar.share, _LONGEST_BAR) * scale, 1.0)
        parts.append(
            f'<text class="name" x="{left + 5}" y="{y + 15}">{escape(bar.name)}: '
            f'<tspan class="value">{escape(bar.text)}</tspan></text>'
            f'<rect class="{look}" x="{left}" y="{y + 22}" width="{length:.1f}" height="12"/>'
        )
    return "".join([*parts, "</svg>"])


def _head(key: str, canvas: Canvas, height: int, title: str, description: str) -> list[str]:
    name = f"{key}-{canvas.name}"
    return [
        f'<svg viewBox="0 0 {canvas.width} {height}" role="img" aria-labelledby="{name}-t {name}-d" '
        f'class="plot {canvas.name}">',
        f'<title id="{name}-t">{escape(title)}</title>',
        f'<desc id="{name}-d">{escape(description)}</desc>',
    ]


@dataclass(frozen=True, slots=True)
class _Frame:
    canvas: Canvas
    low_x: float
    high_x: float
    low_y: float
    high_y: float
    log: bool

    @property
    def left(self) -> float:
        """Where the plot begins: behind the label and the longest number of the vertical axis."""
        longest = max(len(number_text(tick)) for tick in self.y_ticks)
        return _LABEL + longest * _DIGIT + 8

    @property
    def right(self) -> float:
        """Where the plot ends."""
        return self.canvas.width - self.canvas.right

    @property
    def bottom(self) -> float:
        """Lower edge of the plot."""
        return self.canvas.height - _BOTTOM

    @property
    def y_ticks(self) -> list[float]:
        """Round numbers of the vertical axis."""
        return _linear_ticks(self.low_y, self.high_y)

    def x(self, value: float) -> float:
        if self.log:
            part = math.log(value / self.low_x) / math.log(self.high_x / self.low_x)
        else:
            part = (value - self.low_x) / (self.high_x - self.low_x)
        return self.left + part * (self.right - self.left)

    def y(self, value: float) -> float:
        clipped = min(max(value, self.low_y), self.high_y)
        part = (clipped - self.low_y) / (self.high_y - self.low_y)
        return self.bottom - part * (self.bottom - _TOP)


def number_text(value: float) -> str:
    """A number of an axis or a legend, without superfluous digits."""
    text = f"{value:.6g}"
    return "0" if text in ("-0", "0") else text.replace("-", "\u2212")


def _grid(frame: _Frame, x_axis: Axis, y_axis: Axis) -> list[str]:
    left, bottom, right = frame.left, frame.bottom, frame.right
    parts = []
    for tick in frame.y_ticks:
        y = frame.y(tick)
        look = "zero" if tick == 0 else "grid"
        parts.append(
            f'<line class="{look}" x1="{left:.1f}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{left - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">'
            f"{number_text(tick)}</text>"
        )
    ticks = _log_ticks(frame.low_x, frame.high_x) if frame.log else _linear_ticks(frame.low_x, frame.high_x)
    written = -math.inf
    for tick in ticks:
        x, text = frame.x(tick), number_text(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}"/>')
        half = len(text) * _DIGIT / 2
        if x - half > written:
            parts.append(
                f'<text class="tick" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{text}</text>'
            )
            written = x + half + _DIGIT / 2
    parts.append(
        f'<text class="label" x="{(left + right) / 2:.0f}" y="{frame.canvas.height - 8}" '
        f'text-anchor="middle">{escape(x_axis.label)}</text>'
        f'<text class="label" transform="translate(14 {(_TOP + bottom) / 2:.0f}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_axis.label)}</text>'
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

"""Axes, lines and marks of the weekly report's figures as SVG text, for wide and for narrow pages.

Rule: nothing here knows what it draws; every colour is a class of the report's style sheet, every text is
escaped, and a value that is NaN leaves a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10
from typing import Final

import numpy as np
import numpy.typing as npt

from openami.metrology.power_quality.en50160_aggregates import runs

F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Canvas:
    """Size of a figure in CSS pixels, and the space its axes take."""

    name: str
    """Class of the style sheet that shows it on pages of its width."""
    width: float
    height: float
    left: float
    right: float
    top: float = 14.0
    bottom: float = 30.0


WIDE: Final = Canvas("wide", 1040, 300, left=56, right=76)
NARROW: Final = Canvas("narrow", 356, 250, left=40, right=12)


@dataclass(frozen=True, slots=True)
class Axes:
    """Linear axes on a canvas; (x0, y0) is the lower left corner of the plot, (x1, y1) the upper right."""

    canvas: Canvas
    x0: float
    x1: float
    y0: float
    y1: float

    @property
    def left(self) -> float:
        """Left edge of the plot."""
        return self.canvas.left

    @property
    def right(self) -> float:
        """Right edge of the plot."""
        return self.canvas.width - self.canvas.right

    @property
    def top(self) -> float:
        """Upper edge of the plot."""
        return self.canvas.top

    @property
    def bottom(self) -> float:
        """Lower edge of the plot."""
        return self.canvas.height - self.canvas.bottom

    def across(self, x: F64 | float) -> F64:
        """Horizontal places of values."""
        part = (np.asarray(x, np.float64) - self.x0) / (self.x1 - self.x0)
        return self.left + part * (self.right - self.left)

    def up(self, y: F64 | float) -> F64:
        """Vertical places of values, those beyond the axis at its ends."""
        part = (np.asarray(y, np.float64) - self.y0) / (self.y1 - self.y0)
        return self.bottom - np.clip(part, 0.0, 1.0) * (self.bottom - self.top)


def drawing(canvas: Canvas, title: str, parts: Sequence[str]) -> str:
    """A whole picture; screen readers hear its title."""
    return (
        f'<svg class="{canvas.name}" viewBox="0 0 {canvas.width:g} {canvas.height:g}" role="img">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def line(axes: Axes, x: F64, y: F64, style: str) -> str:
    """A line through the points, interrupted where a value is missing; a lone point is a dot of the line."""
    across, up = axes.across(x), axes.up(y)
    path, drawn = [], False
    there = np.isfinite(y)
    for place, height, known in zip(across.tolist(), up.tolist(), there.tolist(), strict=True):
        if known:
            path.append(f"{'L' if drawn else 'M'}{place:.1f} {height:.1f}")
            if not drawn:
                path.append("h.1")
        drawn = known
    return f'<path class="line {style}" d="{"".join(path)}"/>' if path else ""


def band(axes: Axes, x: F64, low: F64, high: F64, style: str) -> str:
    """The area between two lines, interrupted where one of them is missing."""
    parts = []
    known = np.isfinite(low) & np.isfinite(high)
    for first, last in runs(known):
        across = axes.across(x[first:last])
        edge = [*zip(across, axes.up(high[first:last]), strict=True)]
        edge += [*zip(across[::-1], axes.up(low[first:last])[::-1], strict=True)]
        parts.append("M" + "L".join(f"{place:.1f} {height:.1f}" for place, height in edge) + "Z")
    return f'<path class="band {style}" d="{"".join(parts)}"/>' if parts else ""


def columns(axes: Axes, x: F64, marked: Mask, step: float, style: str) -> str:
    """The full height of the plot over each run of marked steps that begin at ``x``."""
    parts = []
    for first, last in runs(marked):
        begin, end = float(axes.across(x[first])), float(axes.across(x[last - 1] + step))
        parts.append(rectangle(begin, axes.top, max(end - begin, 1.5), axes.bottom - axes.top, style))
    return "".join(parts)


def rectangle(left: float, top: float, width: float, height: float, style: str) -> str:
    """A rectangle."""
    return (
        f'<rect class="{style}" x="{left:.1f}" y="{top:.1f}" width="{max(width, 0):.1f}" '
        f'height="{max(height, 0):.1f}"/>'
    )


def segment(style: str, x: float, y: float, x_end: float, y_end: float) -> str:
    """A straight line."""
    return f'<line class="{style}" x1="{x:.1f}" y1="{y:.1f}" x2="{x_end:.1f}" y2="{y_end:.1f}"/>'


def base(axes: Axes) -> str:
    """The horizontal axis."""
    return segment("axis", axes.left, axes.bottom, axes.right, axes.bottom)


def rule(axes: Axes, y: float, style: str, label: str = "") -> str:
    """A horizontal line over the plot; its label stands in the right margin, on narrow pages on the line."""
    if not axes.y0 <= y <= axes.y1:
        return ""
    height = float(axes.up(y))
    drawn = segment(style, axes.left, height, axes.right, height)
    if not label:
        return drawn
    if axes.canvas.right > 40:
        return drawn + text(axes.right + 6, height + 4, label, f"label {style}")
    return drawn + text(axes.right - 2, height - 4, label, f"label end {style}")


def text(x: float, y: float, words: str, style: str) -> str:
    """Words whose anchor is at (x, y)."""
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def frame(axes: Axes, unit: str) -> str:
    """Grid and numbers of the vertical axis, and the base line."""
    parts = []
    for tick in ticks(axes.y0, axes.y1, 5 if axes.canvas is WIDE else 4):
        height = float(axes.up(tick))
        parts.append(segment("grid", axes.left, height, axes.right, height))
        parts.append(text(axes.left - 6, height + 4, f"{tick:g}", "tick end"))
    parts.append(text(axes.left - 6, axes.top - 3, unit, "tick end unit"))
    parts.append(base(axes))
    return "".join(parts)


def upright_ticks(axes: Axes, places: Sequence[tuple[float, str]]) -> str:
    """Vertical grid lines with their words below the base line."""
    parts = []
    for place, words in places:
        across = float(axes.across(place))
        parts.append(segment("grid", across, axes.top, across, axes.bottom))
        if words:
            parts.append(text(across, axes.bottom + 17, words, "tick middle"))
    return "".join(parts)


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from ``low`` to ``high``, some ``about`` of them."""
    raw = (high - low) / about
    power = 10.0 ** floor(log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = -int(-low / step + 1e-9) if low < 0 else int(low / step + 0.999999)
    found, count = [], first
    while count * step <= high + 1e-9 * step:
        found.append(round(count * step, 12))
        count += 1
    return found

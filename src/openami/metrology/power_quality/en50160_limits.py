"""The limits of EN 50160 as data: what must hold, for how much of which time, and where the number is from.

Read from `en50160_limits.toml` beside this file. Rule: a limit is never without its source, and shares are
exact fractions, so that 95 % of 1008 intervals is a question of integers.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from functools import cache
from importlib import resources
from typing import Any

from openami.quantities.errors import MeteringError


class Characteristic(Enum):
    """A characteristic of the supply that EN 50160 limits."""

    FREQUENCY = "frequency"
    VOLTAGE = "voltage"
    PLT = "plt"
    UNBALANCE = "unbalance"
    THD = "thd"
    HARMONIC = "harmonic"


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit."""

    name: str
    characteristic: Characteristic
    low: float | None
    """Percent of the nominal frequency or of the declared voltage; None without a lower limit."""
    high: float
    """As ``low``; of the fundamental (harmonics, THD), of the positive sequence (unbalance), or Plt."""
    share: Fraction
    """Part of the judged values that must lie within, limits included."""
    of: str
    """Over which time the standard counts: ``"week"`` or ``"year"``."""
    source: str
    order: int | None = None
    """Order of a harmonic."""


@dataclass(frozen=True, slots=True)
class EventClasses:
    """Edges of the table in which events of one kind are counted."""

    level_percent: tuple[float, ...]
    """Dips: residual voltage, falling edges. Swells: largest voltage, rising edges."""
    duration_ms: tuple[float, ...]
    source: str


@dataclass(frozen=True, slots=True)
class SupplyLimits:
    """All of EN 50160 that is evaluated."""

    standard: str
    edition: str
    scope: str
    source: str
    limits: tuple[Limit, ...]
    flagged_source: str
    week_intervals: int
    """Ten-minute intervals of a whole week."""
    dips: EventClasses
    swells: EventClasses
    long_interruption_s: float
    interruption_source: str


@cache
def en50160_limits() -> SupplyLimits:
    """The limits that come with the package."""
    text = resources.files(__package__).joinpath("en50160_limits.toml").read_text("utf-8")
    return limits_from_table(tomllib.loads(text))


def limits_from_table(table: Mapping[str, Any]) -> SupplyLimits:
    """Limits of a parsed TOML document with the keys of `en50160_limits.toml`.

    Raises
    ------
    MeteringError
        A key is missing or holds something else, a characteristic has no limit, an edge is out of order, a
        share is none, or the rule for flagged intervals is not ``"excluded"``, the only one there is.
    """
    try:
        limits = [_limit(row) for row in table["limit"]]
        harmonics = table["harmonics"]
        for order, percent in harmonics["percent"].items():
            limits.append(
                Limit(
                    f"harmonic_{int(order)}",
                    Characteristic.HARMONIC,
                    None,
                    float(percent),
                    _share(harmonics["share_percent"]),
                    harmonics["of"],
                    harmonics["source"],
                    int(order),
                )
            )
        missing = set(Characteristic) - {limit.characteristic for limit in limits}
        if missing:
            raise MeteringError(
                f"no limit of the {', '.join(sorted(each.value for each in missing))}",
                expected="one of each characteristic at least",
            )
        if table["flagged"]["rule"] != "excluded":
            raise MeteringError(
                f"flagged intervals are {table['flagged']['rule']!r}", expected="flagged.rule 'excluded'"
            )
        return SupplyLimits(
            standard=table["standard"],
            edition=table["edition"],
            scope=table["scope"],
            source=table["source"],
            limits=tuple(limits),
            flagged_source=table["flagged"]["source"],
            week_intervals=int(table["week"]["intervals"]),
            dips=_classes(table["dips"], "residual_percent", -1),
            swells=_classes(table["swells"], "largest_percent", 1),
            long_interruption_s=float(table["interruptions"]["long_from_s"]),
            interruption_source=table["interruptions"]["source"],
        )
    except KeyError as error:
        raise MeteringError(f"limits of the supply without {error}", expected="every key") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise MeteringError(f"limits of the supply: {error}", expected="numbers and texts") from None


def _limit(row: Mapping[str, Any]) -> Limit:
    low = row.get("low")
    return Limit(
        row["name"],
        Characteristic(row["quantity"]),
        None if low is None else float(low),
        float(row["high"]),
        _share(row["share_percent"]),
        row["of"],
        row["source"],
    )


def _share(percent: float) -> Fraction:
    share = Fraction(str(percent)) / 100
    if not 0 < share <= 1:
        raise MeteringError(f"a share of {percent} %", expected="more than 0, at most 100")
    return share


def _classes(table: Mapping[str, Any], levels: str, direction: int) -> EventClasses:
    edges = tuple(float(edge) for edge in table[levels])
    durations = tuple(float(edge) for edge in table["duration_ms"])
    if list(edges) != sorted(edges)[::direction] or list(durations) != sorted(durations):
        raise MeteringError(f"edges {edges} and {durations} of events", expected="edges in order")
    return EventClasses(edges, durations, table["source"])

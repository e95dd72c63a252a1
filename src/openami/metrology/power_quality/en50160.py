"""EN 50160: does the supply of a week keep its limits? Pure evaluation of aggregates.

Every limit is asked of every phase: how many intervals were measured, how many of them lie within, and is
that share reached. Intervals flagged by IEC 61000-4-30 are excluded. Events are counted in classes, not
judged. Limits come from `en50160_limits`, each with its source.

Rule: a share is compared in whole numbers; what was not measured is never called kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
import numpy.typing as npt

from openami.metrology.power_quality.en50160_aggregates import SupplyAggregates, SupplyEvents
from openami.metrology.power_quality.en50160_limits import (
    Characteristic,
    EventClasses,
    Limit,
    SupplyLimits,
    en50160_limits,
)
from openami.metrology.power_quality.event_kernel import EventKind
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_ROUNDING: Final = 1e-12
"""Relative width in which a value stands on an edge: more than rounding, less than any measurement."""


class Verdict(Enum):
    """Answer to one limit, or to all of them."""

    KEPT = "kept"
    BROKEN = "broken"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Finding:
    """What the week says to one limit on one phase."""

    limit: Limit
    phase: int | None
    """1 to 3; None for a quantity of all phases."""
    low: float | None
    """Lower limit in the unit of the values (V, Hz, percent, Plt)."""
    high: float
    """Upper limit likewise."""
    intervals: int
    """Intervals of the week's data."""
    missing: int
    flagged: int
    """Measured, but excluded."""
    within: int
    outside: int
    smallest: float
    """Smallest judged value, NaN without one."""
    largest: float
    low_at_share: float
    """Value that the limit's share of the judged ones does not fall below; NaN without a lower limit."""
    high_at_share: float
    """Value that the limit's share of the judged ones does not exceed."""

    @property
    def judged(self) -> int:
        """Intervals that count."""
        return self.within + self.outside

    @property
    def verdict(self) -> Verdict:
        """Kept when the share within is the limit's or more."""
        if self.judged == 0:
            return Verdict.NOT_MEASURED
        kept = self.within * self.limit.share.denominator >= self.limit.share.numerator * self.judged
        return Verdict.KEPT if kept else Verdict.BROKEN


@dataclass(frozen=True, slots=True)
class EventTable:
    """Events of one kind by level (rows) and duration (columns)."""

    classes: EventClasses
    counts: I64
    """(levels, durations + 2): shorter than the first edge, the classes, longer than the last edge."""


@dataclass(frozen=True, slots=True)
class SupplyWeek:
    """A week of a supply against EN 50160."""

    aggregates: SupplyAggregates
    limits: SupplyLimits
    findings: tuple[Finding, ...]
    dips: EventTable
    swells: EventTable
    short_interruptions: int
    long_interruptions: int
    rapid_changes: int
    unended: int
    """Events that had not ended with the data; they are in no table."""

    @property
    def measured(self) -> int:
        """Intervals with a voltage."""
        return int(self.aggregates.measured.sum())

    @property
    def whole(self) -> bool:
        """True when a whole week was measured; of less, the verdict is an indication."""
        return self.measured >= self.limits.week_intervals

    def verdict_of(self, name: str) -> Verdict:
        """Verdict over all phases on the limit ``name``: one phase is enough to break it.

        Raises
        ------
        MeteringError
            There is no such limit.
        """
        return _worst([finding.verdict for finding in self.findings if finding.limit.name == name], name)

    @property
    def verdict(self) -> Verdict:
        """Broken when one limit is; kept when all that could be measured were kept."""
        verdicts = {finding.verdict for finding in self.findings}
        for verdict in (Verdict.BROKEN, Verdict.KEPT):
            if verdict in verdicts:
                return verdict
        return Verdict.NOT_MEASURED


def weeks_of(aggregates: SupplyAggregates, limits: SupplyLimits | None = None) -> Iterator[SupplyAggregates]:
    """Cut aggregates into weeks from their first interval on; the last one may be shorter."""
    length = (limits or en50160_limits()).week_intervals
    for first in range(0, aggregates.intervals, length):
        yield aggregates.stretch(first, min(first + length, aggregates.intervals))


def evaluate(week: SupplyAggregates, limits: SupplyLimits | None = None) -> SupplyWeek:
    """Hold aggregates against the limits.

    Parameters
    ----------
    week:
        At most a week; less is evaluated too.
    limits:
        Those of the package when left out.

    Raises
    ------
    MeteringError
        More than a week.

    Notes
    -----
    Source: EN 50160 clause 4 for low voltage, as recalled in `en50160_limits.toml`. The standard counts the
    frequency over a year; here it is counted over the data, and the finding says ``of = "year"``.
    """
    rules = limits or en50160_limits()
    if week.intervals > rules.week_intervals:
        raise MeteringError(
            f"{week.intervals} intervals of ten minutes", expected=f"a week, {rules.week_intervals} or fewer"
        )
    findings = tuple(finding for limit in rules.limits for finding in _findings(limit, week))
    events = week.events
    ended = np.isfinite(events.duration_s)
    interruptions = events.duration_s[ended & (events.kind == EventKind.INTERRUPTION)]
    long = int((interruptions > rules.long_interruption_s).sum())
    return SupplyWeek(
        aggregates=week,
        limits=rules,
        findings=findings,
        dips=_counted(events.chosen(ended & (events.kind == EventKind.DIP)), rules.dips, week.nominal_v),
        swells=_counted(
            events.chosen(ended & (events.kind == EventKind.SWELL)), rules.swells, week.nominal_v
        ),
        short_interruptions=interruptions.size - long,
        long_interruptions=long,
        rapid_changes=int((events.kind == EventKind.RAPID_VOLTAGE_CHANGE).sum()),
        unended=int((~ended & (events.kind != EventKind.RAPID_VOLTAGE_CHANGE)).sum()),
    )


def _findings(limit: Limit, week: SupplyAggregates) -> Iterator[Finding]:
    """One finding a phase, or one for a quantity of all phases."""
    values, flagged, scale = _judged(limit, week)
    low = None if limit.low is None else limit.low * scale
    for column in range(values.shape[1]):
        phase = None if limit.characteristic in _OF_ALL_PHASES else column + 1
        yield _finding(limit, phase, low, limit.high * scale, values[:, column], flagged)


_OF_ALL_PHASES = frozenset({Characteristic.FREQUENCY, Characteristic.UNBALANCE})


def _judged(limit: Limit, week: SupplyAggregates) -> tuple[F64, Mask, float]:
    """Values (n, columns) a limit asks for, which of them are flagged (n,), and what its numbers scale by."""
    match limit.characteristic:
        case Characteristic.FREQUENCY:
            return week.f_hz[:, np.newaxis], week.frequency_flagged(), week.nominal_hz / 100
        case Characteristic.VOLTAGE:
            return week.u_v, week.flagged, week.nominal_v / 100
        case Characteristic.PLT:
            long_term, flagged, _ = week.long_term_flicker()
            return long_term, flagged, 1.0
        case Characteristic.UNBALANCE:
            return week.unbalance_pct[:, np.newaxis], week.flagged, 1.0
        case Characteristic.THD:
            return week.thd_pct, week.flagged, 1.0
        case Characteristic.HARMONIC:
            place = np.flatnonzero(week.harmonic_orders == limit.order)
            if place.size:
                return week.harmonic_pct[:, :, place[0]], week.flagged, 1.0
            return np.full((week.intervals, week.phases), np.nan), week.flagged, 1.0


def _finding(
    limit: Limit, phase: int | None, low: float | None, high: float, values: F64, flagged: Mask
) -> Finding:
    there = np.isfinite(values)
    judged = np.sort(values[there & ~flagged])
    outside = judged > high * (1 + _ROUNDING)
    if low is not None:
        outside |= judged < low * (1 - _ROUNDING)
    beyond = int(outside.sum())
    count = judged.size
    # Rank of the value that the share reaches: the smallest whole number not below share * count.
    rank = -(-limit.share.numerator * count // limit.share.denominator)
    return Finding(
        limit=limit,
        phase=phase,
        low=low,
        high=high,
        intervals=values.size,
        missing=int((~there).sum()),
        flagged=int((there & flagged).sum()),
        within=count - beyond,
        outside=beyond,
        smallest=float(judged[0]) if count else np.nan,
        largest=float(judged[-1]) if count else np.nan,
        low_at_share=float(judged[count - rank]) if count and low is not None else np.nan,
        high_at_share=float(judged[rank - 1]) if count else np.nan,
    )


def _counted(events: SupplyEvents, classes: EventClasses, nominal_v: float) -> EventTable:
    """Count events by level and duration.

    The lower edge of a level belongs to it, of a duration the upper one. A dip at or above the first edge and
    a swell below it (a hysteresis ended them) count in the first row.
    """
    percent = events.level_v * (100 / nominal_v) * (1 + _ROUNDING)
    edges = np.array(classes.level_percent)
    if edges[0] > edges[-1]:
        levels = edges.size - 1
        row = np.searchsorted(-edges, -percent, side="left") - 1
    else:
        levels = edges.size
        row = np.searchsorted(edges, percent, side="right") - 1
    row = np.clip(row, 0, levels - 1)
    milliseconds = events.duration_s * 1000 * (1 - _ROUNDING)
    durations = np.array(classes.duration_ms)
    reached = milliseconds >= durations[0] * (1 - 2 * _ROUNDING)
    column = np.maximum(np.searchsorted(durations, milliseconds, side="left"), reached.astype(np.int64))
    counts = np.zeros((levels, durations.size + 1), np.int64)
    np.add.at(counts, (row, column), 1)
    return EventTable(classes, counts)


def _worst(verdicts: list[Verdict], name: str) -> Verdict:
    if not verdicts:
        raise MeteringError(f"no limit {name!r}", expected="a name of the limits")
    for verdict in (Verdict.BROKEN, Verdict.NOT_MEASURED):
        if verdict in verdicts:
            return verdict
    return Verdict.KEPT

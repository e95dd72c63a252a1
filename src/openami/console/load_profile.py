"""Raw readings of a meter beside the final values made of them, aligned in columns.

Raw is what the meter counted (secondary side), final what counts at its usage point (multiplier applied). The
rule never to be broken: counts stay integers of one quantum; a missing value is a mask, never a zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from openami.quantities.obis import ObisCode
from openami.quantities.status import Status, is_estimated, is_missing
from openami.quantities.units import WH, Quantum
from openami.readings.interval_block import IntervalBlock, StatusIds
from openami.registry.entities import Installation
from openami.workspace.workspace import Workspace

Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """Values of raw or final at the instants of a `Profile`.

    Parameters
    ----------
    counts:
        int64 counts of `quantum`, (n,); 0 where there is none.
    there:
        True where there is a value, (n,).
    status, known:
        Status ids, int32 (n,), and where something is stored at all, a value or its absence, (n,).
    """

    counts: Integers
    there: Mask
    status: StatusIds
    known: Mask
    quantum: Quantum

    def value(self, index: int) -> Decimal | None:
        """The exact value in the unit; None where there is none."""
        return self.quantum.decimal(int(self.counts[index])) if self.there[index] else None

    def status_at(self, index: int) -> Status | None:
        """The status; None where nothing is stored."""
        return Status.from_id(int(self.status[index])) if self.known[index] else None

    def reals(self, where: Mask) -> Reals:
        """Values in the unit for a chart, float64 (n,); NaN where there is none or ``where`` is False."""
        step = 10 ** abs(self.quantum.exponent)
        scaled = self.counts * step if self.quantum.exponent > 0 else self.counts / step
        return np.where(self.there & where, scaled, np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """Raw and final of one channel of one meter; ``at`` are starts of intervals, seconds since 1970, (n,)."""

    at: Integers
    raw: Side
    final: Side

    @property
    def estimated(self) -> Mask:
        """True where the final value was estimated or substituted, (n,)."""
        return is_estimated(self.final.status) & self.final.known

    def start(self, index: int) -> datetime:
        """When an interval begins, UTC."""
        return datetime.fromtimestamp(int(self.at[index]), UTC)


def load_profile(workspace: Workspace, meter_id: str, channel: ObisCode, first: date, last: date) -> Profile:
    """Raw of a meter and final of its usage points from ``first`` to ``last``, both included.

    Finals are shown while this meter hung at the usage point: of an interval in which meters were exchanged,
    both show the whole.
    """
    store, after = workspace.store, last + timedelta(days=1)
    installations = workspace.registry.installations(meter_id=meter_id)
    points = sorted({item.usage_point_id for item in installations})
    raw = [(block, _everything(block)) for block in store.raw([meter_id], [channel], first, after)]
    finals = [
        (block, _hanging(block, installations))
        for block in (store.final(points, [channel], first, after) if points else [])
    ]
    raw_columns, final_columns = _columns(raw), _columns(finals)
    at = np.union1d(raw_columns.at, final_columns.at)
    return Profile(at, _side(at, raw_columns), _side(at, final_columns))


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """What is stored of one side, in order of time: instants, counts, status ids, all (n,)."""

    at: Integers
    counts: Integers
    status: StatusIds
    quantum: Quantum


def _columns(parts: Sequence[tuple[IntervalBlock, Mask]]) -> _Columns:
    """The chosen intervals of some blocks, in counts of their finest quantum."""
    quantum = min((block.quantum for block, _ in parts), key=lambda quantum: quantum.exponent, default=WH)
    if not parts:
        return _Columns(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32), quantum)
    at = np.concatenate([_starts(block)[chosen] for block, chosen in parts])
    counts = np.concatenate(
        [block.values[chosen] * 10 ** (block.quantum.exponent - quantum.exponent) for block, chosen in parts]
    )
    status = np.concatenate([block.status_ids[chosen] for block, chosen in parts])
    unique, place = np.unique(at, return_index=True)
    return _Columns(unique, counts[place], status[place], quantum)


def _side(at: Integers, own: _Columns) -> Side:
    known = np.isin(at, own.at)
    counts, status = np.zeros(at.shape, np.int64), np.zeros(at.shape, np.int32)
    counts[known], status[known] = own.counts, own.status
    return Side(counts, known & ~is_missing(status), status, known, own.quantum)


def _starts(block: IntervalBlock) -> Integers:
    begin = int(block.day.start.timestamp())
    return begin + block.interval_s * np.arange(block.values.size, dtype=np.int64)


def _everything(block: IntervalBlock) -> Mask:
    return np.ones(block.values.size, np.bool_)


def _hanging(block: IntervalBlock, installations: Sequence[Installation]) -> Mask:
    """Intervals during some part of which the meter hung at the block's usage point."""
    starts = _starts(block)
    hung = np.zeros(starts.shape, np.bool_)
    for item in installations:
        if item.usage_point_id == block.series_id:
            end = np.inf if item.valid_to is None else item.valid_to.timestamp()
            hung |= (starts + block.interval_s > item.valid_from.timestamp()) & (starts < end)
    return hung

"""Aggregation of 10/12-cycle windows: 150/180 cycles, ten minutes, two hours; flags; time tags.

IEC 61000-4-30:2015, class A, 4.4 to 4.7 (recalled, confirm against the standard): the ten minutes begin on
the UTC tick, where a new window begins while the one that runs is completed (overlap 1). An interval of
150/180 cycles is fifteen windows; one that is not full at the tick goes on to its end beside the new one that
begins there (overlap 2). Ten minutes hold every window that starts in them, two hours twelve ten-minute
values. An interval is tagged by its end. The rule never to be broken: a flagged window flags every interval
it is in, and an interval that was not seen whole says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntFlag
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.metrology.power_quality.flicker_severity import INTERVALS_OF_PLT, plt
from openami.metrology.power_quality.quantities import Layout, Quantities
from openami.metrology.power_quality.sample_time import SampleTime
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

WINDOWS_OF_150 = 15
"""Basic windows in 150 (50 Hz) or 180 (60 Hz) cycles."""

TEN_MINUTES_US = 600_000_000
TWO_HOURS_US = 12 * TEN_MINUTES_US

_SAME_PLACE = 1e-6
"""Samples by which a window that starts at a tick may miss it by rounding."""

NO_TIME = int(np.iinfo(np.int64).min)
"""Tag of an interval whose UTC is not known."""


class QualityFlag(IntFlag):
    """Why a value is not to be taken for an undisturbed one; the first three as `EventKind` counts."""

    NONE = 0
    DIP = 1
    SWELL = 2
    INTERRUPTION = 4
    GAP = 8
    """Samples were missing."""
    SATURATED = 16
    """A sample stood at the converter's limit."""
    UNSYNCHRONISED = 32
    """No voltage to take cycles from."""
    CLOCK = 64
    """Time may be further from UTC than class A allows, or was corrected by more."""
    PARTIAL = 128
    """The interval was not seen whole."""


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """Intervals of one kind, in order; columns of n rows.

    Parameters
    ----------
    start, end:
        Real-valued sample positions, (n,).
    tag_us:
        UTC of the end in microseconds, (n,); `NO_TIME` where it is not known.
    windows:
        Basic windows in it, (n,).
    flags:
        `QualityFlag` bits, (n,).
    quantities:
        What was measured.
    pst, plt:
        Flicker of ten minutes and of two hours, (n, phases); NaN where there is none.
    """

    start: F64
    end: F64
    tag_us: I64
    windows: I64
    flags: I64
    quantities: Quantities
    pst: F64
    plt: F64

    def __len__(self) -> int:
        return int(self.start.size)

    @property
    def flagged(self) -> npt.NDArray[np.bool_]:
        """True where a value is disturbed, (n,)."""
        disturbed: npt.NDArray[np.bool_] = self.flags != 0
        return disturbed


@dataclass(frozen=True, slots=True, eq=False)
class Aggregates:
    """Intervals that are over."""

    cycles_150: Intervals
    """150 cycles at 50 Hz, 180 at 60 Hz."""
    ten_minutes: Intervals
    two_hours: Intervals


class Aggregator:
    """Aggregates of a stream of basic windows.

    Invariant: every window added is in exactly one ten minutes; it is in one interval of 150/180 cycles, and
    in two from a tick on until the older one is full.

    Parameters
    ----------
    layout, declared_v:
        Of the quantities.

    Notes
    -----
    Ten minutes are made from the moment on that `begin` says when they end. Ticks are said ahead (`tick`),
    the flicker of an interval before its last window (`severity`).
    """

    def __init__(self, layout: Layout, declared_v: float) -> None:
        self._layout = layout
        self._declared_v = declared_v
        self._columns = layout.offsets[-1]
        self._ticks: list[tuple[float, int]] = []
        self._short = [_Accumulator(self._columns)]
        self._ten: _Accumulator | None = None
        self._ten_begins = -np.inf
        self._two: _Accumulator | None = None
        self._two_pst: list[F64] = []
        self._pst: dict[int, F64] = {}
        self._no_severity = np.full(layout.phases, np.nan)

    def begin(self, tag_us: int) -> None:
        """The clock is known: the ten minutes that run now, seen from here on, end at ``tag_us``."""
        self._ten = _Accumulator(self._columns, tag_us, flags=int(QualityFlag.PARTIAL))

    def tick(self, position: float, utc_us: int) -> None:
        """The UTC tick ``utc_us`` lies at this position; windows that start there or later follow it.

        Raises
        ------
        MeteringError
            Not behind the tick said before.
        """
        if self._ticks and position <= self._ticks[-1][0]:
            raise MeteringError(
                f"a tick at sample {position}", expected=f"behind the one at {self._ticks[-1][0]}"
            )
        self._ticks.append((position, utc_us))

    def severity(self, tag_us: int, pst: F64) -> None:
        """Pst (phases,) of the ten minutes that end at ``tag_us``."""
        self._pst[tag_us] = pst

    def flag(self, bits: QualityFlag) -> None:
        """Flag the ten minutes that run."""
        if self._ten is not None:
            self._ten.flags |= int(bits)

    def gap(self) -> None:
        """Samples are missing here: what runs is flagged, what must be gapless begins anew."""
        self._short = [_Accumulator(self._columns)]
        self.flag(QualityFlag.GAP)

    def add(self, start: F64, end: F64, flags: I64, values: F64, time: SampleTime) -> Aggregates:
        """Take windows in order; the intervals that they end.

        Parameters
        ----------
        start, end, flags:
            (n,) sample positions and `QualityFlag` bits.
        values:
            (n, columns) as `Layout` says.
        time:
            For the tags of 150/180 cycles.
        """
        short: list[_Finished] = []
        ten: list[_Finished] = []
        two: list[_Finished] = []
        first = 0
        while first < start.size:
            if self._ticks and start[first] >= self._ticks[0][0] - _SAME_PLACE:
                self._pass_tick(ten, two)
                continue
            last = start.size
            if self._ticks:
                last = first + int(np.searchsorted(start[first:], self._ticks[0][0] - _SAME_PLACE))
            run = slice(first, last)
            if self._ten is not None:
                if not self._ten.windows and start[first] > self._ten_begins + _SAME_PLACE:
                    self._ten.flags |= int(QualityFlag.PARTIAL)
                self._ten.add(values[run], start[run], end[run], flags[run])
            self._add_short(values[run], start[run], end[run], flags[run], short)
            first = last
        short.sort(key=lambda item: item.end)
        if short and time.known:
            for item, tag_us in zip(short, time.utc_us(np.array([item.end for item in short])), strict=True):
                item.tag_us = int(tag_us)
        return self._aggregates(short, ten, two)

    def close(self) -> Aggregates:
        """End of the stream: what runs is told as partial; 150/180 cycles that are not full are not told."""
        ten: list[_Finished] = []
        two: list[_Finished] = []
        if self._ten is not None:
            self._ten.flags |= int(QualityFlag.PARTIAL)
            self._end_ten_minutes(self._ten, ten, two)
            self._ten = None
        self._end_two_hours(two)
        return self._aggregates([], ten, two)

    def _aggregates(self, short: list[_Finished], ten: list[_Finished], two: list[_Finished]) -> Aggregates:
        return Aggregates(*(_intervals(kind, self._layout, self._declared_v) for kind in (short, ten, two)))

    def _add_short(self, values: F64, start: F64, end: F64, flags: I64, short: list[_Finished]) -> None:
        *older, running = self._short
        going_on = []
        for pending in older:
            rest = slice(0, WINDOWS_OF_150 - pending.windows)
            pending.add(values[rest], start[rest], end[rest], flags[rest])
            if pending.windows == WINDOWS_OF_150:
                short.append(self._finished(pending, NO_TIME))
            else:
                going_on.append(pending)
        first = 0
        if running.windows:
            first = WINDOWS_OF_150 - running.windows
            running.add(values[:first], start[:first], end[:first], flags[:first])
            if running.windows == WINDOWS_OF_150:
                short.append(self._finished(running, NO_TIME))
                running = _Accumulator(self._columns)
        whole = max(start.size - first, 0) // WINDOWS_OF_150
        if whole:
            short.extend(
                self._whole_intervals(values[first:], start[first:], end[first:], flags[first:], whole)
            )
            first += whole * WINDOWS_OF_150
        running.add(values[first:], start[first:], end[first:], flags[first:])
        self._short = [*going_on, running]

    def _whole_intervals(
        self, values: F64, start: F64, end: F64, flags: I64, count: int
    ) -> Iterator[_Finished]:
        """The first ``count`` intervals of fifteen windows, all at once."""
        means = np.empty((count, self._columns))
        bits = np.empty(count, np.int64)
        _means_of_runs(values, flags, WINDOWS_OF_150, means, bits)
        nothing = self._no_severity
        for number in range(count):
            begin = number * WINDOWS_OF_150
            yield _Finished(
                float(start[begin]), float(end[begin + WINDOWS_OF_150 - 1]), NO_TIME, WINDOWS_OF_150,
                int(bits[number]), means[number], nothing, nothing,
            )  # fmt: skip

    def _pass_tick(self, ten: list[_Finished], two: list[_Finished]) -> None:
        position, utc_us = self._ticks.pop(0)
        if self._ten is not None:
            if self._ten.tag_us != utc_us:  # the clock was set: the interval did not end where it was to
                self._ten.flags |= int(QualityFlag.PARTIAL | QualityFlag.CLOCK)
                self._ten.tag_us = utc_us
            self._end_ten_minutes(self._ten, ten, two)
        self._ten = _Accumulator(self._columns, utc_us + TEN_MINUTES_US)
        self._ten_begins = position
        if self._short[-1].windows:
            self._short.append(_Accumulator(self._columns))

    def _end_ten_minutes(self, over: _Accumulator, ten: list[_Finished], two: list[_Finished]) -> None:
        pst = self._pst.pop(over.tag_us, self._no_severity)
        self._pst = {tag: value for tag, value in self._pst.items() if tag > over.tag_us}
        if not over.windows:
            return
        row = self._finished(over, over.tag_us, pst)
        ten.append(row)
        two_tag = -(-over.tag_us // TWO_HOURS_US) * TWO_HOURS_US
        if self._two is not None and self._two.tag_us != two_tag:
            self._end_two_hours(two)
        if self._two is None:
            self._two = _Accumulator(self._columns, two_tag)
            self._two_pst = []
        self._two.add(
            row.columns[None], np.array([row.start]), np.array([row.end]), np.array([row.flags], np.int64)
        )
        self._two_pst.append(pst)
        if over.tag_us == two_tag:
            self._end_two_hours(two)

    def _end_two_hours(self, two: list[_Finished]) -> None:
        over = self._two
        if over is None:
            return
        severity = self._no_severity
        if over.windows == INTERVALS_OF_PLT:
            severity = plt(np.array(self._two_pst).T)
        else:
            over.flags |= int(QualityFlag.PARTIAL)
        two.append(self._finished(over, over.tag_us, plt_of_interval=severity))
        self._two = None

    def _finished(
        self, over: _Accumulator, tag_us: int, pst: F64 | None = None, plt_of_interval: F64 | None = None
    ) -> _Finished:
        nothing = self._no_severity
        return _Finished(
            over.start,
            over.end,
            tag_us,
            over.windows,
            over.flags,
            over.mean(),
            nothing if pst is None else pst,
            nothing if plt_of_interval is None else plt_of_interval,
        )


@dataclass(slots=True, eq=False)
class _Accumulator:
    """Means of columns in the making. Invariant: ``sums / counts`` is the mean of what is not NaN."""

    columns: int
    tag_us: int = NO_TIME
    start: float = np.nan
    end: float = np.nan
    windows: int = 0
    flags: int = 0
    sums: F64 = field(init=False)
    counts: F64 = field(init=False)

    def __post_init__(self) -> None:
        self.sums = np.zeros(self.columns)
        self.counts = np.zeros(self.columns)

    def add(self, values: F64, start: F64, end: F64, flags: I64) -> None:
        """Take windows in: (n, columns) and (n,) each."""
        if not start.size:
            return
        if not self.windows:
            self.start = float(start[0])
        self.end = float(end[-1])
        self.windows += start.size
        self.flags |= _accumulate(values, flags, self.sums, self.counts)

    def mean(self) -> F64:
        """Means, (columns,)."""
        found = np.empty(self.columns)
        _divide(self.sums, self.counts, found)
        return found


@dataclass(slots=True, eq=False)
class _Finished:
    """One interval that is over, before it becomes a row of `Intervals`; its tag may come last."""

    start: float
    end: float
    tag_us: int
    windows: int
    flags: int
    columns: F64
    pst: F64
    plt: F64


def _intervals(finished: list[_Finished], layout: Layout, declared_v: float) -> Intervals:
    """`Intervals` of finished ones, in order."""
    if not finished:
        return no_intervals(layout, declared_v)
    return Intervals(
        start=np.array([item.start for item in finished]),
        end=np.array([item.end for item in finished]),
        tag_us=np.array([item.tag_us for item in finished], np.int64),
        windows=np.array([item.windows for item in finished], np.int64),
        flags=np.array([item.flags for item in finished], np.int64),
        quantities=Quantities(layout, np.array([item.columns for item in finished]), declared_v),
        pst=np.array([item.pst for item in finished]),
        plt=np.array([item.plt for item in finished]),
    )


@lru_cache(maxsize=8)
def no_intervals(layout: Layout, declared_v: float) -> Intervals:
    """No intervals."""
    none, integers = np.empty(0), np.empty(0, np.int64)
    severity = np.empty((0, layout.phases))
    quantities = Quantities(layout, np.empty((0, layout.offsets[-1])), declared_v)
    return Intervals(none, none, integers, integers, integers, quantities, severity, severity)


@njit(cache=True, nogil=True)
def _accumulate(values: F64, flags: I64, sums: F64, counts: F64) -> int:  # pragma: no cover - compiled
    """Add what is not NaN, count it, and put the flags together."""
    bits = 0
    for row in range(values.shape[0]):
        bits |= flags[row]
        for column in range(values.shape[1]):
            value = values[row, column]
            there = value == value
            sums[column] += value if there else 0.0
            counts[column] += 1.0 if there else 0.0
    return bits


@njit(cache=True, nogil=True)
def _means_of_runs(
    values: F64, flags: I64, length: int, means: F64, bits: I64
) -> None:  # pragma: no cover - compiled
    """Means and flags of consecutive runs of ``length`` rows: `_accumulate`, then `_divide`, of each."""
    sums, counts = np.empty(values.shape[1]), np.empty(values.shape[1])
    for run in range(bits.size):
        rows = slice(run * length, (run + 1) * length)
        sums[:] = 0.0
        counts[:] = 0.0
        bits[run] = _accumulate(values[rows], flags[rows], sums, counts)
        _divide(sums, counts, means[run])


@njit(cache=True, nogil=True)
def _divide(sums: F64, counts: F64, means: F64) -> None:  # pragma: no cover - compiled
    for column in range(sums.size):
        means[column] = sums[column] / counts[column] if counts[column] > 0.0 else np.nan

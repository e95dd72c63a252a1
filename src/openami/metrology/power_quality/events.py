"""Dips, swells, interruptions and rapid voltage changes from Urms(1/2), polyphase, streaming.

IEC 61000-4-30:2015, class A, 5.4, 5.5, 5.11 (recalled, confirm against the standard): thresholds of 90 %,
110 % and 5 % with 2 % hysteresis, against the declared voltage or a sliding reference. Detection is a
compiled pass (`event_kernel`); here a beginning and an end are put together.

Two times are told of each edge. `first_window` and `last_window` are the starts of the Urms(1/2) windows that
crossed the threshold, as instruments stamp them: which of the windows does so depends on depth and phase
angle, and alone moves a duration by up to one and a half cycles. `start` and `end` are the instants of the
change itself, from the shares of the windows around that lie behind it: for an event of two cycles and more
exact to a fifth of a cycle at any depth and phase angle. Flags go by the windows, durations by the instants.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
import numpy.typing as npt

from openami.metrology.power_quality import event_kernel as kernel
from openami.metrology.power_quality.event_kernel import EventKind
from openami.metrology.power_quality.half_cycle_rms import HalfCycleRms
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

_KEPT = 8
"""Values of a channel kept behind the last one looked at: an edge wants three before it and two behind."""

_STARTS, _VALUES, _PERIODS = range(3)


@dataclass(frozen=True, slots=True)
class EventThresholds:
    """Thresholds of events, in percent of the reference (of an interruption: of the declared voltage).

    Parameters
    ----------
    dip_pct, swell_pct, interruption_pct, hysteresis_pct:
        Thresholds and hysteresis of dips, swells and interruptions.
    rapid_change_pct, rapid_change_hysteresis_pct:
        Threshold of rapid voltage changes, and hysteresis in percent of that threshold.
    sliding_reference:
        Share by which the sliding reference takes over each rms of 10/12 cycles (0.0033 by the standard: one
        minute); 0 keeps the declared voltage as reference.
    source:
        Where these numbers come from.

    Raises
    ------
    MeteringError
        Thresholds that overlap.
    """

    dip_pct: float = 90.0
    swell_pct: float = 110.0
    interruption_pct: float = 5.0
    hysteresis_pct: float = 2.0
    rapid_change_pct: float = 5.0
    rapid_change_hysteresis_pct: float = 50.0
    sliding_reference: float = 0.0
    source: str = "IEC 61000-4-30 ed. 3, recalled, confirm against the standard"

    def __post_init__(self) -> None:
        ordered = (
            self.interruption_pct > 0.0
            and self.hysteresis_pct >= 0.0
            and self.interruption_pct + self.hysteresis_pct < self.dip_pct
            and self.dip_pct + self.hysteresis_pct < self.swell_pct - self.hysteresis_pct
        )
        if not ordered:
            raise MeteringError(
                f"thresholds {self.interruption_pct}, {self.dip_pct}, {self.swell_pct} % overlap with a "
                f"hysteresis of {self.hysteresis_pct} %",
                expected="interruption < dip < swell, further apart than their hysteresis",
            )
        if not (self.rapid_change_pct > 0 and 0 <= self.rapid_change_hysteresis_pct < 100):
            raise MeteringError(
                f"rapid voltage changes of {self.rapid_change_pct} %, "
                f"hysteresis {self.rapid_change_hysteresis_pct} %",
                expected="a positive threshold and a hysteresis of 0 to 100 % of it",
            )
        if not 0.0 <= self.sliding_reference < 1.0:
            raise MeteringError(f"sliding reference takes over {self.sliding_reference}", expected="0 to 1")


@dataclass(frozen=True, slots=True)
class VoltageEvent:
    """One event that is over.

    Parameters
    ----------
    kind:
        What happened.
    channel, end_channel:
        The voltage that began it, and the one that ended it.
    start, end:
        Instants of the change and of its end, real-valued sample positions.
    extreme_v:
        Residual voltage of a dip or interruption, maximum of a swell: the extreme Urms(1/2) on any channel;
        of a rapid change the largest difference to the mean before (dUmax).
    extreme_channel:
        The voltage on which that was; -1 for a rapid change.
    reference_v:
        What the thresholds were taken from when it began.
    cut:
        True when the stream ended, or had a gap, before the event did: the end is that of what was seen.
    first_window, last_window:
        Starts of the Urms(1/2) windows that began and ended it; of a rapid change the first window that was
        not steady and the first of those that were steady again.
    delta_ss_v:
        Of a rapid change the difference of the steady voltages before and behind (dUss); else 0.
    """

    kind: EventKind
    channel: int
    end_channel: int
    start: float
    end: float
    extreme_v: float
    extreme_channel: int
    reference_v: float
    first_window: float
    last_window: float
    delta_ss_v: float
    cut: bool

    def duration_s(self, rate_hz: float) -> float:
        """Time from start to end in s."""
        return (self.end - self.start) / rate_hz


@dataclass(frozen=True, slots=True)
class Beginning:
    """An event that has begun: the trigger of a waveform capture."""

    kind: EventKind
    channel: int
    first_window: float


@dataclass(frozen=True, slots=True)
class EventReport:
    """What a stretch of the stream brought."""

    begun: tuple[Beginning, ...]
    ended: tuple[VoltageEvent, ...]


@dataclass(slots=True)
class _Edge:
    """One edge of an event: the window that crossed the threshold and, once there, the values around it."""

    channel: int
    number: int
    start: float
    extreme_v: float
    extreme_channel: int
    reference_v: float
    delta_ss_v: float
    period: float = 0.0
    squares: F64 | None = None


class EventDetector:
    """Events of a stream of Urms(1/2) of one system.

    Invariant: of channel c ``_counts[c]`` values are kept, numbers ``_base[c]`` and following, of which the
    first ``_looked_at[c]`` were looked at; the channels' values were looked at in order of time.

    Parameters
    ----------
    channels:
        Number of voltages.
    declared_v:
        Declared input voltage Udin, V rms.
    nominal_hz:
        50 or 60: a second has 100 or 120 half cycles.
    thresholds:
        See `EventThresholds`.
    """

    def __init__(
        self, channels: int, declared_v: float, nominal_hz: float, thresholds: EventThresholds
    ) -> None:
        hysteresis = thresholds.hysteresis_pct
        steady_again = thresholds.rapid_change_pct * (1.0 - thresholds.rapid_change_hysteresis_pct / 100.0)
        half_cycles = round(2 * nominal_hz)
        configuration = np.zeros(kernel.CONFIGURATION)
        configuration[kernel.DECLARED_V] = declared_v
        configuration[kernel.DIP_BELOW] = thresholds.dip_pct / 100
        configuration[kernel.DIP_BACK] = (thresholds.dip_pct + hysteresis) / 100
        configuration[kernel.SWELL_ABOVE] = thresholds.swell_pct / 100
        configuration[kernel.SWELL_BACK] = (thresholds.swell_pct - hysteresis) / 100
        configuration[kernel.INTERRUPTION_BELOW] = thresholds.interruption_pct / 100
        configuration[kernel.INTERRUPTION_BACK] = (thresholds.interruption_pct + hysteresis) / 100
        configuration[kernel.RVC_THRESHOLD] = thresholds.rapid_change_pct / 100
        configuration[kernel.RVC_STEADY_AGAIN] = steady_again / 100
        configuration[kernel.SLIDING_SHARE] = thresholds.sliding_reference
        configuration[kernel.HALF_CYCLES] = half_cycles
        self._configuration = configuration
        self._channels = np.zeros((channels, kernel.CHANNEL_STATE))
        self._channels[:, kernel.LATEST] = declared_v
        self._channels[:, kernel.SLIDING] = declared_v
        self._rings = np.zeros((channels, kernel.RING, half_cycles))
        self._kinds = np.zeros((4, kernel.KIND_STATE))
        self._kept = np.empty((3, channels, 0))
        self._counts = np.zeros(channels, np.int64)
        self._looked_at = np.zeros(channels, np.int64)
        self._base = [0] * channels
        self._openings: dict[EventKind, _Edge] = {}
        self._closing: list[tuple[EventKind, _Edge, _Edge]] = []
        self._past: list[tuple[EventKind, float, float]] = []
        self._position = -inf

    @property
    def position(self) -> float:
        """Sample position up to which every beginning is known."""
        return self._position

    def feed(self, half_cycles: tuple[HalfCycleRms, ...]) -> EventReport:
        """Take the next Urms(1/2) of every channel; the events that began and those that are over.

        An end is told two half cycles of its channel later, when the values behind it are there.
        """
        if len(half_cycles) != self._counts.size:
            raise MeteringError(
                f"Urms(1/2) of {len(half_cycles)} channels", expected=f"{self._counts.size} channels"
            )
        needed = int(self._counts.max()) + max(len(columns) for columns in half_cycles)
        if needed > self._kept.shape[2]:
            room = np.empty((3, self._counts.size, needed + needed // 8))
            room[:, :, : self._kept.shape[2]] = self._kept
            self._kept = room
        for channel, columns in enumerate(half_cycles):
            first = int(self._counts[channel])
            last = first + len(columns)
            self._kept[_STARTS, channel, first:last] = columns.start
            self._kept[_VALUES, channel, first:last] = columns.u_v
            self._kept[_PERIODS, channel, first:last] = columns.period
            self._counts[channel] = last
        begun, rows = self._look()
        for row in rows:
            self._note(row)
        self._complete_edges()
        ended = self._ended()
        self._forget()
        return EventReport(tuple(begun), tuple(ended))

    def close(self) -> tuple[VoltageEvent, ...]:
        """The stream ends here, or has a gap: what is still on or waits for values behind it, cut.

        A rapid voltage change that is not over is none.
        """
        cut: list[tuple[EventKind, _Edge, float, _Edge | None]] = [
            (kind, first, last.start, last) for kind, first, last in self._closing
        ]
        for kind, first in self._openings.items():
            if kind is EventKind.RAPID_VOLTAGE_CHANGE:
                continue
            self._past.append((kind, first.start, inf))
            latest = float(self._kept[_STARTS, first.channel, int(self._counts[first.channel]) - 1])
            cut.append((kind, first, latest, None))
        state = self._kinds
        events = tuple(
            VoltageEvent(
                kind=kind,
                channel=first.channel,
                end_channel=first.channel if last is None else last.channel,
                start=_onset(first, last) if first.squares is not None else first.start,
                end=end,
                extreme_v=float(state[kind, kernel.EXTREME_NOW]) if last is None else last.extreme_v,
                extreme_channel=int(state[kind, kernel.EXTREME_AT]) if last is None else last.extreme_channel,
                reference_v=first.reference_v,
                first_window=first.start,
                last_window=end,
                delta_ss_v=0.0 if last is None else last.delta_ss_v,
                cut=True,
            )
            for kind, first, end, last in cut
        )
        self._openings, self._closing = {}, []
        self._position = inf
        return events

    def flags(self, start: F64, end: F64) -> I64:
        """Bits of the kinds (``1 << kind``) that overlap windows [start, end) that lie before `position`.

        Rapid voltage changes flag nothing.
        """
        bits = np.zeros(start.size, np.int64)
        current = [(kind, edge.start, inf) for kind, edge in self._openings.items()]
        for kind, since, until in [*self._past, *current]:
            if kind is not EventKind.RAPID_VOLTAGE_CHANGE:
                bits |= np.where((start < until) & (end > since), 1 << kind, 0)
        return bits

    def forget_before(self, position: float) -> None:
        """No window that begins before ``position`` will be asked for again."""
        self._past = [item for item in self._past if item[2] > position]

    def _look(self) -> tuple[list[Beginning], list[F64]]:
        rows = np.empty((4 * int((self._counts - self._looked_at).sum()) + 4, kernel.ROW))
        written = kernel.find_events(
            self._kept[_STARTS], self._kept[_VALUES], self._looked_at, self._counts, self._configuration,
            self._channels, self._rings, self._kinds, rows,
        )  # fmt: skip
        if self._counts.all():
            next_ones = np.minimum(self._looked_at, self._counts - 1)
            self._position = min(
                float(self._kept[_STARTS, channel, k]) for channel, k in enumerate(next_ones)
            )
        found = list(rows[:written])
        begun = [
            Beginning(EventKind(int(row[kernel.KIND])), int(row[kernel.CHANNEL]), float(row[kernel.START]))
            for row in found
            if row[kernel.ENDED] == 0.0
        ]
        return begun, found

    def _note(self, row: F64) -> None:
        kind = EventKind(int(row[kernel.KIND]))
        channel = int(row[kernel.CHANNEL])
        edge = _Edge(
            channel=channel,
            number=self._base[channel] + int(row[kernel.INDEX]),
            start=float(row[kernel.START]),
            extreme_v=float(row[kernel.EXTREME]),
            extreme_channel=int(row[kernel.EXTREME_CHANNEL]),
            reference_v=float(row[kernel.REFERENCE]),
            delta_ss_v=float(row[kernel.DELTA_SS]),
        )
        if row[kernel.ENDED] == 0.0:
            self._openings[kind] = edge
            return
        opening = self._openings.pop(kind)
        self._past.append((kind, opening.start, edge.start))
        spoilt = kind is EventKind.RAPID_VOLTAGE_CHANGE and row[kernel.EXTREME_CHANNEL] != 0.0
        if not spoilt:
            self._closing.append((kind, opening, edge))

    def _complete_edges(self) -> None:
        """Give each edge the squares of the six values around it, once they are there."""
        for edge in [
            *self._openings.values(),
            *(e for _, first, last in self._closing for e in (first, last)),
        ]:
            at = edge.number - self._base[edge.channel]
            if edge.squares is None and at + 2 < self._counts[edge.channel]:
                around = np.clip(np.arange(at - 3, at + 3), 0, None)
                edge.squares = self._kept[_VALUES, edge.channel, around] ** 2
                edge.period = float(self._kept[_PERIODS, edge.channel, at])

    def _ended(self) -> list[VoltageEvent]:
        ended = []
        waiting = []
        for kind, first, last in self._closing:
            if first.squares is None or last.squares is None:
                waiting.append((kind, first, last))
                continue
            start, end = first.start, last.start
            if kind is not EventKind.RAPID_VOLTAGE_CHANGE:
                start, end = _onset(first, last), _recovery(first, last)
            ended.append(
                VoltageEvent(
                    kind=kind,
                    channel=first.channel,
                    end_channel=last.channel,
                    start=start,
                    end=max(start, end),
                    extreme_v=last.extreme_v,
                    extreme_channel=-1 if kind is EventKind.RAPID_VOLTAGE_CHANGE else last.extreme_channel,
                    reference_v=first.reference_v,
                    first_window=first.start,
                    last_window=last.start,
                    delta_ss_v=last.delta_ss_v,
                    cut=False,
                )
            )
        self._closing = waiting
        return ended

    def _forget(self) -> None:
        for channel in range(self._counts.size):
            drop = int(self._looked_at[channel]) - _KEPT
            if drop > 0:
                count = int(self._counts[channel])
                self._kept[:, channel, : count - drop] = self._kept[:, channel, drop:count]
                self._counts[channel] -= drop
                self._looked_at[channel] -= drop
                self._base[channel] += drop


def _inside(first: _Edge, last: _Edge | None, edge: _Edge) -> float:
    """Mean square during the event next to an edge: of the nearest window that lies wholly inside it.

    An event shorter than two cycles has none; its extreme stands in.
    """
    assert edge.squares is not None
    if last is not None and first.channel == last.channel and last.number - first.number < 5:
        return last.extreme_v**2
    return float(edge.squares[5] if edge is first else edge.squares[0])


def _shares(before: float, inside: float, squares: F64) -> F64:
    """Share of each window that lies in the event, by its mean square between that outside and inside."""
    if inside == before:
        return np.zeros(squares.size)
    return np.clip((before - squares) / (before - inside), 0.0, 1.0)


def _onset(first: _Edge, last: _Edge | None) -> float:
    """Instant of the step into the event.

    Windows two before the one that crossed the threshold to one behind it share the step; every instant from
    half a cycle before that window's start to its end lies in two of them, the half cycle behind in one.
    """
    assert first.squares is not None
    shares = np.maximum.accumulate(
        _shares(float(first.squares[0]), _inside(first, last, first), first.squares[1:5])
    )
    behind = 0.5 * (float(shares.sum()) - 0.5) * first.period
    return first.start + min(max(first.period - behind, -0.5 * first.period), first.period)


def _recovery(first: _Edge, last: _Edge) -> float:
    """Instant of the step out of the event; as `_onset`, seen from the other side."""
    assert last.squares is not None
    shares = np.maximum.accumulate(
        _shares(float(last.squares[5]), _inside(first, last, last), last.squares[1:5])[::-1]
    )
    before = 0.5 * (float(shares.sum()) - 0.5) * last.period
    return last.start + min(max(before - 0.5 * last.period, -0.5 * last.period), last.period)

"""Aggregates of a supply from its recorded voltages: the class A instrument, run over files in order of time.

Rule: a sample that is not there is a gap, and an interval with a gap, or not seen whole, is missing; currents
are not looked at, only captured with events. Memory is that of a block and of the aggregates.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from openami.metrology.power_quality.aggregation import Intervals, QualityFlag
from openami.metrology.power_quality.analyser import PowerQualityAnalyser, PowerQualitySettings
from openami.metrology.power_quality.en50160_aggregates import (
    FREQUENCIES,
    FREQUENCY_US,
    INTERVAL_US,
    LONGEST,
    SupplyAggregates,
    SupplyEvents,
    runs,
)
from openami.metrology.power_quality.event_kernel import EventKind
from openami.metrology.power_quality.events import VoltageEvent
from openami.metrology.power_quality.results import PowerQualityResults
from openami.metrology.power_quality.waveform_capture import Sink, WaveformCapture
from openami.metrology.recording.recording import Recording
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

HARMONICS: Final = np.arange(2, 41)
"""Orders that are kept, and of which the distortion is made (EN 50160: to 40; recalled, confirm)."""

CLOCK_S: Final = 0.02
"""By how much a file may begin before the one ahead of it ends: the clock of class A."""

_SEEN: Final = 0.999
"""Part of ten minutes from which on they were seen: a recording that begins on the tick has its first window
up to a tenth of a second later."""


class SupplyMeasurement:
    """Aggregates of recordings of one supply, taken piece by piece in order of time.

    Parameters
    ----------
    rate_hz, phases:
        Of all recordings.
    start_us:
        UTC of the first sample, microseconds since 1970.
    declared_v, nominal_hz, lamp_v:
        Declared voltage in V, 50 or 60, reference lamp of the flickermeter (120 or 230).
    sink:
        Takes the waveform of each dip, swell and interruption; None: none is captured. All recordings have
        as many currents as the first one then.

    Notes
    -----
    Invariant: ``_analyser.position`` samples since ``start_us`` were taken or said to be missing.
    """

    def __init__(
        self,
        rate_hz: float,
        phases: int,
        start_us: int,
        *,
        declared_v: float = 230.0,
        nominal_hz: int = 50,
        lamp_v: int = 230,
        sink: Sink | None = None,
    ) -> None:
        self._settings = PowerQualitySettings(
            rate_hz, nominal_hz, declared_v, phases=phases, lamp_v=lamp_v, utc_us=start_us
        )
        self._start_us = start_us
        self._analyser = PowerQualityAnalyser(self._settings)
        self._sink = sink
        self._capture: WaveformCapture | None = None
        self._rows: list[_Rows] = []
        self._frequency: list[tuple[I64, F64]] = []
        self._events: list[VoltageEvent] = []
        self._saturated: set[int] = set()

    def position_of(self, utc_us: int) -> int:
        """Sample that is taken at an instant, counted from the first one."""
        return round((utc_us - self._start_us) * self._settings.rate_hz / 1e6)

    @property
    def position(self) -> int:
        """Samples taken so far, missing ones included."""
        return self._analyser.position

    def add(self, piece: Recording, first_sample: int) -> None:
        """Take a piece whose first sample is ``first_sample``, counted from the first sample of all.

        Raises
        ------
        MeteringError
            Another rate or number of phases, or samples that were taken already.
        """
        if piece.rate_hz != self._settings.rate_hz or piece.phases != self._settings.phases:
            raise MeteringError(
                f"a recording of {piece.phases} phases at {piece.rate_hz:g} Hz",
                expected=f"{self._settings.phases} phases at {self._settings.rate_hz:g} Hz, as before",
            )
        if first_sample < self.position:
            raise MeteringError(
                f"a recording begins at sample {first_sample} and {self.position} were taken",
                expected="recordings that do not overlap",
            )
        there: Mask = np.logical_and.reduce(np.isfinite(piece.u))
        for first, last in runs(there):
            self._skip_to(first_sample + first)
            voltage = np.ascontiguousarray(piece.u[:, first:last])
            results = self._analyser.feed(voltage, np.zeros_like(voltage))
            self._keep(results)
            if self._sink is not None:
                currents = piece.i if piece.neutral is None else np.vstack((piece.i, piece.neutral))
                capture = self._capture_of(currents.shape[0], self._sink)
                capture.feed(voltage, currents[:, first:last], results.begun)
        self._skip_to(first_sample + piece.samples)
        if piece.saturated is not None and piece.saturated.any():
            at = (first_sample + np.flatnonzero(piece.saturated)) * (1e6 / self._settings.rate_hz)
            self._saturated.update(((self._start_us + at) // INTERVAL_US).astype(np.int64).tolist())

    def close(self) -> SupplyAggregates:
        """The aggregates of all that was taken; the measurement is over.

        Raises
        ------
        MeteringError
            Nothing was taken.
        """
        if not self.position:
            raise MeteringError("no samples were taken", expected="a recording")
        self._keep(self._analyser.close())
        if self._capture is not None:
            self._capture.close()
        first = self._start_us // INTERVAL_US
        end_us = self._start_us + self.position * 1e6 / self._settings.rate_hz
        count = max(-int(-end_us // INTERVAL_US) - first, 1)
        return self._laid(first, count)

    def _skip_to(self, sample: int) -> None:
        """Say that samples are missing up to ``sample``."""
        if sample > LONGEST * (INTERVAL_US / 1e6) * self._settings.rate_hz:
            raise MeteringError(
                f"a recording begins {sample / self._settings.rate_hz / 86_400:.0f} days after the first one",
                expected=f"{LONGEST // 144} days or fewer",
            )
        missing = sample - self.position
        if missing > 0:
            self._keep(self._analyser.gap(missing))
            if self._capture is not None:
                self._capture.gap(missing)

    def _capture_of(self, currents: int, sink: Sink) -> WaveformCapture:
        if self._capture is None:
            self._capture = WaveformCapture(
                self._settings.rate_hz,
                np.ones(self._settings.phases),
                np.ones(currents),
                sink,
                utc_us=self._analyser.utc_us,
            )
        return self._capture

    def _keep(self, results: PowerQualityResults) -> None:
        if len(results.ten_minutes):
            self._rows.append(_Rows(results.ten_minutes))
        if len(results.frequency):
            self._frequency.append((results.frequency.tag_us, results.frequency.f_hz))
        self._events += results.events

    def _laid(self, first: int, count: int) -> SupplyAggregates:
        phases = self._settings.phases
        u_v, pst, thd = (np.full((count, phases), np.nan) for _ in range(3))
        harmonics = np.full((count, phases, HARMONICS.size), np.nan)
        unbalance, flagged = np.full(count, np.nan), np.zeros(count, np.bool_)
        for rows in self._rows:
            seen = ((rows.flags & int(QualityFlag.GAP)) == 0) & (rows.tag_us % INTERVAL_US == 0)
            seen &= rows.length * (1e6 / self._settings.rate_hz) >= _SEEN * INTERVAL_US
            place = rows.tag_us // INTERVAL_US - 1 - first
            seen &= (place >= 0) & (place < count)
            place = place[seen]
            flagged[place] = (rows.flags[seen] & ~int(QualityFlag.PARTIAL)) != 0
            u_v[place], pst[place], unbalance[place] = (
                rows.u_v[seen],
                rows.pst[seen],
                rows.unbalance_pct[seen],
            )
            harmonics[place], thd[place] = rows.harmonic_pct[seen], rows.thd_pct[seen]
        flagged[[interval - first for interval in self._saturated if 0 <= interval - first < count]] = True
        f_hz = np.full(count * FREQUENCIES, np.nan)
        for tag_us, values in self._frequency:
            place = tag_us // FREQUENCY_US - 1 - first * FREQUENCIES
            inside = (place >= 0) & (place < f_hz.size)
            f_hz[place[inside]] = values[inside]
        return SupplyAggregates(
            nominal_v=self._settings.declared_v,
            nominal_hz=round(self._settings.nominal_hz),
            start_us=first * INTERVAL_US,
            u_v=u_v,
            flagged=flagged,
            thd_pct=thd,
            harmonic_orders=HARMONICS.astype(np.int64),
            harmonic_pct=harmonics,
            unbalance_pct=unbalance,
            pst=pst,
            f_hz=f_hz,
            events=supply_events(self._events, self._start_us, self._settings.rate_hz, phases),
        )


class _Rows:
    """What is kept of finished ten minutes: copies, so that their windows can be forgotten."""

    __slots__ = ("flags", "harmonic_pct", "length", "pst", "tag_us", "thd_pct", "u_v", "unbalance_pct")

    def __init__(self, intervals: Intervals) -> None:
        quantities = intervals.quantities
        volts = quantities.u_harmonics_v
        orders = volts[:, :, HARMONICS]
        with np.errstate(invalid="ignore", divide="ignore"):
            percent = 100 * orders / volts[:, :, 1:2]
        percent[~np.isfinite(percent)] = np.nan
        squares = np.where(np.isfinite(percent), percent, 0.0) ** 2
        # Orders beyond 0.45 of a low sampling rate are not there; the distortion is that of the others.
        measured = np.isfinite(percent).any(axis=2)
        self.tag_us = intervals.tag_us.copy()
        self.flags = intervals.flags.copy()
        self.length = intervals.end - intervals.start
        self.u_v = quantities.u_v.copy()
        self.harmonic_pct = percent
        self.thd_pct = np.where(measured, np.sqrt(squares.sum(axis=2)), np.nan)
        self.unbalance_pct = quantities.u2_pct.copy()
        self.pst = intervals.pst.copy()


def supply_events(events: Iterable[VoltageEvent], start_us: int, rate_hz: float, phases: int) -> SupplyEvents:
    """Events of the class A instrument as columns in the order of their beginning.

    Parameters
    ----------
    events:
        With sample positions from the sample taken at ``start_us``.
    start_us, rate_hz:
        UTC of sample 0 in microseconds, samples per second.
    phases:
        Voltages measured.

    Notes
    -----
    The dip around an interruption is that interruption and is left out; an interruption is one of all phases.
    An event that was cut by the end of the data or a gap has no duration. Phases are those on which an event
    is known to have begun, ended or gone furthest.
    """
    every = sorted(events, key=lambda event: event.start)
    interrupted = [event for event in every if event.kind is EventKind.INTERRUPTION]
    kept = [
        event
        for event in every
        if event.kind is not EventKind.DIP
        or not any(event.start < other.end and other.start < event.end for other in interrupted)
    ]
    return SupplyEvents(
        kind=np.array([event.kind for event in kept], np.uint8),
        start_us=np.array([start_us + round(event.start * 1e6 / rate_hz) for event in kept], np.int64),
        duration_s=np.array(
            [np.nan if event.cut else event.duration_s(rate_hz) for event in kept], np.float64
        ),
        level_v=np.array([event.extreme_v for event in kept], np.float64),
        phases=np.array([_phases_of(event, phases) for event in kept], np.uint8),
    )


def _phases_of(event: VoltageEvent, phases: int) -> int:
    if event.kind is EventKind.INTERRUPTION:
        return (1 << phases) - 1
    touched = {event.channel, event.end_channel, event.extreme_channel} - {-1}
    return sum(1 << channel for channel in touched)

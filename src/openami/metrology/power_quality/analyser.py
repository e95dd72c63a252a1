"""The class A instrument: from a stream of samples to every quantity of IEC 61000-4-30, with flags and tags.

Put together here: basic windows (`windows.WindowStream`), Urms(1/2) (`half_cycle_rms`), events, ten-second
frequency, flicker (`FlickerMeter`), aggregation and time. The rule never to be broken: results depend on the
samples and on what was said of time, not on how the stream was cut into feeds; a feed that is refused leaves
the analyser as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from openami.metrology.power_quality.aggregation import (
    NO_TIME,
    TEN_MINUTES_US,
    Aggregates,
    Aggregator,
    Intervals,
    QualityFlag,
)
from openami.metrology.power_quality.events import Beginning, EventDetector, EventThresholds, VoltageEvent
from openami.metrology.power_quality.flicker import FlickerMeter, PinstColumns
from openami.metrology.power_quality.flicker_severity import PstClassifier
from openami.metrology.power_quality.half_cycle_rms import HalfCycleRms, HalfCycleStream
from openami.metrology.power_quality.quantities import Layout, Quantities, measure_windows
from openami.metrology.power_quality.results import (
    PowerQualityResults,
    joined,
    no_frequency,
    no_half_cycles,
    no_pinst,
)
from openami.metrology.power_quality.sample_time import CLOCK_TOLERANCE_US, SampleTime
from openami.metrology.power_quality.saturation import saturated_samples
from openami.metrology.power_quality.ten_second_frequency import FrequencyColumns, TenSecondFrequency
from openami.metrology.windows.window_analysis import WindowColumns, WindowStream
from openami.metrology.windows.window_edges import WindowFlag
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Samples = npt.NDArray[np.float64] | npt.NDArray[np.int32]

_BLOCK = 65_536
"""Samples that are worked on at a time: bounds memory however much is fed at once."""

_LEAST_VOLTAGE = 0.013
"""Share of the declared voltage below which a voltage gives no windows (3 V of 230 V)."""

_UNSYNCHRONISED = int(WindowFlag.UNSYNCHRONISED)  # an array knows nothing of an enumeration: it would ask

_LOOK_BACK_S = 30.0
"""How long anchors of time are kept behind the last window: longer than any interval that asks for them."""


@dataclass(frozen=True, slots=True)
class PowerQualitySettings:
    """What is measured, and with what.

    Parameters
    ----------
    rate_hz:
        Sampling rate; harmonics to 50 need 1/0.45 of the 50th.
    nominal_hz:
        50 or 60.
    declared_v:
        Declared input voltage Udin between the terminals of a voltage channel, V rms.
    phases, neutral:
        Voltages (and currents), 1 to 3; number of neutral conductor currents, 0 or 1, the last row of ``i``.
    u_v_per_count, i_a_per_count:
        V and A per count of each channel; one number for all. 1 for samples in V and A.
    full_scale_counts:
        Count (either sign) at which the converter is at its limit; None when that is not to be looked at.
    thresholds:
        Of events.
    lamp_v:
        Reference lamp of the flickermeter, 120 or 230.
    utc_us:
        UTC of sample 0 in microseconds since 1970; None while it is not known (`anchor`).
    clock_drift_ppm:
        Bound of the sampling clock's error; 0 for a clock that is taken as true (a recording).
    signalling_hz:
        Frequency of a mains signalling voltage to be measured; None for none.
    """

    rate_hz: float
    nominal_hz: float
    declared_v: float
    phases: int = 3
    neutral: int = 0
    u_v_per_count: float | tuple[float, ...] = 1.0
    i_a_per_count: float | tuple[float, ...] = 1.0
    full_scale_counts: int | None = None
    thresholds: EventThresholds = field(default_factory=EventThresholds)
    lamp_v: int = 230
    utc_us: int | None = None
    clock_drift_ppm: float = 0.0
    signalling_hz: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """Windows that are measured and wait for the events that may flag them; n rows."""

    start: F64
    end: F64
    flags: I64
    values: F64

    def rows(self, rows: slice) -> _Waiting:
        return _Waiting(self.start[rows], self.end[rows], self.flags[rows], self.values[rows])


class PowerQualityAnalyser:
    """Class A measurement of a stream of samples.

    Invariant: all parts have taken the same samples, up to `position`; a window is handed out, and
    aggregated, once every event that could flag it is known.

    Parameters
    ----------
    settings:
        See `PowerQualitySettings`.

    Raises
    ------
    MeteringError
        Settings that cannot be measured with.

    Examples
    --------
    >>> settings = PowerQualitySettings(6400.0, 50.0, 230.0, utc_us=1_700_000_000_000_000)
    >>> analyser = PowerQualityAnalyser(settings)
    >>> results = analyser.feed(u, i)  # float64 V and A, (3, n)
    >>> results.windows.quantities.u_v, results.events
    """

    def __init__(self, settings: PowerQualitySettings) -> None:
        self._settings = settings
        phases = settings.phases
        self._windows = WindowStream(
            settings.rate_hz,
            settings.nominal_hz,
            phases,
            neutral=settings.neutral,
            u_scale=settings.u_v_per_count,
            i_scale=settings.i_a_per_count,
            least_u_v=_LEAST_VOLTAGE * settings.declared_v,
        )
        self._layout = Layout(phases, phases + settings.neutral)
        self._time = SampleTime(settings.rate_hz, settings.utc_us, settings.clock_drift_ppm)
        self._aggregator = Aggregator(self._layout, settings.declared_v)
        self._classifier = PstClassifier(phases)
        self._u_scale = np.broadcast_to(np.asarray(settings.u_v_per_count, np.float64), (phases,))
        self._i_scale = np.broadcast_to(
            np.asarray(settings.i_a_per_count, np.float64), (self._layout.currents,)
        )
        self._type: np.dtype[np.float64 | np.int32] | None = None
        self._position = 0
        self._next_tick_us: int | None = None
        self._flicker_ticks: list[tuple[float, int]] = []
        self._saturated: I64 = np.empty(0, np.int64)
        nothing = np.empty(0)
        self._waiting = _Waiting(
            nothing, nothing, np.empty(0, np.int64), np.empty((0, self._layout.offsets[-1]))
        )
        self._begin_streams()

    @property
    def position(self) -> int:
        """Samples taken so far, those said to be missing included."""
        return self._position

    def feed(self, u: Samples, i: Samples) -> PowerQualityResults:
        """Take the next samples; what became complete.

        Parameters
        ----------
        u, i:
            (phases, n) and (phases + neutral, n); int32 counts or float64 V and A, one type for the stream.

        Raises
        ------
        MeteringError
            Another shape or type, or a sample that is no finite number. Nothing was taken then: tell `gap`
            how many samples are not there, and go on behind them.
        """
        self._check(u, i)
        blocks = range(0, max(u.shape[1], 1), _BLOCK)
        return joined([self._block(_part(u, first), _part(i, first)) for first in blocks])

    def anchor(self, at_sample: int, utc_us: int) -> None:
        """Say the UTC of a sample that was not fed yet: the first time, or again as a time signal brings it.

        Raises
        ------
        MeteringError
            The sample was fed already, or the anchor does not follow the one before.
        """
        if at_sample < self._position:
            raise MeteringError(
                f"an anchor at sample {at_sample}", expected=f"sample {self._position} or one behind it"
            )
        if abs(self._time.anchor(at_sample, utc_us)) > CLOCK_TOLERANCE_US:
            self._aggregator.flag(QualityFlag.CLOCK)

    def utc_us(self, position: float) -> int | None:
        """UTC of a sample position in microseconds; None while it is not known.

        Positions of more than half a minute ago are told by the oldest anchor that is kept.
        """
        return int(self._time.utc_us(np.array([position]))[0]) if self._time.known else None

    def gap(self, missing_samples: int) -> PowerQualityResults:
        """Samples are missing here: events are cut, the running window is dropped, aggregates are flagged.

        Raises
        ------
        MeteringError
            Not a whole number above zero.
        """
        self._windows.gap(missing_samples)
        events = self._events.close()
        windows, aggregates = self._release()
        self._aggregator.gap()
        self._position += int(missing_samples)
        self._begin_streams()
        return self._results(windows, aggregates, events=events)

    def close(self) -> PowerQualityResults:
        """End of the stream: what waits is handed out, events are cut, running intervals are partial."""
        events = self._events.close()
        windows, aggregates = self._release()
        waiting = self._results(windows, aggregates, events=events)
        rest = self._aggregator.close()
        return joined([waiting, self._results(self._intervals(self._waiting.rows(slice(0))), rest)])

    def _begin_streams(self) -> None:
        """Begin what cannot go on across a gap, at `position`."""
        settings = self._settings
        phases = settings.phases
        self._half_cycles = HalfCycleStream(
            settings.rate_hz,
            settings.nominal_hz,
            settings.declared_v,
            self._u_scale,
            self._i_scale[:phases],
            first_sample=self._position,
        )
        self._events = EventDetector(phases, settings.declared_v, settings.nominal_hz, settings.thresholds)
        self._frequency = TenSecondFrequency(phases, float(self._position))
        self._flicker = FlickerMeter(settings.rate_hz, round(settings.nominal_hz), settings.lamp_v, phases)
        self._flicker_from = self._position

    def _check(self, u: Samples, i: Samples) -> None:
        for name, x, channels in (("u", u, self._layout.phases), ("i", i, self._layout.currents)):
            if x.ndim != 2 or x.shape != (channels, u.shape[-1]):
                raise MeteringError(
                    f"{name} has the shape {x.shape}", expected=f"({channels}, samples), as many of u and i"
                )
            if x.dtype not in (np.dtype(np.int32), np.dtype(np.float64)) or x.dtype != (
                self._type or u.dtype
            ):
                raise MeteringError(
                    f"{name} holds {x.dtype}", expected=f"{self._type or 'int32 or float64'}, u and i alike"
                )
            if x.dtype == np.float64 and not np.isfinite(x).all():
                channel, sample = (int(index[0]) for index in np.nonzero(~np.isfinite(x)))
                raise MeteringError(
                    f"{x[channel, sample]} is no sample",
                    where=f"channel {name}{channel + 1}, sample {self._position + sample}",
                    expected="finite numbers; a gap where samples are missing",
                )
        self._type = u.dtype

    def _block(self, u: Samples, i: Samples) -> PowerQualityResults:
        settings = self._settings
        self._schedule_ticks(self._position + u.shape[1])
        columns = self._windows.feed(u, i)
        half_cycles = self._half_cycles.feed(u, i[: settings.phases])
        found = self._events.feed(half_cycles)
        frequency = self._frequency.feed(half_cycles, self._time)
        pinst = self._flicker.feed(u)
        pinst = PinstColumns(pinst.position + self._flicker_from, pinst.pinst, pinst.settled)
        self._classify(pinst)
        if settings.full_scale_counts is not None and u.dtype == np.int32:
            at_limit = [saturated_samples(x, settings.full_scale_counts) for x in (u, i)]
            if any(positions.size for positions in at_limit):
                here = np.union1d(*at_limit) + self._position
                self._saturated = np.concatenate((self._saturated, here))
        self._position += u.shape[1]
        self._wait(columns)
        windows, aggregates = self._release()
        return self._results(windows, aggregates, found.ended, found.begun, frequency, half_cycles, pinst)

    def _schedule_ticks(self, end: int) -> None:
        """Announce the UTC ten minutes that lie in the samples up to ``end``."""
        if not self._time.known:
            return
        if self._next_tick_us is None:
            now_us = int(self._time.utc_us(np.array([float(self._position)]))[0])
            self._next_tick_us = -(-now_us // TEN_MINUTES_US) * TEN_MINUTES_US
            self._aggregator.begin(self._next_tick_us)
        while (position := self._time.position(self._next_tick_us)) < end:
            if position >= self._position:  # not one that fell into a gap
                self._windows.resynchronise(position)
            self._aggregator.tick(position, self._next_tick_us)
            self._flicker_ticks.append((position, self._next_tick_us))
            self._next_tick_us += TEN_MINUTES_US

    def _classify(self, pinst: PinstColumns) -> None:
        """Flicker of the ten minutes: values up to a tick belong to the interval that ends there."""
        first = 0
        while self._flicker_ticks and pinst.position.size and pinst.position[-1] >= self._flicker_ticks[0][0]:
            position, utc_us = self._flicker_ticks.pop(0)
            last = int(np.searchsorted(pinst.position, position))
            self._classifier.add(pinst, first, last)
            self._aggregator.severity(utc_us, self._classifier.close().pst)
            first = last
        self._classifier.add(pinst, first)

    def _wait(self, columns: WindowColumns) -> None:
        """Measure windows and let them wait for their flags."""
        if not len(columns):
            return
        old = self._waiting
        count = old.start.size
        values = np.empty((count + len(columns), self._layout.offsets[-1]))
        values[:count] = old.values
        measure_windows(
            columns, self._layout, self._settings.declared_v, self._settings.signalling_hz, values[count:]
        )
        flags = np.where(columns.flags & _UNSYNCHRONISED, int(QualityFlag.UNSYNCHRONISED), 0)
        self._waiting = _Waiting(
            np.concatenate((old.start, columns.start)),
            np.concatenate((old.end, columns.end)),
            np.concatenate((old.flags, flags)),
            values,
        )

    def _release(self) -> tuple[Intervals, Aggregates]:
        """Flag, tag and aggregate the windows whose events are all known."""
        count = int(np.searchsorted(self._waiting.end, self._events.position, side="right"))
        ready, self._waiting = self._waiting.rows(slice(count)), self._waiting.rows(slice(count, None))
        flags = ready.flags | self._events.flags(ready.start, ready.end)
        if self._saturated.size:
            first, last = np.searchsorted(self._saturated, (np.floor(ready.start), np.ceil(ready.end)))
            flags |= np.where(last > first, int(QualityFlag.SATURATED), 0)
        if self._time.known:
            flags |= np.where(self._time.uncertain(ready.end), int(QualityFlag.CLOCK), 0)
        ready = _Waiting(ready.start, ready.end, flags, ready.values)
        windows = self._intervals(ready)
        aggregates = self._aggregator.add(ready.start, ready.end, flags, ready.values, self._time)
        if count:
            self._events.forget_before(float(ready.start[-1]))
            self._saturated = self._saturated[np.searchsorted(self._saturated, np.floor(ready.start[-1])) :]
            self._time.forget_before(float(ready.start[-1]) - _LOOK_BACK_S * self._settings.rate_hz)
        return windows, aggregates

    def _intervals(self, ready: _Waiting) -> Intervals:
        count = ready.start.size
        nothing = np.full((count, self._layout.phases), np.nan)
        return Intervals(
            start=ready.start,
            end=ready.end,
            tag_us=self._time.utc_us(ready.end) if self._time.known else np.full(count, NO_TIME),
            windows=np.ones(count, np.int64),
            flags=ready.flags,
            quantities=Quantities(self._layout, ready.values, self._settings.declared_v),
            pst=nothing,
            plt=nothing,
        )

    def _results(
        self,
        windows: Intervals,
        aggregates: Aggregates,
        events: tuple[VoltageEvent, ...] = (),
        begun: tuple[Beginning, ...] = (),
        frequency: FrequencyColumns | None = None,
        half_cycles: tuple[HalfCycleRms, ...] | None = None,
        pinst: PinstColumns | None = None,
    ) -> PowerQualityResults:
        return PowerQualityResults(
            windows=windows,
            cycles_150=aggregates.cycles_150,
            ten_minutes=aggregates.ten_minutes,
            two_hours=aggregates.two_hours,
            frequency=no_frequency() if frequency is None else frequency,
            half_cycles=no_half_cycles(self._layout.phases) if half_cycles is None else half_cycles,
            pinst=no_pinst(self._layout.phases) if pinst is None else pinst,
            begun=begun,
            events=events,
        )


def _part(x: Samples, first: int) -> Samples:
    """A block of samples, contiguous."""
    part = x[:, first : first + _BLOCK]
    return part if part.flags.c_contiguous else part.copy()

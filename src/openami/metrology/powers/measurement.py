"""Everything measured of a recorded waveform: its windows one by one, and the whole.

The recording comes in pieces (`Recording`), so that an hour needs no more memory than a minute. Windows are
those of a class A instrument (ten or twelve cycles of the tracked frequency, `metrology.windows`); a
recording too short or too slow for that is measured over fitted windows (`fitted_windows`). The rule never to
be broken: a sample that is missing, not finite or at the limit of its converter never goes unmarked: windows
do not reach over missing samples, saturated ones are marked and left out of the mean while there are others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt

from openami.metrology.powers.fitted_windows import (
    LEAST_SHARE,
    LOWEST_HZ,
    fitted_windows,
    nominal_of,
    window_points,
)
from openami.metrology.powers.measured_values import MeasuredWindows, Measurement, WindowMark, Wiring
from openami.metrology.powers.phasors import complex_powers
from openami.metrology.powers.single_phase import Totals, single_phase_powers
from openami.metrology.powers.three_phase import (
    System,
    aron_phases,
    phases_from_lines,
    three_phase_powers,
)
from openami.metrology.powers.window_tally import Counted, Tally
from openami.metrology.recording.recording import Recording
from openami.metrology.windows.window_analysis import Precision, WindowColumns, WindowStream
from openami.metrology.windows.window_edges import NOMINAL_CYCLES, WindowFlag
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
C128 = npt.NDArray[np.complex128]
Mask = npt.NDArray[np.bool_]


_VOLTAGES: Final = {Wiring.FOUR_WIRE: 3, Wiring.THREE_WIRE: 3, Wiring.LINES: 3, Wiring.ARON: 2}


@dataclass(frozen=True, slots=True)
class MeasuringSettings:
    """What the recording does not tell.

    Parameters
    ----------
    wiring:
        None: four wires for three phases, otherwise each phase by itself.
    nominal_hz:
        50 or 60; None: the nearer one of what is recorded.
    skews_s:
        How much later than its sample each channel was taken, in seconds: voltages, currents, neutral. Empty:
        all at once.
    """

    wiring: Wiring | None = None
    nominal_hz: float | None = None
    skews_s: tuple[float, ...] = ()


def measure(recordings: Iterable[Recording], settings: MeasuringSettings | None = None) -> Measurement:
    """Measure a recording.

    Parameters
    ----------
    recordings:
        Its pieces in order, as `RecordedWaveform.blocks` gives them.
    settings:
        Wiring, nominal frequency, skews.

    Raises
    ------
    MeteringError
        No currents, a wiring that does not go with the channels, less than a cycle, no voltage in a recording
        too short to do without, or pieces that do not follow one another.
    """
    settings = settings or MeasuringSettings()
    pieces = iter(recordings)
    first = []
    for piece in pieces:
        first.append(piece)
        if sum(each.samples for each in first) >= _FIRST_LOOK_S * piece.rate_hz:
            break
    if not first:
        raise MeteringError("a recording without samples", expected="a cycle or more")
    meter = _Meter(first, settings)
    for piece in chain(first, pieces):
        meter.feed(piece)
    return meter.measurement()


_FIRST_LOOK_S: Final = 0.5
"""How much of the beginning is looked at to tell 50 Hz from 60 Hz."""
_NAMED_GAPS: Final = 100
_KEPT_CYCLES: Final = 40
_PROBE_REACH_CYCLES: Final = 2.6
"""How far from a window samples still move its edges: half of a frequency probe of five cycles."""
_SHORTEST_RUN_S: Final = 0.01
"""Samples between two missing ones that are shorter than this are of no use to any window."""
_SLOWEST_STREAM_HZ: Final = 1000.0
_FLAG_MARKS: Final = (
    (WindowFlag.AFTER_GAP, WindowMark.AFTER_GAP),
    (WindowFlag.UNSYNCHRONISED, WindowMark.UNSYNCHRONISED),
    (WindowFlag.REFERENCE_CHANGED, WindowMark.REFERENCE_CHANGED),
)


class _Meter:
    """The state of a measurement.

    Invariant: ``_position`` is the position after the last sample taken in; the stream, while there is one,
    has been told of every sample and gap before it. ``_runs`` holds the samples themselves where windows will
    be fitted: all of a slow recording, otherwise the longest run while no window has been found.
    """

    def __init__(self, beginning: Sequence[Recording], settings: MeasuringSettings) -> None:
        first = beginning[0]
        self._wiring = _checked_wiring(first, settings)
        alike = [piece for piece in beginning if piece.phases == first.phases]
        u = np.concatenate([self._phases_of(piece)[0] for piece in alike], axis=1)
        finite = np.where(np.isfinite(u), u, 0.0)[:, : int(_FIRST_LOOK_S * first.rate_hz) + 8]
        self._nominal_hz = settings.nominal_hz or nominal_of(finite, first.rate_hz)
        if self._nominal_hz not in NOMINAL_CYCLES:
            raise MeteringError(f"a nominal frequency of {self._nominal_hz:g} Hz", expected="50 or 60")
        self._cycles = NOMINAL_CYCLES[self._nominal_hz]
        self._rate_hz = first.rate_hz
        self._kind = (first.rate_hz, first.phases, first.neutral is not None)
        self._phase_count = u.shape[0]
        self._neutral = first.neutral is not None and self._wiring in (Wiring.FOUR_WIRE, Wiring.EACH)
        self._skews_s = _phase_skews(settings.skews_s, first, self._wiring, self._neutral)
        self._stream: WindowStream | None = None
        if self._rate_hz >= _SLOWEST_STREAM_HZ:
            self._stream = WindowStream(
                self._rate_hz,
                self._nominal_hz,
                self._phase_count,
                neutral=int(self._neutral),
                points=window_points(self._cycles * self._rate_hz / LOWEST_HZ, self._cycles),
                precision=Precision.DOUBLE,
            )
        self._begin = self._position = first.first_sample
        self._present = 0
        self._saturated = 0
        self._saturated_runs = np.empty((0, 2), np.int64)
        self._gaps: list[str] = []
        self._energy_ws = np.zeros(self._phase_count)
        self._runs: list[tuple[int, F64, F64]] = []
        self._tally = Tally()

    def feed(self, recording: Recording) -> None:
        """Take a piece in; it must be of the same recording, and lie behind the last one."""
        same = (recording.rate_hz, recording.phases, recording.neutral is not None)
        if same != self._kind or recording.first_sample < self._position:
            raise MeteringError(
                f"a piece from sample {recording.first_sample} of another recording",
                expected=f"the same rate and channels, from sample {self._position} on",
            )
        if recording.first_sample > self._position:
            self._note_gap(recording.gap, recording.first_sample - self._position)
        u, i = self._phases_of(recording)
        self._note_saturation(recording)
        present: Mask = np.all(np.isfinite(np.concatenate((u, i))), axis=0)
        for begin, end in self._usable(present):
            place = recording.first_sample + begin
            self._take(place, u[:, begin:end], i[:, begin:end])
        if not present.all():
            where = recording.first_sample + int(np.flatnonzero(~present)[0])
            self._note_gap(f"sample {where}: values are missing or not finite", int((~present).sum()))
        self._position = recording.first_sample + recording.samples

    def measurement(self) -> Measurement:
        """The whole, after the last piece."""
        if not self._tally.count:
            self._fit()
        return self._tally.measurement(
            wiring=self._wiring,
            nominal_hz=self._nominal_hz,
            rate_hz=self._rate_hz,
            energy_ws=self._energy_ws,
            present=self._present,
            samples=self._position - self._begin,
            saturated=self._saturated,
            gaps=tuple(self._gaps),
        )

    def _phases_of(self, recording: Recording) -> tuple[F64, F64]:
        """Voltages and currents of the phases, the neutral as a last current."""
        u, i = recording.u, recording.i
        if self._wiring is Wiring.ARON:
            u, i = aron_phases(u, i)
        elif self._wiring is Wiring.LINES:
            u = phases_from_lines(u)
        elif self._wiring is Wiring.THREE_WIRE:
            u = u - u.mean(axis=0)
        if recording.neutral is not None and self._wiring in (Wiring.FOUR_WIRE, Wiring.EACH):
            i = np.concatenate((i, recording.neutral[None]))
        return np.ascontiguousarray(u), np.ascontiguousarray(i)

    def _usable(self, present: Mask) -> list[tuple[int, int]]:
        """Stretches without a missing sample, those too short to be of use left out."""
        if present.all():
            return [(0, present.size)]
        edges = np.flatnonzero(np.diff(present.astype(np.int8), prepend=0, append=0))
        begins, ends = edges[::2], edges[1::2]
        shortest = _SHORTEST_RUN_S * self._rate_hz
        use = (ends - begins >= shortest) | (begins == 0) | (ends == present.size)
        return list(zip(begins[use].tolist(), ends[use].tolist(), strict=True))

    def _take(self, place: int, u: F64, i: F64) -> None:
        """Samples that are there, at their position."""
        self._present += u.shape[1]
        self._energy_ws += (u * i[: self._phase_count]).sum(axis=1) / self._rate_hz
        if self._stream is not None:
            at = self._begin + self._stream.position
            if place > at:
                self._stream.gap(place - at)
            columns = self._stream.feed(u, i)
            if len(columns):
                self._runs.clear()
                self._count(columns, self._begin, WindowMark.NONE)
        self._keep(place, u, i)

    def _keep(self, place: int, u: F64, i: F64) -> None:
        """Remember the samples for windows that are fitted."""
        if self._stream is not None and self._tally.count:
            return
        if self._runs and self._runs[-1][0] + self._runs[-1][1].shape[1] == place:
            begin, before_u, before_i = self._runs.pop()
            u, i, place = np.concatenate((before_u, u), 1), np.concatenate((before_i, i), 1), begin
        self._runs.append((place, u, i))
        if self._stream is not None:
            # A run of so many cycles without a window has no voltage to speak of.
            most = int(_KEPT_CYCLES * self._rate_hz / LOWEST_HZ)
            begin, u, i = self._runs[-1]
            self._runs[-1] = (begin, u[:, :most], i[:, :most])
            longest = max(self._runs, key=lambda run: run[1].shape[1])
            self._runs = [longest] if longest is self._runs[-1] else [longest, self._runs[-1]]

    def _fit(self) -> None:
        """Windows of what was kept."""
        refused: MeteringError | None = None
        runs = self._runs
        if self._stream is not None and runs:
            runs = [max(runs, key=lambda run: run[1].shape[1])]
        for place, u, i in runs:
            try:
                columns = fitted_windows(u, i, self._rate_hz, self._cycles)
            except MeteringError as error:
                refused = error
                continue
            self._count(columns, place, WindowMark.SHORT)
        if not self._tally.count:
            raise refused or MeteringError("every sample is missing", expected="a cycle or more in a row")

    def _count(self, columns: WindowColumns, origin: int, mark: WindowMark) -> None:
        """Windows into the tally; their positions count from ``origin``."""
        start, end = columns.start + origin, columns.end + origin
        marks = np.full(len(columns), int(mark), np.int64)
        for flag, own in _FLAG_MARKS:
            marks[(columns.flags & int(flag)) != 0] |= int(own)
        if self._saturated_runs.size:
            begins, ends = self._saturated_runs.T
            reach = _PROBE_REACH_CYCLES * self._rate_hz / columns.f_hz
            behind = np.searchsorted(ends, start - reach)
            touched = (behind < begins.size) & (begins[np.minimum(behind, begins.size - 1)] < end + reach)
            marks[touched] |= int(WindowMark.SATURATED)
        u_bins, i_bins = (np.asarray(bins, np.complex128) for bins in (columns.u_bins, columns.i_bins))
        fundamental = np.abs(u_bins[:, :, columns.cycles]) ** 2
        hardly = (fundamental < LEAST_SHARE * columns.u_v**2).all(axis=1)
        marks[hardly] |= int(WindowMark.UNSYNCHRONISED)
        totals = Totals(columns.u_v, columns.i_a[:, : self._phase_count], columns.p_w)
        if self._skews_s is not None:
            u_bins, i_bins, totals = _without_skew(columns, u_bins, i_bins, totals, self._skews_s)
        # Every angle is one against the fundamental voltage of L1, whatever instant the window began at.
        turn = -np.angle(u_bins[:, 0, columns.cycles]) / columns.cycles
        turned = np.exp(1j * turn[:, None] * np.arange(u_bins.shape[-1]))[:, None, :]
        u_bins, i_bins = u_bins * turned, i_bins * turned
        neutral = i_bins[:, self._phase_count] if self._neutral else None
        phase_i = i_bins[:, : self._phase_count]
        three = None
        if self._wiring is Wiring.EACH:
            phases = single_phase_powers(u_bins, phase_i, fundamental=columns.cycles, totals=totals)
        else:
            system = System.FOUR_WIRE if self._wiring is Wiring.FOUR_WIRE else System.THREE_WIRE
            three = three_phase_powers(
                u_bins, phase_i, system, neutral=neutral, fundamental=columns.cycles, totals=totals
            )
            phases = three.phases
        self._tally.add(
            Counted(
                MeasuredWindows(
                    start / self._rate_hz, (end - start) / self._rate_hz, columns.f_hz, marks, phases, three
                ),
                replace(columns, u_bins=u_bins, i_bins=i_bins),
            )
        )

    def _note_gap(self, told: str | None, missing: int) -> None:
        if len(self._gaps) < _NAMED_GAPS:
            self._gaps.append(told or f"{missing} samples are missing")

    def _note_saturation(self, recording: Recording) -> None:
        """Remember where samples stand at a limit; runs closer than a millisecond are one."""
        if recording.saturated is None or not recording.saturated.any():
            return
        self._saturated += int(recording.saturated.sum())
        edges = np.flatnonzero(np.diff(recording.saturated.astype(np.int8), prepend=0, append=0))
        runs = edges.reshape(-1, 2) + recording.first_sample
        runs = np.concatenate((self._saturated_runs, runs))
        apart = runs[1:, 0] - runs[:-1, 1] > self._rate_hz / 1000.0
        begins = runs[np.concatenate(([True], apart)), 0]
        ends = runs[np.concatenate((apart, [True])), 1]
        self._saturated_runs = np.stack((begins, ends), axis=1)


def _checked_wiring(first: Recording, settings: MeasuringSettings) -> Wiring:
    if not first.i.shape[0]:
        raise MeteringError("a recording without currents", expected="a current for each voltage")
    wiring = settings.wiring or (Wiring.FOUR_WIRE if first.phases == 3 else Wiring.EACH)
    wanted = _VOLTAGES.get(wiring, first.phases)
    if first.phases != wanted:
        raise MeteringError(
            f"{first.phases} voltages for the wiring {wiring.value}",
            expected=f"{wanted} voltages and currents",
        )
    return wiring


def _phase_skews(skews_s: tuple[float, ...], first: Recording, wiring: Wiring, neutral: bool) -> F64 | None:
    """Skew of each channel of the phases; None where all were sampled at once."""
    if not any(skews_s):
        return None
    if wiring in (Wiring.ARON, Wiring.LINES):
        raise MeteringError(
            f"channels sampled at different times in the wiring {wiring.value}",
            expected="simultaneous samples, or voltages against a common point",
        )
    skews = np.asarray(skews_s[: 2 * first.phases + int(neutral)])
    return skews if np.ptp(skews) > 0 else None


def _without_skew(
    columns: WindowColumns, u_bins: C128, i_bins: C128, totals: Totals, skews_s: F64
) -> tuple[C128, C128, Totals]:
    """Spectra and power as if all channels had been sampled at once."""
    phases = u_bins.shape[1]
    omega = 2.0 * np.pi * columns.f_hz[:, None] / columns.cycles * np.arange(u_bins.shape[-1])
    turned = np.exp(-1j * skews_s[:, None] * omega[:, None, :])
    before = complex_powers(u_bins, i_bins[:, :phases]).real.sum(axis=-1)
    u_bins, i_bins = u_bins * turned[:, :phases], i_bins * turned[:, phases : phases + i_bins.shape[1]]
    after = complex_powers(u_bins, i_bins[:, :phases]).real.sum(axis=-1)
    return u_bins, i_bins, replace(totals, p_w=totals.p_w + after - before)

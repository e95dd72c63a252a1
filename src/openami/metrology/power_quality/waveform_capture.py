"""Waveforms of events: what went before a trigger and what followed it, handed to a sink as a recording.

A dip, swell or interruption triggers (a rapid voltage change only turns out to be one when it is over). The
last samples are kept, so that a capture begins before its event; events that begin while one is captured are
told with it. The rule never to be broken: memory is bounded by the longest capture, whatever comes, and a
capture holds the samples as they were, without a gap inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from openami.metrology.power_quality.event_kernel import EventKind
from openami.metrology.power_quality.events import Beginning
from openami.metrology.recording.comtrade_write import RecordLabel, encode_comtrade, write_comtrade
from openami.metrology.recording.recording import Recording
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
Samples = npt.NDArray[np.float64 | np.int32]

DETECTION_S = 0.25
"""Time after which the beginning of an event is known at the latest: some cycles of 40 Hz."""


@dataclass(frozen=True, slots=True)
class Capture:
    """A captured waveform.

    Parameters
    ----------
    recording:
        Voltages and currents in V and A; ``start_us`` is the UTC of its first sample, where known.
    position:
        Absolute position of its first sample in the stream.
    triggers:
        Events that began in it, the one that triggered it first.
    trigger_sample:
        Sample of the recording at which the first one's window begins.
    """

    recording: Recording
    position: int
    triggers: tuple[Beginning, ...]
    trigger_sample: int


Sink = Callable[[Capture], None]


@dataclass(slots=True)
class _Running:
    """A capture in the making: absolute begin and end, and its triggers."""

    begin: int
    end: int
    triggers: list[Beginning]


class WaveformCapture:
    """Captures of a stream of samples.

    Invariant: the samples kept end at `position` and reach back over the time before a trigger, over the time
    that detection may take, and to the begin of a running capture.

    Parameters
    ----------
    rate_hz:
        Sampling rate.
    u_v_per_count, i_a_per_count:
        (phases,) and (currents,), V and A per count; ones for samples in V and A.
    sink:
        Takes each capture when it is full.
    before_s, after_s:
        Time before and after the beginning of an event.
    utc_us:
        UTC in microseconds of a sample position, None where not known: `PowerQualityAnalyser.utc_us`.

    Raises
    ------
    MeteringError
        Times that are none.
    """

    def __init__(
        self,
        rate_hz: float,
        u_v_per_count: F64,
        i_a_per_count: F64,
        sink: Sink,
        *,
        before_s: float = 0.2,
        after_s: float = 0.8,
        utc_us: Callable[[float], int | None] | None = None,
    ) -> None:
        if not (before_s >= 0.0 and after_s > 0.0 and np.isfinite(before_s + after_s)):
            raise MeteringError(
                f"a capture from {before_s} s before to {after_s} s after",
                expected="0 or more, and more than 0",
            )
        self._rate_hz = rate_hz
        self._u_scale = np.asarray(u_v_per_count, np.float64)
        self._i_scale = np.asarray(i_a_per_count, np.float64)
        self._sink = sink
        self._utc_us = utc_us
        self._before = round(before_s * rate_hz)
        self._after = round(after_s * rate_hz)
        self._kept = self._before + round(DETECTION_S * rate_hz)
        self._first = 0
        self._u: Samples | None = None
        self._i: Samples | None = None
        self._running: _Running | None = None

    @property
    def position(self) -> int:
        """Absolute position of the next sample."""
        return self._first + (0 if self._u is None else int(self._u.shape[1]))

    def feed(self, u: Samples, i: Samples, begun: tuple[Beginning, ...]) -> None:
        """Take the samples that the analyser was fed, and the events that it said began.

        Parameters
        ----------
        u, i:
            (phases, n) and (currents, n) as the analyser took them.
        begun:
            Of its results.

        Raises
        ------
        MeteringError
            Channels other than those of the scales.
        """
        if u.shape[0] != self._u_scale.size or i.shape != (self._i_scale.size, u.shape[1]):
            raise MeteringError(
                f"samples of shapes {u.shape} and {i.shape}",
                expected=f"{self._u_scale.size} voltages and {self._i_scale.size} currents",
            )
        kept_u: Samples = u if self._u is None else np.concatenate((self._u, u), axis=1)
        kept_i: Samples = i if self._i is None else np.concatenate((self._i, i), axis=1)
        self._u, self._i = kept_u, kept_i
        for beginning in begun:
            if beginning.kind is not EventKind.RAPID_VOLTAGE_CHANGE:
                self._trigger(beginning)
        if self._running is not None and self._running.end <= self.position:
            self._hand_out()
        keep_from = self.position - self._kept
        if self._running is not None:
            keep_from = min(keep_from, self._running.begin)
        drop = max(keep_from - self._first, 0)
        self._u, self._i = kept_u[:, drop:].copy(), kept_i[:, drop:].copy()
        self._first += drop

    def gap(self, missing_samples: int) -> None:
        """Samples are missing here: a running capture ends, and none reaches back over the gap."""
        self.close()
        self._first = self.position + missing_samples
        self._u = self._i = None

    def close(self) -> None:
        """End of the stream: a running capture is handed out as far as it got."""
        if self._running is not None:
            self._hand_out()

    def _trigger(self, beginning: Beginning) -> None:
        at = int(beginning.first_window)
        if self._running is not None and at >= self._running.end:
            self._hand_out()
        if self._running is None:
            self._running = _Running(max(at - self._before, self._first), at + self._after, [])
        self._running.triggers.append(beginning)

    def _hand_out(self) -> None:
        running, self._running = self._running, None
        if running is None or self._u is None or self._i is None:
            return
        rows = slice(running.begin - self._first, running.end - self._first)
        phases = self._u_scale.size
        u = self._u[:, rows] * self._u_scale[:, None]
        i = self._i[:, rows] * self._i_scale[:, None]
        recording = Recording(
            u=u,
            i=i[:phases],
            rate_hz=self._rate_hz,
            neutral=i[phases] if i.shape[0] > phases else None,
            start_us=None if self._utc_us is None else self._utc_us(float(running.begin)),
        )
        trigger_sample = max(int(running.triggers[0].first_window) - running.begin, 0)
        self._sink(Capture(recording, running.begin, tuple(running.triggers), trigger_sample))


def comtrade_sink(folder: Path, *, station: str = "", device: str = "", nominal_hz: float = 50.0) -> Sink:
    """A sink that writes each capture to a COMTRADE file (C37.111-2013, one .cff file) in ``folder``.

    The name tells the event and the UTC of its first sample, or its position in the stream where UTC is not
    known. An ``OSError`` or ``FormatError`` of the writer goes through to whoever feeds the capture.
    """

    def write(capture: Capture) -> None:
        start_us = capture.recording.start_us
        if start_us is None:
            when = f"sample-{capture.position}"
        else:
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=start_us)
            when = f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond:06d}Z"
        label = RecordLabel(
            station=station, device=device, nominal_hz=nominal_hz, trigger_sample=capture.trigger_sample
        )
        kind = capture.triggers[0].kind.name.lower()
        write_comtrade(folder / f"{kind}-{when}.cff", encode_comtrade(capture.recording, label))

    return write

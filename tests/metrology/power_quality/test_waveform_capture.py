"""Captured waveforms: the very samples, from before the event, in bounded memory, readable as COMTRADE."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.metrology.power_quality.analyser import PowerQualityAnalyser, PowerQualitySettings
from openami.metrology.power_quality.event_kernel import EventKind
from openami.metrology.power_quality.events import Beginning
from openami.metrology.power_quality.waveform_capture import Capture, WaveformCapture, comtrade_sink
from openami.metrology.recording.opening import open_recording
from openami.quantities.errors import MeteringError
from power_quality_world import RATE, TICK_US, sines, times

F64 = npt.NDArray[np.float64]
SETTINGS = PowerQualitySettings(RATE, 50.0, 230.0, utc_us=TICK_US)
ONES = np.ones(3)


def dipped(seconds: float = 6.0, at: tuple[float, ...] = (3.0,)) -> tuple[F64, F64]:
    u, i = sines(times(seconds)), sines(times(seconds), rms=5.0, angle=-0.5)
    for begin in at:
        u[1, round(begin * RATE) : round((begin + 0.1) * RATE)] *= 0.4
    return u, i


def captured(u: F64, i: F64, cuts: list[int], **times_s: float) -> list[Capture]:
    captures: list[Capture] = []
    analyser = PowerQualityAnalyser(SETTINGS)
    capture = WaveformCapture(RATE, ONES, ONES, captures.append, utc_us=analyser.utc_us, **times_s)
    edges = [0, *sorted(cuts), u.shape[1]]
    for a, b in pairwise(edges):
        capture.feed(u[:, a:b], i[:, a:b], analyser.feed(u[:, a:b], i[:, a:b]).begun)
    capture.close()
    return captures


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(0, 38_400), max_size=8))
def test_a_capture_holds_the_very_samples_from_before_to_after_the_event(cuts: list[int]) -> None:
    u, i = dipped()
    (capture,) = captured(u, i, cuts, before_s=0.1, after_s=0.5)
    first = capture.position
    assert capture.recording.samples == round(0.6 * RATE)
    assert np.array_equal(capture.recording.u, u[:, first : first + round(0.6 * RATE)])
    assert np.array_equal(capture.recording.i, i[:, first : first + round(0.6 * RATE)])
    assert capture.trigger_sample == round(0.1 * RATE)
    assert abs(first + capture.trigger_sample - 3.0 * RATE) < RATE / 50.0
    assert capture.triggers[0].kind is EventKind.DIP
    assert capture.triggers[0].channel == 1
    assert capture.recording.start_us == TICK_US + round(first / RATE * 1e6)


def test_events_inside_a_capture_are_told_with_it_and_later_ones_apart() -> None:
    u, i = dipped(9.0, (3.0, 3.3, 6.0))
    first, second = captured(u, i, list(range(640, 57_600, 640)), before_s=0.1, after_s=0.6)
    assert len(first.triggers) == 2
    assert len(second.triggers) == 1
    assert captured(u, i, [])[0].triggers == first.triggers  # all at once, and other times


def test_a_capture_at_the_begin_or_the_end_of_a_stream_is_as_long_as_there_are_samples() -> None:
    u, i = dipped(1.2, (0.3, 1.0))
    early, late = captured(u, i, [], before_s=0.5, after_s=0.4)
    assert early.position == 0
    assert early.trigger_sample == int(early.triggers[0].first_window)
    assert late.position + late.recording.samples == u.shape[1]


def test_a_gap_ends_a_capture_and_none_reaches_over_it() -> None:
    captures: list[Capture] = []
    capture = WaveformCapture(RATE, ONES, ONES, captures.append, before_s=1.0, after_s=1.0)
    u = sines(times(1.0))
    capture.feed(u, u, (Beginning(EventKind.DIP, 0, 3000.0),))
    capture.gap(1000)
    assert (captures[0].position, captures[0].recording.samples) == (0, 6400)
    assert capture.position == 7400
    capture.feed(u, u, (Beginning(EventKind.SWELL, 0, 7500.0),))
    capture.close()
    assert captures[1].position == 7400
    assert captures[1].trigger_sample == 100


def test_rapid_changes_trigger_nothing_and_memory_is_bounded() -> None:
    captures: list[Capture] = []
    capture = WaveformCapture(RATE, ONES, ONES, captures.append, before_s=0.2, after_s=0.5)
    u = sines(times(1.0))
    for second in range(20):
        capture.feed(u, u, (Beginning(EventKind.RAPID_VOLTAGE_CHANGE, 0, second * RATE + 10.0),))
        assert capture._u is not None
        assert capture._u.shape[1] <= 0.5 * RATE
    assert captures == []


def test_neutral_current_and_scales() -> None:
    captures: list[Capture] = []
    capture = WaveformCapture(RATE, np.full(1, 0.5), np.array([0.25, 2.0]), captures.append)
    u = np.full((1, 8000), 100, np.int32)
    i = np.array([np.full(8000, 40), np.full(8000, 3)], np.int32)
    capture.feed(u, i, (Beginning(EventKind.DIP, 0, 2000.0),))
    (found,) = captures
    assert found.recording.u[0, 0] == 50.0
    assert found.recording.i[0, 0] == 10.0
    assert found.recording.neutral is not None
    assert found.recording.neutral[0] == 6.0
    with pytest.raises(MeteringError, match="shapes"):
        capture.feed(u, i[:1], ())


def test_the_sink_writes_comtrade_that_reads_back(tmp_path: Path) -> None:
    u, i = dipped()
    analyser = PowerQualityAnalyser(replace(SETTINGS, utc_us=TICK_US))
    sink = comtrade_sink(tmp_path, station="bench", device="openami")
    capture = WaveformCapture(RATE, ONES, ONES, sink, before_s=0.1, after_s=0.3, utc_us=analyser.utc_us)
    capture.feed(u, i, analyser.feed(u, i).begun)
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("dip-2023")
    assert path.suffix == ".cff"
    back = open_recording(path).read()
    first = round((back.start_us - TICK_US) / 1e6 * RATE)  # type: ignore[operator]
    assert back.rate_hz == RATE
    assert back.samples == round(0.4 * RATE)
    assert np.abs(back.u - u[:, first : first + back.samples]).max() < 1e-6
    assert np.abs(back.i - i[:, first : first + back.samples]).max() < 1e-6


@pytest.mark.parametrize("times_s", [{"before_s": -0.1}, {"after_s": 0.0}, {"after_s": np.inf}])
def test_times_that_are_none_are_refused(times_s: dict[str, float]) -> None:
    with pytest.raises(MeteringError, match="capture"):
        WaveformCapture(RATE, ONES, ONES, lambda capture: None, **times_s)

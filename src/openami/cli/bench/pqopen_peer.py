"""Drives the peer pqopen-lib over a file of samples, by the peers' interpreter in a process of its own.

``python pqopen_peer.py samples.npz result.json``. The NPZ holds ``u`` and ``i``, float64 (phases, samples)
in V and A, ``rate_hz``, ``nominal_hz``, and optionally ``harmonics`` (50; 0 for none), ``flicker`` (0 or
1), ``start_us`` (UTC microseconds of sample 0; with it windows are resynchronised at the ten minutes),
``chunk`` (samples handed over at a time; a second), ``declared_v`` (with it deviations, dips and swells are
looked for), ``repeats`` (how often the same samples are analysed anew; the best time counts). The JSON says
what was computed, the processor time of the analysis alone (``cpu_s``), every ten-cycle window and events.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


def main(samples: Path, result: Path) -> None:
    """Analyse the file, write the result."""
    with np.load(samples) as archive:
        task = {name: archive[name] for name in archive.files}
    u, i = task["u"], task["i"]
    rate_hz = float(task["rate_hz"])
    chunk = int(task.get("chunk", rate_hz))
    best = np.inf
    for _ in range(int(task.get("repeats", 1))):
        system, buffers, clock = _system(task, rate_hz, u.shape)
        events: list[Any] = []
        controller = None
        begin = time.process_time()
        for first in range(0, u.shape[1], chunk):
            part = slice(first, first + chunk)
            for buffer, samples_of_channel in zip(buffers, (*u, *i), strict=True):
                buffer.put_data(samples_of_channel[part])
            count = samples_of_channel[part].size
            clock.put_data(int(task.get("start_us", 0)) + (first + np.arange(count)) * 1e6 / rate_hz)
            system.process()
            if "declared_v" in task:
                controller = controller or _controller(task, rate_hz, system, clock)
                events += controller.process()
        best = min(best, time.process_time() - begin)
    result.write_text(json.dumps(_document(system, u.shape, rate_hz, best, task, events)), "utf-8")


def _system(task: dict[str, Any], rate_hz: float, shape: tuple[int, int]) -> tuple[Any, list[Any], Any]:
    power_system = importlib.import_module("pqopen.powersystem")
    channels = importlib.import_module("daqopen.channelbuffer")
    phases, size = shape
    buffers = [channels.AcqBuffer(size + 1, dtype=np.float64) for _ in range(2 * phases)]
    clock = channels.AcqBuffer(size + 1, dtype=np.float64)
    nominal_hz = float(task["nominal_hz"])
    system = power_system.PowerSystem(
        zcd_channel=buffers[0],
        input_samplerate=rate_hz,
        nominal_frequency=nominal_hz,
        nper=round(nominal_hz / 5),
    )
    for phase in range(phases):
        system.add_phase(u_channel=buffers[phase], i_channel=buffers[phases + phase])
    if int(task.get("harmonics", 50)):
        system.enable_harmonic_calculation(int(task.get("harmonics", 50)))
    if "start_us" in task or int(task.get("flicker", 0)):
        system.enable_nper_abs_time_sync(clock)
    if int(task.get("flicker", 0)):
        system._time_channel = clock
        system.enable_fluctuation_calculation(nominal_voltage=230)
    if "declared_v" in task:
        system.enable_under_over_deviation_calculation(float(task["declared_v"]))
    return system, buffers, clock


def _controller(task: dict[str, Any], rate_hz: float, system: Any, clock: Any) -> Any:
    """Detectors of dips and swells on Urms(1/2); the channels are there once samples were processed."""
    detection = importlib.import_module("pqopen.eventdetector")
    controller = detection.EventController(clock, rate_hz)
    declared_v = float(task["declared_v"])
    for phase in range(task["u"].shape[0]):
        channel = system.output_channels[f"U{phase + 1}_1p_hp_rms"]
        for kind, limit in (("EventDetectorLevelLow", 0.9), ("EventDetectorLevelHigh", 1.1)):
            detector = getattr(detection, kind)(limit * declared_v, 0.02 * declared_v, channel)
            controller.add_event_detector(detector)
    return controller


def _document(
    system: Any, shape: tuple[int, int], rate_hz: float, cpu_s: float, task: dict[str, Any], events: list[Any]
) -> dict[str, Any]:
    phases, size = shape
    names = [str(phase + 1) for phase in range(phases)]
    computed = [
        "rms and active power of a cycle and of ten cycles",
        "rms of half cycles",
        "frequency of a cycle",
        "reactive power (unsigned)",
    ]
    windows: dict[str, Any] = {
        "stop_sample": _column(system, "U1_rms")[1],
        "u_v": [_column(system, f"U{name}_rms")[0] for name in names],
        "i_a": [_column(system, f"I{name}_rms")[0] for name in names],
        "p_w": [_column(system, f"P{name}")[0] for name in names],
    }
    if int(task.get("harmonics", 50)):
        computed += [
            "harmonic and interharmonic subgroups of U and I",
            "THD",
            "unbalance",
            "fundamental P1 and Q1",
        ]
        windows["q1_var"] = [_column(system, f"Q{name}_H1")[0] for name in names]
        windows["u_subgroups"] = [_column(system, f"U{name}_H_rms")[0] for name in names]
        windows["i_subgroups"] = [_column(system, f"I{name}_H_rms")[0] for name in names]
    if "start_us" in task:
        computed.append("resynchronisation at the ten minutes")
    if int(task.get("flicker", 0)):
        computed.append("flicker")
        windows["pst"] = [_column(system, f"U{name}_pst")[0] for name in names]
    if "declared_v" in task:
        computed += ["under- and overdeviation", "dips and swells of each channel by Urms(1/2)"]
    return {
        "library": "pqopen-lib",
        "version": version("pqopen-lib"),
        "computed": computed,
        "phases": phases,
        "rate_hz": rate_hz,
        "seconds": size / rate_hz,
        "cpu_s": cpu_s,
        "meter_s_per_s": size / rate_hz / cpu_s,
        "windows": windows,
        "values_of_a_window": sum(
            int(np.prod(channel._data.shape[1:], dtype=int))
            for kinds in (system._calc_channels, *(phase._calc_channels for phase in system._phases))
            for group in kinds["multi_period"].values()
            for channel in group.values()
        ),
        "frequency_hz": _column(system, "Freq")[0],
        "events": [
            {
                "channel": event.channel,
                "kind": event.type,
                "start_s": event.start_sidx / rate_hz,
                "stop_s": event.stop_sidx / rate_hz,
                "extreme_v": event.extrem_value,
            }
            for event in events
            if event.stop_sidx is not None
        ],
    }


def _column(system: Any, name: str) -> tuple[list[Any], list[int]]:
    """Values of an output channel and the samples behind them; its ring keeps the last 5,000."""
    channel = system.output_channels[name]
    filled = channel._acq_sidx >= 0
    order = np.argsort(channel._acq_sidx[filled])
    values: F64 = channel._data[filled][order].astype(np.float64)
    places: npt.NDArray[np.int64] = channel._acq_sidx[filled][order]
    return values.tolist(), places.tolist()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

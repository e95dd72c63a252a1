"""Bench of windows: cycle folding, the whole pipeline, and how far each is from the truth.

Three phases (six channels) at 6.4 kHz, 24-bit counts, 49.3 Hz, in processor time on one core, best of
several passes. Speeds are in meter-seconds a second: seconds of one three-phase meter analysed in a second.
The peer, pqopen-lib, gets the very same samples through a file and runs in an environment of its own; its
speed counts with harmonics and without flicker, which is what the pipeline beside it computes, too.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openami.cli.bench.figures import Figure, peers_python
from openami.metrology.windows.cycle_folding import FoldedSpectra
from openami.metrology.windows.fractional_sums import window_sums
from openami.metrology.windows.window_analysis import Detail, WindowColumns, WindowStream

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]

GOAL_FOLDING = 30_000.0
GOAL_PIPELINE = 16_000.0
GOAL_PPM = {"u": 1.0, "p": 2.0, "u5": 2.0, "q1": 2.0, "i13": 20.0}

_RATE_HZ = 6400.0
_F_HZ = 49.3
_SECONDS = 60
_ACCURACY_SECONDS = 20
_FEED = 64_000  # ten seconds at a time
_BLOCK = 50  # windows at a time: ten seconds, too
_PASSES = 7
_SETTLED = 3  # first windows that are not compared: the peer's filter settles
_U_V_PER_COUNT = 460.0 / 2**23
_I_A_PER_COUNT = 100.0 / 2**23
_PEER = "pqopen-lib"

Tone = tuple[int, float, float]
_VOLTAGE: tuple[Tone, ...] = ((1, 230.0, 0.0), (3, 8.74, 1.0), (5, 23.0, 2.0), (7, 3.91, 0.3))
_CURRENT: tuple[Tone, ...] = (
    (1, 10.0, -np.pi / 3), (3, 3.0, 1.0), (5, 4.0, 0.2), (7, 1.4, 2.0), (11, 0.9, 1.0), (13, 0.5, 0.7),
)  # fmt: skip


def run() -> dict[str, Figure]:
    """Meter-seconds a second, and the largest error of a window in ppm, beside the peer's."""
    u, i = _samples(_SECONDS)
    folding, pipeline, folded_stream = (
        _folding(u, i),
        _pipeline(u, i, Detail.BINS),
        _pipeline(u, i, Detail.HARMONICS),
    )
    ours = _errors_ppm(_stream(Detail.BINS).feed(*_samples(_ACCURACY_SECONDS)))
    peer = _peer()
    theirs = peer["errors_ppm"] if peer else {}
    name = _PEER if peer else None
    unit = "meter-s/s"
    return {
        "harmonics_by_cycle_folding": Figure(folding, unit, goal=GOAL_FOLDING),
        "harmonics_by_cycle_folding_with_tracking": Figure(folded_stream, unit),
        "window_pipeline": Figure(
            pipeline, unit, name, peer["meter_s_per_s"] if peer else None, goal=GOAL_PIPELINE
        ),
        **{f"{key}_error": Figure(ours[key], "ppm", name, theirs.get(key)) for key in GOAL_PPM},
        "least_margin_of_accuracy": Figure(
            min(limit / ours[key] for key, limit in GOAL_PPM.items()), "limit/error", goal=1.0
        ),
    }


def _samples(seconds: int) -> tuple[I32, I32]:
    angle = 2 * np.pi * _F_HZ * np.arange(int(seconds * _RATE_HZ)) / _RATE_HZ

    def counts(tones: Sequence[Tone], per_count: float) -> I32:
        rows = [
            sum(
                np.sqrt(2) * rms * np.sin(order * (angle - 2 * np.pi / 3 * phase) + at)
                for order, rms, at in tones
            )
            for phase in range(3)
        ]
        return np.round(np.array(rows) / per_count).astype(np.int32)

    return counts(_VOLTAGE, _U_V_PER_COUNT), counts(_CURRENT, _I_A_PER_COUNT)


def _stream(detail: Detail) -> WindowStream:
    return WindowStream(_RATE_HZ, 50.0, 3, u_scale=_U_V_PER_COUNT, i_scale=_I_A_PER_COUNT, detail=detail)


def _folding(u: I32, i: I32) -> float:
    """Rms values, active power and harmonics 0 to 63 of windows whose edges are known (as a meter's are)."""
    length = np.full(int(u.shape[1] / (10 * _RATE_HZ / _F_HZ)) - 2, 10 * _RATE_HZ / _F_HZ)
    start = 700.3 + np.concatenate(([0.0], np.cumsum(length)[:-1]))
    sample = start.astype(np.int64)
    spectra = FoldedSpectra(10, int(length[0]) + 1, np.full(3, _U_V_PER_COUNT), np.full(3, _I_A_PER_COUNT))
    means = [np.empty((length.size, 3)) for _ in range(3)]

    def work() -> None:
        for first in range(0, length.size, _BLOCK):
            block = slice(first, first + _BLOCK)
            places = sample[block], start[block] - sample[block], length[block]
            window_sums(u, i, *places, *(mean[block] for mean in means))
            spectra(u, i, *places)

    return float(length.sum() / _RATE_HZ) / _best(work)


def _pipeline(u: I32, i: I32, detail: Detail) -> float:
    """Everything from samples to windows: tracking, edges, rms values, power, spectra."""

    def work() -> None:
        stream = _stream(detail)
        for first in range(0, u.shape[1], _FEED):
            stream.feed(u[:, first : first + _FEED], i[:, first : first + _FEED])

    return _SECONDS / _best(work)


def _best(work: Callable[[], None]) -> float:
    work()  # compiles
    best = np.inf
    for _ in range(_PASSES):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return float(best)


def _truth() -> dict[str, float]:
    currents = {order: (rms, at) for order, rms, at in _CURRENT}
    pairs = [(rms, at, *currents[order]) for order, rms, at in _VOLTAGE if order in currents]
    return {
        "u": float(np.sqrt(sum(rms**2 for _, rms, _ in _VOLTAGE))),
        "p": float(sum(ru * ri * np.cos(au - ai) for ru, au, ri, ai in pairs)),
        "u5": 23.0,
        "q1": 230.0 * 10.0 * float(np.sin(np.pi / 3)),
        "i13": 0.5,
    }


def _errors_ppm(windows: WindowColumns) -> dict[str, float]:
    u_bins, i_bins = windows.u_bins.astype(np.complex128), windows.i_bins.astype(np.complex128)
    return _largest_ppm(
        {
            "u": windows.u_v,
            "p": windows.p_w,
            "u5": np.abs(u_bins[..., 50]),
            "q1": (u_bins[..., 10] * i_bins[..., 10].conj()).imag,
            "i13": np.abs(i_bins[..., 130]),
        }
    )


def _largest_ppm(found: dict[str, F64]) -> dict[str, float]:
    truth = _truth()
    return {
        key: 1e6 * float(np.abs(values[_SETTLED:] / truth[key] - 1).max()) for key, values in found.items()
    }


def _peer() -> dict[str, Any] | None:
    """Errors and speed of the peer on the same samples; None where its environment was not made."""
    python = peers_python()
    if python is None:
        return None
    u, i = _samples(_ACCURACY_SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        samples, result = Path(folder, "samples.npz"), Path(folder, "result.json")
        np.savez(
            samples, u=u * _U_V_PER_COUNT, i=i * _I_A_PER_COUNT, rate_hz=_RATE_HZ, nominal_hz=50.0, repeats=3
        )
        driver = Path(__file__).with_name("pqopen_peer.py")
        subprocess.run([str(python), str(driver), str(samples), str(result)], check=True, capture_output=True)
        document = json.loads(result.read_text("utf-8"))
    windows = {name: np.array(rows).T for name, rows in document["windows"].items() if name != "stop_sample"}
    return {
        "meter_s_per_s": document["meter_s_per_s"],
        "errors_ppm": _largest_ppm(
            {
                "u": windows["u_v"],
                "p": windows["p_w"],
                "u5": windows["u_subgroups"][5],
                "q1": windows["q1_var"],
                "i13": windows["i_subgroups"][13],
            }
        ),
    }

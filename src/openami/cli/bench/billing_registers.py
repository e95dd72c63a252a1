"""What billing registers cost: meter-seconds a second of the energy path, from a cache and from memory.

One core, 6.4 kHz, three phases (six channels): Σu², Σi², Σu·i, fundamental active and reactive, harmonic,
four quadrants, apparent, V²h and A²h, every register by phase and in total. A block is fed again and again;
time is the processor's, best of several. Beside it stands the bare kernel of the three plain sums.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.cli.bench.figures import Figure
from openami.metrology.energy.energy_path import EnergyPath
from openami.metrology.energy.settings import EnergySettings

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

RATE_HZ = 6400.0
U_V, I_A = 460 / 2**23, 100 / 2**23
CACHED_S = 5
"""A block of 768 KB: it stays in the second-level cache of 1 MB that each core of a server has."""
STREAMED_S = 600
HOUR_S = 3600
GOAL_CACHED = 300_000.0
GOAL_STREAMED = 100_000.0
_BUDGET_S = 4.0


def run() -> dict[str, Figure]:
    """Measure."""
    cached = samples(CACHED_S)
    wandering = samples(CACHED_S, wander_hz=0.02)
    streamed = samples(STREAMED_S)
    sums = np.zeros(9, np.int64)
    figures = {
        "billing_registers_cached": Figure(fed(cached), "meter-s/s", goal=GOAL_CACHED),
        "billing_registers_streamed": Figure(fed(streamed), "meter-s/s", goal=GOAL_STREAMED),
        "billing_registers_cached_frequency_wandering": Figure(fed(wandering), "meter-s/s"),
        "plain_sums_cached": Figure(best(CACHED_S, lambda: plain_sums(*cached, sums)), "meter-s/s"),
        "plain_sums_streamed": Figure(best(STREAMED_S, lambda: plain_sums(*streamed, sums)), "meter-s/s"),
    }
    rate, growth = hour_of_streaming(cached)
    figures["hour_in_pieces_of_100_ms"] = Figure(rate, "meter-s/s")
    figures["memory_growth_over_an_hour"] = Figure(growth, "KiB")
    return figures


def samples(seconds: int, wander_hz: float = 0.0) -> tuple[I32, I32]:
    """A distorted three-phase load at 50 Hz: 10 % fifth harmonic of voltage, 40 % of current.

    With ``wander_hz`` the frequency swings by as much, once in 2.5 s: the reference is then made anew for
    every window.
    """
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    turns = 50.0 * t + wander_hz * np.sin(2 * np.pi * 0.4 * t) / (2 * np.pi * 0.4)
    u, i = (np.empty((3, t.size), np.int32) for _ in range(2))
    for phase in range(3):
        angle = 2 * np.pi * (turns - phase / 3 - np.floor(turns))
        u[phase] = np.rint(np.sqrt(2) * 230 * (np.cos(angle) + 0.1 * np.cos(5 * angle)) / U_V)
        i[phase] = np.rint(np.sqrt(2) * 10 * (np.cos(angle - 1.05) + 0.4 * np.cos(5 * angle)) / I_A)
    return u, i


def fed(block: tuple[I32, I32]) -> float:
    """Meter-seconds a second of an energy path that is fed a block again and again."""
    path = EnergyPath(EnergySettings(3, RATE_HZ, (U_V,) * 3, (I_A,) * 3))
    for _ in range(2):
        path.feed(*block)
    return best(block[0].shape[1] / RATE_HZ, lambda: path.feed(*block))


def best(seconds: float, work: Callable[[], object]) -> float:
    """Meter-seconds a second of work on so many seconds of samples: the best round of 4 s of rounds."""
    work()
    times: list[float] = []
    rounds = max(1, int(STREAMED_S / seconds / 4))
    begin = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < _BUDGET_S:
        start = time.process_time()
        for _ in range(rounds):
            work()
        times.append((time.process_time() - start) / rounds)
    return seconds / min(times)


def hour_of_streaming(block: tuple[I32, I32]) -> tuple[float, float]:
    """An hour in pieces of 100 ms: meter-seconds a second, and KiB by which the process has grown."""
    path = EnergyPath(EnergySettings(3, RATE_HZ, (U_V,) * 3, (I_A,) * 3))
    u, i = block
    piece = int(RATE_HZ / 10)
    pieces = [(u[:, k : k + piece], i[:, k : k + piece]) for k in range(0, u.shape[1], piece)]
    for part in pieces:
        path.feed(*part)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    for _ in range(HOUR_S // CACHED_S):
        for part in pieces:
            path.feed(*part)
    seconds = time.process_time() - start
    return HOUR_S / seconds, float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


@njit(cache=True, nogil=True, error_model="numpy")
def plain_sums(u: I32, i: I32, sums: I64) -> None:  # pragma: no cover - compiled
    """Σu², Σi², Σu·i of three phases in windows of 1280 samples, added to ``sums`` (9,)."""
    for window in range(u.shape[1] // 1280):
        for phase in range(3):
            x = u[phase, window * 1280 : (window + 1) * 1280]
            y = i[phase, window * 1280 : (window + 1) * 1280]
            uu = ii = ui = np.int64(0)
            for k in range(1280):
                a, b = np.int64(x[k]), np.int64(y[k])
                uu += a * a
                ii += b * b
                ui += a * b
            sums[3 * phase] += uu
            sums[3 * phase + 1] += ii
            sums[3 * phase + 2] += ui

"""Supplies for the tests of power quality: sines with steps, as volts or as counts of a 24-bit converter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from openami.metrology.power_quality.half_cycle_rms import HalfCycleRms

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]

RATE = 6400.0
U_V_PER_COUNT = 460.0 / 2**23
I_A_PER_COUNT = 100.0 / 2**23
SHIFTS = (0.0, -2 * np.pi / 3, 2 * np.pi / 3)
TICK_US = 1_700_000_400_000_000  # a UTC ten minutes
assert TICK_US % 600_000_000 == 0


def times(seconds: float, rate_hz: float = RATE) -> F64:
    return np.arange(round(seconds * rate_hz)) / rate_hz


def sines(
    t: F64,
    f_hz: float = 50.0,
    rms: float = 230.0,
    *,
    phases: int = 3,
    angle: float = 0.0,
    harmonics: tuple[tuple[int, float, float], ...] = (),
) -> F64:
    """(phases, n); harmonics are (order, share of the fundamental, phase)."""
    rows = []
    for shift in SHIFTS[:phases]:
        theta = 2 * np.pi * f_hz * t + shift + angle
        row = np.sin(theta)
        for order, share, at in harmonics:
            row = row + share * np.sin(order * theta + at)
        rows.append(np.sqrt(2) * rms * row)
    return np.array(rows)


def counts(x: F64, per_count: float) -> I32:
    return np.round(x / per_count).astype(np.int32)


def half_cycles(
    values: Callable[[F64], F64], seconds: float, *, f_hz: float = 50.0, shift: float = 0.0
) -> HalfCycleRms:
    """Urms(1/2) columns without a waveform behind them: ``values`` of the windows' start times in s."""
    period = RATE / f_hz
    start = np.arange(round(2 * f_hz * seconds)) * period / 2 + shift * period
    none = np.zeros(start.size, np.bool_)
    return HalfCycleRms(
        start=start,
        period=np.full(start.size, period),
        u_v=np.asarray(values(start / RATE), np.float64),
        i_a=np.empty(0),
        rising=np.arange(start.size) % 2 == 0,
        held=none,
    )


def cut(columns: HalfCycleRms, first: int, last: int) -> HalfCycleRms:
    rows = slice(first, last)
    return HalfCycleRms(
        columns.start[rows], columns.period[rows], columns.u_v[rows], columns.i_a[rows], columns.rising[rows],
        columns.held[rows],
    )  # fmt: skip

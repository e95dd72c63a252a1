"""Signals whose truth is known, as counts of a 24-bit converter or as volts and amperes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
Tone = tuple[float, float, float]
"""Multiple of the fundamental, rms value, phase in radians (sine convention) at sample 0."""

U_V_PER_COUNT = 460.0 / 2**23
I_A_PER_COUNT = 100.0 / 2**23

VOLTAGE: tuple[Tone, ...] = (
    (1, 230.0, 0.0), (3, 8.74, 1.0), (5, 23.0, 2.0), (7, 3.91, 0.3), (23, 2.3, 0.1),
)  # fmt: skip
CURRENT: tuple[Tone, ...] = (
    (1, 10.0, -np.pi / 3), (3, 3.0, 1.0), (5, 4.0, 0.2), (7, 1.4, 2.0), (11, 0.9, 1.0), (13, 0.5, 0.7),
    (23, 0.2, 0.2),
)  # fmt: skip


def tones(parts: Sequence[Tone], f_hz: float, rate_hz: float, samples: int, shift: float = 0.0) -> F64:
    """Sum of tones; ``shift`` in radians moves the whole signal in time."""
    angle = 2 * np.pi * f_hz * np.arange(samples) / rate_hz + shift
    return np.sum([np.sqrt(2) * rms * np.sin(order * angle + phase) for order, rms, phase in parts], axis=0)


def counts(x: F64, per_count: float) -> npt.NDArray[np.int32]:
    return np.round(x / per_count).astype(np.int32)


def true_rms(parts: Sequence[Tone]) -> float:
    return float(np.sqrt(sum(rms**2 for _, rms, _ in parts)))


def active_power(u: Sequence[Tone], i: Sequence[Tone]) -> float:
    """Sum of U I cos(phi) over equal frequencies."""
    currents = {order: (rms, phase) for order, rms, phase in i}
    return float(
        sum(
            rms * currents[order][0] * np.cos(phase - currents[order][1])
            for order, rms, phase in u
            if order in currents
        )
    )

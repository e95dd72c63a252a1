"""Phase and frequency of the fundamental, 40 Hz to 70 Hz, by probes: windowed projections on one tone.

A probe is the inner product of the samples around a sample ``m`` with ``cos^p(pi n / L) exp(-j 2 pi f n /
rate)`` (windows of fastest side-lobe decay: Rife and Vincent 1970, class I; Nuttall 1981). Its result is an
rms phasor whose angle is the phase *at* ``m``: the window is symmetric, so neither a wrong centre frequency
nor a linear ramp of the frequency biases it. Two sorts are used: *coarse* probes of three nominal cycles,
once a cycle, count cycles from nothing (no lock, no state); *fine* probes of five actual cycles stand at
the edges of windows, where their leakage from the negative frequency and from harmonics is below 1e-7 rad.

The rule never to be broken here: a probe depends on the samples around its position and on nothing else, so
that no cut of the stream can change it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Samples = npt.NDArray[np.float64 | np.int32]

LOWEST_HZ = 40.0
HIGHEST_HZ = 70.0
"""Range in which the fundamental is tracked (class A asks for 42.5-57.5 Hz and 51-69 Hz)."""

LOWEST_RATE_HZ = 1000.0
HIGHEST_RATE_HZ = 1e7
"""Sampling rates that are taken: enough samples of a cycle, and windows that memory can hold."""

_FLOOR_HZ = LOWEST_HZ - 2.0  # what coarse probes may say of fundamentals at the ends of the range
_CEILING_HZ = HIGHEST_HZ + 2.0
_FINE_CYCLES = 5.0
_FINE_ORDER = 6
_COARSE_CYCLES = 3.0
_COARSE_ORDER = 4
_LENGTH_STEP = 1.0125  # ratio of neighbouring fine probes: a length fits the actual cycles to 0.6 %


class Probes(NamedTuple):
    """The kernels of all probes at one sampling rate, each of odd length and centred."""

    rate_hz: float
    nominal_hz: float
    hop: int
    """Distance of coarse probes in samples: one nominal cycle."""
    coarse_cos: F64
    """(2 c + 1,), projection on the nominal frequency."""
    coarse_sin: F64
    fine_cos: F64
    """(rows, 2 m + 1), each row for a frequency of its own, zero outside its own length."""
    fine_sin: F64
    fine_half: I64
    """(rows,), half length of each row."""

    @property
    def coarse_margin(self) -> int:
        """Samples that a coarse probe needs on either side."""
        return int(self.coarse_cos.size // 2)

    @property
    def fine_margin(self) -> int:
        """Samples that the longest fine probe needs on either side."""
        return int(self.fine_cos.shape[1] // 2)


@lru_cache(maxsize=16)
def probes(rate_hz: float, nominal_hz: float) -> Probes:
    """The probes for a sampling rate in Hz and a nominal frequency of 50 or 60 Hz.

    Raises
    ------
    MeteringError
        The nominal frequency is neither 50 nor 60 Hz, or the rate is not within 1 kHz and 10 MHz.
    """
    if nominal_hz not in (50.0, 60.0):
        raise MeteringError(f"a nominal frequency of {nominal_hz} Hz", expected="50 or 60 Hz")
    if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
        raise MeteringError(
            f"a sampling rate of {rate_hz:g} Hz", expected=f"{LOWEST_RATE_HZ:g} to {HIGHEST_RATE_HZ:g} Hz"
        )
    coarse = _kernel(_COARSE_CYCLES, _COARSE_ORDER, nominal_hz, rate_hz)
    rows = int(np.ceil(np.log(_CEILING_HZ / _FLOOR_HZ) / np.log(_LENGTH_STEP))) + 1
    fine = [_kernel(_FINE_CYCLES, _FINE_ORDER, _FLOOR_HZ * _LENGTH_STEP**row, rate_hz) for row in range(rows)]
    half = np.array([kernel.size // 2 for kernel in fine], np.int64)
    widest = int(half.max())
    table = np.zeros((rows, 2 * widest + 1), np.complex128)
    for row, kernel in enumerate(fine):
        table[row, widest - half[row] : widest + half[row] + 1] = kernel
    return Probes(
        rate_hz,
        nominal_hz,
        round(rate_hz / nominal_hz),
        np.ascontiguousarray(coarse.real),
        np.ascontiguousarray(coarse.imag),
        np.ascontiguousarray(table.real),
        np.ascontiguousarray(table.imag),
        half,
    )


def _kernel(cycles: float, order: int, frequency_hz: float, rate_hz: float) -> npt.NDArray[np.complex128]:
    """Projection on a tone, such that a tone of rms 1 gives a phasor of magnitude 1."""
    length = cycles * rate_hz / frequency_hz
    half = int(np.ceil(length / 2.0)) - 1
    n = np.arange(-half, half + 1)
    window = np.cos(np.pi * n / length) ** order
    tone: npt.NDArray[np.complex128] = np.exp(-2j * np.pi * frequency_hz / rate_hz * n)
    return np.asarray(np.sqrt(2.0) / window.sum() * window * tone)


@njit(
    cache=True, nogil=True, fastmath=True
)  # sums may be reordered: the error stays below 1e-13 of the phasor
def project(
    x: Samples, centre: int, cosine: F64, sine: F64
) -> tuple[float, float]:  # pragma: no cover - compiled
    """Inner product of the samples around ``centre`` with a kernel of odd length: real and imaginary part."""
    first = centre - cosine.size // 2
    around = x[first : first + cosine.size]  # a slice: indices that cannot be negative are summed as vectors
    real = 0.0
    imaginary = 0.0
    for n in range(cosine.size):
        value = float(around[n])
        real += value * cosine[n]
        imaginary += value * sine[n]
    return real, imaginary


@njit(cache=True, nogil=True)
def fine_probe(
    x: Samples, centre: int, frequency_hz: float, kernels: Probes
) -> tuple[float, float]:  # pragma: no cover - compiled
    """Rms phasor at a sample by the fine probe nearest to a frequency: real and imaginary part."""
    position = np.log(frequency_hz / _FLOOR_HZ) / np.log(_LENGTH_STEP)
    row = min(max(int(position + 0.5), 0), kernels.fine_half.size - 1)
    middle = kernels.fine_cos.shape[1] // 2
    half = kernels.fine_half[row]
    cosine = kernels.fine_cos[row, middle - half : middle + half + 1]
    sine = kernels.fine_sin[row, middle - half : middle + half + 1]
    return project(x, centre, cosine, sine)


@njit(cache=True, nogil=True)
def phase_and_slope(
    x: Samples, centre: int, frequency_hz: float, kernels: Probes
) -> tuple[float, float]:  # pragma: no cover - compiled
    """Phase at ``centre`` and its advance to the next sample, both in radians, by two fine probes."""
    here = fine_probe(x, centre, frequency_hz, kernels)
    there = fine_probe(x, centre + 1, frequency_hz, kernels)
    phase = np.arctan2(here[1], here[0])
    return phase, (np.arctan2(there[1], there[0]) - phase) % (2.0 * np.pi)


@njit(cache=True, nogil=True)
def hop_frequency(
    before: tuple[float, float], after: tuple[float, float], kernels: Probes
) -> float:  # pragma: no cover - compiled
    """Frequency in Hz between two coarse phasors a hop apart; 0 where it is out of range.

    Of the frequencies that explain the two phases the one nearest to the nominal frequency is taken: they
    lie a nominal frequency apart, so every fundamental between 25 and 75 Hz (30 and 90 Hz) is told from
    nothing.
    """
    real = after[0] * before[0] + after[1] * before[1]
    imaginary = after[1] * before[0] - after[0] * before[1]
    advance = np.arctan2(imaginary, real) / (2.0 * np.pi)
    advance += np.floor(kernels.nominal_hz * kernels.hop / kernels.rate_hz - advance + 0.5)
    frequency_hz = advance * kernels.rate_hz / kernels.hop
    return frequency_hz if _FLOOR_HZ <= frequency_hz <= _CEILING_HZ else 0.0


def frequency(voltage: Samples, rate_hz: float, *, nominal_hz: float = 50.0) -> float:
    """Mean frequency in Hz of the fundamental of a recorded voltage.

    Parameters
    ----------
    voltage:
        float64 or int32 (samples,), about nine cycles or more.
    rate_hz, nominal_hz:
        Sampling rate; 50 or 60.

    Returns
    -------
    float
        Cycles between the first and the last place where a fine probe fits, divided by the time between them.

    Raises
    ------
    MeteringError
        The recording is too short, or holds no fundamental between 40 Hz and 70 Hz.
    """
    kernels = probes(float(rate_hz), float(nominal_hz))
    least = 2 * (kernels.fine_margin + 1) + 2 * kernels.hop
    if voltage.ndim != 1 or voltage.size < least:
        raise MeteringError(
            f"samples of shape {voltage.shape} hold no frequency", expected=f"{least} samples or more"
        )
    found = _mean_frequency(np.ascontiguousarray(voltage), kernels)
    if found == 0.0:
        raise MeteringError("the voltage holds no fundamental", expected="one between 40 Hz and 70 Hz")
    return float(found)


@njit(cache=True, nogil=True)
def _mean_frequency(x: Samples, kernels: Probes) -> float:  # pragma: no cover - compiled
    hop = kernels.hop
    margin = kernels.fine_cos.shape[1] // 2 + 1
    centre = margin
    before = project(x, centre, kernels.coarse_cos, kernels.coarse_sin)
    if before[0] == 0.0 and before[1] == 0.0:
        return 0.0
    cycles = 0.0
    first_hz = 0.0
    last_hz = 0.0
    while centre + hop + margin < x.size:
        centre += hop
        after = project(x, centre, kernels.coarse_cos, kernels.coarse_sin)
        last_hz = hop_frequency(before, after, kernels)
        if last_hz == 0.0 or (after[0] == 0.0 and after[1] == 0.0):
            return 0.0
        if first_hz == 0.0:
            first_hz = last_hz
        cycles += last_hz * hop / kernels.rate_hz
        before = after
    begin = fine_probe(x, margin, first_hz, kernels)
    end = fine_probe(x, centre, last_hz, kernels)
    # a tone out of range aliases into it a hop away; the fine probe at that place sees next to nothing of it
    if end[0] ** 2 + end[1] ** 2 < 0.1 * (before[0] ** 2 + before[1] ** 2):
        return 0.0
    exact = (np.arctan2(end[1], end[0]) - np.arctan2(begin[1], begin[0])) / (2.0 * np.pi)
    exact += np.floor(cycles - exact + 0.5)
    return float(exact * kernels.rate_hz / (centre - margin))

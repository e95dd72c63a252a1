"""White noise for samples: a function of (seed, channel, absolute sample index) and of nothing else.

The generator is counter-based, so any cut of the stream gives the same noise. Never to be broken: noise is
no part of a signal; it has no closed form and never enters the reference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Noise:
    """Gaussian white noise of the voltages and currents.

    Parameters
    ----------
    u_v, i_a:
        Rms per channel, V and A.
    seed:
        0 to 2^64 - 1; another seed is another noise.

    Raises
    ------
    MeteringError
        For a negative rms or a seed out of range.
    """

    u_v: float
    i_a: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.u_v < math.inf and 0 <= self.i_a < math.inf):
            raise MeteringError(f"noise of {self.u_v} V and {self.i_a} A", expected="zero or more")
        if not 0 <= self.seed < 2**64:
            raise MeteringError(f"the seed of noise is {self.seed}", expected="0 to 2^64 - 1")

    def add(self, u: F64, i: F64, first_sample: int) -> None:
        """Add noise to samples (phases, n) in place; channels count voltages first, then currents."""
        phases = u.shape[0]
        for phase in range(phases):
            _add_noise(u[phase], self.u_v, np.uint64(self.seed), np.uint64(phase), first_sample)
            _add_noise(i[phase], self.i_a, np.uint64(self.seed), np.uint64(8 + phase), first_sample)


@njit(cache=True, nogil=True)
def _mixed(value: np.uint64) -> np.uint64:
    # Finaliser of splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(cache=True, nogil=True)
def _add_noise(out: F64, rms: float, seed: np.uint64, channel: np.uint64, first: int) -> None:
    step = np.uint64(0x9E3779B97F4A7C15)
    key = _mixed(_mixed(seed + step) + (channel + np.uint64(1)) * step)
    for k in range(out.shape[0]):
        counter = np.uint64(first + k) * np.uint64(2)
        a = _mixed(key + (counter + np.uint64(1)) * step)
        b = _mixed(key + (counter + np.uint64(2)) * step)
        # 53 bits each; the first is above zero (Box and Muller, 1958).
        radius = np.sqrt(-2.0 * np.log((np.float64(a >> np.uint64(11)) + 1.0) * 2.0**-53))
        out[k] += rms * radius * np.cos(2.0 * np.pi * np.float64(b >> np.uint64(11)) * 2.0**-53)

"""The analogue-to-digital converter: from volts and amperes at the terminals to int32 counts.

Full scale is stated in the units of the terminals (460 V peak, 100 A peak), so the nominal ratio of the
sensor is inside it. Noise is a function of (seed, channel, absolute sample) alone: SplitMix64 (Steele, Lea,
Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014) over the sample's index, turned into a
normal deviate by Box and Muller (1958).

Never to be broken: a count depends on the value, the channel and the absolute index of its sample, and on
nothing else, so a stream may be cut anywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
U64 = npt.NDArray[np.uint64]

_MOST_BITS = 31
_LARGEST_DELAY_S = 1e-3


@dataclass(frozen=True, slots=True)
class ConverterModel:
    """One channel of a converter.

    Parameters
    ----------
    bits:
        Resolution with sign, 2 to 31; full scale is 2**(bits - 1) - 1 counts either way.
    full_scale:
        Peak value at the terminals (V or A) that gives full scale.
    noise_counts_rms:
        Standard deviation of white Gaussian noise, in counts.
    delay_s:
        How much later than the voltage at the terminals this channel sees it: the count of instant t shows
        the input at t - delay_s (a channel that samples late has a negative delay).
    gain_error_percent:
        Error of the channel's gain (reference, amplifier).
    gain_ppm_per_k, reference_temperature_c:
        Its temperature coefficient, and where it is zero.
    offset_counts:
        Constant added to every count.
    anti_alias_hz:
        Pole of the first-order filter in front; infinite for none.

    Raises
    ------
    MeteringError
        A value that no converter has.
    """

    bits: int
    full_scale: float
    noise_counts_rms: float = 0.0
    delay_s: float = 0.0
    gain_error_percent: float = 0.0
    gain_ppm_per_k: float = 0.0
    reference_temperature_c: float = 23.0
    offset_counts: float = 0.0
    anti_alias_hz: float = math.inf

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= _MOST_BITS:
            raise MeteringError(f"a converter of {self.bits} bits", expected=f"2 .. {_MOST_BITS}")
        if not (math.isfinite(self.full_scale) and self.full_scale > 0):
            raise MeteringError(f"full_scale = {self.full_scale:g}", expected="a peak value above 0")
        if not (math.isfinite(self.noise_counts_rms) and self.noise_counts_rms >= 0):
            raise MeteringError(f"noise_counts_rms = {self.noise_counts_rms:g}", expected="0 or more")
        if not abs(self.delay_s) <= _LARGEST_DELAY_S:
            raise MeteringError(f"delay_s = {self.delay_s:g}", expected=f"within ±{_LARGEST_DELAY_S:g} s")
        if not abs(self.gain_error_percent) < 100.0:
            raise MeteringError(f"gain_error_percent = {self.gain_error_percent:g}", expected="within ±100")
        for name, value in (
            ("gain_ppm_per_k", self.gain_ppm_per_k),
            ("reference_temperature_c", self.reference_temperature_c),
            ("offset_counts", self.offset_counts),
        ):
            if not math.isfinite(value):
                raise MeteringError(f"{name} = {value:g}", expected="a finite number")
        if not self.anti_alias_hz > 0:
            raise MeteringError(f"anti_alias_hz = {self.anti_alias_hz:g}", expected="above 0, or infinite")

    @property
    def full_scale_counts(self) -> int:
        """Largest count."""
        return int(2 ** (self.bits - 1) - 1)

    @property
    def units_per_count(self) -> float:
        """V or A at the terminals per count."""
        return self.full_scale / self.full_scale_counts

    def gain(self, temperature_c: float) -> float:
        """Gain relative to the nominal at a temperature."""
        above_k = temperature_c - self.reference_temperature_c
        return (1.0 + self.gain_error_percent / 100.0) * (1.0 + self.gain_ppm_per_k * 1e-6 * above_k)

    def convert(self, values: F64, first_sample: int, noise_key: int, out: I32) -> int:
        """Counts of ``values``; returns how many were saturated.

        Parameters
        ----------
        values:
            float64 (n,), V or A.
        first_sample:
            Absolute index of the first.
        noise_key:
            Key of the channel's noise (`noise_key`).
        out:
            int32 (n,), filled.

        Raises
        ------
        MeteringError
            A value is not a number.
        """
        saturated = int(
            _quantise(
                values,
                1.0 / self.units_per_count,
                self.offset_counts,
                self.noise_counts_rms,
                np.uint64(noise_key),
                first_sample,
                self.full_scale_counts,
                out,
            )
        )
        if saturated < 0:
            raise MeteringError(
                "the value at the converter is not a number",
                where=f"sample {first_sample - saturated - 1}",
                expected="a finite voltage or current",
            )
        return saturated


def noise_key(seed: int, channel: int) -> int:
    """Key of the noise of one channel of one device: distinct channels have independent noise."""
    mixed = _mix(np.array([seed & 0xFFFFFFFFFFFFFFFF, channel], np.uint64))
    return int(_mix(np.array([int(mixed[0]) ^ int(mixed[1])], np.uint64))[0])


def normal_deviates(key: int, first_sample: int, count: int) -> F64:
    """Normal deviates (count,), mean 0, standard deviation 1, of absolute samples; float64."""
    out = np.empty(count)
    _deviates(np.uint64(key), first_sample, out)
    return out


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def _mix(words: U64) -> U64:
    out = np.empty_like(words)
    for index in range(words.size):
        out[index] = _split_mix(words[index])
    return out


@njit(cache=True, nogil=True)
def _split_mix(word: np.uint64) -> np.uint64:  # pragma: no cover - compiled
    word = word + _GOLDEN
    word = (word ^ (word >> np.uint64(30))) * _FIRST
    word = (word ^ (word >> np.uint64(27))) * _SECOND
    return word ^ (word >> np.uint64(31))


@njit(cache=True, nogil=True)
def _deviate(key: np.uint64, sample: np.int64) -> float:  # pragma: no cover - compiled
    # one pair of uniforms serves two neighbouring samples: the cosine and the sine of Box and Muller
    pair = np.uint64(sample >> 1) * np.uint64(2)
    first = _split_mix(key ^ _split_mix(pair))
    second = _split_mix(key ^ _split_mix(pair + np.uint64(1)))
    radius = np.sqrt(-2.0 * np.log((float(first >> np.uint64(11)) + 0.5) * 2.0**-53))
    angle = 2.0 * np.pi * float(second >> np.uint64(11)) * 2.0**-53
    return float(radius * (np.sin(angle) if sample & 1 else np.cos(angle)))


@njit(cache=True, nogil=True)
def _deviates(key: np.uint64, first_sample: int, out: F64) -> None:  # pragma: no cover - compiled
    for index in range(out.size):
        out[index] = _deviate(key, np.int64(first_sample + index))


@njit(cache=True, nogil=True)
def _quantise(
    values: F64,
    counts_per_unit: float,
    offset: float,
    noise: float,
    key: np.uint64,
    first_sample: int,
    full_scale: int,
    out: I32,
) -> int:  # pragma: no cover - compiled
    saturated = 0
    for index in range(values.size):
        value = values[index] * counts_per_unit + offset
        if noise > 0.0:
            value += noise * _deviate(key, np.int64(first_sample + index))
        if np.isnan(value):
            return -index - 1
        count = np.rint(value)
        if count >= full_scale:
            out[index] = full_scale
            saturated += 1
        elif count <= -full_scale:
            out[index] = -full_scale
            saturated += 1
        else:
            out[index] = np.int32(count)
    return saturated

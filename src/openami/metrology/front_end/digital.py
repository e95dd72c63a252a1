"""The digital multiplier: two converters, and a sum of products of integers.

The multiplication itself is exact; what is left is in front of it. Sensor gain and its temperature
coefficient, the different lags of the two input filters, rounding, noise and offset of the converters, and a
slow mean that takes the offset (and true direct current) off both channels. The converter is that
of this station and takes every sample.

Never to be broken: the sum is one of integers; all errors come from the parts in front.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.metrology.front_end.converter import ConverterModel, noise_key
from openami.metrology.front_end.measuring_principle import check_parameters, check_rate, checked
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]

_MOST_BITS = 24
_MOST_SAMPLES = 8192
"""Three phases of products of 24 by 24 bits over so many samples stay below 2**61."""


@dataclass(frozen=True, slots=True)
class DigitalParameters:
    """A meter with a digital multiplier; the defaults are those of a class 1 meter (recalled).

    Parameters
    ----------
    nominal_v, basic_a, maximum_a, nominal_hz, phases:
        What it is made for.
    voltage, current:
        Converters, alike in all phases.
    voltage_lag_s, current_lag_s:
        Time constants of the input filters; their difference is a phase error.
    gain_per_k:
        Temperature coefficient of sensors and voltage reference together, per product.
    no_load_threshold:
        Mean power below which the output is held, as a share of the power at basic current.
    seed:
        Of the noise.
    """

    nominal_v: float = 230.0
    basic_a: float = 5.0
    maximum_a: float = 60.0
    nominal_hz: float = 50.0
    phases: int = 1
    voltage: ConverterModel = field(
        default_factory=lambda: ConverterModel(16, 500.0, noise_counts_rms=0.6, offset_counts=3.0)
    )
    current: ConverterModel = field(
        default_factory=lambda: ConverterModel(19, 120.0, noise_counts_rms=1.5, offset_counts=-4.0)
    )
    voltage_lag_s: float = 20.0e-6
    current_lag_s: float = 20.3e-6
    gain_per_k: float = 4.0e-5
    no_load_threshold: float = 2.0e-3
    seed: int = 1

    def __post_init__(self) -> None:
        check_parameters(self, ("nominal_v", "basic_a", "maximum_a", "nominal_hz"), "digital meter")
        if not max(self.voltage.bits, self.current.bits) <= _MOST_BITS:
            raise MeteringError(
                f"converters of {self.voltage.bits} and {self.current.bits} bits",
                expected=f"at most {_MOST_BITS}: the products are summed in 64",
            )
        if not (0.0 <= self.voltage_lag_s <= 1e-3 and 0.0 <= self.current_lag_s <= 1e-3):
            raise MeteringError("a lag of an input filter out of range", expected="0 .. 1 ms")


class DigitalMeter:
    """A meter with a digital multiplier per phase, simulated.

    Invariant: the register is an integer sum of products since the beginning, whatever blocks the samples
    came in.

    Parameters
    ----------
    rate_hz:
        Rate of the samples, 64 a cycle and more; the converter takes each of them.
    parameters:
        The meter.
    """

    def __init__(self, rate_hz: float, parameters: DigitalParameters | None = None) -> None:
        self.parameters = parameters if parameters is not None else DigitalParameters()
        check_rate(rate_hz, self.parameters.nominal_hz)
        self._rate_hz = rate_hz
        self._gain = 1.0
        self._clear()
        self._adjust()

    @property
    def rate_hz(self) -> float:
        """Rate at which `advance` takes samples."""
        return self._rate_hz

    @property
    def phases(self) -> int:
        """Number of multipliers."""
        return self.parameters.phases

    @property
    def register_counts(self) -> int:
        """Sum of products of counts since the beginning."""
        return self._register

    @property
    def settling_s(self) -> float:
        """How long after a change of the load the registration has settled."""
        return 3.0

    def advance(self, u_v: F64, i_a: F64, *, temperature_c: float = 23.0) -> float:
        """Energy in Ws that the register advances while these samples pass.

        Parameters
        ----------
        u_v, i_a:
            float64 (phases, n), V and A.
        temperature_c:
            Ambient temperature.

        Raises
        ------
        MeteringError
            Another shape, or values that are not finite.
        """
        p = self.parameters
        u, i = checked(u_v, i_a, p.phases, temperature_c)
        step = 1.0 / self._rate_hz
        u = _lagged(u, p.voltage_lag_s, step, self._lags[0])
        i = _lagged(i, p.current_lag_s, step, self._lags[1])
        counts = np.empty((2, p.phases, u.shape[1]), np.int32)
        for row, (block, model) in enumerate(((u, p.voltage), (i, p.current))):
            for phase in range(p.phases):
                key = noise_key(p.seed, row * p.phases + phase)
                model.convert(block[phase], self._samples, key, counts[row, phase])
        self._samples += u.shape[1]
        product_w = p.voltage.units_per_count * p.current.units_per_count
        threshold = p.no_load_threshold * p.nominal_v * p.basic_a * p.phases / product_w
        total = 0
        for first in range(0, u.shape[1], _MOST_SAMPLES):
            part = slice(first, first + _MOST_SAMPLES)
            total += int(
                _sum_products(
                    counts[0, :, part], counts[1, :, part], threshold, 2.0 * step, self._offsets, self._mean
                )
            )
        self._register += total
        gain = self._gain * (1.0 + p.gain_per_k * (temperature_c - 23.0))
        return total * product_w * step * gain

    def _clear(self) -> None:
        self._samples = 0
        self._lags = np.zeros((2, self.phases, 2))
        self._offsets = np.zeros((self.phases, 2))
        self._register = 0
        self._mean = np.zeros(1)

    def _adjust(self) -> None:
        """Set the gain at nominal voltage and basic current."""
        p = self.parameters
        count = round(self._rate_hz)
        sine = np.sqrt(2.0) * np.sin(2.0 * np.pi * p.nominal_hz * np.arange(4 * count) / self._rate_hz)
        u = np.repeat((p.nominal_v * sine)[np.newaxis], p.phases, axis=0)
        i = np.repeat((p.basic_a * sine)[np.newaxis], p.phases, axis=0)
        self.advance(u[:, : 3 * count], i[:, : 3 * count])
        shown = self.advance(u[:, 3 * count :], i[:, 3 * count :])
        self._gain = p.nominal_v * p.basic_a * p.phases / shown
        self._clear()


def _lagged(block: F64, lag_s: float, step: float, state: F64) -> F64:
    out = np.empty_like(block)
    _lag(block, lag_s, step, state, out)
    return out


@njit(cache=True, nogil=True)
def _lag(block: F64, lag_s: float, step: float, state: F64, out: F64) -> None:  # pragma: no cover - compiled
    half = 0.5 * step
    for phase in range(block.shape[0]):
        before, shown = state[phase, 0], state[phase, 1]
        for k in range(block.shape[1]):
            shown = ((lag_s - half) * shown + half * (before + block[phase, k])) / (lag_s + half)
            before = block[phase, k]
            out[phase, k] = shown
        state[phase, 0], state[phase, 1] = before, shown


@njit(cache=True, nogil=True)
def _sum_products(
    u: I32,
    i: I32,
    threshold: float,
    share: float,
    offsets: F64,
    mean: F64,
) -> np.int64:  # pragma: no cover - compiled
    registered = np.int64(0)
    for k in range(u.shape[1]):
        total = np.int64(0)
        for phase in range(u.shape[0]):
            # the slow means are rounded, so that the sum stays one of integers; they turn both channels alike
            offsets[phase, 0] += (u[phase, k] - offsets[phase, 0]) * 0.25 * share
            offsets[phase, 1] += (i[phase, k] - offsets[phase, 1]) * 0.25 * share
            total += np.int64(u[phase, k] - np.int64(np.rint(offsets[phase, 0]))) * np.int64(
                i[phase, k] - np.int64(np.rint(offsets[phase, 1]))
            )
        mean[0] += (total - mean[0]) * share
        if abs(mean[0]) >= threshold:
            registered += total
    return registered

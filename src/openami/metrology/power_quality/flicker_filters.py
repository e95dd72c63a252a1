"""Filters of the flickermeter: block 3 of IEC 61000-4-15 as a bank of one-pole filters, and the decimator.

Block 3 is a high-pass of first order at 0.05 Hz, a Butterworth low-pass of sixth order and the weighting
filter of lamp, eye and brain. Its transfer function falls with the eighth power of frequency, so it is
discretised by *impulse invariance*: each pole s becomes exp(s/rate) and the response is the analogue one,
in magnitude and phase, but for images that lie below 1e-6 at 400 Hz. No frequency is warped.

Rule: a constant of the standard stands in `LAMPS` with its source, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import pi
from typing import Final

import numpy as np
import numpy.typing as npt

from openami.quantities.errors import MeteringError

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
C128 = npt.NDArray[np.complex128]

HIGH_PASS_HZ: Final = 0.05
"""Corner of the first-order high-pass of block 3."""

LOW_PASS_HZ: Final[Mapping[int, float]] = {50: 35.0, 60: 42.0}
"""Corner of the sixth-order Butterworth low-pass of block 3, by nominal frequency in Hz."""

SMOOTHING_S: Final = 0.3
"""Time constant of the sliding mean of block 4."""

REFERENCE_MODULATION_HZ: Final = 8.8
"""Sinusoidal modulation at which block 4 is scaled to a largest output of one."""

_LOW_PASS_ORDER: Final = 6
_SPAN: Final = 6
"""Length of the decimator in output periods; odd and even both end within it."""
_PASS: Final = 1.3
"""Edge of the decimator's pass band, in corners of the low-pass."""
_STOP_WEIGHT: Final = 10.0
_TRANSITION_WEIGHT: Final = 1e-5


@dataclass(frozen=True, slots=True)
class Lamp:
    """Weighting filter of one lamp: F(s) = k w1 s / (s² + 2 l s + w1²) * (1 + s/w2) / ((1 + s/w3)(1 + s/w4)).

    Source: IEC 61000-4-15 edition 2 as coded in `flicker_sim` of the QWTB toolbox (M. Sira, Czech Metrology
    Institute, MIT licence); confirm against the standard.
    """

    gain: float
    """k, without unit."""
    damping_hz: float
    """l / 2 pi."""
    centre_hz: float
    """w1 / 2 pi."""
    zero_hz: float
    """w2 / 2 pi."""
    low_pole_hz: float
    """w3 / 2 pi."""
    high_pole_hz: float
    """w4 / 2 pi."""
    reference_change: float
    """Relative change of voltage d (peak to peak) at `REFERENCE_MODULATION_HZ` that gives a Pinst of one."""


LAMPS: Final[Mapping[int, Lamp]] = {
    120: Lamp(1.6357, 4.167375, 9.077169, 2.939902, 1.394468, 17.31512, 0.321e-2),
    230: Lamp(1.74802, 4.05981, 9.15494, 2.27979, 1.22535, 21.9, 0.250e-2),
}
"""The incandescent lamps of the standard by their voltage in V: 60 W, 120 V and 60 W, 230 V."""


@dataclass(frozen=True, slots=True)
class WeightingBank:
    """Block 3 as a sum of one-pole filters: y[n] = 2 Re sum_k r_k z_k[n], z_k[n] = p_k z_k[n-1] + x[n].

    A real pole is a complex one whose residue is halved. ``square_gain`` scales y² to Pinst.
    """

    poles: C128
    """(7,) z-plane: high-pass, two real poles of the weighting filter, three of the low-pass, its pair."""
    residues: C128
    """(7,)."""
    square_gain: float
    """Pinst per y², before the sliding mean."""

    def response(self, frequency_hz: F64, rate_hz: float) -> C128:
        """Complex response of the bank at ``frequency_hz`` (n,) when it runs at ``rate_hz``."""
        turn = np.exp(-2j * pi * frequency_hz[:, np.newaxis] / rate_hz)
        upper = self.residues / (1 - self.poles * turn)
        lower = self.residues.conj() / (1 - self.poles.conj() * turn)
        return np.asarray((upper + lower).sum(axis=1))


def analogue_response(frequency_hz: F64, lamp_v: int, nominal_hz: int) -> C128:
    """Response of block 3 as the standard gives it, complex (n,), at ``frequency_hz`` (n,).

    Raises
    ------
    MeteringError
        A lamp or a nominal frequency that the standard does not have.
    """
    lamp, corner_hz = _lamp(lamp_v), _corner(nominal_hz)
    s = 2j * pi * frequency_hz
    first = s / (s + 2 * pi * HIGH_PASS_HZ)
    butterworth = np.prod([-p / (s - p) for p in _butterworth(corner_hz)], axis=0)
    centre = 2 * pi * lamp.centre_hz
    resonance = lamp.gain * centre * s / (s * s + 4 * pi * lamp.damping_hz * s + centre * centre)
    slope = (1 + s / (2 * pi * lamp.zero_hz)) / (
        (1 + s / (2 * pi * lamp.low_pole_hz)) * (1 + s / (2 * pi * lamp.high_pole_hz))
    )
    return np.asarray(first * butterworth * resonance * slope)


def weighting_bank(lamp_v: int, nominal_hz: int, rate_hz: float) -> WeightingBank:
    """Design block 3 for samples of u²/U² - 1 at ``rate_hz``, by partial fractions and impulse invariance.

    Parameters
    ----------
    lamp_v:
        120 or 230, the lamp's voltage.
    nominal_hz:
        50 or 60, chooses the low-pass.
    rate_hz:
        Rate of the samples; some 300 Hz and more.

    Raises
    ------
    MeteringError
        A lamp or a nominal frequency that the standard does not have.
    """
    lamp = _lamp(lamp_v)
    butterworth = _butterworth(_corner(nominal_hz))
    centre, damping = 2 * pi * lamp.centre_hz, 2 * pi * lamp.damping_hz
    low, high, zero = (2 * pi * hz for hz in (lamp.low_pole_hz, lamp.high_pole_hz, lamp.zero_hz))
    pair = -damping + 1j * np.sqrt(centre * centre - damping * damping)
    real = np.array([-2 * pi * HIGH_PASS_HZ, -low, -high], np.complex128)
    upper = np.append(butterworth[butterworth.imag > 0], pair)
    every = np.concatenate((real, upper, upper.conj()))
    # Numerator k w1 s² (1 + s/w2) w3 w4 prod(-p of the low-pass), over prod(s - p).
    scale = lamp.gain * centre * low * high / zero * np.prod(-butterworth).real
    kept = np.concatenate((real, upper))
    residues = np.empty(kept.size, np.complex128)
    for index, pole in enumerate(kept):
        others = every[every != pole]
        residues[index] = scale * pole * pole * (pole + zero) / np.prod(pole - others)
    residues[: real.size] /= 2
    return WeightingBank(np.exp(kept / rate_hz), residues / rate_hz, _square_gain(lamp, lamp_v, nominal_hz))


@lru_cache(maxsize=32)
def decimator(rate_hz: float, factor: int, nominal_hz: int) -> F32:
    """Linear-phase low-pass from ``rate_hz`` to ``rate_hz / factor``, float32 (taps,), taps odd, sum one.

    Least squares over a dense grid: one up to 1.3 corners of the low-pass of block 3 (within 2e-4), nothing
    (-84 dB or less) in the bands of that width around the multiples of the output rate, which would fold
    back onto flicker; what lies between is left to the low-pass of block 3.
    """
    output_hz = rate_hz / factor
    edge_hz = _PASS * _corner(nominal_hz)
    half = max((_SPAN * factor - 1) // 2, 0)
    grid = np.linspace(0.0, rate_hz / 2, 40 * half + 1)
    wanted = grid <= edge_hz
    folding = (np.abs(grid - np.round(grid / output_hz) * output_hz) <= edge_hz) & ~wanted
    weight = np.where(wanted, 1.0, np.where(folding, _STOP_WEIGHT, _TRANSITION_WEIGHT))
    cosines = np.cos(2 * pi / rate_hz * np.outer(grid, np.arange(half + 1)))
    cosines[:, 1:] *= 2
    one_sided = np.linalg.lstsq(cosines * weight[:, np.newaxis], weight * wanted)[0]
    taps = np.concatenate((one_sided[:0:-1], one_sided))
    designed = np.asarray(taps / taps.sum(), np.float32)
    designed.setflags(write=False)
    return designed


def _square_gain(lamp: Lamp, lamp_v: int, nominal_hz: int) -> float:
    """Scale of block 4: the largest Pinst is one at the reference point.

    Of u²/U² - 1, a sinusoidal change d leaves d sin(wt). Its square through block 3 has the mean a²/2 and a
    ripple of twice the frequency, which the sliding mean lets through by 1/sqrt(1 + (2 w 0.3 s)²).
    """
    omega = 2 * pi * REFERENCE_MODULATION_HZ
    response = analogue_response(np.array([REFERENCE_MODULATION_HZ]), lamp_v, nominal_hz)
    amplitude = lamp.reference_change * abs(complex(response[0]))
    ripple = 1 / np.hypot(1.0, 2 * omega * SMOOTHING_S)
    return float(2 / (amplitude * amplitude * (1 + ripple)))


def _butterworth(corner_hz: float) -> C128:
    """Poles of the low-pass of sixth order, rad/s (6,)."""
    turn = (2 * np.arange(_LOW_PASS_ORDER) + _LOW_PASS_ORDER + 1) / (2 * _LOW_PASS_ORDER)
    return np.asarray(2 * pi * corner_hz * np.exp(1j * pi * turn))


def _lamp(lamp_v: int) -> Lamp:
    try:
        return LAMPS[lamp_v]
    except KeyError:
        raise MeteringError(
            f"IEC 61000-4-15 has no lamp of {lamp_v} V", expected=" or ".join(f"{v} V" for v in LAMPS)
        ) from None


def _corner(nominal_hz: int) -> float:
    try:
        return LOW_PASS_HZ[nominal_hz]
    except KeyError:
        raise MeteringError(
            f"no flickermeter is defined for a nominal frequency of {nominal_hz} Hz",
            expected="50 Hz or 60 Hz",
        ) from None

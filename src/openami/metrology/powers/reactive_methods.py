"""The four definitions of reactive power that meters were built to, and how they part under distortion.

- fundamental (IEC 62053-24): U1 I1 sin; what is billed,
- quarter period: the voltage delayed by T/4 and multiplied (first digital meters): a delay of T/4 turns
  harmonic h by h * 90 degrees, so even harmonics count as active power and odd ones alternate in sign,
- Hilbert: every component turned by 90 degrees; Budeanu's sum of Uh Ih sin,
- Fryze: the root of S^2 - P^2, without sign, where all distortion counts.

They agree for a sine and for nothing else. The rule never to be broken: windows are whole cycles.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openami.metrology.powers.phasors import complex_powers, phasors, root
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
C128 = npt.NDArray[np.complex128]


def fundamental_reactive(u: C128, i: C128, *, fundamental: int = 1) -> F64:
    """U1 I1 sin(phi1) in var, float64 (...), from phasors (..., components); positive: inductive."""
    return complex_powers(u[..., fundamental], i[..., fundamental]).imag


def quarter_period_reactive(u: C128, i: C128, *, fundamental: int = 1) -> F64:
    """Mean of u(t - T/4) * i(t) in var, float64 (...), from phasors (..., components).

    The constant is not turned at all: U0 * I0 is counted as reactive power, as the method does.
    """
    orders = np.arange(u.shape[-1]) / fundamental
    delay = np.exp(-0.5j * np.pi * orders)
    turned: F64 = complex_powers(u * delay, i).real.sum(axis=-1)
    return turned


def hilbert_reactive(u: C128, i: C128) -> F64:
    """Sum of Uh Ih sin(phi_h) in var, float64 (...), from phasors (..., components): Budeanu's QB."""
    total: F64 = complex_powers(u, i).imag.sum(axis=-1)
    return total


def fundamental_reactive_of_samples(u: F64, i: F64, cycles: int) -> F64:
    """As `fundamental_reactive`, from samples (..., n) over ``cycles`` whole cycles."""
    return fundamental_reactive(phasors(u), phasors(i), fundamental=cycles)


def quarter_period_reactive_of_samples(u: F64, i: F64, cycles: int) -> F64:
    """Mean of the voltage a quarter of a period ago times the current, in var, float64 (...).

    Parameters
    ----------
    u, i:
        float64 (..., n) in V and A over ``cycles`` whole cycles, taken as periodic.

    Raises
    ------
    MeteringError
        A quarter of a period is no whole number of samples: `quarter_period_reactive` does it on phasors.
    """
    count = u.shape[-1]
    if cycles < 1 or count % (4 * cycles):
        raise MeteringError(
            f"{count} samples over {cycles} cycles have no quarter period", expected="a multiple of 4 a cycle"
        )
    delayed = np.roll(u, count // (4 * cycles), axis=-1)
    product: F64 = (delayed * i).mean(axis=-1)
    return product


def hilbert_reactive_of_samples(u: F64, i: F64) -> F64:
    """Mean of the Hilbert transform of the voltage times the current, in var, float64 (...).

    Parameters
    ----------
    u, i:
        float64 (..., n) in V and A over whole cycles, n even.
    """
    count = u.shape[-1]
    spectrum = np.fft.rfft(u, axis=-1) * -1j
    spectrum[..., 0] = 0.0
    if count % 2 == 0:
        spectrum[..., -1] = 0.0
    turned = np.fft.irfft(spectrum, count, axis=-1)
    product: F64 = (turned * i).mean(axis=-1)
    return product


def fryze_reactive_of_samples(u: F64, i: F64) -> F64:
    """Fryze's reactive power, the root of S^2 - P^2, in var, float64 (...), from samples (..., n)."""
    apparent_squared = (u**2).mean(axis=-1) * (i**2).mean(axis=-1)
    return root(apparent_squared - (u * i).mean(axis=-1) ** 2)


def fryze_currents(u: F64, i: F64) -> tuple[F64, F64]:
    """Fryze's active current P / U^2 * u(t) and the rest of the current, both (..., n) in A.

    Parameters
    ----------
    u, i:
        float64 (..., n) in V and A over whole cycles.

    Raises
    ------
    MeteringError
        A window without voltage: there is no active current to speak of.

    Notes
    -----
    The active current alone carries P with the smallest rms value; the rest is orthogonal to the voltage.
    Source: Fryze (1932); IEEE Std 1459-2010, annex.
    """
    square = (u**2).mean(axis=-1, keepdims=True)
    if np.any(square == 0.0):
        raise MeteringError("a window without voltage has no active current", expected="a voltage")
    active: F64 = (u * i).mean(axis=-1, keepdims=True) / square * u
    return active, i - active

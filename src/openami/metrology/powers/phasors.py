"""Phasors: a window of whole cycles as rms phasors, one per component of its spectrum.

x(t) = X0 + sum of sqrt(2) * Re(Xk e^(j k w t)), w being the window's own frequency; the fundamental is
component ``cycles`` of a window of that many cycles, harmonic h component ``h * cycles``.

The rule never to be broken here and in the whole room: the last axis of an array of phasors counts
components from zero, and component 0 is the constant (DC), real, in the same unit. U * conj(I) is the complex
power of a component, positive imaginary part for a lagging (inductive) current.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
C128 = npt.NDArray[np.complex128]

_SQRT2 = float(np.sqrt(2.0))


def phasors(samples: F64) -> C128:
    """rms phasors of every component of windows of whole cycles.

    Parameters
    ----------
    samples:
        float64 (..., n), evenly spaced over whole cycles, n even.

    Returns
    -------
    complex128 (..., n / 2): component 0 is the mean. The component at half the sampling rate, whose phase
    the samples do not tell, is left out.

    Raises
    ------
    MeteringError
        Fewer than four samples, or an odd number of them.
    """
    count = samples.shape[-1]
    if count < 4 or count % 2:
        raise MeteringError(f"{count} samples in a window", expected="an even number, four or more")
    spectrum: C128 = np.fft.rfft(samples, axis=-1)[..., : count // 2]
    spectrum *= _SQRT2 / count
    spectrum[..., 0] /= _SQRT2
    return spectrum


def waveform(components: C128, count: int) -> F64:
    """The samples of one window whose `phasors` these are: float64 (..., count).

    Raises
    ------
    MeteringError
        ``count`` is odd, or too small for the components.
    """
    if count % 2 or count // 2 < components.shape[-1]:
        raise MeteringError(
            f"{count} samples cannot hold {components.shape[-1]} components",
            expected=f"an even number, {2 * components.shape[-1]} or more",
        )
    spectrum = np.zeros((*components.shape[:-1], count // 2 + 1), np.complex128)
    spectrum[..., : components.shape[-1]] = components * (count / _SQRT2)
    spectrum[..., 0] = components[..., 0].real * count
    samples: F64 = np.fft.irfft(spectrum, count, axis=-1)
    return samples


def harmonics_of(components: C128, cycles: int) -> C128:
    """The harmonics among the components: constant, fundamental, second ..., complex128 (..., orders)."""
    return components[..., ::cycles]


def complex_powers(u: C128, i: C128) -> C128:
    """Complex power of each component in VA, P + jQ; complex128 (..., components).

    Source: IEEE Std 1459-2010, 3.1.2.5 and 3.1.2.6 (Ph = Vh Ih cos, Qh = Vh Ih sin).
    """
    return u * np.conj(i)


def squares(components: C128) -> F64:
    """Squared rms value of each component, float64, same shape."""
    return components.real**2 + components.imag**2


def rms(components: C128) -> F64:
    """rms value of all components together (Parseval), float64 (...)."""
    total: F64 = np.sqrt(squares(components).sum(axis=-1))
    return total


def fundamental_and_rest(components: C128, fundamental: int) -> tuple[C128, F64]:
    """The fundamental, and the squared rms value of everything else, DC included.

    The rest is summed by itself and not taken as a difference of squares, so that a pure sine has none:
    a difference of squares in double precision leaves up to 2e-8 of the fundamental.

    Raises
    ------
    MeteringError
        The fundamental is not among the components.
    """
    if not 0 < fundamental < components.shape[-1]:
        raise MeteringError(
            f"component {fundamental} as the fundamental of {components.shape[-1]} components",
            expected=f"1 to {components.shape[-1] - 1}",
        )
    each = squares(components)
    rest: F64 = each[..., :fundamental].sum(axis=-1) + each[..., fundamental + 1 :].sum(axis=-1)
    return components[..., fundamental], rest


def ratio(numerator: F64, denominator: F64) -> F64:
    """Quotient; NaN, "not defined", where the denominator is zero (a power factor without current)."""
    undefined = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    quotient: F64 = np.divide(numerator, denominator, out=undefined, where=denominator != 0.0)
    return quotient


def root(square: F64) -> F64:
    """Square root of a difference of squares; zero where rounding made it negative."""
    return np.sqrt(np.maximum(square, 0.0))

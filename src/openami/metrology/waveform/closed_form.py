"""The reference of the test bench: energies and rms values of a waveform as closed-form integrals.

Truth for energy is the integral of u i dt over the interval, not power times time. Nothing is sampled here
and no code is shared with what measures. Never to be broken: a reference states its own uncertainty, which
grows as the power factor falls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from openami.metrology.waveform.fourier import fundamental
from openami.metrology.waveform.pieces import Pieces, interval
from openami.metrology.waveform.polyphase import Waveform
from openami.metrology.waveform.product_integrals import (
    Integral,
    SlowIntegral,
    mean_integral,
    product_integral,
    slow_product_integral,
)
from openami.metrology.waveform.signal import Signal

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reference:
    """What a perfect meter registers from ``begin_s`` to ``end_s``; arrays are (phases,).

    Energies are signed, > 0 = import; reactive > 0 = inductive. Uncertainties are bounds of rounding,
    absolute; those of the signals themselves (a tone is what it says) are zero by definition.
    """

    begin_s: float
    end_s: float
    duration_s: float
    fundamental_hz: float
    active_ws: F64
    """Integral of u i."""
    active_uncertainty_ws: F64
    fundamental_active_ws: F64
    fundamental_reactive_ws: F64
    """In var s: fundamental voltage and current only (IEC 62053-24)."""
    fundamental_uncertainty_ws: F64
    """Of the fundamental active, and of the reactive energy."""
    u_rms_v: F64
    i_rms_a: F64
    u_dc_v: F64
    i_dc_a: F64
    fundamental_u_rms_v: F64
    fundamental_i_rms_a: F64

    @property
    def harmonic_active_ws(self) -> F64:
        """Active energy of everything but the fundamental (harmonics, interharmonics, DC), signed."""
        return self.active_ws - self.fundamental_active_ws

    @property
    def apparent_vas(self) -> F64:
        """Rms voltage times rms current times duration."""
        return self.u_rms_v * self.i_rms_a * self.duration_s

    @property
    def power_factor(self) -> F64:
        """Active over apparent energy, signed; 0 where there is no apparent energy."""
        apparent = self.apparent_vas
        return np.divide(self.active_ws, apparent, out=np.zeros_like(apparent), where=apparent != 0)

    @property
    def total_active_ws(self) -> float:
        """Sum over the phases."""
        return math.fsum(self.active_ws.tolist())

    @property
    def total_fundamental_active_ws(self) -> float:
        """Sum over the phases."""
        return math.fsum(self.fundamental_active_ws.tolist())

    @property
    def total_fundamental_reactive_ws(self) -> float:
        """Sum over the phases, in var s."""
        return math.fsum(self.fundamental_reactive_ws.tolist())

    @property
    def relative_uncertainty(self) -> float:
        """Bound of the relative error of `total_active_ws`; infinite when that is zero."""
        return _relative(math.fsum(self.active_uncertainty_ws.tolist()), self.total_active_ws)

    @property
    def reactive_relative_uncertainty(self) -> float:
        """Bound of the relative error of `total_fundamental_reactive_ws`; infinite when that is zero."""
        return _relative(
            math.fsum(self.fundamental_uncertainty_ws.tolist()), self.total_fundamental_reactive_ws
        )


def integral_of_product(x: Signal, y: Signal, begin_s: float | Fraction, end_s: float | Fraction) -> float:
    """Integral of x(t) y(t) from ``begin_s`` to ``end_s``, in closed form.

    Parameters
    ----------
    x, y:
        Signals, in V and A for an energy in Ws.
    begin_s, end_s:
        The interval; a float is taken as the exact value of the double, a `Fraction` (sample index over
        rate, say) as it is.

    Raises
    ------
    MeteringError
        When the interval is empty or not finite.
    """
    return product_integral(x.pieces(begin_s, end_s), y.pieces(begin_s, end_s)).value


def reference(
    waveform: Waveform, begin_s: float | Fraction, end_s: float | Fraction, fundamental_hz: float
) -> Reference:
    """Energies and rms values of a waveform over an interval.

    Parameters
    ----------
    waveform:
        The waveform; its noise, if any, is not part of the reference.
    begin_s, end_s:
        The interval, floats or exact `Fraction`.
    fundamental_hz:
        Frequency of the fundamental (for a frequency ramp: that of its tones at ratio 1). The fundamental
        energy is the integral of the active (reactive) power of the fundamental's phasors, without the
        swing at twice the frequency, so it does not depend on the phase at which the interval begins.

    Raises
    ------
    MeteringError
        When the interval is empty, or a signal has no fundamental of that frequency.
    """
    origin, length = interval(begin_s, end_s)
    active: list[Integral] = []
    slow: list[SlowIntegral] = []
    columns: dict[str, list[float]] = {name: [] for name in ("u", "i", "u_dc", "i_dc", "u1", "i1")}
    for u, i in zip(waveform.u, waveform.i, strict=True):
        u_pieces, i_pieces = u.pieces(begin_s, end_s), i.pieces(begin_s, end_s)
        u1 = fundamental(u, fundamental_hz).pieces(begin_s, end_s)
        i1 = fundamental(i, fundamental_hz).pieces(begin_s, end_s)
        active.append(product_integral(u_pieces, i_pieces))
        slow.append(slow_product_integral(u1, i1))
        columns["u"].append(_rms(product_integral(u_pieces, u_pieces).value, length))
        columns["i"].append(_rms(product_integral(i_pieces, i_pieces).value, length))
        columns["u_dc"].append(_mean(u_pieces, length))
        columns["i_dc"].append(_mean(i_pieces, length))
        columns["u1"].append(_rms(slow_product_integral(u1, u1).value.real, length))
        columns["i1"].append(_rms(slow_product_integral(i1, i1).value.real, length))
    return Reference(
        begin_s=float(origin),
        end_s=float(Fraction(end_s)),
        duration_s=length,
        fundamental_hz=fundamental_hz,
        active_ws=np.array([part.value for part in active]),
        active_uncertainty_ws=np.array([part.uncertainty for part in active]),
        fundamental_active_ws=np.array([part.value.real for part in slow]),
        fundamental_reactive_ws=np.array([part.value.imag for part in slow]),
        fundamental_uncertainty_ws=np.array([part.uncertainty for part in slow]),
        u_rms_v=np.array(columns["u"]),
        i_rms_a=np.array(columns["i"]),
        u_dc_v=np.array(columns["u_dc"]),
        i_dc_a=np.array(columns["i_dc"]),
        fundamental_u_rms_v=np.array(columns["u1"]),
        fundamental_i_rms_a=np.array(columns["i1"]),
    )


def _rms(square_integral: float, duration_s: float) -> float:
    return math.sqrt(max(0.0, square_integral) / duration_s)


def _mean(pieces: Pieces, duration_s: float) -> float:
    return mean_integral(pieces, duration_s).value / duration_s


def _relative(uncertainty: float, value: float) -> float:
    if value == 0:
        return math.inf if uncertainty else 0.0
    return uncertainty / abs(value)

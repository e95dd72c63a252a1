"""The frequency response of a channel, and how it acts on a signal of the waveform generator.

A channel's analogue part is a product of first-order factors and a delay,

    H(f) = g · exp(-j2πf·delay) · jf/(jf + fc) · (1 + j2πf·lead) · 1/(1 + jf/fp),

and acts on a signal tone by tone, which is exact: no filter is simulated, nothing depends on the sampling
rate, and a sample is the same however the stream is cut.

A signal whose tones begin or end inside an operating block (phase-fired, half-wave, burst, a dip) has no
steady spectrum there. It is scaled and delayed as its strongest tone is, and its mean is taken off when the
channel blocks direct current. The fundamental is then passed exactly, and with it every power at a
sinusoidal voltage; harmonics of such a signal follow the delay instead of their own factor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.metrology.waveform.pieces import Pieces

F64 = npt.NDArray[np.float64]
C128 = npt.NDArray[np.complex128]


@dataclass(frozen=True, slots=True)
class ChannelResponse:
    """Frequency response of a channel in one operating state.

    Parameters
    ----------
    gain:
        Factor g.
    delay_s:
        Pure delay; what comes out at t went in at t - delay_s.
    blocks_dc:
        True when direct current does not pass.
    lower_corner_hz:
        fc of a magnetising branch, integrator or burden; 0 when there is none.
    lead_s:
        Time constant of a numerator zero (stray inductance of a shunt); negative: of a pole (stray
        capacitance of a divider).
    pole_hz:
        fp of the anti-alias filter; infinite when there is none.
    """

    gain: float = 1.0
    delay_s: float = 0.0
    blocks_dc: bool = False
    lower_corner_hz: float = 0.0
    lead_s: float = 0.0
    pole_hz: float = math.inf

    def at(self, frequency_hz: F64) -> C128:
        """Complex gain at each of ``frequency_hz`` (any shape, Hz)."""
        f = np.asarray(frequency_hz, np.float64)
        turn = 2j * math.pi * f
        value: C128 = self.gain * np.exp(-turn * self.delay_s)
        if self.lower_corner_hz:
            value = value * (1j * f / (1j * f + self.lower_corner_hz))
        elif self.blocks_dc:
            value = np.where(f == 0.0, 0.0, value)
        if self.lead_s > 0:
            value = value * (1.0 + turn * self.lead_s)
        elif self.lead_s < 0:
            value = value / (1.0 - turn * self.lead_s)
        if math.isfinite(self.pole_hz):
            value = value / (1.0 + 1j * f / self.pole_hz)
        return value

    def as_gain_and_delay(self, frequency_hz: float) -> tuple[float, float, float]:
        """Gain and delay (s) that equal the response at one frequency, and the gain for direct current."""
        at_tone, at_dc = (complex(x) for x in self.at(np.array([frequency_hz, 0.0])))
        delay_s = -math.atan2(at_tone.imag, at_tone.real) / (2.0 * math.pi * frequency_hz)
        return abs(at_tone), delay_s, at_dc.real

    def behind(self, gain: float, delay_s: float, pole_hz: float) -> ChannelResponse:
        """This response followed by a gain, a delay and an anti-alias pole."""
        return replace(self, gain=self.gain * gain, delay_s=self.delay_s + delay_s, pole_hz=pole_hz)


class SteadyTones(NamedTuple):
    """A signal as steady tones from an instant on: x(d) = dc + Σ amplitude · sin(2π·frequency·d + phase)."""

    dc: float
    frequency_hz: F64
    amplitude: F64
    phase_rad: F64

    @property
    def rms(self) -> float:
        """Root mean square over a long time."""
        return math.sqrt(self.dc**2 + 0.5 * float(np.sum(self.amplitude**2)))


def steady_tones(pieces: Pieces, length_s: float) -> SteadyTones | None:
    """The steady tones of a signal over ``length_s`` seconds from its pieces' origin; None when it has none.

    Tones of one frequency are added as phasors, so that their common amplitude counts.
    """
    silent = (pieces.amplitude == 0.0) & (pieces.slope_per_s == 0.0)
    steady = (
        (pieces.begin_s <= 0.0)
        & (pieces.end_s >= length_s)
        & (pieces.slope_per_s == 0.0)
        & (pieces.chirp_hz_per_s == 0.0)
    )
    if not bool(np.all(steady | silent)):
        return None
    keep = steady & ~silent
    frequency = pieces.frequency_hz[keep]
    turn = pieces.phase_turn[keep] - frequency * pieces.begin_s[keep]
    # sin(-x) = sin(pi + x): a tone of negative frequency (a side band) is one of positive frequency
    turn = np.where(frequency < 0.0, 0.5 - turn, turn)
    frequency = np.abs(frequency)
    phasor = pieces.amplitude[keep] * np.exp(2j * np.pi * turn)
    count = _add_equal_tones(frequency, phasor)
    frequency, phasor = frequency[:count], phasor[:count]
    constant = frequency == 0.0
    dc = float(np.sum(phasor[constant].imag))
    alternating = phasor[~constant]
    return SteadyTones(dc, frequency[~constant], np.abs(alternating), np.angle(alternating))


def strongest_tone_hz(pieces: Pieces, otherwise_hz: float) -> float:
    """Frequency that carries most of the square of a signal over its pieces.

    ``otherwise_hz`` when the signal is silent or constant there.
    """
    middle = 0.5 * (pieces.end_s - pieces.begin_s)
    frequency = np.abs(pieces.frequency_hz + pieces.chirp_hz_per_s * middle)
    weight = (pieces.amplitude + pieces.slope_per_s * middle) ** 2 * middle * (frequency > 0.0)
    if weight.size == 0 or not float(np.max(weight)) > 0.0:
        return otherwise_hz
    distinct, where = np.unique(frequency, return_inverse=True)
    total = np.zeros(distinct.size)
    np.add.at(total, where.reshape(-1), weight)
    return float(distinct[int(np.argmax(total))])


def pass_tones(tones: SteadyTones, response: ChannelResponse) -> SteadyTones:
    """Steady tones behind a response."""
    gain = response.at(np.concatenate((np.zeros(1), tones.frequency_hz)))
    return SteadyTones(
        tones.dc * float(gain[0].real),
        tones.frequency_hz,
        tones.amplitude * np.abs(gain[1:]),
        tones.phase_rad + np.angle(gain[1:]),
    )


def sample_tones(tones: SteadyTones, seconds: F64) -> F64:
    """Samples of steady tones, ``seconds`` (n,) after their instant; float64 (n,)."""
    out = np.empty(seconds.size)
    _sum_of_tones(seconds, tones.dc, tones.frequency_hz, tones.amplitude, tones.phase_rad, out)
    return out


@njit(cache=True, nogil=True)
def _add_equal_tones(frequency_hz: F64, phasor: C128) -> int:  # pragma: no cover - compiled
    """Gather tones of one frequency at the first of them; returns how many frequencies there are."""
    count = 0
    for row in range(frequency_hz.size):
        found = count
        for known in range(count):
            if frequency_hz[known] == frequency_hz[row]:
                found = known
                break
        if found == count:
            frequency_hz[count], phasor[count] = frequency_hz[row], phasor[row]
            count += 1
        else:
            phasor[found] += phasor[row]
    return count


@njit(cache=True, nogil=True)
def _sum_of_tones(
    seconds: F64, constant: float, frequency_hz: F64, amplitude: F64, phase_rad: F64, out: F64
) -> None:  # pragma: no cover - compiled
    for k in range(seconds.size):
        total = constant
        for tone in range(frequency_hz.size):
            total += amplitude[tone] * np.sin(2.0 * np.pi * frequency_hz[tone] * seconds[k] + phase_rad[tone])
        out[k] = total

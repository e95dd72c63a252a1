"""What undoes the errors of one channel: gain, delay and lower corner over the load and the temperature.

It is the inverse of a channel's response factor by factor, so what is looked up at one frequency holds at
every frequency. Never to be broken: a table is monotonic in its load, and a correction beyond what any sound
front end needs does not exist.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from openami.quantities.errors import MeteringError


@dataclass(frozen=True, slots=True)
class ChannelCorrection:
    """What undoes the errors of one channel, over the load.

    Between its points a table is linear over the logarithm of the load; outside it keeps its end values.

    Parameters
    ----------
    rated:
        Unit of ``load``, V or A rms.
    load:
        (points,) measured rms in multiples of ``rated``, above 0, strictly increasing.
    gain:
        (points,) factor on the counts.
    advance_s:
        (points,) how late the channel is, to be made up for.
    corner_hz:
        (points,) lower corner of the sensor, to be restored; 0 where there is none.
    gain_per_k, advance_s_per_k, corner_hz_per_k:
        Temperature coefficients; that of the gain is relative.
    reference_temperature_c:
        Where the tables hold.
    pole_hz:
        Pole of the anti-alias filter, to be restored; infinite to leave it.
    offset_counts:
        Constant taken off before everything else.

    Raises
    ------
    MeteringError
        Columns of different length, a load that does not increase, or a correction beyond what any front
        end needs (gain 0.5 to 2, 1 ms, 10 Hz).
    """

    rated: float
    load: tuple[float, ...] = (1.0,)
    gain: tuple[float, ...] = (1.0,)
    advance_s: tuple[float, ...] = (0.0,)
    corner_hz: tuple[float, ...] = (0.0,)
    gain_per_k: float = 0.0
    advance_s_per_k: float = 0.0
    corner_hz_per_k: float = 0.0
    reference_temperature_c: float = 23.0
    pole_hz: float = math.inf
    offset_counts: float = 0.0

    def __post_init__(self) -> None:
        lengths = {len(self.load), len(self.gain), len(self.advance_s), len(self.corner_hz)}
        if len(lengths) != 1 or not self.load:
            raise MeteringError("columns of a correction differ in length", expected="one value per load")
        if not all(math.isfinite(x) and x > 0 for x in self.load) or any(
            b <= a for a, b in pairwise(self.load)
        ):
            raise MeteringError(
                f"loads {self.load} of a correction", expected="multiples above 0, strictly increasing"
            )
        if not (math.isfinite(self.rated) and self.rated > 0):
            raise MeteringError(f"rated = {self.rated:g} of a correction", expected="a number above 0")
        if not all(0.5 <= x <= 2.0 for x in self.gain):
            raise MeteringError(f"gains {self.gain} of a correction", expected="0.5 .. 2")
        if not all(abs(x) <= 1e-3 for x in self.advance_s):
            raise MeteringError(f"delays {self.advance_s} s of a correction", expected="within ±1 ms")
        if not all(abs(x) <= 10.0 for x in self.corner_hz):
            raise MeteringError(f"corners {self.corner_hz} Hz of a correction", expected="within ±10 Hz")
        if not self.pole_hz > 0:
            raise MeteringError(f"pole_hz = {self.pole_hz:g} of a correction", expected="above 0")
        for name in ("gain_per_k", "advance_s_per_k", "corner_hz_per_k", "offset_counts"):
            if not math.isfinite(getattr(self, name)):
                raise MeteringError(f"{name} of a correction", expected="a finite number")

    def response(self, frequency_hz: float, load: float, temperature_c: float) -> complex:
        """What the correction multiplies a phasor of ``frequency_hz`` by, when it is realised ideally."""
        gain, advance_s, corner_hz = self.at(load, temperature_c)
        turn = 2.0 * math.pi * frequency_hz * advance_s
        corner = 1.0 + corner_hz / (1j * frequency_hz)
        return (
            gain * complex(math.cos(turn), math.sin(turn)) * corner * (1.0 + 1j * frequency_hz / self.pole_hz)
        )

    def at(self, load: float, temperature_c: float) -> tuple[float, float, float]:
        """Gain, advance (s) and corner (Hz) at ``load`` multiples of rated and a temperature."""
        axis = np.log(self.load)
        position = math.log(load) if load > 0 else -math.inf
        above_k = temperature_c - self.reference_temperature_c
        gain, advance_s, corner_hz = (
            float(np.interp(position, axis, column)) for column in (self.gain, self.advance_s, self.corner_hz)
        )
        return (
            gain * (1.0 + self.gain_per_k * above_k),
            advance_s + self.advance_s_per_k * above_k,
            corner_hz + self.corner_hz_per_k * above_k,
        )

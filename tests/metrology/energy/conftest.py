"""Samples of known energy for the tests of the energy path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from openami.metrology.energy.settings import EnergySettings

U_V = 460.0 / 2**23
I_A = 100.0 / 2**23
RATE = 6400.0

Lines = Sequence[tuple[int, float, float]]
"""Order, rms and phase in degrees of the harmonics of one channel, by cosines."""


@dataclass(frozen=True)
class Mains:
    """A three-phase supply and load; every phase has the same harmonics, shifted by its own angle."""

    u: Lines = ((1, 230.0, 0.0),)
    i: Lines = ((1, 10.0, -60.0),)
    hertz: float = 50.0
    rate: float = RATE
    phases: int = 3
    start_deg: float = 0.0

    def settings(self, **changes: object) -> EnergySettings:
        scales = {"u_v_per_count": (U_V,) * self.phases, "i_a_per_count": (I_A,) * self.phases}
        return EnergySettings(self.phases, self.rate, **{**scales, **changes})

    def exact(self, first: int, count: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """V and A at samples ``first`` up to ``first + count``."""
        turns = self.hertz / self.rate * np.arange(first, first + count, dtype=np.float64)
        found = []
        for lines in (self.u, self.i):
            rows = []
            for phase in range(self.phases):
                shift = self.start_deg - 120.0 * phase
                row = np.zeros(count)
                for order, rms, angle in lines:
                    degrees = order * shift + angle
                    row += (
                        np.sqrt(2.0) * rms * np.cos(2.0 * np.pi * (order * turns % 1.0) + np.deg2rad(degrees))
                    )
                rows.append(row)
            found.append(np.stack(rows))
        return found[0], found[1]

    def codes(self, first: int, count: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Codes of an ideal converter of 24 bits."""
        u, i = self.exact(first, count)
        return np.rint(u / U_V).astype(np.int32), np.rint(i / I_A).astype(np.int32)

    @property
    def p_w(self) -> float:
        """Active power of a phase."""
        return sum(a * b * np.cos(np.deg2rad(x - y)) for h, a, x in self.u for g, b, y in self.i if h == g)

    def of_order(self, order: int) -> complex:
        """Complex power of one order of a phase: P + jQ."""
        return sum(
            a * b * np.exp(1j * np.deg2rad(x - y))
            for h, a, x in self.u
            for g, b, y in self.i
            if h == g == order
        )

    def energy_ws(self, begin_s: float, end_s: float, phase: int = 0) -> float:
        """Integral of u·i of a phase in closed form."""
        total = self.p_w * (end_s - begin_s)
        shift = self.start_deg - 120.0 * phase
        for h, a, x in self.u:
            for g, b, y in self.i:
                for order, angle in ((h + g, (h + g) * shift + x + y), (h - g, (h - g) * shift + x - y)):
                    if order:
                        omega = 2 * np.pi * self.hertz * order
                        ends = (np.sin(omega * t + np.deg2rad(angle)) for t in (end_s, begin_s))
                        total += a * b / omega * (next(ends) - next(ends))
        return float(total)

    def sum_ws(self, samples: int, phase: int = 0) -> float:
        """Sum of u·i over samples 0 up to ``samples`` of a phase, times the sample time, in closed form."""
        total = self.p_w * samples
        shift = self.start_deg - 120.0 * phase
        for h, a, x in self.u:
            for g, b, y in self.i:
                for order, angle in ((h + g, (h + g) * shift + x + y), (h - g, (h - g) * shift + x - y)):
                    if order:
                        step = np.exp(2j * np.pi * self.hertz / self.rate * order)
                        turned = np.exp(2j * np.pi * (self.hertz / self.rate * order * samples % 1.0))
                        total += a * b * (np.exp(1j * np.deg2rad(angle)) * (turned - 1) / (step - 1)).real
        return float(total / self.rate)


@pytest.fixture(scope="session")
def mains() -> type[Mains]:
    return Mains

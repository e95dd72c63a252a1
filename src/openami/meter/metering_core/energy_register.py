"""The energy registers of a meter, and the one interface through which the rest of the meter sees them.

A register is a dial of decimal digits of watt-hours with a residue of milliwatt-hours behind it; there is
no float in it. The interface `MeteringCore` is the same whether a load curve or a sampled waveform drives
the meter. Rule never to be broken: energy that was handed to a register is in it, to the last mWh, however
it was cut into steps; and nothing but the metering core writes a register.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from openami.quantities.errors import QuantityError
from openami.quantities.obis import ObisCode

MWH_PER_WH = 1000


class EnergyRegister:
    """A cumulative register of ``digits`` decimal digits of Wh that rolls over.

    Invariant: ``1000 * dial_wh + residue_mwh`` equals the start value plus all energy ever added, modulo
    ``1000 * 10**digits`` mWh, with ``0 <= residue_mwh < 1000``.

    Parameters
    ----------
    digits:
        Decimal digits of the dial, 4 to 15.
    start_wh:
        Where the dial stands at first.
    residue_mwh:
        What stands behind the dial at first: of a register that goes on after a power failure.

    Raises
    ------
    QuantityError
        Digits out of range, a start value the dial cannot show, or a residue of 1 Wh or more.
    """

    __slots__ = ("_dial_wh", "_modulus_wh", "_residue_mwh")

    def __init__(self, digits: int, start_wh: int = 0, residue_mwh: int = 0) -> None:
        if not 4 <= digits <= 15:
            raise QuantityError(f"a dial of {digits} digits", expected="4 .. 15")
        self._modulus_wh: int = 10**digits
        if not 0 <= start_wh < self._modulus_wh:
            raise QuantityError(f"a dial of {digits} digits cannot show {start_wh} Wh")
        if not 0 <= residue_mwh < MWH_PER_WH:
            raise QuantityError(f"a residue of {residue_mwh} mWh", expected=f"0 .. {MWH_PER_WH - 1}")
        self._dial_wh = start_wh
        self._residue_mwh = residue_mwh

    @property
    def dial_wh(self) -> int:
        """What the dial shows, in Wh."""
        return self._dial_wh

    @property
    def residue_mwh(self) -> int:
        """Energy not yet on the dial, 0 .. 999 mWh."""
        return self._residue_mwh

    @property
    def modulus_wh(self) -> int:
        """The dial shows values below this and goes on at 0."""
        return self._modulus_wh

    def add(self, steps_mwh: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Add energy in steps and give the dial after each.

        Parameters
        ----------
        steps_mwh:
            Energies in mWh, none negative, shape (n,).

        Returns
        -------
        Dial in Wh after each step, int64, shape (n,).

        Raises
        ------
        QuantityError
            A step is negative: a cumulative register never runs back.
        """
        if steps_mwh.size == 0:
            return np.empty(0, np.int64)
        if steps_mwh.min() < 0:
            raise QuantityError("a cumulative register was asked to run back", expected="no negative step")
        totals = np.cumsum(steps_mwh)
        totals += self._residue_mwh
        dials: npt.NDArray[np.int64] = (totals // MWH_PER_WH + self._dial_wh) % self._modulus_wh
        self._residue_mwh = int(totals[-1]) % MWH_PER_WH
        self._dial_wh = int(dials[-1])
        return dials


def register_advance(before_wh: int, after_wh: int, modulus_wh: int) -> int:
    """Energy between two readings of a dial that may have rolled over once, in Wh."""
    return (after_wh - before_wh) % modulus_wh


class MeteringCore(Protocol):
    """What the management core may ask of the legally relevant part of the meter: time goes on, read.

    Instants are integer milliseconds of true time (UTC) since 1970. The core never sees the meter's clock.
    """

    @property
    def channels(self) -> tuple[ObisCode, ...]:
        """The cumulative registers, in the order of every array below."""
        ...

    @property
    def modulus_wh(self) -> int:
        """Roll-over value of the dials."""
        ...

    @property
    def dials_wh(self) -> tuple[int, ...]:
        """What the dials show now."""
        ...

    @property
    def power_w(self) -> tuple[int, ...]:
        """Present power by channel, in W."""
        ...

    def run_to(self, instants_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Measure on, up to each instant in turn.

        Parameters
        ----------
        instants_ms:
            Ascending, the first not before the instant reached by the last call, shape (n,).

        Returns
        -------
        Dials in Wh at each instant, int64, shape (channels, n).
        """
        ...

    def connect(self) -> None:
        """Close the load contact from the instant reached on."""
        ...

    def disconnect(self) -> None:
        """Open the load contact from the instant reached on: no energy flows."""
        ...

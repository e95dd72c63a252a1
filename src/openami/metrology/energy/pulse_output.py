"""Pulses and LED: an output that blinks once for a fixed energy (IEC 62053-31, IEC 62052-11 [recalled]).

The constant is imp/kWh (imp/kvarh); a pulse falls where the registered energy passes a multiple of
1/constant. Within a window energy is taken to flow evenly, so the instant of a pulse is a real-valued sample
position: a bench that times pulses is not limited by the window. Rule never to be broken: pulses count what
the register counts, to the last count product; pulses divided by the constant and the register never part.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from openami.metrology.energy.settings import EnergySettings
from openami.metrology.energy.window_quantities import WindowColumns
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]

_MILLI_IN_KILO = 1_000_000
_NO_PULSES = np.empty(0)


class PulsedEnergy(IntEnum):
    """What an output pulses."""

    ACTIVE_IMPORT = 0
    ACTIVE_EXPORT = 1
    ACTIVE_BOTH = 2
    """Import and export alike: the LED of a meter."""
    REACTIVE_IMPORT = 3
    REACTIVE_EXPORT = 4
    REACTIVE_BOTH = 5


class PulseOutput:
    """Pulses for the windows of a path.

    Invariant: ``pulses * unit == constant * energy - residue`` with ``0 <= residue < unit``, in integers,
    over all windows ever given; unit is the count products of 1 kWh.

    Parameters
    ----------
    settings:
        Of the path.
    constant:
        Pulses for 1 kWh (1 kvarh), an integer of 1 or more.
    energy:
        What is pulsed.

    Raises
    ------
    MeteringError
        The constant is not positive.
    """

    __slots__ = ("_columns", "_constant", "_pulses", "_residue", "_unit")

    def __init__(
        self, settings: EnergySettings, constant: int, energy: PulsedEnergy = PulsedEnergy.ACTIVE_BOTH
    ) -> None:
        if constant < 1:
            raise MeteringError(f"{constant} pulses for a kilowatt-hour", expected="1 or more")
        self._constant = constant
        self._unit = settings.unit_count * _MILLI_IN_KILO
        self._residue = 0
        self._pulses = 0
        self._columns = energy

    @property
    def pulses(self) -> int:
        """Pulses given so far."""
        return self._pulses

    def feed(self, windows: WindowColumns) -> F64:
        """Pulses of further windows.

        Parameters
        ----------
        windows:
            What the last call of the path completed.

        Returns
        -------
        Real-valued sample positions of the pulses, ascending, float64 (n,).
        """
        reactive = self._columns >= PulsedEnergy.REACTIVE_IMPORT
        columns = windows.reactive_counts if reactive else windows.active_counts
        which = self._columns % 3
        counts = columns.sum(axis=1) if which == PulsedEnergy.ACTIVE_BOTH else columns[:, which]
        begins = windows.start_sample + windows.begin
        found = [
            self._in_window(int(count), float(begin), float(span))
            for count, begin, span in zip(counts, begins, windows.span, strict=True)
            if count
        ]
        return np.concatenate(found) if found else _NO_PULSES

    def _in_window(self, count: int, begin: float, span: float) -> F64:
        energy = count * self._constant
        before = self._residue
        number, self._residue = divmod(before + energy, self._unit)
        self._pulses += number
        if number == 0:
            return _NO_PULSES
        passed = np.arange(1, number + 1, dtype=np.float64) * self._unit - before
        positions: F64 = begin + span * (passed / energy)
        return positions

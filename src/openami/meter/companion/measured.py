"""What a software meter measures, as a companion model's registers show it.

Energies and powers are the metering core's, split evenly over the phases; voltage, frequency and power
factor are nominal, currents follow from power and voltage. Rates count while their mask of the register
activation is active. Rule of this file: a value that does not fit its type on the wire shows the largest
that does, never one modulo something.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from openami.meter.capture_buffer import CapturedRows
from openami.meter.fleet import Fleet
from openami.protocols.dlms.encoding.axdr import Data, Tag, array, structure
from openami.protocols.dlms.interface_classes.stored_object import State, items, number, octets
from openami.quantities.obis import ObisCode

from .history import MeterHistory, Supply

NOMINAL_V: Final = 230
NOMINAL_HZ: Final = 50
_PHASE_OF: Final = {2: 0, 4: 1, 6: 2}
_SCALED: Final = 1000
"""Values are computed in thousandths before the scaler of the model is applied."""
_MOST: Final = {
    Tag.UNSIGNED: 0xFF,
    Tag.LONG_UNSIGNED: 0xFFFF,
    Tag.DOUBLE_LONG_UNSIGNED: 0xFFFF_FFFF,
    Tag.LONG64_UNSIGNED: (1 << 64) - 1,
    Tag.LONG: 0x7FFF,
    Tag.DOUBLE_LONG: 0x7FFF_FFFF,
}


class RateCounters:
    """Energies by rate: what flowed while a register was active.

    Invariant: the counts of all rates of a direction grow by exactly what the total grows by while one rate
    is active.

    Parameters
    ----------
    state:
        Active registers (attribute 1) and, of each register, its count and the total when it became active.
    total:
        Count of a direction's total at an instant: 0 import, 1 export.
    modulus:
        The totals roll over at this count.
    now:
        The meter's clock.
    """

    __slots__ = ("_modulus", "_now", "_state", "_total")

    def __init__(
        self,
        state: State,
        total: Callable[[datetime, int], int],
        modulus: int,
        now: Callable[[], datetime],
    ) -> None:
        self._state = state
        self._total = total
        self._modulus = modulus
        self._now = now

    def begin(self, active: tuple[ObisCode, ...], at: datetime) -> None:
        """Begin to count at an instant; what flowed before is of the registers that are active then."""
        self._state[1] = array(Data(Tag.OCTET_STRING, register.to_bytes()) for register in active)
        for register in active:
            total = Data(Tag.LONG64, self._total(at, register.c - 1))
            self._state[_place(register)] = structure(total, total)

    def select(self, active: tuple[ObisCode, ...]) -> None:
        """Count into these registers from now on."""
        counts = {register: self.count(register) for register in (*self._active(), *active)}
        self._state[1] = array(Data(Tag.OCTET_STRING, register.to_bytes()) for register in active)
        now = self._now()
        for register, count in counts.items():
            self._state[_place(register)] = structure(
                Data(Tag.LONG64, count), Data(Tag.LONG64, self._total(now, register.c - 1))
            )

    def count(self, register: ObisCode) -> int:
        """Count of a register at the present."""
        kept = self._state.get(_place(register))
        if kept is None:
            return 0
        count, mark = map(number, items(kept))
        if register not in self._active():
            return count
        return (count + (self._total(self._now(), register.c - 1) - mark) % self._modulus) % self._modulus

    def _active(self) -> tuple[ObisCode, ...]:
        kept = self._state.get(1)
        if kept is None:
            return ()
        return tuple(ObisCode.from_bytes(octets(part)) for part in items(kept))


def _place(register: ObisCode) -> int:
    """Where a register's count is kept: by direction and rate."""
    return 1000 * register.c + register.e


class Measured:
    """Values of registers by logical name.

    Parameters
    ----------
    fleet, meter_id, history:
        The meter.
    phases:
        1 or 3.
    rates:
        Counters of the rates.
    now:
        The instant whose values are asked for: the meter's clock, or one before it.
    """

    __slots__ = ("_fleet", "_history", "_meter_id", "_now", "_phases", "_rates")

    def __init__(
        self,
        fleet: Fleet,
        meter_id: str,
        history: MeterHistory,
        phases: int,
        rates: RateCounters,
        now: Callable[[], datetime],
    ) -> None:
        self._now = now
        self._fleet = fleet
        self._meter_id = meter_id
        self._history = history
        self._phases = phases
        self._rates = rates

    def supply(self, name: ObisCode, tag: Tag, scaler: int) -> Callable[[], Data] | None:
        """Gives a register's value in its type and scaler; None for what the meter does not measure."""
        if name.a != 1 or name.b != 0 or self.thousandths(name) is None:
            return None
        return lambda: fitted(tag, _rescaled(self.thousandths(name) or 0, scaler))

    def thousandths(self, name: ObisCode) -> int | None:
        """Value in thousandths of the base unit; None for what the meter does not measure."""
        match name.d:
            case 8 if name.c in (1, 2):
                return _SCALED * (self._total(name.c - 1) if name.e == 0 else self._rates.count(name))
            case 8 if name.c == 15 and name.e == 0:
                return _SCALED * (self._total(0) + self._total(1))
            case 8 if name.c in (3, 4, 5, 6, 7, 8) and name.e == 0:
                return 0  # a load of power factor 1
            case 8 if name.c in (9, 10) and name.e == 0:
                return _SCALED * self._total(name.c - 9)
            case 29 if name.c in (3, 4, 5, 6, 7, 8):
                return 0
            case 29 if name.c in (1, 2, 9, 10):
                channel = (name.c - 1) % 8
                begun = int(self._now().timestamp()) // self._history.period_s * self._history.period_s
                since = datetime.fromtimestamp(begun, UTC)
                return _SCALED * max(0, self._total(channel) - self._history.energy_at(since, channel))
            case 0 if (name.c, name.e) == (13, 0):
                return _SCALED
            case 7 if name.e == 0:
                return self._instantaneous(name.c, self._power)
            case 24 | 27 | 4 if name.e == 0 and (name.d != 4 or name.c > 20):
                return self._instantaneous(name.c, self._mean_power)
        return None

    def interval_average(self, name: ObisCode, scaler: int) -> Supply | None:
        """Column of an average of each interval: voltage or current; None for anything else."""
        if (name.a, name.b, name.d, name.e) != (1, 0, 27, 0):
            return None
        if name.c in (12, 32, 52, 72):
            volts = _rescaled(_SCALED * NOMINAL_V, scaler)
            return lambda rows, history: np.full(len(rows), volts, np.int64)
        if name.c not in (11, 31, 51, 71):
            return None
        exponent, phases = -3 - scaler, self._phases
        factor: int = 10 ** abs(exponent)

        def amperes(rows: CapturedRows, history: MeterHistory) -> npt.NDArray[np.int64]:
            watts = rows.values.sum(axis=0) * 3600 // history.period_s
            thousandths: npt.NDArray[np.int64] = _SCALED * watts // NOMINAL_V // phases
            return thousandths * factor if exponent >= 0 else thousandths // factor

        return amperes

    def _instantaneous(self, c: int, power: Callable[[int], int]) -> int | None:
        """A quantity of value group C from the active power in W of each direction."""
        if c in (1, 2):
            return _SCALED * power(c - 1)
        if c in (9, 10):
            return _SCALED * power(c - 9)
        if c in (3, 4, 23, 24, 43, 44, 63, 64):
            return 0
        if c in (12, 32, 52, 72):
            return _SCALED * NOMINAL_V
        if c in (13, 33, 53, 73):
            return _SCALED
        if c == 14:
            return _SCALED * NOMINAL_HZ
        if c in (11, 31, 51, 71, 90):
            whole = _SCALED * (power(0) + power(1)) // NOMINAL_V
            return whole if c == 90 else whole // self._phases
        if c == 91:
            return _SCALED * (power(0) + power(1)) // NOMINAL_V if self._phases == 1 else 0
        phase = _PHASE_OF.get(c // 10)
        if phase is not None and c % 10 in (1, 2) and phase < self._phases:
            whole = power(c % 10 - 1)
            return _SCALED * (whole // self._phases + (whole % self._phases if phase == 0 else 0))
        return None

    def _total(self, channel: int) -> int:
        return self._history.energy_at(self._now(), channel)

    def _power(self, channel: int) -> int:
        """Power at the present; at an instant before it the mean power of its interval, W."""
        meter = self._fleet.meter(self._meter_id)
        now = self._now()
        if now < meter.now:
            return self._history.power_at(now, channel)
        powers = meter.core.power_w
        return powers[channel] if channel < len(powers) else 0

    def _mean_power(self, channel: int) -> int:
        """Mean power of the last whole interval, W."""
        period = timedelta(seconds=self._history.period_s)
        return self._history.power_at(self._now() - period, channel)


def _rescaled(thousandths: int, scaler: int) -> int:
    exponent = -3 - scaler
    scaled: int = thousandths * 10**exponent if exponent >= 0 else thousandths // 10**-exponent
    return scaled


def fitted(tag: Tag, value: int) -> Data:
    """A number in a type; the largest of the type where it is beyond."""
    most = _MOST.get(tag)
    return Data(tag, value if most is None else max(0, min(value, most)))

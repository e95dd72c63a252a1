"""Demand register, class 5 version 0 (IEC 62056-6-2 clause 4.3.4): average power of periods.

    current average   energy since start_time_current  / (number_of_periods * period)
    last average      energy of the last number_of_periods periods / (number_of_periods * period)

With one period this is block demand: the current average climbs from 0 and the last average changes at the
end of each period. With more it slides: the window moves on by one period at a time, and start_time_current
is where the window of the current average begins. Periods end at the multiples of ``period`` of the clock
(UTC), or when a client says ``next_period``. Energies and averages are integers: counts of a quantum and of
the same power of ten of its rate; a quotient is cut off towards zero. Rule of this file: energy is asked for
at the ends of periods, by instant, so that the averages do not depend on when the register was looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import ClassVar

from openami.protocols.dlms.encoding.axdr import NULL, Data, Tag, array, structure
from openami.protocols.dlms.encoding.units import scaler_unit
from openami.protocols.dlms.interface_classes.local_time import stamp
from openami.protocols.dlms.interface_classes.stored_object import (
    NO_PRESET,
    State,
    StoredAttribute,
    StoredObject,
    items,
    number,
    read_only,
)
from openami.protocols.dlms.interface_classes.value_types import (
    SCALER_UNIT,
    Anything,
    Moment,
    Whole,
)
from openami.quantities.obis import ObisCode
from openami.quantities.units import Quantum

_BOUNDARIES, _LAST = 0, -1
_RESET = Whole(Tag.INTEGER, 0, 0)


class DemandRegister(StoredObject):
    """Average power of a register.

    Invariant: `_boundaries` gives ascending ends of periods with the energy at each, at least one and at
    most ``number_of_periods + 1``; the last is where the current period began.

    Parameters
    ----------
    tag, quantum:
        Of the averages.
    energy_at:
        Count of the energy register at an instant not after now; 1 count for an hour is an average of 1.
    now, zone:
        The meter's clock.
    modulus:
        The energy register rolls over at this count.
    status:
        Gives the status of the averages.
    state, preset:
        As of `StoredObject`; period (8) and number_of_periods (9) must be set there or be written.
    """

    __slots__ = ("_energy_at", "_modulus", "_now", "_quantum", "_status", "_tag", "_zone")

    class_id: ClassVar[int] = 5
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        read_only(2, "current_average_value", Anything()),
        read_only(3, "last_average_value", Anything()),
        read_only(4, "scaler_unit", SCALER_UNIT),
        read_only(5, "status", Anything()),
        read_only(6, "capture_time", Moment()),
        read_only(7, "start_time_current", Moment()),
        StoredAttribute(8, "period", Whole(Tag.DOUBLE_LONG_UNSIGNED, 1, 366 * 86_400)),
        StoredAttribute(9, "number_of_periods", Whole(Tag.LONG_UNSIGNED, 1, 60)),
    )
    methods: ClassVar[tuple[int, ...]] = (1, 2)

    def __init__(
        self,
        logical_name: ObisCode,
        tag: Tag,
        quantum: Quantum,
        energy_at: Callable[[datetime], int],
        now: Callable[[], datetime],
        zone: tzinfo = UTC,
        modulus: int | None = None,
        status: Callable[[], Data] = lambda: NULL,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._tag = tag
        self._quantum = quantum
        self._energy_at = energy_at
        self._now = now
        self._zone = zone
        self._modulus = modulus
        self._status = status

    def current(self, index: int) -> Data:
        """Attribute at the present."""
        match index:
            case 2:
                boundaries = self._settled()
                started = self._window_start(boundaries)
                return Data(self._tag, self._average(started, (self._now(), self._energy_at(self._now()))))
            case 3:
                self._settled()
                return self._state.get(_LAST, Data(self._tag, 0))
            case 4:
                return scaler_unit(self._quantum)
            case 5:
                return self._status()
            case 6:
                return stamp(self._settled()[-1][0], self._zone)
            case 7:
                return stamp(self._window_start(self._settled())[0], self._zone)
        return super().current(index)

    def keep(self, index: int, value: Data) -> None:
        """Keep a value; other periods begin a new measurement."""
        super().keep(index, value)
        if index in (8, 9):
            self._restart()

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``reset`` and ``next_period``; raises `AccessError`."""
        match index:
            case 1:
                self.parameter(parameter, _RESET, "reset")
                self._restart()
            case 2:
                self.parameter(parameter, _RESET, "next_period")
                boundaries = self._settled()
                now = self._now()
                if now > boundaries[-1][0]:
                    self._close(boundaries, now)
            case _:
                return super().invoke(index, parameter)
        return None

    @property
    def _period(self) -> timedelta:
        return timedelta(seconds=number(super().current(8)))

    @property
    def _periods(self) -> int:
        return number(super().current(9))

    def _restart(self) -> None:
        now = self._now()
        self._keep_boundaries([(now, self._energy_at(now))])
        self.keep(_LAST, Data(self._tag, 0))

    def _boundaries(self) -> list[tuple[datetime, int]]:
        kept = self._state.get(_BOUNDARIES)
        if kept is None:
            return []
        pairs = (items(pair) for pair in items(kept))
        return [(datetime.fromtimestamp(number(at) / 1000, UTC), number(energy)) for at, energy in pairs]

    def _keep_boundaries(self, boundaries: list[tuple[datetime, int]]) -> None:
        self._state[_BOUNDARIES] = array(
            structure(Data(Tag.LONG64, round(at.timestamp() * 1000)), Data(Tag.LONG64, energy))
            for at, energy in boundaries[-self._periods - 1 :]
        )

    def _settled(self) -> list[tuple[datetime, int]]:
        """Boundaries up to the present; periods that ended since the last look are closed."""
        now = self._now()
        boundaries = self._boundaries()
        period = self._period
        if not boundaries or boundaries[-1][0] > now:
            begun = _next_multiple(now, period) - period
            boundaries = [(begun, self._energy_at(begun))]
            self._keep_boundaries(boundaries)
        end = _next_multiple(boundaries[-1][0], period)
        if end > now:
            return boundaries
        skipped = (now - end) // period - self._periods - 1
        if skipped > 0:  # only the last periods can still be seen
            end += skipped * period
        while end <= now:
            self._close(boundaries, end)
            boundaries = self._boundaries()
            end += period
        return boundaries

    def _close(self, boundaries: list[tuple[datetime, int]], at: datetime) -> None:
        boundaries = [*boundaries, (at, self._energy_at(at))]
        first = boundaries[max(0, len(boundaries) - 1 - self._periods)]
        self.keep(_LAST, Data(self._tag, self._average(first, boundaries[-1])))
        self._keep_boundaries(boundaries)

    def _window_start(self, boundaries: list[tuple[datetime, int]]) -> tuple[datetime, int]:
        return boundaries[max(0, len(boundaries) - self._periods)]

    def _average(self, first: tuple[datetime, int], last: tuple[datetime, int]) -> int:
        advance = last[1] - first[1]
        if self._modulus is not None:
            advance %= self._modulus
        return advance * 3600 // (self._periods * number(super().current(8)))


def _next_multiple(after: datetime, period: timedelta) -> datetime:
    seconds = int(period.total_seconds())
    return datetime.fromtimestamp((int(after.timestamp()) // seconds + 1) * seconds, UTC)

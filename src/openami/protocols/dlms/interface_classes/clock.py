"""Clock, class 8 version 0 (IEC 62056-6-2 clause 4.5.1).

Times on the wire are local with their deviation; inside there are only UTC instants. Rule of this file: the
object keeps no time, it asks the meter's clock, and only the meter's core moves it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import ClassVar, Protocol

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import Data, Tag, encode
from openami.protocols.dlms.encoding.date_time import STATUS_DAYLIGHT_SAVING, CosemDateTime
from openami.protocols.dlms.interface_classes.interface_object import (
    Access,
    AttributeRule,
    InterfaceObject,
    type_unmatched,
)
from openami.quantities.civil_time import saves_daylight, standard_offset
from openami.quantities.errors import RemoteProtocolError
from openami.quantities.obis import ObisCode

BASE_INTERNAL_CRYSTAL = 1


class MeterClock(Protocol):
    """The meter's clock: tells the time and can be moved."""

    def now(self) -> datetime:
        """The clock's instant, UTC."""
        ...

    def set_time(self, instant: datetime) -> None:
        """Move the clock to ``instant`` (UTC)."""
        ...


def _no_status() -> int:
    return 0


class ClockObject(InterfaceObject):
    """The clock.

    Parameters
    ----------
    clock:
        The meter's clock.
    zone:
        The zone of the local time it shows.
    status:
        Gives the clock status bits other than daylight saving.
    measuring_period_s:
        Period that ``adjust_to_measuring_period`` rounds to.
    """

    __slots__ = ("_clock", "_measuring_period_s", "_preset", "_status", "_zone")

    class_id: ClassVar[int] = 8
    version: ClassVar[int] = 0
    rules: ClassVar[tuple[AttributeRule, ...]] = (
        AttributeRule(1),
        AttributeRule(2, Access.READ_WRITE),
        *(AttributeRule(index) for index in range(3, 10)),
    )
    methods: ClassVar[tuple[int, ...]] = (1, 2, 3, 4, 5, 6)

    def __init__(
        self,
        logical_name: ObisCode,
        clock: MeterClock,
        zone: tzinfo = UTC,
        status: Callable[[], int] = _no_status,
        measuring_period_s: int = 900,
    ) -> None:
        super().__init__(logical_name)
        self._clock = clock
        self._zone = zone
        self._status = status
        self._measuring_period_s = measuring_period_s
        self._preset: Data | None = None

    def value(self, index: int) -> bytes:
        """Encoded attribute."""
        now = self._clock.now()
        match index:
            case 2:
                stamp = CosemDateTime.from_instant(now, self._zone, self._status())
                return _octets(stamp)
            case 3:
                return encode(Data(Tag.LONG, -_standard_offset_min(self._zone, now.year)))
            case 4:
                local = now.astimezone(self._zone)
                saving = STATUS_DAYLIGHT_SAVING if saves_daylight(local) else 0
                return encode(Data(Tag.UNSIGNED, self._status() | saving))
            case 5 | 6:
                begin, end = _daylight_saving(self._zone, now.year)
                return _octets(begin if index == 5 else end)
            case 7:
                saving_min = _daylight_saving_min(self._zone, now.year)
                return encode(Data(Tag.INTEGER, saving_min))
            case 8:
                return encode(Data(Tag.BOOLEAN, _daylight_saving_min(self._zone, now.year) != 0))
            case _:
                return encode(Data(Tag.ENUM, BASE_INTERNAL_CRYSTAL))

    def write(self, index: int, value: Data) -> None:
        """Set the time; raises `AccessError`."""
        if index != 2:
            return super().write(index, value)
        self._clock.set_time(self._instant(value))

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """The adjusting methods; raises `AccessError`."""
        now = self._clock.now()
        match index:
            case 1:
                self._clock.set_time(_nearest(now, 900))
            case 2:
                self._clock.set_time(_nearest(now, self._measuring_period_s))
            case 3:
                self._clock.set_time(_nearest(now, 60))
            case 4:
                if self._preset is None:
                    raise AccessError(AccessResult.TEMPORARY_FAILURE, where="adjust_to_preset_time")
                preset, start, end = self._preset_of(self._preset)
                if not start <= now <= end:
                    raise AccessError(AccessResult.TEMPORARY_FAILURE, where="adjust_to_preset_time")
                self._clock.set_time(preset)
            case 5:
                self._preset_of(parameter)
                self._keep_preset(parameter)
            case 6:
                if parameter is None or parameter.tag is not Tag.LONG or not isinstance(parameter.value, int):
                    raise type_unmatched("shift_time", parameter)
                if not -900 <= parameter.value <= 900:
                    raise AccessError(AccessResult.SCOPE_OF_ACCESS_VIOLATED, where="shift_time")
                self._clock.set_time(now + timedelta(seconds=parameter.value))
            case _:
                return super().invoke(index, parameter)
        return None

    def _keep_preset(self, preset: Data | None) -> None:
        """Keep what the clock may be adjusted to."""
        self._preset = preset

    def _preset_of(self, parameter: Data | None) -> tuple[datetime, datetime, datetime]:
        if parameter is None or not isinstance(parameter.value, tuple) or len(parameter.value) != 3:
            raise type_unmatched("preset_adjusting_time", parameter)
        preset, start, end = (self._instant(item) for item in parameter.value)
        return preset, start, end

    def _instant(self, value: Data) -> datetime:
        if value.tag not in (Tag.OCTET_STRING, Tag.DATE_TIME) or not isinstance(value.value, bytes):
            raise type_unmatched(self.logical_name, value)
        try:
            return CosemDateTime.from_bytes(value.value).instant(self._zone)
        except RemoteProtocolError:
            raise type_unmatched(self.logical_name, value) from None


def _octets(stamp: CosemDateTime) -> bytes:
    return encode(Data(Tag.OCTET_STRING, stamp.to_bytes()))


def _nearest(instant: datetime, period_s: int) -> datetime:
    since = instant.timestamp()
    return datetime.fromtimestamp((since + period_s / 2) // period_s * period_s, UTC)


@lru_cache(maxsize=1024)
def _offsets(zone: tzinfo, year: int) -> tuple[tuple[datetime, int, int], ...]:
    """Changes of the UTC offset in a year: instant, minutes before and after."""
    changes: list[tuple[datetime, int, int]] = []
    instant = datetime(year, 1, 1, tzinfo=UTC)
    while instant.year == year:
        following = instant + timedelta(days=1)
        before, after = _offset_min(instant, zone), _offset_min(following, zone)
        if before != after:
            low, high = instant, following
            while high - low > timedelta(minutes=1):
                middle = low + timedelta(minutes=(high - low) // timedelta(minutes=2))
                low, high = (middle, high) if _offset_min(middle, zone) == before else (low, middle)
            changes.append((high, before, after))
        instant = following
    return tuple(changes)


def _offset_min(instant: datetime, zone: tzinfo) -> int:
    offset = instant.astimezone(zone).utcoffset()
    return int(offset.total_seconds() // 60) if offset is not None else 0


def _standard_offset_min(zone: tzinfo, year: int) -> int:
    return int(standard_offset(zone, year).total_seconds() // 60)


def _daylight_saving_min(zone: tzinfo, year: int) -> int:
    changes = _offsets(zone, year)
    return max((after - before for _, before, after in changes), default=0)


def _daylight_saving(zone: tzinfo, year: int) -> tuple[CosemDateTime, CosemDateTime]:
    """Local times at which daylight saving begins and ends in ``year``; wildcards where it does not."""
    begin = end = CosemDateTime()
    for instant, before, after in _offsets(zone, year):
        local = instant + timedelta(minutes=before)
        stamp = CosemDateTime(
            local.year, local.month, local.day, local.isoweekday(), local.hour, local.minute, 0, 0, -before, 0
        )
        if after > before:
            begin = stamp
        else:
            end = stamp
    return begin, end

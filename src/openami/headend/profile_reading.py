"""Reading the profiles of a meter: what it says of their columns once, and their rows as often as asked for.

IEC 62056-6-2, Profile generic (class 7). Rule never to be broken: nothing is assumed of a profile that the
meter can be asked; rows without a clock get their times from period and clock of the meter, or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from openami.protocols.dlms.apdus.descriptors import CLOCK, Attribute, Selector, by_entry, by_range
from openami.protocols.dlms.apdus.initiate import Conformance
from openami.protocols.dlms.apdus.results import AccessError
from openami.protocols.dlms.client.attribute_value import CLOCK_CLASS, PROFILE, companions
from openami.protocols.dlms.client.profile_table import (
    MAX_PERIOD_S,
    ProfileDescription,
    capture_objects,
    is_register_value,
    profile_table,
)
from openami.protocols.dlms.client.vendor_quirks import VendorQuirks
from openami.protocols.dlms.encoding.axdr import Data, Plain, Tag
from openami.protocols.dlms.encoding.date_time import UNSPECIFIED_DEVIATION, CosemDateTime
from openami.protocols.dlms.encoding.profile_buffer import ProfileDecoder
from openami.protocols.dlms.encoding.scaler_unit import ScalerUnit, scaler_unit_of
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError
from openami.quantities.obis import ObisCode

_DAY_S: Final = 86_400
_HOUR_S: Final = 3_600
_SORTED_NEWEST_FIRST: Final = 2


class Asked(Protocol):
    """A meter that answers (`dlms_meter.Meter`)."""

    @property
    def conformance(self) -> Conformance:
        """Services agreed on."""
        ...

    async def get(self, attribute: Attribute, selector: Selector | None = None) -> Plain:
        """The plain value of an attribute; raises `AccessError`."""
        ...

    async def get_encoded(self, attribute: Attribute, selector: Selector | None = None) -> bytes:
        """Its encoded value; raises `AccessError`."""
        ...

    async def get_many(self, attributes: Sequence[Attribute]) -> list[Plain | AccessError]:
        """Plain values, an `AccessError` in place of each that is refused."""
        ...

    async def clock(self) -> datetime | CosemDateTime:
        """The meter's time."""
        ...


class ProfileReader:
    """The profiles of one meter.

    Invariant: what describes a profile is asked for once.

    Parameters
    ----------
    meter:
        Who is asked.
    zone:
        Where it stands; None where its times carry their deviation.
    quirks:
        What its manufacturer does otherwise.
    scalers:
        Scalers that are known already, by their attribute; those found here are put there.
    """

    def __init__(
        self,
        meter: Asked,
        zone: tzinfo | None,
        quirks: VendorQuirks,
        scalers: dict[Attribute, ScalerUnit | None],
    ) -> None:
        self._meter = meter
        self._zone = zone
        self._quirks = quirks
        self._scalers = scalers
        self._profiles: dict[ObisCode, ProfileDescription] = {}
        self._decoders: dict[ObisCode, ProfileDecoder] = {}
        self._request_zone = zone

    async def rows(
        self,
        code: ObisCode,
        start: datetime | None = None,
        end: datetime | None = None,
        entries: tuple[int, int] | None = None,
    ) -> pa.Table:
        """Rows of a profile as columns; parameters and errors as `dlms_meter.Meter.profile`."""
        for bound in (start, end):
            if bound is not None and bound.tzinfo is None:
                raise LocalProtocolError(f"{bound} without a zone", expected="a timezone-aware time")
        description = await self._describe(code)
        if (start or end) and description.clock is None and not description.period_s:
            raise LocalProtocolError(f"the rows of {code} have no times", expected="no range, or entries")
        selector = await self._selector(description, start, end, entries)
        newest_at = None
        if description.clock is None:
            newest_at = await self._newest_capture(description)
        encoded = await self._meter.get_encoded(Attribute(PROFILE, code, 2), selector)
        columns = self._decoders.setdefault(code, ProfileDecoder()).decode(encoded)
        table = profile_table(description, columns, zone=self._zone, newest_at=newest_at, quirks=self._quirks)
        return _between(table, start, end)

    # --- pieces ---------------------------------------------------------------------------------------

    async def _describe(self, code: ObisCode) -> ProfileDescription:
        """What the meter says of a profile; asked for once."""
        if code in self._profiles:
            return self._profiles[code]
        captured, period, order = await self._meter.get_many(
            [Attribute(PROFILE, code, index) for index in (3, 4, 5)]
        )
        if isinstance(captured, AccessError):
            raise captured
        columns = capture_objects(captured, f"profile {code}")
        if isinstance(period, AccessError):
            period = 0
        if isinstance(period, bool) or not isinstance(period, int) or not 0 <= period <= MAX_PERIOD_S:
            raise RemoteProtocolError(
                f"capture period {period!r}", where=f"profile {code}", expected="seconds"
            )
        places = {
            column: Attribute(
                column.class_id,
                column.logical_name,
                companions(Attribute(column.class_id, column.logical_name, column.attribute)).scaler,
            )
            for column in columns
            if is_register_value(column)
        }
        missing = [place for place in dict.fromkeys(places.values()) if place not in self._scalers]
        if missing:
            for place, told in zip(missing, await self._meter.get_many(missing), strict=True):
                if told is None or isinstance(told, AccessError):
                    self._scalers[place] = None
                else:
                    self._scalers[place] = scaler_unit_of(told)
        scalers = {
            column: scaler for column, place in places.items() if (scaler := self._scalers[place]) is not None
        }
        description = ProfileDescription(code, columns, period, order == _SORTED_NEWEST_FIRST, scalers)
        self._profiles[code] = description
        return description

    async def _selector(
        self,
        description: ProfileDescription,
        start: datetime | None,
        end: datetime | None,
        entries: tuple[int, int] | None,
    ) -> Selector | None:
        if entries is not None:
            return by_entry(*entries)
        selects = bool(self._meter.conformance & Conformance.SELECTIVE_ACCESS)
        if (start is None and end is None) or description.clock is None or not selects:
            return None
        if self._request_zone is None:
            self._request_zone = await self._zone_of_clock()
        bounds = (start or datetime(1970, 1, 1, tzinfo=UTC), end or datetime(2099, 12, 31, tzinfo=UTC))
        selector = by_range(
            *bounds, zone=self._request_zone, restricting=description.columns[description.clock]
        )
        parts = selector.parameters.value
        assert isinstance(parts, tuple)
        stamps = (self._as_meant(bound) for bound in bounds)
        return Selector(
            selector.number,
            Data(Tag.STRUCTURE, (parts[0], *stamps, parts[3])),
        )

    def _as_meant(self, instant: datetime) -> Data:
        """A bound of a range as this meter understands it."""
        stamp = CosemDateTime.from_instant(instant, self._request_zone or UTC)
        return Data(Tag.OCTET_STRING, self._quirks.date_time(stamp).to_bytes())

    async def _zone_of_clock(self) -> tzinfo:
        """The deviation that the meter's clock shows now; UTC where it shows none."""
        with suppress(AccessError):
            value = await self._meter.get(Attribute(CLOCK_CLASS, CLOCK, 2))
            if isinstance(value, bytes) and len(value) == 12:
                deviation = self._quirks.date_time(CosemDateTime.from_bytes(value)).deviation
                if deviation != UNSPECIFIED_DEVIATION and abs(deviation) < 24 * 60:
                    return timezone(timedelta(minutes=-deviation))
        return UTC

    async def _newest_capture(self, description: ProfileDescription) -> datetime | None:
        """When the newest row of a profile without a clock was captured: the last full period."""
        period_s = description.period_s
        if not 0 < period_s <= _DAY_S:
            return None
        now = await self._meter.clock()
        if not isinstance(now, datetime):
            return None
        return last_capture(now, period_s, self._zone or await self._zone_of_clock())


def last_capture(now: datetime, period_s: int, zone: tzinfo) -> datetime:
    """The end of the last full capture period; periods begin at civil midnight.

    Counted on the clock of the zone, and taken off the instant: in an hour that occurs twice the wall clock
    does not tell which one it is.
    """
    local = now.astimezone(zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    since = (local.replace(tzinfo=None) - midnight.replace(tzinfo=None)).total_seconds()
    if period_s <= _HOUR_S:
        return now - timedelta(seconds=since % period_s)
    return (midnight + timedelta(seconds=since // period_s * period_s)).astimezone(UTC)


def _between(table: pa.Table, start: datetime | None, end: datetime | None) -> pa.Table:
    """Rows inside the range: some meters give more than they were asked for."""
    for bound, compare in ((start, pc.greater_equal), (end, pc.less_equal)):
        if bound is not None and table.num_rows:
            table = table.filter(compare(table["time"], pa.scalar(bound, pa.timestamp("us", tz="UTC"))))
    return table

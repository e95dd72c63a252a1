"""Rows that carry no time are counted back from the meter's clock, also across a change of clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from openami.headend.dlms_meter import Meter
from openami.headend.profile_reading import last_capture
from openami.meter.fleet_spec import FleetSpec, KeySpec, MeterSpec
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.protocols.dlms.apdus.descriptors import CLOCK_COLUMN, CaptureObject
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.client.profile_table import ProfileDescription, profile_table
from openami.protocols.dlms.encoding.axdr import Data, Tag, array, encode, structure
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.encoding.profile_buffer import ProfileDecoder
from openami.quantities.errors import LocalProtocolError
from openami.quantities.obis import ObisCode
from served_meters import served_fleet

BERLIN = ZoneInfo("Europe/Berlin")
ENERGY = CaptureObject(3, ObisCode.parse("1-0:1.8.0"), 2)
PROFILE = ObisCode.parse("1-0:99.1.0")
NULL = Data(Tag.NULL_DATA, None)


def utc(day: int, hour: int, minute: int = 0, month: int = 10) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "period_s", "last"),
    [
        # 25 October 2026: 02:20 occurs twice in Berlin, at 00:20 and at 01:20 UTC.
        (utc(25, 0, 20), 900, utc(25, 0, 15)),
        (utc(25, 1, 20), 900, utc(25, 1, 15)),
        (utc(25, 1, 20), 3600, utc(25, 1)),
        (utc(25, 12), 86_400, utc(24, 22)),
        (utc(26, 12), 86_400, utc(25, 23)),
        # 29 March 2026: 02:00 to 03:00 does not occur.
        (utc(29, 1, 20, 3), 900, utc(29, 1, 15, 3)),
        (utc(29, 12, 0, 3), 86_400, utc(28, 23, 0, 3)),
    ],
)
def test_the_newest_row_is_that_of_the_last_full_period(now: datetime, period_s: int, last: datetime) -> None:
    assert last_capture(now, period_s, BERLIN) == last


def times(
    description: ProfileDescription, rows: list[Data], newest_at: datetime | None = None
) -> list[datetime]:
    columns = ProfileDecoder().decode(encode(array(rows)))
    table = profile_table(description, columns, zone=BERLIN, newest_at=newest_at)
    return [instant.as_py() for instant in table["time"]]


def count(value: int) -> Data:
    return Data(Tag.DOUBLE_LONG_UNSIGNED, value)


def test_days_without_a_clock_are_civil_days() -> None:
    """The day of 25 October has 25 hours, so midnight is at 22:00 UTC before it, at 23:00 after."""
    description = ProfileDescription(PROFILE, (ENERGY,), 86_400)
    rows = [structure(count(number)) for number in range(4)]
    expected = [utc(23, 22), utc(24, 22), utc(25, 23), utc(26, 23)]
    assert times(description, rows, utc(26, 23)) == expected


def test_quarters_without_a_clock_are_quarters_of_an_hour_through_the_hour_that_occurs_twice() -> None:
    description = ProfileDescription(PROFILE, (ENERGY,), 900)
    rows = [structure(count(number)) for number in range(12)]
    expected = [utc(25, 2) - timedelta(minutes=15 * back) for back in range(11, -1, -1)]
    assert times(description, rows, utc(25, 2)) == expected


@pytest.mark.parametrize(("period_s", "step"), [(900, timedelta(minutes=15)), (3600, timedelta(hours=1))])
def test_rows_whose_clock_is_null_but_in_the_first_follow_it(period_s: int, step: timedelta) -> None:
    first = utc(24, 23)
    stamp = Data(Tag.OCTET_STRING, CosemDateTime.from_instant(first, BERLIN).to_bytes())
    description = ProfileDescription(PROFILE, (CLOCK_COLUMN, ENERGY), period_s)
    rows = [structure(stamp if not number else NULL, count(number)) for number in range(30)]
    assert times(description, rows) == [first + number * step for number in range(30)]


def test_days_whose_clock_is_null_but_in_the_first_are_civil_days() -> None:
    stamp = Data(Tag.OCTET_STRING, CosemDateTime.from_instant(utc(23, 22), BERLIN).to_bytes())
    description = ProfileDescription(PROFILE, (CLOCK_COLUMN, ENERGY), 86_400)
    rows = [structure(stamp if not number else NULL, count(number)) for number in range(4)]
    assert times(description, rows) == [utc(23, 22), utc(24, 22), utc(25, 23), utc(26, 23)]


def test_the_newest_first_are_turned_round() -> None:
    description = ProfileDescription(PROFILE, (ENERGY,), 900, newest_first=True)
    columns = ProfileDecoder().decode(encode(array([structure(count(number)) for number in range(3)])))
    table = profile_table(description, columns, zone=BERLIN, newest_at=utc(25, 2))
    assert np.diff(table["time"].to_numpy()).min() > np.timedelta64(0)
    assert table["1-0:1.8.0"].to_pylist() == [2, 1, 0]


async def test_scalers_and_nameplates_have_rows_without_times() -> None:
    """IS 15959: 1-0:94.91.3 captures scaler_unit of each column of a profile, once and for all."""
    curve, keys = CurveSpec(CurveKind.HOUSEHOLD, "UP"), KeySpec.of_seed(1, "I1")
    meter = MeterSpec("I1", 16, curve, companion="is15959-like-3p", keys=keys)
    security = ClientSecurity(b"TESTHES1", keys.meter_keys(), meter_title=meter.system_title)
    name = "1-0:94.91.3"
    async with served_fleet(FleetSpec(1, utc(23, 22), (meter,))) as (_, clock, port):
        clock.advance(timedelta(days=1))
        async with Meter("127.0.0.1", port, server=16, client=48, security=security) as reached:
            table = await reached.profile(name)
            assert (table.num_rows, table["time"].null_count) == (1, 1)
            assert table.schema.metadata[b"time"] == b"none"
            with pytest.raises(LocalProtocolError, match="have no times"):
                await reached.profile(name, utc(23, 22))

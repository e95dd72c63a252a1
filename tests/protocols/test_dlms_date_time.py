"""COSEM date-time: the deviation is added to local time; scalar and bulk conversion agree."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.protocols.dlms.encoding.date_time import (
    UNSPECIFIED_DEVIATION,
    CosemDateTime,
    date_times_of,
    instants_of,
)
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

BERLIN = ZoneInfo("Europe/Berlin")


def test_deviation_is_added_to_local_time() -> None:
    # Frame of a Kaifa MA309, UtilitechAS/amsreader-firmware issue 809.
    octets = bytes.fromhex("07e8060f0614172d00ff8880")
    stamp = CosemDateTime.from_bytes(octets)
    assert stamp.deviation == -120
    assert stamp.daylight_saving
    assert stamp.instant() == datetime(2024, 6, 15, 18, 23, 45, tzinfo=UTC)
    assert CosemDateTime.from_instant(stamp.instant(), BERLIN).to_bytes() == octets
    assert instants_of(np.frombuffer(octets, np.uint8)[None])[0] == np.datetime64("2024-06-15T18:23:45")


@given(st.binary(min_size=12, max_size=12))
def test_any_twelve_octets_decode_and_come_back(octets: bytes) -> None:
    stamp = CosemDateTime.from_bytes(octets)
    assert stamp.to_bytes() == octets
    try:
        instant = stamp.instant()
    except RemoteProtocolError:
        with pytest.raises(RemoteProtocolError):
            instants_of(np.frombuffer(octets, np.uint8)[None])
    else:
        assert instants_of(np.frombuffer(octets, np.uint8)[None])[0] == np.datetime64(
            instant.replace(tzinfo=None)
        )


@settings(max_examples=300)
@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2199, 12, 31)),
    st.integers(-720, 720),
    st.integers(0, 255),
)
def test_instants_come_back_through_scalar_and_bulk(moment: datetime, offset: int, status: int) -> None:
    instant = moment.replace(microsecond=moment.microsecond // 10_000 * 10_000, tzinfo=UTC)
    stamp = CosemDateTime.from_instant(instant, timezone(timedelta(minutes=offset)), status)
    assert stamp.instant() == instant
    at = np.array([np.datetime64(instant.replace(tzinfo=None), "us")])
    assert date_times_of(at, -offset, status).tobytes() == stamp.to_bytes()
    assert instants_of(date_times_of(at, -offset, status))[0] == at[0]


@pytest.mark.parametrize(
    ("octets", "zone", "instant"),
    [
        # 24:00 is the next midnight (some meters send it).
        ("07ea021cff18000000800000", UTC, datetime(2026, 3, 1, tzinfo=UTC)),
        # Deviation not specified: the zone decides; status bit 0x80 tells the hour that comes twice.
        ("07e90a1a07021e0000800080", BERLIN, datetime(2025, 10, 26, 0, 30, tzinfo=UTC)),
        ("07e90a1a07021e0000800000", BERLIN, datetime(2025, 10, 26, 1, 30, tzinfo=UTC)),
        # Seconds and hundredths not specified count as zero.
        ("07e90101ff0c00ffff000000", None, datetime(2025, 1, 1, 12, tzinfo=UTC)),
    ],
)
def test_what_meters_send(octets: str, zone: ZoneInfo | None, instant: datetime) -> None:
    assert CosemDateTime.from_bytes(bytes.fromhex(octets)).instant(zone) == instant


@pytest.mark.parametrize(
    "octets",
    [
        "07eafd190703000000ffc400",  # month 0xFD: end of daylight saving
        "07ea021eff00000000000000",  # 30 February
        "ffffffffffffffffff800000",
        "07e90101030c0000008000ff",  # deviation not specified, no zone
        "07ea021cff18010000000000",  # 24:01
    ],
)
def test_a_date_time_without_an_instant_is_a_remote_error(octets: str) -> None:
    stamp = CosemDateTime.from_bytes(bytes.fromhex(octets))
    with pytest.raises(RemoteProtocolError):
        stamp.instant()


def test_lengths_and_fields_are_checked() -> None:
    with pytest.raises(RemoteProtocolError):
        CosemDateTime.from_bytes(b"\x00" * 11)
    with pytest.raises(LocalProtocolError):
        CosemDateTime(month=256).to_bytes()
    with pytest.raises(RemoteProtocolError):
        instants_of(np.zeros((3, 11), np.uint8))
    with pytest.raises(RemoteProtocolError, match="row 1"):
        instants_of(date_times_of(np.array(["2025-01-01", "2025-01-02"], "M8[us]"), 0, 0) * [[1], [0]])


def test_a_day_of_daylight_saving_in_bulk_equals_the_scalars() -> None:
    start = datetime(2025, 3, 29, 23, tzinfo=UTC)
    instants = [start + timedelta(minutes=15 * k) for k in range(92)]
    at = np.array([i.replace(tzinfo=None) for i in instants], "M8[us]")
    stamps = [CosemDateTime.from_instant(i, BERLIN) for i in instants]
    deviation = np.array([s.deviation for s in stamps])
    status = np.array([s.status for s in stamps])
    octets = date_times_of(at, deviation, status)
    assert octets.tobytes() == b"".join(s.to_bytes() for s in stamps)
    assert (instants_of(octets) == at).all()


# The clocks of Dublin went back on 27 October 2024 at 01:00 UTC (02:00 IST -> 01:00 GMT), those of Melbourne
# on 7 April 2024 (IANA tzdata, where Irish winter time is a "daylight saving" of minus one hour).
@pytest.mark.parametrize(
    ("zone", "instant", "deviation", "saving"),
    [
        ("Europe/Dublin", datetime(2024, 1, 15, 12, tzinfo=UTC), 0, False),
        ("Europe/Dublin", datetime(2024, 7, 15, 12, tzinfo=UTC), -60, True),
        ("Europe/Dublin", datetime(2024, 10, 27, 0, 30, tzinfo=UTC), -60, True),
        ("Europe/Dublin", datetime(2024, 10, 27, 1, 30, tzinfo=UTC), 0, False),
        ("Australia/Melbourne", datetime(2024, 4, 6, 15, 30, tzinfo=UTC), -660, True),
        ("Australia/Melbourne", datetime(2024, 4, 6, 16, 30, tzinfo=UTC), -600, False),
        ("America/New_York", datetime(2024, 11, 3, 5, 30, tzinfo=UTC), 240, True),
        ("America/New_York", datetime(2024, 11, 3, 6, 30, tzinfo=UTC), 300, False),
    ],
)
def test_daylight_saving_tells_the_occurrences_of_an_hour_apart(
    zone: str, instant: datetime, deviation: int, saving: bool
) -> None:
    stamp = CosemDateTime.from_instant(instant, ZoneInfo(zone))
    assert (stamp.deviation, stamp.daylight_saving) == (deviation, saving)
    assert replace(stamp, deviation=UNSPECIFIED_DEVIATION).instant(ZoneInfo(zone)) == instant


def test_an_hour_that_was_skipped_is_read_by_the_time_before() -> None:
    for status in (0, 0x80, 0xFF):
        stamp = CosemDateTime(2024, 3, 31, 0xFF, 2, 30, 0, 0, UNSPECIFIED_DEVIATION, status)
        assert stamp.instant(BERLIN) == datetime(2024, 3, 31, 1, 30, tzinfo=UTC)

"""The driver believes what a meter says of itself, and survives meters that say it oddly."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from openami.headend.dlms_conversation import LinkSettings
from openami.headend.dlms_tcp import (
    EVENT_CODE,
    EVENT_LOG,
    FREEZE_PROFILE,
    LOAD_PROFILE,
    PROFILE_STATUS,
    SERIAL_NUMBER,
    DlmsTcpDriver,
)
from openami.headend.tcp_link import MAX_RECEIVED, MAX_UNREAD
from openami.protocols.dlms.apdus.descriptors import CLOCK, CLOCK_COLUMN, CaptureObject
from openami.protocols.dlms.encoding.axdr import Data, Tag, array, encode, structure
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.encoding.units import scaler_unit
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.interface_classes.interface_object import AttributeRule, InterfaceObject
from openami.protocols.dlms.server.association_policy import management
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.errors import LinkError, ProtocolError, RemoteProtocolError
from openami.quantities.obis import EXPORT_INTERVAL, IMPORT_ENERGY, IMPORT_INTERVAL
from openami.quantities.units import Quantum, Unit
from openami.readings.read_order import ReadOrder

PASSWORD = b"87654321"
START = datetime(2024, 6, 1, tzinfo=UTC)
BERLIN_LOCAL = datetime(2024, 6, 1, 2, 15)


class Raw(InterfaceObject):
    """An object whose attributes are given as encoded octets."""

    rules = (*(AttributeRule(index) for index in range(1, 9)),)

    def __init__(self, class_id, logical_name, **values):
        super().__init__(logical_name)
        self.class_id = class_id
        self._values = {int(name[1:]): encode(value) for name, value in values.items()}

    def value(self, index):
        return self._values[index]


class RawProfile(Raw):
    rules = (
        AttributeRule(1),
        AttributeRule(2, selectors=(1, 2)),
        *(AttributeRule(index) for index in range(3, 9)),
    )

    def select(self, index, selector):
        return self._values[index]


def number(value, tag=Tag.DOUBLE_LONG_UNSIGNED):
    return Data(tag, value)


def octets(value):
    return Data(Tag.OCTET_STRING, value)


def local_time(minutes, deviation=-0x8000):
    local = BERLIN_LOCAL + timedelta(minutes=minutes)
    stamp = CosemDateTime(
        local.year, local.month, local.day, 0xFF, local.hour, local.minute, 0, 0, deviation, 0xFF
    )
    return octets(stamp.to_bytes())


def profile(name, columns, rows, period_s=900):
    captured = array(column.to_data() for column in columns)
    return RawProfile(7, name, a2=array(rows), a3=captured, a4=number(period_s))


NULL = Data(Tag.NULL_DATA, None)
COLUMNS = (
    CLOCK_COLUMN,
    CaptureObject(1, PROFILE_STATUS, 2),
    CaptureObject(3, IMPORT_INTERVAL, 2),
    CaptureObject(3, EXPORT_INTERVAL, 2),
)


def odd_meter(*replaced, without=()):
    """A meter without deviation in its stamps, counting 10 Wh, with a row that has no export value."""
    tens = scaler_unit(Quantum(Unit.WATT_HOUR, 1))
    objects = [
        Raw(1, SERIAL_NUMBER, a2=octets(b"ODD1")),
        Raw(8, CLOCK, a2=local_time(45)),
        Raw(3, IMPORT_INTERVAL, a2=number(1), a3=tens),
        Raw(3, EXPORT_INTERVAL, a2=number(1), a3=tens),
        Raw(3, IMPORT_ENERGY, a2=number(4_000_000_000), a3=scaler_unit(Quantum(Unit.WATT_HOUR, 3))),
        profile(
            LOAD_PROFILE,
            COLUMNS,
            [
                structure(local_time(0), number(0), number(7), number(0)),
                structure(local_time(15), number(4), number(8), number(1)),
                structure(local_time(30), number(0), number(9), NULL),
                structure(local_time(3000), number(0), number(9), number(2)),
            ],
        ),
        profile(FREEZE_PROFILE, COLUMNS[:1], [structure(local_time(-15))], 86_400),
        profile(EVENT_LOG, (CLOCK_COLUMN, CaptureObject(1, EVENT_CODE, 2)), [], 0),
    ]
    names = {item.logical_name for item in replaced}
    kept = [item for item in objects if item.logical_name not in names | set(without)]
    return LogicalDevice([*kept, *replaced], (management(PASSWORD),))


class Serving(asyncio.Protocol):
    """A device on a socket, answering a few octets at a time."""

    def __init__(self, device, slice_):
        self._session, self._slice = ServerSession({17: device}), slice_

    def connection_made(self, transport):
        self._transport = transport

    def data_received(self, data):
        answer = self._session.receive(data)
        for start in range(0, len(answer), self._slice):
            self._transport.write(answer[start : start + self._slice])


@asynccontextmanager
async def reading(device, *, slice_=1 << 20):
    server = await asyncio.get_running_loop().create_server(lambda: Serving(device, slice_), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    end = START + timedelta(days=1)
    order = ReadOrder("ODD1", "127.0.0.1", port, 17, "Europe/Berlin", START, end, password=PASSWORD)
    driver = DlmsTcpDriver(order, LinkSettings(request_timeout_s=1.0))
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()
        await driver.close()
        server.close()
        await server.wait_closed()


async def profile_of(driver, *channels, start=START):
    return await driver.load_profile(start, START + timedelta(days=1), channels)


async def test_stamps_without_deviation_are_local_time_of_the_zone():
    async with reading(odd_meter()) as driver:
        assert await driver.clock() == datetime(2024, 6, 1, 1, 0, tzinfo=UTC)
        rows = await profile_of(driver, IMPORT_INTERVAL)
    assert rows.at.astype(str).tolist() == [
        f"2024-06-01T00:{minute}:00.000000" for minute in ("15", "30", "45")
    ]
    assert rows.columns[IMPORT_INTERVAL].tolist() == [7, 8, 9]
    assert rows.status.tolist() == [0, 4, 0]


async def test_a_count_is_worth_what_the_meter_says():
    async with reading(odd_meter()) as driver:
        rows = await profile_of(driver, IMPORT_INTERVAL)
        (register,) = await driver.registers([IMPORT_ENERGY])
    assert rows.quanta == {IMPORT_INTERVAL: Quantum(Unit.WATT_HOUR, 1)}
    assert (register.value, register.quantum) == (4_000_000_000, Quantum(Unit.WATT_HOUR, 3))


async def test_a_row_without_a_value_is_left_out_and_is_no_zero():
    async with reading(odd_meter()) as driver:
        rows = await profile_of(driver, IMPORT_INTERVAL, EXPORT_INTERVAL)
    assert rows.columns[EXPORT_INTERVAL].tolist() == [0, 1]


def stamped(text, *, deviation=-0x8000, status=0xFF):
    """Clock column of a local time."""
    local = datetime.fromisoformat(text)
    return octets(
        CosemDateTime(
            local.year, local.month, local.day, 0xFF, local.hour, local.minute, 0, 0, deviation, status
        ).to_bytes()
    )


async def test_a_status_of_null_data_is_that_of_the_row_before():
    rows = [
        structure(local_time(15 * place), status, number(7))
        for place, status in enumerate([NULL, number(4), NULL, NULL, number(8), NULL])
    ]
    async with reading(odd_meter(profile(LOAD_PROFILE, COLUMNS[:3], rows))) as driver:
        assert (await profile_of(driver, IMPORT_INTERVAL)).status.tolist() == [0, 4, 4, 4, 8, 8]


@pytest.mark.parametrize("status", [0xFF, None])
async def test_the_hour_that_occurs_twice_is_two_hours(status):
    """Clocks went back on 27 October 2024 at 01:00 UTC; rows without deviation, with or without a status."""
    texts = [f"2024-10-27T{hour:02}:{minute:02}" for hour in (2, 2, 3) for minute in (0, 15, 30, 45)]
    saving = [0x80] * 4 + [0] * 8
    rows = [
        structure(stamped(text, status=status or bit), number(0), number(place))
        for place, (text, bit) in enumerate(zip(texts, saving, strict=True))
    ]
    async with reading(odd_meter(profile(LOAD_PROFILE, COLUMNS[:3], rows))) as driver:
        end = datetime(2024, 10, 28, tzinfo=UTC)
        found = await driver.load_profile(datetime(2024, 10, 26, 23, tzinfo=UTC), end, [IMPORT_INTERVAL])
    assert found.at.astype("datetime64[m]").astype(str).tolist() == [
        f"2024-10-27T{hour:02}:{minute:02}" for hour in (0, 1, 2) for minute in (0, 15, 30, 45)
    ]


async def test_a_profile_that_captures_more_of_a_register_than_its_value_is_read_by_its_value():
    columns = (*COLUMNS[:3], CaptureObject(3, IMPORT_INTERVAL, 3))
    rows = [structure(local_time(0), number(0), number(7), number(9))]
    async with reading(odd_meter(profile(LOAD_PROFILE, columns, rows))) as driver:
        assert (await profile_of(driver, IMPORT_INTERVAL)).columns[IMPORT_INTERVAL].tolist() == [7]


def log_of(*entries):
    columns = (CLOCK_COLUMN, CaptureObject(1, EVENT_CODE, 2))
    return odd_meter(profile(EVENT_LOG, columns, [structure(*entry) for entry in entries], 0))


async def test_events_at_the_ends_of_time_are_left_out():
    log = log_of(
        (stamped("9999-12-31T23:00", deviation=32_767), number(1)),
        (stamped("0001-01-01T00:00", deviation=-32_767), number(1)),
        (local_time(0, -120), number(2)),
        (local_time(15, -120), NULL),
    )
    async with reading(log) as driver:
        found = await driver.events(START, START + timedelta(days=1))
    assert found == [(START + timedelta(minutes=15 * place), 2) for place in (1, 2)]


@pytest.mark.parametrize("code", [-1, 1 << 31, (1 << 63) - 1])
async def test_an_event_code_that_no_store_takes_is_the_meters_fault(code):
    async with reading(log_of((local_time(0), number(code, Tag.LONG64)))) as driver:
        with pytest.raises(RemoteProtocolError, match="event codes"):
            await driver.events(START, START + timedelta(days=1))


async def test_a_period_of_ages_is_the_meters_fault():
    rows = [structure(local_time(0)), structure(NULL)]
    odd = RawProfile(
        7,
        FREEZE_PROFILE,
        a2=array(rows),
        a3=array([CLOCK_COLUMN.to_data()]),
        a4=number((1 << 64) - 1, Tag.LONG64_UNSIGNED),
    )
    async with reading(odd_meter(odd)) as driver:
        with pytest.raises(RemoteProtocolError, match="capture period"):
            await driver.freezes(START, START + timedelta(days=1), [])


class Echoing(Serving):
    """A line that gives back every octet before the answer, as modems do that were set up badly."""

    def data_received(self, data):
        self._transport.write(data)
        super().data_received(data)


class Flooding(asyncio.Protocol):
    """A meter that answers everything with notifications, for ever."""

    def connection_made(self, transport):
        self._transport = transport

    def data_received(self, _):
        octets_ = encode(Data(Tag.OCTET_STRING, bytes(60_000)))
        notification = Frame(17, 1, b"\x0f\x40\x00\x00\x00\x00" + octets_).to_bytes()
        self._flood(notification * 4)

    def _flood(self, octets_):
        if not self._transport.is_closing():
            if self._transport.get_write_buffer_size() < 1 << 20:
                self._transport.write(octets_)
            asyncio.get_running_loop().call_soon(self._flood, octets_)


class Silent(Serving):
    """A meter that does not answer a release (62)."""

    def data_received(self, data):
        if data[8] != 0x62:
            super().data_received(data)


@asynccontextmanager
async def unopened(protocol, timeout_s=1.0):
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    order = ReadOrder("ODD1", "127.0.0.1", port, 17, "Europe/Berlin", START, START, password=PASSWORD)
    driver = DlmsTcpDriver(order, LinkSettings(request_timeout_s=timeout_s))
    try:
        yield driver
    finally:
        await driver.close()
        server.close()
        await server.wait_closed()


async def test_an_echoed_password_is_not_kept():
    async with unopened(lambda: Echoing(odd_meter(), 1 << 20)) as driver:
        with pytest.raises(RemoteProtocolError):
            await driver.open()
        await driver.close()
        frames = driver.take_frames()
    assert [frame.direction for frame in frames] == ["->", "<-"]
    assert frames[1].octets.startswith(frames[0].octets)
    assert all(PASSWORD not in frame.octets + frame.wire for frame in frames)


async def test_a_meter_that_never_stops_is_cut_off_before_memory_is_full():
    async with unopened(Flooding, timeout_s=60.0) as driver:
        with pytest.raises(LinkError, match="sends without end"):
            await driver.open()
        assert sum(len(frame.wire) for frame in driver.take_frames()) < MAX_RECEIVED + MAX_UNREAD


async def test_a_reading_given_up_while_it_says_goodbye_leaves_no_connection():
    async with unopened(lambda: Silent(odd_meter(), 1 << 20), timeout_s=60.0) as driver:
        await driver.open()
        closing = asyncio.create_task(driver.close())
        await asyncio.sleep(0.05)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert driver._link._transport is None


async def test_rows_that_were_not_asked_for_are_left_out():
    async with reading(odd_meter()) as driver:
        rows = await profile_of(driver, IMPORT_INTERVAL, start=START + timedelta(minutes=15))
    assert rows.columns[IMPORT_INTERVAL].tolist() == [8, 9]  # (start, end]


async def test_an_empty_log_and_registers_that_are_not_frozen_are_empty():
    async with reading(odd_meter()) as driver:
        assert await driver.events(START, START + timedelta(days=1)) == []
        rows = await driver.freezes(START, START + timedelta(days=1), [IMPORT_ENERGY])
    assert rows.columns == {}
    assert len(rows.at) == 1


@pytest.mark.parametrize("slice_", [1, 7, 8, 9])
async def test_answers_cut_anywhere_are_the_same(slice_):
    async with reading(odd_meter(), slice_=slice_) as driver:
        assert await driver.identity() == "ODD1"
        assert (await profile_of(driver, IMPORT_INTERVAL)).columns[IMPORT_INTERVAL].tolist() == [7, 8, 9]
        frames = driver.take_frames()
    assert [frame.direction for frame in frames] == ["->", "<-"] * (len(frames) // 2)
    assert PASSWORD not in b"".join(frame.wire for frame in frames)
    assert len(driver.take_frames()) == 2  # the release
    assert driver.take_frames() == []


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        (odd_meter(without=(LOAD_PROFILE,)), "no profile 1-0:99.1.0"),
        (odd_meter(without=(IMPORT_INTERVAL,)), "does not say what a count of 1-0:1.29.0 is worth"),
        (odd_meter(profile(LOAD_PROFILE, COLUMNS, [], 0)), "capture period of 0 s"),
        (odd_meter(profile(LOAD_PROFILE, COLUMNS[1:], [structure(*[number(1)] * 3)])), "no capture times"),
        (odd_meter(profile(LOAD_PROFILE, COLUMNS, [structure(number(1))])), "rows of 1 columns"),
        (
            odd_meter(
                profile(LOAD_PROFILE, COLUMNS[:3], [structure(local_time(0), number(0), octets(b"x"))])
            ),
            "holds OCTETS",
        ),
        (
            odd_meter(
                profile(LOAD_PROFILE, COLUMNS[:3], [structure(octets(bytes(12)), number(0), number(1))])
            ),
            "names no instant",
        ),
        (
            odd_meter(RawProfile(7, LOAD_PROFILE, a2=array([]), a3=number(1), a4=number(900))),
            "capture objects",
        ),
    ],
)
async def test_a_profile_that_makes_no_sense_is_the_meters_fault(device, reason):
    async with reading(device) as driver:
        with pytest.raises(RemoteProtocolError, match=reason):
            await profile_of(driver, IMPORT_INTERVAL)


@pytest.mark.parametrize("serial", [octets(b"\xff\xfe"), number(5), NULL])
async def test_a_serial_number_that_is_no_text_is_the_meters_fault(serial):
    async with reading(odd_meter(Raw(1, SERIAL_NUMBER, a2=serial))) as driver:
        with pytest.raises(RemoteProtocolError, match="serial number"):
            await driver.identity()


async def test_a_register_that_counts_nothing_is_the_meters_fault():
    odd = Raw(3, IMPORT_ENERGY, a2=octets(b"12"), a3=scaler_unit(Quantum(Unit.WATT_HOUR)))
    async with reading(odd_meter(odd)) as driver:
        with pytest.raises(RemoteProtocolError, match=r"register 1-0:1\.8\.0 counts"):
            await driver.registers([IMPORT_ENERGY])


async def test_a_driver_that_was_not_opened_says_so():
    order = ReadOrder("M", "127.0.0.1", 1, 17, "UTC", START, START)
    driver = DlmsTcpDriver(order)
    with pytest.raises((LinkError, ProtocolError), match="not connected"):
        await driver.identity()
    await driver.close()
    assert driver.take_frames() == []

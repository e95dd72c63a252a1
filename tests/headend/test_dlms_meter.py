"""The client that people use: values with units, profiles as tables, over every transport, come what may."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from openami.headend.dlms_conversation import LinkSettings
from openami.headend.dlms_meter import Meter, Transport, read_meters
from openami.headend.meter_connection import FRAME_COUNTER
from openami.meter.cosem_objects import FleetDevices, meter_device
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FleetSpec, KeySpec, MeterSpec, household_fleet
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.initiate import Conformance
from openami.protocols.dlms.apdus.results import AccessError, AccessResult, AssociationError
from openami.protocols.dlms.client.attribute_value import Quality
from openami.protocols.dlms.client.client_security import ClientSecurity, send_counter_name
from openami.protocols.dlms.client.object_list import Right, readable
from openami.protocols.dlms.client.vendor_quirks import quirks_named
from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.framing.hdlc_frame import FrameKind, HdlcDecoder, HdlcFrame, control_of
from openami.protocols.dlms.protection.ciphered_apdu import Form
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.protocols.dlms.server.hdlc_server import HdlcServerSession
from openami.protocols.dlms.server.session import ServerSession
from openami.protocols.driver import RecordedFrame
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import LinkError, LocalProtocolError, RemoteProtocolError, SecurityError
from openami.quantities.obis import ObisCode
from openami.security.counters import MemoryCounters
from openami.security.secret import Secret
from served_meters import Line, served_datagrams, served_fleet, served_stream

START = datetime(2026, 3, 9, 23, tzinfo=UTC)
DAY = timedelta(days=1)
PASSWORD = Secret(b"00000000")
BERLIN = ZoneInfo("Europe/Berlin")
LOAD_PROFILE = "1.0.99.1.0.255"
IMPORT = "1.0.1.8.0.255"
QUICK = LinkSettings(1.0, 0.15, 2)


def home(start: datetime = START, **changes: Any) -> FleetSpec:
    meter = MeterSpec("PV-0001", 16, CurveSpec(CurveKind.PV_HOME, "UP"), start_wh=(1000, 500), **changes)
    return FleetSpec(3, start, (meter,))


def secured(spec: MeterSpec, **changes: Any) -> ClientSecurity:
    assert spec.keys is not None
    keys = spec.keys.meter_keys()
    return replace(ClientSecurity(b"TESTHES1", keys, meter_title=spec.system_title), **changes)


def keyed() -> FleetSpec:
    return home(keys=KeySpec.of_seed(1, "PV-0001"))


# --- values -------------------------------------------------------------------------------------------


async def test_register_comes_with_value_unit_and_class() -> None:
    async with served_fleet(home()) as (server, clock, port):
        clock.advance(3 * DAY)
        core = server.fleet.meter("PV-0001").core
        async with Meter("127.0.0.1", port, server=16, password=PASSWORD) as meter:
            energy = await meter.read(IMPORT)
            assert (energy.raw, energy.value, energy.unit) == (
                core.dials_wh[0],
                Decimal(core.dials_wh[0]),
                "Wh",
            )
            assert (energy.attribute.class_id, energy.scaler, energy.quality) == (3, 0, Quality.MEASURED)
            assert energy.text == f"{core.dials_wh[0]} Wh"
            assert (await meter.read("1-0:1.8.0")).value == energy.value


async def test_maximum_demand_comes_with_the_time_it_occurred_and_its_status() -> None:
    async with served_fleet(home()) as (server, clock, port):
        clock.advance(3 * DAY)
        maximum = server.fleet.meter("PV-0001").maximum_demand
        async with Meter("127.0.0.1", port, server=16, password=PASSWORD) as meter:
            demand = await meter.read("1-0:1.6.0")
            assert (demand.value, demand.unit, demand.status) == (Decimal(maximum.power_w), "W", 0)
            assert demand.captured_at == datetime.fromtimestamp(maximum.at_s, UTC)
            assert demand.attribute.class_id == 4


async def test_clock_and_serial_number_are_what_they_mean() -> None:
    async with served_fleet(home()) as (_, clock, port):
        clock.advance(DAY)
        async with Meter("127.0.0.1", port, server=16, password=PASSWORD) as meter:
            assert await meter.clock() == START + DAY
            assert (await meter.read("0-0:96.1.0")).text == "PV-0001"
            scaler = await meter.read(IMPORT, 3)
            assert (scaler.raw, scaler.unit) == ((0, 30), "")


async def test_refused_value_says_why_and_does_not_hide_the_others() -> None:
    async with served_fleet(home()) as (_, _, port), Meter("127.0.0.1", port, server=16) as public:
        # The public client may not read the register: no object of that name is in its list.
        with pytest.raises(LocalProtocolError, match=r"no object 1-0:1\.8\.0"):
            await public.read(IMPORT)
        with pytest.raises(AccessError) as refused:
            await public.read(IMPORT, class_id=3)
        assert refused.value.result in (AccessResult.READ_WRITE_DENIED, AccessResult.OBJECT_UNDEFINED)
        one, other = await public.read_many(["0-0:96.1.0", "0-0:96.3.10"], class_id=1)
        assert not isinstance(one, AccessError)
        assert isinstance(other, AccessError)


async def test_object_list_is_what_the_device_has_with_this_clients_rights() -> None:
    async with served_fleet(home()) as (server, _, port):
        device = meter_device(server.fleet, "PV-0001")
        async with Meter("127.0.0.1", port, server=16, password=PASSWORD) as meter:
            objects = await meter.objects()
            found = {(item.class_id, item.version, item.logical_name) for item in objects}
            expected = {(item.class_id, item.version, item.logical_name) for item in device}
            assert expected <= found
            assert len(found) == len(expected) + 1  # and the association itself
            clock = objects.find(ObisCode(0, 0, 1, 0, 0))
            assert clock.right(2) & Right.READ
            assert clock.right(2).text == "rw"
            assert clock.right(99) is Right.NONE
            profile = objects.find(ObisCode.parse(LOAD_PROFILE))
            assert next(item.selectors for item in profile.attributes if item.index == 2) == (1, 2)
        async with Meter("127.0.0.1", port, server=16) as public:
            assert len(await public.objects()) < len(objects)


async def test_everything_readable_is_read() -> None:
    async with served_fleet(home()) as (_, clock, port):
        clock.advance(DAY)
        async with Meter("127.0.0.1", port, server=16, password=PASSWORD) as meter:
            for item, index in readable(await meter.objects()):
                await meter.read(item.logical_name, index, class_id=item.class_id)


# --- profiles -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("midnight", "rows"),
    [
        (datetime(2026, 3, 28, 23, tzinfo=UTC), 92),
        (datetime(2026, 10, 24, 22, tzinfo=UTC), 100),
    ],
)
async def test_profile_is_the_meters_own_rows_across_a_change_of_clocks(
    midnight: datetime, rows: int
) -> None:
    async with served_fleet(home(midnight)) as (server, clock, port):
        clock.advance(timedelta(hours=30))
        async with Meter("127.0.0.1", port, server=16, password=PASSWORD) as meter:
            end = midnight + timedelta(minutes=15 * rows)
            table = await meter.profile(LOAD_PROFILE, midnight + timedelta(seconds=1), end)
            held = server.fleet.meter("PV-0001").profile.rows()
        assert table.column_names == ["time", "status", "1-0:1.29.0", "1-0:2.29.0"]
        assert table.num_rows == rows
        assert table.schema.field("time").type == pa.timestamp("us", tz="UTC")
        at = table["time"].to_numpy().astype("datetime64[s]").astype(np.int64)
        assert (at == held.stamp_s[:rows]).all()
        assert (table["status"].to_numpy() == held.status[:rows]).all()
        assert (table["1-0:1.29.0"].to_numpy() == held.values[0][:rows]).all()
        assert (table["1-0:2.29.0"].to_numpy() == held.values[1][:rows]).all()
        civil = [instant.as_py().astimezone(BERLIN) for instant in table["time"]]
        assert (civil[-1].hour, civil[-1].minute) == (0, 0)
        metadata = table.schema.field("1-0:1.29.0").metadata
        assert metadata == {
            b"obis": b"1-0:1.29.0", b"class": b"3", b"attribute": b"2", b"data_index": b"0",
            b"scaler": b"0", b"unit": b"Wh",
        }  # fmt: skip
        assert table.schema.metadata == {
            b"profile": b"1-0:99.1.0", b"capture_period_s": b"900", b"time": b"captured",
        }  # fmt: skip


async def test_profile_by_entry_whole_and_empty() -> None:
    async with served_fleet(home()) as (server, clock, port):
        clock.advance(2 * DAY)
        async with Meter("127.0.0.1", port, server=16, password=PASSWORD) as meter:
            whole = await meter.profile(LOAD_PROFILE)
            assert whole.num_rows == len(server.fleet.meter("PV-0001").profile)
            first = await meter.profile(LOAD_PROFILE, entries=(1, 5))
            assert first.equals(whole.slice(0, 5))
            nothing = await meter.profile(LOAD_PROFILE, START - 2 * DAY, START - DAY)
            assert nothing.num_rows == 0
            assert nothing.column_names == whole.column_names
            later = await meter.profile(LOAD_PROFILE, START + DAY)
            assert later.equals(whole.filter(pa.compute.greater_equal(whole["time"], pa.scalar(START + DAY))))
            events = await meter.profile("0-0:99.98.0")
            assert events.column_names == ["time", "0-0:96.11.0"]
            with pytest.raises(LocalProtocolError, match="zone"):
                await meter.profile(LOAD_PROFILE, datetime(2026, 1, 1))


async def test_profile_in_blocks_is_the_same_profile() -> None:
    async with served_fleet(home()) as (_, clock, port):
        clock.advance(DAY)
        async with Meter("127.0.0.1", port, server=16, password=PASSWORD) as meter:
            whole = await meter.profile(LOAD_PROFILE)
        async with Meter("127.0.0.1", port, server=16, password=PASSWORD, max_pdu=128) as meter:
            assert (await meter.profile(LOAD_PROFILE)).equals(whole)


@pytest.mark.parametrize("window", [1, 4, 63])
async def test_profile_in_a_window_of_general_blocks_is_the_same_profile(window: int) -> None:
    async with served_fleet(keyed()) as (server, clock, port):
        clock.advance(DAY)
        (spec,) = server.fleet.spec.meters
        access = secured(spec)
        async with Meter("127.0.0.1", port, server=16, security=access) as meter:
            whole = await meter.profile(LOAD_PROFILE)
        async with Meter("127.0.0.1", port, server=16, security=access, max_pdu=200, window=window) as meter:
            assert meter.conformance & Conformance.GENERAL_BLOCK_TRANSFER
            assert (await meter.profile(LOAD_PROFILE)).equals(whole)


async def test_lost_datagrams_of_a_window_are_asked_for_again() -> None:
    fleet, devices = device_of(keyed())
    line = Line()
    async with served_datagrams(devices, line) as port:
        access = secured(fleet.spec.meters[0])
        meter = Meter("127.0.0.1", port, server=16, security=access, transport=Transport.UDP,
                      settings=LinkSettings(1.0, 0.1, 5), max_pdu=400, window=3)  # fmt: skip
        async with meter:
            line.lose_answer = lambda number: number % 4 == 1
            table = await meter.profile(LOAD_PROFILE)
            line.lose_answer = lambda number: False
        assert (table["1-0:1.29.0"].to_numpy() == fleet.meter("PV-0001").profile.rows().values[0]).all()


async def test_window_is_given_up_where_the_meter_has_none() -> None:
    _, devices = device_of(home())
    asked: list[int] = []

    class Windowless(ServerSession):
        """A meter that does not know general-block-transfer: its bit never reaches it."""

        __slots__ = ()

        def receive(self, data: bytes) -> bytes:
            if data[8] == 0x60:
                asked.append(data[-5])
                data = data[:-5] + bytes((data[-5] & ~0x20,)) + data[-4:]
            return super().receive(data)

    async with (
        served_stream(lambda: Windowless(devices)) as port,
        Meter("127.0.0.1", port, server=16, password=PASSWORD, max_pdu=200, window=8) as meter,
    ):
        assert (await meter.profile(LOAD_PROFILE)).num_rows == 96
    assert [bool(octet & 0x20) for octet in asked] == [True, False]


# --- changing -----------------------------------------------------------------------------------------


async def test_set_takes_the_type_of_what_is_there() -> None:
    async with served_fleet(home()) as (_, clock, port):
        clock.advance(DAY)
        async with Meter("127.0.0.1", port, server=16, password=PASSWORD) as meter:
            await meter.set("0-0:1.0.0", START + DAY + timedelta(minutes=2))
            assert await meter.clock() == START + DAY + timedelta(minutes=2)
            with pytest.raises(LocalProtocolError, match="str as enum"):
                await meter.set("0-0:96.3.10", "x", 4)
            with pytest.raises(AccessError):
                await meter.set(IMPORT, 7)


async def test_action_switches_the_relay() -> None:
    async with served_fleet(home()) as (server, clock, port):
        clock.advance(DAY)
        async with Meter("127.0.0.1", port, server=16, password=PASSWORD) as meter:
            await meter.action("0-0:96.3.10", 1, Data(Tag.INTEGER, 0))
            assert server.fleet.meter("PV-0001").disconnected
            assert (await meter.read("0-0:96.3.10")).raw is False
            with pytest.raises(AccessError):
                await meter.action("0-0:96.3.10", 99, Data(Tag.INTEGER, 0))


# --- transports ---------------------------------------------------------------------------------------


def device_of(spec: FleetSpec) -> tuple[Fleet, FleetDevices]:
    clock = SimulatedClock(spec.start)
    fleet = Fleet(spec, clock)
    clock.advance(DAY)
    return fleet, FleetDevices(fleet, 0)


async def test_the_three_transports_give_the_same() -> None:
    fleet, devices = device_of(keyed())
    (spec,) = fleet.spec.meters
    tables = []
    counters = MemoryCounters()
    for transport, served in (
        (Transport.TCP, served_stream(lambda: ServerSession(devices))),
        (Transport.UDP, served_datagrams(devices)),
        (Transport.HDLC, served_stream(lambda: HdlcServerSession(devices))),
    ):
        async with served as port:
            access = secured(spec, counters=counters)
            # A datagram of this size goes over loopback; HDLC cuts into frames by itself.
            async with Meter("127.0.0.1", port, server=16, security=access, transport=transport,
                             max_pdu=8000) as meter:  # fmt: skip
                assert (await meter.read(IMPORT)).raw == fleet.meter("PV-0001").core.dials_wh[0]
                tables.append(await meter.profile(LOAD_PROFILE))
    assert tables[0].num_rows == 96
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])


@pytest.mark.parametrize("physical", [None, 17, 9000])
async def test_hdlc_addresses_of_one_two_and_four_octets(physical: int | None) -> None:
    _, devices = device_of(home())
    async with (
        served_stream(lambda: HdlcServerSession(devices)) as port,
        Meter("127.0.0.1", port, server=16, physical=physical, password=PASSWORD,
              transport=Transport.HDLC) as meter,
    ):  # fmt: skip
        assert (await meter.read("0-0:96.1.0")).text == "PV-0001"


async def test_lost_datagrams_are_asked_for_again() -> None:
    fleet, devices = device_of(keyed())
    line = Line()
    async with served_datagrams(devices, line) as port:
        access = secured(fleet.spec.meters[0])
        meter = Meter("127.0.0.1", port, server=16, security=access, transport=Transport.UDP, settings=QUICK)
        async with meter:
            first = len(line.requests)
            line.lose_request = lambda number: number == first
            line.lose_answer = lambda number: number == first + 2
            for _ in range(3):
                assert (await meter.read(IMPORT, class_id=3)).raw == fleet.meter("PV-0001").core.dials_wh[0]
            assert len(line.requests) == first + 5
            line.lose_request = lambda number: True
            with pytest.raises(LinkError, match=r"no answer within 0\.15 s"):
                await meter.read(IMPORT, class_id=3)
            assert len(line.requests) == first + 8  # once, and twice again


async def test_lost_hdlc_frames_are_repeated_by_the_link() -> None:
    fleet, devices = device_of(home())
    line = Line()
    async with (
        served_stream(lambda: HdlcServerSession(devices), line) as port,
        Meter("127.0.0.1", port, server=16, password=PASSWORD, transport=Transport.HDLC,
              settings=QUICK) as meter,
    ):  # fmt: skip
        first = len(line.requests)
        line.lose_request = lambda number: number == first
        line.lose_answer = lambda number: number == first + 3
        table = await meter.profile(LOAD_PROFILE)
        assert table.num_rows == 96
        assert (table["1-0:1.29.0"].to_numpy() == fleet.meter("PV-0001").profile.rows().values[0]).all()


# --- security -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize(
    "protection", [Protection.AUTHENTICATED, Protection.ENCRYPTED, AUTHENTICATED_ENCRYPTION]
)
async def test_every_form_and_protection_reads_or_is_refused_as_the_policy_says(
    form: Form, protection: Protection
) -> None:
    async with served_fleet(keyed()) as (server, clock, port):
        clock.advance(DAY)
        (spec,) = server.fleet.spec.meters
        meter = Meter("127.0.0.1", port, server=16, security=secured(spec, form=form, protection=protection))
        if protection == AUTHENTICATED_ENCRYPTION:
            async with meter:
                assert (await meter.read(IMPORT)).raw == server.fleet.meter("PV-0001").core.dials_wh[0]
        else:
            with pytest.raises((AssociationError, RemoteProtocolError)):
                await meter.open()


async def test_first_contact_goes_on_from_the_counter_that_the_meter_shows() -> None:
    async with served_fleet(keyed()) as (server, clock, port):
        clock.advance(DAY)
        (spec,) = server.fleet.spec.meters
        for number in range(3):
            # Each time a client that knows nothing, as after a new installation.
            counters = MemoryCounters()
            access = secured(spec, counters=counters)
            async with Meter("127.0.0.1", port, server=16, security=access) as meter:
                shown = (await meter.read(FRAME_COUNTER, class_id=1)).raw
            assert isinstance(shown, int)
            assert access.keys is not None
            assert counters.load(send_counter_name(access.title, access.keys)) > shown >= 3 * number


async def test_counter_begins_not_below_its_floor() -> None:
    fleet, devices = device_of(keyed())
    (spec,) = fleet.spec.meters
    async with served_stream(lambda: ServerSession(devices)) as port:
        counters = MemoryCounters()
        access = secured(spec, counters=counters)
        async with Meter("127.0.0.1", port, server=16, security=access, counter_floor=70_000) as meter:
            shown = (await meter.read(FRAME_COUNTER, class_id=1)).raw
        assert isinstance(shown, int)
        assert 70_000 < shown < 70_100
        async with Meter("127.0.0.1", port, server=16, security=access, counter_floor=5) as meter:
            again = (await meter.read(FRAME_COUNTER, class_id=1)).raw
        assert isinstance(again, int)
        assert again > shown


async def test_counter_that_fell_behind_is_recovered_without_a_word_from_the_meter() -> None:
    fleet, devices = device_of(keyed())
    (spec,) = fleet.spec.meters
    access = secured(spec)
    assert access.keys is not None
    name = send_counter_name(access.title, access.keys)

    class Silent(ServerSession):
        """A meter that does not answer an association it does not believe."""

        __slots__ = ()

        def receive(self, data: bytes) -> bytes:
            answer = super().receive(data)
            rejected = answer[8:9] == b"\xd8" or b"\xa2\x03\x02\x01\x01" in answer
            return b"" if rejected else answer

    async with served_stream(lambda: Silent(devices)) as port:
        async with Meter("127.0.0.1", port, server=16, security=access):
            pass
        ahead = secured(spec, counters=MemoryCounters({name: 5000}))
        async with Meter("127.0.0.1", port, server=16, security=ahead):
            pass
        behind = secured(spec, counters=MemoryCounters({name: 300}))
        async with Meter("127.0.0.1", port, server=16, security=behind, settings=QUICK) as meter:
            assert (await meter.read("0-0:96.1.0")).text == "PV-0001"
        assert behind.counters.load(name) > 5000


async def test_counter_is_never_asked_to_jump_too_far() -> None:
    fleet, devices = device_of(keyed())
    security = fleet.security("PV-0001")
    assert security is not None
    fleet.meter("PV-0001")
    (spec,) = fleet.spec.meters
    far = (1 << 31) + 5
    async with served_stream(lambda: ServerSession(devices)) as port:
        access = secured(spec, counters=MemoryCounters({_name(spec): far}))
        async with Meter("127.0.0.1", port, server=16, security=access):
            pass
        with pytest.raises(SecurityError, match="jump"):
            await Meter("127.0.0.1", port, server=16, security=secured(spec)).open()


def _name(spec: MeterSpec) -> str:
    access = secured(spec)
    assert access.keys is not None
    return send_counter_name(access.title, access.keys)


async def test_wrong_password_and_wrong_keys_are_refused_and_not_tried_again() -> None:
    line = Line()
    _, devices = device_of(home())
    async with served_stream(lambda: ServerSession(devices), line) as port:
        with pytest.raises(AssociationError, match=r"authentication failure \(diagnostic 13\)"):
            await Meter("127.0.0.1", port, server=16, password=Secret(b"wrong")).open()
        assert len(line.requests) == 1
    fleet, devices = device_of(keyed())
    (spec,) = fleet.spec.meters
    async with served_stream(lambda: ServerSession(devices)) as port:
        stranger = secured(spec, keys=KeySpec.of_seed(2, "x").meter_keys())
        with pytest.raises(AssociationError):
            await Meter("127.0.0.1", port, server=16, security=stranger).open()


async def test_smaller_sizes_are_tried_where_the_meter_refuses_without_a_reason() -> None:
    _, devices = device_of(home())
    refused = bytes.fromhex("00010010000100186116a109060760857405080101a203020101a305a103020100")
    refused = (
        refused[:6] + (len(refused) - 8).to_bytes(2, "big") + bytes((0x61, len(refused) - 10)) + refused[10:]
    )
    asked: list[int] = []

    class Small(ServerSession):
        """A meter that takes no proposal above 1024 octets."""

        __slots__ = ()

        def receive(self, data: bytes) -> bytes:
            if data[8] == 0x60:
                asked.append(int.from_bytes(data[-2:], "big"))
                if asked[-1] > 1024:
                    return data[:2] + data[4:6] + data[2:4] + refused[6:]
            return super().receive(data)

    async with (
        served_stream(lambda: Small(devices)) as port,
        Meter("127.0.0.1", port, server=16, password=PASSWORD) as meter,
    ):
        assert (await meter.read("0-0:96.1.0")).text == "PV-0001"
    assert asked == [65535, 1024]


async def test_no_secret_in_frames_errors_and_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    frames: list[RecordedFrame] = []
    secret = Secret(b"hunter2hunter2")
    async with served_fleet(home(password="hunter2hunter2")) as (_, _, port):
        meter = Meter("127.0.0.1", port, server=16, password=secret, on_frame=frames.append)
        async with meter:
            await meter.read("0-0:96.1.0")
        with pytest.raises(AssociationError) as refused:
            await Meter("127.0.0.1", port, server=16, password=Secret(b"hunter2hunter3")).open()
    shown = repr(frames) + repr(refused.value) + caplog.text + repr(vars(meter))
    assert "hunter2" not in shown
    assert b"hunter2".hex() not in shown
    assert len(frames) > 6
    assert any(b"*" * 14 in frame.wire for frame in frames)


# --- the world is bad ---------------------------------------------------------------------------------


async def test_nobody_there_and_nobody_answers() -> None:
    async with served_stream(lambda: ServerSession({}), Line(lose_request=lambda number: True)) as port:
        with pytest.raises(LinkError, match=r"no answer within 0\.15 s"):
            await Meter("127.0.0.1", port, server=16, settings=QUICK).open()
    with pytest.raises(LinkError, match="cannot connect"):
        await Meter("127.0.0.1", port, server=16, settings=QUICK).open()
    with pytest.raises(LinkError, match="not connected"):
        await Meter("127.0.0.1", port, server=16).read(IMPORT)


async def test_meter_that_hangs_up_in_the_middle_is_a_link_error() -> None:
    _, devices = device_of(home())
    for after in (1, 2, 3):
        async with served_stream(lambda: ServerSession(devices), Line(close_after=after)) as port:
            meter = Meter("127.0.0.1", port, server=16, password=PASSWORD, settings=QUICK)

            async def use(meter: Meter = meter) -> None:
                async with meter:
                    for _ in range(5):
                        await meter.read("0-0:96.1.0")

            with pytest.raises(LinkError):
                await use()


async def test_many_meters_in_one_loop() -> None:
    spec = household_fleet(30, seed=1, start=START, secured=False)
    async with served_fleet(spec) as (server, clock, port):
        clock.advance(DAY)
        meters = [Meter("127.0.0.1", port, server=16 + number, password=PASSWORD) for number in range(30)]
        meters.append(Meter("127.0.0.1", port, server=9999, password=PASSWORD, settings=QUICK))
        values = await asyncio.wait_for(read_meters(meters, IMPORT, at_once=8, class_id=3), 20)
        for number, value in enumerate(values[:-1], 1):
            assert not isinstance(value, LinkError)
            assert value.raw == server.fleet.meter(f"H{number:06d}").core.dials_wh[0]  # type: ignore[union-attr]
        assert isinstance(values[-1], LinkError | AssociationError | RemoteProtocolError)


async def test_quirk_of_a_reversed_deviation_holds_in_both_directions() -> None:
    _, devices = device_of(home())

    class Reversed(ServerSession):
        """A meter whose deviations have the other sign: -60 is sent as +60."""

        __slots__ = ()

        def receive(self, data: bytes) -> bytes:
            return super().receive(data.replace(b"\x00\x3c", b"\xff\xc4")).replace(b"\xff\xc4", b"\x00\x3c")

    async with served_stream(lambda: Reversed(devices)) as port:
        quirks = quirks_named("deviation_reversed")
        async with Meter("127.0.0.1", port, server=16, password=PASSWORD, quirks=quirks) as meter:
            assert await meter.clock() == START + DAY
            rows = await meter.profile(LOAD_PROFILE, START + timedelta(hours=1), START + timedelta(hours=2))
            assert [stamp.as_py() for stamp in rows["time"]] == [
                START + timedelta(hours=1, minutes=15 * number) for number in range(5)
            ]
        async with Meter("127.0.0.1", port, server=16, password=PASSWORD) as meter:
            assert await meter.clock() == START + DAY + timedelta(hours=2)


def test_mechanisms_need_what_they_need() -> None:
    with pytest.raises(LocalProtocolError, match="without keys"):
        ClientSecurity(b"TESTHES1", mechanism=Mechanism.HIGH_GMAC)


async def test_the_link_is_taken_down_after_an_rlre_that_cannot_be_read() -> None:
    """As Gurux' Java server writes it: the APDU and its user information shorter than what is in them."""
    rlre = bytes.fromhex("6311800100be0f040e0800065f1f040000001004000007")
    _, devices = device_of(home())

    class Misspelling(HdlcServerSession):
        def receive(self, data: bytes) -> bytes:
            answer = super().receive(data)
            (asked,) = [frame for frame in HdlcDecoder().feed(data) if isinstance(frame, HdlcFrame)]
            heard.append(asked.kind)
            if asked.information[3:4] != b"\x62":
                return answer
            (told,) = [frame for frame in HdlcDecoder().feed(answer) if isinstance(frame, HdlcFrame)]
            return replace(told, information=told.information[:3] + rlre).to_bytes()

    heard: list[FrameKind] = []
    async with (
        served_stream(lambda: Misspelling(devices)) as port,
        Meter("127.0.0.1", port, server=16, password=PASSWORD, transport=Transport.HDLC) as meter,
    ):
        assert (await meter.read("0-0:96.1.0", class_id=1)).text == "PV-0001"
    assert heard[-2:] == [FrameKind.I, FrameKind.DISC]


async def test_a_password_said_again_by_the_line_is_masked_too() -> None:
    """The meter answers our AARQ without acknowledging its frame, as jDLMS' server: it is sent again in the
    next operation, and no record shows what is in it."""
    _, devices = device_of(home())

    class Deaf(HdlcServerSession):
        def receive(self, data: bytes) -> bytes:
            (frame,) = [frame for frame in HdlcDecoder().feed(data) if isinstance(frame, HdlcFrame)]
            if frame.kind is not FrameKind.I:
                (said,) = HdlcDecoder().feed(super().receive(data))
                assert isinstance(said, HdlcFrame)
                return replace(said, information=b"").to_bytes()  # the parameters that hold without: window 1
            asked.append(frame.information)
            if len(asked) > 1:
                return b""
            (said,) = HdlcDecoder().feed(super().receive(data))
            assert isinstance(said, HdlcFrame)
            return replace(said, control=control_of(FrameKind.I)).to_bytes()

    asked: list[bytes] = []
    recorded: list[RecordedFrame] = []
    async with served_stream(lambda: Deaf(devices)) as port:
        meter = Meter("127.0.0.1", port, server=16, password=PASSWORD, transport=Transport.HDLC,
                      settings=QUICK, on_frame=recorded.append)  # fmt: skip
        await meter.open()
        with pytest.raises(LinkError):
            await meter.read(IMPORT, class_id=3)
        await meter.close()
    assert len(asked) > 1
    assert all(PASSWORD.reveal() in information for information in asked)
    assert len([frame for frame in recorded if b"********" in frame.wire]) == len(asked)
    assert not any(PASSWORD.reveal() in frame.wire + frame.octets for frame in recorded)

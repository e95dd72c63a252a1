"""Meters on real sockets: read as they are, a thousand at once, and unharmed by what clients do."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from openami.cli.bench.meter import DlmsLink, read_day
from openami.meter.control_channel import LINE_LIMIT, ControlChannel
from openami.meter.cosem_objects import FleetDevices, meter_device
from openami.meter.faults import DeadMeter, Fault, GarbageAnswers, LostReplies
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FleetSpec, KeySpec, MeterSpec, household_fleet, save_fleet
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.meter.serve import Serving, fast_loop, serve_fleet
from openami.meter.tcp_server import FleetServer, Limits
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.descriptors import Attribute, Method, Selector, by_range
from openami.protocols.dlms.apdus.results import AccessError, AssociationError
from openami.protocols.dlms.client.association import Association, management_association
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.encoding.axdr import Data, Tag, decode_plain
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.encoding.profile_buffer import ProfileDecoder, capture_instants
from openami.protocols.dlms.protection.security_control import Protection
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import LinkError, RemoteProtocolError
from openami.quantities.obis import ObisCode
from openami.readings.event import EventCode
from openami.security.secret import Secret

START = datetime(2026, 3, 9, 23, tzinfo=UTC)
DAY = timedelta(days=1)
PASSWORD = b"00000000"


def attribute(class_id: int, name: str, index: int = 2) -> Attribute:
    return Attribute(class_id, ObisCode.parse(name), index)


LOAD_PROFILE = attribute(7, "1-0:99.1.0")
FREEZES = attribute(7, "1-0:99.2.0")
EVENTS = attribute(7, "0-0:99.98.0")
IMPORT, EXPORT = attribute(3, "1-0:1.8.0"), attribute(3, "1-0:2.8.0")
CLOCK = attribute(8, "0-0:1.0.0")
RELAY = attribute(70, "0-0:96.3.10")


@asynccontextmanager
async def served(
    spec: FleetSpec, limits: Limits | None = None
) -> AsyncIterator[tuple[FleetServer, SimulatedClock, list[int]]]:
    clock = SimulatedClock(spec.start)
    server = FleetServer(Fleet(spec, clock), limits)
    ports = await server.start("127.0.0.1")
    try:
        yield server, clock, ports
    finally:
        await server.close()
        assert server.open_connections == 0


@asynccontextmanager
async def associated(port: int, wport: int = 16) -> AsyncIterator[tuple[DlmsLink, Association]]:
    link = await DlmsLink.connect("127.0.0.1", port)
    association = management_association(wport, PASSWORD)
    try:
        await asyncio.wait_for(link.run(association.associate()), 5)
        yield link, association
    finally:
        link.close()


def fleet(*faults: Fault, count: int = 3) -> FleetSpec:
    return replace(household_fleet(count, seed=1, start=START, secured=False), faults=faults)


def pv_home() -> FleetSpec:
    meter = MeterSpec("PV-0001", 16, CurveSpec(CurveKind.PV_HOME, "UP"), start_wh=(1000, 500))
    return FleetSpec(3, START, (meter,))


async def test_what_is_read_over_the_wire_is_what_the_meter_holds() -> None:
    async with served(pv_home()) as (server, clock, ports):
        clock.advance(20 * DAY)
        meter = server.fleet.meter("PV-0001")
        async with associated(ports[0]) as (link, association):
            decoder = ProfileDecoder()
            stamp, status, drawn, fed = decoder.decode(await link.run(association.get_encoded(LOAD_PROFILE)))
            rows = meter.profile.rows()
            assert (capture_instants(stamp, 900).astype("datetime64[s]").astype(int) == rows.stamp_s).all()
            assert (status.values == rows.status).all()
            assert (drawn.values == rows.values[0]).all()
            assert (fed.values == rows.values[1]).all()
            assert fed.values.sum() > 0
            selector = by_range(START + timedelta(minutes=15), START + DAY)
            day = decoder.decode(await link.run(association.get_encoded(LOAD_PROFILE, selector)))
            assert (day[2].values == rows.values[0, :96]).all()
            freezes = decoder.decode(await link.run(association.get_encoded(FREEZES)))
            assert (freezes[1].values == meter.freezes.rows().values[0]).all()
            assert len(freezes[0].present) == 21
            values = await link.run(association.get_with_list([IMPORT, EXPORT, attribute(1, "0-0:96.1.0")]))
            assert values == [*meter.core.dials_wh, b"PV-0001"]
            assert await link.run(association.get(attribute(3, "1-0:1.8.0", 3))) == (0, 30)
            await link.run(association.release())


async def test_days_of_changing_clocks_read_over_the_wire() -> None:
    for day, rows in (
        (datetime(2026, 3, 28, 23, tzinfo=UTC), 92),
        (datetime(2026, 10, 24, 22, tzinfo=UTC), 100),
    ):
        spec = replace(pv_home(), start=day)
        async with served(spec) as (_, clock, ports):
            clock.advance(timedelta(hours=26))
            end = day + timedelta(minutes=15 * rows)
            async with associated(ports[0]) as (link, association):
                encoded = await link.run(
                    association.get_encoded(LOAD_PROFILE, by_range(day + timedelta(seconds=1), end))
                )
                instants = capture_instants(ProfileDecoder().decode(encoded)[0], 900)
                assert len(instants) == rows
                assert set((instants[1:] - instants[:-1]).astype("timedelta64[s]").astype(int)) == {900}
                freezes = ProfileDecoder().decode(await link.run(association.get_encoded(FREEZES)))
                assert capture_instants(freezes[0], 0)[1].astype(datetime) == end.replace(tzinfo=None)


def test_stamps_are_local_time_with_deviation_and_the_daylight_saving_bit() -> None:
    """Clocks in Berlin went from 02:00 to 03:00 on 29 March 2026, a Sunday."""
    clock = SimulatedClock(START)
    world = Fleet(pv_home(), clock)
    clock.advance(datetime(2026, 3, 29, 1, 0, 7, tzinfo=UTC) - START)
    device = meter_device(world, "PV-0001")

    def read(asked: Attribute, selector: Selector | None = None) -> Any:
        found = device.find(asked.logical_name)
        assert found is not None
        return decode_plain(found.read(asked.index, selector))

    last = by_range(datetime(2026, 3, 29, 0, 40, tzinfo=UTC), datetime(2026, 3, 29, 1, 5, tzinfo=UTC))
    stamps = [row[0].hex() for row in read(LOAD_PROFILE, last)]
    assert stamps == ["07ea031d07012d0000ffc400", "07ea031d0703000000ff8880"]
    assert read(CLOCK).hex() == "07ea031d0703000700ff8880"
    assert read(attribute(8, "0-0:1.0.0", 3)) == -60
    assert read(attribute(8, "0-0:1.0.0", 4)) == 0x80
    (freeze,) = read(FREEZES, by_range(datetime(2026, 3, 28, tzinfo=UTC), clock.now()))
    assert freeze[0].hex() == "07ea031d0700000000ffc400"
    assert read(EVENTS)[-1] == (bytes.fromhex("07ea031d0703000000ff8880"), EventCode.DAYLIGHT_SAVING_CHANGED)


async def test_every_object_of_the_association_view_can_be_read() -> None:
    async with served(pv_home()) as (_, clock, ports):
        clock.advance(DAY)
        async with associated(ports[0]) as (link, association):
            view = await link.run(association.get(attribute(15, "0-0:40.0.0")))
            assert isinstance(view, list)
            assert len(view) == 19
            for class_id, _, name, (attributes, _) in view:  # type: ignore[misc]
                for index, access, _ in attributes:
                    wanted = Attribute(class_id, ObisCode.from_bytes(name), index)
                    if access & 1:
                        await link.run(association.get(wanted))


async def test_clock_and_relay_are_moved_over_the_wire() -> None:
    async with served(fleet()) as (server, clock, ports):
        clock.advance(timedelta(hours=9, minutes=20))
        async with associated(ports[0]) as (link, association):
            new = clock.now() + timedelta(seconds=41)
            value = Data(Tag.OCTET_STRING, CosemDateTime.from_instant(new).to_bytes())
            await link.run(association.set(CLOCK, value))
            raw = await link.run(association.get(CLOCK))
            assert isinstance(raw, bytes)
            assert CosemDateTime.from_bytes(raw).instant() == new
            await link.run(
                association.action(Method(70, ObisCode.parse("0-0:96.3.10"), 1), Data(Tag.INTEGER, 0))
            )
            assert await link.run(association.get(RELAY)) is False
            before = await link.run(association.get(IMPORT))
            clock.advance(timedelta(hours=3))
            assert await link.run(association.get(IMPORT)) == before
            await link.run(
                association.action(Method(70, ObisCode.parse("0-0:96.3.10"), 2), Data(Tag.INTEGER, 0))
            )
            clock.advance(timedelta(hours=3))
            assert await link.run(association.get(IMPORT)) > before  # type: ignore[operator]
            events = await link.run(association.get(EVENTS))
            assert [row[1] for row in events][1:] == [  # type: ignore[union-attr, index]
                EventCode.CLOCK_ADJUSTED_OLD, EventCode.CLOCK_ADJUSTED_NEW,
                EventCode.DISCONNECTED, EventCode.RECONNECTED,
            ]  # fmt: skip
            far = Data(
                Tag.OCTET_STRING, CosemDateTime.from_instant(datetime(2199, 1, 1, tzinfo=UTC)).to_bytes()
            )
            with pytest.raises(AccessError):
                await link.run(association.set(CLOCK, far))
        assert not server.fleet.meter("H000001").disconnected


async def test_public_client_sees_the_name_plate_and_a_wrong_password_nothing() -> None:
    async with served(fleet()) as (_, _, ports):
        link = await DlmsLink.connect("127.0.0.1", ports[0])
        public = Association(17)
        await link.run(public.associate())
        assert await link.run(public.get(attribute(1, "0-0:96.1.0"))) == b"H000002"
        with pytest.raises(AccessError):
            await link.run(public.get(IMPORT))
        with pytest.raises(AssociationError):
            await link.run(management_association(16, b"wrong").associate())
        directory = Association(1)
        await link.run(directory.associate())
        devices = await link.run(directory.get(attribute(17, "0-0:41.0.0")))
        assert devices[1:] == [(16 + n, b"OAMH00000%d" % (n + 1)) for n in range(3)]  # type: ignore[index]
        link.close()


async def test_thousand_meters_are_read_by_concurrent_clients() -> None:
    spec = household_fleet(1000, seed=1, start=START, per_port=400, secured=False)
    async with served(spec) as (server, clock, ports):
        assert len(ports) == 3
        clock.advance(DAY)
        queue = list(spec.meters)
        counts = []

        async def work() -> None:
            while queue:
                meter = queue.pop()
                port = ports[meter.port_index]
                decoder = ProfileDecoder()
                association = management_association(meter.wport, meter.password.encode())
                counts.append(await read_day(port, association, START, START + DAY, decoder))

        await asyncio.gather(*(work() for _ in range(50)))
        assert counts == [96] * 1000
        assert server.traffic.answers == 4000


async def test_many_meters_share_one_connection() -> None:
    async with served(fleet(count=40)) as (server, clock, ports):
        clock.advance(DAY)
        link = await DlmsLink.connect("127.0.0.1", ports[0])
        open_ = [management_association(16 + number, PASSWORD) for number in range(40)]
        for association in open_:
            await link.run(association.associate())
        for number, association in enumerate(open_):
            dial = server.fleet.meter(f"H{number + 1:06d}").core.dials_wh[0]
            assert await link.run(association.get(IMPORT)) == dial
        link.close()


async def test_dead_meter_and_lost_replies_are_silence_and_garbage_is_garbage() -> None:
    faults = (
        DeadMeter("H000001", START + timedelta(hours=1), START + timedelta(hours=2)),
        LostReplies("H000002", START + timedelta(hours=1), START + timedelta(hours=2)),
        GarbageAnswers("H000003", START + timedelta(hours=1), START + timedelta(hours=2)),
    )
    async with served(fleet(*faults)) as (server, clock, ports):
        clock.advance(timedelta(hours=1, minutes=1))
        for wport in (16, 17):
            link = await DlmsLink.connect("127.0.0.1", ports[0])
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(link.run(management_association(wport, PASSWORD).associate()), 0.1)
            link.close()
        link = await DlmsLink.connect("127.0.0.1", ports[0])
        with pytest.raises((RemoteProtocolError, TimeoutError)):
            await asyncio.wait_for(link.run(management_association(18, PASSWORD).associate()), 0.1)
        link.close()
        assert (server.traffic.unheard, server.traffic.lost, server.traffic.garbled) == (1, 1, 1)
        clock.advance(timedelta(hours=1))
        for wport in (16, 17, 18):
            async with associated(ports[0], wport):
                pass


def frame(apdu: bytes, wport: int = 16) -> bytes:
    return struct.pack(">4H", 1, 1, wport, len(apdu)) + apdu


async def exchange_raw(port: int, pieces: Sequence[bytes], wait: float = 0.3) -> bytes:
    """Send pieces, give all that comes until the server closes or nothing more comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        while data := await asyncio.wait_for(reader.read(65536), wait):
            received += data
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return received


async def test_hostile_octets_end_their_own_connection_and_nobody_elses() -> None:
    chance = random.Random(11)
    async with served(fleet()) as (server, clock, ports):
        clock.advance(DAY)
        async with associated(ports[0]) as (link, association):
            expected = await link.run(association.get(IMPORT))
            for number in range(60):
                noise = chance.randbytes(chance.randrange(1, 400))
                await exchange_raw(ports[0], [noise if number % 2 else frame(noise)], 0.02)
                assert await link.run(association.get(IMPORT)) == expected
        assert server.traffic.broken > 0


async def test_client_killed_in_the_middle_of_a_frame_does_no_harm() -> None:
    async with served(fleet()) as (server, _, ports):
        whole = b""
        recorded = management_association(16, PASSWORD).associate()
        whole = next(recorded)
        for cut in range(1, len(whole)):
            client = socket.create_connection(("127.0.0.1", ports[0]))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.send(whole[:cut])
            client.close()
        await asyncio.sleep(0.05)
        async with associated(ports[0]):
            pass
        await asyncio.sleep(0.05)
        assert server.unfinished_octets == 0
        assert server.open_connections == 0


async def test_answers_are_the_same_however_the_request_is_cut() -> None:
    async with served(fleet()) as (_, _, ports):
        whole = next(management_association(16, PASSWORD).associate())
        at_once = await exchange_raw(ports[0], [whole])
        assert at_once
        assert at_once == await exchange_raw(ports[0], [whole[i : i + 1] for i in range(len(whole))])


async def test_slow_loris_is_closed_though_octets_keep_coming() -> None:
    async with served(fleet(), Limits(idle_s=0.2)) as (server, _, ports):
        reader, writer = await asyncio.open_connection("127.0.0.1", ports[0])
        whole = frame(bytes(200))

        async def drip() -> None:
            for octet in whole:
                writer.write(bytes((octet,)))
                await asyncio.sleep(0.02)

        dripping = asyncio.ensure_future(drip())
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(1), 3) == b""
        dripping.cancel()
        writer.close()
        assert server.traffic.idle == 1


async def test_client_that_does_not_read_is_not_read_either() -> None:
    limits = Limits(unsent_octets=64 << 10)
    async with served(fleet(), limits) as (server, clock, ports):
        clock.advance(30 * DAY)
        link = await DlmsLink.connect("127.0.0.1", ports[0])
        association = management_association(16, PASSWORD)
        await link.run(association.associate())
        operation = association.get_encoded(LOAD_PROFILE)
        request = next(operation)
        transport = link._transport
        assert transport is not None
        transport.pause_reading()
        for _ in range(3000):
            transport.write(request)
        await asyncio.sleep(0.5)
        answered = server.traffic.answers
        assert answered < 500  # about what socket buffers and the limit hold, of 65 KB each
        async with associated(ports[0], 17):  # the others are served
            pass
        transport.abort()


async def test_too_many_connections_and_too_much_unfinished_are_refused() -> None:
    async with served(fleet(), Limits(connections=3, unfinished_octets=3000)) as (server, _, ports):
        links = [await DlmsLink.connect("127.0.0.1", ports[0]) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert await exchange_raw(ports[0], []) == b""
        assert server.traffic.refused == 1
        for link in links:
            assert link._transport is not None
            link._transport.write(frame(bytes(2000))[:1500])
        await asyncio.sleep(0.05)
        assert server.traffic.refused == 2
        assert server.unfinished_octets == 3000
        for link in links:
            link.close()


async def test_too_many_transfers_under_way_end_the_connection_that_adds_to_them() -> None:
    spec = fleet(count=3)
    async with served(spec, Limits(kept_octets=6000)) as (server, clock, ports):
        clock.advance(DAY)
        refused = []
        for wport in (16, 17, 18):
            link = await DlmsLink.connect("127.0.0.1", ports[0])
            association = management_association(wport, PASSWORD, max_pdu=128)
            await link.run(association.associate())
            reading = association.get(LOAD_PROFILE)
            assert link._transport is not None
            link._transport.write(next(reading))  # the first block comes, nobody asks for the second
            await asyncio.sleep(0.05)
            refused.append(server.traffic.refused)
        assert refused == [0, 0, 1]
        assert 0 < server.kept_octets <= 6000
    assert server.kept_octets == 0


async def test_port_in_use_is_a_link_error() -> None:
    async with served(fleet()) as (server, _, ports):
        with pytest.raises(LinkError, match=str(ports[0])):
            await FleetServer(server.fleet).start("127.0.0.1", ports[0])


def test_devices_are_made_when_asked_for() -> None:
    devices = FleetDevices(Fleet(fleet(), SimulatedClock(START)), 0)
    assert list(devices) == [1, 16, 17, 18]
    assert len(devices[16]) == 15
    assert devices.get(99) is None


# The control channel and the process ---------------------------------------------------------------------


async def command(port: int, *lines: bytes) -> list[dict]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(line + b"\n" for line in lines))
    answers = [orjson.loads(await asyncio.wait_for(reader.readline(), 10)) for _ in lines]
    writer.close()
    return answers


async def test_control_channel_moves_time_tells_how_it_is_and_stops() -> None:
    where: asyncio.Future[Serving] = asyncio.get_running_loop().create_future()
    serving = asyncio.ensure_future(serve_fleet(fleet(), SimulatedClock(START), ready=where.set_result))
    port = (await where).control_port
    assert port is not None
    target = START + 3 * DAY
    moved, status = await command(
        port, b'{"advance_to": "%s"}' % target.isoformat().encode(), b'{"status": null}'
    )
    assert moved == {"ok": True, "now": target.isoformat()}
    assert (status["meters"], status["now"], status["simulated"]) == (3, target.isoformat(), True)
    wrong = await command(
        port, b"{", b"[]", b'{"dance": 1}', b'{"advance_to": "2026-03-09T00:00:00+00:00"}',
        b'{"advance_to": "2027-01-01"}', b'{"advance_to": 5}', b'{"a": 1, "b": 2}',
    )  # fmt: skip
    assert not any(answer["ok"] for answer in wrong)
    assert "cannot go back" in wrong[3]["error"]
    with pytest.raises((ConnectionError, orjson.JSONDecodeError)):
        await command(port, b"x" * (3 * LINE_LIMIT))
    assert await command(port, b'{"stop": null}') == [{"ok": True}]
    await asyncio.wait_for(serving, 5)


async def test_time_of_a_fleet_that_follows_the_system_cannot_be_moved() -> None:
    async with served(fleet()) as (server, _, _):
        channel = ControlChannel(server, None)
        answer = await channel.run(b'{"advance_to": "2027-01-01T00:00:00+00:00"}')
        assert answer == {"ok": False, "error": "the fleet follows the system's clock"}


@pytest.mark.parametrize("end", ["stop", "signal"])
def test_fleet_in_a_process_of_its_own(tmp_path: Path, end: str) -> None:
    path = tmp_path / "fleet.json"
    save_fleet(fleet(), path)
    arguments = [sys.executable, "-m", "openami.meter.serve", str(path), "--simulated"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            serving = orjson.loads(process.stdout.readline())

            async def use() -> int:
                moved = b'{"advance_to": "%s"}' % (START + DAY).isoformat().encode()
                await command(serving["control_port"], moved)
                association = management_association(16, PASSWORD)
                count = await read_day(serving["ports"][0], association, START, START + DAY, ProfileDecoder())
                if end == "stop":
                    await command(serving["control_port"], b'{"stop": null}')
                return count

            with asyncio.Runner(loop_factory=fast_loop()) as runner:
                assert runner.run(use()) == 96
            if end == "signal":
                process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_fleet_file_that_is_none_ends_with_exit_code_2(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text("seed = 1")
    arguments = [sys.executable, "-m", "openami.meter.serve", str(path)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "fleet.toml" in done.stderr


async def test_meters_with_keys_are_read_under_them_and_log_who_tried_without() -> None:
    spec = household_fleet(3, seed=1, start=START)
    assert len({meter.keys.global_unicast for meter in spec.meters if meter.keys}) == 3
    async with served(spec) as (server, clock, ports):
        clock.advance(DAY)
        for meter in spec.meters:
            assert meter.keys is not None
            keys = meter.keys.meter_keys()
            secured = ClientSecurity(b"TESTHES1", keys, meter_title=meter.system_title)
            association = Association(meter.wport, 1, security=secured)
            assert await read_day(ports[0], association, START, START + DAY, ProfileDecoder()) == 96
        first, second = spec.meters[0], spec.meters[1]
        assert second.keys is not None
        for wrong in (
            ClientSecurity(b"TESTHES1", second.keys.meter_keys()),
            ClientSecurity(b"TESTHES1", mechanism=Mechanism.LOW, secret=Secret(PASSWORD),
                           protection=Protection.NONE),
        ):  # fmt: skip
            link = await DlmsLink.connect("127.0.0.1", ports[0])
            with pytest.raises(AssociationError):
                await link.run(Association(first.wport, 1, security=wrong).associate())
            link.close()
        codes = [code for _, code in server.fleet.meter(first.meter_id).events]
        assert codes[-2:] == [EventCode.DECIPHERING_FAILED, EventCode.AUTHENTICATION_FAILED]
        assert [code for _, code in server.fleet.meter(second.meter_id).events][-1] != codes[-1]


async def test_rubbish_does_not_push_everything_else_out_of_the_log() -> None:
    spec = household_fleet(1, seed=1, start=START)
    async with served(spec) as (server, clock, ports):
        clock.advance(DAY)
        (meter,) = spec.meters
        before = server.fleet.meter(meter.meter_id).events
        stranger = ClientSecurity(b"TESTHES1", KeySpec.of_seed(2, "x").meter_keys())
        for _ in range(300):
            link = await DlmsLink.connect("127.0.0.1", ports[0])
            with pytest.raises(AssociationError):
                await link.run(Association(meter.wport, 1, security=stranger).associate())
            link.close()
        added = server.fleet.meter(meter.meter_id).events[len(before) :]
        assert [code for _, code in added] == [EventCode.DECIPHERING_FAILED]

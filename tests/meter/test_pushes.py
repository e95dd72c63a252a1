"""Software meters push by themselves: to the destination of their push setup, protected, again if need be."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from openami.headend.dlms_meter import Meter
from openami.headend.key_rotation import rotate
from openami.headend.push_keys import PushKeys
from openami.headend.push_listener import Push, PushFault, PushListener
from openami.meter.companion.objects import companion_device
from openami.meter.control_channel import ControlChannel
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FleetSpec, KeySpec, MeterSpec
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.meter.push_message import Carrier, push_frames, push_protection, push_target
from openami.meter.push_sender import Pushing, PushSender
from openami.meter.tcp_server import FleetServer
from openami.protocols.dlms.client.client_security import ClientSecurity, send_counter_name
from openami.protocols.dlms.encoding.axdr import Data, Tag, array, structure
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.framing.push_framing import Framing
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.protection.ciphered_apdu import Form
from openami.protocols.dlms.protection.general_ciphering import KeySource
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.protocols.dlms.server.notifications import PLAIN
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import LocalProtocolError, ProtectionError
from openami.quantities.obis import ObisCode
from openami.readings.event import EventCode
from openami.security.keyring import MeterCredentials
from openami.security.meter_keys import KeyKind, MeterKeys
from openami.security.secret import Secret
from openami.workspace.meter_access import HEAD_END_TITLE, open_keyring

START = datetime(2026, 3, 9, 23, tzinfo=UTC)
NOTHING = Data(Tag.INTEGER, 0)
SETUP, ALARMS = "0-0:25.9.0", "0-4:25.9.0"
SCRIPTS, SCHEDULE, MONITOR = "0-0:10.0.108", "0-0:15.0.4", "0-0:16.1.0"
ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".venv-peers" / "bin" / "python"


def octets(value: bytes) -> Data:
    return Data(Tag.OCTET_STRING, value)


def number(value: int, tag: Tag = Tag.LONG_UNSIGNED) -> Data:
    return Data(tag, value)


def destination(port: int, transport: int = 0) -> Data:
    return structure(number(transport, Tag.ENUM), octets(f"127.0.0.1:{port}".encode()), number(0, Tag.ENUM))


class Street:
    """Meters of a model on a port, their sender, a listener, and a clock in our hands."""

    def __init__(self, meters: int = 1, model: str = "idis-like-1p", *, keyed: bool = False) -> None:
        self.clock = SimulatedClock(START)
        specs = tuple(
            MeterSpec(
                f"M{index:04d}",
                16 + index,
                CurveSpec(CurveKind.HOUSEHOLD, f"M{index:04d}"),
                keys=KeySpec.of_seed(3, f"M{index:04d}") if keyed else None,
                companion=model,
            )
            for index in range(meters)
        )
        self.fleet = Fleet(FleetSpec(3, START, specs), self.clock)
        self.clock.advance(timedelta(days=1, minutes=2))
        self.heard: list[Push] = []
        self.faults: list[PushFault] = []
        self.sender = PushSender(self.fleet, Pushing(settle_s=0.0, call_s=5.0))
        self.listener = PushListener(
            self.heard.append,
            self.clock,
            keys=self.keys_of,
            on_fault=self.faults.append,
            title=b"OAMHES01",
        )
        self.port = 0

    def keys_of(self, title: bytes) -> MeterKeys | None:
        known = {spec.system_title: spec.keys for spec in self.fleet.spec.meters}.get(title)
        return None if known is None else known.meter_keys()

    @asynccontextmanager
    async def management(self, meter: str = "M0000") -> AsyncIterator[Meter]:
        spec = self.fleet.meter_spec(meter)
        secured = None if spec.keys is None else ClientSecurity(b"OAMHES01", spec.keys.meter_keys())
        password = Secret(b"00000000") if spec.keys is None else None
        async with Meter(
            "127.0.0.1", self.port, server=spec.wport, password=password, security=secured
        ) as client:
            yield client

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait for something that needs only octets on their way."""
        async with asyncio.timeout(20):
            while not done():
                await asyncio.sleep(0.005)

    def go(self, **step: float) -> None:
        """Let time go on, and the sender see it."""
        self.clock.advance(timedelta(**step))
        self.sender.moved()

    def log(self, meter: str = "M0000") -> list[int]:
        return [code for _, code in self.fleet.meter(meter).events]


@asynccontextmanager
async def street(
    meters: int = 1, model: str = "idis-like-1p", *, keyed: bool = False
) -> AsyncIterator[Street]:
    made = Street(meters, model, keyed=keyed)
    server = FleetServer(made.fleet)
    (made.port,) = await server.start("127.0.0.1")
    made.sender.start()
    yield made
    await made.sender.close()
    await server.close()
    await made.listener.close()
    assert made.fleet.attendant is None


# --- who starts a push --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transport", "framing"), [(0, Framing.WRAPPER), (1, Framing.WRAPPER), (5, Framing.HDLC)]
)
@pytest.mark.parametrize("keyed", [False, True])
async def test_method_1_pushes_to_the_destination_protected_where_the_meter_has_keys(
    transport: int, framing: Framing, keyed: bool
) -> None:
    async with street(keyed=keyed) as world:
        listen = world.listener.start_udp if transport == 1 else world.listener.start_tcp
        port = await listen("127.0.0.1")
        async with world.management() as meter:
            await meter.set(SETUP, destination(port, transport), 3)
            for count in (1, 2):
                await meter.action(SETUP, 1, NOTHING)
                await world.until(lambda count=count: len(world.heard) == count)  # type: ignore[misc]
            energy = await meter.read("1-0:1.8.0")
        first, second = world.heard
        assert first.framing is framing
        assert first.protection == (AUTHENTICATED_ENCRYPTION if keyed else Protection.NONE)
        assert first.title == (world.fleet.meter_spec("M0000").system_title if keyed else b"")
        assert first.source == 16
        name, time, value = first.value  # type: ignore[misc]
        assert (name, value) == (b"OAMM0000", energy.raw)
        assert CosemDateTime.from_bytes(time).instant() == world.clock.now()  # type: ignore[arg-type]
        stamp = first.notification.date_time
        assert stamp is not None
        assert CosemDateTime.from_bytes(stamp).instant() == world.clock.now()
        # High priority, unconfirmed, ids that count up.
        assert [push.notification.long_invoke for push in (first, second)] == [0x8000_0001, 0x8000_0002]  # type: ignore[union-attr]
        await world.until(lambda: world.sender.sendings.sent == 2)
        assert not world.sender.waiting
        assert not world.faults


async def test_a_meter_that_nobody_talks_to_pushes_on_schedule_and_others_are_not_looked_at() -> None:
    async with street(meters=40) as world:
        port = await world.listener.start_tcp("127.0.0.1")
        async with world.management("M0007") as meter:
            await meter.set(SETUP, destination(port), 3)
            times = (structure(octets(bytes((hour, 30, 0, 0))), octets(b"\xff" * 5)) for hour in range(3))
            await meter.set(SCHEDULE, number(5, Tag.ENUM), 3)
            await meter.set(SCHEDULE, array(times), 4)
        await world.until(
            lambda: len(world.sender._look_at) == 1 and world.fleet._companions["M0007"].reached is not None
        )
        for hours in range(1, 4):
            world.go(hours=1)
            await world.until(lambda hours=hours: len(world.heard) == hours)  # type: ignore[misc]
        stamps = [
            CosemDateTime.from_bytes(push.notification.date_time or b"").instant() for push in world.heard
        ]
        first = START + timedelta(days=1, minutes=30)
        assert stamps == [first, first + timedelta(hours=1), first + timedelta(hours=2)]
        assert {push.value[0] for push in world.heard} == {b"OAMM0007"}  # type: ignore[index]
        assert set(world.fleet._companions) == {"M0007"}


async def test_a_script_pushes_the_setup_that_it_names() -> None:
    async with street() as world:
        port = await world.listener.start_tcp("127.0.0.1")
        async with world.management() as meter:
            await meter.set(ALARMS, destination(port), 3)
            listed = array(
                [
                    structure(
                        number(1),
                        octets(ObisCode.parse("0-0:97.98.0").to_bytes()),
                        Data(Tag.INTEGER, 2),
                        number(0),
                    )
                ]
            )
            await meter.set(ALARMS, listed, 2)
            await meter.set("0-0:97.98.0", number(5, Tag.DOUBLE_LONG_UNSIGNED))
            await meter.action(SCRIPTS, 1, number(2))
            await world.until(lambda: len(world.heard) == 1)
        assert world.heard[0].value == (5,)


async def test_an_alarm_that_is_watched_pushes_without_a_further_request() -> None:
    async with street() as world:
        port = await world.listener.start_tcp("127.0.0.1")
        async with world.management() as meter:
            await meter.set(ALARMS, destination(port), 3)
            await meter.set(MONITOR, array([number(0, Tag.DOUBLE_LONG_UNSIGNED)]), 2)
            push = structure(octets(ObisCode.parse(SCRIPTS).to_bytes()), number(2))
            nothing = structure(octets(bytes(6)), number(0))
            await meter.set(MONITOR, array([structure(push, nothing)]), 4)
            await meter.read("0-0:96.1.0")
            assert not world.heard
            await meter.set("0-0:97.98.0", number(1, Tag.DOUBLE_LONG_UNSIGNED))
            await world.until(lambda: len(world.heard) == 1)
        assert world.heard[0].value[0] == b"OAMM0000"  # type: ignore[index]


async def test_a_value_that_only_time_changes_is_watched_once_a_minute() -> None:
    async with street() as world:
        port = await world.listener.start_tcp("127.0.0.1")
        async with world.management() as meter:
            await meter.set(ALARMS, destination(port), 3)
            energy = (await meter.read("1-0:1.8.0")).raw
            assert isinstance(energy, int)
            watched = structure(
                number(3), octets(ObisCode.parse("1-0:1.8.0").to_bytes()), Data(Tag.INTEGER, 2)
            )
            await meter.set(MONITOR, watched, 3)
            await meter.set(MONITOR, array([number(energy + 5, Tag.DOUBLE_LONG_UNSIGNED)]), 2)
            push = structure(octets(ObisCode.parse(SCRIPTS).to_bytes()), number(2))
            await meter.set(MONITOR, array([structure(push, structure(octets(bytes(6)), number(0)))]), 4)
        minutes = 0
        while not world.heard and minutes < 120:
            await world.until(lambda: world.sender._looks and world.sender._timer is not None)  # type: ignore[arg-type,return-value]
            world.go(minutes=1)
            await asyncio.sleep(0.02)
            minutes += 1
        await world.until(lambda: len(world.heard) == 1)
        assert world.heard[0].value[2] > energy + 5  # type: ignore[index,operator]


async def test_pushes_are_deciphered_before_while_and_after_keys_are_rotated(tmp_path: Path) -> None:
    async with street(keyed=True) as world:
        spec = world.fleet.meter_spec("M0000")
        assert spec.keys is not None
        with open_keyring(tmp_path) as keyring:
            old = spec.keys.meter_keys()
            keyring.put({"M0000": MeterCredentials(None, old, spec.system_title)})
            keys = PushKeys(keyring)
            world.listener = PushListener(
                world.heard.append, world.clock, keys=keys.in_use, on_their_way=keys.on_their_way,
                on_fault=world.faults.append, counters=keyring,
            )  # fmt: skip
            port = await world.listener.start_tcp("127.0.0.1")

            def reach(some: MeterKeys) -> Meter:
                keyring.reserve(send_counter_name(HEAD_END_TITLE, some), 0, 1000)
                security = ClientSecurity(HEAD_END_TITLE, some, counters=keyring)
                return Meter("127.0.0.1", world.port, server=spec.wport, security=security)

            async def pushed(some: MeterKeys, heard: int) -> None:
                async with reach(some) as meter:
                    await meter.set(SETUP, destination(port), 3)
                    await meter.action(SETUP, 1, NOTHING)
                    await world.until(lambda: len(world.heard) + len(world.faults) >= heard)

            await pushed(old, 1)
            security = world.fleet.security("M0000")
            assert security is not None
            new = keyring.offer("M0000", replace(MeterKeys.random(), global_broadcast=None))
            await pushed(old, 2)  # on their way, and not there
            security.change_key(KeyKind.AUTHENTICATION, new.authentication)
            mixed = old.with_key(KeyKind.AUTHENTICATION, new.authentication)
            await pushed(mixed, 3)
            security.keys = new
            await pushed(new, 4)  # there, and nobody knows yet
            keyring.settle("M0000", new)
            await pushed(new, 5)
            done = await rotate(keyring, "M0000", reach, (KeyKind.GLOBAL_UNICAST, KeyKind.AUTHENTICATION))
            assert done.outcome.good
            await pushed(security.keys, 6)
            assert (len(world.heard), world.faults) == (6, [])
            assert {push.title for push in world.heard} == {spec.system_title}
            rotated, security.keys = security.keys, new
            await pushed(new, 7)  # somebody has the keys of before
            assert len(world.heard) == 6
            assert isinstance(world.faults[0].error, ProtectionError)
            security.keys = rotated
            # What was taken once is not taken again, whatever keys are on their way.
            keyring.offer("M0000", replace(MeterKeys.random(), global_broadcast=None))
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(world.heard[5].frames[0])
            writer.close()
            await world.until(lambda: len(world.faults) == 2)
            assert "was used before" in str(world.faults[1].error)
            await world.listener.close()


# --- what goes wrong ----------------------------------------------------------------------------------


async def test_a_push_that_nobody_takes_is_tried_as_often_and_when_the_setup_says_and_logged() -> None:
    async with street() as world:
        port = await world.listener.start_tcp("127.0.0.1")
        await world.listener.close()  # a port that nobody listens on
        async with world.management() as meter:
            await meter.set(SETUP, destination(port), 3)
            await meter.set(SETUP, number(2, Tag.UNSIGNED), 6)
            await meter.set(SETUP, number(600), 7)
            await meter.action(SETUP, 1, NOTHING)
        await world.until(lambda: world.sender.sendings.failed == 1)
        assert world.log().count(EventCode.PUSH_FAILED) == 1
        world.go(seconds=599)
        await asyncio.sleep(0.05)
        assert (world.sender.sendings.failed, world.sender.waiting) == (1, 1)
        world.go(seconds=1)
        await world.until(lambda: world.sender.sendings.failed == 2)
        # Somebody is there again for the last attempt.
        assert await world.listener.start_tcp("127.0.0.1", port) == port
        world.go(seconds=600)
        await world.until(lambda: len(world.heard) == 1)
        assert world.log().count(EventCode.PUSH_FAILED) == 2
        assert (world.sender.sendings.sent, world.sender.waiting) == (1, 0)


async def test_a_push_is_given_up_after_its_last_attempt() -> None:
    async with street() as world:
        port = await world.listener.start_udp("127.0.0.1")
        await world.listener.close()
        async with world.management() as meter:
            await meter.set(SETUP, destination(port, 1), 3)
            await meter.set(SETUP, number(0, Tag.UNSIGNED), 6)
            await meter.action(SETUP, 1, NOTHING)
        await world.until(lambda: world.sender.sendings.given_up == 1)
        assert (world.sender.waiting, world.sender._waiting_octets) == (0, 0)


@pytest.mark.parametrize(
    "where",
    [
        structure(number(4, Tag.ENUM), octets(b"+49123"), number(0, Tag.ENUM)),
        structure(number(0, Tag.ENUM), octets(b"127.0.0.1:70000"), number(0, Tag.ENUM)),
        structure(number(0, Tag.ENUM), octets(b"\xff\x00"), number(0, Tag.ENUM)),
        structure(number(0, Tag.ENUM), octets(b"127.0.0.1:1"), number(1, Tag.ENUM)),
        structure(number(0, Tag.ENUM), octets(b"a..b:1"), number(0, Tag.ENUM)),
    ],
)
async def test_a_destination_that_is_none_is_logged_and_hurts_nobody(where: Data) -> None:
    async with street(meters=2) as world:
        port = await world.listener.start_tcp("127.0.0.1")
        async with world.management("M0000") as wrong, world.management("M0001") as right:
            await wrong.set(SETUP, where, 3)
            await wrong.set(SETUP, number(0, Tag.UNSIGNED), 6)
            await wrong.action(SETUP, 1, NOTHING)
            await world.until(lambda: EventCode.PUSH_FAILED in world.log("M0000"))
            await right.set(SETUP, destination(port), 3)
            await right.action(SETUP, 1, NOTHING)
            await world.until(lambda: len(world.heard) == 1)
            assert (await wrong.read("0-0:96.1.0")).text == "M0000"
        assert world.sender.waiting == 0


async def test_what_waits_is_bounded_in_number_and_in_octets() -> None:
    for limits in (Pushing(waiting=10), Pushing(waiting_octets=800)):
        world = Street()
        world.sender = PushSender(world.fleet, replace(limits, calls=0))
        world.sender.start()
        device = companion_device(world.fleet, "M0000")
        setup = device.find(ObisCode.parse(SETUP))
        assert setup is not None
        setup.write(3, destination(9))
        for _ in range(30):
            setup.invoke(1, NOTHING)
            world.sender._see("M0000")
        assert world.sender.waiting == 10 or 700 < world.sender._waiting_octets <= 800
        assert world.sender.sendings.given_up == 30 - world.sender.waiting
        assert world.log().count(EventCode.PUSH_FAILED) == 1  # one a minute
        await world.sender.close()


async def test_a_client_that_never_stops_changing_a_meter_does_not_fill_the_queue() -> None:
    world = Street(meters=3)
    world.sender.start()
    for index in range(3):
        device = companion_device(world.fleet, f"M{index:04d}")
        setup = device.find(ObisCode.parse(SETUP))
        assert setup is not None
        for port in range(1, 400):
            setup.write(3, destination(port))
            world.sender._look_at.pop(f"M{index:04d}", None)  # as after a look
            world.sender._look(f"M{index:04d}", 10**15 + port)
    assert len(world.sender._looks) < 100
    await world.sender.close()


async def test_time_that_is_moved_over_the_control_channel_pushes_what_was_due() -> None:
    async with street() as world:
        port = await world.listener.start_tcp("127.0.0.1")
        async with world.management() as meter:
            await meter.set(SETUP, destination(port), 3)
            at = structure(octets(bytes((6, 0, 0, 0))), octets(b"\xff" * 5))
            await meter.set(SCHEDULE, array([at]), 4)
        await world.until(lambda: world.fleet.companion_state("M0000").reached is not None)
        channel = ControlChannel(FleetServer(world.fleet), world.clock)
        there = world.clock.now() + timedelta(days=3)
        command = json.dumps({"advance_to": there.isoformat()}).encode()
        assert (await channel.run(command))["ok"]
        await world.until(lambda: len(world.heard) == 3)
        stamps = [CosemDateTime.from_bytes(push.notification.date_time or b"") for push in world.heard]
        assert [(at.instant().day, at.instant().hour) for at in stamps] == [(11, 5), (12, 5), (13, 5)]


async def test_a_listener_that_never_closes_is_not_called_again() -> None:
    frames: list[bytes] = []

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames.append(await reader.read(4096))
        await asyncio.sleep(10)

    async with street() as world:
        server = await asyncio.start_server(hold, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with world.management() as meter:
            await meter.set(SETUP, destination(port), 3)
            await meter.action(SETUP, 1, NOTHING)
        await world.until(lambda: world.sender.sendings.sent == 1)
        assert len(frames) == 1
        assert world.sender.waiting == 0
        server.close()


async def test_a_window_that_is_closed_and_an_empty_destination_call_nobody() -> None:
    async with street() as world:
        async with world.management() as meter:
            await meter.action(SETUP, 1, NOTHING)
        await world.until(lambda: not world.fleet.companion_state("M0000").deliveries)
        assert world.sender.sendings.given_up == world.sender.waiting == 0
        assert EventCode.PUSH_FAILED not in world.log()


# --- where, and how protected -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (b"10.0.0.7:4060", "10.0.0.7", 4060),
        (b"10.0.0.7", "10.0.0.7", 4059),
        (b"head-end.example:1", "head-end.example", 1),
        (b"[::1]:4061", "::1", 4061),
        (b"::1", "::1", 4059),
        (b"[::1]", "::1", 4059),
    ],
)
def test_destinations_are_hosts_with_or_without_a_port(text: bytes, host: str, port: int) -> None:
    target = push_target(5, text, 0)
    assert (target.carrier, target.host, target.port) == (Carrier.HDLC, host, port)


@pytest.mark.parametrize(
    "text", [b"", b":4059", b"host:", b"host:0", b"host:65536", b"a b:1", b"h\xe4:1", b"x" * 254]
)
def test_other_destinations_are_refused(text: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        push_target(0, text, 0)


def layer(kind: int, *key: Data) -> Data:
    options = (
        structure(octets(b""), octets(b""), octets(b"OAMHES01"), octets(b""), structure(*key))
        if key
        else structure()
    )
    return structure(number(kind, Tag.ENUM), options)


def test_protection_is_what_the_parameters_say_and_never_less() -> None:
    unicast = number(0, Tag.ENUM), structure(number(0, Tag.ENUM))
    wrapped = number(1, Tag.ENUM), structure(number(1, Tag.ENUM), octets(b""))
    assert push_protection((), False).manner == PLAIN
    assert push_protection((), True).manner.level == AUTHENTICATED_ENCRYPTION
    made = push_protection((layer(0),), True)
    assert (made.manner.level, made.manner.form) == (Protection.AUTHENTICATED, Form.GENERAL_GLOBAL)
    made = push_protection((layer(2, *unicast), layer(3)), True)
    assert (made.manner.source, made.manner.signed, made.recipient) == (KeySource.UNICAST, True, b"OAMHES01")
    assert push_protection((layer(1, *wrapped),), True).manner.source is KeySource.WRAPPED
    for wrong in (
        (layer(4),),
        (layer(3), layer(2)),
        (layer(2), layer(2)),
        (NOTHING,),
        (layer(2, number(9, Tag.ENUM), NOTHING),),
    ):
        with pytest.raises(LocalProtocolError):
            push_protection(wrong, True)
    with pytest.raises(LocalProtocolError):
        push_protection((layer(2),), False)
    with pytest.raises(LocalProtocolError):
        push_frames(b"\x0f", Carrier.TCP, push_protection((), True), None, 16, 102)
    assert push_frames(b"\x0f\x01", Carrier.TCP, push_protection((), False), None, 16, 102) == [
        Frame(16, 102, b"\x0f\x01").to_bytes()
    ]


@pytest.mark.parametrize("kind", [0, 1, 2])
async def test_configured_protection_is_on_the_wire_and_opened_by_the_listener(kind: int) -> None:
    levels = (Protection.AUTHENTICATED, Protection.ENCRYPTED, AUTHENTICATED_ENCRYPTION)
    async with street(keyed=True) as world:
        port = await world.listener.start_tcp("127.0.0.1")
        async with world.management() as meter:
            await meter.set(SETUP, destination(port), 3)
            for count, key in enumerate(((), (number(0, Tag.ENUM), structure(number(0, Tag.ENUM)))), 1):
                await meter.set(SETUP, array([layer(kind, *key)]), 10)
                await meter.action(SETUP, 1, NOTHING)
                await world.until(lambda count=count: len(world.heard) + len(world.faults) == count)  # type: ignore[misc]
        assert [push.protection for push in world.heard] == [levels[kind]] * len(world.heard)
        assert world.heard[0].frames[0][8] == 0xDB  # general-glo-ciphering
        if kind != 0:  # the listener takes encrypted ones of general-ciphering alone
            assert world.heard[1].frames[0][8] == 0xDD  # general-ciphering


@pytest.mark.peer
@pytest.mark.skipif(not PEERS.exists(), reason="no environment of peers (.venv-peers)")
async def test_gurux_and_dlms_cosem_read_what_a_plain_socket_took() -> None:
    async with street() as world:
        taken: asyncio.Queue[bytes] = asyncio.Queue()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            taken.put_nowait(await reader.read())
            writer.close()

        server = await asyncio.start_server(take, "127.0.0.1", 0)
        async with world.management() as meter:
            await meter.set(SETUP, destination(server.sockets[0].getsockname()[1]), 3)
            await meter.action(SETUP, 1, NOTHING)
            frame = await asyncio.wait_for(taken.get(), 10)
            energy = (await meter.read("1-0:1.8.0")).raw
        server.close()
    script = (
        "import json, sys\n"
        "from gurux_dlms import GXByteBuffer, GXDLMSClient, GXReplyData\n"
        "from gurux_dlms.enums import Authentication, InterfaceType\n"
        "from dlms_cosem import utils\n"
        "from dlms_cosem.protocol.xdlms import DataNotification\n"
        "frame = bytes.fromhex(sys.argv[1])\n"
        "client = GXDLMSClient(True, 102, 16, Authentication.NONE, None, InterfaceType.WRAPPER)\n"
        "reply, notify = GXReplyData(), GXReplyData()\n"
        "client.getData(GXByteBuffer(frame), reply, notify)\n"
        "theirs = notify.value if notify.value is not None else reply.value\n"
        "other = utils.parse_as_dlms_data(DataNotification.from_bytes(frame[8:]).body)\n"
        "print(json.dumps([bytes(theirs[0]).hex(), theirs[2], bytes(other[0]).hex(), other[2]]))\n"
    )
    done = await asyncio.to_thread(
        subprocess.run, [str(PEERS), "-c", script, frame.hex()], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout.splitlines()[-1]) == [b"OAMM0000".hex(), energy] * 2

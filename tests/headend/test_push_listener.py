"""Pushes over TCP and UDP: every framing, deciphered, handed on once; rubbish ends its own connection."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from openami.headend.push_listener import Push, PushFault, PushLimits, PushListener
from openami.protocols.dlms.apdus.block_transfer import unconfirmed_blocks
from openami.protocols.dlms.apdus.notification import DataNotification
from openami.protocols.dlms.client.vendor_quirks import quirks_named
from openami.protocols.dlms.encoding.axdr import Data, Tag, structure
from openami.protocols.dlms.framing.hdlc_frame import HdlcAddress, HdlcFrame
from openami.protocols.dlms.framing.mbus_frame import segmented
from openami.protocols.dlms.framing.push_framing import Framing
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.protection.ciphered_apdu import Form
from openami.protocols.dlms.protection.ciphering import Cipher
from openami.protocols.dlms.protection.general_ciphering import GeneralCipher, KeySource
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import LinkError, ProtectionError, RemoteProtocolError
from openami.security.counters import MemoryCounters, ReceiveCounters, SendCounter
from openami.security.meter_keys import MeterKeys
from openami.security.secret import Secret

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
TITLE = b"OAM00001"
KEYS = MeterKeys(Secret(bytes(range(16))), Secret(bytes(range(16, 32))), Secret(bytes(range(32, 48))))
BODY = structure(Data(Tag.OCTET_STRING, b"M-1"), Data(Tag.DOUBLE_LONG_UNSIGNED, 4711))
APDU = DataNotification(7, b"", BODY).to_bytes()
VALUE = (b"M-1", 4711)


class Heard:
    """What a listener handed on."""

    def __init__(self) -> None:
        self.pushes: list[Push] = []
        self.faults: list[PushFault] = []

    async def wait(self, pushes: int = 0, faults: int = 0) -> None:
        async with asyncio.timeout(5):
            while len(self.pushes) < pushes or len(self.faults) < faults:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def listening(**settings: Any) -> AsyncIterator[tuple[PushListener, Heard, int]]:
    heard = Heard()
    listener = PushListener(
        heard.pushes.append, SimulatedClock(NOW), on_fault=heard.faults.append, **settings
    )
    port = await listener.start_tcp("127.0.0.1")
    try:
        yield listener, heard, port
    finally:
        await listener.close()
        assert listener.open_connections == 0


async def send(port: int, *pieces: bytes, pause: float = 0.0) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(pause)
    writer.close()
    await writer.wait_closed()


def sender(keys: MeterKeys = KEYS, title: bytes = TITLE, first: int = 1) -> Callable[..., bytes]:
    store = MemoryCounters({"s": first})
    cipher = Cipher(keys, title, bytes(8), SendCounter(store, "s"), ReceiveCounters(store))

    def seal(apdu: bytes = APDU, protection: Protection = AUTHENTICATED_ENCRYPTION) -> bytes:
        return cipher.seal(apdu, protection, Form.GENERAL_GLOBAL)

    return seal


def keys_of(title: bytes) -> MeterKeys | None:
    return KEYS if title == TITLE else None


def hdlc(apdu: bytes) -> bytes:
    return HdlcFrame(HdlcAddress(16), HdlcAddress(1), 0x13, b"\xe6\xe7\x00" + apdu).to_bytes()


@pytest.mark.parametrize(
    ("framing", "octets", "source"),
    [
        (Framing.WRAPPER, Frame(1, 16, APDU).to_bytes(), 1),
        (Framing.HDLC, hdlc(APDU), 1),
        (Framing.MBUS, b"".join(frame.to_bytes() for frame in segmented(APDU, 1, 0x67)), 1),
        (Framing.NONE, APDU, None),
    ],
)
async def test_every_framing_over_tcp_at_once_and_octet_by_octet(
    framing: Framing, octets: bytes, source: int | None
) -> None:
    async with listening(limits=PushLimits(silence_s=0.05)) as (_, heard, port):
        await send(port, octets)
        await heard.wait(1)
        await send(port, *(octets[place : place + 1] for place in range(len(octets))))
        await heard.wait(2)
        for push in heard.pushes:
            assert push.value == VALUE
            assert (push.framing, push.source, push.received_at) == (framing, source, NOW)
            assert (push.title, push.protection, push.frames) == (b"", Protection.NONE, (octets,))
            assert push.peer[0] == "127.0.0.1"
        assert heard.faults == []


async def test_bare_apdu_on_a_connection_that_stays_open_is_handed_on_after_a_silence() -> None:
    async with listening(limits=PushLimits(silence_s=0.05)) as (_, heard, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in (1, 2):
            writer.write(APDU)
            await heard.wait(number)
        writer.close()


async def test_over_udp() -> None:
    heard = Heard()
    listener = PushListener(
        heard.pushes.append, SimulatedClock(NOW), keys=keys_of, on_fault=heard.faults.append
    )
    port = await listener.start_udp("127.0.0.1")
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=("127.0.0.1", port)
    )
    try:
        transport.sendto(Frame(1, 16, APDU).to_bytes())
        transport.sendto(b"rubbish")
        transport.sendto(Frame(1, 16, sender()()).to_bytes())
        await heard.wait(2, 1)
        assert [push.value for push in heard.pushes] == [VALUE, VALUE]
        assert [push.title for push in heard.pushes] == [b"", TITLE]
        assert heard.faults[0].peer[0] == "127.0.0.1"
        big = DataNotification(1, b"", Data(Tag.OCTET_STRING, bytes(3000))).to_bytes()
        blocks = unconfirmed_blocks(sender(first=50)(big), 500)
        assert len(blocks) > 5
        for block in blocks:
            transport.sendto(Frame(1, 16, block).to_bytes())
        await heard.wait(3)
        assert heard.pushes[2].value == bytes(3000)
        assert len(heard.pushes[2].frames) == len(blocks)
    finally:
        transport.close()
        await listener.close()


async def test_ciphered_push_is_believed_once_and_only_with_its_meters_keys() -> None:
    counters = MemoryCounters()
    async with listening(keys=keys_of, counters=counters) as (_, heard, port):
        seal = sender()
        first = Frame(1, 16, seal()).to_bytes()
        await send(port, first)
        await heard.wait(1)
        push = heard.pushes[0]
        assert (push.value, push.title, push.protection) == (VALUE, TITLE, AUTHENTICATED_ENCRYPTION)
        assert push.frames == (first,)
        stranger = MeterKeys(Secret(b"x" * 16), Secret(b"y" * 16), Secret(b"z" * 16))
        for wrong in (
            first,  # a replay
            Frame(1, 16, sender(stranger, first=900)()).to_bytes(),
            Frame(1, 16, sender(title=b"XXX00001", first=901)()).to_bytes(),
            Frame(1, 16, sender(first=902)(protection=Protection.NONE)).to_bytes(),
        ):
            count = len(heard.faults)
            await send(port, wrong)
            await heard.wait(1, count + 1)
            assert isinstance(heard.faults[-1].error, ProtectionError)
        await send(port, Frame(1, 16, seal()).to_bytes())
        await heard.wait(2)
    # What was believed outlives the listener.
    async with listening(keys=keys_of, counters=counters) as (_, heard, port):
        await send(port, first)
        await heard.wait(0, 1)
        assert heard.pushes == []


async def test_encrypted_push_without_a_tag_is_not_believed_twice_either() -> None:
    async with listening(keys=keys_of) as (_, heard, port):
        sealed = Frame(1, 16, sender()(protection=Protection.ENCRYPTED)).to_bytes()
        await send(port, sealed)
        await heard.wait(1)
        assert heard.pushes[0].protection is Protection.ENCRYPTED
        await send(port, sealed)
        await heard.wait(1, 1)
        assert len(heard.pushes) == 1


@pytest.mark.parametrize("source", [KeySource.UNICAST, KeySource.WRAPPED])
async def test_general_ciphering_names_its_sender_and_its_key(source: KeySource) -> None:
    store = MemoryCounters({"s": 5})
    cipher = Cipher(KEYS, TITLE, b"HES00001", SendCounter(store, "s"), ReceiveCounters(store))
    sealed = GeneralCipher(cipher).seal(APDU, AUTHENTICATED_ENCRYPTION, source, bytes(8))
    async with listening(keys=keys_of, title=b"HES00001") as (_, heard, port):
        await send(port, Frame(1, 16, sealed).to_bytes())
        await heard.wait(1)
        assert (heard.pushes[0].title, heard.pushes[0].value) == (TITLE, VALUE)
        await send(port, Frame(1, 16, sealed).to_bytes())
        await heard.wait(1, 1)
    async with listening(keys=keys_of, title=b"HES00002") as (_, heard, port):
        await send(port, Frame(1, 16, sealed).to_bytes())
        await heard.wait(0, 1)


async def test_a_push_under_the_broadcast_key_names_nobody() -> None:
    """Every meter of the group holds that key, and could push in the name of every other."""
    keys = MeterKeys(KEYS.global_unicast, KEYS.authentication, KEYS.master, Secret(bytes(range(48, 64))))
    store = MemoryCounters({"s": 5})
    cipher = Cipher(keys, TITLE, b"HES00001", SendCounter(store, "s"), ReceiveCounters(store))
    sealed = GeneralCipher(cipher).seal(APDU, AUTHENTICATED_ENCRYPTION, KeySource.BROADCAST, bytes(8))
    async with listening(keys=lambda _: keys, title=b"HES00001") as (_, heard, port):
        await send(port, Frame(1, 16, sealed).to_bytes())
        await heard.wait(0, 1)
        assert heard.pushes == []
        assert isinstance(heard.faults[0].error, ProtectionError)


async def test_each_of_the_tag_bits_counts() -> None:
    async with listening(keys=keys_of, limits=PushLimits(faults=1000)) as (_, heard, port):
        sealed = sender()()
        for bit in range(96):
            changed = bytearray(sealed)
            changed[-12 + bit // 8] ^= 1 << bit % 8
            await send(port, Frame(1, 16, bytes(changed)).to_bytes())
        await heard.wait(0, 96)
        assert heard.pushes == []
        await send(port, Frame(1, 16, sealed).to_bytes())
        await heard.wait(1)


async def test_where_protection_is_required_a_plain_push_is_none() -> None:
    async with listening(keys=keys_of, minimum=AUTHENTICATED_ENCRYPTION) as (_, heard, port):
        for wrong in (APDU, sender()(protection=Protection.ENCRYPTED)):
            count = len(heard.faults)
            await send(port, Frame(1, 16, wrong).to_bytes())
            await heard.wait(0, count + 1)
        await send(port, Frame(1, 16, sender(first=9)()).to_bytes())
        await heard.wait(1)


async def test_notification_in_blocks_keeps_all_its_frames() -> None:
    async with listening(keys=keys_of) as (_, heard, port):
        big = DataNotification(1, b"", Data(Tag.OCTET_STRING, bytes(1000))).to_bytes()
        frames = [hdlc(block) for block in unconfirmed_blocks(sender()(big), 200)]
        await send(port, b"".join(frames))
        await heard.wait(1)
        assert heard.pushes[0].value == bytes(1000)
        assert heard.pushes[0].frames == tuple(frames)
        await send(port, b"".join(frames[:2] + frames[3:]))
        await heard.wait(1, 1)
        assert len(heard.pushes) == 1


async def test_rubbish_ends_its_own_connection_and_nobody_elses() -> None:
    chance = random.Random(7)
    async with listening(limits=PushLimits(faults=3, silence_s=0.02)) as (_, heard, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(40):
            noise = chance.randbytes(chance.randrange(1, 3000))
            if number % 2:
                noise = Frame(1, 16, noise).to_bytes()
            await send(port, noise, pause=0.001)
            writer.write(Frame(1, 16, APDU).to_bytes())
            await heard.wait(number + 1)
        assert heard.faults
        assert {push.value for push in heard.pushes} == {VALUE}
        writer.write(b"\x00\x02" * 8)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        await send(port, Frame(1, 16, APDU).to_bytes())
        await heard.wait(41)


async def test_connections_faults_and_idleness_are_bounded() -> None:
    limits = PushLimits(connections=2, idle_s=0.2, faults=2, silence_s=0.02)
    async with listening(limits=limits) as (listener, _, port):
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        assert await asyncio.wait_for(opened[2][0].read(), 5) == b""
        assert listener.refused == 1
        for reader, _ in opened[:2]:
            assert await asyncio.wait_for(reader.read(), 5) == b""  # nothing came for too long
        for _, writer in opened:
            writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(Frame(1, 16, b"\xff").to_bytes())
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_blocks_of_nothing_are_not_kept_for_ever() -> None:
    async with listening() as (_, heard, port):
        empty = b"".join(
            Frame(1, 16, b"\xe0\x40" + number.to_bytes(2, "big") + b"\x00\x00\x00").to_bytes()
            for number in range(1, 5000)
        )
        await send(port, empty)
        await heard.wait(0, 1)
        assert isinstance(heard.faults[0].error, RemoteProtocolError)


async def test_error_of_the_callable_ends_the_connection_it_came_from() -> None:
    def broken(push: Push) -> None:
        raise RuntimeError("not ours")

    loop = asyncio.get_running_loop()
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    listener = PushListener(broken, SimulatedClock(NOW))
    port = await listener.start_tcp("127.0.0.1")
    for _ in range(2):
        await send(port, Frame(1, 16, APDU).to_bytes(), pause=0.05)
    assert len(told) == 2
    await listener.close()


async def test_port_in_use_is_a_link_error() -> None:
    async with listening() as (_, _, port):
        with pytest.raises(LinkError, match=str(port)):
            await PushListener(print, SimulatedClock(NOW)).start_tcp("127.0.0.1", port)


async def test_quirk_is_applied_before_the_strict_core_reads() -> None:
    body = bytes.fromhex("0f0000000100" + "02021601" + "0101" + "0202" + "00010000600101ff02" + "090141")
    async with listening(quirks=quirks_named("untagged_descriptors")) as (_, heard, port):
        await send(port, Frame(1, 16, body).to_bytes())
        await heard.wait(1)
        assert heard.pushes[0].value == (1, [((1, bytes.fromhex("0000600101ff"), 2), b"A")])
    async with listening() as (_, heard, port):
        await send(port, Frame(1, 16, body).to_bytes())
        await heard.wait(0, 1)


async def test_captures_of_real_meters_are_taken(shared_data: Path) -> None:
    vectors = {
        entry["id"]: entry for entry in json.loads((shared_data / "dlms" / "vectors.json").read_text("utf-8"))
    }
    known: dict[bytes, MeterKeys] = {}
    captures = []
    for name, entry in vectors.items():
        title = ((entry["expected"] or {}).get("ciphering") or {}).get("system-title")
        if title and (entry["keys"] or {}).get("ek"):
            authentication = entry["keys"]["ak"] or "ab" * 16
            known[bytes.fromhex(title)] = MeterKeys(
                Secret.from_hex(entry["keys"]["ek"]), Secret.from_hex(authentication), Secret(b"m" * 16)
            )
        elif title or name in ("espdlms-hdlc_landis_gyr_zmf100",):
            continue
        if name.startswith(("espdlms-hdlc", "espdlms-mbus")):
            captures.append(bytes.fromhex(entry["frame_hex"]))
    assert len(captures) == 8
    async with listening(keys=known.get) as (_, heard, port):
        for octets in captures:
            await send(port, octets)
        await heard.wait(8)
        assert heard.faults == []
        assert sorted(push.framing.value for push in heard.pushes) == ["HDLC"] * 7 + ["M-Bus"]
        assert sum(bool(push.title) for push in heard.pushes) == 4

"""Meters behind lines and datagrams: rubbish and idleness end their own line, and nobody else's."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest

from openami.headend.dlms_meter import Meter, Transport
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import household_fleet
from openami.meter.line_server import LineLimits, LineServer
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import LinkError
from openami.security.secret import Secret

START = datetime(2026, 3, 9, 23, tzinfo=UTC)
PASSWORD = Secret(b"00000000")


def fleet() -> Fleet:
    clock = SimulatedClock(START)
    made = Fleet(household_fleet(2, seed=1, start=START, secured=False), clock)
    clock.advance(timedelta(days=1))
    return made


def client(port: int, transport: Transport) -> Meter:
    return Meter("127.0.0.1", port, server=17, password=PASSWORD, transport=transport, max_pdu=4000)


async def test_rubbish_ends_its_own_line() -> None:
    chance = random.Random(3)
    server = LineServer(fleet(), limits=LineLimits(silence_s=0.02))
    (port,) = await server.start_hdlc("127.0.0.1")
    async with client(port, Transport.HDLC) as meter:
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"\x7e" + chance.randbytes(chance.randrange(1, 3000)))
            await writer.drain()
            assert (await meter.read("0-0:96.1.0")).text == "H000002"
            writer.close()
    await server.close()


async def test_rubbish_in_datagrams_is_left_alone() -> None:
    chance = random.Random(4)
    server = LineServer(fleet())
    (port,) = await server.start_udp("127.0.0.1")
    loop = asyncio.get_running_loop()
    rubbish, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=("127.0.0.1", port)
    )
    async with client(port, Transport.UDP) as meter:
        for _ in range(50):
            rubbish.sendto(chance.randbytes(chance.randrange(0, 1000)))
            assert (await meter.read("0-0:96.1.0")).text == "H000002"
    rubbish.close()
    await server.close()


async def test_lines_and_their_idleness_are_bounded() -> None:
    server = LineServer(fleet(), limits=LineLimits(lines=1, idle_s=0.2))
    (port,) = await server.start_hdlc("127.0.0.1")
    first, one = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.sleep(0.05)
    second, two = await asyncio.open_connection("127.0.0.1", port)
    assert await asyncio.wait_for(second.read(), 5) == b""
    assert await asyncio.wait_for(first.read(), 5) == b""
    for writer in (one, two):
        writer.close()
    with pytest.raises(LinkError, match="cannot listen"):
        await server.start_hdlc("127.0.0.1", port)
    await server.close()

"""Meters to talk to on loopback: fleets on the TCP wrapper, logical devices on HDLC over TCP and on UDP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FleetSpec
from openami.meter.tcp_server import FleetServer
from openami.protocols.dlms.server.datagram_session import DatagramSession
from openami.protocols.dlms.server.hdlc_server import HdlcServerSession
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.clock import SimulatedClock


@asynccontextmanager
async def served_fleet(spec: FleetSpec) -> AsyncIterator[tuple[FleetServer, SimulatedClock, int]]:
    clock = SimulatedClock(spec.start)
    server = FleetServer(Fleet(spec, clock))
    (port,) = await server.start("127.0.0.1")
    try:
        yield server, clock, port
    finally:
        await server.close()


@dataclass
class Line:
    """What a test does to the octets of a connection on their way to and from the meter."""

    requests: list[bytes] = field(default_factory=list)
    lose_request: Callable[[int], bool] = lambda number: False
    lose_answer: Callable[[int], bool] = lambda number: False
    close_after: int | None = None


@asynccontextmanager
async def served_stream(
    session: Callable[[], ServerSession | HdlcServerSession], line: Line | None = None
) -> AsyncIterator[int]:
    """A TCP port; each connection has a session of its own."""
    line = line or Line()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        meter = session()
        while data := await reader.read(65536):
            number = len(line.requests)
            line.requests.append(data)
            answer = b"" if line.lose_request(number) else meter.receive(data)
            if answer and not line.lose_answer(number):
                writer.write(answer)
            if line.close_after is not None and number + 1 >= line.close_after:
                break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, devices: Mapping[int, Any], line: Line) -> None:
        self._devices = devices
        self._line = line
        self._sessions: dict[object, DatagramSession] = {}

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        number = len(self._line.requests)
        self._line.requests.append(data)
        session = self._sessions.setdefault(addr, DatagramSession(self._devices))
        if self._line.lose_request(number):
            return
        answers = session.receive(data)
        if not self._line.lose_answer(number):
            for answer in answers:
                self._transport.sendto(answer, addr)


@asynccontextmanager
async def served_datagrams(devices: Mapping[int, Any], line: Line | None = None) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Datagrams(devices, line or Line()), local_addr=("127.0.0.1", 0)
    )
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()

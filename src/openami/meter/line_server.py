"""Meters on other links than the TCP wrapper: HDLC over TCP, as behind a serial server, and UDP datagrams.

Each connection is a line with links of its own; each address that sends datagrams has associations of its
own. Whoever connects decides nothing about our memory or time: lines, their idle time, and the addresses that
are remembered are bounded. Rule never to be broken: what one line sends, however wrong, ends at most that
line.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, cast

from openami.protocols.dlms.server.datagram_session import DatagramSession
from openami.protocols.dlms.server.hdlc_server import HdlcServerSession
from openami.quantities.errors import LinkError

from .cosem_objects import FleetDevices
from .fleet import Fleet

_PEERS: Final = 1024
"""Addresses whose associations are remembered over UDP; the one heard of longest ago is forgotten."""


@dataclass(frozen=True, slots=True)
class LineLimits:
    """What is taken.

    Parameters
    ----------
    lines:
        Connections open at once; one more is closed at once.
    idle_s:
        Longest time without an octet.
    silence_s:
        Inter-octet time-out: what is not whole by then is given up.
    """

    lines: int = 1000
    idle_s: float = 120.0
    silence_s: float = 1.0


class LineServer:
    """A fleet on HDLC over TCP or on UDP, one port for each port index of its specification.

    Invariant: after `close` no port and no line is left.
    """

    def __init__(self, fleet: Fleet, limits: LineLimits | None = None) -> None:
        self.fleet = fleet
        self.limits = limits or LineLimits()
        self._listeners: list[asyncio.Server] = []
        self._datagrams: list[asyncio.DatagramTransport] = []
        self._lines: set[_Line] = set()

    async def start_hdlc(self, host: str, first_port: int = 0) -> list[int]:
        """Listen for lines on TCP: port index i on ``first_port + i``, or on free ports where that is 0.

        Returns
        -------
        The ports, by port index.

        Raises
        ------
        LinkError
            A port cannot be listened on; none is then.
        """
        return await self._start(self._lines_of, host, first_port)

    async def start_udp(self, host: str, first_port: int = 0) -> list[int]:
        """Listen for datagrams; as `start_hdlc`."""
        return await self._start(self._datagrams_of, host, first_port)

    async def close(self) -> None:
        """Stop listening and end every line."""
        for listener in self._listeners:
            listener.close()
        for transport in self._datagrams:
            transport.close()
        for line in tuple(self._lines):
            line.abort()
        while self._lines:
            await asyncio.sleep(0)
        for listener in self._listeners:
            await listener.wait_closed()
        self._listeners.clear()
        self._datagrams.clear()

    async def _start(
        self, listen: Callable[[FleetDevices, str, int], Awaitable[int]], host: str, first_port: int
    ) -> list[int]:
        ports = []
        for index in range(self.fleet.spec.ports):
            port = first_port + index if first_port else 0
            try:
                ports.append(await listen(FleetDevices(self.fleet, index), host, port))
            except OSError as error:
                await self.close()
                reason = error.strerror or str(error)
                raise LinkError(f"cannot listen: {reason}", where=f"{host}:{port}") from None
        return ports

    async def _lines_of(self, devices: FleetDevices, host: str, port: int) -> int:
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(lambda: _Line(self, devices), host, port)
        self._listeners.append(listener)
        return int(listener.sockets[0].getsockname()[1])

    async def _datagrams_of(self, devices: FleetDevices, host: str, port: int) -> int:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(devices), local_addr=(host, port)
        )
        self._datagrams.append(transport)
        return int(transport.get_extra_info("sockname")[1])

    def enter(self, line: _Line) -> bool:
        """Take a line in; False where there are too many."""
        if len(self._lines) >= self.limits.lines:
            return False
        self._lines.add(line)
        return True

    def leave(self, line: _Line) -> None:
        """Forget a line."""
        self._lines.discard(line)


class _Line(asyncio.Protocol):
    """One connection: a line."""

    def __init__(self, server: LineServer, devices: FleetDevices) -> None:
        self._server = server
        self._session = HdlcServerSession(devices)
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._silence: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        if not self._server.enter(self):
            transport.close()
            return
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._wait_again()

    def data_received(self, data: bytes) -> None:
        """Octets have come, cut anyhow."""
        self._wait_again()
        self._answer(self._session.receive(data))

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._transport = None
        for timer in (self._silence, self._idle):
            if timer is not None:
                timer.cancel()
        self._server.leave(self)

    def pause_writing(self) -> None:
        """The client does not read its answers: it is not read either."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def abort(self) -> None:
        """End the line at once."""
        if self._transport is not None:
            self._transport.abort()

    def _answer(self, octets: bytes) -> None:
        if octets and self._transport is not None:
            self._transport.write(octets)

    def _fell_silent(self) -> None:
        self._answer(self._session.silence())

    def _wait_again(self) -> None:
        for timer in (self._silence, self._idle):
            if timer is not None:
                timer.cancel()
        limits = self._server.limits
        self._silence = self._loop.call_later(limits.silence_s, self._fell_silent)
        self._idle = self._loop.call_later(limits.idle_s, self.abort)


class _Datagrams(asyncio.DatagramProtocol):
    """One UDP port."""

    def __init__(self, devices: FleetDevices) -> None:
        self._devices = devices
        self._sessions: OrderedDict[tuple[str, int], DatagramSession] = OrderedDict()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The port is open."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """A datagram has come."""
        session = self._sessions.pop(addr, None) or DatagramSession(self._devices)
        self._sessions[addr] = session
        if len(self._sessions) > _PEERS:
            self._sessions.popitem(last=False)
        for answer in session.receive(data):
            if self._transport is not None:
                self._transport.sendto(answer, addr)

"""Meters on TCP: wrapper frames of many clients to many logical devices, one connection a client or a meter.

asyncio protocols, no streams. Whoever connects decides nothing about our memory or time: a connection that
brings no whole frame for `Limits.idle_s` is closed (single octets do not count), one that does not read its
answers is not read either, unfinished frames and values sent in blocks, those of all connections together,
stay below a limit, and after a few frames the others have their turn. Rule never to be broken: what one
connection sends, however wrong, ends at most that connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import cast

from openami.protocols.dlms.framing.wrapper import Frame, WrapperDecoder
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.errors import LinkError, RemoteProtocolError

from .cosem_objects import FleetDevices
from .fleet import Fate, Fleet

WRAPPER_OCTETS = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes.

    Parameters
    ----------
    connections:
        Open at once; one more is closed at once.
    idle_s:
        Longest time without a whole frame.
    unfinished_octets:
        Octets of unfinished frames, over all connections.
    kept_octets:
        Octets of block transfers under way, over all connections.
    unsent_octets:
        Octets of answers a connection may owe before it is no longer read.
    frames_at_once:
        Frames of one connection answered before others have their turn.
    """

    connections: int = 20_000
    idle_s: float = 120.0
    unfinished_octets: int = 64 << 20
    kept_octets: int = 256 << 20
    unsent_octets: int = 256 << 10
    frames_at_once: int = 16


@dataclass(slots=True)
class Traffic:
    """What a server has seen, for its status."""

    connections: int = 0
    frames: int = 0
    answers: int = 0
    lost: int = 0
    garbled: int = 0
    unheard: int = 0
    broken: int = 0
    idle: int = 0
    refused: int = 0


class FleetServer:
    """A fleet on TCP ports, one for each port index of its specification.

    Invariant: after `close` no listener and no connection is left.
    """

    def __init__(self, fleet: Fleet, limits: Limits | None = None) -> None:
        self.fleet = fleet
        self.limits = limits or Limits()
        self.traffic = Traffic()
        self.unfinished_octets = 0
        self.kept_octets = 0
        self._listeners: list[asyncio.Server] = []
        self._connections: set[MeterConnection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def open_connections(self) -> int:
        """Connections now."""
        return len(self._connections)

    async def start(self, host: str, first_port: int = 0) -> list[int]:
        """Listen: port index i on ``first_port + i``, or each on a free port where ``first_port`` is 0.

        Returns
        -------
        The ports, by port index.

        Raises
        ------
        LinkError
            A port cannot be listened on.
        """
        self._loop = asyncio.get_running_loop()
        ports = []
        for index in range(self.fleet.spec.ports):
            devices = FleetDevices(self.fleet, index)
            try:
                listener = await self._loop.create_server(
                    lambda devices=devices: MeterConnection(self, devices),  # type: ignore[misc]
                    host,
                    first_port + index if first_port else 0,
                    backlog=4096,
                )
            except OSError as error:
                await self.close()
                raise LinkError(
                    f"cannot listen: {error.strerror}", where=f"{host}:{first_port + index}"
                ) from None
            self._listeners.append(listener)
            ports.append(int(listener.sockets[0].getsockname()[1]))
        self._sweep()
        return ports

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for listener in self._listeners:
            listener.close()
        for connection in tuple(self._connections):
            connection.abort()
        while self._connections:
            await asyncio.sleep(0)
        for listener in self._listeners:
            await listener.wait_closed()
        self._listeners.clear()

    def enter(self, connection: MeterConnection) -> bool:
        """Take a connection in; False where there are too many."""
        if len(self._connections) >= self.limits.connections:
            self.traffic.refused += 1
            return False
        self._connections.add(connection)
        self.traffic.connections += 1
        return True

    def leave(self, connection: MeterConnection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)

    def answer(self, devices: FleetDevices, session: ServerSession, frame: Frame) -> bytes:
        """Octets that go back for a frame, with the faults of the meter and of its link."""
        self.traffic.frames += 1
        meter_id = devices.meter_id(frame.destination)
        if meter_id is not None and not self.fleet.meter(meter_id).answers:
            self.traffic.unheard += 1
            return b""
        before = session.kept_octets
        octets = session.answer(frame)
        self.kept_octets += session.kept_octets - before
        fate = Fate.ARRIVES if meter_id is None else self.fleet.fate(meter_id)
        if fate is Fate.LOST:
            self.traffic.lost += 1
            return b""
        if fate is Fate.GARBLED and meter_id is not None:
            self.traffic.garbled += 1
            return self.fleet.garbage(meter_id)
        self.traffic.answers += 1
        return octets

    def _sweep(self) -> None:
        """Close idle connections, now and four times per idle time."""
        if self._loop is None:
            return
        now = self._loop.time()
        for connection in tuple(self._connections):
            if now - connection.last_frame_at > self.limits.idle_s:
                self.traffic.idle += 1
                connection.abort()
        self._sweeper = self._loop.call_later(self.limits.idle_s / 4, self._sweep)


class MeterConnection(asyncio.Protocol):
    """One connection.

    Invariant: frames are answered in the order they came; while frames wait or answers are owed, nothing
    more is read.
    """

    __slots__ = (
        "_decoder", "_devices", "_loop", "_owing", "_scheduled", "_server", "_session", "_transport",
        "_unfinished", "_waiting", "last_frame_at",
    )  # fmt: skip

    def __init__(self, server: FleetServer, devices: FleetDevices) -> None:
        self._server = server
        self._devices = devices
        self._session = ServerSession(devices)
        self._decoder = WrapperDecoder()
        self._waiting: deque[Frame] = deque()
        self._unfinished = 0
        self._owing = False
        self._scheduled = False
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.last_frame_at = self._loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        if not self._server.enter(self):
            transport.close()
            return
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        transport.set_write_buffer_limits(high=self._server.limits.unsent_octets)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._transport = None
        self._waiting.clear()
        self._count_unfinished(0)
        self._server.kept_octets -= self._session.kept_octets
        self._server.leave(self)

    def data_received(self, data: bytes) -> None:
        """Octets have come, cut anyhow."""
        if self._transport is None:
            return
        unfinished = self._unfinished + len(data)
        broken = False
        for event in self._decoder.feed(data):
            if isinstance(event, RemoteProtocolError):
                broken = True
                unfinished = 0
            else:
                self._waiting.append(event)
                self.last_frame_at = self._loop.time()
                unfinished -= WRAPPER_OCTETS + len(event.apdu)
        self._count_unfinished(unfinished)
        self._work()
        if broken:
            self._server.traffic.broken += 1
            self._finish()
        elif self._server.unfinished_octets > self._server.limits.unfinished_octets:
            self._server.traffic.refused += 1
            self.abort()

    def pause_writing(self) -> None:
        """The client does not read its answers."""
        self._owing = True

    def resume_writing(self) -> None:
        """The client reads again."""
        self._owing = False
        self._work()

    def eof_received(self) -> bool:
        """The client sends no more; the transport closes when the answers are out."""
        return False

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _finish(self) -> None:
        """End the connection when the answers are out."""
        self._waiting.clear()
        if self._transport is not None:
            self._transport.close()

    def _work(self) -> None:
        """Answer what waits, as far as the client reads and the others' turn allows."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        turn = self._server.limits.frames_at_once
        while self._waiting and not self._owing and turn:
            answer = self._server.answer(self._devices, self._session, self._waiting.popleft())
            if self._session.kept_octets and self._server.kept_octets > self._server.limits.kept_octets:
                self._server.traffic.refused += 1
                self.abort()
                return
            if answer:
                transport.write(answer)
            turn -= 1
        if self._waiting or self._owing:
            transport.pause_reading()
            if not self._owing and not self._scheduled:
                self._scheduled = True
                self._loop.call_soon(self._go_on)
        else:
            transport.resume_reading()

    def _go_on(self) -> None:
        self._scheduled = False
        self._work()

    def _count_unfinished(self, octets: int) -> None:
        self._server.unfinished_octets += octets - self._unfinished
        self._unfinished = octets

"""The control channel of a fleet: time is moved, and the fleet asked how it is, over a loopback socket.

One JSON object a line with one key, answered by one line each, in order:

    {"advance_to": "2026-03-02T06:00:00+00:00"}   move the simulated clock forward, all meters with it
    {"status": null}                              present, meters, connections, traffic
    {"stop": null}                                end the server

Every answer has ``ok``; with ``ok`` false, ``error`` says what was wrong. Rule never to be broken: it listens
on the loopback interface only; a line longer than `LINE_LIMIT` octets, or more than `LINES_WAITING` lines
not yet answered, end the connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import cast

import orjson

from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import LinkError, OpenAmiError, QuantityError

from .tcp_server import FleetServer

LOOPBACK = "127.0.0.1"
LINE_LIMIT = 4096
LINES_WAITING = 64


class ControlChannel:
    """Commands for one served fleet.

    Invariant: commands run one after the other, whoever sends them.

    Parameters
    ----------
    server:
        The served fleet.
    clock:
        The fleet's clock where it is simulated; None where it follows the system's.
    """

    def __init__(self, server: FleetServer, clock: SimulatedClock | None) -> None:
        self._server = server
        self._clock = clock
        self._turn = asyncio.Lock()
        self._listener: asyncio.Server | None = None
        self._open: set[_ControlConnection] = set()
        self.stopped = asyncio.Event()

    async def start(self, port: int = 0) -> int:
        """Listen on a loopback port (0: a free one); gives the port.

        Raises
        ------
        LinkError
            The port cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(lambda: _ControlConnection(self), LOOPBACK, port)
        except OSError as error:
            raise LinkError(f"cannot listen: {error.strerror}", where=f"{LOOPBACK}:{port}") from None
        return int(self._listener.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening; answers under way are sent."""
        if self._listener is not None:
            self._listener.close()
        for connection in tuple(self._open):
            connection.close()
        while self._open:
            await asyncio.sleep(0)
        if self._listener is not None:
            await self._listener.wait_closed()

    def enter(self, connection: _ControlConnection) -> None:
        """Take a connection in."""
        self._open.add(connection)

    def leave(self, connection: _ControlConnection) -> None:
        """Forget a connection."""
        self._open.discard(connection)

    async def run(self, line: bytes) -> dict[str, object]:
        """Run one command line and give its answer."""
        async with self._turn:
            try:
                name, value = _command(line)
                match name:
                    case "advance_to":
                        return await self._advance(value)
                    case "status":
                        return self._status()
                    case "stop":
                        self.stopped.set()
                        return {"ok": True}
            except OpenAmiError as error:
                return {"ok": False, "error": str(error)}
            return {"ok": False, "error": f"unknown command {name!r} (expected: advance_to, status, stop)"}

    async def _advance(self, value: object) -> dict[str, object]:
        """Move time a day at a time, so that clients are served in between."""
        if self._clock is None:
            raise QuantityError("the fleet follows the system's clock")
        target = _instant(value)
        if target < self._clock.now():
            raise QuantityError(f"the fleet cannot go back from {self._clock.now()} to {target}")
        while self._clock.now() < target:
            self._clock.advance_to(min(target, self._clock.now() + timedelta(days=1)))
            self._server.fleet.settle()
            await asyncio.sleep(0)
        return {"ok": True, "now": self._clock.now().isoformat()}

    def _status(self) -> dict[str, object]:
        fleet = self._server.fleet
        return {
            "ok": True,
            "now": fleet.now().isoformat(),
            "simulated": self._clock is not None,
            "meters": len(fleet.meter_ids),
            "open_connections": self._server.open_connections,
            "traffic": asdict(self._server.traffic),
        }


class _ControlConnection(asyncio.Protocol):
    """One controller.

    Invariant: its lines are answered in order, by one task.
    """

    def __init__(self, channel: ControlChannel) -> None:
        self._channel = channel
        self._buffer = bytearray()
        self._lines: deque[bytes] = deque()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._channel.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._channel.leave(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        self._lines += [bytes(line) for line in lines if line.strip()]
        longest = max(map(len, (rest, *self._lines)))
        if longest > LINE_LIMIT or len(self._lines) > LINES_WAITING:
            self._lines.clear()
            self.close()
        elif self._lines and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    async def _work(self) -> None:
        while self._lines:
            answer = await self._channel.run(self._lines.popleft())
            if self._transport is not None:
                self._transport.write(orjson.dumps(answer) + b"\n")
        self._task = None


def _command(line: bytes) -> tuple[str, object]:
    try:
        command = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise QuantityError(f"not JSON: {error}", expected='{"status": null}') from None
    if not isinstance(command, dict) or len(command) != 1:
        raise QuantityError("not a command", expected="an object with one key")
    return next(iter(command.items()))


def _instant(value: object) -> datetime:
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise QuantityError(f"{value!r} is no instant", expected="ISO 8601 with its offset from UTC")
    return instant

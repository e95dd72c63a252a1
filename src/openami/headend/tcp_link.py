"""One TCP connection to a meter: bytes out, bytes in, every byte of both directions kept.

An asyncio protocol with one future, no streams. The rule never to be broken: what was sent and what arrived
is kept in order, also when the meter broke off in the middle; only the secret of low level security is
masked.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import cast

from openami.quantities.errors import LinkError, RemoteProtocolError

MAX_UNREAD = 1 << 20
"""Octets a meter may send that nobody asked for before the connection is dropped."""

MAX_RECEIVED = 16 << 20
"""Octets a meter may send, asked for or not, before the record is taken: all of them are kept."""


class TcpLink(asyncio.Protocol):
    """A connection and the record of what went over it.

    Invariant: at most one coroutine waits in `receive`. Bytes are in the record as soon as they were sent or
    handed to `receive`.

    Parameters
    ----------
    where:
        How errors name the other side.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._transport: asyncio.Transport | None = None
        self._unread = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._lost: str | None = None
        self._received = 0
        self._record: list[tuple[str, bytes]] = []
        self._secrets: list[tuple[bytes, bytes]] = []

    @classmethod
    async def connect(cls, host: str, port: int, *, timeout_s: float, where: str) -> TcpLink:
        """Connect.

        Raises
        ------
        LinkError
            Nobody listens, the host is unknown, or it took too long.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                _, link = await loop.create_connection(lambda: cls(where), host, port)
        except TimeoutError:
            raise LinkError(f"no connection within {timeout_s:g} s", where=where) from None
        except OSError as error:
            raise LinkError(f"cannot connect: {_reason(error)}", where=where) from None
        return link

    def send(self, octets: bytes, *, recorded: bytes | None = None) -> None:
        """Send; ``recorded`` takes the place of ``octets`` in the record where those hold a secret, also
        where a line echoes them.

        What arrived unasked before is dropped from the conversation, but stays in the record.

        Raises
        ------
        LinkError
            The connection is lost.
        """
        if self._unread:
            self._keep_received(bytes(self._unread))
            self._unread.clear()
        if self._lost is not None or self._transport is None:
            raise LinkError(self._lost or "not connected", where=self._where)
        if recorded is None:
            recorded = octets
        else:
            self._secrets.append((octets, recorded))
        self._record.append(("->", recorded))
        self._transport.write(octets)

    async def receive(self, deadline: float) -> bytes:
        """Bytes that arrived, at least one; waits for them until ``deadline`` (the loop's time).

        Raises
        ------
        TimeoutError
            The deadline passed.
        LinkError
            The connection was lost.
        RemoteProtocolError
            The meter sent far more than anybody asked for.
        """
        if not self._unread:
            if self._lost is not None:
                raise LinkError(self._lost, where=self._where)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._waiter
            finally:
                self._waiter = None
        if not self._unread:
            raise LinkError(self._lost or "the connection was closed", where=self._where)
        received = bytes(self._unread)
        self._unread.clear()
        self._keep_received(received)
        if len(received) > MAX_UNREAD:
            raise RemoteProtocolError(f"{len(received)} octets that nobody asked for", where=self._where)
        return received

    def take_record(self) -> list[tuple[str, bytes]]:
        """What went over the connection since the last call: ``("->", sent)`` and ``("<-", received)``."""
        taken, self._record = self._record, []
        self._received = len(self._unread)
        for sent, recorded in self._secrets:
            taken = [(direction, octets.replace(sent, recorded)) for direction, octets in taken]
        return taken

    def close(self) -> None:
        """Close the connection; may be called again."""
        if self._unread:
            self._keep_received(bytes(self._unread))
            self._unread.clear()
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        # uvloop's transports do not inherit from asyncio's, so the type is known, not checked.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._unread += data
        self._received += len(data)
        too_much = len(self._unread) > MAX_UNREAD or self._received > MAX_RECEIVED
        if too_much and self._transport is not None:
            self._lost = "the meter sends without end"
            self._transport.abort()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        if self._lost is None:
            self._lost = "the meter closed the connection" if exc is None else f"connection lost: {exc}"
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _keep_received(self, octets: bytes) -> None:
        """Chunks of one answer become one entry."""
        if self._record and self._record[-1][0] == "<-":
            self._record[-1] = ("<-", self._record[-1][1] + octets)
        else:
            self._record.append(("<-", octets))


def _reason(error: OSError) -> str:
    """What the system says: the event loop puts a text of its own in the place of it."""
    if error.errno is None or isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    return os.strerror(error.errno)

"""Datagrams to and from one meter: the same seam as `tcp_link.TcpLink`, one wrapper frame a datagram.

A datagram may be lost, doubled or come from anybody; only those of the address that was asked are taken, and
who waits asks again. Rule of this file: what nobody asked for is bounded, and what is too much is dropped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

from openami.quantities.errors import LinkError

MAX_WAITING = 64
"""Datagrams that wait to be read; further ones are dropped, as a network does."""

MAX_RECORD = 16 << 20
"""Octets of the record that are kept until it is taken."""


class UdpLink(asyncio.DatagramProtocol):
    """A connected UDP socket and the record of what went over it.

    Invariant: at most one coroutine waits in `receive`; datagrams are handed out one at a time, in order.

    Parameters
    ----------
    where:
        How errors name the other side.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._transport: asyncio.DatagramTransport | None = None
        self._waiting: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._lost: str | None = None
        self._record: list[tuple[str, bytes]] = []
        self._recorded = 0

    @classmethod
    async def connect(cls, host: str, port: int, *, timeout_s: float, where: str) -> UdpLink:
        """Open a socket to the meter; nothing is sent yet.

        Raises
        ------
        LinkError
            The host is unknown.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                _, link = await loop.create_datagram_endpoint(lambda: cls(where), remote_addr=(host, port))
        except TimeoutError:
            raise LinkError(f"no address within {timeout_s:g} s", where=where) from None
        except OSError as error:
            raise LinkError(f"cannot send: {error.strerror or error}", where=where) from None
        return link

    def send(self, octets: bytes, *, recorded: bytes | None = None) -> None:
        """Send one datagram; as `TcpLink.send`."""
        self._waiting.clear()
        if self._transport is None or self._lost is not None:
            raise LinkError(self._lost or "not connected", where=self._where)
        self._keep("->", octets if recorded is None else recorded)
        self._transport.sendto(octets)

    async def receive(self, deadline: float) -> bytes:
        """One datagram; as `TcpLink.receive`."""
        if not self._waiting and self._lost is None:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._waiter
            finally:
                self._waiter = None
        if not self._waiting:
            raise LinkError(self._lost or "the socket was closed", where=self._where)
        datagram = self._waiting.popleft()
        self._keep("<-", datagram)
        return datagram

    def take_record(self) -> list[tuple[str, bytes]]:
        """What went over the socket since the last call."""
        taken, self._record = self._record, []
        self._recorded = 0
        return taken

    def close(self) -> None:
        """Close the socket; may be called again."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Called by the event loop."""
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(data)
        self._wake()

    def error_received(self, exc: Exception) -> None:
        """Called by the event loop: nobody listens there."""
        self._lost = f"not reachable: {getattr(exc, 'strerror', None) or exc}"
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        if self._lost is None:
            self._lost = "the socket was closed"
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _keep(self, direction: str, octets: bytes) -> None:
        if self._recorded + len(octets) <= MAX_RECORD:
            self._record.append((direction, octets))
            self._recorded += len(octets)

"""Driving the operations of a sans-IO association over a link, with time-outs and repetitions.

    conversation = Conversation(link, association.asked_again, settings, where="meter 7")
    value = await conversation.run(association.get(attribute), repeats=2)

Rule never to be broken: a request is repeated only where not one octet of an answer came, so that a meter
never hears a second request while it answers the first; a link that repeats by itself (HDLC) says how.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar

from openami.headend.dlms_tcp import LinkSettings
from openami.protocols.dlms.client import Operation
from openami.quantities.errors import LinkError

T = TypeVar("T")


class Link(Protocol):
    """Bytes to and from one meter (`tcp_link.TcpLink`, `udp_link.UdpLink`)."""

    def send(self, octets: bytes, *, recorded: bytes | None = None) -> None:
        """Send; ``recorded`` takes the place of ``octets`` in the record."""
        ...

    async def receive(self, deadline: float) -> bytes:
        """What arrived; raises `TimeoutError` at the deadline, `LinkError` where the link is lost."""
        ...

    def take_record(self) -> list[tuple[str, bytes]]:
        """What went over the link since the last call."""
        ...

    def close(self) -> None:
        """Close; may be called again."""
        ...


class Conversation:
    """One association's requests and answers on a link.

    Invariant: at most one operation runs at a time.

    Parameters
    ----------
    link:
        The transport.
    again:
        Bytes to send where no answer came.
    settings:
        Patience.
    where:
        How errors name the meter.
    line:
        Of a line with repetitions of its own: bytes to send whenever nothing came in time, also in the middle
        of an answer; it raises `LinkError` when it gives up.
    """

    def __init__(
        self,
        link: Link,
        again: Callable[[], bytes],
        settings: LinkSettings,
        where: str,
        line: Callable[[], bytes] | None = None,
    ) -> None:
        self._link = link
        self._again = again
        self._settings = settings
        self._where = where
        self._line = line
        self._deadline = 0.0

    async def run(self, operation: Operation[T], *, repeats: int = 0, secret: bytes = b"") -> T:
        """Result of an operation.

        Parameters
        ----------
        repeats:
            How often a request is sent again when nothing came.
        secret:
            Octets that are masked in the record.

        Raises
        ------
        LinkError
            No answer in time, or the connection was lost.
        ProtocolError
            As the operation.
        """
        try:
            outgoing = next(operation)
            while True:
                if outgoing:
                    received = await self._ask(outgoing, repeats, secret)
                else:
                    received = await self._more()
                outgoing = operation.send(received)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            operation.close()

    async def _ask(self, request: bytes, repeats: int, secret: bytes) -> bytes:
        """Send a request, and again where nothing comes; the first octets of the answer."""
        if self._line is not None:
            self._send(request, secret)
            return await self._more()
        for attempt in range(repeats + 1):
            self._send(self._again() if attempt else request, secret)
            with suppress(TimeoutError):
                return await self._link.receive(self._deadline)
        raise LinkError(f"no answer within {self._settings.request_timeout_s:g} s", where=self._where)

    async def _more(self) -> bytes:
        """Further octets of an answer, before its time is over."""
        while True:
            try:
                return await self._link.receive(self._deadline)
            except TimeoutError:
                again = self._line() if self._line is not None else b""
                if not again:
                    raise LinkError("the answer broke off", where=self._where) from None
                self._send(again, b"")

    def _send(self, octets: bytes, secret: bytes) -> None:
        masked = octets.replace(secret, b"*" * len(secret)) if secret else None
        self._link.send(octets, recorded=masked)
        self._deadline = asyncio.get_running_loop().time() + self._settings.request_timeout_s

"""Driving the operations of a sans-IO association over a link, with time-outs and repetitions.

    conversation = Conversation(link, association.asked_again, settings, where="meter 7")
    value = await conversation.run(association.get(attribute), repeats=2)

Rule never to be broken: on a stream a request is repeated only where not one octet of an answer came, so that
a meter never hears a second request while it answers the first; `Repetition` says what other links do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol, TypeVar

from openami.headend.dlms_tcp import LinkSettings
from openami.protocols.dlms.client.association import Operation
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


class Repetition(Enum):
    """When something is said again."""

    UNANSWERED = auto()
    """As long as nothing came: a stream loses nothing in the middle."""
    MISSED = auto()
    """Also in the middle of an answer: a datagram of it may be lost."""
    BY_THE_LINE = auto()
    """Whenever nothing comes, until the link itself gives up: HDLC counts for itself."""


class Conversation:
    """One association's requests and answers on a link.

    Invariant: at most one operation runs at a time.

    Parameters
    ----------
    link:
        The transport.
    again:
        Bytes to send where nothing came; raises `LinkError` where it gives up by itself.
    settings:
        Patience.
    where:
        How errors name the meter.
    repetition:
        When something is said again.
    """

    def __init__(
        self,
        link: Link,
        again: Callable[[], bytes],
        settings: LinkSettings,
        where: str,
        repetition: Repetition = Repetition.UNANSWERED,
    ) -> None:
        self._link = link
        self._again = again
        self._settings = settings
        self._where = where
        self._repetition = repetition
        self._deadline = 0.0
        self._left = 0

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
        self._left = repeats
        self._send(request, secret)
        while True:
            try:
                return await self._link.receive(self._deadline)
            except TimeoutError:
                if not self._said_again(secret):
                    seconds = f"{self._settings.request_timeout_s:g} s"
                    raise LinkError(f"no answer within {seconds}", where=self._where) from None

    async def _more(self) -> bytes:
        """Further octets of an answer, before its time is over."""
        while True:
            try:
                return await self._link.receive(self._deadline)
            except TimeoutError:
                if self._repetition is Repetition.UNANSWERED or not self._said_again(b""):
                    raise LinkError("the answer broke off", where=self._where) from None

    def _said_again(self, secret: bytes) -> bool:
        """Say it again; False where there was enough of that."""
        if self._repetition is not Repetition.BY_THE_LINE:
            if not self._left:
                return False
            self._left -= 1
        again = self._again()
        if again:
            self._send(again, secret)
        return bool(again)

    def _send(self, octets: bytes, secret: bytes) -> None:
        masked = octets.replace(secret, b"*" * len(secret)) if secret else None
        self._link.send(octets, recorded=masked)
        self._deadline = asyncio.get_running_loop().time() + self._settings.request_timeout_s

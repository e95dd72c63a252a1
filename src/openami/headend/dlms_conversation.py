"""Driving the operations of a sans-IO association over a link, with time-outs and repetitions.

    conversation = Conversation(link, association.asked_again, settings, where="meter 7")
    value = await conversation.run(association.get(attribute), repeats=2)

Rule never to be broken: on a stream a request is repeated only where not one octet of an answer came, so that
a meter never hears a second request while it answers the first; `Repetition` says what other links do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Protocol, TypeVar

from openami.headend.secret_mask import SecretMask
from openami.protocols.dlms.client.association import Operation
from openami.protocols.dlms.framing.wrapper import Frame, WrapperDecoder
from openami.protocols.driver import RecordedFrame
from openami.quantities.errors import LinkError, RemoteProtocolError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """How patient a conversation is.

    Parameters
    ----------
    connect_timeout_s:
        Longest time until the connection stands.
    request_timeout_s:
        Longest time until the whole answer to one request (or one block of it) is there.
    repeats:
        How often a request is sent again when not one octet of an answer came. An association request is
        never repeated.
    """

    connect_timeout_s: float = 5.0
    request_timeout_s: float = 5.0
    repeats: int = 1


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

    Invariant: at most one operation runs at a time. A secret that went in is masked in all that is said
    afterwards too: HDLC may say a frame again long after the operation that it belonged to.

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
        self._mask: SecretMask | None = None
        self._secretive = False

    async def run(self, operation: Operation[T], *, repeats: int = 0, secret: bytes = b"") -> T:
        """Result of an operation.

        Parameters
        ----------
        repeats:
            How often a request is sent again when nothing came.
        secret:
            Octets that are masked in the record, here and in what follows.

        Raises
        ------
        LinkError
            No answer in time, or the connection was lost.
        ProtocolError
            As the operation.
        """
        self._secretive = bool(secret)
        if secret:
            self._mask = SecretMask(secret)
        try:
            outgoing = next(operation)
            while True:
                if outgoing:
                    received = await self._ask(outgoing, repeats)
                else:
                    received = await self._more()
                outgoing = operation.send(received)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            operation.close()

    async def _ask(self, request: bytes, repeats: int) -> bytes:
        """Send a request, and again where nothing comes; the first octets of the answer."""
        self._left = repeats
        self._send(request)
        while True:
            try:
                return await self._link.receive(self._deadline)
            except TimeoutError:
                if not self._said_again():
                    seconds = f"{self._settings.request_timeout_s:g} s"
                    raise LinkError(f"no answer within {seconds}", where=self._where) from None

    async def _more(self) -> bytes:
        """Further octets of an answer, before its time is over."""
        while True:
            try:
                return await self._link.receive(self._deadline)
            except TimeoutError:
                if self._repetition is Repetition.UNANSWERED or not self._said_again():
                    raise LinkError("the answer broke off", where=self._where) from None

    def _said_again(self) -> bool:
        """Say it again; False where there was enough of that."""
        if self._repetition is not Repetition.BY_THE_LINE:
            if not self._left:
                return False
            self._left -= 1
        again = self._again()
        if again:
            self._send(again)
        return bool(again)

    def _send(self, octets: bytes) -> None:
        masked = None
        if self._mask is not None:
            # What holds no secret is no secret: the link remembers every one that it is given.
            masked = self._mask.first(octets) if self._secretive else self._mask.again(octets)
        self._link.send(octets, recorded=masked)
        self._deadline = asyncio.get_running_loop().time() + self._settings.request_timeout_s


def recorded_frames(
    record: Sequence[tuple[str, bytes]], opened: Mapping[bytes, bytes]
) -> list[RecordedFrame]:
    """What went over a link as frames that can be read.

    Parameters
    ----------
    record:
        Direction and octets, secrets masked (`Link.take_record`).
    opened:
        Plain APDUs by the ciphered ones that went (`Association.take_opened`).
    """
    return [RecordedFrame(direction, _readable(wire, opened), wire) for direction, wire in record]


def _readable(wire: bytes, opened: Mapping[bytes, bytes]) -> bytes:
    """Frames with their APDUs as they were meant; what is no whole frame stays as it was."""
    if not opened:
        return wire
    decoder = WrapperDecoder()
    frames = decoder.feed(wire)
    if decoder.end() is not None or any(isinstance(frame, RemoteProtocolError) for frame in frames):
        return wire
    return b"".join(
        replace(frame, apdu=opened.get(frame.apdu, frame.apdu)).to_bytes()
        for frame in frames
        if isinstance(frame, Frame)
    )

"""The seam between an association and the bytes of its transport: APDUs in, bytes out, and the other way.

A channel is one framing (TCP wrapper: `wrapper.WrapperChannel`; UDP: `udp_wrapper.DatagramChannel`; HDLC:
`hdlc_channel.HdlcChannel`) between one client and one logical device. Rule of this file: what must be sent
before an APDU is whole (the acknowledgement of a segment, the next segment of a request) is the channel's
affair, and the association only passes it on.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import ClassVar, NamedTuple, Protocol


class Incoming(NamedTuple):
    """What received bytes brought.

    Parameters
    ----------
    apdus:
        APDUs completed, in order.
    outgoing:
        Bytes to send at once, so that more arrives; empty where there is nothing to send.
    """

    apdus: list[bytes]
    outgoing: bytes = b""


class Delivery(Enum):
    """What a transport promises of the APDUs that it brings."""

    IN_ORDER = auto()
    """Each once, and in order."""
    ANYHOW = auto()
    """Nothing: one may be lost, come late, or twice."""


class Channel(Protocol):
    """Framing between an association and a transport."""

    delivery: ClassVar[Delivery]

    def outgoing(self, apdu: bytes) -> bytes:
        """Bytes to send for an APDU; perhaps only its first segments.

        It may be called again before anything was received (blocks that are streamed in a window): a channel
        that cannot send yet queues the APDU, and gives its bytes with a later `incoming`.
        """
        ...

    def incoming(self, data: bytes) -> Incoming:
        """What received bytes brought; raises `RemoteProtocolError`."""
        ...

    def poll(self) -> bytes:
        """Bytes that give the meter the word, where it has more to say and may not speak unasked (HDLC).

        The association asks for them inside a window of streamed blocks; empty on every other transport.
        """
        ...

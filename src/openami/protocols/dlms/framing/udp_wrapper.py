"""The wrapper over UDP (IEC 62056-47): one datagram holds one or more whole wrapper frames.

Nothing is carried from one datagram to the next: a datagram that is cut or wrong costs its own frames only.
Rule of this file: no frame is put together from two datagrams.
"""

from __future__ import annotations

from typing import ClassVar

from openami.protocols.dlms.encoding.limits import MAX_PDU
from openami.protocols.dlms.framing.channel import Delivery, Incoming
from openami.protocols.dlms.framing.wrapper import Frame, WrapperDecoder
from openami.quantities.errors import RemoteProtocolError


def frames_of(datagram: bytes, max_apdu: int = MAX_PDU) -> list[Frame | RemoteProtocolError]:
    """Frames of a datagram, and one error behind them where the rest is no frame."""
    decoder = WrapperDecoder(max_apdu)
    events = decoder.feed(datagram)
    cut = decoder.end()
    if not datagram:
        return [RemoteProtocolError("an empty datagram")]
    return events if cut is None else [*events, cut]


class DatagramChannel:
    """APDUs between one client and one logical device in datagrams: the client's framing over UDP.

    Parameters
    ----------
    client, server:
        Their wPorts.
    """

    delivery: ClassVar = Delivery.ANYHOW
    __slots__ = ("_client", "_server", "bad_frames")

    def __init__(self, client: int, server: int) -> None:
        self._client = client
        self._server = server
        self.bad_frames = 0

    def outgoing(self, apdu: bytes) -> bytes:
        """The datagram of an APDU."""
        return Frame(self._client, self._server, apdu).to_bytes()

    def poll(self) -> bytes:
        """Nothing: a meter may send datagrams at any time."""
        return b""

    def incoming(self, data: bytes) -> Incoming:
        """APDUs for us in a datagram; others, and what is no frame, are counted and left to the time-out."""
        apdus: list[bytes] = []
        for event in frames_of(data):
            ours = isinstance(event, Frame) and (event.source, event.destination) == (
                self._server,
                self._client,
            )
            if isinstance(event, Frame) and ours:
                apdus.append(event.apdu)
            else:
                self.bad_frames += 1
        return Incoming(apdus)

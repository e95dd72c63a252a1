"""The TCP wrapper (IEC 62056-47): eight octets before each APDU.

    version(2) = 1 | source wPort(2) | destination wPort(2) | length(2) | APDU

TCP loses nothing, so a header that is wrong means that both sides no longer agree where frames begin:
there is no resynchronisation. Rule of this file: after the first bad header nothing more is delivered.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar

from openami.protocols.dlms.encoding.limits import MAX_PDU
from openami.protocols.dlms.framing.channel import Delivery, Incoming
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

VERSION = 1
_HEADER = struct.Struct(">4H")


@dataclass(frozen=True, slots=True)
class Frame:
    """One APDU between two wPorts."""

    source: int
    destination: int
    apdu: bytes

    def to_bytes(self) -> bytes:
        """Header and APDU.

        Raises
        ------
        LocalProtocolError
            The APDU is longer than 65,535 octets, or a wPort does not fit.
        """
        try:
            return _HEADER.pack(VERSION, self.source, self.destination, len(self.apdu)) + self.apdu
        except struct.error:
            raise LocalProtocolError(
                f"{len(self.apdu)} octets from {self.source} to {self.destination} do not fit a wrapper frame"
            ) from None


class WrapperDecoder:
    """Cuts a TCP stream into frames.

    Invariant: at most one frame is buffered; once ``broken``, every later `feed` gives nothing.
    """

    __slots__ = ("_buffer", "_max_apdu", "broken")

    def __init__(self, max_apdu: int = MAX_PDU) -> None:
        self._buffer = bytearray()
        self._max_apdu = max_apdu
        self.broken = False

    def feed(self, data: bytes) -> list[Frame | RemoteProtocolError]:
        """Frames completed by ``data``; a bad header gives one `RemoteProtocolError`, the last event ever."""
        if self.broken:
            return []
        buffer: bytes | bytearray = data
        if self._buffer:  # whole frames, as nearly always, are cut from what came without being copied first
            self._buffer += data
            buffer = self._buffer
        events: list[Frame | RemoteProtocolError] = []
        position = 0
        while len(buffer) - position >= 8:
            version, source, destination, length = _HEADER.unpack_from(buffer, position)
            if version != VERSION or length > self._max_apdu:
                self.broken = True
                self._buffer.clear()
                what = f"wrapper version {version}, length {length}"
                expected = f"version {VERSION}, length up to {self._max_apdu}"
                events.append(RemoteProtocolError(what, expected=expected))
                return events
            end = position + 8 + length
            if end > len(buffer):
                break
            events.append(Frame(source, destination, bytes(buffer[position + 8 : end])))
            position = end
        if buffer is self._buffer:
            del self._buffer[:position]
        else:
            self._buffer += buffer[position:]
        return events

    def end(self) -> RemoteProtocolError | None:
        """The stream ended: an error where it ended inside a frame."""
        if self._buffer and not self.broken:
            self.broken = True
            return RemoteProtocolError(f"the stream ended {len(self._buffer)} octets into a frame")
        return None


class WrapperChannel:
    """APDUs between one client and one logical device on a TCP stream: the client's framing.

    Parameters
    ----------
    client, server:
        Their wPorts.
    """

    delivery: ClassVar = Delivery.IN_ORDER
    __slots__ = ("_client", "_decoder", "_server")

    def __init__(self, client: int, server: int) -> None:
        self._client = client
        self._server = server
        self._decoder = WrapperDecoder()

    def outgoing(self, apdu: bytes) -> bytes:
        """Bytes to send for an APDU."""
        return Frame(self._client, self._server, apdu).to_bytes()

    def poll(self) -> bytes:
        """Nothing: on TCP a meter may speak at any time."""
        return b""

    def incoming(self, data: bytes) -> Incoming:
        """APDUs completed by received bytes.

        Raises
        ------
        RemoteProtocolError
            A header is wrong, or a frame belongs to somebody else.
        """
        apdus: list[bytes] = []
        for event in self._decoder.feed(data):
            if isinstance(event, RemoteProtocolError):
                raise event
            if (event.source, event.destination) != (self._server, self._client):
                raise RemoteProtocolError(
                    f"frame from wPort {event.source} to {event.destination}",
                    expected=f"{self._server} to {self._client}",
                )
            apdus.append(event.apdu)
        return Incoming(apdus)

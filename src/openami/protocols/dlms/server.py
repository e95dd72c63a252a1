"""The server session: a TCP stream of wrapper frames in, a stream of wrapper frames out.

One connection reaches every logical device behind it: the destination wPort names the device, the source
wPort the client, and each pair has an association of its own. Rule of this file: `receive` never raises
because of what it is fed, and never keeps more than one frame and the associations of one connection.
"""

from __future__ import annotations

from collections.abc import Mapping

from openami.protocols.dlms.limits import MAX_PDU
from openami.protocols.dlms.logical_device import LogicalDevice
from openami.protocols.dlms.server_association import ServerAssociation
from openami.protocols.dlms.wrapper import Frame, WrapperDecoder
from openami.quantities.errors import RemoteProtocolError

MAX_ASSOCIATIONS = 4096
"""Pairs of client and server wPort that one connection may have open; the oldest is forgotten."""


class ServerSession:
    """One connection.

    Parameters
    ----------
    devices:
        Logical devices by wPort. It is asked when a frame comes, so it may build them lazily.
    max_receive:
        Largest APDU taken; a longer one breaks the connection.

    Examples
    --------
    >>> session = ServerSession({})
    >>> session.receive(b"not a wrapper frame")
    b''
    >>> session.closed
    True
    """

    __slots__ = ("_associations", "_decoder", "_devices", "error")

    def __init__(self, devices: Mapping[int, LogicalDevice], max_receive: int = MAX_PDU) -> None:
        self._devices = devices
        self._decoder = WrapperDecoder(max_receive)
        self._associations: dict[tuple[int, int], ServerAssociation] = {}
        self.error: RemoteProtocolError | None = None

    @property
    def closed(self) -> bool:
        """True where the stream is broken: send what `receive` gave, then close the connection."""
        return self.error is not None

    def receive(self, data: bytes) -> bytes:
        """Answer bytes, cut anyhow; gives the bytes to send, perhaps none."""
        answers: list[bytes] = []
        for event in self._decoder.feed(data):
            if isinstance(event, RemoteProtocolError):
                self.error = event
            else:
                answers.append(self._answer(event).to_bytes())
        return b"".join(answers)

    def _answer(self, frame: Frame) -> Frame:
        key = frame.source, frame.destination
        association = self._associations.get(key)
        if association is None:
            association = ServerAssociation(
                self._devices.get(frame.destination), frame.source, frame.destination
            )
        apdu = association.answer(frame.apdu)
        if association.associated:
            if key not in self._associations and len(self._associations) >= MAX_ASSOCIATIONS:
                del self._associations[next(iter(self._associations))]
            self._associations[key] = association
        else:
            self._associations.pop(key, None)
        return Frame(frame.destination, frame.source, apdu)

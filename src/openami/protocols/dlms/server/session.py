"""The server session: a TCP stream of wrapper frames in, a stream of wrapper frames out.

One connection reaches every logical device behind it: the destination wPort names the device, the source
wPort the client, and each pair has an association of its own. Rule of this file: `receive` never raises
because of what it is fed, and never keeps more than one frame, the associations of one connection and
`MAX_KEPT` octets of their block transfers.
"""

from __future__ import annotations

from collections.abc import Mapping

from openami.protocols.dlms.apdus.notification import DataNotification, EventNotification
from openami.protocols.dlms.encoding.limits import MAX_PDU, MAX_REASSEMBLED
from openami.protocols.dlms.framing.wrapper import Frame, WrapperDecoder
from openami.protocols.dlms.server.association import ServerAssociation
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

MAX_KEPT = 2 * MAX_REASSEMBLED
"""Octets of block transfers under way on one connection; beyond, those of the oldest associations end."""

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
    max_send:
        Largest APDU that the transport carries, whatever a client says that it takes.

    Examples
    --------
    >>> session = ServerSession({})
    >>> session.receive(b"not a wrapper frame")
    b''
    >>> session.closed
    True
    """

    __slots__ = ("_associations", "_decoder", "_devices", "_max_send", "error", "kept_octets")

    def __init__(
        self, devices: Mapping[int, LogicalDevice], max_receive: int = MAX_PDU, max_send: int = MAX_PDU
    ) -> None:
        self._devices = devices
        self._max_send = max_send
        self._decoder = WrapperDecoder(max_receive)
        self._associations: dict[tuple[int, int], ServerAssociation] = {}
        self.kept_octets = 0
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
                answers.append(self.answer(event))
        return b"".join(answers)

    def answer(self, frame: Frame) -> bytes:
        """Bytes that answer one frame, for a transport that cuts its stream into frames itself."""
        key = frame.source, frame.destination
        association = self._associations.get(key)
        if association is None:
            association = ServerAssociation(
                self._devices.get(frame.destination), frame.source, frame.destination, self._max_send
            )
        before = association.kept_octets
        apdus = association.answer(frame.apdu)
        self.kept_octets += association.kept_octets - before
        if association.associated:
            if key not in self._associations and len(self._associations) >= MAX_ASSOCIATIONS:
                oldest = self._associations.pop(next(iter(self._associations)))
                self.kept_octets -= oldest.kept_octets
            self._associations[key] = association
        else:
            self._associations.pop(key, None)
        if self.kept_octets > MAX_KEPT:
            self._make_room(association)
        return b"".join(Frame(frame.destination, frame.source, apdu).to_bytes() for apdu in apdus)

    def notify(self, server: int, client: int, notification: DataNotification | EventNotification) -> bytes:
        """Bytes of a notification to an associated client, to be sent between answers.

        Raises
        ------
        LocalProtocolError
            The client (its wPort) is not associated with the logical device (its wPort), or as
            `ServerAssociation.notify`.
        """
        association = self._associations.get((client, server))
        if association is None:
            raise LocalProtocolError(f"no association between wPorts {client} and {server}")
        return Frame(server, client, association.notify(notification)).to_bytes()

    def _make_room(self, present: ServerAssociation) -> None:
        """End block transfers, the oldest association's first, but not that of the present one."""
        for association in self._associations.values():
            if association is not present and association.kept_octets:
                self.kept_octets -= association.kept_octets
                association.forget_long_values()
                if self.kept_octets <= MAX_KEPT:
                    return

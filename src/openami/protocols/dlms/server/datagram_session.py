"""A server's end of the wrapper over UDP (IEC 62056-47): datagrams in, datagrams out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from openami.protocols.dlms.encoding.limits import MAX_PDU
from openami.protocols.dlms.framing.udp_wrapper import frames_of
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.errors import RemoteProtocolError

MAX_SEND: Final = 65_507 - 8
"""Largest APDU in one datagram over IPv4, behind the wrapper's header."""


class DatagramSession:
    """The server's end: the associations of one peer (address and port) that sends datagrams.

    Invariant: the stream session inside is only ever given whole frames, so it never breaks.

    Parameters
    ----------
    devices:
        Logical devices by wPort, as for `server.ServerSession`.
    """

    __slots__ = ("_session", "bad_frames")

    def __init__(self, devices: Mapping[int, LogicalDevice], max_receive: int = MAX_PDU) -> None:
        self._session = ServerSession(devices, max_receive, MAX_SEND)
        self.bad_frames = 0

    @property
    def kept_octets(self) -> int:
        """Octets of block transfers under way."""
        return self._session.kept_octets

    def receive(self, datagram: bytes) -> list[bytes]:
        """Datagrams that answer a datagram, one an APDU."""
        answers: list[bytes] = []
        for event in frames_of(datagram):
            if isinstance(event, RemoteProtocolError):
                self.bad_frames += 1
                continue
            for answer in (
                frames_of(answered) if (answered := self._session.receive(event.to_bytes())) else ()
            ):
                if isinstance(answer, Frame):
                    answers.append(answer.to_bytes())
        return answers

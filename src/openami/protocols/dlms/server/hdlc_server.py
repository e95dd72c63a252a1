"""The server session over HDLC: octets of a line in, octets of the line out.

A line may carry several clients and several logical devices: the upper part of the server's address names
the logical device, the lower one the physical device (the meter on a bus), the other address is the client's.
Each pair has a link of its own, and on it an association, which begins with SNRM and ends with DISC.

Rules of this file: `receive` never raises because of what it is fed; what is not for us, or cannot be read,
is answered by silence, as on a bus it must be; and what is kept is bounded for the whole line. What UI frames
carry is not served: a poll in one is answered as any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from openami.protocols.dlms.framing.hdlc_frame import FrameKind, HdlcAddress, HdlcDecoder, HdlcFrame
from openami.protocols.dlms.framing.hdlc_link import SecondaryLink, unnumbered_information
from openami.protocols.dlms.framing.hdlc_link_state import LinkState
from openami.protocols.dlms.framing.hdlc_parameters import HdlcParameters
from openami.protocols.dlms.framing.llc import COMMAND, RESPONSE, without_llc
from openami.protocols.dlms.server.association import ServerAssociation
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import MAX_KEPT
from openami.quantities.errors import RemoteProtocolError

MAX_LINKS: Final = 256
"""Links of one line; the oldest is forgotten, and its client hears DM when it goes on."""

_BOTH_WAYS = (FrameKind.I, FrameKind.RR, FrameKind.RNR, FrameKind.UI)
_COMMANDS = (FrameKind.SNRM, FrameKind.DISC, FrameKind.UNKNOWN, *_BOTH_WAYS)


@dataclass(slots=True)
class _Conversation:
    """A link and the association on it."""

    link: SecondaryLink
    association: ServerAssociation

    @property
    def kept_octets(self) -> int:
        return self.link.kept_octets + self.association.kept_octets


class HdlcServerSession:
    """One line.

    Invariant: ``kept_octets`` is what the links and associations of the line keep of long values.

    Parameters
    ----------
    devices:
        Logical devices by upper address. It is asked when a frame comes, so it may build them lazily.
    station:
        Lower address of this physical device; with None (one meter at the end of a line) every lower address
        is ours. Several meters on one bus are several sessions that hear the same octets.
    parameters:
        Information field and window that we agree to at most.

    Examples
    --------
    >>> session = HdlcServerSession({1: LogicalDevice([], [])})
    >>> session.receive(bytes.fromhex("7ea0070321930f017e")).hex()
    '7ea01e210373c37a818012050180060180070400000001080400000001533b7e'
    """

    __slots__ = (
        "_conversations",
        "_decoder",
        "_devices",
        "_parameters",
        "_station",
        "bad_frames",
        "kept_octets",
    )

    def __init__(
        self,
        devices: Mapping[int, LogicalDevice],
        station: int | None = None,
        parameters: HdlcParameters | None = None,
    ) -> None:
        self._devices = devices
        self._station = station
        self._parameters = parameters or HdlcParameters.of(2030, 7)
        self._decoder = HdlcDecoder()
        self._conversations: dict[tuple[HdlcAddress, HdlcAddress], _Conversation] = {}
        self.bad_frames = 0
        self.kept_octets = 0

    def receive(self, data: bytes) -> bytes:
        """Answer octets, cut anyhow; gives the octets to send, perhaps none."""
        return self._answers(self._decoder.feed(data))

    def silence(self) -> bytes:
        """The inter-octet time-out passed: a frame that is not whole is given up."""
        return self._answers(self._decoder.silence())

    def push(self, apdu: bytes, client: int, server: HdlcAddress, largest: int | None = None) -> bytes:
        """UI frames of an APDU that the meter sends unasked.

        Parameters
        ----------
        client:
            Address of the client that listens.
        server:
            Address that it comes from.
        largest:
            Octets of an information field; None for what we agree to at most.
        """
        frames = unnumbered_information(
            RESPONSE + apdu, HdlcAddress(client), server, largest or self._parameters.transmit
        )
        return b"".join(frame.to_bytes() for frame in frames)

    def _answers(self, events: list[HdlcFrame | RemoteProtocolError]) -> bytes:
        answers: list[bytes] = []
        for event in events:
            if isinstance(event, RemoteProtocolError):
                self.bad_frames += 1
            else:
                answers.append(self._answer(event))
        return b"".join(answers)

    def _answer(self, frame: HdlcFrame) -> bytes:
        if frame.kind not in _COMMANDS or not self._is_ours(frame):
            return b""
        key = frame.destination, frame.source
        conversation = self._conversations.get(key)
        before = 0 if conversation is None else conversation.kept_octets
        if conversation is None:
            conversation = self._begun(frame)
        link = conversation.link
        if frame.kind is FrameKind.SNRM:
            conversation.association = self._association(frame)
        message = link.receive(frame)
        if message is not None:
            self._serve(conversation, message)
        answer = link.turn()
        if link.state is LinkState.DISCONNECTED:
            self._conversations.pop(key, None)
            self.kept_octets -= before
            return answer
        self.kept_octets += conversation.kept_octets - before
        if key not in self._conversations:
            if len(self._conversations) >= MAX_LINKS:
                oldest = self._conversations.pop(next(iter(self._conversations)))
                self.kept_octets -= oldest.kept_octets
            self._conversations[key] = conversation
        if self.kept_octets > MAX_KEPT:
            self._make_room(conversation)
        return answer

    def _is_ours(self, frame: HdlcFrame) -> bool:
        """True for a command of a client to a device of ours.

        Who calls everybody (all-station) is not answered, nor who calls nobody or has no address of his own.
        What has a source of more than one octet comes from a meter on the bus, or is an echo of our own.
        """
        called = frame.destination
        if not called.individual or not frame.source.individual or frame.source.octets != 1:
            return False
        if self._station is not None and called.lower is not None and called.lower != self._station:
            return False
        known = self._conversations
        if (
            frame.kind in _BOTH_WAYS
            and (frame.source, called) in known
            and (called, frame.source) not in known
        ):
            return False
        return self._devices.get(called.upper) is not None

    def _begun(self, frame: HdlcFrame) -> _Conversation:
        link = SecondaryLink(frame.destination, frame.source, self._parameters)
        return _Conversation(link, self._association(frame))

    def _association(self, frame: HdlcFrame) -> ServerAssociation:
        device = self._devices.get(frame.destination.upper)
        return ServerAssociation(device, frame.source.upper, frame.destination.upper)

    def _serve(self, conversation: _Conversation, message: bytes) -> None:
        try:
            apdu = without_llc(message, COMMAND)
        except RemoteProtocolError:
            self.bad_frames += 1
            return
        for answer in conversation.association.answer(apdu):
            conversation.link.send(RESPONSE + answer)

    def _make_room(self, present: _Conversation) -> None:
        """End block transfers, the oldest association's first, but not that of the present one."""
        for conversation in self._conversations.values():
            association = conversation.association
            if conversation is not present and association.kept_octets:
                self.kept_octets -= association.kept_octets
                association.forget_long_values()
                if self.kept_octets <= MAX_KEPT:
                    return

"""An HDLC link in normal response mode, both roles (IEC 62056-46 clause 6.4): frames in, bytes out.

`hdlc_link_state` is its table, `hdlc_transfer` its numbered frames. A *message* is an LLC header and an APDU.
There is no clock here: whoever owns the line calls `PrimaryLink.timed_out` when an answer did not come.

Rules of this file. Every message is delivered once, whole and in order, or the link ends with one error. A
frame that neither acknowledges nor brings anything makes the primary send nothing: on a line that doubles
frames the conversation would double too. And the secondary sends only when it was polled.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from openami.protocols.dlms.framing.hdlc_frame import FrameKind, HdlcAddress, HdlcFrame, control_of
from openami.protocols.dlms.framing.hdlc_link_state import LinkEvent, LinkState, Role, heard, wanted
from openami.protocols.dlms.framing.hdlc_parameters import HdlcParameters
from openami.protocols.dlms.framing.hdlc_transfer import Inbox, Outbox, Segment
from openami.protocols.dlms.framing.llc import RESPONSE
from openami.quantities.errors import LinkError, LocalProtocolError, RemoteProtocolError

MAX_IDLE_POLLS: Final = 8
"""Polls sent at once while the meter has nothing to say; after them one each time-out."""

_UNDEFINED_CONTROL, _NOT_PERMITTED, _TOO_LONG, _WRONG_NUMBER = 0x01, 0x03, 0x04, 0x08
_EVENTS = {
    FrameKind.SNRM: LinkEvent.SNRM,
    FrameKind.DISC: LinkEvent.DISC,
    FrameKind.UA: LinkEvent.UA,
    FrameKind.DM: LinkEvent.DM,
    FrameKind.FRMR: LinkEvent.FRMR,
}
_COMMANDS_ONLY = (FrameKind.SNRM, FrameKind.DISC)
_NUMBERED = (FrameKind.I, FrameKind.RR, FrameKind.RNR)


class Heard(NamedTuple):
    """What a frame brought: messages that are whole now, and bytes to send at once."""

    messages: tuple[bytes, ...] = ()
    outgoing: bytes = b""


def unnumbered_information(
    message: bytes, destination: HdlcAddress, source: HdlcAddress, largest: int
) -> list[HdlcFrame]:
    """UI frames of a message that nobody acknowledges (a push), the last with the F bit.

    Parameters
    ----------
    message:
        LLC header and APDU.
    largest:
        Octets of an information field.
    """
    box = Outbox()
    box.put(message, largest)
    frames: list[HdlcFrame] = []
    while box:
        (segment,) = box.batch(1)
        control = control_of(FrameKind.UI, poll_final=not segment.more)
        frames.append(HdlcFrame(destination, source, control, segment.octets, segment.more))
        box.acknowledge(box.next_number)
    return frames


class _Station:
    """What both ends of a link have."""

    __slots__ = ("_inbox", "_outbox", "_own", "_parameters", "_peer", "_peer_busy", "agreed", "state")

    def __init__(self, own: HdlcAddress, peer: HdlcAddress, parameters: HdlcParameters) -> None:
        self._own = own
        self._peer = peer
        self._parameters = parameters
        self.state = LinkState.DISCONNECTED
        self._reset(HdlcParameters())

    def _reset(self, agreed: HdlcParameters) -> None:
        self.agreed = agreed
        self._outbox = Outbox()
        self._inbox = Inbox()
        self._peer_busy = False

    @property
    def kept_octets(self) -> int:
        """Octets of messages under way in either direction."""
        return self._inbox.kept_octets + self._outbox.kept_octets

    def _frame(self, control: int, information: bytes = b"", segmented: bool = False) -> HdlcFrame:
        return HdlcFrame(self._peer, self._own, control, information, segmented)

    def _turn_frames(self) -> list[HdlcFrame]:
        """Our turn: the window, or the acknowledgement alone; P or F on the last frame."""
        batch = [] if self._peer_busy else self._outbox.batch(self.agreed.window_transmit)
        if not batch:
            return [self._frame(control_of(FrameKind.RR, receive_sequence=self._inbox.expected))]
        return [self._numbered_frame(segment, segment is batch[-1]) for segment in batch]

    def _numbered_frame(self, segment: Segment, last: bool) -> HdlcFrame:
        control = control_of(
            FrameKind.I,
            poll_final=last,
            send_sequence=segment.number,
            receive_sequence=self._inbox.expected,
        )
        return self._frame(control, segment.octets, segment.more)


class PrimaryLink(_Station):
    """The client's end.

    Invariant: while ``waiting`` the turn is the meter's, and `timed_out` gives bytes or ends the link. It is
    ours again with the F bit, or with the one frame of a window of one: behind a message more may follow.

    Parameters
    ----------
    own, peer:
        Addresses of the client and of the logical device.
    parameters:
        What we propose.
    repetitions:
        How often one thing is sent again before the link is given up.
    """

    __slots__ = (
        "_attempts",
        "_brought",
        "_idle_polls",
        "_line_echoes",
        "_repetitions",
        "_sent",
        "_unnumbered",
        "waiting",
    )

    def __init__(
        self,
        own: HdlcAddress,
        peer: HdlcAddress,
        parameters: HdlcParameters | None = None,
        repetitions: int = 3,
    ) -> None:
        super().__init__(own, peer, parameters or HdlcParameters())
        self._repetitions = repetitions
        self._attempts = 0
        self._brought = False
        self._idle_polls = 0
        self._unnumbered = Inbox()
        self._line_echoes = False
        self._sent: deque[HdlcFrame] = deque(maxlen=16)
        self.waiting = False

    # --- what we want ---------------------------------------------------------------------------------

    def connect(self) -> bytes:
        """SNRM with our parameters; `LocalProtocolError` where the link is not disconnected."""
        return self._want(LinkEvent.CONNECT)

    def disconnect(self) -> bytes:
        """DISC; `LocalProtocolError` where the link is not up."""
        return self._want(LinkEvent.DISCONNECT)

    def send(self, message: bytes) -> bytes:
        """The first frames of a message; `receive` gives the rest as they are acknowledged.

        Nothing goes out while the meter has the turn: the message follows those before it.

        Raises
        ------
        LocalProtocolError
            The link is not up.
        """
        if self.state is not LinkState.CONNECTED:
            raise LocalProtocolError(f"a message while the link is {self.state.name.lower()}")
        self._outbox.put(message, self.agreed.transmit)
        return b"" if self.waiting else self._take_turn()

    def poll(self) -> bytes:
        """RR that gives the meter the turn; empty where it has it, or the link is not up."""
        if self.waiting or self.state is not LinkState.CONNECTED:
            return b""
        return self._take_turn()

    def timed_out(self) -> bytes:
        """The answer did not come in time: what to send again; empty where none is awaited.

        Raises
        ------
        LinkError
            It was sent ``repetitions`` times; the link is given up.
        """
        if not self.waiting:
            return b""
        self._attempts += 1
        if self._attempts > self._repetitions:
            self.state, _ = wanted(Role.PRIMARY, self.state, LinkEvent.GIVE_UP)
            self.waiting = False
            raise LinkError(f"no answer to {self._attempts} frames", where=f"HDLC {self._peer}")
        if self.state is LinkState.CONNECTING:
            return self._emit([self._set_mode()])
        if self.state is LinkState.DISCONNECTING:
            return self._emit([self._frame(control_of(FrameKind.DISC))])
        return self._emit(self._turn_frames())

    def _want(self, event: LinkEvent) -> bytes:
        self.state, kind = wanted(Role.PRIMARY, self.state, event)
        self.waiting, self._attempts = True, 0
        if kind is FrameKind.SNRM:
            return self._emit([self._set_mode()])
        return self._emit([self._frame(control_of(FrameKind.DISC))])

    def _set_mode(self) -> HdlcFrame:
        default = self._parameters == HdlcParameters()
        return self._frame(control_of(FrameKind.SNRM), b"" if default else self._parameters.to_bytes())

    def _take_turn(self) -> bytes:
        self.waiting, self._attempts, self._brought = True, 0, False
        return self._emit(self._turn_frames())

    def _emit(self, frames: list[HdlcFrame]) -> bytes:
        if self._own == self._peer:
            self._sent.extend(frames)
        return b"".join(frame.to_bytes() for frame in frames)

    # --- what comes -----------------------------------------------------------------------------------

    def receive(self, frame: HdlcFrame) -> Heard:
        """What a frame brought; frames of others, and our own that the line gives back, bring nothing.

        Raises
        ------
        RemoteProtocolError
            The meter refused or ended the link (DM), refused a frame (FRMR), or broke the rules; the link is
            disconnected.
        """
        if (frame.destination, frame.source) != (self._own, self._peer) or self._is_echo(frame):
            return Heard()
        kind = frame.kind
        if kind is FrameKind.UI:
            if frame.information.startswith(RESPONSE):  # another message: the end of the one before was lost
                self._unnumbered = Inbox()
            message = self._unnumbered.append(frame.information, frame.segmented)
            return Heard() if message is None else Heard((message,))
        if kind in _NUMBERED and self.state is LinkState.CONNECTED:
            try:
                return self._receive_numbered(frame)
            except RemoteProtocolError:
                self._lose()
                raise
        event = _EVENTS.get(kind)
        before = self.state
        change = None if event is None else heard(Role.PRIMARY, before, event)
        if change is None:
            return Heard()
        self.state, _ = change
        self.waiting = False
        if self.state is LinkState.CONNECTED:
            try:
                self._reset(self._parameters.agreed_with(HdlcParameters.from_bytes(frame.information)))
            except RemoteProtocolError:
                self._lose()
                raise
        elif event is LinkEvent.FRMR:
            raise RemoteProtocolError(
                f"the meter refused a frame (FRMR {frame.information.hex(' ')})", where=f"HDLC {self._peer}"
            )
        elif before is not LinkState.DISCONNECTING:
            raise RemoteProtocolError("the meter is disconnected (DM)", where=f"HDLC {self._peer}")
        return Heard()

    def frame_lost(self) -> None:
        """A frame could not be read: an unnumbered message under way may have a hole."""
        self._unnumbered = Inbox()

    def _lose(self) -> None:
        self.state, self.waiting = LinkState.DISCONNECTED, False

    def _receive_numbered(self, frame: HdlcFrame) -> Heard:
        moved = self._outbox.acknowledge(frame.receive_sequence) > 0
        self._attempts = 0
        message = None
        if frame.kind is FrameKind.I:
            ahead = (frame.send_sequence - self._inbox.expected) & 7
            if not ahead:
                message = self._inbox.take(frame.information, frame.segmented)
                self._idle_polls = 0
            moved = moved or ahead < self.agreed.window_receive
        else:
            was_busy, self._peer_busy = self._peer_busy, frame.kind is FrameKind.RNR
            moved = moved or (was_busy and not self._peer_busy)
            if not (moved or self._outbox or self._peer_busy) and self._idle_polls < MAX_IDLE_POLLS:
                self._idle_polls += 1
                moved = True
        messages = () if message is None else (message,)
        self._brought = self._brought or message is not None
        ended = frame.poll_final or (message is not None and self.agreed.window_receive == 1)
        if ended and self._brought and not self._outbox:
            self.waiting, self._idle_polls = False, 0
        elif self.waiting and frame.poll_final and (moved or self._brought) and not self._peer_busy:
            return Heard(messages, self._take_turn())
        return Heard(messages)

    def _is_echo(self, frame: HdlcFrame) -> bool:
        """True for our own frame where both stations have one address, so that it looks like an answer."""
        if self._own != self._peer:
            return False
        if frame.kind in _COMMANDS_ONLY:
            self._line_echoes = True
        if not self._line_echoes or frame not in self._sent:
            return frame.kind in _COMMANDS_ONLY
        while self._sent.popleft() != frame:
            pass
        return True


class SecondaryLink(_Station):
    """The meter's end.

    Invariant: `turn` gives bytes only after a command with the P bit, or SNRM or DISC, and once for each.

    Parameters
    ----------
    own, peer:
        Address under which the logical device was called, and the client's.
    parameters:
        What we agree to.
    """

    __slots__ = ("_refusal", "_reply")

    def __init__(self, own: HdlcAddress, peer: HdlcAddress, parameters: HdlcParameters | None = None) -> None:
        super().__init__(own, peer, parameters or HdlcParameters())
        self._reply: list[HdlcFrame] | None = None
        self._refusal = b""

    def receive(self, frame: HdlcFrame) -> bytes | None:
        """Take a command from the client; the message that it completes, if any."""
        self._reply = None
        kind = frame.kind
        event = _EVENTS.get(kind)
        message = None
        if event in (LinkEvent.SNRM, LinkEvent.DISC):
            self._change_mode(frame, event)
            return None
        if kind in _NUMBERED and self.state is LinkState.CONNECTED:
            message = self._receive_numbered(frame)
        elif kind is FrameKind.UI and self.state is LinkState.CONNECTED:
            self._reply = []
        elif kind in _NUMBERED or kind is FrameKind.UI:
            self._react(LinkEvent.POLLED)
        elif kind is FrameKind.UNKNOWN:
            self._refuse(frame, _UNDEFINED_CONTROL)
        if not frame.poll_final:
            self._reply = None
        return message

    def send(self, message: bytes) -> None:
        """Queue an answer; it goes out in our turns."""
        self._outbox.put(message, self.agreed.transmit)

    def turn(self) -> bytes:
        """Frames to send now; empty where the client did not give us the turn."""
        reply, self._reply = self._reply, None
        if reply is None:
            return b""
        return b"".join(frame.to_bytes() for frame in reply or self._turn_frames())

    def _receive_numbered(self, frame: HdlcFrame) -> bytes | None:
        if len(frame.information) > self.agreed.receive:
            self._refuse(frame, _TOO_LONG)
            return None
        if frame.information and frame.kind is not FrameKind.I:
            self._refuse(frame, _NOT_PERMITTED)
            return None
        try:
            self._outbox.acknowledge(frame.receive_sequence)
        except RemoteProtocolError:
            self._refuse(frame, _WRONG_NUMBER)
            return None
        self._peer_busy = frame.kind is FrameKind.RNR
        message = None
        expected = frame.kind is FrameKind.I and frame.send_sequence == self._inbox.expected
        if expected and not self._outbox:  # one answer at a time: it bounds what we keep
            try:
                message = self._inbox.take(frame.information, frame.segmented)
            except RemoteProtocolError:
                self._refuse(frame, _TOO_LONG)
                return None
        self._reply = []
        return message

    def _change_mode(self, frame: HdlcFrame, event: LinkEvent) -> None:
        information = b""
        if event is LinkEvent.SNRM:
            try:
                agreed = self._parameters.agreed_with(HdlcParameters.from_bytes(frame.information))
            except RemoteProtocolError:
                self.state = LinkState.DISCONNECTED
                self._reply = [self._frame(control_of(FrameKind.DM))]
                return
            self._reset(agreed)
            information = agreed.to_bytes()
        else:
            self._reset(HdlcParameters())
        self._react(event, information)

    def _refuse(self, frame: HdlcFrame, why: int) -> None:
        if self.state is not LinkState.REJECTING:
            numbers = self._inbox.expected << 5 | self._outbox.next_number << 1
            self._refusal = bytes((frame.control, numbers, why))
        self._react(LinkEvent.NONSENSE)

    def _react(self, event: LinkEvent, information: bytes = b"") -> None:
        change = heard(Role.SECONDARY, self.state, event)
        if change is None:
            return
        self.state, kind = change
        if kind is FrameKind.FRMR:
            information = self._refusal
        if kind is not None:
            carries = kind is FrameKind.FRMR or event is LinkEvent.SNRM
            self._reply = [self._frame(control_of(kind), information if carries else b"")]

"""What a meter pushes, whatever it comes in: HDLC, TCP or UDP wrapper, M-Bus, or bare APDUs.

A listener gives the octets; it gets the APDUs in order, each with the octets that it came from. Segments
(HDLC and M-Bus) are put together, several APDUs in one frame are taken apart. General-block-transfer is not
framing: its blocks are APDUs, and come out as such.

Rules of this file. The framing of a source is recognised once, by its first octets or its first good frame,
unless it is told. A message with a hole in it is given up with the one error that the hole gave. A bare APDU
has nothing around it that says where it ends or whether it is whole, so it is given only where it decodes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias

from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.apdus.notification import DATA_NOTIFICATION, EVENT_NOTIFICATION
from openami.protocols.dlms.encoding.axdr import decode_at
from openami.protocols.dlms.encoding.limits import MAX_PDU
from openami.protocols.dlms.encoding.octets import Reader
from openami.protocols.dlms.framing.hdlc_frame import FrameKind, HdlcDecoder, HdlcFrame
from openami.protocols.dlms.framing.hdlc_transfer import MAX_INFORMATION_UNIT
from openami.protocols.dlms.framing.llc import COMMAND, LLC_OCTETS, RESPONSE
from openami.protocols.dlms.framing.mbus_frame import START as MBUS_START
from openami.protocols.dlms.framing.mbus_frame import MBusDecoder, MBusFrame
from openami.protocols.dlms.framing.wrapper import WrapperDecoder
from openami.protocols.dlms.protection.ciphered_apdu import CIPHERED_TAGS
from openami.quantities.errors import RemoteProtocolError

GENERAL_GLO, GENERAL_DED, GENERAL_BLOCK_TRANSFER = 0xDB, 0xDC, 0xE0
_WHOLE_ONLY = (0xDD, 0xDF)  # general-ciphering, general-signing: nothing was seen to follow them
_PUSHED = frozenset(
    (DATA_NOTIFICATION, EVENT_NOTIFICATION, GENERAL_BLOCK_TRANSFER, *_WHOLE_ONLY, *CIPHERED_TAGS)
)
_PUSHED_OCTETS = frozenset(bytes((tag,)) for tag in _PUSHED)
_HEADERS = (COMMAND, RESPONSE)
_BEGINNINGS = _PUSHED_OCTETS | {RESPONSE[:1]}
_MAX_BARE = 2 * MAX_PDU
_HELD = 64
_CARRIERS = (FrameKind.I, FrameKind.UI)


class Framing(Enum):
    """What is around an APDU."""

    HDLC = "HDLC"
    WRAPPER = "wrapper"
    MBUS = "M-Bus"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class PushedApdu:
    """An APDU and where it comes from.

    Parameters
    ----------
    octets:
        The frames that carried it, whole (of several APDUs in one message: the same frames); for a bare APDU
        its own octets with the LLC header, if any.
    source, destination:
        wPorts, upper HDLC addresses or M-Bus transport addresses; None for a bare APDU.
    """

    apdu: bytes
    framing: Framing
    octets: bytes
    source: int | None = None
    destination: int | None = None


PushEvent: TypeAlias = PushedApdu | RemoteProtocolError


def end_of_apdu(octets: bytes, begin: int = 0) -> int:
    """Where the pushed APDU that begins at ``begin`` ends.

    Raises
    ------
    RemoteProtocolError
        None begins there, or it is not whole.
    """
    reader = Reader(octets, begin)
    tag = reader.u8()
    if tag == DATA_NOTIFICATION:
        reader.u32()
        if octets[reader.position : reader.position + 2] == b"\x09\x0c":
            reader.take(1)
        if len(reader.octets()) not in (0, 12):
            raise RemoteProtocolError("a date-time of another length", where=f"byte {begin + 5}")
        return decode_at(octets, reader.position)[1]
    if tag == EVENT_NOTIFICATION:
        if reader.presence():
            reader.octets()
        Attribute.read(reader)
        return decode_at(octets, reader.position)[1]
    if tag == GENERAL_BLOCK_TRANSFER:
        reader.take(5)
    elif tag in (GENERAL_GLO, GENERAL_DED):
        reader.octets()
    elif tag in _WHOLE_ONLY:
        return len(octets)
    elif tag not in CIPHERED_TAGS:
        raise RemoteProtocolError(f"no pushed APDU begins with {tag:#04x}", where=f"byte {begin}")
    reader.octets()
    return reader.position


def apdus_of(message: bytes) -> list[bytes]:
    """The APDUs of a framed message, one behind the other, each perhaps with an LLC header.

    What cannot be taken apart is one APDU: the frame around it says that it is whole.
    """
    apdus: list[bytes] = []
    place = 0
    while place < len(message):
        begin = _behind_header(message, place)
        try:
            end = end_of_apdu(message, begin)
        except RemoteProtocolError:
            return [message[_behind_header(message, 0) :]]
        apdus.append(message[begin:end])
        place = end
    return apdus


def _behind_header(octets: bytes, place: int) -> int:
    return place + LLC_OCTETS if octets[place : place + LLC_OCTETS] in _HEADERS else place


class PushReader:
    """One source of pushes: a connection, a serial line, or a datagram (a reader for each).

    Invariant: ``framing``, once known, stays; bare APDUs are recognised anew behind each silence.

    Parameters
    ----------
    framing:
        Where it is known; None to recognise it.

    Examples
    --------
    >>> reader = PushReader()
    >>> reader.feed(bytes.fromhex("000100010010000a" "0f0000000100" "0f0000")) + reader.feed(b"")
    []
    >>> (pushed,) = reader.feed(b"\\x00")
    >>> pushed.framing.value, pushed.source, len(pushed.octets)
    ('wrapper', 1, 18)
    """

    __slots__ = ("_beginning", "_source", "framing")

    def __init__(self, framing: Framing | None = None) -> None:
        self.framing = framing
        self._beginning = b""
        self._source: _Source | None = None if framing is None else _SOURCES[framing]()

    def feed(self, data: bytes) -> list[PushEvent]:
        """APDUs and errors that ``data`` completes; of bare APDUs none before `silence` or `end`."""
        if self._source is None:
            data, self._beginning = self._beginning + data, b""
            self._source = _recognised(data)
            if self._source is None:
                self._beginning = data
                return []
        return self._told(self._source.feed(data))

    def silence(self) -> list[PushEvent]:
        """Nothing came for a while: what is not whole never will be."""
        if self._source is None:
            return self._cut_short()
        events = self._told(self._source.silence())
        if self.framing is None and isinstance(self._source, _BareSource):
            self._source = None
        return events

    def end(self) -> list[PushEvent]:
        """The connection was closed, or the datagram is over: what is left, and an error where it is cut."""
        return self._cut_short() if self._source is None else self._told(self._source.end())

    def _cut_short(self) -> list[PushEvent]:
        cut, self._beginning = self._beginning, b""
        return [RemoteProtocolError(f"{len(cut)} octets of a push")] if cut else []

    def _told(self, events: list[PushEvent]) -> list[PushEvent]:
        if self.framing is None and not isinstance(self._source, _BareSource):
            self.framing = next((event.framing for event in events if isinstance(event, PushedApdu)), None)
        return events


def pushes_of(datagram: bytes) -> list[PushEvent]:
    """APDUs and errors of one datagram, or of everything that a connection brought."""
    reader = PushReader()
    return reader.feed(datagram) + reader.end()


class _Source(Protocol):
    """Octets of one framing to pushes."""

    def feed(self, data: bytes) -> list[PushEvent]: ...

    def silence(self) -> list[PushEvent]: ...

    def end(self) -> list[PushEvent]: ...


def _recognised(octets: bytes) -> _Source | None:
    """The source that begins like this; None where more octets are needed to tell."""
    if len(octets) < (LLC_OCTETS if octets[:1] == RESPONSE[:1] else 2):
        return None
    if octets[:2] == b"\x00\x01":
        return _WrapperSource()
    if octets[0] in _PUSHED or octets[:LLC_OCTETS] in _HEADERS:
        return _BareSource()
    return _LineSource(_MBusSource if octets[0] == MBUS_START else _HdlcSource)


@dataclass(slots=True)
class _Message:
    """Segments of a message so far, and the frames they came in."""

    source: int
    destination: int
    message: bytearray
    frames: list[bytes]

    def pushes(self, framing: Framing) -> list[PushEvent]:
        octets = b"".join(self.frames)
        return [
            PushedApdu(apdu, framing, octets, self.source, self.destination)
            for apdu in apdus_of(bytes(self.message))
        ]


class _Segments:
    """Puts the messages of a line together.

    Invariant: ``holed`` only while no message is open: what comes until a last segment belongs to one that
    was given up.
    """

    __slots__ = ("_framing", "_holed", "_open", "_segments")

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self._open: _Message | None = None
        self._holed = False
        self._segments = 0

    @property
    def holed(self) -> bool:
        """True while what comes may belong to a message that was given up."""
        return self._holed

    @property
    def expected(self) -> int:
        """Number of the next segment; 0 where none is open."""
        return self._segments if self._open is not None else 0

    def hole(self) -> None:
        """A frame was bad: the message it may have belonged to cannot be whole."""
        self._open, self._holed = None, True

    def begin(self, source: int, destination: int) -> list[PushEvent]:
        """A message begins; one that is still open is told as an error."""
        events = self.cut()
        self._open, self._holed = _Message(source, destination, bytearray(), []), False
        self._segments = 0
        return events

    def cut(self) -> list[PushEvent]:
        """An error where a message is open."""
        if self._open is None:
            return []
        self._open = None
        return [RemoteProtocolError(f"a message broke off behind segment {self._segments}")]

    def belongs(self, source: int, destination: int) -> bool:
        """True where a message between these two is open."""
        found = self._open
        return found is not None and (found.source, found.destination) == (source, destination)

    def append(self, octets: bytes, frame: bytes, last: bool) -> list[PushEvent]:
        """A segment of the open message; the pushes where it is whole now."""
        message = self._open
        if message is None:
            return []
        message.message += octets
        message.frames.append(frame)
        self._segments += 1
        if len(message.message) > MAX_INFORMATION_UNIT:
            self.hole()
            return [RemoteProtocolError(f"a message of more than {MAX_INFORMATION_UNIT} octets")]
        if not last:
            return []
        self._open = None
        return message.pushes(self._framing)

    def stray(self, what: str, last: bool) -> list[PushEvent]:
        """A segment of no open message: an error, unless the hole before it was told already."""
        told, self._holed = self._holed, not last
        self._open = None
        return [] if told else [RemoteProtocolError(what)]


class _HdlcSource:
    __slots__ = ("_decoder", "_segments")

    def __init__(self) -> None:
        self._decoder = HdlcDecoder()
        self._segments = _Segments(Framing.HDLC)

    def feed(self, data: bytes) -> list[PushEvent]:
        return self._pushes(self._decoder.feed(data))

    def silence(self) -> list[PushEvent]:
        return self._pushes(self._decoder.silence())

    def end(self) -> list[PushEvent]:
        return self._pushes(self._decoder.end()) + self._segments.cut()

    def _pushes(self, events: Iterable[HdlcFrame | RemoteProtocolError]) -> list[PushEvent]:
        pushes: list[PushEvent] = []
        for event in events:
            if isinstance(event, RemoteProtocolError):
                self._segments.hole()
                pushes.append(event)
            elif event.kind in _CARRIERS and event.information:
                pushes += self._carried(event)
        return pushes

    def _carried(self, frame: HdlcFrame) -> list[PushEvent]:
        segments, octets = self._segments, frame.information
        ends = frame.source.upper, frame.destination.upper
        headed = octets[:LLC_OCTETS] in _HEADERS
        events: list[PushEvent] = []
        between = not segments.belongs(*ends) and not segments.holed
        if headed or (between and octets[:1] in _PUSHED_OCTETS):
            events = segments.begin(*ends)
        elif not segments.belongs(*ends):
            return segments.stray("neither an LLC header nor an APDU", not frame.segmented)
        return events + segments.append(octets, frame.to_bytes(), not frame.segmented)


class _MBusSource:
    __slots__ = ("_decoder", "_segments")

    def __init__(self) -> None:
        self._decoder = MBusDecoder()
        self._segments = _Segments(Framing.MBUS)

    def feed(self, data: bytes) -> list[PushEvent]:
        return self._pushes(self._decoder.feed(data))

    def silence(self) -> list[PushEvent]:
        return self._pushes(self._decoder.silence())

    def end(self) -> list[PushEvent]:
        return self._pushes(self._decoder.end()) + self._segments.cut()

    def _pushes(self, events: Iterable[MBusFrame | RemoteProtocolError]) -> list[PushEvent]:
        pushes: list[PushEvent] = []
        for event in events:
            if isinstance(event, RemoteProtocolError):
                self._segments.hole()
                pushes.append(event)
            elif not event.carries_dlms:
                pushes += self._segments.stray(f"M-Bus data of CI {event.ci:#04x}", True)
            else:
                pushes += self._carried(event)
        return pushes

    def _carried(self, frame: MBusFrame) -> list[PushEvent]:
        segments = self._segments
        ends = frame.data[0], frame.data[1]
        events: list[PushEvent] = []
        if not frame.segment:
            if frame.data[2:3] not in _BEGINNINGS:
                return segments.stray("neither an LLC header nor an APDU", frame.last)
            events = segments.begin(*ends)
        elif not segments.belongs(*ends) or frame.segment != segments.expected:
            what = f"segment {frame.segment} of a message without those before it"
            return segments.stray(what, frame.last)
        return events + segments.append(frame.data[2:], frame.to_bytes(), frame.last)


class _LineSource:
    """A line of which it is not known yet whether it is HDLC or M-Bus: whose frames are good, that it is."""

    __slots__ = ("_held", "_sources")

    def __init__(self, likely: type[_HdlcSource | _MBusSource]) -> None:
        other = _MBusSource if likely is _HdlcSource else _HdlcSource
        self._sources: tuple[_Source, ...] = (likely(), other())
        self._held: tuple[deque[PushEvent], ...] = (deque(maxlen=_HELD), deque(maxlen=_HELD))

    def feed(self, data: bytes) -> list[PushEvent]:
        return self._told([source.feed(data) for source in self._sources])

    def silence(self) -> list[PushEvent]:
        return self._told([source.silence() for source in self._sources])

    def end(self) -> list[PushEvent]:
        known = len(self._sources) == 1
        told = self._told([source.end() for source in self._sources])
        if told or known:
            return told
        likely, other = self._held
        return list(other if len(other) < len(likely) else likely)

    def _told(self, events: list[list[PushEvent]]) -> list[PushEvent]:
        if len(self._sources) == 1:
            return events[0]
        for source, held, new in zip(self._sources, self._held, events, strict=True):
            held.extend(new)
            if any(isinstance(event, PushedApdu) for event in new):
                self._sources = (source,)
                return [*held]
        return []


class _WrapperSource:
    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = WrapperDecoder()

    def feed(self, data: bytes) -> list[PushEvent]:
        pushes: list[PushEvent] = []
        for event in self._decoder.feed(data):
            if isinstance(event, RemoteProtocolError):
                pushes.append(event)
                continue
            octets, ends = event.to_bytes(), (event.source, event.destination)
            pushes += [PushedApdu(apdu, Framing.WRAPPER, octets, *ends) for apdu in apdus_of(event.apdu)]
        return pushes

    def silence(self) -> list[PushEvent]:
        return []

    def end(self) -> list[PushEvent]:
        cut = self._decoder.end()
        return [] if cut is None else [cut]


class _BareSource:
    __slots__ = ("_octets", "_too_long")

    def __init__(self) -> None:
        self._octets = bytearray()
        self._too_long = False

    def feed(self, data: bytes) -> list[PushEvent]:
        if self._too_long:
            return []
        self._octets += data
        if len(self._octets) <= _MAX_BARE:
            return []
        self._too_long = True
        self._octets.clear()
        return [RemoteProtocolError(f"more than {_MAX_BARE} octets without framing")]

    def silence(self) -> list[PushEvent]:
        octets, self._octets = bytes(self._octets), bytearray()
        self._too_long = False
        pushes: list[PushEvent] = []
        place = 0
        while place < len(octets):
            begin = _behind_header(octets, place)
            try:
                end = end_of_apdu(octets, begin)
            except RemoteProtocolError as error:
                pushes.append(error)
                break
            pushes.append(PushedApdu(octets[begin:end], Framing.NONE, octets[place:end]))
            place = end
        return pushes

    def end(self) -> list[PushEvent]:
        return self.silence()


_SOURCES: dict[Framing, type[_HdlcSource | _MBusSource | _WrapperSource | _BareSource]] = {
    Framing.HDLC: _HdlcSource,
    Framing.MBUS: _MBusSource,
    Framing.WRAPPER: _WrapperSource,
    Framing.NONE: _BareSource,
}

"""M-Bus long frames (EN 13757-2) that carry DLMS, as meters push on their customer interface: the codec.

    68 L L 68 | C | A | CI | data ... | checksum | 16

L counts the octets from C to the last of the data, the checksum is their sum. Where CI is 0 .. 1F the data is
a segment of a DLMS message: bit 4 says that it is the last, bits 0-3 count from 0, and two octets name the
source and destination of the transport layer (recalled; agrees with the captures of two manufacturers).

Rule of this file: a frame has both starts, both lengths, its checksum and its end, or it is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from openami.protocols.dlms.framing.frame_scanner import FrameScanner, Judgement
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

START: Final = 0x68
STOP: Final = 0x16
MAX_SEGMENTS: Final = 16
_LAST_SEGMENT, _SEGMENT_NUMBER, _HIGHEST_DLMS_CI = 0x10, 0x0F, 0x1F


@dataclass(frozen=True, slots=True)
class MBusFrame:
    """One long frame: control field, address, control information field, data."""

    control: int
    address: int
    ci: int
    data: bytes = b""

    @property
    def carries_dlms(self) -> bool:
        """True where the data is a segment of a DLMS message."""
        return self.ci <= _HIGHEST_DLMS_CI and len(self.data) >= 2

    @property
    def segment(self) -> int:
        """Number of the segment, 0 .. 15."""
        return self.ci & _SEGMENT_NUMBER

    @property
    def last(self) -> bool:
        """True for the last segment of a message."""
        return bool(self.ci & _LAST_SEGMENT)

    def to_bytes(self) -> bytes:
        """The frame.

        Raises
        ------
        LocalProtocolError
            More than 252 octets of data.
        """
        length = 3 + len(self.data)
        if length > 0xFF:
            raise LocalProtocolError(f"{len(self.data)} octets in an M-Bus frame", expected="at most 252")
        body = bytes((self.control, self.address, self.ci)) + self.data
        return bytes((START, length, length, START)) + body + bytes((sum(body) & 0xFF, STOP))


def segmented(apdu: bytes, source: int, destination: int, *, control: int = 0x53) -> list[MBusFrame]:
    """Frames of an APDU that a meter pushes to everybody (address FF).

    Raises
    ------
    LocalProtocolError
        It takes more than the 16 segments that can be counted.
    """
    ends = bytes((source, destination))
    pieces = [apdu[begin : begin + 250] for begin in range(0, max(len(apdu), 1), 250)]
    if len(pieces) > MAX_SEGMENTS:
        raise LocalProtocolError(f"an APDU of {len(apdu)} octets", expected=f"at most {250 * MAX_SEGMENTS}")
    return [
        MBusFrame(
            control,
            0xFF,
            number | (_LAST_SEGMENT if number == len(pieces) - 1 else 0),
            ends + piece,
        )
        for number, piece in enumerate(pieces)
    ]


class MBusDecoder:
    """Cuts octets of a line into long frames, see `frame_scanner` for what comes when."""

    __slots__ = ("_ended", "_scanner")

    def __init__(self) -> None:
        self._scanner = FrameScanner[MBusFrame](START, _judge)
        self._ended = False

    def feed(self, data: bytes) -> list[MBusFrame | RemoteProtocolError]:
        """Frames and errors that ``data`` completes; nothing after `end`."""
        return [] if self._ended else self._scanner.feed(data)

    def silence(self) -> list[MBusFrame | RemoteProtocolError]:
        """The line fell silent: what is not whole never will be."""
        return self._scanner.silence("the line fell silent")

    def end(self) -> list[MBusFrame | RemoteProtocolError]:
        """The stream ended: an error where it ended inside a frame, behind the good frames in it."""
        if self._ended:
            return []
        self._ended = True
        return self._scanner.silence("the stream ended")


def _judge(octets: bytes, begin: int) -> Judgement[MBusFrame]:
    """What stands at a start octet."""
    size = len(octets)
    head = octets[begin : begin + 4]
    if len(head) < 4:
        return None, begin + 4
    length = head[1]
    if head[2] != length or head[3] != START or length < 3:
        return "no start of a long frame", begin
    body, end = begin + 4, begin + 6 + length
    if end > size:
        return None, end
    if octets[end - 1] != STOP:
        return "no stop where the frame should end", begin
    if sum(octets[body : end - 2]) & 0xFF != octets[end - 2]:
        return "wrong checksum", end
    frame = MBusFrame(octets[body], octets[body + 1], octets[body + 2], octets[body + 3 : end - 2])
    return frame, end

"""HDLC frames of type 3 (IEC 62056-46 clause 6.4; ISO/IEC 13239): the codec.

    7E | 1010 S LLLLLLLLLLL | destination | source | control | HCS | information | FCS | 7E

L counts the octets between the flags, S says that the information goes on in the next frame. HCS is there
where there is information. Both checks are CRC-16/X.25, low octet first.

Rules of this file. The length decides where a frame ends, never the flag: 7E may stand in the information and
in the checks, and is not escaped. What is not right in both checks and between two flags is not a frame.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from openami.protocols.dlms.framing.frame_scanner import FrameScanner, Judgement
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

FLAG: Final = 0x7E
MAX_FRAME: Final = 0x7FF
"""Octets between the flags: the length has 11 bits."""

NO_STATION: Final = 0
ALL_STATIONS: Final = {1: 0x7F, 2: 0x7F, 4: 0x3FFF}
"""Address of everybody, by the octets of a server address."""

_LOWEST_FRAME = 7
_FORMAT, _SEGMENTED = 0xA000, 0x0800
_REVERSED = bytes(int(f"{octet:08b}"[::-1], 2) for octet in range(256))
_START, _GOOD = 0xFFFF, 0x1D0F


class FrameKind(Enum):
    """What a frame is for, by its control field (modulo 8)."""

    I = "I"  # noqa: E741 - the standard's name
    RR = "RR"
    RNR = "RNR"
    SNRM = "SNRM"
    DISC = "DISC"
    UA = "UA"
    DM = "DM"
    FRMR = "FRMR"
    UI = "UI"
    UNKNOWN = "unknown"


_UNNUMBERED = {
    0x83: FrameKind.SNRM,
    0x43: FrameKind.DISC,
    0x63: FrameKind.UA,
    0x0F: FrameKind.DM,
    0x87: FrameKind.FRMR,
    0x03: FrameKind.UI,
}
_CONTROL = {kind: control for control, kind in _UNNUMBERED.items()} | {
    FrameKind.I: 0x00,
    FrameKind.RR: 0x01,
    FrameKind.RNR: 0x05,
}
POLL_FINAL: Final = 0x10


def _kind(control: int) -> FrameKind:
    if not control & 0x01:
        return FrameKind.I
    if control & 0x03 == 0x01:
        return {0x01: FrameKind.RR, 0x05: FrameKind.RNR}.get(control & 0x0F, FrameKind.UNKNOWN)
    return _UNNUMBERED.get(control & ~POLL_FINAL, FrameKind.UNKNOWN)


_KINDS = tuple(_kind(control) for control in range(256))


@dataclass(frozen=True, slots=True)
class HdlcAddress:
    """An address of 1, 2 or 4 octets.

    Parameters
    ----------
    upper:
        Logical device, or the client (16 public, 1 management).
    lower:
        Physical device; None in an address of one octet, which has no such part.
    octets:
        1, 2 (7 bits each) or 4 (14 bits each).

    Raises
    ------
    LocalProtocolError
        The parts do not fit.
    """

    upper: int
    lower: int | None = None
    octets: int = 1

    def __post_init__(self) -> None:
        largest = 0x3FFF if self.octets == 4 else 0x7F
        lower = self.lower if self.lower is not None else 0
        fits = 0 <= self.upper <= largest and 0 <= lower <= largest
        if self.octets not in (1, 2, 4) or not fits or (self.octets == 1) is not (self.lower is None):
            raise LocalProtocolError(
                f"HDLC address {self.upper}/{self.lower} in {self.octets} octets",
                expected="upper part alone in 1 octet, both parts up to 127 in 2 or up to 16383 in 4",
            )

    @classmethod
    def of(cls, upper: int, lower: int | None = None) -> HdlcAddress:
        """The shortest address for a logical device in a physical device."""
        if lower is None:
            return cls(upper)
        return cls(upper, lower, 2 if upper <= 0x7F and lower <= 0x7F else 4)

    @property
    def individual(self) -> bool:
        """True where neither part is the address of everybody or of nobody."""
        nobody_or_all = (NO_STATION, ALL_STATIONS[self.octets])
        return self.upper not in nobody_or_all and self.lower not in nobody_or_all

    def to_bytes(self) -> bytes:
        """Seven bits an octet, the lowest bit set in the last one."""
        lower = self.lower or 0
        if self.octets == 1:
            return bytes((self.upper << 1 | 1,))
        if self.octets == 2:
            return bytes((self.upper << 1, lower << 1 | 1))
        return bytes(
            (self.upper >> 6 & 0xFE, self.upper << 1 & 0xFE, lower >> 6 & 0xFE, lower << 1 & 0xFE | 1)
        )

    def __str__(self) -> str:
        return f"{self.upper}" if self.lower is None else f"{self.upper}/{self.lower}"


@dataclass(frozen=True, slots=True)
class HdlcFrame:
    """One frame.

    Parameters
    ----------
    destination, source:
        Addresses.
    control:
        The control octet, see `control_of`.
    information:
        Empty where there is none.
    segmented:
        The information goes on in the next frame.
    """

    destination: HdlcAddress
    source: HdlcAddress
    control: int
    information: bytes = b""
    segmented: bool = False

    @property
    def kind(self) -> FrameKind:
        """What the frame is for."""
        return _KINDS[self.control]

    @property
    def poll_final(self) -> bool:
        """P of a command: answer now; F of an answer: it was the last."""
        return bool(self.control & POLL_FINAL)

    @property
    def send_sequence(self) -> int:
        """N(S) of an I frame."""
        return self.control >> 1 & 7

    @property
    def receive_sequence(self) -> int:
        """N(R) of an I, RR or RNR frame: the number of the I frame that is expected next."""
        return self.control >> 5

    def to_bytes(self) -> bytes:
        """The frame with both flags.

        Raises
        ------
        LocalProtocolError
            It is longer than 2,047 octets.
        """
        addresses = _encoded(self.destination) + _encoded(self.source)
        information = self.information
        length = len(addresses) + (len(information) + 7 if information else 5)
        if length > MAX_FRAME:
            raise LocalProtocolError(f"a frame of {length} octets", expected=f"at most {MAX_FRAME}")
        head = _FORMAT | (_SEGMENTED if self.segmented else 0) | length
        header = b"%c%c%b%c" % (head >> 8, head & 0xFF, addresses, self.control)
        crc = binascii.crc_hqx(header.translate(_REVERSED), _START)
        check = (crc ^ 0xFFFF).to_bytes(2, "big").translate(_REVERSED)
        if not information:
            return b"\x7e%b%b\x7e" % (header, check)
        # The register behind a check is always the same, so the second check begins with it.
        crc = binascii.crc_hqx(information.translate(_REVERSED), _GOOD)
        last = (crc ^ 0xFFFF).to_bytes(2, "big").translate(_REVERSED)
        return b"\x7e%b%b%b%b\x7e" % (header, check, information, last)


def control_of(
    kind: FrameKind, *, poll_final: bool = True, send_sequence: int = 0, receive_sequence: int = 0
) -> int:
    """The control octet of a kind of frame; the sequence numbers count in I, RR and RNR only."""
    control = _CONTROL[kind] | (POLL_FINAL if poll_final else 0)
    if kind in (FrameKind.I, FrameKind.RR, FrameKind.RNR):
        control |= (receive_sequence & 7) << 5
    if kind is FrameKind.I:
        control |= (send_sequence & 7) << 1
    return control


def crc16_x25(octets: bytes) -> int:
    """CRC-16/X.25 (polynomial 0x1021 reflected, start and final XOR 0xFFFF).

    The library's `binascii.crc_hqx` shifts the same polynomial the other way round, so it is given the
    octets, and its result is read, with the bits of each octet reversed.
    """
    crc = binascii.crc_hqx(octets.translate(_REVERSED), _START) ^ 0xFFFF
    return int.from_bytes(crc.to_bytes(2, "big").translate(_REVERSED), "little")


class HdlcDecoder:
    """Cuts octets of a line into frames, see `frame_scanner` for what comes when.

    Examples
    --------
    >>> decoder = HdlcDecoder()
    >>> (snrm,) = decoder.feed(bytes.fromhex("7ea0082003279373857e"))
    >>> snrm.kind.name, str(snrm.destination), str(snrm.source)
    ('SNRM', '16/1', '19')
    """

    __slots__ = ("_ended", "_scanner", "_seen")

    def __init__(self) -> None:
        self._scanner = FrameScanner[HdlcFrame](FLAG, _judge)
        self._seen = False
        self._ended = False

    def feed(self, data: bytes) -> list[HdlcFrame | RemoteProtocolError]:
        """Frames and errors that ``data`` completes; nothing after `end`."""
        if self._ended:
            return []
        events = self._scanner.feed(data)
        self._seen = self._seen or bool(events)
        return events

    def silence(self) -> list[HdlcFrame | RemoteProtocolError]:
        """The inter-octet time-out passed: what is not whole never will be. Flags are fill."""
        return self._scanner.silence("the line fell silent")

    def end(self) -> list[HdlcFrame | RemoteProtocolError]:
        """The stream ended: an error where it ended inside a frame, behind the good frames in it."""
        if self._ended:
            return []
        opened = bool(self._scanner.pending)
        events = self._scanner.silence("the stream ended")
        if opened and not (events or self._seen):
            events = [RemoteProtocolError("the stream ended behind its opening flag")]
        self._ended = True
        return events


@lru_cache(maxsize=4096)
def _address(octets: bytes) -> HdlcAddress:
    if len(octets) == 1:
        return HdlcAddress(octets[0] >> 1)
    if len(octets) == 2:
        return HdlcAddress(octets[0] >> 1, octets[1] >> 1, 2)
    return HdlcAddress((octets[0] >> 1) << 7 | octets[1] >> 1, (octets[2] >> 1) << 7 | octets[3] >> 1, 4)


@lru_cache(maxsize=4096)
def _encoded(address: HdlcAddress) -> bytes:
    return address.to_bytes()


def _width(octets: bytes, begin: int) -> int:
    """Octets of the address that begins here: 1, 2 or 4; 0 where it is none of them."""
    ends = [octet & 1 for octet in octets[begin : begin + 4]]
    if ends[:1] == [1]:
        return 1
    if ends[:2] == [0, 1]:
        return 2
    return 4 if ends == [0, 0, 0, 1] else 0


def _judge(octets: bytes, begin: int) -> Judgement[HdlcFrame]:
    """What stands at a flag."""
    size = len(octets)
    if begin + 3 > size:
        if begin + 1 == size or octets[begin + 1] == FLAG:
            return "", size - 1
        return None, begin + 3
    first = octets[begin + 1]
    if first == FLAG:
        return "", begin + 1
    length = (first & 0x07) << 8 | octets[begin + 2]
    if first & 0xF0 != 0xA0 or length < _LOWEST_FRAME:
        return "no frame format of type 3", begin
    last = begin + 1 + length
    if begin + 12 > size and last >= size:
        return None, min(begin + 12, last + 1)
    place = begin + 3
    width = 1 if octets[place] & 1 else _width(octets, place)
    other = place + width
    width_other = 1 if octets[other] & 1 else _width(octets, other)
    control = other + width_other
    if not width or not width_other or control + 3 > last:
        return "addresses of no width that HDLC has", begin
    if last == control + 3:
        if last >= size:
            return None, last + 1
        if octets[last] != FLAG:
            return "no flag where the frame should end", begin
        if binascii.crc_hqx(octets[begin + 1 : last].translate(_REVERSED), _START) != _GOOD:
            return "wrong frame check", begin
        information = b""
    else:
        header = control + 3
        if header + 2 > last:
            return "no room for two checks", begin
        if binascii.crc_hqx(octets[begin + 1 : header].translate(_REVERSED), _START) != _GOOD:
            return "wrong header check", begin
        if last >= size:
            return None, last + 1
        if octets[last] != FLAG:
            return "no flag where the frame should end", begin
        if binascii.crc_hqx(octets[header:last].translate(_REVERSED), _GOOD) != _GOOD:
            return "wrong frame check", last
        information = octets[header : last - 2]
    frame = HdlcFrame(
        _address(octets[place:other]),
        _address(octets[other:control]),
        octets[control],
        information,
        bool(first & 0x08),
    )
    return frame, last

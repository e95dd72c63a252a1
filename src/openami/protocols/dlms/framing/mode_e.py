"""The way into HDLC on an optical head: IEC 62056-21 protocol mode E, both roles, sans-IO.

    300 Bd 7E1   client   / ? address ! CR LF
                 meter    / X X X Z \\ 2 identification CR LF      Z: fastest speed, \\ 2: knows HDLC (mode E)
                 client   ACK 2 Z 2 CR LF                         HDLC at speed Z
    Z Bd  7E1    meter    ACK 2 Z 2 CR LF
    Z Bd  8N1    HDLC, beginning with SNRM

At which of the two speeds the meter confirms is recalled, not read in the standard: here it is the new one.
Rule of this file: octets are taken with their parity bit stripped, a line is at most `MAX_LINE` octets, and
``line`` always says how the port has to be set for the next octet.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

BAUD_RATES: Final = {
    "0": 300, "1": 600, "2": 1200, "3": 2400, "4": 4800, "5": 9600, "6": 19200, "7": 38400, "8": 57600,
    "9": 115200,
}  # fmt: skip
"""Speed in baud by the character Z; 7 to 9 are recalled from practice, 0 to 6 are the standard's."""

MAX_LINE: Final = 128
_ACK = 0x06
_END = b"\r\n"
_HDLC = "2"


@dataclass(frozen=True, slots=True)
class LineSettings:
    """How the serial port has to be set."""

    baud: int
    data_bits: int
    parity: str


OPENING: Final = LineSettings(300, 7, "E")


@dataclass(frozen=True, slots=True)
class Identification:
    """What a meter says of itself.

    Parameters
    ----------
    manufacturer:
        Three letters; the third in lower case where the meter answers quickly (20 ms).
    speed:
        The character Z.
    modes:
        Characters behind a backslash; "2" for HDLC.
    text:
        The rest, at most 16 characters by the standard.
    """

    manufacturer: str
    speed: str
    modes: str
    text: str

    @property
    def knows_hdlc(self) -> bool:
        """True where the meter offers mode E with HDLC."""
        return _HDLC in self.modes and self.speed in BAUD_RATES

    @property
    def may_know_hdlc(self) -> bool:
        """The same, or it names no modes at all: some know mode E and do not say so."""
        return (_HDLC in self.modes or not self.modes) and self.speed in BAUD_RATES

    def to_bytes(self) -> bytes:
        """The line."""
        modes = "".join(f"\\{mode}" for mode in self.modes)
        return f"/{self.manufacturer}{self.speed}{modes}{self.text}".encode("ascii", "replace") + _END

    @classmethod
    def from_bytes(cls, line: bytes) -> Identification:
        """An identification without its CR LF; raises `RemoteProtocolError`."""
        text = line.decode("ascii", "replace")
        if len(text) < 5 or text[0] != "/" or not text[1:4].isalpha():
            raise RemoteProtocolError(f"no identification: {text!r}", expected="/XXXZ...")
        manufacturer, speed, rest = text[1:4], text[4], text[5:]
        modes = ""
        while rest[:1] == "\\" and len(rest) > 1:
            modes, rest = modes + rest[1], rest[2:]
        return cls(manufacturer, speed, modes, rest)


class SignOnState(Enum):
    """Where a sign-on stands."""

    BEGIN = auto()
    IDENTIFYING = auto()
    CONFIRMING = auto()
    HDLC = auto()


class _Lines:
    """Octets cut into lines; parity stripped."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        self._buffer += bytes(octet & 0x7F for octet in data)
        *lines, rest = bytes(self._buffer).split(_END)
        self._buffer[:] = rest[-MAX_LINE:]
        return [line[-MAX_LINE:] for line in lines]

    def rest(self) -> bytes:
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest


class ModeEClient:
    """The client's sign-on.

    Invariant: in state HDLC nothing is read any more; the port has been set to ``line``.

    Parameters
    ----------
    address:
        Device address, up to 32 characters; none calls the only meter at the head.
    fastest:
        Greatest speed in baud that our port can do.
    """

    __slots__ = ("_fastest", "_lines", "_request", "_speed", "identification", "line", "state")

    def __init__(self, address: str = "", fastest: int = 9600) -> None:
        if len(address) > 32 or (address and not address.isalnum()):
            raise LocalProtocolError(f"device address {address!r}", expected="up to 32 letters and digits")
        self._request = f"/?{address}!".encode("ascii", "replace") + _END
        self._fastest = fastest
        self._lines = _Lines()
        self._speed = ""
        self.state = SignOnState.BEGIN
        self.line = OPENING
        self.identification: Identification | None = None

    def start(self) -> bytes:
        """The request; also to be sent again where nothing came."""
        if self.state not in (SignOnState.BEGIN, SignOnState.IDENTIFYING):
            raise LocalProtocolError(f"a request while {self.state.name.lower()}")
        self.state = SignOnState.IDENTIFYING
        return self._request

    def receive(self, data: bytes) -> bytes:
        """Take octets; gives what to send. After it is sent, set the port to ``line``.

        Raises
        ------
        RemoteProtocolError
            The meter does not know HDLC, or does not confirm it.
        """
        reply = b""
        for received in self._lines.feed(data):
            if (
                self.state is SignOnState.IDENTIFYING
                and b"/" in received
                and received + _END != self._request
            ):
                reply = self._choose(Identification.from_bytes(received[received.rindex(b"/") :]))
            elif self.state is SignOnState.CONFIRMING and received[-4:-3] == bytes((_ACK,)):
                if received[-3:].decode("ascii", "replace") != f"{_HDLC}{self._speed}{_HDLC}":
                    raise RemoteProtocolError(f"the meter confirms {received!r}")
                self.state = SignOnState.HDLC
                self.line = LineSettings(self.line.baud, 8, "N")
        return reply

    def _choose(self, identification: Identification) -> bytes:
        self.identification = identification
        if not identification.may_know_hdlc:
            raise RemoteProtocolError(f"meter {identification.manufacturer} does not offer HDLC in mode E")
        offered = BAUD_RATES[identification.speed]
        possible = {baud: speed for speed, baud in BAUD_RATES.items() if baud <= min(offered, self._fastest)}
        baud = max(possible, default=300)
        self._speed = possible.get(baud, "0")
        self.state = SignOnState.CONFIRMING
        self.line = LineSettings(baud, 7, "E")
        return bytes((_ACK,)) + f"{_HDLC}{self._speed}{_HDLC}".encode() + _END


class ModeEServer:
    """The meter's end of the sign-on.

    Invariant: until ``state`` is HDLC every octet goes through `receive`; then ``line`` is that of HDLC.

    Parameters
    ----------
    identification:
        Who we are; its speed is the fastest that we can do.
    address:
        Our device address; a request without one is for us too.
    """

    __slots__ = ("_address", "_identification", "_lines", "line", "state")

    def __init__(self, identification: Identification, address: str = "") -> None:
        if not identification.knows_hdlc:
            raise LocalProtocolError("an identification without HDLC", expected="modes with 2, speed 0 .. 9")
        self._identification = identification
        self._address = address
        self._lines = _Lines()
        self.state = SignOnState.BEGIN
        self.line = OPENING

    def receive(self, data: bytes) -> bytes:
        """Take octets; gives what to send, at the speed of ``line``. What is wrong is ignored."""
        reply = b""
        for received in self._lines.feed(data):
            place = received.rfind(b"/?")
            if self.state is not SignOnState.HDLC and place >= 0 and received[-1:] == b"!":
                address = received[place + 2 : -1].decode("ascii", "replace").lstrip("0")
                if address in ("", self._address.lstrip("0")):
                    self.state = SignOnState.IDENTIFYING
                    reply = self._identification.to_bytes()
            elif self.state is SignOnState.IDENTIFYING and received[-4:-3] == bytes((_ACK,)):
                reply = self._switch(received[-4:])
        return reply

    def _switch(self, choice: bytes) -> bytes:
        chosen = choice.decode("ascii", "replace")
        fastest = BAUD_RATES[self._identification.speed]
        baud = BAUD_RATES.get(chosen[2], 0)
        if chosen[1] != _HDLC or chosen[3] != _HDLC or not 0 < baud <= fastest:
            return b""
        self.state = SignOnState.HDLC
        self.line = LineSettings(baud, 8, "N")
        return choice + _END

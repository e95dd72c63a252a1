"""What SNRM proposes and UA agrees on (IEC 62056-46 clause 6.4): octets of an information field, windows.

    81 80 length { 05 n value | 06 n value | 07 n value | 08 n value }

05 and 06 are the largest information field that the sender of the frame transmits and receives, 07 and 08
its windows. A parameter that is not named has its default, 128 octets and a window of 1. Rule of this file:
nothing is agreed on that is beyond what either side said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from openami.protocols.dlms.encoding.octets import Reader
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

DEFAULT_INFORMATION: Final = 128
MAX_INFORMATION: Final = 2030
MAX_WINDOW: Final = 7
MIN_PEER_INFORMATION: Final = 16
"""Least information field of a peer that we serve; the standard's own least is not known here for sure, and
a peer that takes an octet at a time would make a frame of every one."""

_FORMAT, _GROUP = 0x81, 0x80
_TRANSMIT, _RECEIVE, _WINDOW_TRANSMIT, _WINDOW_RECEIVE = 5, 6, 7, 8


@dataclass(frozen=True, slots=True)
class HdlcParameters:
    """Largest information fields (octets) and windows (frames), as one side sees them.

    Parameters
    ----------
    transmit, receive:
        Octets of an information field, 128 .. 2030 where they are ours.
    window_transmit, window_receive:
        I frames that may go without an answer, 1 .. 7.

    Raises
    ------
    LocalProtocolError
        Out of these ranges.
    """

    transmit: int = DEFAULT_INFORMATION
    receive: int = DEFAULT_INFORMATION
    window_transmit: int = 1
    window_receive: int = 1

    def __post_init__(self) -> None:
        for octets in (self.transmit, self.receive):
            if not MIN_PEER_INFORMATION <= octets <= MAX_INFORMATION:
                raise LocalProtocolError(
                    f"information field of {octets} octets",
                    expected=f"{MIN_PEER_INFORMATION} .. {MAX_INFORMATION}",
                )
        for window in (self.window_transmit, self.window_receive):
            if not 1 <= window <= MAX_WINDOW:
                raise LocalProtocolError(f"window of {window}", expected=f"1 .. {MAX_WINDOW}")

    @classmethod
    def of(cls, information: int, window: int = 1) -> HdlcParameters:
        """The same in both directions."""
        return cls(information, information, window, window)

    def to_bytes(self) -> bytes:
        """Information field of SNRM or UA."""
        width = 1 if max(self.transmit, self.receive) <= 0xFF else 2
        body = b"".join(
            bytes((name, octets)) + value.to_bytes(octets, "big")
            for name, octets, value in (
                (_TRANSMIT, width, self.transmit),
                (_RECEIVE, width, self.receive),
                (_WINDOW_TRANSMIT, 4, self.window_transmit),
                (_WINDOW_RECEIVE, 4, self.window_receive),
            )
        )
        return bytes((_FORMAT, _GROUP, len(body))) + body

    @classmethod
    def from_bytes(cls, information: bytes) -> HdlcParameters:
        """Parameters of a received SNRM or UA; values above the greatest count as the greatest.

        Raises
        ------
        RemoteProtocolError
            No parameters, or some that nothing can be sent with.
        """
        values = {_TRANSMIT: DEFAULT_INFORMATION, _RECEIVE: DEFAULT_INFORMATION}
        values |= {_WINDOW_TRANSMIT: 1, _WINDOW_RECEIVE: 1}
        if not information:
            return cls()
        reader = Reader(information)
        if reader.u8() != _FORMAT or reader.u8() != _GROUP:
            raise RemoteProtocolError("no HDLC parameters", expected="81 80")
        body = Reader(reader.take(reader.u8()))
        while body.remaining:
            name = body.u8()
            value = int.from_bytes(body.take(body.u8()), "big")
            if name in values:
                values[name] = min(value, MAX_INFORMATION if name <= _RECEIVE else MAX_WINDOW)
        try:
            return cls(*values.values())
        except LocalProtocolError as error:
            raise RemoteProtocolError(error.message, expected=error.expected) from None

    def agreed_with(self, peer: HdlcParameters) -> HdlcParameters:
        """What we use with a peer: we send what it takes, and take what it sends."""
        return HdlcParameters(
            min(self.transmit, peer.receive),
            min(self.receive, peer.transmit),
            min(self.window_transmit, peer.window_receive),
            min(self.window_receive, peer.window_transmit),
        )

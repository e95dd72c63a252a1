"""Values that a server sends or receives piece by piece in the blocks of GET, SET and ACTION.

IEC 62056-5-3, service-specific block transfer: blocks are numbered from 1, each is acknowledged, none is
repeated. Rule of this file: a value that is received is bounded; a block that is out of turn or of another
request (invoke id) ends the transfer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from openami.protocols.dlms.apdus.action import (
    ActionRequestBlock,
    ActionRequestFirst,
    ActionRequestListFirst,
)
from openami.protocols.dlms.apdus.set import SetRequestBlock, SetRequestFirst, SetRequestListFirst
from openami.protocols.dlms.encoding.limits import MAX_SET_VALUE

BLOCK_HEADER = 13
"""Octets of a block of an answer besides its data, with the longest length field."""

_INVOKE_ID = 0x0F

FirstPiece = SetRequestFirst | SetRequestListFirst | ActionRequestFirst | ActionRequestListFirst
FurtherPiece = SetRequestBlock | ActionRequestBlock


def same_request(invoke: int, other: int) -> bool:
    """True where two octets have one invoke id; priority and service class are beside it."""
    return invoke & _INVOKE_ID == other & _INVOKE_ID


class Service(Enum):
    """Whose answer is being fetched."""

    GET = auto()
    ACTION = auto()


@dataclass(slots=True)
class LongAnswer:
    """An answer that is being fetched block by block.

    Parameters
    ----------
    service:
        The service that it answers.
    invoke:
        Invoke id and priority of the request.
    data:
        All of it, encoded.
    sent:
        Octets sent.
    block:
        Number of the last block sent.
    """

    service: Service
    invoke: int
    data: bytes
    sent: int = 0
    block: int = 0

    def belongs(self, service: Service, invoke: int) -> bool:
        """True for a further block of this answer."""
        return service is self.service and same_request(invoke, self.invoke)

    def next_piece(self, octets: int) -> tuple[bool, int, bytes]:
        """Whether it is the last, number and data of the next block."""
        piece = self.data[self.sent : self.sent + octets]
        self.sent += len(piece)
        self.block += 1
        return self.sent == len(self.data), self.block, piece


class Taken(Enum):
    """What became of a received block."""

    MORE = auto()
    WHOLE = auto()
    OUT_OF_TURN = auto()
    TOO_LONG = auto()


@dataclass(slots=True)
class LongRequest:
    """What a client is sending block by block.

    Invariant: ``data`` is at most `MAX_SET_VALUE` octets, made of the blocks 1 .. ``block`` in order.

    Parameters
    ----------
    first:
        The request that began it, without its data: what is set or run.
    data:
        The pieces so far.
    block:
        Number of the last block received.
    """

    first: FirstPiece
    data: bytearray
    block: int = 0

    @classmethod
    def begun(cls, first: FirstPiece) -> LongRequest:
        """Before the first block is taken."""
        return cls(replace(first, data=b""), bytearray())

    def take(self, piece: FirstPiece | FurtherPiece) -> Taken:
        """Append a block."""
        if piece.block != self.block + 1:
            return Taken.OUT_OF_TURN
        if len(self.data) + len(piece.data) > MAX_SET_VALUE:
            return Taken.TOO_LONG
        self.block = piece.block
        self.data += piece.data
        return Taken.WHOLE if piece.last else Taken.MORE

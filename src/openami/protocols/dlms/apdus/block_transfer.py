"""General-block-transfer as a machine: a message each way, cut into blocks, sent in windows, lost ones again.

    request   block 1 ->                     The first block goes alone: what the other side takes at once is
              <- empty, acknowledges 1       only known when it has spoken. Then up to a window of blocks
              blocks 2 .. W+1 ->             goes at once, all but the last marked as streaming; whoever gets
    answer    <- block 2, acknowledges W+1   one that is not streaming has the word. Every block takes a
              acknowledges 2 ->              number, empty ones too; what is sent again keeps its own.
              <- blocks 3 .. W+2

Whoever has the word says up to which block nothing is missing, and the other side goes on behind that one:
lost blocks are asked for simply by not acknowledging them. IEC 62056-5-3 clause 7.3.13 as recalled, held
against gurux-dlms 1.0.203 and two captured pushes. A block with number 0 that acknowledges 0 aborts.

The rule of this file: a peer decides nothing about our memory or time. Blocks beyond our window are dropped,
a message is bounded, and after `MAX_FRUITLESS` turns that brought nothing the transfer is over.
"""

from __future__ import annotations

from typing import NamedTuple

from openami.protocols.dlms.apdus.general_block import (
    GENERAL_BLOCK_TRANSFER,
    MAX_BLOCKS,
    MAX_WINDOW,
    TransferBlock,
)
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

MAX_FRUITLESS = 32
"""Turns in a row that bring neither data nor an acknowledgement before a transfer is given up."""

ABORT = TransferBlock(True, False, 0, 0, 0, b"")
"""Ends a transfer, from either side."""


class Step(NamedTuple):
    """What a received block leads to.

    Parameters
    ----------
    apdus:
        To be sent, in order; empty while the other side still has the word.
    message:
        The APDU that is now whole, once.
    """

    apdus: list[bytes]
    message: bytes | None = None


def data_octets(max_pdu: int) -> int:
    """Octets of data in the largest block that fits a PDU."""
    for header, longest in ((7, 0x7F), (8, 0xFF)):
        if max_pdu - header <= longest:
            return max_pdu - header
    return max_pdu - 9


class BlockTransfer:
    """One message received and one sent, in either order.

    Invariant: ``kept_octets`` is at most the message that we send and ``max_message``; every number that we
    acknowledge is one up to which all blocks arrived.

    Parameters
    ----------
    window:
        Blocks that we take at once, 1 .. 63.
    max_pdu:
        Largest APDU that the other side takes.
    max_message:
        Octets of the longest message that we put together.
    """

    __slots__ = (
        "_acked", "_base", "_count", "_early", "_first", "_fruitless", "_max_message", "_message", "_number",
        "_peer_window", "_pieces", "_received", "_said", "_since", "_size", "_told", "_whole", "_window",
    )  # fmt: skip

    def __init__(self, window: int, max_pdu: int, max_message: int) -> None:
        if not 1 <= window <= MAX_WINDOW:
            raise LocalProtocolError(f"a window of {window} blocks", expected=f"1 .. {MAX_WINDOW}")
        self._window = window
        self._size = data_octets(max_pdu)
        if self._size < 1:
            raise LocalProtocolError(f"blocks of {max_pdu} octets", expected="8 and more")
        self._max_message = max_message
        # What we send: blocks numbered base + 1 .. base + count; empty blocks take the numbers around them.
        self._message = b""
        self._said = False
        self._base = self._count = self._acked = self._number = 0
        self._peer_window = 1
        # What we receive.
        self._pieces = bytearray()
        self._early: dict[int, tuple[bool, bytes]] = {}
        self._first = b""
        self._received = self._told = self._since = self._fruitless = 0
        self._whole = False

    @property
    def kept_octets(self) -> int:
        """Octets held in either direction."""
        early = sum(len(data) for _, data in self._early.values())
        return len(self._message) + len(self._pieces) + early

    def longest_message(self) -> int:
        """Octets that can be sent: numbers have 16 bits."""
        return (MAX_BLOCKS - MAX_WINDOW - self._number) * self._size

    def heard_plain(self) -> None:
        """The other side's message came outside of blocks."""
        self._whole = True

    def said_plain(self) -> None:
        """Our message went outside of blocks."""
        self._said = True

    def send(self, message: bytes) -> list[bytes]:
        """Begin to send a message: its first APDUs.

        Raises
        ------
        LocalProtocolError
            It needs more blocks than there are numbers.
        """
        if len(message) > self.longest_message():
            raise LocalProtocolError(
                f"a message of {len(message)} octets", expected=f"at most {self.longest_message()}"
            )
        self._message = message
        self._said = True
        self._base = self._acked = self._number
        self._count = -(-len(message) // self._size)
        return self._turn()

    def begins_anew(self, block: TransferBlock) -> bool:
        """True for the first block of another message: the transfer so far is over."""
        return (
            block.number == 1 and bool(block.data) and (self._whole or self._first not in (b"", block.data))
        )

    def repeats(self, block: TransferBlock) -> bool:
        """True for the only block of the other side's message, again, while it has heard nothing of ours.

        It may be the first block of another message too that says the same: only who reads it can tell.
        """
        alone = self._whole and self._received == 1 and self._first == block.data
        unheard = self._said and self._acked == self._base
        return alone and unheard and block.number == 1 and block.last

    def receive(self, block: TransferBlock) -> Step:
        """Take a block.

        Raises
        ------
        RemoteProtocolError
            The other side aborts, sends too much, or nothing goes forward any more.
        """
        if block.number == 0 and block.acknowledged == 0 and not block.data:
            raise RemoteProtocolError("the other side aborts the block transfer")
        waiting = not self._whole
        forward = self._hear(block)
        known = block.number <= self._received
        forward |= self._take(block)
        self._since += not known  # what was doubled on the way does not use up the window
        if self._whole and waiting:
            message = bytes(self._pieces)
            self._pieces, self._since = bytearray(), 0
            if message[0] == GENERAL_BLOCK_TRANSFER:
                raise RemoteProtocolError("a block transfer inside a block transfer")
            return Step([], message)
        if block.streaming and self._since < self._window:
            return Step([])
        self._since = 0
        self._fruitless = 0 if forward else self._fruitless + 1
        if self._fruitless > MAX_FRUITLESS:
            raise RemoteProtocolError(f"{MAX_FRUITLESS} turns that brought nothing")
        return Step(self._turn())

    def repeated(self) -> list[bytes]:
        """What we said last, again: the other side did not answer in time."""
        return self._turn()

    # --- sending --------------------------------------------------------------------------------------

    def _hear(self, block: TransferBlock) -> bool:
        """Window and acknowledgement of the other side; true where it acknowledges something new.

        What was never sent cannot be acknowledged: such a number is passed over (gurux-dlms 1.0.203 writes
        65535 in its last block).
        """
        self._peer_window = max(1, block.window)
        if self._acked < block.acknowledged <= self._number:
            self._acked = block.acknowledged
            return True
        if block.acknowledged < self._acked == self._base:
            self._acked = block.acknowledged  # an empty block of ours was lost
        return False

    def _turn(self) -> list[bytes]:
        """What we say when we have the word: further blocks, else an acknowledgement, else nothing."""
        end = self._base + self._count
        if self._acked < end:
            first = self._acked + 1
            last = min(first + self._peer_window - 1, end)
            self._number = max(self._number, last)
            self._told = self._received
            return [self._block(number, number < last) for number in range(first, last + 1)]
        if self._whole:
            return []
        if self._received > self._told:
            self._number += 1
            self._told = self._received
        if self._number > MAX_BLOCKS:
            raise RemoteProtocolError("a block transfer that uses up all numbers")
        return [self._block(max(1, self._number), streaming=False)]

    def _block(self, number: int, streaming: bool) -> bytes:
        index = number - self._base - 1
        inside = 0 <= index < self._count
        data = self._message[index * self._size : (index + 1) * self._size] if inside else b""
        last = index == self._count - 1 if inside else self._said
        return TransferBlock(last, streaming, self._window, number, self._received, data).to_bytes()

    # --- receiving ------------------------------------------------------------------------------------

    def _take(self, block: TransferBlock) -> bool:
        """Put a block in its place; true where it brought data in order."""
        number = block.number
        if self._whole:
            if number == self._received + 1:
                self._received = number
            return False
        if number == 1 and block.data and not self._pieces:
            self._received = 0  # empty blocks of the other side took no numbers
        if not self._received < number <= self._received + self._window:
            return False
        if number == 1:
            self._first = block.data
        self._early[number] = block.last, block.data
        if self.kept_octets - len(self._message) > self._max_message:
            raise RemoteProtocolError(
                "the message grows too long", expected=f"at most {self._max_message} octets"
            )
        before = len(self._pieces)
        while not self._whole and (next_ := self._early.pop(self._received + 1, None)) is not None:
            last, data = next_
            self._received += 1
            self._pieces += data
            self._whole = last and bool(self._pieces)
        if self._whole:
            self._early.clear()
        return len(self._pieces) > before


class UnconfirmedBlocks:
    """Blocks of a push that nobody acknowledges (window 0), in the order they were sent.

    Invariant: at most ``max_message`` octets are kept.

    Parameters
    ----------
    max_message:
        Octets of the longest message that is put together.
    """

    __slots__ = ("_max_message", "_number", "_pieces")

    def __init__(self, max_message: int) -> None:
        self._max_message = max_message
        self._pieces = bytearray()
        self._number = 0

    def feed(self, block: TransferBlock) -> bytes | None:
        """The message where this was its last block.

        Raises
        ------
        RemoteProtocolError
            A block is missing, or the message is too long; the blocks so far are dropped.
        """
        if block.number == 1:
            self._pieces.clear()
            self._number = 0
        if block.number != self._number + 1 or len(self._pieces) + len(block.data) > self._max_message:
            expected, self._number = self._number + 1, 0
            self._pieces.clear()
            raise RemoteProtocolError(
                f"block {block.number} of {len(block.data)} octets",
                expected=f"block {expected}, and at most {self._max_message} octets in all",
            )
        self._number += 1
        self._pieces += block.data
        if not block.last:
            return None
        message = bytes(self._pieces)
        self._pieces.clear()
        self._number = 0
        return message


def unconfirmed_blocks(message: bytes, max_pdu: int) -> list[bytes]:
    """A message in blocks that nobody acknowledges, as captured meters push them (window 0, all but the
    last streaming); one that fits goes as it is.

    Raises
    ------
    LocalProtocolError
        It needs more blocks than there are numbers.
    """
    if len(message) <= max_pdu:
        return [message]
    size = data_octets(max_pdu)
    count = -(-len(message) // size)
    if count > MAX_BLOCKS:
        raise LocalProtocolError(
            f"a message of {len(message)} octets", expected=f"at most {MAX_BLOCKS * size}"
        )
    return [
        TransferBlock(
            number == count, number < count, 0, number, 0, message[(number - 1) * size : number * size]
        ).to_bytes()
        for number in range(1, count + 1)
    ]

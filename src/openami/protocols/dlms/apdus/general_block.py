"""General-block-transfer (IEC 62056-5-3, tag e0): one block of an APDU that is cut into many.

    e0  control  number(2)  acknowledged(2)  data (octet string)

    control  bit 7 last block  6 streaming: more blocks follow at once  5..0 window: blocks I take at once

The APDU inside may be of any kind, ciphered ones included: this is the outermost layer. Rule of this file:
only the shape is read; what numbers mean is decided by `block_transfer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from openami.protocols.dlms.encoding.octets import Reader, encode_octets

GENERAL_BLOCK_TRANSFER: Final = 0xE0
MAX_WINDOW: Final = 63
MAX_BLOCKS: Final = 0xFFFF
"""Blocks of one transfer in one direction: numbers have 16 bits and begin with 1."""

_LAST, _STREAMING, _WINDOW = 0x80, 0x40, 0x3F


@dataclass(frozen=True, slots=True)
class TransferBlock:
    """One block.

    Parameters
    ----------
    last:
        The sender has no block after this one.
    streaming:
        More blocks follow before the sender listens.
    window:
        Blocks that the sender takes at once; 0 where it confirms none.
    number:
        Of this block, from 1.
    acknowledged:
        Up to this number the sender has all blocks of the other side.
    data:
        The piece; empty where only something is acknowledged.
    """

    last: bool
    streaming: bool
    window: int
    number: int
    acknowledged: int
    data: bytes

    def to_bytes(self) -> bytes:
        """The APDU."""
        control = self.last * _LAST | self.streaming * _STREAMING | self.window
        return (
            bytes((GENERAL_BLOCK_TRANSFER, control))
            + self.number.to_bytes(2, "big")
            + self.acknowledged.to_bytes(2, "big")
            + encode_octets(self.data)
        )


def read_block(reader: Reader) -> TransferBlock:
    """The block behind its tag."""
    control = reader.u8()
    block = TransferBlock(
        bool(control & _LAST),
        bool(control & _STREAMING),
        control & _WINDOW,
        reader.u16(),
        reader.u16(),
        reader.octets(),
    )
    reader.end()
    return block

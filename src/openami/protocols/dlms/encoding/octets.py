"""Reading and writing octets with the length encoding that A-XDR and BER share (X.690 8.1.3, definite form).

Rule of this file: a declared length is never trusted before it was held against the octets that are there.
"""

from __future__ import annotations

from openami.quantities.errors import LocalProtocolError, RemoteProtocolError


def encode_length(length: int) -> bytes:
    """Length octets, shortest form."""
    if length < 0x80:
        return bytes((length,))
    width = (length.bit_length() + 7) // 8
    if width > 4:
        raise LocalProtocolError(f"a length of {length} cannot be encoded", expected="less than 2**32")
    return bytes((0x80 | width,)) + length.to_bytes(width, "big")


def encode_octets(octets: bytes) -> bytes:
    """Length and content of an octet string."""
    return encode_length(len(octets)) + octets


class Reader:
    """A position in received octets.

    Invariant: ``0 <= position <= len(data)``; every read beyond the end raises `RemoteProtocolError`.
    """

    __slots__ = ("data", "position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data = data
        self.position = position

    @property
    def remaining(self) -> int:
        """Octets not read yet."""
        return len(self.data) - self.position

    def take(self, count: int) -> bytes:
        """The next ``count`` octets."""
        position = self.position
        end = position + count
        if end > len(self.data):
            raise self._truncated(count)
        self.position = end
        return self.data[position:end]

    def u8(self) -> int:
        """An unsigned octet."""
        position = self.position
        if position >= len(self.data):
            raise self._truncated(1)
        self.position = position + 1
        return self.data[position]

    def u16(self) -> int:
        """Two octets, big-endian, unsigned."""
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        """Four octets, big-endian, unsigned."""
        return int.from_bytes(self.take(4), "big")

    def i8(self) -> int:
        """A signed octet."""
        return int.from_bytes(self.take(1), "big", signed=True)

    def length(self) -> int:
        """A length or count; long forms with leading zeros are forgiven."""
        first = self.u8()
        if first < 0x80:
            return first
        width = first & 0x7F
        if not 1 <= width <= 4:
            raise RemoteProtocolError(
                f"length of {width} octets", where=f"byte {self.position - 1}", expected="1 .. 4 octets"
            )
        return int.from_bytes(self.take(width), "big")

    def count(self) -> int:
        """Number of elements that follow; each takes at least one octet."""
        declared = self.length()
        if declared > self.remaining:
            raise RemoteProtocolError(
                f"{declared} elements declared, {self.remaining} octets there", where=f"byte {self.position}"
            )
        return declared

    def octets(self) -> bytes:
        """Length and content of an octet string."""
        return self.take(self.length())

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(self.remaining)

    def presence(self) -> bool:
        """Flag of an OPTIONAL or DEFAULT component, or a BOOLEAN."""
        return self.u8() != 0

    def end(self) -> None:
        """Nothing may follow."""
        if self.remaining:
            raise RemoteProtocolError(
                f"{self.remaining} octets too many", where=f"byte {self.position}", expected="end of the APDU"
            )

    def _truncated(self, count: int) -> RemoteProtocolError:
        return RemoteProtocolError(
            f"{count} octets declared, {self.remaining} there", where=f"byte {self.position}"
        )

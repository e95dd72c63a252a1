"""A-XDR of single values (IEC 61334-6): everything of the ``Data`` choice but arrays and structures.

Rule of this file: a read beyond the end raises `RemoteProtocolError`, `IndexError` or `struct.error`, never
gives a shorter value; `axdr` turns the last two into the first.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TypeAlias

from openami.protocols.dlms.encoding.data import BitString, DataValue, Delta, Scalar, Tag
from openami.protocols.dlms.encoding.octets import encode_length, encode_octets
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

_INTEGERS: dict[Tag, struct.Struct] = {
    Tag.DOUBLE_LONG: struct.Struct(">i"),
    Tag.DOUBLE_LONG_UNSIGNED: struct.Struct(">I"),
    Tag.INTEGER: struct.Struct(">b"),
    Tag.LONG: struct.Struct(">h"),
    Tag.UNSIGNED: struct.Struct(">B"),
    Tag.LONG_UNSIGNED: struct.Struct(">H"),
    Tag.LONG64: struct.Struct(">q"),
    Tag.LONG64_UNSIGNED: struct.Struct(">Q"),
    Tag.ENUM: struct.Struct(">B"),
}
_FLOATS: dict[Tag, struct.Struct] = {Tag.FLOAT32: struct.Struct(">f"), Tag.FLOAT64: struct.Struct(">d")}
_DELTAS: dict[Tag, struct.Struct] = {
    Tag.DELTA_INTEGER: struct.Struct(">b"),
    Tag.DELTA_LONG: struct.Struct(">h"),
    Tag.DELTA_DOUBLE_LONG: struct.Struct(">i"),
    Tag.DELTA_UNSIGNED: struct.Struct(">B"),
    Tag.DELTA_LONG_UNSIGNED: struct.Struct(">H"),
    Tag.DELTA_DOUBLE_LONG_UNSIGNED: struct.Struct(">I"),
}
_STAMPS: dict[Tag, int] = {Tag.DATE_TIME: 12, Tag.DATE: 5, Tag.TIME: 4}

Unpack: TypeAlias = Callable[[bytes, int], tuple[int | float, ...]]
Pack: TypeAlias = Callable[[Tag, DataValue], bytes]
FIXED: list[Unpack | None] = [None] * 256
"""By tag: reads a number of fixed size; None for other types. A list, because the hot loop looks here."""
ADVANCE: list[int] = [0] * 256
"""By tag: octets of tag and number; 0 where `FIXED` has none."""
TAGGED: list[Pack | None] = [None] * 256
"""By tag: writes tag and number of fixed size; None for other types."""
for _tag, _layout in (_INTEGERS | _FLOATS).items():
    FIXED[_tag] = _layout.unpack_from
    ADVANCE[_tag] = 1 + _layout.size
    TAGGED[_tag] = struct.Struct(">B" + _layout.format[1:]).pack


def truncated(position: int) -> RemoteProtocolError:
    """The error of a value that is cut off."""
    return RemoteProtocolError("value ends before its declared length", where=f"byte {position}")


def length_at(data: bytes, position: int) -> tuple[int, int]:
    """The length or count at ``position``, and the position behind it."""
    first = data[position]
    position += 1
    if first < 0x80:
        return first, position
    width = first & 0x7F
    if not 1 <= width <= 4:
        raise RemoteProtocolError(
            f"length of {width} octets", where=f"byte {position - 1}", expected="1 .. 4 octets"
        )
    end = position + width
    if end > len(data):
        raise truncated(position)
    return int.from_bytes(data[position:end], "big"), end


def octets_at(data: bytes, position: int) -> tuple[bytes, int]:
    """The octets whose length stands at ``position``, and the position behind them."""
    length, position = length_at(data, position)
    end = position + length
    if end > len(data):
        raise truncated(position)
    return data[position:end], end


def scalar_at(tag: int, data: bytes, position: int) -> tuple[Scalar, int]:
    """Content of a value that is no array or structure; ``position`` is behind its tag."""
    if (unpack := FIXED[tag]) is not None:
        return unpack(data, position)[0], position + ADVANCE[tag] - 1
    match tag:
        case Tag.NULL_DATA | Tag.DONT_CARE:
            return None, position
        case Tag.BOOLEAN:
            return data[position] != 0, position + 1
        case Tag.OCTET_STRING:
            return octets_at(data, position)
        case Tag.VISIBLE_STRING:
            text, position = octets_at(data, position)
            return text.decode("latin-1"), position
        case Tag.UTF8_STRING:
            text, end = octets_at(data, position)
            try:
                return text.decode("utf-8"), end
            except UnicodeDecodeError:
                raise RemoteProtocolError("utf8-string is not UTF-8", where=f"byte {position}") from None
        case Tag.BIT_STRING:
            return _bit_string(data, position)
        case Tag.BCD:
            high, low = data[position] >> 4, data[position] & 15
            if high > 9 or low > 9:
                raise RemoteProtocolError(f"{data[position]:#04x} is not BCD", where=f"byte {position}")
            return 10 * high + low, position + 1
        case Tag.DATE_TIME | Tag.DATE | Tag.TIME:
            end = position + _STAMPS[Tag(tag)]
            if end > len(data):
                raise truncated(position)
            return data[position:end], end
        case _ if tag in _DELTAS:
            layout = _DELTAS[Tag(tag)]
            return Delta(layout.unpack_from(data, position)[0]), position + layout.size
    raise RemoteProtocolError(f"no data type has the tag {tag}", where=f"byte {position - 1}")


def _bit_string(data: bytes, position: int) -> tuple[BitString, int]:
    length, position = length_at(data, position)
    end = position + (length + 7) // 8
    if end > len(data):
        raise truncated(position)
    octets = data[position:end]
    if spare := -length % 8:
        octets = octets[:-1] + bytes((octets[-1] & (0xFF << spare) & 0xFF,))
    return BitString(length, octets), end


def encode_scalar(tag: Tag, value: DataValue) -> bytes:
    """Content of a value behind its tag; raises `LocalProtocolError` where it does not fit its type."""
    try:
        if (layout := _INTEGERS.get(tag) or _FLOATS.get(tag) or _DELTAS.get(tag)) is not None:
            return layout.pack(value)
    except (struct.error, OverflowError):
        raise LocalProtocolError(f"{value!r} does not fit {tag.name}") from None
    match tag, value:
        case ((Tag.NULL_DATA | Tag.DONT_CARE), None):
            return b""
        case Tag.BOOLEAN, bool():
            return b"\x01" if value else b"\x00"
        case Tag.OCTET_STRING, bytes():
            return encode_octets(value)
        case Tag.VISIBLE_STRING, str():
            try:
                return encode_octets(value.encode("latin-1"))
            except UnicodeEncodeError:
                raise LocalProtocolError(f"{value!r} is no visible string") from None
        case Tag.UTF8_STRING, str():
            try:
                return encode_octets(value.encode("utf-8"))
            except UnicodeEncodeError:
                raise LocalProtocolError("the text cannot be written as UTF-8") from None
        case Tag.BIT_STRING, BitString():
            return encode_length(value.length) + value.octets
        case Tag.BCD, int() if 0 <= value <= 99:
            return bytes((value // 10 << 4 | value % 10,))
        case ((Tag.DATE_TIME | Tag.DATE | Tag.TIME), bytes()) if len(value) == _STAMPS[tag]:
            return value
        case _:
            raise LocalProtocolError(f"{value!r} does not fit {tag.name}")

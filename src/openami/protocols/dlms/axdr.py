"""A-XDR encoding of COSEM data (IEC 62056-6-2 clause 4.1.5, IEC 61334-6): every type of the ``Data`` choice.

Two readings of the same octets. `decode` keeps the type of every value (`Data`), so that `encode` gives the
same octets back; `decode_plain` gives plain Python values and is the fast one:

    null-data, dont-care  None          array, compact-array  list      structure  tuple
    integers, enum, bcd   int           float32, float64      float     boolean    bool
    octet-string, date-time, date, time  bytes                strings   str        bit-string  BitString
    delta values          Delta (an int that says it is a difference)

Rule of this file: the decoders are total. Any octets give a value or `RemoteProtocolError`, in time linear in
their number, whatever counts, lengths and nesting they declare.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, TypeAlias, Union

from openami.protocols.dlms.limits import MAX_COMPACT_NODES_PER_OCTET, MAX_DEPTH
from openami.protocols.dlms.octets import encode_length, encode_octets
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError


class Tag(IntEnum):
    """Tags of the ``Data`` choice."""

    NULL_DATA = 0
    ARRAY = 1
    STRUCTURE = 2
    BOOLEAN = 3
    BIT_STRING = 4
    DOUBLE_LONG = 5
    DOUBLE_LONG_UNSIGNED = 6
    OCTET_STRING = 9
    VISIBLE_STRING = 10
    UTF8_STRING = 12
    BCD = 13
    INTEGER = 15
    LONG = 16
    UNSIGNED = 17
    LONG_UNSIGNED = 18
    COMPACT_ARRAY = 19
    LONG64 = 20
    LONG64_UNSIGNED = 21
    ENUM = 22
    FLOAT32 = 23
    FLOAT64 = 24
    DATE_TIME = 25
    DATE = 26
    TIME = 27
    DELTA_INTEGER = 28
    DELTA_LONG = 29
    DELTA_DOUBLE_LONG = 30
    DELTA_UNSIGNED = 31
    DELTA_LONG_UNSIGNED = 32
    DELTA_DOUBLE_LONG_UNSIGNED = 33
    DONT_CARE = 255


@dataclass(frozen=True, slots=True)
class BitString:
    """``length`` bits, the first being the most significant of the first octet; padding bits are zero."""

    length: int
    octets: bytes

    def __post_init__(self) -> None:
        if len(self.octets) != (self.length + 7) // 8:
            raise LocalProtocolError(f"{self.length} bits in {len(self.octets)} octets")
        spare = -self.length % 8
        if spare and self.octets[-1] & ((1 << spare) - 1):
            raise LocalProtocolError("padding bits of a bit-string are not zero")


class Delta(int):
    """A difference to the value before it in the same column."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class TypeDescription:
    """Type of the elements of a compact array.

    Parameters
    ----------
    tag:
        Type; `Tag.ARRAY` and `Tag.STRUCTURE` describe their elements.
    elements:
        Of a structure one description per element, of an array exactly one.
    count:
        Elements of an array; 0 otherwise.
    """

    tag: Tag
    elements: tuple[TypeDescription, ...] = ()
    count: int = 0


@dataclass(frozen=True, slots=True)
class CompactArray:
    """Value of a compact array: the type once, then the contents of every element."""

    description: TypeDescription
    values: tuple[Data, ...]


Plain: TypeAlias = Union[bool, int, float, bytes, str, BitString, "list[Plain]", "tuple[Plain, ...]", None]
Scalar: TypeAlias = bool | int | float | bytes | str | BitString | None
DataValue: TypeAlias = Union[Scalar, "tuple[Data, ...]", "CompactArray"]


class Data(NamedTuple):
    """A value with its type; arrays and structures hold a tuple of `Data`."""

    tag: Tag
    value: DataValue


NULL = Data(Tag.NULL_DATA, None)


def array(items: Iterable[Data]) -> Data:
    """An array of values."""
    return Data(Tag.ARRAY, tuple(items))


def structure(*items: Data) -> Data:
    """A structure of values."""
    return Data(Tag.STRUCTURE, items)


# --- decoding -----------------------------------------------------------------------------------------

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
_FIXED: list[Unpack | None] = [None] * 256
_ADVANCE: list[int] = [0] * 256
for _tag, _layout in (_INTEGERS | _FLOATS).items():
    _FIXED[_tag] = _layout.unpack_from
    _ADVANCE[_tag] = 1 + _layout.size


def _truncated(position: int) -> RemoteProtocolError:
    return RemoteProtocolError("value ends before its declared length", where=f"byte {position}")


def _length(data: bytes, position: int) -> tuple[int, int]:
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
        raise _truncated(position)
    return int.from_bytes(data[position:end], "big"), end


def _octets(data: bytes, position: int) -> tuple[bytes, int]:
    length, position = _length(data, position)
    end = position + length
    if end > len(data):
        raise _truncated(position)
    return data[position:end], end


def _scalar(tag: int, data: bytes, position: int) -> tuple[Scalar, int]:
    """Content of a value that is no array or structure; ``position`` is behind its tag."""
    if (unpack := _FIXED[tag]) is not None:
        return unpack(data, position)[0], position + _ADVANCE[tag] - 1
    match tag:
        case Tag.NULL_DATA | Tag.DONT_CARE:
            return None, position
        case Tag.BOOLEAN:
            return data[position] != 0, position + 1
        case Tag.OCTET_STRING:
            return _octets(data, position)
        case Tag.VISIBLE_STRING:
            text, position = _octets(data, position)
            return text.decode("latin-1"), position
        case Tag.UTF8_STRING:
            text, end = _octets(data, position)
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
                raise _truncated(position)
            return data[position:end], end
        case _ if tag in _DELTAS:
            layout = _DELTAS[Tag(tag)]
            return Delta(layout.unpack_from(data, position)[0]), position + layout.size
    raise RemoteProtocolError(f"no data type has the tag {tag}", where=f"byte {position - 1}")


def _bit_string(data: bytes, position: int) -> tuple[BitString, int]:
    length, position = _length(data, position)
    end = position + (length + 7) // 8
    if end > len(data):
        raise _truncated(position)
    octets = data[position:end]
    if spare := -length % 8:
        octets = octets[:-1] + bytes((octets[-1] & (0xFF << spare) & 0xFF,))
    return BitString(length, octets), end


def _plain(data: bytes, position: int, count: int, depth: int) -> tuple[list[Plain], int]:
    """``count`` values in a row; the hot loop of the generic decoder, so common types are inline."""
    size = len(data)
    if count > size - position:
        raise RemoteProtocolError(
            f"{count} elements declared, {size - position} octets there", where=f"byte {position}"
        )
    values: list[Plain] = []
    append = values.append
    for _ in range(count):
        tag = data[position]
        unpack = _FIXED[tag]
        if unpack is not None:
            append(unpack(data, position + 1)[0])
            position += _ADVANCE[tag]
        elif tag == 9 and data[position + 1] < 0x80:
            start = position + 2
            position = start + data[position + 1]
            if position > size:
                raise _truncated(start)
            append(data[start:position])
        elif tag == 2 or tag == 1:
            if depth >= MAX_DEPTH:
                raise RemoteProtocolError(f"nested deeper than {MAX_DEPTH}", where=f"byte {position}")
            inner_count, position = _length(data, position + 1)
            inner, position = _plain(data, position, inner_count, depth + 1)
            append(tuple(inner) if tag == 2 else inner)
        elif tag == 19:
            compact, position = _compact_array(data, position + 1, depth)
            append([_plain_of(value) for value in compact.values])
        else:
            value, position = _scalar(tag, data, position + 1)
            append(value)
    return values, position


def _plain_of(data: Data) -> Plain:
    value = data.value
    if isinstance(value, CompactArray):
        return [_plain_of(item) for item in value.values]
    if isinstance(value, tuple):
        items = [_plain_of(item) for item in value]
        return items if data.tag is Tag.ARRAY else tuple(items)
    return value


def _typed(data: bytes, position: int, depth: int) -> tuple[Data, int]:
    tag = data[position]
    if tag == Tag.ARRAY or tag == Tag.STRUCTURE:
        if depth >= MAX_DEPTH:
            raise RemoteProtocolError(f"nested deeper than {MAX_DEPTH}", where=f"byte {position}")
        count, position = _length(data, position + 1)
        if count > len(data) - position:
            raise RemoteProtocolError(
                f"{count} elements declared, {len(data) - position} octets there", where=f"byte {position}"
            )
        items: list[Data] = []
        for _ in range(count):
            item, position = _typed(data, position, depth + 1)
            items.append(item)
        return Data(Tag(tag), tuple(items)), position
    if tag == Tag.COMPACT_ARRAY:
        compact, position = _compact_array(data, position + 1, depth)
        return Data(Tag.COMPACT_ARRAY, compact), position
    value, position = _scalar(tag, data, position + 1)
    return Data(Tag(tag), value), position


def _type_description(data: bytes, position: int, depth: int) -> tuple[TypeDescription, int]:
    try:
        tag = Tag(data[position])
    except ValueError:
        raise RemoteProtocolError(
            f"no data type has the tag {data[position]}", where=f"byte {position}"
        ) from None
    start, position = position, position + 1
    if depth > MAX_DEPTH:
        raise RemoteProtocolError(f"nested deeper than {MAX_DEPTH}", where=f"byte {start}")
    if tag is Tag.COMPACT_ARRAY:
        raise RemoteProtocolError("compact array inside a compact array", where=f"byte {start}")
    if tag is Tag.ARRAY:
        count = int.from_bytes(data[position : position + 2], "big")
        element, position = _type_description(data, position + 2, depth + 1)
        if _least_size(element) == 0 and count:
            raise RemoteProtocolError("array of elements that take no octets", where=f"byte {start}")
        return TypeDescription(tag, (element,), count), position
    if tag is Tag.STRUCTURE:
        count, position = _length(data, position)
        if count > len(data) - position:
            raise RemoteProtocolError(f"{count} elements declared, fewer octets there", where=f"byte {start}")
        elements: list[TypeDescription] = []
        for _ in range(count):
            element, position = _type_description(data, position, depth + 1)
            elements.append(element)
        return TypeDescription(tag, tuple(elements)), position
    return TypeDescription(tag), position


def _least_size(description: TypeDescription) -> int:
    """Fewest octets that an element of the described type takes."""
    match description.tag:
        case Tag.NULL_DATA | Tag.DONT_CARE:
            return 0
        case Tag.STRUCTURE:
            return sum(map(_least_size, description.elements))
        case Tag.ARRAY:
            return description.count * _least_size(description.elements[0])
        case _:
            return 1


class _Budget:
    """Values a compact array may still give; keeps null-data from multiplying."""

    __slots__ = ("left",)

    def __init__(self, octets: int) -> None:
        self.left = MAX_COMPACT_NODES_PER_OCTET * octets

    def spend(self, position: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise RemoteProtocolError("compact array expands too far", where=f"byte {position}")


def _compact_array(data: bytes, position: int, depth: int) -> tuple[CompactArray, int]:
    if depth >= MAX_DEPTH:
        raise RemoteProtocolError(f"nested deeper than {MAX_DEPTH}", where=f"byte {position}")
    description, position = _type_description(data, position, depth + 1)
    contents, end = _octets(data, position)
    if contents and _least_size(description) == 0:
        raise RemoteProtocolError("compact array of elements that take no octets", where=f"byte {position}")
    budget = _Budget(len(contents))
    values: list[Data] = []
    inside = 0
    while inside < len(contents):
        value, inside = _described(description, contents, inside, budget)
        values.append(value)
    return CompactArray(description, tuple(values)), end


def _described(
    description: TypeDescription, contents: bytes, position: int, budget: _Budget
) -> tuple[Data, int]:
    budget.spend(position)
    if description.tag is Tag.STRUCTURE or description.tag is Tag.ARRAY:
        elements = description.elements * (description.count if description.tag is Tag.ARRAY else 1)
        items: list[Data] = []
        for element in elements:
            item, position = _described(element, contents, position, budget)
            items.append(item)
        return Data(description.tag, tuple(items)), position
    value, position = _scalar(description.tag, contents, position)
    return Data(description.tag, value), position


def decode_at(data: bytes, position: int) -> tuple[Data, int]:
    """The typed value that begins at ``position``, and the position behind it.

    Raises
    ------
    RemoteProtocolError
        The octets are no A-XDR value.
    """
    try:
        return _typed(data, position, 0)
    except (IndexError, struct.error):
        raise _truncated(position) from None


def decode_plain_at(data: bytes, position: int) -> tuple[Plain, int]:
    """The plain value that begins at ``position``, and the position behind it; raises as `decode_at`."""
    try:
        values, end = _plain(data, position, 1, 0)
    except (IndexError, struct.error):
        raise _truncated(position) from None
    return values[0], end


def _whole(data: bytes, end: int) -> None:
    if end != len(data):
        raise RemoteProtocolError(
            f"{len(data) - end} octets too many", where=f"byte {end}", expected="one value"
        )


def decode(data: bytes) -> Data:
    """One typed value, filling ``data``.

    Raises
    ------
    RemoteProtocolError
        The octets are no A-XDR value, or more than one.
    """
    value, end = decode_at(data, 0)
    _whole(data, end)
    return value


def decode_plain(data: bytes) -> Plain:
    """One plain value, filling ``data``; raises as `decode`.

    >>> decode_plain(bytes.fromhex("0202060000139112ffff"))
    (5009, 65535)
    """
    value, end = decode_plain_at(data, 0)
    _whole(data, end)
    return value


def plain(data: Data) -> Plain:
    """The plain value of a typed one."""
    return _plain_of(data)


# --- encoding -----------------------------------------------------------------------------------------


def encode(data: Data) -> bytes:
    """Octets of a typed value, canonical (shortest lengths).

    Raises
    ------
    LocalProtocolError
        The value does not fit its type, or is nested deeper than the limit.
    """
    parts: list[bytes] = []
    _encode(data, parts, 0)
    return b"".join(parts)


def _encode(data: Data, parts: list[bytes], depth: int) -> None:
    tag, value = data
    parts.append(bytes((tag,)))
    if tag is Tag.ARRAY or tag is Tag.STRUCTURE:
        if not isinstance(value, tuple) or depth >= MAX_DEPTH:
            raise LocalProtocolError(f"{tag.name} must hold a tuple, nested at most {MAX_DEPTH} deep")
        parts.append(encode_length(len(value)))
        for item in value:
            _encode(item, parts, depth + 1)
    elif tag is Tag.COMPACT_ARRAY:
        if not isinstance(value, CompactArray):
            raise LocalProtocolError("a compact array needs its type description")
        parts.append(_encode_description(value.description))
        parts.append(encode_octets(b"".join(_encode_described(value.description, v) for v in value.values)))
    else:
        parts.append(_encode_scalar(tag, value))


def _encode_description(description: TypeDescription) -> bytes:
    inner = b"".join(map(_encode_description, description.elements))
    if description.tag is Tag.ARRAY:
        return bytes((description.tag,)) + description.count.to_bytes(2, "big") + inner
    if description.tag is Tag.STRUCTURE:
        return bytes((description.tag,)) + encode_length(len(description.elements)) + inner
    return bytes((description.tag,))


def _encode_described(description: TypeDescription, data: Data) -> bytes:
    if data.tag is not description.tag:
        raise LocalProtocolError(f"{data.tag.name} in a compact array of {description.tag.name}")
    if isinstance(data.value, tuple):
        elements = description.elements * (description.count if description.tag is Tag.ARRAY else 1)
        if len(elements) != len(data.value):
            raise LocalProtocolError(f"{len(data.value)} elements where {len(elements)} are described")
        return b"".join(map(_encode_described, elements, data.value))
    return _encode_scalar(data.tag, data.value)


def _encode_scalar(tag: Tag, value: DataValue) -> bytes:
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

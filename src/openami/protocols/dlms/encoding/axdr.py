"""A-XDR encoding of COSEM data (IEC 62056-6-2 clause 4.1.5, IEC 61334-6): every type of the ``Data`` choice.

Two readings of the same octets: `decode` keeps the type of every value, so that `encode` gives the same
octets back; `decode_plain` gives plain Python values (see `data`) and is the fast one.

Rule of this file: the decoders are total. Any octets give a value or `RemoteProtocolError`, in time linear in
their number, whatever counts, lengths and nesting they declare.
"""

from __future__ import annotations

import struct

from openami.protocols.dlms.encoding.axdr_scalars import (
    ADVANCE,
    FIXED,
    TAGGED,
    encode_scalar,
    length_at,
    scalar_at,
    truncated,
)
from openami.protocols.dlms.encoding.compact_array import compact_array_at, encode_compact_array
from openami.protocols.dlms.encoding.data import (
    NULL,
    BitString,
    CompactArray,
    Data,
    Delta,
    Plain,
    Tag,
    TypeDescription,
    array,
    structure,
)
from openami.protocols.dlms.encoding.limits import MAX_DEPTH
from openami.protocols.dlms.encoding.octets import encode_length
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

__all__ = [
    "NULL",
    "BitString",
    "CompactArray",
    "Data",
    "Delta",
    "Plain",
    "Tag",
    "TypeDescription",
    "array",
    "decode",
    "decode_at",
    "decode_plain",
    "decode_plain_at",
    "encode",
    "plain",
    "structure",
]


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
        raise truncated(position) from None


def decode_plain_at(data: bytes, position: int) -> tuple[Plain, int]:
    """The plain value that begins at ``position``, and the position behind it; raises as `decode_at`."""
    try:
        values, end = _plain(data, position, 1, 0)
    except (IndexError, struct.error):
        raise truncated(position) from None
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


def encode(data: Data) -> bytes:
    """Octets of a typed value, canonical (shortest lengths).

    Raises
    ------
    LocalProtocolError
        The value does not fit its type, or is nested deeper than the limit.
    """
    parts: list[bytes] = []
    _encode((data,), parts, 0)
    return b"".join(parts)


def _encode(items: tuple[Data, ...], parts: list[bytes], depth: int) -> None:
    """Values in a row; the hot loop of the encoder, so common types are inline."""
    append = parts.append
    tag, value = NULL
    try:
        for tag, value in items:
            pack = TAGGED[tag]
            if pack is not None:
                append(pack(tag, value))
            elif tag == 9 and type(value) is bytes and len(value) < 0x80:
                append(_SHORT_OCTETS[len(value)])
                append(value)
            elif tag == 2 or tag == 1:
                if not isinstance(value, tuple) or depth >= MAX_DEPTH:
                    raise LocalProtocolError(f"{tag.name} must hold a tuple, nested at most {MAX_DEPTH} deep")
                append(bytes((tag,)) + encode_length(len(value)))
                _encode(value, parts, depth + 1)
            elif tag == 19:
                if not isinstance(value, CompactArray):
                    raise LocalProtocolError("a compact array needs its type description")
                append(b"\x13" + encode_compact_array(value))
            else:
                append(bytes((tag,)))
                append(encode_scalar(tag, value))
    except (struct.error, OverflowError):
        raise LocalProtocolError(f"{value!r} does not fit {tag.name}") from None


_SHORT_OCTETS = [bytes((Tag.OCTET_STRING, length)) for length in range(0x80)]


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
        unpack = FIXED[tag]
        if unpack is not None:
            append(unpack(data, position + 1)[0])
            position += ADVANCE[tag]
        elif tag == 9 and data[position + 1] < 0x80:
            start = position + 2
            position = start + data[position + 1]
            if position > size:
                raise truncated(start)
            append(data[start:position])
        elif tag == 2 or tag == 1:
            if depth >= MAX_DEPTH:
                raise RemoteProtocolError(f"nested deeper than {MAX_DEPTH}", where=f"byte {position}")
            inner_count, position = length_at(data, position + 1)
            inner, position = _plain(data, position, inner_count, depth + 1)
            append(tuple(inner) if tag == 2 else inner)
        elif tag == 19:
            compact, position = compact_array_at(data, position + 1, depth)
            append([_plain_of(value) for value in compact.values])
        else:
            value, position = scalar_at(tag, data, position + 1)
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


_TAGS = {int(tag): tag for tag in Tag}


def _typed(data: bytes, position: int, depth: int) -> tuple[Data, int]:
    tag = data[position]
    if (unpack := FIXED[tag]) is not None:
        return Data(_TAGS[tag], unpack(data, position + 1)[0]), position + ADVANCE[tag]
    if tag == Tag.ARRAY or tag == Tag.STRUCTURE:
        if depth >= MAX_DEPTH:
            raise RemoteProtocolError(f"nested deeper than {MAX_DEPTH}", where=f"byte {position}")
        count, position = length_at(data, position + 1)
        if count > len(data) - position:
            raise RemoteProtocolError(
                f"{count} elements declared, {len(data) - position} octets there", where=f"byte {position}"
            )
        items: list[Data] = []
        for _ in range(count):
            item, position = _typed(data, position, depth + 1)
            items.append(item)
        return Data(_TAGS[tag], tuple(items)), position
    if tag == Tag.COMPACT_ARRAY:
        compact, position = compact_array_at(data, position + 1, depth)
        return Data(Tag.COMPACT_ARRAY, compact), position
    if tag == Tag.NULL_DATA:
        return NULL, position + 1
    value, position = scalar_at(tag, data, position + 1)
    return Data(_TAGS[tag], value), position

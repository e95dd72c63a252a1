"""Compact arrays (IEC 62056-6-2 clause 4.1.5): the type once, then the contents of every element.

Rule of this file: what a few octets declare can neither nest nor multiply without end; every value given
back is paid for by an octet of contents.
"""

from __future__ import annotations

from openami.protocols.dlms.encoding.axdr_scalars import (
    ADVANCE,
    FIXED,
    encode_scalar,
    length_at,
    octets_at,
    scalar_at,
)
from openami.protocols.dlms.encoding.data import NULL, CompactArray, Data, Tag, TypeDescription
from openami.protocols.dlms.encoding.limits import MAX_COMPACT_NODES, MAX_COMPACT_NODES_PER_OCTET, MAX_DEPTH
from openami.protocols.dlms.encoding.octets import encode_length, encode_octets
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

_SCALARS = {tag: TypeDescription(tag) for tag in Tag}


def compact_array_at(data: bytes, position: int, depth: int) -> tuple[CompactArray, int]:
    """The compact array behind its tag, and the position behind it."""
    if depth >= MAX_DEPTH:
        raise RemoteProtocolError(f"nested deeper than {MAX_DEPTH}", where=f"byte {position}")
    description, position = _type_description(data, position, depth + 1)
    contents, end = octets_at(data, position)
    if contents and _least_size(description) == 0:
        raise RemoteProtocolError("compact array of elements that take no octets", where=f"byte {position}")
    nodes = _nodes(description)
    left = MAX_COMPACT_NODES + MAX_COMPACT_NODES_PER_OCTET * len(contents)
    values: list[Data] = []
    inside = 0
    while inside < len(contents):
        left -= nodes
        if left < 0:
            raise RemoteProtocolError("compact array expands too far", where=f"byte {position}")
        value, inside = _described(description, contents, inside)
        values.append(value)
    return CompactArray(description, tuple(values)), end


def encode_compact_array(value: CompactArray) -> bytes:
    """Type description and contents.

    Raises
    ------
    LocalProtocolError
        An element is not of the described type.
    """
    contents = b"".join(_encode_described(value.description, element) for element in value.values)
    return _encode_description(value.description) + encode_octets(contents)


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
        count, position = length_at(data, position)
        if count > len(data) - position:
            raise RemoteProtocolError(f"{count} elements declared, fewer octets there", where=f"byte {start}")
        elements: list[TypeDescription] = []
        for _ in range(count):
            element, position = _type_description(data, position, depth + 1)
            elements.append(element)
        return TypeDescription(tag, tuple(elements)), position
    return _SCALARS[tag], position


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


def _nodes(description: TypeDescription) -> int:
    """Values that an element of the described type consists of, itself included."""
    inner = sum(map(_nodes, description.elements))
    return 1 + inner * (description.count if description.tag is Tag.ARRAY else 1)


def _described(description: TypeDescription, contents: bytes, position: int) -> tuple[Data, int]:
    tag = description.tag
    if (unpack := FIXED[tag]) is not None:
        return Data(tag, unpack(contents, position)[0]), position + ADVANCE[tag] - 1
    if tag is Tag.NULL_DATA:
        return NULL, position
    items: list[Data] = []
    if tag is Tag.STRUCTURE:
        for element in description.elements:
            item, position = _described(element, contents, position)
            items.append(item)
        return Data(tag, tuple(items)), position
    if tag is Tag.ARRAY:
        element = description.elements[0]
        for _ in range(description.count):
            item, position = _described(element, contents, position)
            items.append(item)
        return Data(tag, tuple(items)), position
    value, position = scalar_at(tag, contents, position)
    return Data(tag, value), position


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
    return encode_scalar(data.tag, data.value)

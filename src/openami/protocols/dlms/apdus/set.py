"""SET (IEC 62056-5-3): normal, with list, and either of them in blocks; their responses.

The blocks of a request with list carry the counted sequence of its values. Rule of this file: what is decoded
fills its APDU, and a list has as many values as attributes.
"""

from __future__ import annotations

from dataclasses import dataclass

from openami.protocols.dlms.apdus.descriptors import Attribute, Selector
from openami.protocols.dlms.apdus.results import AccessResult
from openami.protocols.dlms.encoding.axdr import Data, decode_at, encode
from openami.protocols.dlms.encoding.octets import Reader, encode_length, encode_octets
from openami.quantities.errors import RemoteProtocolError

SET_REQUEST = 0xC1
SET_RESPONSE = 0xC5


@dataclass(frozen=True, slots=True)
class SetRequest:
    """SET-Request-Normal."""

    invoke: int
    attribute: Attribute
    value: Data
    selector: Selector | None = None

    def to_bytes(self) -> bytes:
        """The APDU."""
        return (
            bytes((SET_REQUEST, 1, self.invoke))
            + self.attribute.to_bytes()
            + _selector_bytes(self.selector)
            + encode(self.value)
        )


@dataclass(frozen=True, slots=True)
class SetRequestFirst:
    """SET-Request-With-First-Datablock: what is set, and the first piece of its encoded value."""

    invoke: int
    attribute: Attribute
    last: bool
    block: int
    data: bytes
    selector: Selector | None = None

    def to_bytes(self) -> bytes:
        """The APDU."""
        return (
            bytes((SET_REQUEST, 2, self.invoke))
            + self.attribute.to_bytes()
            + _selector_bytes(self.selector)
            + _block_bytes(self.last, self.block, self.data)
        )


@dataclass(frozen=True, slots=True)
class SetRequestBlock:
    """SET-Request-With-Datablock: a further piece."""

    invoke: int
    last: bool
    block: int
    data: bytes

    def to_bytes(self) -> bytes:
        """The APDU."""
        return bytes((SET_REQUEST, 3, self.invoke)) + _block_bytes(self.last, self.block, self.data)


@dataclass(frozen=True, slots=True)
class SetRequestList:
    """SET-Request-With-List."""

    invoke: int
    attributes: tuple[tuple[Attribute, Selector | None], ...]
    values: tuple[Data, ...]

    def to_bytes(self) -> bytes:
        """The APDU."""
        parts = [bytes((SET_REQUEST, 4, self.invoke)), encode_length(len(self.attributes))]
        for attribute, selector in self.attributes:
            parts += (attribute.to_bytes(), _selector_bytes(selector))
        parts.append(encode_values(self.values))
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class SetRequestListFirst:
    """SET-Request-With-List-And-First-Datablock: attributes, and the first piece of the encoded values."""

    invoke: int
    attributes: tuple[tuple[Attribute, Selector | None], ...]
    last: bool
    block: int
    data: bytes

    def to_bytes(self) -> bytes:
        """The APDU."""
        parts = [bytes((SET_REQUEST, 5, self.invoke)), encode_length(len(self.attributes))]
        for attribute, selector in self.attributes:
            parts += (attribute.to_bytes(), _selector_bytes(selector))
        parts.append(_block_bytes(self.last, self.block, self.data))
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class SetResponse:
    """SET-Response-Normal."""

    invoke: int
    result: AccessResult

    def to_bytes(self) -> bytes:
        """The APDU."""
        return bytes((SET_RESPONSE, 1, self.invoke, self.result))


@dataclass(frozen=True, slots=True)
class SetResponseBlock:
    """SET-Response-Datablock: block received, send the next."""

    invoke: int
    block: int

    def to_bytes(self) -> bytes:
        """The APDU."""
        return bytes((SET_RESPONSE, 2, self.invoke)) + self.block.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class SetResponseLast:
    """SET-Response-Last-Datablock: the last block received, and the result."""

    invoke: int
    result: AccessResult
    block: int

    def to_bytes(self) -> bytes:
        """The APDU."""
        return bytes((SET_RESPONSE, 3, self.invoke, self.result)) + self.block.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class SetResponseLastList:
    """SET-Response-Last-Datablock-With-List: the last block received, and the results."""

    invoke: int
    results: tuple[AccessResult, ...]
    block: int

    def to_bytes(self) -> bytes:
        """The APDU."""
        head = bytes((SET_RESPONSE, 4, self.invoke)) + encode_length(len(self.results))
        return head + bytes(self.results) + self.block.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class SetResponseList:
    """SET-Response-With-List."""

    invoke: int
    results: tuple[AccessResult, ...]

    def to_bytes(self) -> bytes:
        """The APDU."""
        return bytes((SET_RESPONSE, 5, self.invoke)) + encode_length(len(self.results)) + bytes(self.results)


SetRequests = SetRequest | SetRequestFirst | SetRequestBlock | SetRequestList | SetRequestListFirst
SetResponses = SetResponse | SetResponseBlock | SetResponseLast | SetResponseLastList | SetResponseList


def encode_values(values: tuple[Data, ...]) -> bytes:
    """The counted sequence of values, as it also travels in blocks."""
    return encode_length(len(values)) + b"".join(map(encode, values))


def read_values(reader: Reader) -> tuple[Data, ...]:
    """The counted sequence of values at the reader's position."""
    return tuple(_value(reader) for _ in range(reader.count()))


def read_request(reader: Reader) -> SetRequests:
    """The SET request behind its tag."""
    kind, invoke = reader.u8(), reader.u8()
    request: SetRequests
    match kind:
        case 1:
            attribute, selector = Attribute.read(reader), _selector(reader)
            request = SetRequest(invoke, attribute, _value(reader), selector)
        case 2:
            attribute, selector = Attribute.read(reader), _selector(reader)
            request = SetRequestFirst(invoke, attribute, *_block(reader), selector)
        case 3:
            request = SetRequestBlock(invoke, *_block(reader))
        case 4:
            attributes, values = _attributes(reader), read_values(reader)
            if len(attributes) != len(values):
                raise RemoteProtocolError(f"{len(values)} values for {len(attributes)} attributes")
            request = SetRequestList(invoke, attributes, values)
        case 5:
            request = SetRequestListFirst(invoke, _attributes(reader), *_block(reader))
        case _:
            raise RemoteProtocolError(f"SET request of kind {kind}", where="byte 1", expected="1 .. 5")
    reader.end()
    return request


def read_response(reader: Reader) -> SetResponses:
    """The SET response behind its tag."""
    kind, invoke = reader.u8(), reader.u8()
    response: SetResponses
    match kind:
        case 1:
            response = SetResponse(invoke, AccessResult.received(reader.u8()))
        case 2:
            response = SetResponseBlock(invoke, reader.u32())
        case 3:
            response = SetResponseLast(invoke, AccessResult.received(reader.u8()), reader.u32())
        case 4:
            response = SetResponseLastList(invoke, _results(reader), reader.u32())
        case 5:
            response = SetResponseList(invoke, _results(reader))
        case _:
            raise RemoteProtocolError(f"SET response of kind {kind}", where="byte 1", expected="1 .. 5")
    reader.end()
    return response


def _attributes(reader: Reader) -> tuple[tuple[Attribute, Selector | None], ...]:
    attributes = tuple((Attribute.read(reader), _selector(reader)) for _ in range(reader.count()))
    if not attributes:
        raise RemoteProtocolError("SET with an empty list")
    return attributes


def _results(reader: Reader) -> tuple[AccessResult, ...]:
    return tuple(AccessResult.received(code) for code in reader.take(reader.count()))


def _selector_bytes(selector: Selector | None) -> bytes:
    return b"\x00" if selector is None else b"\x01" + selector.to_bytes()


def _selector(reader: Reader) -> Selector | None:
    return Selector.read(reader) if reader.presence() else None


def _block_bytes(last: bool, block: int, data: bytes) -> bytes:
    return bytes((last,)) + block.to_bytes(4, "big") + encode_octets(data)


def _block(reader: Reader) -> tuple[bool, int, bytes]:
    return reader.presence(), reader.u32(), reader.octets()


def _value(reader: Reader) -> Data:
    value, reader.position = decode_at(reader.data, reader.position)
    return value

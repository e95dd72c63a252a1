"""GET (IEC 62056-5-3): requests normal, next and with-list; responses normal, with data block, with list.

Data in responses stay encoded: a load profile goes to the template decoder, everything else to
`axdr.decode_plain`, which is where they are checked. Rule of this file: what is decoded fills its APDU.
"""

from __future__ import annotations

from dataclasses import dataclass

from openami.protocols.dlms.apdus.descriptors import Attribute, Selector
from openami.protocols.dlms.apdus.results import AccessResult
from openami.protocols.dlms.encoding.axdr import decode_plain_at
from openami.protocols.dlms.encoding.octets import Reader, encode_length, encode_octets
from openami.quantities.errors import RemoteProtocolError

GET_REQUEST = 0xC0
GET_RESPONSE = 0xC4


@dataclass(frozen=True, slots=True)
class GetRequest:
    """GET-Request-Normal."""

    invoke: int
    attribute: Attribute
    selector: Selector | None = None

    def to_bytes(self) -> bytes:
        """The APDU."""
        head = bytes((GET_REQUEST, 1, self.invoke)) + self.attribute.to_bytes()
        return head + (b"\x00" if self.selector is None else b"\x01" + self.selector.to_bytes())


@dataclass(frozen=True, slots=True)
class GetRequestNext:
    """GET-Request-Next: asks for the block after ``block``."""

    invoke: int
    block: int

    def to_bytes(self) -> bytes:
        """The APDU."""
        return bytes((GET_REQUEST, 2, self.invoke)) + self.block.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class GetRequestList:
    """GET-Request-With-List."""

    invoke: int
    attributes: tuple[tuple[Attribute, Selector | None], ...]

    def to_bytes(self) -> bytes:
        """The APDU."""
        parts = [bytes((GET_REQUEST, 3, self.invoke)), encode_length(len(self.attributes))]
        for attribute, selector in self.attributes:
            parts.append(attribute.to_bytes())
            parts.append(b"\x00" if selector is None else b"\x01" + selector.to_bytes())
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class GetResponse:
    """GET-Response-Normal: encoded data, or why there are none."""

    invoke: int
    data: bytes | AccessResult

    def to_bytes(self) -> bytes:
        """The APDU."""
        return bytes((GET_RESPONSE, 1, self.invoke)) + get_data_result(self.data)


@dataclass(frozen=True, slots=True)
class GetResponseBlock:
    """GET-Response-With-Datablock: a piece of the encoded data, or why there are none."""

    invoke: int
    last: bool
    block: int
    data: bytes | AccessResult

    def to_bytes(self) -> bytes:
        """The APDU."""
        head = bytes((GET_RESPONSE, 2, self.invoke, self.last)) + self.block.to_bytes(4, "big")
        if isinstance(self.data, AccessResult):
            return head + bytes((1, self.data))
        return head + b"\x00" + encode_octets(self.data)


@dataclass(frozen=True, slots=True)
class GetResponseList:
    """GET-Response-With-List."""

    invoke: int
    results: tuple[bytes | AccessResult, ...]

    def to_bytes(self) -> bytes:
        """The APDU."""
        return bytes((GET_RESPONSE, 3, self.invoke)) + encode_results(self.results)


def get_data_result(data: bytes | AccessResult) -> bytes:
    """``Get-Data-Result``: choice 0 encoded data, choice 1 result."""
    return bytes((1, data)) if isinstance(data, AccessResult) else b"\x00" + data


def encode_results(results: tuple[bytes | AccessResult, ...]) -> bytes:
    """The sequence of results of a GET with list, as it also travels in data blocks."""
    return encode_length(len(results)) + b"".join(map(get_data_result, results))


def read_results(reader: Reader) -> tuple[bytes | AccessResult, ...]:
    """The sequence of results at the reader's position; each datum is checked."""
    results: list[bytes | AccessResult] = []
    for _ in range(reader.count()):
        choice = reader.u8()
        if choice == 0:
            start = reader.position
            _, reader.position = decode_plain_at(reader.data, start)
            results.append(reader.data[start : reader.position])
        elif choice == 1:
            results.append(AccessResult.received(reader.u8()))
        else:
            raise RemoteProtocolError(f"choice {choice} of Get-Data-Result", expected="0 or 1")
    return tuple(results)


def read_request(reader: Reader) -> GetRequest | GetRequestNext | GetRequestList:
    """The GET request behind its tag."""
    kind, invoke = reader.u8(), reader.u8()
    request: GetRequest | GetRequestNext | GetRequestList
    match kind:
        case 1:
            request = GetRequest(invoke, Attribute.read(reader), _selector(reader))
        case 2:
            request = GetRequestNext(invoke, reader.u32())
        case 3:
            count = reader.count()
            if not count:
                raise RemoteProtocolError("GET with an empty list")
            request = GetRequestList(
                invoke, tuple((Attribute.read(reader), _selector(reader)) for _ in range(count))
            )
        case _:
            raise RemoteProtocolError(f"GET request of kind {kind}", where="byte 1", expected="1, 2 or 3")
    reader.end()
    return request


def _selector(reader: Reader) -> Selector | None:
    return Selector.read(reader) if reader.presence() else None


def read_response(reader: Reader) -> GetResponse | GetResponseBlock | GetResponseList:
    """The GET response behind its tag."""
    kind, invoke = reader.u8(), reader.u8()
    match kind:
        case 1:
            if _is_data(reader):
                return GetResponse(invoke, reader.rest())
            response = GetResponse(invoke, AccessResult.received(reader.u8()))
            reader.end()
            return response
        case 2:
            last, block = reader.presence(), reader.u32()
            data = reader.octets() if _is_data(reader) else AccessResult.received(reader.u8())
            reader.end()
            return GetResponseBlock(invoke, last, block, data)
        case 3:
            results = GetResponseList(invoke, read_results(reader))
            reader.end()
            return results
    raise RemoteProtocolError(f"GET response of kind {kind}", where="byte 1", expected="1, 2 or 3")


def _is_data(reader: Reader) -> bool:
    choice = reader.u8()
    if choice > 1:
        raise RemoteProtocolError(f"choice {choice} of a result", where=f"byte {reader.position - 1}")
    return choice == 0

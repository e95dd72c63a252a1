"""ACTION (IEC 62056-5-3): normal, with list, and either of them in blocks, both ways.

    c3 01  normal         c7 01  normal            A block carries a piece of what stands behind the
    c3 02  next block     c7 02  with block        descriptors of the request (one datum, or a counted
    c3 03  with list      c7 03  with list         sequence of them), or behind the invoke id of the answer
    c3 04  first block    c7 04  next block        (one result with its optional data, or a counted
    c3 05  list, first block                       sequence of them).
    c3 06  further block

Rule of this file: what is decoded fills its APDU, and a list has as many parameters as methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from openami.protocols.dlms.apdus.descriptors import Method
from openami.protocols.dlms.apdus.results import AccessResult
from openami.protocols.dlms.encoding.axdr import Data, decode_at, decode_plain_at, encode
from openami.protocols.dlms.encoding.octets import Reader, encode_length, encode_octets
from openami.quantities.errors import RemoteProtocolError

ACTION_REQUEST = 0xC3
ACTION_RESPONSE = 0xC7


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """ACTION-Request-Normal."""

    invoke: int
    method: Method
    parameter: Data | None = None

    def to_bytes(self) -> bytes:
        """The APDU."""
        head = bytes((ACTION_REQUEST, 1, self.invoke)) + self.method.to_bytes()
        return head + (b"\x00" if self.parameter is None else b"\x01" + encode(self.parameter))


@dataclass(frozen=True, slots=True)
class ActionRequestNext:
    """ACTION-Request-Next-Pblock: block ``block`` of the answer arrived, send the next."""

    invoke: int
    block: int

    def to_bytes(self) -> bytes:
        """The APDU."""
        return bytes((ACTION_REQUEST, 2, self.invoke)) + self.block.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class ActionRequestList:
    """ACTION-Request-With-List; a method without parameter has null-data."""

    invoke: int
    methods: tuple[Method, ...]
    parameters: tuple[Data, ...]

    def to_bytes(self) -> bytes:
        """The APDU."""
        head = bytes((ACTION_REQUEST, 3, self.invoke))
        return head + _methods_bytes(self.methods) + encode_parameters(self.parameters)


@dataclass(frozen=True, slots=True)
class ActionRequestFirst:
    """ACTION-Request-With-First-Pblock: the method, and the first piece of its encoded parameter."""

    invoke: int
    method: Method
    last: bool
    block: int
    data: bytes

    def to_bytes(self) -> bytes:
        """The APDU."""
        head = bytes((ACTION_REQUEST, 4, self.invoke)) + self.method.to_bytes()
        return head + _block_bytes(self.last, self.block, self.data)


@dataclass(frozen=True, slots=True)
class ActionRequestListFirst:
    """ACTION-Request-With-List-And-First-Pblock: methods, and the first piece of the encoded parameters."""

    invoke: int
    methods: tuple[Method, ...]
    last: bool
    block: int
    data: bytes

    def to_bytes(self) -> bytes:
        """The APDU."""
        head = bytes((ACTION_REQUEST, 5, self.invoke)) + _methods_bytes(self.methods)
        return head + _block_bytes(self.last, self.block, self.data)


@dataclass(frozen=True, slots=True)
class ActionRequestBlock:
    """ACTION-Request-With-Pblock: a further piece."""

    invoke: int
    last: bool
    block: int
    data: bytes

    def to_bytes(self) -> bytes:
        """The APDU."""
        return bytes((ACTION_REQUEST, 6, self.invoke)) + _block_bytes(self.last, self.block, self.data)


@dataclass(frozen=True, slots=True)
class ActionResult:
    """Result of one method, and what it returned (encoded data, or why there are none)."""

    result: AccessResult
    returned: bytes | AccessResult | None = None

    def to_bytes(self) -> bytes:
        """``Action-Response-With-Optional-Data``."""
        head = bytes((self.result,))
        if self.returned is None:
            return head + b"\x00"
        if isinstance(self.returned, AccessResult):
            return head + bytes((1, 1, self.returned))
        return head + b"\x01\x00" + self.returned

    @classmethod
    def read(cls, reader: Reader) -> ActionResult:
        """The result at the reader's position; its datum is checked."""
        result = AccessResult.received(reader.u8())
        if not reader.presence():
            return cls(result)
        choice = reader.u8()
        if choice == 0:
            start = reader.position
            _, reader.position = decode_plain_at(reader.data, start)
            return cls(result, reader.data[start : reader.position])
        if choice == 1:
            return cls(result, AccessResult.received(reader.u8()))
        raise RemoteProtocolError(f"choice {choice} of Get-Data-Result", expected="0 or 1")


@dataclass(frozen=True, slots=True)
class ActionResponse:
    """ACTION-Response-Normal: result, and what the method returned (encoded data, or why there are none)."""

    invoke: int
    result: AccessResult
    returned: bytes | AccessResult | None = None

    def to_bytes(self) -> bytes:
        """The APDU."""
        head = bytes((ACTION_RESPONSE, 1, self.invoke))
        return head + ActionResult(self.result, self.returned).to_bytes()


@dataclass(frozen=True, slots=True)
class ActionResponseBlock:
    """ACTION-Response-With-Pblock: a piece of the encoded result or results."""

    invoke: int
    last: bool
    block: int
    data: bytes

    def to_bytes(self) -> bytes:
        """The APDU."""
        return bytes((ACTION_RESPONSE, 2, self.invoke)) + _block_bytes(self.last, self.block, self.data)


@dataclass(frozen=True, slots=True)
class ActionResponseList:
    """ACTION-Response-With-List."""

    invoke: int
    results: tuple[ActionResult, ...]

    def to_bytes(self) -> bytes:
        """The APDU."""
        return bytes((ACTION_RESPONSE, 3, self.invoke)) + encode_action_results(self.results)


@dataclass(frozen=True, slots=True)
class ActionResponseNext:
    """ACTION-Response-Next-Pblock: block ``block`` of the request arrived, send the next."""

    invoke: int
    block: int

    def to_bytes(self) -> bytes:
        """The APDU."""
        return bytes((ACTION_RESPONSE, 4, self.invoke)) + self.block.to_bytes(4, "big")


ActionRequests: TypeAlias = (
    ActionRequest
    | ActionRequestNext
    | ActionRequestList
    | ActionRequestFirst
    | ActionRequestListFirst
    | ActionRequestBlock
)
ActionResponses: TypeAlias = ActionResponse | ActionResponseBlock | ActionResponseList | ActionResponseNext


def encode_parameters(parameters: tuple[Data, ...]) -> bytes:
    """The counted sequence of parameters, as it also travels in blocks."""
    return encode_length(len(parameters)) + b"".join(map(encode, parameters))


def read_parameters(reader: Reader) -> tuple[Data, ...]:
    """The counted sequence of parameters at the reader's position."""
    return tuple(_datum(reader) for _ in range(reader.count()))


def encode_action_results(results: tuple[ActionResult, ...]) -> bytes:
    """The counted sequence of results, as it also travels in blocks."""
    return encode_length(len(results)) + b"".join(result.to_bytes() for result in results)


def read_action_results(reader: Reader) -> tuple[ActionResult, ...]:
    """The counted sequence of results at the reader's position."""
    return tuple(ActionResult.read(reader) for _ in range(reader.count()))


def read_request(reader: Reader) -> ActionRequests:
    """The ACTION request behind its tag."""
    kind, invoke = reader.u8(), reader.u8()
    request: ActionRequests
    match kind:
        case 1:
            method = Method.read(reader)
            request = ActionRequest(invoke, method, _datum(reader) if reader.presence() else None)
        case 2:
            request = ActionRequestNext(invoke, reader.u32())
        case 3:
            methods, parameters = _methods(reader), read_parameters(reader)
            if len(methods) != len(parameters):
                raise RemoteProtocolError(f"{len(parameters)} parameters for {len(methods)} methods")
            request = ActionRequestList(invoke, methods, parameters)
        case 4:
            request = ActionRequestFirst(invoke, Method.read(reader), *_block(reader))
        case 5:
            request = ActionRequestListFirst(invoke, _methods(reader), *_block(reader))
        case 6:
            request = ActionRequestBlock(invoke, *_block(reader))
        case _:
            raise RemoteProtocolError(f"ACTION request of kind {kind}", where="byte 1", expected="1 .. 6")
    reader.end()
    return request


def read_response(reader: Reader) -> ActionResponses:
    """The ACTION response behind its tag."""
    kind, invoke = reader.u8(), reader.u8()
    response: ActionResponses
    match kind:
        case 1:
            result = ActionResult.read(reader)
            response = ActionResponse(invoke, result.result, result.returned)
        case 2:
            response = ActionResponseBlock(invoke, *_block(reader))
        case 3:
            response = ActionResponseList(invoke, read_action_results(reader))
        case 4:
            response = ActionResponseNext(invoke, reader.u32())
        case _:
            raise RemoteProtocolError(f"ACTION response of kind {kind}", where="byte 1", expected="1 .. 4")
    reader.end()
    return response


def _methods_bytes(methods: tuple[Method, ...]) -> bytes:
    return encode_length(len(methods)) + b"".join(method.to_bytes() for method in methods)


def _methods(reader: Reader) -> tuple[Method, ...]:
    methods = tuple(Method.read(reader) for _ in range(reader.count()))
    if not methods:
        raise RemoteProtocolError("ACTION with an empty list")
    return methods


def _block_bytes(last: bool, block: int, data: bytes) -> bytes:
    return bytes((last,)) + block.to_bytes(4, "big") + encode_octets(data)


def _block(reader: Reader) -> tuple[bool, int, bytes]:
    return reader.presence(), reader.u32(), reader.octets()


def _datum(reader: Reader) -> Data:
    value, reader.position = decode_at(reader.data, reader.position)
    return value

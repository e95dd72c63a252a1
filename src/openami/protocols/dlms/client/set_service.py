"""SET of a client: one attribute or a list, in blocks where the request is too long (IEC 62056-5-3).

Rule of this file: as `exchange`; a block is only followed by the next when it was acknowledged.
"""

from __future__ import annotations

from collections.abc import Sequence

from openami.protocols.dlms.apdus.apdu import Apdu
from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.apdus.initiate import Conformance
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.apdus.set import (
    SetRequest,
    SetRequestBlock,
    SetRequestFirst,
    SetRequestList,
    SetRequestListFirst,
    SetResponse,
    SetResponseBlock,
    SetResponseLast,
    SetResponseLastList,
    SetResponseList,
    encode_values,
)
from openami.protocols.dlms.client.exchange import (
    BLOCK_HEADER,
    Exchange,
    Operation,
    accepted,
    expected,
    need,
    pieces,
)
from openami.protocols.dlms.encoding.axdr import Data, encode
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError


def set_one(exchange: Exchange, attribute: Attribute, value: Data) -> Operation[None]:
    """Set an attribute."""
    invoke = exchange.next_invoke()
    request = SetRequest(invoke, attribute, value).to_bytes()
    if len(request) <= exchange.largest_request:
        answer = yield from exchange.request(request, invoke)
        accepted(expected(answer, SetResponse).result, attribute)
        return
    encoded = encode(value)
    need(exchange, Conformance.BLOCK_TRANSFER_SET, f"a value of {len(encoded)} octets")
    first = SetRequestFirst(invoke, attribute, False, 1, b"")
    answer = yield from _in_blocks(exchange, first, encoded, invoke)
    if isinstance(answer, SetResponse):  # so do some servers refuse a block
        accepted(answer.result, attribute)
    accepted(expected(answer, SetResponseLast).result, attribute)


def set_with_list(
    exchange: Exchange, values: Sequence[tuple[Attribute, Data]]
) -> Operation[list[AccessError | None]]:
    """Set many attributes; for each None, or why it was refused."""
    if not values:
        raise LocalProtocolError("an empty list of attributes")
    attributes = tuple((attribute, None) for attribute, _ in values)
    data = tuple(value for _, value in values)
    invoke = exchange.next_invoke()
    request = SetRequestList(invoke, attributes, data).to_bytes()
    if len(request) <= exchange.largest_request:
        answer = yield from exchange.request(request, invoke)
    else:
        need(exchange, Conformance.BLOCK_TRANSFER_SET, f"values of {len(request)} octets")
        first = SetRequestListFirst(invoke, attributes, False, 1, b"")
        answer = yield from _in_blocks(exchange, first, encode_values(data), invoke)
    match answer:
        case SetResponse(result=result) | SetResponseLast(result=result) if (
            result is not AccessResult.SUCCESS
        ):
            results: tuple[AccessResult, ...] = (result,) * len(values)
        case SetResponseLastList():
            results = answer.results
        case _:
            results = expected(answer, SetResponseList).results
    if len(results) != len(values):
        raise RemoteProtocolError(f"{len(results)} results for {len(values)} attributes")
    return [
        None if result is AccessResult.SUCCESS else AccessError(result, where=str(attribute))
        for result, (attribute, _) in zip(results, values, strict=True)
    ]


def _in_blocks(
    exchange: Exchange, first: SetRequestFirst | SetRequestListFirst, encoded: bytes, invoke: int
) -> Operation[Apdu]:
    """Send a value block by block; gives the answer to the last, or to the one that was refused."""
    largest = exchange.largest_request
    cut = pieces(encoded, largest - len(first.to_bytes()) - 4, largest - BLOCK_HEADER)
    for number, piece in enumerate(cut, 1):
        last = number == len(cut)
        request: SetRequestFirst | SetRequestListFirst | SetRequestBlock
        if number > 1:
            request = SetRequestBlock(invoke, last, number, piece)
        elif isinstance(first, SetRequestFirst):
            request = SetRequestFirst(invoke, first.attribute, last, 1, piece, first.selector)
        else:
            request = SetRequestListFirst(invoke, first.attributes, last, 1, piece)
        answer = yield from exchange.request(request.to_bytes(), invoke)
        if last or not isinstance(answer, SetResponseBlock):
            return answer
        if answer.block != number:
            raise RemoteProtocolError("acknowledgement of another block", expected=f"block {number}")
    raise LocalProtocolError("a value of no octets")

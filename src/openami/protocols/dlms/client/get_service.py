"""GET of a client: one attribute or a list, with answers in blocks (IEC 62056-5-3).

Rule of this file: as `exchange`; and there are as many results as attributes.
"""

from __future__ import annotations

from collections.abc import Sequence

from openami.protocols.dlms.apdus.descriptors import Attribute, Selector
from openami.protocols.dlms.apdus.get import (
    GetRequest,
    GetRequestList,
    GetRequestNext,
    GetResponse,
    GetResponseBlock,
    GetResponseList,
    read_results,
)
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.client.exchange import Exchange, Operation, Reassembly, expected
from openami.protocols.dlms.encoding.axdr import Plain, decode_plain
from openami.protocols.dlms.encoding.octets import Reader
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError


def get(exchange: Exchange, attribute: Attribute, selector: Selector | None) -> Operation[bytes]:
    """Encoded value of an attribute."""
    invoke = exchange.next_invoke()
    answer = yield from exchange.request(GetRequest(invoke, attribute, selector).to_bytes(), invoke)
    if isinstance(answer, GetResponseBlock):
        return (yield from _blocks(exchange, answer, invoke))
    data = expected(answer, GetResponse).data
    if data is AccessResult.SUCCESS:
        raise RemoteProtocolError("success without data")
    if isinstance(data, AccessResult):
        raise AccessError(data, where=str(attribute))
    return data


def get_with_list(
    exchange: Exchange, attributes: Sequence[Attribute | tuple[Attribute, Selector]]
) -> Operation[list[Plain | AccessError]]:
    """Values of many attributes; an `AccessError` in place of each that is refused."""
    if not attributes:
        raise LocalProtocolError("an empty list of attributes")
    named = tuple(item if isinstance(item, tuple) else (item, None) for item in attributes)
    invoke = exchange.next_invoke()
    answer = yield from exchange.request(GetRequestList(invoke, named).to_bytes(), invoke)
    if isinstance(answer, GetResponseBlock):
        reader = Reader((yield from _blocks(exchange, answer, invoke)))
        results = read_results(reader)
        reader.end()
    elif isinstance(answer, GetResponse) and isinstance(answer.data, AccessResult):
        results = (answer.data,) * len(named)
    else:
        results = expected(answer, GetResponseList).results
    if len(results) != len(named):
        raise RemoteProtocolError(f"{len(results)} results for {len(named)} attributes")
    return [
        AccessError(result, where=str(attribute))
        if isinstance(result, AccessResult)
        else decode_plain(result)
        for result, (attribute, _) in zip(results, named, strict=True)
    ]


def _blocks(exchange: Exchange, answer: GetResponseBlock, invoke: int) -> Operation[bytes]:
    """Put the blocks of an answer together."""
    long = Reassembly(exchange.max_reassembled)
    while True:
        if isinstance(answer.data, AccessResult):
            raise AccessError(answer.data, where=f"block {long.number + 1}")
        long.take(answer.block, answer.data)
        if answer.last:
            return long.whole()
        if not answer.data:
            raise RemoteProtocolError(f"block {long.number} is empty and not the last")
        request = GetRequestNext(invoke, long.number).to_bytes()
        received = yield from exchange.request(request, invoke)
        if isinstance(received, GetResponse) and isinstance(received.data, AccessResult):
            raise AccessError(received.data, where=f"block {long.number + 1}")
        answer = expected(received, GetResponseBlock)

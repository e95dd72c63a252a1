"""ACTION of a client: one method or a list, both ways in blocks where they are too long (IEC 62056-5-3).

What the blocks of an answer carry is recalled: the result with its optional data, as in an answer that is not
cut. gurux-dlms 1.0.203 takes them for the bare data of a success. Both are read. Rule of this file: as
`exchange`.
"""

from __future__ import annotations

from collections.abc import Sequence

from openami.protocols.dlms.apdus.action import (
    ActionRequest,
    ActionRequestBlock,
    ActionRequestFirst,
    ActionRequestList,
    ActionRequestListFirst,
    ActionRequestNext,
    ActionResponse,
    ActionResponseBlock,
    ActionResponseList,
    ActionResponseNext,
    ActionResult,
    encode_parameters,
    read_action_results,
)
from openami.protocols.dlms.apdus.apdu import Apdu
from openami.protocols.dlms.apdus.descriptors import Method
from openami.protocols.dlms.apdus.initiate import Conformance
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.client.exchange import (
    BLOCK_HEADER,
    Exchange,
    Operation,
    Reassembly,
    accepted,
    expected,
    need,
    pieces,
)
from openami.protocols.dlms.encoding.axdr import NULL, Data, Plain, decode_plain, encode
from openami.protocols.dlms.encoding.octets import Reader
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError


def action(exchange: Exchange, method: Method, parameter: Data | None) -> Operation[Plain]:
    """Run a method; what it returns."""
    invoke = exchange.next_invoke()
    request = ActionRequest(invoke, method, parameter).to_bytes()
    if len(request) <= exchange.largest_request or parameter is None:
        answer = yield from exchange.request(request, invoke)
    else:
        first = ActionRequestFirst(invoke, method, False, 1, b"")
        answer = yield from _in_blocks(exchange, first, encode(parameter), invoke)
    if isinstance(answer, ActionResponseBlock):
        result = _one_result((yield from _blocks(exchange, answer, invoke)))
    else:
        whole = expected(answer, ActionResponse)
        result = ActionResult(whole.result, whole.returned)
    return _returned(result, method)


def action_with_list(
    exchange: Exchange, calls: Sequence[tuple[Method, Data | None]]
) -> Operation[list[Plain | AccessError]]:
    """Run many methods in order; what each returns, or why it was refused."""
    if not calls:
        raise LocalProtocolError("an empty list of methods")
    methods = tuple(method for method, _ in calls)
    parameters = tuple(NULL if parameter is None else parameter for _, parameter in calls)
    invoke = exchange.next_invoke()
    request = ActionRequestList(invoke, methods, parameters).to_bytes()
    if len(request) <= exchange.largest_request:
        answer = yield from exchange.request(request, invoke)
    else:
        first = ActionRequestListFirst(invoke, methods, False, 1, b"")
        answer = yield from _in_blocks(exchange, first, encode_parameters(parameters), invoke)
    if isinstance(answer, ActionResponseBlock):
        reader = Reader((yield from _blocks(exchange, answer, invoke)))
        results = read_action_results(reader)
        reader.end()
    elif isinstance(answer, ActionResponse) and answer.result is not AccessResult.SUCCESS:
        results = (ActionResult(answer.result),) * len(calls)
    else:
        results = expected(answer, ActionResponseList).results
    if len(results) != len(calls):
        raise RemoteProtocolError(f"{len(results)} results for {len(calls)} methods")
    values: list[Plain | AccessError] = []
    for result, method in zip(results, methods, strict=True):
        try:
            values.append(_returned(result, method))
        except AccessError as refused:
            values.append(refused)
    return values


def _returned(result: ActionResult, method: Method) -> Plain:
    value = decode_plain(result.returned) if isinstance(result.returned, bytes) else None
    accepted(result.result, method)
    if isinstance(result.returned, AccessResult):
        accepted(result.returned, method)
    return value


def _one_result(encoded: bytes) -> ActionResult:
    """The result in the blocks of an answer; octets that begin with a data type are the data alone."""
    if len(encoded) > 1 and encoded[0] == AccessResult.SUCCESS:
        reader = Reader(encoded)
        result = ActionResult.read(reader)
        reader.end()
        return result
    return ActionResult(AccessResult.SUCCESS, encoded)


def _blocks(exchange: Exchange, answer: ActionResponseBlock, invoke: int) -> Operation[bytes]:
    """Put the blocks of an answer together."""
    long = Reassembly(exchange.max_reassembled)
    while True:
        long.take(answer.block, answer.data)
        if answer.last:
            return long.whole()
        if not answer.data:
            raise RemoteProtocolError(f"block {long.number} is empty and not the last")
        request = ActionRequestNext(invoke, long.number).to_bytes()
        received = yield from exchange.request(request, invoke)
        if isinstance(received, ActionResponse) and received.result is not AccessResult.SUCCESS:
            raise AccessError(received.result, where=f"block {long.number + 1}")
        answer = expected(received, ActionResponseBlock)


def _in_blocks(
    exchange: Exchange, first: ActionRequestFirst | ActionRequestListFirst, encoded: bytes, invoke: int
) -> Operation[Apdu]:
    """Send parameters block by block; gives the answer to the last, or to the one that was refused."""
    need(exchange, Conformance.BLOCK_TRANSFER_ACTION, f"a parameter of {len(encoded)} octets")
    largest = exchange.largest_request
    cut = pieces(encoded, largest - len(first.to_bytes()) - 4, largest - BLOCK_HEADER)
    for number, piece in enumerate(cut, 1):
        last = number == len(cut)
        request: ActionRequestFirst | ActionRequestListFirst | ActionRequestBlock
        if number > 1:
            request = ActionRequestBlock(invoke, last, number, piece)
        elif isinstance(first, ActionRequestFirst):
            request = ActionRequestFirst(invoke, first.method, last, 1, piece)
        else:
            request = ActionRequestListFirst(invoke, first.methods, last, 1, piece)
        answer = yield from exchange.request(request.to_bytes(), invoke)
        if last or not isinstance(answer, ActionResponseNext):
            return answer
        if answer.block != number:
            raise RemoteProtocolError("acknowledgement of another block", expected=f"block {number}")
    raise LocalProtocolError("a parameter of no octets")

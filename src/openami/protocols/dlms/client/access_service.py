"""ACCESS of a client: reading, writing and running many things in one request (IEC 62056-5-3).

Rule of this file: as `exchange`; results are of the services asked for, in their order.
"""

from __future__ import annotations

from collections.abc import Sequence

from openami.protocols.dlms.apdus.access import (
    AccessAction,
    AccessItem,
    AccessRequest,
    AccessResponse,
    LongInvoke,
    specifications,
)
from openami.protocols.dlms.apdus.initiate import Conformance
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.client.exchange import Exchange, Operation, expected, need
from openami.protocols.dlms.encoding.axdr import Plain, decode_plain
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

NO_OPTIONS = LongInvoke(0)


def access(
    exchange: Exchange, items: Sequence[AccessItem], options: LongInvoke
) -> Operation[list[Plain | AccessError]]:
    """Values read or returned, None for what was written; an `AccessError` in place of each refused."""
    if not items:
        raise LocalProtocolError("an empty list of services")
    need(exchange, Conformance.ACCESS, "ACCESS")
    invoke = exchange.next_long_invoke() | LongInvoke.CONFIRMED | LongInvoke.HIGH_PRIORITY | options
    request = AccessRequest(invoke, tuple(items))
    answer = expected((yield from exchange.request(request.to_bytes(), invoke)), AccessResponse)
    if answer.specification is not None and answer.specification != specifications(request.items):
        raise RemoteProtocolError("an answer that describes another request")
    if [service for service, _ in answer.results] != [item.service for item in items]:
        raise RemoteProtocolError("results of other services than were asked for")
    return [
        decode_plain(datum) if result is AccessResult.SUCCESS else AccessError(result, where=_name(item))
        for (_, result), datum, item in zip(answer.results, answer.data, items, strict=True)
    ]


def _name(item: AccessItem) -> str:
    return str(item.method if isinstance(item, AccessAction) else item.attribute)

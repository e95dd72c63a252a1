"""Operations of clients, run against the logical devices of a session in the same process."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession

WPORT = 7
"""Where a device stands that is given by itself."""


def answered(
    devices: LogicalDevice | Mapping[int, LogicalDevice], *operations: Generator[bytes, bytes, Any]
) -> list[Any]:
    """Results of operations, one after the other over one connection; raises as they do."""
    session = ServerSession({WPORT: devices} if isinstance(devices, LogicalDevice) else devices)
    results = []
    for operation in operations:
        outgoing = next(operation)
        try:
            while True:
                outgoing = operation.send(session.receive(outgoing))
        except StopIteration as done:
            results.append(done.value)
    return results

"""ACTION (IEC 62056-5-3): request and response normal; lists and blocks are not in our conformance."""

from __future__ import annotations

from dataclasses import dataclass

from openami.protocols.dlms.axdr import Data, decode_at, decode_plain_at, encode
from openami.protocols.dlms.descriptors import Method
from openami.protocols.dlms.octets import Reader
from openami.protocols.dlms.results import AccessResult
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
class ActionResponse:
    """ACTION-Response-Normal: result, and what the method returned (encoded data, or why there are none)."""

    invoke: int
    result: AccessResult
    returned: bytes | AccessResult | None = None

    def to_bytes(self) -> bytes:
        """The APDU."""
        head = bytes((ACTION_RESPONSE, 1, self.invoke, self.result))
        if self.returned is None:
            return head + b"\x00"
        if isinstance(self.returned, AccessResult):
            return head + bytes((1, 1, self.returned))
        return head + b"\x01\x00" + self.returned


def read_request(reader: Reader) -> ActionRequest:
    """The ACTION request behind its tag."""
    kind, invoke = reader.u8(), reader.u8()
    if kind != 1:
        raise RemoteProtocolError(f"ACTION request of kind {kind}", where="byte 1", expected="1")
    method = Method.read(reader)
    parameter = None
    if reader.presence():
        parameter, reader.position = decode_at(reader.data, reader.position)
    reader.end()
    return ActionRequest(invoke, method, parameter)


def read_response(reader: Reader) -> ActionResponse:
    """The ACTION response behind its tag."""
    kind, invoke = reader.u8(), reader.u8()
    if kind != 1:
        raise RemoteProtocolError(f"ACTION response of kind {kind}", where="byte 1", expected="1")
    result = AccessResult.received(reader.u8())
    returned: bytes | AccessResult | None = None
    if reader.presence():
        choice = reader.u8()
        if choice == 0:
            start = reader.position
            _, reader.position = decode_plain_at(reader.data, start)
            returned = reader.data[start : reader.position]
        elif choice == 1:
            returned = AccessResult.received(reader.u8())
        else:
            raise RemoteProtocolError(f"choice {choice} of Get-Data-Result", expected="0 or 1")
    reader.end()
    return ActionResponse(invoke, result, returned)

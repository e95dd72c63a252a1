"""APDUs of an association without ciphering: one decoder by tag (IEC 62056-5-3).

    60 61 62 63  AARQ AARE RLRQ RLRE        c0 c4  GET        0f  data-notification
    01 08 0e     Initiate..., service error  c1 c5  SET        c2  event-notification
    d8           exception-response          c3 c7  ACTION     e0  general-block-transfer
                                             d9 da  ACCESS

Ciphered and signed APDUs are refused by name: what is inside is decoded once they were opened. Rule of this
file: `decode_apdu` is total; any octets give an APDU or `RemoteProtocolError`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from openami.protocols.dlms.apdus import (
    access,
    acse,
    action,
    general_block,
    get,
    initiate,
    notification,
)
from openami.protocols.dlms.apdus import set as setting
from openami.protocols.dlms.apdus.results import ServiceError, StateError
from openami.protocols.dlms.encoding.octets import Reader
from openami.quantities.errors import RemoteProtocolError

EXCEPTION_RESPONSE = 0xD8


@dataclass(frozen=True, slots=True)
class ExceptionResponse:
    """The request could not be served at all; ``invocation_counter`` comes with its own service error."""

    state: StateError
    service: ServiceError
    invocation_counter: int | None = None

    def to_bytes(self) -> bytes:
        """The APDU."""
        counter = b"" if self.invocation_counter is None else self.invocation_counter.to_bytes(4, "big")
        return bytes((EXCEPTION_RESPONSE, self.state, self.service)) + counter

    def __str__(self) -> str:
        return f"{self.state.name}, {self.service.name}".lower().replace("_", " ")


def _read_exception(reader: Reader) -> ExceptionResponse:
    state, service = reader.u8(), reader.u8()
    if state not in StateError.__members__.values() or service not in ServiceError.__members__.values():
        raise RemoteProtocolError(f"no exception-response reads {state}, {service}")
    counter = reader.u32() if service == ServiceError.INVOCATION_COUNTER_ERROR else None
    reader.end()
    return ExceptionResponse(StateError(state), ServiceError(service), counter)


Apdu: TypeAlias = (
    acse.AssociationRequest
    | acse.AssociationResponse
    | acse.ReleaseRequest
    | acse.ReleaseResponse
    | initiate.InitiateRequest
    | initiate.InitiateResponse
    | initiate.ConfirmedServiceError
    | get.GetRequest
    | get.GetRequestNext
    | get.GetRequestList
    | get.GetResponse
    | get.GetResponseBlock
    | get.GetResponseList
    | setting.SetRequests
    | setting.SetResponses
    | action.ActionRequests
    | action.ActionResponses
    | access.AccessRequest
    | access.AccessResponse
    | general_block.TransferBlock
    | notification.DataNotification
    | notification.EventNotification
    | ExceptionResponse
)

_WHOLE: dict[int, Callable[[bytes], Apdu]] = {
    acse.AARQ: acse.AssociationRequest.from_bytes,
    acse.AARE: acse.AssociationResponse.from_bytes,
    acse.RLRQ: acse.ReleaseRequest.from_bytes,
    acse.RLRE: acse.ReleaseResponse.from_bytes,
    initiate.INITIATE_REQUEST: initiate.InitiateRequest.from_bytes,
    initiate.INITIATE_RESPONSE: initiate.InitiateResponse.from_bytes,
    initiate.CONFIRMED_SERVICE_ERROR: initiate.ConfirmedServiceError.from_bytes,
}
_BEHIND_TAG: dict[int, Callable[[Reader], Apdu]] = {
    get.GET_REQUEST: get.read_request,
    get.GET_RESPONSE: get.read_response,
    setting.SET_REQUEST: setting.read_request,
    setting.SET_RESPONSE: setting.read_response,
    action.ACTION_REQUEST: action.read_request,
    action.ACTION_RESPONSE: action.read_response,
    access.ACCESS_REQUEST: access.read_request,
    access.ACCESS_RESPONSE: access.read_response,
    general_block.GENERAL_BLOCK_TRANSFER: general_block.read_block,
    notification.DATA_NOTIFICATION: notification.read_data_notification,
    notification.EVENT_NOTIFICATION: notification.read_event_notification,
    EXCEPTION_RESPONSE: _read_exception,
}
_CIPHERED = frozenset((0x21, 0x28, *range(0xC8, 0xD0), *range(0xD0, 0xD8), 0xDB, 0xDC, 0xDD, 0xDF))


def decode_apdu(data: bytes) -> Apdu:
    """The APDU of some octets.

    Raises
    ------
    RemoteProtocolError
        They are none, or one that this association has not agreed on.
    """
    if not data:
        raise RemoteProtocolError("an APDU of no octets")
    tag = data[0]
    if (whole := _WHOLE.get(tag)) is not None:
        return whole(data)
    if (read := _BEHIND_TAG.get(tag)) is not None:
        return read(Reader(data, 1))
    if tag in _CIPHERED:
        raise RemoteProtocolError(f"ciphered APDU {tag:#04x}", where="byte 0", expected="no ciphering")
    raise RemoteProtocolError(f"no APDU has the tag {tag:#04x}", where="byte 0")

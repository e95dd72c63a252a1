"""The server's side of one association: a client's wPort with a logical device.

    IDLE --AARQ accepted--> ASSOCIATED --RLRQ--> IDLE
    IDLE --AARQ rejected--> IDLE             ASSOCIATED --AARQ--> (as from IDLE)
    IDLE --anything else: exception-response, service not allowed

Rule of this file: every APDU that comes in is answered by exactly one APDU, whatever it says; nothing but
`OpenAmiError` of the meter's core is caught, and that becomes "other reason".
"""

from __future__ import annotations

from dataclasses import dataclass

from openami.protocols.dlms.acse import (
    CONTEXT_LN,
    AssociationRequest,
    AssociationResponse,
    ReleaseRequest,
    ReleaseResponse,
)
from openami.protocols.dlms.apdu import Apdu, ExceptionResponse, decode_apdu
from openami.protocols.dlms.apdu_action import ActionRequest, ActionResponse
from openami.protocols.dlms.apdu_get import (
    GetRequest,
    GetRequestList,
    GetRequestNext,
    GetResponse,
    GetResponseBlock,
    GetResponseList,
    encode_results,
)
from openami.protocols.dlms.apdu_set import (
    SetRequest,
    SetRequestBlock,
    SetRequestFirst,
    SetRequestList,
    SetResponse,
    SetResponseBlock,
    SetResponseLast,
    SetResponseList,
)
from openami.protocols.dlms.association_policy import AssociationPolicy, Mechanism
from openami.protocols.dlms.axdr import Data, decode, encode
from openami.protocols.dlms.descriptors import Attribute, Method, Selector
from openami.protocols.dlms.initiate import (
    DLMS_VERSION,
    INITIATE_CATEGORY,
    PDU_TOO_SHORT,
    SUPPORTED,
    VERSION_TOO_LOW,
    ConfirmedServiceError,
    Conformance,
    InitiateRequest,
    InitiateResponse,
)
from openami.protocols.dlms.interface_classes.association_ln import AssociationContext, AssociationLn
from openami.protocols.dlms.interface_classes.interface_object import Access, InterfaceObject
from openami.protocols.dlms.limits import MAX_PDU, MAX_REASSEMBLED, MAX_SET_VALUE, MIN_PDU
from openami.protocols.dlms.logical_device import CURRENT_ASSOCIATION, LogicalDevice
from openami.protocols.dlms.results import (
    AccessError,
    AccessResult,
    AssociationResult,
    Diagnostic,
    ServiceError,
    StateError,
)
from openami.quantities.errors import OpenAmiError, RemoteProtocolError

_GET_BLOCK_HEADER = 13
"""Octets of a GET-Response-With-Datablock besides its data, with the longest length field."""

NOT_ASSOCIATED = ExceptionResponse(StateError.SERVICE_NOT_ALLOWED, ServiceError.OPERATION_NOT_POSSIBLE)
UNKNOWN_SERVICE = ExceptionResponse(StateError.SERVICE_UNKNOWN, ServiceError.SERVICE_NOT_SUPPORTED)
PDU_TOO_LONG = ExceptionResponse(StateError.SERVICE_NOT_ALLOWED, ServiceError.PDU_TOO_LONG)


@dataclass(slots=True)
class _LongGet:
    """A GET answer that is being fetched block by block."""

    data: bytes
    sent: int
    block: int


@dataclass(slots=True)
class _LongSet:
    """A SET value that is being received block by block."""

    attribute: Attribute
    selector: Selector | None
    data: bytearray
    block: int


class ServerAssociation:
    """What the server knows of one client.

    Invariant: ``_policy`` and ``_current`` are both set (associated) or both None.

    Parameters
    ----------
    device:
        The logical device; None where nothing answers at the wPort.
    client, server:
        wPorts.
    """

    __slots__ = (
        "_client",
        "_conformance",
        "_current",
        "_device",
        "_long_get",
        "_long_set",
        "_max_send",
        "_policy",
        "_server",
    )

    def __init__(self, device: LogicalDevice | None, client: int, server: int) -> None:
        self._device = device
        self._client = client
        self._server = server
        self._policy: AssociationPolicy | None = None
        self._current: AssociationLn | None = None
        self._conformance = Conformance(0)
        self._max_send = MAX_PDU
        self._long_get: _LongGet | None = None
        self._long_set: _LongSet | None = None

    @property
    def associated(self) -> bool:
        """True between an accepted AARQ and its release."""
        return self._policy is not None

    @property
    def kept_octets(self) -> int:
        """Octets of long values under way, in either direction."""
        sending = 0 if self._long_get is None else len(self._long_get.data)
        return sending + (0 if self._long_set is None else len(self._long_set.data))

    def forget_long_values(self) -> None:
        """Give up the block transfers under way; the client is told when it asks for the next block."""
        self._long_get = self._long_set = None

    def answer(self, apdu: bytes) -> bytes:
        """The APDU that answers an APDU."""
        try:
            request = decode_apdu(apdu)
        except RemoteProtocolError:
            return (UNKNOWN_SERVICE if self.associated else NOT_ASSOCIATED).to_bytes()
        if isinstance(request, AssociationRequest):
            return self._associate(request).to_bytes()
        if self._policy is None:
            return NOT_ASSOCIATED.to_bytes()
        return self._serve(request)

    def _serve(self, request: Apdu) -> bytes:
        if not isinstance(request, GetRequestNext):
            self._long_get = None
        if not isinstance(request, SetRequestBlock):
            self._long_set = None
        match request:
            case GetRequest():
                return self._get(request)
            case GetRequestNext():
                return self._next(request).to_bytes()
            case GetRequestList():
                return self._get_list(request)
            case SetRequest():
                result = self._write(request.attribute, request.selector, request.value)
                return SetResponse(request.invoke, result).to_bytes()
            case SetRequestFirst() | SetRequestBlock():
                return self._set_block(request)
            case SetRequestList():
                results = (
                    self._write(attribute, selector, value)
                    for (attribute, selector), value in zip(request.attributes, request.values, strict=True)
                )
                return SetResponseList(request.invoke, tuple(results)).to_bytes()
            case ActionRequest():
                return self._action(request).to_bytes()
            case ReleaseRequest():
                self._leave()
                return ReleaseResponse().to_bytes()
        return UNKNOWN_SERVICE.to_bytes()

    # --- association ----------------------------------------------------------------------------------

    def _leave(self) -> None:
        self._policy = self._current = self._long_get = self._long_set = None

    def _associate(self, request: AssociationRequest) -> AssociationResponse:
        self._leave()
        try:
            proposed = InitiateRequest.from_bytes(request.user_information)
        except RemoteProtocolError:
            return _rejected(Diagnostic.NO_REASON_GIVEN, None)
        agreed = proposed.conformance & SUPPORTED
        response = InitiateResponse(agreed, MAX_PDU).to_bytes()
        policy = self._device.policy(self._client) if self._device is not None else None
        diagnostic = _diagnose(request, policy)
        if policy is None or self._device is None or diagnostic is not Diagnostic.NULL:
            return _rejected(diagnostic, response)
        if proposed.version < DLMS_VERSION:
            return _rejected(Diagnostic.NO_REASON_GIVEN, _initiate_error(VERSION_TOO_LOW))
        if 0 < proposed.max_pdu < MIN_PDU:
            return _rejected(Diagnostic.NO_REASON_GIVEN, _initiate_error(PDU_TOO_SHORT))
        self._policy = policy
        self._conformance = agreed
        self._max_send = proposed.max_pdu or MAX_PDU
        context = AssociationContext(self._client, self._server, int(agreed), MAX_PDU, self._max_send)
        self._current = AssociationLn(self._device, policy, context)
        return AssociationResponse(
            AssociationResult.ACCEPTED, Diagnostic.NULL, response, mechanism=request.mechanism
        )

    # --- access ---------------------------------------------------------------------------------------

    def _find(self, named: Attribute | Method) -> tuple[AssociationPolicy, InterfaceObject]:
        policy, device = self._policy, self._device
        if policy is None or device is None:
            raise AccessError(AccessResult.OBJECT_UNAVAILABLE, where=str(named))
        if named.logical_name == CURRENT_ASSOCIATION:
            found: InterfaceObject | None = self._current
        else:
            found = device.find(named.logical_name) if policy.sees(named.logical_name) else None
        if found is None:
            raise AccessError(AccessResult.OBJECT_UNDEFINED, where=str(named))
        if found.class_id != named.class_id:
            raise AccessError(AccessResult.OBJECT_CLASS_INCONSISTENT, where=str(named))
        return policy, found

    def _read(self, attribute: Attribute, selector: Selector | None) -> bytes | AccessResult:
        try:
            policy, found = self._find(attribute)
            if not policy.access(found.rule(attribute.index).access) & Access.READ:
                return AccessResult.READ_WRITE_DENIED
            if selector is not None and not self._conformance & Conformance.SELECTIVE_ACCESS:
                return AccessResult.SCOPE_OF_ACCESS_VIOLATED
            return found.read(attribute.index, selector)
        except AccessError as refused:
            return refused.result
        except OpenAmiError:
            return AccessResult.OTHER_REASON

    def _write(self, attribute: Attribute, selector: Selector | None, value: Data) -> AccessResult:
        try:
            policy, found = self._find(attribute)
            if not policy.access(found.rule(attribute.index).access) & Access.WRITE:
                return AccessResult.READ_WRITE_DENIED
            if selector is not None:
                return AccessResult.SCOPE_OF_ACCESS_VIOLATED
            found.write(attribute.index, value)
        except AccessError as refused:
            return refused.result
        except OpenAmiError:
            return AccessResult.OTHER_REASON
        return AccessResult.SUCCESS

    def _action(self, request: ActionRequest) -> ActionResponse:
        try:
            policy, found = self._find(request.method)
            if policy.ceiling is not Access.READ_WRITE:
                return ActionResponse(request.invoke, AccessResult.READ_WRITE_DENIED)
            returned = found.invoke(request.method.index, request.parameter)
            encoded = None if returned is None else encode(returned)
            return ActionResponse(request.invoke, AccessResult.SUCCESS, encoded)
        except AccessError as refused:
            return ActionResponse(request.invoke, refused.result)
        except OpenAmiError:
            return ActionResponse(request.invoke, AccessResult.OTHER_REASON)

    # --- GET ------------------------------------------------------------------------------------------

    def _get(self, request: GetRequest) -> bytes:
        result = self._read(request.attribute, request.selector)
        whole = GetResponse(request.invoke, result).to_bytes()
        if len(whole) <= self._max_send or isinstance(result, AccessResult):
            return whole
        return self._first_block(request.invoke, result)

    def _get_list(self, request: GetRequestList) -> bytes:
        results: list[bytes | AccessResult] = []
        size = 0
        for attribute, selector in request.attributes:
            full = size > MAX_REASSEMBLED
            result = AccessResult.OTHER_REASON if full else self._read(attribute, selector)
            size += len(result) if isinstance(result, bytes) else 0
            results.append(result)
        whole = GetResponseList(request.invoke, tuple(results)).to_bytes()
        if len(whole) <= self._max_send:
            return whole
        return self._first_block(request.invoke, encode_results(tuple(results)))

    def _first_block(self, invoke: int, data: bytes) -> bytes:
        if not self._conformance & Conformance.BLOCK_TRANSFER_GET or len(data) > MAX_REASSEMBLED:
            return GetResponse(invoke, AccessResult.OTHER_REASON).to_bytes()
        self._long_get = _LongGet(data, 0, 0)
        return self._block(invoke, self._long_get).to_bytes()

    def _next(self, request: GetRequestNext) -> GetResponseBlock:
        long = self._long_get
        if long is None:
            return GetResponseBlock(request.invoke, True, request.block, AccessResult.NO_LONG_IN_PROGRESS)
        if request.block != long.block:
            self._long_get = None
            return GetResponseBlock(
                request.invoke, True, request.block, AccessResult.DATA_BLOCK_NUMBER_INVALID
            )
        return self._block(request.invoke, long)

    def _block(self, invoke: int, long: _LongGet) -> GetResponseBlock:
        piece = long.data[long.sent : long.sent + self._max_send - _GET_BLOCK_HEADER]
        long.sent += len(piece)
        long.block += 1
        last = long.sent == len(long.data)
        if last:
            self._long_get = None
        return GetResponseBlock(invoke, last, long.block, piece)

    # --- SET in blocks --------------------------------------------------------------------------------

    def _set_block(self, request: SetRequestFirst | SetRequestBlock) -> bytes:
        if isinstance(request, SetRequestFirst):
            self._long_set = _LongSet(request.attribute, request.selector, bytearray(), 0)
        long = self._long_set
        if long is None:
            result = AccessResult.NO_LONG_SET_IN_PROGRESS
            return SetResponseLast(request.invoke, result, request.block).to_bytes()
        if request.block != long.block + 1 or len(long.data) + len(request.data) > MAX_SET_VALUE:
            self._long_set = None
            wrong = request.block != long.block + 1
            result = AccessResult.DATA_BLOCK_NUMBER_INVALID if wrong else AccessResult.LONG_SET_ABORTED
            return SetResponseLast(request.invoke, result, request.block).to_bytes()
        long.block = request.block
        long.data += request.data
        if not request.last:
            return SetResponseBlock(request.invoke, request.block).to_bytes()
        self._long_set = None
        try:
            value = decode(bytes(long.data))
        except RemoteProtocolError:
            return SetResponseLast(request.invoke, AccessResult.TYPE_UNMATCHED, request.block).to_bytes()
        result = self._write(long.attribute, long.selector, value)
        return SetResponseLast(request.invoke, result, request.block).to_bytes()


def _diagnose(request: AssociationRequest, policy: AssociationPolicy | None) -> Diagnostic:
    """Why an AARQ is rejected by the ACSE service user; NULL where it is not."""
    if policy is None:
        return Diagnostic.NO_REASON_GIVEN
    if request.context != CONTEXT_LN:
        return Diagnostic.APPLICATION_CONTEXT_NAME_NOT_SUPPORTED
    if policy.mechanism is Mechanism.NONE:
        known = request.mechanism == Mechanism.NONE
        return Diagnostic.NULL if known else Diagnostic.AUTHENTICATION_MECHANISM_NAME_NOT_RECOGNISED
    if request.mechanism == Mechanism.NONE:
        return Diagnostic.AUTHENTICATION_REQUIRED
    if request.mechanism != policy.mechanism:
        return Diagnostic.AUTHENTICATION_MECHANISM_NAME_NOT_RECOGNISED
    if request.secret is None or not policy.proves(request.secret):
        return Diagnostic.AUTHENTICATION_FAILURE
    return Diagnostic.NULL


def _rejected(diagnostic: Diagnostic, user_information: bytes | None) -> AssociationResponse:
    return AssociationResponse(AssociationResult.REJECTED_PERMANENT, diagnostic, user_information)


def _initiate_error(code: int) -> bytes:
    return ConfirmedServiceError(1, INITIATE_CATEGORY, code).to_bytes()

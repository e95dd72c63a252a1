"""What a server does for an associated client: GET, SET and ACTION (IEC 62056-5-3).

Rule of this file: a request is answered by exactly one APDU, whatever it says; nothing but `OpenAmiError` of
the meter's core is caught, and that becomes "other reason".
"""

from __future__ import annotations

from dataclasses import dataclass

from openami.protocols.dlms.apdu import Apdu, ExceptionResponse
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
from openami.protocols.dlms.association_policy import AssociationPolicy
from openami.protocols.dlms.axdr import Data, decode, encode
from openami.protocols.dlms.descriptors import Attribute, Method, Selector
from openami.protocols.dlms.initiate import Conformance
from openami.protocols.dlms.interface_classes.association_ln import AssociationContext, AssociationLn
from openami.protocols.dlms.interface_classes.interface_object import Access, InterfaceObject
from openami.protocols.dlms.limits import MAX_REASSEMBLED, MAX_SET_VALUE
from openami.protocols.dlms.logical_device import CURRENT_ASSOCIATION, LogicalDevice
from openami.protocols.dlms.results import AccessError, AccessResult, ServiceError, StateError
from openami.quantities.errors import OpenAmiError, RemoteProtocolError

_GET_BLOCK_HEADER = 13
"""Octets of a GET-Response-With-Datablock besides its data, with the longest length field."""

UNKNOWN_SERVICE = ExceptionResponse(StateError.SERVICE_UNKNOWN, ServiceError.SERVICE_NOT_SUPPORTED)


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


class ServerServices:
    """The services of one association.

    Parameters
    ----------
    device:
        The logical device.
    policy:
        What the client may do.
    context:
        What was agreed on.
    largest_answer:
        Octets of an answer before it is protected; longer ones go in blocks.
    """

    __slots__ = ("_conformance", "_current", "_device", "_long_get", "_long_set", "_max_send", "_policy")

    def __init__(
        self,
        device: LogicalDevice,
        policy: AssociationPolicy,
        context: AssociationContext,
        largest_answer: int,
    ) -> None:
        self._device = device
        self._policy = policy
        self._conformance = Conformance(context.conformance)
        self._max_send = largest_answer
        self._current = AssociationLn(device, policy, context)
        self._long_get: _LongGet | None = None
        self._long_set: _LongSet | None = None

    @property
    def kept_octets(self) -> int:
        """Octets of long values under way, in either direction."""
        sending = 0 if self._long_get is None else len(self._long_get.data)
        return sending + (0 if self._long_set is None else len(self._long_set.data))

    def forget_long_values(self) -> None:
        """Give up the block transfers under way; the client is told when it asks for the next block."""
        self._long_get = self._long_set = None

    def serve(self, request: Apdu) -> bytes:
        """The APDU that answers a request."""
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
        return UNKNOWN_SERVICE.to_bytes()

    # --- access ---------------------------------------------------------------------------------------

    def _find(self, named: Attribute | Method) -> InterfaceObject:
        if named.logical_name == CURRENT_ASSOCIATION:
            found: InterfaceObject | None = self._current
        else:
            seen = self._policy.sees(named.logical_name)
            found = self._device.find(named.logical_name) if seen else None
        if found is None:
            raise AccessError(AccessResult.OBJECT_UNDEFINED, where=str(named))
        if found.class_id != named.class_id:
            raise AccessError(AccessResult.OBJECT_CLASS_INCONSISTENT, where=str(named))
        return found

    def _read(self, attribute: Attribute, selector: Selector | None) -> bytes | AccessResult:
        try:
            found = self._find(attribute)
            if not self._policy.access(found.rule(attribute.index).access) & Access.READ:
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
            found = self._find(attribute)
            if not self._policy.access(found.rule(attribute.index).access) & Access.WRITE:
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
            found = self._find(request.method)
            if self._policy.ceiling is not Access.READ_WRITE:
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

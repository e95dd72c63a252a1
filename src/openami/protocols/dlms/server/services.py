"""What a server does for an associated client: GET, SET, ACTION and ACCESS (IEC 62056-5-3).

    GET, SET, ACTION   one, a list, either in blocks    what was not agreed on is refused: exception-response,
    ACCESS             a list of the three, in order    service not allowed, not supported

Rule of this file: a request is answered by exactly one APDU, whatever it says, an unconfirmed one by none;
nothing but `OpenAmiError` of the meter's core is caught, and that becomes "other reason".
"""

from __future__ import annotations

from openami.protocols.dlms.apdus.access import (
    AccessAction,
    AccessGet,
    AccessItem,
    AccessRequest,
    AccessResponse,
    AccessSet,
    LongInvoke,
    specifications,
)
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
    encode_action_results,
    read_parameters,
)
from openami.protocols.dlms.apdus.apdu import Apdu, ExceptionResponse
from openami.protocols.dlms.apdus.descriptors import Attribute, Method, Selector
from openami.protocols.dlms.apdus.get import (
    GetRequest,
    GetRequestList,
    GetRequestNext,
    GetResponse,
    GetResponseBlock,
    GetResponseList,
    encode_results,
)
from openami.protocols.dlms.apdus.initiate import Conformance, includes
from openami.protocols.dlms.apdus.long_value import (
    BLOCK_HEADER,
    FirstPiece,
    FurtherPiece,
    LongAnswer,
    LongRequest,
    Service,
    Taken,
    same_request,
)
from openami.protocols.dlms.apdus.results import AccessError, AccessResult, ServiceError, StateError
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
    read_values,
)
from openami.protocols.dlms.encoding.axdr import NULL, Data, decode, encode
from openami.protocols.dlms.encoding.limits import MAX_REASSEMBLED
from openami.protocols.dlms.encoding.octets import Reader, encode_length
from openami.protocols.dlms.interface_classes.association_ln import AssociationContext, association_object
from openami.protocols.dlms.interface_classes.interface_object import Access, InterfaceObject
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.logical_device import CURRENT_ASSOCIATION, LogicalDevice
from openami.quantities.errors import OpenAmiError, RemoteProtocolError

UNKNOWN_SERVICE = ExceptionResponse(StateError.SERVICE_UNKNOWN, ServiceError.SERVICE_NOT_SUPPORTED)
NOT_AGREED = ExceptionResponse(StateError.SERVICE_NOT_ALLOWED, ServiceError.SERVICE_NOT_SUPPORTED)
TOO_LONG = ExceptionResponse(StateError.SERVICE_NOT_ALLOWED, ServiceError.PDU_TOO_LONG)

_GET, _SET, _ACTION = Conformance.GET, Conformance.SET, Conformance.ACTION
_LISTS = Conformance.MULTIPLE_REFERENCES
_SET_BLOCKS, _ACTION_BLOCKS = Conformance.BLOCK_TRANSFER_SET, Conformance.BLOCK_TRANSFER_ACTION
_NEEDED: dict[type, Conformance] = {
    GetRequest: _GET,
    GetRequestNext: _GET | Conformance.BLOCK_TRANSFER_GET,
    GetRequestList: _GET | _LISTS,
    SetRequest: _SET,
    SetRequestFirst: _SET | _SET_BLOCKS,
    SetRequestBlock: _SET | _SET_BLOCKS,
    SetRequestList: _SET | _LISTS,
    SetRequestListFirst: _SET | _SET_BLOCKS | _LISTS,
    ActionRequest: _ACTION,
    ActionRequestNext: _ACTION | _ACTION_BLOCKS,
    ActionRequestFirst: _ACTION | _ACTION_BLOCKS,
    ActionRequestBlock: _ACTION | _ACTION_BLOCKS,
    ActionRequestList: _ACTION | _LISTS,
    ActionRequestListFirst: _ACTION | _ACTION_BLOCKS | _LISTS,
    AccessRequest: Conformance.ACCESS,
}
"""What must have been agreed on for a request to be served."""

_CONFIRMED = 0x40
_NOTHING = encode(NULL)


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
        Octets of an answer before it is protected; longer ones go in blocks of their service.
    largest_in_general_blocks:
        The same where a general-block-transfer carries the answer. It is used for what has no blocks of its
        own: some clients (dlms-cosem 21.3.2) propose it and cannot read it, but do know the blocks of GET.
    """

    __slots__ = (
        "_answer", "_conformance", "_current", "_device", "_largest", "_max_send", "_policy", "_request"
    )  # fmt: skip

    def __init__(
        self,
        device: LogicalDevice,
        policy: AssociationPolicy,
        context: AssociationContext,
        largest_answer: int,
        largest_in_general_blocks: int,
    ) -> None:
        self._device = device
        self._policy = policy
        self._conformance = context.conformance
        self._max_send = largest_answer
        general = includes(context.conformance, Conformance.GENERAL_BLOCK_TRANSFER)
        self._largest = largest_in_general_blocks if general else largest_answer
        self._current = association_object(device, policy, context)
        self._answer: LongAnswer | None = None
        self._request: LongRequest | None = None

    @property
    def kept_octets(self) -> int:
        """Octets of long values under way, in either direction."""
        sending = 0 if self._answer is None else len(self._answer.data)
        return sending + (0 if self._request is None else len(self._request.data))

    def forget_long_values(self) -> None:
        """Give up the block transfers under way; the client is told when it asks for the next block."""
        self._answer = self._request = None

    def serve(self, request: Apdu) -> bytes | None:
        """The APDU that answers a request; None where it asks for none."""
        if not isinstance(request, GetRequestNext | ActionRequestNext):
            self._answer = None
        if not isinstance(request, SetRequestBlock | ActionRequestBlock):
            self._request = None
        needed = _NEEDED.get(type(request))
        if needed is None:
            return UNKNOWN_SERVICE.to_bytes()
        if not includes(self._conformance, needed):
            answer = NOT_AGREED.to_bytes()
        elif _least_answer(request) > self._largest:
            answer = TOO_LONG.to_bytes()  # before anything is done that could not be told
        else:
            answer = self._serve(request)
        return answer if asks_for_an_answer(request) else None

    def _fits(self, answer: bytes, blocks: Conformance) -> bool:
        """True where an answer goes as it is: it is short, or only general blocks were agreed on."""
        return len(answer) <= (self._max_send if includes(self._conformance, blocks) else self._largest)

    def _serve(self, request: Apdu) -> bytes:
        match request:
            case GetRequest():
                return self._get(request)
            case GetRequestList():
                return self._get_list(request)
            case GetRequestNext():
                return self._next_of_get(request).to_bytes()
            case SetRequest():
                result = self._write(request.attribute, request.selector, request.value)
                return SetResponse(request.invoke, result).to_bytes()
            case SetRequestList():
                results = self._write_all(request.attributes, request.values)
                return SetResponseList(request.invoke, results).to_bytes()
            case SetRequestFirst() | SetRequestListFirst() | ActionRequestFirst() | ActionRequestListFirst():
                self._request = LongRequest.begun(request)
                return self._piece(request)
            case SetRequestBlock() | ActionRequestBlock():
                return self._piece(request)
            case ActionRequest():
                result_ = self._act(request.method, request.parameter)
                return self._acted(request.invoke, result_)
            case ActionRequestList():
                return self._acted_all(request.invoke, request.methods, request.parameters)
            case ActionRequestNext():
                return self._next_of_action(request)
            case AccessRequest():
                return self._access(request)
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

    def _granted(self, found: InterfaceObject, index: int) -> Access:
        return self._policy.granted(found.logical_name, index, found.rule(index).access)

    def _read(self, attribute: Attribute, selector: Selector | None) -> bytes | AccessResult:
        try:
            found = self._find(attribute)
            if not self._granted(found, attribute.index) & Access.READ:
                return AccessResult.READ_WRITE_DENIED
            if selector is not None and not includes(self._conformance, Conformance.SELECTIVE_ACCESS):
                return AccessResult.SCOPE_OF_ACCESS_VIOLATED
            return found.read(attribute.index, selector)
        except AccessError as refused:
            return refused.result
        except OpenAmiError:
            return AccessResult.OTHER_REASON

    def _write(self, attribute: Attribute, selector: Selector | None, value: Data) -> AccessResult:
        try:
            found = self._find(attribute)
            if not self._granted(found, attribute.index) & Access.WRITE:
                return AccessResult.READ_WRITE_DENIED
            if selector is not None:
                return AccessResult.SCOPE_OF_ACCESS_VIOLATED
            found.write(attribute.index, value)
            self._device.written(found.class_id, found.logical_name, attribute.index)
        except AccessError as refused:
            return refused.result
        except OpenAmiError:
            return AccessResult.OTHER_REASON
        return AccessResult.SUCCESS

    def _write_all(
        self, attributes: tuple[tuple[Attribute, Selector | None], ...], values: tuple[Data, ...]
    ) -> tuple[AccessResult, ...]:
        return tuple(
            self._write(attribute, selector, value)
            for (attribute, selector), value in zip(attributes, values, strict=True)
        )

    def _act(self, method: Method, parameter: Data | None) -> ActionResult:
        try:
            found = self._find(method)
            if not self._policy.may_invoke(found.logical_name, method.index):
                return ActionResult(AccessResult.READ_WRITE_DENIED)
            returned = found.invoke(method.index, parameter)
            return ActionResult(AccessResult.SUCCESS, None if returned is None else encode(returned))
        except AccessError as refused:
            return ActionResult(refused.result)
        except OpenAmiError:
            return ActionResult(AccessResult.OTHER_REASON)

    # --- GET ------------------------------------------------------------------------------------------

    def _get(self, request: GetRequest) -> bytes:
        result = self._read(request.attribute, request.selector)
        whole = GetResponse(request.invoke, result).to_bytes()
        if isinstance(result, AccessResult) or self._fits(whole, Conformance.BLOCK_TRANSFER_GET):
            return whole
        return self._first_of_get(request.invoke, result)

    def _get_list(self, request: GetRequestList) -> bytes:
        results: list[bytes | AccessResult] = []
        size = 0
        for attribute, selector in request.attributes:
            full = size > MAX_REASSEMBLED
            result = AccessResult.OTHER_REASON if full else self._read(attribute, selector)
            size += len(result) if isinstance(result, bytes) else 0
            results.append(result)
        whole = GetResponseList(request.invoke, tuple(results)).to_bytes()
        if self._fits(whole, Conformance.BLOCK_TRANSFER_GET):
            return whole
        return self._first_of_get(request.invoke, encode_results(tuple(results)))

    def _first_of_get(self, invoke: int, data: bytes) -> bytes:
        if not includes(self._conformance, Conformance.BLOCK_TRANSFER_GET) or len(data) > MAX_REASSEMBLED:
            return GetResponse(invoke, AccessResult.OTHER_REASON).to_bytes()
        self._answer = LongAnswer(Service.GET, invoke, data)
        return GetResponseBlock(invoke, *self._next_piece(self._answer)).to_bytes()

    def _next_of_get(self, request: GetRequestNext) -> GetResponseBlock:
        long = self._answer
        if long is None or not long.belongs(Service.GET, request.invoke):
            self._answer = None
            return GetResponseBlock(request.invoke, True, request.block, AccessResult.NO_LONG_IN_PROGRESS)
        if request.block != long.block:
            self._answer = None
            return GetResponseBlock(
                request.invoke, True, request.block, AccessResult.DATA_BLOCK_NUMBER_INVALID
            )
        return GetResponseBlock(request.invoke, *self._next_piece(long))

    def _next_piece(self, long: LongAnswer) -> tuple[bool, int, bytes]:
        last, block, piece = long.next_piece(self._max_send - BLOCK_HEADER)
        if last:
            self._answer = None
        return last, block, piece

    # --- SET and ACTION in blocks ---------------------------------------------------------------------

    def _piece(self, piece: FirstPiece | FurtherPiece) -> bytes:
        """Take a block of a request; the last one is answered as the whole request is."""
        long = self._request
        sets = isinstance(piece, SetRequestFirst | SetRequestListFirst | SetRequestBlock)
        if (
            long is None
            or isinstance(long.first, SetRequestFirst | SetRequestListFirst) is not sets
            or not same_request(piece.invoke, long.first.invoke)
        ):
            self._request = None
            if sets:
                result = AccessResult.NO_LONG_SET_IN_PROGRESS
                return SetResponseLast(piece.invoke, result, piece.block).to_bytes()
            return ActionResponse(piece.invoke, AccessResult.NO_LONG_IN_PROGRESS).to_bytes()
        taken = long.take(piece)
        if taken is Taken.MORE:
            answer = SetResponseBlock if sets else ActionResponseNext
            return answer(piece.invoke, piece.block).to_bytes()
        self._request = None
        if not sets:
            if taken is not Taken.WHOLE:
                return ActionResponse(piece.invoke, AccessResult.LONG_ABORTED).to_bytes()
            return self._long_action(long, piece.invoke)
        if taken is Taken.WHOLE:
            return self._long_set(long, piece.invoke, piece.block)
        wrong = taken is Taken.OUT_OF_TURN
        failure = AccessResult.DATA_BLOCK_NUMBER_INVALID if wrong else AccessResult.LONG_SET_ABORTED
        return _set_failed(long, piece.invoke, piece.block, failure)

    def _long_set(self, long: LongRequest, invoke: int, block: int) -> bytes:
        first = long.first
        try:
            if isinstance(first, SetRequestListFirst):
                reader = Reader(bytes(long.data))
                values = read_values(reader)
                reader.end()
                if len(values) != len(first.attributes):
                    raise RemoteProtocolError(f"{len(values)} values")
                results = self._write_all(first.attributes, values)
                return SetResponseLastList(invoke, results, block).to_bytes()
            if isinstance(first, SetRequestFirst):
                result = self._write(first.attribute, first.selector, decode(bytes(long.data)))
                return SetResponseLast(invoke, result, block).to_bytes()
        except RemoteProtocolError:
            pass
        return _set_failed(long, invoke, block, AccessResult.TYPE_UNMATCHED)

    def _long_action(self, long: LongRequest, invoke: int) -> bytes:
        first = long.first
        try:
            if isinstance(first, ActionRequestListFirst):
                reader = Reader(bytes(long.data))
                parameters = read_parameters(reader)
                reader.end()
                if len(parameters) != len(first.methods):
                    raise RemoteProtocolError(f"{len(parameters)} parameters")
                return self._acted_all(invoke, first.methods, parameters)
            if isinstance(first, ActionRequestFirst):
                return self._acted(invoke, self._act(first.method, decode(bytes(long.data))))
        except RemoteProtocolError:
            pass
        return ActionResponse(invoke, AccessResult.TYPE_UNMATCHED).to_bytes()

    # --- ACTION ---------------------------------------------------------------------------------------

    def _acted(self, invoke: int, result: ActionResult) -> bytes:
        whole = ActionResponse(invoke, result.result, result.returned).to_bytes()
        if self._fits(whole, _ACTION_BLOCKS):
            return whole
        return self._first_of_action(invoke, result.to_bytes())

    def _acted_all(self, invoke: int, methods: tuple[Method, ...], parameters: tuple[Data, ...]) -> bytes:
        results: list[ActionResult] = []
        size = 0
        for method, parameter in zip(methods, parameters, strict=True):
            full = size > MAX_REASSEMBLED
            result = ActionResult(AccessResult.OTHER_REASON) if full else self._act(method, parameter)
            size += len(result.returned) if isinstance(result.returned, bytes) else 0
            results.append(result)
        whole = ActionResponseList(invoke, tuple(results)).to_bytes()
        if self._fits(whole, _ACTION_BLOCKS):
            return whole
        return self._first_of_action(invoke, encode_action_results(tuple(results)))

    def _first_of_action(self, invoke: int, data: bytes) -> bytes:
        if not includes(self._conformance, Conformance.BLOCK_TRANSFER_ACTION) or len(data) > MAX_REASSEMBLED:
            return ActionResponse(invoke, AccessResult.OTHER_REASON).to_bytes()
        self._answer = LongAnswer(Service.ACTION, invoke, data)
        return ActionResponseBlock(invoke, *self._next_piece(self._answer)).to_bytes()

    def _next_of_action(self, request: ActionRequestNext) -> bytes:
        long = self._answer
        if long is None or not long.belongs(Service.ACTION, request.invoke):
            self._answer = None
            return ActionResponse(request.invoke, AccessResult.NO_LONG_IN_PROGRESS).to_bytes()
        if request.block != long.block:
            self._answer = None
            return ActionResponse(request.invoke, AccessResult.LONG_ABORTED).to_bytes()
        return ActionResponseBlock(request.invoke, *self._next_piece(long)).to_bytes()

    # --- ACCESS ---------------------------------------------------------------------------------------

    def _access(self, request: AccessRequest) -> bytes:
        """Do one after the other; after an error no more where the request says so.

        What is not done any more has the result "other reason". ACCESS has no blocks of its own: an answer
        that is too long loses its data, which the results say; what was written or run stays told.
        """
        data: list[bytes] = []
        results: list[tuple[int, AccessResult]] = []
        size = 0
        stopped = False
        for item in request.items:
            full = stopped or size > MAX_REASSEMBLED
            datum, result = (_NOTHING, AccessResult.OTHER_REASON) if full else self._do(item)
            size += len(datum)
            stopped = stopped or (
                bool(request.long_invoke & LongInvoke.BREAK_ON_ERROR) and result is not AccessResult.SUCCESS
            )
            data.append(datum)
            results.append((item.service, result))
        described = None
        if request.long_invoke & LongInvoke.SELF_DESCRIPTIVE:
            described = specifications(request.items)
        whole = AccessResponse(request.long_invoke, tuple(data), tuple(results), b"", described).to_bytes()
        if len(whole) <= self._largest:
            return whole
        kept = tuple(
            (service, AccessResult.OTHER_REASON if datum != _NOTHING else result)
            for (service, result), datum in zip(results, data, strict=True)
        )
        short = AccessResponse(request.long_invoke, (_NOTHING,) * len(kept), kept).to_bytes()
        return short if len(short) <= self._largest else TOO_LONG.to_bytes()

    def _do(self, item: AccessItem) -> tuple[bytes, AccessResult]:
        """Data and result of one specification."""
        match item:
            case AccessGet():
                read = self._read(item.attribute, item.selector)
                return (read, AccessResult.SUCCESS) if isinstance(read, bytes) else (_NOTHING, read)
            case AccessSet():
                return _NOTHING, self._write(item.attribute, item.selector, item.value)
            case AccessAction():
                acted = self._act(item.method, item.parameter)
                returned = acted.returned
                return (returned if isinstance(returned, bytes) else _NOTHING), acted.result


def asks_for_an_answer(request: Apdu) -> bool:
    """False for an unconfirmed SET, ACTION or ACCESS."""
    if isinstance(request, AccessRequest):
        return bool(request.long_invoke & LongInvoke.CONFIRMED)
    if isinstance(request, SetRequest | SetRequestList | ActionRequest | ActionRequestList):
        return bool(request.invoke & _CONFIRMED)
    return True


def _least_answer(request: Apdu) -> int:
    """Octets of the shortest answer to a list, where it has no blocks of its own; 0 for other requests."""
    match request:
        case SetRequestList() | SetRequestListFirst():
            count = len(request.attributes)
            further = 4 if isinstance(request, SetRequestListFirst) else 0
            return 3 + len(encode_length(count)) + count + further
        case AccessRequest():
            count = len(request.items)
            return 7 + 2 * len(encode_length(count)) + 3 * count
    return 0


def _set_failed(long: LongRequest, invoke: int, block: int, result: AccessResult) -> bytes:
    """The answer to the block at which a SET in blocks failed."""
    if isinstance(long.first, SetRequestListFirst):
        return SetResponseLastList(invoke, (result,) * len(long.first.attributes), block).to_bytes()
    return SetResponseLast(invoke, result, block).to_bytes()

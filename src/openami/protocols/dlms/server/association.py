"""The server's side of one association: a client's wPort with a logical device.

    IDLE ----------AARQ accepted (none, low)-------------> ASSOCIATED --RLRQ--> IDLE
    IDLE --AARQ with a challenge--> CHALLENGED --its answer--> ASSOCIATED
                                    CHALLENGED --anything else, or a wrong answer--> IDLE
    IDLE --AARQ rejected--> IDLE    ASSOCIATED --AARQ--> (as from IDLE)
    IDLE --anything else: exception-response, service not allowed

IEC 62056-5-3 clauses 5.2 and 7.2. Rules of this file: every APDU that comes in is answered, whatever it says,
but for the cases that `ServerAssociation.answer` names; and where protection was agreed on, nothing
unprotected is served.
"""

from __future__ import annotations

from dataclasses import replace

from openami.protocols.dlms.apdus.acse import (
    AARE,
    AARQ,
    RLRE,
    RLRQ,
    AssociationRequest,
    ReleaseRequest,
    ReleaseResponse,
)
from openami.protocols.dlms.apdus.action import ActionRequest, ActionResponse
from openami.protocols.dlms.apdus.apdu import EXCEPTION_RESPONSE, Apdu, ExceptionResponse, decode_apdu
from openami.protocols.dlms.apdus.block_transfer import ABORT, BlockTransfer
from openami.protocols.dlms.apdus.general_block import GENERAL_BLOCK_TRANSFER, read_block
from openami.protocols.dlms.apdus.get import GET_REQUEST, GetRequest, GetRequestList, GetRequestNext
from openami.protocols.dlms.apdus.initiate import (
    SUPPORTED,
    Conformance,
    InitiateRequest,
    InitiateResponse,
    includes,
)
from openami.protocols.dlms.apdus.notification import DataNotification, EventNotification
from openami.protocols.dlms.apdus.results import (
    AccessResult,
    ServiceError,
    StateError,
)
from openami.protocols.dlms.encoding.axdr import Data, Tag, encode
from openami.protocols.dlms.encoding.limits import (
    DEFAULT_WINDOW,
    MAX_PDU,
    MAX_REQUEST,
)
from openami.protocols.dlms.encoding.octets import Reader
from openami.protocols.dlms.interface_classes.association_ln import AssociationContext
from openami.protocols.dlms.protection.ciphered_apdu import CIPHERED_TAGS, Form
from openami.protocols.dlms.protection.ciphering import Cipher, CounterUsedError
from openami.protocols.dlms.protection.general_ciphering import GENERAL_CIPHERING
from openami.protocols.dlms.protection.general_signing import GENERAL_SIGNING
from openami.protocols.dlms.protection.message_protection import (
    PROTECTED_TAGS,
    Manner,
    MessageProtection,
    Signing,
)
from openami.protocols.dlms.server.associating import (
    Challenged,
    Opened,
    counter_error,
    observe,
    open_association,
)
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.device_security import Attack
from openami.protocols.dlms.server.logical_device import CURRENT_ASSOCIATION, LogicalDevice
from openami.protocols.dlms.server.notifications import protected
from openami.protocols.dlms.server.services import (
    NOT_AGREED,
    TOO_LONG,
    UNKNOWN_SERVICE,
    ServerServices,
    asks_for_an_answer,
)
from openami.quantities.errors import (
    LocalProtocolError,
    ProtectionError,
    RemoteProtocolError,
    SecurityError,
)

NOT_ASSOCIATED = ExceptionResponse(StateError.SERVICE_NOT_ALLOWED, ServiceError.OPERATION_NOT_POSSIBLE)
NOT_DECIPHERED = ExceptionResponse(StateError.SERVICE_NOT_ALLOWED, ServiceError.DECIPHERING_ERROR)
_GENERAL = frozenset((GENERAL_CIPHERING, GENERAL_SIGNING))
_ACSE = frozenset((AARQ, AARE, RLRQ, RLRE))
_BLOCK = bytes((GENERAL_BLOCK_TRANSFER,))
_DONE_AGAIN = (bytes((GET_REQUEST,)),)
"""Requests that change nothing. Said again in a block, they are served anew: the same octets may be the next
request of a client that never changes its invoke id, and an answer of before would be a wrong value. Of all
others the answer is repeated: what they do is done once."""
_ASSOCIATION_CLASS = 15
_REPLY_TO_CHALLENGE = 1


class ServerAssociation:
    """What the server knows of one client.

    Invariant: at most one of ``_services`` (associated) and ``_challenged`` is set.

    Parameters
    ----------
    device:
        The logical device; None where nothing answers at the wPort.
    client, server:
        wPorts.
    max_send:
        Largest APDU that the transport carries.
    """

    __slots__ = (
        "_challenged", "_cipher", "_client", "_context", "_device", "_layers", "_max_send", "_policy",
        "_server", "_services", "_transfer", "_unconfirmed",
    )  # fmt: skip

    def __init__(
        self, device: LogicalDevice | None, client: int, server: int, max_send: int = MAX_PDU
    ) -> None:
        self._device = device
        self._max_send = max_send
        self._client = client
        self._server = server
        self._services: ServerServices | None = None
        self._challenged: Challenged | None = None
        self._cipher: Cipher | None = None
        self._layers: MessageProtection | None = None
        self._policy: AssociationPolicy | None = None
        self._context: AssociationContext | None = None
        self._transfer: BlockTransfer | None = None
        self._unconfirmed = False

    @property
    def associated(self) -> bool:
        """True between an accepted AARQ and its release, also while a challenge is not yet answered."""
        return self._services is not None or self._challenged is not None

    @property
    def kept_octets(self) -> int:
        """Octets of long values under way, in either direction."""
        blocks = 0 if self._transfer is None else self._transfer.kept_octets
        return blocks + (0 if self._services is None else self._services.kept_octets)

    def forget_long_values(self) -> None:
        """Give up the block transfers under way; the client is told when it asks for the next block."""
        self._transfer = None
        if self._services is not None:
            self._services.forget_long_values()

    def answer(self, apdu: bytes) -> list[bytes]:
        """The APDUs that answer an APDU, to be sent in this order.

        One, as a rule; several where an answer is streamed in blocks (general-block-transfer); none where
        nothing is to be said: to a block inside a window, to the acknowledgement of the last block, to an
        unconfirmed request, to an AARQ that allows no response. None but those of ACSE is longer than the
        client takes.
        """
        try:
            if apdu[:1] == _BLOCK:
                return self._answer_block(apdu)
            self._transfer = None
            if self._policy is not None and len(apdu) > self._policy.max_pdu and apdu[0] not in _ACSE:
                return [TOO_LONG.to_bytes()]
            answer = self._answer(apdu)
            if answer is None:
                return []
            if self._context is None or len(answer) <= self._context.max_send or answer[0] in _ACSE:
                return [answer]
            if not self._agreed_on_blocks:
                return [TOO_LONG.to_bytes()]
            self._transfer = transfer = self._new_transfer(self._context)
            transfer.heard_plain()
            return transfer.send(answer)
        except SecurityError:  # our own counters are used up: nothing can be protected any more
            self._leave()
            return [NOT_ASSOCIATED.to_bytes()]

    def notify(self, notification: DataNotification | EventNotification) -> bytes:
        """The APDU of a notification inside the association, protected as its services are.

        Raises
        ------
        LocalProtocolError
            The client did not agree on it, it is longer than the client takes, or there is no association.
        """
        context, policy, layers = self._context, self._policy, self._layers
        needed = Conformance.EVENT_NOTIFICATION
        if isinstance(notification, DataNotification):
            needed = Conformance.DATA_NOTIFICATION
        if (
            self._services is None
            or context is None
            or policy is None
            or not includes(context.conformance, needed)
        ):
            raise LocalProtocolError("a notification that the client did not agree on")
        apdu = notification.to_bytes()
        if layers is not None and policy.accepted.anything:
            form = Form.GENERAL_GLOBAL if policy.protection else None
            signed = policy.signing is Signing.REQUIRED
            apdu = protected(apdu, layers, Manner(policy.protection, form, None, signed))
        if len(apdu) > context.max_send:
            raise LocalProtocolError(
                f"a notification of {len(apdu)} octets", expected=f"at most {context.max_send}"
            )
        return apdu

    # --- general-block-transfer -----------------------------------------------------------------------

    @property
    def _agreed_on_blocks(self) -> bool:
        agreed = 0 if self._context is None else self._context.conformance
        return self._services is not None and includes(agreed, Conformance.GENERAL_BLOCK_TRANSFER)

    def _new_transfer(self, context: AssociationContext) -> BlockTransfer:
        window = DEFAULT_WINDOW if self._policy is None else self._policy.window
        return BlockTransfer(window, context.max_send, MAX_REQUEST)

    def _answer_block(self, apdu: bytes) -> list[bytes]:
        """The turn that a block leads to; a transfer that goes wrong is aborted, the association stays."""
        context, transfer = self._context, self._transfer
        if context is None or not self._agreed_on_blocks:
            return [(NOT_AGREED if self.associated else NOT_ASSOCIATED).to_bytes()]
        try:
            block = read_block(Reader(apdu, 1))
            if transfer is not None and transfer.repeats(block) and block.data[:1] not in _DONE_AGAIN:
                return transfer.repeated()
            if transfer is None or transfer.begins_anew(block):
                if block.number != 1 or not block.data:
                    return [] if block == ABORT else [ABORT.to_bytes()]
                self._transfer = transfer = self._new_transfer(context)
            step = transfer.receive(block)
        except RemoteProtocolError:
            self._transfer = None
            return [ABORT.to_bytes()]
        if step.message is None:
            return step.apdus
        if step.message[0] in _ACSE:
            answer: bytes | None = UNKNOWN_SERVICE.to_bytes()
        else:
            answer = self._answer(step.message)
        if answer is None:
            return []
        try:
            return transfer.send(answer)
        except LocalProtocolError:  # the request took the numbers that the answer would need
            self._transfer = None
            return [ABORT.to_bytes()]

    # --- one APDU -------------------------------------------------------------------------------------

    def _answer(self, apdu: bytes) -> bytes | None:
        if apdu and apdu[0] in PROTECTED_TAGS:
            return self._answer_protected(apdu)
        try:
            request = decode_apdu(apdu)
        except RemoteProtocolError:
            return (UNKNOWN_SERVICE if self.associated else NOT_ASSOCIATED).to_bytes()
        if isinstance(request, AssociationRequest):
            return self._associate(request)
        if isinstance(request, ReleaseRequest) and self.associated:
            return self._release(request)
        if self._policy is not None and self._policy.accepted.anything:
            self._observe(Attack.DOWNGRADE, f"{type(request).__name__} without protection")
            return NOT_ASSOCIATED.to_bytes()
        return self._serve(request)

    def _answer_protected(self, apdu: bytes) -> bytes | None:
        layers, policy, context = self._layers, self._policy, self._context
        if layers is None or policy is None or context is None:
            return NOT_ASSOCIATED.to_bytes()
        if apdu[0] in _GENERAL and not includes(context.conformance, Conformance.GENERAL_PROTECTION):
            return NOT_AGREED.to_bytes()
        try:
            plain, manner = layers.open(apdu, policy.accepted)
            request = decode_apdu(plain)
        except CounterUsedError as used:
            self._observe(Attack.REPLAY, str(used))
            return counter_error(used)
        except ProtectionError as error:
            self._observe(Attack.WRONG_TAG, str(error))
            return NOT_DECIPHERED.to_bytes()
        except RemoteProtocolError:
            return UNKNOWN_SERVICE.to_bytes()
        if not isinstance(request, GetRequest | GetRequestNext | GetRequestList):
            layers.cipher.received.persist()  # what is done cannot be undone, nor may it be done again
        answer = self._serve(request)
        if answer is None or answer[0] == EXCEPTION_RESPONSE:
            return answer
        if not manner.level.covers(policy.protection):
            manner = replace(manner, level=manner.level | policy.protection)
        return layers.seal(answer, manner)

    def _serve(self, request: Apdu) -> bytes | None:
        if self._challenged is not None:
            return self._hear_proof(self._challenged, request)
        services = self._services or self._pre_established()
        if services is None:
            return NOT_ASSOCIATED.to_bytes()
        if self._unconfirmed and asks_for_an_answer(request):
            return NOT_AGREED.to_bytes()
        return services.serve(request)

    def _pre_established(self) -> ServerServices | None:
        """The services of a client that need not associate; they begin with its first request."""
        policy = None if self._device is None else self._device.policy(self._client)
        if self._device is None or policy is None or not policy.pre_established:
            return None
        largest = self._max_send
        context = AssociationContext(self._client, self._server, int(SUPPORTED), policy.max_pdu, largest)
        self._services = ServerServices(self._device, policy, context, largest, largest)
        self._policy, self._context = policy, context
        return self._services

    # --- association ----------------------------------------------------------------------------------

    def _leave(self) -> None:
        if self._cipher is not None:
            self._cipher.received.persist()
        self._services = self._challenged = self._cipher = self._policy = None
        self._context = self._transfer = self._layers = None
        self._unconfirmed = False

    def _release(self, request: ReleaseRequest) -> bytes:
        """Leave, where the RLRQ is protected as it must be; what protects it is always verified."""
        policy, cipher, information = self._policy, self._cipher, request.user_information or b""
        protected = information[:1] != b"" and information[0] in CIPHERED_TAGS
        response: bytes | None = None
        if policy is not None and policy.protected_release and not protected:
            self._observe(Attack.DOWNGRADE, "an RLRQ that is not protected")
            return NOT_ASSOCIATED.to_bytes()
        if policy is not None and cipher is not None and protected:
            try:
                opened = cipher.open(information, policy.protection)
                InitiateRequest.from_bytes(opened.apdu)
            except CounterUsedError as used:
                self._observe(Attack.REPLAY, str(used))
                return counter_error(used)
            except RemoteProtocolError as error:
                self._observe(Attack.WRONG_TAG, str(error))
                return NOT_DECIPHERED.to_bytes()
            if (context := self._context) is not None:
                agreed = InitiateResponse(context.conformance, context.max_receive).to_bytes()
                response = cipher.seal(agreed, opened.header.level, Form.GLOBAL)
        self._leave()
        return ReleaseResponse(0, response).to_bytes()

    def _associate(self, request: AssociationRequest) -> bytes | None:
        """The AARE; None where the client allows none."""
        self._leave()
        opened = open_association(request, self._device, self._client, self._server, self._max_send)
        if not isinstance(opened, Opened):
            return opened
        self._policy, self._cipher, self._context = opened.policy, opened.cipher, opened.context
        self._layers, self._challenged = opened.layers, opened.challenged
        if opened.challenged is None:
            self._services = opened.services
        self._unconfirmed = opened.answer is None
        return opened.answer

    def _hear_proof(self, challenged: Challenged, request: Apdu) -> bytes:
        """The client's answer to our challenge; our answer to its own."""
        self._challenged = None
        proof = None
        if (
            isinstance(request, ActionRequest)
            and request.method.class_id == _ASSOCIATION_CLASS
            and request.method.logical_name == CURRENT_ASSOCIATION
            and request.method.index == _REPLY_TO_CHALLENGE
            and request.parameter is not None
            and isinstance(request.parameter.value, bytes)
        ):
            proof = request.parameter.value
        if proof is None or not isinstance(request, ActionRequest):
            self._leave_unproved("something else than the answer to our challenge")
            return NOT_ASSOCIATED.to_bytes()
        try:
            challenged.prover.verify(challenged.exchange, proof)
        except ProtectionError as error:
            self._leave_unproved(str(error))
            return ActionResponse(request.invoke, AccessResult.READ_WRITE_DENIED).to_bytes()
        self._services = challenged.services
        own = encode(Data(Tag.OCTET_STRING, challenged.prover.prove(challenged.exchange)))
        return ActionResponse(request.invoke, AccessResult.SUCCESS, own).to_bytes()

    def _leave_unproved(self, detail: str) -> None:
        """Nothing is served any more; the cipher stays for the one answer that is under way."""
        self._observe(Attack.WRONG_PROOF, detail)
        self._services = self._challenged = None

    def _observe(self, attack: Attack, detail: str) -> None:
        observe(self._device, self._client, attack, detail)

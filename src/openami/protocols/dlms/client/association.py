"""The client session: operations on one association, as generators that neither read nor write a socket.

An operation yields bytes to send and is sent the bytes that arrived, cut anyhow; where it yields ``b""`` it
only needs more. Its result is the generator's return value:

    def run(operation):                      # over any transport
        outgoing = next(operation)
        while True:
            if outgoing:
                transport.send(outgoing)
            try:
                outgoing = operation.send(transport.receive())
            except StopIteration as done:
                return done.value

Rule of this file: an answer is believed only where its invoke id, its kind and its length are those of the
request. Everything else raises `RemoteProtocolError` and breaks the association (see `association_state`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from openami.protocols.dlms.apdus.access import (
    LONG_INVOKE_MASK,
    AccessItem,
    LongInvoke,
)
from openami.protocols.dlms.apdus.acse import (
    AARE,
    AARQ,
    RLRE,
    RLRQ,
    AssociationResponse,
    ReleaseResponse,
)
from openami.protocols.dlms.apdus.apdu import EXCEPTION_RESPONSE, Apdu, ExceptionResponse
from openami.protocols.dlms.apdus.authentication import MANAGEMENT_CLIENT, PUBLIC_CLIENT
from openami.protocols.dlms.apdus.block_transfer import BlockTransfer
from openami.protocols.dlms.apdus.descriptors import Attribute, Method, Selector
from openami.protocols.dlms.apdus.general_block import (
    GENERAL_BLOCK_TRANSFER,
    TransferBlock,
    read_block,
)
from openami.protocols.dlms.apdus.initiate import (
    PROPOSED,
    ConfirmedServiceError,
    Conformance,
    includes,
)
from openami.protocols.dlms.apdus.notification import (
    DATA_NOTIFICATION,
    EVENT_NOTIFICATION,
    DataNotification,
    EventNotification,
)
from openami.protocols.dlms.apdus.results import (
    AccessError,
    AssociationError,
    AssociationResult,
    InvocationCounterError,
    ServiceError,
    ServiceRefusedError,
)
from openami.protocols.dlms.client import access_service, action_service, get_service, set_service
from openami.protocols.dlms.client.associating import (
    agreed_on,
    check_proof,
    plain_request,
    proof_request,
    release_request,
    secured_request,
    title_of_meter,
)
from openami.protocols.dlms.client.association_state import Breaking, Event, State, following
from openami.protocols.dlms.client.client_security import ClientSecurity, longest_jump, recover_counter
from openami.protocols.dlms.client.exchange import Operation, expected
from openami.protocols.dlms.client.stray_answers import (
    Awaited,
    OrderedAnswers,
    StrayAnswers,
    answers_association,
    answers_release,
    answers_request,
    invoke_of,
)
from openami.protocols.dlms.encoding.axdr import Data, Plain, decode_plain
from openami.protocols.dlms.encoding.limits import DEFAULT_WINDOW, MAX_PDU, MAX_REASSEMBLED
from openami.protocols.dlms.encoding.octets import Reader
from openami.protocols.dlms.framing.channel import Channel, Delivery
from openami.protocols.dlms.framing.wrapper import WrapperChannel
from openami.protocols.dlms.protection.ciphering import Cipher
from openami.protocols.dlms.protection.high_level_security import Exchange, new_challenge
from openami.protocols.dlms.protection.message_protection import Manner, MessageProtection
from openami.protocols.dlms.protection.security_control import Protection
from openami.quantities.errors import LocalProtocolError, ProtectionError, RemoteProtocolError

__all__ = ["Association", "Operation", "management_association"]

T = TypeVar("T")

_NEVER_CIPHERED = frozenset((AARQ, AARE, RLRQ, RLRE, EXCEPTION_RESPONSE))
_UNPROTECTED = frozenset((b"", *(bytes((tag,)) for tag in _NEVER_CIPHERED)))
_BLOCK = bytes((GENERAL_BLOCK_TRANSFER,))
_UNASKED = frozenset((bytes((DATA_NOTIFICATION,)), bytes((EVENT_NOTIFICATION,))))
_PLAIN = Manner(Protection.NONE, None)
_INVOKE = 0xC0  # high priority, confirmed


class Association:
    """An association with one logical device.

    Invariant: at most one operation runs at a time; ``state`` follows `association_state.TRANSITIONS`.

    Parameters
    ----------
    server:
        wPort of the logical device.
    client:
        wPort of the client: 16 public, 1 management.
    password:
        Low level security; None for none.
    max_pdu:
        Largest APDU taken; longer answers come in blocks.
    max_reassembled:
        Largest answer put together from blocks.
    conformance:
        Services proposed; `PROPOSED_FOR_WINDOWS` has long APDUs streamed in general blocks.
    channel:
        Framing; None for the TCP wrapper between the two wPorts.
    security:
        Low or high level security and ciphering; it takes the place of ``password``.
    window:
        Blocks of a general-block-transfer taken at once, 1 .. 63.
    user:
        Which user of the client it is, 0 .. 255; None where the meter need not know.
    """

    def __init__(
        self,
        server: int,
        client: int = PUBLIC_CLIENT,
        password: bytes | None = None,
        *,
        max_pdu: int = MAX_PDU,
        max_reassembled: int = MAX_REASSEMBLED,
        conformance: Conformance = PROPOSED,
        channel: Channel | None = None,
        security: ClientSecurity | None = None,
        window: int = DEFAULT_WINDOW,
        user: int | None = None,
    ) -> None:
        if user is not None and not 0 <= user <= 0xFF:
            raise LocalProtocolError(f"user {user}", expected="0 .. 255")
        if not 0 <= max_pdu <= MAX_PDU:
            raise LocalProtocolError(f"a PDU size of {max_pdu}", expected=f"0 .. {MAX_PDU}")
        self._channel = channel or WrapperChannel(client, server)
        in_order = self._channel.delivery is Delivery.IN_ORDER
        self._answers = OrderedAnswers() if in_order else StrayAnswers()
        self._password = password
        self._max_pdu = max_pdu
        self._max_reassembled = max_reassembled
        self._proposed = conformance
        self._invoke = self._long_invoke = 0
        self._window = window
        self._user = user
        self._transfer: BlockTransfer | None = None
        self._state = State.IDLE
        self._conformance = Conformance(0)
        self._server_max_pdu = MAX_PDU
        self._notifications: list[DataNotification | EventNotification] = []
        self._security = security
        self._cipher: Cipher | None = None
        self._layers: MessageProtection | None = None
        self._manner = _PLAIN
        self._asked = b""
        self._opened: dict[bytes, bytes] = {}

    @property
    def state(self) -> State:
        """Where the association stands."""
        return self._state

    @property
    def conformance(self) -> Conformance:
        """Services agreed on."""
        return self._conformance

    @property
    def server_max_pdu(self) -> int:
        """Largest APDU that the server takes."""
        return self._server_max_pdu

    def take_notifications(self) -> list[DataNotification | EventNotification]:
        """What the meter sent unasked since the last call."""
        taken, self._notifications = self._notifications, []
        return taken

    def take_opened(self) -> dict[bytes, bytes]:
        """Plain APDUs by the ciphered ones that went either way since the last call: what was meant."""
        taken, self._opened = self._opened, {}
        return taken

    def asked_again(self) -> bytes:
        """Bytes to send where a request was not answered: the same, under a counter of its own.

        Inside a general-block-transfer they are what we said last: blocks, or what we have of the answer.
        """
        if self._transfer is not None:
            return self._framed(self._transfer.repeated())
        return self._channel.outgoing(self._protected(self._asked))

    # --- operations -----------------------------------------------------------------------------------

    def associate(self) -> Operation[None]:
        """Open the association.

        Raises
        ------
        AssociationError
            The server rejected it.
        RemoteProtocolError
            The answer is no AARE.
        """
        self._happen(Event.ASSOCIATE)
        with Breaking(self):
            self._cipher, self._layers, self._manner = None, None, _PLAIN
            self._conformance, self._server_max_pdu = Conformance(0), MAX_PDU
            if self._security is not None:
                self._cipher = self._security.cipher()
            try:
                yield from self._open()
            except InvocationCounterError as asked:
                if self._cipher is None:
                    raise
                longest = longest_jump(self._cipher)
                recover_counter(self._cipher.send, asked.invocation_counter, longest)
                yield from self._open()
            self._happen(Event.ACCEPTED)

    def _open(self) -> Operation[None]:
        """One AARQ, and the challenges of high level security."""
        security, cipher = self._security, self._cipher
        challenge = new_challenge()
        if security is None:
            request = plain_request(self._proposed, self._max_pdu, self._password, self._user)
        else:
            request = secured_request(self._proposed, self._max_pdu, security, cipher, challenge, self._user)
        answer = yield from self._exchange(request.to_bytes(), answers_association)
        if isinstance(answer, ExceptionResponse) and answer.invocation_counter is not None:
            raise InvocationCounterError(answer.invocation_counter)
        if isinstance(answer, ExceptionResponse | ConfirmedServiceError):
            self._happen(Event.REJECTED)
            raise ServiceRefusedError(f"association refused: {answer}", service=_service_error(answer))
        answer = expected(answer, AssociationResponse)
        if answer.result is not AssociationResult.ACCEPTED:
            self._happen(Event.REJECTED)
            raise AssociationError(answer.result, answer.diagnostic, provider=answer.provider)
        agreed = agreed_on(answer, security, cipher)
        self._conformance = Conformance(agreed.conformance & int(self._proposed))
        self._server_max_pdu = agreed.max_pdu or MAX_PDU
        if security is None:
            return
        if cipher is not None:
            self._layers, self._manner = security.layers(cipher), security.manner_of_proof
        if security.mechanism.high:
            peer = title_of_meter(answer, security)
            exchange = Exchange(security.title, peer, challenge, answer.challenge or b"")
            prover = security.prover(cipher)
            proof = proof_request(invoke := self.next_invoke(), prover, exchange)
            proven = yield from self._exchange(proof, answers_request(invoke, cipher))
            check_proof(proven, prover, exchange)
        if cipher is not None:
            self._manner = security.manner

    def take_for_granted(self) -> None:
        """Stand in a pre-established association: nothing is said, what we propose is what there is.

        Raises
        ------
        LocalProtocolError
            Somebody would have to be proven, or something protected.
        """
        if self._password is not None or self._security is not None or self._user is not None:
            raise LocalProtocolError("a pre-established association that proves who we are")
        self._happen(Event.ASSOCIATE)
        self._conformance, self._server_max_pdu = self._proposed, self._max_pdu or MAX_PDU
        self._happen(Event.ACCEPTED)

    def release(self) -> Operation[None]:
        """Close the association; the connection can be used for another."""
        self._happen(Event.RELEASE)
        with Breaking(self):
            request = release_request(self._conformance, self._max_pdu, self._security, self._cipher)
            answer = yield from self._exchange(request, answers_release)
            if not isinstance(answer, ExceptionResponse):
                expected(answer, ReleaseResponse)
            self._happen(Event.RELEASED)
            if self._cipher is not None:
                self._cipher.received.persist()

    def get(self, attribute: Attribute, selector: Selector | None = None) -> Operation[Plain]:
        """Value of an attribute, or of the part that ``selector`` names, as a plain value (`axdr`).

        Raises
        ------
        AccessError
            The server refused; its ``result`` says why.
        ServiceRefusedError
            The server answered with an exception-response.
        RemoteProtocolError
            The server broke the protocol.
        """
        return (yield from self._operate(self._get_plain(attribute, selector)))

    def get_encoded(self, attribute: Attribute, selector: Selector | None = None) -> Operation[bytes]:
        """Encoded value of an attribute, for `profile_buffer.ProfileDecoder`; raises as `get`."""
        return (yield from self._operate(get_service.get(self, attribute, selector)))

    def get_with_list(
        self, attributes: Sequence[Attribute | tuple[Attribute, Selector]]
    ) -> Operation[list[Plain | AccessError]]:
        """Values of many attributes in one exchange; an `AccessError` in place of each that is refused.

        Raises as `get`.
        """
        return (yield from self._operate(get_service.get_with_list(self, attributes)))

    def set(self, attribute: Attribute, value: Data) -> Operation[None]:
        """Set an attribute, in blocks where the value is longer than the server takes; raises as `get`."""
        yield from self._operate(set_service.set_one(self, attribute, value))

    def set_with_list(self, values: Sequence[tuple[Attribute, Data]]) -> Operation[list[AccessError | None]]:
        """Set many attributes in one exchange; for each None, or why it was refused; raises as `get`."""
        return (yield from self._operate(set_service.set_with_list(self, values)))

    def action(self, method: Method, parameter: Data | None = None) -> Operation[Plain]:
        """Run a method; gives what it returns, None where it returns nothing; raises as `get`."""
        return (yield from self._operate(action_service.action(self, method, parameter)))

    def action_with_list(
        self, calls: Sequence[tuple[Method, Data | None]]
    ) -> Operation[list[Plain | AccessError]]:
        """Run many methods in order; what each returns, or why it was refused; raises as `get`."""
        return (yield from self._operate(action_service.action_with_list(self, calls)))

    def access(
        self, items: Sequence[AccessItem], options: LongInvoke = access_service.NO_OPTIONS
    ) -> Operation[list[Plain | AccessError]]:
        """Read, write and run in one request, in order.

        Parameters
        ----------
        items:
            `AccessGet`, `AccessSet`, `AccessAction`.
        options:
            `LongInvoke.BREAK_ON_ERROR`: nothing is done after the first error (what was not done has the
            result "other reason"). `LongInvoke.SELF_DESCRIPTIVE`: the answer repeats what was asked.

        Returns
        -------
        Values read or returned, None for what was written; an `AccessError` in place of each refused.

        Raises
        ------
        LocalProtocolError
            The server did not agree on ACCESS. Else as `get`.
        """
        return (yield from self._operate(access_service.access(self, items, options)))

    # --- what the services stand on (`client_exchange.Exchange`) ----------------------------------------

    @property
    def agreed(self) -> Conformance:
        """Services agreed on."""
        return self._conformance

    @property
    def max_reassembled(self) -> int:
        """Octets of the longest answer put together from blocks."""
        return self._max_reassembled

    @property
    def largest_request(self) -> int:
        """Octets of a request before it is protected."""
        overhead = 0 if self._security is None else self._security.accepted.overhead
        if self._in_general_blocks:
            return self._new_transfer().longest_message() - overhead
        return self._server_max_pdu - overhead

    def next_invoke(self) -> int:
        """Invoke id and priority of the next request."""
        self._invoke = (self._invoke + 1) & 0x0F
        return _INVOKE | self._invoke

    def next_long_invoke(self) -> int:
        """Number of the next ACCESS."""
        self._long_invoke = (self._long_invoke + 1) & LONG_INVOKE_MASK
        return self._long_invoke

    def request(self, apdu: bytes, invoke: int) -> Operation[Apdu]:
        """Exchange of a confirmed service: the answer carries the invoke id, or refuses the service."""
        if len(apdu) > self.largest_request:
            raise LocalProtocolError(
                f"a request of {len(apdu)} octets", expected=f"at most {self.largest_request}"
            )
        answer = yield from self._exchange(apdu, answers_request(invoke, self._cipher))
        if isinstance(answer, ExceptionResponse) and answer.invocation_counter is not None:
            raise InvocationCounterError(answer.invocation_counter)
        if isinstance(answer, ExceptionResponse | ConfirmedServiceError):
            raise ServiceRefusedError(str(answer), service=_service_error(answer))
        if (found := invoke_of(answer)) != invoke:
            raise RemoteProtocolError(
                f"{type(answer).__name__} with invoke id {found}", expected=f"invoke id {invoke}"
            )
        return answer

    # --- exchange -------------------------------------------------------------------------------------

    def _happen(self, event: Event) -> None:
        self._state = following(self._state, event)

    def _operate(self, service: Operation[T]) -> Operation[T]:
        """Run a service; a refusal is an answer, everything else that it raises breaks the association."""
        self._happen(Event.REQUEST)
        with Breaking(self):
            try:
                result = yield from service
            except InvocationCounterError:
                raise
            except (AccessError, ServiceRefusedError, LocalProtocolError):
                self._happen(Event.ANSWERED)
                raise
            self._happen(Event.ANSWERED)
        return result

    def _get_plain(self, attribute: Attribute, selector: Selector | None) -> Operation[Plain]:
        return decode_plain((yield from get_service.get(self, attribute, selector)))

    @property
    def _in_general_blocks(self) -> bool:
        return includes(self._conformance, Conformance.GENERAL_BLOCK_TRANSFER)

    def _new_transfer(self) -> BlockTransfer:
        return BlockTransfer(self._window, self._server_max_pdu, self._max_reassembled)

    def _framed(self, apdus: list[bytes]) -> bytes:
        return b"".join(map(self._channel.outgoing, apdus))

    def _exchange(self, apdu: bytes, awaited: Awaited) -> Operation[Apdu]:
        """Send an APDU, give the one that answers it; notifications in between are kept apart.

        Parameters
        ----------
        awaited:
            What may be the answer; anything else is passed over where answers come anyhow.
        """
        self._answers.begin()
        self._asked = apdu
        self._transfer = None
        sealed = self._protected(apdu)
        if self._in_general_blocks and len(sealed) > self._server_max_pdu:
            self._transfer = self._new_transfer()
            outgoing = self._framed(self._transfer.send(sealed))
        else:
            outgoing = self._channel.outgoing(sealed)
        answer: Apdu | None = None
        while answer is None:
            incoming = self._channel.incoming((yield outgoing))
            outgoing = incoming.outgoing
            for received in incoming.apdus:
                if answer is not None:
                    raise RemoteProtocolError("a second answer to one request")
                if self._answers.came_before(received):
                    continue
                whole: bytes | None = received
                if received[:1] == _BLOCK:
                    if self._answers.block_came_before(received):
                        continue
                    said, whole = self._heard(read_block(Reader(received, 1)))
                    outgoing += said
                if whole is None:
                    continue
                arrived = self._answers.read(whole, self._verified, awaited)
                if isinstance(arrived, DataNotification | EventNotification):
                    self._notifications.append(arrived)
                else:
                    answer = arrived
            if answer is None and not outgoing and self._transfer is not None:
                outgoing = self._channel.poll()
        self._transfer = None
        return answer

    def _heard(self, block: TransferBlock) -> tuple[bytes, bytes | None]:
        """Take a block of an answer: bytes to send, and the answer where it is whole."""
        if not self._in_general_blocks:
            raise RemoteProtocolError("a general-block-transfer that was not agreed on")
        if self._transfer is None:
            self._transfer = self._new_transfer()
            self._transfer.said_plain()
        step = self._transfer.receive(block)
        return self._framed(step.apdus), step.message

    def _protected(self, apdu: bytes) -> bytes:
        """An APDU as the association protects it; AARQ and RLRQ go plain."""
        if self._layers is None or self._manner.plain or apdu[0] in _NEVER_CIPHERED:
            return apdu
        if self._manner.signed or self._manner.source is not None:
            self._manner = replace(self._manner, transaction=self._layers.new_transaction())
        sealed = self._layers.seal(apdu, self._manner)
        self._opened[sealed] = apdu
        return sealed

    def _verified(self, received: bytes) -> bytes:
        """A received APDU without its protection; a plain one only where it may be plain."""
        if self._layers is None or self._security is None or received[:1] in _UNPROTECTED:
            return received
        plain, manner = self._layers.open(received, self._security.accepted)
        if not manner.plain:
            self._opened[received] = plain
        asked = plain[:1] not in _UNASKED
        if asked and manner.transaction and manner.transaction != self._manner.transaction:
            raise ProtectionError("an answer in another transaction than the request")
        return plain

    def break_off(self) -> None:
        """The transport was lost or an operation given up: the association cannot be used any more."""
        self._happen(Event.BREAK)
        if self._cipher is not None:
            self._cipher.received.persist()


def _service_error(answer: ExceptionResponse | ConfirmedServiceError) -> ServiceError | None:
    return answer.service if isinstance(answer, ExceptionResponse) else None


def management_association(server: int, password: bytes, *, max_pdu: int = MAX_PDU) -> Association:
    """Association of the management client (wPort 1, low level security)."""
    return Association(server, MANAGEMENT_CLIENT, password, max_pdu=max_pdu)

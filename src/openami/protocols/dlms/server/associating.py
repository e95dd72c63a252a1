"""What a server makes of an AARQ: who associates, how it is protected, what is agreed on (IEC 62056-5-3 7.2).

    who         application context, mechanism, password or challenge, user
    protected   system title, ciphered InitiateRequest, dedicated key
    agreed on   version, conformance, sizes in both directions

Rule of this file: it changes nothing but the counters of what it deciphers. Whatever is not as the policy has
it is answered by an AARE that rejects and says why, and where it may be an attack, the device hears of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from openami.protocols.dlms.apdus.acse import (
    CONTEXT_LN,
    CONTEXT_LN_CIPHERED,
    AssociationRequest,
    AssociationResponse,
)
from openami.protocols.dlms.apdus.apdu import ExceptionResponse
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.block_transfer import BlockTransfer
from openami.protocols.dlms.apdus.initiate import (
    DLMS_VERSION,
    INCOMPATIBLE_CONFORMANCE,
    INITIATE_CATEGORY,
    OTHER_INITIATE_ERROR,
    PDU_TOO_SHORT,
    SUPPORTED,
    VERSION_TOO_LOW,
    ConfirmedServiceError,
    InitiateRequest,
    InitiateResponse,
)
from openami.protocols.dlms.apdus.results import (
    AssociationResult,
    Diagnostic,
    ProviderDiagnostic,
    ServiceError,
    StateError,
)
from openami.protocols.dlms.encoding.limits import MAX_PDU, MAX_REASSEMBLED, MAX_REQUEST, MIN_PDU
from openami.protocols.dlms.interface_classes.association_ln import AssociationContext
from openami.protocols.dlms.protection.ciphered_apdu import CIPHERED_TAGS, Form
from openami.protocols.dlms.protection.ciphering import MAX_OVERHEAD, Cipher, CounterUsedError
from openami.protocols.dlms.protection.high_level_security import (
    MAX_CHALLENGE,
    MIN_CHALLENGE,
    Exchange,
    Prover,
    new_challenge,
)
from openami.protocols.dlms.protection.message_protection import MessageProtection
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.device_security import Attack, Incident
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.services import ServerServices
from openami.quantities.errors import OpenAmiError, RemoteProtocolError
from openami.security.meter_keys import SYSTEM_TITLE_OCTETS
from openami.security.secret import Secret

_PROOF_ANSWERS: Final = {Mechanism.HIGH_SHA256: 8 + 32, Mechanism.HIGH_ECDSA: 8 + 2 * 48}
"""Octets of the answer to a challenge, before it is protected, where it may be longer than `MIN_PDU`."""


@dataclass(frozen=True, slots=True)
class Challenged:
    """A client that has yet to answer our challenge."""

    services: ServerServices
    prover: Prover
    exchange: Exchange


@dataclass(frozen=True, slots=True)
class Opened:
    """An association as it was agreed on.

    Parameters
    ----------
    policy:
        What the client may do.
    context:
        What was agreed on.
    services:
        What the client may ask for, once it has answered the challenge where there is one.
    cipher, layers:
        How its messages are protected; None where it has no keys.
    challenged:
        The challenge that it has to answer first; None where none does.
    answer:
        The AARE; None where the client allows none.
    """

    policy: AssociationPolicy
    context: AssociationContext
    services: ServerServices
    cipher: Cipher | None
    layers: MessageProtection | None
    challenged: Challenged | None
    answer: bytes | None


def open_association(
    request: AssociationRequest, device: LogicalDevice | None, client: int, server: int, max_send: int
) -> Opened | bytes | None:
    """What an AARQ leads to: an association, or the APDU that refuses it, or nothing at all.

    An association without AARE serves what needs no answer; nobody can prove himself in it.

    Parameters
    ----------
    device:
        The logical device; None where nothing answers at the wPort.
    client, server:
        wPorts.
    max_send:
        Octets of the largest APDU that the transport carries.
    """
    if not request.version1:
        return _no_common_version(request)
    policy = device.policy(client) if device is not None else None
    diagnostic = _diagnose(request, policy)
    if diagnostic is Diagnostic.AUTHENTICATION_FAILURE:
        observe(device, client, Attack.WRONG_PASSWORD, f"mechanism {request.mechanism}")
    elif diagnostic is Diagnostic.CALLING_AE_INVOCATION_IDENTIFIER_NOT_RECOGNIZED:
        observe(device, client, Attack.UNKNOWN_USER, f"user {request.user}")
    elif policy is not None and diagnostic is not Diagnostic.NULL:
        what = f"context {request.context} with mechanism {request.mechanism}"
        observe(device, client, Attack.DOWNGRADE, what)
    if policy is None or device is None or diagnostic is not Diagnostic.NULL:
        return _rejected(diagnostic, _refused_initiate(request))
    unveiled = _unveiled(request, device, client, policy)
    if isinstance(unveiled, bytes):
        return unveiled
    proposed, cipher, protection = unveiled
    if proposed.version < DLMS_VERSION:
        return _rejected(Diagnostic.NO_REASON_GIVEN, _initiate_error(VERSION_TOO_LOW))
    if not proposed.response_allowed and policy.mechanism.high:
        return None
    # Who has keys may protect what need not be, and gets his answers likewise.
    overhead = max(policy.accepted.overhead, 0 if cipher is None else MAX_OVERHEAD)
    least = max(MIN_PDU, _PROOF_ANSWERS.get(policy.mechanism, 0)) + overhead
    if 0 < proposed.max_pdu < least:
        return _rejected(Diagnostic.NO_REASON_GIVEN, _initiate_error(PDU_TOO_SHORT))
    agreed = proposed.conformance & int(SUPPORTED)
    if not agreed:
        return _rejected(Diagnostic.NO_REASON_GIVEN, _initiate_error(INCOMPATIBLE_CONFORMANCE))
    max_send = min(proposed.max_pdu or MAX_PDU, max_send)
    context = AssociationContext(client, server, agreed, policy.max_pdu, max_send, request.user)
    blocks = min(MAX_REASSEMBLED, BlockTransfer(1, max_send, MAX_REQUEST).longest_message() // 2)
    services = ServerServices(device, policy, context, max_send - overhead, blocks - overhead)
    response = InitiateResponse(agreed, policy.max_pdu).to_bytes()
    if cipher is not None and protection:
        response = cipher.seal(response, protection, Form.GLOBAL)
    security, challenged = device.security, None
    if policy.mechanism.high and security is not None and cipher is not None:
        title, secret = request.calling_ap_title or b"", request.secret or b""
        exchange = Exchange(security.title, title, new_challenge(), secret)
        try:
            challenged = Challenged(services, security.prover(policy, cipher), exchange)
        except OpenAmiError:
            return _rejected(Diagnostic.AUTHENTICATION_FAILURE, None)
    keyed = security if cipher is not None else None
    answer = AssociationResponse(
        AssociationResult.ACCEPTED,
        Diagnostic.NULL if challenged is None else Diagnostic.AUTHENTICATION_REQUIRED,
        response,
        context=request.context,
        mechanism=Mechanism.NONE if challenged is None else request.mechanism,
        challenge=None if challenged is None else challenged.exchange.own_challenge,
        responding_ap_title=None if keyed is None else keyed.title,
    )
    return Opened(
        policy,
        context,
        services,
        cipher,
        None if keyed is None or cipher is None else keyed.layers(client, cipher),
        challenged,
        answer.to_bytes() if proposed.response_allowed else None,
    )


def _unveiled(
    request: AssociationRequest, device: LogicalDevice, client: int, policy: AssociationPolicy
) -> tuple[InitiateRequest, Cipher | None, Protection] | bytes:
    """The InitiateRequest, the cipher that knows its keys, and how it came; or the APDU that refuses it."""
    security = device.security
    cipher, protection, initiate = None, Protection.NONE, request.user_information
    title = request.calling_ap_title or b""
    if security is not None and policy.needs_keys:
        ciphers = policy.protection or policy.accepted.needs_keys
        if ciphers and len(title) != SYSTEM_TITLE_OCTETS:
            return _rejected(Diagnostic.CALLING_AP_TITLE_NOT_RECOGNIZED, None)
        cipher = security.cipher(title)
    if cipher is not None and initiate[:1] and initiate[0] in CIPHERED_TAGS:
        try:
            opened = cipher.open(initiate, policy.protection)
        except CounterUsedError as used:
            observe(device, client, Attack.REPLAY, str(used))
            return counter_error(used)
        except RemoteProtocolError as error:
            observe(device, client, Attack.WRONG_TAG, str(error))
            return _rejected(Diagnostic.AUTHENTICATION_FAILURE, None)
        initiate, protection = opened.apdu, opened.header.level
    elif policy.protection:
        observe(device, client, Attack.DOWNGRADE, "an AARQ whose InitiateRequest is not protected")
        return _rejected(Diagnostic.AUTHENTICATION_FAILURE, None)
    if not initiate:
        return _rejected(Diagnostic.NO_REASON_GIVEN, _initiate_error(OTHER_INITIATE_ERROR))
    try:
        proposed = InitiateRequest.from_bytes(initiate)
        if proposed.dedicated_key is not None and protection != AUTHENTICATED_ENCRYPTION:
            what = "a dedicated key that did not come authenticated and encrypted"
            observe(device, client, Attack.DOWNGRADE, what)
            return _rejected(Diagnostic.AUTHENTICATION_FAILURE, None)
        if cipher is not None and proposed.dedicated_key is not None:
            cipher.use_dedicated(Secret(proposed.dedicated_key))
    except RemoteProtocolError:
        return _rejected(Diagnostic.NO_REASON_GIVEN, None)
    return proposed, cipher, protection


def observe(device: LogicalDevice | None, client: int, attack: Attack, detail: str) -> None:
    """Tell the security of a device, where it has one, what a client did."""
    if device is not None and device.security is not None:
        device.security.observe(Incident(attack, client, detail))


def counter_error(used: CounterUsedError) -> bytes:
    """The exception-response that tells the counter to go on from."""
    return ExceptionResponse(
        StateError.SERVICE_NOT_ALLOWED,
        ServiceError.INVOCATION_COUNTER_ERROR,
        min(used.expected_counter, 0xFFFF_FFFF),
    ).to_bytes()


def _diagnose(request: AssociationRequest, policy: AssociationPolicy | None) -> Diagnostic:
    """Why an AARQ is rejected by the ACSE service user; NULL where it is not."""
    if policy is None:
        return Diagnostic.NO_REASON_GIVEN
    contexts = (CONTEXT_LN_CIPHERED,) if policy.protection else (CONTEXT_LN, CONTEXT_LN_CIPHERED)
    if not policy.needs_keys:
        contexts = (CONTEXT_LN,)
    if request.context not in contexts:
        return Diagnostic.APPLICATION_CONTEXT_NAME_NOT_SUPPORTED
    if policy.mechanism is Mechanism.NONE:
        if request.mechanism != Mechanism.NONE:
            return Diagnostic.AUTHENTICATION_MECHANISM_NAME_NOT_RECOGNISED
        return _diagnose_user(request, policy)
    if request.mechanism == Mechanism.NONE:
        return Diagnostic.AUTHENTICATION_REQUIRED
    if request.mechanism != policy.mechanism:
        return Diagnostic.AUTHENTICATION_MECHANISM_NAME_NOT_RECOGNISED
    if request.secret is None:
        return Diagnostic.AUTHENTICATION_FAILURE
    if policy.mechanism is Mechanism.LOW and not policy.proves(request.secret):
        return Diagnostic.AUTHENTICATION_FAILURE
    if policy.mechanism.high and not MIN_CHALLENGE <= len(request.secret) <= MAX_CHALLENGE:
        return Diagnostic.AUTHENTICATION_FAILURE
    return _diagnose_user(request, policy)


def _diagnose_user(request: AssociationRequest, policy: AssociationPolicy) -> Diagnostic:
    """Last of all, so that nobody without a password learns who is on the list."""
    if not policy.users or request.user in dict(policy.users):
        return Diagnostic.NULL
    return Diagnostic.CALLING_AE_INVOCATION_IDENTIFIER_NOT_RECOGNIZED


def _refused_initiate(request: AssociationRequest) -> bytes | None:
    """The InitiateResponse that goes with a refusal of a plain request; None for a ciphered one."""
    try:
        proposed = InitiateRequest.from_bytes(request.user_information)
    except RemoteProtocolError:
        return None
    return InitiateResponse(proposed.conformance & int(SUPPORTED), MAX_PDU).to_bytes()


def _rejected(diagnostic: Diagnostic, user_information: bytes | None) -> bytes:
    return AssociationResponse(AssociationResult.REJECTED_PERMANENT, diagnostic, user_information).to_bytes()


def _no_common_version(request: AssociationRequest) -> bytes:
    return AssociationResponse(
        AssociationResult.REJECTED_PERMANENT,
        ProviderDiagnostic.NO_COMMON_ACSE_VERSION,
        _refused_initiate(request),
        provider=True,
    ).to_bytes()


def _initiate_error(code: int) -> bytes:
    return ConfirmedServiceError(1, INITIATE_CATEGORY, code).to_bytes()

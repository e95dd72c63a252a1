"""Opening and closing an association, as the client says and hears it: AARQ, AARE, RLRQ (IEC 62056-5-3).

Rule of this file: nothing of an AARE is taken over before the meter's title and the protection of its
InitiateResponse were found as they must be.
"""

from __future__ import annotations

from openami.protocols.dlms.apdus.acse import (
    CONTEXT_LN,
    CONTEXT_LN_CIPHERED,
    AssociationRequest,
    AssociationResponse,
    ReleaseRequest,
)
from openami.protocols.dlms.apdus.action import ActionRequest, ActionResponse
from openami.protocols.dlms.apdus.apdu import Apdu, ExceptionResponse
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.descriptors import Method
from openami.protocols.dlms.apdus.initiate import (
    ConfirmedServiceError,
    Conformance,
    InitiateRequest,
    InitiateResponse,
)
from openami.protocols.dlms.apdus.results import AccessResult, AssociationError, AssociationResult, Diagnostic
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.client.exchange import expected
from openami.protocols.dlms.encoding.axdr import Data, Tag, decode_plain
from openami.protocols.dlms.protection.ciphered_apdu import Form
from openami.protocols.dlms.protection.ciphering import Cipher
from openami.protocols.dlms.protection.high_level_security import Exchange, Prover
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION
from openami.quantities.errors import ProtectionError
from openami.quantities.obis import ObisCode
from openami.security.secret import Secret

REPLY_TO_CHALLENGE = Method(15, ObisCode(0, 0, 40, 0, 0), 1)
"""reply_to_HLS_authentication of the current association."""


def plain_request(
    conformance: Conformance, max_pdu: int, password: bytes | None, user: int | None
) -> AssociationRequest:
    """AARQ without ciphering: no security, or a password."""
    initiate = InitiateRequest(conformance, max_pdu).to_bytes()
    mechanism = Mechanism.NONE if password is None else Mechanism.LOW
    return AssociationRequest(initiate, mechanism=mechanism, secret=password, user=user)


def secured_request(
    conformance: Conformance,
    max_pdu: int,
    security: ClientSecurity,
    cipher: Cipher | None,
    challenge: bytes,
    user: int | None,
) -> AssociationRequest:
    """AARQ as a `ClientSecurity` has it; a dedicated form makes a key for the association.

    The InitiateRequest that carries the key is authenticated and encrypted whatever is protected afterwards
    (IEC 62056-5-3, recalled; a server of others refuses any other).

    Parameters
    ----------
    conformance, max_pdu:
        What is proposed.
    security, cipher:
        How it is protected.
    challenge:
        Of high level security; not sent with any other.
    user:
        Which user of the client it is.
    """
    dedicated = None
    if security.manner.form is not None and security.form.dedicated and cipher is not None:
        dedicated = Secret.random(len(cipher.keys.global_unicast))
        cipher.use_dedicated(dedicated)
    key = None if dedicated is None else dedicated.reveal()
    initiate = InitiateRequest(conformance, max_pdu, key).to_bytes()
    if security.protection and cipher is not None:
        # A key travels encrypted, whatever its association protects afterwards.
        protection = security.protection if dedicated is None else AUTHENTICATED_ENCRYPTION
        initiate = cipher.seal(initiate, protection, Form.GLOBAL)
    password = None if security.secret is None else security.secret.reveal()
    return AssociationRequest(
        initiate,
        CONTEXT_LN_CIPHERED if security.protection else CONTEXT_LN,
        security.mechanism,
        challenge if security.mechanism.high else password,
        security.title,
        user,
    )


def agreed_on(
    answer: AssociationResponse, security: ClientSecurity | None, cipher: Cipher | None
) -> InitiateResponse:
    """What the meter agreed to; the cipher learns its title.

    Raises
    ------
    ProtectionError
        It is another meter, or the response is not protected as it must be.
    RemoteProtocolError
        It is no InitiateResponse.
    """
    information = answer.user_information or b""
    if cipher is not None and security is not None:
        cipher.peer_title = title_of_meter(answer, security)
        if security.protection:
            information = cipher.open(information, security.protection).apdu
    return InitiateResponse.from_bytes(information)


def title_of_meter(answer: AssociationResponse, security: ClientSecurity) -> bytes:
    """System title of the meter: as it is known, else as it calls itself; empty where neither says.

    Raises
    ------
    ProtectionError
        It is another meter.
    """
    title = answer.responding_ap_title or b""
    if security.meter_title is not None and title and title != security.meter_title:
        raise ProtectionError(f"the meter calls itself {title.hex()}", expected=security.meter_title.hex())
    return security.meter_title or title


def proof_request(invoke: int, prover: Prover, exchange: Exchange) -> bytes:
    """Our answer to the meter's challenge."""
    proof = Data(Tag.OCTET_STRING, prover.prove(exchange))
    return ActionRequest(invoke, REPLY_TO_CHALLENGE, proof).to_bytes()


def check_proof(answer: Apdu, prover: Prover, exchange: Exchange) -> None:
    """The meter's answer to our challenge.

    Raises
    ------
    AssociationError
        It refuses ours.
    ProtectionError
        Its own is wrong.
    """
    if isinstance(answer, ExceptionResponse | ConfirmedServiceError):
        raise AssociationError(AssociationResult.REJECTED_PERMANENT, Diagnostic.AUTHENTICATION_FAILURE)
    answer = expected(answer, ActionResponse)
    if answer.result is not AccessResult.SUCCESS or not isinstance(answer.returned, bytes):
        raise AssociationError(AssociationResult.REJECTED_PERMANENT, Diagnostic.AUTHENTICATION_FAILURE)
    returned = decode_plain(answer.returned)
    if not isinstance(returned, bytes):
        raise ProtectionError("the meter did not answer our challenge")
    prover.verify(exchange, returned)


def release_request(
    conformance: Conformance, max_pdu: int, security: ClientSecurity | None, cipher: Cipher | None
) -> bytes:
    """RLRQ; with a ciphered InitiateRequest where the security has releases protected."""
    if security is None or cipher is None or not (security.protected_release and security.protection):
        return ReleaseRequest().to_bytes()
    initiate = InitiateRequest(conformance, max_pdu).to_bytes()
    return ReleaseRequest(0, cipher.seal(initiate, security.protection, Form.GLOBAL)).to_bytes()

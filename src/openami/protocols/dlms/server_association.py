"""The server's side of one association: a client's wPort with a logical device.

    IDLE --AARQ accepted--> ASSOCIATED --RLRQ--> IDLE
    IDLE --AARQ rejected--> IDLE             ASSOCIATED --AARQ--> (as from IDLE)
    IDLE --anything else: exception-response, service not allowed

Rule of this file: every APDU that comes in is answered by exactly one APDU, whatever it says.
"""

from __future__ import annotations

from openami.protocols.dlms.acse import (
    CONTEXT_LN,
    AssociationRequest,
    AssociationResponse,
    ReleaseRequest,
    ReleaseResponse,
)
from openami.protocols.dlms.apdu import ExceptionResponse, decode_apdu
from openami.protocols.dlms.association_policy import AssociationPolicy, Mechanism
from openami.protocols.dlms.initiate import (
    DLMS_VERSION,
    INITIATE_CATEGORY,
    PDU_TOO_SHORT,
    SUPPORTED,
    VERSION_TOO_LOW,
    ConfirmedServiceError,
    InitiateRequest,
    InitiateResponse,
)
from openami.protocols.dlms.interface_classes.association_ln import AssociationContext
from openami.protocols.dlms.limits import MAX_PDU, MIN_PDU
from openami.protocols.dlms.logical_device import LogicalDevice
from openami.protocols.dlms.results import (
    AssociationResult,
    Diagnostic,
    ServiceError,
    StateError,
)
from openami.protocols.dlms.server_services import UNKNOWN_SERVICE, ServerServices
from openami.quantities.errors import RemoteProtocolError

NOT_ASSOCIATED = ExceptionResponse(StateError.SERVICE_NOT_ALLOWED, ServiceError.OPERATION_NOT_POSSIBLE)


class ServerAssociation:
    """What the server knows of one client.

    Parameters
    ----------
    device:
        The logical device; None where nothing answers at the wPort.
    client, server:
        wPorts.
    """

    __slots__ = ("_client", "_device", "_server", "_services")

    def __init__(self, device: LogicalDevice | None, client: int, server: int) -> None:
        self._device = device
        self._client = client
        self._server = server
        self._services: ServerServices | None = None

    @property
    def associated(self) -> bool:
        """True between an accepted AARQ and its release."""
        return self._services is not None

    @property
    def kept_octets(self) -> int:
        """Octets of long values under way, in either direction."""
        return 0 if self._services is None else self._services.kept_octets

    def forget_long_values(self) -> None:
        """Give up the block transfers under way; the client is told when it asks for the next block."""
        if self._services is not None:
            self._services.forget_long_values()

    def answer(self, apdu: bytes) -> bytes:
        """The APDU that answers an APDU."""
        try:
            request = decode_apdu(apdu)
        except RemoteProtocolError:
            return (UNKNOWN_SERVICE if self.associated else NOT_ASSOCIATED).to_bytes()
        if isinstance(request, AssociationRequest):
            return self._associate(request).to_bytes()
        if self._services is None:
            return NOT_ASSOCIATED.to_bytes()
        if isinstance(request, ReleaseRequest):
            self._services = None
            return ReleaseResponse().to_bytes()
        return self._services.serve(request)

    def _associate(self, request: AssociationRequest) -> AssociationResponse:
        self._services = None
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
        max_send = proposed.max_pdu or MAX_PDU
        context = AssociationContext(self._client, self._server, int(agreed), MAX_PDU, max_send)
        self._services = ServerServices(self._device, policy, context)
        return AssociationResponse(
            AssociationResult.ACCEPTED, Diagnostic.NULL, response, mechanism=request.mechanism
        )


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

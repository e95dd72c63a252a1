"""Result codes of COSEM services (IEC 62056-5-3), and the errors that carry them.

A refusal is a correct answer and no `RemoteProtocolError`, which is kept for peers that break the protocol.
"""

from __future__ import annotations

from enum import IntEnum

from openami.quantities.errors import ProtocolError, RemoteProtocolError


class AccessResult(IntEnum):
    """Data-Access-Result, and with the same numbers Action-Result."""

    SUCCESS = 0
    HARDWARE_FAULT = 1
    TEMPORARY_FAILURE = 2
    READ_WRITE_DENIED = 3
    OBJECT_UNDEFINED = 4
    OBJECT_CLASS_INCONSISTENT = 9
    OBJECT_UNAVAILABLE = 11
    TYPE_UNMATCHED = 12
    SCOPE_OF_ACCESS_VIOLATED = 13
    DATA_BLOCK_UNAVAILABLE = 14
    LONG_ABORTED = 15
    NO_LONG_IN_PROGRESS = 16
    LONG_SET_ABORTED = 17
    NO_LONG_SET_IN_PROGRESS = 18
    DATA_BLOCK_NUMBER_INVALID = 19
    OTHER_REASON = 250

    @classmethod
    def received(cls, code: int) -> AccessResult:
        """Result of a received code; raises `RemoteProtocolError` where none has it."""
        try:
            return cls(code)
        except ValueError:
            raise RemoteProtocolError(f"no access result has the code {code}") from None


class StateError(IntEnum):
    """State error of an exception-response."""

    SERVICE_NOT_ALLOWED = 1
    SERVICE_UNKNOWN = 2


class ServiceError(IntEnum):
    """Service error of an exception-response."""

    OPERATION_NOT_POSSIBLE = 1
    SERVICE_NOT_SUPPORTED = 2
    OTHER_REASON = 3
    PDU_TOO_LONG = 4
    DECIPHERING_ERROR = 5
    INVOCATION_COUNTER_ERROR = 6


class AssociationResult(IntEnum):
    """Result of an AARE."""

    ACCEPTED = 0
    REJECTED_PERMANENT = 1
    REJECTED_TRANSIENT = 2


class Diagnostic(IntEnum):
    """Diagnostic of the ACSE service user in an AARE."""

    NULL = 0
    NO_REASON_GIVEN = 1
    APPLICATION_CONTEXT_NAME_NOT_SUPPORTED = 2
    CALLING_AP_TITLE_NOT_RECOGNIZED = 3
    CALLING_AE_INVOCATION_IDENTIFIER_NOT_RECOGNIZED = 6
    AUTHENTICATION_MECHANISM_NAME_NOT_RECOGNISED = 11
    AUTHENTICATION_MECHANISM_NAME_REQUIRED = 12
    AUTHENTICATION_FAILURE = 13
    AUTHENTICATION_REQUIRED = 14


class ProviderDiagnostic(IntEnum):
    """Diagnostic of the ACSE service provider in an AARE."""

    NULL = 0
    NO_REASON_GIVEN = 1
    NO_COMMON_ACSE_VERSION = 2


class AccessError(ProtocolError):
    """A GET, SET or ACTION was answered with a result other than success; ``result`` says which."""

    def __init__(self, result: AccessResult, *, where: str | None = None) -> None:
        self.result = result
        super().__init__(result.name.lower().replace("_", " "), where=where)


class AssociationError(ProtocolError):
    """The AARQ was rejected; ``result`` and ``diagnostic`` say how.

    ``provider`` is true where the service provider says so: its diagnostics are `ProviderDiagnostic`.
    """

    def __init__(self, result: AssociationResult, diagnostic: int, *, provider: bool = False) -> None:
        self.result = result
        self.diagnostic = diagnostic
        self.provider = provider
        names = {known.value: known.name for known in (ProviderDiagnostic if provider else Diagnostic)}
        reason = names.get(diagnostic, "unknown").lower().replace("_", " ")
        source = " of the provider" if provider else ""
        how = "rejected for now" if result is AssociationResult.REJECTED_TRANSIENT else "rejected"
        super().__init__(f"association {how}: {reason} (diagnostic {diagnostic}{source})")


class ServiceRefusedError(ProtocolError):
    """A request was answered with an exception-response or a confirmed-service-error.

    ``service`` is the service error of an exception-response; None where it was no exception-response.
    """

    def __init__(
        self, message: str, *, service: ServiceError | None = None, expected: str | None = None
    ) -> None:
        self.service = service
        super().__init__(message, expected=expected)


class InvocationCounterError(ServiceRefusedError):
    """Our invocation counter was refused; ``invocation_counter`` is the lowest that would be believed."""

    def __init__(self, invocation_counter: int) -> None:
        self.invocation_counter = invocation_counter
        super().__init__(
            "the invocation counter was used before",
            service=ServiceError.INVOCATION_COUNTER_ERROR,
            expected=f"{invocation_counter} or more",
        )

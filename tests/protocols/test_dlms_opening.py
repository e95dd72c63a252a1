"""An AARQ is answered by an AARE, whatever it proposes: the version of ACSE, and a context of xDLMS or none.

The AARQs with a protocol-version, and what meters answer to them, are of two public traces: a meter of others
under the conformance test tool of the DLMS UA, and that tool's test APPL_OPEN_4
(https://www.gurux.fi/node/34756, https://www.gurux.fi/comment/22576; read, not copied). Version1 is bit 0 of
the bit string; other bits are passed over. What meters answer to an AARQ without InitiateRequest is in no
public source that was found: ASN.1 lets it out, COSEM-OPEN does not, so it is refused as a context of xDLMS
that cannot be used is.
"""

from __future__ import annotations

import pytest

from openami.protocols.dlms.apdus.acse import AARE, AssociationRequest, AssociationResponse
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.results import AssociationError, AssociationResult
from openami.protocols.dlms.client.association import Association
from openami.protocols.dlms.client.association_state import State
from openami.protocols.dlms.framing.wrapper import Frame, WrapperDecoder
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.device_security import DeviceSecurity
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession
from openami.security.meter_keys import MeterKeys

CONTEXT = "a109060760857405080101"
INITIATE = "be10040e01000000065f1f040062fedfffff"
ACCEPTED = "6129a109060760857405080101a203020100a305a103020100be10040e0800065f1f04"
"""An AARE up to the conformance of its InitiateResponse: accepted, null."""
NO_COMMON_VERSION = "6129a109060760857405080101a203020101a305a203020102be10040e0800065f1f04"
"""The same: rejected permanently by the service provider, no common ACSE version."""
NO_CONTEXT = "611fa109060760857405080101a203020101a305a103020101be0604040e010600"
"""Rejected permanently by the service user, no reason given; initiate: other."""


def meter(policy: AssociationPolicy, security: DeviceSecurity | None = None) -> ServerSession:
    return ServerSession({7: LogicalDevice([], [policy], security)})


def ask(session: ServerSession, apdu: bytes) -> str:
    frames = WrapperDecoder().feed(session.receive(Frame(16, 7, apdu).to_bytes()))
    return "".join(frame.apdu.hex() for frame in frames if isinstance(frame, Frame))


def aarq(*fields: str) -> bytes:
    body = bytes.fromhex("".join(fields))
    return b"\x60" + bytes((len(body),)) + body


@pytest.mark.parametrize("version", ["", "80020780", "80020284", "800200ff", "8003078000"])
def test_an_aarq_of_version_1_or_of_none_is_accepted(version: str) -> None:
    answer = ask(meter(AssociationPolicy(16)), aarq(version, CONTEXT, INITIATE))
    assert answer[: len(ACCEPTED)] == ACCEPTED


@pytest.mark.parametrize("version", ["80020244", "80020640", "80020007", "800107", "8000", "80020880"])
def test_an_aarq_without_version_1_is_rejected_by_the_provider(version: str) -> None:
    session = meter(AssociationPolicy(16))
    answer = ask(session, aarq(version, CONTEXT, INITIATE))
    assert answer[: len(NO_COMMON_VERSION)] == NO_COMMON_VERSION
    assert ask(session, bytes.fromhex("c001c1000f0000280000ff0100")) == "d80101", "nothing was opened"


def test_the_version_is_told_before_who_may_associate() -> None:
    """Nothing of a wrong version is looked at: neither password nor context."""
    policy = AssociationPolicy(16, Mechanism.LOW, b"12345678")
    answer = ask(meter(policy), aarq("80020244", CONTEXT.replace("0101", "0104"), INITIATE))
    assert answer[: len(NO_COMMON_VERSION)] == NO_COMMON_VERSION


def test_an_aarq_without_initiate_request_is_rejected_with_an_aare() -> None:
    session = meter(AssociationPolicy(16))
    assert ask(session, aarq(CONTEXT)) == NO_CONTEXT
    assert ask(session, bytes.fromhex("c001c1000f0000280000ff0100")) == "d80101", "nothing was opened"


def test_without_initiate_request_a_wrong_password_is_told_first() -> None:
    policy = AssociationPolicy(16, Mechanism.LOW, b"12345678")
    request = AssociationRequest(b"", mechanism=1, secret=b"87654321")
    answer = AssociationResponse.from_bytes(bytes.fromhex(ask(meter(policy), request.to_bytes())))
    assert (answer.result, answer.diagnostic, answer.user_information) == (1, 13, None)
    right = AssociationRequest(b"", mechanism=1, secret=b"12345678").to_bytes()
    assert ask(meter(policy), right) == NO_CONTEXT


def test_where_the_initiate_request_must_be_protected_none_is_an_authentication_failure() -> None:
    security = DeviceSecurity(b"OAM00001", MeterKeys.random())
    policy = AssociationPolicy(16, Mechanism.HIGH_GMAC, protection=AUTHENTICATED_ENCRYPTION)
    request = AssociationRequest(b"", 3, 5, bytes(16), b"HES00001").to_bytes()
    answer = bytes.fromhex(ask(meter(policy, security), request))
    assert answer[0] == AARE
    assert AssociationResponse.from_bytes(answer).diagnostic == 13


@pytest.mark.parametrize("version", [None, b"\x07\x80", b"\x02\x44", b""])
@pytest.mark.parametrize("initiate", [b"", bytes.fromhex("01000000065f1f040062fedfffff")])
def test_an_aarq_with_a_version_and_without_a_context_comes_back(
    version: bytes | None, initiate: bytes
) -> None:
    request = AssociationRequest(initiate, protocol_version=version)
    assert AssociationRequest.from_bytes(request.to_bytes()) == request


def test_a_client_names_the_diagnostic_of_the_provider_as_its_own() -> None:
    """2 is "no common ACSE version" of the provider, and "application context name" of the user."""
    texts = []
    for rejection in (NO_COMMON_VERSION + "0000121008000007", NO_CONTEXT.replace("a103020101", "a103020102")):
        association = Association(7, 16)
        operation = association.associate()
        next(operation)
        with pytest.raises(AssociationError) as refused:
            operation.send(Frame(7, 16, bytes.fromhex(rejection)).to_bytes())
        texts.append(str(refused.value))
        assert association.state is State.IDLE
    texts.append(str(AssociationError(AssociationResult.REJECTED_TRANSIENT, 1)))
    assert texts == [
        "association rejected: no common acse version (diagnostic 2 of the provider)",
        "association rejected: application context name not supported (diagnostic 2)",
        "association rejected for now: no reason given (diagnostic 1)",
    ]

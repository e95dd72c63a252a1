"""ACSE and initiate: what clients really send is read, what is needed is checked, sizes are bounded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.protocols.dlms.apdus.acse import (
    AssociationRequest,
    AssociationResponse,
    ReleaseRequest,
    ReleaseResponse,
)
from openami.protocols.dlms.apdus.initiate import (
    ConfirmedServiceError,
    Conformance,
    InitiateRequest,
    InitiateResponse,
)
from openami.protocols.dlms.apdus.results import AssociationResult
from openami.protocols.dlms.client.association import Association
from openami.protocols.dlms.encoding.units import cosem_units, quantum_of, scaler_unit
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError
from openami.quantities.units import WH, Quantum, Unit

CONTEXT = bytes.fromhex("a109060760857405080101")
INITIATE = bytes.fromhex("be10040e01000000065f1f0400007e1f04b0")


def aarq(*fields: bytes) -> bytes:
    content = b"".join(fields)
    return bytes((0x60, len(content))) + content


def test_fields_that_are_not_needed_may_come_in_any_number_and_order() -> None:
    version, title, implementation = b"\x80\x02\x07\x80", b"\xa7\x03\x02\x01\x01", b"\xbd\x03ABC"
    request = AssociationRequest.from_bytes(aarq(version, INITIATE, title, CONTEXT, implementation))
    assert (request.context, request.mechanism, request.secret) == (1, 0, None)
    assert InitiateRequest.from_bytes(request.user_information).max_pdu == 1200


def test_lengths_in_long_form_are_read() -> None:
    long = bytes.fromhex("be8110040e01000000065f1f0400007e1f04b0")
    assert AssociationRequest.from_bytes(aarq(CONTEXT, long)).user_information[:1] == b"\x01"


@pytest.mark.parametrize(
    "octets",
    [
        aarq(INITIATE),
        aarq(CONTEXT.replace(b"\x60\x85", b"\x61\x85"), INITIATE),
        aarq(CONTEXT, INITIATE) + b"\x00",
        aarq(CONTEXT, INITIATE, b"\x8b\x02\x01\x02"),
        aarq(CONTEXT, INITIATE, b"\xac\x02\x05\x00"),
        b"\x60\x84\xff\xff\xff\xff",
        b"\x60\x82\x05\x00\xac\x82\x04\xfc" + b"\x80" * 0x4FC,  # a field longer than any password
        b"\x61\x05\xa2\x03\x02\x01\x00",
        b"\x61",
    ],
)
def test_wrong_acse_is_a_remote_error(octets: bytes) -> None:
    kind = AssociationRequest if octets[0] == 0x60 else AssociationResponse
    with pytest.raises(RemoteProtocolError):
        kind.from_bytes(octets)


@pytest.mark.parametrize("result", ["a203020103", "a20402020100", "a2020200", "a203040100"])
def test_association_results_that_do_not_exist(result: str) -> None:
    content = bytes.fromhex("a109060760857405080101" + result + "a305a103020100")
    with pytest.raises(RemoteProtocolError):
        AssociationResponse.from_bytes(bytes((0x61, len(content))) + content)


def test_provider_diagnostics_are_told_apart() -> None:
    response = AssociationResponse(AssociationResult.REJECTED_PERMANENT, 2, provider=True)
    assert AssociationResponse.from_bytes(response.to_bytes()) == response


@settings(max_examples=150)
@given(
    st.builds(
        AssociationRequest,
        st.binary(max_size=60),
        st.integers(1, 4),
        st.integers(0, 7),
        st.none() | st.binary(max_size=64),
        st.none() | st.binary(min_size=8, max_size=8),
    )
)
def test_requests_come_back(request: AssociationRequest) -> None:
    assert AssociationRequest.from_bytes(request.to_bytes()) == request


conformances = st.integers(0, 0x7FFFFF).map(Conformance)


@settings(max_examples=150)
@given(
    st.builds(
        InitiateRequest,
        conformances,
        st.integers(0, 65535),
        st.none() | st.binary(max_size=32),
        st.booleans(),
        st.none() | st.integers(-128, 127),
        st.integers(0, 255),
    ),
    st.builds(InitiateResponse, conformances, st.integers(0, 65535), st.none() | st.integers(-128, 127)),
)
def test_initiates_come_back(request: InitiateRequest, response: InitiateResponse) -> None:
    assert InitiateRequest.from_bytes(request.to_bytes()) == request
    assert InitiateResponse.from_bytes(response.to_bytes()) == response


def test_a_conformance_block_without_its_second_tag_octet_is_read() -> None:
    octets = bytes.fromhex("0800065f0400007e1f04b00007")
    assert InitiateResponse.from_bytes(octets).conformance == Conformance(0x007E1F)


@pytest.mark.parametrize("octets", ["", "08", "0800065f1f0500007e1f04b00007", "0800061f", "01000000065f"])
def test_wrong_initiates_are_remote_errors(octets: str) -> None:
    for kind in (InitiateRequest, InitiateResponse, ConfirmedServiceError):
        with pytest.raises(RemoteProtocolError):
            kind.from_bytes(bytes.fromhex(octets))


def test_releases_come_back() -> None:
    for reason in (None, 0, 1):
        assert ReleaseRequest.from_bytes(ReleaseRequest(reason).to_bytes()).reason == reason
        assert ReleaseResponse.from_bytes(ReleaseResponse(reason).to_bytes()).reason == reason
    with pytest.raises(RemoteProtocolError):
        ReleaseRequest.from_bytes(b"\x62\x04\x80\x02\x00\x00")


# --- units --------------------------------------------------------------------------------------------


def test_every_unit_of_the_vocabulary_that_meters_measure_has_a_code() -> None:
    for unit in Unit:
        quantum = Quantum(unit, -2)
        scaler, code = (item.value for item in scaler_unit(quantum).value)  # type: ignore[union-attr]
        assert quantum_of((scaler, code)) == quantum
    assert quantum_of((3, 30)) == Quantum(Unit.WATT_HOUR, 3)
    assert quantum_of((0, 30)) == WH
    assert quantum_of((0, 19)) == Quantum(Unit.CUBIC_METRE, -3), "a litre is a thousandth of a cubic metre"


@pytest.mark.parametrize("value", [None, (0,), (0, 999), (0, 10), (100, 30), ("0", 30)])
def test_what_is_no_known_unit_is_a_remote_error(value: object) -> None:
    with pytest.raises(RemoteProtocolError):
        quantum_of(value)  # type: ignore[arg-type]


def test_unit_codes_are_unique() -> None:
    assert len(cosem_units()) == 59
    assert {27, 28, 29, 30, 31, 32, 33, 35, 44, 255} <= set(cosem_units())


def test_an_initiate_with_an_impossible_size_is_our_own_error() -> None:
    with pytest.raises(LocalProtocolError):
        Association(1, max_pdu=65_536)

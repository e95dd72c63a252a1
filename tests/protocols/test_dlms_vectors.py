"""Captured frames and vectors of others: valid ones decode to what is expected and come back identical.

Values and APDUs; framing, ciphering and telegrams are in `test_dlms_vector_layers`. None is skipped:
`test_every_vector_is_accounted_for` counts them.
"""

from __future__ import annotations

import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from openami.protocols.dlms.apdus.acse import AssociationRequest, AssociationResponse, ReleaseResponse
from openami.protocols.dlms.apdus.action import ActionRequest
from openami.protocols.dlms.apdus.apdu import Apdu, decode_apdu
from openami.protocols.dlms.apdus.descriptors import Selector
from openami.protocols.dlms.apdus.get import GetRequest, GetResponse, GetResponseBlock
from openami.protocols.dlms.apdus.initiate import InitiateRequest, InitiateResponse
from openami.protocols.dlms.apdus.notification import DataNotification
from openami.protocols.dlms.apdus.set import SetRequest
from openami.protocols.dlms.encoding.axdr import BitString, Data, Tag, decode, decode_plain, encode
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.encoding.octets import Reader
from openami.protocols.dlms.framing.wrapper import WrapperDecoder
from openami.quantities.errors import RemoteProtocolError
from openami.quantities.obis import ObisCode

FILE = Path(__file__).resolve().parents[3] / "shared" / "data" / "dlms" / "vectors.json"

# Framing, and what is ciphered: `test_dlms_vector_layers`.
LAYERS_ELSEWHERE = {"hdlc", "mbus", "p1-ascii", "raw", "header", "apdu-part"}
ELSEWHERE = {
    "pwitab-test_security-test_encrypt_authenticated-2",
    "pwitab-test_security-test_gmac-3",
    "pwitab-test_security-test_gmac-4",
    "pwitab-test_security-test_gmac2-5",
    "pwitab-test_security-test_gmac2-6",
    "pwitab-test_xdlms-test_initiate-test_parse-5",
    "pwitab-test_xdlms-test_initiate-test_to_bytes-6",
}
# Bare fields: octets, and what they are.
FIELDS = {
    "pwitab-conftest-global_authentication_key-1": 16,
    "pwitab-conftest-global_encryption_key-3": 16,
    "pwitab-conftest-global_cip_encryption_key-5": 16,
    "pwitab-conftest-master_key-6": 16,
    "pwitab-test_asce-test_aarq-test_parse_ciphered_low_security2-5": 8,
    "pwitab-test_general_global_cipher-test_gen_glo_cipher_load-2": 8,
    "pwitab-test_cosem-test_obis_from_bytes-1": 6,
}
# The first and the last block of a long answer: no value without what is between them.
BLOCKS = {
    "pwitab-test_xdlms-test_get-test_transform_bytes-16",
    "pwitab-test_xdlms-test_get-test_transform_bytes-24",
}
# Parts of an APDU, and how many octets before them belong to the part around it.
SELECTORS = {
    "pwitab-test_xdlms-test_selective_access-test_range_descriptor_to_bytes-4": 0,
    "pwitab-test_xdlms-test_selective_access-test_range_descriptor_is_not_parsed-6": 1,
}
GET_DATA_RESULT = "pwitab-test_a_xdr-test_decode_array_and_structure-4"
KEYS_THAT_LOOK_LIKE_APDUS = {
    "pwitab-conftest-global_broadcast_key-2",
    "pwitab-conftest-global_cip_authentication_key-4",
}
REFUSED_OUTSIDE_CIPHERING = {
    "pwitab-test_general_global_cipher-test_gen_glo_cipher_load-1",
    "gb-glo-get-request-authenc",
    "gb-glo-get-request-enc-only",
}
# Tests of a client that is handed the wrong answer: the frame itself is right, or right for another service.
VALID_ALTHOUGH_FILED_AS_MALFORMED = {
    "pwitab-test_asce-test_aare-test_no_ciphering_no_security_app_context_name_wrong-2",
    "pwitab-test_xdlms-test_action-test_holds_error_instead_of_data_raises_valueerror-13",
    "pwitab-test_xdlms-test_action-test_has_data_raises_valueerror-11",
    "pwitab-test_xdlms-test_action-test_wrong_type_raises_valueerror-10",
    "pwitab-test_xdlms-test_get-test_error_mgs_raises_valueerror-12",
    "pwitab-test_xdlms-test_get-test_last_block_raises_valueerror-19",
    "pwitab-test_xdlms-test_get-test_error_msg_raises_valueerror-21",
    "pwitab-test_xdlms-test_get-test_error_msg_raises_valueerror-28",
    "pwitab-test_xdlms-test_get-test_not_last_block_raises_valueerror-33",
    "pwitab-test_xdlms-test_selective_access-test_range_descriptor_is_not_parsed-5",
}
# Hostile in intent, and yet values that the standard has.
VALID_ALTHOUGH_HOSTILE = {
    "syn-float32": 230.5,
    "syn-bcd": 99,
    "syn-utf8": "Müll",
    "syn-datetime-dst-end-begin-codes": bytes.fromhex("07eafd190703000000ffc400"),
    "syn-datetime-feb30": bytes.fromhex("07ea021eff00000000800000"),
    "syn-datetime-24h": bytes.fromhex("07ea021cff18000000800000"),
    "syn-exception-response-ic-error": None,
    "syn-conf-service-error": None,
    "syn-block-number-wrong": None,
}


@cache
def vectors() -> dict[str, dict[str, Any]]:
    if not FILE.exists():
        return {}
    return {entry["id"]: entry for entry in json.loads(FILE.read_text("utf-8"))}


def covered() -> list[str]:
    elsewhere = {*ELSEWHERE, *FIELDS, *BLOCKS, *SELECTORS, GET_DATA_RESULT}
    return [
        name
        for name, entry in vectors().items()
        if entry["layer"] not in LAYERS_ELSEWHERE and name not in elsewhere
    ]


def octets_of(name: str) -> bytes:
    octets = bytes.fromhex(vectors()[name]["frame_hex"])
    return octets[3:] if octets[:3] in (b"\xe6\xe6\x00", b"\xe6\xe7\x00") else octets


def whole(octets: bytes) -> object:
    """Decode to the bottom: an APDU and the data in it, an A-XDR value, or a date-time."""
    apdu = decode_apdu(octets)
    if isinstance(apdu, GetResponse) and isinstance(apdu.data, bytes):
        decode_plain(apdu.data)
    return apdu


def is_valid(name: str) -> bool:
    if name in REFUSED_OUTSIDE_CIPHERING or name in KEYS_THAT_LOOK_LIKE_APDUS:
        return False
    kind = vectors()[name]["kind"]
    return kind in ("ok", "real-bug") or (
        name in VALID_ALTHOUGH_HOSTILE or name in VALID_ALTHOUGH_FILED_AS_MALFORMED
    )


def is_value(name: str) -> bool:
    """True where the vector is a bare A-XDR value."""
    octets = vectors()[name]["frame_hex"]
    layer = vectors()[name]["layer"]
    return layer == "axdr" or (
        layer in ("fragment", "axdr-or-initiate")
        and octets[:2] in ("01", "02", "09")
        and "initiate" not in name
    )


NAMES = covered()
VALUES = [name for name in NAMES if is_value(name) and is_valid(name)]
APDUS = [
    name
    for name in NAMES
    if is_valid(name)
    and not is_value(name)
    and not octets_of(name).startswith(b"\x07")
    and "udp_message" not in name
]
DATE_TIMES = [name for name in NAMES if "bytes_datetime_conversion" in name]
WRONG = [name for name in NAMES if not is_valid(name) and vectors()[name]["layer"] != "wrapper"]

pytestmark = pytest.mark.skipif(not NAMES, reason="no vectors beside the project (shared/data/dlms)")


def test_every_vector_is_accounted_for() -> None:
    everything = vectors()
    later = [name for name, entry in everything.items() if entry["layer"] in LAYERS_ELSEWHERE]
    wrapped = ["syn-wrapper-len-short", "pwitab-test_udp_message-test_udp_message_from_bytes-1"]
    groups = (
        VALUES,
        APDUS,
        DATE_TIMES,
        WRONG,
        wrapped,
        list(SELECTORS),
        [GET_DATA_RESULT],
        list(ELSEWHERE),
        list(FIELDS),
        list(BLOCKS),
        later,
    )
    counted = [name for group in groups for name in group]
    assert sorted(counted) == sorted(everything)
    assert len(everything) == 212
    assert (len(VALUES), len(APDUS), len(DATE_TIMES), len(WRONG)) == (9, 80, 3, 47)


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_bare_fields_are_no_apdus(name: str) -> None:
    octets = octets_of(name)
    assert len(octets) == FIELDS[name]
    with pytest.raises(RemoteProtocolError):
        decode_apdu(octets)
    if FIELDS[name] == 6:
        assert ObisCode.from_bytes(octets).to_bytes() == octets


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_a_block_of_a_value_is_no_value(name: str) -> None:
    for read in (decode, decode_plain, decode_apdu):
        with pytest.raises(RemoteProtocolError):
            read(octets_of(name))


def as_expected(value: Data) -> object:
    """A typed value in the notation of the vectors."""
    if value.tag in (Tag.ARRAY, Tag.STRUCTURE):
        assert isinstance(value.value, tuple)
        return {value.tag.name.lower(): [as_expected(item) for item in value.value]}
    inner: object = value.value
    if inner is None:
        return None
    if isinstance(inner, bytes):
        inner = inner.hex()
    if isinstance(inner, BitString):
        inner = inner.octets.hex()
    return {value.tag.name.lower().replace("_", "-"): inner}


def matches(expected: object, found: object) -> bool:
    """Equality of the two notations; the vectors annotate some leaves."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return all(key in expected and matches(expected[key], value) for key, value in found.items())
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(matches, expected, found))
    return expected == found


@pytest.mark.parametrize("name", VALUES)
def test_value_decodes_as_expected_and_comes_back(name: str) -> None:
    octets = octets_of(name)
    value = decode(octets)
    assert encode(value) == octets
    expected = (vectors()[name]["expected"] or {}).get("axdr")
    if expected is not None:
        assert matches(expected, as_expected(value))


@pytest.mark.parametrize("name", APDUS)
def test_apdu_decodes_as_expected_and_comes_back(name: str) -> None:
    octets = octets_of(name)
    apdu = whole(octets)
    canonical = octets[:5] + octets[6:] if octets[5:7] == b"\x09\x0c" else octets  # Kaifa's extra tag
    assert apdu.to_bytes() == canonical  # type: ignore[attr-defined]
    expected = vectors()[name]["expected"]
    if expected is not None:
        check(apdu, expected)  # type: ignore[arg-type]


def check(apdu: Apdu, expected: dict[str, Any]) -> None:
    """The fields that a vector names."""
    match apdu:
        case DataNotification():
            notification = expected["data-notification"]
            assert f"{apdu.long_invoke:08x}" == notification["long-invoke-id-and-priority"]
            assert apdu.date_time.hex() == notification["date-time"]
            assert matches(notification["body"], as_expected(apdu.body))
        case GetResponse() if isinstance(apdu.data, bytes):
            response = expected["get-response-normal"]
            assert apdu.invoke == response["invoke-id-and-priority"]
            assert matches(response["data"], as_expected(decode(apdu.data)))
        case GetRequest():
            request = expected["get-request-normal"]
            named = (apdu.attribute.class_id, apdu.attribute.logical_name.dotted, apdu.attribute.index)
            assert named == (request["class"], request["ln"], request["attr"])
        case AssociationRequest():
            initiate = InitiateRequest.from_bytes(apdu.user_information)
            assert (apdu.context, apdu.mechanism) == (expected["context"], expected["mechanism"])
            assert apdu.secret == expected["secret"].encode()
            assert f"{initiate.conformance:06x}" == expected["conformance"]
            assert initiate.max_pdu == expected["max_pdu"]
        case AssociationResponse():
            assert apdu.user_information is not None
            response = InitiateResponse.from_bytes(apdu.user_information)
            found = (apdu.context, apdu.result, apdu.diagnostic, response.max_pdu, response.vaa_name)
            assert found == tuple(expected[k] for k in ("context", "result", "diagnostic", "max_pdu", "vaa"))
            assert f"{response.conformance:06x}" == expected["conformance"]
        case ReleaseResponse():
            assert apdu.reason == expected["reason"]
        case _:
            pytest.fail(f"{type(apdu).__name__} has an expectation that is not checked: {expected}")


@pytest.mark.parametrize("name", sorted(VALID_ALTHOUGH_HOSTILE))
def test_hostile_but_valid_values(name: str) -> None:
    apdu = decode_apdu(octets_of(name))
    expected = VALID_ALTHOUGH_HOSTILE[name]
    if isinstance(apdu, GetResponse):
        assert isinstance(apdu.data, bytes)
        assert decode_plain(apdu.data) == expected
    if isinstance(apdu, GetResponseBlock):
        assert apdu.block == 2


@pytest.mark.parametrize("name", DATE_TIMES)
def test_date_times_come_back(name: str) -> None:
    octets = octets_of(name)
    assert CosemDateTime.from_bytes(octets).to_bytes() == octets


@pytest.mark.parametrize("name", WRONG)
def test_malformed_and_hostile_are_remote_errors_at_once(name: str) -> None:
    octets = octets_of(name)
    with pytest.raises(RemoteProtocolError):
        whole(octets)
    begin = time.process_time()
    for _ in range(10):
        with pytest.raises(RemoteProtocolError):
            whole(octets)
    assert time.process_time() - begin < 0.5, "50 ms each would already be a hang"


@pytest.mark.parametrize("name", [*APDUS, *VALUES])
def test_every_cut_of_a_valid_vector_is_a_remote_error(name: str) -> None:
    octets = octets_of(name)
    read = decode if is_value(name) else whole
    for cut in range(min(len(octets), 600)):
        with pytest.raises(RemoteProtocolError):
            read(octets[:cut])


@pytest.mark.parametrize("name", SELECTORS)
def test_selectors_come_back(name: str) -> None:
    octets = octets_of(name)[SELECTORS[name] :]
    reader = Reader(octets)
    assert Selector.read(reader).to_bytes() == octets
    reader.end()


def test_get_data_result_comes_back() -> None:
    octets = octets_of(GET_DATA_RESULT)
    assert octets[0] == 0
    assert encode(decode(octets[1:])) == octets[1:]


def test_wrapper_vectors() -> None:
    short = octets_of("syn-wrapper-len-short")
    decoder = WrapperDecoder()
    assert decoder.feed(short) == []
    assert isinstance(decoder.end(), RemoteProtocolError)
    header = octets_of("pwitab-test_udp_message-test_udp_message_from_bytes-1")
    (frame,) = WrapperDecoder().feed(header + b"\x00" * 0x46)
    assert (frame.source, frame.destination, len(frame.apdu)) == (1, 1, 0x46)  # type: ignore[union-attr]


def test_set_and_action_vectors_name_what_they_mean() -> None:
    write = decode_apdu(octets_of("pwitab-test_xdlms-test_set-test_transform_bytes-1"))
    assert isinstance(write, SetRequest)
    assert str(write.attribute) == "0-0:1.0.0 attribute 2"
    action = decode_apdu(octets_of("jdlms-reply-to-hls-action-request"))
    assert isinstance(action, ActionRequest)
    assert str(action.method) == "0-0:40.0.0 method 1"

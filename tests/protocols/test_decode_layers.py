"""`decode_layers` explains every vector, with and without keys, and whatever else it is given."""

from __future__ import annotations

import json
import random
import tracemalloc
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.protocols.dlms.client.vendor_quirks import quirks_named, quirks_of, vendor_quirks
from openami.protocols.dlms.encoding.axdr import Data, Tag, encode
from openami.protocols.dlms.framing.hdlc_frame import HdlcAddress, HdlcFrame
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.layers.decode_layers import MAX_DUMP, decode_layers
from openami.protocols.dlms.layers.layer_tree import Node
from openami.protocols.dlms.layers.protection_layers import LayerKeys
from openami.protocols.dlms.protection.ciphered_apdu import Form
from openami.protocols.dlms.protection.ciphering import Cipher
from openami.protocols.dlms.protection.general_ciphering import GeneralCipher, KeySource
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError, SecurityError
from openami.security.counters import MemoryCounters, ReceiveCounters, SendCounter
from openami.security.meter_keys import MeterKeys
from openami.security.secret import Secret

FILE = Path(__file__).resolve().parents[3] / "shared" / "data" / "dlms" / "vectors.json"
KEYED = {
    "espdlms-hdlc_kamstrup_omnipower": "deciphered, tag verified",
    "espdlms-hdlc_landis_gyr_e450": "deciphered, tag verified",
    "espdlms-hdlc_lgz_e450_2": "deciphered, tag verified",
    "espdlms-mbus_netz_noe_p1": "deciphered, not authenticated by the sender",
}
GET_CLOCK = bytes.fromhex("c001c100080000010000ff0200")


@cache
def vectors() -> dict[str, dict[str, Any]]:
    if not FILE.exists():
        return {}
    return {entry["id"]: entry for entry in json.loads(FILE.read_text("utf-8"))}


needs_vectors = pytest.mark.skipif(
    not FILE.exists(), reason="no vectors beside the project (shared/data/dlms)"
)


def keys_of(entry: dict[str, Any]) -> LayerKeys:
    keys = entry["keys"] or {}

    def secret(name: str) -> Secret | None:
        return Secret.from_hex(keys[name]) if keys.get(name) else None

    title = bytes.fromhex(keys.get("system_title") or "")
    return LayerKeys(secret("ek"), secret("ak"), client_title=title)


def explained(name: str) -> Node:
    entry = vectors()[name]
    return decode_layers(bytes.fromhex(entry["frame_hex"]), keys_of(entry))


def one(tree: Node, name: str) -> Node:
    (found,) = tree.find(name)
    return found


def faults(tree: Node) -> list[str]:
    return [fault.value for fault in tree.faults()]


def sound(node: Node, size: int) -> None:
    """Places lie inside what they count in, children inside their parent, and all of it is JSON."""
    assert 0 <= node.begin <= node.end <= size, node
    for child in node.children:
        sound(child, len(node.octets) if node.octets else size)


# --- vectors ------------------------------------------------------------------------------------------


@needs_vectors
@pytest.mark.parametrize("name", list(vectors()))
def test_every_vector_is_explained(name: str) -> None:
    entry = vectors()[name]
    octets = bytes.fromhex(entry["frame_hex"])
    tree = explained(name)
    sound(tree, len(octets))
    json.dumps(tree.document())
    layer, kind = entry["layer"], entry["kind"]
    framing = {"hdlc": "HDLC", "mbus": "M-Bus", "wrapper": "wrapper", "p1-ascii": "IEC 62056-21 telegram"}
    if layer in framing:
        assert tree.name == framing[layer]
    if kind == "ok" and layer in ("acse", "llc-apdu", "initiate"):
        assert [fault for fault in faults(tree) if "missing" not in fault] == []


@needs_vectors
@pytest.mark.parametrize("name", [n for n, v in vectors().items() if (v["expected"] or {}).get("hdlc")])
def test_hdlc_frames_are_what_is_expected(name: str) -> None:
    frames = list(explained(name).find("HDLC frame"))
    expected = vectors()[name]["expected"]["hdlc"]
    assert len(frames) == len(expected)
    for frame, facts in zip(frames, expected, strict=True):
        assert frame.end - frame.begin in (facts["len"] + 1, facts["len"] + 2)
        parts = {child.name: child for child in frame.children}
        assert ("segments follow" in parts["format"].value) is facts["seg"]
        assert parts["control"].value.startswith(f"{facts['control']:#04x}")
        assert parts["FCS"].value == ("right" if facts["fcs_ok"] else "wrong")
        if facts["info"]:
            assert parts["HCS"].value == ("right" if facts["hcs_ok"] else "wrong")
            assert parts["information"].end - parts["information"].begin == facts["info"]


@needs_vectors
@pytest.mark.parametrize("name", list(KEYED))
def test_captures_with_keys_are_deciphered_to_the_last_octet(name: str) -> None:
    tree = explained(name)
    expected = vectors()[name]["expected"]
    inside = one(tree, "APDU inside")
    assert inside.octets.hex() == expected["plaintext_hex"]
    assert KEYED[name] in inside.value
    assert faults(tree) == []
    ciphering = one(tree, "general-glo-ciphering")
    parts = {child.name: child.value for child in ciphering.children}
    assert parts["invocation counter"] == str(expected["ciphering"]["invocation-counter"])
    assert parts["system title"].replace(" ", "").startswith(expected["ciphering"]["system-title"])
    assert one(tree, "data-notification").children


@needs_vectors
def test_without_keys_it_says_which_is_missing() -> None:
    entry = vectors()["espdlms-hdlc_landis_gyr_e450"]
    octets = bytes.fromhex(entry["frame_hex"])
    assert faults(decode_layers(octets)) == ["not deciphered: the encryption key is missing"]
    only = LayerKeys(Secret.from_hex(entry["keys"]["ek"]))
    tree = decode_layers(octets, only)
    assert "tag not verified: the authentication key is missing" in one(tree, "APDU inside").value
    assert one(tree, "data-notification").children
    wrong = LayerKeys(Secret(bytes(16)), Secret.from_hex(entry["keys"]["ak"]))
    assert "the authentication tag is wrong" in faults(decode_layers(octets, wrong))[0]


@needs_vectors
@pytest.mark.parametrize(
    "name",
    [n for n, v in vectors().items() if isinstance((v["expected"] or {}).get("data-notification"), dict)],
)
def test_notifications_show_every_value_that_is_expected(name: str) -> None:
    expected = vectors()[name]["expected"]["data-notification"]
    tree = explained(name)
    notification = one(tree, "data-notification")
    stamp = one(notification, "date-time")
    assert stamp.value.replace(" ", "").startswith(expected["date-time"] or "notgiven")
    body = notification.children[-1]
    compare(body, expected["body"])


def compare(node: Node, expected: Any) -> None:
    if expected is None:
        assert node.name == "null-data"
        return
    ((kind, value),) = expected.items()
    assert node.name == kind
    if isinstance(value, list):
        assert len(node.children) == len(value)
        for child, item in zip(node.children, value, strict=True):
            compare(child, item)
    elif kind == "octet-string" and len(value) <= 128:
        assert node.value.split("  ")[0].replace(" ", "") == value or not value
    elif isinstance(value, int):
        assert node.value == str(value)
    elif kind == "visible-string":
        assert node.value == f'"{value}"'


@needs_vectors
def test_green_book_request_is_deciphered_with_the_title_of_the_client() -> None:
    for name, words in (
        ("gb-glo-get-request-authenc", "deciphered, tag verified"),
        ("gb-glo-get-request-enc-only", "deciphered, not authenticated by the sender"),
    ):
        inside = one(explained(name), "APDU inside")
        assert inside.octets.hex() == vectors()[name]["expected"]["plaintext"]
        assert words in inside.value
        assert one(inside, "attribute-descriptor").value == "0-0:1.0.0 Clock, attribute 2 time"


@needs_vectors
def test_captures_with_untagged_fields_are_read_with_the_quirk_that_says_so() -> None:
    quirk = quirks_named("untagged_descriptors")
    for name, objects in (("espdlms-raw_egd_example", 27), ("espdlms-raw_sagecom_xt211", 22)):
        octets = bytes.fromhex(vectors()[name]["frame_hex"])
        assert faults(decode_layers(octets))
        tree = decode_layers(octets, quirks=quirk)
        assert faults(tree) == []
        inner = one(tree, "as the quirk untagged_descriptors reads it")
        assert next(inner.find("array")).value == f"{objects} elements"


# --- what it says -------------------------------------------------------------------------------------


def test_register_in_a_push_is_shown_with_name_value_and_unit() -> None:
    tree = decode_layers(
        bytes.fromhex("0f400000000001010203" + "09060100200700ff" + "1208fc" + "02020fff1623")
    )
    assert one(tree, "array").children[0].value == "1-0:32.7.0 Voltage L1 = 230.0 V"
    assert faults(tree) == []


def test_offsets_point_at_the_octets() -> None:
    octets = Frame(16, 1, GET_CLOCK).to_bytes()
    tree = decode_layers(octets)
    name = one(tree, "logical name")
    assert octets[name.begin : name.end] == bytes.fromhex("0000010000ff")
    assert one(tree, "wrapper frame").value == "16 to 1"


def test_dialogue_teaches_titles_and_the_dedicated_key() -> None:
    keys = MeterKeys(Secret(bytes(range(16))), Secret(bytes(range(16, 32))), Secret(bytes(range(32, 48))))
    client, meter = b"CLI00001", b"MTR00001"
    dedicated = Secret(bytes(range(64, 80)))

    def cipher(own: bytes, other: bytes) -> Cipher:
        store = MemoryCounters()
        return Cipher(keys, own, other, SendCounter(store, "s"), ReceiveCounters(store), dedicated)

    initiate = bytes.fromhex("010110") + dedicated.reveal() + bytes.fromhex("0000065f1f0400007e1f04b0")
    user = cipher(client, meter).seal(initiate, AUTHENTICATED_ENCRYPTION)
    body = (
        bytes.fromhex("a109060760857405080103")
        + b"\xa6\x0a\x04\x08" + client
        + b"\xbe" + bytes((len(user) + 2,)) + b"\x04" + bytes((len(user),)) + user
    )  # fmt: skip
    aarq = b"\x60" + bytes((len(body),)) + body
    request = cipher(client, meter).seal(GET_CLOCK, AUTHENTICATED_ENCRYPTION, Form.DEDICATED)
    octets = b"".join(Frame(1, 16, apdu).to_bytes() for apdu in (aarq, request))
    tree = decode_layers(octets, LayerKeys(keys.global_unicast, keys.authentication))
    assert faults(tree) == []
    assert [node.octets for node in tree.find("APDU inside")][1] == GET_CLOCK
    shown = json.dumps(tree.document())
    assert dedicated.reveal().hex() not in shown
    assert "16 octets, not shown" in shown


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize(
    "protection", [Protection.AUTHENTICATED, Protection.ENCRYPTED, AUTHENTICATED_ENCRYPTION]
)
def test_every_form_and_protection_is_opened(form: Form, protection: Protection) -> None:
    keys = MeterKeys(Secret(bytes(range(16))), Secret(bytes(range(16, 32))), Secret(bytes(range(32, 48))))
    store = MemoryCounters()
    dedicated = Secret(bytes(range(64, 80)))
    cipher = Cipher(
        keys, b"CLI00001", b"MTR00001", SendCounter(store, "s"), ReceiveCounters(store), dedicated
    )
    sealed = cipher.seal(GET_CLOCK, protection, form)
    known = LayerKeys(keys.global_unicast, keys.authentication, dedicated, client_title=b"CLI00001")
    tree = decode_layers(sealed, known)
    assert faults(tree) == []
    assert one(tree, "APDU inside").octets == GET_CLOCK


def test_general_ciphering_is_opened_where_the_key_is_one_that_is_given() -> None:
    keys = MeterKeys(Secret(bytes(range(16))), Secret(bytes(range(16, 32))), Secret(bytes(range(32, 48))))
    store = MemoryCounters()
    cipher = Cipher(keys, b"CLI00001", b"MTR00001", SendCounter(store, "s"), ReceiveCounters(store))
    known = LayerKeys(keys.global_unicast, keys.authentication)
    general = GeneralCipher(cipher)
    sealed = general.seal(GET_CLOCK, AUTHENTICATED_ENCRYPTION, KeySource.UNICAST, bytes(8))
    tree = decode_layers(sealed, known)
    assert faults(tree) == []
    assert one(tree, "APDU inside").octets == GET_CLOCK
    assert one(tree, "recipient-system-title").value.startswith(b"MTR00001".hex(" "))
    wrapped = general.seal(GET_CLOCK, AUTHENTICATED_ENCRYPTION, KeySource.WRAPPED, bytes(8))
    assert faults(decode_layers(wrapped, known)) == ["not deciphered: the encryption key is missing"]


def test_password_and_secret_are_never_shown() -> None:
    aarq = bytes.fromhex(
        "6036a1090607608574050801018a0207808b0760857405080201ac0a80083132333435363738be10040e01000000065f1f0400007e1f04b0"
    )
    change = bytes.fromhex("c101c1000f0000280000ff0700") + encode(Data(Tag.OCTET_STRING, b"12345678"))
    hls = bytes.fromhex("c301c1000f0000280000ff0201") + encode(Data(Tag.OCTET_STRING, b"12345678"))
    for octets in (aarq, change, hls, Frame(1, 16, aarq).to_bytes()):
        tree = decode_layers(octets)
        shown = json.dumps(tree.document())
        assert faults(tree) == []
        assert "12345678" not in shown
        assert b"12345678".hex() not in shown.replace(" ", "")
        assert "not shown" in shown


def test_segments_and_blocks_are_put_together() -> None:
    value = encode(Data(Tag.OCTET_STRING, bytes(range(60))))
    blocks = [value[:30], value[30:]]
    apdus = [
        bytes((0xC4, 2, 0xC1, number == 2))
        + number.to_bytes(4, "big")
        + b"\x00"
        + bytes((len(piece),))
        + piece
        for number, piece in enumerate(blocks, 1)
    ]
    octets = b"".join(
        HdlcFrame(HdlcAddress(16), HdlcAddress(1), 0x30, b"\xe6\xe7\x00" + apdu).to_bytes() for apdu in apdus
    )
    tree = decode_layers(octets)
    assert one(tree, "value of all blocks").octets == value
    assert faults(tree) == []
    message = b"\xe6\xe7\x00\xc4\x01\xc1\x00" + value
    cut = [
        HdlcFrame(HdlcAddress(16), HdlcAddress(1), 0x30, message[:20], segmented=True),
        HdlcFrame(HdlcAddress(16), HdlcAddress(1), 0x32, message[20:]),
    ]
    tree = decode_layers(b"".join(frame.to_bytes() for frame in cut))
    assert one(tree, "message of all segments").octets == message
    assert faults(tree) == []


# --- whatever it is given -----------------------------------------------------------------------------


@needs_vectors
def test_every_vector_cut_at_every_octet_is_explained() -> None:
    for entry in vectors().values():
        octets = bytes.fromhex(entry["frame_hex"])[:700]
        step = 1 if len(octets) < 120 else 7
        for cut in range(0, len(octets), step):
            sound(decode_layers(octets[:cut], keys_of(entry)), cut)


@needs_vectors
def test_three_thousand_changed_vectors_are_explained() -> None:
    chance = random.Random(4)
    entries = [entry for entry in vectors().values() if len(entry["frame_hex"]) < 1400]
    for _ in range(3000):
        entry = chance.choice(entries)
        octets = bytearray.fromhex(entry["frame_hex"])
        for _ in range(chance.randrange(1, 4)):
            octets[chance.randrange(len(octets))] = chance.randrange(256)
        sound(decode_layers(bytes(octets), keys_of(entry)), len(octets))


@given(st.binary(max_size=300))
@settings(max_examples=400, deadline=None)
def test_any_octets_are_explained(octets: bytes) -> None:
    tree = decode_layers(octets, LayerKeys(Secret(bytes(16)), Secret(bytes(16)), client_title=b"CLIENT01"))
    sound(tree, len(octets))
    json.dumps(tree.document())


@pytest.mark.parametrize(
    "octets",
    [
        b"\x7e" * 20_000,
        b"\x7e\xa0" * 10_000,
        b"\x7e\xa7\xff" * 7_000,
        b"\xc4\x01\xc1\x00" + b"\x01\x01" * 10_000,
        b"\xc4\x01\xc1\x00\x01\x82\x4e\x20" + b"\x00" * 20_000,
        b"\xdb\x00" * 10_000,
        b"\xe0\x80\x00\x01\x00\x00\x01\xe0" * 2_500,
        b"\x60\x7f" * 10_000,
        b"\x68\x03\x03\x68" * 5_000,
        b"\x13\x00\x00" * 7_000,
        b"\xc4\x01\xc1\x00\x01\x82\x1b\x58" + b"\x13\x00\x00" * 7_000,
        b"\x00\x01" * 10_000,
        bytes(20_000),
        b"/" + bytes(20_000),
    ],
)
def test_hostile_octets_cost_memory_in_proportion(octets: bytes) -> None:
    tracemalloc.start()
    tree = decode_layers(octets, LayerKeys(Secret(bytes(16)), Secret(bytes(16)), client_title=b"CLIENT01"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    sound(tree, len(octets))
    assert peak < 30 << 20


def test_dump_that_is_too_long_is_explained_as_far_as_it_goes() -> None:
    octets = b"/" + b"a" * (MAX_DUMP + 9)
    tree = decode_layers(octets)
    assert faults(tree)[-1] == f"{len(octets) - MAX_DUMP} octets more than are explained at once"


def test_keys_of_a_wrong_length_are_refused() -> None:
    with pytest.raises(SecurityError):
        LayerKeys(Secret(bytes(15)))
    with pytest.raises(SecurityError):
        LayerKeys(client_title=b"short")


# --- quirks -------------------------------------------------------------------------------------------


def test_quirks_are_data_with_a_source() -> None:
    for name, quirk in vendor_quirks().items():
        assert quirk.name == name
        assert quirk.source
        assert quirks_named(name) is quirk
    assert [quirk.name for quirk in quirks_of(b"KFM10000")] == ["kaifa_date_time"]
    assert quirks_of(b"XXX10000") == ()
    with pytest.raises(LocalProtocolError, match="kaifa_date_time"):
        quirks_named("nobody")


def test_kaifa_quirk_takes_the_tag_away_and_nothing_else() -> None:
    kaifa = bytes.fromhex("0f40000000090c07e3020401173416ff800000020106000016dc")
    plain = bytes.fromhex("0f400000000c07e3020401173416ff800000020106000016dc")
    quirk = quirks_named("kaifa_date_time")
    assert quirk.notification(kaifa) == plain
    assert quirk.notification(plain) == plain
    assert quirk.notification(GET_CLOCK) == GET_CLOCK


def test_quirk_refuses_a_body_of_another_shape() -> None:
    quirk = quirks_named("untagged_descriptors")
    for cut in range(6, 40):
        with pytest.raises(RemoteProtocolError):
            quirk.notification(
                bytes.fromhex("0f000000010002021601" + "0105" + "0202")[:cut].ljust(cut, b"\x7f")
            )


def test_a_self_descriptive_access_response_is_explained_with_what_it_repeats() -> None:
    octets = bytes.fromhex("da50000002000101010008 0000010000ff02 0100 010104".replace(" ", ""))
    tree = decode_layers(octets)
    assert not list(tree.faults())
    assert [node.value for node in tree.find("attribute-descriptor")] == ["0-0:1.0.0 Clock, attribute 2 time"]
    assert [node.value for node in tree.find("result")] == ["4 object-undefined"]

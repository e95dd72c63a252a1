"""Captured frames of others, through every layer: framing, blocks, ciphering, values; and telegrams of P1.

Beside `test_dlms_vectors` (values and APDUs): what is expected of each frame stands with the vector, computed
by an independent decoder. Keys are those that were published with the captures.
"""

from __future__ import annotations

import json
import tracemalloc
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from openami.protocols.dlms.apdus.acse import ReleaseRequest, ReleaseResponse
from openami.protocols.dlms.apdus.apdu import decode_apdu
from openami.protocols.dlms.apdus.general_block import TransferBlock
from openami.protocols.dlms.apdus.initiate import InitiateRequest, InitiateResponse
from openami.protocols.dlms.apdus.notification import DataNotification
from openami.protocols.dlms.encoding.axdr import BitString, Data, Tag, decode_plain
from openami.protocols.dlms.encoding.octets import Reader
from openami.protocols.dlms.framing.hdlc_frame import HdlcDecoder, HdlcFrame
from openami.protocols.dlms.framing.mbus_frame import MBusDecoder, MBusFrame
from openami.protocols.dlms.framing.p1_telegram import P1Decoder, P1Telegram, crc16_arc
from openami.protocols.dlms.framing.push_framing import PushedApdu, PushReader
from openami.protocols.dlms.framing.wrapper import WrapperDecoder
from openami.protocols.dlms.protection.ciphered_apdu import CIPHERED_TAGS, CipheredApdu, Form
from openami.protocols.dlms.protection.ciphering import Cipher
from openami.protocols.dlms.protection.security_control import (
    AUTHENTICATED_ENCRYPTION,
    Protection,
    SecurityHeader,
)
from openami.quantities.errors import ProtectionError, RemoteProtocolError
from openami.quantities.obis import ObisCode
from openami.security.counters import MemoryCounters, ReceiveCounters, SendCounter
from openami.security.meter_keys import MeterKeys
from openami.security.secret import Secret

FILE = Path(__file__).resolve().parents[3] / "shared" / "data" / "dlms" / "vectors.json"


@cache
def vectors() -> dict[str, dict[str, Any]]:
    if not FILE.exists():
        return {}
    return {entry["id"]: entry for entry in json.loads(FILE.read_text("utf-8"))}


def octets_of(name: str) -> bytes:
    return bytes.fromhex(vectors()[name]["frame_hex"])


def of_layer(*layers: str) -> list[str]:
    return [name for name, entry in vectors().items() if entry["layer"] in layers]


def expecting(key: str) -> list[str]:
    return [name for name, entry in vectors().items() if key in (entry["expected"] or {})]


pytestmark = pytest.mark.skipif(not vectors(), reason="no vectors beside the project (shared/data/dlms)")

GREEN_BOOK = {
    "ek": "000102030405060708090A0B0C0D0E0F",
    "ak": "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF",
}
SENDER = bytes.fromhex("4d4d4d0000bc614e")
WRONG_CHECK = {"espdlms-hdlc_landis_gyr_zmf100"}
"""Captures whose frame check is wrong: refused, although the APDU inside could be guessed."""


# --- framing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", expecting("hdlc"))
def test_hdlc_frames_are_as_expected_and_come_back(name: str) -> None:
    octets, expected = octets_of(name), vectors()[name]["expected"]["hdlc"]
    decoder = HdlcDecoder()
    events = [*decoder.feed(octets), *decoder.end()]
    if name in WRONG_CHECK:
        assert [type(event) for event in events] == [RemoteProtocolError]
        assert not expected[0]["fcs_ok"]
        return
    frames = [event for event in events if isinstance(event, HdlcFrame)]
    assert len(frames) == len(events) == len(expected)
    for frame, said in zip(frames, expected, strict=True):
        whole = frame.to_bytes()
        assert len(whole) - 2 == said["len"]
        assert frame.segmented == said["seg"]
        assert frame.destination.to_bytes().hex() == said["dest"]
        assert frame.source.to_bytes().hex() == said["src"]
        assert frame.control == said["control"]
        assert len(frame.information) == said["info"]
        assert said["fcs_ok"]
        assert whole in octets


@pytest.mark.parametrize("name", expecting("mbus"))
def test_mbus_frames_are_as_expected_and_come_back(name: str) -> None:
    octets, expected = octets_of(name), vectors()[name]["expected"]["mbus"]
    decoder = MBusDecoder()
    frames = [*decoder.feed(octets), *decoder.end()]
    assert len(frames) == len(expected)
    for frame, said in zip(frames, expected, strict=True):
        assert isinstance(frame, MBusFrame)
        whole = frame.to_bytes()
        assert whole in octets
        assert whole[1] == said["L"]
        assert (whole[4], whole[5], whole[6]) == (said["C"], said["A"], said["CI"])
        assert (whole[7], whole[8]) == (said["STSAP"], said["DTSAP"])


# --- all layers ------------------------------------------------------------------------------------------


def keys_of(given: dict[str, str | None]) -> MeterKeys:
    """Keys of a capture; one that the meter does not use stands for the missing ones."""
    key, authentication = (bytes.fromhex(given.get(name) or "ee" * 16) for name in ("ek", "ak"))
    return MeterKeys(Secret(key), Secret(authentication), Secret(b"\xdd" * 16))


def receiver(keys: MeterKeys, sender: bytes) -> Cipher:
    counters = MemoryCounters()
    return Cipher(keys, b"HES00001", sender, SendCounter(counters, "send"), ReceiveCounters(counters))


def pushed(octets: bytes) -> list[bytes]:
    """The APDUs of a push, with general-block-transfer put together."""
    reader = PushReader()
    events = [*reader.feed(octets), *reader.end()]
    apdus = []
    pieces = b""
    for event in events:
        if isinstance(event, RemoteProtocolError):
            raise event
        assert isinstance(event, PushedApdu)
        if event.apdu[:1] != b"\xe0":
            apdus.append(event.apdu)
            continue
        block = decode_apdu(event.apdu)
        assert isinstance(block, TransferBlock)
        pieces += block.data
        if block.last:
            apdus.append(pieces)
            pieces = b""
    assert not pieces
    return apdus


CAPTURES = [name for name in expecting("data-notification") if vectors()[name]["layer"] != "p1-ascii"]
SEALED = expecting("ciphering")


@pytest.mark.parametrize("name", [name for name in CAPTURES if name not in SEALED])
def test_pushes_in_any_framing_have_the_expected_values(name: str) -> None:
    (apdu,) = pushed(octets_of(name))
    check(decode_apdu(apdu), vectors()[name]["expected"]["data-notification"])


def check(notification: object, expected: dict[str, Any]) -> None:
    assert isinstance(notification, DataNotification)
    assert f"{notification.long_invoke:08x}" == expected["long-invoke-id-and-priority"]
    assert notification.date_time.hex() == expected["date-time"]
    assert as_expected(notification.body) == expected["body"]


def as_expected(value: Data) -> object:
    """A typed value in the notation of the vectors."""
    if isinstance(value.value, tuple):
        return {value.tag.name.lower(): [as_expected(item) for item in value.value]}
    inner: object = value.value
    if inner is None:
        return None
    if isinstance(inner, bytes):
        inner = inner.hex()
    if isinstance(inner, BitString):
        inner = inner.octets.hex()
    return {value.tag.name.lower().replace("_", "-"): inner}


@pytest.mark.parametrize("name", SEALED)
def test_ciphered_captures_are_verified_and_say_what_is_expected(name: str) -> None:
    entry = vectors()[name]
    expected = entry["expected"]["ciphering"]
    (apdu,) = pushed(octets_of(name))
    one = CipheredApdu.from_bytes(apdu)
    assert one.form is Form.GENERAL_GLOBAL
    assert one.title is not None
    assert one.title.hex() == expected["system-title"]
    assert one.header.control[0] == expected["security-control"]
    assert one.header.counter == expected["invocation-counter"]
    assert len(one.header.to_bytes() + one.text) == expected["length"]
    assert one.to_bytes() == apdu
    if not entry["keys"]:
        return
    opened = receiver(keys_of(entry["keys"]), one.title).open(apdu)
    assert opened.apdu.hex() == entry["expected"]["plaintext_hex"]
    if (body := entry["expected"].get("data-notification")) is not None:
        check(decode_apdu(opened.apdu), body)
    # Authenticated ones are believed with the right key alone; one without a tag says so.
    assert (one.header.level is AUTHENTICATED_ENCRYPTION) == bool(entry["expected"]["tag_verified"])
    other = keys_of({"ek": "11" * 16, "ak": entry["keys"]["ak"]})
    if entry["expected"]["tag_verified"]:
        with pytest.raises(ProtectionError):
            receiver(other, one.title).open(apdu)
    with pytest.raises(ProtectionError):
        receiver(keys_of(entry["keys"]), one.title).open(
            apdu, AUTHENTICATED_ENCRYPTION | Protection.BROADCAST
        )


def test_there_are_as_many_captures_as_were_published() -> None:
    assert len(expecting("hdlc")) == 19
    assert len(SEALED) == 6
    assert sum(1 for name in SEALED if vectors()[name]["expected"].get("tag_verified")) == 3
    assert len(of_layer("p1-ascii")) == 13


# --- worked examples of ciphering ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "protection"),
    [
        ("gb-glo-get-request-authenc", AUTHENTICATED_ENCRYPTION),
        ("gb-glo-get-request-enc-only", Protection.ENCRYPTED),
    ],
)
def test_the_worked_example_is_sealed_and_opened_octet_for_octet(name: str, protection: Protection) -> None:
    sealed, plain = octets_of(name), octets_of("gb-plain-get-clock")
    assert vectors()[name]["expected"]["plaintext"] == plain.hex()
    cipher = receiver(keys_of(GREEN_BOOK), SENDER)
    opened = cipher.open(sealed, protection)
    assert (opened.apdu, opened.header.counter) == (plain, 0x01234567)
    counters = MemoryCounters()
    own = SendCounter(counters, "send")
    own.advance(0x01234567)
    meter = Cipher(keys_of(GREEN_BOOK), SENDER, b"HES00001", own, ReceiveCounters(counters))
    assert meter.seal(plain, protection) == sealed


def test_cipher_text_and_tag_of_the_security_tests() -> None:
    text = octets_of("pwitab-test_security-test_encrypt_authenticated-2")
    assert octets_of("gb-glo-get-request-authenc").endswith(text)
    assert octets_of("pwitab-test_security-test_encrypt_authenticated-1") == octets_of("gb-plain-get-clock")


def test_the_answer_to_a_challenge_of_the_worked_example() -> None:
    proof = octets_of("gb-hls5-fstoc")
    challenge = bytes.fromhex(vectors()["gb-hls5-fstoc"]["expected"]["stoc"])
    title = octets_of("pwitab-test_security-test_gmac-3")
    counters = MemoryCounters()
    own = SendCounter(counters, "send")
    own.advance(1)
    client = Cipher(keys_of(GREEN_BOOK), title, SENDER, own, ReceiveCounters(counters))
    assert client.prove(challenge) == proof
    receiver(keys_of(GREEN_BOOK), title).verify(challenge, proof)
    assert proof[5:] == octets_of("pwitab-test_security-test_gmac-4")
    header = SecurityHeader.read(Reader(proof))
    assert octets_of("pwitab-test_security-test_gmac2-5") == title + header.to_bytes()[1:]
    associated = header.control + bytes.fromhex(GREEN_BOOK["ak"]) + challenge
    assert octets_of("pwitab-test_security-test_gmac2-6") == associated
    for bit in range(len(proof) * 8):
        changed = bytearray(proof)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RemoteProtocolError):
            receiver(keys_of(GREEN_BOOK), title).verify(challenge, bytes(changed))


def test_ciphered_initiate_requests_are_verified() -> None:
    sealed = octets_of("pwitab-test_xdlms-test_initiate-test_parse-5")
    opened = receiver(keys_of(GREEN_BOOK), SENDER).open(sealed, AUTHENTICATED_ENCRYPTION)
    initiate = InitiateRequest.from_bytes(opened.apdu)
    assert initiate.dedicated_key == bytes.fromhex("00112233445566778899aabbccddeeff")
    assert initiate.to_bytes() == opened.apdu
    assert sealed.endswith(octets_of("pwitab-test_xdlms-test_initiate-test_to_bytes-6"))
    request = ReleaseRequest.from_bytes(
        octets_of("pwitab-test_asce-test_rlrq-test_with_ciphered_initiate_request-1")
    )
    assert request.user_information == sealed


def test_a_ciphered_initiate_response_is_verified_under_the_title_of_its_sender() -> None:
    release = octets_of("pwitab-test_asce-test_rlre-test_with_ciphered_initiate_response-2")
    sealed = ReleaseResponse.from_bytes(b"\x63" + release[1:]).user_information
    assert sealed is not None
    opened = receiver(keys_of(GREEN_BOOK), SENDER).open(sealed, AUTHENTICATED_ENCRYPTION)
    assert InitiateResponse.from_bytes(opened.apdu).max_pdu == 1024
    with pytest.raises(ProtectionError):
        receiver(keys_of(GREEN_BOOK), b"MMM00001").open(sealed)


def test_a_general_glo_header_with_an_empty_system_title_is_read() -> None:
    header = octets_of("issue-ams1198-empty-system-title")
    whole = b"\xdb" + header + bytes(0x0230 - 5)
    one = CipheredApdu.from_bytes(whole)
    assert (one.title, one.header.control, one.header.counter) == (b"", b"\x30", 0)
    assert CipheredApdu.from_bytes(octets_of("syn-general-glo-empty-title")).title == b""


# --- cuts, and bad frames between good ones --------------------------------------------------------------

LINES = [
    name
    for name in of_layer("hdlc", "mbus", "llc-apdu", "wrapper")
    if vectors()[name]["kind"] in ("ok", "real-bug", "resync")
]


@pytest.mark.parametrize("name", LINES)
def test_a_cut_stream_gives_nothing_that_the_whole_one_does_not(name: str) -> None:
    octets = octets_of(name)
    whole = PushReader()
    said = [e.apdu for e in [*whole.feed(octets), *whole.end()] if isinstance(e, PushedApdu)]
    for cut in range(1, len(octets)):
        reader = PushReader()
        before = reader.feed(octets[:cut])
        after = reader.end()
        apdus = [event.apdu for event in [*before, *after] if isinstance(event, PushedApdu)]
        assert apdus == said[: len(apdus)], cut
        assert sum(isinstance(event, RemoteProtocolError) for event in after) <= 1
        if len(apdus) < len(said) and cut > 4 and not apdus:
            assert [e for e in [*before, *after] if isinstance(e, RemoteProtocolError)], cut


@pytest.mark.parametrize(
    "bad",
    [name for name in of_layer("hdlc") if vectors()[name]["kind"] in ("malformed", "hostile")]
    + list(WRONG_CHECK),
)
def test_good_hdlc_frames_come_through_on_both_sides_of_a_bad_one(bad: str) -> None:
    good = octets_of("espdlms-hdlc_kaifa_ma304h3e")
    decoder = HdlcDecoder()
    events = [*decoder.feed(good + octets_of(bad) + good), *decoder.end()]
    (expected,) = HdlcDecoder().feed(good)
    assert events[0] == expected
    assert expected in events[1:]


@pytest.mark.parametrize("bad", ["issue-ams155-bad-len-mbus", "68010168ff", "68fafa68"])
def test_good_mbus_frames_come_through_on_both_sides_of_a_bad_one(bad: str) -> None:
    wrong = octets_of(bad) if bad in vectors() else bytes.fromhex(bad)
    good = octets_of("espdlms-mbus_kmswest")
    decoder = MBusDecoder()
    events = [*decoder.feed(good + wrong + good), *decoder.end()]
    (expected,) = MBusDecoder().feed(good)
    assert events[0] == expected
    assert expected in events[1:]


WRONG = [name for name, entry in vectors().items() if entry["kind"] in ("malformed", "hostile")]


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_costs_no_memory(name: str) -> None:
    """Whatever layer it is fed to, a few times its own length at most."""
    octets = octets_of(name)
    tracemalloc.start()
    for decoder in (HdlcDecoder(), MBusDecoder(), WrapperDecoder(), PushReader(), P1Decoder()):
        decoder.feed(octets)
        decoder.end()
    for read in (decode_apdu, decode_plain, CipheredApdu.from_bytes):
        try:
            read(octets)
        except RemoteProtocolError:
            continue
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000 + 20 * len(octets)


# --- P1 --------------------------------------------------------------------------------------------------

TELEGRAMS = of_layer("p1-ascii")
ENERGY = ObisCode(1, 0, 1, 8, 1)


@pytest.mark.parametrize("name", TELEGRAMS)
def test_telegrams_of_the_customer_port(name: str) -> None:
    octets = octets_of(name)
    decoder = P1Decoder()
    (telegram,) = decoder.feed(octets)
    assert isinstance(telegram, P1Telegram)
    assert decoder.end() is None
    check = octets[octets.index(b"!") + 1 : octets.index(b"\r\n", octets.index(b"!"))]
    assert telegram.checked == bool(check)
    # The vector gives the last four octets of the file, which is the check where it has four digits.
    said = vectors()[name]["expected"]["crc"].lstrip("!")
    if telegram.checked:
        assert int(said, 16) == int(check, 16) == crc16_arc(octets[: octets.index(b"!") + 1])
    lines = [line for line in octets[: octets.index(b"!")].split(b"\r\n")[2:] if line]
    assert len(telegram.objects) == sum(not line.startswith(b"(") for line in lines)
    texts = [value for item in telegram.objects for value in item.values]
    assert "".join(f"({text})" for text in texts).encode() == b"".join(
        line[line.index(b"(") :] for line in lines
    )


def test_a_telegram_names_what_it_means() -> None:
    (telegram,) = P1Decoder().feed(octets_of("dsmrp1-TELEGRAM_V5"))
    assert isinstance(telegram, P1Telegram)
    assert (telegram.manufacturer, telegram.identification) == ("ISk", "5\\2MT382-1000")
    assert telegram.find(ENERGY) == ("000004.426*kWh",)
    assert telegram.find(ObisCode(0, 1, 24, 2, 1)) == ("170102161005W", "00000.107*m3")
    assert telegram.find(ObisCode(9, 9, 9, 9, 9)) == ()


@pytest.mark.parametrize("name", TELEGRAMS)
def test_every_cut_of_a_telegram_is_one_error(name: str) -> None:
    octets = octets_of(name)
    end = octets.index(b"\r\n", octets.index(b"!")) + 2
    for cut in range(1, end):
        decoder = P1Decoder()
        assert decoder.feed(octets[:cut]) == []
        assert isinstance(decoder.end(), RemoteProtocolError)


def test_telegrams_come_whole_however_they_are_cut_and_good_ones_around_a_bad_one() -> None:
    good = octets_of("dsmrp1-TELEGRAM_V5")
    bad = good.replace(b"000004.426", b"000004.427")
    stream = good + bad + good + good[:200] + good
    expected = P1Decoder().feed(good)
    whole = P1Decoder().feed(stream)
    kinds = [type(event) for event in whole]
    assert kinds == [P1Telegram, RemoteProtocolError, P1Telegram, RemoteProtocolError, P1Telegram]
    assert [event for event in whole if isinstance(event, P1Telegram)] == expected * 3
    for size in (1, 7, 100):
        decoder = P1Decoder()
        events: list[object] = []
        for start in range(0, len(stream), size):
            events += decoder.feed(stream[start : start + size])
        assert [type(event) for event in events] == kinds


def test_an_endless_telegram_is_given_up() -> None:
    decoder = P1Decoder()
    events = [event for _ in range(100) for event in decoder.feed(b"/ISk5" + bytes(1000))]
    assert events
    assert all(isinstance(event, RemoteProtocolError) for event in events)


def test_tags_are_all_known() -> None:
    assert {tag for tag in CIPHERED_TAGS if tag > 0xDA} == {0xDB, 0xDC}
    assert Tag.OCTET_STRING == 9

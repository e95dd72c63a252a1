"""Numbers that others published or measured, and an independent computation beside each of ours."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers import Cipher as Aes
from cryptography.hazmat.primitives.ciphers import algorithms, modes

from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.general_block import GENERAL_BLOCK_TRANSFER, read_block
from openami.protocols.dlms.encoding.octets import Reader
from openami.protocols.dlms.framing.push_framing import PushedApdu, PushReader
from openami.protocols.dlms.protection.ciphered_apdu import CipheredApdu, Form
from openami.protocols.dlms.protection.ciphering import Cipher, CounterUsedError
from openami.protocols.dlms.protection.high_level_security import (
    EcdsaProver,
    Exchange,
    GmacProver,
    HashProver,
)
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.quantities.errors import ProtectionError
from openami.security import key_wrap, signature
from openami.security.counters import MemoryCounters, ReceiveCounters, SendCounter
from openami.security.gcm import Gcm
from openami.security.meter_keys import MeterKeys
from openami.security.secret import Secret
from openami.security.suites import suite

GREEN_BOOK = MeterKeys(
    Secret(bytes(range(16))), Secret(bytes(range(0xD0, 0xE0))), Secret(bytes(range(0xE0, 0xF0)))
)
"""Keys of the worked examples of the Green Book (suite 0)."""

FEFF = "feffe9928665731c6d6a8f9467308308"
CAFE = "cafebabefacedbaddecaf888"
TEXT = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
)
FEED = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
C128 = (
    "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
    "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985"
)
C256 = (
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
)
ZERO = "00" * 16
GCM = [  # McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, which SP 800-38D refers to
    (ZERO, ZERO[:24], "", "", "", "58e2fccefa7e3061367f1d57a4e7455a"),
    (ZERO, ZERO[:24], ZERO, "", "0388dace60b6a392f328c2b971b2fe78", "ab6e47d42cec13bdf53a67b21257bddf"),
    (FEFF, CAFE, TEXT, "", C128, "4d5c2af327cd64a62cf35abd2ba6fab4"),
    (FEFF, CAFE, TEXT[:120], FEED, C128[:120], "5bc94fbc3221a5db94fae95ae7121a47"),
    (ZERO * 2, ZERO[:24], "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
    (ZERO * 2, ZERO[:24], ZERO, "", "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"),
    (FEFF * 2, CAFE, TEXT, "", C256, "b094dac5d93471bdec1a502270e3cc6c"),
    (FEFF * 2, CAFE, TEXT[:120], FEED, C256[:120], "76fc6ece0f4e1768cddf8853bb2d551b"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "nonce", "plain", "associated", "sealed", "tag"), GCM)
def test_gcm_gives_the_published_text_and_the_first_96_bits_of_the_published_tag(
    key: str, nonce: str, plain: str, associated: str, sealed: str, tag: str
) -> None:
    gcm, number = Gcm(bytes.fromhex(key)), bytes.fromhex(nonce)
    text, bound = bytes.fromhex(plain), bytes.fromhex(associated)
    expected = bytes.fromhex(sealed + tag[:24])
    assert gcm.seal(number, text, bound) == expected
    assert gcm.open(number, expected, bound) == text
    assert gcm.crypt(number, bytes.fromhex(sealed)) == text
    for bit in range(96):
        wrong = bytearray(expected)
        wrong[len(text) + bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProtectionError):
            gcm.open(number, bytes(wrong), bound)
    for length in range(len(expected)):
        with pytest.raises(ProtectionError):
            gcm.open(number, expected[:length], bound)


WRAPPED = [  # RFC 3394, 4.1, 4.3 and 4.6
    (16, "00112233445566778899aabbccddeeff", "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5"),
    (32, "00112233445566778899aabbccddeeff", "64e8c3f9ce0f5ba263e9777905818a2a93c8191e7d6e8ae7"),
    (
        32,
        "00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f",
        "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21",
    ),
]


@pytest.mark.parametrize(("octets", "key", "wrapped"), WRAPPED)
def test_a_wrapped_key_is_the_published_one_and_each_bit_counts(octets: int, key: str, wrapped: str) -> None:
    master = Secret(bytes(range(octets)))
    assert key_wrap.wrap(master, Secret(bytes.fromhex(key))).hex() == wrapped
    assert key_wrap.unwrap(master, bytes.fromhex(wrapped)) == Secret(bytes.fromhex(key))
    for bit in range(len(wrapped) * 4):
        wrong = bytearray.fromhex(wrapped)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProtectionError):
            key_wrap.unwrap(master, bytes(wrong))
    for length in range(0, len(wrapped) // 2):
        with pytest.raises(ProtectionError):
            key_wrap.unwrap(master, bytes.fromhex(wrapped)[:length])


def receiving(keys: MeterKeys, sender: bytes) -> Cipher:
    store = MemoryCounters()
    return Cipher(keys, b"OAM00001", sender, SendCounter(store, "send"), ReceiveCounters(store))


def capture(shared_data: Path, name: str) -> tuple[bytes, dict[str, Any]]:
    """The ciphered APDU of a capture of a real meter, and what is known of it."""
    entries = json.loads((shared_data / "dlms" / "vectors.json").read_text("utf-8"))
    (entry,) = [item for item in entries if item["id"] == name]
    reader = PushReader()
    octets = bytes.fromhex(entry["frame_hex"])
    events = [*reader.feed(octets), *reader.end()]
    apdus = [event.apdu for event in events if isinstance(event, PushedApdu)]
    assert apdus
    if apdus[0][0] == GENERAL_BLOCK_TRANSFER:
        return b"".join(read_block(Reader(apdu, 1)).data for apdu in apdus), entry
    (apdu,) = apdus
    return apdu, entry


CAPTURES = [
    ("espdlms-hdlc_kamstrup_omnipower", "4b414d4501349083", AUTHENTICATED_ENCRYPTION),
    ("espdlms-hdlc_landis_gyr_e450", "4c475a677370b177", AUTHENTICATED_ENCRYPTION),
    ("espdlms-hdlc_lgz_e450_2", "4c475a67735dd3a9", AUTHENTICATED_ENCRYPTION),
    ("espdlms-mbus_netz_noe_p1", "4b464d6750000009", Protection.ENCRYPTED),
]


@pytest.mark.parametrize(("name", "title", "level"), CAPTURES)
def test_real_meters_are_deciphered_and_believed_once_and_no_bit_may_be_another(
    shared_data: Path, name: str, title: str, level: Protection
) -> None:
    apdu, entry = capture(shared_data, name)
    known = entry["keys"]
    keys = MeterKeys(
        Secret(bytes.fromhex(known["ek"])),
        Secret(bytes.fromhex(known["ak"]) if known["ak"] else bytes(16)),
        Secret(b"no key of these!"),
    )
    cipher = receiving(keys, bytes.fromhex(title))
    opened = cipher.open(apdu, level)
    assert opened.apdu[0] == 0x0F, "a data-notification"
    assert opened.header.level is level
    if (plain := entry["expected"].get("plaintext_hex")) is not None:
        assert opened.apdu.hex() == plain.lower()
    with pytest.raises(CounterUsedError):
        cipher.open(apdu, level)
    with pytest.raises(ProtectionError):
        receiving(keys, b"EVE00001").open(apdu, level)
    if level is Protection.ENCRYPTED:
        with pytest.raises(ProtectionError):
            receiving(keys, bytes.fromhex(title)).open(apdu, AUTHENTICATED_ENCRYPTION)
        return
    text = len(CipheredApdu.from_bytes(apdu).text)
    for place in range(len(apdu) - text - 5, len(apdu)):
        wrong = bytearray(apdu)
        wrong[place] ^= 1 << place % 8
        with pytest.raises(ProtectionError):
            receiving(keys, bytes.fromhex(title)).open(bytes(wrong), level)


def test_the_worked_examples_of_the_green_book_are_opened_and_sealed(shared_data: Path) -> None:
    entries = {
        entry["id"]: bytes.fromhex(entry["frame_hex"])
        for entry in json.loads((shared_data / "dlms" / "vectors.json").read_text("utf-8"))
    }
    title = bytes.fromhex("4d4d4d0000bc614e")
    plain = entries["gb-plain-get-clock"]
    for name, level in (
        ("gb-glo-get-request-authenc", AUTHENTICATED_ENCRYPTION),
        ("gb-glo-get-request-enc-only", Protection.ENCRYPTED),
    ):
        assert receiving(GREEN_BOOK, title).open(entries[name], level).apdu == plain
        store = MemoryCounters({"send": 0x01234567})
        sender = Cipher(GREEN_BOOK, title, b"MTR00001", SendCounter(store, "send"), ReceiveCounters(store))
        assert sender.seal(plain, level) == entries[name]
    client = bytes.fromhex("4d4d4d0000000001")
    challenge = bytes.fromhex("503677524a323146")
    receiving(GREEN_BOOK, client).verify(challenge, entries["gb-hls5-fstoc"])
    store = MemoryCounters({"send": 1})
    prover = Cipher(GREEN_BOOK, client, b"MTR00001", SendCounter(store, "send"), ReceiveCounters(store))
    assert prover.prove(challenge) == entries["gb-hls5-fstoc"]
    for bit in range(17 * 8):
        wrong = bytearray(entries["gb-hls5-fstoc"])
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProtectionError):
            receiving(GREEN_BOOK, client).verify(challenge, bytes(wrong))


CLIENT, METER = b"HES00001", b"OAM00001"
CTOS, STOC = b"challenge of the client!", b"challenge of the meter"
SECRET = b"what both sides know"


def sides() -> tuple[Exchange, Exchange]:
    return Exchange(CLIENT, METER, CTOS, STOC), Exchange(METER, CLIENT, STOC, CTOS)


@pytest.mark.parametrize(
    ("mechanism", "from_client", "from_meter"),
    [
        (3, hashlib.md5(STOC + SECRET), hashlib.md5(CTOS + SECRET)),
        (4, hashlib.sha1(STOC + SECRET), hashlib.sha1(CTOS + SECRET)),
        (
            6,
            hashlib.sha256(SECRET + CLIENT + METER + STOC + CTOS),
            hashlib.sha256(SECRET + METER + CLIENT + CTOS + STOC),
        ),
    ],
)
def test_hashed_proofs_are_those_computed_by_hand(mechanism: int, from_client: Any, from_meter: Any) -> None:
    client, meter = sides()
    prover = HashProver(Mechanism(mechanism), Secret(SECRET))
    assert prover.prove(client) == from_client.digest()
    assert prover.prove(meter) == from_meter.digest()
    prover.verify(client, from_meter.digest())
    prover.verify(meter, from_client.digest())
    for exchange, wrong in ((client, from_client), (meter, from_meter)):
        with pytest.raises(ProtectionError):
            prover.verify(exchange, wrong.digest())


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_gmac_proof_is_the_one_computed_by_hand(number: int) -> None:
    keys = MeterKeys.random(number)
    store = MemoryCounters({"send": 77})
    own = Cipher(keys, CLIENT, METER, SendCounter(store, "send"), ReceiveCounters(store))
    proof = GmacProver(own).prove(sides()[0])
    control = bytes((0x10 | number,))
    gcm = Aes(
        algorithms.AES(keys.global_unicast.reveal()), modes.GCM(CLIENT + (77).to_bytes(4, "big"))
    ).encryptor()
    gcm.authenticate_additional_data(control + keys.authentication.reveal() + STOC)
    gcm.finalize()
    assert proof == control + (77).to_bytes(4, "big") + gcm.tag[:12]
    GmacProver(receiving(keys, CLIENT)).verify(sides()[1], proof)
    for other in (Form.GLOBAL, Form.GENERAL_GLOBAL):
        sealed = own.seal(b"\xc0" + bytes(20), AUTHENTICATED_ENCRYPTION, other)
        header = CipheredApdu.from_bytes(sealed)
        gcm = Aes(
            algorithms.AES(keys.global_unicast.reveal()),
            modes.GCM(CLIENT + header.header.counter.to_bytes(4, "big")),
        ).encryptor()
        gcm.authenticate_additional_data(bytes((0x30 | number,)) + keys.authentication.reveal())
        assert header.text == gcm.update(b"\xc0" + bytes(20)) + gcm.finalize() + gcm.tag[:12]


@pytest.mark.parametrize(("number", "algorithm"), [(1, hashes.SHA256()), (2, hashes.SHA384())])
def test_a_signed_proof_is_one_for_another_library_call_and_the_other_way_round(
    number: int, algorithm: hashes.HashAlgorithm
) -> None:
    client_key, meter_key = (signature.new_private_key(suite(number)) for _ in range(2))
    client, _ = sides()
    proof = EcdsaProver(suite(number), client_key, meter_key.public_key()).prove(client)
    half = len(proof) // 2
    assert half == {1: 32, 2: 48}[number]
    der = utils.encode_dss_signature(int.from_bytes(proof[:half], "big"), int.from_bytes(proof[half:], "big"))
    client_key.public_key().verify(der, CLIENT + METER + STOC + CTOS, ec.ECDSA(algorithm))
    r, s = utils.decode_dss_signature(meter_key.sign(METER + CLIENT + CTOS + STOC, ec.ECDSA(algorithm)))
    theirs = r.to_bytes(half, "big") + s.to_bytes(half, "big")
    EcdsaProver(suite(number), client_key, meter_key.public_key()).verify(client, theirs)
    for wrong in (bytes(2 * half), theirs[::-1], b"\xff" * (2 * half), theirs[:-1], theirs + b"\0"):
        with pytest.raises(ProtectionError):
            EcdsaProver(suite(number), client_key, meter_key.public_key()).verify(client, wrong)

"""General-ciphering and general-signing: every source of keys and suite works, every forgery is refused."""

from __future__ import annotations

import itertools
import random
from typing import Any, TypeVar

import pytest

from openami.protocols.dlms.apdus.apdu import ExceptionResponse, decode_apdu
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.apdus.initiate import PROPOSED, PROPOSED_FOR_WINDOWS, Conformance
from openami.protocols.dlms.apdus.results import AssociationError, ServiceError
from openami.protocols.dlms.client.association import Association, Operation
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.interface_classes.data import DataObject
from openami.protocols.dlms.protection.ciphered_apdu import Form
from openami.protocols.dlms.protection.ciphering import Cipher
from openami.protocols.dlms.protection.general_ciphering import (
    AgreedKey,
    GeneralCipher,
    GeneralCiphering,
    IdentifiedKey,
    KeySource,
    WrappedKey,
)
from openami.protocols.dlms.protection.general_header import GeneralHeader
from openami.protocols.dlms.protection.general_signing import GeneralSigning
from openami.protocols.dlms.protection.key_agreement import EphemeralOffer
from openami.protocols.dlms.protection.message_protection import Accepted, Signing
from openami.protocols.dlms.protection.security_control import (
    AUTHENTICATED_ENCRYPTION,
    Protection,
    SecurityHeader,
)
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.device_security import Attack, DeviceSecurity, Incident
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.errors import LocalProtocolError, ProtectionError, RemoteProtocolError
from openami.quantities.obis import ObisCode
from openami.security import signature
from openami.security.counters import MemoryCounters, ReceiveCounters, SendCounter
from openami.security.meter_keys import KeyKind, MeterKeys
from openami.security.secret import Secret
from openami.security.suites import suite

T = TypeVar("T")
NOTE = ObisCode(0, 0, 96, 1, 0)
VALUE = Attribute(1, NOTE, 2)
TEXT = b"a value that takes more than one block" * 16
METER, CLIENT = b"OAM00001", b"HES00001"
SYMMETRIC = (KeySource.UNICAST, KeySource.BROADCAST, KeySource.WRAPPED)
AGREED = (KeySource.ONE_PASS, KeySource.STATIC)
CASES = [(0, source) for source in SYMMETRIC] + [
    (number, source) for number, source in itertools.product((1, 2), KeySource)
]
READ = bytes.fromhex("c001c100010000600100ff0200")


class World:
    """A meter with every kind of key, a client of one manner, and what goes between them."""

    def __init__(
        self, number: int, source: KeySource | None, signing: Signing = Signing.REFUSED, **changes: Any
    ) -> None:
        self.keys = MeterKeys.random(number)
        scheme = suite(number)
        drawn = [signature.new_private_key(scheme) if number else None for _ in range(4)]
        own, meter, own_agreement, meter_agreement = drawn
        public = [None if key is None else key.public_key() for key in drawn]
        self.incidents: list[Incident] = []
        self.security = DeviceSecurity(
            METER, self.keys, MemoryCounters(), self.incidents.append, meter,
            {} if public[0] is None else {1: public[0]}, meter_agreement,
            {} if public[2] is None else {1: public[2]},
        )  # fmt: skip
        protection = changes.pop("protection", AUTHENTICATED_ENCRYPTION)
        sources = frozenset() if source is None else frozenset((source,))
        policy = AssociationPolicy(
            1, Mechanism.HIGH_GMAC, protection=protection,
            key_sources=changes.pop("key_sources", sources), signing=changes.pop("policy_signing", signing),
        )  # fmt: skip
        self.note = b""
        item = DataObject(NOTE, lambda: Data(Tag.OCTET_STRING, TEXT), self.store)
        self.session = ServerSession({7: LogicalDevice([item], [policy], self.security)})
        conformance = changes.pop("conformance", PROPOSED)
        self.client = ClientSecurity(**{
            "title": CLIENT, "keys": self.keys, "protection": protection, "meter_title": METER,
            "key_source": source, "signing": signing, "signing_key": own, "meter_key": public[1],
            "agreement_key": own_agreement, "meter_agreement_key": public[3],
        } | changes)  # fmt: skip
        self.association = Association(7, 1, security=self.client, max_pdu=640, conformance=conformance)
        self.sent: list[bytes] = []
        self.answered: list[bytes] = []
        self.run(self.association.associate())

    def store(self, value: Data) -> None:
        assert isinstance(value.value, bytes)
        self.note = value.value

    def run(self, operation: Operation[T]) -> T:
        outgoing = next(operation)
        while True:
            self.sent.append(outgoing)
            self.answered.append(self.session.receive(outgoing))
            try:
                outgoing = operation.send(self.answered[-1])
            except StopIteration as done:
                result: T = done.value
                return result

    def ask(self, apdu: bytes) -> bytes:
        return self.session.receive(Frame(1, 7, apdu).to_bytes())[8:]

    def refusal(self, apdu: bytes) -> ServiceError:
        answer = decode_apdu(self.ask(apdu))
        assert isinstance(answer, ExceptionResponse)
        return answer.service

    def sealed(self, apdu: bytes = READ) -> bytes:
        return self.association._protected(apdu)


def flipped(octets: bytes, bit: int) -> bytes:
    changed = bytearray(octets)
    changed[bit // 8] ^= 0x80 >> bit % 8
    return bytes(changed)


@pytest.mark.parametrize(("number", "source"), CASES)
def test_every_source_of_keys_in_every_suite_reads_and_writes(number: int, source: KeySource) -> None:
    for protection in (AUTHENTICATED_ENCRYPTION, Protection.AUTHENTICATED, Protection.ENCRYPTED):
        world = World(number, source, protection=protection)
        assert world.run(world.association.get(VALUE)) == TEXT
        world.run(world.association.set(VALUE, Data(Tag.OCTET_STRING, b"set")))
        assert world.note == b"set"
        later = [octets[8:] for octets in world.sent[2:] + world.answered[2:]]
        assert len(later) == 6, "get, its second block, set"
        assert all(apdu[0] == 0xDD for apdu in later)
        assert max(map(len, later)) <= 640
        assert all(TEXT[:16] not in apdu for apdu in later) == bool(protection & Protection.ENCRYPTED)
        world.run(world.association.release())
        assert not world.incidents


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("source", [None, KeySource.UNICAST, KeySource.ONE_PASS, KeySource.STATIC])
def test_signed_requests_are_answered_signed(number: int, source: KeySource | None) -> None:
    for protection in (AUTHENTICATED_ENCRYPTION, Protection.NONE):
        if source is not None and not protection:
            continue
        world = World(number, source, Signing.REQUIRED, protection=protection)
        assert world.run(world.association.get(VALUE)) == TEXT
        later = [octets[8:] for octets in world.sent[1:-1] + world.answered[1:]]
        assert all(apdu[0] == 0xDF for apdu in later)
        assert max(map(len, later)) <= 640
        assert not world.incidents


@pytest.mark.parametrize("source", [KeySource.WRAPPED, KeySource.ONE_PASS])
def test_general_ciphering_goes_inside_general_blocks(source: KeySource) -> None:
    world = World(1, source, conformance=PROPOSED_FOR_WINDOWS)
    world.association._max_reassembled = 1 << 20
    assert world.run(world.association.get(VALUE)) == TEXT
    assert {octets[8] for octets in world.answered[2:]} == {0xE0}
    assert not world.incidents


@pytest.mark.parametrize(("number", "source"), CASES)
def test_a_message_sent_again_is_refused_whatever_key_it_brings(number: int, source: KeySource) -> None:
    world = World(number, source)
    world.run(world.association.get(VALUE))
    for octets in world.sent[2:]:
        assert world.refusal(octets[8:]) is ServiceError.INVOCATION_COUNTER_ERROR
    assert [incident.attack for incident in world.incidents] == [Attack.REPLAY] * 2


def test_a_signed_plain_message_sent_again_is_refused() -> None:
    world = World(1, None, Signing.REQUIRED, protection=Protection.NONE)
    sealed = world.sealed()
    assert world.ask(sealed)[0] == 0xDF
    assert world.refusal(sealed) is ServiceError.INVOCATION_COUNTER_ERROR
    assert [incident.attack for incident in world.incidents] == [Attack.REPLAY]


@pytest.mark.parametrize(
    "source", [KeySource.UNICAST, KeySource.WRAPPED, KeySource.ONE_PASS, KeySource.STATIC]
)
def test_every_changed_bit_of_a_ciphered_message_is_refused(source: KeySource) -> None:
    world = World(1, source)
    sealed = world.sealed()
    step = 1 if source is KeySource.UNICAST else 7  # each verification of an ephemeral key takes a while
    for bit in range(8, 8 * len(sealed), step):
        world.refusal(flipped(sealed, bit))
    assert world.ask(sealed)[0] == 0xDD, "the one that was not changed is served"


@pytest.mark.parametrize("protection", [Protection.NONE, AUTHENTICATED_ENCRYPTION])
def test_every_changed_bit_of_a_signed_message_is_refused(protection: Protection) -> None:
    world = World(1, None, Signing.REQUIRED, protection=protection)
    sealed = world.sealed()
    for bit in range(8, 8 * len(sealed), 3):
        world.refusal(flipped(sealed, bit))
    assert world.ask(sealed)[0] == 0xDF


@pytest.mark.parametrize("number", [1, 2])
def test_every_cut_of_a_message_is_refused(number: int) -> None:
    for source, signing in ((KeySource.ONE_PASS, Signing.REFUSED), (None, Signing.REQUIRED)):
        world = World(number, source, signing)
        sealed = world.sealed()
        read = GeneralCiphering.from_bytes if source else GeneralSigning.from_bytes
        assert read(sealed).to_bytes() == sealed
        for cut in range(len(sealed)):
            with pytest.raises(RemoteProtocolError):
                read(sealed[:cut])
            world.refusal(sealed[:cut] or b"\xdd")
        with pytest.raises(RemoteProtocolError):
            read(sealed + b"\x00")


@pytest.mark.parametrize("source", [KeySource.UNICAST, KeySource.WRAPPED])
def test_a_source_that_the_policy_does_not_name_is_refused(source: KeySource) -> None:
    others = frozenset(KeySource) - {source}
    for named in (others, frozenset()):
        world = World(0, None, key_sources=named)
        cipher = world.association._cipher
        assert cipher is not None
        sealed = GeneralCipher(cipher).seal(READ, AUTHENTICATED_ENCRYPTION, source, bytes(8))
        assert world.refusal(sealed) is ServiceError.DECIPHERING_ERROR
        assert world.incidents[-1].attack is Attack.WRONG_TAG
        assert world.run(world.association.get(VALUE)) == TEXT, "glo is served as before"


def test_signatures_are_refused_where_they_are_not_accepted_and_missed_where_they_are_required() -> None:
    """The answer to the challenge is the first service, and already protected like the others."""
    for client, policy in ((Signing.REQUIRED, Signing.REFUSED), (Signing.REFUSED, Signing.REQUIRED)):
        with pytest.raises(AssociationError):
            World(1, None, client, policy_signing=policy)
    either = World(1, None, Signing.REFUSED, policy_signing=Signing.ACCEPTED)
    assert either.run(either.association.get(VALUE)) == TEXT


def test_a_client_that_did_not_propose_general_protection_is_refused_it() -> None:
    without = PROPOSED & ~Conformance.GENERAL_PROTECTION
    world = World(0, None, key_sources=frozenset(KeySource), conformance=without)
    cipher = world.association._cipher
    assert cipher is not None
    sealed = GeneralCipher(cipher).seal(READ, AUTHENTICATED_ENCRYPTION, KeySource.UNICAST, bytes(8))
    assert world.refusal(sealed) is ServiceError.SERVICE_NOT_SUPPORTED


def test_less_protection_than_agreed_is_refused_inside_general_ciphering_too() -> None:
    world = World(0, KeySource.UNICAST)
    cipher = world.association._cipher
    assert cipher is not None
    for level in (Protection.NONE, Protection.AUTHENTICATED, Protection.ENCRYPTED):
        weak = GeneralCipher(cipher).seal(READ, level, KeySource.UNICAST, bytes(8))
        assert world.refusal(weak) is ServiceError.DECIPHERING_ERROR


@pytest.mark.parametrize(
    "inside", ["6203800100", "601da109060760857405080101be10040e01000000065f1f040000001d0400"]
)
def test_association_requests_inside_protection_are_refused(inside: str) -> None:
    """AARQ and RLRQ go plain: inside a ciphered form they are somebody's attempt."""
    world = World(0, KeySource.UNICAST)
    cipher = world.association._cipher
    assert cipher is not None
    for form in (Form.GENERAL_GLOBAL, None):
        apdu = bytes.fromhex(inside)
        sealed = (
            cipher.seal(apdu, form=form)
            if form
            else GeneralCipher(cipher).seal(apdu, AUTHENTICATED_ENCRYPTION, KeySource.UNICAST, bytes(8))
        )
        assert world.refusal(sealed) is ServiceError.DECIPHERING_ERROR
    assert [incident.attack for incident in world.incidents] == [Attack.WRONG_TAG] * 2
    assert world.run(world.association.get(VALUE)) == TEXT, "the association is untouched"


def test_one_layer_of_each_kind() -> None:
    world = World(1, KeySource.UNICAST, Signing.REQUIRED)
    once = world.association._layers
    assert once is not None
    manner = world.association._manner
    for inner in (world.sealed(), b"\xe0\x80\x00\x01\x00\x00\x01\x00"):
        assert world.refusal(once.seal(inner, manner)) is ServiceError.DECIPHERING_ERROR


def test_an_answer_of_another_transaction_breaks_the_association() -> None:
    world = World(0, KeySource.UNICAST)
    first = world.session.receive(Frame(1, 7, world.sealed()).to_bytes())
    operation = world.association.get(VALUE)
    next(operation)
    with pytest.raises(ProtectionError, match="transaction"):
        operation.send(first)


def test_keys_that_are_missing_are_our_own_error() -> None:
    keys = MeterKeys.random(1)
    for wrong in (
        {"key_source": KeySource.ONE_PASS},
        {"key_source": KeySource.STATIC},
        {"signing": Signing.REQUIRED},
    ):
        with pytest.raises(LocalProtocolError):
            ClientSecurity(CLIENT, keys, **wrong)


# --- octets -------------------------------------------------------------------------------------------


def fixed_cipher(number: int = 0) -> Cipher:
    octets = suite(number).key_octets
    keys = MeterKeys(
        Secret(bytes(range(octets))), Secret(bytes(range(0xA0, 0xA0 + octets))), Secret(bytes(octets)),
        Secret(b"\x11" * octets), number,
    )  # fmt: skip
    counters = MemoryCounters({"send": 0x01020304})
    return Cipher(keys, CLIENT, METER, SendCounter(counters, "send"), ReceiveCounters(counters))


def test_octets_of_general_ciphering_with_an_identified_key() -> None:
    """Made by hand from the layout in the docstring: header, key 0, length, control, counter, text, tag."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    transaction = bytes.fromhex("0000000000000005")
    sealed = GeneralCipher(fixed_cipher()).seal(
        READ, AUTHENTICATED_ENCRYPTION, KeySource.UNICAST, transaction
    )
    header = "08" + transaction.hex() + "08" + CLIENT.hex() + "08" + METER.hex() + "00" + "00"
    associated = b"\x30" + bytes(range(0xA0, 0xB0)) + bytes.fromhex(header)
    nonce = CLIENT + bytes.fromhex("01020304")
    text = AESGCM(bytes(range(16))).encrypt(nonce, READ, associated)[: len(READ) + 12]
    expected = "dd" + header + "01" + "0000" + f"{5 + len(text):02x}" + "30" + "01020304" + text.hex()
    assert sealed.hex() == expected


def test_octets_of_every_key_info_come_back() -> None:
    header = GeneralHeader(bytes(8), CLIENT, METER, bytes(12), b"more")
    security = SecurityHeader(1, AUTHENTICATED_ENCRYPTION, 7)
    for info, octets in (
        (None, "00"),
        (IdentifiedKey(1), "010001"),
        (WrappedKey(0, b"\xaa" * 24), "01010018" + "aa" * 24),
        (AgreedKey(b"\x01", b"\xbb" * 128), "0102" + "0101" + "8180" + "bb" * 128),
        (AgreedKey(b"\x02", b""), "0102" + "0102" + "00"),
    ):
        message = GeneralCiphering(header, info, security, b"text and tag")
        written = message.to_bytes()
        assert (
            written
            == b"\xdd"
            + header.to_bytes()
            + bytes.fromhex(octets)
            + b"\x11\x31\x00\x00\x00\x07"
            + b"text and tag"
        )
        assert GeneralCiphering.from_bytes(written) == message


def test_key_information_that_names_no_key_is_refused() -> None:
    world = World(0, KeySource.UNICAST)
    good = GeneralCiphering.from_bytes(world.sealed())
    for info in (
        IdentifiedKey(2), WrappedKey(1, bytes(24)), WrappedKey(0, bytes(23)), AgreedKey(b"\x01", bytes(128)),
        AgreedKey(b"\x02", b"x"), AgreedKey(b"\x03", b""), AgreedKey(b"", b""),
    ):  # fmt: skip
        forged = GeneralCiphering(good.header, info, good.security, good.text)
        assert world.refusal(forged.to_bytes()) is ServiceError.DECIPHERING_ERROR


def test_twenty_thousand_changed_messages_end_in_a_value_or_a_remote_error() -> None:
    rng = random.Random(4)
    world = World(1, KeySource.WRAPPED, Signing.ACCEPTED)
    layers = world.security.layers(1, world.security.cipher(CLIENT))
    assert world.association._layers is not None
    signed = world.association._layers.seal(READ, world.association._manner)
    seeds = [world.sealed(), signed, b"\xdf" + signed[1:]]
    accepted = Accepted(AUTHENTICATED_ENCRYPTION, frozenset(KeySource), Signing.ACCEPTED)
    opened = 0
    for _ in range(20_000):
        octets = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            octets[rng.randrange(min(64, len(octets)))] = rng.randrange(256)
        try:
            layers.open(bytes(octets), accepted)
            opened += 1
        except RemoteProtocolError:
            pass
    assert opened < 200, "nearly everything is refused"


@pytest.mark.parametrize("number", [1, 2])
def test_both_sides_agree_on_a_key_by_signed_ephemeral_keys(number: int) -> None:
    scheme = suite(number)
    client, meter = signature.new_private_key(scheme), signature.new_private_key(scheme)
    ours = EphemeralOffer(scheme, KeyKind.GLOBAL_UNICAST, client)
    theirs = EphemeralOffer(scheme, KeyKind.GLOBAL_UNICAST, meter)
    one = ours.agreed(theirs.key_data, meter.public_key(), CLIENT, METER)
    other = theirs.agreed(ours.key_data, client.public_key(), CLIENT, METER)
    assert one == other
    assert len(one) == scheme.key_octets
    for wrong in (
        theirs.key_data[:-1],
        flipped(theirs.key_data, 3),
        EphemeralOffer(scheme, KeyKind.AUTHENTICATION, meter).key_data,
        ours.key_data,
    ):
        with pytest.raises(ProtectionError):
            ours.agreed(wrong, meter.public_key(), CLIENT, METER)

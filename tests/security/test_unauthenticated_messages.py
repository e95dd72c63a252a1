"""What has no tag moves nothing: whoever holds no key cannot lock anybody out, nor make anybody stumble."""

from __future__ import annotations

import itertools

import pytest

from openami.protocols.dlms.apdus.acse import CONTEXT_LN_CIPHERED, AssociationRequest
from openami.protocols.dlms.apdus.apdu import ExceptionResponse, decode_apdu
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.apdus.initiate import SUPPORTED, InitiateRequest
from openami.protocols.dlms.client.association import Association, Operation
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.interface_classes.data import DataObject
from openami.protocols.dlms.protection.ciphered_apdu import CipheredApdu, Form
from openami.protocols.dlms.protection.ciphering import Cipher, CounterUsedError
from openami.protocols.dlms.protection.high_level_security import EcdsaProver, Exchange, HashProver
from openami.protocols.dlms.protection.security_control import (
    AUTHENTICATED_ENCRYPTION,
    Protection,
    SecurityHeader,
)
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.device_security import DeviceSecurity, Incident
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.errors import ProtectionError, RemoteProtocolError
from openami.quantities.obis import ObisCode
from openami.security import signature
from openami.security.counters import MAX_COUNTER, MemoryCounters, ReceiveCounters, SendCounter
from openami.security.gcm import Gcm
from openami.security.meter_keys import MeterKeys
from openami.security.secret import Secret
from openami.security.suites import suite

METER, CLIENT, ATTACKER = b"OAM00001", b"HES00001", b"EVE00001"
NOTE = ObisCode(0, 0, 96, 1, 0)
VALUE = Attribute(1, NOTE, 2)
REQUEST = bytes.fromhex("c001c100010000600100ff0200")
ANSWER = bytes.fromhex("c401c1000904deadbeef")
PROOF = bytes.fromhex("c301c1000f0000280000ff010109") + bytes((17, 0x10)) + bytes(16)


def device(keys: MeterKeys, protection: Protection, incidents: list[Incident]) -> LogicalDevice:
    policy = AssociationPolicy(1, Mechanism.HIGH_GMAC, protection=protection)
    note = DataObject(NOTE, lambda: Data(Tag.OCTET_STRING, b"a secret of the meter"))
    return LogicalDevice([note], [policy], DeviceSecurity(METER, keys, None, incidents.append))


def run(operation: Operation[None], session: ServerSession) -> None:
    outgoing = next(operation)
    while True:
        try:
            outgoing = operation.send(session.receive(outgoing))
        except StopIteration:
            return


def cipher(keys: MeterKeys, own: bytes, peer: bytes, store: MemoryCounters | None = None) -> Cipher:
    counters = store or MemoryCounters()
    return Cipher(keys, own, peer, SendCounter(counters, "send"), ReceiveCounters(counters))


def untagged(level: Protection, counter: int, text: bytes, tag: int = 0xC4) -> bytes:
    header = SecurityHeader(0, level, counter)
    return CipheredApdu(Form.GLOBAL, tag, None, header, text).to_bytes()


@pytest.mark.parametrize("level", [Protection.NONE, Protection.ENCRYPTED])
def test_a_counter_without_a_tag_cannot_lock_the_client_out_of_a_meter(level: Protection) -> None:
    keys = MeterKeys.random()
    meter = device(keys, Protection.NONE, [])
    highest = CipheredApdu(Form.GLOBAL, 0x01, None, SecurityHeader(0, level, MAX_COUNTER), bytes(14))
    session = ServerSession({7: meter})
    for title in (CLIENT, ATTACKER):
        request = AssociationRequest(
            highest.to_bytes(), CONTEXT_LN_CIPHERED, Mechanism.HIGH_GMAC, bytes(16), title
        )
        session.receive(Frame(1, 7, request.to_bytes()).to_bytes())
    client = ClientSecurity(CLIENT, keys, protection=Protection.NONE, meter_title=METER)
    run(Association(7, 1, security=client).associate(), ServerSession({7: meter}))


@pytest.mark.parametrize("level", [Protection.NONE, Protection.ENCRYPTED])
def test_whoever_answers_before_the_meter_cannot_lock_it_out_of_the_head_end(level: Protection) -> None:
    keys = MeterKeys.random()
    counters = MemoryCounters()
    client = ClientSecurity(CLIENT, keys, meter_title=METER, counters=counters)
    association = Association(7, 1, security=client)
    operation = association.associate()
    next(operation)
    with pytest.raises(RemoteProtocolError):
        operation.send(Frame(7, 1, untagged(level, MAX_COUNTER - 1, ANSWER)).to_bytes())
    run(
        Association(7, 1, security=client).associate(),
        ServerSession({7: device(keys, AUTHENTICATED_ENCRYPTION, [])}),
    )


def test_of_encrypted_messages_without_a_tag_the_counter_counts_within_the_association_alone() -> None:
    keys, store = MeterKeys.random(), MemoryCounters()
    sender, receiver = cipher(keys, METER, CLIENT), cipher(keys, CLIENT, METER, store)
    first = sender.seal(ANSWER, Protection.ENCRYPTED)
    assert receiver.open(first).apdu == ANSWER
    with pytest.raises(CounterUsedError):
        receiver.open(first)
    tagged = sender.seal(ANSWER)
    assert receiver.open(tagged).apdu == ANSWER
    receiver.received.persist()
    later = cipher(keys, CLIENT, METER, store)
    for old in (first, tagged):
        with pytest.raises(CounterUsedError):
            later.open(old)


@pytest.mark.parametrize("title", [b"", b"EVE", b"EVE0000", b"EVE000010", b"E" * 200])
@pytest.mark.parametrize("initiate", ["plain", "glo", "general"])
def test_a_client_with_a_system_title_of_another_length_proves_nothing(title: bytes, initiate: str) -> None:
    incidents: list[Incident] = []
    session = ServerSession({7: device(MeterKeys.random(), Protection.NONE, incidents)})
    plain = InitiateRequest(SUPPORTED, 1024).to_bytes()
    information = {
        "plain": plain,
        "glo": untagged(AUTHENTICATED_ENCRYPTION, 1, plain + bytes(12), 0x01),
        "general": CipheredApdu(
            Form.GENERAL_GLOBAL,
            None,
            title,
            SecurityHeader(0, Protection.AUTHENTICATED, 1),
            plain + bytes(12),
        ).to_bytes(),
    }[initiate]
    request = AssociationRequest(
        information, CONTEXT_LN_CIPHERED, Mechanism.HIGH_GMAC, bytes(range(16)), title
    )
    for apdu in (request.to_bytes(), PROOF, untagged(AUTHENTICATED_ENCRYPTION, 5, bytes(40), 0xC0), REQUEST):
        answer = session.receive(Frame(1, 7, apdu).to_bytes())
        assert b"a secret of the meter" not in answer
    assert isinstance(decode_apdu(answer[8:]), ExceptionResponse)
    assert incidents


@pytest.mark.parametrize("title", [b"", b"EVE", b"E" * 20])
def test_a_meter_with_a_system_title_of_another_length_is_refused(title: bytes) -> None:
    for level in (AUTHENTICATED_ENCRYPTION, Protection.NONE):
        keys = MeterKeys.random()
        session = ServerSession({7: device(keys, level, [])})
        operation = Association(7, 1, security=ClientSecurity(CLIENT, keys, protection=level)).associate()
        answer = session.receive(next(operation))
        there = b"\xa4\x0a\x04\x08" + METER
        assert there in answer
        other = answer[10:].replace(there, bytes((0xA4, 2 + len(title), 4, len(title))) + title)
        aare = Frame(7, 1, bytes((0x61, len(other))) + other).to_bytes()
        with pytest.raises(ProtectionError, match="system title of"):
            operation.send(session.receive(operation.send(aare)))


def test_our_own_messages_are_never_believed_when_they_come_back() -> None:
    keys = MeterKeys.random()
    ours = cipher(keys, METER, METER)
    for form in (Form.GLOBAL, Form.GENERAL_GLOBAL):
        with pytest.raises(ProtectionError, match="our own system title"):
            cipher(keys, METER, METER).open(ours.seal(ANSWER, AUTHENTICATED_ENCRYPTION, form))
    with pytest.raises(ProtectionError, match="our own system title"):
        cipher(keys, METER, METER).verify(b"challenge", ours.prove(b"challenge"))
    mirrored = Exchange(METER, METER, bytes(16), bytes(range(16)))
    swapped = Exchange(METER, METER, bytes(range(16)), bytes(16))
    hashed = HashProver(Mechanism.HIGH_SHA256, Secret(b"secret"))
    key = signature.new_private_key(suite(1))
    for prover in (hashed, EcdsaProver(suite(1), key, key.public_key())):
        with pytest.raises(ProtectionError, match="our own system title"):
            prover.verify(mirrored, prover.prove(swapped))


def test_the_key_that_many_meters_share_opens_no_association_of_one() -> None:
    keys = MeterKeys.random()
    assert keys.global_broadcast is not None
    header = SecurityHeader(0, AUTHENTICATED_ENCRYPTION | Protection.BROADCAST, 7)
    nonce = CLIENT + (7).to_bytes(4, "big")
    text = Gcm(keys.global_broadcast.reveal()).seal(
        nonce, REQUEST, header.control + keys.authentication.reveal()
    )
    with pytest.raises(ProtectionError, match="broadcast key"):
        cipher(keys, METER, CLIENT).open(CipheredApdu(Form.GLOBAL, 0xC0, None, header, text).to_bytes())


def test_titles_that_strangers_give_themselves_take_no_memory_of_the_meter() -> None:
    meter = device(MeterKeys.random(), AUTHENTICATED_ENCRYPTION, [])
    security = meter.security
    assert security is not None
    sealed = untagged(AUTHENTICATED_ENCRYPTION, 1, bytes(40), 0x01)
    for number in range(500):
        title = b"E" + number.to_bytes(7, "big")
        request = AssociationRequest(sealed, CONTEXT_LN_CIPHERED, Mechanism.HIGH_GMAC, bytes(16), title)
        ServerSession({7: meter}).receive(Frame(1, 7, request.to_bytes()).to_bytes())
    assert not security.received._highest


def test_dedicated_keys_leave_nothing_behind() -> None:
    keys, counters = MeterKeys.random(), MemoryCounters()
    meter = device(keys, AUTHENTICATED_ENCRYPTION, [])
    for _ in range(20):
        client = ClientSecurity(CLIENT, keys, form=Form.DEDICATED, meter_title=METER, counters=counters)
        association = Association(7, 1, security=client)
        session = ServerSession({7: meter})
        for operation in (association.associate(), association.get(VALUE), association.release()):
            run(operation, session)  # type: ignore[arg-type]
    assert meter.security is not None
    assert len(meter.security.received._highest) == 1
    assert len(counters._values) == 2, "what we send, and what the meter sent"


def test_a_client_that_shouts_in_the_dark_moves_no_counter_of_another() -> None:
    """Every level and counter, from a client that holds no key: the true client goes on unhindered."""
    keys = MeterKeys.random()
    incidents: list[Incident] = []
    meter = device(keys, AUTHENTICATED_ENCRYPTION, incidents)
    client = ClientSecurity(CLIENT, keys, meter_title=METER)
    association = Association(7, 1, security=client)
    session = ServerSession({7: meter})
    run(association.associate(), session)
    levels = (Protection.NONE, Protection.AUTHENTICATED, Protection.ENCRYPTED, AUTHENTICATED_ENCRYPTION)
    shouts = list(itertools.product(levels, (0, 1, 1000, MAX_COUNTER - 1, MAX_COUNTER)))
    for level, counter in shouts:
        shout = untagged(level, counter, bytes(40), 0xC0)
        assert isinstance(decode_apdu(session.receive(Frame(1, 7, shout).to_bytes())[8:]), ExceptionResponse)
    assert len(incidents) == len(shouts)
    run(association.get(VALUE), session)  # type: ignore[arg-type]

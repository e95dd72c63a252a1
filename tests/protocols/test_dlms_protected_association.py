"""High level security: every mechanism, suite and form works; every attack is refused and told."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from openami.protocols.dlms.apdus.acse import CONTEXT_LN_CIPHERED, AssociationRequest, AssociationResponse
from openami.protocols.dlms.apdus.apdu import ExceptionResponse, decode_apdu
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.apdus.initiate import SUPPORTED, InitiateRequest
from openami.protocols.dlms.apdus.results import (
    AssociationError,
    AssociationResult,
    ServiceError,
    ServiceRefusedError,
)
from openami.protocols.dlms.client.association import Association, Operation
from openami.protocols.dlms.client.client_security import MAX_RECOVERY_JUMP, ClientSecurity
from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.interface_classes.data import DataObject
from openami.protocols.dlms.protection.ciphered_apdu import CIPHERED_TAGS, CipheredApdu, Form
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.device_security import Attack, DeviceSecurity, Incident
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.errors import LocalProtocolError, ProtectionError, SecurityError
from openami.quantities.obis import ObisCode
from openami.security import signature
from openami.security.counters import MemoryCounters
from openami.security.meter_keys import MeterKeys
from openami.security.secret import Secret
from openami.security.suites import suite

T = TypeVar("T")
NOTE = ObisCode(0, 0, 96, 1, 0)
VALUE = Attribute(1, NOTE, 2)
TEXT = b"a value that takes more than one block" * 8
METER, CLIENT = b"OAM00001", b"HES00001"
PASSWORD = b"long secret of both"
LEVELS = (Protection.NONE, Protection.AUTHENTICATED, Protection.ENCRYPTED, AUTHENTICATED_ENCRYPTION)
HIGH = (3, 4, 5, 6, 7)


class World:
    """A meter, a client and what goes between them."""

    def __init__(
        self,
        mechanism: Mechanism = Mechanism.HIGH_GMAC,
        suite_number: int = 0,
        protection: Protection = AUTHENTICATED_ENCRYPTION,
        form: Form = Form.GLOBAL,
        **client: Any,
    ) -> None:
        self.keys = MeterKeys.random(suite_number)
        own = meter = None
        if suite_number:
            own, meter = (signature.new_private_key(suite(suite_number)) for _ in range(2))
        self.incidents: list[Incident] = []
        self.meter_counters = MemoryCounters()
        self.security = DeviceSecurity(
            METER, self.keys, self.meter_counters, self.incidents.append, meter,
            {} if own is None else {1: own.public_key()},
        )  # fmt: skip
        policy = AssociationPolicy(1, mechanism, PASSWORD, protection=protection)
        note = DataObject(NOTE, lambda: Data(Tag.OCTET_STRING, TEXT))
        self.device = LogicalDevice([note], [policy], self.security)
        self.session = ServerSession({7: self.device})
        self.client_counters = MemoryCounters()
        self.client = ClientSecurity(**{
            "title": CLIENT, "keys": self.keys, "mechanism": mechanism, "protection": protection,
            "form": form, "secret": Secret(PASSWORD), "signing_key": own, "meter_title": METER,
            "meter_key": None if meter is None else meter.public_key(), "counters": self.client_counters,
        } | client)  # fmt: skip
        self.association = Association(7, 1, security=self.client, max_pdu=160)
        self.sent: list[bytes] = []
        self.answered: list[bytes] = []

    def run(self, operation: Operation[T], meddle: Callable[[bytes], bytes] = lambda answer: answer) -> T:
        outgoing = next(operation)
        while True:
            self.sent.append(outgoing)
            self.answered.append(self.session.receive(outgoing))
            try:
                outgoing = operation.send(meddle(self.answered[-1]))
            except StopIteration as done:
                result: T = done.value
                return result

    def ask(self, apdu: bytes) -> bytes:
        """An APDU of anybody at the client's wPort, and the meter's answer."""
        return self.session.receive(Frame(1, 7, apdu).to_bytes())[8:]


def flipped(octets: bytes, bit: int) -> bytes:
    changed = bytearray(octets)
    changed[bit // 8] ^= 0x80 >> bit % 8
    return bytes(changed)


@pytest.mark.parametrize(
    ("number", "mechanism"), [pair for pair in itertools.product((0, 1, 2), HIGH) if pair != (0, 7)]
)
def test_every_mechanism_suite_protection_and_form_reads_a_value_in_blocks(
    number: int, mechanism: int
) -> None:
    for protection, form in itertools.product(LEVELS, Form):
        world = World(Mechanism(mechanism), number, protection, form)
        world.run(world.association.associate())
        assert world.run(world.association.get(VALUE)) == TEXT
        assert len(world.sent) > 4
        plain = [apdu for apdu in world.sent[1:] + world.answered[1:] if apdu[8] not in CIPHERED_TAGS]
        assert (len(plain) == 0) == bool(protection)
        assert all(TEXT[:8] not in apdu for apdu in world.answered) == bool(protection & Protection.ENCRYPTED)
        world.run(world.association.release())
        assert not world.incidents


def test_an_association_that_is_protected_leaves_room_for_its_protection() -> None:
    world = World()
    world.run(world.association.associate())
    assert world.run(world.association.get(VALUE)) == TEXT
    assert max(len(apdu) - 8 for apdu in world.answered) <= 160


def test_every_captured_apdu_that_is_sent_again_is_refused_and_told() -> None:
    world = World()
    world.run(world.association.associate())
    world.run(world.association.get(VALUE))
    captured = [apdu[8:] for apdu in world.sent if apdu[8] in CIPHERED_TAGS]
    assert len(captured) > 3
    for apdu in captured:
        answer = decode_apdu(world.ask(apdu))
        assert isinstance(answer, ExceptionResponse)
        assert answer.service is ServiceError.INVOCATION_COUNTER_ERROR
        assert answer.invocation_counter == world.association._cipher.send.value  # type: ignore[union-attr]
    assert [incident.attack for incident in world.incidents] == [Attack.REPLAY] * len(captured)


def test_the_first_message_of_another_association_cannot_be_used_again() -> None:
    world = World()
    world.run(world.association.associate())
    request = world.sent[0]
    other = ServerSession({7: world.device})
    answer = decode_apdu(other.receive(request)[8:])
    assert isinstance(answer, ExceptionResponse)
    assert answer.service is ServiceError.INVOCATION_COUNTER_ERROR
    assert world.incidents[-1].attack is Attack.REPLAY


@pytest.mark.parametrize("step", [-1, 0, 1, 1000])
def test_a_captured_apdu_under_another_counter_is_refused(step: int) -> None:
    world = World()
    world.run(world.association.associate())
    world.run(world.association.get(VALUE))
    ciphered = CipheredApdu.from_bytes(world.sent[-1][8:])
    header = type(ciphered.header)(
        ciphered.header.suite, ciphered.header.protection, ciphered.header.counter + step
    )
    forged = CipheredApdu(ciphered.form, ciphered.service, None, header, ciphered.text)
    answer = decode_apdu(world.ask(forged.to_bytes()))
    assert isinstance(answer, ExceptionResponse)
    replayed = step <= 0
    expected = ServiceError.INVOCATION_COUNTER_ERROR if replayed else ServiceError.DECIPHERING_ERROR
    assert answer.service is expected
    assert world.incidents[-1].attack is (Attack.REPLAY if replayed else Attack.WRONG_TAG)


@pytest.mark.parametrize("protection", [Protection.AUTHENTICATED, AUTHENTICATED_ENCRYPTION])
def test_each_of_the_96_bits_of_a_tag_counts(protection: Protection) -> None:
    world = World(protection=protection)
    world.run(world.association.associate())
    cipher = world.association._cipher
    assert cipher is not None
    sealed = cipher.seal(bytes.fromhex("c001c1000100006001 00ff0200".replace(" ", "")), protection)
    for bit in range(len(sealed) * 8 - 96, len(sealed) * 8):
        answer = decode_apdu(world.ask(flipped(sealed, bit)))
        assert isinstance(answer, ExceptionResponse)
        assert answer.service is ServiceError.DECIPHERING_ERROR
    assert [incident.attack for incident in world.incidents] == [Attack.WRONG_TAG] * 96
    assert world.ask(sealed)[0] in CIPHERED_TAGS, "the one that was not changed is served"


@pytest.mark.parametrize("control", [0x10, 0x20, 0x00, 0x31, 0x32, 0xB0, 0x70])
def test_less_protection_or_another_suite_than_agreed_is_refused(control: int) -> None:
    world = World()
    world.run(world.association.associate())
    cipher = world.association._cipher
    assert cipher is not None
    request = bytes.fromhex("c001c100010000600100ff0200")
    if control in (0x00, 0x10, 0x20):
        sealed = cipher.seal(request, Protection(control))
    else:
        whole = bytearray(cipher.seal(request))
        whole[2] = control
        sealed = bytes(whole)
    answer = decode_apdu(world.ask(sealed))
    assert isinstance(answer, ExceptionResponse)
    assert answer.service is ServiceError.DECIPHERING_ERROR
    assert world.incidents[-1].attack is Attack.WRONG_TAG


def test_a_plain_request_in_a_protected_association_is_refused_and_told() -> None:
    world = World()
    world.run(world.association.associate())
    answer = decode_apdu(world.ask(bytes.fromhex("c001c100010000600100ff0200")))
    assert isinstance(answer, ExceptionResponse)
    assert world.incidents[-1].attack is Attack.DOWNGRADE


@pytest.mark.parametrize("mechanism", [0, 1, 3, 4, 6])
def test_a_weaker_mechanism_than_the_policy_is_refused(mechanism: int) -> None:
    world = World()
    weaker = ClientSecurity(CLIENT, world.keys, Mechanism(mechanism), secret=Secret(PASSWORD))
    with pytest.raises(AssociationError):
        world.run(Association(7, 1, security=weaker).associate())
    with pytest.raises(AssociationError):
        world.run(Association(7, 1, PASSWORD).associate())
    assert [incident.attack for incident in world.incidents] == [Attack.DOWNGRADE] * 2


def test_an_association_request_without_protection_is_refused_and_told() -> None:
    world = World()
    bare = ClientSecurity(CLIENT, world.keys, protection=Protection.NONE)
    with pytest.raises(AssociationError):
        world.run(Association(7, 1, security=bare).associate())
    initiate = InitiateRequest(SUPPORTED, 1024).to_bytes()
    request = AssociationRequest(initiate, CONTEXT_LN_CIPHERED, Mechanism.HIGH_GMAC, bytes(16), CLIENT)
    answer = decode_apdu(world.ask(request.to_bytes()))
    assert isinstance(answer, AssociationResponse)
    assert answer.result is AssociationResult.REJECTED_PERMANENT
    assert [incident.attack for incident in world.incidents] == [Attack.DOWNGRADE] * 2


def test_a_wrong_key_never_gets_as_far_as_the_challenge() -> None:
    world = World(keys=MeterKeys.random())
    with pytest.raises(AssociationError):
        world.run(world.association.associate())
    assert [incident.attack for incident in world.incidents] == [Attack.WRONG_TAG]


@pytest.mark.parametrize("mechanism", [3, 4, 6])
def test_a_wrong_secret_fails_the_challenge_and_nothing_is_served_after(mechanism: int) -> None:
    world = World(Mechanism(mechanism), protection=Protection.NONE, secret=Secret(b"another"))
    with pytest.raises(AssociationError):
        world.run(world.association.associate())
    assert [incident.attack for incident in world.incidents] == [Attack.WRONG_PROOF]
    answer = decode_apdu(world.ask(bytes.fromhex("c001c100010000600100ff0200")))
    assert isinstance(answer, ExceptionResponse)


def test_nothing_is_served_before_the_challenge_is_answered() -> None:
    world = World(Mechanism.HIGH_MD5, protection=Protection.NONE)
    operation = world.association.associate()
    world.session.receive(next(operation))
    answer = decode_apdu(world.ask(bytes.fromhex("c001c100010000600100ff0200")))
    assert isinstance(answer, ExceptionResponse)
    assert world.incidents[-1].attack is Attack.WRONG_PROOF


def test_a_client_notices_a_meter_that_cannot_prove_itself() -> None:
    world = World()
    answers = iter(range(100))

    def meddle(answer: bytes) -> bytes:
        # The answer to our proof is the second one: its tag no longer fits.
        return flipped(answer, len(answer) * 8 - 1) if next(answers) == 1 else answer

    with pytest.raises(ProtectionError):
        world.run(world.association.associate(), meddle)


def test_a_client_refuses_an_answer_that_is_less_protected_or_repeated() -> None:
    for old in (1, -1):
        world = World()
        world.run(world.association.associate())
        first = world.answered[old]
        with pytest.raises(ProtectionError):
            world.run(world.association.get(VALUE), lambda answer, first=first: first)  # type: ignore[misc]
    world = World()
    world.run(world.association.associate())
    plain = Frame(7, 1, bytes.fromhex("c401c1000f05")).to_bytes()
    with pytest.raises(ProtectionError):
        world.run(world.association.get(VALUE), lambda answer: plain)


def test_a_client_refuses_a_meter_with_another_name() -> None:
    world = World(meter_title=b"OAM99999")
    with pytest.raises(ProtectionError, match="calls itself"):
        world.run(world.association.associate())


def test_a_counter_that_was_lost_is_recovered_forward() -> None:
    world = World()
    world.run(world.association.associate())
    world.run(world.association.release())
    forgetful = ClientSecurity(CLIENT, world.keys, meter_title=METER)
    association = Association(7, 1, security=forgetful)
    world.run(association.associate())
    assert world.run(association.get(VALUE)) == TEXT


def test_a_meter_that_asks_us_to_go_back_or_too_far_is_an_alarm() -> None:
    for asked in (0, MAX_RECOVERY_JUMP + 10_000):
        world = World(counters=MemoryCounters({f"{CLIENT.hex()}/x": 0}))
        fingerprint = world.keys.global_unicast.fingerprint
        world.client_counters.save({f"{CLIENT.hex()}/{fingerprint}/send": 5000})
        security = ClientSecurity(CLIENT, world.keys, counters=world.client_counters, meter_title=METER)
        answer = Frame(7, 1, bytes.fromhex("d80106") + asked.to_bytes(4, "big")).to_bytes()
        with pytest.raises(SecurityError):
            world.run(Association(7, 1, security=security).associate(), lambda _, answer=answer: answer)  # type: ignore[misc]


def test_counters_outlive_both_processes() -> None:
    world = World()
    world.run(world.association.associate())
    captured = world.sent[-1]
    world.run(world.association.release())
    # The meter comes back with what it kept; the client goes on above everything it ever sent.
    reborn = DeviceSecurity(METER, world.keys, world.meter_counters, world.incidents.append)
    policy = AssociationPolicy(1, Mechanism.HIGH_GMAC, protection=AUTHENTICATED_ENCRYPTION)
    world.session = ServerSession({7: LogicalDevice([], [policy], reborn)})
    world.run(Association(7, 1, security=world.client).associate())
    assert isinstance(decode_apdu(world.ask(captured[8:])), ExceptionResponse)


def test_what_cannot_work_is_said_before_anything_is_sent() -> None:
    with pytest.raises(LocalProtocolError):
        ClientSecurity(CLIENT)
    with pytest.raises(LocalProtocolError):
        ClientSecurity(CLIENT, MeterKeys.random(), Mechanism.HIGH_SHA256)
    with pytest.raises(LocalProtocolError):
        ClientSecurity(CLIENT, MeterKeys.random(1), Mechanism.HIGH_ECDSA)
    with pytest.raises(LocalProtocolError, match="manufacturer"):
        ClientSecurity(CLIENT, MeterKeys.random(), Mechanism.HIGH)
    with pytest.raises(SecurityError):
        ClientSecurity(b"short", MeterKeys.random())
    with pytest.raises(LocalProtocolError):
        LogicalDevice([], [AssociationPolicy(1, Mechanism.HIGH_GMAC)])


def test_no_secret_shows_itself() -> None:
    world = World(suite_number=1)
    shown = repr(world.client) + repr(world.keys) + repr(world.client.secret)
    for key in (world.keys.global_unicast, world.keys.authentication, world.keys.master):
        assert key.reveal().hex() not in shown
        assert repr(key.reveal()) not in shown
    assert PASSWORD.decode() not in shown


def test_a_service_that_is_refused_leaves_the_association_in_order() -> None:
    world = World()
    world.run(world.association.associate())
    with pytest.raises(ServiceRefusedError):
        world.run(world.association.get(VALUE), lambda _: Frame(7, 1, bytes.fromhex("d80201")).to_bytes())
    assert world.run(world.association.get(VALUE)) == TEXT


def initiate_of(aarq: bytes) -> bytes:
    information = AssociationRequest.from_bytes(aarq).user_information
    assert information is not None
    return information


@pytest.mark.parametrize("protection", [level for level in LEVELS if level])
@pytest.mark.parametrize("form", [form for form in Form if form.dedicated])
def test_a_dedicated_key_travels_authenticated_and_encrypted_whatever_the_services_are(
    protection: Protection, form: Form
) -> None:
    """A server of others (Gurux, Java) refuses each other way; what is only authenticated can be read."""
    world = World(protection=protection, form=form)
    world.run(world.association.associate())
    sealed = CipheredApdu.from_bytes(initiate_of(world.sent[0][8:]))
    assert sealed.header.level == AUTHENTICATED_ENCRYPTION
    assert world.run(world.association.get(VALUE)) == TEXT
    assert CipheredApdu.from_bytes(world.sent[-1][8:]).header.level == protection


@pytest.mark.parametrize("level", [Protection.AUTHENTICATED, Protection.ENCRYPTED])
def test_a_dedicated_key_that_came_in_the_open_is_refused_and_told(level: Protection) -> None:
    world = World(protection=level)
    cipher = world.client.cipher()
    assert cipher is not None
    initiate = cipher.seal(InitiateRequest(SUPPORTED, 1024, bytes(16)).to_bytes(), level, Form.GLOBAL)
    request = AssociationRequest(initiate, CONTEXT_LN_CIPHERED, Mechanism.HIGH_GMAC, bytes(16), CLIENT)
    answer = decode_apdu(world.ask(request.to_bytes()))
    assert isinstance(answer, AssociationResponse)
    assert answer.result is AssociationResult.REJECTED_PERMANENT
    assert [incident.attack for incident in world.incidents] == [Attack.DOWNGRADE]

"""Attacks on the software meter in every framing and form of ciphering: refused, and in its event log.

Replay of every captured APDU, counters -1, equal, +1 and a jump, each of the 96 bits of a tag, a downgraded
suite, protection and mechanism; over the wrapper and over HDLC, with global and dedicated keys, in the forms
of one service and in the general ones.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from dlms_interop_world import DEVICE, HIGH, TITLE, software_meter
from openami.protocols.dlms.apdus.apdu import ExceptionResponse, decode_apdu
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.apdus.results import (
    AccessError,
    AssociationError,
    ServiceError,
    ServiceRefusedError,
)
from openami.protocols.dlms.client.association import Association, Operation
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.framing.hdlc_channel import HdlcChannel
from openami.protocols.dlms.framing.hdlc_frame import FrameKind, HdlcDecoder, HdlcFrame
from openami.protocols.dlms.framing.wrapper import Frame, WrapperChannel
from openami.protocols.dlms.protection.ciphered_apdu import CIPHERED_TAGS, CipheredApdu, Form
from openami.protocols.dlms.protection.security_control import (
    AUTHENTICATED_ENCRYPTION,
    Protection,
    SecurityHeader,
)
from openami.protocols.dlms.server.hdlc_server import HdlcServerSession
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.errors import OpenAmiError, RemoteProtocolError
from openami.quantities.obis import IMPORT_ENERGY, ObisCode
from openami.readings.event import EventCode
from openami.security.counters import MemoryCounters
from openami.security.secret import Secret

T = TypeVar("T")
CLIENT = HIGH[AUTHENTICATED_ENCRYPTION]
ENERGY = Attribute(3, IMPORT_ENERGY, 2)
SERIAL = Attribute(1, ObisCode(0, 0, 96, 1, 0), 2)
REQUEST = bytes.fromhex("c001c100010000600100ff0200")
FORMS = [(framing, form) for framing in ("wrapper", "hdlc") for form in Form]
every_form = pytest.mark.parametrize(
    ("framing", "form"), FORMS, ids=[f"{framing}-{form.value}" for framing, form in FORMS]
)


class Raw:
    """A channel that carries any APDU, as somebody on the line would."""

    def __init__(self, world: World) -> None:
        self._world = world

    def ask(self, apdu: bytes) -> Any:
        """What the meter answers to an APDU of our client number, a minute later.

        The meter logs an attack of one kind once a minute, so that nobody can wash the rest out of its log.
        """
        world = self._world
        world.meter.clock.advance(timedelta(seconds=61))
        if world.framing == "wrapper":
            answer = world.session.receive(Frame(CLIENT, DEVICE, apdu).to_bytes())
            return decode_apdu(answer[8:]) if answer[8] not in CIPHERED_TAGS else answer[8:]
        outgoing = world.channel.outgoing(apdu)
        incoming = world.channel.incoming(world.session.receive(outgoing))
        while not incoming.apdus:
            incoming = world.channel.incoming(world.session.receive(incoming.outgoing))
        (answer,) = incoming.apdus
        return decode_apdu(answer) if answer[0] not in CIPHERED_TAGS else answer


class World:
    """The software meter, a session with it in memory, and a client with a form of ciphering."""

    def __init__(self, framing: str = "wrapper", form: Form = Form.GLOBAL, **client: Any) -> None:
        self.meter = software_meter()
        self.framing = framing
        devices = {DEVICE: self.meter.device}
        self.session: Any = ServerSession(devices) if framing == "wrapper" else HdlcServerSession(devices)
        self.channel: Any = WrapperChannel(CLIENT, DEVICE)
        self.sent: list[bytes] = []
        if framing == "hdlc":
            self.channel = HdlcChannel(CLIENT, DEVICE)
            self.run(self.channel.connect())
        self.security = ClientSecurity(
            **{"title": TITLE, "keys": self.meter.keys, "form": form, "counters": MemoryCounters({})} | client
        )
        self.association = Association(
            DEVICE, CLIENT, security=self.security, channel=self.channel, max_pdu=256
        )
        self.raw = Raw(self)
        self.logged_before = len(self.meter.events())

    def run(self, operation: Operation[T]) -> T:
        outgoing = next(operation)
        while True:
            self.sent.append(outgoing)
            try:
                outgoing = operation.send(self.session.receive(outgoing))
            except StopIteration as done:
                result: T = done.value
                return result

    def captured(self) -> list[bytes]:
        """The ciphered APDUs that went to the meter."""
        apdus = [octets[8:] for octets in self.sent]
        if self.framing == "hdlc":
            decoder = HdlcDecoder()
            frames = [event for octets in self.sent for event in decoder.feed(octets)]
            apdus = [
                frame.information[3:]
                for frame in frames
                if isinstance(frame, HdlcFrame) and frame.kind is FrameKind.I
            ]
        return [apdu for apdu in apdus if apdu[:1] and apdu[0] in CIPHERED_TAGS]

    def log(self) -> list[int]:
        """Codes that came to the meter's event log since the world began."""
        return self.meter.events()[self.logged_before :]


def flipped(octets: bytes, bit: int) -> bytes:
    changed = bytearray(octets)
    changed[bit // 8] ^= 0x80 >> bit % 8
    return bytes(changed)


def refused(answer: Any, *services: ServiceError) -> ExceptionResponse:
    assert isinstance(answer, ExceptionResponse)
    assert answer.service in services
    return answer


def associated(framing: str, form: Form) -> World:
    world = World(framing, form)
    world.run(world.association.associate())
    assert world.run(world.association.get(SERIAL)) == world.meter.meter_id.encode()
    world.run(world.association.get(ENERGY))
    assert world.log() == []
    return world


@every_form
def test_every_captured_apdu_is_refused_when_it_is_sent_again(framing: str, form: Form) -> None:
    world = associated(framing, form)
    captured = world.captured()
    assert len(captured) == 3  # the answer to the challenge, two requests
    for apdu in captured:
        answer = refused(world.raw.ask(apdu), ServiceError.INVOCATION_COUNTER_ERROR)
        assert answer.invocation_counter is not None
        assert answer.invocation_counter > CipheredApdu.from_bytes(apdu).header.counter
    assert world.log() == [EventCode.REPLAY_ATTACK] * 3


@every_form
@pytest.mark.parametrize("step", [-1, 0, 1, 100_000])
def test_a_captured_apdu_under_another_counter_is_refused(framing: str, form: Form, step: int) -> None:
    world = associated(framing, form)
    one = CipheredApdu.from_bytes(world.captured()[-1])
    header = SecurityHeader(one.header.suite, one.header.protection, one.header.counter + step)
    forged = CipheredApdu(one.form, one.service, one.title, header, one.text)
    if step <= 0:
        refused(world.raw.ask(forged.to_bytes()), ServiceError.INVOCATION_COUNTER_ERROR)
        assert world.log() == [EventCode.REPLAY_ATTACK]
    else:
        refused(world.raw.ask(forged.to_bytes()), ServiceError.DECIPHERING_ERROR)
        assert world.log() == [EventCode.DECIPHERING_FAILED]
    # A forged counter is not believed: the client goes on with its own.
    if framing == "wrapper":
        assert world.run(world.association.get(SERIAL)) == world.meter.meter_id.encode()


@every_form
def test_each_of_the_96_bits_of_a_tag_counts(framing: str, form: Form) -> None:
    world = associated(framing, form)
    cipher = world.association._cipher
    assert cipher is not None
    sealed = cipher.seal(REQUEST, AUTHENTICATED_ENCRYPTION, form)
    for bit in range(len(sealed) * 8 - 96, len(sealed) * 8):
        refused(world.raw.ask(flipped(sealed, bit)), ServiceError.DECIPHERING_ERROR)
    assert world.log() == [EventCode.DECIPHERING_FAILED] * 96
    assert isinstance(world.raw.ask(sealed), bytes), "the one that was not changed is served"


@every_form
@pytest.mark.parametrize("control", [0x00, 0x10, 0x20, 0x31, 0x32, 0xB0, 0x70])
def test_less_protection_or_another_suite_than_agreed_is_refused(
    framing: str, form: Form, control: int
) -> None:
    world = associated(framing, form)
    cipher = world.association._cipher
    assert cipher is not None
    if control in (0x00, 0x10, 0x20):
        sealed = cipher.seal(REQUEST, Protection(control), form)
    else:
        one = CipheredApdu.from_bytes(cipher.seal(REQUEST, form=form))
        header = SecurityHeader(control & 0x0F, Protection(control & 0xF0), one.header.counter)
        sealed = CipheredApdu(one.form, one.service, one.title, header, one.text).to_bytes()
    refused(world.raw.ask(sealed), ServiceError.DECIPHERING_ERROR)
    assert world.log() == [EventCode.DECIPHERING_FAILED]


@every_form
def test_a_plain_request_in_a_protected_association_is_refused(framing: str, form: Form) -> None:
    world = associated(framing, form)
    refused(world.raw.ask(REQUEST), ServiceError.OPERATION_NOT_POSSIBLE)
    assert world.log() == [EventCode.AUTHENTICATION_FAILED]


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
@pytest.mark.parametrize("mechanism", [0, 1, 3, 4, 6])
def test_a_weaker_mechanism_is_refused(framing: str, mechanism: int) -> None:
    world = World(framing, mechanism=Mechanism(mechanism), secret=Secret(b"12345678"))
    with pytest.raises((AssociationError, ServiceRefusedError)):
        world.run(world.association.associate())
    assert world.log() == [EventCode.AUTHENTICATION_FAILED]


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
def test_an_association_that_is_not_protected_is_refused(framing: str) -> None:
    world = World(framing, protection=Protection.NONE)
    with pytest.raises((AssociationError, ServiceRefusedError)):
        world.run(world.association.associate())
    assert world.log() == [EventCode.AUTHENTICATION_FAILED]


@every_form
def test_a_captured_request_is_refused_in_a_later_association(framing: str, form: Form) -> None:
    world = associated(framing, form)
    captured = world.captured()
    world.run(world.association.release())
    later = Association(DEVICE, CLIENT, security=world.security, channel=world.channel, max_pdu=256)
    world.run(later.associate())
    for apdu in captured:
        # What was under the dedicated key of before is under no key that the meter has now.
        dedicated = apdu[0] in (0xD0, 0xD1, 0xD3, 0xDC)
        error = ServiceError.DECIPHERING_ERROR if dedicated else ServiceError.INVOCATION_COUNTER_ERROR
        refused(world.raw.ask(apdu), error)
    assert len(world.log()) == len(captured)


@every_form
@pytest.mark.parametrize("tampering", ["cut", "flip", "double"])
def test_a_client_believes_no_answer_that_was_tampered_with(framing: str, form: Form, tampering: str) -> None:
    world = associated(framing, form)
    change: dict[str, Callable[[bytes], bytes]] = {
        "cut": lambda apdu: apdu[:-1],
        "flip": lambda apdu: flipped(apdu, len(apdu) * 8 - 3),
        "double": lambda apdu: apdu + apdu,
    }
    carried = world.channel.incoming

    def meddled(data: bytes) -> Any:
        incoming = carried(data)
        return incoming._replace(apdus=[change[tampering](apdu) for apdu in incoming.apdus])

    world.association._channel = type(
        "Meddled", (), {"outgoing": staticmethod(world.channel.outgoing), "incoming": staticmethod(meddled)}
    )()
    with pytest.raises(RemoteProtocolError):
        world.run(world.association.get(SERIAL))
    with pytest.raises(OpenAmiError):
        world.run(world.association.get(SERIAL))


def test_each_bit_of_a_whole_ciphered_request_counts() -> None:
    """Not the tag alone: header, length, title and text."""
    world = associated("wrapper", Form.GENERAL_GLOBAL)
    cipher = world.association._cipher
    assert cipher is not None
    sealed = cipher.seal(REQUEST, form=Form.GENERAL_GLOBAL)
    for bit in range(len(sealed) * 8):
        answer = world.raw.ask(flipped(sealed, bit))
        assert isinstance(answer, ExceptionResponse), f"bit {bit}"
    with pytest.raises(AccessError):
        world.run(world.association.get(Attribute(3, ObisCode(1, 0, 9, 9, 9), 2)))
    assert set(world.log()) <= {EventCode.DECIPHERING_FAILED, EventCode.REPLAY_ATTACK}
    assert len(world.log()) > 96

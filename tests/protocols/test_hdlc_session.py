"""Associations over HDLC, both roles: plain and ciphered, on a good line and on a bad one, whatever comes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hdlc_line import BadLine, drive_line
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.descriptors import Attribute, Method, by_entry
from openami.protocols.dlms.apdus.results import AssociationError
from openami.protocols.dlms.client.association import Association
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.encoding.axdr import Data, Tag, decode_plain
from openami.protocols.dlms.encoding.data import Plain
from openami.protocols.dlms.framing.hdlc_channel import HdlcChannel
from openami.protocols.dlms.framing.hdlc_frame import (
    FrameKind,
    HdlcAddress,
    HdlcDecoder,
    HdlcFrame,
    control_of,
)
from openami.protocols.dlms.framing.hdlc_link_state import LinkState
from openami.protocols.dlms.framing.hdlc_parameters import HdlcParameters
from openami.protocols.dlms.framing.llc import COMMAND
from openami.protocols.dlms.framing.push_framing import PushedApdu, pushes_of
from openami.protocols.dlms.framing.udp_wrapper import DatagramChannel
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.interface_classes.data import DataObject
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.datagram_session import DatagramSession
from openami.protocols.dlms.server.device_security import DeviceSecurity
from openami.protocols.dlms.server.hdlc_server import MAX_LINKS, HdlcServerSession
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import MAX_KEPT
from openami.quantities.errors import LinkError, LocalProtocolError, RemoteProtocolError
from openami.quantities.obis import ObisCode
from openami.security.counters import MemoryCounters
from openami.security.meter_keys import MeterKeys

PASSWORD = b"12345678"
ENERGY = Attribute(3, ObisCode(1, 0, 1, 8, 0), 2)
LOAD = Attribute(7, ObisCode(1, 0, 99, 1, 0), 2)
NOTE = Attribute(1, ObisCode(0, 0, 96, 13, 0), 2)
OBJECT_LIST = Attribute(15, ObisCode(0, 0, 40, 0, 0), 2)
SERVER = HdlcAddress(7, 17, 2)


class Line:
    """A client and a meter, and what is between them."""

    def __init__(
        self,
        devices: dict[int, LogicalDevice],
        parameters: HdlcParameters | None = None,
        bad: BadLine | None = None,
        client: int = 1,
    ) -> None:
        self.session = HdlcServerSession(devices, 17)
        self.channel = HdlcChannel(client, SERVER, parameters, repetitions=100)
        self.bad = bad or BadLine(0, 0.0)

    def run(self, operation: Any) -> Any:
        def carry(answer: bytes) -> bytes:
            return self.bad.carry(answer)

        return drive_line(
            operation,
            self.channel,
            lambda sent: carry(self.session.receive(self.bad.carry(sent))),
            lambda: carry(self.session.silence()),
        )

    def associate(self, **settings: Any) -> Association:
        self.run(self.channel.connect())
        association = Association(7, 1, channel=self.channel, **({"password": PASSWORD} | settings))
        self.run(association.associate())
        return association

    def leave(self, association: Association) -> None:
        self.run(association.release())
        self.run(self.channel.disconnect())


def everything(line: Line, association: Association, truth: LogicalDevice) -> None:
    """Read what the meter has, long values in blocks too, write and act."""
    profile = next(item for item in truth if item.logical_name == LOAD.logical_name)
    assert line.run(association.get(ENERGY)) == 123_456
    assert line.run(association.get_encoded(LOAD)) == profile.read(2)
    assert line.run(association.get_encoded(LOAD, by_entry(3, 4))) == profile.read(2, by_entry(3, 4))
    text = bytes(range(256)) * 20
    line.run(association.set(NOTE, Data(Tag.OCTET_STRING, text)))
    assert line.run(association.get(NOTE)) == text
    line.run(association.action(Method(70, ObisCode(0, 0, 96, 3, 10), 1), Data(Tag.INTEGER, 0)))
    assert line.run(association.get_with_list([ENERGY, NOTE])) == [123_456, text]


@pytest.mark.parametrize("window", [1, 7])
@pytest.mark.parametrize("information", [128, 2030])
@pytest.mark.parametrize("max_pdu", [128, 1024, 65_535])
@pytest.mark.parametrize("rate", [0.0, 0.05])
def test_an_association_over_hdlc_reads_writes_and_acts_on_a_good_and_on_a_bad_line(
    new_meter: Callable[[], Any], information: int, window: int, max_pdu: int, rate: float
) -> None:
    meter = new_meter()
    bad = BadLine(information + window + max_pdu, rate)
    line = Line({7: meter.device()}, HdlcParameters.of(information, window), bad)
    association = line.associate(max_pdu=max_pdu)
    assert line.channel.agreed == HdlcParameters.of(information, window)
    everything(line, association, new_meter().device())
    assert meter.relay.state().name == "DISCONNECTED"
    line.leave(association)
    assert line.channel.link.state is LinkState.DISCONNECTED
    assert line.session.kept_octets == 0
    assert (bad.garbled > 0) is (rate > 0)
    assert (line.session.bad_frames + line.channel.bad_frames > 0) is (rate > 0)


@pytest.mark.parametrize("rate", [0.0, 0.05])
def test_a_ciphered_association_over_hdlc(new_meter: Callable[[], Any], rate: float) -> None:
    """HLS 5 and authenticated encryption: a repeated frame must not look like a repeated counter."""
    keys = MeterKeys.random(0)
    incidents: list[object] = []
    security = DeviceSecurity(b"OAM00001", keys, MemoryCounters(), incidents.append)
    policy = AssociationPolicy(1, Mechanism.HIGH_GMAC, b"", protection=AUTHENTICATED_ENCRYPTION)
    text = b"a value that takes more than one segment" * 40
    note = DataObject(NOTE.logical_name, lambda: Data(Tag.OCTET_STRING, text))
    line = Line({7: LogicalDevice([note], [policy], security)}, HdlcParameters.of(128, 3), BadLine(5, rate))
    client = ClientSecurity(
        title=b"HES00001", keys=keys, mechanism=Mechanism.HIGH_GMAC, protection=AUTHENTICATED_ENCRYPTION,
        meter_title=b"OAM00001", counters=MemoryCounters(),
    )  # fmt: skip
    association = line.associate(password=None, security=client, max_pdu=400)
    for _ in range(10):
        assert line.run(association.get(NOTE)) == text
    line.leave(association)
    assert incidents == []


def test_snrm_begins_a_new_association(new_meter: Callable[[], Any]) -> None:
    line = Line({7: new_meter().device()})
    line.associate()
    again = HdlcChannel(1, SERVER)
    line.channel = again
    line.run(again.connect())
    association = Association(7, 1, PASSWORD, channel=again)
    request = b"\xc0\x01\xc1" + ENERGY.to_bytes() + b"\x00"
    (refused,) = HdlcDecoder().feed(line.session.receive(again.outgoing(request)))
    assert isinstance(refused, HdlcFrame)
    assert refused.information[3] == 0xD8, "the association of the link before must not be served"
    assert association.state.name == "IDLE"


def test_a_wrong_password_is_refused_over_hdlc_too(new_meter: Callable[[], Any]) -> None:
    line = Line({7: new_meter().device()})
    with pytest.raises(AssociationError):
        line.associate(password=b"87654321")


def test_two_clients_and_two_devices_on_one_line_do_not_mix(new_meter: Callable[[], Any]) -> None:
    meters = {upper: new_meter() for upper in (7, 8)}
    for upper, meter in meters.items():
        meter.energy = upper * 1000
    session = HdlcServerSession({upper: meter.device() for upper, meter in meters.items()}, 17)
    links = []
    for client, upper in ((1, 7), (1, 8), (16, 7)):
        line = Line({}, client=client)
        line.session = session
        line.channel = HdlcChannel(client, HdlcAddress(upper, 17, 2))
        line.run(line.channel.connect())
        password = PASSWORD if client == 1 else None
        association = Association(upper, client, password, channel=line.channel)
        line.run(association.associate())
        links.append((upper, client, line, association))
    for _ in range(3):
        for upper, client, line, association in links:
            if client == 1:
                assert line.run(association.get(ENERGY)) == upper * 1000
            else:
                assert len(line.run(association.get(OBJECT_LIST))) == 5
    for _, _, line, association in reversed(links):
        line.leave(association)


@pytest.mark.parametrize(
    ("destination", "answered"),
    [
        (HdlcAddress(7, 17, 2), True),
        (HdlcAddress(7, 17, 4), True),
        (HdlcAddress(7), True),
        (HdlcAddress(7, 18, 2), False),
        (HdlcAddress(9, 17, 2), False),
        (HdlcAddress(127, 127, 2), False),
        (HdlcAddress(7, 0x3FFF, 4), False),
    ],
)
def test_only_who_is_called_answers(
    new_meter: Callable[[], Any], destination: HdlcAddress, answered: bool
) -> None:
    session = HdlcServerSession({7: new_meter().device()}, 17)
    snrm = HdlcFrame(destination, HdlcAddress(16), control_of(FrameKind.SNRM)).to_bytes()
    answer = session.receive(snrm)
    assert bool(answer) is answered
    if answered:
        (ua,) = HdlcDecoder().feed(answer)
        assert isinstance(ua, HdlcFrame)
        assert (ua.kind, ua.destination, ua.source) == (FrameKind.UA, HdlcAddress(16), destination)
        assert session.receive(answer) == b"", "the echo of our own answer is no command"


def test_a_meter_without_a_station_of_its_own_answers_to_every_one(new_meter: Callable[[], Any]) -> None:
    session = HdlcServerSession({7: new_meter().device()})
    for station in (1, 17, 99):
        snrm = HdlcFrame(HdlcAddress(7, station, 2), HdlcAddress(16), control_of(FrameKind.SNRM))
        assert session.receive(snrm.to_bytes())


def test_a_push_in_ui_frames_reaches_the_listener_and_the_client_between_answers(
    new_meter: Callable[[], Any],
) -> None:
    line = Line({7: new_meter().device()})
    association = line.associate()
    apdu = bytes.fromhex("0f0000000100") + b"\x09\x82\x01\x2c" + bytes(300)
    pushed = line.session.push(apdu, 1, SERVER, 128)
    (event,) = pushes_of(pushed)
    assert isinstance(event, PushedApdu)
    assert (event.apdu, event.octets, event.source, event.destination) == (apdu, pushed, 7, 1)
    operation = association.get(ENERGY)
    answer = line.session.receive(next(operation))
    with pytest.raises(StopIteration) as done:
        operation.send(pushed + answer)
    assert done.value.value == 123_456
    (notification,) = association.take_notifications()
    assert notification.to_bytes() == apdu


# --- what the client makes of a bad meter -------------------------------------------------------------------


def test_garbage_is_left_to_the_time_out_and_the_operation_goes_on(new_meter: Callable[[], Any]) -> None:
    line = Line({7: new_meter().device()})
    association = line.associate()
    operation = association.get(ENERGY)
    request = next(operation)
    assert operation.send(b"\x7e\xa0 noise of the line") == b""
    assert line.channel.timed_out() == request
    with pytest.raises(StopIteration) as done:
        operation.send(line.session.receive(request))
    assert done.value.value == 123_456
    assert line.channel.bad_frames == 1


def test_an_answer_behind_a_frame_that_promises_too_much_is_found_in_the_silence(
    new_meter: Callable[[], Any],
) -> None:
    line = Line({7: new_meter().device()})
    association = line.associate()
    operation = association.get(ENERGY)
    answer = line.session.receive(next(operation))
    promise = HdlcFrame(HdlcAddress(1), SERVER, 0x10, bytes(2000)).to_bytes()[:40]
    assert operation.send(promise + answer) == b""
    line.channel.silence()
    with pytest.raises(StopIteration) as done:
        operation.send(b"")
    assert done.value.value == 123_456
    assert line.channel.timed_out() == b""


def test_a_meter_that_is_gone_ends_in_one_error(new_meter: Callable[[], Any]) -> None:
    channel = HdlcChannel(1, SERVER, repetitions=2)
    operation = channel.connect()
    snrm = next(operation)
    assert [channel.timed_out(), channel.timed_out()] == [snrm, snrm]
    with pytest.raises(LinkError):
        channel.timed_out()


def test_a_meter_that_refuses_the_link_or_ends_it_breaks_the_operation(new_meter: Callable[[], Any]) -> None:
    disconnected = HdlcFrame(HdlcAddress(1), SERVER, control_of(FrameKind.DM)).to_bytes()
    channel = HdlcChannel(1, SERVER)
    operation = channel.connect()
    next(operation)
    with pytest.raises(RemoteProtocolError):
        operation.send(disconnected)
    line = Line({7: new_meter().device()})
    association = line.associate()
    reading = association.get(ENERGY)
    next(reading)
    with pytest.raises(RemoteProtocolError):
        reading.send(disconnected)
    assert association.state.name == "BROKEN"
    with pytest.raises(LocalProtocolError):
        line.channel.outgoing(b"\xc0")


def test_an_answer_with_the_header_of_a_client_is_refused(new_meter: Callable[[], Any]) -> None:
    line = Line({7: new_meter().device()})
    association = line.associate()
    reading = association.get(ENERGY)
    next(reading)
    wrong = HdlcFrame(HdlcAddress(1), SERVER, 0x52 | 0x10, COMMAND + b"\xc4\x01\xc1\x00\x11\x01")
    with pytest.raises(RemoteProtocolError):
        reading.send(wrong.to_bytes())


# --- what the meter makes of a bad client -------------------------------------------------------------------


def test_a_message_without_llc_header_is_not_served(new_meter: Callable[[], Any]) -> None:
    line = Line({7: new_meter().device()})
    line.run(line.channel.connect())
    octets = line.session.receive(line.channel.link.send(b"\xe6\xe7\x00\xc0"))
    (answer,) = HdlcDecoder().feed(octets)
    assert isinstance(answer, HdlcFrame)
    assert answer.kind is FrameKind.RR
    assert line.session.bad_frames == 1


def test_links_beyond_the_limit_push_out_the_oldest(new_meter: Callable[[], Any]) -> None:
    session = HdlcServerSession({upper: new_meter().device() for upper in range(1, 5)})
    first = (HdlcAddress(1), HdlcAddress(1))
    pairs = [(HdlcAddress(1 + n % 4), HdlcAddress(1 + n // 4)) for n in range(MAX_LINKS + 1)]
    for server, client in pairs:
        assert session.receive(HdlcFrame(server, client, control_of(FrameKind.SNRM)).to_bytes())
    (answer,) = HdlcDecoder().feed(session.receive(HdlcFrame(*first, control_of(FrameKind.RR)).to_bytes()))
    assert isinstance(answer, HdlcFrame)
    assert answer.kind is FrameKind.DM
    (answer,) = HdlcDecoder().feed(
        session.receive(HdlcFrame(*pairs[-1], control_of(FrameKind.RR)).to_bytes())
    )
    assert isinstance(answer, HdlcFrame)
    assert answer.kind is FrameKind.RR


def test_transfers_of_many_links_cannot_exhaust_memory(new_meter: Callable[[], Any]) -> None:
    device = new_meter().device()
    session = HdlcServerSession(dict.fromkeys(range(1, 13), device))
    one = OBJECT_LIST.to_bytes() + b"\x00"
    request = b"\xc0\x03\xc1\x82" + (2000).to_bytes(2, "big") + one * 2000
    for upper in range(1, 13):
        line = Line({})
        line.session = session
        line.channel = HdlcChannel(1, upper, HdlcParameters.of(2030, 7))
        line.run(line.channel.connect())
        line.run(Association(upper, 1, PASSWORD, channel=line.channel, max_pdu=64).associate())
        outgoing = line.channel.outgoing(request)
        while outgoing:
            incoming = line.channel.incoming(session.receive(outgoing))
            outgoing = incoming.outgoing
        assert incoming.apdus[0][:2] == b"\xc4\x02"
    assert 0 < session.kept_octets <= MAX_KEPT


def test_ten_thousand_mutated_conversations_leave_the_meter_answering(new_meter: Callable[[], Any]) -> None:
    rng = random.Random(20_250_105)
    recorded: list[bytes] = []
    line = Line({7: new_meter().device()}, HdlcParameters.of(200, 2))
    carry = line.bad.carry

    def record(octets: bytes) -> bytes:
        recorded.append(octets)
        return carry(octets)

    line.bad.carry = record  # type: ignore[method-assign]
    association = line.associate(max_pdu=300)
    everything(line, association, new_meter().device())
    line.leave(association)
    commands = [octets for octets in recorded[::2] if octets]
    session = HdlcServerSession({7: new_meter().device()}, 17)
    answered = 0
    for _ in range(10_000):
        octets = bytearray(rng.choice(commands))
        if rng.random() < 0.5:  # a frame that is right, and its control or its information is not
            (frame, *_) = HdlcDecoder().feed(bytes(octets))
            assert isinstance(frame, HdlcFrame)
            control = rng.randrange(256) if rng.random() < 0.5 else frame.control
            information = bytearray(frame.information)
            if information:
                information[rng.randrange(len(information))] ^= 1 << rng.randrange(8)
            octets[:] = HdlcFrame(
                frame.destination, frame.source, control, bytes(information), rng.random() < 0.2
            ).to_bytes()
        else:
            place = rng.randrange(len(octets))
            octets[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        answered += bool(session.receive(bytes(octets)) + session.silence())
        assert session.kept_octets <= MAX_KEPT
    assert answered > 3_000
    line.session = session
    line.channel = HdlcChannel(1, SERVER)
    assert line.run(line.associate().get(ENERGY)) == 123_456


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_the_meter_never_raises(new_meter: Callable[[], Any], pieces: list[bytes]) -> None:
    session = HdlcServerSession({7: new_meter().device()})
    for piece in pieces:
        session.receive(piece)
    session.silence()


# --- datagrams ------------------------------------------------------------------------------------------


def test_an_association_over_datagrams_survives_lost_and_cut_ones(new_meter: Callable[[], Any]) -> None:
    session = DatagramSession({7: new_meter().device()})
    channel = DatagramChannel(1, 7)
    association = Association(7, 1, PASSWORD, channel=channel, max_pdu=1024)

    def run(operation: Any) -> Plain:
        outgoing = next(operation)
        while True:
            assert session.receive(outgoing[:-1]) == []  # a datagram that was cut
            (answer,) = session.receive(outgoing)
            assert operation.send(answer[:-1]) == b""
            assert operation.send(Frame(8, 1, b"\xc4").to_bytes()) == b""
            try:
                outgoing = operation.send(answer)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]

    run(association.associate())
    item = next(item for item in new_meter().device() if item.logical_name == LOAD.logical_name)
    assert run(association.get(LOAD)) == decode_plain(item.read(2))
    run(association.release())
    assert session.kept_octets == 0
    assert session.bad_frames == channel.bad_frames // 2 > 3

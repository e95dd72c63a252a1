"""What client and server agreed on holds: sizes in both directions, answers allowed, services in common."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from openami.protocols.dlms.apdus.access import AccessGet, AccessRequest, LongInvoke
from openami.protocols.dlms.apdus.acse import AssociationRequest, AssociationResponse
from openami.protocols.dlms.apdus.action import ActionRequest
from openami.protocols.dlms.apdus.apdu import ExceptionResponse, decode_apdu
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.block_transfer import ABORT
from openami.protocols.dlms.apdus.descriptors import Attribute, Method
from openami.protocols.dlms.apdus.general_block import TransferBlock
from openami.protocols.dlms.apdus.get import GetRequest, GetRequestList, GetRequestNext, GetResponse
from openami.protocols.dlms.apdus.initiate import (
    PROPOSED,
    PROPOSED_FOR_WINDOWS,
    SUPPORTED,
    Conformance,
    InitiateRequest,
)
from openami.protocols.dlms.apdus.results import AssociationResult, Diagnostic, ServiceError, StateError
from openami.protocols.dlms.apdus.set import (
    SetRequest,
    SetRequestList,
    SetRequestListFirst,
    SetResponseList,
    encode_values,
)
from openami.protocols.dlms.client.association import Association
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.framing.channel import Channel, Delivery, Incoming
from openami.protocols.dlms.framing.hdlc_channel import HdlcChannel
from openami.protocols.dlms.framing.wrapper import Frame, WrapperChannel, WrapperDecoder
from openami.protocols.dlms.interface_classes.data import DataObject
from openami.protocols.dlms.protection.ciphered_apdu import Form
from openami.protocols.dlms.protection.general_ciphering import KeySource
from openami.protocols.dlms.protection.message_protection import Signing
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.datagram_session import DatagramSession
from openami.protocols.dlms.server.device_security import DeviceSecurity
from openami.protocols.dlms.server.hdlc_server import HdlcServerSession
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.errors import LocalProtocolError, ProtocolError
from openami.quantities.obis import ObisCode
from openami.security import signature
from openami.security.counters import MemoryCounters
from openami.security.meter_keys import MeterKeys
from openami.security.secret import Secret
from openami.security.suites import suite

NOTE = ObisCode(0, 0, 96, 1, 0)
VALUE = Attribute(1, NOTE, 2)
PASSWORD = b"12345678"
NEW = Data(Tag.OCTET_STRING, b"new")


class Meter:
    """A meter with one text that can be set, and what a client on TCP says to it."""

    def __init__(self, policy: AssociationPolicy, text: bytes = b"text", **security: Any) -> None:
        self.written: list[Data] = []
        note = DataObject(NOTE, lambda: Data(Tag.OCTET_STRING, text), self.written.append)
        self.security = DeviceSecurity(b"OAM00001", **security) if security else None
        self.devices = {7: LogicalDevice([note], [policy], self.security)}
        self.session = ServerSession(self.devices)

    def ask(self, apdu: bytes) -> list[bytes]:
        frames = WrapperDecoder().feed(self.session.receive(Frame(1, 7, apdu).to_bytes()))
        return [frame.apdu for frame in frames if isinstance(frame, Frame)]

    def associate(self, conformance: int, max_pdu: int, *, response_allowed: bool = True) -> list[bytes]:
        initiate = InitiateRequest(conformance, max_pdu, response_allowed=response_allowed)
        return self.ask(AssociationRequest(initiate.to_bytes(), mechanism=1, secret=PASSWORD).to_bytes())


def split(octets: bytes) -> list[bytes]:
    """The wrapper frames of a stream."""
    return [frame.to_bytes() for frame in WrapperDecoder().feed(octets) if isinstance(frame, Frame)]


def run(operation: Any, receive: Callable[[bytes], bytes]) -> Any:
    """Run an operation to its end; an error of the protocol is a result too."""
    try:
        outgoing = next(operation)
        while True:
            outgoing = operation.send(receive(outgoing))
    except StopIteration as done:
        return done.value
    except ProtocolError as error:
        return error


def low() -> AssociationPolicy:
    return AssociationPolicy(1, Mechanism.LOW, PASSWORD)


def refusal(answers: list[bytes]) -> ExceptionResponse:
    (answer,) = answers
    refused = decode_apdu(answer)
    assert isinstance(refused, ExceptionResponse)
    return refused


def lists(count: int) -> list[bytes]:
    """Requests that ask for ``count`` results, none of which has blocks of its own."""
    attributes = ((VALUE, None),) * count
    return [
        SetRequestList(0xC1, attributes, (NEW,) * count).to_bytes(),
        SetRequestListFirst(0xC1, attributes, True, 1, encode_values((NEW,) * count)).to_bytes(),
        AccessRequest(LongInvoke.CONFIRMED | 1, (AccessGet(VALUE),) * count).to_bytes(),
    ]


@pytest.mark.parametrize("count", [26, 29, 30, 127, 128, 1000])
def test_a_list_whose_results_do_not_fit_is_refused_before_anything_is_done(count: int) -> None:
    meter = Meter(low())
    meter.associate(PROPOSED, 32)
    for request in lists(count):
        (answer,) = meter.ask(request)
        assert len(answer) <= 32
        if count > 28:
            assert refusal([answer]).service is ServiceError.PDU_TOO_LONG
            assert not meter.written


def test_a_list_whose_results_fit_exactly_is_served() -> None:
    meter = Meter(low())
    meter.associate(PROPOSED, 32)
    (answer,) = meter.ask(lists(28)[0])
    assert len(answer) == 32
    results = decode_apdu(answer)
    assert isinstance(results, SetResponseList)
    assert len(results.results) == len(meter.written) == 28


def test_an_answer_that_has_no_numbers_left_ends_its_transfer_only() -> None:
    meter = Meter(AssociationPolicy(1, Mechanism.LOW, PASSWORD, window=1), b"x" * 200)
    meter.associate(
        Conformance.GET | Conformance.MULTIPLE_REFERENCES | Conformance.GENERAL_BLOCK_TRANSFER, 64
    )
    request = GetRequestList(0xC1, ((VALUE, None),) * 5000).to_bytes()
    for number, octet in enumerate(request, 1):
        block = TransferBlock(number == len(request), False, 1, number, number - 1, bytes((octet,)))
        answers = meter.ask(block.to_bytes())
    assert answers == [ABORT.to_bytes()]
    (answer,) = meter.ask(GetRequest(0xC1, VALUE).to_bytes())
    assert answer[0] == 0xE0, "the association is as it was"


def test_an_association_without_a_service_in_common_is_refused() -> None:
    meter = Meter(low())
    for proposed in (0, Conformance.READ | Conformance.WRITE | Conformance.INFORMATION_REPORT):
        (answer,) = meter.associate(proposed, 0)
        response = decode_apdu(answer)
        assert isinstance(response, AssociationResponse)
        assert response.result is AssociationResult.REJECTED_PERMANENT
        assert response.user_information == bytes.fromhex("0e010602")  # initiate: incompatible conformance
        assert refusal(meter.ask(GetRequest(0xC1, VALUE).to_bytes())).state is StateError.SERVICE_NOT_ALLOWED


def test_an_association_that_allows_no_response_hears_none_and_serves_what_needs_none() -> None:
    meter = Meter(low())
    assert meter.associate(SUPPORTED, 0, response_allowed=False) == []
    assert meter.ask(SetRequest(0x01, VALUE, NEW).to_bytes()) == []
    assert meter.written == [NEW]
    for confirmed in (GetRequest(0xC1, VALUE), SetRequest(0x41, VALUE, NEW)):
        assert refusal(meter.ask(confirmed.to_bytes())).service is ServiceError.SERVICE_NOT_SUPPORTED
    assert len(meter.written) == 1
    meter.associate(SUPPORTED, 0)
    assert isinstance(decode_apdu(meter.ask(GetRequest(0xC1, VALUE).to_bytes())[0]), GetResponse)


def test_nobody_proves_himself_where_no_response_is_allowed() -> None:
    keys = MeterKeys.random()
    meter = Meter(AssociationPolicy(1, Mechanism.HIGH_GMAC), keys=keys)
    initiate = InitiateRequest(SUPPORTED, 0, response_allowed=False).to_bytes()
    assert meter.ask(AssociationRequest(initiate, 3, 5, bytes(16), b"HES00001").to_bytes()) == []
    assert refusal(meter.ask(SetRequest(0x01, VALUE, NEW).to_bytes()))
    assert not meter.written


def test_an_unconfirmed_request_that_was_not_agreed_on_is_not_answered() -> None:
    meter = Meter(low())
    meter.associate(Conformance.GET, 0)
    assert meter.ask(SetRequest(0x01, VALUE, NEW).to_bytes()) == []
    assert meter.ask(ActionRequest(0x01, Method(1, NOTE, 1), NEW).to_bytes()) == []
    assert refusal(meter.ask(SetRequest(0x41, VALUE, NEW).to_bytes()))
    assert not meter.written


@pytest.mark.parametrize("max_pdu", [0, 65_535, 65_500])
@pytest.mark.parametrize("blocks", [PROPOSED, PROPOSED_FOR_WINDOWS])
def test_every_answer_over_udp_fits_its_datagram(max_pdu: int, blocks: Conformance) -> None:
    meter = Meter(low(), b"x" * 200_000)
    session = DatagramSession(meter.devices)
    association = Association(7, 1, PASSWORD, max_pdu=max_pdu, conformance=blocks)
    answered: list[bytes] = []

    def receive(octets: bytes) -> bytes:
        answers = [answer for frame in split(octets) for answer in session.receive(frame)]
        answered.extend(answers)
        return b"".join(answers)

    run(association.associate(), receive)
    assert run(association.get(VALUE), receive) == b"x" * 200_000
    assert 60_000 < max(map(len, answered)) <= 65_507  # payload of a UDP datagram over IPv4


def test_a_client_that_need_not_associate_cannot_be_told_to_protect_what_it_says() -> None:
    with pytest.raises(LocalProtocolError):
        AssociationPolicy(1, pre_established=True, signing=Signing.REQUIRED)
    with pytest.raises(LocalProtocolError):
        AssociationPolicy(1, pre_established=True, protection=Protection.AUTHENTICATED)


@pytest.mark.parametrize("mechanism", [1, 3, 4, 6])
def test_an_empty_secret_proves_nothing(mechanism: int) -> None:
    meter = Meter(AssociationPolicy(1, Mechanism(mechanism)), keys=MeterKeys.random())
    initiate = InitiateRequest(SUPPORTED, 0).to_bytes()
    secret = b"" if mechanism == 1 else bytes(16)
    request = AssociationRequest(initiate, 1, mechanism, secret, b"HES00001")
    response = decode_apdu(meter.ask(request.to_bytes())[0])
    assert isinstance(response, AssociationResponse)
    assert response.result is AssociationResult.REJECTED_PERMANENT
    assert response.diagnostic == Diagnostic.AUTHENTICATION_FAILURE


# --- no answer is longer than the client takes ----------------------------------------------------------


class Recording:
    """A channel that writes down the APDUs it brings."""

    delivery = Delivery.IN_ORDER

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.outgoing, self.poll = channel.outgoing, channel.poll
        self.apdus: list[bytes] = []

    def incoming(self, data: bytes) -> Incoming:
        incoming = self.channel.incoming(data)
        self.apdus += incoming.apdus
        return incoming


MANNERS: list[tuple[int, int, dict[str, Any]]] = [
    (0, 1, {}),
    (0, 5, {}),
    (0, 5, {"form": Form.GENERAL_DEDICATED}),
    (0, 5, {"protection": Protection.AUTHENTICATED, "form": Form.GENERAL_GLOBAL}),
    (0, 6, {"protection": Protection.NONE}),
    (1, 7, {"protection": Protection.NONE}),
    (2, 7, {"form": Form.GENERAL_GLOBAL}),
    (1, 7, {"key_source": KeySource.ONE_PASS, "signing": Signing.REQUIRED}),
    (1, 5, {"key_source": KeySource.WRAPPED}),
    (1, 6, {"protection": Protection.NONE, "signing": Signing.REQUIRED}),
]


@pytest.mark.parametrize(
    "blocks", [PROPOSED, PROPOSED_FOR_WINDOWS, SUPPORTED], ids=["own", "general", "both"]
)
@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
@pytest.mark.parametrize(("number", "mechanism", "manner"), MANNERS)
def test_no_answer_is_longer_than_the_client_takes(
    new_meter: Callable[[], Any],
    number: int,
    mechanism: int,
    manner: dict[str, Any],
    framing: str,
    blocks: Conformance,
) -> None:
    meter = new_meter()
    keys = MeterKeys.random(number)
    own = theirs = None
    if number:
        own, theirs = (signature.new_private_key(suite(number)) for _ in range(2))
    kept = {} if theirs is None else {1: theirs.public_key()}
    security = DeviceSecurity(
        b"OAM00001", keys, signing_key=own, client_keys=kept, agreement_key=own, client_agreement_keys=kept
    )
    other = None if own is None else own.public_key()
    client = ClientSecurity(
        b"HES00001", keys, Mechanism(mechanism), **({"protection": AUTHENTICATED_ENCRYPTION} | manner),
        secret=Secret(PASSWORD), signing_key=theirs, meter_key=other, agreement_key=theirs,
        meter_agreement_key=other, counters=MemoryCounters(),
    ) if mechanism != 1 else None  # fmt: skip
    policy = AssociationPolicy(
        1, Mechanism(mechanism), PASSWORD,
        protection=Protection.NONE if client is None else client.protection,
        key_sources=frozenset() if client is None else client.accepted.sources,
        signing=Signing.REFUSED if client is None else client.signing,
    )  # fmt: skip
    device = LogicalDevice(iter(meter.device()), [policy], security)
    everything = [
        Attribute(item.class_id, item.logical_name, rule.index)
        for item in device
        for rule in item.attribute_rules()
    ] + [Attribute(15, ObisCode(0, 0, 40, 0, 0), index) for index in range(1, 9)]
    opened = set()
    for max_pdu in (12, 19, 32, 40, 64, 72, 104, 128, 136, 200, 511, 1200):
        session: ServerSession | HdlcServerSession = ServerSession({7: device})
        channel: Channel = WrapperChannel(1, 7)
        if framing == "hdlc":
            session, channel = HdlcServerSession({7: device}), HdlcChannel(1, 7)
            run(channel.connect(), session.receive)
        recording = Recording(channel)
        association = Association(
            7, 1, PASSWORD if client is None else None, security=client, max_pdu=max_pdu,
            conformance=blocks, channel=recording,
        )  # fmt: skip
        if isinstance(run(association.associate(), session.receive), ProtocolError):
            continue
        opened.add(max_pdu)
        del recording.apdus[0]  # the AARE: the client said in the AARQ itself what it takes
        for attribute in everything if max_pdu in (64, 136, 511) else everything[::7]:
            run(association.get(attribute), session.receive)
        for some in (everything[:3], everything[:40]):
            run(association.get_with_list(some), session.receive)
            run(association.access([AccessGet(attribute) for attribute in some]), session.receive)
        assert len(recording.apdus) > 10
        assert max(map(len, recording.apdus)) <= max_pdu
    assert {511, 1200} <= opened
    assert not {12, 19} & opened


def test_a_client_that_protects_what_need_not_be_gets_answers_that_it_can_take() -> None:
    keys = MeterKeys.random()
    meter = Meter(AssociationPolicy(1, Mechanism.HIGH_GMAC), b"x" * 999, keys=keys)
    client = ClientSecurity(
        b"HES00001", keys, protection=Protection.NONE, meter_title=b"OAM00001", counters=MemoryCounters()
    )
    association = Association(7, 1, security=client, max_pdu=64)
    run(association.associate(), meter.session.receive)
    cipher = association._cipher
    assert cipher is not None
    for form, level in itertools.product((Form.GLOBAL, Form.GENERAL_GLOBAL), (0x10, 0x20, 0x30)):
        block, answer = 0, b""
        request: GetRequest | GetRequestNext = GetRequest(0xC1, VALUE)
        while not (block and answer[3]):
            (sealed,) = meter.ask(cipher.seal(request.to_bytes(), Protection(level), form))
            assert len(sealed) <= 64
            answer, block = cipher.open(sealed, Protection(level)).apdu, block + 1
            request = GetRequestNext(0xC1, block)
        assert block > 20

"""ACTION, SET and ACCESS in lists and blocks, notifications and refusals: octets, both roles, every cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from openami.protocols.dlms.acse import ReleaseRequest
from openami.protocols.dlms.apdu import ExceptionResponse, decode_apdu
from openami.protocols.dlms.apdu_access import (
    AccessAction,
    AccessGet,
    AccessItem,
    AccessRequest,
    AccessResponse,
    AccessSet,
    LongInvoke,
)
from openami.protocols.dlms.apdu_action import (
    ActionRequestBlock,
    ActionRequestFirst,
    ActionRequestList,
    ActionRequestListFirst,
    ActionRequestNext,
    ActionResponseBlock,
    ActionResponseList,
    ActionResponseNext,
    ActionResult,
)
from openami.protocols.dlms.apdu_notification import DataNotification, EventNotification
from openami.protocols.dlms.apdu_set import SetRequestListFirst, SetResponseLastList
from openami.protocols.dlms.association_policy import AssociationPolicy, Mechanism
from openami.protocols.dlms.association_state import State
from openami.protocols.dlms.axdr import NULL, Data, Tag, structure
from openami.protocols.dlms.block_transfer import UnconfirmedBlocks
from openami.protocols.dlms.ciphered_apdu import Form
from openami.protocols.dlms.client import Association
from openami.protocols.dlms.client_security import ClientSecurity
from openami.protocols.dlms.descriptors import CLOCK, Attribute, Method, by_entry
from openami.protocols.dlms.device_security import Attack, DeviceSecurity, Incident
from openami.protocols.dlms.general_ciphering import KeySource
from openami.protocols.dlms.initiate import PROPOSED, ConfirmedServiceError, Conformance, InitiateRequest
from openami.protocols.dlms.interface_classes.interface_object import (
    Access,
    AttributeRule,
    InterfaceObject,
)
from openami.protocols.dlms.logical_device import LogicalDevice
from openami.protocols.dlms.message_protection import Accepted, Manner
from openami.protocols.dlms.notifications import PLAIN, Notifier, general_glo
from openami.protocols.dlms.results import (
    AccessError,
    AccessResult,
    ServiceError,
    ServiceRefusedError,
    StateError,
)
from openami.protocols.dlms.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.protocols.dlms.server import ServerSession
from openami.protocols.dlms.wrapper import Frame
from openami.quantities.errors import LocalProtocolError, ProtectionError, RemoteProtocolError
from openami.quantities.obis import ObisCode
from openami.security.meter_keys import MeterKeys

PASSWORD = b"12345678"
ENERGY = Attribute(3, ObisCode(1, 0, 1, 8, 0), 2)
NOTE = Attribute(1, ObisCode(0, 0, 96, 13, 0), 2)
LOAD = Attribute(7, ObisCode(1, 0, 99, 1, 0), 2)
SERIAL = Attribute(1, ObisCode(0, 0, 96, 1, 0), 2)
RESET = Method(3, ObisCode(1, 0, 1, 29, 0), 1)
ECHO = ObisCode(0, 0, 97, 0, 0)
SAY, FAIL = Method(1, ECHO, 1), Method(1, ECHO, 9)


class Echo(InterfaceObject):
    """Method 1 returns its parameter twice, method 2 nothing; it counts."""

    class_id = 1
    version = 0
    rules = (AttributeRule(1),)
    methods = (1, 2)
    calls = 0

    def value(self, index: int) -> bytes:
        raise AssertionError(index)

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        self.calls += 1
        if index == 1 and parameter is not None:
            return structure(parameter, parameter)
        if index == 2:
            return None
        return super().invoke(index, parameter)


class World:
    """A meter that echoes, and a client with PDUs of some size on either side."""

    def __init__(self, meter: Any, client_pdu: int = 65535, server_pdu: int = 65535, **client: Any) -> None:
        self.meter = meter
        self.echo = Echo(ECHO)
        policy = AssociationPolicy(1, Mechanism.LOW, PASSWORD, max_pdu=server_pdu)
        self.session = ServerSession({7: LogicalDevice([*meter.device(), self.echo], [policy])})
        self.association = Association(7, 1, PASSWORD, max_pdu=client_pdu, **client)
        self.sent: list[bytes] = []
        self.answered: list[bytes] = []
        self.run(self.association.associate())

    def run(self, operation: Any) -> Any:
        outgoing = next(operation)
        while True:
            self.sent.append(outgoing[8:])
            answer = self.session.receive(outgoing)
            self.answered.append(answer[8:])
            try:
                outgoing = operation.send(answer)
            except StopIteration as done:
                return done.value

    def ask(self, apdu: str) -> str:
        return self.session.receive(Frame(1, 7, bytes.fromhex(apdu.replace(" ", ""))).to_bytes())[8:].hex()


def results_of(values: list[Any]) -> list[Any]:
    return [value.result if isinstance(value, AccessError) else value for value in values]


# --- octets -------------------------------------------------------------------------------------------

DATUM = Data(Tag.INTEGER, 0)
STAMP = bytes.fromhex("07e901010300000000000000")
APDUS = [
    ("c3 02 c1 00000007", ActionRequestNext(0xC1, 7)),
    (
        "c3 03 c1 02 0003 0100011d00ff 01 0001 0000610000ff 09 02 0f00 00",
        ActionRequestList(0xC1, (RESET, FAIL), (DATUM, NULL)),
    ),
    # gurux-dlms 1.0.203 cuts a parameter of ACTION alike: the datum without a flag before it
    (
        "c3 04 c1 0003 0100011d00ff 01 00 00000001 03 090a01",
        ActionRequestFirst(0xC1, RESET, False, 1, b"\t\n\1"),
    ),
    (
        "c3 05 c1 01 0003 0100011d00ff 01 01 00000001 03 010f00",
        ActionRequestListFirst(0xC1, (RESET,), True, 1, b"\1\x0f\0"),
    ),
    ("c3 06 c1 01 00000002 02 0203", ActionRequestBlock(0xC1, True, 2, b"\2\3")),
    ("c7 02 c1 00 00000001 03 000100", ActionResponseBlock(0xC1, False, 1, b"\0\1\0")),
    (
        "c7 03 c1 03 00 01 00 0f00 03 00 00 01 01 0c",
        ActionResponseList(0xC1, (
            ActionResult(AccessResult.SUCCESS, b"\x0f\0"), ActionResult(AccessResult.READ_WRITE_DENIED),
            ActionResult(AccessResult.SUCCESS, AccessResult.TYPE_UNMATCHED),
        )),
    ),
    ("c7 04 c1 00000001", ActionResponseNext(0xC1, 1)),
    (
        "c1 05 c1 01 0001 0000600d00ff 02 00 00 00000001 03 010901",
        SetRequestListFirst(0xC1, ((NOTE, None),), False, 1, b"\1\t\1"),
    ),
    ("c5 04 c1 02 00 03 00000002", SetResponseLastList(0xC1, (AccessResult(0), AccessResult(3)), 2)),
    # the first request is read by the translator of gurux-dlms 1.0.203 as it is meant
    (
        "d9 60000001 00 03 01 0008 0000010000ff 02 02 0001 0000600d00ff 02 03 0003 0100011d00ff 01"
        "03 00 09027879 0f00",
        AccessRequest(0x6000_0001, (
            AccessGet(Attribute(8, CLOCK, 2)), AccessSet(NOTE, Data(Tag.OCTET_STRING, b"xy")),
            AccessAction(RESET, DATUM),
        )),
    ),
    (
        "d9 50000002 0c 07e901010300000000000000 01 04 0007 0100630100ff 02 02 0204"
        "0600000001 0600000002 120001 120000 01 00",
        AccessRequest(0x5000_0002, (AccessGet(LOAD, by_entry(1, 2)),), STAMP),
    ),
    (
        "da 60000001 00 00 02 1101 00 02 01 00 02 04",
        AccessResponse(0x6000_0001, (b"\x11\1", b"\0"), ((1, AccessResult(0)), (2, AccessResult(4)))),
    ),
    (
        "da 50000002 00 01 01 01 0008 0000010000ff 02 01 00 01 01 04",
        AccessResponse(
            0x5000_0002, (b"\0",), ((1, AccessResult(4)),), b"", bytes.fromhex("010100080000010000ff02")
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("octets", "apdu"), APDUS, ids=[octets[:5] for octets, _ in APDUS])
def test_octets_of_every_kind_and_every_cut(octets: str, apdu: Any) -> None:
    written = bytes.fromhex(octets.replace(" ", ""))
    assert apdu.to_bytes().hex() == written.hex()
    assert decode_apdu(written) == apdu
    for cut in range(len(written)):
        with pytest.raises(RemoteProtocolError):
            decode_apdu(written[:cut])
    with pytest.raises(RemoteProtocolError):
        decode_apdu(written + b"\x00")


@pytest.mark.parametrize(
    "octets",
    [
        "c3 07 c1", "c3 00 c1", "c7 05 c1", "c1 06 c1", "c5 06 c1",  # kinds that there are not
        "c3 03 c1 00 00", "c1 05 c1 00 00 00000001 00", "d9 40000001 00 00 00",  # empty lists
        "c3 03 c1 01 0003 0100011d00ff 01 02 00 00",  # more parameters than methods
        "d9 40000001 00 01 01 0008 0000010000ff 02 02 00 00",  # more data than specifications
        "d9 40000001 00 01 06 0008 0000010000ff 02 01 00",  # choice 6
        "da 40000001 00 00 01 00 00", "da 40000001 00 00 01 00 01 04 00",  # results that do not match
        "d9 40000001 05 0102030405 01 01 0008 0000010000ff 02 01 00",  # a date-time of five octets
        "c3 03 c1 84 ffffffff", "d9 40000001 00 84 ffffffff", "c7 03 c1 84 ffffffff",  # counts
    ],
)  # fmt: skip
def test_malformed_lists_are_remote_errors(octets: str) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_apdu(bytes.fromhex(octets.replace(" ", "")))


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        ("0e010601", "initiate: initiate error 1 (DLMS version too low)"),
        ("0e010603", "initiate: initiate error 3 (PDU size too short)"),
        ("0e050301", "read: service error 1 (PDU size)"),
        ("0e060502", "write: access error 2 (object access violated)"),
        ("0e010006", "initiate: application-reference error 6 (deciphering error)"),
        ("0e130707", "terminate-upload: load-data-set error 7 (data set not ready)"),
        ("0e0106ff", "initiate: initiate error 255"),
    ],
)
def test_confirmed_service_errors_are_named(octets: str, text: str) -> None:
    error = decode_apdu(bytes.fromhex(octets))
    assert isinstance(error, ConfirmedServiceError)
    assert (str(error), error.to_bytes().hex()) == (text, octets)


def test_every_exception_response_is_read_and_named() -> None:
    for state in StateError:
        for service in ServiceError:
            counter = 77 if service is ServiceError.INVOCATION_COUNTER_ERROR else None
            response = ExceptionResponse(state, service, counter)
            assert decode_apdu(response.to_bytes()) == response
    for wrong in ("d80001", "d80301", "d80100", "d80107", "d80106", "d801060000000100"):
        with pytest.raises(RemoteProtocolError):
            decode_apdu(bytes.fromhex(wrong))


# --- both roles ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pdu", [64, 65, 128, 1024, 65535])
def test_parameters_and_results_of_any_length(meter: Any, pdu: int) -> None:
    world = World(meter, pdu, pdu)
    for length in (0, 1, 20, 30, 31, 32, 33, 60, 200, 5000, 100_000 if pdu == 65535 else 20_000):
        text = bytes(index % 251 for index in range(length))
        assert world.run(world.association.action(SAY, Data(Tag.OCTET_STRING, text))) == (text, text)
    assert max(map(len, world.sent + world.answered)) <= pdu
    assert world.echo.calls == 11, "each ran once"


@pytest.mark.parametrize("pdu", [64, 128, 65535])
def test_lists_of_methods_run_in_order_and_say_which_failed(meter: Any, pdu: int) -> None:
    world = World(meter, pdu, pdu)
    text = Data(Tag.OCTET_STRING, bytes(300))
    calls = [(SAY, text), (FAIL, None), (RESET, DATUM), (Method(1, ECHO, 2), None), (SAY, DATUM)]
    values = results_of(world.run(world.association.action_with_list(calls)))
    assert values == [(bytes(300),) * 2, AccessResult.OBJECT_UNDEFINED, None, None, (0, 0)]
    assert meter.resets == 1
    assert max(map(len, world.sent + world.answered)) <= pdu


@pytest.mark.parametrize("pdu", [64, 128, 65535])
def test_lists_of_values_are_set_and_say_which_failed(meter: Any, pdu: int) -> None:
    world = World(meter, pdu, pdu)
    text = bytes(range(200))
    values = [
        (NOTE, Data(Tag.OCTET_STRING, text)),
        (ENERGY, DATUM),
        (Attribute(8, CLOCK, 3), Data(Tag.LONG, 60)),
    ]
    found = world.run(world.association.set_with_list(values))
    assert found[0] is None
    assert found[1].result is AccessResult.READ_WRITE_DENIED
    assert meter.note == text
    assert max(map(len, world.sent)) <= pdu


def test_empty_lists_are_our_own_error(meter: Any) -> None:
    world = World(meter)
    association = world.association
    for operation in (
        association.set_with_list([]),
        association.action_with_list([]),
        association.access([]),
    ):
        with pytest.raises(LocalProtocolError):
            next(operation)
    assert association.state is State.READY


def test_access_reads_writes_and_runs_in_one_request(meter: Any) -> None:
    world = World(meter)
    items: list[AccessItem] = [
        AccessGet(ENERGY),
        AccessSet(NOTE, Data(Tag.OCTET_STRING, b"by access")),
        AccessGet(NOTE),
        AccessAction(SAY, DATUM),
        AccessSet(ENERGY, DATUM),
        AccessAction(FAIL),
        AccessGet(LOAD, by_entry(2, 3)),
    ]
    found = results_of(world.run(world.association.access(items)))
    assert found[:6] == [
        123_456, None, b"by access", (0, 0), AccessResult.READ_WRITE_DENIED, AccessResult.OBJECT_UNDEFINED
    ]  # fmt: skip
    assert [row[2] for row in found[6]] == [7, 14]
    assert world.sent[-1][:5].hex() == "d9c0000001", "high priority, confirmed, number 1"
    assert meter.note == b"by access"


def test_access_breaks_on_an_error_only_where_it_is_asked_to(meter: Any) -> None:
    world = World(meter)
    items: list[AccessItem] = [
        AccessGet(ENERGY),
        AccessAction(FAIL),
        AccessAction(RESET, DATUM),
        AccessGet(SERIAL),
    ]
    found = results_of(world.run(world.association.access(items, LongInvoke.BREAK_ON_ERROR)))
    other = AccessResult.OTHER_REASON
    assert found == [123_456, AccessResult.OBJECT_UNDEFINED, other, other]
    assert meter.resets == 0, "nothing is done after the error"
    found = results_of(world.run(world.association.access(items)))
    assert found == [123_456, AccessResult.OBJECT_UNDEFINED, None, b"M-7"]
    assert meter.resets == 1


def test_access_describes_itself_where_it_is_asked_to(meter: Any) -> None:
    world = World(meter)
    assert world.run(world.association.access([AccessGet(ENERGY)], LongInvoke.SELF_DESCRIPTIVE)) == [123_456]
    answer = decode_apdu(world.answered[-1])
    assert isinstance(answer, AccessResponse)
    assert answer.specification is not None
    assert answer.specification.hex() == "010100030100010800ff02"


def test_an_access_answer_that_is_too_long_loses_its_data_and_says_so(meter: Any) -> None:
    world = World(meter, 200)
    items: list[AccessItem] = [AccessSet(NOTE, Data(Tag.OCTET_STRING, b"done")), AccessGet(LOAD)]
    assert results_of(world.run(world.association.access(items))) == [None, AccessResult.OTHER_REASON]
    assert meter.note == b"done"
    with pytest.raises(ServiceRefusedError, match="pdu too long"):
        world.run(world.association.access([AccessGet(ENERGY)] * 90))
    assert world.association.state is State.READY


def test_answers_to_another_access_break_the_association(meter: Any) -> None:
    for answer in (
        "dac0000002 00 00 01 00 01 01 00",  # another number
        "dac0000001 00 00 01 00 01 02 00",  # another service
        "dac0000001 00 00 02 00 00 02 01 00 01 00",  # more results
        "dac0000001 00 01 01 01 0003 0100020800ff 02 01 00 01 01 00",  # describes another request
        "c401c100 1101",
    ):
        world = World(meter)
        operation = world.association.access([AccessGet(ENERGY)])
        next(operation)
        with pytest.raises(RemoteProtocolError):
            operation.send(Frame(7, 1, bytes.fromhex(answer.replace(" ", ""))).to_bytes())
        assert world.association.state is State.BROKEN


def test_blocks_of_an_action_answer_with_bare_data_are_read(meter: Any) -> None:
    """gurux-dlms 1.0.203 reads no result there; a server may think likewise."""
    world = World(meter)
    for data, value in ((b"\x0f\x05", 5), (b"\x00\x01\x00\x0f\x05", 5), (b"\x00\x00", None)):
        operation = world.association.action(SAY, DATUM)
        answer = ActionResponseBlock(next(operation)[10], True, 1, data)
        with pytest.raises(StopIteration) as done:
            operation.send(Frame(7, 1, answer.to_bytes()).to_bytes())
        assert done.value.value == value


def test_block_numbers_of_action_and_set_are_checked(meter: Any) -> None:
    world = World(meter, 64)
    assert world.ask("c302c100000001") == "c701c11000", "no long action in progress"
    assert world.ask("c306c1 01 00000002 00") == "c701c11000"
    assert world.ask("c304c1 0001 0000610000ff 01 00 00000002 00") == "c701c10f00", "long action aborted"
    assert world.ask("c304c1 0001 0000610000ff 01 00 00000001 01 09") == "c704c100000001"
    assert world.ask("c103c1 01 00000002 00") == "c503c11200000002", "a SET does not go on an ACTION"
    assert world.ask("c306c1 01 00000002 00") == "c701c11000", "and it ended it"
    assert world.ask("c304c1 0001 0000610000ff 01 01 00000001 02 0901") == "c701c10c00", (
        "no datum: type unmatched"
    )
    two = "02 0001 0000600d00ff 02 00 0001 0000600d00ff 02 00"
    assert world.ask("c105c1" + two + "00 00000001 01 02") == "c502c100000001"
    assert world.ask("c103c1 01 00000003 00") == "c504c102131300000003", "each: block number invalid"
    assert world.ask("c105c1" + two + "01 00000001 04 01090178") == "c504c1020c0c00000001", (
        "one value for two"
    )
    assert world.session.kept_octets == 0
    assert world.echo.calls == 0


def test_a_long_answer_of_get_is_not_continued_by_action(meter: Any) -> None:
    world = World(meter, 64)
    assert world.ask("c001c1 0007 0100630100ff 02 00").startswith("c402c100")
    assert world.ask("c302c100000001") == "c701c11000"


def test_a_value_in_blocks_without_end_is_aborted(meter: Any) -> None:
    world = World(meter)
    piece = "84 0000f000" + "00" * 0xF000
    answers = [world.ask("c304c1 0001 0000610000ff 01 00 00000001" + piece)]
    answers += [world.ask(f"c306c1 00 {number:08x}" + piece) for number in range(2, 7)]
    assert answers[-2:] == ["c701c10f00", "c701c11000"]
    assert world.session.kept_octets == 0


@pytest.mark.parametrize(
    ("without", "apdu"),
    [
        (Conformance.GET, "c001c1 0008 0000010000ff 02 00"),
        (Conformance.SET, "c101c1 0001 0000600d00ff 02 00 0900"),
        (Conformance.ACTION, "c301c1 0003 0100011d00ff 01 01 0f00"),
        (Conformance.MULTIPLE_REFERENCES, "c003c1 01 0008 0000010000ff 02 00"),
        (Conformance.MULTIPLE_REFERENCES, "c104c1 01 0001 0000600d00ff 02 00 01 0900"),
        (Conformance.MULTIPLE_REFERENCES, "c303c1 01 0003 0100011d00ff 01 01 0f00"),
        (Conformance.BLOCK_TRANSFER_GET, "c002c100000001"),
        (Conformance.BLOCK_TRANSFER_SET, "c102c1 0001 0000600d00ff 02 00 01 00000001 02 0900"),
        (Conformance.BLOCK_TRANSFER_ACTION, "c304c1 0003 0100011d00ff 01 01 00000001 02 0f00"),
        (Conformance.ACCESS, "d940000001 00 01 01 0008 0000010000ff 02 01 00"),
    ],
)
def test_a_service_that_was_not_proposed_is_refused(meter: Any, without: Conformance, apdu: str) -> None:
    assert World(meter).ask(apdu)[:2] != "d8"
    world = World(meter, conformance=PROPOSED & ~without)
    assert world.association.conformance == PROPOSED & ~without
    assert world.ask(apdu) == "d80102"
    assert meter.resets <= 1


def test_services_that_were_not_agreed_on_are_our_own_error(meter: Any) -> None:
    world = World(meter, 64, 64, conformance=Conformance.GET | Conformance.SET | Conformance.ACTION)
    long = Data(Tag.OCTET_STRING, bytes(100))
    association = world.association
    for operation in (
        association.access([AccessGet(ENERGY)]),
        association.set(NOTE, long),
        association.action(SAY, long),
    ):
        with pytest.raises(LocalProtocolError, match="agreed on"):
            next(operation)
    assert world.run(association.get(ENERGY)) == 123_456


def test_unconfirmed_requests_are_done_and_not_answered(meter: Any) -> None:
    world = World(meter)
    assert world.ask("c10181 0001 0000600d00ff 02 00 090161") == ""
    assert meter.note == b"a"
    assert world.ask("c30181 0003 0100011d00ff 01 01 0f00") == ""
    assert world.ask("d900000001 00 01 03 0003 0100011d00ff 01 01 0f00") == ""
    assert meter.resets == 2
    assert world.ask("c00181 0008 0000010000ff 03 00")[:8] == "c4018100", (
        "a GET asks for an answer by what it is"
    )


def test_a_request_longer_than_the_server_takes_is_refused(meter: Any) -> None:
    world = World(meter, 65535, 64)
    assert world.ask("c101c1 0001 0000600d00ff 02 00 0940" + "00" * 64) == "d80104"


# --- notifications ------------------------------------------------------------------------------------

METER, CLIENT = b"OAM00001", b"HES00001"
BODY = structure(Data(Tag.OCTET_STRING, b"push"), Data(Tag.DOUBLE_LONG_UNSIGNED, 7))


def secured(protection: Protection = AUTHENTICATED_ENCRYPTION, **policy: Any) -> Any:
    """A meter and an associated client under HLS 5."""
    keys = MeterKeys.random()
    incidents: list[Incident] = []
    device_security = DeviceSecurity(METER, keys, observe=incidents.append)
    rights = AssociationPolicy(1, Mechanism.HIGH_GMAC, protection=protection, **policy)
    session = ServerSession({7: LogicalDevice([Echo(ECHO)], [rights], device_security)})

    def opened(**client: Any) -> Association:
        security = ClientSecurity(CLIENT, keys, protection=protection, meter_title=METER, **client)
        association = Association(7, 1, security=security)
        run(session, association.associate())
        return association

    return session, device_security, incidents, opened


def run(session: ServerSession, operation: Any) -> Any:
    outgoing = next(operation)
    while True:
        try:
            outgoing = operation.send(session.receive(outgoing))
        except StopIteration as done:
            return done.value


def test_a_push_without_keys_goes_plain() -> None:
    notifier = Notifier()
    assert notifier.data(BODY, STAMP) == [
        bytes.fromhex("0f800000010c") + STAMP + bytes.fromhex("02020904707573680600000007")
    ]
    (second,) = notifier.data(BODY, options=LongInvoke.CONFIRMED)
    assert second[:6].hex() == "0f4000000200"
    (event,) = notifier.event(ENERGY, Data(Tag.DOUBLE_LONG_UNSIGNED, 1))
    assert event.hex() == "c20000030100010800ff020600000001"
    with pytest.raises(LocalProtocolError):
        Notifier(None, general_glo(AUTHENTICATED_ENCRYPTION))


@pytest.mark.parametrize(
    "manner",
    [
        general_glo(AUTHENTICATED_ENCRYPTION),
        general_glo(Protection.ENCRYPTED),
        Manner(AUTHENTICATED_ENCRYPTION, None, KeySource.WRAPPED),
    ],
)
def test_a_push_is_protected_as_configured_and_cut_as_captured_meters_cut_it(manner: Manner) -> None:
    keys = MeterKeys.random()
    meter = DeviceSecurity(METER, keys)
    listener = DeviceSecurity(CLIENT, keys)
    notifier = Notifier(meter, manner, client_title=CLIENT, max_pdu=64)
    body = Data(Tag.OCTET_STRING, bytes(200))
    layers = listener.layers(0, listener.cipher(METER))
    accepted = Accepted(manner.level, frozenset(KeySource))
    for number in (1, 2):
        apdus = notifier.data(body)
        assert max(map(len, apdus)) <= 64
        assert {apdu[0] for apdu in apdus} == {0xE0}
        assert apdus[0][:2].hex() == "e040", "streaming, window 0"
        assembler = UnconfirmedBlocks(1000)
        whole = [assembler.feed(decode_apdu(apdu)) for apdu in apdus]  # type: ignore[arg-type]
        assert whole[:-1] == [None] * (len(apdus) - 1)
        assert whole[-1] is not None
        plain, _ = layers.open(whole[-1], accepted)
        assert decode_apdu(plain) == DataNotification(0x8000_0000 | number, b"", body)
        with pytest.raises(ProtectionError):
            layers.open(whole[-1], accepted)  # sent again


@pytest.mark.parametrize("protection", [Protection.NONE, Protection.AUTHENTICATED, AUTHENTICATED_ENCRYPTION])
def test_notifications_inside_an_association_are_protected_as_it_is(protection: Protection) -> None:
    session, _, incidents, opened = secured(protection)
    association = opened()
    operation = association.action(SAY, DATUM)
    request = next(operation)
    sent = [DataNotification(1, b"", BODY), EventNotification(None, ENERGY, DATUM)]
    pushed = b"".join(session.notify(7, 1, notification) for notification in sent)
    assert (b"push" in pushed) == (not protection & Protection.ENCRYPTED)
    assert operation.send(pushed) == b""
    with pytest.raises(StopIteration):
        operation.send(session.receive(request))
    assert association.take_notifications() == sent
    assert not incidents


def test_notifications_that_were_not_agreed_on_are_not_sent(meter: Any) -> None:
    without = PROPOSED & ~(Conformance.DATA_NOTIFICATION | Conformance.EVENT_NOTIFICATION)
    world = World(meter, 64, conformance=without)
    for notification in (DataNotification(1, b"", BODY), EventNotification(None, ENERGY, DATUM)):
        with pytest.raises(LocalProtocolError):
            world.session.notify(7, 1, notification)
        with pytest.raises(LocalProtocolError):
            world.session.notify(7, 16, notification)
    agreed = World(meter, 64)
    assert agreed.session.notify(7, 1, DataNotification(1, b"", BODY))
    with pytest.raises(LocalProtocolError, match="at most 64"):
        agreed.session.notify(7, 1, DataNotification(1, b"", Data(Tag.OCTET_STRING, bytes(64))))
    assert PLAIN.plain


# --- release ------------------------------------------------------------------------------------------


def test_a_plain_release_of_a_ciphered_association_is_believed_unless_the_policy_says_otherwise() -> None:
    session, _, incidents, opened = secured()
    association = opened()
    run(session, association.release())
    assert association.state is State.IDLE
    session, _, incidents, opened = secured(protected_release=True)
    association = opened()
    forged = session.receive(Frame(1, 7, ReleaseRequest().to_bytes()).to_bytes())
    assert forged[8:].hex() == "d80101"
    assert [incident.attack for incident in incidents] == [Attack.DOWNGRADE]
    assert run(session, association.action(SAY, DATUM)) == (0, 0), "the association stands"


def test_a_protected_release_is_verified_and_answered_in_kind() -> None:
    for required in (True, False):
        session, _, incidents, opened = secured(protected_release=required)
        association = opened(protected_release=True)
        cipher = association._cipher
        assert cipher is not None
        sealed = cipher.seal(InitiateRequest(PROPOSED, 65535).to_bytes(), form=Form.GLOBAL)
        for bit in (0x20, 0x01):
            changed = sealed[:-1] + bytes((sealed[-1] ^ bit,))
            answer = session.receive(Frame(1, 7, ReleaseRequest(0, changed).to_bytes()).to_bytes())
            assert answer[8:].hex() == "d80105"
        operation = association.release()
        request = next(operation)
        assert b"\xbe" in request
        answer = session.receive(request)
        assert decode_apdu(answer[8:]).user_information[0] == 0x28  # type: ignore[union-attr, index]
        with pytest.raises(StopIteration):
            operation.send(answer)
        assert session.receive(request)[8:].hex() == "d80101", "released, and not released again"
        assert [incident.attack for incident in incidents] == [Attack.WRONG_TAG] * 2


def test_a_replayed_protected_release_of_an_earlier_association_is_refused() -> None:
    session, _, incidents, opened = secured()
    first = opened(protected_release=True)
    operation = first.release()
    captured = next(operation)
    with pytest.raises(StopIteration):
        operation.send(session.receive(captured))
    # The same client, its counters going on.
    second = Association(7, 1, security=first._security)
    run(session, second.associate())
    answer = decode_apdu(session.receive(captured)[8:])
    assert isinstance(answer, ExceptionResponse)
    assert answer.service is ServiceError.INVOCATION_COUNTER_ERROR
    assert incidents[-1].attack is Attack.REPLAY
    assert run(session, second.action(SAY, DATUM)) == (0, 0)


def test_rights_are_those_of_the_policy_in_every_service(new_meter: Callable[[], Any]) -> None:
    """A client that may only read neither writes nor runs anything by list, blocks or ACCESS."""
    meter = new_meter()
    policy = AssociationPolicy(16, ceiling=Access.READ)
    session = ServerSession({7: LogicalDevice(iter(meter.device()), [policy])})
    association = Association(7, 16)
    run(session, association.associate())
    items: list[AccessItem] = [
        AccessSet(NOTE, Data(Tag.OCTET_STRING, b"x")),
        AccessAction(RESET, DATUM),
        AccessGet(ENERGY),
    ]
    denied = AccessResult.READ_WRITE_DENIED
    assert results_of(run(session, association.access(items))) == [denied, denied, 123_456]
    calls = [(RESET, DATUM)] * 2
    assert results_of(run(session, association.action_with_list(calls))) == [denied] * 2
    values = [(NOTE, Data(Tag.OCTET_STRING, b"x"))] * 2
    assert results_of(run(session, association.set_with_list(values))) == [denied] * 2
    assert (meter.resets, meter.note) == (0, b"hello")

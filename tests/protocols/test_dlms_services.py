"""ACTION, SET and ACCESS in lists and blocks, and refusals: octets, both roles, every cut."""

from __future__ import annotations

from typing import Any

import pytest

from echo_meter import (
    DATUM,
    ECHO,
    ENERGY,
    FAIL,
    LOAD,
    NOTE,
    RESET,
    SAY,
    SERIAL,
    STAMP,
    World,
    results_of,
)
from openami.protocols.dlms.apdus.access import (
    AccessAction,
    AccessGet,
    AccessItem,
    AccessRequest,
    AccessResponse,
    AccessSet,
    LongInvoke,
)
from openami.protocols.dlms.apdus.action import (
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
from openami.protocols.dlms.apdus.apdu import ExceptionResponse, decode_apdu
from openami.protocols.dlms.apdus.descriptors import CLOCK, Attribute, Method, by_entry
from openami.protocols.dlms.apdus.initiate import PROPOSED, ConfirmedServiceError, Conformance
from openami.protocols.dlms.apdus.results import (
    AccessResult,
    ServiceError,
    ServiceRefusedError,
    StateError,
)
from openami.protocols.dlms.apdus.set import SetRequestListFirst, SetResponseLastList
from openami.protocols.dlms.client.association_state import State
from openami.protocols.dlms.encoding.axdr import NULL, Data, Tag
from openami.protocols.dlms.framing.wrapper import Frame
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

# --- octets -------------------------------------------------------------------------------------------

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

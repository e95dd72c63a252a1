"""Garbage in both directions: the server answers or closes, the client raises, nothing hangs.

`python tests/protocols/fuzz_dlms.py --count 10000000 --seed 1` runs the same mutations for longer.
"""

from __future__ import annotations

import importlib.util
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openami.protocols.dlms.apdus.apdu import decode_apdu
from openami.protocols.dlms.apdus.descriptors import Attribute, Method
from openami.protocols.dlms.apdus.get import GetRequestNext, GetResponseBlock
from openami.protocols.dlms.apdus.results import AccessError, ServiceRefusedError
from openami.protocols.dlms.client.association import Association, management_association
from openami.protocols.dlms.client.association_state import TRANSITIONS, Event, State, following
from openami.protocols.dlms.encoding.axdr import Data, Tag, decode_plain, encode
from openami.protocols.dlms.framing.wrapper import Frame, WrapperDecoder
from openami.protocols.dlms.server.session import MAX_KEPT, ServerSession
from openami.quantities.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from openami.quantities.obis import ObisCode

PASSWORD = b"12345678"
ENERGY = Attribute(3, ObisCode(1, 0, 1, 8, 0), 2)
LOAD = Attribute(7, ObisCode(1, 0, 99, 1, 0), 2)
OBJECT_LIST = Attribute(15, ObisCode(0, 0, 40, 0, 0), 2)


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    path = Path(__file__).with_name("fuzz_dlms.py")
    spec = importlib.util.spec_from_file_location("fuzz_dlms", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_twenty_thousand_mutations_of_apdus_hang_nothing_and_leak_nothing(fuzz: ModuleType) -> None:
    report = fuzz.mutate_apdus(count=20_000, seed=20_250_101)
    assert report.inputs == 20_000
    assert report.foreign == []
    assert report.slow == []
    assert report.accepted > 100, "the mutations must not all be refused at the first octet"
    assert report.growth_bytes < 5_000_000


def test_five_thousand_mutated_requests_leave_the_server_answering(
    fuzz: ModuleType, new_meter: Callable[[], Any]
) -> None:
    report = fuzz.mutate_requests(new_meter().device, count=5_000, seed=7)
    assert report.foreign == []
    assert report.slow == []
    assert report.accepted > 100


# --- wrapper ------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(st.lists(st.binary(max_size=40), max_size=5), st.integers(1, 17))
def test_frames_come_out_whole_however_the_stream_is_cut(apdus: list[bytes], chunk: int) -> None:
    frames = [Frame(1, index, apdu) for index, apdu in enumerate(apdus)]
    stream = b"".join(frame.to_bytes() for frame in frames)
    decoder = WrapperDecoder()
    found = [e for i in range(0, len(stream), chunk) for e in decoder.feed(stream[i : i + chunk])]
    assert found == frames
    assert decoder.end() is None


def test_a_wrong_version_ends_the_stream_after_the_good_frames() -> None:
    good = Frame(1, 16, b"\xc0").to_bytes()
    decoder = WrapperDecoder()
    events = decoder.feed(good + b"\x00\x02" + good[2:] + good)
    assert events[0] == Frame(1, 16, b"\xc0")
    assert isinstance(events[1], RemoteProtocolError)
    assert len(events) == 2
    assert decoder.feed(good) == []


def test_no_event_before_the_frame_is_whole() -> None:
    octets = Frame(1, 16, b"abcdef").to_bytes()
    for cut in range(1, len(octets)):
        decoder = WrapperDecoder()
        assert decoder.feed(octets[:cut]) == []
        assert isinstance(decoder.end(), RemoteProtocolError)


def test_frames_that_do_not_fit_are_our_own_error() -> None:
    for frame in (Frame(1, 1, bytes(65_536)), Frame(70_000, 1, b"")):
        with pytest.raises(LocalProtocolError):
            frame.to_bytes()


# --- server -------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_the_server_never_raises(session: ServerSession, pieces: list[bytes]) -> None:
    for piece in pieces:
        session.receive(piece)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([0x60, 0x62, 0xC0, 0xC1, 0xC3, 0xC8, 0xD8, 0xDB, 0xE0]), st.binary(max_size=60))
def test_every_apdu_is_answered_by_exactly_one(new_meter: Callable[[], Any], tag: int, body: bytes) -> None:
    session = ServerSession({7: new_meter().device()})
    associate = next(management_association(7, PASSWORD).associate())
    for opening in (b"", associate):
        session.receive(opening)
        (answer,) = WrapperDecoder().feed(session.receive(Frame(1, 7, bytes((tag,)) + body).to_bytes()))
        assert isinstance(answer, Frame)
        decode_apdu(answer.apdu)


def test_after_garbage_a_new_connection_works(session: ServerSession, new_meter: Callable[[], Any]) -> None:
    assert session.receive(b"GET / HTTP/1.1\r\n\r\n") == b""
    assert session.closed
    assert session.receive(Frame(1, 7, b"\xc0").to_bytes()) == b""
    fresh = ServerSession({7: new_meter().device()})
    assert fresh.receive(next(management_association(7, PASSWORD).associate()))
    assert not fresh.closed


def test_a_list_of_profiles_cannot_exhaust_memory(new_meter: Callable[[], Any]) -> None:
    session = ServerSession({7: new_meter().device()})
    session.receive(next(management_association(7, PASSWORD).associate()))
    one = LOAD.to_bytes() + b"\x00"
    request = b"\xc0\x03\xc1\x82" + (5000).to_bytes(2, "big") + one * 5000
    tracemalloc.start()
    session.receive(Frame(1, 7, request).to_bytes())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40_000_000, "5,000 profiles of 6 kB each would be more, and of a full meter 500 MB"


def begin_transfers(session: ServerSession, wports: range) -> None:
    """Ask each device for two thousand object lists, and for no second block."""
    one = OBJECT_LIST.to_bytes() + b"\x00"
    request = b"\xc0\x03\xc1\x82" + (2000).to_bytes(2, "big") + one * 2000
    for wport in wports:
        session.receive(next(management_association(wport, PASSWORD, max_pdu=64).associate()))
        assert session.receive(Frame(1, wport, request).to_bytes())[8:11] == b"\xc4\x02\xc1"


def test_transfers_of_many_associations_cannot_exhaust_memory(new_meter: Callable[[], Any]) -> None:
    device = new_meter().device()
    session = ServerSession(dict.fromkeys(range(1, 13), device))
    begin_transfers(session, range(1, 13))
    assert 0 < session.kept_octets <= MAX_KEPT
    oldest = session.receive(Frame(1, 1, bytes.fromhex("c002c100000001")).to_bytes())
    assert oldest[8:].hex() == "c402c101000000010110"  # no long get in progress
    newest = session.receive(Frame(1, 12, bytes.fromhex("c002c100000001")).to_bytes())
    assert newest[8:].hex().startswith("c402c1000000000200")
    for wport in range(1, 13):
        session.receive(Frame(1, wport, b"\x62\x00").to_bytes())
    assert session.kept_octets == 0


def test_a_value_set_in_blocks_counts_until_it_is_whole(session: ServerSession) -> None:
    session.receive(next(management_association(7, PASSWORD).associate()))
    first = (
        bytes.fromhex("c102c1" + "0001" + "0000600d00ff" + "0200" + "00" + "00000001" + "03") + b"\x09\x03a"
    )
    assert session.receive(Frame(1, 7, first).to_bytes())[8:].hex() == "c502c100000001"
    assert session.kept_octets == 3
    session.receive(Frame(1, 7, bytes.fromhex("c103c1" + "01" + "00000002" + "02") + b"bc").to_bytes())
    assert session.kept_octets == 0


def test_transfers_of_two_devices_do_not_mix(new_meter: Callable[[], Any]) -> None:
    """One connection, two associations, asked in turn: block by block."""
    session = ServerSession({7: new_meter().device(), 8: new_meter().device()})
    whole = bytearray(), bytearray()
    for wport in (7, 8):
        session.receive(next(management_association(wport, PASSWORD, max_pdu=1024).associate()))
    requests = [b"\xc0\x01\xc1" + LOAD.to_bytes() + b"\x00"] * 2
    done = [False, False]
    while not all(done):
        for place, wport in enumerate((7, 8)):
            if done[place]:
                continue
            (answer,) = WrapperDecoder().feed(session.receive(Frame(1, wport, requests[place]).to_bytes()))
            assert isinstance(answer, Frame)
            block = decode_apdu(answer.apdu)
            assert isinstance(block, GetResponseBlock)
            assert isinstance(block.data, bytes)
            whole[place].extend(block.data)
            done[place] = block.last
            requests[place] = GetRequestNext(0xC1, block.block).to_bytes()
    assert whole[0] == whole[1]
    assert len(decode_plain(bytes(whole[0]))) == 288


@pytest.mark.parametrize("between", ["c001c100030100010800ff0200", "c103c1010000000200", "c3"])
def test_another_request_ends_the_transfer_under_way(session: ServerSession, between: str) -> None:
    session.receive(next(management_association(7, PASSWORD, max_pdu=128).associate()))

    def ask(apdu: str) -> str:
        return session.receive(Frame(1, 7, bytes.fromhex(apdu)).to_bytes())[8:].hex()

    assert ask("c001c100070100630100ff0200").startswith("c402c10000000001")
    ask(between)
    if between == "c3":  # no request at all: garbage ends nothing
        assert ask("c002c100000001").startswith("c402c10000000002")
    else:
        assert ask("c002c100000001") == "c402c101000000010110"  # no long get in progress
        assert session.kept_octets == 0


def test_a_clock_set_during_a_transfer_does_not_change_what_is_being_sent(
    new_meter: Callable[[], Any],
) -> None:
    meter = new_meter()
    session = ServerSession({7: meter.device()})
    session.receive(next(management_association(7, PASSWORD, max_pdu=1024).associate()))
    before = session.receive(Frame(1, 7, b"\xc0\x01\xc1" + LOAD.to_bytes() + b"\x00").to_bytes())
    meter.load.at = meter.load.at + 60_000_000
    meter.clock.set_time(meter.clock.instant.replace(year=2031))
    after = session.receive(Frame(1, 7, bytes.fromhex("c002c100000001")).to_bytes())
    unchanged = ServerSession({7: new_meter().device()})
    unchanged.receive(next(management_association(7, PASSWORD, max_pdu=1024).associate()))
    assert before == unchanged.receive(Frame(1, 7, b"\xc0\x01\xc1" + LOAD.to_bytes() + b"\x00").to_bytes())
    assert after == unchanged.receive(Frame(1, 7, bytes.fromhex("c002c100000001")).to_bytes())


def test_block_numbers_are_checked(session: ServerSession) -> None:
    session.receive(next(management_association(7, PASSWORD, max_pdu=128).associate()))

    def ask(apdu: str) -> str:
        (answer,) = WrapperDecoder().feed(session.receive(Frame(1, 7, bytes.fromhex(apdu)).to_bytes()))
        assert isinstance(answer, Frame)
        return answer.apdu.hex()

    assert ask("c002c100000001") == "c402c101000000010110"  # no long get in progress
    assert ask("c001c10007" + "0100630100ff" + "0200").startswith("c402c10000000001")
    assert ask("c002c100000005") == "c402c101000000050113"  # data block number invalid
    assert ask("c002c100000001") == "c402c101000000010110"  # and the transfer is over
    assert ask("c103c1010000000200") == "c503c11200000002"  # no long set in progress


def test_an_idle_meter_is_small(new_meter: Callable[[], Any]) -> None:
    """What a thousand logical devices cost beside the meter's own state (profiles, registers)."""
    meters = [new_meter() for _ in range(200)]
    meters[0].device()
    tracemalloc.start()
    devices = [meter.device() for meter in meters]
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(devices) == 200
    assert size / 200 < 20_000


# --- client -------------------------------------------------------------------------------------------


def associated(session: ServerSession) -> Association:
    association = management_association(7, PASSWORD)
    operation = association.associate()
    with pytest.raises(StopIteration):
        operation.send(session.receive(next(operation)))
    return association


def answered(operation: Any, apdu: bytes) -> Any:
    next(operation)
    try:
        operation.send(Frame(7, 1, apdu).to_bytes())
    except StopIteration as done:
        return done.value
    return pytest.fail("the operation waits for more")


VALUE = b"\x00" + encode(Data(Tag.UNSIGNED, 1))


@pytest.mark.parametrize(
    "apdu",
    [
        b"",
        b"\xff\xff",
        b"\xc4\x01\xc2" + VALUE,  # another invoke id
        b"\xc4\x01\xc1\x00\x01\x84\xff\xff\xff\xff",  # hostile data
        b"\xc4\x01\xc1" + VALUE + b"\x00",  # something behind the data
        b"\xc4\x01\xc1\x01\x63",  # a result that does not exist
        b"\xc4\x01\xc1\x01\x00",  # success without data
        b"\xc4\x02\xc1\x01\x00\x00\x00\x02\x00\x02\x11\x01",  # first block has number 2
        b"\xc4\x02\xc1\x00\x00\x00\x00\x01\x00\x00",  # empty block, not the last
        b"\xc4\x03\xc1\x01" + VALUE,  # list for a normal request
        b"\xc5\x01\xc1\x00",  # answer of another service
        b"\x61\x03\x80\x01\x00",
        b"\xcc\x05\x30\x00\x00\x00\x01",
    ],
)
def test_wrong_answers_break_the_association(session: ServerSession, apdu: bytes) -> None:
    association = associated(session)
    with pytest.raises(RemoteProtocolError):
        answered(association.get(ENERGY), apdu)
    assert association.state is State.BROKEN
    with pytest.raises(LocalProtocolError):
        next(association.get(ENERGY))


def test_an_exception_response_and_a_refusal_do_not_break_it(session: ServerSession) -> None:
    association = associated(session)
    with pytest.raises(ServiceRefusedError):
        answered(association.get(ENERGY), bytes.fromhex("d80203"))
    with pytest.raises(AccessError):
        answered(association.get(ENERGY), bytes.fromhex("c401c20103"))
    with pytest.raises(AccessError):
        answered(association.get(ENERGY), bytes.fromhex("c402c3010000000101" + "0e"))
    assert association.state is State.READY


def test_wrapper_garbage_and_foreign_ports_break_it(session: ServerSession) -> None:
    for octets in (b"HTTP/1.1 400 Bad Request", Frame(8, 1, b"\xc4\x01\xc1" + VALUE).to_bytes()):
        association = associated(session)
        operation = association.get(ENERGY)
        next(operation)
        with pytest.raises(RemoteProtocolError):
            operation.send(octets)
        assert association.state is State.BROKEN


def test_notifications_between_request_and_answer_are_kept_apart(session: ServerSession) -> None:
    association = associated(session)
    operation = association.get(ENERGY)
    next(operation)
    push = Frame(7, 1, bytes.fromhex("0f00000001000905") + b"hello").to_bytes()
    assert operation.send(push) == b""
    with pytest.raises(StopIteration) as done:
        operation.send(Frame(7, 1, b"\xc4\x01\xc1" + VALUE).to_bytes())
    assert done.value.value == 1
    assert [n.body.value for n in association.take_notifications()] == [b"hello"]  # type: ignore[union-attr]
    assert association.take_notifications() == []


def test_an_operation_given_up_breaks_the_association(session: ServerSession) -> None:
    association = associated(session)
    operation = association.get(ENERGY)
    next(operation)
    operation.close()
    assert association.state is State.BROKEN


def test_two_operations_at_once_are_our_own_error(session: ServerSession) -> None:
    association = associated(session)
    next(association.get(ENERGY))
    with pytest.raises(LocalProtocolError):
        next(association.action(Method(8, ObisCode(0, 0, 1, 0, 0), 3)))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60), st.booleans())
def test_any_answer_gives_a_value_or_a_protocol_error(
    new_meter: Callable[[], Any], octets: bytes, framed: bool
) -> None:
    association = associated(ServerSession({7: new_meter().device()}))
    operation = association.get(ENERGY)
    next(operation)
    answer = Frame(7, 1, b"\xc4\x01\xc1\x00" + octets).to_bytes() if framed else octets
    try:
        operation.send(answer)
    except StopIteration:
        assert association.state is State.READY
    except ProtocolError:
        pass
    else:
        assert association.state is State.WAITING


def test_the_table_of_states_has_no_way_out_of_broken() -> None:
    for event in Event:
        if event is Event.BREAK:
            assert following(State.BROKEN, event) is State.BROKEN
        else:
            with pytest.raises(LocalProtocolError):
                following(State.BROKEN, event)
    assert {state for state, _ in TRANSITIONS} == set(State)

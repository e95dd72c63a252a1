"""General-block-transfer: captured pushes, both roles against each other, lost blocks, hostile numbers."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.protocols.dlms.apdus.apdu import decode_apdu
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.block_transfer import (
    ABORT,
    MAX_FRUITLESS,
    BlockTransfer,
    UnconfirmedBlocks,
    data_octets,
    unconfirmed_blocks,
)
from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.apdus.general_block import TransferBlock
from openami.protocols.dlms.apdus.initiate import PROPOSED, PROPOSED_FOR_WINDOWS, SUPPORTED, Conformance
from openami.protocols.dlms.apdus.notification import DataNotification
from openami.protocols.dlms.client.association import Association
from openami.protocols.dlms.client.association_state import State
from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.encoding.limits import MAX_PDU, MAX_REASSEMBLED, MAX_REQUEST
from openami.protocols.dlms.framing.hdlc_channel import HdlcChannel
from openami.protocols.dlms.framing.hdlc_frame import HdlcAddress, HdlcDecoder, HdlcFrame
from openami.protocols.dlms.framing.wrapper import Frame, WrapperDecoder
from openami.protocols.dlms.protection.ciphering import Cipher
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.hdlc_server import HdlcServerSession
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from openami.quantities.obis import ObisCode
from openami.security.counters import MemoryCounters, ReceiveCounters, SendCounter
from openami.security.meter_keys import MeterKeys
from openami.security.secret import Secret

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "data" / "dlms" / "vectors.json"
PASSWORD = b"12345678"
LOAD = Attribute(7, ObisCode(1, 0, 99, 1, 0), 2)
NOTE = Attribute(1, ObisCode(0, 0, 96, 13, 0), 2)
ENERGY = Attribute(3, ObisCode(1, 0, 1, 8, 0), 2)
PDUS = (64, 128, 1024, 65535)
WINDOWS = (1, 4, 63)


def block_of(octets: bytes) -> TransferBlock:
    block = decode_apdu(octets)
    assert isinstance(block, TransferBlock)
    return block


# --- octets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "block"),
    [
        # gurux-dlms 1.0.203 names the same control, numbers and data in its translation of the first
        ("e0c500010000020f00", TransferBlock(True, True, 5, 1, 0, b"\x0f\x00")),
        ("e0810001000300", TransferBlock(True, False, 1, 1, 3, b"")),  # its acknowledgement of block 3
        ("e0400001000001db", TransferBlock(False, True, 0, 1, 0, b"\xdb")),  # as the L+G E450 pushes
        ("e0800000000000", ABORT),
        ("e03fffffffff00", TransferBlock(False, False, 63, 65535, 65535, b"")),
    ],
)
def test_blocks_are_read_and_written(octets: str, block: TransferBlock) -> None:
    assert block_of(bytes.fromhex(octets)) == block
    assert block.to_bytes().hex() == octets
    for cut in range(1, len(octets) // 2):
        with pytest.raises(RemoteProtocolError):
            decode_apdu(bytes.fromhex(octets)[:cut])
    with pytest.raises(RemoteProtocolError):
        decode_apdu(bytes.fromhex(octets) + b"\x00")


@pytest.mark.parametrize("max_pdu", [8, 64, 134, 135, 136, 263, 264, 265, 1024, 65535])
def test_the_largest_block_fits_its_pdu_and_one_octet_more_does_not(max_pdu: int) -> None:
    octets = data_octets(max_pdu)
    assert len(TransferBlock(True, False, 1, 1, 0, bytes(octets)).to_bytes()) <= max_pdu
    assert len(TransferBlock(True, False, 1, 1, 0, bytes(octets + 2)).to_bytes()) > max_pdu


def captures() -> dict[str, dict[str, Any]]:
    if not VECTORS.exists():
        return {}
    everything = {entry["id"]: entry for entry in json.loads(VECTORS.read_text("utf-8"))}
    return {name: everything[name] for name in ("espdlms-hdlc_landis_gyr_e450", "espdlms-hdlc_lgz_e450_2")}


@pytest.mark.skipif(not captures(), reason="no vectors beside the project (shared/data/dlms)")
@pytest.mark.parametrize("name", ["espdlms-hdlc_landis_gyr_e450", "espdlms-hdlc_lgz_e450_2"])
def test_pushes_of_real_meters_are_put_together_and_deciphered(name: str) -> None:
    entry = captures()[name]
    frames = HdlcDecoder().feed(bytes.fromhex(entry["frame_hex"]))
    information = [frame.information for frame in frames if isinstance(frame, HdlcFrame)]
    blocks = [block_of(octets.removeprefix(b"\xe6\xe7\x00")) for octets in information]
    assert [(b.number, b.acknowledged, b.window, b.streaming, b.last) for b in blocks] == [
        (1, 0, 0, True, False), (2, 0, 0, True, False), (3, 0, 0, True, True)
    ]  # fmt: skip
    assembler = UnconfirmedBlocks(MAX_PDU)
    assert [assembler.feed(block) for block in blocks[:-1]] == [None, None]
    message = assembler.feed(blocks[-1])
    assert message is not None
    secrets = [Secret(bytes.fromhex(entry["keys"][key])) for key in ("ek", "ak")]
    keys = MeterKeys(secrets[0], secrets[1], Secret(bytes(16)))
    title = bytes.fromhex(entry["expected"]["ciphering"]["system-title"])
    counters = MemoryCounters()
    cipher = Cipher(keys, b"HES00001", title, SendCounter(counters, "send"), ReceiveCounters(counters))
    opened = cipher.open(message)
    assert opened.header.counter == entry["expected"]["ciphering"]["invocation-counter"]
    assert opened.apdu.hex() == entry["expected"]["plaintext_hex"]
    assert isinstance(decode_apdu(opened.apdu), DataNotification)
    for gap in (0, 1):  # one error, and never a shorter message
        fresh = UnconfirmedBlocks(MAX_PDU)
        assert all(fresh.feed(block) is None for block in blocks[:gap])
        with pytest.raises(RemoteProtocolError):
            fresh.feed(blocks[gap + 1])


# --- both roles ---------------------------------------------------------------------------------------


def frames_of(octets: bytes) -> list[Frame]:
    return [frame for frame in WrapperDecoder().feed(octets) if isinstance(frame, Frame)]


class SilenceError(Exception):
    """The link was given up."""


class Link:
    """A client, a server, and a link that counts APDUs and loses, doubles or swaps them."""

    def __init__(
        self,
        device: LogicalDevice,
        policy: AssociationPolicy,
        lossy: Callable[[list[bytes]], list[bytes]] = lambda frames: frames,
        **client: Any,
    ) -> None:
        self.session = ServerSession({7: LogicalDevice(iter(device), [policy])})
        self.association = Association(7, 1, PASSWORD, **client)
        self.lossy: Callable[[list[bytes]], list[bytes]] = lambda frames: frames
        self.sent: list[bytes] = []
        self.answered: list[bytes] = []
        self.times_out = 0
        self.run(self.association.associate())
        self.lossy = lossy
        self.sent.clear()
        self.answered.clear()

    def run(self, operation: Any) -> Any:
        outgoing = next(operation)
        silences = 0
        while True:
            frames = [frame.to_bytes() for frame in frames_of(outgoing)]
            self.sent += [frame[8:] for frame in frames]
            answers: list[bytes] = []
            for frame in self.lossy(frames):
                answers += [answer.to_bytes() for answer in frames_of(self.session.receive(frame))]
            self.answered += [frame[8:] for frame in answers]
            try:
                arrived = self.lossy(answers)
                outgoing = b""
                for frame in arrived:
                    outgoing += operation.send(frame)
            except StopIteration as done:
                return done.value
            if not outgoing:  # silence: the time-out of the client's transport
                silences += 1
                self.times_out += 1
                if silences > 400:
                    raise SilenceError("nothing goes forward")
                outgoing = self.association.asked_again()


def policy(**changes: Any) -> AssociationPolicy:
    return AssociationPolicy(1, Mechanism.LOW, PASSWORD, **changes)


def blocks_of(apdus: list[bytes]) -> list[TransferBlock]:
    return [block_of(apdu) for apdu in apdus if apdu[0] == 0xE0]


@pytest.mark.parametrize(("pdu", "window"), list(itertools.product(PDUS, WINDOWS)))
def test_long_answers_stream_in_the_windows_of_the_client(
    new_meter: Callable[[], Any], pdu: int, window: int
) -> None:
    device = new_meter().device()
    truth = Link(device, policy())
    rows = truth.run(truth.association.get(LOAD))
    link = Link(device, policy(), max_pdu=pdu, window=window, conformance=PROPOSED_FOR_WINDOWS)
    assert link.run(link.association.get(LOAD)) == rows
    assert max(map(len, link.answered)) <= pdu
    blocks = blocks_of(link.answered)
    if pdu == 65535:
        assert not blocks, "an answer that fits goes as it is"
        return
    assert [block.number for block in blocks] == list(range(1, len(blocks) + 1))
    assert [block.last for block in blocks] == [False] * (len(blocks) - 1) + [True]
    acknowledged = [block.acknowledged for block in blocks_of(link.sent)]
    # one block alone, then a window after each acknowledgement
    assert acknowledged == list(range(1, len(blocks), window))
    streaming = [block.streaming for block in blocks]
    assert streaming == [
        number > 1 and (number - 1) % window != 0 and number < len(blocks)
        for number in range(1, len(blocks) + 1)
    ]
    assert link.times_out == 0


@pytest.mark.parametrize(("pdu", "window"), list(itertools.product(PDUS[:3], WINDOWS)))
def test_long_requests_stream_in_the_windows_of_the_server(
    new_meter: Callable[[], Any], pdu: int, window: int
) -> None:
    meter = new_meter()
    link = Link(meter.device(), policy(max_pdu=pdu, window=window), conformance=PROPOSED_FOR_WINDOWS)
    text = bytes(range(256)) * 40
    link.run(link.association.set(NOTE, Data(Tag.OCTET_STRING, text)))
    assert meter.note == text
    assert max(map(len, link.sent)) <= pdu
    blocks = blocks_of(link.sent)
    assert [block.number for block in blocks] == list(range(1, len(blocks) + 1))
    assert len(link.answered) == len(range(1, len(blocks), window)) + 1
    assert blocks_of(link.answered)[-1].last
    assert link.run(link.association.get(NOTE)) == text


@pytest.mark.parametrize("seed", range(12))
def test_lost_doubled_and_swapped_apdus_are_made_good(new_meter: Callable[[], Any], seed: int) -> None:
    """A fifth of all APDUs is lost, a tenth doubled, and neighbours change places, both ways."""
    rng = random.Random(seed)
    lost = 0

    def lossy(frames: list[bytes]) -> list[bytes]:
        nonlocal lost
        if any(frame[8] != 0xE0 for frame in frames):
            return frames  # a plain request or answer that is lost is the affair of the transport
        arrived: list[bytes] = []
        for frame in frames:
            copies = rng.choices((0, 1, 2), (0.2, 0.7, 0.1))[0]
            lost += copies == 0
            arrived += [frame] * copies
        if len(arrived) > 2 and rng.random() < 0.3:
            place = rng.randrange(len(arrived) - 1)
            arrived[place], arrived[place + 1] = arrived[place + 1], arrived[place]
        return arrived

    meter = new_meter()
    text = rng.randbytes(6000)
    window = (1, 4, 63)[seed % 3]
    link = Link(
        meter.device(), policy(max_pdu=200, window=window), max_pdu=200, window=window,
        conformance=PROPOSED_FOR_WINDOWS,
    )  # fmt: skip
    link.lossy = lossy
    link.run(link.association.set(NOTE, Data(Tag.OCTET_STRING, text)))
    assert meter.note == text
    assert lost >= 10
    lost = 0
    turns = 0

    def after_the_first(frames: list[bytes]) -> list[bytes]:
        nonlocal turns
        turns += 1
        return frames if turns < 3 else lossy(frames)

    link.lossy = after_the_first
    assert link.run(link.association.get(NOTE)) == text
    assert lost >= 5


@pytest.mark.parametrize(
    ("proposed", "tag"), [(PROPOSED, 0xC4), (SUPPORTED, 0xC4), (PROPOSED_FOR_WINDOWS, 0xE0)]
)
def test_a_client_that_knows_the_blocks_of_get_is_answered_in_them(
    new_meter: Callable[[], Any], proposed: Conformance, tag: int
) -> None:
    """dlms-cosem 21.3.2 proposes general-block-transfer and cannot read it."""
    link = Link(new_meter().device(), policy(), max_pdu=128, conformance=proposed)
    link.run(link.association.get(LOAD))
    assert {apdu[0] for apdu in link.answered} == {tag}


def test_blocks_that_were_not_agreed_on_are_refused(new_meter: Callable[[], Any]) -> None:
    link = Link(new_meter().device(), policy(), conformance=PROPOSED)
    block = TransferBlock(True, False, 1, 1, 0, b"\xc0\x01\xc1" + ENERGY.to_bytes() + b"\x00")
    assert link.session.receive(Frame(1, 7, block.to_bytes()).to_bytes())[8:].hex() == "d80102"
    operation = link.association.get(ENERGY)
    next(operation)
    with pytest.raises(RemoteProtocolError, match="not agreed"):
        operation.send(Frame(7, 1, block.to_bytes()).to_bytes())


def test_association_and_release_inside_blocks_are_refused(new_meter: Callable[[], Any]) -> None:
    link = Link(new_meter().device(), policy(), conformance=PROPOSED_FOR_WINDOWS)
    for inside in (b"\x62\x03\x80\x01\x00", b"\x60\x00"):
        block = TransferBlock(True, False, 1, 1, 0, inside)
        answer = block_of(link.session.receive(Frame(1, 7, block.to_bytes()).to_bytes())[8:])
        assert answer.data.hex() == "d80202"
    assert link.run(link.association.get(ENERGY)) == 123_456


# --- hostile peers ------------------------------------------------------------------------------------


def server(new_meter: Callable[[], Any], **changes: Any) -> Callable[[TransferBlock], list[TransferBlock]]:
    link = Link(new_meter().device(), policy(), max_pdu=128, conformance=PROPOSED_FOR_WINDOWS, **changes)

    def say(block: TransferBlock) -> list[TransferBlock]:
        octets = link.session.receive(Frame(1, 7, block.to_bytes()).to_bytes())
        return blocks_of([frame.apdu for frame in frames_of(octets)])

    return say


READ_LOAD = TransferBlock(True, False, 4, 1, 0, b"\xc0\x01\xc1" + LOAD.to_bytes() + b"\x00")


def test_an_acknowledgement_of_what_was_never_sent_changes_nothing(new_meter: Callable[[], Any]) -> None:
    """gurux-dlms 1.0.203 writes 65535 there."""
    say = server(new_meter)
    first = say(READ_LOAD)
    assert [block.number for block in first] == [1, 2, 3, 4]
    for wrong in (0xFFFF, 5, 900):
        again = say(TransferBlock(True, False, 4, 2, wrong, b""))
        assert [(b.number, b.data) for b in again] == [(b.number, b.data) for b in first]
    rest = say(TransferBlock(True, False, 63, 3, 4, b""))
    assert [block.number for block in rest] == list(range(5, 59))
    assert [block.last for block in rest] == [False] * 53 + [True]


def test_a_client_that_never_acknowledges_is_given_up(new_meter: Callable[[], Any]) -> None:
    say = server(new_meter)
    say(READ_LOAD)
    answers = [say(TransferBlock(True, False, 63, 2, 0, b"")) for _ in range(MAX_FRUITLESS + 1)]
    assert answers[-1] == [ABORT]
    assert say(TransferBlock(True, False, 63, 2, 0, b"")) == [ABORT], "no transfer under way"
    assert say(ABORT) == []
    assert len(say(READ_LOAD)) == 4, "the next request is served"


def test_an_abort_ends_the_transfer_and_not_the_association(new_meter: Callable[[], Any]) -> None:
    say = server(new_meter)
    say(READ_LOAD)
    assert say(ABORT) == [ABORT]
    assert len(say(READ_LOAD)) == 4


def test_blocks_outside_the_window_are_dropped(new_meter: Callable[[], Any]) -> None:
    say = server(new_meter)
    piece = bytes(100)
    assert [b.acknowledged for b in say(TransferBlock(False, False, 1, 1, 0, piece))] == [1]
    for number in (0, 1, 18, 19, 40_000, 65_535):
        assert [b.acknowledged for b in say(TransferBlock(False, False, 1, number, 1, piece))] == [1]


def test_a_request_without_end_is_aborted_before_it_fills_memory(new_meter: Callable[[], Any]) -> None:
    link = Link(new_meter().device(), policy(), conformance=PROPOSED_FOR_WINDOWS)
    piece = bytes(60_000)
    most = 0
    for number in range(1, 100):
        block = TransferBlock(False, False, 63, number, 0, piece)
        answer = block_of(link.session.receive(Frame(1, 7, block.to_bytes()).to_bytes())[8:])
        most = max(most, link.session.kept_octets)
        if answer == ABORT:
            break
    assert answer == ABORT
    assert most <= MAX_REQUEST
    assert link.session.kept_octets == 0
    early = [TransferBlock(False, True, 63, number, 0, piece) for number in range(2, 18)]
    for block in (TransferBlock(False, True, 63, 1, 0, b"\xc1"), *reversed(early)):
        link.session.receive(Frame(1, 7, block.to_bytes()).to_bytes())
        assert link.session.kept_octets <= MAX_REQUEST


def test_transfers_of_many_associations_are_bounded_together(new_meter: Callable[[], Any]) -> None:
    device = new_meter().device()
    devices = {wport: LogicalDevice(iter(device), [policy()]) for wport in range(1, 60)}
    session = ServerSession(devices)
    for wport in devices:
        association = Association(wport, 1, PASSWORD, conformance=PROPOSED_FOR_WINDOWS)
        session.receive(next(association.associate()))
        for number in range(1, 6):
            block = TransferBlock(False, False, 63, number, 0, bytes(60_000))
            session.receive(Frame(1, wport, block.to_bytes()).to_bytes())
    assert 0 < session.kept_octets <= 2 * MAX_REASSEMBLED


@pytest.mark.parametrize(
    "answer",
    [
        TransferBlock(False, False, 1, 0, 0, b""),  # abort
        TransferBlock(True, False, 1, 1, 0, b"\xe0\x80\x00\x01\x00\x00\x00"),  # blocks in blocks
        TransferBlock(True, False, 1, 1, 0, b"\xff"),  # no APDU
        TransferBlock(True, False, 1, 1, 0, b"\xc4\x01\xc7\x00\x11\x01"),  # another invoke id
    ],
)
def test_wrong_answers_in_blocks_break_the_client(
    new_meter: Callable[[], Any], answer: TransferBlock
) -> None:
    link = Link(new_meter().device(), policy(), conformance=PROPOSED_FOR_WINDOWS)
    operation = link.association.get(ENERGY)
    next(operation)
    with pytest.raises(RemoteProtocolError):
        operation.send(Frame(7, 1, answer.to_bytes()).to_bytes())
    assert link.association.state is State.BROKEN


def test_a_server_that_sends_the_same_block_for_ever_is_given_up(new_meter: Callable[[], Any]) -> None:
    link = Link(new_meter().device(), policy(), conformance=PROPOSED_FOR_WINDOWS)
    operation = link.association.get(ENERGY)
    next(operation)
    block = Frame(7, 1, TransferBlock(False, False, 1, 1, 0, b"\xc4").to_bytes()).to_bytes()
    acknowledgement = operation.send(block)
    assert acknowledgement[8:].hex() == "e0900001000100"  # last, window 16, number 1, acknowledges 1
    for _ in range(MAX_FRUITLESS):
        assert operation.send(block) == acknowledgement
    with pytest.raises(RemoteProtocolError, match="brought nothing"):
        operation.send(block)
    assert link.association.state is State.BROKEN


def test_a_server_that_sends_without_end_is_stopped_at_the_limit(new_meter: Callable[[], Any]) -> None:
    link = Link(new_meter().device(), policy(), conformance=PROPOSED_FOR_WINDOWS, max_reassembled=10_000)
    operation = link.association.get(ENERGY)
    next(operation)
    blocks = [TransferBlock(False, False, 1, number, 0, bytes(500)) for number in range(1, 22)]
    for block in blocks[:20]:
        operation.send(Frame(7, 1, block.to_bytes()).to_bytes())
    with pytest.raises(RemoteProtocolError, match="too long"):
        operation.send(Frame(7, 1, blocks[20].to_bytes()).to_bytes())


def test_messages_beyond_the_numbers_are_our_own_error() -> None:
    transfer = BlockTransfer(63, 8, MAX_REASSEMBLED)
    with pytest.raises(LocalProtocolError):
        transfer.send(bytes(transfer.longest_message() + 1))
    with pytest.raises(LocalProtocolError):
        unconfirmed_blocks(bytes(70_000), 8)
    for window, pdu in ((0, 64), (64, 64), (1, 7)):
        with pytest.raises(LocalProtocolError):
            BlockTransfer(window, pdu, 100)
    with pytest.raises(LocalProtocolError):
        AssociationPolicy(1, window=64)


# --- the machine alone --------------------------------------------------------------------------------


def deliver(
    rng: random.Random, sender: BlockTransfer, receiver: BlockTransfer, apdus: list[bytes], loss: float
) -> tuple[bytes | None, int]:
    """Send until the receiver has the message; gives it, and how many APDUs that took."""
    count = 0
    for _ in range(3000):
        answers: list[bytes] = []
        for apdu in apdus:
            count += 1
            if rng.random() < loss:
                continue
            step = receiver.receive(block_of(apdu))
            if step.message is not None:
                return step.message, count
            answers += step.apdus
        apdus = []
        for answer in answers:
            if rng.random() >= loss:
                apdus += sender.receive(block_of(answer)).apdus
        if not apdus:
            apdus = sender.repeated()
    return None, count


@pytest.mark.parametrize("window", [1, 4, 63])
@pytest.mark.parametrize("loss", [0.0, 0.05, 0.3])
def test_hundred_messages_arrive_whole_at_any_loss(window: int, loss: float) -> None:
    rng = random.Random(window * 100 + int(loss * 100))
    for _ in range(34):
        message = b"\xc0" + rng.randbytes(rng.randint(0, 5000))
        sender = BlockTransfer(window, 64, MAX_REASSEMBLED)
        receiver = BlockTransfer(window, 64, MAX_REASSEMBLED)
        arrived, count = deliver(rng, sender, receiver, sender.send(message), loss)
        assert arrived == message
        if not loss:
            assert count == -(-len(message) // data_octets(64)), "nothing is sent twice"


BLOCKS = st.builds(
    TransferBlock,
    st.booleans(), st.booleans(), st.integers(0, 63),
    st.one_of(st.integers(0, 70), st.integers(0, 65535)),
    st.one_of(st.integers(0, 70), st.integers(0, 65535)),
    st.binary(max_size=40),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(BLOCKS, max_size=60), st.integers(1, 63), st.booleans())
def test_any_blocks_leave_the_machine_within_its_bounds(
    blocks: list[TransferBlock], window: int, sends: bool
) -> None:
    transfer = BlockTransfer(window, 64, 1000)
    sent = bytes(2000) if sends else b""
    if sends:
        transfer.send(sent)
    for block in blocks:
        try:
            step = transfer.receive(block)
        except RemoteProtocolError:
            return
        assert transfer.kept_octets <= 1000 + len(sent)
        assert len(step.apdus) <= 63
        assert all(len(apdu) <= 64 for apdu in step.apdus)


@settings(max_examples=400, deadline=None)
@given(st.lists(BLOCKS, max_size=30))
def test_any_blocks_leave_the_assembler_of_pushes_within_its_bounds(blocks: list[TransferBlock]) -> None:
    assembler = UnconfirmedBlocks(100)
    for block in blocks:
        try:
            message = assembler.feed(block)
        except RemoteProtocolError:
            continue
        assert message is None or len(message) <= 100


def test_twenty_thousand_apdus_changed_on_the_way_leave_the_server_in_order(
    new_meter: Callable[[], Any],
) -> None:
    """Real transfers, with blocks changed on the way; whatever happens, the server serves the next client."""
    rng = random.Random(11)
    device = new_meter().device()
    said = 0
    while said < 20_000:
        link = Link(
            device, policy(max_pdu=100), max_pdu=100, window=8, conformance=PROPOSED_FOR_WINDOWS,
            max_reassembled=1 << 16,
        )  # fmt: skip

        def garble(frames: list[bytes]) -> list[bytes]:
            nonlocal said
            said += len(frames)
            arrived = []
            for frame in frames:
                octets = bytearray(frame[8:])
                if rng.random() < 0.05:
                    octets[rng.randrange(min(9, len(octets)))] = rng.randrange(256)
                arrived.append(Frame(*addresses(frame), bytes(octets)).to_bytes())
            return arrived

        link.lossy = garble
        with suppress(ProtocolError, SilenceError):
            for _ in range(20):
                link.run(link.association.get(LOAD))
    after = Link(device, policy(), conformance=PROPOSED_FOR_WINDOWS, max_pdu=128)
    assert len(after.run(after.association.get(LOAD))) == 288


def addresses(frame: bytes) -> tuple[int, int]:
    return int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big")


@pytest.mark.parametrize("window", WINDOWS)
def test_windows_stream_over_hdlc_too(new_meter: Callable[[], Any], window: int) -> None:
    """There the meter may only speak when it is polled, also between two blocks of a window."""
    meter = new_meter()
    rights = policy(max_pdu=200, window=window)
    session = HdlcServerSession({7: LogicalDevice(iter(meter.device()), [rights])})
    channel = HdlcChannel(1, HdlcAddress(7))
    association = Association(
        7, 1, PASSWORD, channel=channel, max_pdu=200, window=window, conformance=PROPOSED_FOR_WINDOWS
    )

    def run(operation: Any) -> Any:
        outgoing = next(operation)
        while True:
            assert outgoing, "the line is silent"
            try:
                outgoing = operation.send(session.receive(outgoing))
            except StopIteration as done:
                return done.value

    run(channel.connect())
    run(association.associate())
    assert len(run(association.get(LOAD))) == 288
    run(association.set(NOTE, Data(Tag.OCTET_STRING, bytes(3000))))
    assert meter.note == bytes(3000)

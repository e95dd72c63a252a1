"""The HDLC link, both roles: every message comes once, whole and in order, or the link ends with an error."""

from __future__ import annotations

import random
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdlc_line import BadLine
from openami.protocols.dlms.framing.hdlc_frame import (
    FrameKind,
    HdlcAddress,
    HdlcDecoder,
    HdlcFrame,
    control_of,
)
from openami.protocols.dlms.framing.hdlc_link import (
    MAX_IDLE_POLLS,
    PrimaryLink,
    SecondaryLink,
    unnumbered_information,
)
from openami.protocols.dlms.framing.hdlc_link_state import (
    TRANSITIONS,
    LinkEvent,
    LinkState,
    Role,
    heard,
    wanted,
)
from openami.protocols.dlms.framing.hdlc_parameters import HdlcParameters
from openami.protocols.dlms.framing.hdlc_transfer import MAX_INFORMATION_UNIT, Inbox, Outbox
from openami.quantities.errors import LinkError, LocalProtocolError, RemoteProtocolError

CLIENT, METER = HdlcAddress(16), HdlcAddress(1, 17, 2)


def frames(octets: bytes) -> list[HdlcFrame]:
    found = HdlcDecoder().feed(octets)
    assert not any(isinstance(event, RemoteProtocolError) for event in found)
    return found  # type: ignore[return-value]


def from_meter(
    kind: FrameKind, information: bytes = b"", segmented: bool = False, **control: int
) -> HdlcFrame:
    return HdlcFrame(CLIENT, METER, control_of(kind, **control), information, segmented)  # type: ignore[arg-type]


def from_client(
    kind: FrameKind, information: bytes = b"", segmented: bool = False, **control: int
) -> HdlcFrame:
    return HdlcFrame(METER, CLIENT, control_of(kind, **control), information, segmented)  # type: ignore[arg-type]


def connected(
    parameters: HdlcParameters | None = None, repetitions: int = 3
) -> tuple[PrimaryLink, SecondaryLink]:
    parameters = parameters or HdlcParameters()
    primary = PrimaryLink(CLIENT, METER, parameters, repetitions)
    secondary = SecondaryLink(METER, CLIENT, HdlcParameters.of(2030, 7))
    (snrm,) = frames(primary.connect())
    secondary.receive(snrm)
    (ua,) = frames(secondary.turn())
    primary.receive(ua)
    assert primary.state is secondary.state is LinkState.CONNECTED
    return primary, secondary


class Conversation:
    """Requests and their answers over a line, the way a client and a meter talk."""

    def __init__(self, parameters: HdlcParameters, line: BadLine) -> None:
        self.primary = PrimaryLink(CLIENT, METER, parameters, repetitions=200)
        self.secondary = SecondaryLink(METER, CLIENT, HdlcParameters.of(2030, 7))
        self.line = line
        self.to_meter, self.to_client = HdlcDecoder(), HdlcDecoder()
        self.asked: list[bytes] = []
        self.frames = 0

    def meter(self, octets: bytes) -> bytes:
        answers = b""
        for event in self.to_meter.feed(octets) + self.to_meter.silence():
            if isinstance(event, HdlcFrame) and (event.destination, event.source) == (METER, CLIENT):
                message = self.secondary.receive(event)
                if message is not None:
                    self.asked.append(message)
                    self.secondary.send(answer_to(message))
                answers += self.secondary.turn()
        return answers

    def exchange(self, outgoing: bytes) -> list[bytes]:
        """Go on until the turn is ours; the messages that came."""
        got: list[bytes] = []
        while self.primary.waiting:
            assert outgoing
            self.frames += len(frames(outgoing))
            arrived = self.line.carry(self.meter(self.line.carry(outgoing)))
            outgoing = b""
            for event in self.to_client.feed(arrived) + self.to_client.silence():
                if isinstance(event, HdlcFrame):
                    heard = self.primary.receive(event)
                    got += heard.messages
                    outgoing += heard.outgoing
            if not outgoing:
                outgoing = self.primary.timed_out()
        return got


def answer_to(message: bytes) -> bytes:
    """An answer of another length that only this message has."""
    rng = random.Random(message)
    return rng.randbytes(rng.randrange(1, 4000))


# --- a bad line -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 7])
@pytest.mark.parametrize("information", [128, 2030])
@pytest.mark.parametrize("rate", [0.0, 0.03, 0.12])
def test_messages_come_once_whole_and_in_order_over_a_line_that_loses_doubles_and_garbles(
    information: int, window: int, rate: float
) -> None:
    line = BadLine(seed=information * 10 + window, rate=rate)
    talk = Conversation(HdlcParameters.of(information, window), line)
    rng = random.Random(7)
    requests = [rng.randbytes(rng.choice((1, 20, 127, 128, 129, 1000, 3000))) for _ in range(60)]
    assert talk.exchange(talk.primary.connect()) == []
    assert talk.primary.agreed == HdlcParameters.of(information, window)
    for request in requests:
        assert talk.exchange(talk.primary.send(request)) == [answer_to(request)]
    assert talk.asked == requests
    talk.exchange(talk.primary.disconnect())
    assert talk.primary.state is LinkState.DISCONNECTED
    harmed = line.lost + line.doubled + line.garbled
    assert harmed == 0 if rate == 0 else harmed > 10
    assert talk.frames < 60 * 60, "a line that doubles frames must not double the conversation"


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.floats(0, 0.2),
    st.integers(1, 7),
    st.integers(128, 400),
    st.lists(st.binary(max_size=900), min_size=1, max_size=6),
)
def test_any_seed_any_window_any_information_field(
    seed: int, rate: float, window: int, information: int, requests: list[bytes]
) -> None:
    talk = Conversation(HdlcParameters.of(information, window), BadLine(seed, rate))
    talk.exchange(talk.primary.connect())
    for request in requests:
        assert talk.exchange(talk.primary.send(request)) == [answer_to(request)]
    assert talk.asked == requests


# --- bytes --------------------------------------------------------------------------------------------


def test_the_octets_of_a_link_from_snrm_to_disc() -> None:
    """As IEC 62056-46 has them; SNRM and UA are those of the public examples of clients."""
    primary, secondary = (
        PrimaryLink(HdlcAddress(16), HdlcAddress(1)),
        SecondaryLink(HdlcAddress(1), HdlcAddress(16)),
    )

    def turn(octets: bytes) -> tuple[str, bytes | None]:
        (frame,) = frames(octets)
        message = secondary.receive(frame)
        return octets.hex(), message

    sent, _ = turn(primary.connect())
    assert sent == "7ea0070321930f017e"
    ua = secondary.turn()
    assert ua.hex() == "7ea01e210373c37a818012050180060180070400000001080400000001533b7e"
    assert primary.receive(*frames(ua)) == ((), b"")
    sent, message = turn(primary.send(b"\xe6\xe6\x00ask"))
    assert sent[:12] == "7ea00f032110"
    assert message == b"\xe6\xe6\x00ask"
    secondary.send(b"\xe6\xe7\x00told")
    told = secondary.turn()
    assert frames(told)[0].control == 0x30
    assert primary.receive(*frames(told)) == ((b"\xe6\xe7\x00told",), b"")
    assert not primary.waiting
    assert primary.timed_out() == b""
    sent, _ = turn(primary.disconnect())
    assert sent == "7ea00703215303c77e"
    (last,) = frames(secondary.turn())
    assert last.kind is FrameKind.UA
    assert last.information == b""


def test_a_long_answer_is_fetched_window_by_window() -> None:
    primary, secondary = connected(HdlcParameters.of(128, 3))
    secondary.receive(*frames(primary.send(b"ask")))
    secondary.send(bytes(128 * 7 + 1))
    controls, polls, messages = [], [], ()
    while primary.waiting:
        outgoing = b""
        for frame in frames(secondary.turn()):
            controls.append((frame.send_sequence, frame.poll_final, frame.segmented))
            messages, more = primary.receive(frame)
            outgoing += more
        for frame in frames(outgoing):
            polls.append(f"{frame.kind.name} {frame.receive_sequence}")
            secondary.receive(frame)
    assert controls == [
        (0, False, True), (1, False, True), (2, True, True), (3, False, True), (4, False, True),
        (5, True, True), (6, False, True), (7, True, False),
    ]  # fmt: skip
    assert polls == ["RR 3", "RR 6"]
    assert messages == (bytes(128 * 7 + 1),)


def test_a_segment_lost_inside_a_window_is_asked_for_at_once() -> None:
    primary, secondary = connected(HdlcParameters.of(128, 4))
    secondary.receive(*frames(primary.send(b"ask")))
    secondary.send(bytes(range(128)) * 4)
    first, _, third, fourth = frames(secondary.turn())
    assert primary.receive(first).outgoing == primary.receive(third).outgoing == b""
    (again,) = frames(primary.receive(fourth).outgoing)
    assert (again.kind, again.receive_sequence) == (FrameKind.RR, 1)
    secondary.receive(again)
    came = [primary.receive(frame) for frame in frames(secondary.turn())]
    assert came[-1].messages == (bytes(range(128)) * 4,)


def test_an_answer_to_nothing_starts_nothing() -> None:
    """The same answer twice: the second brings neither an acknowledgement nor a segment."""
    primary, _ = connected(HdlcParameters.of(128, 1))
    primary.send(bytes(300))
    answer = from_meter(FrameKind.RR, receive_sequence=1)
    assert len(frames(primary.receive(answer).outgoing)) == 1
    assert primary.receive(answer).outgoing == b""
    assert len(frames(primary.timed_out())) == 1


def test_a_meter_that_is_not_ready_is_polled_a_few_times_then_once_each_time_out() -> None:
    primary, _ = connected()
    primary.send(b"ask")
    ready = from_meter(FrameKind.RR, receive_sequence=1)
    polls = [primary.receive(ready).outgoing for _ in range(20)]
    assert [bool(poll) for poll in polls] == [True] * (MAX_IDLE_POLLS + 1) + [False] * (19 - MAX_IDLE_POLLS)
    for _ in range(10):
        (poll,) = frames(primary.timed_out())
        assert poll.kind is FrameKind.RR
        assert primary.receive(ready).outgoing == b""
    told = primary.receive(from_meter(FrameKind.I, b"told", receive_sequence=1))
    assert told.messages == (b"told",)


def test_a_meter_that_is_busy_gets_no_information_until_it_is_ready() -> None:
    primary, _ = connected()
    primary.send(bytes(200))
    assert primary.receive(from_meter(FrameKind.RNR, receive_sequence=1)).outgoing == b""
    (poll,) = frames(primary.timed_out())
    assert poll.kind is FrameKind.RR
    (rest,) = frames(primary.receive(from_meter(FrameKind.RR, receive_sequence=1)).outgoing)
    assert (rest.kind, rest.send_sequence, len(rest.information)) == (FrameKind.I, 1, 72)


def test_the_meter_sends_nothing_to_a_client_that_is_busy() -> None:
    primary, secondary = connected()
    secondary.receive(*frames(primary.send(b"ask")))
    secondary.send(b"told")
    secondary.receive(from_client(FrameKind.RNR))
    (answer,) = frames(secondary.turn())
    assert answer.kind is FrameKind.RR
    secondary.receive(from_client(FrameKind.RR))
    (answer,) = frames(secondary.turn())
    assert answer.kind is FrameKind.I


def test_without_an_answer_the_link_is_given_up_after_the_last_repetition() -> None:
    primary = PrimaryLink(CLIENT, METER, repetitions=2)
    snrm = primary.connect()
    assert [primary.timed_out(), primary.timed_out()] == [snrm, snrm]
    with pytest.raises(LinkError):
        primary.timed_out()
    assert primary.state is LinkState.DISCONNECTED
    assert primary.timed_out() == b""
    assert primary.connect() == snrm


def test_a_turn_is_used_once_and_silence_is_kept_without_it() -> None:
    _, secondary = connected()
    secondary.receive(from_client(FrameKind.RR))
    assert frames(secondary.turn())[0].kind is FrameKind.RR
    assert secondary.turn() == b""
    secondary.receive(from_client(FrameKind.I, b"ask", poll_final=False))
    assert secondary.turn() == b""


def test_one_answer_at_a_time_bounds_what_the_meter_keeps() -> None:
    _, secondary = connected()
    assert secondary.receive(from_client(FrameKind.I, b"ask", poll_final=False)) == b"ask"
    secondary.send(bytes(60_000))
    for number in range(1, 8):
        again = from_client(FrameKind.I, b"ask", send_sequence=number, poll_final=False)
        assert secondary.receive(again) is None
    assert secondary.kept_octets == 60_000


# --- refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "refusal"),
    [
        (HdlcFrame(METER, CLIENT, 0x1D), "1d0001"),  # SREJ: not in the subset
        (from_client(FrameKind.I, bytes(129)), "100004"),
        (from_client(FrameKind.RR, receive_sequence=3), "710008"),
    ],
)
def test_frames_that_cannot_be_are_refused_until_the_link_is_set_up_again(
    frame: HdlcFrame, refusal: str
) -> None:
    primary, secondary = connected()
    secondary.receive(frame)
    (frmr,) = frames(secondary.turn())
    assert (frmr.kind, frmr.information.hex()) == (FrameKind.FRMR, refusal)
    secondary.receive(from_client(FrameKind.RR))
    assert frames(secondary.turn()) == [frmr]
    with pytest.raises(RemoteProtocolError, match="FRMR"):
        primary.receive(frmr)
    assert primary.state is LinkState.DISCONNECTED
    secondary.receive(*frames(primary.connect()))
    primary.receive(*frames(secondary.turn()))
    assert primary.state is secondary.state is LinkState.CONNECTED


def test_a_message_without_end_is_refused() -> None:
    _, secondary = connected(HdlcParameters.of(2030, 7))
    for number in range(MAX_INFORMATION_UNIT // 2030 + 1):
        secondary.receive(
            from_client(FrameKind.I, bytes(2030), True, send_sequence=number, receive_sequence=0)
        )
    assert frames(secondary.turn())[0].kind is FrameKind.FRMR
    assert secondary.kept_octets == 0


@pytest.mark.parametrize("kind", [FrameKind.I, FrameKind.RR, FrameKind.RNR, FrameKind.DISC])
def test_without_a_link_the_meter_is_disconnected(kind: FrameKind) -> None:
    secondary = SecondaryLink(METER, CLIENT)
    assert secondary.receive(from_client(kind)) is None
    assert frames(secondary.turn())[0].kind is FrameKind.DM
    secondary.receive(from_client(kind, poll_final=False))
    assert (secondary.turn() == b"") is (kind is not FrameKind.DISC)


def test_parameters_that_cannot_be_read_are_refused_with_dm() -> None:
    secondary = SecondaryLink(METER, CLIENT)
    secondary.receive(from_client(FrameKind.SNRM, b"\x81\x80\x03\x07\x01\x00"))
    assert frames(secondary.turn())[0].kind is FrameKind.DM
    primary = PrimaryLink(CLIENT, METER)
    primary.connect()
    with pytest.raises(RemoteProtocolError):
        primary.receive(from_meter(FrameKind.UA, b"\x00"))
    assert primary.state is LinkState.DISCONNECTED


@pytest.mark.parametrize("kind", [FrameKind.DM, FrameKind.FRMR])
def test_a_meter_that_ends_the_link_is_one_error(kind: FrameKind) -> None:
    primary, _ = connected()
    primary.send(b"ask")
    with pytest.raises(RemoteProtocolError):
        primary.receive(from_meter(kind, b"\x54\x00\x10" if kind is FrameKind.FRMR else b""))
    assert primary.state is LinkState.DISCONNECTED
    assert not primary.waiting
    with pytest.raises(LocalProtocolError):
        primary.send(b"again")


def test_the_frmr_of_the_capture_is_understood() -> None:
    """u9n issue 95: a meter refuses an I frame after another client took the line."""
    primary = PrimaryLink(HdlcAddress(1), HdlcAddress(1, 22 << 7 | 20, 4))
    assert primary._peer.to_bytes().hex() == "00022c29"
    primary.connect()
    primary.receive(HdlcFrame(HdlcAddress(1), primary._peer, 0x73))
    primary.send(b"ask")
    with pytest.raises(RemoteProtocolError, match="54 00 10"):
        primary.receive(*frames(bytes.fromhex("7ea00f0300022c29971b60540010743f7e")))


def test_an_acknowledgement_of_what_was_not_sent_ends_the_link() -> None:
    primary, _ = connected()
    primary.send(b"ask")
    with pytest.raises(RemoteProtocolError):
        primary.receive(from_meter(FrameKind.RR, receive_sequence=5))
    assert primary.state is LinkState.DISCONNECTED


# --- echoes and others --------------------------------------------------------------------------------------


def test_the_echo_of_an_optical_head_is_dropped() -> None:
    """u9n issue 62: the SNRM comes back before the answer to it."""
    snrm = bytes.fromhex("7ea0082003279373857e")
    primary = PrimaryLink(HdlcAddress(19), HdlcAddress(16, 1, 2))
    assert primary.connect() == snrm
    assert primary.receive(*frames(snrm)) == ((), b"")
    assert primary.state is LinkState.CONNECTING
    ua = HdlcFrame(HdlcAddress(19), HdlcAddress(16, 1, 2), 0x73)
    primary.receive(ua)
    assert primary.state is LinkState.CONNECTED


@pytest.mark.parametrize("addresses", [(1, 1), (16, 1)])
@pytest.mark.parametrize("information", [128, 2030])
def test_a_line_that_echoes_everything_carries_a_conversation(
    addresses: tuple[int, int], information: int
) -> None:
    """Also where client and server have one address, so that an echo looks like an answer."""
    client, server = HdlcAddress(addresses[0]), HdlcAddress(addresses[1])
    primary = PrimaryLink(client, server, HdlcParameters.of(information, 3))
    secondary = SecondaryLink(server, client, HdlcParameters.of(2030, 7))
    decoder = HdlcDecoder()

    def run(outgoing: bytes) -> list[bytes]:
        got: list[bytes] = []
        while primary.waiting:
            assert outgoing
            arrived = outgoing
            for frame in frames(outgoing):
                if (message := secondary.receive(frame)) is not None:
                    secondary.send(message[::-1] * 3)
                arrived += secondary.turn()
            outgoing = b""
            for event in decoder.feed(arrived):
                assert isinstance(event, HdlcFrame)
                heard = primary.receive(event)
                got += heard.messages
                outgoing += heard.outgoing
        return got

    run(primary.connect())
    for size in (1, 100, 500, 5000):
        message = random.Random(size).randbytes(size)
        assert run(primary.send(message)) == [message[::-1] * 3]
    run(primary.disconnect())
    assert primary.state is LinkState.DISCONNECTED


def test_frames_for_others_bring_nothing() -> None:
    primary, _ = connected()
    primary.send(b"ask")
    for frame in (
        HdlcFrame(HdlcAddress(17), METER, 0x30, b"told"),
        HdlcFrame(CLIENT, HdlcAddress(1, 18, 2), 0x30, b"told"),
    ):
        assert primary.receive(frame) == ((), b"")
    assert primary.waiting


def test_pushes_between_the_segments_of_an_answer_are_messages_of_their_own() -> None:
    primary, secondary = connected()
    push = bytes(range(200))
    first, second = unnumbered_information(push, CLIENT, METER, 128)
    assert (first.control, first.segmented, second.control, second.segmented) == (0x03, True, 0x13, False)
    secondary.receive(*frames(primary.send(b"ask")))
    secondary.send(bytes(200))
    (segment,) = frames(secondary.turn())
    primary.receive(first)
    (poll,) = frames(primary.receive(segment).outgoing)
    assert primary.receive(second).messages == (push,)
    secondary.receive(poll)
    (segment,) = frames(secondary.turn())
    assert primary.receive(segment).messages == (bytes(200),)


def test_a_push_with_a_hole_is_not_put_together() -> None:
    primary, _ = connected()
    first, second, third = unnumbered_information(bytes(300), CLIENT, METER, 128)
    primary.receive(first)
    primary.frame_lost()
    primary.receive(third)
    assert primary.receive(first).messages == ()
    assert primary.receive(second).messages == ()
    assert primary.receive(third).messages == (bytes(300),)


# --- the table ----------------------------------------------------------------------------------------------


def test_every_state_of_a_role_can_be_left_and_reached() -> None:
    for role in Role:
        rows = {state: target for (who, state, _), (target, _) in TRANSITIONS.items() if who is role}
        reached = {target for (who, _, _), (target, _) in TRANSITIONS.items() if who is role}
        assert set(rows) == reached


def test_only_what_the_table_has_is_possible() -> None:
    for role in Role:
        for state in LinkState:
            for event in LinkEvent:
                row = TRANSITIONS.get((role, state, event))
                assert heard(role, state, event) == row
                if row is None:
                    with pytest.raises(LocalProtocolError):
                        wanted(role, state, event)
                else:
                    assert wanted(role, state, event) == row


def test_a_frame_for_which_there_is_no_row_changes_nothing() -> None:
    primary, _ = connected()
    for frame in (from_meter(FrameKind.UA), from_meter(FrameKind.SNRM), HdlcFrame(CLIENT, METER, 0xEF)):
        assert primary.receive(frame) == ((), b"")
        assert primary.state is LinkState.CONNECTED
    with pytest.raises(LocalProtocolError):
        primary.connect()


# --- windows ------------------------------------------------------------------------------------------------


def test_a_segment_is_kept_until_it_is_acknowledged() -> None:
    box = Outbox()
    box.put(bytes(range(10)), 2)
    assert [segment.number for segment in box.batch(3)] == [0, 1, 2]
    assert box.acknowledge(1) == 1
    assert [segment.number for segment in box.batch(3)] == [1, 2, 3]
    with pytest.raises(RemoteProtocolError):
        box.acknowledge(5)
    assert box.acknowledge(4) == 3
    (last,) = box.batch(3)
    assert (last.number, last.octets, last.more) == (4, b"\x08\x09", False)
    assert box.kept_octets == 2


def test_an_empty_message_is_one_segment() -> None:
    box = Outbox()
    box.put(b"", 128)
    assert box.batch(7) == [(0, b"", False)]
    assert Inbox().take(b"", False) == b""


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=20), st.booleans()), max_size=30))
def test_six_thousand_frames_of_any_kind_make_the_meter_raise_nothing(
    commands: list[tuple[int, bytes, bool]],
) -> None:
    secondary = SecondaryLink(METER, CLIENT)
    for control, information, segmented in commands:
        if secondary.receive(HdlcFrame(METER, CLIENT, control, information, segmented)) is not None:
            secondary.send(b"told")
        answer = secondary.turn()
        assert bool(answer) <= bool(control & 0x11), "an answer only to who asks"
        assert len(answer) < 2100


def test_what_waits_to_be_sent_takes_its_own_octets_and_no_work() -> None:
    message, calls = bytes(1 << 20), 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    box = Outbox()
    tracemalloc.start()
    try:
        box.put(message, 16)
        kept = [box.kept_octets]
        sys.setprofile(count)
        for turn in range(1, 201):
            assert [segment.octets for segment in box.batch(7)] == [bytes(16)] * 7
            box.acknowledge(7 * turn & 7)
            kept.append(box.kept_octets)
        sys.setprofile(None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        sys.setprofile(None)
        tracemalloc.stop()
    assert kept == [len(message) - 7 * 16 * turn for turn in range(201)]
    assert peak < 100_000, "the message itself was there before"
    assert calls < 200 * 60

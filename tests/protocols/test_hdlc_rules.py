"""What a meter answers to each HDLC frame, by state, command and poll bit; and whose frames are for it.

The rules are those of IEC 62056-46 6.4 and ISO/IEC 13239 (normal response mode) as recalled, held against
what is public: the list of data link tests of the DLMS UA's conformance test tool (HDLC_1: unknown,
all-station and no-station addresses, unknown command, wrong N(R) and N(S), too long an information field),
frames of a meter under a test tool of others (https://www.gurux.fi/index.php/forum/15618: DM in NDM,
silence after a wrong header check), and a handbook of HDLC-NRM (FRMR is told when it is polled).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from openami.protocols.dlms.framing.hdlc_frame import (
    FrameKind,
    HdlcAddress,
    HdlcDecoder,
    HdlcFrame,
    control_of,
    crc16_x25,
)
from openami.protocols.dlms.framing.hdlc_link import PrimaryLink, SecondaryLink, unnumbered_information
from openami.protocols.dlms.framing.hdlc_link_state import LinkState
from openami.protocols.dlms.framing.hdlc_parameters import HdlcParameters
from openami.protocols.dlms.framing.llc import RESPONSE
from openami.protocols.dlms.server.hdlc_server import HdlcServerSession

CLIENT, METER = HdlcAddress(16), HdlcAddress(1, 17, 2)
NDM, NRM, FRMR = LinkState.DISCONNECTED, LinkState.CONNECTED, LinkState.REJECTING
LONG, HOLE = "I of 129 octets", "I with N(S) 3"
WRONG, INFORMED, UNKNOWN = "RR with N(R) 5", "RR with information", "TEST"


def command(name: str, poll: bool) -> HdlcFrame:
    control = 0xE3 & ~0x10  # TEST: not in the subset of IEC 62056-46
    information = b""
    match name:
        case "I":
            control, information = 0x00, b"ask"
        case "I of 129 octets":
            control, information = 0x00, bytes(129)
        case "I with N(S) 3":
            control, information = 0x06, b"ask"
        case "RR with N(R) 5":
            control = 0xA1
        case "RR with information":
            control, information = 0x01, b"?"
        case "RR" | "RNR" | "SNRM" | "DISC" | "UI" | "UA" | "DM" | "FRMR":
            control = control_of(FrameKind(name), poll_final=False)
    return HdlcFrame(METER, CLIENT, control | (0x10 if poll else 0), information)


def meter(state: LinkState) -> SecondaryLink:
    link = SecondaryLink(METER, CLIENT, HdlcParameters())
    if state is not NDM:
        link.receive(command("SNRM", True))
        link.turn()
    if state is FRMR:
        link.receive(command(UNKNOWN, True))
        link.turn()
    assert link.state is state
    return link


ANSWERS: list[tuple[LinkState, str, str, str, LinkState]] = [
    # state, command, answer with P, answer without P, state afterwards
    (NDM, "SNRM", "UA", "UA", NRM),
    (NDM, "DISC", "DM", "DM", NDM),
    (NDM, "UI", "DM", "", NDM),
    (NDM, "I", "DM", "", NDM),
    (NDM, "RR", "DM", "", NDM),
    (NDM, "RNR", "DM", "", NDM),
    (NDM, UNKNOWN, "DM", "", NDM),
    (NDM, LONG, "DM", "", NDM),
    (NDM, WRONG, "DM", "", NDM),
    (NRM, "SNRM", "UA", "UA", NRM),
    (NRM, "DISC", "UA", "UA", NDM),
    (NRM, "UI", "RR 0", "", NRM),
    (NRM, "I", "RR 1", "", NRM),
    (NRM, HOLE, "RR 0", "", NRM),
    (NRM, "RR", "RR 0", "", NRM),
    (NRM, "RNR", "RR 0", "", NRM),
    (NRM, UNKNOWN, "FRMR f30001", "", FRMR),
    (NRM, LONG, "FRMR 100004", "", FRMR),
    (NRM, WRONG, "FRMR b10008", "", FRMR),
    (NRM, INFORMED, "FRMR 110003", "", FRMR),
    (FRMR, "SNRM", "UA", "UA", NRM),
    (FRMR, "DISC", "UA", "UA", NDM),
    (FRMR, "UI", "FRMR f30001", "", FRMR),
    (FRMR, "I", "FRMR f30001", "", FRMR),
    (FRMR, "RR", "FRMR f30001", "", FRMR),
    (FRMR, "RNR", "FRMR f30001", "", FRMR),
    (FRMR, UNKNOWN, "FRMR f30001", "", FRMR),
    *((state, name, "", "", state) for state in (NDM, NRM, FRMR) for name in ("UA", "DM", "FRMR")),
]
"""SNRM and DISC are answered without P too: whoever sends them can do nothing but wait."""


def said(octets: bytes) -> str:
    words = []
    for frame in HdlcDecoder().feed(octets):
        assert isinstance(frame, HdlcFrame)
        assert frame.poll_final
        assert (frame.destination, frame.source) == (CLIENT, METER)
        word = frame.kind.name
        if frame.kind is FrameKind.RR:
            word += f" {frame.receive_sequence}"
        words.append(word + (f" {frame.information.hex()}" if frame.kind is FrameKind.FRMR else ""))
    return ", ".join(words)


@pytest.mark.parametrize(("state", "name", "polled", "unpolled", "after"), ANSWERS)
def test_each_command_in_each_state_with_and_without_poll(
    state: LinkState, name: str, polled: str, unpolled: str, after: LinkState
) -> None:
    for poll, expected in ((True, polled), (False, unpolled)):
        link = meter(state)
        message = link.receive(command(name, poll))
        assert (message == b"ask") is (state is NRM and name == "I")
        assert said(link.turn()) == expected
        assert link.state is after
        assert link.turn() == b"", "a turn is used once"


def test_every_command_has_its_row() -> None:
    assert {(state, name) for state, name, *_ in ANSWERS} >= {
        (state, kind.value)
        for state in (NDM, NRM, FRMR)
        for kind in FrameKind
        if kind is not FrameKind.UNKNOWN
    }


def test_a_refusal_inside_a_window_waits_for_the_poll() -> None:
    """On a bus whoever speaks while the client still sends destroys both frames."""
    link = meter(NRM)
    assert link.receive(command(LONG, False)) is None
    assert link.turn() == b""
    assert link.receive(command("I", False)) is None
    assert link.turn() == b""
    link.receive(command("I", True))
    assert said(link.turn()) == "FRMR 000004", "the frame that was refused first"


def test_snrm_while_connected_begins_anew() -> None:
    link = meter(NRM)
    link.receive(HdlcFrame(METER, CLIENT, 0x10, b"half", segmented=True))
    link.turn()
    link.send(bytes(300))
    assert link.kept_octets == 304
    link.receive(command("SNRM", True))
    assert said(link.turn()) == "UA"
    assert link.kept_octets == 0
    assert link.receive(command("I", True)) == b"ask", "numbers begin with 0 again"


# --- parameters ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proposed", "agreed"),
    [
        ("", (128, 128, 1, 1)),
        ("818000", (128, 128, 1, 1)),
        ("818003050180", (128, 128, 1, 1)),
        ("81800406020080", (128, 128, 1, 1)),
        ("8180060504000007ee", (128, 512, 1, 1)),  # four octets; it sends 2030, we take 512
        ("81800405027fff", (128, 512, 1, 1)),  # more than any field holds
        ("818003060120", (32, 128, 1, 1)),
        ("8180030701ff", (128, 128, 1, 3)),
        ("818003080107", (128, 128, 3, 1)),
        ("8180060601400601ff", (255, 128, 1, 1)),  # named twice: the last counts
        ("818003990101", (128, 128, 1, 1)),  # nobody knows 99
        ("818003060180ffff", (128, 128, 1, 1)),  # what is behind the group is no parameter
    ],
)
def test_what_a_client_proposes_is_agreed_on_or_negotiated_down(
    proposed: str, agreed: tuple[int, ...]
) -> None:
    link = SecondaryLink(METER, CLIENT, HdlcParameters.of(512, 3))
    link.receive(HdlcFrame(METER, CLIENT, 0x93, bytes.fromhex(proposed)))
    (ua,) = HdlcDecoder().feed(link.turn())
    assert isinstance(ua, HdlcFrame)
    assert ua.kind is FrameKind.UA
    assert HdlcParameters.from_bytes(ua.information) == HdlcParameters(*agreed) == link.agreed


@pytest.mark.parametrize(
    "proposed",
    [
        "81",
        "8080",
        "8181020501",
        "81800305",
        "818003050280",
        "818003060100",
        "818003080100",
        "8180030600",
        "00",
    ],
)
def test_parameters_that_nothing_can_be_sent_with_are_answered_by_dm(proposed: str) -> None:
    for state in (NDM, NRM):
        link = meter(state)
        link.receive(HdlcFrame(METER, CLIENT, 0x93, bytes.fromhex(proposed)))
        assert said(link.turn()) == "DM"
        assert link.state is NDM


@pytest.mark.parametrize("size", [*range(32, 44), 64, 127, 128, 129, 255, 256, 1000, 2029, 2030])
def test_no_segment_in_either_direction_is_longer_than_agreed(size: int) -> None:
    link = SecondaryLink(METER, CLIENT, HdlcParameters.of(2030, 7))
    client = PrimaryLink(CLIENT, METER, HdlcParameters.of(size, 3))
    (snrm,) = HdlcDecoder().feed(client.connect())
    assert isinstance(snrm, HdlcFrame)
    link.receive(snrm)
    (ua,) = HdlcDecoder().feed(link.turn())
    assert isinstance(ua, HdlcFrame)
    client.receive(ua)
    outgoing, got, longest = client.send(bytes(5 * size + 1)), [], [0, 0]
    while client.waiting:
        for frame in HdlcDecoder().feed(outgoing):
            assert isinstance(frame, HdlcFrame)
            longest[0] = max(longest[0], len(frame.information))
            message = link.receive(frame)
            if message is not None:
                link.send(message + bytes(size))
        outgoing = b""
        for frame in HdlcDecoder().feed(link.turn()):
            assert isinstance(frame, HdlcFrame)
            longest[1] = max(longest[1], len(frame.information))
            assert len(frame.to_bytes()) <= 2049
            heard = client.receive(frame)
            got += heard.messages
            outgoing += heard.outgoing
    assert got == [bytes(6 * size + 1)]
    assert longest == [size, size]


# --- addresses ----------------------------------------------------------------------------------------


def frame(destination: HdlcAddress, source: HdlcAddress, kind: FrameKind = FrameKind.SNRM) -> bytes:
    return HdlcFrame(destination, source, control_of(kind)).to_bytes()


class Everything(dict[int, Any]):
    """Devices at every address: a meter that would take any upper address for its own."""

    def get(self, key: int, default: Any = None) -> Any:
        return self.device

    def __init__(self, device: Any) -> None:
        self.device = device


@pytest.mark.parametrize("kind", [FrameKind.SNRM, FrameKind.DISC, FrameKind.UI, FrameKind.RR])
@pytest.mark.parametrize("station", [None, 17])
@pytest.mark.parametrize(
    ("destination", "source"),
    [
        (HdlcAddress(127), CLIENT),  # all stations
        (HdlcAddress(127, 17, 2), CLIENT),
        (HdlcAddress(1, 127, 2), CLIENT),
        (HdlcAddress(127, 127, 2), CLIENT),
        (HdlcAddress(0x3FFF, 17, 4), CLIENT),
        (HdlcAddress(1, 0x3FFF, 4), CLIENT),
        (HdlcAddress(0), CLIENT),  # no station
        (HdlcAddress(0, 17, 2), CLIENT),
        (HdlcAddress(1, 0, 2), CLIENT),
        (HdlcAddress(1, 0, 4), CLIENT),
        (HdlcAddress(1, 17, 2), HdlcAddress(0)),  # from nobody, from everybody
        (HdlcAddress(1, 17, 2), HdlcAddress(127)),
        (HdlcAddress(1), HdlcAddress(1, 18, 2)),  # from another meter: a client has one octet
        (HdlcAddress(1, 17, 2), HdlcAddress(16, 1, 2)),
    ],
)
def test_who_calls_everybody_or_nobody_or_is_no_client_is_not_answered(
    new_meter: Callable[[], Any],
    destination: HdlcAddress,
    source: HdlcAddress,
    station: int | None,
    kind: FrameKind,
) -> None:
    session = HdlcServerSession(Everything(new_meter().device()), station)
    assert session.receive(frame(destination, source, kind)) == b""
    assert session.receive(frame(HdlcAddress(1, 17, 2), CLIENT, kind)), "one who is called answers"


@pytest.mark.parametrize(
    ("destination", "station", "answered"),
    [
        (HdlcAddress(0x7F, 17, 4), 17, True),  # in four octets this is an address as any other
        (HdlcAddress(1, 0x7F, 4), 0x7F, True),
        (HdlcAddress(1, 0x7E, 2), None, True),  # the calling station: alone on the line it is this one
        (HdlcAddress(1, 0x7E, 2), 17, False),  # on a bus it would be the one that called
        (HdlcAddress(1, 16, 2), 17, False),
    ],
)
def test_the_other_addresses_are_those_of_one_station(
    new_meter: Callable[[], Any], destination: HdlcAddress, station: int | None, answered: bool
) -> None:
    session = HdlcServerSession(Everything(new_meter().device()), station)
    assert bool(session.receive(frame(destination, CLIENT))) is answered


def test_meters_on_a_bus_do_not_answer_each_others_answers(new_meter: Callable[[], Any]) -> None:
    """The client and the logical device both have address 1, and everybody hears everything."""
    client = HdlcAddress(1)
    meters = [HdlcServerSession({1: new_meter().device()}, station) for station in (17, 18)]
    numbers = dict.fromkeys((17, 18), 0)
    talk = [(17, FrameKind.SNRM), (18, FrameKind.SNRM), (17, FrameKind.I), (18, FrameKind.I)]
    talk += [(17, FrameKind.RR), (18, FrameKind.DISC), (18, FrameKind.RR), (17, FrameKind.I)]
    for station, kind in talk:
        information = b"\xe6\xe6\x00\xc0\x01\xc1" if kind is FrameKind.I else b""
        sent = numbers[station]
        numbers[station] += kind is FrameKind.I
        control = control_of(kind, send_sequence=sent, receive_sequence=sent)
        asked = HdlcFrame(HdlcAddress(1, station, 2), client, control, information).to_bytes()
        answers = [session.receive(asked) for session in meters]
        assert sum(map(bool, answers)) == 1, "only who is called"
        said_ = b"".join(answers)
        assert [session.receive(said_) for session in meters] == [b"", b""], "and nobody answers him"


def test_a_second_client_neither_disturbs_nor_is_disturbed(new_meter: Callable[[], Any]) -> None:
    session = HdlcServerSession({1: new_meter().device()}, 17)
    first, second = HdlcAddress(1), HdlcAddress(16)

    def kind_of(answer: bytes) -> FrameKind:
        (event,) = HdlcDecoder().feed(answer)
        assert isinstance(event, HdlcFrame)
        return event.kind

    assert kind_of(session.receive(frame(METER, first))) is FrameKind.UA
    assert kind_of(session.receive(frame(METER, second, FrameKind.RR))) is FrameKind.DM
    assert kind_of(session.receive(frame(METER, second))) is FrameKind.UA
    assert kind_of(session.receive(frame(METER, second, FrameKind.DISC))) is FrameKind.UA
    assert kind_of(session.receive(frame(METER, first, FrameKind.RR))) is FrameKind.RR


# --- format -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [form for form in range(16) if form != 0xA])
def test_a_frame_of_another_type_is_no_frame(new_meter: Callable[[], Any], form: int) -> None:
    octets = bytearray(frame(METER, CLIENT))
    octets[1] = form << 4 | octets[1] & 0x0F
    session = HdlcServerSession({1: new_meter().device()}, 17)
    assert session.receive(_checked(octets)) + session.silence() == b""


@pytest.mark.parametrize("addresses", ["00000000000021", "000000210221", "0000030221"])
def test_addresses_of_three_or_more_than_four_octets_are_no_frame(
    new_meter: Callable[[], Any], addresses: str
) -> None:
    body = bytes.fromhex(addresses) + b"\x93"
    octets = bytearray(b"\x7e" + (0xA000 | len(body) + 4).to_bytes(2, "big") + body + b"\x00\x00\x7e")
    session = HdlcServerSession(Everything(new_meter().device()))
    assert session.receive(_checked(octets)) + session.silence() == b""


def _checked(octets: bytearray) -> bytes:
    octets[-3:-1] = crc16_x25(bytes(octets[1:-3])).to_bytes(2, "little")
    return bytes(octets)


# --- whose turn it is ---------------------------------------------------------------------------------


def linked(window: int) -> PrimaryLink:
    client = PrimaryLink(CLIENT, METER, HdlcParameters.of(128, window))
    client.connect()
    client.receive(HdlcFrame(CLIENT, METER, 0x73, HdlcParameters.of(128, window).to_bytes()))
    return client


def test_the_client_does_not_speak_before_the_meter_has_ended_its_window() -> None:
    client = linked(7)
    client.send(b"ask")
    for number, text in enumerate((b"one", b"two", b"three")):
        last = number == 2
        control = control_of(FrameKind.I, poll_final=last, send_sequence=number, receive_sequence=1)
        heard = client.receive(HdlcFrame(CLIENT, METER, control, text))
        assert heard == ((text,), b"")
        assert client.waiting is not last
        assert bool(client.poll()) is last


def test_a_window_that_an_rr_ends_leaves_the_turn_with_the_client() -> None:
    client = linked(7)
    client.send(b"ask")
    control = control_of(FrameKind.I, poll_final=False, receive_sequence=1)
    assert client.receive(HdlcFrame(CLIENT, METER, control, b"told")).messages == (b"told",)
    assert client.send(b"more") == b"", "the meter has not ended yet"
    ready = HdlcFrame(CLIENT, METER, control_of(FrameKind.RR, receive_sequence=1))
    (sent,) = HdlcDecoder().feed(client.receive(ready).outgoing)
    assert isinstance(sent, HdlcFrame)
    assert (sent.kind, sent.send_sequence, sent.receive_sequence) == (FrameKind.I, 1, 1)


def test_nothing_is_polled_for_behind_an_answer_whose_window_ended() -> None:
    client = linked(7)
    client.send(b"ask")
    control = control_of(FrameKind.I, poll_final=False, receive_sequence=1)
    client.receive(HdlcFrame(CLIENT, METER, control, b"told"))
    ready = HdlcFrame(CLIENT, METER, control_of(FrameKind.RR, receive_sequence=1))
    assert client.receive(ready) == ((), b"")
    assert not client.waiting


def test_where_the_last_frame_of_a_window_was_lost_the_time_out_asks_for_it() -> None:
    client = linked(7)
    client.send(b"ask")
    control = control_of(FrameKind.I, poll_final=False, receive_sequence=1)
    client.receive(HdlcFrame(CLIENT, METER, control, b"told"))
    (poll,) = HdlcDecoder().feed(client.timed_out())
    assert isinstance(poll, HdlcFrame)
    assert (poll.kind, poll.receive_sequence) == (FrameKind.RR, 1)
    ready = HdlcFrame(CLIENT, METER, control_of(FrameKind.RR, receive_sequence=1))
    assert client.receive(ready) == ((), b"")
    assert not client.waiting


def test_a_push_whose_last_segment_was_lost_spoils_no_other() -> None:
    """UI frames have no numbers: where one begins with the LLC header, another message begins."""
    client = linked(1)
    first, second = (
        unnumbered_information(RESPONSE + bytes((text,)) * 200, CLIENT, METER, 128) for text in b"ab"
    )
    heard = [message for frame in (first[0], *second) for message in client.receive(frame).messages]
    assert heard == [RESPONSE + b"b" * 200]


def test_a_meter_with_a_window_of_one_has_ended_with_its_frame_whatever_its_final_bit() -> None:
    client = linked(1)
    client.send(b"ask")
    control = control_of(FrameKind.I, poll_final=False, receive_sequence=1)
    assert client.receive(HdlcFrame(CLIENT, METER, control, b"told")).messages == (b"told",)
    assert not client.waiting

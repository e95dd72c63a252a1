"""Five thousand links over lines that lose, double, garble and delay frames in both directions, all seeded.

What arrives is what was sent, in order, once; or the link reports that it failed: it gives up, for the line
alone makes neither end find fault with the other. Never anything else: no value that was not sent, none
twice, and on a line that harms nothing no frame while the other station still speaks.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from hdlc_line import BadLine
from openami.protocols.dlms.framing.hdlc_frame import FrameKind, HdlcAddress, HdlcDecoder, HdlcFrame
from openami.protocols.dlms.framing.hdlc_link import PrimaryLink, SecondaryLink
from openami.protocols.dlms.framing.hdlc_link_state import LinkState
from openami.protocols.dlms.framing.hdlc_parameters import HdlcParameters
from openami.quantities.errors import LinkError

CLIENT, METER = HdlcAddress(16), HdlcAddress(1, 17, 2)
RUNS, SHARES = 5000, 10
MOST_TURNS = 3000


def answers_to(message: bytes, longest: int) -> list[bytes]:
    """What the meter says to a message: one to three messages that only this one has."""
    chance = random.Random(message)
    return [chance.randbytes(chance.randrange(1, longest)) for _ in range(chance.choice((1, 1, 1, 2, 3)))]


@dataclass
class Talk:
    """A client and a meter; what each heard."""

    client: PrimaryLink
    meter: SecondaryLink
    line: BadLine
    chance: random.Random
    delays: float
    longest: int
    asked: list[bytes] = field(default_factory=list)
    told: list[bytes] = field(default_factory=list)
    late: bytes = b""
    turns: int = 0
    spoke_between: int = 0
    to_meter: HdlcDecoder = field(default_factory=HdlcDecoder)
    to_client: HdlcDecoder = field(default_factory=HdlcDecoder)

    def until_quiet(self, outgoing: bytes, expected: int) -> None:
        """Carry frames to and fro until the client has the turn and heard so many messages."""
        while self.client.waiting or (self.client.state is LinkState.CONNECTED and len(self.told) < expected):
            self.turns += 1
            assert self.turns < MOST_TURNS, "a link ends, with what it carries or with an error"
            outgoing = outgoing or self.client.poll() or self.client.timed_out()
            outgoing = self._heard(self._arriving(self._answer(outgoing)))

    def _answer(self, outgoing: bytes) -> bytes:
        answer = b""
        for event in self.to_meter.feed(self.line.carry(outgoing)) + self.to_meter.silence():
            if isinstance(event, HdlcFrame) and (event.destination, event.source) == (METER, CLIENT):
                message = self.meter.receive(event)
                if message is not None:
                    self.asked.append(message)
                    for text in answers_to(message, self.longest):
                        self.meter.send(text)
                answer += self.meter.turn()
        return answer

    def _arriving(self, answer: bytes) -> bytes:
        """What comes now; an answer may come behind the time-out, before the one to the repetition."""
        arriving, self.late = self.late + self.line.carry(answer), b""
        if self.chance.random() < self.delays:
            self.late, arriving = arriving, b""
        return arriving

    def _heard(self, octets: bytes) -> bytes:
        outgoing = b""
        events = self.to_client.feed(octets) + self.to_client.silence()
        for place, event in enumerate(events):
            if isinstance(event, HdlcFrame):
                heard = self.client.receive(event)
                self.told += heard.messages
                outgoing += heard.outgoing
                if place + 1 < len(events) and (heard.outgoing or not self.client.waiting):
                    self.spoke_between += 1
        return outgoing


def run(seed: int) -> str:
    """One link from SNRM to DISC, or to its failure."""
    chance = random.Random(seed)
    sizes = [chance.choice((32, 33, 64, 128, 200, 1000, 2030)) for _ in range(2)]
    windows = [chance.randrange(1, 8) for _ in range(2)]
    proposed = HdlcParameters(sizes[0], sizes[1], windows[0], windows[1])
    rate = chance.choice((0.0, 0.02, 0.1, 0.25))
    talk = Talk(
        PrimaryLink(CLIENT, METER, proposed, repetitions=chance.choice((2, 5, 40))),
        SecondaryLink(METER, CLIENT, HdlcParameters.of(chance.choice((128, 2030)), chance.randrange(1, 8))),
        BadLine(seed, rate),
        chance,
        chance.choice((0.0, 0.2)) if rate else 0.0,
        6 * sizes[1],
    )
    requests = [chance.randbytes(chance.randrange(1, 6 * sizes[0])) for _ in range(chance.randrange(1, 4))]
    expected: list[bytes] = []
    ended = "whole"
    try:
        talk.until_quiet(talk.client.connect(), 0)
        for request in requests:
            expected += answers_to(request, talk.longest)
            talk.until_quiet(talk.client.send(request), len(expected))
            assert talk.told == expected
        talk.until_quiet(talk.client.disconnect(), len(expected))
        assert talk.asked == requests
    except LinkError:
        ended = "given up"
    assert talk.client.state is LinkState.DISCONNECTED
    assert talk.asked == requests[: len(talk.asked)], "once, in order, as it was sent"
    assert talk.told == expected[: len(talk.told)], "once, in order, as it was sent"
    if not rate:
        assert ended == "whole"
        assert talk.spoke_between == 0, "nobody speaks while the other does"
    return ended


def time_outs(window: int, lost: int, *, from_meter: bool) -> int:
    """A message of 2 windows and a segment each way; the ``lost``-th I frame of one station does not arrive.

    Gives how often the client had to wait in vain, where both messages arrived once.
    """
    parameters = HdlcParameters.of(128, window)
    client, meter = PrimaryLink(CLIENT, METER, parameters), SecondaryLink(METER, CLIENT, parameters)
    asked: list[bytes] = []
    told: list[bytes] = []
    sent = {True: 0, False: 0}
    message = random.Random(window).randbytes(128 * 2 * window + 1)

    def arrive(octets: bytes, meters: bool) -> list[HdlcFrame]:
        frames = []
        for event in HdlcDecoder().feed(octets):
            assert isinstance(event, HdlcFrame)
            sent[meters] += event.kind is FrameKind.I
            if event.kind is not FrameKind.I or meters is not from_meter or sent[meters] - 1 != lost:
                frames.append(event)
        return frames

    waits, outgoing = 0, client.connect()
    while not told:
        answer = b""
        for frame in arrive(outgoing, False):
            if (heard := meter.receive(frame)) is not None:
                asked.append(heard)
                meter.send(heard[::-1])
            answer += meter.turn()
        outgoing = b""
        for frame in arrive(answer, True):
            got = client.receive(frame)
            told += got.messages
            outgoing += got.outgoing
        if client.state is LinkState.CONNECTED and not sent[False]:
            outgoing = client.send(message)
        if not (outgoing or told):
            waits += 1
            outgoing = client.timed_out()
    assert asked == [message]
    assert told == [message[::-1]]
    return waits


@pytest.mark.parametrize("window", range(1, 8))
@pytest.mark.parametrize("from_meter", [False, True])
def test_each_i_frame_of_each_window_may_be_lost_at_the_cost_of_a_time_out_or_of_none(
    window: int, from_meter: bool
) -> None:
    """A hole is told by what the last frame of a window asks for; the loss of that frame by nothing.

    Nor is the loss of a client's first frame: the meter then acknowledges nothing new, as where an answer of
    before was doubled, and at such a one the client sends nothing.
    """
    for lost in range(2 * window + 1):
        first, last = lost % window == 0, lost % window == window - 1 or lost == 2 * window
        waited = last or (first and not from_meter)
        assert time_outs(window, lost, from_meter=from_meter) == int(waited), lost


@pytest.mark.parametrize("share", range(SHARES))
def test_what_arrives_is_what_was_sent_in_order_and_once_or_the_link_says_that_it_failed(share: int) -> None:
    ended = [run(seed) for seed in range(share, RUNS, SHARES)]
    assert len(ended) == 500
    assert ended.count("whole") > 350
    assert ended.count("given up") > 10, "the lines are bad enough to lose links"

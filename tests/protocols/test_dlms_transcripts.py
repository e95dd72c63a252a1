"""What real meters answered, replayed to our client by a peer that checks every octet the client sends.

Frames are those of the vectors (test suites and issue threads of others). Where a thread shows only what the
meter sent, the frames before it are made here, in the same addresses, so that the meter's own frame comes at
its place in the conversation.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.apdus.initiate import Conformance
from openami.protocols.dlms.client.association import Association, Operation
from openami.protocols.dlms.client.association_state import State
from openami.protocols.dlms.framing.hdlc_channel import HdlcChannel
from openami.protocols.dlms.framing.hdlc_frame import (
    FrameKind,
    HdlcAddress,
    HdlcDecoder,
    HdlcFrame,
    control_of,
)
from openami.protocols.dlms.framing.hdlc_link_state import LinkState
from openami.protocols.dlms.framing.wrapper import Frame
from openami.quantities.errors import RemoteProtocolError
from openami.quantities.obis import ObisCode

FILE = Path(__file__).resolve().parents[3] / "shared" / "data" / "dlms" / "vectors.json"


@cache
def vectors() -> dict[str, bytes]:
    if not FILE.exists():
        return {}
    return {entry["id"]: bytes.fromhex(entry["frame_hex"]) for entry in json.loads(FILE.read_text("utf-8"))}


pytestmark = pytest.mark.skipif(not vectors(), reason="no vectors beside the project (shared/data/dlms)")

HDLC = "pwitab-test_hdlc-test_hdlc-"


class Replay:
    """A meter that only knows its lines: what it must hear, and what it answers, in order."""

    def __init__(self, *lines: tuple[bytes, bytes]) -> None:
        self._lines = list(lines)

    def run(self, operation: Operation[Any]) -> Any:
        outgoing = next(operation)
        while True:
            expected, answer = self._lines.pop(0)
            assert outgoing == expected, f"{outgoing.hex()} instead of {expected.hex()}"
            try:
                outgoing = operation.send(answer)
            except StopIteration as done:
                return done.value

    @property
    def finished(self) -> bool:
        return not self._lines


def frame_of(octets: bytes) -> HdlcFrame:
    (frame,) = HdlcDecoder().feed(octets)
    assert isinstance(frame, HdlcFrame)
    return frame


def test_a_link_and_an_association_over_hdlc_octet_for_octet() -> None:
    """SNRM, UA with parameters, AARQ, AARE: client 16, server 1/17, no password, conformance 001E1D."""
    snrm, ua, aarq, aare = (
        vectors()[HDLC + name]
        for name in (
            "test_parses_correct-1",
            "test_parser_correctly-2",
            "test_construct-3",
            "test_contruct-5",
        )
    )
    channel = HdlcChannel(16, HdlcAddress.of(1, 17))
    said = frame_of(ua)
    proposed = frame_of(aarq)
    answered = frame_of(aare)
    # The AARE of the suite stands at another place of its conversation: here it is the first I frame.
    first = HdlcFrame(
        answered.destination,
        answered.source,
        control_of(FrameKind.I, send_sequence=0, receive_sequence=1),
        answered.information,
    )
    replay = Replay((snrm, ua), (aarq, first.to_bytes()))
    replay.run(channel.connect())
    assert channel.link.state is LinkState.CONNECTED
    assert (channel.agreed.transmit, channel.agreed.receive) == (128, 128)
    association = Association(1, 16, channel=channel, conformance=Conformance(0x001E1D))
    replay.run(association.associate())
    assert replay.finished
    assert association.state is State.READY
    assert association.server_max_pdu == 1224
    assert said.kind is FrameKind.UA
    assert proposed.information[3:] == bytes.fromhex(
        "601da109060760857405080101be10040e01000000065f1f0400001e1dffff"
    )


def test_low_level_security_over_the_wrapper_octet_for_octet() -> None:
    """Password 12345678, conformance 007E1F, PDU 1200; the meter agrees on 00181F and 2048."""
    aarq, aare = vectors()["gocosem-aarq-lls"], vectors()["gocosem-aare-ok"]
    rlrq, rlre = vectors()["pwitab-conftest-rlrq-7"], vectors()["pwitab-conftest-rlre-8"]
    replay = Replay(
        (Frame(1, 1, aarq).to_bytes(), Frame(1, 1, aare).to_bytes()),
        (Frame(1, 1, rlrq).to_bytes(), Frame(1, 1, rlre).to_bytes()),
    )
    association = Association(1, 1, b"12345678", max_pdu=1200, conformance=Conformance(0x007E1F))
    replay.run(association.associate())
    assert association.conformance == Conformance(0x00181F)
    assert association.server_max_pdu == 2048
    replay.run(association.release())
    assert replay.finished


CLIENT, ATTRIBUTE = HdlcAddress(1), Attribute(1, ObisCode(1, 0, 32, 32, 0), 1)
AARE = bytes.fromhex("6129a109060760857405080101a203020100a305a103020100be10040e0800065f1f040000501f01f40007")


def linked(server: HdlcAddress) -> tuple[HdlcChannel, Association, Callable[[bytes, int], bytes]]:
    """A client associated with a meter at an address, by frames made here."""
    channel = HdlcChannel(CLIENT.upper, server)

    def numbered(apdu: bytes, number: int) -> bytes:
        control = control_of(FrameKind.I, send_sequence=number, receive_sequence=number + 1)
        return HdlcFrame(CLIENT, server, control, b"\xe6\xe7\x00" + apdu).to_bytes()

    ua = HdlcFrame(CLIENT, server, control_of(FrameKind.UA)).to_bytes()
    said(channel.connect(), ua)
    association = Association(1, CLIENT.upper, channel=channel)
    said(association.associate(), numbered(AARE, 0))
    return channel, association, numbered


def said(operation: Operation[Any], answer: bytes) -> Any:
    next(operation)
    try:
        operation.send(answer)
    except StopIteration as done:
        return done.value
    return pytest.fail("the client waits for more")


def test_a_frame_with_7e_in_its_check_is_an_answer() -> None:
    """The meter's frame as it was on the line: the second I frame, its FCS begins with the flag."""
    octets = vectors()["issue-u9n97-flag-in-fcs"]
    captured = frame_of(octets)
    assert octets[-3] == 0x7E
    assert (captured.destination, captured.send_sequence, captured.receive_sequence) == (CLIENT, 1, 2)
    _, association, _ = linked(captured.source)
    operation = association.get(ATTRIBUTE)
    request = frame_of(next(operation))
    # The thread's own request lost an octet and its checks on the way there; its head is the same as ours.
    asked = vectors()["issue-u9n97-request"]
    assert request.to_bytes()[3:9] == asked[3:9]
    assert request.control == 0x32
    assert request.information == b"\xe6\xe6\x00" + bytes.fromhex("c001c1" + "0001" + "0100202000ff" + "0100")
    for cut in range(1, len(octets)):  # cut anywhere: the client waits, it neither believes nor gives up
        _, again, _ = linked(captured.source)
        waiting = again.get(ATTRIBUTE)
        next(waiting)
        assert waiting.send(octets[:cut]) == b""
        with pytest.raises(StopIteration) as done:
            waiting.send(octets[cut:])
        assert done.value.value == bytes.fromhex("0100202000ff")


def test_a_head_that_gives_our_octets_back_is_no_answer() -> None:
    """An optical head echoes the SNRM of client 19 to 16/1; then the meter answers."""
    snrm = vectors()["issue-u9n62-echo"]
    frame = frame_of(snrm)
    assert frame.kind is FrameKind.SNRM
    channel = HdlcChannel(frame.source.upper, frame.destination)
    connecting = channel.connect()
    assert next(connecting) == snrm
    assert connecting.send(snrm) == b""
    assert channel.link.state is LinkState.CONNECTING
    ua = HdlcFrame(frame.source, frame.destination, control_of(FrameKind.UA)).to_bytes()
    with pytest.raises(StopIteration):
        connecting.send(ua)
    assert channel.link.state is LinkState.CONNECTED


def test_a_meter_that_refuses_a_frame_ends_the_link() -> None:
    """FRMR after numbers that do not fit, as the meter sent it."""
    octets = vectors()["issue-u9n95-frmr"]
    frame = frame_of(octets)
    assert (frame.kind, frame.destination) == (FrameKind.FRMR, CLIENT)
    channel, association, _ = linked(frame.source)
    operation = association.get(ATTRIBUTE)
    next(operation)
    with pytest.raises(RemoteProtocolError, match="FRMR"):
        operation.send(octets)
    assert channel.link.state is LinkState.DISCONNECTED
    assert association.state is State.BROKEN


def test_a_frame_of_2047_octets_is_an_answer() -> None:
    """Longer than 255 octets: the value of 2,016 octets in one frame."""
    octets = vectors()["syn-hdlc-len-2047"]
    captured = frame_of(octets)
    assert len(octets) > 2000
    _, association, numbered = linked(HdlcAddress(1))
    operation = association.get(ATTRIBUTE)
    next(operation)
    with pytest.raises(StopIteration) as done:
        operation.send(numbered(captured.information[3:], 1))
    assert done.value.value == bytes(2016)

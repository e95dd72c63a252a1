"""HDLC frames: every captured one comes out as it went in, and nothing else ever does."""

from __future__ import annotations

import random
import tracemalloc
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.protocols.dlms.framing.hdlc_frame import (
    MAX_FRAME,
    FrameKind,
    HdlcAddress,
    HdlcDecoder,
    HdlcFrame,
    control_of,
    crc16_x25,
)
from openami.protocols.dlms.framing.hdlc_parameters import HdlcParameters
from openami.protocols.dlms.framing.llc import COMMAND, RESPONSE, without_llc
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

FILE = Path(__file__).resolve().parents[3] / "shared" / "data" / "dlms" / "vectors.json"

# What the vectors hold that is no frame, and the errors it gives.
NO_FRAME = {
    "amshan-hdlc-too-short": "an octet of the check is missing",
    "amshan-hdlc-abort": "7D 7E instead of the closing flag",
    "amshan-hdlc-stuffed": "octet stuffing, which frame type 3 does not have",
    "espdlms-hdlc_landis_gyr_zmf100": "the capture's FCS is wrong",
    "issue-u9n97-request": "29 octets between its flags, 28 by its length: a slip of the thread",
    "syn-hdlc-bad-hcs": "wrong HCS",
    "syn-hdlc-addr-never-ends": "an address of 29 octets",
}
# Frames whose fields the vectors do not give: destination, source, control, octets of information.
FIELDS = {
    "issue-u9n62-echo": ("2003", "27", 0x93, 0),
    "issue-u9n95-frmr": ("03", "00022c29", 0x97, 3),
    "syn-hdlc-len-2047": ("21", "03", 0x30, 2027),
    "syn-hdlc-ua-params": ("21", "03", 0x73, 23),
}


@cache
def vectors() -> dict[str, dict[str, Any]]:
    if not FILE.exists():
        return {}
    entries = orjson.loads(FILE.read_bytes())
    return {entry["id"]: entry for entry in entries if entry["layer"] == "hdlc"}


needs_vectors = pytest.mark.skipif(not vectors(), reason="no vectors beside the project (shared/data/dlms)")
GOOD = [name for name in vectors() if name not in NO_FRAME]


def octets_of(name: str) -> bytes:
    return bytes.fromhex(vectors()[name]["frame_hex"])


def frames_in(octets: bytes) -> list[HdlcFrame]:
    decoder = HdlcDecoder()
    events = decoder.feed(octets) + decoder.end()
    return [event for event in events if isinstance(event, HdlcFrame)]


def good_frame(information: bytes = b"good", control: int = 0x10) -> HdlcFrame:
    return HdlcFrame(HdlcAddress(16), HdlcAddress(1, 17, 2), control, information)


# --- vectors ------------------------------------------------------------------------------------------


@needs_vectors
def test_every_vector_of_the_layer_is_accounted_for() -> None:
    assert len(vectors()) == 30
    described = {name for name, entry in vectors().items() if (entry["expected"] or {}).get("hdlc")}
    named = {*NO_FRAME, *FIELDS, "amshan-hdlc-start-in-frame"}
    assert described - named | named == set(vectors())


@needs_vectors
@pytest.mark.parametrize("name", GOOD)
def test_a_captured_frame_has_the_expected_fields_and_comes_back(name: str) -> None:
    octets = octets_of(name)
    frames = frames_in(octets)
    expected = (vectors()[name]["expected"] or {}).get("hdlc")
    if expected is None and name in FIELDS:
        destination, source, control, information = FIELDS[name]
        expected = [
            {"dest": destination, "src": source, "control": control, "info": information, "seg": False}
        ]
    if expected is None:
        assert name == "amshan-hdlc-start-in-frame"
        expected = [{"dest": "01", "src": "0201", "control": 16, "info": 2, "seg": False}]
    assert [
        {
            "dest": frame.destination.to_bytes().hex(),
            "src": frame.source.to_bytes().hex(),
            "control": frame.control,
            "info": len(frame.information),
            "seg": frame.segmented,
        }
        for frame in frames
    ] == [{key: item[key] for key in ("dest", "src", "control", "info", "seg")} for item in expected]
    for frame in frames:
        assert frame.to_bytes()[:-1] in octets


@needs_vectors
@pytest.mark.parametrize("name", NO_FRAME)
def test_what_is_no_frame_gives_one_error_and_no_frame(name: str) -> None:
    decoder = HdlcDecoder()
    (error,) = decoder.feed(octets_of(name)) + decoder.end()
    assert isinstance(error, RemoteProtocolError)


@needs_vectors
@pytest.mark.parametrize("name", vectors())
def test_cut_at_every_octet_nothing_is_promised_before_the_end_and_then_one_error(name: str) -> None:
    octets = octets_of(name)
    whole = frames_in(octets)
    for cut in range(1, len(octets)):
        decoder = HdlcDecoder()
        before = decoder.feed(octets[:cut])
        after = decoder.end()
        frames = [event for event in before if isinstance(event, HdlcFrame)]
        assert frames == whole[: len(frames)], cut
        assert all(isinstance(event, RemoteProtocolError) for event in after), cut
        errors = [event for event in before if not isinstance(event, HdlcFrame)]
        junk = int(name == "amshan-hdlc-start-in-frame" and bool(frames))
        inside = bool(octets[:cut].rstrip(b"\x7e")) and not is_boundary(octets, cut)
        assert len(errors) == junk, cut
        assert len(after) == int(inside or not frames), cut
        assert decoder.feed(octets) == []


def is_boundary(octets: bytes, cut: int) -> bool:
    """True where a cut is behind whole frames and flags only, as the lengths have it."""
    place = octets.find(b"\x7e\xa0") if octets[0] != 0x7E else 0
    while place < cut:
        while octets[place : place + 1] == b"\x7e" and place < cut:
            place += 1
        if place == cut:
            return place > 1
        place += ((octets[place] & 7) << 8 | octets[place + 1]) if place + 1 < len(octets) else 1
        if octets[place : place + 1] != b"\x7e":
            return False
    return False


# --- between good frames --------------------------------------------------------------------------------


def damaged_frames() -> list[bytes]:
    """A frame with every octet changed or missing, cut everywhere; and what else a line may carry."""
    octets = good_frame(b"\x7e\xa0some information\x7e").to_bytes()
    cut = [octets[:length] for length in range(2, len(octets) - 1)]
    short = [octets[:place] + octets[place + 1 :] for place in range(1, len(octets) - 1)]
    changed = [
        octets[:place] + bytes((octets[place] ^ flip,)) + octets[place + 1 :]
        for place in range(1, len(octets) - 1)
        for flip in (0x01, 0x80, 0xFF)
    ]
    return [*cut, *short, *changed, b"\x00", b"noise of a modem", b"\x7d\x7e", b"\x7e\xa7\xff", b"\xa0\x7e"]


@pytest.mark.parametrize("chunk", [1, 7, 10_000])
def test_good_frames_between_bad_ones_come_through(chunk: int) -> None:
    first, last = good_frame(b"first"), good_frame(b"last", 0x32)
    for bad in damaged_frames():
        stream = first.to_bytes() + bad + last.to_bytes() + bad + first.to_bytes()
        decoder = HdlcDecoder()
        events = [
            e for place in range(0, len(stream), chunk) for e in decoder.feed(stream[place : place + chunk])
        ]
        events += decoder.end()
        assert [e for e in events if isinstance(e, HdlcFrame)] == [first, last, first], bad.hex()
        assert len(events) == 5, bad.hex()


def test_frames_damaged_in_their_information_give_an_error_each() -> None:
    bad = bytearray(good_frame(b"information").to_bytes())
    bad[-5] ^= 1
    decoder = HdlcDecoder()
    events = decoder.feed(bytes(bad) * 5 + good_frame().to_bytes())
    assert [isinstance(event, HdlcFrame) for event in events] == [False] * 5 + [True]
    assert str(events[1]) == f"octet {len(bad)}: wrong frame check"


def test_adjacent_noise_is_one_error_that_says_how_much_was_lost() -> None:
    decoder = HdlcDecoder()
    assert decoder.feed(b"noise" * 3) == []
    error, frame = decoder.feed(good_frame().to_bytes())
    assert str(error) == "15 octets are no frame: octets outside a frame at octet 0"
    assert frame == good_frame()


def test_a_frame_behind_one_that_promises_too_much_comes_out_when_the_line_falls_silent() -> None:
    cut = good_frame(bytes(1000)).to_bytes()[:300]
    decoder = HdlcDecoder()
    assert decoder.feed(cut + good_frame().to_bytes()) == []
    error, frame = decoder.silence()
    assert isinstance(error, RemoteProtocolError)
    assert frame == good_frame()
    assert decoder.feed(good_frame(b"and on it goes").to_bytes()) == [good_frame(b"and on it goes")]


def test_flags_are_fill_and_may_be_shared() -> None:
    octets = good_frame().to_bytes()
    decoder = HdlcDecoder()
    assert decoder.feed(b"\x7e" * 50 + octets[:-1] + octets + b"\x7e" * 50 + octets) == [good_frame()] * 3
    assert decoder.silence() == []
    assert decoder.end() == []


def test_the_closing_flag_is_waited_for() -> None:
    octets = good_frame().to_bytes()
    decoder = HdlcDecoder()
    assert decoder.feed(octets[:-1]) == []
    assert decoder.feed(b"\x7e") == [good_frame()]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=30), st.just(good_frame().to_bytes())), max_size=8), st.data())
def test_events_do_not_depend_on_how_the_stream_is_cut(pieces: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(pieces)
    whole = HdlcDecoder()
    expected = [str(event) for event in whole.feed(stream) + whole.end()]
    cut = HdlcDecoder()
    events = []
    place = 0
    while place < len(stream):
        size = data.draw(st.integers(1, 40))
        events += cut.feed(stream[place : place + size])
        place += size
    events += cut.end()
    assert [str(event) for event in events] == expected


# --- fields ---------------------------------------------------------------------------------------------


def addresses() -> st.SearchStrategy[HdlcAddress]:
    return st.one_of(
        st.builds(HdlcAddress, st.integers(0, 127)),
        st.builds(HdlcAddress, st.integers(0, 127), st.integers(0, 127), st.just(2)),
        st.builds(HdlcAddress, st.integers(0, 16383), st.integers(0, 16383), st.just(4)),
    )


@settings(max_examples=500, deadline=None)
@given(addresses(), addresses(), st.integers(0, 255), st.binary(max_size=2030), st.booleans())
def test_every_frame_comes_back(
    destination: HdlcAddress, source: HdlcAddress, control: int, information: bytes, segmented: bool
) -> None:
    frame = HdlcFrame(destination, source, control, information, segmented)
    assert HdlcDecoder().feed(frame.to_bytes()) == [frame]


def test_addresses_of_four_octets_have_fourteen_bits_in_each_part() -> None:
    assert HdlcAddress(1, 30 << 7 | 35, 4).to_bytes().hex() == "00023c47"  # as in the capture of u9n issue 97
    assert HdlcAddress.of(1, 17).to_bytes().hex() == "0223"
    assert HdlcAddress.of(1, 1000).octets == 4
    assert HdlcAddress.of(16).to_bytes() == b"\x21"
    for wrong in (
        (128, None, 1),
        (1, 128, 2),
        (1, 16384, 4),
        (1, 1, 1),
        (1, None, 2),
        (1, 1, 3),
        (-1, None, 1),
    ):
        with pytest.raises(LocalProtocolError):
            HdlcAddress(*wrong)


CONTROLS = [  # ISO/IEC 13239, modulo 8, P/F set; SNRM, UA, I and FRMR as in the captures
    (FrameKind.SNRM, 0x93, {}),
    (FrameKind.DISC, 0x53, {}),
    (FrameKind.UA, 0x73, {}),
    (FrameKind.DM, 0x1F, {}),
    (FrameKind.FRMR, 0x97, {}),
    (FrameKind.UI, 0x13, {}),
    (FrameKind.RR, 0x31, {"receive_sequence": 1}),
    (FrameKind.RNR, 0xF5, {"receive_sequence": 7}),
    (FrameKind.I, 0x52, {"send_sequence": 1, "receive_sequence": 2}),
]


@pytest.mark.parametrize(("kind", "control", "numbers"), CONTROLS)
def test_control_octets(kind: FrameKind, control: int, numbers: dict[str, int]) -> None:
    assert control_of(kind, **numbers) == control  # type: ignore[arg-type]
    assert control_of(kind, poll_final=False, **numbers) == control & ~0x10  # type: ignore[arg-type]
    frame = good_frame(control=control)
    assert frame.kind is kind
    assert frame.poll_final
    assert numbers.get("receive_sequence", frame.receive_sequence) == frame.receive_sequence
    assert numbers.get("send_sequence", frame.send_sequence) == frame.send_sequence


def test_controls_that_nobody_has_are_unknown() -> None:
    unnumbered = (0x83, 0x43, 0x63, 0x0F, 0x87, 0x03)
    for control in range(256):
        known = not control & 1 or control & 0x0F in (1, 5) or control & 0xEF in unnumbered
        assert (good_frame(control=control).kind is FrameKind.UNKNOWN) is not known


def test_a_frame_is_at_most_2047_octets() -> None:
    room = MAX_FRAME - 10
    assert HdlcDecoder().feed(good_frame(bytes(room)).to_bytes()) == [good_frame(bytes(room))]
    with pytest.raises(LocalProtocolError):
        good_frame(bytes(room + 1)).to_bytes()


# --- check sequence -------------------------------------------------------------------------------------


def crc_by_definition(octets: bytes) -> int:
    """CRC-16/X.25 bit by bit."""
    register = 0xFFFF
    for octet in octets:
        register ^= octet
        for _ in range(8):
            register = register >> 1 ^ 0x8408 if register & 1 else register >> 1
    return register ^ 0xFFFF


def test_the_fast_check_is_the_check_of_the_definition() -> None:
    assert crc16_x25(b"123456789") == 0x906E  # the check value of the catalogue of CRCs
    assert crc16_x25(b"") == crc_by_definition(b"") == 0
    rng = random.Random(46)
    for length in (1, 2, 3, 7, 128, 2042):
        for _ in range(50):
            octets = rng.randbytes(length)
            assert crc16_x25(octets) == crc_by_definition(octets)


def test_single_octets_cover_the_whole_table_so_the_equality_holds_for_all_octets() -> None:
    """Both checks are linear: equal on every octet in every state of two octets, equal everywhere."""
    for octet in range(256):
        assert crc16_x25(bytes((octet,))) == crc_by_definition(bytes((octet,)))
        assert crc16_x25(bytes((octet, 0))) == crc_by_definition(bytes((octet, 0)))
        assert crc16_x25(bytes((0, octet))) == crc_by_definition(bytes((0, octet)))


# --- hostile --------------------------------------------------------------------------------------------


def test_fifty_thousand_mutated_streams_leak_no_exception_and_never_a_frame_that_was_not_sent() -> None:
    rng = random.Random(20_250_103)
    sent = [good_frame(rng.randbytes(rng.randrange(60)), rng.randrange(256)) for _ in range(40)]
    known = set(sent)
    frames = errors = 0
    for _ in range(50_000):
        stream = bytearray(b"".join(frame.to_bytes() for frame in rng.sample(sent, 2)))
        for _ in range(rng.randrange(1, 5)):
            place = rng.randrange(len(stream))
            match rng.randrange(4):
                case 0:
                    stream[place] ^= 1 << rng.randrange(8)
                case 1:
                    del stream[place : place + rng.randrange(1, 6)]
                case 2:
                    stream[place:place] = rng.randbytes(rng.randrange(1, 6))
                case _:
                    stream[place:place] = b"\x7e\xa0"
        decoder = HdlcDecoder()
        events = decoder.feed(bytes(stream)) + decoder.end()
        found = [event for event in events if isinstance(event, HdlcFrame)]
        assert known.issuperset(found), stream.hex()
        frames += len(found)
        errors += len(events) - len(found)
    assert frames > 10_000
    assert errors > 40_000


def worst_streams() -> dict[str, bytes]:
    """Octets made to look like the beginning of as many frames as possible, each as long as can be."""
    header = bytes.fromhex("a7ff032113")
    checked = b"\x7e" + header + crc16_x25(header).to_bytes(2, "little")
    flagged = bytearray(checked * 40)
    return {
        "flags": b"\x7e" * 100_000,
        "formats": b"\x7e\xa7\xff" * 33_000,
        "good headers": checked * 12_000,
        "good headers and flags": bytes(flagged) * 300,
        "no flag": bytes(100_000),
        "shortest": b"\x7e\xa0\x07" * 33_000,
    }


@pytest.mark.parametrize("name", worst_streams())
def test_streams_made_to_be_slow_keep_no_memory_and_end(name: str) -> None:
    stream = worst_streams()[name]
    decoder = HdlcDecoder()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    events = sum(len(decoder.feed(stream[place : place + 4096])) for place in range(0, len(stream), 4096))
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert events <= len(stream) // 9
    assert after - before < 20_000
    assert peak - before < 2_000_000


# --- parameters and LLC -----------------------------------------------------------------------------------


@needs_vectors
def test_parameters_of_the_captured_answers() -> None:
    def parameters(name: str) -> HdlcParameters:
        (frame,) = frames_in(octets_of(name))
        return HdlcParameters.from_bytes(frame.information)

    assert parameters("pwitab-test_hdlc-test_hdlc-test_parser_correctly-2") == HdlcParameters(154, 154, 1, 1)
    assert parameters("syn-hdlc-ua-params") == HdlcParameters(128, 128, 1, 1)


def test_parameters_come_back_and_agree_on_the_lesser() -> None:
    ours = HdlcParameters(2030, 1000, 7, 3)
    assert ours.to_bytes().hex() == "818014050207ee060203e8070400000007080400000003"
    assert HdlcParameters.from_bytes(ours.to_bytes()) == ours
    theirs = HdlcParameters(512, 300, 2, 5)
    assert ours.agreed_with(theirs) == HdlcParameters(300, 512, 5, 2)
    assert theirs.agreed_with(ours) == HdlcParameters(512, 300, 2, 5)
    assert HdlcParameters.from_bytes(b"") == HdlcParameters(128, 128, 1, 1)
    assert HdlcParameters.from_bytes(bytes.fromhex("818003" + "0501" + "40")).transmit == 64
    assert HdlcParameters.from_bytes(bytes.fromhex("818004" + "0502" + "ffff")).transmit == 2030


@pytest.mark.parametrize(
    "octets",
    ["00", "8180", "818005", "81800305", "818003050100", "8180030701", "818003070100", "8080030501ff"],
)
def test_parameters_that_cannot_be_are_refused(octets: str) -> None:
    with pytest.raises(RemoteProtocolError):
        HdlcParameters.from_bytes(bytes.fromhex(octets))


def test_parameters_of_our_own_that_cannot_be_are_our_own_error() -> None:
    for wrong in ((2031, 128, 1, 1), (128, 15, 1, 1), (128, 128, 0, 1), (128, 128, 1, 8)):
        with pytest.raises(LocalProtocolError):
            HdlcParameters(*wrong)


def test_the_llc_header_says_who_speaks() -> None:
    assert without_llc(COMMAND + b"apdu", COMMAND) == b"apdu"
    for wrong in (b"", b"\xe6", b"\xe6\xe6", RESPONSE + b"apdu", b"apdu"):
        with pytest.raises(RemoteProtocolError):
            without_llc(wrong, COMMAND)

"""Pushes of real meters in every framing: the APDUs come out whole and in order, or there is one error."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.protocols.dlms.apdus.apdu import decode_apdu
from openami.protocols.dlms.apdus.notification import DataNotification
from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.framing.hdlc_frame import HdlcAddress
from openami.protocols.dlms.framing.hdlc_link import unnumbered_information
from openami.protocols.dlms.framing.llc import RESPONSE
from openami.protocols.dlms.framing.mbus_frame import MBusDecoder, MBusFrame, segmented
from openami.protocols.dlms.framing.push_framing import (
    Framing,
    PushedApdu,
    PushEvent,
    PushReader,
    apdus_of,
    end_of_apdu,
    pushes_of,
)
from openami.protocols.dlms.framing.udp_wrapper import frames_of
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.protection.ciphered_apdu import CipheredApdu
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

FILE = Path(__file__).resolve().parents[3] / "shared" / "data" / "dlms" / "vectors.json"
LAYERS = ("hdlc", "llc-apdu", "mbus", "wrapper", "header", "raw")

# What each vector gives: octets of the APDUs, "error", or nothing (a frame that carries no message).
EXPECTED: dict[str, list[int | str]] = {
    "espdlms-hdlc_iskra550": [340],
    "espdlms-hdlc_kaifa_ma304h3e": [108],
    "espdlms-hdlc_kamstrup_omnipower": [477],
    "espdlms-hdlc_landis_gyr_e450": [126, 129, 38],
    "espdlms-hdlc_landis_gyr_zmf100": ["error"],  # the FCS of the capture is wrong
    "espdlms-hdlc_lgz_e450_2": [126, 129, 38],
    "espdlms-hdlc_norway_han_1phase": [197],
    "espdlms-hdlc_norway_han_3phase": [566],
    "espdlms-mbus_kmswest": [88],
    "espdlms-mbus_netz_noe_p1": [260],
    "espdlms-raw_egd_example": ["error"],  # fields without tags: not to be told from a cut APDU
    "espdlms-raw_sagecom_xt211": ["error"],  # the same
    "espdlms-raw_energomera": [274],
    "espdlms-raw_salzburg_netz": [336],
    "amshan-hdlc-escape-char-in-info": [29],
    "amshan-hdlc-flag-in-info": [26],
    "amshan-hdlc-start-in-frame": ["error"],  # then a frame with no APDU in it, which the same error covers
    "amshan-hdlc-empty-info": [],
    "amshan-hdlc-too-short": ["error"],
    "amshan-hdlc-abort": ["error"],
    "amshan-hdlc-two-frames-one-flag": ["error"],  # two octets of information that are no APDU
    "amshan-hdlc-two-frames-many-flags": ["error"],
    "amshan-hdlc-stuffed": ["error"],
    "pwitab-test_hdlc-test_hdlc-test_parses_correct-1": [],
    "pwitab-test_hdlc-test_hdlc-test_parser_correctly-2": [],
    "pwitab-test_hdlc-test_hdlc-test_construct-3": [31],
    "pwitab-test_hdlc-test_hdlc-test_contruct-5": [43],
    "pwitab-test_hdlc-test_hdlc-test_parse-7": [566],
    "issue-u9n97-flag-in-fcs": [12],
    "issue-u9n97-request": ["error"],
    "issue-u9n62-echo": [],
    "issue-u9n95-frmr": [],
    "issue-ams155-bad-len-mbus": ["error"],  # the last segment alone
    "issue-ams1198-empty-system-title": ["error"],  # a header without its tag and its APDU
    "issue-roarfred29-missing-09": [18],
    "syn-wrapper-len-short": ["error"],
    "syn-hdlc-len-2047": [2024],
    "syn-hdlc-bad-hcs": ["error"],
    "syn-hdlc-addr-never-ends": ["error"],
    "syn-hdlc-ua-params": [],
}


@cache
def vectors() -> dict[str, dict[str, Any]]:
    if not FILE.exists():
        return {}
    entries = orjson.loads(FILE.read_bytes())
    return {entry["id"]: entry for entry in entries if entry["layer"] in LAYERS}


needs_vectors = pytest.mark.skipif(not vectors(), reason="no vectors beside the project (shared/data/dlms)")


def octets_of(name: str) -> bytes:
    return bytes.fromhex(vectors()[name]["frame_hex"])


def expected_of(name: str) -> list[int | str]:
    whole = [len(octets_of(name)) - 3] if vectors()[name]["layer"] == "llc-apdu" else []
    return EXPECTED.get(name, whole)


def apdus(events: list[PushEvent]) -> list[bytes]:
    return [event.apdu for event in events if isinstance(event, PushedApdu)]


def notification(number: int, octets: int = 20) -> bytes:
    return DataNotification(number, b"", Data(Tag.OCTET_STRING, bytes(octets))).to_bytes()


# --- captures -------------------------------------------------------------------------------------------


@needs_vectors
@pytest.mark.parametrize("name", vectors())
def test_a_capture_gives_its_apdus(name: str) -> None:
    events = pushes_of(octets_of(name))
    found = [len(event.apdu) if isinstance(event, PushedApdu) else "error" for event in events]
    assert found == expected_of(name)


@needs_vectors
@pytest.mark.parametrize("name", vectors())
def test_a_captured_notification_or_ciphered_apdu_is_the_expected_one(name: str) -> None:
    expected = vectors()[name]["expected"] or {}
    found = apdus(pushes_of(octets_of(name)))
    if "ciphering" in expected and "gbt_blocks" not in expected:
        (apdu,) = found
        ciphered = CipheredApdu.from_bytes(apdu)
        wanted = expected["ciphering"]
        assert ciphered.title == bytes.fromhex(wanted["system-title"])
        assert ciphered.header.counter == wanted["invocation-counter"]
        assert len(ciphered.text) + 5 == wanted["length"]
    elif "gbt_blocks" in expected:
        assert len(found) == expected["gbt_blocks"]
        assert [apdu[0] for apdu in found] == [0xE0] * len(found)
    elif "data-notification" in expected:
        (apdu,) = found
        decoded = decode_apdu(apdu)
        assert isinstance(decoded, DataNotification)
        wanted = expected["data-notification"]
        assert f"{decoded.long_invoke:08x}" == wanted["long-invoke-id-and-priority"]
        assert decoded.date_time.hex() == wanted["date-time"]
        tag, value = next(iter(wanted["body"].items()))
        assert decoded.body.tag.name.lower().replace("_", "-") == tag
        assert len(decoded.body.value) == len(value)  # type: ignore[arg-type]


@needs_vectors
@pytest.mark.parametrize("name", [name for name, entry in vectors().items() if entry["layer"] == "mbus"])
def test_captured_m_bus_frames_have_the_expected_fields_and_come_back(name: str) -> None:
    decoder = MBusDecoder()
    frames = decoder.feed(octets_of(name)) + decoder.end()
    assert all(isinstance(frame, MBusFrame) for frame in frames)
    assert b"".join(frame.to_bytes() for frame in frames) == octets_of(name)  # type: ignore[union-attr]
    expected = (vectors()[name]["expected"] or {}).get("mbus")
    if expected is None:
        assert name == "issue-ams155-bad-len-mbus"
        expected = [{"L": 13, "C": 0x53, "A": 0xFF, "CI": 0x11, "STSAP": 1, "DTSAP": 0x67}]
    for frame, wanted in zip(frames, expected, strict=True):
        assert isinstance(frame, MBusFrame)
        ends = frame.data[0], frame.data[1]
        assert (frame.control, frame.address, frame.ci) == (wanted["C"], wanted["A"], wanted["CI"])
        assert ends == (wanted["STSAP"], wanted["DTSAP"])
        assert len(frame.data) + 3 == wanted["L"]


@needs_vectors
@pytest.mark.parametrize("name", [name for name in vectors() if len(octets_of(name)) < 700])
def test_cut_at_every_octet_only_whole_apdus_come_and_then_one_error(name: str) -> None:
    octets = octets_of(name)
    whole = apdus(pushes_of(octets))
    silent = expected_of(name) == []
    for cut in range(1, len(octets)):
        reader = PushReader()
        before = reader.feed(octets[:cut])
        after = reader.end()
        found = apdus(before)
        assert found == whole[: len(found)], cut
        assert len(found) == len(before), cut
        assert not apdus(after), cut
        if not silent and len(found) < len(whole):
            boundary = found and octets[:cut].endswith((b"\x7e", b"\x7e\x7e"))
            assert len(after) == 1 or boundary, cut
        assert len(after) <= 1, cut


@needs_vectors
def test_every_framing_is_recognised_and_tells_both_ends() -> None:
    def told(name: str) -> tuple[Framing, int | None, int | None]:
        event = pushes_of(octets_of(name))[0]
        assert isinstance(event, PushedApdu)
        return event.framing, event.source, event.destination

    assert told("espdlms-hdlc_iskra550") == (Framing.HDLC, 1, 103)
    assert told("espdlms-mbus_netz_noe_p1") == (Framing.MBUS, 1, 103)
    assert told("espdlms-raw_energomera") == (Framing.NONE, None, None)
    (event,) = pushes_of(Frame(1, 102, notification(1)).to_bytes())
    assert isinstance(event, PushedApdu)
    assert (event.framing, event.source, event.destination) == (Framing.WRAPPER, 1, 102)


@needs_vectors
@pytest.mark.parametrize(
    "name", [name for name in vectors() if [n for n in expected_of(name) if n != "error"]]
)
def test_an_apdu_comes_with_the_octets_that_it_came_from(name: str) -> None:
    octets = octets_of(name)
    for event in pushes_of(octets):
        assert isinstance(event, PushedApdu)
        assert event.octets in octets
        if len(expected_of(name)) == 1:
            assert event.octets == octets


@needs_vectors
def test_the_same_capture_again_and_again_on_one_line() -> None:
    for name in ("espdlms-hdlc_iskra550", "espdlms-mbus_netz_noe_p1", "espdlms-hdlc_lgz_e450_2"):
        reader = PushReader()
        (*whole,) = apdus(pushes_of(octets_of(name)))
        for _ in range(5):
            events = reader.feed(octets_of(name))
            assert apdus(events) == whole
            assert len(events) == len(whole)
        assert reader.end() == []


# --- several in one, and holes ----------------------------------------------------------------------------


def test_three_apdus_in_one_frame_are_three() -> None:
    """smartmeter-datacollector issue 74: E6E7000F... three times in one HDLC frame."""
    three = [notification(number) for number in (1, 2, 3)]
    message = b"".join(RESPONSE + apdu for apdu in three)
    (frame,) = unnumbered_information(message, HdlcAddress(103), HdlcAddress(1, 17, 2), 2030)
    events = pushes_of(frame.to_bytes())
    assert apdus(events) == three
    assert {event.octets for event in events if isinstance(event, PushedApdu)} == {frame.to_bytes()}
    assert apdus(pushes_of(Frame(1, 102, b"".join(three)).to_bytes())) == three
    assert apdus(pushes_of(b"".join(three))) == three
    assert apdus(pushes_of(message)) == three
    bare = pushes_of(message)[1]
    assert isinstance(bare, PushedApdu)
    assert bare.octets == RESPONSE + three[1]


def test_what_cannot_be_taken_apart_is_one_apdu_where_a_frame_says_that_it_is_whole() -> None:
    odd = notification(1) + b"\x99\x99"
    assert apdus_of(RESPONSE + odd) == [odd]
    assert apdus_of(b"") == []
    events = pushes_of(odd)
    assert apdus(events) == [notification(1)]
    assert isinstance(events[1], RemoteProtocolError)


@pytest.mark.parametrize("framing", [Framing.HDLC, Framing.MBUS])
@pytest.mark.parametrize("lost", range(4))
def test_a_message_with_a_hole_is_given_up_with_one_error_and_the_next_one_comes(
    framing: Framing, lost: int
) -> None:
    apdu, next_apdu = notification(1, 700), notification(2, 700)

    def frames_for(octets: bytes) -> list[bytes]:
        if framing is Framing.MBUS:
            return [frame.to_bytes() for frame in segmented(octets, 1, 103)]
        ends = HdlcAddress(103), HdlcAddress(1, 17, 2)
        return [frame.to_bytes() for frame in unnumbered_information(RESPONSE + octets, *ends, 200)]

    frames = frames_for(apdu)
    if lost >= len(frames):
        assert framing is Framing.MBUS
        return
    damaged = bytearray(frames[lost])
    damaged[len(damaged) // 2] ^= 0x10
    frames[lost] = bytes(damaged)
    reader = PushReader(framing)
    events = reader.feed(b"".join(frames))
    events += reader.feed(b"".join(frames_for(next_apdu)))
    assert apdus(events) == [next_apdu]
    assert len(events) == 2
    assert reader.end() == []


def test_a_segment_that_never_comes_is_an_error_when_the_next_message_begins() -> None:
    ends = HdlcAddress(103), HdlcAddress(1, 17, 2)
    first, _, _ = unnumbered_information(RESPONSE + notification(1, 500), *ends, 200)
    (whole,) = unnumbered_information(RESPONSE + notification(2), *ends, 200)
    reader = PushReader()
    error, good = reader.feed(first.to_bytes() + whole.to_bytes())
    assert isinstance(error, RemoteProtocolError)
    assert apdus([good]) == [notification(2)]


def test_segments_of_two_meters_on_one_line_are_not_mixed() -> None:
    one = unnumbered_information(
        RESPONSE + notification(1, 300), HdlcAddress(103), HdlcAddress(1, 17, 2), 200
    )
    two = unnumbered_information(
        RESPONSE + notification(2, 300), HdlcAddress(103), HdlcAddress(2, 17, 2), 200
    )
    mixed = b"".join(frame.to_bytes() for frame in (one[0], two[0], one[1], two[1]))
    events = pushes_of(mixed)
    assert apdus(events) in ([], [notification(2, 300)])
    assert events


def test_m_bus_segments_are_counted_to_sixteen() -> None:
    apdu = notification(1, 3980)
    frames = segmented(apdu, 1, 103)
    assert len(frames) == 16
    assert apdus(pushes_of(b"".join(frame.to_bytes() for frame in frames))) == [apdu]
    missing = frames[:5] + frames[6:]
    (error,) = pushes_of(b"".join(frame.to_bytes() for frame in missing))
    assert isinstance(error, RemoteProtocolError)
    with pytest.raises(LocalProtocolError):
        segmented(notification(1, 4000), 1, 103)


def test_a_message_without_end_is_refused() -> None:
    ends = HdlcAddress(103), HdlcAddress(1, 17, 2)
    first, *_ = unnumbered_information(RESPONSE + bytes(3000), *ends, 2000)
    more = type(first)(*ends, 0x03, bytes(2000), True)
    reader = PushReader(Framing.HDLC)
    events = reader.feed(first.to_bytes() + more.to_bytes() * 40)
    assert len(events) == 1
    assert isinstance(events[0], RemoteProtocolError)
    endless = PushReader()
    events = [event for _ in range(5) for event in endless.feed(b"\x0f" + bytes(60_000))]
    assert len(events) == 1


def test_noise_before_the_first_frame_does_not_hide_what_the_line_is() -> None:
    for frame in (segmented(notification(1), 1, 103)[0].to_bytes(),):
        error, event = pushes_of(b"\x00noise\x7e\xa0\x68" + frame)
        assert isinstance(error, RemoteProtocolError)
        assert apdus([event]) == [notification(1)]


def test_bare_apdus_are_cut_by_silence_and_recognised_anew() -> None:
    reader = PushReader()
    assert reader.feed(notification(1)) == []
    assert apdus(reader.silence()) == [notification(1)]
    assert reader.feed(notification(2)[:-1]) == []
    (error,) = reader.silence()
    assert isinstance(error, RemoteProtocolError)
    reader.feed(Frame(1, 2, notification(3)).to_bytes()[:9])
    assert apdus(reader.feed(Frame(1, 2, notification(3)).to_bytes()[9:])) == [notification(3)]
    assert reader.framing is Framing.WRAPPER


@pytest.mark.parametrize(
    ("apdu", "after"),
    [
        ("db 00 03 30 00 00", 6),
        ("c8 02 30 00", 4),
        ("e0 80 0001 0000 02 0f 00", 9),
        ("0f 00000001 090c 07e1090f05052128ff800000 00", 20),
        ("c2 00 0001 0000600100ff 02 11 05", 13),
        ("dd 0000", 3),
    ],
)
def test_where_a_pushed_apdu_ends(apdu: str, after: int) -> None:
    octets = bytes.fromhex(apdu)
    assert end_of_apdu(octets + (b"" if octets[0] == 0xDD else b"\xff")) == after
    for cut in range(len(octets) if octets[0] != 0xDD else 1):
        with pytest.raises(RemoteProtocolError):
            end_of_apdu(octets[:cut])


# --- M-Bus and datagrams ------------------------------------------------------------------------------------


def test_good_m_bus_frames_between_bad_ones_come_through() -> None:
    good = MBusFrame(0x53, 0xFF, 0x10, b"\x01\x67good").to_bytes()
    octets = MBusFrame(0x53, 0xFF, 0x10, b"\x01\x67\x68\x05\x05\x68bad").to_bytes()
    bad = [octets[:length] for length in range(2, len(octets))]
    bad += [
        octets[:place] + bytes((octets[place] ^ 0x21,)) + octets[place + 1 :] for place in range(len(octets))
    ]
    for wrong in bad:
        decoder = MBusDecoder()
        events = decoder.feed(good + wrong + good) + decoder.end()
        frames = [event.to_bytes() for event in events if isinstance(event, MBusFrame)]
        assert frames == [good, good], wrong.hex()
        assert len(events) == 3, wrong.hex()


def test_m_bus_frames_that_do_not_fit_are_our_own_error() -> None:
    assert len(MBusFrame(0x53, 0xFF, 0x10, bytes(252)).to_bytes()) == 261
    with pytest.raises(LocalProtocolError):
        MBusFrame(0x53, 0xFF, 0x10, bytes(253)).to_bytes()


def test_a_datagram_holds_whole_frames_or_ends_in_one_error() -> None:
    first, second = Frame(1, 2, b"one"), Frame(3, 4, b"two")
    both = first.to_bytes() + second.to_bytes()
    assert frames_of(both) == [first, second]
    for cut in range(len(both)):
        events = frames_of(both[:cut])
        whole = [event for event in events if isinstance(event, Frame)]
        assert whole == [first, second][: cut // 11]
        assert len(events) - len(whole) == int(cut not in (11, 22))
    assert len(frames_of(both + b"\x00\x02" + both)) == 3


# --- hostile ------------------------------------------------------------------------------------------------


def test_twenty_thousand_mutated_pushes_leak_nothing_and_give_no_framed_apdu_that_was_not_sent() -> None:
    rng = random.Random(20_250_104)
    known = [notification(number, rng.randrange(300)) for number in range(12)]
    ends = HdlcAddress(103), HdlcAddress(1, 17, 2)
    streams = [
        b"".join(frame.to_bytes() for frame in unnumbered_information(RESPONSE + apdu, *ends, 140))
        for apdu in known[:6]
    ] + [b"".join(frame.to_bytes() for frame in segmented(apdu, 1, 103)) for apdu in known[6:]]
    found = errors = 0
    for _ in range(20_000):
        stream = bytearray(b"".join(rng.sample(streams[:6] if rng.random() < 0.5 else streams[6:], 2)))
        for _ in range(rng.randrange(1, 4)):
            place = rng.randrange(len(stream))
            if rng.random() < 0.5:
                stream[place] ^= 1 << rng.randrange(8)
            else:
                del stream[place : place + rng.randrange(1, 9)]
        events = pushes_of(bytes(stream))
        assert all(isinstance(event, PushedApdu | RemoteProtocolError) for event in events)
        framed = [e.apdu for e in events if isinstance(e, PushedApdu) and e.framing is Framing.HDLC]
        assert set(framed) <= set(known), stream.hex()
        found += len(apdus(events))
        errors += len(events) - len(apdus(events))
    assert found > 5_000
    assert errors > 10_000


@settings(max_examples=400, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_octets_cut_anyhow_give_events(pieces: list[bytes]) -> None:
    reader = PushReader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    events += reader.silence()
    events += reader.end()
    assert all(isinstance(event, PushedApdu | RemoteProtocolError) for event in events)

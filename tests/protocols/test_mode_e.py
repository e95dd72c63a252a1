"""The sign-on of IEC 62056-21 mode E: both roles agree on the speed, and nothing else gets into HDLC."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.protocols.dlms.framing.mode_e import (
    OPENING,
    Identification,
    LineSettings,
    ModeEClient,
    ModeEServer,
    SignOnState,
)
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

METER = Identification("OAM", "5", "2", "OPENAMI")


def even_parity(octets: bytes) -> bytes:
    """Octets as a port of 8 data bits shows a line of 7 with even parity."""
    return bytes(octet | (octet.bit_count() & 1) << 7 for octet in octets)


def test_the_octets_of_a_sign_on() -> None:
    client, meter = ModeEClient(fastest=9600), ModeEServer(METER)
    assert client.line == meter.line == OPENING == LineSettings(300, 7, "E")
    request = client.start()
    assert request == b"/?!\r\n"
    identification = meter.receive(request)
    assert identification == b"/OAM5\\2OPENAMI\r\n"
    choice = client.receive(identification)
    assert choice == b"\x06252\r\n"
    assert client.line == LineSettings(9600, 7, "E")
    confirmation = meter.receive(choice)
    assert confirmation == b"\x06252\r\n"
    assert meter.state is SignOnState.HDLC
    assert client.receive(confirmation) == b""
    assert client.state is SignOnState.HDLC
    assert client.line == meter.line == LineSettings(9600, 8, "N")
    assert client.identification == METER


@pytest.mark.parametrize(("fastest", "choice"), [(300, "0"), (2400, "3"), (5000, "4"), (115_200, "5")])
def test_the_slower_of_both_ports_decides(fastest: int, choice: str) -> None:
    client, meter = ModeEClient(fastest=fastest), ModeEServer(METER)
    chosen = client.receive(meter.receive(client.start()))
    assert chosen == f"\x062{choice}2\r\n".encode()
    client.receive(meter.receive(chosen))
    assert client.line == meter.line
    assert client.line.baud <= min(fastest, 9600)


def test_parity_bits_echoes_and_octets_one_by_one() -> None:
    client, meter = ModeEClient("12345"), ModeEServer(METER, "0012345")

    def line(octets: bytes) -> bytes:
        """What the client hears: its own echo, then the meter's answer."""
        answer = b"".join(meter.receive(even_parity(bytes((octet,)))) for octet in octets)
        return even_parity(octets + answer)

    outgoing = client.start()
    for _ in range(4):
        heard = line(outgoing)
        outgoing = b"".join(client.receive(bytes((octet,))) for octet in heard)
        if client.state is SignOnState.HDLC:
            break
    assert client.state is meter.state is SignOnState.HDLC


def test_only_the_meter_that_is_called_answers() -> None:
    meter = ModeEServer(METER, "42")
    assert meter.receive(b"/?43!\r\n") == b""
    assert meter.receive(b"/?!\r\n")
    assert meter.receive(b"\x06202\r\n") == b"\x06202\r\n"
    assert ModeEServer(METER, "42").receive(b"/?0042!\r\n")
    assert ModeEServer(METER).receive(b"\x06252\r\n") == b"", "a choice without a request before it"


@pytest.mark.parametrize("choice", [b"\x06262\r\n", b"\x06050\r\n", b"\x06251\r\n", b"\x062X2\r\n"])
def test_a_choice_that_was_not_offered_is_ignored(choice: bytes) -> None:
    meter = ModeEServer(METER)
    meter.receive(b"/?!\r\n")
    assert meter.receive(choice) == b""
    assert meter.state is SignOnState.IDENTIFYING


@pytest.mark.parametrize(
    "answer", [b"/OAM5\\3OPENAMI\r\n", b"/OAMX\\2OPENAMI\r\n", b"/1AM5\\2\r\n", b"/OA\r\n"]
)
def test_a_meter_without_hdlc_is_one_error(answer: bytes) -> None:
    client = ModeEClient()
    client.start()
    with pytest.raises(RemoteProtocolError):
        client.receive(answer)


def test_another_confirmation_is_an_error() -> None:
    client, meter = ModeEClient(), ModeEServer(METER)
    client.receive(meter.receive(client.start()))
    with pytest.raises(RemoteProtocolError):
        client.receive(b"\x06242\r\n")


def test_what_we_may_not_ask_is_our_own_error() -> None:
    with pytest.raises(LocalProtocolError):
        ModeEClient("12 34")
    with pytest.raises(LocalProtocolError):
        ModeEServer(Identification("OAM", "5", "", "no HDLC"))
    client, meter = ModeEClient(), ModeEServer(METER)
    client.receive(meter.receive(client.start()))
    with pytest.raises(LocalProtocolError):
        client.start()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(st.binary(max_size=40), st.sampled_from([b"/?!\r\n", b"\x06252\r\n", b"/"])), max_size=8
    )
)
def test_any_octets_leave_both_ends_alive(pieces: list[bytes]) -> None:
    meter, client = ModeEServer(METER), ModeEClient()
    client.start()
    for piece in pieces:
        meter.receive(piece)
        try:
            client.receive(piece)
        except RemoteProtocolError:
            client = ModeEClient()
            client.start()


def test_an_endless_line_is_not_kept() -> None:
    meter = ModeEServer(METER)
    rng = random.Random(21)
    for _ in range(100):
        meter.receive(rng.randbytes(1000).replace(b"\r", b"").replace(b"\x8d", b""))
    assert len(meter._lines._buffer) <= 128
    assert meter.receive(b"/?!\r\n")

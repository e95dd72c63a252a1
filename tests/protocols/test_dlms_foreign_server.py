"""What a server of others answered, replayed to our client: the same octets are asked, the same values found.

The sessions are recorded from the example servers of Gurux's C library, 2026-11-23 (see the README beside
them). Everything that they show was read by a client of others too, when they were recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

from openami.protocols.dlms.apdus.apdu import decode_apdu
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.descriptors import Attribute, Method, by_entry, by_range
from openami.protocols.dlms.apdus.notification import DataNotification
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.client import association as client_association
from openami.protocols.dlms.client.association import Association, Operation
from openami.protocols.dlms.client.association_state import State
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.client.image_upload import ImageUpload
from openami.protocols.dlms.client.object_list import ObjectList, object_list
from openami.protocols.dlms.client.profile_table import capture_objects
from openami.protocols.dlms.encoding.axdr import Data, Plain, Tag, array, decode_plain, encode, structure
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.framing.hdlc_channel import HdlcChannel
from openami.protocols.dlms.framing.hdlc_frame import HdlcAddress
from openami.protocols.dlms.framing.mode_e import ModeEClient, SignOnState
from openami.protocols.dlms.framing.push_framing import PushedApdu, PushReader
from openami.protocols.dlms.framing.wrapper import WrapperChannel
from openami.protocols.dlms.protection.ciphered_apdu import Form
from openami.protocols.dlms.protection.ciphering import Cipher
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.errors import ProtectionError, RemoteProtocolError
from openami.quantities.obis import ObisCode
from openami.security.counters import MemoryCounters, ReceiveCounters, SendCounter
from openami.security.meter_keys import MeterKeys
from openami.security.secret import Secret

T = TypeVar("T")

SESSIONS = Path(__file__).resolve().parents[1] / "cases" / "dlms_foreign_server"
TITLE, METER = b"OPA\0\0\0\0\1", b"ABCDEFGH"
CHALLENGE = bytes(range(0x40, 0x50))
NAME, ENERGY, RELAY = ObisCode(0, 0, 42, 0, 0), ObisCode(1, 1, 21, 25, 0), ObisCode(0, 0, 96, 3, 10)
VIEW, PROFILE, CALENDAR = ObisCode(0, 0, 40, 0, 0), ObisCode(1, 0, 99, 1, 0), ObisCode(0, 0, 13, 0, 0)
NOWHERE = ObisCode(1, 0, 99, 99, 9)
NOTHING = Data(Tag.INTEGER, 0)


@pytest.fixture(autouse=True)
def _nothing_is_random(monkeypatch: pytest.MonkeyPatch) -> None:
    """Challenge and dedicated key as when the sessions were recorded."""

    def drawn(kind: type[Secret], octets: int) -> Secret:
        return kind(bytes(range(0xB0, 0xB0 + octets)))

    monkeypatch.setattr(client_association, "new_challenge", lambda: CHALLENGE)
    monkeypatch.setattr(Secret, "random", classmethod(drawn))


class Recorded:
    """A server that only knows its lines; ``cut`` octets of an answer come at a time, 0 for all of them."""

    def __init__(self, name: str, cut: int = 0) -> None:
        lines = (SESSIONS / f"{name}.txt").read_text("ascii").splitlines()
        self._turns = [
            (bytes.fromhex(said[2:]), bytes.fromhex(heard[2:]))
            for said, heard in zip(lines[::2], lines[1::2], strict=True)
        ]
        self._cut = cut

    def run(self, operation: Operation[T]) -> T:
        """The result of an operation that must say what was recorded."""
        said = next(operation)
        while True:
            expected, answer = self._turns.pop(0)
            assert said.hex() == expected.hex()
            size = self._cut or len(answer)
            for start in range(0, len(answer), size):
                try:
                    said = operation.send(answer[start : start + size])
                except StopIteration as done:
                    assert start + size >= len(answer), "a result before the answer was whole"
                    return done.value  # type: ignore[no-any-return]
                assert not said or start + size >= len(answer), "a turn before the answer was whole"

    @property
    def finished(self) -> bool:
        """True where nothing is left to be said."""
        return not self._turns


def keys(suite: int) -> MeterKeys:
    octets = 32 if suite == 2 else 16
    unicast, authentication = bytes(range(octets)), bytes(range(0xD0, 0xD0 + octets))
    return MeterKeys(Secret(unicast), Secret(authentication), Secret(b"1" * octets), None, suite)


def hashed(mechanism: Mechanism) -> ClientSecurity:
    return ClientSecurity(TITLE, None, mechanism, Protection.NONE, Form.GLOBAL, Secret(b"Gurux"))


def gmac(
    protection: Protection = AUTHENTICATED_ENCRYPTION, form: Form = Form.GLOBAL, suite: int = 0
) -> ClientSecurity:
    return ClientSecurity(TITLE, keys(suite), Mechanism.HIGH_GMAC, protection, form)


# --- what is done in each session -------------------------------------------------------------------------


def view(server: Recorded, client: Association) -> ObjectList:
    """The association view, in blocks."""
    return object_list(server.run(client.get(Attribute(15, VIEW, 2))))


def three_values(server: Recorded, client: Association) -> list[Plain]:
    asked = (Attribute(15, VIEW, 1), Attribute(1, NAME, 2), Attribute(3, ENERGY, 3))
    return [server.run(client.get(attribute)) for attribute in asked]


def a_list(server: Recorded, client: Association) -> list[Plain | AccessError]:
    """Three values, then two of them in a list with one that is not there, and that one alone."""
    values: list[Plain | AccessError] = [*three_values(server, client)]
    asked = [Attribute(3, ENERGY, 3), Attribute(1, NAME, 2), Attribute(3, NOWHERE, 2)]
    values += server.run(client.get_with_list(asked))
    with pytest.raises(AccessError) as refused:
        server.run(client.get(asked[-1]))
    return [*values, refused.value]


def the_relay(server: Recorded, client: Association) -> list[Plain]:
    """Opened and closed, and a name written and read back."""
    seen = []
    for method in (1, 2):
        server.run(client.action(Method(70, RELAY, method), NOTHING))
        seen.append(server.run(client.get(Attribute(70, RELAY, 2))))
    season = Attribute(20, CALENDAR, 6)
    server.run(client.set(season, Data(Tag.OCTET_STRING, b"SUMMER")))
    return [*seen, server.run(client.get(season))]


def a_profile(server: Recorded, client: Association) -> dict[str, Any]:
    """Emptied, captured four times; columns, all rows, rows by entry and by range."""
    for method in (1, 2, 2, 2, 2):
        server.run(client.action(Method(7, PROFILE, method), NOTHING))
    columns = decode_plain(server.run(client.get_encoded(Attribute(7, PROFILE, 3))))
    buffer = Attribute(7, PROFILE, 2)
    start, end = (datetime(2026, 11, 23, 18, 8, second, tzinfo=UTC) for second in (51, 52))
    return {
        "columns": capture_objects(columns),
        "all": decode_plain(server.run(client.get_encoded(buffer))),
        "entries": decode_plain(server.run(client.get_encoded(buffer, by_entry(2, 3)))),
        "range": decode_plain(server.run(client.get_encoded(buffer, by_range(start, end)))),
    }


def day_profiles(server: Recorded, client: Association) -> bool:
    """318 octets written in three segments of HDLC, and read back."""
    script = Data(Tag.OCTET_STRING, bytes.fromhex("00000a0064ff"))
    days = array(
        structure(
            Data(Tag.UNSIGNED, day),
            array(
                structure(
                    Data(Tag.OCTET_STRING, bytes((hour, 0, 0, 0))),
                    script,
                    Data(Tag.LONG_UNSIGNED, 1 + hour % 2),
                )
                for hour in range(8)
            ),
        )
        for day in (1, 2)
    )
    passive = Attribute(20, CALENDAR, 9)
    server.run(client.set(passive, days))
    return server.run(client.get_encoded(passive)) == encode(days)


def an_image(server: Recorded, client: Association) -> int:
    """250 octets in blocks of 100; the server's bitmap grows with them, from no bits at all."""
    upload = ImageUpload(ObisCode(0, 0, 44, 0, 0), b"IMAGE1", bytes(range(250)))
    server.run(upload.transfer(client))
    return upload.blocks_sent


Session = tuple[int, ClientSecurity | None, Callable[[Recorded, Association], Any]]
SESSIONS_BY_NAME: dict[str, Session] = {
    "none-wrapper-view": (16, None, view),
    "low-hdlc-view": (17, None, view),
    "low-wrapper-list": (17, None, a_list),
    "md5-hdlc": (18, hashed(Mechanism.HIGH_MD5), three_values),
    "sha1-wrapper": (18, hashed(Mechanism.HIGH_SHA1), the_relay),
    "gmac-plain-hdlc": (1, gmac(Protection.NONE), three_values),
    "gmac-encryption-hdlc": (1, gmac(Protection.ENCRYPTED), a_list),
    "gmac-glo-wrapper-profile": (1, gmac(), a_profile),
    "gmac-glo-hdlc-segments": (1, gmac(), day_profiles),
    "gmac-glo-hdlc-image": (1, gmac(), an_image),
    "gmac-ded-wrapper": (1, gmac(form=Form.DEDICATED), the_relay),
    "gmac-ded-hdlc": (1, gmac(form=Form.DEDICATED), a_list),
    "gmac-general-glo-wrapper": (1, gmac(form=Form.GENERAL_GLOBAL), a_list),
    "gmac-general-ded-hdlc": (1, gmac(form=Form.GENERAL_DEDICATED), the_relay),
    "gmac-suite-1-wrapper": (1, gmac(suite=1), three_values),
    "gmac-suite-2-hdlc": (1, gmac(suite=2), the_relay),
}
RELAY_SEEN = [False, True, b"SUMMER"]
VALUES = [VIEW.to_bytes(), b"GRX0000000123456", (-2, 30)]
LISTED = [*VALUES, *VALUES[:0:-1], AccessResult.OBJECT_UNDEFINED, AccessResult.READ_WRITE_DENIED]


def played(name: str, cut: int = 0) -> Any:
    """What a session gives; every octet that was recorded is said and heard, and nothing else."""
    client, security, done = SESSIONS_BY_NAME[name]
    server = Recorded(name, cut)
    password = b"Gurux" if client == 17 else None
    line = HdlcChannel(client, HdlcAddress.of(1)) if "-hdlc" in name else None
    if line is not None:
        server.run(line.connect())
    channel = line or WrapperChannel(client, 1)
    # What is kept of counters is kept for one association.
    fresh = None if security is None else renewed(security)
    association = Association(1, client, password, channel=channel, security=fresh)
    server.run(association.associate())
    assert association.server_max_pdu == 512
    found = done(server, association)
    server.run(association.release())
    assert association.state is State.IDLE
    if line is not None:
        server.run(line.disconnect())
    assert server.finished
    return found


def renewed(security: ClientSecurity) -> ClientSecurity:
    return ClientSecurity(
        security.title, security.keys, security.mechanism, security.protection, security.form, security.secret
    )


def results(values: list[Plain | AccessError]) -> list[Plain | AccessResult]:
    return [value.result if isinstance(value, AccessError) else value for value in values]


@pytest.mark.parametrize("cut", [0, 1, 7])
@pytest.mark.parametrize(
    "name", [name for name, (_, _, done) in SESSIONS_BY_NAME.items() if done in (three_values, the_relay)]
)
def test_values_relay_and_calendar(name: str, cut: int) -> None:
    found = played(name, cut)
    if SESSIONS_BY_NAME[name][2] is the_relay:
        assert found == RELAY_SEEN
    elif name == "gmac-plain-hdlc":  # the other example server: a name with an end, another scaler
        assert found == [VALUES[0], b"GRX0000000123456\0", (3, 30)]
    else:
        assert found == VALUES


@pytest.mark.parametrize("name", [name for name, (_, _, done) in SESSIONS_BY_NAME.items() if done is a_list])
def test_a_list_with_an_object_that_is_not_there(name: str) -> None:
    assert results(played(name, 5)) == LISTED


def test_the_view_in_blocks_and_in_segments() -> None:
    """52 objects in ten blocks, over the wrapper and over HDLC in frames of 128 octets."""
    public, low = played("none-wrapper-view"), played("low-hdlc-view", 100)
    assert len(public) == len(low) == 52
    assert [item.class_id for item in public] == [item.class_id for item in low]
    register, clock = low.find(ENERGY), low.find(ObisCode(0, 0, 1, 0, 0))
    assert (register.class_id, register.version, len(register.attributes)) == (3, 0, 3)
    assert (clock.class_id, clock.right(2).text, public.find(clock.logical_name).right(2).text) == (
        8,
        "rw",
        "r",
    )
    assert [method.allowed for method in clock.methods] == [True] * 6
    assert low.objects[-1].class_id == 48


def test_rows_of_a_profile_by_entry_and_by_range() -> None:
    """Four rows a second apart: all, the second and third by number, and the same two by time."""
    found = played("gmac-glo-wrapper-profile")
    assert [(column.class_id, column.attribute) for column in found["columns"]] == [(8, 2), (3, 2)]
    times = [CosemDateTime.from_bytes(time).second for time, _ in found["all"]]
    assert times == [50, 51, 52, 53]
    assert [count for _, count in found["all"]] == [3, 5, 7, 9]
    assert found["entries"] == found["range"] == found["all"][1:3]


def test_a_value_in_three_segments_comes_back() -> None:
    assert played("gmac-glo-hdlc-segments", 3) is True


def test_an_image_whose_bitmap_grows() -> None:
    assert played("gmac-glo-hdlc-image") == 3


# --- notifications ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
@pytest.mark.parametrize("ciphered", [False, True])
def test_a_push_is_heard(framing: str, ciphered: bool) -> None:
    name = f"push-{framing}{'-ciphered' if ciphered else ''}"
    octets = bytes.fromhex((SESSIONS / f"{name}.txt").read_text("ascii")[2:])
    reader = PushReader()
    (pushed,) = [*reader.feed(octets), *reader.end()]
    assert isinstance(pushed, PushedApdu)
    apdu = pushed.apdu
    if ciphered:
        counters = MemoryCounters()
        cipher = Cipher(keys(0), TITLE, METER, SendCounter(counters, "us"), ReceiveCounters(counters))
        apdu = cipher.open(apdu, AUTHENTICATED_ENCRYPTION).apdu
        with pytest.raises(ProtectionError):
            cipher.open(pushed.apdu)
    notification = decode_apdu(apdu)
    assert isinstance(notification, DataNotification)
    assert (notification.long_invoke, notification.date_time) == (0xC0000000, b"")
    # Its own object list (three attributes), the name of the device, and its address 127.0.0.1 backwards.
    assert encode(notification.body).hex() == (
        "0203"
        "0103"
        "0204120028" + "09060000190900ff" + "0f02" + "120000"
        "0204120001" + "090600002a0000ff" + "0f02" + "120000"
        "020412002a" + "09060000190100ff" + "0f03" + "120000"
        "091047525830303030303030313233343536"
        "060100007f"
    )


# --- what was learnt --------------------------------------------------------------------------------------


def asked(operation: Operation[Any], *answers: bytes) -> list[bytes]:
    """Everything an operation says to the answers."""
    said = [next(operation)]
    for answer in answers:
        try:
            said.append(operation.send(answer))
        except StopIteration:
            break
    return said


def framed(apdu: str) -> bytes:
    body = bytes.fromhex(apdu)
    return bytes.fromhex("000100010010") + len(body).to_bytes(2, "big") + body


def test_the_answer_to_a_challenge_goes_under_the_global_key() -> None:
    """Dedicated forms: tag cb (glo-action-request) or db, then d0 (ded-get-request) or dc."""
    for name, proof, request in (("gmac-ded-wrapper", 0xCB, 0xD3), ("gmac-general-ded-hdlc", 0xDB, 0xDC)):
        lines = (SESSIONS / f"{name}.txt").read_text("ascii").splitlines()[::2]
        at = 8 if "wrapper" in name else 11
        offset = 0 if "wrapper" in name else 1
        assert [bytes.fromhex(line[2:])[at] for line in lines[offset + 1 : offset + 3]] == [proof, request]
        played(name)


def test_a_meter_that_does_not_say_its_title_is_the_one_that_is_known() -> None:
    """Mechanism 6 without ciphering: the AARE of the server has no title, the hash wants one."""
    head = "a109060760857405080101a203020100a305a10302010e"
    rest = "88020780890760857405080206aa12801070389cce67b359ac56ab552a158a4522"
    rest += "be10040e0800065f1f0400001e1d02000007"

    def proof(meter_title: bytes | None, aare: bytes) -> bytes:
        security = replace(hashed(Mechanism.HIGH_SHA256), meter_title=meter_title)
        return asked(Association(1, 16, security=security).associate(), aare)[1]

    unnamed = framed("614a" + head + rest)
    named = framed("6156" + head + "a40a0408" + METER.hex() + rest)
    assert proof(METER, unnamed) == proof(None, named) == proof(METER, named)
    assert proof(None, unnamed) != proof(METER, unnamed)
    with pytest.raises(ProtectionError, match="calls itself"):
        proof(b"XXXXXXXX", named)


def test_an_answer_to_a_password_names_no_mechanism() -> None:
    """As the servers of Gurux and of the vectors answer; EPRI's client gives up where one is named."""
    device = LogicalDevice([], [AssociationPolicy(32, Mechanism.LOW, b"12345678")])
    aarq = (
        "6036a1090607608574050801018a0207808b0760857405080201ac0a80083132333435363738be10040e01000000065f1f04"
    )
    asked_by = bytes.fromhex("0001002000110038" + aarq + "00000000190280"[2:])
    answer = ServerSession({17: device}).receive(asked_by)
    assert answer.hex() == (
        "000100110020002b" + "6129a109060760857405080101a203020100a305a103020100"
        "be10040e0800065f1f0400" + "000019" + "ffff0007"
    )


def test_mode_e_is_tried_where_a_meter_names_no_modes() -> None:
    """The server's own identification, and its confirmation."""
    client = ModeEClient()
    client.start()
    assert client.receive(b"/GRX512345678\r\n") == b"\x06252\r\n"
    client.receive(b"\x06252\r\n")
    assert (client.state, client.line.baud) == (SignOnState.HDLC, 9600)


ASSOCIATED = framed("6129a109060760857405080101a203020100a305a103020100be10040e0800065f1f0400001e1d00800007")


@pytest.mark.parametrize("service", ["get", "set"])
def test_a_normal_response_refuses_a_service_in_blocks(service: str) -> None:
    """The server's answer to a first block that it does not want: result 19, data-block-number-invalid."""
    association = Association(1, 16)
    asked(association.associate(), ASSOCIATED)
    attribute = Attribute(20, CALENDAR, 9)
    if service == "get":
        operation: Operation[Any] = association.get(attribute)
        answers = [framed("c402c10000000001000109"), framed("c401c10113")]
    else:
        operation = association.set(attribute, Data(Tag.OCTET_STRING, bytes(300)))
        answers = [framed("c501c113")]
    with pytest.raises(AccessError) as refused:
        asked(operation, *answers)
    assert refused.value.result is AccessResult.DATA_BLOCK_NUMBER_INVALID
    assert association.state is State.READY


BITMAPS = [("00", 0), ("02c0", 2), ("0360", 0), ("08bf", 1)]


@pytest.mark.parametrize(("bits", "block"), BITMAPS)
def test_a_bitmap_that_is_shorter_or_fills_its_octet(bits: str, block: int) -> None:
    """Three blocks: no bits yet, two, three, eight of which five are nothing; the first missing is sent."""
    association = Association(1, 16)
    asked(association.associate(), ASSOCIATED)
    upload = ImageUpload(ObisCode(0, 0, 44, 0, 0), b"IMAGE1", bytes(range(250)))
    transfer = upload.transfer(association)
    said = asked(transfer, framed("c701c10000"), framed("c401c2000600000064"), framed(f"c401c30004{bits}"))
    octets = bytes(range(250))[block * 100 : (block + 1) * 100]
    assert said[-1].endswith(bytes((0x06, 0, 0, 0, block, 0x09, len(octets))) + octets)


def test_a_bitmap_of_another_image_is_an_error() -> None:
    association = Association(1, 16)
    asked(association.associate(), ASSOCIATED)
    upload = ImageUpload(ObisCode(0, 0, 44, 0, 0), b"IMAGE1", bytes(range(250)))
    transfer = upload.transfer(association)
    with pytest.raises(RemoteProtocolError, match="longer than the image"):
        asked(transfer, framed("c701c10000"), framed("c401c2000600000064"), framed("c401c3000409ff80"))

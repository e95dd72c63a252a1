"""Sessions of our client with servers of others in Java, recorded once and said again: fed what those servers
answered, the client must ask the same, octet for octet, and make the same of it.

`tests/cases/dlms_java_servers/sessions.json` names the servers and their versions. What the client draws by
chance is what it was then: its challenge and its dedicated key. The RLRE of Gurux' server has wrong lengths,
so that each of its sessions ends with an answer that cannot be read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openami.protocols.dlms.apdus.access import AccessGet
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.descriptors import Attribute, Method
from openami.protocols.dlms.apdus.initiate import Conformance
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.client import associating, association
from openami.protocols.dlms.client.association import Association, Operation
from openami.protocols.dlms.client.client_security import ClientSecurity, send_counter_name
from openami.protocols.dlms.client.object_list import object_list
from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.framing.hdlc_channel import HdlcChannel
from openami.protocols.dlms.framing.hdlc_frame import HdlcAddress
from openami.protocols.dlms.framing.hdlc_link_state import LinkState
from openami.protocols.dlms.framing.wrapper import WrapperDecoder
from openami.protocols.dlms.protection.ciphered_apdu import Form
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.quantities.errors import RemoteProtocolError
from openami.quantities.obis import ObisCode
from openami.security.counters import MemoryCounters
from openami.security.meter_keys import MeterKeys
from openami.security.secret import Secret

FILE = Path(__file__).resolve().parents[1] / "cases" / "dlms_java_servers" / "sessions.json"
SESSIONS = json.loads(FILE.read_text(encoding="utf-8"))["sessions"]
TITLE = bytes.fromhex("4d4d4d0000bc614e")
CLOCK = ObisCode(0, 0, 1, 0, 0)
DEVICE_NAME = Attribute(1, ObisCode(0, 0, 42, 0, 0), 2)
ZONE = Attribute(8, CLOCK, 3)
NOTHING = Attribute(1, ObisCode(9, 9, 9, 9, 9), 2)
LONGER = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"


@pytest.fixture(autouse=True)
def what_was_drawn_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(association, "new_challenge", lambda: b"a challenge of u")

    class Drawn(Secret):
        @classmethod
        def random(cls, octets: int) -> Secret:
            return Secret(bytes(range(0x40, 0x40 + octets)))

    monkeypatch.setattr(associating, "Secret", Drawn)


class Recorded:
    """A server that hears the client of then, and answers as it did; anything else fails."""

    def __init__(self, name: str) -> None:
        self._lines: Iterator[tuple[str, str]] = iter(SESSIONS[name]["lines"])

    def run(self, operation: Operation[Any]) -> Any:
        outgoing = next(operation)
        while True:
            heard, answer = next(self._lines)
            assert outgoing.hex() == heard
            try:
                outgoing = operation.send(bytes.fromhex(answer))
            except StopIteration as done:
                return done.value

    @property
    def finished(self) -> bool:
        return next(self._lines, None) is None


def keys(suite: int) -> MeterKeys:
    more = LONGER if suite == 2 else ""
    unicast = bytes.fromhex("000102030405060708090a0b0c0d0e0f" + more)
    authentication = bytes.fromhex("d0d1d2d3d4d5d6d7d8d9dadbdcdddedf" + more)
    master = Secret(b"1" * len(unicast))
    return MeterKeys(Secret(unicast), Secret(authentication), master, None, suite)


def secured(
    suite: int, mechanism: Mechanism, protection: Protection, form: Form, counter: int
) -> ClientSecurity:
    """The client's security, its invocation counter where it stood."""
    counters, shared = MemoryCounters(), keys(suite)
    counters.reserve(send_counter_name(TITLE, shared), 0, counter)
    return ClientSecurity(TITLE, shared, mechanism, protection, form, Secret(b"Gurux"), counters=counters)


def test_gurux_object_list_in_segments_of_128_octets() -> None:
    """HDLC, no security; information field 128 and window 7 agreed on; the link is taken down at the end."""
    server = Recorded("gurux_hdlc_none")
    channel = HdlcChannel(16, HdlcAddress.of(1))
    client = Association(1, 16, channel=channel)
    server.run(channel.connect())
    assert (channel.agreed.transmit, channel.agreed.receive) == (128, 128)
    server.run(client.associate())
    assert client.conformance == Conformance.GET
    assert client.server_max_pdu == 1024
    view = object_list(server.run(client.get(Attribute(15, ObisCode(0, 0, 40, 0, 0), 2))))
    assert [(item.class_id, str(item.logical_name)) for item in view] == [
        (15, "0-0:40.0.0"),
        (15, "0-0:40.0.1"),
        (1, "0-0:42.0.0"),
        (1, "0-0:43.1.0"),
    ]
    assert server.run(client.get(DEVICE_NAME)) == b"GRX123456"
    with pytest.raises(RemoteProtocolError, match="4 octets too many"):
        server.run(client.release())
    server.run(channel.disconnect())
    assert channel.link.state is LinkState.DISCONNECTED
    assert server.finished


def test_gurux_low_level_security_list_set_action_and_access() -> None:
    server = Recorded("gurux_lls")
    security = ClientSecurity(TITLE, None, Mechanism.LOW, Protection.NONE, secret=Secret(b"Gurux"))
    client = Association(1, 38, security=security)
    server.run(client.associate())
    begin = bytes.fromhex("ffff0301070300" + "00ff000000")
    assert server.run(client.get_with_list([DEVICE_NAME, Attribute(8, CLOCK, 6)])) == [b"GRX123456", begin]
    server.run(client.set(ZONE, Data(Tag.LONG, 60)))
    assert server.run(client.get(ZONE)) == 60
    server.run(client.set(ZONE, Data(Tag.LONG, 0)))
    with pytest.raises(AccessError) as refused:
        server.run(client.get(NOTHING))
    assert refused.value.result is AccessResult.OBJECT_UNDEFINED
    name, zone, nothing = server.run(
        client.access([AccessGet(DEVICE_NAME), AccessGet(ZONE), AccessGet(NOTHING)])
    )
    assert (name, zone) == (b"GRX123456", 0)
    assert isinstance(nothing, AccessError)
    assert nothing.result is AccessResult.OBJECT_UNAVAILABLE
    assert server.run(client.action(Method(8, CLOCK, 6), Data(Tag.LONG, 0))) is None
    with pytest.raises(RemoteProtocolError, match="4 octets too many"):
        server.run(client.release())
    assert server.finished


@pytest.mark.parametrize(
    ("name", "suite", "protection", "form", "tags"),
    [
        ("gurux_hls5_glo", 0, AUTHENTICATED_ENCRYPTION, Form.GLOBAL, "c8cc"),
        ("gurux_hls5_ded_10_suite1", 1, Protection.AUTHENTICATED, Form.DEDICATED, "d0d4"),
        ("gurux_hls5_general_ded_suite2", 2, AUTHENTICATED_ENCRYPTION, Form.GENERAL_DEDICATED, "dcdc"),
    ],
)
def test_gurux_high_level_security_5_under_global_and_dedicated_keys(
    name: str, suite: int, protection: Protection, form: Form, tags: str
) -> None:
    server = Recorded(name)
    client = Association(1, 31, security=secured(suite, Mechanism.HIGH_GMAC, protection, form, 1000))
    server.run(client.associate())
    assert server.run(client.get(DEVICE_NAME)) == b"GRX123456"
    assert server.run(client.get(ZONE)) == 0
    with pytest.raises(RemoteProtocolError, match="4 octets too many"):
        server.run(client.release())
    assert server.finished
    asked, answered = (bytes.fromhex(octets)[8:] for octets in SESSIONS[name]["lines"][-2])
    assert bytes((asked[0], answered[0])).hex() == tags


def test_gurux_sha_256_over_hdlc_ciphered() -> None:
    """Captured objects of the load profile: its clock, and register 1-1:21.25.0."""
    server = Recorded("gurux_sha256_hdlc_glo")
    channel = HdlcChannel(34, HdlcAddress.of(1))
    security = secured(0, Mechanism.HIGH_SHA256, AUTHENTICATED_ENCRYPTION, Form.GLOBAL, 1000)
    client = Association(1, 34, channel=channel, security=security)
    server.run(channel.connect())
    server.run(client.associate())
    assert server.run(client.get(DEVICE_NAME)) == b"GRX123456"
    assert server.run(client.get(Attribute(7, ObisCode(1, 0, 99, 1, 0), 3))) == [
        (8, bytes.fromhex("0000010000ff"), 2, 0),
        (3, bytes.fromhex("0101151900ff"), 2, 0),
    ]
    with pytest.raises(RemoteProtocolError, match="4 octets too many"):
        server.run(client.release())
    server.run(channel.disconnect())
    assert server.finished


def note(number: int) -> Attribute:
    return Attribute(1, ObisCode(0, 0, 96, 1, number), 2)


def test_jdlms_without_security() -> None:
    server = Recorded("jdlms_none")
    client = Association(1, 16)
    server.run(client.associate())
    assert server.run(client.get(note(0))) == bytes(range(10))
    assert server.run(client.get_with_list([note(0), DEVICE_NAME])) == [bytes(range(10)), b"L_D_I"]
    server.run(client.release())
    assert server.finished


def test_jdlms_high_level_security_5_with_blocks_set_and_action() -> None:
    """Suite 0, glo, control 30, PDUs of 160 octets; its AARE says "accepted" where it challenges."""
    server = Recorded("jdlms_hls5")
    security = secured(0, Mechanism.HIGH_GMAC, AUTHENTICATED_ENCRYPTION, Form.GLOBAL, 1)
    client = Association(1, 23, security=security, max_pdu=160)
    server.run(client.associate())
    assert server.run(client.get(note(0))) == bytes(range(10))
    assert server.run(client.get(DEVICE_NAME)) == b"L_D_I"
    assert server.run(client.get(note(2))) == bytes(number % 256 for number in range(300))
    server.run(client.set(note(0), Data(Tag.OCTET_STRING, b"set by us")))
    assert server.run(client.get(note(0))) == b"set by us"
    called = Method(7, ObisCode(1, 0, 99, 1, 0), 1)
    assert server.run(client.action(called, Data(Tag.OCTET_STRING, b"echo"))) == b"echo"
    server.run(client.release())
    assert server.finished


@pytest.mark.parametrize("name", [name for name in SESSIONS if "hdlc" not in name])
def test_every_answer_that_is_cut_anywhere_is_waited_for(name: str) -> None:
    for _, answer in SESSIONS[name]["lines"]:
        octets = bytes.fromhex(answer)
        for cut in range(1, len(octets)):
            decoder = WrapperDecoder()
            begun = decoder.feed(octets[:cut])
            assert begun + decoder.feed(octets[cut:]) == WrapperDecoder().feed(octets)

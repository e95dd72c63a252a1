"""Targets of the fuzz with several speakers: lines of several clients, datagrams, pushes, certificates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from dlms_mutation import DEVICE, LOW, PASSWORD, REQUESTS, SEEDS, VALUES
from openami.headend.push_listener import PushFault, PushListener, _Held
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.encoding.profile_buffer import Column, ProfileDecoder, generic_columns
from openami.protocols.dlms.framing.hdlc_frame import (
    FrameKind,
    HdlcAddress,
    HdlcDecoder,
    HdlcFrame,
    control_of,
)
from openami.protocols.dlms.framing.push_framing import pushes_of
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.interface_classes.data import DataObject
from openami.protocols.dlms.protection.ciphered_apdu import Form
from openami.protocols.dlms.protection.ciphering import Cipher
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.datagram_session import DatagramSession
from openami.protocols.dlms.server.hdlc_server import HdlcServerSession
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import RemoteProtocolError, SecurityError
from openami.quantities.obis import ObisCode
from openami.security.certificates import Certificate
from openami.security.counters import MemoryCounters, ReceiveCounters, SendCounter
from openami.security.meter_keys import MeterKeys
from openami.security.secret import Secret

Target = Callable[[bytes], bool]

CLIENTS = (LOW, 16, 99)
"""One with a password, one without, one that nobody knows."""

CERTIFICATE = bytes.fromhex(
    "3082015d30820103a0030201020214445279fc906a21b0cc78ad76d457017d92c28ebc300a06082a8648ce3d040302301c311a"
    "301806035504030c11526f6f74206f6620746865207465737473301e170d3236303130313030303030305a170d333630313031"
    "3030303030305a301c311a301806035504030c11526f6f74206f66207468652074657374733059301306072a8648ce3d020106"
    "082a8648ce3d03010703420004f610d1e5b048f1bc332db7cf8fd5a7b45df7ca91a3226b1656ce853f8c396d6de35569c4a2a6"
    "5e9aa1d3adaf3268a77b9614d5b5c81c22e3eef89590f44ed771a3233021300f0603551d130101ff040530030101ff300e0603"
    "551d0f0101ff040403020204300a06082a8648ce3d040302034800304502205ee37db4df7b6447703db3c4adf3ecef6396842a"
    "975581f3ac65334b03ea1cf2022100a4744f0898bf11b8600adb84c45c6d81e638189cded7761dd031fee823039463"
)
_TITLE = b"OAM00001"
_KEYS = MeterKeys(Secret(bytes(range(16))), Secret(bytes(range(16, 32))), Secret(bytes(range(32, 48))))


def constant_devices() -> dict[int, LogicalDevice]:
    """Two logical devices with values that nobody changes; some are longer than a small PDU."""
    policies = [AssociationPolicy(LOW, Mechanism.LOW, PASSWORD, window=3), AssociationPolicy(16)]

    def note(device: int, place: int) -> DataObject:
        value = Data(Tag.OCTET_STRING, bytes((device, place)) * (1 + 400 * (place % 3)))
        return DataObject(ObisCode(0, 0, 96, 1, place), lambda: value)

    return {
        device: LogicalDevice([note(device, place) for place in range(4)], policies) for device in (DEVICE, 8)
    }


def _same(one: tuple[Column, ...], other: tuple[Column, ...]) -> bool:
    return len(one) == len(other) and all(
        left.kind is right.kind
        and left.values.shape == right.values.shape
        and repr(left.values.tolist()) == repr(right.values.tolist())
        and left.present.tolist() == right.present.tolist()
        for left, right in zip(one, other, strict=True)
    )


def profiles() -> Target:
    """Buffers by template and by the generic decoder: both refuse, or give equal columns."""
    decoder = ProfileDecoder()

    def target(octets: bytes) -> bool:
        found: list[tuple[Column, ...] | None] = []
        for decode in (decoder.decode, ProfileDecoder().decode, generic_columns):
            try:
                found.append(decode(octets))
            except RemoteProtocolError:
                found.append(None)
        first, *others = found
        for other in others:
            assert (first is None) == (other is None), "one decoder accepts what the other refuses"
            assert first is None or other is None or _same(first, other), "columns that differ"
        return first is not None

    return target


def profile_seeds() -> list[bytes]:
    """Rows alike, rows with holes, every width."""
    alike = [
        b"\x01\x04" + row * 4
        for row in map(bytes.fromhex, (
            "0203090c07e30c100108000000ffc400110606000005ed", "020209021234120001", "0201170000803f",
            "02031500000000000000011400000000000000020f05", "020216030000", "02020900110100",
        ))
    ]  # fmt: skip
    return [*alike, *VALUES, b"\x01\x02" + b"\x02\x02\x00\x11\x01" + b"\x02\x02\x11\x02\x00"]


def line_of_clients() -> Target:
    """One line, three clients with links of their own: each hears what it would hear on a line of its own."""
    state: dict[str, object] = {}
    turn = 0

    def begin() -> None:
        state["both"] = HdlcServerSession(constant_devices())
        state["alone"] = {client: HdlcServerSession(constant_devices()) for client in CLIENTS}
        state["numbers"] = {client: [0, 0] for client in CLIENTS}

    def target(octets: bytes) -> bool:
        nonlocal turn
        if not turn % 200:
            begin()
        client = CLIENTS[turn % 3]
        turn += 1
        both, alone, numbers = state["both"], state["alone"], state["numbers"]
        assert isinstance(both, HdlcServerSession)
        assert isinstance(alone, dict)
        assert isinstance(numbers, dict)
        place = HdlcAddress(DEVICE), HdlcAddress(client)
        sent, expected = numbers[client]
        frames = [HdlcFrame(*place, control_of(FrameKind.RR, receive_sequence=expected))]
        if turn % 20 < 3:
            frames = [HdlcFrame(*place, control_of(FrameKind.SNRM))]
            numbers[client] = [0, 0]
        elif octets:
            control = control_of(FrameKind.I, send_sequence=sent, receive_sequence=expected)
            frames.append(HdlcFrame(*place, control, (b"\xe6\xe6\x00" + octets)[:128]))
        brought = False
        for frame in frames:
            heard = both.receive(frame.to_bytes())
            assert heard == alone[client].receive(frame.to_bytes()), "another client changed the answer"
            for answer in HdlcDecoder().feed(heard):
                assert isinstance(answer, HdlcFrame)
                assert answer.destination == place[1], "an answer to another client"
                if answer.kind in (FrameKind.I, FrameKind.RR):
                    numbers[client][0] = answer.receive_sequence
                if answer.kind is FrameKind.I:
                    numbers[client][1] = (answer.send_sequence + 1) & 7
                    brought = True
        assert both.kept_octets < 1_000_000
        return brought

    return target


def datagram_server() -> Target:
    """Mutated datagrams, and mutated requests in whole ones: each answer fits a datagram."""
    session = DatagramSession(constant_devices())
    asked = 0

    def target(octets: bytes) -> bool:
        nonlocal asked
        if not asked % 20:
            session.receive(Frame(LOW, DEVICE, SEEDS[0]).to_bytes())
        asked += 1
        if asked % 4:
            octets = Frame(LOW, DEVICE, octets[:60_000]).to_bytes()
        answers = session.receive(octets)
        assert all(len(answer) <= 65_507 for answer in answers)
        assert session.kept_octets < 20_000_000
        return any(answer[8:9] != b"\xd8" for answer in answers)

    return target


def _sealed(apdu: bytes, protection: Protection) -> bytes:
    counters = MemoryCounters()
    cipher = Cipher(_KEYS, _TITLE, b"HES00001", SendCounter(counters, "send"), ReceiveCounters(counters))
    return cipher.seal(apdu, protection, Form.GENERAL_GLOBAL)


def push_seeds() -> Sequence[bytes]:
    """Notifications: plain, ciphered, in blocks."""
    plain = (SEEDS[23], SEEDS[-1])
    levels = (Protection.AUTHENTICATED, Protection.ENCRYPTED, AUTHENTICATED_ENCRYPTION)
    blocks = bytes.fromhex("e0400001000004") + SEEDS[23][:4], bytes.fromhex("e0800002000004") + SEEDS[23][4:8]
    apdus = [*plain, *(_sealed(apdu, level) for apdu in plain for level in levels), *blocks]
    return [Frame(1, 16, apdu).to_bytes() for apdu in apdus]


def listener() -> Target:
    """A listener behind its sockets: what is handed on is a notification, and a title means its keys."""
    faults: list[PushFault] = []
    titles: list[bytes] = []
    keys = {_TITLE: _KEYS}

    def begin() -> PushListener:
        clock = SimulatedClock(datetime(2026, 5, 1, tzinfo=UTC))
        return PushListener(
            lambda push: titles.append(push.title), clock, keys=keys.get, on_fault=faults.append
        )

    one, held = begin(), _Held()

    def target(octets: bytes) -> bool:
        nonlocal one
        if len(titles) > 500:
            one = begin()
            titles.clear()
        faults.clear()
        good, _ = one.heard(pushes_of(octets), held, ("127.0.0.1", 1))
        assert set(titles) <= {b"", _TITLE}
        return good > 0

    return target


def certificates() -> Target:
    """Octets that a client imports as a certificate: one of the suites, or refused."""

    def target(octets: bytes) -> bool:
        try:
            found = Certificate.from_der(octets)
            found.check_validity(datetime(2026, 5, 1, tzinfo=UTC))
            return bool(found.serial_number + found.issuer + found.subject + found.alternative_name)
        except SecurityError:
            return False

    return target


LINES: dict[str, tuple[int, Callable[[], Sequence[bytes]], Callable[[], Target]]] = {
    "profile": (2, profile_seeds, profiles),
    "server-hdlc-clients": (2, lambda: REQUESTS, line_of_clients),
    "server-udp": (1, lambda: REQUESTS, datagram_server),
    "push-listener": (1, push_seeds, listener),
    "certificate": (1, lambda: [CERTIFICATE], certificates),
}
"""By name: share in hundredths, seeds, and the maker of the target."""

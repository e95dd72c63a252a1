"""Mutation fuzz of everything of DLMS that reads octets of others: seeded, reproducible, as long as wanted.

    python tests/protocols/fuzz_dlms.py --count 10000000 --seed 1

The count is shared out over the targets (`TARGETS`), cut into chunks with a seed of their own, and run by as
many processes as there are cores; what is found depends on count and seed alone. An input is a finding where
it takes longer than 50 ms of processor time, raises anything but our own errors, or makes a target break its
own promise; the growth of each process (peak resident memory after a warm-up) is measured beside it. The
libraries of others (`fuzz_peers.py`, by the interpreter of ``.venv-peers``) get a bounded share of the same
inputs. Prints one JSON document; exit code 1 where anything of ours was found.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from openami.meter.cosem_objects import meter_device
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import household_fleet
from openami.protocols.dlms.apdu import decode_apdu
from openami.protocols.dlms.apdu_block_transfer import TransferBlock
from openami.protocols.dlms.apdu_get import GetResponse
from openami.protocols.dlms.association_policy import AssociationPolicy, Mechanism
from openami.protocols.dlms.axdr import decode, decode_plain, encode, plain
from openami.protocols.dlms.ciphered_apdu import CipheredApdu, Form
from openami.protocols.dlms.ciphering import Cipher
from openami.protocols.dlms.client import Association
from openami.protocols.dlms.client_security import ClientSecurity
from openami.protocols.dlms.date_time import CosemDateTime
from openami.protocols.dlms.decode_layers import decode_layers
from openami.protocols.dlms.descriptors import Attribute
from openami.protocols.dlms.general_ciphering import AgreementKeys, KeySource
from openami.protocols.dlms.general_signing import Signer
from openami.protocols.dlms.hdlc_channel import HdlcChannel
from openami.protocols.dlms.hdlc_frame import FrameKind, HdlcAddress, HdlcDecoder, HdlcFrame, control_of
from openami.protocols.dlms.hdlc_server import HdlcServerSession
from openami.protocols.dlms.initiate import PROPOSED_FOR_WINDOWS, InitiateRequest, InitiateResponse
from openami.protocols.dlms.logical_device import LogicalDevice
from openami.protocols.dlms.mbus_frame import MBusDecoder, segmented
from openami.protocols.dlms.message_protection import Accepted, Manner, MessageProtection, Signing
from openami.protocols.dlms.mode_e import Identification, ModeEClient, ModeEServer, SignOnState
from openami.protocols.dlms.p1_telegram import P1Decoder
from openami.protocols.dlms.profile_buffer import ProfileDecoder
from openami.protocols.dlms.push_framing import PushReader, pushes_of
from openami.protocols.dlms.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.protocols.dlms.server import ServerSession
from openami.protocols.dlms.wrapper import Frame, WrapperDecoder
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import OpenAmiError, RemoteProtocolError
from openami.quantities.obis import ObisCode
from openami.security.counters import MemoryCounters, ReceiveCounters, SendCounter
from openami.security.meter_keys import MeterKeys
from openami.security.secret import Secret
from openami.security.signature import private_key
from openami.security.suites import SUITE_1

PYTHON = Path(__file__).resolve().parents[2] / ".venv-peers" / "bin" / "python"
DEVICE, LOW, HIGH = 17, 32, 4
PASSWORD = b"12345678"
TITLE = b"FUZZ0001"

HANG_S = 0.05
STUCK_S = 10
CHUNK = 50_000
RENEWED = 500
"""Inputs after which a session is begun anew."""

SEEDS = [
    bytes.fromhex(text)
    for text in (
        "6036a1090607608574050801018a0207808b0760857405080201ac0a80083132333435363738"
        "be10040e01000000065f1f0400007e1f04b0",
        "6129a109060760857405080101a203020100a305a103020100be10040e0800065f1f040000501f01f40007",
        "6203800100",
        "6303800100",
        "c001c100080000010000ff0200",
        "c001c100070100630100ff0201010204020412000809060000010000ff0f02120000"
        "090c07e20601ff000300ffff8880090c07e50106ff000300ffffc4000100",
        "c001c100070100630100ff020102020406000000010600000003120001120000",
        "c002c100000001",
        "c003c10200030100010800ff020000080000010000ff0200",
        "c101c100080000010000ff0200090c07e50118ff0e303950ffc400",
        "c102c100010000600d00ff02000100000001050903616263",
        "c103c1010000000103616263",
        "c104c102000300010100010800ff0200" + "0211011102",
        "c301c10046000060030aff01010f00",
        "c401c1000600001391",
        "c401c10001020203090c07e30c100108000000ffc400110606000005ed"
        "0203090c07e30c100108150000ffc400110606000005ee",
        "c402c10000000001000402021101",
        "c403c1020011010103",
        "c501c100",
        "c503c10000000002",
        "c701c1000100090101",
        "d80101",
        "0e010601",
        "0f4000000000020216000104020211011601020211021600",
        "c401c100130202111206010002030004",
        "c401c10013010002110401020304",
        "c401c10002060405ff0d990c024142174366800018406cd000000000001907ea02190c00000000800000",
        # ACCESS, general-block-transfer, general-ciphering, general-signing, event-notification
        "d94000000100020100080000010000ff02010003010001 0800ff0202000000".replace(" ", ""),
        "da400000010000020906000001000fff06000000010201000100",
        # lists and blocks of SET and ACTION
        "c105c10100010000600d00ff0200000000000103010901",
        "c504c102000300000002",
        "c302c100000001",
        "c303c1020003010001 0800ff01000300010108 00ff01020f0000".replace(" ", ""),
        "c304c10046000060030aff01000000000102 0f00".replace(" ", ""),
        "c305c1010046000060030aff01010000000103010f00",
        "c306c101000000020203 04".replace(" ", ""),
        "c702c101000000010300010 0".replace(" ", ""),
        "c703c10200 01000f000300".replace(" ", ""),
        "c704c100000001",
        "e0c00001000006c401c1001101",
        "e0800002000000",
        "dd010008000000000000000108000000000000000200000012300000000100112233445566778899aabb",
        "df01000800000000000000010800000000000000020000 05c001c10001021122".replace(" ", ""),
        "c2010c07ea0101ff00000000ffc400000100000b6000ff021105",
    )
]
REQUESTS = [octets for octets in SEEDS if octets[0] in (0x60, 0x62, 0xC0, 0xC1, 0xC3, 0xD9, 0xE0)]
ANSWERS = [octets for octets in SEEDS if octets[0] in (0x61, 0x63, 0xC4, 0xC5, 0xC7, 0xD8, 0x0E, 0x0F, 0xC2)]
VALUES = [octets[4:] for octets in SEEDS if octets[:4] == bytes.fromhex("c401c100")]
STAMPS = [octets[-12:] for octets in SEEDS if octets[-12:-10] in (b"\x07\xe5", b"\x07\xea")] + [
    bytes.fromhex("07ea0219ff173b3b63800000"),
    bytes.fromhex("fffffefdffffffffff8000ff"),
]
TELEGRAM = (
    b"/ISk5\\2MT382-1000\r\n\r\n1-0:1.8.1(000004.426*kWh)\r\n0-1:24.2.1(170102161005W)(0.107*m3)\r\n!\r\n"
)
_INTERESTING = bytes((0x00, 0x01, 0x02, 0x09, 0x13, 0x7E, 0x7F, 0x80, 0x81, 0x82, 0x84, 0xA0, 0xFE, 0xFF))
_LINE = HdlcAddress(LOW), HdlcAddress(DEVICE)


@dataclass
class Report:
    """What a run found."""

    inputs: int = 0
    accepted: int = 0
    slowest_s: float = 0.0
    growth_bytes: int = 0
    foreign: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Take the findings of another run in."""
        self.inputs += other.inputs
        self.accepted += other.accepted
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.growth_bytes = max(self.growth_bytes, other.growth_bytes)
        self.foreign += other.foreign[: 20 - len(self.foreign)]
        self.slow += other.slow[: 20 - len(self.slow)]


class StuckError(BaseException):
    """An input did not come to an end; no decoder can catch this by accident."""


def mutated(rng: random.Random, seeds: Sequence[bytes] = SEEDS) -> bytes:
    """A seed with one to six mutations, mostly few: octets changed, cut, doubled, inserted, spliced."""
    real = rng.random
    octets = bytearray(seeds[int(real() * len(seeds))])
    for _ in range(1 + int(6 * real() ** 2)):
        size = len(octets)
        position = int(real() * size)
        kind = int(real() * 7)
        if kind == 2:
            del octets[position:]
        elif kind == 3:
            octets[position:position] = rng.randbytes(1 + int(real() * 4))
        elif kind == 4:
            length = 1 + int(real() * 12)
            octets[position:position] = octets[position : position + length] * (1 + int(real() * 20))
        elif kind == 5:
            other = seeds[int(real() * len(seeds))]
            octets[position:] = other[int(real() * len(other)) :]
        elif not size:
            continue
        elif kind == 0:
            octets[position] = int(real() * 256)
        elif kind == 1:
            octets[position] = _INTERESTING[int(real() * len(_INTERESTING))]
        else:
            octets[position] ^= 1 << int(real() * 8)
    return bytes(octets)


# --- targets: each takes octets, tells whether they were accepted, and raises where a promise is broken --

Target = Callable[[bytes], bool]


def decode_whole(octets: bytes) -> bool:
    """Any APDU, and the value in it by all three decoders."""
    try:
        apdu = decode_apdu(octets)
        if isinstance(apdu, GetResponse) and isinstance(apdu.data, bytes):
            decode_plain(apdu.data)
            ProfileDecoder().decode(apdu.data)
    except RemoteProtocolError:
        return False
    return True


def _values() -> Target:
    def values(octets: bytes) -> bool:
        try:
            value = decode(octets)
        except RemoteProtocolError:
            value = None
        try:
            simple = decode_plain(octets)
        except RemoteProtocolError:
            assert value is None, "one decoder accepts what the other refuses"
            return False
        assert value is not None, "one decoder accepts what the other refuses"
        canonical = encode(value)
        assert encode(decode(canonical)) == canonical
        assert repr(plain(value)) == repr(simple)
        return True

    return values


def _associations() -> Target:
    def associations(octets: bytes) -> bool:
        accepted = False
        for read in (decode_apdu, InitiateRequest.from_bytes, InitiateResponse.from_bytes):
            try:
                apdu = read(octets)
                information = getattr(apdu, "user_information", None)
                if information:
                    InitiateRequest.from_bytes(information)
                accepted = True
            except RemoteProtocolError:
                continue
        return accepted

    return associations


def _date_times() -> Target:
    def date_times(octets: bytes) -> bool:
        try:
            stamp = CosemDateTime.from_bytes(octets)
            assert stamp.to_bytes() == octets
            stamp.instant()
        except RemoteProtocolError:
            return False
        return True

    return date_times


def _streams(*decoders: Callable[[], Any]) -> Target:
    """Framings: the octets in three pieces, then the end of the stream."""

    def streams(octets: bytes) -> bool:
        accepted = False
        for make in decoders:
            decoder = make()
            third = len(octets) // 3
            events = [*decoder.feed(octets[:third]), *decoder.feed(octets[third:])]
            last = decoder.end()
            events += last if isinstance(last, list) else [] if last is None else [last]
            assert len(events) <= len(octets) + 1
            accepted = accepted or any(not isinstance(event, RemoteProtocolError) for event in events)
        return accepted

    return streams


def _datagrams() -> Target:
    return lambda octets: any(not isinstance(event, RemoteProtocolError) for event in pushes_of(octets))


def _explanations() -> Target:
    """The explanation of a dump: a tree for anything."""

    return lambda octets: not list(decode_layers(octets).faults())


def _sign_on() -> Target:
    identification = Identification.from_bytes(b"/OAM5\\2METER")

    def sign_on(octets: bytes) -> bool:
        client, server = ModeEClient(), ModeEServer(identification)
        client.start()
        server.receive(octets)
        try:
            client.receive(octets)
        except RemoteProtocolError:
            return False
        return client.state is not SignOnState.IDENTIFYING

    return sign_on


_SECRETS = [Secret(bytes(range(first, first + 16))) for first in (0, 16, 32)]
_KEYS = MeterKeys(_SECRETS[0], _SECRETS[1], _SECRETS[2], None, 1)
_AGREEMENT = private_key(SUITE_1, Secret(b"\x01" * 32))


def _cipher(own: bytes, peer: bytes) -> Cipher:
    counters = MemoryCounters()
    return Cipher(_KEYS, own, peer, SendCounter(counters, "send"), ReceiveCounters(counters))


def _ciphered_seeds() -> list[bytes]:
    sender = _cipher(b"OAM00001", b"HES00001")
    return [
        sender.seal(apdu, protection, form)
        for apdu in (SEEDS[4], SEEDS[15])
        for form in (Form.GLOBAL, Form.GENERAL_GLOBAL)
        for protection in (Protection.AUTHENTICATED, Protection.ENCRYPTED, AUTHENTICATED_ENCRYPTION)
    ]


def _layers(own: bytes, peer: bytes) -> MessageProtection:
    cipher = _cipher(own, peer)
    agreement = AgreementKeys(_AGREEMENT, _AGREEMENT.public_key(), _AGREEMENT, _AGREEMENT.public_key())
    return MessageProtection(cipher, agreement, Signer(SUITE_1, _AGREEMENT, _AGREEMENT.public_key()))


def _general_seeds() -> list[bytes]:
    """Every source of keys, plain and signed."""
    sender = _layers(b"OAM00001", b"HES00001")
    sources = (KeySource.UNICAST, KeySource.WRAPPED, KeySource.ONE_PASS, KeySource.STATIC, None)
    return [
        sender.seal(SEEDS[4], Manner(AUTHENTICATED_ENCRYPTION, None, source, signed, bytes(8)))
        for source in sources
        for signed in (False, True)
    ]


def _general() -> Target:
    """General-ciphering and general-signing: only what was not changed opens."""
    accepted = Accepted(AUTHENTICATED_ENCRYPTION, frozenset(KeySource), Signing.ACCEPTED)

    def general(octets: bytes) -> bool:
        try:
            _layers(b"HES00001", b"OAM00001").open(octets, accepted)
        except RemoteProtocolError:
            return False
        return True

    return general


def _block_seeds() -> list[bytes]:
    """Requests in general blocks, whole and in two pieces, and acknowledgements."""
    whole = [TransferBlock(True, False, 4, 1, 0, apdu) for apdu in REQUESTS[1:]]
    pieces = [TransferBlock(False, True, 4, 1, 0, apdu[:5]) for apdu in REQUESTS[1:]]
    rest = [TransferBlock(True, False, 4, 2, 0, apdu[5:]) for apdu in REQUESTS[1:]]
    heard = [TransferBlock(True, False, 63, number, number, b"") for number in (1, 2, 5, 9)]
    return [block.to_bytes() for block in (*whole, *pieces, *rest, *heard)]


def _ciphered() -> Target:
    def ciphered(octets: bytes) -> bool:
        try:
            CipheredApdu.from_bytes(octets)
            _cipher(b"HES00001", b"OAM00001").open(octets, AUTHENTICATED_ENCRYPTION)
        except RemoteProtocolError:
            return False
        return True

    return ciphered


def _device() -> LogicalDevice:
    """The software meter, two days old, with a client of each kind."""
    start = datetime(2026, 3, 1, 23, tzinfo=UTC)
    clock = SimulatedClock(start)
    fleet = Fleet(household_fleet(1, seed=1, start=start), clock)
    clock.advance(timedelta(days=2, minutes=37))
    own = meter_device(fleet, fleet.meter_ids[0])
    policies = [
        AssociationPolicy(LOW, Mechanism.LOW, PASSWORD),
        AssociationPolicy(HIGH, Mechanism.HIGH_GMAC, protection=AUTHENTICATED_ENCRYPTION),
    ]
    return LogicalDevice(iter(own), policies, own.security)


class _Renewed:
    """A session that is begun anew after `RENEWED` inputs; it is asked after its opening."""

    def __init__(self, begin: Callable[[], tuple[Any, Callable[[bytes], bytes]]]) -> None:
        self._begin = begin
        self._left = 0
        self._ask: Callable[[bytes], bytes] = bytes
        self._session: Any = None

    def __call__(self, octets: bytes) -> bool:
        if not self._left or getattr(self._session, "closed", False):
            self._session, self._ask = self._begin()
            self._left = RENEWED
        self._left -= 1
        answer = self._ask(octets)
        assert self._session.kept_octets < 20_000_000
        return bool(answer) and answer[:1] != b"\xd8"


def _opened(session: ServerSession) -> ServerSession:
    session.receive(Frame(LOW, DEVICE, SEEDS[0]).to_bytes())
    return session


def _requests() -> Target:
    device = _device()

    def begin() -> tuple[Any, Callable[[bytes], bytes]]:
        session = _opened(ServerSession({DEVICE: device}))

        def ask(octets: bytes) -> bytes:
            if octets[:1] in (b"\x62", b"\x60", b""):
                _opened(session)
            return session.receive(Frame(LOW, DEVICE, octets[:60_000]).to_bytes())[8:]

        return session, ask

    return _Renewed(begin)


def _block_requests() -> Target:
    """Mutated blocks, to a server that agreed on general-block-transfer and answers in small ones."""
    device = _device()

    def begin() -> tuple[Any, Callable[[bytes], bytes]]:
        session = ServerSession({DEVICE: device})
        association = Association(DEVICE, LOW, PASSWORD, max_pdu=128, conformance=PROPOSED_FOR_WINDOWS)
        _drive(association.associate(), session)
        return session, lambda octets: session.receive(Frame(LOW, DEVICE, octets[:60_000]).to_bytes())[8:]

    return _Renewed(begin)


def _wrapped_streams() -> Target:
    device = _device()

    def begin() -> tuple[Any, Callable[[bytes], bytes]]:
        session = _opened(ServerSession({DEVICE: device}))
        return session, lambda octets: session.receive(octets)[8:]

    return _Renewed(begin)


def _hdlc_requests() -> Target:
    """Whole frames with mutated information, behind SNRM and AARQ."""
    device = _device()
    own, peer = _LINE

    def begin() -> tuple[Any, Callable[[bytes], bytes]]:
        session = HdlcServerSession({DEVICE: device})
        numbers = {"send": 0, "receive": 0}

        def ask(octets: bytes) -> bytes:
            answer = b""
            for information in (b"\xe6\xe6\x00" + SEEDS[0], b"\xe6\xe6\x00" + octets[:1900]):
                session.receive(HdlcFrame(peer, own, control_of(FrameKind.SNRM)).to_bytes())
                numbers["send"] = numbers["receive"] = 0
                control = control_of(FrameKind.I)
                for start in range(0, len(information), 128):
                    piece = information[start : start + 128]
                    more = start + 128 < len(information)
                    control = control_of(
                        FrameKind.I, poll_final=not more, send_sequence=start // 128 & 7, receive_sequence=0
                    )
                    answer = session.receive(HdlcFrame(peer, own, control, piece, more).to_bytes())
            return answer

        return session, ask

    return _Renewed(begin)


def _hdlc_streams() -> Target:
    device = _device()

    def begin() -> tuple[Any, Callable[[bytes], bytes]]:
        session = HdlcServerSession({DEVICE: device})
        session.receive(HdlcFrame(_LINE[1], _LINE[0], control_of(FrameKind.SNRM)).to_bytes())
        return session, session.receive

    return _Renewed(begin)


def _secured(sealed: Callable[[Cipher, bytes], bytes]) -> Target:
    """Requests in an association of high level security 5, mutated before or after they are sealed."""
    device = _device()
    assert device.security is not None
    security = ClientSecurity(TITLE, device.security.keys, counters=MemoryCounters({}))

    def begin() -> tuple[Any, Callable[[bytes], bytes]]:
        session = ServerSession({DEVICE: device})
        association = Association(DEVICE, HIGH, security=security)
        _drive(association.associate(), session)
        cipher = association._cipher
        assert cipher is not None

        def ask(octets: bytes) -> bytes:
            apdu = sealed(cipher, octets or b"\x00")
            return session.receive(Frame(HIGH, DEVICE, apdu[:65_000]).to_bytes())[8:]

        return session, ask

    return _Renewed(begin)


def _seal_first(cipher: Cipher, octets: bytes) -> bytes:
    return cipher.seal(octets, form=Form.GENERAL_GLOBAL)


def _seal_then_flip(cipher: Cipher, octets: bytes) -> bytes:
    """The request sealed, and one octet of it changed: never accepted."""
    sealed = bytearray(cipher.seal(octets, form=Form.GENERAL_GLOBAL))
    sealed[octets[-1] * 7919 % len(sealed)] ^= 1 << (len(octets) & 7)
    return bytes(sealed)


def _drive(operation: Generator[bytes, bytes, Any], session: ServerSession) -> None:
    outgoing = next(operation)
    while True:
        try:
            outgoing = operation.send(session.receive(outgoing))
        except StopIteration:
            return


def _answers(framed: Callable[[bytes, int], bytes], channel: Callable[[], Any]) -> Target:
    """Mutated answers to a client's requests: a value, or an error of ours."""
    opening = SEEDS[1]
    energy = Attribute(3, ObisCode(1, 0, 1, 8, 0), 2)

    def answers(octets: bytes) -> bool:
        accepted = False
        for ask in (Association.get, lambda one, what: Association.get_with_list(one, [what, what])):
            association = Association(DEVICE, LOW, PASSWORD, channel=channel())
            operation = association.associate()
            next(operation)
            with suppress(StopIteration):
                operation.send(framed(opening, 0))
            asked = ask(association, energy)
            try:
                next(asked)
                asked.send(framed(octets[:60_000], 1))
                asked.close()
            except StopIteration:
                accepted = True
            except OpenAmiError:
                continue
        return accepted

    return answers


class _LinkedChannel(HdlcChannel):
    """A channel whose link is up."""

    def __init__(self) -> None:
        super().__init__(LOW, DEVICE)
        connecting = self.connect()
        next(connecting)
        with suppress(StopIteration):
            connecting.send(HdlcFrame(*_LINE, control_of(FrameKind.UA)).to_bytes())


def _framed_wrapper(octets: bytes, _number: int) -> bytes:
    return Frame(DEVICE, LOW, octets).to_bytes()


def _framed_hdlc(octets: bytes, number: int) -> bytes:
    """The meter's answer to the client's I frame of that number."""
    control = control_of(FrameKind.I, send_sequence=number, receive_sequence=number + 1)
    return HdlcFrame(*_LINE, control, b"\xe6\xe7\x00" + octets[:1900]).to_bytes()


def _frames(seeds: Sequence[bytes]) -> list[bytes]:
    own, peer = _LINE
    kinds = (FrameKind.SNRM, FrameKind.DISC, FrameKind.RR, FrameKind.UA, FrameKind.UI, FrameKind.FRMR)
    frames = [HdlcFrame(peer, own, control_of(kind)).to_bytes() for kind in kinds]
    frames += [
        HdlcFrame(peer, own, control_of(FrameKind.I), b"\xe6\xe6\x00" + apdu).to_bytes() for apdu in seeds
    ]
    return [*frames, b"".join(frames[:4]), frames[6] + b"\x7e" + frames[7]]


def _wrapped(seeds: Sequence[bytes]) -> list[bytes]:
    return [Frame(LOW, DEVICE, apdu).to_bytes() for apdu in seeds]


def _telegrams() -> list[bytes]:
    return [
        b"".join(frame.to_bytes() for frame in segmented(apdu, 1, 103)) for apdu in (SEEDS[23], SEEDS[15] * 9)
    ]


def _lines() -> list[bytes]:
    return [
        b"/OAM5\\2METER\r\n",
        b"\x06252\r\n",
        b"/?!\r\n",
        b"/?12345678!\r\n",
        b"/LGZ4\\2ZMD\r\n\x06242\r\n",
    ]


def _pushes() -> list[bytes]:
    push = [SEEDS[23], SEEDS[-1]]
    information = [b"\xe6\xe7\x00" + apdu for apdu in push]
    hdlc = [
        HdlcFrame(*_LINE, control_of(FrameKind.UI), octets, segmented=more).to_bytes()
        for octets in information
        for more in (False, True)
    ]
    return [*push, *information, *hdlc, *_telegrams(), *_wrapped(push), *_ciphered_seeds()[:4]]


TARGETS: dict[str, tuple[int, Callable[[], Sequence[bytes]], Callable[[], Target]]] = {
    "apdu": (14, lambda: SEEDS, lambda: decode_whole),
    "acse": (8, lambda: [*SEEDS[:4], SEEDS[0][-16:], SEEDS[1][-14:]], _associations),
    "axdr": (13, lambda: VALUES, _values),
    "date-time": (3, lambda: STAMPS, _date_times),
    "hdlc": (8, lambda: _frames(SEEDS), lambda: _streams(HdlcDecoder)),
    "wrapper": (4, lambda: _wrapped(SEEDS), lambda: _streams(WrapperDecoder)),
    "m-bus": (4, _telegrams, lambda: _streams(MBusDecoder)),
    "push": (6, _pushes, lambda: _streams(PushReader)),
    "datagram": (2, _pushes, _datagrams),
    "mode-e": (2, _lines, _sign_on),
    "p1": (2, lambda: [TELEGRAM, TELEGRAM * 2], lambda: _streams(P1Decoder)),
    "layers": (2, lambda: [*SEEDS, *_pushes(), *_frames(SEEDS)], _explanations),
    "ciphered": (5, _ciphered_seeds, _ciphered),
    "general": (1, _general_seeds, _general),
    "server-blocks": (3, _block_seeds, _block_requests),
    "server": (6, lambda: REQUESTS, _requests),
    "server-stream": (3, lambda: _wrapped(REQUESTS), _wrapped_streams),
    "server-hdlc": (3, lambda: REQUESTS, _hdlc_requests),
    "server-hdlc-stream": (3, lambda: _frames(REQUESTS), _hdlc_streams),
    "server-sealed": (3, lambda: REQUESTS, lambda: _secured(_seal_first)),
    "server-tampered": (1, lambda: REQUESTS, lambda: _secured(_seal_then_flip)),
    "client": (2, lambda: ANSWERS, lambda: _answers(_framed_wrapper, lambda: None)),
    "client-hdlc": (2, lambda: ANSWERS, lambda: _answers(_framed_hdlc, _LinkedChannel)),
}
"""By name: share in hundredths, seeds, and the maker of the target."""

assert sum(share for share, _, _ in TARGETS.values()) == 100


# --- one run ---------------------------------------------------------------------------------------------


def resident_bytes() -> int:
    """Most memory that this process has had."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def attack(target: Target, seeds: Sequence[bytes], count: int, rng: random.Random) -> Report:
    """Mutated inputs against a target; an input that does not end is stopped after `STUCK_S`."""
    report = Report()
    place = {"now": -1, "before": -2, "since": 0}

    def watch(_number: int, _frame: FrameType | None) -> None:
        if place["now"] != place["before"]:
            place["before"], place["since"] = place["now"], 0
        place["since"] += 1
        if place["since"] > STUCK_S:
            raise StuckError

    former = signal.signal(signal.SIGALRM, watch)
    signal.setitimer(signal.ITIMER_REAL, 1, 1)
    clock = time.thread_time
    try:
        for index in range(count):
            place["now"] = index
            octets = mutated(rng, seeds)
            begin = clock()
            try:
                report.accepted += target(octets)
            except StuckError:
                report.slow.append(octets.hex())
            except Exception as foreign:  # whatever escapes is the finding
                if len(report.foreign) < 20:
                    report.foreign.append(f"{octets.hex()[:4000]}: {foreign!r}")
            spent = clock() - begin
            report.slowest_s = max(report.slowest_s, spent)
            if spent > HANG_S and len(report.slow) < 20:
                report.slow.append(octets.hex()[:4000])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    report.inputs = count
    return report


def mutate_apdus(count: int, seed: int) -> Report:
    """Mutated APDUs through the decoders, in this process."""
    rng = random.Random(seed)
    attack(decode_whole, SEEDS, 500, random.Random(0))
    before = resident_bytes()
    report = attack(decode_whole, SEEDS, count, rng)
    report.growth_bytes = resident_bytes() - before
    return report


def mutate_requests(device: Callable[[], LogicalDevice], count: int, seed: int) -> Report:
    """Mutated APDUs, each framed right, as requests of an associated client of the test meter at wPort 7."""
    session = ServerSession({7: device()})
    opening = Frame(1, 7, SEEDS[0]).to_bytes()

    def ask(octets: bytes) -> bool:
        session.receive(opening)
        answer = session.receive(Frame(1, 7, octets).to_bytes())
        return answer[8:9] not in (b"", b"\xd8")

    return attack(ask, SEEDS, count, random.Random(seed))


def mutate_everything(count: int, seed: int) -> dict[str, Report]:
    """All targets, in this process; the count is shared out."""
    found = {}
    for name in TARGETS:
        share, seeds, make = TARGETS[name]
        attack(make(), seeds(), 200, random.Random(0))
        before = resident_bytes()
        report = attack(make(), seeds(), count * share // 100, random.Random(f"{seed}/{name}/0"))
        report.growth_bytes = resident_bytes() - before
        found[name] = report
    return found


# --- many processes --------------------------------------------------------------------------------------

_baseline = 0


def _warm_up() -> None:
    """What each process does before its memory counts: every target once, and what it needs."""
    global _baseline
    for _, seeds, make in TARGETS.values():
        attack(make(), seeds(), 300, random.Random(0))
    gc.collect()
    gc.freeze()
    _baseline = resident_bytes()


def _chunk(name: str, number: int, count: int, seed: int) -> tuple[str, Report]:
    _, seeds, make = TARGETS[name]
    report = attack(make(), seeds(), count, random.Random(f"{seed}/{name}/{number}"))
    report.growth_bytes = resident_bytes() - _baseline
    return name, report


def mutate_in_processes(count: int, seed: int, processes: int) -> dict[str, Report]:
    """All targets by several processes; what is found does not depend on how many."""
    found = {name: Report() for name in TARGETS}
    jobs = []
    for name, (share, _, _) in TARGETS.items():
        total = count * share // 100
        jobs += [
            (name, number, min(CHUNK, total - number * CHUNK), seed) for number in range(-(-total // CHUNK))
        ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _warm_up) as pool:
        for name, report in pool.map(_chunk, *zip(*jobs, strict=True)):
            found[name].add(report)
            sys.stderr.write(".")
            sys.stderr.flush()
    sys.stderr.write("\n")
    return found


def peers_on_a_share(count: int, seed: int) -> dict[str, Any]:
    """The libraries of others on a share: mutated answers to a client, and every cut of valid ones."""
    if not PYTHON.exists() or not count:
        return {}
    rng = random.Random(f"{seed}/peers")
    cuts = [octets[:cut] for octets in ANSWERS for cut in range(1, len(octets))]
    inputs = [(octets, True) for octets in cuts[:count]]
    inputs += [(octets, False) for octets in (mutated(rng, ANSWERS) for _ in range(count - len(cuts)))]
    rng.shuffle(inputs)
    documents = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "inputs.jsonl")
        lines = (
            {"hex": octets.hex(), "cut": cut, "ours": decode_whole(octets)}
            for octets, cut in inputs
            if octets
        )
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        driver = Path(__file__).with_name("fuzz_peers.py")
        for library in ("gurux-dlms", "dlms-cosem"):
            done = subprocess.run(
                [str(PYTHON), str(driver), library, str(file)], capture_output=True, text=True, check=False
            )
            last = done.stdout.splitlines()[-1:] or [json.dumps({"failure": done.stderr[-500:]})]
            documents[library] = json.loads(last[0])
    return documents


def main() -> int:
    """Run all targets and the peers' share, print the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000, help="inputs over all targets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--peers", type=int, default=10_000, help="inputs for each library of others")
    arguments = parser.parse_args()
    begin = time.perf_counter()
    found = mutate_in_processes(arguments.count, arguments.seed, arguments.processes)
    seconds = time.perf_counter() - begin
    total = Report()
    for report in found.values():
        total.add(report)
    document = {
        "seed": arguments.seed,
        "seconds": round(seconds, 1),
        "processes": arguments.processes,
        "openami": asdict(total),
        "targets": {
            name: {
                "inputs": report.inputs, "accepted": report.accepted,
                "slowest_ms": round(report.slowest_s * 1000, 2), "slow": len(report.slow),
                "foreign": len(report.foreign),
            }
            for name, report in found.items()
        },
        "peers": peers_on_a_share(arguments.peers, arguments.seed),
    }  # fmt: skip
    print(json.dumps(document, indent=1))
    return int(bool(total.foreign or total.slow or total.growth_bytes > 50_000_000))


if __name__ == "__main__":
    sys.exit(main())

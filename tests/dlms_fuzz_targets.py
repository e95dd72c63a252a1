"""Targets of the fuzz: each takes octets, tells whether it took them, and raises on a broken promise."""

from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from dlms_fuzz_lines import LINES
from dlms_mutation import (
    ANSWERS,
    DEVICE,
    HIGH,
    LINE,
    LOW,
    PASSWORD,
    REQUESTS,
    SEEDS,
    STAMPS,
    TELEGRAM,
    TITLE,
    VALUES,
)
from openami.meter.cosem_objects import meter_device
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import household_fleet
from openami.protocols.dlms.apdus.apdu import decode_apdu
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.apdus.general_block import TransferBlock
from openami.protocols.dlms.apdus.get import GetResponse
from openami.protocols.dlms.apdus.initiate import PROPOSED_FOR_WINDOWS, InitiateRequest, InitiateResponse
from openami.protocols.dlms.client.association import Association
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.encoding.axdr import decode, decode_plain, encode, plain
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.encoding.profile_buffer import ProfileDecoder
from openami.protocols.dlms.framing.hdlc_channel import HdlcChannel
from openami.protocols.dlms.framing.hdlc_frame import FrameKind, HdlcDecoder, HdlcFrame, control_of
from openami.protocols.dlms.framing.mbus_frame import MBusDecoder, segmented
from openami.protocols.dlms.framing.mode_e import Identification, ModeEClient, ModeEServer, SignOnState
from openami.protocols.dlms.framing.p1_telegram import P1Decoder
from openami.protocols.dlms.framing.push_framing import PushReader, pushes_of
from openami.protocols.dlms.framing.wrapper import Frame, WrapperDecoder
from openami.protocols.dlms.layers.decode_layers import decode_layers
from openami.protocols.dlms.protection.ciphered_apdu import CipheredApdu, Form
from openami.protocols.dlms.protection.ciphering import Cipher
from openami.protocols.dlms.protection.general_ciphering import AgreementKeys, KeySource
from openami.protocols.dlms.protection.general_signing import Signer
from openami.protocols.dlms.protection.message_protection import Accepted, Manner, MessageProtection, Signing
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.hdlc_server import HdlcServerSession
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import OpenAmiError, RemoteProtocolError
from openami.quantities.obis import ObisCode
from openami.security.counters import MemoryCounters, ReceiveCounters, SendCounter
from openami.security.meter_keys import MeterKeys
from openami.security.secret import Secret
from openami.security.signature import private_key
from openami.security.suites import SUITE_1

RENEWED = 500
"""Inputs after which a session is begun anew."""

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
    own, peer = LINE

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
        session.receive(HdlcFrame(LINE[1], LINE[0], control_of(FrameKind.SNRM)).to_bytes())
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
            connecting.send(HdlcFrame(*LINE, control_of(FrameKind.UA)).to_bytes())


def _framed_wrapper(octets: bytes, _number: int) -> bytes:
    return Frame(DEVICE, LOW, octets).to_bytes()


def _framed_hdlc(octets: bytes, number: int) -> bytes:
    """The meter's answer to the client's I frame of that number."""
    control = control_of(FrameKind.I, send_sequence=number, receive_sequence=number + 1)
    return HdlcFrame(*LINE, control, b"\xe6\xe7\x00" + octets[:1900]).to_bytes()


def _frames(seeds: Sequence[bytes]) -> list[bytes]:
    own, peer = LINE
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
        HdlcFrame(*LINE, control_of(FrameKind.UI), octets, segmented=more).to_bytes()
        for octets in information
        for more in (False, True)
    ]
    return [*push, *information, *hdlc, *_telegrams(), *_wrapped(push), *_ciphered_seeds()[:4]]


TARGETS: dict[str, tuple[int, Callable[[], Sequence[bytes]], Callable[[], Target]]] = {
    "apdu": (11, lambda: SEEDS, lambda: decode_whole),
    "acse": (7, lambda: [*SEEDS[:4], SEEDS[0][-16:], SEEDS[1][-14:]], _associations),
    "axdr": (11, lambda: VALUES, _values),
    "date-time": (3, lambda: STAMPS, _date_times),
    "hdlc": (7, lambda: _frames(SEEDS), lambda: _streams(HdlcDecoder)),
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
    **LINES,
}
"""By name: share in hundredths, seeds, and the maker of the target."""

assert sum(share for share, _, _ in TARGETS.values()) == 100

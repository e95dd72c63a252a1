"""What meters send unasked, over TCP and UDP: taken in whatever framing, deciphered, handed on.

    keys = PushKeys(keyring)
    listener = PushListener(on_push, SystemClock(), keys=keys.in_use, on_their_way=keys.on_their_way)
    port = await listener.start_tcp("0.0.0.0", 4059)

Anybody can connect to such a port. Who sends decides nothing about our memory or time: connections, octets of
unfinished messages and faults of one connection are bounded, and a connection that stays silent is closed.
Rules never to be broken: what one connection sends, however wrong, ends at most that connection; nothing is
handed on that claims a system title whose keys are known and was not protected with them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias, TypeVar, cast

from openami.protocols.dlms.apdus.apdu import decode_apdu
from openami.protocols.dlms.apdus.block_transfer import UnconfirmedBlocks
from openami.protocols.dlms.apdus.general_block import GENERAL_BLOCK_TRANSFER, TransferBlock, read_block
from openami.protocols.dlms.apdus.notification import DATA_NOTIFICATION, DataNotification, EventNotification
from openami.protocols.dlms.client.vendor_quirks import STANDARD, VendorQuirks
from openami.protocols.dlms.encoding.axdr import Plain, plain
from openami.protocols.dlms.encoding.limits import MAX_PDU
from openami.protocols.dlms.encoding.octets import Reader
from openami.protocols.dlms.framing.push_framing import Framing, PushedApdu, PushEvent, PushReader, pushes_of
from openami.protocols.dlms.protection.ciphered_apdu import CIPHERED_TAGS, CipheredApdu
from openami.protocols.dlms.protection.ciphering import Cipher
from openami.protocols.dlms.protection.general_ciphering import (
    GENERAL_CIPHERING,
    GeneralCipher,
    GeneralCiphering,
    KeySource,
)
from openami.protocols.dlms.protection.security_control import Protection
from openami.quantities.clock import Clock
from openami.quantities.errors import LinkError, ProtectionError, ProtocolError, RemoteProtocolError
from openami.security.counters import CounterStore, MemoryCounters, ReceiveCounters, SendCounter
from openami.security.meter_keys import SYSTEM_TITLE_OCTETS, MeterKeys

T = TypeVar("T")

_NO_TITLE: Final = bytes(SYSTEM_TITLE_OCTETS)
_CIPHERS: Final = 100_000
"""Meters whose counters without a tag are remembered."""

_KEYS_OF_A_PUSH: Final = frozenset((KeySource.UNICAST, KeySource.WRAPPED))
"""Not the broadcast key: whoever has one meter of its group open could push in the name of every other."""
_MAX_HELD: Final = 4 * MAX_PDU
_FRAME_COST: Final = 64
"""Octets of the frames that are kept with the blocks of one sender, and what each costs besides."""

_PEERS: Final = 256
"""Peers whose blocks are put together over datagrams; the one heard of longest ago is forgotten."""


@dataclass(frozen=True, slots=True)
class PushLimits:
    """What a listener takes.

    Parameters
    ----------
    connections:
        Open at once; one more is closed at once.
    idle_s:
        Longest time without a whole message.
    faults:
        Faults of one connection after which it is closed.
    silence_s:
        Time without an octet after which what is not whole is given up, and bare APDUs are taken as whole.
    """

    connections: int = 1000
    idle_s: float = 300.0
    faults: int = 16
    silence_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Push:
    """One notification of one meter.

    Parameters
    ----------
    title:
        System title of the meter, verified by its keys where ``protection`` has `Protection.AUTHENTICATED`;
        empty where the message does not carry one.
    received_at:
        When it was whole, UTC.
    notification:
        What it is.
    value:
        Its body as a plain value.
    protection:
        How the message was protected.
    frames:
        The octets on the wire that carried it, in order.
    framing:
        What was around it.
    peer:
        Host and port that it came from.
    source:
        wPort or address of the sender, where the framing has one.
    """

    title: bytes
    received_at: datetime
    notification: DataNotification | EventNotification
    value: Plain
    protection: Protection
    frames: tuple[bytes, ...]
    framing: Framing
    peer: tuple[str, int]
    source: int | None = None


@dataclass(frozen=True, slots=True)
class PushFault:
    """Something that came and is no notification, or is not believed."""

    error: ProtocolError
    received_at: datetime
    peer: tuple[str, int]
    frames: tuple[bytes, ...] = ()


KeysOf: TypeAlias = Callable[[bytes], MeterKeys | None]
"""Keys of a meter by its system title; None where it is not known."""


def _nobody(title: bytes) -> MeterKeys | None:
    return None


def _none_on_their_way(title: bytes) -> Sequence[MeterKeys]:
    return ()


def _unheard(fault: PushFault) -> None:
    return None


class PushListener:
    """Ports that meters push to.

    Invariant: after `close` no port and no connection is left; a counter is believed once for each key.

    Parameters
    ----------
    on_push:
        Given each notification; called in the event loop, so it must be quick.
    clock:
        What time it is.
    keys:
        Keys by system title.
    on_their_way:
        Keys that a meter may have in place of those, by system title: asked for where those do not open it.
    on_fault:
        Given what is wrong.
    minimum:
        Protection that a message must have; by default a meter without keys may push in the clear.
    counters:
        Where the counters that were believed are kept.
    title:
        Our system title, that general-ciphering may name as the recipient.
    quirks:
        What the manufacturer does otherwise.
    limits:
        What is taken.
    """

    def __init__(
        self,
        on_push: Callable[[Push], None],
        clock: Clock,
        *,
        keys: KeysOf = _nobody,
        on_their_way: Callable[[bytes], Sequence[MeterKeys]] = _none_on_their_way,
        on_fault: Callable[[PushFault], None] = _unheard,
        minimum: Protection = Protection.NONE,
        counters: CounterStore | None = None,
        title: bytes = _NO_TITLE,
        quirks: VendorQuirks = STANDARD,
        limits: PushLimits | None = None,
    ) -> None:
        self.limits = limits or PushLimits()
        self.refused = 0
        self._on_push = on_push
        self._on_fault = on_fault
        self._clock = clock
        self._keys = keys
        self._on_their_way = on_their_way
        self._minimum = minimum
        self._received = ReceiveCounters(counters or MemoryCounters())
        self._title = title
        self._ciphers: OrderedDict[bytes, Cipher] = OrderedDict()
        self._quirks = quirks
        self._servers: list[asyncio.Server] = []
        self._datagrams: list[asyncio.DatagramTransport] = []
        self._connections: set[_PushConnection] = set()

    @property
    def open_connections(self) -> int:
        """Connections now."""
        return len(self._connections)

    async def start_tcp(self, host: str, port: int = 0) -> int:
        """Listen on a TCP port, a free one where it is 0; gives the port, raises `LinkError`."""
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(lambda: _PushConnection(self), host, port, backlog=1024)
        except OSError as error:
            raise LinkError(f"cannot listen: {error.strerror or error}", where=f"{host}:{port}") from None
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def start_udp(self, host: str, port: int = 0) -> int:
        """Listen on a UDP port, a free one where it is 0; gives the port, raises `LinkError`."""
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _PushDatagrams(self), local_addr=(host, port)
            )
        except OSError as error:
            raise LinkError(f"cannot listen: {error.strerror or error}", where=f"{host}:{port}") from None
        self._datagrams.append(transport)
        return int(transport.get_extra_info("sockname")[1])

    async def close(self) -> None:
        """Stop listening and end every connection."""
        for server in self._servers:
            server.close()
        for transport in self._datagrams:
            transport.close()
        for connection in tuple(self._connections):
            connection.abort()
        while self._connections:
            await asyncio.sleep(0)
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()
        self._datagrams.clear()
        self._received.persist()

    # --- called by connections ------------------------------------------------------------------------

    def enter(self, connection: _PushConnection) -> bool:
        """Take a connection in; False where there are too many."""
        if len(self._connections) >= self.limits.connections:
            self.refused += 1
            return False
        self._connections.add(connection)
        return True

    def leave(self, connection: _PushConnection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)

    def heard(self, events: list[PushEvent], held: _Held, peer: tuple[str, int]) -> tuple[int, int]:
        """Hand on what came; gives how many notifications and how many faults that were."""
        good = bad = 0
        for event in events:
            now = self._clock.now()
            frames = (event.octets,) if isinstance(event, PushedApdu) else ()
            try:
                if isinstance(event, RemoteProtocolError):
                    raise event
                push = self._push(event, held, now, peer)
            except ProtocolError as error:
                bad += 1
                self._on_fault(PushFault(error, now, peer, frames))
                continue
            if push is not None:
                good += 1
                self._on_push(push)
        return good, bad

    def _push(self, pushed: PushedApdu, held: _Held, now: datetime, peer: tuple[str, int]) -> Push | None:
        """The notification in an APDU; None where it is a block and more follow."""
        apdu = pushed.apdu
        frames: tuple[bytes, ...] = (pushed.octets,)
        if apdu[:1] == bytes((GENERAL_BLOCK_TRANSFER,)):
            blocks = held.feed(read_block(Reader(apdu, 1)), pushed.octets)
            if blocks is None:
                return None
            apdu, frames = blocks
        title, protection = b"", Protection.NONE
        if apdu[:1] and apdu[0] in CIPHERED_TAGS:
            apdu, title, protection = self._opened(apdu)
        elif apdu[:1] == bytes((GENERAL_CIPHERING,)):
            apdu, title, protection = self._general(apdu)
        elif self._minimum:
            raise ProtectionError("a notification in the clear", expected=f"protection {self._minimum:#04x}")
        if apdu[:1] == bytes((DATA_NOTIFICATION,)):
            apdu = self._quirks.notification(apdu)
        notification = decode_apdu(apdu)
        if isinstance(notification, DataNotification):
            value = plain(notification.body)
        elif isinstance(notification, EventNotification):
            value = plain(notification.value)
        else:
            raise RemoteProtocolError(f"{type(notification).__name__}", expected="a notification")
        return Push(title, now, notification, value, protection, frames, pushed.framing, peer, pushed.source)

    def _opened(self, apdu: bytes) -> tuple[bytes, bytes, Protection]:
        ciphered = CipheredApdu.from_bytes(apdu)
        title = ciphered.title or b""
        if len(title) != SYSTEM_TITLE_OCTETS:
            raise ProtectionError("a ciphered notification without its sender's system title")
        if not ciphered.header.level and self._keys(title) is not None:
            raise ProtectionError(f"an unprotected notification that calls itself {title.hex()}")
        opened = self._believed(title, lambda cipher: cipher.open(apdu, self._minimum))
        return opened.apdu, title, opened.header.level

    def _general(self, apdu: bytes) -> tuple[bytes, bytes, Protection]:
        title = GeneralCiphering.from_bytes(apdu).header.originator
        least = self._minimum or Protection.ENCRYPTED
        opened = self._believed(
            title, lambda cipher: GeneralCipher(cipher).open(apdu, least, _KEYS_OF_A_PUSH)
        )
        return opened.apdu, title, opened.level

    def _believed(self, title: bytes, opened_by: Callable[[Cipher], T]) -> T:
        """What a meter sent, opened by its keys, or by those on their way to it.

        Raises
        ------
        ProtectionError
            None of them opens it; says what was wrong with the first.
        """
        keys = self._keys(title)
        if keys is None:
            raise ProtectionError(f"no keys of {title.hex()}", expected="keys of every meter that pushes")
        cipher = self._cipher(title, keys)
        try:
            opened = opened_by(cipher)
        except ProtectionError as wrong:
            for other in self._on_their_way(title):
                cipher = self._cipher(title, other)
                try:
                    opened = opened_by(cipher)
                    break
                except ProtectionError:
                    continue
            else:
                raise wrong
        self._keep(title, cipher)
        # What is handed on may be acted upon: the counter must not be believed again after a crash.
        self._received.persist()
        return opened

    def _cipher(self, title: bytes, keys: MeterKeys) -> Cipher:
        """The cipher of a meter: kept, because counters without a tag are remembered in it alone."""
        kept = self._ciphers.get(title)
        if kept is not None and kept.keys == keys:
            return kept
        return Cipher(keys, self._title, title, _sends_nothing(), self._received)

    def _keep(self, title: bytes, cipher: Cipher) -> None:
        """Keep the cipher of a meter that was believed."""
        self._ciphers[title] = cipher
        self._ciphers.move_to_end(title)
        if len(self._ciphers) > _CIPHERS:
            self._ciphers.popitem(last=False)


def _sends_nothing() -> SendCounter:
    return SendCounter(MemoryCounters(), "listener")


class _Held:
    """Blocks of one sender, and the frames that they came in.

    Invariant: the frames are those of the blocks so far, and not more than `_MAX_HELD` octets.
    """

    __slots__ = ("_blocks", "_octets", "frames")

    def __init__(self) -> None:
        self._blocks = UnconfirmedBlocks(MAX_PDU)
        self._octets = 0
        self.frames: list[bytes] = []

    def feed(self, block: TransferBlock, frame: bytes) -> tuple[bytes, tuple[bytes, ...]] | None:
        """The APDU and its frames where this was its last block; raises `RemoteProtocolError`."""
        if block.number == 1:
            self._forget()
        self.frames.append(frame)
        self._octets += len(frame) + _FRAME_COST
        try:
            if self._octets > _MAX_HELD:
                raise RemoteProtocolError("blocks with far more around them than in them")
            apdu = self._blocks.feed(block)
        except RemoteProtocolError:
            self._forget()
            raise
        if apdu is None:
            return None
        frames = tuple(self.frames)
        self._forget()
        return apdu, frames

    def _forget(self) -> None:
        self.frames = []
        self._octets = 0


class _PushConnection(asyncio.Protocol):
    """One TCP connection.

    Invariant: it is closed after `PushLimits.faults` faults, and after `PushLimits.idle_s` without a message.
    """

    def __init__(self, listener: PushListener) -> None:
        self._listener = listener
        self._reader = PushReader()
        self._held = _Held()
        self._faults = 0
        self._peer = ("", 0)
        self._transport: asyncio.Transport | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A meter has come."""
        if not self._listener.enter(self):
            transport.close()
            return
        self._transport = cast(asyncio.Transport, transport)
        self._peer = tuple(transport.get_extra_info("peername", ("", 0))[:2])
        self._rest_again()

    def data_received(self, data: bytes) -> None:
        """Octets have come, cut anyhow."""
        if self._transport is None:
            return
        self._take(self._reader.feed(data))
        if self._silence is not None:
            self._silence.cancel()
        self._silence = self._loop.call_later(self._listener.limits.silence_s, self._silent)

    def eof_received(self) -> bool:
        """The meter sends no more."""
        self._take(self._reader.end())
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The meter has gone."""
        self._transport = None
        for timer in (self._silence, self._idle):
            if timer is not None:
                timer.cancel()
        self._listener.leave(self)

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _silent(self) -> None:
        self._take(self._reader.silence())

    def _take(self, events: list[PushEvent]) -> None:
        good, bad = self._listener.heard(events, self._held, self._peer)
        self._faults += bad
        if good:
            self._rest_again()
        broken = bad and self._reader.framing is Framing.WRAPPER
        if broken or self._faults >= self._listener.limits.faults:
            self.abort()

    def _rest_again(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = self._loop.call_later(self._listener.limits.idle_s, self.abort)


class _PushDatagrams(asyncio.DatagramProtocol):
    """One UDP port: each datagram holds whole frames; blocks are put together by peer."""

    def __init__(self, listener: PushListener) -> None:
        self._listener = listener
        self._held: OrderedDict[object, _Held] = OrderedDict()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """A datagram has come."""
        peer = (str(addr[0]), int(addr[1]))
        held = self._held.pop(peer, None) or _Held()
        self._listener.heard(pushes_of(data), held, peer)
        if held.frames:
            self._held[peer] = held
            if len(self._held) > _PEERS:
                self._held.popitem(last=False)

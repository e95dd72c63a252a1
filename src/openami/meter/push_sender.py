"""Software meters that push: what waits in their outboxes is sent, and nobody has to talk to them for it.

A meter is looked at when a client changed something of it, and at the next instant at which its own objects
have something to do (schedules, calendars, captures); monitors, which poll, once a minute. That is known for
meters with a push destination alone: all others cost nothing. Whoever configures a meter decides nothing
about our memory or time: pushes that wait, their octets, calls at once, their time and looks in a row are
bounded. Rules never to be broken: nobody is called but the destination of a push setup; a push that fails is
in the event log of its meter, and never an error of whoever serves it.
"""

from __future__ import annotations

import asyncio
import heapq
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, timedelta
from functools import lru_cache
from itertools import count
from typing import Final

from openami.protocols.dlms.apdus.access import LONG_INVOKE_MASK, LongInvoke
from openami.protocols.dlms.apdus.authentication import PUBLIC_CLIENT
from openami.protocols.dlms.apdus.notification import DataNotification
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.interface_classes.push_setup import Delivery
from openami.protocols.dlms.interface_classes.stored_object import items, octets
from openami.quantities.errors import OpenAmiError
from openami.quantities.obis import ObisCode
from openami.readings.event import EventCode

from .companion.model import CompanionModel, companion_model
from .companion.objects import companion_device
from .companion.state import CompanionState
from .fleet import Fleet
from .meter_clock import milliseconds
from .push_message import Carrier, PushProtection, PushTarget, push_frames, push_protection, push_target

_PUSH_SETUP: Final = 40
_MONITORS: Final = (21, 67, 71)
_DESTINATION: Final = 3
_LOOK_S: Final = 60
_AHEAD: Final = timedelta(days=1)
_LONGEST_SLEEP_S: Final = 3600.0
_REFUSAL_S: Final = 0.2
_LINGER_S: Final = 2.0
_OUTDATED: Final = 64
"""Looks in the queue that an earlier one took the place of, before they are thrown out."""


@dataclass(frozen=True, slots=True)
class Pushing:
    """What pushes of a fleet may take.

    Parameters
    ----------
    waiting:
        Pushes that wait or are under way; one more is lost, and logged.
    waiting_octets:
        Octets of all of them.
    calls:
        Destinations called at once.
    call_s:
        Longest time of one call.
    turn_s:
        How long meters are looked at, and pushes begun, before others have their turn.
    settle_s:
        How long after a change a meter is looked at, so that several changes are one.
    """

    waiting: int = 4096
    waiting_octets: int = 16 << 20
    calls: int = 64
    call_s: float = 10.0
    turn_s: float = 0.02
    settle_s: float = 0.05


AS_ASKED: Final = Pushing()
"""Everything that the push setups ask for, within the usual limits."""


@dataclass(slots=True)
class Sendings:
    """What a sender has done, for its status."""

    sent: int = 0
    failed: int = 0
    given_up: int = 0


@dataclass(slots=True, eq=False)
class _Push:
    """A push that is tried until somebody takes it."""

    meter_id: str
    target: PushTarget
    protection: PushProtection
    client: int
    apdu: bytes
    asked_ms: int
    attempts_s: tuple[int, ...]
    tried: int = 0


class PushSender:
    """Sends the pushes of a fleet.

    Invariant: of a meter at most one look is due; after `close` nothing is under way, and the fleet has no
    attendant.

    Parameters
    ----------
    fleet:
        The meters.
    limits:
        What may be taken.
    """

    def __init__(self, fleet: Fleet, limits: Pushing | None = None) -> None:
        self.limits = limits or AS_ASKED
        self.sendings = Sendings()
        self._fleet = fleet
        self._order = count()
        self._looks: list[tuple[int, int, str]] = []
        self._look_at: dict[str, int] = {}
        self._attempts: list[tuple[int, int, _Push]] = []
        self._calls: set[asyncio.Task[None]] = set()
        self._invokes: dict[str, int] = {}
        self._waiting = 0
        self._waiting_octets = 0
        self._looking: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def waiting(self) -> int:
        """Pushes that wait or are under way."""
        return self._waiting

    def start(self) -> None:
        """Attend to the fleet, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._fleet.attendant = self

    async def close(self) -> None:
        """Give up what waits and is under way."""
        self._fleet.attendant = None
        if self._timer is not None:
            self._timer.cancel()
        for call in tuple(self._calls):
            call.cancel()
        while self._calls:
            await asyncio.sleep(0)
        self._attempts.clear()
        self._looks.clear()
        self._look_at.clear()
        self._loop = None

    # --- called by the fleet --------------------------------------------------------------------------

    def changed(self, meter_id: str) -> None:
        """Look at a meter soon; not for what it did while it was looked at."""
        if meter_id != self._looking and self._concerned(meter_id):
            self._look(meter_id, self._now_ms() + round(1000 * self.limits.settle_s))
            self._sleep()

    def moved(self) -> None:
        """Do what is due at the new present."""
        self._sleep()

    # --- meters ---------------------------------------------------------------------------------------

    def _concerned(self, meter_id: str) -> bool:
        """True where a meter has somebody to push to, or something that wants to be pushed."""
        spec = self._fleet.meter_spec(meter_id)
        if spec.companion is None:
            return False
        state = self._fleet.companion_state(meter_id)
        return bool(state.deliveries) or _has_destination(companion_model(spec.companion), state)

    def _look(self, meter_id: str, at_ms: int) -> None:
        """Look at a meter then, where nothing is due before."""
        if at_ms < self._look_at.get(meter_id, at_ms + 1):
            self._look_at[meter_id] = at_ms
            heapq.heappush(self._looks, (at_ms, next(self._order), meter_id))
            if len(self._looks) > 2 * len(self._look_at) + _OUTDATED:
                self._looks = [(due, next(self._order), meter) for meter, due in self._look_at.items()]
                heapq.heapify(self._looks)

    def _see(self, meter_id: str) -> None:
        """Let a meter do what is due, take what it wants to push, and find out when to look again."""
        companion = self._fleet.meter_spec(meter_id).companion
        if companion is None:
            return
        model, state = companion_model(companion), self._fleet.companion_state(meter_id)
        self._looking = meter_id
        try:
            self._take(meter_id, model, state)
            if not _has_destination(model, state):
                return
            device = companion_device(self._fleet, meter_id)
            device.settle()
            self._take(meter_id, model, state)
            own = self._fleet.meter(meter_id).now
            due = device.next_due(own + _AHEAD) or own + _AHEAD
        finally:
            self._looking = None
        if _monitors(model, state):
            due = min(due, own + timedelta(seconds=_LOOK_S))
        # Never at once: a meter whose clock stands would be looked at for ever.
        self._look(meter_id, self._now_ms() + max(100, round((due - own).total_seconds() * 1000)))

    def _take(self, meter_id: str, model: CompanionModel, state: CompanionState) -> None:
        """Take the pushes out of the outbox of a meter; those without a destination go to nobody."""
        while state.deliveries:
            delivery = state.deliveries.popleft()
            if not delivery.destination:
                continue
            try:
                self._accept(meter_id, model, delivery)
            except OpenAmiError:
                self._lost(meter_id)

    def _accept(self, meter_id: str, model: CompanionModel, delivery: Delivery) -> None:
        """Queue a push; raises where it cannot be sent, or too many wait."""
        target = push_target(delivery.transport, delivery.destination, delivery.message)
        spec = self._fleet.meter_spec(meter_id)
        protection = push_protection(delivery.protection, spec.keys is not None)
        invoke = self._invokes[meter_id] = (self._invokes.get(meter_id, 0) + 1) & LONG_INVOKE_MASK
        stamp = CosemDateTime.from_instant(delivery.asked_at, delivery.asked_at.tzinfo or UTC).to_bytes()
        apdu = DataNotification(invoke | LongInvoke.HIGH_PRIORITY, stamp, delivery.body).to_bytes()
        if (
            self._waiting >= self.limits.waiting
            or self._waiting_octets + len(apdu) > self.limits.waiting_octets
        ):
            self._lost(meter_id)
            return
        client = delivery.client or _push_client(model)
        past_ms = self._fleet.meter(meter_id).own_ms - milliseconds(delivery.asked_at)
        asked_ms = self._now_ms() - max(0, past_ms)
        push = _Push(meter_id, target, protection, client, apdu, asked_ms, delivery.attempts_s)
        self._waiting += 1
        self._waiting_octets += len(apdu)
        self._try(push)

    def _lost(self, meter_id: str) -> None:
        self.sendings.given_up += 1
        self._fleet.meter(meter_id).log_incident(EventCode.PUSH_FAILED)

    # --- attempts -------------------------------------------------------------------------------------

    def _try(self, push: _Push) -> None:
        """Try a push again when its next attempt is due, or give it up."""
        if push.tried < len(push.attempts_s):
            at_ms = push.asked_ms + 1000 * push.attempts_s[push.tried]
            heapq.heappush(self._attempts, (at_ms, next(self._order), push))
            return
        self.sendings.given_up += 1
        self._done(push)

    def _done(self, push: _Push) -> None:
        self._waiting -= 1
        self._waiting_octets -= len(push.apdu)

    def _begin(self, push: _Push) -> None:
        """Begin an attempt."""
        call = asyncio.get_running_loop().create_task(self._call(push))
        self._calls.add(call)
        call.add_done_callback(self._ended)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._sleep()

    async def _call(self, push: _Push) -> None:
        """One attempt: what goes wrong is logged by the meter, and tried again."""
        push.tried += 1
        try:
            await self._send(push)
        except (OSError, TimeoutError, UnicodeError, OpenAmiError):  # a name that is none is no text to DNS
            self.sendings.failed += 1
            meter = self._fleet.meter(push.meter_id)
            if meter.answers:
                meter.log_incident(EventCode.PUSH_FAILED)
            self._try(push)
            return
        self.sendings.sent += 1
        self._done(push)

    async def _send(self, push: _Push) -> None:
        """Frames of a push to its destination; raises where nobody took them."""
        meter = self._fleet.meter(push.meter_id)
        if not meter.answers:
            raise TimeoutError  # no supply, or a dead core: as if nobody answered
        frames = push_frames(
            push.apdu,
            push.target.carrier,
            push.protection,
            self._fleet.security(push.meter_id),
            self._fleet.meter_spec(push.meter_id).wport,
            push.client,
        )
        send = _send_datagrams if push.target.carrier is Carrier.UDP else _send_stream
        await asyncio.wait_for(send(push.target, frames), self.limits.call_s)

    # --- time -----------------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        return milliseconds(self._fleet.now())

    def _turn(self) -> None:
        """Do some of what is due, and sleep until more is."""
        self._timer = None
        loop = asyncio.get_running_loop()
        until = loop.time() + self.limits.turn_s
        while loop.time() < until:
            now_ms = self._now_ms()
            if self._attempts and self._attempts[0][0] <= now_ms and len(self._calls) < self.limits.calls:
                self._begin(heapq.heappop(self._attempts)[2])
            elif self._looks and self._looks[0][0] <= now_ms:
                at_ms, _, meter_id = heapq.heappop(self._looks)
                if self._look_at.get(meter_id) == at_ms:
                    del self._look_at[meter_id]
                    self._see(meter_id)
            else:
                break
        self._sleep()

    def _sleep(self) -> None:
        """Wake at the next instant at which something is due."""
        if self._loop is None:
            return
        dues = [queue[0][0] for queue in (self._looks, self._attempts_to_begin()) if queue]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if dues:
            delay = (min(dues) - self._now_ms()) / 1000
            self._timer = self._loop.call_later(min(max(delay, 0.0), _LONGEST_SLEEP_S), self._turn)

    def _attempts_to_begin(self) -> list[tuple[int, int, _Push]]:
        """Attempts that wait for their time, not for a line: the end of a call wakes those."""
        return self._attempts if len(self._calls) < self.limits.calls else []


@lru_cache(maxsize=64)
def _setups(model: CompanionModel) -> tuple[ObisCode, ...]:
    return tuple(item.logical_name for item in model.of_class(_PUSH_SETUP))


@lru_cache(maxsize=64)
def _watched(model: CompanionModel) -> frozenset[ObisCode]:
    return frozenset(item.logical_name for kind in _MONITORS for item in model.of_class(kind))


def _has_destination(model: CompanionModel, state: CompanionState) -> bool:
    """True where a push setup of a meter points to somebody."""
    kept = (state.attributes.get((name, _DESTINATION)) for name in _setups(model))
    return any(octets(items(value)[1]) for value in kept if value is not None)


def _monitors(model: CompanionModel, state: CompanionState) -> bool:
    """True where a client set something of a monitor of a meter."""
    return any(index > 0 and name in _watched(model) for name, index in state.attributes)


@lru_cache(maxsize=64)
def _push_client(model: CompanionModel) -> int:
    """The client that pushes are for whose setup names none: the one that is pre-established."""
    return next((client.port for client in model.clients if client.pre_established), PUBLIC_CLIENT)


# --- calls ------------------------------------------------------------------------------------------------


async def _send_stream(target: PushTarget, frames: list[bytes]) -> None:
    """Connect, send, and give the other side a moment to close first; raises `OSError`."""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        writer.write(b"".join(frames))
        await writer.drain()
        writer.write_eof()
        # What is out was taken: a listener that stays open, or says something, is not called again for it.
        with suppress(TimeoutError, OSError):
            await asyncio.wait_for(_heard_out(reader), _LINGER_S)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _heard_out(reader: asyncio.StreamReader) -> None:
    while await reader.read(4096):
        pass


class _Refusal(asyncio.DatagramProtocol):
    """Learns whether a datagram was refused."""

    def __init__(self, refused: asyncio.Future[None]) -> None:
        self._refused = refused

    def error_received(self, exc: Exception) -> None:
        """The network says that nobody listens there."""
        if not self._refused.done():
            self._refused.set_exception(exc)


async def _send_datagrams(target: PushTarget, frames: list[bytes]) -> None:
    """Send each frame in a datagram; raises `OSError` where the network refuses them at once."""
    loop = asyncio.get_running_loop()
    refused: asyncio.Future[None] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Refusal(refused), remote_addr=(target.host, target.port)
    )
    try:
        for frame in frames:
            transport.sendto(frame)
        await asyncio.wait((refused,), timeout=_REFUSAL_S)
        if refused.done():
            refused.result()
    finally:
        refused.cancel()
        transport.close()

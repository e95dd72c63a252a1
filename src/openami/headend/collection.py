"""Collection: many meters read at once, each kept apart from the others' trouble, all through the one Door.

A meter is read in one association: who it is, its clock, its profiles, its registers, its events, and last
its clock is set if need be. What was read becomes one batch per meter; finished batches are put through the
Door together, and a meter counts as read only when the Door's receipt is there. The rules never to be
broken: nothing is stored under a meter whose serial number was not read in the same association, and what
went wrong (a retry, a failure, a foreign serial number, bytes that are not protected as agreed) is stored as
an event, so that the store alone tells the story.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

from openami.headend.blocks import (
    Exchange,
    batch_of,
    frames_evidence,
    measured_intervals,
    merge_batches,
    source_of,
)
from openami.protocols.dlms.apdus.results import AccessError
from openami.protocols.driver import MeterDriver, RecordedFrame
from openami.quantities.clock import Clock
from openami.quantities.errors import (
    LinkError,
    LocalProtocolError,
    OpenAmiError,
    ProtectionError,
    ProtocolError,
    QuantityError,
    SecurityError,
    StoreError,
)
from openami.readings.door import Batch, Door, Receipt
from openami.readings.event import Event, EventCode
from openami.readings.evidence import Evidence
from openami.readings.read_order import ReadOrder

DriverFactory = Callable[[ReadOrder], MeterDriver]
Progress = Callable[[int, int], None]
Sleep = Callable[[float], Awaitable[None]]

_EVENTS_BEFORE_RANGE = timedelta(days=1)
_LONGEST_DETAIL = 500
"""Characters of what a meter (or an error about it) says that go into an event."""


@dataclass(frozen=True, slots=True)
class CollectionPolicy:
    """How a collection behaves.

    Parameters
    ----------
    concurrency:
        Associations open at the same time.
    attempts:
        How often a meter is tried before it is given up.
    retry_pause_s:
        Pause before the second attempt in seconds; doubled before each further one.
    exchange_timeout_s:
        Longest time one association may take in seconds, however busy the meter keeps the line.
    clock_difference_s:
        A clock difference beyond this many seconds becomes an event.
    group_meters, group_s:
        Finished meters are put through the Door together: at most so many, at most so long after the first.
    """

    concurrency: int = 64
    attempts: int = 3
    retry_pause_s: float = 1.0
    exchange_timeout_s: float = 120.0
    clock_difference_s: float = 2.0
    group_meters: int = 250
    group_s: float = 2.0

    def __post_init__(self) -> None:
        if min(self.concurrency, self.attempts, self.group_meters) < 1:
            raise QuantityError(f"{self} cannot collect", expected="at least one of everything")


@dataclass(frozen=True, slots=True)
class MeterFailure:
    """A meter that could not be read, and why."""

    meter_id: str
    address: str
    reason: str
    attempts: int


@dataclass(frozen=True, slots=True)
class CollectionReport:
    """What a collection did; every number counts what the Door acknowledged.

    Parameters
    ----------
    meters, read, failed, retried:
        Orders, meters whose readings are durable, meters given up, meters that needed more than one attempt.
    intervals:
        Interval values read (duplicates of what was stored before included).
    frames:
        Frames exchanged, both directions, failed attempts included.
    batches, duplicates, conflicts:
        Puts through the Door, and what it said of them.
    seconds:
        How long it took.
    failures:
        One entry per failed meter, in the order of the orders.
    """

    meters: int
    read: int
    failed: int
    retried: int
    intervals: int
    frames: int
    batches: int
    duplicates: int
    conflicts: int
    seconds: float
    failures: tuple[MeterFailure, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Outcome:
    """What became of one order: what shall be stored, and the failure if it is one."""

    order: ReadOrder
    batch: Batch
    attempts: int
    frames: int
    intervals: int = 0
    failure: MeterFailure | None = None


class Collector:
    """Reads meters concurrently and puts what they gave through a Door.

    Invariant: a meter is reported as read if and only if the receipt of the batch with its readings came
    back. When the Door raises `StoreError`, the collection stops with it: meters that were not acknowledged
    are read again by the next run.

    Parameters
    ----------
    door:
        Where readings go; ``put`` is called from one thread at a time.
    clock:
        The head-end's clock.
    driver_factory:
        Makes an unopened driver for an order.
    policy:
        How many at once, how often, how long.
    sleep:
        The pause between attempts, handed in so that tests and simulations do not wait.
    progress:
        Called with (meters done, meters) when meters are durable or given up.
    """

    def __init__(
        self,
        door: Door,
        clock: Clock,
        driver_factory: DriverFactory,
        *,
        policy: CollectionPolicy | None = None,
        sleep: Sleep = asyncio.sleep,
        progress: Progress | None = None,
    ) -> None:
        self._door = door
        self._clock = clock
        self._driver_factory = driver_factory
        self._policy = policy or CollectionPolicy()
        self._sleep = sleep
        self._progress = progress

    async def collect(self, orders: Sequence[ReadOrder]) -> CollectionReport:
        """Execute the orders and report.

        Raises
        ------
        StoreError
            The Door could not store; what it acknowledged before is safe.
        """
        began = time.perf_counter()
        tally = _Tally(meters=len(orders))
        finished: asyncio.Queue[_Outcome | None] = asyncio.Queue(maxsize=2 * self._policy.group_meters)
        waiting = iter(orders)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._store(finished, tally))
                readers = [
                    group.create_task(self._work(waiting, finished))
                    for _ in range(min(self._policy.concurrency, len(orders)))
                ]
                await asyncio.gather(*readers)
                await finished.put(None)
        except BaseExceptionGroup as errors:
            # The group exists only because tasks run side by side; callers deal in the one cause.
            raise errors.exceptions[0] from None
        position = {order.meter_id: index for index, order in enumerate(orders)}
        tally.failures.sort(key=lambda failure: position[failure.meter_id])
        return tally.report(time.perf_counter() - began)

    async def _work(self, waiting: Iterator[ReadOrder], finished: asyncio.Queue[_Outcome | None]) -> None:
        for order in waiting:
            await finished.put(await self._read_with_retries(order))

    async def _read_with_retries(self, order: ReadOrder) -> _Outcome:
        events: list[Event] = []
        evidence: list[Evidence] = []
        frames = 0
        reason = ""
        for attempt in range(1, self._policy.attempts + 1):
            if attempt > 1:
                events.append(self._event(order, EventCode.READ_RETRIED, attempt, reason, evidence))
                await self._sleep(self._policy.retry_pause_s * 2 ** (attempt - 2))
            driver = self._driver_factory(order)
            kept: list[RecordedFrame] = []
            try:
                exchange = await self._exchange(order, driver, kept)
                batch = batch_of(exchange)
            except _ForeignMeterError as foreign:
                kept.extend(driver.take_frames())
                evidence.append(frames_evidence(order, kept, self._clock.now(), "identity"))
                detail = f"expected={order.meter_id};found={plain_detail(foreign.found)}"
                at = self._clock.now()
                code = EventCode.IDENTITY_MISMATCH
                events.append(Event(order.meter_id, at, code, at, detail, evidence[-1].evidence_id))
                return self._failed(order, str(foreign), attempt, frames + len(kept), events, evidence)
            except (LinkError, ProtocolError, QuantityError, SecurityError) as error:
                kept.extend(driver.take_frames())
                reason = str(error)
                if kept:
                    locator = f"attempt {attempt}: {reason}"
                    evidence.append(frames_evidence(order, kept, self._clock.now(), locator))
                frames += len(kept)
                if isinstance(error, ProtectionError | SecurityError):
                    events.append(self._event(order, EventCode.SECURITY_ALARM, attempt, reason, evidence))
                if isinstance(error, LocalProtocolError | SecurityError):
                    break
            else:
                story = Batch(source_of(order), events=tuple(events), evidence=tuple(evidence))
                return _Outcome(
                    order,
                    merge_batches([batch, story], source_of(order)),
                    attempts=attempt,
                    frames=frames + len(exchange.frames),
                    intervals=measured_intervals(batch.intervals),
                )
        events.append(self._event(order, EventCode.READ_FAILED, attempt, reason, evidence))
        return self._failed(order, reason, attempt, frames, events, evidence)

    async def _exchange(self, order: ReadOrder, driver: MeterDriver, kept: list[RecordedFrame]) -> Exchange:
        try:
            async with asyncio.timeout(self._policy.exchange_timeout_s):
                try:
                    return await self._conversation(order, driver, kept)
                finally:
                    await driver.close()
        except TimeoutError:
            raise LinkError(
                f"not finished within {self._policy.exchange_timeout_s:g} s", where=source_of(order)
            ) from None

    async def _conversation(
        self, order: ReadOrder, driver: MeterDriver, kept: list[RecordedFrame]
    ) -> Exchange:
        await driver.open()
        found = await driver.identity()
        if found != order.meter_id:
            raise _ForeignMeterError(order, found)
        asked_at = self._clock.now()
        meter_clock = await driver.clock()
        answered_at = self._clock.now()
        difference = meter_clock - (asked_at + (answered_at - asked_at) / 2)
        profile = (
            await driver.load_profile(order.start, order.end, order.channels) if order.channels else None
        )
        freezes = (
            await driver.freezes(order.start, order.end, order.registers)
            if order.freezes and order.registers
            else None
        )
        registers = await driver.registers(order.registers) if order.registers else []
        # A day more than asked: an event of a clock that was ahead would otherwise fall between two reads.
        events = await driver.events(order.start - _EVENTS_BEFORE_RANGE, max(order.end, answered_at))
        captured_at = self._clock.now()
        notes = await self._keep_time(order, driver, difference, captured_at)
        await driver.close()
        kept.extend(driver.take_frames())
        if repeats := repeated_requests(kept):
            detail = f"requests={repeats};reason=no answer in time"
            notes += (Event(order.meter_id, captured_at, EventCode.READ_RETRIED, captured_at, detail),)
        return Exchange(
            order=order,
            captured_at=captured_at,
            complete_until=min(meter_clock, answered_at),
            frames=tuple(kept),
            profile=profile,
            freezes=freezes,
            registers=tuple(registers),
            events=tuple(events),
            notes=notes,
        )

    async def _keep_time(
        self, order: ReadOrder, driver: MeterDriver, difference: timedelta, at: datetime
    ) -> tuple[Event, ...]:
        """Report the clock difference (meter minus head-end) and set the clock where it is too large."""
        seconds = difference.total_seconds()
        detail = f"seconds={round(seconds)}"
        notes = []
        if abs(seconds) > self._policy.clock_difference_s:
            notes.append(Event(order.meter_id, at, EventCode.CLOCK_DIFFERENCE, at, detail))
        if abs(seconds) > order.set_clock_beyond_s:
            try:
                await driver.set_clock(self._clock.now())
            except AccessError as refused:
                # What was read is worth no less because the meter does not let its clock be set.
                detail = f"{detail};refused={plain_detail(str(refused))}"
                notes = [Event(order.meter_id, at, EventCode.CLOCK_DIFFERENCE, at, detail)]
            else:
                notes.append(Event(order.meter_id, at, EventCode.CLOCK_SET, at, detail))
        return tuple(notes)

    async def _store(self, finished: asyncio.Queue[_Outcome | None], tally: _Tally) -> None:
        more = True
        while more:
            group, more = await self._next_group(finished)
            batch = merge_batches([outcome.batch for outcome in group], "headend")
            if not batch.empty:
                receipt = await self._put(batch)
                tally.batches += 1
                tally.duplicates += receipt.duplicates
                tally.conflicts += len(receipt.conflicts)
            for outcome in group:
                tally.acknowledge(outcome)
            if self._progress is not None and group:
                self._progress(tally.read + len(tally.failures), tally.meters)

    async def _put(self, batch: Batch) -> Receipt:
        """Put through the Door; a collection that is cancelled ends when the put under way has ended."""
        putting = asyncio.ensure_future(asyncio.to_thread(self._door.put, batch))
        try:
            return await asyncio.shield(putting)
        except asyncio.CancelledError:
            with suppress(StoreError):
                await putting
            raise

    async def _next_group(self, finished: asyncio.Queue[_Outcome | None]) -> tuple[list[_Outcome], bool]:
        """Finished meters for one put, and whether more may come."""
        group: list[_Outcome] = []
        loop = asyncio.get_running_loop()
        deadline = None
        while len(group) < self._policy.group_meters:
            try:
                async with asyncio.timeout_at(deadline):
                    outcome = await finished.get()
            except TimeoutError:
                break
            if outcome is None:
                return group, False
            group.append(outcome)
            if deadline is None:
                deadline = loop.time() + self._policy.group_s
        return group, True

    def _event(
        self, order: ReadOrder, code: EventCode, attempt: int, reason: str, evidence: Sequence[Evidence]
    ) -> Event:
        at = self._clock.now()
        key = "attempts" if code is EventCode.READ_FAILED else "attempt"
        return Event(
            order.meter_id,
            at,
            code,
            at,
            f"{key}={attempt};reason={plain_detail(reason)}",
            evidence[-1].evidence_id if evidence else None,
        )

    @staticmethod
    def _failed(
        order: ReadOrder,
        reason: str,
        attempts: int,
        frames: int,
        events: Sequence[Event],
        evidence: Sequence[Evidence],
    ) -> _Outcome:
        batch = Batch(source_of(order), events=tuple(events), evidence=tuple(evidence))
        failure = MeterFailure(order.meter_id, source_of(order), reason, attempts)
        return _Outcome(order, batch, attempts=attempts, frames=frames, failure=failure)


@dataclass(slots=True)
class _Tally:
    """Counts of a running collection; changed only after the Door's receipt."""

    meters: int
    read: int = 0
    retried: int = 0
    intervals: int = 0
    frames: int = 0
    batches: int = 0
    duplicates: int = 0
    conflicts: int = 0
    failures: list[MeterFailure] = field(default_factory=list)

    def acknowledge(self, outcome: _Outcome) -> None:
        self.retried += outcome.attempts > 1
        self.intervals += outcome.intervals
        self.frames += outcome.frames
        if outcome.failure is None:
            self.read += 1
        else:
            self.failures.append(outcome.failure)

    def report(self, seconds: float) -> CollectionReport:
        return CollectionReport(
            meters=self.meters,
            read=self.read,
            failed=len(self.failures),
            retried=self.retried,
            intervals=self.intervals,
            frames=self.frames,
            batches=self.batches,
            duplicates=self.duplicates,
            conflicts=self.conflicts,
            seconds=seconds,
            failures=tuple(self.failures),
        )


def repeated_requests(frames: Sequence[RecordedFrame]) -> int:
    """How many requests were sent again without an answer in between, seen from the frames alone."""
    return sum(one.direction == other.direction == "->" for one, other in pairwise(frames))


class _ForeignMeterError(OpenAmiError):
    """Another meter answered at the address."""

    def __init__(self, order: ReadOrder, found: str) -> None:
        self.found = found
        super().__init__(
            f"a meter with the serial number {found!r} answered",
            where=source_of(order),
            expected=order.meter_id,
        )


def plain_detail(text: str) -> str:
    """Text that does not break the ``key=value;key=value`` of an event's detail, nor what stores it."""
    printable = "".join(char if char.isprintable() else " " for char in text[:_LONGEST_DETAIL])
    return " ".join(printable.replace(";", ",").split())

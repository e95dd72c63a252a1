"""A rotation of keys that was killed at any message is settled by the next collection, and all is read."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from openami.headend.collection import CollectionPolicy, CollectionReport
from openami.headend.dlms_conversation import LinkSettings
from openami.headend.key_rotation import Outcome, Rotation, check, rotate
from openami.meter.cosem_objects import FleetDevices
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FleetSpec, household_fleet
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.clock import SimulatedClock
from openami.quantities.obis import IMPORT_ENERGY, IMPORT_INTERVAL
from openami.readings.event import EventCode
from openami.readings.read_order import ReadOrder
from openami.security.counters import SendCounter
from openami.security.keyring import MeterCredentials
from openami.security.meter_keys import KeyKind, MeterKeys
from openami.security.secret import Secret
from openami.workspace.collecting import collect
from openami.workspace.meter_access import open_keyring, put_credentials
from openami.workspace.workspace import Workspace
from rotating_process import reaching
from served_meters import Line, served_stream

START = datetime(2026, 1, 1, tzinfo=UTC)
METER = "H000001"
ALL = tuple(KeyKind)
PATIENT = LinkSettings(2.0, 2.0, 0)
PROCESS = Path(__file__).parents[1] / "rotating_process.py"
_AARQ = 0x60
REFUSALS = (EventCode.DECIPHERING_FAILED, EventCode.AUTHENTICATION_FAILED, EventCode.REPLAY_ATTACK)


@dataclass
class World:
    """A workspace with two meters that are served; the first is rotated."""

    workspace: Workspace
    spec: FleetSpec
    fleet: Fleet
    clock: SimulatedClock
    port: int
    line: Line
    told: list[Rotation] = field(default_factory=list)
    begun: int = 0

    @property
    def in_the_meter(self) -> MeterKeys:
        security = self.fleet.security(METER)
        assert security is not None
        return security.keys

    @property
    def associations(self) -> int:
        """How often the management client asked the first meter for one, in the last collection."""
        addresses = (1).to_bytes(2, "big") + self.spec.meters[0].wport.to_bytes(2, "big")
        return sum(
            request[2:6] == addresses and request[8] == _AARQ for request in self.line.requests[self.begun :]
        )

    @property
    def refused(self) -> bool:
        return any(code in REFUSALS for _, code in self.fleet.meter(METER).events)

    def pending(self, keys: MeterKeys) -> None:
        with open_keyring(self.workspace.folder) as keyring:
            assert keyring.offer(METER, keys) == keys

    def known(self) -> list[MeterKeys]:
        with open_keyring(self.workspace.folder) as keyring:
            return [keys for keys in (keyring.credentials(METER).keys, keyring.pending(METER)) if keys]

    async def collect(
        self,
        policy: CollectionPolicy = CollectionPolicy(attempts=1),  # noqa: B008 - a value
        lose_request: Callable[[int], bool] = lambda number: False,
    ) -> CollectionReport:
        """A day later."""
        self.line.lose_request, self.line.lose_answer = lose_request, lambda number: False
        self.clock.advance(timedelta(days=1))
        assert isinstance(self.workspace.clock, SimulatedClock)
        self.workspace.clock.advance_to(self.clock.now())
        self.told.clear()
        self.begun = len(self.line.requests)
        now = self.clock.now()
        orders = [
            ReadOrder(
                meter.meter_id, "127.0.0.1", self.port, meter.wport, meter.zone, now - timedelta(days=1), now,
                (IMPORT_INTERVAL,), (IMPORT_ENERGY,),
            )
            for meter in self.spec.meters
        ]  # fmt: skip
        return await collect(self.workspace, orders, policy=policy, link=PATIENT, settled=self.told.append)


Served = Callable[[], AbstractAsyncContextManager[World]]


@pytest.fixture
def world(workspace: Workspace) -> Served:
    @asynccontextmanager
    async def served() -> AsyncIterator[World]:
        spec = household_fleet(2, seed=4, start=START)
        credentials = {}
        for meter in spec.meters:
            assert meter.keys is not None
            credentials[meter.meter_id] = MeterCredentials(None, meter.keys.meter_keys(), meter.system_title)
        put_credentials(workspace.folder, credentials)
        clock, line = SimulatedClock(START), Line()
        fleet = Fleet(spec, clock)
        devices = FleetDevices(fleet, 0)
        async with served_stream(lambda: ServerSession(devices), line) as port:
            yield World(workspace, spec, fleet, clock, port, line)

    return served


async def test_a_collection_settles_a_rotation_that_was_killed_at_any_message(
    world: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[tuple[str, int]] = []
    take = SendCounter.take

    def noted(counter: SendCounter) -> int:
        used.append((counter._name, take(counter)))
        return used[-1][1]

    async with world() as here:
        with open_keyring(here.workspace.folder) as keyring:
            done = await rotate(keyring, METER, reaching(keyring, here.port, PATIENT), ALL)
        assert done.outcome is Outcome.ROTATED
        count = len(here.line.requests)
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(PROCESS), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        monkeypatch.setattr(SendCounter, "take", noted)
        outcomes = []
        try:
            for number, moment in [(n, m) for n in range(count) for m in ("lose_request", "lose_answer")]:
                before = here.in_the_meter
                await killed(process, here, number, moment)
                report = await here.collect()
                assert (report.read, report.failed, report.retried) == (2, 0, 0), (number, moment)
                assert here.known() == [here.in_the_meter]
                assert here.associations <= 3  # under the old keys, the new ones, and to read
                if here.told:
                    outcomes.append(here.told[0].outcome)
                    rotated = here.in_the_meter != before
                    assert outcomes[-1] is (Outcome.ROTATED if rotated else Outcome.KEPT)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()
        assert {*outcomes} == {Outcome.ROTATED, Outcome.KEPT}
        assert len(outcomes) >= 2 * count - 2  # all but what was killed before anything was on its way
        assert len(set(used)) == len(used)  # no counter twice under one key


async def killed(process: asyncio.subprocess.Process, here: World, last: int, moment: str) -> None:
    """A rotation by a process of its own that is killed at one message."""
    assert process.stdin is not None
    assert process.stdout is not None
    begun, child = len(here.line.requests), 0

    def kill(at: int) -> bool:
        if at - begun == last:
            os.kill(child, signal.SIGKILL)
        return at - begun >= last

    setattr(here.line, moment, kill)
    order = {"folder": str(here.workspace.folder), "port": here.port, "meter": METER}
    process.stdin.write(json.dumps(order).encode() + b"\n")
    child = int(await process.stdout.readline())
    while await process.stdout.readline() != b"ended\n":
        pass


@pytest.mark.parametrize("kind", [KeyKind.GLOBAL_UNICAST, KeyKind.AUTHENTICATION, KeyKind.MASTER])
async def test_a_meter_that_took_some_of_the_keys_is_read_and_the_rest_is_withdrawn(
    world: Served, kind: KeyKind
) -> None:
    async with world() as here:
        before, new = here.in_the_meter, MeterKeys.random()
        here.pending(new)
        key = new.key(kind)
        assert key is not None
        security = here.fleet.security(METER)
        assert security is not None
        security.change_key(kind, key)
        report = await here.collect()
        assert (report.read, report.failed) == (2, 0), report.failures
        assert (here.told[0].outcome, here.told[0].changed) == (Outcome.PARTLY, (kind,))
        assert here.known() == [before.with_key(kind, key)]


async def test_a_meter_that_lets_nobody_in_fails_alone_and_is_not_asked_again_and_again(
    world: Served,
) -> None:
    async with world() as here:
        before, new = here.in_the_meter, MeterKeys.random()
        here.pending(new)
        security = here.fleet.security(METER)
        assert security is not None
        security.keys = MeterKeys.random()
        report = await here.collect(CollectionPolicy(attempts=3))
        assert (report.read, report.failed) == (1, 1)
        assert report.failures[0].attempts == 1
        assert "by no key in use or on its way" in report.failures[0].reason
        assert here.associations == 4  # each of two keys with each of two: no pair twice
        assert here.known() == [before, new]
        security.keys = new
        assert (await here.collect()).read == 2
        assert here.known() == [new]


async def test_keys_that_were_withdrawn_are_found_by_a_check_where_a_meter_took_them_late(
    world: Served,
) -> None:
    async with world() as here:
        before, new = here.in_the_meter, MeterKeys.random()
        here.pending(new)
        assert (await here.collect()).read == 2
        assert here.told[0].outcome is Outcome.KEPT
        assert here.known() == [before]
        assert not here.refused  # the keys in use are tried first, and their master key
        security = here.fleet.security(METER)
        assert security is not None
        security.keys = new
        with open_keyring(here.workspace.folder) as keyring:
            found = await check(keyring, METER, reaching(keyring, here.port, PATIENT))
        assert found.outcome is Outcome.ROTATED
        assert here.known() == [new]
        assert (await here.collect()).read == 2


async def test_what_another_process_is_rotating_now_is_left_to_it(world: Served) -> None:
    async with world() as here:
        before, new = here.in_the_meter, MeterKeys.random()
        here.pending(new)
        with open_keyring(here.workspace.folder) as keyring, keyring.rotation():
            report = await here.collect()
        assert (report.read, here.told) == (2, [])
        assert here.known() == [before, new]


async def test_a_meter_whose_keys_were_changed_meanwhile_is_read_at_the_next_attempt(world: Served) -> None:
    async with world() as here:
        new = MeterKeys.random()
        security = here.fleet.security(METER)
        assert security is not None

        def rotated(number: int) -> bool:
            """By somebody else, as the collection begins."""
            if security.keys != new:
                security.keys = new
                with open_keyring(here.workspace.folder) as keyring:
                    keyring.settle(METER, new)
            return False

        report = await here.collect(CollectionPolicy(attempts=2, retry_pause_s=0.0), rotated)
        assert (report.read, report.retried) == (2, 1)


async def test_a_broadcast_key_that_nothing_shows_stays_on_its_way(world: Served) -> None:
    async with world() as here:
        before = here.in_the_meter
        new = before.with_key(KeyKind.GLOBAL_BROADCAST, Secret.random(16))
        here.pending(new)
        assert (await here.collect()).read == 2
        assert here.told[0].outcome is Outcome.WAITING
        assert here.known() == [before, new]

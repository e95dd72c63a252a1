"""Keys are moved into meters, whatever is lost or killed on the way, and the meters stay readable."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from openami.headend.dlms_conversation import LinkSettings
from openami.headend.key_rotation import (
    Outcome,
    Rotation,
    SignatureKeys,
    agree_master,
    check,
    for_all,
    rotate,
)
from openami.meter.cosem_objects import FleetDevices
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FleetSpec, household_fleet
from openami.protocols.dlms.interface_classes.security_setup import SecuritySetup
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import ProtocolError, SecurityError
from openami.readings.event import EventCode
from openami.security.counters import SendCounter
from openami.security.keyring import MeterCredentials
from openami.security.meter_keys import KeyKind, MeterKeys
from openami.security.secret import Secret
from openami.security.signature import new_private_key
from openami.security.suites import SUITE_1
from openami.workspace.meter_access import HEAD_END_TITLE, open_keyring
from rotating_process import reaching
from served_meters import Line, served_stream

START = datetime(2026, 11, 1, tzinfo=UTC)
METER = "H000001"
ALL = tuple(KeyKind)
QUICK = LinkSettings(1.0, 0.06, 0)
PATIENT = LinkSettings(2.0, 2.0, 0)
PROCESS = Path(__file__).parents[1] / "rotating_process.py"


@dataclass
class World:
    """One meter with keys, served, and the keyring of its utility."""

    folder: Path
    fleet: Fleet
    port: int
    line: Line
    answers: list[bytes] = field(default_factory=list)

    @property
    def in_the_meter(self) -> MeterKeys:
        security = self.fleet.security(METER)
        assert security is not None
        return security.keys

    @property
    def incidents(self) -> list[int]:
        return [code for _, code in self.fleet.meter(METER).events]

    def transfer(self, number: int) -> bool:
        """True for the request that carries keys: after the answer to the challenge the second ACTION."""
        actions = [at for at, request in enumerate(self.line.requests) if request[8:9] == b"\xcb"]
        return actions[1:2] == [number]

    def quiet(self) -> None:
        self.line.lose_request = self.line.lose_answer = lambda number: False

    async def run(
        self, work: Callable[..., Awaitable[Rotation]], *more: object, patience: LinkSettings = QUICK
    ) -> Rotation:
        with open_keyring(self.folder) as keyring:
            done = await work(keyring, METER, reaching(keyring, self.port, patience), *more)
        return done

    async def read(self) -> bytes:
        """A value, under the keys that are in use."""
        with open_keyring(self.folder) as keyring:
            keys = keyring.credentials(METER).keys
            assert keys is not None
            async with reaching(keyring, self.port)(keys) as meter:
                raw = (await meter.read("0-0:96.1.0", class_id=1)).raw
        assert isinstance(raw, bytes)
        return raw

    def known(self) -> list[MeterKeys]:
        with open_keyring(self.folder) as keyring:
            return [keys for keys in (keyring.credentials(METER).keys, keyring.pending(METER)) if keys]


def fleet_of(spec: FleetSpec, folder: Path) -> Fleet:
    with open_keyring(folder) as keyring:
        keyring.put(
            {
                meter.meter_id: MeterCredentials(None, meter.keys.meter_keys(), meter.system_title)
                for meter in spec.meters
                if meter.keys is not None
            }
        )
    return Fleet(spec, SimulatedClock(spec.start))


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    folder.mkdir(exist_ok=True)
    fleet, line = fleet_of(household_fleet(1, seed=4, start=START), folder), Line()
    devices = FleetDevices(fleet, 0)
    async with served_stream(lambda: ServerSession(devices), line) as port:
        yield World(folder, fleet, port, line)


async def test_the_meter_has_new_keys_the_keyring_knows_them_and_the_old_ones_open_nothing(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as here:
        before = here.in_the_meter
        done = await here.run(rotate, ALL)
        assert (done.outcome, set(done.changed)) == (Outcome.ROTATED, set(ALL))
        after = here.in_the_meter
        assert here.known() == [after]
        assert done.fingerprints == after.fingerprints
        old, new = (
            {key.reveal() for key in (keys.global_unicast, keys.authentication, keys.master)}
            for keys in (before, after)
        )
        assert not old & new
        assert after.global_broadcast is not None
        assert await here.read() == METER.encode()
        with open_keyring(tmp_path) as keyring:
            keyring.settle(METER, before)
        with pytest.raises(ProtocolError):
            await here.read()
        assert (await here.run(check)).outcome is Outcome.ROTATED  # found among what was on its way once
        assert here.known() == [after]
        assert (await here.run(check)).outcome is Outcome.CONFIRMED


@pytest.mark.parametrize("kind", ALL)
async def test_each_key_is_rotated_alone(tmp_path: Path, kind: KeyKind) -> None:
    async with world(tmp_path) as here:
        before = here.in_the_meter
        done = await here.run(rotate, (kind,))
        assert (done.outcome, done.changed) == (Outcome.ROTATED, (kind,))
        assert here.known() == [here.in_the_meter]
        assert {other for other in ALL if before.fingerprints.get(other) != done.fingerprints.get(other)} == {
            kind
        }
        assert await here.read() == METER.encode()


async def boundaries(folder: Path) -> int:
    """Messages of a rotation that nothing disturbs."""
    async with world(folder) as here:
        assert (await here.run(rotate, ALL)).outcome is Outcome.ROTATED
        return len(here.line.requests)


async def finished(here: World, before: MeterKeys) -> None:
    """The meter is readable, its keys were never nowhere, and the rotation comes to its end."""
    here.quiet()
    inside = here.in_the_meter
    assert inside in here.known()
    found = await here.run(check)
    assert found.outcome.good if inside != before else found.outcome in (Outcome.WAITING, Outcome.CONFIRMED)
    assert await here.read() == METER.encode()
    if here.in_the_meter == before:
        assert (await here.run(rotate, ALL)).outcome is Outcome.ROTATED
    assert here.known() == [here.in_the_meter]
    assert set(before.fingerprints.values()).isdisjoint(here.in_the_meter.fingerprints.values())
    assert await here.read() == METER.encode()


@pytest.mark.parametrize("lost", ["lose_request", "lose_answer"])
async def test_what_is_lost_from_any_message_on_leaves_the_meter_readable(
    tmp_path: Path, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[tuple[Path, str, int]] = []
    take = SendCounter.take

    def noted(counter: SendCounter) -> int:
        used.append((folder, counter._name, take(counter)))
        return used[-1][2]

    monkeypatch.setattr(SendCounter, "take", noted)
    folder = tmp_path / "whole"
    count = await boundaries(tmp_path / "whole")
    assert count >= 6
    rotated = 0
    for number in range(count):
        folder = tmp_path / str(number)
        async with world(folder) as here:
            before = here.in_the_meter
            setattr(here.line, lost, lambda at, first=number: at >= first)
            done = await here.run(rotate, ALL)
            rotated += done.outcome.good
            assert done.outcome.good or here.known()[0] == before
            await finished(here, before)
    assert len(set(used)) == len(used)  # no counter twice under one key
    assert rotated <= 1  # the release of the last association alone may be lost


async def test_a_process_killed_at_every_message_leaves_the_meter_readable(tmp_path: Path) -> None:
    """Where the meter heard it and the answer is lost; the others: `test_interrupted_rotation.py`."""
    count = await boundaries(tmp_path / "whole")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROCESS), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        for number in range(count):
            async with world(tmp_path / str(number)) as here:
                before, child = here.in_the_meter, 0

                def kill(at: int, last: int = number) -> bool:
                    if at == last:
                        os.kill(child, signal.SIGKILL)  # noqa: B023 - of this turn
                    return at >= last

                here.line.lose_answer = kill
                order = {"folder": str(here.folder), "port": here.port, "meter": METER}
                process.stdin.write(json.dumps(order).encode() + b"\n")
                child = int(await process.stdout.readline())
                assert await process.stdout.readline() == b"ended\n"
                await finished(here, before)
    finally:
        process.stdin.close()
        await process.wait()


async def test_the_same_keys_go_again_after_a_loss_and_a_late_request_does_no_harm(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as here:
        before = here.in_the_meter
        here.line.lose_request = here.transfer
        done = await here.run(rotate, ALL)
        assert done.outcome is Outcome.WAITING
        present, waiting = here.known()
        assert present == before
        security = here.fleet.security(METER)
        assert security is not None
        for kind in ALL:  # what was lost was late only
            security.change_key(kind, _of(waiting, kind))
        assert (await here.run(rotate, ALL)).outcome is Outcome.ROTATED
        assert here.known() == [waiting]


def _of(keys: MeterKeys, kind: KeyKind) -> Secret:
    return keys.key(kind) or Secret(b"no key at all")


async def test_a_meter_that_refuses_keeps_its_keys_and_nothing_waits(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        before = here.in_the_meter
        with open_keyring(tmp_path) as keyring:
            keyring.settle(METER, replace(before, master=Secret.random(16)))
        done = await here.run(rotate, ALL)
        assert done.outcome is Outcome.REFUSED
        assert done.detail == "the meter refused the keys: other reason"
        assert here.in_the_meter == before
        assert len(here.known()) == 1
        assert await here.read() == METER.encode()
        assert EventCode.DECIPHERING_FAILED in here.incidents


async def test_a_meter_that_took_some_of_the_keys_is_read_by_those_and_takes_the_rest_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes = SecuritySetup._take
    for taken in ((KeyKind.GLOBAL_UNICAST,), (KeyKind.AUTHENTICATION,), (KeyKind.MASTER,)):
        async with world(tmp_path / taken[0].name) as here:
            before = here.in_the_meter

            def some(
                self: SecuritySetup, new: Mapping[KeyKind, Secret], only: tuple[KeyKind, ...] = taken
            ) -> None:
                kept = {kind: key for kind, key in new.items() if kind in only}
                takes(self, kept if len(new) > 1 else new)

            with monkeypatch.context() as careless:
                careless.setattr(SecuritySetup, "_take", some)
                here.line.lose_answer = here.transfer
                done = await here.run(rotate, ALL)
            here.quiet()
            assert (done.outcome, done.changed[:1]) == (Outcome.PARTLY, taken), done
            assert await here.read() == METER.encode()
            assert (await here.run(rotate, ALL)).outcome is Outcome.ROTATED
            assert here.known() == [here.in_the_meter]
            assert set(before.fingerprints.values()).isdisjoint(here.in_the_meter.fingerprints.values())


async def test_a_master_key_whose_transfer_was_not_answered_is_seen_by_what_is_wrapped_under_it(
    tmp_path: Path,
) -> None:
    for lost, outcome in (("lose_answer", Outcome.ROTATED), ("lose_request", Outcome.WAITING)):
        async with world(tmp_path / lost) as here:
            before = here.in_the_meter
            setattr(here.line, lost, here.transfer)
            done = await here.run(rotate, (KeyKind.MASTER,))
            assert done.outcome is outcome
            assert (here.in_the_meter.master != before.master) is (outcome is Outcome.ROTATED)
            assert here.known()[0] == here.in_the_meter


async def test_a_master_key_is_agreed_on_and_a_lost_answer_leaves_the_meter_readable(tmp_path: Path) -> None:
    own, meters = new_private_key(SUITE_1), new_private_key(SUITE_1)
    async with world(tmp_path) as here:
        security = here.fleet.security(METER)
        assert security is not None
        before = security.keys = MeterKeys.random(1)
        security.signing_key, security.client_keys = meters, {1: own.public_key()}
        security.client_titles = {1: HEAD_END_TITLE}
        with open_keyring(tmp_path) as keyring:
            keyring.settle(METER, before)
        keys = SignatureKeys(own, meters.public_key(), HEAD_END_TITLE, security.title)
        done = await here.run(agree_master, keys)
        assert (done.outcome, done.changed) == (Outcome.ROTATED, (KeyKind.MASTER,)), done
        assert here.known() == [here.in_the_meter]
        assert here.in_the_meter == replace(before, master=here.in_the_meter.master)
        assert here.in_the_meter.master != before.master
        here.line.requests.clear()
        here.line.lose_answer = here.transfer
        lost = await here.run(agree_master, keys)
        assert lost.outcome is Outcome.UNSETTLED
        assert "agree on a master key again" in lost.detail
        here.quiet()
        assert await here.read() == METER.encode()
        assert (await here.run(rotate, ALL)).outcome is Outcome.REFUSED
        assert (await here.run(agree_master, keys)).outcome is Outcome.ROTATED
        assert (await here.run(rotate, ALL)).outcome is Outcome.ROTATED
        stranger = replace(keys, own=new_private_key(SUITE_1))
        refused = await here.run(agree_master, stranger)
        assert refused.outcome is Outcome.REFUSED
        assert here.known() == [here.in_the_meter]


async def test_one_meter_that_is_away_keeps_none_of_a_fleet_from_new_keys(tmp_path: Path) -> None:
    spec = household_fleet(12, seed=5, start=START)
    fleet = fleet_of(spec, tmp_path)
    devices = FleetDevices(fleet, 0)
    told: list[str] = []
    under_way: list[int] = []
    async with served_stream(lambda: ServerSession(devices)) as port:
        with open_keyring(tmp_path) as keyring:

            async def one(meter_id: str) -> Rotation:
                under_way.append(1)
                wport = 16 + int(meter_id[1:]) - 1 if meter_id != "H000007" else 9999
                done = await rotate(keyring, meter_id, reaching(keyring, port, PATIENT, wport), ALL)
                under_way.pop()
                return done

            def tell(done: Rotation) -> None:
                told.append(done.meter_id)
                assert len(under_way) <= 4

            ids = [meter.meter_id for meter in spec.meters]
            done = await for_all([*ids, ids[0]], one, 4, tell)
            assert [item.meter_id for item in done] == ids
            assert sorted(told) == ids
            assert [item.meter_id for item in done if not item.outcome.good] == ["H000007"]
            assert done[6].outcome is Outcome.UNSETTLED
            for meter_id in ids:
                security = fleet.security(meter_id)
                assert security is not None
                assert keyring.credentials(meter_id).keys == security.keys
            assert keyring.pending("H000007") is not None


def test_two_processes_do_not_rotate_by_one_keyring(tmp_path: Path) -> None:
    with open_keyring(tmp_path) as one, open_keyring(tmp_path) as other:
        with one.rotation(), pytest.raises(SecurityError, match="another process"), other.rotation():
            pass
        with other.rotation():
            pass
    assert (tmp_path / "keyring.sqlite.rotation").stat().st_mode & 0o777 == 0o600


def test_pending_keys_are_offered_once_and_settled_or_withdrawn(tmp_path: Path) -> None:
    first, second, third = (MeterKeys.random() for _ in range(3))
    with open_keyring(tmp_path) as keyring:
        keyring.put({"M": MeterCredentials(Secret(b"password"), first, b"OAM00001")})
        assert keyring.pending("M") is None
        assert keyring.offer("M", second) == second
        assert keyring.offer("M", third) == second
    with open_keyring(tmp_path) as keyring:
        assert keyring.credentials("M").keys == first
        keyring.settle("M", first)
        assert keyring.pending("M") == second
        keyring.settle("M", second)
        assert keyring.pending("M") is None
        assert keyring.credentials("M") == MeterCredentials(Secret(b"password"), second, b"OAM00001")
        assert keyring.offer("M", third) == third
        keyring.withdraw("M")
        assert keyring.pending("M") is None
        assert keyring.credentials("M").keys == second
        assert keyring.meters() == ("M",)
    _no_key_in_the_open(tmp_path, [first, second, third])


def _no_key_in_the_open(folder: Path, sets: Sequence[MeterKeys]) -> None:
    content = b"".join(file.read_bytes() for file in folder.iterdir() if file.name != "keyring.key")
    for keys in sets:
        for kind in ALL:
            assert _of(keys, kind).reveal() not in content

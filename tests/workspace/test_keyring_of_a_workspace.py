"""A utility loses its keyring, restores an old one, is attacked: the next collection reads its meters."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from openami.headend.collection import CollectionReport
from openami.meter.fleet_spec import FleetSpec, MeterSpec, household_fleet
from openami.meter.tcp_server import FleetServer
from openami.protocols.dlms.apdus.acse import AssociationRequest
from openami.protocols.dlms.apdus.apdu import decode_apdu
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.protection.ciphered_apdu import CIPHERED_TAGS, CipheredApdu
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import SecurityError
from openami.quantities.obis import IMPORT_ENERGY, IMPORT_INTERVAL
from openami.readings.read_order import ReadOrder
from openami.security.keyring import MeterCredentials
from openami.security.meter_keys import KeyKind
from openami.security.secret import Secret
from openami.workspace.admission import meter_access
from openami.workspace.collecting import collect
from openami.workspace.meter_access import open_keyring, put_credentials
from openami.workspace.workspace import Workspace
from served_meters import served_fleet

START = datetime(2026, 1, 1, tzinfo=UTC)


class Watched:
    """A workspace that collects from a fleet, and every counter under which it protected something."""

    def __init__(self, workspace: Workspace, spec: FleetSpec) -> None:
        self.workspace = workspace
        self.spec = spec
        self.used: list[tuple[str, int]] = []

    def deliver_keys(self) -> None:
        put_credentials(
            self.workspace.folder, {meter.meter_id: credentials(meter) for meter in self.spec.meters}
        )

    def collect(self, *losses: Callable[[], None]) -> list[CollectionReport]:
        """A collection, then one after each loss, a day apart."""
        return asyncio.run(self._collect(losses))

    async def _collect(self, losses: tuple[Callable[[], None], ...]) -> list[CollectionReport]:
        reports = []
        async with served_fleet(self.spec) as (server, clock, port):
            self._watch(server)
            for loss in (lambda: None, *losses):
                loss()
                self._pass_a_day(clock)
                reports.append(await collect(self.workspace, self._orders(port, clock.now())))
        return reports

    def _pass_a_day(self, clock: SimulatedClock) -> None:
        clock.advance(timedelta(days=1))
        assert isinstance(self.workspace.clock, SimulatedClock)
        self.workspace.clock.advance_to(clock.now())

    def _orders(self, port: int, now: datetime) -> list[ReadOrder]:
        return [
            ReadOrder(
                meter.meter_id, "127.0.0.1", port, meter.wport, meter.zone, now - timedelta(days=1), now,
                (IMPORT_INTERVAL,), (IMPORT_ENERGY,),
            )
            for meter in self.spec.meters
        ]  # fmt: skip

    def _watch(self, server: FleetServer) -> None:
        answer = server.answer

        def watched(devices: object, session: object, frame: Frame) -> bytes:
            octets = frame.apdu
            if octets[0] == 0x60:
                request = decode_apdu(octets)
                assert isinstance(request, AssociationRequest)
                octets = request.user_information
            if octets[0] in CIPHERED_TAGS:
                self.used.append((str(frame.destination), CipheredApdu.from_bytes(octets).header.counter))
            return answer(devices, session, frame)  # type: ignore[arg-type]

        server.answer = watched  # type: ignore[method-assign, assignment]


def credentials(meter: MeterSpec) -> MeterCredentials:
    assert meter.keys is not None
    return MeterCredentials(None, meter.keys.meter_keys(), meter.system_title)


@pytest.fixture
def watched(workspace: Workspace) -> Watched:
    found = Watched(workspace, household_fleet(4, seed=3, start=START))
    found.deliver_keys()
    return found


def test_a_lost_keyring_is_made_new_and_no_counter_is_used_again(watched: Watched) -> None:
    def lose() -> None:
        for name in ("keyring.sqlite", "keyring.key"):
            (watched.workspace.folder / name).unlink()
        watched.deliver_keys()

    reports = watched.collect(lose)
    assert [(report.read, report.failed, report.retried) for report in reports] == [(4, 0, 0)] * 2
    assert len(set(watched.used)) == len(watched.used) >= 8 * 10


def test_a_keyring_restored_from_a_backup_goes_on_above_what_was_sent_since(watched: Watched) -> None:
    folder = watched.workspace.folder
    backup = folder / "backup.sqlite"

    def back_up() -> None:
        shutil.copy(folder / "keyring.sqlite", backup)

    def restore() -> None:
        shutil.copy(backup, folder / "keyring.sqlite")

    reports = watched.collect(back_up, restore)
    assert [(report.read, report.failed, report.retried) for report in reports] == [(4, 0, 0)] * 3
    assert len(set(watched.used)) == len(watched.used) >= 12 * 10


@pytest.mark.parametrize("year", [1999, 2500])
def test_a_clock_that_is_wrong_neither_stops_the_counters_nor_uses_them_up(
    watched: Watched, year: int
) -> None:
    order = ReadOrder("H000001", "127.0.0.1", 1, 16, "Europe/Berlin", START, START)
    with meter_access(watched.workspace.folder, [order], datetime(year, 1, 1, tzinfo=UTC)) as security:
        found = security("H000001")
        assert found is not None
        cipher = found.cipher()
        assert cipher is not None
        assert cipher.send.take() < 1 << 31


def test_without_its_store_key_a_keyring_is_refused_and_no_other_key_is_made(watched: Watched) -> None:
    key = watched.workspace.folder / "keyring.key"
    kept = key.read_text()
    key.unlink()
    with pytest.raises(SecurityError, match="without its store key"):
        open_keyring(watched.workspace.folder)
    assert not key.exists()
    key.write_text(kept)
    key.chmod(0o600)
    open_keyring(watched.workspace.folder).close()


def test_processes_that_make_a_keyring_at_once_make_one(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)
    failures: list[BaseException] = []

    def one(number: int) -> None:
        barrier.wait()
        try:
            put_credentials(tmp_path, {f"M{number}": MeterCredentials(Secret(b"password"))})
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with open_keyring(tmp_path) as keyring:
        assert len(keyring.meters()) == 8
    assert sorted(file.name for file in tmp_path.iterdir()) == ["keyring.key", "keyring.sqlite"]


def test_a_changed_key_is_used_by_the_next_collection(watched: Watched) -> None:
    """Rotation by the registry's side: the meter was given another key, the site file says so."""
    meter = watched.spec.meters[0]
    assert meter.keys is not None
    fresh = Secret(bytes(range(16)))

    def change() -> None:
        old = credentials(meter)
        assert old.keys is not None
        changed = replace(old, keys=old.keys.with_key(KeyKind.GLOBAL_UNICAST, fresh))
        put_credentials(watched.workspace.folder, {meter.meter_id: changed})

    first, second = watched.collect(change)
    assert (first.read, second.read) == (4, 3), "the meter still has the old one"
    assert "authentication failure" in second.failures[0].reason

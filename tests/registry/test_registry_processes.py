"""Several processes, some killed: no shared revision, no half change, nothing acknowledged is lost."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from openami.quantities.clock import SystemClock
from openami.quantities.errors import RegistryError
from openami.registry.database import open_database, reading, writing
from openami.registry.entities import Installation, Meter, UsagePoint
from openami.registry.records import kind_of, revisions
from openami.registry.registry import Registry

PROCESS = Path(__file__).with_name("recording_process.py")


def started(url: str, name: str, changes: int, households: int) -> subprocess.Popen[str]:
    """A recording process that waits for the word."""
    process = subprocess.Popen(
        [sys.executable, str(PROCESS), url, name, str(changes), str(households)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write(".")
    process.stdin.flush()


def rows_by_revision(url: str, kind: type[Meter] | type[UsagePoint] | type[Installation]) -> dict[int, int]:
    recorded = kind_of(kind).table.c.recorded_revision
    engine = open_database(url)
    with reading(engine) as connection:
        query = sa.select(recorded, sa.func.count()).group_by(recorded)
        return {row[0]: row[1] for row in connection.execute(query)}


def test_processes_that_record_at_once_never_share_a_revision(database_url: str) -> None:
    open_database(database_url).dispose()
    processes = [started(database_url, f"p{number}", 25, 3) for number in range(3)]
    for process in processes:
        go(process)
    given = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(int(revision) for answer in given for revision in answer) == list(range(1, 76))
    registry = Registry(open_database(database_url), SystemClock())
    assert [row.revision for row in registry.revisions()] == list(range(1, 76))
    for number, answer in enumerate(given):
        assert [row.revision for row in registry.revisions() if row.actor == f"p{number}"] == list(
            map(int, answer)
        )
    assert len(registry.meters()) == len(registry.installations()) == 75 * 3


def test_kill_9_while_recording_loses_nothing_acknowledged_and_leaves_no_half_change(
    database_url: str,
) -> None:
    open_database(database_url).dispose()
    dice = random.Random(4711)
    acknowledged: list[int] = []
    households = 40
    for life in range(5):
        process = started(database_url, f"life{life}", 1_000_000, households)
        go(process)
        time.sleep(dice.uniform(0.02, 0.25))
        process.kill()
        acknowledged += map(int, process.communicate(timeout=60)[0].split())
        registry = Registry(open_database(database_url), SystemClock())
        # recording nothing waits until a server has noticed that the process is gone
        newest = registry.record([], actor="test", why="waits for the lock")
        # a change that was committed but not yet acknowledged may be there: at most one a life
        assert newest >= max(acknowledged, default=0)
        assert newest <= len(acknowledged) + life + 1
        whole = dict.fromkeys(range(1, newest + 1), households)
        for kind in (Meter, UsagePoint, Installation):
            assert rows_by_revision(database_url, kind) == whole
        assert [row.revision for row in registry.revisions()] == list(whole)
        assert len(registry.meters()) == newest * households
    assert len(acknowledged) == len(set(acknowledged)) > 5
    if database_url.startswith("sqlite"):
        with reading(open_database(database_url)) as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


def test_threads_share_one_registry(database_url: str) -> None:
    registry = Registry(open_database(database_url), SystemClock())
    given: list[int] = []
    trouble: list[str] = []

    def record(name: str) -> None:
        for number in range(10):
            meter = Meter(f"M-{name}-{number}", "m", "", 0, 1, "UTC", 900, 8, 0, ())
            revision = registry.record([meter], actor=name, why="w")
            given.append(revision)
            if registry.meter(meter.meter_id, revision=revision) != meter:
                trouble.append(f"{meter.meter_id} not seen at its own revision")
            if len(registry.meters(revision=revision)) != revision:
                trouble.append(f"{revision} does not show {revision} meters")

    threads = [threading.Thread(target=record, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trouble == []
    assert sorted(given) == list(range(1, 41))


def test_a_change_of_another_process_is_seen_at_once(database_url: str) -> None:
    here = Registry(open_database(database_url), SystemClock())
    there = Registry(open_database(database_url), SystemClock())
    meter = Meter("M-1", "m", "", 0, 1, "UTC", 900, 8, 0, ())
    assert here.meters() == []
    there.record([meter], actor="a", why="w")
    assert here.meters() == [meter]
    assert here.record([meter], actor="a", why="w") == 1


def test_a_transaction_that_fails_at_the_end_leaves_no_revision(database_url: str) -> None:
    engine = open_database(database_url)
    registry = Registry(engine, SystemClock())
    meter = Meter("M-1", "m", "", 0, 1, "UTC", 900, 8, 0, ())

    def refuse(connection: sa.Connection) -> None:
        raise sa.exc.OperationalError("COMMIT", None, OSError(28, "No space left on device"))

    sa.event.listen(engine, "commit", refuse)
    with pytest.raises(RegistryError, match="No space left on device"):
        registry.record([meter], actor="a", why="w")
    sa.event.remove(engine, "commit", refuse)
    assert registry.revision == 0
    assert registry.meters() == []
    assert registry.record([meter], actor="a", why="w") == 1


def test_a_full_disk_is_told_and_what_was_recorded_before_is_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'registry.sqlite'}"
    engine = open_database(url)
    registry = Registry(engine, SystemClock())
    meter = Meter("M-0", "m", "", 0, 1, "UTC", 900, 8, 0, ())
    registry.record([meter], actor="a", why="w")
    with writing(engine) as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
    many = [Meter(f"M-{n}", "m" * 500, "", 0, 1, "UTC", 900, 8, 0, ()) for n in range(1, 500)]
    with pytest.raises(RegistryError, match="database or disk is full"):
        registry.record(many, actor="a", why="w")
    engine.dispose()
    again = Registry(open_database(url), SystemClock())
    assert (again.revision, again.meters()) == (1, [meter])
    with reading(open_database(url)) as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(revisions)).scalar() == 1

"""File layers that lose power or run full, and small batches with everything in them."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from openami.mdm.stores import DurableFiles, ReadingStore
from openami.quantities.civil_time import CivilDay
from openami.quantities.obis import IMPORT_ENERGY, IMPORT_INTERVAL
from openami.quantities.units import WH
from openami.readings.door import Batch
from openami.readings.event import Event
from openami.readings.evidence import Evidence
from openami.readings.interval_block import IntervalBlock
from openami.readings.register_read import RegisterRead


class PowerCut(BaseException):
    """The machine stands still; no clean-up code runs to an end."""


class LossyFiles(DurableFiles):
    """Real files, and beside them the model of a disk: what would be there after a loss of power.

    On the disk are the bytes of a file as of its last `sync_file`, and the entries of a folder as of its
    last `sync_folder`. Identity is a number given at creation, for a file may have two names.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.steps = 0
        self.cut_at: int | None = None
        self._identity: dict[str, int] = {}
        self._next = 1
        self._bytes: dict[int, bytes] = {}
        self._entries: dict[str, dict[str, int | None]] = {}

    def clone(self, base: Path) -> LossyFiles:
        """A copy of files and disk under another folder, with the power on."""
        shutil.copytree(self.base, base)
        other = LossyFiles(base)
        other._identity, other._next = dict(self._identity), self._next
        other._bytes = dict(self._bytes)
        other._entries = {folder: dict(names) for folder, names in self._entries.items()}
        return other

    def _step(self) -> None:
        if self.cut_at is not None and self.steps >= self.cut_at:
            raise PowerCut
        self.steps += 1

    def _key(self, path: Path) -> str:
        return str(path.relative_to(self.base))

    def make_folder(self, folder: Path) -> None:
        self._step()
        super().make_folder(folder)

    def write(self, path: Path, content: bytes) -> None:
        self._step()
        super().write(path, content)
        if self._key(path) not in self._identity:
            self._identity[self._key(path)] = self._next
            self._next += 1

    def sync_file(self, path: Path) -> None:
        self._step()
        super().sync_file(path)
        self._bytes[self._identity[self._key(path)]] = path.read_bytes()

    def sync_folder(self, folder: Path) -> None:
        self._step()
        super().sync_folder(folder)
        self._entries[self._key(folder)] = self._living(folder)

    def link(self, existing: Path, name: Path) -> None:
        self._step()
        super().link(existing, name)
        self._identity[self._key(name)] = self._identity[self._key(existing)]

    def replace(self, existing: Path, name: Path) -> None:
        self._step()
        super().replace(existing, name)
        self._identity[self._key(name)] = self._identity.pop(self._key(existing))

    def remove(self, path: Path) -> None:
        self._step()
        super().remove(path)
        self._identity.pop(self._key(path), None)

    def _living(self, folder: Path) -> dict[str, int | None]:
        return {
            child.name: None if child.is_dir() else self._identity.get(self._key(child), 0)
            for child in folder.iterdir()
        }

    def after_power_loss(self, target: Path, luck: random.Random | None = None) -> Path:
        """The tree that a restart finds.

        Without luck: nothing that was not synced is there. With it: each unsynced entry is there or not
        by chance, each unsynced content complete, cut, zeroed or missing.
        """
        target.mkdir()
        self._restore(self.base, target, luck)
        return target

    def _restore(self, folder: Path, target: Path, luck: random.Random | None) -> None:
        entries = dict(self._entries.get(self._key(folder), {}))
        if luck is not None and folder.is_dir():
            living = self._living(folder)
            for name in sorted({*living, *entries}):
                if living.get(name, -1) != entries.get(name, -1) and luck.random() < 0.5:
                    if name in living:
                        entries[name] = living[name]
                    else:
                        del entries[name]
        for name, identity in entries.items():
            if identity is None:
                (target / name).mkdir()
                self._restore(folder / name, target / name, luck)
                continue
            content = self._bytes.get(identity, b"")
            if luck is not None and identity not in self._bytes and (folder / name).is_file():
                whole = (folder / name).read_bytes()
                content = luck.choice(
                    [whole, whole[: luck.randrange(len(whole) + 1)], bytes(len(whole)), b""]
                )
            (target / name).write_bytes(content)


class FullDisk(DurableFiles):
    """Real files on a disk that is full from step ``full_from`` up to ``free_from``."""

    def __init__(self) -> None:
        self.steps = 0
        self.full_from = self.free_from = 1 << 60

    def _step(self) -> None:
        self.steps += 1
        if self.full_from < self.steps <= self.free_from:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def make_folder(self, folder: Path) -> None:
        if not folder.exists():
            self._step()
        super().make_folder(folder)

    def write(self, path: Path, content: bytes) -> None:
        try:
            self._step()
        except OSError:
            super().write(path, content[: len(content) // 2])
            raise
        super().write(path, content)

    def sync_file(self, path: Path) -> None:
        self._step()
        super().sync_file(path)

    def sync_folder(self, folder: Path) -> None:
        self._step()
        super().sync_folder(folder)

    def link(self, existing: Path, name: Path) -> None:
        self._step()
        super().link(existing, name)

    def replace(self, existing: Path, name: Path) -> None:
        self._step()
        super().replace(existing, name)


def make_batch(number: int, month: int = 10) -> Batch:
    """Batch ``number``: two blocks, three register reads, an event, evidence; the same every time."""
    captured_at = datetime(2026, month, 1, tzinfo=UTC) + timedelta(seconds=number)
    evidence = Evidence("frames", f"tcp://x/{number}", "p", b"[]", "ab" * 32, captured_at)
    of = evidence.evidence_id
    day = CivilDay(date(2026, month, 1 + number % 28), "Asia/Shanghai")
    return Batch(
        f"batch {number}",
        tuple(
            IntervalBlock(
                f"M{number}-{part}", IMPORT_INTERVAL, day, 14400, WH,
                np.arange(6, dtype=np.int64) + number, captured_at, evidence_id=of,
            )
            for part in "ab"
        ),
        tuple(
            RegisterRead(
                f"M{number}-a", IMPORT_ENERGY, captured_at + timedelta(hours=hour), WH, number + hour,
                captured_at, "freeze", evidence_id=of,
            )
            for hour in range(3)
        ),
        (Event(f"M{number}-a", captured_at, 1, captured_at, f"number={number}", of),),
        (evidence,),
        batch_id=f"batch-{number}",
    )  # fmt: skip


def check_store(store: ReadingStore, acknowledged: set[str]) -> None:
    """What every restart must find: all that was acknowledged, each once, and no half batch."""
    receipts = {receipt.batch_id: receipt for receipt in store.receipts()}
    assert acknowledged <= set(receipts)
    assert len({receipt.seq for receipt in receipts.values()}) == len(receipts)
    batches = [(one.seq, make_batch(int(one.batch_id.removeprefix("batch-")))) for one in receipts.values()]
    blocks = [(seq, one.block_id, one.values.tolist()) for seq, put in batches for one in put.intervals]
    reads = [(seq, one.read_id, one.value) for seq, put in batches for one in put.register_reads]
    events = [(seq, one.event_id, one.detail) for seq, put in batches for one in put.events]
    evidence = [(seq, one.evidence_id, one.content) for seq, put in batches for one in put.evidence]
    sql = store.sql()
    for query, expected in (
        ('SELECT seq, block_id, "values" FROM raw_intervals', blocks),
        ("SELECT seq, read_id, value FROM register_reads", reads),
        ("SELECT seq, event_id, detail FROM events", events),
        ("SELECT seq, evidence_id, content FROM evidence", evidence),
    ):
        assert sorted(sql.sql(query).fetchall()) == sorted(expected)


@pytest.fixture
def lossy(tmp_path: Path) -> LossyFiles:
    (tmp_path / "disk").mkdir()
    return LossyFiles(tmp_path / "disk")


@pytest.fixture
def power_cut() -> type[BaseException]:
    return PowerCut


@pytest.fixture
def full_disk() -> FullDisk:
    return FullDisk()


@pytest.fixture(scope="session")
def batch_number() -> Callable[[int], Batch]:
    return make_batch


@pytest.fixture(scope="session")
def check() -> Callable[[ReadingStore, set[str]], None]:
    return check_store

"""A full disk at any step: a `StoreError`, nothing of the batch visible, and a store that goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from openami.mdm.stores import ReadingStore
from openami.quantities.errors import StoreError


@pytest.mark.parametrize("length", [1, 1000], ids=["for a moment", "until it is emptied"])
def test_full_disk_at_every_step_of_a_put(tmp_path, full_disk, check, batch_number, length) -> None:
    store = ReadingStore(tmp_path / "store", files=full_disk)
    observer = ReadingStore(tmp_path / "store")
    acknowledged, number, failures, step = set(), 0, 0, 1
    while True:
        full_disk.full_from = full_disk.steps + step
        full_disk.free_from = full_disk.full_from + length
        batch = batch_number(number)
        before = store.seq
        error = None
        try:
            store.put(batch)
        except StoreError as caught:
            error = caught
        if error is not None:
            failures += 1
            assert "No space left on device" in str(error)
            for one in (store, observer):
                assert one.seq == before
                assert one.receipt(batch.batch_id) is None
                assert one.block(batch.intervals[0].block_id) is None
            full_disk.full_from = 1 << 60
            store.put(batch)
        elif full_disk.steps < full_disk.full_from:
            break
        full_disk.full_from = 1 << 60
        acknowledged.add(batch.batch_id)
        assert observer.receipt(batch.batch_id) is not None
        number, step = number + 1, step + 2
    assert failures > 15
    check(ReadingStore(tmp_path / "store"), acknowledged)


def test_full_disk_in_a_compaction_changes_nothing(tmp_path, full_disk, check, batch_number) -> None:
    store = ReadingStore(tmp_path / "store", files=full_disk)
    acknowledged = {store.put(batch_number(number)).batch_id for number in range(4)}
    for step in range(0, 40, 5):
        full_disk.full_from = full_disk.steps + step
        full_disk.free_from = full_disk.full_from + 1
        try:
            store.compact("2026-10")
        except StoreError:
            check(store, acknowledged)
    full_disk.full_from = 1 << 60
    store.compact("2026-10")
    check(ReadingStore(tmp_path / "store"), acknowledged)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a small tmpfs")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=False)
    if done.returncode:
        pytest.skip("a small tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_really_full_disk(small_disk, check, batch_number) -> None:
    spare = small_disk / "spare"
    spare.write_bytes(bytes(400_000))
    store = ReadingStore(small_disk / "store")
    acknowledged = set()
    with pytest.raises(StoreError, match="No space left"):  # noqa: PT012
        for number in range(1000):
            acknowledged.add(store.put(batch_number(number)).batch_id)
    assert len(acknowledged) > 5
    check(ReadingStore(small_disk / "store"), acknowledged)
    spare.unlink()
    acknowledged.add(store.put(batch_number(1001)).batch_id)
    check(ReadingStore(small_disk / "store"), acknowledged)

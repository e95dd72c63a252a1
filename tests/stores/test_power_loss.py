"""Power is cut between any two steps of the store; what was acknowledged is there, once and whole."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable

import pytest

from openami.mdm.stores import ReadingStore, delta_log, transaction

Check = Callable[[ReadingStore, set[str]], None]


@pytest.fixture
def upkeep_at_every_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints and folding of commits on nearly every put, so that they are cut into as well."""
    monkeypatch.setattr(delta_log, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(transaction, "_LOOSE_COMMIT_FILES", 3)


def cut_at_every_step(tmp_path, lossy, power_cut, check, batch_number, act, steps_apart, seeds) -> int:
    """Cut ``act`` at every step; look at what a restart finds, then put again and on."""
    counting = lossy.clone(tmp_path / "counting")
    act(ReadingStore(counting.base / "store", files=counting))
    total = counting.steps
    begin = lossy.clone(tmp_path / "begin")
    ReadingStore(begin.base / "store", files=begin)
    acknowledged = {f"batch-{number}" for number in range(3)}
    for step in range(begin.steps, total, steps_apart):
        run = lossy.clone(tmp_path / "run")
        run.cut_at = step
        with pytest.raises(power_cut):
            act(ReadingStore(run.base / "store", files=run))
        for seed in (None, *seeds):
            luck = None if seed is None else random.Random(seed * 10_000 + step)
            found = run.after_power_loss(tmp_path / "found", luck)
            store = ReadingStore(found / "store")
            assert acknowledged <= {receipt.batch_id for receipt in store.receipts()}
            for number in (3, 4):
                store.put(batch_number(number))
            check(ReadingStore(found / "store"), acknowledged | {"batch-3", "batch-4"})
            shutil.rmtree(found)
        shutil.rmtree(run.base)
    return total


@pytest.fixture
def three_batches(lossy, batch_number):
    store = ReadingStore(lossy.base / "store", files=lossy)
    for number in range(3):
        store.put(batch_number(number))
    lossy.steps = 0
    return lossy


def test_power_loss_at_every_step_of_a_put(tmp_path, three_batches, power_cut, check, batch_number) -> None:
    steps = cut_at_every_step(
        tmp_path, three_batches, power_cut, check, batch_number,
        lambda store: store.put(batch_number(3)), 1, (),
    )  # fmt: skip
    assert steps > 40


@pytest.mark.usefixtures("upkeep_at_every_turn")
def test_power_loss_in_checkpoints_and_folded_commits(
    tmp_path, three_batches, power_cut, check, batch_number
) -> None:
    cut_at_every_step(
        tmp_path, three_batches, power_cut, check, batch_number,
        lambda store: store.put(batch_number(3)), 17, (1,),
    )  # fmt: skip


def test_power_loss_in_a_compaction(tmp_path, three_batches, power_cut, check, batch_number) -> None:
    cut_at_every_step(
        tmp_path, three_batches, power_cut, check, batch_number,
        lambda store: store.compact("2026-10"), 9, (1,),
    )  # fmt: skip


@pytest.mark.heavy
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("upkeep_at_every_turn")
def test_power_loss_at_every_step_with_unsynced_writes_surviving_by_chance(
    tmp_path, three_batches, power_cut, check, batch_number
) -> None:
    def act(store: ReadingStore) -> None:
        store.put(batch_number(3))
        store.compact("2026-10")

    cut_at_every_step(tmp_path, three_batches, power_cut, check, batch_number, act, 2, range(3))


def test_power_loss_while_the_store_is_made(tmp_path, lossy, power_cut, check, batch_number) -> None:
    whole = lossy.clone(tmp_path / "whole")
    ReadingStore(whole.base / "store", files=whole)
    for step in range(0, whole.steps, 9):
        run = lossy.clone(tmp_path / "run")
        run.cut_at = step
        with pytest.raises(power_cut):
            ReadingStore(run.base / "store", files=run)
        found = run.after_power_loss(tmp_path / "found")
        ReadingStore(found / "store").put(batch_number(0))
        check(ReadingStore(found / "store"), {"batch-0"})
        shutil.rmtree(found)
        shutil.rmtree(run.base)


def test_what_a_killed_writer_left_unsynced_is_synced_before_it_is_relied_on(
    tmp_path, three_batches, power_cut, check, batch_number
) -> None:
    counting = three_batches.clone(tmp_path / "counting")
    ReadingStore(counting.base / "store", files=counting).put(batch_number(3))
    for step in range(10, counting.steps, 5):
        run = three_batches.clone(tmp_path / "run")
        run.cut_at = step
        with pytest.raises(power_cut):
            ReadingStore(run.base / "store", files=run).put(batch_number(3))
        run.cut_at = None  # Only the process was killed: the files are as it left them.
        acknowledged = {f"batch-{number}" for number in range(4)}
        ReadingStore(run.base / "store", files=run).put(batch_number(3))
        found = run.after_power_loss(tmp_path / "found")
        check(ReadingStore(found / "store"), acknowledged)
        shutil.rmtree(found)
        shutil.rmtree(run.base)


def test_the_model_of_a_disk_loses_what_was_not_synced(lossy, tmp_path) -> None:
    lossy.write(lossy.base / "a", b"synced")
    lossy.sync_file(lossy.base / "a")
    lossy.sync_folder(lossy.base)
    lossy.write(lossy.base / "a", b"later")
    lossy.write(lossy.base / "b", b"never")
    found = lossy.after_power_loss(tmp_path / "found")
    assert {path.name: path.read_bytes() for path in found.iterdir()} == {"a": b"synced"}
    lossy.sync_folder(lossy.base)
    found = lossy.after_power_loss(tmp_path / "again")
    assert {path.name: path.read_bytes() for path in found.iterdir()} == {"a": b"synced", "b": b""}


def test_the_test_notices_a_store_that_syncs_too_little(tmp_path, three_batches, check, batch_number) -> None:
    three_batches.sync_folder = lambda folder: None
    store = ReadingStore(three_batches.base / "store", files=three_batches)
    store.put(batch_number(3))
    found = three_batches.after_power_loss(tmp_path / "found")
    with pytest.raises(AssertionError):
        check(ReadingStore(found / "store"), {f"batch-{number}" for number in range(4)})

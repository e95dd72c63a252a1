"""`kill -9` of a process that puts batches, at random moments; and two processes that put at once.

The killed processes are forked by one that has imported everything and started nothing: it runs no
thread, so a fork of it is clean.
"""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from openami.mdm.stores import ReadingStore

CONFTEST = Path(__file__).with_name("conftest.py")

PRELUDE = """
import importlib.util, os, random, signal, sys, time
from pathlib import Path
spec = importlib.util.spec_from_file_location("stores_conftest", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["stores_conftest"] = module
spec.loader.exec_module(module)
from openami.mdm.stores import ReadingStore, delta_log, transaction
"""

ZYGOTE = (
    PRELUDE
    + """
delta_log.CHECKPOINT_EVERY, transaction._LOOSE_COMMIT_FILES = 5, 4
root, number = Path(sys.argv[2]), 0
for line in sys.stdin:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        store = ReadingStore(root)
        while True:
            os.write(writing, f"{store.put(module.make_batch(number)).batch_id}\\n".encode())
            number += 1
            if number % 7 == 0:
                store.compact("2026-10")
    os.close(writing)
    first = os.read(reading, 1) if line.startswith("after") else b""
    time.sleep(float(line.split()[1]))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    acknowledged = first
    while part := os.read(reading, 65536):
        acknowledged += part
    os.close(reading)
    # Go on with the number that may be half there.
    number += acknowledged.count(b"\\n")
    print(" ".join(acknowledged.decode().split()), flush=True)
"""
)

WRITER = (
    PRELUDE
    + """
store = ReadingStore(Path(sys.argv[2]))
for number in range(int(sys.argv[3]), int(sys.argv[4])):
    receipt = store.put(module.make_batch(number))
    print(receipt.batch_id, receipt.seq, receipt.stored, flush=True)
"""
)


@pytest.fixture
def zygote(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", ZYGOTE, str(CONFTEST), str(tmp_path / "store")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()


def kill_and_look(zygote, root, check, times, look_every) -> None:
    chance = random.Random(20261123)
    acknowledged: set[str] = set()
    for turn in range(1, times + 1):
        # Half of them while the store is opened or the first batch is put, half later.
        moment = chance.choice(["at", "after"])
        zygote.stdin.write(f"{moment} {chance.uniform(0, 0.12 if moment == 'at' else 0.06):.4f}\n")
        zygote.stdin.flush()
        new = zygote.stdout.readline().split()
        assert not acknowledged & set(new)
        acknowledged |= set(new)
        if turn % look_every == 0:
            check(ReadingStore(root), acknowledged)
    assert len(acknowledged) > times // 4
    store = ReadingStore(root)
    receipts = store.receipts()
    check(store, acknowledged)
    # At most the batch that was being put when each process died is there without an acknowledgement.
    assert len(receipts) <= len(acknowledged) + times


def test_fifty_kills_lose_nothing_and_double_nothing(zygote, tmp_path, check) -> None:
    kill_and_look(zygote, tmp_path / "store", check, 50, 5)


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_many_kills_each_looked_at(zygote, tmp_path, check) -> None:
    kill_and_look(zygote, tmp_path / "store", check, 300, 1)


def test_two_processes_putting_at_once_take_turns(tmp_path, check) -> None:
    root = tmp_path / "store"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(CONFTEST), str(root), str(first), str(first + 12)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for first in (0, 8)
    ]
    seqs: dict[str, set[str]] = {}
    stored = 0
    for writer in writers:
        out, _ = writer.communicate(timeout=120)
        assert writer.returncode == 0
        for batch_id, seq, count in map(str.split, out.splitlines()):
            seqs.setdefault(batch_id, set()).add(seq)
            stored += int(count)
    # Batches 8 .. 11 were put by both: one seq each, and stored by whoever came first.
    assert sorted(seqs) == sorted(f"batch-{number}" for number in range(20))
    assert sorted(int(seq) for (seq,) in seqs.values()) == list(range(1, 21))
    assert stored == 20 * 6
    check(ReadingStore(root), set(seqs))


def test_an_open_store_sees_what_another_put(tmp_path, batch_number) -> None:
    one, other = ReadingStore(tmp_path / "store"), ReadingStore(tmp_path / "store")
    assert one.put(batch_number(0)).seq == 1
    assert other.seq == 1
    assert other.put(batch_number(1)).seq == 2
    assert other.put(batch_number(0)).stored == 0
    assert one.receipt("batch-1") is not None
    assert other.compact("2026-10") > 0
    assert other.vacuum(older_than=timedelta(0)) > 0
    assert [block.seq for block in one.raw(None, None, date(2026, 10, 1), date(2026, 11, 1))] == [1, 1, 2, 2]


def test_a_reader_never_sees_half_a_batch_while_files_are_written_merged_and_deleted(
    tmp_path, batch_number
) -> None:
    reader, writer = ReadingStore(tmp_path / "store"), ReadingStore(tmp_path / "store")
    failures: list[BaseException] = []

    def write() -> None:
        try:
            for number in range(24):
                writer.put(batch_number(number))
                if number % 3 == 2:
                    writer.compact("2026-10")
                    writer.vacuum(older_than=timedelta(0))
        except BaseException as error:
            failures.append(error)
            raise

    thread = threading.Thread(target=write)
    thread.start()
    looks = 0
    for store in itertools.cycle((reader, writer)):
        if not thread.is_alive():
            break
        before = store.seq
        blocks = store.raw(None, None, date(2026, 10, 1), date(2026, 11, 1))
        seqs = sorted(block.seq for block in blocks)
        assert seqs == sorted([*range(1, len(seqs) // 2 + 1)] * 2)
        assert before <= len(seqs) // 2 <= store.seq
        looks += 1
    thread.join()
    assert not failures
    assert looks > 5
    assert len(reader.receipts()) == 24

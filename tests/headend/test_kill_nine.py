"""Kill -9 of the collecting process at random moments: nothing acknowledged is lost, doubled or halved."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

from openami.mdm.stores.store import ReadingStore
from openami.quantities.obis import IMPORT_INTERVAL

KILLS = 50
METERS = 6


class CollectingProcess:
    """Starts collecting processes and kills them (see `collecting_process.py`)."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls) -> CollectingProcess:
        script = Path(__file__).with_name("collecting_process.py")
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, script, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
        )

    async def run(self, task, kill_after: float | None = None) -> int:
        """Exit code of one collection; -9 where it was killed."""
        self._process.stdin.write(json.dumps({**task, "kill_after": kill_after}).encode() + b"\n")
        return int(await self._process.stdout.readline())

    async def stop(self) -> None:
        self._process.stdin.close()
        await self._process.wait()


def notes_of(log: Path):
    """Batches handed to the Door by id, and the ids that were acknowledged."""
    intents, acknowledged = {}, set()
    for line in log.read_text().splitlines() if log.exists() else ():
        note = json.loads(line)
        if note["note"] == "intent":
            intents[note["batch"]] = note
        else:
            acknowledged.add(note["batch"])
    return intents, acknowledged


def check(store: ReadingStore, log: Path, judged: set[str]) -> None:
    """Every batch not judged before is wholly there or not at all, and wholly where it was acknowledged."""
    intents, acknowledged = notes_of(log)
    assert acknowledged <= set(intents)
    blocks = store.raw(None, [IMPORT_INTERVAL], date(2024, 10, 20), date(2024, 11, 20))
    values = {(block.series_id, block.day.day.isoformat()): block for block in blocks}
    for batch_id in set(intents) - judged:
        intent = intents[batch_id]
        kept = store.evidence(intent["evidence"])
        assert len(kept) in (0, len(intent["evidence"])), "half a batch"
        if batch_id in acknowledged:
            assert kept, "acknowledged and lost"
        if kept:
            for block in intent["blocks"]:
                there = values[block["meter"], block["day"]]
                for value, stored, missing in zip(
                    block["values"], there.values.tolist(), there.missing, strict=True
                ):
                    assert value is None or (not missing and stored == value)
        judged.add(batch_id)


def nothing_doubled(store: ReadingStore) -> None:
    rows = store.sql().execute(
        "select series_id, channel, day, values::varchar, count(*) from raw_intervals group by all"
    )
    assert [row for row in rows.fetchall() if row[-1] > 1] == []
    reads = store.sql().execute(
        """select meter_id, register, epoch_us("at"), value, count(*) from register_reads
        where kind = 'freeze' group by all"""
    )
    assert [row for row in reads.fetchall() if row[-1] > 1] == []


async def test_killed_fifty_times_nothing_acknowledged_is_lost_doubled_or_halved(
    serve, stored_intervals, tmp_path
):
    rng = random.Random(9)
    root, log = tmp_path / "readings", tmp_path / "notes.jsonl"
    judged: set[str] = set()
    codes: Counter[int] = Counter()
    process = await CollectingProcess.start()

    def task(served):
        orders = [
            {
                "meter_id": order.meter_id,
                "host": order.host,
                "port": order.port,
                "logical_device": order.logical_device,
                "zone": order.zone,
                "start": order.start.isoformat(),
                "password": order.password.decode(),
            }
            for order in served.orders()
        ]
        return {
            "store": str(root), "log": str(log), "orders": orders, "now": served.clock.now().isoformat()
        }  # fmt: skip

    async with serve(METERS, hours=1, secured=False) as served:
        began = asyncio.get_running_loop().time()
        assert await process.run(task(served)) == 0
        whole = asyncio.get_running_loop().time() - began
        watching = ReadingStore(root)
        while codes[-signal.SIGKILL] < KILLS:
            served.clock.advance(timedelta(hours=1))
            codes[await process.run(task(served), kill_after=rng.uniform(0, whole))] += 1
            # Whoever had the store open goes on, and whoever opens it anew finds it whole.
            watching = ReadingStore(root) if codes.total() % 10 == 0 else watching
            check(watching, log, judged)
        served.clock.advance(timedelta(hours=1))
        assert await process.run(task(served)) == 0
        await process.stop()
        store = ReadingStore(root)
        check(store, log, judged)
        nothing_doubled(store)
        start, end = served.orders()[0].start, served.clock.now()
        for meter_id in served.fleet.meter_ids:
            held = served.held(meter_id, start, end)
            assert len(held) == int((end - start) / timedelta(minutes=15))
            assert stored_intervals(store, meter_id, start, end) == held
    intents, acknowledged = notes_of(log)
    assert set(codes) <= {0, -signal.SIGKILL}
    assert len(acknowledged) < len(intents), "no kill hit a put: the test proves nothing"

"""A process that collects and may be killed at any moment, for `test_kill_nine.py`.

It imports once and then forks a collecting process for each line on its standard input (JSON: store, log,
orders, now, kill_after in seconds or null), kills it when its time is over, and prints its exit code. The
collecting process notes in the log, before a put, what it
hands to the Door, and after the receipt that it was acknowledged; each note is one write to a file opened
for appending, so that it survives the process.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import sys
from datetime import datetime
from pathlib import Path

from openami.headend.collection import CollectionPolicy, Collector
from openami.headend.dlms_tcp import dlms_tcp_drivers
from openami.mdm.stores.store import ReadingStore
from openami.quantities.clock import SimulatedClock
from openami.quantities.obis import IMPORT_ENERGY, IMPORT_INTERVAL
from openami.readings.read_order import ReadOrder


class NotingDoor:
    """A Door that notes what goes through it."""

    def __init__(self, door: ReadingStore, log: str) -> None:
        self._door = door
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def put(self, batch):
        blocks = [
            {
                "meter": block.series_id,
                "day": block.day.day.isoformat(),
                "values": [
                    None if gone else int(value)
                    for value, gone in zip(block.values, block.missing, strict=True)
                ],
            }
            for block in batch.intervals
        ]
        evidence = [item.evidence_id for item in batch.evidence]
        self._note({"note": "intent", "batch": batch.batch_id, "blocks": blocks, "evidence": evidence})
        receipt = self._door.put(batch)
        self._note({"note": "acknowledged", "batch": batch.batch_id})
        return receipt

    def _note(self, note) -> None:
        os.write(self._log, json.dumps(note).encode() + b"\n")


async def collect(task) -> None:
    now = datetime.fromisoformat(task["now"])
    orders = [
        ReadOrder(
            **{
                **order,
                "start": datetime.fromisoformat(order["start"]),
                "password": order["password"].encode(),
            },
            end=now,
            channels=(IMPORT_INTERVAL,),
            registers=(IMPORT_ENERGY,),
        )
        for order in task["orders"]
    ]
    door = NotingDoor(ReadingStore(Path(task["store"])), task["log"])
    policy = CollectionPolicy(concurrency=3, group_meters=2, group_s=0.02)
    report = await Collector(door, SimulatedClock(now), dlms_tcp_drivers(), policy=policy).collect(orders)
    sys.exit(0 if report.read == report.meters else 3)


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            asyncio.run(collect(json.loads(line)))
        handle = os.pidfd_open(pid)
        ended, _, _ = select.select([handle], [], [], json.loads(line)["kill_after"])
        if not ended:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.close(handle)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()

"""The reading store: durable puts, bulk writing and reading, and the question for one point's month.

Every put measured here is synced to disk before it counts. The peer writes the same rows with
`deltalake.write_deltalake`, which syncs nothing.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
from deltalake import DeltaTable, write_deltalake

from openami.cli.bench.figures import Figure
from openami.mdm.stores import ReadingStore
from openami.quantities.civil_time import CivilDay
from openami.quantities.obis import EXPORT_ENERGY, IMPORT_ENERGY, IMPORT_INTERVAL
from openami.quantities.units import WH
from openami.readings.door import Batch
from openami.readings.evidence import Evidence
from openami.readings.interval_block import IntervalBlock, blocks_to_table
from openami.readings.register_read import RegisterRead

METERS = 204
POINTS = 3400
FIRST = date(2026, 10, 1)
DAYS = 30
INTERVALS = 96
ZONE = "Asia/Shanghai"


def run() -> dict[str, Figure]:
    """Measure the store in a temporary folder (about 400 MB, half a minute)."""
    chance = np.random.default_rng(20261001)
    with tempfile.TemporaryDirectory(prefix="openami-bench-") as folder:
        root = Path(folder)
        return _collecting(root / "collecting", chance) | _bulk(root, chance)


def _collecting(root: Path, chance: np.random.Generator) -> dict[str, Figure]:
    """A head-end's day: one batch of 204 blocks, 408 register reads and their evidence."""
    store = ReadingStore(root)
    seconds = [_timed(partial(store.put, _day_batch(day, chance))) for day in _days()]
    return {
        "durable_puts": Figure(round(1 / float(np.median(seconds)), 1), "puts/s", goal=1 / 0.150),
        "durable_put_readings": Figure(
            round(METERS * (INTERVALS + 2) / float(np.median(seconds))), "readings/s"
        ),
    }


def _bulk(root: Path, chance: np.random.Generator) -> dict[str, Figure]:
    store = ReadingStore(root / "bulk")
    blocks = [block for day in _days() for block in _blocks("UP", POINTS, day, chance)]
    readings = len(blocks) * INTERVALS
    writing = sum(
        _timed(partial(store.put_final, blocks[start : start + POINTS]))
        for start in range(0, len(blocks), POINTS)
    )
    peer_writing = _timed(lambda: write_deltalake(root / "peer", blocks_to_table(blocks)))
    last = FIRST + timedelta(days=DAYS)

    def read() -> object:
        return store.final_table(None, None, FIRST, last)

    def ask() -> object:
        return store.final([f"UP{int(chance.integers(POINTS)):06d}"], [IMPORT_INTERVAL], FIRST, last)

    ask()
    loose = float(np.median([_timed(ask) for _ in range(15)]))
    store.compact("2026-10")
    ask()
    merged = float(np.median([_timed(ask) for _ in range(15)]))
    reading = min(_timed(read) for _ in range(3))
    peer = DeltaTable(root / "peer")
    peer_reading = min(_timed(peer.to_pyarrow_table) for _ in range(3))
    name = "write_deltalake, not durable"
    return {
        "bulk_write": Figure(round(readings / writing), "readings/s", name, round(readings / peer_writing)),
        "bulk_read": Figure(
            round(readings / reading), "readings/s", "deltalake", round(readings / peer_reading), goal=5e6
        ),
        "month_of_a_point_in_daily_files": Figure(round(1 / loose, 1), "questions/s"),
        "month_of_a_point_compacted": Figure(round(1 / merged, 1), "questions/s", goal=1 / 0.020),
    }


def _timed(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def _days() -> list[date]:
    return [FIRST + timedelta(days=number) for number in range(DAYS)]


def _captured(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 17, tzinfo=UTC)


def _blocks(
    prefix: str, count: int, day: date, chance: np.random.Generator, evidence: list[Evidence] | None = None
) -> list[IntervalBlock]:
    values = chance.integers(0, 600, (count, INTERVALS), np.int64)
    return [
        IntervalBlock(
            f"{prefix}{number:06d}",
            IMPORT_INTERVAL,
            CivilDay(day, ZONE),
            900,
            WH,
            values[number],
            _captured(day),
            anchor_start=0,
            anchor_end=int(values[number].sum()),
            evidence_id=None if evidence is None else evidence[number].evidence_id,
        )
        for number in range(count)
    ]


def _day_batch(day: date, chance: np.random.Generator) -> Batch:
    captured_at = _captured(day)
    evidence = [
        Evidence("frames", f"tcp://bench/{number}", "1-0:99.1.0/2", chance.bytes(1500), "0" * 64, captured_at)
        for number in range(METERS)
    ]
    reads = [
        RegisterRead(f"M{number:06d}", register, captured_at, WH, number, captured_at, "freeze",
                     evidence_id=evidence[number].evidence_id)
        for number in range(METERS)
        for register in (IMPORT_ENERGY, EXPORT_ENERGY)
    ]  # fmt: skip
    blocks = _blocks("M", METERS, day, chance, evidence)
    return Batch(f"bench {day}", tuple(blocks), tuple(reads), (), tuple(evidence))

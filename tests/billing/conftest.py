"""A small utility: one usage point with readings that have evidence, an account, an agreement, a tariff."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from openami.billing.bill import BillRun
from openami.mdm.stores.store import ReadingStore
from openami.quantities.civil_time import civil_days
from openami.quantities.clock import SimulatedClock
from openami.quantities.obis import IMPORT_INTERVAL, ObisCode
from openami.quantities.units import WH
from openami.readings.door import Batch
from openami.readings.evidence import Evidence
from openami.readings.interval_block import IntervalBlock
from openami.registry.database import open_database
from openami.registry.entities import Account, Agreement, Customer, Meter, UsagePoint
from openami.registry.registry import Registry

ZONE = "Europe/Berlin"
NOW = datetime(2026, 6, 1, 6, tzinfo=UTC)


@dataclass(slots=True)
class Utility:
    """One usage point UP-1 with meter M-1, agreement AG-1 of account AC-1 on tariff ``t``."""

    store: ReadingStore
    registry: Registry
    engine: sa.Engine
    run: BillRun

    def tariff(self, text: str, valid_from: date = date(2020, 1, 1)) -> None:
        self.registry.put_document(
            "tariff", "t", text, valid_from=valid_from, actor="test", why="tariff in force"
        )

    def read(
        self,
        first: date,
        last: date,
        value: Callable[[int], int] = lambda index: 100 + index % 7,
        channel: ObisCode = IMPORT_INTERVAL,
        statuses: dict[int, int] | None = None,
        interval_s: int = 900,
    ) -> None:
        """Put a raw block with evidence and the final made of it for each day."""
        raws, finals, proof = [], [], []
        for day in civil_days(first, last, ZONE):
            count = day.interval_count(interval_s)
            values = np.array([value(index) for index in range(count)], np.int64)
            line = f"{day.day},{','.join(map(str, values))}"
            item = Evidence(
                "file",
                "march.csv",
                f"line {day.day.day}",
                line.encode(),
                hashlib.sha256(b"f").hexdigest(),
                NOW,
            )
            raw = IntervalBlock(
                "M-1", channel, day, interval_s, WH, values, NOW, evidence_id=item.evidence_id
            )
            status = np.zeros(count, np.int32)
            for index, status_id in (statuses or {}).items():
                status[index] = status_id
            finals.append(
                IntervalBlock(
                    "UP-1", channel, day, interval_s, WH, values, NOW, status=status,
                    sources=(raw.block_id,), rule="default@2026-01-01", actor="vee",
                )
            )  # fmt: skip
            raws.append(raw)
            proof.append(item)
        self.store.put(Batch("march.csv", intervals=tuple(raws), evidence=tuple(proof)))
        self.store.put_final(finals)


@pytest.fixture
def utility(tmp_path: Path, database_url: str) -> Iterator[Utility]:
    clock = SimulatedClock(NOW)
    engine = open_database(database_url)
    registry = Registry(engine, clock)
    store = ReadingStore(tmp_path / "readings")
    registry.record(
        [
            Customer("C-1", "Ada"),
            Account("AC-1", "C-1", "EUR"),
            UsagePoint("UP-1", ZONE, None, "customer", 30_000, "residential"),
            Meter("M-1", "household", "", 0, 17, ZONE, 900, 8, 0, (IMPORT_INTERVAL,)),
            Agreement("AG-1", "AC-1", "UP-1", "t", date(2025, 1, 1)),
        ],
        actor="test",
        why="a new customer",
    )
    yield Utility(store, registry, engine, BillRun(store, registry, engine, clock))
    engine.dispose()

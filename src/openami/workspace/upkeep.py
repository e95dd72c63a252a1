"""Upkeep of a workspace's store: closed months are merged, everything stored is checked.

Blocks and evidence are named by a digest of their content, so a stored row can be held against its own name.
Rule: upkeep never changes an answer; what does not hold is told, not mended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

import duckdb
import pyarrow as pa

from openami.mdm.stores.store import ReadingStore
from openami.mdm.stores.tables import months_between
from openami.readings.evidence import evidence_from_table
from openami.readings.interval_block import blocks_from_table
from openami.workspace.workspace import Workspace

TABLES = ("raw_intervals", "final_intervals", "register_reads", "events", "evidence")
_ROWS_AT_ONCE = 4096

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What a store holds; days are civil days, the last one included."""

    seq: int
    commits: int
    files: int
    bytes: int
    rows: dict[str, int]
    first_day: date | None
    last_day: date | None


@dataclass(frozen=True, slots=True)
class StoreProof:
    """What was checked, and what does not hold."""

    rows: dict[str, int]
    faults: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """True when nothing was found wrong."""
        return not self.faults


def store_facts(workspace: Workspace) -> StoreFacts:
    """What the store of a workspace holds."""
    store = workspace.store
    span = store.days_present("raw")
    files = [path for path in store.root.rglob("*") if path.is_file()]
    with store.sql() as connection:
        return StoreFacts(
            seq=store.seq,
            commits=len(store.commits()),
            files=len(files),
            bytes=sum(path.stat().st_size for path in files),
            rows=_rows(connection),
            first_day=span[0] if span else None,
            last_day=span[1] if span else None,
        )


def compact_months(store: ReadingStore, first_day: date, last_day: date) -> int:
    """Merge the files of the months of ``[first_day, last_day)``; returns how many files became fewer.

    Raises
    ------
    StoreError
        A file could not be read or written; the store answers as before.
    """
    months = months_between(first_day, last_day - timedelta(days=1))
    return sum(store.compact(month) for month in months)


def compact_closed_months(store: ReadingStore, first_day: date, last_day: date) -> int:
    """`compact_months` of those months after which readings came already.

    An open month gets new files every night and would be written anew each time.
    """
    span = store.days_present("raw")
    if span is None:
        return 0
    open_month = span[1].replace(day=1)
    return compact_months(store, first_day, min(last_day, open_month)) if first_day < open_month else 0


def verify_store(workspace: Workspace, progress: Progress = lambda done, total: None) -> StoreProof:
    """Read every row and hold it against its name; follow every reference.

    Raises
    ------
    StoreError
        A file cannot be read at all.
    """
    faults: list[str] = []
    with workspace.store.sql() as connection:
        rows = _rows(connection)
        total = sum(rows[table] for table in ("raw_intervals", "final_intervals", "evidence"))
        done = 0
        for table in ("raw_intervals", "final_intervals"):
            for batch in _batches(connection, table):
                faults += (
                    f"{table}: block {block.block_id} of {block.series_id} on {block.day.day} is not what "
                    f"was stored"
                    for block in blocks_from_table(batch)
                    if replace(block, block_id="").block_id != block.block_id
                )
                progress(done := done + len(batch), total)
        for batch in _batches(connection, "evidence"):
            faults += (
                f"evidence {item.evidence_id} of {item.source}, {item.locator} is not what was stored"
                for item in evidence_from_table(batch)
                if replace(item, evidence_id="").evidence_id != item.evidence_id
            )
            progress(done := done + len(batch), total)
        faults += _broken_references(connection)
    return StoreProof(rows, tuple(faults))


def _rows(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    counted = {}
    for table in TABLES:
        ((count,),) = connection.sql(f"SELECT count(*) FROM {table}").fetchall()
        counted[table] = int(count)
    return counted


def _batches(connection: duckdb.DuckDBPyConnection, table: str) -> Iterator[pa.Table]:
    for batch in connection.sql(f"SELECT * FROM {table}").to_arrow_reader(_ROWS_AT_ONCE):
        yield pa.Table.from_batches([batch])


def _broken_references(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    lost_evidence = """
        SELECT evidence_id, count(*) FROM (
            SELECT evidence_id FROM raw_intervals UNION ALL SELECT evidence_id FROM register_reads
        ) WHERE evidence_id IS NOT NULL AND evidence_id NOT IN (SELECT evidence_id FROM evidence)
        GROUP BY ALL ORDER BY ALL
    """
    for evidence_id, count in connection.sql(lost_evidence).fetchall():
        yield f"evidence {evidence_id}, which {count} readings refer to, is not there"
    lost_sources = """
        SELECT source, count(*) FROM (SELECT unnest(sources) AS source FROM final_intervals)
        WHERE source NOT IN (SELECT block_id FROM raw_intervals)
        AND source NOT IN (SELECT block_id FROM final_intervals)
        GROUP BY ALL ORDER BY ALL
    """
    for source, count in connection.sql(lost_sources).fetchall():
        yield f"block {source}, of which {count} final blocks were made, is not there"

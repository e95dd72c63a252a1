"""Questions to the tables, as of a commit: selections, and the confirmations that go with raw rows.

Rule: every row that leaves here belongs to a commit at or before the one that was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta

import pyarrow as pa

from openami.mdm.stores.scan import Selection
from openami.mdm.stores.state import Snapshot, StoreState
from openami.mdm.stores.tables import CONFIRMATIONS, TableDefinition
from openami.quantities.errors import StoreError
from openami.quantities.obis import ObisCode
from openami.readings.interval_block import IntervalBlock, blocks_from_table


def bounded(snapshot: Snapshot, as_of: int | None) -> int:
    """The commit to answer as of.

    Raises
    ------
    StoreError
        There was no such commit.
    """
    if as_of is None:
        return snapshot.as_of
    if not 0 <= as_of <= snapshot.as_of:
        raise StoreError(f"no commit {as_of}", expected=f"0 .. {snapshot.as_of}")
    return as_of


def of_days(
    series_ids: Sequence[str] | None,
    channels: Sequence[ObisCode] | None,
    first_day: date,
    last_day: date,
    as_of: int,
) -> Selection:
    """Interval blocks of the days from ``first_day`` up to, not including, ``last_day``."""
    among = () if channels is None else (("channel", tuple(map(str, channels))),)
    return Selection(as_of, distinct(series_ids), first_day, last_day - timedelta(days=1), among)


def around_blocks(blocks: Sequence[IntervalBlock], as_of: int) -> Selection:
    """Stored blocks of the series of some blocks, from their first day to their last."""
    days = [block.day.day for block in blocks]
    return Selection(as_of, distinct(block.series_id for block in blocks), min(days), max(days))


def distinct(ids: Iterable[str] | None) -> tuple[str, ...] | None:
    """Ids once each, sorted; None for all."""
    return None if ids is None else tuple(sorted(set(ids)))


def select(
    state: StoreState, snapshot: Snapshot, definition: TableDefinition, selection: Selection
) -> pa.Table:
    """Rows of a table that a selection asks for."""
    entries = snapshot.entries(definition, selection)
    return state.readers[definition.name].select(entries, selection)


def rows_by_id(
    state: StoreState, snapshot: Snapshot, definition: TableDefinition, ids: Sequence[str]
) -> pa.Table:
    """Rows of a table by identity."""
    return state.readers[definition.name].rows_by_id(snapshot.entries(definition), ids, snapshot.as_of)


def confirmations(state: StoreState, snapshot: Snapshot, selection: Selection) -> dict[str, datetime]:
    """By row id: when its content was captured last, where that was after it was stored."""
    latest: dict[str, datetime] = {}
    for row in select(state, snapshot, CONFIRMATIONS, selection).to_pylist():
        item, captured = row["item_id"], row["captured_at"]
        latest[item] = max(captured, latest.get(item, captured))
    return latest


def blocks_of(table: pa.Table) -> list[IntervalBlock]:
    """Blocks of a table of `INTERVAL_SCHEMA`."""
    return list(blocks_from_table(table.combine_chunks()))

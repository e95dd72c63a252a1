"""The reading store: append-only, versioned, durable; in by one Door, out as of any commit.

Six Delta tables (and one of confirmations) under one folder; see `docs/stations/stores.md`. Rule: what
was acknowledged is there, once, and an answer as of a sequence number never changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from openami.mdm.stores.commits import Commit, DoorSide
from openami.mdm.stores.compaction import compact, vacuum
from openami.mdm.stores.durable_files import DurableFiles
from openami.mdm.stores.lookup import blocks_of, bounded, confirmations, distinct, of_days, rows_by_id, select
from openami.mdm.stores.putting import put_batch, put_versions
from openami.mdm.stores.resolution import counting_reads, newest_versions, resolve_raw
from openami.mdm.stores.scan import Selection
from openami.mdm.stores.sql_views import connect
from openami.mdm.stores.state import Snapshot, StoreState
from openami.mdm.stores.tables import EVENTS, EVIDENCE, FINAL, RAW, REGISTER_READS, TableDefinition, utc_day
from openami.quantities.clock import Clock, SystemClock
from openami.quantities.obis import ObisCode
from openami.readings.door import Batch, Receipt
from openami.readings.event import Event, events_from_table
from openami.readings.evidence import Evidence, evidence_from_table
from openami.readings.interval_block import IntervalBlock
from openami.readings.register_read import RegisterRead, reads_from_table

Kind = Literal["raw", "final"]
"""Readings as delivered (series: meters), or final values (series: usage points)."""

_INTERVALS: Mapping[str, TableDefinition] = {"raw": RAW, "final": FINAL}


class ReadingStore:
    """The reading store of one folder; implements `openami.readings.door.Door`.

    Any number of processes and threads may have the folder open. Writers take turns by a lock file;
    readers never wait. Every question is answered from what was committed when it was asked.

    Parameters
    ----------
    root:
        Folder of the store; created when it is not there (its parent must be).
    files:
        File operations; tests put one here that loses power.
    clock:
        Where the ``at`` of a commit comes from.

    Raises
    ------
    StoreError
        The folder cannot be made or read, or a log in it is damaged.
    """

    def __init__(self, root: Path, *, files: DurableFiles | None = None, clock: Clock | None = None) -> None:
        self.root = Path(root)
        self._clock = clock or SystemClock()
        self._state = StoreState(self.root, files or DurableFiles())

    @property
    def seq(self) -> int:
        """Sequence number of the last commit; 0 of an empty store."""
        return self._state.refresh().as_of

    # In

    def put(self, batch: Batch) -> Receipt:
        """Store a batch; durable when it returns.

        What is stored already is counted as a duplicate; what contradicts it is stored beside it and
        reported in ``conflicts`` (rules: `admission`, `overlay`). A batch id that was acknowledged
        before gives the old receipt with nothing stored. An empty batch leaves no trace.

        Raises
        ------
        StoreError
            It could not be stored (for instance a full disk), nothing of it is visible; or the batch id
            stands for other content.
        """
        if batch.empty:
            return Receipt(batch.batch_id, self.seq, 0, 0)
        return put_batch(self._state, batch, self._clock.now())

    def put_final(self, blocks: Sequence[IntervalBlock], *, source: str = "validation") -> Receipt:
        """Append final blocks as new versions; one identical to the current version makes none.

        Compared are values, status, anchors, failed checks, sources and rule, not the capture time. When
        nothing is new, nothing is committed and the receipt carries the present seq.

        Raises
        ------
        StoreError
            They could not be stored; nothing of them is visible.
        """
        return put_versions(self._state, blocks, source, self._clock.now())

    # Receipts

    def receipt(self, batch_id: str) -> Receipt | None:
        """The receipt that was given for a batch put through the Door; None when none was."""
        self._state.refresh()
        commit = self._state.by_batch.get(batch_id)
        return None if commit is None else commit.receipt

    def receipts(self, since_seq: int = 0) -> list[Receipt]:
        """Receipts of the batches put through the Door after a seq, oldest first."""
        return [commit.receipt for commit in self.commits(since_seq) if commit.door is DoorSide.RAW]

    def commits(self, since_seq: int = 0) -> list[Commit]:
        """Commits after a seq, oldest first, of both doors."""
        self._state.refresh()
        commits = self._state.commits
        return [commits[seq] for seq in sorted(commits) if seq > since_seq]

    def batch(self, batch_id: str) -> Batch | None:
        """What was stored of a batch (duplicates left out); None when it was never acknowledged."""
        self._state.refresh()
        commit = self._state.by_batch.get(batch_id)
        if commit is None:
            return None
        selection = Selection(commit.seq, among=(("seq", (commit.seq,)),))

        def rows(definition: TableDefinition) -> pa.Table:
            return self._state.read(lambda snapshot: self._select(snapshot, definition, selection))

        return Batch(
            commit.source,
            tuple(blocks_of(rows(RAW))),
            tuple(reads_from_table(rows(REGISTER_READS))),
            tuple(events_from_table(rows(EVENTS))),
            tuple(evidence_from_table(rows(EVIDENCE))),
            batch_id,
        )

    # Out

    def raw(
        self,
        series_ids: Sequence[str] | None,
        channels: Sequence[ObisCode] | None,
        first_day: date,
        last_day: date,
        *,
        as_of: int | None = None,
    ) -> list[IntervalBlock]:
        """What counts of the raw readings: one block a (series, channel, day), in that order.

        Parameters
        ----------
        series_ids, channels:
            Meters and channels; None for all.
        first_day, last_day:
            Civil days from ``first_day`` up to, not including, ``last_day``.
        as_of:
            As the store stood at this commit; None for now.

        Returns
        -------
        list[IntervalBlock]
            ``sources`` are the ids of the stored rows each was made of (for an untouched row: its own).

        Raises
        ------
        StoreError
            A file cannot be read; ``as_of`` is not a commit that was.
        """
        return blocks_of(self.raw_table(series_ids, channels, first_day, last_day, as_of=as_of))

    def raw_table(
        self,
        series_ids: Sequence[str] | None,
        channels: Sequence[ObisCode] | None,
        first_day: date,
        last_day: date,
        *,
        as_of: int | None = None,
    ) -> pa.Table:
        """As `raw`, as an Arrow table of `INTERVAL_SCHEMA`."""

        def question(snapshot: Snapshot) -> pa.Table:
            selection = of_days(series_ids, channels, first_day, last_day, bounded(snapshot, as_of))
            rows = self._select(snapshot, RAW, selection)
            return resolve_raw(rows, confirmations(self._state, snapshot, replace(selection, among=())))

        return self._state.read(question)

    def final(
        self,
        series_ids: Sequence[str] | None,
        channels: Sequence[ObisCode] | None,
        first_day: date,
        last_day: date,
        *,
        as_of: int | None = None,
    ) -> list[IntervalBlock]:
        """The newest final version of each (series, channel, day); arguments as `raw`."""
        return blocks_of(self.final_table(series_ids, channels, first_day, last_day, as_of=as_of))

    def final_table(
        self,
        series_ids: Sequence[str] | None,
        channels: Sequence[ObisCode] | None,
        first_day: date,
        last_day: date,
        *,
        as_of: int | None = None,
    ) -> pa.Table:
        """As `final`, as an Arrow table of `INTERVAL_SCHEMA`."""

        def question(snapshot: Snapshot) -> pa.Table:
            selection = of_days(series_ids, channels, first_day, last_day, bounded(snapshot, as_of))
            return newest_versions(self._select(snapshot, FINAL, selection))

        return self._state.read(question)

    def raw_versions(self, series_id: str, channel: ObisCode, day: date) -> list[IntervalBlock]:
        """All raw rows of one day of one channel, oldest first."""
        return self._versions(RAW, series_id, channel, day)

    def final_versions(self, series_id: str, channel: ObisCode, day: date) -> list[IntervalBlock]:
        """All final versions of one day of one channel, oldest first."""
        return self._versions(FINAL, series_id, channel, day)

    def block(self, block_id: str) -> IntervalBlock | None:
        """The stored row with an id, raw or final; the newest of identical ones."""
        return self.blocks([block_id]).get(block_id)

    def blocks(self, block_ids: Sequence[str]) -> dict[str, IntervalBlock]:
        """Stored rows by id, raw and final; ids that are not there are left out."""

        def question(snapshot: Snapshot) -> dict[str, IntervalBlock]:
            return {
                block.block_id: block
                for definition in (RAW, FINAL)
                for block in blocks_of(rows_by_id(self._state, snapshot, definition, block_ids))
            }

        return self._state.read(question)

    def register_reads(
        self,
        meter_ids: Sequence[str] | None,
        registers: Sequence[ObisCode] | None,
        start: datetime,
        end: datetime,
        *,
        as_of: int | None = None,
    ) -> list[RegisterRead]:
        """Register reads that speak of an instant in ``[start, end]``, by meter, register and instant.

        Where several contradict each other for one instant and kind, the one that counts.
        """

        def question(snapshot: Snapshot) -> list[RegisterRead]:
            among = () if registers is None else (("register", tuple(map(str, registers))),)
            bound = bounded(snapshot, as_of)
            selection = Selection(bound, distinct(meter_ids), start, end, among)
            reads = list(reads_from_table(self._select(snapshot, REGISTER_READS, selection)))
            days = replace(selection, first=utc_day(start), last=utc_day(end), among=())
            return counting_reads(reads, confirmations(self._state, snapshot, days))

        return self._state.read(question)

    def events(
        self,
        meter_ids: Sequence[str] | None,
        start: datetime,
        end: datetime,
        *,
        codes: Iterable[int] | None = None,
        as_of: int | None = None,
    ) -> list[Event]:
        """Events in ``[start, end]``, by meter and instant."""

        def question(snapshot: Snapshot) -> list[Event]:
            among = () if codes is None else (("code", tuple(int(code) for code in codes)),)
            selection = Selection(bounded(snapshot, as_of), distinct(meter_ids), start, end, among)
            events = list(events_from_table(self._select(snapshot, EVENTS, selection)))
            return sorted(events, key=lambda event: (event.meter_id, event.at, event.code, event.detail))

        return self._state.read(question)

    def evidence(self, evidence_ids: Iterable[str]) -> dict[str, Evidence]:
        """Evidence by id; ids that are not there are left out."""
        wanted = list(evidence_ids)

        def question(snapshot: Snapshot) -> dict[str, Evidence]:
            rows = rows_by_id(self._state, snapshot, EVIDENCE, wanted)
            return {item.evidence_id: item for item in evidence_from_table(rows)}

        return self._state.read(question)

    def days_present(self, kind: Kind) -> tuple[date, date] | None:
        """First and last civil day of which there are readings; None where there are none."""
        entries = self._state.refresh().entries(_INTERVALS[kind])
        if not entries:
            return None
        return min(entry.first_day for entry in entries), max(entry.last_day for entry in entries)

    def series_ids(self, kind: Kind) -> list[str]:
        """Meters (raw) or usage points (final) of which there are readings, sorted."""
        definition = _INTERVALS[kind]
        reader = self._state.readers[definition.name]

        def question(snapshot: Snapshot) -> list[str]:
            found: set[str] = set()
            for entry in snapshot.entries(definition):
                if entry.first_series == entry.last_series:
                    found.add(entry.first_series)
                else:
                    found.update(pc.unique(reader.column(entry, definition.series_column)).to_pylist())
            return sorted(found)

        return self._state.read(question)

    def sql(self) -> duckdb.DuckDBPyConnection:
        """An in-memory DuckDB with a view a table, of what is committed now, and ``final_newest``."""
        return connect(self._state)

    # Upkeep

    def compact(self, month: str) -> int:
        """Merge the files of a month (``"2026-10"``) in each table; no answer changes.

        Returns
        -------
        int
            How many files became fewer.

        Raises
        ------
        StoreError
            A file could not be read or written; the store is as before.
        """
        return compact(self._state, month)

    def vacuum(self, older_than: timedelta = timedelta(days=7)) -> int:
        """Delete files that no table refers to any more and that were last written so long ago.

        Readers that began earlier may still be at them, therefore the age. Returns how many were deleted.
        """
        return vacuum(self._state, older_than)

    # Inside

    def _select(self, snapshot: Snapshot, definition: TableDefinition, selection: Selection) -> pa.Table:
        return select(self._state, snapshot, definition, selection)

    def _versions(
        self, definition: TableDefinition, series_id: str, channel: ObisCode, day: date
    ) -> list[IntervalBlock]:
        def question(snapshot: Snapshot) -> list[IntervalBlock]:
            selection = of_days([series_id], [channel], day, day + timedelta(days=1), snapshot.as_of)
            rows = self._select(snapshot, definition, selection)
            return sorted(blocks_of(rows), key=lambda block: (block.seq, block.version))

        return self._state.read(question)

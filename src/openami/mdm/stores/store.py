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

from openami.mdm.stores.admission import (
    Admission,
    BlockKey,
    Confirmation,
    Item,
    ReadKey,
    admit_blocks,
    admit_events,
    admit_finals,
    admit_reads,
    block_key,
    evidence_to_keep,
    read_key,
)
from openami.mdm.stores.commits import Commit, DoorSide, conflicts_json, digest_of
from openami.mdm.stores.compaction import compact, vacuum
from openami.mdm.stores.durable_files import DurableFiles
from openami.mdm.stores.resolution import counting_reads, newest_versions, resolve_raw, runs_of
from openami.mdm.stores.scan import Selection
from openami.mdm.stores.sql_views import connect
from openami.mdm.stores.state import Snapshot, StoreState
from openami.mdm.stores.tables import (
    CONFIRMATION_SCHEMA,
    CONFIRMATIONS,
    EVENTS,
    EVIDENCE,
    FINAL,
    RAW,
    REGISTER_READS,
    TableDefinition,
    utc_day,
)
from openami.mdm.stores.transaction import write
from openami.quantities.clock import Clock, SystemClock
from openami.quantities.errors import StoreError
from openami.quantities.obis import ObisCode
from openami.readings.door import Batch, Receipt
from openami.readings.event import Event, events_from_table, events_to_table
from openami.readings.evidence import Evidence, evidence_from_table, evidence_to_table
from openami.readings.interval_block import IntervalBlock, blocks_from_table, blocks_to_table
from openami.readings.register_read import RegisterRead, reads_from_table, reads_to_table

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
        digest = digest_of(batch)
        with self._state.writing() as snapshot:
            known = self._state.by_batch.get(batch.batch_id)
            if known is not None:
                if known.digest != digest:
                    raise StoreError(
                        f"batch {batch.batch_id} was stored before with other content",
                        where=f"commit {known.seq}",
                        expected="a batch id of its own for each content",
                    )
                count = len(batch.intervals) + len(batch.register_reads) + len(batch.events)
                return replace(known.receipt, stored=0, duplicates=count)
            seq = self._state.next_seq()
            admission = self._admit(snapshot, batch, seq)
            return self._commit(admission, RAW, batch.batch_id, digest, DoorSide.RAW, batch.source, seq)

    def put_final(self, blocks: Sequence[IntervalBlock], *, source: str = "validation") -> Receipt:
        """Append final blocks as new versions; one identical to the current version makes none.

        Compared are values, status, anchors, failed checks, sources and rule, not the capture time. When
        nothing is new, nothing is committed and the receipt carries the present seq.

        Raises
        ------
        StoreError
            They could not be stored; nothing of them is visible.
        """
        with self._state.writing() as snapshot:
            seq = self._state.next_seq()
            admission = Admission()
            rows = self._rows_of_keys(snapshot, FINAL, blocks)
            current = {block_key(block): block for block in _blocks(newest_versions(rows))}
            admit_finals(admission, blocks, current, seq)
            if not admission.intervals:
                return Receipt("", snapshot.as_of, 0, admission.duplicates)
            digest = digest_of(Batch(source, tuple(blocks)))
            return self._commit(admission, FINAL, f"final-{seq}", digest, DoorSide.FINAL, source, seq)

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
            tuple(_blocks(rows(RAW))),
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
        return _blocks(self.raw_table(series_ids, channels, first_day, last_day, as_of=as_of))

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
            selection = _days(series_ids, channels, first_day, last_day, _as_of(snapshot, as_of))
            rows = self._select(snapshot, RAW, selection)
            return resolve_raw(rows, self._confirmed(snapshot, replace(selection, among=())))

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
        return _blocks(self.final_table(series_ids, channels, first_day, last_day, as_of=as_of))

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
            selection = _days(series_ids, channels, first_day, last_day, _as_of(snapshot, as_of))
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
                for block in _blocks(self._rows_by_id(snapshot, definition, block_ids))
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
            bound = _as_of(snapshot, as_of)
            selection = Selection(bound, _sorted(meter_ids), start, end, among)
            reads = list(reads_from_table(self._select(snapshot, REGISTER_READS, selection)))
            days = replace(selection, first=utc_day(start), last=utc_day(end), among=())
            return counting_reads(reads, self._confirmed(snapshot, days))

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
            selection = Selection(_as_of(snapshot, as_of), _sorted(meter_ids), start, end, among)
            events = list(events_from_table(self._select(snapshot, EVENTS, selection)))
            return sorted(events, key=lambda event: (event.meter_id, event.at, event.code, event.detail))

        return self._state.read(question)

    def evidence(self, evidence_ids: Iterable[str]) -> dict[str, Evidence]:
        """Evidence by id; ids that are not there are left out."""
        wanted = list(evidence_ids)

        def question(snapshot: Snapshot) -> dict[str, Evidence]:
            rows = self._rows_by_id(snapshot, EVIDENCE, wanted)
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
        return vacuum(self._state, older_than, self._clock.now())

    # Inside

    def _admit(self, snapshot: Snapshot, batch: Batch, seq: int) -> Admission:
        admission = Admission()
        if batch.intervals:
            rows = self._rows_of_keys(snapshot, RAW, batch.intervals)
            order = runs_of(rows, ("seq",), ("version",)).order
            stored: dict[BlockKey, list[IntervalBlock]] = {}
            for block in _blocks(rows.take(order)):
                stored.setdefault(block_key(block), []).append(block)
            days = _key_selection(snapshot, RAW, batch.intervals)
            confirmed = self._confirmed(snapshot, days) if stored else {}
            admit_blocks(admission, batch.intervals, stored, confirmed, seq)
        if batch.register_reads:
            meters = _sorted({read.meter_id for read in batch.register_reads})
            instants = [read.at for read in batch.register_reads]
            selection = Selection(snapshot.as_of, meters, min(instants), max(instants))
            known: dict[ReadKey, list[RegisterRead]] = {}
            for read in reads_from_table(self._select(snapshot, REGISTER_READS, selection)):
                known.setdefault(read_key(read), []).append(read)
            confirmed = {}
            if known:
                first, last = utc_day(min(instants)), utc_day(max(instants))
                confirmed = self._confirmed(snapshot, replace(selection, first=first, last=last))
            admit_reads(admission, batch.register_reads, known, confirmed, seq)
        if batch.events:
            meters = _sorted({event.meter_id for event in batch.events})
            instants = [event.at for event in batch.events]
            selection = Selection(snapshot.as_of, meters, min(instants), max(instants))
            events = events_from_table(self._select(snapshot, EVENTS, selection))
            admit_events(admission, batch.events, events, seq)
        if batch.evidence:
            items: tuple[Item, ...] = (*batch.intervals, *batch.register_reads, *batch.events)
            keep = evidence_to_keep(admission, items, batch.evidence)
            admission.evidence = self._new_evidence(snapshot, keep, seq)
        return admission

    def _new_evidence(self, snapshot: Snapshot, keep: Mapping[str, Evidence], seq: int) -> list[Evidence]:
        """Those of ``keep`` that are not stored; an id fixes its capture time, so few files can hold it."""
        if not keep:
            return []
        instants = [item.captured_at for item in keep.values()]
        selection = Selection(snapshot.as_of, None, min(instants), max(instants))
        entries = snapshot.entries(EVIDENCE, selection)
        reader = self._state.readers[EVIDENCE.name]
        stored = {
            one for entry in entries for one in reader.column(entry, EVIDENCE.id_column).to_pylist()
        } & set(keep)
        return [replace(item, seq=seq) for key, item in keep.items() if key not in stored]

    def _commit(
        self,
        admission: Admission,
        intervals: TableDefinition,
        batch_id: str,
        digest: str,
        door: DoorSide,
        source: str,
        seq: int,
    ) -> Receipt:
        commit = Commit(
            seq=seq,
            batch_id=batch_id,
            digest=digest,
            door=door,
            source=source,
            at=self._clock.now(),
            intervals=len(admission.intervals),
            register_reads=len(admission.register_reads),
            events=len(admission.events),
            evidence=len(admission.evidence),
            duplicates=admission.duplicates,
            conflicts=conflicts_json(admission.conflicts),
        )
        tables = {
            intervals.name: blocks_to_table(admission.intervals),
            REGISTER_READS.name: reads_to_table(admission.register_reads),
            EVENTS.name: events_to_table(admission.events),
            EVIDENCE.name: evidence_to_table(admission.evidence),
            CONFIRMATIONS.name: _confirmation_table(admission.confirmations, seq),
        }
        write(self._state, tables, commit)
        return commit.receipt

    def _select(self, snapshot: Snapshot, definition: TableDefinition, selection: Selection) -> pa.Table:
        entries = snapshot.entries(definition, selection)
        return self._state.readers[definition.name].select(entries, selection)

    def _rows_by_id(self, snapshot: Snapshot, definition: TableDefinition, ids: Sequence[str]) -> pa.Table:
        entries = snapshot.entries(definition)
        return self._state.readers[definition.name].rows_by_id(entries, ids, snapshot.as_of)

    def _rows_of_keys(
        self, snapshot: Snapshot, definition: TableDefinition, blocks: Sequence[IntervalBlock]
    ) -> pa.Table:
        """Stored rows of the series and days of some blocks (and perhaps of other days between)."""
        if not blocks:
            return definition.schema.empty_table()
        return self._select(snapshot, definition, _key_selection(snapshot, definition, blocks))

    def _confirmed(self, snapshot: Snapshot, selection: Selection) -> dict[str, datetime]:
        latest: dict[str, datetime] = {}
        for row in self._select(snapshot, CONFIRMATIONS, selection).to_pylist():
            item, captured = row["item_id"], row["captured_at"]
            latest[item] = max(captured, latest.get(item, captured))
        return latest

    def _versions(
        self, definition: TableDefinition, series_id: str, channel: ObisCode, day: date
    ) -> list[IntervalBlock]:
        def question(snapshot: Snapshot) -> list[IntervalBlock]:
            selection = _days([series_id], [channel], day, day + timedelta(days=1), snapshot.as_of)
            rows = self._select(snapshot, definition, selection)
            return sorted(_blocks(rows), key=lambda block: (block.seq, block.version))

        return self._state.read(question)


def _blocks(table: pa.Table) -> list[IntervalBlock]:
    return list(blocks_from_table(table.combine_chunks()))


def _sorted(ids: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if ids is None else tuple(sorted(set(ids)))


def _as_of(snapshot: Snapshot, as_of: int | None) -> int:
    if as_of is None:
        return snapshot.as_of
    if not 0 <= as_of <= snapshot.as_of:
        raise StoreError(f"no commit {as_of}", expected=f"0 .. {snapshot.as_of}")
    return as_of


def _days(
    series_ids: Sequence[str] | None,
    channels: Sequence[ObisCode] | None,
    first_day: date,
    last_day: date,
    as_of: int,
) -> Selection:
    among = () if channels is None else (("channel", tuple(map(str, channels))),)
    return Selection(as_of, _sorted(series_ids), first_day, last_day - timedelta(days=1), among)


def _key_selection(
    snapshot: Snapshot, definition: TableDefinition, blocks: Sequence[IntervalBlock]
) -> Selection:
    days = [block.day.day for block in blocks]
    return Selection(snapshot.as_of, _sorted({block.series_id for block in blocks}), min(days), max(days))


def _confirmation_table(confirmations: Sequence[Confirmation], seq: int) -> pa.Table:
    rows = [
        {
            "item_id": one.item_id,
            "series_id": one.series_id,
            "day": one.day,
            "captured_at": one.captured_at,
            "seq": seq,
        }
        for one in confirmations
    ]
    return pa.Table.from_pylist(rows, schema=CONFIRMATION_SCHEMA)

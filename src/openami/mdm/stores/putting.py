"""Putting: what a batch brings is compared with what is stored, and the rest is written as one commit.

Rule: comparing and writing happen under one write lock, so no other writer can come between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import pyarrow as pa

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
from openami.mdm.stores.lookup import around_blocks, blocks_of, confirmations, distinct, select
from openami.mdm.stores.resolution import newest_versions, runs_of
from openami.mdm.stores.scan import Selection
from openami.mdm.stores.state import Snapshot, StoreState
from openami.mdm.stores.tables import (
    CONFIRMATION_SCHEMA,
    CONFIRMATIONS,
    EVENTS,
    EVIDENCE,
    FINAL,
    RAW,
    REGISTER_READS,
    utc_day,
)
from openami.mdm.stores.transaction import write
from openami.quantities.errors import StoreError
from openami.readings.door import Batch, Receipt
from openami.readings.event import events_from_table, events_to_table
from openami.readings.evidence import Evidence, evidence_to_table
from openami.readings.interval_block import IntervalBlock, blocks_to_table
from openami.readings.register_read import RegisterRead, reads_from_table, reads_to_table


def put_batch(state: StoreState, batch: Batch, at: datetime) -> Receipt:
    """Store a batch of readings as delivered (`ReadingStore.put`)."""
    digest = digest_of(batch)
    with state.writing() as snapshot:
        known = state.by_batch.get(batch.batch_id)
        if known is not None:
            if known.digest != digest:
                raise StoreError(
                    f"batch {batch.batch_id} was stored before with other content",
                    where=f"commit {known.seq}",
                    expected="a batch id of its own for each content",
                )
            count = len(batch.intervals) + len(batch.register_reads) + len(batch.events)
            return replace(known.receipt, stored=0, duplicates=count)
        seq = state.next_seq()
        admission = _admit(state, snapshot, batch, seq)
        commit = _commit(
            admission, seq, snapshot.as_of, batch.batch_id, digest, DoorSide.RAW, batch.source, at
        )
        write(state, {RAW.name: blocks_to_table(admission.intervals), **_others(admission, seq)}, commit)
        return commit.receipt


def put_versions(state: StoreState, blocks: Sequence[IntervalBlock], source: str, at: datetime) -> Receipt:
    """Append final blocks as new versions (`ReadingStore.put_final`)."""
    if not blocks:
        return Receipt("", state.refresh().as_of, 0, 0)
    digest = digest_of(Batch(source, tuple(blocks)))
    with state.writing() as snapshot:
        seq = state.next_seq()
        admission = Admission()
        rows = select(state, snapshot, FINAL, around_blocks(blocks, snapshot.as_of))
        current = {block_key(block): block for block in blocks_of(newest_versions(rows))}
        admit_finals(admission, blocks, current, seq)
        if not admission.intervals:
            return Receipt("", snapshot.as_of, 0, admission.duplicates)
        commit = _commit(admission, seq, snapshot.as_of, f"final-{seq}", digest, DoorSide.FINAL, source, at)
        write(state, {FINAL.name: blocks_to_table(admission.intervals)}, commit)
        return commit.receipt


def _admit(state: StoreState, snapshot: Snapshot, batch: Batch, seq: int) -> Admission:
    admission = Admission()
    _admit_blocks(state, snapshot, batch, admission, seq)
    _admit_reads(state, snapshot, batch, admission, seq)
    if batch.events:
        meters = distinct(event.meter_id for event in batch.events)
        instants = [event.at for event in batch.events]
        selection = Selection(snapshot.as_of, meters, min(instants), max(instants))
        stored = events_from_table(select(state, snapshot, EVENTS, selection))
        admit_events(admission, batch.events, stored, seq)
    items: tuple[Item, ...] = (*batch.intervals, *batch.register_reads, *batch.events)
    keep = evidence_to_keep(admission, items, batch.evidence)
    admission.evidence = _new_evidence(state, snapshot, keep, seq)
    return admission


def _admit_blocks(
    state: StoreState, snapshot: Snapshot, batch: Batch, admission: Admission, seq: int
) -> None:
    if not batch.intervals:
        return
    selection = around_blocks(batch.intervals, snapshot.as_of)
    rows = select(state, snapshot, RAW, selection)
    stored: dict[BlockKey, list[IntervalBlock]] = {}
    for block in blocks_of(rows.take(runs_of(rows, ("seq",), ("version",)).order)):
        stored.setdefault(block_key(block), []).append(block)
    confirmed = confirmations(state, snapshot, selection) if stored else {}
    admit_blocks(admission, batch.intervals, stored, confirmed, seq)


def _admit_reads(state: StoreState, snapshot: Snapshot, batch: Batch, admission: Admission, seq: int) -> None:
    if not batch.register_reads:
        return
    meters = distinct(read.meter_id for read in batch.register_reads)
    instants = [read.at for read in batch.register_reads]
    first, last = min(instants), max(instants)
    stored: dict[ReadKey, list[RegisterRead]] = {}
    rows = select(state, snapshot, REGISTER_READS, Selection(snapshot.as_of, meters, first, last))
    for read in reads_from_table(rows):
        stored.setdefault(read_key(read), []).append(read)
    confirmed = {}
    if stored:
        days = Selection(snapshot.as_of, meters, utc_day(first), utc_day(last))
        confirmed = confirmations(state, snapshot, days)
    admit_reads(admission, batch.register_reads, stored, confirmed, seq)


def _new_evidence(
    state: StoreState, snapshot: Snapshot, keep: Mapping[str, Evidence], seq: int
) -> list[Evidence]:
    """Those of ``keep`` that are new; an id fixes source and capture time, so few files may hold it."""
    if not keep:
        return []
    instants = [item.captured_at for item in keep.values()]
    sources = distinct(item.source for item in keep.values())
    entries = snapshot.entries(EVIDENCE, Selection(snapshot.as_of, sources, min(instants), max(instants)))
    reader = state.readers[EVIDENCE.name]
    stored = {one for entry in entries for one in reader.column(entry, EVIDENCE.id_column).to_pylist()}
    return [replace(item, seq=seq) for key, item in keep.items() if key not in stored]


def _commit(
    admission: Admission,
    seq: int,
    previous: int,
    batch_id: str,
    digest: str,
    door: DoorSide,
    source: str,
    at: datetime,
) -> Commit:
    return Commit(
        seq=seq,
        previous=previous,
        batch_id=batch_id,
        digest=digest,
        door=door,
        source=source,
        at=at,
        intervals=len(admission.intervals),
        register_reads=len(admission.register_reads),
        events=len(admission.events),
        evidence=len(admission.evidence),
        confirmations=len(admission.confirmations),
        duplicates=admission.duplicates,
        conflicts=conflicts_json(admission.conflicts),
    )


def _others(admission: Admission, seq: int) -> dict[str, pa.Table]:
    return {
        REGISTER_READS.name: reads_to_table(admission.register_reads),
        EVENTS.name: events_to_table(admission.events),
        EVIDENCE.name: evidence_to_table(admission.evidence),
        CONFIRMATIONS.name: _confirmations_to_table(admission.confirmations, seq),
    }


def _confirmations_to_table(confirmed: Sequence[Confirmation], seq: int) -> pa.Table:
    rows = [
        {
            "item_id": one.item_id,
            "series_id": one.series_id,
            "day": one.day,
            "captured_at": one.captured_at,
            "seq": seq,
        }
        for one in confirmed
    ]
    return pa.Table.from_pylist(rows, schema=CONFIRMATION_SCHEMA)

"""The commits: which batches the store has acknowledged, and what each receipt said.

A batch spans several Delta tables; its row here is written last and is the one atomic point. Rule:
a sequence number stands for one batch only; numbers of batches that died on the way are not given again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

import orjson
import pyarrow as pa

from openami.mdm.stores.tables import (
    COMMIT_SCHEMA,
    CONFIRMATIONS,
    EVENTS,
    EVIDENCE,
    FINAL,
    RAW,
    REGISTER_READS,
)
from openami.readings.door import Batch, Conflict, Receipt


class DoorSide(Enum):
    """Through which door a batch came: readings as delivered, or final values as validated."""

    RAW = "raw"
    FINAL = "final"


@dataclass(frozen=True, slots=True)
class Commit:
    """One committed batch; ``previous`` is the seq of the commit before it (0: none)."""

    seq: int
    previous: int
    batch_id: str
    digest: str
    door: DoorSide
    source: str
    at: datetime
    intervals: int
    register_reads: int
    events: int
    evidence: int
    confirmations: int
    duplicates: int
    conflicts: str

    @property
    def rows(self) -> dict[str, int]:
        """Rows it stored, by table."""
        intervals = {RAW.name: 0, FINAL.name: 0}
        intervals[RAW.name if self.door is DoorSide.RAW else FINAL.name] = self.intervals
        return intervals | {
            REGISTER_READS.name: self.register_reads,
            EVENTS.name: self.events,
            EVIDENCE.name: self.evidence,
            CONFIRMATIONS.name: self.confirmations,
        }

    @property
    def receipt(self) -> Receipt:
        """The receipt that was given for it."""
        return Receipt(
            self.batch_id,
            self.seq,
            self.intervals + self.register_reads + self.events,
            self.duplicates,
            conflicts_of(self.conflicts),
        )


def conflicts_json(conflicts: Sequence[Conflict]) -> str:
    """Conflicts as the ``commits`` table keeps them."""
    rows = [[one.series_id, one.what, one.kept, one.other] for one in conflicts]
    return orjson.dumps(rows).decode()


def conflicts_of(text: str) -> tuple[Conflict, ...]:
    """Conflicts back from `conflicts_json`."""
    return tuple(Conflict(*row) for row in orjson.loads(text))


def digest_of(batch: Batch) -> str:
    """Hash of what a batch holds: one batch id must not be used for two contents."""
    digest = hashlib.sha256()
    for identities in (
        [block.block_id for block in batch.intervals],
        [read.read_id for read in batch.register_reads],
        [event.event_id for event in batch.events],
        [item.evidence_id for item in batch.evidence],
    ):
        digest.update("|".join(sorted(identities)).encode() + b"\n")
    return digest.hexdigest()[:24]


def commits_to_table(commits: Iterable[Commit]) -> pa.Table:
    """Commits as an Arrow table of `COMMIT_SCHEMA`."""
    rows = [
        {
            "seq": one.seq,
            "previous": one.previous,
            "batch_id": one.batch_id,
            "digest": one.digest,
            "door": one.door.value,
            "source": one.source,
            "at": one.at,
            "intervals": one.intervals,
            "register_reads": one.register_reads,
            "events": one.events,
            "evidence": one.evidence,
            "confirmations": one.confirmations,
            "duplicates": one.duplicates,
            "conflicts": one.conflicts,
        }
        for one in commits
    ]
    return pa.Table.from_pylist(rows, schema=COMMIT_SCHEMA)


def commits_from_table(table: pa.Table) -> list[Commit]:
    """Commits of a table of `COMMIT_SCHEMA`."""
    return [
        Commit(**{**row, "door": DoorSide(row["door"]), "at": row["at"].astimezone(UTC)})
        for row in table.to_pylist()
    ]

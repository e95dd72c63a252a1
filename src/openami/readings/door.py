"""The Door: the one way into the stores. A batch goes in; a receipt comes back when it is durable.

The same content twice is stored once. Conflicting duplicates are resolved by a written rule and
reported. When the receipt is there, the readings survive kill -9 and power loss.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Protocol

from openami.readings.content_id import content_bytes
from openami.readings.event import Event
from openami.readings.evidence import Evidence
from openami.readings.interval_block import IntervalBlock
from openami.readings.register_read import RegisterRead


@dataclass(frozen=True, slots=True)
class Batch:
    """What is stored together or not at all."""

    source: str
    intervals: tuple[IntervalBlock, ...] = ()
    register_reads: tuple[RegisterRead, ...] = ()
    events: tuple[Event, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    batch_id: str = field(default="")

    def __post_init__(self) -> None:
        if not self.batch_id:
            digest = hashlib.sha256(content_bytes(self.source))
            for identity in sorted(
                [block.block_id for block in self.intervals]
                + [read.read_id for read in self.register_reads]
                + [event.event_id for event in self.events]
                + [item.evidence_id for item in self.evidence]
            ):
                digest.update(identity.encode())
            object.__setattr__(self, "batch_id", digest.hexdigest()[:24])

    @property
    def empty(self) -> bool:
        """True when there is nothing in it."""
        return not (self.intervals or self.register_reads or self.events or self.evidence)


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two measured readings of one thing that differ; ``kept`` became current by the Door's rule."""

    series_id: str
    what: str
    kept: str
    other: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """The Door's acknowledgement; the batch is durable."""

    batch_id: str
    seq: int
    stored: int
    duplicates: int
    conflicts: tuple[Conflict, ...] = ()


class Door(Protocol):
    """The one way into the stores."""

    def put(self, batch: Batch) -> Receipt:
        """Store a batch and return when it is durable.

        Raises
        ------
        StoreError
            It could not be stored; nothing of it is visible.
        """
        ...

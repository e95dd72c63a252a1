"""Evidence: the bytes a reading came from, with the hash of what was on the wire or in the file.

For a head-end: the frames of one exchange, both directions, in order. For a file: its name, the hash of
the whole file and the line (or row) the reading stood in, with its text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

import orjson
import pyarrow as pa

from openami.quantities.errors import QuantityError
from openami.readings.content_id import content_bytes, utc_text

EVIDENCE_SCHEMA = pa.schema(
    [
        pa.field("evidence_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("locator", pa.string(), nullable=False),
        pa.field("content", pa.binary(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("captured_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("seq", pa.int64(), nullable=False),
    ]
)
"""Columns of stored evidence."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a reading came from.

    Parameters
    ----------
    kind:
        ``"frames"`` (an exchange on the wire) or ``"file"`` (lines of a file).
    source:
        ``"tcp://127.0.0.1:4059/17"`` or the file's name.
    locator:
        Where in the source: ``"line 12"``, ``"lines 2-49"``, or the object read (``"1-0:99.1.0/2"``).
    content:
        ``frames_content(...)`` for frames; the text of the lines for files.
    sha256:
        Hex digest of the bytes on the wire (all frames, in order), or of the whole file.
    """

    kind: str
    source: str
    locator: str
    content: bytes
    sha256: str
    captured_at: datetime
    seq: int = 0
    evidence_id: str = field(default="")

    def __post_init__(self) -> None:
        if self.kind not in ("frames", "file"):
            raise QuantityError(f"unknown kind of evidence {self.kind!r}", expected="frames or file")
        captured = utc_text(self.captured_at, "capture time")
        if not self.evidence_id:
            digest = hashlib.sha256(self.content)
            digest.update(content_bytes(self.kind, self.source, self.locator, self.sha256, captured))
            object.__setattr__(self, "evidence_id", digest.hexdigest()[:24])


def frames_content(frames: Iterable[tuple[str, bytes, bytes]]) -> bytes:
    """JSON of the frames of an exchange, in order: direction, octets as hex, and of deciphered frames a hash.

    Parameters
    ----------
    frames:
        Direction, the frame as it can be read, and the bytes that were on the wire. Where the two differ,
        the SHA-256 of the wire's bytes stands third: ``[["->", "0001..."], ["<-", "0001...", "9f86..."]]``.
    """
    return orjson.dumps(
        [
            [direction, octets.hex()]
            if octets == wire
            else [direction, octets.hex(), hashlib.sha256(wire).hexdigest()]
            for direction, octets, wire in frames
        ]
    )


def frames_of(content: bytes) -> list[tuple[str, bytes]]:
    """Direction and octets of each frame, back from `frames_content`."""
    return [(entry[0], bytes.fromhex(entry[1])) for entry in orjson.loads(content)]


def evidence_to_table(evidence: Iterable[Evidence]) -> pa.Table:
    """Evidence as an Arrow table of `EVIDENCE_SCHEMA`."""
    rows = [
        {
            "evidence_id": item.evidence_id,
            "kind": item.kind,
            "source": item.source,
            "locator": item.locator,
            "content": item.content,
            "sha256": item.sha256,
            "captured_at": item.captured_at,
            "seq": item.seq,
        }
        for item in evidence
    ]
    return pa.Table.from_pylist(rows, schema=EVIDENCE_SCHEMA)


def evidence_from_table(table: pa.Table) -> Iterator[Evidence]:
    """Evidence of a table of `EVIDENCE_SCHEMA`."""
    for row in table.to_pylist():
        yield Evidence(
            kind=row["kind"],
            source=row["source"],
            locator=row["locator"],
            content=row["content"],
            sha256=row["sha256"],
            captured_at=row["captured_at"],
            seq=row["seq"],
            evidence_id=row["evidence_id"],
        )

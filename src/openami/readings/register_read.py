"""Register reads: a cumulative or maximum register of a meter, with the instant it speaks of.

Dials, tariffs 1-63, maximum demand with its capture time, and freezes. The OBIS code carries the rate
in value group E.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from openami.quantities.errors import QuantityError
from openami.quantities.obis import ObisCode
from openami.quantities.status import VALID, Status
from openami.quantities.units import Quantum, Unit
from openami.readings.content_id import INT64, content_bytes, utc_text

KINDS = ("freeze", "current", "install", "remove", "file")

REGISTER_SCHEMA = pa.schema(
    [
        pa.field("read_id", pa.string(), nullable=False),
        pa.field("meter_id", pa.string(), nullable=False),
        pa.field("register", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("unit", pa.string(), nullable=False),
        pa.field("exponent", pa.int8(), nullable=False),
        pa.field("value", pa.int64(), nullable=False),
        pa.field("reached_at", pa.timestamp("us", tz="UTC")),
        pa.field("status", pa.int32(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("evidence_id", pa.string()),
        pa.field("captured_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("seq", pa.int64(), nullable=False),
    ]
)
"""Columns of a stored register read."""


@dataclass(frozen=True, slots=True)
class RegisterRead:
    """One register of one meter.

    Parameters
    ----------
    meter_id:
        The meter.
    register:
        OBIS code; value group E is the rate.
    at:
        Instant (UTC) the value speaks of: the freeze, or the moment of reading.
    quantum, value:
        Integer count of the quantum, on the meter's secondary side.
    captured_at:
        When it was obtained.
    kind:
        ``"freeze"`` (midnight or billing freeze), ``"current"`` (read live), ``"install"`` or
        ``"remove"`` (written down at a meter exchange), ``"file"`` (imported).
    reached_at:
        For maxima: when the maximum occurred.
    status:
        Status id.

    Raises
    ------
    QuantityError
        The value is no integer of 64 bits, a time is naive, or kind or status is not known.
    """

    meter_id: str
    register: ObisCode
    at: datetime
    quantum: Quantum
    value: int
    captured_at: datetime
    kind: str = "current"
    reached_at: datetime | None = None
    status: int = VALID
    evidence_id: str | None = None
    seq: int = 0
    read_id: str = field(default="")

    def __post_init__(self) -> None:
        place = f"read of {self.register} of meter {self.meter_id!r}"
        if not isinstance(self.value, int | np.integer) or self.value not in INT64:
            raise QuantityError(f"value {self.value!r}", where=place, expected="an integer of 64 bits")
        if self.kind not in KINDS:
            raise QuantityError(f"kind {self.kind!r}", where=place, expected=", ".join(KINDS))
        Status.from_id(self.status)
        at, captured = utc_text(self.at, "time of a read"), utc_text(self.captured_at, "capture time")
        if self.reached_at is not None:
            utc_text(self.reached_at, "time of a maximum")
        if not self.read_id:
            head = content_bytes(
                self.meter_id, self.register, at, self.quantum, self.value, self.kind,
                self.reached_at and self.reached_at.astimezone(UTC), self.status, self.evidence_id, captured,
            )  # fmt: skip
            object.__setattr__(self, "read_id", hashlib.sha256(head).hexdigest()[:24])


def reads_to_table(reads: Iterable[RegisterRead]) -> pa.Table:
    """Register reads as an Arrow table of `REGISTER_SCHEMA`."""
    rows = [
        {
            "read_id": read.read_id,
            "meter_id": read.meter_id,
            "register": str(read.register),
            "at": read.at,
            "unit": read.quantum.unit.value,
            "exponent": read.quantum.exponent,
            "value": read.value,
            "reached_at": read.reached_at,
            "status": read.status,
            "kind": read.kind,
            "evidence_id": read.evidence_id,
            "captured_at": read.captured_at,
            "seq": read.seq,
        }
        for read in reads
    ]
    return pa.Table.from_pylist(rows, schema=REGISTER_SCHEMA)


def reads_from_table(table: pa.Table) -> Iterator[RegisterRead]:
    """Register reads of a table of `REGISTER_SCHEMA`."""
    for row in table.to_pylist():
        yield RegisterRead(
            meter_id=row["meter_id"],
            register=ObisCode.parse(row["register"]),
            at=row["at"],
            quantum=Quantum(Unit(row["unit"]), row["exponent"]),
            value=row["value"],
            captured_at=row["captured_at"],
            kind=row["kind"],
            reached_at=row["reached_at"],
            status=row["status"],
            evidence_id=row["evidence_id"],
            seq=row["seq"],
            read_id=row["read_id"],
        )

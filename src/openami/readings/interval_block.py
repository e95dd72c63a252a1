"""Interval blocks: one channel of one series on one civil day, as integer counts of the quantum.

A series is a meter (raw) or a usage point (final). Value ``i`` covers ``[start + i*interval_s,
start + (i+1)*interval_s)``. A missing value is null with a status that says so, never a zero.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from openami.quantities.civil_time import CivilDay
from openami.quantities.errors import QuantityError
from openami.quantities.obis import ObisCode
from openami.quantities.status import MISSING, VALID, Quality, is_missing
from openami.quantities.units import Quantum, Unit
from openami.readings.content_id import INT64, content_bytes, utc_text

Counts = npt.NDArray[np.int64]
StatusIds = npt.NDArray[np.int32]

INTERVAL_SCHEMA = pa.schema(
    [
        pa.field("block_id", pa.string(), nullable=False),
        pa.field("series_id", pa.string(), nullable=False),
        pa.field("channel", pa.string(), nullable=False),
        pa.field("day", pa.date32(), nullable=False),
        pa.field("zone", pa.string(), nullable=False),
        pa.field("start", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("interval_s", pa.int32(), nullable=False),
        pa.field("unit", pa.string(), nullable=False),
        pa.field("exponent", pa.int8(), nullable=False),
        pa.field("values", pa.list_(pa.int64()), nullable=False),
        pa.field("status", pa.list_(pa.int32())),
        pa.field("anchor_start", pa.int64()),
        pa.field("anchor_end", pa.int64()),
        pa.field("failed_checks", pa.int64(), nullable=False),
        pa.field("evidence_id", pa.string()),
        pa.field("sources", pa.list_(pa.string())),
        pa.field("captured_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("rule", pa.string()),
        pa.field("actor", pa.string()),
        pa.field("why", pa.string()),
        pa.field("version", pa.int32(), nullable=False),
        pa.field("seq", pa.int64(), nullable=False),
    ]
)
"""Columns of a stored block. ``status`` is null when every value is measured and valid."""


@dataclass(frozen=True, slots=True, eq=False)
class IntervalBlock:
    """One channel of one series on one civil day.

    Parameters
    ----------
    series_id:
        Meter (raw) or usage point (final).
    channel:
        OBIS code of the interval quantity.
    day:
        Civil day with its zone.
    interval_s:
        Length of an interval in seconds; divides the day.
    quantum:
        What a count is worth.
    values:
        int64 counts, shape ``(day.interval_count(interval_s),)``; 0 where the status says missing.
    status:
        int32 status ids of the same shape, or None when all are measured and valid.
    anchor_start, anchor_end:
        Register counts (same quantum) at the start and end of the day, where read.
    failed_checks:
        Bit-set of the validation checks that failed (bits: `openami.mdm.vee.checks`).
    evidence_id:
        The evidence a raw block came from.
    sources:
        Ids of the raw blocks a final block was made of.
    captured_at:
        When the head-end or the file's maker obtained it.
    rule, actor, why:
        Who made this version, by which rule, and why; None for plain reads.
    version, seq:
        Given by the store: 1, 2, ... per (series, channel, day), and the commit sequence.

    Raises
    ------
    QuantityError
        Shape or type of values or status are not the day's, a status id is none, a count does not fit 64
        bits, or the capture time is naive.
    """

    series_id: str
    channel: ObisCode
    day: CivilDay
    interval_s: int
    quantum: Quantum
    values: Counts
    captured_at: datetime
    status: StatusIds | None = None
    anchor_start: int | None = None
    anchor_end: int | None = None
    failed_checks: int = 0
    evidence_id: str | None = None
    sources: tuple[str, ...] = ()
    rule: str | None = None
    actor: str | None = None
    why: str | None = None
    version: int = 0
    seq: int = 0
    block_id: str = field(default="")

    def __post_init__(self) -> None:
        expected = self.day.interval_count(self.interval_s)
        if self.values.shape != (expected,) or self.values.dtype != np.int64:
            raise QuantityError(
                f"block of {self.values.dtype} {self.values.shape} for {self.series_id} on {self.day.day}",
                expected=f"int64 ({expected},)",
            )
        if self.status is not None and (self.status.shape != (expected,) or self.status.dtype != np.int32):
            raise QuantityError(
                f"status of {self.status.dtype} {self.status.shape} for {self.series_id} on {self.day.day}",
                expected=f"int32 ({expected},)",
            )
        utc_text(self.captured_at, "capture time")
        if self.status is not None and ((self.status < 0) | (self.status & 7 > max(Quality))).any():
            raise QuantityError(
                f"a status id that is none, for {self.series_id!r} on {self.day.day}",
                expected="ids of openami.quantities.status",
            )
        for count in (self.anchor_start, self.anchor_end, self.failed_checks):
            if count is not None and count not in INT64:
                raise QuantityError(f"{count} does not fit 64 bits, for {self.series_id!r} on {self.day.day}")
        if self.status is not None and not self.status.any():
            object.__setattr__(self, "status", None)
        if self.status is not None:
            missing = is_missing(self.status)
            if self.values[missing].any():
                object.__setattr__(self, "values", np.where(missing, 0, self.values))
        if not self.block_id:
            object.__setattr__(self, "block_id", self._content_id())

    def _content_id(self) -> str:
        digest = hashlib.sha256()
        head = content_bytes(
            self.series_id, self.channel, self.day.day.isoformat(), self.day.zone, self.interval_s,
            self.quantum, self.anchor_start, self.anchor_end, self.failed_checks, self.evidence_id,
            self.sources, utc_text(self.captured_at, "capture time"), self.rule, self.actor, self.why,
        )  # fmt: skip
        digest.update(head)
        digest.update(self.values.tobytes())
        digest.update(b"" if self.status is None else self.status.tobytes())
        return digest.hexdigest()[:24]

    @property
    def status_ids(self) -> StatusIds:
        """Status ids, spelled out, int32 of the shape of `values`."""
        if self.status is not None:
            return self.status
        return np.full(self.values.shape, VALID, np.int32)

    @property
    def missing(self) -> npt.NDArray[np.bool_]:
        """True where there is no value, same shape as `values`."""
        return is_missing(self.status_ids)

    @property
    def total(self) -> int:
        """Sum of the values that are there, in quanta."""
        return int(self.values.sum())


def empty_status(count: int) -> StatusIds:
    """Status array of ``count`` missing values."""
    return np.full(count, MISSING, np.int32)


def blocks_to_table(blocks: Iterable[IntervalBlock]) -> pa.Table:
    """Blocks as an Arrow table of `INTERVAL_SCHEMA`; missing values become null."""
    rows = list(blocks)
    lengths = np.fromiter((len(row.values) for row in rows), np.int32, len(rows))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    flat = np.concatenate([row.values for row in rows]) if rows else np.empty(0, np.int64)
    missing = np.concatenate([row.missing for row in rows]) if rows else np.empty(0, np.bool_)
    values = pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, mask=missing))
    columns: dict[str, object] = {
        "block_id": [row.block_id for row in rows],
        "series_id": [row.series_id for row in rows],
        "channel": [str(row.channel) for row in rows],
        "day": [row.day.day for row in rows],
        "zone": [row.day.zone for row in rows],
        "start": [row.day.start for row in rows],
        "interval_s": [row.interval_s for row in rows],
        "unit": [row.quantum.unit.value for row in rows],
        "exponent": [row.quantum.exponent for row in rows],
        "status": [row.status for row in rows],
        "anchor_start": [row.anchor_start for row in rows],
        "anchor_end": [row.anchor_end for row in rows],
        "failed_checks": [row.failed_checks for row in rows],
        "evidence_id": [row.evidence_id for row in rows],
        "sources": [list(row.sources) or None for row in rows],
        "captured_at": [row.captured_at for row in rows],
        "rule": [row.rule for row in rows],
        "actor": [row.actor for row in rows],
        "why": [row.why for row in rows],
        "version": [row.version for row in rows],
        "seq": [row.seq for row in rows],
    }
    arrays = [
        values if name == "values" else pa.array(columns[name], INTERVAL_SCHEMA.field(name).type)
        for name in INTERVAL_SCHEMA.names
    ]
    return pa.Table.from_arrays(arrays, schema=INTERVAL_SCHEMA)


def blocks_from_table(table: pa.Table) -> Iterator[IntervalBlock]:
    """Blocks of a table of `INTERVAL_SCHEMA`."""
    for chunk in table.to_batches():
        values = chunk.column("values")
        flat = values.flatten().fill_null(0).to_numpy(zero_copy_only=False)
        offsets = np.concatenate([[0], np.cumsum(values.value_lengths().to_numpy(zero_copy_only=False))])
        status = chunk.column("status")
        rest = chunk.drop_columns(["values", "status"]).to_pylist()
        for index, row in enumerate(rest):
            ids = status[index]
            yield IntervalBlock(
                series_id=row["series_id"],
                channel=ObisCode.parse(row["channel"]),
                day=CivilDay(_as_date(row["day"]), row["zone"]),
                interval_s=row["interval_s"],
                quantum=Quantum(Unit(row["unit"]), row["exponent"]),
                values=flat[offsets[index] : offsets[index + 1]].astype(np.int64, copy=True),
                captured_at=row["captured_at"],
                status=np.array(ids.values, np.int32) if ids.is_valid else None,
                anchor_start=row["anchor_start"],
                anchor_end=row["anchor_end"],
                failed_checks=row["failed_checks"],
                evidence_id=row["evidence_id"],
                sources=tuple(row["sources"] or ()),
                rule=row["rule"],
                actor=row["actor"],
                why=row["why"],
                version=row["version"],
                seq=row["seq"],
                block_id=row["block_id"],
            )


def _as_date(value: date | datetime) -> date:
    return value.date() if isinstance(value, datetime) else value

"""The tables of the store: their columns, how their rows are sorted, and how they lie in Parquet files.

A file holds rows of one month (``month=2026-10/``), sorted by series, channel and time in row groups of
`ROW_GROUP` rows, so that one meter's month is found by statistics. Every page carries a checksum, and
the file's name that of its footer. Rule: a file is never changed; what it holds is decided by its rows'
``seq`` alone.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openami.readings.event import EVENT_SCHEMA
from openami.readings.evidence import EVIDENCE_SCHEMA
from openami.readings.interval_block import INTERVAL_SCHEMA
from openami.readings.register_read import REGISTER_SCHEMA

ROW_GROUP = 256
"""Rows of a row group: one is decoded in about 0.6 ms, and a point query decodes one a file."""

_UTC = pa.timestamp("us", tz="UTC")

FILE_ROWS = 100_000
"""Most rows of a file: ten million quarter-hours, about 15 MB."""

CONFIRMATION_SCHEMA = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("series_id", pa.string(), nullable=False),
        pa.field("day", pa.date32(), nullable=False),
        pa.field("captured_at", _UTC, nullable=False),
        pa.field("seq", pa.int64(), nullable=False),
    ]
)
"""A redelivery of what is stored already: when the same content (row ``item_id``) was captured again."""

COMMIT_SCHEMA = pa.schema(
    [
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("previous", pa.int64(), nullable=False),
        pa.field("batch_id", pa.string(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("door", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("at", _UTC, nullable=False),
        pa.field("intervals", pa.int64(), nullable=False),
        pa.field("register_reads", pa.int64(), nullable=False),
        pa.field("events", pa.int64(), nullable=False),
        pa.field("evidence", pa.int64(), nullable=False),
        pa.field("confirmations", pa.int64(), nullable=False),
        pa.field("duplicates", pa.int64(), nullable=False),
        pa.field("conflicts", pa.string(), nullable=False),
    ]
)
"""One committed batch, chained to the one before it, with the number of rows it stored in each table.

Rows of other tables whose ``seq`` is not here were never acknowledged."""


@dataclass(frozen=True, slots=True)
class TableDefinition:
    """One Delta table of the store.

    Parameters
    ----------
    name:
        Folder under the root, and view in SQL.
    schema:
        Columns of a file (without the partition column).
    id_column:
        Identity of a row.
    series_column, time_column:
        What queries select by; both carry statistics.
    sort_by:
        Order of the rows of a file.
    delta_encoded:
        Integer columns that take DELTA_BINARY_PACKED.
    """

    name: str
    schema: pa.Schema
    id_column: str
    series_column: str
    time_column: str
    sort_by: tuple[str, ...]
    delta_encoded: tuple[str, ...]
    partitioned: bool = True

    @property
    def delta_schema(self) -> pa.Schema:
        """Columns of the Delta table: those of the files and the partition column."""
        if not self.partitioned:
            return self.schema
        return self.schema.append(pa.field("month", pa.string(), nullable=False))

    @property
    def partition_by(self) -> list[str]:
        """Partition columns."""
        return ["month"] if self.partitioned else []


def _intervals(name: str) -> TableDefinition:
    return TableDefinition(
        name, INTERVAL_SCHEMA, "block_id", "series_id", "day",
        ("series_id", "channel", "day", "seq"),
        (
            "values.list.element", "status.list.element", "start", "captured_at",
            "anchor_start", "anchor_end", "seq",
        ),
    )  # fmt: skip


RAW = _intervals("raw_intervals")
FINAL = _intervals("final_intervals")
REGISTER_READS = TableDefinition(
    "register_reads", REGISTER_SCHEMA, "read_id", "meter_id", "at",
    ("meter_id", "register", "at", "seq"), ("at", "value", "captured_at", "seq"),
)  # fmt: skip
EVENTS = TableDefinition(
    "events", EVENT_SCHEMA, "event_id", "meter_id", "at", ("meter_id", "at", "seq"),
    ("at", "captured_at", "seq"),
)  # fmt: skip
EVIDENCE = TableDefinition(
    "evidence", EVIDENCE_SCHEMA, "evidence_id", "source", "captured_at", ("source", "captured_at", "seq"),
    ("captured_at", "seq"),
)  # fmt: skip
CONFIRMATIONS = TableDefinition(
    "confirmations", CONFIRMATION_SCHEMA, "item_id", "series_id", "day", ("series_id", "day", "seq"),
    ("captured_at", "seq"),
)  # fmt: skip
COMMITS = TableDefinition(
    "commits", COMMIT_SCHEMA, "batch_id", "source", "at", ("seq",), ("seq", "at"), partitioned=False
)

DATA_TABLES = (RAW, FINAL, REGISTER_READS, EVENTS, EVIDENCE, CONFIRMATIONS)
"""The tables a batch may touch; `COMMITS` is written last."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One Parquet file of a table, with the statistics that queries prune by (bounds inclusive).

    Invariant: a file with ``first_seq < last_seq`` was written by compaction and holds committed rows
    only; a file with one seq is visible when that seq is committed.
    """

    path: str
    size: int
    rows: int
    month: str
    first_seq: int
    last_seq: int
    first_series: str
    last_series: str
    first_time: date
    last_time: date

    @property
    def first_day(self) -> date:
        """Day (of instants: in UTC) of the earliest row."""
        return utc_day(self.first_time)

    @property
    def last_day(self) -> date:
        """Day (of instants: in UTC) of the latest row."""
        return utc_day(self.last_time)


@dataclass(frozen=True, slots=True)
class EncodedFile:
    """A Parquet file ready to be written: its bytes and what the log says of it."""

    content: bytes
    entry: FileEntry


def encode(table: pa.Table, definition: TableDefinition, stem: str) -> Iterator[EncodedFile]:
    """Parquet files of rows: one a month, more where a month has over `FILE_ROWS` rows.

    Parameters
    ----------
    stem:
        Start of the files' names; must be new in the table.
    """
    for month, part in _by_month(table, definition):
        rows = part.sort_by([(column, "ascending") for column in definition.sort_by])
        for number, start in enumerate(range(0, rows.num_rows, FILE_ROWS)):
            yield _encode(rows.slice(start, FILE_ROWS), definition, month, f"{stem}-{number}")


def _encode(rows: pa.Table, definition: TableDefinition, month: str, stem: str) -> EncodedFile:
    sink = io.BytesIO()
    pq.write_table(
        rows,
        sink,
        compression="zstd",
        compression_level=1,
        row_group_size=ROW_GROUP,
        use_dictionary=[
            field.name
            for field in definition.schema
            if pa.types.is_string(field.type) and field.name != definition.id_column
        ],
        column_encoding=dict.fromkeys(definition.delta_encoded, "DELTA_BINARY_PACKED"),
        write_page_checksum=True,
    )
    content = sink.getvalue()
    name = f"{stem}-{footer_checksum(content):08x}.parquet"
    seq = pc.min_max(rows["seq"]).as_py()
    series = pc.min_max(rows[definition.series_column]).as_py()
    time = pc.min_max(rows[definition.time_column]).as_py()
    entry = FileEntry(
        path=f"month={month}/{name}" if definition.partitioned else name,
        size=len(content),
        rows=rows.num_rows,
        month=month,
        first_seq=seq["min"],
        last_seq=seq["max"],
        first_series=series["min"],
        last_series=series["max"],
        first_time=time["min"],
        last_time=time["max"],
    )
    return EncodedFile(content, entry)


def footer_checksum(tail: bytes) -> int:
    """CRC-32 of a Parquet file's footer: statistics and offsets, which no page checksum covers.

    Parameters
    ----------
    tail:
        The file, or enough of its end to hold the footer.
    """
    length = int.from_bytes(tail[-8:-4], "little") + 8
    return zlib.crc32(tail[-length:])


def _by_month(table: pa.Table, definition: TableDefinition) -> Iterator[tuple[str, pa.Table]]:
    """Parts of a table by the month (``"2026-10"``) of its time column."""
    if not definition.partitioned:
        yield "", table
        return
    months = pc.strftime(pc.cast(table[definition.time_column], pa.date32()), format="%Y-%m")
    for month in sorted(pc.unique(months).to_pylist()):
        yield month, table.filter(pc.equal(months, month))


def utc_day(value: date) -> date:
    """The day of a date, or of an instant in UTC."""
    return value.astimezone(UTC).date() if isinstance(value, datetime) else value


def months_between(first: date, last: date) -> list[str]:
    """Months that touch the days ``first`` .. ``last`` (inclusive)."""
    count = (last.year - first.year) * 12 + last.month - first.month + 1
    start = first.year * 12 + first.month - 1
    return [f"{month // 12:04d}-{month % 12 + 1:02d}" for month in range(start, start + max(count, 0))]

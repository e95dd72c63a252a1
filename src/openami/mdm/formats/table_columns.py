"""A CSV or Parquet file as columns: text fields with the lines they stand in.

The rule never to be broken: a row that does not have the columns of the header is a fault of its line, and
never shifts a value into another column.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from openami.mdm.formats.diagnostics import DiagnosticLog, Policy
from openami.mdm.formats.exact_numbers import Bytes, Int64
from openami.mdm.formats.mapping import Mapping

MAX_BYTES = 1 << 30
"""Largest file that is read in one piece."""
MAX_COLUMNS = 20_000


@dataclass(frozen=True, slots=True)
class TextColumn:
    """Fields of a column: bytes ``data[starts[i]:ends[i]]``."""

    data: Bytes
    starts: Int64
    ends: Int64

    def text(self, row: int) -> str:
        """Field of a row, for a message."""
        text = self.data[self.starts[row] : self.ends[row]].tobytes().decode("utf-8", "replace")
        return text if len(text) <= 40 else text[:40] + "…"


@dataclass(frozen=True, slots=True)
class Table:
    """A file as columns.

    Parameters
    ----------
    columns:
        Arrow columns by their name in the file.
    lines:
        int64 ``(rows,)``: line (CSV) or row (Parquet) of each row, from 1.
    data, line_starts:
        The bytes of a CSV file (UTF-8) and where its lines begin; empty for Parquet.
    unit:
        ``"lines"`` or ``"rows"``, for locators.
    """

    columns: dict[str, pa.Array]
    lines: Int64
    data: bytes
    line_starts: Int64
    unit: str

    def lines_text(self, first: int, last: int) -> bytes:
        """Text of lines ``first`` to ``last``; empty for Parquet."""
        if not self.data:
            return b""
        end = int(self.line_starts[last]) if last < len(self.line_starts) else len(self.data)
        return self.data[int(self.line_starts[first - 1]) : end].rstrip(b"\r\n")


def text_column(column: pa.Array) -> TextColumn:
    """Text of a string column; null is empty."""
    filled = pc.fill_null(column.cast(pa.large_string()), "")
    buffers = filled.buffers()
    offsets = np.frombuffer(buffers[1], np.int64)[filled.offset : filled.offset + len(filled) + 1]
    data = np.frombuffer(buffers[2], np.uint8) if buffers[2] is not None else np.zeros(0, np.uint8)
    return TextColumn(data, offsets[:-1].copy(), offsets[1:].copy())


def read_csv(data: bytes, mapping: Mapping, log: DiagnosticLog) -> Table | None:
    """Columns of a CSV file as strings, or None when nothing of it can be read."""
    text = _utf8(data, mapping, log)
    if text is None:
        return None
    if not text.strip():
        log.error(None, "empty_file", "the file is empty", "a header and rows")
        return None
    broken: list[int] = []

    def skip(row: pacsv.InvalidRow) -> str:
        broken.append(int(row.number or 0))
        message = f"{row.actual_columns} columns"
        log.error(row.number, "column_count", message, f"{row.expected_columns} columns as in the header")
        return "skip"

    header = text.split(b"\n", 1)[0]
    if header.count(mapping.file.delimiter.encode()) >= MAX_COLUMNS:
        log.error(1, "column_count", f"more than {MAX_COLUMNS} columns", "fewer")
        return None
    try:
        names = pacsv.read_csv(
            io.BytesIO(header.rstrip(b"\r") + b"\n"),
            read_options=pacsv.ReadOptions(use_threads=False, block_size=len(header) + 16),
            parse_options=pacsv.ParseOptions(delimiter=mapping.file.delimiter),
        ).column_names
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            log.error(1, "header", f"columns named twice: {twice}", "each name once")
            return None
        table = pacsv.read_csv(
            io.BytesIO(text),
            read_options=pacsv.ReadOptions(use_threads=False, block_size=min(len(text) + 16, MAX_BYTES)),
            parse_options=pacsv.ParseOptions(
                delimiter=mapping.file.delimiter,
                newlines_in_values=False,
                invalid_row_handler=skip,
                ignore_empty_lines=False,
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except (pa.ArrowException, ValueError, OverflowError) as fault:
        log.error(
            None,
            "csv",
            f"not a CSV file: {str(fault)[:200]}",
            f"columns parted by {mapping.file.delimiter!r}",
        )
        return None
    lines = np.arange(2, table.num_rows + len(broken) + 2, dtype=np.int64)
    lines = np.setdiff1d(lines, np.array(broken, np.int64), assume_unique=True)
    line_starts = np.concatenate([[0], np.flatnonzero(np.frombuffer(text, np.uint8) == 10) + 1])
    columns = {name: _one(table.column(name)) for name in table.column_names}
    return Table(columns, lines[: table.num_rows], text, line_starts.astype(np.int64), "lines")


def read_parquet(data: bytes, log: DiagnosticLog) -> Table | None:
    """Columns of a Parquet file, or None when it cannot be read."""
    try:
        table = pq.read_table(io.BytesIO(data), use_threads=False)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError) as fault:
        log.error(None, "parquet", f"not a Parquet file: {str(fault)[:200]}", "a whole Parquet file")
        return None
    if len(set(table.column_names)) != len(table.column_names):
        log.error(None, "header", "columns named twice", "each name once")
        return None
    columns = {name: _one(table.column(name)) for name in table.column_names}
    lines = np.arange(1, table.num_rows + 1, dtype=np.int64)
    return Table(columns, lines, b"", np.zeros(0, np.int64), "rows")


def find_column(table: Table, name: str, role: str, log: DiagnosticLog, policy: Policy) -> str | None:
    """Name of a mapped column as the file has it; blanks around it are forgiven only when tolerant."""
    if name in table.columns:
        return name
    close = [column for column in table.columns if column.strip() == name.strip()]
    if len(close) == 1 and policy is Policy.TOLERANT:
        log.warning(1, "header", f"{role}: the column is named {close[0]!r}", f"{name!r}")
        return close[0]
    found = ", ".join(repr(column) for column in list(table.columns)[:20])
    hint = f"; {close[0]!r} differs by blanks only" if close else ""
    log.error(
        1, "missing_column", f"{role}: no column {name!r}; the file has {found}{hint}", f"column {name!r}"
    )
    return None


def _one(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        return pa.concat_arrays(combined.chunks) if combined.num_chunks else pa.array([], combined.type)
    return combined


def _utf8(data: bytes, mapping: Mapping, log: DiagnosticLog) -> bytes | None:
    encoding = mapping.file.encoding
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) and encoding != "utf-16":
        log.error(1, "encoding", "the file is in UTF-16", f"{encoding}, as the mapping says")
        return None
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        log.error(
            line, "encoding", f"byte {fault.start} is not {encoding}", f"{encoding}, as the mapping says"
        )
        return None
    return data.removeprefix(b"\xef\xbb\xbf") if encoding == "utf-8" else text.removeprefix("\ufeff").encode()

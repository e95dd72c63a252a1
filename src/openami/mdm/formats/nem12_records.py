"""NEM12, from bytes to records and numbers.

The lines of a file become records (a 300 record that is wrapped over lines is joined), and one kernel pass
over the bytes parses the numbers of all 300 records.

The rule never to be broken: what the kernel does not know for sure is left to the slow path, by a tail of -1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from openami.mdm.formats import mdff
from openami.mdm.formats.diagnostics import DiagnosticLog, Refused
from openami.mdm.formats.exact_numbers import Int8, Int64, parse_rows
from openami.mdm.formats.mdff import shown

VALUES_AT = len("300,YYYYMMDD,")
MAX_LINE = 1 << 20
"""Longest line; a day of one-minute values has some 15,000 bytes."""


@dataclass(slots=True)
class Record:
    """One logical record: lines ``first`` .. ``last``, bytes ``start`` .. ``end``; ``text`` if joined."""

    kind: bytes
    first: int
    last: int
    start: int
    end: int
    text: bytes | None = None
    row: int = -1


@dataclass(slots=True)
class Numbers:
    """The numbers of all 300 records: where each row's are, and what the kernel made of them."""

    mantissas: Int64
    decimals: Int8
    finest: Int8
    tails: Int64
    offsets: Int64

    @property
    def plain(self) -> int:
        """How many numbers stand in rows of plain numbers only."""
        sizes = np.diff(np.append(self.offsets, len(self.mantissas)))
        return int(sizes[self.tails >= 0].sum())


def split_records(data: bytes, log: DiagnosticLog, refused: list[Refused]) -> list[Record]:
    """Logical records of a file: lines, those of a wrapped 300 record joined; faults of lines reported.

    A line that is no record gives a record of kind ``bad``, a last line that is not closed one of kind
    ``cut``, so that what they belong to can be refused.
    """
    if not data:
        return []
    starts, ends, closed = mdff.line_bounds(data)
    records: list[Record] = []
    last_line = len(starts)
    for line, (start, end) in enumerate(zip(starts, ends, strict=True), 1):
        kind = data[start : start + 3]
        if kind in mdff.RECORDS and (end == start + 3 or data[start + 3 : start + 4] == b","):
            if end - start > MAX_LINE:
                log.error(line, "line_length", f"a line of {end - start} bytes", f"at most {MAX_LINE}")
                continue
            if line == last_line and not closed and kind != b"900":
                log.error(line, "truncated", "the last line is not closed: the file may be cut", "900")
                refused.append(Refused(line, line, "cut record"))
                records.append(Record(b"cut", line, line, start, end))
                continue
            records.append(Record(kind, line, line, start, end))
        elif start == end or not data[start:end].strip():
            _blank(line, records, log)
        elif _continues(data, records, start, end, line == last_line and not closed):
            previous = records[-1]
            head = previous.text or data[previous.start : previous.end]
            previous.text = head + data[start:end]
            previous.last, previous.end = line, end
            log.warning(line, "wrapped_record", "a 300 record goes on in this line", "one line a record")
        else:
            what = shown(data[start:end].split(b",", 1)[0])
            log.error(line, "record_indicator", f"{what} is not a record", "100 200 300 400 500 900")
            refused.append(Refused(line, line, "unknown record"))
            records.append(Record(b"bad", line, line, start, end))
    return records


def _blank(line: int, records: list[Record], log: DiagnosticLog) -> None:
    if records and records[-1].kind == b"900":
        log.warning(line, "blank_line", "a blank line after the end", "no blank lines")
    else:
        log.deviation(line, "blank_line", "a blank line", "no blank lines")


def _continues(data: bytes, records: list[Record], start: int, end: int, cut: bool) -> bool:
    if not records or records[-1].kind != b"300" or cut:
        return False
    previous = records[-1]
    head = previous.text or data[previous.start : previous.end]
    return head.endswith(b",") and end - start + len(head) < MAX_LINE


def parse_numbers(data: bytes, records: list[Record]) -> Numbers:
    """All the numbers of the 300 records in one pass; sets ``row`` of the records."""
    starts: list[int] = []
    ends: list[int] = []
    counts: list[int] = []
    count = 0
    for record in records:
        if record.kind == b"200":
            count = _declared_count(data[record.start : record.end])
        elif record.kind == b"300" and count:
            record.row = len(starts)
            plain = record.text is None and data[record.start + 12 : record.start + 13] == b","
            starts.append(record.start + VALUES_AT if plain else record.end)
            ends.append(record.end)
            counts.append(count)
    sizes = np.array(counts, np.int64)
    offsets = np.cumsum(sizes) - sizes
    total, rows = int(sizes.sum()), len(sizes)
    numbers = Numbers(
        np.zeros(total, np.int64), np.zeros(total, np.int8), np.zeros(rows, np.int8),
        np.full(rows, -1, np.int64), offsets,
    )  # fmt: skip
    parse_rows(
        np.frombuffer(data, np.uint8), np.array(starts, np.int64), np.array(ends, np.int64), sizes,
        offsets, numbers.mantissas, numbers.decimals, numbers.finest, numbers.tails,
    )  # fmt: skip
    return numbers


def _declared_count(line: bytes) -> int:
    fields = line.split(b",", 9)
    if len(fields) > 8 and fields[8].isdigit() and len(fields[8]) <= 4:
        minutes = int(fields[8])
        if minutes and 1440 % minutes == 0:
            return 1440 // minutes
    return 0

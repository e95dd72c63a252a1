"""The data of a COMTRADE record (DAT): rows of sample number, time stamp, values; and what is missing.

Values that stand for a missing sample become NaN: empty fields and 99999 in ASCII, 0x8000 in 16 bits (1991: a
sample whose channels are all 0xFFFF), 0x80000000 in 32 bits, the lowest float (recalled, confirm against the
standard). The rule never to be broken: the data are as long as the configuration says, and sample numbers and
times are held against each other: what is missing between two samples is a gap with its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import IO, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from openami.metrology.recording.channels import Block
from openami.metrology.recording.comtrade_configuration import Configuration, DataKind, Edition
from openami.metrology.recording.delimited_numbers import (
    CHUNK_BYTES,
    checked_lines,
    fields_of,
    numbers_of,
)
from openami.quantities.errors import FormatError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


class RecordData(NamedTuple):
    """Where the values lie."""

    path: Path
    offset: int
    length: int
    first_line: int
    """Number of the line at ``offset``."""


class Rows(NamedTuple):
    """Consecutive rows of the data: sample numbers, time stamps (-1: none), analogue values (picked, n)."""

    numbers: I64
    stamps: I64
    values: F64


NO_STAMP: Final = 0xFFFF_FFFF
_STORED: Final = {DataKind.BINARY: "<i2", DataKind.BINARY32: "<i4", DataKind.FLOAT32: "<f4"}
_LOWEST_FLOAT: Final = float(np.finfo(np.float32).min)
_MISSING_TEXT: Final = 99999.0
_GAP_PERIODS: Final = 1.5


def _row_type(configuration: Configuration) -> np.dtype[np.void]:
    """One row of binary data: number, time, analogue values, digital values sixteen to a word."""
    words = -(-len(configuration.status) // 16)
    return np.dtype(
        [
            ("number", "<u4"),
            ("stamp", "<u4"),
            ("analog", _STORED[configuration.kind], (len(configuration.analog),)),
            ("status", "<u2", (words,)),
        ]
    )


def check_length(configuration: Configuration, data: RecordData) -> None:
    """Hold the length of the data against the rows that the configuration declares.

    Raises
    ------
    FormatError
        Binary data of another length, or text too short for so many lines (which are counted when read).
    """
    rows = configuration.segments[-1].last
    if configuration.kind is DataKind.ASCII:
        if 4 * rows > data.length + 2:
            raise _wrong_length(data, f"{rows} samples are declared, {data.length} bytes of text are there")
        return
    wanted = rows * _row_type(configuration).itemsize
    if wanted != data.length:
        raise _wrong_length(
            data, f"{rows} samples are declared, that is {wanted} bytes; {data.length} are there"
        )


def _wrong_length(data: RecordData, message: str) -> FormatError:
    return FormatError(message, where=str(data.path), expected="a whole record, of the declared channels")


def rows_of(
    data: RecordData, configuration: Configuration, picked: Sequence[int], first: int, count: int, size: int
) -> Iterator[Rows]:
    """Rows ``first`` to ``first + count`` of the data, counted from 0, at most ``size`` at a time.

    Parameters
    ----------
    data, configuration:
        Where the values lie, and what they mean.
    picked:
        Indices of the analogue channels that are wanted.

    Raises
    ------
    FormatError
        Text that is no row, or more or fewer rows than declared.
    """
    if configuration.kind is DataKind.ASCII:
        yield from _text_rows(data, configuration, picked, first, count, size)
        return
    row_type = _row_type(configuration)
    with data.path.open("rb") as stream:
        stream.seek(data.offset + first * row_type.itemsize)
        for done in range(0, count, size):
            wanted = min(size, count - done) * row_type.itemsize
            read = stream.read(wanted)
            if len(read) < wanted:
                raise _wrong_length(data, "the data became shorter while they were read")
            rows = np.frombuffer(read, row_type)
            stamps = rows["stamp"].astype(np.int64)
            stamps[stamps == NO_STAMP] = -1
            with np.errstate(invalid="ignore"):  # a signalling NaN among floats is a missing value, too
                values = rows["analog"][:, list(picked)].T.astype(np.float64)
                values[_missing(rows["analog"], picked, configuration)] = np.nan
            yield Rows(rows["number"].astype(np.int64), stamps, np.ascontiguousarray(values))


def _missing(
    stored: npt.NDArray[np.generic], picked: Sequence[int], configuration: Configuration
) -> npt.NDArray[np.bool_]:
    """bool (picked, rows): the value stands for none."""
    chosen = stored[:, list(picked)].T
    there: npt.NDArray[np.bool_]
    lacking: npt.NDArray[np.bool_]
    if configuration.kind is DataKind.FLOAT32:
        floats = chosen.astype(np.float64)
        return ~np.isfinite(floats) | (floats <= _LOWEST_FLOAT)
    if configuration.kind is DataKind.BINARY and configuration.edition is Edition.E1991:
        # -1 is an ordinary value near zero as well: only a sample that all channels lack is taken for one.
        there = (stored.astype(np.int64) != -1).any(axis=1)
        return np.broadcast_to(~there, chosen.shape)
    lowest = -(2**15) if configuration.kind is DataKind.BINARY else -(2**31)
    lacking = np.equal(chosen.astype(np.int64), lowest)
    return lacking


def _text_rows(
    data: RecordData, configuration: Configuration, picked: Sequence[int], first: int, count: int, size: int
) -> Iterator[Rows]:
    """Rows of ASCII data; every line is read, those of the segment are handed on."""
    analog = len(configuration.analog)
    columns = 2 + analog + len(configuration.status)
    declared = configuration.segments[-1].last
    done, line = 0, data.first_line
    end = data.offset + data.length
    with data.path.open("rb") as stream:
        stream.seek(data.offset)
        while texts := _lines_before(stream, end):
            numbers = np.arange(line, line + len(texts), dtype=np.int64)
            line += len(texts)
            checked_lines(texts, numbers, data.path)
            keep = [index for index, text in enumerate(texts) if text.strip(b" \t\r\n\x1a")]
            if len(keep) < len(texts):
                texts, numbers = [texts[index] for index in keep], numbers[keep]
            if not texts:
                continue
            fields = fields_of(
                [text.strip(b"\x1a\r\n ") for text in texts], numbers, b",", columns, data.path
            )
            each = [
                numbers_of(fields[column::columns], numbers, b".", data.path)
                for column in (0, 1, *(2 + index for index in picked))
            ]
            unnumbered = np.flatnonzero(~(np.abs(each[0]) < NO_STAMP))
            if unnumbered.size:
                at = int(numbers[unnumbered[0]])
                raise FormatError(
                    "a sample without a number", where=f"{data.path}, line {at}", expected="1, 2, 3 ..."
                )
            values = np.array(each[2:]).reshape(len(picked), len(texts))
            for row, index in enumerate(picked):
                if (
                    configuration.edition is not Edition.E1991
                    and configuration.analog[index].highest < _MISSING_TEXT
                ):
                    values[row][values[row] == _MISSING_TEXT] = np.nan
            stamps = np.where(np.isfinite(each[1]) & (np.abs(each[1]) < 2.0**53), each[1], -1.0).astype(
                np.int64
            )
            begin, stop = max(first - done, 0), min(first + count - done, len(texts))
            done += len(texts)
            if done > declared:
                raise _wrong_length(data, f"{declared} samples are declared, more are there")
            for place in range(begin, stop, size):
                part = slice(place, min(place + size, stop))
                yield Rows(each[0][part].astype(np.int64), stamps[part], values[:, part])
    if done < declared:
        raise _wrong_length(data, f"{declared} samples are declared, {done} are there")


def _lines_before(stream: IO[bytes], end: int) -> list[bytes]:
    """Lines of the next chunk that begin before ``end``; the one that reaches over it is cut."""
    start = stream.tell()
    texts = stream.readlines(min(CHUNK_BYTES, max(end - start, 0))) if start < end else []
    if stream.tell() > end:
        joined = b"".join(texts)[: end - start]
        texts = joined.splitlines(keepends=True)
        stream.seek(end)
    return texts


class Continuity:
    """Positions of samples by their numbers and times.

    Invariant: ``_next`` is the position after the last sample seen, ``_number`` and ``_stamp`` are those of
    that sample.

    Parameters
    ----------
    path:
        The file of the data, for errors.
    first_row:
        Row, from 0, of the first sample that will be seen.
    period:
        Sampling period in units of the time stamps.
    """

    def __init__(self, path: Path, first_row: int, period: float) -> None:
        self._where = str(path)
        self._period = period
        self._seen = 0
        self._next = 0
        self._number = 0
        self._stamp = -1
        self._first_row = first_row
        self._timed: bool | None = None

    def blocks(self, rows: Rows) -> Iterator[Block]:
        """The rows as blocks, cut where samples are missing."""
        numbers, stamps = rows.numbers, rows.stamps
        if self._timed is None:
            # Stamps that stand still between samples are too coarse to show a gap, or not written.
            self._timed = bool(((np.diff(stamps) != 0) & (stamps[1:] >= 0) & (stamps[:-1] >= 0)).all())
            self._number, self._stamp = int(numbers[0]) - 1, -1
        steps = np.diff(numbers, prepend=self._number)
        backward = np.flatnonzero(steps < 1)
        if backward.size:
            raise self._fault(int(backward[0]), f"sample number {numbers[backward[0]]} after a higher one")
        missing = steps - 1
        if self._timed:
            before = np.concatenate(([self._stamp], stamps[:-1]))
            passed = (stamps - before) % 2**32
            known = (stamps >= 0) & (before >= 0)
            backward = np.flatnonzero(known & (passed >= 2**31))
            if backward.size:
                raise self._fault(int(backward[0]), "the time runs backwards")
            late = known & (passed > _GAP_PERIODS * self._period + 1.0)
            by_time = np.where(late, np.rint(passed / self._period).astype(np.int64) - 1, 0)
            missing = np.maximum(missing, by_time)
        self._number, self._stamp = int(numbers[-1]), int(stamps[-1])
        cuts = np.flatnonzero(missing)
        bounds = [0, *[cut for cut in cuts.tolist() if cut], numbers.size]
        for first, end in pairwise(bounds):
            gap = None
            if missing[first]:
                self._next += int(missing[first])
                gap = (
                    f"{self._where}, sample {numbers[first]}: {missing[first]} samples are missing before it"
                )
            yield Block(self._next, rows.values[:, first:end], gap)
            self._next += end - first
        self._seen += numbers.size

    def _fault(self, index: int, message: str) -> FormatError:
        row = self._first_row + self._seen + index + 1
        return FormatError(message, where=f"{self._where}, row {row}", expected="numbers and times that rise")

"""Recorded waveforms in CSV: one line a sample, with a header or without, a time column or a given rate.

The separator is a tab, a semicolon, a comma or blanks. Header names tell channels (``u``, ``u1``, ``ub``,
``v_l3``, ``i2``, ``in``, ``voltage``) and units (``u1_kv``, ``t [ms]``); a column of times is seconds or ISO
8601. The rule never to be broken: a number is never guessed. A decimal comma must be asked for, a value that
is none is an error with its line, an empty field is a missing sample.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from openami.metrology.recording.channels import Block, Channel, ChannelKind
from openami.metrology.recording.delimited_numbers import (
    CHUNK_BYTES,
    checked_lines,
    fault,
    fields_of,
    is_number,
    numbers_of,
    shown,
)
from openami.metrology.recording.sample_clock import IrregularTimeError, SampleClock, clock_of_times
from openami.quantities.errors import FormatError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

_ISO_TIME: Final = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?Z?")
_NAME: Final = re.compile(
    r"(?P<what>voltage|current|time|neutral|u|v|i|t)[ _]?(?P<phase>l?[123]|[abcn])?"
    r"(?:[ _]*[\[(/]?(?P<unit>[munk]?[vas]|µs|sec(?:onds)?)[\])]?)?"
)
_FACTORS: Final = {"n": 1e-9, "u": 1e-6, "µ": 1e-6, "m": 1e-3, "k": 1e3}


@dataclass(frozen=True, slots=True)
class CsvFile:
    """An opened CSV file, a `ChannelFile`; its values are in memory."""

    path: Path
    channels: tuple[Channel, ...]
    values: F64
    """(columns, n): the channels only."""
    lines: I64
    """Line of each sample, from 1."""
    clock: SampleClock
    start_us: int | None
    remarks: tuple[str, ...]
    format: str = "CSV"

    @property
    def rate_hz(self) -> float:
        """Samples a second."""
        return self.clock.rate_hz

    @property
    def samples(self) -> int:
        """Samples from the first to the last, gaps counted."""
        return int(self.clock.positions[-1]) + 1

    @property
    def paths(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def blocks(self, picked: Sequence[int], size: int) -> Iterator[Block]:
        """The samples of the picked channels, in blocks of at most ``size`` samples, cut at gaps."""
        bounds = [0, *self.clock.gaps.tolist(), self.lines.size]
        for begin, end in itertools.pairwise(bounds):
            gap = None
            if begin:
                missing = int(self.clock.positions[begin] - self.clock.positions[begin - 1]) - 1
                gap = f"{self.path}, line {self.lines[begin]}: {missing} samples are missing before it"
            for first in range(begin, end, size):
                rows = self.values[list(picked), first : min(first + size, end)]
                yield Block(int(self.clock.positions[first]), rows, gap if first == begin else None)


@dataclass(frozen=True, slots=True)
class _Table:
    names: tuple[str, ...]
    values: F64
    """(columns, n); a column of ISO times is in seconds from its first."""
    lines: I64
    resolution: float
    """Step that the first column is written in."""
    iso_start: bytes | None


def open_csv(path: Path, *, rate_hz: float | None = None, decimal: str = ".") -> CsvFile:
    """Read a CSV file.

    Parameters
    ----------
    path:
        The file.
    rate_hz:
        Sampling rate; needed where no column holds times, held against them where one does.
    decimal:
        Decimal sign, ``.`` or ``,``.

    Raises
    ------
    FormatError
        A line with another number of fields, a value that is no number, times that do not rise evenly, no
        rate, or a decimal comma that was not asked for; with the line.
    """
    if decimal not in (".", ","):
        raise FormatError(f"{decimal!r} is no decimal sign", where="--decimal", expected="'.' or ','")
    table = _table(path, decimal.encode())
    described = [_channel(name) for name in table.names]
    time = next((index for index, (kind, _) in enumerate(described) if kind == "time"), None)
    kept = [index for index in range(len(described)) if index != time]
    channels = tuple(described[index][1] for index in kept)
    remarks: tuple[str, ...] = ()
    start_us = None
    if time is None:
        if rate_hz is None:
            raise FormatError(
                "no column of times and no rate", where=str(path), expected="--rate, or a column t"
            )
        clock = SampleClock(rate_hz, np.arange(table.lines.size, dtype=np.int64), np.zeros(0, np.int64))
    else:
        unit = described[time][1].gain or 1.0
        try:
            clock = _clock(table, time, unit, rate_hz)
        except IrregularTimeError as error:
            place = f"{path}, line {table.lines[error.sample]}"
            raise FormatError(error.message, where=place, expected=error.expected) from error
        if rate_hz is None:
            remarks = (f"the rate, {clock.rate_hz:.9g} Hz, is taken from the column {table.names[time]!r}",)
        if table.iso_start is not None and table.iso_start.endswith(b"Z"):
            moment = np.datetime64(table.iso_start[:-1].decode(), "us")
            start_us = int(moment.astype(np.int64))
    return CsvFile(path, channels, table.values[kept], table.lines, clock, start_us, remarks)


def _clock(table: _Table, time: int, unit: float, rate_hz: float | None) -> SampleClock:
    times = table.values[time] * unit
    missing = np.flatnonzero(~np.isfinite(times))
    if missing.size:
        raise IrregularTimeError("a sample without a time", int(missing[0]), "a time in every line")
    if times.size < 2:
        raise IrregularTimeError("one sample tells no rate", 0, "two samples or more")
    rounding = 4.0 * np.finfo(np.float64).eps * float(np.abs(times).max())
    return clock_of_times(times, rate_hz=rate_hz, resolution_s=max(table.resolution * unit, rounding))


def _channel(name: str) -> tuple[str, Channel]:
    """What a column is by its header, and the channel; of a time column the gain is its unit in seconds."""
    plain = name.strip().lower()
    match = _NAME.fullmatch(plain)
    if match is None:
        return "other", Channel(name.strip())
    what, phase, unit = match["what"], match["phase"], match["unit"] or ""
    factor = _FACTORS.get(unit[:1], 1.0) if len(unit) == 2 else 1.0
    if what in ("t", "time"):
        return "time", Channel(name.strip(), gain=factor)
    if what == "neutral" or (what in ("i", "current") and phase == "n"):
        return "neutral", Channel(name.strip(), ChannelKind.NEUTRAL, gain=factor)
    kind = ChannelKind.CURRENT if what in ("i", "current") else ChannelKind.VOLTAGE
    number = "123".find(phase[-1]) if phase and phase[-1] in "123" else "abc".find(phase or "-")
    return kind.value, Channel(name.strip(), kind, None if number < 0 else number, factor)


def _table(path: Path, decimal: bytes) -> _Table:
    with path.open("rb") as stream:
        return _read_table(stream, path, decimal)


def _read_table(stream: IO[bytes], path: Path, decimal: bytes) -> _Table:
    names: tuple[str, ...] = ()
    separator: bytes | None = None
    parts: list[F64] = []
    places: list[I64] = []
    iso_start: bytes | None = None
    resolution = 0.0
    number = 0
    while texts := stream.readlines(CHUNK_BYTES):
        numbers = np.arange(number + 1, number + len(texts) + 1, dtype=np.int64)
        number += len(texts)
        checked_lines(texts, numbers, path)
        if numbers[0] == 1:
            texts[0] = texts[0].removeprefix(b"\xef\xbb\xbf")
        keep = [index for index, text in enumerate(texts) if text.strip() and not text.startswith(b"#")]
        if len(keep) < len(texts):
            texts, numbers = [texts[index] for index in keep], numbers[keep]
        if not texts:
            continue
        if separator is None:
            separator = _separator(texts[0], decimal)
            fields = _fields(texts[0], separator)
            if all(not field or _ISO_TIME.fullmatch(field) or is_number(field) for field in fields):
                names = tuple(f"column {index}" for index in range(1, len(fields) + 1))
            else:
                names = _header(texts[0], separator)
                texts, numbers = texts[1:], numbers[1:]
                if not texts:
                    continue
        if not parts:
            first = _fields(texts[0], separator)
            iso_start = next((field for field in first if _ISO_TIME.fullmatch(field)), None)
            time = next((index for index, name in enumerate(names) if _channel(name)[0] == "time"), 0)
            resolution = _resolution([_fields(text, separator) for text in texts[:1000]], time, decimal)
        parts.append(_values(texts, numbers, separator, decimal, len(names), iso_start, path))
        places.append(numbers)
    if not parts:
        raise fault(path, max(number, 1), "no samples", "one sample a line")
    return _Table(names, np.concatenate(parts, axis=1), np.concatenate(places), resolution, iso_start)


def _separator(line: bytes, decimal: bytes) -> bytes:
    text = line.strip()
    for candidate in (b"\t", b";", b","):
        if candidate in text and (candidate != b"," or decimal == b"."):
            return candidate
    return b" " if len(text.split()) > 1 else b";" if decimal == b"," else b","


def _fields(line: bytes, separator: bytes) -> list[bytes]:
    parts = line.split() if separator == b" " else line.split(separator)
    return [part.strip().strip(b'"') for part in parts]


def _header(line: bytes, separator: bytes) -> tuple[str, ...]:
    text = line.decode("utf-8", errors="replace").strip()
    if separator == b" ":
        return tuple(text.split())
    return tuple(field.strip() for field in next(csv.reader([text], delimiter=separator.decode())))


def _resolution(rows: list[list[bytes]], column: int, decimal: bytes) -> float:
    """Step of the last digit that any of the values of a column is written with."""
    finest = 0
    for row in rows:
        if column >= len(row):
            continue
        mantissa, _, exponent = row[column].lower().rstrip(b"z").partition(b"e")
        digits = len(mantissa.partition(decimal)[2])
        shift = int(exponent) if re.fullmatch(rb"[+-]?\d{1,3}", exponent) else 0
        finest = max(finest, digits - shift)
    return float(10.0 ** -min(finest, 300))


def _values(
    texts: list[bytes],
    numbers: I64,
    separator: bytes,
    decimal: bytes,
    columns: int,
    iso_start: bytes | None,
    path: Path,
) -> F64:
    """Values of whole lines, float64 (columns, lines)."""
    fields = fields_of(texts, numbers, separator, columns, path)
    values = np.empty((columns, len(texts)))
    for column in range(columns):
        written = fields[column::columns]
        timed = iso_start is not None and _ISO_TIME.fullmatch(written[0])
        values[column] = (
            _seconds(written, numbers, iso_start or b"", path)
            if timed
            else numbers_of(written, numbers, decimal, path)
        )
    return values


def _seconds(fields: list[bytes], numbers: I64, iso_start: bytes, path: Path) -> F64:
    """ISO 8601 times as seconds from the first of the file."""
    zoned = iso_start.endswith(b"Z")
    for field, number in zip(fields, numbers.tolist(), strict=True):
        if not _ISO_TIME.fullmatch(field) or field.endswith(b"Z") != zoned:
            raise fault(path, number, f"{shown(field)} is no time", f"one such as {shown(iso_start)}")
    try:
        moments = np.array([field.rstrip(b"Z").decode() for field in fields], "datetime64[ns]")
        start = np.datetime64(iso_start.rstrip(b"Z").decode(), "ns")
    except ValueError as error:
        raise fault(path, int(numbers[0]), f"a time that is none: {error}", "a civil time") from error
    seconds: F64 = (moments - start).astype(np.float64) * 1e-9
    return seconds

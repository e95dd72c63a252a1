"""COMTRADE records: CFG with DAT, or CFF; ASCII, BINARY, BINARY32 and FLOAT32.

IEEE C37.111-1991, -1999, -2013 (IEC 60255-24). Values that stand for a missing sample become NaN: empty
fields and 99999 in ASCII, 0x8000 in 16 bits (1991: a sample whose channels are all 0xFFFF), 0x80000000 in 32
bits, the lowest float (recalled, confirm against the standard). Digital channels are kept by name only. The
rule never to be broken: the data are as long as the configuration says, and sample numbers and times are held
against each other: what is missing between two samples is a gap with its place.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from openami.metrology.recording.channels import Block, Channel, ChannelKind
from openami.metrology.recording.comtrade_configuration import (
    AnalogChannel,
    Configuration,
    DataKind,
    Edition,
    RateSegment,
    parse_configuration,
)
from openami.metrology.recording.delimited_numbers import (
    CHUNK_BYTES,
    checked_lines,
    fields_of,
    numbers_of,
)
from openami.metrology.recording.sample_clock import IrregularTimeError, clock_of_times
from openami.quantities.errors import FormatError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


class Side(Enum):
    """Side of the instrument transformers that values are wanted on."""

    AS_RECORDED = "recorded"
    PRIMARY = "primary"
    SECONDARY = "secondary"


class _Data(NamedTuple):
    """Where the values lie."""

    path: Path
    offset: int
    length: int
    first_line: int
    """Number of the line at ``offset``."""


class _Rows(NamedTuple):
    """Consecutive rows of the data: sample numbers, time stamps (-1: none), analogue values (picked, n)."""

    numbers: I64
    stamps: I64
    values: F64


_CONFIGURATION_LIMIT: Final = 1 << 22
_NO_STAMP: Final = 0xFFFF_FFFF
_STORED: Final = {DataKind.BINARY: "<i2", DataKind.BINARY32: "<i4", DataKind.FLOAT32: "<f4"}
_LIMITS: Final = {DataKind.BINARY: 2.0**15 - 1, DataKind.BINARY32: 2.0**31 - 1}
_LOWEST_FLOAT: Final = float(np.finfo(np.float32).min)
_MISSING_TEXT: Final = 99999.0
_GAP_PERIODS: Final = 1.5
_UNIT: Final = re.compile(r"([mMkKuµ]?)([VvAa])")
_FACTORS: Final = {"": 1.0, "k": 1e3, "K": 1e3, "m": 1e-3, "M": 1e6, "u": 1e-6, "µ": 1e-6}
_PHASES: Final = {
    **dict.fromkeys(("A", "1", "L1", "R", "AB", "L12", "RS"), 0),
    **dict.fromkeys(("B", "2", "L2", "S", "BC", "L23", "ST"), 1),
    **dict.fromkeys(("C", "3", "L3", "T", "CA", "L31", "TR"), 2),
}
_NEUTRALS: Final = ("N", "G", "E", "0")
_SECTION: Final = re.compile(
    rb"---\s*file type:\s*(cfg|inf|hdr|dat)\s*([a-z0-9]*)\s*(?::\s*(\d{1,18}))?\s*---\s*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class ComtradeFile:
    """An opened COMTRADE record, a `ChannelFile` of one of its sampling rates."""

    path: Path
    configuration: Configuration
    data: _Data
    channels: tuple[Channel, ...]
    first_row: int
    samples: int
    rate_hz: float
    remarks: tuple[str, ...]

    @property
    def format(self) -> str:
        """Edition and kind of data."""
        return f"COMTRADE {self.configuration.edition.value} {self.configuration.kind.value}"

    @property
    def paths(self) -> tuple[Path, ...]:
        """Configuration and data, or the one file of both."""
        return (self.path,) if self.data.path == self.path else (self.path, self.data.path)

    @property
    def start_us(self) -> int | None:
        """UTC of the first sample of the segment in microseconds since 1970, where the file knows UTC."""
        start = self.configuration.start_us
        if start is None or not self.first_row:
            return start
        return None

    @property
    def status_names(self) -> tuple[str, ...]:
        """Names of the digital channels."""
        return tuple(channel.name for channel in self.configuration.status)

    def blocks(self, picked: Sequence[int], size: int) -> Iterator[Block]:
        """The samples of the picked channels, in blocks of at most ``size`` samples, cut at gaps."""
        continuity = _Continuity(self)
        for rows in _rows(self.data, self.configuration, picked, self.first_row, self.samples, size):
            yield from continuity.blocks(rows)


class _Continuity:
    """Positions of samples by their numbers and times.

    Invariant: ``_next`` is the position after the last sample seen, ``_number`` and ``_stamp`` are those of
    that sample.
    """

    def __init__(self, file: ComtradeFile) -> None:
        self._where = str(file.data.path)
        self._unit_s = file.configuration.time_base_s * file.configuration.time_multiplier
        self._period = 1.0 / (file.rate_hz * self._unit_s)
        self._seen = 0
        self._next = 0
        self._number = 0
        self._stamp = -1
        self._first_row = file.first_row
        self._timed: bool | None = None

    def blocks(self, rows: _Rows) -> Iterator[Block]:
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
        for first, end in itertools.pairwise(bounds):
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


def open_comtrade(path: Path, *, segment: int | None = None, side: Side = Side.AS_RECORDED) -> ComtradeFile:
    """Open a COMTRADE record.

    Parameters
    ----------
    path:
        CFG (or DAT) with its other half beside it, or CFF.
    segment:
        Which of several sampling rates, from 1.
    side:
        Side of the transformers the values are wanted on.

    Raises
    ------
    FormatError
        A part is missing, cut off or not as the standard has it; several sampling rates and none chosen; no
        sampling rate at all; no transformer ratio to go to the other side with.
    OSError
        A file cannot be read.
    """
    configuration, data, path = _combined(path) if _is_combined(path) else _separate(path)
    first_row, segment_rate, count = _chosen(configuration, segment, str(path))
    _check_length(configuration, data)
    remarks = []
    rate = segment_rate
    if rate == 0.0:
        rate = _rate_of_stamps(configuration, data, first_row, count)
        remarks.append(f"the rate, {rate:.9g} Hz, is taken from the time stamps")
    if configuration.start is not None and configuration.start_us is None:
        remarks.append(
            f"recorded from {configuration.start} on the recorder's own clock, whose zone is not known"
        )
    channels = tuple(_channel(each, configuration, side, str(path)) for each in configuration.analog)
    return ComtradeFile(path, configuration, data, channels, first_row, count, rate, tuple(remarks))


def _is_combined(path: Path) -> bool:
    with path.open("rb") as stream:
        return _SECTION.match(stream.read(256).lstrip()) is not None


def _separate(path: Path) -> tuple[Configuration, _Data, Path]:
    """CFG and DAT, found beside each other whatever the case of their names."""
    halves = {}
    for suffix in (".cfg", ".dat"):
        if path.suffix.lower() == suffix:
            halves[suffix] = path
            continue
        same = [
            each for each in path.parent.iterdir() if each.stem == path.stem and each.suffix.lower() == suffix
        ]
        if not same:
            raise FormatError(
                f"the {suffix} of the record is missing",
                where=str(path),
                expected=f"{path.stem}{suffix} beside it",
            )
        halves[suffix] = same[0]
    size = halves[".cfg"].stat().st_size
    if size > _CONFIGURATION_LIMIT:
        raise FormatError(
            f"a configuration of {size} bytes", where=str(halves[".cfg"]), expected="a text file"
        )
    configuration = parse_configuration(_text(halves[".cfg"].read_bytes()), str(halves[".cfg"]))
    data = _Data(halves[".dat"], 0, halves[".dat"].stat().st_size, 1)
    return configuration, data, halves[".cfg"]


def _combined(path: Path) -> tuple[Configuration, _Data, Path]:
    """The sections of a CFF file (2013, clause 6): configuration and data; the others are passed over."""
    texts: list[bytes] = []
    size = path.stat().st_size
    section, first_line, number = b"", 0, 0
    with path.open("rb") as stream:
        while line := stream.readline(1 << 16):
            number += 1
            match = _SECTION.fullmatch(line.strip())
            if match is None:
                if section == b"cfg":
                    texts.append(line)
                    if len(texts) * 64 > _CONFIGURATION_LIMIT:
                        break
                continue
            section = match[1].lower()
            if section == b"cfg":
                first_line = number + 1
            if section == b"dat":
                offset = stream.tell()
                kind, declared = match[2].decode().upper(), match[3]
                where = f"{path}, line {first_line} on"
                configuration = parse_configuration(_text(b"".join(texts)), where)
                if kind and kind != configuration.kind.value:
                    raise FormatError(
                        f"data of kind {kind}, the configuration says {configuration.kind.value}",
                        where=f"{path}, line {number}",
                        expected="the same kind",
                    )
                length = size - offset if declared is None else int(declared)
                if length > size - offset:
                    raise FormatError(
                        f"{length} bytes of data are declared, {size - offset} are there",
                        where=f"{path}, offset {offset}",
                        expected="a whole file",
                    )
                return configuration, _Data(path, offset, length, number + 1), path
    raise FormatError("no section of data", where=str(path), expected="--- file type: DAT ... ---")


def _text(data: bytes) -> str:
    """The standard knows ASCII only; recorders write names in what they have."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _chosen(configuration: Configuration, segment: int | None, where: str) -> tuple[int, float, int]:
    """First row, rate and number of samples of the segment to read."""
    segments: tuple[RateSegment, ...] = configuration.segments
    firsts = [0, *(each.last for each in segments[:-1])]
    listed = ", ".join(
        f"{number}: {each.rate_hz:g} Hz, samples {first + 1} to {each.last}"
        for number, (each, first) in enumerate(zip(segments, firsts, strict=True), 1)
    )
    if segment is None and len({each.rate_hz for each in segments}) > 1:
        raise FormatError(
            f"{len(segments)} sampling rates", where=where, expected=f"--segment, one of {listed}"
        )
    if segment is None:
        return 0, segments[0].rate_hz, segments[-1].last
    if not 1 <= segment <= len(segments):
        raise FormatError(f"there is no segment {segment}", where=where, expected=f"one of {listed}")
    chosen, first = segments[segment - 1], firsts[segment - 1]
    return first, chosen.rate_hz, chosen.last - first


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


def _check_length(configuration: Configuration, data: _Data) -> None:
    """The data hold exactly the rows that the configuration declares; counted later where they are text."""
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


def _wrong_length(data: _Data, message: str) -> FormatError:
    return FormatError(message, where=str(data.path), expected="a whole record, of the declared channels")


def _rows(
    data: _Data, configuration: Configuration, picked: Sequence[int], first: int, count: int, size: int
) -> Iterator[_Rows]:
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
            stamps[stamps == _NO_STAMP] = -1
            with np.errstate(invalid="ignore"):  # a signalling NaN among floats is a missing value, too
                values = rows["analog"][:, list(picked)].T.astype(np.float64)
                values[_missing(rows["analog"], picked, configuration)] = np.nan
            yield _Rows(rows["number"].astype(np.int64), stamps, np.ascontiguousarray(values))


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
    data: _Data, configuration: Configuration, picked: Sequence[int], first: int, count: int, size: int
) -> Iterator[_Rows]:
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
            unnumbered = np.flatnonzero(~(np.abs(each[0]) < _NO_STAMP))
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
                yield _Rows(each[0][part].astype(np.int64), stamps[part], values[:, part])
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


def _rate_of_stamps(configuration: Configuration, data: _Data, first: int, count: int) -> float:
    """The rate of a record that states none (nrates 0), from the stamps of its first samples."""
    rows = next(_rows(data, configuration, [], first, count, 1 << 16))
    stamps = rows.stamps
    if stamps.size < 2 or (stamps < 0).any():
        raise FormatError(
            "neither a sampling rate nor time stamps", where=str(data.path), expected="one of the two"
        )
    unit_s = configuration.time_base_s * configuration.time_multiplier
    try:
        times: F64 = stamps.astype(np.float64) * unit_s
        return clock_of_times(times, rate_hz=None, resolution_s=unit_s).rate_hz
    except IrregularTimeError as error:
        raise FormatError(
            error.message, where=f"{data.path}, row {first + error.sample + 1}", expected=error.expected
        ) from error


def _channel(analog: AnalogChannel, configuration: Configuration, side: Side, where: str) -> Channel:
    """An analogue channel in volts or amperes, on the side that is wanted."""
    unit = _UNIT.fullmatch(analog.unit.strip())
    kind, factor = ChannelKind.UNKNOWN, 1.0
    phase = _PHASES.get(analog.phase.upper())
    if unit is not None:
        factor = _FACTORS[unit[1]]
        voltage = unit[2] in "Vv"
        kind = ChannelKind.VOLTAGE if voltage else ChannelKind.CURRENT
        residual = analog.phase.upper() in _NEUTRALS or (
            not analog.phase and analog.name.upper().replace("_", "") in ("IN", "UN", "VN")
        )
        if residual:
            kind = ChannelKind.UNKNOWN if voltage else ChannelKind.NEUTRAL
    wanted = {Side.PRIMARY: "P", Side.SECONDARY: "S"}.get(side, analog.side)
    if wanted != analog.side:
        if not analog.side or analog.primary <= 0 or analog.secondary <= 0:
            raise FormatError(
                f"channel {analog.name!r} has no transformer ratio",
                where=where,
                expected="the side as recorded",
            )
        turns = analog.primary / analog.secondary
        factor *= turns if wanted == "P" else 1.0 / turns
    limit = _LIMITS.get(configuration.kind, np.inf)
    # Many writers put the largest value of the record there; only the end of a converter's range is a limit.
    counts = analog.highest + 1.0
    if configuration.kind in _LIMITS and 2.0**7 <= counts <= limit and np.log2(counts).is_integer():
        limit = analog.highest
    return Channel(
        name=analog.name,
        kind=kind,
        phase=phase,
        gain=analog.a * factor,
        offset=analog.b * factor,
        lowest=-limit,
        highest=limit,
        skew_s=analog.skew_us * 1e-6,
    )

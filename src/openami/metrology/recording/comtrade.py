"""COMTRADE records: CFG with DAT, or CFF; ASCII, BINARY, BINARY32 and FLOAT32.

IEEE C37.111-1991, -1999, -2013 (IEC 60255-24). Digital channels are kept by name only. The rule never to be
broken: a channel is in volts or amperes because its unit says so, on the side of the transformers that was
asked for; one of several sampling rates is read, never a mixture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from openami.metrology.recording.channels import Block, Channel, ChannelKind
from openami.metrology.recording.comtrade_configuration import (
    AnalogChannel,
    Configuration,
    DataKind,
    RateSegment,
    parse_configuration,
)
from openami.metrology.recording.comtrade_data import Continuity, RecordData, check_length, rows_of
from openami.metrology.recording.sample_clock import IrregularTimeError, clock_of_times
from openami.quantities.errors import FormatError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


class Side(Enum):
    """Side of the instrument transformers that values are wanted on."""

    AS_RECORDED = "recorded"
    PRIMARY = "primary"
    SECONDARY = "secondary"


_CONFIGURATION_LIMIT: Final = 1 << 22
_LIMITS: Final = {DataKind.BINARY: 2.0**15 - 1, DataKind.BINARY32: 2.0**31 - 1}
_UNIT: Final = re.compile(r"([mMkKuµ]?)([VvAa])")
_FACTORS: Final = {"": 1.0, "k": 1e3, "K": 1e3, "m": 1e-3, "M": 1e6, "u": 1e-6, "µ": 1e-6}
_PHASES: Final = {
    **dict.fromkeys(("A", "1", "L1", "R"), 0),
    **dict.fromkeys(("B", "2", "L2", "S"), 1),
    **dict.fromkeys(("C", "3", "L3", "T"), 2),
}
_NEUTRALS: Final = ("N", "G", "E", "0")
_LINES: Final = ("AB", "BC", "CA", "12", "23", "31", "L12", "L23", "L31", "RS", "ST", "TR")
"""Line voltages: never taken for those of phases; a channel map and the wiring say that they are meant."""
_SECTION: Final = re.compile(
    rb"---\s*file type:\s*(cfg|inf|hdr|dat)\s*([a-z0-9]*)\s*(?::\s*(\d{1,18}))?\s*---\s*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class ComtradeFile:
    """An opened COMTRADE record, a `ChannelFile` of one of its sampling rates."""

    path: Path
    configuration: Configuration
    data: RecordData
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
        unit_s = self.configuration.time_base_s * self.configuration.time_multiplier
        continuity = Continuity(self.data.path, self.first_row, 1.0 / (self.rate_hz * unit_s))
        for rows in rows_of(self.data, self.configuration, picked, self.first_row, self.samples, size):
            yield from continuity.blocks(rows)


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
    check_length(configuration, data)
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


def _separate(path: Path) -> tuple[Configuration, RecordData, Path]:
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
    data = RecordData(halves[".dat"], 0, halves[".dat"].stat().st_size, 1)
    return configuration, data, halves[".cfg"]


def _combined(path: Path) -> tuple[Configuration, RecordData, Path]:
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
                return configuration, RecordData(path, offset, length, number + 1), path
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


def _rate_of_stamps(configuration: Configuration, data: RecordData, first: int, count: int) -> float:
    """The rate of a record that states none (nrates 0), from the stamps of its first samples."""
    rows = next(rows_of(data, configuration, [], first, count, 1 << 16))
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
        if analog.phase.upper() in _LINES:
            kind = ChannelKind.UNKNOWN
        elif residual:
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

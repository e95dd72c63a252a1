"""Writing COMTRADE records of IEEE C37.111-2013 (or -1999, -1991): ASCII, BINARY, BINARY32, FLOAT32; CFF.

    record = encode_comtrade(recording, RecordLabel(station="FEEDER 7"), DataKind.BINARY32)
    write_comtrade(Path("dip.cfg"), record)      # or Path("dip.cff") for one file

The rule never to be broken: what is read back is the written waveform to the resolution of its kind of data,
which the factors ``a`` say; the largest sample stays below the converter's limit, which would read as
saturation, and a sample that is missing is written as missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from openami.metrology.recording.comtrade_configuration import (
    AnalogChannel,
    Configuration,
    DataKind,
    Edition,
    RateSegment,
    StatusChannel,
)
from openami.metrology.recording.recording import Mask, Recording
from openami.quantities.errors import FormatError

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RecordLabel:
    """What stands in a record besides its samples.

    Parameters
    ----------
    station, device:
        Where, and by what it was recorded; without commas.
    nominal_hz:
        Nominal frequency.
    trigger_sample:
        Sample of the recording at which it was triggered.
    status:
        Digital channels by name, bool (n,) each.
    time_quality:
        Code of IEEE C37.118: ``0`` locked to UTC, ``1`` to ``B`` within a bound, ``F`` not reliable.
    """

    station: str = ""
    device: str = ""
    nominal_hz: float = 50.0
    trigger_sample: int = 0
    status: dict[str, Mask] = field(default_factory=dict)
    time_quality: str = "F"


@dataclass(frozen=True, slots=True)
class ComtradeRecord:
    """An encoded record: configuration and data."""

    configuration: Configuration
    cfg: bytes
    dat: bytes

    def cff(self) -> bytes:
        """Both in the one file of the edition of 2013."""
        kind = self.configuration.kind
        size = "" if kind is DataKind.ASCII else f": {len(self.dat)}"
        head = f"--- file type: DAT {kind.value}{size} ---\r\n".encode()
        empty = b"--- file type: INF ---\r\n\r\n--- file type: HDR ---\r\n\r\n"
        return b"--- file type: CFG ---\r\n" + self.cfg + empty + head + self.dat


_STORED: Final = {DataKind.BINARY: "<i2", DataKind.BINARY32: "<i4", DataKind.FLOAT32: "<f4"}
_FULL_SCALE: Final = {
    DataKind.ASCII: 99_000.0,
    DataKind.BINARY: 32_000.0,
    DataKind.BINARY32: 2.0**31 - 2.0**16,
}
"""Counts of the largest sample: below the limits 99998, 32767 and 2147483647."""
_MISSING: Final = {DataKind.BINARY: -(2**15), DataKind.BINARY32: -(2**31)}
_LOWEST_FLOAT: Final = float(np.finfo(np.float32).min)
_PHASES: Final = ("A", "B", "C")


def encode_comtrade(
    recording: Recording,
    label: RecordLabel | None = None,
    kind: DataKind = DataKind.BINARY32,
    *,
    edition: Edition = Edition.E2013,
) -> ComtradeRecord:
    """A recording as a COMTRADE record.

    Parameters
    ----------
    recording:
        Its names become those of the channels (U1, I1 ... without), its ``start_us`` the time of sample 0 in
        UTC. NaN is written as missing.
    label:
        Everything else.
    kind:
        How the values are written: 16 or 32 bits scaled to the largest sample of a channel, 32-bit floats as
        they are, or text scaled likewise.
    edition:
        BINARY32, FLOAT32 and a UTC time exist in 2013 only.

    Raises
    ------
    FormatError
        An edition that has no such data, no sample, an infinite one, a trigger or a digital channel outside
        the recording, a text with a comma or a line end.
    """
    label = label or RecordLabel()
    _check(recording, label, kind, edition)
    channels = _analog(recording, kind)
    start = trigger = None
    if recording.start_us is not None:
        begin = datetime(1970, 1, 1) + timedelta(microseconds=recording.start_us)
        start = begin + _seconds(recording.first_sample, recording.rate_hz)
        trigger = start + _seconds(label.trigger_sample, recording.rate_hz)
    configuration = Configuration(
        station=label.station,
        device=label.device,
        edition=edition,
        analog=tuple(channel for channel, _ in channels),
        status=tuple(StatusChannel(name) for name in label.status),
        nominal_hz=label.nominal_hz,
        segments=(RateSegment(recording.rate_hz, recording.samples),),
        start=start,
        trigger=trigger,
        kind=kind,
        utc_offset=timedelta(0) if edition is Edition.E2013 and recording.start_us is not None else None,
        time_quality=label.time_quality,
    )
    stamps = np.rint(np.arange(recording.samples) * (1e6 / recording.rate_hz))
    stored = [_counts(values, channel, kind) for channel, values in channels]
    status = list(label.status.values())
    data = _text(stamps, stored, status) if kind is DataKind.ASCII else _binary(kind, stamps, stored, status)
    return ComtradeRecord(configuration, format_configuration(configuration).encode(), data)


def write_comtrade(path: Path, record: ComtradeRecord) -> tuple[Path, ...]:
    """Write a record to ``path`` (.cfg, with .dat beside it, or .cff); return what was written.

    Data first, each file whole or not at all, so that a configuration never stands without its data.

    Raises
    ------
    FormatError
        The name ends neither in .cfg nor in .cff.
    OSError
        The folder cannot be written to.
    """
    suffix = path.suffix.lower()
    if suffix == ".cff":
        return (_whole(path, record.cff()),)
    if suffix != ".cfg":
        raise FormatError(f"a record called {path.name!r}", where=str(path), expected=".cfg or .cff")
    data = path.with_suffix(".DAT" if path.suffix.isupper() else ".dat")
    return (_whole(data, record.dat), _whole(path, record.cfg))[::-1]


def format_configuration(configuration: Configuration) -> str:
    """The text of a configuration."""
    old = configuration.edition is Edition.E1991
    lines = [
        f"{configuration.station},{configuration.device}" + ("" if old else f",{configuration.edition.value}")
    ]
    analog, status = configuration.analog, configuration.status
    lines.append(f"{len(analog) + len(status)},{len(analog)}A,{len(status)}D")
    for number, each in enumerate(analog, 1):
        line = (
            f"{number},{each.name},{each.phase},{each.circuit},{each.unit},{each.a!r},{each.b!r},"
            f"{each.skew_us!r},{_plain(each.lowest)},{_plain(each.highest)}"
        )
        lines.append(line if old else f"{line},{each.primary!r},{each.secondary!r},{each.side or 'P'}")
    for number, channel in enumerate(status, 1):
        between = "" if old else f",{channel.phase},{channel.circuit}"
        lines.append(f"{number},{channel.name}{between},{channel.normal}")
    lines.append("" if configuration.nominal_hz is None else f"{configuration.nominal_hz:g}")
    rates = [segment for segment in configuration.segments if segment.rate_hz]
    lines.append(str(len(rates)))
    lines += [f"{segment.rate_hz!r},{segment.last}" for segment in configuration.segments]
    lines += [
        _moment(configuration.start, old),
        _moment(configuration.trigger, old),
        configuration.kind.value,
    ]
    if not old:
        lines.append(repr(configuration.time_multiplier))
    if configuration.edition is Edition.E2013:
        code = _offset(configuration.utc_offset)
        lines += [f"{code},{code}", f"{configuration.time_quality},{configuration.leap_second}"]
    return "".join(f"{line}\r\n" for line in lines)


def _check(recording: Recording, label: RecordLabel, kind: DataKind, edition: Edition) -> None:
    if edition is not Edition.E2013 and kind in (DataKind.BINARY32, DataKind.FLOAT32):
        raise FormatError(
            f"{kind.value} in the edition of {edition.value}", expected="2013, or ASCII or BINARY"
        )
    if not 1 <= recording.samples < 10**9:
        raise FormatError(f"a recording of {recording.samples} samples", expected="1 to 999,999,999")
    if not 0 <= label.trigger_sample < recording.samples:
        raise FormatError(
            f"triggered at sample {label.trigger_sample} of {recording.samples}",
            expected="a sample of the recording",
        )
    for name, flags in label.status.items():
        if flags.shape != (recording.samples,):
            raise FormatError(
                f"digital channel {name!r} of the shape {flags.shape}", expected="a value a sample"
            )
    texts: Iterable[str] = (label.station, label.device, label.time_quality, *label.status, *recording.names)
    for text in texts:
        if set(text) & set(",\r\n\x1a"):
            raise FormatError(f"the text {text!r} in a record", expected="no comma and no line end")
    for values in (recording.u, recording.i, recording.neutral):
        if values is not None and np.isinf(values).any():
            raise FormatError("an infinite sample", expected="finite samples, NaN where one is missing")


def _analog(recording: Recording, kind: DataKind) -> list[tuple[AnalogChannel, F64]]:
    """The channels and their values in V and A."""
    rows = [("V", phase, values) for phase, values in zip(_PHASES, recording.u, strict=False)]
    rows += [("A", phase, values) for phase, values in zip(_PHASES, recording.i, strict=False)]
    if recording.neutral is not None:
        rows.append(("A", "N", recording.neutral))
    letters = {"V": "U", "A": "I"}
    names = recording.names or [f"{letters[unit]}{phase}" for unit, phase, _ in rows]
    channels = []
    for name, (unit, phase, values) in zip(names, rows, strict=True):
        channels.append((_scaled(AnalogChannel(name, phase, unit, a=1.0, side="P"), values, kind), values))
    return channels


def _scaled(channel: AnalogChannel, values: F64, kind: DataKind) -> AnalogChannel:
    """The channel with what one count of it is worth."""
    if kind is DataKind.FLOAT32:
        largest = float(np.finfo(np.float32).max)
        a, lowest, highest = 1.0, -largest, largest
    else:
        there = values[np.isfinite(values)]
        peak = float(np.abs(there).max()) if there.size else 0.0
        a = peak / _FULL_SCALE[kind] or 1.0
        limit = {DataKind.ASCII: 99_998.0, DataKind.BINARY: 2.0**15 - 1}.get(kind, 2.0**31 - 1)
        lowest, highest = -limit, limit
    return AnalogChannel(
        channel.name, channel.phase, channel.unit, a, lowest=lowest, highest=highest, side=channel.side
    )


def _counts(values: F64, channel: AnalogChannel, kind: DataKind) -> F64:
    """Stored numbers; NaN where missing."""
    return values if kind is DataKind.FLOAT32 else np.rint(values / channel.a)


def _binary(kind: DataKind, stamps: F64, stored: list[F64], status: list[Mask]) -> bytes:
    words = -(-len(status) // 16)
    rows = np.zeros(
        stamps.size,
        np.dtype(
            [
                ("number", "<u4"),
                ("stamp", "<u4"),
                ("analog", _STORED[kind], (len(stored),)),
                ("status", "<u2", (words,)),
            ]
        ),
    )
    rows["number"] = np.arange(1, stamps.size + 1)
    # Beyond 71 minutes the stamp does not fit its 32 bits and is written as missing.
    rows["stamp"] = np.where(stamps < 2**32 - 1, stamps, 2**32 - 1).astype(np.int64)
    missing = _LOWEST_FLOAT if kind is DataKind.FLOAT32 else _MISSING[kind]
    for column, values in enumerate(stored):
        rows["analog"][:, column] = np.where(np.isnan(values), missing, values)
    for index, flags in enumerate(status):
        rows["status"][:, index // 16] |= flags.astype(np.uint16) << np.uint16(index % 16)
    return rows.tobytes()


def _text(stamps: F64, stored: list[F64], status: list[Mask]) -> bytes:
    columns = [
        [str(number) for number in range(1, stamps.size + 1)],
        [str(stamp) for stamp in stamps.astype(np.int64).tolist()],
        *(["" if value != value else str(int(value)) for value in values.tolist()] for values in stored),
        *([str(int(flag)) for flag in flags.tolist()] for flags in status),
    ]
    return b"".join(f"{','.join(row)}\r\n".encode() for row in zip(*columns, strict=True))


def _seconds(samples: int, rate_hz: float) -> timedelta:
    return timedelta(microseconds=round(samples * 1e6 / rate_hz))


def _moment(moment: datetime | None, old: bool) -> str:
    if moment is None:
        return ","
    date = f"{moment:%m/%d/%y}" if old else f"{moment:%d/%m/%Y}"
    return f"{date},{moment:%H:%M:%S.%f}"


def _offset(offset: timedelta | None) -> str:
    if offset is None:
        return "x"
    minutes = round(abs(offset).total_seconds() / 60)
    sign = "" if not minutes else "-" if offset < timedelta(0) else "+"
    return f"{sign}{minutes // 60}" + (f"h{minutes % 60:02d}" if minutes % 60 else "")


def _plain(limit: float) -> str:
    return str(int(limit)) if limit.is_integer() and abs(limit) < 2.0**53 else repr(limit)


def _whole(path: Path, content: bytes) -> Path:
    """The file whole or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with fresh.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return path

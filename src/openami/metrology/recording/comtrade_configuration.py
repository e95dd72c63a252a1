"""The configuration of a COMTRADE record (CFG): what its channels, rates and times mean.

IEEE C37.111-1991, -1999 and -2013 (IEC 60255-24), clause "Configuration file" (field order recalled, held
against the peer in the tests). The rule never to be broken: every field is read by its line, a field that is
none is an error with that line, and a declared number of channels is not believed beyond the lines there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

import numpy as np

from openami.quantities.errors import FormatError


class Edition(Enum):
    """Edition of the standard; IEC 60255-24:2001 is that of 1999."""

    E1991 = "1991"
    E1999 = "1999"
    E2013 = "2013"


class DataKind(Enum):
    """How the values are written."""

    ASCII = "ASCII"
    BINARY = "BINARY"
    """16-bit integers."""
    BINARY32 = "BINARY32"
    FLOAT32 = "FLOAT32"


@dataclass(frozen=True, slots=True)
class AnalogChannel:
    """An analogue channel; a stored x means ``a * x + b`` of ``unit``."""

    name: str
    phase: str
    unit: str
    a: float
    b: float = 0.0
    circuit: str = ""
    skew_us: float = 0.0
    lowest: float = -32767.0
    highest: float = 32767.0
    primary: float = 1.0
    secondary: float = 1.0
    side: str = ""
    """``P`` or ``S``: the side the values are of; empty in 1991."""


@dataclass(frozen=True, slots=True)
class StatusChannel:
    """A digital channel; its values are not measured, its name is kept."""

    name: str
    phase: str = ""
    circuit: str = ""
    normal: int = 0


@dataclass(frozen=True, slots=True)
class RateSegment:
    """Samples up to number ``last`` (from 1) were taken at ``rate_hz``; a rate of 0: their times tell it."""

    rate_hz: float
    last: int


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration, as written."""

    station: str
    device: str
    edition: Edition
    analog: tuple[AnalogChannel, ...]
    status: tuple[StatusChannel, ...]
    nominal_hz: float | None
    segments: tuple[RateSegment, ...]
    start: datetime | None
    """Time of the first sample on the recorder's clock; None where it is not written."""
    trigger: datetime | None
    kind: DataKind
    time_multiplier: float = 1.0
    time_base_s: float = 1e-6
    utc_offset: timedelta | None = None
    """How far the recorder's clock is ahead of UTC; None where the file does not tell (before 2013)."""
    time_quality: str = "F"
    """IEEE C37.118 code: 0 locked to UTC, 1 to B within a bound, F not reliable."""
    leap_second: str = "3"
    """0 none, 1 added, 2 deleted, 3 not known."""

    @property
    def start_us(self) -> int | None:
        """UTC of the first sample in microseconds since 1970."""
        if self.start is None or self.utc_offset is None:
            return None
        return (self.start.replace(tzinfo=UTC) - self.utc_offset - _EPOCH) // timedelta(microseconds=1)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST: Final = float(np.finfo(np.float32).max)
_MOST_CHANNELS: Final = 10_000
_MOST_SEGMENTS: Final = 1_000
_DATE: Final = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{2}|\d{4})")
_CLOCK: Final = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d{1,9}))?")
_OFFSET: Final = re.compile(r"([+-]?)(\d{1,2})(?:h(\d{1,2}))?")
_COUNT: Final = re.compile(r"\d{1,9}")
_TOTAL: Final = re.compile(r"(\d{1,6})([AD])", re.IGNORECASE)


class _Lines:
    """The lines of a configuration in turn; invariant: ``number`` is that of the last one read."""

    def __init__(self, text: str, where: str) -> None:
        self._rest: Iterator[str] = iter(text.replace("\x1a", "").splitlines())
        self._where = where
        self.number = 0

    def fields(self, what: str, *counts: int) -> list[str]:
        """The fields of the next line, as many as one of ``counts``."""
        line = next(self._rest, None)
        self.number += 1
        if line is None:
            raise self.fault(f"the file ends before {what}", what)
        found = [field.strip() for field in line.split(",")]
        if counts and len(found) not in counts:
            raise self.fault(f"{len(found)} fields for {what}", " or ".join(map(str, counts)))
        return found

    def rest(self) -> list[str]:
        """Fields of the next line; empty at the end."""
        line = next(self._rest, "")
        self.number += 1
        return [field.strip() for field in line.split(",")] if line.strip() else []

    def fault(self, message: str, expected: str) -> FormatError:
        return FormatError(message, where=f"{self._where}, line {self.number}", expected=expected)

    def number_of(self, text: str, what: str, *, empty: float | None = None) -> float:
        if not text and empty is not None:
            return empty
        try:
            value = float(text) if "_" not in text else np.nan
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            raise self.fault(f"{text[:40]!r} is no {what}", "a number")
        return float(value)

    def count_of(self, text: str, what: str) -> int:
        if not _COUNT.fullmatch(text):
            raise self.fault(f"{text[:40]!r} is no {what}", "a whole number")
        return int(text)


def parse_configuration(text: str, where: str) -> Configuration:
    """Read a configuration.

    Parameters
    ----------
    text:
        The whole file.
    where:
        Its name, for errors.

    Raises
    ------
    FormatError
        A line that is missing or does not follow the standard; ``where`` has its number.
    """
    lines = _Lines(text, where)
    station, device, edition = _identity(lines)
    analog_count, status_count = _totals(lines)
    analog = tuple(_analog(lines) for _ in range(analog_count))
    status = tuple(_status(lines) for _ in range(status_count))
    nominal = lines.fields("the line frequency")[0]
    nominal_hz = lines.number_of(nominal, "frequency") if nominal else None
    segments = _segments(lines)
    start, fine_start = _moment(lines, edition, "the time of the first sample")
    trigger, fine_trigger = _moment(lines, edition, "the time of the trigger")
    kind = _kind(lines)
    multiplier, offset, quality, leap = 1.0, None, "F", "3"
    if edition is not Edition.E1991:
        given = lines.rest()
        multiplier = lines.number_of(given[0], "time multiplier", empty=1.0) if given else 1.0
        if multiplier <= 0:
            raise lines.fault(f"a time multiplier of {multiplier:g}", "a positive number")
    if edition is Edition.E2013:
        given = lines.rest()
        offset = _offset(lines, given[0]) if given else None
        given = lines.rest()
        if given:
            quality, leap = given[0][:1] or "F", (given[1][:1] if len(given) > 1 else "") or "3"
    return Configuration(
        station=station,
        device=device,
        edition=edition,
        analog=analog,
        status=status,
        nominal_hz=nominal_hz,
        segments=segments,
        start=start,
        trigger=trigger,
        kind=kind,
        time_multiplier=multiplier,
        time_base_s=1e-9 if fine_start or fine_trigger else 1e-6,
        utc_offset=offset,
        time_quality=quality,
        leap_second=leap,
    )


def _identity(lines: _Lines) -> tuple[str, str, Edition]:
    fields = lines.fields("the station", 2, 3)
    year = fields[2] if len(fields) == 3 else "1991"
    if year == "2001":
        year = "1999"
    if year not in {edition.value for edition in Edition}:
        raise lines.fault(f"edition {year[:20]!r}", "1991, 1999, 2001 or 2013")
    return fields[0], fields[1], Edition(year)


def _totals(lines: _Lines) -> tuple[int, int]:
    fields = lines.fields("the numbers of channels", 3)
    total = lines.count_of(fields[0], "number of channels")
    found = {}
    for field in fields[1:]:
        match = _TOTAL.fullmatch(field)
        if match is None or match[2].upper() in found:
            raise lines.fault(f"{field[:20]!r} is no number of channels", "such as 8A,16D")
        found[match[2].upper()] = int(match[1])
    if found["A"] + found["D"] != total or total > _MOST_CHANNELS:
        raise lines.fault(
            f"{found['A']} analogue and {found['D']} digital channels of {total}", "numbers that add up"
        )
    return found["A"], found["D"]


def _analog(lines: _Lines) -> AnalogChannel:
    fields = lines.fields("an analogue channel", 10, 13)
    number = lines.number_of
    primary, secondary, side = fields[10:] if len(fields) == 13 else ("", "", "")
    if side.upper() not in ("", "P", "S"):
        raise lines.fault(f"{side[:20]!r} is no side of a transformer", "P or S")
    a = number(fields[5], "factor a")
    if a == 0.0:
        raise lines.fault("a factor a of zero", "what one count is worth")
    return AnalogChannel(
        name=fields[1],
        phase=fields[2],
        circuit=fields[3],
        unit=fields[4],
        a=a,
        b=number(fields[6], "offset b", empty=0.0),
        skew_us=number(fields[7], "skew", empty=0.0),
        lowest=number(fields[8], "lowest value", empty=-_LARGEST),
        highest=number(fields[9], "highest value", empty=_LARGEST),
        primary=number(primary, "primary ratio", empty=1.0),
        secondary=number(secondary, "secondary ratio", empty=1.0),
        side=side.upper(),
    )


def _status(lines: _Lines) -> StatusChannel:
    fields = lines.fields("a digital channel", 3, 5)
    phase, circuit = fields[2:4] if len(fields) == 5 else ("", "")
    normal = fields[-1] or "0"
    if normal not in ("0", "1"):
        raise lines.fault(f"a normal state of {normal[:20]!r}", "0 or 1")
    return StatusChannel(fields[1], phase, circuit, int(normal))


def _segments(lines: _Lines) -> tuple[RateSegment, ...]:
    count = lines.count_of(lines.fields("the number of sampling rates", 1)[0], "number of sampling rates")
    if count > _MOST_SEGMENTS:
        raise lines.fault(f"{count} sampling rates", f"at most {_MOST_SEGMENTS}")
    segments: list[RateSegment] = []
    for _ in range(max(count, 1)):
        rate_text, last_text = lines.fields("a sampling rate", 2)
        rate = lines.number_of(rate_text, "sampling rate")
        last = lines.count_of(last_text, "number of the last sample")
        if rate < 0 or (rate == 0 and count > 0):
            raise lines.fault(f"a sampling rate of {rate:g} Hz", "a positive rate")
        if last <= (segments[-1].last if segments else 0):
            raise lines.fault(f"sample {last} as the last at this rate", "numbers that rise")
        segments.append(RateSegment(rate if count else 0.0, last))
    return tuple(segments)


def _moment(lines: _Lines, edition: Edition, what: str) -> tuple[datetime | None, bool]:
    """A date and time, and whether it is written to the nanosecond."""
    fields = lines.fields(what, 1, 2)
    if not any(fields):
        return None, False
    expected = "mm/dd/yy" if edition is Edition.E1991 else "dd/mm/yyyy"
    date = _DATE.fullmatch(fields[0])
    clock = _CLOCK.fullmatch(fields[1]) if len(fields) == 2 else None
    if date is None or clock is None:
        raise lines.fault(f"{','.join(fields)[:60]!r} is no time", f"{expected},hh:mm:ss.ssssss")
    first, second, year = (int(part) for part in date.groups())
    if len(date[3]) == 2:
        year += 2000 if year < 70 else 1900
    fraction = clock[4] or ""
    fine = len(fraction) > 6
    if not first and not second and not int(date[3]):
        return None, fine
    day, month = (second, first) if edition is Edition.E1991 else (first, second)
    try:
        moment = datetime(year, month, day, int(clock[1]), int(clock[2]), int(clock[3]))
    except ValueError as error:
        raise lines.fault(f"{','.join(fields)[:60]!r} is no time: {error}", expected) from error
    return moment + timedelta(microseconds=int(fraction.ljust(9, "0")) // 1000), fine


def _kind(lines: _Lines) -> DataKind:
    text = lines.fields("the kind of data", 1)[0].upper()
    if text not in {kind.value for kind in DataKind}:
        raise lines.fault(f"{text[:20]!r} is no kind of data", ", ".join(kind.value for kind in DataKind))
    return DataKind(text)


def _offset(lines: _Lines, text: str) -> timedelta | None:
    """The time code: hours (and minutes) the clock is ahead of UTC; ``x``: not known."""
    if text.lower() in ("x", ""):
        return None
    match = _OFFSET.fullmatch(text.lower())
    if match is None or int(match[2]) > 14 or int(match[3] or 0) > 59:
        raise lines.fault(f"{text[:20]!r} is no time code", "such as 0, +1 or -5h30")
    offset = timedelta(hours=int(match[2]), minutes=int(match[3] or 0))
    return -offset if match[1] == "-" else offset

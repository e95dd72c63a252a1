"""What NEM12 and NEM13 share: the vocabulary and the fields of AEMO's Meter Data File Format (MDFF).

Source: AEMO, Meter Data File Format Specification NEM12 & NEM13 (field order as in its published example
files; rules recalled where the examples are silent). NEM time is UTC+10 all year, which is
Australia/Brisbane. The letters are named from the market's side: E is energy *from* the grid to the
customer (our import), B is energy *into* the grid (our export).

The rule never to be broken: a field that can be read in two ways is an error, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import numpy as np

from openami.mdm.formats.diagnostics import DiagnosticLog
from openami.quantities.errors import FormatError, QuantityError
from openami.quantities.obis import ObisCode
from openami.quantities.status import METHODS, Quality, Status
from openami.quantities.units import Quantum, Unit

NEM_ZONE = "Australia/Brisbane"
NEM_OFFSET = timedelta(hours=10)

RECORDS = frozenset({b"100", b"200", b"250", b"300", b"400", b"500", b"550", b"900"})
"""Record indicators."""

INTERVAL_MINUTES = (5, 15, 30)
"""Interval lengths of the NEM."""

UNITS: dict[str, Quantum] = {
    prefix.upper() + unit.value.upper(): Quantum(unit, exponent)
    for unit in (Unit.WATT_HOUR, Unit.VAR_HOUR, Unit.VA_HOUR, Unit.WATT, Unit.VAR, Unit.VA)
    for prefix, exponent in (("", 0), ("k", 3), ("M", 6))
} | {
    prefix.upper() + unit.value: Quantum(unit, exponent)
    for unit in (Unit.VOLT, Unit.AMPERE)
    for prefix, exponent in (("", 0), ("k", 3))
}
"""Units of measure by their symbol in capitals; the MDFF knows no milli, so ``MWH`` is mega."""

STREAMS: dict[str, tuple[int, Unit]] = {
    "E": (1, Unit.WATT_HOUR),
    "B": (2, Unit.WATT_HOUR),
    "Q": (3, Unit.VAR_HOUR),
    "K": (4, Unit.VAR_HOUR),
    "T": (9, Unit.VA_HOUR),
}
"""OBIS value group C and unit of the master data streams, by the first letter of the NMI suffix."""

OTHER_STREAMS = "ACDFGHJLMPRSUVWXYZ"
"""Average, check, net, power-factor and voltage streams: known, but no channel of ours."""

TRANSACTIONS = frozenset("ACGDENOSR")
"""Transaction codes of the 500 and 550 records."""

MAX_REASON = 99


@dataclass(frozen=True, slots=True)
class Header:
    """The 100 record: version, when the file was made (UTC), from whom, to whom."""

    version: str
    made_at: datetime
    sender: str
    receiver: str


class FieldFaultError(FormatError):
    """A field that cannot be read; ``code`` names the kind of fault."""

    def __init__(self, code: str, message: str, expected: str) -> None:
        super().__init__(message, expected=expected)
        self.code = code


def shown(field: bytes) -> str:
    """A field for a message: quoted, cut at 40 characters."""
    text = field.decode("utf-8", "replace")
    return repr(text if len(text) <= 40 else text[:40] + "…")


@lru_cache(maxsize=65536)
def interval_date(field: bytes) -> date:
    """Day of ``YYYYMMDD``.

    Raises
    ------
    FieldFaultError
        Not a date.
    """
    if len(field) == 8 and field.isdigit():
        try:
            return date(int(field[:4]), int(field[4:6]), int(field[6:]))
        except ValueError:
            pass
    raise FieldFaultError("date", f"{shown(field)} is not a date", "YYYYMMDD")


@lru_cache(maxsize=65536)
def nem_instant(field: bytes) -> datetime:
    """UTC instant of ``YYYYMMDDhhmmss`` or ``YYYYMMDDhhmm`` in NEM time.

    Raises
    ------
    FieldFaultError
        Not a time.
    """
    if len(field) in (12, 14) and field.isdigit():
        year, month, day, hour, minute = (
            int(field[first:last]) for first, last in ((0, 4), (4, 6), (6, 8), (8, 10), (10, 12))
        )
        second = int(field[12:14] or b"0")
        try:
            return datetime(year, month, day, hour, minute, second, tzinfo=UTC) - NEM_OFFSET
        except (ValueError, OverflowError):
            pass
    raise FieldFaultError("time", f"{shown(field)} is not a time", "YYYYMMDDhhmmss")


@lru_cache(maxsize=65536)
def status_of(quality: bytes, reason: bytes) -> int:
    """Status id of a quality-method flag and a reason code.

    Raises
    ------
    FieldFaultError
        Unknown quality, method or reason.
    """
    expected = "A, N, or E, F or S with a method number as S14"
    letter, number = quality[:1].decode("latin-1"), quality[1:]
    if not letter or letter not in "AEFNS":
        raise FieldFaultError("quality_flag", f"{shown(quality)} is not a quality flag", expected)
    if letter in "AN":
        if number:
            raise FieldFaultError("quality_method", f"{shown(quality)}: {letter} takes no method", expected)
        method = 0
    else:
        if not (len(number) == 2 and number.isdigit() and int(number) in METHODS and number != b"00"):
            raise FieldFaultError("quality_method", f"{shown(quality)} has no known method", expected)
        method = int(number)
    code = 0
    if reason:
        if not (len(reason) <= 3 and reason.isdigit() and int(reason) <= MAX_REASON):
            raise FieldFaultError(
                "reason_code", f"{shown(reason)} is not a reason code", f"0 .. {MAX_REASON}"
            )
        code = int(reason)
    try:
        return int(Status(Quality.from_letter(letter), method, code).id)
    except QuantityError as fault:
        raise FieldFaultError("quality_method", fault.message, expected) from None


def needs_reason(quality: bytes) -> bool:
    """True for final and plain substitutes, which must say why."""
    return quality[:1] in (b"S", b"F")


def nmi_checksum(nmi: str) -> int:
    """Check digit of a 10-character NMI.

    From the right, the ASCII codes are doubled alternately, beginning with the last; the decimal digits
    of all of them are added and the check digit fills the sum up to the next ten (AEMO, National
    Metering Identifier Procedure; recalled, confirmed on the published pairs in the tests).
    """
    total = 0
    for position, character in enumerate(reversed(nmi)):
        code = ord(character) * (2 if position % 2 == 0 else 1)
        total += sum(int(digit) for digit in str(code))
    return -total % 10


def check_nmi(nmi: bytes, line: int, log: DiagnosticLog) -> str:
    """Text of an NMI; odd length or check digit is a warning.

    Raises
    ------
    FieldFaultError
        Empty, or of other characters than letters and digits.
    """
    if not nmi.isalnum() or not nmi.isascii():
        raise FieldFaultError("nmi", f"{shown(nmi)} is not an NMI", "10 letters and digits")
    text = nmi.decode("ascii")
    if len(text) == 11:
        wanted = nmi_checksum(text[:10])
        if text[10] != str(wanted):
            log.warning(line, "nmi_checksum", f"NMI {text} ends in {text[10]}", f"check digit {wanted}")
    elif len(text) != 10:
        log.warning(
            line, "nmi_length", f"NMI {text} has {len(text)} characters", "10, or 11 with check digit"
        )
    return text


def check_configuration(configuration: bytes, suffix: str, line: int, log: DiagnosticLog) -> bool:
    """Whether the NMI configuration lists the suffix; False when that is an error."""
    text = configuration.decode("latin-1")
    pairs = {text[i : i + 2] for i in range(0, len(text), 2)}
    if len(text) % 2 or not text.isalnum():
        return not log.deviation(
            line, "nmi_configuration", f"{shown(configuration)} is not a list of suffixes", "as E1B1Q1"
        )
    if suffix not in pairs:
        return not log.deviation(
            line,
            "nmi_configuration",
            f"suffix {suffix} is not in the NMI configuration {text}",
            f"{suffix} among the suffixes of the NMI",
        )
    return True


def parse_header(fields: list[bytes], line: int, log: DiagnosticLog) -> Header | None:
    """The 100 record, or None when it says neither NEM12 nor NEM13."""
    version = fields[1].decode("latin-1") if len(fields) > 1 else ""
    if version not in ("NEM12", "NEM13"):
        log.error(line, "header_version", f"version {version!r} in the header", "NEM12 or NEM13")
        return None
    made_at = None
    try:
        made_at = nem_instant(fields[2] if len(fields) > 2 else b"")
    except FieldFaultError as fault:
        log.error(line, "header_time", fault.message, "YYYYMMDDhhmm")
    if len(fields) < 5 or not all(fields[3:5]):
        log.warning(line, "header_participant", "sender or receiver is missing", "both participants")
    if len(fields) > 5:
        check_trailing(fields[5:], line, 5, log)
    text = [field.decode("utf-8", "replace") for field in fields[3:5]] + ["", ""]
    return None if made_at is None else Header(version, made_at, text[0], text[1])


def check_trailing(rest: list[bytes], line: int, count: int, log: DiagnosticLog) -> bool:
    """Fields after the last one of a record: empty ones are odd, others an error (False)."""
    if any(field.strip() for field in rest):
        log.error(line, "field_count", f"{count + len(rest)} fields", f"{count} fields")
        return False
    log.warning(line, "trailing_fields", f"{len(rest)} empty fields too many", f"{count} fields")
    return True


def check_transaction(fields: list[bytes], names: list[int], line: int, log: DiagnosticLog) -> None:
    """Transaction codes of a 500 or 550 record, at the given places."""
    for place in names:
        code = fields[place].decode("latin-1")
        if code not in TRANSACTIONS:
            log.deviation(
                line, "transaction_code", f"{code!r} is not a transaction code", "one of A C D E G N O R S"
            )


def quantum_for(unit: Quantum, decimals: int) -> tuple[Quantum, int]:
    """Quantum in which numbers of a unit are counted, and the places to shift them.

    The coarsest power of ten that holds every value exactly, but never coarser than the bare unit
    (1 Wh): 0.392 kWh with three decimals is counted in 1 Wh, with five in 0.01 Wh.
    """
    exponent = min(0, unit.exponent - decimals)
    return Quantum(unit.unit, exponent), unit.exponent - exponent


def stream_channel(letter: str, measurement: int) -> ObisCode:
    """OBIS interval channel of a master stream; value group B tells further streams of one meter apart."""
    return ObisCode(1, measurement, STREAMS[letter][0], 29, 0)


def suffix_number(suffix: str) -> int:
    """1 .. 9 for digits, 10 and up for letters."""
    return int(suffix[1]) if suffix[1].isdigit() else ord(suffix[1].upper()) - ord("A") + 10


def line_bounds(data: bytes) -> tuple[list[int], list[int], bool]:
    """Where each line begins and ends (line break and CR left out), and whether the last was closed."""
    array = np.frombuffer(data, np.uint8)
    breaks = np.flatnonzero(array == 10)
    starts = np.concatenate([[0], breaks + 1])
    ends = np.concatenate([breaks, [len(data)]])
    closed = starts[-1] == ends[-1]
    if closed:
        starts, ends = starts[:-1], ends[:-1]
    trim = (ends > starts) & (array[np.maximum(ends - 1, 0)] == 13) if len(data) else np.zeros(0, np.bool_)
    return starts.tolist(), (ends - trim).tolist(), bool(closed)

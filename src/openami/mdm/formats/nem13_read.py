"""NEM13: accumulation data of the Australian market, as register reads.

Source: AEMO, Meter Data File Format Specification NEM12 & NEM13; see `openami.mdm.formats.mdff`. A 250
record holds the previous and the current read of one register and the quantity between them; a 550
record gives the transactions. Direction ``E`` is energy from the grid, ``I`` into it.

The rule never to be broken: both reads of a record are imported, or none of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from openami.mdm.formats import mdff
from openami.mdm.formats.diagnostics import DiagnosticLog, ImportResult, Policy, Refused
from openami.mdm.formats.exact_numbers import parse_number
from openami.mdm.formats.mdff import FieldFaultError, Header, shown
from openami.quantities.errors import FormatError
from openami.quantities.obis import ObisCode
from openami.quantities.units import Quantum, Unit
from openami.readings.evidence import Evidence
from openami.readings.register_read import RegisterRead

_FIELDS = 23
_GROUPS = {
    (Unit.WATT_HOUR, "E"): 1,
    (Unit.WATT_HOUR, "I"): 2,
    (Unit.VAR_HOUR, "E"): 3,
    (Unit.VAR_HOUR, "I"): 4,
}


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two reads of a record."""

    digits: bytes
    mantissa: int
    decimals: int
    at: datetime
    status: int


@dataclass(frozen=True, slots=True)
class _Accumulation:
    """One 250 record."""

    line: int
    text: bytes
    nmi: str
    meter_id: str
    register: ObisCode
    unit: Quantum
    sides: tuple[_Side, _Side]
    updated_at: datetime | None


def read_nem13(
    data: bytes, source: str, *, policy: Policy, captured_at: datetime, sha256: str | None = None
) -> ImportResult:
    """Read a NEM13 file.

    Parameters
    ----------
    data, source:
        The bytes and the name of the file.
    policy:
        How deviations that leave the readings unambiguous are called.
    captured_at:
        Used where neither an update time nor the header's time is given.
    sha256:
        Hash of the file as handed in, where ``data`` was unpacked from it.

    Returns
    -------
    ImportResult
        Register reads of kind ``"file"``; value group E of the register is 0 for the only register of
        an NMI and else its place in the NMI configuration.
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    log = DiagnosticLog(policy)
    digest = sha256 or hashlib.sha256(data).hexdigest()
    header: Header | None = None
    refused: list[Refused] = []
    records: list[_Accumulation] = []
    state = "start"
    starts, ends, closed = mdff.line_bounds(data) if data else ([], [], True)
    for line, (start, end) in enumerate(zip(starts, ends, strict=True), 1):
        text = data[start:end]
        if not text.strip():
            if state == "ended":
                log.warning(line, "blank_line", "a blank line after the end", "no blank lines")
            else:
                log.deviation(line, "blank_line", "a blank line", "no blank lines")
            continue
        fields = text.split(b",")
        kind = fields[0]
        if kind in (b"250", b"550") and line == len(starts) and not closed:
            log.error(line, "truncated", "the last line is not closed: the file may be cut", "900")
            refused.append(Refused(line, line, "cut record"))
            continue
        if state == "ended" and kind != b"100":
            log.deviation(line, "after_end", "a record after the end", "nothing after 900")
        elif state == "start" and kind != b"100":
            log.deviation(line, "missing_header", "the file does not begin with a 100 record", "100,NEM13")
        if kind == b"100":
            if state != "start":
                log.warning(line, "second_header", "a second 100 record", "one file")
            header = mdff.parse_header(fields, line, log) or header
        elif kind == b"250":
            record = _take_250(fields, text, line, log)
            if record is None:
                refused.append(Refused(line, line, "250 record"))
            else:
                records.append(record)
        elif kind == b"550":
            if state != "data":
                log.error(line, "record_order", "a 550 record without its 250 record", "250 before 550")
            _take_550(fields, line, log)
        elif kind == b"900":
            if len(fields) > 1:
                mdff.check_trailing(fields[1:], line, 1, log)
        else:
            log.error(line, "record_indicator", f"{shown(kind)} is not a record of NEM13", "100 250 550 900")
            refused.append(Refused(line, line, "unknown record"))
        state = {b"100": "header", b"900": "ended"}.get(kind, "data")
    if not starts:
        log.error(None, "empty_file", "the file has no record", "100, 250 .. 900")
    elif state != "ended":
        log.deviation(len(starts), "missing_end", "the file has no 900 record", "900 at the end")
    if starts and not records and not refused:
        log.error(len(starts), "no_data", "the file has no data", "250 records")
    made_at = header.made_at if header else captured_at
    evidence, reads = _reads(records, source, digest, made_at, log, refused)
    return ImportResult(
        format="nem13",
        source=source,
        sha256=digest,
        register_reads=tuple(reads),
        evidence=tuple(evidence),
        diagnostics=log.listed(),
        readings=len(reads),
        usage_points=MappingProxyType({record.meter_id: record.nmi for record in records}),
        refused=tuple(sorted(refused, key=lambda part: part.first)),
    )


def _take_250(fields: list[bytes], text: bytes, line: int, log: DiagnosticLog) -> _Accumulation | None:
    if len(fields) > _FIELDS and not mdff.check_trailing(fields[_FIELDS:], line, _FIELDS, log):
        return None
    if len(fields) < _FIELDS - 1:
        log.error(line, "field_count", f"{len(fields)} fields in a 250 record", f"{_FIELDS} fields")
        return None
    if len(fields) == _FIELDS - 1:
        log.warning(line, "missing_fields", f"{len(fields)} fields: no load time", f"{_FIELDS} fields")
    good = True
    nmi = ""
    try:
        nmi = mdff.check_nmi(fields[1], line, log)
    except FieldFaultError as fault:
        log.error(line, fault.code, fault.message, fault.expected)
        good = False
    suffix = fields[4].decode("latin-1")
    unit = mdff.UNITS.get(fields[19].decode("latin-1").upper())
    direction = fields[7].decode("latin-1")
    group = _GROUPS.get((unit.unit, direction)) if unit else None
    if unit is None or group is None:
        log.error(
            line, "unit", f"unit {shown(fields[19])}, direction {direction!r}", "Wh or varh, direction E or I"
        )
        good = False
    if len(suffix) != 2 or not suffix.isalnum():
        log.error(line, "nmi_suffix", f"{suffix!r} is not an NMI suffix", "two characters as 11")
        good = False
    elif not mdff.check_configuration(fields[2], suffix, line, log):
        good = False
    sides = [
        _side(fields[first : first + 5], name, line, log)
        for first, name in ((8, "previous"), (13, "current"))
    ]
    previous, current = sides
    updated_at = None
    for place, name in ((20, "next read date"), (21, "update time"), (22, "load time")):
        value = fields[place].strip() if place < len(fields) else b""
        if not value:
            continue
        if value != fields[place]:
            log.warning(line, "blanks", f"blanks around the {name}", "no blanks")
        try:
            if place == 20:
                mdff.interval_date(value)
            elif place == 21:
                updated_at = mdff.nem_instant(value)
            else:
                mdff.nem_instant(value)
        except FieldFaultError as fault:
            log.error(line, fault.code, f"{name}: {fault.message}", fault.expected)
            good = False
    if previous is None or current is None:
        return None
    if current.at <= previous.at:
        log.error(line, "read_order", f"current read at {current.at}", f"after the previous at {previous.at}")
        good = False
    if not good or unit is None or group is None:
        return None
    _check_quantity(fields[18], previous, current, line, log)
    configuration = fields[2].decode("latin-1")
    pairs = [configuration[i : i + 2] for i in range(0, len(configuration), 2)]
    rate = pairs.index(suffix) + 1 if len(pairs) > 1 and suffix in pairs else 0
    meter_id = fields[6].decode("utf-8", "replace").strip() or nmi
    register = ObisCode(1, 0, group, 8, rate)
    return _Accumulation(line, text, nmi, meter_id, register, unit, (previous, current), updated_at)


def _side(fields: list[bytes], name: str, line: int, log: DiagnosticLog) -> _Side | None:
    """Read, time, quality and reason of one side; None when one of them is bad, all faults reported."""
    good = True
    mantissa = decimals = status = 0
    at = None
    digits = fields[0].strip()
    try:
        mantissa, decimals = parse_number(digits)
        if mantissa < 0:
            raise FormatError(f"{shown(digits)} is negative", expected="0 or more")
    except FormatError as fault:
        log.error(line, "register_read", f"{name} read: {fault.message}", fault.expected)
        good = False
    try:
        at = mdff.nem_instant(fields[1].strip())
    except FieldFaultError as fault:
        log.error(line, fault.code, f"{name} read: {fault.message}", fault.expected)
    try:
        status = mdff.status_of(fields[2], fields[3])
    except FieldFaultError as fault:
        log.error(line, fault.code, f"{name} read: {fault.message}", fault.expected)
        good = False
    if good and mdff.needs_reason(fields[2]) and not fields[3]:
        good = not log.deviation(
            line, "reason_missing", f"{name} read: {shown(fields[2])} without a reason", "0 .. 99"
        )
    return _Side(digits, mantissa, decimals, at, status) if good and at is not None else None


def _check_quantity(text: bytes, previous: _Side, current: _Side, line: int, log: DiagnosticLog) -> None:
    """Compare the quantity with the advance of the register, roll-over included; a difference is odd."""
    if not text.strip():
        log.warning(line, "quantity", "no quantity", "the advance of the register")
        return
    try:
        mantissa, decimals = parse_number(text)
    except FormatError as fault:
        log.warning(line, "quantity", fault.message, fault.expected)
        return
    places = max(decimals, previous.decimals, current.decimals)
    quantity = mantissa * 10 ** (places - decimals)
    before = previous.mantissa * 10 ** (places - previous.decimals)
    after = current.mantissa * 10 ** (places - current.decimals)
    capacity = 10 ** (len(current.digits.partition(b".")[0]) + places)
    if quantity not in (after - before, after - before + capacity, after - before - capacity):
        log.warning(
            line,
            "quantity",
            f"quantity {shown(text)} is not the advance of the register",
            "current - previous",
        )


def _take_550(fields: list[bytes], line: int, log: DiagnosticLog) -> None:
    if len(fields) < 5:
        log.deviation(line, "missing_fields", f"{len(fields)} fields in a 550 record", "5 fields")
        fields = fields + [b""] * (5 - len(fields))
    elif len(fields) > 5:
        mdff.check_trailing(fields[5:], line, 5, log)
    mdff.check_transaction(fields, [1, 3], line, log)


def _reads(
    records: list[_Accumulation],
    source: str,
    digest: str,
    made_at: datetime,
    log: DiagnosticLog,
    refused: list[Refused],
) -> tuple[list[Evidence], list[RegisterRead]]:
    finest: dict[tuple[str, ObisCode], int] = {}
    for record in records:
        key = (record.meter_id, record.register)
        finest[key] = max(finest.get(key, 0), *(side.decimals for side in record.sides))
    evidence: list[Evidence] = []
    seen: dict[tuple[str, ObisCode, datetime], tuple[int, int, int]] = {}
    reads: list[RegisterRead] = []
    for record in records:
        quantum, places = mdff.quantum_for(record.unit, finest[record.meter_id, record.register])
        values = [side.mantissa * 10 ** (places - side.decimals) for side in record.sides]
        if max(values) >= 1 << 63:
            log.error(record.line, "register_read", "a read is too large", f"int64 of {quantum}")
            refused.append(Refused(record.line, record.line, "250 record"))
            continue
        item = Evidence("file", source, f"line {record.line}", record.text, digest, made_at)
        evidence.append(item)
        for side, value in zip(record.sides, values, strict=True):
            place = (record.meter_id, record.register, side.at)
            if place in seen:
                line, known, status = seen[place]
                if known == value and status == side.status:
                    continue
                message = f"another read of {record.meter_id} at the same time than in line {line}"
                log.warning(record.line, "superseded", message, "one read at a time")
            seen[place] = (record.line, value, side.status)
            reads.append(
                RegisterRead(
                    meter_id=record.meter_id,
                    register=record.register,
                    at=side.at,
                    quantum=quantum,
                    value=value,
                    captured_at=record.updated_at or made_at,
                    kind="file",
                    status=side.status,
                    evidence_id=item.evidence_id,
                )
            )
    return evidence, reads

"""NEM12: interval data of the Australian market, read strictly and fast.

Source: AEMO, Meter Data File Format Specification NEM12 & NEM13; see `openami.mdm.formats.mdff`.

    100 header | 200 stream | 300 day of values | 400 qualities of parts of the day | 500 B2B | 900 end

All the numbers of the file are parsed by one kernel pass over its bytes; rows that are not plain numbers
go through an exact slow path with the same result. The rule never to be broken: a day is imported only
when its 300 record and all of its 400 records are whole and free of errors.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime
from types import MappingProxyType

import numpy as np

from openami.mdm.formats import mdff
from openami.mdm.formats.diagnostics import DiagnosticLog, ImportResult, Policy, Refused
from openami.mdm.formats.exact_numbers import parse_number
from openami.mdm.formats.mdff import FieldFaultError, Header, shown
from openami.mdm.formats.nem12_blocks import Day, Origin, Stream, blocks_of, without_duplicates
from openami.mdm.formats.nem12_records import Numbers, Record, parse_numbers, split_records
from openami.quantities.errors import FormatError
from openami.quantities.status import MISSING, VALID, is_missing
from openami.quantities.units import Quantum
from openami.readings.evidence import Evidence


def read_nem12(
    data: bytes, source: str, *, policy: Policy, captured_at: datetime, sha256: str | None = None
) -> ImportResult:
    """Read a NEM12 file.

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
        Blocks named by meter serial (NMI where there is none), ``captured_at`` = update time.
    """
    reader = _Reader(data, source, policy, captured_at, sha256 or hashlib.sha256(data).hexdigest())
    return reader.read()


class _Reader:
    """State of one file: header, the stream and the day that are open, the days that are whole.

    Invariant: ``days`` holds a day only after its last 400 record was seen.
    """

    def __init__(self, data: bytes, source: str, policy: Policy, captured_at: datetime, sha256: str) -> None:
        self.data = data.removeprefix(b"\xef\xbb\xbf")
        self.source = source
        self.captured_at = captured_at
        self.sha256 = sha256
        self.log = DiagnosticLog(policy)
        self.header: Header | None = None
        self.seen_header = False
        self.stream: Stream | None = None
        self.open_day: Day | None = None
        self.days: list[Day] = []
        self.refused: list[Refused] = []
        self.ended_at: int | None = None
        self.streams: list[Stream] = []

    def read(self) -> ImportResult:
        records = split_records(self.data, self.log, self.refused)
        numbers = parse_numbers(self.data, records)
        for record in records:
            self._take(record, numbers)
        self._close_day()
        if not records:
            self.log.error(None, "empty_file", "the file has no record", "100, 200, 300 .. 900")
        elif self.ended_at is None:
            self.log.deviation(
                records[-1].last, "missing_end", "the file has no 900 record", "900 at the end"
            )
        if records and not self.streams:
            self.log.error(records[-1].last, "no_data", "the file has no data", "200 and 300 records")
        for stream in self.streams:
            if not stream.days:
                self.log.warning(
                    stream.line, "empty_stream", "a 200 record without 300 records", "300 records"
                )
        return self._result(numbers)

    # -- records to days -------------------------------------------------------------------------

    def _take(self, record: Record, numbers: Numbers) -> None:
        kind, line = record.kind, record.first
        if self.ended_at is not None and kind != b"100":
            self.log.deviation(
                line, "after_end", f"a record after the end in line {self.ended_at}", "nothing"
            )
            self.ended_at = None
            self.seen_header = True
        elif not self.seen_header and kind != b"100":
            self.log.deviation(
                line, "missing_header", "the file does not begin with a 100 record", "100,NEM12"
            )
            self.seen_header = True
        if kind == b"300":
            self._close_day()
            self._take_300(record, numbers)
        elif kind == b"400":
            self._take_400(record)
        elif kind == b"500":
            self._take_500(record)
        elif kind == b"200":
            self._close_day()
            self._take_200(record)
        elif kind == b"100":
            self._close_day()
            self._take_100(record)
        elif kind == b"900":
            self._close_day()
            self.ended_at = line
            self.stream = None
            fields = self._fields(record)
            if len(fields) > 1:
                mdff.check_trailing(fields[1:], line, 1, self.log)
        elif kind in (b"250", b"550"):
            self.log.error(line, "record_order", f"a {kind.decode()} record in a NEM12 file", "NEM13 for it")
            self._refuse(line, line, kind)
        elif self.open_day is not None:
            self.open_day.good = False

    def _fields(self, record: Record) -> list[bytes]:
        text = record.text if record.text is not None else self.data[record.start : record.end]
        return text.split(b",")

    def _take_100(self, record: Record) -> None:
        if self.seen_header:
            if self.ended_at is None:
                self.log.deviation(record.first, "second_header", "a 100 record before the 900 record", "900")
            else:
                self.log.warning(record.first, "second_header", "a second file in the file", "one file")
        self.seen_header, self.ended_at, self.stream = True, None, None
        header = mdff.parse_header(self._fields(record), record.first, self.log)
        if header is not None and header.version != "NEM12":
            self.log.error(record.first, "header_version", f"{header.version} among NEM12 records", "NEM12")
        self.header = header or self.header

    def _take_200(self, record: Record) -> None:
        fields, line, log = self._fields(record), record.first, self.log
        good = True
        if len(fields) > 10:
            good = mdff.check_trailing(fields[10:], line, 10, log)
        elif len(fields) == 9:
            log.warning(line, "missing_fields", "no field for the next scheduled read date", "10 fields")
        elif len(fields) < 9:
            log.error(line, "field_count", f"{len(fields)} fields in a 200 record", "10 fields")
            self.stream = None
            self._refuse(line, line, b"200")
            return
        nmi, suffix, unit, minutes = "", "", None, 0
        try:
            nmi = mdff.check_nmi(fields[1], line, log)
        except FieldFaultError as fault:
            log.error(line, fault.code, fault.message, fault.expected)
            good = False
        suffix = fields[4].decode("latin-1")
        if len(suffix) != 2 or not suffix.isalnum() or not suffix.isascii() or suffix[0] not in _LETTERS:
            log.error(line, "nmi_suffix", f"{suffix!r} is not an NMI suffix", "a letter and a digit as E1")
            suffix, good = "E1", False
        elif not mdff.check_configuration(fields[2], suffix, line, log):
            good = False
        if suffix[0] in mdff.STREAMS:
            unit, fits = self._unit(fields[7], suffix, line)
            good &= fits
        else:
            log.warning(
                line, "stream_not_imported", f"stream {suffix} has no channel of ours", "E, B, Q, K or T"
            )
        minutes = int(fields[8]) if fields[8].isdigit() and len(fields[8]) <= 4 else 0
        if minutes == 0 or 1440 % minutes:
            log.error(line, "interval_length", f"{shown(fields[8])} is not an interval length", "5, 15 or 30")
            minutes, good = 0, False
        elif minutes not in mdff.INTERVAL_MINUTES and unit is not None:
            good &= not log.deviation(
                line, "interval_length", f"intervals of {minutes} minutes", "5, 15 or 30"
            )
        if len(fields) > 9 and fields[9]:
            try:
                mdff.interval_date(fields[9])
            except FieldFaultError as fault:
                log.warning(line, "next_read_date", fault.message, fault.expected)
        serial = fields[6].decode("utf-8", "replace").strip()
        self.stream = Stream(
            line, nmi, serial or nmi, suffix, unit, minutes * 60, 1440 // minutes if minutes else 0, good
        )
        self.streams.append(self.stream)

    def _unit(self, text: bytes, suffix: str, line: int) -> tuple[Quantum | None, bool]:
        wanted = mdff.STREAMS[suffix[0]][1]
        unit = mdff.UNITS.get(text.decode("latin-1").upper())
        expected = f"a unit of {wanted.value}, as k{wanted.value}"
        if unit is None:
            self.log.error(line, "unit", f"{shown(text)} is not a unit of measure", expected)
            return mdff.UNITS["WH"], False
        if unit.unit is not wanted:
            self.log.error(line, "unit", f"{shown(text)} does not fit the stream {suffix}", expected)
            return unit, False
        return unit, True

    def _take_300(self, record: Record, numbers: Numbers) -> None:
        stream, line = self.stream, record.first
        if stream is None:
            self.log.error(line, "record_order", "a 300 record without its 200 record", "200 before 300")
            self._refuse(line, record.last, b"300")
            return
        stream.days += 1
        if stream.count == 0 or record.row < 0:
            self._refuse(line, record.last, b"300")
            return
        offset, tail_at = int(numbers.offsets[record.row]), int(numbers.tails[record.row])
        finest = int(numbers.finest[record.row])
        day = Day(
            stream, record, date.min, offset, finest, None, False, VALID, end=record.end, last=record.last
        )
        try:
            day.day = mdff.interval_date(
                self.data[record.start + 4 : record.start + 12] if tail_at >= 0 else self._fields(record)[1]
            )
            if tail_at >= 0:
                tail = self.data[tail_at : record.end].split(b",")
            else:
                tail = self._slow_values(day, numbers)
            self._take_tail(day, tail)
        except FieldFaultError as fault:
            self.log.error(line, fault.code, fault.message, fault.expected)
            day.good = False
        except IndexError:
            self.log.error(line, "field_count", "a 300 record without fields", f"{stream.count + 7} fields")
            day.good = False
        if not day.good and isinstance(day.status, int):
            day.variable, day.status = True, np.full(stream.count, MISSING, np.int32)
        self.open_day = day

    def _slow_values(self, day: Day, numbers: Numbers) -> list[bytes]:
        """Numbers that are not plain: signs, blanks, exponents, empty fields; the fields after them."""
        fields, count = self._fields(day.record), day.stream.count
        _check_count(fields[2:], count)
        empty: list[int] = []
        for index, text in enumerate(fields[2 : 2 + count]):
            if not text.strip():
                empty.append(index)
                mantissa, decimals = 0, 0
            else:
                try:
                    mantissa, decimals = parse_number(text)
                except FormatError as fault:
                    message = f"value {index + 1}: {fault.message}"
                    raise FieldFaultError("interval_value", message, fault.expected or "a number") from None
            numbers.mantissas[day.offset + index] = mantissa
            numbers.decimals[day.offset + index] = decimals
        day.negative = bool((numbers.mantissas[day.offset : day.offset + count] < 0).any())
        day.finest = int(numbers.decimals[day.offset : day.offset + count].max())
        day.empty = tuple(empty)
        return fields[2 + count :]

    def _take_tail(self, day: Day, tail: list[bytes]) -> None:
        """Quality, reason, description, update time, load time: what follows the values."""
        line, log, count = day.record.first, self.log, day.stream.count
        quality = tail[0]
        if not quality or not 65 <= quality[0] <= 90:
            _check_count([b"0"] * count + tail, count)
        if len(tail) < 5:
            found, wanted = f"{count + 2 + len(tail)} fields", f"{count + 7} fields"
            if len(tail) == 4:
                log.warning(line, "missing_fields", f"{found}: no load time", wanted)
            else:
                day.good &= not log.deviation(line, "missing_fields", found, wanted)
            tail = tail + [b""] * (5 - len(tail))
        elif len(tail) > 5:
            day.good &= mdff.check_trailing(tail[5:], line, count + 7, log)
        if quality == b"V":
            day.variable = True
            day.status = np.full(count, MISSING, np.int32)
            if tail[1]:
                log.warning(
                    line, "reason_code", "a reason for a day of variable quality", "it in 400 records"
                )
        else:
            day.status = mdff.status_of(quality, tail[1])
            if mdff.needs_reason(quality) and not tail[1]:
                day.good &= not log.deviation(
                    line, "reason_missing", f"{shown(quality)} without a reason", "0 .. 99"
                )
        if tail[3]:
            day.updated_at = mdff.nem_instant(tail[3])
            if (
                day.updated_at
                < datetime(day.day.year, day.day.month, day.day.day, tzinfo=UTC) - mdff.NEM_OFFSET
            ):
                log.warning(line, "update_time", "updated before the day it speaks of", "a later update time")
        elif quality != b"N":
            log.warning(line, "update_time", "no update time", "YYYYMMDDhhmmss")
        if tail[4]:
            mdff.nem_instant(tail[4])

    def _take_400(self, record: Record) -> None:
        day, line, log = self.open_day, record.first, self.log
        if day is None or not day.variable:
            what = "a 400 record without a 300 record of quality V"
            if not (self.stream is not None and self.stream.count == 0):
                log.error(line, "record_order", what, "400 after 300 with V")
            self._refuse(line, line, b"400")
            if day is not None:
                day.good = False
            return
        day.end, day.last = record.end, record.last
        fields, count = self._fields(record), day.stream.count
        try:
            if len(fields) < 4:
                raise FieldFaultError("field_count", f"{len(fields)} fields in a 400 record", "6 fields")
            if len(fields) > 6:
                day.good &= mdff.check_trailing(fields[6:], line, 6, log)
            elif len(fields) < 6:
                day.good &= not log.deviation(line, "missing_fields", f"{len(fields)} fields", "6 fields")
            first, last = (_ordinal(text) for text in fields[1:3])
        except FieldFaultError as fault:
            log.error(line, fault.code, fault.message, fault.expected)
            day.good = False
            return
        reason = fields[4] if len(fields) > 4 else b""
        status = MISSING
        try:
            status = mdff.status_of(fields[3], reason)
        except FieldFaultError as fault:
            log.error(line, fault.code, fault.message, fault.expected)
            day.good = False
        if mdff.needs_reason(fields[3]) and not reason:
            day.good &= not log.deviation(
                line, "reason_missing", f"{shown(fields[3])} without a reason", "0 .. 99"
            )
        if first != day.covered + 1 or not first <= last <= count:
            log.error(
                line,
                "interval_range",
                f"intervals {first} to {last}",
                f"from {day.covered + 1}, up to {count}",
            )
            day.good = False
        assert not isinstance(day.status, int)
        day.status[max(first - 1, 0) : last] = status
        day.covered = max(day.covered, last)

    def _take_500(self, record: Record) -> None:
        fields, line, log = self._fields(record), record.first, self.log
        if self.stream is None:
            log.error(line, "record_order", "a 500 record without its 200 record", "200, 300, 500")
            return
        if len(fields) < 5:
            log.deviation(line, "missing_fields", f"{len(fields)} fields in a 500 record", "5 fields")
            fields = fields + [b""] * (5 - len(fields))
        elif len(fields) > 5:
            mdff.check_trailing(fields[5:], line, 5, log)
        mdff.check_transaction(fields, [1], line, log)
        if fields[3]:
            try:
                mdff.nem_instant(fields[3])
            except FieldFaultError as fault:
                log.error(line, fault.code, fault.message, fault.expected)

    def _close_day(self) -> None:
        day, self.open_day = self.open_day, None
        if day is None:
            return
        line, log, count = day.record.first, self.log, day.stream.count
        status = day.status
        if day.variable and day.good and day.covered != count:
            log.error(line, "interval_range", f"400 records cover {day.covered} intervals", f"1 to {count}")
            day.good = False
        if day.empty and day.good:
            missing = np.full(count, status, np.int32) if isinstance(status, int) else status
            blank = [index + 1 for index in day.empty if not is_missing(missing[index : index + 1])[0]]
            if blank:
                log.error(line, "interval_value", f"value {blank[0]} is empty", "a number, or quality N")
                day.good = False
        if day.negative and day.good:
            day.good &= not log.deviation(line, "negative_value", "a negative value", "0 or more")
        if day.good and day.stream.good:
            if day.stream.unit is not None:
                self.days.append(day)
        else:
            self._refuse(line, day.last, b"300")

    def _refuse(self, first: int, last: int, kind: bytes) -> None:
        self.refused.append(Refused(first, last, f"{kind.decode('latin-1')} record"))

    # -- days to blocks --------------------------------------------------------------------------

    def _result(self, numbers: Numbers) -> ImportResult:
        days = without_duplicates(self.days, numbers, self.log, self.refused)
        evidence: list[Evidence] = []
        made_at = self.header.made_at if self.header else self.captured_at
        origin = Origin(self.data, self.source, self.sha256, made_at)
        blocks = list(blocks_of(days, numbers, origin, self.log, self.refused, evidence))
        nmis: dict[str, str] = {}
        for day in days:
            stream = day.stream
            if nmis.setdefault(stream.series_id, stream.nmi) != stream.nmi:
                known = nmis[stream.series_id]
                self.log.warning(
                    stream.line,
                    "meter_of_two_nmis",
                    f"{stream.series_id} at {known} and {stream.nmi}",
                    "one NMI",
                )
                nmis[stream.series_id] = stream.nmi
        return ImportResult(
            format="nem12",
            source=self.source,
            sha256=self.sha256,
            intervals=tuple(blocks),
            evidence=tuple(evidence),
            diagnostics=self.log.listed(),
            readings=sum(len(block.values) for block in blocks),
            usage_points=MappingProxyType(nmis),
            refused=tuple(sorted(self.refused, key=lambda part: part.first)),
        )


_LETTERS = frozenset(mdff.STREAMS) | frozenset(mdff.OTHER_STREAMS)


def _check_count(fields: list[bytes], count: int) -> None:
    """Raise unless a quality flag stands after exactly ``count`` values."""
    found = next((i for i, text in enumerate(fields) if text[:1].isalpha()), None)
    if found is None:
        raise FieldFaultError("interval_count", "no quality flag after the values", f"{count} values, then A")
    if found != count:
        raise FieldFaultError("interval_count", f"{found} values", f"{count} values for the interval length")


def _ordinal(text: bytes) -> int:
    if text.isdigit() and len(text) <= 4:
        return int(text)
    raise FieldFaultError("interval_range", f"{shown(text)} is not the number of an interval", "1, 2, 3 ...")

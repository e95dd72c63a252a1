"""Green Button (NAESB REQ.21 ESPI, Atom XML): usage points, their readings, costs and qualities.

Readings shorter than a day make interval blocks. A reading of a whole civil day (82,800, 86,400 or 90,000
seconds from midnight) is a block with one interval of the length of the day; what is longer, or is not on
the grid of a civil day, is a `PeriodTotal`. Cumulative readings are register reads.

The rule never to be broken: a reading is placed only by its own start and duration, never by its order.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

import numpy as np

from openami.mdm.formats import espi
from openami.mdm.formats.diagnostics import (
    CostBlock,
    DiagnosticLog,
    ImportResult,
    PeriodTotal,
    Policy,
    Refused,
)
from openami.mdm.formats.espi_feed import (
    ReadingType,
    Resource,
    atom_instant,
    belongs,
    integer,
    reading_type,
    resources_of,
    series_of,
    zone_of_feed,
)
from openami.mdm.formats.espi_xml import ATOM, ESPI, Element, parse_xml
from openami.quantities.civil_time import CivilDay, civil_day_of, zone_of
from openami.quantities.errors import FormatError, QuantityError
from openami.quantities.obis import REGISTER_OF_INTERVAL, ObisCode
from openami.quantities.status import MISSING
from openami.quantities.units import Quantum
from openami.readings.evidence import Evidence
from openami.readings.interval_block import IntervalBlock, StatusIds
from openami.readings.register_read import RegisterRead

_EPOCH_FIRST, _EPOCH_LAST = -2_208_988_800, 7_258_118_400
_DAY_LENGTHS = (82_800, 86_400, 90_000)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One IntervalReading; ``cost`` in 1e-5 of the currency."""

    element: Element
    start: int
    seconds: int
    value: int
    cost: int | None
    status: int
    updated: datetime


def read_espi(
    data: bytes,
    source: str,
    *,
    policy: Policy,
    zone: str | None = None,
    captured_at: datetime,
    sha256: str | None = None,
) -> ImportResult:
    """Read a Green Button file.

    Parameters
    ----------
    data, source:
        The bytes and the name of the file.
    policy:
        How deviations that leave the readings unambiguous are called.
    zone:
        IANA zone; without it the LocalTimeParameters must be those of a zone we know.
    captured_at:
        Used where the feed has no time of update.
    sha256:
        Hash of the file as handed in, where ``data`` was unpacked from it.

    Returns
    -------
    ImportResult
        Series are named by the id (UUID) of their UsagePoint.
    """
    log = DiagnosticLog(policy)
    digest = sha256 or hashlib.sha256(data).hexdigest()
    try:
        root = parse_xml(data)
        if zone is not None:
            zone_of(zone)
    except (FormatError, QuantityError) as fault:
        where = fault.where or ""
        line = int(where.removeprefix("line ")) if where.startswith("line ") else None
        log.error(line, "xml", fault.message, fault.expected)
        return ImportResult("espi", source, digest, diagnostics=log.listed())
    reader = _EspiReader(data, source, digest, log, zone, captured_at, root)
    return reader.read()


class _EspiReader:
    """Reading of one feed: resources by kind, then each meter reading with its type and blocks.

    Invariant: a (series, channel) is filled by one meter reading only.
    """

    def __init__(
        self,
        data: bytes,
        source: str,
        sha256: str,
        log: DiagnosticLog,
        zone: str | None,
        captured_at: datetime,
        root: Element,
    ) -> None:
        self.data, self.source, self.sha256, self.log, self.root = data, source, sha256, log, root
        self.wanted_zone, self.zone = zone, ""
        self.resources = list(resources_of(root))
        self.updated = atom_instant(root.value("updated")) or captured_at
        self.intervals: list[IntervalBlock] = []
        self.registers: list[RegisterRead] = []
        self.evidence: list[Evidence] = []
        self.costs: list[CostBlock] = []
        self.totals: list[PeriodTotal] = []
        self.refused: list[Refused] = []
        self.usage_points: dict[str, str] = {}
        self.filled: dict[tuple[str, ObisCode], int] = {}

    def _all(self, kind: str) -> list[Resource]:
        return [resource for resource in self.resources if resource.kind == kind]

    def read(self) -> ImportResult:
        if self.root.namespace not in (ATOM, ESPI):
            self.log.error(
                self.root.line,
                "not_espi",
                f"the root is {self.root.name!r}",
                "an Atom feed of ESPI resources",
            )
        elif not self._all("IntervalBlock"):
            kinds = sorted({resource.kind for resource in self.resources}) or ["nothing"]
            self.log.error(
                None, "no_data", f"no IntervalBlock; the feed holds {', '.join(kinds)}", "IntervalBlock"
            )
        else:
            year = self.updated.year
            zone = zone_of_feed(self._all("LocalTimeParameters"), self.wanted_zone, year, self.log)
            self.zone = zone or "Etc/UTC"
            self._meter_readings()
            self._summaries()
            if zone is None:
                self._drop_all()
        return ImportResult(
            format="espi",
            source=self.source,
            sha256=self.sha256,
            intervals=tuple(self.intervals),
            register_reads=tuple(self.registers),
            evidence=tuple(self.evidence),
            diagnostics=self.log.listed(),
            readings=sum(len(block.values) for block in self.intervals) + len(self.registers),
            usage_points=MappingProxyType(self.usage_points),
            costs=tuple(self.costs),
            period_totals=tuple(self.totals),
            refused=tuple(self.refused),
        )

    def _drop_all(self) -> None:
        """Without a zone there are no civil days; the readings were gone through for their faults."""
        for kept in (self.intervals, self.registers, self.evidence, self.costs, self.totals):
            kept.clear()
        self.usage_points.clear()
        self.refused = [Refused(self.root.line, self.root.last_line, "all readings")]

    # -- readings --------------------------------------------------------------------------------

    def _meter_readings(self) -> None:
        meters = self._all("MeterReading")
        blocks: dict[int, list[Resource]] = {}
        for block in self._all("IntervalBlock"):
            index = next((i for i, meter in enumerate(meters) if belongs(block, meter)), None)
            if index is None and len(meters) == 1:
                index = 0
            if index is None:
                self.log.error(
                    block.element.line, "links", "the block belongs to no MeterReading", "an up link"
                )
                self._refuse(block.element, "IntervalBlock")
            else:
                blocks.setdefault(index, []).append(block)
        for index, owned in blocks.items():
            self._meter_reading(meters[index], owned)

    def _meter_reading(self, meter: Resource, blocks: list[Resource]) -> None:
        identities = [resource.identity for resource in self.resources]
        series_id = series_of(meter, self._all("UsagePoint"), identities)
        kind = reading_type(meter, self._all("ReadingType"), self.log)
        readings: list[_Reading] = []
        broken: list[tuple[int, int]] = []
        for block in blocks:
            for element in block.element.all("IntervalReading"):
                reading = self._reading(element, block.updated or self.updated, broken)
                if reading is not None:
                    readings.append(reading)
        if kind is None:
            for block in blocks:
                self._refuse(block.element, "IntervalBlock of an unknown type")
            return
        key = (series_id, kind.channel)
        if key in self.filled:
            self.log.warning(
                meter.element.line, "second_reading", f"{series_id} has {kind.channel} already (line "
                f"{self.filled[key]})", "one MeterReading a channel",
            )  # fmt: skip
            self._refuse(meter.element, "second MeterReading of a channel")
            return
        self.filled[key] = meter.element.line
        self.usage_points[series_id] = series_id
        if kind.cumulative:
            self._take_registers(series_id, kind, readings)
        else:
            self._take_intervals(series_id, kind, readings, broken)

    def _reading(self, element: Element, updated: datetime, broken: list[tuple[int, int]]) -> _Reading | None:
        """One IntervalReading; None when faulty, with what is known of its period put in ``broken``."""
        line, log = element.line, self.log
        period = element.child("timePeriod")
        try:
            if period is None:
                raise FormatError("no timePeriod", expected="start and duration")
            start = self._epoch(period.value("start"), line)
            seconds = integer(period.value("duration"))
            if seconds <= 0:
                raise FormatError(f"duration {seconds}", expected="a positive number of seconds")
        except FormatError as fault:
            log.error(line, "time_period", fault.message, fault.expected)
            self._refuse(element, "IntervalReading")
            return None
        try:
            value = integer(element.value("value"))
            cost = integer(element.value("cost")) if element.value("cost") else None
            codes = [integer(item.value("quality") or "0") for item in element.all("ReadingQuality")]
        except FormatError as fault:
            log.error(line, "interval_reading", fault.message, fault.expected)
            self._refuse(element, "IntervalReading")
            broken.append((start, seconds))
            return None
        unknown = [code for code in codes if code not in espi.STATUS_OF_QUALITY]
        if unknown:
            log.warning(
                line, "quality", f"quality {unknown[0]}", "a code of QualityOfReading; taken as 16, other"
            )
        status = max(
            (espi.STATUS_OF_QUALITY.get(code, espi.STATUS_OF_QUALITY[16]) for code in codes), default=0
        )
        return _Reading(element, start, seconds, value, cost, status, updated)

    def _epoch(self, text: str, line: int) -> int:
        if re.fullmatch(r"\d{1,12}\.\d{1,12}", text):
            self.log.warning(
                line, "float_epoch", f"start {text} has a fraction", "whole seconds; it was cut off"
            )
            text = text.partition(".")[0]
        second = integer(text)
        if not _EPOCH_FIRST <= second < _EPOCH_LAST:
            raise FormatError(f"start {text}", expected="seconds since 1970, up to the year 2200")
        return second

    def _take_registers(self, series_id: str, kind: ReadingType, readings: list[_Reading]) -> None:
        register = REGISTER_OF_INTERVAL.get(kind.channel)
        if register is None:
            register = ObisCode(
                kind.channel.a, kind.channel.b, kind.channel.c, 8 if kind.channel.a == 1 else 0, 0
            )
        for reading in readings:
            item = self._keep([reading])
            self.registers.append(
                RegisterRead(
                    meter_id=series_id,
                    register=register,
                    at=datetime.fromtimestamp(reading.start, UTC),
                    quantum=kind.quantum,
                    value=reading.value * kind.factor,
                    captured_at=reading.updated,
                    kind="file",
                    status=reading.status,
                    evidence_id=item.evidence_id,
                )
            )

    def _take_intervals(
        self, series_id: str, kind: ReadingType, readings: list[_Reading], broken: list[tuple[int, int]]
    ) -> None:
        days: dict[CivilDay, list[_Reading]] = {}
        for reading in readings:
            day = self._day(reading.start)
            if reading.seconds < min(_DAY_LENGTHS) or self._is_whole_day(reading, day):
                days.setdefault(day, []).append(reading)
            else:
                item = self._keep([reading])
                self.totals.append(
                    PeriodTotal(
                        series_id, kind.channel, datetime.fromtimestamp(reading.start, UTC), reading.seconds,
                        kind.quantum, reading.value * kind.factor, reading.status, reading.cost,
                        kind.currency or None, item.evidence_id,
                    )
                )  # fmt: skip
        spoiled = {self._day(start) for start, seconds in broken if seconds <= max(_DAY_LENGTHS)}
        for day in sorted(days):
            if day in spoiled:
                self._refuse_readings(days[day])
            else:
                self._take_day(series_id, kind, day, days[day])

    def _take_day(self, series_id: str, kind: ReadingType, day: CivilDay, readings: list[_Reading]) -> None:
        log, line = self.log, readings[0].element.line
        interval_s = min(reading.seconds for reading in readings)
        good = True
        if day.seconds % interval_s:
            log.error(
                line, "duration", f"readings of {interval_s} s on {day.day}", "a length that divides the day"
            )
            self._refuse_readings(readings)
            return
        count = day.seconds // interval_s
        start = int(day.start.timestamp())
        values, costs = np.zeros(count, np.int64), np.zeros(count, np.int64)
        status = np.full(count, MISSING, np.int32)
        given = np.zeros(count, np.bool_)
        taken: dict[int, _Reading] = {}
        for reading in readings:
            index, rest = divmod(reading.start - start, interval_s)
            if rest or reading.seconds != interval_s:
                message = f"a reading of {reading.seconds} s among those of {interval_s} s, or between them"
                log.error(
                    reading.element.line, "duration", message, "readings of one length, one after the other"
                )
                good = False
                continue
            before = taken.setdefault(index, reading)
            if before is not reading:
                good &= self._duplicate(before, reading, status, index)
                continue
            values[index], status[index] = reading.value * kind.factor, reading.status
            if reading.cost is not None:
                costs[index], given[index] = reading.cost, True
        if not good:
            self._refuse_readings(readings)
            return
        item = self._keep(readings)
        self.intervals.append(
            IntervalBlock(
                series_id=series_id,
                channel=kind.channel,
                day=day,
                interval_s=interval_s,
                quantum=kind.quantum,
                values=values,
                captured_at=max(reading.updated for reading in readings),
                status=status,
                evidence_id=item.evidence_id,
            )
        )
        if given.any():
            self.costs.append(
                CostBlock(series_id, kind.channel, day, interval_s, kind.currency, costs, given)
            )

    def _duplicate(self, before: _Reading, reading: _Reading, status: StatusIds, index: int) -> bool:
        line, first = reading.element.line, before.element.line
        same = (before.value, before.cost, before.status) == (reading.value, reading.cost, reading.status)
        if same:
            self.log.warning(line, "duplicate", f"the same reading as in line {first}", "each interval once")
            return True
        message = f"another reading of the interval than in line {first}"
        if self.log.deviation(line, "conflicting_duplicate", message, "one reading"):
            return False
        status[index] = MISSING
        return True

    def _is_whole_day(self, reading: _Reading, day: CivilDay) -> bool:
        return reading.start == int(day.start.timestamp()) and reading.seconds == day.seconds

    def _day(self, second: int) -> CivilDay:
        return civil_day_of(datetime.fromtimestamp(second, UTC), self.zone)

    def _summaries(self) -> None:
        """ElectricPowerUsageSummary: the quantity and the bill of the current billing period."""
        for resource in self._all("ElectricPowerUsageSummary"):
            element = resource.element
            period, usage = (
                element.child("billingPeriod"),
                element.child("currentBillingPeriodOverAllConsumption"),
            )
            if period is None or usage is None or not usage.value("value"):
                continue
            try:
                start, seconds = (
                    self._epoch(period.value("start"), element.line),
                    integer(period.value("duration")),
                )
                uom, value = integer(usage.value("uom")), integer(usage.value("value"))
                multiplier = integer(usage.value("powerOfTenMultiplier") or "0")
                bill = element.value("billToDate")
                currency = integer(element.value("currency") or "0")
                cost = integer(bill) if bill else None
            except FormatError as fault:
                self.log.warning(
                    element.line, "summary", f"the summary was left out: {fault.message}", fault.expected
                )
                continue
            if espi.UOM.get(uom) is None or not -9 <= multiplier <= 9:
                self.log.warning(element.line, "summary", f"the summary was left out: uom {uom}", "72 (Wh)")
                continue
            unit = espi.UOM[uom]
            series = next(iter(self.usage_points), "usage-point")
            self.totals.append(
                PeriodTotal(
                    series, espi.CHANNELS[unit, espi.FORWARD], datetime.fromtimestamp(start, UTC), seconds,
                    Quantum(unit, min(0, multiplier)), value * 10 ** max(0, multiplier), 0, cost,
                    espi.CURRENCIES.get(currency), None, "summary",
                )
            )  # fmt: skip

    # -- evidence --------------------------------------------------------------------------------

    def _keep(self, readings: Iterable[_Reading]) -> Evidence:
        elements = sorted((reading.element for reading in readings), key=lambda element: element.first)
        first, last = elements[0], elements[-1]
        locator = f"lines {first.line}-{last.last_line}"
        content = b"\n".join(_runs(self.data, elements))
        item = Evidence("file", self.source, locator, content, self.sha256, self.updated)
        self.evidence.append(item)
        return item

    def _refuse_readings(self, readings: list[_Reading]) -> None:
        lines = [reading.element.line for reading in readings]
        last = max(reading.element.last_line for reading in readings)
        self.refused.append(Refused(min(lines), last, "readings of a day"))

    def _refuse(self, element: Element, what: str) -> None:
        self.refused.append(Refused(element.line, element.last_line, what))


def _runs(data: bytes, elements: list[Element]) -> Iterable[bytes]:
    """Text of elements, those that stand one after the other in one piece."""
    start, end = elements[0].first, elements[0].last
    for element in elements[1:]:
        if data[end : element.first].strip():
            yield data[start:end]
            start = element.first
        end = element.last
    yield data[start:end]

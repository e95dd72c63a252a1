"""CSV and Parquet tables read by a declared mapping into blocks of civil days.

A table is a set of (series, channel, instant, value) whatever its layout. Instants are put on the grid of
their civil day, whatever the order of the rows; a household split over several files gives partial days
that the store overlays.

The rule never to be broken: an interval gets a value only when exactly one value of the file belongs to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from openami.mdm.formats import exact_numbers as exact
from openami.mdm.formats.civil_columns import (
    FIRST_YEAR,
    GOOD,
    LAST_YEAR,
    MICROSECONDS,
    NEVER,
    TWICE,
    DayColumn,
    ZoneTable,
    civil_days_of,
    compile_format,
    parse_times,
    zone_table,
)
from openami.mdm.formats.diagnostics import DiagnosticLog, ImportResult, Policy, Refused
from openami.mdm.formats.exact_numbers import Int8, Int64
from openami.mdm.formats.mapping import ChannelPart, Mapping
from openami.mdm.formats.table_columns import (
    Table,
    TextColumn,
    find_column,
    read_csv,
    read_parquet,
    text_column,
)
from openami.quantities.civil_time import CivilDay
from openami.quantities.errors import FormatError, QuantityError
from openami.quantities.status import MISSING, VALID
from openami.quantities.units import Quantum
from openami.readings.evidence import Evidence
from openami.readings.interval_block import IntervalBlock

_EVIDENCE_LINES = 400
"""Lines of which the text is kept in one piece of evidence."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Values:
    """Numbers of one column: exact decimals, and the state of each field."""

    mantissas: Int64
    decimals: Int8
    states: Int8


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows whose time is on the grid: their place in the table, their civil day and slot in it."""

    rows: Int64
    instants: Int64
    days: DayColumn
    slots: Int64


def read_table(
    data: bytes,
    source: str,
    *,
    mapping: Mapping,
    policy: Policy,
    captured_at: datetime,
    sha256: str | None = None,
) -> ImportResult:
    """Read a CSV or Parquet file by its mapping.

    Parameters
    ----------
    data, source:
        The bytes and the name of the file.
    mapping:
        What its columns mean.
    policy:
        STRICT refuses conflicting duplicates, tolerant leaves their interval missing.
    captured_at:
        When the file was obtained: a table does not say.
    sha256:
        Hash of the file as handed in, where ``data`` was unpacked from it.
    """
    log = DiagnosticLog(policy)
    digest = sha256 or hashlib.sha256(data).hexdigest()
    table = read_csv(data, mapping, log) if mapping.format == "csv" else read_parquet(data, log)
    reader = _TableReader(table, source, digest, mapping, policy, captured_at, log) if table else None
    if reader is None:
        return ImportResult(mapping.format, source, digest, diagnostics=log.listed())
    return reader.read()


class _TableReader:
    """Reading of one table: rows on the grid, then one column of values after the other.

    Invariant: ``bad`` is True for every row with an error, and no block has a value of such a row, nor
    of its series and day.
    """

    def __init__(
        self,
        table: Table,
        source: str,
        sha256: str,
        mapping: Mapping,
        policy: Policy,
        captured_at: datetime,
        log: DiagnosticLog,
    ) -> None:
        self.table, self.source, self.sha256, self.mapping = table, source, sha256, mapping
        self.policy, self.captured_at, self.log = policy, captured_at, log
        self.bad: Mask = np.zeros(len(table.lines), np.bool_)
        self.evidence: dict[tuple[int, int], Evidence] = {}
        self.refused: dict[tuple[int, int], Refused] = {}

    def read(self) -> ImportResult:
        blocks: list[IntervalBlock] = []
        time_name = find_column(self.table, self.mapping.time.column, "time", self.log, self.policy)
        series = self._series()
        channels = self._channels(time_name)
        if time_name is not None and series is not None and channels:
            if len(self.table.lines) == 0:
                self.log.error(None, "no_data", "the file has no rows", "rows below the header")
            else:
                blocks = self._blocks(time_name, series, channels)
        return ImportResult(
            format=self.mapping.format,
            source=self.source,
            sha256=self.sha256,
            intervals=tuple(blocks),
            evidence=tuple(self.evidence.values()),
            diagnostics=self.log.listed(),
            readings=sum(len(block.values) for block in blocks),
            usage_points=MappingProxyType({}),
            refused=tuple(sorted(self.refused.values(), key=lambda part: part.first)),
        )

    # -- columns ---------------------------------------------------------------------------------

    def _series(self) -> tuple[list[str], Int64] | None:
        """Names of the series and, for each row, which of them it belongs to."""
        part, count = self.mapping.series, len(self.table.lines)
        if part.column is None:
            return [part.id or ""], np.zeros(count, np.int64)
        name = find_column(self.table, part.column, "series", self.log, self.policy)
        if name is None:
            return None
        text = pc.utf8_trim_whitespace(pc.fill_null(self.table.columns[name].cast(pa.string()), ""))
        encoded = pc.dictionary_encode(text)
        names: list[str] = encoded.dictionary.to_pylist()
        index = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        if "" in names:
            for row in np.flatnonzero(index == names.index("")):
                self._fault(int(row), "series", "no series in the row", "the id of a meter")
        return names, index

    def _channels(self, time_name: str | None) -> list[tuple[str, ChannelPart, str | None]]:
        """Column, channel and, in the wide layout, the series of each column of values."""
        if self.mapping.layout == "wide":
            names = [name for name in self.table.columns if name != time_name]
            if not names:
                self.log.error(1, "missing_column", "no column beside the time", "a column a series")
            return [(name, self.mapping.channel[0], name.strip()) for name in names]
        found: list[tuple[str, ChannelPart, str | None]] = []
        for channel in self.mapping.channel:
            name = find_column(
                self.table, channel.column or "", f"channel {channel.obis}", self.log, self.policy
            )
            if name is None:
                return []
            found.append((name, channel, None))
        return found

    def _fault(self, row: int, code: str, message: str, expected: str) -> None:
        self.bad[row] = True
        self.log.error(int(self.table.lines[row]), code, message, expected)

    # -- times -----------------------------------------------------------------------------------

    def _times(self, name: str) -> tuple[Int64, Mask, bool]:
        """Written microseconds of each row, which rows have a time, and whether they are UTC already."""
        column = self.table.columns[name]
        if pa.types.is_timestamp(column.type):
            try:
                micros = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
            except pa.ArrowInvalid:
                self.log.error(None, "time", "times finer than a microsecond", "whole microseconds")
                return np.zeros(len(column), np.int64), np.zeros(len(column), np.bool_), True
            given = np.asarray(pc.is_valid(column))
            times = pc.fill_null(micros, 0).to_numpy(zero_copy_only=False).astype(np.int64)
            years = times // (31_556_952 * MICROSECONDS) + 1970
            for row in np.flatnonzero(~given | (years < FIRST_YEAR) | (years > LAST_YEAR)):
                given[row] = False
                self._fault(int(row), "time", "no time in the row", f"a time of {FIRST_YEAR} to {LAST_YEAR}")
            return times, given, column.type.tz is not None
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            self.log.error(None, "time", f"the time column is of type {column.type}", "a timestamp or text")
            return np.zeros(len(column), np.int64), np.zeros(len(column), np.bool_), True
        text = text_column(column)
        times, states = np.zeros(len(column), np.int64), np.zeros(len(column), np.int8)
        form = self.mapping.time.format
        parse_times(text.data, text.starts, text.ends, compile_format(form), times, states)
        for row in np.flatnonzero(states != GOOD):
            index = int(row)
            line = int(self.table.lines[index])
            if self.table.data and not self.table.lines_text(line, line).strip():
                self.bad[index] = True
                self.log.warning(line, "blank_line", "a blank line", "no blank lines")
            else:
                self._fault(index, "time", f"{text.text(index)!r} is not a time", f"the format {form}")
        return times, states == GOOD, "%z" in form

    def _on_grid(self, name: str, series: Int64, has_value: Mask) -> _Rows | None:
        """Rows with a time that means one instant on the grid of its civil day."""
        part, log, lines = self.mapping.time, self.log, self.table.lines
        written, good, is_utc = self._times(name)
        if not good.any():
            return None
        if is_utc or part.clock == "UTC":
            instants = written
        elif part.clock == "local":
            table = zone_table(self.mapping.zone, int(written[good].min()), int(written[good].max()))
            instants, good = self._resolve(written, good, series, has_value, table)
        else:
            sign = -1 if part.clock[0] == "-" else 1
            minutes = int(part.clock[1:3]) * 60 + int(part.clock[4:6])
            instants = written - sign * minutes * 60 * MICROSECONDS
        step = self.mapping.interval_s * MICROSECONDS
        if part.names == "end":
            instants = instants - step
        rows = np.flatnonzero(good)
        if len(rows) == 0:
            return None
        table = zone_table(self.mapping.zone, int(instants[rows].min()), int(instants[rows].max()))
        days = civil_days_of(instants[rows], table)
        self._check_lengths(days)
        off = days.offset_us % step != 0
        if off.any():
            first = int(rows[np.flatnonzero(off)[0]])
            valued = off & has_value[rows]
            if part.off_grid == "drop":
                log.warning(
                    int(lines[first]), "off_grid",
                    f"{int(off.sum())} rows between intervals left out, {int(valued.sum())} with a value",
                    "times on the grid", int(off.sum()),
                )  # fmt: skip
            else:
                for row in rows[off]:
                    expected = f"a multiple of {self.mapping.interval_s} s from midnight"
                    self._fault(int(row), "off_grid", "a time between two intervals", expected)
            keep = ~off
            rows = rows[keep]
            days = DayColumn(days.days, days.index[keep], days.offset_us[keep])
        order = np.lexsort((np.arange(len(rows)), series[rows]))
        steps = np.diff(instants[rows][order])
        back = (steps < 0) & (np.diff(series[rows][order]) == 0)
        if back.any():
            row = int(rows[order[np.flatnonzero(back)[0] + 1]])
            log.warning(int(lines[row]), "unsorted", "times that go back", "rows in order", int(back.sum()))
        return _Rows(rows, instants[rows], days, days.offset_us // step)

    def _resolve(
        self, written: Int64, good: Mask, series: Int64, has_value: Mask, table: ZoneTable
    ) -> tuple[Int64, Mask]:
        """Instants of local times: of twice-written ones by the order of the rows of a series."""
        first, second, kinds = table.instants(written)
        instants, lines, log = first.copy(), self.table.lines, self.log
        never = np.flatnonzero(good & (kinds == NEVER))
        good = good & (kinds != NEVER)
        empty = never[~has_value[never]]
        if len(empty):
            log.warning(
                int(lines[empty[0]]),
                "spring_hour",
                "empty rows in the hour that the clock skips",
                "none",
                len(empty),
            )
        for row in never[has_value[never]]:
            message = "a value in the hour that the clock skips in spring"
            if log.deviation(int(lines[row]), "spring_hour", message, "no such time"):
                self.bad[row] = True
        twice = np.flatnonzero(good & (kinds == TWICE))
        seen: dict[tuple[int, int], int] = {}
        for row in twice:
            key = (int(series[row]), int(written[row]))
            seen[key] = seen.get(key, 0) + 1
            if seen[key] == 2:
                instants[row] = second[row]
        once = sum(count == 1 for count in seen.values())
        if once:
            log.warning(
                int(lines[twice[0]]), "autumn_hour",
                f"{once} times of the autumn hour are there once and were taken for summer time",
                "each of them twice", once,
            )  # fmt: skip
        return instants, good

    def _check_lengths(self, days: DayColumn) -> None:
        for day in days.days:
            try:
                CivilDay(day, self.mapping.zone).interval_count(self.mapping.interval_s)
            except QuantityError as fault:
                raise FormatError(fault.message, where=f"mapping {self.mapping.name}") from None

    # -- values ----------------------------------------------------------------------------------

    def _values(self, name: str, channel: ChannelPart) -> tuple[_Values, TextColumn | None]:
        column = self.table.columns[name]
        whole = _whole_numbers(column)
        if whole is not None:
            values, given = whole
            states = np.where(given, exact.NUMBER, exact.EMPTY).astype(np.int8)
            return self._scaled(_Values(values, np.zeros(len(values), np.int8), states), channel), None
        text = text_column(_as_text(column, self.mapping.file.decimal))
        count = len(text.starts)
        values = np.zeros(count, np.int64)
        decimals, states = np.zeros(count, np.int8), np.zeros(count, np.int8)
        exact.parse_fields(text.data, text.starts, text.ends, values, decimals, states)
        nulls = set(self.mapping.values.null)
        odd = np.flatnonzero(states == exact.ODD)
        if "" not in nulls:
            for row in np.flatnonzero(states == exact.EMPTY):
                if not self.bad[row]:
                    self._fault(
                        int(row), "value", f"column {name!r}: an empty value", f"a number or {sorted(nulls)}"
                    )
        for row in odd:
            field = text.data[text.starts[row] : text.ends[row]].tobytes()
            if field.decode("utf-8", "replace").strip() in nulls:
                states[row] = exact.EMPTY
                continue
            try:
                values[row], decimals[row] = exact.parse_number(field, exact.NOISY_DECIMALS)
                states[row] = exact.NUMBER
            except FormatError as fault:
                self._fault(
                    int(row),
                    "value",
                    f"column {name!r}: {fault.message}",
                    f"a number or one of {sorted(nulls)}",
                )
        return self._scaled(_Values(values, decimals, states), channel), text

    def _scaled(self, values: _Values, channel: ChannelPart) -> _Values:
        """Values times the exact factor of the channel."""
        factor, places = channel.scale
        if (factor, places) == (1, 0):
            return values
        limit = np.iinfo(np.int64).max // factor
        large = np.abs(values.mantissas) > limit
        for row in np.flatnonzero(large):
            self._fault(int(row), "value", "a value is too large for its scale", "at most 18 digits")
        mantissas = np.where(large, 0, values.mantissas) * factor
        return _Values(mantissas, (values.decimals + places).astype(np.int8), values.states)

    def _counts(self, values: _Values, channel: ChannelPart, rows: Int64) -> tuple[Int64, Quantum]:
        """Counts of the quantum for ``rows``, and the quantum; values that do not fit are faults."""
        quantum = channel.counted_in
        places = channel.unit.exponent - quantum.exponent
        used = rows[(values.states[rows] == exact.NUMBER) & ~self.bad[rows]]
        mantissas, decimals = values.mantissas[used], values.decimals[used]
        counts = np.zeros(len(values.states), np.int64)
        found = np.zeros(len(used), np.int64)
        finer = self.mapping.values.finer
        if finer == "refine" and len(used):
            extra = max(0, int(decimals.max()) - places)
            if quantum.exponent - extra >= -12:
                quantum, places = Quantum(quantum.unit, quantum.exponent - extra), places + extra
        fits = np.ones(len(used), np.bool_)
        done = exact.scale_noisy if finer == "float_noise" else _scale_all
        position = 0
        while position < len(used):
            stop = done(mantissas[position:], decimals[position:], places, found[position:])
            if stop < 0:
                break
            fits[position + stop] = False
            position += stop + 1
        for row in used[~fits]:
            shown = Decimal(int(values.mantissas[row])).scaleb(-int(values.decimals[row]))
            message = f"{shown} {_unit_name(channel.unit)} is not a whole number of {quantum}"
            self._fault(int(row), "quantum", message, "the mapping says: finer = 'refuse'")
        counts[used] = found
        return counts, quantum

    # -- blocks ----------------------------------------------------------------------------------

    def _blocks(
        self,
        time_name: str,
        series: tuple[list[str], Int64],
        channels: list[tuple[str, ChannelPart, str | None]],
    ) -> list[IntervalBlock]:
        names, index = series
        columns = [self._values(name, channel)[0] for name, channel, _ in channels]
        has_value: Mask = np.zeros(len(self.table.lines), np.bool_)
        for values in columns:
            has_value |= values.states == exact.NUMBER
        grid = self._on_grid(time_name, index, has_value)
        if grid is None:
            return []
        counted = [
            self._counts(values, channel, grid.rows)
            for values, (_, channel, _) in zip(columns, channels, strict=True)
        ]
        plan = _Plan.of(grid, index[grid.rows], self.mapping)
        blocks: list[IntervalBlock] = []
        for values, (counts, quantum), (_, channel, only) in zip(columns, counted, channels, strict=True):
            owners = [only] if only is not None else names
            blocks.extend(self._column_blocks(plan, grid, values, counts, quantum, channel, owners))
        return blocks

    def _column_blocks(
        self,
        plan: _Plan,
        grid: _Rows,
        values: _Values,
        counts: Int64,
        quantum: Quantum,
        channel: ChannelPart,
        owners: list[str],
    ) -> Iterator[IntervalBlock]:
        rows, lines = grid.rows, self.table.lines
        numbers = (values.states[rows] == exact.NUMBER) & ~self.bad[rows]
        spoiled = np.zeros(len(plan.day), np.bool_)
        spoiled[plan.group[self.bad[rows]]] = True
        dense = np.zeros(plan.size, np.int64)
        filled = np.zeros(plan.size, np.bool_)
        places, owned = plan.position[numbers], rows[numbers]
        dense[places[::-1]] = counts[owned[::-1]]
        filled[places] = True
        self._duplicates(plan, places, owned, counts, dense, filled, spoiled)
        for k in range(len(plan.day)):
            first, last = int(lines[rows[plan.first[k]]]), int(lines[rows[plan.last[k]]])
            if spoiled[k]:
                name = owners[int(plan.series[k])]
                self.refused[first, last] = Refused(first, last, f"{name} on {plan.day[k].day}")
                continue
            here = slice(int(plan.offset[k]), int(plan.offset[k] + plan.count[k]))
            status = None
            if not filled[here].all():
                status = np.where(filled[here], VALID, MISSING).astype(np.int32)
            yield IntervalBlock(
                series_id=owners[int(plan.series[k])],
                channel=channel.obis,
                day=plan.day[k],
                interval_s=self.mapping.interval_s,
                quantum=quantum,
                values=dense[here],
                captured_at=self.captured_at,
                status=status,
                evidence_id=self._evidence(first, last),
            )

    def _duplicates(
        self,
        plan: _Plan,
        places: Int64,
        owned: Int64,
        counts: Int64,
        dense: Int64,
        filled: Mask,
        spoiled: Mask,
    ) -> None:
        """Equal duplicates are dropped; of different ones none is taken."""
        times = np.bincount(places, minlength=plan.size)
        if not (times > 1).any():
            return
        lines = self.table.lines
        repeated = times[places] > 1
        differs = repeated & (counts[owned] != dense[places])
        conflicting = np.zeros(plan.size, np.bool_)
        conflicting[places[differs]] = True
        equal = int((times[(times > 1) & ~conflicting] - 1).sum())
        if equal:
            same = np.flatnonzero(repeated & ~conflicting[places])
            order = same[np.argsort(places[same], kind="stable")]
            second = order[np.flatnonzero(np.diff(places[order]) == 0)[0] + 1]
            line = int(lines[owned[second]])
            self.log.warning(
                line, "duplicate", f"{equal} rows that repeat another", "each interval once", equal
            )
        for place in np.flatnonzero(conflicting):
            where = [int(lines[row]) for row in owned[places == place]]
            group = int(np.searchsorted(plan.offset, place, "right") - 1)
            message = f"two values for one interval of {plan.day[group].day}, also in line {where[0]}"
            filled[place] = False
            dense[place] = 0
            if self.log.deviation(where[1], "conflicting_duplicate", message, "one value"):
                spoiled[group] = True

    def _evidence(self, first: int, last: int) -> str:
        key = (first, last)
        if key not in self.evidence:
            lean = last - first < _EVIDENCE_LINES
            self.evidence[key] = Evidence(
                kind="file",
                source=self.source,
                locator=f"{self.table.unit} {first}-{last}",
                content=self.table.lines_text(first, last) if lean else b"",
                sha256=self.sha256,
                captured_at=self.captured_at,
            )
        return self.evidence[key].evidence_id


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where rows go: block ``group[i]`` and place ``position[i]`` of each row; blocks laid end to end.

    ``day``, ``series``, ``offset``, ``count``, ``first`` and ``last`` (rows) are per block, in order of
    series and day.
    """

    group: Int64
    position: Int64
    day: list[CivilDay]
    series: Int64
    offset: Int64
    count: Int64
    first: Int64
    last: Int64
    size: int

    @classmethod
    def of(cls, grid: _Rows, series: Int64, mapping: Mapping) -> _Plan:
        """Plan of the rows of a grid."""
        per_day = len(grid.days.days)
        keys, group = np.unique(series * per_day + grid.days.index, return_inverse=True)
        days = [CivilDay(day, mapping.zone) for day in grid.days.days]
        lengths = np.array([day.interval_count(mapping.interval_s) for day in days], np.int64)
        count = lengths[keys % per_day]
        offset = np.cumsum(count) - count
        order = np.argsort(group, kind="stable")
        bounds = np.searchsorted(group[order], np.arange(len(keys) + 1))
        return cls(
            group=group.astype(np.int64),
            position=offset[group] + grid.slots,
            day=[days[int(key) % per_day] for key in keys],
            series=keys // per_day,
            offset=offset,
            count=count,
            first=order[bounds[:-1]],
            last=order[bounds[1:] - 1],
            size=int(count.sum()),
        )


def _scale_all(mantissas: Int64, decimals: Int8, places: int, counts: Int64) -> int:
    """Scale numbers; index of the first that does not fit exactly, or -1."""
    if exact.scale(mantissas, decimals, places, counts):
        return -1
    one = np.zeros(1, np.int64)
    for i in range(len(mantissas)):
        if not exact.scale(mantissas[i : i + 1], decimals[i : i + 1], places, one):
            return i
        counts[i] = one[0]
    return -1


def _whole_numbers(column: pa.Array) -> tuple[Int64, Mask] | None:
    """Values of a column that holds whole numbers only (integers, or floats without a fraction)."""
    if pa.types.is_integer(column.type) and column.type != pa.uint64():
        filled = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        return np.ascontiguousarray(filled, np.int64), np.asarray(pc.is_valid(column))
    if not pa.types.is_floating(column.type):
        return None
    numbers = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    given = ~np.isnan(numbers)
    filled = np.where(given, numbers, 0.0)
    if np.isinf(filled).any() or (filled != np.rint(filled)).any() or (np.abs(filled) >= 2.0**53).any():
        return None
    return filled.astype(np.int64), given


def _as_text(column: pa.Array, decimal: str) -> pa.Array:
    """Text of a column of values; binary fractions become their shortest decimal."""
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    text = column.cast(pa.string())
    return pc.replace_substring(text, decimal, ".") if decimal != "." else text


def _unit_name(unit: Quantum) -> str:
    return {0: "", 3: "k", 6: "M"}.get(unit.exponent, f"1e{unit.exponent} ") + unit.unit.value

"""Times of a table: from what is written to the place on the grid of a civil day.

The rule never to be broken: a row is placed only when its time means exactly one instant, or the order of
the rows of its series says which of two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

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
from openami.mdm.formats.diagnostics import DiagnosticLog
from openami.mdm.formats.exact_numbers import Int64
from openami.mdm.formats.mapping import Mapping, TimePart
from openami.mdm.formats.table_columns import Table, text_column
from openami.quantities.civil_time import CivilDay
from openami.quantities.errors import QuantityError

Mask = npt.NDArray[np.bool_]


class RowFaults:
    """Faults of rows of a table, reported with their lines.

    Invariant: ``bad[i]`` is True when an error of row ``i`` was reported, or it has nothing to say.
    """

    def __init__(self, log: DiagnosticLog, lines: Int64) -> None:
        self.log = log
        self.lines = lines
        self.bad: Mask = np.zeros(len(lines), np.bool_)

    def line(self, row: int) -> int:
        """Line of a row."""
        return int(self.lines[row])

    def report(self, row: int, code: str, message: str, expected: str) -> None:
        """An error of a row."""
        self.bad[row] = True
        self.log.error(self.line(row), code, message, expected)


@dataclass(frozen=True, slots=True)
class GridRows:
    """Rows whose time is on the grid of a civil day.

    Parameters
    ----------
    rows:
        int64 ``(n,)``: their index in the table.
    days:
        The civil day of each.
    slots:
        int64 ``(n,)``: the number of the interval in the day.
    """

    rows: Int64
    days: DayColumn
    slots: Int64


def rows_on_grid(
    table: Table, column: str, series: Int64, has_value: Mask, mapping: Mapping, faults: RowFaults
) -> GridRows | None:
    """Place the rows of a table on the grids of their civil days.

    Parameters
    ----------
    table, column:
        The table and the name of its time column.
    series:
        int64 ``(rows,)``: which series each row belongs to.
    has_value:
        bool ``(rows,)``: the row has a value in some column.
    mapping, faults:
        What the times mean; where faults go.

    Returns
    -------
    GridRows or None
        None when no row can be placed.
    """
    written, good, is_utc = _written_times(table, column, mapping.time, faults)
    if not good.any():
        return None
    instants = written
    if not is_utc and mapping.time.clock == "local":
        changes = zone_table(mapping.zone, int(written[good].min()), int(written[good].max()))
        instants, good = _resolve(written, good, series, has_value, changes, faults)
    elif not is_utc and mapping.time.clock != "UTC":
        instants = written - _offset_us(mapping.time.clock)
    step = mapping.interval_s * MICROSECONDS
    if mapping.time.names == "end":
        instants = instants - step
    rows = np.flatnonzero(good)
    if len(rows) == 0:
        return None
    changes = zone_table(mapping.zone, int(instants[rows].min()), int(instants[rows].max()))
    days = civil_days_of(instants[rows], changes)
    for day in days.days:
        try:
            CivilDay(day, mapping.zone).interval_count(mapping.interval_s)
        except QuantityError as fault:
            faults.log.error(None, "interval_length", fault.message, "an interval that divides every day")
            return None
    keep = days.offset_us % step == 0
    _report_off_grid(rows[~keep], has_value, mapping, faults)
    rows = rows[keep]
    if len(rows) == 0:
        return None
    _report_unsorted(instants[rows], series[rows], rows, faults)
    used, index = np.unique(days.index[keep], return_inverse=True)
    kept = DayColumn([days.days[i] for i in used], index.astype(np.int64), days.offset_us[keep])
    return GridRows(rows, kept, kept.offset_us // step)


def _written_times(table: Table, name: str, part: TimePart, faults: RowFaults) -> tuple[Int64, Mask, bool]:
    """Written microseconds of each row, which rows have a time, and whether they are UTC already."""
    column = table.columns[name]
    nothing = np.zeros(len(column), np.int64), np.zeros(len(column), np.bool_), True
    if pa.types.is_timestamp(column.type):
        try:
            micros = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
        except pa.ArrowInvalid:
            faults.log.error(None, "time", "times finer than a microsecond", "whole microseconds")
            return nothing
        times = np.array(pc.fill_null(micros, 0).to_numpy(zero_copy_only=False), np.int64)
        given = np.array(pc.is_valid(column).to_numpy(zero_copy_only=False), np.bool_)
        years = times // (31_556_952 * MICROSECONDS) + 1970
        for row in np.flatnonzero(~given | (years < FIRST_YEAR) | (years >= LAST_YEAR)):
            given[row] = False
            faults.report(int(row), "time", "no time in the row", f"a time of {FIRST_YEAR} to {LAST_YEAR}")
        return times, given, column.type.tz is not None
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        faults.log.error(None, "time", f"the time column is of type {column.type}", "a timestamp or text")
        return nothing
    text = text_column(column)
    times, states = np.zeros(len(column), np.int64), np.zeros(len(column), np.int8)
    parse_times(text.data, text.starts, text.ends, compile_format(part.format), times, states)
    for row in np.flatnonzero(states != GOOD):
        index, line = int(row), faults.line(int(row))
        if table.data and not table.lines_text(line, line).strip():
            faults.bad[index] = True
            faults.log.warning(line, "blank_line", "a blank line", "no blank lines")
        else:
            faults.report(index, "time", f"{text.text(index)!r} is not a time", f"the format {part.format}")
    return times, states == GOOD, "%z" in part.format


def _offset_us(clock: str) -> int:
    sign = -1 if clock[0] == "-" else 1
    return sign * (int(clock[1:3]) * 60 + int(clock[4:6])) * 60 * MICROSECONDS


def _resolve(
    written: Int64, good: Mask, series: Int64, has_value: Mask, changes: ZoneTable, faults: RowFaults
) -> tuple[Int64, Mask]:
    """Instants of local times: of twice-written ones by the order of the rows of a series."""
    first, second, kinds = changes.instants(written)
    instants, log = first.copy(), faults.log
    never = np.flatnonzero(good & (kinds == NEVER))
    good = good & (kinds != NEVER)
    empty = never[~has_value[never]]
    if len(empty):
        message = "empty rows in the hour that the clock skips"
        log.warning(faults.line(int(empty[0])), "spring_hour", message, "none", len(empty))
    for row in never[has_value[never]]:
        message = "a value in the hour that the clock skips in spring"
        if log.deviation(faults.line(int(row)), "spring_hour", message, "no such time"):
            faults.bad[row] = True
    twice = np.flatnonzero(good & (kinds == TWICE))
    seen: dict[tuple[int, int], int] = {}
    for row in twice:
        key = (int(series[row]), int(written[row]))
        seen[key] = seen.get(key, 0) + 1
        if seen[key] == 2:
            instants[row] = second[row]
    once = sum(count == 1 for count in seen.values())
    if once:
        message = f"{once} times of the autumn hour are there once and were taken for summer time"
        log.warning(faults.line(int(twice[0])), "autumn_hour", message, "each of them twice", once)
    return instants, good


def _report_off_grid(rows: Int64, has_value: Mask, mapping: Mapping, faults: RowFaults) -> None:
    if len(rows) == 0:
        return
    if mapping.time.off_grid == "drop":
        valued = int(has_value[rows].sum())
        message = f"{len(rows)} rows between intervals were left out, {valued} with a value"
        faults.log.warning(faults.line(int(rows[0])), "off_grid", message, "times on the grid", len(rows))
        return
    expected = f"a multiple of {mapping.interval_s} s from midnight"
    for row in rows:
        faults.report(int(row), "off_grid", "a time between two intervals", expected)


def _report_unsorted(instants: Int64, series: Int64, rows: Int64, faults: RowFaults) -> None:
    order = np.argsort(series, kind="stable")
    back = (np.diff(instants[order]) < 0) & (np.diff(series[order]) == 0)
    if back.any():
        row = int(rows[order[np.flatnonzero(back)[0] + 1]])
        count = int(back.sum())
        faults.log.warning(faults.line(row), "unsorted", "times that go back", "rows in order", count)

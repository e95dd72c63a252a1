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
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from openami.mdm.formats.diagnostics import DiagnosticLog, ImportResult, Policy, Refused
from openami.mdm.formats.exact_numbers import Int64
from openami.mdm.formats.mapping import ChannelPart, Mapping
from openami.mdm.formats.table_columns import Table, find_column, read_csv, read_parquet
from openami.mdm.formats.table_times import GridRows, Mask, RowFaults, rows_on_grid
from openami.mdm.formats.table_values import Numbers, column_numbers, counts_of
from openami.quantities.civil_time import CivilDay
from openami.quantities.status import MISSING, VALID
from openami.quantities.units import Quantum
from openami.readings.evidence import Evidence
from openami.readings.interval_block import IntervalBlock

_EVIDENCE_LINES = 400
"""Lines of which the text is kept in one piece of evidence."""


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

    Invariant: no block is made of a series and day that a faulty row belongs to.
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
        self.faults = RowFaults(log, table.lines)
        self.evidence: dict[tuple[int, int], Evidence] = {}
        self.refused: list[Refused] = []

    def read(self) -> ImportResult:
        blocks: list[IntervalBlock] = []
        time_name = find_column(self.table, self.mapping.time.column, "time", self.log, self.policy)
        series = self._series()
        channels = self._channels(time_name)
        self._check_last_line()
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
            refused=tuple(sorted(self.refused, key=lambda part: part.first)),
        )

    def _check_last_line(self) -> None:
        """A last line that is not closed may be cut: 24.5 may have been 24.53."""
        data, lines = self.table.data, self.table.lines
        if not data or data.endswith(b"\n") or len(lines) == 0:
            return
        last = len(self.table.line_starts)
        refused = self.log.deviation(
            last, "truncated", "the last line is not closed: the file may be cut", "a line break"
        )
        if refused and lines[-1] == last:
            self.faults.bad[-1] = True

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
                self.faults.report(int(row), "series", "no series in the row", "the id of a meter")
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

    # -- blocks ----------------------------------------------------------------------------------

    def _blocks(
        self,
        time_name: str,
        series: tuple[list[str], Int64],
        channels: list[tuple[str, ChannelPart, str | None]],
    ) -> list[IntervalBlock]:
        (names, index), table, mapping = series, self.table, self.mapping
        columns = [
            column_numbers(table, name, channel, mapping, RowFaults(self.log, table.lines))
            for name, channel, _ in channels
        ]
        has_value: Mask = np.logical_or.reduce([numbers.given for numbers in columns])
        grid = rows_on_grid(table, time_name, index, has_value, mapping, self.faults)
        if grid is None:
            return []
        plan = Plan.of(grid, index[grid.rows], mapping)
        blocks: list[IntervalBlock] = []
        for numbers, (_, channel, only) in zip(columns, channels, strict=True):
            counts, quantum = counts_of(numbers, channel, mapping, grid.rows)
            owners = [only] if only is not None else names
            blocks.extend(self._column_blocks(plan, numbers, counts, quantum, channel, owners))
        return blocks

    def _column_blocks(
        self,
        plan: Plan,
        numbers: Numbers,
        counts: Int64,
        quantum: Quantum,
        channel: ChannelPart,
        owners: list[str],
    ) -> Iterator[IntervalBlock]:
        rows, lines = plan.rows, self.table.lines
        bad = (self.faults.bad | numbers.faults.bad)[rows]
        spoiled: Mask = np.zeros(len(plan.day), np.bool_)
        spoiled[plan.group[bad]] = True
        taken = numbers.given[rows] & ~bad
        places, owned = plan.position[taken], rows[taken]
        dense = np.zeros(plan.size, np.int64)
        filled: Mask = np.zeros(plan.size, np.bool_)
        dense[places] = counts[owned]
        filled[places] = True
        self._duplicates(plan, places, owned, counts, dense, filled, spoiled)
        for k, day in enumerate(plan.day):
            first, last = int(lines[plan.first[k]]), int(lines[plan.last[k]])
            if spoiled[k]:
                name = owners[int(plan.series[k])]
                self.refused.append(Refused(first, last, f"{channel.obis} of {name} on {day.day}"))
                continue
            here = slice(int(plan.offset[k]), int(plan.offset[k] + plan.count[k]))
            whole = bool(filled[here].all())
            yield IntervalBlock(
                series_id=owners[int(plan.series[k])],
                channel=channel.obis,
                day=day,
                interval_s=self.mapping.interval_s,
                quantum=quantum,
                values=dense[here],
                captured_at=self.captured_at,
                status=None if whole else np.where(filled[here], VALID, MISSING).astype(np.int32),
                evidence_id=self._evidence(first, last),
            )

    def _duplicates(
        self,
        plan: Plan,
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
        repeated = np.flatnonzero(times[places] > 1)
        order = repeated[np.argsort(places[repeated], kind="stable")]
        again = order[1:][np.diff(places[order]) == 0]
        conflicting: Mask = np.zeros(plan.size, np.bool_)
        conflicting[places[order][counts[owned[order]] != dense[places[order]]]] = True
        same = again[~conflicting[places[again]]]
        if len(same):
            line = int(lines[owned[same].min()])
            message = f"{len(same)} rows that repeat another"
            self.log.warning(line, "duplicate", message, "each interval once", len(same))
        for place in np.flatnonzero(conflicting):
            where = lines[owned[order[places[order] == place]]]
            group = int(np.searchsorted(plan.offset, place, "right") - 1)
            filled[place], dense[place] = False, 0
            message = f"another value for an interval of {plan.day[group].day} than in line {where[0]}"
            if self.log.deviation(int(where[1]), "conflicting_duplicate", message, "one value"):
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
class Plan:
    """Where the rows of a grid go: the blocks of all series and days, laid end to end.

    ``rows[i]`` of the table belongs to block ``group[i]``, at ``position[i]`` of ``size``. Per block, in
    order of series and day: ``day``, ``series``, ``offset`` and ``count`` of its places, ``first`` and
    ``last`` of its rows.
    """

    rows: Int64
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
    def of(cls, grid: GridRows, series: Int64, mapping: Mapping) -> Plan:
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
            rows=grid.rows,
            group=group.astype(np.int64),
            position=offset[group] + grid.slots,
            day=[days[int(key) % per_day] for key in keys],
            series=keys // per_day,
            offset=offset,
            count=count,
            first=grid.rows[order[bounds[:-1]]],
            last=grid.rows[order[bounds[1:] - 1]],
            size=int(count.sum()),
        )

"""Reading rows back: which files and row groups a question needs, and nothing else of them.

Rule: a question sees the rows of committed batches up to its ``as_of``, whatever else lies in the
folder. A file that cannot be read, or whose page checksums do not match, is an error that names it,
never a shorter answer.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openami.mdm.stores.tables import FileEntry, TableDefinition, footer_checksum, utc_day
from openami.quantities.errors import StoreError

_KEPT_FOOTERS = 4096
_PROBED_GROUPS = 4
_FILTERED_AT_ONCE = 65_536
_KEPT_COLUMNS = 512


@dataclass(frozen=True, slots=True)
class Selection:
    """What is asked of a table.

    Parameters
    ----------
    as_of:
        Rows of later commits are not seen.
    series:
        Values of the table's series column, sorted; None for all.
    first, last:
        Bounds (inclusive) of the table's time column: dates or instants, as the column is.
    among:
        Further columns and the values wanted of each.
    """

    as_of: int
    series: tuple[str, ...] | None = None
    first: date | None = None
    last: date | None = None
    among: tuple[tuple[str, tuple[object, ...]], ...] = ()

    def may_hold(self, entry: FileEntry) -> bool:
        """False when a file can hold no row of this selection."""
        if entry.first_seq > self.as_of:
            return False
        if self.first is not None and _is_before(entry.last_time, self.first):
            return False
        if self.last is not None and _is_before(self.last, entry.first_time):
            return False
        return _touches(self.series, entry.first_series, entry.last_series)


@dataclass(frozen=True, slots=True)
class _RowGroup:
    index: int
    first_series: str | None
    last_series: str | None
    first_time: date | None
    last_time: date | None

    def may_hold(self, selection: Selection) -> bool:
        first, last = selection.first, selection.last
        if first is not None and self.last_time is not None and _is_before(self.last_time, first):
            return False
        if last is not None and self.first_time is not None and _is_before(last, self.first_time):
            return False
        if self.first_series is None or self.last_series is None:
            return True
        return _touches(selection.series, self.first_series, self.last_series)


@dataclass(frozen=True, slots=True)
class _Footer:
    metadata: pq.FileMetaData
    groups: tuple[_RowGroup, ...]


class _Conditions:
    """A selection as Arrow sees it; made once a question, for Arrow is slow to take in a Python value."""

    def __init__(self, selection: Selection, definition: TableDefinition) -> None:
        self._selection = selection
        types = {field.name: field.type for field in definition.schema}
        moment = definition.time_column
        self._as_of = ("seq", pc.less_equal, pa.scalar(selection.as_of))
        self._others: list[tuple[str, Callable[..., pa.ChunkedArray], pa.Scalar | pa.Array]] = []
        if selection.series is not None:
            self._others.append(_among(definition.series_column, selection.series, types))
        if selection.first is not None:
            first = pa.scalar(selection.first, types[moment])
            self._others.append((moment, pc.greater_equal, first))
        if selection.last is not None:
            self._others.append((moment, pc.less_equal, pa.scalar(selection.last, types[moment])))
        self._others += [_among(column, values, types) for column, values in selection.among]
        self._columns = sorted({"seq", *(column for column, _, _ in self._others)})

    def hold_for_all(self, entry: FileEntry) -> bool:
        """True when the statistics of a file say that every row of it is asked for."""
        selection = self._selection
        return (
            entry.last_seq <= selection.as_of
            and selection.series is None
            and not selection.among
            and (selection.first is None or _within(selection.first, entry.first_time))
            and (selection.last is None or _within(entry.last_time, selection.last))
        )

    def hold_for_any(self, file: pq.ParquetFile, group: int) -> bool:
        """True when some row of a row group is asked for; reads only the columns that tell."""
        mask = self._mask(file.read_row_group(group, columns=self._columns, use_threads=False))
        return bool(pc.any(mask).as_py())

    def filter(self, table: pa.Table) -> pa.Table:
        """The rows that are asked for."""
        return table.filter(self._mask(table))

    def _mask(self, table: pa.Table) -> pa.ChunkedArray:
        column, compare, value = self._as_of
        mask = compare(table[column], value)
        for column, compare, value in self._others:
            mask = pc.and_(mask, compare(table[column], value))
        return mask


class TableReader:
    """Reads the files of one table; keeps footers and identity columns of files it has seen.

    Invariant: what is kept never goes stale, for a file never changes under its name.
    """

    def __init__(self, folder: Path, definition: TableDefinition) -> None:
        self.folder = folder
        self.definition = definition
        self._footers: _Kept[str, _Footer] = _Kept(_KEPT_FOOTERS)
        self._columns: _Kept[tuple[str, str], pa.Array] = _Kept(_KEPT_COLUMNS)

    def select(
        self, entries: Iterable[FileEntry], selection: Selection, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Rows of the files that a selection asks for, in the order of the files.

        Parameters
        ----------
        columns:
            Columns of the answer; None for all. Must hold those the selection speaks of.

        Raises
        ------
        StoreError
            A file cannot be read; it is named.
        FileNotFoundError
            A file is gone (it was compacted away after the list of files was made).
        """
        conditions = _Conditions(selection, self.definition)
        found: list[pa.Table] = []
        waiting: list[pa.Table] = []
        for entry in entries:
            if not selection.may_hold(entry):
                continue
            rows = self._rows(entry, selection, conditions, columns)
            if rows is None:
                continue
            if conditions.hold_for_all(entry):
                found.append(rows)
                continue
            # Many small pieces are filtered together: a call of Arrow costs more than the rows of one.
            waiting.append(rows)
            if sum(part.num_rows for part in waiting) > _FILTERED_AT_ONCE:
                found.append(conditions.filter(pa.concat_tables(waiting)))
                waiting = []
        if waiting:
            found.append(conditions.filter(pa.concat_tables(waiting)))
        if not found:
            empty: pa.Table = self.definition.schema.empty_table()
            return empty if columns is None else empty.select(list(columns))
        return pa.concat_tables(found)

    def rows_by_id(self, entries: Iterable[FileEntry], ids: Collection[str], as_of: int) -> pa.Table:
        """Rows with these identities, in the order of the files.

        Raises
        ------
        StoreError, FileNotFoundError
            As `select`.
        """
        wanted = pa.array(sorted(set(ids)), pa.string())
        parts = []
        for entry in entries:
            if entry.first_seq > as_of:
                continue
            found = pc.is_in(self.column(entry, self.definition.id_column), value_set=wanted)
            if not pc.any(found).as_py():
                continue
            with self._reading(entry) as file:
                indices = pc.indices_nonzero(found).to_numpy()
                parts.append(_take_rows(file, indices))
        if not parts:
            return self.definition.schema.empty_table()
        table = pa.concat_tables(parts)
        return table.filter(pc.less_equal(table["seq"], as_of))

    def column(self, entry: FileEntry, name: str) -> pa.Array:
        """One column of a file, whole; kept for the next time.

        Raises
        ------
        StoreError, FileNotFoundError
            As `select`.
        """

        def load() -> pa.Array:
            with self._reading(entry) as file:
                return file.read(columns=[name], use_threads=False)[name].combine_chunks()

        return self._columns.get((entry.path, name), load)

    def _rows(
        self,
        entry: FileEntry,
        selection: Selection,
        conditions: _Conditions,
        columns: Sequence[str] | None,
    ) -> pa.Table | None:
        """Rows of the row groups that may hold some of the selection; None when there is no such group."""
        with self._reading(entry) as file:
            footer = self._footers.get(entry.path, lambda: _footer(file.metadata, self.definition))
            groups = [group.index for group in footer.groups if group.may_hold(selection)]
            if len(groups) > _PROBED_GROUPS and not conditions.hold_for_all(entry):
                groups = [group for group in groups if conditions.hold_for_any(file, group)]
            if not groups:
                return None
            return file.read_row_groups(
                groups, columns=None if columns is None else list(columns), use_threads=len(groups) > 8
            )

    def _reading(self, entry: FileEntry) -> _Reading:
        return _Reading(self.folder / entry.path, self._footers.peek(entry.path))


class _Reading:
    """An open Parquet file; whatever goes wrong while it is open becomes a `StoreError` that names it."""

    def __init__(self, path: Path, footer: _Footer | None) -> None:
        self._path = path
        self._footer = footer
        self._file: pq.ParquetFile | None = None

    def __enter__(self) -> pq.ParquetFile:
        try:
            if self._footer is None:
                _check_footer(self._path)
            # Not memory-mapped: a bad sector is then an error of read(2) and not a SIGBUS.
            self._file = pq.ParquetFile(
                pa.OSFile(str(self._path)),
                metadata=None if self._footer is None else self._footer.metadata,
                page_checksum_verification=True,
                pre_buffer=False,
            )
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise self._broken(error) from error
        return self._file

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if self._file is not None:
            self._file.close(force=True)
        if isinstance(error, (OSError, pa.ArrowException)):
            raise self._broken(error) from error

    def _broken(self, error: BaseException) -> StoreError:
        return StoreError(
            f"the file cannot be read: {error}",
            where=str(self._path),
            expected="the Parquet file as it was written (restore it from a copy)",
        )


def _check_footer(path: Path) -> None:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 8, 0))
        length = int.from_bytes(file.read(4), "little") + 8
        file.seek(max(size - length, 0))
        checksum = footer_checksum(file.read())
    if f"{checksum:08x}" != path.stem.rpartition("-")[2]:
        raise pa.ArrowInvalid("the footer does not match its checksum")


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class _Kept(Generic[_Key, _Value]):
    """The values used last.

    Invariant: at most ``limit`` of them; safe to be used by several threads.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[_Key, _Value] = OrderedDict()
        self._lock = threading.Lock()

    def peek(self, key: _Key) -> _Value | None:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def get(self, key: _Key, load: Callable[[], _Value]) -> _Value:
        found = self.peek(key)
        if found is None:
            found = load()
            with self._lock:
                self._values[key] = found
                while len(self._values) > self._limit:
                    self._values.popitem(last=False)
        return found


def _touches(series: tuple[str, ...] | None, first: str, last: str) -> bool:
    if series is None:
        return True
    place = bisect_left(series, first)
    return place < len(series) and series[place] <= last


def _footer(metadata: pq.FileMetaData, definition: TableDefinition) -> _Footer:
    places = {name: place for place, name in enumerate(_leaves(metadata))}
    series, moment = places[definition.series_column], places[definition.time_column]
    groups = []
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        names, times = group.column(series).statistics, group.column(moment).statistics
        known_names = names is not None and names.has_min_max
        known_times = times is not None and times.has_min_max
        groups.append(
            _RowGroup(
                index,
                names.min if known_names else None,
                names.max if known_names else None,
                times.min if known_times else None,
                times.max if known_times else None,
            )
        )
    return _Footer(metadata, tuple(groups))


def _leaves(metadata: pq.FileMetaData) -> list[str]:
    schema = metadata.schema
    return [schema.column(index).path for index in range(len(schema))]


def _take_rows(file: pq.ParquetFile, indices: Sequence[int]) -> pa.Table:
    """Rows by their place in the file, reading only the row groups they lie in."""
    parts = []
    start = 0
    rest = list(indices)
    for group in range(file.metadata.num_row_groups):
        end = start + file.metadata.row_group(group).num_rows
        inside = [int(index) - start for index in rest if start <= index < end]
        if inside:
            parts.append(file.read_row_group(group, use_threads=False).take(inside))
        start = end
    return pa.concat_tables(parts)


def _among(
    column: str, values: Sequence[object], types: Mapping[str, pa.DataType]
) -> tuple[str, Callable[..., pa.ChunkedArray], pa.Scalar | pa.Array]:
    if len(values) == 1:
        return column, pc.equal, pa.scalar(values[0], types[column])
    return column, _is_in, pa.array(list(values), types[column])


def _is_in(column: pa.ChunkedArray, values: pa.Array) -> pa.ChunkedArray:
    return pc.is_in(column, value_set=values)


def _is_before(one: date, other: date) -> bool:
    """True when ``one`` is certainly before ``other``; a date and an instant are compared by their days."""
    if isinstance(one, datetime) and isinstance(other, datetime):
        return one < other
    return utc_day(one) < utc_day(other)


def _within(one: date, other: date) -> bool:
    """True when ``one`` is not after ``other``; a date and an instant are not compared."""
    return isinstance(one, datetime) == isinstance(other, datetime) and one <= other

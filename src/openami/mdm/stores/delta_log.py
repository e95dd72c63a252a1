"""The transaction log of one Delta table (delta.io protocol: "Delta Log Entries", "Action Reconciliation").

Log entries are written here and not through `DeltaTable.create_write_transaction`, because deltalake
syncs nothing: it names an entry before its bytes are on disk, and a power cut then leaves an empty last
entry, with which no Delta reader opens the table any more. Everything else is deltalake's: it creates
the table's first entry, replays the log when a table is opened, and writes the checkpoints (in a scratch
folder, from where they are published). Rule: an entry is complete and synced before it has its name.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from openami.mdm.stores.durable_files import DurableFiles, publish, republish
from openami.mdm.stores.tables import FileEntry, TableDefinition
from openami.quantities.errors import StoreError

CHECKPOINT_EVERY = 50
"""Log entries between checkpoints; deltalake replays an entry in about 0.3 ms."""

_ACTIONS = frozenset({"commitInfo", "add", "remove", "protocol", "metaData", "txn", "cdc", "domainMetadata"})


class DeltaLog:
    """The files of one Delta table as of the last `refresh`, and the only way to change them.

    Invariant: `files` is what the log says up to `version`; it is replaced, never changed. Whoever calls
    `append` or `rewrite` holds the store's write lock. ``generation`` counts how often the log was found
    to be another one than was read (a last entry that failed and was taken back; a restored copy).
    """

    def __init__(self, folder: Path, definition: TableDefinition, files: DurableFiles) -> None:
        self.folder = folder
        self.definition = definition
        self._durable = files
        self._log = folder / "_delta_log"
        self._lock = threading.Lock()
        self.generation = 0
        self.version, self.files = self._load()
        self._stamp = _stamp(_entry(self._log, self.version))
        self._checkpoint_version = _checkpoint_version(self._log)

    @staticmethod
    def exists(folder: Path) -> bool:
        """True when the folder holds a Delta table."""
        return _entry(folder / "_delta_log", 0).exists()

    @classmethod
    def create(cls, folder: Path, definition: TableDefinition, files: DurableFiles) -> None:
        """Create an empty table; one that is there already is left alone."""
        if cls.exists(folder):
            return
        with tempfile.TemporaryDirectory(prefix="openami-") as scratch:
            DeltaTable.create(
                scratch,
                definition.delta_schema,
                partition_by=definition.partition_by,
                configuration={"delta.appendOnly": "true"},
            )
            first = _entry(Path(scratch) / "_delta_log", 0).read_bytes()
        lines = [orjson.loads(line) for line in first.splitlines()]
        for line in lines:
            # deltalake notes the scratch folder it wrote to; the table lives elsewhere.
            line.get("commitInfo", {}).get("operationParameters", {}).pop("location", None)
        files.make_folder(folder)
        files.sync_folder(folder.parent)
        files.make_folder(folder / "_delta_log")
        files.sync_folder(folder)
        publish(
            files, _entry(folder / "_delta_log", 0), b"".join(orjson.dumps(line) + b"\n" for line in lines)
        )

    @property
    def state(self) -> tuple[int, int]:
        """Generation and version: what `files` are as of."""
        return self.generation, self.version

    @property
    def log_folder(self) -> Path:
        """Where the log entries lie."""
        return self._log

    def path(self, entry: FileEntry) -> Path:
        """Where a file of the table lies."""
        return self.folder / entry.path

    def refresh(self) -> bool:
        """Take in the log entries written since; True when there were any.

        Raises
        ------
        StoreError
            A log entry cannot be read; it is named.
        """
        with self._lock:
            if _stamp(_entry(self._log, self.version)) != self._stamp:
                self.version, self.files = self._load()
                self._stamp = _stamp(_entry(self._log, self.version))
                self.generation += 1
                return True
            found = False
            while (stamp := _stamp(entry := _entry(self._log, self.version + 1))) is not None:
                files = dict(self.files)
                self._apply(entry, files)
                self.files = files
                self.version += 1
                self._stamp = stamp
                found = True
            return found

    def append(self, added: Sequence[FileEntry]) -> None:
        """Add files, in one log entry."""
        self._write("WRITE", [_add(entry, self.definition, data_change=True) for entry in added])

    def rewrite(self, added: Sequence[FileEntry], removed: Sequence[FileEntry]) -> None:
        """Replace files by others with the same visible rows, in one log entry."""
        now = int(time.time() * 1000)
        actions: list[Mapping[str, object]] = [
            {
                "remove": {
                    "path": entry.path,
                    "deletionTimestamp": now,
                    "dataChange": False,
                    "extendedFileMetadata": True,
                    "partitionValues": _partition(entry, self.definition),
                    "size": entry.size,
                }
            }
            for entry in removed
        ]
        actions += [_add(entry, self.definition, data_change=False) for entry in added]
        self._write("OPTIMIZE", actions)

    def sync(self) -> None:
        """Make the names of all log entries durable, also those of a writer that died before it did."""
        self._durable.sync_folder(self._log)

    def sync_foundations(self) -> None:
        """Make the folders that lead to the log durable, also those a writer made that died."""
        self._durable.sync_folder(self.folder.parent)
        self._durable.sync_folder(self.folder)
        self.sync()

    def checkpoint_when_due(self) -> None:
        """Write a checkpoint when `CHECKPOINT_EVERY` entries were written since the last one.

        Raises
        ------
        OSError, StoreError
            It could not be written; the table is as readable as before.
        """
        if self.version - self._checkpoint_version < CHECKPOINT_EVERY:
            return
        with tempfile.TemporaryDirectory(prefix="openami-") as scratch:
            copy = Path(scratch) / "_delta_log"
            copy.mkdir()
            last = self._log / "_last_checkpoint"
            since = 0
            if last.exists():
                since = _checkpoint_version(self._log)
                (copy / last.name).write_bytes(last.read_bytes())
                (copy / _checkpoint(since)).write_bytes((self._log / _checkpoint(since)).read_bytes())
            for version in range(since, self.version + 1):
                name = _entry(self._log, version).name
                (copy / name).write_bytes((self._log / name).read_bytes())
            try:
                DeltaTable(scratch).create_checkpoint()
            except DeltaError as error:
                raise StoreError(f"no checkpoint could be written: {error}", where=str(self._log)) from error
            parquet = self._log / _checkpoint(self.version)
            republish(self._durable, parquet, (copy / parquet.name).read_bytes())
            republish(self._durable, last, (copy / last.name).read_bytes())
        self._checkpoint_version = self.version

    def _write(self, operation: str, actions: Sequence[Mapping[str, object]]) -> None:
        info = {
            "commitInfo": {
                "timestamp": int(time.time() * 1000),
                "operation": operation,
                "operationParameters": {"mode": "Append"},
                "engineInfo": "openami",
            }
        }
        entry = _entry(self._log, self.version + 1)
        try:
            publish(self._durable, entry, b"".join(orjson.dumps(line) + b"\n" for line in (info, *actions)))
        except FileExistsError:
            raise StoreError(
                "the log entry was taken by another writer",
                where=str(entry),
                expected="openami alone writes to its store; put the batch again",
            ) from None
        self.refresh()

    def _load(self) -> tuple[int, dict[str, FileEntry]]:
        """Replay the log: what a checkpoint holds by deltalake, the entries after it as `refresh` does."""
        version = _checkpoint_version(self._log)
        try:
            table = DeltaTable(self.folder, version=version)
            actions = pa.table(table.get_add_actions(flatten=True))
        except (DeltaError, OSError, ValueError) as error:
            raise StoreError(
                f"the Delta log cannot be read: {error}", where=self._fault(), expected="a complete log"
            ) from error
        series, moment = self.definition.series_column, self.definition.time_column
        files = {}
        for row in actions.to_pylist():
            files[row["path"]] = FileEntry(
                path=row["path"],
                size=row["size_bytes"],
                rows=row["num_records"],
                month=row.get("partition.month", ""),
                first_seq=row["min.seq"],
                last_seq=row["max.seq"],
                first_series=row[f"min.{series}"],
                last_series=row[f"max.{series}"],
                first_time=row[f"min.{moment}"],
                last_time=row[f"max.{moment}"],
            )
        while (entry := _entry(self._log, version + 1)).exists():
            self._apply(entry, files)
            version += 1
        return version, files

    def _apply(self, entry: Path, files: dict[str, FileEntry]) -> None:
        try:
            lines = entry.read_bytes().splitlines()
            if not lines:
                raise ValueError("the log entry is empty")
            for line in lines:
                action = orjson.loads(line)
                if unknown := set(action) - _ACTIONS:
                    raise ValueError(f"unknown action {unknown.pop()!r}")
                if added := action.get("add"):
                    files[added["path"]] = _entry_of(added, self.definition)
                elif removed := action.get("remove"):
                    files.pop(removed["path"], None)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"the log entry cannot be read: {error}", where=str(entry), expected="JSON lines of actions"
            ) from error

    def _fault(self) -> str:
        """The first file of the log that cannot be read; the log's folder when each can."""
        if not self._log.is_dir():
            return str(self._log)
        for path in sorted(self._log.iterdir()):
            try:
                if path.name.endswith(".checkpoint.parquet"):
                    pq.ParquetFile(path).read()
                elif path.suffix == ".json":
                    lines = path.read_bytes().splitlines()
                    if not [orjson.loads(line) for line in lines]:
                        return str(path)
            except (OSError, ValueError, pa.ArrowException):
                return str(path)
        return str(self._log)


def _entry(log: Path, version: int) -> Path:
    return log / f"{version:020d}.json"


def _stamp(path: Path) -> tuple[int, int] | None:
    """What tells a file from another of the same name; None where there is none."""
    try:
        about = path.stat()
    except FileNotFoundError:
        return None
    return about.st_ino, about.st_mtime_ns


def _checkpoint(version: int) -> str:
    return f"{version:020d}.checkpoint.parquet"


def _checkpoint_version(log: Path) -> int:
    with contextlib.suppress(OSError, ValueError, KeyError):
        return int(orjson.loads((log / "_last_checkpoint").read_bytes())["version"])
    return 0


def _partition(entry: FileEntry, definition: TableDefinition) -> dict[str, str]:
    return {"month": entry.month} if definition.partitioned else {}


def _add(entry: FileEntry, definition: TableDefinition, *, data_change: bool) -> dict[str, object]:
    series, moment = definition.series_column, definition.time_column
    statistics = {
        "numRecords": entry.rows,
        "minValues": {
            "seq": entry.first_seq,
            series: entry.first_series,
            moment: _lower(entry.first_time),
        },
        "maxValues": {"seq": entry.last_seq, series: entry.last_series, moment: _upper(entry.last_time)},
        "nullCount": {"seq": 0, series: 0, moment: 0},
    }
    return {
        "add": {
            "path": entry.path,
            "partitionValues": _partition(entry, definition),
            "size": entry.size,
            "modificationTime": int(time.time() * 1000),
            "dataChange": data_change,
            "stats": orjson.dumps(statistics).decode(),
        }
    }


def _entry_of(added: Mapping[str, Any], definition: TableDefinition) -> FileEntry:
    """A file from an ``add`` action of the log."""
    statistics = orjson.loads(added["stats"])
    low, high = statistics["minValues"], statistics["maxValues"]
    series, moment = definition.series_column, definition.time_column
    return FileEntry(
        path=added["path"],
        size=added["size"],
        rows=statistics["numRecords"],
        month=added["partitionValues"].get("month", ""),
        first_seq=low["seq"],
        last_seq=high["seq"],
        first_series=low[series],
        last_series=high[series],
        first_time=_time(low[moment]),
        last_time=_time(high[moment]),
    )


def _lower(value: date) -> str:
    """A time as Delta statistics write it: instants in whole milliseconds, never above the value."""
    if not isinstance(value, datetime):
        return value.isoformat()
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"


def _upper(value: date) -> str:
    """As `_lower`, never below the value."""
    if isinstance(value, datetime) and value.microsecond % 1000:
        value += timedelta(milliseconds=1)
    return _lower(value)


def _time(text: str) -> date:
    return datetime.fromisoformat(text) if "T" in text else date.fromisoformat(text)

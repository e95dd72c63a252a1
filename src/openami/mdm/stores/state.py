"""What the store knows of its folder: the logs, the commits, and what of it is visible.

Rule: the commits are read *before* the other tables. A table may then know more than the commits do
(which is invisible), never less (which would be half a batch).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from openami.mdm.stores.commits import Commit, DoorSide, commits_from_table
from openami.mdm.stores.delta_log import DeltaLog
from openami.mdm.stores.durable_files import DurableFiles
from openami.mdm.stores.scan import Selection, TableReader
from openami.mdm.stores.tables import COMMITS, DATA_TABLES, FileEntry, TableDefinition, months_between
from openami.quantities.errors import StoreError

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The visible files at one moment.

    Parameters
    ----------
    as_of:
        Last committed seq.
    files:
        By table and month: files with committed rows.
    """

    as_of: int
    files: Mapping[str, Mapping[str, tuple[FileEntry, ...]]]

    def entries(self, definition: TableDefinition, selection: Selection | None = None) -> list[FileEntry]:
        """Files of a table that may hold rows of a selection."""
        months = self.files[definition.name]
        if selection is None:
            return [entry for month in sorted(months) for entry in months[month]]
        names = sorted(months)
        if selection.first is not None and selection.last is not None:
            asked = set(months_between(selection.first, selection.last))
            names = [name for name in names if name in asked]
        return [entry for name in names for entry in months[name] if selection.may_hold(entry)]


class StoreState:
    """The logs and commits of one store folder, as of the last `refresh`.

    Invariant: `commits` holds exactly the batches whose commit entry was seen; a file counts as visible
    when all its rows belong to them.
    """

    def __init__(self, root: Path, files: DurableFiles) -> None:
        self.root = root
        self.durable = files
        self._mutex = threading.RLock()
        self._lock_path = root / ".lock"
        try:
            self._create()
            self.logs = {
                definition.name: DeltaLog(root / definition.name, definition, files)
                for definition in (COMMITS, *DATA_TABLES)
            }
        except OSError as error:
            raise StoreError(f"the store cannot be opened: {error}", where=str(root)) from error
        self.readers = {
            definition.name: TableReader(root / definition.name, definition)
            for definition in (COMMITS, *DATA_TABLES)
        }
        self.commits: dict[int, Commit] = {}
        self.by_batch: dict[str, Commit] = {}
        self._rows: dict[str, int] = {}
        self._read_commit_files: set[str] = set()
        self._visible: dict[str, tuple[int, int, dict[str, tuple[FileEntry, ...]]]] = {}
        self._taken_in = (-1, -1)
        self._synced_commits = -1
        self.durable_folders: set[Path] = set()
        self._snapshot: Snapshot | None = None
        self._snapshot_of: tuple[tuple[int, int], ...] = ()
        self.refresh()

    @property
    def commit_log(self) -> DeltaLog:
        """Log of the commits."""
        return self.logs[COMMITS.name]

    def refresh(self) -> Snapshot:
        """Take in what was committed since, by whomever; what is visible now.

        Raises
        ------
        StoreError
            A log or commit file cannot be read.
        """
        with self._mutex:
            self._refresh_commits()
            while True:
                # Only now: a table may know more than the commits do, never less.
                for definition in DATA_TABLES:
                    self.logs[definition.name].refresh()
                if not self._refresh_commits():
                    break
                # Once more: a compaction may have merged rows of the commits that came meanwhile.
            versions = tuple(log.state for log in self.logs.values())
            if self._snapshot is None or versions != self._snapshot_of:
                self._snapshot = Snapshot(
                    max(self.commits, default=0),
                    {definition.name: self._visible_files(definition) for definition in DATA_TABLES},
                )
                self._snapshot_of = versions
            return self._snapshot

    def read(self, question: Callable[[Snapshot], _Answer]) -> _Answer:
        """Answer from what is visible; again when a compaction took a file away meanwhile.

        Raises
        ------
        StoreError
            A file cannot be read, or is gone.
        """
        for attempt in range(5):
            snapshot = self.refresh()
            try:
                return question(snapshot)
            except FileNotFoundError as error:
                if attempt and self.refresh() is snapshot:
                    raise StoreError(
                        "a file of the store is gone", where=str(error.filename or error), expected="the file"
                    ) from error
        raise StoreError("the store is compacted faster than it can be read", where=str(self.root))

    @contextlib.contextmanager
    def writing(self) -> Iterator[Snapshot]:
        """Be the only writer, of all threads and processes, with all commits known and durable.

        Raises
        ------
        StoreError
            Storing failed; what the block wrote is not visible.
        """
        try:
            with self._locked():
                snapshot = self.refresh()
                self._harden()
                yield snapshot
        except OSError as error:
            raise StoreError(
                f"nothing could be stored: {error.strerror or error}",
                where=str(error.filename or self.root),
                expected="a writable folder with free space",
            ) from error

    def next_seq(self) -> int:
        """A number no batch has had, committed or not."""
        given = [entry.last_seq for log in self.logs.values() for entry in log.files.values()]
        return max([*self.commits, *given], default=0) + 1

    def take_in(self, commit: Commit, path: str) -> None:
        """Remember a commit this process wrote itself (``path``: its file)."""
        with self._mutex:
            self._read_commit_files.add(path)
            self._remember(commit)
            self._taken_in = self.commit_log.state
            self._synced_commits = self.commit_log.version

    def is_committed(self, entry: FileEntry) -> bool:
        """True when the rows of a file belong to committed batches."""
        return entry.first_seq != entry.last_seq or entry.first_seq in self.commits

    def _create(self) -> None:
        if DeltaLog.exists(self.root / COMMITS.name):
            return
        missing = [folder for folder in (self.root, *self.root.parents) if not folder.exists()]
        for folder in reversed(missing):
            self.durable.make_folder(folder)
            self.durable.sync_folder(folder.parent)
        with self._locked():
            # The commits come last: where they are, everything is.
            for definition in (*DATA_TABLES, COMMITS):
                DeltaLog.create(self.root / definition.name, definition, self.durable)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # flock belongs to the open file, so threads of one process exclude each other as processes do.
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _harden(self) -> None:
        """Sync what another writer named and perhaps died before syncing: receipts will rest on it."""
        if self._synced_commits < 0:
            self.durable.sync_folder(self.root.parent)
            for log in self.logs.values():
                log.sync_foundations()
        elif self._synced_commits != self.commit_log.version:
            self.commit_log.sync()
        self._synced_commits = self.commit_log.version

    def _refresh_commits(self) -> bool:
        """Take in commits made since; True when there were any."""
        log, reader = self.commit_log, self.readers[COMMITS.name]
        log.refresh()
        if self._taken_in == log.state:
            return False
        generation, _ = state = log.state
        if generation != self._taken_in[0]:
            self.commits, self.by_batch, self._rows, self._read_commit_files = {}, {}, {}, set()
            self._visible.clear()
            self._synced_commits = -1
        for path, entry in log.files.items():
            if path in self._read_commit_files:
                continue
            try:
                table = reader.select([entry], Selection(as_of=entry.last_seq))
            except FileNotFoundError as error:
                if log.refresh():
                    # It was folded into another and deleted meanwhile.
                    return self._refresh_commits()
                raise StoreError("a file of commits is gone", where=str(log.path(entry))) from error
            for commit in commits_from_table(table):
                self._remember(commit)
            self._read_commit_files.add(path)
        self._check_chain()
        # Only now: commits that could not be read are tried again by the next question.
        self._taken_in = state
        return True

    def _check_chain(self) -> None:
        """Every commit names the one before it, so none can be lost unnoticed."""
        previous = 0
        for seq in sorted(self.commits):
            if self.commits[seq].previous != previous:
                raise StoreError(
                    f"commit {seq} follows commit {self.commits[seq].previous}, which is not there",
                    where=str(self.commit_log.log_folder),
                    expected="the log as it was written (restore it from a copy)",
                )
            previous = seq

    def _remember(self, commit: Commit) -> None:
        if commit.seq in self.commits:
            return
        self.commits[commit.seq] = commit
        for table, rows in commit.rows.items():
            self._rows[table] = self._rows.get(table, 0) + rows
        if commit.door is DoorSide.RAW:
            self.by_batch[commit.batch_id] = commit

    def _visible_files(self, definition: TableDefinition) -> dict[str, tuple[FileEntry, ...]]:
        version, commits = self.logs[definition.name].version, len(self.commits)
        known = self._visible.get(definition.name)
        if known is not None and known[:2] == (version, commits):
            return known[2]
        months: dict[str, list[FileEntry]] = {}
        for entry in self.logs[definition.name].files.values():
            if self.is_committed(entry):
                months.setdefault(entry.month, []).append(entry)
        files = {
            month: tuple(sorted(entries, key=lambda one: (one.first_seq, one.path)))
            for month, entries in months.items()
        }
        rows = sum(entry.rows for entries in files.values() for entry in entries)
        if rows != self._rows.get(definition.name, 0):
            raise StoreError(
                f"{definition.name} has {rows} rows, its commits {self._rows.get(definition.name, 0)}",
                where=str(self.logs[definition.name].log_folder),
                expected="the log as it was written (restore it from a copy)",
            )
        self._visible[definition.name] = (version, commits, files)
        return files

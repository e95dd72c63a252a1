"""Upkeep: few large files instead of many small ones, and no file that nobody refers to.

Rows keep their ``seq``, so every answer as of every commit stays what it was. Rule: a log entry that
replaces files is written after the new file is durable; a file is deleted only when the log has not
referred to it for a while.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from datetime import timedelta

from openami.mdm.stores.scan import Selection
from openami.mdm.stores.state import StoreState
from openami.mdm.stores.tables import DATA_TABLES, FILE_ROWS, FileEntry, TableDefinition
from openami.mdm.stores.transaction import write_files
from openami.quantities.errors import StoreError

_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


def compact(state: StoreState, month: str) -> int:
    """Merge the files of a month in each table; returns how many files became fewer.

    Raises
    ------
    StoreError
        The month is none, or a file could not be read or written; the store is as before.
    """
    if _MONTH.fullmatch(month) is None:
        raise StoreError(f"{month!r} is not a month", expected="YYYY-MM")
    with state.writing():
        return sum(_compact_table(state, definition, month) for definition in DATA_TABLES)


def vacuum(state: StoreState, older_than: timedelta) -> int:
    """Delete files no table refers to, last written longer ago than ``older_than``; returns how many."""
    # The file system's time, whatever clock the store was given: it is what the files are stamped with.
    latest = time.time() - older_than.total_seconds()
    deleted = 0
    with state.writing():
        for log in state.logs.values():
            referred = {log.path(entry) for entry in log.files.values()}
            checkpoints = set((log.folder / "_delta_log").glob("*.parquet"))
            drafts = log.folder.rglob(".*.tmp")
            for path in sorted({*log.folder.rglob("*.parquet"), *drafts} - checkpoints - referred):
                if path.stat().st_mtime <= latest:
                    state.durable.remove(path)
                    deleted += 1
    return deleted


def _compact_table(state: StoreState, definition: TableDefinition, month: str) -> int:
    log, reader = state.logs[definition.name], state.readers[definition.name]
    last_commit = max(state.commits, default=0)
    here = [entry for entry in log.files.values() if entry.month == month]
    # Rows of a batch that died are left out, but only below the last commit: their number must not
    # become free again while nothing else remembers it.
    orphans = [entry for entry in here if not state.is_committed(entry) and entry.last_seq < last_commit]
    small = [entry for entry in here if state.is_committed(entry) and entry.rows < FILE_ROWS // 2]
    before = len(log.files)
    for group in _groups(small):
        if len(group) > 1:
            rows = reader.select(group, Selection(as_of=last_commit))
            merged = write_files(state, definition, rows, max(entry.last_seq for entry in group), [])
            log.rewrite(merged, group)
    if orphans:
        log.rewrite([], orphans)
    return before - len(log.files)


def _groups(entries: Sequence[FileEntry]) -> list[list[FileEntry]]:
    """Files to merge into one each, in the order they were written."""
    groups: list[list[FileEntry]] = []
    rows = 0
    for entry in sorted(entries, key=lambda one: (one.first_seq, one.path)):
        if not groups or rows + entry.rows > FILE_ROWS:
            groups.append([])
            rows = 0
        groups[-1].append(entry)
        rows += entry.rows
    return groups

"""Writing one batch: files, logs, and last of all the commit.

The order is the promise: (1) Parquet files, synced, with their folders; (2) a log entry in each table,
synced; (3) the commit's file and log entry, synced; only then is there a receipt. Whatever fails before
(3) leaves rows whose seq no commit speaks of, which nobody sees. Rule: no step moves past (3).
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from openami.mdm.stores.commits import Commit, commits_to_table
from openami.mdm.stores.state import StoreState
from openami.mdm.stores.tables import COMMITS, DATA_TABLES, FileEntry, TableDefinition, encode
from openami.quantities.errors import StoreError

_LOOSE_COMMIT_FILES = 32
_FULL_COMMIT_FILE = 1024


def write(state: StoreState, tables: Mapping[str, pa.Table], commit: Commit) -> None:
    """Write rows and their commit; durable on return.

    Parameters
    ----------
    tables:
        Rows by table name; each row's ``seq`` is the commit's.

    Raises
    ------
    OSError, StoreError
        Nothing of it is visible.
    """
    fold_commits(state)
    written: list[Path] = []
    try:
        added: list[tuple[TableDefinition, list[FileEntry]]] = []
        for definition in DATA_TABLES:
            rows = tables.get(definition.name)
            if rows is not None and rows.num_rows:
                added.append((definition, write_files(state, definition, rows, commit.seq, written)))
        last = write_files(state, COMMITS, commits_to_table([commit]), commit.seq, written)
        for definition, entries in added:
            state.logs[definition.name].append(entries)
        state.commit_log.append(last)
    except (OSError, StoreError):
        _discard(state, written)
        raise
    state.take_in(commit, last[0].path)
    for log in state.logs.values():
        # The batch is durable; a checkpoint only makes the next opening quicker.
        with contextlib.suppress(OSError, StoreError):
            log.checkpoint_when_due()


def _discard(state: StoreState, written: Sequence[Path]) -> None:
    """Remove the files of a put that failed, but for those a log entry came to speak of."""
    with contextlib.suppress(OSError, StoreError):
        referred = set()
        for log in state.logs.values():
            log.refresh()
            referred |= {log.path(entry) for entry in log.files.values()}
        for path in written:
            if path not in referred:
                state.durable.remove(path)


def write_files(
    state: StoreState, definition: TableDefinition, rows: pa.Table, seq: int, written: list[Path]
) -> list[FileEntry]:
    """Write rows as Parquet files, synced with the folders they lie in; their log is not touched.

    Parameters
    ----------
    written:
        Takes up the paths as they are begun, for whoever has to clean up.
    """
    durable, table_folder = state.durable, state.root / definition.name
    entries, folders = [], set()
    for encoded in encode(rows, definition, f"{seq:010d}-{secrets.token_hex(4)}"):
        path = table_folder / encoded.entry.path
        if path.parent not in state.durable_folders:
            # Also a folder that is there already: who made it may have died before it was durable.
            durable.make_folder(path.parent)
            durable.sync_folder(path.parent.parent)
            state.durable_folders.add(path.parent)
        written.append(path)
        durable.write(path, encoded.content)
        durable.sync_file(path)
        entries.append(encoded.entry)
        folders.add(path.parent)
    for folder in sorted(folders):
        durable.sync_folder(folder)
    return entries


def fold_commits(state: StoreState) -> None:
    """Merge the many one-row files of the commits table into one, when there are many."""
    log = state.commit_log
    loose = [entry for entry in log.files.values() if entry.rows < _FULL_COMMIT_FILE]
    if len(loose) < _LOOSE_COMMIT_FILES:
        return
    commits = [
        commit
        for entry in loose
        for seq in range(entry.first_seq, entry.last_seq + 1)
        if (commit := state.commits.get(seq)) is not None
    ]
    merged = write_files(state, COMMITS, commits_to_table(commits), commits[-1].seq, [])
    log.rewrite(merged, loose)

"""The few file operations the store is built of, so that a test can lose power between any two of them.

Rule: nothing is acknowledged before its bytes *and* the folder entries that lead to them were synced
(`fsync(2)`: "calling fsync() does not necessarily ensure that the entry in the directory containing the
file has also reached disk"). A name in the store is only ever given to bytes that are already on disk,
so no crash leaves half a file under a final name.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


class DurableFiles:
    """File operations of the operating system; every change the store makes goes through one of them."""

    def make_folder(self, folder: Path) -> None:
        """Create a folder (its parent exists); one that is there already is fine."""
        folder.mkdir(exist_ok=True)

    def write(self, path: Path, content: bytes) -> None:
        """Write a whole file, not yet synced.

        Raises
        ------
        OSError
            For instance ENOSPC; the file may then hold a part.
        """
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        finally:
            os.close(descriptor)

    def sync_file(self, path: Path) -> None:
        """Return when the bytes of a file are on disk."""
        _sync(path, os.O_RDONLY)

    def sync_folder(self, folder: Path) -> None:
        """Return when the entries of a folder are on disk."""
        _sync(folder, os.O_RDONLY | os.O_DIRECTORY)

    def link(self, existing: Path, name: Path) -> None:
        """Give a file a second name, which must be free.

        Raises
        ------
        FileExistsError
            The name is taken.
        """
        os.link(existing, name)

    def replace(self, existing: Path, name: Path) -> None:
        """Rename a file, replacing what had the name."""
        existing.replace(name)

    def remove(self, path: Path) -> None:
        """Remove a name."""
        path.unlink()


def publish(files: DurableFiles, path: Path, content: bytes) -> None:
    """Write a new file that appears under its name complete and durable, or not at all.

    Raises
    ------
    FileExistsError
        Another writer took the name.
    OSError
        The file could not be written; the name is free.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        files.write(draft, content)
        files.sync_file(draft)
        files.link(draft, path)
        try:
            files.sync_folder(path.parent)
        except OSError:
            # The name was given but may not survive; whoever is told of a failure must not see it.
            files.remove(path)
            raise
    finally:
        with contextlib.suppress(OSError):
            files.remove(draft)


def republish(files: DurableFiles, path: Path, content: bytes) -> None:
    """As `publish`, over a file that may be there already; readers see the old one or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        files.write(draft, content)
        files.sync_file(draft)
        files.replace(draft, path)
        files.sync_folder(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            files.remove(draft)
        raise


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

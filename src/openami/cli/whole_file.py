"""A file that is there whole or not at all, whatever happens while it is written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """A place beside ``file`` to write to; it becomes ``file`` at the end, and is removed on any error.

    Raises
    ------
    OSError
        The folder is not there or cannot be written to, or the disk is full.
    """
    fresh = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        yield fresh
        with fresh.open("rb+") as stream:
            os.fsync(stream.fileno())
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)

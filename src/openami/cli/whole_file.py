"""A file that is there whole or not at all, whatever happens while it is written.

Rule never to be broken: nothing but an ordinary file is ever replaced. A device or a pipe that is named as
the file is written to, a link is followed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_place(file: Path) -> None:
    """Fail before long work, not after it, where `whole_file` could not put ``file``.

    Raises
    ------
    OSError
        ``file`` is a folder, or its folder is not there or cannot be written to.
    """
    if file.is_dir():
        raise IsADirectoryError(errno.EISDIR, "this is a folder, not a file to write", str(file))
    folder = file.parent
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder to write to", str(folder))
    if not os.access(file if _stands_apart(file) else folder, os.W_OK):
        raise PermissionError(errno.EACCES, "nothing can be written here", str(file))


@contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """A place beside ``file`` to write to; it becomes ``file`` at the end, and is removed on any error.

    Raises
    ------
    OSError
        As of `check_place`, or the disk is full.
    """
    check_place(file)
    apart = _stands_apart(file)
    target = file.resolve()
    fresh = target if apart else target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        yield fresh
        if not apart:
            with fresh.open("rb+") as stream:
                os.fsync(stream.fileno())
            fresh.replace(target)
    except OSError as error:
        if error.filename is None:  # a full disk does not say of which file
            error.filename = str(file)
        raise
    finally:
        if not apart:
            fresh.unlink(missing_ok=True)


def _stands_apart(file: Path) -> bool:
    """A device, a pipe or a socket: it is there and is no ordinary file."""
    return file.exists() and not file.is_file()

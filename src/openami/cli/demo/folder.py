"""The folder of a demo: new, or that of an earlier demo, whichever way that one ended.

The rule never to be broken: nothing is deleted that no demo has made. The mark of a demo is written before
anything else and deleted after everything else, so an interrupted demo is known as one at every moment.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from openami.quantities.errors import FormatError
from openami.workspace.settings import write_whole

MARK = "demo.json"


def claim_folder(folder: Path, mark: str) -> None:
    """Make the folder empty but for the mark of this demo.

    Parameters
    ----------
    folder:
        New, empty, or of an earlier demo, which is deleted.
    mark:
        What is written into `MARK`.

    Raises
    ------
    FormatError
        It is a file or holds something no demo made; or ``OPENAMI_DATABASE`` names a database: the
        registry of a utility is no place for a demo.
    """
    if os.environ.get("OPENAMI_DATABASE"):
        raise FormatError(
            "the demo would write into the database that OPENAMI_DATABASE names",
            expected="the variable unset: a demo keeps its registry in its folder",
        )
    if folder.exists() and not folder.is_dir():
        raise FormatError("this is a file", where=str(folder), expected="a folder, or a name that is free")
    folder.mkdir(parents=True, exist_ok=True)
    there = [path for path in folder.iterdir() if path.name not in (MARK, f"{MARK}.new")]
    if there and not (folder / MARK).exists():
        raise FormatError(
            "the folder is not empty and no demo made it", where=str(folder), expected="a new folder"
        )
    for path in there:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    write_whole(folder / MARK, mark)

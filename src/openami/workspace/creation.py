"""A new workspace: its settings and its database.

The settings are written last: a folder is a workspace when it is whole. Nothing of the readings is imported
here; their stores are made when the workspace is first opened.
"""

from __future__ import annotations

import os
from pathlib import Path

from openami.quantities.errors import FormatError
from openami.registry.database import open_database
from openami.workspace.settings import FILE, Settings, write_settings


def create_workspace(folder: Path, settings: Settings) -> None:
    """Make a new workspace.

    Raises
    ------
    FormatError
        There is one already, or the folder is a file.
    RegistryError
        The database cannot be made or reached.
    """
    if (folder / FILE).exists():
        raise FormatError("there is a workspace already", where=str(folder), expected="another folder")
    if folder.exists() and not folder.is_dir():
        raise FormatError("this is a file", where=str(folder), expected="a folder, or a name that is free")
    folder.mkdir(parents=True, exist_ok=True)
    open_database(database_url(folder, settings)).dispose()
    write_settings(folder, settings)


def database_url(folder: Path, settings: Settings) -> str:
    """SQLAlchemy URL of a workspace's database: the environment's, its settings', or SQLite in its folder."""
    given = os.environ.get("OPENAMI_DATABASE") or settings.database
    return given or f"sqlite:///{(folder / 'registry.db').absolute()}"

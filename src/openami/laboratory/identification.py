"""Identification of the legally relevant software, as WELMEC guide 7.2 asks for it: a version and a hash.

The hash covers every source and data file of `openami.metrology` and of the metering core. Rule never to be
broken: two programs with one identification measure alike; a changed comment changes it too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from openami import __version__

_LEGALLY_RELEVANT: Final = (("openami", "metrology"), ("openami", "meter", "metering_core"))
_KINDS: Final = (".py", ".toml")


@cache
def software_identification() -> str:
    """``"0.1.0+5f1c..."``: version of openami and SHA-256 of its legally relevant files, 16 digits."""
    digest = hashlib.sha256()
    for package, *folders in _LEGALLY_RELEVANT:
        root = resources.files(package).joinpath(*folders)
        for path, file in sorted(_files(root, "/".join(folders))):
            digest.update(path.encode() + b"\0" + file.read_bytes() + b"\0")
    return f"{__version__}+{digest.hexdigest()[:16]}"


def _files(folder: Traversable, path: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        name = f"{path}/{entry.name}"
        if entry.is_dir():
            yield from _files(entry, name)
        elif entry.name.endswith(_KINDS):
            yield name, entry

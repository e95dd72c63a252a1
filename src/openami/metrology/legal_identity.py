"""The identity of legally relevant software: version and digest of its sources (OIML D 31, WELMEC 7.2).

The sources are those that are installed and run, read through the import system; two installations with the
same identity compute the same registers from the same samples. Rule never to be broken: every file of the
named packages that takes part in measuring is in the digest, with its name, and nothing else is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

METROLOGY_VERSION = "1.0.0"
"""Of the legally relevant part; it changes only with what can change a register or a measured value."""

_SUFFIXES = (".py", ".toml")


@dataclass(frozen=True, slots=True)
class LegalIdentity:
    """What a meter shows of its legally relevant software.

    Parameters
    ----------
    version:
        Version of the part.
    sha256:
        Digest over its sources.
    """

    version: str
    sha256: bytes

    def __str__(self) -> str:
        return f"{self.version} {self.sha256.hex()}"


@cache
def legal_identity(*packages: str) -> LegalIdentity:
    """Identity of packages by their names, ``openami.metrology`` when none is named.

    The digest is SHA-256 over each source file in the order of its name: length and octets of the name within
    the package's parent, length and octets of the content. Lengths are 8 octets, most significant first.
    """
    digest = hashlib.sha256()
    for name, content in sorted(_sources(packages or ("openami.metrology",))):
        for part in (name.encode(), content):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return LegalIdentity(METROLOGY_VERSION, digest.digest())


def _sources(packages: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for package in packages:
        yield from _below(resources.files(package), package.replace(".", "/"))


def _below(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        name = f"{path}/{entry.name}"
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _below(entry, name)
        elif entry.name.endswith(_SUFFIXES):
            yield name, entry.read_bytes()

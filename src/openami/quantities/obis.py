"""OBIS codes (IEC 62056-6-1): the name of a measured quantity everywhere in openami.

Six value groups A-B:C.D.E*F. The catalogue (``obis_catalogue.toml``) gives English and Chinese name,
unit, direction and kind of the codes the house works with.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache, lru_cache
from importlib import resources

from openami.quantities.errors import QuantityError
from openami.quantities.units import Unit

_REDUCED = re.compile(r"(?:(\d{1,3})-(\d{1,3}):)?(\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?(?:[*&](\d{1,3}))?")
_DOTTED = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})")


@dataclass(frozen=True, slots=True, order=True)
class ObisCode:
    """An OBIS code; ``str()`` gives ``1-0:1.8.0`` and, with F other than 255, ``1-0:1.8.0*1``."""

    a: int
    b: int
    c: int
    d: int
    e: int
    f: int = 255

    def __post_init__(self) -> None:
        groups = self.groups
        if min(groups) < 0 or max(groups) > 255:
            raise QuantityError(f"OBIS value group out of range in {self.groups}", expected="0 .. 255")

    @property
    def groups(self) -> tuple[int, int, int, int, int, int]:
        """The six value groups."""
        return (self.a, self.b, self.c, self.d, self.e, self.f)

    @classmethod
    def parse(cls, text: str) -> ObisCode:
        """Code from ``1-0:1.8.0*255``, ``1-0:1.8.0``, ``1.8.0``, ``1.8`` or ``1.0.1.8.0.255``.

        Raises
        ------
        QuantityError
            The text has none of these shapes.
        """
        stripped = text.strip()
        if match := _DOTTED.fullmatch(stripped):
            return cls(*(int(group) for group in match.groups()))
        if match := _REDUCED.fullmatch(stripped):
            a, b, c, d, e, f = match.groups()
            return cls(int(a or 1), int(b or 0), int(c), int(d), int(e or 0), int(f or 255))
        raise QuantityError(f"{text!r} is not an OBIS code", expected="1-0:1.8.0 or 1.0.1.8.0.255")

    @classmethod
    def from_bytes(cls, octets: bytes) -> ObisCode:
        """Code from the six octets of a COSEM logical name."""
        if len(octets) != 6:
            raise QuantityError(f"logical name of {len(octets)} octets", expected="6 octets")
        return _of_octets(bytes(octets))

    def to_bytes(self) -> bytes:
        """The six octets of the COSEM logical name."""
        return bytes(self.groups)

    @property
    def dotted(self) -> str:
        """``1.0.1.8.0.255``, the form of logical names."""
        return ".".join(map(str, self.groups))

    def __str__(self) -> str:
        suffix = "" if self.f == 255 else f"*{self.f}"
        return f"{self.a}-{self.b}:{self.c}.{self.d}.{self.e}{suffix}"


@lru_cache(maxsize=4096)
def _of_octets(octets: bytes) -> ObisCode:
    """Code of six octets; kept, because the same few hundred come again with every request."""
    return ObisCode(*octets)


class Direction(Enum):
    """Direction of energy flow as the customer sees it."""

    IMPORT = "import"
    EXPORT = "export"
    NONE = "none"


class Kind(Enum):
    """What a value of the quantity means in time."""

    CUMULATIVE = "cumulative"
    INTERVAL = "interval"
    INSTANT = "instant"
    MAXIMUM = "maximum"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """What the vocabulary knows of one OBIS code."""

    code: ObisCode
    name_en: str
    name_zh: str
    unit: Unit
    direction: Direction
    kind: Kind


@cache
def catalogue() -> dict[ObisCode, CatalogueEntry]:
    """The OBIS catalogue, by code."""
    text = resources.files(__package__).joinpath("obis_catalogue.toml").read_text("utf-8")
    entries = {}
    for row in tomllib.loads(text)["code"]:
        entry = CatalogueEntry(
            ObisCode.parse(row["obis"]),
            row["en"],
            row["zh"],
            Unit.parse(row["unit"]),
            Direction(row.get("direction", "none")),
            Kind(row["kind"]),
        )
        entries[entry.code] = entry
    return entries


def lookup(code: ObisCode) -> CatalogueEntry:
    """Catalogue entry of a code.

    Value group B tells the measurement channels 1 to 64 of a device apart (IEC 62056-6-1, 5.2, recalled):
    a channel that the catalogue does not list is the quantity of B = 0 with the channel in its names.

    Raises
    ------
    QuantityError
        The catalogue does not have the code.
    """
    entry = catalogue().get(code)
    if entry is None and 1 <= code.b <= 64:
        whole = catalogue().get(replace(code, b=0))
        if whole is not None:
            return replace(
                whole,
                code=code,
                name_en=f"{whole.name_en}, channel {code.b}",
                name_zh=f"{whole.name_zh}（通道{code.b}）",
            )
    if entry is None:
        raise QuantityError(f"OBIS code {code} is not in the catalogue")
    return entry


IMPORT_ENERGY = ObisCode(1, 0, 1, 8, 0)
EXPORT_ENERGY = ObisCode(1, 0, 2, 8, 0)
IMPORT_INTERVAL = ObisCode(1, 0, 1, 29, 0)
EXPORT_INTERVAL = ObisCode(1, 0, 2, 29, 0)
IMPORT_REACTIVE_INTERVAL = ObisCode(1, 0, 3, 29, 0)
EXPORT_REACTIVE_INTERVAL = ObisCode(1, 0, 4, 29, 0)

REGISTER_OF_INTERVAL = {
    ObisCode(1, 0, c, 29, 0): ObisCode(1, 0, c, 8, 0) for c in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
}
"""The cumulative register whose advance an interval channel sums to (IEC 62056-6-1: D=29 and D=8)."""

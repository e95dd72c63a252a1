"""Object lists of companion models as data: ``companion/*.toml``, read once and shared by all meters.

A model names its objects (class and version, logical name, access to each attribute, type, scaler and unit,
captured columns) and its clients; the tables say where their facts come from. A model is asked for with the
number of phases: ``smr-5.0-1p``, ``idis-like-3p``. In a logical name ``{1,2}`` stands for two objects and
``x`` for the four M-Bus channels. Rule of this file: a table that is not understood is refused whole.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import product
from typing import Any, Final

from openami.protocols.dlms.apdus.descriptors import CaptureObject
from openami.protocols.dlms.encoding.axdr import Tag
from openami.protocols.dlms.interface_classes.interface_object import Access
from openami.quantities.errors import FormatError
from openami.quantities.obis import ObisCode

CHANNELS: Final = (1, 2, 3, 4)
"""M-Bus channels of a meter."""
_FOLDER: Final = "lists"
_NOT_SERVED: Final = ("basics", "control", "dutch-basics")
_NAME = re.compile(r"(.+)-([13])p")
_BRACES = re.compile(r"\{([^}]*)\}")
_ACCESS = re.compile(r"(\d+)(rw|r|w)")
_MODES: Final = {"r": Access.READ, "w": Access.WRITE, "rw": Access.READ_WRITE}
_TYPES: Final = {tag.name.lower().replace("_", "-"): tag for tag in Tag}


@dataclass(frozen=True, slots=True, eq=False)
class ModelObject:
    """An object of a model; made once, and the same only as itself.

    Parameters
    ----------
    class_id, version, logical_name:
        What it is.
    access:
        Access to its attributes; None where the model leaves it to the class.
    tag:
        Type of its value (classes 1, 3, 4, 5).
    scaler_unit:
        Scaler and unit code.
    capture:
        Columns of a profile.
    period_s, entries:
        Capture period (or period of a demand register) and size of a profile.
    snapshot:
        True for a profile of one row, the present one.
    what:
        What it is, in words.
    """

    class_id: int
    version: int
    logical_name: ObisCode
    access: tuple[tuple[int, Access], ...] | None = None
    tag: Tag = Tag.NULL_DATA
    scaler_unit: tuple[int, int] = (0, 255)
    capture: tuple[CaptureObject, ...] = ()
    period_s: int = 0
    entries: int = 1
    snapshot: bool = False
    what: str = ""


@dataclass(frozen=True, slots=True)
class ModelClient:
    """A client of a model: its wPort, and what it sees (``identity``, ``reading``, ``everything``,
    ``firmware``, ``push``).

    ``password`` clients associate with low level security also where the meter has keys;
    ``pre_established`` ones do not associate at all.
    """

    port: int
    name: str
    view: str
    password: bool = False
    pre_established: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class CompanionModel:
    """A model for single- or three-phase meters, one of its name; objects in the order of the tables."""

    name: str
    title: str
    sources: tuple[str, ...]
    phases: int
    association_version: int
    objects: tuple[ModelObject, ...]
    clients: tuple[ModelClient, ...]

    def __iter__(self) -> Iterator[ModelObject]:
        return iter(self.objects)

    @property
    def management(self) -> int:
        """wPort of the client that may do everything."""
        return next((client.port for client in self.clients if client.view == "everything"), 1)

    def of_class(self, class_id: int) -> tuple[ModelObject, ...]:
        """Objects of a class."""
        return tuple(item for item in self.objects if item.class_id == class_id)


@cache
def companion_names() -> tuple[str, ...]:
    """Names of the models that a meter can be served with."""
    files = (entry.name for entry in resources.files(__package__).joinpath(_FOLDER).iterdir())
    stems = sorted(file[: -len(".toml")] for file in files if file.endswith(".toml"))
    return tuple(f"{stem}-{phases}p" for stem in stems if stem not in _NOT_SERVED for phases in (1, 3))


@cache
def companion_model(name: str) -> CompanionModel:
    """The model of a name.

    Raises
    ------
    FormatError
        There is no such model, or its table is not understood.
    """
    if name not in companion_names() or (parts := _NAME.fullmatch(name)) is None:
        raise FormatError(f"no companion model {name!r}", expected=f"one of {', '.join(companion_names())}")
    stem, phases = parts[1], parts[2]
    objects: dict[ObisCode, ModelObject] = {}
    clients: dict[int, ModelClient] = {}
    sources: list[str] = []
    version = 1
    for file, table in _tables(stem):
        version = table.get("association_version", version)
        sources.append(table["source"])
        try:
            for row in table.get("object", ()):
                if phases in row.get("phases", "13"):
                    objects.update((item.logical_name, item) for item in _objects(row))
            for row in table.get("client", ()):
                clients[row["port"]] = ModelClient(**row)
        except (KeyError, ValueError, TypeError) as error:
            raise FormatError(f"companion table: {error}", where=f"{_FOLDER}/{file}.toml") from None
    title = f"{_table(stem)['title']}, {'single' if phases == '1' else 'three'}-phase"
    return CompanionModel(
        name, title, tuple(sources), int(phases), version, tuple(objects.values()), tuple(clients.values())
    )


@cache
def _table(stem: str) -> Mapping[str, Any]:
    file = resources.files(__package__).joinpath(_FOLDER, f"{stem}.toml")
    return tomllib.loads(file.read_text("utf-8"))


def _tables(stem: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Tables of a model, the most general first: a later object takes the place of an earlier one."""
    table = _table(stem)
    for included in table.get("includes", ()):
        yield from _tables(included)
    yield stem, table


def _objects(row: Mapping[str, Any]) -> Iterator[ModelObject]:
    class_id, version = map(int, row["class"].split(":"))
    access = row.get("access")
    modes = None
    if access is not None:
        modes = tuple((int(index), _MODES[mode]) for index, mode in _ACCESS.findall(access))
    for text in _expanded(row["name"]):
        for channel in CHANNELS if "x" in text else (0,):
            own = text.replace("x", str(channel))
            yield ModelObject(
                class_id,
                version,
                ObisCode.parse(own),
                modes,
                _TYPES[row.get("type", "null-data")],
                tuple(row.get("scaler_unit", (0, 255))),
                tuple(_columns(row.get("capture", ()), channel)),
                row.get("period", 0),
                row.get("entries", 1),
                row.get("snapshot", False),
                row.get("what", ""),
            )


def _columns(capture: list[str], channel: int) -> Iterator[CaptureObject]:
    for entry in capture:
        class_id, name, attribute = entry.split()
        for each in (channel,) if channel else CHANNELS if "x" in name else (0,):
            yield CaptureObject(int(class_id), ObisCode.parse(name.replace("x", str(each))), int(attribute))


def _expanded(name: str) -> Iterator[str]:
    choices = [found.split(",") for found in _BRACES.findall(name)]
    frame = _BRACES.sub("{}", name)
    for chosen in product(*choices):
        yield frame.format(*chosen)

"""Limits of error of the accuracy standards, read from the TOML files of `limits/`, each with its source.

IEC 62053-21, -22, -23 and -24, OIML R 46 and EN 50470-3 with directive 2014/32/EU; facts re-expressed, no
text of a standard. Rule never to be broken: a limit without a source cannot be loaded, and one that was not
read in a text with the force of the standard says "recalled, confirm against the standard" wherever it is
shown.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final, Literal, TypeVar

from pydantic import ConfigDict, TypeAdapter
from pydantic import ValidationError as PydanticError

from openami.laboratory.accuracy_limits import (
    ClassLimits,
    CompositeLimit,
    CurrentBound,
    Goals,
    InfluenceLimit,
    IntrinsicLimit,
    Load,
    NoLoadRule,
    Source,
)
from openami.quantities.errors import FormatError, MeteringError

_STRICT: Final = ConfigDict(extra="forbid")

T = TypeVar("T")

STANDARD_FILES: Final[Mapping[str, str]] = {
    "IEC 62053-21": "iec_62053_21",
    "IEC 62053-22": "iec_62053_22",
    "IEC 62053-23": "iec_62053_23",
    "IEC 62053-24": "iec_62053_24",
    "OIML R 46": "oiml_r46",
    "EN 50470-3": "en_50470_3",
}
"""File of each standard's limits."""

_ALIASES: Final[Mapping[str, str]] = {
    "62053-21": "IEC 62053-21",
    "62053-22": "IEC 62053-22",
    "62053-23": "IEC 62053-23",
    "62053-24": "IEC 62053-24",
    "r46": "OIML R 46",
    "oiml r46": "OIML R 46",
    "ir46": "OIML R 46",
    "50470-3": "EN 50470-3",
    "mid": "EN 50470-3",
}


@dataclass(frozen=True, slots=True)
class _IntrinsicRow:
    __pydantic_config__ = _STRICT

    load: Load
    begin: CurrentBound
    to: CurrentBound
    factor: tuple[str, ...]
    limit_pct: float
    law: Literal["constant", "Imin/I"] = "constant"
    connection: Literal["direct", "ct"] | None = None
    source: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class _InfluenceRow:
    __pydantic_config__ = _STRICT

    test: str
    at: CurrentBound
    factor: str
    limit_pct: float | None = None
    limit_pct_per_k: float | None = None
    low_pct: float | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class _CompositeRow:
    __pydantic_config__ = _STRICT

    load: Load
    begin: CurrentBound
    to: CurrentBound
    factor: tuple[str, ...]
    limits_pct: tuple[float, float, float, float]
    source: str | None = None


@dataclass(frozen=True, slots=True)
class _NoLoadTable:
    __pydantic_config__ = _STRICT

    voltage: float
    max_pulses: int
    pulse_factor: float
    pulse_factor_source: str | None = None


@dataclass(frozen=True, slots=True)
class _ClassTable:
    __pydantic_config__ = _STRICT

    source: str
    intrinsic: tuple[_IntrinsicRow, ...] = ()
    influence: tuple[_InfluenceRow, ...] = ()
    composite: tuple[_CompositeRow, ...] = ()
    starting: Mapping[str, float] | None = None
    no_load: _NoLoadTable | None = None
    single_difference_pct: float | None = None
    repeatability_fraction: float | None = None
    repeatability_source: str | None = None


@dataclass(frozen=True, slots=True)
class _Standard:
    __pydantic_config__ = _STRICT

    id: str
    title: str
    quantity: Literal["active", "reactive"]
    base: Literal["reference", "transitional"]


def standard_named(name: str) -> str:
    """The standard a user means by ``"r46"``, ``"MID"``, ``"62053-22"`` or the full name.

    Raises
    ------
    MeteringError
        No limits of such a standard are here.
    """
    wanted = name.strip().lower().replace("_", " ")
    for known in STANDARD_FILES:
        if wanted == known.lower():
            return known
    for prefix in ("iec ", "en ", ""):
        if prefix and not wanted.startswith(prefix):
            continue
        if found := _ALIASES.get(wanted.removeprefix(prefix)):
            return found
    raise MeteringError(
        f"no limits of a standard {name!r}", where="--standard", expected=", ".join(STANDARD_FILES)
    )


def standard_of_class(class_name: str) -> str:
    """The standard that an active energy class belongs to by its name alone.

    ``0.1S``, ``0.2S``, ``0.5S``: IEC 62053-22; ``1``, ``2``: IEC 62053-21; ``A`` to ``D``: OIML R 46.

    Raises
    ------
    MeteringError
        No standard has such a class.
    """
    for standard in ("IEC 62053-22", "IEC 62053-21", "OIML R 46"):
        if class_name in classes_of(standard):
            return standard
    known = [name for standard in STANDARD_FILES for name in classes_of(standard)]
    raise MeteringError(
        f"no accuracy class {class_name!r}", where="--class", expected=", ".join(dict.fromkeys(known))
    )


def classes_of(standard: str) -> tuple[str, ...]:
    """Names of the classes of a standard."""
    document = _document(STANDARD_FILES[standard])
    table = document["class"]
    assert isinstance(table, Mapping)
    return tuple(table)


def class_limits(standard: str, class_name: str) -> ClassLimits:
    """All limits of one class.

    Raises
    ------
    MeteringError
        The standard has no such class.
    FormatError
        The file of limits has faults; the message lists all of them.
    """
    known = classes_of(standard)
    if class_name not in known:
        raise MeteringError(
            f"{standard} has no class {class_name!r}", where="--class", expected=", ".join(known)
        )
    return limits_of_document(_document(STANDARD_FILES[standard]), class_name, STANDARD_FILES[standard])


def limits_of_document(document: Mapping[str, object], class_name: str, where: str) -> ClassLimits:
    """Limits of one class of a document that was read already.

    Raises
    ------
    FormatError
        A key is missing, unknown or of the wrong type, or names a source that is not there.
    """
    sources = _sources(document, where)
    head = _checked(TypeAdapter(_Standard), document.get("standard"), f"{where}, standard")
    classes = document.get("class")
    if not isinstance(classes, Mapping) or class_name not in classes:
        raise FormatError(f"no class {class_name!r}", where=where)
    place = f"{where}, class {class_name}"
    table = _checked(TypeAdapter(_ClassTable), _with_begin(classes[class_name]), place)

    def of(name: str | None) -> Source:
        wanted = table.source if name is None else name
        if wanted not in sources:
            raise FormatError(
                f"a limit has no source: {wanted!r}", where=place, expected=", ".join(sorted(sources))
            )
        return sources[wanted]

    no_load = table.no_load
    return ClassLimits(
        standard=head.id,
        title=head.title,
        name=class_name,
        quantity=head.quantity,
        base=head.base,
        source=of(None),
        intrinsic=tuple(
            IntrinsicLimit(
                row.load,
                row.begin,
                row.to,
                row.factor,
                row.limit_pct,
                of(row.source),
                row.law,
                row.connection,
                row.note,
            )
            for row in table.intrinsic
        ),
        influence=tuple(_influence(row, of(row.source), place) for row in table.influence),
        composite=tuple(
            CompositeLimit(row.load, row.begin, row.to, row.factor, row.limits_pct, of(row.source))
            for row in table.composite
        ),
        starting=dict(table.starting or {}),
        no_load=None
        if no_load is None
        else NoLoadRule(
            no_load.voltage,
            no_load.max_pulses,
            no_load.pulse_factor,
            of(None),
            of(no_load.pulse_factor_source),
        ),
        single_difference_pct=table.single_difference_pct,
        repeatability_fraction=table.repeatability_fraction,
        repeatability_source=of(table.repeatability_source),
        temperatures=_temperatures(document),
    )


@cache
def goals() -> Goals:
    """The goals that openami sets its own models."""
    document = _document("goals")
    source = _sources(document, "goals")["goals"]
    full, margin = document["full_power"], document["margin"]
    assert isinstance(full, Mapping)
    assert isinstance(margin, Mapping)
    values = {f"full_power_{name}": value for name, value in full.items() if name != "source"}
    values |= {name: value for name, value in margin.items() if name != "source"}
    return _checked(TypeAdapter(Goals), {"source": source, **values}, "goals")


def in_service_limit(class_name: str) -> tuple[float, Source] | None:
    """Permissible error of a meter in service, percent, and its source; None where no law is at hand."""
    document = _document("in_service")
    table = document["in_service"]
    assert isinstance(table, Mapping)
    limits = table["limit_pct"]
    if class_name not in limits:
        return None
    return float(limits[class_name]), _sources(document, "in_service")[table["source"]]


def least_current_ratios(connection: str, class_name: str) -> tuple[Mapping[str, float], Source]:
    """How far the currents of a meter of OIML R 46 must lie apart at least, and the source.

    Parameters
    ----------
    connection:
        ``"direct"`` or ``"ct"``.
    class_name:
        A, B, C or D.

    Returns
    -------
    Least ratio by name: ``"Imax/Itr"``, ``"Imax/Imin"``, ``"Imax/Ist"``.
    """
    document = _document(STANDARD_FILES["OIML R 46"])
    table = document["current_ratios"]
    assert isinstance(table, Mapping)
    ratios = {
        f"Imax/{low}": float(table[f"{connection}_imax_{low.lower()}"][class_name])
        for low in ("Itr", "Imin", "Ist")
    }
    return ratios, _sources(document, "oiml_r46")[table["source"]]


def rounding_interval(class_name: str) -> tuple[float, Source] | None:
    """Step to which a verified error is rounded, percent, and its source; None for classes without one."""
    document = _document("in_service")
    table = document["rounding_interval"]
    assert isinstance(table, Mapping)
    steps = table["interval_pct"]
    if class_name not in steps:
        return None
    return float(steps[class_name]), _sources(document, "in_service")[table["source"]]


def _influence(row: _InfluenceRow, source: Source, place: str) -> InfluenceLimit:
    per_kelvin = row.test == "temperature_coefficient"
    limit = row.limit_pct_per_k if per_kelvin else row.limit_pct
    if limit is None:
        key = "limit_pct_per_k" if per_kelvin else "limit_pct"
        raise FormatError(f"{row.test} has no limit", where=place, expected=key)
    return InfluenceLimit(row.test, row.at, row.factor, limit, source, row.low_pct)


def _sources(document: Mapping[str, object], where: str) -> dict[str, Source]:
    table = _checked(TypeAdapter(dict[str, dict[str, str]]), document.get("source", {}), f"{where}, source")
    adapter = TypeAdapter(Source)
    return {name: _checked(adapter, entry, f"{where}, source {name}") for name, entry in table.items()}


def _temperatures(document: Mapping[str, object]) -> tuple[tuple[tuple[float, float], ...], ...]:
    table = document.get("temperatures")
    if not isinstance(table, Mapping):
        return ()
    ranges = TypeAdapter(tuple[tuple[float, float], ...])
    return tuple(
        _checked(ranges, table.get(name), f"temperatures, {name}")
        for name in ("mildest", "mild", "harsh", "harshest")
    )


def _with_begin(table: object) -> object:
    """``from`` is a keyword of the language of this file; it is ``begin`` in here."""
    if not isinstance(table, Mapping):
        return table
    renamed = dict(table)
    for name in ("intrinsic", "composite"):
        rows = table.get(name)
        if isinstance(rows, list):
            renamed[name] = [
                {"begin" if key == "from" else key: value for key, value in row.items()}
                if isinstance(row, Mapping)
                else row
                for row in rows
            ]
    return renamed


def _checked(adapter: TypeAdapter[T], value: object, where: str) -> T:
    try:
        return adapter.validate_python(value)
    except PydanticError as error:
        faults = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise FormatError(faults, where=where) from None


@cache
def _document(name: str) -> Mapping[str, object]:
    text = resources.files(__package__).joinpath("limits", f"{name}.toml").read_text("utf-8")
    return tomllib.loads(text)

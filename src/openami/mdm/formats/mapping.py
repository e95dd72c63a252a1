"""Declared mappings: what the columns of a CSV or Parquet file mean, as TOML.

Nothing about a table is guessed: which column is the time, whether it names the beginning or the end of
an interval, by which clock, the unit of the values, and what stands for a missing one are written down.
Mappings of known files lie in ``mappings/*.toml``.

The rule never to be broken: a mapping with an unknown key or a contradiction is refused as a whole, with all
its faults named.
"""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from openami.mdm.formats.exact_numbers import parse_number
from openami.quantities.civil_time import zone_of
from openami.quantities.errors import FormatError, QuantityError
from openami.quantities.obis import Kind, ObisCode, lookup
from openami.quantities.units import Quantum, parse_prefixed_unit

_OFFSET = re.compile(r"[+-](?:0\d|1[0-4]):[0-5]\d")


def _obis(value: object) -> ObisCode:
    try:
        return ObisCode.parse(str(value))
    except QuantityError as fault:
        raise ValueError(str(fault)) from None


def _quantum(value: object) -> Quantum:
    try:
        return parse_prefixed_unit(str(value))
    except QuantityError as fault:
        raise ValueError(str(fault)) from None


def _zone(value: str) -> str:
    try:
        zone_of(value)
    except QuantityError as fault:
        raise ValueError(str(fault)) from None
    return value


def _scale(value: object) -> tuple[int, int]:
    try:
        mantissa, decimals = parse_number(str(value).encode())
    except FormatError as fault:
        raise ValueError(str(fault)) from None
    if mantissa <= 0 or isinstance(value, float):
        raise ValueError("a scale is a positive decimal in quotes, as '0.5'")
    return mantissa, decimals


def _clock(value: str) -> str:
    if value not in ("local", "UTC") and not _OFFSET.fullmatch(value):
        raise ValueError("a clock is 'local', 'UTC' or an offset as '+10:00'")
    return value


def _time_format(value: str) -> str:
    unknown = [code for code in re.findall(r"%(.?)", value) if code not in "YmdHMSfz%" or not code]
    if unknown:
        raise ValueError(f"%{unknown[0]} is not known; use %Y %m %d %H %M %S %f %z %%")
    missing = [code for code in ("%Y", "%m", "%d", "%H") if code not in value]
    if missing:
        raise ValueError(f"the format lacks {' '.join(missing)}")
    return value


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class FilePart(_Part):
    """How the bytes of a CSV file become rows."""

    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: Literal["utf-8", "latin-1", "cp1252", "utf-16"] = "utf-8"
    decimal: Literal[".", ","] = "."


class TimePart(_Part):
    """What the time column says.

    ``clock`` is by which clock it is written: ``local`` (the zone's, with summer time), ``UTC``, or a fixed
    offset. ``names`` is the end of the interval it names. ``off_grid`` is what happens to rows between
    two interval bounds.
    """

    column: str
    format: Annotated[str, AfterValidator(_time_format)] = "%Y-%m-%d %H:%M:%S"
    clock: Annotated[str, AfterValidator(_clock)]
    names: Literal["start", "end"]
    off_grid: Literal["refuse", "drop"] = "refuse"


class SeriesPart(_Part):
    """Whose values: one ``id`` for the file, or a ``column`` with the ids (long layout)."""

    id: str | None = None
    column: str | None = None


class ValuesPart(_Part):
    """What stands for a missing value, and what to do with values finer than the quantum.

    ``refuse`` makes them errors; ``refine`` counts the channel in the finer quantum that holds all the
    values of the file; ``float_noise`` takes values within a millionth of a quantum of a whole number
    (0.45399999999999996 kWh is 454 Wh) for that number and refuses the others.
    """

    null: tuple[str, ...] = ("",)
    finer: Literal["refine", "refuse", "float_noise"] = "refuse"


class ChannelPart(_Part):
    """One channel: its OBIS code, the unit in the file, and the quantum it is counted in.

    ``column`` is its column; left out in the wide layout, where every column other than the time is a
    series of this channel. ``scale`` is an exact factor (``"0.5"`` makes half-hourly kW into kWh).
    """

    obis: Annotated[ObisCode, BeforeValidator(_obis)]
    unit: Annotated[Quantum, BeforeValidator(_quantum)]
    quantum: Annotated[Quantum, BeforeValidator(_quantum)]
    exponent: Annotated[int, Field(ge=-12, le=12)] = 0
    scale: Annotated[tuple[int, int], BeforeValidator(_scale)] = (1, 0)
    column: str | None = None

    @property
    def counted_in(self) -> Quantum:
        """The quantum, with the extra exponent applied."""
        return Quantum(self.quantum.unit, self.quantum.exponent + self.exponent)

    @model_validator(mode="after")
    def _one_unit(self) -> ChannelPart:
        if self.unit.unit is not self.quantum.unit:
            raise ValueError(f"unit {self.unit} and quantum {self.quantum} are of different kinds")
        try:
            entry = lookup(self.obis)
        except QuantityError as fault:
            raise ValueError(fault.message) from None
        if entry.kind is not Kind.INTERVAL:
            raise ValueError(f"{self.obis} ({entry.name_en}) is no interval quantity, as 1-0:1.29.0 is")
        if entry.unit is not self.unit.unit:
            raise ValueError(
                f"{self.obis} ({entry.name_en}) is in {entry.unit.value}, not {self.unit.unit.value}"
            )
        return self


class Mapping(_Part):
    """What the columns of a file mean; see the page of the station for an example.

    Parameters
    ----------
    name, description, source:
        Its name, what files it is for, and where the meaning of the columns is known from.
    format, layout:
        ``csv`` or ``parquet``; ``long`` (a row a reading) or ``wide`` (a column a series).
    zone, interval_s:
        Zone of the civil days, length of an interval.
    """

    name: str
    description: str = ""
    source: str = ""
    format: Literal["csv", "parquet"] = "csv"
    layout: Literal["long", "wide"]
    zone: Annotated[str, AfterValidator(_zone)]
    interval_s: Annotated[int, Field(gt=0, le=86_400)]
    file: FilePart = FilePart()
    time: TimePart
    series: SeriesPart = SeriesPart()
    values: ValuesPart = ValuesPart()
    channel: Annotated[tuple[ChannelPart, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _whole(self) -> Mapping:
        if 3600 % self.interval_s and self.interval_s % 3600:
            raise ValueError(
                f"an interval of {self.interval_s} s neither divides an hour nor is made of hours"
            )
        if self.layout == "wide":
            if self.series.id or self.series.column or len(self.channel) != 1 or self.channel[0].column:
                raise ValueError("layout wide: one channel without column, and no series")
        elif (self.series.id is None) == (self.series.column is None):
            raise ValueError("layout long: series has either an id or a column")
        elif any(channel.column is None for channel in self.channel):
            raise ValueError("layout long: every channel has a column")
        if len({channel.obis for channel in self.channel}) != len(self.channel):
            raise ValueError("two channels have one OBIS code")
        return self

    @classmethod
    def from_toml(cls, text: str, *, where: str = "mapping") -> Mapping:
        """Mapping of a TOML text.

        Raises
        ------
        FormatError
            Not TOML, or not a mapping: all faults are named.
        """
        try:
            document = tomllib.loads(text)
        except (ValueError, RecursionError) as fault:  # also a number of 5,000 digits, or lists in lists
            raise FormatError(f"not TOML: {fault}", where=where) from None
        try:
            return cls.model_validate(document)
        except ValidationError as fault:
            faults = "; ".join(
                f"{'.'.join(map(str, item['loc'])) or 'mapping'}: {item['msg']}" for item in fault.errors()
            )
            raise FormatError(
                f"not a mapping: {faults}", where=where, expected="see docs/stations/formats.md"
            ) from None

    @classmethod
    def load(cls, name: str | Path) -> Mapping:
        """Mapping by the name of one that comes with openami, or by the path of a TOML file.

        Raises
        ------
        FormatError
            There is no such mapping or file, or it is not a mapping.
        """
        if str(name) in mapping_names():
            path = resources.files(__package__) / "mappings" / f"{name}.toml"
            return cls.from_toml(path.read_text("utf-8"), where=f"mapping {name}")
        try:
            text = Path(name).read_text("utf-8")
        except (OSError, ValueError):
            known = ", ".join(mapping_names())
            raise FormatError(
                f"no mapping {str(name)!r}", expected=f"a TOML file, or one of {known}"
            ) from None
        return cls.from_toml(text, where=str(name))


def mapping_names() -> list[str]:
    """Names of the mappings that come with openami."""
    folder = resources.files(__package__) / "mappings"
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))

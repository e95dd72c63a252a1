"""Front ends as data: the ``[front_end]`` table of a model, and the parameter sets that come with openami.

    [front_end]
    name = "..."                    # what it describes
    source = "..."                  # where the numbers come from
    rate_hz = 12800                 # sampling rate
    nominal_hz = 50                 # grid frequency; 50 when not said
    phases = 3                      # 1 to 3
    clock_error_ppm = 0.0           # error of the sampling clock
    jitter_s = 0.0                  # rms jitter of the sampling instants
    seed = 1                        # of the noise

    [front_end.voltage.sensor]      # and [front_end.current.sensor]
    kind = "resistive_divider"      # a `SensorKind`
    rated = 57.7                    # V or A, unit of the loads below
    load = [0.8, 1.2]               # error curve: multiples of rated, increasing
    ratio_percent = [0.01, 0.01]    # ratio error at each
    phase_minutes = [-0.5, -0.5]    # phase displacement at each, positive: output leads
    ratio_spread_percent = [0, 0, 0]   # further ratio error of each phase
    phase_spread_minutes = [0, 0, 0]   # further phase displacement of each phase
    ratio_ppm_per_k = 3.0           # temperature coefficients
    phase_minutes_per_k = 0.0
    reference_temperature_c = 23.0
    rated_frequency_hz = 50.0       # where the curve holds; nominal_hz when not said
    dc_saturation = 0.05            # current_transformer only: multiple of rated, see `SensorModel`
    self_heating_k = 0.0            # at rated load
    self_heating_time_constant_s = 600.0

    [front_end.voltage.converter]   # and [front_end.current.converter]; numbers, or one per phase
    bits = 24                       # one number
    full_scale = 150.0              # V or A peak
    noise_counts_rms = 20.0
    delay_s = [0.0, 1e-6, 2e-6]
    gain_error_percent = 0.0
    gain_ppm_per_k = 0.0
    reference_temperature_c = 23.0
    offset_counts = 0.0
    anti_alias_hz = 20000.0         # none when not said

Never to be broken: a key that is not known, or a value of another type, is refused with its path; nothing is
read over.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import resources
from typing import TypeVar

from openami.metrology.front_end.converter import ConverterModel
from openami.metrology.front_end.front_end import ChannelModel, FrontEndParameters
from openami.metrology.front_end.sensor import ErrorCurve, SensorKind, SensorModel
from openami.quantities.errors import FormatError, MeteringError

_FOLDER = "parameters"
_Made = TypeVar("_Made")

_SENSOR_NUMBERS = (
    "ratio_ppm_per_k",
    "phase_minutes_per_k",
    "reference_temperature_c",
    "rated_frequency_hz",
    "dc_saturation",
    "self_heating_k",
    "self_heating_time_constant_s",
)
_CONVERTER_NUMBERS = (
    "full_scale",
    "noise_counts_rms",
    "delay_s",
    "gain_error_percent",
    "gain_ppm_per_k",
    "reference_temperature_c",
    "offset_counts",
    "anti_alias_hz",
)


def front_end_from_table(table: Mapping[str, object], where: str = "front_end") -> FrontEndParameters:
    """Parameters of a front end from the ``[front_end]`` table of a model.

    Parameters
    ----------
    table:
        The table as `tomllib` gives it; keys in the head of this file.
    where:
        Path of the table, for messages.

    Raises
    ------
    FormatError
        A key that is not known or missing, or a value of another type, with its path.
    MeteringError
        Values that make no front end.
    """
    reader = TableReader(table, where)
    phases = reader.integer("phases", 3)
    nominal_hz = reader.number("nominal_hz", 50.0)
    if not 1 <= phases <= 3:
        raise FormatError(f"phases = {phases}", where=where, expected="1 .. 3")
    voltage = _channels(reader.table("voltage"), phases, nominal_hz)
    current = _channels(reader.table("current"), phases, nominal_hz)
    read = {
        "clock_error_ppm": reader.number("clock_error_ppm", 0.0),
        "jitter_s": reader.number("jitter_s", 0.0),
    }
    seed, rate_hz = reader.integer("seed", 1), reader.number("rate_hz")
    name, source = reader.text("name", ""), reader.text("source", "")
    reader.close()
    return _placed(
        where,
        lambda: FrontEndParameters(
            rate_hz, voltage, current, nominal_hz, seed=seed, name=name, source=source, **read
        ),
    )


def parameter_set_names() -> tuple[str, ...]:
    """Names of the parameter sets that come with openami."""
    folder = resources.files("openami.metrology.front_end") / _FOLDER
    return tuple(
        sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
    )


def parameter_set(name: str) -> Mapping[str, object]:
    """A parameter set that comes with openami, as `tomllib` gives it.

    Its ``front_end`` table is for `front_end_from_table`, its ``calibration`` table (loads, temperatures and
    frequencies a factory calibrates at) for `calibration_plan_from_table`.

    Raises
    ------
    MeteringError
        There is none of that name.
    """
    known = parameter_set_names()
    if name not in known:
        raise MeteringError(f"no front end is called {name!r}", expected=f"one of {', '.join(known)}")
    file = resources.files("openami.metrology.front_end") / _FOLDER / f"{name}.toml"
    return tomllib.loads(file.read_text("utf-8"))


class TableReader:
    """A TOML table read key by key.

    Invariant: a value is given out only with the type that was asked for, and `close` refuses a table that
    holds a key nobody asked for.
    """

    def __init__(self, table: object, where: str) -> None:
        if not isinstance(table, Mapping):
            raise FormatError(f"{table!r} is no table", where=where, expected="a table of keys and values")
        self.where = where
        self._table = table
        self._asked: set[str] = set()

    def has(self, key: str) -> bool:
        """True when the key is there."""
        return key in self._table

    def raw(self, key: str) -> object:
        """The value as it is.

        Raises
        ------
        FormatError
            There is none.
        """
        self._asked.add(key)
        if key not in self._table:
            raise FormatError(f"{key} is missing", where=self.where, expected=f"{self.where}.{key}")
        return self._table[key]

    def number(self, key: str, default: float | None = None) -> float:
        """A number."""
        if default is not None and not self.has(key):
            return default
        return self._number(self.raw(key), key)

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number."""
        if default is not None and not self.has(key):
            return default
        value = self.raw(key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise FormatError(f"{key} = {value!r}", where=self.where, expected="a whole number")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """A text."""
        if default is not None and not self.has(key):
            return default
        value = self.raw(key)
        if not isinstance(value, str):
            raise FormatError(f"{key} = {value!r}", where=self.where, expected="a text")
        return value

    def numbers(self, key: str, default: Sequence[float] | None = None) -> tuple[float, ...]:
        """A list of numbers."""
        if default is not None and not self.has(key):
            return tuple(default)
        value = self.raw(key)
        if not isinstance(value, list):
            raise FormatError(f"{key} = {value!r}", where=self.where, expected="a list of numbers")
        return tuple(self._number(item, f"{key}[{index}]") for index, item in enumerate(value))

    def per_phase(self, key: str, phases: int) -> tuple[float, ...]:
        """A number for all phases, or a list with one per phase."""
        if not isinstance(self.raw(key), list):
            return (self.number(key),) * phases
        values = self.numbers(key)
        if len(values) != phases:
            raise FormatError(
                f"{key} has {len(values)} numbers", where=self.where, expected=f"one, or {phases}"
            )
        return values

    def table(self, key: str) -> TableReader:
        """A table inside this one."""
        return TableReader(self.raw(key), f"{self.where}.{key}")

    def tables(self, key: str) -> tuple[TableReader, ...]:
        """An array of tables."""
        value = self.raw(key)
        if not isinstance(value, list):
            raise FormatError(f"{key} is no array of tables", where=self.where, expected=f"[[{key}]]")
        return tuple(TableReader(item, f"{self.where}.{key}[{n}]") for n, item in enumerate(value))

    def close(self) -> None:
        """Refuse keys nobody asked for.

        Raises
        ------
        FormatError
            The table holds such a key.
        """
        unknown = sorted(set(map(str, self._table)) - self._asked)
        if unknown:
            raise FormatError(
                f"unknown key {self.where}.{unknown[0]}",
                where=self.where,
                expected=f"one of {', '.join(sorted(self._asked))}",
            )

    def _number(self, value: object, key: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise FormatError(f"{key} = {value!r}", where=self.where, expected="a number")
        return float(value)


def _channels(reader: TableReader, phases: int, nominal_hz: float) -> tuple[ChannelModel, ...]:
    sensors = _sensors(reader.table("sensor"), phases, nominal_hz)
    converters = _converters(reader.table("converter"), phases)
    reader.close()
    return tuple(ChannelModel(s, c) for s, c in zip(sensors, converters, strict=True))


def _sensors(reader: TableReader, phases: int, nominal_hz: float) -> tuple[SensorModel, ...]:
    kinds = {kind.value: kind for kind in SensorKind}
    name = reader.text("kind")
    if name not in kinds:
        raise FormatError(f"kind = {name!r}", where=reader.where, expected=f"one of {', '.join(kinds)}")
    load = reader.numbers("load", (1.0,))
    ratio = reader.numbers("ratio_percent", (0.0,) * len(load))
    phase = reader.numbers("phase_minutes", (0.0,) * len(load))
    none = (0.0,) * phases
    further_ratio = (
        reader.per_phase("ratio_spread_percent", phases) if reader.has("ratio_spread_percent") else none
    )
    further_phase = (
        reader.per_phase("phase_spread_minutes", phases) if reader.has("phase_spread_minutes") else none
    )
    rated = reader.number("rated")
    numbers = {key: reader.number(key) for key in _SENSOR_NUMBERS if reader.has(key)}
    numbers.setdefault("rated_frequency_hz", nominal_hz)
    reader.close()

    def sensor(phase_index: int) -> SensorModel:
        curve = ErrorCurve(load, ratio, phase).shifted(further_ratio[phase_index], further_phase[phase_index])
        return SensorModel(kinds[name], rated, curve, **numbers)

    return tuple(_placed(reader.where, partial(sensor, index)) for index in range(phases))


def _converters(reader: TableReader, phases: int) -> tuple[ConverterModel, ...]:
    bits = reader.integer("bits")
    reader.raw("full_scale")
    columns = {key: reader.per_phase(key, phases) for key in _CONVERTER_NUMBERS if reader.has(key)}
    reader.close()

    def converter(index: int) -> ConverterModel:
        return ConverterModel(bits, **{key: column[index] for key, column in columns.items()})

    return tuple(_placed(reader.where, partial(converter, index)) for index in range(phases))


def _placed(where: str, make: Callable[[], _Made]) -> _Made:
    """What ``make`` makes; an error of it is told with the path of its table."""
    try:
        return make()
    except MeteringError as error:
        raise MeteringError(error.message, where=where, expected=error.expected) from None

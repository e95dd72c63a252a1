"""Meter models as data: what a meter is rated for, how it measures, how it is calibrated and how it ages.

A model is one TOML file of `meter/models/`, named after a generation of the survey of smart meters. Currents
follow IEC 62052-11 and OIML R 46: Ist <= Imin <= Itr <= reference (Ib, In) <= Imax. Rule never to be broken:
a model's identification is the hash of its text, so two meters with one identification measure alike.
"""

from __future__ import annotations

import hashlib
import itertools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

import orjson
from pydantic import ConfigDict, TypeAdapter
from pydantic import ValidationError as PydanticError

from openami.metrology.front_end.front_end_toml import parameter_set
from openami.quantities.errors import FormatError, MeteringError

_STRICT: Final = ConfigDict(extra="forbid")


class Principle(StrEnum):
    """How the product of voltage and current is formed."""

    DIGITAL = "digital"
    FERRARIS = "ferraris"
    TIME_DIVISION = "time_division"
    HALL = "hall"


class AgeingLaw(StrEnum):
    """How a component of the ageing budget grows with time."""

    LINEAR = "linear"
    SQUARE_ROOT = "square_root"


class AgeingTarget(StrEnum):
    """What of the front end a component of the ageing budget moves."""

    VOLTAGE_RATIO = "voltage_ratio"
    CURRENT_RATIO = "current_ratio"
    CURRENT_PHASE = "current_phase"
    REGISTERED_ENERGY = "registered_energy"


@dataclass(frozen=True, slots=True)
class Rating:
    """What the meter is made for.

    Parameters
    ----------
    phases:
        Measuring elements, 1 or 3; three-phase meters have four wires.
    connection:
        ``"direct"`` or ``"ct"`` (through current transformers).
    un_v:
        Reference voltage between phase and neutral, V.
    ist_a, imin_a, itr_a, reference_a, imax_a:
        Starting, minimum, transitional, reference (Ib or In) and maximum current, A.
    nominal_hz:
        Reference frequency, Hz.
    temperature_c:
        Specified operating range of ambient temperature, degrees Celsius.
    """

    __pydantic_config__ = _STRICT

    phases: Literal[1, 3]
    connection: Literal["direct", "ct"]
    un_v: float
    ist_a: float
    imin_a: float
    itr_a: float
    reference_a: float
    imax_a: float
    nominal_hz: float = 50.0
    temperature_c: tuple[float, float] = (-25.0, 55.0)

    def __post_init__(self) -> None:
        ladder = (0.0, self.ist_a, self.imin_a, self.itr_a, self.reference_a, self.imax_a)
        if not self.un_v > 0 or any(low > high for low, high in itertools.pairwise(ladder)):
            raise MeteringError(
                "ratings out of order", where="rating", expected="0 < Ist <= Imin <= Itr <= reference <= Imax"
            )
        if self.ist_a <= 0 or not 40 <= self.nominal_hz <= 70:
            raise MeteringError("no starting current, or no mains frequency", where="rating")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The classes the meter is marked with.

    Parameters
    ----------
    active, active_standard:
        Class of active energy and the standard it belongs to.
    reactive, reactive_standard:
        Class of reactive energy; None for a meter without reactive registers.
    """

    __pydantic_config__ = _STRICT

    active: str
    active_standard: str
    reactive: str | None = None
    reactive_standard: str | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """How energy becomes registers and pulses.

    Parameters
    ----------
    constant_imp_per_kwh, constant_imp_per_kvarh:
        Meter constants; the second is 0 without reactive energy.
    sum_mode:
        ``"net"``, ``"absolute"`` or ``"by_phase"``: how the phases make the total.
    """

    __pydantic_config__ = _STRICT

    constant_imp_per_kwh: int
    constant_imp_per_kvarh: int = 0
    sum_mode: Literal["net", "absolute", "by_phase"] = "net"


@dataclass(frozen=True, slots=True)
class AgeingComponent:
    """One line of the ageing budget.

    Parameters
    ----------
    name:
        The part that ages.
    target:
        What it moves.
    at_end_of_life:
        Change at the end of the service life: percent of ratio or energy, minutes of arc of phase.
    law:
        How it gets there.
    source:
        Where the figure comes from.
    """

    __pydantic_config__ = _STRICT

    name: str
    target: AgeingTarget
    at_end_of_life: float
    law: AgeingLaw
    source: str


@dataclass(frozen=True, slots=True)
class MeterModel:
    """A meter model.

    Parameters
    ----------
    name, title, generation:
        Name of the file, what it is called, and its place in the survey.
    principle:
        Measuring principle.
    rating, accuracy, registration:
        See there.
    front_end:
        Table of sensors and converters (digital), or of the principle's parameters, as `metrology.front_end`
        reads it; ``parameter_set = "..."`` in the file stands for a set that comes with it.
    calibration:
        Table of the calibration done at the factory, from the same set; empty: none.
    ageing:
        The ageing budget.
    service_life_years:
        What it is budgeted for.
    provenance:
        Where the figures of the file come from.
    identification:
        SHA-256 of the model's text and of the parameter set it names, hexadecimal.
    """

    __pydantic_config__ = _STRICT

    name: str
    title: str
    title_zh: str
    generation: str
    principle: Principle
    rating: Rating
    accuracy: Accuracy
    registration: Registration
    provenance: str
    service_life_years: float = 15.0
    front_end: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    ageing: tuple[AgeingComponent, ...] = ()
    identification: str = ""


def model_names() -> tuple[str, ...]:
    """Names of the models that come with the package."""
    folder = resources.files(__package__).joinpath("models")
    return tuple(
        sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))
    )


def meter_model(name: str) -> MeterModel:
    """The model of a name, or of a TOML file where the name is a path that ends in ``.toml``.

    Raises
    ------
    MeteringError
        There is none of that name, or its ratings contradict each other.
    FormatError
        The file cannot be read or is no model; the message lists every fault.
    """
    if name.endswith(".toml"):
        try:
            text = Path(name).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise FormatError(f"cannot be read: {error}", where=name) from None
        return model_from_toml(text, where=name)
    if name not in model_names():
        raise MeteringError(
            f"no meter model {name!r}",
            where="--model",
            expected=f"{', '.join(model_names())}, or a .toml file",
        )
    text = resources.files(__package__).joinpath("models", f"{name}.toml").read_text("utf-8")
    return model_from_toml(text, where=f"{name}.toml")


def model_from_toml(text: str, *, where: str = "model") -> MeterModel:
    """The model of a TOML text.

    Raises
    ------
    FormatError
        Not TOML, or a key is missing, unknown or of the wrong type; all faults in one message.
    MeteringError
        The ratings contradict each other, or there is no such parameter set.
    """
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not TOML: {error}", where=where) from None
    front_end = document.get("front_end")
    resolved: Mapping[str, object] = {}
    if isinstance(front_end, Mapping) and set(front_end) == {"parameter_set"}:
        resolved = parameter_set(str(front_end["parameter_set"]))
        document = {"calibration": resolved.get("calibration", {}), **document}
        document["front_end"] = resolved["front_end"]
    content = text.encode() + orjson.dumps(resolved, option=orjson.OPT_SORT_KEYS)
    document["identification"] = hashlib.sha256(content).hexdigest()
    try:
        return TypeAdapter(MeterModel).validate_python(document)
    except PydanticError as error:
        faults = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise FormatError(faults, where=where) from None

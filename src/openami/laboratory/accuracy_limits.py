"""Limits of error as values: what a row of an accuracy standard's table says, and where it comes from.

IEC 62053, OIML R 46, EN 50470-3. Rule never to be broken: there is no limit without a source, and a source
that was not read in a text with the force of the standard says "recalled, confirm against the standard".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from pydantic import ConfigDict

_STRICT: Final = ConfigDict(extra="forbid")

CurrentName = Literal["Ist", "Imin", "Itr", "Imax", "0.5 Imax", "reference"]
CurrentBound = float | CurrentName
"""A current of a table: a multiple of the standard's base current, or a current of the meter by name."""


class Basis(StrEnum):
    """How a number came here."""

    READ = "read"
    RECALLED = "recalled"
    OWN = "own"


class Load(StrEnum):
    """Which measuring elements carry current."""

    BALANCED = "balanced"
    SINGLE_PHASE = "single_phase"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a limit comes from.

    Parameters
    ----------
    basis:
        Read in a text with the force of the standard, recalled, or a goal of our own.
    reference:
        The text.
    confidence:
        ``"low"`` for numbers inferred from others.
    """

    __pydantic_config__ = _STRICT

    basis: Basis
    reference: str
    confidence: Literal["usual", "low"] = "usual"

    @property
    def statement(self) -> str:
        """The source as the report shows it."""
        if self.basis is not Basis.RECALLED:
            return self.reference
        doubt = "recalled, low confidence" if self.confidence == "low" else "recalled"
        return f"{self.reference}: {doubt}, confirm against the standard"


@dataclass(frozen=True, slots=True)
class IntrinsicLimit:
    """Limit of the error in a range of currents, at reference conditions otherwise.

    Parameters
    ----------
    load:
        Balanced, or one element at a time.
    begin, end:
        The range of currents, both ends included.
    factor:
        cos phi (``"0.5L"`` inductive, ``"0.8C"`` capacitive) or, for reactive energy, sin phi.
    limit_pct:
        Permissible error, plus and minus, percent.
    source:
        Where it comes from.
    law:
        ``"Imin/I"``: the limit grows with this ratio.
    connection:
        ``"direct"`` or ``"ct"`` where the two differ.
    note:
        For the report.
    """

    load: Load
    begin: CurrentBound
    end: CurrentBound
    factor: tuple[str, ...]
    limit_pct: float
    source: Source
    law: Literal["constant", "Imin/I"] = "constant"
    connection: Literal["direct", "ct"] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class InfluenceLimit:
    """Limit of the change of error by one influence quantity.

    Parameters
    ----------
    test:
        Name of the influence quantity.
    at:
        Current of the test.
    factor:
        cos phi of the test.
    limit_pct:
        Permissible change, percent; for ``temperature_coefficient`` percent per kelvin.
    low_pct:
        The lower limit where it is not the upper one's negative.
    source:
        Where it comes from.
    """

    test: str
    at: CurrentBound
    factor: str
    limit_pct: float
    source: Source
    low_pct: float | None = None


@dataclass(frozen=True, slots=True)
class CompositeLimit:
    """Limit of the composite error by range of ambient temperature (directive 2014/32/EU, MI-003, Table 2).

    Parameters
    ----------
    load, begin, end, factor:
        As in `IntrinsicLimit`.
    limits_pct:
        One for each range of temperature, from the mildest to the harshest.
    source:
        Where they come from.
    """

    load: Load
    begin: CurrentBound
    end: CurrentBound
    factor: tuple[str, ...]
    limits_pct: tuple[float, float, float, float]
    source: Source


@dataclass(frozen=True, slots=True)
class NoLoadRule:
    """The test of no load: voltage (multiple of Un), pulses allowed, and the constant of its duration."""

    voltage: float
    max_pulses: int
    pulse_factor: float
    source: Source
    pulse_factor_source: Source


@dataclass(frozen=True, slots=True)
class ClassLimits:
    """All limits of one accuracy class.

    Parameters
    ----------
    standard, title, name:
        ``"IEC 62053-22"``, its title and ``"0.2S"``.
    quantity:
        ``"active"`` or ``"reactive"``.
    base:
        What a bare number multiplies: the ``reference`` current (Ib, In) or the ``transitional`` (Itr).
    intrinsic, influence, composite:
        Rows of the tables.
    starting:
        Starting current in multiples of the reference current, by connection; empty where it is the
        meter's own Ist.
    no_load:
        None where the standard's limits here have no such test.
    single_difference_pct:
        Largest difference between errors of single-phase and balanced load; None without one.
    repeatability_fraction:
        Standard deviation of repeated runs, as a fraction of the limit of error; None without one.
    source, repeatability_source:
        Of what has no source of its own.
    temperatures:
        Ranges of ambient temperature of `composite`, degrees Celsius.
    """

    standard: str
    title: str
    name: str
    quantity: Literal["active", "reactive"]
    base: Literal["reference", "transitional"]
    source: Source
    intrinsic: tuple[IntrinsicLimit, ...]
    influence: tuple[InfluenceLimit, ...]
    composite: tuple[CompositeLimit, ...]
    starting: Mapping[str, float]
    no_load: NoLoadRule | None
    single_difference_pct: float | None
    repeatability_fraction: float | None
    repeatability_source: Source
    temperatures: tuple[tuple[tuple[float, float], ...], ...]

    @property
    def index_pct(self) -> float:
        """The class index: the limit at the reference current with unity factor, percent."""
        tightest = [row.limit_pct for row in self.intrinsic] + [row.limits_pct[0] for row in self.composite]
        return min(tightest)


@dataclass(frozen=True, slots=True)
class Goals:
    """What openami asks of its own models beyond the standards; ratios to the class index or to a limit."""

    __pydantic_config__ = _STRICT

    source: Source
    full_power_active: float
    full_power_reactive: float
    full_power_apparent: float
    intrinsic: float
    influence: float
    linearity: float
    repeatability: float
    uncertainty: float
    very_low_power_factor_pct: float
    ageing: float

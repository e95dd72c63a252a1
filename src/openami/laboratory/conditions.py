"""What the bench sets before it reads an error: current, phase angle, voltage, frequency, temperature, shape.

A condition is a value: two tests that ask for the same one share one measurement. Angles follow the house
convention: positive when the current lags, so 0.5 inductive is +60 degrees and energy is exported beyond 90.
Rule never to be broken: everything that decides what flows at the terminals is in here, so a point of a
report can be run again from its own row.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from openami.meter.model import Rating
from openami.quantities.errors import MeteringError

REFERENCE_TEMPERATURE_C: Final = 23.0
"""Reference temperature of IEC 62052-11, degrees Celsius."""

ALL_ELEMENTS: Final = ()
"""`Condition.loaded` of a balanced load."""


class Quantity(StrEnum):
    """Which energy is compared with its reference."""

    ACTIVE = "active"
    FUNDAMENTAL_ACTIVE = "fundamental_active"
    HARMONIC_ACTIVE = "harmonic_active"
    REACTIVE = "reactive"
    APPARENT = "apparent"


class WaveformName(StrEnum):
    """Waveforms of the standards, as the generator makes them."""

    SINE = "sine"
    FIFTH_HARMONIC = "fifth_harmonic"
    QUADRIFORM = "quadriform"
    PEAKED = "peaked"
    PHASE_FIRED_90 = "phase_fired_90"
    BURST_FIRED = "burst_fired"
    HALF_WAVE = "half_wave"
    HIGH_ORDER_VOLTAGE = "high_order_voltage"
    HIGH_ORDER_CURRENT = "high_order_current"


@dataclass(frozen=True, slots=True)
class Condition:
    """One setting of the bench.

    Parameters
    ----------
    current_a:
        Rms current of the full sine in each loaded element, A; of distorted waveforms: of the fundamental
        before firing.
    angle_deg:
        By which the current lags the voltage of its element, degrees.
    factor:
        How the angle is called: ``"0.5L"``; ``"sin 0.5L"`` for reactive energy.
    frequency_hz:
        Of the fundamental, Hz.
    voltage:
        Multiple of Un on every element, or one for each.
    temperature_c:
        Ambient temperature, degrees Celsius.
    waveform:
        Shape of voltage and current.
    loaded:
        Elements that carry current, from 0; empty: all.
    reversed_order:
        Phases in the order L1 L3 L2.
    energised_s:
        For how long the load was on before the measurement, s.
    age_years:
        Time in service.
    run:
        Number of a repeated run; it changes noise and starting phase, nothing else.
    measure_s:
        Length of the measurement, whole seconds.
    """

    current_a: float
    angle_deg: float
    factor: str
    frequency_hz: float
    voltage: float | tuple[float, ...] = 1.0
    temperature_c: float = REFERENCE_TEMPERATURE_C
    waveform: WaveformName = WaveformName.SINE
    loaded: tuple[int, ...] = ALL_ELEMENTS
    reversed_order: bool = False
    energised_s: float = 0.0
    age_years: float = 0.0
    run: int = 0
    measure_s: int = 2

    def __post_init__(self) -> None:
        if not (math.isfinite(self.current_a) and self.current_a >= 0):
            raise MeteringError(f"a test current of {self.current_a} A", expected="0 or more")
        if self.measure_s < 1:
            raise MeteringError(f"a measurement of {self.measure_s} s", expected="1 s or more")

    def voltages(self, rating: Rating) -> tuple[float, ...]:
        """Rms voltage of each element, V."""
        if isinstance(self.voltage, tuple):
            return tuple(multiple * rating.un_v for multiple in self.voltage)
        return (self.voltage * rating.un_v,) * rating.phases

    def currents(self, rating: Rating) -> tuple[float, ...]:
        """Rms current of each element, A."""
        loaded = self.loaded or tuple(range(rating.phases))
        return tuple(self.current_a if element in loaded else 0.0 for element in range(rating.phases))

    @property
    def elements(self) -> str:
        """Which elements are loaded: ``"all"`` or ``"L2"``."""
        return "+".join(f"L{element + 1}" for element in self.loaded) or "all"


def angle_of(factor: str) -> float:
    """Angle in degrees of a cos phi written as in the standards: ``"1"``, ``"0.5L"``, ``"0.8C"``, ``"-1"``.

    Raises
    ------
    MeteringError
        Not such a factor.
    """
    value, sign = _parts(factor)
    return sign * math.degrees(math.acos(value))


def angle_of_sine(factor: str) -> float:
    """Angle in degrees of a sin phi written as in the standards: ``"0.5L"`` is +30, ``"0.5C"`` -30.

    Raises
    ------
    MeteringError
        Not such a factor.
    """
    value, sign = _parts(factor)
    return sign * math.degrees(math.asin(value))


def _parts(factor: str) -> tuple[float, float]:
    match = re.fullmatch(r"(-?[01](?:\.\d+)?)([LC]?)", factor)
    if match is None or abs(float(match[1])) > 1:
        raise MeteringError(f"a power factor {factor!r}", expected="'1', '0.5L' or '0.8C'")
    return float(match[1]), -1.0 if match[2] == "C" else 1.0

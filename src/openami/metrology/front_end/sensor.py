"""Sensors: what a shunt, transformer, coil or divider makes of the current or voltage at the terminals.

A sensor is given as its data sheet gives it: ratio error (%) and phase displacement (minutes of arc) over
the load, in the sense of IEC 61869-2 (ratio error positive: the secondary is too large; phase displacement
positive: the secondary *leads*), and how both move with temperature. What the data sheet says at the rated
frequency is continued to other frequencies by the physics of the kind: a magnetising branch or an
integrator is a lower corner (phase displacement goes as 1/f, direct current is blocked), a stray inductance
or capacitance is a time constant (phase displacement goes as f, direct current passes).

Never to be broken: at the rated frequency and the reference temperature, away from direct current, ratio
error and phase displacement are *exactly* those of the table; a model made worse by a stated amount is worse
by that amount.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from openami.metrology.front_end.response import ChannelResponse
from openami.quantities.errors import MeteringError

MINUTE_RAD = math.pi / 180.0 / 60.0
"""One minute of arc in radians."""

_LARGEST_RATIO_PERCENT = 50.0
_LARGEST_PHASE_MINUTES = 60.0 * 60.0


class SensorKind(Enum):
    """Kind of a sensor; the value is its name in a model's TOML."""

    SHUNT = "shunt"
    """Resistor in the current path: passes direct current; its stray inductance makes the voltage lead."""
    CURRENT_TRANSFORMER = "current_transformer"
    """High permeability core: small phase displacement, saturated by direct current."""
    DC_TOLERANT_TRANSFORMER = "dc_tolerant_transformer"
    """Low permeability core: phase displacement of degrees, blocks direct current without saturating."""
    ROGOWSKI_COIL = "rogowski_coil"
    """Coil without a core and an integrator: linear, with the integrator's lower corner."""
    RESISTIVE_DIVIDER = "resistive_divider"
    """Voltage divider of resistors: passes direct voltage; stray capacitance makes the output lag."""
    CAPACITIVE_DIVIDER = "capacitive_divider"
    """Voltage divider of capacitors with a resistive burden: a lower corner."""

    @property
    def passes_dc(self) -> bool:
        """True when direct current (voltage) reaches the converter."""
        return self in (SensorKind.SHUNT, SensorKind.RESISTIVE_DIVIDER)


@dataclass(frozen=True, slots=True)
class ErrorCurve:
    """Ratio error and phase displacement over the load, as a data sheet or test certificate gives them.

    Between the points the curve is linear over the *logarithm* of the load (the customary axis of an error
    curve); outside it keeps its end values.

    Parameters
    ----------
    load:
        (points,) rms load in multiples of the rated value, above 0, strictly increasing.
    ratio_percent:
        (points,) ratio error in %.
    phase_minutes:
        (points,) phase displacement in minutes of arc, positive when the output leads.

    Raises
    ------
    MeteringError
        Columns of different length, load not increasing, or an error that is no sensor's.
    """

    load: tuple[float, ...] = (1.0,)
    ratio_percent: tuple[float, ...] = (0.0,)
    phase_minutes: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        if not len(self.load) == len(self.ratio_percent) == len(self.phase_minutes) or not self.load:
            raise MeteringError(
                f"an error curve of {len(self.load)} loads, {len(self.ratio_percent)} ratio errors and "
                f"{len(self.phase_minutes)} phase displacements",
                expected="one of each per point, at least one point",
            )
        if not all(math.isfinite(x) and x > 0 for x in self.load) or any(
            b <= a for a, b in zip(self.load, self.load[1:], strict=False)
        ):
            raise MeteringError(
                f"loads {self.load} of an error curve", expected="multiples above 0, strictly increasing"
            )
        for name, column, largest in (
            ("ratio errors", self.ratio_percent, _LARGEST_RATIO_PERCENT),
            ("phase displacements", self.phase_minutes, _LARGEST_PHASE_MINUTES),
        ):
            if not all(math.isfinite(x) and abs(x) <= largest for x in column):
                raise MeteringError(
                    f"{name} {column} of an error curve", expected=f"finite, at most {largest:g} either way"
                )

    def at(self, load: float) -> tuple[float, float]:
        """Ratio error (%) and phase displacement (minutes) at ``load`` multiples of the rated value."""
        position = math.log(load) if load > 0 else -math.inf
        axis = [math.log(x) for x in self.load]
        ratio = float(np.interp(position, axis, self.ratio_percent))
        return ratio, float(np.interp(position, axis, self.phase_minutes))

    def shifted(self, ratio_percent: float, phase_minutes: float) -> ErrorCurve:
        """The curve of a sensor whose output is larger by ``ratio_percent`` and leads by ``phase_minutes``.

        Ratio errors compose as factors: a sensor of -0.2 % made worse by +0.1 % has
        (1 - 0.002)(1 + 0.001) - 1.
        """
        factor = 1.0 + ratio_percent / 100.0
        return ErrorCurve(
            self.load,
            tuple(((1.0 + x / 100.0) * factor - 1.0) * 100.0 for x in self.ratio_percent),
            tuple(x + phase_minutes for x in self.phase_minutes),
        )


@dataclass(frozen=True, slots=True)
class Operation:
    """What a sensor is exposed to while its errors are asked for.

    Parameters
    ----------
    load:
        Rms load in multiples of the rated value.
    dc_load:
        Direct component in multiples of the rated value, without sign.
    temperature_c:
        Ambient temperature in °C.
    seconds_on:
        How long the load has been on; the self-heating follows it.
    """

    load: float
    dc_load: float = 0.0
    temperature_c: float = 23.0
    seconds_on: float = math.inf


@dataclass(frozen=True, slots=True)
class SensorModel:
    """A sensor as its data sheet describes it.

    Parameters
    ----------
    kind:
        What it is; decides the frequency law and what happens to direct current.
    rated:
        Rated rms value of its input (A or V): the unit of the loads of ``errors``.
    errors:
        Ratio error and phase displacement over the load at ``rated_frequency_hz`` and
        ``reference_temperature_c``.
    ratio_ppm_per_k, phase_minutes_per_k:
        Temperature coefficients of both.
    reference_temperature_c, rated_frequency_hz:
        Where the table holds.
    dc_saturation:
        Direct current, in multiples of the rated value, at which the magnetising inductance has fallen to
        one half; infinite for everything but a plain current transformer.
    self_heating_k:
        Temperature rise in K at the rated load after a long time (it goes with the square of the load).
    self_heating_time_constant_s:
        Time constant of that rise.

    Notes
    -----
    The lower corner of a transformer at rated frequency f0 and displacement δ is fc = f0·tan δ, from
    H = jf/(jf + fc), the primary current less what the magnetising inductance takes. A direct current of
    x·``dc_saturation`` divides that inductance by 1 + x², so fc grows by it: ratio falls and the phase leads,
    as in a saturated core. This is a lumped model (recalled, not of a standard); what it keeps right is that
    both errors come from one cause and that the fundamental collapses at several times the limit.
    """

    kind: SensorKind
    rated: float
    errors: ErrorCurve = field(default_factory=ErrorCurve)
    ratio_ppm_per_k: float = 0.0
    phase_minutes_per_k: float = 0.0
    reference_temperature_c: float = 23.0
    rated_frequency_hz: float = 50.0
    dc_saturation: float = math.inf
    self_heating_k: float = 0.0
    self_heating_time_constant_s: float = 600.0

    def __post_init__(self) -> None:
        for name, value in (
            ("rated", self.rated),
            ("rated_frequency_hz", self.rated_frequency_hz),
            ("self_heating_time_constant_s", self.self_heating_time_constant_s),
        ):
            if not (math.isfinite(value) and value > 0):
                raise MeteringError(f"{name} = {value:g} of a sensor", expected="a number above 0")
        for name, value in (
            ("ratio_ppm_per_k", self.ratio_ppm_per_k),
            ("phase_minutes_per_k", self.phase_minutes_per_k),
            ("reference_temperature_c", self.reference_temperature_c),
            ("self_heating_k", self.self_heating_k),
        ):
            if not math.isfinite(value):
                raise MeteringError(f"{name} = {value:g} of a sensor", expected="a finite number")
        if not self.dc_saturation > 0:
            raise MeteringError(f"dc_saturation = {self.dc_saturation:g}", expected="above 0, or infinite")
        if math.isfinite(self.dc_saturation) and self.kind is not SensorKind.CURRENT_TRANSFORMER:
            raise MeteringError(
                f"a {self.kind.value} does not saturate with direct current",
                expected="dc_saturation with kind current_transformer only",
            )

    def temperature_rise_k(self, load: float, seconds_on: float) -> float:
        """Self-heating in K after ``seconds_on`` seconds at ``load`` multiples of the rated value."""
        settled = -math.expm1(-max(seconds_on, 0.0) / self.self_heating_time_constant_s)
        return self.self_heating_k * load * load * settled

    def errors_at(self, operation: Operation) -> tuple[float, float]:
        """Ratio error (%) and phase displacement (minutes) at the rated frequency, without direct current."""
        ratio, phase = self.errors.at(operation.load)
        above_k = (
            operation.temperature_c
            + self.temperature_rise_k(operation.load, operation.seconds_on)
            - self.reference_temperature_c
        )
        factor = (1.0 + ratio / 100.0) * (1.0 + self.ratio_ppm_per_k * 1e-6 * above_k)
        return (factor - 1.0) * 100.0, phase + self.phase_minutes_per_k * above_k

    def response(self, operation: Operation) -> ChannelResponse:
        """Frequency response of the sensor in one operating state, exact at the rated frequency."""
        ratio, minutes = self.errors_at(operation)
        gain = 1.0 + ratio / 100.0
        displacement = minutes * MINUTE_RAD
        if self.kind.passes_dc:
            lead_s = math.tan(displacement) / (2.0 * math.pi * self.rated_frequency_hz)
            shape = math.cos(displacement) if lead_s >= 0 else 1.0 / math.cos(displacement)
            return ChannelResponse(gain=gain * shape, lead_s=lead_s)
        corner_hz = self.rated_frequency_hz * math.tan(displacement)
        bias = operation.dc_load / self.dc_saturation
        return ChannelResponse(
            gain=gain / math.cos(displacement),
            blocks_dc=True,
            lower_corner_hz=corner_hz * (1.0 + bias * bias),
        )

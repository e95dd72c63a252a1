"""One measurement: the device against the closed-form reference, by registers and by pulses.

By registers the bench reads the device at both ends of whole cycles and compares the advance with the
integral of u i over the same interval. By pulses it does what a verification bench does: it counts the
reference energy between the device's pulses (error = (m0 - m) / m). Rule never to be broken: the reference is
computed from the waveform alone, and an error is related to the true energy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from openami.laboratory.conditions import Condition, Quantity
from openami.laboratory.device_under_test import DeviceUnderTest, Exposure, Observation
from openami.laboratory.loads import part_s_of, waveform_of
from openami.laboratory.uncertainty import UncertaintyBudget, budget_of, pulse_uncertainty_pct
from openami.meter.model import Rating
from openami.metrology.waveform.closed_form import Reference, reference
from openami.metrology.waveform.polyphase import Waveform

F64 = npt.NDArray[np.float64]

_FEWEST_PULSES: Final = 3
_NOTHING: Final = 1e-9
"""Share of the apparent energy below which an energy is no energy."""


@dataclass(frozen=True, slots=True)
class ErrorReading:
    """Error of one quantity at one condition.

    Parameters
    ----------
    error_pct:
        (registered - true) / true, percent; of harmonic energy related to the total active energy.
    budget:
        Its uncertainty.
    true_ws, registered_ws:
        Energies of the whole measurement, Ws.
    """

    error_pct: float
    budget: UncertaintyBudget
    true_ws: float
    registered_ws: float


@dataclass(frozen=True, slots=True)
class PulseReading:
    """Error of active energy by pulses.

    Parameters
    ----------
    error_pct, uncertainty_pct:
        Error and its expanded uncertainty, percent.
    pulses:
        Intervals between pulses that were counted.
    """

    error_pct: float
    uncertainty_pct: float
    pulses: int


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything measured at one condition.

    Parameters
    ----------
    errors:
        By quantity; empty without energy (no load).
    energy_ws:
        Advance of the registers by part, Ws, (parts,).
    seconds:
        Length of the measurement.
    pulses:
        Error by pulses; None where there are too few.
    pulse_ws:
        Energy of one pulse, Ws.
    flagged_parts:
        As in `Observation`.
    """

    errors: Mapping[Quantity, ErrorReading]
    energy_ws: Mapping[Quantity, F64]
    seconds: float
    pulses: PulseReading | None
    pulse_ws: float
    flagged_parts: int


def measure(device: DeviceUnderTest, condition: Condition, rating: Rating) -> Reading:
    """Measure a device at one condition.

    Parameters
    ----------
    device:
        The meter.
    condition:
        What the bench sets.
    rating:
        Of the meter, for voltages and phases.

    Raises
    ------
    MeteringError
        The condition cannot be made into a waveform of the device.
    """
    waveform = waveform_of(condition, rating)
    part_s = part_s_of(condition)
    parts = max(round(condition.measure_s / part_s), 1)
    begin_s = math.ceil(max(condition.energised_s, device.settling_s))
    exposure = Exposure(waveform, float(begin_s), part_s, parts, condition.temperature_c, condition.run)
    observed = device.observe(exposure)
    true = reference(waveform, observed.begin_s, observed.end_s, condition.frequency_hz)
    return Reading(
        _errors(observed, true),
        observed.energy_ws,
        observed.end_s - observed.begin_s,
        _by_pulses(observed, waveform, condition),
        observed.pulse_ws,
        observed.flagged_parts,
    )


def _errors(observed: Observation, true: Reference) -> dict[Quantity, ErrorReading]:
    active, fundamental = true.total_active_ws, true.total_fundamental_active_ws
    true_ws = {
        Quantity.ACTIVE: active,
        Quantity.FUNDAMENTAL_ACTIVE: fundamental,
        Quantity.HARMONIC_ACTIVE: active - fundamental,
        Quantity.REACTIVE: true.total_fundamental_reactive_ws,
        Quantity.APPARENT: math.fsum(true.apparent_vas),
    }
    errors = {}
    for quantity, parts in observed.energy_ws.items():
        scale = active if quantity is Quantity.HARMONIC_ACTIVE else true_ws[quantity]
        if abs(scale) <= _NOTHING * true_ws[Quantity.APPARENT]:
            continue  # no energy of this kind flows: there is nothing to relate an error to
        registered = math.fsum(parts)
        error_pct = 100.0 * (registered - true_ws[quantity]) / scale
        scattering = parts if observed.runs_evenly else np.zeros_like(parts)
        fundamental_alone = quantity in (Quantity.REACTIVE, Quantity.FUNDAMENTAL_ACTIVE)
        bounds = true.fundamental_uncertainty_ws if fundamental_alone else true.active_uncertainty_ws
        budget = budget_of(scattering, observed.part_s, scale, observed.resolution_ws, math.fsum(bounds))
        errors[quantity] = ErrorReading(error_pct, budget, true_ws[quantity], registered)
    return errors


def _by_pulses(observed: Observation, waveform: Waveform, condition: Condition) -> PulseReading | None:
    """Reference energy between the device's first and last pulse against the energy the pulses stand for."""
    instants = observed.pulse_s
    if instants.size < _FEWEST_PULSES or observed.pulse_ws <= 0:
        return None
    first, last = float(instants[0]), float(instants[-1])
    true = reference(waveform, first, last, condition.frequency_hz)
    true_ws = abs(true.total_active_ws)
    if true_ws == 0.0:
        return None
    counted = instants.size - 1
    error_pct = 100.0 * (counted * observed.pulse_ws - true_ws) / true_ws
    span_s = last - first
    share = true_ws / max(math.fsum(true.apparent_vas), true_ws)
    ripple = 1.0 / (2.0 * math.pi * condition.frequency_hz * span_s * share) if waveform.phases == 1 else 0.0
    uncertainty = pulse_uncertainty_pct(span_s, observed.pulse_resolution_s, ripple)
    return PulseReading(error_pct, uncertainty, counted)

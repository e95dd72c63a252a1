"""Influence quantities: by how much one of them, alone, changes the error.

IEC 62053-21/-22 clause 8.2 and the influence tables of OIML R 46: voltage, frequency, waveform, unbalance,
phase order, temperature, self-heating. Magnetic and radio-frequency fields, tilt, auxiliary devices, fast
transients and the short overcurrent act on hardware and are listed as not covered. Rule never to be broken:
everything but the influence quantity stays at reference conditions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from openami.laboratory.accuracy_limits import ClassLimits, InfluenceLimit
from openami.laboratory.checks import Check, Law
from openami.laboratory.conditions import Condition, Quantity, WaveformName
from openami.laboratory.current_range import Size, current_a
from openami.laboratory.intrinsic_tests import condition_at
from openami.meter.model import Rating

NOT_COVERED: Final[Mapping[str, str]] = {
    "auxiliary": "operation of auxiliary devices",
    "dc_magnetic": "continuous magnetic induction of external origin",
    "ac_magnetic": "magnetic induction of 0.5 mT of external origin",
    "radio_frequency": "radio-frequency fields and conducted disturbances",
    "fast_transients": "fast transient bursts",
    "tilt": "oblique suspension by 3 degrees",
    "short_overcurrent": "short overcurrent",
}
"""Tests of the tables that act on hardware alone, with what they are."""

_WAVEFORMS: Final = frozenset(name.value for name in WaveformName)
_THREE_PHASE: Final = frozenset(
    {"reversed_phase_sequence", "voltage_unbalance", "phase_interruption", "load_balance"}
)
_SEVERE: Final = {Size.FULL: (0.8, 0.85, 1.15), Size.QUICK: (0.8, 1.15)}
_LOW: Final = {Size.FULL: (0.7, 0.5, 0.3, 0.1), Size.QUICK: (0.5,)}
_HEATED_S: Final = {Size.FULL: (600.0, 1800.0, 3600.0, 7200.0), Size.QUICK: (3600.0,)}
TEMPERATURE_SPAN_K: Final = 20.0
"""Interval over which a mean temperature coefficient is taken, IEC 62053-21/-22 clause 8.2."""


def influence_checks(limits: ClassLimits, rating: Rating, size: Size) -> Iterator[Check]:
    """The checks of every influence quantity of a class that a software bench can apply."""
    for row in limits.influence:
        if row.test in NOT_COVERED or (row.test in _THREE_PHASE and rating.phases == 1):
            continue
        if row.test == "half_wave" and rating.connection == "ct":
            continue  # direct current does not pass an external transformer
        base = condition_at(rating, current_a(row.at, rating, limits.base), row.factor)
        for first, second in pairs(row, base, rating, size):
            law = Law.PER_KELVIN if row.test == "temperature_coefficient" else Law.CHANGE
            yield Check(
                row.test, Quantity.ACTIVE, law, (first, second), row.limit_pct, row.source, low=row.low_pct
            )


def not_covered(limits: ClassLimits) -> tuple[str, ...]:
    """Tests of the class's tables that this bench cannot do, by name, each once."""
    return tuple(dict.fromkeys(row.test for row in limits.influence if row.test in NOT_COVERED))


def pairs(
    row: InfluenceLimit, base: Condition, rating: Rating, size: Size
) -> Iterator[tuple[Condition, Condition]]:
    """Conditions with and without the influence quantity of a row."""
    nominal = rating.nominal_hz
    match row.test:
        case "voltage":
            changed = [replace(base, voltage=multiple) for multiple in (0.9, 1.1)]
        case "severe_voltage":
            changed = [replace(base, voltage=multiple) for multiple in _SEVERE[size]]
        case "low_voltage":
            changed = [replace(base, voltage=multiple) for multiple in _LOW[size]]
        case "frequency":
            changed = [replace(base, frequency_hz=nominal * multiple) for multiple in (0.98, 1.02)]
        case "temperature_coefficient":
            for low in temperature_starts(rating, size):
                high = low + TEMPERATURE_SPAN_K
                yield replace(base, temperature_c=high), replace(base, temperature_c=low)
            return
        case "reversed_phase_sequence":
            changed = [replace(base, reversed_order=True)]
        case "voltage_unbalance":
            changed = [replace(base, voltage=(0.0, 1.0, 1.0)), replace(base, voltage=(0.0, 0.0, 1.0))]
        case "phase_interruption":
            changed = [replace(base, voltage=(0.0, 1.0, 1.0))]
        case "load_balance":
            changed = [replace(base, loaded=(element,)) for element in range(rating.phases)]
        case "self_heating":
            changed = [replace(base, energised_s=seconds) for seconds in _HEATED_S[size]]
        case name if name in _WAVEFORMS:
            changed = [replace(base, waveform=WaveformName(name))]
        case _:
            changed = []
    yield from ((condition, base) for condition in changed)


def temperature_starts(rating: Rating, size: Size) -> tuple[float, ...]:
    """Lower ends of the spans over which temperature coefficients are taken, degrees Celsius."""
    if size is Size.QUICK:
        return (13.0,)
    low, high = rating.temperature_c
    starts = [low]
    while starts[-1] + 2 * TEMPERATURE_SPAN_K <= high:
        starts.append(starts[-1] + TEMPERATURE_SPAN_K)
    return tuple(starts)

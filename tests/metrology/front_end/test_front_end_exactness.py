"""What a front end is said to do wrong is what it does wrong: each modelled error against its closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest

from openami.metrology.front_end.converter import ConverterModel
from openami.metrology.front_end.front_end import ChannelModel, FrontEnd, FrontEndParameters, worsened
from openami.metrology.front_end.sensor import SensorKind, SensorModel
from openami.metrology.waveform.polyphase import balanced

MINUTE = math.pi / 180 / 60
RATE = 12800.0
CT = SensorModel(SensorKind.CURRENT_TRANSFORMER, 5.0)
SHUNT = SensorModel(SensorKind.SHUNT, 5.0)
DIVIDER = SensorModel(SensorKind.RESISTIVE_DIVIDER, 230.0)


def parameters(current: SensorModel = CT, **converter: float) -> FrontEndParameters:
    """One phase, 31 bits so that rounding is far below what is asserted, 230 V and 5 A."""
    u = ChannelModel(DIVIDER, ConverterModel(31, 460.0))
    i = ChannelModel(current, ConverterModel(31, 14.14, **converter))
    return FrontEndParameters(RATE, (u,), (i,))


def power_w(
    front_end: FrontEndParameters,
    pf: float,
    frequency_hz: float = 50.0,
    i_a: float = 5.0,
    temperature_c: float = 23.0,
    first_sample: int = 0,
) -> float:
    """Mean of u·i over one second of a sine at a power factor, current lagging."""
    waveform = balanced(230.0, i_a, math.degrees(math.acos(pf)), frequency_hz, phases=1)
    end = FrontEnd(front_end)
    samples = end.convert(waveform, first_sample, int(RATE), temperature_c=temperature_c)
    product = samples.u[0].astype(np.float64) @ samples.i[0].astype(np.float64) / RATE
    return float(product * end.u_v_per_count[0] * end.i_a_per_count[0])


def ppm(worse: float, good: float) -> float:
    return (worse / good - 1.0) * 1e6


@pytest.mark.parametrize("pf", [1.0, 0.5, 0.01])
def test_a_perfect_front_end_measures_the_closed_form(pf: float) -> None:
    assert ppm(power_w(parameters(), pf), 230.0 * 5.0 * pf) == pytest.approx(0.0, abs=0.01 / pf)


@pytest.mark.parametrize("pf", [1.0, 0.5, 0.01])
def test_a_ratio_error_of_a_tenth_of_a_percent_is_a_thousand_ppm(pf: float) -> None:
    worse = worsened(parameters(), current_ratio_percent=0.1)
    assert ppm(power_w(worse, pf), power_w(parameters(), pf)) == pytest.approx(1000.0, abs=0.02 / pf)


@pytest.mark.parametrize("minutes", [1.0, -1.0, 10.0])
@pytest.mark.parametrize("pf", [1.0, 0.5, 0.01])
@pytest.mark.parametrize("sensor", [CT, SHUNT], ids=["corner", "inductance"])
def test_a_phase_displacement_is_the_error_of_its_angle(
    pf: float, minutes: float, sensor: SensorModel
) -> None:
    worse = worsened(parameters(sensor), current_phase_minutes=minutes)
    expected = ppm(math.cos(math.acos(pf) - minutes * MINUTE), pf)
    assert ppm(power_w(worse, pf), power_w(parameters(sensor), pf)) == pytest.approx(expected, abs=0.03 / pf)

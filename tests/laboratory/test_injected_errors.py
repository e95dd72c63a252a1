"""A front end made worse by a stated amount is reported worse by that amount, within 10 ppm."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pytest

from openami.laboratory.conditions import Condition, Quantity, WaveformName
from openami.laboratory.devices import aged, factory_calibration, front_end_of
from openami.laboratory.intrinsic_tests import condition_at, reactive_condition_at
from openami.laboratory.measurement import measure
from openami.laboratory.service_life import drift_at
from openami.laboratory.software_meter import SoftwareMeter
from openami.meter.model import AgeingTarget, MeterModel, meter_model
from openami.metrology.front_end.calibration_record import CalibrationRecord
from openami.metrology.front_end.front_end import ChannelModel, FrontEndParameters, worsened

TEN_PPM = 10e-4  # percent
MINUTE = math.radians(1 / 60)


@cache
def _sound(name: str) -> tuple[MeterModel, FrontEndParameters, CalibrationRecord | None]:
    model = meter_model(name)
    parameters = front_end_of(model)
    return model, parameters, factory_calibration(model, parameters)


def _error(name: str, parameters: FrontEndParameters, condition: Condition, quantity: Quantity) -> float:
    model, _, calibration = _sound(name)
    device = SoftwareMeter(model, parameters, calibration)
    return measure(device, condition, model.rating).errors[quantity].error_pct


def _reported(
    name: str, worse: FrontEndParameters, condition: Condition, quantity: Quantity = Quantity.ACTIVE
) -> float:
    """By how much the bench reports the worse device worse than the sound one, percent."""
    _, sound, _ = _sound(name)
    return _error(name, worse, condition, quantity) - _error(name, sound, condition, quantity)


@pytest.mark.parametrize("name", ["gateway_01s", "ct_02s", "sg2013_three"])
@pytest.mark.parametrize("factor", ["1", "0.5L"])
def test_a_ratio_error_is_reported_as_it_is(name: str, factor: str) -> None:
    model, sound, _ = _sound(name)
    condition = condition_at(model.rating, model.rating.reference_a, factor)
    by_current = _reported(name, worsened(sound, current_ratio_percent=0.1), condition)
    assert by_current == pytest.approx(0.1, abs=TEN_PPM)
    both = worsened(sound, current_ratio_percent=-0.05, voltage_ratio_percent=-0.02)
    assert _reported(name, both, condition) == pytest.approx(-0.07, abs=TEN_PPM)


@pytest.mark.parametrize("name", ["gateway_01s", "ct_02s", "sg2013_three"])
@pytest.mark.parametrize(("factor", "angle"), [("0.5L", 60.0), ("0.5C", -60.0), ("0.25L", 75.52248781407)])
def test_a_phase_displacement_is_reported_by_its_power(name: str, factor: str, angle: float) -> None:
    model, sound, _ = _sound(name)
    condition = condition_at(model.rating, model.rating.reference_a, factor)
    reported = _reported(name, worsened(sound, current_phase_minutes=2.0), condition)
    # the current leads by 2' more: cos(phi - delta) / cos(phi) - 1
    phi = math.radians(angle)
    expected = 100.0 * (math.cos(phi - 2.0 * MINUTE) / math.cos(phi) - 1.0)
    assert reported == pytest.approx(expected, abs=TEN_PPM)


def test_a_phase_displacement_is_reported_by_its_reactive_power() -> None:
    model, sound, _ = _sound("gateway_01s")
    condition = reactive_condition_at(model.rating, 1.0, "0.5L")
    worse = worsened(sound, current_phase_minutes=2.0)
    reported = _reported("gateway_01s", worse, condition, Quantity.REACTIVE)
    phi = math.radians(30.0)
    expected = 100.0 * (math.sin(phi - 2.0 * MINUTE) / math.sin(phi) - 1.0)
    assert reported == pytest.approx(expected, abs=TEN_PPM)


def test_a_ratio_error_of_one_phase_is_a_third_of_it() -> None:
    model, sound, _ = _sound("gateway_01s")
    worse = worsened(sound, current_ratio_percent=0.3)
    first_only = replace(sound, current=(worse.current[0], *sound.current[1:]))
    condition = condition_at(model.rating, 1.0, "1")
    assert _reported("gateway_01s", first_only, condition) == pytest.approx(0.1, abs=TEN_PPM)
    alone = replace(condition, loaded=(0,))
    assert _reported("gateway_01s", first_only, alone) == pytest.approx(0.3, abs=TEN_PPM)
    other = replace(condition, loaded=(1,))
    assert _reported("gateway_01s", first_only, other) == pytest.approx(0.0, abs=TEN_PPM)


def test_a_temperature_coefficient_is_reported_per_kelvin() -> None:
    model, sound, _ = _sound("gateway_01s")

    def warmer(channel: ChannelModel) -> ChannelModel:
        sensor = replace(channel.sensor, ratio_ppm_per_k=channel.sensor.ratio_ppm_per_k + 20.0)
        return replace(channel, sensor=sensor)

    worse = replace(sound, current=tuple(warmer(channel) for channel in sound.current))
    base = condition_at(model.rating, 1.0, "1")
    for temperature_c in (3.0, 43.0):
        reported = _reported("gateway_01s", worse, replace(base, temperature_c=temperature_c))
        assert reported == pytest.approx(20e-4 * (temperature_c - 23.0), abs=TEN_PPM)


def test_a_ratio_error_is_reported_under_harmonics_and_off_nominal_too() -> None:
    model, sound, _ = _sound("ct_02s")
    worse = worsened(sound, current_ratio_percent=0.1)
    base = condition_at(model.rating, 5.0, "1")
    for condition in (
        replace(base, waveform=WaveformName.FIFTH_HARMONIC),
        replace(base, waveform=WaveformName.QUADRIFORM),
        replace(base, waveform=WaveformName.BURST_FIRED, measure_s=4),
        replace(base, frequency_hz=49.0),
    ):
        assert _reported("ct_02s", worse, condition) == pytest.approx(0.1, abs=TEN_PPM)


def test_age_moves_the_error_by_the_budget() -> None:
    model, sound, _ = _sound("gateway_01s")
    condition = condition_at(model.rating, 1.0, "1")
    for years in (5.0, 10.0, 15.0):
        drift = drift_at(model, years)
        ratio = drift[AgeingTarget.VOLTAGE_RATIO] + drift[AgeingTarget.CURRENT_RATIO]
        reported = _reported("gateway_01s", aged(sound, model, years), condition)
        assert reported == pytest.approx(ratio, abs=TEN_PPM)
    assert drift_at(model, 15.0)[AgeingTarget.VOLTAGE_RATIO] == 0.005
    assert drift_at(model, 3.75)[AgeingTarget.VOLTAGE_RATIO] == pytest.approx(0.0025)  # a square root law
    assert drift_at(model, 7.5)[AgeingTarget.CURRENT_PHASE] == pytest.approx(0.025)  # a linear one

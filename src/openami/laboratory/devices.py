"""From a model to the device that goes on the bench, at any age.

A digital meter is calibrated once, new, as its model says; the ageing budget then worsens its front end and
the calibration stays. Rule never to be broken: the seed makes the noise of the one device and nothing else,
so two seeds are two meters of a kind.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from openami.laboratory.device_under_test import DeviceSource, DeviceUnderTest
from openami.laboratory.principle_meter import principle_meter
from openami.laboratory.service_life import drift_at
from openami.laboratory.software_meter import SoftwareMeter
from openami.meter.model import AgeingTarget, MeterModel, Principle
from openami.metrology.front_end.calibration import calibrate, calibration_plan_from_table
from openami.metrology.front_end.calibration_record import CalibrationRecord
from openami.metrology.front_end.front_end import FrontEnd, FrontEndParameters, worsened
from openami.metrology.front_end.front_end_toml import front_end_from_table

_CALIBRATED_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Date in the record of a calibration in software; nothing depends on it."""

_DEVICE_STEP: Final = 7919


def device_source(model: MeterModel, seed: int = 1) -> DeviceSource:
    """The device of a model by its age.

    Parameters
    ----------
    model:
        The meter.
    seed:
        Which device of the kind.

    Raises
    ------
    MeteringError, FormatError
        The model's front end or calibration cannot be made.
    """
    if model.principle is not Principle.DIGITAL:

        def of_principle(age_years: float) -> DeviceUnderTest:
            drift = drift_at(model, age_years)[AgeingTarget.REGISTERED_ENERGY]
            return principle_meter(model, 1.0 + drift / 100.0)

        return of_principle
    parameters = front_end_of(model, seed)
    calibration = factory_calibration(model, parameters)

    def at_age(age_years: float) -> DeviceUnderTest:
        return SoftwareMeter(model, aged(parameters, model, age_years), calibration)

    return at_age


def front_end_of(model: MeterModel, seed: int = 1) -> FrontEndParameters:
    """Front end of one device of a digital model."""
    parameters = front_end_from_table(model.front_end)
    return replace(parameters, seed=parameters.seed + _DEVICE_STEP * seed)


def factory_calibration(model: MeterModel, parameters: FrontEndParameters) -> CalibrationRecord | None:
    """The calibration of the first day, at the points of the model; None when it has none."""
    if not model.calibration:
        return None
    plan = calibration_plan_from_table(model.calibration)
    rated_a = parameters.current[0].sensor.rated
    return calibrate(
        FrontEnd(parameters),
        plan.points(model.rating.un_v, rated_a),
        at=_CALIBRATED_AT,
        who="openami laboratory",
        meter=model.name,
    )


def aged(parameters: FrontEndParameters, model: MeterModel, age_years: float) -> FrontEndParameters:
    """The front end after years in service, by the model's ageing budget."""
    if age_years == 0:
        return parameters
    drift = drift_at(model, age_years)
    return worsened(
        parameters,
        voltage_ratio_percent=drift[AgeingTarget.VOLTAGE_RATIO],
        current_ratio_percent=drift[AgeingTarget.CURRENT_RATIO],
        current_phase_minutes=drift[AgeingTarget.CURRENT_PHASE],
    )

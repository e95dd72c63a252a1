"""The software meter on the bench: front end, compensation and energy path, as the model says.

The very program that meters is tested: the counts of the front end pass the compensation that its calibration
made, and the energy path's registers are read at the ends of its windows. Rule never to be broken: the
calibration is that of the first day; a meter that has aged is not calibrated again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from openami.laboratory.conditions import Quantity
from openami.laboratory.device_under_test import Exposure, Observation
from openami.meter.model import MeterModel
from openami.metrology.energy.energy_path import EnergyPath
from openami.metrology.energy.pulse_output import PulseOutput
from openami.metrology.energy.registers import Register, SumMode
from openami.metrology.energy.settings import EnergySettings
from openami.metrology.energy.thresholds import Threshold
from openami.metrology.energy.window_quantities import WindowFlag
from openami.metrology.front_end.calibration import compensation_settings
from openami.metrology.front_end.calibration_record import CalibrationRecord
from openami.metrology.front_end.compensation import CompensationSettings, DynamicCompensation
from openami.metrology.front_end.front_end import FrontEnd, FrontEndParameters
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]

_WS_PER_MWH: Final = 3.6
_WS_PER_KWH: Final = 3.6e6
_WIDEST_BITS: Final = 24
_SEED_STEP: Final = 1_000_003
_SETTLING_S: Final = 2.0
_CHUNKS_PER_S: Final = 10
_SIGNED: Final = {
    Quantity.ACTIVE: ((Register.ACTIVE_IMPORT,), (Register.ACTIVE_EXPORT,)),
    Quantity.FUNDAMENTAL_ACTIVE: ((Register.FUNDAMENTAL_IMPORT,), (Register.FUNDAMENTAL_EXPORT,)),
    Quantity.HARMONIC_ACTIVE: ((Register.HARMONIC_IMPORT,), (Register.HARMONIC_EXPORT,)),
    Quantity.REACTIVE: (
        (Register.REACTIVE_I, Register.REACTIVE_II),
        (Register.REACTIVE_III, Register.REACTIVE_IV),
    ),
    Quantity.APPARENT: ((Register.APPARENT_IMPORT, Register.APPARENT_EXPORT), ()),
}
"""Registers of the total that count for and against each quantity."""


class SoftwareMeter:
    """A meter of a digital model.

    Invariant: what it registers is a function of the model, the seed, the age and the exposure.

    Parameters
    ----------
    model:
        The meter.
    parameters:
        Its front end as it is now (aged, made worse on purpose).
    calibration:
        Of its first day; None: the nominal scales of the converter are believed.
    """

    def __init__(
        self, model: MeterModel, parameters: FrontEndParameters, calibration: CalibrationRecord | None
    ) -> None:
        if parameters.phases != model.rating.phases:
            raise MeteringError(
                f"a front end of {parameters.phases} phases",
                where=f"model {model.name}",
                expected=f"{model.rating.phases}",
            )
        self.model = model
        self.parameters = parameters
        self.calibration = calibration
        self._compensation = self._compensation_settings()
        self._energy = self._energy_settings()

    @property
    def compensation(self) -> CompensationSettings | None:
        """What its calibration undoes; None where it has none."""
        return self._compensation

    @property
    def energy_settings(self) -> EnergySettings:
        """Settings of its energy path."""
        return self._energy

    @property
    def settling_s(self) -> float:
        """Time for the windows to lock and the compensation to know the load."""
        return _SETTLING_S

    @property
    def quantities(self) -> frozenset[Quantity]:
        """Everything the energy path registers."""
        return frozenset(_SIGNED)

    def observe(self, exposure: Exposure) -> Observation:
        """Expose the device and read its registers where windows end.

        Raises
        ------
        MeteringError
            The waveform has another number of phases than the device.
        """
        readings, pulses = self._readings(exposure)
        chosen = _nearest(readings, exposure, self.parameters.rate_hz)
        front_end = FrontEnd(self.parameters)
        # sample k stands for the time from k - 1/2 to k + 1/2
        instants = [float(front_end.instant_s(1) * (2 * reading.position - 1) / 2) for reading in chosen]
        measured = pulses * float(front_end.instant_s(1))
        unit_ws = _WS_PER_MWH / self._energy.unit_count
        energy = {
            quantity: unit_ws
            * np.array([b.products[quantity] - a.products[quantity] for a, b in pairwise(chosen)])
            for quantity in _SIGNED
        }
        inside = (r for r in readings if chosen[0].position < r.position <= chosen[-1].position)
        return Observation(
            begin_s=instants[0],
            part_s=np.diff(instants),
            energy_ws=energy,
            resolution_ws=unit_ws,
            pulse_s=measured[(measured >= instants[0]) & (measured <= instants[-1])],
            pulse_ws=_WS_PER_KWH / self.model.registration.constant_imp_per_kwh,
            pulse_resolution_s=1.0 / self.parameters.rate_hz,
            flagged_parts=sum(reading.doubtful for reading in inside),
        )

    def _readings(self, exposure: Exposure) -> tuple[list[_RegisterReading], F64]:
        """The registers at the end of every window up to the measurement's end, and the pulses until then."""
        seed = self.parameters.seed + _SEED_STEP * exposure.run
        front_end = FrontEnd(replace(self.parameters, seed=seed))
        compensation = None if self._compensation is None else DynamicCompensation(self._compensation)
        path = EnergyPath(self._energy)
        output = PulseOutput(self._energy, self.model.registration.constant_imp_per_kwh)
        pulses: list[F64] = []
        rate_hz = self.parameters.rate_hz
        chunk = round(rate_hz / _CHUNKS_PER_S)
        at = round(max(exposure.begin_s - _SETTLING_S, 0.0) * rate_hz)
        offset = at + (0 if compensation is None else compensation.group_delay_samples)
        last = (exposure.begin_s + (exposure.parts + 1) * exposure.part_s) * rate_hz
        readings: list[_RegisterReading] = []
        while not readings or readings[-1].position < last:
            samples = front_end.convert(exposure.waveform, at, chunk, temperature_c=exposure.temperature_c)
            at += chunk
            if compensation is not None:
                samples = compensation.feed(samples.u, samples.i, temperature_c=exposure.temperature_c)
            if path.feed(samples.u, samples.i):
                windows = path.windows
                position = offset + int(windows.start_sample[-1] + windows.samples[-1])
                doubtful = any(WindowFlag(int(flags)).doubtful for flags in windows.flags)
                readings.append(_RegisterReading(position, _products(path), doubtful))
                pulses.append(offset + output.feed(windows))
        return readings, np.concatenate(pulses)

    def _compensation_settings(self) -> CompensationSettings | None:
        if self.calibration is None:
            return None
        guard_bits = _WIDEST_BITS - self.parameters.voltage[0].converter.bits
        return compensation_settings(FrontEnd(self.parameters), self.calibration, guard_bits=guard_bits)

    def _energy_settings(self) -> EnergySettings:
        rating = self.model.rating
        front_end = FrontEnd(self.parameters)
        scaled: FrontEnd | DynamicCompensation = (
            front_end if self._compensation is None else DynamicCompensation(self._compensation)
        )
        return EnergySettings(
            rating.phases,
            self.parameters.rate_hz,
            tuple(float(scale) for scale in scaled.u_v_per_count),
            tuple(float(scale) for scale in scaled.i_a_per_count),
            full_scale_counts=scaled.full_scale_counts,
            nominal_hz=rating.nominal_hz,
            nominal_v=rating.un_v,
            rated_a=rating.reference_a,
            sum_mode=SumMode[self.model.registration.sum_mode.upper()],
            threshold=Threshold.of_starting_current(rating.ist_a),
        )


@dataclass(frozen=True, slots=True)
class _RegisterReading:
    """Registers at the end of a window: exclusive position, count products, and whether it was flagged."""

    position: int
    products: Mapping[Quantity, int]
    doubtful: bool


def _products(path: EnergyPath) -> dict[Quantity, int]:
    return {
        quantity: sum(path.count_products(register) for register in added)
        - sum(path.count_products(register) for register in taken)
        for quantity, (added, taken) in _SIGNED.items()
    }


def _nearest(
    readings: Sequence[_RegisterReading], exposure: Exposure, rate_hz: float
) -> list[_RegisterReading]:
    """The readings that bound the parts of the measurement."""
    settled = [reading for reading in readings if reading.position >= exposure.begin_s * rate_hz]
    positions = np.array([reading.position for reading in settled])
    wanted = positions[0] + exposure.part_s * rate_hz * np.arange(exposure.parts + 1)
    return [settled[int(np.argmin(np.abs(positions - position)))] for position in wanted]

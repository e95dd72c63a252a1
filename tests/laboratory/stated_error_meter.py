"""A meter whose error is stated: it registers the true energy times a known factor, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from openami.laboratory.conditions import Quantity
from openami.laboratory.device_under_test import Exposure, Observation, pulse_instants
from openami.metrology.waveform.closed_form import Reference, reference

ErrorOf = Callable[[Exposure, Reference], float]


class StatedErrorMeter:
    """An ideal meter with an error in percent, the same or by exposure; pulses every ``pulse_ws``."""

    def __init__(
        self,
        error_pct: float | ErrorOf = 0.0,
        *,
        pulse_ws: float = 36.0,
        noise_pct: float = 0.0,
        pulse_error_pct: float = 0.0,
        quantities: frozenset[Quantity] = frozenset(Quantity),
        flagged_parts: int = 0,
    ) -> None:
        self._error = error_pct
        self._pulse_ws = pulse_ws
        self._pulse_error_pct = pulse_error_pct
        self._noise_pct = noise_pct
        self._flagged = flagged_parts
        self.quantities = quantities
        self.settling_s = 1.0

    def observe(self, exposure: Exposure) -> Observation:
        instants = exposure.begin_s + exposure.part_s * np.arange(exposure.parts + 1)
        whole = reference(exposure.waveform, instants[0], instants[-1], _frequency(exposure))
        error_pct = self._error if isinstance(self._error, float | int) else self._error(exposure, whole)
        noise = np.random.default_rng(exposure.run + 1).normal(0.0, 1.0, exposure.parts)
        factors = 1.0 + (error_pct + self._noise_pct * noise) / 100.0
        active, first = whole.total_active_ws, whole.total_fundamental_active_ws
        true = {
            Quantity.ACTIVE: active,
            Quantity.FUNDAMENTAL_ACTIVE: first,
            Quantity.HARMONIC_ACTIVE: active - first,
            Quantity.REACTIVE: whole.total_fundamental_reactive_ws,
            Quantity.APPARENT: float(np.sum(whole.apparent_vas)),
        }
        energy = {quantity: true[quantity] / exposure.parts * factors for quantity in self.quantities}
        pulse_ws = self._pulse_ws * (1.0 - self._pulse_error_pct / 100.0)
        return Observation(
            begin_s=float(instants[0]),
            part_s=np.diff(instants),
            energy_ws=energy,
            pulse_s=pulse_instants(energy[Quantity.ACTIVE], instants, pulse_ws),
            pulse_ws=self._pulse_ws,
            pulse_resolution_s=1e-6,
            flagged_parts=self._flagged,
        )


def _frequency(exposure: Exposure) -> float:
    return exposure.waveform.u[-1].carrier().frequency_hz

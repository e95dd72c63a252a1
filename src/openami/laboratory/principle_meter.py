"""Meters of other principles on the bench: Ferraris disc, time-division, Hall and plain digital multiplier.

Their simulations take volts and amperes sample by sample and say how far the register went. A disc is read at
whole revolutions, because the hole that keeps it from creeping makes it run unevenly; the others are read
after whole cycles. Rule never to be broken: the time of the reference is the time the simulation ran, to the
sample.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from openami.laboratory.conditions import Quantity
from openami.laboratory.device_under_test import Exposure, Observation, pulse_instants
from openami.meter.model import MeterModel, Principle, Rating
from openami.metrology.front_end.digital import DigitalMeter, DigitalParameters
from openami.metrology.front_end.ferraris import FerrarisMeter, FerrarisParameters
from openami.metrology.front_end.hall import HallMeter, HallParameters
from openami.metrology.front_end.measuring_principle import MeasuringPrinciple
from openami.metrology.front_end.time_division import TimeDivisionMeter, TimeDivisionParameters
from openami.quantities.errors import FormatError

F64 = npt.NDArray[np.float64]

_WS_PER_KWH: Final = 3.6e6
_LONGEST_TURN_S: Final = 3000.0
"""A disc that has not turned once by then is taken as standing still."""

_USUAL_RATE_HZ: Final = 6400.0
_USUAL_CONSTANT: Final = 1600.0

_MADE: Final[Mapping[Principle, tuple[type[Any], Callable[[float, Any], MeasuringPrinciple]]]] = {
    Principle.FERRARIS: (FerrarisParameters, FerrarisMeter),
    Principle.TIME_DIVISION: (TimeDivisionParameters, TimeDivisionMeter),
    Principle.HALL: (HallParameters, HallMeter),
    Principle.DIGITAL: (DigitalParameters, DigitalMeter),
}
"""Parameters and simulation of each principle."""


class PrincipleMeter:
    """A meter of a measuring principle.

    Invariant: every observation begins with a fresh simulation at rest, so observations do not depend on
    each other.

    Parameters
    ----------
    simulation:
        Makes the simulation, at rest.
    constant_imp_per_kwh:
        Pulses or revolutions per kilowatt-hour.
    turns:
        True for a disc: it is read at whole revolutions.
    registered:
        Factor on the registered energy, by age.
    """

    def __init__(
        self,
        simulation: Callable[[], MeasuringPrinciple],
        constant_imp_per_kwh: float,
        *,
        turns: bool = False,
        registered: float = 1.0,
    ) -> None:
        self._simulation = simulation
        self._settling_s = simulation().settling_s
        self._pulse_ws = _WS_PER_KWH / constant_imp_per_kwh
        self._turns = turns
        self._registered = registered

    @property
    def settling_s(self) -> float:
        """What the simulation says, and never less than a second."""
        return max(self._settling_s, 1.0)

    @property
    def quantities(self) -> frozenset[Quantity]:
        """Active energy."""
        return frozenset({Quantity.ACTIVE})

    def observe(self, exposure: Exposure) -> Observation:
        """Expose the device and read it.

        Raises
        ------
        MeteringError
            The waveform has another number of phases than the device.
        """
        meter = self._simulation()
        rate_hz = meter.rate_hz
        part = round(exposure.part_s * rate_hz)
        begin = round(max(exposure.begin_s, self.settling_s) * rate_hz)
        at = begin - round(self.settling_s * rate_hz)
        self._advance(meter, exposure, at, begin - at)
        at = begin
        energies: list[float] = []
        turned = 0.0
        longest = max(exposure.parts, round(_LONGEST_TURN_S / exposure.part_s))
        while not self._complete(energies, turned, exposure.parts, longest):
            energies.append(self._advance(meter, exposure, at, part))
            turned += energies[-1]
            at += part
        energy = np.array(energies)
        ends = (begin + part * np.arange(energy.size + 1)) / rate_hz
        return Observation(
            begin_s=begin / rate_hz,
            part_s=np.diff(ends),
            energy_ws={Quantity.ACTIVE: energy},
            pulse_s=pulse_instants(energy, ends, self._pulse_ws),
            pulse_ws=self._pulse_ws,
            pulse_resolution_s=1.0 / rate_hz,
            runs_evenly=not self._turns,
        )

    def _advance(self, meter: MeasuringPrinciple, exposure: Exposure, at: int, count: int) -> float:
        """Energy registered in the next ``count`` samples, Ws."""
        u, i = exposure.waveform.sample(meter.rate_hz, at, count)
        return self._registered * meter.advance(u, i, temperature_c=exposure.temperature_c)

    def _complete(self, energies: list[float], turned: float, parts: int, longest: int) -> bool:
        """True when the measurement is long enough and, with a disc, has just come round a whole turn."""
        if len(energies) < parts:
            return False
        if not self._turns or len(energies) >= longest:
            return True
        before = turned - energies[-1]
        return turned // self._pulse_ws > before // self._pulse_ws


def typical_meter(principle: Principle, rating: Rating, rate_hz: float = _USUAL_RATE_HZ) -> PrincipleMeter:
    """A meter of a principle with the typical parameters of its simulation.

    Parameters
    ----------
    principle:
        Which.
    rating:
        What it is made for.
    rate_hz:
        Steps of the simulation per second.
    """
    kind, simulate = _MADE[principle]
    parameters = _rated(kind, rating, {})
    turns = principle is Principle.FERRARIS
    constant = parameters.revolutions_per_kwh if turns else _USUAL_CONSTANT
    return PrincipleMeter(lambda: simulate(rate_hz, parameters), constant, turns=turns)


def principle_meter(model: MeterModel, age_factor: float = 1.0) -> PrincipleMeter:
    """The meter that a model's ``[front_end]`` table asks for.

    Parameters
    ----------
    model:
        The meter; its table holds ``rate_hz`` and parameters of the principle by name.
    age_factor:
        Factor on the registered energy.

    Raises
    ------
    FormatError
        A parameter that the principle does not have.
    MeteringError
        Parameters that make no such meter.
    """
    kind, simulate = _MADE[model.principle]
    table = dict(model.front_end)
    rate_hz = float(table.pop("rate_hz", _USUAL_RATE_HZ))
    known = inspect.signature(kind).parameters
    if unknown := sorted(set(table) - set(known)):
        raise FormatError(
            f"a {model.principle.value} meter has no {unknown[0]!r}",
            where=f"model {model.name}, front_end",
            expected=", ".join(known),
        )
    parameters = _rated(kind, model.rating, table)
    return PrincipleMeter(
        lambda: simulate(rate_hz, parameters),
        model.registration.constant_imp_per_kwh,
        turns=model.principle is Principle.FERRARIS,
        registered=age_factor,
    )


def _rated(kind: type[Any], rating: Rating, table: Mapping[str, Any]) -> Any:
    return kind(
        nominal_v=rating.un_v,
        basic_a=rating.reference_a,
        maximum_a=rating.imax_a,
        nominal_hz=rating.nominal_hz,
        phases=rating.phases,
        **table,
    )

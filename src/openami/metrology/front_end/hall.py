"""The Hall multiplier: a semiconductor plate in the field of the current, fed by a current from the voltage.

The Hall voltage is KH·Ic·B, with Ic ∝ u through a resistor and B ∝ i from a conductor loop with or without a
core; it *is* the product, before any amplifier. What is wrong with it is an analogue plate's:

- *offset*: thermal voltages and the amplifier add a constant power, with a drift; it dominates low load as
  1/I and is why such meters chop or autozero. The field of the control current itself adds another, ∝ u².
- *misalignment*: the contacts are not opposite; a share of Ic appears, without effect at pure alternating
  voltage.
- *planar Hall effect*: a term Ic·B², without effect on a sine, not so under half-wave current.
- *orthogonality*: the plate looks a little at the conductor of the neighbouring phase.
- *bandwidth*: eddy currents in the core and the amplifier, one pole in the path of the field.
- the core's saturation, the sensitivity's temperature coefficient, and the angle left between Ic and B.

Never to be broken: all errors come from these parts; only the gain is adjusted, at nominal voltage and basic
current.

Source: R. S. Popovic, Hall Effect Devices (the effects); figures recalled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.metrology.front_end.measuring_principle import check_parameters, check_rate, checked
from openami.metrology.front_end.sensor import MINUTE_RAD
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class HallParameters:
    """A meter with a Hall multiplier; the defaults are those of a class 1 meter (recalled).

    Parameters
    ----------
    nominal_v, basic_a, maximum_a, nominal_hz, phases:
        What it is made for.
    offset, offset_per_k:
        Constant power and its drift, as shares of the power at nominal voltage and basic current.
    self_field:
        Power ∝ u² at nominal voltage, as such a share.
    misalignment:
        Power ∝ u at the nominal voltage, as such a share.
    planar:
        Relative change of the sensitivity per basic current of (instantaneous) field.
    crosstalk:
        Share of the field of the following phase.
    saturation:
        Share of the field that is missing at the peak of the maximum current (it goes with the square).
    bandwidth_hz:
        Pole in the path of the field.
    angle_minutes:
        What the trimming leaves between control current and field; positive: the field leads.
    gain_per_k:
        Temperature coefficient of the sensitivity after compensation.
    no_load_threshold:
        Mean power below which the output is held, as a share of the power at basic current.
    """

    nominal_v: float = 230.0
    basic_a: float = 5.0
    maximum_a: float = 20.0
    nominal_hz: float = 50.0
    phases: int = 1
    offset: float = 4.0e-4
    offset_per_k: float = 4.0e-5
    self_field: float = 1.0e-4
    misalignment: float = 2.0e-3
    planar: float = 1.5e-3
    crosstalk: float = 1.0e-3
    saturation: float = 4.0e-3
    bandwidth_hz: float = 2500.0
    angle_minutes: float = -5.0
    gain_per_k: float = 3.0e-4
    no_load_threshold: float = 2.0e-3

    def __post_init__(self) -> None:
        positive = ("nominal_v", "basic_a", "maximum_a", "nominal_hz", "bandwidth_hz")
        check_parameters(self, positive, "Hall multiplier")
        lag_minutes = math.atan(self.nominal_hz / self.bandwidth_hz) / MINUTE_RAD
        if not -lag_minutes < self.angle_minutes < 600.0:
            raise MeteringError(
                f"angle_minutes = {self.angle_minutes:g}",
                expected=f"above {-lag_minutes:.0f}: the control current can only be delayed",
            )
        if not 0.0 <= self.saturation < 0.5:
            raise MeteringError(f"saturation = {self.saturation:g}", expected="a share below 0.5")


class HallMeter:
    """A meter with a Hall multiplier per phase, simulated.

    Invariant: the energy is the sum of the plates' products since the beginning, whatever blocks the samples
    came in.

    Parameters
    ----------
    rate_hz:
        Rate of the samples, 64 a cycle and more.
    parameters:
        The meter.
    """

    def __init__(self, rate_hz: float, parameters: HallParameters | None = None) -> None:
        self.parameters = parameters if parameters is not None else HallParameters()
        check_rate(rate_hz, self.parameters.nominal_hz)
        self._rate_hz = rate_hz
        self._gain = 1.0
        self._clear()
        self._adjust()

    @property
    def rate_hz(self) -> float:
        """Rate at which `advance` takes samples."""
        return self._rate_hz

    @property
    def phases(self) -> int:
        """Number of plates."""
        return self.parameters.phases

    @property
    def settling_s(self) -> float:
        """How long after a change of the load the registration has settled."""
        return 3.0

    def advance(self, u_v: F64, i_a: F64, *, temperature_c: float = 23.0) -> float:
        """Energy in Ws that the register advances while these samples pass.

        Parameters
        ----------
        u_v, i_a:
            float64 (phases, n), V and A.
        temperature_c:
            Ambient temperature.

        Raises
        ------
        MeteringError
            Another shape, or values that are not finite.
        """
        u, i = checked(u_v, i_a, self.phases, temperature_c)
        before = float(self._meter[0])
        _multiply(u, i, self._constants(temperature_c), self._filters, self._meter)
        return float(self._meter[0]) - before

    def _clear(self) -> None:
        self._filters = np.zeros((self.phases, 4))
        self._meter = np.zeros(2)

    def _constants(self, temperature_c: float) -> F64:
        p, step = self.parameters, 1.0 / self._rate_hz
        above_k = temperature_c - 23.0
        omega = 2.0 / step * math.tan(math.pi * p.nominal_hz * step)
        field_s = 1.0 / (2.0 * math.pi * p.bandwidth_hz)
        # the control current is made to lag as the field does, up to the angle that is left
        control_s = math.tan(math.atan(omega * field_s) + p.angle_minutes * MINUTE_RAD) / omega
        system_w = p.nominal_v * p.basic_a
        return np.array(
            [
                step,
                control_s,
                field_s,
                p.saturation / (2.0 * p.maximum_a**2),
                p.planar / p.basic_a,
                p.crosstalk,
                p.self_field * system_w / p.nominal_v**2,
                p.misalignment * system_w / p.nominal_v,
                (p.offset + p.offset_per_k * above_k) * system_w * p.phases,
                self._gain * (1.0 + p.gain_per_k * above_k),
                p.no_load_threshold * system_w * p.phases,
                2.0,
            ]
        )

    def _adjust(self) -> None:
        """Set the gain at nominal voltage and basic current (balanced)."""
        p = self.parameters
        count = round(self._rate_hz)
        angle = 2.0 * np.pi * p.nominal_hz * np.arange(3 * count) / self._rate_hz
        sines = np.sqrt(2.0) * np.sin(angle - 2.0 * np.pi / 3.0 * np.arange(p.phases)[:, np.newaxis])
        u, i = p.nominal_v * sines, p.basic_a * sines
        self.advance(u[:, : 2 * count], i[:, : 2 * count])
        shown = self.advance(u[:, 2 * count :], i[:, 2 * count :])
        nominal_w = p.nominal_v * p.basic_a * p.phases
        self._gain = (nominal_w * (1.0 - p.offset)) / (shown - p.offset * nominal_w)
        self._clear()


@njit(cache=True, nogil=True)
def _multiply(u: F64, i: F64, c: F64, filters: F64, meter: F64) -> None:  # pragma: no cover - compiled
    step, half = c[0], 0.5 * c[0]
    energy, mean_w = meter[0], meter[1]
    phases = u.shape[0]
    for k in range(u.shape[1]):
        product = 0.0
        for p in range(phases):
            s = filters[p]
            applied = i[p, k]
            if phases > 1:
                applied += c[5] * i[(p + 1) % phases, k]
            driven = applied * (1.0 - c[3] * applied * applied)
            field = ((c[2] - half) * s[1] + half * (s[0] + driven)) / (c[2] + half)
            control = ((c[1] - half) * s[3] + half * (s[2] + u[p, k])) / (c[1] + half)
            s[0], s[1], s[2], s[3] = driven, field, u[p, k], control
            product += control * field * (1.0 + c[4] * field) + c[6] * control * control + c[7] * control
        power = product * c[9] + c[8]
        mean_w += (power - mean_w) * step * c[11]
        if abs(mean_w) >= c[10]:
            energy += power * step
    meter[0], meter[1] = energy, mean_w

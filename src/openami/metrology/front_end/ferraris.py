"""The Ferraris meter: an aluminium disc between a voltage magnet, a current magnet and a braking magnet.

Per phase, sample by sample:

1. *Voltage flux.* The voltage coil is a choke with losses: dφ/dt = u - ω0·tanβ·φ. It lags the voltage by
   90° - β; the 90° adjuster (a short-circuited ring, a first-order lag) makes the flux in the disc lag by
   90° and by what the iron of the current magnet loses.
2. *Current flux.* φi follows m(i), with the losses of the iron as a lag. m(i) is not straight: the initial
   permeability is low (small currents make too little flux), and the magnetic shunt saturates at large ones
   (the overload compensation: more flux reaches the disc).
3. *Eddy currents.* Each flux induces a current in the disc, dφ/dt behind the disc's own time constant; this
   and the lags above are why harmonics are under-registered.
4. *Torque.* Each flux acts on the other's eddy current: k·(φi·ju - φu·ji), on average ∝ U·I·cosφ.

The disc: inertia · dω/dt = torque + light-load torque (∝ U²) - friction - anti-creep torque of the hole
- ω·(magnet + φu² + φi²). The last two are the braking of the working fluxes: why voltage has influence and
why the curve falls at overload. Speeds and torques are in units of those at nominal voltage and basic
current.

Never to be broken: the meter is adjusted as a workshop does it, at nominal voltage and basic current at unity
power factor (brake magnet) and with the ring at 60° lag; every other error comes out of the physics.

Source: the principle as taught (for example E. Schrüfer, Elektrische Messtechnik); figures recalled.
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

_COPPER_PER_K = 0.0039


@dataclass(frozen=True, slots=True)
class FerrarisParameters:
    """A Ferraris meter; the defaults are those of a class 2 household meter (recalled, no product).

    Parameters
    ----------
    nominal_v, basic_a, maximum_a, nominal_hz:
        What it is made for.
    phases:
        Driving systems on the shaft.
    revolutions_per_kwh:
        Meter constant.
    coil_loss:
        tan β of the voltage coil at nominal frequency and 23 °C (its copper warms with 0.39 %/K).
    adjuster_minutes:
        Error of the 90° adjuster; positive: voltage flux too late. The power is then wrong by this angle
        times tan φ.
    iron_loss:
        Tangent of the lag of the current flux.
    disc_time_constant_s:
        Inductance over resistance of the eddy current paths.
    initial_permeability_loss, permeability_knee_a:
        Share of current flux that is missing at very small currents, and the peak current where half of
        that is left.
    overload_gain:
        Share of current flux won at the peak of the maximum current (magnetic shunt).
    voltage_brake, current_brake:
        Shares of the braking that come from the voltage flux (nominal) and the current flux (basic).
    friction, light_load_torque, hole_torque:
        Dry friction of bearing and register, torque of the light-load adjuster at nominal voltage, and
        largest torque of the anti-creep hole, each as a share of the torque at basic current.
    hole_half_width_deg:
        Half the angle over which the hole acts.
    brake_per_k:
        Relative change of the braking magnet per K.
    inertia_s:
        Mechanical time constant.
    """

    nominal_v: float = 230.0
    basic_a: float = 5.0
    maximum_a: float = 20.0
    nominal_hz: float = 50.0
    phases: int = 1
    revolutions_per_kwh: float = 375.0
    coil_loss: float = 0.05
    adjuster_minutes: float = 6.0
    iron_loss: float = 0.02
    disc_time_constant_s: float = 0.30e-3
    initial_permeability_loss: float = 0.03
    permeability_knee_a: float = 0.35
    overload_gain: float = 0.025
    voltage_brake: float = 0.025
    current_brake: float = 0.002
    friction: float = 0.0040
    light_load_torque: float = 0.0050
    hole_torque: float = 0.0040
    hole_half_width_deg: float = 12.0
    brake_per_k: float = -3.0e-4
    inertia_s: float = 0.25

    def __post_init__(self) -> None:
        positive = (
            "nominal_v", "basic_a", "nominal_hz", "revolutions_per_kwh", "coil_loss", "iron_loss",
            "disc_time_constant_s", "permeability_knee_a", "hole_half_width_deg", "inertia_s",
        )  # fmt: skip
        check_parameters(self, positive, "Ferraris meter")
        if not self.maximum_a >= self.basic_a:
            raise MeteringError(
                f"maximum_a = {self.maximum_a:g}", expected=f"at least basic_a, {self.basic_a:g}"
            )
        if not 0.0 <= self.voltage_brake + self.current_brake < 0.5:
            raise MeteringError("the fluxes brake more than the magnet", expected="shares below 0.5 together")


class FerrarisMeter:
    """A Ferraris meter, simulated.

    Invariant: the energy registered is the angle turned, whatever blocks the samples came in.

    Parameters
    ----------
    rate_hz:
        Rate of the samples; 64 a cycle and more.
    parameters:
        The meter.
    """

    def __init__(self, rate_hz: float, parameters: FerrarisParameters | None = None) -> None:
        self.parameters = parameters if parameters is not None else FerrarisParameters()
        check_rate(rate_hz, self.parameters.nominal_hz)
        self._rate_hz = rate_hz
        self._systems = np.zeros((self.parameters.phases, _SYSTEM_STATES))
        self._disc = np.array([0.0, math.pi, 0.0])
        self._torque_unit, self._u_flux_unit, self._i_flux_unit = 1.0, 1.0, 1.0
        self._magnet = 1.0
        self._adjust()

    @property
    def rate_hz(self) -> float:
        """Rate at which `advance` takes samples."""
        return self._rate_hz

    @property
    def phases(self) -> int:
        """Number of driving systems."""
        return self.parameters.phases

    @property
    def settling_s(self) -> float:
        """How long after a change of the load the speed has settled (a ten-thousandth left)."""
        return 10.0 * self.parameters.inertia_s

    @property
    def revolutions(self) -> float:
        """Revolutions of the disc since the beginning."""
        return float(self._disc[2]) / (2.0 * math.pi)

    @property
    def speed(self) -> float:
        """Present speed, 1 at nominal voltage and basic current."""
        return float(self._disc[0])

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
        before = float(self._disc[2])
        _turn(u, i, self._constants(temperature_c), self._systems, self._disc)
        return (float(self._disc[2]) - before) / (2.0 * math.pi) * 3.6e6 / self.parameters.revolutions_per_kwh

    def _constants(self, temperature_c: float) -> F64:
        p, step = self.parameters, 1.0 / self._rate_hz
        above_k = temperature_c - 23.0
        # the trapezoidal rule sees this frequency instead of the nominal one: adjusting with it is exact
        omega = 2.0 / step * math.tan(math.pi * p.nominal_hz * step)
        coil = 2.0 * math.pi * p.nominal_hz * p.coil_loss
        iron_s = p.iron_loss / omega
        wanted = math.atan(coil / omega) + math.atan(p.iron_loss) + p.adjuster_minutes * MINUTE_RAD
        ring_s = math.tan(wanted) / omega
        warm = 1.0 + _COPPER_PER_K * above_k
        nominal_w = p.nominal_v * p.basic_a * p.phases
        return np.array(
            [
                step,
                coil * warm,
                ring_s / warm,
                iron_s,
                p.disc_time_constant_s / warm,
                p.initial_permeability_loss,
                p.permeability_knee_a,
                p.overload_gain / (2.0 * p.maximum_a**2),
                self._torque_unit / p.phases / warm,
                p.voltage_brake * self._u_flux_unit / p.phases / warm,
                p.current_brake * self._i_flux_unit / p.phases / warm,
                self._magnet * (1.0 + p.brake_per_k * above_k) / warm,
                p.friction,
                p.light_load_torque / (p.phases * p.nominal_v**2),
                p.hole_torque,
                math.radians(p.hole_half_width_deg),
                p.inertia_s,
                2.0 * math.pi * nominal_w * p.revolutions_per_kwh / 3.6e6,
            ]
        )

    def _adjust(self) -> None:
        """Set the units of torque and fluxes, and the brake magnet, at the adjusting point."""
        p = self.parameters
        count = round(self._rate_hz)
        angle = 2.0 * np.pi * p.nominal_hz * np.arange(2 * count) / self._rate_hz
        sine = np.sqrt(2.0) * np.sin(angle)
        u, i = p.nominal_v * sine[np.newaxis], p.basic_a * sine[np.newaxis]
        system = np.zeros((1, _SYSTEM_STATES))
        constants = self._constants(23.0)
        _fluxes(u[:, :count], i[:, :count], constants, system)
        torque, u_square, i_square = _fluxes(u[:, count:], i[:, count:], constants, system)
        self._torque_unit, self._u_flux_unit, self._i_flux_unit = (
            1.0 / torque,
            1.0 / u_square,
            1.0 / i_square,
        )
        drive = 1.0 + p.light_load_torque - p.friction
        self._magnet = drive - p.voltage_brake - p.current_brake


_SYSTEM_STATES = 9
"""Of a driving system: u, coil flux, ring flux, m(i), iron flux, slope and eddy current of each flux."""


@njit(cache=True, nogil=True)
def _step(u: float, i: float, c: F64, s: F64) -> None:  # pragma: no cover - compiled
    """One sample of one driving system, by the trapezoidal rule; see `_constants` for c."""
    half = 0.5 * c[0]
    coil = ((1.0 - c[1] * half) * s[1] + half * (s[0] + u)) / (1.0 + c[1] * half)
    ring = ((c[2] - half) * s[2] + half * (s[1] + coil)) / (c[2] + half)
    size = abs(i)
    driven = i * (1.0 - c[5] * c[6] / (c[6] + size) + c[7] * size * size)
    iron = ((c[3] - half) * s[4] + half * (s[3] + driven)) / (c[3] + half)
    u_slope, i_slope = (coil - ring) / c[2], (driven - iron) / c[3]
    s[6] = ((c[4] - half) * s[6] + half * (s[5] + u_slope)) / (c[4] + half)
    s[8] = ((c[4] - half) * s[8] + half * (s[7] + i_slope)) / (c[4] + half)
    s[0], s[1], s[2], s[3], s[4], s[5], s[7] = u, coil, ring, driven, iron, u_slope, i_slope


@njit(cache=True, nogil=True)
def _fluxes(
    u: F64, i: F64, c: F64, systems: F64
) -> tuple[float, float, float]:  # pragma: no cover - compiled
    torque = u_square = i_square = 0.0
    for k in range(u.shape[1]):
        for phase in range(u.shape[0]):
            s = systems[phase]
            _step(u[phase, k], i[phase, k], c, s)
            torque += s[4] * s[6] - s[2] * s[8]
            u_square += s[2] * s[2]
            i_square += s[4] * s[4]
    count = u.shape[1]
    return torque / count, u_square / count, i_square / count


@njit(cache=True, nogil=True)
def _turn(u: F64, i: F64, c: F64, systems: F64, disc: F64) -> None:  # pragma: no cover - compiled
    step_over_inertia = c[0] / c[16]
    speed, angle, turned = disc[0], disc[1], disc[2]
    for k in range(u.shape[1]):
        torque, brake = 0.0, c[11]
        for phase in range(u.shape[0]):
            s = systems[phase]
            _step(u[phase, k], i[phase, k], c, s)
            torque += c[8] * (s[4] * s[6] - s[2] * s[8]) + c[13] * u[phase, k] * u[phase, k]
            brake += c[9] * s[2] * s[2] + c[10] * s[4] * s[4]
        if abs(angle) < c[15]:
            torque -= c[14] * np.sin(np.pi * angle / c[15])
        if speed == 0.0 and abs(torque) <= c[12]:
            continue
        friction = c[12] if (speed > 0.0 or (speed == 0.0 and torque > 0.0)) else -c[12]
        fresh = (speed + step_over_inertia * (torque - friction)) / (1.0 + step_over_inertia * brake)
        if fresh * speed < 0.0:
            # dry friction stops the disc; it does not turn it back
            fresh = 0.0
        moved = 0.5 * (speed + fresh) * c[0] * c[17]
        speed = fresh
        turned += moved
        angle += moved
        if angle > np.pi:
            angle -= 2.0 * np.pi
        elif angle < -np.pi:
            angle += 2.0 * np.pi
    disc[0], disc[1], disc[2] = speed, angle, turned

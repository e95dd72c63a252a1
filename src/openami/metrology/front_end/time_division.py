"""The time-division (mark-space) multiplier: a switch in the path of the current, its duty the voltage.

A comparator holds the voltage against a triangle of a few kilohertz: the switch is *mark* for the share
½(1 + u/U0) of each period and *space* for the rest. It passes +i in mark and -i in space, so its mean output
is u·i/U0. An integrator turns it into energy (J. G. Goldberg 1952; the meters of the 1970s).

Modelled in continuous time between the samples: the crossings of voltage and triangle are solved, not
sampled. Before the switch lie the parts that make the meter's errors: the current transformer with its
magnetising branch (which saturates under direct current), the lag that trims its phase displacement, and the
input filters whose bandwidth lies well below the carrier; behind it the offset of the integrator, which
weighs most at low load, and its drift.

Never to be broken: all errors come from these parts; only the gain is adjusted, at nominal voltage and basic
current.
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

_SUBDIVISIONS = 8
_CORE_EXPONENT = 6


@dataclass(frozen=True, slots=True)
class TimeDivisionParameters:
    """A meter with a time-division multiplier; the defaults are those of a class 1 meter (recalled).

    Parameters
    ----------
    nominal_v, basic_a, maximum_a, nominal_hz, phases:
        What it is made for.
    carrier_hz:
        Frequency of the triangle.
    headroom:
        Voltage U0 at which the duty is 1, in multiples of the peak of the nominal voltage.
    transformer_minutes:
        Phase displacement of the current transformer at nominal frequency, leading.
    trim_minutes:
        What the trimming lag leaves of it (the current still leads by this).
    core_saturation:
        Flux at which the magnetising current has doubled, in multiples of the flux of the maximum current.
    bandwidth_hz:
        Pole of the filters before comparator and switch.
    offset:
        Offset of the integrator as a share of the power at nominal voltage and basic current.
    offset_per_k, gain_per_k:
        Drift of both.
    duty_offset:
        Difference of the switching delays, as a share of the carrier's period.
    no_load_threshold:
        Mean power below which the output is held, as a share of the power at basic current.
    """

    nominal_v: float = 230.0
    basic_a: float = 5.0
    maximum_a: float = 20.0
    nominal_hz: float = 50.0
    phases: int = 1
    carrier_hz: float = 4130.0
    headroom: float = 1.5
    transformer_minutes: float = 40.0
    trim_minutes: float = 4.0
    core_saturation: float = 1.6
    bandwidth_hz: float = 1200.0
    offset: float = 2.0e-4
    offset_per_k: float = 1.0e-5
    gain_per_k: float = -2.0e-4
    duty_offset: float = 1.0e-4
    no_load_threshold: float = 2.0e-3

    def __post_init__(self) -> None:
        positive = (
            "nominal_v", "basic_a", "maximum_a", "nominal_hz", "carrier_hz", "transformer_minutes",
            "core_saturation", "bandwidth_hz",
        )  # fmt: skip
        check_parameters(self, positive, "time-division multiplier")
        if not self.headroom > 1.0:
            raise MeteringError(f"headroom = {self.headroom:g}", expected="above 1: the duty must not clip")
        if not self.trim_minutes < self.transformer_minutes:
            raise MeteringError(
                f"trim_minutes = {self.trim_minutes:g}", expected="less than transformer_minutes"
            )


class TimeDivisionMeter:
    """A meter with a time-division multiplier per phase, simulated.

    Invariant: the energy is the integral of the switches' output since the beginning, whatever blocks the
    samples came in.

    Parameters
    ----------
    rate_hz:
        Rate of the samples, 64 a cycle and more; between them the signals are cubic.
    parameters:
        The meter.
    """

    def __init__(self, rate_hz: float, parameters: TimeDivisionParameters | None = None) -> None:
        self.parameters = parameters if parameters is not None else TimeDivisionParameters()
        check_rate(rate_hz, self.parameters.nominal_hz)
        if 4.0 * self.parameters.carrier_hz > rate_hz * _SUBDIVISIONS:
            raise MeteringError(
                f"rate_hz = {rate_hz:g} for a carrier of {self.parameters.carrier_hz:g} Hz",
                expected=f"{4.0 * self.parameters.carrier_hz / _SUBDIVISIONS:g} Hz and more",
            )
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
        """Number of multipliers."""
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
        _multiply(u, i, self._constants(temperature_c), self._history, self._filters, self._meter)
        return float(self._meter[0]) - before

    def _clear(self) -> None:
        self._history = np.zeros((self.phases, 2, 4))
        self._filters = np.zeros((self.phases, 6))
        self._meter = np.zeros(3)

    def _constants(self, temperature_c: float) -> F64:
        p = self.parameters
        above_k = temperature_c - 23.0
        omega = 2.0 * math.pi * p.nominal_hz
        lead = p.transformer_minutes * MINUTE_RAD
        nominal_w = p.nominal_v * p.basic_a * p.phases
        return np.array(
            [
                1.0 / (self._rate_hz * _SUBDIVISIONS),
                omega * math.tan(lead),
                omega / (p.core_saturation * p.maximum_a * math.sqrt(2.0)),
                math.tan((p.transformer_minutes - p.trim_minutes) * MINUTE_RAD) / omega,
                1.0 / (2.0 * math.pi * p.bandwidth_hz),
                1.0 / (p.headroom * p.nominal_v * math.sqrt(2.0)),
                p.carrier_hz / (self._rate_hz * _SUBDIVISIONS),
                p.duty_offset,
                self._gain * (1.0 + p.gain_per_k * above_k),
                (p.offset + p.offset_per_k * above_k) * nominal_w,
                p.no_load_threshold * nominal_w,
                2.0,
            ]
        )

    def _adjust(self) -> None:
        """Set the gain at nominal voltage and basic current."""
        p = self.parameters
        count = round(self._rate_hz)
        sine = np.sqrt(2.0) * np.sin(2.0 * np.pi * p.nominal_hz * np.arange(3 * count) / self._rate_hz)
        u = np.repeat((p.nominal_v * sine)[np.newaxis], p.phases, axis=0)
        i = np.repeat((p.basic_a * sine)[np.newaxis], p.phases, axis=0)
        self.advance(u[:, : 2 * count], i[:, : 2 * count])
        shown = self.advance(u[:, 2 * count :], i[:, 2 * count :])
        nominal_w = p.nominal_v * p.basic_a * p.phases
        self._gain = nominal_w * (1.0 - p.offset) / (shown - p.offset * nominal_w)
        self._clear()


@njit(cache=True, nogil=True)
def _between(x: F64, at: float) -> float:  # pragma: no cover - compiled
    """Cubic through four samples, ``at`` of the way from the second to the third (Lagrange)."""
    before, after, next_after = at + 1.0, at - 1.0, at - 2.0
    return float(
        -x[0] * at * after * next_after / 6.0
        + x[1] * before * after * next_after / 2.0
        - x[2] * before * at * next_after / 2.0
        + x[3] * before * at * after / 6.0
    )


@njit(cache=True, nogil=True)
def _magnetising(flux: float, c: F64) -> float:  # pragma: no cover - compiled
    """Magnetising current of a flux (As): the core doubles it at its saturation flux."""
    share = flux * c[2]
    return float(c[1] * flux * (1.0 + share**_CORE_EXPONENT))


@njit(cache=True, nogil=True)
def _switched(
    duty_a: float, duty_b: float, i_a: float, i_b: float, phase: float, turn: float
) -> float:  # pragma: no cover - compiled
    """Mean of ±i over a stretch in which duty, current and, between its corners, triangle are straight.

    ``phase`` is that of the triangle at the beginning, ``turn`` how far it gets, both in periods.
    """
    total = 0.0
    done = 0.0
    while done < 1.0:
        here = phase + done * turn
        here -= np.floor(here)
        corner = (0.5 - here if here < 0.5 else 1.0 - here) / turn
        part = min(corner, 1.0 - done)
        if part < 1e-15:
            part = 1e-15
        end = here + part * turn
        rising = here < 0.5
        triangle_a = 4.0 * here - 1.0 if rising else 3.0 - 4.0 * here
        triangle_b = 4.0 * end - 1.0 if rising else 3.0 - 4.0 * end
        low = duty_a + done * (duty_b - duty_a) - triangle_a
        high = duty_a + (done + part) * (duty_b - duty_a) - triangle_b
        from_i = i_a + done * (i_b - i_a)
        to_i = i_a + (done + part) * (i_b - i_a)
        if low * high < 0.0:
            share = low / (low - high)
            at_i = from_i + share * (to_i - from_i)
            first = 0.5 * (from_i + at_i) * share * part
            second = 0.5 * (at_i + to_i) * (1.0 - share) * part
            total += first - second if low > 0.0 else second - first
        else:
            mean = 0.5 * (from_i + to_i) * part
            total += mean if low + high > 0.0 else -mean
        done += part
    return total


@njit(cache=True, nogil=True)
def _multiply(
    u: F64, i: F64, c: F64, history: F64, filters: F64, meter: F64
) -> None:  # pragma: no cover - compiled
    step, half = c[0], 0.5 * c[0]
    energy, phase, mean_w = meter[0], meter[1], meter[2]
    for k in range(u.shape[1]):
        for p in range(u.shape[0]):
            for column in range(3):
                history[p, 0, column] = history[p, 0, column + 1]
                history[p, 1, column] = history[p, 1, column + 1]
            history[p, 0, 3], history[p, 1, 3] = u[p, k], i[p, k]
        for part in range(1, _SUBDIVISIONS + 1):
            at = part / _SUBDIVISIONS
            switched = 0.0
            for p in range(u.shape[0]):
                s = filters[p]
                primary = _between(history[p, 1], at)
                # flux of the transformer by Heun's rule; the secondary carries what the core does not take
                guess = s[0] + step * s[1]
                flux = s[0] + half * (s[1] + primary - _magnetising(guess, c))
                secondary = primary - _magnetising(flux, c)
                trimmed = ((c[3] - half) * s[2] + half * (s[1] + secondary)) / (c[3] + half)
                current = ((c[4] - half) * s[3] + half * (s[2] + trimmed)) / (c[4] + half)
                applied = _between(history[p, 0], at)
                voltage = ((c[4] - half) * s[4] + half * (s[5] + applied)) / (c[4] + half)
                switched += _switched(s[4] * c[5] + c[7], voltage * c[5] + c[7], s[3], current, phase, c[6])
                s[0], s[1], s[2], s[3], s[4], s[5] = flux, secondary, trimmed, current, voltage, applied
            phase += c[6]
            phase -= np.floor(phase)
            power = switched / c[5] * c[8] + c[9]
            # the mean that decides about no load; what is registered is the power itself
            mean_w += (power - mean_w) * step * c[11]
            if abs(mean_w) >= c[10]:
                energy += power * step
    meter[0], meter[1], meter[2] = energy, phase, mean_w

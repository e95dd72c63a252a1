"""What an energy path is told once: phases, scales, how totals are made, thresholds and losses.

Scales are turned into integers here: how many count products make a milliwatt-hour, and what each phase's
count products weigh beside the largest phase's. Rule never to be broken: every rounding of a scale is made
here, once, and `EnergySettings.unit_rounding` says how large it is.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from openami.metrology.energy import path_state as ps
from openami.metrology.energy.apparent_energy import ApparentMethod
from openami.metrology.energy.exact_sums import SAMPLE_LIMIT
from openami.metrology.energy.loss_compensation import LossCompensation
from openami.metrology.energy.newton_cotes import Integrator, pattern
from openami.metrology.energy.registers import PHASES, SumMode
from openami.metrology.energy.thresholds import Threshold, ThresholdQuantity
from openami.quantities.errors import MeteringError

LOWEST_HZ = 40.0
HIGHEST_HZ = 70.0
LONGEST_WINDOW = 8192
"""Samples of a window: three phases at full scale stay far inside an int64."""
_QUANTUM_WS = Fraction(18, 5)
"""1 mWh in Ws."""
_WEIGHT_BITS = 30
_REFERENCE_SHARE = 0.1
"""Share of the nominal voltage from which a phase can be the reference of frequency."""


@dataclass(frozen=True, slots=True)
class EnergySettings:
    """Settings of an `EnergyPath`.

    Parameters
    ----------
    phases:
        1 or 3.
    rate_hz:
        Sampling rate, 1000 or more.
    u_v_per_count, i_a_per_count:
        V and A of one count, one value a phase.
    full_scale_counts:
        Magnitude at which a channel is saturated; at most 2^23.
    nominal_hz:
        50 or 60: the frequency of windows without voltage.
    nominal_v, rated_a:
        Un and In of a phase.
    sum_mode:
        How the total is made of the phases.
    integrator:
        How active energy is made of u·i.
    window_cycles:
        Cycles of a window; its direction is decided as a whole.
    threshold:
        Start and no-load.
    apparent:
        Which apparent energy is billed. The effective one needs three phases.
    losses:
        Transformer and line.

    Raises
    ------
    MeteringError
        A value out of its range.
    """

    phases: int
    rate_hz: float
    u_v_per_count: tuple[float, ...]
    i_a_per_count: tuple[float, ...]
    full_scale_counts: int = SAMPLE_LIMIT - 1
    nominal_hz: float = 50.0
    nominal_v: float = 230.0
    rated_a: float = 5.0
    sum_mode: SumMode = SumMode.NET
    integrator: Integrator = Integrator.PLAIN_SUM
    window_cycles: int = 10
    threshold: Threshold = field(default_factory=Threshold)
    apparent: ApparentMethod = ApparentMethod.ARITHMETIC
    losses: LossCompensation = field(default_factory=LossCompensation)
    digest: bytes = field(init=False, repr=False, compare=False)
    """SHA-256 over the settings: a snapshot goes only with the settings it was made with."""

    def __post_init__(self) -> None:
        for name in ("u_v_per_count", "i_a_per_count"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        self._check()
        object.__setattr__(self, "digest", hashlib.sha256(repr(self).encode()).digest())

    def _check(self) -> None:
        if self.phases not in (1, PHASES):
            raise MeteringError(f"a meter of {self.phases} phases", expected="1 or 3")
        for name in ("u_v_per_count", "i_a_per_count"):
            scale = getattr(self, name)
            if len(scale) != self.phases or not all(math.isfinite(v) and v > 0.0 for v in scale):
                raise MeteringError(
                    f"{name} of {scale}", expected=f"{self.phases} positive values, one a phase"
                )
        if not 1000.0 <= self.rate_hz <= 100_000.0:
            raise MeteringError(f"a sampling rate of {self.rate_hz} Hz", expected="1000 .. 100000")
        if not 1 <= self.window_cycles * self.rate_hz / LOWEST_HZ <= LONGEST_WINDOW - 2:
            raise MeteringError(
                f"windows of {self.window_cycles} cycles at {self.rate_hz} Hz",
                expected=f"1 cycle or more, at {LOWEST_HZ:g} Hz less than {LONGEST_WINDOW - 2} samples",
            )
        if not 1 <= self.full_scale_counts <= SAMPLE_LIMIT:
            raise MeteringError(f"a full scale of {self.full_scale_counts}", expected=f"1 .. {SAMPLE_LIMIT}")
        if not 42.0 <= self.nominal_hz <= 68.0:
            raise MeteringError(f"a nominal frequency of {self.nominal_hz} Hz", expected="50 or 60")
        for name in ("nominal_v", "rated_a"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise MeteringError(f"{name} of {value}", expected="a positive number")
        if self.apparent is ApparentMethod.EFFECTIVE and self.phases != PHASES:
            raise MeteringError("effective apparent energy of one phase", expected="three phases")
        if not 1 << 24 <= self.unit_count < 1 << 60:
            raise MeteringError(
                f"{self.unit_count} count products in a milliwatt-hour",
                expected="scales of a converter of 8 to 24 bits",
            )

    @property
    def shift(self) -> int:
        """Binary places that count products of a coarse converter are moved up, so that units are large."""
        return 2 * (SAMPLE_LIMIT.bit_length() - self.range_counts.bit_length())

    @property
    def range_counts(self) -> int:
        """Power of two that no code of the converter exceeds in magnitude."""
        return 1 << (self.full_scale_counts - 1).bit_length()

    @property
    def unit_w(self) -> float:
        """W of one count product of the registers: the largest of the phases, divided by 2^shift."""
        return float(self._unit_w)

    @property
    def _unit_w(self) -> Fraction:
        largest = max(
            Fraction(u) * Fraction(i) for u, i in zip(self.u_v_per_count, self.i_a_per_count, strict=True)
        )
        return largest / (1 << self.shift)

    @property
    def _exact_unit(self) -> Fraction:
        return _QUANTUM_WS * Fraction(self.rate_hz) / self._unit_w

    @property
    def unit_count(self) -> int:
        """Count products of one mWh, an integer."""
        return round(self._exact_unit)

    @property
    def unit_rounding(self) -> float:
        """Relative rounding of `unit_count`: by this share all energies are off; some 1e-14 with 24 bits."""
        return float((self.unit_count - self._exact_unit) / self._exact_unit)

    def square_unit(self, per_count: float) -> int:
        """Count squares of 0.001 V²h or A²h at a scale of ``per_count``."""
        return max(
            1, round(_QUANTUM_WS * Fraction(self.rate_hz) * (1 << self.shift) / Fraction(per_count) ** 2)
        )

    def weight(self, phase: int) -> int:
        """What a count product of a phase weighs, in 2^-30 of the largest phase's; rounded to 5e-10 of it."""
        product = Fraction(self.u_v_per_count[phase]) * Fraction(self.i_a_per_count[phase])
        return round(product / (1 << self.shift) / self._unit_w * (1 << _WEIGHT_BITS))

    def integers(self) -> npt.NDArray[np.int64]:
        """The constants of the kernel that are integers."""
        constants = np.zeros(ps.CONSTANT_INTEGERS, np.int64)
        constants[ps.UNIT_COUNT] = self.unit_count
        constants[ps.FULL_SCALE] = self.full_scale_counts
        constants[ps.RANGE] = self.range_counts
        constants[ps.SHIFT] = self.shift
        constants[ps.MODE] = self.sum_mode
        constants[ps.INTEGRATOR] = self.integrator
        constants[ps.WINDOW_CYCLES] = self.window_cycles
        constants[ps.PHASE_COUNT] = self.phases
        constants[ps.THRESHOLD_KIND] = self.threshold.quantity
        constants[ps.EFFECTIVE] = self.apparent is ApparentMethod.EFFECTIVE
        constants[ps.LOSS_SIGN] = self.losses.point
        weights, divisor = pattern(self.integrator)
        constants[ps.PANEL_DIVISOR] = divisor
        constants[ps.PANEL_WEIGHTS : ps.PANEL_WEIGHTS + ps.PANEL_CLASSES] = np.resize(
            np.array(weights, np.int64), ps.PANEL_CLASSES
        )
        constants[ps.UNIT_VOLTS : ps.UNIT_VOLTS + 2 * PHASES] = 1
        for phase in range(self.phases):
            constants[ps.UNIT_VOLTS + phase] = self.square_unit(self.u_v_per_count[phase])
            constants[ps.UNIT_AMPERES + phase] = self.square_unit(self.i_a_per_count[phase])
            constants[ps.WEIGHTS + phase] = self.weight(phase)
            by_current = self.threshold.quantity is ThresholdQuantity.CURRENT
            unit = self.i_a_per_count[phase] if by_current else self.unit_w * (1 << self.shift)
            start, stop = self.threshold.counts(unit, float(1 << self.shift))
            limit = (1 << 62) // LONGEST_WINDOW
            constants[ps.STARTING + phase] = min(start, limit)
            constants[ps.STOPPING + phase] = min(stop, limit)
        return constants

    def reals(self) -> npt.NDArray[np.float64]:
        """The constants of the kernel that are reals."""
        constants = np.zeros(ps.CONSTANT_REALS)
        constants[ps.NOMINAL] = self.nominal_hz / self.rate_hz
        constants[ps.LOWEST] = LOWEST_HZ / self.rate_hz
        constants[ps.HIGHEST] = HIGHEST_HZ / self.rate_hz
        constants[ps.RATE] = self.rate_hz
        constants[ps.EFFECTIVE_UNIT] = self.unit_w
        for phase in range(self.phases):
            u, i = self.u_v_per_count[phase], self.i_a_per_count[phase]
            constants[ps.PHASE_WEIGHT + phase] = self.weight(phase) / (1 << _WEIGHT_BITS) * (1 << self.shift)
            constants[ps.PRESENT + phase] = (_REFERENCE_SHARE * self.nominal_v / u) ** 2
            load, idle, series, magnetising = self.losses.factors(
                self.phases, u, i, self.nominal_v, self.rated_a
            )
            constants[ps.LOAD_LOSS_FACTOR + phase] = load / self.unit_w
            constants[ps.NO_LOAD_LOSS_FACTOR + phase] = idle / self.unit_w
            constants[ps.SERIES_FACTOR + phase] = series / self.unit_w
            constants[ps.MAGNETISING_FACTOR + phase] = magnetising / self.unit_w
            constants[ps.EFFECTIVE_U + phase] = u
            constants[ps.EFFECTIVE_I + phase] = i
        return constants

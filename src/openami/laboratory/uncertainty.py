"""Uncertainty of an error the bench measures, after the guide (JCGM 100:2008, JCGM 101:2008).

Components: the reference (bound of the closed form's rounding), the register's resolution (two readings,
rectangular), the scatter between equal parts of a measurement (type A; noise of the meter is part of it), and
for pulses the resolution of their instants. Rule never to be broken: the scatter counts with the factor of
JCGM 101, 6.4.9.4, so that few parts do not make it look small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

COVERAGE_FACTOR: Final = 2.0
"""k of an expanded uncertainty, about 95 %."""

_FEWEST_PARTS: Final = 4
"""Below this the standard deviation of a scaled t distribution does not exist."""


@dataclass(frozen=True, slots=True)
class UncertaintyBudget:
    """Standard uncertainties of one error, percent.

    Parameters
    ----------
    reference_pct:
        Of the reference energy.
    resolution_pct:
        Of the two readings of the register.
    scatter_pct:
        Of the mean over the parts of the measurement.
    """

    reference_pct: float
    resolution_pct: float
    scatter_pct: float

    @property
    def expanded_pct(self) -> float:
        """Expanded uncertainty, k = 2, percent."""
        return COVERAGE_FACTOR * math.hypot(self.reference_pct, self.resolution_pct, self.scatter_pct)


def budget_of(
    energy_ws: F64, part_s: F64, scale_ws: float, resolution_ws: float, reference_ws: float
) -> UncertaintyBudget:
    """The budget of one measurement.

    Parameters
    ----------
    energy_ws:
        Advance of the register in each part, Ws, (parts,).
    part_s:
        Length of the parts, s, (parts,); they are about equal.
    scale_ws:
        Reference energy of the whole measurement, Ws; what errors are related to.
    resolution_ws:
        Step of the register, Ws.
    reference_ws:
        Bound of the reference's own error, Ws.
    """
    scale = abs(scale_ws)
    if scale == 0.0:
        return UncertaintyBudget(0.0, 0.0, 0.0)
    resolution = resolution_ws / math.sqrt(6.0) / scale
    return UncertaintyBudget(
        100.0 * reference_ws / math.sqrt(3.0) / scale,
        100.0 * resolution,
        100.0 * scatter_of_sum(energy_ws * (np.mean(part_s) / part_s)) / scale,
    )


def scatter_of_sum(parts: F64) -> float:
    """Standard uncertainty of the sum of equal parts (n,) from their scatter, in the unit of the parts.

    sqrt((n - 1) / (n - 3)) s sqrt(n) for n of 4 or more; with fewer parts their whole range.
    """
    n = parts.size
    if n < 2:
        return 0.0
    if n < _FEWEST_PARTS:
        return float(np.ptp(parts)) * n
    return float(np.std(parts, ddof=1)) * math.sqrt(n * (n - 1) / (n - 3))


def pulse_uncertainty_pct(span_s: float, resolution_s: float, ripple: float) -> float:
    """Expanded uncertainty of an error from pulses, percent.

    Parameters
    ----------
    span_s:
        Time between the first and the last pulse counted, s.
    resolution_s:
        Step of their instants, s.
    ripple:
        Relative bound of what the power's alternation over unfinished cycles leaves.
    """
    if span_s <= 0:
        return math.inf
    instants = resolution_s / math.sqrt(6.0) / span_s
    return 100.0 * COVERAGE_FACTOR * math.hypot(instants, ripple / math.sqrt(3.0))

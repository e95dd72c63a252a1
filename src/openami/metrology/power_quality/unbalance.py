"""Unbalance of a three-phase supply: negative and zero sequence in percent of the positive sequence.

IEC 61000-4-30:2015, class A, 5.7 and 5.13 (recalled, confirm against the standard): from the fundamental
phasors of a 10/12-cycle window, so harmonics do not count; voltages and currents alike. The rule: where there
is no positive sequence there is no unbalance (NaN), not none (0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openami.metrology.powers.symmetrical import symmetrical_components
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
C128 = npt.NDArray[np.complex128]


@dataclass(frozen=True, slots=True, eq=False)
class Unbalance:
    """Unbalance in percent, float64 (...): negative (u2, i2) and zero sequence (u0, i0)."""

    negative_pct: F64
    zero_pct: F64


def unbalance(phasors: C128) -> Unbalance:
    """Unbalance of fundamental phasors.

    Parameters
    ----------
    phasors:
        complex128 (..., 3): L1, L2, L3.

    Raises
    ------
    MeteringError
        The last axis is not three phases.
    """
    components = symmetrical_components(phasors)
    return Unbalance(components.negative_percent, components.zero_percent)


def unbalance_of_line_voltages(fundamental_v: F64) -> F64:
    """Negative-sequence unbalance in percent from the fundamental rms of the three line-to-line voltages.

    ``u2 = sqrt((1 - s) / (1 + s))`` with ``s = sqrt(3 - 6 b)`` and ``b = sum U^4 / (sum U^2)^2``
    (IEC 61000-4-30, 5.7.1; recalled): line voltages sum to zero, so their lengths alone fix the triangle.

    Parameters
    ----------
    fundamental_v:
        float64 (..., 3): U12, U23, U31 in V.

    Raises
    ------
    MeteringError
        Not three voltages, or lengths that are no triangle.
    """
    if fundamental_v.shape[-1] != 3:
        raise MeteringError(f"{fundamental_v.shape[-1]} line voltages", expected="U12, U23 and U31")
    longest = fundamental_v.max(axis=-1)
    if (2.0 * longest > fundamental_v.sum(axis=-1) * (1.0 + 1e-9)).any() or (fundamental_v < 0).any():
        raise MeteringError(
            "line voltages that do not close to a triangle",
            expected="none longer than the other two together",
        )
    squares = fundamental_v**2
    with np.errstate(divide="ignore", invalid="ignore"):
        beta = (squares**2).sum(axis=-1) / squares.sum(axis=-1) ** 2
    s = np.sqrt(np.clip(3.0 - 6.0 * beta, 0.0, 1.0))
    percent: F64 = 100.0 * np.sqrt((1.0 - s) / (1.0 + s))
    return percent

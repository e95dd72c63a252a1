"""Symmetrical components, unbalance and phase sequence of three phases.

Fortescue (1918); unbalance as in IEC 61000-4-30, 5.7: u2 = |negative| / |positive|, u0 = |zero| / |positive|,
of the fundamental. Phase order of the arrays is L1, L2, L3.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from openami.metrology.powers.phasors import ratio, root
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
C128 = npt.NDArray[np.complex128]

_A = complex(-0.5, np.sqrt(0.75))
_FORTESCUE = np.array([[1, 1, 1], [1, _A, _A.conjugate()], [1, _A.conjugate(), _A]]) / 3.0


@dataclass(frozen=True, slots=True)
class SymmetricalComponents:
    """Phasors of the zero, positive and negative sequence in phase L1, complex128 (...)."""

    zero: C128
    positive: C128
    negative: C128

    @property
    def zero_percent(self) -> F64:
        """u0 (or i0): zero over positive sequence in percent, float64 (...)."""
        return 100.0 * ratio(np.abs(self.zero), np.abs(self.positive))

    @property
    def negative_percent(self) -> F64:
        """u2 (or i2): negative over positive sequence in percent, float64 (...)."""
        return 100.0 * ratio(np.abs(self.negative), np.abs(self.positive))


def symmetrical_components(phases: C128) -> SymmetricalComponents:
    """Symmetrical components of three phasors.

    Parameters
    ----------
    phases:
        complex128 (..., 3): L1, L2, L3.

    Raises
    ------
    MeteringError
        The last axis is not three phases.
    """
    if phases.shape[-1] != 3:
        raise MeteringError(
            f"{phases.shape[-1]} phases have no symmetrical components", expected="three phases"
        )
    sequences: C128 = phases @ _FORTESCUE.T
    return SymmetricalComponents(sequences[..., 0], sequences[..., 1], sequences[..., 2])


def negative_percent_of_line_voltages(line_v: F64) -> F64:
    """u2 in percent from the fundamental rms values of the three line-to-line voltages alone.

    Parameters
    ----------
    line_v:
        float64 (..., 3): U12, U23, U31.

    Notes
    -----
    With b = sum U^4 / (sum U^2)^2: u2 = sqrt((1 - sqrt(3 - 6b)) / (1 + sqrt(3 - 6b))).
    Source: IEC 61000-4-30, 5.7.1 (recalled, confirm against the standard).
    """
    b = ratio((line_v**4).sum(axis=-1), (line_v**2).sum(axis=-1) ** 2)
    inner = root(3.0 - 6.0 * b)
    return 100.0 * root((1.0 - inner) / (1.0 + inner))


class PhaseSequence(Enum):
    """Order in which the phases reach their crest."""

    POSITIVE = "L1-L2-L3"
    NEGATIVE = "L3-L2-L1"
    NONE = "none"


def phase_sequence(phases: C128) -> PhaseSequence:
    """Phase sequence of three voltages, complex128 (3,): the larger of the rotating components.

    ``NONE`` where neither rotates: no voltage, or three times the same one.
    """
    components = symmetrical_components(phases)
    forward, backward = float(np.abs(components.positive)), float(np.abs(components.negative))
    total = float(np.abs(phases).sum())
    if max(forward, backward) <= 1e-6 * total:
        return PhaseSequence.NONE
    return PhaseSequence.POSITIVE if forward >= backward else PhaseSequence.NEGATIVE

"""Apparent power of three phases, three ways: arithmetic, vector and effective (IEEE 1459-2010, 3.2.2).

    arithmetic  S_A = Σ U_k I_k                 vector  S_V = sqrt(P² + Q1²)
    effective   S_e = 3 U_e I_e,  I_e² = (I_1² + I_2² + I_3² + I_n²) / 3,
                U_e² = [3 Σ U_k² + Σ U_kl²] / 18

With i_n = -(i_1 + i_2 + i_3) and u_kl = u_k - u_l both effective values need only the phases' squares and
cross products: I_n² = Σ I_k² + 2 Σ <i_k i_l>, Σ U_kl² = 2 Σ U_k² - 2 Σ <u_k u_l>. Without a neutral I_n is 0
and the same formulas hold. Rule never to be broken: a square root is IEEE 754's correctly rounded one, taken
once a window and made an integer at once, so that the registers are the same on every machine.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from openami.metrology.energy.compiled import kernel_part


class ApparentMethod(IntEnum):
    """Which apparent energy a meter bills."""

    ARITHMETIC = 0
    VECTOR = 1
    EFFECTIVE = 2


@kernel_part
def arithmetic(mean_square_u: float, mean_square_i: float) -> float:  # pragma: no cover - compiled
    """U·I of one phase from its mean squares; 0 where noise of an edge made one negative."""
    return float(np.sqrt(max(mean_square_u, 0.0) * max(mean_square_i, 0.0)))


@kernel_part
def vector(active: float, reactive: float) -> float:  # pragma: no cover - compiled
    """Apparent power sqrt(P² + Q²) from the totals."""
    return float(np.sqrt(active * active + reactive * reactive))


@kernel_part
def effective(
    squares_u: float, crosses_u: float, squares_i: float, crosses_i: float
) -> float:  # pragma: no cover - compiled
    """Effective apparent power from Σ U_k², Σ <u_k u_l>, Σ I_k², Σ <i_k i_l> over the three phases."""
    voltage = (5.0 * squares_u - 2.0 * crosses_u) / 18.0
    current = (2.0 * squares_i + 2.0 * crosses_i) / 3.0
    return 3.0 * arithmetic(voltage, current)

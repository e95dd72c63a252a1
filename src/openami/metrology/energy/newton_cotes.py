"""Newton-Cotes rules as integrators of sampled power, and why the plain sum is the default.

A composite rule weighs the samples of a stream with a short pattern over and over: Simpson 2 4, Boole
28 64 24 64 (/45), the seven-point rule 82 216 27 272 27 216 (/140). Over whole periods the plain sum is exact
for every harmonic product below the sampling rate; a pattern of m weights also samples at rate/m, and what
it weighs differently there comes out as energy: products at rate/4 with Boole, at rate/6, rate/3 and rate/2
with the seven-point rule. The accuracy that the rules have on smooth functions between *fixed* ends they do
not have here; what helps at the ends of a window is the end correction (`edge_terms`). They are offered
because the field's literature names them. Rule never to be broken: weights are exact integers over one
divisor.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from openami.metrology.energy.edge_terms import EDGE_COEFFICIENTS, edge_weights
from openami.metrology.energy.path_state import AFTER, BEFORE
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]


class Integrator(IntEnum):
    """How active energy is made of the samples u·i."""

    PLAIN_SUM = 0
    """Every sample counts the same: the default."""
    END_CORRECTED = 1
    """Plain sum with end corrections at the real-valued edges of each window."""
    SIMPSON = 2
    BOOLE = 3
    SEVEN_POINT = 4


_PATTERNS = {
    Integrator.PLAIN_SUM: ((1,), 1),
    Integrator.END_CORRECTED: ((1,), 1),
    Integrator.SIMPSON: ((2, 4), 3),
    Integrator.BOOLE: ((28, 64, 24, 64), 45),
    Integrator.SEVEN_POINT: ((82, 216, 27, 272, 27, 216), 140),
}


def pattern(integrator: Integrator) -> tuple[tuple[int, ...], int]:
    """Weights of a rule within its panel, the shared end first, and their divisor; their mean is 1."""
    return _PATTERNS[integrator]


def integrate(products: F64, integrator: Integrator) -> float:
    """Integral of samples over their whole span, in sample steps.

    Parameters
    ----------
    products:
        Samples of one whole number of periods, float64 (n,); sample n is sample 0 again.

    Raises
    ------
    MeteringError
        The number of samples is no multiple of the rule's panel.
    """
    weights, divisor = pattern(integrator)
    if products.size % len(weights):
        raise MeteringError(
            f"{products.size} samples with {integrator.name}", expected=f"a multiple of {len(weights)}"
        )
    classes = products.reshape(-1, len(weights)).sum(axis=0)
    return float(classes @ np.array(weights, np.float64)) / divisor


def integrate_between(products: F64, begin: float, end: float) -> float:
    """Integral of samples between two real-valued positions, by the plain sum with end corrections.

    Parameters
    ----------
    products:
        float64 (n,); sample k is at position k.
    begin, end:
        Positions, at least 4 samples inside.

    Raises
    ------
    MeteringError
        An edge has too few samples around it.
    """
    first, last = int(np.ceil(begin)), int(np.ceil(end))
    if first < BEFORE or last + AFTER > products.size or end < begin:
        raise MeteringError(
            f"edges {begin} and {end} in {products.size} samples", expected="4 samples on both sides"
        )
    weights = np.empty(BEFORE + AFTER)
    terms = []
    for at, edge in ((first, begin), (last, end)):
        edge_weights(edge - at, EDGE_COEFFICIENTS, weights)
        terms.append(float(weights @ products[at - BEFORE : at + AFTER]))
    return float(products[first:last].sum()) + terms[0] - terms[1]

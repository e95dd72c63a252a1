"""Quantities of many windows as one: powers averaged, rms values root-mean-squared, ratios taken anew.

Aggregation follows IEC 61000-4-30, 4.5 (root of the mean square for rms values); powers are means over time,
so that power times duration is energy. The rule never to be broken: a ratio is never averaged; it is the
ratio of what was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from openami.metrology.powers.phasors import ratio
from openami.metrology.powers.single_phase import SinglePhasePowers
from openami.metrology.powers.symmetrical import SymmetricalComponents
from openami.metrology.powers.three_phase import ThreePhasePowers

F64 = npt.NDArray[np.float64]
C128 = npt.NDArray[np.complex128]
Powers = TypeVar("Powers", SinglePhasePowers, ThreePhasePowers, SymmetricalComponents)

RATIOS: Final = {
    "thd_u": ("uh_v", "u1_v"),
    "thd_i": ("ih_a", "i1_a"),
    "pf1": ("p1_w", "s1_va"),
    "thd_eu": ("veh_v", "ve1_v"),
    "thd_ei": ("ieh_a", "ie1_a"),
    "load_unbalance": ("su1_va", "s1_pos_va"),
    "pf1_pos": ("p1_pos_w", "s1_pos_va"),
    "pf_arithmetic": ("p_w", "s_arithmetic_va"),
    "pf_vector": ("p_w", "s_vector_va"),
}
"""Ratios that are called the same wherever they occur, and what they are the ratio of."""

_OF_ONE_PHASE: Final = {"pf": ("p_w", "s_va"), "harmonic_pollution": ("sn_va", "s1_va")}
_OF_THREE_PHASES: Final = {"pf": ("p_w", "se_va"), "harmonic_pollution": ("sen_va", "se1_va")}


def stacked(parts: Sequence[Powers]) -> Powers:
    """Windows of several pieces as the windows of one."""
    gathered: dict[str, Any] = {}
    for field in fields(parts[0]):
        values = [getattr(part, field.name) for part in parts]
        gathered[field.name] = (
            np.concatenate(values) if isinstance(values[0], np.ndarray) else stacked(values)
        )
    return replace(parts[0], **gathered)


def mean_of_windows(powers: Powers, weights: F64) -> Powers:
    """One set of quantities for many windows.

    Parameters
    ----------
    powers:
        Fields (windows, ...).
    weights:
        float64 (windows,): how long each window is, in any unit; 0 leaves it out.

    Returns
    -------
    The same type, fields (...). Phasors get the rms magnitude and the mean direction.
    """
    share = weights / weights.sum()
    special = RATIOS | (_OF_ONE_PHASE if isinstance(powers, SinglePhasePowers) else _OF_THREE_PHASES)
    found: dict[str, Any] = {}
    for field in fields(powers):
        value = getattr(powers, field.name)
        if not isinstance(value, np.ndarray):
            found[field.name] = mean_of_windows(value, weights)
        elif np.iscomplexobj(value):
            found[field.name] = _mean_phasor(value, share)
        elif field.name.endswith(("_v", "_a")):
            found[field.name] = np.sqrt(_mean(value**2, share))
        else:
            found[field.name] = _mean(value, share)
    for name, (numerator, denominator) in special.items():
        if name in found:
            found[name] = ratio(np.asarray(found[numerator]), np.asarray(found[denominator]))
    if isinstance(powers, SinglePhasePowers):
        found["phi1_deg"] = np.degrees(np.arctan2(np.asarray(found["q1_var"]), np.asarray(found["p1_w"])))
        found["distortion_pf"] = ratio(np.asarray(found["pf"]), np.asarray(found["pf1"]))
    return replace(powers, **found)


def _mean(value: F64, share: F64) -> F64:
    """Weighted mean over windows; a window that is left out may hold anything, NaN included."""
    kept = share > 0
    mean: F64 = np.tensordot(share[kept], value[kept], axes=1)
    return mean


def _mean_phasor(value: C128, share: F64) -> C128:
    kept = share > 0
    direction = np.angle(np.tensordot(share[kept], value[kept], axes=1))
    magnitude = np.sqrt(_mean(np.abs(value) ** 2, share))
    turned: C128 = magnitude * np.exp(1j * direction)
    return turned

"""Closing a window: its edge, its flags, its phasors and frequency, and then its energies to the registers.

Rule never to be broken: samples that a converter cannot give touch neither registers nor the next window.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openami.metrology.energy import path_state as ps
from openami.metrology.energy.compiled import Int, kernel_part
from openami.metrology.energy.edge_terms import (
    cross_terms,
    edge_weights,
    product_terms,
    reference_terms,
    weigh_reference,
)
from openami.metrology.energy.exact_sums import COLUMNS, PEAK_U
from openami.metrology.energy.fundamental import demodulated, image_factors, track
from openami.metrology.energy.path_state import BEFORE, LEAD, TAPS
from openami.metrology.energy.registers import PHASES
from openami.metrology.energy.registration import register_window

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]


@kernel_part
def flag_peaks(ints: I64, constants: I64) -> int:  # pragma: no cover - compiled
    """Flag samples at full scale or beyond what the converter gives; a bit by channel, voltages first."""
    phases = constants[ps.PHASE_COUNT]
    saturated = 0
    for phase in range(phases):
        for channel in range(2):
            peak = ints[ps.SUMS + phase * COLUMNS + PEAK_U + channel]
            if peak >= constants[ps.FULL_SCALE]:
                saturated |= 1 << (channel * phases + phase)
                ints[ps.FLAGS] |= ps.FLAG_SATURATED
            if peak > constants[ps.RANGE]:
                ints[ps.FLAGS] |= ps.FLAG_OUT_OF_RANGE
    return saturated


@kernel_part
def edge_is_sound(u: I32, i: I32, at: Int, phases: Int, limit: Int) -> bool:  # pragma: no cover - compiled
    """True when the samples around an edge are ones a converter can give."""
    for phase in range(phases):
        for k in range(at - BEFORE, at - BEFORE + TAPS):
            if abs(np.int64(u[phase, k])) > limit or abs(np.int64(i[phase, k])) > limit:
                return False
    return True


@kernel_part
def close_window(
    u: I32, i: I32, at: Int, ints: I64, reals: F64, constants_i: I64, constants_f: F64,
    coefficients: F64, cosine: F64, sine: F64, log_i: I64, log_r: F64,
) -> float:  # pragma: no cover - compiled  # fmt: skip
    """Close the running window, whose last sample is the one before ``at``, and write its row of the log.

    Needs 4 samples before and from ``at`` on. The closing edge's terms stay in the scratch area for the
    window that opens.

    Returns
    -------
    Frequency that the next window is tuned to, in cycles a sample; negative when the edge is no edge and
    the next window starts anew.
    """
    phases = constants_i[ps.PHASE_COUNT]
    length = ints[ps.LENGTH]
    sound = edge_is_sound(u, i, at, phases, constants_i[ps.RANGE])
    if sound:
        edge_after = reals[ps.EDGE] + reals[ps.SPAN] - length
        edge_weights(edge_after, coefficients, reals[ps.EDGE_WEIGHT : ps.EDGE_WEIGHT + TAPS])
        weigh_reference(LEAD - BEFORE + length, cosine, sine, reals)
        product_terms(u, i, at, phases, reals)
        reference_terms(u, i, at, phases, reals, ps.CLOSING)
        if constants_i[ps.EFFECTIVE]:
            cross_terms(u, i, at, reals)
    else:
        ints[ps.FLAGS] |= ps.FLAG_OUT_OF_RANGE
        for k in range(ps.CLOSING, ps.PHASORS):
            reals[k] = 0.0
    saturated = flag_peaks(ints, constants_i)
    frequency = reals[ps.TUNED]
    measured = False
    if not ints[ps.FLAGS] & ps.FLAG_OUT_OF_RANGE:
        demodulated(phases, ints, reals)
        frequency, measured = track(phases, ints, reals, constants_f)
        sum_factor, difference_factor = image_factors(
            np.pi * (frequency - reals[ps.TUNED]) * reals[ps.SPAN], ints[ps.CYCLES]
        )
        for channel in range(2 * phases):
            reals[ps.PHASORS + 2 * channel] *= sum_factor
            reals[ps.PHASORS + 2 * channel + 1] *= difference_factor
    else:
        for k in range(4 * PHASES):
            reals[ps.PHASORS + k] = 0.0
        reals[ps.LAST_FREQUENCY] = 0.0
        sound = False
    register_window(ints, reals, constants_i, constants_f, saturated, frequency, log_i, log_r)
    for phase in range(phases):
        reals[ps.LAST_PHASOR + 2 * phase] = reals[ps.PHASORS + 4 * phase]
        reals[ps.LAST_PHASOR + 2 * phase + 1] = reals[ps.PHASORS + 4 * phase + 1]
    reals[ps.LAST_CYCLES] = float(ints[ps.CYCLES])
    reals[ps.LAST_SPAN] = reals[ps.SPAN]
    if not sound:
        return -1.0
    if not measured and (ints[ps.LOCK] == ps.NO_VOLTAGE or ints[ps.LOCK] == ps.SEARCHING):
        return float(constants_f[ps.NOMINAL])
    return float(reals[ps.NEXT])

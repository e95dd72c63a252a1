"""From a closed window to the registers: energies of the phases, totals, losses, and what is kept apart.

Active energy is an integer from the samples to the register. Fundamental, reactive and apparent energies are
rounded to count products once a window. They are added to the residues; a residue becomes a count when it is
carried over. Rules never to be broken: what is added is not negative, so no register runs back; a flagged
window moves the doubtful registers and no other.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openami.metrology.energy import path_state as ps
from openami.metrology.energy.apparent_energy import arithmetic, effective, vector
from openami.metrology.energy.compiled import Int, kernel_part
from openami.metrology.energy.exact_sums import COLUMNS, II, UI, UU
from openami.metrology.energy.newton_cotes import Integrator
from openami.metrology.energy.quadrants import quadrant
from openami.metrology.energy.registers import PHASES, PLACES, REGISTERS, TOTAL, Register, SumMode, split
from openami.metrology.energy.thresholds import ThresholdQuantity, counts_on

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

_CARRY_AT = 1 << 61
"""Residues are carried over to counts here at the latest; one window adds less than as much again."""
_WEIGHT_BITS = 30
_WEIGHT_ONE = 1 << _WEIGHT_BITS
_ABSOLUTE = int(SumMode.ABSOLUTE)
_BY_PHASE = int(SumMode.BY_PHASE)
_PLAIN_SUM = int(Integrator.PLAIN_SUM)
_END_CORRECTED = int(Integrator.END_CORRECTED)
_BY_POWER = int(ThresholdQuantity.POWER)
_ACTIVE = int(Register.ACTIVE_IMPORT)
_FUNDAMENTAL = int(Register.FUNDAMENTAL_IMPORT)
_HARMONIC = int(Register.HARMONIC_IMPORT)
_REACTIVE = int(Register.REACTIVE_I)
_APPARENT = int(Register.APPARENT_IMPORT)
_VECTOR = int(Register.VECTOR_IMPORT)
_EFFECTIVE = int(Register.EFFECTIVE_IMPORT)
_VOLTS = int(Register.VOLT_SQUARED_HOURS)
_AMPERES = int(Register.AMPERE_SQUARED_HOURS)
_LOAD_LOSS = int(Register.LOAD_LOSS)
_ACTIVE_LOSSES = 2
_COMPENSATED = int(Register.COMPENSATED_IMPORT)
_WITHHELD = int(Register.WITHHELD_IMPORT)
_DOUBTFUL = int(Register.DOUBTFUL_IMPORT)
_DOUBTFUL_REACTIVE = int(Register.DOUBTFUL_REACTIVE_IMPORT)


@kernel_part
def unit_of(place: Int, register: Int, constants: I64) -> int:  # pragma: no cover - compiled
    """Count products of one quantum of a register."""
    if register == _VOLTS:
        return int(constants[ps.UNIT_VOLTS + min(place, PHASES - 1)])
    if register == _AMPERES:
        return int(constants[ps.UNIT_AMPERES + min(place, PHASES - 1)])
    return int(constants[ps.UNIT_COUNT])


@kernel_part
def carry_over(at_least: Int, ints: I64, constants: I64) -> None:  # pragma: no cover - compiled
    """Bring every residue of ``at_least`` or more below its unit."""
    for place in range(PLACES):
        for register in range(REGISTERS):
            at = place * REGISTERS + register
            residue = ints[ps.REGISTER_RESIDUES + at]
            if residue >= at_least:
                unit = unit_of(place, register, constants)
                ints[ps.REGISTER_COUNTS + at] += residue // unit
                ints[ps.REGISTER_RESIDUES + at] = residue % unit


@kernel_part
def post(place: Int, register: Int, amount: Int, ints: I64) -> int:  # pragma: no cover - compiled
    """Add count products, none negative, to the residue of a register; the residue."""
    at = ps.REGISTER_RESIDUES + place * REGISTERS + register
    residue = ints[at] + amount
    ints[at] = residue
    return int(residue)


@kernel_part
def weighted(total: Int, phase: Int, ints: I64, constants: I64) -> int:  # pragma: no cover - compiled
    """A phase's count products in those of the registers; what the division leaves is carried, not lost."""
    shifted = total << constants[ps.SHIFT]
    weight = constants[ps.WEIGHTS + phase]
    if weight == _WEIGHT_ONE:
        return int(shifted)
    high = shifted >> _WEIGHT_BITS
    low = (shifted & (_WEIGHT_ONE - 1)) * weight + ints[ps.WEIGHT_CARRY + phase]
    ints[ps.WEIGHT_CARRY + phase] = low & (_WEIGHT_ONE - 1)
    return int(high * weight + (low >> _WEIGHT_BITS))


@kernel_part
def by_panels(phase: Int, ints: I64, constants: I64) -> int:  # pragma: no cover - compiled
    """Σu·i of the window by the Newton-Cotes rule of the settings, count products of the phase."""
    divisor = constants[ps.PANEL_DIVISOR]
    whole = np.int64(0)
    rest = ints[ps.PANEL_CARRY + phase]
    for k in range(ps.PANEL_CLASSES):
        total = ints[ps.PANELS + phase * ps.PANEL_CLASSES + k]
        weight = constants[ps.PANEL_WEIGHTS + k]
        quotient = total // divisor
        whole += quotient * weight
        rest += (total - quotient * divisor) * weight
    ints[ps.PANEL_CARRY + phase] = rest % divisor
    return int(whole + rest // divisor)


@kernel_part
def register_window(
    ints: I64, reals: F64, constants_i: I64, constants_f: F64, saturated: Int, frequency: float,
    log_i: I64, log_r: F64,
) -> None:  # pragma: no cover - compiled  # fmt: skip
    """Give a window's energies to the registers, and write its row of the log."""
    for k in range(4):
        reals[ps.LOSSES + k] = 0.0
    for phase in range(constants_i[ps.PHASE_COUNT]):
        measure_phase(phase, ints, reals, constants_i, constants_f, log_r)
    for k in range(4):
        log_i[ps.LOG_ACTIVE + k] = 0
    log_r[ps.LOG_VECTOR] = 0.0
    log_r[ps.LOG_EFFECTIVE] = 0.0
    if ints[ps.FLAGS] & ps.DOUBTFUL:
        highest = register_doubtful(ints, constants_i)
    else:
        highest = register_phases(ints, constants_i)
        highest |= register_total(ints, reals, constants_i, constants_f, log_i, log_r)
    if highest >= _CARRY_AT:
        carry_over(np.int64(_CARRY_AT), ints, constants_i)
    ints[ps.CLOSED] += 1
    log_i[ps.LOG_START] = ints[ps.WINDOW_START]
    log_i[ps.LOG_SAMPLES] = ints[ps.LENGTH]
    log_i[ps.LOG_FLAGS] = ints[ps.FLAGS]
    log_i[ps.LOG_CYCLES] = ints[ps.CYCLES]
    log_i[ps.LOG_SATURATED] = saturated
    log_i[ps.LOG_RUNNING] = ints[ps.RUNNING]
    log_r[ps.LOG_EDGE] = reals[ps.EDGE]
    log_r[ps.LOG_SPAN] = reals[ps.SPAN]
    log_r[ps.LOG_FREQUENCY] = frequency


@kernel_part
def measure_phase(
    phase: Int, ints: I64, reals: F64, constants_i: I64, constants_f: F64, log_r: F64
) -> None:  # pragma: no cover - compiled
    """Powers of a phase to the log, its energies to their table, its losses to theirs."""
    span = reals[ps.SPAN]
    sums = ps.SUMS + phase * COLUMNS
    opening = ps.OPENING + phase * COLUMNS
    closing = ps.CLOSING + phase * COLUMNS
    scale = constants_f[ps.PHASE_WEIGHT + phase]
    per_sample = 1.0 / span
    mean_uu = (float(ints[sums + UU]) + reals[opening + UU] - reals[closing + UU]) * per_sample
    mean_ii = (float(ints[sums + II]) + reals[opening + II] - reals[closing + II]) * per_sample
    mean_ui = (float(ints[sums + UI]) + reals[opening + UI] - reals[closing + UI]) * per_sample
    place = ps.PHASORS + 4 * phase
    u_re, u_im = reals[place], reals[place + 1]
    i_re, i_im = reals[place + 2], reals[place + 3]
    row = ps.LOG_PHASE + phase * ps.LOG_COLUMNS
    log_r[row] = mean_uu
    log_r[row + 1] = mean_ii
    log_r[row + 2] = mean_ui * scale
    log_r[row + 3] = (u_re * i_re + u_im * i_im) * scale
    log_r[row + 4] = (u_im * i_re - u_re * i_im) * scale
    log_r[row + 5] = arithmetic(mean_uu, mean_ii) * scale

    energies = ps.ENERGIES + phase * ps.ENERGY_COLUMNS
    if ints[ps.FLAGS] & ps.FLAG_OUT_OF_RANGE:
        for k in range(ps.ENERGY_COLUMNS):
            ints[energies + k] = 0
        ints[ps.EDGE_ENERGY + phase] = 0
        return
    raw = weighted(ints[sums + UI], phase, ints, constants_i)
    edge = np.int64(np.rint(reals[closing + UI] * scale))
    corrected = raw + ints[ps.EDGE_ENERGY + phase] - edge
    ints[ps.EDGE_ENERGY + phase] = edge
    active = raw
    if constants_i[ps.INTEGRATOR] == _END_CORRECTED:
        active = corrected
    elif constants_i[ps.INTEGRATOR] != _PLAIN_SUM:
        active = weighted(by_panels(phase, ints, constants_i), phase, ints, constants_i)
    fundamental = np.int64(np.rint(log_r[row + 3] * span))
    ints[energies + ps.ACTIVE] = active
    ints[energies + ps.FUNDAMENTAL] = fundamental
    ints[energies + ps.HARMONIC] = corrected - fundamental
    ints[energies + ps.REACTIVE] = np.int64(np.rint(log_r[row + 4] * span))
    ints[energies + ps.APPARENT] = np.int64(np.rint(log_r[row + 5] * span))

    compared = abs(raw)
    if constants_i[ps.THRESHOLD_KIND] != _BY_POWER:
        compared = ints[sums + II] << constants_i[ps.SHIFT]
    bit = np.int64(1) << phase
    counting = counts_on(
        ints[ps.RUNNING] & bit != 0,
        compared,
        ints[ps.LENGTH],
        constants_i[ps.STARTING + phase],
        constants_i[ps.STOPPING + phase],
    )
    ints[energies + ps.COUNTING] = counting
    reals[ps.LOSSES] += mean_ii * constants_f[ps.LOAD_LOSS_FACTOR + phase]
    reals[ps.LOSSES + 1] += mean_uu * constants_f[ps.NO_LOAD_LOSS_FACTOR + phase]
    reals[ps.LOSSES + 2] += mean_ii * constants_f[ps.SERIES_FACTOR + phase]
    reals[ps.LOSSES + 3] += mean_uu * mean_uu * constants_f[ps.MAGNETISING_FACTOR + phase]


@kernel_part
def register_doubtful(ints: I64, constants: I64) -> int:  # pragma: no cover - compiled
    """Keep the energies of a flagged window apart, by phase and as a total with signs; all residues ored."""
    active = reactive = np.int64(0)
    highest = np.int64(0)
    for phase in range(constants[ps.PHASE_COUNT]):
        energies = ps.ENERGIES + phase * ps.ENERGY_COLUMNS
        of_phase = ints[energies + ps.ACTIVE]
        reactive_of_phase = ints[energies + ps.REACTIVE]
        highest |= post(phase, _DOUBTFUL + (of_phase < 0), abs(of_phase), ints)
        highest |= post(phase, _DOUBTFUL_REACTIVE + (reactive_of_phase < 0), abs(reactive_of_phase), ints)
        active += of_phase
        reactive += reactive_of_phase
    highest |= post(TOTAL, _DOUBTFUL + (active < 0), abs(active), ints)
    highest |= post(TOTAL, _DOUBTFUL_REACTIVE + (reactive < 0), abs(reactive), ints)
    ints[ps.DOUBTFUL_SAMPLES] += ints[ps.LENGTH]
    return int(highest)


@kernel_part
def register_phases(ints: I64, constants: I64) -> int:  # pragma: no cover - compiled
    """The registers of the phases; what a phase below its threshold takes is withheld. All residues ored."""
    highest = np.int64(0)
    for phase in range(constants[ps.PHASE_COUNT]):
        energies = ps.ENERGIES + phase * ps.ENERGY_COLUMNS
        sums = ps.SUMS + phase * COLUMNS
        bit = np.int64(1) << phase
        active = ints[energies + ps.ACTIVE]
        highest |= post(phase, _VOLTS, ints[sums + UU] << constants[ps.SHIFT], ints)
        highest |= post(phase, _AMPERES, ints[sums + II] << constants[ps.SHIFT], ints)
        if not ints[energies + ps.COUNTING]:
            ints[ps.RUNNING] &= ~bit
            highest |= post(phase, _WITHHELD + (active < 0), abs(active), ints)
            continue
        ints[ps.RUNNING] |= bit
        fundamental = ints[energies + ps.FUNDAMENTAL]
        harmonic = ints[energies + ps.HARMONIC]
        reactive = ints[energies + ps.REACTIVE]
        highest |= post(phase, _ACTIVE + (active < 0), abs(active), ints)
        highest |= post(phase, _FUNDAMENTAL + (fundamental < 0), abs(fundamental), ints)
        highest |= post(phase, _HARMONIC + (harmonic < 0), abs(harmonic), ints)
        highest |= post(phase, _REACTIVE + quadrant(active, reactive), abs(reactive), ints)
        highest |= post(phase, _APPARENT + (active < 0), ints[energies + ps.APPARENT], ints)
    return int(highest)


@kernel_part
def sums_of_phases(column: Int, ints: I64, constants: I64) -> tuple[int, int]:  # pragma: no cover - compiled
    """What counting phases draw and feed of an energy, as the settings' mode makes the total of it."""
    drawn = np.int64(0)
    fed = np.int64(0)
    for phase in range(constants[ps.PHASE_COUNT]):
        energies = ps.ENERGIES + phase * ps.ENERGY_COLUMNS
        if ints[energies + ps.COUNTING]:
            drawn += max(ints[energies + column], 0)
            fed += max(-ints[energies + column], 0)
    return split(constants[ps.MODE], drawn, fed)


@kernel_part
def register_total(
    ints: I64, reals: F64, constants_i: I64, constants_f: F64, log_i: I64, log_r: F64
) -> int:  # pragma: no cover - compiled
    """The registers of the total, by the settings' sum mode; all residues ored.

    With absolute sums a phase that exports is turned round as a whole: its reactive energy changes its sign
    with the active. By phase, the quadrants and apparent energies of the total are those of the phases.
    """
    mode = constants_i[ps.MODE]
    span = reals[ps.SPAN]
    reactive = np.int64(0)
    apparent = np.int64(0)
    plus = np.int64(0)
    minus = np.int64(0)
    highest = np.int64(0)
    for phase in range(constants_i[ps.PHASE_COUNT]):
        energies = ps.ENERGIES + phase * ps.ENERGY_COLUMNS
        if not ints[energies + ps.COUNTING]:
            continue
        active_of_phase = ints[energies + ps.ACTIVE]
        reactive_of_phase = ints[energies + ps.REACTIVE]
        apparent_of_phase = ints[energies + ps.APPARENT]
        apparent += apparent_of_phase
        if mode == _ABSOLUTE and active_of_phase < 0:
            reactive -= reactive_of_phase
        else:
            reactive += reactive_of_phase
        if mode == _BY_PHASE:
            side = quadrant(active_of_phase, reactive_of_phase)
            highest |= post(TOTAL, _REACTIVE + side, abs(reactive_of_phase), ints)
            highest |= post(TOTAL, _APPARENT + (active_of_phase < 0), apparent_of_phase, ints)
            plus += max(reactive_of_phase, 0)
            minus += max(-reactive_of_phase, 0)
    drawn, fed = sums_of_phases(ps.ACTIVE, ints, constants_i)
    highest |= post(TOTAL, _ACTIVE, drawn, ints) | post(TOTAL, _ACTIVE + 1, fed, ints)
    active = drawn - fed
    log_i[ps.LOG_ACTIVE] = drawn
    log_i[ps.LOG_ACTIVE + 1] = fed
    drawn, fed = sums_of_phases(ps.FUNDAMENTAL, ints, constants_i)
    highest |= post(TOTAL, _FUNDAMENTAL, drawn, ints) | post(TOTAL, _FUNDAMENTAL + 1, fed, ints)
    drawn, fed = sums_of_phases(ps.HARMONIC, ints, constants_i)
    highest |= post(TOTAL, _HARMONIC, drawn, ints) | post(TOTAL, _HARMONIC + 1, fed, ints)
    exporting = active < 0
    if mode != _BY_PHASE:
        highest |= post(TOTAL, _REACTIVE + quadrant(active, reactive), abs(reactive), ints)
        highest |= post(TOTAL, _APPARENT + exporting, apparent, ints)
        plus = max(reactive, np.int64(0))
        minus = max(-reactive, np.int64(0))
    log_i[ps.LOG_REACTIVE] = plus
    log_i[ps.LOG_REACTIVE + 1] = minus
    of_totals = vector(float(active), float(reactive))
    highest |= post(TOTAL, _VECTOR + exporting, np.int64(np.rint(of_totals)), ints)
    log_r[ps.LOG_VECTOR] = of_totals / span
    if constants_i[ps.EFFECTIVE]:
        power = effective_power(ints, reals, constants_f) / constants_f[ps.EFFECTIVE_UNIT]
        highest |= post(TOTAL, _EFFECTIVE + exporting, np.int64(np.rint(power * span)), ints)
        log_r[ps.LOG_EFFECTIVE] = power
    lost = np.int64(0)
    for k in range(4):
        loss = np.int64(np.rint(reals[ps.LOSSES + k] * span))
        highest |= post(TOTAL, _LOAD_LOSS + k, loss, ints)
        if k < _ACTIVE_LOSSES:
            lost += loss
    at_point = active + constants_i[ps.LOSS_SIGN] * lost
    highest |= post(TOTAL, _COMPENSATED + (at_point < 0), abs(at_point), ints)
    return int(highest)


@kernel_part
def effective_power(ints: I64, reals: F64, constants: F64) -> float:  # pragma: no cover - compiled
    """Effective apparent power of three phases in VA."""
    span = reals[ps.SPAN]
    squares_u = squares_i = crosses_u = crosses_i = 0.0
    for phase in range(PHASES):
        base = phase * COLUMNS
        other = (phase + 1) % PHASES
        uu = float(ints[ps.SUMS + base + UU]) + reals[ps.OPENING + base + UU] - reals[ps.CLOSING + base + UU]
        ii = float(ints[ps.SUMS + base + II]) + reals[ps.OPENING + base + II] - reals[ps.CLOSING + base + II]
        cross_u = float(ints[ps.CROSS_U + phase]) + reals[ps.OPENING_CROSS + phase]
        cross_u -= reals[ps.CLOSING_CROSS + phase]
        cross_i = float(ints[ps.CROSS_I + phase]) + reals[ps.OPENING_CROSS + PHASES + phase]
        cross_i -= reals[ps.CLOSING_CROSS + PHASES + phase]
        volts, volts_other = constants[ps.EFFECTIVE_U + phase], constants[ps.EFFECTIVE_U + other]
        amperes, amperes_other = constants[ps.EFFECTIVE_I + phase], constants[ps.EFFECTIVE_I + other]
        squares_u += uu / span * volts * volts
        squares_i += ii / span * amperes * amperes
        crosses_u += cross_u / span * volts * volts_other
        crosses_i += cross_i / span * amperes * amperes_other
    return float(effective(squares_u, crosses_u, squares_i, crosses_i))

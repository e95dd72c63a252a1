"""The fundamental of a window: phasors from the demodulated sums, and the frequency from their advance.

A phasor is

    X = sqrt(2)/L · ∫ x e^{-jω(t - t0)} dt,   the integral from the sums and the terms of both edges,

and because the reference's ω differs a little from the signal's, the integral is g1 X + g2 X* with
d = (ω_x - ω) L / 2, g1 = sin d / d, g2 = sin d / (2πc + d) over c cycles, which is solved for X. The
frequency is the advance of a voltage's phase from the centre of one window to the centre of the next. Rule
never to be broken: operations of IEEE 754 in one fixed order, so that a replay gives the same bits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openami.metrology.energy import path_state as ps
from openami.metrology.energy.compiled import Int, kernel_part
from openami.metrology.energy.exact_sums import COLUMNS, IC, REFERENCE_AMPLITUDE, UC
from openami.metrology.energy.reference_oscillator import angle_of, cosine_and_sine

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

_JUMP = 1.5
"""A phase advance beyond this (rad) is no change of frequency (0.2 s: 1.2 Hz)."""
_JUMP_SEARCHING = 2.8
_STEEPEST = 0.01
"""A relative change of frequency from window to window beyond this is a step and not carried on."""


@kernel_part
def demodulated(phases: Int, ints: I64, reals: F64) -> None:  # pragma: no cover - compiled
    """Phasors in counts, image still in them, to the scratch area: u re, u im, i re, i im by phase."""
    turn_c, turn_s = cosine_and_sine(2.0 * np.pi * reals[ps.TUNED] * reals[ps.EDGE])
    scale = np.sqrt(2.0) / (reals[ps.SPAN] * REFERENCE_AMPLITUDE)
    for phase in range(phases):
        for channel in range(2):
            cosine = UC if channel == 0 else IC
            sine = cosine + 1
            base = phase * COLUMNS
            c = (
                float(ints[ps.SUMS + base + cosine])
                + reals[ps.OPENING + base + cosine]
                - reals[ps.CLOSING + base + cosine]
            ) * scale
            s = (
                float(ints[ps.SUMS + base + sine])
                + reals[ps.OPENING + base + sine]
                - reals[ps.CLOSING + base + sine]
            ) * scale
            place = ps.PHASORS + 4 * phase + 2 * channel
            reals[place] = c * turn_c + s * turn_s
            reals[place + 1] = c * turn_s - s * turn_c


@kernel_part
def image_factors(detuning: float, cycles: Int) -> tuple[float, float]:  # pragma: no cover - compiled
    """1 / (g1 + g2) and 1 / (g1 - g2) for d = ``detuning``."""
    if abs(detuning) < 1e-3:
        # The series to the square; what is left out is below 1e-9.
        image = detuning / (2.0 * np.pi * cycles)
        even = 1.0 + detuning * detuning / 6.0 + image * image
        return even - image, even + image
    sine = cosine_and_sine(detuning)[1]
    direct = sine / detuning
    image = sine / (2.0 * np.pi * cycles + detuning)
    return 1.0 / (direct + image), 1.0 / (direct - image)


@kernel_part
def track(phases: Int, ints: I64, reals: F64, constants: F64) -> tuple[float, bool]:  # pragma: no cover
    """Frequency at the window's centre in cycles a sample, and whether it is measured.

    Sets lock, strikes and flags, and the frequency that the next window is expected to have. The reference
    is the first phase that has its voltage in this window and the one before. The advance of its phase
    gives the mean frequency from centre to centre; from two of these the slope carries it half a window on
    to this centre and one and a half to the next.
    """
    tuned = reals[ps.TUNED]
    lock = ints[ps.LOCK]
    before_last = reals[ps.LAST_FREQUENCY]
    reals[ps.LAST_FREQUENCY] = 0.0
    reals[ps.NEXT] = tuned
    present = False
    reference = -1
    for phase in range(phases):
        real = reals[ps.PHASORS + 4 * phase]
        imaginary = reals[ps.PHASORS + 4 * phase + 1]
        if real * real + imaginary * imaginary >= constants[ps.PRESENT + phase]:
            present = True
            last_real = reals[ps.LAST_PHASOR + 2 * phase]
            last_imaginary = reals[ps.LAST_PHASOR + 2 * phase + 1]
            before = last_real * last_real + last_imaginary * last_imaginary
            if reference < 0 and before >= constants[ps.PRESENT + phase]:
                reference = phase
    if not present:
        ints[ps.FLAGS] |= ps.FLAG_NO_VOLTAGE
        ints[ps.LOCK] = ps.NO_VOLTAGE
        ints[ps.STRIKES] = 0
        return tuned, False
    if lock == ps.NO_VOLTAGE:
        ints[ps.LOCK] = ps.SEARCHING
    if lock != ps.LOCKED:
        ints[ps.FLAGS] |= ps.FLAG_ACQUIRING
    if reference < 0:
        return tuned, False
    cycles = ints[ps.CYCLES]
    real = reals[ps.PHASORS + 4 * reference]
    imaginary = reals[ps.PHASORS + 4 * reference + 1]
    last_real = reals[ps.LAST_PHASOR + 2 * reference]
    last_imaginary = reals[ps.LAST_PHASOR + 2 * reference + 1]
    frequency = tuned
    advance = 0.0
    for _ in range(2):
        sum_factor, difference_factor = image_factors(np.pi * (frequency - tuned) * reals[ps.SPAN], cycles)
        re = real * sum_factor
        im = imaginary * difference_factor
        advance = angle_of(re * last_real + im * last_imaginary, im * last_real - re * last_imaginary)
        frequency = (cycles + reals[ps.LAST_CYCLES] + advance / np.pi) / (
            reals[ps.SPAN] + reals[ps.LAST_SPAN]
        )
        if abs(advance) < 1e-3:
            break
    limit = _JUMP if cycles > 1 else _JUMP_SEARCHING
    if abs(advance) > limit or not constants[ps.LOWEST] <= frequency <= constants[ps.HIGHEST]:
        ints[ps.FLAGS] |= ps.FLAG_PHASE_JUMP
        ints[ps.STRIKES] += 1
        if ints[ps.STRIKES] > 1:
            ints[ps.LOCK] = ps.SEARCHING
            ints[ps.STRIKES] = 0
        return tuned, False
    ints[ps.STRIKES] = 0
    if lock == ps.SEARCHING:
        ints[ps.LOCK] = ps.SETTLING
    elif lock < ps.LOCKED:
        ints[ps.LOCK] = lock + 1
    reals[ps.LAST_FREQUENCY] = frequency
    slope = frequency - before_last
    if lock != ps.LOCKED or abs(slope) > _STEEPEST * frequency:
        slope = 0.0
    reals[ps.NEXT] = frequency + 1.5 * slope
    return frequency + 0.5 * slope, True

"""The stream through the windows: samples go into exact sums, full windows are closed, the next ones opened.

Samples are taken into the sums four behind the newest, because the edge of a window needs four samples after
it; the eight samples around that place are kept, so that a stream may be cut anywhere. Rule never to be
broken: what happens depends on the samples and the state alone, never on how many samples a call brings.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openami.metrology.energy import path_state as ps
from openami.metrology.energy.compiled import Int, kernel, kernel_part
from openami.metrology.energy.edge_terms import reference_terms, weigh_reference
from openami.metrology.energy.exact_sums import COLUMNS, UI, add_by_class, add_cross_products, add_products
from openami.metrology.energy.newton_cotes import Integrator
from openami.metrology.energy.path_state import AFTER, BEFORE, LEAD, TAPS
from openami.metrology.energy.reference_oscillator import POWERS, STEP, fill_reference
from openami.metrology.energy.registers import PHASES
from openami.metrology.energy.registration import carry_over, register_window
from openami.metrology.energy.window_closure import close_window, flag_peaks

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

RETUNE = 1e-7
"""Relative change of frequency up to which the reference stays: its detuning is divided out."""

_END_CORRECTED = int(Integrator.END_CORRECTED)
_COSINE, _SINE, _MADE = range(3)
TABLE_ROWS = 3
"""Rows of the reference table; the last begins with what it was made for and has room for making it."""
_ROOM = 8


def reference_table(longest: int) -> F64:
    """An empty table for windows of at most ``longest`` samples, its rows aligned to lines of the cache."""
    columns = (longest + LEAD + TAPS + STEP - 1) // STEP * STEP
    columns = max(columns, _ROOM + 2 * POWERS)
    room = np.zeros(TABLE_ROWS * columns + 8)
    begin = -(room.ctypes.data // 8) % 8
    return room[begin : begin + TABLE_ROWS * columns].reshape(TABLE_ROWS, columns)


@kernel_part
def tune(ints: I64, reals: F64, table: F64) -> None:  # pragma: no cover - compiled
    """Make the reference of the running window, unless it is there."""
    count = ints[ps.LENGTH] + 1 + LEAD + AFTER
    if table[_MADE, 0] != reals[ps.TUNED] or table[_MADE, 1] < count:
        powers = table[_MADE, _ROOM : _ROOM + 2 * POWERS].reshape(2, POWERS)
        fill_reference(2.0 * np.pi * reals[ps.TUNED], count, powers, table[_COSINE], table[_SINE])
        table[_MADE, 0] = reals[ps.TUNED]
        table[_MADE, 1] = count


@kernel_part
def begin_window(ints: I64, reals: F64, constants_i: I64) -> None:  # pragma: no cover - compiled
    """Length and cycles of the window that begins at the present edge; its sums are empty."""
    cycles = 1 if ints[ps.LOCK] == ps.SEARCHING else constants_i[ps.WINDOW_CYCLES]
    ints[ps.CYCLES] = cycles
    ints[ps.DONE] = 0
    ints[ps.FLAGS] = 0
    reals[ps.SPAN] = cycles / reals[ps.TUNED]
    ints[ps.LENGTH] = np.int64(np.ceil(reals[ps.EDGE] + reals[ps.SPAN]))
    for k in range(ps.SUMS, ps.PANELS):
        ints[k] = 0
    if constants_i[ps.EFFECTIVE] or constants_i[ps.INTEGRATOR] > _END_CORRECTED:
        for k in range(ps.PANELS, ps.TAIL):
            ints[k] = 0


@kernel
def begin_anew(ints: I64, reals: F64, constants_i: I64) -> None:  # pragma: no cover - compiled
    """Begin a window with the next sample, without a past."""
    reals[ps.EDGE] = -0.5
    for k in range(ps.OPENING, ps.REALS):
        reals[k] = 0.0
    for k in range(2 * PHASES):
        reals[ps.LAST_PHASOR + k] = 0.0
    reals[ps.LAST_FREQUENCY] = 0.0
    for phase in range(PHASES):
        ints[ps.EDGE_ENERGY + phase] = 0
    begin_window(ints, reals, constants_i)


@kernel_part
def begin_after(
    u: I32, i: I32, at: Int, frequency: float, ints: I64, reals: F64, constants_i: I64,
    table: F64,
) -> None:  # pragma: no cover - compiled  # fmt: skip
    """Open the window whose first sample is ``at``, after one that was closed there.

    The closing edge is the opening one: its weights and terms are still in the scratch area.
    """
    ints[ps.WINDOW_START] += ints[ps.LENGTH]
    if frequency < 0.0:
        begin_anew(ints, reals, constants_i)
        tune(ints, reals, table)
        return
    reals[ps.EDGE] += reals[ps.SPAN] - ints[ps.LENGTH]
    if abs(frequency - reals[ps.TUNED]) > RETUNE * reals[ps.TUNED]:
        reals[ps.TUNED] = frequency
    begin_window(ints, reals, constants_i)
    tune(ints, reals, table)
    weigh_reference(LEAD - BEFORE, table[_COSINE], table[_SINE], reals)
    for phase in range(constants_i[ps.PHASE_COUNT]):
        for column in range(UI + 1):
            at_column = phase * COLUMNS + column
            reals[ps.OPENING + at_column] = reals[ps.CLOSING + at_column]
    if constants_i[ps.EFFECTIVE]:
        for k in range(2 * PHASES):
            reals[ps.OPENING_CROSS + k] = reals[ps.CLOSING_CROSS + k]
    reference_terms(u, i, at, constants_i[ps.PHASE_COUNT], reals, ps.OPENING)


@kernel_part
def take_in(
    u: I32, i: I32, first: Int, last: Int, ints: I64, constants_i: I64, table: F64
) -> None:  # pragma: no cover - compiled
    """Samples ``first`` up to ``last`` into the sums of the running window."""
    phases = constants_i[ps.PHASE_COUNT]
    done = ints[ps.DONE]
    sums = ints[ps.SUMS : ps.SUMS + PHASES * COLUMNS]
    add_products(u, i, first, last, table[_COSINE], table[_SINE], LEAD + done, sums)
    if constants_i[ps.EFFECTIVE]:
        add_cross_products(u, first, last, ints[ps.CROSS_U : ps.CROSS_U + PHASES])
        add_cross_products(i, first, last, ints[ps.CROSS_I : ps.CROSS_I + PHASES])
    if constants_i[ps.INTEGRATOR] > _END_CORRECTED:
        panels = ints[ps.PANELS : ps.PANELS + phases * ps.PANEL_CLASSES].reshape(phases, ps.PANEL_CLASSES)
        place = (ints[ps.WINDOW_START] + done) % ps.PANEL_CLASSES
        add_by_class(u, i, first, last, place, panels)
    ints[ps.DONE] = done + last - first


@kernel
def advance(
    u: I32, i: I32, first: Int, last: Int, ints: I64, reals: F64, constants_i: I64, constants_f: F64,
    coefficients: F64, table: F64, log_i: I64, log_r: F64, row: Int,
) -> int:  # pragma: no cover - compiled  # fmt: skip
    """Take samples ``first`` up to ``last``, closing windows on the way; the next free row of the log.

    Around each of them the block has `BEFORE` earlier (unless they begin a stream) and `AFTER` later ones.
    """
    at = first
    while at < last:
        until = min(last, at + ints[ps.LENGTH] - ints[ps.DONE])
        take_in(u, i, at, until, ints, constants_i, table)
        at = until
        if ints[ps.DONE] == ints[ps.LENGTH]:
            frequency = close_window(
                u, i, at, ints, reals, constants_i, constants_f, coefficients,
                table[_COSINE], table[_SINE], log_i[row], log_r[row],
            )  # fmt: skip
            row = int(row) + 1
            begin_after(u, i, at, frequency, ints, reals, constants_i, table)
    return int(row)


@kernel
def feed_block(
    u: I32, i: I32, seam: I32, ints: I64, reals: F64, constants_i: I64, constants_f: F64,
    coefficients: F64, table: F64, log_i: I64, log_r: F64,
) -> int:  # pragma: no cover - compiled  # fmt: skip
    """Take a block of new samples, int32 (phases, n) each; the number of windows closed.

    ``seam``, int32 (2, phases, 16), is room for the samples kept from before and the first new ones.
    """
    phases, count = u.shape
    tune(ints, reals, table)
    held = ints[ps.HELD]
    joined = min(count, TAPS)
    seam_u, seam_i = seam[0], seam[1]
    unseam(ints, phases, seam)
    for phase in range(phases):
        for k in range(joined):
            seam_u[phase, held + k] = u[phase, k]
            seam_i[phase, held + k] = i[phase, k]
    last = held + joined
    row = advance(
        seam_u, seam_i, held - min(held, AFTER), last - AFTER, ints, reals, constants_i, constants_f,
        coefficients, table, log_i, log_r, np.int64(0),
    )  # fmt: skip
    if count > joined:
        row = advance(
            u, i, np.int64(TAPS - AFTER), count - AFTER, ints, reals, constants_i, constants_f,
            coefficients, table, log_i, log_r, row,
        )  # fmt: skip
        keep(u, i, count, ints)
    else:
        keep(seam_u, seam_i, last, ints)
    carry_over(np.int64(1), ints, constants_i)
    return row


@kernel
def unseam(ints: I64, phases: Int, seam: I32) -> None:  # pragma: no cover - compiled
    """The samples of the tail to the beginning of ``seam`` (2, phases, 16)."""
    for channel in range(2):
        for phase in range(phases):
            at = ps.TAIL + (channel * PHASES + phase) * TAPS
            for k in range(ints[ps.HELD]):
                seam[channel, phase, k] = ints[at + k]


@kernel
def keep(u: I32, i: I32, last: Int, ints: I64) -> None:  # pragma: no cover - compiled
    """Keep the eight samples before ``last`` in the tail."""
    kept = min(last, TAPS)
    for phase in range(u.shape[0]):
        at = ps.TAIL + phase * TAPS
        for k in range(kept):
            ints[at + k] = u[phase, last - kept + k]
            ints[at + PHASES * TAPS + k] = i[phase, last - kept + k]
    ints[ps.HELD] = kept


@kernel
def cut_window(
    missing: Int, seam: I32, ints: I64, reals: F64, constants_i: I64, constants_f: F64,
    table: F64, log_i: I64, log_r: F64,
) -> int:  # pragma: no cover - compiled  # fmt: skip
    """End the running window where samples are missing; rows written to the log (0 or 1)."""
    tune(ints, reals, table)
    held = ints[ps.HELD]
    unseam(ints, constants_i[ps.PHASE_COUNT], seam)
    take_in(seam[0], seam[1], held - min(held, AFTER), held, ints, constants_i, table)
    ints[ps.LENGTH] = ints[ps.DONE]
    rows = 0
    if ints[ps.LENGTH]:
        ints[ps.FLAGS] |= ps.FLAG_GAP
        reals[ps.SPAN] = float(ints[ps.LENGTH])
        for k in range(ps.CLOSING, ps.REALS_AND_ROOM):
            reals[k] = 0.0
        saturated = flag_peaks(ints, constants_i)
        register_window(ints, reals, constants_i, constants_f, saturated, reals[ps.TUNED], log_i, log_r)
        rows = 1
    ints[ps.WINDOW_START] += ints[ps.LENGTH] + missing
    ints[ps.DOUBTFUL_SAMPLES] += missing
    ints[ps.HELD] = 0
    begin_anew(ints, reals, constants_i)
    carry_over(np.int64(1), ints, constants_i)
    return rows

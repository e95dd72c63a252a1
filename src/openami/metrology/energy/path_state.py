"""The state of an energy path as two flat arrays, integers and reals, so that a snapshot is their bytes.

Everything that must survive a power failure is here and nothing else: the sums of the running window, its
edge, the tracked frequency, the registers and the eight samples around the present. Rule never to be broken:
a kernel that is handed these arrays and the next samples goes on as if nothing had happened.
"""

from __future__ import annotations

from openami.metrology.energy.exact_sums import COLUMNS
from openami.metrology.energy.registers import PHASES, PLACES, REGISTERS

BEFORE = 4
"""Samples before an edge that its terms need."""
AFTER = 4
"""Samples from an edge on that its terms need."""
TAPS = BEFORE + AFTER
LEAD = 8
"""Values of the reference before the first sample of a window: its value there begins a line of the cache."""

PANEL_CLASSES = 12
"""Least common multiple of the panels of the Newton-Cotes rules."""

# Integers ------------------------------------------------------------------------------------------------
WINDOW_START = 0
"""Absolute index of the first sample of the running window."""
DONE = 1
"""Samples of the running window that are in its sums."""
LENGTH = 2
"""Samples of the running window."""
CYCLES = 3
LOCK = 4
STRIKES = 5
"""Windows in a row whose phase did not go with the tracked frequency."""
FLAGS = 6
"""Flags of the running window so far."""
HELD = 7
"""Samples kept in the tail, 0 .. 8."""
RUNNING = 8
"""Bit by phase: the current is above the threshold."""
CLOSED = 9
"""Windows closed since the beginning."""
DOUBTFUL_SAMPLES = 10
"""Samples of windows that were flagged, and samples that were missing."""
EDGE_ENERGY = 16
"""Energy of the opening edge of the running window, count products, by phase."""
WEIGHT_CARRY = EDGE_ENERGY + PHASES
"""What weighting the phases' scales has left over."""
PANEL_CARRY = WEIGHT_CARRY + PHASES
"""What the division of a Newton-Cotes rule has left over."""
SUMS = 32
PANELS = SUMS + PHASES * COLUMNS
CROSS_U = PANELS + PHASES * PANEL_CLASSES
CROSS_I = CROSS_U + PHASES
TAIL = CROSS_I + PHASES
"""The last samples, voltages and then currents: (2, phases, 8)."""
REGISTER_COUNTS = TAIL + 2 * PHASES * TAPS
REGISTER_RESIDUES = REGISTER_COUNTS + PLACES * REGISTERS
INTEGERS = REGISTER_RESIDUES + PLACES * REGISTERS
ENERGIES = INTEGERS
"""Room for a window's energies by phase: active, fundamental, harmonic, reactive, apparent, counts or not.
Not part of a snapshot."""
ENERGY_COLUMNS = 6
ACTIVE, FUNDAMENTAL, HARMONIC, REACTIVE, APPARENT, COUNTING = range(ENERGY_COLUMNS)
INTEGERS_AND_ROOM = ENERGIES + PHASES * ENERGY_COLUMNS

# Reals ---------------------------------------------------------------------------------------------------
TUNED = 0
"""Cycles a sample of the reference."""
EDGE = 1
"""Where the running window begins, from its first sample, -1 .. 0 samples."""
SPAN = 2
"""Real-valued length of the running window in samples."""
LAST_CYCLES = 3
LAST_SPAN = 4
LAST_FREQUENCY = 5
"""Measured with the window before, cycles a sample; 0 without."""
LAST_PHASOR = 6
"""Fundamental voltages of the window before, real and imaginary parts by phase."""
OPENING = LAST_PHASOR + 2 * PHASES
"""Edge terms of the opening edge by phase and column of the sums, and of the cross products."""
OPENING_CROSS = OPENING + PHASES * COLUMNS
REALS = OPENING_CROSS + 2 * PHASES
EDGE_WEIGHT = REALS
"""From here on room for the closing edge; not part of a snapshot."""
EDGE_COSINE = EDGE_WEIGHT + TAPS
EDGE_SINE = EDGE_COSINE + TAPS
CLOSING = EDGE_SINE + TAPS
CLOSING_CROSS = CLOSING + PHASES * COLUMNS
PHASORS = CLOSING_CROSS + 2 * PHASES
"""Fundamentals of the closing window in counts: u real, u imaginary, i real, i imaginary by phase."""
NEXT = PHASORS + 4 * PHASES
"""Frequency expected in the window after the closing one."""
LOSSES = NEXT + 1
"""Losses of the closing window in count products a sample: load, no-load, series, magnetising."""
REALS_AND_ROOM = LOSSES + 4

# Lock ----------------------------------------------------------------------------------------------------
SEARCHING = 0
"""One-cycle windows, to find the frequency anywhere from 40 to 70 Hz."""
SETTLING = 1
"""The first window of many cycles; those after it count up to `LOCKED`."""
LOCKED = 5
NO_VOLTAGE = 6
"""Windows of the nominal frequency."""

# Constants of the settings, integers ---------------------------------------------------------------------
UNIT_COUNT = 0
FULL_SCALE = 1
SHIFT = 2
MODE = 3
INTEGRATOR = 4
WINDOW_CYCLES = 5
PHASE_COUNT = 6
THRESHOLD_KIND = 7
EFFECTIVE = 8
LOSS_SIGN = 9
PANEL_DIVISOR = 10
RANGE = 11
"""Largest magnitude that the converter can give: a power of two."""
PANEL_WEIGHTS = 16
UNIT_VOLTS = PANEL_WEIGHTS + PANEL_CLASSES
UNIT_AMPERES = UNIT_VOLTS + PHASES
WEIGHTS = UNIT_AMPERES + PHASES
STARTING = WEIGHTS + PHASES
STOPPING = STARTING + PHASES
CONSTANT_INTEGERS = STOPPING + PHASES

# Constants of the settings, reals ------------------------------------------------------------------------
NOMINAL = 0
LOWEST = 1
HIGHEST = 2
RATE = 3
PHASE_WEIGHT = 4
"""Float of weight and shift by phase: count products of the phase to those of the registers."""
PRESENT = PHASE_WEIGHT + PHASES
"""Square of the voltage in counts from which a phase can be a reference."""
LOAD_LOSS_FACTOR = PRESENT + PHASES
NO_LOAD_LOSS_FACTOR = LOAD_LOSS_FACTOR + PHASES
SERIES_FACTOR = NO_LOAD_LOSS_FACTOR + PHASES
MAGNETISING_FACTOR = SERIES_FACTOR + PHASES
EFFECTIVE_U = MAGNETISING_FACTOR + PHASES
"""Volts a count by phase (for the effective voltage)."""
EFFECTIVE_I = EFFECTIVE_U + PHASES
EFFECTIVE_UNIT = EFFECTIVE_I + PHASES
"""Watts of one count product of the registers."""
CONSTANT_REALS = EFFECTIVE_UNIT + 1

# Flags of a window ---------------------------------------------------------------------------------------
FLAG_SATURATED = 1
FLAG_GAP = 2
FLAG_OUT_OF_RANGE = 4
FLAG_ACQUIRING = 8
FLAG_NO_VOLTAGE = 16
FLAG_PHASE_JUMP = 32
DOUBTFUL = FLAG_SATURATED | FLAG_GAP | FLAG_OUT_OF_RANGE

# Log of windows, integers --------------------------------------------------------------------------------
LOG_START = 0
LOG_SAMPLES = 1
LOG_FLAGS = 2
LOG_CYCLES = 3
LOG_SATURATED = 4
"""Bit by channel, voltages first."""
LOG_RUNNING = 5
LOG_ACTIVE = 6
"""Registered import and export of the total, count products."""
LOG_REACTIVE = 8
"""Registered +R and -R of the total."""
LOG_INTEGERS = 10

# Log of windows, reals -----------------------------------------------------------------------------------
LOG_EDGE = 0
LOG_SPAN = 1
LOG_FREQUENCY = 2
LOG_VECTOR = 3
LOG_EFFECTIVE = 4
LOG_PHASE = 5
"""By phase: mean u², i², u·i, fundamental P and Q in count products, and apparent power."""
LOG_COLUMNS = 6
LOG_REALS = LOG_PHASE + PHASES * LOG_COLUMNS

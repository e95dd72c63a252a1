"""The registers of the energy path: which there are, what they count, and how counts become milliwatt-hours.

A register is a pair of integers: a count of its quantum (mWh, mvarh, mVAh; 0.001 V²h and A²h) and a residue
in count products, what the converter's codes give when they are multiplied and added. `UNIT_COUNT` count
products are one quantum; that number is the only rounding between samples and registers, and settings state
it. Rule never to be broken: integers only, and a register never runs back.
"""

from __future__ import annotations

from enum import IntEnum

from openami.metrology.energy.compiled import Int, kernel_part

PHASES = 3
PLACES = PHASES + 1
TOTAL = PHASES
"""Index of the total among the places; 0, 1, 2 are the phases."""


class Register(IntEnum):
    """What a register counts. Every place (phase or total) has each; some are used in the total only."""

    ACTIVE_IMPORT = 0
    ACTIVE_EXPORT = 1
    FUNDAMENTAL_IMPORT = 2
    FUNDAMENTAL_EXPORT = 3
    HARMONIC_IMPORT = 4
    HARMONIC_EXPORT = 5
    REACTIVE_I = 6
    REACTIVE_II = 7
    REACTIVE_III = 8
    REACTIVE_IV = 9
    APPARENT_IMPORT = 10
    """Arithmetic: the sum of U·I of the phases, at import of active energy."""
    APPARENT_EXPORT = 11
    VECTOR_IMPORT = 12
    """Vector: sqrt(P² + Q1²) of the totals (total only)."""
    VECTOR_EXPORT = 13
    EFFECTIVE_IMPORT = 14
    """Effective: 3 Ue Ie of IEEE 1459 (total only, when the settings bill by it)."""
    EFFECTIVE_EXPORT = 15
    VOLT_SQUARED_HOURS = 16
    AMPERE_SQUARED_HOURS = 17
    LOAD_LOSS = 18
    """Series losses of transformer and line, P_cu (I/In)² (total only)."""
    NO_LOAD_LOSS = 19
    """Iron losses, P_fe (U/Un)² (total only)."""
    SERIES_REACTIVE_LOSS = 20
    """Q_x (I/In)² (total only)."""
    MAGNETISING_LOSS = 21
    """Q_fe (U/Un)^4 (total only)."""
    COMPENSATED_IMPORT = 22
    """Active energy at the compensated point (total only)."""
    COMPENSATED_EXPORT = 23
    WITHHELD_IMPORT = 24
    """Active energy below the starting threshold: measured, not billed (phases only)."""
    WITHHELD_EXPORT = 25
    DOUBTFUL_IMPORT = 26
    """Active energy of flagged windows: kept apart, never billed."""
    DOUBTFUL_EXPORT = 27
    DOUBTFUL_REACTIVE_IMPORT = 28
    DOUBTFUL_REACTIVE_EXPORT = 29


REGISTERS = len(Register)


class SumMode(IntEnum):
    """How a three-phase meter makes its total of its phases; a parameter of the model."""

    NET = 0
    """The phases are added with their signs in each window, and the sum is import or export."""
    ABSOLUTE = 1
    """The magnitudes of the phases are added as import: a reversed transformer does not subtract."""
    BY_PHASE = 2
    """Phases that import add to the import total, phases that export to the export total."""


_NET = int(SumMode.NET)
_ABSOLUTE = int(SumMode.ABSOLUTE)


@kernel_part
def split(mode: Int, imported: Int, exported: Int) -> tuple[int, int]:  # pragma: no cover - compiled
    """Import and export of the total from the sums of what phases import and export, none negative."""
    if mode == _NET:
        return int(max(imported - exported, 0)), int(max(exported - imported, 0))
    if mode == _ABSOLUTE:
        return int(imported + exported), 0
    return int(imported), int(exported)

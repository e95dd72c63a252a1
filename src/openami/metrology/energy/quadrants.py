"""The four quadrants of active and reactive energy (IEC 62053-23 annex C, IEC 62056-6-1, recalled).

    II  -P +Q | I   +P +Q        +P import, delivered to the customer; +Q inductive, the current lags
    ----------+----------
    III -P -Q | IV  +P -Q        +R = QI + QII, -R = QIII + QIV

Rule never to be broken: reactive energy of a window goes to one quadrant, and a window without active energy
counts as import.
"""

from __future__ import annotations

from openami.metrology.energy.compiled import Int, kernel_part


@kernel_part
def quadrant(active: Int, reactive: Int) -> int:  # pragma: no cover - compiled
    """Quadrant, 0 to 3, of the signs of active and reactive energy."""
    if reactive >= 0:
        return 0 if active >= 0 else 1
    return 3 if active >= 0 else 2

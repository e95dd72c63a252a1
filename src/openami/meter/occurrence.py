"""What happens to a meter from outside: supply, its management core, its place in the grid.

Rule of this file: turns of one instant happen in the order in which `Turn` names them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Turn(Enum):
    """What can happen to a meter from outside; turns of one instant happen in this order."""

    INSTALLED = "installed"
    DRIFT = "drift"
    POWER_UP = "power_up"
    CORE_UP = "core_up"
    POWER_DOWN = "power_down"
    CORE_DOWN = "core_down"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, order=True)
class Occurrence:
    """A turn at an instant; ``value`` is the new drift in ppm of a `Turn.DRIFT`."""

    at_ms: int
    turn: Turn
    value: int = 0

"""Start and no-load: below which current (or power) a phase does not count, with hysteresis.

A meter must count from its starting current on and must not creep without load (IEC 62053-2x, 8.4 [recalled];
OIML R 46-2, 3.3.4 [recalled]). The comparison is one of integers, the sum of squares (or the magnitude of
the sum of products) of the window against threshold times samples. Rule never to be broken: a phase at or
above its starting value counts; what is measured below it stands in a register of its own and is not lost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

from openami.metrology.energy.compiled import Int, kernel_part
from openami.quantities.errors import MeteringError


class ThresholdQuantity(IntEnum):
    """What is compared with the threshold."""

    CURRENT = 0
    """Rms current, the same at every power factor."""
    POWER = 1
    """Magnitude of active power: also quiet when a purely reactive current flows."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """From where a phase counts, and below what it stops.

    Parameters
    ----------
    start:
        A or W of a phase from which it counts.
    stop:
        A or W below which it stops; at most ``start``. Without: 0.9 of it.
    quantity:
        Current or active power.

    Raises
    ------
    MeteringError
        Negative or not finite, or a stop above the start.
    """

    start: float = 0.0
    stop: float | None = None
    quantity: ThresholdQuantity = ThresholdQuantity.CURRENT

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and self.start >= 0.0):
            raise MeteringError(f"a starting threshold of {self.start}", expected="0 or more, finite")
        if not (math.isfinite(self.stopping) and 0.0 <= self.stopping <= self.start):
            raise MeteringError(f"a threshold that stops at {self.stop}", expected=f"0 .. {self.start}")

    @classmethod
    def of_starting_current(cls, starting_a: float) -> Threshold:
        """Threshold of a meter that must count at ``starting_a``: from 0.8 of it on, down to 0.6 of it."""
        return cls(0.8 * starting_a, 0.6 * starting_a)

    @property
    def stopping(self) -> float:
        """Value below which a phase stops."""
        return 0.9 * self.start if self.stop is None else self.stop

    def counts(self, unit: float, samples_share: float) -> tuple[int, int]:
        """Start and stop as mean products of one sample, in integers rounded down.

        Parameters
        ----------
        unit:
            A a count (current) or W a count product (power).
        samples_share:
            Register counts of one count product, a power of two.
        """
        exponent = 2 if self.quantity is ThresholdQuantity.CURRENT else 1
        start, stop = (
            math.floor((value / unit) ** exponent * samples_share) for value in (self.start, self.stopping)
        )
        return start, stop


@kernel_part
def counts_on(
    was_counting: bool, total: Int, samples: Int, start: Int, stop: Int
) -> bool:  # pragma: no cover
    """True when a phase counts in a window whose products sum to ``total`` over ``samples``."""
    if was_counting:
        return bool(total >= stop * samples)
    return bool(total >= start * samples)

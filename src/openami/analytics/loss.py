"""Loss of a transformer area: what its meter passed on, less what its customers were sold.

Supplied is the area meter's final import less export, sold the sum over the customers' usage points of
import less export, so that energy one customer feeds in and another takes is counted once. Exact integers;
from the final readings and the registry alone. Where a value is missing, the day says so: its loss is then
too high, and is not a finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

import numpy as np

from openami.analytics.area_energy import AreaEnergy
from openami.readings.interval_block import Counts


@dataclass(frozen=True, slots=True)
class AreaLossDay:
    """Loss of one area on one civil day, in Wh."""

    day: date
    supplied_wh: int
    sold_wh: int
    intervals: int
    missing_intervals: int
    estimated_intervals: int

    @property
    def loss_wh(self) -> int:
        """Supplied less sold."""
        return self.supplied_wh - self.sold_wh

    @property
    def loss_percent(self) -> float | None:
        """Loss in percent of what was supplied; None where nothing was."""
        return percent(self.loss_wh, self.supplied_wh)


@dataclass(frozen=True, slots=True, eq=False)
class AreaLoss:
    """Loss of one area in a period.

    Parameters
    ----------
    area_id:
        The area.
    supplied_wh, sold_wh:
        Energy in Wh, the sums of the days.
    days:
        Per civil day; the sums add up to the period's exactly.
    interval_loss:
        Supplied less sold per interval in counts of ``exponent``, int64 (n,).
    interval_s, exponent:
        Interval length in seconds; a count of `interval_loss` is ``10**exponent`` Wh.
    """

    area_id: str
    supplied_wh: int
    sold_wh: int
    days: tuple[AreaLossDay, ...]
    interval_loss: Counts
    interval_s: int
    exponent: int

    @property
    def loss_wh(self) -> int:
        """Supplied less sold."""
        return self.supplied_wh - self.sold_wh

    @property
    def loss_percent(self) -> float | None:
        """Loss in percent of what was supplied; None where nothing was."""
        return percent(self.loss_wh, self.supplied_wh)

    @property
    def missing_intervals(self) -> int:
        """Intervals in which the value of some meter is missing."""
        return sum(day.missing_intervals for day in self.days)


def area_loss(area: AreaEnergy) -> AreaLoss:
    """Loss per interval, day and period of one area.

    Notes
    -----
    Where meters count finer than 1 Wh, the energy of a day is rounded to the Wh (half to even) once, after
    its intervals were added exactly; the period is the sum of its days.
    """
    sold = area.sold
    any_missing = area.supplied_missing | area.missing.any(axis=1)
    any_estimated = area.supplied_estimated | area.estimated.any(axis=1)
    days = []
    for index, day in enumerate(area.days):
        span = area.day_index == index
        days.append(
            AreaLossDay(
                day.day,
                _watt_hours(int(area.supplied[span].sum()), area.quantum.exponent),
                _watt_hours(int(sold[span].sum()), area.quantum.exponent),
                int(np.count_nonzero(span)),
                int(np.count_nonzero(any_missing[span])),
                int(np.count_nonzero(any_estimated[span])),
            )
        )
    return AreaLoss(
        area.area_id,
        sum(day.supplied_wh for day in days),
        sum(day.sold_wh for day in days),
        tuple(days),
        area.loss,
        area.interval_s,
        area.quantum.exponent,
    )


def losses(areas: Sequence[AreaEnergy]) -> list[AreaLoss]:
    """Loss of several areas, the highest percentage first."""
    found = [area_loss(area) for area in areas]
    return sorted(found, key=lambda loss: loss.loss_percent or 0.0, reverse=True)


def percent(part: int, whole: int) -> float | None:
    """``100 * part / whole``; None where the whole is zero."""
    return 100 * part / whole if whole else None


def _watt_hours(count: int, exponent: int) -> int:
    return round(count * Fraction(10) ** exponent)

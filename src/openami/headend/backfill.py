"""Which meters to ask for what: the orders of a day, with the gaps of earlier days in the same order.

A meter keeps its load profile for weeks, so a reading that was missed is not lost: the next order of that
meter reaches back to the first day with a gap. What is there is judged from stored readings alone, never
from what an earlier run believed to have read. Pure functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta

import numpy as np
import numpy.typing as npt

from openami.quantities.civil_time import CivilDay
from openami.quantities.errors import QuantityError
from openami.quantities.obis import REGISTER_OF_INTERVAL, ObisCode
from openami.readings.interval_block import IntervalBlock
from openami.readings.read_order import ReadOrder
from openami.registry.entities import Installation, Meter

Mask = npt.NDArray[np.bool_]
PresentIntervals = Callable[[str, ObisCode, date], Mask | None]
"""For a meter, a channel and a civil day: True where an interval was read; None where nothing was."""


def orders_for(
    meters: Sequence[Meter],
    installations: Sequence[Installation],
    present: PresentIntervals,
    day: date,
    horizon_days: int,
    *,
    password: bytes = b"",
    set_clock_beyond_s: int = 30,
) -> list[ReadOrder]:
    """Orders to read ``day``, and back to the first gap within ``horizon_days`` before it.

    A meter gets an order when it was installed at some time of ``day`` and lacks an interval of that day or
    of an earlier day of the horizon, while it was installed. A meter that was taken down is asked on the day
    of its removal for the last time. A meter that lacks nothing gets no order.

    Parameters
    ----------
    meters, installations:
        The fleet, and when each meter was installed.
    present:
        What the store has (see `present_in`).
    day:
        Civil day (of each meter's zone) to read; it should be over.
    horizon_days:
        How many days before ``day`` are looked at for gaps.
    password, set_clock_beyond_s:
        For every order alike.

    Raises
    ------
    QuantityError
        The horizon is negative.
    """
    if horizon_days < 0:
        raise QuantityError(f"a horizon of {horizon_days} days", expected="0 or more")
    installed: dict[str, list[Installation]] = {}
    for installation in installations:
        installed.setdefault(installation.meter_id, []).append(installation)
    orders = []
    for meter in meters:
        windows = installed.get(meter.meter_id, [])
        last = CivilDay(day, meter.zone)
        if not any(_overlap(window, last) for window in windows):
            continue
        days = (CivilDay(day - timedelta(days=back), meter.zone) for back in range(horizon_days, -1, -1))
        first = next((one for one in days if _has_gap(meter, windows, present, one)), None)
        if first is None:
            continue
        orders.append(
            ReadOrder(
                meter_id=meter.meter_id,
                host=meter.host,
                port=meter.port,
                logical_device=meter.logical_device,
                zone=meter.zone,
                start=first.start,
                end=last.end,
                channels=meter.channels,
                registers=tuple(
                    REGISTER_OF_INTERVAL[channel]
                    for channel in meter.channels
                    if channel in REGISTER_OF_INTERVAL
                ),
                set_clock_beyond_s=set_clock_beyond_s,
                password=password,
            )
        )
    return orders


def present_in(blocks: Iterable[IntervalBlock]) -> PresentIntervals:
    """Lookup over raw blocks, one per (meter, channel, day)."""
    masks = {(block.series_id, block.channel, block.day.day): ~block.missing for block in blocks}

    def present(meter_id: str, channel: ObisCode, day: date) -> Mask | None:
        return masks.get((meter_id, channel, day))

    return present


def installed_intervals(day: CivilDay, interval_s: int, installations: Iterable[Installation]) -> Mask:
    """True for the intervals of a day that lie wholly within an installation, shape (intervals,)."""
    count = day.interval_count(interval_s)
    mask = np.zeros(count, np.bool_)
    for installation in installations:
        first = -((day.start - installation.valid_from) // timedelta(seconds=interval_s))
        last = (
            count
            if installation.valid_to is None
            else (installation.valid_to - day.start) // timedelta(seconds=interval_s)
        )
        mask[min(max(first, 0), count) : min(max(last, 0), count)] = True
    return mask


def _overlap(installation: Installation, day: CivilDay) -> bool:
    ended: datetime | None = installation.valid_to
    return installation.valid_from < day.end and (ended is None or ended > day.start)


def _has_gap(meter: Meter, windows: Sequence[Installation], present: PresentIntervals, day: CivilDay) -> bool:
    wanted = installed_intervals(day, meter.interval_s, windows)
    if not wanted.any():
        # Installed for less than an interval: nothing to count, yet its part of it shall be read.
        return any(_overlap(window, day) for window in windows) and all(
            present(meter.meter_id, channel, day.day) is None for channel in meter.channels
        )
    for channel in meter.channels:
        there = present(meter.meter_id, channel, day.day)
        if there is None or there.shape != wanted.shape or bool((wanted & ~there).any()):
            return True
    return False

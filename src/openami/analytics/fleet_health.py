"""Health of the fleet: of each day's intervals, how many were read, from how many meters, with what trouble.

Counted per civil day the readings speak of, from raw readings, installations and head-end events. A meter
is expected only while it is installed, so that an exchange in the middle of a day is no gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from openami.headend.backfill import installed_intervals
from openami.quantities.civil_time import CivilDay, civil_day_of
from openami.quantities.obis import IMPORT_INTERVAL, ObisCode
from openami.readings.event import Event, EventCode
from openami.readings.interval_block import IntervalBlock
from openami.registry.entities import Installation, Meter


@dataclass(frozen=True, slots=True)
class FleetDay:
    """One civil day of the fleet.

    Parameters
    ----------
    day:
        The day.
    intervals_expected, intervals_read:
        Over all meters while they were installed.
    meters_complete, meters_partial, meters_silent:
        Installed meters of which all, some, or none of the day's intervals were read.
    failed, retried, clock_differences, clocks_set, foreign_meters:
        Head-end events noted on the day.
    """

    day: date
    intervals_expected: int
    intervals_read: int
    meters_complete: int
    meters_partial: int
    meters_silent: int
    failed: int
    retried: int
    clock_differences: int
    clocks_set: int
    foreign_meters: int

    @property
    def completeness(self) -> float:
        """Share of the expected intervals that were read; 1 where none were expected."""
        return self.intervals_read / self.intervals_expected if self.intervals_expected else 1.0


def fleet_days(
    blocks: Iterable[IntervalBlock],
    events: Iterable[Event],
    meters: Sequence[Meter],
    installations: Sequence[Installation],
    first_day: date,
    last_day: date,
    *,
    channel: ObisCode = IMPORT_INTERVAL,
) -> list[FleetDay]:
    """Health of each day of ``[first_day, last_day)``.

    Parameters
    ----------
    blocks:
        Raw blocks, one per meter, channel and day; other channels than ``channel`` are passed over.
    events:
        Events of the period.
    meters, installations:
        The fleet, and when each meter was installed.
    """
    present = {(block.series_id, block.day.day): block for block in blocks if block.channel == channel}
    installed: dict[str, list[Installation]] = {}
    for installation in installations:
        installed.setdefault(installation.meter_id, []).append(installation)
    zones = {meter.meter_id: meter.zone for meter in meters}
    noted = _noted(events, zones)
    days = []
    for offset in range((last_day - first_day).days):
        day = first_day + timedelta(days=offset)
        expected = read = complete = partial = silent = 0
        for meter in meters:
            mask = installed_intervals(
                CivilDay(day, meter.zone), meter.interval_s, installed.get(meter.meter_id, ())
            )
            wanted = int(np.count_nonzero(mask))
            if not wanted:
                continue
            block = present.get((meter.meter_id, day))
            got = 0 if block is None else int(np.count_nonzero(mask & ~block.missing))
            expected += wanted
            read += got
            complete += got == wanted
            partial += 0 < got < wanted
            silent += got == 0
        counts = noted.get(day, {})
        days.append(
            FleetDay(
                day,
                expected,
                read,
                complete,
                partial,
                silent,
                failed=counts.get(EventCode.READ_FAILED, 0),
                retried=counts.get(EventCode.READ_RETRIED, 0),
                clock_differences=counts.get(EventCode.CLOCK_DIFFERENCE, 0),
                clocks_set=counts.get(EventCode.CLOCK_SET, 0),
                foreign_meters=counts.get(EventCode.IDENTITY_MISMATCH, 0),
            )
        )
    return days


def _noted(events: Iterable[Event], zones: Mapping[str, str]) -> dict[date, dict[int, int]]:
    noted: dict[date, dict[int, int]] = {}
    for event in events:
        day = civil_day_of(event.at, zones.get(event.meter_id, "UTC")).day
        counts = noted.setdefault(day, {})
        counts[event.code] = counts.get(event.code, 0) + 1
    return noted


def completeness(days: Sequence[FleetDay]) -> float:
    """Share of the expected intervals of several days that were read; 1 where none were expected."""
    expected = sum(day.intervals_expected for day in days)
    return sum(day.intervals_read for day in days) / expected if expected else 1.0

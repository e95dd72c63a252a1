"""Health of the fleet by day, from raw readings, installations and head-end events."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np

from openami.analytics.fleet_health import completeness, fleet_days
from openami.quantities.civil_time import CivilDay
from openami.quantities.obis import IMPORT_INTERVAL
from openami.quantities.status import MISSING
from openami.quantities.units import WH
from openami.readings.event import Event, EventCode
from openami.readings.interval_block import IntervalBlock
from openami.registry.entities import Installation, Meter

DAY = date(2024, 6, 1)
START = datetime(2024, 6, 1, tzinfo=UTC)


def meter(meter_id):
    return Meter(meter_id, "m", "127.0.0.1", 4059, 1, "UTC", 900, 8, 0, (IMPORT_INTERVAL,))


def block(meter_id, day, missing=0):
    status = np.zeros(96, np.int32)
    status[:missing] = MISSING
    return IntervalBlock(
        meter_id, IMPORT_INTERVAL, CivilDay(day, "UTC"), 900, WH, np.ones(96, np.int64), START, status=status
    )


def test_complete_partial_and_silent_meters_are_told_apart():
    meters = [meter("M1"), meter("M2"), meter("M3")]
    installed = [Installation(one.meter_id, f"UP-{one.meter_id}", START, None) for one in meters]
    events = [
        Event("M3", START + timedelta(hours=1), EventCode.READ_FAILED, START, "attempts=3"),
        Event("M2", START + timedelta(hours=1), EventCode.READ_RETRIED, START, "attempt=2"),
    ]
    (day,) = fleet_days(
        [block("M1", DAY), block("M2", DAY, missing=6)],
        events,
        meters,
        installed,
        DAY,
        DAY + timedelta(days=1),
    )
    assert (day.meters_complete, day.meters_partial, day.meters_silent) == (1, 1, 1)
    assert (day.intervals_expected, day.intervals_read) == (288, 186)
    assert (day.failed, day.retried) == (1, 1)
    assert completeness([day]) == 186 / 288


def test_an_exchange_inside_an_interval_is_no_gap():
    at = START + timedelta(hours=10, minutes=7)
    installed = [Installation("OLD", "UP", START, at), Installation("NEW", "UP", at, None)]
    old, new = block("OLD", DAY), block("NEW", DAY, missing=41)
    (day,) = fleet_days([old, new], [], [meter("OLD"), meter("NEW")], installed, DAY, DAY + timedelta(days=1))
    # Old: intervals 0-39 whole; new: 41-95 whole; the 41st belongs wholly to neither.
    assert (day.intervals_expected, day.intervals_read, day.meters_complete) == (40 + 55, 40 + 55, 2)


def test_a_meter_that_is_not_installed_is_not_expected():
    (day,) = fleet_days([], [], [meter("M1")], [], DAY, DAY + timedelta(days=1))
    assert (day.intervals_expected, day.meters_silent, day.completeness) == (0, 0, 1.0)

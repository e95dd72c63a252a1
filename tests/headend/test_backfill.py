"""The next order of a meter reaches back to the first gap, judged from what is stored."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from openami.headend.backfill import installed_intervals, orders_for, present_in
from openami.quantities.civil_time import CivilDay, midnight
from openami.quantities.errors import QuantityError
from openami.quantities.obis import EXPORT_ENERGY, EXPORT_INTERVAL, IMPORT_ENERGY, IMPORT_INTERVAL
from openami.quantities.status import MISSING
from openami.quantities.units import WH
from openami.readings.interval_block import IntervalBlock
from openami.registry.entities import Installation, Meter

BERLIN = "Europe/Berlin"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
DAY = date(2024, 10, 28)


def meter(meter_id="M1", channels=(IMPORT_INTERVAL,)):
    return Meter(meter_id, "m", "10.0.0.1", 4059, 17, BERLIN, 900, 8, 0, channels)


def block(day, missing=0, meter_id="M1", channel=IMPORT_INTERVAL):
    civil = CivilDay(day, BERLIN)
    count = civil.interval_count(900)
    status = np.zeros(count, np.int32)
    status[count - missing :] = MISSING if missing else 0
    return IntervalBlock(meter_id, channel, civil, 900, WH, np.ones(count, np.int64), LONG_AGO, status=status)


def since(back):
    return [DAY - timedelta(days=offset) for offset in range(back, -1, -1)]


def orders(blocks, installations=None, horizon=3, meters=None):
    installed = installations or [Installation("M1", "UP1", LONG_AGO, None)]
    return orders_for(meters or [meter()], installed, present_in(blocks), DAY, horizon)


def test_a_meter_with_nothing_missing_before_is_asked_for_the_day_alone():
    (order,) = orders([block(day) for day in since(3)[:-1]])
    assert (order.start, order.end) == (midnight(DAY, BERLIN), midnight(DAY + timedelta(days=1), BERLIN))
    assert (order.meter_id, order.host, order.port, order.logical_device) == ("M1", "10.0.0.1", 4059, 17)
    assert order.registers == (IMPORT_ENERGY,)


def test_a_gap_of_an_earlier_day_is_read_with_the_next_order():
    days = since(3)
    (order,) = orders([block(days[0]), block(days[1], missing=1), block(days[2])])
    assert order.start == midnight(days[1], BERLIN)  # 27 October has 100 quarter-hours, the 26th 96
    assert order.end == midnight(DAY + timedelta(days=1), BERLIN)


def test_gaps_beyond_the_horizon_are_let_go():
    (order,) = orders([block(day) for day in since(3)[1:-1]], horizon=2)
    assert order.start == midnight(DAY, BERLIN)


def test_a_complete_meter_gets_no_order():
    assert orders([block(day) for day in since(3)]) == []


def test_a_channel_that_is_missing_is_a_gap():
    both = meter(channels=(IMPORT_INTERVAL, EXPORT_INTERVAL))
    (order,) = orders([block(day) for day in since(3)], meters=[both])
    assert order.start == midnight(since(3)[0], BERLIN)
    assert order.registers == (IMPORT_ENERGY, EXPORT_ENERGY)


def test_days_before_the_installation_are_no_gap():
    mounted = midnight(DAY, BERLIN) + timedelta(hours=9, minutes=7)
    (order,) = orders([], [Installation("M1", "UP1", mounted, None)])
    assert order.start == midnight(DAY, BERLIN)


def test_a_meter_taken_down_is_asked_on_that_day_for_the_last_time():
    removed = midnight(DAY, BERLIN) + timedelta(hours=9)
    assert len(orders([], [Installation("M1", "UP1", LONG_AGO, removed)])) == 1
    before = midnight(DAY, BERLIN)
    assert orders([], [Installation("M1", "UP1", LONG_AGO, before)]) == []
    assert orders([], [Installation("M2", "UP1", LONG_AGO, None)]) == []


def test_only_intervals_wholly_within_the_installation_count():
    day = CivilDay(DAY, BERLIN)
    at = day.start + timedelta(hours=10, minutes=7)
    old = installed_intervals(day, 900, [Installation("M", "U", LONG_AGO, at)])
    new = installed_intervals(day, 900, [Installation("M", "U", at, None)])
    assert np.flatnonzero(~old).tolist() == list(range(40, 96))
    assert np.flatnonzero(new).tolist() == list(range(41, 96))
    on_grid = installed_intervals(day, 900, [Installation("M", "U", day.start + timedelta(hours=10), None)])
    assert np.flatnonzero(on_grid)[0] == 40


def test_a_negative_horizon_is_refused():
    with pytest.raises(QuantityError, match="horizon of -1 days"):
        orders([], horizon=-1)

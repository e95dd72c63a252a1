"""Loss of an area is supplied less sold, exactly, per interval, day and period."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pytest

from openami.analytics.area_energy import area_energy
from openami.analytics.loss import area_loss, losses
from openami.quantities.civil_time import CivilDay
from openami.quantities.errors import ValidationError
from openami.quantities.obis import EXPORT_INTERVAL, IMPORT_INTERVAL
from openami.quantities.status import MISSING, DeviceFlag, Quality, Status
from openami.quantities.units import VARH, WH, Quantum, Unit
from openami.readings.interval_block import IntervalBlock

BERLIN = "Europe/Berlin"
READ_AT = datetime(2024, 4, 10, tzinfo=UTC)
LONG, SHORT = date(2024, 10, 27), date(2024, 3, 31)
MWH = Quantum(Unit.WATT_HOUR, -3)


def block(series, day, value, channel=IMPORT_INTERVAL, *, interval_s=900, quantum=WH, zone=BERLIN, **rest):
    civil = CivilDay(day, zone)
    values = np.full(civil.interval_count(interval_s), value, np.int64)
    return IntervalBlock(series, channel, civil, interval_s, quantum, values, READ_AT, **rest)


def area_of_blocks(blocks, first=date(2024, 4, 1), last=date(2024, 4, 2), customers=("C1", "C2")):
    return area_energy(
        blocks,
        area_id="A",
        area_point="AM",
        customers=customers,
        zone=BERLIN,
        first_day=first,
        last_day=last,
    )


def test_supplied_less_sold_with_feed_in_counted_once():
    day = date(2024, 4, 1)
    blocks = [
        block("AM", day, 100),
        block("AM", day, 10, EXPORT_INTERVAL),
        block("C1", day, 80),
        block("C2", day, 20),
        block("C2", day, 15, EXPORT_INTERVAL),
        block("stranger", day, 999),
    ]
    loss = area_loss(area_of_blocks(blocks))
    assert (loss.supplied_wh, loss.sold_wh, loss.loss_wh) == (96 * 90, 96 * 85, 96 * 5)
    assert loss.loss_percent == pytest.approx(100 * 5 / 90)
    assert loss.interval_loss.tolist() == [5] * 96
    assert loss.missing_intervals == 0


@pytest.mark.parametrize(("day", "count"), [(SHORT, 92), (LONG, 100)])
def test_days_on_which_clocks_change_have_their_own_length(day, count):
    loss = area_loss(
        area_of_blocks(
            [block("AM", day, 7), block("C1", day, 6)], day, date.fromordinal(day.toordinal() + 1), ("C1",)
        )
    )
    assert loss.days[0].intervals == count
    assert loss.loss_wh == count


def test_days_add_up_to_the_period_even_where_meters_count_finer_than_a_watt_hour():
    days = [date(2024, 4, 1), date(2024, 4, 2)]
    blocks = [block("AM", day, 1_005, quantum=MWH) for day in days] + [block("C1", day, 1) for day in days]
    loss = area_loss(area_of_blocks(blocks, days[0], date(2024, 4, 3), ("C1",)))
    assert loss.exponent == -3
    assert loss.interval_loss.tolist() == [5] * 192
    # 96 x 1.005 Wh = 96.48 Wh, to the Wh 96 a day.
    assert [day.supplied_wh for day in loss.days] == [96, 96]
    assert loss.supplied_wh == 192


def test_finer_intervals_of_a_customer_are_summed_to_those_of_the_area_meter():
    day = date(2024, 4, 1)
    area = area_of_blocks([block("AM", day, 30), block("C1", day, 9, interval_s=300)], customers=("C1",))
    assert area.imported[:, 0].tolist() == [27] * 96


def test_missing_and_estimated_values_are_said():
    day = date(2024, 4, 1)
    status = np.zeros(96, np.int32)
    status[:4] = MISSING
    status[4:10] = Status(Quality.ESTIMATED, 17).id
    status[10] = Status(device=DeviceFlag.CLOCK_SET).id
    area = area_of_blocks([block("AM", day, 10), block("C1", day, 9, status=status)])
    loss = area_loss(area)
    assert loss.days[0].missing_intervals == 96  # C2 has no readings at all
    assert np.flatnonzero(area.estimated[:, 0]).tolist() == [4, 5, 6, 7, 8, 9, 10]
    assert np.flatnonzero(area.missing[:, 0]).tolist() == [0, 1, 2, 3]
    assert area.missing[:, 1].all()


def test_a_day_is_closed_when_its_intervals_sum_to_the_advance_of_the_register():
    day = date(2024, 4, 1)
    blocks = [
        block("AM", day, 10),
        block("C1", day, 5, anchor_start=1000, anchor_end=1480),
        block("C2", day, 5, anchor_start=1000, anchor_end=1481),
    ]
    assert area_of_blocks(blocks).closed.tolist() == [[True, False]]


def test_nothing_supplied_has_no_percentage():
    loss = area_loss(area_of_blocks([block("AM", date(2024, 4, 1), 0)]))
    assert loss.loss_percent is None


def test_the_worst_area_comes_first():
    day = date(2024, 4, 1)
    good = area_of_blocks([block("AM", day, 100), block("C1", day, 99)])
    bad = area_of_blocks([block("AM", day, 100), block("C1", day, 50)])
    assert [loss.loss_percent for loss in losses([good, bad])] == [50.0, 1.0]


@pytest.mark.parametrize(
    ("blocks", "what"),
    [
        ([], "no final readings"),
        ([block("AM", date(2024, 4, 1), 1, quantum=VARH)], "counts 1 varh"),
        ([block("AM", date(2024, 4, 1), 1), block("C1", date(2024, 4, 1), 1, interval_s=3600)], "3600 s"),
        (
            [block("AM", date(2024, 4, 1), 1), block("C1", date(2024, 4, 1), 1, zone="Asia/Tokyo")],
            "Asia/Tokyo",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(blocks, what):
    with pytest.raises(ValidationError, match=what):
        area_of_blocks(blocks)

"""Meters that are set to another interval length, and meters that give one value a civil day."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from openami.quantities.civil_time import CivilDay, civil_days
from openami.quantities.status import Status
from vee_world import ZONE, Utility, freezes, loads

FIRST = date(2024, 2, 5)
SPRING = date(2024, 3, 31)
"""A day of 23 hours in Berlin."""


def test_a_meter_that_is_set_to_half_hours_is_validated_on_both_grids(utility: Utility) -> None:
    utility.meter()
    quarters = loads(FIRST, 10)
    halves = loads(FIRST + timedelta(days=10), 4, interval_s=1800)
    gap = CivilDay(FIRST + timedelta(days=12), ZONE)
    reads = freezes(quarters | halves)
    utility.deliver(quarters, reads=reads)
    utility.deliver(halves, interval_s=1800, missing={gap: [20]})
    report = utility.run(FIRST, FIRST + timedelta(days=14))
    assert report.intervals_expected == 10 * 96 + 4 * 48
    assert report.intervals_estimated == 1
    for day, values in (quarters | halves).items():
        final = utility.final(day.day)
        assert final.interval_s == 86_400 // values.size
        assert np.array_equal(final.values, values)
    assert str(Status.from_id(int(utility.final(gap.day).status_ids[20]))) == "S17"
    assert utility.kinds() == [("gap", gap.day)]


def test_a_day_without_readings_at_the_change_keeps_the_old_grid(utility: Utility) -> None:
    utility.meter()
    quarters = loads(FIRST, 10)
    halves = loads(FIRST + timedelta(days=11), 3, interval_s=1800)
    utility.deliver(quarters)
    utility.deliver(halves, interval_s=1800)
    utility.run(FIRST, FIRST + timedelta(days=14))
    silent = utility.final(FIRST + timedelta(days=10))
    assert silent.interval_s == 900
    assert not silent.missing.any()


def daily(first: date, count: int) -> dict[CivilDay, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    days = civil_days(first, first + timedelta(days=count), ZONE)
    return {day: np.array([8000 + 10 * index], np.int64) for index, day in enumerate(days)}


def deliver_daily(utility: Utility, first: date, count: int, silent: set[date]) -> None:
    for day, values in daily(first, count).items():
        if day.day not in silent:
            utility.deliver({day: values}, interval_s=day.seconds, source=str(day.day))


def test_one_value_a_civil_day_is_validated_over_a_clock_change(utility: Utility) -> None:
    utility.meter(interval_s=86_400)
    first = SPRING - timedelta(days=20)
    deliver_daily(utility, first, 30, silent=set())
    report = utility.run(first, first + timedelta(days=30))
    assert (report.days, report.intervals_expected, report.intervals_measured) == (30, 30, 30)
    assert [utility.final(SPRING + timedelta(days=n)).interval_s for n in (-1, 0, 1)] == [
        86_400,
        82_800,
        86_400,
    ]
    assert [int(utility.final(day.day).values[0]) for day in daily(first, 30)] == [
        8000 + 10 * index for index in range(30)
    ]
    assert utility.run(first, first + timedelta(days=30)).revised == ()


@pytest.mark.parametrize("silent", [SPRING - timedelta(days=2), SPRING, SPRING + timedelta(days=2)])
def test_a_day_that_is_missing_among_daily_values_is_taken_from_like_days(
    utility: Utility, silent: date
) -> None:
    utility.meter(interval_s=86_400)
    first = SPRING - timedelta(days=20)
    deliver_daily(utility, first, 30, silent={silent})
    utility.run(first, first + timedelta(days=30))
    final = utility.final(silent)
    place = (silent - first).days
    back = [place - weeks * 7 for weeks in (1, 2, 3) if place - weeks * 7 >= 0]
    assert final.values.tolist() == [round(sum(8000 + 10 * index for index in back) / len(back))]
    assert str(Status.from_id(int(final.status_ids[0]))) == "E15"
    assert utility.kinds() == [("meter_silent", silent)]


def test_a_meter_of_daily_values_that_came_after_the_clock_change_has_no_day_before(utility: Utility) -> None:
    came = CivilDay(SPRING + timedelta(days=3), ZONE)
    utility.meter(interval_s=86_400, installed=came.start)
    deliver_daily(utility, came.day, 3, silent=set())
    report = utility.run(SPRING - timedelta(days=3), came.day + timedelta(days=3))
    assert (report.days, report.intervals_expected, report.intervals_measured) == (3, 3, 3)

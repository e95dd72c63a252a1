"""Curves are functions of seed, customer and day, and look like the customers they are called after."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from openami.meter.load_curve import CurveBank, CurveKind, CurveSpec, slot_calendar, uniform
from openami.quantities.errors import QuantityError

MARCH_1 = (date(2026, 3, 1) - date(1970, 1, 1)).days
JUNE_1 = (date(2026, 6, 1) - date(1970, 1, 1)).days
KINDS = [kind for kind in CurveKind if kind is not CurveKind.CONSTANT]


def bank(kind: CurveKind, count: int = 60, seed: int = 3) -> CurveBank:
    return CurveBank([CurveSpec(kind, f"UP-{index}") for index in range(count)], seed)


def month(curves: CurveBank, first: int) -> np.ndarray:
    return np.array([curves.energies(first + day) for day in range(28)])


@pytest.mark.parametrize("kind", KINDS)
def test_a_day_is_the_same_alone_in_a_crowd_and_at_any_time(kind: CurveKind) -> None:
    crowd = bank(kind)
    later = crowd.energies(MARCH_1 + 9)
    alone = CurveBank([CurveSpec(kind, "UP-17")], 3).energies(MARCH_1 + 9)
    assert (alone[0] == later[17]).all()
    assert (bank(kind).energies(MARCH_1 + 9) == later).all()
    assert later.dtype == np.int64
    assert (later >= 0).all()


def test_seeds_and_customers_differ() -> None:
    curves = bank(CurveKind.HOUSEHOLD)
    day = curves.energies(MARCH_1)
    assert not (day[0] == day[1]).all()
    assert not (day == bank(CurveKind.HOUSEHOLD, seed=4).energies(MARCH_1)).all()
    assert not (day == curves.energies(MARCH_1 + 1)).all()


def test_households_draw_eight_to_twelve_kwh_a_day_most_of_it_in_the_evening() -> None:
    energy = month(bank(CurveKind.HOUSEHOLD), MARCH_1)[:, :, 0]
    assert 8e6 < energy.sum(axis=2).mean() < 12e6
    by_slot = energy.mean(axis=(0, 1))
    evening = by_slot[4 * 17 : 4 * 21].mean()  # 18:00 to 22:00 of Berlin's winter time
    night = by_slot[4 * 1 : 4 * 4].mean()
    assert 3 < evening / night < 9
    assert energy.min() > 0


def test_shops_draw_thirty_to_eighty_kwh_and_rest_on_sundays() -> None:
    energy = month(bank(CurveKind.SHOP), MARCH_1)[:, :, 0].sum(axis=2)
    assert 30e6 < energy.mean() < 80e6
    sundays, mondays = energy[0::7], energy[1::7]  # 2026-03-01 is a Sunday
    assert sundays.mean() < 0.5 * mondays.mean()


def test_pv_feeds_in_at_noon_never_at_night_and_never_both_ways_in_one_slot() -> None:
    energy = month(bank(CurveKind.PV_HOME), JUNE_1)
    drawn, fed = energy[:, :, 0], energy[:, :, 1]
    assert (np.minimum(drawn, fed) == 0).all()
    assert fed[:, :, : 4 * 2].sum() == 0
    assert fed[:, :, 4 * 10 : 4 * 12].mean() > 100_000
    daily = fed.sum(axis=2).mean(axis=1)
    assert daily.max() > 1.8 * daily.min()  # there is weather


def test_street_lights_burn_in_the_dark() -> None:
    energy = bank(CurveKind.STREET_LIGHTING, 1).energies(JUNE_1)[0, 0]
    assert energy[4 * 10] == 0
    assert energy[4 * 23] > 0


def test_a_constant_curve_is_exact() -> None:
    day = CurveBank([CurveSpec(CurveKind.CONSTANT, "UP-1", daily_wh=24_000)], 1).energies(MARCH_1)
    assert (day[0, 0] == 250_000).all()
    assert day[0, 1].sum() == 0


def test_civil_calendar_of_a_day_of_changing_clocks() -> None:
    day = (date(2026, 3, 29) - date(1970, 1, 1)).days
    calendar = slot_calendar(day, "Europe/Berlin")
    assert calendar.quarter[0] == 4
    assert calendar.quarter[4] == 12  # 01:00 UTC: 02:00 does not exist, it is 03:00
    assert calendar.weekday[0] == 6


def test_uniform_numbers_are_uniform() -> None:
    keys = np.arange(200, dtype=np.uint64)
    values = uniform(keys, np.arange(500), 1)
    assert values.min() >= 0
    assert values.max() < 1
    counts = np.histogram(values, bins=20, range=(0, 1))[0]
    assert abs(counts - 5000).max() < 5 * 5000**0.5
    assert abs(np.corrcoef(values[:, :-1].ravel(), values[:, 1:].ravel())[0, 1]) < 0.02


@pytest.mark.parametrize(
    "arguments",
    [
        {"kind": CurveKind.CONSTANT},
        {"kind": CurveKind.CONSTANT, "daily_wh": 25},
        {"kind": CurveKind.HOUSEHOLD, "pv_wp": 5000},
        {"kind": CurveKind.HOUSEHOLD, "daily_wh": -1},
        {"kind": CurveKind.HOUSEHOLD, "zone": "Mars/Olympus"},
    ],
)
def test_curves_that_cannot_be_are_refused(arguments: dict) -> None:
    with pytest.raises(QuantityError):
        CurveSpec(key="UP-1", **arguments)

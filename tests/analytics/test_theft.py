"""The customer who bypasses the meter is found, on the right day, and nobody else is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from openami.analytics.theft import TheftPolicy, find_theft, student_quantile


def found(area, policy=None):
    return [(suspect.usage_point_id, suspect.first_day) for suspect in find_theft(area, policy).suspects]


def truth(area, *bypasses):
    return [(area.customers[one.customer], area.days[one.first_day].day) for one in bypasses]


@pytest.mark.parametrize("seed", range(30))
def test_half_bypassed_is_found_to_the_day_and_clean_areas_stay_silent(seed, area_of, bypass):
    rng = np.random.default_rng(seed)
    thief = bypass(int(rng.integers(50)), int(rng.integers(4, 30)))
    estimated = tuple((int(rng.integers(50)), int(rng.integers(35))) for _ in range(5))
    area = area_of(100 + 4 * seed, bypasses=(thief,), estimated=estimated)
    assert found(area) == truth(area, thief)
    for clean in range(1, 4):
        assert found(area_of(100 + 4 * seed + clean, estimated=estimated)) == []


def test_the_report_says_how_much_and_how_sure(area_of, bypass):
    thief = bypass(17, 12)
    area = area_of(3, bypasses=(thief,))
    (suspect,) = find_theft(area).suspects
    since = area.day_index >= 12
    taken_wh = int(area.imported[since, 17].sum())  # the half that is metered equals the half that is not
    assert suspect.loss_wh_explained == pytest.approx(taken_wh, rel=0.05)
    assert suspect.bypassed_share == pytest.approx(0.5, abs=0.02)
    assert suspect.significance > 20
    assert suspect.residual_wh_with < suspect.residual_wh_without
    assert suspect.runner_up != suspect.usage_point_id
    assert suspect.runner_up_ratio < 0.5


def test_two_who_bypass_are_both_found(area_of, bypass):
    pair = (bypass(9, 8), bypass(31, 20))
    for seed in range(6):
        area = area_of(700 + seed, bypasses=pair)
        assert sorted(found(area)) == sorted(truth(area, *pair))


def test_a_bypass_from_before_the_period_is_found_on_the_first_day(area_of, bypass):
    area = area_of(11, bypasses=(bypass(23, 0),))
    assert found(area) == truth(area, bypass(23, 0))


def test_estimated_days_around_the_first_day_do_not_move_it(area_of, bypass):
    thief = bypass(40, 15)
    estimated = tuple((customer, day) for customer in (5, 6) for day in (13, 14, 15, 16))
    for seed in range(6):
        area = area_of(800 + seed, bypasses=(thief,), estimated=estimated)
        assert found(area) == truth(area, thief)


def test_a_dead_meter_is_not_taken_for_a_thief(area_of):
    for seed in range(6):
        assert found(area_of(900 + seed, missing=((12, 20), (12, 21), (30, 5)))) == []


def test_a_dead_meter_does_not_hide_the_thief(area_of, bypass):
    thief = bypass(33, 18)
    area = area_of(950, bypasses=(thief,), missing=((12, 10), (12, 11), (12, 12)))
    assert found(area) == truth(area, thief)


def test_a_day_without_readings_is_never_named_as_the_first(area_of, bypass):
    area = area_of(960, bypasses=(bypass(33, 18),), missing=((2, 17), (3, 18)))
    (suspect,) = find_theft(area).suspects
    assert suspect.first_day == area.days[19].day


def test_a_small_area_with_much_pv_and_lossy_wires_stays_silent(area_of):
    for seed in range(10):
        assert found(area_of(1000 + seed, customers=20, shops=6, pv_share=0.6, loss_share=0.06)) == []


def test_a_load_without_any_meter_names_nobody(area_of):
    # A street lamp nobody registered: the loss rises, but follows no customer.
    area = area_of(5)
    lamp = np.where((np.arange(area.supplied.size) % 96 < 24) & (area.day_index >= 10), 900, 0)
    assert found(replace(area, supplied=area.supplied + lamp)) == []


def test_too_short_a_period_names_nobody(area_of, bypass):
    assert found(area_of(1, days=2, bypasses=(bypass(17, 0),))) == []


def test_a_silent_area_meter_names_nobody(area_of, bypass):
    area = area_of(1, bypasses=(bypass(17, 5),))
    assert found(replace(area, supplied_missing=np.ones_like(area.supplied_missing))) == []


def test_the_policy_decides_what_matters(area_of, bypass):
    area = area_of(3, bypasses=(bypass(17, 12, 0.2),))
    assert found(area) == truth(area, bypass(17, 12))
    assert found(area, TheftPolicy(least_coefficient=0.3)) == []


def test_student_quantile_agrees_with_the_tables():
    # Abramowitz and Stegun table 26.10: t(0.995; 30) = 2.750, t(0.9995; 40) = 3.551, t(0.975; 20) = 2.086
    assert student_quantile(0.005, 30) == pytest.approx(2.750, abs=1e-3)
    assert student_quantile(0.0005, 40) == pytest.approx(3.551, abs=1e-3)
    assert student_quantile(0.025, 20) == pytest.approx(2.086, abs=1e-3)


def test_estimates_that_no_register_confirms_cost_certainty_but_not_the_name(area_of, bypass):
    thief = bypass(40, 15)
    estimated = tuple((customer, day) for customer in range(20) for day in (customer, customer + 1))
    area = area_of(980, bypasses=(thief,), estimated=estimated, closed=False)
    assert [name for name, _ in found(area)] == [area.customers[40]]


def test_twins_are_not_told_apart_and_neither_is_named(area_of, bypass):
    area = area_of(21, bypasses=(bypass(17, 12),))
    imported = area.imported.copy()
    imported[:, 30] = imported[:, 17]
    twins = replace(area, imported=imported, supplied=area.supplied + (imported - area.imported).sum(axis=1))
    report = find_theft(twins)
    assert report.suspects == ()
    (suspect,) = report.undecided
    assert {suspect.usage_point_id, suspect.runner_up} == {area.customers[17], area.customers[30]}
    assert suspect.first_day == area.days[12].day

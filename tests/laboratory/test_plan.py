"""A plan covers every row of its class at both ends, and says what it does not cover."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from openami.laboratory.accuracy_limits import Load
from openami.laboratory.checks import Kind, Law
from openami.laboratory.conditions import Condition, Quantity, WaveformName, angle_of, angle_of_sine
from openami.laboratory.current_range import Size, current_a, currents_of, ruling_row
from openami.laboratory.limit_tables import class_limits
from openami.laboratory.loads import part_s_of, waveform_of
from openami.laboratory.plan import plan_of
from openami.laboratory.register_tests import no_load_minutes
from openami.meter.model import meter_model, model_names
from openami.metrology.waveform.closed_form import reference
from openami.quantities.errors import MeteringError


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize("size", list(Size))
def test_every_row_of_the_class_is_tested_at_both_ends(name: str, size: Size) -> None:
    model = meter_model(name)
    plan = plan_of(model, size=size)
    rating, limits = model.rating, plan.limits
    tested = {
        (
            check.conditions[0].factor,
            bool(check.conditions[0].loaded),
            round(check.conditions[0].current_a, 9),
        )
        for check in plan.checks
        if check.kind is Kind.STANDARD and check.law is Law.ERROR and check.quantity is Quantity.ACTIVE
    }
    assert limits.intrinsic
    for row in limits.intrinsic:
        single = row.load is Load.SINGLE_PHASE
        if row.connection not in (None, rating.connection) or (single and rating.phases == 1):
            continue
        for factor in row.factor:
            for bound in (row.begin, row.end):
                amperes = round(current_a(bound, rating, limits.base), 9)
                assert (factor, single, amperes) in tested, (row, factor, amperes)


def test_where_two_rows_meet_the_tighter_one_rules() -> None:
    rating = meter_model("ct_02s").rating
    limits = class_limits("IEC 62053-22", "0.2S")
    expected = {0.05: 0.4, 0.2: 0.4, 0.25: 0.2, 5.0: 0.2, 10.0: 0.2}  # 0.05 In = 0.25 A
    for amperes, limit in expected.items():
        row = ruling_row(limits.intrinsic, Load.BALANCED, "1", amperes, rating, limits.base)
        assert row is not None
        assert row.limit_pct == limit
    assert ruling_row(limits.intrinsic, Load.BALANCED, "1", 0.04, rating, limits.base) is None


def test_the_limit_of_r46_grows_below_the_minimum_current() -> None:
    model = meter_model("dual_core_2016")
    plan = plan_of(model)
    limits = {
        check.conditions[0].current_a: check.limit
        for check in plan.checks
        if check.test == "intrinsic_error" and check.conditions[0].factor == "1"
    }
    assert limits[0.04] == pytest.approx(1.0 * 0.2 / 0.04)  # class C: 1.0 % Imin / I
    assert limits[0.2] == 1.0
    assert limits[60.0] == 0.5


def test_hardware_tests_are_named_as_not_covered() -> None:
    plan = plan_of(meter_model("ct_02s"))
    assert set(plan.not_covered) == {
        "auxiliary", "dc_magnetic", "ac_magnetic", "radio_frequency", "short_overcurrent"
    }  # fmt: skip
    covered = {check.test for check in plan.checks}
    listed = {row.test for row in plan.limits.influence}
    assert listed == (listed & covered) | set(plan.not_covered)


def test_what_needs_three_phases_is_left_out_of_a_single_phase_meter() -> None:
    tests = {check.test for check in plan_of(meter_model("sg2009_single")).checks}
    assert not tests & {"reversed_phase_sequence", "voltage_unbalance", "single_phase_load"}
    assert "half_wave" in tests  # a direct-connected meter sees direct current
    behind = {check.test for check in plan_of(meter_model("ct_02s")).checks}
    assert "half_wave" not in behind


def test_the_class_picks_the_standard_unless_one_is_named() -> None:
    model = meter_model("sg2013_three")
    assert plan_of(model).limits.standard == "IEC 62053-21"
    assert plan_of(model, class_name="B").limits.standard == "OIML R 46"
    assert plan_of(model, class_name="B", standard="mid").limits.standard == "EN 50470-3"
    assert plan_of(model, class_name="0.5S").limits.standard == "IEC 62053-22"
    with pytest.raises(MeteringError, match=r"no class '1'.*A, B, C"):
        plan_of(model, standard="mid")


def test_the_no_load_test_lasts_as_long_as_its_formula_says() -> None:
    model = meter_model("sg2013_three")
    rule = class_limits("IEC 62053-21", "1").no_load
    assert rule is not None
    # C 10^6 / (k m Un Imax) = 600e6 / (400 x 3 x 220 x 60)
    assert no_load_minutes(rule, model) == pytest.approx(600e6 / (400 * 3 * 220 * 60))


def test_the_temperature_coefficient_is_taken_over_spans_of_twenty_kelvin() -> None:
    plan = plan_of(meter_model("ct_02s"))
    spans = {
        (check.conditions[1].temperature_c, check.conditions[0].temperature_c)
        for check in plan.checks
        if check.test == "temperature_coefficient"
    }
    assert spans == {(-25.0, -5.0), (-5.0, 15.0), (15.0, 35.0), (35.0, 55.0)}


@pytest.mark.parametrize(
    ("factor", "angle"),
    [("1", 0.0), ("0.5L", 60.0), ("0.8C", -36.86989764584), ("-1", 180.0), ("-0.5L", 120.0)],
)
def test_a_power_factor_is_an_angle(factor: str, angle: float) -> None:
    assert angle_of(factor) == pytest.approx(angle)


def test_a_sine_factor_is_an_angle_too() -> None:
    assert angle_of_sine("0.5L") == pytest.approx(30.0)
    assert angle_of_sine("1C") == pytest.approx(-90.0)


@pytest.mark.parametrize("factor", ["", "2", "0.5X", "L0.5", "1.5L"])
def test_what_is_no_power_factor_is_refused(factor: str) -> None:
    with pytest.raises(MeteringError, match="power factor"):
        angle_of(factor)


RATING = meter_model("sg2013_three").rating


@pytest.mark.parametrize(
    ("waveform", "share"),
    [
        # P / P1, test_waveforms.json of the shared data; a half, where the current flows half the time
        (WaveformName.FIFTH_HARMONIC, 1.04),
        (WaveformName.QUADRIFORM, 0.9806),
        (WaveformName.PEAKED, 0.9806),
        (WaveformName.PHASE_FIRED_90, 0.5),
        (WaveformName.BURST_FIRED, 0.5),
        (WaveformName.HALF_WAVE, 0.5),
    ],
)
def test_the_bench_applies_the_waveforms_of_the_standards(waveform: WaveformName, share: float) -> None:
    condition = Condition(5.0, 0.0, "1", 50.0, waveform=waveform)
    applied = waveform_of(condition, RATING)
    span = part_s_of(condition)
    true = reference(applied, 1.0, 1.0 + span, 50.0)
    assert true.total_active_ws / span == pytest.approx(share * 3 * 220 * 5.0, rel=1e-9)


def test_parts_of_a_measurement_hold_whole_cycles() -> None:
    assert part_s_of(Condition(5.0, 0.0, "1", 50.0)) == pytest.approx(0.2)
    assert part_s_of(Condition(5.0, 0.0, "1", 49.0)) == pytest.approx(10 / 49)
    assert part_s_of(Condition(5.0, 0.0, "1", 50.0, waveform=WaveformName.BURST_FIRED)) == pytest.approx(0.4)


def test_elements_are_set_one_by_one() -> None:
    condition = Condition(5.0, 60.0, "0.5L", 50.0, voltage=(0.0, 1.0, 1.1), loaded=(1,))
    assert condition.voltages(RATING) == (0.0, 220.0, pytest.approx(242.0))
    assert condition.currents(RATING) == (0.0, 5.0, 0.0)
    true = reference(waveform_of(condition, RATING), 0.0, 0.2, 50.0)
    assert true.active_ws == pytest.approx([0.0, 220 * 5 * 0.5 * 0.2, 0.0], abs=1e-9)


def test_phases_can_be_reversed() -> None:
    forward = Condition(5.0, 0.0, "1", 50.0)
    for condition, lag in ((forward, 120.0), (replace(forward, reversed_order=True), -120.0)):
        applied = waveform_of(condition, RATING)
        first, second = (signal.carrier().phase_deg for signal in applied.u[:2])
        assert math.remainder(first - second - lag, 360.0) == pytest.approx(0.0)


def test_a_distorted_waveform_on_unlike_elements_is_refused() -> None:
    odd = Condition(5.0, 0.0, "1", 50.0, waveform=WaveformName.PEAKED, loaded=(0,))
    with pytest.raises(MeteringError, match="unlike elements"):
        waveform_of(odd, RATING)


def test_a_range_outside_the_meter_has_no_currents() -> None:
    row = class_limits("IEC 62053-21", "1").intrinsic[0]  # 0.05 .. 0.1 Ib
    assert currents_of(row, RATING, "reference", Size.FULL) == (0.25, 0.5)
    assert currents_of(replace(row, begin=20.0, end="Imax"), RATING, "reference", Size.FULL) == ()

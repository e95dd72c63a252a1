"""A device is judged on the right side of its limit, with its uncertainty as a guard band on both sides."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laboratory.stated_error_meter import StatedErrorMeter
from openami.laboratory.accuracy_limits import Basis, Source
from openami.laboratory.bench import BenchRun, run
from openami.laboratory.checks import Check, Kind, Law
from openami.laboratory.conditions import Condition, Quantity
from openami.laboratory.current_range import Size
from openami.laboratory.plan import Plan, plan_of
from openami.laboratory.summary import summaries
from openami.laboratory.verdict import Result, Verdict, judge, overall
from openami.meter.model import meter_model

SOURCE = Source(Basis.OWN, "a test")
AT_5_A = Condition(5.0, 0.0, "1", 50.0)


def _plan(*checks: Check) -> Plan:
    return replace(plan_of(meter_model("ct_02s"), size=Size.QUICK), checks=checks)


def _check(law: Law = Law.ERROR, limit: float = 0.2, **more: object) -> Check:
    check = Check("a_test", Quantity.ACTIVE, law, (AT_5_A,), limit, SOURCE)
    return replace(check, **more)  # type: ignore[arg-type]


def _run(check: Check, **meter: object) -> BenchRun:
    return run(_plan(check), lambda age: StatedErrorMeter(**meter))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "uncertainty", "verdict"),
    [
        (0.15, 0.04, Verdict.PASS),
        (0.15, 0.05, Verdict.PASS),  # the guard band just fits
        (0.15, 0.06, Verdict.UNDECIDED),
        (0.20, 0.001, Verdict.UNDECIDED),
        (0.25, 0.06, Verdict.UNDECIDED),
        (0.25, 0.04, Verdict.FAIL),
        (-0.25, 0.04, Verdict.FAIL),
        (-0.15, 0.04, Verdict.PASS),
        (math.nan, 0.0, Verdict.FAIL),
        (0.0, math.nan, Verdict.FAIL),
        (0.0, math.inf, Verdict.UNDECIDED),
    ],
)
def test_the_guard_band_is_the_expanded_uncertainty(
    value: float, uncertainty: float, verdict: Verdict
) -> None:
    assert judge(value, uncertainty, -0.2, 0.2) is verdict


@given(
    st.floats(-1, 1),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_a_larger_uncertainty_never_decides_what_a_smaller_one_left_open(
    value: float, small: float, more: float
) -> None:
    before, after = judge(value, small, -0.2, 0.2), judge(value, small + more, -0.2, 0.2)
    assert after in (before, Verdict.UNDECIDED)


def test_limits_need_not_be_symmetric() -> None:
    assert judge(-60.0, 0.1, -100.0, 10.0) is Verdict.PASS
    assert judge(11.0, 0.1, -100.0, 10.0) is Verdict.FAIL
    assert judge(5.0, 0.1, -100.0, math.inf) is Verdict.NO_LIMIT


def test_one_fail_fails_the_whole_and_undecided_is_no_pass() -> None:
    assert overall([Verdict.PASS, Verdict.NO_LIMIT]) is Verdict.PASS
    assert overall([Verdict.PASS, Verdict.UNDECIDED]) is Verdict.UNDECIDED
    assert overall([Verdict.UNDECIDED, Verdict.FAIL, Verdict.PASS]) is Verdict.FAIL


@pytest.mark.parametrize(
    ("error_pct", "verdict"),
    [(0.199, Verdict.PASS), (-0.199, Verdict.PASS), (0.201, Verdict.FAIL), (-0.201, Verdict.FAIL)],
)
def test_a_meter_of_a_stated_error_falls_on_the_right_side(error_pct: float, verdict: Verdict) -> None:
    done = _run(_check(), error_pct=error_pct)
    assert done.verdict is verdict
    assert done.results[0].value == pytest.approx(error_pct, abs=1e-9)


def test_a_noisy_meter_near_its_limit_is_undecided() -> None:
    done = _run(_check(), error_pct=0.19, noise_pct=0.05)
    assert done.results[0].uncertainty > 0.01
    assert done.verdict is Verdict.UNDECIDED


def test_flagged_samples_never_pass() -> None:
    assert _run(_check(), error_pct=0.0, flagged_parts=1).verdict is Verdict.FAIL


def test_a_quantity_that_is_not_registered_never_passes() -> None:
    check = _check(quantity=Quantity.REACTIVE)
    assert _run(check, quantities=frozenset({Quantity.ACTIVE})).verdict is Verdict.FAIL


def test_a_change_is_the_difference_of_two_errors() -> None:
    warm = replace(AT_5_A, temperature_c=43.0)
    by_temperature = {"error_pct": lambda exposure, _: 0.05 + 0.003 * (exposure.temperature_c - 23.0)}
    change = _run(_check(Law.CHANGE, conditions=(warm, AT_5_A)), **by_temperature)
    assert change.results[0].value == pytest.approx(0.06, abs=1e-9)
    slope = _run(_check(Law.PER_KELVIN, conditions=(warm, AT_5_A), limit=0.01), **by_temperature)
    assert slope.results[0].value == pytest.approx(0.003, abs=1e-10)


def test_half_the_spread_is_taken_over_all_conditions() -> None:
    errors = {1.0: 0.05, 2.0: -0.03, 5.0: 0.01}
    conditions = tuple(replace(AT_5_A, current_a=a) for a in errors)
    done = _run(
        _check(Law.HALF_SPREAD, conditions=conditions, low=0.0, limit=0.05),
        error_pct=lambda _, true: errors[round(float(true.i_rms_a[0]), 6)],
    )
    assert done.results[0].value == pytest.approx(0.04, abs=1e-9)
    assert done.verdict is Verdict.PASS


def test_of_each_influence_quantity_the_largest_change_counts() -> None:
    low, high = replace(AT_5_A, voltage=0.9), replace(AT_5_A, voltage=1.1)
    hot = replace(AT_5_A, temperature_c=55.0)
    errors = {(0.9, 23.0): 0.13, (1.1, 23.0): 0.05, (1.0, 55.0): 0.22, (1.0, 23.0): 0.10}

    def error_of(exposure: object, true: object) -> float:
        multiple = round(float(true.u_rms_v[0]) / 57.7, 3)  # type: ignore[attr-defined]
        return errors[multiple, exposure.temperature_c]  # type: ignore[attr-defined]

    check = _check(Law.COMBINED, conditions=(AT_5_A, low, high, hot), groups=(2, 1), low=0.0, limit=0.2)
    done = _run(check, error_pct=error_of)
    # 0.10 itself, 0.05 by voltage (not 0.03), 0.12 by temperature
    assert done.results[0].value == pytest.approx(math.hypot(0.10, 0.05, 0.12), abs=1e-9)


def test_pulses_that_disagree_with_the_register_are_found() -> None:
    long = replace(AT_5_A, current_a=10.0, measure_s=20)
    check = _check(Law.CONSTANT, conditions=(long,), limit=0.02)
    assert _run(check).verdict is Verdict.PASS
    wrong = _run(check, pulse_error_pct=0.05)
    assert wrong.verdict is Verdict.FAIL
    assert wrong.results[0].value == pytest.approx(0.05, abs=0.002)


def test_a_meter_that_creeps_is_found_though_the_test_is_shortened() -> None:
    idle = Condition(0.0, 0.0, "1", 50.0, voltage=1.15, measure_s=10)
    check = _check(Law.NO_LOAD, conditions=(idle,), limit=1.0, low=0.0)

    class Creeping(StatedErrorMeter):
        def observe(self, exposure: object) -> object:
            seen = super().observe(exposure)  # type: ignore[arg-type]
            creep = {Quantity.ACTIVE: 0.02 * seen.part_s}  # 20 mW
            return replace(seen, energy_ws=creep)

    done = run(_plan(check), lambda age: Creeping())  # type: ignore[arg-type,return-value]
    minutes = done.no_load_minutes  # 900e6 / (20000 * 3 * 57.7 * 10) min
    assert minutes == pytest.approx(900e6 / (20000 * 3 * 57.7 * 10))
    assert done.results[0].value == pytest.approx(0.02 * minutes * 60 / 36.0)
    assert done.verdict is Verdict.PASS
    assert _run(check).results[0].value == 0.0


def test_a_meter_that_does_not_start_fails() -> None:
    start = replace(AT_5_A, current_a=0.005)
    check = _check(Law.STARTS, conditions=(start,), limit=0.0, low=0.0)
    assert _run(check).results[0].value == pytest.approx(100.0)
    assert _run(check).verdict is Verdict.PASS
    assert _run(check, error_pct=-100.0).verdict is Verdict.FAIL


def test_the_worst_point_is_the_one_nearest_to_its_own_limit() -> None:
    def result(value: float, limit: float) -> Result:
        return Result(_check(limit=limit), value, 0.0, judge(value, 0.0, -limit, limit))

    [summary] = summaries([result(0.3, 1.0), result(0.15, 0.2), result(-0.01, 0.2)], Kind.STANDARD)
    assert summary.worst.value == 0.15
    assert (summary.points, summary.verdict) == (3, Verdict.PASS)


def test_a_goal_that_is_missed_leaves_the_verdict_of_the_standard_alone() -> None:
    goal = _check(limit=0.01, kind=Kind.GOAL, test="a_goal")
    done = run(_plan(_check(), goal), lambda age: StatedErrorMeter(0.1))
    assert done.verdict is Verdict.PASS
    assert [result.verdict for result in done.of_kind(Kind.GOAL)] == [Verdict.FAIL]


def test_every_condition_is_measured_once() -> None:
    seen: list[object] = []

    class Counting(StatedErrorMeter):
        def observe(self, exposure: object) -> object:
            seen.append(exposure)
            return super().observe(exposure)  # type: ignore[arg-type]

    run(
        _plan(_check(), _check(limit=0.1), _check(Law.CHANGE, conditions=(AT_5_A, AT_5_A))),
        lambda age: Counting(),  # type: ignore[arg-type,return-value]
    )
    assert len(seen) == 1

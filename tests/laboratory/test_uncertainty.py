"""The bench states what it does not know: reference, resolution and scatter, and never too little of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from laboratory.stated_error_meter import StatedErrorMeter
from openami.laboratory.conditions import Condition, Quantity
from openami.laboratory.intrinsic_tests import condition_at
from openami.laboratory.measurement import measure
from openami.laboratory.uncertainty import budget_of, pulse_uncertainty_pct, scatter_of_sum
from openami.meter.model import meter_model

RATING = meter_model("ct_02s").rating
PARTS_S = np.full(5, 0.2)


def test_components_add_as_squares_and_count_twice() -> None:
    budget = budget_of(np.full(5, 100.0), PARTS_S, 500.0, resolution_ws=0.5, reference_ws=0.01)
    assert budget.resolution_pct == pytest.approx(100 * 0.5 / math.sqrt(6) / 500)
    assert budget.reference_pct == pytest.approx(100 * 0.01 / math.sqrt(3) / 500)
    assert budget.scatter_pct == 0.0
    assert budget.expanded_pct == pytest.approx(2 * math.hypot(budget.resolution_pct, budget.reference_pct))


def test_scatter_counts_with_the_factor_of_few_parts() -> None:
    parts = np.array([10.0, 12.0, 11.0, 9.0, 13.0])
    s = math.sqrt(2.5)
    assert scatter_of_sum(parts) == pytest.approx(s * math.sqrt(5) * math.sqrt(4 / 2))
    assert scatter_of_sum(np.array([10.0, 11.0])) == pytest.approx(2.0)  # their range, twice
    assert scatter_of_sum(np.array([10.0])) == 0.0


def test_parts_that_differ_in_length_do_not_scatter() -> None:
    lengths = np.array([1306.0, 1307.0, 1306.0, 1306.0, 1306.0]) / 6400
    budget = budget_of(173.1 * lengths, lengths, 173.1 * lengths.sum(), 0.0, 0.0)
    assert budget.scatter_pct < 1e-12


@pytest.mark.parametrize("parts", [5, 10, 20])
def test_the_stated_uncertainty_covers_what_noise_does(parts: int) -> None:
    draws = 100.0 + np.random.default_rng(parts).normal(0.0, 0.1, (4000, parts))
    lengths = np.full(parts, 0.2)
    covered = sum(
        abs(100.0 * (draw.sum() / (100.0 * parts) - 1.0))
        <= budget_of(draw, lengths, 100.0 * parts, 0.0, 0.0).expanded_pct
        for draw in draws
    )
    assert covered >= 0.945 * 4000


def test_registers_and_pulses_agree_on_an_honest_meter() -> None:
    condition = condition_at(RATING, 10.0, "1")
    seen = measure(StatedErrorMeter(0.05), condition, RATING)
    assert seen.pulses is not None
    by_register = seen.errors[Quantity.ACTIVE].error_pct
    assert by_register == pytest.approx(0.05, abs=1e-9)
    assert abs(seen.pulses.error_pct - by_register) <= seen.pulses.uncertainty_pct + 1e-9


def test_few_pulses_are_no_measurement() -> None:
    seen = measure(StatedErrorMeter(pulse_ws=1e6), Condition(5.0, 0.0, "1", 50.0), RATING)
    assert seen.pulses is None


def test_pulses_are_worth_their_time() -> None:
    assert pulse_uncertainty_pct(10.0, 1e-4, 0.0) == pytest.approx(200 * 1e-5 / math.sqrt(6))
    assert pulse_uncertainty_pct(20.0, 1e-4, 0.0) == pytest.approx(100 * 1e-5 / math.sqrt(6))
    assert pulse_uncertainty_pct(0.0, 1e-4, 0.0) == math.inf


def test_energy_that_does_not_flow_has_no_error() -> None:
    seen = measure(StatedErrorMeter(), Condition(5.0, 0.0, "1", 50.0), RATING)
    assert Quantity.REACTIVE not in seen.errors
    assert Quantity.ACTIVE in seen.errors
    idle = measure(StatedErrorMeter(), Condition(0.0, 0.0, "1", 50.0), RATING)
    assert not idle.errors


def test_harmonic_energy_is_related_to_the_total() -> None:
    from openami.laboratory.conditions import WaveformName

    condition = Condition(5.0, 0.0, "1", 50.0, waveform=WaveformName.FIFTH_HARMONIC)
    seen = measure(StatedErrorMeter(10.0), condition, RATING)
    # the 5th harmonic carries 4 % of the fundamental's energy; a tenth of it is 0.4 / 1.04 of the total
    assert seen.errors[Quantity.HARMONIC_ACTIVE].error_pct == pytest.approx(10 * 0.04 / 1.04, rel=1e-6)

"""On real households: which estimate is better at which length, and what the spike rule costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from vee_accuracy import Counts, GapError, SpikeRates, gap_errors, households, spike_rates


@pytest.fixture(scope="module")
def homes(shared_data: Path) -> list[Counts]:
    path = shared_data / "analytics" / "lcl2013_halfhourly_Wh.parquet"
    if not path.exists():
        pytest.skip("no half-hourly readings of the Low Carbon London trial beside the project")
    return list(households(path))[::3]


@pytest.fixture(scope="module")
def errors(homes: list[Counts]) -> dict[float, GapError]:
    return {row.hours: row for row in gap_errors(homes, per_home=12)}


@pytest.fixture(scope="module")
def spikes(homes: list[Counts]) -> SpikeRates:
    return spike_rates(homes)


def test_linear_is_better_for_half_an_hour(errors: dict[float, GapError]) -> None:
    assert errors[0.5].trials > 200
    assert errors[0.5].linear < 0.8 * errors[0.5].like_day


def test_like_day_is_better_for_a_day(errors: dict[float, GapError]) -> None:
    assert errors[24].like_day < 0.8 * errors[24].linear


def test_scaling_to_the_register_improves_every_estimate(errors: dict[float, GapError]) -> None:
    for row in errors.values():
        assert row.linear_scaled < row.linear
        assert row.like_day_scaled < row.like_day
    exact = errors[0.5].linear_scaled
    assert exact == pytest.approx(0, abs=1e-9), "one interval between two reads is known exactly"


def test_a_day_that_the_register_confirms_has_no_spike(spikes: SpikeRates) -> None:
    assert spikes.days > 6000
    assert 0.03 < spikes.triggered / spikes.days < 0.2, "the trigger alone fires on honest days"
    assert spikes.flagged_complete == 0


def test_gaps_do_not_make_spikes_of_honest_bursts(spikes: SpikeRates) -> None:
    assert spikes.flagged_beside_gaps / spikes.gap_days < 0.01


def test_injected_spikes_beside_gaps_are_found(spikes: SpikeRates) -> None:
    assert spikes.found / spikes.injected > 0.98
    assert spikes.false / (spikes.found + spikes.false) < 0.03

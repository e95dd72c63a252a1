"""Any seed: what was injected is what is detected, and the energy closes; each in a process of its own."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from demo_world import disagreements, run_command
from openami.cli.demo.scenario import Scenario, make_scenario

CHANGE_OF_CLOCKS = date(2026, 10, 25)
METERS, DAYS = 48, 35
SEARCHED = range(1000, 1400)


def coincidences(scenario: Scenario) -> set[str]:
    """What happens on the day on which clocks change, or in the night after it, and what meets elsewhere."""
    found = set()
    for kind in ("lost_replies", "spike", "meter_exchange", "duplicate"):
        days = {one.day for one in scenario.injected[kind]}
        if CHANGE_OF_CLOCKS in days:
            found.add(f"{kind} on the day of 25 hours")
        if kind == "lost_replies" and CHANGE_OF_CLOCKS + timedelta(days=1) in days:
            found.add("the day of 25 hours is read a night later")
    dead = scenario.injected["dead_meter"][0].day
    if 0 <= (CHANGE_OF_CLOCKS - dead).days <= 2:
        found.add(f"day {(CHANGE_OF_CLOCKS - dead).days + 1} of a dead meter has 25 hours")
    outage = scenario.injected["power_outage"]
    if (dead - outage[0].day).days == 1 and scenario.injected["dead_meter"][0].meter in {
        one.meter for one in outage
    }:
        found.add("an outage the day before a meter dies")
    exchange = scenario.injected["meter_exchange"][0]
    if exchange.meter in {one.meter for one in outage}:
        found.add("an outage where the meter was exchanged")
    if scenario.injected["clock_drift"][0].meter in {one.meter for one in outage}:
        found.add("an outage at a meter whose clock is wrong")
    if scenario.injected["theft"][0].meter in {one.meter for one in outage}:
        found.add("an outage at the thief")
    return found


def awkward_seeds() -> dict[int, set[str]]:
    """A few seeds in which together every coincidence occurs."""
    chosen: dict[int, set[str]] = {}
    seen: set[str] = set()
    for seed in SEARCHED:
        new = coincidences(make_scenario(seed, METERS, DAYS)) - seen
        if new:
            chosen[seed] = new
            seen |= new
    return chosen


def holds(folder: Path, seed: int, meters: int, days: int) -> None:
    document = run_command(folder, seed=seed, meters=meters, days=days).document
    assert disagreements(document) == {}
    assert document["closure_error_wh"] == 0
    assert document["final_energy_wh"] == document["register_advance_wh"]
    measured, estimated = document["intervals_measured"], document["intervals_estimated"]
    assert measured + estimated == document["intervals_expected"], "nothing missing, nothing suspect"
    assert document["bills"] == document["meters"] == meters


def test_the_awkward_seeds_hold_every_coincidence() -> None:
    assert len(set().union(*awkward_seeds().values())) == 12


@pytest.mark.heavy
@pytest.mark.parametrize("seed", awkward_seeds())
def test_faults_that_coincide_are_told_apart(seed: int, tmp_path: Path) -> None:
    holds(tmp_path / "utility", seed, METERS, DAYS)


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(1, 31))
def test_any_seed_is_detected_as_injected(seed: int, tmp_path: Path) -> None:
    holds(tmp_path / "utility", seed, 64, 28 + seed % 8)

"""Meters of other principles: a disc is read at whole turns, the others after whole cycles, to the sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from openami.laboratory.conditions import Condition, Quantity
from openami.laboratory.current_range import Size
from openami.laboratory.device_under_test import Exposure, pulse_instants
from openami.laboratory.evolution_chart import RATING, evolution, evolution_document, evolution_page
from openami.laboratory.loads import waveform_of
from openami.laboratory.measurement import measure
from openami.laboratory.principle_meter import PrincipleMeter, typical_meter
from openami.meter.model import Principle

F64 = npt.NDArray[np.float64]


class Multiplier:
    """Registers the sum of products, with a factor."""

    rate_hz, phases, settling_s = 6400.0, 1, 1.0

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def advance(self, u_v: F64, i_a: F64, *, temperature_c: float = 23.0) -> float:
        return self.factor * float(np.sum(u_v * i_a)) / self.rate_hz


@pytest.mark.parametrize("error_pct", [0.0, 0.37, -1.2])
def test_a_meter_that_only_multiplies_has_the_error_of_its_factor(error_pct: float) -> None:
    meter = PrincipleMeter(lambda: Multiplier(1.0 + error_pct / 100.0), 1600.0)
    for condition in (Condition(5.0, 60.0, "0.5L", 50.0), Condition(0.1, 0.0, "1", 50.0, voltage=0.8)):
        measured = measure(meter, condition, RATING).errors[Quantity.ACTIVE]
        assert measured.error_pct == pytest.approx(error_pct, abs=1e-9)


def test_age_is_a_factor_on_the_register() -> None:
    meter = PrincipleMeter(lambda: Multiplier(1.0), 1600.0, registered=1.005)
    measured = measure(meter, Condition(5.0, 0.0, "1", 50.0), RATING).errors[Quantity.ACTIVE]
    assert measured.error_pct == pytest.approx(0.5, abs=1e-9)


def test_a_disc_is_read_after_whole_turns() -> None:
    meter = typical_meter(Principle.FERRARIS, RATING, 3200.0)
    pulse_ws = 3.6e6 / 375
    condition = Condition(0.5, 0.0, "1", 50.0)  # 115 W: 83 s a turn
    exposure = Exposure(waveform_of(condition, RATING), 5.0, 0.2, 5)
    seen = meter.observe(exposure)
    turned = float(np.sum(seen.energy_ws[Quantity.ACTIVE]))
    assert 1.0 <= turned / pulse_ws < 1.01
    assert seen.end_s - seen.begin_s == pytest.approx(83.5, rel=0.03)
    assert not seen.runs_evenly


def test_a_disc_that_stands_still_is_given_up() -> None:
    meter = typical_meter(Principle.FERRARIS, RATING, 3200.0)
    idle = Condition(0.0, 0.0, "1", 50.0, voltage=1.15)
    seen = measure(meter, idle, RATING)
    assert seen.seconds == pytest.approx(3000.0, rel=0.01)
    energy = seen.energy_ws[Quantity.ACTIVE]
    assert float(np.sum(energy)) < 3.6e6 / 375  # not one turn
    assert energy[-1] < 0.01 * float(np.max(energy))  # the hole is under the magnet and holds it


def test_observations_do_not_depend_on_each_other() -> None:
    meter = typical_meter(Principle.TIME_DIVISION, RATING)
    condition = Condition(5.0, 0.0, "1", 50.0)
    first = measure(meter, condition, RATING).errors[Quantity.ACTIVE].error_pct
    measure(meter, replace(condition, current_a=20.0), RATING)
    assert measure(meter, condition, RATING).errors[Quantity.ACTIVE].error_pct == first


def test_pulses_stand_where_the_register_passes_them() -> None:
    instants = pulse_instants(np.array([10.0, 20.0]), np.array([0.0, 1.0, 2.0]), 5.0)
    assert instants == pytest.approx([0.5, 1.0, 1.25, 1.5, 1.75, 2.0])
    assert pulse_instants(np.array([10.0, -1.0]), np.array([0.0, 1.0, 2.0]), 5.0).size == 0
    assert pulse_instants(np.empty(0), np.zeros(1), 5.0).size == 0


def test_the_evolution_shows_what_each_principle_is_known_for() -> None:
    from datetime import UTC, datetime

    steps: list[tuple[int, int]] = []
    measured = evolution(Size.QUICK, lambda done, total: steps.append((done, total)))
    assert steps[-1][0] == steps[-1][1] == len(steps)
    at = {
        (line.principle, line.load): dict(zip(line.current_a, line.error_pct, strict=True))
        for line in measured.lines
    }
    assert abs(at[Principle.DIGITAL, "sine"][0.5]) < 0.05
    assert at[Principle.HALL, "sine"][0.5] > 0.3 > abs(at[Principle.HALL, "sine"][5.0])
    assert at[Principle.FERRARIS, "sine"][20.0] < -0.5
    assert at[Principle.FERRARIS, "fifth_harmonic"][5.0] < -0.5
    assert at[Principle.TIME_DIVISION, "half_wave"][20.0] < -10.0
    changes = {(item.principle, item.name): item.change_pct for item in measured.influences}
    assert abs(changes[Principle.FERRARIS, "voltage +10 %"]) > 10 * abs(
        changes[Principle.DIGITAL, "voltage +10 %"]
    )
    document = evolution_document(measured, tested_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert "recalled" in document["source"]
    page = evolution_page(measured, document)
    assert page.count('class="plot narrow"') == 6
    assert "recalled; no product" in page
    assert "感应式圆盘" in evolution_page(measured, document, "zh")

"""Unbalance from phasors and from line voltages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openami.metrology.power_quality.unbalance import unbalance, unbalance_of_line_voltages
from openami.quantities.errors import MeteringError


def phasors(*polar: tuple[float, float]) -> np.ndarray:
    return np.array([size * np.exp(1j * np.radians(angle)) for size, angle in polar])


def test_the_recorded_check(shared_data: Path) -> None:
    rules = json.loads((shared_data / "metrology" / "pq_rules_and_checks.json").read_text("utf-8"))
    check = next(c for c in rules["exact_checks"] if c["name"] == "unbalance_u2")
    found = unbalance(phasors(*check["U"]))
    assert found.negative_pct == pytest.approx(check["u2_pct"], abs=1e-12)
    assert found.zero_pct == pytest.approx(check["u0_pct"], abs=1e-12)


def test_a_lost_phase_leaves_half_of_each() -> None:
    found = unbalance(phasors((230, 0), (230, -120), (0, 0)))
    assert found.negative_pct == pytest.approx(50.0)
    assert found.zero_pct == pytest.approx(50.0)


def test_nothing_has_no_unbalance() -> None:
    assert np.isnan(unbalance(np.zeros(3, complex)).negative_pct)


@given(
    angles=st.tuples(st.floats(-20, 20), st.floats(-20, 20), st.floats(-20, 20)),
    sizes=st.tuples(st.floats(200, 260), st.floats(200, 260), st.floats(200, 260)),
)
def test_line_voltages_tell_the_same_negative_sequence(
    angles: tuple[float, float, float], sizes: tuple[float, float, float]
) -> None:
    u = phasors(
        *((size, turn + angle) for size, angle, turn in zip(sizes, angles, (0, -120, 120), strict=True))
    )
    lines = np.abs(u - np.roll(u, -1))
    # the square root takes a rounding of 1e-16 to 1e-8, of percent to 1e-6
    assert unbalance_of_line_voltages(lines) == pytest.approx(float(unbalance(u).negative_pct), abs=1e-5)


@pytest.mark.parametrize("lines", [[400.0, 100.0, 100.0], [400.0, 400.0], [400.0, -400.0, 400.0]])
def test_lines_that_close_to_no_triangle_are_refused(lines: list[float]) -> None:
    with pytest.raises(MeteringError):
        unbalance_of_line_voltages(np.array(lines))


def test_two_phases_are_refused() -> None:
    with pytest.raises(MeteringError, match="three phases"):
        unbalance(np.ones(2, complex))

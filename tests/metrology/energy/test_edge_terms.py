"""The edge between samples: sums become integrals, and windows join without loss."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openami.metrology.energy.edge_terms import EDGE_COEFFICIENTS, edge_weights
from openami.metrology.energy.newton_cotes import integrate_between


def weights(a: float) -> np.ndarray:
    found = np.empty(8)
    edge_weights(a, EDGE_COEFFICIENTS, found)
    return found


@pytest.mark.parametrize(
    ("a", "expected"),
    # Gregory's and the midpoint's first terms, by hand: half a sample at a sample, none half before it.
    [(0.0, -0.5), (-0.5, 0.0), (-1.0, 0.5), (-0.25, -0.25)],
)
def test_a_constant_is_corrected_by_the_part_of_a_sample(a: float, expected: float) -> None:
    assert weights(a).sum() == pytest.approx(expected, abs=1e-15)


@given(st.floats(-1.0, 0.0), st.integers(0, 7))
def test_polynomials_up_to_the_seventh_degree_are_integrated_exactly(a: float, degree: int) -> None:
    samples = np.arange(40.0) - 20.0
    scaled = (samples / 20.0) ** degree
    begin, end = 8.0 + a, 30.0 + a / 2
    integral = (((end - 20) / 20) ** (degree + 1) - ((begin - 20) / 20) ** (degree + 1)) * 20 / (degree + 1)
    assert integrate_between(scaled, begin, end) == pytest.approx(integral, abs=1e-12)


@given(st.floats(10.0, 50.0), st.floats(60.0, 120.0), st.floats(120.5, 180.0))
def test_two_windows_are_as_much_as_one(begin: float, middle: float, end: float) -> None:
    samples = np.random.default_rng(1).normal(size=200)
    parts = integrate_between(samples, begin, middle) + integrate_between(samples, middle, end)
    assert parts == pytest.approx(integrate_between(samples, begin, end), abs=1e-12)


@pytest.mark.parametrize(("per_cycle", "limit"), [(128, 1e-12), (64, 2e-10), (32, 1e-7), (16, 1e-5)])
def test_a_sine_over_any_part_of_its_cycle(per_cycle: int, limit: float) -> None:
    omega = 2 * math.pi / per_cycle
    samples = np.sin(omega * np.arange(400))
    for begin in np.linspace(20.0, 21.0, 7):
        for end in np.linspace(300.0, 301.0, 7):
            exact = (math.cos(omega * begin) - math.cos(omega * end)) / omega
            assert integrate_between(samples, begin, end) * omega == pytest.approx(
                exact * omega, abs=limit * 8
            )

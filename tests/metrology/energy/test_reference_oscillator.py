"""The reference sine: integers, where they should be, the same on every machine."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.metrology.energy.exact_sums import REFERENCE_AMPLITUDE
from openami.metrology.energy.path_state import LEAD
from openami.metrology.energy.reference_oscillator import (
    POWERS,
    angle_of,
    cosine_and_sine,
    fill_reference,
)


def table(angle: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    cosine, sine = np.zeros((2, count + 16))
    fill_reference(angle, count, np.zeros((2, POWERS)), cosine, sine)
    return cosine[:count], sine[:count]


@settings(deadline=None)  # the first call loads the compiled code
@given(st.floats(-2.0, 2.0))
def test_cosine_and_sine(angle: float) -> None:
    cosine, sine = cosine_and_sine(angle)
    assert cosine == pytest.approx(math.cos(angle), abs=4e-16)
    assert sine == pytest.approx(math.sin(angle), abs=4e-16)


@settings(deadline=None)  # the first call loads the compiled code
@given(st.floats(-math.pi + 1e-9, math.pi), st.floats(1e-6, 1e6))
def test_angle_of_a_point(angle: float, radius: float) -> None:
    found = angle_of(radius * math.cos(angle), radius * math.sin(angle))
    assert math.remainder(found - angle, 2 * math.pi) == pytest.approx(0.0, abs=2e-15)


@pytest.mark.parametrize("angle", [1e-9, 9.99e-4, 1.001e-3, 0.02, 0.0624, 0.0626, 0.1])
def test_small_angles_of_a_wandering_frequency(angle: float) -> None:
    """On both sides of where one series takes over from another: to the last digits, and odd."""
    found = angle_of(math.cos(angle), math.sin(angle))
    assert found == pytest.approx(angle, rel=4e-16, abs=1e-17)
    assert angle_of(math.cos(angle), -math.sin(angle)) == -found


def test_angle_of_the_origin_and_the_axes() -> None:
    assert angle_of(0.0, 0.0) == 0.0
    assert angle_of(1.0, 0.0) == 0.0
    assert angle_of(-1.0, 0.0) == math.pi
    assert angle_of(0.0, -2.0) == pytest.approx(-math.pi / 2, abs=1e-15)


@pytest.mark.parametrize("hertz", [40.0, 42.5, 49.3, 50.0, 57.5, 60.0, 70.0])
@pytest.mark.parametrize("rate", [1000.0, 6400.0, 12800.0])
def test_values_are_the_nearest_integers_of_the_sine(hertz: float, rate: float) -> None:
    count = min(8192, int(10 * rate / hertz) + 16)
    angle = 2 * math.pi * hertz / rate
    cosine, sine = table(angle, count)
    phase = angle * (np.arange(count) - LEAD)
    for values, true in ((cosine, np.cos(phase)), (sine, np.sin(phase))):
        assert (values == np.rint(values)).all()
        assert np.abs(values).max() <= REFERENCE_AMPLITUDE
        assert np.abs(values - REFERENCE_AMPLITUDE * true).max() < 0.500001


def test_the_table_is_the_same_on_every_machine() -> None:
    """Pinned: a library or compiler that rounds otherwise would make other registers."""
    cosine, sine = table(2 * math.pi * 49.3 / 6400, 1320)
    digest = hashlib.sha256(np.concatenate([cosine, sine]).astype("<i4").tobytes()).hexdigest()
    assert digest == "e423c8c4db1ff4f8fe6832ff80076cbf6efe74132cd5ab3ea73ab41386cb122f"

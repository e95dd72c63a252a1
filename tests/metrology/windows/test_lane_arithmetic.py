"""Vector values in compiled loops: what is read, kept and added up is what plain arithmetic says."""

import numpy as np
import pytest
from numba import njit

from openami.metrology.windows.lanes import (
    DOUBLES,
    LANES,
    first_of,
    load,
    load_doubles,
    splat_double,
    store_doubles,
    total,
)


@njit
def sum_of_squares(x, first, count):
    found = splat_double(0.0)
    for k in range(0, count, DOUBLES):
        value = first_of(load_doubles(x, first + k), count - k)
        found = found + value * value
    return total(found)


@njit
def sum_of_lanes(x, first):
    return total(load(x, first))


@njit
def copied(x, out):
    store_doubles(out, 0, load_doubles(x, 0))


@pytest.mark.parametrize("count", range(2 * DOUBLES + 2))
@pytest.mark.parametrize("kind", [np.int32, np.float64])
def test_a_sum_of_squares_takes_exactly_the_samples_it_was_told(kind, count):
    x = (2**23 - 1 - 3 * np.arange(40)).astype(kind)  # their squares add up exactly
    exact = sum(int(value) ** 2 for value in x[5 : 5 + count])
    assert sum_of_squares(x, 5, count) == exact


def test_what_lies_behind_the_last_sample_does_not_matter_even_when_it_is_no_number():
    x = np.full(24, np.nan)
    x[:11] = np.arange(11.0)
    assert sum_of_squares(x, 0, 11) == 385.0


def test_lanes_are_added_halves_to_halves():
    x = np.zeros(LANES + 3, np.float32)
    x[3:] = [2.0**24, 1.0, 0, 0, 0, 0, 0, 0, -(2.0**24), 0, 0, 0, 0, 0, 0, 0]
    assert sum_of_lanes(x, 3) == 1.0  # one by one from the left the one would be lost
    ascending = np.arange(LANES + 3, dtype=np.float32)
    assert sum_of_lanes(ascending, 3) == sum(range(3, LANES + 3))


def test_int32_becomes_float64_without_rounding():
    x = np.array([2**31 - 1, -(2**31), 1, -1, 2**24 + 1, 0, 7, -7], np.int32)
    out = np.empty(DOUBLES)
    copied(x, out)
    assert (out == x).all()

"""The numerical parts by themselves: fractional sums, interpolation kernel, transform over lanes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.metrology.windows.fourier import transform, transform_lanes
from openami.metrology.windows.fractional_sums import edge_polynomials, window_sums
from openami.metrology.windows.lane_spectra import LaneSpectra, aligned
from openami.metrology.windows.lanes import LANES
from openami.metrology.windows.resampling import (
    TAPS,
    inverse_response,
    kernel_table,
    resample,
    response,
    valid_bins,
)
from openami.quantities.errors import MeteringError


def mean_square(x: np.ndarray, start: float, end: float) -> float:
    u_square, i_square, product = (np.empty((1, 1)) for _ in range(3))
    sample = np.array([int(start)])
    window_sums(
        x[None],
        x[None],
        sample,
        np.array([start]) - sample,
        np.array([end - start]),
        u_square,
        i_square,
        product,
    )
    assert u_square[0, 0] == i_square[0, 0] == pytest.approx(product[0, 0], rel=1e-15)
    return float(product[0, 0])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 4), st.floats(20, 60), st.floats(0.01, 100))
def test_squares_of_polynomials_are_integrated_exactly_between_any_edges(
    degree: int, start: float, length: float
) -> None:
    x = ((np.arange(200.0) - 90) / 40) ** degree
    begin, end = (start - 90) / 40, (start + length - 90) / 40
    exact = 40 * (end ** (2 * degree + 1) - begin ** (2 * degree + 1)) / (2 * degree + 1) / length
    # a short window is the difference of two sums over everything before its edges
    assert mean_square(x, start, start + length) == pytest.approx(exact, rel=1e-9, abs=1e-9 / length)


@settings(max_examples=40, deadline=None)
@given(st.integers(80, 320), st.integers(360, 640), st.integers(680, 960))
def test_windows_that_share_an_edge_share_no_energy_and_lose_none(a: int, b: int, c: int) -> None:
    x = np.random.default_rng(5).normal(size=200)
    a_at, b_at, c_at = (edge / 8 + 0.05 for edge in (a, b, c))
    parts = mean_square(x, a_at, b_at) * (b_at - a_at) + mean_square(x, b_at, c_at) * (c_at - b_at)
    assert parts == pytest.approx(mean_square(x, a_at, c_at) * (c_at - a_at), rel=1e-12)


def test_edge_weights_sum_to_what_lies_before_the_edge() -> None:
    weights = np.linspace(0, 1, 11)[:, None] ** np.arange(11) @ edge_polynomials()
    assert weights.sum(axis=1) == pytest.approx(4.5 + np.linspace(0, 1, 11), abs=1e-12)


def test_response_of_the_kernel_is_its_closed_form() -> None:
    """Mean over all places of what the tabulated weights leave of a tone."""
    table = kernel_table()
    place = (np.arange(256 * 8) + 0.5) / 8
    row = place.astype(int)
    weights = table[row] + (place - row)[:, None] * (table[row + 1] - table[row])
    for nu in (0.0, 1 / 128, 0.1, 0.25, 0.39, 0.4499):
        taps = np.arange(TAPS) - 4
        got = (weights @ np.exp(2j * np.pi * nu * taps)) * np.exp(-2j * np.pi * nu * place / 256)
        assert got.mean().real == pytest.approx(float(response(np.array(nu))), rel=2e-7)
        limit = {0.0: 1e-7, 1 / 128: 1e-7, 0.1: 1e-6, 0.25: 4e-6, 0.39: 3e-5, 0.4499: 1.5e-3}[nu]
        assert np.abs(got / got.mean() - 1).max() < limit


def test_the_inverse_response_is_its_inverse_up_to_the_end_of_the_pass_band() -> None:
    step = np.array([1 / 1298.17, 1 / 1506.0])
    inverse = inverse_response(step, 700)
    valid = valid_bins(step, 700)
    for row, count, one in zip(inverse, valid, step, strict=True):
        assert row[:count] * response(np.arange(count) * one) == pytest.approx(np.ones(count), rel=1e-8)
        assert (row[count:] == 0).all()
        assert (count - 1) * one < 0.45 <= count * one


def test_a_tone_between_samples_is_found_at_its_place() -> None:
    nu = 0.0371
    x = np.cos(2 * np.pi * nu * np.arange(400))[None]
    points = resample(x, np.array([50]), np.array([0.37]), np.array([123.4]), 64)[0, 0]
    places = 50.37 + 123.4 / 64 * np.arange(64)
    assert points / float(response(np.array(nu))) == pytest.approx(np.cos(2 * np.pi * nu * places), abs=3e-7)


@pytest.mark.parametrize("points", [16, 32, 64, 128, 1024, 2048, 8192])
def test_the_transform_over_lanes_is_the_fourier_transform(points: int) -> None:
    size = points // 2
    rows = np.random.default_rng(points).normal(size=(2 * size, LANES)).astype(np.float32)
    x, y = aligned(rows.size), aligned(rows.size)
    x[:] = rows.ravel()
    result = transform_lanes(x, y, transform(points)).reshape(size, 2, LANES)
    expected = np.fft.fft(rows[0::2].astype(float) + 1j * rows[1::2], axis=0)
    error = np.abs(result[:, 0] + 1j * result[:, 1].astype(float) - expected)
    assert error.max() < 3e-7 * np.abs(expected).max()


def test_lanes_do_not_see_each_other() -> None:
    """Garbage in the other channels, and in the window beside, changes no bit."""
    rng = np.random.default_rng(1)
    u = rng.normal(size=(3, 4000))
    i = rng.normal(size=(3, 4000))
    spectra = LaneSpectra(1024, 1300, np.ones(3), np.ones(3))
    place = np.array([100, 1400]), np.array([0.3, 0.7]), np.array([1298.2, 1280.1])
    quiet, _ = spectra(u, i, *place)
    i *= 1e30
    u[1] *= 1e-30
    u[:, 1400 + 1300 :] = 1e38
    loud, _ = spectra(u, i, *place)
    assert loud[:, 0].tobytes() == quiet[:, 0].tobytes()
    assert loud[0, 2].tobytes() == quiet[0, 2].tobytes()
    with pytest.raises(MeteringError, match="up to 1300"):
        spectra(u, i, np.array([100]), np.array([0.0]), np.array([1300.5]))

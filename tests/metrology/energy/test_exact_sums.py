"""Sums of samples are the exact integers, at the limits of the converter and for any cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.metrology.energy.compiled import kernel
from openami.metrology.energy.exact_sums import (
    COLUMNS,
    PIECE,
    REFERENCE_AMPLITUDE,
    SAMPLE_LIMIT,
    add_by_class,
    add_cross_products,
    add_products,
)

added = kernel(lambda u, i, first, last, c, s, at, sums: add_products(u, i, first, last, c, s, at, sums))


def exact(u: np.ndarray, i: np.ndarray, cosine: np.ndarray, sine: np.ndarray) -> list[int]:
    """The columns of one phase in Python's unbounded integers."""
    x, y = u.tolist(), i.tolist()
    c, s = (np.rint(values).astype(int).tolist() for values in (cosine, sine))
    pairs = ((x, x), (y, y), (x, y), (x, c), (x, s), (y, c), (y, s))
    sums = [sum(a * b for a, b in zip(left, right, strict=True)) for left, right in pairs]
    return [*sums, max(map(abs, x), default=0), max(map(abs, y), default=0)]


def reference(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple(
        rng.integers(-REFERENCE_AMPLITUDE, REFERENCE_AMPLITUDE, count, endpoint=True).astype(float)
        for _ in range(2)
    )


@pytest.mark.parametrize(
    "count", [0, 1, 15, 16, 17, 31, 32, 33, 1280, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 7]
)
def test_every_length_sums_exactly(count: int) -> None:
    rng = np.random.default_rng(count)
    u, i = rng.integers(-SAMPLE_LIMIT, SAMPLE_LIMIT, (2, 3, count), dtype=np.int32, endpoint=True)
    c, s = reference(count)
    sums = np.zeros(3 * COLUMNS, np.int64)
    added(u, i, 0, count, c, s, 0, sums)
    for phase in range(3):
        assert sums[phase * COLUMNS : (phase + 1) * COLUMNS].tolist() == exact(u[phase], i[phase], c, s)


@pytest.mark.parametrize(("u_level", "i_level"), [(1, 1), (1, -1), (-1, -1)])
def test_full_scale_for_whole_pieces_is_still_exact(u_level: int, i_level: int) -> None:
    """All 2^23: each lane reaches the 2^53 of the bound, and no more."""
    count = 2 * PIECE
    u = np.full((1, count), u_level * SAMPLE_LIMIT, np.int32)
    i = np.full((1, count), i_level * SAMPLE_LIMIT, np.int32)
    c = np.full(count, float(REFERENCE_AMPLITUDE))
    sums = np.zeros(COLUMNS, np.int64)
    added(u, i, 0, count, c, -c, 0, sums)
    square, turned = count << 46, count << 42
    assert sums.tolist() == [
        square, square, u_level * i_level * square, u_level * turned, -u_level * turned,
        i_level * turned, -i_level * turned, SAMPLE_LIMIT, SAMPLE_LIMIT,
    ]  # fmt: skip


@settings(max_examples=60)
@given(st.lists(st.integers(0, 400), max_size=8), st.integers(0, 2**32 - 1))
def test_any_cut_gives_the_same_sums(cuts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    u, i = rng.integers(-SAMPLE_LIMIT, SAMPLE_LIMIT, (2, 1, 400), dtype=np.int32, endpoint=True)
    c, s = reference(400, seed)
    whole, pieces = np.zeros((2, COLUMNS), np.int64)
    added(u, i, 0, 400, c, s, 0, whole)
    marks = [0, *sorted(cuts), 400]
    for first, last in pairwise(marks):
        added(u, i, first, last, c, s, first, pieces)
    assert pieces.tolist() == whole.tolist()


def test_peaks_are_right_for_any_int32() -> None:
    u = np.zeros((1, 40), np.int32)
    i = np.zeros((1, 40), np.int32)
    u[0, 39], i[0, 3] = -(2**31), 2**31 - 1
    c, s = reference(40)
    sums = np.zeros(COLUMNS, np.int64)
    added(u, i, 0, 40, c, s, 0, sums)
    assert sums[-2:].tolist() == [2**31, 2**31 - 1]


def test_samples_outside_the_piece_are_not_read_into_it() -> None:
    u = np.full((1, 100), 7, np.int32)
    u[0, 20:57] = 1
    c = np.ones(100)
    sums = np.zeros(COLUMNS, np.int64)
    added(u, u, 20, 57, c, c, 0, sums)
    assert sums.tolist() == [37, 37, 37, 37, 37, 37, 37, 1, 1]


def test_cross_products_and_classes() -> None:
    rng = np.random.default_rng(5)
    u, i = rng.integers(-SAMPLE_LIMIT, SAMPLE_LIMIT, (2, 3, 130), dtype=np.int32)
    cross = np.zeros(3, np.int64)
    add_cross_products(u, 10, 130, cross)
    wide = u[:, 10:].astype(np.int64)
    assert cross.tolist() == [(wide[k] * wide[(k + 1) % 3]).sum() for k in range(3)]
    classes = np.zeros((3, 12), np.int64)
    add_by_class(u, i, 0, 70, 5, classes)
    add_by_class(u, i, 70, 130, (5 + 70) % 12, classes)
    products = u.astype(np.int64) * i
    for k in range(12):
        assert classes[:, (5 + k) % 12].tolist() == products[:, k::12].sum(axis=1).tolist()

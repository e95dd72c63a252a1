"""The compiled kernel says what a plain reading of the rules says, and what SQL says."""

from __future__ import annotations

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.mdm.vee.checks import Check, check_names
from openami.mdm.vee.kernel import (
    ABSENT,
    UNKNOWN,
    UNLIMITED,
    distribute,
    linear_fill,
    runs,
    screen_days,
    spike_limit,
    zero_run_lengths,
)
from openami.quantities.errors import ValidationError

Counts = npt.NDArray[np.int64]

value = st.one_of(st.none(), st.integers(-20, 60), st.integers(0, 5000))


@st.composite
def day_rows(draw: st.DrawFn) -> list[tuple[list[int | None], int | None, int, int | None]]:
    """(values, advance, tolerance, ceiling) of days of different length."""
    rows = []
    for _ in range(draw(st.integers(1, 5))):
        values = draw(st.lists(value, min_size=1, max_size=100))
        total = sum(item for item in values if item is not None)
        advance = draw(st.one_of(st.none(), st.integers(-4, 4).map(lambda error, total=total: total + error)))
        rows.append(
            (values, advance, draw(st.integers(0, 3)), draw(st.one_of(st.none(), st.integers(0, 4000))))
        )
    return rows


def plain_reading(
    values: list[int | None], advance: int | None, tolerance: int, ceiling: int | None, ratio: float
) -> tuple[Check, int, int]:
    """The rules in the order of the table of checks, one value at a time."""
    there = [item for item in values if item is not None]
    bits = Check.NONE
    if len(there) < len(values):
        bits |= Check.GAP
    if any(item < 0 for item in there):
        bits |= Check.NEGATIVE
    if ceiling is not None and any(item > ceiling for item in there):
        bits |= Check.CAPACITY
    if advance is not None:
        error = sum(there) - advance
        complete = len(there) == len(values)
        if error > tolerance or (complete and error < -tolerance):
            bits |= Check.REGISTER_SUM
    ranked = sorted((item for item in there if item >= 0), reverse=True)
    if bits and len(ranked) >= 3:
        highest, third = ranked[0], ranked[2]
        if highest > 0 and (third == 0 or (highest - third) / third > ratio):
            bits |= Check.SPIKE
    return bits, sum(there), len(values) - len(there)


@given(day_rows())
@settings(max_examples=300, deadline=None)
def test_screening_agrees_with_a_plain_reading_of_the_rules(
    rows: list[tuple[list[int | None], int | None, int, int | None]],
) -> None:
    ratio = 2.0  # exact in binary, so that both divide and multiply alike
    flat = np.array([ABSENT if item is None else item for row in rows for item in row[0]], np.int64)
    offsets = np.cumsum([0] + [len(row[0]) for row in rows]).astype(np.int64)
    screening = screen_days(
        flat,
        offsets,
        np.array([UNKNOWN if row[1] is None else row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.int64),
        np.array([UNLIMITED if row[3] is None else row[3] for row in rows], np.int64),
        np.full(len(rows), ratio),
    )
    for index, row in enumerate(rows):
        bits, total, absent = plain_reading(*row, ratio)
        assert check_names(int(screening.bits[index])) == check_names(bits)
        assert (screening.sums[index], screening.absent[index]) == (total, absent)


def test_screening_agrees_with_sql() -> None:
    """20,000 meter-days with gaps and spikes: the same days fail gap and sum in DuckDB."""
    rng = np.random.default_rng(20)
    rows = 20_000
    values = rng.integers(0, 400, (rows, 96))
    advance = values.sum(axis=1) + rng.choice([0, 0, 0, 2, -2, 3, -3], rows)
    spiked = rng.random(rows) < 0.02
    values[spiked, rng.integers(0, 96, spiked.sum())] += 9000
    values[rng.random((rows, 96)) < 0.0005] = ABSENT
    limits = np.full(rows, 2, np.int64), np.full(rows, UNLIMITED, np.int64), np.full(rows, 1.8)
    offsets = np.arange(0, rows * 96 + 1, 96)
    screening = screen_days(values.ravel(), offsets, advance, *limits)

    flat = values.ravel()
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(flat, mask=flat == ABSENT))
    connection = duckdb.connect()
    connection.register("days", pa.table({"row": np.arange(rows), "advance": advance, "v": lists}))
    found = connection.execute(
        """
        SELECT list_count(v) < 96 AS gap, list_sum(v) AS total,
            list_sum(v) - advance > 2 OR (list_count(v) = 96 AND advance - list_sum(v) > 2) AS bad
        FROM days ORDER BY row
        """
    ).fetchnumpy()
    assert np.array_equal(screening.sums, found["total"].astype(np.int64))
    assert np.array_equal(screening.bits & Check.GAP != 0, found["gap"])
    assert np.array_equal(screening.bits & Check.REGISTER_SUM != 0, found["bad"])
    assert 500 < int(found["gap"].sum()) < 2000
    assert (screening.bits[spiked] & Check.SPIKE != 0).all()


@pytest.mark.parametrize(
    ("day", "limit"),
    [
        ([10, 9, 8, 7], 8 * 2.8),
        ([5, 5, 5, 100], 5 * 2.8),
        ([0, 0, 0, 100], 0.0),
        ([1, 2], np.inf),
        ([ABSENT, 4, -3, 6, 5], 4 * 2.8),
    ],
)
def test_spike_limit_is_from_the_third_highest(day: list[int], limit: float) -> None:
    assert spike_limit(np.array(day, np.int64), 1.8) == pytest.approx(limit)


@given(
    st.integers(0, 10**9),
    st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=200).filter(
        lambda w: max(w) > 1e-3
    ),
)
@settings(max_examples=300, deadline=None)
def test_distribution_is_exact_proportional_and_never_negative(total: int, weights: list[float]) -> None:
    reals = np.array(weights)
    shares = distribute(total, reals)
    assert int(shares.sum()) == total
    assert (shares >= 0).all()
    exact = total * reals / reals.sum()
    assert (np.abs(shares - exact) <= 1.001 + total * 1e-5).all()


def test_distribution_gives_the_last_units_to_the_largest_remainders() -> None:
    assert distribute(10, np.array([1.0, 1.0, 1.0])).tolist() == [4, 3, 3]
    assert distribute(100, np.array([1.0, 2.0, 4.0])).tolist() == [14, 29, 57]
    assert distribute(0, np.array([1.0, 2.0])).tolist() == [0, 0]


def test_distribution_of_an_absurd_total_is_refused() -> None:
    with pytest.raises(ValidationError, match="too many to distribute"):
        distribute(2**61, np.ones(96))


@given(st.lists(st.booleans(), max_size=60))
def test_runs_cover_exactly_what_is_true(mask: list[bool]) -> None:
    starts, ends = runs(np.array(mask, bool))
    covered = [index for start, end in zip(starts, ends, strict=True) for index in range(start, end)]
    assert covered == [index for index, item in enumerate(mask) if item]
    assert all(end < start for end, start in zip(ends, starts[1:], strict=False))


def test_linear_fill_needs_an_anchor() -> None:
    values = np.array([100, 0, 0, 400, 0, 50], np.int64)
    estimate = np.zeros(6)
    starts, ends = np.array([1, 4], np.int64), np.array([3, 5], np.int64)
    anchor = np.array([True, False, False, True, False, False])
    assert linear_fill(values, anchor, starts, ends, estimate).tolist() == [True, True]
    assert estimate[[1, 2, 4]].tolist() == [200.0, 300.0, 400.0]
    nobody = np.zeros(6, bool)
    assert linear_fill(values, nobody, starts, ends, estimate).tolist() == [False, False]


def test_zero_runs_are_broken_by_what_cannot_be_counted() -> None:
    values = np.array([0, 0, 5, 0, 0, 0], np.int64)
    countable = np.array([True, True, True, True, False, True])
    assert zero_run_lengths(values, countable).tolist() == [1, 2, 0, 1, 0, 1]

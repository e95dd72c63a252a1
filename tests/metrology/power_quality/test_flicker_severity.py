"""Block 5: percentiles of the classifier, Pst from them, Plt of twelve."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.metrology.power_quality.flicker import PinstColumns
from openami.metrology.power_quality.flicker_severity import (
    EXCEEDED_PERCENT,
    PstClassifier,
    class_edges,
    percentiles_of_counts,
    plt,
    pst_of_percentiles,
)
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
WIDEST_CLASS = 1 / 128


def columns(pinst: F64, settled: npt.NDArray[np.bool_] | None = None) -> PinstColumns:
    rows = np.atleast_2d(pinst)
    trusted = np.ones(rows.shape, np.bool_) if settled is None else np.atleast_2d(settled)
    return PinstColumns(np.arange(rows.shape[1]) * 16, rows, trusted)


def test_classes_are_less_than_one_percent_wide_and_span_the_range_of_the_standard() -> None:
    edges = class_edges()

    assert np.diff(edges).min() > 0
    assert (np.diff(edges) / edges[:-1]).max() == WIDEST_CLASS
    assert edges[0] < 1e-5  # Pst of 0.003
    assert edges[-1] > 1e9


@settings(deadline=None)
@given(st.integers(0, 2**32), st.floats(-4, 4), st.floats(0, 3))
def test_percentiles_are_those_of_the_sorted_values(seed: int, centre: float, spread: float) -> None:
    values = np.exp(np.random.default_rng(seed).normal(centre, spread, 20_000)).clip(2e-6, 5e8)
    classifier = PstClassifier()
    classifier.add(columns(values))

    levels = classifier.close().percentiles[0]

    # Inverted cumulative distribution: the smallest value with at least that part at or below it.
    wanted = np.quantile(values, 1 - np.array(EXCEEDED_PERCENT) / 100, method="inverted_cdf")
    np.testing.assert_allclose(levels, wanted, rtol=1.01 * WIDEST_CLASS)


def test_pst_of_a_constant_level_is_the_root_of_half_of_it() -> None:
    """The weights of the five percentiles add up to 0.5096."""
    classifier = PstClassifier()
    classifier.add(columns(np.full(240_000, 2.0)))

    severity = classifier.close()

    assert severity.pst[0] == pytest.approx(np.sqrt(0.5096 * 2.0), rel=WIDEST_CLASS)
    assert severity.counted[0] == 240_000
    assert severity.largest[0] == 2.0


def test_pst_of_given_percentiles_is_the_formula_of_the_standard() -> None:
    """P0.1 = 15, P0.7..1.5 = 14, 13, 12, P2.2..4 = 11, 10, 9, P6..17 = 8..4, P30..80 = 3, 2, 1."""
    levels = np.arange(15.0, 0.0, -1.0)

    expected = np.sqrt(0.0314 * 15 + 0.0525 * 13 + 0.0657 * 10 + 0.28 * 6 + 0.08 * 2)
    assert pst_of_percentiles(levels) == pytest.approx(expected, rel=1e-14)


def test_only_settled_values_are_counted_and_nothing_counted_is_not_zero() -> None:
    values = np.vstack((np.r_[np.full(100, 1e6), np.full(900, 1.0)], np.full(1000, 1.0)))
    settled = np.vstack((np.arange(1000) >= 100, np.zeros(1000, np.bool_)))
    classifier = PstClassifier(2)
    classifier.add(columns(values, settled))

    severity = classifier.close()

    assert severity.counted.tolist() == [900, 0]
    assert severity.pst[0] == pytest.approx(np.sqrt(0.5096), rel=WIDEST_CLASS)
    assert np.isnan(severity.pst[1])
    assert np.isnan(severity.percentiles[1]).all()


def test_an_interval_begins_empty_and_pieces_add_up() -> None:
    values = np.random.default_rng(4).gamma(2.0, 1.0, 5000)
    whole, pieces = PstClassifier(), PstClassifier()
    whole.add(columns(values))
    stream = columns(np.r_[np.full(10, 50.0), values, np.full(10, 50.0)])
    pieces.add(stream, 0, 10)
    first = pieces.close()
    pieces.add(stream, 10, 2000)
    pieces.add(stream, 2000, 5010)

    assert first.counted[0] == 10
    assert np.array_equal(pieces.close().percentiles, whole.close().percentiles)


def test_values_beyond_the_classes_count_in_the_outermost() -> None:
    classifier = PstClassifier()
    classifier.add(columns(np.array([0.0, 1e-300, 1e300])))

    levels = classifier.close().percentiles[0]

    edges = class_edges()
    assert edges[-2] <= levels[0] <= edges[-1]
    assert edges[0] <= levels[-1] <= edges[1]


@pytest.mark.parametrize("counts", [np.zeros((2, class_edges().size - 1), np.int64)])
def test_percentiles_of_nothing_are_missing(counts: npt.NDArray[np.int64]) -> None:
    assert np.isnan(percentiles_of_counts(counts)).all()


def test_plt_of_eleven_ones_and_a_two(shared_data: Path) -> None:
    file = shared_data / "metrology" / "pq_rules_and_checks.json"
    check = next(c for c in json.loads(file.read_text())["exact_checks"] if c["name"] == "Plt")

    assert plt(np.array(check["Pst12"], np.float64)) == pytest.approx(check["Plt"], rel=1e-15)
    assert plt(np.array([1.0] * 11 + [2.0])) == pytest.approx((19 / 12) ** (1 / 3), rel=1e-15)


def test_plt_with_a_missing_interval_is_missing() -> None:
    severities = np.ones((2, 12))
    severities[1, 7] = np.nan

    long_term = plt(severities)

    assert long_term[0] == pytest.approx(1.0, rel=1e-15)
    assert np.isnan(long_term[1])


@pytest.mark.parametrize(
    "severities", [np.ones(11), np.ones((12, 3)), np.array(1.0), np.r_[np.ones(11), -0.1]]
)
def test_plt_of_anything_but_twelve_severities_is_refused(severities: F64) -> None:
    with pytest.raises(MeteringError, match="severity"):
        plt(severities)


def test_a_classifier_of_other_phases_refuses() -> None:
    with pytest.raises(MeteringError, match="2 phases"):
        PstClassifier(3).add(columns(np.ones((2, 4))))
    with pytest.raises(MeteringError, match="0 phases"):
        PstClassifier(0)

"""Money is exact until a rounding rule is applied, and each rule does what it says."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openami.quantities.errors import QuantityError
from openami.quantities.money import (
    Exact,
    Rounding,
    RoundingRule,
    money_of_text,
    money_text,
    parse_decimal,
    readable,
)

fractions = st.fractions(min_value=-(10**12), max_value=10**12, max_denominator=10**9)
columns = st.lists(fractions, min_size=1, max_size=5)


def one(value: Fraction | Decimal, rule: RoundingRule, digits: int) -> Fraction:
    return Rounding(rule, digits).apply(Exact.of([value])).fraction(0)


@pytest.mark.parametrize(
    ("value", "half_up", "half_even", "down", "up"),
    [
        ("0.125", "0.13", "0.12", "0.12", "0.13"),
        ("-0.125", "-0.13", "-0.12", "-0.12", "-0.13"),
        ("0.135", "0.14", "0.14", "0.13", "0.14"),
        ("0.1349", "0.13", "0.13", "0.13", "0.14"),
        ("-0.1301", "-0.13", "-0.13", "-0.13", "-0.14"),
        ("7", "7", "7", "7", "7"),
        ("0", "0", "0", "0", "0"),
    ],
)
def test_rounding_rules(value: str, half_up: str, half_even: str, down: str, up: str) -> None:
    number = Decimal(value)
    assert one(number, RoundingRule.HALF_UP, 2) == Fraction(half_up)
    assert one(number, RoundingRule.HALF_EVEN, 2) == Fraction(half_even)
    assert one(number, RoundingRule.DOWN, 2) == Fraction(down)
    assert one(number, RoundingRule.UP, 2) == Fraction(up)
    assert one(number, RoundingRule.NONE, 2) == Fraction(value)


def test_rounding_to_tens_and_to_the_step_of_nickels_is_by_digits_only() -> None:
    assert one(Fraction(1255), RoundingRule.HALF_UP, -1) == 1260
    assert one(Fraction(1255), RoundingRule.HALF_EVEN, -1) == 1260
    assert one(Fraction(1245), RoundingRule.HALF_EVEN, -1) == 1240
    with pytest.raises(QuantityError):
        Rounding(RoundingRule.UP, 99)


@given(columns, st.sampled_from(RoundingRule), st.integers(-3, 6))
def test_rounding_moves_by_less_than_a_step(values: list[Fraction], rule: RoundingRule, digits: int) -> None:
    rounded = Rounding(rule, digits).apply(Exact.of(values)).fractions()
    step = Fraction(10) ** -digits
    for before, after in zip(values, rounded, strict=True):
        assert abs(after - before) < step
        assert rule is RoundingRule.NONE or (after / step).denominator == 1


@given(st.lists(st.tuples(fractions, fractions), min_size=1, max_size=4))
def test_columns_compute_as_fractions_do(pairs: list[tuple[Fraction, Fraction]]) -> None:
    left, right = Exact.of(a for a, _ in pairs), Exact.of(b for _, b in pairs)
    ratio = left.over(right)
    assert (left + right).fractions() == [a + b for a, b in pairs]
    assert (left - right).fractions() == [a - b for a, b in pairs]
    assert (left * right).fractions() == [a * b for a, b in pairs]
    assert (ratio + left).fractions() == [(a / b if b else 0) + a for a, b in pairs]
    assert ratio.fractions() == [a / b if b else 0 for a, b in pairs]
    assert left.minimum(right).fractions() == [min(a, b) for a, b in pairs]
    assert ratio.maximum(right).fractions() == [max(a / b if b else 0, b) for a, b in pairs]
    assert left.between(Fraction(1, 3), Fraction(7)).fractions() == [
        min(max(a - Fraction(1, 3), 0), Fraction(20, 3)) for a, _ in pairs
    ]


@given(fractions)
def test_text_of_an_amount_is_reversible(amount: Fraction) -> None:
    assert money_of_text(money_text(amount)) == amount


def test_text_of_an_amount_is_plain_decimal_where_it_ends() -> None:
    assert [money_text(Fraction(text)) for text in ("12", "-0.5", "0.00975", "0", "1/3")] == [
        "12.00", "-0.50", "0.00975", "0.00", "1/3",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "1/0", "x", "1,5"])
def test_what_is_not_an_amount_is_refused(text: str) -> None:
    with pytest.raises(QuantityError):
        money_of_text(text)


@pytest.mark.parametrize("text", ["", "NaN", "Infinity", "1e", "0x1"])
def test_a_price_is_a_finite_decimal(text: str) -> None:
    with pytest.raises(QuantityError, match="charge 1"):
        parse_decimal(text, "charge 1")


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (Fraction(35), "35.00"),
        (Fraction(161691, 1000), "161.691"),
        (Fraction(18685449, 31000), "≈602.756"),
        (Fraction(-1, 3), "≈-0.333"),
        (Fraction(1, 10**7), "≈0.000"),
    ],
)
def test_amounts_for_people_are_exact_or_say_that_they_are_not(amount: Fraction, expected: str) -> None:
    assert readable(amount) == expected

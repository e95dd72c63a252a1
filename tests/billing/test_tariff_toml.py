"""A tariff that contradicts itself is refused, with every fault and its place at once."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.billing.packaged import packaged_names, packaged_tariff
from openami.billing.power_factor import china_table, hundredths, stepped_table
from openami.billing.tariff import Tariff
from openami.quantities.errors import TariffError

HEAD = """
id = "t"
currency = "EUR"
zone = "Europe/Berlin"
valid_from = 2026-01-01
rounding = "half_up 2"
"""
ENERGY = '[[charges]]\nname = "energy"\nkind = "energy"\n'


def faults_of(text: str) -> str:
    with pytest.raises(TariffError) as caught:
        Tariff.from_toml(text)
    return str(caught.value)


def test_packaged_tariffs_load() -> None:
    assert packaged_names() == ["household_tiered", "household_tou", "pv_net", "shop_demand"]
    for name in packaged_names():
        tariff = Tariff.from_toml(packaged_tariff(name))
        assert (tariff.tariff_id, tariff.currency, tariff.zone) == (name, "EUR", "Europe/Berlin")
        assert len(tariff.sha256) == 64
    with pytest.raises(TariffError, match="no example tariff 'x'"):
        packaged_tariff("x")


def test_all_faults_are_listed_at_once() -> None:
    text = faults_of(
        """
id = "t"
zone = "Mars/Olympus"
valid_from = "soon"
colour = "green"
[[charges]]
name = "energy"
kind = "energy"
calendar = "tou"
price = "0,30"
[[charges]]
name = "tax"
kind = "percent"
percent = "19"
of = ["nothing"]
typo = 3
[[charges]]
name = "moon"
kind = "lunar"
"""
    )
    for fault in (
        "unknown time zone 'Mars/Olympus'",
        "tariff: field 'currency' is missing",
        "tariff: valid_from = 'soon' is not a date",
        "tariff: unknown field 'colour'",
        "charge 1 (energy): unknown calendar 'tou' (expected: flat)",
        "charge 1 (energy), price: '0,30' is not a number",
        "charge 1 (energy): no rounding",
        "charge 2 (tax): unknown field 'typo'",
        "charge 3 (moon): kind = 'lunar' is not known",
    ):
        assert fault in text


def test_a_hole_in_the_calendar_is_named() -> None:
    text = faults_of(
        HEAD
        + """
[calendars.tou]
day_types.workday = ["Mon", "Tue", "Wed", "Thu", "Fri"]
day_types.weekend = ["Sat", "Sun"]
[[calendars.tou.rates]]
rate = "day"
day_types = ["workday"]
hours = ["06:00-22:00"]
[[calendars.tou.rates]]
rate = "night"
day_types = ["weekend"]
"""
        + ENERGY
        + 'calendar = "tou"\nprices = { day = "1", night = "1" }\n'
    )
    assert (
        "calendar 'tou': no rate for season 'all year' (all months), day type 'workday', 00:00-06:00" in text
    )
    assert "day type 'workday', 22:00-24:00" in text


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('tiers = { per = "month", steps = [{ up_to = "200", price = "1" }, { up_to = "100", price = "2" }, '
         '{ price = "3" }] }', "charge 'energy': tier up to 100 does not lie above 200"),
        ('tiers = { per = "month", steps = [{ up_to = "200", price = "1" }, { up_to = "300", '
         'price = "2" }] }', "steps 2: the last tier is open: no up_to"),
        ('tiers = { per = "month", steps = [] }', "tiers without steps"),
        ('tiers = { per = "moon", steps = [{ price = "1" }] }', "per = 'moon' is not known"),
        ('tiers = { per = "days", steps = [{ up_to = "1", price = "1" }, { price = "1" }] }',
         "tiers per days without the number of days"),
        ('price = "1"\nprices = { all = "1" }', "needs either price or prices"),
        ('prices = { all = "1", peak = "2" }', "unknown field 'peak'"),
        ('prices = { peak = "2" }', "field 'all' is missing"),
        ('price = true', "price = True is not a number"),
        ('price = "NaN"', "'NaN' is not finite"),
        ('price = "1"\nchannels = ["1-0:x"]', "'1-0:x' is not an OBIS code"),
        ('price = "1"\nrounding = "half_down 2"', "is no rounding"),
        ('price = "1"\nnet = { interval = "week", price = "0" }', "interval = 'week' is not known"),
        ('price = "1"\nlosses = { load_w = "3" }', "load losses without the rated power"),
        ('price = "1"\nlosses = { percent = "3", copper = "1" }', "losses: unknown field 'copper'"),
        ('tiers = { per = "day", interaction = "chronological", steps = [{ up_to = "1", price = "1" }, '
         '{ price = "1" }] }', "no order of time between days"),
    ],
)  # fmt: skip
def test_contradictions_name_their_charge(body: str, fault: str) -> None:
    text = faults_of(HEAD + ENERGY + body)
    assert fault in text
    assert "energy" in text


def test_a_base_must_stand_before_what_is_computed_from_it() -> None:
    tax = '[[charges]]\nname = "tax"\nkind = "percent"\npercent = "19"\nof = ["energy"]\n'
    assert "charge 'tax': its base 'energy' is not a charge before it" in faults_of(
        HEAD + tax + ENERGY + 'price = "1"'
    )
    assert "the name is used twice" in faults_of(HEAD + (ENERGY + 'price = "1"\n') * 2)


@given(st.text(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_text_loads_or_is_a_tariff_error(text: str) -> None:
    with suppress(TariffError):
        Tariff.from_toml(text)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_tariff_loads_or_is_a_tariff_error(data: st.DataObject) -> None:
    lines = packaged_tariff(data.draw(st.sampled_from(packaged_names()))).splitlines()
    index = data.draw(st.integers(0, len(lines) - 1))
    change = data.draw(st.sampled_from(["cut", "twice", "swap", "digit"]))
    if change == "cut":
        del lines[index]
    elif change == "twice":
        lines.insert(index, lines[index])
    elif change == "swap":
        lines[index] = lines[index].replace('"', "")
    else:
        lines[index] = lines[index].replace("=", "= -7 #", 1)
    with suppress(TariffError):
        Tariff.from_toml("\n".join(lines))


@pytest.mark.parametrize(
    ("standard", "factors"),
    [
        ("0.90", {95: "-0.75", 100: "-0.75", 94: "-0.60", 90: "0", 89: "0.5", 70: "10", 69: "11",
                  65: "15", 64: "17"}),
        ("0.85", {94: "-1.10", 90: "-0.5", 85: "0", 84: "0.5", 65: "10", 60: "15", 59: "17"}),
        ("0.80", {92: "-1.30", 100: "-1.30", 80: "0", 79: "0.5", 60: "10", 55: "15", 54: "17"}),
    ],
)  # fmt: skip
def test_the_chinese_tables(standard: str, factors: dict[int, str]) -> None:
    table = china_table(standard)
    assert table.source.startswith("recalled")
    for factor, percent in factors.items():
        assert table.percent[factor] == Decimal(percent)


@given(st.integers(0, 10**15), st.integers(0, 10**15))
def test_power_factor_is_the_nearest_hundredth(active: int, reactive: int) -> None:
    found = hundredths(active, reactive)
    square = active**2 + reactive**2
    # found - 1/2 <= 100 P / S < found + 1/2, squared
    assert (2 * found - 1) <= 0 or (2 * found - 1) ** 2 * square <= (200 * active) ** 2
    assert square == 0 or (200 * active) ** 2 < (2 * found + 1) ** 2 * square


def rows(*pairs: tuple[str, str]) -> list[tuple[Decimal, Decimal]]:
    return [(Decimal(factor), Decimal(percent)) for factor, percent in pairs]


def test_own_power_factor_tables_rise_from_zero() -> None:
    table = stepped_table("own", "test", rows(("0", "10"), ("0.85", "0"), ("0.95", "-1")))
    assert [table.percent[factor] for factor in (0, 84, 85, 94, 95, 100)] == [10, 10, 0, 0, -1, -1]
    for wrong in ((), (("0.5", "1"),), (("0", "1"), ("0", "2")), (("0", "1"), ("0.855", "2"))):
        with pytest.raises(TariffError):
            stepped_table("own", "test", rows(*wrong))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("price = " + "9" * 5000, "not TOML"),
        ("price = " + "[" * 5000, "not TOML"),
        ('price = "1e999999999"', "more than 40 digits"),
        ("price = 1e-999999999", "more than 40 digits"),
        (
            'tiers = { per = "year", reset = "02-29", steps = [{ price = "1" }] }',
            "not a day of every year",
        ),
    ],
)
def test_numbers_and_days_that_could_not_be_priced_later_are_refused_at_once(line: str, told: str) -> None:
    assert told in faults_of(HEAD + ENERGY + line + "\n")

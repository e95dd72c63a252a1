"""What holds for every load: sums, batches, tiers; a slow reading of the rules is the independent oracle."""

from __future__ import annotations

from datetime import date, timedelta
from fractions import Fraction
from itertools import pairwise
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.billing.lines import Rated
from openami.billing.packaged import packaged_names, packaged_tariff
from openami.billing.rating import Part, rate, rate_many, rate_parts
from openami.billing.tariff import Tariff
from openami.billing.usage import Channel, Usage, add_months, months_between
from openami.quantities.civil_time import zone_of
from openami.quantities.errors import TariffError
from openami.quantities.obis import EXPORT_INTERVAL, IMPORT_INTERVAL, IMPORT_REACTIVE_INTERVAL
from openami.quantities.units import WH, Quantum, Unit

ZONE = "Europe/Berlin"
TARIFFS = {name: Tariff.from_toml(packaged_tariff(name)) for name in packaged_names()}
HEAD = 'id = "t"\ncurrency = "EUR"\nzone = "Europe/Berlin"\nvalid_from = 2020-01-01\nrounding = "none"\n'
TOU = """
[[calendars.tou.rates]]
rate = "day"
hours = ["06:00-22:00"]
[[calendars.tou.rates]]
rate = "night"
hours = ["22:00-06:00"]
[[charges]]
name = "energy"
kind = "energy"
calendar = "tou"
"""
TIERED = """
[charges.tiers]
per = "PER"
days = 30
interaction = "INTERACTION"
steps = [
  { up_to = "3", prices = { day = "0.1", night = "0.07" } },
  { up_to = "8.5", prices = { day = "0.2", night = "0.11" } },
  { prices = { day = "0.45", night = "0.31" } },
]
"""
PRICES = [
    {"day": Fraction("0.1"), "night": Fraction("0.07")},
    {"day": Fraction("0.2"), "night": Fraction("0.11")},
    {"day": Fraction("0.45"), "night": Fraction("0.31")},
]


def loads(seed: int, rows: int, first: date, last: date, most: int = 4000, interval_s: int = 900) -> Usage:
    rng = np.random.default_rng(seed)
    count = Usage(ZONE, first, last, interval_s, {}).index_of(last)
    channels = {
        code: Channel(
            WH if code != IMPORT_REACTIVE_INTERVAL else Quantum(Unit.VAR_HOUR, 0),
            rng.integers(0, most, (rows, count)) * (rng.random((rows, count)) < 0.6),
        )
        for code in (IMPORT_INTERVAL, EXPORT_INTERVAL, IMPORT_REACTIVE_INTERVAL)
    }
    return Usage(ZONE, first, last, interval_s, channels, 30_000)


def row_of(usage: Usage, row: int) -> Usage:
    channels = {
        code: Channel(channel.quantum, channel.counts[row : row + 1].copy())
        for code, channel in usage.channels.items()
    }
    return Usage(usage.zone, usage.first_day, usage.last_day, usage.interval_s, channels, usage.capacity_va)


def total_of(rated: Rated, row: int = 0) -> Fraction:
    return rated.total.fraction(row)


@given(st.integers(0, 2**32), st.sampled_from(packaged_names()), st.integers(0, 700))
@settings(max_examples=12, deadline=None)
def test_a_bill_comes_out_alone_as_it_does_among_others(seed: int, name: str, offset: int) -> None:
    first = add_months(date(2025, 1, 1) + timedelta(days=offset), 0)
    starts = [add_months(first, month) for month in range(4)]
    usage = loads(seed, 3, first, starts[-1])
    batch = rate_many(TARIFFS[name], usage, starts[:-1])
    for row in range(3):
        alone = rate_many(TARIFFS[name], row_of(usage, row), starts[:-1])
        for together, single in zip(batch, alone, strict=True):
            assert total_of(together, row) == total_of(single)
            ours, theirs = together.bill(row), single.bill(0)
            assert [line.amount for line in ours] == [line.amount for line in theirs]
            assert [line.determinants for line in ours] == [line.determinants for line in theirs]


@given(st.integers(0, 2**32), st.sampled_from(packaged_names()))
@settings(max_examples=12, deadline=None)
def test_lines_sum_to_the_total(seed: int, name: str) -> None:
    rated = rate(TARIFFS[name], loads(seed, 2, date(2026, 3, 15), date(2026, 4, 15)))
    for row in range(2):
        assert sum((line.amount for line in rated.bill(row)), Fraction(0)) == total_of(rated, row)


@given(st.integers(0, 2**32))
@settings(max_examples=8, deadline=None)
def test_an_additive_tariff_billed_by_day_sums_to_the_whole(seed: int) -> None:
    tariff = Tariff.from_toml(HEAD + TOU + 'prices = { day = "0.31271", night = "0.2" }\n')
    usage = loads(seed, 1, date(2026, 3, 20), date(2026, 4, 5))
    days = [date(2026, 3, 20) + timedelta(days=n) for n in range(16)]
    assert sum(map(total_of, rate_many(tariff, usage, days))) == total_of(rate(tariff, usage))


def oracle(usage: Usage, interaction: str, limits: list[Fraction]) -> Fraction:
    """Cost of the tiered tariff, interval by interval, in fractions."""
    counts = usage.channels[IMPORT_INTERVAL].counts[0]
    rates = []
    for index in range(len(counts)):
        hour = usage.instant_of(index).astimezone(zone_of(ZONE)).hour
        rates.append("day" if 6 <= hour < 22 else "night")
    energies = [Fraction(int(count), 1000) for count in counts]
    edges = [Fraction(0), *limits, None]

    def parts(before: Fraction, use: Fraction) -> list[Fraction]:
        found = []
        for low, high in pairwise(edges):
            top = before + use if high is None else min(before + use, high)
            found.append(max(Fraction(0), top - max(before, low)))
        return found

    pairs = list(zip(energies, rates, strict=True))
    use = {name: sum((energy for energy, own in pairs if own == name), Fraction(0)) for name in PRICES[0]}
    whole = sum(use.values())
    if interaction == "pro_rata":
        return (
            sum(
                part * use[name] / whole * PRICES[tier][name]
                for tier, part in enumerate(parts(Fraction(0), whole))
                for name in use
            )
            if whole
            else Fraction(0)
        )
    if interaction == "per_period":
        return sum(
            part * PRICES[tier][name]
            for name in use
            for tier, part in enumerate(parts(Fraction(0), use[name]))
        )
    cost, before = Fraction(0), Fraction(0)
    for energy, name in pairs:
        cost += sum(part * PRICES[tier][name] for tier, part in enumerate(parts(before, energy)))
        before += energy
    return cost


@given(
    st.integers(0, 2**32),
    st.sampled_from(["pro_rata", "per_period", "chronological"]),
    st.sampled_from(["month", "days"]),
    st.integers(0, 300),
    st.integers(0, 500),
)
@settings(max_examples=40, deadline=None)
def test_tiers_agree_with_a_slow_reading_of_the_rule(
    seed: int, interaction: str, per: str, offset: int, most: int
) -> None:
    first = date(2026, 1, 1) + timedelta(days=offset)
    last = first + timedelta(days=3)
    text = TIERED.replace("PER", per).replace("INTERACTION", interaction)
    usage = loads(seed, 1, first, last, most + 1)
    scale = Fraction(3, 30) if per == "days" else months_between(first, last)
    limits = [Fraction(3) * scale, Fraction("8.5") * scale]
    assert total_of(rate(Tariff.from_toml(HEAD + TOU + text), usage)) == oracle(usage, interaction, limits)


@given(st.integers(0, 2**32), st.sampled_from(["pro_rata", "per_period", "chronological"]), st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_more_energy_never_costs_less(seed: int, interaction: str, factor: int) -> None:
    tariff = Tariff.from_toml(HEAD + TOU + TIERED.replace("PER", "month").replace("INTERACTION", interaction))
    usage = loads(seed, 1, date(2026, 2, 1), date(2026, 2, 4))
    channel = usage.channels[IMPORT_INTERVAL]
    more = Usage(
        ZONE, usage.first_day, usage.last_day, 900, {IMPORT_INTERVAL: Channel(WH, channel.counts * factor)}
    )
    assert total_of(rate(tariff, more)) >= total_of(rate(tariff, usage))


@given(st.integers(0, 2**32), st.integers(1, 29))
@settings(max_examples=20, deadline=None)
def test_a_cut_between_equal_versions_changes_no_energy_line(seed: int, cut: int) -> None:
    text = HEAD + TOU + 'prices = { day = "0.31", night = "0.2" }\n'
    first, last = date(2026, 3, 10), date(2026, 4, 10)
    between = first + timedelta(days=cut)
    usage = loads(seed, 2, first, last)
    for prorate in ("by_actual_use", "by_days"):
        tariff = Tariff.from_toml(f'prorate = "{prorate}"\n' + text)
        whole = rate(tariff, usage)
        parts = rate_parts([Part(tariff, first, between), Part(tariff, between, last)], usage)
        assert parts.total.fractions() == whole.total.fractions()


def test_energy_at_the_edge_of_64_bits_is_refused_or_exact() -> None:
    tariff = Tariff.from_toml(HEAD + TOU + 'prices = { day = "1", night = "1" }\n')
    last = date(2026, 1, 2)
    count = 96

    def usage(value: int) -> Usage:
        counts = np.full((1, count), value, np.int64)
        return Usage(ZONE, date(2026, 1, 1), last, 900, {IMPORT_INTERVAL: Channel(WH, counts)})

    largest = ceil(Fraction(2**63, 2 * count)) - 1
    assert total_of(rate(tariff, usage(largest))) == Fraction(largest * count, 1000)
    with pytest.raises(TariffError, match="does not fit 64 bits"):
        rate(tariff, usage(largest + 1))


def test_missing_channels_and_wrong_grids_are_refused() -> None:
    tariff = TARIFFS["pv_net"]
    usage = loads(1, 1, date(2026, 1, 1), date(2026, 2, 1))
    only_import = Usage(
        ZONE, usage.first_day, usage.last_day, 900, {IMPORT_INTERVAL: usage.channels[IMPORT_INTERVAL]}
    )
    with pytest.raises(TariffError, match=r"no readings on 1-0:2\.29\.0"):
        rate(tariff, only_import)
    with pytest.raises(TariffError, match=r"channel 1-0:1\.29\.0 has int64"):
        Usage(ZONE, date(2026, 1, 1), date(2026, 2, 2), 900, only_import.channels)
    with pytest.raises(TariffError, match="do not cover the billing period"):
        rate_parts([Part(tariff, date(2026, 1, 2), date(2026, 2, 1))], usage)
    hourly = Usage(
        ZONE, date(2026, 1, 1), date(2026, 1, 2), 3600,
        {IMPORT_INTERVAL: Channel(WH, np.ones((1, 24), np.int64))},
    )  # fmt: skip
    with pytest.raises(TariffError, match="a demand window of 900 s over intervals of 3600 s"):
        rate(TARIFFS["shop_demand"], hourly)


@pytest.mark.parametrize(
    ("first", "last", "months"),
    [
        (date(2026, 1, 15), date(2026, 2, 15), Fraction(1)),
        (date(2026, 1, 31), date(2026, 2, 28), Fraction(1)),
        (date(2026, 4, 1), date(2026, 4, 11), Fraction(10, 30)),
        (date(2025, 12, 1), date(2026, 12, 1), Fraction(12)),
        (date(2026, 1, 1), date(2026, 2, 15), 1 + Fraction(14, 28)),
    ],
)
def test_months_of_a_period(first: date, last: date, months: Fraction) -> None:
    assert months_between(first, last) == months


def test_negative_counts_are_refused() -> None:
    counts = np.ones((2, 96), np.int64)
    counts[1, 7] = -3
    usage = Usage(ZONE, date(2026, 1, 1), date(2026, 1, 2), 900, {IMPORT_INTERVAL: Channel(WH, counts)})
    with pytest.raises(TariffError, match=r"row 1, interval 7: a negative count of -3"):
        rate(Tariff.from_toml(HEAD + TOU + 'prices = { day = "1", night = "1" }'), usage)


@given(st.integers(0, 2**32), st.integers(1, 29), st.sampled_from(["instant", "day", "month", "year"]))
@settings(max_examples=15, deadline=None)
def test_netting_and_losses_averaged_over_a_cut_come_to_the_whole(seed: int, cut: int, net: str) -> None:
    text = (
        HEAD
        + """
prorate = "by_days"
[[charges]]
name = "energy"
kind = "energy"
price = "0.3"
net = { export = "1-0:2.29.0", interval = "NET", price = "0.07", reset = "04-10" }
losses = { fixed_w = "100", percent = "2", load_w = "300", rated_w = "20000" }
"""
    )
    tariff = Tariff.from_toml(text.replace("NET", net))
    first, last = date(2026, 3, 10), date(2026, 4, 10)
    usage = loads(seed, 1, first, last)
    between = first + timedelta(days=cut)
    parts = rate_parts([Part(tariff, first, between), Part(tariff, between, last)], usage)
    whole = rate(tariff, usage)
    if net != "year":  # a bank is drawn on part by part, and paid out by the part its year ends in
        assert total_of(parts) == total_of(whole)
    else:
        stored = parts.carried.bank["energy"]["all"].fraction(0)
        assert stored == whole.carried.bank["energy"]["all"].fraction(0) == 0


def test_prices_that_do_not_fit_64_bits_are_refused() -> None:
    text = (
        '[series.spot]\nstart = 2025-02-01T00:00:00\ninterval_s = 900\nprices = ["0.1", "1e-25"]\n'
        '[[charges]]\nname = "energy"\nkind = "series"\nseries = "spot"\n'
    )
    usage = loads(1, 1, date(2025, 2, 1), date(2025, 2, 2))
    repeated = text.replace('"1e-25"', '"1e-25", ' + ", ".join(['"0.1"'] * 94))
    with pytest.raises(TariffError, match="do not fit 64 bits"):
        rate(Tariff.from_toml(HEAD + repeated), usage)


def test_reactive_energy_averaged_over_a_cut_comes_to_the_whole() -> None:
    text = (
        'prorate = "by_days"\n[[charges]]\nname = "reactive"\nkind = "reactive"\n'
        'free_percent = "50"\nprice = "0.02"\n'
    )
    tariff = Tariff.from_toml(HEAD + text)
    first, cut, last = date(2025, 2, 1), date(2025, 2, 8), date(2025, 3, 1)
    counts = np.full((1, 28 * 96), 1000, np.int64)
    channels = {
        IMPORT_INTERVAL: Channel(WH, counts),
        IMPORT_REACTIVE_INTERVAL: Channel(Quantum(Unit.VAR_HOUR), counts),
    }
    usage = Usage(ZONE, first, last, 900, channels)
    rated = rate_parts([Part(tariff, first, cut), Part(tariff, cut, last)], usage)
    # 2,688 kvarh less half of 2,688 kWh, at 0.02: a quarter for the first week, the rest after it
    assert [line.amount.fraction(0) for line in rated.lines] == [Fraction("6.72"), Fraction("20.16")]

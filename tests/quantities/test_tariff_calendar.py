"""Every minute of every day has one rate, on days of 23, 24 and 25 hours."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.quantities.civil_time import CivilDay, zone_of
from openami.quantities.errors import QuantityError, TariffError
from openami.quantities.tariff_calendar import (
    CalendarEvent,
    DayType,
    Rule,
    Season,
    TariffCalendar,
    flat_calendar,
    tariff_calendar,
)

BERLIN = "Europe/Berlin"
WORKDAY = DayType("workday", frozenset(range(5)))
WEEKEND = DayType("weekend", frozenset((5, 6)))
SUMMER = Season("summer", (((4, 1), (9, 30)),))
WINTER = Season("winter", (((10, 1), (3, 31)),))


def two_rates(zone: str = BERLIN, **more: object) -> TariffCalendar:
    both = ("summer", "winter")
    rules = [
        Rule("night", both, ("workday",), ((0, 360), (1320, 1440))),
        Rule("day", ("summer",), ("workday",), ((360, 1320),)),
        Rule("cold day", ("winter",), ("workday",), ((360, 1320),)),
        Rule("night", both, ("weekend",)),
    ]
    return tariff_calendar(
        "tou", zone, rules=rules, seasons=(SUMMER, WINTER), day_types=(WORKDAY, WEEKEND), **more
    )


@pytest.mark.parametrize(
    ("day", "count", "night"),
    [
        (date(2026, 3, 27), 96, 32),
        (date(2026, 3, 29), 92, 92),
        (date(2026, 10, 25), 100, 100),
        (date(2026, 4, 6), 96, 32),
    ],
)
def test_quarter_hours_of_a_civil_day(day: date, count: int, night: int) -> None:
    calendar = two_rates()
    rates = calendar.rates_of_day(day, 900)
    assert len(rates) == count
    assert int((rates == calendar.rates.index("night")).sum()) == night


def test_switches_stay_on_the_clock_when_it_is_set() -> None:
    every_day = ("summer", "winter")
    rules = [
        Rule("night", every_day, ("any",), ((0, 360), (1320, 1440))),
        Rule("day", every_day, ("any",), ((360, 1320),)),
    ]
    calendar = tariff_calendar(
        "tou",
        BERLIN,
        rules=rules,
        seasons=(SUMMER, WINTER),
        day_types=(DayType("any", frozenset(range(7))),),
    )
    short, long = (calendar.rates_of_day(day, 900) for day in (date(2026, 3, 29), date(2026, 10, 25)))
    assert [int((rates == 0).sum()) for rates in (short, long)] == [28, 36]
    assert [int(np.argmax(rates == 1)) for rates in (short, long)] == [20, 28]


def test_special_days_and_seasons_that_wrap_the_year() -> None:
    calendar = two_rates(special_days={date(2026, 4, 3): "weekend", (12, 25): "weekend"})
    assert set(calendar.rates_of_day(date(2026, 4, 3), 3600)) == {calendar.rates.index("night")}
    assert set(calendar.rates_of_day(date(2029, 12, 25), 3600)) == {calendar.rates.index("night")}
    assert calendar.season_of(date(2026, 1, 15)) == "winter"
    assert calendar.season_of(date(2026, 9, 30)) == "summer"


def test_dated_events_lie_over_the_calendar() -> None:
    start = datetime(2026, 7, 1, 15, tzinfo=UTC)
    event = CalendarEvent(start, start + timedelta(hours=26), "critical")
    calendar = two_rates(events=(event,))
    rates = calendar.rates_between(date(2026, 6, 30), date(2026, 7, 4), 900)
    assert int((rates == calendar.rates.index("critical")).sum()) == 26 * 4
    assert rates[96 + 17 * 4 - 1] != rates[96 + 17 * 4] == calendar.rates.index("critical")


def test_holes_and_overlaps_are_named_by_month_day_type_and_time() -> None:
    rules = [
        Rule("a", ("summer", "winter"), ("workday",), ((0, 600), (540, 1440))),
        Rule("a", ("winter",), ("weekend",)),
        Rule("a", ("summer",), ("weekend",), ((0, 720), (780, 1440))),
    ]
    with pytest.raises(TariffError) as caught:
        tariff_calendar("tou", BERLIN, rules=rules, seasons=(SUMMER, WINTER), day_types=(WORKDAY, WEEKEND))
    assert str(caught.value).splitlines() == [
        "calendar 'tou': 2 rates (a, a) for season 'summer' (Apr, May, Jun, Jul, Aug, Sep), "
        "day type 'workday', 09:00-10:00",
        "no rate for season 'summer' (Apr, May, Jun, Jul, Aug, Sep), day type 'weekend', 12:00-13:00",
        "2 rates (a, a) for season 'winter' (Jan, Feb, Mar, Oct, Nov, Dec), day type 'workday', 09:00-10:00",
    ]


@pytest.mark.parametrize(
    ("seasons", "day_types", "fault"),
    [
        ((SUMMER,), (WORKDAY, WEEKEND), "no season on 183 days of the year, the first 1 Jan"),
        ((SUMMER, Season("winter", (((9, 1), (3, 31)),))), (WORKDAY, WEEKEND),
         "two seasons on 30 days .* 1 Sep"),
        ((SUMMER, WINTER), (WORKDAY, DayType("weekend", frozenset((6,)))), "Sat has no day type"),
        ((SUMMER, WINTER), (WORKDAY, DayType("weekend", frozenset((4, 5, 6)))),
         "Fri has workday and weekend"),
    ],
)  # fmt: skip
def test_every_day_has_one_season_and_one_type(seasons, day_types, fault: str) -> None:
    rules = [Rule("a", ("summer", "winter"), ("workday", "weekend"))]
    with pytest.raises(TariffError, match=fault):
        tariff_calendar("tou", BERLIN, rules=rules, seasons=seasons, day_types=day_types)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(TariffError, match="unknown season 'spring'"):
        tariff_calendar("t", BERLIN, rules=[Rule("a", ("spring",), ("every day",))])
    with pytest.raises(TariffError, match=r"special day .* unknown day type 'party'"):
        two_rates(special_days={(5, 1): "party"})
    with pytest.raises(QuantityError, match="unknown time zone"):
        flat_calendar("Mars/Olympus")


def test_a_switch_inside_an_interval_is_refused() -> None:
    rules = [Rule("a", ("all year",), ("every day",), ((0, 450),)),
             Rule("b", ("all year",), ("every day",), ((450, 1440),))]  # fmt: skip
    calendar = tariff_calendar("t", BERLIN, rules=rules)
    assert len(calendar.rates_of_day(date(2026, 1, 5), 1800)) == 48
    with pytest.raises(
        TariffError, match="switches inside the interval of 3600 s that begins 2026-01-05 07:00"
    ):
        calendar.rates_of_day(date(2026, 1, 5), 3600)


@given(
    st.dates(date(2000, 1, 1), date(2037, 12, 31)),
    st.sampled_from([BERLIN, "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Cairo"]),
    st.sampled_from([900, 1800]),
)
@settings(max_examples=60, deadline=None)
def test_the_rate_is_the_one_of_the_local_clock(day: date, zone: str, interval_s: int) -> None:
    calendar = two_rates(zone)
    civil = CivilDay(day, zone)
    rates = calendar.rates_of_day(day, interval_s)
    assert len(rates) == civil.interval_count(interval_s)
    for index, code in enumerate(rates):
        local = civil.interval_start(index, interval_s).astimezone(zone_of(zone))
        daytime = 6 <= local.hour < 22 and local.weekday() < 5
        season = "day" if 4 <= local.month <= 9 else "cold day"
        assert calendar.rates[code] == (season if daytime else "night")


def test_a_rate_shorter_than_an_interval_is_refused_though_both_ends_agree() -> None:
    rules = [Rule("low", ("all year",), ("every day",), ((0, 1035), (1065, 1440))),
             Rule("high", ("all year",), ("every day",), ((1035, 1065),))]  # fmt: skip
    calendar = tariff_calendar("t", BERLIN, rules=rules)
    # 17:15 to 17:45: an hour from 17:00 begins and ends at the low rate
    assert (calendar.rates_of_day(date(2026, 1, 5), 900) == 1).sum() == 2
    for day in (date(2026, 1, 5), date(2026, 3, 29)):
        with pytest.raises(TariffError, match=r"switches inside the interval of 3600 s that begins .* 17:00"):
            calendar.rates_of_day(day, 3600)

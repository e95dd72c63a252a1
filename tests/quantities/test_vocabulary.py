"""The vocabulary: OBIS codes, units, status ids, civil days, clocks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openami.quantities.civil_time import CivilDay, civil_day_of, civil_days
from openami.quantities.clock import SimulatedClock, SystemClock
from openami.quantities.errors import OpenAmiError, QuantityError
from openami.quantities.obis import (
    REGISTER_OF_INTERVAL,
    Kind,
    ObisCode,
    catalogue,
    lookup,
)
from openami.quantities.status import (
    METHODS,
    MISSING,
    VALID,
    DeviceFlag,
    Quality,
    Status,
    is_estimated,
    is_missing,
)
from openami.quantities.units import Quantum, Unit, parse_prefixed_unit

groups = st.integers(0, 255)


@given(st.tuples(groups, groups, groups, groups, groups, groups))
def test_obis_code_survives_every_notation(values: tuple[int, int, int, int, int, int]) -> None:
    code = ObisCode(*values)
    assert ObisCode.parse(str(code)) == code
    assert ObisCode.parse(code.dotted) == code
    assert ObisCode.from_bytes(code.to_bytes()) == code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1-0:1.8.0*255", (1, 0, 1, 8, 0, 255)),
        ("1-0:1.8.0", (1, 0, 1, 8, 0, 255)),
        ("1.8.0", (1, 0, 1, 8, 0, 255)),
        ("1.8", (1, 0, 1, 8, 0, 255)),
        ("1-0:1.8.1*0", (1, 0, 1, 8, 1, 0)),
        ("0.0.96.1.0.255", (0, 0, 96, 1, 0, 255)),
        ("0-1:24.2.1", (0, 1, 24, 2, 1, 255)),
    ],
)
def test_obis_notations_of_the_field_are_read(text: str, expected: tuple[int, ...]) -> None:
    assert ObisCode.parse(text).groups == expected


@given(st.text(max_size=20))
def test_any_text_is_an_obis_code_or_a_quantity_error(text: str) -> None:
    try:
        code = ObisCode.parse(text)
    except QuantityError:
        return
    assert ObisCode.parse(str(code)) == code


def test_every_catalogue_entry_is_named_in_both_languages_and_consistent() -> None:
    entries = catalogue()
    assert len(entries) > 80
    for code, entry in entries.items():
        assert entry.name_en
        assert any("\u4e00" <= char <= "\u9fff" or char.isalnum() for char in entry.name_zh)
        if code.a == 1 and code.d == 8:
            assert entry.kind is Kind.CUMULATIVE
    for interval, register in REGISTER_OF_INTERVAL.items():
        assert lookup(interval).unit is lookup(register).unit
        assert lookup(interval).kind is Kind.INTERVAL


def test_unknown_obis_code_names_itself() -> None:
    with pytest.raises(QuantityError, match=r"1-0:199\.1\.0"):
        lookup(ObisCode(1, 0, 199, 1, 0))


@given(st.integers(-(10**12), 10**12), st.integers(-6, 6))
def test_quantum_counts_back_exactly(count: int, exponent: int) -> None:
    quantum = Quantum(Unit.WATT_HOUR, exponent)
    assert quantum.count(quantum.decimal(count)) == count


def test_a_value_between_two_counts_is_refused() -> None:
    with pytest.raises(QuantityError, match="whole number"):
        Quantum(Unit.WATT_HOUR, 0).count(Decimal("0.5"))


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("kWh", Quantum(Unit.WATT_HOUR, 3)),
        ("KWH", Quantum(Unit.WATT_HOUR, 3)),
        ("Wh", Quantum(Unit.WATT_HOUR, 0)),
        ("MWh", Quantum(Unit.WATT_HOUR, 6)),
        ("kvarh", Quantum(Unit.VAR_HOUR, 3)),
        ("V", Quantum(Unit.VOLT, 0)),
        ("mV", Quantum(Unit.VOLT, -3)),
        ("m3", Quantum(Unit.CUBIC_METRE, 0)),
    ],
)
def test_units_with_prefix_are_read(symbol: str, expected: Quantum) -> None:
    assert parse_prefixed_unit(symbol) == expected


def test_unknown_unit_lists_the_known_ones() -> None:
    with pytest.raises(QuantityError, match="one of Wh, varh"):
        parse_prefixed_unit("furlong")


statuses = st.builds(
    Status,
    st.sampled_from(Quality),
    st.sampled_from(sorted(METHODS)),
    st.integers(0, 255),
    st.integers(0, 2**11 - 1).map(DeviceFlag),
)


@given(statuses)
def test_status_id_round_trips_and_fits_int32(status: Status) -> None:
    assert Status.from_id(status.id) == status
    assert 0 <= status.id < 2**31


def test_plain_measured_value_has_the_id_zero_and_missing_is_not_zero() -> None:
    assert VALID == 0
    ids = np.array([VALID, MISSING, Status(Quality.ESTIMATED, 17).id], np.int32)
    assert is_missing(ids).tolist() == [False, True, False]
    assert is_estimated(ids).tolist() == [False, False, True]


# Europe/Berlin changes clocks on 2026-03-29 and 2026-10-25 (EU directive 2000/84/EC, last Sundays).
@pytest.mark.parametrize(
    ("day", "hours", "quarters"),
    [(date(2026, 3, 29), 23, 92), (date(2026, 10, 25), 25, 100), (date(2026, 6, 1), 24, 96)],
)
def test_civil_days_have_23_24_or_25_hours(day: date, hours: int, quarters: int) -> None:
    civil = CivilDay(day, "Europe/Berlin")
    assert civil.seconds == hours * 3600
    assert civil.interval_count(900) == quarters
    assert civil.interval_start(quarters, 900) == civil.end


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1)),
    st.sampled_from(["Europe/Berlin", "Asia/Shanghai", "America/New_York", "Australia/Lord_Howe"]),
)
def test_every_instant_lies_in_its_civil_day(naive: datetime, zone: str) -> None:
    instant = naive.replace(tzinfo=UTC)
    civil = civil_day_of(instant, zone)
    assert civil.start <= instant < civil.end


def test_civil_days_join_without_gap() -> None:
    days = list(civil_days(date(2026, 10, 20), date(2026, 11, 2), "Europe/Berlin"))
    assert all(a.end == b.start for a, b in pairwise(days))
    assert sum(day.seconds for day in days) == (13 * 24 + 1) * 3600


def test_interval_that_does_not_divide_the_day_is_refused() -> None:
    with pytest.raises(QuantityError, match="does not divide"):
        CivilDay(date(2026, 6, 1), "UTC").interval_count(7000)


def test_unknown_zone_and_naive_instant_are_refused() -> None:
    with pytest.raises(QuantityError, match="time zone"):
        _ = CivilDay(date(2026, 6, 1), "Mars/Olympus").start
    with pytest.raises(QuantityError, match="naive"):
        civil_day_of(datetime(2026, 1, 1), "UTC")


def test_simulated_clock_only_moves_forward() -> None:
    clock = SimulatedClock(datetime(2026, 1, 1, tzinfo=UTC))
    clock.advance(timedelta(hours=1))
    assert clock.now() == datetime(2026, 1, 1, 1, tzinfo=UTC)
    with pytest.raises(QuantityError, match="go back"):
        clock.advance_to(datetime(2026, 1, 1, tzinfo=UTC))
    assert SystemClock().now().tzinfo is UTC


def test_errors_say_what_where_and_what_would_be_right() -> None:
    error = OpenAmiError("count is 47", where="a.csv, line 3", expected="48")
    assert str(error) == "a.csv, line 3: count is 47 (expected: 48)"


@pytest.mark.parametrize(
    ("zone", "day", "start", "seconds"),
    [
        # Clocks that skip midnight: the day begins when they change.
        ("America/Sao_Paulo", date(2018, 11, 4), datetime(2018, 11, 4, 3, tzinfo=UTC), 82_800),
        ("Africa/Cairo", date(2024, 4, 26), datetime(2024, 4, 25, 22, tzinfo=UTC), 82_800),
        ("Asia/Beirut", date(2024, 3, 31), datetime(2024, 3, 30, 22, tzinfo=UTC), 82_800),
        # Set back from midnight to 23:00: the day before has 25 hours.
        ("America/Sao_Paulo", date(2018, 2, 17), datetime(2018, 2, 17, 2, tzinfo=UTC), 90_000),
        # Midnight twice: the day begins with the first.
        ("America/Havana", date(2024, 11, 3), datetime(2024, 11, 3, 4, tzinfo=UTC), 90_000),
        ("Australia/Lord_Howe", date(2024, 4, 7), datetime(2024, 4, 6, 13, tzinfo=UTC), 88_200),
        ("Pacific/Apia", date(2011, 12, 30), datetime(2011, 12, 30, 10, tzinfo=UTC), 0),
    ],
)
def test_days_of_odd_clock_changes(zone: str, day: date, start: datetime, seconds: int) -> None:
    civil = CivilDay(day, zone)
    assert (civil.start, civil.seconds) == (start, seconds)
    assert civil_day_of(civil.end, zone).day == day + timedelta(days=1)
    if seconds:
        assert civil_day_of(civil.start, zone) == civil
        assert civil_day_of(civil.end - timedelta(microseconds=1), zone) == civil


def test_an_instant_lies_in_its_civil_day_even_where_clocks_go_back_over_midnight() -> None:
    # Newfoundland set its clocks back at 00:01 until 2010: 59 minutes show the date of the day before again.
    day = CivilDay(date(2010, 11, 7), "America/St_Johns")
    for minute in range(0, day.seconds // 60):
        assert civil_day_of(day.start + timedelta(minutes=minute), day.zone) == day


@pytest.mark.parametrize(
    "ask",
    [
        lambda: CivilDay(date.max, "UTC").end,
        lambda: CivilDay(date.min, "Asia/Shanghai").start,
        lambda: civil_day_of(datetime.max.replace(tzinfo=UTC), "Asia/Shanghai"),
        lambda: ObisCode.parse("9" * 5000 + ".1"),
        lambda: Quantum(Unit.WATT_HOUR).count(Decimal("Infinity")),
        lambda: Quantum(Unit.WATT_HOUR).count(Decimal("NaN")),
        lambda: Quantum(Unit.WATT_HOUR).count(Decimal("1e999999")),
        lambda: Quantum(Unit.WATT_HOUR).count(Decimal("1.00000000000000000000000000000001")),
        lambda: Status.from_id(-(2**31)),
        lambda: Status.from_id(2**40),
        lambda: Status(device=DeviceFlag(1 << 13)),
    ],
)
def test_what_the_vocabulary_cannot_hold_is_its_own_error(ask: Callable[[], object]) -> None:
    with pytest.raises(QuantityError):
        ask()

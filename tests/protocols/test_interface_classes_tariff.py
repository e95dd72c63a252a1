"""Tariff objects at work: calendars over changes of the clocks, schedules, scripts, demand, activation."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import BitString, Data, Tag, array, decode_plain, structure
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.interface_classes.activity_calendar import ActivityCalendar
from openami.protocols.dlms.interface_classes.demand_register import DemandRegister
from openami.protocols.dlms.interface_classes.interface_object import InterfaceObject
from openami.protocols.dlms.interface_classes.local_time import DatePattern, in_window
from openami.protocols.dlms.interface_classes.object_reference import script_runner
from openami.protocols.dlms.interface_classes.register_activation import RegisterActivation, mask
from openami.protocols.dlms.interface_classes.schedule import FOR_EVER, Schedule
from openami.protocols.dlms.interface_classes.script_table import ScriptTable
from openami.protocols.dlms.interface_classes.single_action_schedule import SingleActionSchedule
from openami.protocols.dlms.interface_classes.special_days import SpecialDays
from openami.protocols.dlms.interface_classes.timeline import Timeline
from openami.quantities.obis import ObisCode
from openami.quantities.units import Quantum, Unit

BERLIN = ZoneInfo("Europe/Berlin")
SCRIPTS = ObisCode(0, 0, 10, 0, 100)
ACTIVATION = ObisCode(0, 0, 14, 0, 0)
RATES = (ObisCode(1, 0, 1, 8, 1), ObisCode(1, 0, 1, 8, 2))
NOTHING = Data(Tag.INTEGER, 0)


def octets(value: bytes) -> Data:
    return Data(Tag.OCTET_STRING, value)


def time4(hour: int, minute: int = 0) -> Data:
    return octets(bytes((hour, minute, 0, 0)))


def date5(text: str) -> Data:
    """yyyy-mm-dd, ``*`` for anything, ``L`` for the last day; weekday after a slash."""
    day, _, weekday = text.partition("/")
    year, month, of_month = day.split("-")
    number = 0xFFFF if year == "*" else int(year)
    last = {"*": 0xFF, "L": 0xFE}
    fields = bytes(last.get(part) or int(part) for part in (month, of_month))
    return octets(number.to_bytes(2, "big") + fields + bytes((int(weekday or 255),)))


def season(name: bytes, start: str, week: bytes) -> Data:
    content = date5(start).value
    assert isinstance(content, bytes)
    return structure(octets(name), octets(content + bytes(4) + b"\x80\x00\xff"), octets(week))


def week(name: bytes, *days: int) -> Data:
    return structure(octets(name), *(Data(Tag.UNSIGNED, day) for day in days))


def day(number: int, *actions: tuple[int, int, int]) -> Data:
    return structure(
        Data(Tag.UNSIGNED, number),
        array(
            structure(time4(hour, minute), octets(SCRIPTS.to_bytes()), Data(Tag.LONG_UNSIGNED, selector))
            for hour, minute, selector in actions
        ),
    )


class Record:
    """Keeps which script was run when."""

    def __init__(self) -> None:
        self.ran: list[tuple[datetime, int]] = []
        self.instant = datetime(2025, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.instant

    def run(self, table: ObisCode, selector: int) -> AccessResult:
        self.ran.append((self.clock(), selector))
        return AccessResult.SUCCESS

    def clock(self) -> datetime:
        return self.instant


def calendar(record: Record, special: SpecialDays | None = None) -> ActivityCalendar:
    """Workdays: 1 from 06:00, 2 from 22:00; weekends 2; day profile 9 is 1 all day; winter and summer."""
    preset = {
        3: array([season(b"W", "*-10-1", b"w"), season(b"S", "*-4-1", b"s")]),
        4: array([week(b"w", 1, 1, 1, 1, 1, 2, 2), week(b"s", 1, 1, 1, 1, 3, 2, 2)]),
        5: array(
            [
                day(1, (22, 0, 2), (6, 0, 1)),
                day(2, (0, 0, 2)),
                day(3, (6, 0, 1), (13, 0, 2)),
                day(9, (0, 0, 1)),
            ]
        ),
    }
    days = special or SpecialDays(ObisCode(0, 0, 11, 0, 0))
    return ActivityCalendar(
        ObisCode(0, 0, 13, 0, 0), BERLIN, record.clock, record.run, days.day_id, preset=preset
    )


def local(*fields: int) -> datetime:
    return datetime(*fields, tzinfo=BERLIN).astimezone(UTC)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("at", "selector"),
    [
        ((2025, 1, 8, 5, 59), 2),  # Wednesday before six: still the action of Tuesday, 22:00
        ((2025, 1, 8, 6, 0), 1),
        ((2025, 1, 8, 21, 59), 1),
        ((2025, 1, 8, 22, 0), 2),
        ((2025, 1, 11, 12, 0), 2),  # Saturday
        ((2025, 1, 13, 5, 0), 2),  # Monday morning: Sunday's
        ((2025, 5, 2, 13, 0), 2),  # a Friday in summer
        ((2025, 3, 28, 13, 0), 1),  # a Friday in winter, the season that began the year before
        ((2025, 10, 3, 13, 0), 1),  # winter again
    ],
)
def test_the_action_of_an_instant_follows_season_week_and_day(at: tuple[int, ...], selector: int) -> None:
    action = calendar(Record()).action(local(*at))
    assert action is not None
    assert action.selector == selector


def test_special_days_go_before_weekdays() -> None:
    special = SpecialDays(ObisCode(0, 0, 11, 0, 0))
    for index, text, day_id in ((1, "*-12-25", 2), (2, "2025-6-9", 9), (7, "*-5-L/1", 2)):
        entry = structure(Data(Tag.LONG_UNSIGNED, index), date5(text), Data(Tag.UNSIGNED, day_id))
        special.invoke(1, entry)
    rules = calendar(Record(), special)
    assert [rules.day_id(day) for day in (date(2025, 12, 25), date(2031, 12, 25), date(2025, 6, 9))] == [
        2,
        2,
        9,
    ]
    assert rules.day_id(date(2025, 5, 26)) == 2  # last Monday of May
    assert rules.day_id(date(2025, 5, 19)) == 1
    special.invoke(2, Data(Tag.LONG_UNSIGNED, 7))
    assert rules.day_id(date(2025, 5, 26)) == 1
    with pytest.raises(AccessError):
        special.invoke(2, Data(Tag.LONG_UNSIGNED, 7))


def test_inserting_a_special_day_replaces_that_of_the_same_date() -> None:
    special = SpecialDays(ObisCode(0, 0, 11, 0, 0))
    for index, day_id in ((2, 9), (8, 1)):
        entry = structure(Data(Tag.LONG_UNSIGNED, index), date5("2025-6-9"), Data(Tag.UNSIGNED, day_id))
        special.invoke(1, entry)
    assert special.day_id(date(2025, 6, 9)) == 1
    assert special.current(2) == array([entry])


def switching(change: str, steps: int) -> list[tuple[str, int]]:
    """Switching times in UTC of the two days around a change of the clocks, looked at in ``steps``."""
    record = Record()
    rules = ActivityCalendar(
        ObisCode(0, 0, 13, 0, 0),
        BERLIN,
        record.clock,
        record.run,
        preset={
            3: array([season(b"A", "*-*-*", b"a")]),
            4: array([week(b"a", 1, 1, 1, 1, 1, 1, 1)]),
            5: array([day(1, (0, 0, 1), (2, 30, 2), (3, 0, 3))]),
        },
    )
    begin = datetime.fromisoformat(change)
    present = begin
    timeline = Timeline(lambda: present, begin, (rules,))
    record.clock = timeline.now  # type: ignore[method-assign]
    for step in range(1, steps + 1):
        present = begin + step * timedelta(hours=48) / steps
        timeline.settle()
    return [(at.strftime("%d %H:%M"), selector) for at, selector in record.ran]


@pytest.mark.parametrize("steps", [1, 7, 96, 500])
def test_a_calendar_switches_once_over_changes_of_the_clocks(steps: int) -> None:
    # Spring 2025-03-30: 02:00-03:00 is left out, and 02:30 and 03:00 both come at 01:00 UTC, in this order.
    assert switching("2025-03-29T00:00+00:00", steps) == [
        ("29 01:30", 2), ("29 02:00", 3), ("29 23:00", 1), ("30 01:00", 3), ("30 22:00", 1),
    ]  # fmt: skip
    # Autumn 2025-10-26: 02:00-03:00 comes twice; 02:30 is the first (00:30 UTC), 03:00 is 02:00 UTC.
    assert switching("2025-10-25T00:00+00:00", steps) == [
        ("25 00:30", 2), ("25 01:00", 3), ("25 22:00", 1), ("26 00:30", 2), ("26 02:00", 3), ("26 23:00", 1),
    ]  # fmt: skip


def test_a_passive_calendar_takes_over_at_its_time_and_at_once() -> None:
    record = Record()
    rules = calendar(record)
    rules.write(6, octets(b"new"))
    rules.write(7, array([season(b"A", "*-*-*", b"a")]))
    rules.write(8, array([week(b"a", 4, 4, 4, 4, 4, 4, 4)]))
    rules.write(9, array([day(4, (0, 0, 7))]))
    rules.write(10, octets(CosemDateTime.from_instant(local(2025, 1, 8, 12), BERLIN).to_bytes()))
    present = local(2025, 1, 8, 11, 59)
    timeline = Timeline(lambda: present, present, (rules,))
    record.clock = timeline.now  # type: ignore[method-assign]
    timeline.settle()
    assert decode_plain(rules.read(2)) == b""
    present = local(2025, 1, 8, 12, 1)
    timeline.settle()
    assert decode_plain(rules.read(2)) == b"new"
    assert record.ran == [(local(2025, 1, 8, 12), 7)]
    with pytest.raises(AccessError):
        rules.write(2, octets(b"x"))
    other = calendar(record)
    other.write(6, octets(b"two"))
    other.invoke(1, NOTHING)
    assert decode_plain(other.read(2)) == b"two"
    with pytest.raises(AccessError):
        other.invoke(1, Data(Tag.UNSIGNED, 0))


def schedule_entry(index: int, at: tuple[int, int], **changed: object) -> Data:
    fields: dict[str, object] = {
        "enable": True, "selector": index, "window": 0, "weekdays": b"\xf8", "special": b"\x40",
        "begin": "*-1-1", "end": "*-12-31", **changed,
    }  # fmt: skip
    return structure(
        Data(Tag.LONG_UNSIGNED, index),
        Data(Tag.BOOLEAN, bool(fields["enable"])),
        octets(SCRIPTS.to_bytes()),
        Data(Tag.LONG_UNSIGNED, fields["selector"]),  # type: ignore[arg-type]
        time4(*at),
        Data(Tag.LONG_UNSIGNED, fields["window"]),  # type: ignore[arg-type]
        Data(Tag.BIT_STRING, BitString(7, fields["weekdays"])),  # type: ignore[arg-type]
        Data(Tag.BIT_STRING, BitString(8, fields["special"])),  # type: ignore[arg-type]
        date5(str(fields["begin"])),
        date5(str(fields["end"])),
    )


def test_a_schedule_runs_its_entries_by_weekday_special_day_and_season() -> None:
    record = Record()
    holidays = {date(2025, 1, 8): 2, date(2025, 1, 9): 1}
    plan = Schedule(ObisCode(0, 0, 12, 0, 0), UTC, record.run, holidays.get)
    plan.invoke(2, schedule_entry(5, (8, 0)))
    plan.invoke(2, schedule_entry(3, (8, 0), begin="*-1-7", end="*-1-7"))
    plan.invoke(2, schedule_entry(4, (9, 0), enable=False))
    present = begin = datetime(2025, 1, 6, tzinfo=UTC)
    timeline = Timeline(lambda: present, begin, (plan,))
    record.clock = timeline.now  # type: ignore[method-assign]
    present = begin + timedelta(days=7)
    timeline.settle()
    # Tuesday: 3 before 5; Wednesday is special day 2 and marked, Thursday special day 1 and not.
    assert [(at.day, selector) for at, selector in record.ran] == [(6, 5), (7, 3), (7, 5), (8, 5), (10, 5)]
    plan.invoke(1, structure(*(Data(Tag.LONG_UNSIGNED, number) for number in (1, 9, 4, 4))))
    record.ran.clear()
    present = begin + timedelta(days=8)
    timeline.settle()
    assert [selector for _, selector in record.ran] == [4]
    plan.invoke(3, structure(Data(Tag.LONG_UNSIGNED, 3), Data(Tag.LONG_UNSIGNED, 4)))
    plain = decode_plain(plan.read(2))
    assert isinstance(plain, list)
    assert len(plain) == 1


def test_a_schedule_makes_up_for_a_failure_of_the_supply_within_its_windows() -> None:
    record = Record()
    plan = Schedule(ObisCode(0, 0, 12, 0, 0), UTC, record.run)
    for index, window in ((1, 30), (2, 29), (3, FOR_EVER), (4, 0)):
        plan.invoke(2, schedule_entry(index, (8, 0), window=window))
    plan.make_up(datetime(2025, 1, 6, 7, 55, tzinfo=UTC), datetime(2025, 1, 6, 8, 30, tzinfo=UTC))
    assert [selector for _, selector in record.ran] == [1, 3]


def single(kind: int, *times: Data) -> tuple[SingleActionSchedule, Record]:
    record = Record()
    preset = {
        2: structure(octets(SCRIPTS.to_bytes()), Data(Tag.LONG_UNSIGNED, 1)),
        3: Data(Tag.ENUM, kind),
    }
    plan = SingleActionSchedule(ObisCode(0, 0, 15, 0, 0), BERLIN, record.run, preset=preset)
    plan.write(4, array(times))
    return plan, record


def test_end_of_billing_comes_on_the_first_of_every_month() -> None:
    plan, record = single(1, structure(time4(0), date5("*-*-1")))
    present = begin = local(2025, 1, 15)
    timeline = Timeline(lambda: present, begin, (plan,))
    record.clock = timeline.now  # type: ignore[method-assign]
    present = local(2025, 5, 15)
    timeline.settle()
    assert [at for at, _ in record.ran] == [local(2025, month, 1) for month in (2, 3, 4, 5)]


@pytest.mark.parametrize(
    ("kind", "times"),
    [
        (1, [(1, "*-*-1"), (1, "*-*-2")]),
        (2, [(1, "2025-1-1"), (2, "2025-1-1")]),
        (2, [(1, "*-1-1")]),
        (3, [(1, "*-*-1"), (2, "*-*-1")]),
        (4, [(1, "*-1-1")]),
    ],
)
def test_times_that_do_not_fit_the_type_are_refused(kind: int, times: list[tuple[int, str]]) -> None:
    with pytest.raises(AccessError) as refused:
        single(kind, *(structure(time4(hour), date5(text)) for hour, text in times))
    assert refused.value.result is AccessResult.SCOPE_OF_ACCESS_VIOLATED


def test_scripts_write_and_execute_and_never_go_round() -> None:
    objects: dict[ObisCode, InterfaceObject] = {}
    selected: list[tuple[ObisCode, ...]] = []
    activation = RegisterActivation(ACTIVATION, selected.append)
    objects[ACTIVATION] = activation
    for rate in RATES:
        activation.invoke(1, structure(Data(Tag.LONG_UNSIGNED, 3), octets(rate.to_bytes())))
    activation.invoke(2, mask(b"T1", 1))
    activation.invoke(2, mask(b"T2", 2))
    activation.invoke(2, mask(b"both", 2, 1))

    def action(service: int, class_id: int, name: ObisCode, index: int, value: Data) -> Data:
        return structure(
            Data(Tag.ENUM, service),
            Data(Tag.LONG_UNSIGNED, class_id),
            octets(name.to_bytes()),
            Data(Tag.INTEGER, index),
            value,
        )

    scripts = ScriptTable(SCRIPTS, objects.get)
    objects[SCRIPTS] = scripts
    scripts.write(
        2,
        array(
            [
                structure(Data(Tag.LONG_UNSIGNED, 1), array([action(1, 6, ACTIVATION, 4, octets(b"T1"))])),
                structure(Data(Tag.LONG_UNSIGNED, 2), array([action(1, 6, ACTIVATION, 4, octets(b"none"))])),
                structure(
                    Data(Tag.LONG_UNSIGNED, 3),
                    array([action(2, 9, SCRIPTS, 1, Data(Tag.LONG_UNSIGNED, 3))]),
                ),
                structure(Data(Tag.LONG_UNSIGNED, 4), array([action(2, 6, ACTIVATION, 3, octets(b"T2"))])),
            ]
        ),
    )
    selected.clear()
    run = script_runner(objects.get)
    assert run(SCRIPTS, 1) is AccessResult.SUCCESS
    assert selected == [(RATES[0],)]
    assert run(SCRIPTS, 2) is AccessResult.OBJECT_UNDEFINED
    assert decode_plain(activation.read(4)) == b"T1"
    assert run(SCRIPTS, 3) is AccessResult.TEMPORARY_FAILURE
    assert run(SCRIPTS, 4) is AccessResult.SUCCESS
    assert run(SCRIPTS, 5) is AccessResult.OBJECT_UNDEFINED
    assert scripts.invoke(1, Data(Tag.LONG_UNSIGNED, 0)) is None  # the null script
    assert len(selected) == 2
    assert run(ACTIVATION, 1) is AccessResult.OBJECT_CLASS_INCONSISTENT
    activation.write(4, octets(b"both"))
    assert activation.active() == (RATES[1], RATES[0])


# --- demand ---------------------------------------------------------------------------------------------


def demand(periods: int, steps_min: int) -> list[tuple[int, int]]:
    """Averages after each quarter-hour of energy that grows by 100, 200, 300, 400 Wh in quarter-hours."""
    begin = datetime(2025, 1, 1, tzinfo=UTC)
    knots = (0, 100, 300, 600, 1000, 1000, 1000)

    def energy_at(at: datetime) -> int:
        quarter, rest = divmod(int((at - begin).total_seconds()), 900)
        return knots[quarter] + (knots[quarter + 1] - knots[quarter]) * rest // 900

    present = begin
    register = DemandRegister(
        ObisCode(1, 0, 1, 4, 0),
        Tag.DOUBLE_LONG_UNSIGNED,
        Quantum(Unit.WATT),
        energy_at,
        lambda: present,
        preset={8: Data(Tag.DOUBLE_LONG_UNSIGNED, 900), 9: Data(Tag.LONG_UNSIGNED, periods)},
    )
    register.read(2)
    seen = []
    for minute in range(steps_min, 76, steps_min):
        present = begin + timedelta(minutes=minute)
        values = register.current(2).value, register.current(3).value
        if minute % 15 == 0:
            seen.append(values)
    return seen  # type: ignore[return-value]


@pytest.mark.parametrize("steps_min", [1, 5, 15])
def test_block_and_sliding_demand_are_exact_however_often_they_are_read(steps_min: int) -> None:
    # 100 Wh in a quarter-hour are 400 W: (0, last) at the end of each block.
    assert demand(1, steps_min) == [(0, 400), (0, 800), (0, 1200), (0, 1600), (0, 0)]
    # Four periods: the last average is of the whole window (W = Wh / 1 h); the current one lacks a period.
    assert demand(4, steps_min) == [(100, 100), (300, 300), (600, 600), (900, 1000), (700, 900)]


def test_next_period_closes_and_reset_begins_anew() -> None:
    present = begin = datetime(2025, 1, 1, tzinfo=UTC)
    register = DemandRegister(
        ObisCode(1, 0, 1, 4, 0),
        Tag.DOUBLE_LONG_UNSIGNED,
        Quantum(Unit.WATT),
        lambda at: int((at - begin).total_seconds()),  # 3600 W
        lambda: present,
        modulus=1000,
        preset={8: Data(Tag.DOUBLE_LONG_UNSIGNED, 900), 9: Data(Tag.LONG_UNSIGNED, 1)},
    )
    register.read(2)
    present = begin + timedelta(seconds=450)
    assert register.current(2).value == 1800
    register.invoke(2, NOTHING)
    assert (register.current(2).value, register.current(3).value) == (0, 1800)
    assert decode_plain(register.read(6)) == CosemDateTime.from_instant(present).to_bytes()
    present = begin + timedelta(seconds=1800)  # periods end at 900 and 1800; the register rolled over at 1000
    assert (register.current(2).value, register.current(3).value) == (0, 3600)
    register.invoke(1, NOTHING)
    assert (register.current(2).value, register.current(3).value) == (0, 0)
    register.write(8, Data(Tag.DOUBLE_LONG_UNSIGNED, 60))
    with pytest.raises(AccessError):
        register.write(8, Data(Tag.DOUBLE_LONG_UNSIGNED, 0))
    with pytest.raises(AccessError):
        register.invoke(1, None)


# --- windows and patterns -------------------------------------------------------------------------------


def test_windows_with_open_dates_come_again_every_day_also_over_midnight() -> None:
    def window(start: tuple[int, int], end: tuple[int, int]) -> tuple[bytes, bytes]:
        open_date = b"\xff" * 5
        return open_date + bytes((*start, 0, 0)) + b"\x80\x00\xff", open_date + bytes(
            (*end, 0, 0)
        ) + b"\x80\x00\xff"

    day_time, night = window((8, 0), (17, 0)), window((22, 0), (6, 0))
    for hour, in_day, in_night in (
        (7, False, False),
        (8, True, False),
        (17, False, False),
        (23, False, True),
    ):
        assert in_window(local(2025, 7, 1, hour), *day_time, BERLIN) is in_day
        assert in_window(local(2025, 7, 1, hour), *night, BERLIN) is in_night
    assert in_window(local(2025, 7, 2, 5, 59), *night, BERLIN)
    assert not in_window(local(2025, 7, 2, 6, 0), *night, BERLIN)


def test_last_days_of_a_month_are_found() -> None:
    last_sunday = DatePattern(0xFFFF, 3, 0xFE, 7)
    assert [day for day in range(1, 32) if last_sunday.matches(date(2025, 3, day))] == [30]
    last = DatePattern(0xFFFF, 0xFF, 0xFE, 0xFF)
    assert [day for day in range(1, 29) if last.matches(date(2025, 2, day))] == [28]
    assert DatePattern(0xFFFF, 2, 0xFD, 0xFF).matches(date(2024, 2, 28))

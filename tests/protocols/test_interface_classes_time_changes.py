"""Objects when the supply fails and when the clock is set: nothing lost that must not be, nothing done twice.

The changes of time are those of IEC 62056-6-2 clause 4.5.3, as public documentation of the class has them:
set forward is like a failure of the supply (entries missed are made up for within their validity windows),
set back repeats what comes due again, a small step is a synchronization that does neither.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from openami.protocols.dlms.apdus.results import AccessResult
from openami.protocols.dlms.encoding.axdr import BitString, Data, Tag, array, decode_plain, structure
from openami.protocols.dlms.interface_classes.activity_calendar import ActivityCalendar
from openami.protocols.dlms.interface_classes.charge import Charge
from openami.protocols.dlms.interface_classes.recorded_profile import RecordedProfile, RowMemory
from openami.protocols.dlms.interface_classes.schedule import FOR_EVER, Schedule
from openami.protocols.dlms.interface_classes.single_action_schedule import SingleActionSchedule
from openami.protocols.dlms.interface_classes.timeline import LONGEST_SYNCHRONIZATION, Timed, Timeline
from openami.quantities.obis import ObisCode

BEGIN = datetime(2025, 6, 2, tzinfo=UTC)  # a Monday
SCRIPTS = ObisCode(0, 0, 10, 0, 100)
ANY_DATE = b"\xff\xff\xff\xff\xff"
DAY = timedelta(days=1)


def octets(value: bytes) -> Data:
    return Data(Tag.OCTET_STRING, value)


def long_unsigned(value: int) -> Data:
    return Data(Tag.LONG_UNSIGNED, value)


def double(value: int) -> Data:
    return Data(Tag.DOUBLE_LONG_UNSIGNED, value)


class Device:
    """Objects on a timeline whose clock and supply are in our hands; notes each script and when it ran."""

    def __init__(self) -> None:
        self.clock = BEGIN
        self.failures: list[tuple[datetime, datetime]] = []
        self.ran: list[tuple[datetime, int]] = []
        self.timed: list[Timed] = []
        self.timeline = Timeline(lambda: self.clock, BEGIN, self.timed, failures=self.between)

    def between(self, after: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
        return [failure for failure in self.failures if after < failure[1] <= until]

    def run(self, table: ObisCode, selector: int) -> AccessResult:
        self.ran.append((self.timeline.now(), selector))
        return AccessResult.SUCCESS

    def at(self, **later: int) -> None:
        self.clock = BEGIN + timedelta(**later)
        self.timeline.settle()

    def set_clock(self, **later: int) -> None:
        self.timeline.settle()
        self.clock = BEGIN + timedelta(**later)
        self.timeline.clock_set(self.clock)


def schedule(device: Device) -> None:
    """06:00 valid for ever (1), 08:00 valid for 15 minutes (2), 10:00 valid not at all (3)."""
    made = Schedule(ObisCode(0, 0, 12, 0, 0), UTC, device.run)
    week = Data(Tag.BIT_STRING, BitString(7, b"\xfe"))
    none = Data(Tag.BIT_STRING, BitString(0, b""))
    made.write(
        2,
        array(
            structure(
                long_unsigned(number),
                Data(Tag.BOOLEAN, True),
                octets(SCRIPTS.to_bytes()),
                long_unsigned(number),
                octets(bytes((hour, 0, 0, 0))),
                long_unsigned(window),
                week,
                none,
                octets(ANY_DATE),
                octets(ANY_DATE),
            )
            for number, hour, window in ((1, 6, FOR_EVER), (2, 8, 15), (3, 10, 0))
        ),
    )
    device.timed.append(made)


def calendar(device: Device) -> None:
    """Script 1 from midnight, 2 from 07:00, every day."""
    preset = {
        3: array([structure(octets(b"s"), octets(ANY_DATE + b"\xff\xff\xff\xff\x80\x00\xff"), octets(b"w"))]),
        4: array([structure(octets(b"w"), *[Data(Tag.UNSIGNED, 1)] * 7)]),
        5: array(
            [
                structure(
                    Data(Tag.UNSIGNED, 1),
                    array(
                        structure(
                            octets(bytes((hour, 0, 0, 0))),
                            octets(SCRIPTS.to_bytes()),
                            long_unsigned(number),
                        )
                        for number, hour in ((1, 0), (2, 7))
                    ),
                )
            ]
        ),
    }
    device.timed.append(
        ActivityCalendar(ObisCode(0, 0, 13, 0, 0), UTC, device.timeline.now, device.run, preset=preset)
    )


def once_a_day(device: Device) -> None:
    """Script 9 at noon."""
    made = SingleActionSchedule(ObisCode(0, 0, 15, 0, 0), UTC, device.run)
    made.write(2, structure(octets(SCRIPTS.to_bytes()), long_unsigned(9)))
    made.write(3, Data(Tag.ENUM, 1))
    made.write(4, array([structure(octets(b"\x0c\x00\x00\x00"), octets(ANY_DATE))]))
    device.timed.append(made)


def hourly_profile(device: Device) -> RowMemory:
    memory = RowMemory()
    made = RecordedProfile(ObisCode(1, 0, 99, 1, 0), lambda name: None, memory, device.timeline.now, UTC)
    listed = structure(
        Data(Tag.LONG_UNSIGNED, 8),
        octets(bytes((0, 0, 1, 0, 0, 255))),
        Data(Tag.INTEGER, 2),
        long_unsigned(0),
    )
    made.write(8, double(1000))
    made.write(3, array([listed]))
    made.write(4, double(3600))
    device.timed.append(made)
    return memory


def hours(memory: RowMemory) -> list[int]:
    return [int((at - BEGIN).total_seconds()) // 3600 for at, _ in memory.rows]


def test_a_schedule_makes_up_for_what_is_still_valid_when_the_supply_returns() -> None:
    device = Device()
    schedule(device)
    device.failures = [(BEGIN + timedelta(hours=5), BEGIN + timedelta(hours=8, minutes=10))]
    device.at(hours=12)
    restored = BEGIN + timedelta(hours=8, minutes=10)
    assert device.ran == [(restored, 1), (restored, 2), (BEGIN + timedelta(hours=10), 3)]
    device.ran.clear()
    device.failures.append((BEGIN + DAY + timedelta(hours=5), BEGIN + DAY + timedelta(hours=11)))
    device.at(days=1, hours=12)
    assert device.ran == [(BEGIN + DAY + timedelta(hours=11), 1)]


def test_a_clock_set_forward_is_like_a_failure_of_the_supply() -> None:
    device = Device()
    schedule(device)
    calendar(device)
    once_a_day(device)
    memory = hourly_profile(device)
    device.at(hours=2)
    assert hours(memory) == [1, 2]
    device.ran.clear()
    device.set_clock(days=3, hours=8, minutes=5)
    after = BEGIN + timedelta(days=3, hours=8, minutes=5)
    # Of three days of entries those that are valid, the action in force, and the daily script once.
    assert {at for at, _ in device.ran} == {after}
    selectors = [selector for _, selector in device.ran]
    assert selectors.count(1) == 4  # 06:00 of four days is valid for ever
    assert selectors.count(2) == 2  # 08:00 of today, and rate 2 that is in force since 07:00
    assert selectors.count(3) == 0
    assert selectors.count(9) == 1
    device.at(days=3, hours=10)
    assert hours(memory) == [1, 2, 81, 82]  # no rows for hours that never were


@pytest.mark.parametrize("told", [True, False])
def test_a_clock_set_back_does_again_what_comes_due_again_and_stops_for_nothing(told: bool) -> None:
    device = Device()
    schedule(device)
    memory = hourly_profile(device)
    device.at(days=1, hours=9)
    device.ran.clear()
    memory.rows.clear()
    if told:
        device.set_clock(hours=7)
    else:
        device.at(hours=7)
    device.at(hours=9)
    assert device.ran == [(BEGIN + timedelta(hours=8), 2)]
    assert hours(memory) == [8, 9]


@pytest.mark.parametrize("step_s", [-60, -1, 1, 60])
def test_a_synchronization_neither_loses_nor_repeats(step_s: int) -> None:
    assert timedelta(seconds=60) == LONGEST_SYNCHRONIZATION
    device = Device()
    schedule(device)
    memory = hourly_profile(device)
    for second in (-30, 30):  # just before and just after 10:00, which is never made up for
        device.ran.clear()
        memory.rows.clear()
        device.set_clock(hours=0)
        device.at(hours=10, seconds=second)
        device.set_clock(hours=10, seconds=second + step_s)
        device.at(hours=11)
        assert [selector for _, selector in device.ran] == [1, 2, 3]
        assert hours(memory) == list(range(1, 12))


def test_two_timelines_over_one_meter_agree_after_the_clock_was_set_back() -> None:
    device = Device()
    schedule(device)
    other = Timeline(lambda: device.clock, BEGIN, device.timed)
    device.at(hours=9)
    other.go_on_from(device.timeline.reached)
    other.settle()
    device.ran.clear()
    device.set_clock(hours=5)
    device.at(hours=7)
    other.go_on_from(device.timeline.reached)
    other.settle()
    assert [selector for _, selector in device.ran] == [1]


def test_a_standing_charge_is_taken_once_a_period_however_the_clock_is_set() -> None:
    device = Device()
    taken: list[int] = []
    price = structure(
        structure(Data(Tag.INTEGER, 0), Data(Tag.INTEGER, 0)),
        structure(long_unsigned(3), octets(bytes(6)), Data(Tag.INTEGER, 2)),
        array([structure(octets(b""), Data(Tag.LONG, 10))]),
    )
    charge = Charge(
        ObisCode(0, 0, 19, 20, 1),
        lambda source, at: None,
        taken.append,
        device.timeline.now,
        preset={3: Data(Tag.ENUM, 1), 5: price, 6: price, 8: double(86_400)},
    )
    device.timed.append(charge)
    device.at(days=2, hours=1)
    assert taken == [10, 10]
    device.set_clock(hours=20)  # back over two midnights, which come again
    device.at(days=2, hours=2)
    assert taken == [10, 10]
    device.set_clock(days=4, hours=1)  # forward over two more
    assert taken == [10] * 4
    device.failures = [(BEGIN + timedelta(days=4, hours=2), BEGIN + timedelta(days=6, hours=1))]
    device.at(days=6, hours=2)
    assert taken == [10] * 6
    assert decode_plain(charge.read(2)) == 60

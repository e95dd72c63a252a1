"""The clock: its methods to the second, its attributes octet for octet, on both sides of daylight saving."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from acting_objects import refused
from openami.protocols.dlms.apdus.results import AccessResult
from openami.protocols.dlms.encoding.axdr import Data, Tag, structure
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.interface_classes.clock import ClockObject
from openami.protocols.dlms.interface_classes.clock_rules import RuledClock
from openami.quantities.obis import ObisCode

CLOCK = ObisCode(0, 0, 1, 0, 0)
BERLIN = ZoneInfo("Europe/Berlin")
NOTHING = Data(Tag.INTEGER, 0)


class Crystal:
    def __init__(self, instant: datetime) -> None:
        self.instant = instant

    def now(self) -> datetime:
        return self.instant

    def set_time(self, instant: datetime) -> None:
        self.instant = instant


def at(hour: int, minute: int, second: int) -> datetime:
    return datetime(2025, 1, 15, hour, minute, second, tzinfo=UTC)


def stamp(instant: datetime) -> Data:
    return Data(Tag.OCTET_STRING, CosemDateTime.from_instant(instant, BERLIN).to_bytes())


@pytest.mark.parametrize(
    ("method", "before", "after"),
    [
        (1, at(12, 7, 29), at(12, 0, 0)),  # adjust_to_quarter: the nearest *:00, *:15, *:30, *:45
        (1, at(12, 7, 30), at(12, 15, 0)),
        (1, at(12, 52, 31), at(13, 0, 0)),
        (2, at(12, 29, 59), at(12, 0, 0)),  # adjust_to_measuring_period: here of an hour
        (2, at(12, 30, 0), at(13, 0, 0)),
        (3, at(12, 7, 29), at(12, 7, 0)),  # adjust_to_minute
        (3, at(12, 7, 30), at(12, 8, 0)),
        (3, at(12, 7, 0), at(12, 7, 0)),
    ],
)
def test_adjusting_goes_to_the_nearest(method: int, before: datetime, after: datetime) -> None:
    crystal = Crystal(before)
    ClockObject(CLOCK, crystal, BERLIN, measuring_period_s=3600).invoke(method, NOTHING)
    assert crystal.instant == after


def test_time_is_shifted_by_900_seconds_at_most() -> None:
    crystal = Crystal(at(12, 0, 0))
    clock = ClockObject(CLOCK, crystal, BERLIN)
    clock.invoke(6, Data(Tag.LONG, 900))
    assert crystal.instant == at(12, 15, 0)
    clock.invoke(6, Data(Tag.LONG, -900))
    assert crystal.instant == at(12, 0, 0)
    for wrong in (901, -901):
        assert refused(clock.invoke, 6, Data(Tag.LONG, wrong)) is AccessResult.SCOPE_OF_ACCESS_VIOLATED
    assert refused(clock.invoke, 6, Data(Tag.INTEGER, 1)) is AccessResult.TYPE_UNMATCHED
    assert crystal.instant == at(12, 0, 0)


def test_a_preset_time_is_taken_within_its_interval_also_by_the_next_association() -> None:
    crystal = Crystal(at(12, 0, 0))
    kept: dict[int, Data] = {}
    clock = RuledClock(CLOCK, crystal, BERLIN, kept)
    assert refused(clock.invoke, 4, NOTHING) is AccessResult.TEMPORARY_FAILURE
    preset = structure(stamp(at(18, 0, 0)), stamp(at(12, 5, 0)), stamp(at(12, 10, 0)))
    assert refused(clock.invoke, 5, structure(stamp(at(18, 0, 0)))) is AccessResult.TYPE_UNMATCHED
    clock.invoke(5, preset)
    again = RuledClock(CLOCK, crystal, BERLIN, kept)
    assert refused(again.invoke, 4, NOTHING) is AccessResult.TEMPORARY_FAILURE  # not yet
    crystal.instant = at(12, 10, 1)
    assert refused(again.invoke, 4, NOTHING) is AccessResult.TEMPORARY_FAILURE  # no more
    crystal.instant = at(12, 7, 0)
    again.invoke(4, NOTHING)
    assert crystal.instant == at(18, 0, 0)
    assert again.read(3) == bytes.fromhex("10ffc4")  # a preset sets no rule


def test_the_attributes_are_those_of_the_zone_octet_for_octet() -> None:
    crystal = Crystal(datetime(2025, 7, 1, 12, 34, 56, tzinfo=UTC))
    clock = ClockObject(CLOCK, crystal, BERLIN)
    summer = {
        2: "090c 07e9 07 01 02 0e 22 38 00 ff88 80",  # Tuesday, 14:34:56, 120 minutes ahead, saving daylight
        3: "10 ffc4",  # normal time is 60 minutes ahead
        4: "11 80",
        5: "090c 07e9 03 1e 07 02 00 00 00 ffc4 00",  # Sunday 30 March, 02:00
        6: "090c 07e9 0a 1a 07 03 00 00 00 ff88 00",  # Sunday 26 October, 03:00
        7: "0f 3c",
        8: "03 01",
        9: "16 01",
    }
    for index, octets in summer.items():
        assert clock.read(index) == bytes.fromhex(octets), index
    crystal.instant = datetime(2025, 12, 1, 12, 0, 0, tzinfo=UTC)
    assert clock.read(2) == bytes.fromhex("090c 07e9 0c 01 01 0d 00 00 00 ffc4 00")
    assert clock.read(4) == bytes.fromhex("1100")


def test_an_hour_that_comes_twice_is_told_apart_by_its_deviation() -> None:
    first = datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
    crystal = Crystal(first)
    clock = ClockObject(CLOCK, crystal, BERLIN)
    shown = [clock.read(2)]
    crystal.instant = first + timedelta(hours=1)
    shown.append(clock.read(2))
    assert shown[0][:11] == shown[1][:11]  # 02:30 both times
    assert (shown[0][-3:], shown[1][-3:]) == (bytes.fromhex("ff8880"), bytes.fromhex("ffc400"))
    for value, instant in zip(shown, (first, first + timedelta(hours=1)), strict=True):
        clock.write(2, Data(Tag.OCTET_STRING, value[2:]))
        assert crystal.instant == instant
    for wrong in (Data(Tag.OCTET_STRING, bytes(11)), Data(Tag.OCTET_STRING, b"\xff" * 12), NOTHING):
        assert refused(clock.write, 2, wrong) is AccessResult.TYPE_UNMATCHED

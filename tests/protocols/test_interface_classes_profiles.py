"""Profiles that capture for themselves: orders, size, ranges over any column, entries and columns.

Sort methods, what makes room in a full buffer, and what resets it: as the Blue Book, clause 4.3.6, is
rendered in public documentation of the class. The buffer is checked against a list that Python sorted.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from acting_objects import refused
from openami.protocols.dlms.apdus.descriptors import BY_ENTRY, BY_RANGE, Selector
from openami.protocols.dlms.apdus.results import AccessResult
from openami.protocols.dlms.encoding.axdr import Data, Tag, array, decode, decode_plain, structure
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.interface_classes.clock import ClockObject
from openami.protocols.dlms.interface_classes.data import DataObject
from openami.protocols.dlms.interface_classes.interface_object import InterfaceObject
from openami.protocols.dlms.interface_classes.profile_generic import SortMethod
from openami.protocols.dlms.interface_classes.recorded_profile import RecordedProfile, RowMemory
from openami.protocols.dlms.interface_classes.timeline import Timeline
from openami.quantities.obis import ObisCode

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
CLOCK, VALUE, WHEN = ObisCode(0, 0, 1, 0, 0), ObisCode(0, 0, 96, 13, 0), ObisCode(0, 0, 96, 13, 1)
NOTHING = Data(Tag.INTEGER, 0)
KEYS = {
    SortMethod.LARGEST: lambda value: -value,
    SortMethod.SMALLEST: lambda value: value,
    SortMethod.NEAREST_TO_ZERO: abs,
    SortMethod.FAREST_FROM_ZERO: lambda value: -abs(value),
}


def long_unsigned(value: int) -> Data:
    return Data(Tag.LONG_UNSIGNED, value)


def double(value: int) -> Data:
    return Data(Tag.DOUBLE_LONG_UNSIGNED, value)


def column(class_id: int, name: ObisCode, attribute: int = 2) -> Data:
    return structure(
        long_unsigned(class_id),
        Data(Tag.OCTET_STRING, name.to_bytes()),
        Data(Tag.INTEGER, attribute),
        long_unsigned(0),
    )


COLUMNS = (column(8, CLOCK), column(1, VALUE), column(1, WHEN))


def stamp(at: datetime) -> Data:
    return Data(Tag.OCTET_STRING, CosemDateTime.from_instant(at, UTC).to_bytes())


class Recorder:
    """A profile of a clock, a number and a time; one capture a minute of our clock."""

    def __init__(self, entries: int = 100, method: SortMethod = SortMethod.FIFO) -> None:
        self.instant = BEGIN
        self.number = 0
        self.objects: dict[ObisCode, InterfaceObject] = {}
        self.memory = RowMemory()
        self.add(ClockObject(CLOCK, self))
        self.add(DataObject(VALUE, lambda: Data(Tag.DOUBLE_LONG, self.number)))
        self.add(DataObject(WHEN, lambda: stamp(BEGIN - timedelta(hours=self.number))))
        self.profile = RecordedProfile(ObisCode(1, 0, 99, 1, 0), self.objects.get, self.memory, self.now, UTC)
        self.profile.write(3, array(COLUMNS))
        self.profile.write(8, double(entries))
        self.profile.write(6, COLUMNS[1])
        self.profile.write(5, Data(Tag.ENUM, int(method)))

    def add(self, item: InterfaceObject) -> None:
        self.objects[item.logical_name] = item

    def now(self) -> datetime:
        return self.instant

    def set_time(self, instant: datetime) -> None:
        self.instant = instant

    def capture(self, *numbers: int) -> None:
        for self.number in numbers:
            self.instant += timedelta(minutes=1)
            self.profile.invoke(2, NOTHING)

    def numbers(self, selector: Selector | None = None) -> list[object]:
        rows = decode_plain(self.profile.read(2, selector))
        assert isinstance(rows, list)
        return [row[1] if isinstance(row, tuple) and len(row) == 3 else row for row in rows]


def by_range(restricting: Data, start: Data, end: Data, *wanted: Data) -> Selector:
    return Selector(BY_RANGE, structure(restricting, start, end, array(wanted)))


def by_entry(first: int, last: int, left: int = 1, right: int = 0) -> Selector:
    return Selector(
        BY_ENTRY, structure(double(first), double(last), long_unsigned(left), long_unsigned(right))
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-50, 50), max_size=30),
    st.integers(1, 12),
    st.sampled_from(list(SortMethod)),
)
def test_a_full_buffer_keeps_what_its_order_says(
    numbers: list[int], entries: int, method: SortMethod
) -> None:
    recorder = Recorder(entries, method)
    recorder.capture(*numbers)
    if method in KEYS:
        expected = sorted(numbers, key=KEYS[method])[:entries]  # a stable sort: the earlier stays before
    else:
        expected = numbers[-entries:]
        expected = expected[::-1] if method is SortMethod.LIFO else expected
    assert recorder.numbers() == expected
    assert recorder.profile.read(7) == bytes((Tag.DOUBLE_LONG_UNSIGNED,)) + len(expected).to_bytes(4, "big")
    # Entries count from 1 in the order of the buffer; 0 as the last means the last there is.
    for first in range(1, entries + 2):
        assert recorder.numbers(by_entry(first, 0)) == expected[first - 1 :]
        assert recorder.numbers(by_entry(first, first)) == expected[first - 1 : first]
    inside = [number for number in expected if -10 <= number <= 10]
    bounds = (Data(Tag.DOUBLE_LONG, -10), Data(Tag.DOUBLE_LONG, 10))
    assert recorder.numbers(by_range(COLUMNS[1], *bounds)) == inside


def test_the_largest_of_a_period_is_a_profile_of_one_entry() -> None:
    recorder = Recorder(1, SortMethod.LARGEST)
    recorder.capture(3, 9, 9, 4)
    first_nine = structure(
        stamp(BEGIN + timedelta(minutes=2)), Data(Tag.DOUBLE_LONG, 9), stamp(BEGIN - timedelta(hours=9))
    )
    assert decode(recorder.profile.read(2)) == array([first_nine])


def test_a_smaller_size_keeps_rows_and_another_order_or_list_begins_anew() -> None:
    recorder = Recorder()
    recorder.capture(1, 2, 3, 4, 5)
    recorder.profile.write(8, double(3))
    assert recorder.numbers() == [3, 4, 5]
    recorder.profile.write(8, double(50))
    assert recorder.numbers() == [3, 4, 5]
    recorder.profile.write(5, Data(Tag.ENUM, SortMethod.SMALLEST))
    assert recorder.numbers() == []
    recorder.capture(5, 1, 4, 2, 3)
    recorder.profile.write(8, double(3))
    assert recorder.numbers() == [1, 2, 3]
    recorder.profile.write(6, COLUMNS[0])
    assert recorder.numbers() == []
    recorder.capture(7, 6)
    recorder.profile.write(3, array(COLUMNS))
    assert recorder.numbers() == []
    recorder.capture(7)
    recorder.profile.invoke(1, NOTHING)
    assert recorder.numbers() == []
    assert refused(recorder.profile.write, 8, double(0)) is AccessResult.TYPE_UNMATCHED
    assert refused(recorder.profile.write, 8, double(1 << 31)) is AccessResult.TYPE_UNMATCHED
    assert refused(recorder.profile.write, 5, Data(Tag.ENUM, 7)) is AccessResult.TYPE_UNMATCHED


def test_rows_are_sorted_by_a_column_and_by_nothing_else() -> None:
    recorder = Recorder()
    stranger = column(1, ObisCode(0, 0, 96, 13, 9))
    assert refused(recorder.profile.write, 6, stranger) is AccessResult.SCOPE_OF_ACCESS_VIOLATED
    recorder.profile.write(6, column(0, ObisCode(0, 0, 0, 0, 0, 0)))  # no object to sort by
    largest = Data(Tag.ENUM, SortMethod.LARGEST)
    assert refused(recorder.profile.write, 5, largest) is AccessResult.SCOPE_OF_ACCESS_VIOLATED
    recorder.profile.write(6, COLUMNS[0])
    recorder.profile.write(5, largest)
    recorder.capture(1, 2, 3)
    assert recorder.numbers() == [3, 2, 1]  # the largest time first
    assert recorder.profile.read(6) == recorder.profile.read(6)
    assert decode(recorder.profile.read(6)) == COLUMNS[0]


def test_a_range_restricts_any_column_and_gives_the_columns_asked_for_in_their_order() -> None:
    recorder = Recorder()
    recorder.capture(*range(10))
    minute = timedelta(minutes=1)
    window = by_range(COLUMNS[0], stamp(BEGIN + 3 * minute), stamp(BEGIN + 5 * minute))
    assert recorder.numbers(window) == [2, 3, 4]
    times = by_range(COLUMNS[2], stamp(BEGIN - timedelta(hours=7)), stamp(BEGIN - timedelta(hours=6)))
    assert recorder.numbers(times) == [6, 7]
    chosen = by_range(COLUMNS[1], Data(Tag.LONG, 4), Data(Tag.LONG, 4), COLUMNS[2], COLUMNS[1])
    assert decode_plain(recorder.profile.read(2, chosen)) == [
        (CosemDateTime.from_instant(BEGIN - timedelta(hours=4), UTC).to_bytes(), 4)
    ]
    backwards = by_range(COLUMNS[1], Data(Tag.LONG, 5), Data(Tag.LONG, 4))
    assert recorder.profile.read(2, backwards) == b"\x01\x00"
    other = by_range(column(1, ObisCode(0, 0, 96, 13, 9)), Data(Tag.LONG, 1), Data(Tag.LONG, 2))
    assert refused(recorder.profile.read, 2, other) is AccessResult.OBJECT_UNDEFINED
    wrong = by_range(COLUMNS[1], Data(Tag.VISIBLE_STRING, "4"), Data(Tag.VISIBLE_STRING, "5"))
    assert refused(recorder.profile.read, 2, wrong) is AccessResult.TYPE_UNMATCHED


def test_columns_of_entries_count_from_one_and_zero_is_the_last() -> None:
    recorder = Recorder()
    recorder.capture(1, 2)
    assert recorder.profile.read(2, by_entry(1, 0, 2, 2)) == bytes.fromhex(
        "0102 0201 0500000001 0201 0500000002"
    )
    assert recorder.numbers(by_entry(2, 2, 2, 0)) == [(2, stamp(BEGIN - timedelta(hours=2)).value)]
    assert recorder.profile.read(2, by_entry(3, 0)) == b"\x01\x00"
    for bad in (by_entry(0, 0), by_entry(1, 0, 0, 1), by_entry(1, 0, 3, 2), by_entry(1, 0, 1, 4)):
        assert refused(recorder.profile.read, 2, bad) is AccessResult.SCOPE_OF_ACCESS_VIOLATED


def test_a_period_of_zero_captures_only_when_it_is_told_to() -> None:
    recorder = Recorder()
    timeline = Timeline(recorder.now, BEGIN, (recorder.profile,))
    recorder.instant += timedelta(days=2)
    timeline.settle()
    assert recorder.memory.rows == []
    recorder.profile.write(4, double(3600))
    recorder.instant += timedelta(hours=3, minutes=30)
    timeline.settle()
    assert [at.hour for at, _ in recorder.memory.rows] == [1, 2, 3]
    recorder.profile.write(4, double(0))
    assert recorder.memory.rows == []  # rows of another period are no rows of this profile
    recorder.capture(5)
    assert recorder.numbers() == [5]

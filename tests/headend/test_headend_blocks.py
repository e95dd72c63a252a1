"""Rows of a load profile become blocks of civil days, and not one watt-hour is lost or invented."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.headend.blocks import Exchange, batch_of, freeze_reads, interval_blocks, merge_batches
from openami.protocols.driver import ProfileRows, RecordedFrame, RegisterValue
from openami.quantities.civil_time import midnight
from openami.quantities.errors import RemoteProtocolError
from openami.quantities.obis import EXPORT_INTERVAL, IMPORT_ENERGY, IMPORT_INTERVAL
from openami.quantities.status import MISSING, DeviceFlag, Status
from openami.quantities.units import WH
from openami.readings.event import Event, EventCode
from openami.readings.evidence import frames_of
from openami.readings.read_order import ReadOrder

BERLIN = "Europe/Berlin"
READ_AT = datetime(2024, 11, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def rows_at(instants, values, flags=None, period_s=900, channel=IMPORT_INTERVAL):
    naive = [instant.astimezone(UTC).replace(tzinfo=None) for instant in instants]
    return ProfileRows(
        period_s,
        np.array(naive, "datetime64[us]"),
        np.array(flags if flags is not None else [0] * len(naive), np.int32),
        {channel: np.array(values, np.int64)},
        {channel: WH},
    )


def blocks_of(rows, start, end, zone=BERLIN, **rest):
    return interval_blocks(rows, meter_id="M1", zone=zone, start=start, end=end, captured_at=READ_AT, **rest)


@pytest.mark.parametrize(
    ("day", "count"), [(date(2024, 3, 31), 92), (date(2024, 6, 1), 96), (date(2024, 10, 27), 100)]
)
def test_a_civil_day_has_its_92_96_or_100_quarter_hours_named_by_their_start(day, count):
    start, end = midnight(day, BERLIN), midnight(day + timedelta(days=1), BERLIN)
    rows = rows_at([start + (index + 1) * QUARTER for index in range(count)], range(1, count + 1))
    (block,) = blocks_of(rows, start, end)
    assert block.day.day == day
    assert block.values.tolist() == list(range(1, count + 1))
    assert block.status is None
    assert block.day.interval_start(0, 900) == rows.at[0].astype(datetime).replace(tzinfo=UTC) - QUARTER


def test_the_row_of_local_midnight_is_the_last_interval_of_the_day_that_ends():
    start = midnight(date(2024, 6, 1), BERLIN)
    end = midnight(date(2024, 6, 3), BERLIN)
    rows = rows_at([midnight(date(2024, 6, 2), BERLIN), midnight(date(2024, 6, 2), BERLIN) + QUARTER], [7, 8])
    first, second = blocks_of(rows, start, end)
    assert (first.day.day, first.values[95], first.total) == (date(2024, 6, 1), 7, 7)
    assert (second.day.day, second.values[0], second.total) == (date(2024, 6, 2), 8, 8)
    assert (first.status_ids[:95] == MISSING).all()


def test_a_clock_set_back_gives_equal_stamps_which_are_added_and_flagged():
    # 10:22 set to 10:08: rows 10:15, 10:22 (short), again 10:15 (short), 10:30.
    start = midnight(date(2024, 6, 1), "UTC")
    at = [start + timedelta(hours=10, minutes=minute) for minute in (15, 22, 15, 30)]
    short = int(DeviceFlag.CLOCK_SET | DeviceFlag.SHORT_INTERVAL)
    (block,) = blocks_of(
        rows_at(at, [100, 50, 45, 101], [0, short, short, 0]), start, start + timedelta(days=1), "UTC"
    )
    assert block.values[40:42].tolist() == [145, 151]
    assert Status.from_id(int(block.status_ids[40])).device == short
    assert Status.from_id(int(block.status_ids[41])).device == short


def test_a_clock_set_forward_leaves_a_hole_and_keeps_the_energy():
    # 10:07 set to 10:40: rows 10:00, 10:07 (short), 10:45 (short).
    start = midnight(date(2024, 6, 1), "UTC")
    at = [start + timedelta(hours=10, minutes=minute) for minute in (0, 7, 45)]
    (block,) = blocks_of(rows_at(at, [90, 40, 35], [0, 4, 4]), start, start + timedelta(days=1), "UTC")
    assert block.values[39:43].tolist() == [90, 40, 0, 35]
    assert block.missing[39:43].tolist() == [False, False, True, False]
    assert DeviceFlag.CLOCK_SET in Status.from_id(int(block.status_ids[40])).device


def test_an_interval_that_reaches_past_the_range_is_left_for_the_next_read():
    start = midnight(date(2024, 6, 1), "UTC")
    at = [start + minutes * timedelta(minutes=1) for minutes in (15, 30, 37)]
    (block,) = blocks_of(rows_at(at, [1, 2, 4]), start, start + timedelta(minutes=40), "UTC")
    assert block.total == 3


def test_midnight_freezes_become_the_anchors_of_the_day():
    start, end = midnight(date(2024, 6, 1), BERLIN), midnight(date(2024, 6, 2), BERLIN)
    freezes = freeze_reads(rows_at([start, end], [1000, 1096], channel=IMPORT_ENERGY), "M1", READ_AT)
    assert [(read.kind, read.at, read.value) for read in freezes] == [
        ("freeze", start, 1000),
        ("freeze", end, 1096),
    ]
    rows = rows_at([start + (index + 1) * QUARTER for index in range(96)], [1] * 96)
    (block,) = blocks_of(rows, start, end, anchors=freezes)
    assert (block.anchor_start, block.anchor_end) == (1000, 1096)
    assert block.anchor_end - block.anchor_start == block.total


@given(
    offsets=st.lists(st.integers(-3_600_000_000, 4 * 86_400_000_000), min_size=1, max_size=300),
    zone=st.sampled_from([BERLIN, "UTC", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns"]),
    first=st.sampled_from([date(2024, 3, 30), date(2024, 10, 26), date(2024, 4, 6), date(2024, 7, 1)]),
    period_s=st.sampled_from([300, 900, 1800]),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_energy_is_conserved_for_any_stamps_in_any_order(offsets, zone, first, period_s, data):
    start, end = midnight(first, zone), midnight(first + timedelta(days=3), zone)
    at = [start + timedelta(microseconds=offset) for offset in offsets]
    values = data.draw(st.lists(st.integers(-5, 10**12), min_size=len(at), max_size=len(at)))
    blocks = blocks_of(rows_at(at, values, period_s=period_s), start, end, zone)
    inside = [value for value, instant in zip(values, at, strict=True) if start < instant <= end]
    assert sum(block.total for block in blocks) == sum(inside)
    for block in blocks:
        for index in np.flatnonzero(~block.missing):
            begin = block.day.interval_start(int(index), period_s)
            expected = [
                value
                for value, instant in zip(values, at, strict=True)
                if begin < instant <= begin + timedelta(seconds=period_s)
            ]
            assert expected
            assert block.values[index] == sum(expected)


def test_a_period_that_does_not_divide_the_day_is_the_meters_fault():
    start = midnight(date(2024, 6, 1), "UTC")
    with pytest.raises(RemoteProtocolError, match="capture period of 7000 s"):
        blocks_of(rows_at([start + QUARTER], [1], period_s=7000), start, start + timedelta(days=1), "UTC")


def test_columns_of_different_lengths_are_the_meters_fault():
    start = midnight(date(2024, 6, 1), "UTC")
    rows = rows_at([start + QUARTER], [1])
    torn = ProfileRows(900, rows.at, rows.status, {IMPORT_INTERVAL: np.array([1, 2])}, rows.quanta)
    with pytest.raises(RemoteProtocolError, match="different lengths"):
        blocks_of(torn, start, start + timedelta(days=1), "UTC")


def test_every_reading_of_an_exchange_refers_to_the_frames_it_came_from():
    start = midnight(date(2024, 6, 1), "UTC")
    end = start + timedelta(days=1)
    order = ReadOrder("M1", "127.0.0.1", 4059, 17, "UTC", start, end, (IMPORT_INTERVAL,), (IMPORT_ENERGY,))
    frames = tuple(
        RecordedFrame(way, octets, octets)
        for way, octets in (("->", b"\x00\x01question"), ("<-", b"\x00\x01answer"))
    )
    exchange = Exchange(
        order,
        READ_AT,
        READ_AT,
        frames,
        profile=rows_at([start + QUARTER], [5]),
        freezes=rows_at([start], [900], channel=IMPORT_ENERGY),
        registers=(RegisterValue(IMPORT_ENERGY, WH, 977),),
        events=((start, EventCode.POWER_UP),),
        notes=(Event("M1", READ_AT, EventCode.CLOCK_DIFFERENCE, READ_AT, "seconds=-41"),),
    )
    batch = batch_of(exchange)
    (evidence,) = batch.evidence
    assert frames_of(evidence.content) == [frame[:2] for frame in frames]
    assert evidence.sha256 == hashlib.sha256(b"\x00\x01question\x00\x01answer").hexdigest()
    assert evidence.source == "tcp://127.0.0.1:4059/17"
    readings = [*batch.intervals, *batch.register_reads, *batch.events]
    assert {reading.evidence_id for reading in readings} == {evidence.evidence_id}
    assert [(read.kind, read.value) for read in batch.register_reads] == [("freeze", 900), ("current", 977)]
    assert [event.code for event in batch.events] == [EventCode.POWER_UP, EventCode.CLOCK_DIFFERENCE]
    assert merge_batches([batch, batch_of(exchange)], "headend").batch_id != batch.batch_id


def test_intervals_not_over_by_both_clocks_are_not_taken():
    start = midnight(date(2024, 6, 1), "UTC")
    order = ReadOrder("M1", "h", 1, 1, "UTC", start, start + timedelta(days=1), (IMPORT_INTERVAL,))
    rows = rows_at([start + QUARTER, start + 2 * QUARTER], [5, 6])
    over = Exchange(order, READ_AT, start + timedelta(minutes=29), (), profile=rows)
    assert batch_of(over).intervals[0].total == 5


def test_channels_are_blocks_of_their_own():
    start = midnight(date(2024, 6, 1), "UTC")
    rows = rows_at([start + QUARTER], [5])
    both = ProfileRows(
        900,
        rows.at,
        rows.status,
        {**rows.columns, EXPORT_INTERVAL: np.array([3])},
        {**rows.quanta, EXPORT_INTERVAL: WH},
    )
    blocks = blocks_of(both, start, start + timedelta(days=1), "UTC")
    assert {block.channel: block.total for block in blocks} == {IMPORT_INTERVAL: 5, EXPORT_INTERVAL: 3}

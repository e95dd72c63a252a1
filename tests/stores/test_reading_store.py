"""What goes in through the Door comes out, as of any commit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from openami.mdm.stores import WITHDRAW, ReadingStore
from openami.quantities.civil_time import CivilDay
from openami.quantities.errors import StoreError
from openami.quantities.obis import EXPORT_INTERVAL, IMPORT_ENERGY, IMPORT_INTERVAL
from openami.quantities.status import MISSING, DeviceFlag, Quality, Status
from openami.quantities.units import WH, Quantum, Unit
from openami.readings.door import Batch, Conflict
from openami.readings.event import Event
from openami.readings.evidence import Evidence
from openami.readings.interval_block import IntervalBlock
from openami.readings.register_read import RegisterRead

DAY = date(2026, 10, 1)
NEXT = date(2026, 10, 2)
T1, T2, T3 = (datetime(2026, 10, 2, hour, tzinfo=UTC) for hour in (1, 2, 3))
ESTIMATED = Status(Quality.ESTIMATED, 54).id


def block(
    *hours: int | None,
    captured_at: datetime = T1,
    series_id: str = "M1",
    day: date = DAY,
    status: dict[int, int] | None = None,
    **more: object,
) -> IntervalBlock:
    """A day of six 4-hour intervals; None is missing; zone without clock changes."""
    counts = [*hours, *[None] * (6 - len(hours))]
    ids = np.array([MISSING if count is None else 0 for count in counts], np.int32)
    for place, one in (status or {}).items():
        ids[place] = one
    values = np.array([count or 0 for count in counts], np.int64)
    return IntervalBlock(
        series_id, IMPORT_INTERVAL, CivilDay(day, "Asia/Shanghai"), 14400, WH, values, captured_at,
        status=ids, **more,
    )  # fmt: skip


def counts(one: IntervalBlock) -> list[int | None]:
    return [None if gone else int(count) for count, gone in zip(one.values, one.missing, strict=True)]


def raw_counts(store: ReadingStore, as_of: int | None = None) -> list[int | None]:
    (one,) = store.raw(["M1"], None, DAY, NEXT, as_of=as_of)
    return counts(one)


@pytest.fixture
def store(tmp_path: Path) -> ReadingStore:
    return ReadingStore(tmp_path / "store")


def same(one: IntervalBlock, other: IntervalBlock) -> bool:
    plain = {"values", "status", "version", "seq", "sources"}
    return (
        np.array_equal(one.values, other.values)
        and np.array_equal(one.status_ids, other.status_ids)
        and all(
            getattr(one, name) == getattr(other, name)
            for name in IntervalBlock.__dataclass_fields__
            if name not in plain
        )
    )


def test_everything_of_a_batch_comes_back_as_it_was_put(tmp_path: Path) -> None:
    evidence = Evidence("frames", "tcp://x/17", "1-0:99.1.0/2", b"[]", "ab" * 32, T1)
    idle = Evidence("file", "a.csv", "line 2", b"1;2", "cd" * 32, T1)
    flagged = Status(device=DeviceFlag.POWER_FAIL | DeviceFlag.CLOCK_SET).id
    blocks = (
        block(1, 2, None, 4, 5, 6, status={1: flagged}, anchor_start=10, anchor_end=28,
              evidence_id=evidence.evidence_id, failed_checks=5),
        IntervalBlock("M2", EXPORT_INTERVAL, CivilDay(date(2026, 10, 25), "Europe/Berlin"), 900,
                      Quantum(Unit.WATT_HOUR, -3), np.arange(100, dtype=np.int64) - 2**40, T2,
                      rule="import", actor="ann", why="first load"),
    )  # fmt: skip
    read = RegisterRead("M1", IMPORT_ENERGY, T1, WH, 2**50, T2, "freeze", T1, flagged, evidence.evidence_id)
    event = Event("M1", T1 + timedelta(microseconds=1), 1001, T2, "seconds=41", evidence.evidence_id)
    receipt = ReadingStore(tmp_path / "s").put(Batch("t", blocks, (read,), (event,), (evidence, idle)))
    assert (receipt.seq, receipt.stored, receipt.duplicates, receipt.conflicts) == (1, 4, 0, ())

    store = ReadingStore(tmp_path / "s")
    found = store.raw(None, None, DAY, date(2027, 1, 1))
    assert [same(*pair) for pair in zip(found, blocks, strict=True)] == [True, True]
    assert [(one.version, one.seq, one.sources) for one in found] == [
        (1, 1, (one.block_id,)) for one in blocks
    ]
    assert store.register_reads(["M1"], [IMPORT_ENERGY], T1, T1) == [replace(read, seq=1)]
    assert store.events(None, DAY_START, T3) == [replace(event, seq=1)]
    assert store.evidence([evidence.evidence_id, idle.evidence_id, "?"]) == {
        evidence.evidence_id: replace(evidence, seq=1),
        idle.evidence_id: replace(idle, seq=1),
    }
    one = store.block(blocks[1].block_id)
    assert one is not None
    assert same(one, blocks[1])
    assert store.block("nothing") is None
    assert store.days_present("raw") == (DAY, date(2026, 10, 25))
    assert store.days_present("final") is None
    assert store.series_ids("raw") == ["M1", "M2"]
    assert store.batch(receipt.batch_id) is not None


DAY_START = datetime(2026, 10, 1, tzinfo=UTC)


def test_bounds_are_the_first_day_and_not_the_last_and_both_instants(store: ReadingStore) -> None:
    days = tuple(block(1, day=DAY + timedelta(days=n)) for n in range(40))
    reads = tuple(RegisterRead("M1", IMPORT_ENERGY, T1 + timedelta(seconds=n), WH, n, T3) for n in range(3))
    store.put(Batch("t", days, reads))
    found = store.raw(["M1"], [IMPORT_INTERVAL], date(2026, 10, 5), date(2026, 11, 3))
    assert [one.day.day for one in found] == [date(2026, 10, 5) + timedelta(days=n) for n in range(29)]
    assert store.raw(["M1"], [EXPORT_INTERVAL], DAY, date(2027, 1, 1)) == []
    assert store.raw([], None, DAY, date(2027, 1, 1)) == []
    assert [one.value for one in store.register_reads(None, None, T1, T1 + timedelta(seconds=1))] == [0, 1]


def test_a_day_in_pieces_becomes_whole_and_is_no_conflict(store: ReadingStore) -> None:
    store.put(Batch("a", (block(1, 2),)))
    receipt = store.put(Batch("b", (block(None, None, 3, 4, 5, 6, captured_at=T2),)))
    assert (receipt.stored, receipt.conflicts) == (1, ())
    (one,) = store.raw(["M1"], None, DAY, NEXT)
    assert counts(one) == [1, 2, 3, 4, 5, 6]
    assert one.sources == tuple(row.block_id for row in store.raw_versions("M1", IMPORT_INTERVAL, DAY))
    assert raw_counts(store, as_of=1) == [1, 2, None, None, None, None]


def test_an_acknowledged_batch_put_again_gives_its_receipt(store: ReadingStore) -> None:
    store.put(Batch("a", (block(1, 2),)))
    batch = Batch("b", (block(1, 9, captured_at=T2),), batch_id="job-7")
    first = store.put(batch)
    again = store.put(batch)
    assert again == replace(first, stored=0, duplicates=1)
    assert store.receipt("job-7") == first
    assert store.seq == 2
    with pytest.raises(StoreError, match="other content"):
        store.put(Batch("b", (block(1, 8, captured_at=T2),), batch_id="job-7"))


def test_the_same_content_in_another_batch_is_stored_once(store: ReadingStore) -> None:
    def delivery(captured_at: datetime) -> Batch:
        evidence = Evidence("frames", "tcp://x/1", "p", b"[]", "ab" * 32, captured_at)
        of = evidence.evidence_id
        return Batch(
            "t",
            (block(1, 2, 3, 4, 5, 6, captured_at=captured_at, evidence_id=of),),
            (RegisterRead("M1", IMPORT_ENERGY, T1, WH, 7, captured_at, "freeze", evidence_id=of),),
            (Event("M1", T1, 1, captured_at, evidence_id=of),),
            (evidence,),
        )

    assert store.put(delivery(T1)).stored == 3
    second = store.put(delivery(T2))
    assert (second.stored, second.duplicates, second.conflicts) == (0, 3, ())
    assert len(store.raw_versions("M1", IMPORT_INTERVAL, DAY)) == 1
    assert len(store.register_reads(None, None, T1, T1)) == 1
    assert len(store.events(None, T1, T1)) == 1
    assert store.evidence([delivery(T2).evidence[0].evidence_id]) == {}


def test_a_conflict_keeps_both_and_the_later_capture_counts(store: ReadingStore) -> None:
    old, new = block(1, 2, 3, 4, 5, 6), block(1, 20, 3, 40, 5, 6, captured_at=T2)
    store.put(Batch("a", (old,)))
    receipt = store.put(Batch("b", (new,)))
    assert receipt.conflicts == (
        Conflict(
            "M1",
            "1-0:1.29.0 2026-10-01: 2 of 6 intervals differ, first at 2026-09-30T20:00:00+00:00: "
            "2 != 20 (1 Wh)",
            new.block_id,
            old.block_id,
        ),
    )
    assert raw_counts(store) == [1, 20, 3, 40, 5, 6]
    assert len(store.raw_versions("M1", IMPORT_INTERVAL, DAY)) == 2
    earlier = block(7, 20, 3, 40, 5, 6, captured_at=T1 - timedelta(hours=1))
    (conflict,) = store.put(Batch("c", (earlier,))).conflicts
    assert (conflict.kept, conflict.other) == (new.block_id, earlier.block_id)
    assert raw_counts(store) == [1, 20, 3, 40, 5, 6]
    assert store.receipts(1)[0] == receipt


def test_an_estimate_never_replaces_a_measurement(store: ReadingStore) -> None:
    store.put(Batch("a", (block(1, 2, None),)))
    late = block(9, 9, 9, captured_at=T3, status=dict.fromkeys(range(3), ESTIMATED))
    assert store.put(Batch("b", (late,))).conflicts == ()
    assert raw_counts(store) == [1, 2, 9, None, None, None]
    store.put(Batch("c", (block(None, None, 3, captured_at=T2),)))
    assert raw_counts(store) == [1, 2, 3, None, None, None]


def test_content_delivered_again_later_than_its_rival_counts_again(store: ReadingStore) -> None:
    store.put(Batch("a", (block(5),)))
    assert store.put(Batch("c", (block(5, captured_at=T3),))).duplicates == 1
    store.put(Batch("b", (block(6, captured_at=T2),)))
    assert raw_counts(store)[0] == 5
    assert raw_counts(store, as_of=1)[0] == 5


def test_a_withdrawal_takes_back_what_was_captured_before_it(store: ReadingStore) -> None:
    store.put(Batch("a", (block(1, 2, 3, 4, 5, 6),)))
    taken_back = Status(Quality.NULL, reason=79).id
    # In the intervals that it marks as missing, and in no other.
    withdrawal = block(1, None, None, 4, 5, 6, captured_at=T2, status={1: taken_back, 2: taken_back},
                       rule=WITHDRAW, actor="ann", why="wrong meter")  # fmt: skip
    assert store.put(Batch("w", (withdrawal,))).conflicts == ()
    (one,) = store.raw(["M1"], None, DAY, NEXT)
    assert counts(one) == [1, None, None, 4, 5, 6]
    assert one.status_ids[1] == taken_back
    assert withdrawal.block_id in one.sources
    assert raw_counts(store, as_of=1) == [1, 2, 3, 4, 5, 6]
    store.put(Batch("late", (block(1, 22, captured_at=T1 + timedelta(minutes=1)),)))
    assert raw_counts(store)[1] is None
    store.put(Batch("new", (block(1, 23, captured_at=T3),)))
    assert raw_counts(store)[1:3] == [23, None]


def test_readings_on_another_grid_are_kept_apart_and_reported(store: ReadingStore) -> None:
    store.put(Batch("a", (block(1, 2, 3, 4, 5, 6),)))
    half = IntervalBlock("M1", IMPORT_INTERVAL, CivilDay(DAY, "Asia/Shanghai"), 7200, WH,
                         np.arange(12, dtype=np.int64), T2)  # fmt: skip
    (conflict,) = store.put(Batch("b", (half,))).conflicts
    assert conflict.kept == half.block_id
    (one,) = store.raw(None, None, DAY, NEXT)
    assert counts(one) == list(range(12))


def test_contradicting_register_reads_are_both_kept_and_one_counts(store: ReadingStore) -> None:
    old = RegisterRead("M1", IMPORT_ENERGY, T1, WH, 100, T1, "freeze")
    new = RegisterRead("M1", IMPORT_ENERGY, T1, WH, 101, T2, "freeze")
    live = RegisterRead("M1", IMPORT_ENERGY, T1, WH, 102, T2, "current")
    store.put(Batch("a", (), (old,)))
    receipt = store.put(Batch("b", (), (new, live)))
    assert receipt.conflicts == (
        Conflict("M1", "1-0:1.8.0 at 2026-10-02T01:00:00+00:00: 100 != 101 (1 Wh)", new.read_id, old.read_id),
    )
    assert [one.value for one in store.register_reads(["M1"], None, T1, T1)] == [102, 101]
    assert [one.value for one in store.register_reads(["M1"], None, T1, T1, as_of=1)] == [100]


def test_final_versions_count_up_and_identical_content_makes_none(store: ReadingStore) -> None:
    first = block(1, 2, 3, 4, 5, 6, series_id="UP1", sources=("a",))
    second = replace(first, values=first.values + 1, block_id="")
    assert store.put_final([first]).stored == 1
    assert store.put_final([replace(first, captured_at=T3, block_id="")]).duplicates == 1
    assert store.seq == 1
    assert store.put_final([second]).seq == 2
    assert store.put_final([first]).stored == 1
    assert [one.version for one in store.final_versions("UP1", IMPORT_INTERVAL, DAY)] == [1, 2, 3]
    for as_of, total in ((1, 21), (2, 27), (3, 21)):
        (one,) = store.final(["UP1"], None, DAY, NEXT, as_of=as_of)
        assert (one.total, one.version) == (total, as_of)
    assert store.final(["UP1"], None, DAY, NEXT, as_of=0) == []
    assert store.receipts() == []


def test_a_commit_that_was_not_is_no_as_of(store: ReadingStore) -> None:
    with pytest.raises(StoreError, match="no commit 1"):
        store.raw(None, None, DAY, NEXT, as_of=1)


def test_an_empty_batch_leaves_no_trace(store: ReadingStore) -> None:
    assert store.put(Batch("nothing")).seq == 0
    assert store.put_final([]).stored == 0
    assert store.seq == 0

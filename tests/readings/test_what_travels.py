"""What travels: blocks, reads, events and evidence survive their Arrow tables unchanged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openami.quantities.civil_time import CivilDay
from openami.quantities.errors import QuantityError
from openami.quantities.obis import IMPORT_ENERGY, IMPORT_INTERVAL
from openami.quantities.status import MISSING, Quality, Status
from openami.quantities.units import WH
from openami.readings.door import Batch
from openami.readings.event import Event, EventCode, events_from_table, events_to_table
from openami.readings.evidence import (
    Evidence,
    evidence_from_table,
    evidence_to_table,
    frames_content,
    frames_of,
)
from openami.readings.interval_block import IntervalBlock, blocks_from_table, blocks_to_table
from openami.readings.register_read import RegisterRead, reads_from_table, reads_to_table

NOON = datetime(2026, 10, 26, 12, tzinfo=UTC)


@st.composite
def blocks(draw: st.DrawFn) -> IntervalBlock:
    day = CivilDay(
        draw(st.sampled_from([date(2026, 3, 29), date(2026, 10, 25), date(2026, 7, 1)])), "Europe/Berlin"
    )
    count = day.interval_count(3600)
    values = draw(st.lists(st.integers(-(2**40), 2**40), min_size=count, max_size=count))
    codes = st.sampled_from([0, MISSING, Status(Quality.ESTIMATED, 17).id])
    status = draw(st.none() | st.lists(codes, min_size=count, max_size=count))
    return IntervalBlock(
        series_id=draw(st.text("abc123", min_size=1, max_size=5)),
        channel=IMPORT_INTERVAL,
        day=day,
        interval_s=3600,
        quantum=WH,
        values=np.array(values, np.int64),
        captured_at=NOON,
        status=None if status is None else np.array(status, np.int32),
        anchor_start=draw(st.none() | st.integers(0, 10**9)),
        sources=tuple(draw(st.lists(st.text("xyz", min_size=1, max_size=3), max_size=3))),
        seq=draw(st.integers(0, 2**40)),
    )


@given(st.lists(blocks(), max_size=5))
def test_blocks_survive_their_table(rows: list[IntervalBlock]) -> None:
    for before, after in zip(rows, blocks_from_table(blocks_to_table(rows)), strict=True):
        assert after.block_id == before.block_id == after._content_id()
        assert (after.values == before.values).all()
        assert (after.status_ids == before.status_ids).all()
        assert (after.sources, after.seq, after.day) == (before.sources, before.seq, before.day)


@given(blocks())
def test_a_missing_value_is_null_in_the_table_and_never_counts(block: IntervalBlock) -> None:
    cells = blocks_to_table([block]).column("values")[0].as_py()
    assert [cell is None for cell in cells] == block.missing.tolist()
    assert sum(cell for cell in cells if cell is not None) == block.total


@given(blocks())
def test_block_id_follows_the_content(block: IntervalBlock) -> None:
    changed = block.values.copy()
    index = int(np.flatnonzero(~block.missing)[0]) if not block.missing.all() else None
    if index is None:
        return
    changed[index] += 1
    other = IntervalBlock(
        series_id=block.series_id,
        channel=block.channel,
        day=block.day,
        interval_s=block.interval_s,
        quantum=block.quantum,
        values=changed,
        captured_at=block.captured_at,
        status=block.status,
        anchor_start=block.anchor_start,
        sources=block.sources,
    )
    assert other.block_id != block.block_id


def test_block_of_a_wrong_length_is_refused_with_the_right_one() -> None:
    with pytest.raises(QuantityError, match=r"int64 \(100,\)"):
        IntervalBlock(
            "m",
            IMPORT_INTERVAL,
            CivilDay(date(2026, 10, 25), "Europe/Berlin"),
            900,
            WH,
            np.zeros(96, np.int64),
            NOON,
        )


def test_reads_events_and_evidence_survive_their_tables() -> None:
    read = RegisterRead("m1", IMPORT_ENERGY, NOON, WH, 123456789012, NOON, "freeze", reached_at=NOON)
    event = Event("m1", NOON, EventCode.CLOCK_DIFFERENCE, NOON, "seconds=-41")
    frames = [("->", b"\x00\x01"), ("<-", b"\xff" * 9)]
    ciphered = b"what was on the wire"
    wire = frames[0][1] + ciphered
    evidence = Evidence(
        "frames",
        "tcp://127.0.0.1:4059/2",
        "1-0:99.1.0",
        frames_content([(*frames[0], frames[0][1]), (*frames[1], ciphered)]),
        hashlib.sha256(wire).hexdigest(),
        NOON,
    )
    assert list(reads_from_table(reads_to_table([read]))) == [read]
    assert list(events_from_table(events_to_table([event]))) == [event]
    assert list(evidence_from_table(evidence_to_table([evidence]))) == [evidence]
    assert frames_of(evidence.content) == frames
    assert hashlib.sha256(ciphered).hexdigest().encode() in evidence.content
    assert ciphered.hex().encode() not in evidence.content
    assert event.facts == {"seconds": "-41"}


def test_batch_id_is_the_content_whatever_the_order() -> None:
    events = [Event("m1", NOON, code, NOON) for code in (1, 2, 3)]
    forward, backward = Batch("wire", events=tuple(events)), Batch("wire", events=tuple(reversed(events)))
    assert forward.batch_id == backward.batch_id
    assert forward.batch_id != Batch("wire", events=tuple(events[:2])).batch_id


DAY = CivilDay(date(2026, 7, 1), "Europe/Berlin")
EDGE = datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-14)))


def a_block(**changes: Any) -> IntervalBlock:
    fields = {"series_id": "M", "values": np.zeros(24, np.int64), "captured_at": NOON} | changes
    return IntervalBlock(channel=IMPORT_INTERVAL, day=DAY, interval_s=3600, quantum=WH, **fields)


def a_read(**changes: Any) -> RegisterRead:
    fields = {"meter_id": "M", "at": NOON, "value": 1, "captured_at": NOON} | changes
    return RegisterRead(register=IMPORT_ENERGY, quantum=WH, **fields)


@pytest.mark.parametrize(
    "make",
    [
        lambda: a_block(series_id="\ud800"),
        lambda: a_block(status=np.full(24, -8, np.int32)),
        lambda: a_block(status=np.full(24, 7, np.int32)),
        lambda: a_block(anchor_start=2**63),
        lambda: a_block(failed_checks=2**63),
        lambda: a_block(captured_at=EDGE),
        lambda: a_read(value=1.5),
        lambda: a_read(value=2**63),
        lambda: a_read(kind="guessed"),
        lambda: a_read(status=2**31),
        lambda: a_read(at=EDGE),
        lambda: a_read(reached_at=NOON.replace(tzinfo=None)),
        lambda: a_read(meter_id="\ud800"),
        lambda: Event("M", NOON, 2**31, NOON),
        lambda: Event("M", NOON, 1, NOON, "\ud800"),
        lambda: Evidence("file", "\ud800", "line 1", b"", "", NOON),
        lambda: Batch("\ud800"),
    ],
)
def test_what_cannot_be_stored_is_not_made(make: Callable[[], object]) -> None:
    with pytest.raises(QuantityError):
        make()


def test_a_maximum_has_one_id_in_whatever_zone_its_time_is_written() -> None:
    there = NOON.astimezone(timezone(timedelta(hours=2)))
    assert a_read(reached_at=there).read_id == a_read(reached_at=NOON).read_id

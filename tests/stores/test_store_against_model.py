"""The store against a model in plain Python, for random deliveries, at every commit there was.

The model keeps every delivery, duplicates too, and works out each interval by itself; so it also says
that no order of arrival, and no duplicate that was not stored, changes an answer.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from openami.mdm.stores import WITHDRAW, ReadingStore
from openami.quantities.civil_time import CivilDay
from openami.quantities.obis import IMPORT_ENERGY, IMPORT_INTERVAL
from openami.quantities.status import MISSING, DeviceFlag, Quality, Status
from openami.quantities.units import WH
from openami.readings.door import Batch
from openami.readings.interval_block import IntervalBlock
from openami.readings.register_read import RegisterRead

NOON = datetime(2026, 10, 31, 12, tzinfo=UTC)
DAYS = (date(2026, 10, 31), date(2026, 11, 1))
SERIES = ("A", "B")
VALID, FLAGGED = 0, Status(device=DeviceFlag.POWER_FAIL).id
DOUBTFUL = Status(device=DeviceFlag.DATA_INVALID).id
SUSPECT = Status(Quality.SUSPECT).id
ESTIMATED, SUBSTITUTED = Status(Quality.ESTIMATED, 54).id, Status(Quality.SUBSTITUTED, 55).id
RANKS = {VALID: 4, FLAGGED: 4, DOUBTFUL: 3, SUSPECT: 3, ESTIMATED: 2, SUBSTITUTED: 2, MISSING: 0}

interval = st.tuples(st.integers(0, 2), st.sampled_from(list(RANKS))).map(
    lambda pair: (0 if pair[1] == MISSING else pair[0], pair[1])
)
delivery = st.tuples(
    st.sampled_from(SERIES),
    st.sampled_from(DAYS),
    st.integers(0, 3),
    st.lists(interval, min_size=2, max_size=2),
    st.sampled_from([None, None, None, WITHDRAW]),
)


@dataclass(frozen=True)
class Delivery:
    seq: int
    block: IntervalBlock


def block_of(series_id: str, day: date, hour: int, intervals: list[tuple[int, int]], rule_: str | None,
             evidence: str | None = None) -> IntervalBlock:  # fmt: skip
    return IntervalBlock(
        series_id, IMPORT_INTERVAL, CivilDay(day, "UTC"), 43200, WH,
        np.array([value for value, _ in intervals], np.int64), NOON + timedelta(hours=hour),
        status=np.array([status for _, status in intervals], np.int32), rule=rule_, evidence_id=evidence,
    )  # fmt: skip


def expected_interval(deliveries: list[IntervalBlock], place: int) -> tuple[int, int]:
    """Value and status that count, worked out from all deliveries of the day one by one."""
    withdrawals = [
        (one.captured_at, int(one.status_ids[place]))
        for one in deliveries
        if one.rule == WITHDRAW and one.missing[place]
    ]
    since = max((at for at, _ in withdrawals), default=datetime.min.replace(tzinfo=UTC))
    candidates = [
        (
            RANKS[int(one.status_ids[place])],
            one.captured_at,
            int(one.values[place]),
            int(one.status_ids[place]),
        )
        for one in deliveries
        if one.rule != WITHDRAW and one.captured_at > since
    ]
    if candidates:
        _, _, value, status = max(candidates)
        return value, status
    return 0, max(withdrawals)[1] if withdrawals else MISSING


def resolved(blocks: list[IntervalBlock]) -> dict[tuple[str, date], list[tuple[int, int]]]:
    return {
        (one.series_id, one.day.day): list(zip(one.values.tolist(), one.status_ids.tolist(), strict=True))
        for one in blocks
    }


class StoreAgainstModel(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="openami-test-"))
        self.store = ReadingStore(self.folder / "store")
        self.deliveries: list[Delivery] = []
        self.finals: list[Delivery] = []
        self.reads: list[tuple[int, RegisterRead]] = []
        self.batches: list[tuple[Batch, int]] = []
        self.number = 0

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(deliveries=st.lists(delivery, min_size=1, max_size=4))
    def put(self, deliveries) -> None:
        self.number += 1
        blocks = [block_of(*one, evidence=f"e{self.number}") for one in deliveries]
        batch = Batch(f"batch {self.number}", tuple(blocks), batch_id=f"batch {self.number}")
        receipt = self.store.put(batch)
        assert receipt.stored + receipt.duplicates == len(blocks)
        self.deliveries += [Delivery(receipt.seq, block) for block in blocks]
        self.batches.append((batch, receipt.seq))

    @rule(value=st.integers(0, 2), hour=st.integers(0, 3), meter=st.sampled_from(SERIES))
    def put_read(self, value, hour, meter) -> None:
        self.number += 1
        read = RegisterRead(meter, IMPORT_ENERGY, NOON, WH, value, NOON + timedelta(hours=hour), "freeze")
        batch = Batch("r", (), (read,), batch_id=f"batch {self.number}")
        self.reads.append((self.store.put(batch).seq, read))

    @rule(data=st.data())
    def put_again(self, data) -> None:
        if self.batches:
            batch, seq = data.draw(st.sampled_from(self.batches))
            receipt = self.store.put(batch)
            assert (receipt.seq, receipt.stored, receipt.duplicates) == (seq, 0, len(batch.intervals))

    @rule(
        series=st.sampled_from(SERIES),
        day=st.sampled_from(DAYS),
        values=st.lists(interval, min_size=2, max_size=2),
    )
    def put_final(self, series, day, values) -> None:
        block = replace(block_of(series, day, 0, values, None), sources=("x",), block_id="")
        newest = [
            one.block for one in self.finals if (one.block.series_id, one.block.day.day) == (series, day)
        ]
        receipt = self.store.put_final([block])
        same = bool(newest) and resolved(newest[-1:]) == resolved([block])
        assert (receipt.stored, receipt.duplicates) == ((0, 1) if same else (1, 0))
        if not same:
            self.finals.append(Delivery(receipt.seq, block))

    @rule(month=st.sampled_from(["2026-10", "2026-11"]))
    def compact(self, month) -> None:
        self.store.compact(month)

    @rule()
    def reopen(self) -> None:
        self.store = ReadingStore(self.folder / "store")

    @invariant()
    def every_commit_answers_as_the_model(self) -> None:
        last = self.store.seq
        for as_of in {0, 1, last // 2, max(last - 1, 0), last}:
            if as_of > last:
                continue
            seen = [one.block for one in self.deliveries if one.seq <= as_of]
            days: dict[tuple[str, date], list[IntervalBlock]] = {}
            for block in seen:
                days.setdefault((block.series_id, block.day.day), []).append(block)
            expected = {
                key: [expected_interval(blocks, place) for place in (0, 1)] for key, blocks in days.items()
            }
            found = self.store.raw(None, None, DAYS[0], date(2026, 11, 2), as_of=as_of)
            assert resolved(found) == expected
            assert [(one.series_id, one.day.day) for one in found] == sorted(expected)
            newest = {}
            for final in self.finals:
                if final.seq <= as_of:
                    newest[final.block.series_id, final.block.day.day] = final.block
            finals = self.store.final(None, None, DAYS[0], date(2026, 11, 2), as_of=as_of)
            assert resolved(finals) == resolved(list(newest.values()))
            registers: dict[str, tuple[datetime, int]] = {}
            for seq, read in self.reads:
                if seq <= as_of:
                    one = (read.captured_at, read.value)
                    registers[read.meter_id] = max(registers.get(read.meter_id, one), one)
            reads = self.store.register_reads(None, None, NOON, NOON, as_of=as_of)
            assert {read.meter_id: read.value for read in reads} == {
                meter: value for meter, (_, value) in registers.items()
            }

    @invariant()
    def versions_count_up(self) -> None:
        for series, day in itertools.product(SERIES, DAYS):
            for versions, puts in (
                (self.store.final_versions(series, IMPORT_INTERVAL, day), self.finals),
                (self.store.raw_versions(series, IMPORT_INTERVAL, day), None),
            ):
                assert [one.version for one in versions] == list(range(1, len(versions) + 1))
                if puts is not None:
                    here = [one for one in puts if (one.block.series_id, one.block.day.day) == (series, day)]
                    assert [one.seq for one in versions] == [one.seq for one in here]


TestStoreAgainstModel = StoreAgainstModel.TestCase
TestStoreAgainstModel.settings = settings(
    max_examples=12,
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(st.lists(delivery, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_no_order_of_arrival_changes_what_counts(deliveries, random) -> None:
    blocks = [block_of(*one) for one in deliveries]
    shuffled = list(blocks)
    random.shuffle(shuffled)
    answers = []
    for number, order in enumerate((blocks, shuffled)):
        with tempfile.TemporaryDirectory(prefix="openami-test-") as folder:
            store = ReadingStore(Path(folder) / "store")
            for place, block in enumerate(order):
                store.put(Batch(f"{number} {place}", (block,), batch_id=f"{number} {place}"))
            answers.append(resolved(store.raw(None, None, DAYS[0], date(2026, 11, 2))))
    assert answers[0] == answers[1]

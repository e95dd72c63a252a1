"""Meters are read over real sockets: what is stored is what they hold, and one's trouble stays its own."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from openami.headend.collection import CollectionPolicy, Collector, plain_detail
from openami.headend.dlms_conversation import LinkSettings
from openami.headend.dlms_tcp import dlms_tcp_drivers
from openami.mdm.stores.store import ReadingStore
from openami.meter.faults import DeadMeter, LostReplies
from openami.meter.fleet_spec import household_fleet
from openami.protocols.dlms.apdus.apdu import decode_apdu
from openami.quantities.errors import QuantityError, StoreError
from openami.quantities.obis import EXPORT_INTERVAL, IMPORT_ENERGY, IMPORT_INTERVAL, ObisCode
from openami.readings.event import EventCode
from openami.readings.evidence import frames_of

START = datetime(2024, 10, 25, 22, tzinfo=UTC)  # of the fleet: 26 October, midnight in Berlin
QUICK = LinkSettings(connect_timeout_s=2.0, request_timeout_s=0.25, repeats=1)


async def no_pause(_seconds: float) -> None:
    await asyncio.sleep(0)


def collector(door, served, *, settings=QUICK, progress=None, **policy):
    return Collector(
        door,
        served.clock,
        dlms_tcp_drivers(settings, served.security),
        policy=CollectionPolicy(**policy),
        sleep=no_pause,
        progress=progress,
    )


@pytest.fixture
def store(tmp_path):
    return ReadingStore(tmp_path / "readings")


def blocks_of(store, meter_ids=None):
    blocks = store.raw(meter_ids, [IMPORT_INTERVAL], date(2024, 10, 20), date(2024, 11, 10))
    assert blocks
    return blocks


def evidence_of(store, *readings):
    return store.evidence({reading.evidence_id for reading in readings})


def events_of(store, meter_id, served, *codes):
    start, end = served.orders()[0].start - timedelta(days=1), served.clock.now() + timedelta(days=1)
    return store.events([meter_id], start, end, codes=codes)


class Hostile(asyncio.Protocol):
    """A peer that does its worst as soon as it is asked."""

    def __init__(self, answer: bytes, *, close: bool = False, endless: bool = False) -> None:
        self._answer, self._close, self._endless = answer, close, endless

    def connection_made(self, transport):
        self._transport = transport

    def data_received(self, data):
        if self._endless:
            self._go_on()
        elif self._answer:
            self._transport.write(self._answer)
        if self._close:
            self._transport.close()

    def _go_on(self):
        if not self._transport.is_closing():
            self._transport.write(self._answer)
            asyncio.get_running_loop().call_later(0.01, self._go_on)


@asynccontextmanager
async def hostile(**how):
    server = await asyncio.get_running_loop().create_server(lambda: Hostile(**how), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def test_days_of_a_fleet_are_stored_value_for_value_across_the_end_of_summer_time(
    serve, store, stored_intervals
):
    async with serve(5, hours=49.5) as served:  # 26 October, the 27th of 25 hours, half an hour
        orders = served.orders()
        report = await collector(store, served).collect(orders)
        assert (report.meters, report.read, report.failed, report.retried) == (5, 5, 0, 0)
        assert report.intervals == 5 * (96 + 100 + 2)
        for meter_id in served.fleet.meter_ids:
            held = served.held(meter_id, orders[0].start, served.clock.now())
            assert len(held) == 198
            assert stored_intervals(store, meter_id, orders[0].start, served.clock.now()) == held
    closed = [block for block in blocks_of(store) if block.anchor_end is not None]
    assert sorted(len(block.values) for block in closed) == [96] * 5 + [100] * 5
    for block in closed:
        assert block.total == block.anchor_end - block.anchor_start


async def test_every_reading_is_followed_to_its_frames_and_no_secret_is_in_them(serve, store):
    async with serve(2) as served:
        orders = served.orders()
        await collector(store, served).collect(orders)
        reads = store.register_reads(None, None, orders[0].start, served.clock.now())
    evidence = evidence_of(store, *blocks_of(store), *reads)
    assert len(evidence) == 2
    assert {read.kind for read in reads} == {"freeze", "current"}
    for item in evidence.values():
        frames = frames_of(item.content)
        entries = json.loads(item.content)
        # AARQ, AARE, RLRQ and RLRE go plain; everything between is kept deciphered, with the wire's hash.
        assert [len(entry) for entry in entries] == [2, 2, *[3] * (len(entries) - 4), 2, 2]
        assert all(decode_apdu(octets[8:]) for _, octets in frames)
        assert item.sha256 != hashlib.sha256(b"".join(octets for _, octets in frames)).hexdigest()
        for spec in served.fleet.spec.meters:
            keys = spec.keys.meter_keys()
            for key in (keys.global_unicast, keys.authentication, keys.master):
                assert key.reveal() not in b"".join(octets for _, octets in frames)
        assert [direction for direction, _ in frames] == ["->", "<-"] * (len(frames) // 2)


async def test_frames_of_a_meter_with_a_password_are_kept_as_they_were_but_for_the_password(serve, store):
    async with serve(1, secured=False) as served:
        orders = served.orders()
        await collector(store, served).collect(orders)
    for item in evidence_of(store, *blocks_of(store)).values():
        frames = frames_of(item.content)
        assert item.sha256 == hashlib.sha256(b"".join(octets for _, octets in frames)).hexdigest()
        assert not any(orders[0].password in octets for _, octets in frames)


async def test_trouble_of_one_meter_is_named_and_stays_its_own(serve, store):
    frame = bytes.fromhex("0001 0010 0001 0040") + b"\x61\x20half of an answer"
    async with (
        serve(4) as served,
        hostile(answer=b"HTTP/1.1 400 Bad Request\r\n\r\n") as garbage,
        hostile(answer=b"") as silent,
        hostile(answer=frame, close=True) as breaking,
        hostile(answer=bytes.fromhex("00010010")) as stalling,
        hostile(answer=bytes(1 << 20), endless=True) as endless,
    ):
        good = served.orders()
        bad = [
            replace(good[0], meter_id=name, port=port, password=b"12345678")
            for name, port in {
                "GARBAGE": garbage, "SILENT": silent, "BREAKING": breaking, "STALLING": stalling,
                "ENDLESS": endless,
            }.items()
        ]  # fmt: skip
        async with hostile(answer=b"") as refused:
            pass
        bad.append(replace(good[0], meter_id="REFUSED", port=refused))
        report = await collector(store, served, attempts=2).collect([*bad, *good])
        assert (report.read, report.failed) == (4, 6)
        reasons = {failure.meter_id: failure.reason for failure in report.failures}
        assert [failure.attempts for failure in report.failures] == [2] * 6
        assert list(reasons) == [order.meter_id for order in bad]
        assert "wrapper version 18516" in reasons["GARBAGE"]  # "HT"
        assert "no answer within 0.25 s" in reasons["SILENT"]
        assert "the meter closed the connection" in reasons["BREAKING"]
        assert "the answer broke off" in reasons["STALLING"]
        assert "wrapper version 0" in reasons["ENDLESS"] or "without end" in reasons["ENDLESS"]
        assert "cannot connect" in reasons["REFUSED"]
        for order in bad:
            (retried,) = events_of(store, order.meter_id, served, EventCode.READ_RETRIED)
            (failed,) = events_of(store, order.meter_id, served, EventCode.READ_FAILED)
            assert retried.facts["attempt"] == "2"
            assert failed.facts["attempts"] == "2"
            assert failed.facts["reason"] == reasons[order.meter_id]
        (failed,) = events_of(store, "GARBAGE", served, EventCode.READ_FAILED)
        (evidence,) = store.evidence([failed.evidence_id]).values()
        assert frames_of(evidence.content)[-1] == ("<-", b"HTTP/1.1 400 Bad Request\r\n\r\n")
        assert all(b"12345678" not in octets for _, octets in frames_of(evidence.content))
    assert {block.series_id for block in blocks_of(store)} == {order.meter_id for order in good}


async def test_pauses_double_and_frames_of_failed_attempts_count(serve, store):
    pauses = []

    async def pause(seconds):
        pauses.append(seconds)

    async with serve(1) as served, hostile(answer=b"HTTP/1.1 400 Bad Request\r\n\r\n") as garbage:
        policy = CollectionPolicy(attempts=4, retry_pause_s=1.5)
        drivers = dlms_tcp_drivers(QUICK)
        reader = Collector(store, served.clock, drivers, policy=policy, sleep=pause)
        report = await reader.collect([replace(served.orders()[0], port=garbage)])
    assert pauses == [1.5, 3.0, 6.0]
    assert (report.frames, report.retried, report.failed) == (8, 1, 1)  # a request and an answer, four times


async def test_nothing_is_stored_under_a_meter_that_did_not_answer_to_its_name(serve, store):
    async with serve(2) as served:
        first, second = served.orders()
        report = await collector(store, served).collect([replace(first, meter_id="H999999"), second])
        assert (report.read, report.failed) == (1, 1)
        assert report.failures[0].attempts == 1
        (event,) = events_of(store, "H999999", served, EventCode.IDENTITY_MISMATCH)
        assert event.facts == {"expected": "H999999", "found": "H000001"}
        assert len(evidence_of(store, event)) == 1
        assert store.series_ids("raw") == ["H000002"]


def test_what_a_meter_calls_itself_cannot_break_the_event_it_stands_in():
    assert plain_detail("A\x00B;found=X\n\u202eC" + "D" * 10_000) == "A B,found=X C" + "D" * 486


async def test_a_lost_answer_is_asked_for_again_and_told(serve, store, stored_intervals):
    async with serve(1) as served:
        start, end = served.orders()[0].start, served.clock.now()
    lossy = LostReplies("H000001", start, end + timedelta(days=1), every=4)
    async with serve(1, faults=[lossy]) as served:
        orders = served.orders()
        report = await collector(store, served).collect(orders)
        assert (report.read, report.retried) == (1, 1)  # the first answer, to the association, is lost too
        assert stored_intervals(store, "H000001", start, end) == served.held("H000001", start, end)
        events = events_of(store, "H000001", served, EventCode.READ_RETRIED)
    assert [event.facts.get("attempt") for event in events].count("2") == 1
    assert sum(int(event.facts.get("requests", 0)) for event in events) >= 2


async def test_a_clock_that_is_wrong_is_told_with_its_sign_and_set(serve, store, stored_intervals):
    spec = household_fleet(3, seed=7, start=START)
    offsets = (-41_000, 1_000, 3_000)
    meters = tuple(
        replace(meter, clock_offset_ms=offset) for meter, offset in zip(spec.meters, offsets, strict=True)
    )
    async with serve(spec=replace(spec, meters=meters)) as served:
        await collector(store, served).collect(served.orders())
        late, fine, early = served.fleet.meter_ids
        (difference,) = events_of(store, late, served, EventCode.CLOCK_DIFFERENCE)
        assert difference.facts == {"seconds": "-41"}
        assert len(events_of(store, late, served, EventCode.CLOCK_SET)) == 1
        assert events_of(store, fine, served, EventCode.CLOCK_DIFFERENCE, EventCode.CLOCK_SET) == []
        (difference,) = events_of(store, early, served, EventCode.CLOCK_DIFFERENCE)
        assert difference.facts == {"seconds": "3"}
        assert events_of(store, early, served, EventCode.CLOCK_SET) == []
        assert abs(served.fleet.meter(late).now - served.clock.now()) < timedelta(seconds=1)
        # The day in which the clock was set closes with the registers all the same.
        served.clock.advance(timedelta(hours=25))
        await collector(store, served).collect(served.orders())
        for meter_id in served.fleet.meter_ids:
            start, end = served.orders()[0].start, served.clock.now()
            assert stored_intervals(store, meter_id, start, end) == served.held(meter_id, start, end)
        closed = [block for block in blocks_of(store, [late]) if block.anchor_end is not None]
        assert len(closed) == 2
        for block in closed:
            assert block.total == block.anchor_end - block.anchor_start


async def test_a_meter_that_does_not_let_its_clock_be_set_is_read_all_the_same(
    serve, store, stored_intervals, monkeypatch
):
    def sealed(_meter_id, _instant):
        raise QuantityError("the clock is sealed")

    spec = household_fleet(1, seed=7, start=START)
    spec = replace(spec, meters=(replace(spec.meters[0], clock_offset_ms=-41_000),))
    async with serve(spec=spec) as served:
        monkeypatch.setattr(served.fleet, "set_clock", sealed)
        report = await collector(store, served).collect(served.orders())
        assert (report.read, report.retried) == (1, 0)
        start, end = START, served.clock.now() - timedelta(seconds=41)
        assert stored_intervals(store, "H000001", start, end) == served.held("H000001", start, end)
        codes = EventCode.CLOCK_DIFFERENCE, EventCode.CLOCK_SET
        (told,) = events_of(store, "H000001", served, *codes)
        assert (told.code, told.facts["seconds"]) == (EventCode.CLOCK_DIFFERENCE, "-41")
        assert told.facts["refused"].endswith("other reason")


async def test_a_meter_that_was_dead_is_read_back_when_it_answers_again(serve, store, stored_intervals):
    start = START
    dead = DeadMeter("H000001", start + timedelta(hours=30), start + timedelta(hours=40))
    async with serve(1, faults=[dead], hours=35) as served:
        report = await collector(store, served, attempts=1).collect(served.orders())
        assert "no answer" in report.failures[0].reason
        served.clock.advance(timedelta(hours=15))
        report = await collector(store, served, attempts=1).collect(served.orders())
        assert report.read == 1
        held = served.held("H000001", start, served.clock.now())
        assert stored_intervals(store, "H000001", start, served.clock.now()) == held
        assert len(held) < 50 * 4  # what was not captured is missing, not zero


async def test_reading_again_stores_nothing_twice(serve, store):
    async with serve(2) as served:
        await collector(store, served).collect(served.orders())
        before = blocks_of(store)
        served.clock.advance(timedelta(seconds=30))
        report = await collector(store, served).collect(served.orders())
        assert report.conflicts == 0
        assert report.duplicates >= len(before)
        after = blocks_of(store)
    assert [(block.series_id, block.values.tolist(), block.version) for block in after] == [
        (block.series_id, block.values.tolist(), block.version) for block in before
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"password": b"wrong"}, "association rejected"),
        ({"channels": (EXPORT_INTERVAL,)}, "the load profile does not capture 1-0:2.29.0"),
        ({"registers": (ObisCode(1, 0, 99, 8, 0),)}, "object undefined"),
        ({"logical_device": 9999}, "association re"),
        ({"host": "meter.invalid"}, "cannot connect"),
    ],
)
async def test_an_order_that_does_not_fit_the_meter_says_why(serve, store, change, reason):
    async with serve(1, secured="password" not in change) as served:
        report = await collector(store, served, attempts=1).collect(served.orders(**change))
    (failure,) = report.failures
    assert reason in failure.reason


async def test_maximum_demand_comes_with_the_instant_it_occurred(serve, store):
    maximum = ObisCode(1, 0, 1, 6, 0)
    async with serve(1) as served:
        await collector(store, served).collect(served.orders(registers=(IMPORT_ENERGY, maximum)))
        (read,) = store.register_reads(None, [maximum], served.orders()[0].start, served.clock.now())
        expected = served.fleet.meter("H000001").maximum_demand
    assert (read.value, int(read.reached_at.timestamp())) == (expected.power_w, expected.at_s)


async def test_finished_meters_share_a_commit_and_progress_is_told_when_they_are_durable(serve, store):
    told = []
    async with serve(7) as served:
        report = await collector(
            store, served, progress=lambda done, of: told.append((done, of, store.seq)), group_meters=3
        ).collect(served.orders())
    assert report.batches == store.seq == 3
    assert told == [(3, 7, 1), (6, 7, 2), (7, 7, 3)]


async def test_a_full_store_ends_the_collection_and_nothing_counts_as_read(serve):
    class FullDoor:
        def put(self, batch):
            raise StoreError("no space left", where="readings")

    async with serve(3) as served:
        with pytest.raises(StoreError, match="no space left"):
            await collector(FullDoor(), served).collect(served.orders())


async def test_no_orders_make_an_empty_report(serve, store):
    async with serve(1) as served:
        report = await collector(store, served).collect([])
    assert (report.meters, report.read, report.batches, store.seq) == (0, 0, 0, 0)


class SlowDoor:
    """A store that takes its time, and knows when a put is under way."""

    def __init__(self, store):
        self._store, self.under_way = store, 0

    def put(self, batch):
        self.under_way += 1
        assert self.under_way == 1
        time.sleep(0.05)
        receipt = self._store.put(batch)
        self.under_way -= 1
        return receipt


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.03, 0.06, 0.1, 0.2])
async def test_a_collection_cancelled_in_the_middle_leaves_whole_meters_and_no_connection(
    serve, store, stored_intervals, after_s
):
    async with serve(12) as served:
        orders, end, door = served.orders(), served.clock.now(), SlowDoor(store)
        collecting = collector(door, served, concurrency=4, group_meters=2).collect(orders)
        running = asyncio.create_task(collecting)
        await asyncio.sleep(after_s)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert door.under_way == 0
        for _ in range(100):
            if not served.server.open_connections:
                break
            await asyncio.sleep(0.01)
        assert served.server.open_connections == 0
        for meter_id in store.series_ids("raw"):
            assert stored_intervals(store, meter_id, START, end) == served.held(meter_id, START, end)
            kinds = {read.kind for read in store.register_reads([meter_id], None, START, end)}
            assert kinds == {"freeze", "current"}
        assert (await collector(store, served).collect(orders)).read == 12
        assert len(store.series_ids("raw")) == 12

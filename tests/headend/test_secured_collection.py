"""What is not protected as agreed ends with one meter, tells the operator, and leaves its frames behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from openami.headend.collection import CollectionPolicy, Collector
from openami.headend.dlms_conversation import LinkSettings
from openami.headend.dlms_tcp import dlms_tcp_drivers
from openami.mdm.exceptions import ExceptionList
from openami.mdm.ingest import IngestDoor
from openami.mdm.stores.store import ReadingStore
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.quantities.obis import IMPORT_INTERVAL
from openami.readings.event import EventCode
from openami.readings.evidence import frames_of
from openami.registry.database import open_database
from openami.security.counters import MAX_COUNTER, MemoryCounters

QUICK = LinkSettings(connect_timeout_s=2.0, request_timeout_s=0.4, repeats=0)
COUNTER_ERROR = "d80106"


async def no_pause(_seconds: float) -> None:
    await asyncio.sleep(0)


@asynccontextmanager
async def between(port: int, meddle: Callable[[int, bytes], bytes]) -> AsyncIterator[int]:
    """Somebody between the head-end and a meter: changes what the meter answers, by number of the answer."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        meter_reader, meter_writer = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((writer, meter_writer))
        number = 0
        while request := await reader.read(65536):
            meter_writer.write(request)
            header = await meter_reader.readexactly(8)
            answer = header + await meter_reader.readexactly(int.from_bytes(header[6:], "big"))
            writer.write(meddle(number, answer))
            number += 1
        meter_writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()


def framed(answer: bytes, apdu: bytes) -> bytes:
    return answer[:6] + len(apdu).to_bytes(2, "big") + apdu


def asks_for(counter: int) -> Callable[[int, bytes], bytes]:
    return lambda _, answer: framed(answer, bytes.fromhex(COUNTER_ERROR) + counter.to_bytes(4, "big"))


def tampers(number: int, answer: bytes) -> bytes:
    return answer[:-1] + bytes((answer[-1] ^ 1,)) if number == 3 else answer


def answers_first(number: int, answer: bytes) -> bytes:
    """A ciphered answer of nobody, without a tag and with the highest counter, to the association request."""
    return framed(answer, bytes.fromhex("cc0720fffffffec4c1")) if number == 0 else answer


def answers_without_protection(number: int, answer: bytes) -> bytes:
    return framed(answer, bytes.fromhex("c401c1000a0748303030303031")) if number == 2 else answer


@pytest.mark.parametrize(
    ("meddle", "reason", "attempts", "alarms"),
    [
        (asks_for(0), "forward only", 1, 1),
        (asks_for(MAX_COUNTER), "a jump of at most", 1, 1),
        (tampers, "authentication tag is wrong", 2, 2),
        (answers_first, "", 2, 0),
        (answers_without_protection, "unprotected APDU", 2, 2),
    ],
)
async def test_a_meter_that_is_not_believed_fails_alone_and_is_an_alarm_with_its_frames(
    serve, tmp_path: Path, meddle: Callable[[int, bytes], bytes], reason: str, attempts: int, alarms: int
) -> None:
    store = ReadingStore(tmp_path / "readings")
    async with serve(4) as served:
        exceptions = ExceptionList(open_database(f"sqlite:///{tmp_path / 'cases.sqlite'}"), served.clock)
        first, *others = served.orders()
        async with between(first.port, meddle) as port:
            collector = Collector(
                IngestDoor(store, exceptions),
                served.clock,
                dlms_tcp_drivers(QUICK, served.security),
                policy=CollectionPolicy(attempts=2),
                sleep=no_pause,
            )
            report = await collector.collect([replace(first, port=port), *others])
            assert (report.read, report.failed) == (3, 1)
            (failure,) = report.failures
            assert (failure.meter_id, failure.attempts) == (first.meter_id, attempts)
            assert reason in failure.reason
        after = served.clock.now() + timedelta(days=1)
        raised = store.events([first.meter_id], first.start, after, codes=(EventCode.SECURITY_ALARM,))
        assert len(raised) == alarms
        assert not store.events(
            [order.meter_id for order in others], first.start, after, codes=(EventCode.SECURITY_ALARM,)
        )
        for alarm in raised:
            (evidence,) = store.evidence([alarm.evidence_id]).values()
            assert len(frames_of(evidence.content)) >= 2
        assert ("meter_security" in exceptions.counts()) == bool(alarms)
        # Nothing that nobody vouched for has stayed: without the one in between, the meter is read.
        again = await Collector(
            store, served.clock, dlms_tcp_drivers(QUICK, served.security), sleep=no_pause
        ).collect([first])
        assert (again.read, again.failed) == (1, 0)


async def test_counters_that_were_lost_are_recovered_over_the_wire(serve, tmp_path: Path) -> None:
    store = ReadingStore(tmp_path / "readings")
    async with serve(3) as served:
        drivers = dlms_tcp_drivers(QUICK, served.security)
        orders = served.orders()
        assert (await Collector(store, served.clock, drivers).collect(orders)).read == 3
        served.counters = MemoryCounters()
        report = await Collector(store, served.clock, drivers).collect(orders)
        assert (report.read, report.retried) == (3, 0)


async def test_a_collection_of_a_meter_whose_key_is_used_up_says_so_and_reads_the_others(
    serve, tmp_path: Path
) -> None:
    store = ReadingStore(tmp_path / "readings")
    async with serve(2) as served:
        first, second = served.orders()
        spent = served.security(first.meter_id)
        assert spent is not None
        used = MemoryCounters({f"{spent.title.hex()}/{spent.keys.global_unicast.fingerprint}/send": 1 << 32})

        def security(meter_id: str) -> ClientSecurity | None:
            return replace(spent, counters=used) if meter_id == first.meter_id else served.security(meter_id)

        report = await Collector(store, served.clock, dlms_tcp_drivers(QUICK, security)).collect(
            [first, second]
        )
        assert (report.read, report.failed) == (1, 1)
        assert "used up" in report.failures[0].reason
    start = datetime(2024, 10, 20, tzinfo=UTC).date()
    assert {block.series_id for block in store.raw(None, [IMPORT_INTERVAL], start, date(2024, 11, 10))} == {
        second.meter_id
    }

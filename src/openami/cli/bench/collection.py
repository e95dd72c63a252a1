"""How fast a head-end reads meters: one process collects, another serves a thousand of them over loopback.

Each meter is one connection and one association: identity, clock, a day of load profile, freezes, registers
and the event log; everything goes through the Door of a real store, durable before it counts. Beside it the
same without a store, which shows what reading alone costs.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from openami.cli.bench.figures import Figure
from openami.headend.collection import CollectionPolicy, CollectionReport, Collector
from openami.headend.dlms_conversation import LinkSettings
from openami.headend.dlms_tcp import dlms_tcp_drivers
from openami.mdm.stores.store import ReadingStore
from openami.meter.fleet_spec import FleetSpec, household_fleet, save_fleet
from openami.meter.serve import fast_loop
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import LinkError
from openami.quantities.obis import IMPORT_ENERGY, IMPORT_INTERVAL
from openami.readings.door import Batch, Door, Receipt
from openami.readings.read_order import ReadOrder
from openami.security.counters import MemoryCounters

METERS = 1000
TITLE = b"OAMBENCH"
START = datetime(2026, 3, 1, 23, tzinfo=UTC)
NOW = START + timedelta(days=1, minutes=10)
POLICY = CollectionPolicy(concurrency=100, attempts=2)
LINK = LinkSettings(request_timeout_s=30.0)


def run() -> dict[str, Figure]:
    """Measure 1,000 meters with a day of load profile each."""
    spec = household_fleet(METERS, seed=1, start=START)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fleet.json"
        save_fleet(spec, path)
        command = [sys.executable, "-m", "openami.meter.serve", str(path), "--simulated"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                serving = orjson.loads(process.stdout.readline())
                with asyncio.Runner(loop_factory=fast_loop()) as runner:
                    runner.run(_advance(serving["control_port"]))
                    orders = orders_of(spec, serving["ports"])
                    security = secured(spec)
                    read = runner.run(_collect(orders, _Nowhere(), security))
                    stored = runner.run(_collect(orders, ReadingStore(Path(folder) / "readings"), security))
            finally:
                process.terminate()
    for report in (read, stored):
        if report.failed:
            raise LinkError(f"{report.failed} meters were not read: {report.failures[0].reason}")
    return {
        "meters_stored": Figure(stored.read / stored.seconds, "1/s"),
        "intervals_stored": Figure(stored.intervals / stored.seconds, "1/s"),
        "meters_read": Figure(read.read / read.seconds, "1/s"),
        "exchanges_read": Figure(read.frames / 2 / read.seconds, "1/s"),
    }


def orders_of(spec: FleetSpec, ports: list[int]) -> list[ReadOrder]:
    """Orders for the day that is over, one per meter."""
    return [
        ReadOrder(
            meter_id=meter.meter_id,
            host="127.0.0.1",
            port=ports[meter.port_index],
            logical_device=meter.wport,
            zone=meter.zone,
            start=START,
            end=START + timedelta(days=1),
            channels=(IMPORT_INTERVAL,),
            registers=(IMPORT_ENERGY,),
        )
        for meter in spec.meters
    ]


class _Nowhere:
    """A Door that keeps nothing: what reading costs without storing."""

    def put(self, batch: Batch) -> Receipt:
        """Acknowledge."""
        return Receipt(batch.batch_id, 0, 0, 0)


def secured(spec: FleetSpec) -> Callable[[str], ClientSecurity | None]:
    """The utility's side of the meters' keys."""
    counters = MemoryCounters()
    return {
        meter.meter_id: ClientSecurity(
            TITLE, meter.keys.meter_keys(), meter_title=meter.system_title, counters=counters
        )
        for meter in spec.meters
        if meter.keys is not None
    }.get


async def _collect(
    orders: list[ReadOrder], door: Door, security: Callable[[str], ClientSecurity | None]
) -> CollectionReport:
    collector = Collector(door, SimulatedClock(NOW), dlms_tcp_drivers(LINK, security), policy=POLICY)
    return await collector.collect(orders)


async def _advance(control_port: int) -> None:
    """Move the fleet to the present and let it live its day, so that the day is not made while it is read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", control_port)
    writer.write(orjson.dumps({"advance_to": NOW.isoformat()}) + b"\n")
    await reader.readline()
    writer.close()

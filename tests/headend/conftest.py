"""A fleet of software meters on real sockets, and what they hold, for the head-end to be compared with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FleetSpec, household_fleet
from openami.meter.tcp_server import FleetServer
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.quantities.clock import SimulatedClock
from openami.quantities.obis import IMPORT_ENERGY, IMPORT_INTERVAL
from openami.readings.read_order import ReadOrder
from openami.security.counters import MemoryCounters

START = datetime(2024, 10, 25, 22, tzinfo=UTC)  # 26 October, midnight in Berlin
TITLE = b"OAMHES99"
BERLIN = "Europe/Berlin"


@dataclass
class ServedFleet:
    """A fleet on TCP ports and its clock."""

    fleet: Fleet
    clock: SimulatedClock
    ports: list[int]
    server: FleetServer
    counters: MemoryCounters = field(default_factory=MemoryCounters)

    def orders(self, start: datetime = START, end: datetime | None = None, **changes) -> list[ReadOrder]:
        """One order per meter for everything from ``start`` to ``end`` (now)."""
        return [
            replace(
                ReadOrder(
                    meter_id=spec.meter_id,
                    host="127.0.0.1",
                    port=self.ports[spec.port_index],
                    logical_device=spec.wport,
                    zone=spec.zone,
                    start=start,
                    end=end or self.clock.now(),
                    channels=(IMPORT_INTERVAL,),
                    registers=(IMPORT_ENERGY,),
                    password=b"" if spec.keys else spec.password.encode(),
                ),
                **changes,
            )
            for spec in self.fleet.spec.meters
        ]

    def security(self, meter_id: str) -> ClientSecurity | None:
        """The utility's side of a meter's keys; counters live as long as the fleet."""
        for spec in self.fleet.spec.meters:
            if spec.meter_id == meter_id and spec.keys is not None:
                return ClientSecurity(
                    TITLE, spec.keys.meter_keys(), meter_title=spec.system_title, counters=self.counters
                )
        return None

    def held(self, meter_id: str, start: datetime, end: datetime) -> dict[datetime, int]:
        """What the meter itself holds: energy by the start of the interval, rows of one interval added."""
        profile = self.fleet.meter(meter_id).profile
        rows = profile.rows(slice(0, len(profile)))
        held: dict[datetime, int] = {}
        for stamp_s, value in zip(rows.stamp_s.tolist(), rows.values[0].tolist(), strict=True):
            begin = datetime.fromtimestamp(-(-stamp_s // 900) * 900 - 900, UTC)
            if start <= begin and begin + timedelta(seconds=900) <= end:
                held[begin] = held.get(begin, 0) + value
        return held


def stored(store, meter_id, start, end) -> dict[datetime, int]:
    """What the store holds of a meter: energy by the start of the interval."""
    first, last = start.date() - timedelta(days=1), end.date() + timedelta(days=2)
    found = {}
    for block in store.raw([meter_id], [IMPORT_INTERVAL], first, last):
        for index in np.flatnonzero(~block.missing):
            found[block.day.interval_start(int(index), block.interval_s)] = int(block.values[index])
    return found


@asynccontextmanager
async def serving(spec: FleetSpec, hours: float) -> AsyncIterator[ServedFleet]:
    clock = SimulatedClock(START)
    fleet = Fleet(spec, clock)
    clock.advance(timedelta(hours=hours))
    server = FleetServer(fleet)
    try:
        yield ServedFleet(fleet, clock, await server.start("127.0.0.1"), server)
    finally:
        await server.close()


@pytest.fixture
def serve():
    """Serve a fleet; by default households that have lived for a day and a half hour."""

    def serving_fleet(meters=3, *, faults=(), hours=24.5, spec=None, secured=True):
        made = spec or household_fleet(meters, seed=7, start=START, secured=secured)
        return serving(replace(made, faults=tuple(faults)), hours)

    return serving_fleet


@pytest.fixture
def stored_intervals():
    return stored

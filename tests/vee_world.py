"""A small utility for the tests of validation: real store, real registry, meters that count energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from openami.mdm.exceptions import ExceptionCase, ExceptionList
from openami.mdm.ingest import IngestDoor
from openami.mdm.stores.store import ReadingStore
from openami.mdm.vee.rule_pack import PackSource, RegistryPacks, default_pack
from openami.mdm.vee.run import Vee, VeeReport
from openami.quantities.civil_time import CivilDay, civil_days
from openami.quantities.clock import SimulatedClock
from openami.quantities.obis import IMPORT_INTERVAL, REGISTER_OF_INTERVAL, ObisCode
from openami.quantities.status import MISSING
from openami.quantities.units import WH, Quantum
from openami.readings.door import Batch
from openami.readings.event import Event
from openami.readings.interval_block import IntervalBlock
from openami.readings.register_read import RegisterRead
from openami.registry.entities import Installation, Meter, UsagePoint
from openami.registry.registry import Registry

ZONE = "Europe/Berlin"

FIRST = date(2024, 2, 5)  # a Monday
LAST = FIRST + timedelta(days=28)
CAPTURED = datetime(2030, 1, 1, tzinfo=UTC)
Counts = npt.NDArray[np.int64]


def civil(offset: int) -> CivilDay:
    """The civil day so many days after `FIRST`."""
    return CivilDay(FIRST + timedelta(days=offset), ZONE)


class Utility:
    """A utility whose meters never lose energy; what is delivered of it is up to the test."""

    def __init__(self, folder: Path, engine: sa.Engine) -> None:
        self.clock = SimulatedClock(CAPTURED)
        self.registry = Registry(engine, self.clock)
        self.store = ReadingStore(folder / "readings", clock=self.clock)
        self.exceptions = ExceptionList(engine, self.clock)
        self.door = IngestDoor(self.store, self.exceptions, registry=self.registry)

    def meter(
        self,
        meter_id: str = "M-1",
        usage_point_id: str = "UP-1",
        *,
        zone: str = ZONE,
        digits: int = 8,
        exponent: int = 0,
        interval_s: int = 900,
        channels: Sequence[ObisCode] = (IMPORT_INTERVAL,),
        capacity_w: int | None = None,
        installed: datetime = datetime(2020, 1, 1, tzinfo=UTC),
        removed: datetime | None = None,
        new_point: bool = True,
    ) -> None:
        """A meter, its usage point, and its installation there."""
        point = UsagePoint(usage_point_id, zone, None, "customer", capacity_w, "residential")
        meter = Meter(meter_id, "test", "", 0, 0, zone, interval_s, digits, exponent, tuple(channels))
        binding = Installation(meter_id, usage_point_id, installed, removed)
        things = [point, meter, binding] if new_point else [meter, binding]
        self.registry.record(things, actor="test", why="a meter")

    def deliver(
        self,
        days: Mapping[CivilDay, Counts],
        *,
        meter_id: str = "M-1",
        channel: ObisCode = IMPORT_INTERVAL,
        missing: Mapping[CivilDay, Sequence[int]] | None = None,
        status: Mapping[CivilDay, npt.NDArray[np.int32]] | None = None,
        reads: Mapping[datetime, int] | None = None,
        kinds: Mapping[datetime, str] | None = None,
        events: Sequence[Event] = (),
        interval_s: int = 900,
        quantum: Quantum = WH,
        register_quantum: Quantum = WH,
        captured: datetime = CAPTURED,
        source: str = "test",
    ) -> None:
        """Blocks of ``days``, and register reads by instant, through the Door."""
        blocks = []
        for day, values in days.items():
            ids = None if status is None else status.get(day)
            gaps = list((missing or {}).get(day, ()))
            if gaps:
                ids = np.zeros(values.size, np.int32) if ids is None else ids.copy()
                ids[gaps] = MISSING
            blocks.append(
                IntervalBlock(
                    meter_id, channel, day, interval_s, quantum, values, captured, ids,
                    evidence_id=f"frames-of-{source}",
                )
            )  # fmt: skip
        register = REGISTER_OF_INTERVAL[channel]
        registers = [
            RegisterRead(
                meter_id, register, at, register_quantum, value, captured, (kinds or {}).get(at, "freeze")
            )
            for at, value in (reads or {}).items()
        ]
        self.door.put(Batch(source, tuple(blocks), tuple(registers), tuple(events)))

    def run(self, first: date, last: date, pack: PackSource | None = None, **more: object) -> VeeReport:
        """Validate ``[first, last)``."""
        vee = Vee(self.store, self.registry, self.exceptions, pack or default_pack(), self.clock)
        return vee.run(first, last, **more)  # type: ignore[arg-type]

    def final(
        self, day: date, usage_point_id: str = "UP-1", channel: ObisCode = IMPORT_INTERVAL
    ) -> IntervalBlock:
        """The newest final of a day."""
        (block,) = self.store.final([usage_point_id], [channel], day, day + timedelta(days=1))
        return block

    def run_billed(self, first: date, last: date, *, billed: set[date]) -> VeeReport:
        """Validate with some days billed already."""
        vee = Vee(
            self.store, self.registry, self.exceptions, default_pack(), self.clock,
            billed=lambda _point, day: day in billed,
        )  # fmt: skip
        return vee.run(first, last)

    def run_dated(self, first: date, last: date) -> VeeReport:
        """Validate by the packs of the registry."""
        return self.run(first, last, RegistryPacks(self.registry))

    def misplace(self, meter_id: str, usage_point_id: str, *, meter_zone: str) -> None:
        """A meter whose clock lives in another zone than its usage point."""
        point = UsagePoint(usage_point_id, ZONE, None, "customer", None, "residential")
        meter = Meter(meter_id, "test", "", 0, 0, meter_zone, 900, 8, 0, (IMPORT_INTERVAL,))
        binding = Installation(meter_id, usage_point_id, datetime(2020, 1, 1, tzinfo=UTC))
        self.registry.record([point, meter, binding], actor="test", why="a mistake")

    def cases(self, state: str | None = None) -> list[ExceptionCase]:
        """All cases but those of a day with 23 or 25 hours, oldest day first."""
        found = self.exceptions.find(state=state)
        return [case for case in reversed(found) if case.kind != "daylight_saving"]

    def kinds(self) -> list[tuple[str, date | None]]:
        """Kind and day of every open case, and of notices."""
        gone = "not found any more"
        return [(case.kind, case.day) for case in self.cases() if gone not in (case.closed_why or "")]


def freezes(days: Mapping[CivilDay, Counts], start: int = 1000) -> dict[datetime, int]:
    """The register at each midnight around consecutive days."""
    reads = {}
    total = start
    for day, values in days.items():
        reads[day.start] = total
        total += int(values.sum())
        reads[day.end] = total
    return reads


def loads(
    first: date, count: int, *, seed: int = 1, zone: str = ZONE, interval_s: int = 900
) -> dict[CivilDay, Counts]:
    """Household-like energy in Wh of consecutive days: a daily shape, noise, and a burst now and then."""
    rng = np.random.default_rng(seed)
    days = {}
    for day in civil_days(first, first + timedelta(days=count), zone):
        size = day.interval_count(interval_s)
        hours = np.arange(size) * interval_s / 3600
        shape = 60 + 40 * np.sin((hours - 9) / 24 * 2 * np.pi) ** 2 + 120 * np.exp(-((hours - 19) ** 2) / 4)
        bursts = (rng.random(size) < 0.02) * rng.integers(150, 400, size)
        days[day] = (shape * rng.uniform(0.7, 1.3, size) + bursts).astype(np.int64)
    return days

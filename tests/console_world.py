"""A small utility with everything a page can show: five customers and an area meter over twelve days.

Meter M-2 has a gap, M-3 a day that never came, M-4 a spike, M-5 a photovoltaic system, M-6 was exchanged for
M-7; one day came twice with other content. One customer and one area have names that are HTML.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

from openami.billing.packaged import packaged_names, packaged_tariff
from openami.quantities.civil_time import CivilDay, civil_days
from openami.quantities.clock import SimulatedClock
from openami.quantities.obis import EXPORT_INTERVAL, IMPORT_ENERGY, IMPORT_INTERVAL, ObisCode
from openami.quantities.status import MISSING
from openami.quantities.units import WH
from openami.readings.door import Batch
from openami.readings.event import Event, EventCode
from openami.readings.evidence import Evidence, frames_content
from openami.readings.interval_block import Counts, IntervalBlock
from openami.readings.register_read import RegisterRead
from openami.registry.entities import (
    Account,
    Agreement,
    Customer,
    Entity,
    Installation,
    Meter,
    TransformerArea,
    UsagePoint,
)
from openami.workspace.settings import Settings
from openami.workspace.workspace import Workspace

ZONE = "Europe/Berlin"
FIRST, AFTER = date(2026, 10, 18), date(2026, 10, 30)
EXCHANGED = CivilDay(date(2026, 10, 24), ZONE).start
_SILENCE = "tcp://127.0.0.1:4059/3: no answer within 2 s"
HOSTILE = "<script>alert('name')</script> & Söhne"
GAP_DAY, SILENT_DAY, SPIKE_DAY = date(2026, 10, 20), date(2026, 10, 21), date(2026, 10, 22)
TARIFF_OF = {
    "UP-1": "household_tou",
    "UP-2": "household_tiered",
    "UP-3": "household_tou",
    "UP-4": "shop_demand",
    "UP-5": "pv_net",
    "UP-6": "household_tiered",
}


@dataclass(frozen=True, slots=True)
class Utility:
    """The workspace, and what the tests ask of it by name."""

    workspace: Workspace
    loads: dict[tuple[str, ObisCode, date], Counts]
    bills: tuple[str, ...]
    cancelled: str
    replaced: str


def _master_data() -> list[Entity]:
    points = ["UP-1", "UP-2", "UP-3", "UP-4", "UP-5", "UP-6"]
    things: list[Entity] = [TransformerArea("A-1", "Bahnhof <b>7</b>", 400_000, "UP-A")]
    things += [UsagePoint(name, ZONE, "A-1", "customer", 30_000, "residential") for name in points]
    things.append(UsagePoint("UP-A", ZONE, "A-1", "area", 400_000, "area"))
    for name in ("M-1", "M-2", "M-3", "M-4", "M-5", "M-6", "M-7", "M-A"):
        channels = (IMPORT_INTERVAL, EXPORT_INTERVAL) if name == "M-5" else (IMPORT_INTERVAL,)
        things.append(Meter(name, "load-curve", "127.0.0.1", 4059, 17, ZONE, 900, 9, 0, channels))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    things += [Installation(f"M-{n}", f"UP-{n}", start) for n in range(1, 6)]
    things += [
        Installation("M-6", "UP-6", start, EXCHANGED),
        Installation("M-7", "UP-6", EXCHANGED),
        Installation("M-A", "UP-A", start),
    ]
    for number, name in enumerate(points, 1):
        things.append(Customer(f"C-{number}", HOSTILE if number == 1 else f"Customer {number}"))
        things.append(Account(f"AC-{number}", f"C-{number}", "EUR"))
        things.append(Agreement(f"AG-{number}", f"AC-{number}", name, TARIFF_OF[name], FIRST))
    return things


def _loads() -> dict[tuple[str, ObisCode, date], Counts]:
    """What every meter counted: seeded, a day's shape with noise; the area meter counts 3 % more."""
    rng = np.random.default_rng(7)
    loads: dict[tuple[str, ObisCode, date], Counts] = {}
    for day in civil_days(FIRST, AFTER, ZONE):
        size = day.interval_count(900)
        hours = np.arange(size) / 4
        total = np.zeros(size)
        for number in range(1, 6):
            shape = 50 + 90 * np.exp(-((hours - 19) ** 2) / 6) + rng.integers(0, 60, size)
            loads[f"M-{number}", IMPORT_INTERVAL, day.day] = shape.astype(np.int64)
            total += shape
        sun = np.maximum(0, 300 * np.sin((hours - 6) / 12 * np.pi)) * rng.uniform(0.4, 1, size)
        loads["M-5", EXPORT_INTERVAL, day.day] = sun.astype(np.int64)
        last = "M-6" if day.start < EXCHANGED else "M-7"
        loads[last, IMPORT_INTERVAL, day.day] = (80 + rng.integers(0, 90, size)).astype(np.int64)
        total += loads[last, IMPORT_INTERVAL, day.day] - sun
        loads["M-A", IMPORT_INTERVAL, day.day] = np.maximum(0, total * 1.03).astype(np.int64)
    return loads


def _batch(day: CivilDay, loads: dict[tuple[str, ObisCode, date], Counts]) -> Batch:
    """One night's collection: blocks with the frames they came in."""
    captured = day.end + timedelta(minutes=10)
    blocks, proofs = [], []
    for (meter_id, channel, of_day), counted in loads.items():
        if of_day != day.day or (meter_id == "M-3" and of_day == SILENT_DAY):
            continue
        proof = _proof(meter_id, channel, counted, captured)
        proofs.append(proof)
        values, status = counted.copy(), np.zeros(counted.size, np.int32)
        if meter_id == "M-2" and of_day == GAP_DAY:
            status[40:44] = MISSING
        if meter_id == "M-4" and of_day == SPIKE_DAY:
            values[30] = 60_000
        blocks.append(
            IntervalBlock(
                meter_id, channel, day, 900, WH, values, captured, status, evidence_id=proof.evidence_id
            )
        )
    return Batch(f"night after {day.day}", tuple(blocks), evidence=tuple(proofs))


def _proof(meter_id: str, channel: ObisCode, counted: Counts, captured: datetime) -> Evidence:
    request, answer = bytes.fromhex("0001000100110002c001"), bytes.fromhex("000100110001") + counted.tobytes()
    digest = hashlib.sha256(request + answer).hexdigest()
    if meter_id == "M-1":
        line = f"{meter_id},{','.join(map(str, counted))},<i>kWh</i>\n"
        return Evidence("file", "october.csv", "line 2", line.encode(), digest, captured)
    content = frames_content([("->", request, request), ("<-", answer, answer)])
    return Evidence("frames", f"tcp://127.0.0.1:4059/{meter_id}", f"{channel}/2", content, digest, captured)


def _freezes(loads: dict[tuple[str, ObisCode, date], Counts]) -> list[RegisterRead]:
    """The register of every meter at every midnight: 100,000 Wh and what was counted since."""
    reads, registers = [], {IMPORT_INTERVAL: IMPORT_ENERGY, EXPORT_INTERVAL: ObisCode.parse("1-0:2.8.0")}
    for meter_id, channel in sorted({key[:2] for key in loads}):
        total = 100_000
        for day in civil_days(FIRST, AFTER, ZONE):
            counted = loads.get((meter_id, channel, day.day))
            if counted is None:
                continue
            for at, value in ((day.start, total), (day.end, total + int(counted.sum()))):
                reads.append(
                    RegisterRead(
                        meter_id, registers[channel], at, WH, value, at + timedelta(minutes=10), "freeze"
                    )
                )
            total += int(counted.sum())
    return list(dict.fromkeys(reads))


def _events() -> list[Event]:
    at = CivilDay(SPIKE_DAY, ZONE).start + timedelta(hours=5)
    captured = at + timedelta(days=1)
    return [
        Event("M-4", at, EventCode.POWER_DOWN, captured),
        Event("M-4", at + timedelta(minutes=3), EventCode.POWER_UP, captured),
        Event("M-4", at, EventCode.CLOCK_DIFFERENCE, captured, "seconds=75"),
        Event(
            "M-3",
            at,
            EventCode.READ_FAILED,
            captured,
            "attempts=3;reason=tcp://127.0.0.1:1/3: no answer within 2 s",
        ),
    ]


def build(folder: Path) -> Utility:
    """The utility in a new folder."""
    clock = SimulatedClock(datetime(2026, 10, 31, 6, tzinfo=UTC))
    workspace = Workspace.create(folder, Settings(name="Kleinstadt", zone=ZONE), clock)
    for name in packaged_names():
        workspace.registry.put_document(
            "tariff", name, packaged_tariff(name), valid_from=date(2026, 1, 1), actor="test", why="prices"
        )
    workspace.registry.record(_master_data(), actor="test", why="the utility opens")
    loads = _loads()
    for day in civil_days(FIRST, AFTER, ZONE):
        workspace.door.put(_batch(day, loads))
    workspace.door.put(Batch("registers", (), tuple(_freezes(loads)), tuple(_events())))
    workspace.door.put(_contradiction(loads))
    workspace.vee().run(FIRST, AFTER)
    bills = [workspace.bills.bill(f"AG-{n}", FIRST, AFTER).bill_id for n in range(1, 7)]
    cancelled = workspace.bills.cancel(bills[2], "the meter was read wrongly", "ada").bill_id
    workspace.bills.rebill(bills[1], actor="ada", why="asked for")
    return Utility(workspace, loads, tuple(bills), cancelled, bills[1])


def _contradiction(loads: dict[tuple[str, ObisCode, date], Counts]) -> Batch:
    """A day of M-1 delivered again with another value in it."""
    day = CivilDay(FIRST, ZONE)
    values = loads["M-1", IMPORT_INTERVAL, FIRST].copy()
    values[3] += 1
    return Batch(
        "again", (IntervalBlock("M-1", IMPORT_INTERVAL, day, 900, WH, values, day.end - timedelta(hours=1)),)
    )

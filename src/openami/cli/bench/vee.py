"""Validation: a million meter-days through the kernel, DuckDB on the same checks beside it; a month of a
small utility from the store to final values."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from openami.cli.bench.figures import Figure
from openami.mdm.exceptions import ExceptionList
from openami.mdm.stores.store import ReadingStore
from openami.mdm.vee.checks import Check
from openami.mdm.vee.kernel import ABSENT, UNLIMITED, Screening, screen_days
from openami.mdm.vee.rule_pack import default_pack
from openami.mdm.vee.run import Vee
from openami.quantities.civil_time import civil_days
from openami.quantities.clock import SystemClock
from openami.quantities.errors import ValidationError
from openami.quantities.obis import IMPORT_ENERGY, IMPORT_INTERVAL
from openami.quantities.status import MISSING
from openami.quantities.units import WH
from openami.readings.door import Batch
from openami.readings.interval_block import IntervalBlock
from openami.readings.register_read import RegisterRead
from openami.registry.database import open_database
from openami.registry.entities import Entity, Installation, Meter, UsagePoint
from openami.registry.registry import Registry

Counts = npt.NDArray[np.int64]

_ROWS, _ROUNDS, _COUNT = 250_000, 4, 96
_METERS, _DAYS = 204, 35
_FIRST = date(2026, 9, 1)
_CAPTURED = datetime(2026, 11, 1, tzinfo=UTC)
_SQL = """
SELECT count(*) FILTER (gap), count(*) FILTER (bad), count(*) FILTER (bad AND high > 2.8 * third) FROM (
    SELECT list_count(v) < 96 AS gap, list_max(v) AS high, list_sort(v, 'DESC', 'NULLS LAST')[3] AS third,
        list_sum(v) - advance > 2 OR (list_count(v) = 96 AND advance - list_sum(v) > 2) AS bad
    FROM days)
"""


def run() -> dict[str, Figure]:
    """Measure; figures by name.

    Raises
    ------
    ValidationError
        Kernel and DuckDB do not find the same days.
    """
    values, advance = _meter_days(np.random.default_rng(96))
    offsets = np.arange(0, values.size + 1, _COUNT, dtype=np.int64)
    rows = advance.size
    tolerance = np.full(rows, 2, np.int64)
    ceiling = np.full(rows, UNLIMITED, np.int64)
    ratio = np.full(rows, 1.8)

    def kernel() -> Screening:
        return screen_days(values, offsets, advance, tolerance, ceiling, ratio)

    found = kernel()  # compiles
    ours = _best(lambda: [kernel() for _ in range(_ROUNDS)])
    peer_seconds, peer_found = _duckdb(values, offsets, advance)
    gap, bad, spike = (found.bits & int(check) != 0 for check in (Check.GAP, Check.REGISTER_SUM, Check.SPIKE))
    counted = int(gap.sum()), int(bad.sum()), int((bad & spike).sum())
    if counted != peer_found:
        raise ValidationError(f"kernel {counted} and DuckDB {peer_found} find different days")
    return {
        "screening_readings_per_s": Figure(
            values.size * _ROUNDS / ours,
            "readings/s",
            f"DuckDB {duckdb.__version__}, one thread",
            values.size / peer_seconds,
        ),
        "screening_meter_days_per_s": Figure(rows * _ROUNDS / ours, "meter-days/s"),
        "store_to_finals_readings_per_s": Figure(_whole_run(), "readings/s"),
    }


def _meter_days(rng: np.random.Generator) -> tuple[Counts, Counts]:
    """Meter-days with 0.1 % of the days lacking values and 1 % with a spike, and their registers."""
    values = rng.integers(20, 400, (_ROWS, _COUNT))
    advance = values.sum(axis=1)
    spiked = np.flatnonzero(rng.random(_ROWS) < 0.01)
    values[spiked, rng.integers(0, _COUNT, spiked.size)] += 9_000
    holed = np.flatnonzero(rng.random(_ROWS) < 0.001)
    values[holed, rng.integers(0, _COUNT, holed.size)] = ABSENT
    return values.ravel(), advance


def _duckdb(values: Counts, offsets: Counts, advance: Counts) -> tuple[float, tuple[int, ...]]:
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, mask=values == ABSENT))
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        connection.execute("SET enable_progress_bar = false")
        connection.register("arrow", pa.table({"advance": advance, "v": lists}))
        connection.execute("CREATE TABLE days AS SELECT * FROM arrow")
        answer: list[tuple[int, ...]] = []
        seconds = _best(lambda: answer.extend(connection.execute(_SQL).fetchall()), times=2)
    return seconds, answer[0]


def _whole_run() -> float:
    """Readings/s of a first run over a month of a small utility, from the store back into the store."""
    rng = np.random.default_rng(204)
    with tempfile.TemporaryDirectory() as folder:
        clock = SystemClock()
        engine = open_database(f"sqlite:///{Path(folder) / 'registry.sqlite'}")
        registry = Registry(engine, clock)
        store = ReadingStore(Path(folder) / "readings")
        things: list[Entity] = []
        blocks: list[IntervalBlock] = []
        reads: list[RegisterRead] = []
        days = list(civil_days(_FIRST, _FIRST + timedelta(days=_DAYS), "Europe/Berlin"))
        for number in range(_METERS):
            meter, point = f"M-{number:04d}", f"UP-{number:04d}"
            things += [
                UsagePoint(point, "Europe/Berlin", None, "customer", None, "residential"),
                Meter(meter, "bench", "", 0, 0, "Europe/Berlin", 900, 8, 0, (IMPORT_INTERVAL,)),
                Installation(meter, point, datetime(2020, 1, 1, tzinfo=UTC)),
            ]
            count = 0
            for day in days:
                values = rng.integers(20, 400, day.interval_count(900))
                gaps = rng.random(values.size) < 0.0005
                status = np.where(gaps, MISSING, 0).astype(np.int32)
                blocks.append(IntervalBlock(meter, IMPORT_INTERVAL, day, 900, WH, values, _CAPTURED, status))
                reads.append(RegisterRead(meter, IMPORT_ENERGY, day.start, WH, count, _CAPTURED, "freeze"))
                count += int(values.sum())
            reads.append(RegisterRead(meter, IMPORT_ENERGY, days[-1].end, WH, count, _CAPTURED, "freeze"))
        registry.record(things, actor="bench", why="a small utility")
        store.put(Batch("bench", tuple(blocks), tuple(reads)))
        vee = Vee(store, registry, ExceptionList(engine, clock), default_pack(), clock)
        began = time.perf_counter()
        report = vee.run(_FIRST, _FIRST + timedelta(days=_DAYS))
        seconds = time.perf_counter() - began
        engine.dispose()
    return report.intervals_expected / seconds


def _best(act: Callable[[], object], *, times: int = 3) -> float:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - began)
    return min(seconds)

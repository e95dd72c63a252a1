"""Bench of billing: monthly interval bills (time of use, tiers, demand) of 8,760 hours a year.

Ours: from int64 interval arrays in memory to exact totals, on one core, in processor time. Peer: NREL-PySAM's
Utilityrate5 in its own environment and process on the same URDB rate and the same load, only its ``execute``
measured, in processor time too; it gives twelve bills a call in binary floats. Both totals are compared
first: figures of different bills would mean nothing.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt

from openami.billing.rating import rate, rate_many
from openami.billing.tariff import Tariff
from openami.billing.urdb import tariff_from_urdb
from openami.billing.usage import Channel, Usage
from openami.cli.bench.figures import Figure, peers_python
from openami.quantities.errors import BillingError
from openami.quantities.obis import IMPORT_INTERVAL
from openami.quantities.units import WH

GOAL_BILLS_PER_S = 20_000.0
GOAL_RATIO = 3.0
_HOURS = 8760
_CUSTOMERS = 1000
_REPEATS = 5
_MONTHS = [date(2018, month, 1) for month in range(1, 13)]  # begins on a Monday, as Utilityrate5 does

_PEER = """
import json, sys, time
import PySAM.Utilityrate5 as utilityrate
from PySAM.UtilityRateTools import URDBv8_to_ElectricityRates
task = json.load(sys.stdin)
model = utilityrate.new()
for name, value in URDBv8_to_ElectricityRates(task["rate"]).items():
    setattr(model.ElectricityRates, name, value)
model.ElectricityRates.assign({"ur_annual_min_charge": 0, "ur_metering_option": 0})
model.ElectricityRates.rate_escalation = [0]
model.Lifetime.assign({"analysis_period": 1, "system_use_lifetime_output": 0, "inflation_rate": 0})
model.SystemOutput.assign({"degradation": [0], "gen": [0] * len(task["load_kw"])})
model.Load.load = task["load_kw"]
model.execute()
best = 1e9
for _ in range(task["repeats"]):
    begin = time.process_time()
    for _ in range(10):
        model.execute()
    best = min(best, (time.process_time() - begin) / 10)
print(json.dumps({"seconds": best, "bills": list(model.Outputs.utility_bill_wo_sys_ym[1])}))
"""


def run() -> dict[str, Figure]:
    """Bills a second and core, alone and in a batch, beside the peer on the same rate and load.

    Raises
    ------
    BillingError
        The peer's bills differ from ours by more than 1e-6 of their amount.
    """
    document = _urdb_rate()
    tariff = tariff_from_urdb(document)
    loads = _loads(_CUSTOMERS)
    usage = _usage(loads)
    rated = rate_many(tariff, usage, _MONTHS)  # compiles the kernels and builds the calendars
    batch = _best(lambda: rate_many(tariff, usage, _MONTHS))
    one = _usage(loads[:1])
    single = _best(lambda: rate_many(tariff, one, _MONTHS))
    figures = {
        "bills_per_s": Figure(
            12 * _CUSTOMERS / batch, "bills/s", goal=GOAL_BILLS_PER_S, goal_ratio=GOAL_RATIO
        ),
        "bills_per_s_one_customer": Figure(12 / single, "bills/s"),
        "bills_per_s_quarter_hours": Figure(_quarter_hours(tariff, loads), "bills/s"),
    }
    python = peers_python()
    if python is not None:
        seconds, bills = _peer(python, document, loads[0])
        ours = [float(bill.total.fraction(0)) for bill in rated]
        _compare(ours, bills)
        for name in ("bills_per_s", "bills_per_s_one_customer"):
            own = figures[name]
            figures[name] = Figure(
                own.value, own.unit, "NREL-PySAM Utilityrate5", 12 / seconds, own.goal, own.goal_ratio
            )
    return figures


def _best(work: Callable[[], object]) -> float:
    """Least processor time of several runs in s."""
    times = []
    for _ in range(_REPEATS):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def _loads(customers: int) -> npt.NDArray[np.int64]:
    """Seeded hourly loads in Wh, shape ``(customers, 8760)``: some work by day, all have a floor."""
    rng = np.random.default_rng(7)
    hour = np.arange(_HOURS) % 24
    day = np.arange(_HOURS) // 24 % 7
    busy = (hour >= 8) & (hour < 18) & (day < 5)
    size = rng.integers(1, 100, (customers, 1))
    return size * (rng.integers(100, 600, (customers, _HOURS)) + np.where(busy, 800, 0))


def _usage(loads: npt.NDArray[np.int64]) -> Usage:
    channels = {IMPORT_INTERVAL: Channel(WH, loads)}
    return Usage("UTC", date(2018, 1, 1), date(2019, 1, 1), 3600, channels)


def _quarter_hours(tariff: Tariff, loads: npt.NDArray[np.int64]) -> float:
    """Bills a second of one month of quarter-hours for each customer."""
    quarter = np.ascontiguousarray(np.repeat(loads[:, : 31 * 24] // 4, 4, axis=1))
    usage = Usage("UTC", date(2018, 1, 1), date(2018, 2, 1), 900, {IMPORT_INTERVAL: Channel(WH, quarter)})
    rate(tariff, usage)
    return len(loads) / _best(lambda: rate(tariff, usage))


def _peer(
    python: Path, document: dict[str, object], load_wh: npt.NDArray[np.int64]
) -> tuple[float, list[float]]:
    """Processor time of one year's twelve bills in s, and the bills, by PySAM."""
    task = {"rate": document, "load_kw": (load_wh / 1000).tolist(), "repeats": _REPEATS}
    done = subprocess.run(
        [str(python), "-c", _PEER],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise BillingError(f"PySAM failed: {done.stderr.strip().splitlines()[-1:]}", where=str(python))
    answer = json.loads(done.stdout.splitlines()[-1])
    return float(answer["seconds"]), [float(bill) for bill in answer["bills"]]


def _compare(ours: list[float], theirs: list[float]) -> None:
    for month, (own, other) in enumerate(zip(ours, theirs, strict=True), 1):
        if abs(own - other) > max(1e-6 * abs(other), 0.005 + 1e-9):
            raise BillingError(f"month {month}: our bill is {own}, PySAM's {other}")


def _urdb_rate() -> dict[str, object]:
    """A URDB rate of our own: two periods, two tiers, demand by period with tiers, flat demand by season."""
    weekday = [[0 if 8 <= hour < 20 else 1 for hour in range(24)] for _ in range(12)]
    weekend = [[1] * 24 for _ in range(12)]
    return {
        "label": "bench",
        "name": "bench: TOU, tiers, demand",
        "energyratestructure": [
            [{"max": 10000.0, "rate": 0.0975, "unit": "kWh"}, {"max": 1e38, "rate": 0.1408, "unit": "kWh"}],
            [{"max": 10000.0, "rate": 0.0569, "unit": "kWh"}, {"max": 1e38, "rate": 0.0691, "unit": "kWh"}],
        ],
        "energyweekdayschedule": weekday,
        "energyweekendschedule": weekend,
        "demandratestructure": [
            [{"max": 100.0, "rate": 19.54}, {"max": 1e38, "rate": 13.09}],
            [{"max": 100.0, "rate": 8.09}, {"max": 1e38, "rate": 4.68}],
        ],
        "demandweekdayschedule": weekday,
        "demandweekendschedule": weekend,
        "flatdemandstructure": [[{"max": 1e38, "rate": 6.46}], [{"max": 1e38, "rate": 13.87}]],
        "flatdemandmonths": [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0],
    }

"""`ami bench import`: how fast a NEM12 file is read, beside nemreader on the same file in the same run.

A file of 30 meters, 365 days and 48 half-hours (525,600 readings) is written to a temporary folder. What is
timed is everything from the bytes on disk to interval blocks with their evidence; the peer is timed from
the file to its list of readings, in a process of its own. Both are warmed up by a small file first
(compilation here, imports there), both by CPU time (a rate per core, whatever else the machine does), and
the best of three runs counts.
"""

from __future__ import annotations

import random
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from openami.cli.bench.figures import Figure, peers_python
from openami.mdm.formats.diagnostics import DiagnosticLog, Policy
from openami.mdm.formats.nem12_read import read_nem12
from openami.mdm.formats.nem12_records import parse_numbers, split_records

GOAL = 1_000_000.0
GOAL_RATIO = 3.0
RUNS = 3

_PEER = """
import sys, time
from nemreader import read_nem_file
read_nem_file(sys.argv[1])
best = float("inf")
for _ in range(int(sys.argv[3])):
    start = time.process_time()
    data = read_nem_file(sys.argv[2])
    best = min(best, time.process_time() - start)
count = sum(len(reads) for nmi in data.readings.values() for reads in nmi.values())
print(count, best)
"""


def run() -> dict[str, Figure]:
    """Measure both readers on one file.

    Returns
    -------
    dict
        ``nem12_readings_per_s`` (blocks and evidence, beside the peer), ``nem12_numbers_per_s`` (the exact
        numbers only, without blocks and evidence).
    """
    with tempfile.TemporaryDirectory() as folder:
        small, big = Path(folder, "small.csv"), Path(folder, "big.csv")
        write_sample(small, meters=1, days=2)
        readings = write_sample(big, meters=30, days=365)
        _import(small)
        ours = _best(lambda: _import(big), readings)
        numbers = _best(lambda: _numbers(big), readings)
        peer = _peer_rate(small, big, readings)
    return {
        "nem12_readings_per_s": Figure(
            ours, "1/s", peer="nemreader", peer_value=peer, goal=GOAL, goal_ratio=GOAL_RATIO
        ),
        "nem12_numbers_per_s": Figure(numbers, "1/s"),
    }


def write_sample(path: Path, *, meters: int, days: int, seed: int = 12) -> int:
    """Write a NEM12 file of half-hourly households; returns the number of readings."""
    draw = random.Random(seed)
    lines = ["100,NEM12,202501010000,MDA1,RETAILER1"]
    first = date(2024, 1, 1)
    for meter in range(meters):
        lines.append(f"200,NMI{meter:07d},E1,1,E1,N1,SN{meter:08d},kWh,30,")
        for day in range(days):
            stamp = first + timedelta(days=day)
            values = ",".join(f"{draw.randrange(1500) / 1000:.3f}" for _ in range(48))
            updated = stamp + timedelta(days=1)
            lines.append(f"300,{stamp:%Y%m%d},{values},A,,,{updated:%Y%m%d}041500,{updated:%Y%m%d}053000")
    lines.append("900")
    path.write_text("\r\n".join(lines) + "\r\n", "ascii", newline="")
    return meters * days * 48


def _import(path: Path) -> int:
    result = read_nem12(
        path.read_bytes(), path.name, policy=Policy.STRICT, captured_at=datetime(2025, 1, 1, tzinfo=UTC)
    )
    return result.readings if result.ok else 0


def _numbers(path: Path) -> int:
    data = path.read_bytes()
    return parse_numbers(data, split_records(data, DiagnosticLog(Policy.STRICT), [])).plain


def _best(work: Callable[[], int], readings: int) -> float:
    """Readings a second of the best of a few runs; 0 when the work did not give all the readings."""
    best = float("inf")
    for _ in range(RUNS):
        start = time.process_time()
        found = work()
        best = min(best, time.process_time() - start)
        if found != readings:
            return 0.0
    return readings / best


def _peer_rate(small: Path, big: Path, readings: int) -> float | None:
    """Readings a second of nemreader, or None when it is not there or did not read them all."""
    python = peers_python()
    if python is None:
        return None
    command = [str(python), "-c", _PEER, str(small), str(big), str(RUNS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    fields = done.stdout.split()
    if done.returncode or len(fields) != 2 or int(fields[0]) != readings:
        return None
    return readings / float(fields[1])

"""Idle meters are cheap: what a served process holds, in resident memory, at a reduced and at full size."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from openami.meter.fleet_spec import household_fleet, save_fleet

START = datetime(2026, 3, 1, 23, tzinfo=UTC)


def resident_mib(meters: int, folder: Path) -> float:
    """Resident memory of a process that serves idle meters with keys, in MiB."""
    file = folder / f"{meters}.json"
    save_fleet(household_fleet(meters, seed=1, start=START), file)
    command = [sys.executable, "-m", "openami.meter.serve", str(file), "--simulated"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as serving:
        try:
            assert serving.stdout is not None
            assert json.loads(serving.stdout.readline())["ports"]
            lines = Path(f"/proc/{serving.pid}/status").read_text("ascii").splitlines()
        finally:
            serving.terminate()
    (resident,) = [int(line.split()[1]) for line in lines if line.startswith("VmRSS:")]
    return resident / 1024


def test_an_idle_meter_costs_less_than_200_kib(tmp_path: Path) -> None:
    """5,000 in 1 GiB leave 209 KiB for each, the interpreter and its libraries counted."""
    few, many = resident_mib(50, tmp_path), resident_mib(550, tmp_path)
    assert (many - few) / 500 < 0.15
    assert few < 300


@pytest.mark.heavy
def test_five_thousand_idle_meters_take_less_than_a_gibibyte(tmp_path: Path) -> None:
    assert resident_mib(5000, tmp_path) < 1024

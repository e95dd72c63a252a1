"""A fleet in a process of its own ends with whoever started it, and not before."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from openami.meter.fleet_spec import household_fleet, save_fleet


@pytest.fixture
def fleet_file(tmp_path: Path) -> Path:
    file = tmp_path / "fleet.json"
    save_fleet(household_fleet(3, seed=1, start=datetime(2026, 3, 1, tzinfo=UTC)), file)
    return file


def serve(file: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "openami.meter.serve", str(file), "--simulated", *more]
    running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert json.loads(running.stdout.readline())["ports"]
    return running


def test_until_eof_ends_when_the_input_ends_and_not_when_something_comes(fleet_file: Path) -> None:
    running = serve(fleet_file, "--until-eof")
    assert running.stdin is not None
    running.stdin.write("not the end\n")
    running.stdin.flush()
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(0.5)
    running.stdin.close()
    assert running.wait(10) == 0


def test_without_it_the_end_of_the_input_is_nothing(fleet_file: Path) -> None:
    running = serve(fleet_file)
    assert running.stdin is not None
    running.stdin.close()
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(0.5)
    running.terminate()
    assert running.wait(10) == 0

"""The `ami` command under test, in this process or in one of its own, and readings to feed it."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from openami.cli.main import main
from openami.mdm.formats.table_write import csv_write
from openami.quantities.civil_time import CivilDay
from openami.quantities.obis import IMPORT_INTERVAL, ObisCode
from openami.quantities.units import WH, Quantum
from openami.readings.interval_block import IntervalBlock

ZONE = "Europe/Berlin"


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout; anything besides it is an error."""
        return orjson.loads(self.out)


Ami = Callable[..., Outcome]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "openami.cli.main", *map(str, arguments)]


def run_ami(*arguments: object, cwd: Path, timeout: float = 60) -> Outcome:
    done = subprocess.run(
        command(*arguments), cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def call_ami(*arguments: object, cwd: Path) -> Outcome:
    """As `run_ami`, in this process."""
    out, err = io.StringIO(), io.StringIO()
    handler = signal.getsignal(signal.SIGTERM)
    code: object = None
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code
        finally:
            signal.signal(signal.SIGTERM, handler)
    assert isinstance(code, int)
    return Outcome(code, out.getvalue(), err.getvalue())


def readings(
    series: str,
    first: date,
    days: int,
    *,
    value_wh: int = 100,
    channel: ObisCode = IMPORT_INTERVAL,
    quantum: Quantum = WH,
    interval_s: int = 900,
) -> list[IntervalBlock]:
    """Days of a constant load with a bump of one count that tells the intervals apart."""
    blocks = []
    for number in range(days):
        day = CivilDay(first + timedelta(days=number), ZONE)
        count = day.interval_count(interval_s)
        values = np.full(count, value_wh, np.int64) + np.arange(count) % 2
        captured = datetime(2026, 11, 1, tzinfo=UTC)
        blocks.append(IntervalBlock(series, channel, day, interval_s, quantum, values, captured))
    return blocks


def write_readings(path: Path, blocks: Sequence[IntervalBlock]) -> Path:
    path.write_bytes(csv_write(blocks))
    return path


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_root() -> bool:
    return os.geteuid() == 0

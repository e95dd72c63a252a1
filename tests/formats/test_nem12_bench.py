"""What the import bench measures is the same work on both sides: all readings, with the same sum."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from openami.cli.bench.figures import peers_python
from openami.cli.bench.nem12 import write_sample
from openami.mdm.formats import Policy, read_file

_PEER = """
import sys
from nemreader import read_nem_file
data = read_nem_file(sys.argv[1])
reads = [read for nmi in data.readings.values() for channel in nmi.values() for read in channel]
print(len(reads), round(sum(read.read_value for read in reads) * 1000))
"""


@pytest.mark.peer
def test_the_peer_reads_the_same_energy(tmp_path: Path) -> None:
    python = peers_python()
    if python is None:
        pytest.skip("no environment of peers (nemreader)")
    path = tmp_path / "sample.csv"
    assert write_sample(path, meters=3, days=10) == 1_440
    result = read_file(path, policy=Policy.STRICT, captured_at=datetime(2025, 1, 1, tzinfo=UTC))
    assert result.diagnostics == ()
    ours = sum((block.quantum.decimal(block.total) for block in result.intervals), Decimal(0))
    done = subprocess.run([str(python), "-c", _PEER, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(result.readings), str(ours)]

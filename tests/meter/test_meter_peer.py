"""A client nobody here wrote reads the served meter: every object of its view, and a day, value for value."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from openami.meter.cosem_objects import meter_device
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FleetSpec, MeterSpec
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.meter.tcp_server import FleetServer
from openami.protocols.dlms.encoding.axdr import decode_plain
from openami.quantities.clock import SimulatedClock

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
CLIENT = ROOT / "tests" / "protocols" / "peers" / "gurux_client.py"
START = datetime(2026, 3, 9, 23, tzinfo=UTC)
DAY = ("2026-03-11T00:00:00+01:00", "2026-03-12T00:00:00+01:00")

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not PYTHON.exists(), reason="no environment of peers (.venv-peers)"),
]


def as_json(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return value


async def test_gurux_reads_every_object_and_a_day_of_load_profile_value_for_value() -> None:
    spec = MeterSpec("PV-0001", 16, CurveSpec(CurveKind.PV_HOME, "UP"), start_wh=(1000, 500))
    clock = SimulatedClock(START)
    fleet = Fleet(FleetSpec(3, START, (spec,)), clock)
    server = FleetServer(fleet)
    ports = await server.start("127.0.0.1")
    clock.advance(timedelta(days=3, minutes=20))
    truth = {
        item.logical_name.dotted: {
            str(rule.index): as_json(decode_plain(item.read(rule.index))) for rule in item.attribute_rules()
        }
        for item in meter_device(fleet, "PV-0001")
    }
    rows = fleet.meter("PV-0001").profile.rows()
    process = await asyncio.create_subprocess_exec(
        str(PYTHON), str(CLIENT), "127.0.0.1", str(ports[0]), "16", "1", "00000000", "1024", *DAY,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    await server.close()
    assert process.returncode == 0, err.decode()[-2000:]
    found = json.loads(out.decode().splitlines()[-1])
    assert "failure" not in found, found["failure"]
    for name, values in truth.items():
        assert found["objects"][name]["values"] == values, name
    day = found["profile"]["range"]
    # The range takes both of its ends: the row of 00:00 and the 96 of the day.
    assert [row[2] for row in day] == rows.values[0, 95:192].tolist()
    assert [row[3] for row in day] == rows.values[1, 95:192].tolist()
    assert day[0][0] == "07ea030b0300000000ffc400"
    assert found["relay"] == 0
    assert fleet.meter("PV-0001").disconnected

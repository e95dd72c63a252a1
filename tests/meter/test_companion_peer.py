"""The object model of gurux takes what our objects show: layouts held against somebody else's memory."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from openami.meter.companion.objects import companion_device
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FleetSpec, KeySpec, MeterSpec
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.protocols.dlms.interface_classes.interface_object import Access

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
SCRIPT = ROOT / "tests" / "protocols" / "peers" / "gurux_objects.py"
START = datetime(2025, 3, 28, tzinfo=UTC)
UNKNOWN = {"30:0", "46:0", "61:0", "62:0", "62:1", "63:0", "67:0", "68:0", "77:0"}
"""Classes without a model in gurux 1.0.203: their layouts are recalled and held against nothing."""
REFUSED = {
    # gurux counts allowed callers, and versions 1 of class 65 and 3 of rights, in its own way.
    "28:2": {"7"},
    "65:1": {"5", "6", "7", "8"},
    "15:3": {"2"},
}

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not PYTHON.exists(), reason="no environment of peers (.venv-peers)"),
]


class HandClock:
    instant = START

    def now(self) -> datetime:
        return self.instant


def test_gurux_counts_the_same_attributes_and_takes_them(tmp_path: Path) -> None:
    clock = HandClock()
    spec = MeterSpec(
        "M1",
        16,
        CurveSpec(CurveKind.HOUSEHOLD, "M1"),
        keys=KeySpec.of_seed(1, "M1"),
        companion="every-class-3p",
    )
    fleet = Fleet(FleetSpec(1, START, (spec,)), clock)
    clock.instant += timedelta(days=2)
    device = companion_device(fleet, "M1")
    ours: dict[str, tuple[int, int]] = {}
    document = []
    for item in device:
        device.find(item.logical_name)
        rules = item.attribute_rules()
        ours[f"{item.class_id}:{item.version}"] = (len(rules), len(item.methods))
        shown = {
            rule.index: item.read(rule.index).hex()
            for rule in rules
            # A buffer needs what a client has read before.
            if rule.access & Access.READ and (item.class_id, rule.index) != (7, 2)
        }
        document.append(
            {
                "class": item.class_id,
                "version": item.version,
                "name": item.logical_name.dotted,
                "attributes": shown,
            }
        )
    file = tmp_path / "objects.json"
    file.write_text(json.dumps(document), "utf-8")
    done = subprocess.run([str(PYTHON), str(SCRIPT), str(file)], capture_output=True, check=True, timeout=60)
    theirs = json.loads(done.stdout.splitlines()[-1])
    assert {name for name, row in theirs.items() if row["attributes"] is None} == UNKNOWN
    for name, row in theirs.items():
        if name in UNKNOWN:
            continue
        assert set(row["refused"]) == REFUSED.get(name, set()), (name, row["refused"])
        if name != "65:1":
            assert row["attributes"] == ours[name][0], name
        # Methods differ where an object offers less than its class: registers, profiles, keys.
        if name not in ("4:0", "7:1", "15:3", "17:0", "64:1"):
            assert row["methods"] == ours[name][1], name
    assert sum(row["taken"] for row in theirs.values()) > 700

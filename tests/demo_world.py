"""The demo as its tests run it: through the real command, at reduced size, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEED, METERS, DAYS = 11, 48, 28


@dataclass(frozen=True)
class DemoRun:
    """What the command said, and the workspace it left."""

    document: dict[str, Any]
    stderr: str
    folder: Path


def ami(*arguments: object) -> list[str]:
    """A command line of `ami`."""
    return [sys.executable, "-m", "openami.cli.main", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    """The environment without what would lead the demo elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OPENAMI_")} | more


def run_command(folder: Path, *, seed: int, meters: int = METERS, days: int = DAYS) -> DemoRun:
    """Run `ami demo --json` to its end."""
    size = ("--seed", seed, "--meters", meters, "--days", days)
    ended = subprocess.run(
        ami("demo", "--workspace", folder, *size, "--json"),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment(), timeout=290, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return DemoRun(json.loads(ended.stdout), ended.stderr, folder)


def disagreements(document: Mapping[str, Any]) -> dict[str, tuple[list[object], list[object]]]:
    """By kind: incidents that were injected only, and detected only."""
    injected, detected = document["injected"], document["detected"]
    found = {}
    for kind in injected.keys() | detected.keys():
        put, seen = injected.get(kind, []), detected.get(kind, [])
        if put != seen:
            found[kind] = ([one for one in put if one not in seen], [one for one in seen if one not in put])
    return found

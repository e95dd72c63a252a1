"""A process that records households until it has recorded enough or is killed.

Arguments: database URL, name of this process, number of changes, households per change. Each revision is
printed when it is acknowledged.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from openami.quantities.clock import SystemClock
from openami.quantities.obis import IMPORT_INTERVAL
from openami.registry.database import open_database
from openami.registry.entities import Entity, Installation, Meter, UsagePoint
from openami.registry.registry import Registry


def household(name: str) -> list[Entity]:
    """Meter, usage point and what binds them."""
    return [
        Meter(f"M-{name}", "m", "", 0, 1, "UTC", 900, 8, 0, (IMPORT_INTERVAL,)),
        UsagePoint(f"U-{name}", "UTC", None, "customer", None, "residential"),
        Installation(f"M-{name}", f"U-{name}", datetime(2024, 1, 1, tzinfo=UTC)),
    ]


def main() -> None:
    """Record, and acknowledge on standard output."""
    url, name, changes, households = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    registry = Registry(open_database(url), SystemClock())
    print("ready", flush=True)
    sys.stdin.read(1)
    for change in range(changes):
        entities = [row for n in range(households) for row in household(f"{name}-{change}-{n}")]
        print(registry.record(entities, actor=name, why=f"change {change}"), flush=True)


if __name__ == "__main__":
    main()

"""What the tests of a workspace look at: everything that is stored, as one comparable value; NEM12 texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from openami.workspace.workspace import Workspace

MakeWorkspace = Callable[..., Workspace]
"""Makes an empty workspace by name; settings are keyword arguments."""

Day = tuple[str, Sequence[str]]
"""``20240301`` and its 48 values."""


@dataclass(frozen=True)
class Contents:
    """What a workspace holds."""

    seq: int
    meters: tuple[str, ...]
    usage_points: tuple[str, ...]
    installations: tuple[tuple[str, str, str, str], ...]
    agreements: tuple[str, ...]
    rows: Mapping[str, int]


def contents(workspace: Workspace) -> Contents:
    """Everything that bad input could leave behind."""
    registry = workspace.registry
    connection = workspace.store.sql()
    tables = ("raw_intervals", "final_intervals", "register_reads", "events", "evidence")
    try:
        rows = {
            table: int(connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])
            for table in tables
        }
    finally:
        connection.close()
    return Contents(
        seq=workspace.store.seq,
        meters=tuple(meter.meter_id for meter in registry.meters()),
        usage_points=tuple(point.usage_point_id for point in registry.usage_points()),
        installations=tuple(
            (row.meter_id, row.usage_point_id, row.valid_from.isoformat(), str(row.valid_to))
            for row in registry.installations()
        ),
        agreements=tuple(
            f"{row.agreement_id} {row.tariff_id} {row.valid_from}" for row in registry.agreements()
        ),
        rows=rows,
    )


def reopened(workspace: Workspace) -> Contents:
    """What a process that opens the workspace now finds in it."""
    other = Workspace.open(workspace.folder, workspace.clock)
    try:
        return contents(other)
    finally:
        other.close()


def nem12(*streams: tuple[str, str, str, Sequence[Day]], suffix: str = "") -> str:
    """A NEM12 file of half-hours in kWh: (NMI, serial number, suffix, days) a stream."""
    lines = ["100,NEM12,202601010000,MDP1,RETAIL1"]
    for nmi, serial, name, days in streams:
        lines.append(f"200,{nmi},{name},1,{name},N1,{serial},KWH,30,")
        for day, values in days:
            lines.append(f"300,{day},{','.join(values)},A,,,20260101000000,")
    return "\r\n".join([*lines, "900", ""]) + suffix


def flat_days(first: int, count: int, value: str = "0.500", month: str = "202403") -> list[Day]:
    """Days with the same value in every half-hour: ``first`` is the day of the month."""
    return [(f"{month}{day:02d}", [value] * 48) for day in range(first, first + count)]


def write(folder: Path, name: str, text: str) -> Path:
    """A file with a text, its line ends as they are."""
    path = folder / name
    path.write_bytes(text.encode())
    return path

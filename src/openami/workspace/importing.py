"""Files into the workspace: readings through the Door, master data into the registry.

A file is stored whole or not at all; with `Keeping.GOOD_PARTS` the faultless parts of a broken file are
kept. Meters that the registry does not know are recorded with a usage point of their own, so that a file
alone is enough to start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path

from openami.mdm.formats import Diagnostic, ImportResult, Mapping, Policy, Severity, read_file
from openami.quantities.obis import ObisCode
from openami.readings.door import Batch
from openami.readings.interval_block import IntervalBlock
from openami.registry.entities import BEGINNING, Entity, Installation, Meter, UsagePoint
from openami.workspace.settings import read_passwords, write_passwords
from openami.workspace.site import is_site_file, read_site
from openami.workspace.workspace import Workspace

ACTOR = "import"


class Keeping(Enum):
    """What of a broken file is stored."""

    NOTHING = "nothing"
    GOOD_PARTS = "good parts"


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of one file."""

    file: str
    format: str
    stored: bool
    intervals: int
    blocks: int
    register_reads: int
    duplicates: int
    conflicts: int
    new_meters: int
    seq: int | None
    diagnostics: tuple[Diagnostic, ...]

    @property
    def ok(self) -> bool:
        """True when the file had no error."""
        return not any(diagnostic.severity is Severity.ERROR for diagnostic in self.diagnostics)


def import_file(
    workspace: Workspace,
    path: Path,
    *,
    policy: Policy,
    keeping: Keeping = Keeping.NOTHING,
    mapping: Mapping | None = None,
    zone: str | None = None,
) -> FileReport:
    """Import one file of readings or a site file.

    Raises
    ------
    FormatError
        The file cannot be opened, or its format or mapping is unknown.
    RegistryError
        A site file contradicts the registry; nothing of it is recorded.
    StoreError
        The readings could not be stored; nothing of the file is visible.
    """
    if is_site_file(path):
        return _import_site(workspace, path)
    result = read_file(path, policy=policy, mapping=mapping, zone=zone, captured_at=workspace.clock.now())
    errors = not result.ok
    if errors and keeping is Keeping.NOTHING:
        return _report(path, result, stored=False)
    new_meters = _record_unknown(workspace, result)
    batch = Batch(
        source=path.name,
        intervals=result.intervals,
        register_reads=result.register_reads,
        evidence=result.evidence,
    )
    if batch.empty:
        return _report(path, result, stored=False)
    receipt = workspace.door.put(batch)
    return FileReport(
        file=path.name,
        format=result.format,
        stored=True,
        intervals=result.readings,
        blocks=len(result.intervals),
        register_reads=len(result.register_reads),
        duplicates=receipt.duplicates,
        conflicts=len(receipt.conflicts),
        new_meters=new_meters,
        seq=receipt.seq,
        diagnostics=result.diagnostics,
    )


def import_files(
    workspace: Workspace,
    paths: Sequence[Path],
    *,
    policy: Policy,
    keeping: Keeping = Keeping.NOTHING,
    mapping: Mapping | None = None,
    zone: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[FileReport]:
    """Import files one after the other; each is stored whole or not at all (see `import_file`)."""
    reports = []
    for index, path in enumerate(paths):
        progress(index, len(paths))
        reports.append(
            import_file(workspace, path, policy=policy, keeping=keeping, mapping=mapping, zone=zone)
        )
    progress(len(paths), len(paths))
    return reports


def _import_site(workspace: Workspace, path: Path) -> FileReport:
    site = read_site(path)
    workspace.registry.record(site.entities, actor=ACTOR, why=f"site file {path.name}")
    if site.passwords:
        write_passwords(workspace.folder, read_passwords(workspace.folder) | site.passwords)
    meters = sum(isinstance(entity, Meter) for entity in site.entities)
    return FileReport(path.name, "site", True, 0, 0, 0, 0, 0, meters, None, ())


def _record_unknown(workspace: Workspace, result: ImportResult) -> int:
    known = {meter.meter_id for meter in workspace.registry.meters()}
    points = {point.usage_point_id for point in workspace.registry.usage_points()}
    channels: dict[str, dict[ObisCode, IntervalBlock]] = {}
    for block in result.intervals:
        channels.setdefault(block.series_id, {}).setdefault(block.channel, block)
    start: dict[str, datetime] = {}
    for block in result.intervals:
        start[block.series_id] = min(block.day.start, start.get(block.series_id, block.day.start))
    for read in result.register_reads:
        start[read.meter_id] = min(read.at, start.get(read.meter_id, read.at))
    entities: list[Entity] = []
    for meter_id, first in start.items():
        if meter_id in known:
            continue
        blocks = channels.get(meter_id, {})
        zone = next((block.day.zone for block in blocks.values()), workspace.settings.zone)
        usage_point_id = result.usage_points.get(meter_id, meter_id)
        entities.append(_file_meter(meter_id, zone, blocks))
        if usage_point_id not in points:
            points.add(usage_point_id)
            entities.append(UsagePoint(usage_point_id, zone, None, "customer", None, "residential"))
        entities.append(Installation(meter_id, usage_point_id, min(first, BEGINNING)))
    if entities:
        workspace.registry.record(entities, actor=ACTOR, why=f"meters first seen in a file ({result.format})")
    return sum(isinstance(entity, Meter) for entity in entities)


def _file_meter(meter_id: str, zone: str, blocks: dict[ObisCode, IntervalBlock]) -> Meter:
    return Meter(
        meter_id=meter_id,
        model="file",
        host="",
        port=0,
        logical_device=0,
        zone=zone,
        interval_s=next((block.interval_s for block in blocks.values()), 1800),
        digits=9,
        exponent=next((block.quantum.exponent for block in blocks.values()), 0),
        channels=tuple(blocks),
    )


def _report(path: Path, result: ImportResult, *, stored: bool) -> FileReport:
    return FileReport(
        path.name, result.format, stored, result.readings, len(result.intervals),
        len(result.register_reads), 0, 0, 0, None, result.diagnostics,
    )  # fmt: skip


def files_below(paths: Iterable[Path]) -> list[Path]:
    """The files named, and those below the folders named, in order of name."""
    found: list[Path] = []
    for path in paths:
        found += sorted(child for child in path.rglob("*") if child.is_file()) if path.is_dir() else [path]
    return found

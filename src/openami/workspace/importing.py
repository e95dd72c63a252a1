"""Files into the workspace: readings through the Door, master data into the registry.

A file alone is enough to start: meters that the registry does not know are recorded first
(`openami.workspace.first_seen`). The rule never to be broken: a file is stored whole or not at all; only
with `Keeping.GOOD_PARTS` the faultless parts of a broken one are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from openami.mdm.formats import Diagnostic, ImportResult, Mapping, Policy, Severity, read_file
from openami.mdm.formats.mdff import NEM_ZONE
from openami.quantities.clock import Clock
from openami.quantities.errors import RegistryError, StoreError
from openami.readings.door import Batch, Receipt
from openami.registry.entities import Entity, Meter
from openami.registry.registry import Registry
from openami.workspace.first_seen import MeterPlan, key_of, plan_meters, renamed, seen_meters
from openami.workspace.meter_access import put_credentials
from openami.workspace.site import is_site_file, read_site
from openami.workspace.workspace import Workspace

ACTOR = "import"


class Keeping(Enum):
    """What of a broken file is stored."""

    NOTHING = "nothing"
    GOOD_PARTS = "good parts"


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of one file.

    Parameters
    ----------
    file, format:
        Its name, and what it was taken for.
    stored:
        True when something of it is in the store (also when it was there before).
    intervals, blocks, register_reads:
        What it holds: interval values (missing ones included), blocks of a day, register reads; of a file
        with errors the faultless parts.
    duplicates, conflicts:
        Blocks and reads that were stored already; contradictions to what was stored.
    new_meters:
        Meters that the registry did not know.
    seq:
        Commit of the store; None when nothing was stored.
    diagnostics:
        All faults of the file, and what does not fit to the registry.
    """

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

    A file that does not say when it was made (a table) is taken for obtained when it was last written, so
    the same file again changes nothing.

    Parameters
    ----------
    policy, mapping, zone:
        How the file is read; see `openami.mdm.formats.read_file`.
    keeping:
        What of a file with errors is stored.

    Raises
    ------
    FormatError
        The file cannot be opened, or a site file has faults (all are listed).
    QuantityError
        There is no such zone.
    RegistryError
        A site file contradicts the registry; nothing of it is recorded.
    StoreError
        The readings could not be stored; nothing of the file is visible.
    """
    if is_site_file(path):
        return _import_site(workspace, path)
    result = read_file(
        path, policy=policy, mapping=mapping, zone=zone, captured_at=_obtained(path, workspace.clock)
    )
    if not result.ok and keeping is Keeping.NOTHING:
        return _report(path, result)
    zone_of_reads = NEM_ZONE if result.format in ("nem12", "nem13") else workspace.settings.zone
    plan = plan_meters(workspace.registry, workspace.store, seen_meters(result), zone_of_reads)
    diagnostics = (*result.diagnostics, *plan.diagnostics)
    result = replace(renamed(result, plan.names, plan.refused), diagnostics=diagnostics)
    if plan.refused and keeping is Keeping.NOTHING:
        return _report(path, result)
    batch = Batch(
        source=path.name,
        intervals=result.intervals,
        register_reads=result.register_reads,
        evidence=result.evidence,
    )
    if not (batch.intervals or batch.register_reads):
        return _report(path, result)
    receipt = _store(workspace, batch, plan, f"meters first seen in {path.name} ({result.format})")
    return replace(
        _report(path, result),
        stored=True,
        duplicates=receipt.duplicates,
        conflicts=len(receipt.conflicts),
        new_meters=len(plan.new_meters),
        seq=receipt.seq,
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


def files_below(paths: Iterable[Path]) -> list[Path]:
    """The files named, and those below the folders named, in order of name."""
    found: list[Path] = []
    for path in paths:
        found += sorted(child for child in path.rglob("*") if child.is_file()) if path.is_dir() else [path]
    return found


def _import_site(workspace: Workspace, path: Path) -> FileReport:
    site = read_site(path)
    known = {meter.meter_id for meter in workspace.registry.meters()}
    workspace.registry.record(site.entities, actor=ACTOR, why=f"site file {path.name}")
    if site.credentials:
        put_credentials(workspace.folder, site.credentials, site.public_keys)
    meters = {entity.meter_id for entity in site.entities if isinstance(entity, Meter)}
    return FileReport(path.name, "site", True, 0, 0, 0, 0, 0, len(meters - known), None, ())


def _store(workspace: Workspace, batch: Batch, plan: MeterPlan, why: str) -> Receipt:
    """Master data first, then readings: what a crash leaves in between is a meter without readings, which
    the next import of the file completes. A refusal of the store takes the master data back."""
    registry = workspace.registry
    before = registry.revision
    if plan.entities or plan.withdraw:
        registry.record(plan.entities, actor=ACTOR, why=why, withdraw=plan.withdraw)
    try:
        return workspace.door.put(batch)
    except StoreError as refusal:
        try:
            _take_back(registry, plan, before)
        except RegistryError as error:
            refusal.add_note(f"its meters stay recorded, without readings: {error}")
        raise


def _take_back(registry: Registry, plan: MeterPlan, before: int) -> None:
    recorded = {key_of(entity) for entity in plan.entities}
    standing: list[Entity] = [
        *registry.meters(revision=before),
        *registry.usage_points(revision=before),
        *registry.installations(revision=before),
    ]
    earlier = {key_of(entity): entity for entity in standing}
    registry.record(
        [*plan.withdraw, *(entity for key, entity in earlier.items() if key in recorded)],
        actor=ACTOR,
        why="the readings could not be stored",
        withdraw=[entity for entity in plan.entities if key_of(entity) not in earlier],
    )


def _obtained(path: Path, clock: Clock) -> datetime:
    """When a file was last written; now, where that is not known or lies ahead."""
    now = clock.now()
    try:
        return min(now, datetime.fromtimestamp(path.stat().st_mtime, UTC))
    except (OSError, ValueError, OverflowError):
        return now


def _report(path: Path, result: ImportResult) -> FileReport:
    """What a file holds, before any of it is stored."""
    return FileReport(
        file=path.name,
        format=result.format,
        stored=False,
        intervals=sum(block.values.size for block in result.intervals),
        blocks=len(result.intervals),
        register_reads=len(result.register_reads),
        duplicates=0,
        conflicts=0,
        new_meters=0,
        seq=None,
        diagnostics=result.diagnostics,
    )

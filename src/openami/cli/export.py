"""`ami export`: final or raw readings in the formats of the field."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from openami.cli.output import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption, print_facts, print_json
from openami.cli.period import period_of
from openami.cli.whole_file import whole_file
from openami.mdm.formats.espi_write import espi_write
from openami.mdm.formats.nem12_write import nem12_write
from openami.mdm.formats.table_write import csv_write, parquet_write
from openami.quantities.errors import FormatError
from openami.readings.interval_block import IntervalBlock
from openami.workspace.workspace import Workspace, opened


class Format(Enum):
    """What `ami export` writes."""

    CSV = "csv"
    PARQUET = "parquet"
    ESPI = "espi"
    NEM12 = "nem12"


class Stage(Enum):
    """Which readings are exported."""

    FINAL = "final"
    RAW = "raw"


def add_commands(app: typer.Typer) -> None:
    """Put the commands under ``ami``."""
    app.command("export")(export)


def export(
    output: Annotated[Path, typer.Argument(help="File to write.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    format_: Annotated[Format, typer.Option("--format", help="Format of the file.")] = Format.CSV,
    stage: Annotated[
        Stage, typer.Option(help="Final readings of usage points, or raw ones of meters.")
    ] = Stage.FINAL,
    series: Annotated[
        list[str] | None, typer.Option(help="Only these usage points or meters; may be repeated.")
    ] = None,
    first: Annotated[str | None, typer.Option("--from", help="First civil day.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last civil day, included.")] = None,
    as_of: Annotated[
        int | None, typer.Option(help="As of a commit sequence; the newest when left out.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write readings as CSV, Parquet, Green Button (ESPI) or NEM12; the file is there whole or not at all.

    Example: ami export october.xml --format espi --series UP0001 --from 2026-10-01 --to 2026-10-31
    """
    with opened(workspace) as utility:
        start, end = period_of(utility, first, last)
        read = utility.store.final if stage is Stage.FINAL else utility.store.raw
        blocks = read(series or None, None, start, end, as_of=as_of)
        if not blocks:
            raise FormatError(
                f"there are no {stage.value} readings of {', '.join(series or ['anybody'])} from {start} "
                f"to {end - timedelta(days=1)}",
                expected="`ami vee` first, or other names or days",
            )
        with whole_file(output) as fresh:
            _WRITERS[format_](utility, blocks, fresh)
    facts: dict[str, object] = {
        "file": str(output),
        "format": format_.value,
        "stage": stage.value,
        "blocks": len(blocks),
        "intervals": sum(len(block.values) for block in blocks),
        "bytes": output.stat().st_size,
    }
    if json:
        print_json(facts)
    else:
        print_facts(f"wrote {output}", facts)


def _csv(utility: Workspace, blocks: list[IntervalBlock], fresh: Path) -> None:
    fresh.write_bytes(csv_write(blocks))


def _parquet(utility: Workspace, blocks: list[IntervalBlock], fresh: Path) -> None:
    parquet_write(blocks, fresh)


def _espi(utility: Workspace, blocks: list[IntervalBlock], fresh: Path) -> None:
    fresh.write_bytes(espi_write(blocks, updated=utility.clock.now(), title=utility.settings.name))


def _nem12(utility: Workspace, blocks: list[IntervalBlock], fresh: Path) -> None:
    made = nem12_write(
        blocks,
        made_at=utility.clock.now(),
        sender="OPENAMI",
        receiver="OPENAMI",
        usage_points={block.series_id: block.series_id for block in blocks},
    )
    fresh.write_bytes(made)


_WRITERS: dict[Format, Callable[[Workspace, list[IntervalBlock], Path], None]] = {
    Format.CSV: _csv,
    Format.PARQUET: _parquet,
    Format.ESPI: _espi,
    Format.NEM12: _nem12,
}

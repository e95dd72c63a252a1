"""`ami import`: files of readings, and master data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openami.cli.output import (
    DEFAULT_WORKSPACE,
    JsonOption,
    WorkspaceOption,
    print_json,
    print_table,
    progress,
    stderr,
)
from openami.mdm.formats import Mapping, Policy, Severity
from openami.workspace.importing import FileReport, Keeping, files_below, import_file
from openami.workspace.workspace import opened


def add_commands(app: typer.Typer) -> None:
    """Put the commands under ``ami``."""
    app.command("import")(import_)


def import_(
    files: Annotated[
        list[Path], typer.Argument(help="Files or folders: NEM12, NEM13, Green Button, CSV, Parquet, site.")
    ],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    mapping: Annotated[
        str | None,
        typer.Option(help="Mapping of a CSV or Parquet file: a TOML file, or the name of a packaged one."),
    ] = None,
    zone: Annotated[str | None, typer.Option(help="IANA zone, where the file does not say.")] = None,
    tolerant: Annotated[
        bool, typer.Option("--tolerant", help="Warn of what is odd instead of refusing.")
    ] = False,
    keep_good: Annotated[
        bool, typer.Option("--keep-good", help="Store the faultless parts of a broken file.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Import readings, or master data from a site file. A broken file is refused whole (exit code 2).

    Example: ami import readings/*.csv --mapping ausgrid --zone Australia/Sydney
    """
    chosen = Mapping.load(mapping) if mapping else None
    paths = files_below(files)
    reports: list[FileReport] = []
    with opened(workspace) as utility, progress("importing") as advance:
        for index, path in enumerate(paths):
            advance(index, len(paths))
            reports.append(
                import_file(
                    utility,
                    path,
                    policy=Policy.TOLERANT if tolerant else Policy.STRICT,
                    keeping=Keeping.GOOD_PARTS if keep_good else Keeping.NOTHING,
                    mapping=chosen,
                    zone=zone,
                )
            )
        advance(len(paths), len(paths))
    if json:
        print_json({"files": reports, "ok": all(report.ok for report in reports)})
    else:
        _show(reports)
    if not all(report.ok for report in reports):
        raise typer.Exit(2)


def _show(reports: list[FileReport]) -> None:
    print_table(
        "imported",
        ("file", "format", "stored", "readings", "blocks", "registers", "again", "conflicts", "new meters"),
        [
            (
                report.file, report.format, "yes" if report.stored else "no", report.intervals, report.blocks,
                report.register_reads, report.duplicates, report.conflicts, report.new_meters,
            )
            for report in reports
        ],
    )  # fmt: skip
    for report in reports:
        for fault in report.diagnostics:
            place = f"{report.file}, line {fault.line}" if fault.line else report.file
            style = "red" if fault.severity is Severity.ERROR else "yellow"
            expected = f" (expected: {fault.expected})" if fault.expected else ""
            stderr.print(
                f"{fault.severity.value.lower()}: {place}: {fault.message}{expected}",
                style=style, markup=False, soft_wrap=True,
            )  # fmt: skip

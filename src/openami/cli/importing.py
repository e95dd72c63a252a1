"""`ami import`: files of readings, and master data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from openami.cli.output import (
    DEFAULT_WORKSPACE,
    JsonOption,
    WorkspaceOption,
    print_json,
    print_table,
    progress,
    stderr,
)
from openami.mdm.formats import Diagnostic, Mapping, Policy, Severity
from openami.quantities.errors import FormatError, OpenAmiError, RegistryError
from openami.workspace.importing import FileReport, Keeping, files_below, import_file
from openami.workspace.workspace import opened

_SHOWN_OF_A_KIND: Final = 5


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

    The format is recognised; a CSV or Parquet table that `ami export` did not write needs a mapping of its
    columns.

    Example: ami import october.csv --mapping ausgrid --zone Australia/Sydney
    Example: ami import site.toml
    """
    if missing := [path for path in files if not path.exists()]:
        raise FormatError("there is no such file", where=", ".join(map(str, missing)))
    chosen = Mapping.load(mapping) if mapping else None
    paths = files_below(files)
    if not paths:
        raise FormatError("there are no files to import", where=", ".join(map(str, files)))
    reports: list[FileReport] = []
    policy = Policy.TOLERANT if tolerant else Policy.STRICT
    keeping = Keeping.GOOD_PARTS if keep_good else Keeping.NOTHING
    with opened(workspace) as utility, progress("importing") as advance:
        for index, path in enumerate(paths):
            advance(index, len(paths))
            try:
                report = import_file(utility, path, policy=policy, keeping=keeping, mapping=chosen, zone=zone)
            except (FormatError, RegistryError) as error:
                # One file that cannot be read does not hide what became of the others.
                report = _refused(path, error)
            reports.append(report)
        advance(len(paths), len(paths))
    if json:
        print_json({"files": reports, "ok": all(report.ok for report in reports)})
    else:
        _show(reports)
    if not all(report.ok for report in reports):
        raise typer.Exit(2)


def _refused(path: Path, error: OpenAmiError) -> FileReport:
    place = f"{error.where}: " if error.where and error.where != str(path) else ""
    fault = Diagnostic(None, Severity.ERROR, "refused", f"{place}{error.message}", error.expected)
    return FileReport(path.name, "unknown", False, 0, 0, 0, 0, 0, 0, None, (fault,))


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
        shown: Counter[str] = Counter()
        for fault in report.diagnostics:
            shown[fault.code] += 1
            if shown[fault.code] <= _SHOWN_OF_A_KIND:
                _show_fault(report.file, fault)
        for code, count in shown.items():
            if count > _SHOWN_OF_A_KIND:
                more = f"... and {count - _SHOWN_OF_A_KIND} more of this kind ({code}; --json lists them all)"
                stderr.print(f"{report.file}: {more}", markup=False, soft_wrap=True)


def _show_fault(file: str, fault: Diagnostic) -> None:
    place = f"{file}, line {fault.line}" if fault.line else file
    times = f", {fault.count} times" if fault.count > 1 else ""
    expected = f" (expected: {fault.expected})" if fault.expected else ""
    style = "red" if fault.severity is Severity.ERROR else "yellow"
    stderr.print(
        Text.assemble((f"{fault.severity.value}: ", style), f"{place}{times}: {fault.message}{expected}"),
        soft_wrap=True,
    )

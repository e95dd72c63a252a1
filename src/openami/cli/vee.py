"""`ami vee`: validate, estimate, version."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated

import typer

from openami.cli.output import (
    DEFAULT_WORKSPACE,
    JsonOption,
    WorkspaceOption,
    print_facts,
    print_json,
    print_table,
    progress,
)
from openami.quantities.errors import FormatError
from openami.workspace.workspace import Workspace, opened


def add_commands(app: typer.Typer) -> None:
    """Put the commands under ``ami``."""
    app.command("vee")(vee)


def vee(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    first: Annotated[str | None, typer.Option("--from", help="First civil day, as 2026-10-01.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last civil day, included.")] = None,
    json: JsonOption = False,
) -> None:
    """Validate and estimate: raw readings become final ones, findings become exceptions.

    Example: ami vee --from 2026-10-01 --to 2026-10-31
    """
    with opened(workspace) as utility, progress("validating") as advance:
        start, end = period(utility, first, last)
        report = utility.vee().run(start, end, progress=advance)
    document = {
        "first_day": start,
        "last_day": end - timedelta(days=1),
        "rule_pack": report.pack_id,
        "seq": report.seq,
        "days": report.days,
        "intervals_expected": report.intervals_expected,
        "intervals_measured": report.intervals_measured,
        "intervals_estimated": report.intervals_estimated,
        "completeness": report.intervals_measured / report.intervals_expected
        if report.intervals_expected
        else None,
        "exceptions": report.exceptions,
    }
    if json:
        print_json(document)
        return
    print_facts("validated", {key: value for key, value in document.items() if key != "exceptions"})
    if report.exceptions:
        print_table("exceptions", ("reason", "cases"), sorted(report.exceptions.items()))


def period(utility: Workspace, first: str | None, last: str | None) -> tuple[date, date]:
    """``[first, last)`` as asked (``last`` included there), else everything that has raw readings."""
    span = utility.store.days_present("raw")
    if span is None and (first is None or last is None):
        raise FormatError("nothing has been read yet", expected="`ami import` or `ami collect` first")
    start = civil_day(first, "--from") if first else (span[0] if span else date.min)
    end = civil_day(last, "--to") if last else (span[1] if span else date.min)
    if end < start:
        raise FormatError(f"--to {end} lies before --from {start}")
    return start, end + timedelta(days=1)


def civil_day(text: str, option: str) -> date:
    """A day written as 2026-10-01."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise FormatError(f"{text!r} is not a day", where=option, expected="a date as 2026-10-01") from None

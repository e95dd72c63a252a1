"""`ami vee`: validate, estimate, version."""

from __future__ import annotations

from datetime import timedelta
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
from openami.cli.period import period_of
from openami.workspace.upkeep import compact_closed_months
from openami.workspace.validation import Stretch, stretches, validate
from openami.workspace.workspace import opened


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

    Without days, everything that has been read. Run again, it changes only what late readings change.

    Example: ami vee --from 2026-10-01 --to 2026-10-31
    """
    with opened(workspace) as utility, progress("validating") as advance:
        start, end = period_of(utility, first, last)
        # Without days, nobody is expected to have readings beyond their own last one.
        wanted = stretches(utility) if first is None and last is None else [Stretch(start, end, None)]
        report = validate(utility, wanted, advance)
        compact_closed_months(utility.store, start, end)
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
    completeness = report.intervals_measured / max(report.intervals_expected, 1)
    print_facts(
        f"validated {start} to {end - timedelta(days=1)}",
        {
            "rule pack": report.pack_id,
            "final days": report.days,
            "intervals expected": report.intervals_expected,
            "measured": report.intervals_measured,
            "estimated": report.intervals_estimated,
            "completeness": f"{100 * completeness:.3f} %",
            "as of commit": report.seq,
        },
    )
    if report.exceptions:
        print_table("exceptions", ("kind", "cases"), sorted(report.exceptions.items()))

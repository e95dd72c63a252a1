"""`ami store`: what the reading store holds, and its upkeep."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from openami.cli.output import (
    DEFAULT_WORKSPACE,
    JsonOption,
    WorkspaceOption,
    print_facts,
    print_json,
    progress,
    stderr,
    stdout,
)
from openami.cli.period import period_of
from openami.workspace.upkeep import compact_months, store_facts, verify_store
from openami.workspace.workspace import opened

commands = typer.Typer(help="What the reading store holds, and its upkeep.\n\nExample: ami store info")


def add_commands(app: typer.Typer) -> None:
    """Put the commands under ``ami``."""
    app.add_typer(commands, name="store")


@commands.command("info")
def info(workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """Count what is stored: rows, commits, files, bytes, days.

    Example: ami store info
    """
    with opened(workspace) as utility:
        facts = asdict(store_facts(utility))
    if json:
        print_json(facts)
    else:
        rows = facts.pop("rows")
        print_facts("the reading store", {name.replace("_", " "): value for name, value in facts.items()})
        print_facts("rows", {name.replace("_", " "): value for name, value in rows.items()})


@commands.command("compact")
def compact(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    first: Annotated[str | None, typer.Option("--from", help="First civil day, as 2026-10-01.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last civil day, included.")] = None,
    json: JsonOption = False,
) -> None:
    """Merge the small files of the months of a period; no answer changes.

    `ami vee` does it for closed months by itself.

    Example: ami store compact --from 2026-10-01 --to 2026-10-31
    """
    with opened(workspace) as utility:
        fewer = compact_months(utility.store, *period_of(utility, first, last))
    if json:
        print_json({"files_fewer": fewer})
    else:
        stdout.print(f"{fewer} files fewer")


@commands.command("vacuum")
def vacuum(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    days: Annotated[int, typer.Option(help="Only files last written so many days ago.", min=0)] = 7,
    json: JsonOption = False,
) -> None:
    """Delete files that nothing refers to any more, as compaction leaves them.

    Example: ami store vacuum --days 30
    """
    with opened(workspace) as utility:
        deleted = utility.store.vacuum(timedelta(days=days))
    if json:
        print_json({"files_deleted": deleted})
    else:
        stdout.print(f"{deleted} files deleted")


@commands.command("verify")
def verify(workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """Hold every stored block and piece of evidence against the digest that is its name.

    Exit code 1 when one does not hold.

    Example: ami store verify
    """
    with opened(workspace) as utility, progress("verifying") as advance:
        proof = verify_store(utility, advance)
    if json:
        print_json({"holds": proof.holds, **asdict(proof)})
    else:
        for fault in proof.faults:
            stderr.print(fault, style="red", markup=False, soft_wrap=True)
        counted = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in proof.rows.items())
        stdout.print(f"{'holds' if proof.holds else 'does NOT hold'}: {counted}", markup=False)
    if not proof.holds:
        raise typer.Exit(1)

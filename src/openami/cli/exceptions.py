"""`ami exceptions`: what was found wrong with readings; people look at it and close it."""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from typing import Annotated

import typer

from openami.cli.output import (
    DEFAULT_WORKSPACE,
    JsonOption,
    WorkspaceOption,
    print_facts,
    print_json,
    print_table,
    stdout,
)
from openami.cli.period import civil_day
from openami.mdm.exceptions import EXCEPTION_KINDS, ExceptionCase
from openami.quantities.errors import FormatError
from openami.workspace.workspace import opened

commands = typer.Typer(
    help="List, show and close what was found wrong with readings.\n\nExample: ami exceptions list --kind gap"
)


class State(Enum):
    """Which cases are listed."""

    OPEN = "open"
    CLOSED = "closed"
    ALL = "all"


def add_commands(app: typer.Typer) -> None:
    """Put the commands under ``ami``."""
    app.add_typer(commands, name="exceptions")


@commands.command("list")
def list_(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    kind: Annotated[str | None, typer.Option(help=f"One of {', '.join(EXCEPTION_KINDS)}.")] = None,
    state: Annotated[State, typer.Option(help="Open or closed cases, or all.")] = State.OPEN,
    meter: Annotated[str | None, typer.Option(help="Only of this meter.")] = None,
    usage_point: Annotated[str | None, typer.Option(help="Only of this usage point.")] = None,
    first: Annotated[str | None, typer.Option("--from", help="First civil day, as 2026-10-01.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last civil day, included.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many; the newest days first.", min=1)] = 100,
    json: JsonOption = False,
) -> None:
    """List cases, the newest day first.

    Example: ami exceptions list --kind spike --from 2026-10-01
    """
    if kind is not None and kind not in EXCEPTION_KINDS:
        raise FormatError(
            f"there is no kind of exception {kind!r}", where="--kind", expected=", ".join(EXCEPTION_KINDS)
        )
    wanted = None if state is State.ALL else state.value
    with opened(workspace) as utility:
        found = utility.exceptions.find(
            kind,
            wanted,
            meter,
            usage_point_id=usage_point,
            first_day=civil_day(first, "--from") if first else None,
            last_day=civil_day(last, "--to") + timedelta(days=1) if last else None,
            limit=limit + 1,
        )
        counts = utility.exceptions.counts(wanted)
    shown = found[:limit]
    if json:
        print_json({"counts": counts, "exceptions": [_document(case) for case in shown]})
        return
    print_table(
        f"exceptions, {state.value}",
        ("exception", "kind", "meter", "day", "state", "what was found"),
        [(one.exception_id, one.kind, one.meter_id, one.day, one.state, one.detail) for one in shown],
    )
    if len(found) > limit:
        stdout.print(f"... and more; {sum(counts.values()):,} cases in all (--limit, --kind, --meter)")


@commands.command("show")
def show(
    exception_id: Annotated[str, typer.Argument(metavar="EXCEPTION", help="Name of a case.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Show a case with the readings and the evidence it was found in.

    Example: ami exceptions show 5f2b0c1d9e8a7b6c5d4e3f21
    """
    with opened(workspace) as utility:
        case = utility.exceptions.get(exception_id)
        evidence = utility.store.evidence(case.evidence_ids)
        blocks = utility.store.blocks(case.block_ids)
    if json:
        print_json(_document(case))
        return
    print_facts(
        f"exception {case.exception_id}",
        {
            "kind": case.kind,
            "meter": case.meter_id,
            "usage point": case.usage_point_id,
            "day": case.day,
            "channel": case.channel,
            "found": case.detail,
            "state": case.state,
            "raised at": case.raised_at,
            "closed": f"{case.closed_at} by {case.closed_by}: {case.closed_why}" if case.closed_at else None,
        },
    )
    if blocks:
        print_table(
            "blocks",
            ("block", "series", "channel", "day", "version", "seq", "captured at"),
            [
                (key, one.series_id, one.channel, one.day.day, one.version, one.seq, one.captured_at)
                for key, one in blocks.items()
            ],
        )
    if evidence:
        print_table(
            "evidence",
            ("evidence", "kind", "source", "locator", "sha256"),
            [(key, one.kind, one.source, one.locator, one.sha256) for key, one in evidence.items()],
        )


@commands.command("close")
def close(
    exception_ids: Annotated[list[str], typer.Argument(metavar="EXCEPTION...", help="Names of cases.")],
    why: Annotated[str, typer.Option(help="The reason, kept with the case.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    actor: Annotated[str, typer.Option(help="Who does it.")] = "cli",
    json: JsonOption = False,
) -> None:
    """Close open cases, with a reason; they stay readable.

    Example: ami exceptions close 5f2b0c1d9e8a7b6c5d4e3f21 --why "meter replaced on the 12th"
    """
    with opened(workspace) as utility:
        for exception_id in exception_ids:
            utility.exceptions.close(exception_id, actor=actor, why=why)
        closed = [utility.exceptions.get(exception_id) for exception_id in exception_ids]
    if json:
        print_json({"closed": [_document(case) for case in closed]})
    else:
        stdout.print(f"closed: {', '.join(exception_ids)}", markup=False)


def _document(case: ExceptionCase) -> dict[str, object]:
    return {
        "exception": case.exception_id,
        "kind": case.kind,
        "meter": case.meter_id,
        "usage_point": case.usage_point_id,
        "day": case.day,
        "channel": None if case.channel is None else str(case.channel),
        "detail": case.detail,
        "state": case.state,
        "seq": case.seq,
        "raised_at": case.raised_at,
        "closed_at": case.closed_at,
        "closed_by": case.closed_by,
        "closed_why": case.closed_why,
        "blocks": list(case.block_ids),
        "evidence": list(case.evidence_ids),
    }

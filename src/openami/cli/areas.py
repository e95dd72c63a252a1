"""`ami areas`: loss of transformer areas, and who is suspected of bypassing the meter."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from openami.cli.output import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption, print_json, print_table
from openami.cli.period import period_of
from openami.workspace.analysis import area_losses, look_for_theft
from openami.workspace.workspace import opened


def add_commands(app: typer.Typer) -> None:
    """Put the commands under ``ami``."""
    app.command("areas")(areas)


def areas(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    first: Annotated[str | None, typer.Option("--from", help="First civil day, as 2026-10-01.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last civil day, included.")] = None,
    json: JsonOption = False,
) -> None:
    """Supplied, sold and lost energy of each area; suspects are reported as exceptions.

    Example: ami areas --from 2026-10-01 --to 2026-10-31
    """
    with opened(workspace) as utility:
        start, end = period_of(utility, first, last)
        losses = area_losses(utility, start, end)
        suspects = look_for_theft(utility, start, end)
    if json:
        print_json(
            {
                "first_day": start,
                "last_day": end - timedelta(days=1),
                "areas": [
                    {
                        "area": loss.area_id,
                        "supplied_wh": loss.supplied_wh,
                        "sold_wh": loss.sold_wh,
                        "loss_wh": loss.loss_wh,
                        "loss_percent": loss.loss_percent,
                    }
                    for loss in losses
                ],
                "suspects": suspects,
            }
        )
        return
    print_table(
        f"areas, {start} to {end - timedelta(days=1)}",
        ("area", "supplied Wh", "sold Wh", "loss Wh", "loss %"),
        [(loss.area_id, loss.supplied_wh, loss.sold_wh, loss.loss_wh, loss.loss_percent) for loss in losses],
    )
    if suspects:
        print_table(
            "suspected of bypassing the meter",
            ("usage point", "area", "since", "unmetered %", "significance"),
            [
                (
                    suspect.usage_point_id, suspect.area_id, suspect.first_day,
                    100 * suspect.bypassed_share, suspect.significance,
                )
                for suspect in suspects
            ],
        )  # fmt: skip

"""`ami collect`: read meters over the wire."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
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
from openami.cli.period import civil_day
from openami.headend.collection import CollectionPolicy
from openami.headend.dlms_tcp import LinkSettings
from openami.quantities.civil_time import civil_day_of
from openami.workspace.collecting import HORIZON_DAYS, collect, orders_of_day
from openami.workspace.workspace import Workspace, opened


def add_commands(app: typer.Typer) -> None:
    """Put the commands under ``ami``."""
    app.command("collect")(collect_command)


def collect_command(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    day: Annotated[str | None, typer.Option(help="Civil day to read; yesterday when left out.")] = None,
    horizon: Annotated[
        int, typer.Option(help="Days back in which gaps are filled.", min=0, max=60)
    ] = HORIZON_DAYS,
    concurrency: Annotated[int, typer.Option(help="Meters read at the same time.", min=1, max=5000)] = 64,
    attempts: Annotated[int, typer.Option(help="Tries per meter.", min=1, max=10)] = 3,
    timeout: Annotated[float, typer.Option(help="Seconds a meter may take for an answer.", min=0.05)] = 10.0,
    json: JsonOption = False,
) -> None:
    """Read the load profiles, freezes and registers of all meters; gaps of earlier days are filled.

    Example: ami collect --day 2026-10-25
    """
    with opened(workspace) as utility, progress("reading meters") as advance:
        wanted = civil_day(day, "--day") if day else _yesterday(utility)
        orders = orders_of_day(utility, wanted, horizon_days=horizon)
        policy = CollectionPolicy(concurrency=concurrency, attempts=attempts)
        report = asyncio.run(
            collect(
                utility, orders, policy=policy, link=LinkSettings(request_timeout_s=timeout), progress=advance
            )
        )
    if json:
        print_json({"day": wanted, **asdict(report)})
    else:
        print_facts(
            f"read {wanted}", {key: value for key, value in asdict(report).items() if key != "failures"}
        )
        if report.failures:
            print_table(
                "not read",
                ("meter", "address", "attempts", "reason"),
                [(item.meter_id, item.address, item.attempts, item.reason) for item in report.failures],
            )
    if report.failures:
        raise typer.Exit(1)


def _yesterday(utility: Workspace) -> date:
    return civil_day_of(utility.clock.now(), utility.settings.zone).day - timedelta(days=1)

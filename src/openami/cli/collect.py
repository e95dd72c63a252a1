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
    stderr,
    stdout,
)
from openami.cli.period import civil_day
from openami.headend.collection import CollectionPolicy
from openami.headend.dlms_conversation import LinkSettings
from openami.headend.key_rotation import Rotation
from openami.quantities.civil_time import civil_day_of
from openami.quantities.errors import FormatError, RegistryError
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
    """Read the load profiles, freezes, registers and events of all meters; gaps of earlier days are filled.

    Exit code 1 when a meter could not be read; it is asked again the next time. Where a rotation of keys was
    interrupted, the meter shows which it has, and those are in use from then on.

    Example: ami collect --day 2026-10-25
    """
    with opened(workspace) as utility, progress("reading meters") as advance:
        wanted = _day(utility, day)
        orders = orders_of_day(utility, wanted, horizon_days=horizon)
        policy = CollectionPolicy(concurrency=concurrency, attempts=attempts)
        report = asyncio.run(
            collect(
                utility,
                orders,
                policy=policy,
                link=LinkSettings(request_timeout_s=timeout),
                progress=advance,
                settled=_settled,
            )
        )
    if json:
        print_json({"day": wanted, **asdict(report)})
    elif not orders:
        stdout.print(f"nothing to read: {wanted} and the {horizon} days before it are complete")
    else:
        print_facts(
            f"read {wanted}",
            {
                "meters asked": report.meters,
                "read": report.read,
                "read at a later attempt": report.retried,
                "not read": report.failed,
                "intervals": report.intervals,
                "frames": report.frames,
                "delivered before": report.duplicates,
                "conflicts": report.conflicts,
                "seconds": report.seconds,
            },
        )
        if report.failures:
            print_table(
                "not read",
                ("meter", "address", "attempts", "reason"),
                [(item.meter_id, item.address, item.attempts, item.reason) for item in report.failures],
            )
    if report.failures:
        raise typer.Exit(1)


def _settled(found: Rotation) -> None:
    stderr.print(found.notice, markup=False, soft_wrap=True)


def _day(utility: Workspace, text: str | None) -> date:
    """The day asked for, yesterday without; it has begun, and somebody can be asked."""
    if not any(meter.host for meter in utility.registry.meters()):
        raise RegistryError(
            "no meter of the registry has an address",
            expected="`ami import` of a site file with hosts and ports",
        )
    today = civil_day_of(utility.clock.now(), utility.settings.zone).day
    if text is None:
        return today - timedelta(days=1)
    wanted = civil_day(text, "--day")
    if wanted > today:
        raise FormatError(f"{wanted} has not begun", where="--day", expected=f"{today} or a day before")
    return wanted

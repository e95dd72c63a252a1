"""`ami demo`: a small utility at work, from the meters to the bills."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from openami.cli.demo.run import Summary, run_demo
from openami.cli.demo.scenario import Incident
from openami.cli.output import JsonOption, print_facts, print_json, print_table, stderr, stdout
from openami.cli.serve import serve as serve_console

DEMO_FOLDER = Path("demo-data")


def add_commands(app: typer.Typer) -> None:
    """Put the commands under ``ami``."""
    app.command("demo")(demo)


def demo(
    workspace: Annotated[
        Path, typer.Option("--workspace", "-w", help="Folder of the demo; an earlier demo there is replaced.")
    ] = DEMO_FOLDER,
    seed: Annotated[int, typer.Option(help="Of every load curve and every fault.")] = 1,
    meters: Annotated[
        int, typer.Option(help="Customers' meters; four area meters besides.", min=48, max=5000)
    ] = 200,
    days: Annotated[int, typer.Option(help="Days from 2026-10-01 on.", min=28, max=90)] = 35,
    serve: Annotated[bool, typer.Option("--serve", help="Open the console afterwards.")] = False,
    port: Annotated[int, typer.Option(help="Port of the console.", min=0, max=65535)] = 8080,
    json: JsonOption = False,
) -> None:
    """Run a small utility: meters read over real sockets, faults, validation, bills, areas and their loss.

    Example: ami demo --seed 7 --serve
    """
    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task("starting", total=None)

        def step(name: str, done: int, total: int) -> None:
            bar.update(task, description=name, completed=done, total=total)

        summary = run_demo(workspace, seed=seed, meters=meters, days=days, step=step)
    if json:
        print_json(summary)
    else:
        _show(summary, workspace)
    if serve:
        serve_console(workspace=workspace, host="127.0.0.1", port=port)
    if summary.closure_error_wh:
        raise typer.Exit(1)


def _show(summary: Summary, workspace: Path) -> None:
    print_facts(
        f"a utility of {summary.meters} meters, {summary.days} days, seed {summary.seed}",
        {
            "intervals expected": summary.intervals_expected,
            "intervals measured": summary.intervals_measured,
            "intervals estimated": summary.intervals_estimated,
            "completeness": f"{100 * summary.completeness:.3f} %",
            "frames on the wire": summary.frames,
            "register advance, Wh": summary.register_advance_wh,
            "final energy, Wh": summary.final_energy_wh,
            "largest closure error, Wh": summary.closure_error_wh,
            "bills": summary.bills,
            "billed, Wh": summary.billed_wh,
            "amount": f"{summary.amount} {summary.currency}",
            "seconds": summary.seconds,
        },
    )
    print_table(
        "transformer areas",
        ("area", "supplied Wh", "sold Wh", "loss %"),
        [(row["area"], row["supplied_wh"], row["sold_wh"], row["loss_percent"]) for row in summary.areas],
    )
    print_table(
        "what went wrong, and what the utility side saw of it",
        ("kind", "injected", "detected", "agree"),
        [
            (kind, _incidents(injected), _incidents(summary.detected.get(kind, [])),
             "yes" if injected == summary.detected.get(kind, []) else "no")
            for kind, injected in summary.injected.items()
        ],
    )  # fmt: skip
    stdout.print(f"follow a bill to its frames: ami explain {summary.first_bill} 1 --workspace {workspace}")


def _incidents(incidents: list[Incident]) -> str:
    if len(incidents) > 4:
        days = sorted({incident.day for incident in incidents})
        return f"{len(incidents)} meter days ({', '.join(map(str, days))})"
    return ", ".join(f"{incident.meter} {incident.day}" for incident in incidents) or "–"

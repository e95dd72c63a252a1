"""`ami bench`: every promised speed, beside its peer, in the same run."""

from __future__ import annotations

import importlib
from typing import Annotated

import typer

from openami.cli.bench.figures import Figure, document
from openami.cli.output import JsonOption, print_json, print_table, stderr
from openami.quantities.errors import FormatError

BENCHES = {
    "import": "openami.cli.bench.nem12",
    "billing": "openami.cli.bench.billing",
    "store": "openami.cli.bench.store",
    "vee": "openami.cli.bench.vee",
    "meter": "openami.cli.bench.meter",
    "dlms": "openami.cli.bench.dlms",
    "collection": "openami.cli.bench.collection",
    "billing-registers": "openami.cli.bench.billing_registers",
    "harmonics": "openami.cli.bench.harmonics",
    "power-quality": "openami.cli.bench.power_quality",
}


def add_commands(app: typer.Typer) -> None:
    """Put the commands under ``ami``."""
    app.command("bench")(bench)


def bench(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(BENCHES)}, or all.")],
    json: JsonOption = False,
) -> None:
    """Measure; exit code 1 when a promised figure is not reached.

    Example: ami bench import --json
    """
    if name != "all" and name not in BENCHES:
        raise FormatError(f"there is no bench {name!r}", expected=", ".join([*BENCHES, "all"]))
    documents = []
    for chosen in BENCHES if name == "all" else (name,):
        stderr.print(f"measuring {chosen} ...")
        figures: dict[str, Figure] = importlib.import_module(BENCHES[chosen]).run()
        documents.append(document(chosen, figures))
        if not json:
            print_table(
                f"bench {chosen}",
                ("figure", "value", "unit", "peer", "peer value", "ratio", "goal", "of goal", "holds"),
                [
                    (
                        label, figure.value, figure.unit, figure.peer, figure.peer_value, figure.ratio,
                        figure.goal, figure.of_goal, "yes" if figure.holds else "no",
                    )
                    for label, figure in figures.items()
                ],
            )  # fmt: skip
    if json:
        print_json(documents[0] if name != "all" else {"benches": documents})
    if not all(item["holds"] for item in documents):
        raise typer.Exit(1)

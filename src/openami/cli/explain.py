"""`ami explain`: where every number of a bill comes from."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.tree import Tree

from openami.billing.explain import Node
from openami.cli.output import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption, print_json, stdout
from openami.quantities.money import money_text
from openami.workspace.workspace import opened


def add_commands(app: typer.Typer) -> None:
    """Put the commands under ``ami``."""
    app.command("explain")(explain)


def explain(
    bill_id: Annotated[str, typer.Argument(help="Bill.")],
    line: Annotated[int | None, typer.Argument(help="Line of the bill: 1, 2, ...", min=1)] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    depth: Annotated[int, typer.Option(help="Levels shown; 0 is the bill or line alone.", min=0)] = 7,
    full: Annotated[
        bool, typer.Option("--full", help="Every day and interval; else the first of each.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Follow a bill to its frames: line, determinant, days, intervals, final version, raw blocks, evidence.

    Example: ami explain AG0001-0001 1
    """
    with opened(workspace) as utility:
        node = utility.bills.explain(bill_id, line)
        if json:
            print_json(node.to_dict(depth))
            return
        tree = Tree(_label(node), hide_root=False)
        _grow(tree, node, depth, None if full else 2)
        stdout.print(tree, soft_wrap=True)


def _grow(tree: Tree, node: Node, depth: int, most: int | None) -> None:
    if depth == 0:
        return
    children = node.children()
    shown = children if most is None or node.kind in ("bill", "line") else children[:most]
    for position, child in enumerate(shown):
        branch = tree.add(_label(child))
        # The first of each is followed all the way; its siblings are named.
        _grow(branch, child, depth - 1 if position == 0 or most is None else 0, most)
    if len(shown) < len(children):
        tree.add(f"... and {len(children) - len(shown)} more (--full)")


def _label(node: Node) -> str:
    value = "" if node.value is None else f" = {money_text(node.value)} {node.unit}".rstrip()
    facts = "".join(f"  {key} {text}" for key, text in node.facts)
    return f"[bold]{node.kind}[/bold] {escape(node.label)}{escape(value)}[dim]{escape(facts)}[/dim]"

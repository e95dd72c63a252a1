"""`ami explain`: where every number of a bill comes from, down to the bytes."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Final

import typer
from rich.text import Text
from rich.tree import Tree

from openami.billing.explain import Node
from openami.cli.output import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption, print_json, stdout
from openami.quantities.money import readable
from openami.workspace.workspace import opened

_FOLLOWED: Final = frozenset({"bill", "line"})
"""Kinds whose children are all shown; of the others the first is followed and the rest counted."""
_LONGEST_FACT: Final = 100
_IN_LABEL: Final = {
    "line": frozenset({"line", "kind", "first day", "last day, not included"}),
    "determinant": frozenset({"channel", "rate", "first day", "last day, not included"}),
    "window": frozenset({"channel"}),
    "interval": frozenset({"start", "status"}),
    "evidence": frozenset({"source", "locator"}),
}
"""Facts that a label says already, or that say the same as another one, by kind."""


def add_commands(app: typer.Typer) -> None:
    """Put the commands under ``ami``."""
    app.command("explain")(explain)


def explain(
    bill_id: Annotated[str, typer.Argument(metavar="BILL", help="Bill.")],
    line: Annotated[
        int | None, typer.Argument(metavar="LINE", help="Line of the bill: 1, 2, ...", min=1)
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    depth: Annotated[
        int | None,
        typer.Option(
            help="Levels shown, 0 is the bill or line alone; without, two of a bill and all of a line.", min=0
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Every day, interval and frame with all its bytes.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Follow a bill to its frames: line, determinant, days, intervals, final version, raw blocks, evidence.

    A bill is shown with its lines and what they were computed from, a line down to its bytes: of the days
    and intervals the first is followed and the rest is summed up. --full shows everything, --json too.

    Example: ami explain AG0001-0001 1
    """
    with opened(workspace) as utility:
        node = utility.bills.explain(bill_id, line)
        if json:
            print_json(node.to_dict(depth))
            return
        if depth is None and line is None and not full:
            depth = 2
        tree = Tree(_label(node, full=full), guide_style="dim")
        _grow(tree, node, depth, full=full)
        stdout.print(tree)
    if line is None and not full:
        stdout.print(f"follow a line to its bytes: ami explain {bill_id} 1", style="dim", markup=False)


def _grow(tree: Tree, node: Node, depth: int | None, *, full: bool) -> None:
    if depth == 0:
        return
    deeper = None if depth is None else depth - 1
    children = node.children()
    shown = children if full or node.kind in _FOLLOWED else children[:1]
    for child in shown:
        if node.kind == child.kind == "line" and not full:
            # The lines below a tax are named; they are followed where they stand in the bill.
            tree.add(_head(child))
        else:
            _grow(tree.add(_label(child, full=full)), child, deeper, full=full)
    if rest := children[len(shown) :]:
        tree.add(_rest(rest, additive=node.additive))


def _rest(nodes: Sequence[Node], *, additive: bool) -> Text:
    """One line for those that are not followed; what they come to, so that the sum can be checked."""
    kind = nodes[0].kind if len(nodes) == 1 else f"{nodes[0].kind}s"
    names = nodes[0].label if len(nodes) == 1 else f"{nodes[0].label} ... {nodes[-1].label}"
    text = Text(f"and {len(nodes)} more {kind}: {names}", style="dim")
    values = [node.value for node in nodes if node.value is not None]
    if additive and len(values) == len(nodes):
        text.append(f" = {_amount(sum(values, Fraction(0)), nodes[0].unit)}")
    return text


def _head(node: Node) -> Text:
    number = dict(node.facts)["line"] + " " if node.kind == "line" else ""
    value = "" if node.value is None else f" = {_amount(node.value, node.unit)}"
    return Text.assemble((node.kind, "bold cyan"), f" {number}{node.label}", (value, "bold"))


def _label(node: Node, *, full: bool) -> Text:
    label = _head(node)
    said = frozenset() if full else _IN_LABEL.get(node.kind, frozenset())
    facts = [
        f"{name}: {text if full else _short(text)}" for name, text in node.facts if text and name not in said
    ]
    if facts:
        label.append("\n" + "; ".join(facts), style="dim")
    return label


def _amount(value: Fraction, unit: str) -> str:
    """A value with its unit; counts of a quantum (``1 Wh``, ``0.1 kvarh``) become the unit they count."""
    worth, _, name = unit.partition(" ")
    if not name:
        return f"{readable(value)} {unit}".rstrip()
    exact = value * Fraction(worth)
    number = f"{exact.numerator:,}" if exact.denominator == 1 else readable(exact)
    return f"{number} {name}"


def _short(text: str) -> str:
    """The beginning of a long text, with how much is left out; line breaks become visible."""
    line = text.strip().replace("\r", "").replace("\n", " / ")
    if len(line) <= _LONGEST_FACT:
        return line
    return f"{line[:_LONGEST_FACT]}... ({len(line):,} characters, --full)"

"""What a command shows: one JSON document on stdout, or tables for people; progress and errors on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Final, Protocol

import orjson
import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

_UNBOUNDED: Final = 1000
"""Columns of an output that is no terminal: whoever reads a file or a pipe wants whole names."""


def _unbounded(console: Console) -> Console:
    if not console.is_terminal:
        console.width = _UNBOUNDED
    return console


stdout = _unbounded(Console(highlight=False))
stderr = _unbounded(Console(highlight=False, stderr=True))

WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", "-w", help="Folder of the utility.", envvar="OPENAMI_WORKSPACE")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
DEFAULT_WORKSPACE = Path("ami-data")


def plain(value: object) -> object:
    """A value that JSON does not know, as one it does; exact (decimals become strings)."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Decimal | Fraction | Path):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    raise TypeError(type(value).__name__)


def print_json(document: object) -> None:
    """The command's one document."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    typer.echo(orjson.dumps(document, default=plain, option=options).decode())


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table for people; numbers to the right, columns that say nothing left out."""
    cells = [[_text(cell) for cell in row] for row in rows]
    stdout.print(Text(title, style="bold"))
    if not cells:
        stdout.print("  none")
        return
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", show_edge=False, padding=(0, 2, 0, 0))
    shown = [index for index in range(len(columns)) if any(row[index] for row in cells)]
    for index in shown:
        numeric = all(_numeric(row[index]) for row in cells)
        table.add_column(columns[index], justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(row[index]) for index in shown))
    stdout.print(table)


def print_facts(title: str, facts: Mapping[str, object]) -> None:
    """Names and values for people."""
    stdout.print(Text(title, style="bold"))
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        stdout.print(Text.assemble((f"  {name:<{width}}  ", "dim"), _text(value)), soft_wrap=True)


def print_error(
    message: str, kind: str, where: str | None = None, expected: str | None = None, *, as_json: bool
) -> None:
    """Say on stderr what went wrong, where, and what would be right; with `as_json` as the document, too."""
    if as_json:
        print_json({"error": {"kind": kind, "message": message, "where": where, "expected": expected}})
    place = f"{where}: " if where else ""
    stderr.print(Text.assemble(("error: ", "bold red"), f"{place}{message}"), soft_wrap=True)
    if expected:
        stderr.print(Text.assemble(("expected: ", "bold"), expected), soft_wrap=True)


class Advance(Protocol):
    """Called with how much is done and of how much."""

    def __call__(self, done: int, total: int) -> None:
        """Report that ``done`` of ``total`` is done."""
        ...


@contextmanager
def progress(label: str) -> Iterator[Advance]:
    """A progress bar on stderr; silent where stderr is not a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task(label, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance


def _text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:,.3f}"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, list | tuple):
        return ", ".join(map(_text, cell))
    if isinstance(cell, datetime):
        return f"{cell:%Y-%m-%d %H:%M:%S %Z}"
    if isinstance(cell, int):
        return f"{cell:,}"
    return str(cell)


def _numeric(text: str) -> bool:
    return not text or text.replace(",", "").replace(".", "").lstrip("-").isdigit()

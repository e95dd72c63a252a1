"""The tutorial as a program: its commands are run, and what they print stands below them.

In a block ``console`` a command begins with ``$`` and is followed by what it prints; in a block ``sh`` stand
commands whose output is not shown.

``python tests/tutorial_page.py DATA`` runs ``docs/tutorial.md`` with the files of others in the folder
``DATA`` and writes what the commands print into the page.
"""

from __future__ import annotations

import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import chdir
from pathlib import Path

from typer.testing import CliRunner

from openami.cli import output
from openami.cli.main import app

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "tutorial.md"
WIDTH = 124

_BLOCK = re.compile(r"```(?P<kind>sh|console)\n(?P<text>.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Step:
    """A command of the page, and what the page says that it prints (None: it does not say)."""

    command: str
    printed: str | None


def steps(page: str) -> list[Step]:
    """The commands of the page in their order."""
    found = []
    for block in _BLOCK.finditer(page):
        if block["kind"] == "sh":
            found += [Step(line, None) for line in block["text"].splitlines()]
            continue
        for part in re.split(r"^(?=\$ )", block["text"], flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            found.append(Step(command.removeprefix("$ "), printed))
    return found


def run(command: str, data: Path) -> tuple[int, str]:
    """Exit code and output of a command of the page, as the page shows it."""
    words = shlex.split(command.replace("$DATA", str(data)))
    assert words[0] == "ami"
    result = CliRunner().invoke(app, words[1:])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    lines = [line.rstrip() for line in result.output.splitlines()]
    return result.exit_code, "".join(f"{line}\n" for line in lines)


@contextmanager
def prepared(folder: Path) -> Iterator[None]:
    """Run commands in ``folder``, which sees the project's ``docs``, on a terminal of fixed width."""
    (folder / "docs").symlink_to(ROOT / "docs")
    before, width = Path.cwd(), output.stdout.width
    chdir(folder)
    output.stdout.width = WIDTH
    try:
        yield
    finally:
        output.stdout.width = width
        chdir(before)


def _rewritten(page: str, data: Path) -> str:
    def block(match: re.Match[str]) -> str:
        text = ""
        for step in steps(match.group()):
            printed = run(step.command, data)[1]
            text += f"{step.command}\n" if step.printed is None else f"$ {step.command}\n{printed}"
        return f"```{match['kind']}\n{text}```"

    return _BLOCK.sub(block, page)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name, prepared(Path(name)):
        text = _rewritten(PAGE.read_text("utf-8"), Path(sys.argv[1]).resolve())
    PAGE.write_text(text, "utf-8")

"""Checks the documents: every relative link leads somewhere, every `ami` command named exists, and
docs/commands.md says what the commands say of themselves.

Run by ``make docs``; exits 1 and lists all faults.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import write_commands_page
from typer.main import get_command

from openami.cli.main import app

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
COMMAND = re.compile(r"^(?:\$ )?(?:\.venv/bin/)?ami ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", re.MULTILINE)


def documents() -> list[Path]:
    """README, CHANGELOG, CONTRIBUTING and everything under docs/."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def faults() -> list[str]:
    """All faults of all documents."""
    found = []
    known = {name: set(getattr(below, "commands", {})) for name, below in get_command(app).commands.items()}
    for document in documents():
        text = document.read_text("utf-8")
        name = document.relative_to(ROOT)
        for target in LINK.findall(text):
            if "://" not in target and not (document.parent / target).exists():
                found.append(f"{name}: link to {target} leads nowhere")
        for first, second in COMMAND.findall(text):
            if first not in known:
                found.append(f"{name}: there is no command `ami {first}`")
            elif second and known[first] and second not in known[first]:
                found.append(f"{name}: there is no command `ami {first} {second}`")
    if write_commands_page.PAGE.read_text("utf-8") != write_commands_page.page():
        found.append("docs/commands.md is not up to date: run tools/write_commands_page.py")
    return found


if __name__ == "__main__":
    problems = faults()
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)

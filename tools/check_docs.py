"""Checks the documents: every relative link leads somewhere, every `ami` command named exists.

Run by ``make docs``; exits 1 and lists all faults.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from openami.cli.main import app
from typer.main import get_command

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
COMMAND = re.compile(r"^(?:\$ )?(?:\.venv/bin/)?ami ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", re.MULTILINE)


def documents() -> list[Path]:
    """README, CHANGELOG, CONTRIBUTING and everything under docs/."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def faults() -> list[str]:
    """All faults of all documents."""
    found = []
    command = get_command(app)
    known = set(getattr(command, "commands", {}))
    for document in documents():
        text = document.read_text("utf-8")
        name = document.relative_to(ROOT)
        for target in LINK.findall(text):
            if "://" not in target and not (document.parent / target).exists():
                found.append(f"{name}: link to {target} leads nowhere")
        for first, _ in COMMAND.findall(text):
            if first not in known:
                found.append(f"{name}: there is no command `ami {first}`")
    return found


if __name__ == "__main__":
    problems = faults()
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)

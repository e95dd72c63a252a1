"""Writes docs/commands.md from the `ami` command itself: every command, its example, its options.

python tools/write_commands_page.py            writes the page
python tools/write_commands_page.py --check    exits 1 when the page is not what would be written
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from openami.cli.main import app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "commands.md"

HEAD = """# The `ami` command

<!-- written by tools/write_commands_page.py from the commands' own help; `make docs` checks it -->

- The workspace is `./ami-data`, the one of `--workspace DIR`, or that of `OPENAMI_WORKSPACE`. A database
  other than SQLite in the workspace is named at `ami init --database`, or by `OPENAMI_DATABASE`.
- `--json` prints one JSON document on stdout, also for an error (`{"error": {"kind", "message", "where",
  "expected"}}`). Names of quantities end in their unit: `energy_wh`, `loss_percent`. Money is text, exact.
- Progress and errors go to stderr.
- Exit codes: 0 success; 1 the work was done, but something it promises does not hold (a meter was not read,
  an agreement could not be billed, a proof failed); 2 bad input or usage; 130 and 143 interrupted: what was
  acknowledged is stored.
- Days are civil days of the utility's zone, and the last day of `--from` and `--to` is included.
"""

PRINTS = {
    "ami init": "the settings of the new workspace",
    "ami import": "for each file its format, what it holds, what was stored, and every fault with its line",
    "ami collect": "how many meters were asked and read, and for each that was not, why",
    "ami vee": "intervals expected, measured and estimated, and cases found by kind",
    "ami exceptions list": "the cases, and how many there are of each kind",
    "ami exceptions show": "a case with its blocks and its evidence",
    "ami exceptions close": "the closed cases",
    "ami tariff check": "what the tariff consists of, or every fault of it",
    "ami tariff add": "the same, with the revision of the registry it was recorded in",
    "ami tariff assign": "the agreements that were made",
    "ami tariff list": "every version, since when it is in force, and how many agreements use the tariff",
    "ami tariff show": "the tariff's text",
    "ami tariff import-urdb": "the tariff, and what of the rate was not carried over",
    "ami bill": "the bills, and why an agreement was not billed",
    "ami bill run": "the bills, and why an agreement was not billed",
    "ami bill list": "the bills",
    "ami bill show": "the bill's lines, and what it was computed from",
    "ami bill cancel": "the cancelled bill",
    "ami bill rebill": "the bill that replaces it",
    "ami bill proposals": "bills, and the days of theirs whose readings changed",
    "ami bill verify": "whether the bill follows from what it pins, to the last digit",
    "ami explain": "a tree from the line to the bytes; with `--json` all of it",
    "ami areas": "supplied, sold and lost energy of each area, and who is suspected of bypassing the meter",
    "ami export": "what was written",
    "ami store info": "commits, files, bytes, rows and days",
    "ami store compact": "how many files became fewer",
    "ami store vacuum": "how many files were deleted",
    "ami store verify": "whether every stored row holds, and each that does not",
    "ami meter serve": "where the meters listen, as soon as they do",
    "ami dlms read": "each attribute with its value, unit and class, or why the meter refused it",
    "ami dlms objects": "the objects that the client sees, with the rights of each attribute and method",
    "ami dlms profile": "the rows of the profile: times in UTC, values with their units",
    "ami dlms set": "whether the attribute was set",
    "ami dlms action": "what the method returned",
    "ami dlms clock": "the meter's clock, and its difference to this machine in seconds",
    "ami dlms image": "how many blocks went, and whether the image is verified or in service",
    "ami dlms push-listen": "each notification as it comes; with `--json` one line each",
    "ami dlms decode": "the dump layer by layer",
    "ami dlms serve": "where the meters listen, as soon as they do, and which client needs what",
    "ami dlms keys show": "the keys of each meter by fingerprint, those on their way, and our counter",
    "ami dlms keys import": "the fingerprints of what was recorded",
    "ami dlms keys import-own": "the fingerprint of its public key",
    "ami dlms keys rotate": "each meter with what was seen of its keys, or why it has not new ones",
    "ami dlms keys check": "for each meter which keys it was seen to have",
    "ami dlms models": "the models with their objects, classes, clients and sources, or one with its list",
    "ami measure": "every quantity of the recording: rms, powers of IEEE 1459, harmonics, unbalance, energy",
    "ami power-quality": "each characteristic of EN 50160 with its limit, the share within and the verdict",
    "ami laboratory test": "each test with its worst figure, limit, uncertainty and verdict",
    "ami laboratory evolution": "the errors of the four measuring principles under each waveform",
    "ami laboratory serve": "where the meter listens, as soon as it does",
    "ami laboratory models": "the meter models that can be tested",
    "ami laboratory waveform": "the recording that was written, and its powers and energy in closed form",
    "ami serve": "the address to open in a browser",
    "ami demo": "intervals, bills and areas of the demo, and what went wrong beside what was seen of it",
    "ami bench": "each figure beside its peer and its goal",
}


def page() -> str:
    """The whole page."""
    commands = list(_walk(get_command(app), "ami"))
    wanting = {name for name, command in commands if not _is_group(command)} - PRINTS.keys()
    if wanting:
        raise SystemExit(f"tools/write_commands_page.py does not say what is printed by {sorted(wanting)}")
    index = "\n".join(f"| [`{name}`](#{_anchor(name)}) | {_first(command)} |" for name, command in commands)
    sections = "\n".join(_section(name, command) for name, command in commands)
    return f"{HEAD}\n| command | |\n|---|---|\n{index}\n\n{sections}"


def _walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Commands below a group, with the groups that do something themselves."""
    for child, below in getattr(command, "commands", {}).items():
        path = f"{name} {child}"
        if not _is_group(below) or below.invoke_without_command:
            yield path, below
        yield from _walk(below, path)


def _is_group(command: Any) -> bool:
    return hasattr(command, "commands")


def _section(name: str, command: Any) -> str:
    lines = command.help.splitlines()
    examples = [line.strip().removeprefix("Example: ") for line in lines if "Example:" in line]
    text = "\n".join(line.strip() for line in lines if "Example:" not in line).strip()
    shown = "\n".join(examples)
    options = "\n".join(_option(parameter) for parameter in command.params)
    return (
        f"## `{name}`\n\n{text}\n\n```console\n{shown}\n```\n\nPrints {PRINTS[name]}.\n\n"
        f"| argument or option | |\n|---|---|\n{options}\n"
    )


def _option(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    if parameter.param_type_name == "argument":
        names = f"`{(parameter.metavar or parameter.name).upper()}`"
    default = parameter.default
    plain = getattr(default, "value", default)
    said = "" if plain is None or isinstance(plain, bool) or callable(plain) else f" Default: `{plain}`."
    return f"| {names} | {parameter.help.replace('|', '/')}{said} |"


def _first(command: Any) -> str:
    paragraph = str(command.help).split("\n\n")[0].replace("\n", " ")
    return paragraph.replace("|", "/")


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


def main() -> int:
    """Write or check; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    wanted = page()
    if parser.parse_args().check:
        if not PAGE.exists() or PAGE.read_text("utf-8") != wanted:
            print("docs/commands.md is not up to date: run tools/write_commands_page.py", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(wanted, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Every command explains itself, with an example that works, and help costs no import of the stores."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from ami_command import run_ami
from openami.cli.main import COMMANDS, app

HEAVY = ("numba", "duckdb", "pyarrow", "deltalake", "uvicorn", "starlette", "sqlalchemy", "numpy")


def _walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, command
    for child, below in getattr(command, "commands", {}).items():
        yield from _walk(below, f"{name} {child}")


ALL = dict(_walk(get_command(app), "ami"))


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_help_with_an_example_that_parses(name: str) -> None:
    examples = [line.strip() for line in (ALL[name].help or "").splitlines() if "Example:" in line]
    assert examples, f"{name} --help shows no example"
    for example in examples:
        program, *words = shlex.split(example.removeprefix("Example: "))
        assert program == "ami"
        command, path = ALL["ami"], "ami"
        while words and words[0] in getattr(command, "commands", {}):
            path += f" {words[0]}"
            command = command.commands[words.pop(0)]
        assert path.startswith(name) or name == "ami", f"the example of {name} is one of {path}"
        assert name == "ami" or command.make_context(path, words) is not None


@pytest.mark.parametrize("name", ALL)
def test_every_option_says_what_it_is_for(name: str) -> None:
    for parameter in ALL[name].params:
        assert parameter.help, f"{name}: {parameter.name} has no help"


def test_commands_of_the_issue_are_there() -> None:
    wanted = {
        "init", "import", "collect", "vee", "bill", "explain", "export", "meter", "serve", "tariff", "demo",
    }  # fmt: skip
    assert wanted <= set(COMMANDS)


@pytest.mark.parametrize("name", [name for name in ALL if not getattr(ALL[name], "commands", {})])
def test_every_command_gives_json_but_the_console_and_texts(name: str) -> None:
    options = {option for parameter in ALL[name].params for option in parameter.opts}
    assert ("--json" in options) == (name not in ("ami serve", "ami tariff show"))


@pytest.mark.parametrize("arguments", [("--help",), ("init", "--workspace", "w"), ("init", "--help")])
def test_help_and_init_import_nothing_heavy(arguments: tuple[str, ...], tmp_path: Path) -> None:
    allowed = {"sqlalchemy"} if arguments[0] == "init" else set()
    program = (
        "import sys\nfrom openami.cli.main import main\n"
        f"try:\n    main({list(arguments)!r})\n"
        f"finally:\n    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert set(eval(done.stderr.strip().splitlines()[-1])) <= allowed


def test_version_and_the_bare_command(tmp_path: Path) -> None:
    assert run_ami("--version", cwd=tmp_path).out.startswith("openami ")
    assert "Commands:" in run_ami(cwd=tmp_path).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("blil",), "Did you mean 'bill'?"),
        (("init", "--nme", "x"), "--nme"),
        (("tariff", "frobnicate"), "No such command"),
        (("explain",), "BILL"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_where_help_is(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    done = run_ami(*arguments, "--json", cwd=tmp_path)
    assert done.code == 2
    assert said in done.err or said in done.document["error"]["message"]
    assert done.document["error"]["kind"] == "UsageError"
    assert "--help" in done.document["error"]["expected"]

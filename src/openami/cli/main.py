"""The `ami` command: every subcommand, one way to fail.

Exit codes: 0 success, 1 the work was done but something it promises does not hold, 2 bad input or usage,
130 and 143 interrupted. With ``--json`` an error is one JSON document on stdout as well.

Rule: a command's module is imported when the command is used and not before, so that help is there at once.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from types import FrameType
from typing import Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_group

from openami import __version__
from openami.cli.output import print_error
from openami.quantities.errors import OpenAmiError

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "init": ("openami.cli.init", "Make a workspace: one folder for one utility."),
    "import": ("openami.cli.importing", "Import readings, or master data from a site file."),
    "collect": ("openami.cli.collect", "Read all meters over the wire; gaps of earlier days are filled."),
    "vee": ("openami.cli.vee", "Validate and estimate: raw readings become final ones."),
    "exceptions": ("openami.cli.exceptions", "List, show and close what was found wrong with readings."),
    "tariff": ("openami.cli.tariff", "Check, record, assign and list tariffs."),
    "bill": ("openami.cli.bill", "Bill a period; list, show, cancel, renew and verify bills."),
    "explain": ("openami.cli.explain", "Follow a bill, or one line of it, to the frames it came from."),
    "areas": ("openami.cli.areas", "Supplied, sold and lost energy of each transformer area."),
    "export": ("openami.cli.export", "Write readings as CSV, Parquet, Green Button (ESPI) or NEM12."),
    "store": ("openami.cli.store", "What the reading store holds, and its upkeep."),
    "meter": ("openami.cli.meter", "Software meters on the wire."),
    "dlms": ("openami.cli.dlms", "Read, set, hear and explain any DLMS/COSEM meter."),
    "measure": ("openami.cli.measure", "Measure a recorded waveform: NPZ, WAV, CSV, COMTRADE."),
    "power-quality": ("openami.cli.power_quality", "Hold a supply against EN 50160; the weekly report."),
    "laboratory": ("openami.cli.laboratory", "Test meter models against their accuracy class."),
    "serve": ("openami.cli.serve", "Open the console in a browser."),
    "demo": ("openami.cli.demo_command", "Run a small utility, from the meters to the bills."),
    "bench": ("openami.cli.bench_command", "Measure every promised speed, beside its peer."),
}
"""Module and short help of each command, in the order of the help."""

Command = Any
"""A click command; the class lies in a private module of Typer."""

_SETTINGS: Final[dict[str, Any]] = {
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
    "add_completion": False,
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 110},
}
_INTERRUPTED: Final = 128 + signal.SIGINT


class _Commands(MutableMapping[str, Command]):
    """The commands by name; a module is imported when its command is asked for."""

    def __init__(self, declared: Mapping[str, Command]) -> None:
        self._loaded = dict(declared)
        self._names = dict.fromkeys((*COMMANDS, *declared))

    def __getitem__(self, name: str) -> Command:
        if name not in self._loaded:
            if name not in self._names:
                raise KeyError(name)
            module, _ = COMMANDS[name]
            app = typer.Typer(**_SETTINGS)
            importlib.import_module(module).add_commands(app)
            self._loaded[name] = get_group(app).commands[name]
        return self._loaded[name]

    def __setitem__(self, name: str, command: Command) -> None:
        self._names[name] = None
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._names[name]
        self._loaded.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Ami(TyperGroup):
    """The root of the commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: MutableMapping[str, Command] = _Commands(self.commands)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list of the help, from `COMMANDS`: no module is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (_, help_) in COMMANDS.items()])


app = typer.Typer(name="ami", cls=_Ami, **_SETTINGS)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"openami {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """openami: from the meter's registers over the wire to the bill, every number explained.

    Every command has --help with an example, --json for one JSON document, and works on the workspace
    ./ami-data or the one named by --workspace or OPENAMI_WORKSPACE.

    Example: ami demo
    """
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the `ami` command; ends the process with its exit code.

    Parameters
    ----------
    arguments:
        Instead of those of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = app(given, prog_name="ami", standalone_mode=False)
    except OpenAmiError as error:
        print_error(error.message, type(error).__name__, error.where, error.expected, as_json=as_json)
        sys.exit(2)
    except typer.TyperException as error:
        print_error(error.format_message(), "UsageError", None, _usage(error), as_json=as_json)
        sys.exit(2)
    except BrokenPipeError:
        # Who read our output has had enough; Python must not stumble over it again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        print_error(error.strerror or str(error), type(error).__name__, error.filename, None, as_json=as_json)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        print_error("interrupted; what was acknowledged is stored", "Interrupted", as_json=as_json)
    sys.exit(code if isinstance(code, int) else 0)


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    """End in order: close what is open, give the terminal back."""
    sys.exit(128 + number)


def _usage(error: typer.TyperException) -> str | None:
    """Where a usage error finds help; the context is not declared on the public class."""
    context = getattr(error, "ctx", None)
    return None if context is None else f"`{context.command_path} --help`"


if __name__ == "__main__":
    main()

"""The `ami` command: every subcommand, one way to fail.

Exit codes: 0 success, 1 the work was done but something it promises does not hold, 2 bad input or usage,
130 interrupted. With ``--json`` an error is one JSON document on stdout as well.
"""

from __future__ import annotations

import errno
import sys

import typer

from openami import __version__
from openami.cli import (
    areas,
    bench_command,
    bill,
    collect,
    demo_command,
    export,
    importing,
    meter,
    serve,
    tariff,
    vee,
)
from openami.cli.output import print_json, stderr
from openami.quantities.errors import OpenAmiError

app = typer.Typer(
    name="ami",
    help="openami: from the meter's registers over the wire to the bill, every number explained.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
importing.add_commands(app)
collect.add_commands(app)
vee.add_commands(app)
areas.add_commands(app)
bill.add_commands(app)
tariff.add_commands(app)
export.add_commands(app)
meter.add_commands(app)
serve.add_commands(app)
demo_command.add_commands(app)
bench_command.add_commands(app)


@app.command()
def version() -> None:
    """Print the version.

    Example: ami version
    """
    typer.echo(__version__)


def main() -> None:
    """Entry point of the `ami` command."""
    try:
        app()
    except OpenAmiError as error:
        _fail(str(error), type(error).__name__, error.where, error.expected)
    except OSError as error:
        if error.errno not in (
            errno.ENOSPC,
            errno.EACCES,
            errno.EROFS,
            errno.ENOENT,
            errno.EADDRINUSE,
            errno.EISDIR,
        ):
            raise
        _fail(error.strerror or str(error), "OSError", error.filename, None)
    except KeyboardInterrupt:
        stderr.print("interrupted; what was acknowledged is stored")
        sys.exit(130)


def _fail(message: str, kind: str, where: object, expected: str | None) -> None:
    if "--json" in sys.argv:
        print_json({"error": {"kind": kind, "message": message, "where": where, "expected": expected}})
    stderr.print(f"error: {message}", style="bold red", markup=False, soft_wrap=True)
    sys.exit(2)

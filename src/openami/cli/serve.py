"""`ami serve`: the console in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from openami.cli.output import DEFAULT_WORKSPACE, WorkspaceOption, stderr
from openami.workspace.workspace import opened


def add_commands(app: typer.Typer) -> None:
    """Put the commands under ``ami``."""
    app.command("serve")(serve)


def serve(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8080,
) -> None:
    """Open the console in a browser: overview, meters, exceptions, bills and areas, until ctrl-c.

    Example: ami serve --workspace demo-data --port 8080
    """
    # `ami demo` imports this module for its --serve: the web server waits until it is wanted.
    import uvicorn

    from openami.console.app import create_app

    with opened(workspace) as utility:
        stderr.print(f"http://{host}:{port}/  (ctrl-c ends it)", markup=False)
        uvicorn.run(create_app(utility), host=host, port=port, log_level="warning")

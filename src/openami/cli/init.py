"""`ami init`: a new workspace. Nothing of the stores is imported here: it is the first impression."""

from __future__ import annotations

from typing import Annotated

import pydantic
import typer

from openami.cli.output import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption, print_facts, print_json
from openami.quantities.errors import FormatError
from openami.workspace.creation import create_workspace
from openami.workspace.settings import Settings


def add_commands(app: typer.Typer) -> None:
    """Put the commands under ``ami``."""
    app.command("init")(init)


def init(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    name: Annotated[str, typer.Option(help="Name of the utility.")] = "openami",
    zone: Annotated[str, typer.Option(help="IANA time zone of its usage points.")] = "Europe/Berlin",
    currency: Annotated[str, typer.Option(help="ISO 4217 code.")] = "EUR",
    language: Annotated[str, typer.Option(help="Language of the pages: en or zh.")] = "en",
    database: Annotated[
        str | None, typer.Option(help="SQLAlchemy URL; SQLite in the workspace when left out.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make a workspace: one folder for one utility.

    Example: ami init --workspace my-grid --zone Europe/London --currency GBP
    """
    settings = _settings(name=name, zone=zone, currency=currency, language=language, database=database)
    create_workspace(workspace, settings)
    facts: dict[str, object] = {"workspace": str(workspace), **settings.model_dump(exclude={"database"})}
    if json:
        print_json(facts)
    else:
        print_facts(f"made {workspace}", facts)


def _settings(**values: str | None) -> Settings:
    try:
        return Settings.model_validate(values)
    except pydantic.ValidationError as error:
        faults = "; ".join(f"--{fault['loc'][0]}: {fault['msg']}" for fault in error.errors())
        raise FormatError(faults) from None

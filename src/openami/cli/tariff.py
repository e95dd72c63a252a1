"""`ami tariff`: check, add, assign and list tariffs; import rates of the OpenEI database."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from openami.billing.tariff import Tariff
from openami.billing.urdb import tariff_from_urdb
from openami.cli.output import (
    DEFAULT_WORKSPACE,
    JsonOption,
    WorkspaceOption,
    print_facts,
    print_json,
    print_table,
    stdout,
)
from openami.cli.period import civil_day
from openami.quantities.errors import FormatError, TariffError
from openami.workspace.agreements import assign_tariff
from openami.workspace.settings import write_whole
from openami.workspace.workspace import opened

commands = typer.Typer(
    help="Check, record, assign and list tariffs.\n\nExample: ami tariff check household.toml"
)


def add_commands(app: typer.Typer) -> None:
    """Put the commands under ``ami``."""
    app.add_typer(commands, name="tariff")


@commands.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="Tariff as TOML.")],
    json: JsonOption = False,
) -> None:
    """Read a tariff and list every fault it has: holes in its calendar, contradictory tiers, unknown fields.

    Example: ami tariff check household.toml
    """
    tariff = _read(file)
    facts = _facts(tariff)
    if json:
        print_json(facts)
    else:
        print_facts(f"{file.name} is a tariff", facts)


@commands.command("add")
def add(
    file: Annotated[Path, typer.Argument(help="Tariff as TOML.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    name: Annotated[
        str | None, typer.Option("--id", help="Name in the registry; the tariff's own when left out.")
    ] = None,
    first: Annotated[
        str | None, typer.Option("--from", help="First day in force; the tariff's own when left out.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Record a version of a tariff; earlier versions stay for the days they were in force.

    Example: ami tariff add household.toml
    """
    tariff = _read(file)
    tariff_id = name or tariff.tariff_id
    valid_from = civil_day(first, "--from") if first else tariff.valid_from
    with opened(workspace) as utility:
        revision = utility.registry.put_document(
            "tariff",
            tariff_id,
            tariff.text,
            valid_from=valid_from,
            actor="cli",
            why=f"tariff file {file.name}",
        )
    facts = {**_facts(tariff), "tariff": tariff_id, "valid_from": valid_from, "revision": revision}
    if json:
        print_json(facts)
    else:
        print_facts(f"recorded {tariff_id}", facts)


@commands.command("assign")
def assign(
    tariff: Annotated[str, typer.Argument(help="Name of a recorded tariff.")],
    usage_points: Annotated[list[str] | None, typer.Argument(help="Usage points.")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    everybody: Annotated[bool, typer.Option("--all", help="Every customer without an agreement.")] = False,
    first: Annotated[str | None, typer.Option("--from", help="First day of the agreements.")] = None,
    json: JsonOption = False,
) -> None:
    """Make agreements: from a day on, usage points are billed on a tariff. What ran before ends on that day.

    Example: ami tariff assign household_tou --all --from 2026-10-01
    """
    if bool(usage_points) == everybody:
        raise FormatError("whom?", expected="either usage points or --all")
    with opened(workspace) as utility:
        day = civil_day(first, "--from") if first else None
        made = assign_tariff(utility, tariff, usage_points or None, day)
    if json:
        print_json({"tariff": tariff, "agreements": made})
    else:
        print_table(
            f"agreements on {tariff}",
            ("agreement", "account", "usage point", "from"),
            [(one.agreement_id, one.account_id, one.usage_point_id, one.valid_from) for one in made],
        )


@commands.command("list")
def list_(workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """List the recorded tariffs, every version.

    Example: ami tariff list --json
    """
    with opened(workspace) as utility:
        documents = utility.registry.documents("tariff")
        users: dict[str, int] = {}
        for agreement in utility.registry.agreements():
            users[agreement.tariff_id] = users.get(agreement.tariff_id, 0) + 1
    rows = [
        {
            "tariff": document.document_id,
            "version": document.version,
            "valid_from": document.valid_from,
            "sha256": document.sha256,
            "revision": document.revision,
            "agreements": users.get(document.document_id, 0),
        }
        for document in documents
    ]
    if json:
        print_json({"tariffs": rows})
    else:
        columns = ("tariff", "version", "valid_from", "revision", "agreements")
        print_table("tariffs", columns, [[row[column] for column in columns] for row in rows])


@commands.command("show")
def show(
    tariff: Annotated[str, typer.Argument(help="Name of a recorded tariff.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    on: Annotated[str | None, typer.Option(help="The version in force on a day.")] = None,
) -> None:
    """Print the text of a recorded tariff.

    Example: ami tariff show household_tou --on 2026-10-01
    """
    with opened(workspace) as utility:
        day = civil_day(on, "--on") if on else utility.clock.now().date()
        stdout.print(utility.registry.document("tariff", tariff, on=day).text, markup=False, soft_wrap=True)


@commands.command("import-urdb")
def import_urdb(
    file: Annotated[Path, typer.Argument(help="JSON of one rate of the OpenEI utility rate database.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="TOML file to write.")],
    zone: Annotated[
        str, typer.Option(help="IANA zone of its schedules; the database has none.")
    ] = "America/New_York",
    currency: Annotated[str, typer.Option(help="ISO 4217 code.")] = "USD",
    json: JsonOption = False,
) -> None:
    """Turn an OpenEI rate into a tariff file to read, change and add.

    Example: ami tariff import-urdb rate.json --output rate.toml --zone America/Los_Angeles
    """
    try:
        tariff = tariff_from_urdb(file.read_bytes(), zone=zone, currency=currency)
    except TariffError as error:
        place = f"{file}: {error.where}" if error.where else str(file)
        raise TariffError(error.message, where=place, expected=error.expected) from None
    write_whole(output, tariff.text)
    facts = {**_facts(tariff), "file": str(output), "notes": list(tariff.notes)}
    if json:
        print_json(facts)
    else:
        print_facts(f"wrote {output}", facts)


def _read(file: Path) -> Tariff:
    try:
        return Tariff.from_toml(file.read_text("utf-8"))
    except TariffError as error:
        raise TariffError(
            error.message, where=f"{file}: {error.where}" if error.where else str(file)
        ) from None
    except UnicodeDecodeError as error:
        raise TariffError(f"not UTF-8 text: {error.reason}", where=f"{file}, byte {error.start}") from None


def _facts(tariff: Tariff) -> dict[str, object]:
    starts: date = tariff.valid_from
    return {
        "tariff": tariff.tariff_id,
        "name": tariff.name,
        "currency": tariff.currency,
        "zone": tariff.zone,
        "valid_from": starts,
        "charges": [charge.name for charge in tariff.charges],
        "channels": [str(code) for code in tariff.channels],
        "sha256": tariff.sha256,
    }

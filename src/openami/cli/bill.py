"""`ami bill`: bills are made, listed, shown, cancelled and renewed."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, timedelta
from functools import partial
from typing import Annotated, Final

import typer

from openami.billing.bill import Refused
from openami.billing.ledger import Bill
from openami.billing.lines import Line
from openami.cli.output import (
    DEFAULT_WORKSPACE,
    Advance,
    JsonOption,
    WorkspaceOption,
    print_facts,
    print_json,
    print_table,
    progress,
    stderr,
    stdout,
)
from openami.cli.period import billing_period
from openami.quantities.errors import BillingError, FormatError
from openami.quantities.money import money_text, readable
from openami.registry.entities import Agreement
from openami.workspace.workspace import opened

commands = typer.Typer()
_REFUSED_SHOWN: Final = 10


def add_commands(app: typer.Typer) -> None:
    """Put the commands under ``ami``."""
    app.add_typer(commands, name="bill")


@commands.callback(invoke_without_command=True)
def bill(
    ctx: typer.Context,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    first: Annotated[str | None, typer.Option("--from", help="First civil day.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last civil day, included.")] = None,
    month: Annotated[
        str | None, typer.Option(help="A calendar month, as 2026-10, instead of --from and --to.")
    ] = None,
    agreement: Annotated[
        list[str] | None, typer.Option(help="Only these agreements; may be repeated.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Bill every agreement that covers the period; or list, show, cancel, renew and verify bills.

    Example: ami bill --month 2026-10
    """
    if ctx.invoked_subcommand is None:
        run(workspace, first, last, month, agreement, json)
        return
    for parameter in ctx.command.params:
        source = ctx.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE":
            raise FormatError(
                f"{parameter.opts[0]} stands before {ctx.invoked_subcommand}",
                where="ami bill",
                expected=f"`ami bill {ctx.invoked_subcommand} {parameter.opts[0]} ...`",
            )


@commands.command("run")
def run(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    first: Annotated[str | None, typer.Option("--from", help="First civil day.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last civil day, included.")] = None,
    month: Annotated[
        str | None, typer.Option(help="A calendar month, as 2026-10, instead of --from and --to.")
    ] = None,
    agreement: Annotated[
        list[str] | None, typer.Option(help="Only these agreements; may be repeated.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Bill every agreement that covers the period; the same as `ami bill` with a period.

    An agreement that begins or ends inside the period is billed for its own days. Those that cannot be
    billed are listed (exit code 1).

    Example: ami bill run --month 2026-10
    """
    start, end = billing_period(first, last, month)
    with opened(workspace) as utility, progress("billing") as advance:
        agreements = [
            one
            for one in utility.registry.agreements(first_day=start, last_day=end)
            if not agreement or one.agreement_id in agreement
        ]
        if not agreements:
            raise BillingError(
                f"no agreement covers {start} to {end - timedelta(days=1)}",
                expected="`ami tariff assign`, or agreements of a site file",
            )
        bills: list[Bill] = []
        refused: list[Refused] = []
        for (begins, ends), ids in _by_period(agreements, start, end).items():
            before = len(bills) + len(refused)
            report = utility.bills.bill_many(
                ids, begins, ends, progress=partial(_advance, advance, before, len(agreements))
            )
            bills += report.bills
            refused += report.refused
    if json:
        print_json(
            {
                "first_day": start,
                "last_day": end - timedelta(days=1),
                "bills": [_document(bill) for bill in bills],
                "refused": [{"agreement": one.agreement_id, "reason": str(one.error)} for one in refused],
            }
        )
    else:
        _table("bills", bills)
        for one in refused[:_REFUSED_SHOWN]:
            stderr.print(f"not billed: {one.error}", style="red", markup=False, soft_wrap=True)
        if len(refused) > _REFUSED_SHOWN:
            stderr.print(f"... and {len(refused) - _REFUSED_SHOWN} more (--json names them all)")
    if refused:
        raise typer.Exit(1)


@commands.command("list")
def list_(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    json: JsonOption = False,
) -> None:
    """List bills.

    Example: ami bill list --account A0001
    """
    with opened(workspace) as utility:
        bills = utility.bills.bills(account_id=account)
    if json:
        print_json({"bills": [_document(bill) for bill in bills]})
    else:
        _table("bills", bills)


@commands.command("show")
def show(
    bill_id: Annotated[str, typer.Argument(help="Bill.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Show a bill with its lines and what it was computed from.

    Example: ami bill show AG0001-0001
    """
    with opened(workspace) as utility:
        bill = utility.bills.get(bill_id)
    if json:
        print_json(_document(bill))
        return
    print_facts(
        f"bill {bill.bill_id}",
        {
            "account": bill.account_id,
            "usage point": bill.usage_point_id,
            "period": f"{bill.first_day} to {bill.last_day - timedelta(days=1)}",
            "state": bill.state.value,
            "total": f"{bill.total_text} {bill.currency}",
            "readings as of": bill.pins.readings_seq,
            "registry revision": bill.pins.registry_revision,
            "tariff": ", ".join(f"{pin.tariff_id} v{pin.version}" for pin in bill.pins.tariffs),
            "rules": ", ".join(bill.pins.rules),
        },
    )
    print_table(
        "lines",
        ("line", "text", "quantity", "unit", "price", "amount"),
        [
            (number, _label(line), readable(line.quantity), line.unit, line.price, readable(line.amount))
            for number, line in enumerate(bill.lines, 1)
        ],
    )


@commands.command("cancel")
def cancel(
    bill_id: Annotated[str, typer.Argument(help="Bill.")],
    why: Annotated[str, typer.Option(help="The reason, kept with the bill.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    actor: Annotated[str, typer.Option(help="Who does it.")] = "cli",
    json: JsonOption = False,
) -> None:
    """Cancel a bill; it stays readable, and its days may be billed again.

    Example: ami bill cancel AG0001-0001 --why "moved out on the 12th"
    """
    with opened(workspace) as utility:
        bill = utility.bills.cancel(bill_id, why, actor)
    if json:
        print_json(_document(bill))
    else:
        stdout.print(f"{bill.bill_id} is cancelled", markup=False)


@commands.command("rebill")
def rebill(
    bill_id: Annotated[str, typer.Argument(help="Bill.")],
    why: Annotated[str, typer.Option(help="The reason, kept with the bill.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    actor: Annotated[str, typer.Option(help="Who does it.")] = "cli",
    json: JsonOption = False,
) -> None:
    """Compute a bill anew from what is known now, and replace it.

    Example: ami bill rebill AG0001-0001 --why "late readings"
    """
    with opened(workspace) as utility:
        bill = utility.bills.rebill(bill_id, actor=actor, why=why)
    if json:
        print_json(_document(bill))
    else:
        stdout.print(
            f"{bill_id} is replaced by {bill.bill_id}: {bill.total_text} {bill.currency}", markup=False
        )


@commands.command("proposals")
def proposals(workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """List issued bills whose readings changed since: what should be billed anew.

    Example: ami bill proposals
    """
    with opened(workspace) as utility:
        found = utility.bills.proposals()
    if json:
        print_json({"proposals": found})
    else:
        print_table(
            "bills whose readings changed",
            ("bill", "agreement", "days"),
            [(one.bill_id, one.agreement_id, ", ".join(map(str, one.days))) for one in found],
        )


@commands.command("verify")
def verify(
    bill_id: Annotated[str, typer.Argument(help="Bill.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Compute a stored bill again from what it pins, and compare to the last digit.

    Example: ami bill verify AG0001-0001
    """
    with opened(workspace) as utility:
        proof = utility.bills.recompute(bill_id)
    if json:
        print_json({"bill": bill_id, "holds": proof.holds, **asdict(proof)})
    else:
        stdout.print(
            f"{bill_id} {'follows' if proof.holds else 'does NOT follow'} from its pins", markup=False
        )
    if not proof.holds:
        raise typer.Exit(1)


def _advance(advance: Advance, before: int, total: int, done: int) -> None:
    advance(before + done, total)


def _label(line: Line) -> str:
    """A line's charge, and what of it the line is where that says more."""
    return line.charge if line.text in (line.charge, "all") else f"{line.charge}: {line.text}"


def _by_period(agreements: list[Agreement], start: date, end: date) -> dict[tuple[date, date], list[str]]:
    periods: dict[tuple[date, date], list[str]] = {}
    for one in agreements:
        period = max(start, one.valid_from), min(end, one.valid_to or end)
        periods.setdefault(period, []).append(one.agreement_id)
    return periods


def _document(bill: Bill) -> dict[str, object]:
    return {
        "bill": bill.bill_id,
        "agreement": bill.agreement_id,
        "account": bill.account_id,
        "usage_point": bill.usage_point_id,
        "first_day": bill.first_day,
        "last_day": bill.last_day - timedelta(days=1),
        "energy_wh": bill.energy_wh,
        "amount": bill.total_text,
        "currency": bill.currency,
        "state": bill.state.value,
        "replaces": bill.replaces,
        "replaced_by": bill.replaced_by,
        "readings_seq": bill.pins.readings_seq,
        "registry_revision": bill.pins.registry_revision,
        "tariffs": [f"{pin.tariff_id}@{pin.version}" for pin in bill.pins.tariffs],
        "rules": list(bill.pins.rules),
        "code_version": bill.pins.code_version,
        "lines": [
            {
                "line": number,
                "charge": line.charge,
                "text": line.text,
                "quantity": money_text(line.quantity),
                "unit": line.unit,
                "price": line.price,
                "amount": money_text(line.amount),
                "formula": line.formula,
            }
            for number, line in enumerate(bill.lines, 1)
        ],
    }


def _table(title: str, bills: list[Bill]) -> None:
    print_table(
        title,
        ("bill", "account", "usage point", "from", "to", "energy Wh", "amount", "", "state"),
        [
            (
                bill.bill_id, bill.account_id, bill.usage_point_id, bill.first_day,
                bill.last_day - timedelta(days=1), bill.energy_wh, bill.total_text, bill.currency,
                bill.state.value,
            )
            for bill in bills
        ],
    )  # fmt: skip

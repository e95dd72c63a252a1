"""Agreements in bulk: from a day on, usage points are billed on a tariff."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from openami.billing.tariff import Tariff
from openami.quantities.errors import RegistryError
from openami.registry.entities import Account, Agreement, Customer, Entity
from openami.workspace.workspace import Workspace

ACTOR = "cli"


def assign_tariff(
    workspace: Workspace, tariff_id: str, usage_point_ids: Sequence[str] | None, first_day: date | None
) -> list[Agreement]:
    """Make agreements on a tariff; an agreement that ran ends on the first day of the new one.

    Customers and accounts that the registry lacks are made with the usage point's name.

    Parameters
    ----------
    usage_point_ids:
        Usage points; None for every customer's usage point that has no agreement on the day.
    first_day:
        First day; None for the first day that has readings.

    Raises
    ------
    RegistryError
        The tariff or a usage point is unknown, or there is no reading to begin with and no day was given.
    """
    registry = workspace.registry
    if first_day is None:
        span = workspace.store.days_present("raw")
        if span is None:
            raise RegistryError("no first day", expected="--from, or readings first")
        first_day = span[0]
    if not registry.documents("tariff", tariff_id):
        known = sorted({document.document_id for document in registry.documents("tariff")})
        raise RegistryError(
            f"there is no tariff {tariff_id!r}", expected=f"one of {', '.join(known) or 'none yet'}"
        )
    currency = Tariff.from_toml(registry.document("tariff", tariff_id, on=first_day).text).currency
    revision = registry.revision
    if usage_point_ids is None:
        points = [point for point in registry.usage_points(revision=revision) if point.kind == "customer"]
    else:
        points = [registry.usage_point(name, revision=revision) for name in usage_point_ids]
    accounts = {account.account_id for account in registry.accounts(revision=revision)}
    running: dict[str, list[Agreement]] = {}
    for agreement in registry.agreements(revision=revision):
        if agreement.valid_to is None or agreement.valid_to > first_day:
            running.setdefault(agreement.usage_point_id, []).append(agreement)
    entities: list[Entity] = []
    made = []
    for point in points:
        old = running.get(point.usage_point_id, [])
        if old and usage_point_ids is None:
            continue
        entities += [replace(one, valid_to=first_day) for one in old if one.valid_from < first_day]
        account_id = old[0].account_id if old else point.usage_point_id
        if account_id not in accounts:
            entities += [Customer(account_id, account_id), Account(account_id, account_id, currency)]
        agreement = Agreement(
            f"{point.usage_point_id}-{first_day:%Y%m%d}",
            account_id,
            point.usage_point_id,
            tariff_id,
            first_day,
        )
        entities.append(agreement)
        made.append(agreement)
    if entities:
        registry.record(entities, actor=ACTOR, why=f"tariff {tariff_id} from {first_day}")
    return made

"""Lists of a page's length: exceptions, bills and meters, filtered and counted where they lie.

No list is loaded whole; what a page does not show is counted in SQL. The tables are those of the stations
that own them, found on the shared metadata.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from fractions import Fraction

import sqlalchemy as sa

from openami.billing.ledger import BillState
from openami.console.parameters import PAGE_SIZE
from openami.quantities.money import money_of_text
from openami.registry.database import metadata, reading
from openami.workspace.workspace import Workspace

_MOST_ACCOUNTS = 1000


@dataclass(frozen=True, slots=True)
class CaseRow:
    """One line of the list of exceptions."""

    exception_id: str
    kind: str
    meter_id: str | None
    usage_point_id: str | None
    day: date | None
    detail: str
    state: str


@dataclass(frozen=True, slots=True)
class BillRow:
    """One line of the list of bills, for the days ``[first_day, last_day)``."""

    bill_id: str
    account_id: str
    customer: str
    usage_point_id: str
    first_day: date
    last_day: date
    energy_wh: int
    total: Fraction
    currency: str
    state: BillState


@dataclass(frozen=True, slots=True)
class MeterRow:
    """One line of the list of meters."""

    meter_id: str
    model: str
    usage_point_id: str | None
    area_id: str | None
    area: str | None
    last_day: date | None
    open_cases: int


def case_rows(
    workspace: Workspace, *, kind: str, state: str, meter_id: str, page: int
) -> tuple[list[CaseRow], int]:
    """A page of exceptions, newest day first, and how many there are; an empty text asks for all."""
    table = metadata.tables["exceptions"].c
    wanted = [
        column == value
        for column, value in ((table.kind, kind), (table.state, state), (table.meter_id, meter_id))
        if value
    ]
    columns = (
        table.exception_id, table.kind, table.meter_id, table.usage_point_id, table.day, table.detail,
        table.state,
    )  # fmt: skip
    order = (table.day.desc(), table.kind, table.meter_id, table.exception_id)
    with reading(workspace.engine) as connection:
        total = connection.scalar(sa.select(sa.func.count()).select_from(table.kind.table).where(*wanted))
        rows = connection.execute(_page(sa.select(*columns).where(*wanted).order_by(*order), page))
        cases = [
            CaseRow(
                row.exception_id, row.kind, row.meter_id, row.usage_point_id, row.day, row.detail, row.state
            )
            for row in rows
        ]
    return cases, int(total or 0)


def bill_rows(
    workspace: Workspace, *, text: str, state: BillState | None, page: int
) -> tuple[list[BillRow], int]:
    """A page of bills, newest period first, and how many there are.

    Parameters
    ----------
    text:
        Part of the bill's id, its usage point, its account, or the name of its customer; empty for all.
    """
    registry = workspace.registry
    accounts = {account.account_id: account.customer_id for account in registry.accounts()}
    names = {customer.customer_id: customer.name for customer in registry.customers()}
    table = metadata.tables["bills"].c
    wanted: list[sa.ColumnElement[bool]] = []
    if state is not None:
        wanted.append(table.state == state.value)
    if text:
        named = [
            account_id
            for account_id, customer_id in accounts.items()
            if text.casefold() in names.get(customer_id, "").casefold()
        ]
        wanted.append(
            sa.or_(
                *(
                    column.icontains(text, autoescape=True)
                    for column in (table.bill_id, table.usage_point_id, table.account_id)
                ),
                table.account_id.in_(named[:_MOST_ACCOUNTS]),
            )
        )
    columns = (
        table.bill_id, table.account_id, table.usage_point_id, table.first_day, table.last_day,
        table.energy_wh, table.total, table.currency, table.state,
    )  # fmt: skip
    order = (table.first_day.desc(), table.bill_id)
    with reading(workspace.engine) as connection:
        total = connection.scalar(sa.select(sa.func.count()).select_from(table.state.table).where(*wanted))
        found = connection.execute(_page(sa.select(*columns).where(*wanted).order_by(*order), page))
        rows = [
            BillRow(
                row.bill_id,
                row.account_id,
                names.get(accounts.get(row.account_id, ""), ""),
                row.usage_point_id,
                row.first_day,
                row.last_day,
                row.energy_wh,
                money_of_text(row.total),
                row.currency,
                BillState(row.state),
            )
            for row in found
        ]
    return rows, int(total or 0)


def bill_count(workspace: Workspace) -> int:
    """Number of bills that are issued."""
    table = metadata.tables["bills"]
    query = sa.select(sa.func.count()).where(table.c.state == BillState.ISSUED.value)
    with reading(workspace.engine) as connection:
        return int(connection.scalar(query) or 0)


def meter_rows(workspace: Workspace, *, text: str, area_id: str, page: int) -> tuple[list[MeterRow], int]:
    """A page of meters by name, and how many there are.

    Parameters
    ----------
    text:
        Part of the name of the meter or of a usage point it hangs or hung at; empty for all.
    """
    registry = workspace.registry
    points = {point.usage_point_id: point for point in registry.usage_points()}
    areas = {area.area_id: area.name for area in registry.areas()}
    places: dict[str, list[str]] = {}
    for item in sorted(registry.installations(), key=lambda item: item.valid_from):
        places.setdefault(item.meter_id, []).append(item.usage_point_id)
    looked_for = text.casefold()
    found = []
    for meter in sorted(
        {meter.meter_id: meter for meter in registry.meters()}.values(), key=lambda m: m.meter_id
    ):
        at = places.get(meter.meter_id, [])
        point = points.get(at[-1]) if at else None
        in_area = not area_id or (point is not None and point.area_id == area_id)
        if in_area and any(looked_for in name.casefold() for name in (meter.meter_id, *at)):
            found.append((meter, point))
    shown = found[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
    names = [meter.meter_id for meter, _ in shown]
    last, cases = _last_days(workspace, names), _open_cases(workspace, names)
    rows = [
        MeterRow(
            meter.meter_id,
            meter.model,
            point.usage_point_id if point else None,
            point.area_id if point else None,
            areas.get(point.area_id or "") if point else None,
            last.get(meter.meter_id),
            cases.get(meter.meter_id, 0),
        )
        for meter, point in shown
    ]
    return rows, len(found)


def _last_days(workspace: Workspace, meter_ids: list[str]) -> dict[str, date]:
    query = "SELECT series_id, max(day) FROM raw_intervals WHERE series_id IN (SELECT unnest(?)) GROUP BY 1"
    connection = workspace.store.sql()
    try:
        return dict(connection.execute(query, [meter_ids]).fetchall())
    finally:
        connection.close()


def _open_cases(workspace: Workspace, meter_ids: list[str]) -> dict[str, int]:
    table = metadata.tables["exceptions"].c
    query = (
        sa.select(table.meter_id, sa.func.count())
        .where(table.state == "open", table.meter_id.in_(meter_ids))
        .group_by(table.meter_id)
    )
    with reading(workspace.engine) as connection:
        return {meter_id: int(count) for meter_id, count in connection.execute(query)}


def _page(query: sa.Select[tuple[object, ...]], page: int) -> sa.Select[tuple[object, ...]]:
    return query.limit(PAGE_SIZE).offset((page - 1) * PAGE_SIZE)

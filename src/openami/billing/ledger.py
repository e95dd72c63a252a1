"""The ledger: bills and their lines in SQL, with everything a bill was computed from pinned.

A bill is *issued*; later it may be *replaced* by a re-bill or *cancelled*. Never to be broken: nothing of a
bill is changed but its state, who changed it and why; and at most one issued bill covers a day of an
agreement. Both are checked in the transaction that writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from openami.billing.lines import Determinant, Line
from openami.quantities.errors import BillingError
from openami.quantities.money import money_of_text, money_text
from openami.quantities.obis import ObisCode
from openami.quantities.units import Quantum, Unit
from openami.registry.database import UtcInstant, metadata, reading, writing

_bills = sa.Table(
    "bills",
    metadata,
    sa.Column("bill_id", sa.Text(), primary_key=True),
    sa.Column("agreement_id", sa.Text(), nullable=False),
    sa.Column("account_id", sa.Text(), nullable=False),
    sa.Column("usage_point_id", sa.Text(), nullable=False),
    sa.Column("first_day", sa.Date(), nullable=False),
    sa.Column("last_day", sa.Date(), nullable=False),
    sa.Column("state", sa.Text(), nullable=False),
    sa.Column("currency", sa.Text(), nullable=False),
    sa.Column("total", sa.Text(), nullable=False),
    sa.Column("energy_wh", sa.BigInteger(), nullable=False),
    sa.Column("readings_seq", sa.BigInteger(), nullable=False),
    sa.Column("registry_revision", sa.BigInteger(), nullable=False),
    sa.Column("finals_sha256", sa.Text(), nullable=False),
    sa.Column("pinned", sa.JSON(), nullable=False),
    sa.Column("issued_at", UtcInstant(), nullable=False),
    sa.Column("issued_by", sa.Text(), nullable=False),
    sa.Column("why", sa.Text(), nullable=False),
    sa.Column("replaces", sa.Text()),
    sa.Column("replaced_by", sa.Text()),
    sa.Column("cancelled_at", UtcInstant()),
    sa.Column("cancelled_by", sa.Text()),
    sa.Column("cancelled_why", sa.Text()),
    sa.Index(None, "account_id", "first_day"),
    sa.Index(None, "agreement_id", "first_day"),
    sa.Index(None, "usage_point_id", "first_day"),
)

_lines = sa.Table(
    "bill_lines",
    metadata,
    sa.Column("bill_id", sa.Text(), sa.ForeignKey("bills.bill_id"), primary_key=True),
    sa.Column("line_no", sa.Integer(), primary_key=True, autoincrement=False),
    sa.Column("charge", sa.Text(), nullable=False),
    sa.Column("kind", sa.Text(), nullable=False),
    sa.Column("label", sa.Text(), nullable=False),
    sa.Column("quantity", sa.Text(), nullable=False),
    sa.Column("unit", sa.Text(), nullable=False),
    sa.Column("price", sa.Text()),
    sa.Column("amount", sa.Text(), nullable=False),
    sa.Column("formula", sa.Text(), nullable=False),
    sa.Column("first_day", sa.Date(), nullable=False),
    sa.Column("last_day", sa.Date(), nullable=False),
    sa.Column("determinants", sa.JSON(), nullable=False),
)


class BillState(Enum):
    """What became of a bill."""

    ISSUED = "issued"
    REPLACED = "replaced"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class PinnedTariff:
    """The tariff version that priced the days ``[first_day, last_day)``."""

    tariff_id: str
    version: int
    valid_from: date
    sha256: str
    first_day: date
    last_day: date


@dataclass(frozen=True, slots=True)
class Pins:
    """What a bill was computed from, and by which code.

    Parameters
    ----------
    readings_seq, registry_revision:
        Commit of the store and revision of the registry.
    finals_sha256:
        Hash of the values of all final blocks it read, in order.
    history_from:
        First day whose finals were read: earlier than the bill's where tiers run over a year, a ratchet or a
        bank looks back.
    interval_s:
        Grid of the determinants.
    channels:
        Channels it counted.
    rules:
        Rules (rule packs) by which the finals were made.
    code_version:
        Version of openami.
    """

    readings_seq: int
    registry_revision: int
    finals_sha256: str
    history_from: date
    interval_s: int
    channels: tuple[ObisCode, ...]
    tariffs: tuple[PinnedTariff, ...]
    rules: tuple[str, ...]
    code_version: str


@dataclass(frozen=True, slots=True)
class Bill:
    """A bill with its lines, for the civil days ``[first_day, last_day)``.

    ``energy_wh`` is the import of the period for lists and totals; no line is computed from it.
    """

    bill_id: str
    agreement_id: str
    account_id: str
    usage_point_id: str
    first_day: date
    last_day: date
    currency: str
    total: Fraction
    energy_wh: int
    lines: tuple[Line, ...]
    pins: Pins
    issued_at: datetime
    issued_by: str
    why: str
    state: BillState = BillState.ISSUED
    replaces: str | None = None
    replaced_by: str | None = None
    cancelled_at: datetime | None = None
    cancelled_by: str | None = None
    cancelled_why: str | None = None

    @property
    def total_text(self) -> str:
        """The total as plain decimal text."""
        return money_text(self.total)


class Ledger:
    """Bills in a database.

    Invariant: an issued bill's lines sum to its total, and no two issued bills of an agreement share a day.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def issue(self, bill: Bill) -> Bill:
        """Store a bill under a new id; a bill it replaces is marked in the same transaction.

        Raises
        ------
        BillingError
            Its lines do not sum to its total, it shares a day with an issued bill, or what it replaces is
            not an issued bill.
        """
        if sum((line.amount for line in bill.lines), Fraction(0)) != bill.total:
            raise BillingError(
                f"lines do not sum to {bill.total_text}", where=f"agreement {bill.agreement_id}"
            )
        with writing(self._engine) as connection:
            own = sa.select(_bills.c.bill_id, _bills.c.state, _bills.c.first_day, _bills.c.last_day).where(
                _bills.c.agreement_id == bill.agreement_id
            )
            _lock(connection)
            earlier = connection.execute(own).all()
            if bill.replaces is not None:
                self._mark(connection, bill.replaces, BillState.REPLACED)
            for other_id, state, first_day, last_day in earlier:
                overlaps = first_day < bill.last_day and bill.first_day < last_day
                if state == BillState.ISSUED.value and overlaps and other_id != bill.replaces:
                    raise BillingError(
                        f"{first_day} to {last_day} is billed already by {other_id}",
                        where=f"agreement {bill.agreement_id}, {bill.first_day} to {bill.last_day}",
                        expected="rebill or cancel that bill",
                    )
            stored = replace(bill, bill_id=f"{bill.agreement_id}-{len(earlier) + 1:04d}")
            connection.execute(_bills.insert(), _bill_row(stored))
            if stored.lines:
                connection.execute(
                    _lines.insert(),
                    [_line_row(stored.bill_id, number, line) for number, line in enumerate(stored.lines, 1)],
                )
            if bill.replaces is not None:
                connection.execute(
                    _bills.update()
                    .where(_bills.c.bill_id == bill.replaces)
                    .values(replaced_by=stored.bill_id)
                )
        return stored

    def cancel(self, bill_id: str, *, at: datetime, actor: str, why: str) -> Bill:
        """Cancel an issued bill.

        Raises
        ------
        BillingError
            There is no such bill, or it is not issued any more.
        """
        with writing(self._engine) as connection:
            self._mark(connection, bill_id, BillState.CANCELLED)
            connection.execute(
                _bills.update()
                .where(_bills.c.bill_id == bill_id)
                .values(cancelled_at=at, cancelled_by=actor, cancelled_why=why)
            )
        return self.get(bill_id)

    def get(self, bill_id: str) -> Bill:
        """One bill.

        Raises
        ------
        BillingError
            There is none of that id.
        """
        found = self._select(_bills.c.bill_id == bill_id)
        if not found:
            raise BillingError(f"there is no bill {bill_id!r}")
        return found[0]

    def bills(
        self,
        *,
        account_id: str | None = None,
        agreement_id: str | None = None,
        usage_point_id: str | None = None,
        state: BillState | None = None,
    ) -> list[Bill]:
        """Bills by first day and id, all or those of an account, agreement, usage point or state."""
        wanted = {
            _bills.c.account_id: account_id,
            _bills.c.agreement_id: agreement_id,
            _bills.c.usage_point_id: usage_point_id,
            _bills.c.state: None if state is None else state.value,
        }
        return self._select(*(column == value for column, value in wanted.items() if value is not None))

    def _select(self, *conditions: sa.ColumnElement[bool]) -> list[Bill]:
        bills = sa.select(_bills).where(*conditions).order_by(_bills.c.first_day, _bills.c.bill_id)
        lines = (
            sa.select(_lines)
            .join(_bills, _bills.c.bill_id == _lines.c.bill_id)
            .where(*conditions)
            .order_by(_lines.c.bill_id, _lines.c.line_no)
        )
        with reading(self._engine) as connection:
            heads = connection.execute(bills).mappings().all()
            rows = connection.execute(lines).mappings().all()
        by_bill: dict[str, list[Line]] = {}
        for row in rows:
            by_bill.setdefault(row["bill_id"], []).append(_line_of_row(row))
        return [_bill_of_row(head, tuple(by_bill.get(head["bill_id"], ()))) for head in heads]

    def _mark(self, connection: sa.Connection, bill_id: str, state: BillState) -> None:
        changed = connection.execute(
            _bills.update()
            .where(_bills.c.bill_id == bill_id, _bills.c.state == BillState.ISSUED.value)
            .values(state=state.value)
        )
        if changed.rowcount != 1:
            known = connection.execute(sa.select(_bills.c.state).where(_bills.c.bill_id == bill_id)).scalar()
            what = "there is no such bill" if known is None else f"it is {known}"
            raise BillingError(f"bill {bill_id!r} cannot become {state.value}: {what}")


def _lock(connection: sa.Connection) -> None:
    """Keep other writers of bills out until the transaction ends (SQLite's transactions do already)."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE bills IN EXCLUSIVE MODE")


def _bill_row(bill: Bill) -> dict[str, object]:
    pins = bill.pins
    pinned = {
        "history_from": pins.history_from.isoformat(),
        "interval_s": pins.interval_s,
        "channels": [str(code) for code in pins.channels],
        "tariffs": [
            {
                "tariff_id": tariff.tariff_id,
                "version": tariff.version,
                "valid_from": tariff.valid_from.isoformat(),
                "sha256": tariff.sha256,
                "first_day": tariff.first_day.isoformat(),
                "last_day": tariff.last_day.isoformat(),
            }
            for tariff in pins.tariffs
        ],
        "rules": list(pins.rules),
        "code_version": pins.code_version,
    }
    return {
        "bill_id": bill.bill_id,
        "agreement_id": bill.agreement_id,
        "account_id": bill.account_id,
        "usage_point_id": bill.usage_point_id,
        "first_day": bill.first_day,
        "last_day": bill.last_day,
        "state": bill.state.value,
        "currency": bill.currency,
        "total": money_text(bill.total),
        "energy_wh": bill.energy_wh,
        "readings_seq": pins.readings_seq,
        "registry_revision": pins.registry_revision,
        "finals_sha256": pins.finals_sha256,
        "pinned": pinned,
        "issued_at": bill.issued_at,
        "issued_by": bill.issued_by,
        "why": bill.why,
        "replaces": bill.replaces,
    }


def _bill_of_row(row: sa.RowMapping, lines: tuple[Line, ...]) -> Bill:
    pinned = row["pinned"]
    tariffs = tuple(
        PinnedTariff(
            item["tariff_id"],
            item["version"],
            date.fromisoformat(item["valid_from"]),
            item["sha256"],
            date.fromisoformat(item["first_day"]),
            date.fromisoformat(item["last_day"]),
        )
        for item in pinned["tariffs"]
    )
    pins = Pins(
        row["readings_seq"],
        row["registry_revision"],
        row["finals_sha256"],
        date.fromisoformat(pinned["history_from"]),
        pinned["interval_s"],
        tuple(ObisCode.parse(text) for text in pinned["channels"]),
        tariffs,
        tuple(pinned["rules"]),
        pinned["code_version"],
    )
    return Bill(
        bill_id=row["bill_id"],
        agreement_id=row["agreement_id"],
        account_id=row["account_id"],
        usage_point_id=row["usage_point_id"],
        first_day=row["first_day"],
        last_day=row["last_day"],
        currency=row["currency"],
        total=money_of_text(row["total"]),
        energy_wh=row["energy_wh"],
        lines=lines,
        pins=pins,
        issued_at=row["issued_at"],
        issued_by=row["issued_by"],
        why=row["why"],
        state=BillState(row["state"]),
        replaces=row["replaces"],
        replaced_by=row["replaced_by"],
        cancelled_at=row["cancelled_at"],
        cancelled_by=row["cancelled_by"],
        cancelled_why=row["cancelled_why"],
    )


def _line_row(bill_id: str, line_no: int, line: Line) -> dict[str, object]:
    return {
        "bill_id": bill_id,
        "line_no": line_no,
        "charge": line.charge,
        "kind": line.kind,
        "label": line.text,
        "quantity": money_text(line.quantity),
        "unit": line.unit,
        "price": None if line.price is None else f"{line.price:f}",
        "amount": money_text(line.amount),
        "formula": line.formula,
        "first_day": line.first_day,
        "last_day": line.last_day,
        "determinants": [_determinant_row(item) for item in line.determinants],
    }


def _line_of_row(row: sa.RowMapping) -> Line:
    return Line(
        row["charge"],
        row["kind"],
        row["label"],
        money_of_text(row["quantity"]),
        row["unit"],
        None if row["price"] is None else Decimal(row["price"]),
        money_of_text(row["amount"]),
        row["formula"],
        row["first_day"],
        row["last_day"],
        tuple(_determinant_of_row(item) for item in row["determinants"]),
    )


def _determinant_row(item: Determinant) -> dict[str, object]:
    return {
        "definition": item.definition,
        "channel": str(item.channel),
        "calendar": item.calendar,
        "rate": item.rate,
        "first_day": item.first_day.isoformat(),
        "last_day": item.last_day.isoformat(),
        "unit": item.quantum.unit.value,
        "exponent": item.quantum.exponent,
        "counts": money_text(item.counts),
        "reactive": None if item.reactive is None else str(item.reactive),
        "window_s": item.window_s,
        "at": item.at,
    }


def _determinant_of_row(row: Mapping[str, Any]) -> Determinant:
    return Determinant(
        row["definition"],
        ObisCode.parse(row["channel"]),
        row["calendar"],
        row["rate"],
        date.fromisoformat(row["first_day"]),
        date.fromisoformat(row["last_day"]),
        Quantum(Unit(row["unit"]), row["exponent"]),
        money_of_text(row["counts"]),
        None if row["reactive"] is None else ObisCode.parse(row["reactive"]),
        row["window_s"],
        row["at"],
    )


def same_lines(one: Sequence[Line], other: Sequence[Line]) -> bool:
    """True when two bills' lines agree in text, quantity, price, amount and determinants."""
    return tuple(one) == tuple(other)

"""Master data with validity and record time, documents, and the audit of revisions.

Every table but ``revisions`` is bitemporal in the same way; `_bitemporal_table` writes that way down once.
Triggers make the database itself refuse what the registry promises never to do.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "revisions",
        sa.Column("revision", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_POSTGRESQL_APPEND_ONLY)
    _forbid_change("revisions", [])

    _bitemporal_table(
        "meters",
        ["meter_id", "valid_from"],
        [
            _text("meter_id"),
            _text("model"),
            _text("host"),
            sa.Column("port", sa.Integer(), nullable=False),
            sa.Column("logical_device", sa.Integer(), nullable=False),
            _text("zone"),
            sa.Column("interval_s", sa.Integer(), nullable=False),
            sa.Column("digits", sa.Integer(), nullable=False),
            sa.Column("exponent", sa.Integer(), nullable=False),
            sa.Column("channels", sa.JSON(), nullable=False),
            *_validity(),
        ],
    )
    _bitemporal_table(
        "multipliers",
        ["meter_id", "valid_from"],
        [
            _text("meter_id"),
            sa.Column("ct_numerator", sa.BigInteger(), nullable=False),
            sa.Column("ct_denominator", sa.BigInteger(), nullable=False),
            sa.Column("vt_numerator", sa.BigInteger(), nullable=False),
            sa.Column("vt_denominator", sa.BigInteger(), nullable=False),
            *_validity(),
        ],
    )
    _bitemporal_table(
        "usage_points",
        ["usage_point_id", "valid_from"],
        [
            _text("usage_point_id"),
            _text("zone"),
            sa.Column("area_id", sa.Text()),
            _text("kind"),
            sa.Column("capacity_w", sa.BigInteger()),
            _text("customer_class"),
            *_validity(),
        ],
    )
    _bitemporal_table(
        "installations",
        ["meter_id", "usage_point_id", "valid_from"],
        [
            _text("meter_id"),
            _text("usage_point_id"),
            *_validity(),
        ],
    )
    _bitemporal_table(
        "transformer_areas",
        ["area_id", "valid_from"],
        [
            _text("area_id"),
            _text("name"),
            sa.Column("capacity_va", sa.BigInteger()),
            sa.Column("meter_usage_point_id", sa.Text()),
            *_validity(),
        ],
    )
    _bitemporal_table(
        "customers",
        ["customer_id", "valid_from"],
        [
            _text("customer_id"),
            _text("name"),
            *_validity(),
        ],
    )
    _bitemporal_table(
        "accounts",
        ["account_id", "valid_from"],
        [
            _text("account_id"),
            _text("customer_id"),
            _text("currency"),
            *_validity(),
        ],
    )
    _bitemporal_table(
        "agreements",
        ["agreement_id"],
        [
            _text("agreement_id"),
            _text("account_id"),
            _text("usage_point_id"),
            _text("tariff_id"),
            sa.Column("valid_from", sa.Date(), nullable=False),
            sa.Column("valid_to", sa.Date()),
        ],
    )
    _bitemporal_table(
        "documents",
        ["kind", "document_id", "valid_from"],
        [
            _text("kind"),
            _text("document_id"),
            sa.Column("valid_from", sa.Date(), nullable=False),
            sa.Column("version", sa.Integer(), nullable=False),
            _text("text"),
            _text("sha256"),
        ],
    )


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _validity() -> list[sa.Column]:  # type: ignore[type-arg]
    return [sa.Column("valid_from", _INSTANT, nullable=False), sa.Column("valid_to", _INSTANT)]


def _bitemporal_table(name: str, key: list[str], columns: list[sa.Column]) -> None:  # type: ignore[type-arg]
    names = [str(column.name) for column in columns]
    valid = [sa.CheckConstraint("valid_to > valid_from", name="valid")] if "valid_to" in names else []
    op.create_table(
        name,
        *columns,
        sa.Column("recorded_revision", sa.BigInteger(), nullable=False),
        sa.Column("superseded_revision", sa.BigInteger()),
        sa.PrimaryKeyConstraint(*key, "recorded_revision"),
        sa.ForeignKeyConstraint(["recorded_revision"], ["revisions.revision"]),
        sa.ForeignKeyConstraint(["superseded_revision"], ["revisions.revision"]),
        sa.CheckConstraint("superseded_revision > recorded_revision", name="recorded"),
        *valid,
    )
    op.create_index(
        f"uq_{name}_current",
        name,
        key,
        unique=True,
        sqlite_where=sa.text("superseded_revision IS NULL"),
        postgresql_where=sa.text("superseded_revision IS NULL"),
    )
    op.create_index(f"ix_{name}_recorded_revision", name, ["recorded_revision"])
    op.create_index(f"ix_{name}_superseded_revision", name, ["superseded_revision"])
    _forbid_change(name, [*names, "recorded_revision"])


_POSTGRESQL_APPEND_ONLY = """
CREATE FUNCTION openami_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table % is append-only', TG_TABLE_NAME;
END $$
"""


def _forbid_change(table: str, fixed: list[str]) -> None:
    """Refuse DELETE and TRUNCATE, and UPDATE of anything but a superseded_revision that is still null.

    ``fixed`` are the columns that never change; empty means all of them.
    """
    of_fixed = f"UPDATE OF {', '.join(fixed)}" if fixed else "UPDATE"
    guards = {
        "no_delete": ("DELETE", ""),
        "no_update": (of_fixed, ""),
    }
    if fixed:
        guards["superseded_once"] = (
            "UPDATE OF superseded_revision",
            "WHEN (OLD.superseded_revision IS NOT NULL)",
        )
    for name, (event, when) in guards.items():
        head = f"CREATE TRIGGER {table}_{name} BEFORE {event} ON {table} FOR EACH ROW {when}"
        if op.get_bind().dialect.name == "postgresql":
            op.execute(f"{head} EXECUTE FUNCTION openami_append_only()")
        else:
            op.execute(f"{head} BEGIN SELECT RAISE(ABORT, 'table {table} is append-only'); END")
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION openami_append_only()"
        )

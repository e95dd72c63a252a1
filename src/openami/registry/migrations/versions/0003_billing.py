"""Bills and their lines. Triggers make the database refuse to change what a bill says, or to lose one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bills",
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
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("issued_by", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("replaces", sa.Text()),
        sa.Column("replaced_by", sa.Text()),
        sa.Column("cancelled_at", sa.DateTime(timezone=True)),
        sa.Column("cancelled_by", sa.Text()),
        sa.Column("cancelled_why", sa.Text()),
    )
    op.create_index("ix_bills_account_id_first_day", "bills", ["account_id", "first_day"])
    op.create_index("ix_bills_agreement_id_first_day", "bills", ["agreement_id", "first_day"])
    op.create_index("ix_bills_usage_point_id_first_day", "bills", ["usage_point_id", "first_day"])
    op.create_table(
        "bill_lines",
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
    _forbid_change("bill_lines", "UPDATE")
    _forbid_change("bills", f"UPDATE OF {', '.join(_FIXED)}")


_FIXED = (
    "bill_id", "agreement_id", "account_id", "usage_point_id", "first_day", "last_day", "currency", "total",
    "energy_wh", "readings_seq", "registry_revision", "finals_sha256", "pinned", "issued_at", "issued_by",
    "why", "replaces",
)  # fmt: skip


def _forbid_change(table: str, update: str) -> None:
    """Refuse DELETE and the given UPDATE; the function they call on PostgreSQL comes from 0001."""
    for name, event in (("no_delete", "DELETE"), ("no_update", update)):
        head = f"CREATE TRIGGER {table}_{name} BEFORE {event} ON {table} FOR EACH ROW"
        if op.get_bind().dialect.name == "postgresql":
            op.execute(f"{head} EXECUTE FUNCTION openami_append_only()")
        else:
            op.execute(f"{head} BEGIN SELECT RAISE(ABORT, 'table {table} is append-only'); END")

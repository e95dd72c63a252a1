"""Exceptions found in readings, and the jobs of the meter data management."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "exceptions",
        sa.Column("exception_id", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("meter_id", sa.Text()),
        sa.Column("usage_point_id", sa.Text()),
        sa.Column("day", sa.Date()),
        sa.Column("channel", sa.Text()),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("block_ids", sa.JSON(), nullable=False),
        sa.Column("evidence_ids", sa.JSON(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.Text()),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
        sa.Column("closed_by", sa.Text()),
        sa.Column("closed_why", sa.Text()),
    )
    op.create_index("ix_exceptions_state_kind", "exceptions", ["state", "kind"])
    op.create_index("ix_exceptions_meter_id_day", "exceptions", ["meter_id", "day"])
    op.create_index("ix_exceptions_usage_point_id_day", "exceptions", ["usage_point_id", "day"])
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
    )

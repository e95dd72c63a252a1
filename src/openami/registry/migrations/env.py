"""Run by Alembic; the connection and its transaction are handed in by `openami.registry.database`."""

from __future__ import annotations

from alembic import context

from openami.registry.database import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()

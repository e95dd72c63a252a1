"""The database opens at the newest schema, on SQLite and on PostgreSQL, or says why it does not."""

from __future__ import annotations

from openami.registry.database import open_database


def test_opening_twice_gives_the_same_database(database_url: str) -> None:
    open_database(database_url).dispose()
    open_database(database_url).dispose()

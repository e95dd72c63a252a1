"""The database opens at the newest schema, on SQLite and on PostgreSQL, or says why it does not."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from importlib import import_module
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine.interfaces import ReflectedIndex

from openami.quantities.errors import RegistryError
from openami.registry.database import metadata, open_database, reading, writing
from openami.registry.records import KINDS, documents, revisions

OURS = {revisions.name, documents.name, *(kind.table.name for kind in KINDS)}
for _station in ("openami.mdm.exceptions", "openami.mdm.vee.run_log", "openami.billing.ledger"):
    import_module(_station)  # declares its tables on the one metadata
OURS |= {"exceptions", "jobs", "bills", "bill_lines"}
HEAD = "SELECT version_num FROM alembic_version"
AT = datetime(2024, 3, 31, 1, 0, 0, 123456, UTC)


def rows(url: str, statement: str) -> list[tuple[object, ...]]:
    with reading(open_database(url)) as connection:
        return [tuple(row) for row in connection.exec_driver_sql(statement)]


def shape(connection: sa.Connection) -> dict[str, object]:
    """Everything the database says of our tables, down to the names of constraints."""
    inspector = sa.inspect(connection)
    told: dict[str, object] = {}
    for table in sorted(OURS):
        columns = [
            (column["name"], str(column["type"]), column["nullable"], column["default"])
            for column in inspector.get_columns(table)
        ]
        told[table] = (
            columns,
            inspector.get_pk_constraint(table),
            sorted(inspector.get_foreign_keys(table), key=lambda key: str(key["name"])),
            sorted(inspector.get_check_constraints(table), key=lambda check: str(check["name"])),
            sorted(map(index_shape, inspector.get_indexes(table))),
        )
    return told


def index_shape(index: ReflectedIndex) -> tuple[str, ...]:
    options = sorted((name, str(value)) for name, value in index.get("dialect_options", {}).items())
    return str(index["name"]), str(index["column_names"]), str(bool(index["unique"])), str(options)


def test_opening_creates_the_schema_and_opening_again_changes_nothing(database_url: str) -> None:
    engine = open_database(database_url)
    with reading(engine) as connection:
        first = shape(connection)
        tables = set(sa.inspect(connection).get_table_names())
    assert OURS == set(metadata.tables) == tables - {"alembic_version"}
    with reading(open_database(database_url)) as connection:
        assert shape(connection) == first


def test_the_migrated_schema_is_the_declared_one(database_url: str) -> None:
    with reading(open_database(database_url)) as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_name": lambda name, kind, _parents: kind != "table" or name in OURS,
                "include_object": lambda item, name, kind, _reflected, _other: (
                    kind != "table" or name in OURS
                ),
                "compare_type": True,
                "compare_server_default": True,
            },
        )
        assert compare_metadata(context, metadata) == []


def test_constraints_and_their_names_are_the_declared_ones_too(database_url: str) -> None:
    engine = open_database(database_url)
    ours = [table for table in metadata.sorted_tables if table.name in OURS]
    with writing(engine) as connection:
        migrated = shape(connection)
        metadata.drop_all(connection, tables=ours)
        metadata.create_all(connection, tables=ours)
        assert shape(connection) == migrated


def test_the_database_refuses_to_change_or_delete_what_is_recorded(database_url: str) -> None:
    engine = open_database(database_url)
    with writing(engine) as connection:
        for number in (1, 2, 3):
            row = {"revision": number, "at": AT, "actor": "installer", "why": "first"}
            connection.execute(revisions.insert(), row)
        connection.exec_driver_sql(
            "INSERT INTO customers (customer_id, name, valid_from, recorded_revision)"
            " VALUES ('C-1', 'Ada', '1900-01-01 00:00:00', 1)"
        )
        connection.exec_driver_sql("UPDATE customers SET superseded_revision = 2")
    truncate = ["TRUNCATE customers"] if engine.dialect.name == "postgresql" else []
    for statement in (
        *truncate,
        "UPDATE customers SET name = 'Eve'",
        "UPDATE customers SET superseded_revision = 3",
        "UPDATE customers SET superseded_revision = NULL",
        "DELETE FROM customers",
        "UPDATE revisions SET why = 'never mind'",
        "DELETE FROM revisions",
    ):
        with pytest.raises(RegistryError, match="append-only"), writing(engine) as connection:
            connection.exec_driver_sql(statement)
    assert rows(database_url, "SELECT name, superseded_revision FROM customers") == [("Ada", 2)]


def test_an_instant_comes_back_as_it_went_in_and_a_naive_one_is_refused(database_url: str) -> None:
    engine = open_database(database_url)
    india = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    instants = {1: AT, 2: india, 3: datetime(1, 1, 2, tzinfo=UTC), 4: datetime(9999, 12, 30, tzinfo=UTC)}
    with writing(engine) as connection:
        for number, at in instants.items():
            row = {"revision": number, "at": at, "actor": "a", "why": "w"}
            connection.execute(revisions.insert(), row)
    with reading(engine) as connection:
        found = list(connection.execute(sa.select(revisions.c.at).order_by(revisions.c.revision)).scalars())
        earliest_first = list(
            connection.execute(
                sa.select(revisions.c.revision).order_by(revisions.c.at, revisions.c.revision)
            ).scalars()
        )
    assert found == list(instants.values())
    assert {instant.utcoffset() for instant in found} == {timedelta(0)}
    assert earliest_first == [3, 1, 2, 4]
    naive = {"revision": 5, "at": datetime(2024, 1, 1), "actor": "a", "why": "w"}
    with pytest.raises(RegistryError, match="naive instant"), writing(engine) as connection:
        connection.execute(revisions.insert(), naive)


def test_sqlite_syncs_each_commit_and_checks_foreign_keys(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a' / 'folder that was not there' / 'registry.sqlite'}"
    pragmas = {name: rows(url, f"PRAGMA {name}") for name in ("journal_mode", "synchronous", "foreign_keys")}
    assert pragmas == {"journal_mode": [("wal",)], "synchronous": [(2,)], "foreign_keys": [(1,)]}
    assert rows(url, "PRAGMA busy_timeout") == [(10_000,)]
    with pytest.raises(RegistryError, match="FOREIGN KEY"), writing(open_database(url)) as connection:
        connection.exec_driver_sql(
            "INSERT INTO customers (customer_id, name, valid_from, recorded_revision)"
            " VALUES ('C-1', 'Ada', '1900-01-01 00:00:00', 77)"
        )


def test_a_reader_does_not_wait_for_a_writer(database_url: str) -> None:
    engine = open_database(database_url)
    with writing(engine) as writer:
        writer.execute(revisions.insert(), {"revision": 1, "at": AT, "actor": "a", "why": "w"})
        with reading(engine) as reader:
            assert reader.execute(sa.select(sa.func.count()).select_from(revisions)).scalar_one() == 0
    with reading(engine) as reader:
        assert reader.execute(sa.select(sa.func.count()).select_from(revisions)).scalar_one() == 1


def test_processes_that_open_a_new_database_at_once_all_succeed(database_url: str) -> None:
    script = (
        "import sys; from openami.registry.database import open_database;"
        "sys.stdin.read(1); open_database(sys.argv[1]).dispose()"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, database_url], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b".")
        process.stdin.flush()
    complaints = [process.communicate(timeout=60)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0], complaints
    assert len(rows(database_url, HEAD)) == 1


def test_a_database_of_an_older_schema_is_brought_up_to_date(database_url: str) -> None:
    engine = open_database(database_url)
    head = rows(database_url, HEAD)
    with engine.begin() as connection:
        for table in ("bill_lines", "bills"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0002'")
    assert rows(database_url, HEAD) == head
    assert rows(database_url, "SELECT * FROM bills") == []


def test_a_database_that_a_newer_openami_wrote_is_refused_and_left_alone(database_url: str) -> None:
    engine = open_database(database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9001'")
    with pytest.raises(RegistryError, match=r"'9001'.* a newer one wrote it.*install the newer openami"):
        open_database(database_url)
    with reading(engine) as connection:
        assert connection.exec_driver_sql(HEAD).scalar() == "9001"


def test_somebody_elses_database_is_refused(database_url: str) -> None:
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE meters (serial TEXT)")
    engine.dispose()
    with pytest.raises(RegistryError, match="not a database of openami: it has a table 'meters'"):
        open_database(database_url)


@pytest.mark.parametrize("damage", ["not a database", "torn header", "torn page"])
def test_a_corrupt_file_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "registry.sqlite"
    url = f"sqlite:///{path}"
    if damage == "not a database":
        path.write_bytes(b"serial;value\n" * 1000)
    else:
        open_database(url).dispose()
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        content = bytearray(path.read_bytes())
        offset = 0 if damage == "torn header" else 100
        content[offset : offset + 200] = os.urandom(200)
        path.write_bytes(content)
    with pytest.raises(RegistryError, match=r"registry\.sqlite: the database refused: "):
        open_database(url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("registry.sqlite", "URL not understood"),
        ("sqlite://", "in memory would be lost"),
        ("sqlite:///:memory:", "in memory would be lost"),
        ("mysql://root@127.0.0.1/ami", "'mysql' are not supported"),
        ("postgresql+nosuchdriver://ami@127.0.0.1/ami", "no driver"),
        ("sqlite:////proc/nowhere/registry.sqlite", "cannot be opened"),
    ],
)
def test_a_database_that_cannot_be_opened_says_why(url: str, told: str) -> None:
    with pytest.raises(RegistryError, match=told):
        open_database(url)


def test_a_server_that_is_not_there_is_an_error_without_the_password() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(RegistryError) as caught:
        open_database(f"postgresql+psycopg://ami:hush@127.0.0.1:{port}/ami")
    assert "hush" not in str(caught.value)
    assert "the database refused" in str(caught.value)

"""The one SQL database of a workspace: SQLite by default, PostgreSQL by URL.

Master data, exceptions, jobs, bills and the audit of who changed what live here; readings do not.
`open_database` brings the schema to the newest migration before anybody sees the engine, and refuses a
database that a newer openami wrote. Stations above declare their tables on `metadata` in their own
package and add their own migration (see ``migrations/__init__.py``).

The rule never to be broken: an instant in this database is UTC, and only aware datetimes get in or out.
On SQLite every transaction takes the write lock at its first statement, so that reading before writing
cannot fail halfway because another process wrote meanwhile; `reading` opens the transactions that do not.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from openami.quantities.errors import RegistryError

metadata: Final = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""All tables of a workspace's database; each station declares its own on it."""

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_BUSY_TIMEOUT_S: Final = 10
_DEFERRED: Final = "openami_deferred"
_POSTGRESQL_MIGRATION_LOCK: Final = 0x0A31_DB01
_migration_lock = threading.Lock()  # alembic.op is one global per process


class UtcInstant(sa.types.TypeDecorator[datetime]):
    """An instant: aware in Python, UTC in the database, microseconds kept.

    SQLite stores ISO text of fixed width, so that comparisons in SQL are right; PostgreSQL stores
    ``timestamp with time zone``. A naive datetime raises `RegistryError`.
    """

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """To the database."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise RegistryError(f"naive instant {value}", expected="a timezone-aware datetime")
        instant = value.astimezone(UTC)
        return instant.replace(tzinfo=None) if dialect.name == "sqlite" else instant

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """From the database."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def open_database(url: str) -> sa.Engine:
    """Open a database, creating or migrating its schema where needed.

    Parameters
    ----------
    url:
        SQLAlchemy URL: ``sqlite:////data/ami/registry.sqlite`` (the folder is created) or
        ``postgresql+psycopg://user@host/name`` (the database must exist).

    Returns
    -------
    sqlalchemy.Engine
        With the schema at the newest migration. Several processes may open the same database at once.

    Raises
    ------
    RegistryError
        The URL is not understood, the database cannot be reached, is not one, or was written by a
        newer openami.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise RegistryError("database URL not understood", expected=_EXPECTED_URL) from None
    where = parsed.render_as_string(hide_password=True)
    engine = _create_engine(parsed, where)
    with contextlib.ExitStack() as on_failure, database_errors(where):
        on_failure.callback(engine.dispose)
        if engine.dialect.name == "sqlite":
            _set_wal(engine)
        _migrate(engine, where)
        if engine.dialect.name == "sqlite":
            _sync_folder(Path(str(parsed.database)).parent)
        on_failure.pop_all()
    return engine


@contextlib.contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction that may write; committed at the end, rolled back on any error.

    Raises
    ------
    RegistryError
        The database refused: locked too long, disk full, constraint broken, connection lost.
    """
    with database_errors(_where(engine)), engine.begin() as connection:
        yield connection


@contextlib.contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One consistent view for reading; never waits for a writer, never makes one wait.

    Raises
    ------
    RegistryError
        The database cannot be read.
    """
    with database_errors(_where(engine)), engine.connect() as connection:
        connection.execution_options(**{_DEFERRED: True})
        with connection.begin() as transaction:
            yield connection
            transaction.rollback()


@contextlib.contextmanager
def database_errors(where: str) -> Iterator[None]:
    """Turn what the database driver raises into a `RegistryError` that names the place."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, sa.exc.StatementError) and error.orig else error
        if isinstance(cause, RegistryError):
            raise cause from error
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise RegistryError(f"the database refused: {reason}", where=where) from error
    except OSError as error:
        raise RegistryError(
            f"the database cannot be opened: {error.strerror or error}", where=where
        ) from error


_EXPECTED_URL: Final = "sqlite:///folder/registry.sqlite or postgresql+psycopg://user@host/name"


def _where(engine: sa.Engine) -> str:
    return engine.url.render_as_string(hide_password=True)


def _create_engine(url: sa.URL, where: str) -> sa.Engine:
    dialect = url.get_backend_name()
    if dialect == "sqlite":
        if url.database in (None, "", ":memory:") or (url.database or "").startswith("file:"):
            raise RegistryError("a database in memory would be lost", where=where, expected=_EXPECTED_URL)
        with database_errors(where):
            Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S})
        sa.event.listen(engine, "connect", _sqlite_on_connect)
        sa.event.listen(engine, "begin", _sqlite_on_begin)
        return engine
    if dialect == "postgresql":
        try:
            return sa.create_engine(
                url, pool_pre_ping=True, connect_args={"options": "-c timezone=UTC", "connect_timeout": 10}
            )
        except (ModuleNotFoundError, sa.exc.NoSuchModuleError) as error:
            raise RegistryError(
                f"no driver for this database: {error}", where=where, expected="pip install openami[postgres]"
            ) from error
    raise RegistryError(
        f"databases of kind {dialect!r} are not supported", where=where, expected=_EXPECTED_URL
    )


def _sqlite_on_connect(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    assert isinstance(connection, sqlite3.Connection)
    connection.isolation_level = None  # transactions are begun by _sqlite_on_begin, DDL included
    for pragma in ("synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_TIMEOUT_S * 1000}"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_on_begin(connection: sa.Connection) -> None:
    deferred = connection.get_execution_options().get(_DEFERRED, False)
    connection.exec_driver_sql("BEGIN" if deferred else "BEGIN IMMEDIATE")


def _set_wal(engine: sa.Engine) -> None:
    """Switch the file to write-ahead logging; the switch itself does not honour the busy timeout."""
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    connection = engine.raw_connection()
    try:
        while True:
            try:
                connection.cursor().execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return
    finally:
        connection.close()


def _migrate(engine: sa.Engine, where: str) -> None:
    with _migration_lock:
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        script = ScriptDirectory.from_config(config)
        head = script.get_current_head()
        with reading(engine) as connection:
            if _schema_revision(connection) == head:
                return
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_POSTGRESQL_MIGRATION_LOCK)))
            current = _schema_revision(connection)
            _check_known(script, current, where)
            if current is None:
                _check_empty(connection, where)
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise RegistryError(
                    f"the schema cannot be brought up to date: {error}", where=where
                ) from error


def _schema_revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _check_known(script: ScriptDirectory, revision: str | None, where: str) -> None:
    known = {entry.revision for entry in script.walk_revisions()}
    if revision is not None and revision not in known:
        raise RegistryError(
            f"the database has schema {revision!r}, which this openami does not know: a newer one wrote it",
            where=where,
            expected=f"schema {script.get_current_head()!r} or older; install the newer openami",
        )


def _check_empty(connection: sa.Connection, where: str) -> None:
    if ours := sorted({"revisions", "meters"} & set(sa.inspect(connection).get_table_names())):
        raise RegistryError(
            f"not a database of openami: it has a table {ours[0]!r} but no record of its schema",
            where=where,
            expected="an empty database, or one that openami made",
        )


def _sync_folder(folder: Path) -> None:
    """Make the file's name durable: SQLite syncs what is in the file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

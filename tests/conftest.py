"""Fixtures shared by the stations."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from postgres_server import NoPostgresError, PostgresServer, running_server

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
"""On busy cores the threads of the linear algebra wait for each other: small fits took 40 times as long."""

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with captured frames and data sets of others, kept beside the project."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no test material beside the project ({folder.name} folder of shared)")
    return folder


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test run (with xdist: of this worker)."""
    try:
        with running_server() as server:
            yield server
    except NoPostgresError as error:
        pytest.skip(f"no PostgreSQL: {error}")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database nobody has used; each test that asks for it runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'registry.sqlite'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    with server.fresh_database() as url:
        yield url

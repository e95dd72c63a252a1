"""A PostgreSQL server for the tests, in a folder of its own, as a user that is not root.

Debian's package puts the programs into ``/usr/lib/postgresql/<version>/bin``. The server gets a free port
(never 5432, where a server of the machine may listen), trusts 127.0.0.1, does not sync (nothing is promised
about its durability here), and is stopped by the process that was started, never by name.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

_START_S = 30.0
_PROGRAMS = Path("/usr/lib/postgresql")


class NoPostgresError(Exception):
    """There can be no server on this machine; the text says why."""


class PostgresServer:
    """A running server; `fresh_database` gives databases with nothing in them.

    Invariant: what is in ``_idle`` is empty and nobody is connected to it. (Emptying a database takes a
    tenth of the time of creating one.)
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._numbers = itertools.count(1)
        self._idle: list[str] = []

    def url(self, database: str) -> str:
        """SQLAlchemy URL of one database."""
        return f"postgresql+psycopg://ami@127.0.0.1:{self.port}/{database}"

    @contextlib.contextmanager
    def fresh_database(self) -> Iterator[str]:
        """URL of an empty database; at the end whoever is still connected is disconnected."""
        if self._idle:
            name = self._idle.pop()
        else:
            name = f"test_{next(self._numbers)}"
            self._execute("postgres", f"CREATE DATABASE {name}")
        yield self.url(name)
        self._execute(
            name,
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            "DROP SCHEMA public CASCADE",
            "CREATE SCHEMA public",
        )
        self._idle.append(name)

    def _execute(self, database: str, *statements: str) -> None:
        import psycopg

        with psycopg.connect(_address(self.port, database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


@contextlib.contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Start a server and stop it at the end.

    Raises
    ------
    NoPostgresError
        The programs, the driver or an unprivileged user are missing, or the server does not start.
    """
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise NoPostgresError("the driver psycopg is not installed") from None
    programs = _find_programs()
    user = _unprivileged_user()
    folder = Path(tempfile.mkdtemp(prefix="openami-pg-"))
    try:
        if user:
            shutil.chown(folder, user.pw_name)
        _run_initdb(programs, folder, user)
        server = _start(programs, folder, user)
        try:
            yield PostgresServer(server[1])
        finally:
            _stop(server[0])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _find_programs() -> Path:
    found = sorted(_PROGRAMS.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not found:
        raise NoPostgresError(f"no PostgreSQL in {_PROGRAMS} (Debian: apt-get install postgresql-15)")
    return found[-1].parent


def _unprivileged_user() -> pwd.struct_passwd | None:
    """The user to run as: None for ourselves, for PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise NoPostgresError("running as root, and there is neither a user postgres nor nobody")


def _spawn(
    command: Sequence[str | Path], folder: Path, user: pwd.struct_passwd | None
) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env={"PATH": os.defpath, "LC_ALL": "C", "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
        )


def _run_initdb(programs: Path, folder: Path, user: pwd.struct_passwd | None) -> None:
    options = ["-U", "ami", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    process = _spawn([programs / "initdb", "-D", folder / "data", *options], folder, user)
    if process.wait(timeout=120) != 0:
        raise NoPostgresError(f"initdb failed: {_last_line(folder)}")


def _start(
    programs: Path, folder: Path, user: pwd.struct_passwd | None
) -> tuple[subprocess.Popen[bytes], int]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",
        "full_page_writes": "off",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "autovacuum": "off",
    }
    for _attempt in range(3):  # another program may take the port between our asking and using it
        port = _free_port()
        options = [f"--{name}={value}" for name, value in {**settings, "port": str(port)}.items()]
        process = _spawn([programs / "postgres", "-D", folder / "data", *options], folder, user)
        if _answers(process, port):
            return process, port
        _stop(process)
    raise NoPostgresError(f"the server does not start: {_last_line(folder)}")


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    import psycopg

    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(_address(port, "postgres")):
            return True
        time.sleep(0.05)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGQUIT)  # PostgreSQL's "immediate" shutdown
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port != 5432:
            return port


def _address(port: int, database: str) -> str:
    return f"host=127.0.0.1 port={port} user=ami dbname={database} connect_timeout=5"


def _last_line(folder: Path) -> str:
    lines = (folder / "log").read_text("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "no message"

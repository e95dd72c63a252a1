"""Fixtures of the tests of the console: a utility, its console on a port, every address, a browser."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from console_world import AFTER, FIRST, GAP_DAY, SILENT_DAY, SPIKE_DAY, Utility, build
from openami.console.app import create_app
from openami.workspace.settings import Settings
from openami.workspace.workspace import Workspace


@pytest.fixture(scope="session")
def utility(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Utility]:
    made = build(tmp_path_factory.mktemp("console") / "utility")
    yield made
    made.workspace.close()


@contextmanager
def _served(workspace: Workspace) -> Iterator[str]:
    """The address of the console of a workspace, on a free port of the loopback, in a thread."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(workspace), log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < until, "the console did not start"
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="session")
def address(utility: Utility) -> Iterator[str]:
    with _served(utility.workspace) as served:
        yield served


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[httpx.Client]:
    """The console of a workspace in which nothing has happened."""
    workspace = Workspace.create(tmp_path / "empty", Settings())
    with _served(workspace) as served, httpx.Client(base_url=served) as client:
        yield client
    workspace.close()


@pytest.fixture
def broken(utility: Utility, tmp_path: Path) -> Iterator[httpx.Client]:
    """The console of a copy of the utility whose raw files were cut in half."""
    folder = tmp_path / "broken"
    shutil.copytree(utility.workspace.folder, folder)
    for file in (folder / "readings" / "raw_intervals").rglob("*.parquet"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    workspace = Workspace.open(folder, utility.workspace.clock)
    with _served(workspace) as served, httpx.Client(base_url=served) as client:
        yield client
    workspace.close()


@pytest.fixture
def visitor(address: str) -> Iterator[httpx.Client]:
    """Asks the console over HTTP; keeps no language from one test to the next."""
    with httpx.Client(base_url=address, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def page_paths(utility: Utility) -> Sequence[str]:
    """One address of every page there is, and of every kind of exception and bill in the utility."""
    cases = {case.kind: case.exception_id for case in utility.workspace.exceptions.find()}
    bills = [*utility.bills, f"{utility.replaced[:-1]}2"]
    return [
        "/",
        f"/?from={FIRST}&to={FIRST}",
        "/meters",
        "/meters?q=UP-4&area=A-1",
        *(f"/meters/M-{n}?from={FIRST}&to={AFTER}&day={SPIKE_DAY}" for n in (1, 2, 3, 4, 5, 6, 7)),
        "/meters/M-A",
        "/meters/M-5?channel=1-0:2.29.0",
        f"/meters/M-2?from={GAP_DAY}&to={GAP_DAY}",
        f"/meters/M-3?from={SILENT_DAY}&to={SILENT_DAY}",
        "/exceptions",
        "/exceptions?state=&kind=gap",
        "/exceptions?state=",
        *(f"/exceptions/{exception_id}" for exception_id in cases.values()),
        "/bills",
        "/bills?q=customer&state=issued",
        *(f"/bills/{bill_id}" for bill_id in bills),
        f"/bills/{utility.bills[0]}/trace?line=2&path=0.1.4",
        f"/bills/{utility.bills[3]}/trace?line=2&path=0.1",
        "/areas",
        "/areas/A-1",
    ]


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of Debian's Chromium."""
    found = os.environ.get("OPENAMI_CHROMIUM") or shutil.which("chromium")
    if found is None:
        pytest.skip("no Chromium (Debian package `chromium`)")
    return found

"""A demo that is ended in the middle leaves no process behind, and a workspace that opens."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo_world import METERS, ami, environment
from openami.cli.demo.folder import MARK, claim_folder
from openami.cli.demo.scenario import AREA_NAMES, FIRST_DAY
from openami.quantities.errors import FormatError
from openami.workspace.upkeep import verify_store
from openami.workspace.workspace import opened

pytestmark = pytest.mark.xdist_group("demo")

NIGHTS = 3


@contextmanager
def reading_demo(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo that has stored the readings of some nights."""
    running = subprocess.Popen(
        ami("demo", "--workspace", folder, "--seed", 3, "--meters", METERS, "--json"),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(),
    )  # fmt: skip
    commits = folder / "readings" / "commits"
    try:
        wait_until(lambda: len(list(commits.glob("*.parquet"))) > NIGHTS or running.poll() is not None)
        assert running.poll() is None, running.communicate()
        yield running
    finally:
        if running.poll() is None:
            running.kill()
        running.communicate()


def wait_until(holds: Callable[[], bool], timeout_s: float = 60.0) -> None:
    until = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_an_interrupted_demo_leaves_no_process_and_a_workspace_that_opens(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    folder = tmp_path / "utility"
    with reading_demo(folder) as running:
        (fleet,) = children_of(running.pid)
        assert b"openami.meter.serve" in Path(f"/proc/{fleet}/cmdline").read_bytes()
        running.send_signal(number)
        said, _ = running.communicate(timeout=30)
        wait_until(lambda: not is_running(fleet), timeout_s=20)
    assert running.returncode == code
    if number is signal.SIGINT:
        assert json.loads(said)["error"]["kind"] == "Interrupted"
    with opened(folder) as utility:
        proof = verify_store(utility)
        assert proof.holds, proof.faults
        span = utility.store.days_present("raw")
        assert span is not None
        assert span[0] == FIRST_DAY
        assert proof.rows["raw_intervals"] >= NIGHTS * (METERS + len(AREA_NAMES)) - METERS // 10
        assert utility.door.rederive() == 0 or number is signal.SIGKILL, "every case was in the list"
    claim_folder(folder, "of the next demo")
    assert [path.name for path in folder.iterdir()] == [MARK]


def test_what_no_demo_made_is_not_touched(tmp_path: Path) -> None:
    precious = tmp_path / "utility" / "workspace.toml"
    precious.parent.mkdir()
    precious.write_text("mine")
    ended = subprocess.run(
        ami("demo", "--workspace", precious.parent, "--json"),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment(), timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert json.loads(ended.stdout)["error"]["message"] == "the folder is not empty and no demo made it"
    assert [(path.name, path.read_text()) for path in precious.parent.iterdir()] == [
        ("workspace.toml", "mine")
    ]
    with pytest.raises(FormatError, match="file"):
        claim_folder(precious, "mark")
    assert precious.read_text() == "mine"


def test_a_demo_whose_deletion_was_interrupted_is_still_known_as_one(tmp_path: Path) -> None:
    (tmp_path / f"{MARK}.new").write_text("{")
    claim_folder(tmp_path, "first")
    (tmp_path / "readings").mkdir()
    elsewhere = tmp_path.with_name("elsewhere")
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    (tmp_path / "link").symlink_to(elsewhere)
    claim_folder(tmp_path, "second")
    assert (tmp_path / MARK).read_text() == "second"
    assert {path.name for path in tmp_path.iterdir()} <= {MARK, f"{MARK}.new"}
    assert (elsewhere / "kept").exists(), "a link is removed, not what it leads to"


def test_the_database_of_a_utility_is_no_place_for_a_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAMI_DATABASE", "postgresql+psycopg://utility")
    with pytest.raises(FormatError, match="OPENAMI_DATABASE"):
        claim_folder(tmp_path / "utility", "mark")
    assert not (tmp_path / "utility").exists()

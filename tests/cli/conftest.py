from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path

import orjson
import pytest

from ami_command import Ami, call_ami, command, readings, write_readings


@pytest.fixture
def ami(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ami:
    """Runs the command in this process, in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAMI_WORKSPACE", raising=False)
    monkeypatch.delenv("OPENAMI_DATABASE", raising=False)
    return partial(call_ami, cwd=tmp_path)


@pytest.fixture
def october(ami: Ami, tmp_path: Path) -> Path:
    """A workspace with three days of one household, validated."""
    file = write_readings(tmp_path / "october.csv", readings("HOUSE-1", date(2026, 10, 1), 3))
    assert ami("init").code == 0
    assert ami("import", file).code == 0
    assert ami("vee").code == 0
    return tmp_path / "ami-data"


@pytest.fixture(scope="session")
def meters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three software meters in real time, served by `ami meter serve`; the folder of their site file."""
    folder = tmp_path_factory.mktemp("served")
    arguments = command(
        "meter", "serve", "--meters", 3, "--port", 0, "--write-site", "site.toml", "--json"
    )  # fmt: skip
    with subprocess.Popen(arguments, cwd=folder, stdout=subprocess.PIPE) as process:
        lines = b""
        assert process.stdout is not None
        while not lines.rstrip().endswith(b"}"):
            line = process.stdout.readline()
            assert line, "the meters ended before they listened"
            lines += line
        assert orjson.loads(lines)["meters"] == 3
        yield folder
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.fixture(scope="session")
def billed(meters: Path) -> Path:
    """A folder whose workspace went the whole way: served meters, collected, validated, billed."""
    for arguments in (
        ("init", "--zone", "Europe/Berlin"),
        ("import", "site.toml"),
        ("collect",),
        ("vee",),
        ("tariff", "add", _tariff("household_tou")),
        ("tariff", "assign", "household_tou", "--all"),
    ):
        done = call_ami(*arguments, cwd=meters)
        assert done.code == 0, done.err
    return meters


def _tariff(name: str) -> Path:
    import openami.billing

    return Path(str(openami.billing.__file__)).parent / "tariffs" / f"{name}.toml"


@pytest.fixture
def tariff_file() -> Callable[[str], Path]:
    """A tariff that openami brings with it, by name."""
    return _tariff

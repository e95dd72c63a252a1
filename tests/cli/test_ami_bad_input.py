"""Bad input: a clear error, exit code 2 (1 where the rest was done), and a workspace that still opens."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest

from ami_command import Ami, command, is_root, readings, run_ami, wait_until, write_readings

SITE = """
format = "openami-site"
[[usage_point]]
id = "UP-1"
zone = "Europe/Berlin"
[[meter]]
id = "M-1"
zone = "Europe/Berlin"
{meter}
[[installation]]
meter = "M-1"
usage_point = "UP-1"
valid_from = 2026-10-01T00:00:00+02:00
{more}
"""
PARTIES = """
[[customer]]
id = "C"
name = "C"
[[account]]
id = "A"
customer = "C"
"""
AGREEMENT = """
[[agreement]]
id = "{0}"
account = "A"
usage_point = "UP-1"
tariff = "household_tou"
valid_from = {1}
"""


def _site(folder: Path, *, meter: str = "", more: str = "") -> Path:
    file = folder / "site.toml"
    file.write_text(SITE.format(meter=meter, more=more))
    return file


def _opens(ami: Ami, *workspace: object) -> None:
    assert ami("store", "verify", *workspace).code == 0
    assert ami("exceptions", "list", *workspace).code == 0


def test_no_workspace(ami: Ami) -> None:
    done = ami("vee", "--json")
    assert done.code == 2
    assert done.document["error"]["message"] == "there is no workspace here"
    assert done.document["error"]["expected"] == "a folder made by `ami init`"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("zone = 'Europe/Berlin", "not TOML"),
        ("zone = 'Mars/Olympus'", "Mars/Olympus"),
        ("colour = 'red'", "colour"),
        (b"\xff\xfe\x00", "TOML"),
    ],
)
def test_unreadable_settings(text: str | bytes, said: str, ami: Ami, october: Path) -> None:
    file = october / "workspace.toml"
    before = file.read_bytes()
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = ami("vee", "--json")
    assert done.code == 2
    error = done.document["error"]
    assert said in error["message"]
    assert error["where"].endswith("workspace.toml")
    file.write_bytes(before)
    _opens(ami)


def test_a_database_of_a_newer_openami(ami: Ami, october: Path) -> None:
    with sqlite3.connect(october / "registry.db") as connection:
        (before,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        connection.execute("UPDATE alembic_version SET version_num = '9999_future'")
    done = ami("bill", "list")
    assert done.code == 2
    assert "9999_future" in done.err
    assert "newer" in done.err
    with sqlite3.connect(october / "registry.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (before,))
    _opens(ami)


@pytest.mark.parametrize("column", ["Zeit", "GX"])
def test_a_mapping_that_does_not_fit_the_file(column: str, ami: Ami, october: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("time,GC\n2026-10-01 00:00:00,0.1\n")
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(
        'name = "x"\nformat = "csv"\nlayout = "long"\nzone = "Etc/UTC"\ninterval_s = 1800\n'
        f'[time]\ncolumn = "{column if column == "Zeit" else "time"}"\nclock = "UTC"\nnames = "start"\n'
        '[series]\nid = "H"\n'
        f'[[channel]]\nobis = "1-0:1.29.0"\ncolumn = "{column}"\nunit = "kWh"\nquantum = "Wh"\n'
    )
    done = ami("import", table, "--mapping", mapping)
    assert done.code == 2
    assert column in done.err
    _opens(ami)


def test_a_table_without_mapping_and_a_mapping_nobody_has(ami: Ami, october: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("time,GC\n2026-10-01 00:00:00,0.1\n")
    assert "mapping" in ami("import", table).err
    done = ami("import", table, "--mapping", "nobody", "--json")
    assert done.code == 2
    assert "ausgrid" in done.document["error"]["expected"]


def test_one_unreadable_file_does_not_hide_the_others(ami: Ami, tmp_path: Path) -> None:
    assert ami("init").code == 0
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"\x00\x01")
    write_readings(folder / "b.csv", readings("H", date(2026, 10, 1), 1))
    done = ami("import", folder, "--json")
    assert done.code == 2
    assert [(file["file"], file["stored"]) for file in done.document["files"]] == [
        ("a.bin", False),
        ("b.csv", True),
    ]


def test_a_file_that_is_not_there(ami: Ami, october: Path) -> None:
    done = ami("import", "nowhere.csv", "--json")
    assert (done.code, done.document["error"]["where"]) == (2, "nowhere.csv")


def test_an_exported_table_with_a_row_missing_is_refused_with_its_line(
    ami: Ami, october: Path, tmp_path: Path
) -> None:
    file = tmp_path / "october.csv"
    lines = file.read_text().splitlines(keepends=True)
    (tmp_path / "cut.csv").write_text("".join(lines[:150] + lines[151:]))
    done = ami("import", "cut.csv", "--json")
    assert done.code == 2
    (fault,) = done.document["files"][0]["diagnostics"]
    assert fault["line"] == 98, "the second day begins after the header and 96 rows"
    assert "95 rows" in fault["message"]


@pytest.mark.parametrize("channels", ['["9-0:1.29.0"]', '["hello"]'])
def test_an_unknown_obis_code(channels: str, ami: Ami, october: Path, tmp_path: Path) -> None:
    done = ami("import", _site(tmp_path, meter=f"channels = {channels}"))
    assert done.code == 2
    assert channels[2:-2] in done.err
    _opens(ami)


def test_agreements_that_overlap(ami: Ami, october: Path, tmp_path: Path) -> None:
    both = AGREEMENT.format("AG-1", "2026-10-01") + AGREEMENT.format("AG-2", "2026-10-15")
    done = ami("import", _site(tmp_path, more=PARTIES + both))
    assert done.code == 2
    assert "AG-1" in done.err
    assert "AG-2" in done.err
    _opens(ami)
    assert ami("bill", "--month", "2026-10").code == 2, "nothing of the site file was recorded"


def test_a_tariff_with_a_hole_in_its_calendar(
    ami: Ami, october: Path, tmp_path: Path, tariff_file: Callable[[str], Path]
) -> None:
    text = tariff_file("household_tou").read_text()
    file = tmp_path / "hole.toml"
    file.write_text(text.replace("06:00-22:00", "06:00-21:00"))
    assert file.read_text() != text
    for arguments in (("check", file), ("add", file)):
        done = ami("tariff", *arguments, "--json")
        assert done.code == 2
        assert "hole.toml" in done.document["error"]["where"]
    assert ami("tariff", "list", "--json").document == {"tariffs": []}
    _opens(ami)


def test_names_nobody_knows(ami: Ami, october: Path) -> None:
    for arguments in (
        ("bill", "show", "nope"),
        ("bill", "verify", "nope"),
        ("bill", "cancel", "nope", "--why", "x"),
        ("bill", "rebill", "nope", "--why", "x"),
        ("explain", "nope"),
        ("tariff", "show", "nope"),
        ("tariff", "assign", "nope", "--all"),
        ("exceptions", "show", "nope"),
        ("exceptions", "close", "nope", "--why", "x"),
    ):
        done = ami(*arguments)
        assert (done.code, done.out) == (2, ""), arguments
        assert "nope" in done.err, arguments


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("vee", "--from", "yesterday"), "--from"),
        (("vee", "--from", "2026-10-03", "--to", "2026-10-01"), "before"),
        (("bill",), "no billing period"),
        (("bill", "--month", "2026-13"), "--month"),
        (("bill", "--month", "2026-10", "--from", "2026-10-01"), "one or the other"),
        (("bill", "--month", "2026-10", "list"), "--month stands before list"),
        (("bill", "--month", "2026-10"), "no agreement"),
        (("collect",), "no meter of the registry has an address"),
        (("exceptions", "list", "--kind", "ghost"), "ghost"),
        (("meter", "serve", "--model", "ghost"), "ghost"),
        (("export", "x.csv", "--series", "ghost"), "ghost"),
        (("export", "nowhere/x.csv"), "nowhere: there is no such folder"),
        (("init",), "already"),
    ],
)
def test_arguments_that_mean_nothing(arguments: tuple[str, ...], said: str, ami: Ami, october: Path) -> None:
    done = ami(*arguments)
    assert done.code == 2
    assert said in done.err


def test_a_day_that_has_not_begun(ami: Ami, tmp_path: Path) -> None:
    assert ami("init").code == 0
    assert ami("import", _site(tmp_path, meter='host = "127.0.0.1"\nport = 9')).code == 0
    assert "has not begun" in ami("collect", "--day", "2100-01-01").err


@contextmanager
def _answering(octets: bytes) -> Iterator[int]:
    """A meter that answers everything with the same octets."""

    async def serve(ready: threading.Event, ports: list[int], stop: asyncio.Event) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(4096):
                writer.write(octets)
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await stop.wait()
        server.close()

    loop = asyncio.new_event_loop()
    ready, ports, stop = threading.Event(), [], asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(ready, ports, stop),))
    thread.start()
    assert ready.wait(10)
    yield ports[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


@pytest.mark.parametrize(
    "octets",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        bytes(range(256)),
        b"\x00\x01\x00\x01\x00\x10\xff\xff",
        b"\x00" * 64,
    ],
)
def test_a_meter_that_answers_garbage(octets: bytes, ami: Ami, tmp_path: Path) -> None:
    assert ami("init").code == 0
    with _answering(octets) as port:
        site = _site(tmp_path, meter=f'host = "127.0.0.1"\nport = {port}\npassword = "x"')
        assert ami("import", site).code == 0
        done = ami("collect", "--timeout", "0.2", "--attempts", "1", "--json")
    assert done.code == 1, "the work was done, and one meter was not read"
    (failure,) = done.document["failures"]
    assert failure["meter_id"] == "M-1"
    assert failure["reason"]
    assert ami("exceptions", "list", "--kind", "read_failed", "--json").document["exceptions"]
    _opens(ami)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two MiB."""
    if not is_root():
        pytest.skip("a small disk is mounted by root only")
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True)
    if made.returncode:
        pytest.skip(f"no tmpfs here: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as stream:
        while os.statvfs(ballast.parent).f_bavail > 1:
            stream.write(b"x" * 4096)


def test_a_full_disk_while_storing(small_disk: Path, ami: Ami, tmp_path: Path) -> None:
    workspace = small_disk / "ws"
    small = write_readings(tmp_path / "a.csv", readings("H", date(2026, 1, 1), 2))
    assert ami("init", "-w", workspace).code == 0
    assert ami("import", small, "-w", workspace).code == 0
    before = ami("export", "before.csv", "--stage", "raw", "-w", workspace)
    assert before.code == 0
    ballast = small_disk / "ballast"
    _fill(ballast)
    large = write_readings(tmp_path / "b.csv", readings("H", date(2026, 3, 1), 100))
    done = ami("import", large, "-w", workspace)
    assert done.code == 2
    assert "No space left on device" in done.err or "full" in done.err
    ballast.unlink()
    _opens(ami, "-w", workspace)
    assert ami("export", "after.csv", "--stage", "raw", "-w", workspace).code == 0
    assert (tmp_path / "after.csv").read_bytes() == (tmp_path / "before.csv").read_bytes()


@pytest.mark.parametrize("form", ["csv", "parquet", "espi"])
def test_an_export_to_a_full_disk_leaves_no_half_file(
    form: str, small_disk: Path, ami: Ami, tmp_path: Path
) -> None:
    assert ami("init").code == 0
    file = write_readings(tmp_path / "a.csv", readings("H", date(2026, 1, 1), 30))
    assert ami("import", file).code == 0
    target = small_disk / "out"
    target.write_text("the one before")
    _fill(small_disk / "ballast")
    done = ami("export", target, "--stage", "raw", "--format", form, "--json")
    assert done.code == 2
    assert "No space left" in done.document["error"]["message"]
    assert target.read_text() == "the one before"
    assert sorted(path.name for path in small_disk.iterdir()) == ["ballast", "out"]


def test_a_folder_that_cannot_be_written(october: Path, ami: Ami, tmp_path: Path) -> None:
    if is_root():
        pytest.skip("root may write everywhere")
    october.chmod(0o500)
    done = ami("import", _site(tmp_path))
    october.chmod(0o700)
    assert done.code == 2


def test_two_at_once_lose_nothing(ami: Ami, tmp_path: Path) -> None:
    assert ami("init").code == 0
    files = [
        write_readings(tmp_path / f"{name}.csv", readings(name, date(2026, 10, 1), 20)) for name in ("A", "B")
    ]
    running = [
        subprocess.Popen(command("import", file, "--json"), cwd=tmp_path, stdout=subprocess.PIPE)
        for file in files
    ]
    for process in running:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert ami("store", "info", "--json").document["rows"]["raw_intervals"] == 40
    _opens(ami)


@pytest.mark.parametrize("delay_s", [0.0, 0.05])
def test_termination_while_importing_leaves_whole_files_or_nothing(
    delay_s: float, ami: Ami, tmp_path: Path
) -> None:
    assert ami("init").code == 0
    names = [f"S{number:02d}" for number in range(12)]
    for name in names:
        write_readings(tmp_path / f"{name}.csv", readings(name, date(2026, 10, 1), 5))
    process = subprocess.Popen(
        command("import", *(f"{name}.csv" for name in names)), cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    commits = tmp_path / "ami-data" / "readings" / "commits"
    wait_until(lambda: any(commits.glob("**/*.parquet")) or process.poll() is not None)
    time.sleep(delay_s)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) in (128 + signal.SIGTERM, 0)
    assert ami("store", "info", "--json").document["rows"]["raw_intervals"] % 5 == 0
    _opens(ami)
    assert ami("import", *(f"{name}.csv" for name in names)).code == 0
    assert ami("store", "info", "--json").document["rows"]["raw_intervals"] == 60


def test_termination_while_collecting_ends_at_once(ami: Ami, tmp_path: Path) -> None:
    assert ami("init").code == 0
    with _answering(b"") as port:
        assert ami("import", _site(tmp_path, meter=f'host = "127.0.0.1"\nport = {port}')).code == 0
        process = subprocess.Popen(
            command("collect", "--timeout", "30"), cwd=tmp_path, stderr=subprocess.PIPE, text=True
        )
        time.sleep(2.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=10)
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in said
    _opens(ami)


def test_whoever_reads_our_output_may_stop(october: Path, tmp_path: Path) -> None:
    reading = subprocess.Popen(
        command("export", "--help"), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert reading.stdout is not None
    assert reading.stderr is not None
    reading.stdout.close()
    assert b"Traceback" not in reading.stderr.read()
    reading.wait(20)
    reading.stderr.close()


def test_tables_are_not_cut_off_in_a_pipe(ami: Ami, tmp_path: Path) -> None:
    assert ami("init").code == 0
    name = "A-HOUSE-WITH-A-VERY-LONG-NAME-" + "X" * 120
    assert (
        ami("import", write_readings(tmp_path / f"{name}.csv", readings("H", date(2026, 10, 1), 1))).code == 0
    )
    assert f"{name}.csv" in run_ami("import", f"{name}.csv", cwd=tmp_path).out

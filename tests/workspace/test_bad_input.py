"""Bad input: a clear error, nothing stored, and a workspace that opens afterwards."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from openami.mdm.formats import Mapping, Policy
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import FormatError, RegistryError, SecurityError, StoreError
from openami.registry.entities import Agreement
from openami.security.keyring import MeterCredentials
from openami.security.secret import Secret
from openami.workspace.importing import Keeping, import_file
from openami.workspace.meter_access import passwords_of, put_credentials
from openami.workspace.settings import (
    Settings,
    read_settings,
    write_settings,
)
from openami.workspace.workspace import Workspace
from workspace_world import contents, flat_days, nem12, reopened, write

SITE = """
format = "openami-site"
[[usage_point]]
id = "UP1"
zone = "Europe/Berlin"
[[meter]]
id = "M1"
zone = "Europe/Berlin"
password = "secret"
[[installation]]
meter = "M1"
usage_point = "UP1"
valid_from = 2026-01-01T00:00:00+01:00
[[customer]]
id = "C1"
name = "A customer"
[[account]]
id = "A1"
customer = "C1"
[[agreement]]
id = "AG1"
account = "A1"
usage_point = "UP1"
tariff = "household"
valid_from = 2026-01-01
"""


def test_overlapping_agreements_are_refused_and_both_named(workspace: Workspace, tmp_path: Path) -> None:
    import_file(workspace, write(tmp_path, "site.toml", SITE), policy=Policy.STRICT)
    before = contents(workspace)
    second = (
        SITE.split("[[agreement]]")[0].replace("A customer", "Renamed")
        + """
        [[agreement]]
        id = "AG2"
        account = "A1"
        usage_point = "UP1"
        tariff = "other"
        valid_from = 2026-06-01
        """
    )
    with pytest.raises(RegistryError) as error:
        import_file(workspace, write(tmp_path, "second.toml", second), policy=Policy.STRICT)
    assert str(error.value) == (
        "usage point UP1: agreement AG1 at UP1 from 2026-01-01 overlaps agreement AG2 at UP1 from 2026-06-01"
    )
    assert reopened(workspace) == before
    assert workspace.registry.customer("C1").name == "A customer"


def test_overlapping_installations_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    import_file(workspace, write(tmp_path, "site.toml", SITE), policy=Policy.STRICT)
    before = contents(workspace)
    second = SITE.split("[[customer]]")[0].replace('"M1"', '"M2"')
    with pytest.raises(RegistryError, match=r"meter M2 at UP1 .* overlaps installation of meter M1"):
        import_file(workspace, write(tmp_path, "second.toml", second), policy=Policy.STRICT)
    assert reopened(workspace) == before


def test_an_unknown_obis_code_in_a_site_file_is_named(workspace: Workspace, tmp_path: Path) -> None:
    before = contents(workspace)
    text = SITE.replace('password = "secret"', 'channels = ["1-0:1.29.0", "1-0:77.29.0", "1-0:1.8.0", "x"]')
    with pytest.raises(FormatError) as error:
        import_file(workspace, write(tmp_path, "site.toml", text), policy=Policy.STRICT)
    lines = error.value.message.splitlines()
    assert lines[0] == "3 faults:"
    assert lines[1] == "- meter.1.channels.2: Value error, OBIS code 1-0:77.29.0 is not in the catalogue"
    assert lines[2].startswith("- meter.1.channels.3: Value error, 1-0:1.8.0 (")
    assert "no quantity of an interval" in lines[2]
    assert lines[3].startswith("- meter.1.channels.4: Value error, 'x' is not an OBIS code")
    assert reopened(workspace) == before


MANY_FAULTS = """
format = "openami-site"
colour = "green"
[[usage_point]]
id = ""
zone = "Europe/Atlantis"
kind = "house"
[[meter]]
id = "M1"
zone = "Mars"
port = 70000
interval_s = 0
[[installation]]
meter = "M1"
usage_point = "UP1"
valid_from = 2026-01-01T00:00:00
[[installation]]
meter = "M1"
valid_from = 2026-01-01
[[multiplier]]
meter = "M1"
ct = [200, 0]
valid_from = 2026-01-01T00:00:00Z
[[account]]
id = "A1"
customer = "C1"
currency = "euro"
[[agreement]]
id = "AG1"
account = "A1"
usage_point = "UP1"
tariff = "household"
valid_from = "tomorrow"
"""


def test_a_site_file_with_many_faults_is_refused_with_all_of_them(
    workspace: Workspace, tmp_path: Path
) -> None:
    before = contents(workspace)
    with pytest.raises(FormatError) as error:
        import_file(workspace, write(tmp_path, "site.toml", MANY_FAULTS), policy=Policy.STRICT)
    places = [line.split(":")[0].removeprefix("- ") for line in error.value.message.splitlines()[1:]]
    assert sorted(places) == [
        "account.1.currency",
        "agreement.1.valid_from",
        "colour",
        "installation.1.valid_from",
        "installation.2.usage_point",
        "installation.2.valid_from",
        "meter.1.interval_s",
        "meter.1.port",
        "meter.1.zone",
        "multiplier.1.ct.2",
        "usage_point.1.id",
        "usage_point.1.kind",
        "usage_point.1.zone",
    ]
    assert str(error.value).startswith(str(tmp_path / "site.toml"))
    assert reopened(workspace) == before


def test_faults_between_the_rows_of_a_site_file_are_all_listed(workspace: Workspace, tmp_path: Path) -> None:
    before = contents(workspace)
    text = (
        SITE.replace('customer = "C1"', 'customer = "C9"')
        .replace('account = "A1"', 'account = "A9"')
        .replace('meter = "M1"', 'meter = "M9"')
    )
    with pytest.raises(RegistryError) as error:
        import_file(workspace, write(tmp_path, "site.toml", text), policy=Policy.STRICT)
    for unknown in ("customer C9", "account A9", "meter M9"):
        assert f"unknown {unknown}" in str(error.value)
    assert reopened(workspace) == before
    assert not (workspace.folder / "keyring.sqlite").exists()


@pytest.mark.parametrize(
    "text", ['format = "openami-site"\n[[meter', "# openami-site\n\xff = 1", "openami-site"]
)
def test_a_site_file_that_is_no_toml_is_refused(workspace: Workspace, tmp_path: Path, text: str) -> None:
    path = tmp_path / "site.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError, match=r"site\.toml: not TOML"):
        import_file(workspace, path, policy=Policy.STRICT)


def test_a_wrong_mapping_is_refused_with_the_columns_that_are_there(
    workspace: Workspace, tmp_path: Path
) -> None:
    before = contents(workspace)
    file = write(tmp_path, "table.csv", "meter,at,wh\nA,2024-01-15 00:00:00,7\n")
    report = import_file(workspace, file, policy=Policy.STRICT, mapping=Mapping.load("ausgrid"))
    assert not report.stored
    assert {fault.code for fault in report.diagnostics} == {"missing_column"}
    assert all("wh" in str(fault) for fault in report.diagnostics)
    assert reopened(workspace) == before
    with pytest.raises(FormatError, match="no mapping 'nobody'"):
        Mapping.load("nobody")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"\x7fELF\x02\x01\x01\x00", "unknown_format"),
        (b"hello", "unknown_format"),
        (b"a,b\n1,2\n", "no_mapping"),
        (b"PK\x03\x04 not a zip", "archive"),
        (b"\x1f\x8b\x08 not gzip", "archive"),
    ],
)
def test_a_file_of_no_known_format_is_refused(
    workspace: Workspace, tmp_path: Path, content: bytes, code: str
) -> None:
    before = contents(workspace)
    path = tmp_path / "file.bin"
    path.write_bytes(content)
    for keeping in Keeping:
        report = import_file(workspace, path, policy=Policy.STRICT, keeping=keeping)
        assert (report.stored, report.ok, report.seq) == (False, False, None)
        assert [fault.code for fault in report.diagnostics] == [code]
    assert reopened(workspace) == before


def test_of_a_broken_file_nothing_is_stored_or_its_good_days(workspace: Workspace, tmp_path: Path) -> None:
    days = flat_days(1, 4)
    days[1] = (days[1][0], ["-"] * 48)
    file = write(
        tmp_path, "a.csv", nem12(("NMI0000001", "M1", "E1", days), ("NMI0000002", "M2", "E1", days[1:2]))
    )
    before = contents(workspace)
    report = import_file(workspace, file, policy=Policy.STRICT)
    assert (report.stored, report.ok) == (False, False)
    assert {fault.line for fault in report.diagnostics} == {4, 8}
    assert reopened(workspace) == before
    report = import_file(workspace, file, policy=Policy.STRICT, keeping=Keeping.GOOD_PARTS)
    assert (report.stored, report.ok, report.blocks, report.new_meters) == (True, False, 3, 1)
    after = reopened(workspace)
    assert (after.meters, after.rows["raw_intervals"], after.rows["evidence"]) == (("M1",), 3, 3)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True, check=False
        )
    except OSError as error:
        pytest.skip(f"no small disk can be mounted: {error}")
    if made.returncode:
        pytest.skip(f"no small disk can be mounted: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def many_readings(folder: Path, meters: int) -> Path:
    """A NEM12 file of meters with 28 days each whose values do not compress well."""
    streams = []
    for meter in range(meters):
        days = [
            (
                f"202402{day + 1:02d}",
                [f"{(7919 * (meter * 1344 + day * 48 + n) ** 2) % 100003 / 1000:.3f}" for n in range(48)],
            )
            for day in range(28)
        ]
        streams.append((f"NMI{meter:07d}", f"M{meter}", "E1", days))
    return write(folder, f"{meters}-meters.csv", nem12(*streams))


def fill(disk: Path, *, leave: int) -> Path:
    """Put a file on a disk that leaves so many bytes free."""
    ballast = disk / "ballast"
    state = os.statvfs(disk)
    with ballast.open("wb") as stream:
        stream.write(bytes(max(0, state.f_bavail * state.f_bsize - leave)))
    return ballast


@pytest.mark.parametrize("leave", [0, 100_000, 300_000, 900_000])
def test_a_full_disk_refuses_the_file_and_the_workspace_opens_as_before(
    small_disk: Path, tmp_path: Path, leave: int
) -> None:
    workspace = Workspace.create(small_disk / "utility", Settings())
    small, big = many_readings(tmp_path, 2), many_readings(tmp_path, 100)
    assert import_file(workspace, small, policy=Policy.STRICT).stored
    before = contents(workspace)
    ballast = fill(small_disk, leave=leave)
    with pytest.raises((StoreError, RegistryError), match=r"No space left|full"):
        import_file(workspace, big, policy=Policy.STRICT)
    workspace.close()
    reader = Workspace.open(small_disk / "utility")
    after = contents(reader)
    assert (after.seq, after.rows) == (before.seq, before.rows)
    if leave in (0, 900_000):  # between them the meters may be recorded, and no room left to take them back
        assert after == before
    ballast.unlink()
    assert import_file(reader, small, policy=Policy.STRICT).duplicates == 56
    assert import_file(reader, big, policy=Policy.STRICT).blocks == 2800
    assert len(contents(reader).installations) == 100
    reader.close()


def test_settings_and_keyring_survive_a_full_disk(small_disk: Path) -> None:
    workspace = Workspace.create(small_disk / "utility", Settings(name="before"))
    workspace.close()
    folder = small_disk / "utility"
    put_credentials(folder, {"M1": MeterCredentials(Secret(b"one"))})
    fill(small_disk, leave=0)
    with pytest.raises(StoreError, match="No space left"):
        write_settings(folder, Settings(name="x" * 100_000))
    with pytest.raises(SecurityError, match="keyring"):
        put_credentials(folder, {f"M{n}": MeterCredentials(Secret(b"secret")) for n in range(10_000)})
    assert read_settings(folder).name == "before"
    assert passwords_of(folder, ["M1", "M7"]) == {"M1": b"one"}
    assert sorted(path.name for path in folder.iterdir() if path.name.endswith(".new")) == []


def test_a_workspace_whose_agreement_lost_its_tariff_still_opens(
    workspace: Workspace, tmp_path: Path
) -> None:
    import_file(workspace, write(tmp_path, "site.toml", SITE), policy=Policy.STRICT)
    assert workspace.registry.agreements() == [Agreement("AG1", "A1", "UP1", "household", date(2026, 1, 1))]
    report = workspace.bills.bill_many(["AG1"], date(2026, 1, 1), date(2026, 2, 1))
    assert [str(one.error) for one in report.refused]
    other = Workspace.open(workspace.folder, SimulatedClock(workspace.clock.now()))
    assert other.bills.bills() == []
    other.close()

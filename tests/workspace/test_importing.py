"""A file becomes meters, usage points and readings; the same file again changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from openami.mdm.formats import Mapping, Policy
from openami.quantities.errors import FormatError, StoreError
from openami.quantities.obis import EXPORT_INTERVAL, IMPORT_INTERVAL
from openami.readings.door import Batch, Receipt
from openami.registry.entities import Installation, Meter, UsagePoint
from openami.workspace.importing import FileReport, Keeping, files_below, import_file, import_files
from openami.workspace.workspace import Workspace
from workspace_world import contents, flat_days, nem12, reopened, write

NMI = "NMI0000001"
MARCH_1 = datetime(2024, 2, 29, 14, tzinfo=UTC)
"""1 March 2024 in NEM time (UTC+10)."""


def strictly(workspace: Workspace, path: Path) -> FileReport:
    return import_file(workspace, path, policy=Policy.STRICT)


def installed(workspace: Workspace) -> list[tuple[str, str, str, str | None]]:
    return [
        (
            row.meter_id,
            row.usage_point_id,
            f"{row.valid_from:%m-%d %H}",
            None if row.valid_to is None else f"{row.valid_to:%m-%d %H}",
        )
        for row in workspace.registry.installations()
    ]


def test_a_file_alone_is_enough_to_start(workspace: Workspace, tmp_path: Path) -> None:
    days = flat_days(1, 2)
    file = write(tmp_path, "a.csv", nem12((NMI, "M1", "E1", days), (NMI, "M1", "B1", days)))
    report = strictly(workspace, file)
    assert (report.stored, report.intervals, report.blocks, report.new_meters) == (True, 192, 4, 1)
    assert workspace.registry.meters() == [
        Meter("M1", "file", "", 0, 0, "Australia/Brisbane", 1800, 9, 0, (IMPORT_INTERVAL, EXPORT_INTERVAL))
    ]
    assert workspace.registry.usage_points() == [
        UsagePoint(NMI, "Australia/Brisbane", None, "customer", None, "residential")
    ]
    assert workspace.registry.installations() == [Installation("M1", NMI, MARCH_1)]
    vee = workspace.vee().run(date(2024, 3, 1), date(2024, 3, 3))
    assert (vee.intervals_expected, vee.intervals_measured) == (192, 192)


def test_the_same_file_again_changes_nothing(workspace: Workspace, tmp_path: Path) -> None:
    file = write(tmp_path, "a.csv", nem12((NMI, "M1", "E1", flat_days(1, 3))))
    first = strictly(workspace, file)
    before, revision = contents(workspace), workspace.registry.revision
    again = strictly(workspace, file)
    assert (again.stored, again.seq, again.duplicates, again.conflicts) == (True, first.seq, 3, 0)
    assert again.new_meters == 0
    assert contents(workspace) == before
    assert workspace.registry.revision == revision


TABLE = Mapping.from_toml(
    """
    name = "table"
    layout = "long"
    zone = "Europe/London"
    interval_s = 1800
    [time]
    column = "at"
    clock = "UTC"
    names = "start"
    [series]
    column = "meter"
    [[channel]]
    obis = "1-0:1.29.0"
    column = "wh"
    unit = "Wh"
    quantum = "Wh"
    """
)


def table(folder: Path, name: str = "table.csv", value: int = 7) -> Path:
    rows = [f"A,2024-01-15 {half // 2:02d}:{half % 2 * 30:02d}:00,{value}" for half in range(48)]
    return write(folder, name, "\n".join(["meter,at,wh", *rows, ""]))


def test_a_table_is_as_old_as_its_file_so_that_it_may_come_again(
    workspace: Workspace, tmp_path: Path
) -> None:
    file = table(tmp_path)
    written = datetime(2024, 2, 1, 12, tzinfo=UTC)
    os.utime(file, (written.timestamp(), written.timestamp()))
    first = import_file(workspace, file, policy=Policy.STRICT, mapping=TABLE)
    again = import_file(workspace, file, policy=Policy.STRICT, mapping=TABLE)
    assert (again.seq, again.duplicates) == (first.seq, 1)
    (block,) = workspace.store.raw(["A"], None, date(2024, 1, 15), date(2024, 1, 16))
    assert block.captured_at == written


def test_of_two_tables_the_one_written_later_counts_in_whatever_order_they_come(
    workspace: Workspace, tmp_path: Path
) -> None:
    old, new = table(tmp_path, "old.csv", 7), table(tmp_path, "new.csv", 9)
    os.utime(old, (1_700_000_000, 1_700_000_000))
    os.utime(new, (1_700_000_100, 1_700_000_100))
    for file in (new, old):
        import_file(workspace, file, policy=Policy.STRICT, mapping=TABLE)
    (block,) = workspace.store.raw(["A"], None, date(2024, 1, 15), date(2024, 1, 16))
    assert block.values.tolist() == [9] * 48


def test_a_file_from_the_future_was_obtained_now(workspace: Workspace, tmp_path: Path) -> None:
    file = table(tmp_path)
    os.utime(file, (4_000_000_000, 4_000_000_000))
    import_file(workspace, file, policy=Policy.STRICT, mapping=TABLE)
    (block,) = workspace.store.raw(["A"], None, date(2024, 1, 15), date(2024, 1, 16))
    assert block.captured_at == workspace.clock.now()


def test_the_zone_asked_for_counts_instead_of_the_mapping_s(workspace: Workspace, tmp_path: Path) -> None:
    import_file(workspace, table(tmp_path), policy=Policy.STRICT, mapping=TABLE, zone="Europe/Berlin")
    assert workspace.registry.usage_point("A").zone == "Europe/Berlin"
    blocks = workspace.store.raw(["A"], None, date(2024, 1, 15), date(2024, 1, 17))
    assert [(str(block.day.day), int((~block.missing).sum())) for block in blocks] == [
        ("2024-01-15", 46),
        ("2024-01-16", 2),
    ]


def test_a_meter_whose_days_are_counted_in_another_zone_is_refused_before_it_spoils_validation(
    workspace: Workspace, tmp_path: Path
) -> None:
    import_file(workspace, table(tmp_path), policy=Policy.STRICT, mapping=TABLE)
    before = contents(workspace)
    file = table(tmp_path, "later.csv")
    for keeping in Keeping:
        report = import_file(
            workspace, file, policy=Policy.STRICT, mapping=TABLE, zone="Europe/Berlin", keeping=keeping
        )
        assert not report.ok
        assert not report.stored
        (fault,) = report.diagnostics
        assert fault.message == "days of meter A are counted in Europe/Berlin"
        assert fault.expected == "Europe/London, as usage point A"
        assert contents(workspace) == before


def test_two_meters_of_one_nmi_at_one_time_get_a_usage_point_each(
    workspace: Workspace, tmp_path: Path
) -> None:
    days = flat_days(1, 2)
    file = write(tmp_path, "a.csv", nem12((NMI, "M1", "E1", days), (NMI, "M2", "E2", days)))
    assert strictly(workspace, file).new_meters == 2
    assert installed(workspace) == [("M1", NMI, "02-29 14", None), ("M2", f"{NMI}/M2", "02-29 14", None)]
    assert strictly(workspace, file).duplicates == 4


def test_a_meter_that_follows_another_at_an_nmi_is_an_exchange(workspace: Workspace, tmp_path: Path) -> None:
    one = write(tmp_path, "a.csv", nem12((NMI, "M1", "E1", flat_days(1, 3))))
    two = write(tmp_path, "b.csv", nem12((NMI, "M2", "E1", flat_days(4, 3))))
    both = write(
        tmp_path, "c.csv", nem12(("NMI2", "X1", "E1", flat_days(1, 3)), ("NMI2", "X2", "E1", flat_days(4, 3)))
    )
    for file in (one, two, both):
        strictly(workspace, file)
    assert installed(workspace) == [
        ("M1", NMI, "02-29 14", "03-03 14"),
        ("M2", NMI, "03-03 14", None),
        ("X1", "NMI2", "02-29 14", "03-03 14"),
        ("X2", "NMI2", "03-03 14", None),
    ]
    vee = workspace.vee().run(date(2024, 3, 1), date(2024, 3, 7), usage_point_ids=[NMI])
    assert (vee.intervals_measured, vee.exceptions) == (6 * 48, {"meter_exchange": 1})


def test_files_of_an_exchange_may_come_in_any_order(workspace: Workspace, tmp_path: Path) -> None:
    one = write(tmp_path, "a.csv", nem12((NMI, "M1", "E1", flat_days(1, 3))))
    two = write(tmp_path, "b.csv", nem12((NMI, "M2", "E1", flat_days(4, 3))))
    strictly(workspace, two)
    strictly(workspace, one)
    assert installed(workspace) == [("M1", NMI, "02-29 14", "03-03 14"), ("M2", NMI, "03-03 14", None)]


def test_readings_of_a_meter_that_was_taken_down_are_told(workspace: Workspace, tmp_path: Path) -> None:
    for name, serial, first in (("a.csv", "M1", 1), ("b.csv", "M2", 4), ("c.csv", "M1", 7)):
        report = strictly(workspace, write(tmp_path, name, nem12((NMI, serial, "E1", flat_days(first, 3)))))
    (warning,) = report.diagnostics
    assert report.stored
    assert warning.code == "not_installed"
    assert "M1 has readings from 2024-03-06T14:00:00Z on" in warning.message


def test_an_older_file_lets_the_installation_begin_earlier(workspace: Workspace, tmp_path: Path) -> None:
    for name, first in (("a.csv", 8), ("b.csv", 1)):
        report = strictly(workspace, write(tmp_path, name, nem12((NMI, "M1", "E1", flat_days(first, 2)))))
        assert report.diagnostics == ()
    assert installed(workspace) == [("M1", NMI, "02-29 14", None)]


def test_a_channel_that_a_later_file_brings_is_validated_too(workspace: Workspace, tmp_path: Path) -> None:
    strictly(workspace, write(tmp_path, "a.csv", nem12((NMI, "M1", "E1", flat_days(1, 2)))))
    strictly(workspace, write(tmp_path, "b.csv", nem12((NMI, "M1", "B1", flat_days(1, 2)))))
    assert workspace.registry.meter("M1").channels == (IMPORT_INTERVAL, EXPORT_INTERVAL)
    assert workspace.vee().run(date(2024, 3, 1), date(2024, 3, 3)).intervals_measured == 4 * 48


def test_one_serial_number_at_two_nmis_is_two_meters(workspace: Workspace, tmp_path: Path) -> None:
    strictly(workspace, write(tmp_path, "a.csv", nem12((NMI, "M1", "E1", flat_days(1, 2, "0.100")))))
    file = write(tmp_path, "b.csv", nem12(("NMI2", "M1", "E1", flat_days(1, 2, "0.900"))))
    report = strictly(workspace, file)
    assert (report.new_meters, report.conflicts) == (1, 0)
    assert installed(workspace) == [("M1", NMI, "02-29 14", None), ("NMI2/M1", "NMI2", "02-29 14", None)]
    for series, wh in (("M1", 100), ("NMI2/M1", 900)):
        for block in workspace.store.raw([series], None, date(2024, 3, 1), date(2024, 3, 3)):
            assert np.all(block.values == wh)
            assert workspace.store.evidence([block.evidence_id or ""])
    assert strictly(workspace, file).duplicates == 2


def test_what_the_registry_says_of_a_meter_is_not_changed_by_a_file(
    workspace: Workspace, tmp_path: Path
) -> None:
    site = """
        format = "openami-site"
        [[usage_point]]
        id = "HOUSE"
        zone = "Australia/Brisbane"
        [[meter]]
        id = "M1"
        zone = "Australia/Brisbane"
        interval_s = 1800
        [[installation]]
        meter = "M1"
        usage_point = "HOUSE"
        valid_from = 2024-03-02T00:00:00+10:00
    """
    assert strictly(workspace, write(tmp_path, "site.toml", site)).new_meters == 1
    meter, rows = workspace.registry.meter("M1"), workspace.registry.installations()
    file = write(
        tmp_path, "a.csv", nem12((NMI, "M1", "E1", flat_days(1, 3)), (NMI, "M1", "B1", flat_days(1, 3)))
    )
    report = strictly(workspace, file)
    assert report.stored
    assert {warning.code for warning in report.diagnostics} == {"channel", "not_installed", "usage_point"}
    assert report.ok
    assert (workspace.registry.meter("M1"), workspace.registry.installations()) == (meter, rows)


class Refusing:
    """A door whose store has no room."""

    def put(self, batch: Batch) -> Receipt:
        raise StoreError("cannot be written: No space left on device")


def test_a_refusal_of_the_store_takes_the_meters_back(workspace: Workspace, tmp_path: Path) -> None:
    strictly(workspace, write(tmp_path, "a.csv", nem12((NMI, "M1", "E1", flat_days(4, 3)))))
    before = contents(workspace)
    later = write(
        tmp_path,
        "b.csv",
        nem12(
            (NMI, "M1", "B1", flat_days(1, 3)),
            (NMI, "M2", "E1", flat_days(20, 3)),
            ("NMI2", "M3", "E1", flat_days(1, 2)),
        ),
    )
    door = workspace.door
    workspace.door = Refusing()  # type: ignore[assignment]
    with pytest.raises(StoreError, match="No space left"):
        strictly(workspace, later)
    assert contents(workspace) == before
    assert workspace.registry.meter("M1").channels == (IMPORT_INTERVAL,)
    workspace.door = door
    assert strictly(workspace, later).stored
    assert installed(workspace) == [
        ("M1", NMI, "02-29 14", "03-19 14"),
        ("M2", NMI, "03-19 14", None),
        ("M3", "NMI2", "02-29 14", None),
    ]


KILLED = """
    import os, sys
    from pathlib import Path
    from openami.mdm.formats import Policy
    from openami.workspace.importing import import_file
    from openami.workspace.workspace import Workspace

    class Killed:
        def put(self, batch):
            os.kill(os.getpid(), 9)

    workspace = Workspace.open(Path(sys.argv[1]))
    workspace.door = Killed()
    import_file(workspace, Path(sys.argv[2]), policy=Policy.STRICT)
"""


def test_an_import_killed_before_its_readings_is_completed_by_the_next(
    workspace: Workspace, tmp_path: Path
) -> None:
    file = write(
        tmp_path,
        "a.csv",
        nem12((NMI, "M1", "E1", flat_days(1, 3)), (NMI, "M2", "E1", flat_days(4, 3))),
    )
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(workspace.folder), str(file)]
    assert subprocess.run(command, check=False, timeout=60).returncode == -9
    left = reopened(workspace)
    assert (left.meters, left.seq, left.rows["raw_intervals"]) == (("M1", "M2"), 0, 0)
    report = strictly(workspace, file)
    assert (report.stored, report.blocks, report.new_meters) == (True, 6, 0)
    assert installed(workspace) == [("M1", NMI, "02-29 14", "03-03 14"), ("M2", NMI, "03-03 14", None)]
    assert workspace.vee().run(date(2024, 3, 1), date(2024, 3, 7)).intervals_measured == 6 * 48


def test_folders_are_walked_in_the_order_of_names_and_progress_is_told(
    workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    names = ["deep/b.csv", "a.csv", "c.csv"]
    for number, name in enumerate(names):
        write(tmp_path / "in", name, nem12((f"NMI{number}", f"M{number}", "E1", flat_days(1, 1))))
    seen: list[tuple[int, int]] = []
    paths = files_below([tmp_path / "in"])
    reports = import_files(
        workspace, paths, policy=Policy.STRICT, progress=lambda done, total: seen.append((done, total))
    )
    assert [report.file for report in reports] == ["a.csv", "c.csv", "b.csv"]
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_file_that_is_not_there_is_named(workspace: Workspace, tmp_path: Path) -> None:
    for name in ("nothing.csv", "nothing.toml"):
        with pytest.raises(FormatError, match=f"{name}: cannot be opened"):
            strictly(workspace, tmp_path / name)

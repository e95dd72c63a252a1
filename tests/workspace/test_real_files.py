"""Files of others go through one workspace each: every valid one is stored, every broken one refused."""

from __future__ import annotations

import gzip
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from openami.mdm.formats import Mapping, Policy, read_file
from openami.quantities.errors import BillingError, TariffError
from openami.workspace.agreements import assign_tariff
from openami.workspace.importing import FileReport, Keeping, files_below, import_file
from openami.workspace.workspace import Workspace
from workspace_world import MakeWorkspace, contents, reopened

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


@pytest.fixture(scope="module")
def mdms(shared_data: Path) -> Path:
    return shared_data / "mdms"


def imported(workspace: Workspace, paths: list[Path], **options: object) -> dict[str, FileReport]:
    policy = options.pop("policy", Policy.STRICT)
    return {
        path.name: import_file(workspace, path, policy=policy, **options)  # type: ignore[arg-type]
        for path in paths
    }


def test_all_valid_nem12_and_nem13_files_go_into_one_workspace(
    make_workspace: MakeWorkspace, mdms: Path
) -> None:
    paths = [path for path in files_below([mdms / "nem12" / "examples"]) if path.parent.name != "invalid"]
    workspace = make_workspace("nem", zone="Australia/Brisbane", currency="AUD")
    reports = imported(workspace, paths)
    assert Counter(report.format for report in reports.values()) == {"nem12": 106, "nem13": 63}
    assert [name for name, report in reports.items() if not (report.ok and report.stored)] == []
    # One device of the publisher's examples is METSER123 at four NMIs, another SerialBMP1 at eight.
    meters = {meter.meter_id for meter in workspace.registry.meters()}
    assert sorted(name for name in meters if "/" in name) == [
        "CCCC123456/METSER123", "NCDE001111/METSER123", "NEM1312026/SerialBMP1", "NEM1313046/SerialBMP1",
        "NEM1314066/SerialBMP1", "NEM1315086/SerialBMP1", "NEM1316106/SerialBMP1", "NEM1317126/SerialBMP1",
        "NEM1318146/SerialBMP1", "VABC005890/METSER123",
    ]  # fmt: skip
    shared = [
        point.usage_point_id for point in workspace.registry.usage_points() if "/" in point.usage_point_id
    ]
    assert "NCDE001111/METSER456" in shared
    assert "NDDD001888/METSER992" in shared
    # Scenario 10 exchanges a meter after the first day.
    exchanged = workspace.registry.installations(usage_point_id="NEM1210190")
    assert [(row.meter_id, row.valid_to is None) for row in exchanged] == [("10190", False), ("101902", True)]
    before, revision = contents(workspace), workspace.registry.revision
    again = imported(workspace, paths)
    assert all(report.duplicates == report.blocks + report.register_reads for report in again.values())
    assert contents(workspace) == before
    assert workspace.registry.revision == revision
    # Scenario 5 changes the interval from 15 to 30 minutes.
    report = workspace.vee().run(date(2005, 3, 20), date(2005, 3, 24), usage_point_ids=["NEM1205082"])
    finals = workspace.store.final(["NEM1205082"], None, date(2005, 3, 20), date(2005, 3, 24))
    assert [block.interval_s for block in finals] == [900, 900, 1800, 1800]
    assert report.intervals_expected == 2 * 96 + 2 * 48


def test_every_broken_nem12_file_is_refused_with_its_line_and_nothing_of_it_stays(
    make_workspace: MakeWorkspace, mdms: Path
) -> None:
    paths = files_below([mdms / "nem12" / "examples" / "invalid"])
    workspace = make_workspace("invalid", zone="Australia/Brisbane")
    before = contents(workspace)
    reports = imported(workspace, paths)
    assert len(reports) == 11
    assert [name for name, report in reports.items() if report.stored or report.ok] == []
    empty = {"Example_empty_file.csv"}
    lines = {name: {fault.line for fault in report.diagnostics} for name, report in reports.items()}
    assert {name for name, found in lines.items() if found == {None}} <= empty
    assert reopened(workspace) == before


def test_of_broken_nem12_files_the_good_parts_are_kept_when_asked(
    make_workspace: MakeWorkspace, mdms: Path
) -> None:
    for path in files_below([mdms / "nem12" / "examples" / "invalid"]):
        workspace = make_workspace(path.name, zone="Australia/Brisbane")
        good = read_file(path, policy=Policy.STRICT, captured_at=workspace.clock.now())
        report = import_file(workspace, path, policy=Policy.STRICT, keeping=Keeping.GOOD_PARTS)
        assert report.stored == bool(good.intervals)
        assert contents(workspace).rows["raw_intervals"] == len(good.intervals)
        assert contents(workspace).meters == tuple(sorted({block.series_id for block in good.intervals}))


GREEN_BUTTON = {
    # file: blocks that are stored; nothing where it holds no electricity by intervals
    "Customer-Subscription-Feed-Anonymized.xml": 0,  # customers only
    "TestGBDataHourlyNineDaysBinnedDaily.xml": 9,
    "TestGBDataOneYearDailyBinnedMonthly.xml": 444,  # a value a day
    "electric_containerized.xml": 1,
    "ngma_gas_provider_2024-07-16.xml": 0,  # gas by the month
    "ngma_natural_gas_billing_billing_data_Service_1_1_2021-05-26_to_2024-04-25.xml": 0,  # therms
    "test_usage_data.xml": 14,
}


def test_green_button_files_go_into_one_workspace(make_workspace: MakeWorkspace, mdms: Path) -> None:
    workspace = make_workspace("green", zone="America/New_York", currency="USD")
    reports = imported(workspace, sorted((mdms / "greenbutton").glob("*.xml")))
    assert {name: report.blocks if report.stored else 0 for name, report in reports.items()} == GREEN_BUTTON
    for name, report in reports.items():
        assert report.ok == (GREEN_BUTTON[name] > 0)
    before = contents(workspace)
    imported(workspace, sorted((mdms / "greenbutton").glob("*.xml")))
    assert contents(workspace) == before


def test_daily_green_button_values_are_validated_over_both_clock_changes(
    make_workspace: MakeWorkspace, mdms: Path
) -> None:
    workspace = make_workspace("daily", zone="America/New_York")
    path = mdms / "greenbutton" / "TestGBDataOneYearDailyBinnedMonthly.xml"
    import_file(workspace, path, policy=Policy.STRICT)
    (meter,) = workspace.registry.meters()
    assert meter.interval_s == 86_400
    report = workspace.vee().run(date(2013, 1, 1), date(2014, 1, 1))
    assert (report.days, report.intervals_expected, report.intervals_estimated) == (365, 365, 0)
    finals = workspace.store.final(None, None, date(2013, 1, 1), date(2014, 1, 1))
    raw = workspace.store.raw(None, None, date(2013, 1, 1), date(2014, 1, 1))
    assert [block.total for block in finals] == [block.total for block in raw]
    assert Counter(block.interval_s for block in finals) == {86_400: 363, 82_800: 1, 90_000: 1}


def test_daily_values_are_billed_by_tiers_but_not_by_hours_nor_over_a_clock_change(
    make_workspace: MakeWorkspace, mdms: Path
) -> None:
    workspace = make_workspace("daily", zone="America/New_York", currency="USD")
    path = mdms / "greenbutton" / "TestGBDataOneYearDailyBinnedMonthly.xml"
    import_file(workspace, path, policy=Policy.STRICT)
    workspace.vee().run(date(2013, 2, 1), date(2013, 7, 1))
    for name in ("green_button_tiered", "green_button_tou"):
        text = (EXAMPLES / f"{name}.toml").read_text("utf-8")
        workspace.registry.put_document(
            "tariff", name, text, valid_from=date(2012, 1, 1), actor="test", why="test"
        )
    (point,) = workspace.registry.usage_points()
    (tiered,) = assign_tariff(workspace, "green_button_tiered", [point.usage_point_id], date(2013, 2, 1))
    bill = workspace.bills.bill(tiered.agreement_id, date(2013, 2, 1), date(2013, 3, 1))
    # 9.00 and 400 kWh at 0.1120 and the rest at 0.1690: 9.00 + 44.80 + 225.716 x 0.1690
    assert (bill.energy_wh, bill.total_text) == (625_716, "91.95")
    with pytest.raises(BillingError, match=r"2013-03-10 has intervals of 82800 s beside 86400 s"):
        workspace.bills.bill(tiered.agreement_id, date(2013, 3, 1), date(2013, 4, 1))
    (tou,) = assign_tariff(workspace, "green_button_tou", [point.usage_point_id], date(2013, 6, 1))
    with pytest.raises(TariffError, match="the rate switches inside the interval of 86400 s"):
        workspace.bills.bill(tou.agreement_id, date(2013, 6, 1), date(2013, 7, 1))
    assert len(workspace.bills.bills()) == 1


def test_an_ausgrid_home_and_its_archive_are_the_same(
    make_workspace: MakeWorkspace, mdms: Path, tmp_path: Path
) -> None:
    workspace = make_workspace("home", zone="Australia/Brisbane", currency="AUD")
    path, mapping = mdms / "ausgrid" / "data_2011-2012.csv", Mapping.load("ausgrid")
    report = import_file(workspace, path, policy=Policy.STRICT, mapping=mapping)
    assert (report.ok, report.intervals, report.blocks, report.new_meters) == (True, 2 * 366 * 48, 732, 1)
    packed = tmp_path / "home.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    again = import_file(workspace, packed, policy=Policy.STRICT, mapping=mapping)
    assert (again.duplicates, again.conflicts, again.new_meters) == (732, 0, 0)


def test_sixty_london_homes_are_counted_by_the_clock_of_london(
    make_workspace: MakeWorkspace, shared_data: Path
) -> None:
    workspace = make_workspace("london", zone="Europe/London", currency="GBP")
    path, mapping = shared_data / "analytics" / "lcl2013_halfhourly_Wh.parquet", Mapping.load("lcl_wide")
    options = {"mapping": mapping, "zone": "Europe/London"}
    (report,) = imported(workspace, [path], **options).values()
    assert (report.ok, report.intervals, report.new_meters) == (True, 60 * 17520, 60)
    change = workspace.store.raw(["MAC000002"], None, date(2013, 3, 31), date(2013, 4, 1))
    assert [block.values.size for block in change] == [46]
    before = contents(workspace)
    (again,) = imported(workspace, [path], **options).values()
    assert (again.duplicates, again.seq) == (report.blocks, report.seq)
    assert contents(workspace) == before

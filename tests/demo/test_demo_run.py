"""What `ami demo --json` promises: one document, energy that closes, every fault found where it was put."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from demo_world import DAYS, METERS, SEED, DemoRun, disagreements
from openami.cli.demo.run import run_demo
from openami.cli.demo.scenario import AREA_NAMES, FIRST_DAY, make_scenario
from openami.cli.demo.summary import closure
from openami.quantities.errors import QuantityError
from openami.quantities.money import money_text
from openami.quantities.obis import EXPORT_INTERVAL, IMPORT_INTERVAL
from openami.quantities.status import is_estimated
from openami.workspace.upkeep import compact_months, verify_store
from openami.workspace.workspace import Workspace

pytestmark = pytest.mark.xdist_group("demo")

AFTER = FIRST_DAY + timedelta(days=DAYS)
PROMISED = {
    "meters", "days", "intervals_expected", "intervals_measured", "intervals_estimated", "completeness",
    "exceptions", "register_advance_wh", "final_energy_wh", "closure_error_wh", "bills", "billed_wh",
    "amount", "currency", "areas", "injected", "detected", "seconds",
}  # fmt: skip
KINDS = {
    "lost_replies", "dead_meter", "spike", "clock_drift", "duplicate", "meter_exchange", "daylight_saving",
    "power_outage", "theft",
}  # fmt: skip


def import_of_customers(utility: Workspace) -> int:
    points = [one.usage_point_id for one in utility.registry.usage_points() if one.kind == "customer"]
    return sum(block.total for block in utility.store.final(points, [IMPORT_INTERVAL], FIRST_DAY, AFTER))


def test_the_document_has_every_promised_key_and_nothing_is_said_on_stderr(demo: DemoRun) -> None:
    assert demo.document.keys() - PROMISED == {"seed", "frames", "first_bill"}
    assert demo.document.keys() >= PROMISED
    assert demo.stderr == ""


def test_every_injected_fault_is_detected_at_its_meter_and_day_and_nothing_besides(demo: DemoRun) -> None:
    assert demo.document["injected"].keys() == demo.document["detected"].keys() == KINDS
    assert disagreements(demo.document) == {}
    assert all(demo.document["injected"].values())


def test_the_document_says_what_the_seed_injected(demo: DemoRun) -> None:
    injected = make_scenario(SEED, METERS, DAYS).injected
    assert demo.document["injected"] == {
        kind: [asdict(one) | {"day": str(one.day)} for one in found] for kind, found in injected.items()
    }


def test_final_energy_is_the_advance_of_the_registers_at_every_usage_point(
    demo: DemoRun, utility: Workspace
) -> None:
    rows = closure(utility, FIRST_DAY, AFTER)
    feeding = sum(EXPORT_INTERVAL in meter.channels for meter in utility.registry.meters())
    assert len(rows) == METERS + len(AREA_NAMES) + feeding
    assert [row for row in rows if row.error_wh] == []
    assert demo.document["closure_error_wh"] == 0
    total = sum(row.advance_wh for row in rows)
    assert demo.document["final_energy_wh"] == demo.document["register_advance_wh"] == total > 0


def test_a_final_that_is_changed_by_one_count_is_a_closure_error(demo: DemoRun) -> None:
    # On a copy: the comparison must be able to fail.
    with_error = _copy_with_one_count_more(demo)
    assert max(abs(row.error_wh) for row in closure(with_error, FIRST_DAY, AFTER)) == 1
    with_error.close()


def _copy_with_one_count_more(demo: DemoRun) -> Workspace:
    folder = demo.folder.with_name("altered")
    shutil.copytree(demo.folder, folder)
    copy = Workspace.open(folder)
    (block,) = copy.store.final(["UP0001"], [IMPORT_INTERVAL], FIRST_DAY, FIRST_DAY + timedelta(days=1))
    values = block.values.copy()
    values[40] += 1
    copy.store.put_final([replace(block, values=values, block_id="", seq=0, version=0)])
    return copy


def test_meters_bills_and_energy_are_those_of_the_workspace(demo: DemoRun, utility: Workspace) -> None:
    document = demo.document
    bills = utility.bills.bills()
    assert (document["meters"], document["bills"], len(bills)) == (METERS, METERS, METERS)
    assert document["days"] == DAYS
    assert len(utility.registry.meters()) == METERS + len(AREA_NAMES) + 1, "areas and the exchanged meter"
    assert document["billed_wh"] == sum(bill.energy_wh for bill in bills) == import_of_customers(utility)
    assert document["amount"] == money_text(sum((bill.total for bill in bills), Fraction(0)))
    assert document["currency"] == "EUR"


def test_every_expected_interval_is_measured_or_estimated(demo: DemoRun, utility: Workspace) -> None:
    document = demo.document
    blocks = utility.store.final(None, None, FIRST_DAY, AFTER)
    assert document["intervals_expected"] == sum(block.day.interval_count(900) for block in blocks)
    assert document["intervals_estimated"] == sum(int(is_estimated(one.status_ids).sum()) for one in blocks)
    assert document["intervals_measured"] + document["intervals_estimated"] == document["intervals_expected"]
    share = document["intervals_measured"] / document["intervals_expected"]
    assert document["completeness"] == round(share, 6)
    assert 0.99 < share < 1


def test_only_the_area_of_the_theft_loses_more_than_its_wires(demo: DemoRun, utility: Workspace) -> None:
    areas = {area["area"]: area for area in demo.document["areas"]}
    assert sorted(areas) == sorted(AREA_NAMES)
    for area in areas.values():
        lost = area["supplied_wh"] - area["sold_wh"]
        assert area["loss_percent"] == round(100 * lost / area["supplied_wh"], 3)
    (theft,) = demo.document["detected"]["theft"]
    (place,) = utility.registry.installations(meter_id=theft["meter"])
    robbed = utility.registry.usage_point(place.usage_point_id).area_id
    losses = {name: area["loss_percent"] for name, area in areas.items()}
    assert max(losses, key=lambda name: losses[name]) == robbed
    assert all(1.5 < loss < 3.5 for name, loss in losses.items() if name != robbed)


def test_exceptions_are_counted_as_they_are_listed(demo: DemoRun, utility: Workspace) -> None:
    assert demo.document["exceptions"] == utility.exceptions.counts()
    assert demo.document["exceptions"]["daylight_saving"] == METERS + len(AREA_NAMES)


def test_the_store_is_whole_and_compacted(utility: Workspace) -> None:
    proof = verify_store(utility)
    assert proof.holds, proof.faults
    channels = METERS + len(AREA_NAMES) + sum(len(one.channels) > 1 for one in utility.registry.meters())
    assert proof.rows["raw_intervals"] >= channels * (DAYS - 1)
    assert compact_months(utility.store, FIRST_DAY - timedelta(days=1), AFTER) == 0, "nothing left to merge"


def test_the_same_seed_gives_the_same_utility_however_many_meters_are_read_at_once(
    demo: DemoRun, utility: Workspace, tmp_path: Path
) -> None:
    run_demo(tmp_path / "again", seed=SEED, meters=METERS, days=DAYS, step=lambda *_: None, concurrency=3)
    again = Workspace.open(tmp_path / "again")
    columns = ["series_id", "channel", "day", "values", "status", "anchor_start", "anchor_end"]
    tables = [
        one.store.final_table(None, None, FIRST_DAY, AFTER).select(columns).combine_chunks()
        for one in (utility, again)
    ]
    assert tables[0].equals(tables[1])
    assert [bill.lines for bill in utility.bills.bills()] == [bill.lines for bill in again.bills.bills()]
    again.close()


@pytest.mark.parametrize(("meters", "days"), [(47, 28), (48, 27)])
def test_a_utility_too_small_for_its_faults_is_refused(meters: int, days: int) -> None:
    with pytest.raises(QuantityError, match=f"{meters} meters over {days} days"):
        make_scenario(1, meters, days)


def test_scenarios_of_many_seeds_keep_their_faults_apart() -> None:
    for seed in range(200):
        scenario = make_scenario(seed, METERS, DAYS)
        meters = [
            one.meter
            for kind, found in scenario.injected.items()
            if kind not in ("daylight_saving", "power_outage")
            for one in found
        ]
        assert len(set(meters)) == len(meters), seed
        assert all(FIRST_DAY <= one.day < AFTER for found in scenario.injected.values() for one in found), (
            seed
        )
        assert {one.day for one in scenario.injected["daylight_saving"]} == {date(2026, 10, 25)}

"""Bills from the command line: periods, agreements cut in the middle, and a tree whose sums are right."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from ami_command import Ami, readings, write_readings
from openami.quantities.obis import ObisCode
from openami.quantities.units import Quantum, Unit

REACTIVE = ObisCode.parse("1-0:3.29.0")


@pytest.fixture
def shop(ami: Ami, tmp_path: Path, tariff_file: Callable[[str], Path]) -> Ami:
    """A shop's October: 2,500.5 Wh and 900.5 varh a quarter of an hour; it changes its tariff on the 16th."""
    active = readings("SHOP", date(2026, 10, 1), 31, value_wh=2500)
    reactive = readings(
        "SHOP", date(2026, 10, 1), 31, value_wh=900, channel=REACTIVE, quantum=Quantum(Unit.VAR_HOUR, 0)
    )
    write_readings(tmp_path / "shop.csv", [*active, *reactive])
    for arguments in (
        ("init",),
        ("import", "shop.csv"),
        ("vee",),
        ("tariff", "add", tariff_file("shop_demand")),
        ("tariff", "add", tariff_file("household_tiered")),
        ("tariff", "assign", "shop_demand", "--all", "--from", "2026-10-01"),
        ("tariff", "assign", "household_tiered", "SHOP", "--from", "2026-10-16"),
    ):
        assert ami(*arguments).code == 0, arguments
    return ami


def test_an_agreement_that_ends_inside_the_month_is_billed_for_its_own_days(shop: Ami) -> None:
    first, second = shop("bill", "--month", "2026-10", "--json").document["bills"]
    assert (first["first_day"], first["last_day"]) == ("2026-10-01", "2026-10-15")
    assert (second["first_day"], second["last_day"]) == ("2026-10-16", "2026-10-31")
    # 15 days of 96 quarter-hours of 2,500.5 Wh; 16 days of which the 25th has 100.
    assert first["energy_wh"] == 15 * 96 * 5001 // 2
    assert second["energy_wh"] == (16 * 96 + 4) * 5001 // 2
    assert first["tariffs"] == ["shop_demand@1"]
    again = shop("bill", "--month", "2026-10", "--json")
    assert (again.code, again.document["bills"]) == (1, [])
    assert all("billed already" in one["reason"] for one in again.document["refused"])


def test_plain_bill_and_bill_run_are_the_same(shop: Ami) -> None:
    plain = shop("bill", "--from", "2026-10-01", "--to", "2026-10-15", "--json").document["bills"]
    (bill,) = plain
    assert shop("bill", "cancel", bill["bill"], "--why", "a test").code == 0
    (again,) = shop("bill", "run", "--from", "2026-10-01", "--to", "2026-10-15", "--json").document["bills"]
    assert (again["amount"], again["lines"]) == (bill["amount"], bill["lines"])
    states = {one["bill"]: one["state"] for one in shop("bill", "list", "--json").document["bills"]}
    assert states == {bill["bill"]: "cancelled", again["bill"]: "issued"}


def test_only_the_agreements_asked_for_are_billed(shop: Ami) -> None:
    done = shop("bill", "--month", "2026-10", "--agreement", "SHOP-20261016", "--json")
    assert [bill["agreement"] for bill in done.document["bills"]] == ["SHOP-20261016"]


def _additive(node: dict[str, Any]) -> int:
    """How many links were checked: the values below sum to the value, exactly."""
    below = node["children"]
    checked = sum(_additive(child) for child in below)
    if not node["additive"] or not below:
        return checked
    values = [child["value"] for child in below]
    if node["value"] is None or None in values:
        return checked
    assert sum(Fraction(value) for value in values) == Fraction(node["value"]), node["label"]
    return checked + 1


def test_every_sum_in_the_tree_is_right(shop: Ami) -> None:
    for bill in shop("bill", "--month", "2026-10", "--json").document["bills"]:
        tree = shop("explain", bill["bill"], "--json", "--depth", "4").document
        assert tree["value"] == bill["amount"]
        assert len(tree["children"]) == len(bill["lines"])
        assert _additive(tree) > 20


def test_a_bill_is_a_page_and_a_line_goes_down_to_the_line_of_the_file(shop: Ami) -> None:
    assert shop("bill", "--month", "2026-10").code == 0
    page = shop("explain", "SHOP-20261001-0001").out.splitlines()
    heads = [line.lstrip("├└─ ") for line in page if line.startswith(("├", "└"))]
    assert [head.split(" = ")[0] for head in heads] == [
        "line 1 standing charge: standing charge",
        "line 2 energy: peak",
        "line 3 energy: shoulder",
        "line 4 energy: off-peak",
        "line 5 demand: maximum",
        "line 6 power factor: power factor 0.94",
        "line 7 electricity duty: all",
        "line 8 value added tax: value added tax",
    ]
    assert len(page) < 60

    # Demand: four quarter-hours' worth of the largest quarter-hour, 2,501 Wh in 900 s.
    demand = shop("explain", "SHOP-20261001-0001", 5).out
    assert "= 2,501 Wh" in demand
    assert "window 2026-10-01 00:15 +0200" in demand
    assert "evidence shop.csv, lines 2-97" in demand
    # The day before its first quarter-hour is followed, the rest is summed up.
    energy = shop("explain", "SHOP-20261001-0001", 7).out
    assert "and 14 more days: 2026-10-02 ... 2026-10-15 = 3,360,672 Wh" in energy
    tiers = shop("explain", "SHOP-20261016-0001").out
    assert "line 2 energy: tier 1 to " in tiers


def test_full_shows_every_interval_and_all_text(shop: Ami) -> None:
    assert (
        shop("bill", "--from", "2026-10-01", "--to", "2026-10-01", "--agreement", "SHOP-20261001").code == 0
    )
    tree = shop("explain", "SHOP-20261001-0001", 7, "--full").out
    assert sum("interval 2026-10-01" in line for line in tree.splitlines()) == 96
    assert "--full" not in tree
    assert "more interval" not in tree


def test_depth_is_counted_from_the_bill_or_line(shop: Ami) -> None:
    assert shop("bill", "--month", "2026-10").code == 0
    assert "determinant" not in shop("explain", "SHOP-20261001-0001", "--depth", 1).out
    assert "line" not in shop("explain", "SHOP-20261001-0001", "--depth", 0, "--json").document["children"]


def test_exceptions_are_closed_with_a_reason(shop: Ami) -> None:
    found = shop("exceptions", "list", "--state", "all", "--json").document
    assert found["counts"] == {"daylight_saving": 1}
    (case,) = found["exceptions"]
    assert shop("exceptions", "show", case["exception"], "--json").document["day"] == "2026-10-25"
    done = shop("exceptions", "close", case["exception"], "--why", "seen")
    assert done.code == 2
    assert "closed already" in done.err


def test_late_readings_propose_a_new_bill(shop: Ami, tmp_path: Path) -> None:
    assert shop("bill", "--month", "2026-10", "--agreement", "SHOP-20261001").code == 0
    write_readings(tmp_path / "late.csv", readings("SHOP", date(2026, 10, 3), 1, value_wh=2600))
    assert shop("import", "late.csv").code == 0
    assert shop("vee").code == 0
    (proposal,) = shop("bill", "proposals", "--json").document["proposals"]
    assert proposal["bill_id"] == "SHOP-20261001-0001"
    assert shop("bill", "verify", "SHOP-20261001-0001", "--json").document["holds"] is True
    renewed = shop("bill", "rebill", "SHOP-20261001-0001", "--why", "late readings", "--json").document
    assert renewed["energy_wh"] == 15 * 96 * 5001 // 2 + 96 * 100
    assert shop("bill", "proposals", "--json").document == {"proposals": []}

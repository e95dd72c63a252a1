"""Bills are made from final readings as of one commit, pin everything, and follow from their pins."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
import sqlalchemy as sa

from openami.billing.ledger import BillState
from openami.billing.packaged import packaged_tariff
from openami.quantities.errors import BillingError, RegistryError
from openami.quantities.obis import EXPORT_INTERVAL, IMPORT_INTERVAL
from openami.quantities.status import MISSING, SUSPECT
from openami.registry.entities import Account, Agreement, Customer, UsagePoint

MARCH, APRIL, MAY = date(2026, 3, 1), date(2026, 4, 1), date(2026, 5, 1)
FLAT = """
id = "t"
currency = "EUR"
zone = "Europe/Berlin"
valid_from = 2020-01-01
rounding = "half_up 2"
total_rounding = "half_up 2"
[[charges]]
name = "energy"
kind = "energy"
price = "0.30"
[[charges]]
name = "tax"
kind = "percent"
percent = "19"
of = "all"
"""


def test_a_month_with_a_short_day_is_billed_to_the_cent(utility) -> None:
    utility.tariff(FLAT)
    utility.read(MARCH, APRIL, lambda index: 250)
    bill = utility.run.bill("AG-1", MARCH, APRIL)
    # 31 days of 96 quarter-hours less 4 on 29 March, 250 Wh each: 743 kWh at 0.30 is 222.90, with 19 % 265.25
    assert bill.energy_wh == (31 * 96 - 4) * 250 == 743_000
    assert [(line.charge, line.amount) for line in bill.lines] == [
        ("energy", Fraction("222.90")),
        ("tax", Fraction("42.35")),
    ]
    assert bill.total_text == "265.25"
    assert bill.bill_id == "AG-1-0001"
    assert utility.run.get(bill.bill_id) == bill
    assert utility.run.recompute(bill.bill_id).holds


def test_missing_finals_are_named_by_day_and_nothing_is_stored(utility) -> None:
    utility.tariff(FLAT)
    utility.read(MARCH, date(2026, 3, 10))
    utility.read(date(2026, 3, 11), APRIL)
    with pytest.raises(BillingError, match="missing on 1 days: 2026-03-10"):
        utility.run.bill("AG-1", MARCH, APRIL)
    utility.read(date(2026, 3, 10), date(2026, 3, 11), statuses={5: MISSING})
    with pytest.raises(BillingError, match="missing on 1 days: 2026-03-10"):
        utility.run.bill("AG-1", MARCH, APRIL)
    assert utility.run.bills() == []


def test_suspect_finals_are_billed_only_by_a_tariff_that_says_so(utility) -> None:
    utility.tariff(FLAT)
    utility.read(MARCH, date(2026, 3, 10))
    utility.read(date(2026, 3, 10), date(2026, 3, 11), statuses={5: SUSPECT})
    utility.read(date(2026, 3, 11), MAY)
    with pytest.raises(BillingError, match="suspect on 1 days: 2026-03-10"):
        utility.run.bill("AG-1", MARCH, APRIL)
    assert utility.run.bills() == []
    april = utility.run.bill("AG-1", APRIL, MAY)
    utility.run.cancel(april.bill_id, "tariff changes", "clerk")
    utility.tariff('suspect = "as_measured"\n' + FLAT)
    bill = utility.run.bill("AG-1", MARCH, APRIL)
    assert utility.run.recompute(bill.bill_id).holds


def test_a_day_is_billed_once(utility) -> None:
    utility.tariff(FLAT)
    utility.read(MARCH, MAY)
    first = utility.run.bill("AG-1", MARCH, APRIL)
    with pytest.raises(BillingError, match="billed already by AG-1-0001"):
        utility.run.bill("AG-1", date(2026, 3, 31), date(2026, 4, 10))
    cancelled = utility.run.cancel(first.bill_id, "wrong period", "clerk")
    assert cancelled.state is BillState.CANCELLED
    assert cancelled.cancelled_why == "wrong period"
    assert cancelled.lines == first.lines
    second = utility.run.bill("AG-1", MARCH, APRIL)
    assert (second.bill_id, second.total) == ("AG-1-0002", first.total)
    with pytest.raises(BillingError, match="it is cancelled"):
        utility.run.cancel(first.bill_id, "again", "clerk")
    with pytest.raises(BillingError, match="there is no such bill"):
        utility.run.cancel("nobody", "x", "clerk")


def test_a_rebill_without_changes_gives_the_same_total_and_one_with_late_data_replaces(utility) -> None:
    utility.tariff(FLAT)
    utility.read(MARCH, APRIL)
    first = utility.run.bill("AG-1", MARCH, APRIL)
    assert utility.run.proposals() == []
    same = utility.run.rebill(first.bill_id, actor="clerk", why="asked for")
    assert same.total == first.total
    assert same.lines == first.lines
    assert utility.run.get(first.bill_id).replaced_by == same.bill_id
    utility.read(date(2026, 3, 5), date(2026, 3, 6), lambda index: 1_000)
    (proposal,) = utility.run.proposals()
    assert (proposal.bill_id, proposal.days) == (same.bill_id, (date(2026, 3, 5),))
    late = utility.run.rebill(same.bill_id, actor="clerk", why="late data")
    gained_wh = 96_000 - sum(100 + index % 7 for index in range(96))
    assert late.energy_wh - same.energy_wh == gained_wh
    assert utility.run.proposals() == []
    assert [bill.state for bill in utility.run.bills()] == [
        BillState.REPLACED, BillState.REPLACED, BillState.ISSUED,
    ]  # fmt: skip
    for bill in utility.run.bills():
        assert utility.run.recompute(bill.bill_id).holds
    with pytest.raises(BillingError, match="it is replaced"):
        utility.run.rebill(first.bill_id, actor="clerk", why="once more")


def test_late_data_that_changes_nothing_proposes_nothing(utility) -> None:
    utility.tariff(FLAT)
    utility.read(MARCH, APRIL)
    utility.run.bill("AG-1", MARCH, APRIL)
    utility.read(MARCH, APRIL)
    utility.read(APRIL, MAY)
    assert utility.run.proposals() == []


def test_corrections_of_registry_and_tariff_do_not_change_an_old_bill(utility) -> None:
    utility.tariff(FLAT)
    utility.read(MARCH, APRIL)
    bill = utility.run.bill("AG-1", MARCH, APRIL)
    utility.tariff(FLAT.replace("0.30", "0.90"))
    utility.registry.record(
        [Customer("C-2", "Bea"), Account("AC-2", "C-2", "EUR"),
         Agreement("AG-1", "AC-2", "UP-1", "t", date(2025, 1, 1))],
        actor="test", why="wrong customer",
    )  # fmt: skip
    assert utility.run.recompute(bill.bill_id).holds
    assert utility.run.get(bill.bill_id).account_id == "AC-1"
    new = utility.run.rebill(bill.bill_id, actor="clerk", why="tariff corrected")
    assert new.account_id == "AC-2"
    assert new.lines[0].amount == pytest.approx(3 * bill.lines[0].amount, abs=0.02)


def test_a_stored_bill_resists_tampering_and_shows_it(utility) -> None:
    utility.tariff(FLAT)
    utility.read(MARCH, APRIL)
    bill = utility.run.bill("AG-1", MARCH, APRIL)
    for wrong in (
        "UPDATE bill_lines SET amount = '1.00'",
        "DELETE FROM bill_lines",
        "UPDATE bills SET total = '1.00'",
        "DELETE FROM bills",
    ):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), utility.engine.begin() as connection:
            connection.execute(sa.text(wrong))
    assert utility.run.get(bill.bill_id) == bill
    on_table = " ON bill_lines" if utility.engine.dialect.name == "postgresql" else ""
    with utility.engine.begin() as connection:
        connection.execute(sa.text(f"DROP TRIGGER bill_lines_no_update{on_table}"))
        connection.execute(sa.text("UPDATE bill_lines SET amount = '1.00' WHERE line_no = 1"))
    found = utility.run.recompute(bill.bill_id)
    assert not found.lines_agree
    assert not found.holds


def test_a_tariff_change_inside_the_period_cuts_it(utility) -> None:
    utility.tariff(FLAT)
    utility.tariff(FLAT.replace("0.30", "0.40"), date(2026, 3, 16))
    utility.read(MARCH, APRIL, lambda index: 250)
    bill = utility.run.bill("AG-1", MARCH, APRIL)
    energy = [line for line in bill.lines if line.charge == "energy"]
    # 15 days of 24 kWh, then 16 days of 24 kWh less one hour: 360 kWh at 0.30 and 383 kWh at 0.40
    assert [(line.quantity, line.price) for line in energy] == [
        (360, Decimal("0.30")),
        (383, Decimal("0.40")),
    ]
    assert [item.first_day for item in bill.pins.tariffs] == [MARCH, date(2026, 3, 16)]
    assert utility.run.recompute(bill.bill_id).holds


def test_yearly_tiers_look_back_to_their_reset(utility) -> None:
    tiers = '{ per = "year", steps = [{ up_to = "1000", price = "0.10" }, { price = "0.20" }] }'
    utility.tariff(FLAT.replace('price = "0.30"', f"tiers = {tiers}"))
    utility.read(date(2026, 1, 1), APRIL, lambda index: 125)
    bill = utility.run.bill("AG-1", MARCH, APRIL)
    assert bill.pins.history_from == date(2026, 1, 1)
    # 59 days of 12 kWh before March: 708; March has 372 - 0.5: 292 fill the first tier, 79.5 are above
    assert [line.quantity for line in bill.lines if line.charge == "energy"] == [292, Fraction("79.5")]
    utility.read(date(2026, 1, 9), date(2026, 1, 10), lambda index: 250)
    assert [item.days for item in utility.run.proposals()] == [(date(2026, 1, 9),)]


@pytest.mark.parametrize("name", ["household_tou", "household_tiered", "shop_demand", "pv_net"])
def test_packaged_tariffs_bill_a_month(utility, name: str) -> None:
    utility.tariff(packaged_tariff(name))
    begin = date(2025, 4, 1) if name == "shop_demand" else MARCH
    utility.read(begin, APRIL)
    utility.read(begin, APRIL, lambda index: 30 * (index % 5), EXPORT_INTERVAL)
    bill = utility.run.bill("AG-1", MARCH, APRIL)
    assert sum(line.amount for line in bill.lines) == bill.total > 0
    assert utility.run.recompute(bill.bill_id).holds
    assert bill.energy_wh == sum(
        block.total for block in utility.store.final(["UP-1"], [IMPORT_INTERVAL], MARCH, APRIL)
    )


def test_what_cannot_be_billed_says_why(utility) -> None:
    with pytest.raises(RegistryError, match="unknown agreement"):
        utility.run.bill("AG-9", MARCH, APRIL)
    with pytest.raises(BillingError, match="no tariff is in force on 2026-03-01"):
        utility.run.bill("AG-1", MARCH, APRIL)
    utility.tariff(FLAT)
    with pytest.raises(BillingError, match="the billing period is empty"):
        utility.run.bill("AG-1", MARCH, MARCH)
    with pytest.raises(BillingError, match="the agreement holds from 2025-01-01"):
        utility.run.bill("AG-1", date(2024, 12, 1), MARCH)
    with pytest.raises(BillingError, match=r"no final readings on 1-0:1\.29\.0 for charge 'energy'"):
        utility.run.bill("AG-1", MARCH, APRIL)
    utility.read(MARCH, APRIL)
    utility.tariff(FLAT.replace("EUR", "GBP"))
    with pytest.raises(BillingError, match="Europe/Berlin and EUR"):
        utility.run.bill("AG-1", MARCH, APRIL)


def test_a_run_over_many_bills_all_it_can_and_names_the_rest(utility) -> None:
    utility.tariff(FLAT)
    utility.read(MARCH, APRIL)
    utility.registry.record(
        [
            UsagePoint("UP-2", "Europe/Berlin", None, "customer", None, "residential"),
            Agreement("AG-2", "AC-1", "UP-2", "t", date(2025, 1, 1)),
        ],
        actor="test",
        why="a customer without readings",
    )
    told: list[int] = []
    report = utility.run.bill_many(["AG-2", "AG-1", "AG-9"], MARCH, APRIL, progress=told.append)
    assert [bill.agreement_id for bill in report.bills] == ["AG-1"]
    assert utility.run.recompute(report.bills[0].bill_id).holds
    assert [(item.agreement_id, type(item.error).__name__) for item in report.refused] == [
        ("AG-2", "BillingError"),
        ("AG-9", "RegistryError"),
    ]
    assert told == [1, 2, 3]
    again = utility.run.bill_many(["AG-1"], MARCH, APRIL)
    assert again.bills == ()
    assert "billed already" in str(again.refused[0].error)


def test_a_ratchet_does_not_look_back_beyond_agreement_and_tariff(utility) -> None:
    utility.tariff(packaged_tariff("shop_demand"), date(2026, 2, 1))
    utility.read(date(2026, 2, 1), APRIL)
    bill = utility.run.bill("AG-1", MARCH, APRIL)
    assert bill.pins.history_from == date(2026, 2, 1)
    assert utility.run.recompute(bill.bill_id).holds


def test_a_tariff_without_energy_needs_no_readings(utility) -> None:
    text = FLAT[: FLAT.index("[[charges]]")]
    text += '[[charges]]\nname = "line rental"\nkind = "standing"\nper = "month"\nprice = "4.20"\n'
    utility.tariff(text)
    bill = utility.run.bill("AG-1", MARCH, APRIL)
    assert (bill.total_text, bill.energy_wh, bill.pins.channels) == ("4.20", 0, ())
    assert utility.run.recompute(bill.bill_id).holds


def test_the_capacity_billed_is_the_one_when_the_period_ends_not_a_later_one(utility) -> None:
    text = FLAT[: FLAT.index("[[charges]]")]
    utility.tariff(text + '[[charges]]\nname = "capacity"\nkind = "capacity"\nprice = "2"\n')
    bill = utility.run.bill("AG-1", MARCH, APRIL)
    assert bill.total_text == "60.00"
    begin = datetime(2026, 3, 31, 22, tzinfo=UTC)
    utility.registry.record(
        [
            UsagePoint("UP-1", "Europe/Berlin", None, "customer", 30_000, "residential", valid_to=begin),
            UsagePoint("UP-1", "Europe/Berlin", None, "customer", 50_000, "residential", begin),
        ],
        actor="test",
        why="a larger connection from April",
    )
    assert utility.run.rebill(bill.bill_id, actor="clerk", why="asked for").total_text == "60.00"
    assert utility.run.bill("AG-1", APRIL, MAY).total_text == "100.00"


def test_the_month_before_a_billed_one_can_be_billed_later(utility) -> None:
    utility.tariff(FLAT)
    utility.read(MARCH, MAY)
    utility.run.bill("AG-1", APRIL, MAY)
    assert utility.run.bill("AG-1", MARCH, APRIL).last_day == APRIL

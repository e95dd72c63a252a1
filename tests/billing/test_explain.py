"""Every number of a bill can be followed to the bytes it came from, and the links sum exactly."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import UTC, date, datetime
from fractions import Fraction

import numpy as np
import pytest

from openami.billing.packaged import packaged_tariff
from openami.mdm.stores.store import ReadingStore
from openami.quantities.civil_time import CivilDay
from openami.quantities.errors import BillingError
from openami.quantities.obis import EXPORT_INTERVAL, IMPORT_INTERVAL
from openami.quantities.status import Quality, Status
from openami.quantities.units import WH
from openami.readings.door import Batch
from openami.readings.evidence import Evidence, frames_content
from openami.readings.interval_block import IntervalBlock

MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)


def assert_sums(node, counts: Counter[str]) -> None:
    counts[node.kind] += 1
    below = node.children()
    if node.additive:
        assert sum((child.value for child in below), Fraction(0)) == node.value, node.label
    for child in below:
        assert_sums(child, counts)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", ["household_tou", "household_tiered", "shop_demand", "pv_net"])
def test_each_level_sums_to_the_one_above(utility, name: str) -> None:
    utility.tariff(packaged_tariff(name))
    begin = date(2025, 4, 1) if name == "shop_demand" else MARCH
    utility.read(begin, APRIL, statuses={3: Status(Quality.ESTIMATED, 17).id})
    utility.read(begin, APRIL, lambda index: 30 * (index % 5), EXPORT_INTERVAL)
    bill = utility.run.bill("AG-1", MARCH, APRIL)
    counts: Counter[str] = Counter()
    assert_sums(utility.run.explain(bill.bill_id), counts)
    assert counts["bill"] == 1
    assert counts["line"] > len(bill.lines)  # taxes lead to the lines they are on
    assert counts["interval"] == counts["final"] == counts["raw"] == counts["evidence"] > 2900


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_line_leads_to_the_line_of_the_file(utility) -> None:
    utility.tariff(packaged_tariff("household_tou"))
    utility.read(MARCH, APRIL, statuses={3: Status(Quality.ESTIMATED, 17).id})
    bill = utility.run.bill("AG-1", MARCH, APRIL)
    number = next(n for n, line in enumerate(bill.lines, 1) if line.text == "night")
    line = utility.run.explain(bill.bill_id, number)
    assert dict(line.facts)["price"] == "0.2483 EUR per kWh"
    (determinant,) = line.children()
    assert determinant.value / 1000 == bill.lines[number - 1].quantity
    sunday, monday = determinant.children()[:2]
    assert sunday.label == "2026-03-01"
    assert dict(sunday.facts)["intervals"] == "96"
    assert dict(monday.facts)["intervals"] == "32"
    interval = monday.children()[3]
    assert (interval.label, interval.value) == ("2026-03-02 00:45 +0100", 103)
    assert dict(interval.facts)["status"] == "E17"
    assert dict(interval.facts)["method"] == "linear"
    (final,) = interval.children()
    assert dict(final.facts)["rule"] == "default@2026-01-01"
    (raw,) = final.children()
    assert raw.value == 103
    (evidence,) = raw.children()
    facts = dict(evidence.facts)
    assert evidence.label == "march.csv, line 2"
    assert facts["text"].startswith("2026-03-02,100,101,102,103,")
    assert facts["sha256"] == hashlib.sha256(b"f").hexdigest()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_maximum_points_at_the_interval_where_it_occurred(utility) -> None:
    utility.tariff(packaged_tariff("shop_demand"))
    utility.read(date(2025, 4, 1), APRIL)
    utility.read(date(2026, 3, 29), date(2026, 3, 30), lambda index: 5_000 if index == 50 else 90)
    bill = utility.run.bill("AG-1", MARCH, APRIL)
    number = next(n for n, line in enumerate(bill.lines, 1) if line.charge == "demand")
    assert bill.lines[number - 1].quantity == 20  # 5 kWh in a quarter of an hour
    (determinant,) = utility.run.explain(bill.bill_id, number).children()
    (window,) = determinant.children()
    # 29 March 2026 has 23 hours: the 51st quarter-hour begins at 13:30 summer time
    assert window.label == "2026-03-29 13:30 +0200"
    assert [child.value for child in window.children()] == [5_000]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_frames_are_shown_octet_by_octet(utility) -> None:
    utility.tariff(packaged_tariff("household_tiered"))
    utility.read(MARCH, APRIL)
    at = datetime(2026, 4, 2, tzinfo=UTC)
    frames = [("->", bytes.fromhex("0001001000110009")), ("<-", bytes.fromhex("c40181"))]
    item = Evidence(
        "frames",
        "tcp://127.0.0.1:4059/17",
        "1-0:99.1.0/2",
        frames_content([(way, octets, octets) for way, octets in frames]),
        "ab" * 32,
        at,
    )
    day = CivilDay(date(2026, 3, 7), "Europe/Berlin")
    values = np.full(96, 321, np.int64)
    raw = IntervalBlock("M-1", IMPORT_INTERVAL, day, 900, WH, values, at, evidence_id=item.evidence_id)
    utility.store.put(Batch("head-end", intervals=(raw,), evidence=(item,)))
    final = IntervalBlock("UP-1", IMPORT_INTERVAL, day, 900, WH, values, at, sources=(raw.block_id,))
    utility.store.put_final([final])
    bill = utility.run.bill("AG-1", MARCH, APRIL)
    node = utility.run.explain(bill.bill_id, 2).children()[0].children()[6]
    assert node.label == "2026-03-07"
    evidence = node.children()[0].children()[0].children()[0].children()[0]
    assert [(frame.label, dict(frame.facts)["octets"]) for frame in evidence.children()] == [
        ("-> 8 octets", "0001001000110009"),
        ("<- 3 octets", "c40181"),
    ]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_old_bills_are_explained_from_what_they_read(utility) -> None:
    utility.tariff(packaged_tariff("household_tiered"))
    utility.read(MARCH, APRIL)
    bill = utility.run.bill("AG-1", MARCH, APRIL)
    before = utility.run.explain(bill.bill_id, 2).to_dict(depth=3)
    utility.read(MARCH, APRIL, lambda index: 999)
    assert utility.run.explain(bill.bill_id, 2).to_dict(depth=3) == before


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_lines_that_are_not_there_are_an_error(utility) -> None:
    utility.tariff(packaged_tariff("household_tiered"))
    utility.read(MARCH, APRIL)
    bill = utility.run.bill("AG-1", MARCH, APRIL)
    for wrong in (0, -1, len(bill.lines) + 1):
        with pytest.raises(BillingError, match=f"has no line {wrong}"):
            utility.run.explain(bill.bill_id, wrong)
    with pytest.raises(BillingError, match="there is no bill"):
        utility.run.explain("nobody")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_year_opens_without_reading_it(utility, monkeypatch: pytest.MonkeyPatch) -> None:
    utility.tariff(packaged_tariff("household_tou"))
    utility.read(date(2025, 4, 1), APRIL)
    bill = utility.run.bill("AG-1", date(2025, 4, 1), APRIL)

    def refuse(*_: object, **__: object) -> list[IntervalBlock]:
        raise AssertionError("readings were fetched before anybody asked for them")

    monkeypatch.setattr(ReadingStore, "final", refuse)
    monkeypatch.setattr(ReadingStore, "blocks", refuse)
    opened = utility.run.explain(bill.bill_id).to_dict(depth=1)
    assert len(opened["children"]) == len(bill.lines)
    determinant = utility.run.explain(bill.bill_id, 2).children()[0]
    with pytest.raises(AssertionError):
        determinant.children()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_tax_leads_to_the_lines_it_is_on(utility) -> None:
    utility.tariff(packaged_tariff("pv_net"))
    utility.read(MARCH, APRIL)
    utility.read(MARCH, APRIL, lambda index: 30 * (index % 5), EXPORT_INTERVAL)
    bill = utility.run.bill("AG-1", MARCH, APRIL)
    number = len(bill.lines)
    tax = utility.run.explain(bill.bill_id, number)
    assert bill.lines[number - 1].kind == "percent"
    assert sum(node.value for node in tax.children()) == bill.lines[number - 1].quantity

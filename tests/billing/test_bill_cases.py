"""Bills with known results: one folder of data each in ``tests/cases/billing``, with its source.

``usage.toml`` gives the grid and sparse counts; ``expected.toml`` the totals of the periods or their sum, and
chosen lines.
"""

from __future__ import annotations

import tomllib
from datetime import date, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openami.billing.lines import NOTHING, Rated
from openami.billing.rating import Part, rate_parts
from openami.billing.tariff import Tariff
from openami.billing.usage import Channel, Usage
from openami.quantities.civil_time import zone_of
from openami.quantities.obis import ObisCode
from openami.quantities.units import Quantum, Unit

CASES = Path(__file__).parent.parent / "cases" / "billing"


def usage_of(document: dict[str, Any]) -> Usage:
    zone, first, step = document["zone"], document["first_day"], document["interval_s"]
    empty = Usage(zone, first, document["last_day"], step, {})
    channels = {}
    for item in document["channels"]:
        counts = np.full((1, empty.index_of(empty.last_day)), item["each"], np.int64)
        for moment, value in item.get("at", []):
            instant = datetime.fromisoformat(moment).replace(tzinfo=zone_of(zone))
            counts[0, int((instant - empty.instant_of(0)).total_seconds()) // step] = value
        channels[ObisCode.parse(item["obis"])] = Channel(
            Quantum(Unit(item["unit"]), item["exponent"]), counts
        )
    return Usage(zone, first, document["last_day"], step, channels)


def bills_of(folder: Path) -> list[Rated]:
    document = tomllib.loads((folder / "usage.toml").read_text())
    usage = usage_of(document)
    versions = [
        (since, Tariff.from_toml((folder / f"{name}.toml").read_text()))
        for name, since in document.get("versions", {"tariff": date(1970, 1, 1)}).items()
    ]
    starts = document.get("period_starts", [usage.first_day])
    bills: list[Rated] = []
    carried = NOTHING
    for first, last in zip(starts, [*starts[1:], usage.last_day], strict=True):
        begun = [max(since, first) for since, _ in versions]
        ends = [*begun[1:], last]
        parts = [
            Part(tariff, begin, min(end, last))
            for (_, tariff), begin, end in zip(versions, begun, ends, strict=True)
            if begin < end
        ]
        bills.append(rate_parts(parts, usage.between(first, last), carried))
        carried = bills[-1].carried
    return bills


@pytest.mark.parametrize("case", sorted(folder.name for folder in CASES.iterdir()))
def test_case(case: str) -> None:
    folder = CASES / case
    assert (folder / "README.md").read_text().startswith("# ")
    expected = tomllib.loads((folder / "expected.toml").read_text())
    bills = bills_of(folder)
    totals = [bill.total.fraction(0) for bill in bills]
    for bill, total in zip(bills, totals, strict=True):
        assert sum((line.amount for line in bill.bill(0)), Fraction(0)) == total
    if "totals" in expected:
        assert totals == [Fraction(text) for text in expected["totals"]]
    else:
        assert sum(totals) == Fraction(expected["sum"])
    for line in expected.get("lines", []):
        found = [
            (own.quantity, own.amount)
            for own in bills[line["period"] - 1].bill(0)
            if (own.charge, own.text) == (line["charge"], line["label"])
        ]
        assert (Fraction(line["quantity"]), Fraction(line["amount"])) in found

"""Rates of the OpenEI utility rate database become tariffs that bill as NREL's Utilityrate5 does."""

from __future__ import annotations

import json
from datetime import date
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from openami.billing.rating import rate_many
from openami.billing.urdb import tariff_from_urdb
from openami.billing.usage import Channel, Usage
from openami.cli.bench.billing import run
from openami.cli.bench.figures import peers_python
from openami.quantities.errors import TariffError
from openami.quantities.obis import IMPORT_INTERVAL
from openami.quantities.units import Quantum, Unit

MILLIWATT_HOUR = Quantum(Unit.WATT_HOUR, -3)
MONTHS_2018 = [date(2018, month, 1) for month in range(1, 13)]  # 1 January 2018 is a Monday, as in PySAM
GOLDEN_CENTS = (
    "7102.72 6839.16 7111.16 7044.33 8253.26 8065.10 8260.26 8231.94 8186.70 8322.47 6975.16 7092.61"
)


def golden_usage(case: dict[str, list[float]]) -> Usage:
    load = np.array([round(kilowatts * 1_000_000) for kilowatts in case["load_kw_8760"]], np.int64)
    channel = Channel(MILLIWATT_HOUR, load[None, :])
    return Usage("UTC", date(2018, 1, 1), date(2019, 1, 1), 3600, {IMPORT_INTERVAL: channel})


@pytest.fixture(scope="module")
def urdb(shared_data: Path) -> Path:
    return shared_data / "mdms" / "urdb"


def test_twelve_golden_bills_to_the_cent(urdb: Path) -> None:
    """Source: Utilityrate5 of NREL-PySAM 7.1.1.post1 on urdbv7.json, 8,760 hours."""
    case = json.loads((urdb / "pysam_golden_case1.json").read_text())
    tariff = tariff_from_urdb((urdb / "urdbv7.json").read_text())
    rated = rate_many(tariff, golden_usage(case), MONTHS_2018)
    assert [f"{float(bill.total.fraction(0)):.2f}" for bill in rated] == GOLDEN_CENTS.split()
    unrounded = [
        sum((line.amount.fraction(0) for line in bill.lines if line.kind != "rounding"), Fraction(0))
        for bill in rated
    ]
    assert f"{float(sum(unrounded)):.2f}" == "91484.88"
    for ours, theirs in zip(unrounded, case["monthly_bill"], strict=True):
        # The file's load was cut to 1e-6 kW after PySAM billed it: 0.5e-6 kW x 41.5 $/kW is 2e-5 $.
        assert abs(float(ours) - theirs) < 2.1e-5
        assert abs(float(ours) / theirs - 1) < 1e-8


def test_lines_of_a_golden_bill_sum_to_it_and_share_its_tiers(urdb: Path) -> None:
    case = json.loads((urdb / "pysam_golden_case1.json").read_text())
    tariff = tariff_from_urdb((urdb / "urdbv7.json").read_text())
    may = rate_many(tariff, golden_usage(case), MONTHS_2018)[4]
    lines = may.bill(0)
    assert sum(line.amount for line in lines) == may.total.fraction(0)
    first_tier = [line.quantity for line in lines if line.charge == "energy" and "tier 1" in line.text]
    assert len(first_tier) == 2
    assert sum(first_tier) == 100


def test_fields_of_version_7_are_noted_or_billed_when_asked_for(urdb: Path) -> None:
    text = (urdb / "urdbv7.json").read_text()
    as_8, as_7 = tariff_from_urdb(text), tariff_from_urdb(text, version=7)
    assert any(note.startswith("fixedmonthlycharge") for note in as_8.notes)
    assert [charge.name for charge in as_8.charges] == ["energy", "demand", "flat_demand"]
    assert [charge.name for charge in as_7.charges] == ["energy", "demand", "flat_demand", "fixed", "minimum"]


def test_public_rates_of_two_utilities_import(shared_data: Path) -> None:
    folder = shared_data / "mdms" / "openei"
    pge = tariff_from_urdb(
        (folder / "u14328_Commercial_B-19_TOU_gridlevelSecondary_revised.json").read_text(),
        zone="America/Los_Angeles",
    )
    assert [charge.name for charge in pge.charges] == ["energy", "demand", "flat_demand", "fixed"]
    assert pge.valid_from == date(2020, 1, 1)
    assert any("Power-Factor-Adjustment" in note for note in pge.notes)
    flat = tariff_from_urdb((folder / "u90_Commercial_FLAT-06_revised.json").read_text())
    assert [charge.name for charge in flat.charges] == ["energy"]


def test_tiers_by_hours_of_use_are_refused(urdb: Path) -> None:
    text = (urdb / "urdb_rate_539f6a23ec4f024411ec8beb.json").read_text()
    with pytest.raises(TariffError, match="kWh/kW cannot be billed"):
        tariff_from_urdb(text)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"energyweekdayschedule": [[0] * 24] * 11}, "energyweekdayschedule: not 12 months of 24 hours"),
        ({"energyweekendschedule": [[7] * 24] * 12}, "energyweekendschedule: period 7, but there are 2"),
        ({"flatdemandmonths": [9] * 12}, "flatdemandmonths: not 12 indexes"),
        ({"energyratestructure": [[{"max": 3}]]}, "energyratestructure: not a list of periods of tiers"),
        ({"fixedchargefirstmeter": 3, "fixedchargeunits": "$/moon"}, "fixedchargeunits = '\\$/moon'"),
    ],
)
def test_faults_of_a_rate_name_the_field(urdb: Path, change: dict[str, object], fault: str) -> None:
    rate = json.loads((urdb / "urdbv7.json").read_text())
    with pytest.raises(TariffError, match=fault):
        tariff_from_urdb(rate | change)


@pytest.mark.parametrize("text", ["", "[]", "3", '"x"', "[{}, {}]"])
def test_what_is_not_one_rate_is_a_tariff_error(text: str) -> None:
    with pytest.raises(TariffError):
        tariff_from_urdb(text)


@pytest.mark.peer
def test_a_whole_bench_of_bills_agrees_with_the_peer() -> None:
    """`run` compares the bills of both before it gives a figure."""
    if peers_python() is None:
        pytest.skip("no environment with NREL-PySAM (make peers)")
    figures = run()
    assert figures["bills_per_s"].peer == "NREL-PySAM Utilityrate5"
    assert figures["bills_per_s"].peer_value


def test_all_faults_of_a_rate_come_at_once(urdb: Path) -> None:
    rate = json.loads((urdb / "urdbv7.json").read_text())
    with pytest.raises(TariffError) as caught:
        tariff_from_urdb(rate | {"flatdemandmonths": None, "demandweekdayschedule": 3})
    assert "flatdemandmonths" in str(caught.value)
    assert "demandweekdayschedule" in str(caught.value)

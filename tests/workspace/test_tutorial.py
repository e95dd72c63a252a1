"""The tutorial prints what it says, and its bills are those of plain arithmetic on the files.

The arithmetic knows nothing of openami: it splits files at commas, counts in decimals and rounds half up.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest

from tutorial_page import PAGE, prepared, run, steps

CENT = Decimal("0.01")
Kwh = Mapping[datetime, Decimal]
"""Energy of each interval by its beginning on the wall clock of the customer."""


@pytest.fixture(scope="module")
def folder(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which the commands of the page were run; every output is the one on the page."""
    here = tmp_path_factory.mktemp("tutorial")
    with prepared(here):
        for step in steps(PAGE.read_text("utf-8")):
            code, printed = run(step.command, shared_data)
            assert code == (2 if "invalid" in step.command else 0), step.command
            if step.printed is not None:
                assert printed == step.printed, step.command
        yield here


def amounts(bill_id: str, workspace: str, data: Path) -> tuple[list[Decimal], Decimal]:
    """Amounts of the lines of a bill, and its total."""
    code, printed = run(f"ami bill show {bill_id} -w {workspace} --json", data)
    assert code == 0
    bill = json.loads(printed)
    return [Decimal(line["amount"]) for line in bill["lines"]], Decimal(bill["amount"])


def energy_wh(bill_id: str, workspace: str, data: Path) -> int:
    """Energy of a bill in watt-hours."""
    return int(json.loads(run(f"ami bill show {bill_id} -w {workspace} --json", data)[1])["energy_wh"])


def cents(amount: Decimal | Fraction) -> Decimal:
    if isinstance(amount, Fraction):
        amount = Decimal(amount.numerator) / Decimal(amount.denominator)
    return amount.quantize(CENT, ROUND_HALF_UP)


def with_percent(
    percent: str, lines: list[Decimal], taxed: Iterable[Decimal]
) -> tuple[list[Decimal], Decimal]:
    lines = [*lines, cents(sum(taxed) * Decimal(percent) / 100)]
    return lines, sum(lines, Decimal(0))


def tiered(kwh: Decimal, *steps: tuple[str, str]) -> list[Decimal]:
    """Amounts of the tiers that are reached: (upper end, price), the last end empty."""
    found, lower = [], Decimal(0)
    for end, price in steps:
        part = max(Decimal(0), min(kwh, Decimal(end or "Infinity")) - lower)
        if part:
            found.append(cents(part * Decimal(price)))
        lower = Decimal(end or 0)
    return found


def rate_of_australia(at: datetime) -> str:
    if at.weekday() >= 5 or at.hour < 7 or at.hour >= 22:
        return "off-peak"
    return "peak" if 15 <= at.hour < 21 else "shoulder"


AUSTRALIA = {"peak": "0.42", "shoulder": "0.27", "off-peak": "0.19"}


def by_rate(kwh: Kwh) -> dict[str, Decimal]:
    sums = dict.fromkeys(AUSTRALIA, Decimal(0))
    for at, value in kwh.items():
        sums[rate_of_australia(at)] += value
    return sums


@pytest.fixture(scope="module")
def solar(shared_data: Path) -> dict[str, Kwh]:
    """Import and export of the NEM12 month."""
    path = shared_data / "mdms/nem12/examples/unzipped/Example_NEM12_month_solar.csv"
    found: dict[str, dict[datetime, Decimal]] = {}
    for fields in csv.reader(path.open()):
        if fields[0] == "200":
            stream = found.setdefault(fields[3], {})
        elif fields[0] == "300":
            day = datetime.strptime(fields[1], "%Y%m%d")
            for place in range(288):
                stream[day + place * timedelta(minutes=5)] = Decimal(fields[2 + place])
    return {"import": found["E1"], "export": found["B1"]}


def test_the_solar_month_by_time_of_use(folder: Path, shared_data: Path, solar: dict[str, Kwh]) -> None:
    supply = cents(31 * Decimal("1.10"))
    energy = [cents(kwh * Decimal(AUSTRALIA[rate])) for rate, kwh in by_rate(solar["import"]).items()]
    feed_in = -cents(sum(solar["export"].values()) * Decimal("0.06"))
    expected = with_percent("10", [supply, *energy, feed_in], [supply, *energy])
    assert amounts("NMI1234567-20230301-0001", "solar", shared_data) == expected
    assert expected[1] == Decimal("82.30")


def test_the_solar_month_by_tiers(folder: Path, shared_data: Path, solar: dict[str, Kwh]) -> None:
    supply = cents(31 * Decimal("1.10"))
    energy = tiered(sum(solar["import"].values(), Decimal(0)), ("250", "0.24"), ("", "0.33"))
    feed_in = -cents(sum(solar["export"].values()) * Decimal("0.06"))
    expected = with_percent("10", [supply, *energy, feed_in], [supply, *energy])
    assert amounts("NMI1234567-20230301-0002", "solar", shared_data) == expected
    assert expected[1] == Decimal("75.68")


def home(shared_data: Path, month: str) -> list[tuple[datetime, Decimal, Decimal]]:
    """Half-hours of a month: time, consumption and generation in kWh, whole watt-hours."""
    with (shared_data / "mdms/ausgrid/data_2011-2012.csv").open() as stream:
        rows = [fields for fields in csv.reader(stream) if fields[0].startswith(month)]
    wh = Decimal("0.001")
    return [
        (datetime.fromisoformat(at), Decimal(used).quantize(wh), Decimal(made).quantize(wh))
        for at, used, made in rows
    ]


def test_the_netted_home_by_time_of_use(folder: Path, shared_data: Path) -> None:
    rows = home(shared_data, "2012-01")
    taken = by_rate({at: max(used - made, Decimal(0)) for at, used, made in rows})
    given = by_rate({at: max(made - used, Decimal(0)) for at, used, made in rows})
    supply = cents(31 * Decimal("1.10"))
    energy = [cents(kwh * Decimal(AUSTRALIA[rate])) for rate, kwh in taken.items()]
    energy += [-cents(kwh * Decimal("0.06")) for kwh in given.values()]
    expected = with_percent("10", [supply, *energy], [supply, *energy])
    assert amounts("ausgrid-home-20110701-0001", "home", shared_data) == expected
    assert expected[1] == Decimal("295.15")


def test_the_netted_home_by_tiers(folder: Path, shared_data: Path) -> None:
    net = sum((used - made for _, used, made in home(shared_data, "2012-02")), Decimal(0))
    supply = cents(29 * Decimal("1.10"))
    energy = tiered(net, ("250", "0.24"), ("", "0.33"))
    expected = with_percent("10", [supply, *energy], [supply, *energy])
    assert amounts("ausgrid-home-20120201-0001", "home", shared_data) == expected
    assert expected[1] == Decimal("303.99")


LONDON = ["MAC000002", "MAC000005", "MAC000006", "MAC000007", "MAC000009"]
GAP = datetime(2013, 4, 5, 23, 30)
"""The half-hour that MAC000005 lacks, on the clock of London."""


def london(shared_data: Path, name: str, month: int) -> Kwh:
    table = pq.read_table(shared_data / "analytics/lcl2013_halfhourly_Wh.parquet", columns=["t", name])
    zone, kwh = ZoneInfo("Europe/London"), {}
    counts = table[name].to_pylist()
    for place, (nanoseconds, wh) in enumerate(zip(table["t"].cast("int64").to_pylist(), counts, strict=True)):
        instant = datetime.fromtimestamp(nanoseconds // 10**9, UTC)
        local = instant.astimezone(zone).replace(tzinfo=None)
        if local.month != month:
            continue
        if wh is None:
            assert (name, local) == ("MAC000005", GAP)
            mean = Decimal(str(counts[place - 1] + counts[place + 1])) / 2
            wh = mean.quantize(Decimal(1), ROUND_HALF_EVEN)  # 122.5: estimates round half to even
        kwh[local] = Decimal(str(wh)) / 1000
    return kwh


@pytest.mark.parametrize("name", LONDON)
def test_the_homes_of_london_by_one_price_by_day_and_night_and_by_tiers(
    folder: Path, shared_data: Path, name: str
) -> None:
    march, april, may = (london(shared_data, name, month) for month in (3, 4, 5))
    assert [len(month) for month in (march, april, may)] == [31 * 48 - 2, 30 * 48, 31 * 48]
    flat = [cents(sum(march.values()) * Decimal("0.1428")), cents(31 * Decimal("0.22"))]
    assert amounts(f"{name}-20130301-0001", "london", shared_data) == with_percent("5", flat, flat)
    day = sum(kwh for at, kwh in april.items() if at.hour >= 7)
    night = sum(kwh for at, kwh in april.items() if at.hour < 7)
    tou = [cents(day * Decimal("0.1612")), cents(night * Decimal("0.0705")), cents(30 * Decimal("0.22"))]
    assert amounts(f"{name}-20130401-0001", "london", shared_data) == with_percent("5", tou, tou)
    steps_of_may = ("150", "0.1180"), ("350", "0.1490"), ("", "0.1920")
    assert energy_wh(f"{name}-20130401-0001", "london", shared_data) == 1000 * sum(april.values())
    tiers = [*tiered(sum(may.values(), Decimal(0)), *steps_of_may), cents(31 * Decimal("0.22"))]
    assert amounts(f"{name}-20130501-0001", "london", shared_data) == with_percent("5", tiers, tiers)


def green_button(shared_data: Path) -> Kwh:
    """Quarter-hours of the Green Button file by the clock of New York."""
    espi, zone = "{http://naesb.org/espi}", ZoneInfo("America/New_York")
    root = ElementTree.parse(shared_data / "mdms/greenbutton/test_usage_data.xml").getroot()
    scale = Decimal(10) ** int(root.findtext(f".//{espi}ReadingType/{espi}powerOfTenMultiplier", "0"))
    found = {}
    for reading in root.iter(f"{espi}IntervalReading"):
        start = int(reading.findtext(f"{espi}timePeriod/{espi}start", ""))
        at = datetime.fromtimestamp(start, UTC).astimezone(zone).replace(tzinfo=None)
        found[at] = Decimal(reading.findtext(f"{espi}value", "")) * scale / 1000
    return found


def test_the_green_button_weeks_by_time_of_use_and_by_tiers(folder: Path, shared_data: Path) -> None:
    kwh = green_button(shared_data)
    assert len(kwh) == 1340  # 14 days less an hour
    first = {at: value for at, value in kwh.items() if at.date() < date(2012, 3, 8)}
    peak = sum(value for at, value in first.items() if at.weekday() < 5 and 12 <= at.hour < 20)
    customer = cents(Fraction(9 * 7, 31))
    rest = sum(first.values()) - peak
    tou = [customer, cents(peak * Decimal("0.2140")), cents(rest * Decimal("0.0980"))]
    point = "48C2A019-5598-4E16-B0F9-49E4FF27F5FB"
    assert amounts(f"{point}-20120301-0001", "green", shared_data) == (tou, sum(tou, Decimal(0)))
    second = Fraction(sum(kwh.values()) - sum(first.values()))
    size = Fraction(400 * 7, 31)
    tiers = [customer, cents(size * Fraction("0.1120")), cents((second - size) * Fraction("0.1690"))]
    assert amounts(f"{point}-20120308-0001", "green", shared_data) == (tiers, sum(tiers, Decimal(0)))


def test_every_bill_of_the_tutorial_follows_from_its_pins(folder: Path, shared_data: Path) -> None:
    verified = 0
    for workspace in ("solar", "home", "london", "green"):
        listed = json.loads(run(f"ami bill list -w {workspace} --json", shared_data)[1])["bills"]
        for bill in listed:
            assert run(f"ami bill verify {bill['bill']} -w {workspace}", shared_data)[0] == 0
            verified += 1
    assert verified == 2 + 2 + 15 + 2


def test_an_explanation_ends_at_the_line_of_the_file(folder: Path, shared_data: Path) -> None:
    code, printed = run("ami explain NMI1234567-20230301-0001 2 -w solar --json", shared_data)
    node = json.loads(printed)
    kinds = [node["kind"]]
    while node.get("children"):
        node = node["children"][0]
        kinds.append(node["kind"])
    assert code == 0
    assert kinds == ["line", "determinant", "day", "interval", "final", "raw", "evidence"]
    assert node["label"] == "Example_NEM12_month_solar.csv, line 35"
    path = shared_data / "mdms/nem12/examples/unzipped/Example_NEM12_month_solar.csv"
    assert path.read_text().splitlines()[34].startswith("300,20230301,.048,.044,")

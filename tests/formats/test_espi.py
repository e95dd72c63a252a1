"""Green Button files are read to the last cent; hostile XML is refused; what we write we read back."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from openami.mdm.formats import ImportResult, Policy, read_file
from openami.mdm.formats.diagnostics import CostBlock
from openami.mdm.formats.espi import STATUS_OF_QUALITY, ZONES, time_parameters
from openami.mdm.formats.espi_read import read_espi
from openami.mdm.formats.espi_write import espi_write
from openami.quantities.civil_time import CivilDay
from openami.quantities.errors import FormatError
from openami.quantities.obis import EXPORT_INTERVAL, IMPORT_INTERVAL, ObisCode
from openami.quantities.status import MISSING, SUSPECT, VALID, Quality, Status
from openami.quantities.units import WH, Quantum, Unit
from openami.readings.interval_block import IntervalBlock

CAPTURED = datetime(2025, 1, 1, tzinfo=UTC)
NEW_YORK = "America/New_York"


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "mdms" / "greenbutton"


def read(path: Path, policy: Policy = Policy.STRICT, zone: str | None = None) -> ImportResult:
    return read_file(path, policy=policy, zone=zone, captured_at=CAPTURED)


def naive(path: Path) -> tuple[int, int, int]:
    """Readings, sum of values and sum of costs, by walking the tree."""
    espi = "{http://naesb.org/espi}"
    readings = list(ElementTree.parse(path).getroot().iter(f"{espi}IntervalReading"))
    values = sum(int(reading.findtext(f"{espi}value", "")) for reading in readings)
    return len(readings), values, sum(int(reading.findtext(f"{espi}cost", "0")) for reading in readings)


@pytest.mark.parametrize(
    ("name", "zone", "blocks", "readings", "value", "cost"),
    [
        ("TestGBDataHourlyNineDaysBinnedDaily.xml", NEW_YORK, 9, 216, 199_563, 2_205_567),
        ("TestGBDataOneYearDailyBinnedMonthly.xml", NEW_YORK, 444, 444, 9_917_817, 107_212_833),
        ("electric_containerized.xml", "America/Los_Angeles", 1, 8, 4_086, 0),
        ("test_usage_data.xml", NEW_YORK, 14, 1_340, 1_391_666, 14_999_132),
    ],
)
def test_electricity_is_read_exactly(
    folder: Path, name: str, zone: str, blocks: int, readings: int, value: int, cost: int
) -> None:
    result = read(folder / name)
    assert result.errors == ()
    assert naive(folder / name) == (readings, value, cost)
    assert len(result.intervals) == blocks
    assert sum(int((~block.missing).sum()) for block in result.intervals) == readings
    assert sum(block.quantum.decimal(block.total) for block in result.intervals) == value
    assert sum(price.total for price in result.costs) == cost
    assert {block.day.zone for block in result.intervals} == {zone}
    assert {price.currency for price in result.costs} <= {"USD"}


def test_daily_readings_are_blocks_of_the_length_of_the_day(folder: Path) -> None:
    result = read(folder / "TestGBDataOneYearDailyBinnedMonthly.xml")
    lengths = {block.day.day: block.interval_s for block in result.intervals if block.interval_s != 86_400}
    assert lengths == {date(2013, 3, 10): 82_800, date(2013, 11, 3): 90_000, date(2014, 3, 9): 82_800}
    assert result.period_totals[-1].origin == "summary"
    assert (result.period_totals[-1].value, result.period_totals[-1].cost) == (447_993, 4_807_000)


def test_days_of_23_hours_have_92_quarter_hours(folder: Path) -> None:
    result = read(folder / "test_usage_data.xml")
    lengths = {block.day.day: len(block.values) for block in result.intervals if len(block.values) != 96}
    assert lengths == {date(2012, 3, 11): 92}
    first = result.intervals[0]
    assert [str(Status.from_id(int(status))) for status in first.status_ids[:3]] == ["E14", "S", "A"]


def test_intervals_that_no_reading_names_are_missing(folder: Path) -> None:
    (block,) = read(folder / "electric_containerized.xml").intervals
    assert block.missing.nonzero()[0].tolist() == [4, 5, 6, 7, 8, 9, 10, 11, 16, 17, 18, 19, 20, 21, 22, 23]
    assert block.values[:4].tolist() == [450, 430, 418, 410]


def test_gas_without_a_unit_of_ours_is_refused_and_says_so(folder: Path) -> None:
    therms = read(folder / "ngma_natural_gas_billing_billing_data_Service_1_1_2021-05-26_to_2024-04-25.xml")
    assert [(fault.line, fault.code) for fault in therms.errors] == [(47, "unit"), (None, "zone")]
    assert "uom 169 (therms) has no channel" in therms.errors[0].message
    assert therms.intervals == ()
    nothing = read(folder / "ngma_gas_provider_2024-07-16.xml", zone=NEW_YORK)
    assert [fault.code for fault in nothing.errors] == ["unit"]
    assert nothing.errors[0].message == "the ReadingType has no uom"
    floats = [fault for fault in nothing.warnings if fault.code == "float_epoch"]
    assert len(floats) == 36
    assert floats[0].message == "start 1721154384.66136 has a fraction"


def test_a_customer_feed_has_no_readings_and_says_what_it_has(folder: Path) -> None:
    result = read(folder / "Customer-Subscription-Feed-Anonymized.xml")
    assert [fault.code for fault in result.errors] == ["no_data"]
    assert "the feed holds Customer" in result.errors[0].message


FEED = """<?xml version="1.0"?>
<feed xmlns="http://www.w3.org/2005/Atom"><id>urn:uuid:1</id><updated>2024-02-01T00:00:00Z</updated>
<entry><id>urn:uuid:5446AF3F-0000-4000-8000-000000000001</id><link rel="self" href="/UsagePoint/1"/>
<link rel="related" href="/UsagePoint/1/MeterReading/1"/><content><UsagePoint xmlns="http://naesb.org/espi"/>
</content></entry>
<entry><id>urn:uuid:2</id><link rel="self" href="/LocalTimeParameters/1"/><content>
<LocalTimeParameters xmlns="http://naesb.org/espi"><dstEndRule>B40E2000</dstEndRule><dstOffset>3600</dstOffset>
<dstStartRule>360E2000</dstStartRule><tzOffset>-18000</tzOffset></LocalTimeParameters></content></entry>
<entry><id>urn:uuid:3</id><link rel="self" href="/UsagePoint/1/MeterReading/1"/>
<link rel="related" href="/UsagePoint/1/MeterReading/1/IntervalBlock"/>
<link rel="related" href="/ReadingType/1"/><content><MeterReading xmlns="http://naesb.org/espi"/></content></entry>
<entry><id>urn:uuid:4</id><link rel="self" href="/ReadingType/1"/><content>
<ReadingType xmlns="http://naesb.org/espi"><accumulationBehaviour>4</accumulationBehaviour>
<flowDirection>1</flowDirection><powerOfTenMultiplier>0</powerOfTenMultiplier><uom>72</uom></ReadingType>
</content></entry>
<entry><id>urn:uuid:5</id><link rel="up" href="/UsagePoint/1/MeterReading/1/IntervalBlock"/><content>
<IntervalBlock xmlns="http://naesb.org/espi">
{readings}
</IntervalBlock></content></entry></feed>
"""
MIDNIGHT = 1_704_085_200  # 2024-01-01 in New York


def reading(hour: int, value: object, seconds: int = 3600, extra: str = "") -> str:
    period = f"<duration>{seconds}</duration><start>{MIDNIGHT + 3600 * hour}</start>"
    return (
        f"<IntervalReading>{extra}<timePeriod>{period}</timePeriod><value>{value}</value></IntervalReading>"
    )


def feed(*readings: str, policy: Policy = Policy.STRICT, **changes: str) -> ImportResult:
    text = FEED.format(readings="\n".join(readings))
    for old, new in changes.items():
        text = text.replace({"uom": "<uom>72", "flow": "<flowDirection>1", "power": "Multiplier>0"}[old], new)
    return read_espi(text.encode(), "t.xml", policy=policy, captured_at=CAPTURED)


DAY = [reading(hour, hour) for hour in range(24)]


def test_power_of_ten_and_direction() -> None:
    (block,) = feed(*DAY, power="Multiplier>3", flow="<flowDirection>19").intervals
    assert (block.channel, block.quantum, block.values[5]) == (EXPORT_INTERVAL, WH, 5_000)
    (block,) = feed(*DAY, power="Multiplier>-3").intervals
    assert (block.quantum, block.values[5]) == (Quantum(Unit.WATT_HOUR, -3), 5)
    (block,) = feed(*DAY, uom="<uom>42").intervals
    assert (str(block.channel), block.quantum.unit) == ("7-0:3.29.0", Unit.CUBIC_METRE)


def test_all_faults_are_listed_and_their_days_refused() -> None:
    rows = list(DAY) + [reading(hour, hour) for hour in range(24, 48)]
    rows[3] = reading(3, "3.5")
    rows[5] = reading(5, 5, extra="<cost>x</cost>")
    rows[7] = rows[7].replace("<start>", "<begin>").replace("</start>", "</begin>")
    rows[9] = reading(9, 9, seconds=-3600)
    result = feed(*rows)
    first = FEED[: FEED.index("{readings}")].count("\n") + 1
    assert [(fault.line, fault.code) for fault in result.errors] == [
        (first + 3, "interval_reading"), (first + 5, "interval_reading"),
        (first + 7, "time_period"), (first + 9, "time_period"),
    ]  # fmt: skip
    assert [block.day.day for block in result.intervals] == [date(2024, 1, 2)]


def test_duplicates_and_overlaps() -> None:
    equal = feed(*DAY, DAY[4])
    assert equal.ok
    assert [fault.code for fault in equal.warnings] == ["duplicate"]
    assert equal.intervals[0].total == sum(range(24))
    assert [fault.code for fault in feed(*DAY, reading(4, 99)).errors] == ["conflicting_duplicate"]
    tolerant = feed(*DAY, reading(4, 99), policy=Policy.TOLERANT)
    assert tolerant.intervals[0].missing.nonzero()[0].tolist() == [4]
    assert [fault.code for fault in feed(*DAY[:-1], reading(23, 1, seconds=7200)).errors] == ["duration"]


def test_a_month_is_a_period_total_and_no_block() -> None:
    result = feed(reading(0, 700_000, seconds=31 * 86_400, extra="<cost>9000000</cost>"))
    assert result.intervals == ()
    (total,) = result.period_totals
    assert (total.value, total.seconds, total.cost, total.origin) == (
        700_000,
        2_678_400,
        9_000_000,
        "reading",
    )


def test_cumulative_readings_are_register_reads() -> None:
    text = FEED.format(readings="\n".join(DAY)).replace(
        "<accumulationBehaviour>4", "<accumulationBehaviour>3"
    )
    result = read_espi(text.encode(), "t.xml", policy=Policy.STRICT, captured_at=CAPTURED)
    assert result.intervals == ()
    assert len(result.register_reads) == 24
    assert str(result.register_reads[5].register) == "1-0:1.8.0"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "xml"),
        (b"<feed", "xml"),
        (b"<feed/>", "not_espi"),
        (b"<html xmlns='http://www.w3.org/1999/xhtml'/>", "not_espi"),
        (b"\xff\xfe<\x00f", "xml"),
        (b'<?xml version="1.0" encoding="klingon"?><feed/>', "xml"),
        (b"<!DOCTYPE feed SYSTEM 'http://example.org/x.dtd'><feed/>", "xml"),
        (
            b"<!DOCTYPE f [<!ENTITY a 'aaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;'>]><f>&b;</f>",
            "xml",
        ),
        (b"<!DOCTYPE feed [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><feed>&x;</feed>", "xml"),
        (b"<feed xmlns='http://www.w3.org/2005/Atom'>" + b"<a>" * 100_000, "xml"),
        (b"<feed xmlns='http://www.w3.org/2005/Atom'>&undefined;</feed>", "xml"),
    ],
)
def test_hostile_or_broken_xml_is_one_clear_error(data: bytes, code: str) -> None:
    result = read_espi(data, "t.xml", policy=Policy.STRICT, captured_at=CAPTURED)
    assert [fault.code for fault in result.errors] == [code]
    assert result.intervals == ()


def test_a_feed_without_time_parameters_needs_a_zone() -> None:
    text = FEED.format(readings="\n".join(DAY)).replace("LocalTimeParameters", "Other").encode()
    without = read_espi(text, "t", policy=Policy.STRICT, captured_at=CAPTURED)
    assert [fault.code for fault in without.errors] == ["zone"]
    assert (without.intervals, without.evidence) == ((), ())
    given = read_espi(text, "t", policy=Policy.STRICT, zone=NEW_YORK, captured_at=CAPTURED)
    assert given.ok
    assert len(given.intervals) == 1


# -- writing --------------------------------------------------------------------------------------


def block(
    day: date, zone: str, channel: ObisCode, interval_s: int, seed: int, **changes: object
) -> IntervalBlock:
    civil = CivilDay(day, zone)
    draw = np.random.default_rng(seed)
    count = civil.interval_count(interval_s)
    status = draw.choice(
        np.array([VALID, MISSING, *sorted(set(STATUS_OF_QUALITY.values()))], np.int32), count
    )
    fields: dict[str, object] = {
        "series_id": "METER & Söhne <1>", "channel": channel, "day": civil, "interval_s": interval_s,
        "quantum": WH, "values": draw.integers(-5, 10**6, count), "captured_at": CAPTURED, "status": status,
    } | changes  # fmt: skip
    return IntervalBlock(**fields)  # type: ignore[arg-type]


def known(item: IntervalBlock) -> tuple[object, ...]:
    return (
        item.series_id, item.channel, item.day, item.interval_s, item.quantum, item.values.tolist(),
        item.status_ids.tolist(), item.captured_at,
    )  # fmt: skip


@pytest.mark.parametrize("zone", [*sorted(ZONES.values()), "Etc/UTC", "Etc/GMT+5"])
def test_what_is_written_is_read_back_the_same(zone: str) -> None:
    changes = [date(2024, 1, 1 + 0), date(2024, 3, 10), date(2024, 3, 31), date(2024, 4, 7),
                        date(2024, 10, 6), date(2024, 10, 27), date(2024, 11, 3)]  # fmt: skip
    blocks = [
        block(day, zone, channel, interval_s, seed)
        for seed, day in enumerate(changes)
        for channel, interval_s in ((IMPORT_INTERVAL, 900), (EXPORT_INTERVAL, 3600))
    ]
    draw = np.random.default_rng(9)
    costs = [
        CostBlock(
            item.series_id, item.channel, item.day, item.interval_s, "EUR",
            np.where(item.missing, 0, draw.integers(-10, 10**7, len(item.values))), ~item.missing,
        )
        for item in blocks
    ]  # fmt: skip
    data = espi_write(blocks, updated=CAPTURED, title="A & B", costs=costs)
    result = read_espi(data, "t.xml", policy=Policy.STRICT, captured_at=CAPTURED)
    assert result.diagnostics == ()
    order = sorted(result.intervals, key=lambda item: (item.day.day, str(item.channel)))
    assert [known(item) for item in order] == [known(item) for item in blocks]
    prices = {(cost.channel, cost.day): (cost.currency, cost.counts.tolist()) for cost in result.costs}
    assert prices == {(cost.channel, cost.day): ("EUR", cost.counts.tolist()) for cost in costs}
    assert data == espi_write(blocks, updated=CAPTURED, title="A & B", costs=costs)


def test_real_files_survive_reading_and_writing(folder: Path) -> None:
    for name in ("TestGBDataOneYearDailyBinnedMonthly.xml", "test_usage_data.xml"):
        first = read(folder / name)
        data = espi_write(first.intervals, updated=CAPTURED, title=name, costs=first.costs)
        second = read_espi(data, name, policy=Policy.STRICT, captured_at=CAPTURED)
        assert second.ok
        assert [known(item) for item in second.intervals] == [known(item) for item in first.intervals]
        assert [cost.counts.tolist() for cost in second.costs] == [
            cost.counts.tolist() for cost in first.costs
        ]
        assert second.usage_points == first.usage_points


def test_statuses_finer_than_espi_become_the_nearest() -> None:
    finer = [Status(Quality.FINAL_SUBSTITUTE, 15, 3).id, Status(Quality.ESTIMATED, 54).id, SUSPECT, VALID]
    status = np.array(finer, np.int32)
    item = block(date(2024, 1, 1), "Etc/UTC", IMPORT_INTERVAL, 21_600, 1, status=status)
    data = espi_write([item], updated=CAPTURED, title="t")
    (back,) = read_espi(data, "t", policy=Policy.STRICT, captured_at=CAPTURED).intervals
    assert [str(Status.from_id(int(status))) for status in back.status_ids] == ["S", "E17", "Q", "A"]


def test_what_espi_cannot_say_is_refused() -> None:
    day = date(2024, 1, 1)
    two_zones = [block(day, zone, IMPORT_INTERVAL, 3600, 1) for zone in (NEW_YORK, "Etc/UTC")]
    unknown_rules = [block(day, "Africa/Casablanca", IMPORT_INTERVAL, 3600, 1)]
    voltage = [block(day, NEW_YORK, ObisCode(1, 0, 32, 7, 0), 3600, 1)]
    for blocks, said in (
        (two_zones, "several zones"),
        (unknown_rules, "rules of Africa/Casablanca are not known"),
        (voltage, "channel 1-0:32.7.0"),
    ):
        with pytest.raises(FormatError) as caught:
            espi_write(blocks, updated=CAPTURED, title="t")
        assert said in str(caught.value)


def test_rules_of_summer_time_are_those_of_the_zone() -> None:
    """Decode each packed rule and compare the instants with the time zone database."""
    for (offset, start, end), zone in ZONES.items():
        parameters = time_parameters(zone, 2024)
        assert parameters is not None
        assert parameters.zone == zone
        for rule, before in ((start, offset), (end, offset + 3600)):
            packed = int(rule, 16)
            month, week, hour = packed >> 28, packed >> 25 & 7, packed >> 12 & 31
            assert packed >> 17 & 7 == 7, "a Sunday"
            sundays = [day for day in range(1, 32) if _is_sunday(2024, month, day)]
            day = {2: sundays[0], 3: sundays[1], 7: sundays[-1]}[week]
            change = datetime(2024, month, day, hour, tzinfo=UTC).timestamp() - before
            civil = [CivilDay(date(2024, month, day), zone)]
            assert civil[0].seconds != 86_400
            assert civil[0].start.timestamp() < change < civil[0].end.timestamp()


def _is_sunday(year: int, month: int, day: int) -> bool:
    try:
        return date(year, month, day).isoweekday() == 7
    except ValueError:
        return False

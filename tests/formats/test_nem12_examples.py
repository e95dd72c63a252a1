"""Every published example of NEM12 and NEM13 is read; every broken one is refused with its line."""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from openami.mdm.formats import ImportResult, Policy, Severity, read_file
from openami.mdm.formats.mdff import UNITS
from openami.quantities.obis import ObisCode, lookup
from openami.quantities.status import Status

CAPTURED = datetime(2025, 1, 1, tzinfo=UTC)

ODD_EXAMPLES = {
    # published examples that deviate from the MDFF, and by what: they are read, with these warnings
    # its third stream, V1, has no unit and an interval of 10 minutes: known, but no channel of ours
    "Example_NEM12_different_interval_length.csv": {
        "header_participant",
        "nmi_length",
        "stream_not_imported",
        "update_time",
    },
    "Example_different_intervals.zip": {
        "header_participant",
        "nmi_length",
        "stream_not_imported",
        "update_time",
    },
    "Example_NEM12_ManyNMIs.zip": {"nmi_length", "header_participant", "update_time"},
    "Example_NEM12_no_scheduled_read.csv": {"nmi_length", "missing_fields"},  # 9 fields in the 200 record
    "Example_WesternPower.csv": {"trailing_fields", "missing_fields"},  # padded by a spreadsheet
    "Example_NEM12_month_solar.csv": {"header_participant"},
    "Example_NEM12_partialchannel.csv": {"header_participant"},
    "NEM12#NEM1205085Scenario5#GLOBALM#NEMMCO.ZIP": {"trailing_fields"},  # "900,"
    # forward estimates: updated before the day they speak of
    "NEM12#NEM1209165Scenario9#GLOBALM#NEMMCO.ZIP": {"update_time"},
    "NEM12#SCENARIO4#UNITEDDP#NEMMCO.zip": {"update_time"},
    "NEM12#SCENARIO5#UNITEDDP#NEMMCO.zip": {"update_time"},
    "NEM12#SCENARIO9#UNITEDDP#NEMMCO.zip": {"update_time"},
    "NEM12#Scenario01#ETSAMDP#NEMMCO.zip": {"update_time"},
    "NEM12#Scenario01#POWERMDP#NEMMCO.zip": {"update_time"},
    "NEM12#Scenario10#ETSAMDP#NEMMCO.zip": {"wrapped_record"},  # a 300 record over three lines
    "Example_NEM13_consumption_data.csv": {"blanks"},
    "Example_NEM13_forward_estimate.csv": {"blanks", "quantity"},  # 65 stated, 65.0 x 1 expected of 0000950
    "NEM13#000000000000011#CNRGYMDP#NEMMCO.zip": {"quantity"},
    "NEM13#000000000000012#CNRGYMDP#NEMMCO.zip": {"quantity"},
    "NEM13#Scenario12#ETSAMDP#NEMMCO.zip": {"quantity"},  # export with a negative quantity
    "NEM13#Scenario12#POWERMDP#NEMMCO.zip": {"quantity"},
    "NEM13#Scenario18#ETSAMDP#NEMMCO.zip": {"superseded"},  # two reads of one meter at one time
    "NEM13#Scenario18#POWERMDP#NEMMCO.zip": {"superseded"},
    "nem13#12#INTEGM#NEMMCO.zip": {"quantity"},
    "nem13#SCENARIO12#TCAUSTM#NEMMCO.zip": {"quantity"},
    "nem13#SCENARIO13#TCAUSTM#NEMMCO.zip": {"quantity"},
    "nem13#SCENARIO15#TCAUSTM#NEMMCO.zip": {"quantity"},
}


@pytest.fixture(scope="module")
def examples(shared_data: Path) -> Path:
    return shared_data / "mdms" / "nem12" / "examples"


@pytest.fixture(scope="module")
def valid(examples: Path) -> dict[str, ImportResult]:
    files = sorted(path for path in examples.rglob("*") if path.is_file() and path.parent.name != "invalid")
    return {path.name: read_file(path, policy=Policy.STRICT, captured_at=CAPTURED) for path in files}


def plain_files(examples: Path) -> Iterator[tuple[str, str]]:
    """Name and text of each valid example, unpacked by the standard library."""
    for path in sorted(examples.rglob("*")):
        if not path.is_file() or path.parent.name == "invalid":
            continue
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    yield path.name, archive.read(name).decode("utf-8")
        else:
            yield path.name, path.read_text("utf-8")


def test_every_valid_example_is_read_strictly(valid: dict[str, ImportResult]) -> None:
    refused = {
        name: [str(fault) for fault in result.errors] for name, result in valid.items() if not result.ok
    }
    assert refused == {}
    assert len(valid) == 169
    assert Counter(result.format for result in valid.values()) == {"nem12": 106, "nem13": 63}


def test_only_odd_examples_have_warnings(valid: dict[str, ImportResult]) -> None:
    found = {
        name: {fault.code for fault in result.warnings} for name, result in valid.items() if result.warnings
    }
    assert found == ODD_EXAMPLES


def test_readings_of_the_valid_examples_by_quality(valid: dict[str, ImportResult]) -> None:
    letters: Counter[str] = Counter()
    for result in valid.values():
        for block in result.intervals:
            letters.update(str(Status.from_id(int(status))) for status in block.status_ids)
    assert letters == Counter(
        {
            "A": 121_391, "E52": 2_030, "S15": 1_547, "E56": 997, "S14": 896, "F14": 481, "F55": 144,
            "E54": 122, "F51": 104, "S56": 94, "S51": 74, "N": 72, "F56": 65, "F52": 52, "S11": 30,
            "S52": 26, "F18": 16, "F15": 13, "F12": 5, "F17": 1,
        }
    )  # fmt: skip
    assert letters.total() == sum(result.readings for result in valid.values() if result.format == "nem12")


def test_values_are_those_of_a_naive_reading(examples: Path, valid: dict[str, ImportResult]) -> None:
    """Sum of each file by splitting at commas and adding decimals, beside the sum of its blocks."""
    expected: dict[str, Decimal] = {}
    for name, text in plain_files(examples):
        if not text.startswith("100,NEM12") or name == "NEM12#Scenario10#ETSAMDP#NEMMCO.zip":
            continue
        unit, count, total, day = Decimal(0), 0, Decimal(0), list[Decimal]()
        for line in text.splitlines():
            fields = line.split(",")
            if fields[0] == "200":
                unit = Decimal(10) ** UNITS[fields[7].upper()].exponent if fields[7] else Decimal(0)
                count = 1440 // int(fields[8])
            elif fields[0] == "300":
                day = [unit * Decimal(field) for field in fields[2 : 2 + count]]
                total += 0 if fields[2 + count] == "N" else sum(day)
            elif fields[0] == "400" and fields[3] == "N":
                total -= sum(day[int(fields[1]) - 1 : int(fields[2])])
        expected[name] = total
    assert len(expected) == 105
    for name, total in expected.items():
        blocks = valid[name].intervals
        whole = sum((block.quantum.decimal(block.total) for block in blocks), Decimal(0))
        assert whole == total, name


def test_import_and_export_are_named_from_the_customers_side(valid: dict[str, ImportResult]) -> None:
    result = valid["Example_NEM12_multiple_meters.csv"]
    totals = {
        (block.series_id, str(block.channel), block.day.day.isoformat()): block.quantum.decimal(block.total)
        for block in result.intervals
    }
    assert totals["METSER123", "1-0:1.29.0", "2003-12-04"] == 960  # E1: 96 x 10 Wh
    assert totals["METSER123", "1-0:2.29.0", "2003-12-04"] == 960  # B1
    assert totals["METSER123", "1-0:3.29.0", "2003-12-04"] == 4_800  # Q1: 96 x 50 varh
    assert totals["METSER456", "1-0:1.29.0", "2003-12-04"] == 9_600  # E2 of another meter
    assert result.usage_points["METSER456"] == "NCDE001111"
    assert result.usage_points["METSER991"] == "NDDD001888"


def test_a_second_stream_of_one_meter_keeps_its_own_channel(valid: dict[str, ImportResult]) -> None:
    result = valid["NEM12#Scenario01#ETSAMDP#NEMMCO.zip"]
    assert {str(block.channel) for block in result.intervals} == {"1-0:1.29.0", "1-2:1.29.0"}
    assert {block.series_id for block in result.intervals} == {"01011"}
    assert lookup(ObisCode.parse("1-2:1.29.0")).name_en == "Active energy import per interval, channel 2"


def test_qualities_of_parts_of_a_day(valid: dict[str, ImportResult]) -> None:
    (block,) = valid["Example_NEM12_multiple_quality.csv"].intervals
    assert [str(Status.from_id(int(block.status_ids[i]))) for i in (0, 19, 20, 23, 24, 47)] == [
        "F14", "F14", "A", "A", "S14", "S14",
    ]  # fmt: skip
    assert Status.from_id(int(block.status_ids[0])).reason == 76
    assert block.values[0] == 18_023  # 18.023 kWh in Wh
    assert block.day.start == datetime(2004, 4, 16, 14, tzinfo=UTC)  # midnight of UTC+10


def test_evidence_is_the_line_and_the_hash_of_the_file(
    valid: dict[str, ImportResult], examples: Path
) -> None:
    result = valid["Example_NEM12_multiple_quality.csv"]
    (item,) = result.evidence
    data = (examples / "unzipped" / "Example_NEM12_multiple_quality.csv").read_bytes()
    assert item.locator == "lines 3-6"
    assert item.content.startswith(b"300,20040417,18.023,")
    assert item.content.endswith(b"400,25,48,S14,1,")
    assert item.content in data
    assert item.sha256 == hashlib.sha256(data).hexdigest()
    assert result.intervals[0].evidence_id == item.evidence_id


def test_registers_of_nem13(valid: dict[str, ImportResult]) -> None:
    result = valid["Example_NEM13_consumption_data.csv"]
    previous, current = result.register_reads
    assert previous.register == current.register == ObisCode.parse("1-0:1.8.0")
    assert (previous.value, current.value) == (6_342_800, 7_654_900)  # 6342.8 and 7654.9 kWh
    assert current.value - previous.value == 1_312_100
    assert previous.at == datetime(2003, 10, 4, 23, 30, 55, tzinfo=UTC)
    assert previous.meter_id == "METSER123"
    assert result.usage_points["METSER123"] == "VABC005890"
    rates = valid["Example_NEM13_forward_estimate.csv"].register_reads
    assert [(read.meter_id, str(read.register), str(Status.from_id(read.status))) for read in rates] == [
        ("MET12345", "1-0:1.8.1", "A"), ("MET12345", "1-0:1.8.1", "E64"),
        ("MET5678", "1-0:1.8.2", "A"), ("MET5678", "1-0:1.8.2", "E64"),
    ]  # fmt: skip
    assert sum(len(item.register_reads) for item in valid.values()) == 222


INVALID = {
    "Example_NEM12_15min_200_30min_300.csv": [(3, "interval_count")],
    "Example_NEM12_15min_200_30min_400.csv": [(3, "interval_range")],  # 400 records cover 48 of 96
    "Example_NEM12_30min_200_15min_300.csv": [(3, "interval_count")],
    "Example_NEM12_30min_200_15min_400.csv": [
        (3, "interval_count"), (4, "quality_flag"), (5, "interval_range"),
    ],
    "Example_NEM12_empty.csv": [(2, "no_data")],
    "Example_NEM12_incomplete_interval.csv": [(3, "interval_count")],
    "Example_NEM12_missing_header.csv": [(1, "blank_line"), (2, "missing_header")],
    "Example_NEM12_powercor.csv": [
        (1, "blank_line"), (2, "missing_header"), (8, "after_end"), (9, "conflicting_duplicate"),
        (11, "conflicting_duplicate"),
    ],
    "Example_NEM12_powercor.csv.zip": [(1, "blank_line"), (2, "missing_header"), (8, "after_end")],
    "Example_NEM12_powercor_missing_fields.csv": [
        (1, "blank_line"), (2, "missing_header"), (3, "missing_fields"), (5, "missing_fields"),
        (8, "after_end"), (9, "missing_fields"), (11, "missing_fields"),
    ],
    "Example_empty_file.csv": [(None, "empty_file")],
}  # fmt: skip


def test_every_invalid_file_is_refused_with_all_of_its_lines(examples: Path) -> None:
    names = {path.name for path in (examples / "invalid").iterdir()}
    assert names == set(INVALID)
    for name, expected in INVALID.items():
        result = read_file(examples / "invalid" / name, policy=Policy.STRICT, captured_at=CAPTURED)
        assert not result.ok
        assert [(fault.line, fault.code) for fault in result.errors] == expected, name


@pytest.mark.parametrize(
    ("name", "readings"),
    [
        ("Example_NEM12_powercor.csv", 192),
        ("Example_NEM12_powercor.csv.zip", 96),  # here both halves are the same
        ("Example_NEM12_missing_header.csv", 96),
    ],
)
def test_odd_files_are_read_tolerantly_with_warnings(examples: Path, name: str, readings: int) -> None:
    """Powercor's exporter leaves the header out and joins files: odd, but the readings are sound."""
    result = read_file(examples / "invalid" / name, policy=Policy.TOLERANT, captured_at=CAPTURED)
    assert result.ok
    assert result.readings == readings
    assert {"blank_line", "missing_header"} <= {fault.code for fault in result.warnings}


def test_wrong_files_stay_refused_when_tolerant(examples: Path) -> None:
    for name in INVALID:
        if "powercor" in name or "missing_header" in name:
            continue
        result = read_file(examples / "invalid" / name, policy=Policy.TOLERANT, captured_at=CAPTURED)
        assert any(fault.severity is Severity.ERROR for fault in result.diagnostics), name


def test_good_days_of_a_broken_file_are_kept_apart(examples: Path) -> None:
    path = examples / "invalid" / "Example_NEM12_incomplete_interval.csv"
    result = read_file(path, policy=Policy.STRICT, captured_at=CAPTURED)
    assert [(part.first, part.last, part.what) for part in result.refused] == [(3, 3, "300 record")]
    assert result.bad_lines == (3,)
    assert [(str(block.channel), block.day.day.day) for block in result.intervals] == [
        ("1-0:1.29.0", 2), ("1-0:3.29.0", 1), ("1-0:3.29.0", 2),
    ]  # fmt: skip

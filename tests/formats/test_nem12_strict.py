"""NEM12 faults are found, all of them, each with its line; a cut file never gives a wrong value."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from openami.mdm.formats import read_file
from openami.mdm.formats.diagnostics import ImportResult, Policy
from openami.mdm.formats.mdff import nmi_checksum
from openami.mdm.formats.nem12_read import read_nem12
from openami.mdm.formats.nem13_read import read_nem13
from openami.quantities.status import Status
from openami.readings.interval_block import IntervalBlock

CAPTURED = datetime(2025, 1, 1, tzinfo=UTC)
HEADER = "100,NEM12,202401020304,MDA1,RET1"
STREAM = "200,NMI1234567,E1B1,1,E1,,SN1,kWh,30,20250101"
VALUES = ",".join(f"{i}.{i:03d}" for i in range(48))
DAY = f"300,20240101,{VALUES},A,,,20240102030405,20240102040506"
VARIABLE = f"300,20240101,{VALUES},V,,,20240102030405,"


def nem12(*lines: str, policy: Policy = Policy.STRICT) -> ImportResult:
    text = "\r\n".join(lines) + "\r\n"
    return read_nem12(text.encode("utf-8"), "test.csv", policy=policy, captured_at=CAPTURED)


def faults(*lines: str, policy: Policy = Policy.STRICT) -> list[tuple[int | None, str]]:
    return [(fault.line, fault.code) for fault in nem12(*lines, policy=policy).errors]


def test_a_sound_file_has_no_fault() -> None:
    result = nem12(HEADER, STREAM, DAY, "900")
    assert result.diagnostics == ()
    (block,) = result.intervals
    assert block.series_id == "SN1"
    assert block.values.tolist() == [1001 * i for i in range(48)]
    assert block.captured_at == datetime(2024, 1, 1, 17, 4, 5, tzinfo=UTC)
    assert result.usage_points == {"SN1": "NMI1234567"}


def test_all_faults_of_a_file_are_listed() -> None:
    found = faults(
        HEADER,
        STREAM,
        DAY.replace("20240101", "20240230", 1),
        DAY.replace(",A,", ",Z,"),
        DAY.replace("47.047", "4x.047"),
        DAY.replace("0.000,", "", 1),
        DAY.replace("20240102030405", "20240102036005"),
        "400,1,48,A,,",
        "450,nothing",
        STREAM.replace("kWh", "litres").replace("E1B1", "B1"),
        STREAM.replace(",30,", ",7,").replace(",E1,", ",?1,"),
        "500,Z,,20241301000000,",
        "900",
    )
    assert found == [
        (3, "date"), (4, "quality_flag"), (5, "interval_value"), (6, "interval_count"), (7, "time"),
        (9, "record_indicator"), (10, "nmi_configuration"), (10, "unit"), (11, "nmi_suffix"),
        (11, "interval_length"), (12, "transaction_code"), (12, "time"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["100,NEM14,202401020304,A,B", STREAM, DAY, "900"], (1, "header_version")),
        (["100,NEM12,202413020304,A,B", STREAM, DAY, "900"], (1, "header_time")),
        ([STREAM, DAY, "900"], (1, "missing_header")),
        ([HEADER, HEADER, STREAM, DAY, "900"], (2, "second_header")),
        ([HEADER, DAY, "900"], (2, "record_order")),
        ([HEADER, "400,1,48,A,,", "900"], (2, "record_order")),
        ([HEADER, STREAM, DAY, "400,1,48,A,,", "900"], (4, "record_order")),
        ([HEADER, STREAM, DAY, "250,x", "900"], (4, "record_order")),
        ([HEADER, STREAM, DAY, "900", DAY], (5, "after_end")),
        ([HEADER, STREAM, DAY], (3, "missing_end")),
        ([HEADER, STREAM.replace("NMI1234567", "NMI 123456"), DAY, "900"], (2, "nmi")),
        ([HEADER, STREAM.replace("E1B1", "B1"), DAY, "900"], (2, "nmi_configuration")),
        ([HEADER, STREAM.replace("kWh", "kVArh"), DAY, "900"], (2, "unit")),
        ([HEADER, STREAM.rsplit(",", 3)[0], DAY, "900"], (2, "field_count")),
        ([HEADER, STREAM, DAY.replace("5.005", "-5.005"), "900"], (3, "negative_value")),
        ([HEADER, STREAM, DAY.replace("5.005", ""), "900"], (3, "interval_value")),
        ([HEADER, STREAM, DAY.replace("5.005", "1" * 19), "900"], (3, "interval_value")),
        ([HEADER, STREAM, DAY.replace("5.005", "0." + "1" * 13), "900"], (3, "interval_value")),
        ([HEADER, STREAM, DAY.replace(",A,,", ",S14,,"), "900"], (3, "reason_missing")),
        ([HEADER, STREAM, DAY.replace(",A,,", ",S99,1,"), "900"], (3, "quality_method")),
        ([HEADER, STREAM, DAY.replace(",A,,", ",A14,,"), "900"], (3, "quality_method")),
        ([HEADER, STREAM, DAY.replace(",A,,", ",E52,100,"), "900"], (3, "reason_code")),
        ([HEADER, STREAM, DAY + ",surplus", "900"], (3, "field_count")),
        ([HEADER, STREAM, VARIABLE, "900"], (3, "interval_range")),
        ([HEADER, STREAM, VARIABLE, "400,1,47,A,,", "900"], (3, "interval_range")),
        ([HEADER, STREAM, VARIABLE, "400,1,24,A,,", "400,26,48,A,,", "900"], (5, "interval_range")),
        ([HEADER, STREAM, VARIABLE, "400,1,24,A,,", "400,24,48,A,,", "900"], (5, "interval_range")),
        ([HEADER, STREAM, VARIABLE, "400,1,49,A,,", "900"], (4, "interval_range")),
        ([HEADER, STREAM, VARIABLE, "400,2,1,A,,", "900"], (4, "interval_range")),
        ([HEADER, STREAM, VARIABLE, "400,1,48,V,,", "900"], (4, "quality_flag")),
        ([HEADER, STREAM, DAY, DAY.replace("1.001", "9.001"), "900"], (4, "conflicting_duplicate")),
        ([HEADER, STREAM, "", DAY, "900"], (3, "blank_line")),
    ],
)  # fmt: skip
def test_each_fault_is_an_error_of_its_line(lines: list[str], expected: tuple[int, str]) -> None:
    result = nem12(*lines)
    assert (result.errors[0].line, result.errors[0].code) == expected
    if expected[1] not in ("header_time", "header_version", "missing_header", "second_header"):
        assert all(part.first >= 2 for part in result.refused)


def test_what_is_refused_leaves_no_block() -> None:
    assert nem12(HEADER, STREAM, DAY, "400,1,48,A,,", "900").intervals == ()
    assert nem12(HEADER, STREAM, VARIABLE, "400,1,47,A,,", "900").intervals == ()
    assert nem12(HEADER, STREAM, DAY, DAY.replace("1.001", "9.001"), "900").intervals == ()
    assert nem12(HEADER, STREAM.replace("kWh", "kVArh"), DAY, "900").intervals == ()


def test_versions_of_a_day_are_told_apart_by_their_update_time() -> None:
    later = DAY.replace("1.001", "9.001").replace("20240102030405", "20240103030405")
    result = nem12(HEADER, STREAM, DAY, DAY, later, "900")
    assert result.ok
    assert [(fault.line, fault.code) for fault in result.warnings] == [(4, "duplicate"), (5, "superseded")]
    assert [int(block.values[1]) for block in result.intervals] == [1_001, 9_001]
    assert result.intervals[0].captured_at < result.intervals[1].captured_at


def test_null_quality_is_missing_and_not_zero() -> None:
    lines = [VARIABLE.replace("5.005", ""), "400,1,5,A,,", "400,6,6,N,78,", "400,7,48,A,,"]
    result = nem12(HEADER, STREAM, *lines, "900")
    (block,) = result.intervals
    assert result.ok
    assert block.missing.nonzero()[0].tolist() == [5]
    assert Status.from_id(int(block.status_ids[5])).reason == 78


def test_the_quantum_is_the_coarsest_that_holds_all_values_and_never_above_a_watt_hour() -> None:
    def quantum(value: str, unit: str = "kWh") -> tuple[int, int]:
        (block,) = nem12(HEADER, STREAM.replace("kWh", unit), DAY.replace("47.047", value), "900").intervals
        return block.quantum.exponent, int(block.values[47])

    assert quantum("47.04700") == (0, 47_047)
    assert quantum("47.0471") == (-1, 470_471)
    assert quantum("0.000000001") == (-6, 1)
    assert quantum("47", "MWh") == (0, 47_000_000)
    assert quantum("47.5", "Wh") == (-3, 47_500)  # the others of the day have three decimals


def test_blanks_signs_and_exponents_go_the_slow_way_with_the_same_values() -> None:
    plain = nem12(HEADER, STREAM, DAY, "900").intervals[0]
    odd = nem12(HEADER, STREAM, DAY.replace("5.005", " +5.005").replace("7.007", "7007e-3"), "900").intervals[
        0
    ]
    assert odd.values.tolist() == plain.values.tolist()


def test_check_digit_of_the_published_nmis() -> None:
    """Pairs published in AEMO's National Metering Identifier Procedure (recalled)."""
    published = {
        "2001985732": 8, "2001985733": 6, "3075621875": 8, "3075621876": 6, "4316854005": 9, "6305888444": 6,
        "7001888333": 8, "QAAAVZZZZZ": 3, "QCDWW00010": 2,
    }  # fmt: skip
    assert {nmi: nmi_checksum(nmi) for nmi in published} == published


def test_a_wrong_check_digit_is_a_warning() -> None:
    result = nem12(HEADER, STREAM.replace("NMI1234567", "20019857329"), DAY, "900")
    assert [(fault.line, fault.code) for fault in result.diagnostics] == [(2, "nmi_checksum")]
    assert result.intervals


def test_byte_order_mark_and_line_ends_do_not_matter() -> None:
    text = "\n".join([HEADER, STREAM, DAY, "900"])
    for data in (text, text + "\n", "\ufeff" + text, text.replace("\n", "\r\n")):
        result = read_nem12(data.encode("utf-8"), "t", policy=Policy.STRICT, captured_at=CAPTURED)
        assert result.ok, data[:10]
        assert result.readings == 48


def test_a_line_without_end_is_bounded() -> None:
    result = nem12(HEADER, STREAM, "300,20240101," + "1," * 600_000, "900")
    assert [fault.code for fault in result.errors] == ["line_length"]


WHOLE = "\r\n".join(
    [
        HEADER, STREAM.replace("E1B1", "E1"), DAY, VARIABLE.replace("0101", "0102", 1), "400,1,20,F14,76,",
        "400,21,48,S15,94,why", "500,N,,20240102121500,001000.0", "900", "",
    ]
).encode()  # fmt: skip


def fingerprint(block: IntervalBlock) -> tuple[object, ...]:
    return (
        block.series_id, block.channel, block.day, block.interval_s, block.quantum, block.values.tolist(),
        block.status_ids.tolist(), block.captured_at,
    )  # fmt: skip


@pytest.mark.parametrize("policy", list(Policy))
def test_a_file_cut_at_any_byte_gives_no_wrong_value(policy: Policy) -> None:
    whole = read_nem12(WHOLE, "t", policy=policy, captured_at=CAPTURED)
    assert whole.ok
    sound = {fingerprint(block) for block in ()} | {repr(fingerprint(block)) for block in whole.intervals}
    for length in range(len(WHOLE)):
        cut = read_nem12(WHOLE[:length], "t", policy=policy, captured_at=CAPTURED)
        assert {repr(fingerprint(block)) for block in cut.intervals} <= sound, length
        if policy is Policy.STRICT and length < len(WHOLE) - 2:
            assert not cut.ok, length


NEM13 = "\r\n".join(
    [
        "100,NEM13,202401101030,MDA1,Ret1",
        "250,VABC005890,11,1,11,11,MET1,E,006342.8,20231005093055,A,,,007654.9,20240107100333,S64,12,why,1312.1,"
        "kWh,20240407,20240108100333,20240108091133",
        "550,N,,E,",
        "900",
        "",
    ]
).encode()


def test_nem13_cut_at_any_byte_gives_no_wrong_value() -> None:
    whole = read_nem13(NEM13, "t", policy=Policy.STRICT, captured_at=CAPTURED)
    assert whole.ok
    sound = {(read.at, read.value, read.status) for read in whole.register_reads}
    for length in range(len(NEM13)):
        cut = read_nem13(NEM13[:length], "t", policy=Policy.STRICT, captured_at=CAPTURED)
        assert {(read.at, read.value, read.status) for read in cut.register_reads} <= sound
        assert not cut.ok or length >= len(NEM13) - 2


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("006342.8", "00x342.8", "register_read"),
        ("006342.8", "-06342.8", "register_read"),
        ("20231005093055", "20231305093055", "time"),
        ("20231005093055", "20250105093055", "read_order"),
        ("S64", "S99", "quality_method"),
        ("S64,12", "S64,", "reason_missing"),
        (",E,00", ",X,00", "unit"),
        ("kWh", "m3", "unit"),
        ("VABC005890,11,1,11", "VABC005890,11,1,41", "nmi_configuration"),
        ("550,N", "550,Z", "transaction_code"),
        ("900", "901", "record_indicator"),
    ],
)
def test_faults_of_nem13(old: str, new: str, code: str) -> None:
    data = NEM13.replace(old.encode(), new.encode(), 1)
    result = read_nem13(data, "t", policy=Policy.STRICT, captured_at=CAPTURED)
    assert code in {fault.code for fault in result.errors}
    if not code.startswith(("transaction", "record")):
        assert result.register_reads == ()


def test_a_file_whose_name_is_no_text_is_read_with_evidence(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"meter\xff.csv")
    path.write_text("\r\n".join([HEADER, STREAM, DAY, "900", ""]), "utf-8")
    result = read_file(path, policy=Policy.STRICT, captured_at=CAPTURED)
    assert result.ok
    assert {item.source.split("/")[0] for item in result.evidence} == {"meter?.csv"}

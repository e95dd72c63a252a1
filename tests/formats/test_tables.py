"""CSV and Parquet tables: every reading of a declared mapping arrives exactly, every defect is named."""

from __future__ import annotations

import io
import random
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openami.mdm.formats import ImportResult, Mapping, Policy, read_file
from openami.mdm.formats.mapping import mapping_names
from openami.mdm.formats.table_read import read_table
from openami.quantities.civil_time import CivilDay
from openami.quantities.errors import FormatError

CAPTURED = datetime(2025, 1, 1, tzinfo=UTC)

LONG = """
name = "test"
layout = "long"
zone = "Europe/Berlin"
interval_s = 3600
[time]
column = "time"
format = "%d.%m.%Y %H:%M"
clock = "local"
names = "start"
[series]
column = "meter"
[values]
null = ["", "Null"]
[[channel]]
obis = "1-0:1.29.0"
column = "kWh"
unit = "kWh"
quantum = "Wh"
"""


def read(text: str | bytes, mapping: str = LONG, policy: Policy = Policy.STRICT) -> ImportResult:
    data = text.encode("utf-8") if isinstance(text, str) else text
    declared = Mapping.from_toml(mapping)
    return read_table(data, "t.csv", mapping=declared, policy=policy, captured_at=CAPTURED)


def codes(result: ImportResult) -> list[tuple[int | None, str]]:
    return [(fault.line, fault.code) for fault in result.diagnostics]


def day_rows(day: date, meter: str = "M1") -> list[str]:
    """Rows of a day in Berlin as a local clock writes them, value = the number of the hour in the day."""
    civil = CivilDay(day, "Europe/Berlin")
    from zoneinfo import ZoneInfo

    local = [
        civil.interval_start(i, 3600).astimezone(ZoneInfo("Europe/Berlin"))
        for i in range(civil.interval_count(3600))
    ]
    return [f"{meter},{at:%d.%m.%Y %H:%M},{i + 1}.5" for i, at in enumerate(local)]


# -- the London trial's defects -------------------------------------------------------------------


@dataclass
class Trial:
    """Files with the defects published of the Low Carbon London data, and what is true."""

    files: list[bytes]
    truth: dict[tuple[str, datetime], int]
    duplicates: int = 0
    absent: int = 0
    nulls: int = 0
    off_grid: int = 0


def london_trial(households: int = 5, days: int = 20, seed: int = 1) -> Trial:
    """105 equal duplicates, 132 absent rows, padded values, Null, rows off the grid, a split home."""
    draw = random.Random(seed)
    start = datetime(2013, 2, 1)
    trial = Trial([], {})
    rows: list[tuple[str, str]] = []
    names = [f"MAC{number:06d}" for number in range(2, 2 + households)]
    slots = [(name, start + timedelta(minutes=30 * i)) for name in names for i in range(48 * days)]
    special = draw.sample(range(1, len(slots) - 1), 105 + 132 + 9)
    doubled, absent, null = set(special[:105]), set(special[105:237]), set(special[237:])
    for index, (name, at) in enumerate(slots):
        wh = draw.randrange(0, 3000)
        stamp = f"{at:%Y-%m-%d %H:%M:%S}.0000000"
        if index in absent:
            trial.absent += 1
            continue
        if index in null:
            trial.nulls += 1
            rows.append((name, f"{name},Std,{stamp},Null"))
            rows.append(
                (
                    name,
                    f"{name},Std,{(at + timedelta(minutes=13, seconds=42)):%Y-%m-%d %H:%M:%S}.0000000,Null",
                )
            )
            trial.off_grid += 1
            continue
        trial.truth[name, at.replace(tzinfo=UTC)] = wh
        text = f"{name},Std,{stamp}, {Decimal(wh) / 1000} "
        rows.append((name, text))
        if index in doubled:
            rows.append((name, text))
            trial.duplicates += 1
    header = "LCLid,stdorToU,DateTime,KWH/hh (per half hour) "
    cut = 2 * len(rows) // 5 + 7  # in the middle of a day of the third home
    for part in (rows[:cut], rows[cut:]):
        trial.files.append("\r\n".join([header, *(text for _, text in part), ""]).encode())
    return trial


def test_the_defects_of_the_london_trial_are_overcome_and_counted() -> None:
    trial = london_trial()
    mapping = Mapping.load("lcl_long")
    results = [
        read_table(data, f"{i}.csv", mapping=mapping, policy=Policy.STRICT, captured_at=CAPTURED)
        for i, data in enumerate(trial.files)
    ]
    assert all(result.ok for result in results)
    counted: dict[str, int] = {}
    for result in results:
        for fault in result.warnings:
            counted[fault.code] = counted.get(fault.code, 0) + fault.count
    assert counted == {"duplicate": trial.duplicates, "off_grid": trial.off_grid}
    assert (trial.duplicates, trial.absent) == (105, 132)

    found: dict[tuple[str, datetime], int] = {}
    blocks = [block for result in results for block in result.intervals]
    for block in blocks:
        for index in np.flatnonzero(~block.missing):
            key = (block.series_id, block.day.interval_start(int(index), 1800))
            assert key not in found
            found[key] = int(block.values[index])
    assert found == trial.truth
    split = [
        block
        for block in blocks
        if sum((b.series_id, b.day) == (block.series_id, block.day) for b in blocks) == 2
    ]
    assert len(split) == 2, "the day at the border of the files comes in two parts"
    whole = {(block.series_id, block.day.day) for block in blocks}
    assert len(whole) == 5 * 20
    missing = sum(int(block.missing.sum()) for block in blocks) - 48
    assert missing == trial.absent + trial.nulls


def test_a_column_name_without_its_blank_is_forgiven_only_when_tolerant() -> None:
    data = london_trial(1, 8).files[0].replace(b"(per half hour) ", b"(per half hour)")
    mapping = Mapping.load("lcl_long")
    strict = read_table(data, "t", mapping=mapping, policy=Policy.STRICT, captured_at=CAPTURED)
    (fault,) = strict.errors
    assert fault.code == "missing_column"
    assert "'KWH/hh (per half hour)' differs by blanks only" in fault.message
    assert strict.intervals == ()
    tolerant = read_table(data, "t", mapping=mapping, policy=Policy.TOLERANT, captured_at=CAPTURED)
    assert tolerant.ok
    assert "header" in {fault.code for fault in tolerant.warnings}


# -- real files -----------------------------------------------------------------------------------


def test_ausgrid_home_is_read_exactly(shared_data: Path) -> None:
    path = shared_data / "mdms" / "ausgrid" / "data_2011-2012.csv"
    result = read_file(path, policy=Policy.STRICT, mapping=Mapping.load("ausgrid"), captured_at=CAPTURED)
    assert result.diagnostics == ()
    assert (len(result.intervals), result.readings, len(result.evidence)) == (732, 35_136, 366)
    expected = {"GC": 0, "GG": 0}
    for line in path.read_text("utf-8").splitlines()[1:]:
        _, consumed, generated = line.split(",")
        # many values carry the noise of binary fractions, as 0.45399999999999996 kWh for 454 Wh
        expected["GC"] += round(Decimal(consumed) * 1000)
        expected["GG"] += round(Decimal(generated) * 1000)
    totals = {
        name: sum(block.total for block in result.intervals if str(block.channel) == obis)
        for name, obis in (("GC", "1-0:1.29.0"), ("GG", "1-0:2.29.0"))
    }
    assert totals == expected
    first = result.evidence[0]
    assert first.locator == "lines 2-49"
    assert first.content.startswith(b"2011-07-01 00:00:00,0.392,0.0\n2011-07-01 00:30:00,0.578")
    assert result.intervals[0].values[:2].tolist() == [392, 578]


def test_noise_of_binary_fractions_is_refused_unless_declared(shared_data: Path) -> None:
    path = shared_data / "mdms" / "ausgrid" / "data_2011-2012.csv"
    mapping = Mapping.load("ausgrid")
    strict = mapping.model_copy(update={"values": mapping.values.model_copy(update={"finer": "refuse"})})
    result = read_file(path, policy=Policy.STRICT, mapping=strict, captured_at=CAPTURED)
    assert {fault.code for fault in result.errors} == {"quantum"}
    fields = [field for line in path.read_text("utf-8").splitlines()[1:] for field in line.split(",")[1:]]
    noisy = sum(Decimal(field) * 1000 % 1 != 0 for field in fields)
    assert noisy > 1000
    assert sum(fault.count for fault in result.errors) == noisy
    assert result.errors[0].message == "0.48200000000000004 kWh is not a whole number of 1 Wh"


def test_lcl_parquet_is_read_exactly_in_time(shared_data: Path) -> None:
    path = shared_data / "analytics" / "lcl2013_halfhourly_Wh.parquet"
    mapping = Mapping.load("lcl_wide")
    began = time.perf_counter()
    result = read_file(path, policy=Policy.STRICT, mapping=mapping, captured_at=CAPTURED)
    seconds = time.perf_counter() - began
    assert result.ok
    assert (len(result.intervals), result.readings) == (21_900, 1_051_200)
    assert sum(int(block.missing.sum()) for block in result.intervals) == 32_532
    table = pq.read_table(path)
    for name in ("MAC000002", "MAC000006", "MAC000127"):
        numbers = table.column(name).to_numpy()
        own = [block for block in result.intervals if block.series_id == name]
        values = np.concatenate([block.values for block in own])
        missing = np.concatenate([block.missing for block in own])
        assert np.array_equal(missing, np.isnan(numbers))
        assert np.array_equal(values[~missing], numbers[~missing].astype(np.int64))
    assert sum(block.total for block in result.intervals) == 208_071_450
    assert seconds < 60, "a hang, not a benchmark: it takes less than a second"


# -- local time -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2024, 3, 31), 23), (date(2024, 10, 27), 25), (date(2024, 6, 1), 24)]
)
def test_days_of_23_and_25_hours_are_resolved_by_the_order_of_rows(day: date, hours: int) -> None:
    result = read("meter,time,kWh\n" + "\n".join(day_rows(day)) + "\n")
    assert result.diagnostics == ()
    (block,) = result.intervals
    assert block.values.tolist() == [1000 * (i + 1) + 500 for i in range(hours)]


def test_two_meters_in_turn_have_an_autumn_hour_each() -> None:
    rows = [
        row
        for pair in zip(day_rows(date(2024, 10, 27), "A"), day_rows(date(2024, 10, 27), "B"), strict=True)
        for row in pair
    ]
    result = read("meter,time,kWh\n" + "\n".join(rows) + "\n")
    assert result.ok
    assert [block.total for block in result.intervals] == [sum(1000 * i + 500 for i in range(1, 26))] * 2


def test_an_autumn_hour_that_is_there_once_is_summer_time_with_a_warning() -> None:
    rows = day_rows(date(2024, 10, 27))
    del rows[3]
    result = read("meter,time,kWh\n" + "\n".join(rows) + "\n")
    assert [fault.code for fault in result.warnings] == ["autumn_hour"]
    assert result.intervals[0].missing.nonzero()[0].tolist() == [3]


def test_a_value_in_the_skipped_hour_is_an_error() -> None:
    rows = [*day_rows(date(2024, 3, 31)), "M1,31.03.2024 02:00,9.0"]
    assert codes(read("meter,time,kWh\n" + "\n".join(rows) + "\n")) == [(25, "spring_hour")]
    rows[-1] = "M1,31.03.2024 02:00,Null"
    result = read("meter,time,kWh\n" + "\n".join(rows) + "\n")
    assert result.ok
    assert [fault.code for fault in result.warnings] == ["spring_hour"]


def test_intervals_named_by_their_end_begin_one_interval_earlier() -> None:
    mapping = LONG.replace('names = "start"', 'names = "end"').replace('clock = "local"', 'clock = "+01:00"')
    result = read("meter,time,kWh\nM1,01.02.2024 01:00,1.0\nM1,01.02.2024 24:00,24.0\n", mapping)
    assert result.ok
    (block,) = result.intervals
    assert block.day.day == date(2024, 2, 1)
    assert (block.values[0], block.values[23]) == (1000, 24_000)


def test_unsorted_rows_are_put_in_order_with_a_warning() -> None:
    rows = day_rows(date(2024, 6, 1))
    result = read("meter,time,kWh\n" + "\n".join(reversed(rows)) + "\n")
    assert [(fault.code, fault.count) for fault in result.warnings] == [("unsorted", 23)]
    assert result.intervals[0].values[0] == 1500


# -- faults ---------------------------------------------------------------------------------------


def test_all_faulty_rows_are_listed_and_their_days_refused() -> None:
    good = day_rows(date(2024, 6, 1))
    bad = day_rows(date(2024, 6, 2))
    bad[3] = bad[3].replace("4.5", "4.x5")
    bad[5] = bad[5].replace("02.06.2024", "02.13.2024")
    bad[7] += ",surplus"
    bad[9] = bad[9].replace("9:00", "9:20")
    bad[11] = bad[11].replace("12.5", "12.50001")
    bad[13] = bad[13].replace("M1", "")
    text = "meter,time,kWh\n" + "\n".join(good + bad) + "\n"
    result = read(text)
    assert codes(result) == [
        (29, "value"), (31, "time"), (33, "column_count"), (35, "off_grid"), (37, "quantum"), (39, "series"),
    ]  # fmt: skip
    assert [block.day.day.day for block in result.intervals] == [1]
    assert {part.what for part in result.refused} == {
        "1-0:1.29.0 of M1 on 2024-06-02", "1-0:1.29.0 of  on 2024-06-02"
    }  # fmt: skip


def test_a_bad_value_of_one_meter_does_not_touch_the_others() -> None:
    wide = LONG.replace('layout = "long"', 'layout = "wide"').replace('[series]\ncolumn = "meter"\n', "")
    wide = wide.replace('column = "kWh"\n', "")
    rows = [f"01.06.2024 {hour:02d}:00,{hour}.1,{'?' if hour == 4 else hour}" for hour in range(24)]
    result = read("time,A,B\n" + "\n".join(rows) + "\n", wide)
    assert codes(result) == [(6, "value")]
    assert [block.series_id for block in result.intervals] == ["A"]


def test_equal_duplicates_are_dropped_and_conflicting_ones_refused() -> None:
    rows = day_rows(date(2024, 6, 1))
    equal = read("meter,time,kWh\n" + "\n".join([*rows, rows[4], rows[4], rows[7]]) + "\n")
    assert equal.ok
    assert [(fault.code, fault.count) for fault in equal.warnings if fault.code == "duplicate"] == [
        ("duplicate", 3)
    ]
    assert equal.intervals[0].total == sum(1000 * i + 500 for i in range(1, 25))
    conflict = "meter,time,kWh\n" + "\n".join([*rows, rows[4].replace("5.5", "6.5")]) + "\n"
    strict = read(conflict)
    assert [(fault.line, fault.code) for fault in strict.errors] == [(26, "conflicting_duplicate")]
    assert strict.intervals == ()
    tolerant = read(conflict, policy=Policy.TOLERANT)
    assert tolerant.ok
    assert tolerant.intervals[0].missing.nonzero()[0].tolist() == [4]


def test_a_value_finer_than_the_quantum_refines_it_when_declared() -> None:
    rows = day_rows(date(2024, 6, 1))
    rows[0] = rows[0].replace("1.5", "1.50001")
    refine = LONG.replace('null = ["", "Null"]', 'null = [""]\nfiner = "refine"')
    (block,) = read("meter,time,kWh\n" + "\n".join(rows) + "\n", refine).intervals
    assert (block.quantum.exponent, block.values[0], block.values[1]) == (-2, 150_001, 250_000)


def test_a_scale_is_exact() -> None:
    scaled = LONG.replace('unit = "kWh"', 'unit = "kWh"\nscale = "0.25"\nexponent = -1')
    rows = day_rows(date(2024, 6, 1))
    (block,) = read("meter,time,kWh\n" + "\n".join(rows) + "\n", scaled).intervals
    assert block.values[0] == 3_750  # 1.5 x 0.25 kWh in tenths of a Wh


def test_a_huge_line_is_a_fault_of_its_line() -> None:
    rows = day_rows(date(2024, 6, 1))
    result = read("meter,time,kWh\n" + "x" * 3_000_000 + "\n" + "\n".join(rows) + "\n")
    assert codes(result) == [(2, "column_count")]
    assert len(result.intervals) == 1


def test_a_table_cut_at_any_byte_gives_no_wrong_value() -> None:
    whole = "meter,time,kWh\n" + "\n".join(day_rows(date(2024, 6, 1)) + day_rows(date(2024, 6, 2))) + "\n"
    for length in range(len(whole)):
        for block in read(whole[:length]).intervals:
            there = ~block.missing
            assert (block.values[there] == (np.arange(24) * 1000 + 1500)[there]).all(), length


def test_other_delimiters_decimals_and_encodings() -> None:
    german = LONG.replace("[time]", '[file]\ndelimiter = ";"\nencoding = "latin-1"\ndecimal = ","\n[time]')
    rows = [
        row.replace(",", ";").replace(".5", ",5").replace("M1", "Zähler")
        for row in day_rows(date(2024, 6, 1))
    ]
    result = read(("meter;time;kWh\r\n" + "\r\n".join(rows) + "\r\n").encode("latin-1"), german)
    assert result.ok
    assert result.intervals[0].series_id == "Zähler"
    assert result.intervals[0].values[0] == 1_500


def test_a_wrong_encoding_names_its_line() -> None:
    result = read("meter,time,kWh\nM1,01.06.2024 00:00,1\nZ\xe4hler,01.06.2024 00:00,1\n".encode("latin-1"))
    assert codes(result) == [(3, "encoding")]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('column = "kWh"', 'column = "energy"', "missing_column"),
        ('column = "time"', 'column = "date"', "missing_column"),
        ('column = "meter"', 'column = "serial"', "missing_column"),
        ("%d.%m.%Y %H:%M", "%Y-%m-%d %H:%M", "time"),
    ],
)
def test_a_wrong_mapping_gives_a_clear_diagnostic(old: str, new: str, code: str) -> None:
    result = read(
        "meter,time,kWh\n" + "\n".join(day_rows(date(2024, 6, 1))) + "\n", LONG.replace(old, new, 1)
    )
    assert {fault.code for fault in result.errors} == {code}
    assert result.intervals == ()
    if code == "missing_column":
        assert "the file has 'meter', 'time', 'kWh'" in result.errors[0].message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('unit = "kWh"', 'unit = "litres"', "unknown unit"),
        ('quantum = "Wh"', 'quantum = "varh"', "different kinds"),
        ('obis = "1-0:1.29.0"', 'obis = "energy"', "not an OBIS code"),
        ('obis = "1-0:1.29.0"', 'obis = "1-0:77.29.0"', "not in the catalogue"),
        ('obis = "1-0:1.29.0"', 'obis = "1-0:1.8.0"', "no interval quantity"),
        ('obis = "1-0:1.29.0"', 'obis = "1-0:3.29.0"', "is in varh, not Wh"),
        ('zone = "Europe/Berlin"', 'zone = "Mars/Olympus"', "unknown time zone"),
        ('names = "start"', 'names = "middle"', "'start' or 'end'"),
        ("interval_s = 3600", "interval_s = 7", "neither divides an hour"),
        ('format = "%d.%m.%Y %H:%M"', 'format = "%d.%m.%y"', "%y is not known"),
        ('column = "meter"', 'column = "meter"\nid = "x"', "either an id or a column"),
        ('name = "test"', 'name = "test"\nspeed = 3', "Extra inputs"),
        ('name = "test"', "name = ", "not TOML"),
    ],
)
def test_a_bad_mapping_is_refused_as_a_whole(old: str, new: str, said: str) -> None:
    with pytest.raises(FormatError) as caught:
        Mapping.from_toml(LONG.replace(old, new, 1))
    assert said in str(caught.value)


def test_the_packaged_mappings_load() -> None:
    assert mapping_names() == ["ausgrid", "lcl_long", "lcl_wide"]
    assert [Mapping.load(name).name for name in mapping_names()] == mapping_names()
    with pytest.raises(FormatError, match="one of ausgrid, lcl_long, lcl_wide"):
        Mapping.load("unheard")


# -- Parquet --------------------------------------------------------------------------------------


def parquet(**columns: object) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


WIDE = """
name = "wide"
format = "parquet"
layout = "wide"
zone = "Etc/UTC"
interval_s = 3600
[time]
column = "t"
clock = "UTC"
names = "start"
[[channel]]
obis = "1-0:1.29.0"
unit = "kWh"
quantum = "Wh"
"""


def test_binary_fractions_of_parquet_stand_for_their_shortest_decimal() -> None:
    times = pa.array([datetime(2024, 6, 1, hour) for hour in range(24)], pa.timestamp("ns"))
    numbers = [0.1 * hour for hour in range(24)]
    exact = [round(Decimal(repr(round(0.1 * hour, 1))) * 1000) for hour in range(24)]
    doubles = pa.array([round(number, 1) for number in numbers], pa.float64())
    singles = doubles.cast(pa.float32())
    decimals = pa.array([Decimal(value) / 1000 for value in exact], pa.decimal128(10, 3))
    result = read(parquet(t=times, double=doubles, single=singles, decimal=decimals), WIDE)
    assert result.diagnostics == ()
    assert [block.values.tolist() for block in result.intervals] == [exact] * 3


def test_nan_and_null_of_parquet_are_missing() -> None:
    times = pa.array([datetime(2024, 6, 1, hour) for hour in range(24)], pa.timestamp("us", "UTC"))
    values = pa.array([None, float("nan"), *range(22)], pa.float64())
    (block,) = read(parquet(t=times, A=values), WIDE).intervals
    assert block.missing.nonzero()[0].tolist() == [0, 1]
    assert block.values[2:].tolist() == [1000 * i for i in range(22)]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([float("inf")] * 24),
        pa.array([True] * 24),
        pa.array([[1.0]] * 24),
        pa.array([0.00001] * 24),
        pa.array(["x"] * 24),
        pa.array([2**63 + 5] * 24, pa.uint64()),
    ],
)
def test_values_that_are_no_numbers_or_do_not_fit_are_refused(values: pa.Array) -> None:
    times = pa.array([datetime(2024, 6, 1, hour) for hour in range(24)], pa.timestamp("us"))
    result = read(parquet(t=times, A=values), WIDE)
    assert not result.ok
    assert result.intervals == ()


def test_a_file_that_is_no_parquet_is_refused() -> None:
    for data in (b"PAR1", b"PAR1PAR1", b"", b"a,b\n1,2\n"):
        assert [fault.code for fault in read(data, WIDE).errors] == ["parquet"]


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000])
def test_a_mapping_beyond_reading_is_refused(value: str) -> None:
    with pytest.raises(FormatError, match="not TOML"):
        Mapping.from_toml(f"interval_s = {value}\n")

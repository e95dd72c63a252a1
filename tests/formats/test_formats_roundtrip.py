"""Kernel and slow path agree; what is written reads back the same; nothing but our errors comes out."""

from __future__ import annotations

import gzip
import io
import random
import zipfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openami.mdm.formats import Mapping, Policy, read_file
from openami.mdm.formats.civil_columns import compile_format, parse_times, zone_table
from openami.mdm.formats.espi_write import espi_write
from openami.mdm.formats.exact_numbers import (
    EMPTY,
    NOISY_DECIMALS,
    NUMBER,
    ODD,
    parse_fields,
    parse_number,
    parse_rows,
    scale_exact,
    scale_noisy,
)
from openami.mdm.formats.mdff import NEM_ZONE
from openami.mdm.formats.nem12_read import read_nem12
from openami.mdm.formats.nem12_write import decimal_texts, nem12_write
from openami.mdm.formats.recognition import read_bytes, recognise
from openami.mdm.formats.table_read import read_table
from openami.mdm.formats.table_write import CSV_HEADER, csv_mapping, csv_write, parquet_write
from openami.quantities.civil_time import CivilDay
from openami.quantities.errors import FormatError, OpenAmiError
from openami.quantities.obis import EXPORT_INTERVAL, IMPORT_INTERVAL, IMPORT_REACTIVE_INTERVAL, ObisCode
from openami.quantities.status import MISSING, VALID, Quality, Status
from openami.quantities.units import VARH, WH, Quantum, Unit
from openami.readings.interval_block import IntervalBlock, blocks_from_table

CAPTURED = datetime(2025, 1, 1, 2, 3, 4, tzinfo=UTC)
MUTATIONS = 2_000

# -- numbers --------------------------------------------------------------------------------------

digits = st.text("0123456789", max_size=22)
plain = st.builds(lambda whole, point, rest: whole + point + rest, digits, st.sampled_from(["", "."]), digits)
field_text = st.one_of(
    plain, plain.map(lambda text: f" {text}  "), st.text("0123456789.+-eE, xN", max_size=12)
)


def by_kernel(text: str) -> tuple[int, int, int]:
    data = np.frombuffer(text.encode() or b" ", np.uint8)
    mantissas, decimals, states = np.zeros(1, np.int64), np.zeros(1, np.int8), np.zeros(1, np.int8)
    end = np.array([len(text.encode())], np.int64)
    parse_fields(data, np.zeros(1, np.int64), end, mantissas, decimals, states)
    return int(mantissas[0]), int(decimals[0]), int(states[0])


@settings(max_examples=1500, deadline=None)
@given(field_text)
@example("00.100")
@example(".5")
@example("5.")
@example(".")
@example("0." + "0" * 50 + "1")
def test_the_kernel_agrees_with_the_slow_path_wherever_it_decides(text: str) -> None:
    mantissa, decimals, state = by_kernel(text)
    if state == NUMBER:
        assert parse_number(text.encode(), NOISY_DECIMALS) == (mantissa, decimals)
        assert Decimal(mantissa).scaleb(-decimals) == Decimal(text.strip())
    elif state == EMPTY:
        assert not text.strip(" ")
    else:
        assert state == ODD


@settings(max_examples=500, deadline=None)
@given(st.lists(plain, min_size=1, max_size=6), st.sampled_from(["", "A,,,", "x", ","]))
def test_rows_by_the_kernel_are_rows_by_the_slow_path(fields: list[str], tail: str) -> None:
    line = (",".join(fields) + "," + tail).encode()
    count = len(fields)
    mantissas, decimals = np.zeros(count, np.int64), np.zeros(count, np.int8)
    finest, tails = np.zeros(1, np.int8), np.zeros(1, np.int64)
    parse_rows(
        np.frombuffer(line, np.uint8), np.array([0]), np.array([len(line)]), np.array([count]), np.array([0]),
        mantissas, decimals, finest, tails,
    )  # fmt: skip
    if tails[0] < 0:
        with_reason = [text for text in fields if len(text.strip(".")) > 18 or not text.strip(".")]
        assert with_reason or any(len(text.partition(".")[2].rstrip("0")) > 12 for text in fields)
        return
    assert line[tails[0] :] == tail.encode()
    expected = [parse_number(text.encode()) for text in fields]
    assert list(zip(mantissas.tolist(), decimals.tolist(), strict=True)) == expected
    assert finest[0] == max(places for _, places in expected)


@settings(max_examples=500, deadline=None)
@given(st.integers(-(10**18) + 1, 10**18 - 1), st.integers(0, 12), st.integers(-3, 12))
def test_scaling_is_exact_or_refused(mantissa: int, decimals: int, places: int) -> None:
    counts = np.zeros(1, np.int64)
    stop = scale_exact(np.array([mantissa]), np.array([decimals], np.int8), places, counts)
    true = Decimal(mantissa).scaleb(places - decimals)
    fits = true == true.to_integral_value() and abs(true) < 2**63 - 10
    assert (stop < 0) == fits or abs(true) >= 2**63 - 10
    if stop < 0:
        assert int(counts[0]) == true


@settings(max_examples=500, deadline=None)
@given(st.integers(-(10**9), 10**9), st.floats(-0.4999, 0.4999))
def test_noise_is_taken_off_and_anything_else_refused(whole: int, rest: float) -> None:
    value = Decimal(whole) + Decimal(repr(rest))
    _, digits_, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    if exponent < -NOISY_DECIMALS or len(digits_) > 18 or exponent > 0:
        return
    counts = np.zeros(1, np.int64)
    mantissa = int(value.scaleb(-exponent))
    stop = scale_noisy(np.array([mantissa]), np.array([-exponent], np.int8), 0, counts)
    assert (stop < 0) == (abs(value - whole) * 1_000_000 <= 1)
    if stop < 0:
        assert counts[0] == whole


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=5), st.integers(-9, 3))
def test_written_decimals_are_exact(counts: list[int], exponent: int) -> None:
    texts = decimal_texts(np.array(counts, np.int64), exponent)
    assert [Decimal(text) for text in texts] == [Decimal(count).scaleb(exponent) for count in counts]


# -- times ----------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.datetimes(datetime(1900, 1, 1), datetime(2199, 12, 31)))
def test_times_are_parsed_as_the_standard_library_does(at: datetime) -> None:
    form = "%d/%m/%Y %H:%M:%S.%f"
    text = f"{at.day:02d}/{at.month:02d}/{at.year:04d} {at:%H:%M:%S.%f}".encode()
    times, states = np.zeros(1, np.int64), np.zeros(1, np.int8)
    parse_times(
        np.frombuffer(text, np.uint8),
        np.array([0]),
        np.array([len(text)]),
        compile_format(form),
        times,
        states,
    )
    assert states[0] == 0
    assert datetime(1970, 1, 1) + timedelta(microseconds=int(times[0])) == at


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["Europe/London", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"]),
    st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC)),
)  # fmt: skip
def test_local_time_and_back(zone: str, at: datetime) -> None:
    instant = int((at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))
    table = zone_table(zone, instant, instant)
    local = table.local(np.array([instant]))
    first, second, kinds = table.instants(local)
    assert instant in (int(first[0]), int(second[0]))
    assert kinds[0] in (0, 1)
    assert (first[0] == second[0]) == (kinds[0] == 0)


# -- writing and reading back ---------------------------------------------------------------------

MDFF_STATUS = [
    VALID,
    MISSING,
    Status(Quality.ESTIMATED, 52).id,
    Status(Quality.SUBSTITUTED, 14, 76).id,
    Status(Quality.FINAL_SUBSTITUTE, 55, 1).id,
    Status(Quality.ACTUAL, 0, 89).id,
    Status(Quality.NULL, 0, 78).id,
]
channels = st.sampled_from([(IMPORT_INTERVAL, WH), (EXPORT_INTERVAL, WH), (IMPORT_REACTIVE_INTERVAL, VARH)])


@st.composite
def nem_blocks(draw: st.DrawFn) -> list[IntervalBlock]:
    blocks = []
    interval_s = draw(st.sampled_from([300, 900, 1800]))
    exponent = draw(st.integers(-3, 0))
    for series in draw(
        st.lists(st.sampled_from(["SN1", "SN2", "NMI1234567"]), min_size=1, max_size=3, unique=True)
    ):
        for channel, quantum in draw(st.lists(channels, min_size=1, max_size=3, unique=True)):
            numbers = np.random.default_rng(draw(st.integers(0, 2**32)))
            count = 86_400 // interval_s
            statuses = draw(st.lists(st.sampled_from(MDFF_STATUS), min_size=1, max_size=4))
            status = np.repeat(np.array(statuses, np.int32), count // len(statuses) + 1)[:count]
            values = numbers.integers(0, 10**6, count)
            values[0] = 1 if status[0] in (MISSING, MDFF_STATUS[-1]) else values[0] | 1
            blocks.append(
                IntervalBlock(
                    series_id=series, channel=channel, day=CivilDay(date(2024, 2, 28), NEM_ZONE),
                    interval_s=interval_s, quantum=Quantum(quantum.unit, exponent), values=values,
                    captured_at=CAPTURED, status=status,
                )
            )  # fmt: skip
    return blocks


def energy(block: IntervalBlock) -> tuple[object, ...]:
    """A block by what it says, whatever its quantum."""
    values = [block.quantum.decimal(int(value)) for value in block.values]
    return (
        block.series_id, block.channel, block.day, block.interval_s, block.quantum.unit, values,
        block.status_ids.tolist(), block.captured_at,
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(nem_blocks())
def test_nem12_written_is_read_back_the_same(blocks: list[IntervalBlock]) -> None:
    points = {"SN1": "NMI0000001", "SN2": "NMI0000002"}
    data = nem12_write(blocks, made_at=CAPTURED, sender="OPENAMI", receiver="RET1", usage_points=points)
    result = read_nem12(data, "t.csv", policy=Policy.STRICT, captured_at=CAPTURED)
    assert result.errors == ()
    assert [energy(block) for block in result.intervals] == [energy(block) for block in blocks]


@settings(max_examples=40, deadline=None)
@given(nem_blocks())
def test_csv_written_is_read_back_with_its_values_and_gaps(blocks: list[IntervalBlock]) -> None:
    one = [block for block in blocks if block.channel == blocks[0].channel]
    data = csv_write(one)
    assert data.splitlines()[0].decode() == CSV_HEADER
    mapping = Mapping.from_toml(
        csv_mapping(NEM_ZONE, one[0].interval_s, str(one[0].channel), one[0].quantum.unit.value)
    )
    result = read_table(data, "t.csv", mapping=mapping, policy=Policy.STRICT, captured_at=CAPTURED)
    assert result.diagnostics == ()
    found = {block.series_id: block for block in result.intervals}
    for block in one:
        assert np.array_equal(found[block.series_id].missing, block.missing)
        assert energy(found[block.series_id])[5] == energy(block)[5]


def test_parquet_written_has_the_columns_of_the_store(tmp_path: Path) -> None:
    blocks = nem_example()
    path = tmp_path / "blocks.parquet"
    assert parquet_write(blocks, path) == len(blocks)
    back = list(blocks_from_table(pq.read_table(path)))
    assert [energy(block) for block in back] == [energy(block) for block in blocks]
    assert [block.block_id for block in back] == [block.block_id for block in blocks]


def nem_example() -> list[IntervalBlock]:
    values = np.arange(48, dtype=np.int64)
    day = CivilDay(date(2024, 2, 28), NEM_ZONE)
    return [
        IntervalBlock("SN1", IMPORT_INTERVAL, day, 1800, WH, values, CAPTURED),
        IntervalBlock("SN1", EXPORT_INTERVAL, day, 1800, WH, values * 3, CAPTURED),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"channel": ObisCode(1, 0, 32, 7, 0)},
        {"interval_s": 3600, "values": np.zeros(24, np.int64)},
        {"day": CivilDay(date(2024, 2, 28), "Europe/Berlin")},
        {"values": np.full(48, -1, np.int64)},
        {"quantum": Quantum(Unit.VAR_HOUR, 0)},
        {"status": np.full(48, Status(Quality.SUSPECT).id, np.int32)},
        {"status": np.full(48, Status(Quality.ESTIMATED).id, np.int32)},
        {"series_id": "a name with a comma, and long"},
    ],
)
def test_what_nem12_cannot_say_is_refused(changes: dict[str, object]) -> None:
    fields: dict[str, object] = {
        "series_id": "SN1", "channel": IMPORT_INTERVAL, "day": CivilDay(date(2024, 2, 28), NEM_ZONE),
        "interval_s": 1800, "quantum": WH, "values": np.zeros(48, np.int64), "captured_at": CAPTURED,
    } | changes  # fmt: skip
    block = IntervalBlock(**fields)  # type: ignore[arg-type]
    with pytest.raises(FormatError):
        nem12_write([block], made_at=CAPTURED, sender="A", receiver="B", usage_points={})


# -- recognition ----------------------------------------------------------------------------------


def samples() -> dict[str, tuple[bytes, Mapping | None]]:
    blocks = nem_example()
    nem12 = nem12_write(
        blocks, made_at=CAPTURED, sender="A", receiver="B", usage_points={"SN1": "NMI0000001"}
    )
    nem13 = (
        b"100,NEM13,202401101030,MDA1,Ret1\r\n250,VABC005890,1141,1,11,11,MET1,E,006342.8,20231005093055,A,,,"
        b"007654.9,20240107100333,S64,12,why,1312.1,kWh,20240407,20240108100333,\r\n550,N,,E,\r\n900\r\n"
    )
    table = io.BytesIO()
    times = pa.array([datetime(2024, 6, 1, hour) for hour in range(24)], pa.timestamp("us"))
    pq.write_table(pa.table({"t": times, "A": pa.array([1.0 * hour for hour in range(24)])}), table)
    wide = Mapping.load("lcl_wide").model_copy(update={"interval_s": 3600})
    own = Mapping.from_toml(csv_mapping(NEM_ZONE, 1800, "1-0:1.29.0", "Wh"))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readings.csv", nem12)
    return {
        "nem12": (nem12, None),
        "nem13": (nem13, None),
        "espi": (espi_write(blocks_of_utc(), updated=CAPTURED, title="t"), None),
        "csv": (csv_write(blocks[:1]), own),
        "parquet": (table.getvalue(), wide),
        "zip": (packed.getvalue(), None),
        "gz": (gzip.compress(nem12, mtime=0), None),
    }


def blocks_of_utc() -> list[IntervalBlock]:
    day = CivilDay(date(2024, 2, 28), "Etc/UTC")
    return [IntervalBlock("SN1", IMPORT_INTERVAL, day, 3600, WH, np.arange(24, dtype=np.int64), CAPTURED)]


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    for name, (data, mapping) in samples().items():
        path = tmp_path / "readings.dat"
        path.write_bytes(data)
        result = read_file(path, policy=Policy.STRICT, mapping=mapping, captured_at=CAPTURED)
        assert result.format == {"zip": "nem12", "gz": "nem12"}.get(name, name)
        assert result.ok, result.errors
        assert result.readings > 0


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_file"),
        (b"   \r\n", "empty_file"),
        (b"Dear Sir", "unknown_format"),
        (b"\x00\x01\x02\x03", "unknown_format"),
        (b"a,b\n1,2\n", "no_mapping"),
        (b"PK\x03\x04broken", "archive"),
        (b"\x1f\x8bbroken", "archive"),
    ],
)
def test_unknown_files_are_one_clear_error(data: bytes, code: str) -> None:
    result = read_bytes(data, "f", policy=Policy.STRICT, captured_at=CAPTURED)
    assert [fault.code for fault in result.errors] == [code]


def test_archives_are_bounded() -> None:
    data = b"100,NEM12\n"
    for _ in range(5):
        data = gzip.compress(data, mtime=0)
    result = read_bytes(data, "f", policy=Policy.STRICT, captured_at=CAPTURED)
    assert [fault.code for fault in result.errors] == ["archive"]


def test_a_missing_file_is_a_format_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be opened"):
        read_file(tmp_path / "none.csv", policy=Policy.STRICT, captured_at=CAPTURED)


# -- fuzz -----------------------------------------------------------------------------------------


def mutate(data: bytes, draw: random.Random) -> bytes:
    """One to four changes: bytes flipped, cut out, doubled, moved, or replaced by what formats care about."""
    out = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(out) + 1)
        size = draw.choice((1, 1, 2, 5, 40))
        kind = draw.randrange(6)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del out[at : at + size]
        elif kind == 2:
            out[at:at] = out[at : at + size]
        elif kind == 3:
            out[at:at] = bytes(draw.randrange(256) for _ in range(size))
        elif kind == 4:
            out[at : at + size] = draw.choice(
                (
                    b",",
                    b"\n",
                    b"\r\n",
                    b"-",
                    b"9" * 25,
                    b"1e99",
                    b"V",
                    b"900",
                    b"<",
                    b"&x;",
                    b"\x00",
                    b"\xff",
                    b'"',
                )
            )
        else:
            out[at:] = out[at : len(out) - draw.randrange(len(out) - at + 1)]
    return bytes(out)


@pytest.mark.parametrize("name", ["nem12", "nem13", "espi", "csv", "parquet", "zip", "gz"])
def test_mutated_files_give_diagnostics_and_never_a_foreign_exception(name: str) -> None:
    data, mapping = samples()[name]
    draw = random.Random(name)
    for number in range(MUTATIONS):
        broken = mutate(data, draw)
        policy = Policy.STRICT if number % 2 else Policy.TOLERANT
        try:
            result = read_bytes(broken, "f", policy=policy, mapping=mapping, zone=None, captured_at=CAPTURED)
        except OpenAmiError:
            continue
        assert isinstance(result.ok, bool)
        for block in result.intervals:
            assert block.values.dtype == np.int64
        assert recognise(broken)

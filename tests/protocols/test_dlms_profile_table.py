"""Profiles as tables: times in UTC whatever the meter leaves out, no value made, none dropped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.protocols.dlms.apdus.descriptors import CLOCK_COLUMN, Attribute, CaptureObject
from openami.protocols.dlms.client.attribute_value import Quality, attribute_value, date_time_text, plain_text
from openami.protocols.dlms.client.object_list import Right, object_list
from openami.protocols.dlms.client.profile_table import ProfileDescription, capture_objects, profile_table
from openami.protocols.dlms.client.vendor_quirks import quirks_named
from openami.protocols.dlms.encoding.axdr import (
    NULL,
    BitString,
    CompactArray,
    Data,
    Tag,
    TypeDescription,
    array,
    decode_plain,
    encode,
    structure,
)
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.encoding.profile_buffer import ProfileDecoder
from openami.protocols.dlms.encoding.scaler_unit import ScalerUnit, scaler_unit_of
from openami.protocols.dlms.encoding.typed_value import data_like, data_of_text, tag_named
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError
from openami.quantities.obis import ObisCode

BERLIN = ZoneInfo("Europe/Berlin")
PROFILE = ObisCode(1, 0, 99, 1, 0)
ENERGY = CaptureObject(3, ObisCode(1, 0, 1, 8, 0), 2)
STATUS = CaptureObject(1, ObisCode(0, 0, 96, 10, 1), 2)
DEMAND_TIME = CaptureObject(4, ObisCode(1, 0, 1, 6, 0), 5)
COLUMNS = (CLOCK_COLUMN, STATUS, ENERGY)
WH = ScalerUnit(0, 30)


def stamp(text: str, *, zone: ZoneInfo = BERLIN, deviation: bool = True, status: bool = True) -> Data:
    instant = datetime.fromisoformat(text).astimezone(UTC)
    fields = CosemDateTime.from_instant(instant, zone)
    octets = bytearray(fields.to_bytes())
    if not deviation:
        octets[9:11] = b"\x80\x00"
    if not status:
        octets[11] = 0xFF
    return Data(Tag.OCTET_STRING, bytes(octets))


def u32(value: int) -> Data:
    return Data(Tag.DOUBLE_LONG_UNSIGNED, value)


def u8(value: int) -> Data:
    return Data(Tag.UNSIGNED, value)


def table(rows: list[Data], columns: tuple[CaptureObject, ...] = COLUMNS, **facts: Any) -> pa.Table:
    keywords = {name: facts.pop(name) for name in ("zone", "quirks", "newest_at") if name in facts}
    facts.setdefault("period_s", 900)
    description = ProfileDescription(PROFILE, columns, scalers={ENERGY: WH}, **facts)
    return profile_table(description, ProfileDecoder().decode(encode(array(rows))), **keywords)


def times(found: pa.Table) -> list[str]:
    return [instant.as_py().strftime("%m-%d %H:%M") for instant in found["time"]]


def test_null_data_are_what_the_standard_leaves_out() -> None:
    found = table(
        [
            structure(stamp("2026-05-01T00:15+02:00"), u8(1), u32(100)),
            structure(NULL, NULL, u32(105)),
            structure(NULL, u8(2), NULL),
            structure(stamp("2026-05-01T03:00+02:00"), NULL, u32(110)),
            structure(NULL, NULL, NULL),
        ]
    )
    assert times(found) == ["04-30 22:15", "04-30 22:30", "04-30 22:45", "05-01 01:00", "05-01 01:15"]
    assert found["status"].to_pylist() == [1, 1, 2, 2, 2]
    assert found["1-0:1.8.0"].to_pylist() == [100, 105, 105, 110, 110]
    # That values were put in is written where they are.
    assert found.schema.field("1-0:1.8.0").metadata[b"null_rows"] == b"2"
    assert found.schema.field("status").metadata[b"null_rows"] == b"3"


def test_where_null_data_mean_no_value_none_is_put_in() -> None:
    rows = [
        structure(stamp("2026-05-01T00:15+02:00"), u8(0), u32(100)),
        structure(NULL, NULL, NULL),
        structure(NULL, u8(0), u32(120)),
    ]
    found = table(rows, quirks=quirks_named("null_is_missing"))
    assert found["1-0:1.8.0"].to_pylist() == [100, None, 120]
    assert found["status"].to_pylist() == [0, None, 0]
    assert times(found) == ["04-30 22:15", "04-30 22:30", "04-30 22:45"]


def test_null_data_before_the_first_value_stay_null() -> None:
    rows = [structure(stamp("2026-05-01T00:15+02:00"), u8(0), NULL), structure(NULL, NULL, u32(7))]
    assert table(rows)["1-0:1.8.0"].to_pylist() == [None, 7]


def test_first_row_without_a_time_is_an_error_and_not_a_guess() -> None:
    with pytest.raises(RemoteProtocolError, match="none can be derived"):
        table([structure(NULL, u8(0), u32(1)), structure(stamp("2026-05-01T00:15+02:00"), u8(0), u32(1))])
    with pytest.raises(RemoteProtocolError, match="no row has a capture time"):
        table([structure(NULL, u8(0), u32(1))])
    rows = [structure(stamp("2026-05-01T00:15+02:00"), u8(0), u32(1)), structure(NULL, NULL, u32(2))]
    with pytest.raises(RemoteProtocolError, match="none can be derived"):
        table(rows, period_s=0)


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (
            "2026-03-27T00:00+01:00",
            ["03-26 23:00", "03-27 23:00", "03-28 23:00", "03-29 22:00", "03-30 22:00"],
        ),
        (
            "2026-10-23T00:00+02:00",
            ["10-22 22:00", "10-23 22:00", "10-24 22:00", "10-25 23:00", "10-26 23:00"],
        ),
    ],
)
def test_days_left_out_are_civil_days_across_a_change_of_clocks(first: str, expected: list[str]) -> None:
    rows = [structure(stamp(first), u8(0), u32(0)), *(structure(NULL, NULL, u32(n)) for n in range(1, 5))]
    assert times(table(rows, period_s=86_400, zone=BERLIN)) == expected


def test_quarter_hours_left_out_are_elapsed_time_across_a_change_of_clocks() -> None:
    rows = [structure(stamp("2026-10-25T02:30+02:00"), u8(0), u32(0))]
    rows += [structure(NULL, NULL, u32(n)) for n in range(6)]
    found = table(rows, zone=BERLIN)
    assert times(found) == [f"10-25 {h:02d}:{m:02d}" for h, m in
                            ((0, 30), (0, 45), (1, 0), (1, 15), (1, 30), (1, 45), (2, 0))]  # fmt: skip


def test_local_times_without_deviation_are_those_of_the_zone_each_once() -> None:
    local = [datetime(2026, 10, 25, tzinfo=UTC) + timedelta(minutes=30 * n) for n in range(6)]
    rows = [
        structure(stamp(at.isoformat(), deviation=False, status=False), u8(0), u32(n))
        for n, at in enumerate(local)
    ]
    assert table(rows, zone=BERLIN)["time"].to_pylist() == local
    newest_first = table(rows[::-1], zone=BERLIN, newest_first=True)
    assert newest_first["time"].to_pylist() == local
    assert newest_first["1-0:1.8.0"].to_pylist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(RemoteProtocolError):
        table(rows)


def test_newest_row_first_comes_out_oldest_first_with_what_was_left_out() -> None:
    rows = [
        structure(stamp("2026-05-01T01:00+02:00"), u8(0), u32(30)),
        structure(NULL, NULL, u32(20)),
        structure(NULL, NULL, NULL),
    ]
    found = table(rows, newest_first=True)
    assert times(found) == ["04-30 22:30", "04-30 22:45", "04-30 23:00"]
    assert found["1-0:1.8.0"].to_pylist() == [20, 20, 30]


def test_rows_without_a_clock_are_counted_back_from_the_newest() -> None:
    newest = datetime(2026, 5, 1, 10, 30, tzinfo=UTC)
    rows = [structure(u8(0), u32(n)) for n in range(4)]
    found = table(rows, (STATUS, ENERGY), newest_at=newest)
    assert times(found) == ["05-01 09:45", "05-01 10:00", "05-01 10:15", "05-01 10:30"]
    assert found.schema.metadata[b"time"] == b"reconstructed"
    turned = table(rows[::-1], (STATUS, ENERGY), newest_at=newest, newest_first=True)
    assert turned.equals(found)
    with pytest.raises(RemoteProtocolError, match="carry no time"):
        table(rows, (STATUS, ENERGY))
    assert table([], (STATUS, ENERGY)).num_rows == 0


def test_compact_array_is_the_same_table() -> None:
    stamps = ["2026-05-01T00:15+02:00", "2026-05-01T00:30+02:00", "2026-05-01T00:45+02:00"]
    rows = [structure(stamp(at), u8(n), u32(100 + n)) for n, at in enumerate(stamps)]
    kind = TypeDescription(
        Tag.STRUCTURE,
        (
            TypeDescription(Tag.OCTET_STRING),
            TypeDescription(Tag.UNSIGNED),
            TypeDescription(Tag.DOUBLE_LONG_UNSIGNED),
        ),
    )
    compact = encode(Data(Tag.COMPACT_ARRAY, CompactArray(kind, tuple(rows))))
    description = ProfileDescription(PROFILE, COLUMNS, 900, scalers={ENERGY: WH})
    assert profile_table(description, ProfileDecoder().decode(compact)).equals(table(rows))


def test_columns_have_names_of_their_own_and_types_of_their_values() -> None:
    columns = (
        CLOCK_COLUMN,
        STATUS,
        STATUS,
        DEMAND_TIME,
        CaptureObject(1, ObisCode(0, 0, 96, 1, 0), 2),
        CaptureObject(3, ObisCode(1, 0, 32, 7, 0), 2),
        CaptureObject(1, ObisCode(0, 0, 96, 5, 0), 2),
        CaptureObject(3, ObisCode(1, 0, 1, 8, 0), 2),
        CaptureObject(3, ObisCode(1, 0, 1, 8, 0), 2, 1),
    )
    nothing_yet = Data(Tag.OCTET_STRING, CosemDateTime().to_bytes())
    rows = [
        structure(
            stamp("2026-05-01T00:15+02:00"), u8(1), u8(2), stamp("2026-04-30T18:00+02:00"),
            Data(Tag.VISIBLE_STRING, "M-1"), Data(Tag.FLOAT32, 230.5),
            Data(Tag.BIT_STRING, BitString(3, b"\xa0")), Data(Tag.LONG64_UNSIGNED, 2**64 - 1),
            Data(Tag.BOOLEAN, True),
        ),
        structure(
            stamp("2026-05-01T00:30+02:00"), u8(1), u8(2), nothing_yet, Data(Tag.VISIBLE_STRING, "M-1"),
            Data(Tag.FLOAT32, 231.5), Data(Tag.BIT_STRING, BitString(3, b"\xc0")),
            Data(Tag.LONG64_UNSIGNED, 5), Data(Tag.BOOLEAN, False),
        ),
    ]  # fmt: skip
    found = table(rows, columns)
    assert found.column_names == [
        "time", "status", "0-0:96.10.1", "1-0:1.6.0 attribute 5", "0-0:96.1.0", "1-0:32.7.0", "0-0:96.5.0",
        "1-0:1.8.0", "1-0:1.8.0 element 1",
    ]  # fmt: skip
    assert found["1-0:1.6.0 attribute 5"].to_pylist() == [datetime(2026, 4, 30, 16, tzinfo=UTC), None]
    assert found["0-0:96.1.0"].to_pylist() == ["M-1", "M-1"]
    assert found["1-0:32.7.0"].to_pylist() == [230.5, 231.5]
    assert found["0-0:96.5.0"].to_pylist() == ["101", "110"]
    assert found["1-0:1.8.0"].to_pylist() == [Decimal(2**64 - 1), Decimal(5)]
    assert found["1-0:1.8.0 element 1"].to_pylist() == [True, False]


def test_buffer_of_other_columns_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="rows of 2 columns"):
        table([structure(stamp("2026-05-01T00:15+02:00"), u32(1))])
    assert table([]).column_names == ["time", "status", "1-0:1.8.0"]


@given(
    st.lists(
        st.tuples(st.booleans(), st.none() | st.integers(0, 2**32 - 1), st.none() | st.integers(0, 255)),
        min_size=1,
        max_size=40,
    )
)
@settings(max_examples=150, deadline=None)
def test_expanded_table_is_the_one_that_was_compressed(
    rows: list[tuple[bool, int | None, int | None]],
) -> None:
    start = datetime(2026, 5, 1, tzinfo=UTC)
    at = [start + timedelta(minutes=15 * n) for n in range(len(rows))]
    sent = [
        structure(
            stamp(when.isoformat()) if shown or not n else NULL,
            NULL if status is None else u8(status),
            NULL if count is None else u32(count),
        )
        for n, ((shown, count, status), when) in enumerate(zip(rows, at, strict=True))
    ]
    found = table(sent)
    assert found["time"].to_pylist() == at
    for place, name in ((1, "1-0:1.8.0"), (2, "status")):
        last = None
        expected = [last := (last if row[place] is None else row[place]) for row in rows]
        assert found[name].to_pylist() == expected


# --- values -------------------------------------------------------------------------------------------


def test_value_is_scaled_exactly_or_said_to_be_unscaled() -> None:
    energy = Attribute(3, ObisCode(1, 0, 1, 8, 0), 2)
    value = attribute_value(energy, 123456, scaler=ScalerUnit(-3, 30))
    assert (value.value, value.unit, value.raw, value.text) == (
        Decimal("123.456"),
        "Wh",
        123456,
        "123.456 Wh",
    )
    bare = attribute_value(energy, 123456)
    assert (bare.value, bare.unit, bare.quality) == (123456, "", Quality.UNSCALED)
    known = attribute_value(energy, 5, quirks=quirks_named("norwegian_list"))
    assert (known.text, known.quality) == ("5 Wh", Quality.MEASURED)
    assert attribute_value(energy, None, scaler=WH).quality is Quality.ABSENT
    assert attribute_value(energy, 0.1, scaler=ScalerUnit(3, 30)).value == Decimal("100")
    assert ScalerUnit(0, 200).symbol == "unit 200"
    for wrong in ((1,), (1, 2, 3), (99, 30), ("a", 30), 5, None, (True, 30)):
        with pytest.raises(RemoteProtocolError):
            scaler_unit_of(wrong)


def test_time_that_names_no_instant_stays_what_it_is() -> None:
    clock = Attribute(8, ObisCode(0, 0, 1, 0, 0), 2)
    octets = bytes.fromhex("07ea0afe07020000ff8000ff")
    value = attribute_value(clock, octets).value
    assert isinstance(value, CosemDateTime)
    assert plain_text(value) == "2026-10-last day 02:00:00 Sunday deviation not specified"
    assert date_time_text(CosemDateTime()) == "****-**-** **:**:** deviation not specified"


def test_object_list_of_version_3_has_its_rights_as_bits() -> None:
    def element(class_id: int, version: int, name: str, mode: int) -> Data:
        return structure(
            Data(Tag.LONG_UNSIGNED, class_id), u8(version),
            Data(Tag.OCTET_STRING, ObisCode.parse(name).to_bytes()),
            structure(
                array([structure(Data(Tag.INTEGER, 2), Data(Tag.UNSIGNED, mode), NULL)]),
                array([structure(Data(Tag.INTEGER, 1), Data(Tag.UNSIGNED, mode))]),
            ),
        )  # fmt: skip

    def listed(version: int, mode: int) -> Any:
        rows = [element(15, version, "0-0:40.0.0", 1), element(3, 0, "1-0:1.8.0", mode)]
        return object_list(decode_plain(encode(array(rows)))).find(ObisCode(1, 0, 1, 8, 0))

    old = listed(1, 4)
    assert old.right(2) == Right.READ | Right.AUTHENTICATED_REQUEST | Right.AUTHENTICATED_RESPONSE
    assert (old.right(2).text, old.methods[0].allowed) == ("r+", True)
    new = listed(3, 0x0D)
    assert new.right(2) == Right.READ | Right.AUTHENTICATED_REQUEST | Right.ENCRYPTED_REQUEST
    assert new.methods[0].allowed
    assert listed(3, 0x0C).methods[0].allowed is False
    with pytest.raises(RemoteProtocolError, match="access mode 7"):
        listed(1, 7)


@pytest.mark.parametrize(
    "value",
    [None, 5, [5], [(1, 2)], [(1, 0, b"123456")], [(1, 0, b"12345", ([], []))],
     [(1, 0, b"123456", ([5], []))], [(1, 0, b"123456", ([(1, 1, 5)], []))], [(1, 0, b"123456", ([], [7]))]],
)  # fmt: skip
def test_object_list_that_is_none_is_refused_whole(value: Any) -> None:
    with pytest.raises(RemoteProtocolError):
        object_list(value)


def test_capture_objects_that_are_none_are_refused() -> None:
    assert capture_objects([(8, bytes.fromhex("0000010000ff"), 2, 0)]) == (CLOCK_COLUMN,)
    for wrong in (None, 5, [5], [(8, b"short", 2, 0)], [(8, bytes(6), 2)]):
        with pytest.raises(RemoteProtocolError):
            capture_objects(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "tag", "value"),
    [
        ("7", "unsigned", 7),
        ("0x10", "long-unsigned", 16),
        ("-1", "integer", -1),
        ("1.5", "float32", 1.5),
        ("true", "boolean", True),
        ("abc", "octet-string", b"abc"),
        ("hex:00ff", "octet-string", b"\x00\xff"),
        ("time:2026-10-25T02:30:00+02:00", "octet-string", bytes.fromhex("07ea0a1907001e0000000000")),
        ("Müll", "utf8-string", "Müll"),
        ("101", "bit-string", BitString(3, b"\xa0")),
        ("null", "null-data", None),
        ("axdr:1105", "structure", 5),
    ],
)
def test_value_written_by_a_person(text: str, tag: str, value: object) -> None:
    assert data_of_text(text, tag_named(tag)).value == value


@pytest.mark.parametrize(
    ("text", "tag"),
    [("256", "unsigned"), ("x", "long"), ("hex:0", "octet-string"), ("time:noon", "octet-string"),
     ("2", "boolean"), ("12", "bit-string"), ("axdr:11", "unsigned"), ("axdr:zz", "unsigned"), ("1", "array"),
     ("x", "float64"), ("100", "bcd"), ("é" * 3, "visible-string-")],
)  # fmt: skip
def test_value_that_is_none_of_its_type_is_refused(text: str, tag: str) -> None:
    with pytest.raises((LocalProtocolError, RemoteProtocolError)):
        data_of_text(text, tag_named(tag))


def test_python_values_take_the_type_of_what_is_there() -> None:
    assert data_like(7, u8(0)) == u8(7)
    assert data_like("x", Data(Tag.OCTET_STRING, b"")) == Data(Tag.OCTET_STRING, b"x")
    assert data_like(True, Data(Tag.BOOLEAN, False)) == Data(Tag.BOOLEAN, True)
    assert data_like(7, Data(Tag.FLOAT64, 0.0)).tag is Tag.FLOAT64
    for value, like in (
        (300, u8(0)),
        (1.5, u8(0)),
        (True, u8(0)),
        ("x", u8(0)),
        (b"x", u8(0)),
        (7, array([])),
    ):
        with pytest.raises(LocalProtocolError):
            data_like(value, like)

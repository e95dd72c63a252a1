"""Profile buffers: the template and the generic decoder give equal columns, and rows survive in bulk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.protocols.dlms.encoding.axdr import Data, Delta, Tag, array, encode, structure
from openami.protocols.dlms.encoding.date_time import date_times_of
from openami.protocols.dlms.encoding.profile_buffer import (
    Column,
    ColumnKind,
    ProfileDecoder,
    capture_instants,
    compile_template,
    encode_buffer,
    generic_columns,
)
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

NUMBERS = {
    Tag.UNSIGNED: (0, 255),
    Tag.LONG_UNSIGNED: (0, 65535),
    Tag.DOUBLE_LONG_UNSIGNED: (0, 2**32 - 1),
    Tag.LONG64_UNSIGNED: (0, 2**64 - 1),
    Tag.INTEGER: (-128, 127),
    Tag.LONG64: (-(2**63), 2**63 - 1),
    Tag.ENUM: (0, 255),
}


def _cells(tag: Tag) -> st.SearchStrategy[Data]:
    if tag in NUMBERS:
        return st.integers(*NUMBERS[tag]).map(lambda v: Data(tag, v))
    if tag is Tag.OCTET_STRING:
        return st.binary(min_size=3, max_size=3).map(lambda v: Data(tag, v))
    if tag is Tag.FLOAT32:
        return st.floats(width=32, allow_nan=False).map(lambda v: Data(tag, v))
    if tag is Tag.BOOLEAN:
        return st.booleans().map(lambda v: Data(tag, v))
    return st.just(Data(Tag.NULL_DATA, None))


COLUMN_TAGS = [*NUMBERS, Tag.OCTET_STRING, Tag.FLOAT32, Tag.BOOLEAN, Tag.NULL_DATA]
odd_cells = st.sampled_from(
    [Data(Tag.NULL_DATA, None), Data(Tag.OCTET_STRING, b"x"), Data(Tag.UNSIGNED, 1), Data(Tag.LONG, -2)]
)


@st.composite
def buffers(draw: st.DrawFn) -> bytes:
    tags = draw(st.lists(st.sampled_from(COLUMN_TAGS), min_size=1, max_size=5))
    rows = draw(st.lists(st.tuples(*map(_cells, tags)), min_size=1, max_size=8))
    rows = [list(row) for row in rows]
    if draw(st.booleans()):  # one cell out of line: null-data, another type, another width
        row = draw(st.integers(0, len(rows) - 1))
        rows[row][draw(st.integers(0, len(tags) - 1))] = draw(odd_cells)
    return encode(array(structure(*row) for row in rows))


def _equal(left: tuple[Column, ...], right: tuple[Column, ...]) -> bool:
    return len(left) == len(right) and all(
        a.kind is b.kind
        and a.values.dtype == b.values.dtype
        and a.values.shape == b.values.shape
        and (a.values == b.values).all()
        and (a.present == b.present).all()
        for a, b in zip(left, right, strict=True)
    )


@settings(max_examples=400, deadline=None)
@given(st.lists(buffers(), min_size=1, max_size=3))
def test_template_and_generic_decoder_agree(several: list[bytes]) -> None:
    decoder = ProfileDecoder()
    for buffer in several:
        assert _equal(decoder.decode(buffer), generic_columns(buffer))
        assert _equal(decoder.decode(buffer), generic_columns(buffer))


@settings(max_examples=800, deadline=None)
@given(st.binary(max_size=60))
def test_any_octets_agree_or_are_remote_errors(octets: bytes) -> None:
    try:
        expected = generic_columns(octets)
    except RemoteProtocolError:
        with pytest.raises(RemoteProtocolError):
            ProfileDecoder().decode(octets)
    else:
        assert len(ProfileDecoder().decode(octets)) == len(expected)


def _day() -> tuple[np.ndarray, bytes]:
    at = np.datetime64("2025-01-01T23:15", "us") + np.arange(96) * np.timedelta64(900, "s")
    columns = [date_times_of(at, -60, 0), np.zeros(96, np.int64), np.arange(96) * 3]
    return at, encode_buffer([Tag.OCTET_STRING, Tag.LONG_UNSIGNED, Tag.DOUBLE_LONG_UNSIGNED], columns)


def test_a_day_of_load_profile_takes_the_template() -> None:
    at, encoded = _day()
    assert compile_template(encoded, 2) is not None
    clock, status, energy = ProfileDecoder().decode(encoded)
    assert (capture_instants(clock, 900) == at).all()
    assert energy.kind is ColumnKind.INTEGER
    assert energy.values.sum() == 3 * 95 * 96 // 2
    assert not status.values.any()


def test_bulk_encoding_equals_the_encoder_value_by_value() -> None:
    at, encoded = _day()
    octets = date_times_of(at, -60, 0)
    assert encoded == encode(
        array(
            structure(
                Data(Tag.OCTET_STRING, octets[k].tobytes()),
                Data(Tag.LONG_UNSIGNED, 0),
                Data(Tag.DOUBLE_LONG_UNSIGNED, 3 * k),
            )
            for k in range(96)
        )
    )


def test_null_data_as_capture_time_means_one_period_later() -> None:
    stamp = date_times_of(np.array(["2025-01-01T00:15"], "M8[us]"), 0, 0)[0].tobytes()
    later = date_times_of(np.array(["2025-01-01T03:00"], "M8[us]"), 0, 0)[0].tobytes()
    cells = [stamp, None, None, later, None]
    buffer = encode(
        array(
            structure(
                Data(Tag.NULL_DATA, None) if cell is None else Data(Tag.OCTET_STRING, cell),
                Data(Tag.UNSIGNED, 1),
            )
            for cell in cells
        )
    )
    clock, number = ProfileDecoder().decode(buffer)
    assert clock.present.tolist() == [True, False, False, True, False]
    assert number.values.tolist() == [1] * 5
    expected = [
        "2025-01-01T00:15",
        "2025-01-01T00:30",
        "2025-01-01T00:45",
        "2025-01-01T03:00",
        "2025-01-01T03:15",
    ]
    assert (capture_instants(clock, 900) == np.array(expected, "M8[us]")).all()
    with pytest.raises(RemoteProtocolError):
        capture_instants(clock, 0)


def test_delta_values_are_summed() -> None:
    values = [
        Data(Tag.DOUBLE_LONG_UNSIGNED, 1000),
        Data(Tag.DELTA_INTEGER, Delta(5)),
        Data(Tag.DELTA_UNSIGNED, Delta(7)),
    ]
    (column,) = ProfileDecoder().decode(encode(array(structure(v) for v in values)))
    assert column.values.tolist() == [1000, 1005, 1012]
    with pytest.raises(RemoteProtocolError, match="difference"):
        ProfileDecoder().decode(encode(array([structure(values[1])])))


def test_counts_beyond_int64_are_not_bent() -> None:
    buffer = encode(array([structure(Data(Tag.LONG64_UNSIGNED, 2**64 - 1))]))
    (column,) = ProfileDecoder().decode(buffer)
    assert column.kind is ColumnKind.OTHER
    assert column.values.tolist() == [2**64 - 1]


def test_empty_and_malformed_buffers() -> None:
    assert ProfileDecoder().decode(b"\x01\x00") == ()
    for octets in ("", "11", "0100ff", "010111", "0102020111010200", "01021101", "0101020109"):
        with pytest.raises(RemoteProtocolError):
            ProfileDecoder().decode(bytes.fromhex(octets))


def test_columns_that_do_not_fit_are_local_errors() -> None:
    for tags, columns in (
        ([Tag.UNSIGNED], [np.array([256])]),
        ([Tag.UNSIGNED], [np.array([-1])]),
        ([Tag.UNSIGNED, Tag.UNSIGNED], [np.array([1])]),
        ([Tag.UNSIGNED, Tag.UNSIGNED], [np.array([1]), np.array([1, 2])]),
        ([Tag.OCTET_STRING], [np.array([1])]),
        ([Tag.ARRAY], [np.array([1])]),
    ):
        with pytest.raises(LocalProtocolError):
            encode_buffer(tags, columns)
    assert encode_buffer([Tag.UNSIGNED], [np.array([], np.int64)]) == b"\x01\x00"


def test_clock_columns_must_hold_date_times() -> None:
    numbers = Column(ColumnKind.INTEGER, np.array([1]), np.array([True]))
    with pytest.raises(RemoteProtocolError):
        capture_instants(numbers, 900)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("octets", ["7fa00000", "ffa00001", "7fc00000"])
def test_a_signalling_nan_is_a_nan_and_nothing_is_said_of_it(octets: str) -> None:
    row = bytes.fromhex("020117" + octets)
    buffer = b"\x01\x02" + row + row
    for columns in (ProfileDecoder().decode(buffer), generic_columns(buffer)):
        (column,) = columns
        assert column.kind is ColumnKind.FLOAT
        assert np.isnan(column.values.astype(np.float64)).all()

"""A-XDR: every type there and back, and any octets give a value or RemoteProtocolError."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.protocols.dlms.encoding.axdr import (
    BitString,
    CompactArray,
    Data,
    Delta,
    Tag,
    TypeDescription,
    array,
    decode,
    decode_plain,
    encode,
    plain,
    structure,
)
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

INTEGER_RANGES = {
    Tag.INTEGER: (-(2**7), 2**7 - 1),
    Tag.LONG: (-(2**15), 2**15 - 1),
    Tag.DOUBLE_LONG: (-(2**31), 2**31 - 1),
    Tag.LONG64: (-(2**63), 2**63 - 1),
    Tag.UNSIGNED: (0, 2**8 - 1),
    Tag.ENUM: (0, 2**8 - 1),
    Tag.LONG_UNSIGNED: (0, 2**16 - 1),
    Tag.DOUBLE_LONG_UNSIGNED: (0, 2**32 - 1),
    Tag.LONG64_UNSIGNED: (0, 2**64 - 1),
    Tag.BCD: (0, 99),
}
DELTA_RANGES = {
    Tag.DELTA_INTEGER: (-(2**7), 2**7 - 1),
    Tag.DELTA_LONG: (-(2**15), 2**15 - 1),
    Tag.DELTA_DOUBLE_LONG: (-(2**31), 2**31 - 1),
    Tag.DELTA_UNSIGNED: (0, 2**8 - 1),
    Tag.DELTA_LONG_UNSIGNED: (0, 2**16 - 1),
    Tag.DELTA_DOUBLE_LONG_UNSIGNED: (0, 2**32 - 1),
}


def _scalars(tag: Tag) -> st.SearchStrategy[Data]:
    if tag in INTEGER_RANGES:
        values: st.SearchStrategy[object] = st.integers(*INTEGER_RANGES[tag])
    elif tag in DELTA_RANGES:
        values = st.integers(*DELTA_RANGES[tag]).map(Delta)
    else:
        values = {
            Tag.NULL_DATA: st.none(),
            Tag.DONT_CARE: st.none(),
            Tag.BOOLEAN: st.booleans(),
            Tag.BIT_STRING: st.lists(st.booleans(), max_size=40).map(_bits),
            Tag.OCTET_STRING: st.binary(max_size=300),
            Tag.VISIBLE_STRING: st.text(st.characters(max_codepoint=255), max_size=20),
            Tag.UTF8_STRING: st.text(max_size=20),
            Tag.FLOAT32: st.floats(width=32, allow_nan=False),
            Tag.FLOAT64: st.floats(allow_nan=False),
            Tag.DATE_TIME: st.binary(min_size=12, max_size=12),
            Tag.DATE: st.binary(min_size=5, max_size=5),
            Tag.TIME: st.binary(min_size=4, max_size=4),
        }[tag]
    return values.map(lambda value: Data(tag, value))  # type: ignore[arg-type]


def _bits(bits: list[bool]) -> BitString:
    padded = bits + [False] * (-len(bits) % 8)
    octets = bytes(
        sum(bit << (7 - i) for i, bit in enumerate(padded[k : k + 8])) for k in range(0, len(padded), 8)
    )
    return BitString(len(bits), octets)


SCALAR_TAGS = [tag for tag in Tag if tag not in (Tag.ARRAY, Tag.STRUCTURE, Tag.COMPACT_ARRAY)]
scalars = st.sampled_from(SCALAR_TAGS).flatmap(_scalars)
FIXED_TAGS = [tag for tag in SCALAR_TAGS if tag not in (Tag.NULL_DATA, Tag.DONT_CARE)]
descriptions = st.recursive(
    st.sampled_from(FIXED_TAGS).map(TypeDescription),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(lambda e: TypeDescription(Tag.STRUCTURE, tuple(e))),
        st.tuples(inner, st.integers(1, 4)).map(lambda e: TypeDescription(Tag.ARRAY, (e[0],), e[1])),
    ),
    max_leaves=5,
)


def _of(description: TypeDescription) -> st.SearchStrategy[Data]:
    if description.tag in (Tag.STRUCTURE, Tag.ARRAY):
        elements = description.elements * (description.count or 1)
        return st.tuples(*map(_of, elements)).map(lambda items: Data(description.tag, items))
    return _scalars(description.tag)


compact_arrays = descriptions.flatmap(
    lambda d: st.lists(_of(d), max_size=4).map(lambda v: Data(Tag.COMPACT_ARRAY, CompactArray(d, tuple(v))))
)
data = st.recursive(
    scalars | compact_arrays,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5).map(array), st.lists(inner, max_size=5).map(lambda i: structure(*i))
    ),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(data)
def test_every_type_comes_back_as_it_was(value: Data) -> None:
    encoded = encode(value)
    assert decode(encoded) == value
    assert decode_plain(encoded) == plain(value)


@settings(max_examples=60, deadline=None)
@given(data)
def test_every_cut_of_a_value_is_a_remote_error(value: Data) -> None:
    encoded = encode(value)
    for cut in range(len(encoded)):
        for read in (decode, decode_plain):
            with pytest.raises(RemoteProtocolError):
                read(encoded[:cut])


@settings(max_examples=1500, deadline=None)
@given(st.binary(max_size=80))
def test_any_octets_give_a_value_or_a_remote_error_and_both_readings_agree(octets: bytes) -> None:
    try:
        typed = decode(octets)
    except RemoteProtocolError:
        with pytest.raises(RemoteProtocolError):
            decode_plain(octets)
        return
    value = decode_plain(octets)
    assert value == plain(typed) or "nan" in repr(value)


@pytest.mark.parametrize(
    ("octets", "value"),
    [
        ("00", None),
        ("0301", True),
        ("04080f", BitString(8, b"\x0f")),
        ("0405ff", BitString(5, b"\xf8")),  # padding bits are not part of the value
        ("05ffffffff", -1),
        ("0600001391", 5009),
        ("0903010203", b"\x01\x02\x03"),
        ("09810101", b"\x01"),  # a length longer than it need be is forgiven
        ("0a0141", "A"),
        ("0c054dc3bc6c6c", "Müll"),
        ("0d99", 99),
        ("0fff", -1),
        ("10ff38", -200),
        ("11ff", 255),
        ("12ffff", 65535),
        ("14ffffffffffffffff", -1),
        ("15ffffffffffffffff", 2**64 - 1),
        ("1603", 3),
        ("1743668000", 230.5),
        ("18406cd00000000000", 230.5),
        ("1907ea02190c00000000800000", bytes.fromhex("07ea02190c00000000800000")),
        ("1a07ea021904", bytes.fromhex("07ea021904")),
        ("1b0c000000", bytes.fromhex("0c000000")),
        ("1cff", -1),
        ("ff", None),
        ("0100", []),
        ("0200", ()),
        ("0102110116ff", [1, 255]),
        # Compact array of structure{unsigned, long-unsigned}: type once, then 2 x 3 octets.
        ("130202111206" + "010002" + "030004", [(1, 2), (3, 4)]),
        # Compact array of structure{null-data, unsigned}: the null-data take no octet.
        ("130202001103" + "010203", [(None, 1), (None, 2), (None, 3)]),
        # Compact array of array[2] of unsigned.
        ("1301000211040102" + "0304", [[1, 2], [3, 4]]),
    ],
)
def test_known_octets(octets: str, value: object) -> None:
    assert decode_plain(bytes.fromhex(octets)) == value
    assert plain(decode(bytes.fromhex(octets))) == value


@pytest.mark.parametrize(
    "octets",
    [
        "",
        "0184ffffffff",  # 2**32 - 1 elements declared
        "0183ffffff" + "00" * 200,
        "0984ffffffff00",
        "09ff" + "00" * 200,  # a length of 127 octets
        "01801101",  # indefinite length
        "01" * 60_000,
        "0101" * 30_000 + "00",
        "0202" * 17 + "0000",
        "7f",
        "07",
        "0daf",
        "0c01ff",
        "1300ff",  # compact array of null-data with contents that never end
        "1300" + "03" + "000000",
        "1302000100",  # compact array of empty structures
        "1301ffff00" + "0101",  # array of null-data inside a compact array
        "1301ffff01ffff01ffff01ffff11" + "0100",
        "1313110100",
        "13" + "01ffff" * 20 + "1100",
        "130211" + "00" * 3,
    ],
)
def test_hostile_octets_are_remote_errors(octets: str) -> None:
    for read in (decode, decode_plain):
        with pytest.raises(RemoteProtocolError):
            read(bytes.fromhex(octets))


def test_null_data_in_a_compact_array_cannot_multiply_memory() -> None:
    columns = 60_000
    description = bytes((0x13, 0x02, 0x82)) + columns.to_bytes(2, "big") + b"\x00" * (columns - 1) + b"\x11"
    contents = b"\x83" + (100_000).to_bytes(3, "big") + b"\x07" * 100_000  # 6e9 values if believed
    with pytest.raises(RemoteProtocolError, match="expands too far"):
        decode(description + contents)


def test_depth_is_bounded_at_sixteen() -> None:
    assert decode_plain(b"\x02\x01" * 16 + b"\x00") is not None
    with pytest.raises(RemoteProtocolError, match="nested deeper than 16"):
        decode_plain(b"\x02\x01" * 17 + b"\x00")


def test_trailing_octets_are_an_error() -> None:
    with pytest.raises(RemoteProtocolError, match="1 octets too many"):
        decode(b"\x11\x01\x00")


def test_float_nan_survives() -> None:
    encoded = b"\x17" + struct.pack(">f", math.nan)
    assert encode(decode(encoded)) == encoded


@pytest.mark.parametrize(
    "value",
    [
        Data(Tag.UNSIGNED, 256),
        Data(Tag.UNSIGNED, -1),
        Data(Tag.BCD, 100),
        Data(Tag.OCTET_STRING, "text"),
        Data(Tag.VISIBLE_STRING, "中"),
        Data(Tag.DATE, b"1234"),
        Data(Tag.ARRAY, 1),
        Data(Tag.COMPACT_ARRAY, 1),
        Data(Tag.UTF8_STRING, "\ud800"),
        Data(Tag.FLOAT32, "x"),
        Data(Tag.COMPACT_ARRAY, CompactArray(TypeDescription(Tag.UNSIGNED), (Data(Tag.LONG, 1),))),
    ],
)
def test_values_that_do_not_fit_their_type_are_local_errors(value: Data) -> None:
    with pytest.raises(LocalProtocolError):
        encode(value)


def test_bit_strings_keep_their_invariant() -> None:
    with pytest.raises(LocalProtocolError):
        BitString(9, b"\x00")
    with pytest.raises(LocalProtocolError):
        BitString(5, b"\x01")

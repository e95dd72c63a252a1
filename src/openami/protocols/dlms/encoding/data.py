"""COSEM data as Python values: the types of the ``Data`` choice (IEC 62056-6-2 clause 4.1.5).

`Data` keeps the type of a value, so that it can be encoded; `Plain` is what an application works with:

    null-data, dont-care  None          array, compact-array  list      structure  tuple
    integers, enum, bcd   int           float32, float64      float     boolean    bool
    octet-string, date-time, date, time  bytes                strings   str        bit-string  BitString
    delta values          Delta (an int that says it is a difference)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, TypeAlias, Union

from openami.quantities.errors import LocalProtocolError


class Tag(IntEnum):
    """Tags of the ``Data`` choice."""

    NULL_DATA = 0
    ARRAY = 1
    STRUCTURE = 2
    BOOLEAN = 3
    BIT_STRING = 4
    DOUBLE_LONG = 5
    DOUBLE_LONG_UNSIGNED = 6
    OCTET_STRING = 9
    VISIBLE_STRING = 10
    UTF8_STRING = 12
    BCD = 13
    INTEGER = 15
    LONG = 16
    UNSIGNED = 17
    LONG_UNSIGNED = 18
    COMPACT_ARRAY = 19
    LONG64 = 20
    LONG64_UNSIGNED = 21
    ENUM = 22
    FLOAT32 = 23
    FLOAT64 = 24
    DATE_TIME = 25
    DATE = 26
    TIME = 27
    DELTA_INTEGER = 28
    DELTA_LONG = 29
    DELTA_DOUBLE_LONG = 30
    DELTA_UNSIGNED = 31
    DELTA_LONG_UNSIGNED = 32
    DELTA_DOUBLE_LONG_UNSIGNED = 33
    DONT_CARE = 255


@dataclass(frozen=True, slots=True)
class BitString:
    """``length`` bits, the first being the most significant of the first octet; padding bits are zero."""

    length: int
    octets: bytes

    def __post_init__(self) -> None:
        if len(self.octets) != (self.length + 7) // 8:
            raise LocalProtocolError(f"{self.length} bits in {len(self.octets)} octets")
        spare = -self.length % 8
        if spare and self.octets[-1] & ((1 << spare) - 1):
            raise LocalProtocolError("padding bits of a bit-string are not zero")


class Delta(int):
    """A difference to the value before it in the same column."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class TypeDescription:
    """Type of the elements of a compact array.

    Parameters
    ----------
    tag:
        Type; `Tag.ARRAY` and `Tag.STRUCTURE` describe their elements.
    elements:
        Of a structure one description per element, of an array exactly one.
    count:
        Elements of an array; 0 otherwise.
    """

    tag: Tag
    elements: tuple[TypeDescription, ...] = ()
    count: int = 0


@dataclass(frozen=True, slots=True)
class CompactArray:
    """Value of a compact array: the type once, then the contents of every element."""

    description: TypeDescription
    values: tuple[Data, ...]


Plain: TypeAlias = Union[bool, int, float, bytes, str, BitString, "list[Plain]", "tuple[Plain, ...]", None]
Scalar: TypeAlias = bool | int | float | bytes | str | BitString | None
DataValue: TypeAlias = Union[Scalar, "tuple[Data, ...]", "CompactArray"]


class Data(NamedTuple):
    """A value with its type; arrays and structures hold a tuple of `Data`."""

    tag: Tag
    value: DataValue


NULL = Data(Tag.NULL_DATA, None)


def array(items: Iterable[Data]) -> Data:
    """An array of values."""
    return Data(Tag.ARRAY, tuple(items))


def structure(*items: Data) -> Data:
    """A structure of values."""
    return Data(Tag.STRUCTURE, items)

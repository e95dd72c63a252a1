"""What a request names: attributes, methods, and the part of an attribute that is selected.

Sources: IEC 62056-5-3 (Cosem-Attribute-Descriptor, Cosem-Method-Descriptor, Selective-Access-Descriptor),
IEC 62056-6-2 class 7 (range_descriptor, entry_descriptor).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from openami.protocols.dlms.encoding.axdr import Data, Tag, array, decode_at, encode, structure
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.encoding.octets import Reader
from openami.quantities.errors import LocalProtocolError
from openami.quantities.obis import ObisCode

_DESCRIPTOR = struct.Struct(">H6sb")

CLOCK = ObisCode(0, 0, 1, 0, 0)
BY_RANGE = 1
BY_ENTRY = 2


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of an object: class, logical name, attribute number."""

    class_id: int
    logical_name: ObisCode
    index: int

    def to_bytes(self) -> bytes:
        """Nine octets; raises `LocalProtocolError` where the class or the number does not fit."""
        try:
            return _DESCRIPTOR.pack(self.class_id, self.logical_name.to_bytes(), self.index)
        except struct.error:
            raise LocalProtocolError(
                f"class {self.class_id}, number {self.index}",
                where=str(self.logical_name),
                expected="a class 0 .. 65535, and an attribute or method -128 .. 127",
            ) from None

    @classmethod
    def read(cls, reader: Reader) -> Attribute:
        """The descriptor at the reader's position."""
        return cls(reader.u16(), ObisCode.from_bytes(reader.take(6)), reader.i8())

    def __str__(self) -> str:
        return f"{self.logical_name} attribute {self.index}"


@dataclass(frozen=True, slots=True)
class Method:
    """A method of an object: class, logical name, method number."""

    class_id: int
    logical_name: ObisCode
    index: int

    def to_bytes(self) -> bytes:
        """Nine octets; raises as `Attribute.to_bytes`."""
        return Attribute(self.class_id, self.logical_name, self.index).to_bytes()

    @classmethod
    def read(cls, reader: Reader) -> Method:
        """The descriptor at the reader's position."""
        return cls(reader.u16(), ObisCode.from_bytes(reader.take(6)), reader.i8())

    def __str__(self) -> str:
        return f"{self.logical_name} method {self.index}"


@dataclass(frozen=True, slots=True)
class Selector:
    """Selective access: a number and its parameters."""

    number: int
    parameters: Data

    def to_bytes(self) -> bytes:
        """Number and encoded parameters."""
        return bytes((self.number,)) + encode(self.parameters)

    @classmethod
    def read(cls, reader: Reader) -> Selector:
        """The selector at the reader's position."""
        number = reader.u8()
        parameters, reader.position = decode_at(reader.data, reader.position)
        return cls(number, parameters)


@dataclass(frozen=True, slots=True)
class CaptureObject:
    """A column of a profile: attribute, and with ``data_index`` > 0 one element of it."""

    class_id: int
    logical_name: ObisCode
    attribute: int
    data_index: int = 0

    def to_data(self) -> Data:
        """``capture_object_definition``."""
        return structure(
            Data(Tag.LONG_UNSIGNED, self.class_id),
            Data(Tag.OCTET_STRING, self.logical_name.to_bytes()),
            Data(Tag.INTEGER, self.attribute),
            Data(Tag.LONG_UNSIGNED, self.data_index),
        )


CLOCK_COLUMN = CaptureObject(8, CLOCK, 2)


def by_range(
    start: datetime,
    end: datetime,
    *,
    zone: tzinfo = UTC,
    columns: Sequence[CaptureObject] = (),
    restricting: CaptureObject = CLOCK_COLUMN,
) -> Selector:
    """Rows captured in ``[start, end]``, both included.

    Parameters
    ----------
    start, end:
        Instants.
    zone:
        The zone whose local time is written into the request, with its deviation.
    columns:
        Columns wanted; empty means all.
    restricting:
        The column that the range speaks of.
    """
    return Selector(
        BY_RANGE,
        structure(
            restricting.to_data(),
            Data(Tag.OCTET_STRING, CosemDateTime.from_instant(start, zone).to_bytes()),
            Data(Tag.OCTET_STRING, CosemDateTime.from_instant(end, zone).to_bytes()),
            array(column.to_data() for column in columns),
        ),
    )


def by_entry(first: int, last: int = 0, *, first_column: int = 1, last_column: int = 0) -> Selector:
    """Rows by number, counted from 1; 0 as ``last`` and ``last_column`` is the highest there is."""
    return Selector(
        BY_ENTRY,
        structure(
            Data(Tag.DOUBLE_LONG_UNSIGNED, first),
            Data(Tag.DOUBLE_LONG_UNSIGNED, last),
            Data(Tag.LONG_UNSIGNED, first_column),
            Data(Tag.LONG_UNSIGNED, last_column),
        ),
    )

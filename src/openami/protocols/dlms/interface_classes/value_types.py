"""Types of attributes and of method parameters, as values that check what a client sends.

An interface class writes down the layout of its attributes with these types (IEC 62056-6-2, the class
tables), and nothing reaches a meter's state that does not fit them: lengths, ranges and the number of
elements are held here, once. Rule of this file: a check is total and its cost linear in the value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from openami.protocols.dlms.encoding.axdr import NULL, BitString, Data, Tag
from openami.protocols.dlms.encoding.date_time import CosemDateTime

MOST_ELEMENTS: Final = 128
"""Elements of a list that a client may store; no object of a meter keeps more."""
MOST_OCTETS: Final = 256
"""Octets of a string that a client may store, where its type says nothing else."""

_RANGES: Final = {
    Tag.INTEGER: (-0x80, 0x7F),
    Tag.UNSIGNED: (0, 0xFF),
    Tag.ENUM: (0, 0xFF),
    Tag.LONG: (-0x8000, 0x7FFF),
    Tag.LONG_UNSIGNED: (0, 0xFFFF),
    Tag.DOUBLE_LONG: (-0x8000_0000, 0x7FFF_FFFF),
    Tag.DOUBLE_LONG_UNSIGNED: (0, 0xFFFF_FFFF),
    Tag.LONG64: (-(1 << 63), (1 << 63) - 1),
    Tag.LONG64_UNSIGNED: (0, (1 << 64) - 1),
}


class ValueType(Protocol):
    """What an attribute or a parameter can be."""

    def admits(self, value: Data) -> bool:
        """True where the value is of the type."""
        ...

    def blank(self) -> Data:
        """A value of the type that says nothing: zero, or empty."""
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer or an enumeration of one tag, between ``least`` and ``most``; None: as the tag allows."""

    tag: Tag
    least: int | None = None
    most: int | None = None

    def admits(self, value: Data) -> bool:
        """True for the tag and a number in range."""
        low, high = _RANGES[self.tag]
        return (
            value.tag is self.tag
            and isinstance(value.value, int)
            and (low if self.least is None else self.least) <= value.value
            and value.value <= (high if self.most is None else self.most)
        )

    def blank(self) -> Data:
        """The number nearest to zero."""
        return Data(self.tag, max(0, self.least or 0))


@dataclass(frozen=True, slots=True)
class Truth:
    """A boolean."""

    def admits(self, value: Data) -> bool:
        """True for a boolean."""
        return value.tag is Tag.BOOLEAN

    def blank(self) -> Data:
        """False."""
        return Data(Tag.BOOLEAN, False)


@dataclass(frozen=True, slots=True)
class Octets:
    """An octet-string of ``least`` to ``most`` octets."""

    least: int = 0
    most: int = MOST_OCTETS

    def admits(self, value: Data) -> bool:
        """True for octets of that length."""
        return (
            value.tag is Tag.OCTET_STRING
            and isinstance(value.value, bytes)
            and self.least <= len(value.value) <= self.most
        )

    def blank(self) -> Data:
        """As many zeros as there must be."""
        return Data(Tag.OCTET_STRING, bytes(self.least))


@dataclass(frozen=True, slots=True)
class Text:
    """A visible-string of at most ``most`` characters."""

    most: int = MOST_OCTETS

    def admits(self, value: Data) -> bool:
        """True for a visible-string of that length."""
        return (
            value.tag is Tag.VISIBLE_STRING and isinstance(value.value, str) and len(value.value) <= self.most
        )

    def blank(self) -> Data:
        """No characters."""
        return Data(Tag.VISIBLE_STRING, "")


@dataclass(frozen=True, slots=True)
class Utf8:
    """A utf8-string of at most ``most`` characters."""

    most: int = MOST_OCTETS

    def admits(self, value: Data) -> bool:
        """True for a utf8-string of that length."""
        return value.tag is Tag.UTF8_STRING and isinstance(value.value, str) and len(value.value) <= self.most

    def blank(self) -> Data:
        """No characters."""
        return Data(Tag.UTF8_STRING, "")


@dataclass(frozen=True, slots=True)
class Bits:
    """A bit-string of ``least`` to ``most`` bits."""

    least: int = 0
    most: int = 8 * MOST_OCTETS

    def admits(self, value: Data) -> bool:
        """True for a bit-string of that length."""
        return (
            value.tag is Tag.BIT_STRING
            and isinstance(value.value, BitString)
            and self.least <= value.value.length <= self.most
        )

    def blank(self) -> Data:
        """As many zeros as there must be."""
        return Data(Tag.BIT_STRING, BitString(self.least, bytes((self.least + 7) // 8)))


@dataclass(frozen=True, slots=True)
class Moment:
    """A date-time: an octet-string of twelve octets or, from some clients, the type of its own.

    Any twelve octets are one; what names no instant is "not specified", as the class tables have it.
    """

    tag: Tag = Tag.OCTET_STRING

    def admits(self, value: Data) -> bool:
        """True for twelve octets."""
        return (
            value.tag in (Tag.OCTET_STRING, Tag.DATE_TIME)
            and isinstance(value.value, bytes)
            and len(value.value) == 12
        )

    def blank(self) -> Data:
        """Nothing specified."""
        return Data(self.tag, CosemDateTime().to_bytes())


@dataclass(frozen=True, slots=True)
class ListOf:
    """An array of values of one type."""

    element: ValueType
    most: int = MOST_ELEMENTS

    def admits(self, value: Data) -> bool:
        """True for an array of at most ``most`` such values."""
        return (
            value.tag is Tag.ARRAY
            and isinstance(value.value, tuple)
            and len(value.value) <= self.most
            and all(self.element.admits(item) for item in value.value)
        )

    def blank(self) -> Data:
        """An empty array."""
        return Data(Tag.ARRAY, ())


@dataclass(frozen=True, slots=True)
class Record:
    """A structure with its elements in order."""

    elements: tuple[ValueType, ...]

    def admits(self, value: Data) -> bool:
        """True for a structure of exactly these elements."""
        return (
            value.tag is Tag.STRUCTURE
            and isinstance(value.value, tuple)
            and len(value.value) == len(self.elements)
            and all(map(_admits, self.elements, value.value))
        )

    def blank(self) -> Data:
        """A structure of blank elements."""
        return Data(Tag.STRUCTURE, tuple(element.blank() for element in self.elements))


@dataclass(frozen=True, slots=True)
class StructureOf:
    """A structure of any number of values of one type, ``most`` at most."""

    element: ValueType
    most: int = MOST_ELEMENTS

    def admits(self, value: Data) -> bool:
        """True for a structure of at most ``most`` such values."""
        return (
            value.tag is Tag.STRUCTURE
            and isinstance(value.value, tuple)
            and len(value.value) <= self.most
            and all(self.element.admits(item) for item in value.value)
        )

    def blank(self) -> Data:
        """A structure without elements."""
        return Data(Tag.STRUCTURE, ())


@dataclass(frozen=True, slots=True)
class OneOf:
    """A choice of types; its blank value is that of the first."""

    types: tuple[ValueType, ...]

    def admits(self, value: Data) -> bool:
        """True where one of the types admits it."""
        return any(candidate.admits(value) for candidate in self.types)

    def blank(self) -> Data:
        """The first type's."""
        return self.types[0].blank()


@dataclass(frozen=True, slots=True)
class Nothing:
    """null-data."""

    def admits(self, value: Data) -> bool:
        """True for null-data."""
        return value.tag is Tag.NULL_DATA

    def blank(self) -> Data:
        """null-data."""
        return NULL


@dataclass(frozen=True, slots=True)
class Anything:
    """Any value of at most ``most`` elements, octets included, however it is nested."""

    most: int = 4 * MOST_OCTETS

    def admits(self, value: Data) -> bool:
        """True for anything that is small enough to be kept."""
        return _weight(value, self.most) <= self.most

    def blank(self) -> Data:
        """null-data."""
        return NULL


def _admits(element: ValueType, value: Data) -> bool:
    return element.admits(value)


def _weight(value: Data, most: int) -> int:
    content = value.value
    if isinstance(content, tuple):
        weight = 1
        for item in content:
            weight += _weight(item, most - weight)
            if weight > most:
                break
        return weight
    if isinstance(content, bytes | str):
        return 1 + len(content)
    if isinstance(content, BitString):
        return 1 + len(content.octets)
    if content is None or isinstance(content, int | float):
        return 1
    return most + 1  # a compact array: nothing that a client sets is one


def record(*elements: ValueType) -> Record:
    """A structure of these elements."""
    return Record(elements)


def one_of(*types: ValueType) -> OneOf:
    """A choice of these types."""
    return OneOf(types)


INTEGER: Final = Whole(Tag.INTEGER)
UNSIGNED: Final = Whole(Tag.UNSIGNED)
ENUM: Final = Whole(Tag.ENUM)
LONG: Final = Whole(Tag.LONG)
LONG_UNSIGNED: Final = Whole(Tag.LONG_UNSIGNED)
DOUBLE_LONG: Final = Whole(Tag.DOUBLE_LONG)
DOUBLE_LONG_UNSIGNED: Final = Whole(Tag.DOUBLE_LONG_UNSIGNED)
LOGICAL_NAME: Final = Octets(6, 6)
DATE: Final = Octets(5, 5)
TIME: Final = Octets(4, 4)
OPTIONAL_NAME: Final = one_of(Octets(6, 6), Octets(0, 0))
SCALER_UNIT: Final = record(INTEGER, ENUM)
SCRIPT: Final = record(LOGICAL_NAME, LONG_UNSIGNED)
"""``action_item``: logical name of a script table, and the selector of a script."""
VALUE_DEFINITION: Final = record(LONG_UNSIGNED, LOGICAL_NAME, INTEGER)
"""Class, logical name and attribute of a value."""
CAPTURE_OBJECT: Final = record(LONG_UNSIGNED, LOGICAL_NAME, INTEGER, LONG_UNSIGNED)
"""Class, logical name, attribute and element of a value."""
WINDOW: Final = record(Moment(), Moment())
"""Start and end of a period of time."""


def enumeration(most: int, least: int = 0) -> Whole:
    """An enumeration from ``least`` to ``most``."""
    return Whole(Tag.ENUM, least, most)

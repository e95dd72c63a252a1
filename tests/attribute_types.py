"""Types of the attributes of the interface classes, by class and version, as public documentation has them.

Written apart from the classes, from open class libraries, profiles and notes on the Blue Book (docs/dlms.md
says which for which class). One word for each attribute from the second on: a short name of a data type, two
with a stroke for a choice, ``any`` where the class leaves it to the object.
"""

from __future__ import annotations

from typing import Final

from openami.protocols.dlms.encoding.axdr import Tag

_SHORT: Final = {
    "array": Tag.ARRAY, "struct": Tag.STRUCTURE, "bool": Tag.BOOLEAN, "bits": Tag.BIT_STRING,
    "dl": Tag.DOUBLE_LONG, "dlu": Tag.DOUBLE_LONG_UNSIGNED, "octets": Tag.OCTET_STRING,
    "text": Tag.VISIBLE_STRING, "utf8": Tag.UTF8_STRING, "int": Tag.INTEGER, "long": Tag.LONG,
    "u8": Tag.UNSIGNED, "lu": Tag.LONG_UNSIGNED, "l64": Tag.LONG64, "l64u": Tag.LONG64_UNSIGNED,
    "enum": Tag.ENUM, "dt": Tag.DATE_TIME, "null": Tag.NULL_DATA,
}  # fmt: skip
_PUSH = "array struct array lu u8"
_GSM = "text enum enum enum struct array dt"
_ASSOCIATION = "array struct struct struct struct octets enum octets"
_SENSOR = "octets octets enum octets enum any struct any dt array array struct array array"
TYPES: Final[dict[tuple[int, int], str]] = {
    (1, 0): "any",
    (3, 0): "any struct",
    (4, 0): "any struct any octets",
    (5, 0): "any any struct any octets octets dlu lu",
    (6, 0): "array array octets",
    (7, 1): "array array dlu enum struct dlu dlu",
    (8, 0): "octets long u8 octets octets int bool enum",
    (9, 0): "array",
    (10, 0): "array",
    (11, 0): "array",
    (15, 0): " ".join(_ASSOCIATION.split()[:7]),
    (15, 1): _ASSOCIATION,
    (15, 2): f"{_ASSOCIATION} array struct",
    (15, 3): f"{_ASSOCIATION} array struct",
    (17, 0): "array",
    (18, 0): "dlu bits dlu bool enum array",
    (19, 1): "enum enum enum enum octets octets octets octets",
    (20, 0): "octets array array array octets array array array octets",
    (21, 0): "array struct array",
    (22, 0): "struct enum array",
    (23, 1): "enum u8 u8 lu lu lu lu lu",
    (24, 1): "enum enum array array",
    (25, 0): "enum enum enum u8",
    (26, 0): "lu dlu octets",
    (27, 1): "enum array array",
    (28, 2): "enum array enum u8 struct array",
    (29, 2): "enum u8 lu array array",
    (30, 0): "octets array array array enum",
    (40, 0): f"{_PUSH} lu",
    (40, 1): f"{_PUSH} lu octets int array",
    (40, 2): f"{_PUSH} struct octets int array enum struct dt",
    (41, 0): "lu octets lu u8 lu",
    (42, 0): "octets dlu array array dlu dlu bool dlu dlu",
    (43, 0): "octets",
    (44, 0): "octets array array struct",
    (45, 0): "octets lu struct",
    (46, 0): "lu octets octets octets octets",
    (47, 0): _GSM,
    (47, 1): _GSM,
    (47, 2): _GSM,
    (48, 0): "octets enum array array array octets octets u8 array",
    (61, 0): "array struct struct",
    (62, 0): "octets array u8 octets enum",
    (62, 1): "octets array u8 octets enum",
    (63, 0): "bits|dlu|octets|text|utf8|u8|lu|l64u struct",
    (64, 0): "enum enum octets octets",
    (64, 1): "enum enum octets octets array",
    (65, 0): "struct dt array",
    (65, 1): "struct dt array octets enum octets struct",
    (67, 0): _SENSOR,
    (68, 0): "array array array array u8",
    (70, 0): "bool enum enum",
    (71, 0): "struct any any any dlu dlu struct array bool struct",
    (72, 0): "octets array dlu u8 dlu lu u8 u8 u8 u8 u8 lu enum",
    (72, 1): "octets array dlu u8 dlu lu u8 u8 u8 u8 u8 lu enum",
    (74, 0): "enum",
    (77, 0): "u8 u8 enum array dlu dlu dlu struct",
    (111, 0): "struct u8 bits dl dl dl dl array array array array octets octets struct dl dl lu dl",
    (112, 0): "dl enum u8 dl dl bits enum dl dl octets",
    (113, 0): "dl enum u8 struct struct octets dlu bits dt dl dl lu",
    (115, 0): "octets octets array enum struct",
}  # fmt: skip
SECRETS: Final = {(15, 7), (19, 7), (19, 8), (19, 9), (44, 5), (45, 3), (46, 4)}
"""Class and attribute of what is written and never read."""
ELEMENTS: Final[dict[tuple[int, int], str]] = {
    (3, 3): "int enum",
    (4, 3): "int enum",
    (5, 4): "int enum",
    (15, 3): "int lu",
    (15, 5): "bits lu lu u8 int octets",
    (22, 2): "octets lu",
    (21, 3): "lu octets int",
    (28, 6): "u8 u8",
    (45, 4): "struct struct",
    (71, 2): "lu octets int",
    (71, 8): "lu octets dlu",
    (71, 11): "struct struct",
    (77, 9): "u8 dt",
    (111, 2): "enum enum",
    (111, 15): "utf8 int enum",
    (113, 5): "struct struct array",
    (115, 6): "enum bits",
    (7, 6): "lu octets int lu",
    (40, 3): "enum octets enum",
}
"""Elements of the structures that look the same in every version."""
ROWS: Final[dict[tuple[int, int], str]] = {
    (6, 2): "lu octets",
    (6, 3): "octets array",
    (7, 3): "lu octets int lu",
    (9, 2): "lu array",
    (10, 2): "lu bool octets lu octets lu bits bits octets octets",
    (11, 2): "lu octets u8",
    (17, 2): "lu octets",
    (18, 7): "dlu octets octets",
    (20, 3): "octets octets octets",
    (20, 4): "octets u8 u8 u8 u8 u8 u8 u8",
    (20, 5): "u8 array",
    (22, 4): "octets octets",
    (28, 3): "octets octets",
    (65, 4): "lu octets int",
    (72, 3): "octets octets",
}
"""Elements of the structures in the arrays that look the same in every version."""


def tags(word: str) -> frozenset[Tag]:
    """Data types that a word of the tables stands for."""
    return frozenset(Tag) if word == "any" else frozenset(_SHORT[part] for part in word.split("|"))


def types(class_id: int, version: int) -> dict[int, frozenset[Tag]]:
    """Data types of each attribute of a class."""
    words = TYPES[class_id, version].split()
    return {1: frozenset({Tag.OCTET_STRING})} | {index: tags(word) for index, word in enumerate(words, 2)}

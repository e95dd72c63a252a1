"""Tables of values: utility tables (26), register table (61), status mapping (63).

IEC 62056-6-2 clauses 4.3.8, 4.3.7 and 4.3.10.

    table_cell_definition  { class_id, logical_name, group_E_values array of unsigned, attribute_index }
    mapping_table          { ref_table_id unsigned, first entry long-unsigned | array of long-unsigned }

A status word is a string of bits whatever its type: its leading bit, of a number the most significant one,
is that of the first entry. Rule of this file: a cell that cannot be read is null-data in its place, never
left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar, Final

from openami.protocols.dlms.apdus.descriptors import CaptureObject, Selector
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import NULL, BitString, Data, Tag, array, encode
from openami.protocols.dlms.interface_classes.object_reference import Find, read_value
from openami.protocols.dlms.interface_classes.stored_object import (
    NO_PRESET,
    State,
    StoredAttribute,
    StoredObject,
    items,
    number,
    octets,
    read_only,
)
from openami.protocols.dlms.interface_classes.value_types import (
    DOUBLE_LONG_UNSIGNED,
    INTEGER,
    LOGICAL_NAME,
    LONG_UNSIGNED,
    SCALER_UNIT,
    UNSIGNED,
    Anything,
    Bits,
    ListOf,
    Octets,
    Text,
    Utf8,
    Whole,
    one_of,
    record,
)
from openami.quantities.obis import ObisCode

_BY_OFFSET, _BY_INDEX = 1, 2
_LARGEST_TABLE = 65_535
_OFFSET = record(DOUBLE_LONG_UNSIGNED, LONG_UNSIGNED)
_INDEX = record(ListOf(LONG_UNSIGNED, 8), LONG_UNSIGNED)
_NOTHING = Whole(Tag.INTEGER, 0, 0)
_MOST_CELLS = 64
_REGISTER_CLASSES = (3, 4)
_WIDTHS: Final = {
    Tag.UNSIGNED: 1,
    Tag.LONG_UNSIGNED: 2,
    Tag.DOUBLE_LONG_UNSIGNED: 4,
    Tag.LONG64_UNSIGNED: 8,
}
_STATUS_WORD = one_of(Bits(), Octets(), Text(), Utf8(), *(Whole(tag) for tag in _WIDTHS))


class UtilityTable(StoredObject):
    """A table of ANSI C12.19 as octets, whole or in parts; class 26 version 0.

    Selective access 1 is an offset and a count of octets. Access by index (2) needs the structure of the
    table, which only its application knows, and is refused.
    """

    __slots__ = ()

    class_id: ClassVar[int] = 26
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "table_ID", LONG_UNSIGNED),
        read_only(3, "length", DOUBLE_LONG_UNSIGNED),
        StoredAttribute(4, "buffer", Octets(0, _LARGEST_TABLE), selectors=(_BY_OFFSET,)),
    )

    def current(self, index: int) -> Data:
        """Attribute; the length is that of the buffer."""
        if index == 3:
            return Data(Tag.DOUBLE_LONG_UNSIGNED, len(octets(self.current(4))))
        return super().current(index)

    def select(self, index: int, selector: Selector) -> bytes:
        """Octets from an offset; raises `AccessError` beyond the end."""
        start, count = map(number, items(self.parameter(selector.parameters, _OFFSET, "offset")))
        held = octets(self.current(4))
        if start + count > len(held):
            raise AccessError(AccessResult.SCOPE_OF_ACCESS_VIOLATED, where=f"{self.logical_name}: offset")
        return encode(Data(Tag.OCTET_STRING, held[start : start + count]))


class RegisterTable(StoredObject):
    """Values of registers that differ in value group E; class 61 version 0.

    Another definition empties the table; capturing values of registers copies their scaler and unit.

    Parameters
    ----------
    find:
        The objects whose attributes are the cells.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_find",)

    class_id: ClassVar[int] = 61
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        read_only(2, "table_cell_values", ListOf(Anything(), _MOST_CELLS)),
        StoredAttribute(
            3,
            "table_cell_definition",
            record(LONG_UNSIGNED, LOGICAL_NAME, ListOf(UNSIGNED, _MOST_CELLS), INTEGER),
        ),
        StoredAttribute(4, "scaler_unit", SCALER_UNIT),
    )
    methods: ClassVar[tuple[int, ...]] = (1, 2)

    def __init__(
        self,
        logical_name: ObisCode,
        find: Find,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._find = find

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``reset`` empties the table, ``capture`` fills it with the present values."""
        if index not in self.methods:
            return super().invoke(index, parameter)
        self.parameter(parameter, _NOTHING, "reset or capture")
        sources = self._sources() if index == 2 else []
        self.keep(2, array(self._cell(source) for source in sources))
        for source in sources[:1]:
            if source.class_id in _REGISTER_CLASSES and source.attribute == 2:
                quantum = self._cell(replace(source, attribute=3))
                if SCALER_UNIT.admits(quantum):
                    self.keep(4, quantum)
        return None

    def keep(self, index: int, value: Data) -> None:
        """Keep a value; another definition empties the table."""
        super().keep(index, value)
        if index == 3:
            self.keep(2, array(()))

    def _sources(self) -> list[CaptureObject]:
        class_id, name, groups, attribute = items(self.current(3))
        first = ObisCode.from_bytes(octets(name))
        return [
            CaptureObject(number(class_id), replace(first, e=number(group)), number(attribute))
            for group in items(groups)
        ]

    def _cell(self, source: CaptureObject) -> Data:
        if source.logical_name == self.logical_name:
            return NULL
        try:
            value = read_value(self._find, source)
        except AccessError:
            return NULL
        return value if Anything().admits(value) else NULL


class StatusMapping(StoredObject):
    """A status word, and which entry of a reference table each of its bits means; class 63 version 0.

    Parameters
    ----------
    word:
        Gives the status word.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_word",)

    class_id: ClassVar[int] = 63
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        read_only(2, "status_word", _STATUS_WORD),
        StoredAttribute(
            3, "mapping_table", record(UNSIGNED, one_of(LONG_UNSIGNED, ListOf(LONG_UNSIGNED, 128)))
        ),
    )

    def __init__(
        self,
        logical_name: ObisCode,
        word: Callable[[], Data],
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._word = word

    def current(self, index: int) -> Data:
        """Attribute."""
        return self._word() if index == 2 else super().current(index)

    def entries(self) -> tuple[int, ...]:
        """Entries of the reference table that the bits set at present mean, in the order of the bits."""
        _, mapping = items(self.current(3))
        found = []
        for position in _bits(self._word()):
            if mapping.tag is Tag.LONG_UNSIGNED:
                found.append(number(mapping) + position)
            elif position < len(items(mapping)):
                found.append(number(items(mapping)[position]))
        return tuple(found)


def _bits(word: Data) -> list[int]:
    """Positions of the bits that are set, the leading bit being 0."""
    value = word.value
    match value:
        case BitString():
            held = value.octets
        case bytes():
            held = value
        case str():
            held = value.encode()
        case _:
            width = _WIDTHS.get(word.tag, 0)
            held = number(word).to_bytes(width, "big") if width else b""
    return [at for at in range(8 * len(held)) if held[at // 8] & 0x80 >> at % 8]

"""Compact data, class 62 versions 0 and 1 (IEC 62056-6-2 clause 4.3.9): values without their types.

    compact_buffer        the contents of a compact array of one structure, without types and lengths of it
    capture_objects       array { class_id, logical_name, attribute_index, data_index [, restriction] }
    template_id           unsigned: which types the buffer has
    template_description  the types: TypeDescription of a structure, as in a compact array
    capture_method        0 by the method ``capture``, 1 at every reading

The first capture object is the template_id of the object itself, so that a buffer says which types it has.
Version 1 adds the restriction to the capture objects; none other than "none" is offered. Rule of this file:
buffer and template description are always of the same capture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from openami.protocols.dlms.apdus.descriptors import CaptureObject
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import CompactArray, Data, Tag, TypeDescription, structure
from openami.protocols.dlms.encoding.compact_array import encode_compact_array
from openami.protocols.dlms.encoding.limits import MAX_PDU
from openami.protocols.dlms.encoding.octets import encode_octets
from openami.protocols.dlms.interface_classes.object_reference import Find, read_value, reference
from openami.protocols.dlms.interface_classes.stored_object import (
    NO_PRESET,
    State,
    StoredAttribute,
    StoredObject,
    items,
    read_only,
)
from openami.protocols.dlms.interface_classes.value_types import (
    CAPTURE_OBJECT,
    INTEGER,
    LOGICAL_NAME,
    LONG_UNSIGNED,
    UNSIGNED,
    Anything,
    ListOf,
    Octets,
    Whole,
    enumeration,
    record,
)
from openami.quantities.errors import LocalProtocolError
from openami.quantities.obis import ObisCode

_NOTHING = Whole(Tag.INTEGER, 0, 0)
_TEMPLATE_ID = 4
NO_RESTRICTION = record(enumeration(0), Anything(16))
"""``restriction_element`` of a whole attribute."""


class CompactData(StoredObject):
    """Values captured together, class version 1.

    Invariant: ``_capturing`` is true exactly while values are captured.

    Parameters
    ----------
    find:
        The objects whose attributes are captured.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_capturing", "_find")

    class_id: ClassVar[int] = 62
    version: ClassVar[int] = 1
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        read_only(2, "compact_buffer", Octets(0, MAX_PDU)),
        StoredAttribute(
            3,
            "capture_objects",
            ListOf(record(LONG_UNSIGNED, LOGICAL_NAME, INTEGER, LONG_UNSIGNED, NO_RESTRICTION), 64),
        ),
        StoredAttribute(4, "template_id", UNSIGNED),
        read_only(5, "template_description", Octets(0, MAX_PDU)),
        StoredAttribute(6, "capture_method", enumeration(1)),
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
        self._capturing = False

    def value(self, index: int) -> bytes:
        """Encoded attribute; where values are captured at reading, they are captured now."""
        if index in (2, 5) and super().current(6).value == 1:
            self._capture()
        return super().value(index)

    def keep(self, index: int, value: Data) -> None:
        """Keep a value; other capture objects empty the buffer."""
        super().keep(index, value)
        if index == 3:
            self._empty()

    def admit(self, index: int, value: Data) -> None:
        """A list begins with the template; raises `AccessError`."""
        template = CaptureObject(self.class_id, self.logical_name, _TEMPLATE_ID)
        if index == 3 and items(value) and reference(items(value)[0]) != template:
            raise AccessError(
                AccessResult.SCOPE_OF_ACCESS_VIOLATED, where=f"{self.logical_name}: no template first"
            )

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``reset`` and ``capture``; raises `AccessError`."""
        if index not in self.methods:
            return super().invoke(index, parameter)
        self.parameter(parameter, _NOTHING, "reset or capture")
        if index == 1:
            self._empty()
        else:
            self._capture()
        return None

    def _empty(self) -> None:
        self.keep(2, Data(Tag.OCTET_STRING, b""))
        self.keep(5, Data(Tag.OCTET_STRING, b""))

    def _capture(self) -> None:
        if self._capturing:
            raise AccessError(AccessResult.TEMPORARY_FAILURE, where=f"{self.logical_name} is capturing")
        self._capturing = True
        try:
            sources = [reference(entry) for entry in items(self.current(3))]
            values = structure(*(read_value(self._find, source) for source in sources))
            description, buffer = _compacted(values)
        except LocalProtocolError:
            raise AccessError(
                AccessResult.TYPE_UNMATCHED, where=f"{self.logical_name}: not one type"
            ) from None
        finally:
            self._capturing = False
        if len(buffer) > MAX_PDU:
            raise AccessError(AccessResult.OTHER_REASON, where=f"{self.logical_name}: too long")
        self.keep(2, Data(Tag.OCTET_STRING, buffer))
        self.keep(5, Data(Tag.OCTET_STRING, description))


class CompactDataVersion0(CompactData):
    """Values captured together, class version 0: capture objects without restriction."""

    __slots__ = ()

    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        *CompactData.table[:1],
        StoredAttribute(3, "capture_objects", ListOf(CAPTURE_OBJECT, 64)),
        *CompactData.table[2:],
    )


def _compacted(values: Data) -> tuple[bytes, bytes]:
    """Type description and contents of one structure."""
    description = _described(values)
    whole = encode_compact_array(CompactArray(description, (values,)))
    types = encode_compact_array(CompactArray(description, ()))[:-1]
    length = len(whole) - len(types)
    for prefix in (1, 2, 3, 4, 5):
        contents = whole[len(types) + prefix :]
        if len(encode_octets(contents)) == length:
            return types, contents
    raise LocalProtocolError("compact data without end")


def _described(value: Data) -> TypeDescription:
    parts = value.value
    if not isinstance(parts, tuple):
        return TypeDescription(value.tag)
    inner = tuple(_described(part) for part in parts)
    if value.tag is Tag.STRUCTURE:
        return TypeDescription(value.tag, inner)
    if len(set(inner)) != 1:
        raise LocalProtocolError("an array without one type for all its elements")
    return TypeDescription(value.tag, inner[:1], len(parts))

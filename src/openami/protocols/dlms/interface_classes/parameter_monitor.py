"""Parameter monitor, class 65 versions 0 and 1 (IEC 62056-6-2 clause 4.5.10): which parameter changed last.

    changed_parameter  { class_id, logical_name, attribute_index, attribute_value }
    parameter_list     array { class_id, logical_name, attribute_index }
    parameter_values   structure of the values, in the order of the list

Version 1 adds the name of the list, and a digest over the values of all its parameters (SHA-256 over their
encodings, in the order of the list; how the standard numbers the algorithms is recalled). Rule of this file:
a change is noted after it was made, with the value that stands now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import ClassVar

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import NULL, Data, Tag, array, encode, structure
from openami.protocols.dlms.interface_classes.local_time import stamp
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
    INTEGER,
    LOGICAL_NAME,
    LONG_UNSIGNED,
    MOST_ELEMENTS,
    VALUE_DEFINITION,
    Anything,
    ListOf,
    Moment,
    Octets,
    StructureOf,
    enumeration,
    record,
)
from openami.quantities.obis import ObisCode

_LIST = ListOf(VALUE_DEFINITION)
_SHA256 = 1


class ParameterMonitor(StoredObject):
    """Parameters under watch, class version 0.

    Parameters
    ----------
    find:
        The objects that have the parameters.
    now, zone:
        The meter's clock.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_find", "_now", "_zone")

    class_id: ClassVar[int] = 65
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        read_only(2, "changed_parameter", record(LONG_UNSIGNED, LOGICAL_NAME, INTEGER, Anything())),
        read_only(3, "capture_time", Moment(Tag.DATE_TIME)),
        StoredAttribute(4, "parameter_list", _LIST),
    )
    methods: ClassVar[tuple[int, ...]] = (1, 2)

    def __init__(
        self,
        logical_name: ObisCode,
        find: Find,
        now: Callable[[], datetime],
        zone: tzinfo = UTC,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._find = find
        self._now = now
        self._zone = zone

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``add_parameter`` and ``delete_parameter``; raises `AccessError`."""
        known = items(self.current(4))
        match index:
            case 1:
                added = self.parameter(parameter, VALUE_DEFINITION, "add_parameter")
                if added not in known and len(known) == MOST_ELEMENTS:
                    raise AccessError(AccessResult.TEMPORARY_FAILURE, where=f"{self.logical_name} is full")
                self.keep(4, array((*(entry for entry in known if entry != added), added)))
            case 2:
                gone = self.parameter(parameter, VALUE_DEFINITION, "delete_parameter")
                if gone not in known:
                    raise AccessError(AccessResult.OBJECT_UNDEFINED, where=f"{self.logical_name}: not listed")
                self.keep(4, array(entry for entry in known if entry != gone))
            case _:
                return super().invoke(index, parameter)
        return None

    def changed(self, class_id: int, logical_name: ObisCode, attribute: int) -> None:
        """Note that an attribute was set, where it is one of the list."""
        for entry in items(self.current(4)):
            source = reference(entry)
            if (source.class_id, source.logical_name, source.attribute) == (
                class_id,
                logical_name,
                attribute,
            ):
                self.keep(2, structure(*items(entry), self._value(entry)))
                self.keep(3, stamp(self._now(), self._zone, Tag.DATE_TIME))
                return

    def _value(self, entry: Data) -> Data:
        try:
            value = read_value(self._find, reference(entry))
        except AccessError:  # a secret: that it changed is noted, not to what
            return NULL
        return value if Anything().admits(value) else NULL


class ParameterMonitorVersion1(ParameterMonitor):
    """Parameters under watch, class version 1: with a digest of all of them."""

    __slots__ = ()

    version: ClassVar[int] = 1
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        *ParameterMonitor.table,
        StoredAttribute(5, "parameter_list_name", Octets(0, 64)),
        read_only(6, "hash_algorithm_id", enumeration(255)),
        read_only(7, "parameter_value_digest", Octets(0, 32)),
        read_only(8, "parameter_values", StructureOf(Anything())),
    )

    def current(self, index: int) -> Data:
        """Attribute."""
        match index:
            case 6:
                return Data(Tag.ENUM, _SHA256)
            case 7:
                digest = hashlib.sha256(b"".join(encode(value) for value in self._values()))
                return Data(Tag.OCTET_STRING, digest.digest())
            case 8:
                return structure(*self._values())
        return super().current(index)

    def _values(self) -> list[Data]:
        listed = [entry for entry in items(self.current(4)) if reference(entry).class_id != self.class_id]
        return [self._value(entry) for entry in listed]

"""Special days table, class 11 version 0 (IEC 62056-6-2 clause 4.5.4): days that are not as their weekday.

    entries  array { index long-unsigned, specialday_date octet-string(5), day_id unsigned }

Rule of this file: of two entries that match a day the first counts, and an index exists once.
"""

from __future__ import annotations

from datetime import date
from typing import ClassVar

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import Data, array
from openami.protocols.dlms.interface_classes.local_time import DatePattern
from openami.protocols.dlms.interface_classes.stored_object import (
    StoredAttribute,
    StoredObject,
    items,
    number,
    octets,
)
from openami.protocols.dlms.interface_classes.value_types import (
    DATE,
    LONG_UNSIGNED,
    UNSIGNED,
    ListOf,
    record,
)

_MOST_DAYS = 400
_ENTRY = record(LONG_UNSIGNED, DATE, UNSIGNED)


class SpecialDays(StoredObject):
    """Dates with the day profile that applies to them."""

    __slots__ = ()

    class_id: ClassVar[int] = 11
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "entries", ListOf(_ENTRY, _MOST_DAYS)),
    )
    methods: ClassVar[tuple[int, ...]] = (1, 2)

    def day_id(self, day: date) -> int | None:
        """Day profile of a special day; None where the day is none."""
        for entry in items(self.current(2)):
            _, pattern, day_id = items(entry)
            if DatePattern.from_bytes(octets(pattern)).matches(day):
                return number(day_id)
        return None

    def admit(self, index: int, value: Data) -> None:
        """Refuse a table with one index twice; raises `AccessError`."""
        numbers = [number(items(entry)[0]) for entry in items(value)]
        if len(set(numbers)) != len(numbers):
            raise AccessError(AccessResult.SCOPE_OF_ACCESS_VIOLATED, where=f"{self.logical_name}: index")

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``insert`` (replaces entries of the same index or date) and ``delete``; raises `AccessError`."""
        match index:
            case 1:
                entry = self.parameter(parameter, _ENTRY, "insert")
                _, day, _ = items(entry)
                others = (known for known in self._but(_index_of(entry)) if items(known)[1] != day)
                kept = (*others, entry)
                if len(kept) > _MOST_DAYS:
                    raise AccessError(AccessResult.TEMPORARY_FAILURE, where=f"{self.logical_name} is full")
                self.keep(2, array(sorted(kept, key=_index_of)))
            case 2:
                gone = number(self.parameter(parameter, LONG_UNSIGNED, "delete"))
                left = self._but(gone)
                if len(left) == len(items(self.current(2))):
                    raise AccessError(
                        AccessResult.OBJECT_UNDEFINED, where=f"{self.logical_name} entry {gone}"
                    )
                self.keep(2, array(left))
            case _:
                return super().invoke(index, parameter)
        return None

    def _but(self, index: int) -> tuple[Data, ...]:
        return tuple(entry for entry in items(self.current(2)) if _index_of(entry) != index)


def _index_of(entry: Data) -> int:
    return number(items(entry)[0])

"""Profile generic, class 7 version 1 (IEC 62056-6-2 clause 4.3.6): load profiles, freezes, event logs.

The rows live in the meter's core and come as columns; here they are selected (by range, by entry, by column)
and encoded in bulk. Rule of this file: a selection that matches nothing is an empty array, not an error;
one that names a column that the profile does not have is an error, not an empty column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from enum import IntEnum
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from openami.protocols.dlms.apdus.descriptors import BY_ENTRY, BY_RANGE, CaptureObject, Selector
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import Data, Plain, Tag, array, encode, plain
from openami.protocols.dlms.encoding.date_time import STATUS_UNSPECIFIED, UNSPECIFIED, CosemDateTime
from openami.protocols.dlms.encoding.profile_buffer import encode_buffer
from openami.protocols.dlms.interface_classes.interface_object import (
    AttributeRule,
    InterfaceObject,
    type_unmatched,
)
from openami.quantities.errors import RemoteProtocolError
from openami.quantities.obis import ObisCode

_CLOCK_CLASS = 8
Rows = slice | npt.NDArray[np.intp]


class SortMethod(IntEnum):
    """Order of the buffer; profiles of the metering core are FIFO or LIFO."""

    FIFO = 1
    LIFO = 2
    LARGEST = 3
    SMALLEST = 4
    NEAREST_TO_ZERO = 5
    FAREST_FROM_ZERO = 6


@dataclass(frozen=True, slots=True)
class ProfileColumn:
    """A captured attribute and its type on the wire.

    `Tag.OCTET_STRING` columns come as ``uint8 (n, width)`` (a clock: `date_time.date_times_of`), the others
    as numbers of shape (n,).
    """

    source: CaptureObject
    tag: Tag


class ProfileBuffer(Protocol):
    """The rows of a profile, in the order they were captured, oldest first."""

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def instants(self) -> npt.NDArray[np.datetime64]:
        """Capture instants of all rows, UTC, shape (n,); they may go back where the clock was set back."""
        ...

    def columns(self, rows: Rows) -> Sequence[npt.NDArray[Any]]:
        """All columns, in the order of the profile, of the rows named by a slice or by their indices."""
        ...


class ProfileGeneric(InterfaceObject):
    """A profile.

    Parameters
    ----------
    captured:
        The columns; share one tuple between meters.
    buffer:
        The rows.
    period_s:
        Capture period; 0 where rows are captured by events.
    capacity:
        ``profile_entries``: most rows the meter keeps.
    zone:
        Zone of the local time of a range that does not specify its deviation.
    sort_method:
        FIFO: oldest row first; LIFO: newest first.
    reset, capture:
        Run the methods; None where the profile has none.
    """

    __slots__ = ("_buffer", "_capacity", "_capture", "_captured", "_period_s", "_reset", "_sort", "_zone")

    class_id: ClassVar[int] = 7
    version: ClassVar[int] = 1
    rules: ClassVar[tuple[AttributeRule, ...]] = (
        AttributeRule(1),
        AttributeRule(2, selectors=(BY_RANGE, BY_ENTRY)),
        *(AttributeRule(index) for index in range(3, 9)),
    )

    def __init__(
        self,
        logical_name: ObisCode,
        captured: tuple[ProfileColumn, ...],
        buffer: ProfileBuffer,
        period_s: int,
        capacity: int,
        zone: tzinfo = UTC,
        sort_method: SortMethod = SortMethod.FIFO,
        reset: Callable[[], None] | None = None,
        capture: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(logical_name)
        self._captured = captured
        self._buffer = buffer
        self._period_s = period_s
        self._capacity = capacity
        self._zone = zone
        self._sort = sort_method
        self._reset = reset
        self._capture = capture

    def method_rules(self) -> tuple[int, ...]:
        """``reset`` and ``capture`` where the profile has them."""
        offered = ((1, self._reset), (2, self._capture))
        return tuple(index for index, method in offered if method is not None)

    def value(self, index: int) -> bytes:
        """Encoded attribute; the whole buffer for attribute 2."""
        match index:
            case 2:
                return self._encoded(slice(0, len(self._buffer)), range(len(self._captured)))
            case 3:
                return encode(array(column.source.to_data() for column in self._captured))
            case 4:
                return encode(Data(Tag.DOUBLE_LONG_UNSIGNED, self._period_s))
            case 5:
                return encode(Data(Tag.ENUM, int(self._sort)))
            case 6:
                clock = self._clock_column()
                source = self._captured[clock].source if clock is not None else _NO_OBJECT
                return encode(source.to_data())
            case 7:
                return encode(Data(Tag.DOUBLE_LONG_UNSIGNED, len(self._buffer)))
            case _:
                return encode(Data(Tag.DOUBLE_LONG_UNSIGNED, self._capacity))

    def select(self, index: int, selector: Selector) -> bytes:
        """Encoded rows and columns that a range or entry descriptor names; raises `AccessError`."""
        parameters = plain(selector.parameters)
        if not isinstance(parameters, tuple) or len(parameters) != 4:
            raise type_unmatched(self.logical_name, selector.parameters)
        if selector.number == BY_RANGE:
            return self._by_range(*parameters)
        return self._by_entry(*parameters)

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``reset`` and ``capture``; raises `AccessError`."""
        method = {1: self._reset, 2: self._capture}.get(index)
        if method is None:
            return super().invoke(index, parameter)
        method()
        return None

    def _clock_column(self) -> int | None:
        for index, column in enumerate(self._captured):
            if column.source.class_id == _CLOCK_CLASS:
                return index
        return None

    def _column(self, definition: Plain) -> int:
        match definition:
            case (int(class_id), bytes(name), int(attribute), int(data_index)) if len(name) == 6:
                wanted = CaptureObject(class_id, ObisCode.from_bytes(name), attribute, data_index)
                for index, column in enumerate(self._captured):
                    if column.source == wanted:
                        return index
                raise AccessError(AccessResult.OBJECT_UNDEFINED, where=f"{self.logical_name}: {wanted}")
        raise AccessError(AccessResult.TYPE_UNMATCHED, where=f"{self.logical_name}: column")

    def _by_range(self, restricting: Plain, start: Plain, end: Plain, wanted: Plain) -> bytes:
        if not isinstance(wanted, list):
            raise AccessError(AccessResult.TYPE_UNMATCHED, where=f"{self.logical_name}: selected_values")
        columns = [self._column(item) for item in wanted] or range(len(self._captured))
        restricted = self._column(restricting)
        if restricted == self._clock_column():
            values = self._buffer.instants()
            low, high = self._bound(start, 0), self._bound(end, 59)
            inside = (values >= low) & (values <= high)
        else:
            if not isinstance(start, int) or not isinstance(end, int):
                raise AccessError(AccessResult.TYPE_UNMATCHED, where=f"{self.logical_name}: range")
            numbers = self._buffer.columns(slice(0, len(self._buffer)))[restricted]
            if numbers.ndim != 1:
                raise AccessError(AccessResult.TYPE_UNMATCHED, where=f"{self.logical_name}: range")
            inside = (numbers >= start) & (numbers <= end)
        return self._encoded(_tight(np.flatnonzero(inside)), columns)

    def _bound(self, value: Plain, unspecified: int) -> np.datetime64:
        """UTC instant of a range bound; parts of the time that are not specified widen the range."""
        if not isinstance(value, bytes) or len(value) != _DATE_TIME_OCTETS:
            raise AccessError(AccessResult.TYPE_UNMATCHED, where=f"{self.logical_name}: range")
        try:
            return _instant_of_bound(value, unspecified, self._zone)
        except RemoteProtocolError:
            raise AccessError(AccessResult.TYPE_UNMATCHED, where=f"{self.logical_name}: range") from None

    def _by_entry(self, first: Plain, last: Plain, first_column: Plain, last_column: Plain) -> bytes:
        if not (
            isinstance(first, int)
            and isinstance(last, int)
            and isinstance(first_column, int)
            and isinstance(last_column, int)
        ):
            raise AccessError(AccessResult.TYPE_UNMATCHED, where=f"{self.logical_name}: entry")
        width = len(self._captured)
        last_column = last_column or width
        if first < 1 or not 1 <= first_column <= last_column <= width:
            raise AccessError(AccessResult.SCOPE_OF_ACCESS_VIOLATED, where=f"{self.logical_name}: entry")
        count = len(self._buffer)
        last = min(last or count, count)
        if first > last:
            return _EMPTY
        rows = slice(first - 1, last)
        if self._sort is SortMethod.LIFO:
            rows = slice(count - last, count - first + 1)
        return self._encoded(rows, range(first_column - 1, last_column))

    def _encoded(self, rows: Rows, columns: Sequence[int]) -> bytes:
        everything = self._buffer.columns(rows)
        chosen = [everything[index] for index in columns]
        if self._sort is SortMethod.LIFO:
            chosen = [column[::-1] for column in chosen]
        return encode_buffer([self._captured[index].tag for index in columns], chosen)


_EMPTY = b"\x01\x00"
_DATE_TIME_OCTETS = 12
_NO_OBJECT = CaptureObject(0, ObisCode(0, 0, 0, 0, 0, 0), 0)


@lru_cache(maxsize=1024)
def _instant_of_bound(octets: bytes, unspecified: int, zone: tzinfo) -> np.datetime64:
    """UTC instant of a date-time; kept, because who reads many meters asks them all for the same range."""
    stamp = CosemDateTime.from_bytes(octets)
    hour = (23 if unspecified else 0) if stamp.hour == UNSPECIFIED else stamp.hour
    minute = unspecified if stamp.minute == UNSPECIFIED else stamp.minute
    second = unspecified if stamp.second == UNSPECIFIED else stamp.second
    # Of an hour that occurs twice a range begins with the first and ends with the second.
    status = 0 if unspecified and stamp.status == STATUS_UNSPECIFIED else stamp.status
    full = replace(stamp, hour=hour, minute=minute, second=second, status=status)
    return np.datetime64(full.instant(zone).replace(tzinfo=None), "us")


def _tight(indices: npt.NDArray[np.intp]) -> Rows:
    """A slice where the indices follow each other without a gap: cheaper for the meter's core."""
    if not len(indices):
        return slice(0, 0)
    first, last = int(indices[0]), int(indices[-1])
    return slice(first, last + 1) if last - first + 1 == len(indices) else indices

"""Profile buffers in bulk: columns to A-XDR rows and back (IEC 62056-6-2 class 7, attribute 2).

The rows of a load profile look alike: same tags, same widths. A *template* made of the first row turns the
whole buffer into columns at once, as long as every row has the template's constant octets; otherwise the
generic decoder does it. Rule of this file: both give equal columns (a property test says so).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from openami.protocols.dlms.encoding.axdr import Delta, Plain, Tag, decode_plain
from openami.protocols.dlms.encoding.date_time import instants_of
from openami.protocols.dlms.encoding.octets import Reader, encode_length
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

_NUMBERS = {
    Tag.BOOLEAN: "u1",
    Tag.INTEGER: "i1",
    Tag.LONG: ">i2",
    Tag.DOUBLE_LONG: ">i4",
    Tag.LONG64: ">i8",
    Tag.UNSIGNED: "u1",
    Tag.ENUM: "u1",
    Tag.LONG_UNSIGNED: ">u2",
    Tag.DOUBLE_LONG_UNSIGNED: ">u4",
    Tag.LONG64_UNSIGNED: ">u8",
    Tag.FLOAT32: ">f4",
    Tag.FLOAT64: ">f8",
}
_BOUNDS = {tag: np.iinfo(np.dtype(code)) for tag, code in _NUMBERS.items() if np.dtype(code).kind in "iu"}


class ColumnKind(Enum):
    """What the values of a column are."""

    INTEGER = "int64 (n,)"
    FLOAT = "float64 (n,)"
    OCTETS = "uint8 (n, width)"
    OTHER = "object (n,)"


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One column of a buffer.

    Parameters
    ----------
    kind:
        Type and shape of ``values``.
    values:
        The values; zero (None where ``kind`` is OTHER) where the meter sent null-data.
    present:
        False where the meter sent null-data, bool, shape (n,).
    """

    kind: ColumnKind
    values: npt.NDArray[np.generic]
    present: npt.NDArray[np.bool_]


def capture_instants(column: Column, period_s: int) -> npt.NDArray[np.datetime64]:
    """Capture instants (UTC, ``datetime64[us]``, shape (n,)) of a clock column.

    Null-data means "one capture period after the row before" (IEC 62056-6-2 class 7).

    Raises
    ------
    RemoteProtocolError
        The column holds no date-times, a date-time names no instant, or the first row is null-data, or
        rows are null-data where ``period_s`` is 0.
    """
    if not len(column.present):
        return np.empty(0, "datetime64[us]")
    if column.kind is not ColumnKind.OCTETS:
        raise RemoteProtocolError(f"a clock column of {column.kind.name}", expected="date-times")
    if column.present.all():
        return instants_of(column.values.astype(np.uint8, copy=False))
    if not column.present[0] or period_s <= 0:
        raise RemoteProtocolError("a row has no capture time and none can be derived", where="row 0")
    known = instants_of(column.values[column.present].astype(np.uint8, copy=False))
    group = np.cumsum(column.present) - 1
    index = np.arange(len(group))
    since = index - index[column.present][group]
    derived: npt.NDArray[np.datetime64] = known[group] + (since * period_s).astype("timedelta64[s]")
    return derived


# --- templates ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """Layout shared by all rows of a buffer; made by `compile_template`."""

    size: int
    mask: npt.NDArray[np.uint8]
    constant: npt.NDArray[np.uint8]
    row: np.dtype[np.void]
    fields: tuple[tuple[str, ColumnKind] | None, ...]

    def columns(self, data: bytes, start: int, count: int) -> tuple[Column, ...] | None:
        """Columns of ``count`` rows from ``start`` on; None where a row does not follow the template."""
        octets = np.frombuffer(data, np.uint8, count * self.size, start).reshape(count, self.size)
        if not ((octets & self.mask) == self.constant).all():
            return None
        rows = np.frombuffer(data, self.row, count, start)
        present = np.ones(count, np.bool_)
        columns: list[Column] = []
        for field in self.fields:
            if field is None:
                columns.append(
                    Column(ColumnKind.INTEGER, np.zeros(count, np.int64), np.zeros(count, np.bool_))
                )
                continue
            name, kind = field
            values: npt.NDArray[np.generic] = rows[name]
            if kind is ColumnKind.INTEGER:
                if values.dtype.itemsize == 8 and values.dtype.kind == "u" and (values >> 63).any():  # type: ignore[operator]
                    return None
                values = values.astype(np.int64)
            elif kind is ColumnKind.FLOAT:
                with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN
                    values = values.astype(np.float64)
            else:
                values = values.copy()
            columns.append(Column(kind, values, present))
        return tuple(columns)


def compile_template(data: bytes, start: int) -> Template | None:
    """Template of the row that begins at ``start``; None where it is no structure of fixed-size parts."""
    reader = Reader(data, start)
    if reader.u8() != Tag.STRUCTURE:
        return None
    names: list[str] = []
    formats: list[str | tuple[str, tuple[int]]] = []
    offsets: list[int] = []
    fields: list[tuple[str, ColumnKind] | None] = []
    for index in range(reader.count()):
        tag = reader.u8()
        if tag == Tag.NULL_DATA:
            fields.append(None)
            continue
        if tag == Tag.OCTET_STRING:
            width = reader.length()
            formats.append(("u1", (width,)))
            kind = ColumnKind.OCTETS
        elif tag in _NUMBERS and tag != Tag.BOOLEAN:
            code = _NUMBERS[Tag(tag)]
            width = np.dtype(code).itemsize
            formats.append(code)
            kind = ColumnKind.FLOAT if code[1] == "f" else ColumnKind.INTEGER
        else:
            return None
        offsets.append(reader.position - start)
        names.append(f"c{index}")
        fields.append((names[-1], kind))
        reader.take(width)
    size = reader.position - start
    mask = np.full(size, 0xFF, np.uint8)
    for offset, form in zip(offsets, formats, strict=True):
        width = form[1][0] if isinstance(form, tuple) else np.dtype(form).itemsize
        mask[offset : offset + width] = 0
    constant = np.frombuffer(data, np.uint8, size, start) & mask
    row = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})
    return Template(size, mask, constant, row, tuple(fields))


class ProfileDecoder:
    """Decodes buffers, keeping the last template; one per meter model is enough.

    Invariant: the template only decides how fast the answer comes, never what it is.
    """

    __slots__ = ("_template",)

    def __init__(self) -> None:
        self._template: Template | None = None

    def decode(self, data: bytes) -> tuple[Column, ...]:
        """Columns of an encoded buffer; no columns where it has no rows.

        Raises
        ------
        RemoteProtocolError
            The octets are no array of structures of equal length.
        """
        reader = Reader(data)
        if reader.u8() != Tag.ARRAY:
            return generic_columns(data)
        count = reader.length()
        if count == 0 or count > reader.remaining:
            return generic_columns(data)
        body = reader.remaining
        if body % count == 0:
            template = self._template
            if template is not None and template.size * count == body:
                columns = template.columns(data, reader.position, count)
                if columns is not None:
                    return columns
            template = compile_template(data, reader.position)
            if template is not None and template.size * count == body:
                columns = template.columns(data, reader.position, count)
                if columns is not None:
                    self._template = template
                    return columns
        return generic_columns(data)


def generic_columns(data: bytes) -> tuple[Column, ...]:
    """Columns of an encoded buffer through the generic decoder; raises as `ProfileDecoder.decode`."""
    rows = decode_plain(data)
    if not isinstance(rows, list):
        raise RemoteProtocolError("the buffer is no array", expected="array of structures")
    if not rows:
        return ()
    tuples: list[tuple[Plain, ...]] = []
    for index, row in enumerate(rows):
        if not isinstance(row, tuple) or (tuples and len(row) != len(tuples[0])):
            raise RemoteProtocolError("a row is no structure as long as the first", where=f"row {index}")
        tuples.append(row)
    return tuple(_column(list(values)) for values in zip(*tuples, strict=True))


def _column(values: list[Plain]) -> Column:
    count = len(values)
    present = np.fromiter((value is not None for value in values), np.bool_, count)
    there = [value for value in values if value is not None]
    if any(isinstance(value, Delta) for value in there):
        values = _accumulated(values)
        there = [value for value in values if value is not None]
    integers = [value for value in there if isinstance(value, int) and not isinstance(value, bool)]
    floats = [value for value in there if isinstance(value, float)]
    strings = [value for value in there if isinstance(value, bytes)]
    if len(integers) == len(there) and all(-(2**63) <= value < 2**63 for value in integers):
        counts = np.zeros(count, np.int64)
        counts[present] = integers
        return Column(ColumnKind.INTEGER, counts, present)
    if floats and len(floats) == len(there):
        numbers = np.zeros(count, np.float64)
        numbers[present] = floats
        return Column(ColumnKind.FLOAT, numbers, present)
    if strings and len(strings) == len(there) and len({len(value) for value in strings}) == 1:
        width = len(strings[0])
        octets = np.zeros((count, width), np.uint8)
        octets[present] = np.frombuffer(b"".join(strings), np.uint8).reshape(len(strings), width)
        return Column(ColumnKind.OCTETS, octets, present)
    objects = np.empty(count, object)
    objects[:] = None
    for index, value in enumerate(values):
        objects[index] = value
    return Column(ColumnKind.OTHER, objects, present)


def _accumulated(values: list[Plain]) -> list[Plain]:
    """Differences replaced by what they sum to from the value before."""
    result: list[Plain] = []
    last: int | None = None
    for index, value in enumerate(values):
        if isinstance(value, Delta):
            if last is None:
                raise RemoteProtocolError("a difference without a value before it", where=f"row {index}")
            last = last + int(value)
            result.append(last)
        else:
            if value is not None:
                last = value if isinstance(value, int) else None
            result.append(value)
    return result


# --- encoding -----------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _row_layout(tags: tuple[tuple[Tag, int], ...]) -> tuple[np.dtype[np.void], bytes]:
    """Row dtype with one field per column, and a row with its constant octets; by tag and octet width."""
    constant = bytearray((Tag.STRUCTURE,)) + encode_length(len(tags))
    names: list[str] = []
    formats: list[str | tuple[str, tuple[int]]] = []
    offsets: list[int] = []
    for index, (tag, width) in enumerate(tags):
        constant.append(tag)
        if tag is Tag.OCTET_STRING:
            constant += encode_length(width)
            formats.append(("u1", (width,)))
        else:
            formats.append(_NUMBERS[tag])
            width = np.dtype(_NUMBERS[tag]).itemsize
        names.append(f"c{index}")
        offsets.append(len(constant))
        constant += bytes(width)
    row = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": len(constant)})
    return row, bytes(constant)


def encode_buffer(tags: Sequence[Tag], columns: Sequence[npt.NDArray[np.generic]]) -> bytes:
    """Array of structures of the given columns.

    Parameters
    ----------
    tags:
        Type of each column; `Tag.OCTET_STRING` or a number.
    columns:
        Values, shape (n,), and for octet-strings ``uint8`` of shape (n, width).

    Raises
    ------
    LocalProtocolError
        Columns differ in length, or a value does not fit its type.
    """
    if len(tags) != len(columns) or len({len(column) for column in columns}) > 1:
        raise LocalProtocolError(f"{len(columns)} columns for {len(tags)} types, or of unequal length")
    count = len(columns[0]) if columns else 0
    if not count:
        return b"\x01\x00"
    layout: list[tuple[Tag, int]] = []
    for tag, column in zip(tags, columns, strict=True):
        if tag is Tag.OCTET_STRING:
            if column.dtype != np.uint8 or column.ndim != 2:
                raise LocalProtocolError(
                    f"an octet-string column of {column.dtype}", expected="uint8 (n, width)"
                )
            layout.append((tag, column.shape[1]))
        elif tag in _NUMBERS:
            bounds = _BOUNDS.get(tag)
            if bounds is not None and (int(column.min()) < bounds.min or int(column.max()) > bounds.max):
                raise LocalProtocolError(f"a value of the column does not fit {tag.name}")
            layout.append((tag, 0))
        else:
            raise LocalProtocolError(f"a profile column cannot be {tag.name}")
    row, constant = _row_layout(tuple(layout))
    buffer = bytearray(constant * count)
    rows = np.frombuffer(buffer, row)
    for index, column in enumerate(columns):
        rows[f"c{index}"] = column
    return b"\x01" + encode_length(count) + bytes(buffer)

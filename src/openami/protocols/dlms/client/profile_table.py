"""A profile as an Arrow table: one column per capture object, times in UTC (IEC 62056-6-2 class 7).

    time      timestamp[us, UTC]      the capture instant of each row, always the first column
    status    int64                   the first captured status word (0-b:96.10.e), where there is one
    1-0:...   int64, double, ...      every other capture object by its logical name, raw counts

The metadata of a field carry ``obis``, ``class``, ``attribute`` and ``data_index``, and of a scaled register
``scaler`` and ``unit``: a value is ``count * 10**scaler`` of the unit. Those of the table carry ``profile``,
``capture_period_s`` and ``time``: ``captured``; ``reconstructed`` where the profile has no clock; ``none``,
and every time null, where it has no capture period either (scalers and nameplates of IS 15959, recalled).

Null-data are expanded as the standard compresses: a time is one period after the row before, another value
the same as in the row before; ``null_rows`` says how many rows that were, so that nothing is hidden. Rule
of this file: rows come out oldest first, and none is dropped or made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from openami.protocols.dlms.apdus.descriptors import CaptureObject
from openami.protocols.dlms.client.attribute_value import CLOCK_CLASS, is_date_time, plain_text
from openami.protocols.dlms.client.vendor_quirks import STANDARD, NullData, VendorQuirks
from openami.protocols.dlms.encoding.axdr import BitString, Plain
from openami.protocols.dlms.encoding.date_time import CosemDateTime, in_order, instants_of
from openami.protocols.dlms.encoding.profile_buffer import Column, ColumnKind
from openami.protocols.dlms.encoding.scaler_unit import ScalerUnit
from openami.quantities.errors import RemoteProtocolError
from openami.quantities.obis import ObisCode

_DAY_S: Final = 86_400
_TIME_TYPE: Final = pa.timestamp("us", tz="UTC")
_DATE_TIME: Final = 12
MAX_PERIOD_S: Final = 366 * _DAY_S


@dataclass(frozen=True, slots=True)
class ProfileDescription:
    """What a meter says of a profile.

    Parameters
    ----------
    name:
        Its logical name.
    columns:
        ``capture_objects``.
    period_s:
        ``capture_period`` in seconds; 0 where rows are captured by events.
    newest_first:
        ``sort_method`` LIFO.
    scalers:
        Scaler and unit of the columns that have them.
    """

    name: ObisCode
    columns: tuple[CaptureObject, ...]
    period_s: int = 0
    newest_first: bool = False
    scalers: Mapping[CaptureObject, ScalerUnit] = field(default_factory=dict)

    @property
    def clock(self) -> int | None:
        """Place of the clock column; None where the rows carry no time."""
        for place, column in enumerate(self.columns):
            if column.class_id == CLOCK_CLASS and column.attribute == 2:
                return place
        return None


def capture_objects(value: Plain, where: str = "capture_objects") -> tuple[CaptureObject, ...]:
    """Columns of a decoded ``capture_objects``; raises `RemoteProtocolError` where it is none."""
    columns = []
    for item in value if isinstance(value, list) else (None,):
        match item:
            case (int(class_id), bytes(name), int(attribute), int(index), *_) if len(name) == 6:
                columns.append(CaptureObject(class_id, ObisCode.from_bytes(name), attribute, index))
            case _:
                raise RemoteProtocolError(f"{item!r}", where=where, expected="an array of definitions")
    return tuple(columns)


def profile_table(
    description: ProfileDescription,
    columns: Sequence[Column],
    *,
    zone: tzinfo | None = None,
    newest_at: datetime | None = None,
    quirks: VendorQuirks = STANDARD,
) -> pa.Table:
    """The table of a decoded buffer (`profile_buffer.ProfileDecoder`).

    Parameters
    ----------
    description:
        What the meter says of the profile; its columns are those of the buffer.
    columns:
        The decoded columns, none where there are no rows.
    zone:
        Where the meter stands: for times without deviation, and for days that are not 24 hours long.
    newest_at:
        Of a profile without a clock, when its newest row was captured.
    quirks:
        What the manufacturer does otherwise.

    Raises
    ------
    RemoteProtocolError
        The buffer has other columns, or a row has no capture time and none can be derived.
    """
    captured = description.columns
    if columns and len(columns) != len(captured):
        raise RemoteProtocolError(
            f"rows of {len(columns)} columns",
            where=f"profile {description.name}",
            expected=str(len(captured)),
        )
    count = len(columns[0].present) if columns else 0
    clock = description.clock
    timeless = clock is None and description.period_s == 0
    if timeless:
        times = np.full(count, "NaT", "datetime64[us]")
    elif clock is None:
        times = _counted_back(description, count, newest_at, zone)
    elif columns:
        times = _times(columns[clock], description, zone, quirks)
    else:
        times = np.empty(0, "datetime64[us]")
    if description.newest_first:
        times = times[::-1]
    fields = [
        pa.field(
            "time",
            _TIME_TYPE,
            nullable=timeless,
            metadata=_metadata(captured[clock]) if clock is not None else None,
        )
    ]
    arrays = [pa.array(times, _TIME_TYPE)]
    taken = {"time"}
    for place, source in enumerate(captured):
        if place == clock:
            continue
        column = columns[place] if columns else _NO_ROWS
        array, null_rows = _array(column, source, description, zone, quirks)
        name = _name(source, taken)
        taken.add(name)
        scaler = description.scalers.get(source) or quirks_scaler(source, quirks)
        fields.append(pa.field(name, array.type, metadata=_metadata(source, scaler, null_rows)))
        arrays.append(array)
    schema = pa.schema(
        fields,
        metadata={
            "profile": str(description.name),
            "capture_period_s": str(description.period_s),
            "time": "none" if timeless else "reconstructed" if clock is None else "captured",
        },
    )
    return pa.Table.from_arrays(arrays, schema=schema)


_NO_ROWS: Final = Column(ColumnKind.INTEGER, np.empty(0, np.int64), np.empty(0, np.bool_))
_VALUES_OF_REGISTERS: Final = frozenset({(3, 2), (4, 2), (5, 2), (5, 3)})


def is_register_value(source: CaptureObject) -> bool:
    """True where the column holds counts of a register."""
    return (source.class_id, source.attribute) in _VALUES_OF_REGISTERS


def quirks_scaler(source: CaptureObject, quirks: VendorQuirks) -> ScalerUnit | None:
    """What a quirk knows of a register that does not tell its scaler."""
    return quirks.scaler_unit(source.logical_name) if is_register_value(source) else None


# --- names and metadata -------------------------------------------------------------------------------


def _name(source: CaptureObject, taken: set[str]) -> str:
    """Logical name; with the attribute where it is not the value, and a count where it was there before."""
    code = source.logical_name
    name = str(code)
    if source.class_id == 1 and (code.a, code.c, code.d) == (0, 96, 10) and "status" not in taken:
        return "status"
    if source.attribute != 2:
        name += f" attribute {source.attribute}"
    if source.data_index:
        name += f" element {source.data_index}"
    number = 2
    unique = name
    while unique in taken:
        unique = f"{name} ({number})"
        number += 1
    return unique


def _metadata(source: CaptureObject, scaler: ScalerUnit | None = None, null_rows: int = 0) -> dict[str, str]:
    facts = {
        "obis": str(source.logical_name),
        "class": str(source.class_id),
        "attribute": str(source.attribute),
        "data_index": str(source.data_index),
    }
    if scaler is not None:
        facts |= {"scaler": str(scaler.scaler), "unit": scaler.symbol}
    if null_rows:
        facts["null_rows"] = str(null_rows)
    return facts


# --- times --------------------------------------------------------------------------------------------


def _times(
    column: Column, description: ProfileDescription, zone: tzinfo | None, quirks: VendorQuirks
) -> npt.NDArray[np.datetime64]:
    """Capture instants in the order of the buffer."""
    where = f"profile {description.name}"
    if column.kind is not ColumnKind.OCTETS or not len(column.present):
        if not column.present.any():
            raise RemoteProtocolError("no row has a capture time", where=where)
        raise RemoteProtocolError(f"a clock column of {column.kind.name}", where=where, expected="date-times")
    present = column.present
    octets = quirks.date_times(column.values[present].astype(np.uint8, copy=False))
    known = stamps_to_instants(octets, zone, newest_first=description.newest_first)
    if present.all():
        return known
    if not present[0] or description.period_s <= 0:
        raise RemoteProtocolError("a row has no capture time and none can be derived", where=where)
    group = np.cumsum(present) - 1
    index = np.arange(len(group))
    steps = index - index[present][group]
    if description.newest_first:
        steps = -steps
    return _later(known[group], steps, description.period_s, zone)


def stamps_to_instants(
    octets: npt.NDArray[np.uint8], zone: tzinfo | None, *, newest_first: bool = False
) -> npt.NDArray[np.datetime64]:
    """UTC instants of date-times, local time of ``zone`` where they have no deviation.

    Raises
    ------
    RemoteProtocolError
        One names no instant.
    """
    try:
        return instants_of(octets)
    except RemoteProtocolError:
        if zone is None or octets.ndim != 2 or octets.shape[1] != _DATE_TIME:
            raise
    stamps = [CosemDateTime.from_bytes(row.tobytes()) for row in octets]
    # Which of a repeated hour is meant is told by the row before, so the oldest comes first.
    ordered = stamps[::-1] if newest_first else stamps
    local = [instant.replace(tzinfo=None) for instant in in_order(ordered, zone)]
    found = np.array(local, "datetime64[us]")
    return found[::-1] if newest_first else found


def _later(
    known: npt.NDArray[np.datetime64], steps: npt.NDArray[np.int64], period_s: int, zone: tzinfo | None
) -> npt.NDArray[np.datetime64]:
    """Instants a number of periods later; whole days are civil days where the zone is known."""
    if period_s % _DAY_S or zone is None:
        moved: npt.NDArray[np.datetime64] = known + (steps * period_s).astype("timedelta64[s]")
        return moved
    days = period_s // _DAY_S
    instants = [
        (
            (
                start.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None)
                + timedelta(days=int(step) * days)
            )
            .replace(tzinfo=zone)
            .astimezone(UTC)
            .replace(tzinfo=None)
            if step
            else start
        )
        for start, step in zip(known.astype(datetime), steps, strict=True)
    ]
    return np.array(instants, "datetime64[us]")


def _counted_back(
    description: ProfileDescription, count: int, newest_at: datetime | None, zone: tzinfo | None
) -> npt.NDArray[np.datetime64]:
    """Instants of the rows of a profile without a clock: one period apart, the newest one given."""
    if not count:
        return np.empty(0, "datetime64[us]")
    if newest_at is None or description.period_s <= 0:
        raise RemoteProtocolError(
            "the rows carry no time and none can be derived",
            where=f"profile {description.name}",
            expected="a clock column, or a capture period and the meter's clock",
        )
    newest = np.datetime64(newest_at.astimezone(UTC).replace(tzinfo=None), "us")
    oldest_first = _later(np.full(count, newest), np.arange(1 - count, 1), description.period_s, zone)
    return oldest_first[::-1] if description.newest_first else oldest_first


# --- values -------------------------------------------------------------------------------------------


def _array(
    column: Column,
    source: CaptureObject,
    description: ProfileDescription,
    zone: tzinfo | None,
    quirks: VendorQuirks,
) -> tuple[pa.Array, int]:
    """Values of a column, oldest first, and how many rows were null-data."""
    present = column.present
    null_rows = int(len(present) - present.sum())
    values = column.values
    if null_rows and quirks.null_data is NullData.REPEATED:
        row = np.arange(present.size)
        before = np.maximum.accumulate(np.where(present, row, 0))
        values, present = values[before], present[before]
    stamps = is_date_time(source.class_id, source.attribute) and column.kind is ColumnKind.OCTETS
    if stamps and values.shape[1] == _DATE_TIME:
        array = _stamp_array(values.astype(np.uint8), present, zone, quirks)
    elif column.kind in (ColumnKind.INTEGER, ColumnKind.FLOAT):
        array = pa.array(values, mask=~present)
    elif column.kind is ColumnKind.OCTETS:
        octets = [row.tobytes() if there else None for row, there in zip(values, present, strict=True)]
        array = pa.array(octets, pa.binary())
    else:
        array = _mixed(values.tolist(), present)
    if description.newest_first:
        array = array.take(pa.array(np.arange(len(array))[::-1]))
    return array, null_rows


def _stamp_array(
    octets: npt.NDArray[np.uint8], present: npt.NDArray[np.bool_], zone: tzinfo | None, quirks: VendorQuirks
) -> pa.Array:
    """Captured times other than the clock: null where one names no instant (a maximum not reached yet)."""
    instants: list[datetime | None] = []
    for row, there in zip(quirks.date_times(octets), present, strict=True):
        try:
            instants.append(CosemDateTime.from_bytes(row.tobytes()).instant(zone) if there else None)
        except RemoteProtocolError:
            instants.append(None)
    return pa.array(instants, _TIME_TYPE)


def _mixed(values: Sequence[Plain], present: npt.NDArray[np.bool_]) -> pa.Array:
    """Values of no one type: text and octets as they are, big integers as decimals, the rest as JSON text."""
    there = [value for value, is_there in zip(values, present, strict=True) if is_there]
    shown = [value if is_there else None for value, is_there in zip(values, present, strict=True)]
    if all(isinstance(value, str) for value in there):
        return pa.array(shown, pa.string())
    if all(isinstance(value, bytes) for value in there):
        return pa.array(shown, pa.binary())
    if all(isinstance(value, int) and not isinstance(value, bool) for value in there):
        return pa.array(shown, pa.decimal128(38))
    if all(isinstance(value, bool) for value in there):
        return pa.array(shown, pa.bool_())
    if all(isinstance(value, BitString) for value in there):
        return pa.array([None if value is None else plain_text(value) for value in shown], pa.string())
    return pa.array([None if value is None else _json(value) for value in shown], pa.string())


def _json(value: Plain) -> str:
    def plain(item: Plain) -> str:
        return item.hex() if isinstance(item, bytes) else plain_text(item)

    return orjson.dumps(value, default=plain, option=orjson.OPT_PASSTHROUGH_DATACLASS).decode()

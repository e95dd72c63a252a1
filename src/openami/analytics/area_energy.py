"""The energy of one transformer area, interval by interval, in aligned columns.

What the area meter passed on and what every customer's usage point took and gave back, from the final
readings of the store alone. The rule never to be broken: counts stay integers of one quantum, and a value
that is missing or estimated is marked so, never silently a zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from openami.quantities.civil_time import CivilDay, civil_days
from openami.quantities.errors import ValidationError
from openami.quantities.obis import EXPORT_INTERVAL, IMPORT_INTERVAL
from openami.quantities.status import DeviceFlag, Quality, is_estimated, qualities
from openami.quantities.units import Quantum, Unit
from openami.readings.interval_block import Counts, IntervalBlock

Mask = npt.NDArray[np.bool_]

_UNSURE_TIME = int(DeviceFlag.CLOCK_SET | DeviceFlag.CLOCK_INVALID | DeviceFlag.DATA_INVALID) << 18


@dataclass(frozen=True, slots=True, eq=False)
class AreaEnergy:
    """Aligned columns of one area: n intervals, K customers.

    Parameters
    ----------
    area_id, customers:
        The area, and the usage points of its customers (length K).
    days, day_index:
        Civil days of the period, and for each interval the index of its day, int64 (n,).
    interval_s, quantum:
        Interval length in seconds, and what a count is worth (the finest quantum of all series).
    supplied:
        Counts passed on by the area meter, import less export, int64 (n,).
    imported, exported:
        Counts per customer, int64 (n, K).
    supplied_missing, missing:
        True where there is no value, (n,) and (n, K).
    supplied_estimated, estimated:
        True where the value is not plainly measured: estimated, substituted, suspect, or of an interval
        in which the meter's clock was set or invalid, (n,) and (n, K).
    closed:
        True where the energy of the whole day is confirmed by the registers that bound it, whatever was
        estimated inside, bool (days, K).
    """

    area_id: str
    customers: tuple[str, ...]
    days: tuple[CivilDay, ...]
    day_index: npt.NDArray[np.int64]
    interval_s: int
    quantum: Quantum
    supplied: Counts
    imported: Counts
    exported: Counts
    supplied_missing: Mask
    missing: Mask
    supplied_estimated: Mask
    estimated: Mask
    closed: Mask

    @property
    def sold(self) -> Counts:
        """Counts sold to all customers together, import less export, int64 (n,)."""
        total: Counts = (self.imported - self.exported).sum(axis=1)
        return total

    @property
    def loss(self) -> Counts:
        """Counts supplied less counts sold, int64 (n,)."""
        return self.supplied - self.sold


def area_energy(
    blocks: Iterable[IntervalBlock],
    *,
    area_id: str,
    area_point: str,
    customers: Sequence[str],
    zone: str,
    first_day: date,
    last_day: date,
) -> AreaEnergy:
    """Columns of one area from final blocks.

    Parameters
    ----------
    blocks:
        Final blocks of the area's usage points; other series and channels are passed over.
    area_id, area_point, customers:
        The area, the usage point of its meter, and its customers' usage points.
    zone, first_day, last_day:
        Zone of the area's civil days, and the days ``[first_day, last_day)``.

    Raises
    ------
    ValidationError
        There is no block of the area meter, a series is no energy in Wh, its intervals are longer than the
        area meter's or do not divide them, or its days are counted in another zone.

    Notes
    -----
    A customer whose intervals are finer than the area meter's is summed to them.
    """
    position = {point: column for column, point in enumerate(customers)}
    wanted = [
        block
        for block in blocks
        if block.channel in (IMPORT_INTERVAL, EXPORT_INTERVAL)
        and (block.series_id == area_point or block.series_id in position)
        and first_day <= block.day.day < last_day
    ]
    area_intervals = {block.interval_s for block in wanted if block.series_id == area_point}
    if len(area_intervals) != 1:
        raise ValidationError(
            f"area meter {area_point} has "
            + (f"intervals of {sorted(area_intervals)} s" if area_intervals else "no final readings"),
            where=f"area {area_id}, {first_day} to {last_day}",
            expected="final readings of one interval length",
        )
    interval_s = area_intervals.pop()
    _check_blocks(wanted, interval_s, zone, area_id)
    exponent = min(block.quantum.exponent for block in wanted)
    days = tuple(civil_days(first_day, last_day, zone))
    counts = np.array([day.interval_count(interval_s) for day in days], np.int64)
    offsets = dict(zip((day.day for day in days), np.concatenate([[0], np.cumsum(counts)]), strict=False))
    n, width = int(counts.sum()), len(customers)
    energy = {channel: np.zeros((n, width + 1), np.int64) for channel in (IMPORT_INTERVAL, EXPORT_INTERVAL)}
    # A usage point without an export channel exports nothing: only its import can be missing.
    missing = np.ones((n, width + 1), np.bool_)
    unsure = np.zeros((n, width + 1), np.bool_)
    closed = np.zeros((len(days), width + 1), np.int64)
    has_export = np.zeros((len(days), width + 1), np.int64)
    for block in wanted:
        column = position.get(block.series_id, width)
        first = int(offsets[block.day.day])
        span = slice(first, first + block.day.interval_count(interval_s))
        parts = interval_s // block.interval_s
        values = block.values.reshape(-1, parts).sum(axis=1)
        energy[block.channel][span, column] = values * 10 ** (block.quantum.exponent - exponent)
        if block.channel == IMPORT_INTERVAL:
            missing[span, column] = False
        missing[span, column] |= block.missing.reshape(-1, parts).any(axis=1)
        unsure[span, column] |= _unsure(block).reshape(-1, parts).any(axis=1)
        day = (block.day.day - first_day).days
        closed[day, column] += _closed(block)
        has_export[day, column] += block.channel == EXPORT_INTERVAL
    return AreaEnergy(
        area_id=area_id,
        customers=tuple(customers),
        days=days,
        day_index=np.repeat(np.arange(len(days)), counts),
        interval_s=interval_s,
        quantum=Quantum(Unit.WATT_HOUR, exponent),
        supplied=energy[IMPORT_INTERVAL][:, width] - energy[EXPORT_INTERVAL][:, width],
        imported=energy[IMPORT_INTERVAL][:, :width],
        exported=energy[EXPORT_INTERVAL][:, :width],
        supplied_missing=missing[:, width],
        missing=missing[:, :width],
        supplied_estimated=unsure[:, width],
        estimated=unsure[:, :width],
        closed=(closed == 1 + has_export)[:, :width],
    )


def _check_blocks(blocks: Sequence[IntervalBlock], interval_s: int, zone: str, area_id: str) -> None:
    for block in blocks:
        where = f"area {area_id}, usage point {block.series_id}, {block.day.day}"
        if block.quantum.unit is not Unit.WATT_HOUR:
            raise ValidationError(f"{block.channel} counts {block.quantum}", where=where, expected="Wh")
        if interval_s % block.interval_s:
            raise ValidationError(
                f"intervals of {block.interval_s} s", where=where, expected=f"{interval_s} s or a part of it"
            )
        if block.day.zone != zone and block.day.start != CivilDay(block.day.day, zone).start:
            raise ValidationError(f"days of {block.day.zone}", where=where, expected=zone)


def _closed(block: IntervalBlock) -> bool:
    """True when the day's intervals are all there and sum to the advance of its register."""
    if block.anchor_start is None or block.anchor_end is None or block.missing.any():
        return False
    return block.total == block.anchor_end - block.anchor_start


def _unsure(block: IntervalBlock) -> Mask:
    status = block.status_ids
    unsure: Mask = (
        is_estimated(status) | (qualities(status) == Quality.SUSPECT) | ((status & _UNSURE_TIME) != 0)
    )
    return unsure

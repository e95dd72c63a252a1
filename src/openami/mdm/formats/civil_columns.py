"""Columns of times: text to instants, local time to UTC, instants to civil days, all vectorised.

Local time is written twice in the hour of the autumn change and never in the hour of the spring change.
The rule never to be broken: an instant is given only where the written time means exactly one, or where
the order of the rows says which of the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.mdm.formats.exact_numbers import Bytes, Int8, Int64
from openami.quantities.civil_time import midnight, zone_of

MICROSECONDS = 1_000_000
DAY_US = 86_400 * MICROSECONDS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_YEAR, LAST_YEAR = 1900, 2200
"""Years a reading may lie in."""

GOOD, EMPTY, BAD = 0, 1, 2
"""What was found in a field: a time, nothing, something else."""
PLAIN, TWICE, NEVER = 0, 1, 2
"""How often a local time exists: once, twice (autumn), never (spring)."""

_CODES = {"Y": 1, "m": 2, "d": 3, "H": 4, "M": 5, "S": 6, "f": 7, "z": 8}


def compile_format(text: str) -> npt.NDArray[np.int16]:
    """Time format (``%Y-%m-%d %H:%M``) as steps: a code 1-8 for a directive, 256 + byte for a literal."""
    steps: list[int] = []
    characters = iter(text.encode())
    for byte in characters:
        if byte != ord("%"):
            steps.append(256 + byte)
            continue
        code = chr(next(characters, ord("%")))
        steps.append(_CODES.get(code, 256 + ord(code)))
    return np.array(steps, np.int16)


@njit(cache=True, nogil=True)
def _days_from_civil(year: int, month: int, day: int) -> int:
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


@njit(cache=True, nogil=True)
def parse_times(
    data: Bytes, starts: Int64, ends: Int64, steps: npt.NDArray[np.int16], times: Int64, states: Int8
) -> None:
    """Parse times by a compiled format, blanks around them ignored.

    Parameters
    ----------
    data, starts, ends:
        uint8 text, and int64 ``(n,)`` bounds of the fields.
    steps:
        From `compile_format`.
    times, states:
        Written: int64 microseconds since 1970 (of the written clock; UTC when the format has %z), int8
        GOOD, EMPTY or BAD.
    """
    for row in range(len(starts)):
        position, end = starts[row], ends[row]
        while position < end and data[position] == 32:
            position += 1
        while end > position and data[end - 1] == 32:
            end -= 1
        times[row] = 0
        if position == end:
            states[row] = 1
            continue
        states[row] = 2
        year, month, day, hour, minute, second, micros, offset = 1970, 1, 1, 0, 0, 0, 0, 0
        fits = True
        for step in steps:
            if step >= 256:
                if position < end and data[position] == step - 256:
                    position += 1
                    continue
                fits = False
                break
            if step == 8:
                if position < end and data[position] == 90:
                    position += 1
                    continue
                if position + 5 > end or data[position] not in (43, 45):
                    fits = False
                    break
                sign = 1 if data[position] == 43 else -1
                position += 1
                digits = 0
                while position < end and (48 <= data[position] <= 57 or data[position] == 58):
                    if data[position] != 58:
                        offset = offset * 10 + data[position] - 48
                        digits += 1
                    position += 1
                if digits != 4 or offset % 100 >= 60 or offset > 1500:
                    fits = False
                    break
                offset = sign * (offset // 100 * 60 + offset % 100)
                continue
            most = 4 if step == 1 else (9 if step == 7 else 2)
            value = 0
            digits = 0
            while position < end and digits < most and 48 <= data[position] <= 57:
                value = value * 10 + data[position] - 48
                digits += 1
                position += 1
            if digits == 0 or (step == 1 and digits != 4):
                fits = False
                break
            if step == 1:
                year = value
            elif step == 2:
                month = value
            elif step == 3:
                day = value
            elif step == 4:
                hour = value
            elif step == 5:
                minute = value
            elif step == 6:
                second = value
            else:
                for _ in range(6 - digits):
                    value *= 10
                for _ in range(digits - 6):
                    if value % 10 != 0:
                        fits = False
                    value //= 10
                micros = value
        if not fits or position != end:
            continue
        if not (1900 <= year <= 2200 and 1 <= month <= 12 and day >= 1 and minute < 60 and second < 60):
            continue
        days = 31 if month in (1, 3, 5, 7, 8, 10, 12) else 30
        if month == 2:
            days = 29 if (year % 4 == 0 and year % 100 != 0) or year % 400 == 0 else 28
        if day > days or hour > 24 or (hour == 24 and (minute or second or micros)):
            continue
        seconds = _days_from_civil(year, month, day) * 86_400 + hour * 3600 + (minute - offset) * 60 + second
        times[row] = seconds * 1_000_000 + micros
        states[row] = 0


@dataclass(frozen=True, slots=True)
class ZoneTable:
    """Offsets of a zone over a stretch of time.

    Parameters
    ----------
    since, offsets:
        int64 ``(n,)`` microseconds: from ``since[i]`` (UTC) on, local time is UTC + ``offsets[i]``.
    """

    zone: str
    since: Int64
    offsets: Int64

    def local(self, instants: Int64) -> Int64:
        """Local microseconds of UTC ones, same shape."""
        result: Int64 = instants + self.offsets[np.searchsorted(self.since, instants, "right") - 1]
        return result

    def instants(self, local: Int64) -> tuple[Int64, Int64, Int8]:
        """The first and the second UTC instant of local times, and how often each exists, same shape."""
        begins = self.since + self.offsets
        ends = np.append(self.since[1:], np.iinfo(np.int64).max - 2 * DAY_US) + self.offsets
        later = np.clip(np.searchsorted(begins, local, "right") - 1, 0, None)
        earlier = np.clip(later - 1, 0, None)
        in_later = local < ends[later]
        in_earlier = (earlier < later) & (local < ends[earlier])
        second = local - self.offsets[later]
        first = np.where(in_earlier, local - self.offsets[earlier], second)
        kinds = np.where(in_later & in_earlier, TWICE, np.where(in_later | in_earlier, PLAIN, NEVER))
        return first, second, kinds.astype(np.int8)


def zone_table(zone: str, first_us: int, last_us: int) -> ZoneTable:
    """Offsets of a zone from two days before ``first_us`` to two days after ``last_us``.

    Changes are found by probing each day and halving; a zone that changes twice in a day is not known.
    """
    info = zone_of(zone)

    def offset(second: int) -> int:
        at = (_EPOCH + timedelta(seconds=second)).astimezone(info)
        shift = at.utcoffset()
        assert shift is not None
        return int(shift.total_seconds())

    low = first_us // MICROSECONDS - 2 * 86_400
    high = last_us // MICROSECONDS + 2 * 86_400
    since, offsets = [low], [offset(low)]
    for probe in range(low + 86_400, high + 86_400, 86_400):
        if offset(probe) == offsets[-1]:
            continue
        before, after = probe - 86_400, probe
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (middle, after) if offset(middle) == offsets[-1] else (before, middle)
        since.append(after)
        offsets.append(offset(probe))
    return ZoneTable(
        zone, np.array(since, np.int64) * MICROSECONDS, np.array(offsets, np.int64) * MICROSECONDS
    )


@dataclass(frozen=True, slots=True)
class DayColumn:
    """The civil days of a column of instants.

    Parameters
    ----------
    days:
        The distinct days, ascending.
    index:
        int64 ``(n,)``: which of them each instant lies in.
    offset_us:
        int64 ``(n,)``: microseconds from the beginning of that day.
    """

    days: list[date]
    index: Int64
    offset_us: Int64


def civil_days_of(instants: Int64, table: ZoneTable) -> DayColumn:
    """Civil day of each instant (microseconds, UTC)."""
    ordinals, index = np.unique(table.local(instants) // DAY_US, return_inverse=True)
    days = [date(1970, 1, 1) + timedelta(days=int(ordinal)) for ordinal in ordinals]
    starts = np.array([instant_us(midnight(day, table.zone)) for day in days], np.int64)
    return DayColumn(days, index.astype(np.int64), instants - starts[index])


def instant_us(instant: datetime) -> int:
    """Microseconds since 1970 of an instant."""
    return (instant - _EPOCH) // timedelta(microseconds=1)

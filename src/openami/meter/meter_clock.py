"""The meter's clock: an oscillator that is a little wrong, and what people of the zone call its time.

Own time is ``anchor_own + floor((true - anchor_true) * (1 + drift))`` in integer milliseconds of UTC as the
meter believes it. Rule never to be broken: own time and the instant at which it is reached are exact
inverses, so the same captures happen however the simulation is cut into steps.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from openami.quantities.civil_time import midnight, saves_daylight, zone_of
from openami.quantities.errors import QuantityError

MILLION = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def milliseconds(instant: datetime) -> int:
    """Milliseconds since 1970 (UTC), rounded down.

    Raises
    ------
    QuantityError
        The instant is naive.
    """
    if instant.tzinfo is None:
        raise QuantityError(f"naive instant {instant}", expected="a timezone-aware datetime")
    return (instant - _EPOCH) // _MILLISECOND


def instant_of(ms: int) -> datetime:
    """UTC instant of milliseconds since 1970."""
    return _EPOCH + ms * _MILLISECOND


@dataclass(frozen=True, slots=True)
class MeterClock:
    """Own time as a function of true time.

    Parameters
    ----------
    anchor_true_ms, anchor_own_ms:
        A pair of true and own time.
    drift_ppm:
        Rate error in parts per million, positive when the clock gains; -100,000 .. 100,000.
    """

    anchor_true_ms: int
    anchor_own_ms: int
    drift_ppm: int = 0

    def __post_init__(self) -> None:
        if abs(self.drift_ppm) > 100_000:
            raise QuantityError(f"a drift of {self.drift_ppm} ppm", expected="-100000 .. 100000")

    def own(self, true_ms: int) -> int:
        """Own time at a true instant."""
        return self.anchor_own_ms + (true_ms - self.anchor_true_ms) * (MILLION + self.drift_ppm) // MILLION

    def reached(self, own_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """First true instants at which own time has reached the given values, same shape."""
        elapsed = own_ms - self.anchor_own_ms
        if self.drift_ppm == 0:
            return elapsed + self.anchor_true_ms
        rate = MILLION + self.drift_ppm
        result: npt.NDArray[np.int64] = self.anchor_true_ms - (-elapsed * MILLION // rate)
        return result

    def set_to(self, true_ms: int, own_ms: int) -> MeterClock:
        """The clock after it was set at a true instant."""
        return replace(self, anchor_true_ms=true_ms, anchor_own_ms=own_ms)

    def drifting(self, true_ms: int, drift_ppm: int) -> MeterClock:
        """The clock with another rate from a true instant on."""
        return MeterClock(true_ms, self.own(true_ms), drift_ppm)


@lru_cache(maxsize=4096)
def midnight_ms(day: date, zone: str) -> int:
    """Milliseconds since 1970 at which a civil day begins."""
    return milliseconds(midnight(day, zone))


def next_midnight(own_ms: int, zone: str) -> int:
    """First local midnight after an own time."""
    day = instant_of(own_ms).astimezone(zone_of(zone)).date()
    return midnight_ms(day + timedelta(days=1), zone)


def is_midnight(own_ms: int, zone: str) -> bool:
    """True when a civil day begins at this own time."""
    return next_midnight(own_ms - 1, zone) == own_ms


def daylight_saving_changes(after_ms: int, until_ms: int, zone: str) -> list[int]:
    """Own times in ``(after, until]`` at which the zone's offset from UTC changes."""
    found: list[int] = []
    for year in range(instant_of(after_ms).year, instant_of(until_ms).year + 1):
        changes = _changes_of_year(year, zone)
        found += changes[bisect_right(changes, after_ms) : bisect_right(changes, until_ms)]
    return found


def local_offsets(
    own_s: npt.NDArray[np.int64], zone: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Offset of local time from UTC in minutes, and whether daylight saving is on.

    Parameters
    ----------
    own_s:
        Seconds of UTC since 1970, shape (n,).

    Returns
    -------
    int64 and bool, shape (n,).
    """
    if own_s.size == 0:
        return np.empty(0, np.int64), np.empty(0, np.bool_)
    first, last = (instant_of(1000 * int(edge)).year for edge in (own_s.min(), own_s.max()))
    changes, minutes, saving = _offset_table(first, last, zone)
    index = changes.searchsorted(own_s, side="right")
    return minutes[index], saving[index]


@lru_cache(maxsize=256)
def _offset_table(
    first_year: int, last_year: int, zone: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Changes of the offset in seconds of UTC, shape (k,); offset and saving around them, shape (k + 1,)."""
    info = zone_of(zone)
    changes = [ms for year in range(first_year, last_year + 1) for ms in _changes_of_year(year, zone)]
    starts = [datetime(first_year, 1, 1, tzinfo=UTC), *(instant_of(ms) for ms in changes)]
    local = [start.astimezone(info) for start in starts]
    minutes = [int((moment.utcoffset() or timedelta()).total_seconds()) // 60 for moment in local]
    saving = [saves_daylight(moment) for moment in local]
    return np.array(changes, np.int64) // 1000, np.array(minutes, np.int64), np.array(saving)


@lru_cache(maxsize=1024)
def _changes_of_year(year: int, zone: str) -> tuple[int, ...]:
    """Changes of the offset from UTC in one year of UTC; found day by day, then by quarter-hour."""
    info = zone_of(zone)
    step = timedelta(minutes=15)
    changes = []
    day, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    while day < end:
        if day.astimezone(info).utcoffset() != (day + timedelta(days=1)).astimezone(info).utcoffset():
            at = day
            while at.astimezone(info).utcoffset() == (at + step).astimezone(info).utcoffset():
                at += step
            changes.append(milliseconds(at + step))
        day += timedelta(days=1)
    return tuple(changes)

"""What finals of earlier days say: like days to estimate from, daily totals to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from openami.mdm.vee.estimation import History
from openami.mdm.vee.kernel import Mask, Reals
from openami.mdm.vee.rule_pack import RulePack
from openami.mdm.vee.stretch import DAY_S, Stretch, local_slots
from openami.quantities.civil_time import CivilDay
from openami.quantities.status import DeviceFlag, Quality

_UNEVEN = (
    int(DeviceFlag.POWER_FAIL | DeviceFlag.CLOCK_SET | DeviceFlag.SHORT_INTERVAL | DeviceFlag.LONG_INTERVAL)
    << 18
)


class StoredFinals:
    """Final blocks of earlier days as columns, by usage point and channel.

    Invariant: nothing is converted before it is asked for, but for the daily totals.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table.combine_chunks()
        self._days: list[date] = self._table.column("day").to_pylist()
        self._rows: dict[tuple[str, str], list[int]] = {}
        names = zip(
            self._table.column("series_id").to_pylist(),
            self._table.column("channel").to_pylist(),
            strict=True,
        )
        for row, name in enumerate(names):
            self._rows.setdefault(name, []).append(row)
        if len(self._table):
            lists = self._table.column("values").combine_chunks()
            lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
            flat = lists.flatten()
            self._values = flat.fill_null(0).to_numpy(zero_copy_only=False)
            self._missing = flat.is_null().to_numpy(zero_copy_only=False)
            lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
            self._offsets = np.concatenate(([0], np.cumsum(lengths)))
            exponents = self._table.column("exponent").to_numpy().astype(np.float64)
            self._worth = 10.0**exponents
            self._status = self._table.column("status")
            self._interval_s = self._table.column("interval_s").to_numpy()
            self._zones = self._table.column("zone").to_pylist()

    def fill(self, history: History, usage_point_id: str, channel: str, interval_s: int) -> None:
        """Put the good measured values of a channel into the rows of ``history``."""
        for row in self._rows.get((usage_point_id, channel), ()):
            place = history.row(self._days[row])
            there = slice(self._offsets[row], self._offsets[row + 1])
            length = DAY_S if there.stop - there.start == 1 else self._interval_s[row]
            if length != interval_s or not 0 <= place < history.energy.shape[0]:
                continue
            good = ~self._missing[there]
            if self._status[row].is_valid:
                status = np.array(self._status[row].values, np.int32)
                good = good & (status & 7 == Quality.ACTUAL) & (status & _UNEVEN == 0)
            energy = self._values[there] * self._worth[row]
            _put(history, place, CivilDay(self._days[row], self._zones[row]), interval_s, energy, good)

    def totals(self, usage_point_id: str, channel: str) -> dict[date, float]:
        """Daily totals in the unit of the channel, of days on which nothing is missing."""
        found = {}
        for row in self._rows.get((usage_point_id, channel), ()):
            there = slice(self._offsets[row], self._offsets[row + 1])
            if not self._missing[there].any():
                found[self._days[row]] = float(self._values[there].sum()) * self._worth[row]
        return found


def empty_history(first_day: date, days: int, interval_s: int) -> History:
    """A history of ``days`` days without any value."""
    return History(first_day, np.full((max(days, 0), 86400 // interval_s), np.nan))


def fill_own_days(history: History, stretch: Stretch, good: Mask, worth: float) -> None:
    """Put the good values of a stretch into the rows of ``history``.

    Parameters
    ----------
    good:
        bool (n,), values fit to estimate from.
    worth:
        What a quantum is worth in the unit of the history.
    """
    for index, day in enumerate(stretch.days):
        place = history.row(day.day)
        there = stretch.day_slice(index)
        if 0 <= place < history.energy.shape[0] and good[there].any():
            energy: Reals = stretch.values[there] * np.float64(worth)
            _put(history, place, day, stretch.interval_s, energy, good[there])


def _put(history: History, place: int, day: CivilDay, interval_s: int, energy: Reals, good: Mask) -> None:
    slots, plain = local_slots(day, interval_s)
    if plain:
        history.energy[place][good] = energy[good]
        return
    # Backwards, so that of an hour that occurs twice the first one stays.
    history.energy[place, slots[good][::-1]] = energy[good][::-1]


def unusual_days(
    totals: dict[date, float], days: Sequence[date], packs: Sequence[RulePack]
) -> dict[date, tuple[str, str]]:
    """Days of ``days`` on which usage becomes unusually high or low: day -> (kind, detail).

    The mean of the last ``usage_window_days`` is compared with the mean of the ``usage_history_days``
    before them. Only the first day of an unusual stretch is named.
    """
    found = {}
    for day, pack in zip(days, packs, strict=True):
        today = _unusual(totals, day, pack)
        if today is None or day not in totals:
            continue
        before = _unusual(totals, day - timedelta(days=1), pack)
        if before is None or before[0] != today[0]:
            found[day] = today
    return found


def _unusual(totals: dict[date, float], day: date, pack: RulePack) -> tuple[str, str] | None:
    window, length = pack.usage_window_days, pack.usage_history_days
    recent = [totals[past] for past in _before(day + timedelta(days=1), window) if past in totals]
    earlier = [totals[past] for past in _before(day - timedelta(days=window - 1), length) if past in totals]
    if len(recent) < window or len(earlier) < pack.usage_min_history_days:
        return None
    mean, usual = sum(recent) / len(recent), sum(earlier) / len(earlier)
    if usual <= 0:
        return None
    ratio = mean / usual
    if pack.usage_low_ratio < ratio < pack.usage_high_ratio:
        return None
    kind = "high_usage" if ratio >= pack.usage_high_ratio else "low_usage"
    return kind, f"{mean:.0f} a day over {window} days, {ratio:.2f} of the {length} days before ({usual:.0f})"


def _before(day: date, count: int) -> list[date]:
    return [day - timedelta(days=back) for back in range(1, count + 1)]

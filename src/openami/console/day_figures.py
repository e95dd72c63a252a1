"""Read success and completeness by civil day, over all meters, computed where the readings lie (DuckDB)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np

from openami.quantities.civil_time import midnight
from openami.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class DayFigures:
    """One civil day over all usage points; ``meters_read`` by the end of the next day, ``late`` after it."""

    day: date
    meters_read: int
    meters_late: int
    meters_expected: int
    intervals: int
    estimated: int
    missing: int
    suspect: int

    @property
    def meters_lost(self) -> int:
        """Meters that were not read until now."""
        return self.meters_expected - self.meters_read - self.meters_late

    @property
    def measured(self) -> int:
        """Final intervals that were measured and valid."""
        return self.intervals - self.estimated - self.missing - self.suspect


@dataclass(frozen=True, slots=True)
class PeriodFigures:
    """The days of a period, oldest first; sums over them."""

    days: tuple[DayFigures, ...]

    @property
    def read_percent(self) -> float | None:
        """Share of expected reads that came by the end of the next day; None where none was expected."""
        expected = sum(day.meters_expected for day in self.days)
        return 100 * sum(day.meters_read for day in self.days) / expected if expected else None

    @property
    def measured_percent(self) -> float | None:
        """Share of final intervals that were measured and valid; None where there are none."""
        intervals = sum(day.intervals for day in self.days)
        return 100 * sum(day.measured for day in self.days) / intervals if intervals else None

    @property
    def estimated(self) -> int:
        """Final intervals that were estimated or substituted."""
        return sum(day.estimated for day in self.days)


_READ = """
SELECT day, count(*) FILTER (WHERE first_read <= day + INTERVAL 2 DAY), count(*)
FROM (SELECT day, series_id, min(captured_at)::TIMESTAMP AS first_read FROM raw_intervals
      WHERE day BETWEEN ? AND ? GROUP BY day, series_id)
GROUP BY day
"""

_FINAL = """
SELECT day, sum(len("values")),
       coalesce(sum(len(list_filter(status, lambda s: (s & 7) IN (1, 2, 4)))), 0),
       coalesce(sum(len(list_filter(status, lambda s: (s & 7) = 3))), 0),
       coalesce(sum(len(list_filter(status, lambda s: (s & 7) = 5))), 0)
FROM (SELECT day, "values", status FROM final_intervals WHERE day BETWEEN ? AND ?
      QUALIFY row_number() OVER (PARTITION BY series_id, channel, day ORDER BY version DESC) = 1)
GROUP BY day
"""
"""The quality is the three low bits of a status id (`openami.quantities.status`)."""


def period_figures(workspace: Workspace, first: date, last: date) -> PeriodFigures:
    """Figures of every day from ``first`` to ``last``, both included, that has readings."""
    connection = workspace.store.sql()
    try:
        read = {row[0]: row[1:] for row in connection.execute(_READ, [first, last]).fetchall()}
        final = {row[0]: row[1:] for row in connection.execute(_FINAL, [first, last]).fetchall()}
    finally:
        connection.close()
    expected = _meters_installed(workspace, first, last)
    days = []
    for day in sorted(read.keys() | final.keys()):
        in_time, meters = read.get(day, (0, 0))
        intervals, estimated, missing, suspect = (int(count) for count in final.get(day, (0, 0, 0, 0)))
        days.append(
            DayFigures(
                day,
                in_time,
                meters - in_time,
                max(expected[day], meters),
                intervals,
                estimated,
                missing,
                suspect,
            )
        )
    return PeriodFigures(tuple(days))


def _meters_installed(workspace: Workspace, first: date, last: date) -> dict[date, int]:
    """How many meters hang on some part of each day of the workspace's zone."""
    installations = workspace.registry.installations()
    begins = np.sort(np.array([_seconds(item.valid_from) for item in installations]))
    ends = np.sort(np.array([_seconds(item.valid_to) for item in installations if item.valid_to]))
    zone = workspace.settings.zone
    counts = {}
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        begun = np.searchsorted(begins, _seconds(midnight(day + timedelta(days=1), zone)), side="left")
        ended = np.searchsorted(ends, _seconds(midnight(day, zone)), side="right")
        counts[day] = int(begun - ended)
    return counts


def _seconds(instant: datetime) -> float:
    return instant.timestamp()

"""The demo's summary: what was injected beside what was detected, and whether the energy closes.

Detection looks at the store, the registry and the list of exceptions, never at the injector. Closure
compares the sum of final intervals of each usage point with the advance of registers that were read
separately over the wire.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime

from openami.cli.demo.scenario import Incident
from openami.quantities.civil_time import CivilDay
from openami.quantities.errors import StoreError
from openami.quantities.obis import REGISTER_OF_INTERVAL, ObisCode
from openami.readings.register_read import RegisterRead
from openami.workspace.workspace import Workspace

_ANCHORS = ("freeze", "install", "remove")


def detect(workspace: Workspace, first_day: date, after: date) -> dict[str, list[Incident]]:
    """What the utility side noticed in ``[first_day, after)``: kind, then meters and days."""
    by_kind: dict[str, set[Incident]] = defaultdict(set)
    for case in workspace.exceptions.find():
        if case.meter_id and case.day and first_day <= case.day < after:
            by_kind[case.kind].add(Incident(case.meter_id, case.day))
    silent = _runs(by_kind["gap"] | by_kind["meter_silent"])
    unheard = {incident.meter for run in silent for incident in run}
    detected = {
        "lost_replies": {case for case in by_kind["read_failed"] if case.meter not in unheard},
        "dead_meter": {run[0] for run in silent},
        "spike": by_kind["spike"],
        "clock_drift": _first_by_meter(by_kind["clock_drift"]),
        "duplicate": by_kind["duplicate"],
        "meter_exchange": by_kind["meter_exchange"],
        "daylight_saving": _changed_days(workspace, first_day, after),
        "theft": by_kind["theft"],
    }
    return {kind: sorted(found) for kind, found in detected.items()}


def closure(workspace: Workspace, first_day: date, after: date) -> list[tuple[str, ObisCode, int, int]]:
    """Per usage point and channel: sum of final intervals and advance of its registers, in Wh.

    Raises
    ------
    StoreError
        A register was not read at the beginning or at the end of a meter's time.
    """
    registry, store = workspace.registry, workspace.store
    rows = []
    for point in registry.usage_points():
        start = CivilDay(first_day, point.zone).start
        end = CivilDay(after, point.zone).start
        installations = registry.installations(usage_point_id=point.usage_point_id, start=start, end=end)
        channels = sorted(
            {channel for one in installations for channel in registry.meter(one.meter_id).channels}
        )
        for channel in channels:
            register = REGISTER_OF_INTERVAL[channel]
            advance = 0
            for one in installations:
                begins = max(one.valid_from, start)
                ends = min(one.valid_to or end, end)
                reads = store.register_reads([one.meter_id], [register], begins, ends)
                advance += _value_at(reads, ends, one.meter_id) - _value_at(reads, begins, one.meter_id)
            blocks = store.final([point.usage_point_id], [channel], first_day, after)
            rows.append((point.usage_point_id, channel, sum(block.total for block in blocks), advance))
    return rows


def _value_at(reads: Iterable[RegisterRead], instant: datetime, meter_id: str) -> int:
    for read in reads:
        if read.at == instant and read.kind in _ANCHORS:
            return read.value
    raise StoreError("register was not read", where=f"meter {meter_id} at {instant}")


def _changed_days(workspace: Workspace, first_day: date, after: date) -> set[Incident]:
    """Meter days whose stored blocks count more or fewer intervals than 24 hours have."""
    connection = workspace.store.sql()
    try:
        rows = connection.execute(
            "SELECT DISTINCT series_id, day FROM raw_intervals WHERE day >= ? AND day < ? "
            'AND len("values") * interval_s <> 86400',
            [first_day, after],
        ).fetchall()
    finally:
        connection.close()
    return {Incident(meter, day) for meter, day in rows}


def _runs(incidents: Iterable[Incident]) -> list[list[Incident]]:
    """Runs of consecutive days of the same meter, of two days or more."""
    runs: list[list[Incident]] = []
    for incident in sorted(incidents):
        last = runs[-1][-1] if runs else None
        if last and last.meter == incident.meter and (incident.day - last.day).days == 1:
            runs[-1].append(incident)
        else:
            runs.append([incident])
    return [run for run in runs if len(run) > 1]


def _first_by_meter(incidents: Iterable[Incident]) -> set[Incident]:
    first: dict[str, Incident] = {}
    for incident in sorted(incidents):
        first.setdefault(incident.meter, incident)
    return set(first.values())

"""The demo's summary: what was injected beside what was detected, and whether the energy closes.

Detection looks at the store, the registry and the list of exceptions, never at the injector. Closure
compares the sum of final intervals of each usage point with the advance of registers that were read
separately over the wire.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from openami.cli.demo.scenario import Incident
from openami.quantities.civil_time import CivilDay
from openami.quantities.errors import StoreError
from openami.quantities.obis import REGISTER_OF_INTERVAL, ObisCode
from openami.registry.entities import Installation
from openami.workspace.workspace import Workspace

_ANCHORS = ("freeze", "install", "remove")
"""Kinds of register reads that speak of the very instant: not those taken some minutes later."""


@dataclass(frozen=True, slots=True)
class Closure:
    """Energy of one channel of one usage point: what was made of its intervals, and what its dials say.

    Parameters
    ----------
    usage_point_id, channel:
        Where, and of what.
    final_wh:
        Sum of the final intervals.
    advance_wh:
        Sum over the meters that hung there of last minus first register read.
    """

    usage_point_id: str
    channel: ObisCode
    final_wh: int
    advance_wh: int

    @property
    def error_wh(self) -> int:
        """Final energy minus advance; 0 where everything is right."""
        return self.final_wh - self.advance_wh


def detect(workspace: Workspace, first_day: date, after: date) -> dict[str, list[Incident]]:
    """What the utility side noticed in ``[first_day, after)``: kind, then meters and days."""
    by_kind: dict[str, set[Incident]] = defaultdict(set)
    for case in workspace.exceptions.find():
        if case.meter_id and case.day and first_day <= case.day < after:
            by_kind[case.kind].add(Incident(case.meter_id, case.day))
    # A gap that an outage explains says nothing of the meter.
    silent = _runs((by_kind["gap"] | by_kind["meter_silent"]) - by_kind["power_outage"])
    unheard = {incident.meter for run in silent for incident in run}
    detected = {
        "lost_replies": {case for case in by_kind["read_failed"] if case.meter not in unheard},
        "dead_meter": {run[0] for run in silent},
        "spike": by_kind["spike"],
        "clock_drift": _first_by_meter(by_kind["clock_drift"]),
        "duplicate": by_kind["duplicate"],
        "meter_exchange": by_kind["meter_exchange"],
        "power_outage": by_kind["power_outage"],
        "daylight_saving": by_kind["daylight_saving"],
        "theft": by_kind["theft"],
    }
    return {kind: sorted(found) for kind, found in detected.items()}


def closure(workspace: Workspace, first_day: date, after: date) -> list[Closure]:
    """Final energy beside the advance of the registers, for every usage point and channel.

    Raises
    ------
    StoreError
        A register was not read at the beginning or at the end of a meter's time.
    """
    registry, store = workspace.registry, workspace.store
    meters = {meter.meter_id: meter for meter in registry.meters()}
    installed: dict[str, list[Installation]] = defaultdict(list)
    for installation in registry.installations():
        installed[installation.usage_point_id].append(installation)
    finals: Counter[tuple[str, ObisCode]] = Counter()
    for block in store.final(None, None, first_day, after):
        finals[block.series_id, block.channel] += block.total
    points = registry.usage_points()
    spans = {
        point.usage_point_id: (CivilDay(first_day, point.zone).start, CivilDay(after, point.zone).start)
        for point in points
    }
    dials = {
        (read.meter_id, read.register, read.at): read.value
        for read in store.register_reads(
            None, None, min(start for start, _ in spans.values()), max(end for _, end in spans.values())
        )
        if read.kind in _ANCHORS
    }

    def dial(meter_id: str, register: ObisCode, at: datetime) -> int:
        if (meter_id, register, at) not in dials:
            raise StoreError("register was not read", where=f"meter {meter_id} at {at}")
        return dials[meter_id, register, at]

    advances: Counter[tuple[str, ObisCode]] = Counter()
    for point_id, (start, end) in spans.items():
        for one in installed[point_id]:
            begins, ends = max(one.valid_from, start), min(one.valid_to or end, end)
            if begins >= ends:
                continue
            for channel in meters[one.meter_id].channels:
                register = REGISTER_OF_INTERVAL[channel]
                advances[point_id, channel] += dial(one.meter_id, register, ends)
                advances[point_id, channel] -= dial(one.meter_id, register, begins)
    return [Closure(*name, finals[name], advances[name]) for name in sorted({*advances, *finals})]


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

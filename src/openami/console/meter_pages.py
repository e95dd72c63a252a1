"""Meters: their list, and of each its load profile (raw, final, estimated), versions, registers, events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import islice

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from openami.console.load_profile import Profile, load_profile
from openami.console.parameters import PAGE_SIZE, channel_of, day_of, page_number, period_of, text_of
from openami.console.rendering import Page, Pages, json_response
from openami.console.work_lists import case_rows, meter_rows
from openami.mdm.vee.checks import check_names
from openami.quantities.civil_time import CivilDay
from openami.quantities.errors import QuantityError
from openami.quantities.obis import IMPORT_INTERVAL, CatalogueEntry, ObisCode, lookup
from openami.quantities.status import METHODS, DeviceFlag, Status
from openami.readings.event import EventCode
from openami.registry.entities import Meter
from openami.workspace.workspace import Workspace

DAYS = 7
_MOST_ROWS = 200
_MOST_CHIPS = 62


@dataclass(frozen=True, slots=True)
class IntervalRow:
    """One interval of the table of a day; exact values in the unit."""

    start: datetime
    raw: Decimal | None
    final: Decimal | None
    status: Status | None

    @property
    def device_flags(self) -> list[str]:
        """What the meter itself noted, by name."""
        device = self.status.device if self.status else DeviceFlag.NONE
        return [(flag.name or "").replace("_", " ").lower() for flag in DeviceFlag if flag and flag in device]


@dataclass(frozen=True, slots=True)
class DayChip:
    """A day to choose, with how many of its final intervals were estimated."""

    day: date
    estimated: int


def meters(pages: Pages, request: Request) -> Response:
    """The list of meters."""
    text, area_id, number = text_of(request, "q"), text_of(request, "area"), page_number(request)
    rows, total = meter_rows(pages.workspace, text=text, area_id=area_id, page=number)
    return pages.render(
        request,
        "meters.html",
        "/meters",
        rows=rows,
        total=total,
        page=number,
        page_count=-(-total // PAGE_SIZE),
        areas=pages.workspace.registry.areas(),
        text=text,
        area=area_id,
    )


def meter(pages: Pages, request: Request) -> Response:
    """A meter: load profile, intervals of one day with their versions, registers, events."""
    workspace = pages.workspace
    entity = workspace.registry.meter(request.path_params["meter_id"])
    meter_id = entity.meter_id
    channel = channel_of(request, channels_of(entity))
    first, last = period_of(pages, request, DAYS)
    day = min(max(day_of(request, "day") or first, first), last)
    profile = load_profile(workspace, meter_id, channel, first, last)
    start, end = CivilDay(first, entity.zone).start, CivilDay(last, entity.zone).end
    installations = workspace.registry.installations(meter_id=meter_id)
    registers = workspace.store.register_reads([meter_id], None, start, end)
    events = workspace.store.events([meter_id], start, end)
    cases, case_count = case_rows(workspace, kind="", state="open", meter_id=meter_id, page=1)
    return pages.render(
        request,
        "meter.html",
        "/meters",
        meter=entity,
        installations=installations,
        points={
            item.usage_point_id: workspace.registry.usage_point(item.usage_point_id) for item in installations
        },
        multiplier=workspace.registry.multiplier(meter_id, end),
        channels=[named for code in channels_of(entity) if (named := _name(code))],
        channel=channel,
        name=_name(channel),
        first=first,
        last=last,
        chips=_chips(profile, entity.zone, first, last),
        day=day,
        rows=_rows_of_day(profile, CivilDay(day, entity.zone)),
        quantum=profile.final.quantum,
        versions=_versions(workspace, meter_id, channel, day),
        check_names=check_names,
        registers=sorted(registers, key=lambda read: (read.at, str(read.register)), reverse=True)[
            :_MOST_ROWS
        ],
        register_count=len(registers),
        events=sorted(events, key=lambda event: event.at, reverse=True)[:_MOST_ROWS],
        event_count=len(events),
        event_names={int(code): code.name.replace("_", " ").lower() for code in EventCode},
        methods=METHODS,
        cases=cases[:10],
        case_count=case_count,
    )


def series(pages: Pages, request: Request) -> Response:
    """The columns of a load profile, as JSON: seconds since 1970, values in the unit, null where none is."""
    entity = pages.workspace.registry.meter(request.path_params["meter_id"])
    channel = channel_of(request, channels_of(entity))
    first, last = period_of(pages, request, DAYS)
    profile = load_profile(pages.workspace, entity.meter_id, channel, first, last)
    everywhere = np.ones(profile.at.shape, np.bool_)
    return json_response(
        {
            "meter": entity.meter_id,
            "channel": str(channel),
            "from": first,
            "to": last,
            "zone": entity.zone,
            "unit": profile.final.quantum.unit.value,
            "t": profile.at,
            "raw": profile.raw.reals(everywhere),
            "final": profile.final.reals(everywhere),
            "estimated": profile.final.reals(profile.estimated),
        }
    )


def channels_of(entity: Meter) -> tuple[ObisCode, ...]:
    """Interval channels of a meter; the import channel where the registry names none."""
    return entity.channels or (IMPORT_INTERVAL,)


def _name(code: ObisCode) -> CatalogueEntry | None:
    try:
        return lookup(code)
    except QuantityError:
        return None


def _chips(profile: Profile, zone: str, first: date, last: date) -> list[DayChip]:
    """The days of the period, the last 62 where there are more."""
    days = (last - timedelta(days=back) for back in range((last - first).days + 1))
    chips = []
    for day in islice(days, _MOST_CHIPS):
        inside = _inside(profile, CivilDay(day, zone))
        chips.append(DayChip(day, int(profile.estimated[inside].sum())))
    return chips[::-1]


def _rows_of_day(profile: Profile, day: CivilDay) -> list[IntervalRow]:
    inside = _inside(profile, day)
    return [
        IntervalRow(
            profile.start(index),
            profile.raw.value(index),
            profile.final.value(index),
            profile.final.status_at(index) or profile.raw.status_at(index),
        )
        for index in range(inside.start, inside.stop)
    ]


def _inside(profile: Profile, day: CivilDay) -> slice:
    low, high = np.searchsorted(profile.at, [day.start.timestamp(), day.end.timestamp()])
    return slice(int(low), int(high))


def _versions(workspace: Workspace, meter_id: str, channel: ObisCode, day: date) -> list[dict[str, object]]:
    """Every version of a day, raw and final, newest first: nothing was overwritten."""
    points = {item.usage_point_id for item in workspace.registry.installations(meter_id=meter_id)}
    store = workspace.store
    found = [("raw", block) for block in store.raw_versions(meter_id, channel, day)]
    found += [
        ("final", block) for point in sorted(points) for block in store.final_versions(point, channel, day)
    ]
    return [
        {"kind": kind, "block": block, "total": block.quantum.decimal(block.total)}
        for kind, block in sorted(found, key=lambda item: item[1].seq, reverse=True)
    ]


PATHS: dict[str, Page] = {
    "/meters": meters,
    "/meters/{meter_id}": meter,
    "/meters/{meter_id}/series": series,
}

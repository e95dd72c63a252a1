"""Analytics over a workspace: loss of transformer areas, customers who bypass their meter.

Only the store and the registry are looked at. A suspect becomes a case in the list of exceptions.
"""

from __future__ import annotations

from datetime import date

from openami.analytics.area_energy import AreaEnergy, area_energy
from openami.analytics.loss import AreaLoss, area_loss
from openami.analytics.theft import TheftSuspect, find_theft
from openami.mdm.exceptions import ExceptionCase
from openami.quantities.civil_time import CivilDay
from openami.quantities.obis import EXPORT_INTERVAL, IMPORT_INTERVAL
from openami.registry.entities import TransformerArea
from openami.workspace.workspace import Workspace


def area_energies(
    workspace: Workspace, first_day: date, last_day: date, *, area_id: str | None = None
) -> list[AreaEnergy]:
    """Aligned columns of every transformer area that has a meter with final readings in the period."""
    found = []
    for area in workspace.registry.areas():
        if area_id is None or area.area_id == area_id:
            energy = _energy_of(workspace, area, first_day, last_day)
            if energy is not None:
                found.append(energy)
    return found


def area_losses(
    workspace: Workspace, first_day: date, last_day: date, *, area_id: str | None = None
) -> list[AreaLoss]:
    """Supplied, sold and lost energy of every area, ``[first_day, last_day)``."""
    return [area_loss(energy) for energy in area_energies(workspace, first_day, last_day, area_id=area_id)]


def look_for_theft(workspace: Workspace, first_day: date, last_day: date) -> list[TheftSuspect]:
    """Customers whose rhythm the losses follow; each is reported as an exception of kind ``theft``."""
    suspects = [
        suspect
        for energy in area_energies(workspace, first_day, last_day)
        for suspect in find_theft(energy).suspects
    ]
    workspace.exceptions.report([_case(workspace, suspect) for suspect in suspects])
    return suspects


def _energy_of(
    workspace: Workspace, area: TransformerArea, first_day: date, last_day: date
) -> AreaEnergy | None:
    if area.meter_usage_point_id is None:
        return None
    points = workspace.registry.usage_points(area_id=area.area_id)
    customers = sorted(point.usage_point_id for point in points if point.kind == "customer")
    zone = workspace.registry.usage_point(area.meter_usage_point_id).zone
    channels = [IMPORT_INTERVAL, EXPORT_INTERVAL]
    series = [area.meter_usage_point_id, *customers]
    blocks = workspace.store.final(series, channels, first_day, last_day)
    if not any(block.series_id == area.meter_usage_point_id for block in blocks):
        return None
    return area_energy(
        blocks,
        area_id=area.area_id,
        area_point=area.meter_usage_point_id,
        customers=customers,
        zone=zone,
        first_day=first_day,
        last_day=last_day,
    )


def _case(workspace: Workspace, suspect: TheftSuspect) -> ExceptionCase:
    zone = workspace.registry.usage_point(suspect.usage_point_id).zone
    start = CivilDay(suspect.first_day, zone).start
    meters = workspace.registry.installations(usage_point_id=suspect.usage_point_id, start=start)
    detail = (
        f"losses of {suspect.area_id} follow this load since {suspect.first_day}: "
        f"{100 * suspect.bypassed_share:.0f} % of it unmetered, about {suspect.loss_wh_explained} Wh, "
        f"significance {suspect.significance:.0f}"
    )
    return ExceptionCase(
        kind="theft",
        meter_id=meters[0].meter_id if meters else None,
        usage_point_id=suspect.usage_point_id,
        day=suspect.first_day,
        channel=IMPORT_INTERVAL,
        detail=detail,
        seq=workspace.store.seq,
    )

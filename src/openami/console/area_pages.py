"""Transformer areas: what their meters passed on, what their customers were sold, what was lost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from starlette.requests import Request
from starlette.responses import Response

from openami.analytics.loss import AreaLoss
from openami.console.parameters import period_of
from openami.console.rendering import Page, Pages
from openami.mdm.exceptions import ExceptionCase
from openami.registry.entities import TransformerArea
from openami.workspace.analysis import area_losses

DAYS = 35


@dataclass(frozen=True, slots=True)
class AreaRow:
    """One line of the list of areas; ``loss`` is None where the area's meter was not read."""

    area: TransformerArea
    loss: AreaLoss | None
    suspects: list[ExceptionCase]


def areas(pages: Pages, request: Request) -> Response:
    """Every area, the highest loss first."""
    workspace = pages.workspace
    first, last = period_of(pages, request, DAYS)
    points = {point.usage_point_id: point.area_id for point in workspace.registry.usage_points()}
    suspects = workspace.exceptions.find(kind="theft", state="open")
    rows = [
        AreaRow(
            entity,
            _loss(pages, entity, first, last),
            [case for case in suspects if points.get(case.usage_point_id or "") == entity.area_id],
        )
        for entity in workspace.registry.areas()
    ]
    return pages.render(
        request, "areas.html", "/areas", rows=sorted(rows, key=_by_loss), first=first, last=last
    )


def area(pages: Pages, request: Request) -> Response:
    """One area: loss by day, and who is suspected."""
    workspace = pages.workspace
    entity = workspace.registry.area(request.path_params["area_id"])
    first, last = period_of(pages, request, DAYS)
    points = {point.usage_point_id for point in workspace.registry.usage_points(area_id=entity.area_id)}
    suspects = [
        case
        for case in workspace.exceptions.find(kind="theft", state="open")
        if case.usage_point_id in points
    ]
    return pages.render(
        request,
        "area.html",
        "/areas",
        area=entity,
        loss=_loss(pages, entity, first, last),
        points=len(points),
        suspects=suspects,
        first=first,
        last=last,
    )


def _loss(pages: Pages, entity: TransformerArea, first: date, last: date) -> AreaLoss | None:
    """Loss of an area from ``first`` to ``last``, both included; None where its meter was not read."""
    after = last + timedelta(days=1)
    return pages.memory.answer(
        ("loss", *pages.now, entity.area_id, first, last),
        lambda: next(iter(area_losses(pages.workspace, first, after, area_id=entity.area_id)), None),
    )


def _by_loss(row: AreaRow) -> float:
    return 1.0 if row.loss is None else -(row.loss.loss_percent or 0.0)


PATHS: dict[str, Page] = {"/areas": areas, "/areas/{area_id}": area}

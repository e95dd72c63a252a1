"""The first page: is the utility being read, how much of it was measured, what waits to be looked at."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from openami.console.day_figures import period_figures
from openami.console.parameters import period_of
from openami.console.rendering import Page, Pages
from openami.console.work_lists import bill_count

DAYS = 35


def overview(pages: Pages, request: Request) -> Response:
    """Read success and completeness by day, open exceptions by kind."""
    workspace = pages.workspace
    first, last = period_of(pages, request, DAYS)
    figures = pages.memory.answer(
        ("figures", *pages.now, first, last), lambda: period_figures(workspace, first, last)
    )
    counts = workspace.exceptions.counts("open")
    return pages.render(
        request,
        "overview.html",
        "/",
        first=first,
        last=last,
        figures=figures,
        meters=len({meter.meter_id for meter in workspace.registry.meters()}),
        counts=sorted(counts.items(), key=lambda item: (-item[1], item[0])),
        open_cases=sum(counts.values()),
        bills=bill_count(workspace),
    )


PATHS: dict[str, Page] = {"/": overview}

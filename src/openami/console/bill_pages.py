"""Bills: their list, each bill with its lines, and the trace behind every line down to the bytes."""

from __future__ import annotations

from datetime import timedelta

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from openami.billing.ledger import BillState
from openami.console.parameters import PAGE_SIZE, page_number, text_of
from openami.console.rendering import Page, Pages, is_part
from openami.console.trace import chain_to, place_of, unfold
from openami.console.work_lists import bill_rows


def bills(pages: Pages, request: Request) -> Response:
    """The list of bills."""
    text, asked, number = text_of(request, "q"), text_of(request, "state"), page_number(request)
    state = next((state for state in BillState if state.value == asked), None)
    rows, total = bill_rows(pages.workspace, text=text, state=state, page=number)
    return pages.render(
        request,
        "bills.html",
        "/bills",
        rows=rows,
        total=total,
        page=number,
        page_count=-(-total // PAGE_SIZE),
        text=text,
        state=asked,
        states=[state.value for state in BillState],
        one_day=timedelta(days=1),
    )


def bill(pages: Pages, request: Request) -> Response:
    """A bill: who pays, for which days, every line as quantity times price, and what it was computed from."""
    workspace = pages.workspace
    entity = workspace.bills.get(request.path_params["bill_id"])
    # The names as they were known when the bill was made.
    known = entity.pins.registry_revision
    customer = workspace.registry.customer(
        workspace.registry.account(entity.account_id, revision=known).customer_id, revision=known
    )
    point = workspace.registry.usage_point(entity.usage_point_id, revision=known)
    meters = workspace.registry.installations(usage_point_id=entity.usage_point_id, revision=known)
    return pages.render(
        request,
        "bill.html",
        "/bills",
        bill=entity,
        customer=customer,
        point=point,
        meters=list(dict.fromkeys(item.meter_id for item in meters)),
        through=entity.last_day - timedelta(days=1),
    )


def trace(pages: Pages, request: Request) -> Response:
    """A place of the trace: a part of the page for htmx, a page of its own for everybody else."""
    bill_id = request.path_params["bill_id"]
    line, path = place_of(text_of(request, "line"), text_of(request, "path"))
    chain = chain_to(pages.workspace.bills.explain(bill_id, line), path)
    if chain is None:
        raise HTTPException(404)
    view = unfold(chain[-1], line, path)
    if is_part(request):
        return pages.render(request, "trace_part.html", "/bills", bill_id=bill_id, view=view)
    above = [(node, ".".join(map(str, path[:depth]))) for depth, node in enumerate(chain[:-1])]
    return pages.render(request, "trace.html", "/bills", bill_id=bill_id, line=line, view=view, above=above)


PATHS: dict[str, Page] = {"/bills": bills, "/bills/{bill_id}": bill, "/bills/{bill_id}/trace": trace}

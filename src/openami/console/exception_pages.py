"""Exceptions: the work-list, and each case with the readings and the evidence it rests on."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from openami.console.parameters import PAGE_SIZE, page_number, text_of
from openami.console.rendering import Page, Pages
from openami.console.trace import evidence_view
from openami.console.work_lists import case_rows
from openami.mdm.exceptions import EXCEPTION_KINDS
from openami.quantities.obis import IMPORT_INTERVAL

STATES = ("open", "closed")
_MOST_BLOCKS = 50


def exceptions(pages: Pages, request: Request) -> Response:
    """The work-list; open cases unless another state is asked for."""
    query = request.query_params
    state, kind, meter_id = query.get("state", "open"), text_of(request, "kind"), text_of(request, "meter")
    number = page_number(request)
    cases, total = case_rows(
        pages.workspace,
        kind=kind if kind in EXCEPTION_KINDS else "",
        state=state if state in STATES else "",
        meter_id=meter_id,
        page=number,
    )
    return pages.render(
        request,
        "exceptions.html",
        "/exceptions",
        cases=cases,
        total=total,
        page=number,
        page_count=-(-total // PAGE_SIZE),
        kinds=list(pages.workspace.exceptions.counts()),
        states=STATES,
        state=state,
        kind=kind,
        meter=meter_id,
    )


def exception(pages: Pages, request: Request) -> Response:
    """One case with its readings and evidence."""
    workspace = pages.workspace
    case = workspace.exceptions.get(request.path_params["exception_id"])
    blocks = workspace.store.blocks(list(case.block_ids)[:_MOST_BLOCKS])
    wanted = [*case.evidence_ids, *(block.evidence_id for block in blocks.values() if block.evidence_id)]
    evidence = workspace.store.evidence(list(dict.fromkeys(wanted))[:_MOST_BLOCKS])
    known = {meter.meter_id for meter in workspace.registry.meters()}
    return pages.render(
        request,
        "exception.html",
        "/exceptions",
        case=case,
        channel=case.channel or IMPORT_INTERVAL,
        meter_known=case.meter_id in known,
        blocks=list(blocks.values()),
        evidence=[evidence_view(item) for item in evidence.values()],
    )


PATHS: dict[str, Page] = {"/exceptions": exceptions, "/exceptions/{exception_id}": exception}

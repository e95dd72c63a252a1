"""The console as an ASGI application: routes, refusals, and the headers that every answer carries.

The rule never to be broken: a page asks its own origin only, for everything, and runs no script but ours; the
content security policy says so to the browser. Pages only read; nothing here changes a workspace.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openami.console import area_pages, bill_pages, exception_pages, meter_pages, overview_page
from openami.console.rendering import Page, Pages
from openami.quantities.errors import (
    BillingError,
    OpenAmiError,
    QuantityError,
    RegistryError,
    ValidationError,
)
from openami.workspace.workspace import Workspace

HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",
}
"""What every answer carries, assets and refusals included."""

_STATIC = Path(__file__).parent / "static"
_UNKNOWN = (RegistryError, BillingError, ValidationError)
logger = logging.getLogger(__name__)


def create_app(workspace: Workspace) -> Starlette:
    """The console of a workspace, for any ASGI server."""
    pages = Pages(workspace)
    paths: dict[str, Page] = {
        **overview_page.PATHS,
        **meter_pages.PATHS,
        **exception_pages.PATHS,
        **bill_pages.PATHS,
        **area_pages.PATHS,
    }

    async def on_refusal(request: Request, error: Exception) -> Response:
        status, why = _refusal(error)
        if status >= 500:
            logger.error("%s failed: %s", request.url.path, error)
        return await asyncio.to_thread(pages.refuse, request, status, why)

    async def on_failure(request: Request, error: Exception) -> Response:
        logger.error("%s failed", request.url.path, exc_info=error)
        response = await asyncio.to_thread(pages.refuse, request, 500, "")
        # Starlette answers this one outside of its middleware.
        response.headers.update(HEADERS)
        return response

    application = Starlette(
        routes=[
            *(Route(path, _threaded(pages, page)) for path, page in paths.items()),
            Mount("/static", StaticFiles(directory=_STATIC), name="static"),
        ],
        exception_handlers={HTTPException: on_refusal, OpenAmiError: on_refusal, Exception: on_failure},
    )
    application.add_middleware(_SecurityHeaders)
    return application


def _threaded(pages: Pages, page: Page) -> Callable[[Request], object]:
    # Pages read files and databases: they run beside the event loop, not in it.
    async def endpoint(request: Request) -> Response:
        return await asyncio.to_thread(page, pages, request)

    return endpoint


def _refusal(error: Exception) -> tuple[int, str]:
    """Status and reason: what is not there is 404, what cannot be understood 400, the rest 500.

    The reason of the last may name files of the server: it is for its log alone.
    """
    if isinstance(error, HTTPException):
        return error.status_code, "" if error.status_code == 404 else error.detail
    if isinstance(error, QuantityError):
        return 400, error.message
    return (404, error.message) if isinstance(error, _UNKNOWN) else (500, "")


class _SecurityHeaders:
    """Adds `HEADERS` to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)

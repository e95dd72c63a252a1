"""Templates to pages: in the reader's language, every value escaped, every name defined.

The rule never to be broken: a number is written as it is stored, never rounded on the way unless the page
says to how many digits (percentages, kWh).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from urllib.parse import urlencode

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from openami import __version__
from openami.console.hex_dump import hex_rows
from openami.console.i18n import COOKIE, LANGUAGES, language_of, translator
from openami.console.memory import Memory
from openami.console.wording import speaker
from openami.quantities.civil_time import zone_of
from openami.quantities.money import money_text
from openami.registry.entities import BEGINNING
from openami.workspace.workspace import Workspace

NOTHING = "–"
"""Stands where there is no value."""

MENU = (
    ("/", "Overview"),
    ("/meters", "Meters"),
    ("/exceptions", "Exceptions"),
    ("/bills", "Bills"),
    ("/areas", "Areas"),
)


class Pages:
    """Renders the templates for one workspace.

    Invariant: a template sees no undefined name, and `memory` only holds answers that name the commit and
    the revision they were computed from.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.memory = Memory()
        self._environment = Environment(
            loader=PackageLoader("openami.console"),
            autoescape=select_autoescape(),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "number": number,
            "percent": percent,
            "money": money,
            "kwh": lambda watt_hours: number(Decimal(watt_hours) / 1000, 1),
        }

    @property
    def now(self) -> tuple[int, int]:
        """Commit of the store and revision of the registry that answers are computed from."""
        return self.workspace.store.seq, self.workspace.registry.revision

    def render(
        self, request: Request, template: str, section: str, *, status: int = 200, **values: object
    ) -> HTMLResponse:
        """A page in the language of the request; ``section`` is the entry of the menu it belongs to."""
        settings = self.workspace.settings
        language = language_of(request, settings.language)

        def switch_language(code: str) -> str:
            kept = [(key, value) for key, value in request.query_params.multi_items() if key != "lang"]
            return "?" + urlencode([*kept, ("lang", code)])

        def with_query(**changed: object) -> str:
            """The present address with some parameters changed."""
            kept = {key: value for key, value in request.query_params.items() if key != "lang"}
            return "?" + urlencode({**kept, **{key: str(value) for key, value in changed.items()}})

        def local(instant: datetime, zone: str | None = None) -> str:
            """Wall time; … for the beginning of all times."""
            if instant <= BEGINNING:
                return "…"
            return instant.astimezone(zone_of(zone or settings.zone)).strftime("%Y-%m-%d %H:%M:%S")

        page = self._environment.get_template(template).render(
            _=translator(language),
            say=speaker(language),
            language=language,
            languages=LANGUAGES,
            menu=MENU,
            switch_language=switch_language,
            with_query=with_query,
            local=local,
            hex_rows=hex_rows,
            settings=settings,
            section=section,
            seq=self.workspace.store.seq,
            version=__version__,
            **values,
        )
        response = HTMLResponse(page, status)
        # A trace is a part of a page to htmx and a page to everybody else.
        response.headers["Vary"] = "HX-Request, Cookie"
        if request.query_params.get("lang") in LANGUAGES:
            response.set_cookie(COOKIE, language, max_age=31_536_000, samesite="lax", httponly=True)
        return response

    def refuse(self, request: Request, status: int, why: str) -> HTMLResponse:
        """A page, or for htmx a part of one, that says why there is nothing else."""
        template = "refusal_part.html" if is_part(request) else "refusal.html"
        return self.render(request, template, "", status=status, code=status, why=why)


Page = Callable[[Pages, Request], Response]
"""Answers a request; runs in a thread."""


def is_part(request: Request) -> bool:
    """True when htmx asks for a part of a page."""
    return request.headers.get("HX-Request") == "true"


def json_response(document: object) -> Response:
    """A JSON answer; NumPy arrays and dates included, NaN as null."""
    return Response(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


def number(value: float | Decimal | None, digits: int | None = None) -> str:
    """A number with its thousands grouped: all its digits, or ``digits`` after the point."""
    if value is None:
        return NOTHING
    return f"{value:,}" if digits is None else f"{value:,.{digits}f}"


def percent(value: float | None) -> str:
    """A percentage to two digits; what is less than the whole is never written as 100 %."""
    if value is None:
        return NOTHING
    return "> 99.99 %" if 99.995 <= value < 100 else f"{value:.2f} %"


def money(amount: Fraction) -> str:
    """An exact amount, every digit of it, thousands grouped; ``n/d`` where no decimal says it."""
    text = money_text(amount)
    whole, point, part = text.partition(".")
    return f"{int(whole):,}{point}{part}" if point and whole not in ("-0", "0") else text

"""What a request asks for: days, periods, page numbers, channels. What cannot be understood is refused (400).

Phrases of refusals are in the catalogue (`openami.console.wording`).
"""

from __future__ import annotations

from datetime import date, timedelta

from starlette.exceptions import HTTPException
from starlette.requests import Request

from openami.console.rendering import Pages
from openami.quantities.obis import ObisCode

PAGE_SIZE = 100
MOST_DAYS = 732
_MOST_TEXT = 200
_FIRST_YEAR, _LAST_YEAR = 1980, 2200


def text_of(request: Request, name: str) -> str:
    """A text to look for, without blanks around it, cut after 200 characters."""
    return request.query_params.get(name, "").strip()[:_MOST_TEXT]


def day_of(request: Request, name: str) -> date | None:
    """A civil day; None where none is given.

    Raises
    ------
    HTTPException
        400: it is not a day between 1980 and 2200.
    """
    text = text_of(request, name)
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise HTTPException(400, f"{text!r} is not a day as 2026-10-25") from None
    if not _FIRST_YEAR <= day.year < _LAST_YEAR:
        raise HTTPException(400, f"{text!r} is not a day as 2026-10-25")
    return day


def page_number(request: Request) -> int:
    """Number of the page of a list, from 1.

    Raises
    ------
    HTTPException
        400: it is not such a number.
    """
    text = text_of(request, "page") or "1"
    if not (text.isascii() and text.isdecimal() and len(text) <= 7 and int(text) > 0):
        raise HTTPException(400, f"{text!r} is not a page number")
    return int(text)


def channel_of(request: Request, channels: tuple[ObisCode, ...]) -> ObisCode:
    """The channel asked for, or the first one; `QuantityError` when it is no OBIS code."""
    text = text_of(request, "channel")
    return ObisCode.parse(text) if text else channels[0]


def period_of(pages: Pages, request: Request, default_days: int) -> tuple[date, date]:
    """First and last day to show, both included: as asked, else the newest ``default_days`` with readings.

    Raises
    ------
    HTTPException
        400: a day cannot be understood, or the period is empty or longer than 732 days.
    """
    first, last = day_of(request, "from"), day_of(request, "to")
    if last is None:
        newest = newest_day(pages)
        last = newest if first is None else min(first + timedelta(days=default_days - 1), max(newest, first))
    if first is None:
        first = last - timedelta(days=default_days - 1)
        oldest = oldest_day(pages)
        first = min(max(first, oldest), last) if oldest else first
    if last < first:
        raise HTTPException(400, f"the period ends on {last}, before it begins on {first}")
    if (last - first).days >= MOST_DAYS:
        raise HTTPException(400, f"the period is longer than {MOST_DAYS} days")
    return first, last


def newest_day(pages: Pages) -> date:
    """Last day with readings; today where there are none."""
    store = pages.workspace.store
    days = [span[1] for kind in ("raw", "final") if (span := store.days_present(kind))]
    return max(days) if days else pages.workspace.clock.now().date()


def oldest_day(pages: Pages) -> date | None:
    """First day with readings; None where there are none."""
    store = pages.workspace.store
    days = [span[0] for kind in ("raw", "final") if (span := store.days_present(kind))]
    return min(days) if days else None

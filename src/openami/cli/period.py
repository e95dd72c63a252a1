"""Days, months and periods as people write them on a command line: the last day is included."""

from __future__ import annotations

from datetime import date, timedelta

from openami.quantities.errors import FormatError
from openami.workspace.workspace import Workspace


def civil_day(text: str, option: str) -> date:
    """A day written as 2026-10-01.

    Raises
    ------
    FormatError
        It is no day; ``option`` is named.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise FormatError(f"{text!r} is not a day", where=option, expected="a date as 2026-10-01") from None


def period_of(utility: Workspace, first: str | None, last: str | None) -> tuple[date, date]:
    """``[first, last)`` as asked (``last`` included there), else everything that has raw readings.

    Raises
    ------
    FormatError
        A day is none, the last lies before the first, or nothing was read and no days were given.
    """
    span = utility.store.days_present("raw")
    if first and last:
        start, end = civil_day(first, "--from"), civil_day(last, "--to")
    elif span is None:
        raise FormatError(
            "nothing has been read yet", expected="`ami import` or `ami collect` first, or --from and --to"
        )
    else:
        start = civil_day(first, "--from") if first else span[0]
        end = civil_day(last, "--to") if last else span[1]
    if end < start:
        raise FormatError(f"the last day, {end}, lies before the first one, {start}")
    return start, end + timedelta(days=1)


def billing_period(first: str | None, last: str | None, month: str | None) -> tuple[date, date]:
    """First day and the day after the last one, of a month or of two days.

    Raises
    ------
    FormatError
        Neither or both are given, or they are no days.
    """
    if month is not None:
        if first or last:
            raise FormatError("--month stands for --from and --to", expected="one or the other")
        start = _month(month)
        return start, (start + timedelta(days=31)).replace(day=1)
    if first is None or last is None:
        raise FormatError("no billing period", expected="--month 2026-10, or --from and --to")
    start, end = civil_day(first, "--from"), civil_day(last, "--to") + timedelta(days=1)
    if end <= start:
        raise FormatError(
            f"--to {last} lies before --from {first}", expected="a last day on or after the first"
        )
    return start, end


def _month(text: str) -> date:
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError:
        raise FormatError(
            f"{text!r} is not a month", where="--month", expected="a month as 2026-10"
        ) from None

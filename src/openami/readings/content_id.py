"""The content id: what names a thing that travels, so that the same content twice is known as one.

A hash over what the thing says. Never to be broken: the same content gives the same id on every machine, so
instants are written in UTC and text in UTF-8.
"""

from __future__ import annotations

from datetime import UTC, datetime

from openami.quantities.errors import QuantityError

INT64 = range(-(2**63), 2**63)
"""What a stored count may be."""


def content_bytes(*parts: object) -> bytes:
    """The parts as text, joined, in UTF-8: what an id is the hash of.

    Raises
    ------
    QuantityError
        A text has no UTF-8 form (half of a surrogate pair).
    """
    text = "|".join(map(str, parts))
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise QuantityError(f"{text!r} has no UTF-8 form", expected="text of whole characters") from None


def utc_text(instant: datetime, what: str) -> str:
    """An instant in UTC, as text.

    Raises
    ------
    QuantityError
        The instant is naive, or is in no year of UTC.
    """
    if instant.tzinfo is None:
        raise QuantityError(f"naive {what} {instant}", expected="timezone-aware")
    try:
        return instant.astimezone(UTC).isoformat()
    except OverflowError:
        raise QuantityError(f"{what} {instant} is in no year of UTC", expected="years 1 .. 9999") from None

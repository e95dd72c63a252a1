"""The two languages of the pages. A phrase is its English text; the catalogue gives the Chinese one.

Language is chosen by ``?lang=``, then by cookie, then by the workspace. Numbers and dates are written the
same way in both: grouping by comma, ISO dates, in the usage point's zone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import resources

import orjson
from starlette.requests import Request

LANGUAGES = {"en": "English", "zh": "中文"}
COOKIE = "ami_language"

Translate = Callable[..., str]


@cache
def chinese() -> dict[str, str]:
    """Chinese text by English phrase."""
    catalogue: dict[str, str] = orjson.loads(
        resources.files(__package__).joinpath("locales/zh.json").read_bytes()
    )
    return catalogue


def translator(language: str) -> Translate:
    """The function that turns a phrase into the language; named fields are filled in.

    A phrase missing in the catalogue stays English, and a test fails. Code words (``clock_drift``) are
    phrases too; in English they are written as words.
    """

    def translate(phrase: str, **fields: object) -> str:
        if language == "zh":
            text = chinese().get(phrase, phrase)
        else:
            text = phrase.replace("_", " ") if phrase.isidentifier() else phrase
        return text.format(**fields) if fields else text

    return translate


def language_of(request: Request, default: str) -> str:
    """Language of a request."""
    for choice in (request.query_params.get("lang"), request.cookies.get(COOKIE), default):
        if choice in LANGUAGES:
            return choice
    return "en"

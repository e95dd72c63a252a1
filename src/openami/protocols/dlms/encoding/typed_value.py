"""Values for SET and ACTION from what people and programs have: text, or Python values, as a COSEM type.

Rule of this file: a value that does not fit its type exactly is refused, never rounded or cut.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Final, TypeVar

from openami.protocols.dlms.encoding.axdr import NULL, BitString, Data, Tag, decode, encode
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.quantities.errors import LocalProtocolError, OpenAmiError

T = TypeVar("T")

INTEGERS: Final = frozenset(
    {
        Tag.DOUBLE_LONG, Tag.DOUBLE_LONG_UNSIGNED, Tag.INTEGER, Tag.LONG, Tag.UNSIGNED, Tag.LONG_UNSIGNED,
        Tag.LONG64, Tag.LONG64_UNSIGNED, Tag.ENUM, Tag.BCD,
    }
)  # fmt: skip
_FLOATS: Final = frozenset({Tag.FLOAT32, Tag.FLOAT64})
_OCTETS: Final = frozenset({Tag.OCTET_STRING, Tag.DATE_TIME, Tag.DATE, Tag.TIME})
_TEXTS: Final = frozenset({Tag.VISIBLE_STRING, Tag.UTF8_STRING})


def tag_named(name: str) -> Tag:
    """Type of a name: ``long-unsigned``, ``octet-string``; raises `LocalProtocolError` where none has it."""
    try:
        return Tag[name.strip().upper().replace("-", "_")]
    except KeyError:
        known = ", ".join(tag.name.lower().replace("_", "-") for tag in Tag)
        raise LocalProtocolError(f"no data type is called {name!r}", expected=known) from None


def data_of_text(text: str, tag: Tag, zone: tzinfo = UTC) -> Data:
    """A value written by a person.

    Numbers are decimal or ``0x...``; octet-strings are text, ``hex:...`` or ``time:`` and an ISO 8601
    date-time (the local time of ``zone``, twelve octets); bit-strings are zeros and ones; a compound value is
    its own A-XDR encoding, ``axdr:...``.

    >>> data_of_text("hex:0102", Tag.OCTET_STRING).value
    b'\\x01\\x02'

    Raises
    ------
    LocalProtocolError
        The text is no value of the type.
    """
    if text.startswith("axdr:"):
        return _checked(lambda: decode(bytes.fromhex(text[5:])), text, "hexadecimal digits of one value")
    if tag in INTEGERS:
        return _encodable(Data(tag, _checked(lambda: int(text, 0), text, "a whole number")))
    if tag in _FLOATS:
        return Data(tag, _checked(lambda: float(text), text, "a number"))
    if tag is Tag.BOOLEAN and text.lower() in ("true", "false", "1", "0"):
        return Data(tag, text.lower() in ("true", "1"))
    if tag is Tag.NULL_DATA and text in ("", "null"):
        return NULL
    if tag in _TEXTS:
        return _encodable(Data(tag, text))
    if tag in _OCTETS:
        return _encodable(Data(tag, _octets(text, zone)))
    if tag is Tag.BIT_STRING and text and set(text) <= {"0", "1"}:
        whole = text + "0" * (-len(text) % 8)
        return Data(tag, BitString(len(text), int(whole, 2).to_bytes(len(whole) // 8, "big")))
    raise LocalProtocolError(f"{text!r} as {tag.name.lower()}", expected="a value of that type, or axdr:...")


def data_like(value: int | float | bool | str | bytes | datetime, like: Data, zone: tzinfo = UTC) -> Data:
    """A Python value in the type of another one; raises `LocalProtocolError` where it does not fit."""
    tag = like.tag
    if isinstance(value, datetime) and tag in (Tag.OCTET_STRING, Tag.DATE_TIME):
        return Data(tag, CosemDateTime.from_instant(value, zone).to_bytes())
    if isinstance(value, bool):
        fits = tag is Tag.BOOLEAN
    elif isinstance(value, int):
        fits = tag in INTEGERS or tag in _FLOATS
    elif isinstance(value, float):
        fits = tag in _FLOATS
    elif isinstance(value, str):
        if tag is Tag.OCTET_STRING:
            return Data(tag, value.encode("utf-8"))
        fits = tag in _TEXTS
    else:
        fits = isinstance(value, bytes) and tag in _OCTETS
    if not fits or isinstance(value, datetime):
        raise LocalProtocolError(f"{type(value).__name__} as {tag.name.lower()}", expected="a `Data`")
    return _encodable(Data(tag, value))


def _octets(text: str, zone: tzinfo) -> bytes:
    if text.startswith("hex:"):
        return _checked(lambda: bytes.fromhex(text[4:]), text, "pairs of 0-9 a-f behind hex:")
    if text.startswith("time:"):
        instant = _checked(lambda: datetime.fromisoformat(text[5:]), text, "time:2026-10-25T02:30:00+02:00")
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=zone)
        return CosemDateTime.from_instant(instant, zone).to_bytes()
    return text.encode("utf-8")


def _checked(make: Callable[[], T], text: str, expected: str) -> T:
    try:
        return make()
    except OpenAmiError:
        raise
    except (ValueError, OverflowError):
        raise LocalProtocolError(f"{text!r} is no value", expected=expected) from None


def _encodable(data: Data) -> Data:
    encode(data)
    return data

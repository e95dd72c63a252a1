"""Octets out of the texts that people have them in: hex with or without spaces, dumps, logs of tools.

    7EA0 0802 2321 93BD 647E            0x7e, 0xa0, 0x08
    00000000: 7ea0 0802  ~...           12:00:01.250 TX: 7E A0 08 02
    # a comment                         2026-10-25T12:00:00Z RX <- 00 01 00 10
    { 0x7e, 0xa0, 0x8 };  // SNRM       7e,a0,8,20

Rule of this file: of each line the longest run of hex pairs counts; a line that has none is passed over, and
a text that has none at all is an error. Digits that belong to the run and make no pair are an error, too:
nothing is left out of the middle of a dump.
"""

from __future__ import annotations

import re
from typing import Final

from openami.quantities.errors import FormatError

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)?")
_TIME: Final = re.compile(r"(?<![0-9A-Fa-f:])\d\d:\d\d:\d\d(?:[.,]\d+)?(?![0-9A-Fa-f:])")
_OFFSET: Final = re.compile(r"^\s*[0-9A-Fa-f]{4,8}(?::\s+|\s\s+)(?=[0-9A-Fa-f]{2})")
_GUTTER: Final = re.compile(r"\|.*\|\s*$")
_PREFIX: Final = re.compile(r"(?:\\x|0[xX])(?=[0-9A-Fa-f]{2})")
_RUN: Final = re.compile(r"(?<![0-9A-Za-z])[0-9A-Fa-f]{2}(?:[\s,;:\-]*[0-9A-Fa-f]{2})*(?![0-9A-Za-z])")
_ITEM: Final = r"(?:0[xX])?[0-9A-Fa-f]{1,3}(?![0-9A-Za-z])"
_LIST: Final = re.compile(rf"(?<![0-9A-Za-z]){_ITEM}(?:\s*[,;]\s*{_ITEM})+")
_REMARK: Final = re.compile(r"//.*|/\*.*?(?:\*/|$)")
_HALF: Final = re.compile(r"^[0-9A-Fa-f]\s+(?=[0-9A-Fa-f]{2}(?:\s|$))|[0-9A-Fa-f]{2}\s+[0-9A-Fa-f]\s*$")
_PAIRS: Final = re.compile(r"[0-9A-Fa-f]+")
_SPLIT: Final = re.compile(r"[\s,;:\-]+")


def octets_of_text(text: str, where: str = "hex") -> bytes:
    """Octets of a text.

    >>> octets_of_text("12:00:01 RX: 7E A0 07").hex()
    '7ea007'

    Raises
    ------
    FormatError
        There are none, or one has one digit only.
    """
    found: list[bytes] = []
    for number, line in enumerate(text.splitlines(), 1):
        octets = _line(line, f"{where}, line {number}")
        found.append(octets)
    if not any(found):
        raise FormatError("no hexadecimal digits", where=where, expected="pairs of 0-9 a-f")
    return b"".join(found)


def _line(line: str, where: str) -> bytes:
    if _PAIRS.fullmatch(line) and not len(line) % 2:
        return bytes.fromhex(line)  # megabytes may stand in one line
    stripped = _REMARK.sub(" ", _GUTTER.sub("", line.partition("#")[0]))
    stripped = _TIME.sub(" . ", _DATE.sub(" . ", stripped))
    begin = _OFFSET.match(stripped)
    if begin is not None:
        # What stands two spaces behind the pairs is their text.
        stripped = re.split(r"(?<=[0-9A-Fa-f])\s{2,}(?=\S*[^0-9A-Fa-f\s])", stripped[begin.end() :])[0]
    for listed in _LIST.findall(stripped):
        items = [item.strip().lower().removeprefix("0x") for item in re.split("[,;]", listed)]
        if any(len(item) > 2 for item in items):
            raise FormatError("numbers of three digits", where=where, expected="pairs of 0-9 a-f")
        if any(len(item) < 2 for item in items):
            stripped = stripped.replace(listed, ", ".join(item.rjust(2, "0") for item in items))
    stripped = _PREFIX.sub("", stripped)
    if _HALF.search(stripped):
        raise FormatError("an octet of one digit", where=where, expected="pairs of 0-9 a-f")
    runs = [_SPLIT.sub("", run) for run in _RUN.findall(stripped)]
    if runs:
        return bytes.fromhex(max(runs, key=len))
    digits = stripped.strip()
    if digits and re.fullmatch(r"[0-9A-Fa-f\s]+", digits):
        raise FormatError(f"{len(_SPLIT.sub('', digits))} hexadecimal digits", where=where, expected="pairs")
    return b""

"""Telegrams of the customer port P1 (DSMR, eSMR and their relatives; IEC 62056-21 mode D).

    /ISk5\\2MT382-1000 CR LF CR LF
    1-0:1.8.1(123456.789*kWh) CR LF           an object and its values
    0-1:24.2.1(170102161005W)(00000.107*m3)   the first may be the time of the second
    !6EEE CR LF                               CRC-16/ARC from / to !, none before DSMR 4

Rules of this file. A telegram whose check is wrong is no telegram; one without a check says so. Values stay
the text that the meter wrote: units and decimals differ from maker to maker.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from openami.quantities.errors import QuantityError, RemoteProtocolError
from openami.quantities.obis import ObisCode

MAX_TELEGRAM: Final = 16_384
"""Octets of a telegram; the longest seen has 1,423."""

_HEAD = re.compile(rb"/([A-Za-z]{3})([^\r\n]{1,40})\r\n\r\n")
_LINE = re.compile(r"([0-9]{1,3}-[0-9]{1,3}:[0-9.*&]{3,20})?((?:\([^()]*\))+)")
_VALUE = re.compile(r"\(([^()]*)\)")
_CHECK = re.compile(rb"!([0-9A-Fa-f]{0,4})\r\n")


def _table() -> list[int]:
    table = []
    for octet in range(256):
        crc = octet
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
        table.append(crc)
    return table


_CRC: Final = _table()


def crc16_arc(octets: bytes) -> int:
    """CRC-16/ARC (polynomial 0x8005 reflected, start 0).

    >>> hex(crc16_arc(b"123456789"))
    '0xbb3d'
    """
    crc = 0
    for octet in octets:
        crc = crc >> 8 ^ _CRC[(crc ^ octet) & 0xFF]
    return crc


@dataclass(frozen=True, slots=True)
class P1Object:
    """One line: an object and the texts in its parentheses; the code is None where the line has none."""

    code: ObisCode | None
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class P1Telegram:
    """What a meter says at its customer port.

    Parameters
    ----------
    manufacturer:
        Three letters.
    identification:
        The rest of the first line.
    objects:
        The lines, in order.
    checked:
        False where the telegram came without a CRC.
    """

    manufacturer: str
    identification: str
    objects: tuple[P1Object, ...]
    checked: bool

    def find(self, code: ObisCode) -> tuple[str, ...]:
        """Values of an object; none where the telegram does not have it."""
        return next((item.values for item in self.objects if item.code == code), ())


class P1Decoder:
    """Cuts octets of the port into telegrams.

    Invariant: at most one telegram is held, and of that at most `MAX_TELEGRAM` octets.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[P1Telegram | RemoteProtocolError]:
        """Telegrams that ``data`` completes, an error in place of each that is not right."""
        held = self._held + data
        events: list[P1Telegram | RemoteProtocolError] = []
        begin = held.find(b"/")
        searched = max(0, len(self._held) - 6)  # nothing ends before that: it was looked through already
        while begin >= 0 and (check := _CHECK.search(held, max(begin, searched))) is not None:
            heads = [head.start() for head in _HEAD.finditer(held, begin, check.start())]
            last = heads[-1] if heads else begin
            if last > begin:
                events.append(RemoteProtocolError("a telegram was cut off by the next"))
            events.append(_telegram(held[last : check.end()], check.group(1)))
            begin = held.find(b"/", check.end())
        self._held = held[begin:] if begin >= 0 else b""
        if len(self._held) > MAX_TELEGRAM:
            self._held = b""
            events.append(RemoteProtocolError("no end of a telegram", expected=f"{MAX_TELEGRAM} octets"))
        return events

    def end(self) -> RemoteProtocolError | None:
        """The stream ended: an error where it ended inside a telegram."""
        held, self._held = self._held, b""
        return RemoteProtocolError("the stream ended inside a telegram") if held else None


def _telegram(octets: bytes, check: bytes) -> P1Telegram | RemoteProtocolError:
    head = _HEAD.match(octets)
    if head is None:
        return RemoteProtocolError("no identification of a P1 telegram")
    end = octets.rindex(b"!")
    if check and int(check, 16) != crc16_arc(octets[: end + 1]):
        return RemoteProtocolError("wrong CRC of a P1 telegram")
    try:
        text = octets[head.end() : end].decode("ascii")
        objects = tuple(_objects(text))
    except UnicodeDecodeError:
        return RemoteProtocolError("a P1 telegram with octets that are no text")
    except (RemoteProtocolError, QuantityError) as wrong:
        return RemoteProtocolError(f"a line of a P1 telegram: {wrong}")
    manufacturer, identification = (part.decode("latin-1") for part in head.groups())
    return P1Telegram(manufacturer, identification, objects, bool(check))


def _objects(text: str) -> list[P1Object]:
    objects: list[P1Object] = []
    for line in text.split("\r\n"):
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise RemoteProtocolError(f"{line[:40]!r}", expected="an object and its values")
        values = tuple(_VALUE.findall(match.group(2)))
        if match.group(1) is not None:
            objects.append(P1Object(_code(match.group(1)), values))
        elif objects:  # a line of values alone goes on with the object before it
            objects[-1] = P1Object(objects[-1].code, objects[-1].values + values)
        else:
            objects.append(P1Object(None, values))
    return objects


def _code(text: str) -> ObisCode | None:
    """The code; None where a maker writes one that is none (``0-0:96.1.255*255`` is)."""
    try:
        return ObisCode.parse(text)
    except QuantityError:
        return None

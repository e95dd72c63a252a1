"""The vocabulary of ESPI (NAESB REQ.21, Green Button): units, directions, qualities, zones, currencies.

Source: the published schema espiDerived.xsd and sample files; code lists recalled where the samples are
silent. Reader and writer share these tables, so what one writes the other understands.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

import numpy as np

from openami.quantities.civil_time import zone_of
from openami.quantities.obis import ObisCode
from openami.quantities.status import SUSPECT, VALID, Quality, Status, is_missing
from openami.quantities.units import Unit

UOM: dict[int, Unit] = {
    71: Unit.VA_HOUR,
    72: Unit.WATT_HOUR,
    73: Unit.VAR_HOUR,
    42: Unit.CUBIC_METRE,
}
"""Units of measure that have a channel of ours."""

UOM_NAMES = {
    38: "W",
    61: "VA",
    63: "var",
    29: "V",
    5: "A",
    119: "cubic feet",
    128: "US gallons",
    132: "Btu",
    169: "therms",
}
"""Others, for messages."""

FORWARD, REVERSE, NET = 1, 19, 4
"""Flow directions."""

CHANNELS: dict[tuple[Unit, int], ObisCode] = {
    (Unit.WATT_HOUR, FORWARD): ObisCode(1, 0, 1, 29, 0),
    (Unit.WATT_HOUR, REVERSE): ObisCode(1, 0, 2, 29, 0),
    (Unit.WATT_HOUR, NET): ObisCode(1, 0, 16, 29, 0),
    (Unit.VAR_HOUR, FORWARD): ObisCode(1, 0, 3, 29, 0),
    (Unit.VAR_HOUR, REVERSE): ObisCode(1, 0, 4, 29, 0),
    (Unit.VA_HOUR, FORWARD): ObisCode(1, 0, 9, 29, 0),
    (Unit.VA_HOUR, REVERSE): ObisCode(1, 0, 10, 29, 0),
    (Unit.CUBIC_METRE, FORWARD): ObisCode(7, 0, 3, 29, 0),
}
"""Interval channel of a unit and a flow direction."""

DELTA = frozenset({"", "0", "4", "9"})
"""Accumulation behaviours whose values are quantities of their period (4 = delta data)."""
CUMULATIVE = frozenset({"1", "2", "3"})
"""Accumulation behaviours whose values are states of a register."""

STATUS_OF_QUALITY: dict[int, int] = {
    0: VALID,
    7: Status(Quality.SUBSTITUTED, 0).id,
    8: Status(Quality.ESTIMATED, 14).id,
    9: Status(Quality.ESTIMATED, 17).id,
    10: SUSPECT,
    11: Status(Quality.SUBSTITUTED, 12).id,
    12: Status(Quality.ESTIMATED, 20).id,
    13: SUSPECT,
    14: VALID,
    15: Status(Quality.SUBSTITUTED, 12).id,
    16: Status(Quality.ESTIMATED, 0).id,
    17: VALID,
    18: VALID,
    19: VALID,
}
"""Status of a quality of reading: 7 manually edited, 8 estimated by reference day, 9 by linear
interpolation, 10 questionable, 11 derived, 12 projected, 13 mixed, 14 raw, 15 normalised for weather,
16 other, 17 validated, 18 verified, 19 revenue quality."""

_EXACT = {status: code for code, status in reversed(STATUS_OF_QUALITY.items())}

CURRENCIES = {
    36: "AUD", 124: "CAD", 156: "CNY", 392: "JPY", 554: "NZD", 756: "CHF", 826: "GBP", 840: "USD",
    978: "EUR",
}  # fmt: skip
"""ISO 4217 codes by number."""

_SERIES = "urn:openami:series:"

_US = ("360E2000", "B40E2000")
ZONES: dict[tuple[int, str, str], str] = {
    (-14_400, *_US): "America/Halifax",
    (-18_000, *_US): "America/New_York",
    (-21_600, *_US): "America/Chicago",
    (-25_200, *_US): "America/Denver",
    (-28_800, *_US): "America/Los_Angeles",
    (-32_400, *_US): "America/Anchorage",
    (0, "3E0E1000", "AE0E2000"): "Europe/London",
    (3_600, "3E0E2000", "AE0E3000"): "Europe/Berlin",
    (7_200, "3E0E3000", "AE0E4000"): "Europe/Helsinki",
    (36_000, "A40E2000", "440E3000"): "Australia/Sydney",
}
"""Zones by standard offset and the rules by which summer time starts and ends.

A rule packs month (4 bits), which week (3: 2 first, 3 second, 7 last), day of month (5), day of week (3:
7 Sunday), hour (5) and second (12)."""


@dataclass(frozen=True, slots=True)
class TimeParameters:
    """LocalTimeParameters: offset of standard time, shift of summer time, its rules."""

    tz_offset: int
    dst_offset: int
    dst_start: str
    dst_end: str

    @property
    def zone(self) -> str | None:
        """IANA zone, or None when the rules are of no zone we know."""
        no_rule = all(
            rule.strip("0") == "" or rule.upper() == "FFFFFFFF" for rule in (self.dst_start, self.dst_end)
        )
        if self.dst_offset == 0 or no_rule:
            hours, rest = divmod(self.tz_offset, 3600)
            if rest or not -14 <= -hours <= 12:
                return None
            return "Etc/UTC" if hours == 0 else f"Etc/GMT{-hours:+d}"
        return ZONES.get((self.tz_offset, self.dst_start.upper(), self.dst_end.upper()))


def time_parameters(zone: str, year: int) -> TimeParameters | None:
    """LocalTimeParameters of a zone, or None when it changes clocks by rules that are not in `ZONES`."""
    for (offset, start, end), name in ZONES.items():
        if name == zone:
            return TimeParameters(offset, 3600, start, end)
    offsets = {_offset(zone, year, month) for month in range(1, 13)}
    if len(offsets) > 1:
        return None
    return TimeParameters(offsets.pop(), 0, "00000000", "00000000")


def standard_offset(zone: str, year: int) -> int:
    """Offset of standard time in seconds: the smaller one of the year."""
    return min(_offset(zone, year, month) for month in range(1, 13))


def quality_of_status(status_id: int) -> int | None:
    """Quality of reading for a status; None for measured and valid, and for missing.

    Statuses finer than ESPI become the nearest: estimates by a like day 8, by a line 9, others 16;
    substitutes 7; suspect 10.
    """
    if status_id == VALID or is_missing(np.array([status_id], np.int32))[0]:
        return None
    if status_id in _EXACT:
        return _EXACT[status_id]
    status = Status.from_id(status_id)
    if status.quality is Quality.ACTUAL:
        return None
    if status.quality is Quality.SUSPECT:
        return 10
    if status.quality is Quality.ESTIMATED:
        return {14: 8, 15: 8, 22: 8, 17: 9, 54: 9, 69: 9, 20: 12}.get(status.method, 16)
    return 11 if status.method == 12 else 7


def urn_of_series(series_id: str) -> str:
    """Atom id of a UsagePoint: ``urn:uuid:`` for a UUID, else our own name space, reversible."""
    try:
        uuid.UUID(series_id)
        return f"urn:uuid:{series_id}"
    except ValueError:
        return _SERIES + quote(series_id, safe="")


def series_of_urn(text: str) -> str:
    """Series of an Atom id; what `urn_of_series` wrote comes back."""
    if text.startswith(_SERIES):
        return unquote(text.removeprefix(_SERIES))
    return text[9:] if text[:9].lower() == "urn:uuid:" else text


def _offset(zone: str, year: int, month: int) -> int:
    shift = datetime(year, month, 15, tzinfo=UTC).astimezone(zone_of(zone)).utcoffset() or timedelta()
    return int(shift.total_seconds())

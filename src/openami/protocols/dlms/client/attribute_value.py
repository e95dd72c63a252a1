"""A value that was read: scaled and raw, with unit, quality and time, as the interface class defines them.

Which attributes of an object tell how to read another one (IEC 62056-6-2 classes 3, 4, 5, 8; recalled):

    class                value    scaler_unit   status   capture time
    3 register           2        3
    4 extended register  2        3             4        5
    5 demand register    2, 3     4             5        6 (of last_average_value)

Rule of this file: a number whose scaler is not known is never shown as if it were scaled (`Quality`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from decimal import Decimal
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.client.vendor_quirks import STANDARD, VendorQuirks
from openami.protocols.dlms.encoding.axdr import BitString, Plain
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.encoding.scaler_unit import ScalerUnit
from openami.quantities.errors import RemoteProtocolError

DATA, REGISTER, EXTENDED_REGISTER, DEMAND_REGISTER, PROFILE, CLOCK_CLASS = 1, 3, 4, 5, 7, 8


class Quality(Enum):
    """What the value is worth."""

    MEASURED = "measured"
    UNSCALED = "unscaled"
    ABSENT = "absent"


class Companions(NamedTuple):
    """Attributes that tell how to read a value; 0 where the class has none."""

    scaler: int = 0
    status: int = 0
    time: int = 0


_COMPANIONS: Final = {
    (REGISTER, 2): Companions(3),
    (EXTENDED_REGISTER, 2): Companions(3, 4, 5),
    (DEMAND_REGISTER, 2): Companions(4),
    (DEMAND_REGISTER, 3): Companions(4, 5, 6),
}
_DATE_TIMES: Final = frozenset(
    {(CLOCK_CLASS, 2), (EXTENDED_REGISTER, 5), (DEMAND_REGISTER, 6), (DEMAND_REGISTER, 7)}
)

Value: TypeAlias = Decimal | datetime | CosemDateTime | Plain
"""A scaled number, an instant, a date-time that names none, or the plain value."""


@dataclass(frozen=True, slots=True)
class AttributeValue:
    """One value as the meter gave it, and what it means.

    Parameters
    ----------
    attribute:
        Class, logical name and attribute.
    raw:
        The plain value on the wire; of a register the integer count.
    value:
        The count in its unit; a UTC instant for the times of clock and registers; else the plain value.
    scaler, unit:
        Power of ten of a count, and symbol of the unit; 0 and empty where there are none.
    quality:
        Whether a number was sent and scaled.
    status:
        Status of an extended or demand register.
    captured_at:
        Instant at which such a register took its value, UTC.
    """

    attribute: Attribute
    raw: Plain
    value: Value
    scaler: int = 0
    unit: str = ""
    quality: Quality = Quality.MEASURED
    status: Plain = None
    captured_at: datetime | CosemDateTime | None = None

    @property
    def text(self) -> str:
        """The value for people: octets as text where they are printable ASCII, with the unit."""
        shown = plain_text(self.value)
        return f"{shown} {self.unit}" if self.unit else shown


def companions(attribute: Attribute) -> Companions:
    """Which other attributes of the object tell how to read this one."""
    return _COMPANIONS.get((attribute.class_id, attribute.index), Companions())


def attribute_value(
    attribute: Attribute,
    raw: Plain,
    *,
    scaler: ScalerUnit | None = None,
    status: Plain = None,
    captured_at: Plain = None,
    zone: tzinfo | None = None,
    quirks: VendorQuirks = STANDARD,
) -> AttributeValue:
    """Read a value together with its companions.

    Parameters
    ----------
    attribute, raw:
        What was read, and the plain value.
    scaler, status, captured_at:
        The companions, where the object has them and gave them.
    zone:
        Where the meter stands: for times without deviation.
    quirks:
        What its manufacturer does otherwise.
    """
    instant = None if captured_at is None else instant_of(captured_at, zone, quirks)
    number = isinstance(raw, int | float) and not isinstance(raw, bool)
    if number and companions(attribute).scaler:
        scaler = scaler or quirks.scaler_unit(attribute.logical_name)
        if scaler is None:
            return AttributeValue(
                attribute, raw, raw, quality=Quality.UNSCALED, status=status, captured_at=instant
            )
        assert isinstance(raw, int | float)
        return AttributeValue(
            attribute,
            raw,
            scaler.scaled(raw),
            scaler.scaler,
            scaler.symbol,
            Quality.MEASURED,
            status,
            instant,
        )
    value: Value = raw
    if is_date_time(attribute.class_id, attribute.index) and isinstance(raw, bytes) and len(raw) == 12:
        value = instant_of(raw, zone, quirks)
    quality = Quality.ABSENT if raw is None else Quality.MEASURED
    return AttributeValue(attribute, raw, value, quality=quality, status=status, captured_at=instant)


def is_date_time(class_id: int, index: int) -> bool:
    """True where the attribute holds a date-time."""
    return (class_id, index) in _DATE_TIMES


def instant_of(
    value: Plain, zone: tzinfo | None, quirks: VendorQuirks = STANDARD
) -> datetime | CosemDateTime:
    """UTC instant of twelve octets; the date-time itself where it names none.

    Raises
    ------
    RemoteProtocolError
        There are no twelve octets.
    """
    if not isinstance(value, bytes):
        raise RemoteProtocolError(f"date-time {value!r}", expected="twelve octets")
    stamp = quirks.date_time(CosemDateTime.from_bytes(value))
    try:
        return stamp.instant(zone)
    except RemoteProtocolError:
        return stamp


def plain_text(value: Value) -> str:
    """A value for people."""
    match value:
        case None:
            return "-"
        case Decimal():
            return f"{value:f}"
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S UTC")
        case CosemDateTime():
            return date_time_text(value)
        case bytes():
            printable = value.isascii() and value.decode("ascii", "replace").isprintable() and value
            return value.decode("ascii") if printable else value.hex(" ")
        case BitString():
            return "".join(f"{octet:08b}" for octet in value.octets)[: value.length]
        case list():
            return "[" + ", ".join(map(plain_text, value)) + "]"
        case tuple():
            return "(" + ", ".join(map(plain_text, value)) + ")"
    return str(value)


_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def date_time_text(stamp: CosemDateTime) -> str:
    """A date-time in words: ``*`` where a part is not specified."""

    def part(number: int, width: int, none: int = 0xFF) -> str:
        return "*" * width if number == none else f"{number:0{width}d}"

    month = {0xFD: "end of daylight saving", 0xFE: "begin of daylight saving"}.get(stamp.month)
    day = {0xFD: "second-last day", 0xFE: "last day"}.get(stamp.day)
    words = [
        f"{part(stamp.year, 4, 0xFFFF)}-{month or part(stamp.month, 2)}-{day or part(stamp.day, 2)}",
        f"{part(stamp.hour, 2)}:{part(stamp.minute, 2)}:{part(stamp.second, 2)}",
    ]
    if stamp.hundredths not in (0, 0xFF):
        words[1] += f".{stamp.hundredths:02d}"
    if 1 <= stamp.weekday <= 7:
        words.append(_WEEKDAYS[stamp.weekday - 1])
    if stamp.deviation == -0x8000:
        words.append("deviation not specified")
    else:
        words.append(f"UTC{-stamp.deviation // 60:+03d}:{abs(stamp.deviation) % 60:02d}")
    flags = {
        1: "invalid",
        2: "doubtful",
        4: "other clock base",
        8: "invalid clock status",
        128: "daylight saving",
    }
    if stamp.status != 0xFF:
        words += [word for bit, word in flags.items() if stamp.status & bit]
    return " ".join(words)

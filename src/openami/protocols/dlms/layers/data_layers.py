"""COSEM data in words: types, values, logical names, date-times, scalers and units (IEC 62056-6-2 4.1.5).

What an octet-string means is not written in it; six octets that end in FF are shown as a logical name, twelve
that can be one as a date-time, printable ones as text. Rule of this file: what is shown is a reading aid and
never changes the value that is shown with it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from openami.protocols.dlms.client.attribute_value import date_time_text, plain_text
from openami.protocols.dlms.encoding.axdr import BitString, Plain, Tag, plain
from openami.protocols.dlms.encoding.axdr_scalars import scalar_at
from openami.protocols.dlms.encoding.compact_array import compact_array_at
from openami.protocols.dlms.encoding.data import Data, TypeDescription
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.encoding.limits import MAX_DEPTH
from openami.protocols.dlms.encoding.scaler_unit import ScalerUnit
from openami.protocols.dlms.encoding.units import cosem_units
from openami.protocols.dlms.layers.layer_tree import Cursor, Node, in_hex, in_text
from openami.quantities.errors import QuantityError, RemoteProtocolError
from openami.quantities.obis import ObisCode, lookup

_NAMES: Final = {tag: tag.name.lower().replace("_", "-") for tag in Tag}
_NUMBERS: Final = (int, float)


def obis_text(octets: bytes) -> str:
    """A logical name with the English name of the catalogue, where it has one."""
    code = ObisCode.from_bytes(octets)
    try:
        return f"{code} {lookup(code).name_en}"
    except QuantityError:
        return str(code)


def looks_like_date_time(octets: bytes) -> bool:
    """True for twelve octets whose every part is one that a date-time can have."""
    if len(octets) != 12:
        return False
    stamp = CosemDateTime.from_bytes(octets)
    return (
        (stamp.year == 0xFFFF or 1980 <= stamp.year <= 2200)
        and (1 <= stamp.month <= 12 or stamp.month >= 0xFD)
        and (1 <= stamp.day <= 31 or stamp.day >= 0xFD)
        and (stamp.weekday <= 7 or stamp.weekday == 0xFF)
        and (stamp.hour <= 24 or stamp.hour == 0xFF)
        and (stamp.minute <= 59 or stamp.minute == 0xFF)
        and (stamp.second <= 59 or stamp.second == 0xFF)
        and (abs(stamp.deviation) <= 840 or stamp.deviation == -0x8000)
    )


def octets_text(octets: bytes) -> str:
    """Octets in words."""
    if len(octets) == 6 and octets[5] == 0xFF:
        return f"{in_hex(octets)}  {obis_text(octets)}"
    if looks_like_date_time(octets):
        return f"{in_hex(octets)}  {date_time_text(CosemDateTime.from_bytes(octets))}"
    shown = in_text(octets)
    return f"{in_hex(octets)}  {shown}" if shown.startswith('"') else shown


def explain_data(cursor: Cursor, *, masked: str = "") -> None:
    """Pass one value and write it down.

    Parameters
    ----------
    masked:
        Why the value is not shown; empty to show it.

    Raises
    ------
    RemoteProtocolError
        The octets are no value; what could be read stays.
    """
    if masked:
        begin = cursor.position
        hidden = Cursor(cursor.data, begin, cursor.end)
        _value(hidden, 0)
        cursor.skip(hidden.position - begin)
        cursor.note("data", f"{cursor.position - begin} octets, not shown: {masked}", begin=begin)
        return
    _value(cursor, 0)


def _value(cursor: Cursor, depth: int) -> Plain:
    begin = cursor.position
    if not cursor.remaining:
        raise RemoteProtocolError("no value where one should be")
    number = cursor.data[begin]
    tag = Tag(number) if number in Tag.__members__.values() else None
    if tag is None:
        raise RemoteProtocolError(f"no data type has the tag {number}")
    if tag in (Tag.ARRAY, Tag.STRUCTURE):
        return _elements(cursor, tag, depth)
    if tag is Tag.COMPACT_ARRAY:
        return _compact(cursor, depth)
    octets, offset = cursor.bounded()
    value, end = scalar_at(tag, octets, begin + 1 - offset)
    cursor.skip(end + offset - begin)
    cursor.nodes.append(Node(_NAMES[tag], begin, cursor.position, _words(value)))
    return value


def _elements(cursor: Cursor, tag: Tag, depth: int) -> Plain:
    if depth >= MAX_DEPTH:
        raise RemoteProtocolError(f"nested deeper than {MAX_DEPTH}")
    with cursor.group(_NAMES[tag]) as label:
        cursor.skip(1)
        count = cursor.length()
        label.value = f"{count} elements"
        if count > cursor.remaining:
            raise RemoteProtocolError(f"{count} elements declared, {cursor.remaining} octets there")
        values = [_value(cursor, depth + 1) for _ in range(count)]
        if tag is Tag.STRUCTURE:
            label.value = _meaning(values) or label.value
    return values if tag is Tag.ARRAY else tuple(values)


def _compact(cursor: Cursor, depth: int) -> Plain:
    with cursor.group(_NAMES[Tag.COMPACT_ARRAY]) as label:
        begin = cursor.position
        octets, offset = cursor.bounded()
        compact, end = compact_array_at(octets, begin + 1 - offset, depth)
        end += offset
        cursor.skip(end - begin)
        label.value = f"{len(compact.values)} elements of {_described(compact.description)}"
        for value in compact.values:
            cursor.nodes.append(Node(_NAMES[value.tag], begin, end, plain_text(plain(value))))
    return [plain(Data(value.tag, value.value)) for value in compact.values]


def _described(description: TypeDescription) -> str:
    name = _NAMES[description.tag]
    if description.tag is Tag.STRUCTURE:
        return f"{name} ({', '.join(map(_described, description.elements))})"
    if description.tag is Tag.ARRAY:
        return f"{name} of {description.count} {_described(description.elements[0])}"
    return name


def _words(value: Plain) -> str:
    match value:
        case bytes():
            return octets_text(value)
        case BitString():
            return plain_text(value)
        case str():
            return f'"{value}"' if len(value) <= 200 else f'"{value[:200]}" ... {len(value)} characters'
        case bool():
            return "true" if value else "false"
        case None:
            return ""
    return str(value)


def _scaler_unit(values: list[Plain]) -> ScalerUnit | None:
    match values:
        case [int(scaler), int(unit)] if -20 <= scaler <= 20 and (unit in cosem_units() or unit == 255):
            return ScalerUnit(scaler, unit)
    return None


def _meaning(values: list[Plain]) -> str:
    """What a structure says: a scaler and unit, or a register with its value."""
    alone = _scaler_unit(values)
    if alone is not None:
        return f"scaler {alone.scaler}, unit {alone.symbol or 'none'}"
    name, found = "", ""
    count: int | float | None = None
    scaler: ScalerUnit | None = None
    for value in values:
        if isinstance(value, bytes) and len(value) == 6 and value[5] == 0xFF and not name:
            name = obis_text(value)
        elif isinstance(value, _NUMBERS) and not isinstance(value, bool) and name and count is None:
            count = value
        elif isinstance(value, tuple) and len(value) == 2 and scaler is None:
            scaler = _scaler_unit(list(value))
        elif isinstance(value, bytes | str) and name and not found:
            found = octets_text(value).split("  ")[-1] if isinstance(value, bytes) else f'"{value}"'
    if name and count is not None and scaler is not None:
        amount: Decimal = scaler.scaled(count)
        return f"{name} = {amount:f} {scaler.symbol}".rstrip()
    if name and len(values) == 2 and (found or count is not None):
        return f"{name} = {found if count is None else count}"
    return ""

"""What can be wrong with master data. Everything is checked, everything that is wrong is told, in one go.

Two layers: `entity_faults` looks at one entity by itself; `snapshot_faults` looks at the whole registry as it
would be after a change, but only where the change touched it.

The rule never to be broken: what has a fault is not recorded, not even the faultless part of the call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Any, Final, cast

from openami.quantities.civil_time import zone_of
from openami.quantities.errors import QuantityError
from openami.registry.entities import (
    Account,
    Agreement,
    Customer,
    Entity,
    Installation,
    Meter,
    Multiplier,
    TransformerArea,
    UsagePoint,
)
from openami.registry.records import KINDS, RecordKind, kind_of
from openami.registry.snapshot import Change, Snapshot

_INT64_MAX: Final = 2**63 - 1
_NOUNS: Final[Mapping[type, str]] = {
    Meter: "meter",
    Multiplier: "multiplier of meter",
    UsagePoint: "usage point",
    Installation: "installation of meter",
    TransformerArea: "transformer area",
    Customer: "customer",
    Account: "account",
    Agreement: "agreement",
}


def describe(entity: Entity) -> str:
    """Name of an entity for people: ``installation of meter M-1 at UP-7 from 2024-03-01T00:00:00Z``."""
    text = f"{_NOUNS[type(entity)]} {getattr(entity, kind_of(type(entity)).id_attribute)}"
    if isinstance(entity, Installation | Agreement):
        text += f" at {entity.usage_point_id}"
    if isinstance(entity, Installation | Multiplier | Agreement):
        text += f" from {moment_text(entity.valid_from)}"
        text += f" to {moment_text(entity.valid_to)}" if entity.valid_to is not None else ""
    return text


def noun(entity: type) -> str:
    """What people call a kind of entity."""
    return _NOUNS[entity]


def moment_text(moment: date | datetime) -> str:
    """``2024-03-01`` or ``2024-03-01T00:00:00Z``."""
    return moment.isoformat().replace("+00:00", "Z") if isinstance(moment, date) else repr(moment)


def text_faults(name: str, value: str) -> Iterator[str]:
    """What keeps free text from being stored and found again unchanged."""
    if not value.strip():
        yield f"{name} is empty"
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        yield f"{name} {value!r} has a character that is no text"


def entity_faults(entity: Entity) -> list[str]:
    """Faults of one entity by itself; each names the entity."""
    faults = [*_identity_faults(entity), *_validity_faults(entity)]
    match entity:
        case Meter():
            faults += _meter_faults(entity)
        case Multiplier():
            for name in ("ct_numerator", "ct_denominator", "vt_numerator", "vt_denominator"):
                faults += _range_faults(name, getattr(entity, name), 1, _INT64_MAX)
        case UsagePoint():
            faults += _usage_point_faults(entity)
        case TransformerArea():
            faults += text_faults("name", entity.name)
            faults += _range_faults("capacity_va", entity.capacity_va, 1, _INT64_MAX)
        case Customer():
            faults += text_faults("name", entity.name)
        case Account():
            if not (len(entity.currency) == 3 and entity.currency.isascii() and entity.currency.isupper()):
                faults.append(f"currency {entity.currency!r} is not a code of ISO 4217 as EUR")
        case Agreement():
            faults += _identifier_faults("tariff_id", entity.tariff_id)
        case Installation():
            pass
    return [f"{describe(entity)}: {fault}" for fault in faults]


def snapshot_faults(after: Snapshot, changes: Mapping[type[Entity], Change], before: Snapshot) -> list[str]:
    """Faults of the registry after a change, looked for where the change touched it.

    Parameters
    ----------
    after:
        The registry as it would be.
    changes:
        What was changed.
    before:
        The registry as it is.

    Returns
    -------
    list[str]
        References to what is not there, and overlaps where validities exclude each other, each once.
    """
    faults: dict[str, None] = {}
    for kind in KINDS:
        if change := changes.get(kind.entity):
            faults |= dict.fromkeys(_unknown_references(after, kind, change.added))
            faults |= dict.fromkeys(_lost_references(after, kind, change, before))
            faults |= dict.fromkeys(_overlaps(after, kind, change.added))
    faults |= dict.fromkeys(_wrong_area_meters(after, changes))
    return list(faults)


def _identity_faults(entity: Entity) -> Iterator[str]:
    kind = kind_of(type(entity))
    for name in kind.indexed:
        value = getattr(entity, name)
        if value is not None:
            yield from _identifier_faults(name, value)


def _identifier_faults(name: str, value: str) -> Iterator[str]:
    if not value or value != value.strip() or not value.isprintable():
        yield f"{name} {value!r} is not an identifier (printable, no blanks around it)"


def _validity_faults(entity: Entity) -> Iterator[str]:
    days = isinstance(entity, Agreement)
    good = True
    for name in ("valid_from", "valid_to"):
        value = cast("date | datetime | None", getattr(entity, name))
        if value is None and name == "valid_to":
            continue
        if days and (isinstance(value, datetime) or not isinstance(value, date)):
            good = False
            yield f"{name} {value!r} is not a civil day"
        if not days and (not isinstance(value, datetime) or value.tzinfo is None):
            good = False
            yield f"{name} {value!r} is not an instant with a time zone"
    if good and entity.valid_to is not None and cast(Any, entity.valid_to) <= entity.valid_from:
        yield f"valid_to {moment_text(entity.valid_to)} is not after valid_from"


def _meter_faults(meter: Meter) -> Iterator[str]:
    yield from text_faults("model", meter.model)
    if meter.host:
        yield from _identifier_faults("host", meter.host)
    yield from _range_faults("port", meter.port, 0, 65_535)
    yield from _range_faults("logical_device", meter.logical_device, 0, 65_535)
    yield from _zone_faults(meter.zone)
    if meter.interval_s < 1 or (3600 % meter.interval_s and meter.interval_s != 86_400):
        yield f"interval_s {meter.interval_s} neither divides an hour nor is a day"
    yield from _range_faults("digits", meter.digits, 1, 18)
    yield from _range_faults("exponent", meter.exponent, -12, 12)
    if len(set(meter.channels)) < len(meter.channels):
        yield f"a channel twice in {', '.join(map(str, meter.channels))}"


def _usage_point_faults(point: UsagePoint) -> Iterator[str]:
    yield from _zone_faults(point.zone)
    if point.kind not in ("customer", "area"):
        yield f"kind {point.kind!r} is neither customer nor area"
    yield from _range_faults("capacity_w", point.capacity_w, 1, _INT64_MAX)
    yield from text_faults("customer_class", point.customer_class)


def _zone_faults(zone: str) -> Iterator[str]:
    try:
        zone_of(zone)
    except QuantityError as error:
        yield str(error)


def _range_faults(name: str, value: int | None, low: int, high: int) -> Iterator[str]:
    if value is not None and not low <= value <= high:
        yield f"{name} {value} is not within {low} .. {high}"


def _unknown_references(after: Snapshot, kind: RecordKind[Any], added: Iterable[Entity]) -> Iterator[str]:
    for entity in added:
        for attribute, target in kind.references.items():
            identity = getattr(entity, attribute)
            if identity is not None and not after.knows(target, identity):
                yield f"{describe(entity)}: unknown {_NOUNS[target]} {identity}"


def _lost_references(
    after: Snapshot, kind: RecordKind[Any], change: Change, before: Snapshot
) -> Iterator[str]:
    """Rows that still refer to a thing whose last row this change withdrew."""
    rows = before.page(kind.entity).by_key
    gone = dict.fromkeys(getattr(rows[key], kind.id_attribute) for key in change.gone)
    for identity in gone:
        if after.knows(kind.entity, identity):
            continue
        for other in KINDS:
            for attribute, target in other.references.items():
                if target is kind.entity:
                    for entity in after.page(other.entity).group(attribute, identity):
                        yield f"{describe(entity)}: unknown {_NOUNS[target]} {identity}"


def _overlaps(after: Snapshot, kind: RecordKind[Any], added: Iterable[Entity]) -> Iterator[str]:
    page = after.page(kind.entity)
    for attribute in kind.exclusive:
        for identity in dict.fromkeys(getattr(entity, attribute) for entity in added):
            longest = None
            for row in page.group(attribute, identity):
                if longest is not None and _shares(longest, row):
                    owner = _NOUNS[kind.references[attribute]]
                    yield f"{owner} {identity}: {describe(longest)} overlaps {describe(row)}"
                if longest is None or _ends_later(row, longest):
                    longest = row


def _shares(earlier: Any, later: Any) -> bool:
    return earlier.valid_to is None or earlier.valid_to > later.valid_from


def _ends_later(row: Any, other: Any) -> bool:
    return other.valid_to is not None and (row.valid_to is None or row.valid_to > other.valid_to)


def _wrong_area_meters(after: Snapshot, changes: Mapping[type[Entity], Change]) -> Iterator[str]:
    """Areas measured at a usage point that is a customer's."""
    areas = after.page(TransformerArea)
    touched = [*changes[TransformerArea].added] if TransformerArea in changes else []
    for point in changes[UsagePoint].added if UsagePoint in changes else ():
        touched += areas.group("meter_usage_point_id", point.usage_point_id)
    for area in touched:
        for point in after.page(UsagePoint).versions(area.meter_usage_point_id or ""):
            if point.kind != "area":
                yield (
                    f"{describe(area)}: usage point {point.usage_point_id} is of kind {point.kind}, not area"
                )

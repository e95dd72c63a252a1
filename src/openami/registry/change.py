"""From what a caller wants recorded to what has to be written: a pure plan, with all checks made.

The rule never to be broken: a plan is made against the very snapshot the write follows, so it is made inside
the transaction that holds the registry's write lock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

from openami.quantities.errors import RegistryError
from openami.registry.entities import (
    BEGINNING,
    Agreement,
    E,
    Entity,
    Installation,
    Meter,
    Multiplier,
    UsagePoint,
)
from openami.registry.faults import describe, entity_faults, moment_text, snapshot_faults, text_faults
from openami.registry.records import kind_of
from openami.registry.snapshot import Change, Snapshot, in_force

Changes: TypeAlias = Mapping[type[Entity], Change]


def check_audit(actor: str, why: str) -> None:
    """Refuse a change that does not say who makes it and why."""
    raise_faults([*text_faults("actor", actor), *text_faults("why", why)])


def raise_faults(faults: Sequence[str]) -> None:
    """Raise one `RegistryError` that lists all faults; return when there are none."""
    if len(faults) == 1:
        raise RegistryError(faults[0])
    if faults:
        raise RegistryError("\n- ".join([f"{len(faults)} faults, nothing was recorded:", *faults]))


def plan_change(before: Snapshot, entities: Sequence[Entity], withdrawn: Sequence[Entity]) -> Changes:
    """What recording ``entities`` and withdrawing ``withdrawn`` changes.

    Parameters
    ----------
    before:
        The registry as it stands.
    entities:
        Rows to stand from now on; one whose key stands already replaces that row. Rows that stand exactly
        so already are left alone.
    withdrawn:
        Rows to stand no longer; found by their keys.

    Returns
    -------
    Mapping[type[Entity], Change]
        Empty when everything is so already.

    Raises
    ------
    RegistryError
        Lists every fault of the call.
    """
    entities = [_in_utc(entity) for entity in entities]
    withdrawn = [_in_utc(entity) for entity in withdrawn]
    faults = [fault for entity in entities for fault in entity_faults(entity)]
    faults += _key_faults(before, entities, withdrawn)
    comparable = [entity for entity in map(_comparable, entities) if entity is not None]
    changes = _changes(before, comparable, withdrawn)
    after = before.changed(before.revision + 1, changes)
    faults += snapshot_faults(after, changes, before)
    raise_faults(faults)
    return changes


def plan_exchange(before: Snapshot, usage_point_id: str, new_meter: Meter | str, at: datetime) -> Changes:
    """What hanging another meter at a usage point changes: one installation ends, the next begins.

    Raises
    ------
    RegistryError
        The usage point is unknown or has no open installation that began before ``at``; or a fault of the
        new meter or its installation.
    """
    if at.tzinfo is None:
        raise RegistryError(f"naive instant {at}", expected="a timezone-aware datetime")
    if not before.knows(UsagePoint, usage_point_id):
        raise RegistryError(f"unknown usage point {usage_point_id}")
    hanging = in_force(before.page(Installation).group("usage_point_id", usage_point_id), at)
    if hanging is None or hanging.valid_to is not None or hanging.valid_from >= at:
        found = "there is none" if hanging is None else f"there is {describe(hanging)}"
        raise RegistryError(
            f"no meter to take down at {moment_text(at)}: {found}",
            where=f"usage point {usage_point_id}",
            expected="an open installation that began before",
        )
    meters = [new_meter] if isinstance(new_meter, Meter) else []
    meter_id = new_meter.meter_id if isinstance(new_meter, Meter) else new_meter
    hung = Installation(meter_id, usage_point_id, at)
    return plan_change(before, [*meters, replace(hanging, valid_to=at), hung], [])


def _changes(before: Snapshot, entities: Iterable[Entity], withdrawn: Iterable[Entity]) -> Changes:
    gone: dict[type[Entity], dict[Hashable, None]] = defaultdict(dict)
    added: dict[type[Entity], dict[Hashable, Entity]] = defaultdict(dict)
    for entity in withdrawn:
        key = kind_of(type(entity)).key_of(entity)
        if key in before.page(type(entity)).by_key:
            gone[type(entity)][key] = None
    for entity in entities:
        key = kind_of(type(entity)).key_of(entity)
        standing = before.page(type(entity)).by_key.get(key)
        if standing == entity:
            continue
        if standing is not None:
            gone[type(entity)][key] = None
        added[type(entity)][key] = entity
    return {kind: Change(tuple(gone[kind]), tuple(added[kind].values())) for kind in {**gone, **added}}


def _key_faults(before: Snapshot, entities: Iterable[Entity], withdrawn: Iterable[Entity]) -> list[str]:
    faults = []
    seen: dict[tuple[type[Entity], Hashable], Entity] = {}
    for entity in entities:
        key = (type(entity), kind_of(type(entity)).key_of(entity))
        if seen.setdefault(key, entity) != entity:
            faults.append(f"{describe(entity)}: twice in one call, and not the same")
    for entity in withdrawn:
        key = (type(entity), kind_of(type(entity)).key_of(entity))
        if key in seen:
            faults.append(f"{describe(entity)}: recorded and withdrawn in one call")
        if key[1] not in before.page(type(entity)).by_key:
            faults.append(f"{describe(entity)}: cannot be withdrawn, it does not stand")
    return faults


def _in_utc(entity: E) -> E:
    changed: dict[str, Any] = {
        name: moment.astimezone(UTC)
        for name in ("valid_from", "valid_to")
        if isinstance(moment := getattr(entity, name), datetime) and moment.tzinfo not in (None, UTC)
    }
    return replace(entity, **changed) if changed else entity


def _comparable(entity: Entity) -> Entity | None:
    """Something that can be looked at beside the others, so that their faults are told as well.

    A row with moments that cannot be compared is itself refused; a thing stands in with the default
    validity lest all that refers to it be called unknown, a binding stays out.
    """
    instants = not isinstance(entity, Agreement)
    moments = [moment for moment in (entity.valid_from, entity.valid_to) if moment is not None]
    if all(isinstance(moment, datetime) == instants for moment in moments) and all(
        not isinstance(moment, datetime) or moment.tzinfo is not None for moment in moments
    ):
        return entity
    if isinstance(entity, Installation | Multiplier | Agreement):
        return None
    return replace(entity, valid_from=BEGINNING, valid_to=None)

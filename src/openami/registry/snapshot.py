"""The registry as it was known at one revision, in memory, indexed.

What was known at a revision never changes, so a snapshot is immutable and may be shared and kept. A newer
one is derived from an older one by the rows that were superseded and recorded in between; only the indexes
those rows touch are copied. Memory: about 3 kB for a customer with meter, usage point, installation,
account and agreement.

The rule never to be broken: a snapshot answers from what it was given; it reads neither clock nor database.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast

from openami.registry.entities import E, Entity
from openami.registry.records import KINDS, RecordKind

Moment = TypeVar("Moment", datetime, date)


class Page(Generic[E]):
    """All rows of one kind that stand at a revision.

    Invariant: every index holds exactly the rows of ``by_key`` whose attribute is not None, each group in
    the order of validity.
    """

    __slots__ = ("_indexes", "by_key", "kind")

    def __init__(self, kind: RecordKind[E]) -> None:
        self.kind = kind
        self.by_key: Mapping[Hashable, E] = MappingProxyType({})
        self._indexes: Mapping[str, Mapping[str, tuple[E, ...]]] = {name: {} for name in kind.indexed}

    def group(self, attribute: str, value: str) -> tuple[E, ...]:
        """Rows whose ``attribute`` is ``value``, in the order of validity."""
        return self._indexes[attribute].get(value, ())

    def versions(self, identity: str) -> tuple[E, ...]:
        """Rows of one thing, in the order of validity."""
        return self.group(self.kind.id_attribute, identity)

    def groups(self) -> Mapping[str, tuple[E, ...]]:
        """All things with their rows."""
        return self._indexes[self.kind.id_attribute]

    def changed(self, gone: Iterable[Hashable], added: Iterable[E]) -> Page[E]:
        """The page without the keys ``gone`` and with the rows ``added``, which replace rows of their key."""
        key_of = self.kind.key_of
        fresh = {key_of(entity): entity for entity in added}
        dropped = {key for key in {*gone, *fresh} if key in self.by_key}
        page = Page(self.kind)
        page.by_key = {**self.by_key, **fresh}
        for key in dropped - fresh.keys():
            del page.by_key[key]
        page._indexes = {name: self._reindexed(name, dropped, fresh) for name in self._indexes}
        return page

    def _reindexed(
        self, attribute: str, dropped: set[Hashable], fresh: Mapping[Hashable, E]
    ) -> Mapping[str, tuple[E, ...]]:
        key_of = self.kind.key_of
        index = dict(self._indexes[attribute])
        groups: dict[str, list[E]] = defaultdict(list)
        for key in dropped:
            groups[getattr(self.by_key[key], attribute)]
        for entity in fresh.values():
            groups[getattr(entity, attribute)].append(entity)
        groups.pop(cast(str, None), None)
        for value, rows in groups.items():
            rows.extend(row for row in index.get(value, ()) if key_of(row) not in dropped)
            if rows:
                index[value] = tuple(sorted(rows, key=_valid_from))
            else:
                index.pop(value, None)
        return index


@dataclass(frozen=True, slots=True)
class Change:
    """What one revision does to one kind: keys whose rows end, rows that begin."""

    gone: tuple[Hashable, ...]
    added: tuple[Any, ...]


class Snapshot:
    """Everything known at ``revision``. Revision 0 is the empty registry."""

    __slots__ = ("_pages", "revision")

    def __init__(self, revision: int, pages: Mapping[type, Page[Any]] | None = None) -> None:
        self.revision = revision
        self._pages = pages if pages is not None else {kind.entity: Page(kind) for kind in KINDS}

    def page(self, entity: type[E]) -> Page[E]:
        """Rows of one kind."""
        return cast("Page[E]", self._pages[entity])

    def knows(self, entity: type[Entity], identity: str) -> bool:
        """True when there is a thing of that kind and id, at whatever time."""
        return bool(self._pages[entity].versions(identity))

    def changed(self, revision: int, changes: Mapping[type[Entity], Change]) -> Snapshot:
        """The snapshot of a later revision that made ``changes``."""
        pages = {
            entity: page.changed(changes[entity].gone, changes[entity].added) if entity in changes else page
            for entity, page in self._pages.items()
        }
        return Snapshot(revision, pages)


def in_force(versions: Sequence[E], at: datetime) -> E | None:
    """The version that holds at an instant: the latest that has begun, unless it has ended.

    Parameters
    ----------
    versions:
        In the order of validity. Agreements have days, not instants: not for them.
    at:
        Aware instant.
    """
    index = bisect_right(versions, at, key=_valid_from)
    if index == 0:
        return None
    found = versions[index - 1]
    return found if _open_at(found.valid_to, at) else None


def overlapping(versions: Iterable[E], start: Moment | None, end: Moment | None) -> list[E]:
    """Rows whose validity shares a moment with [start, end); None is unbounded."""
    return [
        row
        for row in versions
        if (end is None or _valid_from(row) < end) and (start is None or _open_at(row.valid_to, start))
    ]


def _valid_from(row: Entity) -> Any:
    return row.valid_from


def _open_at(valid_to: Any, moment: Any) -> bool:
    return valid_to is None or bool(valid_to > moment)

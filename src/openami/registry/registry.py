"""The registry: who and where, as it was in the world (validity) and as it was known (revision).

Every change is one revision: a number, an instant, who and why. Recording a row whose key stands already is
a correction: the old row is superseded from that revision on, and whoever asks with an older revision still
sees it. A bill pins the revision it was computed from.

The rule never to be broken: nothing is updated but the ``superseded_revision`` of a row that stands, nothing
is deleted, and two changes never share a revision, in however many processes they are made.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import date, datetime
from fractions import Fraction
from typing import Any, Final

import sqlalchemy as sa

from openami.quantities.clock import Clock
from openami.quantities.errors import RegistryError
from openami.registry.change import Changes, check_audit, plan_change, plan_exchange, raise_faults
from openami.registry.database import reading, writing
from openami.registry.documents import (
    document_faults,
    document_stands,
    read_document,
    read_documents,
    supersede_document,
    write_document,
)
from openami.registry.entities import (
    Account,
    Agreement,
    Customer,
    Document,
    DocumentKind,
    E,
    Entity,
    Installation,
    Meter,
    Multiplier,
    Recorded,
    Revision,
    TransformerArea,
    UsagePoint,
)
from openami.registry.faults import moment_text, noun
from openami.registry.records import KINDS, RecordKind, kind_of, revisions
from openami.registry.snapshot import Change, Snapshot, in_force, overlapping

_KEPT_SNAPSHOTS: Final = 8
_LOCK_TIMEOUT_S: Final = 10


class Registry:
    """Master data of one workspace.

    All reads take ``revision``: the registry as it was known then; None is the newest. Reads of things take
    ``at``: the version in force at that instant; None is the latest version of each thing.

    A read with ``revision=None`` asks the database for the newest revision (about 0.2 ms) and then answers
    from memory; with a revision given it answers from memory at once. Loops therefore take
    ``registry.revision`` first and pass it on, which also makes all their answers agree.

    Safe to share between threads; several processes may use one database.

    Invariant: a kept snapshot says exactly what the database says of its revision.
    """

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._snapshots: OrderedDict[int, Snapshot] = OrderedDict()

    # Changes

    def record(
        self,
        entities: Sequence[Entity],
        *,
        actor: str,
        why: str,
        withdraw: Sequence[Entity] = (),
    ) -> int:
        """Record and withdraw rows in one transaction and one revision.

        Parameters
        ----------
        entities:
            Rows to stand from now on. A row whose key stands already is a correction of it. Keys are
            (id, valid_from) for things and multipliers, (meter, usage point, valid_from) for installations,
            the id for agreements.
        actor, why:
            Who makes the change and for what reason; both are kept.
        withdraw:
            Rows to stand no longer, found by their keys: what never was so, or has the wrong key.

        Returns
        -------
        int
            The revision from which on this is known. When everything is recorded exactly so already,
            nothing is written and it is the newest revision there is.

        Raises
        ------
        RegistryError
            Lists all faults of the call: unknown references, overlapping installations, multipliers or
            agreements, validity that ends before it begins, values out of range. Nothing is recorded.
        """
        return self._change(lambda before: plan_change(before, entities, withdraw), actor, why)

    def exchange_meter(
        self, usage_point_id: str, new_meter: Meter | str, at: datetime, *, actor: str, why: str
    ) -> int:
        """Take the meter at a usage point down and hang another, at one instant and in one revision.

        Parameters
        ----------
        usage_point_id:
            Where.
        new_meter:
            The meter to hang: recorded in the same revision, or the id of one that is recorded.
        at:
            The instant, also inside an interval; the interval then has two parts, one of each meter.
        actor, why:
            Who and for what reason.

        Raises
        ------
        RegistryError
            The usage point is unknown, has no open installation that began before ``at``, or the new meter
            hangs elsewhere.
        """
        return self._change(lambda before: plan_exchange(before, usage_point_id, new_meter, at), actor, why)

    def put_document(
        self, kind: DocumentKind, document_id: str, text: str, *, valid_from: date, actor: str, why: str
    ) -> int:
        """Record a tariff, rule pack or calendar, in force from a civil day until the next version is.

        The same first day again is a correction. The same text again changes nothing; the newest revision
        is returned.

        Raises
        ------
        RegistryError
            Unknown kind, empty or unstorable text, not a civil day.
        """
        check_audit(actor, why)
        raise_faults(list(document_faults(kind, document_id, text, valid_from)))
        with writing(self._engine) as connection:
            newest = self._lock_newest(connection)
            if document_stands(connection, kind, document_id, text, valid_from):
                return newest
            revision = self._begin_revision(connection, newest, actor, why)
            write_document(connection, revision, kind, document_id, text, valid_from)
            return revision

    def withdraw_document(
        self, kind: DocumentKind, document_id: str, *, valid_from: date, actor: str, why: str
    ) -> int:
        """Let the document that was recorded for a first day stand no longer.

        Raises
        ------
        RegistryError
            There is none.
        """
        check_audit(actor, why)
        with writing(self._engine) as connection:
            newest = self._lock_newest(connection)
            revision = self._begin_revision(connection, newest, actor, why)
            if not supersede_document(connection, revision, kind, document_id, valid_from):
                raise RegistryError(f"there is no {kind} {document_id} from {moment_text(valid_from)}")
            return revision

    # Record time

    @property
    def revision(self) -> int:
        """The newest revision; 0 when nothing is recorded."""
        with reading(self._engine) as connection:
            return _newest(connection)

    def revisions(self) -> list[Revision]:
        """All changes, oldest first: the audit."""
        query = sa.select(revisions).order_by(revisions.c.revision)
        with reading(self._engine) as connection:
            return [Revision(*row) for row in connection.execute(query)]

    def history(self, entity: type[E], identity: str) -> list[Recorded[E]]:
        """Every row ever recorded of one thing (or of one meter or agreement), in the order of recording."""
        kind = kind_of(entity)
        table = kind.table
        query = (
            sa.select(*kind.columns, table.c.recorded_revision, table.c.superseded_revision)
            .where(table.c[kind.id_attribute] == identity)
            .order_by(table.c.recorded_revision, table.c.valid_from)
        )
        with reading(self._engine) as connection:
            return [Recorded(entity(*row[:-2]), row[-2], row[-1]) for row in connection.execute(query)]

    # Things

    def meter(self, meter_id: str, *, at: datetime | None = None, revision: int | None = None) -> Meter:
        """One meter; `RegistryError` when it is not known."""
        return self._thing(Meter, meter_id, at, revision)

    def meters(self, *, at: datetime | None = None, revision: int | None = None) -> list[Meter]:
        """All meters, by id."""
        return self._things(Meter, at, revision)

    def usage_point(
        self, usage_point_id: str, *, at: datetime | None = None, revision: int | None = None
    ) -> UsagePoint:
        """One usage point; `RegistryError` when it is not known."""
        return self._thing(UsagePoint, usage_point_id, at, revision)

    def usage_points(
        self, area_id: str | None = None, *, at: datetime | None = None, revision: int | None = None
    ) -> list[UsagePoint]:
        """All usage points, or those of one area, by id."""
        if area_id is None:
            return self._things(UsagePoint, at, revision)
        page = self._snapshot(revision).page(UsagePoint)
        candidates = sorted({point.usage_point_id for point in page.group("area_id", area_id)})
        found = (_version(page.versions(identity), at) for identity in candidates)
        return [point for point in found if point is not None and point.area_id == area_id]

    def area(
        self, area_id: str, *, at: datetime | None = None, revision: int | None = None
    ) -> TransformerArea:
        """One transformer area; `RegistryError` when it is not known."""
        return self._thing(TransformerArea, area_id, at, revision)

    def areas(self, *, at: datetime | None = None, revision: int | None = None) -> list[TransformerArea]:
        """All transformer areas, by id."""
        return self._things(TransformerArea, at, revision)

    def customer(
        self, customer_id: str, *, at: datetime | None = None, revision: int | None = None
    ) -> Customer:
        """One customer; `RegistryError` when there is none of that id."""
        return self._thing(Customer, customer_id, at, revision)

    def customers(self, *, at: datetime | None = None, revision: int | None = None) -> list[Customer]:
        """All customers, by id."""
        return self._things(Customer, at, revision)

    def account(self, account_id: str, *, at: datetime | None = None, revision: int | None = None) -> Account:
        """One account; `RegistryError` when it is not known."""
        return self._thing(Account, account_id, at, revision)

    def accounts(self, *, at: datetime | None = None, revision: int | None = None) -> list[Account]:
        """All accounts, by id."""
        return self._things(Account, at, revision)

    # Bindings

    def installations(
        self,
        *,
        usage_point_id: str | None = None,
        meter_id: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        revision: int | None = None,
    ) -> list[Installation]:
        """Installations that share an instant with [start, end), by usage point and beginning.

        None is unbounded; ids that are not known have no installations.
        """
        page = self._snapshot(revision).page(Installation)
        rows: Sequence[Installation]
        if usage_point_id is not None:
            rows = page.group("usage_point_id", usage_point_id)
        elif meter_id is not None:
            rows = page.group("meter_id", meter_id)
        else:
            rows = list(page.by_key.values())
        chosen = [row for row in overlapping(rows, start, end) if meter_id in (None, row.meter_id)]
        return sorted(chosen, key=lambda row: (row.usage_point_id, row.valid_from))

    def multiplier(self, meter_id: str, at: datetime, *, revision: int | None = None) -> Fraction:
        """Factor from the meter's secondary side to the primary at an instant; 1 where none is recorded.

        Raises
        ------
        RegistryError
            The meter is not known.
        """
        snapshot = self._snapshot(revision)
        found = in_force(snapshot.page(Multiplier).group("meter_id", meter_id), at)
        if found is None and not snapshot.knows(Meter, meter_id):
            raise _unknown("meter", meter_id, snapshot)
        return Fraction(1) if found is None else found.factor

    def multipliers(self, meter_id: str | None = None, *, revision: int | None = None) -> list[Multiplier]:
        """Multipliers of one meter or of all, by meter and beginning."""
        page = self._snapshot(revision).page(Multiplier)
        rows = page.by_key.values() if meter_id is None else page.group("meter_id", meter_id)
        return sorted(rows, key=lambda row: (row.meter_id, row.valid_from))

    def agreement(self, agreement_id: str, *, revision: int | None = None) -> Agreement:
        """One agreement; `RegistryError` when it is not known."""
        snapshot = self._snapshot(revision)
        found = snapshot.page(Agreement).by_key.get(agreement_id)
        if found is None:
            raise _unknown("agreement", agreement_id, snapshot)
        return found

    def agreements(
        self,
        *,
        usage_point_id: str | None = None,
        account_id: str | None = None,
        first_day: date | None = None,
        last_day: date | None = None,
        revision: int | None = None,
    ) -> list[Agreement]:
        """Agreements that share a civil day with [first_day, last_day), by usage point and beginning.

        None is unbounded; ids that are not known have no agreements.
        """
        page = self._snapshot(revision).page(Agreement)
        rows: Sequence[Agreement]
        if usage_point_id is not None:
            rows = page.group("usage_point_id", usage_point_id)
        elif account_id is not None:
            rows = page.group("account_id", account_id)
        else:
            rows = list(page.by_key.values())
        chosen = [
            row for row in overlapping(rows, first_day, last_day) if account_id in (None, row.account_id)
        ]
        return sorted(chosen, key=lambda row: (row.usage_point_id, row.valid_from))

    # Documents

    def document(
        self, kind: DocumentKind, document_id: str, *, on: date, revision: int | None = None
    ) -> Document:
        """The document in force on a civil day.

        Raises
        ------
        RegistryError
            None is in force on that day.
        """
        with reading(self._engine) as connection:
            known = _known_revision(connection, revision)
            found = read_document(connection, known, kind, document_id, on)
        if found is None:
            raise RegistryError(
                f"no {kind} {document_id} is in force on {moment_text(on)}",
                where=f"registry revision {known}",
            )
        return found

    def documents(
        self, kind: DocumentKind, document_id: str | None = None, *, revision: int | None = None
    ) -> list[Document]:
        """Documents of a kind, by name and first day."""
        with reading(self._engine) as connection:
            return read_documents(connection, _known_revision(connection, revision), kind, document_id)

    # How it is done

    def _thing(self, entity: type[E], identity: str, at: datetime | None, revision: int | None) -> E:
        snapshot = self._snapshot(revision)
        versions = snapshot.page(entity).versions(identity)
        found = _version(versions, at)
        if found is None:
            name = noun(entity)
            if versions and at is not None:
                raise RegistryError(f"{name} {identity} is not in force at {moment_text(at)}")
            raise _unknown(name, identity, snapshot)
        return found

    def _things(self, entity: type[E], at: datetime | None, revision: int | None) -> list[E]:
        groups = self._snapshot(revision).page(entity).groups()
        found = (_version(groups[identity], at) for identity in sorted(groups))
        return [version for version in found if version is not None]

    def _snapshot(self, revision: int | None) -> Snapshot:
        if revision is not None and (kept := self._snapshots.get(revision)) is not None:
            return kept
        with reading(self._engine) as connection:
            return self._load(connection, _known_revision(connection, revision))

    def _load(self, connection: sa.Connection, revision: int) -> Snapshot:
        """The snapshot of a revision that exists, from the nearest older one that is kept."""
        with self._lock:
            older = max((kept for kept in self._snapshots if kept <= revision), default=0)
            snapshot = self._snapshots.get(older) or Snapshot(0)
            if snapshot.revision < revision:
                changes = {kind.entity: _difference(connection, kind, older, revision) for kind in KINDS}
                touched = {
                    entity: change for entity, change in changes.items() if change.gone or change.added
                }
                snapshot = snapshot.changed(revision, touched)
            self._keep(snapshot)
            return snapshot

    def _keep(self, snapshot: Snapshot) -> None:
        self._snapshots[snapshot.revision] = snapshot
        self._snapshots.move_to_end(snapshot.revision)
        while len(self._snapshots) > _KEPT_SNAPSHOTS:
            self._snapshots.popitem(last=False)

    def _change(self, plan: Callable[[Snapshot], Changes], actor: str, why: str) -> int:
        check_audit(actor, why)
        with writing(self._engine) as connection:
            newest = self._lock_newest(connection)
            before = self._load(connection, newest)
            changes = plan(before)
            if not changes:
                return newest
            revision = self._begin_revision(connection, newest, actor, why)
            for entity, change in changes.items():
                _write(connection, kind_of(entity), change, before, revision)
        with self._lock:
            self._keep(before.changed(revision, changes))
        return revision

    def _lock_newest(self, connection: sa.Connection) -> int:
        """Keep other writers out until the transaction ends; the newest revision."""
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_S}s'")
            connection.exec_driver_sql("LOCK TABLE revisions IN EXCLUSIVE MODE")
        return _newest(connection)

    def _begin_revision(self, connection: sa.Connection, newest: int, actor: str, why: str) -> int:
        revision = newest + 1
        row = {"revision": revision, "at": self._clock.now(), "actor": actor, "why": why}
        connection.execute(revisions.insert(), row)
        return revision


def _newest(connection: sa.Connection) -> int:
    return connection.execute(sa.select(sa.func.max(revisions.c.revision))).scalar() or 0


def _known_revision(connection: sa.Connection, revision: int | None) -> int:
    newest = _newest(connection)
    if revision is None:
        return newest
    if not 0 <= revision <= newest:
        raise RegistryError(f"there is no registry revision {revision}", expected=f"0 .. {newest}")
    return revision


def _difference(connection: sa.Connection, kind: RecordKind[Any], older: int, newer: int) -> Change:
    """What happened to one kind after revision ``older`` up to and including ``newer``."""
    recorded, superseded = kind.table.c.recorded_revision, kind.table.c.superseded_revision
    ended = sa.select(*kind.columns).where(recorded <= older, superseded > older, superseded <= newer)
    begun = sa.select(*kind.columns).where(
        recorded > older, recorded <= newer, superseded.is_(None) | (superseded > newer)
    )
    gone = [kind.entity(*row) for row in connection.execute(ended)] if older else []
    added = [kind.entity(*row) for row in connection.execute(begun)]
    return Change(tuple(map(kind.key_of, gone)), tuple(added))


def _write(
    connection: sa.Connection, kind: RecordKind[Any], change: Change, before: Snapshot, revision: int
) -> None:
    if change.gone:
        standing = before.page(kind.entity).by_key
        key = [kind.table.c[name] == sa.bindparam(f"key_{name}") for name in kind.key]
        update = kind.table.update().where(*key, kind.table.c.superseded_revision.is_(None))
        rows = [{f"key_{name}": getattr(standing[item], name) for name in kind.key} for item in change.gone]
        connection.execute(update.values(superseded_revision=revision), rows)
    if change.added:
        rows = [{**kind.parameters(row), "recorded_revision": revision} for row in change.added]
        connection.execute(kind.table.insert(), rows)


def _version(versions: Sequence[E], at: datetime | None) -> E | None:
    if at is not None:
        return in_force(versions, at)
    return versions[-1] if versions else None


def _unknown(name: str, identity: str, snapshot: Snapshot) -> RegistryError:
    return RegistryError(f"unknown {name} {identity}", where=f"registry revision {snapshot.revision}")

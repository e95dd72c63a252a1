"""The list of exceptions: what was found wrong with readings, of which meter, on which day, and why.

A case is named by its content, so the same finding reported twice is one case; whoever closed it is not
asked again. A case that a later run no longer finds is closed by that run with its reason, never deleted.
The rule never to be broken: SQL holds no truth of its own here; every case can be found again from the
stored readings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import TypeVar

import sqlalchemy as sa

from openami.quantities.clock import Clock
from openami.quantities.errors import ValidationError
from openami.quantities.obis import ObisCode
from openami.registry.database import UtcInstant, metadata, reading, writing

EXCEPTION_KINDS = (
    "gap",
    "duplicate",
    "conflicting_duplicate",
    "negative",
    "spike",
    "register_sum",
    "zero_run",
    "high_usage",
    "low_usage",
    "register_reverse",
    "register_rollover",
    "power_outage",
    "meter_silent",
    "clock_drift",
    "meter_identity",
    "meter_security",
    "read_retried",
    "read_failed",
    "meter_exchange",
    "daylight_saving",
    "theft",
    "area_loss",
    "late_data",
    "estimation_refused",
)
"""Kinds of exceptions."""

NOTICES = frozenset({"duplicate", "read_retried", "daylight_saving", "meter_exchange", "register_rollover"})
"""Kinds that are dealt with when they are found: recorded, and closed at once."""

Item = TypeVar("Item")
_CHUNK = 400  # rows a statement: SQLite allows 32,766 bound values, a row has 17

_exceptions = sa.Table(
    "exceptions",
    metadata,
    sa.Column("exception_id", sa.Text(), primary_key=True),
    sa.Column("kind", sa.Text(), nullable=False),
    sa.Column("meter_id", sa.Text()),
    sa.Column("usage_point_id", sa.Text()),
    sa.Column("day", sa.Date()),
    sa.Column("channel", sa.Text()),
    sa.Column("detail", sa.Text(), nullable=False),
    sa.Column("block_ids", sa.JSON(), nullable=False),
    sa.Column("evidence_ids", sa.JSON(), nullable=False),
    sa.Column("state", sa.Text(), nullable=False),
    sa.Column("seq", sa.BigInteger(), nullable=False),
    sa.Column("batch_id", sa.Text()),
    sa.Column("raised_at", UtcInstant(), nullable=False),
    sa.Column("closed_at", UtcInstant()),
    sa.Column("closed_by", sa.Text()),
    sa.Column("closed_why", sa.Text()),
    sa.Index(None, "state", "kind"),
    sa.Index(None, "meter_id", "day"),
    sa.Index(None, "usage_point_id", "day"),
)


@dataclass(frozen=True, slots=True)
class ExceptionCase:
    """One finding.

    Parameters
    ----------
    kind:
        One of `EXCEPTION_KINDS`.
    meter_id, usage_point_id, day, channel:
        What it is about; ``day`` is a civil day of the meter's zone.
    detail:
        What was found, for a person to read. Part of the identity.
    block_ids, evidence_ids:
        The readings it was found in, and the frames or file lines they came from.
    seq:
        Commit sequence of the store up to which it was looked at.
    batch_id:
        The batch that brought it, for findings made at the Door.
    state, raised_at, closed_at, closed_by, closed_why:
        Kept by the `ExceptionList`.
    """

    kind: str
    meter_id: str | None
    day: date | None
    detail: str
    usage_point_id: str | None = None
    channel: ObisCode | None = None
    block_ids: tuple[str, ...] = ()
    evidence_ids: tuple[str, ...] = ()
    seq: int = 0
    batch_id: str | None = None
    state: str = "open"
    raised_at: datetime | None = None
    closed_at: datetime | None = None
    closed_by: str | None = None
    closed_why: str | None = None
    exception_id: str = field(default="")

    def __post_init__(self) -> None:
        if self.kind not in EXCEPTION_KINDS:
            raise ValidationError(
                f"unknown kind of exception {self.kind!r}", expected=", ".join(EXCEPTION_KINDS)
            )
        if not self.exception_id:
            head = (
                self.kind, self.meter_id, self.usage_point_id, self.day, self.channel, self.detail
            )  # fmt: skip
            digest = hashlib.sha256("|".join(map(str, head)).encode()).hexdigest()[:24]
            object.__setattr__(self, "exception_id", digest)


class ExceptionList:
    """The exceptions of a workspace.

    Invariant: a case is never deleted and never reported twice; only `state` and the closing fields of a
    row change. A case closed by a person stays closed when it is found again; one that a run closed
    because it was not found any more opens again when it is found again.
    """

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    @property
    def engine(self) -> sa.Engine:
        """The database the list lives in."""
        return self._engine

    def report(self, cases: Iterable[ExceptionCase]) -> int:
        """Record cases; those already known are left as they are.

        Returns
        -------
        int
            How many are new (or found again after a run had closed them).
        """
        unique = {case.exception_id: case for case in cases}
        if not unique:
            return 0
        with writing(self._engine) as connection:
            return self._record(connection, unique)

    def settle(
        self, cases: Iterable[ExceptionCase], *, kinds: Sequence[str], scope: Mapping[str, Sequence[date]],
        actor: str, why: str,
    ) -> int:  # fmt: skip
        """Record what a run found, and close what it no longer finds, in one transaction.

        Parameters
        ----------
        cases:
            All findings of the run.
        kinds:
            The kinds the run looks for.
        scope:
            The civil days that were looked at, by usage point.
        actor, why:
            Who closes the open cases of ``kinds`` within ``scope`` that are not in ``cases``.

        Returns
        -------
        int
            How many cases are new.
        """
        unique = {case.exception_id: case for case in cases}
        with writing(self._engine) as connection:
            table = _exceptions.c
            gone = []
            for usage_points in _chunks(list(scope)):
                days = [day for usage_point in usage_points for day in scope[usage_point]]
                if not days:
                    continue
                found = connection.execute(
                    sa.select(table.exception_id, table.usage_point_id, table.day)
                    .where(table.state == "open", table.kind.in_(kinds))
                    .where(table.usage_point_id.in_(usage_points))
                    .where(table.day.between(min(days), max(days)))
                )
                looked_at = {usage_point: set(scope[usage_point]) for usage_point in usage_points}
                gone += [
                    row.exception_id
                    for row in found
                    if row.exception_id not in unique and row.day in looked_at[row.usage_point_id]
                ]
            self._close(connection, gone, actor=actor, why=why)
            return self._record(connection, unique)

    def close(self, exception_id: str, *, actor: str, why: str) -> None:
        """Close an open case.

        Raises
        ------
        ValidationError
            There is no such case, or it is closed, or nobody or no reason is named.
        """
        if not actor.strip() or not why.strip():
            raise ValidationError("closing a case needs who and why", where=f"exception {exception_id}")
        with writing(self._engine) as connection:
            state = connection.execute(
                sa.select(_exceptions.c.state).where(_exceptions.c.exception_id == exception_id)
            ).scalar()
            if state != "open":
                found = "there is no such case" if state is None else "the case is closed already"
                raise ValidationError(found, where=f"exception {exception_id}", expected="an open case")
            self._close(connection, [exception_id], actor=actor, why=why)

    def get(self, exception_id: str) -> ExceptionCase:
        """One case.

        Raises
        ------
        ValidationError
            There is no such case.
        """
        with reading(self._engine) as connection:
            row = connection.execute(
                sa.select(_exceptions).where(_exceptions.c.exception_id == exception_id)
            ).one_or_none()
        if row is None:
            raise ValidationError("there is no such case", where=f"exception {exception_id}")
        return _case(row)

    def find(
        self,
        kind: str | None = None,
        state: str | None = None,
        meter_id: str | None = None,
        *,
        usage_point_id: str | None = None,
        first_day: date | None = None,
        last_day: date | None = None,
        limit: int | None = None,
    ) -> list[ExceptionCase]:
        """Cases by any of kind, state, meter, usage point and days ``[first_day, last_day)``.

        Newest day first, then kind, meter and id.
        """
        table = _exceptions.c
        query = sa.select(_exceptions)
        for column, wanted in (
            (table.kind, kind),
            (table.state, state),
            (table.meter_id, meter_id),
            (table.usage_point_id, usage_point_id),
        ):
            if wanted is not None:
                query = query.where(column == wanted)
        if first_day is not None:
            query = query.where(table.day >= first_day)
        if last_day is not None:
            query = query.where(table.day < last_day)
        query = query.order_by(table.day.desc(), table.kind, table.meter_id, table.exception_id)
        if limit is not None:
            query = query.limit(limit)
        with reading(self._engine) as connection:
            return [_case(row) for row in connection.execute(query)]

    def counts(self, state: str | None = None) -> dict[str, int]:
        """Number of cases by kind (of one state, or all), kinds without any left out."""
        query = sa.select(_exceptions.c.kind, sa.func.count()).group_by(_exceptions.c.kind)
        if state is not None:
            query = query.where(_exceptions.c.state == state)
        with reading(self._engine) as connection:
            found = {kind: int(count) for kind, count in connection.execute(query)}
        return {kind: found[kind] for kind in EXCEPTION_KINDS if kind in found}

    def _record(self, connection: sa.Connection, unique: Mapping[str, ExceptionCase]) -> int:
        now = self._clock.now()
        known: dict[str, str | None] = {}
        table = _exceptions.c
        for ids in _chunks(list(unique)):
            rows = connection.execute(
                sa.select(table.exception_id, table.state, table.closed_by, table.closed_why).where(
                    table.exception_id.in_(ids)
                )
            )
            for row in rows:
                gone = row.state == "closed" and str(row.closed_why).startswith(_GONE)
                known[row.exception_id] = "gone" if gone else row.state
        fresh = [_row(case, now) for key, case in unique.items() if key not in known]
        for rows_chunk in _chunks(fresh):
            connection.execute(sa.insert(_exceptions), rows_chunk)
        again = [key for key, state in known.items() if state == "gone"]
        for ids in _chunks(again):
            connection.execute(
                sa.update(_exceptions)
                .where(table.exception_id.in_(ids))
                .values(state="open", closed_at=None, closed_by=None, closed_why=None)
            )
        return len(fresh) + len(again)

    def _close(self, connection: sa.Connection, ids: Sequence[str], *, actor: str, why: str) -> None:
        for chunk in _chunks(ids):
            connection.execute(
                sa.update(_exceptions)
                .where(_exceptions.c.exception_id.in_(chunk))
                .values(state="closed", closed_at=self._clock.now(), closed_by=actor, closed_why=why)
            )


_GONE = "not found any more"
"""How the reason begins with which a run closes what it no longer finds."""


def gone_since(seq: int) -> str:
    """The reason with which a run closes cases that it no longer finds."""
    return f"{_GONE} at sequence {seq}"


def _chunks(items: Sequence[Item]) -> Iterator[list[Item]]:
    for start in range(0, len(items), _CHUNK):
        yield list(items[start : start + _CHUNK])


def _row(case: ExceptionCase, now: datetime) -> dict[str, object]:
    if case.kind in NOTICES and case.state == "open":
        case = replace(case, state="closed", closed_at=now, closed_by="openami", closed_why="a notice")
    return {
        "exception_id": case.exception_id,
        "kind": case.kind,
        "meter_id": case.meter_id,
        "usage_point_id": case.usage_point_id,
        "day": case.day,
        "channel": None if case.channel is None else str(case.channel),
        "detail": case.detail,
        "block_ids": list(case.block_ids),
        "evidence_ids": list(case.evidence_ids),
        "state": case.state,
        "seq": case.seq,
        "batch_id": case.batch_id,
        "raised_at": case.raised_at or now,
        "closed_at": case.closed_at,
        "closed_by": case.closed_by,
        "closed_why": case.closed_why,
    }


def _case(row: sa.Row[tuple[object, ...]]) -> ExceptionCase:
    return ExceptionCase(
        kind=row.kind,
        meter_id=row.meter_id,
        day=row.day,
        detail=row.detail,
        usage_point_id=row.usage_point_id,
        channel=None if row.channel is None else ObisCode.parse(row.channel),
        block_ids=tuple(row.block_ids),
        evidence_ids=tuple(row.evidence_ids),
        seq=row.seq,
        batch_id=row.batch_id,
        state=row.state,
        raised_at=row.raised_at,
        closed_at=row.closed_at,
        closed_by=row.closed_by,
        closed_why=row.closed_why,
        exception_id=row.exception_id,
    )

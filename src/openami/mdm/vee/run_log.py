"""The log of runs: when validation ran, over what, by which rules, and how it ended.

Rows of the table ``jobs``. A run that died stays ``running`` and can be seen; nothing of it needs undoing,
because running again gives the same finals and cases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from openami.quantities.clock import Clock
from openami.quantities.errors import OpenAmiError
from openami.registry.database import UtcInstant, metadata, reading, writing

Facts = dict[str, str | int]
"""What is written down of a run."""

_jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("job_id", sa.Text(), primary_key=True),
    sa.Column("kind", sa.Text(), nullable=False),
    sa.Column("started_at", UtcInstant(), nullable=False),
    sa.Column("ended_at", UtcInstant()),
    sa.Column("state", sa.Text(), nullable=False),
    sa.Column("detail", sa.JSON(), nullable=False),
)


@dataclass(frozen=True, slots=True)
class LoggedRun:
    """One run; ``state`` is ``"running"``, ``"done"`` or ``"failed"``."""

    job_id: str
    kind: str
    started_at: datetime
    ended_at: datetime | None
    state: str
    detail: Mapping[str, str | int]


class RunLog:
    """The runs of one database. Invariant: a run gets its end once; rows are never deleted."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    @contextmanager
    def running(self, kind: str, detail: Facts) -> Iterator[Facts]:
        """Log a run around a block; what the block adds to the yielded facts is logged with its end."""
        job_id = self._begin(kind, detail)
        facts = dict(detail)
        try:
            yield facts
        except OpenAmiError as error:
            self._end(job_id, "failed", facts | {"error": str(error)})
            raise
        self._end(job_id, "done", facts)

    def runs(self, kind: str, limit: int = 100) -> list[LoggedRun]:
        """Runs of a kind, newest first."""
        query = (
            sa.select(_jobs)
            .where(_jobs.c.kind == kind)
            .order_by(_jobs.c.started_at.desc(), _jobs.c.job_id.desc())
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [LoggedRun(*row) for row in connection.execute(query)]

    def _begin(self, kind: str, detail: Facts) -> str:
        with writing(self._engine) as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("LOCK TABLE jobs IN SHARE ROW EXCLUSIVE MODE"))
            count = connection.execute(sa.select(sa.func.count()).select_from(_jobs)).scalar_one()
            job_id = f"{kind}-{count + 1:06d}"
            connection.execute(
                sa.insert(_jobs).values(
                    job_id=job_id, kind=kind, started_at=self._clock.now(), state="running", detail=detail
                )
            )
        return job_id

    def _end(self, job_id: str, state: str, detail: Facts) -> None:
        with writing(self._engine) as connection:
            connection.execute(
                sa.update(_jobs)
                .where(_jobs.c.job_id == job_id)
                .values(state=state, ended_at=self._clock.now(), detail=detail)
            )

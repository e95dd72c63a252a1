"""Validation of everything a workspace has: which days of whom, when nobody says.

A meter that is read over the wire is expected to answer until the last day anybody answered. A meter that is
known from files alone is expected until its own last reading: a file of one year does not make it silent in
the next. The rule here: days that somebody asks for are validated as asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from openami.mdm.vee.run import VeeReport
from openami.quantities.errors import ValidationError
from openami.workspace.workspace import Workspace

Progress = Callable[[int, int], None]
_SPANS = "SELECT series_id, min(day), max(day) FROM raw_intervals GROUP BY ALL"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Usage points whose days ``[first_day, last_day)`` are validated together; None: all."""

    first_day: date
    last_day: date
    usage_point_ids: tuple[str, ...] | None


def stretches(workspace: Workspace) -> list[Stretch]:
    """Everything there is to validate, by last day."""
    with workspace.store.sql() as connection:
        spans = {name: (first, last) for name, first, last in connection.sql(_SPANS).fetchall()}
    if not spans:
        return []
    collected = {meter.meter_id for meter in workspace.registry.meters() if meter.host}
    newest = max((spans[name][1] for name in collected & spans.keys()), default=date.min)
    points: dict[str, tuple[date, date]] = {}
    for one in workspace.registry.installations():
        first, last = spans.get(one.meter_id, (date.max, date.min))
        if one.meter_id in collected:
            last = max(last, newest)
        before = points.get(one.usage_point_id, (date.max, date.min))
        points[one.usage_point_id] = min(first, before[0]), max(last, before[1])
    together: dict[date, list[str]] = {}
    for name, (_, last) in points.items():
        if last > date.min:
            together.setdefault(last, []).append(name)
    oldest = min(first for first, _ in spans.values())
    if len(together) == 1:
        return [Stretch(oldest, last + timedelta(days=1), None) for last in together]
    return [
        Stretch(
            min((points[name][0] for name in names if points[name][0] < date.max), default=oldest),
            last + timedelta(days=1),
            tuple(sorted(names)),
        )
        for last, names in sorted(together.items())
    ]


def validate(workspace: Workspace, wanted: Sequence[Stretch], progress: Progress) -> VeeReport:
    """Validate and estimate; one report of all.

    Raises
    ------
    ValidationError
        Nothing is wanted.
    """
    if not wanted:
        raise ValidationError("there are no days to validate", expected="readings")
    vee = workspace.vee()
    reports = [
        vee.run(
            one.first_day, one.last_day, usage_point_ids=one.usage_point_ids,
            progress=_share(progress, number, len(wanted)),
        )
        for number, one in enumerate(wanted)
    ]  # fmt: skip
    return _sum(reports)


def _share(progress: Progress, number: int, count: int) -> Progress:
    """Progress of one run among several, in thousandths of the whole."""

    def advance(done: int, total: int) -> None:
        progress(1000 * number + 1000 * done // max(total, 1), 1000 * count)

    return progress if count == 1 else advance


def _sum(reports: Sequence[VeeReport]) -> VeeReport:
    last = reports[-1]
    kinds: Counter[str] = Counter()
    for report in reports:
        kinds.update(report.exceptions)
    return VeeReport(
        days=sum(report.days for report in reports),
        intervals_expected=sum(report.intervals_expected for report in reports),
        intervals_measured=sum(report.intervals_measured for report in reports),
        intervals_estimated=sum(report.intervals_estimated for report in reports),
        exceptions=dict(sorted(kinds.items())),
        pack_id=last.pack_id,
        seq=last.seq,
        registry_revision=last.registry_revision,
        revised=tuple(item for report in reports for item in report.revised),
    )

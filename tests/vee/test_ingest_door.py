"""The Door reports what it sees, and finds it again from the store after a crash."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from openami.mdm.exceptions import ExceptionCase, ExceptionList
from openami.mdm.ingest import IngestDoor
from openami.quantities.civil_time import CivilDay
from openami.quantities.errors import RegistryError
from openami.quantities.obis import IMPORT_ENERGY, IMPORT_INTERVAL
from openami.quantities.units import WH
from openami.readings.door import Batch
from openami.readings.event import Event, EventCode
from openami.readings.interval_block import IntervalBlock
from openami.readings.register_read import RegisterRead
from openami.registry.database import open_database
from vee_world import CAPTURED, ZONE, Utility

DAY = CivilDay(date(2024, 5, 6), ZONE)


def block(value: int = 100, *, later: int = 0, evidence_id: str = "e-1") -> IntervalBlock:
    captured = CAPTURED + timedelta(hours=later)
    values = np.full(96, value, np.int64)
    return IntervalBlock("M-1", IMPORT_INTERVAL, DAY, 900, WH, values, captured, evidence_id=evidence_id)


def event(code: EventCode, detail: str = "", *, hours: float = 23.5) -> Event:
    return Event("M-1", DAY.start + timedelta(hours=hours), code, CAPTURED, detail, "e-2")


def batches() -> list[Batch]:
    """Everything the Door can see: conflict, redelivery, events of the head-end, and unremarkable ones."""
    read = RegisterRead("M-1", IMPORT_ENERGY, DAY.end, WH, 5000, CAPTURED, "freeze")
    return [
        Batch("first", (block(),), (read,), (event(EventCode.READ_RETRIED, "attempts=3"),)),
        Batch("again", (block(later=1, evidence_id="e-9"),), (read,)),
        Batch("other", (block(101, later=2),), (replace(read, value=5001, read_id=""),)),
        Batch("clock", events=(event(EventCode.CLOCK_DIFFERENCE, "seconds=-61"),)),
        Batch("clock ok", events=(event(EventCode.CLOCK_DIFFERENCE, "seconds=60", hours=2),)),
        Batch("odd", events=(event(EventCode.CLOCK_DIFFERENCE, "seconds=?", hours=3),)),
        Batch(
            "fail",
            events=(
                event(EventCode.READ_FAILED, "why=timeout"),
                event(EventCode.IDENTITY_MISMATCH, "expected=M-1;found=M-7"),
                event(EventCode.SECURITY_ALARM, "attempt=1;reason=the authentication tag is wrong"),
                event(EventCode.POWER_DOWN),
            ),
        ),
    ]


def content(cases: Iterable[ExceptionCase]) -> list[tuple[object, ...]]:
    return sorted(
        (
            *(case.exception_id, case.kind, case.meter_id, case.day, str(case.channel), case.detail),
            *(case.block_ids, case.evidence_ids, case.seq, case.batch_id, case.state),
        )
        for case in cases
    )


def test_every_sight_is_a_case_with_meter_day_and_evidence(utility: Utility) -> None:
    utility.meter()
    for batch in batches():
        utility.door.put(batch)
    found = utility.exceptions.find()
    assert utility.exceptions.counts() == {
        "duplicate": 1,
        "conflicting_duplicate": 2,
        "clock_drift": 1,
        "meter_identity": 1,
        "meter_security": 1,
        "read_retried": 1,
        "read_failed": 1,
    }
    assert {case.meter_id for case in found} == {"M-1"}
    assert {case.day for case in found if case.kind != "conflicting_duplicate"} == {DAY.day}
    conflict = next(case for case in found if case.channel == IMPORT_INTERVAL and "96 of 96" in case.detail)
    assert conflict.day == DAY.day
    assert set(conflict.block_ids) == {block().block_id, block(101, later=2).block_id}
    assert conflict.evidence_ids == ("e-1",)
    drift = next(case for case in found if case.kind == "clock_drift")
    assert drift.detail == "2024-05-06 21:30:00Z seconds=-61"
    assert drift.evidence_ids == ("e-2",)


def test_events_read_again_are_no_new_cases(utility: Utility) -> None:
    utility.door.put(Batch("one", events=(event(EventCode.READ_FAILED),)))
    again = replace(event(EventCode.READ_FAILED), captured_at=CAPTURED + timedelta(days=1), evidence_id="e-7")
    utility.door.put(Batch("two", events=(again, event(EventCode.READ_RETRIED))))
    assert utility.exceptions.counts() == {"read_retried": 1, "read_failed": 1}


def test_the_same_batch_again_is_reported_and_stored_once(utility: Utility) -> None:
    batch = batches()[0]
    first = utility.door.put(batch)
    again = utility.door.put(batch)
    assert (again.seq, again.stored) == (first.seq, 0)
    (case,) = utility.exceptions.find("duplicate")
    assert (case.meter_id, case.day, case.state) == ("M-1", DAY.day, "closed")
    assert len(utility.store.raw_versions("M-1", IMPORT_INTERVAL, DAY.day)) == 1


class _Dying(ExceptionList):
    """A list whose process dies before it is written, from the given report on."""

    def __init__(self, utility: Utility, lives: int) -> None:
        super().__init__(utility.exceptions.engine, utility.clock)
        self.lives = lives

    def report(self, cases: Iterable[ExceptionCase]) -> int:
        if self.lives == 0:
            raise RegistryError("the process died here")
        self.lives -= 1
        return super().report(cases)


@pytest.mark.parametrize("lives", range(8))
def test_a_crash_between_store_and_list_loses_no_case(utility: Utility, tmp_path: Path, lives: int) -> None:
    utility.meter()
    engine = open_database(f"sqlite:///{tmp_path / 'whole.sqlite'}")
    whole = ExceptionList(engine, utility.clock)
    dying = IngestDoor(utility.store, _Dying(utility, lives), registry=utility.registry)
    for batch in batches():
        try:
            dying.put(batch)
        except RegistryError:
            continue
    IngestDoor(utility.store, whole, registry=utility.registry).rederive()
    missed = utility.door.rederive()
    assert content(utility.exceptions.find()) == content(whole.find())
    assert len(whole.find()) == 8
    assert (missed == 0) is (lives >= 7)
    assert utility.door.rederive() == 0


def test_rederiving_an_empty_store_finds_nothing(utility: Utility) -> None:
    assert utility.door.rederive() == 0

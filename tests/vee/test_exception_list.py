"""The list of exceptions keeps every finding once, and remembers who closed it and why."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from openami.mdm.exceptions import ExceptionCase, ExceptionList, gone_since
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import ValidationError
from openami.quantities.obis import IMPORT_INTERVAL
from openami.registry.database import open_database

NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
DAY = date(2024, 2, 29)


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(NOW)


@pytest.fixture
def exceptions(database_url: str, clock: SimulatedClock) -> Iterator[ExceptionList]:
    engine = open_database(database_url)
    yield ExceptionList(engine, clock)
    engine.dispose()


def case(kind: str = "gap", detail: str = "4 of 96 intervals missing", **more: object) -> ExceptionCase:
    facts: dict[str, object] = {"meter_id": "M-1", "usage_point_id": "UP-1", "day": DAY, **more}
    return ExceptionCase(kind=kind, detail=detail, **facts)  # type: ignore[arg-type]


def test_the_same_finding_is_one_case(exceptions: ExceptionList) -> None:
    finding = case(block_ids=("b1", "b2"), evidence_ids=("e1",), channel=IMPORT_INTERVAL, seq=7)
    assert exceptions.report([finding, finding]) == 1
    assert exceptions.report([finding]) == 0
    (stored,) = exceptions.find()
    assert stored.raised_at == NOW
    assert (stored.block_ids, stored.evidence_ids, stored.seq) == (("b1", "b2"), ("e1",), 7)
    assert exceptions.get(finding.exception_id) == stored
    assert stored.channel == IMPORT_INTERVAL


def test_a_person_closes_a_case_for_good(exceptions: ExceptionList, clock: SimulatedClock) -> None:
    finding = case()
    exceptions.report([finding])
    clock.advance(timedelta(hours=1))
    exceptions.close(finding.exception_id, actor="ada", why="seen on site")
    exceptions.report([finding])
    stored = exceptions.get(finding.exception_id)
    assert (stored.state, stored.closed_by, stored.closed_why) == ("closed", "ada", "seen on site")
    assert stored.closed_at == NOW + timedelta(hours=1)
    with pytest.raises(ValidationError, match="closed already"):
        exceptions.close(finding.exception_id, actor="ada", why="again")


@pytest.mark.parametrize(("actor", "why"), [("", "reason"), ("ada", " ")])
def test_closing_needs_who_and_why(exceptions: ExceptionList, actor: str, why: str) -> None:
    finding = case()
    exceptions.report([finding])
    with pytest.raises(ValidationError, match="who and why"):
        exceptions.close(finding.exception_id, actor=actor, why=why)


def test_a_case_nobody_reported_is_named_in_the_error(exceptions: ExceptionList) -> None:
    with pytest.raises(ValidationError, match="there is no such case"):
        exceptions.get("0" * 24)
    with pytest.raises(ValidationError, match="no such case"):
        exceptions.close("0" * 24, actor="ada", why="reason")


def test_a_run_closes_what_it_no_longer_finds_and_only_there(exceptions: ExceptionList) -> None:
    old, elsewhere, other_kind = case(), case(usage_point_id="UP-2"), case("theft", "half")
    next_day = case(day=DAY + timedelta(days=1))
    exceptions.report([old, elsewhere, other_kind, next_day])
    new = case(detail="1 of 96 intervals missing")
    settle = {"kinds": ["gap", "spike"], "scope": {"UP-1": [DAY]}, "actor": "vee", "why": gone_since(9)}
    assert exceptions.settle([new], **settle) == 1
    closed = exceptions.find(state="closed")
    assert [item.exception_id for item in closed] == [old.exception_id]
    assert closed[0].closed_why == "not found any more at sequence 9"
    assert exceptions.settle([old, new], **settle) == 1, "found again: open again"
    assert exceptions.get(old.exception_id).state == "open"
    assert exceptions.counts() == {"gap": 4, "theft": 1}
    assert exceptions.counts(state="closed") == {}


def test_notices_are_recorded_and_closed_at_once(exceptions: ExceptionList) -> None:
    exceptions.report([case("duplicate", "delivered twice"), case()])
    assert [item.kind for item in exceptions.find(state="open")] == ["gap"]
    assert exceptions.counts() == {"gap": 1, "duplicate": 1}


def test_cases_are_found_by_meter_day_and_kind(exceptions: ExceptionList) -> None:
    days = [DAY + timedelta(days=offset) for offset in range(5)]
    exceptions.report([case(day=day) for day in days] + [case("spike", "x", meter_id="M-2")])
    assert [item.day for item in exceptions.find("gap", first_day=days[1], last_day=days[3])] == days[2:0:-1]
    assert [item.kind for item in exceptions.find(meter_id="M-2")] == ["spike"]
    assert len(exceptions.find(limit=2)) == 2


def test_thousands_of_cases_in_one_report(exceptions: ExceptionList) -> None:
    cases = [case(detail=f"finding {number}") for number in range(3000)]
    assert exceptions.report(cases) == 3000
    assert exceptions.report(cases) == 0


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValidationError, match="unknown kind of exception 'odd'"):
        case("odd")

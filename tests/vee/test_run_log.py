"""The log of runs says what ran, over what, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from openami.mdm.vee.run_log import RunLog
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import StoreError
from openami.registry.database import open_database
from vee_world import Utility

NOW = datetime(2024, 3, 1, tzinfo=UTC)


@pytest.fixture
def log_and_clock(database_url: str) -> Iterator[tuple[RunLog, SimulatedClock]]:
    engine = open_database(database_url)
    clock = SimulatedClock(NOW)
    yield RunLog(engine, clock), clock
    engine.dispose()


def test_a_run_is_logged_with_what_it_adds(log_and_clock: tuple[RunLog, SimulatedClock]) -> None:
    log, clock = log_and_clock
    with log.running("vee", {"first_day": "2024-02-01"}) as facts:
        assert [run.state for run in log.runs("vee")] == ["running"]
        clock.advance(timedelta(minutes=5))
        facts["days"] = 35
    (run,) = log.runs("vee")
    assert (run.job_id, run.state) == ("vee-000001", "done")
    assert (run.started_at, run.ended_at) == (NOW, NOW + timedelta(minutes=5))
    assert run.detail == {"first_day": "2024-02-01", "days": 35}


def test_a_failure_is_logged_and_passed_on(log_and_clock: tuple[RunLog, SimulatedClock]) -> None:
    log, _clock = log_and_clock
    with pytest.raises(StoreError), log.running("vee", {}):
        raise StoreError("disk full", where="readings")
    with log.running("vee", {}):
        pass
    assert [(run.job_id, run.state) for run in log.runs("vee")] == [
        ("vee-000002", "done"),
        ("vee-000001", "failed"),
    ]
    assert log.runs("vee")[1].detail == {"error": "readings: disk full"}
    assert log.runs("other") == []


def test_validation_logs_itself(utility: Utility) -> None:
    utility.meter()
    report = utility.run(date(2024, 2, 1), date(2024, 2, 3))
    (run,) = RunLog(utility.exceptions.engine, utility.clock).runs("vee")
    assert run.state == "done"
    assert run.detail["pack"] == report.pack_id == "default@1"
    assert (run.detail["first_day"], run.detail["last_day"]) == ("2024-02-01", "2024-02-03")
    assert run.detail["exceptions"] == 4

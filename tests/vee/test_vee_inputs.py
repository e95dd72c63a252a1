"""What a run takes and refuses: imported series, sources' own estimates, dated rules, unusable input."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from openami.mdm.vee.rule_pack import default_pack_text
from openami.quantities.errors import RegistryError, StoreError, ValidationError
from openami.quantities.obis import EXPORT_INTERVAL, IMPORT_INTERVAL
from openami.quantities.status import Quality, Status
from vee_world import CAPTURED, FIRST, LAST, Utility, civil, freezes, loads


def test_imported_series_without_registers(utility: Utility) -> None:
    utility.meter(channels=(IMPORT_INTERVAL, EXPORT_INTERVAL), interval_s=1800)
    days = loads(FIRST, 28, interval_s=1800)
    utility.deliver(days, interval_s=1800, missing={civil(22): range(10, 30)})
    utility.deliver(days, interval_s=1800, channel=EXPORT_INTERVAL)
    report = utility.run(FIRST, LAST)
    assert report.intervals_expected == 2 * 28 * 48
    assert report.intervals_estimated == 20
    final = utility.final(civil(22).day)
    assert str(Status.from_id(int(final.status_ids[12]))) == "E15"
    assert (final.anchor_start, final.anchor_end) == (None, None)


def test_estimates_of_the_source_are_kept(utility: Utility) -> None:
    """A NEM12 file says which of its values are substitutes; they stay what they are."""
    utility.meter()
    days = loads(FIRST, 3)
    status = np.zeros(96, np.int32)
    status[5:9] = Status(Quality.SUBSTITUTED, 14).id
    utility.deliver(days, status={civil(1): status})
    report = utility.run(FIRST, FIRST + timedelta(days=3))
    assert report.intervals_estimated == 4
    assert np.array_equal(utility.final(civil(1).day).status_ids, status)


def test_silent_meter_with_two_channels_is_one_case(utility: Utility) -> None:
    utility.meter(channels=(IMPORT_INTERVAL, EXPORT_INTERVAL))
    days = loads(FIRST, 14)
    reads = freezes(days)
    heard = {day: values for day, values in days.items() if day != civil(7)}
    utility.deliver(heard, reads=reads)
    utility.deliver(heard, reads=reads, channel=EXPORT_INTERVAL)
    utility.run(FIRST, FIRST + timedelta(days=14))
    (case,) = utility.cases()
    assert (case.kind, case.day, case.channel) == ("meter_silent", civil(7).day, None)
    assert utility.final(civil(7).day, channel=EXPORT_INTERVAL).total == days[civil(7)].sum()


def test_method_order_and_thresholds_are_dated(utility: Utility) -> None:
    """From a day on, the registry's pack forbids linear: the same gap is then a like day."""
    utility.meter()
    text = default_pack_text().replace('short = ["linear", ', "short = [").replace(
        'version = "1"', 'version = "2"'
    )  # fmt: skip
    change = civil(20).day
    utility.registry.put_document(
        "rule_pack", "default", text, valid_from=change, actor="test", why="order under review"
    )
    days = loads(FIRST, 28)
    utility.deliver(days, reads=freezes(days), missing={civil(19): [30], civil(20): [30]})
    report = utility.run_dated(FIRST, LAST)
    assert report.pack_id == "default@2"
    before, after = utility.final(civil(19).day), utility.final(change)
    assert (str(Status.from_id(int(before.status_ids[30]))), before.rule) == ("S17", "default@1")
    assert (str(Status.from_id(int(after.status_ids[30]))), after.rule) == ("S15", "default@2")


def test_as_of_looks_only_at_what_was_there(utility: Utility) -> None:
    utility.meter()
    days = loads(FIRST, 7)
    utility.deliver(days, reads=freezes(days), missing={civil(3): [30]})
    seq = utility.store.seq
    utility.deliver({civil(3): days[civil(3)]}, captured=CAPTURED + timedelta(days=1))
    report = utility.run(FIRST, FIRST + timedelta(days=7), as_of=seq)
    assert report.intervals_estimated == 1
    with pytest.raises(StoreError, match="no commit 99"):
        utility.run(FIRST, FIRST + timedelta(days=7), as_of=99)


def test_progress_counts_usage_points(utility: Utility) -> None:
    for number in range(3):
        utility.meter(f"M-{number}", f"UP-{number}")
    seen: list[tuple[int, int]] = []
    utility.run(FIRST, LAST, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 3)]


def test_unusable_input_is_named(utility: Utility) -> None:
    utility.meter()
    with pytest.raises(ValidationError, match="no day from"):
        utility.run(LAST, FIRST)
    with pytest.raises(RegistryError, match="UP-9"):
        utility.run(FIRST, LAST, usage_point_ids=["UP-9"])


def test_zone_of_meter_and_usage_point_must_agree(utility: Utility) -> None:
    utility.meter("M-1", "UP-1")
    utility.meter("M-2", "UP-1x", zone="Asia/Shanghai")
    utility.misplace("M-3", "UP-3", meter_zone="Asia/Shanghai")
    with pytest.raises(ValidationError, match="M-3 counts days in Asia/Shanghai") as error:
        utility.run(FIRST, LAST)
    assert "M-2" not in str(error.value)


def test_blocks_of_another_zone_are_refused(utility: Utility) -> None:
    utility.meter()
    utility.deliver(loads(FIRST, 2, zone="UTC"))
    with pytest.raises(ValidationError, match="blocks of days in UTC") as error:
        utility.run(FIRST, LAST)
    assert "days in Europe/Berlin" in str(error.value)


def test_a_case_leads_to_the_readings_and_their_evidence(utility: Utility) -> None:
    utility.meter()
    days = loads(FIRST, 3)
    utility.deliver(days, reads=freezes(days), missing={civil(1): [7]})
    utility.run(FIRST, FIRST + timedelta(days=3))
    (case,) = utility.cases()
    (raw,) = utility.store.raw_versions("M-1", IMPORT_INTERVAL, civil(1).day)
    assert case.block_ids == (raw.block_id,)
    assert case.evidence_ids == ("frames-of-test",)
    assert (case.usage_point_id, case.channel, case.seq) == ("UP-1", IMPORT_INTERVAL, 1)


def test_days_before_anything_are_silent_not_an_error(utility: Utility) -> None:
    utility.meter()
    report = utility.run(FIRST, FIRST + timedelta(days=2))
    assert (report.intervals_expected, report.intervals_measured, report.intervals_estimated) == (192, 0, 0)
    assert report.exceptions == {"estimation_refused": 2, "meter_silent": 2}
    final = utility.final(FIRST)
    assert final.missing.all()
    assert final.captured_at == datetime(2024, 2, 5, 23, tzinfo=UTC)

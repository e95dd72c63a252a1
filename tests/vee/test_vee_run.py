"""From raw readings to finals: what is flagged, what is estimated, and that the energy is the register's."""

from __future__ import annotations

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pytest

from openami.mdm.vee.checks import check_names
from openami.mdm.vee.rule_pack import RulePack, default_pack_text
from openami.quantities.civil_time import CivilDay
from openami.quantities.obis import IMPORT_INTERVAL
from openami.quantities.status import DeviceFlag, Quality, Status, is_estimated, qualities
from openami.readings.event import Event, EventCode
from vee_world import CAPTURED, FIRST, LAST, ZONE, Utility, civil, freezes, loads


def test_clean_days_are_final_as_they_were_read(utility: Utility) -> None:
    utility.meter()
    days = loads(FIRST, 28)
    reads = freezes(days)
    utility.deliver(days, reads=reads)
    report = utility.run(FIRST, LAST)
    assert (report.days, report.intervals_expected) == (28, 28 * 96)
    assert (report.intervals_measured, report.intervals_estimated) == (28 * 96, 0)
    assert report.exceptions == {}
    for day, values in days.items():
        final = utility.final(day.day)
        assert np.array_equal(final.values, values)
        assert final.status is None
        assert (final.anchor_start, final.anchor_end) == (reads[day.start], reads[day.end])
        assert (final.rule, final.actor, final.why, final.failed_checks) == ("default@1", "vee", "valid", 0)
        (raw,) = utility.store.raw_versions("M-1", IMPORT_INTERVAL, day.day)
        assert final.sources == (raw.block_id,)


def test_running_again_changes_nothing(utility: Utility) -> None:
    utility.meter()
    days = loads(FIRST, 28)
    utility.deliver(days, reads=freezes(days), missing={civil(9): [4, 5, 6], civil(20): range(20, 60)})
    first = utility.run(FIRST, LAST)
    cases = utility.cases()
    again = utility.run(FIRST, LAST)
    assert again.revised == ()
    assert again.seq == first.seq
    assert utility.cases() == cases
    assert all(utility.final(day.day).version == 1 for day in days)


def test_gap_of_two_hours_is_linear_and_longer_is_like_day(utility: Utility) -> None:
    utility.meter()
    days = loads(FIRST, 28)
    missing = {civil(22): range(8, 16), civil(23): range(8, 17)}
    utility.deliver(days, reads=freezes(days), missing=missing)
    utility.run(FIRST, LAST)
    linear, like_day = utility.final(civil(22).day), utility.final(civil(23).day)
    assert {str(Status.from_id(int(item))) for item in linear.status_ids[8:16]} == {"S17"}
    assert {str(Status.from_id(int(item))) for item in like_day.status_ids[8:17]} == {"S15"}
    assert like_day.why is not None
    assert "like day average of 2024-02-21, 2024-02-14, 2024-02-07" in like_day.why
    for day in missing:
        assert utility.final(day.day).total == days[day].sum()
        untouched = np.setdiff1d(np.arange(96), missing[day])
        assert np.array_equal(utility.final(day.day).values[untouched], days[day][untouched])
    assert utility.kinds() == [("gap", civil(22).day), ("gap", civil(23).day)]
    assert utility.cases()[0].detail == "8 of 96 intervals missing: 8-15"


def test_gap_is_measured_before_it_is_filled(utility: Utility) -> None:
    """A published defect of a peer: filling from the left shrank a long gap into short, linear ones."""
    utility.meter()
    days = loads(FIRST, 28)
    gap = range(90, 96)
    utility.deliver(days, reads=freezes(days), missing={civil(22): gap, civil(23): range(3)})
    utility.run(FIRST, LAST)
    both = [*utility.final(civil(22).day).status_ids[90:], *utility.final(civil(23).day).status_ids[:3]]
    assert {str(Status.from_id(int(item))) for item in both} == {"S15"}, "nine intervals over midnight"


def test_linear_anchors_come_from_the_neighbouring_day(utility: Utility) -> None:
    utility.meter()
    days = {civil(offset): np.full(96, 100, np.int64) for offset in range(3)}
    days[civil(0)][-1] = 40
    days[civil(1)][2:] = 130
    days[civil(1)][0], days[civil(1)][1] = 70, 100
    utility.deliver(days, missing={civil(1): [0, 1]})
    utility.run(FIRST, FIRST + timedelta(days=3))
    final = utility.final(civil(1).day)
    assert final.values[:2].tolist() == [70, 100], "40 .. 130 point to point"
    assert {str(Status.from_id(int(item))) for item in final.status_ids[:2]} == {"E17"}, "no register"
    utility.run(civil(1).day, civil(2).day)
    assert utility.final(civil(1).day).version == 1, "a run of that day alone says the same"


def test_spike_and_gap_on_one_day_are_flagged_before_scaling(utility: Utility) -> None:
    """Rule order: scaling to the register with the spike still counted left days wrong by up to 19.95 kWh."""
    utility.meter()
    days = loads(FIRST, 28)
    got = {day: values.copy() for day, values in days.items()}
    got[civil(15)][50] += 12_000
    gap = [10, 11, 12, *range(70, 85)]
    utility.deliver(got, reads=freezes(days), missing={civil(15): gap})
    utility.run(FIRST, LAST)
    final = utility.final(civil(15).day)
    assert final.total == days[civil(15)].sum()
    assert sorted(np.flatnonzero(is_estimated(final.status_ids)).tolist()) == sorted([*gap, 50])
    assert final.values[50] < 1500
    assert set(check_names(final.failed_checks)) == {"gap", "spike", "register_sum"}
    assert {kind for kind, _ in utility.kinds()} == {"gap", "spike"}


def test_a_spike_hidden_by_a_long_gap_is_still_found(utility: Utility) -> None:
    """The sum of what is there stays below the register, because the gap takes more than the spike adds."""
    utility.meter()
    days = loads(FIRST, 28)
    got = {day: values.copy() for day, values in days.items()}
    gap = range(40, 88)
    got[civil(21)][20] += int(days[civil(21)][40:88].sum() * 0.8)
    present = np.setdiff1d(np.arange(96), gap)
    assert got[civil(21)][present].sum() < days[civil(21)].sum()
    utility.deliver(got, reads=freezes(days), missing={civil(21): gap})
    utility.run(FIRST, LAST)
    assert ("spike", civil(21).day) in utility.kinds()
    assert utility.final(civil(21).day).total == days[civil(21)].sum()


def test_a_burst_that_the_register_confirms_is_no_spike(utility: Utility) -> None:
    utility.meter()
    days = loads(FIRST, 28)
    days[civil(3)][33] = 5000
    days[civil(4)][34] = 5000
    utility.deliver(days, reads=freezes(days), missing={civil(4): [60]})
    report = utility.run(FIRST, LAST)
    assert report.exceptions == {"gap": 1}
    assert utility.final(civil(4).day).values[34] == 5000


def test_an_excess_too_small_for_the_trigger_is_located(utility: Utility) -> None:
    utility.meter()
    days = loads(FIRST, 28)
    days[civil(6)][[30, 31, 32]] = 1200
    got = {day: values.copy() for day, values in days.items()}
    got[civil(6)][60] += 1500
    utility.deliver(got, reads=freezes(days))
    utility.run(FIRST, LAST)
    final = utility.final(civil(6).day)
    assert np.flatnonzero(is_estimated(final.status_ids)).tolist() == [60]
    assert np.array_equal(final.values, days[civil(6)]), "one interval against one register: exact"


def test_intervals_that_contradict_the_register_without_a_culprit_stay_suspect(utility: Utility) -> None:
    utility.meter()
    days = loads(FIRST, 7)
    got = {day: values.copy() for day, values in days.items()}
    got[civil(2)] -= 9
    utility.deliver(got, reads=freezes(days))
    report = utility.run(FIRST, FIRST + timedelta(days=7))
    final = utility.final(civil(2).day)
    assert np.array_equal(final.values, got[civil(2)]), "annotated, not changed"
    assert (qualities(final.status_ids) == Quality.SUSPECT).all()
    assert utility.kinds() == [("register_sum", civil(2).day)]
    assert "by -864" in utility.cases()[0].detail
    assert report.intervals_measured == 6 * 96


@pytest.mark.parametrize(("error", "found"), [(2, False), (-2, False), (3, True), (-3, True)])
def test_the_sum_may_differ_by_two_register_steps(utility: Utility, error: int, found: bool) -> None:
    utility.meter()
    days = loads(FIRST, 3)
    reads = freezes(days)
    for at in [civil(1).end, civil(2).end]:
        reads[at] += error
    utility.deliver(days, reads=reads)
    utility.run(FIRST, FIRST + timedelta(days=3))
    assert bool(utility.cases()) is found


def test_two_dead_days_without_freezes_are_scaled_over_the_whole_span(utility: Utility) -> None:
    utility.meter()
    days = loads(FIRST, 28)
    dead = (civil(16), civil(17))
    reads = freezes(days)
    del reads[civil(17).start]
    got = {day: values for day, values in days.items() if day not in dead}
    utility.deliver(got, reads=reads)
    utility.run(FIRST, LAST)
    finals = [utility.final(day.day) for day in dead]
    assert sum(final.total for final in finals) == sum(int(days[day].sum()) for day in dead)
    assert all(is_estimated(final.status_ids).all() for final in finals)
    assert finals[0].anchor_end is None
    assert finals[1].anchor_start is None
    assert utility.kinds() == [("meter_silent", day.day) for day in dead]
    error = [abs(final.total - int(days[day].sum())) for final, day in zip(finals, dead, strict=True)]
    assert max(error) < 0.1 * int(days[dead[0]].sum())


def test_runs_day_by_day_reach_the_same_energy_as_one_run(utility: Utility) -> None:
    """The second dead day is read when its closing freeze has come: the first one is revised with it."""
    utility.meter()
    days = loads(FIRST, 28)
    dead = (civil(16), civil(17))
    reads = freezes(days)
    del reads[civil(17).start]
    before = {day: values for day, values in days.items() if day.day < civil(15).day}
    utility.deliver(before, reads={at: count for at, count in reads.items() if at <= civil(15).start})
    utility.run(FIRST, civil(15).day)
    for day in list(days)[15:20]:
        delivered = {} if day in dead else {day: days[day]}
        registers = {at: reads[at] for at in (day.start, day.end) if at in reads}
        utility.deliver(delivered, reads=registers, source=f"day {day.day}")
        report = utility.run(day.day, day.day + timedelta(days=1))
        if day == civil(17):
            assert ("UP-1", IMPORT_INTERVAL, civil(16).day) in report.revised
    total = sum(utility.final(day.day).total for day in list(days)[:20])
    assert total == sum(int(values.sum()) for values in list(days.values())[:20])
    assert utility.final(civil(16).day).version == 2


def test_estimate_stays_unscaled_until_the_register_comes(utility: Utility) -> None:
    utility.meter()
    days = loads(FIRST, 28)
    reads = freezes(days)
    late = {civil(22).end: reads.pop(civil(22).end)}
    last = civil(22).day + timedelta(days=1)
    before = {day: values for day, values in days.items() if day.day < last}
    utility.deliver(before, reads={at: v for at, v in reads.items() if at <= civil(22).start},
                    missing={civil(22): range(30, 60)})  # fmt: skip
    utility.run(FIRST, last)
    first = utility.final(civil(22).day)
    assert str(Status.from_id(int(first.status_ids[30]))) == "E15"
    utility.deliver({}, reads=late, source="late freeze")
    report = utility.run(FIRST, last)
    second = utility.final(civil(22).day)
    assert str(Status.from_id(int(second.status_ids[30]))) == "S15"
    assert second.total == days[civil(22)].sum()
    assert report.revised == (("UP-1", IMPORT_INTERVAL, civil(22).day),)
    versions = utility.store.final_versions("UP-1", IMPORT_INTERVAL, civil(22).day)
    assert [version.version for version in versions] == [1, 2]


def test_late_data_replace_the_estimate_and_close_the_case(utility: Utility) -> None:
    utility.meter()
    days = loads(FIRST, 28)
    utility.deliver(days, reads=freezes(days), missing={civil(5): range(30, 60)})
    utility.run(FIRST, LAST)
    later = CAPTURED + timedelta(days=1)
    utility.deliver({civil(5): days[civil(5)]}, captured=later, source="back-fill")
    utility.run(FIRST, LAST)
    assert np.array_equal(utility.final(civil(5).day).values, days[civil(5)])
    (case,) = utility.cases()
    assert (case.kind, case.state, case.closed_by) == ("gap", "closed", "vee")


def test_late_data_on_a_billed_day_are_reported(utility: Utility) -> None:
    utility.meter()
    days = loads(FIRST, 14)
    last = FIRST + timedelta(days=14)
    utility.deliver(days, reads=freezes(days), missing={civil(5): [30], civil(8): [30]})
    utility.run(FIRST, last)
    for offset in (5, 8):
        utility.deliver({civil(offset): days[civil(offset)]}, captured=CAPTURED + timedelta(days=1))
    utility.run_billed(FIRST, last, billed={civil(5).day})
    late = utility.exceptions.find("late_data")
    assert [(case.meter_id, case.usage_point_id, case.day) for case in late] == [
        ("M-1", "UP-1", civil(5).day)
    ]


def test_gap_that_the_register_leaves_nothing_for_is_refused(utility: Utility) -> None:
    """k < 0: what was measured exceeds the register already, and no single value is to blame."""
    utility.meter()
    days = loads(FIRST, 14)
    got = {day: values.copy() for day, values in days.items()}
    got[civil(10)] += 100
    utility.deliver(got, reads=freezes(days), missing={civil(10): [20, 21]})
    utility.run(FIRST, FIRST + timedelta(days=14))
    final = utility.final(civil(10).day)
    assert final.missing[20:22].all()
    assert not is_estimated(final.status_ids).any()
    assert {kind for kind, _ in utility.kinds()} == {"gap", "register_sum", "estimation_refused"}
    assert (qualities(final.status_ids[~final.missing]) == Quality.SUSPECT).all()


def test_gap_that_would_need_more_than_the_series_ever_showed_is_refused(utility: Utility) -> None:
    """k > k_max and beyond the largest value known: the register jumped, nothing is invented."""
    utility.meter()
    days = loads(FIRST, 14)
    reads = freezes(days)
    for at in reads:
        if at >= civil(10).end:
            reads[at] += 500_000
    utility.deliver(days, reads=reads, missing={civil(10): [20, 21]})
    utility.run(FIRST, FIRST + timedelta(days=14))
    assert utility.final(civil(10).day).missing[20:22].all()
    (refused,) = utility.exceptions.find("estimation_refused")
    assert "the register leaves" in refused.detail


def test_power_outage_is_zero_and_its_edges_are_partial(utility: Utility) -> None:
    utility.meter()
    days = loads(FIRST, 14)
    down = civil(9).start + timedelta(hours=5, minutes=5)
    up = civil(9).start + timedelta(hours=8, minutes=10)
    true = days[civil(9)]
    true[21:32] = 0
    true[20], true[32] = 30, 35
    events = [
        Event("M-1", down, EventCode.POWER_DOWN, CAPTURED, evidence_id="e-down"),
        Event("M-1", up, EventCode.POWER_UP, CAPTURED, evidence_id="e-up"),
    ]
    utility.deliver(days, reads=freezes(days), missing={civil(9): range(20, 33)}, events=events)
    report = utility.run(FIRST, FIRST + timedelta(days=14))
    final = utility.final(civil(9).day)
    assert {str(Status.from_id(int(item))) for item in final.status_ids[21:32]} == {"S19"}
    assert final.values[21:32].sum() == 0
    assert final.values[20] + final.values[32] == 65, "the register gives the partial intervals their sum"
    assert final.total == true.sum()
    (outage,) = utility.exceptions.find("power_outage")
    assert (outage.day, outage.evidence_ids) == (civil(9).day, ("e-down", "e-up", "frames-of-test"))
    assert outage.detail == "no power from 04:05:00Z to 07:10:00Z, 11100 s"
    assert report.exceptions == {"gap": 1, "power_outage": 1}


def test_a_row_after_an_outage_that_holds_what_was_taken_before_it_is_no_spike(utility: Utility) -> None:
    utility.meter()
    days = loads(FIRST, 14)
    down = civil(9).start + timedelta(hours=19, minutes=13)
    up = civil(9).start + timedelta(hours=19, minutes=53)
    day = days[civil(9)]
    day[:] = np.clip(day, None, 200)
    # Supply failed at 19:13: the 1,233 Wh since 19:00 are in the row of 20:00, which says it is a long one.
    day[27], day[75:80] = 483, (1156, 0, 0, 0, 1233 + 143)
    total = int(day.sum())
    status = np.zeros(96, np.int32)
    status[79] = Status(device=DeviceFlag.POWER_FAIL | DeviceFlag.LONG_INTERVAL).id
    events = [
        Event("M-1", down, EventCode.POWER_DOWN, CAPTURED),
        Event("M-1", up, EventCode.POWER_UP, CAPTURED),
    ]
    utility.deliver(
        days, reads=freezes(days), missing={civil(9): range(76, 79)}, status={civil(9): status}, events=events
    )
    report = utility.run(FIRST, FIRST + timedelta(days=14))
    assert report.exceptions == {"gap": 1, "power_outage": 1}
    final = utility.final(civil(9).day)
    assert final.values[76:80].tolist() == [0, 0, 0, 1376]
    assert final.total == total


def test_outage_values_are_no_anchors(utility: Utility) -> None:
    utility.meter()
    days = {civil(offset): np.full(96, 80, np.int64) for offset in range(2)}
    days[civil(1)][40:44] = 0
    events = [
        Event("M-1", civil(1).start + timedelta(hours=10), EventCode.POWER_DOWN, CAPTURED),
        Event("M-1", civil(1).start + timedelta(hours=11), EventCode.POWER_UP, CAPTURED),
    ]
    utility.deliver(days, missing={civil(1): [44, 45]}, events=events)
    utility.run(FIRST, FIRST + timedelta(days=2))
    assert utility.final(civil(1).day).values[44:46].tolist() == [80, 80], "flat from the one good side"


def test_negative_on_an_import_channel_is_replaced_and_on_a_net_channel_kept(utility: Utility) -> None:
    utility.meter()
    days = loads(FIRST, 7)
    got = {day: values.copy() for day, values in days.items()}
    got[civil(3)][11] = -50
    utility.deliver(got, reads=freezes(days))
    utility.run(FIRST, FIRST + timedelta(days=7))
    final = utility.final(civil(3).day)
    assert np.array_equal(final.values, days[civil(3)])
    assert utility.kinds() == [("negative", civil(3).day)]
    net = default_pack_text().replace(
        "net_channels = { value = []", 'net_channels = { value = ["1-0:1.29.0"]'
    ).replace('version = "1"', 'version = "net"')  # fmt: skip
    utility.run(FIRST, FIRST + timedelta(days=7), RulePack.from_toml(net))
    assert utility.final(civil(3).day).values[11] == -50
    assert ("negative", civil(3).day) not in utility.kinds()


def test_flags_of_the_meter(utility: Utility) -> None:
    """A clock set, a short and a long interval are no failures; invalid data are."""
    utility.meter()
    days = loads(FIRST, 7)
    status = np.zeros(96, np.int32)
    for index, flag in [
        (10, DeviceFlag.CLOCK_SET),
        (11, DeviceFlag.SHORT_INTERVAL),
        (12, DeviceFlag.LONG_INTERVAL),
        (40, DeviceFlag.DATA_INVALID),
    ]:
        status[index] = Status(device=flag).id
    got = {day: values.copy() for day, values in days.items()}
    got[civil(3)][40] = 77_777
    utility.deliver(got, reads=freezes(days), status={civil(3): status})
    utility.run(FIRST, FIRST + timedelta(days=7))
    final = utility.final(civil(3).day)
    assert np.array_equal(final.values, days[civil(3)])
    assert final.status_ids[10:13].tolist() == status[10:13].tolist()
    assert str(Status.from_id(int(final.status_ids[40]))) == "S17"
    assert Status.from_id(int(final.status_ids[40])).device == DeviceFlag.DATA_INVALID
    assert check_names(final.failed_checks) == ("device_flag",)


def test_zero_run_needs_a_day_of_zeros_a_history_and_no_outage(utility: Utility) -> None:
    for meter, point in (("M-1", "UP-1"), ("M-2", "UP-2"), ("M-3", "UP-3"), ("M-4", "UP-4")):
        utility.meter(meter, point)
    base = loads(FIRST, 14)
    last = FIRST + timedelta(days=14)

    def with_zeros(intervals: int) -> dict[CivilDay, npt.NDArray[np.int64]]:
        flat = np.concatenate(list(base.values()))
        flat[10 * 96 + 48 : 10 * 96 + 48 + intervals] = 0
        return dict(zip(base, flat.reshape(-1, 96), strict=True))

    off = Event("M-3", civil(10).start + timedelta(hours=12), EventCode.DISCONNECTED, CAPTURED)
    for meter, days, events in (
        ("M-1", with_zeros(96), []),
        ("M-2", with_zeros(95), []),
        ("M-3", with_zeros(192), [off]),
        ("M-4", {day: values * 0 for day, values in base.items()}, []),
    ):
        utility.deliver(days, meter_id=meter, reads=freezes(days), events=events)
    utility.run(FIRST, last)
    found = utility.exceptions.find("zero_run")
    assert [(case.meter_id, case.day) for case in found] == [("M-1", civil(11).day)]


def test_usage_that_halves_or_doubles_is_reported_once(utility: Utility) -> None:
    utility.meter("M-1", "UP-1")
    utility.meter("M-2", "UP-2")
    days = loads(FIRST, 56)
    last = FIRST + timedelta(days=56)
    for meter, factor in (("M-1", 0.4), ("M-2", 2.5)):
        changed = {
            day: values if day.day < FIRST + timedelta(days=35) else (values * factor).astype(np.int64)
            for day, values in days.items()
        }
        utility.deliver(changed, meter_id=meter, reads=freezes(changed))
    utility.run(FIRST, last)
    found = {(case.kind, case.meter_id): case.day for case in utility.cases()}
    assert set(found) == {("low_usage", "M-1"), ("high_usage", "M-2")}
    assert FIRST + timedelta(days=35) <= found["low_usage", "M-1"] <= FIRST + timedelta(days=42)
    utility.run(FIRST + timedelta(days=40), last)
    assert len(utility.cases()) == 2, "history before the window says the same"


def test_value_above_capacity(utility: Utility) -> None:
    """Confirmed by the register it is high usage; without a register it is a spike and replaced."""
    utility.meter("M-1", "UP-1", capacity_w=10_000)
    utility.meter("M-2", "UP-2", capacity_w=10_000)
    days = loads(FIRST, 7)
    days[civil(2)][40] = 3001  # 12.004 kW; the pack allows 1.2 x 10 kW = 3000 Wh
    days[civil(3)][40] = 3000
    utility.deliver(days, reads=freezes(days))
    utility.deliver(days, meter_id="M-2")
    utility.run(FIRST, FIRST + timedelta(days=7))
    assert sorted((case.kind, case.meter_id, case.day) for case in utility.cases()) == [
        ("high_usage", "M-1", civil(2).day),
        ("spike", "M-2", civil(2).day),
    ]
    assert utility.final(civil(2).day).values[40] == 3001
    replaced = utility.final(civil(2).day, "UP-2")
    assert replaced.values[40] < 500
    assert str(Status.from_id(int(replaced.status_ids[40]))) == "E17"


@pytest.mark.parametrize(
    ("first", "count", "changed"),
    [(date(2024, 3, 11), 92, date(2024, 3, 31)), (date(2024, 10, 7), 100, date(2024, 10, 27))],
)
def test_days_of_23_and_25_hours_close(utility: Utility, first: date, count: int, changed: date) -> None:
    utility.meter()
    days = loads(first, 28)
    short = CivilDay(changed, ZONE)
    sunday_after = CivilDay(changed + timedelta(days=7), ZONE)
    gap = range(4, 20)
    utility.deliver(days, reads=freezes(days), missing={short: gap, sunday_after: range(20, 40)})
    report = utility.run(first, first + timedelta(days=28))
    assert report.intervals_expected == 27 * 96 + count
    for day in (short, sunday_after):
        assert utility.final(day.day).total == days[day].sum()
    assert utility.final(changed).values.size == count
    (case,) = utility.exceptions.find("daylight_saving")
    assert (case.day, case.meter_id) == (changed, "M-1")
    assert case.detail == f"a day of {count // 4} hours, {count} intervals"


@pytest.mark.parametrize("first", [date(2024, 3, 11), date(2024, 10, 7)])
def test_like_days_follow_the_wall_clock_over_the_switch(utility: Utility, first: date) -> None:
    """A load that is a function of the local time is estimated exactly, on the day of the switch too."""
    utility.meter()
    zone = ZoneInfo(ZONE)
    days = {}
    for day in loads(first, 28):
        local = [day.interval_start(i, 900).astimezone(zone) for i in range(day.interval_count(900))]
        days[day] = np.array([10 + 4 * at.hour + at.minute // 15 for at in local], np.int64)
    switch = next(day for day in days if day.seconds != 86400)
    after = CivilDay(switch.day + timedelta(days=1), ZONE)
    utility.deliver(days, missing={switch: range(6, 40), after: range(4, 20)})
    utility.run(first, first + timedelta(days=28))
    for day in (switch, after):
        final = utility.final(day.day)
        assert {str(Status.from_id(int(item))) for item in final.status_ids[6:20]} == {"E15"}
        assert np.array_equal(final.values, days[day])

"""Captures, freezes and events follow the written rules, and energy is conserved in every case."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.meter.capture_buffer import CaptureBuffer
from openami.meter.load_curve import CurveBank, CurveKind, CurveSpec
from openami.meter.management_core import Meter, ProfileShape
from openami.meter.meter_clock import (
    MeterClock,
    daylight_saving_changes,
    instant_of,
    is_midnight,
    milliseconds,
    next_midnight,
)
from openami.meter.metering_core.load_flow import DAY_MS, CurveMeteringCore, FlowDay, Share, gated, slot_edges
from openami.meter.occurrence import Occurrence, Turn
from openami.quantities.civil_time import CivilDay
from openami.quantities.status import DeviceFlag
from openami.readings.event import EventCode

ZONE = "Europe/Berlin"
SHAPE = ProfileShape()
MINUTE = 60_000
HOUR = 60 * MINUTE
START = milliseconds(datetime(2026, 3, 9, 23, tzinfo=UTC))  # midnight of 10 March in Berlin


class Curve:
    """1 kW always, or a PV home, less what a failure of supply keeps away."""

    def __init__(self, kind: CurveKind = CurveKind.CONSTANT, shares: tuple[Share, ...] = ()) -> None:
        daily = 24_000 if kind is CurveKind.CONSTANT else None
        self._bank = CurveBank([CurveSpec(kind, "UP-1", daily_wh=daily)], 5)
        self._shares = shares

    def flow(self, day: int) -> FlowDay:
        return gated(FlowDay.of(slot_edges(day), self._bank.energies(day)[0]), self._shares)


def meter(
    *occurrences: Occurrence,
    kind: CurveKind = CurveKind.CONSTANT,
    start: int = START,
    drift_ppm: int = 0,
    offset_ms: int = 0,
    zone: str = ZONE,
    spikes: tuple[tuple[int, int], ...] = (),
    shares: tuple[Share, ...] = (),
    start_wh: tuple[int, ...] = (0,),
    digits: int = 8,
    shape: ProfileShape = SHAPE,
) -> Meter:
    core = CurveMeteringCore(Curve(kind, shares), start, digits, start_wh)
    clock = MeterClock(start, start + offset_ms, drift_ppm)
    return Meter("M-1", core, clock, zone, start, occurrences, spikes, shape)


def rows_of(device: Meter) -> list[tuple[str, int, int]]:
    """Rows as (UTC time of the stamp, Wh, flags)."""
    rows = device.profile.rows()
    return [
        (instant_of(1000 * int(stamp)).strftime("%H:%M"), int(value), int(status))
        for stamp, value, status in zip(rows.stamp_s, rows.values[0], rows.status, strict=True)
    ]


def codes(device: Meter) -> list[int]:
    return [code for _, code in device.events]


def test_a_quiet_day_gives_96_rows_stamped_with_their_end_and_two_freezes() -> None:
    device = meter()
    device.advance_to(START + DAY_MS)
    rows, freezes = device.profile.rows(), device.freezes.rows()
    assert rows.stamp_s.tolist() == [START // 1000 + 900 * k for k in range(1, 97)]
    assert rows.values.tolist() == [[250] * 96]
    assert not rows.status.any()
    assert freezes.stamp_s.tolist() == [START // 1000, START // 1000 + 86_400]
    assert freezes.values.tolist() == [[0, 24_000]]
    assert device.maximum_demand.power_w == 1000


def test_days_of_changing_clocks_have_92_and_100_rows() -> None:
    for day, count in ((datetime(2026, 3, 29), 92), (datetime(2026, 10, 25), 100)):
        civil = CivilDay(day.date(), ZONE)
        device = meter(start=milliseconds(civil.start))
        device.advance_to(milliseconds(civil.end))
        assert len(device.profile) == count
        assert device.freezes.rows().values.tolist() == [[0, count * 250]]
        assert codes(device).count(EventCode.DAYLIGHT_SAVING_CHANGED) == 1


def test_midnights_of_zones_that_skip_theirs() -> None:
    # Chile goes to summer time at 24:00: that civil day begins at 01:00 (tz database, America/Santiago).
    before = milliseconds(datetime(2026, 9, 5, 12, tzinfo=UTC))
    skipped = next_midnight(before, "America/Santiago")
    assert instant_of(skipped) == datetime(2026, 9, 6, 4, tzinfo=UTC)
    assert is_midnight(skipped, "America/Santiago")
    assert next_midnight(skipped, "America/Santiago") - skipped == 23 * HOUR
    assert daylight_saving_changes(before, before + DAY_MS, "America/Santiago") == [skipped]


def test_clock_set_back_over_a_boundary_captures_the_stamp_twice() -> None:
    device = meter()
    device.advance_to(START + 16 * MINUTE)
    device.set_clock(START + 10 * MINUTE)
    device.advance_to(START + 40 * MINUTE)
    short = DeviceFlag.CLOCK_SET | DeviceFlag.SHORT_INTERVAL
    # 15 min; then 1 + 5 min under the same stamp; then whole rows.
    assert rows_of(device) == [("23:15", 250, 0), ("23:15", 100, short), ("23:30", 250, 0)]
    assert codes(device)[-2:] == [EventCode.CLOCK_ADJUSTED_OLD, EventCode.CLOCK_ADJUSTED_NEW]
    assert [at - START // 1000 for at, _ in device.events][-2:] == [16 * 60, 10 * 60]


def test_clock_set_forward_over_several_boundaries_leaves_rows_out_and_no_energy() -> None:
    device = meter()
    device.advance_to(START + 16 * MINUTE)
    device.set_clock(START + 50 * MINUTE)
    device.advance_to(START + 26 * MINUTE)
    assert rows_of(device)[1:] == [
        ("00:00", 183, DeviceFlag.CLOCK_SET | DeviceFlag.LONG_INTERVAL)  # 1 + 10 minutes of 1 kW
    ]


def test_clock_set_within_an_interval_makes_it_short_or_long() -> None:
    for new, value, flag in ((20, 183, DeviceFlag.SHORT_INTERVAL), (1, 500 - 16, DeviceFlag.LONG_INTERVAL)):
        device = meter()
        device.advance_to(START + 1 * MINUTE if new == 1 else START + 16 * MINUTE)
        if new == 1:
            device.advance_to(START + 14 * MINUTE)
            device.set_clock(START)
            device.advance_to(START + 29 * MINUTE)
            assert rows_of(device) == [("23:15", 483, flag | DeviceFlag.CLOCK_SET)]
        else:
            device.set_clock(START + 20 * MINUTE)
            device.advance_to(START + 26 * MINUTE)
            assert rows_of(device)[1:] == [("23:30", value, flag | DeviceFlag.CLOCK_SET)]


def test_power_failure_captures_nothing_and_flags_the_next_row() -> None:
    down, up = START + 16 * MINUTE, START + 80 * MINUTE
    device = meter(
        Occurrence(down, Turn.POWER_DOWN), Occurrence(up, Turn.POWER_UP), shares=(Share(down, up),)
    )
    device.advance_to(START + 50 * MINUTE)
    assert not device.answers
    device.advance_to(START + 105 * MINUTE)
    assert device.answers
    flags = DeviceFlag.POWER_FAIL | DeviceFlag.LONG_INTERVAL
    assert rows_of(device) == [("23:15", 250, 0), ("00:30", 183, flags), ("00:45", 250, 0)]  # 1 + 10 minutes
    assert codes(device)[1:] == [EventCode.POWER_DOWN, EventCode.POWER_UP]


def test_power_failure_within_an_interval_makes_it_short() -> None:
    down, up = START + 16 * MINUTE, START + 20 * MINUTE
    device = meter(
        Occurrence(down, Turn.POWER_DOWN), Occurrence(up, Turn.POWER_UP), shares=(Share(down, up),)
    )
    device.advance_to(START + 30 * MINUTE)
    assert rows_of(device)[1:] == [("23:30", 183, DeviceFlag.POWER_FAIL | DeviceFlag.SHORT_INTERVAL)]


def test_dead_management_core_misses_two_days_while_the_register_goes_on() -> None:
    device = meter(Occurrence(START + DAY_MS, Turn.CORE_DOWN), Occurrence(START + 3 * DAY_MS, Turn.CORE_UP))
    device.advance_to(START + 2 * DAY_MS)
    assert not device.answers
    device.advance_to(START + 4 * DAY_MS)
    rows, freezes = device.profile.rows(), device.freezes.rows()
    assert len(rows) == 2 * 96
    assert rows.values.tolist() == [[250] * 192]
    assert not rows.status.any()
    assert [(stamp - START // 1000) / 86_400 for stamp in freezes.stamp_s.tolist()] == [0, 1, 3, 4]
    assert freezes.values.tolist() == [[0, 24_000, 72_000, 96_000]]
    assert device.unrecorded_wh == (48_000,)


def test_first_row_after_dead_time_that_is_not_whole_says_so() -> None:
    device = meter(
        Occurrence(START + 20 * MINUTE, Turn.CORE_DOWN), Occurrence(START + 50 * MINUTE, Turn.CORE_UP)
    )
    device.advance_to(START + 75 * MINUTE)
    invalid = DeviceFlag.SHORT_INTERVAL | DeviceFlag.DATA_INVALID
    assert [row[::2] for row in rows_of(device)] == [("23:15", 0), ("00:00", invalid), ("00:15", 0)]
    assert sum(row[1] for row in rows_of(device)) + device.unrecorded_wh[0] == device.core.dials_wh[0]


def test_spike_shows_one_huge_row_and_leaves_the_register_alone() -> None:
    device = meter(spikes=((START + 50 * MINUTE, 777_777),))
    device.advance_to(START + DAY_MS)
    rows = device.profile.rows()
    assert rows.values[0, 3] == 777_777
    assert (np.delete(rows.values[0], 3) == 250).all()
    assert device.freezes.rows().values.tolist() == [[0, 24_000]]


def test_spike_is_shown_whatever_the_steps() -> None:
    at = START + 50 * MINUTE
    for steps in (range(1, 90), (50, 60, 75), (45, 90)):
        device = meter(spikes=((at, 777_777),))
        for minute in steps:
            device.advance_to(START + minute * MINUTE)
        assert rows_of(device)[3] == ("00:00", 777_777, 0)


def test_open_relay_stops_the_energy_and_is_flagged_and_logged() -> None:
    device = meter()
    device.advance_to(START + 20 * MINUTE)
    device.disconnect()
    device.disconnect()
    device.advance_to(START + 50 * MINUTE)
    device.reconnect()
    device.advance_to(START + 75 * MINUTE)
    cut = DeviceFlag.DISCONNECTED
    assert rows_of(device) == [
        ("23:15", 250, 0), ("23:30", 83, cut), ("23:45", 0, cut), ("00:00", 167, cut), ("00:15", 250, 0),
    ]  # fmt: skip
    assert codes(device)[1:] == [EventCode.DISCONNECTED, EventCode.RECONNECTED]


def test_removed_meter_closes_its_interval_and_its_day_and_stays_readable() -> None:
    at = START + 10 * HOUR + 7 * MINUTE
    device = meter(Occurrence(at, Turn.REMOVED), shares=(Share(at, 2**62),))
    device.advance_to(START + 3 * DAY_MS)
    assert device.answers
    rows, freezes = device.profile.rows(), device.freezes.rows()
    assert len(rows) == 41
    assert rows.values[0, -1] == 7_000 // 60
    assert rows.status[-1] == DeviceFlag.POWER_FAIL | DeviceFlag.SHORT_INTERVAL
    assert freezes.stamp_s.tolist() == [START // 1000, START // 1000 + 86_400]
    assert freezes.values[0, -1] == rows.values.sum() == device.core.dials_wh[0] == 10_116


def test_installed_meter_starts_with_a_freeze_of_its_start_value_and_a_short_row() -> None:
    at = START + 10 * HOUR + 7 * MINUTE
    device = meter(Occurrence(at, Turn.INSTALLED), shares=(Share(-(2**62), at),), start_wh=(500,))
    device.advance_to(START + 9 * HOUR)
    assert not device.answers
    assert len(device.profile) == len(device.freezes) == 0
    device.advance_to(START + DAY_MS)
    rows, freezes = device.profile.rows(), device.freezes.rows()
    assert rows_of(device)[0] == ("09:15", 8_000 // 60, DeviceFlag.SHORT_INTERVAL)
    assert freezes.stamp_s.tolist() == [at // 1000, START // 1000 + 86_400]
    assert freezes.values[0, 1] - freezes.values[0, 0] == rows.values.sum()


def test_register_rolls_over_in_rows_that_do_not_notice() -> None:
    device = meter(start_wh=(9_900,), digits=4)
    device.advance_to(START + DAY_MS)
    assert device.profile.rows().values.tolist() == [[250] * 96]
    assert device.freezes.rows().values.tolist() == [[9_900, (9_900 + 24_000) % 10_000]]


def test_drifting_clock_captures_early_and_own_time_inverts_exactly() -> None:
    device = meter(drift_ppm=1000)
    device.advance_to(START + DAY_MS)
    assert (device.own_ms - START) == DAY_MS + 86_400
    assert len(device.profile) == 96
    # A clock that gains a thousandth measures 899.1 true seconds for a quarter of an hour.
    assert set(device.profile.rows().values[0].tolist()) <= {249, 250}
    assert not device.profile.rows().status.any()


@given(st.integers(-100_000, 100_000), st.integers(0, 400 * DAY_MS), st.integers(-DAY_MS, DAY_MS))
def test_own_time_is_reached_at_the_first_instant_that_shows_it(ppm: int, later: int, offset: int) -> None:
    clock = MeterClock(START, START + offset, ppm)
    own = START + offset + later
    reached = int(clock.reached(np.array([own], np.int64))[0])
    assert clock.own(reached) >= own > clock.own(reached - 1)


def test_event_log_and_profile_forget_only_the_oldest() -> None:
    device = meter(shape=ProfileShape(profile_days=2, freeze_days=3))
    device.advance_to(START + 5 * DAY_MS)
    rows, freezes = device.profile.rows(), device.freezes.rows()
    assert rows.stamp_s.tolist() == [START // 1000 + 3 * 86_400 + 900 * k for k in range(1, 193)]
    assert freezes.values.tolist() == [[72_000, 96_000, 120_000]]


@given(
    capacity=st.integers(1, 300),
    batches=st.lists(st.integers(0, 400), max_size=12),
)
def test_buffer_holds_the_last_rows_whatever_the_batches(capacity: int, batches: list[int]) -> None:
    buffer = CaptureBuffer(1, capacity, np.int32)
    expected: list[int] = []
    for size in batches:
        new = np.arange(len(expected), len(expected) + size)
        buffer.extend(new, (new % 7).astype(np.uint16), new[np.newaxis, :])
        expected += new.tolist()
    rows = buffer.rows()
    assert rows.stamp_s.tolist() == expected[-capacity:]
    assert rows.values[0].tolist() == expected[-capacity:]
    assert (rows.status == rows.stamp_s % 7).all()
    assert len(buffer) == min(capacity, len(expected))


# Conservation -------------------------------------------------------------------------------------------

ACTIONS = st.lists(
    st.tuples(
        st.integers(1, 6 * HOUR),
        st.sampled_from(["look", "set", "open", "close"]),
        st.integers(-3 * HOUR, 3 * HOUR),
    ),
    max_size=14,
)
OUTAGES = st.lists(st.tuples(st.integers(0, 3 * DAY_MS), st.integers(1, 9 * HOUR)), max_size=2)


def scenario(outages: list[tuple[int, int]], start: int) -> tuple[list[Occurrence], tuple[Share, ...]]:
    occurrences, shares, free = [], [], 0
    for begin, length in sorted(outages):
        begin = max(begin, free)
        free = begin + length + 1
        occurrences += [
            Occurrence(start + begin, Turn.POWER_DOWN), Occurrence(start + begin + length, Turn.POWER_UP),
        ]  # fmt: skip
        shares.append(Share(start + begin, start + begin + length))
    return occurrences, tuple(shares)


@settings(max_examples=60, deadline=None)
@given(
    actions=ACTIONS,
    outages=OUTAGES,
    drift=st.sampled_from([0, 0, 250, -4000]),
    first=st.sampled_from([datetime(2026, 3, 28, 11, 7, tzinfo=UTC), datetime(2026, 10, 24, 22, tzinfo=UTC)]),
)
def test_rows_between_freezes_sum_to_their_difference_whatever_happens(
    actions: list[tuple[int, str, int]], outages: list[tuple[int, int]], drift: int, first: datetime
) -> None:
    start = milliseconds(first)
    occurrences, shares = scenario(outages, start)

    def fresh() -> Meter:
        return meter(
            *occurrences, kind=CurveKind.PV_HOME, start=start, drift_ppm=drift, shares=shares,
            start_wh=(99_999_900, 0),
        )  # fmt: skip

    def act(device: Meter, what: str, shift: int) -> None:
        if not device.answers:
            return
        if what == "set":
            device.set_clock(device.own_ms + shift)
        elif what == "open":
            device.disconnect()
        elif what == "close":
            device.reconnect()

    stepped, direct = fresh(), fresh()
    now = start
    for wait, what, shift in [*actions, (DAY_MS, "look", 0)]:
        for part in range(1, 4):
            stepped.advance_to(now + wait * part // 3)
        now += wait
        if what != "look" or wait == DAY_MS:
            direct.advance_to(now)
            act(direct, what, shift)
        act(stepped, what, shift)
    for buffer, other in ((stepped.profile, direct.profile), (stepped.freezes, direct.freezes)):
        one, two = buffer.rows(), other.rows()
        assert one.stamp_s.tolist() == two.stamp_s.tolist()
        assert one.status.tolist() == two.status.tolist()
        assert one.values.tolist() == two.values.tolist()
    assert stepped.events == direct.events
    check_conservation(direct)


def check_conservation(device: Meter) -> None:
    """From the first freeze on, the running sum of the rows meets every later freeze at its own capture."""
    rows, freezes = device.profile.rows(), device.freezes.rows()
    modulus = device.core.modulus_wh
    running = (freezes.values[:, :1] + np.cumsum(rows.values, axis=1)) % modulus
    position = 0
    for index in range(1, len(freezes)):
        while position < len(rows) and not (
            rows.stamp_s[position] == freezes.stamp_s[index]
            and (running[:, position] == freezes.values[:, index]).all()
        ):
            position += 1
        assert position < len(rows), "a freeze that the rows do not lead to"
    reached = running[:, -1] if len(rows) else freezes.values[:, 0]
    left = (np.array(device.core.dials_wh) - reached) % modulus
    assert (left < 20_000).all()  # what the open interval holds

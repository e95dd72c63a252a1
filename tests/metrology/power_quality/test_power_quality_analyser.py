"""The class A instrument from samples: the UTC tick off nominal, cuts, 60 Hz, bad input, gaps, clocks."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.metrology.power_quality.aggregation import NO_TIME, Intervals, QualityFlag
from openami.metrology.power_quality.analyser import PowerQualityAnalyser, PowerQualitySettings
from openami.metrology.power_quality.event_kernel import EventKind
from openami.metrology.power_quality.results import PowerQualityResults, joined
from openami.metrology.windows.spectrum import interharmonic_subgroups, subgroups, total_distortion
from openami.metrology.windows.window_analysis import WindowStream
from openami.quantities.errors import MeteringError
from power_quality_world import I_A_PER_COUNT, RATE, TICK_US, U_V_PER_COUNT, counts, sines, times

F64 = npt.NDArray[np.float64]
HARMONICS = ((5, 0.10, 2.0), (3, 0.04, 0.4), (13, 0.02, 1.0))
PLAIN = PowerQualitySettings(RATE, 50.0, 230.0)


def supply(seconds: float, f_hz: float = 50.0, *, phases: int = 3) -> tuple[F64, F64]:
    t = times(seconds)
    return (
        sines(t, f_hz, phases=phases, harmonics=HARMONICS),
        sines(t, f_hz, 10.0, phases=phases, angle=-np.pi / 3, harmonics=((5, 0.4, 0.1),)),
    )


def run(
    u: npt.NDArray[np.generic], i: npt.NDArray[np.generic], settings_: PowerQualitySettings, cuts: list[int]
) -> PowerQualityResults:
    analyser = PowerQualityAnalyser(settings_)
    edges = [0, *sorted(cuts), u.shape[1]]
    parts = [
        analyser.feed(u[:, a:b], i[:, a:b])  # type: ignore[arg-type]
        for a, b in pairwise(edges)
    ]
    return joined([*parts, analyser.close()])


@pytest.mark.parametrize("f_hz", [49.3, 50.0, 50.7])
def test_windows_across_the_utc_tick_overlap_once_and_flags_stay_on_their_side(f_hz: float) -> None:
    before_s = 7.31
    u, i = supply(14.0, f_hz)
    u[:, round(6.5 * RATE) : round(6.6 * RATE)] *= 0.5  # a dip before the tick
    found = run(u, i, replace(PLAIN, utc_us=TICK_US - round(before_s * 1e6)), [])
    tick = before_s * RATE
    windows = found.windows
    ratio = (windows.end - windows.start) * f_hz / (10 * RATE)
    assert np.abs(ratio - 1)[np.abs(windows.start - 6.55 * RATE) > 0.5 * RATE].max() < 1e-8
    assert np.abs(ratio - 1).max() < 1e-3  # a dip bends the phase at its edges
    first_behind = int(np.searchsorted(windows.start, tick - 1e-6))
    assert windows.start[first_behind] == pytest.approx(tick, abs=1e-6)
    assert windows.start[first_behind - 1] < tick < windows.end[first_behind - 1]  # completed across it
    gapless = np.delete(windows.start[1:] - windows.end[:-1], first_behind - 1)
    assert np.abs(gapless).max() < 1e-6
    assert found.ten_minutes.tag_us.tolist() == [TICK_US, TICK_US + 600_000_000]
    assert found.ten_minutes.windows.tolist() == [first_behind, len(windows) - first_behind]
    assert found.ten_minutes.flags.tolist() == [QualityFlag.DIP | QualityFlag.PARTIAL, QualityFlag.PARTIAL]
    dip = (windows.start < 6.6 * RATE) & (windows.end > 6.5 * RATE)
    assert windows.flagged[dip].all()
    assert windows.flagged.sum() <= dip.sum() + 1
    assert np.allclose(windows.tag_us, TICK_US + (windows.end / RATE - before_s) * 1e6, atol=1.0)
    # 150 cycles: the interval that runs at the tick is completed beside the one that begins there
    short = found.cycles_150
    begins = int(np.flatnonzero(np.isclose(short.start, tick))[0])
    assert short.start[begins - 1] < tick < short.end[begins - 1]
    assert (short.windows == 15).all()
    error = np.abs(windows.quantities.u_v / (230.0 * np.sqrt(1.012)) - 1)
    assert error[~windows.flagged].max() < 50e-6  # beside the dip: its edge is bent
    assert error[np.abs(windows.start - 6.55 * RATE) > 0.5 * RATE].max() < 0.1e-6
    assert [event.kind for event in found.events] == [EventKind.DIP]


def same(one: Intervals, other: Intervals) -> bool:
    plain = [f.name for f in fields(Intervals) if f.name != "quantities"]
    return all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in plain
    ) and np.array_equal(one.quantities.columns, other.quantities.columns, equal_nan=True)


@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(0, 76_800), max_size=10), whole=st.booleans())
def test_any_cut_of_the_stream_gives_the_same_results(cuts: list[int], whole: bool) -> None:
    u, i = supply(12.0, 49.6)
    u[1, 30_000:30_900] *= 0.6
    u[:, 52_000:53_000] = 0.0
    settings_ = replace(PLAIN, utc_us=TICK_US - 5_000_000)
    if whole:
        u, i = counts(u, U_V_PER_COUNT), counts(i, I_A_PER_COUNT)  # type: ignore[assignment]
        settings_ = replace(
            settings_, u_v_per_count=U_V_PER_COUNT, i_a_per_count=I_A_PER_COUNT, full_scale_counts=2**23 - 1
        )
    once, pieces = run(u, i, settings_, []), run(u, i, settings_, cuts)
    assert len(once.windows) > 50
    for name in ("windows", "cycles_150", "ten_minutes", "two_hours"):
        assert same(getattr(once, name), getattr(pieces, name))
    assert sorted(once.events, key=repr) == sorted(pieces.events, key=repr)
    assert len(once.events) == 3
    assert once.begun == pieces.begun
    assert np.array_equal(once.frequency.f_hz, pieces.frequency.f_hz, equal_nan=True)
    assert np.array_equal(once.pinst.position, pieces.pinst.position)
    assert np.array_equal(once.pinst.pinst, pieces.pinst.pinst)
    for one, other in zip(once.half_cycles, pieces.half_cycles, strict=True):
        assert np.array_equal(one.u_v, other.u_v)
        assert np.array_equal(one.i_a, other.i_a)


def test_sixty_hertz_has_twelve_cycles_and_180() -> None:
    u, i = supply(6.0, 59.9)
    found = run(u, i, replace(PLAIN, nominal_hz=60.0, declared_v=120.0, lamp_v=120, utc_us=TICK_US), [])
    assert np.allclose(found.windows.end - found.windows.start, 12 * RATE / 59.9, rtol=1e-5)
    assert np.allclose(found.cycles_150.end - found.cycles_150.start, 180 * RATE / 59.9, rtol=1e-5)
    quantities = found.windows.quantities
    assert quantities.u_harmonics_v[0, 0, 5] == pytest.approx(23.0, rel=2e-5)
    # between the harmonics of twelve cycles lie bins 2 to 10
    u2, i2 = supply(6.0, 59.9)
    u2 += np.sqrt(2) * 3.0 * np.sin(2 * np.pi * (59.9 * 3 + 10 * 59.9 / 12) * times(6.0))
    inter = run(u2, i2, replace(PLAIN, nominal_hz=60.0, declared_v=120.0), []).windows.quantities
    assert inter.u_interharmonics_v[2, 0, 3] == pytest.approx(3.0, rel=1e-3)


def test_quantities_are_those_of_the_functions_that_define_them() -> None:
    u, i = supply(4.0, 49.8)
    u[2] *= 0.97
    found = run(u, i, PLAIN, []).windows.quantities
    windows = WindowStream(RATE, 50.0, 3, least_u_v=0.013 * 230.0).feed(u, i)
    u_groups = subgroups(windows.u_bins, 10, windows.valid_bins)
    i_groups = subgroups(windows.i_bins, 10, windows.valid_bins)
    assert found.u_harmonics_v == pytest.approx(u_groups, rel=1e-6, abs=1e-9)
    assert found.i_harmonics_a == pytest.approx(i_groups, rel=1e-6, abs=1e-9)
    between = interharmonic_subgroups(windows.u_bins, 10, windows.valid_bins)
    assert found.u_interharmonics_v == pytest.approx(between, rel=1e-4, abs=1e-7, nan_ok=True)
    assert found.u_thd_pct == pytest.approx(100 * total_distortion(u_groups), rel=1e-6)
    assert found.i_thd_pct == pytest.approx(100 * total_distortion(i_groups), rel=1e-6)
    assert np.array_equal(found.u_v, np.sqrt(windows.u_v**2))
    assert np.array_equal(found.p_w, windows.p_w)
    assert found.q1_var[0, 0] == pytest.approx(2300.0 * np.sin(np.pi / 3), rel=1e-5)
    assert found.f_hz == pytest.approx(49.8, abs=1e-5)
    # 1, 1, 0.97: each of u2 and u0 is a third of the difference over the mean
    assert found.u2_pct == pytest.approx(1.0 / 0.99, rel=1e-4)
    assert found.u0_pct == pytest.approx(1.0 / 0.99, rel=1e-4)
    assert found.i2_pct.max() < 1e-4


def test_deviations_of_the_declared_voltage_by_hand() -> None:
    t = times(8.0)
    u = sines(t) * np.where(t < 4.0, 1.02, 0.95)
    found = run(u, sines(t, rms=1.0), replace(PLAIN, utc_us=TICK_US), [])
    over, under = found.windows.quantities.overdeviation_pct, found.windows.quantities.underdeviation_pct
    early, late = found.windows.end < 4.0 * RATE, found.windows.start > 4.0 * RATE
    assert over[early] == pytest.approx(2.0, abs=1e-4)
    assert under[early] == pytest.approx(0.0, abs=1e-9)
    assert under[late] == pytest.approx(5.0, abs=1e-4)
    assert over[late] == pytest.approx(0.0, abs=1e-9)
    ten = found.ten_minutes.quantities
    windows = found.windows.quantities.u_v
    assert ten.overdeviation_pct[0] == pytest.approx(
        100 * (np.sqrt((np.maximum(windows, 230.0) ** 2).mean(axis=0)) / 230.0 - 1), abs=1e-9
    )


def test_a_signalling_voltage_on_a_bin_and_between_bins() -> None:
    t = times(3.0)
    for frequency, tolerance in ((1350.0, 1e-5), (1352.3, 0.06)):
        u = sines(t, 50.0) + np.sqrt(2) * 4.0 * np.sin(2 * np.pi * frequency * t + 0.3)
        found = run(u, sines(t, rms=1.0), replace(PLAIN, signalling_hz=frequency), []).windows.quantities
        assert found.signalling_v == pytest.approx(4.0, rel=tolerance)
    assert np.isnan(run(u, u, PLAIN, []).windows.quantities.signalling_v).all()
    with pytest.raises(MeteringError, match="signalling"):
        run(u, u, replace(PLAIN, signalling_hz=3150.0), [])


def test_one_phase_and_a_neutral_conductor() -> None:
    u, i = supply(3.0, phases=1)
    found = run(u, np.concatenate((i, 0.1 * i)), replace(PLAIN, phases=1, neutral=1), [])
    assert found.windows.quantities.i_a[0] == pytest.approx([10 * np.sqrt(1.16), np.sqrt(1.16)], rel=1e-5)
    assert np.isnan(found.windows.quantities.u2_pct).all()
    assert found.windows.quantities.i_harmonics_a.shape == (len(found.windows), 2, 51)


def test_a_sample_that_is_none_is_refused_and_nothing_was_taken() -> None:
    u, i = supply(4.0)
    analyser = PowerQualityAnalyser(replace(PLAIN, utc_us=TICK_US))
    first = analyser.feed(u[:, :12_000], i[:, :12_000])
    for channel, bad in ((0, np.nan), (2, np.inf)):
        broken = u[:, 12_000:].copy()
        broken[channel, 77] = bad
        with pytest.raises(MeteringError, match="no sample") as raised:
            analyser.feed(broken, i[:, 12_000:])
        assert raised.value.where == f"channel u{channel + 1}, sample 12077"
    rest = analyser.feed(u[:, 12_000:], i[:, 12_000:])
    whole = run(u, i, replace(PLAIN, utc_us=TICK_US), [])
    assert same(joined([first, rest, analyser.close()]).ten_minutes, whole.ten_minutes)


@pytest.mark.parametrize(
    ("u", "i", "what"),
    [
        (np.zeros((2, 9)), np.zeros((3, 9)), "u has the shape"),
        (np.zeros((3, 9)), np.zeros((2, 9)), "i has the shape"),
        (np.zeros((3, 9)), np.zeros((3, 8)), "i has the shape"),
        (np.zeros((3, 9), np.float32), np.zeros((3, 9)), "holds float32"),
        (np.zeros((3, 9), np.int32), np.zeros((3, 9)), "holds float64"),
    ],
)
def test_missing_channels_and_other_types_are_refused(u: F64, i: F64, what: str) -> None:
    with pytest.raises(MeteringError, match=what):
        PowerQualityAnalyser(PLAIN).feed(u, i)


def test_the_type_of_samples_does_not_change() -> None:
    analyser = PowerQualityAnalyser(PLAIN)
    analyser.feed(np.zeros((3, 9)), np.zeros((3, 9)))
    with pytest.raises(MeteringError, match="holds int32"):
        analyser.feed(np.zeros((3, 9), np.int32), np.zeros((3, 9), np.int32))


def test_saturated_windows_are_flagged_and_no_others() -> None:
    u, i = (counts(x, scale) for x, scale in zip(supply(4.0), (U_V_PER_COUNT, I_A_PER_COUNT), strict=True))
    i[1, 10_000] = -(2**23)
    settings_ = replace(
        PLAIN, u_v_per_count=U_V_PER_COUNT, i_a_per_count=I_A_PER_COUNT, full_scale_counts=2**23 - 1
    )
    for cuts in ([], [9_999, 10_000, 10_001]):
        windows = run(u, i, settings_, cuts).windows
        inside = (windows.start <= 10_000) & (windows.end > 10_000)
        assert inside.sum() == 1
        assert windows.flags[inside].tolist() == [QualityFlag.SATURATED]
        assert not windows.flagged[~inside].any()


def test_a_gap_cuts_events_and_flags_its_ten_minutes_only() -> None:
    u, i = supply(20.0)
    u[:, round(5.5 * RATE) : round(8.0 * RATE)] *= 0.5
    analyser = PowerQualityAnalyser(replace(PLAIN, utc_us=TICK_US - 9_000_000))
    first = analyser.feed(u[:, : round(6 * RATE)], i[:, : round(6 * RATE)])
    over = analyser.gap(round(2.5 * RATE))
    rest = analyser.feed(u[:, round(8.5 * RATE) :], i[:, round(8.5 * RATE) :])
    found = joined([first, over, rest, analyser.close()])
    assert analyser.position == u.shape[1]
    (event,) = (e for e in found.events if e.kind is EventKind.DIP)
    assert event.cut
    assert event.end < 6.0 * RATE
    assert found.ten_minutes.flags.tolist() == [
        QualityFlag.DIP | QualityFlag.GAP | QualityFlag.PARTIAL,
        QualityFlag.PARTIAL,
    ]
    assert not ((found.windows.end > 6.0 * RATE) & (found.windows.start < 8.5 * RATE)).any()
    behind = found.windows.start > 8.5 * RATE
    assert np.abs(found.windows.quantities.u_v[behind] / (230.0 * np.sqrt(1.012)) - 1).max() < 2e-6
    assert np.isclose(found.windows.start, 9.0 * RATE).any()  # the tick behind the gap is met
    assert found.pinst.position.max() > 19.0 * RATE
    assert found.half_cycles[0].start.max() > 19.5 * RATE
    with pytest.raises(MeteringError, match="gap"):
        analyser.gap(0)


def test_a_tick_inside_a_gap_still_parts_the_ten_minutes() -> None:
    u, i = supply(12.0)
    analyser = PowerQualityAnalyser(replace(PLAIN, utc_us=TICK_US - 5_000_000))
    parts = [analyser.feed(u[:, : round(4 * RATE)], i[:, : round(4 * RATE)]), analyser.gap(round(2 * RATE))]
    parts += [analyser.feed(u[:, round(6 * RATE) :], i[:, round(6 * RATE) :]), analyser.close()]
    ten = joined(parts).ten_minutes
    assert ten.tag_us.tolist() == [TICK_US, TICK_US + 600_000_000]
    assert (ten.flags & QualityFlag.PARTIAL).all()
    assert ten.flags[0] & QualityFlag.GAP


def test_a_clock_that_comes_late_starts_ticks_and_tags_from_there() -> None:
    u, i = supply(12.0)
    analyser = PowerQualityAnalyser(PLAIN)
    first = analyser.feed(u[:, : round(4 * RATE)], i[:, : round(4 * RATE)])
    assert (first.windows.tag_us == NO_TIME).all()
    assert analyser.utc_us(0.0) is None
    analyser.anchor(round(4 * RATE), TICK_US - 3_000_000)
    rest = joined([analyser.feed(u[:, round(4 * RATE) :], i[:, round(4 * RATE) :]), analyser.close()])
    assert np.isclose(rest.windows.start, 7 * RATE).any()
    assert rest.ten_minutes.tag_us.tolist() == [TICK_US, TICK_US + 600_000_000]
    assert (rest.ten_minutes.flags & QualityFlag.PARTIAL).all()
    with pytest.raises(MeteringError, match="anchor"):
        analyser.anchor(0, TICK_US)


def test_a_clock_corrected_by_more_than_20_ms_flags_its_ten_minutes() -> None:
    u, i = supply(6.0)
    for late_us, flag in ((15_000, 0), (25_000, QualityFlag.CLOCK)):
        analyser = PowerQualityAnalyser(replace(PLAIN, utc_us=TICK_US))
        half = round(3 * RATE)
        analyser.feed(u[:, :half], i[:, :half])
        analyser.anchor(half, TICK_US + 3_000_000 + late_us)
        analyser.feed(u[:, half:], i[:, half:])
        (flags,) = analyser.close().ten_minutes.flags
        assert flags & QualityFlag.CLOCK == flag


def test_a_free_clock_flags_windows_once_it_may_be_off() -> None:
    u, i = supply(6.0)
    found = run(u, i, replace(PLAIN, utc_us=TICK_US, clock_drift_ppm=5000.0), [])  # 20 ms in 4 s
    late = found.windows.end > 4.0 * RATE
    assert (found.windows.flags[late] == QualityFlag.CLOCK).all()
    assert (found.windows.flags[~late] == 0).all()


def test_an_interrupted_supply_goes_on_in_flagged_windows() -> None:
    u, i = supply(8.0)
    u[:, round(3 * RATE) : round(5 * RATE)] = 0.0
    i[:, round(3 * RATE) : round(5 * RATE)] = 0.0
    found = run(u, i, replace(PLAIN, utc_us=TICK_US), [])
    windows = found.windows
    inside = (windows.start > 3 * RATE) & (windows.end < 5 * RATE)
    assert inside.sum() >= 8
    assert ((windows.flags[inside] & QualityFlag.INTERRUPTION) != 0).all()
    assert ((windows.flags[inside] & QualityFlag.UNSYNCHRONISED) != 0).all()
    assert {event.kind for event in found.events} == {EventKind.DIP, EventKind.INTERRUPTION}
    behind = windows.start > 5.3 * RATE
    assert not windows.flagged[behind].any()
    assert np.abs(windows.quantities.u_v[behind] / (230.0 * np.sqrt(1.012)) - 1).max() < 2e-6


def test_flicker_of_ten_minutes_belongs_to_the_tick() -> None:
    seconds = 21.0
    t = times(seconds)
    u, i = supply(seconds)
    u *= np.where((t > 12.0) & (np.floor(t * 8.8 * 2) % 2 == 0), 0.98, 1.0)
    found = run(u, i, replace(PLAIN, utc_us=TICK_US - 12_000_000), [])
    assert found.ten_minutes.pst[0].max() < 0.2
    assert np.isnan(found.ten_minutes.pst[1]).all()  # the stream ended before the tick
    assert found.pinst.pinst[:, -1].min() > 10.0


def test_settings_that_cannot_be_measured_with_are_refused() -> None:
    for change in (
        {"nominal_hz": 16.7},
        {"phases": 4},
        {"lamp_v": 110},
        {"rate_hz": 500.0},
        {"declared_v": -1.0},
    ):
        with pytest.raises(MeteringError):
            PowerQualityAnalyser(replace(PLAIN, **change))  # type: ignore[arg-type]


def test_memory_is_flat_over_ten_minutes_of_a_disturbed_supply() -> None:
    """Reduced: the bench streams an hour. Two ticks, events all the time, a clock with an anchor a second."""
    u, i = (counts(x, scale) for x, scale in zip(supply(10.0), (U_V_PER_COUNT, I_A_PER_COUNT), strict=True))
    u[1, 9_000:12_000] //= 2
    u[:, 40_000:41_000] = 0
    i[2, 17] = 2**23 - 1
    analyser = PowerQualityAnalyser(
        replace(
            PLAIN, u_v_per_count=U_V_PER_COUNT, i_a_per_count=I_A_PER_COUNT, full_scale_counts=2**23 - 1,
            utc_us=TICK_US - 100_000_000, clock_drift_ppm=50.0,
        )
    )  # fmt: skip
    sizes = []
    tracemalloc.start()
    try:
        for block in range(72):
            for second in range(1, 11):
                done = block * 10 + second
                analyser.anchor(round(done * RATE), TICK_US - 100_000_000 + done * 1_000_000 + done % 3)
            analyser.feed(u, i)
            if block % 6 == 5:
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert max(sizes[3:]) - min(sizes[1:4]) < 64_000  # a kept result of one block would be 2 MB

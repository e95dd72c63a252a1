"""A stream of windows: any cut gives the same bits; ten-minute ticks, gaps, bad input."""

from dataclasses import fields

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.metrology.windows.window_analysis import (
    EDGE_SAMPLES,
    Detail,
    Precision,
    WindowColumns,
    WindowStream,
    analyse,
)
from openami.metrology.windows.window_edges import WindowFlag
from openami.quantities.errors import MeteringError
from windows_world import CURRENT, I_A_PER_COUNT, U_V_PER_COUNT, VOLTAGE, counts, tones

RATE_HZ = 6400.0
F_HZ = 50.9
SAMPLES = 12000
TICK = 6005.25

COUNTS = npt.NDArray[np.int32]


def samples(count: int = SAMPLES, phases: int = 3) -> tuple[COUNTS, COUNTS]:
    shifts = [-2 * np.pi / 3 * phase for phase in range(phases)]
    u = np.array([tones(VOLTAGE, F_HZ, RATE_HZ, count, shift) for shift in shifts])
    i = np.array([tones(CURRENT, F_HZ, RATE_HZ, count, shift) for shift in shifts])
    u[:, 9300:9700] *= 0.4  # a dip: nothing about the promise of cuts depends on steady signals
    return counts(u, U_V_PER_COUNT), counts(i, I_A_PER_COUNT)


U, I = samples()  # noqa: E741 - the names of the field


def stream(phases: int = 3, **options: object) -> WindowStream:
    return WindowStream(
        RATE_HZ, 50.0, phases, u_scale=U_V_PER_COUNT, i_scale=I_A_PER_COUNT, **options  # type: ignore[arg-type]
    )  # fmt: skip


def joined(parts: list[WindowColumns]) -> dict[str, npt.NDArray[np.generic]]:
    names = [field.name for field in fields(WindowColumns) if field.name not in _SCALARS]
    return {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}


_SCALARS = {"rate_hz", "cycles", "bins_per_harmonic"}


def run(cuts: list[int], gap_at: int | None = None, **options: object) -> dict[str, npt.NDArray[np.generic]]:
    device = stream(**options)
    device.resynchronise(TICK)
    parts = []
    for first, last in zip([0, *cuts], [*cuts, SAMPLES], strict=True):
        if first == gap_at:
            device.gap(777)
        parts.append(device.feed(U[:, first:last], I[:, first:last]))
    return joined(parts)


WHOLE = {detail: run([], detail=detail) for detail in Detail}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, SAMPLES), min_size=1, max_size=12).map(sorted),
    st.sampled_from(list(Detail)),
)
def test_any_cut_of_the_stream_gives_the_same_bits(cuts: list[int], detail: Detail) -> None:
    for name, column in run(cuts, detail=detail).items():
        assert column.tobytes() == WHOLE[detail][name].tobytes(), name


def test_single_samples_give_the_same_bits() -> None:
    """Cut at every sample of one window."""
    cuts = list(range(4000, 5400))
    for name, column in run(cuts).items():
        assert column.tobytes() == WHOLE[Detail.BINS][name].tobytes(), name


def test_double_precision_is_cut_into_the_same_bits() -> None:
    whole = run([], precision=Precision.DOUBLE)
    for name, column in run([17, 5000, 9001], precision=Precision.DOUBLE).items():
        assert column.tobytes() == whole[name].tobytes(), name


def test_a_window_comes_out_no_later_than_the_latency_says() -> None:
    device = stream()
    ends = WHOLE[Detail.BINS]["end"]
    device.resynchronise(TICK)
    out = 0
    for first in range(0, SAMPLES, 50):
        out += len(device.feed(U[:, first : first + 50], I[:, first : first + 50]))
        assert out >= np.count_nonzero(ends + device.latency < first + 50)
    assert out == ends.size


def test_at_a_tick_the_running_window_is_completed_and_a_new_sequence_starts() -> None:
    whole = WHOLE[Detail.BINS]
    (over,) = np.flatnonzero(whole["flags"] & int(WindowFlag.OVERLAPS_NEXT))
    assert whole["start"][over] < TICK < whole["end"][over]
    assert whole["start"][over + 1] == TICK
    assert whole["flags"][over + 1] & int(WindowFlag.RESYNCHRONISED)
    others = np.delete(np.arange(whole["start"].size - 1), over)
    assert np.abs(whole["end"][others] - whole["start"][others + 1]).max() < 1e-9
    assert whole["f_hz"][over] == pytest.approx(F_HZ, rel=1e-8)
    assert whole["f_hz"][over + 1] == pytest.approx(F_HZ, rel=1e-8)


def test_a_tick_on_an_edge_overlaps_nothing() -> None:
    u = np.zeros((1, 12800))
    device = WindowStream(RATE_HZ, 50.0, 1)
    first = float(device.feed(u[:, :6400], u[:, :6400]).end[0])
    again = WindowStream(RATE_HZ, 50.0, 1)
    again.resynchronise(first + 2 * 1280)
    windows = again.feed(u, u)
    assert not (windows.flags & WindowFlag.OVERLAPS_NEXT).any()
    assert windows.start[windows.flags & WindowFlag.RESYNCHRONISED != 0].tolist() == [first + 2 * 1280]
    assert (windows.end[:-1] == windows.start[1:]).all()


def test_ticks_said_late_backwards_or_as_nonsense_are_refused() -> None:
    device = stream()
    device.feed(U[:, :1000], I[:, :1000])
    with pytest.raises(MeteringError, match="not before sample 1000"):
        device.resynchronise(999.0)
    device.resynchronise(5000.0)
    for place in (5000.0, 4000.0, float("nan"), float("inf")):
        with pytest.raises(MeteringError, match="resynchronisation"):
            device.resynchronise(place)


def test_a_gap_drops_the_running_window_and_the_next_one_says_so() -> None:
    device = stream()
    before = device.feed(U[:, :5000], I[:, :5000])
    device.gap(777)
    after = device.feed(U[:, 5000:], I[:, 5000:])
    assert device.position == SAMPLES + 777
    assert (before.end <= 5000).all()
    assert after.start[0] >= 5777
    assert after.flags[0] == WindowFlag.AFTER_GAP
    assert not (after.flags[1:] & WindowFlag.AFTER_GAP).any()
    # what lies behind the gap is measured as if the stream began there
    fresh = stream().feed(U[:, 5000:], I[:, 5000:])
    assert after.start == pytest.approx(fresh.start + 5777, abs=1e-9)
    assert after.p_w.tobytes() == fresh.p_w.tobytes()
    for missing in (0, -1, 1.5):
        with pytest.raises(MeteringError, match="gap"):
            device.gap(missing)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_none_is_named_and_changes_nothing(bad: float) -> None:
    device = stream()
    u, i = U * U_V_PER_COUNT, I * I_A_PER_COUNT
    first = device.feed(u[:, :6000], i[:, :6000])
    broken = i[:, 6000:].copy()
    broken[2, 123] = bad
    with pytest.raises(MeteringError, match=r"channel i3, sample 6123"):
        device.feed(u[:, 6000:], broken)
    second = device.feed(u[:, 6000:], i[:, 6000:])
    whole = stream().feed(u, i)
    assert np.concatenate((first.p_w, second.p_w)).tobytes() == whole.p_w.tobytes()


@pytest.mark.parametrize(
    ("u", "i", "said"),
    [
        (U[:2], I, "u has the shape"),
        (U, I[:1], "i has the shape"),
        (U[0], I, "u has the shape"),
        (U, I[:, :-1], "as many of both"),
        (U.astype(np.int16), I, "int16"),
        (U.astype(np.float32), I, "float32"),
        (U, I.astype(float), "one type for both"),
        ([[1]], I, "list"),
    ],
)
def test_wrong_shapes_and_types_are_refused(u: COUNTS, i: COUNTS, said: str) -> None:
    with pytest.raises(MeteringError, match=said):
        stream().feed(u, i)


def test_the_type_of_samples_may_not_change() -> None:
    device = stream()
    device.feed(U[:, :10], I[:, :10])
    with pytest.raises(MeteringError, match="as before"):
        device.feed(U[:, :10].astype(float), I[:, :10].astype(float))


@pytest.mark.parametrize(
    "options",
    [
        {"points": 1000}, {"points": 32}, {"least_u_v": 0.0}, {"neutral": 2}, {"u_scale": 0.0},
        {"i_scale": [1.0, 2.0]}, {"u_scale": float("nan")},
    ],
)  # fmt: skip
def test_settings_without_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(MeteringError, match="expected"):
        WindowStream(RATE_HZ, 50.0, 3, **options)  # type: ignore[arg-type]
    with pytest.raises(MeteringError, match="phases"):
        WindowStream(RATE_HZ, 50.0, 4)


def test_samples_handed_in_may_be_overwritten() -> None:
    device, parts = stream(), []
    for first in range(0, SAMPLES, 1000):
        u, i = U[:, first : first + 1000].copy(), I[:, first : first + 1000].copy()
        parts.append(device.feed(u, i))
        u[:], i[:] = 0, 0
    expected = stream().feed(U, I)
    assert joined(parts)["p_w"].tobytes() == expected.p_w.tobytes()


def test_the_neutral_conductor_is_a_current_of_its_own() -> None:
    neutral = I.sum(axis=0, dtype=np.int32)[None]
    windows = stream(neutral=1).feed(U, np.concatenate((I, neutral)))
    assert windows.i_a.shape == (len(windows), 4)
    assert windows.i_bins.shape[1] == 4
    total = windows.i_bins[:, :3].astype(complex).sum(axis=1)
    assert np.abs(windows.i_bins[:, 3] - total)[:, :170].max() < 1e-5
    as_a_phase = stream().feed(U, np.concatenate((neutral, I[1:])))
    assert windows.i_a[:, 3] == pytest.approx(as_a_phase.i_a[:, 0], rel=1e-12)


@pytest.mark.parametrize("phases", [1, 2])
def test_fewer_phases_give_the_same_as_the_first_of_three(phases: int) -> None:
    three = stream().feed(U, I)
    fewer = stream(phases=phases).feed(U[:phases], I[:phases])
    assert fewer.u_bins.tobytes() == np.ascontiguousarray(three.u_bins[:, :phases]).tobytes()
    assert fewer.i_bins.tobytes() == np.ascontiguousarray(three.i_bins[:, :phases]).tobytes()
    assert fewer.p_w.tobytes() == np.ascontiguousarray(three.p_w[:, :phases]).tobytes()


def test_counts_and_volts_of_the_same_signal_agree() -> None:
    by_counts = stream().feed(U, I)
    by_value = WindowStream(RATE_HZ, 50.0, 3).feed(U * U_V_PER_COUNT, I * I_A_PER_COUNT)
    assert by_value.start == pytest.approx(by_counts.start, abs=1e-9)
    assert by_value.p_w == pytest.approx(by_counts.p_w, rel=1e-12)
    assert np.abs(by_value.u_bins - by_counts.u_bins).max() < 2e-5 * 230


@settings(max_examples=20, deadline=None)
@given(st.integers(-6, 6), st.integers(-6, 6))
def test_powers_of_two_in_amplitude_are_powers_of_two_in_every_result(a: int, b: int) -> None:
    u, i = U * U_V_PER_COUNT, I * I_A_PER_COUNT
    one = WindowStream(RATE_HZ, 50.0, 3).feed(u[:, :6000], i[:, :6000])
    other = WindowStream(RATE_HZ, 50.0, 3, least_u_v=3.0 * 2.0**a).feed(
        u[:, :6000] * 2.0**a, i[:, :6000] * 2.0**b
    )
    assert (other.u_v == one.u_v * 2.0**a).all()
    assert (other.p_w == one.p_w * 2.0 ** (a + b)).all()
    assert (other.u_bins == one.u_bins * np.float32(2.0**a)).all()
    assert (other.i_bins == one.i_bins * np.float32(2.0**b)).all()


def test_a_reversed_current_reverses_power_and_phasors_exactly() -> None:
    one, other = stream().feed(U, I), stream().feed(U, -I)
    assert (other.p_w == -one.p_w).all()
    assert (other.i_a == one.i_a).all()
    assert (other.i_bins == -one.i_bins).all()


def test_analyse_takes_the_edges_it_is_given() -> None:
    edges = np.array([400.3, 1657.2, 2914.1])
    found = analyse(U, I, RATE_HZ, edges, u_scale=U_V_PER_COUNT, i_scale=I_A_PER_COUNT)
    assert (found.start == edges[:-1]).all()
    assert found.f_hz == pytest.approx(10 * RATE_HZ / np.diff(edges), rel=1e-14)
    single = analyse(
        U, I, RATE_HZ, edges, u_scale=U_V_PER_COUNT, i_scale=I_A_PER_COUNT, precision=Precision.SINGLE
    )
    assert single.p_w.tobytes() == found.p_w.tobytes()
    assert np.abs(single.u_bins - found.u_bins).max() < 1e-5 * 230
    assert len(analyse(U, I, RATE_HZ, edges[:1])) == 0


@pytest.mark.parametrize(
    "edges",
    [
        [EDGE_SAMPLES - 1.0, 1300.0], [400.0, SAMPLES - EDGE_SAMPLES + 1.0], [1700.0, 400.0], [400.0, 410.0],
        [400.0, float("nan")], [[400.0, 1700.0]],
    ],
)  # fmt: skip
def test_edges_that_cannot_be_analysed_are_refused(edges: list[float]) -> None:
    with pytest.raises(MeteringError, match="edges"):
        analyse(U, I, RATE_HZ, np.array(edges))


def test_folded_cycles_give_the_harmonics_of_the_whole_window() -> None:
    folded, bins = WHOLE[Detail.HARMONICS], WHOLE[Detail.BINS]
    steady = (bins["flags"] == 0) & ((bins["end"] < 9200) | (bins["start"] > 9900))
    difference = np.abs(folded["i_bins"][steady, :, :51] - bins["i_bins"][steady][:, :, :510:10])
    assert difference[:, :, :20].max() < 2e-7 * 10
    assert difference.max() < 2e-5 * 10
    assert folded["p_w"].tobytes() == bins["p_w"].tobytes()

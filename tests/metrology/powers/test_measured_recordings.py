"""A recording measured: known in closed form, in any pieces, through gaps and saturation, short and slow."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.metrology.powers.fitted_windows import fitted_frequency, fitted_windows, nominal_of
from openami.metrology.powers.mean_quantities import RATIOS, mean_of_windows
from openami.metrology.powers.measured_values import Measurement, WindowMark, Wiring
from openami.metrology.powers.measurement import MeasuringSettings, measure
from openami.metrology.powers.single_phase import Totals, single_phase_powers
from openami.metrology.recording.recording import Recording
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]

U = {1: (230.0, 0.3), 3: (8.0, 1.0), 5: (23.0, 2.0), 13: (3.0, -1.0)}
I = {1: (10.0, 0.3 - np.pi / 3), 3: (2.0, 0.4), 5: (4.0, 1.4), 13: (1.0, -2.0), 23: (0.2, 0.1)}  # noqa: E741
P = sum(U[h][0] * I[h][0] * np.cos(U[h][1] - I[h][1]) for h in U)
Q1 = 2300 * np.sin(np.pi / 3)
URMS = np.sqrt(sum(rms**2 for rms, _ in U.values()))
IRMS = np.sqrt(sum(rms**2 for rms, _ in I.values()))


def tones(parts: dict[int, tuple[float, float]], f: float, t: F64, turn: float = 0.0) -> F64:
    """Phase k is phase 0 a third of a cycle later: harmonic h is turned by h times as much."""
    wave: F64 = np.sqrt(2) * np.sum(
        [rms * np.sin(h * (2 * np.pi * f * t - turn) + angle) for h, (rms, angle) in parts.items()], axis=0
    )
    return wave


def recorded(
    f: float = 49.3, rate: float = 6400.0, seconds: float = 1.0, phases: int = 3, *, skew_s: float = 0.0
) -> Recording:
    t = np.arange(int(seconds * rate)) / rate
    turns = 2 * np.pi / 3 * np.arange(phases)
    return Recording(
        np.array([tones(U, f, t, turn) for turn in turns]),
        np.array([tones(I, f, t + skew_s, turn) for turn in turns]),
        rate,
    )


def cut(recording: Recording, *places: int) -> Iterator[Recording]:
    for first, end in pairwise([0, *places, recording.samples]):
        yield Recording(
            recording.u[:, first:end].copy(),
            recording.i[:, first:end].copy(),
            recording.rate_hz,
            first_sample=first,
            saturated=None if recording.saturated is None else recording.saturated[first:end],
        )


@pytest.mark.parametrize("rate", [6400.0, 12_800.0])
@pytest.mark.parametrize("f", [42.5, 47.11, 49.3, 50.0, 52.77, 57.5, 60.4])
def test_off_nominal_every_quantity_is_the_closed_form_to_a_millionth(f: float, rate: float) -> None:
    found = measure([recorded(f, rate)])
    assert found.f_hz == pytest.approx(f, rel=1e-9)
    assert found.windows.f_hz.size >= 3
    assert found.cycles == (10 if f < 55 else 12)
    for phase in range(3):
        assert found.phases.u_v[phase] == pytest.approx(URMS, rel=1e-7)
        assert found.phases.i_a[phase] == pytest.approx(IRMS, rel=1e-7)
        assert found.phases.p_w[phase] == pytest.approx(P, rel=1e-6)
        assert found.phases.p1_w[phase] == pytest.approx(1150.0, rel=1e-6)
        assert found.phases.q1_var[phase] == pytest.approx(Q1, rel=1e-6)
        assert found.phases.s_va[phase] == pytest.approx(URMS * IRMS, rel=1e-7)
        for table, parts, letter in ((found.u_harmonics, U, "u"), (found.i_harmonics, I, "i")):
            for h, (rms, angle) in parts.items():
                close = 1e-6 if h < 13 else 1e-5
                assert table.rms[phase, h] == pytest.approx(rms, rel=close), (letter, h)
                # Angles are of cosines, against the crest of U1 of L1.
                told = np.degrees(angle - h * U[1][1] - h * 2 * np.pi / 3 * phase) + 90 * (h - 1)
                assert abs((table.degrees[phase, h] - told + 180) % 360 - 180) < 1e-3, (letter, h)
            assert table.rms[phase, 2] < 1e-5
    assert found.three is not None
    assert found.three.p_w == pytest.approx(3 * P, rel=1e-6)
    assert found.three.su1_va < 1e-4
    assert found.three.u1_sequences.positive == pytest.approx(230.0, rel=1e-6)


def test_thd_of_the_standard_and_of_subgroups() -> None:
    found = measure([recorded(phases=1)])
    distortion = np.sqrt(URMS**2 - 230**2) / 230
    assert found.phases.thd_u[0] == pytest.approx(distortion, rel=1e-6)
    assert found.u_harmonics.subgroup_distortion[0] == pytest.approx(distortion, rel=1e-5)


def test_a_pure_sine_has_no_distortion() -> None:
    t = np.arange(6400) / 6400.0
    wave = np.sqrt(2) * 230 * np.sin(2 * np.pi * 49.3 * t)[None]
    found = measure([Recording(wave, wave / 23, 6400.0)])
    assert found.phases.thd_u[0] < 2e-5
    assert found.phases.sn_va[0] < 2e-5 * 2300
    assert found.phases.pf1[0] == pytest.approx(1.0, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 6399), max_size=6, unique=True))
def test_the_pieces_make_no_difference(places: list[int]) -> None:
    whole, pieces = measure([recorded()]), measure(cut(recorded(), *sorted(places)))
    assert same_windows(whole, pieces)
    assert pieces.energies.active_ws == pytest.approx(whole.energies.active_ws, rel=1e-12)


def same_windows(one: Measurement, other: Measurement) -> bool:
    first, second = one.windows, other.windows
    return bool(
        first.start_s.tolist() == second.start_s.tolist()
        and first.marks.tolist() == second.marks.tolist()
        and np.allclose(first.phases.p_w, second.phases.p_w, rtol=1e-12)
        and np.allclose(first.phases.q1_var, second.phases.q1_var, rtol=1e-9)
    )


def test_energy_is_that_of_every_sample_and_import_less_export() -> None:
    recording = recorded(seconds=2.0, phases=1)
    found = measure([recording])
    integral = (recording.u * recording.i).sum() / recording.rate_hz
    assert found.energies.active_ws.sum() == pytest.approx(integral, rel=1e-12)
    assert found.energies.imported_ws - found.energies.exported_ws == pytest.approx(integral, rel=1e-12)
    assert found.energies.present_s == 2.0
    assert found.energies.q1_vars[0] == pytest.approx(Q1 * found.energies.measured_s, rel=1e-6)
    back = measure([Recording(recording.u, -recording.i, recording.rate_hz)])
    assert back.energies.exported_ws == pytest.approx(found.energies.imported_ws, rel=1e-12)
    assert back.phases.p_w[0] == pytest.approx(-found.phases.p_w[0], rel=1e-12)
    assert back.phases.q1_var[0] == pytest.approx(-found.phases.q1_var[0], rel=1e-9)


def test_channels_sampled_one_after_the_other_are_put_right() -> None:
    """The current 40 us late: 0.7 degrees at 49.3 Hz, 2.2 % of P at 60 degrees, put right by the skew."""
    late = recorded(phases=1, skew_s=40e-6)
    wrong = measure([late])
    assert abs(wrong.phases.p_w[0] / P - 1) > 0.01
    right = measure([late], MeasuringSettings(skews_s=(0.0, 40e-6)))
    assert right.phases.p_w[0] == pytest.approx(P, rel=1e-6)
    assert right.phases.q1_var[0] == pytest.approx(Q1, rel=1e-6)
    with pytest.raises(MeteringError, match="sampled at different times"):
        measure([recorded()], MeasuringSettings(Wiring.LINES, skews_s=(0.0, 40e-6, 0, 0, 0, 0)))


# --- wiring -------------------------------------------------------------------------------------------------


def three_wire(seconds: float = 1.0) -> Recording:
    """Unbalanced, no zero sequence in the currents."""
    t = np.arange(int(6400 * seconds)) / 6400.0
    u = np.array(
        [np.sqrt(2) * a * np.sin(2 * np.pi * 50.4 * t - k * 2.1) for k, a in enumerate((230, 225, 240))]
    )
    i = np.array(
        [np.sqrt(2) * a * np.sin(2 * np.pi * 50.4 * t - k * 2.0 - 0.5) for k, a in enumerate((10, 7, 9))]
    )
    return Recording(u, i - i.mean(axis=0), 6400.0)


def test_line_voltages_two_wattmeters_and_any_common_point_measure_the_same() -> None:
    one = three_wire()
    lines = one.u - np.roll(one.u, -1, axis=0)
    shifted = Recording(one.u + 40 * np.sin(np.arange(6400) / 9), one.i, 6400.0)
    aron = Recording(np.stack((lines[0], -lines[1])), one.i[[0, 2]], 6400.0)
    reference = measure([one], MeasuringSettings(Wiring.THREE_WIRE))
    assert reference.three is not None
    assert reference.three.p_w == pytest.approx((one.u * one.i).sum(axis=0).mean(), rel=1e-3)
    for recording, wiring in (
        (shifted, Wiring.THREE_WIRE),
        (Recording(lines, one.i, 6400.0), Wiring.LINES),
        (aron, Wiring.ARON),
    ):
        found = measure([recording], MeasuringSettings(wiring))
        assert found.three is not None
        for name in ("p_w", "q1_var", "se_va", "ve_v", "ie_a", "s1_pos_va", "su1_va"):
            assert getattr(found.three, name) == pytest.approx(getattr(reference.three, name), rel=1e-6), name


def test_a_measured_neutral_is_measured_with() -> None:
    one = recorded()
    found = measure([Recording(one.u, one.i, 6400.0, neutral=one.i.sum(axis=0))])
    assert found.three is not None
    assert found.three.neutral_a == pytest.approx(3 * 2.0, rel=1e-5)  # the third harmonics add up
    assert found.i_harmonics.rms.shape == (4, 51)
    assert found.i_harmonics.rms[3, 3] == pytest.approx(6.0, rel=1e-5)


@pytest.mark.parametrize(
    ("wiring", "phases"),
    [
        (Wiring.FOUR_WIRE, 1),
        (Wiring.FOUR_WIRE, 2),
        (Wiring.ARON, 3),
        (Wiring.LINES, 2),
        (Wiring.THREE_WIRE, 1),
    ],
)
def test_a_wiring_that_does_not_go_with_the_channels(wiring: Wiring, phases: int) -> None:
    with pytest.raises(MeteringError, match="voltages for the wiring"):
        measure([recorded(phases=phases)], MeasuringSettings(wiring))


# --- what is missing, saturated, short, slow ----------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channel", ["u", "i"])
def test_a_sample_that_is_none_costs_its_window_and_nothing_else(bad: float, channel: str) -> None:
    recording = recorded(seconds=3.0, phases=1)
    clean = measure([recording])
    getattr(recording, channel)[0, 9600] = bad
    found = measure([recording])
    assert found.missing == 1
    assert len(found.gaps) == 1
    assert "sample 9600" in found.gaps[0]
    assert found.phases.p_w[0] == pytest.approx(P, rel=1e-6)
    assert found.phases.u_v[0] == pytest.approx(URMS, rel=1e-7)
    marks = (found.windows.marks & WindowMark.AFTER_GAP) != 0
    assert marks.sum() == 1
    assert (clean.windows.marks == 0).all()
    spans = np.stack((found.windows.start_s, found.windows.start_s + found.windows.duration_s))
    assert not ((spans[0] <= 1.5) & (spans[1] >= 1.5)).any()


def test_a_gap_in_the_positions_is_a_gap() -> None:
    recording = recorded(seconds=3.0, phases=1)
    first, _, last = cut(recording, 9600, 9700)
    found = measure([first, last])
    assert found.missing == 100
    assert found.samples == 19_200
    assert found.gaps == ("100 samples are missing",)
    assert found.phases.p_w[0] == pytest.approx(P, rel=1e-6)


def test_pieces_that_do_not_follow_one_another_are_refused() -> None:
    first, second = cut(recorded(seconds=2.0, phases=1), 6400)
    strangers = (first, recorded(phases=3), Recording(second.u, second.i, 6401.0, first_sample=6400))
    for stranger in strangers:
        with pytest.raises(MeteringError, match="another recording"):
            measure([first, stranger])


def test_every_other_sample_missing_leaves_nothing_to_measure() -> None:
    recording = recorded(phases=1)
    recording.u[0, ::2] = np.nan
    with pytest.raises(MeteringError):
        measure([recording])
    recording.u[:] = np.nan
    with pytest.raises(MeteringError, match="every sample is missing"):
        measure([recording])


def test_saturated_windows_are_marked_and_left_out() -> None:
    recording = recorded(seconds=2.0, phases=1)
    limit = 300.0
    recording.u[0, 6400:6500] = np.clip(recording.u[0, 6400:6500], -limit, limit)
    saturated = (np.abs(recording.u[0]) >= limit) & (np.arange(12_800) >= 6400) & (np.arange(12_800) < 6500)
    marked = Recording(recording.u, recording.i, 6400.0, saturated=saturated)
    for pieces in ([marked], list(cut(marked, 1000, 6440, 6450, 12_000))):
        found = measure(pieces)
        assert found.left_out == 1
        assert ((found.windows.marks & WindowMark.SATURATED) != 0).sum() == 1
        assert found.saturated == saturated.sum()
        assert found.phases.p_w[0] == pytest.approx(P, rel=1e-6)
        assert found.u_harmonics.rms[0, 5] == pytest.approx(23.0, rel=1e-6)
    everywhere = Recording(recording.u, recording.i, 6400.0, saturated=np.ones(12_800, bool))
    found = measure([everywhere])
    assert found.left_out == 0
    assert ((found.windows.marks & WindowMark.SATURATED) != 0).all()


@pytest.mark.parametrize("cycles", [1.3, 2.0, 3.7, 9.2, 12.0, 20.0])
@pytest.mark.parametrize("f", [47.3, 50.0, 61.2])
def test_short_recordings_are_measured_over_their_whole_cycles(cycles: float, f: float) -> None:
    found = measure([recorded(f, 12_800.0, (np.ceil(cycles * 12_800 / f) + 0.5) / 12_800, phases=1)])
    assert found.f_hz == pytest.approx(f, rel=1e-7)
    assert found.cycles == min(int(cycles), 10 if f < 55 else 12)
    if cycles < 15:
        assert (found.windows.marks & WindowMark.SHORT).all()
    assert found.phases.p_w[0] == pytest.approx(P, rel=1e-6)
    assert found.phases.q1_var[0] == pytest.approx(Q1, rel=1e-6)
    assert found.phases.u_v[0] == pytest.approx(URMS, rel=1e-6)


def test_exactly_one_cycle_is_enough() -> None:
    found = measure([recorded(50.0, 6400.0, 0.02, phases=1)])
    assert found.f_hz == pytest.approx(50.0, rel=1e-9)
    assert found.phases.p_w[0] == pytest.approx(P, rel=1e-9)


@pytest.mark.parametrize("samples", [1, 2, 7, 64, 120])
def test_less_than_a_cycle_is_an_error_that_says_so(samples: int) -> None:
    with pytest.raises(MeteringError, match="cycle") as refused:
        measure([recorded(50.0, 6400.0, (samples + 0.5) / 6400, phases=1)])
    assert refused.value.expected


def test_a_short_recording_without_voltage_is_an_error() -> None:
    silent = np.zeros((1, 640))
    with pytest.raises(MeteringError, match="no voltage"):
        measure([Recording(silent, silent + 1.0, 6400.0)])


def test_a_long_recording_without_voltage_is_marked() -> None:
    silent = np.zeros((1, 6400))
    found = measure([Recording(silent, silent + 1.0, 6400.0)])
    assert ((found.windows.marks & WindowMark.UNSYNCHRONISED) != 0).all()
    assert found.phases.u_v[0] == 0.0
    assert found.phases.i_a[0] == pytest.approx(1.0)
    assert found.i_harmonics.rms[0, 0] == pytest.approx(1.0)
    assert np.isnan(found.phases.pf[0])


@pytest.mark.parametrize("f", [0.0, 16.7, 400.0])
def test_a_fundamental_out_of_range_is_marked(f: float) -> None:
    wave = 325 * np.cos(2 * np.pi * f * np.arange(6400) / 6400.0)[None]
    found = measure([Recording(wave, wave / 20, 6400.0)])
    assert ((found.windows.marks & WindowMark.UNSYNCHRONISED) != 0).all()
    assert found.phases.p_w[0] == pytest.approx(np.mean(wave * wave / 20), rel=0.01)


@pytest.mark.parametrize("bad", [[0], [0, 1, 2], [6399], [6399, 6400, 6401], list(range(300)), [19_199]])
@pytest.mark.parametrize("pieces", [(), (6400, 12_800), (1, 2, 6401)])
def test_missing_samples_anywhere_and_in_any_pieces(bad: list[int], pieces: tuple[int, ...]) -> None:
    recording = recorded(seconds=3.0, phases=1)
    recording.u[0, bad] = np.nan
    found = measure(cut(recording, *pieces))
    assert found.missing == len(bad)
    assert found.gaps
    assert found.phases.p_w[0] == pytest.approx(P, rel=1e-6)
    assert found.windows.f_hz.size >= 11


@pytest.mark.parametrize("rate", [600.0, 800.0, 960.0])
def test_slow_recorders_are_measured_by_fitted_windows(rate: float) -> None:
    """Twelve to twenty samples a cycle; the fifth harmonic of 49.3 Hz lies at 0.41 of 600 Hz."""
    t = np.arange(int(rate * 2)) / rate
    u, i = ({1: part[1], 3: part[3]} for part in (U, I))
    found = measure([Recording(tones(u, 49.3, t)[None], tones(i, 49.3, t)[None], rate)])
    assert found.windows.f_hz.size >= 8
    assert found.f_hz == pytest.approx(49.3, rel=1e-9)
    assert found.phases.q1_var[0] == pytest.approx(Q1, rel=1e-5)
    assert found.phases.p_w[0] == pytest.approx(1150 + 16 * np.cos(0.6), rel=2e-4)
    assert np.isnan(found.u_harmonics.rms[0, 10])


def test_content_above_the_spectrum_is_in_the_rms_value_and_in_the_distortion() -> None:
    """0.48 of the sampling rate lies outside the spectrum, not outside the samples."""
    t = np.arange(6400) / 6400.0
    u = np.sqrt(2) * (230 * np.sin(2 * np.pi * 49.3 * t) + 23 * np.sin(2 * np.pi * 3072 * t))
    found = measure([Recording(u[None], u[None] / 23, 6400.0)])
    assert found.phases.u_v[0] == pytest.approx(np.hypot(230, 23), rel=1e-3)
    assert found.phases.thd_u[0] == pytest.approx(0.1, rel=0.02)
    assert found.u_harmonics.subgroup_distortion[0] < 1e-3


def test_without_currents_there_is_nothing_to_measure() -> None:
    with pytest.raises(MeteringError, match="without currents"):
        measure([Recording(np.ones((3, 6400)), np.ones((0, 6400)), 6400.0)])
    with pytest.raises(MeteringError, match="without samples"):
        measure([])


@pytest.mark.parametrize("nominal", [55.0, 400.0])
def test_the_nominal_frequency_is_50_or_60(nominal: float) -> None:
    with pytest.raises(MeteringError, match="nominal frequency"):
        measure([recorded()], MeasuringSettings(nominal_hz=nominal))


def test_the_nearer_nominal_frequency_is_found_and_another_can_be_given() -> None:
    for f, nominal in ((42.5, 50.0), (54.0, 50.0), (56.5, 60.0), (68.0, 60.0)):
        assert nominal_of(recorded(f).u, 6400.0) == nominal
    assert nominal_of(np.zeros((1, 640)), 6400.0) == 50.0
    assert measure([recorded(54.0)], MeasuringSettings(nominal_hz=60.0)).cycles == 12


def test_means_leave_ratios_to_what_they_are_ratios_of() -> None:
    u = np.zeros((2, 1, 2), complex)
    u[:, 0, 1] = 100.0
    i = u.copy()
    i[0, 0, 1], i[1, 0, 1] = 10.0, 1.0j
    mean = mean_of_windows(single_phase_powers(u, i), np.array([1.0, 3.0]))
    assert mean.p_w[0] == pytest.approx(250.0)
    assert mean.s_va[0] == pytest.approx((1000 + 3 * 100) / 4)
    assert mean.pf[0] == pytest.approx(250 / 325)
    assert mean.i_a[0] == pytest.approx(np.sqrt((100 + 3) / 4))
    only_first = mean_of_windows(single_phase_powers(u, i), np.array([1.0, 0.0]))
    assert only_first.pf[0] == pytest.approx(1.0)
    assert {"thd_u", "thd_i", "pf1"} <= set(RATIOS)


def test_totals_of_the_samples_stand_above_the_spectrum() -> None:
    u, i = np.array([0.0, 230.0]), np.array([0.0, 10.0])
    totals = Totals(np.array(np.hypot(230, 10)), np.array(10.0), np.array(2310.0))
    found = single_phase_powers(u.astype(complex), i.astype(complex), totals=totals)
    assert found.uh_v == pytest.approx(10.0, rel=1e-9)
    assert found.p_w == 2310.0
    assert found.ph_w == pytest.approx(10.0)
    assert found.ih_a == 0.0


def test_fits_refuse_what_they_cannot_tell() -> None:
    with pytest.raises(MeteringError, match="no fundamental"):
        fitted_frequency(np.full((1, 640), 48.0), 6400.0)
    with pytest.raises(MeteringError, match="no fundamental"):
        fitted_frequency(np.sin(2 * np.pi * 400 * np.arange(640) / 6400.0)[None], 6400.0)
    wave = np.sin(2 * np.pi * 50 * np.arange(16) / 750.0)[None]
    with pytest.raises(MeteringError, match="samples"):
        fitted_windows(wave, wave, 750.0, 10)


def test_an_hour_needs_the_memory_of_a_minute() -> None:
    """Seven minutes of six channels against one, measured in pieces of ten seconds."""
    piece = recorded(50.0, 1600.0, 10.0)
    measure([piece])

    def pieces(count: int) -> Iterator[Recording]:
        for number in range(count):
            yield Recording(piece.u, piece.i, 1600.0, first_sample=number * piece.samples)

    peaks = []
    for count in (6, 42):
        tracemalloc.start()
        found = measure(pieces(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.windows.f_hz.size > 49 * count
    grown = (peaks[1] - peaks[0]) / (36 * 10)
    assert grown < 8_000, f"{grown:.0f} bytes a second"

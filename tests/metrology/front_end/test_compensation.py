"""Compensation undoes a front end: at every harmonic, at any cut, through a power failure."""

from __future__ import annotations

import cmath
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.metrology.front_end.channel_correction import ChannelCorrection
from openami.metrology.front_end.compensation import (
    LARGEST_SHIFT,
    CompensationSettings,
    DynamicCompensation,
    realise,
)
from openami.metrology.front_end.fractional_delay import (
    differentiator,
    interpolator,
    taps_response,
    two_tap,
    two_tap_weight,
)
from openami.metrology.front_end.sensor import ErrorCurve, Operation, SensorKind, SensorModel
from openami.quantities.errors import MeteringError

FULL_SCALE = 8388607


def compensation(
    *current: ChannelCorrection, rate_hz: float = 6400.0, guard_bits: int = 0, half_width: int = 48
) -> CompensationSettings:
    phases = len(current)
    return CompensationSettings(
        rate_hz=rate_hz,
        u_v_per_count=(460.0 / FULL_SCALE,) * phases,
        i_a_per_count=(20.0 / FULL_SCALE,) * phases,
        full_scale_counts=FULL_SCALE,
        voltage=(ChannelCorrection(230.0),) * phases,
        current=current,
        guard_bits=guard_bits,
        half_width=half_width,
    )


TABLE = ChannelCorrection(
    5.0,
    load=(0.01, 0.1, 1.0),
    gain=(1.004, 1.002, 1.001),
    advance_s=(4e-6, 3e-6, 2e-6),
    corner_hz=(0.2, 0.15, 0.1),
    gain_per_k=1e-5,
    pole_hz=20000.0,
    offset_counts=33.0,
)
SETTINGS = compensation(TABLE, replace(TABLE, advance_s=(-150e-6, 0.0, 100e-6)))


def noise(samples: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Samples whose level changes, so that the tables are used."""
    generator = np.random.default_rng(seed)
    level = np.repeat(generator.uniform(1e3, 2e6, samples // 500 + 1), 500)[:samples]
    blocks = generator.normal(size=(2, 2, samples)) * level
    u, i = blocks.clip(-FULL_SCALE, FULL_SCALE).astype(np.int32)
    return u, i


@pytest.mark.parametrize("fraction", [0.0, 0.0384, 0.25, -0.37, 0.5, -0.5])
def test_a_fractional_delay_is_flat_to_0_2_ppm_up_to_0_45_of_the_rate(fraction: float) -> None:
    f = np.linspace(0.0, 0.45, 4001)
    error = taps_response(interpolator(fraction), f) * np.exp(-2j * np.pi * f * fraction) - 1
    assert np.max(np.abs(error)) < 2.0e-7
    assert abs(error[0]) < 1e-15
    slope = taps_response(differentiator(fraction), f[1:]) / (2j * np.pi * f[1:])
    assert np.max(np.abs(slope * np.exp(-2j * np.pi * f[1:] * fraction) - 1)) < 6e-6


def test_fewer_taps_are_less_flat_by_a_known_amount() -> None:
    f = np.linspace(0.0, 0.45, 2001)
    worst = [
        np.max(np.abs(taps_response(interpolator(0.5, half), f) * np.exp(-1j * np.pi * f) - 1))
        for half in (10, 20, 48)
    ]
    assert worst[0] > 30 * worst[1] > 900 * worst[2]


@pytest.mark.parametrize(
    ("rate_hz", "h3", "h5", "h13", "tolerance"),
    [(4800.0, 0.23, 0.68, 4.5, 0.06), (1923.0, -2.6, -7.8, -50.0, 0.6)],
)
def test_the_two_tap_trick_lifts_the_harmonics(
    rate_hz: float, h3: float, h5: float, h13: float, tolerance: float
) -> None:
    """Gains at 150, 250, 650 Hz for 4.2 degrees: the survey's section 3.3 (% against the fundamental)."""
    weight = two_tap_weight(4.2, 50.0, rate_hz)

    def turned(frequency_hz: float) -> complex:
        step = cmath.exp(2j * math.pi * frequency_hz / rate_hz)
        return 1 + weight * (step - 1)

    assert math.degrees(cmath.phase(turned(50.0))) == pytest.approx(4.2, abs=1e-9)
    for frequency_hz, percent in ((150.0, h3), (250.0, h5), (650.0, h13)):
        gain = (abs(turned(frequency_hz)) / abs(turned(50.0)) - 1) * 100
        assert gain == pytest.approx(percent, abs=tolerance)
        # the same figure from samples
        t = np.arange(round(rate_hz) * 2) / rate_hz
        wave = two_tap(np.sin(2 * np.pi * frequency_hz * t), weight)
        base = two_tap(np.sin(2 * np.pi * 50.0 * t), weight)
        assert (np.std(wave) / np.std(base) - 1) * 100 == pytest.approx(gain, abs=0.02)


@pytest.mark.parametrize("rate_hz", [6400.0, 12800.0])
@pytest.mark.parametrize(("minutes", "ppm", "urad"), [(10.0, 0.02, 4.0), (270.0, 0.4, 115.0)])
def test_a_transformer_and_its_filter_are_undone_from_45_to_65_hz_to_the_fortieth_harmonic(
    rate_hz: float, minutes: float, ppm: float, urad: float
) -> None:
    curve = ErrorCurve((1.0,), (-0.1,), (minutes,))
    sensor = SensorModel(SensorKind.DC_TOLERANT_TRANSFORMER, 5.0, curve)
    channel = sensor.response(Operation(1.0)).behind(1.0, 3e-6, 20000.0)
    correction = ChannelCorrection(
        5.0,
        gain=(1 / channel.gain,),
        advance_s=(3e-6,),
        corner_hz=(channel.lower_corner_hz,),
        pole_hz=20000.0,
    )
    filters = realise(compensation(correction, rate_hz=rate_hz), correction, 1.0, 23.0)
    fundamental = np.arange(45.0, 65.01, 2.5)
    harmonics = np.multiply.outer(fundamental, np.arange(1, 41))
    left = filters.response(harmonics / rate_hz) * channel.at(harmonics)
    assert np.max(np.abs(np.abs(left) - 1)) < ppm * 1e-6
    assert np.max(np.abs(np.angle(left))) < urad * 1e-6
    assert np.max(np.abs(np.angle(left[:, 0]))) < 1e-7
    nominal = filters.response(np.array([50.0 / rate_hz])) * channel.at(np.array([50.0]))
    assert abs(abs(nominal[0]) - 1) < 1e-9
    assert abs(np.angle(nominal[0])) < 3e-8


def test_every_channel_has_the_same_delay_of_whole_samples() -> None:
    corrections = (
        ChannelCorrection(5.0, advance_s=(4 / 6400,)),
        ChannelCorrection(5.0, advance_s=(-3.7 / 6400,)),
    )
    meter = DynamicCompensation(compensation(*corrections, guard_bits=4))
    t = np.arange(4000) / 6400
    wave = np.sin(2 * np.pi * 730 * t + 0.3) * 1e6
    late = np.stack([np.sin(2 * np.pi * 730 * (t - c.advance_s[0]) + 0.3) * 1e6 for c in corrections])
    out = meter.feed(np.rint(np.stack([wave, wave])).astype(np.int32), np.rint(late).astype(np.int32))
    assert out.first_sample == meter.group_delay_samples == 52
    expected = wave[52 : 52 + out.u.shape[1]]
    assert out.u.shape == (2, 4000 - 104)
    for row in (*out.u, *out.i):
        assert np.max(np.abs(row / 16 - expected)) < 1.0


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 5000), max_size=8))
def test_any_cut_gives_the_same_output(cuts: list[int]) -> None:
    u, i = noise(5000)
    whole = DynamicCompensation(SETTINGS).feed(u, i, temperature_c=31.0)
    meter = DynamicCompensation(SETTINGS)
    parts = [
        meter.feed(u[:, begin:end], i[:, begin:end], temperature_c=31.0)
        for begin, end in pairwise(sorted({0, 5000, *cuts}))
    ]
    assert np.array_equal(np.concatenate([part.u for part in parts], axis=1), whole.u)
    assert np.array_equal(np.concatenate([part.i for part in parts], axis=1), whole.i)
    assert sum(part.saturation_counts for part in parts).tolist() == whole.saturation_counts.tolist()
    position = 52
    for part in parts:
        assert part.first_sample == position
        position += part.u.shape[1]


def test_one_sample_at_a_time_gives_the_same_output() -> None:
    u, i = noise(3000, seed=2)
    whole = DynamicCompensation(SETTINGS).feed(u, i)
    meter = DynamicCompensation(SETTINGS)
    parts = [meter.feed(u[:, k : k + 1], i[:, k : k + 1]) for k in range(3000)]
    assert np.array_equal(np.concatenate([part.i for part in parts], axis=1), whole.i)


@pytest.mark.parametrize("at", [0, 1, 51, 52, 53, 104, 105, 640, 1279, 1280, 1281, 1331, 1332, 1333, 2600])
def test_power_may_fail_at_any_sample(at: int) -> None:
    u, i = noise(5000, seed=3)
    meter = DynamicCompensation(SETTINGS)
    first = meter.feed(u[:, :at], i[:, :at], temperature_c=40.0)
    kept = meter.snapshot()
    del meter
    again = DynamicCompensation.restore(SETTINGS, kept)
    assert again.snapshot() == kept
    rest = again.feed(u[:, at:], i[:, at:], temperature_c=15.0)
    whole = DynamicCompensation(SETTINGS)
    expected = (
        whole.feed(u[:, :at], i[:, :at], temperature_c=40.0),
        whole.feed(u[:, at:], i[:, at:], temperature_c=15.0),
    )
    for got, wanted in ((first, expected[0]), (rest, expected[1])):
        assert np.array_equal(got.u, wanted.u)
        assert np.array_equal(got.i, wanted.i)


def test_a_snapshot_fits_only_where_it_was_made_and_only_whole() -> None:
    meter = DynamicCompensation(SETTINGS)
    meter.feed(*noise(1000))
    kept = meter.snapshot()
    with pytest.raises(MeteringError, match="settings"):
        DynamicCompensation.restore(replace(SETTINGS, guard_bits=1), kept)
    with pytest.raises(MeteringError, match="snapshot"):
        DynamicCompensation.restore(SETTINGS, b"")
    for length in (len(kept) - 1, len(kept) - 16, 60, 100):
        with pytest.raises(MeteringError, match="snapshot"):
            DynamicCompensation.restore(SETTINGS, kept[:length])


def test_the_correction_follows_the_load_of_the_window_before() -> None:
    """A sine of 5 A that falls to 0.5 A: gain 1.001 at load 1, 1.002 at 0.1, from the next window on."""
    table = replace(TABLE, advance_s=(0.0,) * 3, corner_hz=(0.0,) * 3, pole_hz=math.inf, offset_counts=0.0)
    meter = DynamicCompensation(compensation(table, guard_bits=4))
    k = np.arange(5 * 1280)
    amps = np.where(k < 2 * 1280, 5.0, 0.5) * np.sqrt(2) * np.sin(2 * np.pi * 50 * k / 6400)
    counts = np.rint(amps / 20.0 * FULL_SCALE).astype(np.int32)[np.newaxis]
    out = meter.feed(counts, counts)
    gain = [
        np.std(out.i[0, begin - 52 : begin - 52 + 1280]) / 16 / np.std(counts[0, begin : begin + 1280])
        for begin in (1280, 2 * 1280, 3 * 1280)
    ]
    assert gain == pytest.approx([1.001, 1.001, 1.002], abs=2e-7)
    assert meter.loads[1] == pytest.approx(0.1, abs=1e-6)


def test_the_correction_follows_the_temperature_at_the_windows_edge() -> None:
    table = ChannelCorrection(5.0, gain_per_k=1e-4)
    meter = DynamicCompensation(compensation(table, guard_bits=4))
    counts = np.full((1, 1280), 1_000_000, np.int32)
    shown = []
    for temperature_c in (23.0, 33.0, 43.0, 43.0):
        shown.append(meter.feed(counts, counts, temperature_c=temperature_c).i[0] / 16e6)
    stream = np.concatenate(shown)
    # output 52 is the first; windows end at 1280, 2560, ...
    assert stream[1280 - 52 - 1] == pytest.approx(1.0, abs=1e-7)
    assert stream[1280 - 52 + 1] == pytest.approx(1.0, abs=1e-7)
    assert stream[2560 - 52 + 1] == pytest.approx(1.001, abs=1e-7)
    assert stream[3840 - 52 + 1] == pytest.approx(1.002, abs=1e-7)


def test_a_saturated_sample_stays_saturated_and_is_counted() -> None:
    meter = DynamicCompensation(compensation(ChannelCorrection(5.0, gain=(0.9,), advance_s=(0.2 / 6400,))))
    counts = np.zeros((1, 300), np.int32)
    counts[0, 100], counts[0, 150], counts[0, 200] = FULL_SCALE, -FULL_SCALE, FULL_SCALE - 1
    out = meter.feed(counts, counts)
    assert (out.i[0, 100 - 52], out.i[0, 150 - 52]) == (FULL_SCALE, -FULL_SCALE)
    assert abs(int(out.i[0, 200 - 52])) < FULL_SCALE
    assert out.saturation_counts.tolist() == [[2], [2]]
    assert out.saturated.tolist() == [[True], [True]]


def test_a_correction_that_leaves_full_scale_is_held_there() -> None:
    meter = DynamicCompensation(compensation(ChannelCorrection(5.0, gain=(1.5,)), guard_bits=2))
    counts = np.full((1, 200), 7_000_000, np.int32)
    out = meter.feed(counts, counts)
    assert set(out.i[0].tolist()) == {FULL_SCALE * 4}
    assert meter.full_scale_counts == FULL_SCALE * 4
    assert meter.i_a_per_count[0] == 20.0 / FULL_SCALE / 4


@pytest.mark.parametrize("guard_bits", [0, 4])
def test_rounding_noise_is_the_stated_twelfth(guard_bits: int) -> None:
    meter = DynamicCompensation(
        compensation(ChannelCorrection(5.0, advance_s=(0.3 / 6400,)), guard_bits=guard_bits)
    )
    fine = DynamicCompensation(compensation(ChannelCorrection(5.0, advance_s=(0.3 / 6400,)), guard_bits=8))
    counts = (np.random.default_rng(4).normal(size=(1, 100_000)) * 3e5).astype(np.int32)
    error = meter.feed(counts, counts).i / 2**guard_bits - fine.feed(counts, counts).i / 256
    expected = math.sqrt((2.0 ** (-2 * guard_bits) + 2.0**-16) / 12)
    assert float(np.std(error)) == pytest.approx(expected, rel=0.02)
    assert abs(float(np.mean(error))) < 5 * expected / math.sqrt(error.size)


def test_bad_input_is_refused() -> None:
    meter = DynamicCompensation(SETTINGS)
    u, i = noise(10)
    with pytest.raises(MeteringError, match="int32"):
        meter.feed(u.astype(np.int64), i)
    with pytest.raises(MeteringError, match="int32"):
        meter.feed(u[:1], i)
    with pytest.raises(MeteringError, match="as many"):
        meter.feed(u, i[:, :5])
    with pytest.raises(MeteringError, match="temperature"):
        meter.feed(u, i, temperature_c=math.nan)
    assert meter.feed(u[:, :0], i[:, :0]).u.shape == (2, 0)
    far = compensation(ChannelCorrection(5.0, advance_s=((LARGEST_SHIFT + 1) / 6400,)))
    with pytest.raises(MeteringError, match="samples"):
        DynamicCompensation(far).feed(np.zeros((1, 200), np.int32), np.zeros((1, 200), np.int32))
    with pytest.raises(MeteringError, match="guard bits"):
        replace(SETTINGS, guard_bits=9)
    with pytest.raises(MeteringError, match="differ"):
        replace(SETTINGS, u_v_per_count=(1.0,))


@pytest.mark.parametrize(
    "change",
    [
        {"load": (1.0, 0.5), "gain": (1.0, 1.0), "advance_s": (0.0, 0.0), "corner_hz": (0.0, 0.0)},
        {"load": (0.0,)},
        {"gain": (1.0, 1.0)},
        {"gain": (0.0,)},
        {"gain": (math.nan,)},
        {"advance_s": (0.5,)},
        {"corner_hz": (50.0,)},
        {"rated": 0.0},
        {"pole_hz": -1.0},
        {"gain_per_k": math.inf},
    ],
)
def test_a_correction_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(MeteringError):
        replace(ChannelCorrection(5.0), **change)

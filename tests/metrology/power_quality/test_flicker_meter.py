"""The flickermeter beside its tables: streams, units, supplies off nominal, bad input, dead phases, peers."""

from __future__ import annotations

import subprocess
from dataclasses import astuple
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.cli.bench.figures import peers_python
from openami.metrology.power_quality.flicker import SETTLING_S, FlickerMeter
from openami.metrology.power_quality.flicker_filters import (
    LAMPS,
    LOW_PASS_HZ,
    analogue_response,
    decimator,
    weighting_bank,
)
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
RATE = 6400.0
SCIPY_CHAIN = Path(__file__).parent / "peers" / "flicker_with_scipy.py"


def flickering(
    seconds: float, *, frequency_hz: float = 50.0, modulation_hz: float = 8.8, change: float = 0.0025
) -> F64:
    """One phase of 230 V with a sinusoidal change of voltage, (1, n)."""
    t = np.arange(int(RATE * seconds)) / RATE
    envelope = 1 + change / 2 * np.sin(2 * np.pi * modulation_hz * t)
    return (230 * np.sqrt(2) * np.sin(2 * np.pi * frequency_hz * t) * envelope)[np.newaxis]


def noisy_counts(seconds: float, phases: int) -> npt.NDArray[np.int32]:
    noise = np.random.default_rng(61).normal(0, 2000, (phases, int(RATE * seconds)))
    return (flickering(seconds) * 18_000 + noise).astype(np.int32)


STREAM = noisy_counts(8, 3)
WHOLE = FlickerMeter(RATE, 50, 230, 3).feed(STREAM)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, STREAM.shape[1]), max_size=8))
def test_what_comes_out_does_not_depend_on_the_cuts(cuts: list[int]) -> None:
    meter = FlickerMeter(RATE, 50, 230, 3)
    edges = [0, *sorted(cuts), STREAM.shape[1]]
    parts = [meter.feed(STREAM[:, a:b]) for a, b in pairwise(edges)]

    assert np.array_equal(np.hstack([part.pinst for part in parts]), WHOLE.pinst)
    assert np.array_equal(np.hstack([part.settled for part in parts]), WHOLE.settled)
    assert np.array_equal(np.concatenate([part.position for part in parts]), WHOLE.position)


def test_a_stream_cut_at_every_one_of_its_first_samples_is_the_same() -> None:
    meter = FlickerMeter(RATE, 50, 230, 3)
    singles = [meter.feed(STREAM[:, k : k + 1]).pinst for k in range(300)]

    rest = meter.feed(STREAM[:, 300:]).pinst

    assert np.array_equal(np.hstack([*singles, rest]), WHOLE.pinst)


def test_positions_are_centres_of_the_decimation_windows() -> None:
    assert WHOLE.position[0] == 47  # 95 taps of the decimator
    assert np.all(np.diff(WHOLE.position) == 16)
    assert FlickerMeter(RATE, 50, 230).output_rate_hz == 400.0


@pytest.mark.parametrize(
    ("rate", "output"), [(4000.0, 400.0), (12800.0, 400.0), (5000.0, 5000 / 12), (1920.0, 384.0)]
)
def test_every_rate_has_a_whole_number_of_samples_per_value(rate: float, output: float) -> None:
    assert FlickerMeter(rate, 50, 230).output_rate_hz == pytest.approx(output, rel=1e-15)


@pytest.mark.parametrize("rate", [1000.0, 1920.0, 5000.0, 10_000.0, 51_200.0])
def test_the_reference_point_reads_one_at_odd_rates_too(rate: float) -> None:
    t = np.arange(int(rate * 10)) / rate
    u = np.sin(2 * np.pi * 50 * t) * (1 + 0.00125 * np.sin(2 * np.pi * 8.8 * t))

    columns = FlickerMeter(rate, 50, 230).feed(u[np.newaxis])

    assert columns.pinst[columns.settled].max() == pytest.approx(1.0, abs=2e-3)


def test_counts_volts_and_any_scale_give_the_same() -> None:
    counts = STREAM[:1]
    from_counts = FlickerMeter(RATE, 50, 230).feed(counts).pinst
    from_volts = FlickerMeter(RATE, 50, 230).feed(counts * 2.0**-14).pinst
    from_kilovolts = FlickerMeter(RATE, 50, 230).feed(counts * 1e-6).pinst

    assert np.array_equal(from_counts, from_volts)  # a power of two changes no bit of a mantissa
    np.testing.assert_allclose(from_kilovolts, from_counts, rtol=1e-3, atol=1e-5)  # float32 squares


def test_a_phase_is_measured_as_if_it_were_alone() -> None:
    alone = FlickerMeter(RATE, 50, 230).feed(STREAM[1:2])

    assert np.array_equal(alone.pinst[0], WHOLE.pinst[1])


def test_sign_and_dead_time_of_the_voltage_do_not_matter() -> None:
    upright = FlickerMeter(RATE, 50, 230).feed(STREAM[:1]).pinst
    reversed_ = FlickerMeter(RATE, 50, 230).feed(-STREAM[:1]).pinst

    assert np.array_equal(upright, reversed_)


@pytest.mark.parametrize("frequency_hz", [42.5, 47.0, 49.37, 49.99, 50.01, 52.0, 57.5])
def test_flicker_is_read_at_any_frequency_of_the_supply(frequency_hz: float) -> None:
    u = flickering(15, frequency_hz=frequency_hz)

    columns = FlickerMeter(RATE, 50, 230).feed(u)

    # What the carrier itself leaves behind a low-pass of 35 Hz, at most 0.005 from 49 Hz, is in the standard.
    assert columns.pinst[columns.settled].max() == pytest.approx(1.0, abs=0.06 if frequency_hz < 46 else 0.02)


@pytest.mark.parametrize("rate", [4000.0, 6400.0, 12800.0])
@pytest.mark.parametrize("frequency_hz", [49.37, 49.9, 50.02, 50.6])
def test_a_steady_distorted_voltage_does_not_flicker(rate: float, frequency_hz: float) -> None:
    """Products of harmonics at multiples of 400 Hz would fold onto flicker without the decimator."""
    rng = np.random.default_rng(7)
    t = np.arange(int(rate * 12)) / rate
    u = np.sin(2 * np.pi * frequency_hz * t)
    for order in range(2, int(0.45 * rate / frequency_hz) + 1):
        level = 0.06 if order in (3, 5, 7, 11, 13) else 0.01
        u += level * np.sin(2 * np.pi * order * frequency_hz * t + rng.uniform(0, 2 * np.pi))

    columns = FlickerMeter(rate, 50, 230).feed(u[np.newaxis])

    assert columns.pinst[columns.settled].max() < 0.008


@pytest.mark.parametrize("modulation_hz", [0.5, 1.0, 8.8, 33.333])
@pytest.mark.parametrize("phase_deg", [0, 40, 90, 172, 269])
def test_pinst_is_right_as_soon_as_it_says_it_is_settled(modulation_hz: float, phase_deg: int) -> None:
    t = np.arange(int(RATE * 40)) / RATE
    angle = np.deg2rad(phase_deg)
    change = 0.02 / 2 * np.sin(2 * np.pi * modulation_hz * t + angle)
    u = (np.sin(2 * np.pi * 49.7 * t + angle) * (1 + change))[np.newaxis]

    columns = FlickerMeter(RATE, 50, 230).feed(u)

    first = int(columns.settled[0].argmax())
    period = int(400 / min(modulation_hz, 2.0))
    assert columns.position[first] / RATE == pytest.approx(SETTLING_S, abs=0.03)
    early = columns.pinst[0, first : first + period].max()
    assert early == pytest.approx(columns.pinst[0, -period:].max(), rel=0.01)


def test_gain_control_follows_a_new_level_in_one_minute() -> None:
    """10 % to 90 % of a step takes 27.3 s * ln 9 = 60 s (IEC 61000-4-15, block 1)."""
    t = np.arange(int(RATE * 400)) / RATE
    u = np.where(t < 200, 1.0, 1.06) * np.sin(2 * np.pi * 50 * t)
    meter = FlickerMeter(RATE, 50, 230)
    reached = []
    for second in range(400):
        meter.feed(u[np.newaxis, int(second * RATE) : int((second + 1) * RATE)])
        reached.append((float(meter.reference[0]) * np.sqrt(2) - 1) / 0.06)

    after = np.array(reached[200:])
    rise = np.interp([0.1, 0.9], after, np.arange(after.size) + 1.0)
    assert rise[1] - rise[0] == pytest.approx(60.0, abs=0.6)
    assert after[26] == pytest.approx(1 - np.exp(-27 / 27.3), abs=2e-3)


def test_gain_keeps_its_reference_through_an_interruption() -> None:
    u = flickering(60)
    u[:, int(20 * RATE) : int(40 * RATE)] = 0.0
    meter = FlickerMeter(RATE, 50, 230)
    meter.feed(u[:, : int(20 * RATE)])
    before = meter.reference

    meter.feed(u[:, int(20 * RATE) : int(40 * RATE)])
    columns = meter.feed(u[:, int(40 * RATE) :])

    assert meter.reference == pytest.approx(before, rel=2e-3)
    last = columns.pinst[0, -400:]
    assert last.max() == pytest.approx(1.0, abs=0.01)


def test_a_phase_that_comes_alive_is_measured_from_then() -> None:
    u = np.vstack((flickering(20), flickering(20)))
    u[1, : int(8 * RATE)] = 0.0

    columns = FlickerMeter(RATE, 50, 230, 2).feed(u)

    dead = columns.position < 8 * RATE - 47
    assert np.all(columns.pinst[1, dead] == 0.0)
    waiting = (columns.position > 8 * RATE + 47) & (columns.position < (7.98 + SETTLING_S) * RATE)
    assert not columns.settled[1, waiting].any()
    after = columns.position > (8.1 + SETTLING_S) * RATE
    assert columns.settled[:, after].all()
    assert columns.pinst[1, after].max() == pytest.approx(1.0, abs=0.01)


def test_no_voltage_is_no_flicker_and_no_error() -> None:
    columns = FlickerMeter(RATE, 50, 230, 2).feed(np.zeros((2, int(RATE * 7))))

    assert np.all(columns.pinst == 0.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
@pytest.mark.parametrize("index", [0, 3000, 12_799])
def test_a_bad_sample_is_named_and_nothing_is_taken(value: float, index: int) -> None:
    u = np.vstack((flickering(2), flickering(2)))
    meter, untouched = FlickerMeter(RATE, 50, 230, 2), FlickerMeter(RATE, 50, 230, 2)
    for each in (meter, untouched):
        each.feed(u)
    bad = u.copy()
    bad[1, index] = value

    with pytest.raises(MeteringError, match=r"phase 2") as caught:
        meter.feed(bad)

    assert caught.value.where == f"sample {12_800 + index}"
    assert np.array_equal(meter.feed(u).pinst, untouched.feed(u).pinst)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros((2, 10)),
        np.zeros(10),
        np.zeros((1, 10), np.float32),
        np.zeros((1, 10), np.int64),
        np.zeros((1, 10), np.complex128),
    ],
)
def test_other_shapes_and_types_are_refused(samples: Any) -> None:
    with pytest.raises(MeteringError, match="samples of"):
        FlickerMeter(RATE, 50, 230).feed(samples)


@pytest.mark.parametrize(
    ("settings_", "said"),
    [
        ((999.0, 50, 230, 1), "999.0 samples per second"),
        ((float("nan"), 50, 230, 1), "nan samples per second"),
        ((float("inf"), 50, 230, 1), "inf samples per second"),
        ((6400.0, 55, 230, 1), "nominal frequency of 55 Hz"),
        ((6400.0, 50, 100, 1), "no lamp of 100 V"),
        ((6400.0, 50, 230, 0), "0 phases"),
    ],
)
def test_what_cannot_be_measured_with_is_refused(settings_: tuple[Any, ...], said: str) -> None:
    with pytest.raises(MeteringError, match=said):
        FlickerMeter(*settings_)


@pytest.mark.parametrize("lamp_v", LAMPS)
@pytest.mark.parametrize("nominal_hz", LOW_PASS_HZ)
def test_the_bank_of_poles_is_the_analogue_filter(lamp_v: int, nominal_hz: int) -> None:
    frequency = np.linspace(0.02, 80, 3000)
    wanted = analogue_response(frequency, lamp_v, nominal_hz)

    found = weighting_bank(lamp_v, nominal_hz, 400.0).response(frequency, 400.0)

    assert np.abs(found - wanted).max() < 1e-8  # magnitude and phase; the largest response is 1


@pytest.mark.parametrize("rate", [1000.0, 4000.0, 6400.0, 12800.0, 25600.0])
@pytest.mark.parametrize("nominal_hz", LOW_PASS_HZ)
def test_the_decimator_passes_flicker_and_stops_what_would_fold(rate: float, nominal_hz: int) -> None:
    factor = round(rate / 400)
    taps = decimator(rate, factor, nominal_hz).astype(np.float64)
    lags = np.arange(taps.size) - taps.size // 2
    edge = 1.3 * LOW_PASS_HZ[nominal_hz]

    def response(frequency: F64) -> F64:
        return np.asarray(np.cos(2 * np.pi / rate * np.outer(frequency, lags)) @ taps)

    assert np.array_equal(taps, taps[::-1])
    assert np.abs(response(np.linspace(0, edge, 500)) - 1).max() < 2e-4
    for multiple in range(1, factor // 2 + 1):
        band = np.linspace(-edge, edge, 201) + multiple * rate / factor
        assert np.abs(response(band)).max() < 10 ** (-84 / 20)


@pytest.mark.peer
@pytest.mark.parametrize(("lamp_v", "nominal_hz"), [(230, 50), (120, 60)])
def test_pinst_agrees_with_scipys_filters_at_the_full_rate(
    tmp_path: Path, lamp_v: int, nominal_hz: int
) -> None:
    """A random envelope, so that every frequency and every phase counts, not the largest value of a sine."""
    python = peers_python()
    if python is None:
        pytest.skip("no environment of peers (scipy)")
    rng = np.random.default_rng(15)
    rate, seconds = 12_800.0, 60
    t = np.arange(int(rate * seconds)) / rate
    tones = [(rng.uniform(0.3, 33), rng.uniform(0, 2 * np.pi)) for _ in range(30)]
    envelope = 1 + sum(0.0008 * np.sin(2 * np.pi * f * t + angle) for f, angle in tones)
    u = envelope * (np.sin(2 * np.pi * nominal_hz * t) + 0.05 * np.sin(2 * np.pi * 5 * nominal_hz * t + 1))
    lamp = np.array(astuple(LAMPS[lamp_v])[:6])
    given_, answer = tmp_path / "given.npz", tmp_path / "answer.npz"
    np.savez(given_, u=u, rate_hz=rate, lamp=lamp, corner_hz=LOW_PASS_HZ[nominal_hz])
    subprocess.run([python, SCIPY_CHAIN, given_, answer], check=True, timeout=120)

    columns = FlickerMeter(rate, nominal_hz, lamp_v).feed(u[np.newaxis])

    theirs = np.load(answer)["pinst"][columns.position]
    scale = weighting_bank(lamp_v, nominal_hz, 400.0).square_gain
    late = columns.position > 30 * rate
    np.testing.assert_allclose(columns.pinst[0, late], scale * theirs[late], rtol=0.003)

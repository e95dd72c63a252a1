"""A count is a function of its sample: however the stream is cut, in whatever order it is asked for."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.metrology.front_end.converter import ConverterModel, noise_key, normal_deviates
from openami.metrology.front_end.front_end import ChannelModel, FrontEnd, FrontEndParameters
from openami.metrology.front_end.sensor import ErrorCurve, SensorKind, SensorModel
from openami.metrology.waveform.noise import Noise
from openami.metrology.waveform.polyphase import Waveform, balanced
from openami.metrology.waveform.signal import Stepped, Tone
from openami.metrology.waveform.test_waveforms import Circuit, burst_fired, flicker, half_wave, quadriform
from openami.quantities.errors import MeteringError

RATE = 6400.0
LENGTH = 4000
CURVE = ErrorCurve((0.01, 1.0), (-0.4, -0.1), (12.0, 5.0))


def front_end(seed: int = 7, jitter_s: float = 0.0) -> FrontEnd:
    u = SensorModel(SensorKind.RESISTIVE_DIVIDER, 230.0)
    i = SensorModel(SensorKind.CURRENT_TRANSFORMER, 5.0, CURVE, dc_saturation=0.1, self_heating_k=3.0)
    voltage, current = (
        ConverterModel(24, 460.0, noise_counts_rms=20.0, delay_s=1e-6),
        ConverterModel(24, 20.0, noise_counts_rms=20.0, offset_counts=50.0, anti_alias_hz=20000.0),
    )
    return FrontEnd(
        FrontEndParameters(
            RATE,
            (ChannelModel(u, voltage),) * 2,
            (ChannelModel(i, current),) * 2,
            seed=seed,
            jitter_s=jitter_s,
        )
    )


CIRCUIT = Circuit(230.0, 5.0, 30.0, 49.3, phases=2)
WAVEFORMS = {
    "sine": balanced(230.0, 5.0, 30.0, 49.3, phases=2),
    "quadriform": quadriform(CIRCUIT),
    "half wave": half_wave(CIRCUIT),
    "burst": burst_fired(CIRCUIT),
    "flicker": flicker(CIRCUIT, 8.8, 0.01),
    "step": Waveform(
        (Tone(50.0, 230.0),) * 2, (Stepped(Tone(50.0, 5.0), ((0.31, Tone(50.0, 0.1)),)), Tone(50.0, 1.0))
    ),
    "noisy": replace(balanced(230.0, 5.0, phases=2), noise=Noise(0.1, 0.01, 3)),
}
WHOLE = {name: front_end().convert(waveform, 0, LENGTH) for name, waveform in WAVEFORMS.items()}


@pytest.mark.parametrize("name", WAVEFORMS)
@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, LENGTH), max_size=6))
def test_any_cut_gives_the_same_counts(name: str, cuts: list[int]) -> None:
    end = front_end()
    edges = sorted({0, LENGTH, *cuts})
    parts = [end.convert(WAVEFORMS[name], begin, stop - begin) for begin, stop in pairwise(edges)]
    whole = WHOLE[name]
    assert np.array_equal(np.concatenate([part.u for part in parts], axis=1), whole.u)
    assert np.array_equal(np.concatenate([part.i for part in parts], axis=1), whole.i)
    assert [part.first_sample for part in parts] == edges[:-1]


@pytest.mark.parametrize("name", ["sine", "half wave"])
def test_every_single_sample_can_be_asked_for_alone(name: str) -> None:
    end = front_end()
    for sample in (2571, 3, 1279, 1280, 1281, 0, 3999, 2571):
        alone = end.convert(WAVEFORMS[name], sample, 1)
        assert np.array_equal(alone.u[:, 0], WHOLE[name].u[:, sample])
        assert np.array_equal(alone.i[:, 0], WHOLE[name].i[:, sample])


def test_another_waveform_or_temperature_in_between_leaves_no_trace() -> None:
    end = front_end()
    end.convert(WAVEFORMS["half wave"], 100, 2000)
    end.convert(WAVEFORMS["burst"], 100, 2000, temperature_c=60.0)
    again = end.convert(WAVEFORMS["half wave"], 700, 1000)
    assert np.array_equal(again.i, WHOLE["half wave"].i[:, 700:1700])


def test_jitter_does_not_know_of_cuts() -> None:
    whole = front_end(jitter_s=1e-6).convert(WAVEFORMS["sine"], 0, LENGTH)
    cut = front_end(jitter_s=1e-6)
    parts = [cut.convert(WAVEFORMS["sine"], begin, 77) for begin in range(0, LENGTH - 77, 77)]
    joined = np.concatenate([part.i for part in parts], axis=1)
    assert np.array_equal(joined, whole.i[:, : joined.shape[1]])
    assert not np.array_equal(whole.i, WHOLE["sine"].i)


def test_noise_is_normal_white_and_independent() -> None:
    count = 1 << 20
    x = normal_deviates(noise_key(1, 0), 0, count)
    y = normal_deviates(noise_key(1, 1), 0, count)
    z = normal_deviates(noise_key(2, 0), 0, count)
    bound = 5.0 / np.sqrt(count)
    for column in (x, y, z):
        assert abs(np.mean(column)) < bound
        assert abs(np.std(column) - 1.0) < bound
        assert abs(np.mean(column**3)) < bound * np.sqrt(15)
        assert abs(np.mean(column**4) - 3.0) < bound * np.sqrt(96)
        assert 4.5 < np.max(np.abs(column)) < 6.5
    for lag in (1, 2, 3, 64):
        assert abs(np.mean(x[lag:] * x[:-lag])) < bound
    for other in (y, z):
        for shift in (-1, 0, 1):
            assert abs(np.mean(x[1:-1] * np.roll(other, shift)[1:-1])) < bound


def test_noise_of_a_sample_is_the_same_from_wherever_it_is_asked_for() -> None:
    key = noise_key(9, 4)
    whole = normal_deviates(key, 1000, 500)
    assert np.array_equal(normal_deviates(key, 1233, 100), whole[233:333])
    assert np.array_equal(normal_deviates(key, 1001, 1), whole[1:2])


def test_noise_of_the_converter_has_the_stated_counts_and_seed() -> None:
    quiet = Waveform((Tone(50.0, 0.0),) * 2, (Tone(50.0, 0.0),) * 2)
    samples = front_end().convert(quiet, 0, 200000)
    assert np.std(samples.u) == pytest.approx(np.sqrt(20.0**2 + 1 / 12), rel=5e-3)
    assert np.mean(samples.i) == pytest.approx(50.0, abs=0.15)
    assert np.array_equal(front_end().convert(quiet, 0, 1000).u, samples.u[:, :1000])
    assert not np.array_equal(front_end(seed=8).convert(quiet, 0, 1000).u, samples.u[:, :1000])


def test_counts_are_rounded_to_the_nearest_and_held_at_full_scale() -> None:
    model = ConverterModel(8, 127.0)
    values = np.array([0.4, 0.6, -0.6, 126.4, 126.6, 127.0, 128.0, 1e9, np.inf, -126.4, -127.0, -500.0])
    out = np.empty(values.size, np.int32)
    assert model.convert(values, 0, 0, out) == 7
    assert out.tolist() == [0, 1, -1, 126, 127, 127, 127, 127, 127, -126, -127, -127]
    assert model.units_per_count == 1.0


def test_saturation_names_its_channel() -> None:
    too_much = Waveform((Tone(50.0, 230.0),) * 2, (Tone(50.0, 5.0), Tone(50.0, 14.2)))
    samples = front_end().convert(too_much, 0, 1280)
    assert samples.saturated.tolist() == [[False, False], [False, True]]
    # 20 A is reached for a share 2 acos(20 / 20.08) / pi of the time (ratio error -0.1 %)
    share = 2 * np.arccos(20.0 / (14.2 * np.sqrt(2) * 0.999)) / np.pi
    assert samples.saturation_counts[1, 1] == pytest.approx(1280 * share, abs=6)
    assert np.max(samples.i[1]) == 8388607


def test_what_is_not_a_number_is_refused_with_its_sample() -> None:
    out = np.empty(4, np.int32)
    with pytest.raises(MeteringError, match="sample 1002"):
        ConverterModel(16, 1.0).convert(np.array([0.0, 0.1, np.nan, 0.2]), 1000, 0, out)


@pytest.mark.parametrize(
    "change",
    [
        {"bits": 1},
        {"bits": 32},
        {"full_scale": 0.0},
        {"full_scale": float("nan")},
        {"noise_counts_rms": -1.0},
        {"delay_s": 0.1},
        {"delay_s": float("nan")},
        {"gain_error_percent": -100.0},
        {"offset_counts": float("inf")},
        {"anti_alias_hz": 0.0},
    ],
)
def test_a_converter_that_cannot_be_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(MeteringError):
        replace(ConverterModel(16, 1.0), **change)

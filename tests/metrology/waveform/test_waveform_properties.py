"""Properties that hold for every signal: linearity, additivity, shift invariance, Parseval, sampling."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from openami.metrology.waveform.closed_form import integral_of_product
from openami.metrology.waveform.gate import Gate
from openami.metrology.waveform.instants import Instants
from openami.metrology.waveform.pieces import overlaps
from openami.metrology.waveform.polyphase import Waveform
from openami.metrology.waveform.product_integrals import product_integral
from openami.metrology.waveform.ramps import AmplitudeRamp, FrequencyRamp
from openami.metrology.waveform.signal import (
    Gated,
    Modulated,
    ModulationShape,
    Signal,
    Stepped,
    Sum,
    Tone,
    Tones,
    Transformed,
)

SETTINGS = settings(max_examples=60, deadline=None)

degrees = st.floats(-720.0, 720.0)
levels = st.floats(0.01, 400.0)
frequencies = st.one_of(st.sampled_from([50.0, 49.3, 60.0, 250.0, 16.7]), st.floats(0.5, 2500.0))
instants = st.floats(-5.0, 5.0)
tone = st.builds(Tone, frequencies, levels, degrees)
tones = st.builds(Tones, st.floats(-10.0, 10.0), st.lists(tone, max_size=3).map(tuple))


def gates() -> st.SearchStrategy[Gate]:
    def build(hz: float, cycles: int, edges: list[float], phase: float) -> Gate:
        edges = sorted(edge * 360 * cycles for edge in edges)
        return Gate(hz, tuple(zip(edges[0::2], edges[1::2], strict=True)), cycles, phase)

    edges = st.lists(st.floats(0.0, 1.0), min_size=2, max_size=4, unique=True).filter(
        lambda e: len(e) % 2 == 0 and min(np.diff(sorted(e))) > 1e-3
    )
    return st.builds(build, st.sampled_from([50.0, 49.3, 61.7]), st.integers(1, 4), edges, degrees)


def knots(low: float, high: float) -> st.SearchStrategy[tuple[tuple[float, float], ...]]:
    times = st.lists(instants, min_size=1, max_size=3, unique=True).filter(
        lambda t: len(t) == 1 or min(np.diff(sorted(t))) > 1e-2
    )
    return times.flatmap(
        lambda t: st.lists(st.floats(low, high), min_size=len(t), max_size=len(t)).map(
            lambda values: tuple(zip(sorted(t), values, strict=True))
        )
    )


base: st.SearchStrategy[Signal] = st.one_of(
    tone, tones, st.builds(Gated, tones, gates()), st.builds(FrequencyRamp, tones, knots(0.8, 1.2))
)
steps = st.lists(instants, max_size=2, unique=True).flatmap(
    lambda t: st.lists(base, min_size=len(t), max_size=len(t)).map(
        lambda signals: tuple(zip(sorted(t), signals, strict=True))
    )
)
signals: st.SearchStrategy[Signal] = st.one_of(
    base,
    st.builds(
        Modulated, base, st.floats(0.1, 40.0), st.floats(0.0, 2.0), st.sampled_from(ModulationShape), degrees
    ),
    st.builds(AmplitudeRamp, base, knots(-2.0, 2.0)),
    st.builds(Stepped, base, steps),
    st.builds(Transformed, base, st.floats(-2.0, 2.0), st.floats(-0.1, 0.1)),
    st.builds(lambda a, b: Sum((a, b)), base, base),
)
lengths = st.floats(0.01, 2.0)


def bound(x: Signal, y: Signal, begin: Fraction, end: Fraction) -> float:
    return product_integral(x.pieces(begin, end), y.pieces(begin, end)).uncertainty


@SETTINGS
@given(signals, signals, signals, st.floats(-3.0, 3.0), instants, lengths)
def test_integrals_are_linear(
    x: Signal, y: Signal, z: Signal, factor: float, begin: float, length: float
) -> None:
    first, last = Fraction(begin), Fraction(begin) + Fraction(length)
    together = integral_of_product(Sum((x, y.scaled(factor))), z, first, last)
    apart = integral_of_product(x, z, first, last) + factor * integral_of_product(y, z, first, last)
    allowed = bound(x, z, first, last) + (1 + abs(factor)) * bound(y, z, first, last)
    assert abs(together - apart) <= 2 * allowed + 1e-300


@SETTINGS
@given(signals, signals, instants, lengths, st.floats(0.05, 0.95))
def test_integrals_of_parts_add_up_to_the_whole(
    x: Signal, y: Signal, begin: float, length: float, cut: float
) -> None:
    first = Fraction(begin)
    middle, last = first + Fraction(length * cut), first + Fraction(length)
    parts = integral_of_product(x, y, first, middle) + integral_of_product(x, y, middle, last)
    allowed = bound(x, y, first, middle) + bound(x, y, middle, last) + bound(x, y, first, last)
    assert abs(parts - integral_of_product(x, y, first, last)) <= allowed + 1e-300


@SETTINGS
@given(signals, signals, instants, lengths, st.floats(-1e6, 1e6))
def test_integrals_do_not_change_when_everything_is_later(
    x: Signal, y: Signal, begin: float, length: float, delay: float
) -> None:
    first, last, later = Fraction(begin), Fraction(begin) + Fraction(length), Fraction(delay)
    moved = integral_of_product(x.delayed(delay), y.delayed(delay), first + later, last + later)
    assert moved == integral_of_product(x, y, first, last)


@SETTINGS
@given(signals, signals, instants, lengths)
def test_integrals_are_symmetric_and_squares_are_not_negative(
    x: Signal, y: Signal, begin: float, length: float
) -> None:
    first, last = Fraction(begin), Fraction(begin) + Fraction(length)
    one, other = integral_of_product(x, y, first, last), integral_of_product(y, x, first, last)
    assert abs(one - other) <= 2 * bound(x, y, first, last) + 1e-300
    square = integral_of_product(x, x, first, last)
    assert square >= -bound(x, x, first, last)
    # Cauchy and Schwarz.
    rest = integral_of_product(y, y, first, last)
    assert one**2 <= abs(square * rest) * (1 + 1e-9) + 1e-6 * bound(x, y, first, last)


@SETTINGS
@given(signals, st.sampled_from([0.0, -3.7, 1e4, 1e6]), lengths)
def test_sampling_is_the_pieces_evaluated_pointwise(x: Signal, begin: float, length: float) -> None:
    first, last = Fraction(begin), Fraction(begin) + Fraction(length)
    pieces = x.pieces(first, last)
    times = begin + length * np.linspace(0.0, 0.999, 97) + 1e-5 * length
    times = times[(times >= begin) & (times < float(last))]
    # Within 1e-9 s of an edge the two may lie on different sides of it.
    edges = np.concatenate((pieces.begin_s, pieces.end_s))
    distance = np.abs((times - begin)[:, None] - edges[None, :]).min(axis=1, initial=np.inf)
    times = times[distance > 1e-9]
    assume(times.size)
    values = x.sample(times)
    size = max(1.0, float(np.abs(pieces.amplitude).max(initial=0.0)) + float(np.abs(values).max()))
    assert np.abs(values - pieces.at(times)).max() <= 2e-10 * size


@SETTINGS
@given(
    signals,
    st.sampled_from([6400.0, 12800.0, 4000.0, 9999.7]),
    st.integers(-(10**6), 6400 * 10**6),
    st.lists(st.integers(1, 399), max_size=6),
    st.floats(-1e-3, 1e-3),
)
@example(Tone(50.0, 1.0), 6400.0, 0, [1, 200, 399], 0.0)
def test_samples_are_the_same_at_every_cut(
    x: Signal, rate: float, first: int, cuts: list[int], delay: float
) -> None:
    wave = Waveform((x,), (x,))
    whole = wave.sample(rate, first, 400, delay, -delay)
    edges = [0, *sorted(set(cuts)), 400]
    for begin, end in pairwise(edges):
        part = wave.sample(rate, first + begin, end - begin, delay, -delay)
        assert (part[0] == whole[0][:, begin:end]).all()
        assert (part[1] == whole[1][:, begin:end]).all()


@SETTINGS
@given(st.lists(st.tuples(st.integers(1, 40), levels, degrees), min_size=1, max_size=4), st.floats(-5.0, 5.0))
def test_parseval(harmonics: list[tuple[int, float, float]], dc: float) -> None:
    kept = {order: (rms, angle) for order, rms, angle in harmonics}
    x = Tones(dc, tuple(Tone(order * 50.0, rms, angle) for order, (rms, angle) in kept.items()))
    square = math.fsum([dc**2, *(rms**2 for rms, _ in kept.values())])
    assert integral_of_product(x, x, Fraction(1, 3), Fraction(1, 3) + Fraction(1, 50)) == pytest.approx(
        square / 50, rel=1e-13
    )


@SETTINGS
@given(
    st.lists(st.tuples(st.integers(0, 23), levels, degrees), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 23), levels, degrees), min_size=1, max_size=5),
    st.integers(0, 6400 * 10**6),
)
def test_sum_of_synchronous_samples_is_the_integral(
    a: list[tuple[int, float, float]], b: list[tuple[int, float, float]], first: int
) -> None:
    # Products reach order 46; 128 samples a cycle alias only at order 128.
    x, y = (Tones(0.0, tuple(Tone(order * 50.0, rms, angle) for order, rms, angle in c)) for c in (a, b))
    u, i = Waveform((x,), (y,)).sample(6400.0, first, 1280)
    begin = Fraction(first, 6400)
    integral = integral_of_product(x, y, begin, begin + Fraction(1, 5))
    size = sum(t.rms for t in x.tones) * sum(t.rms for t in y.tones) * 0.2
    assert abs(math.fsum((u * i).ravel().tolist()) / 6400 - integral) <= 1e-12 * size


@SETTINGS
@given(gates(), st.sampled_from([0.0, 3.7, 1e6]))
def test_gate_and_its_complement_share_time_without_rest(gate: Gate, begin: float) -> None:
    assume(gate.open_deg != ((0.0, 360.0 * gate.cycles),))
    origin = Fraction(begin)
    open_begin, open_end = gate.intervals(origin, 1.0)
    shut_begin, shut_end = gate.complement().intervals(origin, 1.0)
    total = math.fsum((open_end - open_begin).tolist()) + math.fsum((shut_end - shut_begin).tolist())
    assert total == pytest.approx(1.0, abs=1e-13)
    clock = Instants.of_samples(9999.7, int(begin * 9999.7), 1000)
    assert (gate.open(clock) != gate.complement().open(clock)).all()


@SETTINGS
@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 6)), max_size=12),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 6)), max_size=12),
)
def test_overlaps_finds_every_pair_once(a: list[tuple[int, int]], b: list[tuple[int, int]]) -> None:
    a_begin, a_end = (np.array([s for s, _ in a], float), np.array([s + n for s, n in a], float))
    b_begin, b_end = (np.array([s for s, _ in b], float), np.array([s + n for s, n in b], float))
    pairs = sorted(zip(*(x.tolist() for x in overlaps(a_begin, a_end, b_begin, b_end)), strict=True))
    expected = [
        (p, q)
        for p in range(len(a))
        for q in range(len(b))
        if min(a_end[p], b_end[q]) > max(a_begin[p], b_begin[q])
    ]
    assert pairs == expected

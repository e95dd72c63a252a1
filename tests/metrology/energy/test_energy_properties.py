"""Properties of the energy path: cuts, power failures, signs, scales, additivity, start values."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.metrology.energy.apparent_energy import ApparentMethod
from openami.metrology.energy.energy_path import EnergyPath
from openami.metrology.energy.newton_cotes import Integrator
from openami.metrology.energy.registers import Register, SumMode
from openami.metrology.energy.settings import EnergySettings
from openami.quantities.errors import MeteringError

LIMIT = 2**23 - 2
SWAPPED = {
    Register.ACTIVE_IMPORT: Register.ACTIVE_EXPORT,
    Register.FUNDAMENTAL_IMPORT: Register.FUNDAMENTAL_EXPORT,
    Register.HARMONIC_IMPORT: Register.HARMONIC_EXPORT,
    Register.REACTIVE_I: Register.REACTIVE_III,
    Register.REACTIVE_II: Register.REACTIVE_IV,
    Register.APPARENT_IMPORT: Register.APPARENT_EXPORT,
    Register.VECTOR_IMPORT: Register.VECTOR_EXPORT,
    Register.EFFECTIVE_IMPORT: Register.EFFECTIVE_EXPORT,
}


def noise(seed: int, samples: int, hertz: float) -> tuple[np.ndarray, np.ndarray]:
    """A voltage with a strong fundamental and much else, and a current of anything."""
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * hertz / 6400 * np.arange(samples) + rng.uniform(0, 6)
    shifts = np.array([0.0, -2.1, 2.1])[:, np.newaxis]
    u = 5.5e6 * np.cos(angle + shifts) + rng.normal(0, 3e5, (3, samples))
    i = rng.uniform(0, 4e6) * np.cos(angle + shifts + rng.uniform(0, 6)) + rng.normal(0, 5e5, (3, samples))
    return tuple(np.clip(np.rint(values), -LIMIT, LIMIT).astype(np.int32) for values in (u, i))


SETTINGS = {
    "plain": EnergySettings(3, 6400.0, (5.5e-5,) * 3, (1.2e-5,) * 3),
    "everything": EnergySettings(
        3, 6400.0, (5.5e-5, 5.4e-5, 5.6e-5), (1.2e-5, 1.21e-5, 1.19e-5), sum_mode=SumMode.BY_PHASE,
        integrator=Integrator.SEVEN_POINT, apparent=ApparentMethod.EFFECTIVE,
    ),
    "corrected": EnergySettings(3, 6400.0, (5.5e-5,) * 3, (1.2e-5,) * 3, integrator=Integrator.END_CORRECTED),
}  # fmt: skip


@pytest.mark.parametrize("name", list(SETTINGS))
def test_a_cut_at_any_sample_gives_the_same_bits(name: str) -> None:
    """Every place of a window and of its edges, by the whole state."""
    u, i = noise(3, 3000, 49.3)
    whole = EnergyPath(SETTINGS[name])
    whole.feed(u, i)
    expected = whole.snapshot()
    for cut in [*range(0, 300), *range(300, 1500, 37), *range(1500, 1700), *range(2988, 3001)]:
        path = EnergyPath(SETTINGS[name])
        path.feed(u[:, :cut], i[:, :cut])
        path.feed(u[:, cut:], i[:, cut:])
        assert path.snapshot() == expected, cut


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(42.0, 58.0),
    st.lists(st.integers(0, 8000), max_size=30),
    st.sampled_from(list(SETTINGS)),
)
def test_any_cuts_give_the_same_bits_and_the_same_windows(
    seed: int, hertz: float, cuts: list[int], name: str
) -> None:
    u, i = noise(seed, 8000, hertz)
    whole, pieces = EnergyPath(SETTINGS[name]), EnergyPath(SETTINGS[name])
    whole.feed(u, i)
    starts: list[int] = []
    powers: list[float] = []
    for first, last in pairwise([0, *sorted(cuts), 8000]):
        pieces.feed(u[:, first:last], i[:, first:last])
        starts += pieces.windows.start_sample.tolist()
        powers += pieces.windows.q1_var[:, 1].tolist()
    assert pieces.snapshot() == whole.snapshot()
    assert starts == whole.windows.start_sample.tolist()
    assert powers == whole.windows.q1_var[:, 1].tolist()


def test_sample_by_sample() -> None:
    u, i = noise(8, 1700, 50.4)
    whole, single = EnergyPath(SETTINGS["plain"]), EnergyPath(SETTINGS["plain"])
    whole.feed(u, i)
    for k in range(1700):
        single.feed(u[:, k : k + 1], i[:, k : k + 1])
    assert single.snapshot() == whole.snapshot()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 5000), st.sampled_from(list(SETTINGS)))
def test_a_power_failure_at_any_sample_loses_nothing(at: int, name: str) -> None:
    u, i = noise(11, 5000, 50.2)
    whole = EnergyPath(SETTINGS[name])
    whole.feed(u, i)
    path = EnergyPath(SETTINGS[name])
    path.feed(u[:, :at], i[:, :at])
    saved = path.snapshot()
    del path
    restored = EnergyPath.restore(SETTINGS[name], saved)
    assert restored.snapshot() == saved
    restored.feed(u[:, at:], i[:, at:])
    assert restored.snapshot() == whole.snapshot()


def test_a_damaged_snapshot_is_refused_at_every_octet() -> None:
    path = EnergyPath(SETTINGS["plain"])
    path.feed(*noise(1, 1500, 50.0))
    saved = path.snapshot()
    for place in range(0, len(saved), 7):
        damaged = bytearray(saved)
        damaged[place] ^= 0x10
        with pytest.raises(MeteringError):
            EnergyPath.restore(SETTINGS["plain"], bytes(damaged))
    for cut in (b"", saved[:-1], saved[:10], saved + b"\0"):
        with pytest.raises(MeteringError):
            EnergyPath.restore(SETTINGS["plain"], cut)
    with pytest.raises(MeteringError, match="other settings"):
        EnergyPath.restore(SETTINGS["corrected"], saved)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from(list(SumMode)[::2]), st.sampled_from(["plain", "corrected"])
)
def test_a_reversed_current_swaps_import_and_export_exactly(seed: int, mode: SumMode, name: str) -> None:
    from dataclasses import replace

    chosen = replace(SETTINGS[name], sum_mode=mode, apparent=ApparentMethod.EFFECTIVE)
    u, i = noise(seed, 6000, 49.7)
    forward, backward = EnergyPath(chosen), EnergyPath(chosen)
    forward.feed(u, i)
    backward.feed(u, -i)
    for place in range(4):
        for one, other in SWAPPED.items():
            assert forward.count_products(one, place) == backward.count_products(other, place), one
            assert forward.count_products(other, place) == backward.count_products(one, place), other
        assert forward.count_products(Register.AMPERE_SQUARED_HOURS, place) == backward.count_products(
            Register.AMPERE_SQUARED_HOURS, place
        )


def test_absolute_sums_do_not_see_a_reversed_current() -> None:
    from dataclasses import replace

    chosen = replace(SETTINGS["plain"], sum_mode=SumMode.ABSOLUTE)
    u, i = noise(4, 6000, 50.0)
    forward, backward = EnergyPath(chosen), EnergyPath(chosen)
    forward.feed(u, i)
    backward.feed(u, -i)
    assert forward.counts[3, :24].tolist() == backward.counts[3, :24].tolist()
    assert forward.residues[3, :24].tolist() == backward.residues[3, :24].tolist()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_active_energy_is_linear_in_the_current_exactly(seed: int, factor: int) -> None:
    u, i = noise(seed, 5000, 50.3)
    i //= 16
    one, many = EnergyPath(SETTINGS["plain"]), EnergyPath(SETTINGS["plain"])
    one.feed(u, i)
    many.feed(u, i * np.int32(factor))
    for place in range(4):
        for register in (Register.ACTIVE_IMPORT, Register.ACTIVE_EXPORT):
            assert many.count_products(register, place) == factor * one.count_products(register, place)
    for place in range(3):
        squared = Register.AMPERE_SQUARED_HOURS
        assert many.count_products(squared, place) == factor**2 * one.count_products(squared, place)
    windows = len(one.windows)
    for register in (Register.FUNDAMENTAL_IMPORT, Register.REACTIVE_I, Register.APPARENT_IMPORT):
        difference = many.count_products(register, 0) - factor * one.count_products(register, 0)
        assert abs(difference) <= (factor + 1) * windows * max(1, one.count_products(register, 0) >> 50)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_active_energy_is_additive_in_the_current_exactly(seed: int) -> None:
    u, first = noise(seed, 5000, 49.9)
    _, second = noise(seed + 1, 5000, 49.9)
    first, second = first // 2, second // 2
    found = []
    for current in (first, second, first + second):
        path = EnergyPath(SETTINGS["plain"])
        path.feed(u, current)
        found.append(
            [
                path.count_products(Register.ACTIVE_IMPORT, place)
                - path.count_products(Register.ACTIVE_EXPORT, place)
                for place in range(4)
            ]
        )
    assert [a + b for a, b in zip(found[0], found[1], strict=True)] == found[2]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(list(SETTINGS)))
def test_no_register_ever_runs_back(seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    path = EnergyPath(SETTINGS[name])
    before = path.counts
    for _ in range(12):
        u, i = noise(int(rng.integers(2**31)), int(rng.integers(1, 2000)), float(rng.uniform(41, 60)))
        path.feed(u, i)
        if rng.random() < 0.3:
            path.gap(int(rng.integers(1, 5000)))
        after = path.counts
        assert (after >= before).all()
        residues = path.residues
        for register in Register:
            for place in range(4):
                assert 0 <= residues[place, register] < path.unit(register, place)
        before = after


def test_full_scale_for_the_longest_window_does_not_overflow() -> None:
    """Three phases just below 2^23 for windows of 8,000 samples: sums near 2^61, carried over in time."""
    chosen = EnergySettings(3, 32_000.0, (5.5e-5,) * 3, (1.2e-5,) * 3, nominal_hz=50.0)
    path = EnergyPath(chosen)
    square = np.where(np.arange(64_000) % 640 < 320, LIMIT, -LIMIT).astype(np.int32)
    block = np.stack([square, square, square])
    for _ in range(10):
        path.feed(block, block)
    closed = path.position - path.open_samples
    assert path.count_products(Register.ACTIVE_IMPORT) == 3 * closed * LIMIT**2
    assert path.count_products(Register.VOLT_SQUARED_HOURS, 2) == closed * LIMIT**2

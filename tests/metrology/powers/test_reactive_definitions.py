"""Four definitions of reactive power: equal for a sine, apart under distortion; Q1 is what is billed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.metrology.powers.phasors import harmonics_of, phasors, rms, waveform
from openami.metrology.powers.reactive_methods import (
    fryze_currents,
    fryze_reactive_of_samples,
    fundamental_reactive,
    fundamental_reactive_of_samples,
    hilbert_reactive,
    hilbert_reactive_of_samples,
    quarter_period_reactive,
    quarter_period_reactive_of_samples,
)
from openami.metrology.powers.single_phase import single_phase_powers
from openami.metrology.powers.symmetrical import (
    PhaseSequence,
    negative_percent_of_line_voltages,
    phase_sequence,
    symmetrical_components,
)
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
CYCLES, POINTS = 10, 1280
ANGLE = 2 * np.pi * CYCLES * np.arange(POINTS) / POINTS


def tone(rms_value: float, order: int, degrees: float = 0.0) -> F64:
    wave: F64 = np.sqrt(2) * rms_value * np.sin(order * ANGLE + np.radians(degrees))
    return wave


def all_four(u: F64, i: F64) -> list[float]:
    return [
        float(fundamental_reactive_of_samples(u, i, CYCLES)),
        float(quarter_period_reactive_of_samples(u, i, CYCLES)),
        float(hilbert_reactive_of_samples(u, i)),
        float(fryze_reactive_of_samples(u, i)),
    ]


def test_for_a_sine_all_four_are_u_i_sin_phi() -> None:
    u, i = tone(230, 1), tone(10, 1, -60)
    assert all_four(u, i) == pytest.approx([2300 * np.sin(np.pi / 3)] * 4, rel=1e-12)


def test_only_fryze_does_not_know_inductive_from_capacitive() -> None:
    lagging, leading = (all_four(tone(230, 1), tone(10, 1, degrees)) for degrees in (-60, 60))
    assert leading[:3] == pytest.approx([-value for value in lagging[:3]], rel=1e-12)
    assert leading[3] == pytest.approx(lagging[3], rel=1e-12)


@pytest.mark.parametrize(
    ("order", "quarter_counts"), [(2, "active"), (3, "minus"), (5, "plus"), (7, "minus"), (4, "active")]
)
def test_how_they_part_under_distortion_of_both(order: int, quarter_counts: str) -> None:
    """U1 230, I1 10 at 60 degrees lagging; harmonic U 20, I 4 at 30 degrees lagging (Ph 69.28, Qh 40).

    Q1 keeps to 1991.86 var. Hilbert adds Qh. The quarter period turns harmonic h by h * 90 degrees: it adds
    Qh for 5, takes it off for 3 and 7, and counts +-Ph, active power, for even orders.
    """
    u = tone(230, 1) + tone(20, order)
    i = tone(10, 1, -60) + tone(4, order, -30)
    q1, qh, ph = 2300 * np.sin(np.pi / 3), 40.0, 80 * np.cos(np.pi / 6)
    active = ph if order % 4 == 0 else -ph
    quarter = q1 + {"plus": qh, "minus": -qh, "active": active}[quarter_counts]
    squares = (230**2 + 20**2) * (10**2 + 4**2) - (1150 + ph) ** 2
    assert all_four(u, i) == pytest.approx([q1, quarter, q1 + qh, np.sqrt(squares)], rel=1e-12)


def test_with_distortion_of_the_current_alone_only_fryze_moves() -> None:
    q1 = 2300 * np.sin(np.pi / 3)
    found = all_four(tone(230, 1), tone(10, 1, -60) + tone(4, 5, 20))
    assert found[:3] == pytest.approx([q1] * 3, rel=1e-12)
    assert found[3] == pytest.approx(np.sqrt(230**2 * 116 - 1150**2), rel=1e-12)


def test_direct_current_on_both_sides_fools_the_quarter_period() -> None:
    found = all_four(tone(230, 1) + 5, tone(10, 1, -60) + 2)
    q1 = 2300 * np.sin(np.pi / 3)
    assert found[:3] == pytest.approx([q1, q1 + 10, q1], rel=1e-12)


def test_from_phasors_as_from_samples() -> None:
    rng = np.random.default_rng(11)
    u, i = rng.normal(size=(4, POINTS)), rng.normal(size=(4, POINTS))
    components_u, components_i = phasors(u), phasors(i)
    # The component at half the rate has no phase and is not among the phasors.
    u, i = waveform(components_u, POINTS), waveform(components_i, POINTS)
    np.testing.assert_allclose(
        hilbert_reactive(components_u, components_i), hilbert_reactive_of_samples(u, i), atol=1e-12
    )
    np.testing.assert_allclose(
        quarter_period_reactive(components_u, components_i, fundamental=CYCLES),
        quarter_period_reactive_of_samples(u, i, CYCLES),
        atol=1e-12,
    )
    powers = single_phase_powers(components_u, components_i, fundamental=CYCLES)
    np.testing.assert_allclose(powers.q_budeanu_var, hilbert_reactive_of_samples(u, i), atol=1e-12)
    np.testing.assert_allclose(powers.q_fryze_var, fryze_reactive_of_samples(u, i), rtol=1e-12)
    np.testing.assert_allclose(
        powers.q1_var, fundamental_reactive(components_u, components_i, fundamental=CYCLES), rtol=1e-12
    )


def test_fryzes_active_current_carries_all_power_and_the_rest_none() -> None:
    u = tone(230, 1) + tone(10, 5, 40)
    i = tone(10, 1, -60) + tone(4, 3) + tone(3, 5, 10)
    active, rest = fryze_currents(u, i)
    powers = single_phase_powers(phasors(u), phasors(i), fundamental=CYCLES)
    assert np.mean(u * active) == pytest.approx(float(powers.p_w), rel=1e-12)
    assert np.mean(u * rest) == pytest.approx(0.0, abs=1e-9)
    assert np.sqrt(np.mean(active**2)) == pytest.approx(float(powers.i_active_a), rel=1e-12)
    assert np.sqrt(np.mean(rest**2)) == pytest.approx(float(powers.i_nonactive_a), rel=1e-12)
    with pytest.raises(MeteringError, match="without voltage"):
        fryze_currents(np.zeros(8), np.ones(8))


def test_a_quarter_period_must_be_samples() -> None:
    with pytest.raises(MeteringError, match="quarter period"):
        quarter_period_reactive_of_samples(np.ones(1002), np.ones(1002), 10)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_phasors_and_waveforms_are_each_others_inverse(half: int, seed: int) -> None:
    components = np.random.default_rng(seed).normal(size=(3, half, 2)) @ np.array([1, 1j])
    components[:, 0] = components[:, 0].real
    samples = waveform(components, 2 * half)
    np.testing.assert_allclose(phasors(samples), components, atol=1e-12)
    np.testing.assert_allclose(rms(components), np.sqrt(np.mean(samples**2, axis=-1)), rtol=1e-9)


def test_phasors_follow_the_cosine_convention() -> None:
    found = harmonics_of(phasors(3 + np.sqrt(2) * 230 * np.cos(ANGLE + 0.3) + tone(4, 3)), CYCLES)
    assert found[0] == pytest.approx(3, rel=1e-12)
    assert found[1] == pytest.approx(230 * np.exp(0.3j), rel=1e-12)
    assert found[3] == pytest.approx(-4j, rel=1e-12)


@pytest.mark.parametrize("count", [0, 2, 7, 1281])
def test_a_window_has_an_even_number_of_samples(count: int) -> None:
    with pytest.raises(MeteringError, match="samples in a window"):
        phasors(np.zeros(count))


def test_components_that_do_not_fit_are_refused() -> None:
    with pytest.raises(MeteringError, match="cannot hold"):
        waveform(np.zeros(6, complex), 10)


def test_unbalance_as_the_shared_check_has_it(shared_data: Path) -> None:
    checks = json.loads((shared_data / "metrology" / "pq_rules_and_checks.json").read_text())["exact_checks"]
    (check,) = (each for each in checks if each["name"] == "unbalance_u2")
    u = np.array([magnitude * np.exp(1j * np.radians(degrees)) for magnitude, degrees in check["U"]])
    found = symmetrical_components(u)
    assert found.negative_percent == pytest.approx(check["u2_pct"], rel=1e-12)
    assert found.zero_percent == pytest.approx(check["u0_pct"], rel=1e-12)
    lines = np.abs(u - np.roll(u, -1))
    assert negative_percent_of_line_voltages(lines) == pytest.approx(check["u2_pct"], rel=1e-9)


def test_line_voltages_of_a_balanced_system_have_no_negative_sequence() -> None:
    assert negative_percent_of_line_voltages(np.full(3, 400.0)) == pytest.approx(0.0, abs=1e-5)


def test_phase_sequence() -> None:
    positive = 230 * np.exp(-2j * np.pi * np.arange(3) / 3)
    assert phase_sequence(positive) is PhaseSequence.POSITIVE
    assert phase_sequence(np.conj(positive)) is PhaseSequence.NEGATIVE
    assert phase_sequence(np.full(3, 230.0 + 0j)) is PhaseSequence.NONE
    assert phase_sequence(np.zeros(3, complex)) is PhaseSequence.NONE
    with pytest.raises(MeteringError, match="2 phases"):
        phase_sequence(positive[:2])

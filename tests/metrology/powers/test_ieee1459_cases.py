"""IEEE 1459: the reference cases to 1e-9, and what must hold of any load."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.metrology.powers.single_phase import SinglePhasePowers, quadrant, single_phase_powers
from openami.metrology.powers.three_phase import (
    System,
    ThreePhasePowers,
    aron_phases,
    phases_from_lines,
    three_phase_powers,
)
from openami.quantities.errors import MeteringError

C128 = npt.NDArray[np.complex128]
CASES = (
    "balanced_PF0.5L",
    "single_phase_load_A_PF1",
    "unbalanced_sinusoidal",
    "balanced_nonsinusoidal_4w",
    "unbalanced_nonsinusoidal_4w",
)


@pytest.fixture(scope="module")
def cases(shared_data: Path) -> Any:
    return json.loads((shared_data / "metrology" / "ieee1459_cases.json").read_text())


def by_order(orders: list[int], magnitude: Any, degrees: Any) -> C128:
    """Phasors (..., orders 0 to the highest)."""
    given_phasors = np.asarray(magnitude) * np.exp(1j * np.radians(np.asarray(degrees, float)))
    full = np.zeros((*given_phasors.shape[:-1], max(orders) + 1), np.complex128)
    full[..., orders] = given_phasors
    return full


SINGLE = {
    "V": "u_v", "I": "i_a", "P": "p_w", "P1": "p1_w", "PH": "ph_w", "Q1": "q1_var", "S": "s_va",
    "S1": "s1_va", "SN": "sn_va", "DI": "di_var", "DV": "dv_var", "SH": "sh_va", "DH": "dh_var",
    "N": "n_var", "THDV": "thd_u", "THDI": "thd_i", "PF1": "pf1", "PF": "pf",
    "harmonic_pollution": "harmonic_pollution", "Q_Budeanu": "q_budeanu_var", "D_Budeanu": "d_budeanu_var",
    "Q_Fryze": "q_fryze_var",
}  # fmt: skip


def test_single_phase_case_to_a_part_in_a_thousand_million(cases: Any) -> None:
    case = cases["single_phase"]["single_phase_annexB_like"]
    orders = case["harmonics"]
    u = by_order(orders, case["V_rms"], np.zeros(len(orders)))
    i = by_order(orders, case["I_rms"], -np.asarray(case["theta_deg"], float))
    powers = single_phase_powers(u, i)
    expected = case["expected"]
    assert set(SINGLE) == set(expected) - {"P_h", "Q_h"}
    for name, field in SINGLE.items():
        assert getattr(powers, field) == pytest.approx(expected[name], rel=1e-9), name
    each = (u * np.conj(i))[orders]
    np.testing.assert_allclose(each.real, expected["P_h"], rtol=1e-9)
    np.testing.assert_allclose(each.imag, expected["Q_h"], rtol=1e-9)


THREE = {
    "Ve": "ve_v", "Ie": "ie_a", "Ve1": "ve1_v", "Ie1": "ie1_a", "VeH": "veh_v", "IeH": "ieh_a",
    "Se": "se_va", "Se1": "se1_va", "SeN": "sen_va", "DeI": "dei_var", "DeV": "dev_var", "SeH": "seh_va",
    "DeH": "deh_var", "P": "p_w", "P1": "p1_w", "PH": "ph_w", "N": "n_var", "THDeV": "thd_eu",
    "THDeI": "thd_ei", "S1pos": "s1_pos_va", "P1pos": "p1_pos_w", "Q1pos": "q1_pos_var", "SU1": "su1_va",
    "PF": "pf", "PF1pos": "pf1_pos", "load_unbalance": "load_unbalance",
    "harmonic_pollution": "harmonic_pollution", "SA_arithmetic": "s_arithmetic_va", "PFA": "pf_arithmetic",
    "In_rms": "neutral_a",
}  # fmt: skip
SEQUENCES = {
    "V0": ("u1_sequences", "zero"), "V1pos": ("u1_sequences", "positive"),
    "V2neg": ("u1_sequences", "negative"), "I0": ("i1_sequences", "zero"),
    "I1pos": ("i1_sequences", "positive"), "I2neg": ("i1_sequences", "negative"),
}  # fmt: skip
UNBALANCE = {"unbalance_V_neg_pct": "negative_percent", "unbalance_V_zero_pct": "zero_percent"}
DIFFERENCES = {"SU1": 1e-6 * 6900, "load_unbalance": 1e-6}
"""The file takes these as roots of differences: of a balanced load it holds their rounding, not zero."""


@pytest.mark.parametrize("name", CASES)
def test_three_phase_cases_to_a_part_in_a_thousand_million(cases: Any, name: str) -> None:
    case = cases["three_phase"][name]
    u = by_order(case["harmonics"], case["V_rms"], case["V_deg"])
    i = by_order(case["harmonics"], case["I_rms"], case["I_deg"])
    powers = three_phase_powers(u, i, System.FOUR_WIRE)
    expected = case["expected"]
    assert {*THREE, *SEQUENCES, *UNBALANCE} == set(expected)
    for key, field in THREE.items():
        tolerance = DIFFERENCES.get(key, 1e-9)
        assert getattr(powers, field) == pytest.approx(expected[key], rel=1e-9, abs=tolerance), key
    for key, (which, part) in SEQUENCES.items():
        value = abs(getattr(getattr(powers, which), part))
        assert value == pytest.approx(expected[key], rel=1e-9, abs=1e-12), key
    for key, part in UNBALANCE.items():
        assert getattr(powers.u1_sequences, part) == pytest.approx(expected[key], rel=1e-9, abs=1e-12), key


def test_all_cases_of_the_file_are_asserted(cases: Any) -> None:
    assert set(cases["three_phase"]) == set(CASES)
    assert len(cases["single_phase"]) == 1


def everything(powers: SinglePhasePowers | ThreePhasePowers) -> dict[str, npt.NDArray[np.float64]]:
    found = {}
    for field in fields(powers):
        value = getattr(powers, field.name)
        if isinstance(value, np.ndarray | np.floating):
            found[field.name] = np.asarray(value)
        elif isinstance(value, SinglePhasePowers):
            found |= {f"phase {name}": each for name, each in everything(value).items()}
    return found


def test_a_balanced_sinusoidal_load_has_exactly_no_unbalance_and_no_distortion() -> None:
    turn = np.exp(-2j * np.pi * np.arange(3) / 3)
    u = np.zeros((3, 51), np.complex128)
    i = np.zeros_like(u)
    u[:, 1], i[:, 1] = 230 * turn, 10 * turn * np.exp(-1j * np.pi / 3)
    powers = three_phase_powers(u, i, System.FOUR_WIRE)
    assert powers.su1_va < 1e-11
    assert powers.sen_va == 0.0
    assert not powers.phases.thd_u.any()
    assert not powers.phases.d_budeanu_var.any()
    assert powers.n_var == pytest.approx(3 * 2300 * np.sqrt(0.75), rel=1e-12)


def test_the_worst_of_the_apparent_powers_is_the_effective_one() -> None:
    """A resistor on one phase of a balanced supply: SA 2300 VA, Se 5633.826 VA, so PF 1 or 0.408."""
    u = np.zeros((3, 2), np.complex128)
    u[:, 1] = 230 * np.exp(-2j * np.pi * np.arange(3) / 3)
    i = np.zeros_like(u)
    i[0, 1] = 10
    powers = three_phase_powers(u, i, System.FOUR_WIRE)
    assert powers.s_arithmetic_va == pytest.approx(2300, rel=1e-12)
    assert powers.s_vector_va == pytest.approx(2300, rel=1e-12)
    assert powers.se_va == pytest.approx(5633.826408401309, rel=1e-12)


def test_arithmetic_apparent_power_is_never_below_the_vector_one() -> None:
    """Phases of opposite character: P adds up, Q cancels in the vector sum only."""
    u = np.zeros((3, 2), np.complex128)
    u[:, 1] = 100
    i = np.zeros_like(u)
    i[:, 1] = [10, 10 * np.exp(-1j * np.pi / 3), 10 * np.exp(1j * np.pi / 3)]
    powers = three_phase_powers(u, i, System.FOUR_WIRE)
    assert powers.s_arithmetic_va == pytest.approx(3000, rel=1e-12)
    assert powers.s_vector_va == pytest.approx(2000, rel=1e-12)
    assert powers.s1_vector_va == pytest.approx(2000, rel=1e-12)


def test_a_measured_neutral_counts_instead_of_the_sum_of_the_phases() -> None:
    u = np.zeros((3, 2), np.complex128)
    u[:, 1] = 230 * np.exp(-2j * np.pi * np.arange(3) / 3)
    i = u / 23
    neutral = np.array([0.5, 3.0 + 4.0j])
    powers = three_phase_powers(u, i, System.FOUR_WIRE, neutral=neutral)
    assert powers.neutral_a == pytest.approx(np.sqrt(25.25), rel=1e-12)
    assert powers.ie_a == pytest.approx(np.sqrt(100 + 25.25 / 3), rel=1e-12)
    assert powers.su1_va == pytest.approx(3 * 230 * np.sqrt(25 / 3), rel=1e-9)


amounts = st.floats(-1e3, 1e3, allow_nan=False).map(lambda value: value if abs(value) > 1e-6 else 0.0)


@st.composite
def spectra(draw: st.DrawFn, *lead: int) -> tuple[C128, C128]:
    orders = draw(st.integers(2, 6))
    size = int(np.prod(lead)) * orders
    shape = (*lead, orders)
    made = []
    for _ in range(2):
        parts = draw(st.lists(amounts, min_size=2 * size, max_size=2 * size))
        phasors = (np.array(parts[:size]) + 1j * np.array(parts[size:])).reshape(shape)
        phasors[..., 0] = phasors[..., 0].real
        made.append(phasors)
    return made[0], made[1]


@settings(max_examples=150, deadline=None)
@given(spectra(2))
def test_identities_of_one_phase(spectrum: tuple[C128, C128]) -> None:
    u, i = spectrum
    p = single_phase_powers(u, i)
    scale = np.maximum(p.s_va, 1e-30) ** 2
    close = {"rtol": 0.0, "atol": 1e-10}
    np.testing.assert_allclose((p.p1_w + p.ph_w - p.p_w) ** 2 / scale, 0.0, **close)
    np.testing.assert_allclose((p.s1_va**2 + p.sn_va**2 - p.s_va**2) / scale, 0.0, **close)
    np.testing.assert_allclose((p.p1_w**2 + p.q1_var**2 - p.s1_va**2) / scale, 0.0, **close)
    np.testing.assert_allclose((p.p_w**2 + p.n_var**2 - p.s_va**2) / scale, 0.0, **close)
    np.testing.assert_allclose(
        (p.p_w**2 + p.q_budeanu_var**2 + p.d_budeanu_var**2 - p.s_va**2) / scale, 0.0, **close
    )
    np.testing.assert_allclose((p.dh_var**2 + p.ph_w**2 - p.sh_va**2) / scale, 0.0, **close)
    currents = np.where(p.u_v > 0, p.i_active_a**2 + p.i_nonactive_a**2 - p.i_a**2, 0.0)
    np.testing.assert_allclose(currents / np.maximum(p.i_a, 1e-30) ** 2, 0.0, atol=1e-9)
    defined = (p.u1_v * p.i1_a > 0) & (p.p1_w != 0)
    for name, value in everything(p).items():
        assert np.isfinite(value[defined]).all(), name


@settings(max_examples=100, deadline=None)
@given(spectra(2, 3), st.sampled_from(System))
def test_identities_of_three_phases(spectrum: tuple[C128, C128], system: System) -> None:
    u, i = spectrum
    if system is System.THREE_WIRE:
        i = i - i.mean(axis=-2, keepdims=True)
    p = three_phase_powers(u, i, system)
    scale = np.maximum(p.se_va, 1e-30) ** 2
    # Rounding of the sequences: relative to all that went in, not to what cancelled.
    whole = np.maximum((np.abs(u).sum((-1, -2)) * np.abs(i).sum((-1, -2))), 1e-30) ** 2
    np.testing.assert_allclose((p.se1_va**2 + p.sen_va**2 - p.se_va**2) / scale, 0.0, atol=1e-10)
    np.testing.assert_allclose((p.s1_pos_va**2 + p.su1_va**2 - p.se1_va**2) / whole, 0.0, atol=1e-10)
    assert (np.abs(p.p_w) <= p.se_va * (1 + 1e-9) + 1e-12 * np.sqrt(whole)).all()
    assert (p.s_vector_va <= p.s_arithmetic_va * (1 + 1e-9)).all()
    defined = (p.ve1_v * p.ie1_a * p.s1_pos_va > 0) & (p.phases.u1_v * p.phases.i1_a > 0).all(-1)
    for name, value in everything(p).items():
        if not name.endswith("distortion_pf"):
            assert not np.isnan(value[defined]).any(), name


@settings(max_examples=60, deadline=None)
@given(spectra(3), st.floats(0.1, 10))
def test_sign_symmetry_and_linearity(spectrum: tuple[C128, C128], factor: float) -> None:
    u, i = spectrum
    forward = three_phase_powers(u, i, System.FOUR_WIRE)
    backward = three_phase_powers(u, -i, System.FOUR_WIRE)
    scaled = three_phase_powers(u, factor * i, System.FOUR_WIRE)
    signed = {"p_w", "p1_w", "ph_w", "q1_var", "p1_pos_w", "q1_pos_var", "q_budeanu_var"}
    for name in signed:
        np.testing.assert_allclose(getattr(backward, name), -getattr(forward, name), rtol=1e-12)
    for name in ("se_va", "su1_va", "sen_va", "s_arithmetic_va"):
        np.testing.assert_allclose(getattr(backward, name), getattr(forward, name), rtol=1e-12)
    for name in (*signed, "se_va", "su1_va", "sen_va", "s_arithmetic_va"):
        size = np.maximum(np.abs(factor * forward.se_va), 1e-30)
        difference = getattr(scaled, name) - factor * getattr(forward, name)
        assert abs(difference) <= 1e-9 * size, name


def test_windows_and_phases_are_vectorised() -> None:
    rng = np.random.default_rng(7)
    u = rng.normal(size=(5, 4, 3, 12)) + 1j * rng.normal(size=(5, 4, 3, 12))
    i = rng.normal(size=(5, 4, 3, 12)) + 1j * rng.normal(size=(5, 4, 3, 12))
    together = everything(three_phase_powers(u, i, System.FOUR_WIRE, fundamental=3))
    alone = everything(three_phase_powers(u[2, 1], i[2, 1], System.FOUR_WIRE, fundamental=3))
    for name, value in together.items():
        np.testing.assert_allclose(value[2, 1], alone[name], rtol=1e-12, err_msg=name)


def test_constant_components_carry_power() -> None:
    u = np.array([3.0, 230.0, 0.0], complex)
    i = np.array([2.0, 10.0, 0.0], complex)
    p = single_phase_powers(u, i)
    assert p.p_w == pytest.approx(2306)
    assert p.ph_w == pytest.approx(6)
    assert p.u_v == pytest.approx(np.hypot(230, 3))
    assert p.q_budeanu_var == 0.0


def test_without_current_powers_are_zero_and_ratios_not_defined() -> None:
    u = np.array([0.0, 230.0], complex)
    p = single_phase_powers(u, np.zeros(2, complex))
    assert p.p_w == p.s_va == p.n_var == p.q1_var == 0.0
    assert np.isnan([p.pf, p.pf1, p.thd_i]).all()
    assert p.thd_u == 0.0
    three = three_phase_powers(np.tile(u, (3, 1)), np.zeros((3, 2), complex), System.FOUR_WIRE)
    assert three.se_va == three.su1_va == 0.0
    assert np.isnan(three.pf)


def test_quadrants() -> None:
    p = np.array([1.0, -1.0, -1.0, 1.0, 0.0])
    q = np.array([1.0, 1.0, -1.0, -1.0, 0.0])
    assert quadrant(p, q).tolist() == [1, 2, 3, 4, 1]


def test_three_wire_powers_do_not_depend_on_where_voltages_are_measured_from() -> None:
    rng = np.random.default_rng(3)
    u = rng.normal(size=(3, 8)) + 1j * rng.normal(size=(3, 8))
    i = rng.normal(size=(3, 8)) + 1j * rng.normal(size=(3, 8))
    i -= i.mean(axis=0)
    shifted = u + (rng.normal(size=8) + 1j * rng.normal(size=8))
    first = three_phase_powers(u, i, System.THREE_WIRE)
    second = three_phase_powers(shifted, i, System.THREE_WIRE)
    for name, value in everything(first).items():
        np.testing.assert_allclose(everything(second)[name], value, rtol=1e-9, err_msg=name)


def test_two_wattmeters_and_line_voltages_give_the_same_powers_as_three_phases() -> None:
    rng = np.random.default_rng(5)
    u = rng.normal(size=(3, 64))
    i = rng.normal(size=(3, 64))
    u -= u.mean(axis=0)
    i -= i.mean(axis=0)
    lines = u - np.roll(u, -1, axis=0)
    np.testing.assert_allclose(phases_from_lines(lines), u, atol=1e-14)
    star, currents = aron_phases(np.stack((u[0] - u[1], u[2] - u[1])), i[[0, 2]])
    np.testing.assert_allclose(star, u, atol=1e-14)
    np.testing.assert_allclose(currents, i, atol=1e-14)


@pytest.mark.parametrize(
    ("u", "i", "fundamental"), [((3,), (4,), 1), ((2, 3), (2, 3), 3), ((2, 3), (2, 3), 0)]
)
def test_what_is_no_spectrum_is_refused(u: tuple[int, ...], i: tuple[int, ...], fundamental: int) -> None:
    with pytest.raises(MeteringError) as refused:
        single_phase_powers(np.zeros(u, complex), np.zeros(i, complex), fundamental=fundamental)
    assert refused.value.expected


def test_three_phases_are_asked_for() -> None:
    two = np.zeros((2, 5), complex)
    with pytest.raises(MeteringError, match=r"\(2, 5\)"):
        three_phase_powers(two, two, System.FOUR_WIRE)
    three = np.zeros((3, 5), complex)
    with pytest.raises(MeteringError, match="neutral"):
        three_phase_powers(three, three, System.THREE_WIRE, neutral=three[0])

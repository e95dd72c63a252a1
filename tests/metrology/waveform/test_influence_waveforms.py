"""The recalled waveforms of IEC 62053 and OIML R 46 have the powers they must have, in closed form."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openami.metrology.waveform.closed_form import Reference, integral_of_product, reference
from openami.metrology.waveform.polyphase import PhaseOrder
from openami.metrology.waveform.signal import ModulationShape, Tone
from openami.metrology.waveform.test_waveforms import (
    Carried,
    Circuit,
    Harmonic,
    burst_fired,
    dip,
    fifth_harmonic,
    flicker,
    half_wave,
    high_order,
    influence_waveform,
    influence_waveforms,
    peaked,
    phase_fired_90,
    phase_jump,
    quadriform,
    ramp,
    voltage_ramp,
    with_harmonics,
)
from openami.quantities.errors import MeteringError

CIRCUIT = Circuit(230.0, 10.0)
FULL_W = 2300.0


@pytest.fixture
def expected(shared_data: Path) -> dict[str, Any]:
    text = (shared_data / "metrology" / "test_waveforms.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def powers(result: Reference) -> list[float]:
    return list(result.active_ws / result.duration_s)


@pytest.mark.parametrize("frequency", [50.0, 49.3, 60.0])
def test_harmonic_waveforms_have_the_power_ratio_of_the_standard(
    expected: dict[str, Any], frequency: float
) -> None:
    circuit = Circuit(230.0, 10.0, frequency_hz=frequency)
    for name, waveform, key in (
        ("fifth_harmonic_test", fifth_harmonic(circuit), "expected_P_over_P1"),
        ("quadriform", quadriform(circuit), "expected_P_over_P1"),
        ("peaked", peaked(circuit), "expected_P_over_P1"),
    ):
        result = reference(waveform, 0.0, 200 / frequency, frequency)
        assert result.active_ws / result.fundamental_active_ws == pytest.approx(
            [expected[name][key]] * 3, rel=1e-12
        )
        assert result.harmonic_active_ws / result.fundamental_active_ws == pytest.approx(
            [expected[name][key] - 1] * 3, rel=1e-12
        )


@pytest.mark.parametrize("name", ["quadriform", "peaked"])
def test_harmonic_waveforms_have_the_rms_of_the_standard(expected: dict[str, Any], name: str) -> None:
    result = reference(influence_waveform(name).applied(CIRCUIT), 0.0, 1.0, 50.0)
    assert result.u_rms_v / 230 == pytest.approx([expected[name]["Urms_over_U1"]] * 3, rel=1e-12)
    assert result.i_rms_a / 10 == pytest.approx([expected[name]["Irms_over_I1"]] * 3, rel=1e-12)


@pytest.mark.parametrize("name", ["quadriform", "peaked"])
def test_data_file_holds_the_harmonics_of_the_shared_table(expected: dict[str, Any], name: str) -> None:
    entry = influence_waveform(name)
    for harmonics, table in ((entry.voltage, expected[name]["U"]), (entry.current, expected[name]["I"])):
        own = {str(h.order): [h.percent, h.phase_deg] for h in harmonics}
        assert {"1": [100, 0], **own} == table


def test_gated_waveforms_have_half_the_power_of_the_full_sine(expected: dict[str, Any]) -> None:
    for name, waveform in (
        ("phase_fired_90deg", phase_fired_90(CIRCUIT)),
        ("burst_fired", burst_fired(CIRCUIT)),
        ("half_wave_rectified", half_wave(CIRCUIT)),
    ):
        # Phases 2 and 3 open a third of a cycle off, so the interval is whole periods of the gate.
        result = reference(waveform, 0.0, 0.8, 50.0)
        ratio = np.array(powers(result)) / FULL_W
        assert ratio == pytest.approx([expected[name]["expected_P_over_full"]] * 3, rel=1e-12)


def test_phase_fired_and_half_wave_have_their_rms_and_dc(expected: dict[str, Any]) -> None:
    fired = reference(phase_fired_90(CIRCUIT), 0.0, 0.8, 50.0)
    ratio = expected["phase_fired_90deg"]["Irms_over_full"]
    assert fired.i_rms_a / 10 == pytest.approx([ratio] * 3, rel=1e-12)
    assert fired.i_dc_a == pytest.approx([0.0] * 3, abs=1e-14)
    # The fundamental of the fired half-wave lags: I1 = I/2 (1 - 2j/pi) by the Fourier integral.
    assert fired.fundamental_reactive_ws / 0.8 == pytest.approx([FULL_W / math.pi] * 3, rel=1e-12)
    rectified = reference(half_wave(CIRCUIT), 0.0, 0.8, 50.0)
    peak = 10 * math.sqrt(2)
    assert rectified.i_dc_a / peak == pytest.approx(
        [expected["half_wave_rectified"]["dc_over_peak"]] * 3, rel=1e-12
    )
    assert rectified.fundamental_active_ws / 0.8 == pytest.approx([FULL_W / 2] * 3, rel=1e-12)


@pytest.mark.parametrize("name", list(influence_waveforms()))
def test_every_waveform_says_what_it_is_recalled_from_and_keeps_its_ratio(name: str) -> None:
    entry = influence_waveform(name)
    assert entry.source == "recalled, confirm against the standard"
    assert "IEC 62053" in entry.standard or "R 46" in entry.standard
    circuit = Circuit(230.0, 10.0, phases=1)
    result = reference(entry.applied(circuit, duration_s=4.0), 0.0, 4.0, 50.0)
    tolerance = 1e-12 if entry.sweep is None else 1e-6
    assert powers(result)[0] / FULL_W == pytest.approx(entry.active_over_sine, rel=tolerance)


def test_high_order_sweep_adds_its_rms_and_comes_back() -> None:
    result = reference(high_order(Circuit(230.0, 10.0, phases=1), Carried.VOLTAGE, 4.0), 0.0, 4.0, 50.0)
    # The sweep is not in step with anything; its beat with itself leaves parts of 1e-5.
    assert result.u_rms_v[0] == pytest.approx(230 * math.hypot(1.0, 0.02), rel=1e-6)
    on_current = high_order(Circuit(230.0, 10.0, phases=1), Carried.CURRENT, 4.0)
    assert reference(on_current, 0.0, 4.0, 50.0).i_rms_a[0] == pytest.approx(
        10 * math.hypot(1.0, 0.1), rel=1e-5
    )


def test_harmonics_keep_their_place_on_the_wave_in_every_phase() -> None:
    for order in PhaseOrder:
        waveform = peaked(Circuit(230.0, 10.0, 0.0, 50.0, 3, order))
        u, i = waveform.sample(6000.0, 0, 240)
        shift = 40 if order is PhaseOrder.FORWARD else 80
        assert np.roll(u[0], shift) == pytest.approx(u[1], abs=1e-11)
        assert np.roll(i[0], shift) == pytest.approx(i[1], abs=1e-11)


def test_gate_follows_the_voltage_of_its_phase() -> None:
    _, i = phase_fired_90(CIRCUIT).sample(6000.0, 0, 120)
    assert np.flatnonzero(np.abs(i[0]) > 1e-9).tolist() == [*range(30, 60), *range(90, 120)]
    assert np.flatnonzero(np.roll(np.abs(i[1]), -40) > 1e-9).tolist() == [*range(30, 60), *range(90, 120)]


def test_flicker_moves_the_envelope_by_the_relative_change() -> None:
    # d = 10 % rectangular at 120 changes a minute: half a second at 1.05 U, half a second at 0.95 U.
    waveform = flicker(CIRCUIT, 120.0, 10.0)
    assert reference(waveform, 0.0, 0.5, 50.0).u_rms_v == pytest.approx([230 * 1.05] * 3, rel=1e-12)
    assert reference(waveform, 0.5, 1.0, 50.0).u_rms_v == pytest.approx([230 * 0.95] * 3, rel=1e-12)
    # Sinusoidal: side bands of d/4 of the carrier each.
    smooth = flicker(CIRCUIT, 120.0, 10.0, ModulationShape.SINUSOIDAL)
    assert reference(smooth, 0.0, 1.0, 50.0).u_rms_v == pytest.approx(
        [230 * math.sqrt(1 + 2 * 0.025**2)] * 3, rel=1e-12
    )


def test_dip_takes_its_energy_from_the_phases_concerned_only() -> None:
    result = reference(dip(CIRCUIT, 0.4, 0.2, 0.1, phases=(1,)), 0.0, 1.0, 50.0)
    assert result.active_ws == pytest.approx([2300.0, 2300 * 0.94, 2300.0], rel=1e-13)
    assert result.fundamental_active_ws == pytest.approx([2300.0, 2300 * 0.94, 2300.0], rel=1e-13)
    interruption = reference(dip(CIRCUIT, 0.0, 0.2, 0.1), 0.2, 0.3, 50.0)
    assert interruption.u_rms_v == pytest.approx([0.0] * 3, abs=1e-6)
    with pytest.raises(MeteringError, match="lasts"):
        dip(CIRCUIT, 0.4, 0.2, 0.0)


def test_energy_of_a_frequency_ramp_is_that_of_its_phasors_and_not_power_times_time() -> None:
    waveform = ramp(Circuit(230.0, 10.0, 60.0), 52.0, 0.0, 2.0)
    result = reference(waveform, 0.0, 2.0, 50.0)
    assert result.fundamental_active_ws == pytest.approx([2300.0] * 3, rel=1e-13)
    assert result.fundamental_reactive_ws == pytest.approx(
        [2 * FULL_W * math.sin(math.pi / 3)] * 3, rel=1e-13
    )
    # The swing at twice the frequency does not close over a ramp.
    assert 1e-8 < np.abs(result.active_ws / 2300.0 - 1).max() < 1e-3


def test_voltage_ramp_and_phase_jump() -> None:
    # U from 230 to 276 V: mean of (1 + 0.2 s)^2 over s in [0, 1] is 1.2133..., of (1 + 0.2 s) is 1.1.
    result = reference(voltage_ramp(CIRCUIT, 276.0, 0.0, 1.0), 0.0, 1.0, 50.0)
    assert result.fundamental_active_ws == pytest.approx([2300 * 1.1] * 3, rel=1e-13)
    assert result.fundamental_u_rms_v == pytest.approx([230 * math.sqrt(1 + 0.2 + 0.04 / 3)] * 3, rel=1e-13)
    jumped = phase_jump(CIRCUIT, 30.0, 1.0)
    assert reference(jumped, 0.0, 2.0, 50.0).active_ws == pytest.approx([4600.0] * 3, rel=1e-13)
    # Against a tone that does not jump the second half has cos 30.
    total = integral_of_product(jumped.u[0], Tone(50.0, 10.0), 0.0, 2.0)
    assert total == pytest.approx(2300 * (1 + math.cos(math.pi / 6)), rel=1e-13)


def test_interharmonics_carry_no_energy_with_the_fundamental_and_their_own_with_themselves() -> None:
    waveform = with_harmonics(CIRCUIT, [Harmonic(1.64, 5.0)], [Harmonic(1.64, 20.0)])
    result = reference(waveform, 0.0, 5.0, 50.0)  # 82 Hz: 410 cycles
    assert powers(result) == pytest.approx([FULL_W * 1.01] * 3, rel=1e-12)


def test_unknown_waveform_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(MeteringError, match="quadriform, peaked"):
        influence_waveform("triangle")

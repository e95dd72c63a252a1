"""What the registers hold: the integral, by direction, quadrant, place and kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from openami.metrology.energy.apparent_energy import ApparentMethod
from openami.metrology.energy.energy_path import EnergyPath
from openami.metrology.energy.loss_compensation import BillingPoint, LossCompensation
from openami.metrology.energy.newton_cotes import Integrator
from openami.metrology.energy.registers import TOTAL, Register, SumMode
from openami.metrology.energy.thresholds import Threshold, ThresholdQuantity
from openami.quantities.errors import MeteringError

DISTORTED_U = ((1, 230.0, 0.0), (3, 8.74, 20.0), (5, 23.0, -40.0), (7, 3.91, 70.0))
DISTORTED_I = (
    (1, 10.0, -60.0),
    (3, 3.0, 10.0),
    (5, 4.0, 150.0),
    (7, 1.4, 90.0),
    (13, 0.9, 40.0),
    (23, 0.5, 0.0),
)
MWH = 3.6


def fed(source, samples: int, **changes) -> EnergyPath:
    path = EnergyPath(source.settings(**changes))
    path.feed(*source.codes(0, samples))
    return path


def products(source, samples: int) -> list[int]:
    """Σu·i of each phase, in Python's integers."""
    u, i = source.codes(0, samples)
    return [int(value) for value in (u.astype(np.int64) * i).sum(axis=1)]


def test_register_is_the_integral_to_its_last_unit_on_synchronous_windows(mains) -> None:
    """50 Hz, 128 samples a cycle: the register against the closed form, floored to the mWh."""
    source = mains(DISTORTED_U, DISTORTED_I)
    path = fed(source, 60 * 6400 + 4)
    samples = path.position - path.open_samples
    assert samples == 2 * 128 + 299 * 1280
    for phase in range(3):
        exact_mwh = source.sum_ws(samples, phase) / MWH
        assert exact_mwh == pytest.approx(source.p_w * samples / 6400 / MWH, abs=1e-6)
        assert path.count(Register.ACTIVE_IMPORT, phase) == int(exact_mwh)
    assert path.count(Register.ACTIVE_IMPORT) == int(3 * source.p_w * samples / 6400 / MWH)
    assert path.count(Register.ACTIVE_EXPORT) == 0


@pytest.mark.parametrize("hertz", [42.5, 47.1, 49.3, 57.5])
def test_the_plain_register_is_the_sum_in_closed_form_off_nominal(mains, hertz: float) -> None:
    source = mains(DISTORTED_U, DISTORTED_I, hertz)
    path = fed(source, 40 * 6400)
    samples = path.position - path.open_samples
    for phase in range(3):
        found = path.count_products(Register.ACTIVE_IMPORT, phase) / path.unit(Register.ACTIVE_IMPORT)
        exact = source.sum_ws(samples, phase) / MWH
        assert found == pytest.approx(exact, abs=1e-3)
        assert path.count(Register.ACTIVE_IMPORT, phase) == int(exact)


@pytest.mark.parametrize("hertz", [42.5, 49.3, 50.7, 57.5])
def test_register_is_the_integral_to_its_last_unit_off_nominal(mains, hertz: float) -> None:
    """End-corrected: up to the real-valued edge of the last window, whatever the frequency."""
    source = mains(DISTORTED_U, DISTORTED_I, hertz)
    path = fed(source, 40 * 6400, integrator=Integrator.END_CORRECTED)
    for phase in range(3):
        exact = source.energy_ws(-0.5 / source.rate, path.window_begin / source.rate, phase) / MWH
        found = path.count_products(Register.ACTIVE_IMPORT, phase) / path.unit(Register.ACTIVE_IMPORT)
        assert found == pytest.approx(exact, abs=0.02)
        assert path.count(Register.ACTIVE_IMPORT, phase) == int(exact)


@pytest.mark.parametrize("hertz", [49.3, 50.0])
def test_import_less_export_is_the_sum_of_products(mains, hertz: float) -> None:
    """The plain sum telescopes exactly, in each phase and in the total, also where directions change."""
    for angle in (-60.0, -90.0, 120.0):
        source = mains(DISTORTED_U, ((1, 10.0, angle), (5, 4.0, 0.0)), hertz)
        path = fed(source, 20_000)
        net = [
            path.count_products(Register.ACTIVE_IMPORT, place)
            - path.count_products(Register.ACTIVE_EXPORT, place)
            for place in range(4)
        ]
        open_window = path.running_products
        u, i = source.codes(19_996, 4)  # those that wait in the seam
        rest = [int(value) for value in (u.astype(np.int64) * i).sum(axis=1)]
        exact = products(source, 20_000)
        assert [net[k] + open_window[k] + rest[k] for k in range(3)] == exact
        assert net[TOTAL] == sum(net[:3])


def test_the_mwh_is_as_many_count_products_as_settings_say(mains) -> None:
    settings = mains().settings()
    exact = 3.6 * 6400 / (460 / 2**23 * (100 / 2**23))
    assert settings.unit_count == pytest.approx(exact, rel=2e-14)
    assert abs(settings.unit_rounding) < 2e-14
    assert settings.shift == 0
    coarse = mains().settings(
        full_scale_counts=32767, u_v_per_count=(460 / 2**15,) * 3, i_a_per_count=(100 / 2**15,) * 3
    )
    assert coarse.shift == 16
    assert abs(coarse.unit_rounding) < 2e-14


@pytest.mark.parametrize(
    ("angle", "active", "reactive"),
    [
        (-30.0, Register.ACTIVE_IMPORT, Register.REACTIVE_I),
        (-150.0, Register.ACTIVE_EXPORT, Register.REACTIVE_II),
        (150.0, Register.ACTIVE_EXPORT, Register.REACTIVE_III),
        (30.0, Register.ACTIVE_IMPORT, Register.REACTIVE_IV),
    ],
)
def test_quadrants(mains, angle: float, active: Register, reactive: Register) -> None:
    """A current that lags by 30 degrees is in quadrant I; -30 in IV; 150 in II; -150 in III."""
    path = fed(mains(i=((1, 10.0, angle),)), 64_000)
    sines = {
        register: path.count(register)
        for register in Register
        if Register.REACTIVE_I <= register <= Register.REACTIVE_IV
    }
    assert [register for register, count in sines.items() if count] == [reactive]
    other = Register.ACTIVE_EXPORT if active is Register.ACTIVE_IMPORT else Register.ACTIVE_IMPORT
    assert path.count(active) > 0
    assert path.count(other) == 0
    seconds = (path.window_begin + 0.5) / 6400
    assert path.count(active) == pytest.approx(3 * 2300 * np.cos(np.pi / 6) * seconds / MWH, abs=1)
    plus, minus = path.reactive_counts()
    total = 3 * 2300 * 0.5 * seconds / MWH
    upper = reactive in (Register.REACTIVE_I, Register.REACTIVE_II)
    assert plus == pytest.approx(total if upper else 0, abs=1)
    assert minus == pytest.approx(0 if upper else total, abs=1)


def test_fundamental_and_harmonic_energy_apart_and_signed(mains) -> None:
    """The fifth harmonic of this load flows back: harmonic export, and the fundamental pays for itself."""
    source = mains(DISTORTED_U, DISTORTED_I)
    path = fed(source, 64_000 + 4)
    seconds = (path.window_begin + 0.5) / 6400
    fundamental = source.of_order(1)
    harmonic = source.p_w - fundamental.real
    assert harmonic < -50
    assert path.count(Register.FUNDAMENTAL_IMPORT) == pytest.approx(
        3 * fundamental.real * seconds / MWH, abs=1
    )
    assert path.count(Register.FUNDAMENTAL_EXPORT) == 0
    assert path.count(Register.HARMONIC_EXPORT) == pytest.approx(-3 * harmonic * seconds / MWH, abs=1)
    assert path.count(Register.HARMONIC_IMPORT) == 0
    assert path.reactive_counts()[0] == pytest.approx(3 * fundamental.imag * seconds / MWH, abs=1)


@pytest.mark.parametrize("hertz", [47.5, 49.3, 50.0, 52.1])
def test_fundamental_and_harmonic_are_the_total_but_for_one_edge(mains, hertz: float) -> None:
    source = mains(DISTORTED_U, DISTORTED_I, hertz)
    path = fed(source, 64_000)

    def net(register: Register) -> int:
        return path.count_products(register) - path.count_products(Register(register + 1))

    edge = net(Register.FUNDAMENTAL_IMPORT) + net(Register.HARMONIC_IMPORT) - net(Register.ACTIVE_IMPORT)
    one_sample = 3 * 460 * 100 / (460 / 2**23 * (100 / 2**23))
    assert abs(edge) < one_sample


def test_no_harmonic_energy_creeps_off_nominal(mains) -> None:
    """A sine of 49.3 Hz: windows are rounded to samples, and still nothing is taken for harmonics."""
    source = mains(hertz=49.3)
    path = EnergyPath(source.settings())
    path.feed(*source.codes(0, 12_800))
    before = path.counts
    path.feed(*source.codes(12_800, 640_000))
    gained = path.counts - before
    assert gained[TOTAL, Register.FUNDAMENTAL_IMPORT] > 90_000
    assert gained[TOTAL, Register.HARMONIC_IMPORT] + gained[TOTAL, Register.HARMONIC_EXPORT] <= 1


def test_sum_modes(mains) -> None:
    """Phase 2's transformer is reversed: net subtracts it, absolute does not, by phase keeps it apart."""
    source = mains(i=((1, 10.0, -30.0),))
    u, i = source.codes(0, 64_000)
    i[1] = -i[1]
    found = {}
    for mode in SumMode:
        path = EnergyPath(source.settings(sum_mode=mode))
        path.feed(u, i)
        found[mode] = path
        assert [path.count(Register.ACTIVE_IMPORT, k) > 0 for k in range(3)] == [True, False, True]
        assert path.count(Register.ACTIVE_EXPORT, 1) > 0
    one = found[SumMode.NET].count_products(Register.ACTIVE_IMPORT, 0)

    def total(mode: SumMode, register: Register) -> float:
        return found[mode].count_products(register) / one

    assert total(SumMode.NET, Register.ACTIVE_IMPORT) == pytest.approx(1, rel=1e-6)
    assert total(SumMode.NET, Register.ACTIVE_EXPORT) == 0
    assert total(SumMode.ABSOLUTE, Register.ACTIVE_IMPORT) == pytest.approx(3, rel=1e-6)
    assert total(SumMode.ABSOLUTE, Register.ACTIVE_EXPORT) == 0
    assert total(SumMode.BY_PHASE, Register.ACTIVE_IMPORT) == pytest.approx(2, rel=1e-6)
    assert total(SumMode.BY_PHASE, Register.ACTIVE_EXPORT) == pytest.approx(1, rel=1e-6)
    tangent = np.tan(np.pi / 6)
    assert total(SumMode.NET, Register.REACTIVE_I) == pytest.approx(tangent, rel=1e-5)
    assert total(SumMode.ABSOLUTE, Register.REACTIVE_I) == pytest.approx(3 * tangent, rel=1e-5)
    assert total(SumMode.BY_PHASE, Register.REACTIVE_I) == pytest.approx(2 * tangent, rel=1e-5)
    assert total(SumMode.BY_PHASE, Register.REACTIVE_III) == pytest.approx(tangent, rel=1e-5)
    apparent = 1 / np.cos(np.pi / 6)
    assert total(SumMode.NET, Register.APPARENT_IMPORT) == pytest.approx(3 * apparent, rel=1e-5)
    assert total(SumMode.BY_PHASE, Register.APPARENT_EXPORT) == pytest.approx(apparent, rel=1e-5)


def test_apparent_energy_of_a_single_phase_load_three_ways(mains, shared_data) -> None:
    """IEEE 1459's lesson (shared case): 2300 VA arithmetic and vector, 5633.826 VA effective."""
    source = mains(i=((1, 10.0, 0.0),))
    u, i = source.codes(0, 64_000)
    i[1:] = 0
    path = EnergyPath(source.settings(apparent=ApparentMethod.EFFECTIVE))
    path.feed(u, i)
    last = path.windows.row(len(path.windows) - 1)
    assert last.s_va == pytest.approx((2300.0, 0.0, 0.0), rel=1e-6)
    assert last.vector_va == pytest.approx(2300.0, rel=1e-6)
    assert last.effective_va == pytest.approx(5633.826, rel=1e-6)
    seconds = (path.window_begin + 0.5) / 6400
    assert path.count(Register.EFFECTIVE_IMPORT) == pytest.approx(5633.826 * seconds / MWH, abs=1)
    assert path.count(Register.VECTOR_IMPORT) == pytest.approx(2300 * seconds / MWH, abs=1)


def test_effective_apparent_energy_of_a_balanced_load_is_the_arithmetic(mains) -> None:
    path = fed(mains(hertz=49.3), 64_000, apparent=ApparentMethod.EFFECTIVE)
    windows = path.windows
    assert windows.effective_va[6:] == pytest.approx(windows.s_va[6:].sum(axis=1), rel=1e-6)


def test_volt_and_ampere_squared_hours(mains) -> None:
    path = fed(mains(), 640_000 + 4)
    hours = (path.window_begin + 0.5) / 6400 / 3600
    for phase in range(3):
        assert path.count(Register.VOLT_SQUARED_HOURS, phase) == int(230**2 * hours * 1000)
        assert path.count(Register.AMPERE_SQUARED_HOURS, phase) == pytest.approx(100 * hours * 1000, abs=1)


def test_losses_of_a_transformer(mains) -> None:
    """P_cu (I/In)² + P_fe (U/Un)², Q_x (I/In)², Q_fe (U/Un)^4 with I = 2 In and U = 0.9 Un."""
    losses = LossCompensation(90.0, 60.0, 300.0, 200.0, BillingPoint.UPSTREAM)
    source = mains(((1, 207.0, 0.0),), ((1, 10.0, -60.0),))
    path = fed(source, 640_000 + 4, losses=losses, rated_a=5.0)
    hours = (path.window_begin + 0.5) / 6400 / 3600
    expected = {
        Register.LOAD_LOSS: 90 * 4.0,
        Register.NO_LOAD_LOSS: 60 * 0.81,
        Register.SERIES_REACTIVE_LOSS: 300 * 4.0,
        Register.MAGNETISING_LOSS: 200 * 0.6561,
        Register.COMPENSATED_IMPORT: 3 * source.p_w + 360 + 48.6,
        Register.ACTIVE_IMPORT: 3 * source.p_w,
    }
    for register, watts in expected.items():
        assert path.count(register) == pytest.approx(watts * hours * 1000, rel=2e-6, abs=1), register
    downstream = fed(source, 6400, losses=replace(losses, point=BillingPoint.DOWNSTREAM), rated_a=5.0)
    assert downstream.count(Register.COMPENSATED_IMPORT) < downstream.count(Register.ACTIVE_IMPORT)


def test_an_idle_transformer_upstream_is_imported(mains) -> None:
    losses = LossCompensation(no_load_w=60.0, point=BillingPoint.UPSTREAM)
    path = fed(mains(i=()), 64_000, losses=losses)
    assert path.count(Register.ACTIVE_IMPORT) == 0
    assert path.count(Register.COMPENSATED_IMPORT) > 0


def test_scales_of_the_phases_may_differ(mains) -> None:
    """Calibrated scales: each phase in the total with its own weight; nothing is lost in weighing."""
    source = mains()
    u_scales, i_scales = (460 / 2**23, 455 / 2**23, 463.1 / 2**23), (100 / 2**23, 101 / 2**23, 99.2 / 2**23)
    path = fed(source, 64_000 + 4, u_v_per_count=u_scales, i_a_per_count=i_scales)
    seconds = (path.window_begin + 0.5) / 6400
    shares = [u * i / (460 / 2**23 * (100 / 2**23)) for u, i in zip(u_scales, i_scales, strict=True)]
    for phase in range(3):
        exact = source.p_w * shares[phase] * seconds / MWH
        found = path.count_products(Register.ACTIVE_IMPORT, phase) / path.unit(Register.ACTIVE_IMPORT)
        assert found == pytest.approx(exact, rel=2e-6)
    total = sum(path.count_products(Register.ACTIVE_IMPORT, phase) for phase in range(3))
    assert path.count_products(Register.ACTIVE_IMPORT) == total


def test_the_integrators_of_a_path(mains) -> None:
    """On a synchronous stream plain, end-corrected and Simpson agree; Boole and seven-point are off.

    In a phase: in the total of a balanced load what aliases at orders not divisible by 3 cancels.
    """
    source = mains(
        ((1, 230.0, 0.0), (5, 23.0, -40.0), (7, 3.91, 70.0), (17, 1.4, 0.0)), DISTORTED_I, rate=6000.0
    )
    found = {}
    for integrator in Integrator:
        path = fed(source, 120_000, integrator=integrator)
        begin = path.count_products(Register.ACTIVE_IMPORT, 0)
        path.feed(*source.codes(120_000, 600_000))
        found[integrator] = path.count_products(Register.ACTIVE_IMPORT, 0) - begin
    plain = found[Integrator.PLAIN_SUM]
    ppm = {integrator: (value / plain - 1) * 1e6 for integrator, value in found.items()}
    assert abs(ppm[Integrator.END_CORRECTED]) < 0.05
    assert abs(ppm[Integrator.SIMPSON]) < 0.05
    assert abs(ppm[Integrator.BOOLE]) > 5
    assert abs(ppm[Integrator.SEVEN_POINT]) > 5


def test_starting_current_counts_and_below_it_is_withheld_with_hysteresis(mains) -> None:
    """Ist = 5 mA: at Ist everything counts; below 0.8 Ist it does not begin, above 0.6 it goes on."""
    threshold = Threshold.of_starting_current(0.005)
    at_start = fed(mains(i=((1, 0.005, 0.0),)), 64_000, threshold=threshold)
    assert at_start.count_products(Register.WITHHELD_IMPORT, 0) == 0
    assert at_start.count(Register.ACTIVE_IMPORT) > 0
    low = mains(i=((1, 0.0035, 0.0),))
    below = fed(low, 64_000, threshold=threshold)
    assert below.count_products(Register.ACTIVE_IMPORT) == 0
    withheld = sum(below.count_products(Register.WITHHELD_IMPORT, k) for k in range(3))
    rest = sum(products(low, 64_000)) - sum(below.running_products)
    u, i = low.codes(63_996, 4)
    assert withheld == rest - int((u.astype(np.int64) * i).sum())
    held = EnergyPath(low.settings(threshold=threshold))
    held.feed(*mains(i=((1, 0.01, 0.0),)).codes(0, 12_800))
    before = held.count_products(Register.ACTIVE_IMPORT)
    held.feed(*low.codes(12_800, 12_800))
    assert held.count_products(Register.ACTIVE_IMPORT) > before
    assert held.count_products(Register.WITHHELD_IMPORT, 0) == 0
    held.feed(*mains(i=((1, 0.002, 0.0),)).codes(25_600, 12_800))
    assert held.count_products(Register.WITHHELD_IMPORT, 0) > 0


def test_a_current_threshold_does_not_see_the_power_factor(mains) -> None:
    """Power factor 0.01 at 0.05 In: far below the starting power, far above the starting current."""
    angle = -np.degrees(np.arccos(0.01))
    source = mains(i=((1, 0.25, angle),))
    by_current = fed(source, 64_000, threshold=Threshold(0.004))
    by_power = fed(source, 64_000, threshold=Threshold(0.005 * 230, quantity=ThresholdQuantity.POWER))
    assert by_current.count(Register.ACTIVE_IMPORT) > 0
    assert by_power.count(Register.ACTIVE_IMPORT) == 0
    assert by_power.count_products(Register.WITHHELD_IMPORT, 0) > 0


def test_one_phase(mains) -> None:
    source = mains(phases=1)
    path = fed(source, 64_000 + 4)
    assert path.count_products(Register.ACTIVE_IMPORT) == path.count_products(Register.ACTIVE_IMPORT, 0)
    assert path.count(Register.ACTIVE_IMPORT) == int(source.p_w * (path.window_begin + 0.5) / 6400 / MWH)


@pytest.mark.parametrize(
    "changes",
    [
        {"phases": 2, "u_v_per_count": (1e-4,) * 2, "i_a_per_count": (1e-5,) * 2},
        {"u_v_per_count": (1e-4,)},
        {"i_a_per_count": (1e-5, -1e-5, 1e-5)},
        {"u_v_per_count": (float("nan"),) * 3},
        {"rate_hz": 500.0},
        {"rate_hz": float("nan")},
        {"rate_hz": 51_200.0},
        {"window_cycles": 0},
        {"full_scale_counts": 2**24},
        {"full_scale_counts": 0},
        {"nominal_hz": 400.0},
        {"nominal_v": 0.0},
        {"u_v_per_count": (100.0,) * 3, "i_a_per_count": (100.0,) * 3},
    ],
)
def test_settings_that_cannot_be_measured_with_are_refused(mains, changes: dict) -> None:
    with pytest.raises(MeteringError):
        replace(mains().settings(), **changes)


def test_losses_and_thresholds_out_of_range_are_refused() -> None:
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(MeteringError):
            LossCompensation(load_w=wrong)
        with pytest.raises(MeteringError):
            Threshold(wrong)
    with pytest.raises(MeteringError, match="stops"):
        Threshold(1.0, 2.0)

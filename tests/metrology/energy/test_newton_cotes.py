"""When high orders hurt: on synchronous windows the plain sum is exact, Boole and seven-point are not.

10 cycles of 50 Hz with harmonics to 23, errors of energy in ppm. What comes out is predicted in closed form,
and is of the size that the project's reference on metrology measured (5.3: Boole 19 ppm, seven-point 69 ppm
at 120 samples a cycle; per mille at 36, per cent at 24).
"""

from __future__ import annotations

import numpy as np
import pytest

from openami.metrology.energy.newton_cotes import Integrator, integrate, pattern
from openami.quantities.errors import MeteringError


@pytest.mark.parametrize("integrator", list(Integrator))
def test_weights_of_a_rule_have_the_mean_one(integrator: Integrator) -> None:
    weights, divisor = pattern(integrator)
    assert sum(weights) == divisor * len(weights)


@pytest.mark.parametrize(
    ("integrator", "degree"), [(Integrator.SIMPSON, 3), (Integrator.BOOLE, 5), (Integrator.SEVEN_POINT, 7)]
)
def test_rules_are_the_newton_cotes_rules(integrator: Integrator, degree: int) -> None:
    """Split the shared end, and the panel integrates polynomials of the rule's degree exactly."""
    weights, divisor = pattern(integrator)
    panel = np.array([weights[0] / 2, *weights[1:], weights[0] / 2]) / divisor
    x = np.arange(panel.size)
    for power in range(degree + 1):
        assert panel @ x**power == pytest.approx((panel.size - 1) ** (power + 1) / (power + 1), rel=1e-12)


VOLTAGES = ((1, 230.0, 0.0), (3, 8.74, 20.0), (5, 23.0, -40.0), (7, 3.91, 70.0), (17, 1.4, 0.0))
CURRENTS = (
    (1, 10.0, -60.0),
    (3, 3.0, 10.0),
    (5, 4.0, -30.0),
    (7, 1.4, 90.0),
    (13, 0.9, 40.0),
    (23, 0.5, -80.0),
)
"""Order, rms and phase of the harmonics (degrees)."""
POWER = sum(a * b * np.cos(np.deg2rad(x - y)) for h, a, x in VOLTAGES for g, b, y in CURRENTS if h == g)


def error_ppm(per_cycle: int, integrator: Integrator) -> float:
    """Error of the energy of 10 synchronous cycles."""
    k = np.arange(10 * per_cycle)

    def wave(lines: tuple[tuple[int, float, float], ...]) -> np.ndarray:
        return sum(
            np.sqrt(2) * rms * np.cos(2 * np.pi * order * k / per_cycle + np.deg2rad(phase))
            for order, rms, phase in lines
        )

    return (integrate(wave(VOLTAGES) * wave(CURRENTS), integrator) / k.size / POWER - 1) * 1e6


def predicted_ppm(per_cycle: int, integrator: Integrator) -> float:
    """The same in closed form: products whose order is a multiple of rate/panel become energy."""
    weights, divisor = pattern(integrator)
    panel = len(weights)
    found = 0.0
    for h, a, x in VOLTAGES:
        for g, b, y in CURRENTS:
            for order, angle in ((h + g, x + y), (h - g, x - y)):
                cycles = order * panel / per_cycle
                if order == 0 or cycles != round(cycles):
                    continue
                turns = np.exp(2j * np.pi * round(cycles) * np.arange(panel) / panel)
                seen = (np.array(weights) @ turns) / divisor / panel
                found += a * b * (seen * np.exp(1j * np.deg2rad(angle))).real
    return found / POWER * 1e6


@pytest.mark.parametrize("per_cycle", [120, 96, 60, 36, 24, 12])
@pytest.mark.parametrize("integrator", list(Integrator))
def test_what_a_rule_does_is_aliasing_of_harmonic_products(per_cycle: int, integrator: Integrator) -> None:
    expected = predicted_ppm(per_cycle, integrator)
    assert error_ppm(per_cycle, integrator) == pytest.approx(expected, abs=1e-6)


def test_where_high_orders_hurt() -> None:
    """120 samples a cycle (6 kHz): tens of ppm for nothing gained; fewer samples: per mille and per cent."""
    assert abs(error_ppm(120, Integrator.PLAIN_SUM)) < 1e-8
    assert abs(error_ppm(120, Integrator.END_CORRECTED)) < 1e-8
    assert abs(error_ppm(120, Integrator.SIMPSON)) < 1e-8
    assert 10 < abs(error_ppm(120, Integrator.BOOLE)) < 100
    assert 10 < abs(error_ppm(120, Integrator.SEVEN_POINT)) < 200
    assert abs(error_ppm(36, Integrator.PLAIN_SUM)) < 1e-8
    assert abs(error_ppm(36, Integrator.SEVEN_POINT)) > 1_000
    assert abs(error_ppm(24, Integrator.BOOLE)) > 10_000


def test_a_span_that_is_no_whole_number_of_panels_is_refused() -> None:
    with pytest.raises(MeteringError, match="multiple of 4"):
        integrate(np.ones(122), Integrator.BOOLE)

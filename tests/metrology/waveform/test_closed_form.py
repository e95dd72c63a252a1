"""Promises of the reference: integrals to 1e-13, bounds that hold, the fundamental exactly."""

from __future__ import annotations

import numpy as np
import pytest

from openami.metrology.waveform.closed_form import integral_of_product, reference
from openami.metrology.waveform.polyphase import balanced
from openami.metrology.waveform.signal import Tone


def test_one_second_of_a_tone_is_its_power() -> None:
    # 230 V, 10 A, 60 degrees lagging: P = 1150 W, Q = 1991.8584287042088 var.
    result = reference(balanced(230.0, 10.0, 60.0), 0.0, 1.0, 50.0)
    assert result.active_ws == pytest.approx([1150.0] * 3, rel=1e-15)
    assert result.fundamental_reactive_ws == pytest.approx([1991.8584287042088] * 3, rel=1e-15)


def test_voltage_and_current_in_quadrature_have_no_active_energy_at_all() -> None:
    assert integral_of_product(Tone(50.0, 230.0), Tone(50.0, 10.0, -90.0), 0.0, 1.0) == 0.0


def test_uncertainty_grows_as_the_power_factor_falls() -> None:
    high = reference(balanced(230.0, 10.0, 0.0), 0.0, 1.0, 50.0).relative_uncertainty
    low = reference(balanced(230.0, 10.0, float(np.degrees(np.arccos(0.01)))), 0.0, 1.0, 50.0)
    assert high < 5e-15
    assert low.relative_uncertainty == pytest.approx(100 * high, rel=0.01)

"""Promises of sampling: exact far from zero, the same at every cut, the same function as the pieces."""

from __future__ import annotations

import numpy as np
import pytest

from openami.metrology.waveform.gate import Gate
from openami.metrology.waveform.instants import Instants
from openami.metrology.waveform.signal import Gated, Tone, Tones


def test_quarter_and_half_turns_are_exact() -> None:
    u = Tone(50.0, 1.0).sample(np.array([0.0, 0.005, 0.015]))
    assert u[0] == 0.0
    assert u[1:] == pytest.approx([np.sqrt(2), -np.sqrt(2)], abs=4e-16)


@pytest.mark.parametrize("first_cycle", [0, 50 * 10**6])
@pytest.mark.parametrize("per_cycle", [128, 120])
def test_gate_opens_on_the_sample_that_falls_on_its_edge(first_cycle: int, per_cycle: int) -> None:
    current = Gated(Tones(2.0), Gate(50.0, ((90.0, 180.0), (270.0, 360.0))))
    instants = Instants.of_samples(50.0 * per_cycle, first_cycle * per_cycle, 10 * per_cycle)
    expected = np.zeros(per_cycle, dtype=bool)
    expected[per_cycle // 4 : per_cycle // 2] = True
    expected[3 * per_cycle // 4 :] = True
    assert ((current.at(instants) == 2.0) == np.tile(expected, 10)).all()

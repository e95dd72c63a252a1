"""Pulses count what the register counts, and fall where the energy has flowed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.metrology.energy.energy_path import EnergyPath
from openami.metrology.energy.pulse_output import PulsedEnergy, PulseOutput
from openami.metrology.energy.registers import Register
from openami.quantities.errors import MeteringError


def test_pulses_and_register_never_part(mains) -> None:
    """Constant 10,000 imp/kWh: after every window floor(register · constant), however it was cut."""
    source = mains(i=((1, 40.0, -20.0),), hertz=49.8)
    path = EnergyPath(source.settings())
    output = PulseOutput(path.settings, 10_000)
    total = 0
    for first in range(0, 64_000, 3_200):
        path.feed(*source.codes(first, 3_200))
        total += output.feed(path.windows).size
        energy = path.count_products(Register.ACTIVE_IMPORT) * 10_000
        assert output.pulses == total == energy // (path.unit(Register.ACTIVE_IMPORT) * 1_000_000)
    assert total > 500


def test_pulses_are_evenly_spaced_to_a_hundredth_of_a_sample(mains) -> None:
    """3 x 2300 W at 5000 imp/kWh: one pulse each 0.104 s; a bench may time two of them."""
    source = mains(i=((1, 10.0, 0.0),))
    path = EnergyPath(source.settings())
    output = PulseOutput(path.settings, 5_000)
    path.feed(*source.codes(0, 640_000))
    instants = output.feed(path.windows)
    spacing = 3.6e6 / 5_000 / 6_900 * 6_400
    assert np.diff(instants)[3:] == pytest.approx(spacing, abs=0.01)
    first = instants[0]
    assert instants[-1] - first == pytest.approx((instants.size - 1) * spacing, rel=1e-6)


def test_export_and_reactive_energy_have_outputs_too(mains) -> None:
    source = mains(i=((1, 10.0, 150.0),))
    path = EnergyPath(source.settings())
    outputs = {energy: PulseOutput(path.settings, 100_000, energy) for energy in PulsedEnergy}
    path.feed(*source.codes(0, 64_000))
    pulses = {energy: outputs[energy].feed(path.windows).size for energy in PulsedEnergy}
    assert pulses[PulsedEnergy.ACTIVE_IMPORT] == pulses[PulsedEnergy.REACTIVE_IMPORT] == 0
    assert pulses[PulsedEnergy.ACTIVE_EXPORT] == pulses[PulsedEnergy.ACTIVE_BOTH] > 0
    assert pulses[PulsedEnergy.REACTIVE_EXPORT] == pulses[PulsedEnergy.REACTIVE_BOTH] > 0
    _, minus = path.reactive_counts()
    assert pulses[PulsedEnergy.REACTIVE_EXPORT] == minus // 10


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=8), st.integers(1, 200_000))
def test_cuts_give_the_same_pulses(mains, cuts: list[int], constant: int) -> None:
    source = mains(i=((1, 30.0, 0.0),))
    u, i = source.codes(0, 20_000)
    whole, pieces = EnergyPath(source.settings()), EnergyPath(source.settings())
    one, many = PulseOutput(whole.settings, constant), PulseOutput(whole.settings, constant)
    whole.feed(u, i)
    expected = one.feed(whole.windows)
    marks = [0, *sorted(cuts), 20_000]
    found = []
    for first, last in zip(marks[:-1], marks[1:], strict=True):  # noqa: RUF007
        pieces.feed(u[:, first:last], i[:, first:last])
        found.append(many.feed(pieces.windows))
    assert np.concatenate(found).tolist() == expected.tolist()


def test_no_flagged_window_pulses(mains) -> None:
    source = mains()
    path = EnergyPath(source.settings())
    u, i = source.codes(0, 6400)
    u[:] = 2**23 - 1
    path.feed(u, i)
    assert PulseOutput(path.settings, 10**6).feed(path.windows).size == 0


def test_a_constant_must_be_positive(mains) -> None:
    with pytest.raises(MeteringError, match="pulses"):
        PulseOutput(mains().settings(), 0)

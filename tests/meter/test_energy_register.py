"""The register keeps every mWh, however the energy comes; a core gives the same dials for any steps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openami.meter.load_curve import CurveBank, CurveKind, CurveSpec
from openami.meter.metering_core.energy_register import EnergyRegister, register_advance
from openami.meter.metering_core.load_flow import (
    DAY_MS,
    SLOT_MS,
    CurveMeteringCore,
    FlowDay,
    Share,
    gated,
    slot_edges,
)
from openami.quantities.errors import QuantityError


@given(
    steps=st.lists(st.integers(0, 10**9), min_size=1, max_size=60),
    start=st.integers(0, 9999),
    cuts=st.lists(st.integers(0, 60)),
)
def test_register_holds_all_energy_whatever_the_calls(steps: list[int], start: int, cuts: list[int]) -> None:
    whole, pieces = EnergyRegister(4, start), EnergyRegister(4, start)
    dials = whole.add(np.array(steps, np.int64))
    marks = [0, *sorted(min(cut, len(steps)) for cut in cuts), len(steps)]
    cut_dials = [
        dial
        for begin, end in pairwise(marks)
        for dial in pieces.add(np.array(steps[begin:end], np.int64)).tolist()
    ]
    assert cut_dials == dials.tolist()
    assert whole.dial_wh * 1000 + whole.residue_mwh == (start * 1000 + sum(steps)) % (10**4 * 1000)
    assert (pieces.dial_wh, pieces.residue_mwh) == (whole.dial_wh, whole.residue_mwh)


def test_register_rolls_over_and_the_advance_is_still_right() -> None:
    register = EnergyRegister(4, 9998)
    assert register.add(np.array([1500, 499, 1, 2000], np.int64)).tolist() == [9999, 9999, 0, 2]
    assert register.residue_mwh == 0
    assert register_advance(9998, 2, register.modulus_wh) == 4


def test_register_refuses_to_run_back_and_stays_as_it_was() -> None:
    register = EnergyRegister(6, 5)
    with pytest.raises(QuantityError, match="run back"):
        register.add(np.array([7000, -1], np.int64))
    assert (register.dial_wh, register.residue_mwh) == (5, 0)


def test_register_goes_on_with_the_residue_it_had() -> None:
    register = EnergyRegister(6, 5, residue_mwh=999)
    assert register.add(np.array([1], np.int64)).tolist() == [6]
    for residue in (-1, 1000):
        with pytest.raises(QuantityError, match="residue"):
            EnergyRegister(6, 5, residue_mwh=residue)


@pytest.mark.parametrize(("digits", "start"), [(3, 0), (16, 0), (4, 10_000), (4, -1)])
def test_register_refuses_what_a_dial_cannot_be(digits: int, start: int) -> None:
    with pytest.raises(QuantityError):
        EnergyRegister(digits, start)


@given(st.integers(0, 9 * 10**9), st.lists(st.integers(0, SLOT_MS), max_size=20))
def test_parts_of_a_slot_sum_to_the_slot(energy: int, cuts: list[int]) -> None:
    day = 20_500
    energies = np.zeros((1, 96), np.int64)
    energies[0, 10] = energy
    flow = FlowDay.of(slot_edges(day), energies)
    start = day * DAY_MS + 10 * SLOT_MS
    edges = start + np.array([0, *sorted(cuts), SLOT_MS], np.int64)
    parts = flow.segments(edges)[0]
    assert parts.sum() == energy
    assert (parts >= 0).all()


class _Curve:
    """Flow of one customer over several days."""

    def __init__(self, kind: CurveKind) -> None:
        self._bank = CurveBank([CurveSpec(kind, "UP-1")], 5)

    def flow(self, day: int) -> FlowDay:
        return FlowDay.of(slot_edges(day), self._bank.energies(day)[0])


@given(st.lists(st.integers(1, 3 * DAY_MS), min_size=1, max_size=40, unique=True))
def test_any_cutting_of_the_curve_gives_identical_registers(offsets: list[int]) -> None:
    start = 20_500 * DAY_MS
    instants = start + np.array(sorted({*offsets, 3 * DAY_MS}), np.int64)
    whole = CurveMeteringCore(_Curve(CurveKind.PV_HOME), start, 8, (99_999_000, 0))
    steps = CurveMeteringCore(_Curve(CurveKind.PV_HOME), start, 8, (99_999_000, 0))
    at_once = whole.run_to(instants)
    one_by_one = np.concatenate([steps.run_to(instants[i : i + 1]) for i in range(instants.size)], axis=1)
    assert (at_once == one_by_one).all()
    assert whole.residues_mwh == steps.residues_mwh
    energy = np.array(
        [_Curve(CurveKind.PV_HOME).flow(20_500 + day).energy_mwh.sum(axis=1) for day in range(3)]
    )
    for channel, begin in enumerate((99_999_000, 0)):
        total = begin * 1000 + int(energy[:, channel].sum())
        assert whole.dials_wh[channel] == total // 1000 % 10**8
        assert whole.residues_mwh[channel] == total % 1000


def test_core_counts_nothing_while_the_contact_is_open() -> None:
    start = 20_500 * DAY_MS
    core = CurveMeteringCore(_Curve(CurveKind.SHOP), start, 8, (0,))
    core.run_to(np.array([start + 3 * SLOT_MS], np.int64))
    before = core.dials_wh
    core.disconnect()
    assert core.power_w == (0,)
    core.run_to(np.array([start + 50 * SLOT_MS], np.int64))
    assert core.dials_wh == before
    core.connect()
    core.run_to(np.array([start + 51 * SLOT_MS], np.int64))
    flow = _Curve(CurveKind.SHOP).flow(20_500).energy_mwh[0]
    assert core.dials_wh[0] == (flow[:3].sum() + flow[50]) // 1000


def test_core_refuses_to_run_back_in_time() -> None:
    core = CurveMeteringCore(_Curve(CurveKind.SHOP), 20_500 * DAY_MS, 8, (0,))
    with pytest.raises(QuantityError, match="back in time"):
        core.run_to(np.array([20_500 * DAY_MS - 1], np.int64))


def test_a_share_cuts_the_segments_it_touches_and_leaves_the_others() -> None:
    day = 20_500
    flow = FlowDay.of(slot_edges(day), np.full((2, 96), 90_001, np.int64))
    start = day * DAY_MS
    half = gated(flow, [Share(start + SLOT_MS // 3, start + 2 * SLOT_MS, 1, 2)])
    assert (
        half.segments(start + np.array([0, SLOT_MS // 3, SLOT_MS, 2 * SLOT_MS, 3 * SLOT_MS])).tolist()
        == [[30_000, 30_000, 45_000, 90_001]] * 2
    )
    assert gated(flow, [Share(start - 1, start, 0)]) is flow

"""Bad input is refused or flagged, and billing registers never move because of it."""

from __future__ import annotations

import numpy as np
import pytest

from openami.metrology.energy.energy_path import EnergyPath
from openami.metrology.energy.registers import Register
from openami.metrology.energy.window_quantities import WindowFlag
from openami.quantities.errors import MeteringError

BILLING = [register for register in Register if register < Register.WITHHELD_IMPORT]
FULL_SCALE = 2**23 - 1


def billed(path: EnergyPath) -> list[int]:
    return [path.count_products(register, place) for place in range(4) for register in BILLING]


@pytest.fixture
def running(mains):
    """A path that has followed the mains for two seconds, at the end of a window, and its source."""
    source = mains()
    path = EnergyPath(source.settings())
    path.feed(*source.codes(0, 12_800))
    ahead = 1280 - path.open_samples
    path.feed(*source.codes(12_800, ahead))
    path.feed(*source.codes(12_800 + ahead, 4))
    assert path.open_samples == 4
    return path, source


@pytest.mark.parametrize(
    ("u", "i", "what"),
    [
        (np.zeros((3, 5)), np.zeros((3, 5), np.int32), "float64"),
        (np.full((3, 5), np.nan), np.zeros((3, 5), np.int32), "float64"),
        (np.zeros((3, 5), np.int32), np.full((3, 5), np.nan), "float64"),
        (np.zeros((3, 5), np.int64), np.zeros((3, 5), np.int32), "int64"),
        (np.zeros((2, 5), np.int32), np.zeros((3, 5), np.int32), "shape"),
        (np.zeros((3, 5), np.int32), np.zeros((2, 5), np.int32), "shape"),
        (np.zeros((3, 5), np.int32), np.zeros((3, 6), np.int32), "shape"),
        (np.zeros(5, np.int32), np.zeros(5, np.int32), "shape"),
        (np.zeros((1, 3, 5), np.int32), np.zeros((1, 3, 5), np.int32), "shape"),
        ([[1, 2]] * 3, np.zeros((3, 2), np.int32), "list"),
        (None, None, "NoneType"),
    ],
)
def test_what_are_no_samples_is_refused_and_nothing_is_taken(running, u, i, what: str) -> None:
    path, _ = running
    before = path.snapshot()
    with pytest.raises(MeteringError, match=what):
        path.feed(u, i)
    assert path.snapshot() == before


@pytest.mark.parametrize("missing", [0, -1])
def test_a_gap_of_no_samples_is_refused(running, missing: int) -> None:
    path, _ = running
    before = path.snapshot()
    with pytest.raises(MeteringError, match="gap"):
        path.gap(missing)
    assert path.snapshot() == before


def test_samples_of_other_layouts_are_the_same_samples(mains) -> None:
    u, i = mains().codes(0, 3000)
    one, other = EnergyPath(mains().settings()), EnergyPath(mains().settings())
    one.feed(u, i)
    other.feed(np.asfortranarray(u), np.repeat(i, 2, axis=1)[:, ::2])
    assert one.snapshot() == other.snapshot()


def test_no_samples_are_no_event(running) -> None:
    path, _ = running
    before = path.snapshot()
    assert path.feed(np.zeros((3, 0), np.int32), np.zeros((3, 0), np.int32)) == 0
    assert path.snapshot() == before


@pytest.mark.parametrize("channel", range(6))
@pytest.mark.parametrize("value", [FULL_SCALE, -FULL_SCALE, -(2**23)])
@pytest.mark.parametrize("place", [5, 700, 1279])
def test_a_saturated_window_is_kept_apart(running, channel: int, value: int, place: int) -> None:
    path, source = running
    before = billed(path)
    u, i = source.codes(path.position, 1280)
    (u if channel < 3 else i)[channel % 3, place - 4] = value
    assert path.feed(u, i) == 1
    window = path.last_window
    assert window is not None
    assert window.flags is WindowFlag.SATURATED
    assert window.flags.doubtful
    assert path.windows.saturated.tolist() == [1 << channel]
    assert billed(path) == before
    assert path.doubtful_samples == 1280
    assert path.count(Register.DOUBTFUL_IMPORT) == pytest.approx(3 * 1150 * 0.2 / 3.6, rel=0.2)
    assert path.count_products(Register.DOUBTFUL_REACTIVE_IMPORT) > 0
    doubtful = path.count_products(Register.DOUBTFUL_IMPORT)
    path.feed(*source.codes(path.position, 1280))
    assert path.last_window is not None
    assert path.last_window.flags is WindowFlag.NONE
    assert path.count_products(Register.DOUBTFUL_IMPORT) == doubtful
    assert billed(path) != before


def test_one_below_full_scale_is_not_saturated(running) -> None:
    path, source = running
    u, i = source.codes(path.position, 1280)
    u[0, 600] = FULL_SCALE - 1
    path.feed(u, i)
    assert path.windows.flags.tolist() == [0]


@pytest.mark.parametrize("value", [2**23 + 1, -(2**23) - 1, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("place", [0, 3, 640, 1274, 1275, 1276, 1279])
def test_codes_that_the_converter_cannot_give_move_nothing_at_all(running, value: int, place: int) -> None:
    """Also when they stand at an edge, whose terms two windows share: neither is billed."""
    path, source = running
    before = billed(path)
    doubtful = path.counts[:, Register.DOUBTFUL_IMPORT :].tolist()
    u, i = source.codes(path.position, 1280)
    i[1, place] = value
    path.feed(u, i)
    flags = [WindowFlag(int(flag)) for flag in path.windows.flags]
    assert flags[0] & WindowFlag.OUT_OF_RANGE
    assert billed(path) == before
    assert path.counts[:, Register.DOUBTFUL_IMPORT :].tolist() == doubtful
    path.feed(*source.codes(path.position, 6400))
    after = [WindowFlag(int(flag)) for flag in path.windows.flags]
    assert not after[-1] & WindowFlag.OUT_OF_RANGE
    assert path.windows.q1_var[-1] == pytest.approx([2300 * np.sin(np.pi / 3)] * 3, rel=2e-6)


def test_a_gap_ends_the_window_and_keeps_its_part_apart(running) -> None:
    path, source = running
    start = path.position - path.open_samples
    path.feed(*source.codes(path.position, 600))
    before = billed(path)
    u, i = source.codes(start, path.position - start)
    part = [int(value) for value in (u.astype(np.int64) * i).sum(axis=1)]
    at = path.position
    assert path.gap(777) == 1
    assert path.windows.flags.tolist() == [int(WindowFlag.GAP)]
    assert path.windows.samples.tolist() == [at - start]
    assert billed(path) == before
    for phase in range(3):
        found = path.count_products(Register.DOUBTFUL_IMPORT, phase)
        assert found - path.count_products(Register.DOUBTFUL_EXPORT, phase) == part[phase]
    assert path.doubtful_samples == at - start + 777
    assert path.position == at + 777
    path.feed(*source.codes(path.position, 12_800))
    assert path.windows.start_sample[0] == at + 777
    assert billed(path) != before
    assert path.windows.q1_var[-1] == pytest.approx([2300 * np.sin(np.pi / 3)] * 3, rel=2e-6)
    assert path.gap(1) == 1
    assert path.gap(1) == 0


def test_a_gap_right_after_the_start_and_a_snapshot_after_a_gap(mains) -> None:
    source = mains()
    path = EnergyPath(source.settings())
    assert path.gap(10) == 0
    assert path.position == 10
    path.feed(*source.codes(10, 2))
    assert path.gap(5) == 1
    assert path.position == 17
    restored = EnergyPath.restore(source.settings(), path.snapshot())
    for each in (path, restored):
        each.feed(*source.codes(17, 8000))
    assert restored.snapshot() == path.snapshot()


def test_a_gap_is_as_chunk_invariant_as_all_else(mains) -> None:
    source = mains(hertz=49.6)
    u, i = source.codes(0, 9000)
    reference = None
    for cut in range(3990, 4011):
        path = EnergyPath(source.settings())
        for first, last in ((0, min(cut, 4000)), (min(cut, 4000), 4000)):
            path.feed(u[:, first:last], i[:, first:last])
        path.gap(123)
        for first, last in ((4123, 4123 + cut - 3980), (4123 + cut - 3980, 9000)):
            path.feed(u[:, first:last], i[:, first:last])
        reference = reference or path.snapshot()
        assert path.snapshot() == reference


def test_loss_of_phases_and_their_return(mains) -> None:
    """The reference falls back to phase 2, to nothing, and comes back; energy goes on being counted."""
    source = mains(hertz=50.4)
    path = EnergyPath(source.settings())
    path.feed(*source.codes(0, 12_800))
    u, i = source.codes(12_800, 12_800)
    u[0] = 0
    path.feed(u, i)
    assert path.locked
    assert path.windows.f_hz[-1] == pytest.approx(50.4, abs=1e-6)
    assert path.windows.q1_var[-1] == pytest.approx(
        [0, 2300 * np.sin(np.pi / 3), 2300 * np.sin(np.pi / 3)], rel=2e-6
    )
    u, i = source.codes(25_600, 12_800)
    u[:] = 0
    path.feed(u, i)
    assert not path.locked
    assert set(path.windows.flags[2:].tolist()) == {int(WindowFlag.NO_VOLTAGE)}
    assert path.windows.samples[-1] == 1280
    squared = path.count_products(Register.AMPERE_SQUARED_HOURS, 0)
    assert squared > 0
    path.feed(*source.codes(38_400, 19_200))
    assert path.locked
    assert path.windows.f_hz[-1] == pytest.approx(50.4, abs=1e-6)
    assert path.windows.q1_var[-1] == pytest.approx([2300 * np.sin(np.pi / 3)] * 3, rel=2e-6)

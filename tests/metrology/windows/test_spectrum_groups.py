"""Groups of IEC 61000-4-7: the exact check of the reference, bins laid out by hand, and real windows."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from openami.metrology.windows import spectrum
from openami.metrology.windows.window_analysis import Precision, WindowStream
from openami.quantities.errors import MeteringError
from windows_world import tones


def one_window(values: dict[int, float], bins: int = 1024) -> npt.NDArray[np.complex128]:
    row = np.zeros((1, 1, bins), complex)
    for k, value in values.items():
        row[0, 0, k] = value
    return row


def test_subgroup_of_the_reference_check(shared_data: Path) -> None:
    checks = json.loads((shared_data / "metrology" / "pq_rules_and_checks.json").read_text())["exact_checks"]
    (check,) = (check for check in checks if check["name"] == "subgroup")
    bins = one_window({int(k): value for k, value in check["bins"].items()})
    assert spectrum.subgroups(bins, 10)[0, 0, 5] == pytest.approx(check["Gsg5"], rel=1e-15)


@pytest.mark.parametrize("cycles", [10, 12])
def test_every_bin_lies_in_the_groups_it_belongs_to(cycles: int) -> None:
    """A unit in one bin at a time, between harmonics 6 and 7."""
    half = cycles // 2
    for offset in range(cycles + 1):
        bins = one_window({6 * cycles + offset: 1.0})
        beside = offset in (0, 1)
        before = offset in (cycles - 1, cycles)
        assert spectrum.subgroups(bins, cycles)[0, 0, 6:8].tolist() == [float(beside), float(before)]
        squares = np.square(spectrum.groups(bins, cycles)[0, 0, 6:8])
        expected = [1.0, 0.0] if offset < half else [0.5, 0.5] if offset == half else [0.0, 1.0]
        assert squares == pytest.approx(expected, abs=1e-12)
        between = 1 <= offset <= cycles - 1
        assert spectrum.interharmonic_groups(bins, cycles)[0, 0, 6] == float(between)
        centred = 2 <= offset <= cycles - 2
        assert spectrum.interharmonic_subgroups(bins, cycles)[0, 0, 6] == float(centred)


def test_groups_share_out_all_power_between_half_a_harmonic_and_the_last() -> None:
    rng = np.random.default_rng(3)
    bins = rng.normal(size=(2, 3, 512)) + 1j * rng.normal(size=(2, 3, 512))
    squares = np.abs(bins) ** 2
    total = squares[..., 6:505].sum(axis=-1) + 0.5 * (squares[..., 5] + squares[..., 505])
    assert np.square(spectrum.groups(bins, 10)[..., 1:]).sum(axis=-1) == pytest.approx(total, rel=1e-12)


def test_what_was_not_measured_is_nan_and_never_a_number() -> None:
    bins = one_window(dict.fromkeys(range(512), 1.0), 512)
    valid = np.array([301])
    assert spectrum.highest_harmonic(valid, 10).tolist() == [30]
    assert np.isnan(spectrum.harmonics(bins, 10, valid)[0, 0]).tolist() == [h > 30 for h in range(51)]
    assert np.isnan(spectrum.subgroups(bins, 10, valid)[0, 0]).tolist() == [h > 29 for h in range(51)]
    assert np.isnan(spectrum.groups(bins, 10, valid)[0, 0]).tolist() == [h > 29 for h in range(51)]
    assert np.isnan(spectrum.interharmonic_subgroups(bins, 10, valid)[0, 0]).tolist() == [
        h > 29 for h in range(51)
    ]
    with pytest.raises(MeteringError, match="windows, channels, bins"):
        spectrum.groups(bins[0], 10)
    with pytest.raises(MeteringError, match="valid_bins"):
        spectrum.groups(bins, 10, np.array([1, 2]))


def test_harmonics_above_the_pass_band_of_a_60_hz_window_are_said_to_be_missing() -> None:
    u = tones([(1, 230.0, 0.0), (47, 2.3, 0.0)], 60.0, 6400.0, 6400)[None]
    windows = WindowStream(6400.0, 60.0, 1).feed(u, u)
    assert spectrum.highest_harmonic(windows.valid_bins, 12).tolist() == [47] * len(windows)
    found = spectrum.harmonics(windows.u_bins, 12, windows.valid_bins)
    assert np.isnan(found[:, 0, 48:]).all()
    assert np.abs(found[:, 0, 47]) == pytest.approx(2.3, rel=1e-3)


@pytest.mark.parametrize(("f_hz", "nominal_hz"), [(48.3, 50.0), (61.7, 60.0)])
def test_all_50_harmonics_of_a_window_off_nominal(f_hz: float, nominal_hz: float) -> None:
    cycles = round(nominal_hz / 5)
    parts = [(1, 230.0, 0.3), *((h, 2.3, 0.1 * h) for h in range(2, 51))]
    u = tones(parts, f_hz, 12800.0, 12800)[None]
    windows = WindowStream(12800.0, nominal_hz, 1).feed(u, u)
    found = spectrum.harmonics(windows.u_bins, cycles, windows.valid_bins)[:, 0]
    assert np.abs(np.abs(found[:, 2:]) - 2.3).max() < 2.3e-5
    thd = np.sqrt(49) * 0.01
    assert spectrum.total_distortion(np.abs(found)[:, None])[:, 0] == pytest.approx(thd, rel=1e-6)
    subgroups = spectrum.subgroups(windows.u_bins, cycles, windows.valid_bins)
    assert spectrum.total_distortion(subgroups)[:, 0] == pytest.approx(thd, rel=1e-6)


def test_harmonic_angles_referred_to_the_fundamental_do_not_depend_on_where_the_window_begins() -> None:
    """arg X_h - h arg U_1 = phase_h - h phase_1 + (h - 1) 90 degrees, for sines."""
    parts = [(1, 230.0, 0.4), (5, 23.0, 1.1), (7, 10.0, -2.0)]
    u = np.array([tones(parts, 49.1, 6400.0, 9600, shift) for shift in (0.0, -2.0)])
    device = WindowStream(6400.0, 50.0, 2)
    device.resynchronise(4321.7)
    windows = device.feed(u, u)
    phasors = spectrum.harmonics(windows.u_bins, 10, windows.valid_bins)
    own = spectrum.referred(phasors[:, :1], phasors[:, 0, 1])
    for order, _, phase in parts[1:]:
        expected = phase - order * 0.4 + (order - 1) * np.pi / 2
        error = np.angle(own[:, 0, order] * np.exp(-1j * expected))
        assert np.abs(error).max() < 1e-5


def test_an_interharmonic_is_found_in_its_group_at_full_size() -> None:
    u = tones([(1, 230.0, 0.0), (3.5, 5.0, 0.3)], 50.0, 6400.0, 9600)[None]
    windows = WindowStream(6400.0, 50.0, 1, precision=Precision.DOUBLE).feed(u, u)
    assert spectrum.interharmonic_groups(windows.u_bins, 10)[:, 0, 3] == pytest.approx(5.0, rel=1e-6)
    assert spectrum.interharmonic_subgroups(windows.u_bins, 10)[:, 0, 3] == pytest.approx(5.0, rel=1e-6)
    assert spectrum.subgroups(windows.u_bins, 10)[:, 0, 3:5].max() < 1e-5


def test_bands_of_200_hz_hold_what_lies_in_them() -> None:
    rate_hz = 51200.0
    parts = [(1, 230.0, 0.0), (2510 / 50, 3.0, 0.1), (4150 / 50, 2.0, 0.2), (8950 / 50, 1.0, 0.5)]
    u = tones(parts, 50.0, rate_hz, 40000)[None]
    windows = WindowStream(rate_hz, 50.0, 1, points=8192).feed(u, u)
    bands = spectrum.high_bands(windows.u_bins, 10, windows.f_hz, windows.valid_bins)
    assert bands.centre_hz[[0, -1]].tolist() == [2100.0, 8900.0]
    found = dict(zip(bands.centre_hz.tolist(), bands.rms[0, 0].tolist(), strict=True))
    assert found[2500.0] == pytest.approx(3.0, rel=1e-5)
    assert found[4100.0] == pytest.approx(2.0, rel=1e-5)
    assert found[8900.0] == pytest.approx(1.0, rel=1e-5)
    assert max(value for centre, value in found.items() if centre not in (2500.0, 4100.0, 8900.0)) < 1e-3
    slow = WindowStream(12800.0, 50.0, 1, points=2048).feed(u[:, ::4], u[:, ::4])
    edge = spectrum.high_bands(slow.u_bins, 10, slow.f_hz, slow.valid_bins)
    assert np.isnan(edge.rms[0, 0]).tolist() == [centre + 100 >= 5120 for centre in edge.centre_hz]


def test_distortion_of_nothing_is_not_a_number() -> None:
    assert np.isnan(spectrum.total_distortion(np.zeros((1, 1, 51)))).all()

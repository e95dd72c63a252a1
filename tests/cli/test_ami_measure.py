"""`ami measure`: exact recordings in, exact numbers out; keys end in their unit; bad files are refused."""

from __future__ import annotations

import hashlib
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ami_command import Ami, run_ami
from openami.metrology.recording.comtrade_configuration import DataKind
from openami.metrology.recording.comtrade_write import encode_comtrade, write_comtrade
from openami.metrology.recording.recording import Recording

F64 = npt.NDArray[np.float64]
RATE = 6400.0
U = {1: (230.0, 0.0), 3: (5.0, 0.4), 5: (11.5, 1.0)}
I = {1: (10.0, -np.pi / 3), 3: (2.0, 0.1), 5: (4.0, 0.3)}  # noqa: E741
P = sum(U[h][0] * I[h][0] * np.cos(U[h][1] - I[h][1]) for h in U)
Q1 = 2300 * np.sin(np.pi / 3)
URMS, IRMS = (np.sqrt(sum(rms**2 for rms, _ in parts.values())) for parts in (U, I))


def tones(parts: dict[int, tuple[float, float]], f: float, t: F64, turn: float) -> F64:
    wave: F64 = np.sqrt(2) * np.sum(
        [rms * np.sin(h * (2 * np.pi * f * t - turn) + angle) for h, (rms, angle) in parts.items()], axis=0
    )
    return wave


def waves(f: float = 49.3, seconds: float = 1.2, phases: int = 1, rate: float = RATE) -> tuple[F64, F64]:
    t = np.arange(round(seconds * rate)) / rate
    turns = [2 * np.pi / 3 * phase for phase in range(phases)]
    return np.array([tones(U, f, t, turn) for turn in turns]), np.array(
        [tones(I, f, t, turn) for turn in turns]
    )


def npz(folder: Path, name: str = "wave.npz", **options: Any) -> Path:
    u, i = waves(**options)
    shape = (lambda x: x[0]) if u.shape[0] == 1 else (lambda x: x.T)
    np.savez(folder / name, u=shape(u), i=shape(i), rate_hz=RATE)
    return folder / name


@pytest.mark.parametrize("f", [42.5, 49.3, 50.0, 57.5, 60.7])
def test_one_phase_is_plain_numbers_exact_to_a_millionth(ami: Ami, tmp_path: Path, f: float) -> None:
    document = ami("measure", npz(tmp_path, f=f), "--json").document
    assert document["f_hz"] == pytest.approx(f, rel=1e-9)
    assert document["u_v"] == pytest.approx(URMS, rel=1e-6)
    assert document["i_a"] == pytest.approx(IRMS, rel=1e-6)
    assert document["p_w"] == pytest.approx(P, rel=1e-6)
    assert document["p1_w"] == pytest.approx(1150.0, rel=1e-6)
    assert document["q1_var"] == pytest.approx(Q1, rel=1e-6)
    assert document["s_va"] == pytest.approx(URMS * IRMS, rel=1e-6)
    assert document["pf"] == pytest.approx(P / (URMS * IRMS), rel=1e-6)
    assert document["pf1"] == pytest.approx(0.5, rel=1e-6)
    assert document["thd_i"] == pytest.approx(np.sqrt(0.2), rel=1e-6)
    for key, parts in (("u_harmonics_v", U), ("i_harmonics_a", I)):
        assert len(document[key]) == 50
        for order, (rms, _) in parts.items():
            assert document[key][order - 1] == pytest.approx(rms, rel=1e-6)
    assert document["u_harmonics_deg"][0] == pytest.approx(0.0, abs=1e-9)
    assert document["i_harmonics_deg"][0] == pytest.approx(-60.0, abs=1e-4)
    assert document["phase_count"] == 1
    assert document["three_phase"] is None
    assert document["phases"][0]["quadrant"] == 1


def test_three_phases_have_totals_lists_and_a_system(ami: Ami, tmp_path: Path) -> None:
    file = npz(tmp_path, phases=3)
    document = ami("measure", file, "--json").document
    assert document["p_w"] == pytest.approx(3 * P, rel=1e-6)
    assert document["q1_var"] == pytest.approx(3 * Q1, rel=1e-6)
    assert document["s_va"] == pytest.approx(3 * URMS * IRMS, rel=1e-6)
    assert document["u_v"] == pytest.approx([URMS] * 3, rel=1e-6)
    assert document["i_a"] == pytest.approx([IRMS] * 3, rel=1e-6)
    assert [phase["name"] for phase in document["phases"]] == ["L1", "L2", "L3"]
    assert [phase["u1_deg"] for phase in document["phases"]] == pytest.approx([0, -120, 120], abs=1e-4)
    system = document["three_phase"]
    assert system["s1_pos_va"] == pytest.approx(6900.0, rel=1e-6)
    assert system["neutral_a"] == pytest.approx(3 * 2.0, rel=1e-5)
    assert system["phase_sequence"] == "L1-L2-L3"
    assert system["u2_percent"] < 1e-3
    assert system["pf"] == pytest.approx(3 * P / system["se_va"], rel=1e-9)
    assert document["s_effective_va"] == system["se_va"]
    assert np.array(document["u_harmonics_v"]).shape == (3, 50)
    u, i = waves(phases=3)
    assert document["energy_wh"] == pytest.approx((u * i).sum() / RATE / 3600, rel=1e-9)
    provenance = document["provenance"]
    assert provenance["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert provenance["rate_hz"] == RATE
    assert provenance["samples"] == u.shape[1]
    assert [channel["name"] for channel in provenance["channels"]] == ["u1", "u2", "u3", "i1", "i2", "i3"]


def test_every_key_ends_in_its_unit(ami: Ami, tmp_path: Path) -> None:
    units = {"v", "a", "w", "var", "va", "hz", "deg", "s", "wh", "varh", "percent"}
    ratios = {"pf", "pf1", "thd", "thds", "distortion", "harmonic", "load"}

    def walk(value: Any, key: str = "") -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(inner, name)
        elif isinstance(value, list):
            for inner in value:
                walk(inner, key)
        elif isinstance(value, float):
            name = key.split("_")
            told = name[-1] in units or name[0] in ratios or key.startswith(("scale_", "per_stored"))
            assert told, f"{key} has no unit"

    document = ami("measure", npz(tmp_path, phases=3), "--windows", "--json").document
    document.pop("windows_count")
    walk(document)


def test_windows_one_by_one(ami: Ami, tmp_path: Path) -> None:
    file = npz(tmp_path, seconds=2.0)
    assert "windows" not in ami("measure", file, "--json").document
    document = ami("measure", file, "--windows", "--json").document
    windows = document["windows"]
    assert len(windows) == document["windows_count"] >= 8
    for before, after in pairwise(windows):
        assert after["start_s"] == pytest.approx(before["start_s"] + before["duration_s"], abs=1e-9)
    assert all(window["p_w"] == pytest.approx(P, rel=1e-6) for window in windows)
    assert all(window["flags"] == [] for window in windows)
    assert document["p_w"] == pytest.approx(np.mean([window["p_w"] for window in windows]), rel=1e-9)


def test_people_see_tables(ami: Ami, tmp_path: Path) -> None:
    done = ami("measure", npz(tmp_path, phases=3))
    assert done.code == 0
    assert not done.err
    for wanted in ("3p4w", "49.30000 Hz", "Q1", "SU1", "THD U", "harmonics", "L1-L2-L3", "Wh"):
        assert wanted in done.out, wanted
    assert f"{3 * P:,.3f}" in done.out
    assert "flags" not in done.out
    single = ami("measure", npz(tmp_path, "one.npz"), "--windows")
    assert "total" not in single.out
    assert "start_s" in single.out


def test_the_same_waveform_from_every_format_is_the_same_measurement(ami: Ami, tmp_path: Path) -> None:
    u, i = waves(phases=3)
    files: list[tuple[Any, ...]] = [(npz(tmp_path, phases=3),)]
    t = np.arange(u.shape[1]) / RATE
    table = np.column_stack((t, u.T, i.T))
    np.savetxt(tmp_path / "a.csv", table, delimiter=",", header="t,u1,u2,u3,i1,i2,i3", comments="")
    files.append((tmp_path / "a.csv",))
    frames = np.column_stack((u.T / 400, i.T / 20)).astype("<f8").tobytes()
    fmt = struct.pack("<HHIIHH", 3, 6, 6400, 6400 * 48, 48, 64)
    body = b"WAVEfmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", len(frames)) + frames
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    files.append((tmp_path / "a.wav", "--scale-u", 400, "--scale-i", 20))
    record = encode_comtrade(Recording(u, i, RATE), None, DataKind.BINARY32)
    for name in ("a.cfg", "a.cff"):
        files.append((write_comtrade(tmp_path / name, record)[0],))
    for arguments in files:
        document = ami("measure", *arguments, "--json").document
        assert document["p_w"] == pytest.approx(3 * P, rel=1e-6), arguments
        assert document["q1_var"] == pytest.approx(3 * Q1, rel=1e-6), arguments


def test_channels_scales_and_turned_transformers(ami: Ami, tmp_path: Path) -> None:
    u, i = waves()
    np.savez(tmp_path / "x.npz", a=-i[0], b=u[0] / 100, noise=np.ones(u.shape[1]), rate_hz=RATE)
    document = ami("measure", "x.npz", "--channels", "u=b i=-a", "--scale-u", 100, "--json").document
    assert document["p_w"] == pytest.approx(P, rel=1e-6)
    names = [channel["name"] for channel in document["provenance"]["channels"]]
    assert names == ["b", "-a"]
    turned = ami("measure", "x.npz", "--channels", "u=2 i=1", "--scale-u", 100, "--json").document
    assert turned["p_w"] == pytest.approx(-P, rel=1e-6)
    assert turned["pf"] < 0
    assert turned["phases"][0]["quadrant"] == 3
    assert turned["energy_export_wh"] == pytest.approx(document["energy_import_wh"], rel=1e-9)


def test_wirings(ami: Ami, tmp_path: Path) -> None:
    u, i = waves(phases=3)
    i = i - i.mean(axis=0)
    lines = u - np.roll(u, -1, axis=0)
    np.savez(tmp_path / "star.npz", u=u.T, i=i.T, rate_hz=RATE)
    np.savez(tmp_path / "lines.npz", u=lines.T, i=i.T, rate_hz=RATE)
    np.savez(tmp_path / "aron.npz", u=np.stack((lines[0], -lines[1])).T, i=i[[0, 2]].T, rate_hz=RATE)
    powers = [
        ami("measure", f"{name}.npz", "--wiring", wiring, "--json").document["p_w"]
        for name, wiring in (("star", "3p3w"), ("lines", "3p3w-lines"), ("aron", "aron"))
    ]
    exact = 3 * (P - 10.0 * np.cos(0.3))  # no third harmonic without a neutral
    assert powers == pytest.approx([exact] * 3, rel=1e-6)
    assert ami("measure", "star.npz", "--wiring", "1p", "--json").document["three_phase"] is None


def test_a_gap_and_a_saturated_window_are_flagged_and_told(ami: Ami, tmp_path: Path) -> None:
    u, i = waves(seconds=3.0)
    counts = np.clip(np.rint(np.vstack((u, i)) / 400 * 2**23), -(2**23) + 1, 2**23 - 1).astype(np.int32)
    counts[0, 3200:3210] = 2**23 - 1
    np.savez(
        tmp_path / "s.npz", u=counts[0], i=counts[1], rate_hz=RATE, full_scale_counts=2**23 - 1,
        u_v_per_count=400 / 2**23, i_a_per_count=400 / 2**23,
    )  # fmt: skip
    document = ami("measure", "s.npz", "--json").document
    # 0.5 s lies in one window and within the probe of the edge between it and the one before.
    assert document["flags"]["windows_saturated"] == 2
    assert document["flags"]["samples_saturated"] == 10
    assert document["windows_left_out"] == 2
    assert document["p_w"] == pytest.approx(P, rel=1e-5)
    u[0, 9600] = np.nan
    np.savez(tmp_path / "g.npz", u=u[0], i=i[0], rate_hz=RATE)
    document = ami("measure", "g.npz", "--json").document
    assert document["flags"]["samples_missing"] == 1
    assert document["flags"]["windows_after_gap"] == 1
    assert document["gaps"] == ["sample 9600: values are missing or not finite"]
    assert document["p_w"] == pytest.approx(P, rel=1e-6)
    told = ami("measure", "g.npz").out
    assert "windows after gap: 1" in told
    assert "sample 9600" in told


def test_a_short_recording_is_answered_and_flagged(ami: Ami, tmp_path: Path) -> None:
    document = ami("measure", npz(tmp_path, seconds=0.1), "--json").document
    assert document["windows_cycles"] == 4
    assert document["flags"]["windows_short"] == 1
    assert document["p_w"] == pytest.approx(P, rel=1e-6)


def made(name: str, **arrays: Any) -> None:
    np.savez(name, **{"u": np.ones(9), "i": np.ones(9), "rate_hz": RATE} | arrays)


@pytest.mark.parametrize(
    ("make", "arguments", "said"),
    [
        (lambda: np.savez("x.npz", u=np.ones(9), i=np.ones(9)), ("x.npz",), "no rate_hz"),
        (lambda: np.savez("x.npz", u=np.ones(9), rate_hz=RATE), ("x.npz",), "without currents"),
        (lambda: made("x.npz", u=np.zeros(999), i=np.ones(999)), ("x.npz",), "no voltage"),
        (lambda: made("x.npz", u=np.ones(50), i=np.ones(50)), ("x.npz",), "less than a cycle"),
        (lambda: made("x.npz", u=np.full(9, np.nan)), ("x.npz",), "missing"),
        (lambda: made("x.npz", u=np.ones(0), i=np.ones(0)), ("x.npz",), "hold no samples"),
        (lambda: made("x.npz", u=np.ones((0, 3)), i=np.ones((0, 3))), ("x.npz",), "hold no samples"),
        (lambda: made("x.npz", rate_hz=[6400.0, 6400.0]), ("x.npz",), "rate_hz holds 2 numbers"),
        (lambda: made("x.npz", rate_hz=-1.0), ("x.npz",), "rate_hz is -1"),
        (lambda: made("x.npz", rate_hz=1e300), ("x.npz",), "a sampling rate of 1e+300 Hz"),
        (lambda: made("x.npz", u=np.full(9, -1e200)), ("x.npz",), "u is -1e+200"),
        (lambda: made("x.npz"), ("x.npz", "--segment", 1), "no segments in NPZ"),
        (lambda: made("x.npz"), ("x.npz", "--rate", 50), "file says"),
        (lambda: made("x.npz"), ("x.npz", "--channels", "u=7"), "channel"),
        (lambda: made("x.npz"), ("x.npz", "--wiring", "aron"), "wiring"),
        (lambda: Path("x.csv").write_text("t,u,i\n0,1,2\n1,two,3\n"), ("x.csv",), "'two' is no number"),
        (lambda: Path("x.csv").write_text("u;i\n1,5;2,5\n"), ("x.csv", "--rate", 6400), "decimal comma"),
        (lambda: Path("x.wav").write_bytes(b"RIFF\0\0\0\0WAVE"), ("x.wav",), "format"),
        (lambda: Path("x.cfg").write_text("a,b,1999\n"), ("x.cfg",), "missing"),
        (lambda: None, ("nowhere.npz",), "No such file"),
        (lambda: None, (".",), "Is a directory"),
        (lambda: None, ("x.npz", "--wiring", "star"), "star"),
    ],
)
def test_bad_input_is_exit_code_2_and_one_clear_error(
    ami: Ami, make: Any, arguments: tuple[Any, ...], said: str
) -> None:
    make()
    done = ami("measure", *arguments, "--json")
    assert done.code == 2
    error = done.document["error"]
    assert said in error["message"] or said in str(error["expected"]), error
    assert "Traceback" not in done.err


def test_the_command_runs_by_itself(tmp_path: Path) -> None:
    done = run_ami("measure", npz(tmp_path, phases=3), "--json", cwd=tmp_path)
    assert done.code == 0
    assert done.err == ""
    assert done.document["p_w"] == pytest.approx(3 * P, rel=1e-6)

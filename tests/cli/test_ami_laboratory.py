"""`ami laboratory`: verdict, document and page from one command; exit code 1 when a meter does not pass."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from ami_command import Ami


def test_a_meter_that_passes(ami: Ami, tmp_path: Path) -> None:
    done = ami("laboratory", "test", "--model", "hall", "--quick", "--json", "--report", "hall.html")
    assert done.code == 0, done.err
    document = done.document
    assert document["verdict"] == "pass"
    assert (document["class"], document["standard"]) == ("1", "IEC 62053-21")
    assert {row["test"] for row in document["tests"]} >= {
        "intrinsic_error", "starting", "no_load", "meter_constant", "repeatability", "voltage", "frequency",
        "temperature_coefficient", "fifth_harmonic", "half_wave", "combined_error",
    }  # fmt: skip
    assert all(row["source"] for row in document["points"])
    page = (tmp_path / "hall.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "Hall multiplier" in page


def test_a_meter_that_fails_ends_with_1_and_names_the_test(ami: Ami) -> None:
    done = ami("laboratory", "test", "--model", "electronic", "--quick", "--json")
    assert done.code == 1
    assert done.document["verdict"] == "fail"
    failed = [row["test"] for row in done.document["tests"] if row["verdict"] != "pass"]
    assert failed == ["half_wave"]


def test_people_get_tables_and_are_told_to_confirm(ami: Ami) -> None:
    done = ami(
        "laboratory", "test", "--model", "hall", "--class", "2", "--quick", "--language", "zh",
        "--report", "zh.html",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "class                   2 of IEC 62053-21" in done.out
    assert "temperature coefficient" in done.out
    assert "confirm them against the standard before signing" in done.out


def test_the_models_are_listed(ami: Ami) -> None:
    done = ami("laboratory", "models", "--json")
    assert done.code == 0
    models = {row["name"]: row for row in done.document}
    assert models["gateway_01s"]["class"] == "0.1S"
    assert models["ferraris"]["principle"] == "ferraris"
    assert "gateway_01s" in ami("laboratory", "models").out


def test_the_evolution_is_drawn_by_one_command(ami: Ami, tmp_path: Path) -> None:
    done = ami("laboratory", "evolution", "--quick", "--report", "evolution.html", "--json")
    assert done.code == 0, done.err
    curves = done.document["curves"]
    assert {curve["principle"] for curve in curves} == {"ferraris", "time_division", "hall", "digital"}
    assert {curve["load"] for curve in curves} >= {"sine", "quadriform", "half_wave"}
    assert "Ferraris disc" in (tmp_path / "evolution.html").read_text()


EVENING = """
name = "Evening"
duration_s = 2.0
frequency_hz = 49.5
[voltage]
rms_v = [230.0, 231.0, 229.0]
harmonics = [{ order = 5, percent = 4.0, phase_deg = 180.0 }]
[current]
rms_a = 10.0
lag_deg = 30.0
harmonics = [{ order = 5, percent = 20.0 }]
"""


def test_a_described_waveform_is_what_measuring_it_finds(ami: Ami, tmp_path: Path) -> None:
    (tmp_path / "evening.toml").write_text(EVENING)
    made = ami("laboratory", "waveform", "evening.toml", "--output", "evening.npz", "--json")
    assert made.code == 0, made.err
    true = made.document["reference"]
    assert true["u_v"][1] == pytest.approx(231.0 * math.sqrt(1 + 0.04**2), rel=1e-12)
    assert true["p1_w"][0] == pytest.approx(2300 * math.cos(math.radians(30)), rel=1e-12)
    assert true["energy_total_wh"] == pytest.approx(sum(true["energy_wh"]), rel=1e-15)
    assert (made.document["samples"], made.document["phases"]) == (12_800, 3)
    measured = ami("measure", "evening.npz", "--json").document
    for row, phase in enumerate(measured["phases"]):
        assert phase["p1_w"] == pytest.approx(true["p1_w"][row], rel=1e-6)
        assert phase["q1_var"] == pytest.approx(true["q1_var"][row], rel=1e-6)
        assert phase["p_w"] == pytest.approx(true["p_w"][row], rel=1e-6)
        assert phase["u_v"] == pytest.approx(true["u_v"][row], rel=1e-6)
    people = ami("laboratory", "waveform", "evening.toml", "-o", "evening.npz")
    assert "q1_var" in people.out


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        ("name = 1", ("-o", "x.npz"), "name"),
        (EVENING, ("-o", "no/x.npz"), "no such folder"),
        (EVENING.replace("2.0\n", "1e9\n", 1), ("-o", "x.npz"), "samples of 1e+09 s"),
        (EVENING, ("-o", "x.npz", "--rate", 0), "--rate"),
    ],
)
def test_a_waveform_that_cannot_be_written_is_told(
    ami: Ami, tmp_path: Path, text: str, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "wave.toml").write_text(text)
    done = ami("laboratory", "waveform", "wave.toml", *arguments, "--json")
    assert done.code == 2
    assert said in str(done.document["error"])
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "nothing"), "no meter model 'nothing'"),
        (("--model", "hall", "--class", "0.3S"), "no accuracy class '0.3S'"),
        (("--model", "hall", "--standard", "ansi"), "no limits of a standard 'ansi'"),
        (("--model", "hall", "--class", "1", "--standard", "r46"), "OIML R 46 has no class '1'"),
        (("--model", "hall", "--language", "fr"), "no reports in 'fr'"),
        (("--model", "absent.toml"), "cannot be read"),
        (("--model", "hall", "--seed", 10**30), "--seed"),
        ((), "--model"),
    ],
)
def test_bad_input_is_told_clearly(ami: Ami, arguments: tuple[str, ...], message: str) -> None:
    done = ami("laboratory", "test", *arguments, "--json")
    assert done.code == 2
    assert message in done.document["error"]["message"] + str(done.document["error"]["where"])
    assert done.document["error"]["expected"] or "cannot be read" in message


@pytest.mark.parametrize("place", ["no/such/folder/x.html", "."])
@pytest.mark.parametrize("command", [("test", "--model", "gateway_01s"), ("evolution",)])
def test_a_report_that_cannot_be_written_is_told_before_anything_is_measured(
    ami: Ami, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], place: str
) -> None:
    def measured(*_: object, **__: object) -> None:
        pytest.fail("the bench ran first")

    monkeypatch.setattr("openami.cli.laboratory.run", measured)
    monkeypatch.setattr("openami.cli.laboratory.evolution", measured)
    done = ami("laboratory", *command, "--report", place, "--json")
    assert done.code == 2
    error = done.document["error"]
    assert error["where"] == ("." if place == "." else "no/such/folder")
    assert "folder" in error["message"]

"""`ami laboratory`: verdict, document and page from one command; exit code 1 when a meter does not pass."""

from __future__ import annotations

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

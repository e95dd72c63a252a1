"""A meter model is understood completely or refused, and its identification is that of its text."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from openami.laboratory.devices import device_source
from openami.laboratory.limit_tables import classes_of
from openami.meter.model import Principle, meter_model, model_from_toml, model_names
from openami.quantities.errors import FormatError, MeteringError


def _text(name: str) -> str:
    return resources.files("openami.meter").joinpath("models", f"{name}.toml").read_text("utf-8")


@pytest.mark.parametrize("name", model_names())
def test_every_model_can_be_put_on_the_bench(name: str) -> None:
    model = meter_model(name)
    assert model.name == name
    assert model.accuracy.active in classes_of(model.accuracy.active_standard)
    assert model.ageing
    assert all(part.source for part in model.ageing)
    assert "no product" in model.provenance or "recalled" in model.provenance
    if model.principle is not Principle.DIGITAL:
        assert device_source(model)(0.0).settling_s >= 1.0


def test_the_generations_of_the_survey_are_there() -> None:
    assert {
        "ferraris", "electronic", "hall", "sg2009_single", "sg2013_three", "dual_core_2016",
        "ct_02s", "gateway_01s", "hv_direct",
    } <= set(model_names())  # fmt: skip


def test_a_parameter_set_stands_for_its_tables() -> None:
    model = meter_model("gateway_01s")
    assert model.front_end["rate_hz"] == 12800
    assert 1.0 in model.calibration["load"]


def test_the_identification_changes_with_every_letter() -> None:
    text = _text("ct_02s")
    one, other = model_from_toml(text), model_from_toml(text.replace("20000", "20001", 1))
    assert len(one.identification) == 64
    assert one.identification != other.identification
    assert one.identification == model_from_toml(text).identification


def test_an_unknown_model_names_those_that_are_there() -> None:
    with pytest.raises(MeteringError, match="ct_02s"):
        meter_model("no_such_meter")


def test_a_model_can_be_a_file_of_the_users_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(_text("ct_02s").replace('name = "ct_02s"', 'name = "mine"', 1))
    assert meter_model(str(file)).name == "mine"
    with pytest.raises(FormatError, match="cannot be read"):
        meter_model(str(tmp_path / "absent.toml"))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("imax_a = 10.0", "imax_a = 1.0", "out of order"),
        ("ist_a = 0.005", "ist_a = 0.0", "no starting current"),
        ("phases = 3", "phases = 2", "phases"),
        ("un_v = 57.7", "un_v = 57.7\ncolour = 'grey'", "colour"),
        ('target = "voltage_ratio"', 'target = "mood"', "target"),
        ('parameter_set = "ct_02s"', 'parameter_set = "nothing"', "nothing"),
        ("un_v = 57.7", "un_v = ", "not TOML"),
    ],
)
def test_a_model_with_a_fault_is_refused(before: str, after: str, message: str) -> None:
    text = _text("ct_02s")
    assert before in text
    with pytest.raises((FormatError, MeteringError), match=message):
        model_from_toml(text.replace(before, after, 1))


def test_all_faults_of_a_model_are_named_at_once() -> None:
    text = _text("ct_02s").replace("phases = 3", "phases = 2", 1).replace("un_v = 57.7", "un_v = 'x'", 1)
    with pytest.raises(FormatError, match=r"(?s)phases.*un_v"):
        model_from_toml(text)


def test_a_parameter_that_a_principle_does_not_have_is_refused() -> None:
    text = _text("hall").replace("rate_hz = 6400", "rate_hz = 6400\nwheels = 4", 1)
    with pytest.raises(FormatError, match="no 'wheels'"):
        device_source(model_from_toml(text))(0.0)


def test_a_front_end_of_other_phases_than_the_meter_is_refused() -> None:
    text = _text("ct_02s").replace("[rating]\nphases = 3", "[rating]\nphases = 1", 1)
    with pytest.raises(MeteringError, match="front end of 3 phases"):
        device_source(model_from_toml(text))(0.0)

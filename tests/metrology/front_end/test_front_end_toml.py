"""A front end in TOML is read to the last key, or refused with the path of what is wrong."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from openami.metrology.front_end.calibration import calibration_plan_from_table
from openami.metrology.front_end.front_end_toml import (
    front_end_from_table,
    parameter_set,
    parameter_set_names,
)
from openami.metrology.front_end.sensor import SensorKind
from openami.quantities.errors import FormatError, MeteringError


def table() -> dict[str, Any]:
    return copy.deepcopy(dict(parameter_set("gateway_01s"))["front_end"])


def test_every_parameter_set_makes_a_front_end_and_a_plan_and_says_where_its_numbers_are_from() -> None:
    assert set(parameter_set_names()) == {"gateway_01s", "ct_02s", "direct_class1", "electronic_class2"}
    for name in parameter_set_names():
        content = parameter_set(name)
        assert set(content) == {"front_end", "calibration"}
        parameters = front_end_from_table(content["front_end"])
        assert "recalled" in parameters.source
        assert calibration_plan_from_table(content["calibration"]).load


def test_an_unknown_parameter_set_is_refused_with_the_known_ones() -> None:
    with pytest.raises(MeteringError, match="gateway_01s"):
        parameter_set("gateway")


def test_values_arrive_where_they_belong() -> None:
    parameters = front_end_from_table(table())
    assert (parameters.rate_hz, parameters.phases, parameters.full_scale_counts) == (12800.0, 3, 8388607)
    third = parameters.current[2]
    assert third.sensor.kind is SensorKind.CURRENT_TRANSFORMER
    assert third.converter.delay_s == 3.0e-6
    assert third.converter.anti_alias_hz == 40000.0
    # spread of the third phase: -0.02 % and -0.1' on -0.010 % and 1.3' at rated load
    ratio, minutes = third.sensor.errors.at(1.0)
    assert ratio == pytest.approx(((1 - 1e-4) * (1 - 2e-4) - 1) * 100, abs=1e-12)
    assert minutes == pytest.approx(1.2, abs=1e-12)


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (("colour",), 1, "front_end.colour"),
        (("current", "sensor", "phase_minute"), [1.0], "front_end.current.sensor.phase_minute"),
        (("voltage", "converter", "Bits"), 24, "front_end.voltage.converter.Bits"),
        (("voltage", "extra"), {}, "front_end.voltage.extra"),
    ],
)
def test_an_unknown_key_is_refused_with_its_path(path: tuple[str, ...], value: object, where: str) -> None:
    broken = table()
    inner = broken
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(FormatError, match=where):
        front_end_from_table(broken)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("rate_hz",), "fast"),
        (("rate_hz",), True),
        (("seed",), 1.5),
        (("phases",), 4),
        (("name",), 3),
        (("current",), 3),
        (("current", "sensor", "kind"), "hamster"),
        (("current", "sensor", "load"), 1.0),
        (("current", "sensor", "load"), [1.0, "x"]),
        (("current", "converter", "delay_s"), [1e-6, 2e-6]),
        (("current", "converter", "bits"), [24, 24, 24]),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_table(path: tuple[str, ...], value: object) -> None:
    broken = table()
    inner = broken
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(FormatError, match="front_end"):
        front_end_from_table(broken)


@pytest.mark.parametrize(
    "path",
    [("rate_hz",), ("current",), ("current", "sensor", "kind"), ("voltage", "converter", "full_scale")],
)
def test_a_missing_key_is_named(path: tuple[str, ...]) -> None:
    broken = table()
    inner = broken
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    with pytest.raises(FormatError, match=".".join(("front_end", *path))):
        front_end_from_table(broken)


def test_values_that_make_no_sensor_are_refused_with_their_table() -> None:
    broken = table()
    broken["current"]["sensor"]["load"] = [1.0, 0.5]
    broken["current"]["sensor"]["ratio_percent"] = [0.0, 0.0]
    broken["current"]["sensor"]["phase_minutes"] = [0.0, 0.0]
    with pytest.raises(MeteringError, match=r"front_end\.current\.sensor: loads"):
        front_end_from_table(broken)


def test_a_plan_without_points_or_with_unknown_keys_is_refused() -> None:
    with pytest.raises(MeteringError, match="without points"):
        calibration_plan_from_table({"load": []})
    with pytest.raises(FormatError, match=r"calibration\.loads"):
        calibration_plan_from_table({"loads": [1.0]})

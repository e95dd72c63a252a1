"""Every readable attribute of every companion model is of the type that its class has, element by element."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from attribute_types import ELEMENTS, ROWS, SECRETS, tags, types
from openami.meter.companion.model import companion_model, companion_names
from openami.meter.companion.objects import companion_device
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FleetSpec, KeySpec, MeterSpec
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.protocols.dlms.encoding.axdr import Data, Tag, decode
from openami.protocols.dlms.interface_classes.interface_object import Access, InterfaceObject
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.quantities.obis import ObisCode

START = datetime(2025, 3, 28, tzinfo=UTC)
NUMBERS = {
    Tag.INTEGER, Tag.UNSIGNED, Tag.LONG, Tag.LONG_UNSIGNED, Tag.DOUBLE_LONG, Tag.DOUBLE_LONG_UNSIGNED,
    Tag.LONG64, Tag.LONG64_UNSIGNED,
}  # fmt: skip
UNITS_OF = {
    1: {27}, 2: {27}, 3: {29}, 4: {29}, 9: {28}, 10: {28}, 13: {255}, 14: {44}, 11: {33}, 12: {35},
    15: {27}, 16: {27}, 90: {33}, 91: {33},
}  # fmt: skip
"""Unit of the momentary value of a quantity, by value group C of the sum; phases are 20, 40, 60 more."""
ENERGY_OF = {27: 30, 28: 31, 29: 32}
_LATER = datetime(2025, 4, 2, tzinfo=UTC)


class Present:
    def now(self) -> datetime:
        return _LATER


def device_of(model: str) -> LogicalDevice:
    spec = MeterSpec(
        "M0001",
        16,
        CurveSpec(CurveKind.HOUSEHOLD, "M0001"),
        keys=KeySpec.of_seed(7, "M0001"),
        companion=model,
    )
    device = companion_device(Fleet(FleetSpec(7, START, (spec,)), Present()), "M0001")
    device.find(ObisCode(0, 0, 1, 0, 0))  # everything due is done, so that profiles have rows
    return device


def assert_elements(words: str, value: Data, where: object) -> None:
    assert value.tag is Tag.STRUCTURE, where
    assert isinstance(value.value, tuple)
    found = [element.tag for element in value.value]
    wanted = [tags(word) for word in words.split()]
    assert len(found) == len(wanted), where
    assert all(tag in allowed for tag, allowed in zip(found, wanted, strict=True)), (where, found)


@pytest.mark.parametrize("model", companion_names())
def test_attributes_have_the_types_of_their_class(model: str) -> None:
    checked = 0
    for item in device_of(model):
        expected = types(item.class_id, item.version)
        rules = {rule.index: rule.access for rule in item.attribute_rules()}
        assert set(rules) == set(expected), item.logical_name
        for index, access in rules.items():
            where = (item.class_id, item.version, str(item.logical_name), index)
            if (item.class_id, index) in SECRETS:
                assert not access & Access.READ, where
                continue
            value = decode(item.read(index))
            assert value.tag in expected[index], (where, value.tag)
            checked += 1
            if (words := ELEMENTS.get((item.class_id, index))) is not None:
                assert_elements(words, value, where)
            if (words := ROWS.get((item.class_id, index))) is not None:
                assert isinstance(value.value, tuple), where
                for row in value.value:
                    assert_elements(words, row, where)
    assert checked > 200


def unit_of(item: InterfaceObject) -> tuple[int, int, Tag]:
    """Scaler, unit and type of the value of a register."""
    scaler_unit = decode(item.read(4 if item.class_id == 5 else 3)).value
    assert isinstance(scaler_unit, tuple)
    scaler, unit = (part.value for part in scaler_unit)
    assert isinstance(scaler, int)
    assert isinstance(unit, int)
    return scaler, unit, decode(item.read(2)).tag


@pytest.mark.parametrize("model", companion_names())
def test_registers_have_units_that_are_those_of_their_quantity(model: str) -> None:
    checked = 0
    for item in device_of(model):
        name = item.logical_name
        if item.class_id not in (3, 4, 5) or (name.a, name.b) != (1, 0):
            continue
        scaler, unit, tag = unit_of(item)
        assert tag in NUMBERS, str(name)
        assert -4 <= scaler <= 3, str(name)
        phase = (name.c - 21) % 20 + 1 if 21 <= name.c <= 80 else name.c
        wanted = UNITS_OF.get(phase)
        if wanted is None or name.e == 124:
            continue  # quadrants, and harmonics, which are counted in per cent
        if name.d in (8, 9, 29):
            wanted = {ENERGY_OF[known] for known in UNITS_OF[phase]}
        elif name.d not in (4, 6, 7, 24, 27):
            continue
        assert unit in wanted, (str(name), unit)
        checked += 1
    assert checked > 15


@pytest.mark.parametrize("model", companion_names())
def test_a_measured_value_is_one_that_a_household_can_have(model: str) -> None:
    """Scaled by its register: 230 V, 50 Hz, power factor 1, no more than 25 kW, 110 A."""
    limits = {35: (200, 260), 44: (49, 51), 33: (0, 110), 27: (0, 25_000), 28: (0, 25_000), 29: (0, 25_000)}
    checked = 0
    for item in device_of(model):
        name = item.logical_name
        if item.class_id != 3 or (name.a, name.b, name.d) != (1, 0, 7) or name.e != 0:
            continue
        scaler, unit, _ = unit_of(item)
        value = decode(item.read(2)).value
        assert isinstance(value, int)
        low, high = limits.get(unit, (0, 1))
        assert low <= value * 10**scaler <= high, (str(name), value, scaler, unit)
        checked += 1
    assert checked >= 7
    assert companion_model(model).phases in (1, 3)

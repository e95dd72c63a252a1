"""The Dutch models are the public GXF profiles: each object, version, attribute, right, type, scaler, column.

Each profile is read as it is published, with what it inherits, and held against the model's list and against
what a served meter says and encodes; nothing of the tool that wrote the lists is used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from openami.meter.companion.model import CompanionModel, ModelObject, companion_model
from openami.meter.companion.objects import companion_device
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FleetSpec, KeySpec, MeterSpec
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.protocols.dlms.apdus.descriptors import CaptureObject
from openami.protocols.dlms.encoding.axdr import Data, Tag, decode, structure
from openami.protocols.dlms.interface_classes.interface_object import Access
from openami.quantities.obis import ObisCode

FILES = {
    "dsmr-4.2.2": "dlmsprofile-dsmr422.json",
    "smr-4.3": "dlmsprofile-smr43.json",
    "smr-5.0": "dlmsprofile-smr500.json",
    "smr-5.1": "dlmsprofile-smr51.json",
    "smr-5.2": "dlmsprofile-smr52.json",
    "smr-5.5": "dlmsprofile-smr55.json",
}
PARENTS = {
    None: None,
    ("DSMR", "4.2.2"): "dsmr-4.2.2",
    ("SMR", "5.0.0"): "smr-5.0",
    ("SMR", "5.1"): "smr-5.1",
    ("SMR", "5.2"): "smr-5.2",
}
RIGHTS = {"R": Access.READ, "W": Access.WRITE, "RW": Access.READ_WRITE}
UNITS = {"W": 27, "VAR": 29, "WH": 30, "A": 33, "V": 35, "%": 56, "S": 7, "COUNT": 255, "UNDEFINED": 255}
"""Unit codes of IEC 62056-6-2; what the profiles call undefined is "no unit"."""
TAGS = {
    "clock_status": Tag.UNSIGNED,
    "scal_unit_type": Tag.STRUCTURE,
    "object_definition": Tag.STRUCTURE,
    "cell_info_type": Tag.STRUCTURE,
    "script": Tag.STRUCTURE,
    "object_list_type": Tag.ARRAY,
    "associated_partners_type": Tag.STRUCTURE,
    "context_name_type": Tag.STRUCTURE,
    "mechanism_name_type": Tag.STRUCTURE,
    "xDLMS_context_type": Tag.STRUCTURE,
} | {tag.name.lower().replace("_", "-"): tag for tag in Tag}
CURRENT_ASSOCIATION = ObisCode(0, 0, 40, 0, 0)


@dataclass(frozen=True, slots=True)
class Published:
    """An object of a profile on one channel."""

    tag: str
    name: ObisCode
    item: dict[str, Any]

    @property
    def attributes(self) -> dict[int, dict[str, Any]]:
        return {int(part["id"]): part for part in self.item["attributes"]}


def profile(folder: Path, stem: str, phases: int) -> dict[str, list[Published]]:
    """Objects by tag, those that are inherited first; an M-Bus object stands for four channels."""
    parent = parent_of(folder, stem)
    found = {} if parent is None else profile(folder, parent, phases)
    for item in objects_of(folder / FILES[stem]):
        found.pop(item["tag"], None)
        if {1: "SP", 3: "PP"}[phases] in item["meterTypes"]:
            found[item["tag"]] = list(published(item))
    return found


def published(item: dict[str, Any]) -> Iterator[Published]:
    obis = item["obis"]
    for channel in range(1, 5) if ".x." in obis else (0,):
        yield Published(item["tag"], named(obis, channel), item)


def named(obis: str, channel: int) -> ObisCode:
    return ObisCode(*(channel if part == "x" else int(part) for part in obis.split(".")))


def tags(folder: Path, stem: str) -> dict[str, dict[str, Any]]:
    """Objects by tag as a profile means them; those that only other profiles have as these do."""
    found: dict[str, dict[str, Any]] = {}
    for file in reversed(FILES.values()):
        found.update((item["tag"], item) for item in objects_of(folder / file))
    chain = [stem]
    while (parent := parent_of(folder, chain[-1])) is not None:
        chain.append(parent)
    for each in reversed(chain):
        found.update((item["tag"], item) for item in objects_of(folder / FILES[each]))
    return found


def objects_of(file: Path) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))["objects"]
    return listed


def parent_of(folder: Path, stem: str) -> str | None:
    inherited = json.loads((folder / FILES[stem]).read_text("utf-8")).get("inherit")
    return PARENTS[None if inherited is None else (inherited["profile"], inherited["version"])]


@pytest.fixture(scope="module")
def profiles(shared_data: Path) -> Path:
    folder = shared_data / "dlms" / "gxf-dlmsprofiles"
    if not folder.is_dir():
        pytest.skip("no GXF profiles beside the project")
    return folder


COUNTED = {
    ("dsmr-4.2.2", 1): (77, 259), ("dsmr-4.2.2", 3): (101, 303),
    ("smr-4.3", 1): (78, 266), ("smr-4.3", 3): (102, 310),
    ("smr-5.0", 1): (130, 492), ("smr-5.0", 3): (154, 536),
    ("smr-5.1", 1): (136, 504), ("smr-5.1", 3): (161, 551),
    ("smr-5.2", 1): (167, 573), ("smr-5.2", 3): (200, 634),
    ("smr-5.5", 1): (170, 581), ("smr-5.5", 3): (204, 645),
}  # fmt: skip
"""Objects and attributes of each profile with what it inherits, M-Bus channels counted."""
CELLS = list(COUNTED)


@pytest.mark.parametrize(("stem", "phases"), CELLS)
def test_every_object_attribute_right_type_and_scaler_of_the_profile_is_in_the_list(
    profiles: Path, stem: str, phases: int
) -> None:
    model = companion_model(f"{stem}-{phases}p")
    listed = {item.logical_name: item for item in model}
    counted = [0, 0]
    for objects in profile(profiles, stem, phases).values():
        for wanted in objects:
            item, attributes = wanted.item, wanted.attributes
            counted[0] += 1
            counted[1] += len(attributes)
            if item["class-id"] == 15:
                assert (item["version"], wanted.name) == (model.association_version, CURRENT_ASSOCIATION)
                continue
            found = listed[wanted.name]
            assert (found.class_id, found.version) == (item["class-id"], item["version"]), wanted.tag
            stated = {index: RIGHTS[part["access"]] for index, part in attributes.items()}
            assert dict(found.access or ()) == stated, wanted.tag
            if item["class-id"] in (1, 3, 4):
                assert found.tag is TAGS[attributes[2]["datatype"]], wanted.tag
            if item["class-id"] in (3, 4):
                assert found.scaler_unit == scaler_unit(attributes[3]), wanted.tag
            if item["class-id"] == 7:
                assert_profile(found, wanted, tags(profiles, stem))
    assert tuple(counted) == COUNTED[stem, phases]


def scaler_unit(attribute: dict[str, Any]) -> tuple[int, int]:
    scaler, unit = (attribute.get("value") or "0, UNDEFINED").split(",")
    return int(scaler), UNITS[unit.strip().upper()]


def assert_profile(found: ModelObject, wanted: Published, known: dict[str, dict[str, Any]]) -> None:
    attributes = wanted.attributes
    for index, value in ((4, found.period_s), (8, found.entries)):
        stated = attributes[index].get("value")
        assert stated is None or int(stated) == value, (wanted.tag, index)
    text = attributes[3].get("value")
    if text:
        assert list(found.capture) == list(columns(text, wanted, known)), wanted.tag


def columns(text: str, wanted: Published, known: dict[str, dict[str, Any]]) -> Iterator[CaptureObject]:
    """Columns of a profile; of an M-Bus profile its own channel, else all four channels."""
    own = wanted.name.b if ".x." in wanted.item["obis"] else 0
    for entry in text.split("|"):
        tag, attribute = (part.strip() for part in entry.split(",")[:2])
        item = known[tag]
        channels = ((own,) if own else range(1, 5)) if ".x." in item["obis"] else (0,)
        for channel in channels:
            yield CaptureObject(item["class-id"], named(item["obis"], channel), int(attribute))


def served(model: CompanionModel) -> Any:
    start = datetime(2025, 3, 28, tzinfo=UTC)
    spec = MeterSpec(
        "M0001",
        16,
        CurveSpec(CurveKind.HOUSEHOLD, "M0001"),
        keys=KeySpec.of_seed(7, "M0001"),
        companion=model.name,
    )

    class Present:
        def now(self) -> datetime:
            return start + timedelta(days=2)

    return companion_device(Fleet(FleetSpec(7, start, (spec,)), Present()), "M0001")


@pytest.mark.parametrize(("stem", "phases"), CELLS)
def test_a_served_meter_has_every_attribute_of_the_profile_in_its_type(
    profiles: Path, stem: str, phases: int
) -> None:
    model = companion_model(f"{stem}-{phases}p")
    device = served(model)
    checked = 0
    for objects in profile(profiles, stem, phases).values():
        for wanted in objects:
            if wanted.item["class-id"] == 15:
                continue
            item = device.find(wanted.name)
            assert (item.class_id, item.version) == (wanted.item["class-id"], wanted.item["version"])
            for index, attribute in wanted.attributes.items():
                value = decode(item.read(index))
                assert value.tag is TAGS[attribute["datatype"]], (wanted.tag, index, value)
                assert item.rule(index).access & RIGHTS[attribute["access"]] == RIGHTS[attribute["access"]]
                checked += 1
                if wanted.item["class-id"] in (3, 4) and index == 3 and attribute.get("value"):
                    scaler, unit = scaler_unit(attribute)
                    assert value == structure(Data(Tag.INTEGER, scaler), Data(Tag.ENUM, unit)), wanted.tag
    assert checked > 200

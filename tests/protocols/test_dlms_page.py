"""The conformance page says what the code has: classes, versions, models."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

from openami.meter.companion.model import companion_names
from openami.protocols.dlms import interface_classes
from openami.protocols.dlms.interface_classes.class_names import CLASS_NAMES
from openami.protocols.dlms.interface_classes.interface_object import InterfaceObject

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dlms.md"


def below(kind: type[InterfaceObject]) -> Iterator[type[InterfaceObject]]:
    for one in kind.__subclasses__():
        yield one
        yield from below(one)


def test_the_table_of_classes_is_that_of_the_code() -> None:
    for module in pkgutil.iter_modules(interface_classes.__path__):
        importlib.import_module(f"{interface_classes.__name__}.{module.name}")
    ours = [one for one in below(InterfaceObject) if one.__module__.startswith(interface_classes.__name__)]
    there = {(one.class_id, one.version) for one in ours if hasattr(one, "class_id")}
    page = PAGE.read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| (\d) \| ([^|]+) \|", page, re.MULTILINE)
    assert {(int(class_id), int(version)) for class_id, version, _ in rows} == there
    assert all(CLASS_NAMES[int(class_id)] == name for class_id, _, name in rows)
    said = re.search(r"(\d+) classes in (\d+) versions", page)
    assert said is not None
    assert (int(said[1]), int(said[2])) == (len({class_id for class_id, _ in there}), len(there))


def test_the_table_of_models_is_that_of_the_code() -> None:
    named = set(re.findall(r"^\| `([^`]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE))
    assert named == {name.rsplit("-", 1)[0] for name in companion_names()}

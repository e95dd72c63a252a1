"""Write the object lists of Dutch meters as compact tables, from profiles of the GXF platform.

    tools/write_companion_models.py DIRECTORY-WITH-dlmsprofile-FILES src/openami/meter/companion/lists

Facts taken: class, version, logical name, attributes with type and access, scaler and unit, captured objects,
periods and sizes, and which meters (single- or three-phase) have an object. Source: OSGP
open-smart-grid-platform (Apache-2.0), osgp/protocol-adapter-dlms/osgp-dlms/src/main/resources/dlmsprofiles.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

MODELS = {
    "dlmsprofile-dsmr422.json": ("dsmr-4.2.2", "DSMR 4.2.2"),
    "dlmsprofile-smr43.json": ("smr-4.3", "SMR 4.3"),
    "dlmsprofile-smr500.json": ("smr-5.0", "SMR 5.0"),
    "dlmsprofile-smr51.json": ("smr-5.1", "SMR 5.1"),
    "dlmsprofile-smr52.json": ("smr-5.2", "SMR 5.2"),
    "dlmsprofile-smr55.json": ("smr-5.5", "SMR 5.5"),
}
UNITS = {"WH": 30, "W": 27, "VAR": 29, "A": 33, "V": 35, "S": 7, "%": 56, "COUNT": 255, "UNDEFINED": 255}
PARENTS = {("DSMR", "4.2.2"): "dsmr-4.2.2", ("SMR", "5.0.0"): "smr-5.0", ("SMR", "5.1"): "smr-5.1",
           ("SMR", "5.2"): "smr-5.2"}  # fmt: skip
PHASES = {"SP": "1", "PP": "3"}
SCALARS = {
    "double-long-unsigned", "long-unsigned", "unsigned", "enum", "octet-string", "bit-string", "structure",
    "array", "boolean", "long", "integer",
}  # fmt: skip


def short(obis: str) -> str:
    """``0.x.24.1.0.255`` as ``0-x:24.1.0``."""
    a, b, c, d, e, f = obis.split(".")
    return f"{a}-{b}:{c}.{d}.{e}" + ("" if f == "255" else f"*{f}")


def captured(value: str, known: dict[str, dict[str, Any]]) -> list[str]:
    """Capture objects ``TAG,attribute|...`` as ``class logical-name attribute``."""
    found = []
    for entry in value.split("|"):
        tag, _, attribute = entry.strip().partition(",")
        item = known.get(tag.strip())
        if item is None:
            raise SystemExit(f"a profile captures {tag!r}, which no list has")
        found.append(f"{item['class-id']} {short(item['obis'])} {int(attribute.split(',')[0])}")
    return found


def row(item: dict[str, Any], known: dict[str, dict[str, Any]]) -> str:
    """One object as one line."""
    attributes = {int(part["id"]): part for part in item["attributes"]}
    access = " ".join(f"{index}{part['access'].lower()}" for index, part in sorted(attributes.items()))
    phases = "".join(PHASES[kind] for kind in item["meterTypes"])
    fields = [
        f'class = "{item["class-id"]}:{item["version"]}"',
        f'name = "{short(item["obis"])}"',
        f'phases = "{phases}"',
        f'access = "{access}"',
    ]
    class_id = item["class-id"]
    if class_id in (1, 3, 4):
        kind = attributes[2]["datatype"]
        if kind not in SCALARS:
            raise SystemExit(f"{item['tag']}: type {kind}")
        fields.append(f'type = "{kind}"')
    if class_id in (3, 4):
        text = attributes[3].get("value") or "0, UNDEFINED"
        scaler, unit = (part.strip() for part in text.split(","))
        fields.append(f"scaler_unit = [{int(scaler)}, {UNITS[unit.upper()]}]")
    if class_id == 7:
        columns = attributes[3].get("value") if 3 in attributes else None
        if columns:
            listed = ", ".join(f'"{column}"' for column in captured(columns, known))
            fields.append(f"capture = [{listed}]")
        period = attributes.get(4, {}).get("value")
        entries = attributes.get(8, {}).get("value")
        fields.append(f"period = {int(period or 0)}")
        fields.append(f"entries = {int(entries or 100)}")
    fields.append(f'what = "{item["tag"].lower().replace("_", " ")}"')
    return "    { " + ", ".join(fields) + " },"


def main(source: Path, target: Path) -> None:
    """Write all models."""
    known: dict[str, dict[str, Any]] = {}
    for file in MODELS:
        for item in json.loads((source / file).read_text("utf-8"))["objects"]:
            known.setdefault(item["tag"], item)
    for file, (name, title) in MODELS.items():
        document = json.loads((source / file).read_text("utf-8"))
        inherit = document.get("inherit")
        own = dict(known)
        own.update({item["tag"]: item for item in document["objects"]})
        parent = PARENTS[inherit["profile"], inherit["version"]] if inherit else "dutch-basics"
        lines = [
            "# Written by tools/write_companion_models.py; edit that, not this.",
            f'title = "{title}"',
            'source = "facts of OSGP open-smart-grid-platform, dlmsprofiles/' + file + ' (Apache-2.0)"',
            f'includes = ["{parent}"]',
            "",
            "object = [",
            *(row(item, own) for item in document["objects"] if item["class-id"] != 15),
            "]",
        ]
        versions = [item["version"] for item in document["objects"] if item["class-id"] == 15]
        if versions:
            lines.insert(4, f"association_version = {versions[0]}")
        (target / f"{name}.toml").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

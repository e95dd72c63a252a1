"""Hands encoded attributes to the object model of gurux and prints, class by class, what it made of them.

Usage: gurux_objects.py FILE. FILE is a JSON array of {class, version, name, attributes {number: hex}};
printed is a JSON object by "class:version" of {attributes, methods (as gurux counts them; null: not known),
taken, refused {number: error}}.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

from gurux_dlms import GXByteBuffer, GXDLMSClient
from gurux_dlms._GXObjectFactory import _GXObjectFactory
from gurux_dlms.enums import Authentication, InterfaceType, ObjectType
from gurux_dlms.internal._GXCommon import _GXCommon
from gurux_dlms.internal._GXDataInfo import _GXDataInfo
from gurux_dlms.objects import GXDLMSObject

client = GXDLMSClient(True, 1, 1, Authentication.NONE, None, InterfaceType.WRAPPER)
found: dict[str, dict[str, object]] = {}
for item in json.loads(Path(sys.argv[1]).read_text("utf-8")):
    row = found.setdefault(
        f"{item['class']}:{item['version']}",
        {"attributes": None, "methods": None, "taken": 0, "refused": {}},
    )
    try:
        made = _GXObjectFactory.createObject(ObjectType(item["class"]))
    except ValueError:
        continue
    if type(made) is GXDLMSObject:
        continue
    made.version, made.logicalName = item["version"], item["name"]
    row["attributes"], row["methods"] = made.getAttributeCount(), made.getMethodCount()
    for index, octets in sorted(item["attributes"].items(), key=lambda pair: (pair[0] == "2", int(pair[0]))):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                value = _GXCommon.getData(client.settings, GXByteBuffer(bytes.fromhex(octets)), _GXDataInfo())
                client.updateValue(made, int(index), value)
            row["taken"] += 1
        except Exception as error:
            row["refused"][index] = repr(error)
print(json.dumps(found))

"""How objects reach other objects of their meter: values to monitor, capture and push, scripts to run.

An object is handed `Find`, never the whole device, and works with the access that the classes themselves
give (IEC 62056-6-2: what a script may do is a matter of the meter, not of the client that started it).
Rule of this file: what a client wrote into a reference can only end in a value or in `AccessError`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from openami.protocols.dlms.apdus.descriptors import CaptureObject
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import Data, Tag, decode, structure
from openami.protocols.dlms.interface_classes.interface_object import Access, InterfaceObject
from openami.protocols.dlms.interface_classes.stored_object import items, number, octets
from openami.quantities.errors import OpenAmiError
from openami.quantities.obis import ObisCode

Find: TypeAlias = Callable[[ObisCode], InterfaceObject | None]
"""The object of a logical name in the same logical device."""

SCRIPT_TABLE_CLASS: Final = 9
_EXECUTE: Final = 1
NOWHERE: Final = ObisCode(0, 0, 0, 0, 0, 0)
NO_SCRIPT: Final = structure(
    Data(Tag.OCTET_STRING, NOWHERE.to_bytes()),
    Data(Tag.LONG_UNSIGNED, 0),
)


class RunScript(Protocol):
    """Runs a script of the meter."""

    def __call__(self, table: ObisCode, selector: int) -> AccessResult:
        """Run script ``selector`` of the script table ``table``."""
        ...


def reference(value: Data) -> CaptureObject:
    """Capture object of a structure of class, logical name, attribute and, where it is there, element."""
    parts = items(value)
    element = number(parts[3]) if len(parts) > 3 else 0
    return CaptureObject(number(parts[0]), ObisCode.from_bytes(octets(parts[1])), number(parts[2]), element)


def find_object(find: Find, class_id: int, logical_name: ObisCode) -> InterfaceObject:
    """The object; raises `AccessError` where there is none of that class."""
    found = find(logical_name)
    if found is None:
        raise AccessError(AccessResult.OBJECT_UNDEFINED, where=str(logical_name))
    if found.class_id != class_id:
        raise AccessError(AccessResult.OBJECT_CLASS_INCONSISTENT, where=str(logical_name))
    return found


def read_value(find: Find, source: CaptureObject) -> Data:
    """The value that a reference names; element ``data_index`` of it where that is not 0.

    Raises
    ------
    AccessError
        There is no such value, or nobody may read it.
    """
    found = find_object(find, source.class_id, source.logical_name)
    if not found.rule(source.attribute).access & Access.READ:
        raise AccessError(AccessResult.READ_WRITE_DENIED, where=str(source.logical_name))
    value = decode(found.read(source.attribute))
    if source.data_index == 0:
        return value
    parts = items(value)
    if source.data_index > len(parts):
        raise AccessError(
            AccessResult.OBJECT_UNDEFINED, where=f"{source.logical_name} element {source.data_index}"
        )
    return parts[source.data_index - 1]


def read_number(find: Find, source: CaptureObject) -> int | None:
    """The number that a reference names; None where it names none at present."""
    try:
        value = read_value(find, source).value
    except OpenAmiError:
        return None
    return value if isinstance(value, int) else None


def script_of(value: Data) -> tuple[ObisCode, int]:
    """Script table and selector of an ``action_item``."""
    table, selector = items(value)
    return ObisCode.from_bytes(octets(table)), number(selector)


def script_runner(find: Find) -> RunScript:
    """Runs scripts by their tables in the same logical device; a script that fails says so and no more."""

    def run(table: ObisCode, selector: int) -> AccessResult:
        if selector == 0 or table == NOWHERE:
            return AccessResult.SUCCESS
        try:
            found = find_object(find, SCRIPT_TABLE_CLASS, table)
            found.invoke(_EXECUTE, Data(Tag.LONG_UNSIGNED, selector))
        except AccessError as refused:
            return refused.result
        except OpenAmiError:
            return AccessResult.OTHER_REASON
        return AccessResult.SUCCESS

    return run

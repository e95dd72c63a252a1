"""Script table, class 9 version 0 (IEC 62056-6-2 clause 4.5.2): what the meter does at one word.

    scripts  array { script_identifier long-unsigned,
                     array { service_id enum (1 write, 2 execute), class_id, logical_name, index integer,
                             parameter } }

Script 0 is reserved: it does nothing. Rule of this file: a script that runs is not started again by what it
does, so that scripts cannot go round.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import Data
from openami.protocols.dlms.interface_classes.interface_object import Access
from openami.protocols.dlms.interface_classes.object_reference import Find, find_object
from openami.protocols.dlms.interface_classes.stored_object import (
    NO_PRESET,
    State,
    StoredAttribute,
    StoredObject,
    items,
    number,
    octets,
)
from openami.protocols.dlms.interface_classes.value_types import (
    INTEGER,
    LOGICAL_NAME,
    LONG_UNSIGNED,
    Anything,
    ListOf,
    enumeration,
    record,
)
from openami.quantities.obis import ObisCode

_WRITE = 1
_NULL_SCRIPT = 0
_ACTION = record(enumeration(2, 1), LONG_UNSIGNED, LOGICAL_NAME, INTEGER, Anything())
_SCRIPTS = ListOf(record(LONG_UNSIGNED, ListOf(_ACTION, 32)), 64)


class ScriptTable(StoredObject):
    """Scripts by number.

    Invariant: ``_running`` is true exactly while one of its scripts runs.

    Parameters
    ----------
    find:
        The objects that scripts write to and whose methods they run.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_find", "_running")

    class_id: ClassVar[int] = 9
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (StoredAttribute(2, "scripts", _SCRIPTS),)
    methods: ClassVar[tuple[int, ...]] = (1,)

    def __init__(
        self,
        logical_name: ObisCode,
        find: Find,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._find = find
        self._running = False

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``execute``: run all actions of a script; the first that is refused ends it (`AccessError`)."""
        if index != 1:
            return super().invoke(index, parameter)
        wanted = number(self.parameter(parameter, LONG_UNSIGNED, "execute"))
        if wanted == _NULL_SCRIPT:
            return None
        for script in items(self.current(2)):
            identifier, actions = items(script)
            if number(identifier) == wanted:
                self._run(items(actions))
                return None
        raise AccessError(AccessResult.OBJECT_UNDEFINED, where=f"{self.logical_name} script {wanted}")

    def _run(self, actions: tuple[Data, ...]) -> None:
        if self._running:
            raise AccessError(AccessResult.TEMPORARY_FAILURE, where=f"{self.logical_name} is running")
        self._running = True
        try:
            for action in actions:
                self._act(*items(action))
        finally:
            self._running = False

    def _act(self, service: Data, class_id: Data, name: Data, index: Data, parameter: Data) -> None:
        found = find_object(self._find, number(class_id), ObisCode.from_bytes(octets(name)))
        if number(service) == _WRITE:
            if not found.rule(number(index)).access & Access.WRITE:
                raise AccessError(AccessResult.READ_WRITE_DENIED, where=str(found.logical_name))
            found.write(number(index), parameter)
        else:
            found.invoke(number(index), parameter)

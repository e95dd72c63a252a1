"""Arbitrator, class 68 version 0 (IEC 62056-6-2 clause 4.5.12): who of several actors decides.

    actions                     array of action_item
    permissions_table           array of bit-string: of each actor, a bit for each action
    weightings_table            array of array of long-unsigned: of each actor, a weight for each action
    most_recent_requests_table  array of bit-string: what each actor asked for last
    last_outcome                unsigned: number of the action decided on, from 1; 0 for none

An actor's request counts where the permissions let it ask; the action whose sum of weights is larger than
every other one's is decided on and run. Where no sum is the largest nothing is decided, and the last outcome
stands. Rule of this file: nobody's request counts for an action that the permissions deny.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import BitString, Data, Tag, array
from openami.protocols.dlms.interface_classes.object_reference import RunScript, script_of
from openami.protocols.dlms.interface_classes.stored_object import (
    NO_PRESET,
    State,
    StoredAttribute,
    StoredObject,
    items,
    number,
    read_only,
)
from openami.protocols.dlms.interface_classes.value_types import (
    LONG_UNSIGNED,
    SCRIPT,
    UNSIGNED,
    Bits,
    ListOf,
    Whole,
    record,
)
from openami.quantities.obis import ObisCode

_MOST = 32
_BITS = Bits(0, _MOST)
_REQUEST = record(UNSIGNED, _BITS)


class Arbitrator(StoredObject):
    """Decides between the requests of several actors.

    Parameters
    ----------
    run:
        Runs the scripts.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_run",)

    class_id: ClassVar[int] = 68
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "actions", ListOf(SCRIPT, _MOST)),
        StoredAttribute(3, "permissions_table", ListOf(_BITS, _MOST)),
        StoredAttribute(4, "weightings_table", ListOf(ListOf(LONG_UNSIGNED, _MOST), _MOST)),
        read_only(5, "most_recent_requests_table", ListOf(_BITS, _MOST)),
        read_only(6, "last_outcome", UNSIGNED),
    )
    methods: ClassVar[tuple[int, ...]] = (1, 2)

    def __init__(
        self,
        logical_name: ObisCode,
        run: RunScript,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._run = run

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``request_action`` (actor from 1, list of actions) and ``reset``; raises `AccessError`."""
        match index:
            case 1:
                actor, wanted = items(self.parameter(parameter, _REQUEST, "request_action"))
                self._request(number(actor), wanted)
            case 2:
                self.parameter(parameter, Whole(Tag.INTEGER, 0, 0), "reset")
                self.keep(5, array(()))
                self.keep(6, Data(Tag.UNSIGNED, 0))
            case _:
                return super().invoke(index, parameter)
        return None

    def _request(self, actor: int, wanted: Data) -> None:
        permissions = items(self.current(3))
        if not 1 <= actor <= len(permissions):
            raise AccessError(AccessResult.READ_WRITE_DENIED, where=f"{self.logical_name} actor {actor}")
        requests = list(items(self.current(5)))
        requests += [Data(Tag.BIT_STRING, BitString(0, b""))] * (len(permissions) - len(requests))
        requests[actor - 1] = wanted
        self.keep(5, array(requests))
        outcome = self._outcome(permissions, requests)
        if outcome:
            self.keep(6, Data(Tag.UNSIGNED, outcome))
            self._run(*script_of(items(self.current(2))[outcome - 1]))

    def _outcome(self, permissions: tuple[Data, ...], requests: list[Data]) -> int:
        weights = items(self.current(4))
        sums = [0] * len(items(self.current(2)))
        for actor, request in enumerate(requests):
            weighted = items(weights[actor]) if actor < len(weights) else ()
            for action in range(len(sums)):
                asked = (
                    _set(request, action) and actor < len(permissions) and _set(permissions[actor], action)
                )
                if asked and action < len(weighted):
                    sums[action] += number(weighted[action])
        largest = max(sums, default=0)
        return sums.index(largest) + 1 if largest and sums.count(largest) == 1 else 0


def _set(bits: Data, at: int) -> bool:
    held = bits.value
    return isinstance(held, BitString) and at < held.length and bool(held.octets[at // 8] & 0x80 >> at % 8)

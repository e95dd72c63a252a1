"""The supply relay moves along the transitions of its control mode and never otherwise.

The letters of the transitions and which modes have which: as the Blue Book, clause 4.5.8, is rendered in
public documentation of the class (a meter's manual for the transitions, an open class library for the modes).
"""

from __future__ import annotations

from itertools import product

import pytest

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.interface_classes.disconnect_control import (
    ControlState,
    DisconnectControl,
    Trigger,
    next_state,
)
from openami.protocols.dlms.interface_classes.interface_object import Access
from openami.quantities.obis import ObisCode

RELAY = ObisCode(0, 0, 96, 3, 10)
NOTHING = Data(Tag.INTEGER, 0)
OFF, ON, READY = ControlState.DISCONNECTED, ControlState.CONNECTED, ControlState.READY_FOR_RECONNECTION
LETTERS = {
    (Trigger.REMOTE_RECONNECT, OFF, ON): "a",
    (Trigger.REMOTE_DISCONNECT, ON, OFF): "b",
    (Trigger.REMOTE_DISCONNECT, READY, OFF): "c",
    (Trigger.REMOTE_RECONNECT, OFF, READY): "d",
    (Trigger.MANUAL_RECONNECT, READY, ON): "e",
    (Trigger.MANUAL_DISCONNECT, ON, READY): "f",
    (Trigger.LOCAL_DISCONNECT, ON, READY): "g",
    (Trigger.LOCAL_RECONNECT, READY, ON): "h",
}
MODES = {0: "", 1: "bcdefg", 2: "abcefg", 3: "bcdeg", 4: "abceg", 5: "bcdefgh", 6: "bcdegh"}


class Contact:
    """A contact that is open or closed and knows nothing of readiness."""

    def __init__(self) -> None:
        self.closed = True
        self.moves = 0

    def state(self) -> ControlState:
        return ON if self.closed else OFF

    def switch(self, state: ControlState) -> None:
        self.moves += self.closed is not (state is ON)
        self.closed = state is ON


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_has_its_transitions_and_no_other(mode: int) -> None:
    found = {
        LETTERS[trigger, before, after]
        for trigger, before in product(Trigger, ControlState)
        if (after := next_state(mode, before, trigger)) is not before
    }
    assert "".join(sorted(found)) == MODES[mode]


@pytest.mark.parametrize("mode", range(1, 7))
def test_every_walk_of_six_triggers_ends_where_the_table_says(mode: int) -> None:
    for walk in product(Trigger, repeat=4):
        contact = Contact()
        control = DisconnectControl(RELAY, contact, mode)
        state = ON
        for trigger in walk:
            if trigger <= 2:
                control.invoke(int(trigger), NOTHING)
            else:
                control.trigger(trigger)
            allowed = [
                after
                for (each, before, after), letter in LETTERS.items()
                if each is trigger and before is state and letter in MODES[mode]
            ]
            state = allowed[0] if allowed else state
            assert control.read(3) == bytes((Tag.ENUM, state))
            assert control.read(2) == bytes((Tag.BOOLEAN, state is ON))
            assert contact.closed is (state is ON)


def test_the_mode_is_set_where_it_is_kept_and_zero_leaves_the_supply_on() -> None:
    contact = Contact()
    fixed = DisconnectControl(RELAY, contact)
    assert fixed.rule(4).access is Access.READ
    with pytest.raises(AccessError) as refused:
        fixed.write(4, Data(Tag.ENUM, 1))
    assert refused.value.result is AccessResult.READ_WRITE_DENIED
    kept: dict[int, Data] = {}
    control = DisconnectControl(RELAY, contact, kept=kept)
    for wrong in (Data(Tag.ENUM, 7), Data(Tag.UNSIGNED, 1)):
        with pytest.raises(AccessError) as refused:
            control.write(4, wrong)
        assert refused.value.result is AccessResult.TYPE_UNMATCHED
    control.write(4, Data(Tag.ENUM, 5))
    control.trigger(Trigger.LOCAL_DISCONNECT)
    again = DisconnectControl(RELAY, contact, kept=kept)  # made anew over the same state
    assert again.read(4) == bytes.fromhex("1605")
    assert again.read(3) == bytes.fromhex("1602")
    again.write(4, Data(Tag.ENUM, 0))
    assert (again.read(2), again.read(3)) == (bytes.fromhex("0301"), bytes.fromhex("1601"))
    for method in (1, 2):
        with pytest.raises(AccessError) as refused:
            again.invoke(method, NOTHING)
        assert refused.value.result is AccessResult.READ_WRITE_DENIED
    assert contact.moves == 2


def test_a_contact_that_somebody_else_closed_is_connected() -> None:
    contact = Contact()
    control = DisconnectControl(RELAY, contact, 1)
    control.trigger(Trigger.MANUAL_DISCONNECT)
    contact.closed = True
    assert control.state is ON
    contact.closed = False
    assert control.state is OFF
    control.invoke(2, NOTHING)
    assert control.state is READY
    control.invoke(1, NOTHING)
    assert control.state is OFF

"""What is done once is done once: blocks that come again, and blocks that belong to another request.

The first block of a general-block-transfer comes again where what answered it was lost. Blocks of a service
carry the invoke id of the request that they belong to (IEC 62056-5-3, 7.3; as recalled).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from openami.protocols.dlms.apdus.acse import AssociationRequest
from openami.protocols.dlms.apdus.action import (
    ActionRequest,
    ActionRequestBlock,
    ActionRequestFirst,
    ActionRequestNext,
)
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.descriptors import Attribute, Method
from openami.protocols.dlms.apdus.general_block import TransferBlock, read_block
from openami.protocols.dlms.apdus.get import GetRequest, GetRequestNext
from openami.protocols.dlms.apdus.initiate import SUPPORTED, Conformance, InitiateRequest
from openami.protocols.dlms.apdus.set import SetRequest, SetRequestBlock, SetRequestFirst
from openami.protocols.dlms.encoding.axdr import Data, Tag, encode
from openami.protocols.dlms.encoding.octets import Reader
from openami.protocols.dlms.framing.wrapper import Frame, WrapperDecoder
from openami.protocols.dlms.interface_classes.data import DataObject
from openami.protocols.dlms.interface_classes.disconnect_control import ControlState, DisconnectControl
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.obis import ObisCode

RELAY = Method(70, ObisCode(0, 0, 96, 3, 10), 1)
NOTE = Attribute(1, ObisCode(0, 0, 96, 13, 0), 2)
PASSWORD = b"12345678"


@dataclass
class Switched:
    """A relay that counts how often it was told to switch; it never does, so each command is one."""

    told: list[ControlState] = field(default_factory=list)

    def state(self) -> ControlState:
        return ControlState.CONNECTED

    def switch(self, state: ControlState) -> None:
        self.told.append(state)


class Meter:
    """A meter with a relay and a text; what it is asked inside an association."""

    def __init__(self, conformance: int = SUPPORTED, max_pdu: int = 64) -> None:
        self.relay, self.written, self.read = Switched(), [], 0
        note = DataObject(NOTE.logical_name, self.note, self.written.append)
        relay = DisconnectControl(RELAY.logical_name, self.relay, 4)
        policy = AssociationPolicy(1, Mechanism.LOW, PASSWORD)
        self.session = ServerSession({7: LogicalDevice([note, relay], [policy])})
        initiate = InitiateRequest(conformance, max_pdu).to_bytes()
        self.ask(AssociationRequest(initiate, mechanism=1, secret=PASSWORD).to_bytes())

    def note(self) -> Data:
        self.read += 1
        return Data(Tag.OCTET_STRING, bytes((self.read,)) * 200)

    def ask(self, apdu: bytes) -> list[bytes]:
        frames = WrapperDecoder().feed(self.session.receive(Frame(1, 7, apdu).to_bytes()))
        return [frame.apdu for frame in frames if isinstance(frame, Frame)]


def first_block(apdu: bytes) -> bytes:
    return TransferBlock(True, False, 1, 1, 0, apdu).to_bytes()


def disconnect(invoke: int = 0xC1) -> bytes:
    return ActionRequest(invoke, RELAY, Data(Tag.INTEGER, 0)).to_bytes()


# --- general blocks -----------------------------------------------------------------------------------


def test_an_action_whose_only_block_is_repeated_is_done_once_and_answered_again() -> None:
    meter = Meter()
    answer = meter.ask(first_block(disconnect()))
    block = read_block(Reader(answer[0], 1))
    assert (block.last, block.number, block.acknowledged) == (True, 1, 1)
    assert block.data.hex() == "c701c10000"
    for _ in range(3):
        assert meter.ask(first_block(disconnect())) == answer
    assert meter.relay.told == [ControlState.DISCONNECTED]


def test_the_same_action_under_another_invoke_id_or_after_the_answer_was_heard_is_done_again() -> None:
    meter = Meter()
    meter.ask(first_block(disconnect()))
    meter.ask(first_block(disconnect(0xC2)))
    assert len(meter.relay.told) == 2
    assert meter.ask(TransferBlock(True, False, 1, 2, 1, b"").to_bytes()) == []  # the answer was heard
    meter.ask(first_block(disconnect(0xC2)))
    assert len(meter.relay.told) == 3
    meter.ask(disconnect(0xC2))  # outside of blocks: another transfer altogether
    meter.ask(first_block(disconnect(0xC2)))
    assert len(meter.relay.told) == 5


def test_a_set_whose_only_block_is_repeated_is_done_once() -> None:
    meter = Meter()
    request = SetRequest(0xC1, NOTE, Data(Tag.OCTET_STRING, b"new")).to_bytes()
    assert meter.ask(first_block(request)) == meter.ask(first_block(request))
    assert len(meter.written) == 1


def test_a_get_whose_only_block_is_repeated_is_read_again() -> None:
    """Who never changes his invoke id reads twice by the same octets, and must not hear an old value."""
    meter = Meter()
    answers = [meter.ask(first_block(GetRequest(0xC1, NOTE).to_bytes())) for _ in range(2)]
    assert meter.read == 2
    assert answers[0] != answers[1]


def test_the_last_of_many_blocks_repeated_does_nothing_twice() -> None:
    meter = Meter()
    request = disconnect()
    one = TransferBlock(False, False, 1, 1, 0, request[:5]).to_bytes()
    two = TransferBlock(True, False, 1, 2, 1, request[5:]).to_bytes()
    acknowledgement = meter.ask(one)
    assert meter.ask(one) == acknowledgement
    answer = meter.ask(two)
    assert [meter.ask(two), meter.ask(two)] == [answer, answer]
    assert meter.relay.told == [ControlState.DISCONNECTED]


# --- blocks of a service ------------------------------------------------------------------------------


OWN_BLOCKS = int(SUPPORTED) & ~int(Conformance.GENERAL_BLOCK_TRANSFER)


def test_the_next_block_of_get_is_given_to_the_request_that_began_it_only() -> None:
    meter = Meter(OWN_BLOCKS)
    (first,) = meter.ask(GetRequest(0xC1, NOTE).to_bytes())
    assert first[:3].hex() == "c402c1"
    assert meter.ask(GetRequestNext(0xC2, 1).to_bytes()) == [bytes.fromhex("c402c201000000010110")]
    assert meter.ask(GetRequestNext(0xC1, 1).to_bytes()) == [bytes.fromhex("c402c101000000010110")]


def test_only_the_number_of_the_invoke_id_counts() -> None:
    """Priority and service class may change from block to block, the number may not."""
    meter = Meter(OWN_BLOCKS)
    meter.ask(GetRequest(0xC1, NOTE).to_bytes())
    (second,) = meter.ask(GetRequestNext(0x41, 1).to_bytes())
    assert second[:8].hex() == "c402410000000002"


def test_a_block_of_set_under_another_invoke_id_ends_the_set() -> None:
    meter = Meter(OWN_BLOCKS)
    value = encode(Data(Tag.OCTET_STRING, b"new"))
    assert meter.ask(SetRequestFirst(0xC1, NOTE, False, 1, value[:2]).to_bytes()) == [
        bytes.fromhex("c502c100000001")
    ]
    assert meter.ask(SetRequestBlock(0xC2, True, 2, value[2:]).to_bytes()) == [
        bytes.fromhex("c503c21200000002")
    ]
    assert meter.ask(SetRequestBlock(0xC1, True, 2, value[2:]).to_bytes()) == [
        bytes.fromhex("c503c11200000002")
    ]
    assert meter.written == []


def test_a_block_of_action_under_another_invoke_id_ends_the_action() -> None:
    meter = Meter(OWN_BLOCKS)
    parameter = encode(Data(Tag.INTEGER, 0))
    meter.ask(ActionRequestFirst(0xC1, RELAY, False, 1, parameter[:1]).to_bytes())
    assert meter.ask(ActionRequestBlock(0xC2, True, 2, parameter[1:]).to_bytes()) == [
        bytes.fromhex("c701c21000")
    ]
    assert meter.ask(ActionRequestBlock(0xC1, True, 2, parameter[1:]).to_bytes()) == [
        bytes.fromhex("c701c11000")
    ]
    assert meter.relay.told == []
    assert meter.ask(ActionRequestNext(0xC1, 1).to_bytes()) == [bytes.fromhex("c701c11000")]


@pytest.mark.parametrize("invoke", [0xC1, 0x41, 0x81])
def test_blocks_under_one_number_are_put_together(invoke: int) -> None:
    meter = Meter(OWN_BLOCKS)
    value = encode(Data(Tag.OCTET_STRING, b"new"))
    meter.ask(SetRequestFirst(0xC1, NOTE, False, 1, value[:2]).to_bytes())
    (answer,) = meter.ask(SetRequestBlock(invoke, True, 2, value[2:]).to_bytes())
    assert answer.hex() == f"c503{invoke:02x}0000000002"
    assert meter.written == [Data(Tag.OCTET_STRING, b"new")]

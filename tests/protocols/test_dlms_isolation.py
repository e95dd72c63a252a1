"""What one client does changes nothing of what another one hears, on one connection or in datagrams."""

from __future__ import annotations

import random

import pytest

from dlms_fuzz_lines import constant_devices
from dlms_mutation import DEVICE, LOW, PASSWORD, REQUESTS, mutated
from openami.protocols.dlms.apdus.acse import AssociationRequest
from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.apdus.general_block import TransferBlock
from openami.protocols.dlms.apdus.get import GetRequest, GetRequestList, GetRequestNext
from openami.protocols.dlms.apdus.initiate import PROPOSED, PROPOSED_FOR_WINDOWS, SUPPORTED, InitiateRequest
from openami.protocols.dlms.apdus.set import SetRequestBlock, SetRequestFirst
from openami.protocols.dlms.framing.wrapper import Frame, WrapperDecoder
from openami.protocols.dlms.server.datagram_session import DatagramSession
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.obis import ObisCode

PAIRS = [(LOW, DEVICE), (16, DEVICE), (LOW, 8), (16, 8), (99, DEVICE), (LOW, 9)]
"""Client and logical device; the last two are known to nobody."""


def request(chance: random.Random) -> bytes:
    """Something that a client may say, in any order: openings, blocks in the midst, rubbish."""
    attribute = Attribute(1, ObisCode(0, 0, 96, 1, chance.randrange(5)), chance.randrange(1, 4))
    number = chance.randrange(1, 4)
    match chance.randrange(11):
        case 0 | 1:
            proposed = chance.choice([SUPPORTED, PROPOSED, PROPOSED_FOR_WINDOWS])
            initiate = InitiateRequest(proposed, chance.choice([0, 32, 64, 128, 1024])).to_bytes()
            with_password = chance.random() < 0.6
            return AssociationRequest(
                initiate, mechanism=int(with_password), secret=PASSWORD if with_password else None
            ).to_bytes()
        case 2 if chance.random() < 0.2:
            return b"\x62\x00"
        case 3:
            return GetRequestNext(0xC1, number).to_bytes()
        case 4:
            return GetRequestList(0xC1, ((attribute, None),) * number).to_bytes()
        case 5:
            return SetRequestFirst(0xC1, attribute, False, 1, b"\x09\x05").to_bytes()
        case 6:
            return SetRequestBlock(0xC1, chance.random() < 0.5, number, b"abc").to_bytes()
        case 7:
            return mutated(chance, REQUESTS)[:500]
        case 8 | 9:
            whole = GetRequest(0xC1, attribute).to_bytes()
            data = chance.choice([whole, whole[:6], whole[6:], b""])
            streaming, window = chance.random() < 0.3, chance.randrange(5)
            block = TransferBlock(chance.random() < 0.5, streaming, window, number, number - 1, data)
            return block.to_bytes()
    return GetRequest(0xC1, attribute).to_bytes()


@pytest.mark.parametrize("seed", range(6))
def test_each_client_hears_what_it_would_hear_alone(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(20):
        together, datagrams = ServerSession(constant_devices()), DatagramSession(constant_devices())
        alone = {pair: ServerSession(constant_devices()) for pair in PAIRS}
        heard = 0
        for _ in range(60):
            pair = chance.choice(PAIRS)
            frame = Frame(*pair, request(chance)).to_bytes()
            answer = together.receive(frame)
            assert answer == alone[pair].receive(frame)
            assert answer == b"".join(datagrams.receive(frame))
            for event in WrapperDecoder().feed(answer):
                assert isinstance(event, Frame)
                assert (event.destination, event.source) == pair
                heard += 1
        assert heard > 30
        assert together.kept_octets == sum(session.kept_octets for session in alone.values())
        assert not together.closed

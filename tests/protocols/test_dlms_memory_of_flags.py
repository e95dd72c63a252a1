"""What a peer makes up in a conformance block is not kept (IEC 62056-5-3: 24 bits, chosen by the sender)."""

from __future__ import annotations

import pytest

from openami.protocols.dlms.apdus.apdu import decode_apdu
from openami.protocols.dlms.apdus.initiate import (
    PROPOSED,
    SUPPORTED,
    Conformance,
    InitiateRequest,
    InitiateResponse,
    includes,
)

REQUEST = "01000000065f1f0400{:06x}ffff"
RESPONSE = "0800065f1f0400{:06x}ffff0007"


@pytest.mark.parametrize("apdu", [REQUEST, RESPONSE])
def test_combinations_of_flags_that_a_peer_makes_up_are_not_kept(apdu: str) -> None:
    known = len(Conformance._value2member_map_)
    for block in range(1, 1 << 23, 4099):
        decoded = decode_apdu(bytes.fromhex(apdu.format(block)))
        assert isinstance(decoded, InitiateRequest | InitiateResponse)
        assert decoded.conformance == block
    assert len(Conformance._value2member_map_) == known


def test_services_are_included_only_where_all_of_them_are() -> None:
    both = Conformance.GET | Conformance.BLOCK_TRANSFER_GET
    assert includes(PROPOSED, both)
    assert includes(SUPPORTED, Conformance.GENERAL_BLOCK_TRANSFER)
    assert not includes(PROPOSED, Conformance.GENERAL_BLOCK_TRANSFER)
    assert not includes(Conformance.GET, both)
    assert not includes(0, Conformance.GET)

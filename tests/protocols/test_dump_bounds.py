"""The explanation of a dump ends, in work and memory linear in its octets, whatever they declare."""

from __future__ import annotations

import sys
import tracemalloc
from types import FrameType

import pytest

from openami.protocols.dlms.encoding.octets import encode_octets
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.layers.decode_layers import decode_layers

GET_RESPONSE = bytes.fromhex("c401c100")
INITIATE = bytes.fromhex("01000000065f1f0400007e1f04b0")
BEYOND = {
    "contents of a compact array": b"\x13\x11\x82\x40\x00",
    "description of a compact array": b"\x13\x02\x82\x40\x00" + b"\x11" * 6,
    "octet-string": b"\x09\x82\x40\x00",
}


def calls(octets: bytes) -> int:
    """How many functions are called to explain a dump."""
    made = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal made
        made += event == "call"

    sys.setprofile(count)
    try:
        decode_layers(octets)
    finally:
        sys.setprofile(None)
    return made


@pytest.mark.parametrize("value", BEYOND.values(), ids=BEYOND)
def test_a_value_never_reads_behind_its_frame(value: bytes) -> None:
    frame = Frame(1, 16, GET_RESPONSE + value).to_bytes()
    enough = 0x4000 // len(frame) + 50
    few, many = calls(frame * enough), calls(frame * (2 * enough))
    assert many < 2.2 * few
    faults = list(decode_layers(frame * 3).faults())
    assert len(faults) == 3


@pytest.mark.parametrize("levels", [7, 100, 3000])
def test_association_requests_inside_each_other_are_a_fault(levels: int) -> None:
    apdu = INITIATE
    for _ in range(levels):
        apdu = b"\x60" + encode_octets(b"\xbe" + encode_octets(b"\x04" + encode_octets(apdu)))
    (fault,) = decode_layers(apdu).faults()
    assert "inside each other" in fault.value


@pytest.mark.parametrize(
    "pattern",
    ["68", "68030368", "7ea0", "7ea0070303", "0001000100100000", "0f", "d80101", "e000"],
)
def test_a_dump_of_one_pattern_takes_memory_for_its_octets_only(pattern: str) -> None:
    octets = (bytes.fromhex(pattern) * 8192)[:8192]
    tracemalloc.start()
    try:
        decode_layers(octets)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 600 * len(octets)

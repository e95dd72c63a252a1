"""Mutation fuzz of the DLMS codec and server: seeded, reproducible, as long as wanted.

Usage: python tests/protocols/fuzz_dlms.py --count 10000000 --seed 1
Prints one JSON document; exit code 1 where anything hung, raised a foreign exception or grew.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from openami.protocols.dlms.apdu import decode_apdu
from openami.protocols.dlms.apdu_get import GetResponse
from openami.protocols.dlms.axdr import decode_plain
from openami.protocols.dlms.logical_device import LogicalDevice
from openami.protocols.dlms.profile_buffer import ProfileDecoder
from openami.protocols.dlms.server import ServerSession
from openami.protocols.dlms.wrapper import Frame
from openami.quantities.errors import RemoteProtocolError

HANG_S = 0.05

SEEDS = [
    bytes.fromhex(text)
    for text in (
        "6036a1090607608574050801018a0207808b0760857405080201ac0a80083132333435363738"
        "be10040e01000000065f1f0400007e1f04b0",
        "6129a109060760857405080101a203020100a305a103020100be10040e0800065f1f040000501f01f40007",
        "6203800100",
        "6303800100",
        "c001c100080000010000ff0200",
        "c001c100070100630100ff0201010204020412000809060000010000ff0f02120000"
        "090c07e20601ff000300ffff8880090c07e50106ff000300ffffc4000100",
        "c001c100070100630100ff020102020406000000010600000003120001120000",
        "c002c100000001",
        "c003c10200030100010800ff020000080000010000ff0200",
        "c101c100080000010000ff0200090c07e50118ff0e303950ffc400",
        "c102c100010000600d00ff02000100000001050903616263",
        "c103c1010000000103616263",
        "c104c102000300010100010800ff0200" + "0211011102",
        "c301c10046000060030aff01010f00",
        "c401c1000600001391",
        "c401c10001020203090c07e30c100108000000ffc400110606000005ed"
        "0203090c07e30c100108150000ffc400110606000005ee",
        "c402c10000000001000402021101",
        "c403c1020011010103",
        "c501c100",
        "c503c10000000002",
        "c701c1000100090101",
        "d80101",
        "0e010601",
        "0f4000000000020216000104020211011601020211021600",
        "c401c100130202111206010002030004",
        "c401c10013010002110401020304",
        "c401c10002060405ff0d990c024142174366800018406cd000000000001907ea02190c00000000800000",
    )
]
_INTERESTING = (0x00, 0x01, 0x02, 0x09, 0x13, 0x7F, 0x80, 0x81, 0x82, 0x84, 0xFE, 0xFF)


@dataclass
class Report:
    """What a run found."""

    inputs: int = 0
    accepted: int = 0
    slowest_s: float = 0.0
    growth_bytes: int = 0
    foreign: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)


def mutated(rng: random.Random) -> bytes:
    """A seed with one to six mutations: octets changed, cut, doubled, inserted, spliced."""
    octets = bytearray(rng.choice(SEEDS))
    for _ in range(rng.randint(1, 6)):
        position = rng.randrange(len(octets)) if octets else 0
        match rng.randrange(7):
            case 0 if octets:
                octets[position] = rng.randrange(256)
            case 1 if octets:
                octets[position] = rng.choice(_INTERESTING)
            case 2:
                del octets[position:]
            case 3:
                octets[position:position] = rng.randbytes(rng.randint(1, 4))
            case 4:
                length = rng.randint(1, 12)
                octets[position:position] = octets[position : position + length] * rng.randint(1, 20)
            case 5:
                other = rng.choice(SEEDS)
                octets[position:] = other[rng.randrange(len(other)) :]
            case _ if octets:
                octets[position] ^= 1 << rng.randrange(8)
    return bytes(octets)


def _decode(octets: bytes) -> bool:
    try:
        apdu = decode_apdu(octets)
        if isinstance(apdu, GetResponse) and isinstance(apdu.data, bytes):
            decode_plain(apdu.data)
            ProfileDecoder().decode(apdu.data)
    except RemoteProtocolError:
        return False
    return True


def asks_for_an_answer(octets: bytes) -> bool:
    """False for an unconfirmed SET, ACTION or ACCESS, and for a block: they may be met with silence."""
    kinds = {0xC1: (1, 4), 0xC3: (1, 3)}
    if octets[:1] == b"\xd9":
        return len(octets) < 2 or bool(octets[1] & 0x40)
    if octets[:1] == b"\xe0":
        return False
    return len(octets) < 3 or octets[1] not in kinds.get(octets[0], ()) or bool(octets[2] & 0x40)


def _run(count: int, seed: int, one: Callable[[bytes], bool]) -> Report:
    rng = random.Random(seed)
    report = Report()
    one(SEEDS[0])
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(count):
        octets = mutated(rng)
        begin = time.thread_time()
        try:
            report.accepted += one(octets)
        except Exception as foreign:  # whatever escapes is the finding
            report.foreign.append(f"{octets.hex()}: {foreign!r}")
        spent = time.thread_time() - begin
        report.inputs += 1
        report.slowest_s = max(report.slowest_s, spent)
        if spent > HANG_S:
            report.slow.append(octets.hex())
    report.growth_bytes = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return report


def mutate_apdus(count: int, seed: int) -> Report:
    """Mutated APDUs through the decoders."""
    return _run(count, seed, _decode)


def mutate_requests(device: Callable[[], LogicalDevice], count: int, seed: int) -> Report:
    """Mutated APDUs, each framed right, as requests of an associated client; a broken session is renewed."""
    session = ServerSession({7: device()})
    opening = Frame(1, 7, SEEDS[0]).to_bytes()
    exception = b"\xd8"

    def ask(octets: bytes) -> bool:
        session.receive(opening)
        answer = session.receive(Frame(1, 7, octets).to_bytes())
        if not answer and asks_for_an_answer(octets):
            raise AssertionError("no answer")
        return answer[8:9] not in (exception, b"")

    return _run(count, seed, ask)


def main() -> int:
    """Run the decoders and print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    report = mutate_apdus(arguments.count, arguments.seed)
    print(json.dumps({"seed": arguments.seed, **asdict(report)}))
    return int(bool(report.foreign or report.slow or report.growth_bytes > 50_000_000))


if __name__ == "__main__":
    sys.exit(main())

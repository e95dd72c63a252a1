"""Octets of every kind of DLMS, and mutations of them: what the fuzz of the decoders begins with."""

import random
from collections.abc import Sequence

from openami.protocols.dlms.framing.hdlc_frame import HdlcAddress

DEVICE, LOW, HIGH = 17, 32, 4
PASSWORD = b"12345678"
TITLE = b"FUZZ0001"


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
        # ACCESS, general-block-transfer, general-ciphering, general-signing, event-notification
        "d94000000100020100080000010000ff02010003010001 0800ff0202000000".replace(" ", ""),
        "da400000010000020906000001000fff06000000010201000100",
        # lists and blocks of SET and ACTION
        "c105c10100010000600d00ff0200000000000103010901",
        "c504c102000300000002",
        "c302c100000001",
        "c303c1020003010001 0800ff01000300010108 00ff01020f0000".replace(" ", ""),
        "c304c10046000060030aff01000000000102 0f00".replace(" ", ""),
        "c305c1010046000060030aff01010000000103010f00",
        "c306c101000000020203 04".replace(" ", ""),
        "c702c101000000010300010 0".replace(" ", ""),
        "c703c10200 01000f000300".replace(" ", ""),
        "c704c100000001",
        "e0c00001000006c401c1001101",
        "e0800002000000",
        "dd010008000000000000000108000000000000000200000012300000000100112233445566778899aabb",
        "df01000800000000000000010800000000000000020000 05c001c10001021122".replace(" ", ""),
        "c2010c07ea0101ff00000000ffc400000100000b6000ff021105",
    )
]
REQUESTS = [octets for octets in SEEDS if octets[0] in (0x60, 0x62, 0xC0, 0xC1, 0xC3, 0xD9, 0xE0)]
ANSWERS = [octets for octets in SEEDS if octets[0] in (0x61, 0x63, 0xC4, 0xC5, 0xC7, 0xD8, 0x0E, 0x0F, 0xC2)]
VALUES = [octets[4:] for octets in SEEDS if octets[:4] == bytes.fromhex("c401c100")]
STAMPS = [octets[-12:] for octets in SEEDS if octets[-12:-10] in (b"\x07\xe5", b"\x07\xea")] + [
    bytes.fromhex("07ea0219ff173b3b63800000"),
    bytes.fromhex("fffffefdffffffffff8000ff"),
]
TELEGRAM = (
    b"/ISk5\\2MT382-1000\r\n\r\n1-0:1.8.1(000004.426*kWh)\r\n0-1:24.2.1(170102161005W)(0.107*m3)\r\n!\r\n"
)
_INTERESTING = bytes((0x00, 0x01, 0x02, 0x09, 0x13, 0x7E, 0x7F, 0x80, 0x81, 0x82, 0x84, 0xA0, 0xFE, 0xFF))
LINE = HdlcAddress(LOW), HdlcAddress(DEVICE)


def mutated(rng: random.Random, seeds: Sequence[bytes] = SEEDS) -> bytes:
    """A seed with one to six mutations, mostly few: octets changed, cut, doubled, inserted, spliced."""
    real = rng.random
    octets = bytearray(seeds[int(real() * len(seeds))])
    for _ in range(1 + int(6 * real() ** 2)):
        size = len(octets)
        position = int(real() * size)
        kind = int(real() * 7)
        if kind == 2:
            del octets[position:]
        elif kind == 3:
            octets[position:position] = rng.randbytes(1 + int(real() * 4))
        elif kind == 4:
            length = 1 + int(real() * 12)
            octets[position:position] = octets[position : position + length] * (1 + int(real() * 20))
        elif kind == 5:
            other = seeds[int(real() * len(seeds))]
            octets[position:] = other[int(real() * len(other)) :]
        elif not size:
            continue
        elif kind == 0:
            octets[position] = int(real() * 256)
        elif kind == 1:
            octets[position] = _INTERESTING[int(real() * len(_INTERESTING))]
        else:
            octets[position] ^= 1 << int(real() * 8)
    return bytes(octets)

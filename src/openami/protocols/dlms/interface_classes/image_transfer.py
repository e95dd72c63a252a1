"""Image transfer, class 18 version 0 (IEC 62056-6-2 clause 4.4.6): firmware, block by block.

    status  0 not initiated    2 verification initiated   4 verification failed   6 activation successful
            1 initiated        3 verification successful  5 activation initiated  7 activation failed

    initiate -> blocks in any order, any block again -> verify -> activate

Blocks may come over several associations; what is missing is in the bitmap, a bit for each block, 1 where it
is there. Rule of this file: an image is verified only when it is whole, and activated only when it was
verified; a block that differs from the one received before is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar, Protocol

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import BitString, Data, Tag, array, structure
from openami.protocols.dlms.encoding.limits import MAX_PDU
from openami.protocols.dlms.interface_classes.stored_object import (
    NO_PRESET,
    State,
    StoredAttribute,
    StoredObject,
    items,
    number,
    octets,
    read_only,
)
from openami.protocols.dlms.interface_classes.value_types import (
    DOUBLE_LONG_UNSIGNED,
    Bits,
    ListOf,
    Octets,
    Truth,
    Whole,
    enumeration,
    record,
)
from openami.quantities.errors import ProtectionError
from openami.quantities.obis import ObisCode

_MOST_BLOCKS = 1 << 20
_INITIATE = record(Octets(1, 64), DOUBLE_LONG_UNSIGNED)
_BLOCK = record(DOUBLE_LONG_UNSIGNED, Octets(0, MAX_PDU))
_NOTHING = Whole(Tag.INTEGER, 0, 0)


class ImageStatus(IntEnum):
    """Where a transfer stands."""

    NOT_INITIATED = 0
    INITIATED = 1
    VERIFICATION_INITIATED = 2
    VERIFIED = 3
    VERIFICATION_FAILED = 4
    ACTIVATION_INITIATED = 5
    ACTIVATED = 6
    ACTIVATION_FAILED = 7


@dataclass(frozen=True, slots=True)
class VerifiedImage:
    """What a verified image says of itself: identification of the firmware, and its signature."""

    identification: bytes
    signature: bytes


class Firmware(Protocol):
    """Who knows what an image is."""

    def verify(self, identifier: bytes, image: bytes) -> VerifiedImage:
        """Check the signature of a whole image; raises `ProtectionError` where it is not its maker's."""
        ...

    def activate(self, identifier: bytes, image: bytes) -> None:
        """Put a verified image into service; raises `ProtectionError` where it cannot be."""
        ...


@dataclass(slots=True)
class ImageMemory:
    """The image of one meter; it outlives associations and restarts of the communication.

    Invariant: every block of ``blocks`` has the length that its place in an image of ``size`` asks for; it
    has a bit in ``bits``; and all blocks before ``lowest`` are there.
    """

    identifier: bytes = b""
    size: int = 0
    block_size: int = 0
    status: ImageStatus = ImageStatus.NOT_INITIATED
    blocks: dict[int, bytes] = field(default_factory=dict)
    bits: bytearray = field(default_factory=bytearray)
    lowest: int = 0
    verified: VerifiedImage | None = None

    @property
    def count(self) -> int:
        """Blocks of the whole image."""
        return -(-self.size // self.block_size) if self.block_size else 0

    @property
    def whole(self) -> bool:
        """True where there is an image and no block is missing."""
        return 0 < self.count == self.lowest

    def length(self, block: int) -> int:
        """Octets of a block: the last may be shorter."""
        return min(self.block_size, self.size - block * self.block_size)

    def begin(self, identifier: bytes, size: int, block_size: int) -> None:
        """Forget what was there and expect another image."""
        self.identifier, self.size, self.block_size = identifier, size, block_size
        self.status, self.verified, self.lowest = ImageStatus.INITIATED, None, 0
        self.blocks.clear()
        self.bits = bytearray((self.count + 7) // 8)

    def put(self, block: int, content: bytes) -> None:
        """Keep a block that was not there."""
        self.blocks[block] = content
        self.bits[block // 8] |= 0x80 >> block % 8
        while self.lowest in self.blocks:
            self.lowest += 1

    def bitmap(self) -> BitString:
        """A bit for each block."""
        return BitString(self.count, bytes(self.bits))

    def image(self) -> bytes:
        """The whole image, once nothing is missing."""
        return b"".join(self.blocks[block] for block in range(self.count))


class ImageTransfer(StoredObject):
    """Takes an image and puts it into service.

    Parameters
    ----------
    memory:
        Where the image is kept.
    firmware:
        Verifies and activates it.
    capacity:
        Octets of the largest image.
    block_size:
        Octets of a block.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_block_size", "_capacity", "_firmware", "_memory")

    class_id: ClassVar[int] = 18
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        read_only(2, "image_block_size", DOUBLE_LONG_UNSIGNED),
        read_only(3, "image_transferred_blocks_status", Bits(0, _MOST_BLOCKS)),
        read_only(4, "image_first_not_transferred_block_number", DOUBLE_LONG_UNSIGNED),
        StoredAttribute(5, "image_transfer_enabled", Truth()),
        read_only(6, "image_transfer_status", enumeration(7)),
        read_only(7, "image_to_activate_info", ListOf(record(DOUBLE_LONG_UNSIGNED, Octets(), Octets()))),
    )
    methods: ClassVar[tuple[int, ...]] = (1, 2, 3, 4)

    def __init__(
        self,
        logical_name: ObisCode,
        memory: ImageMemory,
        firmware: Firmware,
        capacity: int = 4 << 20,
        block_size: int = 512,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._memory = memory
        self._firmware = firmware
        self._capacity = capacity
        self._block_size = block_size

    def current(self, index: int) -> Data:
        """Attribute."""
        memory = self._memory
        match index:
            case 2:
                return Data(Tag.DOUBLE_LONG_UNSIGNED, self._block_size)
            case 3:
                return Data(Tag.BIT_STRING, memory.bitmap())
            case 4:
                return Data(Tag.DOUBLE_LONG_UNSIGNED, memory.lowest)
            case 6:
                return Data(Tag.ENUM, int(memory.status))
            case 7:
                return array(self._to_activate())
        return super().current(index)

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``image_transfer_initiate``, ``_block_transfer``, ``image_verify``, ``image_activate``."""
        if index not in self.methods:
            return super().invoke(index, parameter)
        if self.current(5).value is not True:
            raise self._refuse(AccessResult.READ_WRITE_DENIED, "image transfer is not enabled")
        match index:
            case 1:
                identifier, size = items(self.parameter(parameter, _INITIATE, "image_transfer_initiate"))
                self._initiate(octets(identifier), number(size))
            case 2:
                block, content = items(self.parameter(parameter, _BLOCK, "image_block_transfer"))
                self._take(number(block), octets(content))
            case 3:
                self.parameter(parameter, _NOTHING, "image_verify")
                self._verify()
            case _:
                self.parameter(parameter, _NOTHING, "image_activate")
                self._activate()
        return None

    def _to_activate(self) -> list[Data]:
        memory = self._memory
        if memory.verified is None:
            return []
        return [
            structure(
                Data(Tag.DOUBLE_LONG_UNSIGNED, memory.size),
                Data(Tag.OCTET_STRING, memory.verified.identification),
                Data(Tag.OCTET_STRING, memory.verified.signature),
            )
        ]

    def _initiate(self, identifier: bytes, size: int) -> None:
        if not 0 < size <= self._capacity or -(-size // self._block_size) > _MOST_BLOCKS:
            raise self._refuse(AccessResult.SCOPE_OF_ACCESS_VIOLATED, f"an image of {size} octets")
        self._memory.begin(identifier, size, self._block_size)

    def _take(self, block: int, content: bytes) -> None:
        memory = self._memory
        if memory.status is not ImageStatus.INITIATED:
            raise self._refuse(AccessResult.TEMPORARY_FAILURE, "no image transfer is under way")
        if block >= memory.count:
            raise self._refuse(AccessResult.SCOPE_OF_ACCESS_VIOLATED, f"block {block}")
        if len(content) != memory.length(block):
            raise self._refuse(AccessResult.TYPE_UNMATCHED, f"block {block} of {len(content)} octets")
        known = memory.blocks.get(block)
        if known is None:
            memory.put(block, content)
        elif known != content:
            raise self._refuse(AccessResult.OTHER_REASON, f"block {block} was another before")

    def _verify(self) -> None:
        memory = self._memory
        if not memory.whole:
            raise self._refuse(AccessResult.TEMPORARY_FAILURE, "the image is not whole")
        memory.verified = None
        try:
            memory.verified = self._firmware.verify(memory.identifier, memory.image())
        except ProtectionError as error:
            memory.status = ImageStatus.VERIFICATION_FAILED
            raise self._refuse(AccessResult.OTHER_REASON, str(error)) from None
        memory.status = ImageStatus.VERIFIED

    def _activate(self) -> None:
        memory = self._memory
        if memory.status is not ImageStatus.VERIFIED:
            raise self._refuse(AccessResult.TEMPORARY_FAILURE, "the image is not verified")
        try:
            self._firmware.activate(memory.identifier, memory.image())
        except ProtectionError as error:
            memory.status = ImageStatus.ACTIVATION_FAILED
            raise self._refuse(AccessResult.OTHER_REASON, str(error)) from None
        memory.status = ImageStatus.ACTIVATED

    def _refuse(self, result: AccessResult, why: str) -> AccessError:
        return AccessError(result, where=f"{self.logical_name}: {why}")

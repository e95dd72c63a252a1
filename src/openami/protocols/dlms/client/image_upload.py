"""Bringing an image into a meter, block by block (IEC 62056-6-2 class 18): the client's side.

    upload = ImageUpload(IMAGE_TRANSFER, b"fw-2.0", image)
    run(upload.resume(association))          # only where an earlier upload of the same image was cut short
    run(upload.transfer(association))        # over a new association again, where the first one was lost
    run(upload.verify(association))
    run(upload.activate(association))

Rule of this file: what the meter has is what the meter says it has. Blocks that it refused, and blocks whose
answer was lost, are sent again until its bitmap is full; nothing that is in the bitmap is sent twice.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple

from openami.protocols.dlms.apdus.descriptors import Attribute, Method
from openami.protocols.dlms.apdus.results import AccessError
from openami.protocols.dlms.client.association import Association, Operation
from openami.protocols.dlms.encoding.axdr import BitString, Data, Tag, structure
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError
from openami.quantities.obis import ObisCode

MAX_PASSES: Final = 32
"""Passes over the missing blocks without a new one arriving in any, before a meter is given up."""

IMAGE_TRANSFER: Final = ObisCode(0, 0, 44, 0, 0)
"""Where meters have their image transfer object."""

IMAGE_CLASS: Final = 18

_INITIATE, _TRANSFER, _VERIFY, _ACTIVATE = 1, 2, 3, 4
_BLOCK_SIZE, _BITMAP, _ENABLED, _STATUS = 2, 3, 5, 6
_OCTET: Final = 8
_NOTHING: Final = Data(Tag.INTEGER, 0)


class TransferStatus(IntEnum):
    """Where a meter says that its image transfer stands."""

    NOT_INITIATED = 0
    INITIATED = 1
    VERIFICATION_INITIATED = 2
    VERIFIED = 3
    VERIFICATION_FAILED = 4
    ACTIVATION_INITIATED = 5
    ACTIVATED = 6
    ACTIVATION_FAILED = 7


_UNDER_WAY: Final = frozenset(
    (TransferStatus.INITIATED, TransferStatus.VERIFICATION_INITIATED, TransferStatus.VERIFIED)
)


class Standing(NamedTuple):
    """What a meter has of an image.

    Parameters
    ----------
    status:
        Where its transfer stands.
    there, blocks:
        Blocks that it has, and of how many; both 0 where no transfer was begun.
    """

    status: TransferStatus
    there: int
    blocks: int


def _unheard(there: int, blocks: int) -> None:
    return None


class ImageUpload:
    """One image on its way into one meter, over as many associations as it takes.

    Invariant: the meter is told to begin anew only before its first block.

    Parameters
    ----------
    logical_name:
        Of the meter's image transfer object.
    identifier:
        What the image is called.
    image:
        The whole image, with its signature as the meter wants it.
    heard:
        Told how many blocks the meter has, and of how many, whenever that changes.

    Raises
    ------
    LocalProtocolError
        There is no image.
    """

    __slots__ = ("_begun", "_heard", "blocks_sent", "identifier", "image", "logical_name", "there")

    def __init__(
        self,
        logical_name: ObisCode,
        identifier: bytes,
        image: bytes,
        heard: Callable[[int, int], None] = _unheard,
    ) -> None:
        if not image:
            raise LocalProtocolError("an image of no octets")
        self.logical_name = logical_name
        self.identifier = identifier
        self.image = image
        self.blocks_sent = 0
        self.there = 0
        self._heard = heard
        self._begun = False

    def standing(self, association: Association) -> Operation[Standing]:
        """What the meter has, of whatever image; raises as `transfer`."""
        status = yield from self.status(association)
        if status is TransferStatus.NOT_INITIATED:
            return Standing(status, 0, 0)
        bitmap = yield from association.get(self._attribute(_BITMAP))
        if not isinstance(bitmap, BitString):
            raise RemoteProtocolError("the bitmap of the image is no bit-string")
        bits = int.from_bytes(bitmap.octets, "big") >> (-bitmap.length % 8)
        return Standing(status, bits.bit_count(), bitmap.length)

    def enable(self, association: Association) -> Operation[bool]:
        """Enable image transfer; True where it was not enabled, `AccessError` where it is denied."""
        if (yield from association.get(self._attribute(_ENABLED))) is True:
            return False
        yield from association.set(self._attribute(_ENABLED), Data(Tag.BOOLEAN, True))
        return True

    def resume(self, association: Association) -> Operation[Standing]:
        """Go on with what the meter has; whoever calls this knows that it is of the same image.

        Raises
        ------
        LocalProtocolError
            It has nothing under way, or an image of another length.
        """
        standing = yield from self.standing(association)
        if standing.status not in _UNDER_WAY:
            raise LocalProtocolError(
                f"the meter has no image under way (status {standing.status.value}, "
                f"{standing.status.name.lower().replace('_', ' ')})",
                expected="an upload from the beginning",
            )
        size = yield from self._block_size(association)
        count = -(-len(self.image) // size)
        # A bitmap may grow with the blocks; then it ends with the octet of the last one.
        grown = standing.blocks - standing.there < _OCTET and standing.blocks <= count
        if not grown and standing.blocks not in (count, -(-count // _OCTET) * _OCTET):
            raise LocalProtocolError(
                f"the meter has an image of {standing.blocks} blocks under way, and this one has {count}",
                expected="the same image, or an upload from the beginning",
            )
        self._begun = True
        return standing

    def set_block_size(self, association: Association, octets: int) -> Operation[None]:
        """Have the meter take blocks of another size, before the first; `AccessError` where it does not."""
        yield from association.set(self._attribute(_BLOCK_SIZE), Data(Tag.DOUBLE_LONG_UNSIGNED, octets))

    def transfer(self, association: Association) -> Operation[None]:
        """Bring all blocks that the meter has not; to be called again where the association was lost.

        Raises
        ------
        AccessError
            The meter takes no image, or not this one.
        RemoteProtocolError
            It loses the same blocks again and again, or its bitmap is not that of this image.
        ServiceRefusedError, LocalProtocolError
            As `Association.action`.
        """
        if not self._begun or (yield from self.status(association)) not in _UNDER_WAY:
            size = Data(Tag.DOUBLE_LONG_UNSIGNED, len(self.image))
            begin = structure(Data(Tag.OCTET_STRING, self.identifier), size)
            yield from association.action(self._method(_INITIATE), begin)
            self._begun = True
        block_size = yield from self._block_size(association)
        missing = yield from self._missing(association, block_size)
        idle = 0
        while missing and idle < MAX_PASSES:
            for number in missing:
                yield from self._block(association, number, block_size)
            before, missing = len(missing), (yield from self._missing(association, block_size))
            idle = idle + 1 if len(missing) == before else 0
        if missing:
            raise RemoteProtocolError(f"the meter does not take block {missing[0]}, in {idle} attempts")

    def verify(self, association: Association) -> Operation[None]:
        """Have the meter verify the image; `AccessError` where the signature is wrong or a block missing."""
        yield from association.action(self._method(_VERIFY), _NOTHING)

    def activate(self, association: Association) -> Operation[None]:
        """Have the meter put the image into service; raises as `verify`."""
        yield from association.action(self._method(_ACTIVATE), _NOTHING)

    def status(self, association: Association) -> Operation[TransferStatus]:
        """Where the meter says that the transfer stands; raises as `transfer`."""
        status = yield from association.get(self._attribute(_STATUS))
        if isinstance(status, bool) or not isinstance(status, int) or not 0 <= status <= max(TransferStatus):
            raise RemoteProtocolError(f"image transfer status {status!r}", expected="0 .. 7")
        return TransferStatus(status)

    def _block(self, association: Association, number: int, size: int) -> Operation[None]:
        content = self.image[number * size : (number + 1) * size]
        block = structure(Data(Tag.DOUBLE_LONG_UNSIGNED, number), Data(Tag.OCTET_STRING, content))
        self.blocks_sent += 1
        try:
            yield from association.action(self._method(_TRANSFER), block)
        except AccessError:
            return  # it stays in the bitmap as missing
        self._now_there(self.there + 1, -(-len(self.image) // size))

    def _now_there(self, there: int, blocks: int) -> None:
        self.there = there
        self._heard(there, blocks)

    def _block_size(self, association: Association) -> Operation[int]:
        block_size = yield from association.get(self._attribute(_BLOCK_SIZE))
        if isinstance(block_size, bool) or not isinstance(block_size, int) or block_size <= 0:
            raise RemoteProtocolError(f"image blocks of {block_size!r} octets")
        return block_size

    def _missing(self, association: Association, size: int) -> Operation[list[int]]:
        bitmap = yield from association.get(self._attribute(_BITMAP))
        count = -(-len(self.image) // size)
        if not isinstance(bitmap, BitString) or bitmap.length > -(-count // 8) * 8:
            raise RemoteProtocolError(
                "the bitmap of the image is longer than the image", expected=f"at most {count} blocks"
            )
        # Some meters let it grow with the blocks, others fill its last octet.
        there = {place for place in range(bitmap.length) if bitmap.octets[place // 8] >> (7 - place % 8) & 1}
        missing = [place for place in range(count) if place not in there]
        self._now_there(count - len(missing), count)
        return missing

    def _attribute(self, index: int) -> Attribute:
        return Attribute(IMAGE_CLASS, self.logical_name, index)

    def _method(self, index: int) -> Method:
        return Method(IMAGE_CLASS, self.logical_name, index)

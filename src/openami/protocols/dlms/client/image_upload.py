"""Bringing an image into a meter, block by block (IEC 62056-6-2 class 18): the client's side.

    upload = ImageUpload(ObisCode.parse("0-0:44.0.0"), b"fw-2.0", image)
    run(upload.transfer(association))        # over a new association again, where the first one was lost
    run(upload.verify(association))
    run(upload.activate(association))

Rule of this file: what the meter has is what the meter says it has. Blocks that it refused, and blocks whose
answer was lost, are sent again until its bitmap is full; nothing that is in the bitmap is sent twice.
"""

from __future__ import annotations

from typing import Final

from openami.protocols.dlms.apdus.descriptors import Attribute, Method
from openami.protocols.dlms.apdus.results import AccessError
from openami.protocols.dlms.client.association import Association, Operation
from openami.protocols.dlms.encoding.axdr import BitString, Data, Tag, structure
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError
from openami.quantities.obis import ObisCode

MAX_PASSES: Final = 32
"""Passes over the missing blocks without a new one arriving in any, before a meter is given up."""

_CLASS: Final = 18
_INITIATE, _TRANSFER, _VERIFY, _ACTIVATE = 1, 2, 3, 4
_BLOCK_SIZE, _BITMAP, _STATUS = 2, 3, 6
_INITIATED: Final = 1
_NOTHING: Final = Data(Tag.INTEGER, 0)


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

    Raises
    ------
    LocalProtocolError
        There is no image.
    """

    __slots__ = ("_begun", "_name", "blocks_sent", "identifier", "image")

    def __init__(self, logical_name: ObisCode, identifier: bytes, image: bytes) -> None:
        if not image:
            raise LocalProtocolError("an image of no octets")
        self._name = logical_name
        self.identifier = identifier
        self.image = image
        self.blocks_sent = 0
        self._begun = False

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
        if not self._begun or (yield from self._status(association)) != _INITIATED:
            size = Data(Tag.DOUBLE_LONG_UNSIGNED, len(self.image))
            begin = structure(Data(Tag.OCTET_STRING, self.identifier), size)
            yield from association.action(self._method(_INITIATE), begin)
            self._begun = True
        block_size = yield from association.get(self._attribute(_BLOCK_SIZE))
        if not isinstance(block_size, int) or block_size <= 0:
            raise RemoteProtocolError(f"image blocks of {block_size!r} octets")
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

    def _block(self, association: Association, number: int, size: int) -> Operation[None]:
        content = self.image[number * size : (number + 1) * size]
        block = structure(Data(Tag.DOUBLE_LONG_UNSIGNED, number), Data(Tag.OCTET_STRING, content))
        self.blocks_sent += 1
        try:
            yield from association.action(self._method(_TRANSFER), block)
        except AccessError:
            return  # it stays in the bitmap as missing

    def _missing(self, association: Association, size: int) -> Operation[list[int]]:
        bitmap = yield from association.get(self._attribute(_BITMAP))
        count = -(-len(self.image) // size)
        if not isinstance(bitmap, BitString) or bitmap.length > -(-count // 8) * 8:
            raise RemoteProtocolError(
                "the bitmap of the image is longer than the image", expected=f"at most {count} blocks"
            )
        # Some meters let it grow with the blocks, others fill its last octet.
        there = {place for place in range(bitmap.length) if bitmap.octets[place // 8] >> (7 - place % 8) & 1}
        return [place for place in range(count) if place not in there]

    def _status(self, association: Association) -> Operation[int]:
        status = yield from association.get(self._attribute(_STATUS))
        return status if isinstance(status, int) else -1

    def _attribute(self, index: int) -> Attribute:
        return Attribute(_CLASS, self._name, index)

    def _method(self, index: int) -> Method:
        return Method(_CLASS, self._name, index)

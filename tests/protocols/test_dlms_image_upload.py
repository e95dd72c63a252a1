"""A megabyte of firmware through a lossy link and a lost connection arrives bit-exact, or is refused."""

from __future__ import annotations

import random
from typing import Any

import pytest

from dlms_interop_world import DEVICE, HIGH, IMAGE, TITLE, InteropMeter, SignedFirmware, software_meter
from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.client.association import Association, Operation
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.client.image_upload import ImageUpload
from openami.protocols.dlms.framing.hdlc_channel import HdlcChannel
from openami.protocols.dlms.framing.hdlc_parameters import HdlcParameters
from openami.protocols.dlms.interface_classes.image_transfer import ImageStatus, ImageTransfer
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION
from openami.protocols.dlms.server.hdlc_server import HdlcServerSession
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError
from openami.security.counters import MemoryCounters

CLIENT = HIGH[AUTHENTICATED_ENCRYPTION]
STATUS = Attribute(18, IMAGE, 6)


class LostError(Exception):
    """No answer came in time."""


class Line:
    """A meter behind a link that loses some of what goes either way, at chosen octets."""

    def __init__(self, meter: InteropMeter, framing: str, lost_permille: int, seed: int = 1) -> None:
        self.meter = meter
        self._framing = framing
        self._lost = lost_permille
        self._rng = random.Random(seed)
        self.security = ClientSecurity(TITLE, meter.keys, counters=MemoryCounters({}))
        self.losses = 0

    def connect(self) -> Association:
        """A new connection and association."""
        devices = {DEVICE: self.meter.device}
        channel: Any = None
        if self._framing == "wrapper":
            self._session: Any = ServerSession(devices)
        else:
            self._session = HdlcServerSession(devices)
            channel = HdlcChannel(CLIENT, DEVICE, HdlcParameters.of(2030, 1))
            self.run(channel.connect())
        association = Association(DEVICE, CLIENT, security=self.security, channel=channel)
        self.run(association.associate())
        return association

    def run(self, operation: Operation[Any], lossy: bool = False) -> Any:
        """The operation's result; `LostError` where the link swallowed a request or its answer."""
        outgoing = next(operation)
        while True:
            # Image blocks are the long requests: those, or their answers, get lost.
            loses = lossy and len(outgoing) > 500 and self._rng.randrange(1000) < self._lost
            if loses and self._rng.random() < 0.5:
                self.losses += 1
                operation.close()
                raise LostError
            answer = self._session.receive(outgoing)
            if loses:
                self.losses += 1
                operation.close()
                raise LostError
            try:
                outgoing = operation.send(answer)
            except StopIteration as done:
                return done.value


def brought(line: Line, upload: ImageUpload) -> Association:
    """The image transferred, over as many associations as it took."""
    for _ in range(2000):
        association = line.connect()
        try:
            line.run(upload.transfer(association), lossy=True)
        except LostError:
            continue
        return association
    return pytest.fail("the transfer did not come to an end")


@pytest.fixture(scope="module")
def firmware() -> SignedFirmware:
    return SignedFirmware()


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
def test_a_megabyte_over_a_link_that_loses_a_tenth_arrives_bit_exact(
    firmware: SignedFirmware, framing: str
) -> None:
    """2,049 blocks of 512 octets, ciphered; each loss ends the association, as a time-out does."""
    line = Line(software_meter(firmware), framing, lost_permille=100)
    image = firmware.image(random.Random(2).randbytes((1 << 20) + 13))
    upload = ImageUpload(IMAGE, b"fw-2.0", image)
    association = brought(line, upload)
    assert line.losses > 150
    count = -(-len(image) // 512)
    assert count <= upload.blocks_sent < count * 1.15, "what the meter has is not sent again"
    line.run(upload.verify(association))
    assert line.run(association.get(STATUS)) == ImageStatus.VERIFIED
    line.run(upload.activate(association))
    assert firmware.active == image
    assert line.run(association.get(STATUS)) == ImageStatus.ACTIVATED


def test_blocks_that_the_meter_refuses_for_a_while_are_sent_again(
    firmware: SignedFirmware, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(3)
    take = ImageTransfer._take

    def forgetful(self: ImageTransfer, block: int, content: bytes) -> None:
        if rng.random() < 0.1:
            raise AccessError(AccessResult.TEMPORARY_FAILURE)
        take(self, block, content)

    monkeypatch.setattr(ImageTransfer, "_take", forgetful)
    line = Line(software_meter(firmware), "wrapper", 0)
    image = firmware.image(random.Random(4).randbytes(100_000))
    upload = ImageUpload(IMAGE, b"fw-2.1", image)
    association = brought(line, upload)
    assert upload.blocks_sent > -(-len(image) // 512)
    line.run(upload.verify(association))
    line.run(upload.activate(association))
    assert firmware.active == image


@pytest.mark.parametrize("place", [0, 50_000, -1])
def test_a_wrong_signature_or_a_changed_octet_is_refused(firmware: SignedFirmware, place: int) -> None:
    line = Line(software_meter(firmware), "wrapper", 0)
    changed = bytearray(firmware.image(random.Random(5).randbytes(100_000)))
    changed[place] ^= 1
    firmware.active = None
    upload = ImageUpload(IMAGE, b"fw-bad", bytes(changed))
    association = brought(line, upload)
    with pytest.raises(AccessError) as refused:
        line.run(upload.verify(association))
    assert refused.value.result is AccessResult.OTHER_REASON
    assert line.run(association.get(STATUS)) == ImageStatus.VERIFICATION_FAILED
    with pytest.raises(AccessError):
        line.run(upload.activate(association))
    assert firmware.active is None


def test_an_image_that_is_not_whole_is_not_verified(firmware: SignedFirmware) -> None:
    line = Line(software_meter(firmware), "wrapper", lost_permille=1000)
    upload = ImageUpload(IMAGE, b"fw-cut", firmware.image(bytes(10_000)))
    association = line.connect()
    with pytest.raises(LostError):
        line.run(upload.transfer(association), lossy=True)
    association = line.connect()
    with pytest.raises(AccessError):
        line.run(upload.verify(association))


def test_a_meter_that_never_takes_a_block_is_given_up(
    firmware: SignedFirmware, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: ImageTransfer, block: int, content: bytes) -> None:
        raise AccessError(AccessResult.TEMPORARY_FAILURE)

    monkeypatch.setattr(ImageTransfer, "_take", never)
    line = Line(software_meter(firmware), "wrapper", 0)
    with pytest.raises(RemoteProtocolError, match="block 0"):
        line.run(ImageUpload(IMAGE, b"fw", bytes(2000)).transfer(line.connect()))


def test_no_image_is_said_before_anything_is_sent() -> None:
    with pytest.raises(LocalProtocolError):
        ImageUpload(IMAGE, b"fw", b"")

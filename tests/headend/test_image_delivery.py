"""An image arrives whole over links that break; the meter is asked before anything is done again."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from dlms_interop_world import DEVICE, HIGH, IMAGE, TITLE, SignedFirmware, software_meter
from openami.headend.dlms_conversation import LinkSettings
from openami.headend.dlms_meter import Meter
from openami.headend.image_delivery import DeliveryPatience, ImageDelivery
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.client.image_upload import ImageUpload, TransferStatus
from openami.protocols.dlms.interface_classes.image_transfer import ImageTransfer
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.errors import LinkError, LocalProtocolError
from openami.security.counters import MemoryCounters
from served_meters import Line, served_stream

CLIENT = HIGH[AUTHENTICATED_ENCRYPTION]
QUICK = LinkSettings(1.0, 0.2, 0)
PATIENCE = DeliveryPatience(attempts=12, pause_s=0.01, decision_s=2.0, poll_s=0.01)


@asynccontextmanager
async def under_way(
    firmware: SignedFirmware,
    body: bytes,
    line: Line | None = None,
    heard: Callable[[int, int], None] = lambda there, blocks: None,
) -> AsyncIterator[tuple[ImageDelivery, ImageUpload, Meter]]:
    """A meter on a line, and an image on its way."""
    world = software_meter(firmware)
    security = ClientSecurity(TITLE, world.keys, counters=MemoryCounters({}))
    async with served_stream(lambda: ServerSession({DEVICE: world.device}), line) as port:
        reached = Meter("127.0.0.1", port, server=DEVICE, client=CLIENT, security=security, settings=QUICK)
        async with reached as meter:
            upload = ImageUpload(IMAGE, b"fw", body, heard)
            yield ImageDelivery(meter, upload, PATIENCE), upload, meter


@pytest.fixture(scope="module")
def firmware() -> SignedFirmware:
    return SignedFirmware()


async def test_a_line_that_loses_a_request_now_and_then_is_connected_again(firmware: SignedFirmware) -> None:
    rng = random.Random(7)
    line = Line(lose_request=lambda number: number > 20 and rng.random() < 0.05)
    image = firmware.image(rng.randbytes(40_000))
    steps: list[tuple[int, int]] = []
    heard = lambda there, blocks: steps.append((there, blocks))  # noqa: E731
    async with under_way(firmware, image, line, heard) as (delivery, upload, _):
        await delivery.transfer()
        await delivery.verify()
        assert await delivery.activate() is TransferStatus.ACTIVATED
    assert delivery.reconnections >= 2
    assert firmware.active == image
    assert steps[0] == (0, 79)
    assert steps[-1] == (79, 79)
    assert upload.blocks_sent < 79 + 2 * delivery.reconnections + 1


async def test_a_meter_that_is_gone_is_given_up(firmware: SignedFirmware) -> None:
    line = Line(lose_request=lambda number: number > 40)
    async with under_way(firmware, firmware.image(bytes(40_000)), line) as (_, upload, meter):
        with pytest.raises(LinkError):
            await ImageDelivery(meter, upload, DeliveryPatience(2, 0.01)).transfer()
        assert 10 < upload.there < 79


async def test_an_upload_goes_on_where_another_process_stopped(firmware: SignedFirmware) -> None:
    image = firmware.image(bytes(40_000))
    world = software_meter(firmware)
    keys = ClientSecurity(TITLE, world.keys, counters=MemoryCounters({}))
    lost = [True]
    line = Line(lose_request=lambda number: lost[0] and number >= 40)
    async with served_stream(lambda: ServerSession({DEVICE: world.device}), line) as port:
        first = ImageUpload(IMAGE, b"fw", image)
        again = ImageUpload(IMAGE, b"fw", image)
        for upload in (first, again):
            async with Meter(
                "127.0.0.1", port, server=DEVICE, client=CLIENT, security=keys, settings=QUICK
            ) as meter:
                delivery = ImageDelivery(meter, upload, DeliveryPatience(2, 0.01))
                if upload is first:
                    with pytest.raises(LinkError):
                        await delivery.transfer()
                    lost[0] = False
                    continue
                standing = await delivery.resume()
                assert (standing.status, standing.there, standing.blocks) == (1, first.there, 79)
                await delivery.transfer()
                await delivery.verify()
    assert first.blocks_sent + again.blocks_sent <= 79 + 1
    assert again.there == 79


async def test_another_image_is_not_gone_on_with(firmware: SignedFirmware) -> None:
    async with under_way(firmware, firmware.image(bytes(40_000))) as (delivery, _, meter):
        with pytest.raises(LocalProtocolError, match="no image under way"):
            await delivery.resume()
        await delivery.transfer()
        shorter = ImageDelivery(meter, ImageUpload(IMAGE, b"fw", bytes(1000)), PATIENCE)
        with pytest.raises(LocalProtocolError, match="79 blocks under way, and this one has 2"):
            await shorter.resume()


async def test_a_wrong_signature_is_refused_by_the_meter_and_not_activated(firmware: SignedFirmware) -> None:
    async with under_way(firmware, bytes(5000)) as (delivery, _, meter):
        await delivery.transfer()
        with pytest.raises(AccessError) as refused:
            await delivery.verify()
        assert refused.value.result is AccessResult.OTHER_REASON
        with pytest.raises(AccessError):
            await delivery.activate()
        assert meter.conformance


@pytest.mark.parametrize("verdict", [TransferStatus.VERIFIED, TransferStatus.VERIFICATION_FAILED])
async def test_a_meter_that_verifies_in_its_own_time_is_waited_for(
    firmware: SignedFirmware, monkeypatch: pytest.MonkeyPatch, verdict: TransferStatus
) -> None:
    """It answers "temporary failure", stands at status 2, and has decided some questions later."""
    asked: list[int] = []

    def later(self: ImageTransfer) -> None:
        self._memory.status = type(self._memory.status)(2)
        raise AccessError(AccessResult.TEMPORARY_FAILURE)

    shown = ImageTransfer.current

    def current(self: ImageTransfer, index: int) -> object:
        if index == 6 and self._memory.status == 2:
            asked.append(index)
            if len(asked) == 4:
                self._memory.status = type(self._memory.status)(int(verdict))
        return shown(self, index)

    monkeypatch.setattr(ImageTransfer, "_verify", later)
    monkeypatch.setattr(ImageTransfer, "current", current)
    async with under_way(firmware, bytes(5000)) as (delivery, _, _):
        await delivery.transfer()
        if verdict is TransferStatus.VERIFIED:
            await delivery.verify()
        else:
            with pytest.raises(AccessError):
                await delivery.verify()
    assert len(asked) >= 4

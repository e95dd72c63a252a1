"""An image into a meter over links that fail: reconnecting, and waiting where the meter takes its time.

    upload = ImageUpload(IMAGE_TRANSFER, b"fw-2.0", image)
    async with Meter("10.0.0.7", server=16, security=security) as meter:
        delivery = ImageDelivery(meter, upload)
        await delivery.transfer()
        await delivery.verify()
        await delivery.activate()

IEC 62056-6-2 class 18; that verification and activation may go on after their answer ("temporary failure",
status 2 and 5) and that a meter starts anew to activate is recalled. Rule of this file: what was done is what
the meter says it has done, after every loss it is asked first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from openami.headend.dlms_meter import Meter
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.client.association import Association, Operation
from openami.protocols.dlms.client.image_upload import ImageUpload, Standing, TransferStatus
from openami.quantities.errors import LinkError, RemoteProtocolError

T = TypeVar("T")

_LONGEST_PAUSE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class DeliveryPatience:
    """How patient a delivery is.

    Parameters
    ----------
    attempts:
        Connections in a row that bring no further block before the meter is given up.
    pause_s:
        Wait before the first reconnection; it doubles up to 30 s.
    decision_s:
        Longest time that a meter may take to verify or to activate.
    poll_s:
        How often it is asked meanwhile.
    """

    attempts: int = 5
    pause_s: float = 1.0
    decision_s: float = 120.0
    poll_s: float = 1.0


class ImageDelivery:
    """One image into one meter that is open.

    Invariant: after `LinkError` the meter is closed; while a method runs it is reconnected as often as it
    brings something.

    Parameters
    ----------
    meter:
        The meter, open.
    upload:
        The image.
    patience:
        How patient the delivery is.
    """

    def __init__(self, meter: Meter, upload: ImageUpload, patience: DeliveryPatience | None = None) -> None:
        self._meter = meter
        self._upload = upload
        self._patience = patience or DeliveryPatience()
        self._connected = True
        self.reconnections = 0

    async def standing(self) -> Standing:
        """What the meter has, of whatever image."""
        return await self._reconnecting(lambda: self._meter.run(self._upload.standing))

    async def enable(self) -> bool:
        """Enable image transfer; True where it was not enabled, `AccessError` where it is denied."""
        return await self._reconnecting(lambda: self._meter.run(self._upload.enable))

    async def resume(self) -> Standing:
        """Go on with what the meter has of the same image; `LocalProtocolError` where it has none."""
        return await self._reconnecting(lambda: self._meter.run(self._upload.resume))

    async def transfer(self) -> None:
        """Bring all blocks that the meter has not.

        Raises
        ------
        LinkError
            It cannot be reached any more.
        AccessError
            It takes no image, or not this one.
        RemoteProtocolError
            It loses the same blocks again and again, or breaks the protocol.
        """
        await self._reconnecting(lambda: self._meter.run(self._upload.transfer))

    async def verify(self) -> None:
        """Have the meter verify the image; raises `AccessError` where it refuses it, else as `transfer`."""
        await self._reconnecting(lambda: self._decided(_VERIFICATION))

    async def activate(self) -> TransferStatus:
        """Have the meter put the image into service; gives where it stands then; raises as `verify`."""
        return await self._reconnecting(lambda: self._decided(_ACTIVATION))

    async def _decided(self, decision: _Decision) -> TransferStatus:
        """Ask for a decision, unless the meter has made it already, and wait for it."""
        upload, patience = self._upload, self._patience
        refusal: AccessError | None = None
        status = await self._meter.run(upload.status)
        if status not in (decision.done, decision.under_way):
            try:
                await self._meter.run(lambda association: decision.asked(upload, association))
            except AccessError as refused:
                if refused.result is not AccessResult.TEMPORARY_FAILURE:
                    raise
                refusal = refused
            status = await self._meter.run(upload.status)
        deadline = asyncio.get_running_loop().time() + patience.decision_s
        while status is decision.under_way and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(patience.poll_s)
            status = await self._meter.run(upload.status)
        if refusal is not None and status is not decision.done:
            raise refusal
        if status is decision.failed:
            raise AccessError(AccessResult.OTHER_REASON, where=f"{upload.logical_name}")
        return status

    async def _reconnecting(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask, over a new connection where the link was lost, as long as that brings something."""
        idle, there = 0, self._upload.there
        while True:
            try:
                if not self._connected:
                    await self._meter.open()
                    self._connected = True
                    self.reconnections += 1
                return await ask()
            except (LinkError, RemoteProtocolError) as lost:
                await self._meter.close()
                self._connected = False
                idle = 0 if self._upload.there > there else idle + 1
                there = max(there, self._upload.there)
                broken = isinstance(lost, RemoteProtocolError) and idle
                if broken or idle >= self._patience.attempts:
                    raise
                await asyncio.sleep(min(self._patience.pause_s * 2 ** max(0, idle - 1), _LONGEST_PAUSE_S))


@dataclass(frozen=True, slots=True)
class _Decision:
    """Something that a meter decides on, and the statuses that tell of it."""

    asked: Callable[[ImageUpload, Association], Operation[None]]
    under_way: TransferStatus
    done: TransferStatus
    failed: TransferStatus


_VERIFICATION: Final = _Decision(
    ImageUpload.verify,
    TransferStatus.VERIFICATION_INITIATED,
    TransferStatus.VERIFIED,
    TransferStatus.VERIFICATION_FAILED,
)
_ACTIVATION: Final = _Decision(
    ImageUpload.activate,
    TransferStatus.ACTIVATION_INITIATED,
    TransferStatus.ACTIVATED,
    TransferStatus.ACTIVATION_FAILED,
)

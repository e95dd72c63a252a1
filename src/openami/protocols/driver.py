"""The meter driver: what a head-end asks of a meter, whatever protocol it speaks.

A driver is asynchronous at the edge; the protocol behind it is sans-IO. It keeps every frame of both
directions, so that each reading can be followed to the bytes it came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from openami.quantities.obis import ObisCode
from openami.quantities.units import Quantum


class RecordedFrame(NamedTuple):
    """One frame of a conversation.

    Parameters
    ----------
    direction:
        ``"->"`` sent, ``"<-"`` received.
    octets:
        The frame as it can be read: deciphered, and secrets of low level security masked.
    wire:
        The bytes that were on the wire (masked alike); the same as ``octets`` where nothing was ciphered.
    """

    direction: str
    octets: bytes
    wire: bytes


@dataclass(frozen=True, slots=True)
class RegisterValue:
    """A register as the meter gave it: an integer count of its quantum."""

    register: ObisCode
    quantum: Quantum
    value: int
    reached_at: datetime | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ProfileRows:
    """Rows of a profile as columns.

    Parameters
    ----------
    period_s:
        Capture period in seconds.
    at:
        Capture instants, UTC, ``datetime64[us]``, shape (n,); a load profile names the end of its interval.
    status:
        `openami.quantities.status.DeviceFlag` bits, int32, shape (n,).
    columns:
        int64 counts by OBIS code, each of shape (n,).
    quanta:
        What a count is worth, by OBIS code.
    """

    period_s: int
    at: npt.NDArray[np.datetime64]
    status: npt.NDArray[np.int32]
    columns: dict[ObisCode, npt.NDArray[np.int64]]
    quanta: dict[ObisCode, Quantum]


class MeterDriver(Protocol):
    """One association with one meter.

    Every method raises `LinkError` when the meter cannot be reached or does not answer, and
    `RemoteProtocolError` when it answers garbage.
    """

    async def open(self) -> None:
        """Connect and associate."""
        ...

    async def close(self) -> None:
        """Release and disconnect; never raises."""
        ...

    async def identity(self) -> str:
        """The meter's serial number."""
        ...

    async def clock(self) -> datetime:
        """The meter's clock as a UTC instant."""
        ...

    async def set_clock(self, instant: datetime) -> None:
        """Set the meter's clock."""
        ...

    async def registers(self, codes: Sequence[ObisCode]) -> list[RegisterValue]:
        """Read registers live, in the order asked."""
        ...

    async def load_profile(self, start: datetime, end: datetime, channels: Sequence[ObisCode]) -> ProfileRows:
        """Load profile rows captured in ``(start, end]``."""
        ...

    async def freezes(self, start: datetime, end: datetime, registers: Sequence[ObisCode]) -> ProfileRows:
        """Daily freezes captured in ``[start, end]``."""
        ...

    async def events(self, start: datetime, end: datetime) -> list[tuple[datetime, int]]:
        """Events with ``start <= at < end``: instant and code."""
        ...

    def take_frames(self) -> list[RecordedFrame]:
        """Frames since the last call, in order."""
        ...

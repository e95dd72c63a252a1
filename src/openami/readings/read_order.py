"""Read orders: what the utility wants read from a meter, handed to a head-end."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from openami.quantities.obis import ObisCode


@dataclass(frozen=True, slots=True)
class ReadOrder:
    """Read load profiles and registers of one meter.

    Parameters
    ----------
    meter_id:
        The meter that is expected at the address (its serial number).
    host, port, logical_device:
        Address: TCP endpoint and the wrapper port (server address) of the logical device.
    zone:
        IANA zone in which the meter counts civil days.
    start, end:
        Instants (UTC) of the load profile to read, ``[start, end)``.
    channels:
        Interval channels to take from the load profile.
    registers:
        Registers to read live.
    freezes:
        True to read the daily freeze profile over the same days.
    set_clock_beyond_s:
        Set the meter's clock when it is off by more than this many seconds.
    """

    meter_id: str
    host: str
    port: int
    logical_device: int
    zone: str
    start: datetime
    end: datetime
    channels: tuple[ObisCode, ...] = ()
    registers: tuple[ObisCode, ...] = ()
    freezes: bool = True
    set_clock_beyond_s: int = 30
    password: bytes = field(default=b"", repr=False)

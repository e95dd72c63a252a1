"""Final blocks become the usage a tariff prices: days without holes, one grid, one quantum a channel.

Never to be broken: nothing is lost or rounded on the way. Blocks of a finer quantum make the whole channel
finer; blocks of a longer interval make the grid longer, by adding intervals up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np

from openami.billing.usage import Channel, Usage
from openami.quantities.errors import BillingError
from openami.quantities.obis import ObisCode
from openami.quantities.status import Quality, qualities
from openami.quantities.units import Quantum
from openami.readings.interval_block import IntervalBlock

_LARGEST = 2**62


def missing_days(
    finals: Sequence[IntervalBlock], channels: Sequence[ObisCode], first_day: date, last_day: date
) -> list[date]:
    """Days of ``[first_day, last_day)`` on which one of the channels has no final, or one with a hole."""
    whole = {
        (block.channel, block.day.day) for block in finals if block.status is None or not block.missing.any()
    }
    days = (first_day + timedelta(days=n) for n in range((last_day - first_day).days))
    return [day for day in days if any((code, day) not in whole for code in channels)]


def suspect_days(finals: Sequence[IntervalBlock]) -> list[date]:
    """Days with a final value that was measured, failed its checks and was not replaced."""
    return sorted(
        {
            block.day.day
            for block in finals
            if block.status is not None and bool((qualities(block.status) == Quality.SUSPECT).any())
        }
    )


def usage_of_finals(
    finals: Sequence[IntervalBlock],
    zone: str,
    first_day: date,
    last_day: date,
    capacity_va: int | None = None,
) -> Usage:
    """Usage of one usage point from its final blocks, one a channel and day, none missing.

    Raises
    ------
    BillingError
        Blocks of different units or zones in a channel, intervals that do not divide each other, or values
        that do not fit 64 bits in the finest quantum.
    """
    interval_s = max((block.interval_s for block in finals), default=3600)
    by_channel: dict[ObisCode, list[IntervalBlock]] = {}
    for block in sorted(finals, key=lambda block: (block.channel, block.day.day)):
        if block.day.zone != zone:
            raise BillingError(f"{_place(block)} counts days in {block.day.zone}", expected=zone)
        if interval_s % block.interval_s:
            raise BillingError(f"{_place(block)} has intervals of {block.interval_s} s beside {interval_s} s")
        by_channel.setdefault(block.channel, []).append(block)
    channels = {code: _channel(blocks, interval_s) for code, blocks in by_channel.items()}
    return Usage(zone, first_day, last_day, interval_s, channels, capacity_va)


def _channel(blocks: Sequence[IntervalBlock], interval_s: int) -> Channel:
    units = {block.quantum.unit for block in blocks}
    if len(units) > 1:
        raise BillingError(f"{_place(blocks[0])} and later days are in different units")
    exponent = min(block.quantum.exponent for block in blocks)
    parts = []
    for block in blocks:
        factor = 10 ** (block.quantum.exponent - exponent)
        if int(np.abs(block.values).max(initial=0)) * factor > _LARGEST:
            raise BillingError(f"{_place(block)} does not fit 64 bits at 1e{exponent}")
        values = block.values * factor
        joined = interval_s // block.interval_s
        parts.append(values.reshape(-1, joined).sum(axis=1) if joined > 1 else values)
    return Channel(Quantum(blocks[0].quantum.unit, exponent), np.concatenate(parts)[None, :])


def values_digest(finals: Sequence[IntervalBlock]) -> str:
    """Hash of what final blocks say (channel, day, quantum, values, holes), whatever order they come in."""
    digest = hashlib.sha256()
    for block in sorted(finals, key=lambda block: (block.channel, block.day.day)):
        head = (block.channel, block.day.day.isoformat(), block.day.zone, block.interval_s, block.quantum)
        digest.update("|".join(map(str, head)).encode())
        digest.update(block.values.tobytes())
        digest.update(block.missing.tobytes() if block.status is not None and block.missing.any() else b"")
    return digest.hexdigest()


def _place(block: IntervalBlock) -> str:
    return f"final of {block.series_id}, {block.channel}, {block.day.day}"

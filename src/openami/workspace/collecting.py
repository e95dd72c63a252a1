"""Collection for a workspace: orders from the registry and the store, readings through the Door."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta

import numpy as np

from openami.headend.backfill import Mask, PresentIntervals, orders_for, present_in
from openami.headend.collection import CollectionPolicy, CollectionReport, Collector
from openami.headend.dlms_conversation import LinkSettings
from openami.headend.dlms_tcp import dlms_tcp_drivers
from openami.headend.key_rotation import Rotation
from openami.quantities.civil_time import CivilDay
from openami.quantities.obis import ObisCode
from openami.readings.door import Door
from openami.readings.interval_block import IntervalBlock
from openami.readings.read_order import ReadOrder
from openami.workspace.admission import meter_access
from openami.workspace.meter_access import passwords_of
from openami.workspace.workspace import Workspace

HORIZON_DAYS = 7


def orders_of_day(
    workspace: Workspace,
    day: date,
    *,
    horizon_days: int = HORIZON_DAYS,
    set_clock_beyond_s: int = 30,
) -> list[ReadOrder]:
    """What is to be read for ``day``: every reachable meter that lacks something of it or of the days before.

    Parameters
    ----------
    day:
        Civil day; it should be over.
    horizon_days:
        How many days back a gap is filled from the meter's profile.
    set_clock_beyond_s:
        A clock that is off by more is set.
    """
    meters = [meter for meter in workspace.registry.meters() if meter.host]
    first = day - timedelta(days=horizon_days)
    raw = workspace.store.raw([meter.meter_id for meter in meters], None, first, day + timedelta(days=1))
    orders = orders_for(
        meters,
        workspace.registry.installations(),
        _present_or_given_up(raw),
        day,
        horizon_days,
        set_clock_beyond_s=set_clock_beyond_s,
    )
    passwords = passwords_of(workspace.folder, [order.meter_id for order in orders])
    return [replace(order, password=passwords.get(order.meter_id, b"")) for order in orders]


def _present_or_given_up(raw: Sequence[IntervalBlock]) -> PresentIntervals:
    """What needs no asking: what is there, and gaps that the meter left when it answered after the day.

    An order reaches back to the first gap, so a reading of that day or a later one, taken when the day was
    over, means that the meter was asked for the gap and does not have it.
    """
    present = present_in(raw)
    settled_before: dict[str, date] = {}
    days: dict[str, IntervalBlock] = {}
    for block in raw:
        if not block.missing.all():
            over = block.captured_at >= block.day.end
            after = block.day.day + timedelta(days=1) if over else block.day.day
            settled_before[block.series_id] = max(after, settled_before.get(block.series_id, after))
            days[block.series_id] = block

    def settled(meter_id: str, channel: ObisCode, day: date) -> Mask | None:
        if meter_id in days and day < settled_before[meter_id]:
            block = days[meter_id]
            return np.ones(CivilDay(day, block.day.zone).interval_count(block.interval_s), np.bool_)
        return present(meter_id, channel, day)

    return settled


async def collect(
    workspace: Workspace,
    orders: Sequence[ReadOrder],
    *,
    door: Door | None = None,
    policy: CollectionPolicy | None = None,
    link: LinkSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
    settled: Callable[[Rotation], None] | None = None,
) -> CollectionReport:
    """Execute orders; what the report calls read is durable.

    Parameters
    ----------
    door:
        Another way in than the workspace's own.
    policy:
        How many at once and how often.
    link:
        How patient the driver is.
    settled:
        Told which keys a meter was seen to have whose rotation was interrupted.

    Raises
    ------
    StoreError
        The readings could not be stored; what was acknowledged before is safe.
    SecurityError
        The keyring cannot be opened or written.
    """
    told = settled or (lambda found: None)
    with meter_access(workspace.folder, orders, workspace.clock.now(), told, link) as admission:
        collector = Collector(
            door or workspace.door,
            workspace.clock,
            dlms_tcp_drivers(link, admission, admission.settle),
            policy=policy,
            progress=progress,
        )
        return await collector.collect(orders)

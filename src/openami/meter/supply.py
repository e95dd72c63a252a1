"""The network that feeds the meters: what truly flows at each customer, what passes the meter, and areas.

The true flow of a customer is the load curve while the customer is connected and supplied; what passes the
meter is that less a bypass. An area's flow is the signed sum of the true flows plus technical losses,
taken segment by segment, so a part that went past a meter is still in its area. Rule never to be broken:
a flow that was already counted does not change afterwards (a load contact that is switched changes the
flow from that instant on, when the area's meter has been brought there).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from openami.quantities.errors import QuantityError

from .faults import Bypass, Outage
from .fleet_spec import AreaCurve, FleetSpec, MeterSpec
from .load_curve import MWH_PER_WH, CurveBank, CurveSpec, Day
from .meter_clock import milliseconds
from .metering_core.load_flow import (
    DAY_MS,
    SLOT_MS,
    SLOTS,
    FlowDay,
    Share,
    gated,
    segment_lengths,
    slot_edges,
    touches,
)

DAYS_KEPT = 4
AREA_LIMIT_MWH = 3_000_000_000
"""Largest energy of an area in a slot (12 MW): its square still fits an int64."""
_FOR_EVER_MS = 2**62


@dataclass(slots=True, eq=False)
class _Matrix:
    """All customers' curves of one UTC day, laid out as `FlowDay` wants them, and the flows made of them."""

    edges_ms: npt.NDArray[np.int64]
    lengths_ms: npt.NDArray[np.int64]
    energy_mwh: npt.NDArray[np.int64]
    before_mwh: npt.NDArray[np.int64]
    areas: dict[str, FlowDay] = field(default_factory=dict)
    passing: dict[int, FlowDay] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CustomerSource:
    """Flow through one customer's meter."""

    supply: Supply
    index: int

    def flow(self, day: Day) -> FlowDay:
        """What passes the meter on a UTC day."""
        return self.supply.metered(self.index, day)


@dataclass(frozen=True, slots=True)
class AreaSource:
    """Flow through an area's meter."""

    supply: Supply
    area: str
    life: tuple[Share, ...]

    def flow(self, day: Day) -> FlowDay:
        """What flows into the area on a UTC day."""
        return gated(self.supply.area(self.area, day), self.life)


class Supply:
    """Flows of a fleet's customers and areas.

    Invariant: what `metered`, `true` and `area` say of a time before the last call of `open_contact` or
    `close_contact` stays as it was said then, for every instant already counted.
    """

    def __init__(self, spec: FleetSpec) -> None:
        customers = [(meter, meter.curve) for meter in spec.meters if isinstance(meter.curve, CurveSpec)]
        self._index = {meter.meter_id: index for index, (meter, _) in enumerate(customers)}
        self._bank = CurveBank([curve for _, curve in customers], spec.seed)
        self._connected = [supply_windows(meter, spec) for meter, _ in customers]
        self._bypassed = [_bypass_shares(meter, spec) for meter, _ in customers]
        self._opened: dict[int, list[Share]] = {}
        self._members: dict[str, list[int]] = {}
        for index, (meter, _) in enumerate(customers):
            if meter.area is not None:
                self._members.setdefault(meter.area, []).append(index)
        self._losses = {
            meter.curve.area: meter.curve.loss_permille
            for meter in spec.meters
            if isinstance(meter.curve, AreaCurve)
        }
        self._days: OrderedDict[Day, _Matrix] = OrderedDict()

    def source(self, meter: MeterSpec, spec: FleetSpec) -> CustomerSource | AreaSource:
        """The flow source of a meter's metering core."""
        if isinstance(meter.curve, AreaCurve):
            return AreaSource(self, meter.curve.area, supply_windows(meter, spec))
        return CustomerSource(self, self._index[meter.meter_id])

    def metered(self, index: int, day: Day) -> FlowDay:
        """What passes a customer's meter on a UTC day (its contact closed)."""
        shares = (*self._connected[index], *self._bypassed[index])
        matrix = self._matrix(day)
        if not shares or not touches(shares, day):
            return _curve(matrix, index)
        if index not in matrix.passing:
            matrix.passing[index] = gated(_curve(matrix, index), shares)
        return matrix.passing[index]

    def true(self, index: int, day: Day) -> FlowDay:
        """What truly flows at a customer on a UTC day (the contact closed), bypass included."""
        return gated(_curve(self._matrix(day), index), self._connected[index])

    def true_mwh(self, meter_id: str, start_ms: int, end_ms: int) -> tuple[int, int]:
        """Energy that truly flowed at a customer, import and export: for whoever checks the detection.

        Raises
        ------
        QuantityError
            The meter has no customer.
        """
        if meter_id not in self._index:
            raise QuantityError(f"{meter_id!r} is not the meter of a customer")
        total = np.zeros(2, np.int64)
        for day in range(start_ms // DAY_MS, -(-end_ms // DAY_MS)):
            within = np.array([max(start_ms, day * DAY_MS), min(end_ms, (day + 1) * DAY_MS)], np.int64)
            total += self.true(self._index[meter_id], day).segments(within)[:, 0]
        return int(total[0]), int(total[1])

    def area(self, area: str, day: Day) -> FlowDay:
        """What flows into an area on a UTC day: customers and losses, as import or export of each segment."""
        matrix = self._matrix(day)
        if area not in matrix.areas:
            matrix.areas[area] = self._sum(area, day, matrix)
        return matrix.areas[area]

    def open_contact(self, meter_id: str, at_ms: int) -> None:
        """A customer's load contact opens: nothing passes the meter from now on."""
        index = self._index.get(meter_id)
        if index is not None:
            self._opened.setdefault(index, []).append(Share(at_ms, _FOR_EVER_MS))
            self._forget_areas()

    def close_contact(self, meter_id: str, at_ms: int) -> None:
        """A customer's load contact closes again."""
        index = self._index.get(meter_id)
        if index is not None and (history := self._opened.get(index)):
            history[-1] = Share(history[-1].start_ms, at_ms)
            self._forget_areas()

    def _forget_areas(self) -> None:
        for matrix in self._days.values():
            matrix.areas.clear()

    def _matrix(self, day: Day) -> _Matrix:
        matrix = self._days.get(day)
        if matrix is None:
            energies = self._bank.energies(day)
            energy = np.zeros((len(self._bank), 2, SLOTS + 1), np.int64)
            energy[:, :, :-1] = energies
            before = np.zeros_like(energy)
            np.cumsum(energies, axis=2, out=before[:, :, 1:])
            edges = slot_edges(day)
            matrix = self._days[day] = _Matrix(edges, segment_lengths(edges), energy, before)
            if len(self._days) > DAYS_KEPT:
                self._days.popitem(last=False)
        return matrix

    def _sum(self, area: str, day: Day, matrix: _Matrix) -> FlowDay:
        members = self._members.get(area, [])
        odd = [
            index
            for index in members
            if touches((*self._connected[index], *self._opened.get(index, ())), day)
        ]
        plain = [index for index in members if index not in set(odd)]
        edges = matrix.edges_ms
        if odd:
            pieces = [self.true(index, day).edges_ms for index in odd]
            for index in odd:
                pieces.append(self.metered(index, day).edges_ms)
                for share in self._opened.get(index, ()):
                    cuts = np.array([share.start_ms, share.end_ms], np.int64)
                    pieces.append(cuts.clip(edges[0], edges[-1]))
            edges = np.unique(np.concatenate(pieces))
        together = matrix.energy_mwh[plain], matrix.before_mwh[plain]
        flat = FlowDay(
            matrix.edges_ms,
            together[0].reshape(2 * len(plain), SLOTS + 1),
            together[1].reshape(2 * len(plain), SLOTS + 1),
            matrix.lengths_ms,
        )
        segments = flat.segments(edges).reshape(len(plain), 2, edges.size - 1).sum(axis=0)
        for index in odd:
            segments += self._supplied(index, day, edges)
        net = segments[0] - segments[1]
        net += self._technical_loss(area, net, np.diff(edges))
        return FlowDay.of(edges, np.stack([np.maximum(net, 0), np.maximum(-net, 0)]))

    def _supplied(self, index: int, day: Day, edges: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """True flow of a customer less what an open contact kept away: mWh, shape (2, segments)."""
        energy = self.true(index, day).segments(edges)
        if opened := self._opened.get(index):
            passing = self.metered(index, day).segments(edges)
            for share in opened:
                inside = (edges[:-1] >= share.start_ms) & (edges[:-1] < share.end_ms)
                energy[:, inside] -= passing[:, inside]
        return energy

    def _technical_loss(
        self, area: str, net: npt.NDArray[np.int64], lengths_ms: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Losses of each segment in mWh, by the square of its power; never negative."""
        permille = self._losses.get(area, 0)
        daily = int(self._bank.daily_wh[self._members.get(area, [])].sum())
        if permille == 0 or daily == 0:
            return np.zeros_like(net)
        if np.abs(net).max() > AREA_LIMIT_MWH:
            raise QuantityError(f"area {area!r} draws more than 12 MW", expected="smaller areas")
        at_reference = daily * MWH_PER_WH * 5 // (4 * SLOTS)
        divisor = max(1, at_reference * 1000 // permille)
        loss: npt.NDArray[np.int64] = net * net // divisor * SLOT_MS // lengths_ms
        return loss


def _curve(matrix: _Matrix, index: int) -> FlowDay:
    """A customer's load curve of the day, without copying it."""
    return FlowDay(matrix.edges_ms, matrix.energy_mwh[index], matrix.before_mwh[index], matrix.lengths_ms)


def supply_windows(meter: MeterSpec, spec: FleetSpec) -> tuple[Share, ...]:
    """When no energy reaches a meter: before installation, after removal, and in outages."""
    windows = []
    if meter.installed_at is not None:
        windows.append(Share(-_FOR_EVER_MS, milliseconds(meter.installed_at)))
    if meter.removed_at is not None:
        windows.append(Share(milliseconds(meter.removed_at), _FOR_EVER_MS))
    windows += [Share(start, end) for start, end in outage_windows(meter, spec)]
    return tuple(windows)


def outage_windows(meter: MeterSpec, spec: FleetSpec) -> list[tuple[int, int]]:
    """Times without supply at a meter, in milliseconds, merged and ascending."""
    area = meter.curve.area if isinstance(meter.curve, AreaCurve) else meter.area
    found = sorted(
        (milliseconds(fault.start), milliseconds(fault.end))
        for fault in spec.faults
        if isinstance(fault, Outage)
        and (fault.meter_id == meter.meter_id or (area is not None and fault.area == area))
    )
    return merged(found)


def merged(windows: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ascending windows with those that touch or overlap made one."""
    result: list[tuple[int, int]] = []
    for start, end in windows:
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def _bypass_shares(meter: MeterSpec, spec: FleetSpec) -> tuple[Share, ...]:
    return tuple(
        Share(
            milliseconds(fault.start),
            _FOR_EVER_MS if fault.end is None else milliseconds(fault.end),
            fault.denominator - fault.numerator,
            fault.denominator,
        )
        for fault in spec.faults
        if isinstance(fault, Bypass) and fault.meter_id == meter.meter_id
    )

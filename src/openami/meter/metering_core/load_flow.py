"""Energy that flows at a point of the network: integer mWh per segment of a UTC day.

A day is cut into segments, the 96 quarter-hours of UTC and any instant at which something changed (a
failure of supply, a bypass, an exchange). Inside a segment the power is constant; what has flowed after a
part of it is ``floor(energy * elapsed / length)``, so the parts of a segment always sum to the segment.
Rule never to be broken: instants are integer milliseconds and energies integer milliwatt-hours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from openami.quantities.errors import QuantityError
from openami.quantities.obis import EXPORT_ENERGY, IMPORT_ENERGY, ObisCode

from .energy_register import MWH_PER_WH, EnergyRegister

SLOT_MS = 900_000
DAY_MS = 86_400_000
SLOTS = DAY_MS // SLOT_MS
MS_PER_HOUR = 3_600_000
SLOT_LIMIT_MWH = 9_000_000_000
"""Largest energy of a slot (36 MW): times a day in milliseconds it still fits an int64."""


@dataclass(frozen=True, slots=True, eq=False)
class FlowDay:
    """What flows during one UTC day, by channel (0 import, 1 export).

    Parameters
    ----------
    edges_ms:
        Segment boundaries from the start to the end of the day, int64, shape (m + 1,).
    energy_mwh:
        Energy of each segment and a closing zero, int64, shape (channels, m + 1).
    before_mwh:
        Energy that has flowed before each segment begins, int64, shape (channels, m + 1).
    lengths_ms:
        Length of each segment and a closing 1, int64, shape (m + 1,).
    """

    edges_ms: npt.NDArray[np.int64]
    energy_mwh: npt.NDArray[np.int64]
    before_mwh: npt.NDArray[np.int64]
    lengths_ms: npt.NDArray[np.int64]

    @classmethod
    def of(cls, edges_ms: npt.NDArray[np.int64], energy_mwh: npt.NDArray[np.int64]) -> FlowDay:
        """Flow from ``edges_ms`` (m + 1,) and the energies of the segments (channels, m)."""
        channels = energy_mwh.shape[0]
        padded = np.zeros((channels, edges_ms.size), np.int64)
        padded[:, :-1] = energy_mwh
        before = np.zeros_like(padded)
        np.cumsum(energy_mwh, axis=1, out=before[:, 1:])
        return cls(edges_ms, padded, before, segment_lengths(edges_ms))

    def flowed(self, instants_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Energy since the start of the day, at instants of the day.

        Parameters
        ----------
        instants_ms:
            Instants within the day, its end included, shape (n,).

        Returns
        -------
        mWh, int64, shape (channels, n).
        """
        index = self.edges_ms.searchsorted(instants_ms, side="right") - 1
        elapsed = instants_ms - self.edges_ms[index]
        result: npt.NDArray[np.int64] = self.before_mwh[:, index]
        if elapsed.any():
            result += self.energy_mwh[:, index] * elapsed // self.lengths_ms[index]
        return result

    def segments(self, edges_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Energy between the given instants of the day: mWh, shape (channels, edges - 1)."""
        return np.diff(self.flowed(edges_ms), axis=1)

    def power_mw(self, instant_ms: int) -> tuple[int, ...]:
        """Power in the segment of an instant, by channel, in milliwatts."""
        index = int(self.edges_ms.searchsorted(instant_ms, side="right")) - 1
        length = int(self.lengths_ms[index])
        return tuple(int(energy) * MS_PER_HOUR // length for energy in self.energy_mwh[:, index])


def segment_lengths(edges_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Lengths of the segments between edges, with a closing 1: shape (m + 1,)."""
    lengths = np.ones(edges_ms.size, np.int64)
    np.subtract(edges_ms[1:], edges_ms[:-1], out=lengths[:-1])
    return lengths


def slot_edges(day: int) -> npt.NDArray[np.int64]:
    """The 97 quarter-hour boundaries of a UTC day (days since 1970), in milliseconds."""
    return day * DAY_MS + np.arange(SLOTS + 1, dtype=np.int64) * SLOT_MS


@dataclass(frozen=True, slots=True)
class Share:
    """From ``start_ms`` up to ``end_ms``, ``numerator / denominator`` of a flow passes (0 / 1: none)."""

    start_ms: int
    end_ms: int
    numerator: int = 0
    denominator: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.numerator <= self.denominator <= 1000 or self.denominator == 0:
            raise QuantityError(
                f"a share of {self.numerator}/{self.denominator}",
                expected="0 <= numerator <= denominator, the denominator 1 .. 1000",
            )


def touches(shares: Iterable[Share], day: int) -> bool:
    """True when one of the shares concerns the UTC day."""
    start = day * DAY_MS
    return any(share.start_ms < start + DAY_MS and share.end_ms > start for share in shares)


def gated(flow: FlowDay, shares: Iterable[Share]) -> FlowDay:
    """The part of a flow that passes.

    Segments are cut where a share begins or ends; a segment's part is ``floor(energy * share)``.
    """
    start, end = int(flow.edges_ms[0]), int(flow.edges_ms[-1])
    relevant = [share for share in shares if share.start_ms < end and share.end_ms > start]
    if not relevant:
        return flow
    cuts = [min(max(at, start), end) for share in relevant for at in (share.start_ms, share.end_ms)]
    edges = np.union1d(flow.edges_ms, np.array(cuts, np.int64))
    energy = flow.segments(edges)
    for share in relevant:
        inside = (edges[:-1] >= share.start_ms) & (edges[:-1] < share.end_ms)
        energy[:, inside] = energy[:, inside] * share.numerator // share.denominator
    return FlowDay.of(edges, energy)


class FlowSource(Protocol):
    """Where a metering core finds what flows through it."""

    def flow(self, day: int) -> FlowDay:
        """The flow of a UTC day, given in days since 1970."""
        ...


class CurveMeteringCore:
    """A metering core that counts a given flow instead of samples.

    Invariant: the registers hold what has flowed from the start to `position_ms` while the load contact
    was closed, to the last mWh.

    Parameters
    ----------
    source:
        What flows.
    position_ms:
        Instant from which the core counts.
    digits:
        Digits of the dials.
    start_wh:
        Where the dials stand at first: import, or import and export. Their number is the number of channels.
    """

    __slots__ = ("_closed", "_position_ms", "_registers", "_source")

    def __init__(self, source: FlowSource, position_ms: int, digits: int, start_wh: tuple[int, ...]) -> None:
        if not 1 <= len(start_wh) <= 2:
            raise QuantityError(f"{len(start_wh)} start values", expected="import, or import and export")
        self._source = source
        self._position_ms = position_ms
        self._registers = tuple(EnergyRegister(digits, start) for start in start_wh)
        self._closed = True

    @property
    def channels(self) -> tuple[ObisCode, ...]:
        """Import, or import and export."""
        return (IMPORT_ENERGY, EXPORT_ENERGY)[: len(self._registers)]

    @property
    def modulus_wh(self) -> int:
        """Roll-over value of the dials."""
        return self._registers[0].modulus_wh

    @property
    def position_ms(self) -> int:
        """The instant reached."""
        return self._position_ms

    @property
    def dials_wh(self) -> tuple[int, ...]:
        """What the dials show."""
        return tuple(register.dial_wh for register in self._registers)

    @property
    def residues_mwh(self) -> tuple[int, ...]:
        """What stands behind the dials."""
        return tuple(register.residue_mwh for register in self._registers)

    @property
    def power_w(self) -> tuple[int, ...]:
        """Mean power of the present segment, by channel, in W."""
        if not self._closed:
            return (0,) * len(self._registers)
        power = self._source.flow(self._position_ms // DAY_MS).power_mw(self._position_ms)
        return tuple(value // MWH_PER_WH for value in power[: len(self._registers)])

    def connect(self) -> None:
        """Close the load contact from `position_ms` on."""
        self._closed = True

    def disconnect(self) -> None:
        """Open the load contact from `position_ms` on: no energy flows."""
        self._closed = False

    def run_to(self, instants_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Count on; see `MeteringCore.run_to`."""
        if instants_ms.size == 0:
            return np.empty((len(self._registers), 0), np.int64)
        if instants_ms[0] < self._position_ms:
            raise QuantityError("a metering core was asked to run back in time")
        last = int(instants_ms[-1])
        day = self._position_ms // DAY_MS
        if last <= (day + 1) * DAY_MS:
            return self._run(self._source.flow(day), instants_ms)
        parts = []
        begin = 0
        while True:
            end = (day + 1) * DAY_MS
            stop = int(instants_ms.searchsorted(end, side="right"))
            flow = self._source.flow(day)
            parts.append(self._run(flow, instants_ms[begin:stop]))
            if stop == instants_ms.size:
                return np.concatenate(parts, axis=1)
            if self._position_ms < end:
                self._run(flow, np.array([end], np.int64))
            begin = stop
            day += 1

    def _run(self, flow: FlowDay, instants_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Count within one UTC day."""
        points = np.empty(instants_ms.size + 1, np.int64)
        points[0] = self._position_ms
        points[1:] = instants_ms
        flowed = flow.flowed(points)
        dials = np.empty((len(self._registers), instants_ms.size), np.int64)
        for channel, register in enumerate(self._registers):
            steps = flowed[channel, 1:] - flowed[channel, :-1]
            if not self._closed:
                steps[:] = 0
            dials[channel] = register.add(steps)
        if instants_ms.size:
            self._position_ms = int(points[-1])
        return dials

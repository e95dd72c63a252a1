"""Aggregates of a supply, what its verdict is made from: ten-minute values, frequencies and events.

Intervals are those of IEC 61000-4-30, ten minutes of UTC each, here named by their *start*.

Rule: what was not measured is NaN, never zero; nothing is filled in when stretches are joined.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from openami.metrology.power_quality.event_kernel import EventKind
from openami.metrology.power_quality.flicker_severity import INTERVALS_OF_PLT, plt
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

INTERVAL_US: Final = 600_000_000
"""Ten minutes in microseconds."""

FREQUENCY_US: Final = 10_000_000
"""Ten seconds in microseconds."""

_END_OF_TIME_US: Final = 253_402_300_800_000_000
"""The year 10000, which no calendar here knows."""

LONGEST: Final = 2 * 366 * 144
"""Intervals of two years: what is put together in memory at most."""

FREQUENCIES: Final = INTERVAL_US // FREQUENCY_US
"""Values of frequency in an interval."""


@dataclass(frozen=True, slots=True)
class SupplyEvents:
    """Voltage events in the order of their beginning, as columns; polyphase events, one row each.

    Raises
    ------
    MeteringError
        Columns of different lengths, starts out of order, or a kind that is none.
    """

    kind: U8
    """(e,) `EventKind`."""
    start_us: I64
    """(e,) UTC, microseconds since 1970, rising."""
    duration_s: F64
    """(e,) NaN when the event had not ended at the end of the data."""
    level_v: F64
    """(e,) residual voltage (dip, interruption), largest (swell) or largest change (rapid change), V."""
    phases: U8
    """(e,) bit 0: phase 1, bit 1: phase 2, bit 2: phase 3."""

    def __post_init__(self) -> None:
        shapes = {
            column.shape for column in (self.kind, self.start_us, self.duration_s, self.level_v, self.phases)
        }
        if shapes != {(self.kind.size,)}:
            raise MeteringError(f"columns of events of the shapes {shapes}", expected="equally many in each")
        if np.any(np.diff(self.start_us) < 0) or np.any(~np.isin(self.kind, list(EventKind))):
            raise MeteringError(
                "events out of order or of unknown kinds", expected="rising starts, kinds 0 to 3"
            )
        if _impossible(self.duration_s) or _impossible(self.level_v):
            raise MeteringError(
                "events of a negative or infinite duration or level", expected="seconds, volts"
            )

    @property
    def count(self) -> int:
        """Number of events."""
        return int(self.kind.size)

    def chosen(self, which: Mask | I64) -> SupplyEvents:
        """The rows of a mask or of indices."""
        return SupplyEvents(
            self.kind[which],
            self.start_us[which],
            self.duration_s[which],
            self.level_v[which],
            self.phases[which],
        )


def no_events() -> SupplyEvents:
    """Columns without a row."""
    return SupplyEvents(
        np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0, np.uint8)
    )


@dataclass(frozen=True, slots=True)
class SupplyAggregates:
    """Aggregates of one supply over ``n`` consecutive intervals of ten minutes.

    Raises
    ------
    MeteringError
        Shapes or times that do not belong together.
    """

    nominal_v: float
    """Declared voltage between the measured conductors, V."""
    nominal_hz: int
    """50 or 60."""
    start_us: int
    """UTC of the first interval's start, microseconds since 1970, a whole ten minutes."""
    u_v: F64
    """(n, phases) rms voltage, V."""
    flagged: Mask
    """(n,) a dip, swell or interruption touched the interval."""
    thd_pct: F64
    """(n, phases) total harmonic distortion of the voltage, percent of the fundamental."""
    harmonic_orders: I64
    """(k,) rising orders from 2."""
    harmonic_pct: F64
    """(n, phases, k) harmonic subgroups of the voltage, percent of the fundamental."""
    unbalance_pct: F64
    """(n,) negative over positive sequence, percent; NaN with fewer than three phases."""
    pst: F64
    """(n, phases) short-term flicker severity."""
    f_hz: F64
    """(60 n,) frequency of consecutive ten seconds."""
    events: SupplyEvents

    def __post_init__(self) -> None:
        if self.u_v.ndim != 2 or not 1 <= self.u_v.shape[1] <= 3:
            raise MeteringError(
                f"voltages of the shape {self.u_v.shape}", expected="(intervals, 1 to 3 phases)"
            )
        count, phases = self.u_v.shape
        shapes = {
            "flagged": (count,),
            "thd_pct": (count, phases),
            "harmonic_orders": (self.harmonic_orders.size,),
            "harmonic_pct": (count, phases, self.harmonic_orders.size),
            "unbalance_pct": (count,),
            "pst": (count, phases),
            "f_hz": (FREQUENCIES * count,),
        }
        for name, shape in shapes.items():
            found = getattr(self, name).shape
            if found != shape:
                raise MeteringError(f"{name} has the shape {found}", expected=f"{shape}, as the voltages")
        for name in ("u_v", "thd_pct", "harmonic_pct", "unbalance_pct", "pst", "f_hz"):
            if _impossible(getattr(self, name)):
                raise MeteringError(
                    f"{name} has negative or infinite values", expected="zero and more, or NaN"
                )
        if not 1 <= self.nominal_v <= 1e6 or self.nominal_hz not in (50, 60):
            raise MeteringError(
                f"a supply of {self.nominal_v} V and {self.nominal_hz} Hz", expected="volts; 50 or 60 Hz"
            )
        if self.start_us % INTERVAL_US or not 0 <= self.start_us <= self.end_us < _END_OF_TIME_US:
            raise MeteringError(
                f"intervals begin at {self.start_us} us",
                expected="a whole ten minutes of UTC, from 1970 to 9999",
            )
        began = self.events.start_us
        if began.size and not self.start_us <= began[0] <= began[-1] <= self.end_us:
            raise MeteringError("events that began outside the intervals", expected="only those within")
        if np.any(np.diff(self.harmonic_orders) <= 0) or np.any(self.harmonic_orders < 2):
            raise MeteringError(f"harmonics {self.harmonic_orders.tolist()}", expected="rising orders from 2")

    @property
    def intervals(self) -> int:
        """Number of ten-minute intervals."""
        return int(self.u_v.shape[0])

    @property
    def phases(self) -> int:
        """Number of phases."""
        return int(self.u_v.shape[1])

    @property
    def end_us(self) -> int:
        """UTC of the last interval's end."""
        return self.start_us + self.intervals * INTERVAL_US

    @property
    def measured(self) -> Mask:
        """(n,) some voltage of the interval is there."""
        return np.asarray(np.isfinite(self.u_v).any(axis=1))

    def stretch(self, first: int, last: int) -> SupplyAggregates:
        """Intervals ``first`` up to (not with) ``last``, and the events that began in them.

        Raises
        ------
        MeteringError
            There are no such intervals.
        """
        if not 0 <= first < last <= self.intervals:
            raise MeteringError(
                f"intervals {first} to {last}", expected=f"0 <= first < last <= {self.intervals}"
            )
        begin, end = self.start_us + first * INTERVAL_US, self.start_us + last * INTERVAL_US
        began = (self.events.start_us >= begin) & (self.events.start_us < end)
        return SupplyAggregates(
            nominal_v=self.nominal_v,
            nominal_hz=self.nominal_hz,
            start_us=begin,
            u_v=self.u_v[first:last],
            flagged=self.flagged[first:last],
            thd_pct=self.thd_pct[first:last],
            harmonic_orders=self.harmonic_orders,
            harmonic_pct=self.harmonic_pct[first:last],
            unbalance_pct=self.unbalance_pct[first:last],
            pst=self.pst[first:last],
            f_hz=self.f_hz[FREQUENCIES * first : FREQUENCIES * last],
            events=self.events.chosen(began),
        )

    def long_term_flicker(self) -> tuple[F64, Mask, int]:
        """Plt of the two hours of UTC that lie wholly in the data.

        Returns
        -------
        tuple
            Plt (b, phases), NaN where a Pst is missing; whether an interval of it was flagged (b,); and the
            index of the first interval of the first one.
        """
        skipped = -(self.start_us // INTERVAL_US) % INTERVALS_OF_PLT
        blocks = max(self.intervals - skipped, 0) // INTERVALS_OF_PLT
        whole = slice(skipped, skipped + blocks * INTERVALS_OF_PLT)
        pst = self.pst[whole].reshape(blocks, INTERVALS_OF_PLT, self.phases)
        flagged = self.flagged[whole].reshape(blocks, INTERVALS_OF_PLT)
        return plt(np.moveaxis(pst, 1, 2)), np.asarray(flagged.any(axis=1)), skipped

    def frequency_flagged(self) -> Mask:
        """(60 n,) a dip, swell or interruption touched the ten seconds; one without an end lasts."""
        marked = np.zeros(self.f_hz.size, np.bool_)
        voltage = self.events.chosen(self.events.kind != EventKind.RAPID_VOLTAGE_CHANGE)
        for start_us, duration_s in zip(voltage.start_us, voltage.duration_s, strict=True):
            first = (int(start_us) - self.start_us) // FREQUENCY_US
            end_us = self.end_us if np.isnan(duration_s) else int(start_us) + round(float(duration_s) * 1e6)
            last = (end_us - self.start_us) // FREQUENCY_US
            marked[max(first, 0) : max(last + 1, 0)] = True
        return marked


def joined(parts: Sequence[SupplyAggregates]) -> SupplyAggregates:
    """One supply of stretches that do not overlap, in any order; what lies between them is NaN.

    Raises
    ------
    MeteringError
        No part, parts of different supplies or harmonics, or two that share an interval.
    """
    if not parts:
        raise MeteringError("no aggregates to join", expected="one stretch or more")
    ordered = sorted(parts, key=lambda part: part.start_us)
    for one, other in pairwise(ordered):
        _joinable(one, other)
    first = ordered[0]
    places = [(part.start_us - first.start_us) // INTERVAL_US for part in ordered]
    count = places[-1] + ordered[-1].intervals
    if count > LONGEST:
        raise MeteringError(
            f"stretches over {count // 144} days", expected=f"{LONGEST // 144} days or fewer at a time"
        )
    events = SupplyEvents(
        np.concatenate([part.events.kind for part in ordered]),
        np.concatenate([part.events.start_us for part in ordered]),
        np.concatenate([part.events.duration_s for part in ordered]),
        np.concatenate([part.events.level_v for part in ordered]),
        np.concatenate([part.events.phases for part in ordered]),
    )
    flagged = np.zeros(count, np.bool_)
    for place, part in zip(places, ordered, strict=True):
        flagged[place : place + part.intervals] = part.flagged
    return SupplyAggregates(
        nominal_v=first.nominal_v,
        nominal_hz=first.nominal_hz,
        start_us=first.start_us,
        u_v=_laid(count, places, (part.u_v for part in ordered)),
        flagged=flagged,
        thd_pct=_laid(count, places, (part.thd_pct for part in ordered)),
        harmonic_orders=first.harmonic_orders,
        harmonic_pct=_laid(count, places, (part.harmonic_pct for part in ordered)),
        unbalance_pct=_laid(count, places, (part.unbalance_pct for part in ordered)),
        pst=_laid(count, places, (part.pst for part in ordered)),
        f_hz=_laid(count, places, (part.f_hz.reshape(-1, FREQUENCIES) for part in ordered)).ravel(),
        events=events,
    )


def runs(marked: Mask) -> list[tuple[int, int]]:
    """Begin and end of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], marked, [False])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _impossible(column: F64) -> bool:
    """True with a value that no measurement gives."""
    return bool(((column < 0) | np.isinf(column)).any())


def _laid(count: int, places: Sequence[int], columns: Iterable[F64]) -> F64:
    """Columns of stretches laid at their places among ``count`` intervals."""
    whole: F64 | None = None
    for place, column in zip(places, columns, strict=True):
        if whole is None:
            whole = np.full((count, *column.shape[1:]), np.nan)
        whole[place : place + column.shape[0]] = column
    assert whole is not None
    return whole


def _joinable(one: SupplyAggregates, other: SupplyAggregates) -> None:
    if (one.nominal_v, one.nominal_hz, one.phases) != (other.nominal_v, other.nominal_hz, other.phases):
        raise MeteringError(
            f"{other.phases} phases of {other.nominal_v:g} V, {other.nominal_hz} Hz follow {one.phases} "
            f"phases of {one.nominal_v:g} V, {one.nominal_hz} Hz",
            expected="stretches of one supply",
        )
    if not np.array_equal(one.harmonic_orders, other.harmonic_orders):
        raise MeteringError("stretches with different harmonics", expected="the same orders in each")
    if one.end_us > other.start_us:
        raise MeteringError(
            f"two stretches hold the interval at {np.datetime64(other.start_us // 1_000_000, 's')} UTC",
            expected="stretches apart in time",
        )

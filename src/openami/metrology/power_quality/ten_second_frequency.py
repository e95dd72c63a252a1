"""Frequency over ten seconds: whole cycles in an interval of the UTC clock, divided by their duration.

IEC 61000-4-30:2015, class A, 5.1 (recalled, confirm against the standard): intervals begin on absolute ten
seconds, a cycle that overlaps a border is discarded. Cycles are counted between rising zero crossings of the
fundamental (`half_cycle_rms`) of the first phase that was there all the time. The rule never to be broken: an
interval that was not seen whole, or in which no phase was there throughout, has no frequency (NaN).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openami.metrology.power_quality.half_cycle_rms import HalfCycleRms
from openami.metrology.power_quality.sample_time import SampleTime
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

INTERVAL_US = 10_000_000
"""Length of an interval."""


@dataclass(frozen=True, slots=True, eq=False)
class FrequencyColumns:
    """Frequencies of ten-second intervals; columns (n,).

    Parameters
    ----------
    tag_us:
        UTC of the *end* of the interval in microseconds.
    f_hz:
        Whole cycles divided by their duration; NaN where no phase was there throughout.
    cycles:
        Cycles counted.
    phase:
        Voltage whose cycles were counted; -1 for none.
    """

    tag_us: I64
    f_hz: F64
    cycles: I64
    phase: I64

    def __len__(self) -> int:
        return int(self.tag_us.size)


def frequency_of_cycles(cycles: int, duration_s: float) -> float:
    """Frequency in Hz of a whole number of cycles of ``duration_s`` together.

    Raises
    ------
    MeteringError
        No cycle, or no duration.
    """
    if cycles < 1 or not duration_s > 0.0:
        raise MeteringError(f"{cycles} cycles in {duration_s} s", expected="at least one cycle")
    return cycles / duration_s


class TenSecondFrequency:
    """Ten-second frequencies of a stream of half cycles.

    Invariant: the half cycles kept reach back to the running interval's begin; of an interval whose begin was
    not seen (the stream began in it) nothing is told.

    Parameters
    ----------
    phases:
        Number of voltages.
    first_sample:
        Where the stream begins.
    """

    def __init__(self, phases: int, first_sample: float = 0.0) -> None:
        self._kept: list[list[HalfCycleRms]] = [[] for _ in range(phases)]
        self._seen_from = first_sample
        self._next_us: int | None = None

    def feed(self, half_cycles: tuple[HalfCycleRms, ...], time: SampleTime) -> FrequencyColumns:
        """Take the next half cycles of every phase; the intervals that are over."""
        for kept, columns in zip(self._kept, half_cycles, strict=True):
            if len(columns):
                kept.append(columns)
        if not all(self._kept):
            return FrequencyColumns(*_rows([]))
        reached = min(float(kept[-1].start[-1]) for kept in self._kept)
        if not time.known:
            self._seen_from = reached
            self._drop_before(reached)
            return FrequencyColumns(*_rows([]))
        if self._next_us is None:
            begin_us = int(time.utc_us(np.array([self._seen_from]))[0])
            self._next_us = -(-begin_us // INTERVAL_US) * INTERVAL_US
        found = []
        begin = time.position(self._next_us)
        while (end := time.position(self._next_us + INTERVAL_US)) <= reached:
            if end > begin:
                found.append((self._next_us + INTERVAL_US, *self._measure(begin, end, time)))
            self._next_us += INTERVAL_US
            begin = end
        self._drop_before(begin)
        return FrequencyColumns(*_rows(found))

    def _measure(self, begin: float, end: float, time: SampleTime) -> tuple[float, int, int]:
        for phase, kept in enumerate(self._kept):
            start = np.concatenate([columns.start for columns in kept])
            inside = slice(*np.searchsorted(start, (begin, end)))
            rising = np.concatenate([columns.rising for columns in kept])[inside]
            held = np.concatenate([columns.held for columns in kept])[inside]
            crossings = start[inside][rising]
            if crossings.size > 1 and not held.any():
                duration_s = time.seconds_between(float(crossings[0]), float(crossings[-1]))
                cycles = crossings.size - 1
                return frequency_of_cycles(cycles, duration_s), cycles, phase
        return np.nan, 0, -1

    def _drop_before(self, position: float) -> None:
        for kept in self._kept:
            while kept[0].start[-1] < position and len(kept) > 1:
                kept.pop(0)


def _rows(found: list[tuple[int, float, int, int]]) -> tuple[I64, F64, I64, I64]:
    tags, frequencies, cycles, phases = zip(*found, strict=True) if found else ((), (), (), ())
    return (
        np.array(tags, np.int64),
        np.array(frequencies, np.float64),
        np.array(cycles, np.int64),
        np.array(phases, np.int64),
    )

"""Voltage events found in Urms(1/2), in compiled code: beginnings and ends as rows, in order of time.

IEC 61000-4-30:2015, class A, 5.4 (dips and swells), 5.5 (interruptions) and 5.11 (rapid voltage changes);
recalled, confirm against the standard. The channels are merged by the start of their windows; a channel is as
its latest value says. A dip or swell begins when any channel crosses its threshold and ends when all are back
behind threshold and hysteresis; an interruption begins when all are below and ends when any is back. The rule
never to be broken: a value is only looked at when every channel has reached it, so that no cut of the stream
changes the order.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt
from numba import njit

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


class EventKind(IntEnum):
    """What happened to the voltage."""

    DIP = 0
    SWELL = 1
    INTERRUPTION = 2
    RAPID_VOLTAGE_CHANGE = 3


DIP, SWELL, INTERRUPTION, RVC = 0, 1, 2, 3

_ONE_BY_ONE = 60
"""Values looked at one by one before a stretch is tried again at once: costs time only, changes no result."""

# Columns of a row of `find_events`.
KIND, ENDED, CHANNEL, INDEX, START, EXTREME, EXTREME_CHANNEL, REFERENCE, DELTA_SS, ROW = range(10)

# What it is given, float64: fractions of the reference and, for interruptions, of the declared voltage.
(DECLARED_V, DIP_BELOW, DIP_BACK, SWELL_ABOVE, SWELL_BACK, INTERRUPTION_BELOW, INTERRUPTION_BACK,
 RVC_THRESHOLD, RVC_STEADY_AGAIN, SLIDING_SHARE, HALF_CYCLES, CONFIGURATION) = range(12)  # fmt: skip

# What it carries of a channel, float64.
(LATEST, SLIDING, SLIDING_SQUARES, SLIDING_COUNT, RING_COUNT, RING_SLOT, STEADY, MEAN_BEFORE, LARGEST_CHANGE,
 CHANNEL_STATE) = range(10)  # fmt: skip

# The last 100/120 values of a channel; RING_SLOT is where the oldest lies.
(RING_VALUES, RING_STARTS, RING) = range(3)

# What it carries of the system, float64: per kind whether it is on, its extreme and the channel of that. A
# rapid change has no such channel: there stands whether a dip, swell or interruption has spoilt it.
(ON, EXTREME_NOW, EXTREME_AT, KIND_STATE) = range(4)
SPOILT = EXTREME_AT


@njit(cache=True, nogil=True)
def find_events(
    starts: F64,
    values: F64,
    begin: I64,
    end: I64,
    configuration: F64,
    channels: F64,
    rings: F64,
    kinds: F64,
    rows: F64,
) -> int:  # pragma: no cover - compiled
    """Go through values of all channels as far as every channel reaches; returns the number of rows written.

    Parameters
    ----------
    starts, values:
        (channels, n) window starts in samples and Urms(1/2) in V; channel c holds ``begin[c]`` to ``end[c]``;
        ``begin`` is moved to the first value not looked at.
    configuration, channels, rings, kinds:
        Thresholds; state per channel; (channels, `RING`, half cycles); state per kind.
    rows:
        Output, a row for every beginning and end (see the column names above); INDEX counts the values in
        ``values`` of its channel.
    """
    written = 0
    one_by_one = 0
    phases = starts.shape[0]
    while True:
        channel = 0
        for c in range(phases):
            if begin[c] >= end[c]:
                return written
            if starts[c, begin[c]] < starts[channel, begin[channel]]:
                channel = c
        if one_by_one == 0:
            if _pass_quiet(starts, values, begin, end, configuration, channels, rings, kinds):
                continue
            one_by_one = _ONE_BY_ONE  # another look at once would see the same
        one_by_one -= 1
        index = begin[channel]
        begin[channel] += 1
        value = values[channel, index]
        start = starts[channel, index]
        channels[channel, LATEST] = value
        reference = channels[channel, SLIDING]
        for kind in range(3):
            if kinds[kind, ON] > 0.0 or _out(kind, value, reference, configuration):
                written = _threshold(
                    kind, channel, index, start, value, reference, configuration, channels, kinds, rows,
                    written,
                )  # fmt: skip
        written = _rapid_change(
            channel, index, start, value, reference, configuration, channels, rings, kinds, rows, written
        )
        if configuration[SLIDING_SHARE] > 0.0:
            _slide(channel, value, configuration, channels, kinds)


@njit(cache=True, nogil=True)
def _pass_quiet(
    starts: F64,
    values: F64,
    begin: I64,
    end: I64,
    configuration: F64,
    channels: F64,
    rings: F64,
    kinds: F64,
) -> bool:  # pragma: no cover - compiled
    """Go over a stretch of all channels at once when nothing can happen in it; false when something could.

    Nothing is on, every channel is steady, no value crosses a threshold, and the values of each channel lie,
    with those of its ring, so close together that none can leave any mean of them by the threshold.
    """
    if configuration[SLIDING_SHARE] > 0.0:
        return False
    for kind in range(4):
        if kinds[kind, ON] > 0.0:
            return False
    phases = starts.shape[0]
    length = int(configuration[HALF_CYCLES])
    until = np.inf
    for c in range(phases):
        if channels[c, STEADY] == 0.0:
            return False
        until = min(until, starts[c, min(begin[c] + length, end[c]) - 1])
    declared = configuration[DECLARED_V]
    lowest = max(configuration[DIP_BELOW], configuration[INTERRUPTION_BELOW]) * declared
    highest = configuration[SWELL_ABOVE] * declared
    spread = configuration[RVC_THRESHOLD] * declared
    total = 0
    for c in range(phases):
        last = begin[c]
        while starts[c, last] < until:
            last += 1
        low, high = _extremes(rings[c, RING_VALUES], 0, length, np.inf, -np.inf)
        low, high = _extremes(values[c], begin[c], last, low, high)
        if low < lowest or high > highest or high - low > spread:
            return False
        total += last - begin[c]
    if total == 0:
        return False
    for c in range(phases):
        slot = int(channels[c, RING_SLOT])
        while starts[c, begin[c]] < until:
            rings[c, RING_VALUES, slot] = values[c, begin[c]]
            rings[c, RING_STARTS, slot] = starts[c, begin[c]]
            channels[c, LATEST] = values[c, begin[c]]
            begin[c] += 1
            slot = slot + 1 if slot + 1 < length else 0
        channels[c, RING_SLOT] = slot
    return True


# Rms values are never NaN, so that least and largest may be taken in any order.
@njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc"})
def _extremes(
    x: F64, begin: int, end: int, low: float, high: float
) -> tuple[float, float]:  # pragma: no cover - compiled
    for k in range(np.uint64(begin), np.uint64(end)):
        low = min(low, x[k])
        high = max(high, x[k])
    return low, high


@njit(cache=True, nogil=True)
def _out(
    kind: int, value: float, reference: float, configuration: F64
) -> bool:  # pragma: no cover - compiled
    if kind == DIP:
        return bool(value < configuration[DIP_BELOW] * reference)
    if kind == SWELL:
        return bool(value > configuration[SWELL_ABOVE] * reference)
    return bool(value < configuration[INTERRUPTION_BELOW] * configuration[DECLARED_V])


@njit(cache=True, nogil=True)
def _back(
    kind: int, value: float, reference: float, configuration: F64
) -> bool:  # pragma: no cover - compiled
    if kind == DIP:
        return bool(value >= configuration[DIP_BACK] * reference)
    if kind == SWELL:
        return bool(value <= configuration[SWELL_BACK] * reference)
    return bool(value >= configuration[INTERRUPTION_BACK] * configuration[DECLARED_V])


@njit(cache=True, nogil=True)
def _threshold(
    kind: int,
    channel: int,
    index: int,
    start: float,
    value: float,
    reference: float,
    configuration: F64,
    channels: F64,
    kinds: F64,
    rows: F64,
    written: int,
) -> int:  # pragma: no cover - compiled
    """Dip, swell or interruption that is on, or whose threshold one more value of one channel crosses."""
    phases = channels.shape[0]
    state = kinds[kind]
    if state[ON] == 0.0:
        if kind == INTERRUPTION:
            for c in range(phases):
                if not _out(kind, channels[c, LATEST], channels[c, SLIDING], configuration):
                    return written
        state[ON] = 1.0
        state[EXTREME_NOW] = value
        state[EXTREME_AT] = channel
        _write(rows[written], kind, 0.0, channel, index, start, state, reference, 0.0)
        return written + 1
    if (value > state[EXTREME_NOW]) if kind == SWELL else (value < state[EXTREME_NOW]):
        state[EXTREME_NOW] = value
        state[EXTREME_AT] = channel
    if not _back(kind, value, reference, configuration):
        return written
    if kind != INTERRUPTION:
        for c in range(phases):
            if not _back(kind, channels[c, LATEST], channels[c, SLIDING], configuration):
                return written
    state[ON] = 0.0
    _write(rows[written], kind, 1.0, channel, index, start, state, reference, 0.0)
    return written + 1


@njit(cache=True, nogil=True)
def _write(
    row: F64,
    kind: int,
    ended: float,
    channel: int,
    index: int,
    start: float,
    state: F64,
    reference: float,
    delta_ss: float,
) -> None:  # pragma: no cover - compiled
    row[KIND] = kind
    row[ENDED] = ended
    row[CHANNEL] = channel
    row[INDEX] = index
    row[START] = start
    row[EXTREME] = state[EXTREME_NOW]
    row[EXTREME_CHANNEL] = state[EXTREME_AT]
    row[REFERENCE] = reference
    row[DELTA_SS] = delta_ss


@njit(cache=True, nogil=True)
def _slide(
    channel: int, value: float, configuration: F64, channels: F64, kinds: F64
) -> None:  # pragma: no cover - compiled
    """Sliding reference: a first-order mean of the rms of 10/12 cycles, at rest while an event is on.

    Every second Urms(1/2) makes gapless cycles.
    """
    share = configuration[SLIDING_SHARE]
    state = channels[channel]
    state[SLIDING_COUNT] += 1.0
    if state[SLIDING_COUNT] % 2.0 == 1.0:
        state[SLIDING_SQUARES] += value * value
    if state[SLIDING_COUNT] < 0.2 * configuration[HALF_CYCLES]:
        return
    mean = np.sqrt(state[SLIDING_SQUARES] / (0.5 * state[SLIDING_COUNT]))
    state[SLIDING_COUNT] = 0.0
    state[SLIDING_SQUARES] = 0.0
    if kinds[DIP, ON] == 0.0 and kinds[SWELL, ON] == 0.0 and kinds[INTERRUPTION, ON] == 0.0:
        state[SLIDING] += share * (mean - state[SLIDING])


# In any order: the slot of a value is its number modulo the length, so the order is always the same.
@njit(cache=True, nogil=True, fastmath={"reassoc"})
def _ring_sum(rings: F64, channel: int) -> float:  # pragma: no cover - compiled
    total = 0.0
    for k in range(rings.shape[2]):
        total += rings[channel, RING_VALUES, k]
    return total


@njit(cache=True, nogil=True)
def _mean(channels: F64, rings: F64, channel: int) -> float:  # pragma: no cover - compiled
    """Mean of a channel's last values, of a ring that is not full too (the rest of it is zero)."""
    count = max(1.0, min(channels[channel, RING_COUNT], float(rings.shape[2])))
    return float(_ring_sum(rings, channel) / count)


@njit(cache=True, nogil=True)
def _rapid_change(
    channel: int,
    index: int,
    start: float,
    value: float,
    reference: float,
    configuration: F64,
    channels: F64,
    rings: F64,
    kinds: F64,
    rows: F64,
    written: int,
) -> int:  # pragma: no cover - compiled
    """A voltage is steady while its last 100/120 values lie within the threshold of their mean.

    The change begins when a channel stops being steady and ends where the values begin with which the last
    channel is steady again. One that touches a dip, swell or interruption is none.
    """
    phases = channels.shape[0]
    state, ring, system = channels[channel], rings[channel], kinds[RVC]
    length = int(configuration[HALF_CYCLES])
    slot = int(state[RING_SLOT])
    evicted = ring[RING_VALUES, slot]
    ring[RING_VALUES, slot] = value
    ring[RING_STARTS, slot] = start
    oldest = slot + 1 if slot + 1 < length else 0
    state[RING_SLOT] = oldest
    state[RING_COUNT] += 1.0
    if kinds[DIP, ON] + kinds[SWELL, ON] + kinds[INTERRUPTION, ON] > 0.0:
        system[SPOILT] = 1.0
    if state[RING_COUNT] < length:
        return written
    total = _ring_sum(rings, channel)
    mean = total / length
    threshold = configuration[RVC_THRESHOLD] if state[STEADY] > 0.0 else configuration[RVC_STEADY_AGAIN]
    outside = 0
    for k in range(length):
        outside += abs(ring[RING_VALUES, k] - mean) > threshold * reference
    steady = outside == 0
    if state[STEADY] > 0.0 and not steady:
        state[STEADY] = 0.0
        if system[ON] == 0.0:
            for c in range(phases):
                channels[c, MEAN_BEFORE] = _mean(channels, rings, c)
                channels[c, LARGEST_CHANGE] = 0.0
            state[MEAN_BEFORE] = (total - value + evicted) / length
            system[ON] = 1.0
            system[EXTREME_NOW] = 0.0
            system[SPOILT] = 1.0 if kinds[DIP, ON] + kinds[SWELL, ON] + kinds[INTERRUPTION, ON] > 0.0 else 0.0
            _write(rows[written], RVC, 0.0, channel, index, start, system, reference, 0.0)
            written += 1
    if system[ON] > 0.0:
        state[LARGEST_CHANGE] = max(state[LARGEST_CHANGE], abs(value - state[MEAN_BEFORE]))
    if state[STEADY] > 0.0 or not steady:
        return written
    state[STEADY] = 1.0
    if system[ON] == 0.0:
        return written
    delta_ss = 0.0
    for c in range(phases):
        if channels[c, STEADY] == 0.0:
            return written
        delta_ss = max(delta_ss, abs(_mean(channels, rings, c) - channels[c, MEAN_BEFORE]))
        system[EXTREME_NOW] = max(system[EXTREME_NOW], channels[c, LARGEST_CHANGE])
    system[ON] = 0.0
    steady_from = ring[RING_STARTS, oldest]
    _write(rows[written], RVC, 1.0, channel, index, steady_from, system, reference, delta_ss)
    return written + 1
